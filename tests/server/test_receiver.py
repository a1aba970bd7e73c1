"""The DICOM receiver, asked by pynetdicom as any scanner would."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import ssl
import subprocess
import sys
import time
from types import SimpleNamespace

import pydicom
import pytest
import requests
from ingest_kit import series
from people import AS_TEXT
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from xnbtransfer.server import running
from xnbtransfer.server.demo_files import make_uid
from xnbtransfer.server.routing import Routing, RuleError, check


@pytest.fixture(scope="module")
def server():
    """A server with a receiver, that builds what has been quiet for half a second."""
    with running(receiver=True) as found:
        admin = as_(found, "admin")
        idle = f"{found.url}/xapi/siteConfig/sessionXmlRebuilderInterval"
        assert admin.post(idle, data="0.008", headers=AS_TEXT).status_code == 200
        for code in (0, 4):
            assert as_(found, "owner").put(f"{found.url}/data/projects/DCM{code}").status_code == 200
            assert admin.put(f"{found.url}/data/projects/DCM{code}/prearchive_code/{code}").status_code == 200
        yield found


def as_(server, role: str) -> requests.Session:
    session = requests.Session()
    session.auth = server.accounts[role]
    return session


@contextlib.contextmanager
def association(server, ae_title: str = "XNAT", caller: str = "SCANNER", **more):
    entity = AE(ae_title=caller)
    for abstract in (Verification, MRImageStorage, CTImageStorage):
        entity.add_requested_context(abstract)
    found = entity.associate("127.0.0.1", server.receiver, ae_title=ae_title, **more)
    try:
        yield found
    finally:
        if found.is_established:
            found.release()


def send(server, datas: list[bytes]) -> list[int]:
    with association(server) as found:
        assert found.is_established
        return [found.send_c_store(pydicom.dcmread(io.BytesIO(data))).Status for data in datas]


def files(study: str, count: int = 2, **changes: str) -> list[bytes]:
    return [data for _, data in series(1, count, study=study, session=f"E_{study}", **changes)]


def waiting(server, project: str, study: str, status: str = "") -> dict:
    """The row of a study, as soon as it is there (and has a status)."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        rows = as_(server, "admin").get(f"{server.url}/data/prearchive/projects/{project}?format=json").json()
        for row in rows["ResultSet"]["Result"]:
            if row["tag"] == make_uid(study) and row["status"] == (status or row["status"]):
                return row
        time.sleep(0.1)
    raise AssertionError(f"no such row: {rows}")


def archived(server, label: str) -> dict:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = as_(server, "owner").get(f"{server.url}/data/projects/DCM4/experiments/{label}?format=json")
        if answer.status_code == 200:
            return answer.json()["items"][0]
        time.sleep(0.1)
    raise AssertionError("it was not archived")


def test_echo(server):
    with association(server) as found:
        assert found.send_c_echo().Status == 0


def test_a_caller_who_names_somebody_else_is_refused(server):
    with association(server, ae_title="OTHER") as found:
        assert not found.is_established


def test_an_xnat_string_in_the_study_description(server):
    assert send(server, files("r1", StudyDescription="xnat://DCM0/S_7/E_7")) == [0, 0]
    row = waiting(server, "DCM0", "r1", "READY")
    assert (row["subject"], row["name"], row["autoarchive"]) == ("S_7", "E_7", "Manual")
    answer = as_(server, "owner").get(f"{server.url}/data{row['url']}/scans?format=json")
    assert [scan["ID"] for scan in answer.json()["ResultSet"]["Result"]] == ["1"]


@pytest.mark.parametrize("keyword", ["PatientComments", "StudyComments", "AdditionalPatientHistory"])
def test_comments_name_project_subject_and_session(server, keyword):
    study = f"r2{keyword}"
    assert send(server, files(study, 1, **{keyword: f"text; Project: DCM0, Subject:S8 Session:E8{keyword[:3]}"})) == [0]
    row = waiting(server, "DCM0", study)
    assert (row["subject"], row["name"]) == ("S8", f"E8{keyword[:3]}")


def test_a_comment_is_looked_for_before_the_study_description(server):
    assert send(server, files("r3", 1, PatientComments="Project:DCM0", StudyDescription="DCM4")) == [0]
    assert waiting(server, "DCM0", "r3")["name"] == "E_r3"


@pytest.mark.parametrize("keyword", ["StudyDescription", "AccessionNumber"])
def test_the_other_default_rules(server, keyword):
    assert send(server, files(f"r4{keyword}", 1, **{keyword: "DCM0"})) == [0]
    row = waiting(server, "DCM0", f"r4{keyword}")
    assert (row["subject"], row["name"]) == ("S1", f"E_r4{keyword}")


