"""Assessors of a session's images (XNAT source: SubjAssessmentResource; REST test TestSharing)."""

from __future__ import annotations

import io
import zipfile

import pytest
from share_kit import Pair

QC = "xnat:qcManualAssessorData"


@pytest.fixture
def pair(study) -> Pair:
    return Pair(study)


def make(pair: Pair, label: str, session: str = "", who=None, **fields: str):
    given = {"xsiType": QC, **fields}
    return (who or pair.owner).put(f"{session or pair.session}/assessors/{label}", params=given)


def names(rows: list[dict]) -> set[str]:
    return {row["label"] for row in rows}


@pytest.mark.parametrize("address", ["subject", "project", "number"])
def test_an_assessor_is_made_read_and_changed_by_any_address(pair, address):
    session = {
        "subject": pair.session,
        "project": f"{pair.study.path}/experiments/S01_MR1",
        "number": f"/data/experiments/{pair.ids['S01_MR1']}",
    }[address]
    made = make(pair, "QC1", session, rater="olga", date="2024-02-03")
    assert made.status_code == 201
    accession = made.text.strip()
    again = pair.owner.put(f"{session}/assessors/QC1", params={"rater": "otto"})
    assert (again.status_code, again.text.strip()) == (200, accession)
    for path in (f"{session}/assessors/QC1", f"{session}/assessors/{accession}", f"/data/experiments/{accession}"):
        (item,) = pair.owner.get(path, params={"format": "json"}).json()["items"]
        assert item["meta"]["xsi:type"] == QC
        fields = item["data_fields"]
        assert fields["imageSession_ID"] == pair.ids["S01_MR1"]
        assert (fields["ID"], fields["label"], fields["rater"], fields["date"]) == (
            accession, "QC1", "otto", "2024-02-03",
        )  # fmt: skip
    assert not pair.whole()


def test_an_assessor_is_listed_with_its_session_and_not_in_its_project(pair):
    accession = make(pair, "QC1").text.strip()
    (row,) = pair.owner.rows(f"{pair.session}/assessors")
    assert (row["ID"], row["label"], row["xsiType"]) == (accession, "QC1", QC)
    assert row["URI"] == f"/data/experiments/{accession}"
    assert not pair.owner.rows(f"{pair.subject}/experiments/S01_MR2/assessors")
    every = pair.owner.rows("/data/experiments", project=pair.src, columns="label")
    assert names(every) == {"QC1", *pair.ids}
    assert names(pair.owner.rows("/data/experiments", project=pair.src, xsiType=QC, columns="label")) == {"QC1"}
    for path in (f"{pair.study.path}/experiments", f"{pair.subject}/experiments"):
        assert names(pair.owner.rows(path, columns="label")) == set(pair.ids)
    sessions = pair.owner.rows("/data/experiments", project=pair.src, columns="label,UID")
    assert names(sessions) == set(pair.ids), "columns of sessions make it a list of sessions"
    (item,) = pair.owner.get(pair.session, params={"format": "json"}).json()["items"]
    (below,) = [child["items"] for child in item["children"] if child["field"] == "assessors/assessor"]
    assert [one["data_fields"]["ID"] for one in below] == [accession]


def test_assessors_and_scans_multiply_rows(pair):
    make(pair, "QC1")
    make(pair, "QC2")
    columns = "label,xnat:imageAssessorData/label,xnat:qcManualAssessorData/rater,xnat:imageScanData/id"
    rows = pair.owner.rows("/data/experiments", project=pair.src, xsiType="xnat:imageSessionData", columns=columns)
    found = sorted(
        (row["label"], row["xnat:imageassessordata/label"], row["xnat:imagescandata/id"]) for row in rows
    )
    assert found == [
        ("S01_CT1", "", "1"), ("S01_MR1", "QC1", "1"), ("S01_MR1", "QC1", "2"), ("S01_MR1", "QC2", "1"),
        ("S01_MR1", "QC2", "2"), ("S01_MR2", "", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "given", "status"),
    [
        ("QC1", {"xsiType": ""}, 417),
        ("QC1", {"xsiType": "xnat:mrSessionData"}, 400),
        ("QC1", {"xsiType": "xnat:mrScanData"}, 400),
        ("Q C", {}, 417),
        ("S01_MR2", {}, 409),
        ("QC1", {"date": "not a day"}, 400),
    ],
)
def test_what_is_no_assessor_is_refused(pair, label, given, status):
    assert make(pair, label, **given).status_code == status
    assert not pair.owner.rows(f"{pair.session}/assessors")


