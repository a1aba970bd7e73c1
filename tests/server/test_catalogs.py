"""Refreshing catalogues, headers, download catalogues (XNAT source: RefreshCatalog, CatalogApi, DicomDump)."""

from __future__ import annotations

import io
import zipfile

import pydicom
import pytest
from pydicom.data import get_testdata_file

REFRESH = "/data/services/refresh/catalog"


@pytest.fixture
def folder(study):
    """Where the DICOM files of scan 1 of S01_MR1 lie."""
    home = study.owner.server.data / "archive" / study.name / study.ids["S01_MR1"]
    return home / "SCANS" / "1" / "DICOM"


def names(study) -> set[str]:
    return {row["Name"] for row in study.owner.rows(f"{study.path}/experiments/S01_MR1/scans/1/files")}


def test_a_refresh_does_what_it_is_told(study, folder):
    ask = {"resource": f"/archive/experiments/{study.ids['S01_MR1']}/scans/1/resources/DICOM"}
    (folder / "new.dcm").write_bytes(b"left here")
    (folder / "a.dcm").unlink()
    assert study.owner.post(REFRESH, params={**ask, "options": "checksum"}).status_code == 200
    assert names(study) == {"a.dcm", "b.dcm"}
    assert study.owner.post(REFRESH, params={**ask, "options": "append,checksum"}).status_code == 200
    assert names(study) == {"a.dcm", "b.dcm", "new.dcm"}
    assert study.owner.post(REFRESH, data={**ask, "options": "delete"}).status_code == 200
    rows = study.owner.rows(f"{study.path}/experiments/S01_MR1/scans/1/files")
    assert {(row["Name"], row["Size"], bool(row["digest"])) for row in rows} == {
        ("b.dcm", str(len(study.content("S01_MR1", "b.dcm"))), True), ("new.dcm", "9", True)
    }  # fmt: skip
    (row,) = study.owner.rows(f"{study.path}/experiments/S01_MR1/scans/1/resources")
    assert row["file_count"] == "2"
    assert study.owner.get("/_check").json() == []


def test_refreshing_a_session_is_refreshing_its_scans(study, folder, person):
    (folder / "new.dcm").write_bytes(b"left here")
    session = f"/archive/experiments/{study.ids['S01_MR1']}"
    path = "/xapi/archive/catalogs/refresh"
    assert person("collaborator").put(path, json=[session]).status_code == 500, "its errors are all 500"
    assert study.owner.put(f"{path}/Checksum", json=[session]).status_code == 200
    assert "new.dcm" not in names(study)
    assert study.owner.put(path, json=[session]).status_code == 200
    assert "new.dcm" in names(study)
    assert study.owner.put(path, json=["/nonsense"]).status_code == 500
    assert study.owner.post(REFRESH, params={"resource": "/nonsense"}).status_code == 400
    assert study.owner.post(REFRESH).status_code == 200, "nothing to do is no failure (recorded answers of 1.8.11)"
    newest = study.owner.get(f"{study.path}/experiments/S01_MR1/history").json()["events"][0]
    assert newest["event_action"] == "Catalog(s) Refreshed"


@pytest.fixture
def dicom(study) -> pydicom.Dataset:
    """A real header, whose file is the first of scan 1."""
    path = get_testdata_file("MR_small.dcm")
    with open(path, "rb") as stream:
        target = "experiments/S01_MR1/scans/1/resources/DICOM/files/0.dcm"
        assert study.upload(target, stream.read(), format="DICOM").status_code == 200
    return pydicom.dcmread(path)


def test_a_header_is_dumped(study, person, dicom):
    path = "/data/services/dicomdump"
    src = f"/archive/projects/{study.name}/subjects/S01/experiments/S01_MR1/scans/1"
    rows = study.owner.rows(path, src=src, field=["PatientID", "StudyDate", "00080060"])
    assert [(row["tag1"], row["vr"], row["value"]) for row in rows] == [
        ("(0008,0020)", "DA", dicom.StudyDate),
        ("(0008,0060)", "CS", "MR"),
        ("(0010,0020)", "LO", dicom.PatientID),
    ]
    whole = study.owner.rows(path, src=f"/archive/experiments/{study.ids['S01_MR1']}")
    assert len(whole) == len(list(dicom)) - 2, "all but the pixels and what pads them"
    assert {row["desc"]: row["value"] for row in whole}["Image Type"] == "\\".join(dicom.ImageType)
    assert person("outsider").get(path, params={"src": src}).status_code == 404
    assert study.owner.get(path).status_code == 400
    assert study.owner.get(path, params={"src": src, "field": "NoSuchField"}).status_code == 400


