"""What a night job is told by the command line: deletions not made, or answered by nobody, conflicts, what lacks."""

from __future__ import annotations

import json

import pytest
from archive_kit import Kit
from meddler import acts, meddling
from people import people
from places import Place, copied
from shell import Shell

from xnbtransfer import server as embedded


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    with people(server) as person:
        found = Kit(person)
        found.put(found.source, "S1", "E1", found.uid("E1"))
        yield found


@pytest.fixture
def front(server):
    with meddling(server) as found:
        yield found


@pytest.fixture
def shell(front, tmp_path, capsys, monkeypatch):
    return Shell(front, tmp_path, capsys, monkeypatch)


def planned_end(kit, front, shell, *words: str) -> None:
    record = copied(Place(front, kit.source, kit.destination), shell.folder)
    code, said = shell("finish-move", record, "-o", "end.json", *words)
    assert code == 0, said


def deletes(front) -> list[str]:
    return [path for method, path in front.sent if method == "DELETE" and "/experiments/" in path]


def test_a_copy_that_vanishes_before_a_deletion_is_sent_again_keeps_the_source(kit, front, shell):
    planned_end(kit, front, shell)

    def later(meddler, pass_on, method, path, body):
        copy = f"/data/projects/{kit.destination}/subjects/S1/experiments/E1"
        kit.who.delete(copy, params={"removeFiles": "true"})
        return 503, b"", [("Retry-After", "0")]

    front.rule = lambda method, path: later if method == "DELETE" and "/experiments/" in path else None
    code, said = shell("run", "end.json", "--confirm", f"{kit.source} 1")
    assert code != 0 and "its copy is not there any more" in said
    assert len(deletes(front)) == 1 and list(kit.files(kit.source)) == ["E1"]


def test_a_session_that_is_gone_without_an_answer_is_not_found_and_no_0(kit, front, shell):
    planned_end(kit, front, shell)
    front.rule = lambda method, path: acts if method == "DELETE" and "/experiments/" in path else None
    code, said = shell("run", "end.json", "--confirm", f"{kit.source} 1", "--json")
    assert code == 4, said
    told = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert (told["exit_code"], [one["state"] for one in told["sessions"]]) == (4, ["not found"])
    assert len(deletes(front)) == 1 and not kit.files(kit.source)


def test_a_session_that_a_conflict_keeps_back_is_7_in_words_and_in_json(kit, shell):
    kit.put(kit.destination, "S1", "E1", kit.uid("another study"))
    kit.put(kit.source, "S1", "E2", kit.uid("E2"))
    name = shell.plan(kit.source, kit.destination, "--archive", "--existing", "skip")
    code, said = shell("run", name)
    assert code == 7 and "Needs a person: S1/E1" in said and "another study" in said
    code, said = shell("run", name, "--json")
    told = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert code == told["exit_code"] == 7
    assert {one["session"]: one["state"] for one in told["sessions"]} == {"E1": "needs a person", "E2": "archived"}


def test_what_was_named_and_is_not_carried_is_7(kit, shell):
    name = shell.plan(kit.source, kit.destination, "--archive", "--resources", "NOTES", "--fields", "session/note")
    code, said = shell("run", name)
    assert code == 7 and "The resource NOTES" in said and "The field session/note" in said
    code, said = shell("run", name)
    assert code == 7
