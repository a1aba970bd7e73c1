"""Lists: items 45 to 66."""

from __future__ import annotations

import hashlib

import pytest
from contract_kit import keys

SESSIONS = {"ID", "project", "xsiType", "date", "label", "insert_date", "URI"}
SCANS = {"xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description", "URI"}
FILES = {"Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest"}
LONG = "xnat:experimentData/date,xnat:imageSessionData/modality,xnat:imageSessionData/UID"
SCAN = "xnat:imagescandata"


def sessions(seen, **params: str) -> list[dict]:
    return seen.owner.rows("/data/experiments", project=seen.project, **params)


def labels(rows: list[dict]) -> set[str]:
    return {row["label"] for row in rows}


def test_item_045_sessions(seen):
    """Default keys of sessions. Source: REST test TestDynamicSearchSubjectAssessors."""
    rows = sessions(seen)
    assert keys(rows) == SESSIONS
    assert {row["URI"] for row in rows} == {f"/data/experiments/{key}" for key in seen.ids.values()}


def test_item_046_one_column(seen):
    """`columns=ID` still brings project, type and URI. Source: REST test TestDynamicSearchSubjectAssessors."""
    assert keys(sessions(seen, columns="ID")) == {"ID", "project", "xsiType", "URI"}


def test_item_047_long_names(seen):
    """Columns by path have the keys of their shortcuts. Source: REST test TestDynamicSearchSubjectAssessors."""
    found = sessions(seen, columns=LONG)
    assert keys(found) == {"session_ID", "URI", "xsiType", "project", "date", "modality", "UID"}
    assert {row["UID"] for row in found} == {"1.2.3.1", "1.2.3.2", "2.25.3"}


def test_item_048_short_names(seen):
    """Short names give the same keys. Source: REST test TestDynamicSearchSubjectAssessors."""
    assert keys(sessions(seen, columns="date,modality,UID")) == keys(sessions(seen, columns=LONG))


def test_item_049_one_type(seen):
    """With a type: its own key, and rows of that type only. Source: REST test TestDynamicSearchSubjectAssessors."""
    found = sessions(seen, columns=LONG, xsiType="xnat:mrSessionData")
    assert keys(found) == {"xnat:mrsessiondata/id", "URI", "date", "modality", "UID"}
    assert {row["xnat:mrsessiondata/id"] for row in found} == {seen.ids["S1_MR1"], seen.ids["S1_MR2"]}


@pytest.mark.parametrize(
    ("params", "expected"),
    [({"UID": "1.2.*"}, {"S1_MR1", "S1_MR2"}), ({"date": "07/01/2018-07/14/2018"}, {"S1_MR1", "S1_CT1"})],
)
def test_item_050_filters(seen, params, expected):
    """UIDs by wildcard, dates by range. Source: REST test TestDynamicSearchSubjectAssessors."""
    assert labels(sessions(seen, columns="label,date,UID", **params)) == expected


def test_item_051_columns_of_assessors(desk):
    """Columns of assessors: a row an assessor; a session without any has one row with empty cells.

    Source: REST test TestDynamicSearchSubjectAssessors; recorded from 1.6.4: listings 11.
    """
    ids = {label: desk.session("S1", label, "mr") for label in ("S1_MR1", "S1_MR2")}
    made = {desk.assessor(ids["S1_MR1"], label): label for label in ("S1_QC1", "S1_QC2")}
    columns = "xnat:imageAssessorData/id,xnat:imageAssessorData/label"
    found = sessions(desk, xsiType="xnat:imageSessionData", columns=columns)
    assert keys(found) == {
        "session_ID", "project", "xsiType", "URI", "xnat:imageassessordata/id", "xnat:imageassessordata/label",
    }  # fmt: skip
    cells = ("session_ID", "xnat:imageassessordata/id", "xnat:imageassessordata/label")
    expected = [(ids["S1_MR1"], accession, label) for accession, label in made.items()] + [(ids["S1_MR2"], "", "")]
    assert sorted(tuple(row[cell] for cell in cells) for row in found) == sorted(expected)


