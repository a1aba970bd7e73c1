"""Prearchive and archive: items 107 to 120."""

from __future__ import annotations

import pytest
from contract_kit import keys, message, until
from people import AS_JSON

ROW = {
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name", "tag",
    "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
}  # fmt: skip
REJECT = 'version "6.3"\nreject\n'


def codes(desk, uri: str) -> dict[str, str]:
    """What validating says: code to type."""
    answer = desk.owner.post("/data/services/validate-archive", params={"src": uri, "format": "json"})
    assert answer.status_code == 200, message(answer)
    return {row["code"]: row["type"] for row in answer.json()["ResultSet"]["Result"]}


def test_item_107_rows(desk):
    """Rows of a project's prearchive. Source: REST test TestPrearchiveMgmt."""
    uri = desk.to_prearchive(desk.series(1, 2))
    rows = desk.waiting()
    assert keys(rows) >= ROW
    assert (f"/data{rows[0]['url']}", rows[0]["status"]) == (uri, "READY")
    assert (rows[0]["name"], rows[0]["subject"]) == ("S1_MR1", "S1")
    assert rows[0]["tag"].startswith("2.25.")


def test_item_108_delete(desk):
    """Deleting a row. Source: REST test TestPrearchiveMgmt.testPrearchiveSessionDelete."""
    uri = desk.to_prearchive(desk.series(1, 2))
    assert desk.owner.delete(uri).status_code == 200
    assert desk.waiting() == []


def test_item_109_given_address(desk):
    """A row at the time and folder that are asked for. Source: REST test TestImport.testPrearchiveWithDestination."""
    dest = f"/prearchive/projects/{desk.project}/20000101_050505/1122"
    answer = desk.send(desk.series(1, 2), dest=dest)
    assert answer.text.strip() == f"/data{dest}"
    assert [(row["timestamp"], row["folderName"]) for row in desk.waiting()] == [("20000101_050505", "1122")]


def test_item_110_batch_move(desk, other):
    """A row is moved to another project, soon. Source: REST test TestPrearchiveMgmt.testUnassignedMove."""
    uri = desk.to_prearchive(desk.series(1, 2))
    params = {"src": uri.removeprefix("/data"), "newProject": other.project}
    assert desk.owner.post("/data/services/prearchive/move", params=params).status_code == 200
    until(lambda: not desk.waiting() and [row["status"] for row in other.waiting()] == ["READY"])
    assert other.waiting()[0]["url"] == uri.removeprefix("/data").replace(desk.project, other.project)


def test_item_111_archive(desk):
    """Archiving a row. Source: REST test TestArchive.testBasicArchiveFromPrearc."""
    uri = desk.to_prearchive(desk.series(1, 2))
    answer = desk.archive(uri)
    assert (answer.status_code, answer.text) == (200, f"/data{desk.target()}\r\n"), message(answer)
    assert desk.waiting() == []
    assert desk.scans("S1_MR1") == {"1": 2}


def test_item_112_archive_elsewhere(desk, other):
    """Archiving under other labels. Source: REST test TestArchive.testBasicArchiveFromPrearcWParams."""
    uri = desk.to_prearchive(desk.series(1, 2))
    answer = desk.archive(uri, project=other.project, subject="S2", session="S2_MR1")
    assert answer.status_code == 200, message(answer)
    assert other.sessions()["S2_MR1"]["subject_label"] == "S2"
    assert desk.sessions() == {}


def test_item_113_everything_rejected(newest):
    """A project script that rejects every file: 500, and the row is ERROR.

    Source: REST test TestArchive.testArchiveEmptySessionAfterProjectAnonRejection.
    """
    newest.site.since("1.9.3")
    uri = newest.to_prearchive(newest.series(1, 2))
    path = f"/xapi/anonymize/projects/{newest.project}"
    assert newest.owner.put(path, data=REJECT, headers={"Content-Type": "text/plain"}).status_code == 200
    assert newest.owner.put(f"{path}/enabled", params={"enable": "true"}, headers=AS_JSON).status_code == 200
    assert newest.archive(uri).status_code == 500
    assert [row["status"] for row in newest.waiting()] == ["ERROR"]
    assert newest.sessions() == {}


def test_item_114_validate(desk):
    """What archiving would run into, said before.

    Source: PrearcSessionValidator; recorded from 1.8.11: newer n350, n366, n408.
    """
    assert codes(desk, desk.to_prearchive(desk.series(1, 2))) == {}  # a new session (recorded from 1.8.11: F67)
    assert desk.archive(f"/data{desk.waiting()[0]['url']}").status_code == 200
    again = desk.to_prearchive(desk.series(1, 2))
    assert codes(desk, again)["1"] == "CONFLICT"
    assert desk.owner.delete(again).status_code == 200
    other = desk.to_prearchive(desk.series(1, 2, subject="S2"), subject="S2", session="S1_MR1")
    assert codes(desk, other)["4"] == "FAIL"


def test_item_115_other_study(desk):
    """Another study onto a label: refused, and the row is CONFLICT. Source: PrearcSessionArchiver."""
    desk.archived(desk.series(1, 2))
    uri = desk.to_prearchive(desk.series(2, 2, study="B"))
    answer = desk.archive(uri)
    assert answer.status_code in (409, 500)
    assert "Invalid modification of session UID" in message(answer)
    assert [row["status"] for row in desk.waiting()] == ["CONFLICT"]
    assert desk.scans("S1_MR1") == {"1": 2}


