"""When scripts run and what is left when one fails or rejects, as seen on a live XNAT 1.8.11 with the real engine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile

import httpx
import pydicom
import pytest
from ingest_kit import Desk, changed, desk, message, series  # noqa: F401

from xnbtransfer.server import running

V6 = 'version "6.6"\n'
FAILS_IN_2 = V6 + '(0020,0013) = "2" ? (0010,4000) := uppercase[(0010,1040)] : (0010,4000) := "seen"'
"""A script that fails in the second file, for want of an element, and marks the others."""
REJECTS_2 = V6 + '(0020,0013) = "2" ? reject[]'
REJECTS = V6 + "reject[]"
GROWS = '(0010,0010) := project\nproject := concatenate[project,"x"]\n(0010,4000) := project\n'
"""Each file of a run gets one x more."""
PLAIN = {"Content-Type": "text/plain"}


def three(number: int = 1) -> list[tuple[str, bytes]]:
    return [(name, changed(data, InstanceNumber=str(at))) for at, (name, data) in enumerate(series(number, 3), 1)]


def set_script(desk: Desk, text: str) -> None:  # noqa: F811
    assert desk.owner.put(f"/xapi/anonymize/projects/{desk.project}", data=text, headers=PLAIN).status_code == 200
    assert desk.owner.get(f"/xapi/anonymize/projects/{desk.project}/enabled").json() is True


@contextlib.contextmanager
def site_script(desk: Desk, text: str):  # noqa: F811
    """A script of the site that is for this project only, as others use the server too."""
    before = desk.sql("SELECT value FROM site WHERE key='sitewideAnonymizationScript'")
    desk.set_site("sitewideAnonymizationScript", text)
    try:
        yield
    finally:
        desk.sql("DELETE FROM site WHERE key='sitewideAnonymizationScript'")
        for row in before:
            desk.set_site("sitewideAnonymizationScript", row["value"])


def on_disk(desk: Desk, where: str = "prearchive") -> list[int]:  # noqa: F811
    """The sizes of the files of the project on the server's disk."""
    folder = desk.server.data / where / desk.project
    return sorted(path.stat().st_size for path in folder.rglob("*.dcm"))


def archive(desk: Desk, uri: str, **more: str) -> httpx.Response:  # noqa: F811
    return desk.owner.post("/data/services/archive", params={"src": uri, **more})


# The site's, on receipt ----------------------------------------------------------------------------------------------


def test_the_site_script_runs_on_receipt_and_the_project_script_over_what_it_left(desk):  # noqa: F811
    set_script(desk, V6 + '(0008,1030) := concatenate[(0008,1030),"+project"]\n(0010,0020) := session')
    with site_script(desk, V6 + '(0008,1030) := "site"\n(0010,4000) := project'):
        uri = desk.to_prearchive(series(1, 1))
    (waiting,) = desk.waiting_headers(uri)
    assert (waiting.StudyDescription, waiting.PatientComments) == ("site", desk.project)
    assert archive(desk, uri, session="GIVEN").status_code == 200
    (header,) = desk.archived_headers("GIVEN")
    assert (header.StudyDescription, header.PatientID) == ("site+project", "GIVEN")
    stamps = [(one.CodeValue, one.CodingSchemeDesignator, one.CodeMeaning)
              for one in header.DeidentificationMethodCodeSequence]
    assert stamps[-2] == ("1", "XNAT", "XNAT DicomEdit 6 Script")
    assert stamps[-1][1:] == ("XNAT", "XNAT DicomEdit 6 Script")


def test_a_site_script_that_fails_is_an_import_that_cannot_read(desk):  # noqa: F811
    with site_script(desk, FAILS_IN_2):
        answer = desk.send(three(), dest=desk.prearchive_path)
    assert (answer.status_code, "unable to read DICOM object" in message(answer)) == (400, True)
    assert [row["status"] for row in desk.waiting()] == ["RECEIVING"]
    assert len(on_disk(desk)) == 1 and all(on_disk(desk)), "the earlier file stays, and none has 0 bytes"


def test_a_site_script_that_rejects_one_keeps_it_out(desk):  # noqa: F811
    with site_script(desk, REJECTS_2):
        answer = desk.send(three(), dest=desk.prearchive_path)
    assert answer.status_code == 200
    assert len(on_disk(desk)) == 2 and all(on_disk(desk))


def test_a_site_script_that_is_none_lets_nothing_in(desk):  # noqa: F811
    with site_script(desk, V6 + "((("):
        answer = desk.send(series(1, 1), dest=desk.prearchive_path)
    assert answer.status_code == 400
    assert on_disk(desk) == []


# The project's, at archiving -----------------------------------------------------------------------------------------


def test_an_archiving_that_failed_and_is_asked_for_again_makes_a_session_without_files(desk):  # noqa: F811
    uri = desk.to_prearchive(three())
    set_script(desk, FAILS_IN_2)
    answer = archive(desk, uri)
    assert (answer.status_code, "Anonymization failed" in message(answer)) == (500, True)
    assert desk.waiting_row(uri)["status"] == "ERROR"
    assert on_disk(desk) == []
    assert archive(desk, uri).status_code == 200
    assert desk.waiting() == []
    assert [session["label"] for session in desk.sessions()] == ["S1_MR1"]
    assert on_disk(desk, "archive") == []


