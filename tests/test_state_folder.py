"""State lies in a folder that is this user's own, whoever made the name before; nothing of others is removed.

What another user of the machine can do is done here by a root that plays two users; elsewhere by modes and links.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from xnbtransfer import claims
from xnbtransfer.audit import audit
from xnbtransfer.claims import claim, clear_claims
from xnbtransfer.errors import ExitCode, HeldError, InputError
from xnbtransfer.record import UNREADABLE, list_records
from xnbtransfer.state_folder import state_folder
from xnbtransfer.widgets.models import GuidedTransfer

NAMES = ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "HOME", "TMPDIR")
STRANGER = 54321  # a uid that no machine has an entry for


@pytest.fixture
def bare(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "no home").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "no home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path


def test_the_first_place_that_is_given_is_taken(bare, monkeypatch):
    monkeypatch.setenv("HOME", str(bare / "home"))
    assert state_folder() == bare / "home" / ".local" / "state" / "xnbtransfer"
    monkeypatch.setenv("XDG_STATE_HOME", str(bare / "state"))
    found = state_folder()
    assert found == bare / "state" / "xnbtransfer" and found.stat().st_mode & 0o777 == 0o700


def test_what_others_could_look_into_is_closed(bare, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(bare))
    (bare / "xnbtransfer").mkdir(mode=0o755)
    assert state_folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["link", "file", "somebody else's"])
def test_what_stands_under_our_name_is_not_trusted(bare, monkeypatch, planted):
    monkeypatch.setenv("HOME", str(bare / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(bare / "shared"))
    (bare / "shared").mkdir()
    (bare / "papers").mkdir()
    old = bare / "papers" / "thesis.tex"
    old.write_text("two years of work")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    name = bare / "shared" / "xnbtransfer"
    if planted == "link":
        name.symlink_to(bare / "papers")
    elif planted == "file":
        name.write_text("")
    elif os.getuid() == 0:
        name.mkdir(mode=0o777)
        os.chown(name, STRANGER, STRANGER)
    else:
        pytest.skip("only root can make what belongs to somebody else")
    with claim("https://xnat.example.org", "P", "S1"):
        clear_claims()
    assert old.read_text() == "two years of work"
    assert state_folder() == bare / "home" / ".local" / "state" / "xnbtransfer"


def test_without_any_private_folder_there_is_a_sentence(bare, monkeypatch):
    (bare / "tmp" / f"xnbtransfer-{os.getuid()}").write_text("")
    with pytest.raises(InputError, match="private folder.*is no folder|cannot be made"):
        state_folder()


def test_only_old_names_of_our_own_form_are_taken_away(bare, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(bare))
    folder = claims._folder()
    ours, held, theirs, link = folder / ("a" * 32), folder / ("b" * 32), folder / "notes.txt", folder / ("c" * 32)
    for path in (ours, held, theirs):
        path.write_text("")
        os.utime(path, (time.time() - 2 * 86_400,) * 2)
    link.symlink_to(theirs)
    with claims.FileLock(held):
        os.utime(held, (time.time() - 2 * 86_400,) * 2)
        clear_claims()
        assert not ours.exists() and held.exists() and theirs.exists() and link.is_symlink()


def test_two_temporary_folders_of_one_user_are_one_state(bare, monkeypatch):
    monkeypatch.setenv("HOME", str(bare / "home"))
    (bare / "other").mkdir()
    with claim("https://xnat.example.org", "P", "S1"):
        monkeypatch.setattr("tempfile.tempdir", str(bare / "other"))
        with pytest.raises(HeldError, match="Another run of yours is sending the session S1 of P"):
            claim("https://xnat.example.org", "P", "S1")


@pytest.fixture
def open_folder():
    """A folder that everybody may write to, as a temporary folder or a team's: that of a test is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)
        yield Path(folder)


@contextlib.contextmanager
def somebody_else(folder: Path):
    """Be another user for a moment; who is not root closes the folder to himself instead."""
    if os.getuid() == 0:
        os.seteuid(STRANGER)
    else:
        os.chmod(folder, 0)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        else:
            os.chmod(folder, 0o700)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_user_without_an_entry_and_a_home_has_a_state_folder(open_folder):
    script = (
        "import os, sys; sys.path[:] = eval(sys.argv[1]); import xnbtransfer.state_folder as one, tempfile;"
        f"tempfile.tempdir = sys.argv[2]; os.setgid({STRANGER}); os.setuid({STRANGER}); print(one.state_folder())"
    )
    ran = subprocess.run([sys.executable, "-c", script, repr(sys.path), str(open_folder)],
                         env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)  # fmt: skip
    assert ran.stdout.strip() == str(open_folder / f"xnbtransfer-{STRANGER}"), ran.stderr[-300:]


def test_a_record_of_somebody_else_is_a_row_and_no_traceback(open_folder):
    foreign = open_folder / "20260101T000000Z_guided_A-B_abcdef.unfinished"
    foreign.mkdir(mode=0o700)
    (foreign / "workspace.json").write_text("{}")
    guide = GuidedTransfer(str(open_folder))
    with somebody_else(foreign):
        listed, waiting = list_records(open_folder), guide.unfinished()
        audited = audit(open_folder)
    assert listed["state"].tolist() == [UNREADABLE] and waiting.empty
    assert audited.records["status"].tolist() == ["not read"]
    assert audited.exit_code is ExitCode.CANNOT_BE_PROVED
