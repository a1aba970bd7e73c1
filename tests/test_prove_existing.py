"""Sessions that the destination has already: read back on request, judged like a copy, and nothing is written."""

from __future__ import annotations

import pytest
from archive_kit import Kit, logged
from people import Person
from roads import WRITES, as_

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan_file import LEASE
from xnbtransfer.preparing import prepare
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict

PROVED = {"equal", "changed as explained"}


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server, tmp_path):
    """Two sessions that were copied, and are the same on both sides."""
    found = Kit(lambda role: Person(server, role))
    for session in ("E1", "E2"):
        found.put(found.source, "S1", session, found.uid(session), scans=(1, 2))
    server.faults([])
    assert act(server, found, tmp_path / "copy")[1].exit_code == ExitCode.PROVED
    yield found
    server.faults([])


def act(server, kit, folder, **values):
    both = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    options = TransferOptions.from_mapping({**both, **values})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = prepare(source, destination, options)
        return made, run(made, source, destination, folder=folder)


def writes(server, since):
    quiet = ("/data/services/auth", "/data/JSESSION", "/_faults", "/data/services/validate-archive")
    sent = [one for one in server.log()[since:] if one["method"] in WRITES and not one["path"].startswith(quiet)]
    return [one for one in sent if LEASE not in one["path"]]


def flip(server, kit):
    """One bit of one file at the destination, behind the server's back: its lists say what they said."""
    path = sorted((server.data / "archive" / kit.destination).rglob("*.dcm"))[0]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.unlink()  # both projects may share the bytes
    path.write_bytes(data)


@pytest.mark.parametrize("proof", ["all", "listing"])
def test_what_is_there_is_read_back_and_proved(server, kit, tmp_path, proof):
    since = logged(server)
    made, result = act(server, kit, tmp_path / "again", prove_existing=True, strict=True, proof=proof)
    assert {row.action for row in made.sessions} == {"skip"} and writes(server, since) == []
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())
    assert set(result.sessions["state"]) == {"there already"}
    assert set(result.sessions["verdict"]) <= PROVED and result.sessions["files"].sum() == 8
    assert set(result.files["read_in"]) == {"archive"}
    _, unread = act(server, kit, tmp_path / "unread", strict=True)
    assert unread.exit_code == ExitCode.CANNOT_BE_PROVED and set(unread.sessions["verdict"]) == {""}


def test_what_differs_is_found_though_every_list_is_the_same(server, kit, tmp_path):
    flip(server, kit)
    made, result = act(server, kit, tmp_path / "again", prove_existing=True)
    assert {row.action for row in made.sessions} == {"skip"}
    assert result.exit_code == ExitCode.DIFFERENCES and result.counts[Verdict.DIFFERENT] == 1
    assert sorted(result.sessions["different"]) == [0, 1] and set(result.sessions["state"]) == {"there already"}


def test_what_changed_at_the_source_since_the_plan_is_not_proved(server, kit, tmp_path):
    options = {"source_project": kit.source, "destination_project": kit.destination, "archive": True}
    options = TransferOptions.from_mapping({**options, "review": "none", "prove_existing": True})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = prepare(source, destination, options)
        files = f"/data/projects/{kit.source}/subjects/S1/experiments/E1/scans/1/resources/DICOM/files"
        (first, *_) = kit.who.rows(files)
        assert kit.who.delete(first["URI"]).status_code == 200
        result = run(made, source, destination, folder=tmp_path)
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    rows = result.files[result.files["session"] == "E1"]
    assert set(rows["verdict"]) == {"cannot be proved"} and len(rows) == 4
    assert "no longer at the source as the plan saw it. Plan again." in result.problems[0]
    assert set(result.files[result.files["session"] == "E2"]["verdict"]) <= PROVED


def test_a_destination_that_does_not_answer_is_a_reason_to_run_again(server, kit, tmp_path):
    server.faults([{"fault": "truncated-zip", "method": "GET", "path": "/scans/[0-9]+/resources/"}])
    _, result = act(server, kit, tmp_path / "again", prove_existing=True)
    assert result.exit_code in (ExitCode.TRANSIENT, ExitCode.CANNOT_BE_PROVED)
    assert not set(result.files["verdict"]) & PROVED