def test_fields_are_pulled_from_headers(study, dicom):
    session = f"{study.path}/subjects/S01/experiments/S01_MR1"
    assert study.owner.put(session, params={"pullDataFromHeaders": "true"}).status_code == 200
    shown = study.owner.get(session, params={"format": "json"}).json()["items"][0]["data_fields"]
    assert (shown["UID"], shown["scanner/model"]) == (dicom.StudyInstanceUID, dicom.ManufacturerModelName)
    assert shown["date"].replace("-", "") == dicom.StudyDate
    scan = study.owner.get(f"{session}/scans/1", params={"format": "json"}).json()["items"][0]["data_fields"]
    assert (scan["UID"], scan["type"], scan["frames"]) == (dicom.SeriesInstanceUID, "localizer", "3")
    assert study.owner.put(f"{session}/scans/1", params={"type": "NULL"}).status_code == 200
    assert study.owner.put(session, params={"fixScanTypes": "true"}).status_code == 200
    rows = study.owner.rows(f"{session}/scans")
    assert {row["ID"]: row["type"] for row in rows}["1"] == scan["series_description"]


def order(study, *sessions: str, **changes) -> dict:
    asked = {
        "sessions": [f"{study.name}:S01:{label}:{study.ids[label]}" for label in sessions],
        "projectIds": [study.name],
        "scan_types": ["localizer", "T1 (axial)"],
        "scan_formats": ["DICOM"],
    }
    return {name: value for name, value in (asked | changes).items() if value}


def test_sizes_and_files_of_many_sessions(study, person):
    study.upload("experiments/S01_MR1/resources/NOTES/files/n.txt", b"noted")
    asked = order(study, "S01_MR1", "S01_MR2", resources=["NOTES"], options=["simplified"])
    answer = study.owner.post("/xapi/archive/downloadwithsize", json=asked).json()
    held = [("S01_MR1", "1/DICOM/a.dcm"), ("S01_MR1", "1/DICOM/b.dcm"), ("S01_MR1", "2/DICOM/deep/c.dcm")]
    held.append(("S01_MR2", "1/DICOM/a.dcm"))
    sizes = [len(study.content(session, path.partition("DICOM/")[2])) for session, path in held]
    assert (answer["size"], answer["resourcesOfUnknownSize"]) == (str(sum(sizes) + 5), "0")
    path = f"/xapi/archive/download/{answer['id']}"
    packed = zipfile.ZipFile(io.BytesIO(study.owner.get(f"{path}/zip").content))
    assert set(packed.namelist()) == {f"{session}/{name}" for session, name in held} | {"S01_MR1/NOTES/n.txt"}
    assert packed.read("S01_MR1/2/DICOM/deep/c.dcm") == study.content("S01_MR1", "deep/c.dcm")
    dummies = zipfile.ZipFile(io.BytesIO(study.owner.get(f"{path}/test").content))
    assert set(dummies.namelist()) == set(packed.namelist())
    xml = study.owner.get(f"{path}/xml")
    assert int(xml.headers["Content-Length"]) == len(xml.content)
    assert f"/archive/experiments/{study.ids['S01_MR1']}/scans/1/resources/DICOM/files" in xml.text
    for one in (path, f"{path}/zip", f"{path}/xml"):
        assert person("member").get(one).status_code == 403
    assert study.owner.get("/xapi/archive/download/nobody-1/zip").status_code == 403


def test_names_in_a_download(study):
    options = ["projectIncludedInPath", "subjectIncludedInPath"]
    key = study.owner.post("/xapi/archive/download", json=order(study, "S01_MR1", options=options)).text
    packed = zipfile.ZipFile(io.BytesIO(study.owner.get(f"/xapi/archive/download/{key}/zip").content))
    lead = f"{study.name}/S01/S01_MR1/scans"
    assert set(packed.namelist()) == {
        f"{lead}/1-localizer/resources/DICOM/a.dcm",
        f"{lead}/1-localizer/resources/DICOM/b.dcm",
        f"{lead}/2-T1__axial_/resources/DICOM/deep/c.dcm",
    }


@pytest.mark.parametrize("missing", ["sessions", "projectIds"])
def test_an_order_without_sessions_or_projects_is_204(study, missing):
    asked = order(study, "S01_MR1", **{missing: None})
    assert study.owner.post("/xapi/archive/downloadwithsize", json=asked).status_code == 204


def test_an_order_with_an_unreadable_session_is_403(study, person):
    assert person("outsider").post("/xapi/archive/downloadwithsize", json=order(study, "S01_MR1")).status_code == 403
    assert study.owner.post("/xapi/archive/downloadwithsize", data="[").status_code == 400
