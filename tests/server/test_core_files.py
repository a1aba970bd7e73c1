"""Files and resources (REST tests TestFileUpload and TestFileFiltering; silent answers seen on a live server)."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

RESOURCE = "experiments/S01_MR1/resources/NOTES"


def test_a_file_comes_back_as_it_was(study):
    content = bytes(range(256)) * 300
    answer = study.upload(f"{RESOURCE}/files/a/b.dcm", content)
    assert (answer.status_code, answer.text) == (200, "")
    row = study.owner.rows(f"{study.path}/{RESOURCE}/files")[0]
    assert row["Name"] == "b.dcm"
    assert row["Size"] == str(len(content))
    assert row["digest"] == hashlib.md5(content).hexdigest()
    assert row["URI"].startswith("/data/experiments/") and row["URI"].endswith("/files/a/b.dcm")
    answer = study.owner.get(row["URI"])
    assert answer.content == content
    assert "attachment" in answer.headers["Content-Disposition"]
    head = study.owner.head(row["URI"])
    assert head.headers["Content-Length"] == str(len(content))


def test_multipart_works_too(study):
    path = f"{study.path}/{RESOURCE}/files"
    assert study.owner.put(f"{path}/x.txt", files={"file": ("named.txt", b"one")}).status_code == 200
    assert study.owner.post(path, files={"file": ("named.txt", b"two")}).status_code == 200
    assert study.owner.get(f"{path}/x.txt").content == b"one"
    assert study.owner.get(f"{path}/named.txt").content == b"two"


def test_a_duplicate_is_answered_with_200_and_changes_nothing(study):
    study.upload(f"{RESOURCE}/files/x.txt", b"old")
    again = study.upload(f"{RESOURCE}/files/x.txt", b"new")
    assert (again.status_code, again.json()) == (200, {"duplicates": ["x.txt"]})
    assert study.owner.get(f"{study.path}/{RESOURCE}/files/x.txt").content == b"old"
    replaced = study.upload(f"{RESOURCE}/files/x.txt", b"new", overwrite="true")
    assert (replaced.status_code, replaced.text) == (200, "")
    assert study.owner.get(f"{study.path}/{RESOURCE}/files/x.txt").content == b"new"


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("collaborator", f"{RESOURCE}/files/x.txt"),
        ("collaborator", "experiments/S01_MR1/scans/1/resources/DICOM/files/a.dcm"),
        ("member", "resources/DOCS/files/x.txt"),
    ],
)
def test_without_edit_right_the_answer_is_200_and_nothing_is_stored(study, person, role, path):
    before = study.owner.rows(f"{study.path}/{path.partition('/resources/')[0]}/resources") if "exp" in path else []
    answer = study.upload(path, b"refused", who=person(role), overwrite="true")
    assert (answer.status_code, answer.text) == (200, "")
    found = study.owner.get(f"{study.path}/{path}")
    assert found.content != b"refused"
    if before:
        assert study.owner.rows(f"{study.path}/{path.partition('/resources/')[0]}/resources") == before


def test_a_parent_that_cannot_be_seen_is_404(study, person):
    assert study.upload(f"{RESOURCE}/files/x.txt", b"x", who=person("outsider")).status_code == 404
    assert study.upload("experiments/NOPE/resources/R/files/x.txt", b"x").status_code == 404


def test_no_bytes_no_file(study):
    assert study.owner.put(f"{study.path}/{RESOURCE}/files/x.txt").status_code == 400


def packed(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("mr_1/1.dcm", b"one")
            archive.writestr("../../evil.txt", b"evil")
    else:
        with tarfile.open(fileobj=out, mode="w" if kind == "tar" else "w:gz") as archive:
            info = tarfile.TarInfo("mr_1/1.dcm")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"one"))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])
@pytest.mark.parametrize(
    "parent",
    ["", "subjects/S01/", "experiments/S01_MR1/", "experiments/S01_MR1/scans/1/"],
    ids=["project", "subject", "session", "scan"],
)
def test_archives_are_unpacked_with_their_folders(study, kind, parent):
    answer = study.upload(f"{parent}resources/TEST/files/upload.{kind}", packed(kind), extract="true")
    assert (answer.status_code, answer.text) == (200, "")
    assert study.owner.get(f"{study.path}/{parent}resources/TEST/files/mr_1/1.dcm").content == b"one"
    assert not list(study.owner.server.data.parent.glob("evil.txt"))


@pytest.mark.parametrize(
    "name", ["with space.txt", "a#b.txt", "q?.txt", "a,b c=d.txt", "[x](y).txt", "é.txt"]
)
def test_names_of_files_survive(study, name):
    from urllib.parse import quote

    assert study.upload(f"{RESOURCE}/files/{quote(name)}", name.encode()).status_code == 200
    row = study.owner.rows(f"{study.path}/{RESOURCE}/files")[0]
    assert study.owner.get(row["URI"]).content == name.encode()


def test_resources_count_their_files(study):
    path = f"{study.path}/experiments/S01_MR1/resources"
    assert study.owner.get(path).json()["ResultSet"]["totalRecords"] == "0"
    for number in range(3):
        study.upload(f"experiments/S01_MR1/resources/R{number}/files/x", b"x" * 10)
    for stats in ("true", "false"):
        assert study.owner.get(path, params={"file_stats": stats}).json()["ResultSet"]["totalRecords"] == "3"
    assert {(row["file_count"], row["file_size"]) for row in study.owner.rows(path)} == {("1", "10")}
    everything = study.owner.rows(path, all="true")
    assert {(row["category"], row["cat_id"]) for row in everything} >= {("scans", "1"), ("scans", "2")}


def test_a_resource_is_made_once(study, person):
    path = f"{study.path}/experiments/S01_MR1/resources/NEW"
    assert study.owner.put(path, params={"format": "TXT"}).status_code == 200
    assert study.owner.put(path).status_code == 409
    assert study.owner.get(path).text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<cat:')
    assert person("member").delete(path).status_code == 403
    assert study.owner.delete(path).status_code == 200
    assert study.owner.get(path).status_code == 404


def test_filters_and_index(study):
    for number, content in enumerate(["TEST1", "TEST2", "TEST1", "TEST2", "TEST1"]):
        study.upload(f"{RESOURCE}/files/{number}.txt", str(number).encode(), content=content)
    path = f"{study.path}/{RESOURCE}/files"
    assert len(study.owner.rows(path, file_content="TEST2")) == 2
    assert study.owner.get(path, params={"file_content": "TEST2", "index": "1"}).content == b"3"
    assert study.owner.get(path, params={"file_content": "TEST2", "index": "2"}).status_code == 404


def test_deleting_a_folder_deletes_what_is_below(study, person):
    for name in ("sub/folder/a", "sub/folder/b", "sub/c"):
        study.upload(f"{RESOURCE}/files/{name}", b"x")
    path = f"{study.path}/{RESOURCE}/files"
    assert person("member").delete(f"{path}/sub/folder").status_code == 403
    assert study.owner.delete(f"{path}/sub/folder").status_code == 200
    assert [row["Name"] for row in study.owner.rows(path)] == ["c"]
    assert study.owner.delete(f"{path}/nothing").status_code == 404
    assert study.owner.get(f"{path}/nothing").status_code == 404
    assert study.owner.get(f"{path}/nothing", params={"accept-not-found": "true"}).status_code == 204


def test_files_of_several_sessions_leave_out_what_cannot_be_read(study, person):
    first, second = study.ids["S01_MR1"], study.ids["S01_MR2"]
    rows = study.owner.rows(f"/data/experiments/{first},NOPE,{second}/scans/ALL/files")
    assert {row["URI"].split("/")[3] for row in rows} == {first, second}
    assert len(rows) == 4
    assert person("outsider").get(f"/data/experiments/{first},{second}/scans/ALL/files").status_code == 500
    assert study.owner.get("/data/experiments/NOPE/scans/ALL/files").status_code == 500  # by 1.8.11: W4
    by_type = study.owner.rows(f"/data/experiments/{first}/scans/localizer/files")
    assert {row["Name"] for row in by_type} == {"a.dcm", "b.dcm"}


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (
            None,
            {
                "S01_MR1/scans/1-localizer/resources/DICOM/files/a.dcm",
                "S01_MR1/scans/1-localizer/resources/DICOM/files/b.dcm",
                "S01_MR1/scans/2-T1__axial_/resources/DICOM/files/deep/c.dcm",
            },
        ),
        ("simplified", {f"S01_MR1/scans/{name}" for name in ("1/DICOM/a.dcm", "1/DICOM/b.dcm", "2/DICOM/deep/c.dcm")}),
        ("legacy", {f"S01_MR1/SCANS/{name}" for name in ("1/DICOM/a.dcm", "1/DICOM/b.dcm", "2/DICOM/deep/c.dcm")}),
    ],
)
def test_zips_of_a_session(seen, structure, expected):
    params = {"format": "zip", **({"structure": structure} if structure else {})}
    answer = seen.owner.get(f"{seen.path}/experiments/S01_MR1/scans/ALL/files", params=params)
    assert answer.headers["Content-Type"] == "application/zip"
    assert "Content-Length" not in answer.headers
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == expected
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        for info in archive.infolist():
            header = struct.unpack("<4sHHHHHLLL", answer.content[info.header_offset :][:26])
            assert header[6:] == (info.CRC, info.file_size, info.file_size), "sizes and CRC are in the local headers"


def test_a_zip_of_nothing_is_404(seen):
    path = f"{seen.path}/experiments/S01_CT1/scans/ALL/files"
    assert seen.owner.get(path, params={"format": "zip"}).status_code == 404


def test_one_resource_of_one_scan_as_a_zip(seen):
    path = f"/data/experiments/{seen.ids['S01_MR1']}/scans/1/resources/DICOM/files"
    answer = seen.owner.get(path, params={"format": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        name = "S01_MR1/scans/1-localizer/resources/DICOM/files/a.dcm"
        assert archive.read(name) == seen.content("S01_MR1", "a.dcm")


def test_scans_keep_their_type(study):
    path = f"{study.path}/experiments/S01_MR1/scans/1"
    assert study.owner.put(path, params={"quality": "questionable"}).status_code == 200
    assert study.owner.put(path, params={"xsiType": "xnat:ctScanData"}).status_code == 409
    assert study.owner.put(path, params={"xnat:ctScanData/note": "x"}).status_code == 200
    fields = study.owner.get(path, params={"format": "json"}).json()["items"][0]["data_fields"]
    assert (fields["quality"], fields.get("note", "")) == ("questionable", "")
    new = f"{study.path}/experiments/S01_MR1/scans/9"
    assert study.owner.put(new).status_code == 417
    assert study.owner.put(new, params={"xsiType": "xnat:imageScanData"}).status_code == 400


def test_where_files_lie(seen):
    path = f"{seen.path}/experiments/S01_MR1/scans/1/files"
    for row in seen.owner.rows(path, locator="absolutePath"):
        assert "URI" not in row
        assert Path(row["absolutePath"]).read_bytes() == seen.content("S01_MR1", row["Name"])
    assert all(not row["projectPath"].startswith("/") for row in seen.owner.rows(path, locator="projectPath"))


def test_files_as_a_catalogue(seen):
    path = f"{seen.path}/experiments/S01_MR1/scans/1/files"
    answer = seen.owner.get(path, params={"format": "xcat"})
    names = {"cat": "http://nrg.wustl.edu/catalog"}
    entries = ElementTree.fromstring(answer.content).findall(".//cat:entry", names)
    packed = zipfile.ZipFile(io.BytesIO(seen.owner.get(path, params={"format": "zip"}).content))
    assert [entry.get("cachePath") for entry in entries] == packed.namelist()
    for entry in entries:
        address = entry.get("URI").removeprefix(seen.owner.server.url)
        assert seen.owner.get(address).content == packed.read(entry.get("cachePath"))


def test_no_pictures_are_made(seen):
    path = f"{seen.path}/experiments/S01_MR1/scans/1/resources/DICOM/files/a.dcm"
    assert seen.owner.get(path, params={"format": "image/jpeg"}).status_code == 400
    assert seen.owner.get(path).headers["Content-Type"] == "application/octet-stream"


def test_a_resource_that_is_not_there_is_listed_without_files(seen):
    path = f"{seen.path}/experiments/S01_MR1/resources/NOT_THERE"
    assert seen.owner.rows(f"{path}/files") == []
    assert seen.owner.get(f"{path}/files", params={"format": "zip"}).status_code == 404
    assert seen.owner.get(path).status_code == 404


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "application/json"])
def test_a_raw_body_of_no_type_of_files_needs_inbody(study, kind):
    path, headers = f"{study.path}/{RESOURCE}/files/raw.txt", {"Content-Type": kind} if kind else {}
    refused = study.owner.put(path, data=b"raw", headers=headers)
    assert (refused.status_code, "inbody=true" in refused.text) == (400, True)
    assert study.owner.get(path).status_code == 404
    assert study.owner.put(path, data=b"raw", headers=headers, params={"inbody": "true"}).status_code == 200
    assert study.owner.get(path).content == b"raw"