def test_item_052_subjects(seen):
    """Keys of subjects; the total is text. Source: REST test TestDynamicSearchSubjects."""
    result = seen.owner.table(f"{seen.path}/subjects")
    assert keys(result["Result"]) == {"ID", "URI", "project", "label", "insert_date", "insert_user"}
    assert result["totalRecords"] == str(len(result["Result"])) == "1"


def test_item_053_subjects_with_scans(seen):
    """Subjects joined with sessions and scans: a row a scan. Source: REST test TestDynamicSearchSubjects."""
    columns = "xnat:mrSessionData/label,xnat:mrScanData/id,xnat:mrScanData/type"
    rows = seen.owner.rows(f"{seen.path}/subjects", columns=columns)
    assert {"xnat:mrsessiondata/label", "xnat:mrscandata/id", "xnat:mrscandata/type"} <= keys(rows)
    assert {(row["xnat:mrsessiondata/label"], row["xnat:mrscandata/id"]) for row in rows} == {
        ("S1_MR1", "1"), ("S1_MR1", "2"), ("S1_MR2", "1"),
    }  # fmt: skip


def test_item_054_scans(seen):
    """Default keys of scans. Source: REST test TestDynamicSearchScans."""
    path = f"/data/experiments/{seen.ids['S1_MR1']}/scans"
    rows = seen.owner.rows(path)
    assert keys(rows) == SCANS
    assert {row["URI"] for row in rows} == {f"{path}/1", f"{path}/2"}


def test_item_055_scans_of_a_type(seen):
    """With a type: rows of that type, and its key. Source: REST test TestDynamicSearchScans."""
    accession = seen.ids["S1_MR1"]
    rows = seen.owner.rows(f"/data/experiments/{accession}/scans", xsiType="xnat:mrScanData")
    assert keys(rows) == SCANS | {"xnat:mrscandata/xnat_imagescandata_id"}
    assert seen.owner.rows(f"/data/experiments/{accession}/scans", xsiType="xnat:ctScanData") == []


def test_item_056_every_scan_in_one_answer(seen):
    """Every scan and resource of a project in one answer. Source: QueryOrganizer."""
    columns = f"label,{SCAN}/id,{SCAN}/type,{SCAN}/file/label"
    rows = sessions(seen, xsiType="xnat:imageSessionData", columns=columns)
    assert {f"{SCAN}/id", f"{SCAN}/type", f"{SCAN}/file/label", "session_ID", "URI"} <= keys(rows)
    assert {(row["session_ID"], row[f"{SCAN}/id"], row[f"{SCAN}/file/label"]) for row in rows} == {
        (seen.ids["S1_MR1"], "1", "DICOM"), (seen.ids["S1_MR1"], "2", "DICOM"),
        (seen.ids["S1_MR2"], "1", "DICOM"), (seen.ids["S1_CT1"], "1", ""),
    }  # fmt: skip


def test_item_057_pages(seen):
    """`limit` and `offset` page, and the total is left out. Source: QueryOrganizerResource."""
    result = seen.owner.table(f"{seen.path}/experiments", limit="2", offset="1")
    assert len(result["Result"]) == 2
    assert "totalRecords" not in result
    assert seen.owner.table(f"{seen.path}/experiments")["totalRecords"] == "3"


def test_item_058_shared_sessions(desk, other):
    """A shared session carries the label and the project of the list asked. Source: ProjSubExptList."""
    accession = desk.session("S1", "S1_MR1")
    share = f"{desk.path}/subjects/S1/experiments/S1_MR1/projects/{other.project}"
    assert desk.owner.put(share, params={"label": "B1_MR1"}).status_code == 200
    row = other.owner.rows(f"{other.path}/experiments")[0]
    assert (row["ID"], row["label"], row["project"]) == (accession, "B1_MR1", other.project)


def test_item_059_shared_subjects(desk, other):
    """A shared subject carries the label of the list asked and the project of its owner. Source: ProjectSubjectList."""
    accession = desk.subject("S1")
    share = f"{desk.path}/subjects/S1/projects/{other.project}"
    assert desk.owner.put(share, params={"label": "B1"}).status_code == 200
    row = other.owner.rows(f"{other.path}/subjects")[0]
    assert (row["ID"], row["label"], row["project"]) == (accession, "B1", desk.project)


