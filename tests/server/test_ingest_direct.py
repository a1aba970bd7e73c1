"""Straight into the archive: item 117 of the conformance checklist."""

from __future__ import annotations

import pytest
from ingest_kit import Desk, desk, series  # noqa: F401


def begin(desk: Desk, **given: str) -> str:  # noqa: F811
    answer = desk.send(series(1, 2), PROJECT_ID=desk.project, EXPT_LABEL="E1", **{"Direct-Archive": "true"}, **given)
    assert answer.status_code == 200, answer.text
    return answer.text.strip()


def test_item_117_direct_archive(desk):  # noqa: F811
    uri = begin(desk)
    assert uri.startswith(f"/xapi/direct-archive/{desk.project}/")
    assert uri.endswith("/E1")
    assert desk.waiting() == []
    row = desk.owner.get(uri).json()
    assert (row["status"], row["project"], row["name"]) == ("RECEIVING", desk.project, "E1")
    assert desk.owner.post(uri).status_code == 200
    assert desk.scans("E1") == {"1": 2}
    assert desk.owner.get(uri).status_code == 404


def test_item_117_what_is_there_already_waits_in_the_prearchive(desk):  # noqa: F811
    """XNAT source: DirectArchiveSessionServiceImpl.getOrCreate."""
    assert desk.owner.post(begin(desk)).status_code == 200
    assert begin(desk).startswith(f"/data/prearchive/projects/{desk.project}/")
    (row,) = desk.waiting()
    assert (row["status"], row["name"]) == ("RECEIVING", "E1")


def test_item_117_a_duplicate_becomes_a_conflict_of_the_prearchive(desk):  # noqa: F811
    uri = begin(desk)
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    assert desk.owner.post(uri).status_code == 500
    (row,) = desk.waiting()
    assert (row["status"], row["name"]) == ("CONFLICT", "E1")
    assert "Attempt to direct-archive failed" in desk.owner.get(f"/data{row['url']}/logs/last").text


def test_a_destination_in_the_archive_archives_at_once(desk):  # noqa: F811
    """As xnat4tests uploads: dest=/archive/... and Direct-Archive=true."""
    dest = f"/archive/projects/{desk.project}/subjects/S1/experiments/E1"
    answer = desk.send(series(1, 2), dest=dest, **{"Direct-Archive": "true"})
    assert (answer.status_code, answer.text.strip()) == (200, f"/data{dest}")
    assert desk.scans("E1") == {"1": 2}
    assert desk.owner.post("/xapi/direct-archive", json={}).json() == []


def test_more_of_the_same_study_joins(desk):  # noqa: F811
    uri = begin(desk)
    answer = desk.send(series(2, 3), PROJECT_ID=desk.project, EXPT_LABEL="E1", **{"Direct-Archive": "true"})
    assert answer.text.strip() == uri
    assert desk.owner.post(uri).status_code == 200
    assert desk.scans("E1") == {"1": 2, "2": 3}


@pytest.mark.parametrize(("role", "status"), [("collaborator", 403), ("outsider", 403), ("member", 200)])
def test_who_may(desk, role, status):  # noqa: F811
    uri = begin(desk)
    person = desk.person(role)
    rows = person.post("/xapi/direct-archive", json={"page": 1, "size": 100}).json()
    listed = [f"/xapi/direct-archive/{row['project']}/{row['tag']}/{row['name']}" for row in rows]
    assert (uri in listed) is (status == 200)
    assert person.get(uri).status_code == status
    assert person.post(uri).status_code == status


def test_deleting_and_idling(desk):  # noqa: F811
    row = desk.owner.get(begin(desk)).json()
    assert desk.owner.delete(f"/xapi/direct-archive/{row['id']}").status_code == 200
    assert desk.owner.delete(f"/xapi/direct-archive/{row['id']}").status_code == 404
    desk.set_site("sessionXmlRebuilderInterval", "0")
    try:
        begin(desk)
        desk.wait_for(lambda: desk.scans("E1") == {"1": 2})
    finally:
        desk.set_site("sessionXmlRebuilderInterval", "5")
