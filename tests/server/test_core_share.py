"""Sharing and unsharing (REST test TestSharing; XNAT source: SecureResource, ProjSubExptList; a live 1.6.4)."""

from __future__ import annotations

import pytest
from share_kit import Pair


@pytest.fixture
def pair(study) -> Pair:
    found = Pair(study)
    yield found
    assert found.whole() == []


def test_a_shared_session_is_there_under_its_new_label_with_its_files(pair):
    assert (pair.share(pair.subject, "B01"), pair.share(pair.session, "B01_MR1")) == (200, 200)
    path = f"{pair.below}/subjects/B01/experiments/B01_MR1"
    assert pair.status(path) == 200
    assert pair.status(f"/data/experiments/{pair.ids['S01_MR1']}") == 200
    assert pair.status(pair.session) == pair.status(pair.subject) == 404
    rows = pair.there.rows(f"{path}/scans/1/files")
    assert {row["Name"] for row in rows} == {"a.dcm", "b.dcm"}
    assert pair.there.get(rows[0]["URI"]).content.startswith(b"S01_MR1")
    assert pair.projects(pair.session) == {pair.src: "S01_MR1", pair.dst: "B01_MR1"}
    assert pair.projects(pair.subject) == {pair.src: "S01", pair.dst: "B01"}


def test_a_shared_session_keeps_its_label_in_zips(pair):
    pair.share(pair.session, "B01_MR1")
    zipped = pair.there.get(f"{pair.below}/experiments/B01_MR1/scans/1/files", params={"format": "zip"})
    assert b"S01_MR1/scans/1-localizer/" in zipped.content


def test_lists_of_the_destination_show_its_view(pair):
    pair.share(pair.subject, "B01")
    pair.share(pair.session, "B01_MR1")
    (row,) = pair.there.rows(f"{pair.below}/experiments")
    assert (row["label"], row["project"], row["ID"]) == ("B01_MR1", pair.dst, pair.ids["S01_MR1"])
    (row,) = pair.there.rows(f"{pair.below}/experiments", columns="label,subject_label")
    assert (row["label"], row["subject_label"]) == ("B01_MR1", "B01")
    columns = "label,subject_label,session_project,session_label"
    (row,) = pair.there.rows(f"{pair.below}/experiments", columns=columns)  # columns of image sessions: the owner's
    assert (row["label"], row["subject_label"], row["session_project"]) == ("S01_MR1", "S01", pair.src)
    (row,) = pair.there.rows(f"{pair.below}/subjects")
    assert (row["label"], row["project"]) == ("B01", pair.src)
    assert pair.there.rows("/data/experiments", project=pair.dst) == []


def test_a_session_is_shared_without_its_subject(pair):
    pair.share(pair.session, "B01_MR1")
    assert pair.status(f"{pair.below}/experiments/B01_MR1") == 200
    assert pair.status(f"{pair.below}/subjects/WHATEVER/experiments/B01_MR1") == 200
    assert pair.status(f"{pair.below}/subjects/S01") == 404
    (row,) = pair.there.rows(f"{pair.below}/experiments", columns="label,subject_label")
    assert row["subject_label"] == "S01"


def test_a_subject_is_shared_without_its_sessions(pair):
    pair.share(pair.subject, "B01")
    assert pair.status(f"{pair.below}/subjects/B01") == 200
    assert pair.status(f"{pair.below}/experiments/S01_MR1") == 404
    assert pair.there.rows(f"{pair.below}/experiments") == []


def test_without_a_label_the_original_one_serves(pair):
    assert (pair.share(pair.subject), pair.share(pair.session)) == (200, 200)
    assert pair.status(f"{pair.below}/subjects/S01/experiments/S01_MR1") == 200
    assert pair.projects(pair.session)[pair.dst] == "S01_MR1"


def test_sharing_again_is_refused_and_still_changes_the_label(pair):
    pair.share(pair.session, "B01_MR1")
    answer = pair.owner.put(f"{pair.session}/projects/{pair.dst}")
    assert answer.status_code == 409
    assert f"<h3>Already assigned to project:{pair.dst}</h3>" in answer.text
    assert pair.share(pair.session, "B01_MR1") == 409
    assert pair.share(pair.session, "B01_MRX") == 409
    assert pair.projects(pair.session)[pair.dst] == "B01_MRX"
    assert pair.owner.put(f"{pair.session}/projects/{pair.src}").status_code == 409


