"""The prearchive and archiving from it, numbered as the conformance checklist."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from ingest_kit import Desk, desk, merging_desk, message, series, zipped  # noqa: F401

KEYS = {
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name", "tag",
    "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
}


def until(wanted, seconds: float = 10.0):
    """Wait for ``wanted()`` to be true and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := wanted():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def archive(desk, uri, who="owner", **given):  # noqa: F811
    return desk.person(who).post("/data/services/archive", params={"src": uri, **given}, allow_redirects=False)


def test_item_103_two_phases(desk):  # noqa: F811
    given = {"PROJECT_ID": desk.project, "SUBJECT_ID": "S2", "EXPT_LABEL": "E1", "rename": "true",
             "prevent_anon": "true", "prevent_auto_commit": "true", "SOURCE": "uploader", "autoArchive": "AutoArchive"}
    uri = desk.send(series(1, 2), **given).text.strip()
    assert desk.send(series(2, 2), **given).text.strip() == uri
    (row,) = desk.waiting()
    assert (row["status"], row["SOURCE"], row["prevent_anon"], row["autoarchive"]) == (
        "RECEIVING", "uploader", "true", "AutoArchive")
    answer = desk.owner.post(uri, params={"action": "commit", "AA": "true"}, allow_redirects=False)
    assert (answer.status_code, answer.text) == (
        301, f"/data/archive/projects/{desk.project}/subjects/S2/experiments/E1")
    assert "location" not in answer.headers
    assert desk.waiting() == []
    assert desk.scans("E1") == {"1": 2, "2": 2}


def test_item_103_commit_without_archiving(desk):  # noqa: F811
    uri = desk.send(series(1, 2), PROJECT_ID=desk.project).text.strip()
    answer = desk.owner.post(uri, params={"action": "commit"}, allow_redirects=False)
    assert (answer.status_code, answer.text) == (200, uri)
    assert [row["status"] for row in desk.waiting()] == ["READY"]


def test_item_107_rows(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 2, subject="001", session="001_MR1"))
    (row,) = desk.waiting()
    assert set(row) == KEYS
    assert (row["url"], row["status"], row["name"], row["subject"]) == (
        uri.removeprefix("/data"), "READY", "001_MR1", "001")
    assert (row["scan_date"], row["scan_time"]) == ("2024-01-02 00:00:00.0", "10:15:00")
    assert row["tag"].startswith("2.25.")
    assert desk.owner.rows(uri) == [row]
    assert row in desk.owner.rows("/data/prearchive")
    assert row in desk.owner.rows("/data/prearchive/projects")
    assert row in desk.owner.rows(f"/data/prearchive/projects/{desk.project},Unassigned")


@pytest.mark.parametrize("who", ["collaborator", "outsider"])
def test_item_107_rows_are_for_editors(desk, who):  # noqa: F811
    """Their list is for readers, 404 for others (recorded from 1.8.11: n158, n167)."""
    uri = desk.to_prearchive(series(1, 1))
    visitor = desk.person(who)
    listed = visitor.get(f"/data/prearchive/projects/{desk.project}")
    assert listed.status_code == (200 if who == "collaborator" else 404)
    for path in (uri, f"{uri}/scans"):
        assert visitor.get(path).status_code == 403
    assert visitor.delete(uri).status_code == 403
    assert archive(desk, uri, who=who).status_code == 403
    assert uri.removeprefix("/data") not in [row["url"] for row in visitor.rows("/data/prearchive")]