def test_item_116_same_study_other_label(desk):
    """One study under two labels is two sessions, without a word. Source: PrearcSessionArchiver."""
    first = desk.archived(desk.series(1, 2))
    second = desk.archived(desk.series(1, 2), session="S1_AGAIN")
    assert first != second
    found = desk.sessions()
    assert found["S1_MR1"]["UID"] == found["S1_AGAIN"]["UID"] != ""


def test_item_117_direct_archive(desk):
    """Direct archiving goes past the prearchive; a conflict ends in it.

    Source: REST test TestDirectArchive; DirectArchiveSessionServiceImpl; recorded from 1.8.11: newer n448 to n456.
    """
    desk.site.since("1.8.3")
    given = {"project": desk.project, "subject": "S1", "session": "S1_MR1", "Direct-Archive": "true"}
    uri = desk.send(desk.series(1, 2), **given).text.strip()
    assert uri.startswith(f"/xapi/direct-archive/{desk.project}/")
    assert desk.person("collaborator").post(uri).status_code == 403
    assert desk.owner.post(uri).status_code == 200
    until(lambda: "S1_MR1" in desk.sessions())
    assert desk.scans("S1_MR1") == {"1": 2}
    again = desk.send(desk.series(1, 2), **given).text.strip()  # the session is there: it waits like any other
    assert again.startswith(f"/data/prearchive/projects/{desk.project}/")
    assert desk.owner.post(again, params={"action": "commit", "AA": "true"}).status_code >= 400
    until(lambda: [row["status"] for row in desk.waiting()] == ["CONFLICT"])
    assert desk.scans("S1_MR1") == {"1": 2}


def test_item_117a_commit_onto_a_session(desk):
    """Committing merges other scans into the session; the same files end as CONFLICT.

    Source: PrearcSessionResource.postActionCommit.
    """
    desk.archived(desk.series(1, 2))
    uri = desk.to_prearchive(desk.series(2, 3))
    answer = desk.owner.post(uri, params={"action": "commit", "AA": "true"})
    assert (answer.status_code, answer.text.strip()) == (301, f"/data{desk.target()}")
    assert desk.scans("S1_MR1") == {"1": 2, "2": 3}
    uri = desk.to_prearchive(desk.series(2, 3))
    assert desk.owner.post(uri, params={"action": "commit", "AA": "true"}).status_code >= 400
    assert [row["status"] for row in desk.waiting()] == ["CONFLICT"]


def test_item_118_background_job(desk):
    """Idle sessions are archived by themselves with code 4, and become READY with code 0.

    Source: SessionXMLRebuilder; REST test simpleAutoarchiveMerge.
    """
    desk.site.embedded_only("would wait more than five minutes")
    desk.code(4)
    given = {"PROJECT_ID": desk.project, "SUBJECT_ID": "S1", "EXPT_LABEL": "S1_MR1"}
    with desk.site.setting("sessionXmlRebuilderInterval", "0"):
        assert desk.send(desk.series(1, 2), **given).status_code == 200
        until(lambda: "S1_MR1" in desk.sessions() and not desk.waiting())
        assert desk.send(desk.series(2, 3), **given).status_code == 200
        until(lambda: len(desk.scans("S1_MR1")) == 2)
        desk.code(0)
        assert desk.send(desk.series(3, 1, study="B"), **given | {"EXPT_LABEL": "S1_MR2"}).status_code == 200
        until(lambda: [row["status"] for row in desk.waiting()] == ["READY"])
    assert set(desk.sessions()) == {"S1_MR1"}
    assert "Merged" in str(desk.workflows(desk.accession("S1_MR1")))


def test_item_119_below_a_row(desk):
    """Scans and files of a row. Source: PrearcSessionResource and its neighbours."""
    uri = desk.to_prearchive(desk.series(1, 2))
    scans = desk.owner.rows(f"{uri}/scans")
    assert keys(scans) == {"ID", "xsiType", "series_description"}
    assert [(row["ID"], row["xsiType"]) for row in scans] == [("1", "xnat:mrScanData")]
    path = f"{uri}/scans/1/resources/DICOM/files"
    files = desk.owner.rows(path)
    assert keys(files) == {"Name", "Size", "URI"}
    for row in files:
        assert row["URI"].endswith(f"/scans/1/resources/DICOM/files/{row['Name']}")
        assert len(desk.owner.get(f"{path}/{row['Name']}").content) == int(row["Size"])


@pytest.mark.parametrize("keyword", ["PatientComments", "StudyDescription", "AccessionNumber"])
def test_item_120_routing(desk, keyword):
    """Where DICOM says that it belongs: comments, study description, accession number.

    Source: REST test TestDicomRouting.
    """
    comments = keyword == "PatientComments"
    value = f"Project:{desk.project} Subject:SR Session:ER" if comments else desk.project
    answer = desk.send(desk.series(1, 1, **{keyword: value}))
    assert answer.text.startswith(f"/data/prearchive/projects/{desk.project}/"), message(answer)
    row = desk.waiting()[0]
    assert (row["subject"], row["name"]) == (("SR", "ER") if comments else ("S1", "S1_MR1"))