def test_what_names_no_project_is_unassigned(server):
    assert send(server, files("r5", 1, StudyDescription="xnat://NOWHERE/S/E")) == [0]
    row = waiting(server, "Unassigned", "r5", "READY")
    assert (row["project"], row["autoarchive"]) == ("Unassigned", "")


def test_code_4_archives_when_it_has_been_quiet(server):
    assert send(server, files("r6", 3, StudyDescription="xnat://DCM4/S_9/E_9")) == [0, 0, 0]
    item = archived(server, "E_9")
    assert item["data_fields"]["UID"] == make_uid("r6")
    path = f"{server.url}/data/projects/DCM4/experiments/E_9/scans/1/files?format=json"
    rows = as_(server, "owner").get(path).json()["ResultSet"]["Result"]
    assert len(rows) == 3 and all(row["digest"] for row in rows)
    data = as_(server, "owner").get(server.url + rows[0]["URI"]).content
    header = pydicom.dcmread(io.BytesIO(data))
    assert (header.StudyDescription, str(header.PatientName), header.PatientID) == ("DCM4", "S_9", "E_9")
    assert header.PixelData in [pydicom.dcmread(io.BytesIO(one)).PixelData for one in files("r6", 3)]


def test_comments_archive_although_the_code_is_0(server):
    assert send(server, files("r7", 1, PatientComments="Project:DCM0 AA:true")) == [0]
    deadline = time.monotonic() + 20
    path = f"{server.url}/data/projects/DCM0/experiments/E_r7"
    while as_(server, "owner").get(path).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_full_disk_is_said(server):
    server.faults([{"fault": "disk-full", "method": "C-STORE", "times": 1}])
    try:
        assert send(server, files("r8", 2, StudyDescription="DCM0")) == [0xA700, 0]
    finally:
        server.faults([])
    assert waiting(server, "DCM0", "r8", "READY")["name"] == "E_r8"


def test_only_those_on_the_whitelist(server):
    admin, url = as_(server, "admin"), f"{server.url}/xapi/dicomscp/1"
    assert admin.put(url, json={"whitelistEnabled": True, "whitelist": ["TRUSTED"]}).status_code == 200
    try:
        with association(server) as found:
            assert not found.is_established
        with association(server, caller="TRUSTED") as found:
            assert found.is_established
    finally:
        assert admin.put(url, json={"whitelistEnabled": False}).status_code == 200


def test_what_is_said_of_the_receiver(server):
    (found,) = as_(server, "member").get(f"{server.url}/xapi/dicomscp").json()
    assert (found["aeTitle"], found["port"], found["enabled"]) == ("XNAT", server.receiver, True)
    assert as_(server, "member").get(f"{server.url}/xapi/dicomscp/1").status_code == 403
    wrong = as_(server, "admin").put(f"{server.url}/xapi/dicomscp/1", json={"projectRoutingExpression": "nonsense"})
    assert wrong.status_code == 400
    assert "no routing rule" in wrong.text


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate and its key."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
                    "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def is_encrypted_only(server, cert) -> bool:
    context = ssl.create_default_context(cafile=str(cert))
    with association(server, tls_args=(context, "localhost")) as secure, association(server) as plain:
        return secure.send_c_echo().Status == 0 and not plain.is_established


def test_encrypted_associations_only(pair):
    with running(receiver=True, receiver_tls=pair) as found:
        assert is_encrypted_only(found, pair[0])


def test_encrypted_receiving_from_the_command_line(pair):
    command = [sys.executable, "-m", "xnbtransfer.cli", "serve", "--receiver", "0", "--receiver-tls", *map(str, pair)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = json.loads(process.stdout.readline())
            assert is_encrypted_only(SimpleNamespace(receiver=ready["receiver"]), pair[0])
        finally:
            process.terminate()


def test_a_certificate_without_a_receiver_is_refused(pair):
    command = [sys.executable, "-m", "xnbtransfer.cli", "serve", "--receiver-tls", *map(str, pair)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, "--receiver PORT" in ended.stderr) == (2, True)


# -- rules ------------------------------------------------------------------------------------------------------


def test_rules_in_the_syntax_of_xnat():
    read = {0x00081030: "xnat://A/B/C", 0x00080080: "Clinic-12"}.get
    routing = Routing(
        project=r"(0008,0080):Clinic-(\d+):1 t:1 r:9", subject="(0010,0010):(.*)\n(0008,1030):xnat://[^/]+/([^/]+):1"
    )
    assert routing.find("project", lambda tag: read(tag, "")) == "92"
    assert routing.find("subject", lambda tag: read(tag, "")) == "B"
    assert routing.find("session", lambda tag: read(tag, "")) == ""
    for line in ("0008,1030:x", "(0008,1030)", "(0008,1030):(", "(0008,1030):x:1"):
        with pytest.raises(RuleError):
            check(line)