def test_item_108_delete(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    assert desk.person("member").delete(uri).status_code == 200
    assert desk.waiting() == []
    gone = desk.owner.get(uri, params={"format": "json"})  # not 404: XNAT lists a row that is not there as none
    assert (gone.status_code, gone.json()["ResultSet"]["Result"]) == (200, [])


@pytest.mark.parametrize(("verb", "given"), [("move", True), ("rebuild", False), ("delete", False)])
def test_item_110_batch_services(desk, merging_desk, verb, given):  # noqa: F811
    uri = desk.to_prearchive(series(1, 2))
    params = {"src": uri, **({"newProject": merging_desk.project} if given else {})}
    answer = desk.owner.post(f"/data/services/prearchive/{verb}", params=params)
    assert answer.status_code == 200
    (row,) = answer.json()["ResultSet"]["Result"]
    assert row["status"] == {"move": "QUEUED_MOVING", "rebuild": "QUEUED_BUILDING", "delete": "QUEUED_DELETING"}[verb]
    if verb == "rebuild":
        until(lambda: [row["status"] for row in desk.waiting()] == ["READY"])
        return
    until(lambda: not desk.waiting())
    if verb == "move":
        until(lambda: [row["status"] for row in merging_desk.waiting()] == ["READY"])
        assert len(merging_desk.waiting_headers(uri.replace(desk.project, merging_desk.project))) == 2


def test_item_110_batch_refusals(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    post = desk.owner.post
    assert post("/data/services/prearchive/move", params={"src": uri}).status_code == 400
    assert post("/data/services/prearchive/delete", params={"src": uri + "x"}).status_code == 500
    outsider = desk.person("outsider").post("/data/services/prearchive/delete", params={"src": uri})
    assert outsider.status_code == 403


def test_item_111_archive(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 3))
    for source in (uri, uri.removeprefix("/data")):
        answer = archive(desk, source)
        if source == uri:
            assert answer.status_code == 200
            assert answer.text == f"/data/archive/projects/{desk.project}/subjects/S1/experiments/S1_MR1\r\n"
        else:
            assert answer.status_code == 404
    assert desk.waiting() == []
    rows = desk.sql("SELECT f.* FROM files f JOIN resources r ON r.pk=f.resource_pk JOIN scans s ON r.parent_id=s.pk "
                    "JOIN experiments e ON e.id=s.experiment_id WHERE e.project=?", desk.project)
    (session,) = desk.sessions()
    folder = desk.server.data / "archive" / desk.project / session["id"]
    stored = {path.name: path.read_bytes() for path in folder.rglob("*.dcm")}
    assert {row["path"]: (row["size"], row["md5"]) for row in rows} == {
        name: (len(data), hashlib.md5(data).hexdigest()) for name, data in stored.items()}


def test_item_111_redirect(merging_desk):  # noqa: F811
    uri = merging_desk.to_prearchive(series(1, 1))
    assert archive(merging_desk, uri).status_code == 303
    uri = merging_desk.to_prearchive(series(1, 1, session="E2"))
    assert archive(merging_desk, uri, **{"auto-archive": "false"}).status_code == 200


def test_item_112_archive_under_other_labels(desk, merging_desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    answer = archive(desk, uri, subject="S5", session="E5", project=merging_desk.project)
    assert answer.text.strip() == f"/data/archive/projects/{merging_desk.project}/subjects/S5/experiments/E5"
    assert [row["label"] for row in merging_desk.sessions()] == ["E5"]


def test_item_114_validate(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 2))
    assert desk.validate(uri) == []
    assert archive(desk, uri).status_code == 200
    uri = desk.to_prearchive(series(1, 2))
    assert [(row["code"], row["type"]) for row in desk.validate(uri)] == [
        ("1", "CONFLICT"), ("14", "CONFLICT"), ("16", "CONFLICT")]
    desk.owner.delete(uri)
    uri = desk.send(series(1, 2), dest=f"{desk.prearchive_path}", subject="S9", session="S1_MR1").text.strip()
    assert ("4", "FAIL") in [(row["code"], row["type"]) for row in desk.validate(uri)]
    assert [row["status"] for row in desk.waiting()] == ["READY"]
    two = desk.owner.post("/data/services/validate-archive", params={"src": [uri, uri]})
    assert two.status_code == 400


def test_item_114_files_that_no_catalogue_names(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 2))
    _, _, _, project, timestamp, folder = uri.split("/")[1:]
    resource = desk.server.data / "prearchive" / project / timestamp / folder / "SCANS" / "1" / "DICOM"
    assert len(list(resource.iterdir())) == 2
    assert desk.validate(uri) == []
    (resource / "notes.txt").write_text("nobody named this")
    assert [(row["code"], row["type"]) for row in desk.validate(uri)] == [("20", "WARN")]
    refused = archive(desk, uri)
    assert (refused.status_code, "Scan 1 has 1 non-DICOM" in refused.text) == (500, True)
    (resource / "notes.txt").unlink()
    (resource.parent / "secondary").mkdir()
    (resource.parent / "secondary" / "lost.dcm").write_bytes(b"its catalogue is gone")
    found = {row["code"]: row for row in desk.validate(uri)}
    assert set(found) == {"21"}
    assert (found["21"]["type"], "catalog" in found["21"]["message"]) == ("WARN", True)
    assert archive(desk, uri, overwrite="append").status_code == 200, "warnings stop nothing where one may override"
    assert desk.scans("S1_MR1") == {"1": 2}


