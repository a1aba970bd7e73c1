"""What a session holds is said by two answers: where a list is short, empty or not found, nothing is deleted."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
from meddler import empties, meddling, missing, shortens
from places import SMALL, copied, make_place
from roads import make_plan
from test_finish_move import actions_of, because, carried, deletions, planned

from xnbtransfer import finish
from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode, XnbTransferError
from xnbtransfer.holdings import by_hand, differences, not_carried
from xnbtransfer.options import TransferOptions
from xnbtransfer.transfer import run


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture
def single(demo):
    """A project with A1 only, behind somebody who meddles."""
    found = make_place(demo)
    found.hold("A1", "A", SMALL[0])
    with meddling(demo) as front:
        yield dataclasses.replace(found, server=front)
    demo.faults([])


def of(place, session="A1", project="") -> str:
    return f"/data/projects/{project or place.project}/subjects/A/experiments/{session}"


def meddles(front, how, pattern: str, accession: str = "") -> None:
    """From now on each GET that the pattern finds is answered so."""

    def rule(method, path):
        return how if method == "GET" and re.search(pattern, path) and accession in path else None

    front.rule = rule


def stops(front) -> None:
    front.rule = lambda method, path: None


# -- the words --------------------------------------------------------------------------------------------------


def test_a_place_that_one_of_the_two_does_not_name_is_a_difference():
    counted = {("1", "DICOM"): 3, ("", "NOTES"): 1, ("2", "DICOM"): None, ("4", "DICOM"): 0}
    files = [{"scan": "1", "resource": "DICOM"}] * 2 + [{"scan": "2", "resource": "DICOM"}]
    files += [{"scan": "3", "resource": "DICOM"}]
    found = {(one.scan, one.resource): (one.listed, one.counted) for one in differences(counted, files)}
    assert found == {
        ("1", "DICOM"): (2, 3), ("", "NOTES"): (0, 1), ("2", "DICOM"): (1, None), ("3", "DICOM"): (1, 0)
    }  # fmt: skip
    assert not differences({("1", "DICOM"): 1}, [{"scan": "1", "resource": "DICOM"}])


def test_what_people_wrote_is_told_from_what_xnat_reads_from_headers():
    scans = [
        {"scan": "1", "quality": "usable", "type": "t1", "note": "", "series_description": "t1"},
        {"scan": "2", "quality": "unusable", "type": "T1_MOTION", "note": "no", "series_description": "t1"},
    ]
    fields = {"note": "seen", "fields/field[name=visit day]/field": "3", "scanner/model": "X", "dcmPatientName": "S1"}
    found = by_hand(scans, {**fields, "visit_id": "V1"})
    assert set(found) == {
        ("2", "scan/quality"), ("2", "scan/type"), ("2", "scan/note"),
        ("", "session/note"), ("", "session/field:visit day"), ("", "session/visit_id"),
    }  # fmt: skip
    item = {"by_hand": found, "reconstructions": ["R1"], "unknown": []}
    none = {"by_hand": {}, "reconstructions": [], "unknown": []}
    assert not not_carried(item, item | {"reconstructions": []}, ["reconstructions"])
    assert "scan/quality (scans 2)" in not_carried(item, none) and "reconstructions (1)" in not_carried(item, none)
    assert not_carried(item, none, ["scan/*", "session/*"]) == ["reconstructions (1)"]


# -- a deletion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [missing, empties, shortens])
@pytest.mark.parametrize("when", ["planning", "running"])
def test_a_list_of_files_that_is_not_whole_deletes_nothing(single, tmp_path, how, when):
    record = copied(single, tmp_path)
    pattern = "/scans/ALL/files[?]format=json"
    if when == "planning":
        meddles(single.server, how, pattern)
        try:
            made = planned(single, record)
        except XnbTransferError:
            return
        stops(single.server)
        assert actions_of(made) == {"A1": "skip"}
        return
    made = planned(single, record)
    meddles(single.server, how, pattern)
    result = carried(single, made, tmp_path / "run")
    assert result.exit_code != ExitCode.PROVED
    assert deletions(single) == []


@pytest.mark.parametrize("how", [missing, empties])
def test_a_resource_that_the_list_does_not_name_keeps_its_session(single, tmp_path, how):
    single.request("PUT", of(single) + "/resources/NOTES/files/n.txt?inbody=true", data=b"a note")
    record = copied(single, tmp_path)
    meddles(single.server, how, "/experiments/[^/]+/files[?]format=json")
    try:
        made = planned(single, record)
    except XnbTransferError:
        return
    assert actions_of(made) == {"A1": "skip"}
    assert "counts 1" in because(made, "A1")


def test_the_document_itself_is_no_proof_either(single, tmp_path):
    record = copied(single, tmp_path)
    made = planned(single, record)
    single.sql("UPDATE resources SET file_count=file_count+3 WHERE parent_kind='scan' AND label='DICOM'")
    try:
        assert actions_of(planned(single, record)) == {"A1": "skip"}
        result = carried(single, made, tmp_path / "run")
        assert result.exit_code != ExitCode.PROVED and deletions(single) == []
    finally:
        single.sql("UPDATE resources SET file_count=file_count-3 WHERE parent_kind='scan' AND label='DICOM'")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("/scans/1?xsiType=xnat:ctScanData&quality=unusable", "scan/quality"),
        ("/scans/1?xsiType=xnat:ctScanData&note=moved", "scan/note"),
        ("/scans/1?xsiType=xnat:ctScanData&type=MOTION", "scan/type"),
        ("?note=seen", "session/note"),
        ("?xnat:ctSessionData/fields/field%5Bname%3Dvisit%5D/field=3", "session/field:visit"),
    ],
)
def test_what_people_wrote_is_named_before_it_goes(single, tmp_path, field, name):
    single.request("PUT", of(single) + field)
    record = copied(single, tmp_path)
    made = planned(single, record)
    assert actions_of(made) == {"A1": "skip"} and name in because(made, "A1")
    assert actions_of(planned(single, record, abandon=[name])) == {"A1": "delete"}


def test_a_note_that_came_after_the_plan_stops_the_deletion(single, tmp_path):
    made = planned(single, copied(single, tmp_path))
    result = carried(
        single, made, tmp_path / "run", between=lambda: single.request("PUT", of(single) + "?note=seen")
    )
    assert result.exit_code != ExitCode.PROVED and deletions(single) == []


@pytest.mark.parametrize("below", ["experiments", "files"])
def test_a_subject_whose_lists_are_not_found_stays(single, tmp_path, below):
    made = planned(single, copied(single, tmp_path), empty_subjects=True)
    meddles(single.server, missing, f"/subjects/[^/]+/{below}[?]")
    result = carried(single, made, tmp_path / "run")
    assert result.exit_code != ExitCode.PROVED
    assert len(deletions(single)) == 1


@pytest.mark.parametrize("gone", [False, True])
def test_the_copy_is_looked_at_before_each_deletion_that_is_sent(single, tmp_path, gone):
    """503 with Retry-After, and meanwhile somebody deletes the copy."""
    made = planned(single, copied(single, tmp_path))
    sent = []

    def later(meddler, pass_on, method, path, body):
        if gone:
            single.request("DELETE", of(single, project=single.other) + "?removeFiles=true")
        return 503, b"later", [("Retry-After", "0"), ("Content-Type", "text/plain")]

    def rule(method, path):
        if method == "DELETE" and f"/projects/{single.project}/subjects/" in path:
            sent.append(path)
            return later if len(sent) == 1 else None
        return None

    single.server.rule = rule
    result = carried(single, made, tmp_path / "run")
    assert len(sent) == (1 if gone else 2)
    assert ("A1" in single.sessions()) == gone
    assert (result.exit_code == ExitCode.PROVED) != gone


def test_a_session_that_is_gone_without_an_answer_is_not_called_deleted(single, tmp_path):
    made = planned(single, copied(single, tmp_path))

    def lost(meddler, pass_on, method, path, body):
        pass_on(body)
        return 504, b"", [("Content-Type", "text/plain")]

    single.server.rule = lambda method, path: lost if method == "DELETE" and "/experiments/" in path else None
    result = carried(single, made, tmp_path / "run")
    assert list(result.sessions["state"]) == ["not found"]
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    again = carried(single, made, tmp_path / "run")
    assert again.exit_code == ExitCode.CANNOT_BE_PROVED


@pytest.mark.parametrize("clock", ["clock_gettime", "time"])
def test_a_proof_grows_old_while_the_machine_sleeps(monkeypatch, clock):
    since, real = finish.moment(), getattr(time, clock)
    assert finish.age_s(since) < finish.PROOF_HOLDS_S
    monkeypatch.setattr(finish.time, clock, lambda *which: real(*which) + 3600)
    assert finish.age_s(since) > finish.PROOF_HOLDS_S


# -- a copy -----------------------------------------------------------------------------------------------------


def copies(place, root):
    """Plan and run a copy; what came of it, or the code of what refused it."""
    options = TransferOptions.from_mapping(
        {"source_project": place.project, "destination_project": place.other, "archive": True}
    )
    with place.connect() as source, place.connect() as destination:
        made = make_plan(source, destination, options)
        return made, run(made, source, destination, folder=root)


@pytest.mark.parametrize("how", [missing, empties, shortens])
def test_a_copy_of_half_a_list_is_not_all_proved(single, tmp_path, how):
    (accession,) = {one["session_id"] for one in ids(single)}
    meddles(single.server, how, "/scans/ALL/files[?]format=json", accession)
    try:
        made, result = copies(single, tmp_path)
    except XnbTransferError as problem:
        assert problem.exit_code != ExitCode.PROVED
        return
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    assert "counts 10" in " ".join(result.files["because"])
    stops(single.server)
    with single.connect() as source, single.connect() as destination:
        again = run(made, source, destination, folder=tmp_path)
    assert again.exit_code == ExitCode.CANNOT_BE_PROVED


def ids(place):
    with place.connect() as connection:
        return connection.sessions(place.project)


def test_a_copy_says_what_a_lost_list_of_resources_hid(single, tmp_path):
    single.request("PUT", of(single) + "/resources/NOTES/files/n.txt?inbody=true", data=b"a note")
    meddles(single.server, empties, "/experiments/[^/]+/files[?]format=json")
    _, result = copies(single, tmp_path)
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    assert "NOTES of the session" in " ".join(result.files["because"])


def test_a_copy_asks_for_one_document_a_session(single, tmp_path):
    single.request("PUT", of(single) + "/resources/NOTES/files/n.txt?inbody=true", data=b"a note")
    (accession,) = {one["session_id"] for one in ids(single)}
    single.server.seen.clear()
    _, result = copies(single, tmp_path)
    assert result.exit_code == ExitCode.PROVED
    asked = [path for method, path, _ in single.server.seen if path.startswith(f"/data/experiments/{accession}?")]
    assert len(asked) == 1


def test_ratings_of_scans_are_told_in_the_plan_of_a_copy(single):
    for field in ("quality=unusable", "note=moved", "type=MOTION"):
        single.request("PUT", of(single) + f"/scans/1?xsiType=xnat:ctScanData&{field}")
    options = TransferOptions.from_mapping({"source_project": single.project, "destination_project": single.other})
    with single.connect() as source, single.connect() as destination:
        made = make_plan(source, destination, options)
    told = [one.sentence for one in made.findings if one.rule == "P17"]
    assert [one.split()[1] for one in told] == ["note", "quality", "type"]
    assert all("A/A1 scan 1" in one and "MOTION" not in one for one in told)
