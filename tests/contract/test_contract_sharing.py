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


def test_item_121_share(pair):
    """Subject and session are shared under new labels. Source: REST test TestSharing.testUnShared."""
    source, target = pair
    assert share(source, target, label="B1") == (200, 200)
    reader = target.person("outsider")
    shared = f"{target.path}/subjects/B1/experiments/B1_MR1"
    assert exists(reader, shared) == 200
    assert reader.get(f"{shared}/scans/1/resources/R/files/x.txt").content == b"some bytes"
    assert exists(reader, session(source)) == 404


def test_item_121a_whose_subject(pair):
    """Which subject a listed session has, and whose it is. Source: XMLPathShortcuts lines 127 to 129."""
    source, target = pair
    share(source, target, label="B1")
    number = target.owner.rows(f"{target.path}/subjects", columns="ID,label")[0]["ID"]
    made = f"{target.path}/subjects/B1/experiments/B1_MR2"
    assert target.owner.put(made, params={"xsiType": "xnat:mrSessionData"}).status_code in (200, 201)
    columns = "label,subject_label,session_project,subject_ID,subject_project"
    listed = target.owner.rows(f"{target.path}/experiments", xsiType="xnat:imageSessionData", columns=columns)
    found = {row["label"]: row for row in listed}
    assert {row["subject_project"] for row in found.values()} == {source.project}
    assert {row["subject_ID"] for row in found.values()} == {number}
    assert found["B1_MR2"]["session_project"] == target.project
    assert {row["subject_label"] for row in found.values()} == {"S1"}, "the owner's"


def test_item_122_share_without_label(pair):
    """Without a label the original one is used. Source: REST test TestSharing."""
    source, target = pair
    assert share(source, target) == (200, 200)
    assert exists(target.person("outsider"), f"{target.path}/subjects/S1/experiments/S1_MR1") == 200


def test_item_123_share_refused(pair):
    """Shared before, or owned: 409; label in use: 409; no right: 403; unknown destination: 404.

    Source: SecureResource.
    """
    source, target = pair
    path = f"{session(source)}/projects"
    target.session("OTHER", "TAKEN")
    assert source.owner.put(f"{path}/{source.project}").status_code == 409
    assert source.owner.put(f"{path}/{target.project}", params={"label": "TAKEN"}).status_code == 409
    assert source.owner.put(f"{path}/NO_SUCH_PROJECT").status_code == 404
    target.invite("member", "Collaborators")
    target.site.renew()
    assert source.person("member").put(f"{path}/{target.project}", params={"label": "B1"}).status_code == 403
    assert owners(source) == [source.project]
    assert source.owner.put(f"{path}/{target.project}", params={"label": "B1"}).status_code == 200
    assert source.owner.put(f"{path}/{target.project}").status_code == 409


def test_item_124_unshare_by_deleting(pair):
    """Deleting in the destination ends the sharing; the original stays. Source: REST test TestSharing."""
    source, target = pair
    assert share(source, target, label="B1") == (200, 200)
    assert target.owner.delete(f"{target.path}/subjects/B1").status_code == 200
    assert exists(source.owner, session(source)) == 200
    assert source.owner.get(f"{session(source)}/scans/1/resources/R/files/x.txt").content == b"some bytes"
    reader = target.person("outsider")
    assert exists(reader, f"{target.path}/subjects/B1") == 404
    assert exists(reader, f"/data/experiments/{source.accession_of_it}") == 404


def test_item_125_unshare(pair):
    """Ending one sharing by its own address. Source: REST tests TestSharing, TestExptAssessmentResources."""
    source, target = pair
    assert share(source, target, label="B1") == (200, 200)
    assert owners(source) == [source.project, target.project]
    assert source.owner.delete(f"{session(source)}/projects/{target.project}").status_code == 200
    assert owners(source) == [source.project]


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


def test_item_127_move(pair):
    """Subject, then session become the destination's, with number and files.

    Source: REST test TestAnonymizerLegacy.testProjectChange.
    """
    source, target = pair
    for path in (subject(source), session(source)):
        answer = source.owner.put(f"{path}/projects/{target.project}", params={"primary": "true"})
        assert answer.status_code == 200, message(answer)
    moved = target.sessions()["S1_MR1"]
    assert (moved["ID"], moved["project"]) == (source.accession_of_it, target.project)
    path = f"{target.path}/subjects/S1/experiments/S1_MR1/scans/1/resources/R/files/x.txt"
    assert target.owner.get(path).content == b"some bytes"
    assert source.sessions() == {}
    assert owners(source) == [target.project]


def test_item_128_move_refused(pair):
    """Without the right to delete in the source: 403; into its own project: 409.

    Source: SecureResource.changeExperimentPrimaryProject.
    """
    source, target = pair
    target.invite("member", "Owners")
    target.site.renew()
    given = {"primary": "true"}
    move = f"{session(source)}/projects"
    assert source.person("member").put(f"{move}/{target.project}", params=given).status_code == 403
    assert source.owner.put(f"{move}/{source.project}", params=given).status_code == 409
    assert owners(source) == [source.project]


def test_item_129_move_a_subject(pair):
    """A subject that moves leaves its sessions behind. Source: MoverMaker, SubjectResource."""
    source, target = pair
    answer = source.owner.put(f"{subject(source)}/projects/{target.project}", params={"primary": "true"})
    assert answer.status_code == 200, message(answer)
    assert [row["project"] for row in target.owner.rows(f"{target.path}/subjects")] == [target.project]
    assert source.sessions()["S1_MR1"]["project"] == source.project
    assert target.sessions() == {}


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