def test_a_label_of_an_assessor_is_taken(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    made = desk.owner.put(f"/data/experiments/{desk.sessions()[0]['id']}/assessors/QC1",
                          params={"xsiType": "xnat:qcManualAssessorData"})
    assert made.status_code == 201
    uri = desk.to_prearchive(series(2, 2, study="other"), session="QC1")
    assert ("2", "FAIL") in [(row["code"], row["type"]) for row in desk.validate(uri)]
    assert archive(desk, uri).status_code == 500
    assert [row["status"] for row in desk.waiting()] == ["CONFLICT"]
    assert desk.owner.delete(uri).status_code == 200


def test_item_115_another_study_under_the_label(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    uri = desk.to_prearchive(series(1, 2, study="other"), session="E1")
    assert {row["code"] for row in desk.validate(uri)} == {"1", "5", "17"}
    answer = archive(desk, uri)
    assert answer.status_code == 500
    assert message(answer) == ("FAILED: Unable to archive E1: Operation Failed: Invalid modification of session UID "
                               "via archive process.")
    assert [row["status"] for row in desk.waiting()] == ["CONFLICT"]
    assert "session UID" in desk.owner.get(f"{uri}/logs/last").text
    assert archive(desk, uri, overwrite="delete").status_code == 200
    assert desk.scans("E1") == {"1": 2, "1-MR1": 2}


def test_archive_merges_unasked_but_not_equal_files(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    assert archive(desk, desk.to_prearchive(series(2, 2), session="E1")).status_code == 200
    uri = desk.to_prearchive(series(2, 2), session="E1")
    assert archive(desk, uri).status_code == 500
    assert archive(desk, uri, overwrite="append").status_code == 200
    assert desk.scans("E1") == {"1": 2, "2": 2}


def test_same_series_under_another_number(desk):  # noqa: F811
    assert desk.to_archive(series(2, 2), session="E1").status_code == 200
    moved = [(f"x{name}", data) for name, data in series(2, 3, SeriesNumber="9")]
    uri = desk.to_prearchive(moved, session="E1")
    assert "18" in [row["code"] for row in desk.validate(uri)]
    assert archive(desk, uri).status_code == 500


def test_open_workflow_blocks(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    (session,) = desk.sessions()
    desk.sql("INSERT INTO workflows(item, name, status, user, date) VALUES(?,'AutoRun','Running','olga','')",
             session["id"])
    uri = desk.to_prearchive(series(2, 2), session="E1")
    assert "10" in [row["code"] for row in desk.validate(uri)]
    assert archive(desk, uri).status_code == 500


def test_two_archivings_at_once(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 40))
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(answer.status_code for answer in pool.map(lambda _: archive(desk, uri), range(4)))
    assert codes[0] == 200
    assert all(code >= 400 for code in codes[1:])
    assert desk.scans("S1_MR1") == {"1": 40}
    assert desk.waiting() == []


def test_archive_refusals(desk):  # noqa: F811
    assert archive(desk, f"{desk.prearchive_path}/20010101_000000/none").status_code == 404
    receiving = desk.send(series(1, 1), PROJECT_ID=desk.project).text.strip()
    assert archive(desk, receiving).status_code == 500
    uri = desk.send(series(1, 1, study=desk.project)).text.strip()
    assert archive(desk, uri).status_code == 400


def test_several_at_once_are_archived_later(desk):  # noqa: F811
    uris = [desk.to_prearchive(series(1, 1, session=f"E{number}", study=str(number))) for number in (1, 2, 3)]
    answer = desk.owner.post("/data/services/archive", params={"src": uris})
    assert answer.status_code == 200
    assert {row["status"] for row in answer.json()["ResultSet"]["Result"]} <= {"QUEUED_ARCHIVING", "ARCHIVING"}
    until(lambda: len(desk.sessions()) == 3 and not desk.waiting())


def test_subject_is_matched_in_any_case(desk):  # noqa: F811
    assert desk.to_archive(series(1, 1), session="E1", subject="Anna").status_code == 200
    answer = desk.to_archive(series(1, 1), session="E2", subject="ANNA")
    assert "/subjects/Anna/" in answer.text
    assert {row["subject"] for row in desk.sessions()} == {"Anna"}


def test_item_118_idle_sessions(desk, merging_desk):  # noqa: F811
    assert merging_desk.to_archive(series(1, 2), session="S1_MR1").status_code == 200
    for target in (desk, merging_desk):
        assert target.send(series(2, 2), PROJECT_ID=target.project).status_code == 200
    held = merging_desk.send(series(1, 1, session="E3"), PROJECT_ID=merging_desk.project, prevent_auto_commit="true")
    desk.set_site("sessionXmlRebuilderInterval", "0")
    try:
        until(lambda: merging_desk.scans("S1_MR1") == {"1": 2, "2": 2})
        until(lambda: [row["status"] for row in desk.waiting()] == ["READY"])
    finally:
        desk.set_site("sessionXmlRebuilderInterval", "5")
    assert merging_desk.workflows("S1_MR1") == ["Transferred", "Merged"]
    assert [row["status"] for row in merging_desk.waiting()] == ["RECEIVING"]
    assert held.status_code == 200


def test_item_119_scans_and_files(desk):  # noqa: F811
    files = series(1, 2) + series(2, 3)
    receiving = desk.send(files, PROJECT_ID=desk.project).text.strip()
    assert desk.owner.get(f"{receiving}/scans").status_code == 404
    uri = desk.to_prearchive(files)
    assert desk.owner.rows(f"{uri}/scans") == [
        {"ID": str(n), "xsiType": "xnat:mrScanData", "series_description": f"series {n}"} for n in (1, 2)]
    rows = desk.owner.rows(f"{uri}/scans/2/resources/DICOM/files")
    assert {tuple(sorted(row)) for row in rows} == {("Name", "Size", "URI")}
    for row in rows:
        answer = desk.owner.get(row["URI"])
        assert len(answer.content) == int(row["Size"])
    assert desk.owner.rows(f"{uri}/scans/2/resources")[0]["file_count"] == "3"
    size = sum(int(row["Size"]) for row in rows)
    assert desk.owner.rows(f"{uri}/resources")[1] == {
        "category": "scans", "cat_id": "2", "label": "DICOM", "file_count": "3", "file_size": str(size)}
    answer = desk.owner.get(f"{uri}/scans/2", params={"format": "zip"})
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert sorted(names) == [f"2/DICOM/{name}" for name, _ in files[2:]]
    answer = desk.owner.get(uri, params={"format": "zip"})
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert sorted(names)[0] == f"S1_MR1/SCANS/1/DICOM/{files[0][0]}"
    assert desk.owner.get(uri, params={"format": "xml"}).headers["content-type"].startswith("text/xml")
    assert desk.owner.delete(f"{uri}/scans/2").status_code == 200
    assert len(desk.owner.rows(f"{uri}/scans")) == 1


def test_unknown_action(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    assert desk.owner.post(uri, params={"action": "nonsense"}).status_code == 400


def test_a_conflict_row_takes_the_next_upload(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    assert desk.to_archive(series(1, 2), session="E1").status_code == 400
    (row,) = desk.waiting()
    assert desk.to_prearchive(series(2, 2), session="E1") == "/data" + row["url"]
    assert [row["status"] for row in desk.waiting()] == ["READY"]


@pytest.mark.other_client
def test_xnatpy(desk, tmp_path):  # noqa: F811
    xnat = pytest.importorskip("xnat")
    path = tmp_path / "session.zip"
    path.write_bytes(zipped(series(1, 2) + series(2, 3)))
    user, password = desk.server.accounts["owner"]
    with xnat.connect(desk.server.url, user=user, password=password, loglevel="ERROR") as connection:
        waiting = connection.services.import_(
            str(path), destination="/prearchive", project=desk.project, subject="001", experiment="001_MR1")
        assert waiting.status == "READY"
        found = [row for row in connection.prearchive.sessions(project=desk.project)]
        assert [row.label for row in found] == ["001_MR1"]
        assert sorted(scan.id for scan in found[0].scans) == ["1", "2"]
        session = found[0].archive()
        assert session.label == "001_MR1"
        again = connection.services.import_(
            str(path), project=desk.project, subject="002", experiment="002_MR1",
            destination=f"/archive/projects/{desk.project}/subjects/002/experiments/002_MR1")
        assert again.label == "002_MR1"
        assert len(again.scans) == 2


def test_archiving_by_older_names_and_by_fields(desk):  # noqa: F811
    row = desk.waiting_row(desk.to_prearchive(series(1, 1)))
    given = {"project": desk.project, "timestamp": row["timestamp"], "folder": row["folderName"],
             "xnat:mrSessionData/label": "OTHER", "xnat:mrSessionData/subject_ID": "S77"}
    answer = desk.owner.post("/data/services/archive", params=given)
    assert answer.text.strip() == f"/data/archive/projects/{desk.project}/subjects/S77/experiments/OTHER"


def test_rows_wait_as_queued_while_a_batch_is_slow(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    desk.server.faults([{"fault": "slow-archive", "path": "/services/prearchive/", "delay_s": 0.5}])
    try:
        listed = desk.owner.post("/data/services/prearchive/delete", params={"src": uri}).json()["ResultSet"]["Result"]
        assert [row["status"] for row in listed] == ["QUEUED_DELETING"]
        assert [row["status"] for row in desk.waiting()] == ["QUEUED_DELETING"]
        assert desk.owner.post(uri, params={"action": "build"}).status_code == 409
        desk.wait_for(lambda: not desk.waiting())
    finally:
        desk.server.faults([])


def test_only_administrators_rebuild_the_table(desk, person):  # noqa: F811
    assert desk.owner.put("/data/prearchive").status_code == 403
    assert person("admin").put("/data/prearchive").status_code == 200


@pytest.mark.parametrize("status", ["RECEIVING", "ERROR", "CONFLICT", "BUILDING", "SEPARATING"])
def test_a_status_that_is_set(desk, status):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    assert desk.owner.post(uri, params={"action": "set-status", "status": status}).status_code == 200
    assert [row["status"] for row in desk.waiting()] == [status]
    assert desk.owner.post(uri, params={"action": "set-status", "status": "WELL"}).status_code == 400
    rebuilt = desk.owner.post("/data/services/prearchive/rebuild", params={"src": uri, "overrideLock": "true"})
    assert rebuilt.status_code == 200
    desk.wait_for(lambda: [row["status"] for row in desk.waiting()] == ["READY"])


def test_a_row_that_is_being_separated_is_busy(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    assert desk.owner.post(uri, params={"action": "set-status", "status": "SEPARATING"}).status_code == 200
    assert desk.owner.post(uri, params={"action": "commit"}).status_code == 409
    answer = desk.send(series(2, 1), dest=desk.prearchive_path)
    assert (answer.status_code, answer.text.strip() != uri) == (200, True), "what comes makes a second row"
    assert sorted(row["status"] for row in desk.waiting()) == ["READY", "SEPARATING"]


def test_other_formats_of_a_row_are_refused(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    assert desk.owner.get(uri, params={"format": "tar"}).status_code == 400


@pytest.mark.parametrize("again", [False, True])
def test_an_archiving_that_is_listened_to(desk, again):  # noqa: F811
    if again:
        assert desk.to_archive(series(1, 1), session="S1_MR1").status_code == 200
    uri, key = desk.to_prearchive(series(1, 1)), f"A_{desk.project}"
    answer = desk.owner.post("/data/services/archive", params={"src": uri, "http-session-listener": key},
                             allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"].endswith(f"/data/status/{key}")) == (303, True)
    found = desk.wait_for(lambda: (one := desk.owner.get(f"/xapi/event_tracking/{key}").json())["succeeded"] is not None
                          and one)
    assert found["succeeded"] is not again
    assert found["finalMessage"].startswith("FAILED" if again else f"Archive:{desk.archive_path}/subjects/S1")
    assert [row["status"] for row in desk.waiting()] == (["CONFLICT"] if again else [])


def test_archiving_into_a_project_that_does_not_exist(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1))
    assert desk.owner.post("/data/services/archive", params={"src": uri, "project": "NOWHERE"}).status_code == 404
    assert [row["status"] for row in desk.waiting()] == ["READY"]
