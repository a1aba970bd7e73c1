"""Files, resources and downloads: items 67 to 83."""

from __future__ import annotations

import io
import tarfile
import zipfile
from xml.etree import ElementTree

import pytest


@pytest.fixture
def session(desk) -> str:
    """The address of a session without files."""
    return f"/data/experiments/{desk.session('S1', 'S1_MR1')}"


def names(desk, path: str) -> set[str]:
    """What a resource holds, by path."""
    return {row["URI"].partition("/files/")[2] for row in desk.owner.rows(path)}


def packed(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("mr_1/1.dcm", b"one")
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w" if kind == "tar" else "w:gz") as archive:
        info = tarfile.TarInfo("mr_1/1.dcm")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"one"))
    return out.getvalue()


def test_item_067_upload_multipart(desk, session):
    """A multipart upload makes the resource, and the bytes come back. Source: REST test TestFileUpload."""
    path = f"{session}/resources/R/files/a/b.txt"
    answer = desk.owner.put(path, files={"file": ("b.txt", b"some bytes")})
    assert (answer.status_code, answer.text) == (200, "")
    assert desk.owner.get(path).content == b"some bytes"
    assert [row["label"] for row in desk.owner.rows(f"{session}/resources")] == ["R"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])
@pytest.mark.parametrize("level", ["project", "subject", "session", "scan"])
def test_item_068_extract(desk, kind, level):
    """Archives are unpacked with their folders, at every level. Source: REST test TestFileUpload; FileExtractor."""
    accession = desk.session("S1", "S1_MR1")
    desk.scan(accession, "1")
    parent = {
        "project": desk.path,
        "subject": f"{desk.path}/subjects/S1",
        "session": f"/data/experiments/{accession}",
        "scan": f"/data/experiments/{accession}/scans/1",
    }[level]
    files = {"file": (f"upload.{kind}", packed(kind))}
    answer = desk.owner.post(f"{parent}/resources/TEST/files", params={"extract": "true"}, files=files)
    assert (answer.status_code, answer.text) == (200, "")
    assert desk.owner.get(f"{parent}/resources/TEST/files/mr_1/1.dcm").content == b"one"


def test_item_069_duplicates(desk, session):
    """The same path again: 200 with `duplicates`, and the old bytes stay. Source: FileList."""
    path = f"{session}/resources/R/files/x.txt"
    assert desk.upload(path, b"old").text == ""
    again = desk.upload(path, b"new")
    assert (again.status_code, again.json()) == (200, {"duplicates": ["x.txt"]})
    assert desk.owner.get(path).content == b"old"


def test_item_070_overwrite(desk, session):
    """`overwrite=true` replaces. Source: FileList."""
    path = f"{session}/resources/R/files/x.txt"
    assert desk.upload(path, b"old").text == ""
    again = desk.upload(path, b"new", overwrite="true")
    assert (again.status_code, again.text) == (200, "")
    assert desk.owner.get(path).content == b"new"


def test_item_071_no_body(desk, session):
    """No bytes, no file: 400. Source: FileList."""
    assert desk.owner.put(f"{session}/resources/R/files/x.txt").status_code == 400


def test_item_072_no_right(desk, session):
    """Without the right to edit: 200 (or 403), and nothing is stored. Source: FileList."""
    path = f"{session}/resources/R/files/x.txt"
    answer = desk.upload(path, b"refused", who=desk.person("collaborator"))
    assert answer.status_code in (200, 403)
    assert desk.owner.get(path).status_code == 404
    assert desk.owner.rows(f"{session}/resources") == []


def test_item_073_delete_a_folder(desk, session):
    """Deleting a folder deletes what is below; nothing there is 404.

    Source: REST test TestFileUpload.testResourcesUpload.
    """
    path = f"{session}/resources/R/files"
    for name in ("sub/folder/a", "sub/folder/b", "sub/c"):
        assert desk.upload(f"{path}/{name}", b"x").status_code == 200
    assert desk.owner.delete(f"{path}/sub/folder").status_code == 200
    assert names(desk, path) == {"sub/c"}
    assert desk.owner.delete(f"{path}/nothing").status_code == 404


def test_item_074_resource_twice(desk, session):
    """A resource is made once: 200, then 409. Source: CatalogResource."""
    path = f"{session}/resources/R"
    assert desk.owner.put(path).status_code == 200
    assert desk.owner.put(path).status_code == 409


def test_item_075_delete_as_member(desk, session):
    """Members do not delete resources: 403. Source: CatalogResource."""
    path = f"{session}/resources/R"
    assert desk.owner.put(path).status_code == 200
    assert desk.person("member").delete(path).status_code == 403
    assert desk.owner.delete(path).status_code == 200
    assert desk.owner.rows(f"{session}/resources") == []