def test_a_label_in_use_is_refused(pair):
    owned = f"{pair.below}/subjects/T/experiments/TAKEN"
    assert pair.owner.put(owned, params={"xsiType": "xnat:mrSessionData"}).status_code == 201
    answer = pair.owner.put(f"{pair.session}/projects/{pair.dst}", params={"label": "TAKEN"})
    assert (answer.status_code, "Label already in use:TAKEN" in answer.text) == (409, True)
    assert pair.share(pair.subject, "T") == 409
    assert pair.share(f"{pair.subject}/experiments/S01_MR2") == 200
    assert pair.share(pair.session, "S01_MR2") == 409
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}


def test_who_may_share_where(pair, person):
    assert pair.owner.put(f"{pair.session}/projects/{pair.far}", params={"label": "X"}).status_code == 403
    assert pair.owner.put(f"{pair.subject}/projects/{pair.far}").status_code == 403
    assert person("member").put(f"{pair.session}/projects/{pair.far}").status_code == 404
    assert pair.owner.put(f"{pair.session}/projects/NOPE").status_code == 404
    assert person("collaborator").put(f"{pair.session}/projects/{pair.dst}").status_code == 404
    assert pair.share(pair.session, "X", pair.there) == 404
    assert pair.share(f"{pair.subject}/experiments/NOPE", "X") == 417
    assert pair.share(pair.session, "M", person("member")) == 200


def test_by_accession_number(pair):
    accession = f"/data/experiments/{pair.ids['S01_MR1']}"
    assert pair.share(accession, "B01_MR1") == 200
    subject = next(row["ID"] for row in pair.owner.rows(f"/data/projects/{pair.src}/subjects"))
    assert pair.share(f"/data/subjects/{subject}", "B01") == 200
    assert pair.status(f"{pair.below}/subjects/B01/experiments/B01_MR1") == 200


def test_a_share_label_may_hold_anything(pair):
    assert pair.share(pair.session, "bad.label x") == 200
    assert pair.projects(pair.session)[pair.dst] == "bad.label x"


def test_editing_a_shared_session_needs_rights_in_both_projects(pair, person):
    pair.share(pair.session, "B01_MR1")
    path = f"{pair.below}/experiments/B01_MR1"
    headers = {"Content-Type": "application/octet-stream"}
    assert pair.there.put(path, params={"note": "mine"}).status_code == 403
    assert pair.there.put(f"{path}/resources/R/files/x", data=b"x", headers=headers).status_code == 200
    assert pair.owner.rows(f"{pair.session}/resources") == []
    assert person("member").put(path, params={"note": "ours"}).status_code == 200
    assert person("member").put(f"{path}/resources/R/files/x", data=b"x", headers=headers).status_code == 200
    assert [row["file_count"] for row in pair.owner.rows(f"{pair.session}/resources")] == ["1"]
    assert pair.owner.put(path, params={"project": pair.dst, "note": "x"}).status_code == 409
    assert pair.owner.put(path, params={"label": "OTHER"}).status_code == 409


@pytest.mark.parametrize("road", ["share", "destination"])
def test_unsharing_leaves_the_original(pair, person, road):
    pair.share(pair.session, "B01_MR1")
    path = {
        "share": f"{pair.session}/projects/{pair.dst}",
        "destination": f"{pair.below}/subjects/B01/experiments/B01_MR1",
    }[road]
    assert person("member").delete(path).status_code == 403
    assert person("collaborator").delete(path).status_code == 404
    assert pair.owner.delete(path, params={"removeFiles": "true"}).status_code == 200
    assert pair.owner.delete(path).status_code == (200 if road == "share" else 404)
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert pair.status(f"/data/experiments/{pair.ids['S01_MR1']}") == 404
    assert len(pair.owner.rows(f"{pair.session}/scans/ALL/files")) == 3


