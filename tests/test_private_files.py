"""What holds labels is for its owner alone, and for a team where one is named: every file that a command writes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from archive_kit import Kit
from modes import a_loose_umask, modes, open_to_others
from people import Person
from roads import as_
from shell import WAIVE

from xnbtransfer.backup import back_up
from xnbtransfer.outputs import file_mode, make_folder, with_home, write_whole
from xnbtransfer.server import running
from xnbtransfer.steps import files_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")


@pytest.fixture
def loose():
    """A umask that lets everybody read, as most systems have it."""
    with a_loose_umask():
        yield


@pytest.mark.parametrize(("team", "others"), [("", 0o077), ("1", 0o027)])
def test_every_file_of_a_command_is_private(tmp_path, loose, team, others):
    with running() as server:
        kit = Kit(lambda role: Person(server, role))
        kit.put(kit.source, "S1", "E1", kit.uid("E1"))
        user, password = server.accounts["owner"]
        env = {**os.environ, "XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
        env |= {"XNBTRANSFER_TEAM": team, "HOME": str(tmp_path / "home")}
        work = tmp_path / "work"
        work.mkdir()
        (work / "waive.yaml").write_text(WAIVE)
        before = set(modes(work))
        both = (kit.source, kit.destination)
        for words in (
            ("inventory", kit.source, "-o", "listed"),
            ("plan", *both, "--waivers", "waive.yaml", "-o", "plan.json", "--conflicts-to", "met.csv"),
            ("run", "plan.json"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", "from xnbtransfer.cli import main; main()", *words],
                cwd=work,
                env=env,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, (words, done.stdout[-500:], done.stderr[-500:])
        found = {name: mode for name, mode in modes(work).items() if name not in before}
        assert {"plan.json", "plan.run", "met.csv", "listed", "listed/sessions.csv"} <= set(found), sorted(found)
        assert not {name: oct(mode) for name, mode in found.items() if mode & others}
        if team:
            assert stat.S_IMODE((work / "plan.json").stat().st_mode) == 0o640
            assert stat.S_IMODE((work / "listed").stat().st_mode) == 0o750


def test_a_backup_is_private_whatever_the_umask(tmp_path, loose):
    with running() as server:
        kit = Kit(lambda role: Person(server, role))
        kit.put(kit.source, "S1", "E1", kit.uid("E1"))
        with as_(server, "owner") as connection:
            (row,) = connection.sessions(kit.source)
            change = SimpleNamespace(project=kit.source, subject="S1", session="E1", item=row["session_id"], name="E1")
            name = back_up(connection, change, "state", files_of(connection, row["session_id"]), tmp_path / "bags")
    assert name and not open_to_others(tmp_path)


@pytest.mark.parametrize(("team", "mode"), [("", 0o600), ("1", 0o640), ("0", 0o600), ("yes", 0o600)])
def test_a_file_is_private_whatever_the_umask(tmp_path, monkeypatch, team, mode):
    monkeypatch.setenv("XNBTRANSFER_TEAM", team)
    for mask in (0o000, 0o022, 0o077):
        before = os.umask(mask)
        try:
            path = write_whole(tmp_path / f"{mask}.txt", "S1")
            path.chmod(0o644)
            write_whole(path, "S2")
            folder = make_folder(tmp_path / f"{mask}" / "below")
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == mode == file_mode() and path.read_text() == "S2"
        assert not stat.S_IMODE(folder.parent.stat().st_mode) & (0o027 if team == "1" else 0o077)


def test_a_folder_that_is_there_keeps_its_mode(tmp_path, loose):
    (tmp_path / "shared").mkdir(mode=0o755)
    make_folder(tmp_path / "shared")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_a_path_with_a_tilde_needs_no_home(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where the list of users does not know this one
    assert with_home("~/records") == Path("~/records") and with_home("records") == Path("records")
