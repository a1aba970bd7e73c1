"""Import: items 92 to 106."""

from __future__ import annotations

import pytest
from contract_kit import message, until, zipped


def test_item_092_into_a_project(desk):
    """Without labels the subject is PatientName and the session PatientID.

    Source: REST test TestImport.testDataProject.
    """
    answer = desk.send(desk.series(1, 2), dest=f"/archive/projects/{desk.project}")
    assert answer.status_code == 200, message(answer)
    assert answer.headers["Content-Type"].startswith("text/uri-list")
    assert answer.text == f"/data/archive/projects/{desk.project}/subjects/S1/experiments/S1_MR1\r\n"
    assert desk.sessions()["S1_MR1"]["subject_label"] == "S1"


def test_item_093_into_a_session(desk):
    """`dest` names subject and session. Source: REST test TestImport.testDataProjectExperimentNew."""
    assert desk.archived(desk.series(1, 2), session="E", subject="S")
    assert desk.sessions()["E"]["subject_label"] == "S"


@pytest.mark.parametrize(("handler", "status"), [("DICOM-zip", 400), ("SI", 409)])
def test_item_094_again(desk, handler, status):
    """Code 0: again without `overwrite` is refused, the data waits as CONFLICT.

    Source: REST test TestImport.testDataDuplicateScanFilesOverwriteFDeleteF.
    """
    desk.archived(desk.series(1, 2))
    answer = desk.to_archive(desk.series(1, 2), import_handler=handler)
    assert answer.status_code == status, message(answer)
    assert [row["status"] for row in desk.waiting()] == ["CONFLICT"]
    assert desk.scans("S1_MR1") == {"1": 2}


def test_item_094a_again_with_code_4_and_5(desk):
    """Code 4 merges other scans unasked and refuses the same files; code 5 replaces them.

    Source: DicomZipImporter.archiveSession.
    """
    desk.code(4)
    desk.archived(desk.series(1, 2))
    desk.archived(desk.series(2, 3))
    assert desk.scans("S1_MR1") == {"1": 2, "2": 3}
    assert desk.to_archive(desk.series(1, 2)).status_code == 400
    for row in desk.waiting():
        assert desk.owner.delete(f"/data{row['url']}").status_code == 200
    desk.code(5)
    desk.archived(desk.series(1, 2))
    assert desk.scans("S1_MR1") == {"1": 2, "2": 3}


def test_item_095_words_of_overwrite(desk):
    """`append` refuses the same files, unless `overwrite_files` is given; `delete` replaces.

    Source: REST test TestImport.
    """
    files = desk.series(1, 2)
    desk.archived(files)
    assert desk.to_archive(files, overwrite="append").status_code == 400
    for row in desk.waiting():
        assert desk.owner.delete(f"/data{row['url']}").status_code == 200
    assert desk.to_archive(files, overwrite="append", overwrite_files="true").status_code == 200
    assert desk.to_archive(files, overwrite="delete").status_code == 200
    assert desk.scans("S1_MR1") == {"1": 2}


def test_item_096_parts_of_a_scan(desk):
    """Parts of a scan add up; `delete` removes nothing. Source: REST test TestImport.testDataScan2parts."""
    files = desk.series(1, 16)
    desk.archived(files[:11])
    desk.archived(files[11:], overwrite="append")
    assert desk.scans("S1_MR1") == {"1": 16}
    again = desk.series(1, 16, study="B", session="S1_MR2")
    desk.archived(again[:11], session="S1_MR2")
    assert desk.to_archive(again[10:], session="S1_MR2", overwrite="append").status_code == 400
    for row in desk.waiting():
        assert desk.owner.delete(f"/data{row['url']}").status_code == 200
    desk.archived(again[10:], session="S1_MR2", overwrite="delete")
    assert desk.scans("S1_MR2") == {"1": 16}


def test_item_097_second_scan(desk):
    """A second scan leaves the first and the session's date.

    Source: REST test TestImport.testDataProjectExperimentNewScan.
    """
    accession = desk.archived(desk.series(1, 2))
    path = f"{desk.path}/subjects/S1/experiments/S1_MR1"
    assert desk.owner.put(path, params={"date": "2001-02-03"}).status_code == 200
    assert desk.archived(desk.series(2, 3), overwrite="append") == accession
    assert desk.scans("S1_MR1") == {"1": 2, "2": 3}
    assert desk.sessions()["S1_MR1"]["date"] == "2001-02-03"


def test_item_098_mr_into_pet(desk):
    """MR into a PET session is refused, or kept as an MR scan where the site allows it.

    Source: REST test TestImport.
    """
    accession = desk.archived(desk.series(1, 2, source="PT"))
    assert desk.to_archive(desk.series(2, 2), overwrite="delete").status_code in (400, 409)
    for row in desk.waiting():
        assert desk.owner.delete(f"/data{row['url']}").status_code == 200
    with desk.site.setting("preventCrossModalityMerge", "false"):
        assert desk.archived(desk.series(2, 2), overwrite="delete") == accession
    assert desk.sessions()["S1_MR1"]["xsiType"] == "xnat:petSessionData"
    rows = desk.owner.rows(f"/data/experiments/{accession}/scans")
    assert {row["ID"]: row["xsiType"] for row in rows} == {"1": "xnat:petScanData", "2": "xnat:mrScanData"}


