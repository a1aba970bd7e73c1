"""`POST /data/services/import`, numbered as the conformance checklist."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from ingest_kit import Desk, desk, merging_desk, message, series, zipped  # noqa: F401

from xnbtransfer.server.state import State

EXISTS = "Session already exists, retry with overwrite enabled"
MATCHING = "Session already exists with matching files."


def test_item_92_labels_from_the_headers(desk):  # noqa: F811
    answer = desk.to_archive(series(1, 3, subject="001", session="001_MR1"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/uri-list")
    assert answer.text == f"/data/archive/projects/{desk.project}/subjects/001/experiments/001_MR1\r\n"
    (session,) = desk.sessions()
    assert (session["subject"], session["label"], session["xsi_type"]) == ("001", "001_MR1", "xnat:mrSessionData")
    assert (session["date"], session["time"], session["modality"]) == ("2024-01-02", "10:15:00", "MR")
    assert desk.workflows("001_MR1") == ["Transferred"]


def test_item_93_labels_from_dest(desk):  # noqa: F811
    answer = desk.to_archive(series(1, 2), session="E1", subject="S9")
    assert answer.text.strip().endswith("/subjects/S9/experiments/E1")
    assert desk.owner.get(answer.text.strip(), params={"format": "json"}).status_code == 200
    (scan,) = desk.sql("SELECT s.* FROM scans s JOIN experiments e ON e.id=s.experiment_id WHERE e.project=?",
                       desk.project)
    assert (scan["id"], scan["type"], scan["series_description"], scan["quality"]) == (
        "1", "series 1", "series 1", "usable")
    assert scan["frames"] == "2"


@pytest.mark.parametrize(("handler", "status"), [("DICOM-zip", 400), ("SI", 409)])
def test_item_94_existing_session_is_refused_with_code_0(desk, handler, status):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    answer = desk.to_archive(series(1, 2), session="E1", handler=handler)
    assert answer.status_code == status
    assert (EXISTS if handler == "SI" else "unable to archive for the Prearchive session") in message(answer)
    (row,) = desk.waiting()
    assert (row["status"], row["name"]) == ("CONFLICT", "E1")


def test_item_95_append_and_delete(desk):  # noqa: F811
    def send(**given):
        return desk.to_archive(series(1, 2), session="E1", **given)

    assert send().status_code == 200
    refused = send(overwrite="append")
    assert (refused.status_code, message(refused)) == (400, "unable to archive for the Prearchive session")
    (row,) = desk.waiting()
    assert MATCHING in desk.owner.get(f"/data{row['url']}/logs/last").text
    assert send(overwrite="append", overwrite_files="true").status_code == 200
    assert send(overwrite="delete").status_code == 200
    assert desk.scans("E1") == {"1": 2}
    assert desk.waiting() == []


def test_item_96_files_are_united(desk):  # noqa: F811
    files = series(1, 16)
    assert desk.to_archive(files[:11], session="E1").status_code == 200
    assert desk.to_archive(files[11:], session="E1", overwrite="append").status_code == 200
    assert desk.scans("E1") == {"1": 16}
    assert desk.to_archive(files[:11], session="E2").status_code == 200
    assert desk.to_archive(files[10:], session="E2", overwrite="append").status_code == 400
    assert desk.to_archive(files[10:], session="E2", overwrite="delete").status_code == 200
    assert desk.scans("E2") == {"1": 16}


def test_item_97_a_second_scan_joins(desk):  # noqa: F811
    assert desk.to_archive(series(1, 4), session="E1").status_code == 200
    desk.sql("UPDATE experiments SET date='2001-01-01' WHERE project=?", desk.project)
    assert desk.to_archive(series(2, 3), session="E1", overwrite="append").status_code == 200
    assert desk.scans("E1") == {"1": 4, "2": 3}
    assert desk.sessions()[0]["date"] == "2001-01-01"
    assert desk.workflows("E1") == ["Transferred", "Merged"]


def test_item_98_modalities_do_not_mix(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2, source="PT"), session="E1").status_code == 200
    answer = desk.to_archive(series(2, 2), session="E1", overwrite="delete")
    assert answer.status_code == 400
    (row,) = desk.waiting()
    assert "modality" in desk.owner.get(f"/data{row['url']}/logs/last").text
    desk.set_site("preventCrossModalityMerge", "false")
    try:
        assert desk.to_archive(series(2, 2), session="E1", overwrite="delete").status_code == 200
    finally:
        desk.set_site("preventCrossModalityMerge", "true")
    assert desk.sessions()[0]["xsi_type"] == "xnat:petSessionData"
    kinds = desk.sql("SELECT s.xsi_type FROM scans s JOIN experiments e ON e.id=s.experiment_id WHERE e.project=? "
                     "ORDER BY s.id", desk.project)
    assert [row["xsi_type"] for row in kinds] == ["xnat:petScanData", "xnat:mrScanData"]


def test_item_99_same_number_other_series(desk):  # noqa: F811
    other = series(1, 4, study="other", StudyInstanceUID="1.2.3.4")
    first = [(name, data) for name, data in series(1, 2, StudyInstanceUID="1.2.3.4")]
    assert desk.to_archive(first, session="E1").status_code == 200
    assert desk.to_archive([(f"x{n}", d) for n, d in other[:2]], session="E1", overwrite="append").status_code == 200
    assert desk.scans("E1") == {"1": 2, "1-MR1": 2}
    assert desk.to_archive([(f"x{n}", d) for n, d in other[2:]], session="E1", overwrite="append").status_code == 200
    assert desk.scans("E1") == {"1": 2, "1-MR1": 4}


def test_item_99_within_one_upload(desk):  # noqa: F811
    other = [(f"x{n}", d) for n, d in series(1, 3, study="other", StudyInstanceUID="1.2.3.4")]
    uri = desk.to_prearchive(series(1, 2, StudyInstanceUID="1.2.3.4") + other)
    assert [row["ID"] for row in desk.owner.rows(f"{uri}/scans")] == ["1", "1-MR1"]


def test_item_100_overwrite_none_merges(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    assert desk.to_archive(series(2, 2), session="E1", overwrite="none").status_code == 200
    assert desk.scans("E1") == {"1": 2, "2": 2}


def test_item_101_other_files_in_the_zip(desk):  # noqa: F811
    files = [("readme.txt", b"not DICOM at all"), *series(1, 2)]
    for given in ({}, {"Ignore-Unparsable": "false"}):
        answer = desk.send(files, dest=desk.prearchive_path, **given)
        assert answer.status_code == 400
        assert message(answer) == "unable to read DICOM object readme.txt"
    assert desk.send(files, dest=desk.prearchive_path, **{"Ignore-Unparsable": "true"}).status_code == 200


def test_item_101_what_came_before_stays(desk):  # noqa: F811
    answer = desk.send([*series(1, 2), ("readme.txt", b"no"), *series(2, 2)], dest=desk.prearchive_path)
    assert answer.status_code == 400
    (row,) = desk.waiting()
    assert row["status"] == "RECEIVING"
    assert len(desk.waiting_headers("/data" + row["url"])) == 2


def test_item_102_same_study_same_uri(desk):  # noqa: F811
    first = desk.to_prearchive(series(1, 2))
    assert desk.to_prearchive(series(2, 2)) == first
    assert [row["ID"] for row in desk.owner.rows(f"{first}/scans")] == ["1", "2"]


def test_item_102_parallel_imports_share_one_row(desk):  # noqa: F811
    parts = [series(number, 12) for number in range(1, 7)]
    with ThreadPoolExecutor(6) as pool:
        uris = set(pool.map(lambda files: desk.send(files, PROJECT_ID=desk.project).text.strip(), parts))
    assert len(uris) == 1
    uri = uris.pop()
    assert desk.owner.post(uri, params={"action": "build"}).status_code == 200
    rows = desk.owner.rows(f"{uri}/resources")
    assert [(row["cat_id"], row["file_count"]) for row in rows] == [(str(n), "12") for n in range(1, 7)]


def test_a_new_subject_that_several_archive_into_at_once_is_made_once(tmp_path):
    """Who weighs a row finds no subject; another row may have made it when this one is written (CI: 1 of 4,212)."""
    state = State(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: state.subject_of("P", "NEW", "owner"), range(64)))
    assert len(made) == 1


def test_item_104_without_project(desk):  # noqa: F811
    uri = desk.send(series(1, 2, study=desk.project)).text.strip()
    assert uri.startswith("/data/prearchive/projects/Unassigned/")
    assert desk.owner.post(uri, params={"action": "build"}).status_code == 200
    answer = desk.owner.post(uri, params={"action": "move", "newProject": desk.project}, allow_redirects=False)
    assert (answer.status_code, answer.text) == (301, uri.replace("Unassigned", desk.project))
    assert "location" not in answer.headers
    assert [row["status"] for row in desk.waiting()] == ["READY"]


@pytest.mark.parametrize(("handler", "status"), [("DICOM-zip", 400), ("SI", 200)])
def test_item_105_second_study_in_one_folder(desk, handler, status):  # noqa: F811
    dest = f"{desk.prearchive_path}/20200101_010101/FOLD"
    assert desk.send(series(1, 2), dest=dest, handler=handler).status_code == 200
    assert desk.send(series(2, 2, study="other"), dest=dest, handler=handler).status_code == status
    assert len(desk.waiting()) == 1


def test_item_109_timestamp_and_folder_in_dest(desk):  # noqa: F811
    uri = desk.send(series(1, 2), dest=f"{desk.prearchive_path}/20000101_050505/1122").text.strip()
    assert uri == f"/data{desk.prearchive_path}/20000101_050505/1122"
    assert [(row["timestamp"], row["folderName"]) for row in desk.waiting()] == [("20000101_050505", "1122")]


def test_item_116_same_study_under_another_label(desk):  # noqa: F811
    assert desk.to_archive(series(1, 2), session="E1").status_code == 200
    assert desk.to_archive(series(1, 2), session="E2").status_code == 200
    assert [row["label"] for row in desk.sessions()] == ["E1", "E2"]


@pytest.mark.parametrize("keyword", ["PatientComments", "StudyDescription", "AccessionNumber"])
def test_item_120_routing(desk, keyword):  # noqa: F811
    value = f"Project:{desk.project} Subject:S7 Session:E7" if keyword == "PatientComments" else desk.project
    uri = desk.send(series(1, 1, **{keyword: value})).text.strip()
    assert uri.startswith(f"/data{desk.prearchive_path}/")
    assert uri.endswith("/E7" if keyword == "PatientComments" else "/S1_MR1")


def test_item_132_codes_of_site_and_project(desk):  # noqa: F811
    desk.set_project(anon_script='(0008,0080) := "clinic"', anon_enabled=1)
    uri = desk.to_prearchive(series(1, 2))
    (waiting, _) = desk.waiting_headers(uri)
    assert [item.CodeValue for item in waiting.DeidentificationMethodCodeSequence][1:] == ["1"]
    assert (waiting.StudyDescription, waiting.PatientID) == (desk.project, "S1_MR1")
    assert desk.owner.post(uri, params={"action": "commit", "AA": "true"}, allow_redirects=False).status_code == 301
    archived = desk.archived_headers("S1_MR1")[0]
    codes = [item.CodeValue for item in archived.DeidentificationMethodCodeSequence]
    assert len(codes) == 3
    assert codes[1] == "1"
    assert archived.InstitutionName == "clinic"


def test_item_133_scripts_switched_off(desk):  # noqa: F811
    desk.set_project(anon_script='(0008,0080) := "clinic"', anon_enabled=0)
    assert desk.to_archive(series(1, 1), session="E1").status_code == 200
    assert len(desk.archived_headers("E1")[0].DeidentificationMethodCodeSequence) == 2
    desk.set_site("enableSitewideAnonymizationScript", "false")
    try:
        desk.set_project(anon_enabled=1)
        assert desk.to_archive(series(1, 1), session="E2").status_code == 200
    finally:
        desk.set_site("enableSitewideAnonymizationScript", "true")
    found = desk.archived_headers("E2")[0]
    assert len(found.DeidentificationMethodCodeSequence) == 2
    assert (found.InstitutionName, found.StudyDescription) == ("clinic", "none")


def test_item_134_prevent_anon(desk):  # noqa: F811
    desk.set_project(anon_script='(0008,0080) := "clinic"', anon_enabled=1)
    assert desk.to_archive(series(1, 1), session="E1", prevent_anon="true").status_code == 200
    found = desk.archived_headers("E1")[0]
    assert len(found.DeidentificationMethodCodeSequence) == 1
    assert "InstitutionName" not in found


def test_code_4_merges_without_being_asked(merging_desk):  # noqa: F811
    assert merging_desk.to_archive(series(1, 2), session="E1").status_code == 200
    assert merging_desk.to_archive(series(2, 2), session="E1").status_code == 200
    assert merging_desk.to_archive(series(2, 2), session="E1").status_code == 400
    merging_desk.set_project(prearchive_code=5)
    assert merging_desk.to_archive(series(2, 2), session="E1").status_code == 200
    assert merging_desk.scans("E1") == {"1": 2, "2": 2}


def test_same_object_twice_in_one_zip(desk):  # noqa: F811
    """By name, not by instance (XNAT source: GradualDicomImporter.getSafeFile); twins are not archived (s317)."""
    (_, data), = series(1, 1)
    twin = data[:-2] + b"\xff\x7f"
    uri = desk.to_prearchive([("a.dcm", data), ("b.dcm", twin)])
    assert sorted(row["Name"] for row in desk.owner.rows(f"{uri}/scans/1/resources/DICOM/files")) == ["a.dcm", "b.dcm"]
    answer = desk.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, "DICOM catalog contains duplicated SOP instance UIDs" in answer.text) == (500, True)
    assert [row["status"] for row in desk.waiting()] == ["ERROR"]
    assert desk.owner.delete(uri).status_code == 200
    uri = desk.to_prearchive([("1/a.dcm", data), ("2/a.dcm", twin)])
    (found,) = desk.waiting_headers(uri)
    assert found.PixelData.endswith(b"\xff\x7f"), "of the same name the last one wins"


def test_equal_names_of_different_objects_are_both_kept(desk):  # noqa: F811
    first, second = series(1, 2)
    uri = desk.to_prearchive([("1/im.dcm", first[1]), ("2/im.dcm", second[1])])
    names = [row["Name"] for row in desk.owner.rows(f"{uri}/scans/1/resources/DICOM/files")]
    assert len(names) == 2
    assert "im.dcm" in names


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
def test_tar_archives(desk, mode):  # noqa: F811
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in series(1, 3):
            info = tarfile.TarInfo(f"deep/folder/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    answer = desk.owner.post("/data/services/import", params={"dest": desk.prearchive_path}, data=out.getvalue(),
                             headers={"Content-Type": "application/x-tar"})
    assert answer.status_code == 200
    assert len(desk.waiting_headers(answer.text.strip())) == 3


def test_multipart_and_single_objects(desk):  # noqa: F811
    answer = desk.owner.post("/data/services/import", params={"PROJECT_ID": desk.project},
                             files={"upload": ("s.zip", zipped(series(1, 2)))})
    assert answer.status_code == 200
    uri = answer.text.strip()
    for _, data in series(2, 2):
        answer = desk.owner.post("/data/services/import", data=data, headers={"Content-Type": "application/dicom"},
                                 params={"import-handler": "gradual-DICOM", "PROJECT_ID": desk.project})
        assert answer.text.strip() == uri
    assert [row["status"] for row in desk.waiting()] == ["RECEIVING"]
    assert len(desk.waiting_headers(uri)) == 4


def test_requests_that_are_wrong(desk):  # noqa: F811
    path, owner = "/data/services/import", desk.owner
    assert owner.get(path).status_code == 405
    assert owner.post(path, params={"import-handler": "NOPE"}, data=b"x").status_code == 404
    for handler in ("XAR", "inbox"):
        answer = owner.post(path, params={"import-handler": handler}, data=b"x")
        assert (answer.status_code, f"import by {handler}" in answer.text) == (400, True)
    assert owner.post(path, params={"import-handler": "DICOM-zip"}).status_code == 400
    wrong = {"dest": "/nonsense", "inbody": "true"}
    assert owner.post(path, params=wrong, data=zipped(series(1, 1))).status_code == 400
    assert owner.post(path, data=iter([b"chunk"]), headers={"Content-Type": "application/x-tar"}).status_code == 400
    cut = owner.post(path, data=zipped(series(1, 3))[:-200], headers={"Content-Type": "application/zip"})
    assert cut.status_code == 400


def test_a_body_counts_as_a_file_by_its_type_or_by_inbody(desk):  # noqa: F811
    body, curl = zipped(series(1, 1)), {"Content-Type": "application/x-www-form-urlencoded"}
    asked = {"import-handler": "DICOM-zip", "PROJECT_ID": desk.project}
    for headers in ({}, curl):  # what scripts send that name no type: requests, and curl --data-binary
        path = "/data/services/import"
        assert desk.owner.post(path, params=asked, data=body, headers=headers).status_code == 400
        assert desk.owner.post(path, params={**asked, "inbody": "true"}, data=body, headers=headers).status_code == 200


def test_chunked_zip(desk):  # noqa: F811
    whole = zipped(series(1, 3))
    pieces = (whole[start:start + 4096] for start in range(0, len(whole), 4096))
    answer = desk.owner.post("/data/services/import", params={"PROJECT_ID": desk.project}, data=pieces,
                             headers={"Content-Type": "application/zip"})
    assert answer.status_code == 200


def test_nothing_stored_is_an_empty_200(desk):  # noqa: F811
    answer = desk.send([], PROJECT_ID=desk.project)
    assert (answer.status_code, answer.text) == (200, "")


def test_unreadable_project_falls_back_and_readable_one_takes(desk):  # noqa: F811
    files = series(1, 1, study=desk.project)
    uri = desk.send(files, who="outsider", PROJECT_ID=desk.project).text.strip()
    assert "/projects/Unassigned/" in uri
    uri = desk.send(series(1, 1), who="collaborator", PROJECT_ID=desk.project).text.strip()
    assert f"/projects/{desk.project}/" in uri
    answer = desk.send(series(1, 1), who="collaborator", dest=desk.archive_path)
    assert answer.status_code == 403


def test_item_106_from_the_cache_of_a_user(desk):  # noqa: F811
    path, listener = "/data/user/cache/resources/UP/files/s.zip", f"L_{desk.project}"
    headers, body = {"Content-Type": "application/zip"}, zipped(series(1, 2))
    assert desk.owner.put(path, params={"inbody": "true"}, data=body, headers=headers).status_code == 200
    try:
        given = {"src": "/user/cache/resources/UP/files/s.zip", "http-session-listener": listener,
                 "import-handler": "DICOM-zip", "dest": f"{desk.archive_path}/subjects/S1/experiments/E1"}
        answer = desk.owner.post("/data/services/import", params=given)
        assert (answer.status_code, answer.text) == (200, "Submitted for archival")
        events = f"/xapi/event_tracking/{listener}"
        found = desk.wait_for(lambda: desk.owner.get(events).json()["succeeded"] is not None and desk.owner.get(events))
        address = f"Archive:{desk.archive_path}/subjects/S1/experiments/E1"
        assert (found.json()["succeeded"], found.json()["finalMessage"]) == (True, address)
        last = desk.owner.get(f"/data/status/{listener}", params={"format": "json"}).json()["msgs"][0][-1]
        assert (last["status"], last["msg"]) == ("COMPLETED", address)
        assert desk.person("member").get(events).status_code == 404
        assert desk.scans("E1") == {"1": 2}
        missing = {**given, "src": "/user/cache/resources/UP/files/none.zip"}
        assert desk.owner.post("/data/services/import", params=missing).status_code == 404
    finally:
        desk.owner.delete("/data/user/cache/resources/UP")


def test_illegal_characters_in_labels(desk):  # noqa: F811
    """The importer takes them as they are, archiving makes them clean (recorded from 1.8.11: n477, n479)."""
    uri = desk.send(series(1, 1), PROJECT_ID=desk.project, SUBJECT_ID="S 1", EXPT_LABEL="a.b c").text.strip()
    assert uri.endswith("/a.b c")
    assert [(row["subject"], row["name"]) for row in desk.waiting()] == [("S 1", "a.b c")]
    assert desk.owner.post(uri, params={"action": "build"}).status_code == 200
    assert desk.owner.post("/data/services/archive", params={"src": uri}).status_code == 200
    assert [(row["subject"], row["label"]) for row in desk.sessions()] == [("S_1", "a_b_c")]


def test_bit_flip_on_store(desk):  # noqa: F811
    (_, data), = series(1, 1)
    desk.server.faults([{"fault": "bit-flip-on-store", "times": 1}])
    try:
        (found,) = desk.waiting_headers(desk.to_prearchive([("a.dcm", data)]))
    finally:
        desk.server.faults([])
    stored = found.PixelData
    assert len(stored) == 8192
    assert sum(a != b for a, b in zip(stored, data[-8192:], strict=True)) == 1