def test_roles(pair):
    for role, status in (("outsider", 404), ("collaborator", 403), ("member", 201)):
        assert make(pair, "QC1", who=pair.person(role)).status_code == status, role
    path = f"{pair.session}/assessors/QC1"
    for role, status in (("outsider", 404), ("member", 403), ("owner", 200), ("owner", 404)):
        assert pair.person(role).delete(path, params={"removeFiles": "true"}).status_code == status, role


def test_files_of_an_assessor(pair):
    accession = make(pair, "QC1").text.strip()
    path = f"{pair.session}/assessors/QC1"
    headers = {"Content-Type": "application/octet-stream"}
    stored = pair.owner.put(f"{path}/resources/QC/files/a/note.txt", data=b"fine", headers=headers)
    assert stored.status_code == 200, stored.text
    (row,) = pair.owner.rows(f"{path}/files")
    assert (row["Name"], row["collection"], row["Size"]) == ("note.txt", "QC", "4")
    assert row["URI"].startswith(f"/data/experiments/{pair.ids['S01_MR1']}/assessors/{accession}/out/resources/")
    assert pair.owner.get(row["URI"]).content == b"fine"
    assert row["URI"] in {one["URI"] for one in pair.owner.rows(f"{pair.session}/files", all="true")}
    every = pair.owner.rows(f"{pair.session}/resources", all="true")
    assert [(one["cat_id"], one["label"], one["file_count"]) for one in every if one["category"] == "assessors"] == [
        (accession, "QC", "1")
    ]
    assert not pair.whole()


def test_what_went_into_an_assessor_is_apart_from_what_came_out(pair):
    accession = make(pair, "QC1").text.strip()
    path = f"{pair.session}/assessors/QC1"
    headers = {"Content-Type": "application/octet-stream"}
    for side, data in (("in", b"went in"), ("out", b"came out")):
        stored = pair.owner.put(f"{path}/{side}/resources/QC/files/note.txt", data=data, headers=headers)
        assert stored.status_code == 200, stored.text
    (out,) = pair.owner.rows(f"{path}/out/files")
    assert pair.owner.rows(f"{path}/files") == [out], "an address without a side is that of what came out"
    (into,) = pair.owner.rows(f"{path}/in/files")
    assert into["URI"].startswith(f"/data/experiments/{pair.ids['S01_MR1']}/assessors/{accession}/in/resources/")
    assert [pair.owner.get(row["URI"]).content for row in (into, out)] == [b"went in", b"came out"]
    assert [row["label"] for row in pair.owner.rows(f"{path}/in/resources")] == ["QC"]
    every = {row["URI"] for row in pair.owner.rows(f"{pair.session}/files", all="true")}
    assert out["URI"] in every
    assert into["URI"] not in every
    moved = pair.owner.put(f"{pair.session}/projects/{pair.dst}", params={"primary": "true"})
    assert moved.status_code == 200
    assert pair.owner.get(into["URI"]).content == b"went in"
    assert not pair.whole()
    assert pair.owner.delete(into["URI"].partition("/files/")[0]).status_code == 200
    assert pair.owner.get(out["URI"]).content == b"came out"
    assert not pair.whole()


def test_assessors_in_a_download(pair):
    accession = make(pair, "QC1").text.strip()
    path = f"{pair.session}/assessors/QC1/resources/QC/files/a/note.txt"
    pair.owner.put(path, data=b"fine", headers={"Content-Type": "application/octet-stream"})
    asked = {"sessions": [f"{pair.src}:S01:S01_MR1:{pair.ids['S01_MR1']}"], "projectIds": [pair.src]}
    asked |= {"assessors": [QC]}
    for options, name in (([], "S01_MR1/assessors/QC1/resources/QC"), (["simplified"], "S01_MR1/QC1/QC")):
        found = pair.owner.post("/xapi/archive/downloadwithsize", json={**asked, "options": options}).json()
        assert found["size"] == "4"
        xml = pair.owner.get(f"/xapi/archive/download/{found['id']}/xml").text
        assert f"/archive/experiments/{pair.ids['S01_MR1']}/assessors/{accession}/out/resources/QC/files" in xml
        packed = zipfile.ZipFile(io.BytesIO(pair.owner.get(f"/xapi/archive/download/{found['id']}/zip").content))
        assert packed.namelist() == [f"{name}/a/note.txt"]
    none = {**asked, "assessors": ["xnat:petAssessorData"]}
    assert pair.owner.post("/xapi/archive/downloadwithsize", json=none).json()["size"] == "0"


