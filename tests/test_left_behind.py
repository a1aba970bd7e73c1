"""The plan of a copy names all that a session, its subject and their project hold and that does not travel."""

from __future__ import annotations

import dataclasses
import re

import pytest
from meddler import meddling, missing, shortens
from places import SMALL, make_place

from xnbtransfer import server as embedded
from xnbtransfer._rows import item_row
from xnbtransfer.errors import ExitCode
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan_file import Plan
from xnbtransfer.preparing import prepare
from xnbtransfer.transfer import run


@pytest.fixture(scope="module")
def place():
    """A project with A1 of A, that holds something of every kind that can be put there."""
    with embedded.running(demo=True) as demo, meddling(demo) as front:
        found = make_place(demo)
        found.hold("A1", "A", SMALL[0])
        subject = f"/data/projects/{found.project}/subjects/A"
        session = f"{subject}/experiments/A1"
        put = lambda path: found.request("PUT", path)  # noqa: E731
        put(f"{session}/assessors/A1_QC?xsiType=xnat:qcManualAssessorData")
        put(f"{session}?note=seen")
        put(f"{session}?xnat:ctSessionData/fields/field%5Bname%3Dvisit%5D/field=3")
        put(f"{session}/scans/1?xsiType=xnat:ctScanData&quality=unusable")
        put(f"{subject}?gender=female")
        found.request("PUT", f"{session}/resources/NOTES/files/n.txt?inbody=true", data=b"a note")
        found.request("PUT", f"{subject}/resources/CONSENT/files/c.pdf?inbody=true", data=b"consent")
        found.request("PUT", f"/data/projects/{found.project}/resources/PROTO/files/p.pdf?inbody=true", data=b"four")
        yield dataclasses.replace(found, server=front)


def planned(place, **values) -> Plan:
    given = {"source_project": place.project, "destination_project": place.other, "archive": True, **values}
    options = TransferOptions.from_mapping(given)
    with place.connect() as source, place.connect() as destination:
        return prepare(source, destination, options)


def named(made: Plan) -> set[tuple[str, ...]]:
    return {(one.kind, one.subject, one.session, one.scan, one.resource) for one in made.left_behind}


ALL = {
    ("assessor", "A", "A1", "", "A1_QC"),
    ("field", "A", "A1", "", "session/note"),
    ("field", "A", "A1", "", "session/field:visit"),
    ("field", "A", "A1", "1", "scan/quality"),
    ("field", "A", "", "", "subject/gender"),
    ("resource", "A", "A1", "", "NOTES"),
    ("resource", "A", "", "", "CONSENT"),
    ("resource", "", "", "", "PROTO"),
}


def test_all_that_does_not_travel_is_named(place, tmp_path):
    made = planned(place)
    assert named(made) == ALL
    (assessor,) = (one for one in made.left_behind if one.kind == "assessor")
    assert "xnat:qcManualAssessorData" in assessor.advice
    assert {one.resource: one.size_bytes for one in made.left_behind if one.resource in ("CONSENT", "PROTO")} == {
        "CONSENT": 7, "PROTO": 4
    }  # fmt: skip
    told = {one.rule: one.sentence for one in made.findings}
    assert "CONSENT of A" in told["P07"] and "PROTO of the project" in told["P07"]
    assert "A1_QC of A/A1" in told["P18"]
    assert "P19" not in told
    assert "female" not in made.to_json() and "unusable" not in made.to_json()
    assert Plan.load(made.save(tmp_path / "plan.json")) == made


def test_what_is_carried_is_not_left_behind(place):
    made = planned(place, resources=["*"], fields=["subject/*", "session/*"])
    assert named(made) == {
        ("assessor", "A", "A1", "", "A1_QC"), ("field", "A", "A1", "1", "scan/quality")
    }  # fmt: skip
    assert "P07" not in {one.rule for one in made.findings}


def test_a_subject_whose_document_is_not_read_is_told_and_its_session_asked_for(place):
    place.server.rule = lambda method, path: missing if re.search("/subjects/A[?]", path) else None
    try:
        made = planned(place)
    finally:
        place.server.rule = lambda method, path: None
    of_subject = {one for one in ALL if one[1] == "A" and not one[2]}
    assert named(made) == ALL - of_subject | {("unread", "A", "", "", "*")}
    assert [one.sentence for one in made.findings if one.rule == "P19"]


def test_it_costs_a_request_a_subject_and_two_for_the_project(place):
    place.server.seen.clear()
    planned(place)
    asked = [path for _, path, _ in place.server.seen]
    document = [path for path in asked if path.startswith(f"/data/projects/{place.project}/subjects/A?")]
    resources = [path for path in asked if path.startswith(f"/data/projects/{place.project}/resources?")]
    assert (len(document), len(resources)) == (1, 1)
    assert not any(re.match("/data/experiments/[^/,]+[?]format", path) for path in asked)


def test_reconstructions_and_lists_that_nobody_knows_are_of_a_document():
    def items(field, *rows):
        return {"field": field, "items": [{"data_fields": row, "children": []} for row in rows]}

    children = [items("reconstructions/reconstructedImage", {"ID": "R1"}), items("regions/region", {"a": 1}, {"a": 2})]
    found = item_row({"items": [{"data_fields": {"ID": "E1"}, "children": children}]})
    assert [(one["kind"], one["name"]) for one in found["beside"]] == [("reconstruction", "R1")]
    assert found["unknown"] == ["regions/region"]


def test_a_resource_above_the_sessions_is_whole_by_two_answers(place, tmp_path):
    more = f"/data/projects/{place.project}/resources/PROTO/files/q.pdf?inbody=true"
    place.request("PUT", more, data=b"five!")
    below = f"/data/projects/{place.project}/(files|resources/PROTO/files)[?]format=json"
    place.server.rule = lambda method, path: shortens if re.match(below, path) else None
    short = place.server.rule
    try:
        stopped = planned(place, resources=["PROTO"])
        assert any("2 are there by its server's own count" in one for one in stopped.blockers), stopped.blockers
        place.server.rule = lambda method, path: None
        made = planned(place, resources=["PROTO"])
        assert not made.blockers
        place.server.rule = short  # from here on: what a run is told
        with place.connect() as source, place.connect() as destination:
            result = run(made, source, destination, folder=tmp_path)
    finally:
        place.server.rule = lambda method, path: None
    of_it = result.files[result.files["resource"] == "PROTO"]
    assert result.exit_code != ExitCode.PROVED and len(of_it) == 2 and "equal" not in set(of_it["verdict"])
    assert all("no longer at the source as the plan saw it" in because for because in of_it["because"])
