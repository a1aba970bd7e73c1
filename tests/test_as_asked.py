"""What was made is what was asked for, and of sessions of a new subject one is archived, or made, before the others."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from archive_kit import Kit
from people import people
from shell import Shell
from standin import table

from xnbtransfer import server as embedded
from xnbtransfer.archived import made_otherwise
from xnbtransfer.errors import ServerError
from xnbtransfer.files_door import FilesDoor
from xnbtransfer.history import SessionHistory
from xnbtransfer.keys import SessionKey
from xnbtransfer.lanes import FirstOfSubject
from xnbtransfer.methods import Work
from xnbtransfer.parcels import make_scan

ARCHIVED = "/data/archive/projects/P/subjects/{}/experiments/{}"
DELAY_S = 1.0


# -- as it was asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        (ARCHIVED.format("S%201", "E1"), True),
        (ARCHIVED.format("s%201", "E1"), True),
        (ARCHIVED.format("S%201", "e1"), False),
        (ARCHIVED.format("S%201", "E1_2"), False),
        (ARCHIVED.format("S2", "E1"), False),
        (ARCHIVED.format("S%201", "E1").replace("/P/", "/Q/"), False),
        ("", True),
        ("/data/prearchive/projects/P/20260101_010203000/E1", True),
    ],
)
def test_the_address_that_archiving_answers_is_that_of_the_labels_asked_for(address, fits):
    assert (made_otherwise(address, "P", "S 1", "E1") == "") == fits


def item(kind: str, **fields: str) -> list:
    found = {"items": [{"meta": {"xsi:type": kind, "isHistory": False}, "data_fields": fields, "children": []}]}
    return [(200, {}, json.dumps(found).encode())]


MADE = {"ID": "X_E1", "label": "E1", "project": "P", "subject_ID": "X_S1", "UID": "1.2.3"}


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({}, ""),
        ({"label": "E1_2"}, "label"),
        ({"project": "Q"}, "project"),
        ({"UID": "1.2.4"}, "study"),
        ({"subject_ID": "X_S2"}, "subject"),
        ({"kind": "xnat:ctSessionData"}, "type"),
    ],
)
def test_a_session_that_was_made_as_another_gets_no_file(connection, standin, other, word):
    made = MADE | other
    standin.answers |= {
        "/data/projects/P/experiments": [(200, {}, table([]))],
        "/data/projects": [(200, {}, table([{"id": "P"}]))],
        "/data/projects/P/subjects/S/experiments/E1": [(201, {}, b"X_E1")],
        "/data/experiments/X_E1": item(made.pop("kind", "xnat:mrSessionData"), **made),
        "/data/experiments/X_E9": item("xnat:mrSessionData", ID="X_E9", label="E1", project="A"),
        "/data/subjects/X_S1": item("xnat:subjectData", ID="X_S1", label="s", project="P"),
        "/data/subjects/X_S2": item("xnat:subjectData", ID="X_S2", label="T", project="P"),
    }
    session = SimpleNamespace(
        key=SessionKey("S", "E1"), to=SessionKey("S", "E1"), session_id="X_E9", destination_subject="S",
        destination_session="E1", StudyInstanceUID="1.2.3", date="", modality="",
    )  # fmt: skip
    options = SimpleNamespace(reason="")
    side = SimpleNamespace(project="P", server=standin.url)
    plan = SimpleNamespace(transfer_options=options, destination=side, source=SimpleNamespace(server="elsewhere"))
    notes: list[str] = []
    door = FilesDoor(plan, connection, connection, lambda work, kind, **values: notes.append(kind))
    work = Work(session, SessionHistory(), {}, [])
    if not word:
        assert door._make_session(work) == "X_E1" and notes == ["archived"]
        return
    with pytest.raises(ServerError, match=f"made as X_E1, and that has another {word}"):
        door._make_session(work)
    assert notes == [], "it is never taken for ours"


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ({"xsiType": "xnat:mrScanData", "UID": "1.2.3"}, True),
        ({"xsiType": "xnat:ctScanData", "UID": "1.2.3"}, False),
        ({"xsiType": "xnat:mrScanData", "UID": "1.2.4"}, False),
    ],
)
def test_a_scan_that_was_made_as_another_gets_no_file(connection, standin, row, right):
    lists = [(200, {}, table([])), (200, {}, table([{"ID": "1", **row}]))]
    standin.answers |= {"/data/experiments/X_E1/scans": lists, "/data/experiments/X_E1/scans/1": [(200, {}, b"")]}
    about = {"xsi_type": "xnat:mrScanData", "SeriesInstanceUID": "1.2.3"}
    if right:
        make_scan(connection, "X_E1", "1", about, "", "S/E1")
        return
    with pytest.raises(ServerError, match="another type or series"):
        make_scan(connection, "X_E1", "1", about, "", "S/E1")


# -- one before the others ---------------------------------------------------------------------------------------


def test_the_first_of_a_subject_goes_alone_and_what_comes_later_side_by_side():
    first_of, running, most, lock = FirstOfSubject(), [], {}, threading.Lock()
    both = threading.Barrier(2, timeout=20)

    def archive(subject: str, number: int) -> None:
        with first_of.of(subject):
            with lock:
                running.append((subject.casefold(), number))
                mine = [one for one in running if one[0] == subject.casefold()]
                most.setdefault(len([one for one in done if one[0] == subject.casefold()]), len(mine))
            if number > 1:
                both.wait()  # the second and the third are at it at one time, or this fails
            with lock:
                running.remove((subject.casefold(), number))
                done.append((subject.casefold(), number))

    done: list[tuple[str, int]] = []
    archive("NEW", 1)
    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(archive, name, number) for number, name in ((2, "NEW"), (3, "new"))]:
            one.result()
    assert most[0] == 1 and len(done) == 3


def test_one_that_fails_leaves_its_place_to_the_next():
    first_of = FirstOfSubject()
    with pytest.raises(ServerError), first_of.of("S"):
        raise ServerError("it was not archived")
    with first_of.of("S"):
        pass


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (("--archive",), "/data/services/archive"),
        (("--method", "files", "--waivers", "waive.yaml"), "/data/projects/{}/subjects/NEW/experiments/"),
    ],
    ids=["archived", "made"],
)
def test_sessions_of_a_new_subject_are_archived_one_before_the_others(
    server, tmp_path, capsys, monkeypatch, words, begins
):
    """By the server's own log: no second one begins before the first one was answered, and all are proved.

    Each waits for a second before it is logged, so that three at a time would be logged at one time.
    """
    with people(server) as person:
        kit, shell = Kit(person), Shell(server, tmp_path, capsys, monkeypatch)
        for number in range(3):
            kit.put(kit.source, "NEW", f"E{number}", kit.uid(f"E{number}"))
        name = shell.plan(kit.source, kit.destination, *words)
        where = begins.format(kit.destination)
        server.faults([{"fault": "latency", "path": where, "times": 3, "delay_s": DELAY_S}])
        before = len(server.log())
        code, said = shell("run", name)
        server.faults([])
        assert code == 0, said
        subjects = [row["label"] for row in kit.who.rows(f"/data/projects/{kit.destination}/subjects", columns="label")]
    assert subjects == ["NEW"]
    lines = [one for one in server.log()[before:] if one["path"].startswith(where) and one["method"] in ("POST", "PUT")]
    sent = sorted(one["time"] for one in lines if "pullDataFromHeaders" not in one["query"])
    assert len(sent) == 3 and sent[1] - sent[0] >= DELAY_S * 0.9
