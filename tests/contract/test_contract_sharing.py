"""Sharing, moving, deleting: items 121 to 131."""

from __future__ import annotations

import pytest
from contract_kit import message


@pytest.fixture
def pair(desk, other):
    """(source, destination): one session with a file, and the outsider is a member of the destination only."""
    other.invite("outsider", "Members")
    other.site.renew()
    desk.accession_of_it = desk.session("S1", "S1_MR1")
    desk.scan(desk.accession_of_it, "1")
    path = f"/data/experiments/{desk.accession_of_it}/scans/1/resources/R/files/x.txt"
    assert desk.upload(path, b"some bytes").status_code == 200
    return desk, other


def subject(desk) -> str:
    return f"{desk.path}/subjects/S1"


def session(desk) -> str:
    return f"{desk.path}/subjects/S1/experiments/S1_MR1"


def share(source, target, who: str = "owner", **params: str) -> tuple[int, int]:
    """Share subject and session; the two statuses."""
    found = []
    for path in (subject(source), session(source)):
        given = {"label": params["label"] + ("_MR1" if path == session(source) else "")} if "label" in params else {}
        found.append(source.person(who).put(f"{path}/projects/{target.project}", params=given).status_code)
    return found[0], found[1]


def owners(desk) -> list[str]:
    return [row["ID"] for row in desk.owner.rows(f"/data/experiments/{desk.accession_of_it}/projects")]


def exists(agent, path: str) -> int:
    return agent.get(path, params={"format": "json"}).status_code


@pytest.mark.parametrize("kind", ["scan", "session", "subject"])
def test_item_126_delete(pair, kind):
    """Deleting by role: member 403, stranger 404, owner 200, again 404.

    Source: REST tests TestSharing, TestExptAssessmentResources.
    """
    source, _ = pair
    path = {"subject": subject(source), "session": session(source), "scan": f"{session(source)}/scans/1"}[kind]
    for role, status in (("member", 403), ("collaborator", 403), ("outsider", 404), ("owner", 200), ("owner", 404)):
        answer = source.person(role).delete(path, params={"removeFiles": "true"})
        assert answer.status_code == status, f"{role}: {message(answer)}"


def test_item_130_delete_by_number(pair):
    """A session is deleted by its accession number. Source: REST test TestContextlessExperiments."""
    source, _ = pair
    source.site.since("1.8.5")
    assert source.owner.delete(f"/data/experiments/{source.accession_of_it}").status_code == 200
    assert source.sessions() == {}


def test_item_131_neighbours(pair):
    """Deleting a session without files leaves its neighbours. Source: REST test TestDeletionAccuracy."""
    source, target = pair
    source.session("S1", "EMPTY")
    target.session("S1", "EMPTY")
    params = {"removeFiles": "true"}
    assert source.owner.delete(f"{subject(source)}/experiments/EMPTY", params=params).status_code == 200
    assert set(source.sessions()) == {"S1_MR1"}
    assert set(target.sessions()) == {"EMPTY"}
    assert source.owner.get(f"{session(source)}/scans/1/resources/R/files/x.txt").content == b"some bytes"