def test_unsharing_a_subject_unshares_its_sessions(pair):
    for item, label in ((pair.subject, "B01"), (pair.session, "B01_MR1")):
        pair.share(item, label)
    assert pair.there.delete(f"{pair.below}/subjects/B01").status_code == 200
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert pair.projects(pair.subject) == {pair.src: "S01"}
    assert pair.there.rows(f"{pair.below}/experiments") == []


def test_a_refused_unsharing_of_a_subject_has_unshared_sessions_before(pair):
    for item, label in ((pair.subject, "B01"), (pair.session, "B01_MR1")):
        pair.share(item, label)
    own = pair.there.put(f"{pair.below}/subjects/B01/experiments/OWN", params={"xsiType": "xnat:mrSessionData"})
    assert own.status_code == 201
    answer = pair.there.delete(f"{pair.below}/subjects/B01")
    assert (answer.status_code, "rather than un-share" in answer.text) == (403, True)
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert pair.projects(pair.subject) == {pair.src: "S01", pair.dst: "B01"}
    assert pair.status(f"{pair.below}/experiments/OWN") == 200


def test_below_the_owner_the_same_address_deletes_for_real(pair, person):
    pair.share(pair.session, "B01_MR1")
    assert person("member").delete(f"{pair.session}/projects/{pair.src}").status_code == 403
    assert pair.owner.delete(f"{pair.session}/projects/{pair.src}", params={"removeFiles": "true"}).status_code == 200
    assert pair.status(pair.session, pair.owner) == 404
    assert pair.there.rows(f"{pair.below}/experiments") == []


def test_a_project_that_goes_takes_its_shares_with_it(pair):
    for item, label in ((pair.subject, "B01"), (pair.session, "B01_MR1")):
        pair.share(item, label)
    assert pair.there.delete(pair.below).status_code == 200
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert pair.owner.put(pair.below).status_code == 403


def test_a_scan_alone_may_be_shared(pair, person):
    scan = f"{pair.session}/scans/1"
    assert pair.owner.put(f"{scan}/projects/{pair.dst}").status_code == 200
    assert pair.owner.put(f"{scan}/projects/{pair.dst}").status_code == 409
    assert pair.owner.put(f"{scan}/projects/{pair.src}").status_code == 409
    assert pair.owner.put(f"{scan}/projects/{pair.far}").status_code == 403
    assert pair.owner.put(f"{scan}/projects/NOPE").status_code == 404
    assert pair.owner.put(f"{pair.session}/scans/99/projects/{pair.dst}").status_code == 404
    assert set(pair.projects(scan)) == {pair.src, pair.dst}
    assert pair.status(f"/data/experiments/{pair.ids['S01_MR1']}") == 404, "its session is not"
    assert person("member").delete(f"{scan}/projects/{pair.dst}").status_code == 403
    assert pair.owner.delete(f"{scan}/projects/{pair.src}").status_code == 403
    assert pair.owner.delete(f"{scan}/projects/{pair.dst}").status_code == 200
    assert set(pair.projects(scan)) == {pair.src}
    assert pair.owner.put(f"{scan}/projects/{pair.dst}").status_code == 200
    assert pair.owner.put(f"{pair.session}/projects/{pair.dst}", params={"primary": "true"}).status_code == 200
    moved = f"{pair.below}/experiments/S01_MR1/scans/1"
    assert set(pair.projects(moved)) == {pair.dst}
    assert pair.owner.delete(moved).status_code == 200


def test_a_project_whose_items_may_not_be_shared(pair):
    """XNAT's feature "project sharing" is off for the source; what comes from another project is shared as ever."""
    theirs = f"/data/projects/{pair.far}/subjects/T01"
    assert pair.there.put(theirs).status_code == 201
    pair.owner.server.faults([{"fault": "sharing-off", "item": f"{pair.src}/"}])
    try:
        for item in (pair.subject, pair.session, f"{pair.session}/scans/1"):
            refused = pair.owner.put(f"{item}/projects/{pair.dst}")
            assert (refused.status_code, "Sharing is not allowed." in refused.text) == (403, True), item
            assert pair.dst not in pair.projects(item)
        assert pair.there.put(f"{theirs}/projects/{pair.dst}").status_code == 200
    finally:
        pair.owner.server.faults([])
    assert pair.share(pair.subject, "B01") == 200