def test_item_099_other_series_of_a_number(desk):
    """Another series with a number that is taken becomes `1-MR1`.

    Source: REST test TestImport.testModifiedSeriesUIDs.
    """
    desk.archived(desk.series(1, 3))
    other = desk.series(1, 5, SeriesInstanceUID="2.25.77")[3:]
    desk.archived(other[:1], overwrite="append")
    assert desk.scans("S1_MR1") == {"1": 3, "1-MR1": 1}
    desk.archived(other[1:], overwrite="append")
    assert desk.scans("S1_MR1") == {"1": 3, "1-MR1": 2}


@pytest.mark.parametrize("word", ["none", "true"])
def test_item_100_overwrite_none(desk, word):
    """`overwrite=none` merges. Source: Importer.parseOverrideValue."""
    accession = desk.archived(desk.series(1, 2))
    assert desk.archived(desk.series(2, 2), overwrite=word) == accession
    assert desk.scans("S1_MR1") == {"1": 2, "2": 2}


def test_item_101_something_else_in_the_zip(desk):
    """An entry that is no DICOM is 400, unless it is to be ignored.

    Source: REST test TestImport.testUploadIgnoreUnparsable.
    """
    desk.site.since("1.8.3")
    files = [*desk.series(1, 2), ("notes.txt", b"no DICOM at all")]
    assert desk.to_archive(files).status_code == 400
    assert desk.to_archive(files, **{"Ignore-Unparsable": "false"}).status_code == 400
    assert desk.to_archive(files, **{"Ignore-Unparsable": "true"}).status_code == 200
    assert desk.scans("S1_MR1") == {"1": 2}


def test_item_102_one_row(desk):
    """Parts of one study wait in one row. Source: REST test TestImport.testPrearcGradualImport."""
    first = desk.to_prearchive(desk.series(1, 2))
    assert desk.to_prearchive(desk.series(2, 2)) == first
    assert len(desk.waiting()) == 1


def test_item_103_commit(desk):
    """Committing is 200, or 301 with the address in the archive.

    Source: REST test TestImport.testManualArchiveGradualImport.
    """
    answer = desk.send(
        desk.series(1, 2),
        PROJECT_ID=desk.project,
        SUBJECT_ID="S1",
        EXPT_LABEL="S1_MR1",
        prevent_auto_commit="true",
        SOURCE="uploader",
    )
    uri = answer.text.strip()
    assert [row["status"] for row in desk.waiting()] == ["RECEIVING"]
    kept = desk.owner.post(uri, params={"action": "commit", "SOURCE": "uploader"})
    assert (kept.status_code, kept.text.strip()) == (200, uri)
    archived = desk.owner.post(uri, params={"action": "commit", "AA": "true"})
    assert archived.status_code == 301
    assert archived.text.strip() == f"/data{desk.target()}"
    assert "Location" not in archived.headers
    assert desk.waiting() == []


def test_item_104_unassigned(desk):
    """Without a project it waits as Unassigned, and its uploader may claim it.

    Source: REST test TestImport.testUnassignedManualArchiveGradualImport.
    """
    uri = desk.send(desk.series(1, 2)).text.strip()
    assert uri.startswith("/data/prearchive/projects/Unassigned/")
    assert desk.owner.post(uri, params={"action": "build"}).status_code == 200
    moved = desk.owner.post(uri, params={"action": "move", "newProject": desk.project})
    assert moved.status_code == 301
    assert moved.text.strip() == uri.replace("Unassigned", desk.project)
    assert [f"/data{row['url']}" for row in desk.waiting()] == [moved.text.strip()]


def test_item_105_second_study_into_a_row(desk):
    """A second study into one row: 400 with DICOM-zip. Source: REST test TestImport.testPrearcMergeDiffUid."""
    desk.site.since("1.8.10")
    dest = f"/prearchive/projects/{desk.project}/20000101_050505/1122"
    assert desk.send(desk.series(1, 2), dest=dest).status_code == 200
    assert desk.send(desk.series(2, 2, study="B"), dest=dest).status_code == 400
    assert len(desk.waiting()) == 1


def test_item_106_from_the_user_cache(desk):
    """Import of a file in the user cache, in the background, with its progress.

    Source: REST test TestImport.testUserCacheUploadAndImport.
    """
    cache, key = f"/user/cache/resources/{desk.site.name()}/files/f.zip", desk.site.name()
    stored = desk.owner.put(f"/data{cache}", files={"file": ("f.zip", zipped(desk.series(1, 2)))})
    assert stored.status_code == 200, message(stored)
    params = {"src": cache, "http-session-listener": key, "import-handler": "DICOM-zip", "dest": desk.target()}
    started = desk.owner.post("/data/services/import", params=params)
    assert started.status_code == 200, message(started)
    assert started.text.startswith("Submitted for")

    def last() -> dict:
        answer = desk.owner.get(f"/data/status/{key}", params={"format": "json"})
        found = answer.json()["msgs"][0] if answer.status_code == 200 else []
        return found[-1] if found else {}

    until(lambda: last().get("status") == "COMPLETED")
    assert last()["msg"].startswith(f"Archive:/archive/projects/{desk.project}")
    assert desk.owner.get(f"/xapi/event_tracking/{key}").json()["succeeded"] is True
    assert desk.person("member").get(f"/xapi/event_tracking/{key}").status_code == 404
    assert desk.scans("S1_MR1") == {"1": 2}
