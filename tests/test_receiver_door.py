"""The receiver door: C-STORE to the embedded receiver, plain and encrypted, proved like an import."""

from __future__ import annotations

import io
import shutil
import subprocess

import pydicom
import pytest
from archive_kit import Kit, logged
from people import Person
from roads import WRITES, as_

from xnbtransfer import server as embedded
from xnbtransfer.dicom import read_content
from xnbtransfer.errors import ExitCode, InputError, RefusedError
from xnbtransfer.keys import SessionKey
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.routing import read_receiver, rerouted, routing_text, too_long
from xnbtransfer.server.demo_files import SeriesPlan, make_series
from xnbtransfer.transfer import run


@pytest.fixture(scope="module")
def server():
    with embedded.running(receiver=True) as found:
        yield found


@pytest.fixture
def kit(server):
    found = Kit(lambda role: Person(server, role))
    found.put(found.source, "S1", "E1", found.uid("E1"), scans=(1, 2))
    server.faults([])
    yield found
    server.faults([])


def planned(server, kit, **values):
    both = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    both |= {"method": "receiver", "receiver": f"dicom://XNAT@127.0.0.1:{server.receiver}"}
    options = TransferOptions.from_mapping({**both, **values})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return prepare(source, destination, options)


def carried_out(server, made, folder):
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return run(made, source, destination, folder=folder)


def test_what_a_receiver_took_is_archived_and_proved(server, kit, tmp_path):
    made = planned(server, kit)
    assert made.blockers == ()
    since = logged(server)
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())
    assert set(result.sessions["state"]) == {"archived"} and len(result.files) == 4
    assert result.files["changed"].str.contains("00104000").all()
    sent = [one for one in server.log()[since:] if one["method"] in WRITES and one["path"].endswith("/import")]
    assert sent == []
    path = f"/data/projects/{kit.destination}/subjects/S1/experiments/E1/scans/1/resources/DICOM/files"
    (one, *_) = kit.who.rows(path)
    stored = pydicom.dcmread(io.BytesIO(kit.who.get(one["URI"]).content))
    assert stored.PatientComments == f"Project:{kit.destination} Subject:S1 Session:E1"
    before = logged(server)
    again = carried_out(server, made, tmp_path)
    assert again.counts == result.counts
    assert [one for one in server.log()[before:] if one["method"] in WRITES and "prearchive" in one["path"]] == []


def test_it_waits_in_the_prearchive_where_it_is_to(server, kit, tmp_path):
    result = carried_out(server, planned(server, kit, archive=False), tmp_path)
    assert result.exit_code == ExitCode.PROVED
    (row,) = kit.who.rows(f"/data/prearchive/projects/{kit.destination}")
    assert (row["name"], row["subject"], row["status"]) == ("E1", "S1", "READY")


def test_objects_that_are_lost_behind_a_good_status_are_found_and_sent_again(server, kit, tmp_path):
    server.faults([{"fault": "lost-on-store", "method": "C-STORE", "path": "/receiver", "times": 1}])
    result = carried_out(server, planned(server, kit), tmp_path)
    assert result.exit_code == ExitCode.PROVED, result.files["because"].unique()


def test_nobody_listens(server, kit, tmp_path):
    made = planned(server, kit, receiver="dicom://XNAT@127.0.0.1:1")
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.TRANSIENT
    assert "did not answer" in result.problems[0]
    made = planned(server, kit, receiver=f"dicom://OTHER@127.0.0.1:{server.receiver}")
    assert "refused the association" in carried_out(server, made, tmp_path / "other").problems[0]


def test_what_forbids_the_receiver(server, kit, tmp_path):
    with pytest.raises(InputError, match="is no address"):
        planned(server, kit, receiver="XNAT:104")
    for proof in ("listing", "sample:2"):
        with pytest.raises(InputError, match=f"proof={proof} cannot tell them apart. Choose proof=all."):
            planned(server, kit, proof=proof)
    long = planned(server, kit, label_rule="session=" + "x" * 60)
    assert any("is too long" in one for one in long.blockers)
    assert kit.who.put(f"/data/projects/{kit.destination}/prearchive_code/4").status_code == 200
    with pytest.raises(RefusedError, match="by itself"):
        carried_out(server, planned(server, kit), tmp_path)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True)
    return cert, key


def test_encrypted_and_only_to_whom_is_trusted(certificate, tmp_path):
    with embedded.running(receiver=True, receiver_tls=certificate) as server:
        kit = Kit(lambda role: Person(server, role))
        kit.put(kit.source, "S1", "E1", kit.uid("E1"))
        address = f"dicoms://XNAT@127.0.0.1:{server.receiver}"
        strangers = carried_out(server, planned(server, kit, receiver=address), tmp_path / "strangers")
        assert strangers.exit_code == ExitCode.TRANSIENT
        made = planned(server, kit, receiver=address, receiver_ca=str(certificate[0]))
        result = carried_out(server, made, tmp_path / "trusted")
        assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())


def test_a_receiver_is_read():
    assert read_receiver("dicom://XNAT@xnat.example.org:8104") == ("XNAT", "xnat.example.org", 8104, False)
    assert read_receiver("dicoms://A B@[::1]:2762".replace(" ", "_")) == ("A_B", "::1", 2762, True)
    for text in ("", "http://XNAT@host:1", "dicom://host:1", "dicom://X@host", f"dicom://{'X' * 17}@host:1"):
        with pytest.raises(InputError):
            read_receiver(text)
    assert too_long("P" * 20, SessionKey("S" * 20, "E" * 20)) and not too_long("P", SessionKey("S", "E"))


def test_only_the_routing_text_of_the_copy_changes():
    plan_ = SeriesPlan(source="MR", number=1, description="x", count=1)
    labels = {"project": "P", "subject": "S", "session": "E"}
    (_, data), *_ = make_series(plan_, **labels, study_uid="1.2.3", date="20240108")
    after = rerouted(data, routing_text("Q", SessionKey("S2", "E2")))
    assert pydicom.dcmread(io.BytesIO(after)).StudyDescription == "xnat://Q/S2/E2"
    left, right = (read_content(one, key=b"k") for one in (data, after))
    paths = set(left.elements) | set(right.elements)
    assert {path for path in paths if left.elements.get(path) != right.elements.get(path)} == {"00081030", "00104000"}
    assert (left.bulk, left.geometry) == (right.bulk, right.geometry)
