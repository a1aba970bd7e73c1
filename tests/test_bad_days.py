"""Bad input and bad days: a sentence, the right exit code, and nothing lost or half-done."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from people import Person, set_script
from roads import DESTINATION, SOURCE, again, as_, copy, make_plan, options, writes
from which_xnat import script

from xnbtransfer import _http
from xnbtransfer import server as embedded
from xnbtransfer.errors import DiskFullError, ExitCode, InputError, LoginError, NotFoundError
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap, read_label_map
from xnbtransfer.transfer import run
from xnbtransfer.xnat import connect


@pytest.fixture
def demo():
    with embedded.running(demo=True) as server:
        yield server


def test_a_wrong_password(demo):
    with pytest.raises(LoginError) as raised:
        connect(server=demo.url, user="mia", password="not-the-password", prompt=False)
    assert raised.value.exit_code == ExitCode.BAD_INPUT
    assert "not-the-password" not in str(raised.value)


def test_an_unknown_project(demo, tmp_path):
    with pytest.raises(NotFoundError, match="NO_SUCH_PROJECT"):
        copy(demo, tmp_path, source_project="NO_SUCH_PROJECT")
    with pytest.raises(NotFoundError, match="NO_SUCH_PROJECT"):
        copy(demo, tmp_path, destination_project="NO_SUCH_PROJECT")
    assert writes(demo) == []


def test_somebody_without_any_role(demo, tmp_path):
    with pytest.raises(NotFoundError):
        copy(demo, tmp_path, role="outsider")
    assert writes(demo) == []


def test_a_session_that_is_not_there(demo, tmp_path):
    with pytest.raises(InputError, match="'1_MR1'"):
        copy(demo, tmp_path, sessions=["1_MR1"])
    with pytest.raises(InputError, match="leaves none|no session"):
        copy(demo, tmp_path, date_from="2031-01-01")
    assert writes(demo) == []


def test_two_sessions_on_one_label(demo, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "subject,session,to_subject,to_session\n001,001_MR1,X1,X1_MR\n001,001_MR2,X1,X1_MR\n", encoding="utf-8"
    )
    with pytest.raises(InputError, match="X1_MR"):
        copy(demo, tmp_path, labels=read_label_map(path))
    assert writes(demo) == []


def test_labels_are_mapped_and_keep_their_zeros(demo, tmp_path):
    labels = LabelMap({SessionKey("001", "001_MR2"): SessionKey("0007", "0007_02")})
    made, result = copy(demo, tmp_path, archive=True, sessions=["001_MR2"], labels=labels)
    assert made.sessions[0].to == SessionKey("0007", "0007_02")
    assert result.exit_code == ExitCode.PROVED, result.files["because"].unique()
    with as_(demo) as connection:
        (found,) = connection.sessions_with_label(DESTINATION, "0007_02")
    assert found["subject"] == "0007"
    # The default script of the site writes the new labels into the headers, and that is what explains them.
    assert result.files["changed"].str.contains("00100010").all()
    assert result.files["changed"].str.contains("00100020").all()


def test_a_script_that_does_something_else_is_not_believed(demo, tmp_path):
    """The script is changed after the run has read it again: what it does now is not what the plan knows."""

    def on_event(event) -> None:
        if (event.kind, event.name) == ("run", "started"):
            lines = '(0010,0010) := subject\n(0010,0020) := session\n(0018,1030) := "other"\n'
            with Person(demo, "admin") as admin:
                set_script(admin, "", script(lines))

    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(sessions=["001_MR2"]))
        result = run(made, source, destination, folder=tmp_path, on_event=on_event)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.files["because"].str.contains("no script explains it: ProtocolName").any()
    told = " ".join(result.messages)
    assert "site's anonymisation script" in told and "is another one now" in told and "Plan again" in told


@pytest.mark.parametrize("existing", ["skip", "stop", "merge", "replace"])
def test_what_exists_is_touched_only_where_the_plan_says_so(demo, tmp_path, existing):
    """003_CT1 is there already, another study has the label of 002_MR1, and 004_PET1 waits in the prearchive."""
    chosen = {"sessions": ["002_MR1", "003_CT1", "004_PET1"], "existing": existing, "archive": True}
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(**chosen))
    actions = {session.session: session.action for session in made.sessions}
    expected = {"skip": "skip", "stop": "stop", "merge": "skip", "replace": "replace"}[existing]
    assert actions["003_CT1"] == expected
    assert actions["002_MR1"] == actions["004_PET1"] == ("skip" if existing == "skip" else "stop")
    assert bool(made.blockers) == (existing != "skip")
    assert writes(demo) == []


def test_a_replaced_session_is_proved(demo, tmp_path):
    made, result = copy(demo, tmp_path, archive=True, sessions=["003_CT1"], existing="replace")
    assert made.sessions[0].action == "replace"
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())
    assert result.counts["changed as explained"] == made.totals["files"]


def test_missing_scans_are_merged(demo, tmp_path):
    with as_(demo) as source:
        from xnbtransfer.inventory import read_inventory

        scans = read_inventory(source, SOURCE).scans
    kinds = sorted(set(scans[scans["session"] == "001_MR1"]["type"]))
    first, result = copy(demo, tmp_path / "a", archive=True, sessions=["001_MR1"], scan_types=kinds[:1])
    assert result.exit_code == ExitCode.PROVED
    made, result = copy(demo, tmp_path / "b", archive=True, sessions=["001_MR1"], existing="merge")
    assert made.sessions[0].action == "merge"
    assert made.totals["scans"] == 3 - first.totals["scans"]
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())


def test_a_destination_that_vanishes_and_comes_back(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(_http, "PAUSE_S", 0.02)  # each of the sessions waits in vain
    port = int(demo.url.rsplit(":", 1)[1])
    sent = []

    def vanish(event) -> None:
        sent.append(event)
        if event.kind == "scan" and len([one for one in sent if one.kind == "scan"]) == 3:
            demo.kill()

    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(archive=True, workers=1))
        result = run(made, source, destination, folder=tmp_path, on_event=vanish)
    assert result.exit_code == ExitCode.TRANSIENT
    assert sum(result.counts.values()) == made.totals["files"]
    demo.start(port)
    result = again(demo, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED
    imports = [entry for entry in writes(demo) if entry["path"] == "/data/services/import"]
    assert len(imports) <= made.totals["scans"] + 1


@contextlib.contextmanager
def small_disk(at: Path, size: str):
    at.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_a_disk_that_is_full(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination, small_disk(tmp_path / "small", "64k") as small:
        made = make_plan(source, destination, options(archive=True))
        with pytest.raises(DiskFullError) as raised:
            run(made, source, destination, folder=tmp_path / "run", spool_folder=str(small))
        assert raised.value.exit_code == ExitCode.TRANSIENT
        assert "Free some space" in str(raised.value)
        result = run(made, source, destination, folder=tmp_path / "run")
    assert result.exit_code == ExitCode.PROVED


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
def test_a_disk_that_is_full_for_the_journal(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination, small_disk(tmp_path / "small", "16k") as small:
        made = make_plan(source, destination, options(archive=True))
        with pytest.raises(DiskFullError):
            run(made, source, destination, folder=small)