def test_item_076_missing_file(desk, session):
    """A missing file is 404, or 204 if one says so. Source: FileList."""
    path = f"{session}/resources/R/files"
    assert desk.upload(f"{path}/x.txt", b"x").status_code == 200
    assert desk.owner.get(f"{path}/y.txt").status_code == 404
    assert desk.owner.get(f"{path}/y.txt", params={"accept-not-found": "true"}).status_code == 204


def entries(seen, **params: str) -> set[str]:
    path = f"/data/experiments/{seen.ids['S1_MR1']}/scans/ALL/files"
    answer = seen.owner.get(path, params={"format": "zip", **params})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/zip")
    assert "attachment" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_item_077_zip(seen):
    """A session's scans as a zip with XNAT's long paths. Source: FileList, ZipRepresentation."""
    assert entries(seen) == {
        "S1_MR1/scans/1-localizer/resources/DICOM/files/a.dcm",
        "S1_MR1/scans/1-localizer/resources/DICOM/files/b.dcm",
        "S1_MR1/scans/2-T1__axial_/resources/DICOM/files/deep/c.dcm",
    }


def test_item_078_simplified(seen):
    """`structure=simplified` has short paths. Source: FileList."""
    assert entries(seen, structure="simplified") == {
        f"S1_MR1/scans/{name}" for name in ("1/DICOM/a.dcm", "1/DICOM/b.dcm", "2/DICOM/deep/c.dcm")
    }


def test_item_079_zip_of_nothing(seen):
    """A zip of nothing is 404. Source: FileList."""
    path = f"/data/experiments/{seen.ids['S1_CT1']}/scans/ALL/files"
    assert seen.owner.get(path, params={"format": "zip"}).status_code == 404


def test_item_080_files_are_not_anonymised(desk, session):
    """Files put into a resource stay as they are, whatever the scripts.

    Source: REST test TestAnonymizerLegacy.testResourceUpload.
    """
    name, data = desk.series(1, 1)[0]
    path = f"{session}/resources/DICOM/files/{name}"
    assert desk.upload(path, data, format="DICOM").status_code == 200
    assert desk.owner.get(path).content == data


def order(seen, **changes) -> dict:
    """What one asks of `/xapi/archive/downloadwithsize`: one session with all its scans."""
    asked = {
        "sessions": [f"{seen.project}:S1:S1_MR1:{seen.ids['S1_MR1']}"],
        "projectIds": [seen.project],
        "scan_types": ["localizer", "T1 (axial)"],
        "scan_formats": ["DICOM"],
        "options": ["simplified"],
    }
    return {name: value for name, value in (asked | changes).items() if value is not None}


def test_item_081_size_of_a_download(seen):
    """The size of a download before it begins. Source: CatalogApi."""
    answer = seen.owner.post("/xapi/archive/downloadwithsize", json=order(seen))
    assert answer.status_code == 200
    found = answer.json()
    assert set(found) == {"id", "size", "resourcesOfUnknownSize"}
    listed = seen.owner.rows(f"/data/experiments/{seen.ids['S1_MR1']}/scans/ALL/files")
    assert (found["size"], found["resourcesOfUnknownSize"]) == (str(sum(int(row["Size"]) for row in listed)), "0")


def test_item_082_download_of_nothing(seen):
    """Without sessions or projects 204, with null in their place 500, of what one may not read 403.

    Source: CatalogApi; the 500 of a live 1.8.11.
    """
    for missing in ("sessions", "projectIds"):
        answer = seen.owner.post("/xapi/archive/downloadwithsize", json=order(seen, **{missing: None}))
        assert answer.status_code == 204
        answer = seen.owner.post("/xapi/archive/downloadwithsize", json=order(seen) | {missing: None})
        assert answer.status_code == 500
    assert seen.person("outsider").post("/xapi/archive/downloadwithsize", json=order(seen)).status_code == 403


def test_item_083_catalogue_of_a_download(seen):
    """The download itself, its catalogue, and 403 for other people. Source: CatalogApi."""
    key = seen.owner.post("/xapi/archive/downloadwithsize", json=order(seen)).json()["id"]
    catalogue = seen.owner.get(f"/xapi/archive/download/{key}/xml")
    assert int(catalogue.headers["Content-Length"]) == len(catalogue.text)
    assert ElementTree.fromstring(catalogue.content).tag.endswith("atalog")
    answer = seen.owner.get(f"/xapi/archive/download/{key}/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name for name in archive.namelist() if not name.endswith("/")} == {
            f"S1_MR1/{name}" for name in ("1/DICOM/a.dcm", "1/DICOM/b.dcm", "2/DICOM/deep/c.dcm")
        }
    assert seen.person("member").get(f"/xapi/archive/download/{key}/zip").status_code == 403