def test_item_060_projects_of_a_session(desk, other):
    """`/projects` of a session: its owner, then each share. Source: REST test TestExptAssessmentResources."""
    accession = desk.session("S1", "S1_MR1")
    path = f"/data/experiments/{accession}/projects"
    assert [(row["ID"], row["label"]) for row in desk.owner.rows(path)] == [(desk.project, "S1_MR1")]
    share = f"{desk.path}/subjects/S1/experiments/S1_MR1/projects/{other.project}"
    assert desk.owner.put(share, params={"label": "B1_MR1"}).status_code == 200
    rows = desk.owner.rows(path)
    assert keys(rows) == {"label", "ID", "Secondary_ID", "Name"}
    assert [(row["ID"], row["label"]) for row in rows] == [(desk.project, "S1_MR1"), (other.project, "B1_MR1")]


def test_item_061_number_of_resources(desk):
    """The total of resources, with statistics or without.

    Source: REST test TestFileUpload.testMRResourcesTotalRecordsCount.
    """
    path = f"/data/experiments/{desk.session('S1', 'S1_MR1')}/resources"
    assert desk.owner.table(path)["totalRecords"] == "0"
    for name in ("A", "B", "C"):
        assert desk.upload(f"{path}/{name}/files/x.txt", b"x").status_code == 200
    for stats in ("true", "false"):
        assert desk.owner.table(path, file_stats=stats)["totalRecords"] == "3"


def test_item_062_resources_of_a_scan(seen):
    """The resources of a scan, with the number of files. Source: REST test TestImport.testModifiedSeriesUIDs."""
    rows = seen.owner.rows(f"/data/experiments/{seen.ids['S1_MR1']}/scans/1/resources", file_stats="true")
    assert [(row["label"], row["file_count"]) for row in rows] == [("DICOM", "2")]


def test_item_063_files(seen):
    """Keys of files; the address names session, scan and resource by number. Source: CatalogUtils.FILE_HEADERS."""
    path = f"/data/experiments/{seen.ids['S1_MR1']}/scans/2/files"
    rows = seen.owner.rows(path)
    assert keys(rows) == FILES
    number = rows[0]["cat_ID"]
    base = f"/data/experiments/{seen.ids['S1_MR1']}/scans/2/resources/{number}/files"
    assert (rows[0]["Name"], rows[0]["URI"]) == ("c.dcm", f"{base}/deep/c.dcm")
    assert (rows[0]["collection"], rows[0]["file_format"]) == ("DICOM", "DICOM")
    assert rows[0]["Size"] == str(len(seen.content("S1_MR1", "deep/c.dcm")))


def test_item_064_digests(seen):
    """The digest is the MD5 of the file. Source: CatalogUtils."""
    for row in seen.owner.rows(f"/data/experiments/{seen.ids['S1_MR1']}/scans/ALL/files"):
        stored = seen.owner.get(row["URI"]).content
        assert row["digest"] == hashlib.md5(stored, usedforsecurity=False).hexdigest()


def test_item_065_files_of_several_sessions(seen):
    """Files of several sessions in one answer, told apart by their addresses. Source: XNATTemplate."""
    first, second = seen.ids["S1_MR1"], seen.ids["S1_MR2"]
    rows = seen.owner.rows(f"/data/experiments/{first},{second}/scans/ALL/files")
    assert sorted(row["URI"].split("/")[3] for row in rows) == sorted([first] * 3 + [second])


def test_item_066_filters_of_files(desk):
    """Files by content, and the n-th of them. Source: REST test TestFileFiltering."""
    path = f"{desk.path}/resources/R/files"
    for number, content in enumerate(["TEST1", "TEST2", "TEST1", "TEST2", "TEST1"]):
        assert desk.upload(f"{path}/{number}.txt", str(number).encode(), content=content).status_code == 200
    assert len(desk.owner.rows(path)) == 5
    assert {row["Name"] for row in desk.owner.rows(path, file_content="TEST2")} == {"1.txt", "3.txt"}
    assert desk.owner.get(path, params={"file_content": "TEST2", "index": "1"}).content == b"3"
    assert desk.owner.get(path, params={"file_content": "TEST2", "index": "2"}).status_code == 404