def test_assessors_go_with_their_session(pair):
    accession = make(pair, "QC1").text.strip()
    for side in ("in", "out"):
        path = f"{pair.session}/assessors/QC1/{side}/resources/QC/files/note.txt"
        pair.owner.put(path, data=b"fine", headers={"Content-Type": "application/octet-stream"})
    assert pair.owner.delete(pair.session, params={"removeFiles": "true"}).status_code == 200
    assert pair.status(f"/data/experiments/{accession}", pair.owner) == 404
    assert not pair.whole()


def test_a_move_leaves_assessors_with_their_owner_but_for_those_named(pair):
    ids = {label: make(pair, label).text.strip() for label in ("QC1", "QC2")}
    headers = {"Content-Type": "application/octet-stream"}
    for label in ids:
        path = f"{pair.session}/assessors/{label}/resources/QC/files/note.txt"
        assert pair.owner.put(path, data=label.encode(), headers=headers).status_code == 200
    moved = pair.owner.put(
        f"{pair.session}/projects/{pair.dst}", params={"primary": "true", "moveAssessors": ids["QC2"]}
    )
    assert moved.status_code == 200
    assert pair.projects(f"/data/experiments/{ids['QC1']}") == {pair.src: "QC1"}
    assert pair.projects(f"/data/experiments/{ids['QC2']}") == {pair.dst: "QC2"}
    session = f"/data/experiments/{pair.ids['S01_MR1']}"
    for label in ids:
        got = pair.owner.get(f"{session}/assessors/{label}/resources/QC/files/note.txt")
        assert (got.status_code, got.content) == (200, label.encode())
    assert names(pair.there.rows(f"{session}/assessors")) == {"QC2"}, "the other is in a project they cannot read"
    assert not pair.whole()
    assert pair.owner.delete(f"/data/projects/{pair.src}", params={"removeFiles": "true"}).status_code == 403
    assert not pair.whole()


def test_a_named_assessor_whose_label_is_taken_stops_a_move(pair):
    accession = make(pair, "QC1").text.strip()
    taken = pair.owner.put(f"{pair.below}/subjects/S9/experiments/QC1", params={"xsiType": "xnat:mrSessionData"})
    assert taken.status_code == 201
    moved = pair.owner.put(f"{pair.session}/projects/{pair.dst}", params={"primary": "true", "moveAssessors": "QC1"})
    assert moved.status_code == 409
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert pair.projects(f"/data/experiments/{accession}") == {pair.src: "QC1"}
    assert not pair.whole()


def test_an_assessor_is_shared_by_itself(pair):
    make(pair, "QC1")
    path = f"{pair.session}/assessors/QC1"
    assert pair.owner.put(f"{path}/projects/{pair.dst}", params={"label": "THEIRS"}).status_code == 200
    assert pair.projects(path) == {pair.src: "QC1", pair.dst: "THEIRS"}
    assert pair.status(pair.session) == 404, "its session is not"
    assert pair.owner.delete(f"{path}/projects/{pair.dst}").status_code == 200
    assert pair.projects(path) == {pair.src: "QC1"}
    assert not pair.whole()


def test_a_project_that_has_a_session_shared_owns_what_it_makes_there(pair):
    assert pair.share(pair.subject, "S1") == 200
    assert pair.share(pair.session, "M1") == 200
    below = f"{pair.below}/subjects/S1/experiments/M1"
    accession = make(pair, "QC9", below, who=pair.there).text.strip()
    headers = {"Content-Type": "application/octet-stream"}
    path = f"{below}/assessors/QC9/resources/QC/files/note.txt"
    assert pair.there.put(path, data=b"fine", headers=headers).status_code == 200
    assert pair.projects(f"/data/experiments/{accession}") == {pair.dst: "QC9"}
    assert not pair.whole()
    assert pair.owner.delete(f"/data/projects/{pair.dst}", params={"removeFiles": "true"}).status_code == 200
    assert pair.status(f"/data/experiments/{accession}", pair.owner) == 404
    assert not pair.whole()