def test_one_that_failed_with_a_session_there_leaves_the_failing_file_with_0_bytes(desk):  # noqa: F811
    assert archive(desk, desk.to_prearchive(series(7, 1))).status_code == 200
    set_script(desk, FAILS_IN_2)
    uri = desk.to_prearchive(three(2))
    answer = archive(desk, uri, overwrite="append")
    assert (answer.status_code, "Anonymization failed" in message(answer)) == (500, True)
    assert desk.waiting_row(uri)["status"] == "ERROR"
    sizes = on_disk(desk)
    assert (sizes[0], all(sizes[1:]), len(sizes)) == (0, True, 3)
    seen = [path for path in (desk.server.data / "prearchive" / desk.project).rglob("*.dcm") if path.stat().st_size]
    assert {pydicom.dcmread(path).PatientComments for path in seen} == {"seen"}, "the run goes on after the failure"
    assert archive(desk, uri, overwrite="append").status_code == 200
    assert on_disk(desk, "archive").count(0) == 1


def test_a_project_script_that_is_none_fails_and_changes_nothing(desk):  # noqa: F811
    assert archive(desk, desk.to_prearchive(series(7, 1))).status_code == 200
    uri = desk.to_prearchive(three(2))
    before = on_disk(desk)
    set_script(desk, V6 + "(((")
    assert archive(desk, uri, overwrite="append").status_code == 500
    assert desk.waiting_row(uri)["status"] == "ERROR"
    assert on_disk(desk) == before, "the engine throws before it has seen a file"


def test_what_a_project_script_rejects_is_gone_everywhere(desk):  # noqa: F811
    uri = desk.to_prearchive(three())
    set_script(desk, REJECTS_2)
    assert archive(desk, uri).status_code == 200
    assert len(on_disk(desk, "archive")) == 2 and on_disk(desk) == []
    rest = desk.to_prearchive(series(3, 2, study="1.2.9", session="S1_MR9"))
    set_script(desk, REJECTS)
    assert archive(desk, rest).status_code == 500
    assert on_disk(desk) == [] and len(on_disk(desk, "archive")) == 2


def test_variables_live_from_file_to_file_of_one_archiving(desk):  # noqa: F811
    uri = desk.to_prearchive(three())
    set_script(desk, V6 + GROWS)
    assert archive(desk, uri).status_code == 200
    found = {header.PatientComments for header in desk.archived_headers("S1_MR1")}
    assert found == {desk.project + "x" * times for times in (1, 2, 3)}


def test_appending_runs_it_over_the_new_files_only(desk):  # noqa: F811
    set_script(desk, V6 + '(0010,4000) := "once"')
    assert archive(desk, desk.to_prearchive(series(1, 1))).status_code == 200
    assert archive(desk, desk.to_prearchive(series(2, 1)), overwrite="append").status_code == 200
    found = [len(header.DeidentificationMethodCodeSequence) for header in desk.archived_headers("S1_MR1")]
    assert len(found) == 2 and len(set(found)) == 1


# Again, on a move and a rename ---------------------------------------------------------------------------------------


def listed(client: httpx.Client, session: str) -> list[dict]:
    return client.get(f"{session}/scans/ALL/files", params={"format": "json"}).json()["ResultSet"]["Result"]


@pytest.fixture
def own(tmp_path):
    """A server of its own, since a switch of the whole site is turned."""
    with running(tmp_path) as server, httpx.Client(base_url=server.url, auth=server.accounts["admin"]) as client:
        set_ = {"enableSitewideAnonymizationScript": "false", "rerunProjectAnonOnRename": "true"}
        assert client.post("/xapi/siteConfig", json=set_).status_code == 200
        for project in ("A", "B"):
            assert client.put(f"/data/projects/{project}").status_code in (200, 201)
        yield client


@pytest.mark.parametrize("change", ["rename", "move"])
def test_a_rename_and_every_move_run_it_again_and_the_list_keeps_the_old_md5(own, change):
    sent = three()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as parcel:
        for name, data in sent:
            parcel.writestr(name, data)
    where = {"inbody": "true", "import-handler": "DICOM-zip", "dest": "/archive/projects/A/subjects/S/experiments/E"}
    zipped = {"Content-Type": "application/zip"}
    assert own.post("/data/services/import", params=where, content=out.getvalue(), headers=zipped).status_code == 200
    session = "/data/projects/A/subjects/S/experiments/E"
    before = {row["Name"]: row for row in listed(own, session)}
    script = V6 + GROWS + "(0010,0020) := session\n"
    for project in ("A", "B"):
        assert own.put(f"/xapi/anonymize/projects/{project}", content=script, headers=PLAIN).status_code == 200
    if change == "rename":
        assert own.put(session, params={"label": "NEW"}).status_code == 200
        session, project, label = "/data/projects/A/subjects/S/experiments/NEW", "A", "NEW"
    else:
        assert own.post("/xapi/siteConfig", json={"rerunProjectAnonOnRename": "false"}).status_code == 200
        assert own.put(f"{session}/projects/B", params={"primary": "true"}).status_code == 200
        session, project, label = "/data/projects/B/experiments/E", "B", "E"
    after = {row["Name"]: row for row in listed(own, session)}
    assert after.keys() == before.keys() and len(after) == 3
    comments = set()
    for name, row in after.items():
        stored = own.get(row["URI"]).content
        header = pydicom.dcmread(io.BytesIO(stored))
        comments.add(header.PatientComments)
        assert header.PatientID == label
        assert header.DeidentificationMethodCodeSequence[-1].CodeMeaning == "XNAT DicomEdit 6 Script"
        assert int(row["Size"]) == len(stored) != int(before[name]["Size"])
        assert row["digest"] == before[name]["digest"] != hashlib.md5(stored).hexdigest()
    assert comments == {project + "x" * times for times in (1, 2, 3)}, "one run over all files"
