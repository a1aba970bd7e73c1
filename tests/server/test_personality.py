"""The versions that the server can be like, and what differs between them."""

from __future__ import annotations

import doctest
import io
import json
import os
import sqlite3
import subprocess
import sys
import zipfile

import pydicom
import pytest
import requests
from pydicom.data import get_testdata_file

from xnbtransfer.server import personality, running


@pytest.fixture(scope="module", params=list(personality.VERSIONS))
def olga(request):
    """The owner of project P, at a server of each version; ``can`` says what that version has."""
    with running(personality=request.param) as server, requests.Session() as session:
        session.auth = server.accounts["owner"]
        session.version, session.server = request.param, server
        ask = session.request
        session.request = lambda method, path, **rest: ask(method, server.url + path, timeout=60, **rest)
        session.can = lambda feature: (
            personality._number(personality.VERSIONS[request.param]) >= personality._number(personality.SINCE[feature])
        )
        assert session.put("/data/projects/P").status_code == 200
        yield session


def session_of(olga, label: str) -> str:
    answer = olga.put(f"/data/projects/P/subjects/S/experiments/{label}", params={"xsiType": "xnat:mrSessionData"})
    assert answer.status_code == 201
    return answer.text


def send(olga, files: dict[str, bytes], **params: str):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return olga.post(
        "/data/services/import",
        params={"import-handler": "DICOM-zip", **params},
        data=out.getvalue(),
        headers={"Content-Type": "application/zip"},
    )


def image(**changes: str) -> bytes:
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def test_it_says_which_version_it_is(olga):
    if not olga.can("xapi"):
        assert olga.get("/xapi/siteConfig/buildInfo").status_code == 404
        assert olga.get("/data/version").text == "Unknown version"
        return
    build = olga.get("/xapi/siteConfig/buildInfo").json()
    assert build["version"] == personality.VERSIONS[olga.version]
    assert build["version"].startswith(olga.version)


def test_own_memberships(olga):
    answer = olga.get("/xapi/access/projects")
    assert answer.status_code == (200 if olga.can("own-memberships") else 404)


def test_deleting_by_accession_number(olga):
    accession = session_of(olga, "D1")
    answer = olga.delete(f"/data/experiments/{accession}")
    assert answer.status_code == (200 if olga.can("delete-by-accession-number") else 405)
    there = olga.get(f"/data/experiments/{accession}", params={"format": "json"})
    assert there.status_code == (404 if olga.can("delete-by-accession-number") else 200)


def test_types_of_scans(olga):
    session_of(olga, "T1")
    path = "/data/projects/P/subjects/S/experiments/T1/scans/1"
    assert olga.put(path, params={"xsiType": "xnat:mrScanData"}).status_code == 200
    strict = olga.can("scan-keeps-its-type")
    assert olga.put(path, params={"quality": "usable"}).status_code == (200 if strict else 417)
    assert olga.put(path, params={"xsiType": "xnat:ctScanData"}).status_code == (409 if strict else 200)
    shown = olga.get(path, params={"format": "json"}).json()["items"][0]
    assert shown["meta"]["xsi:type"] == "xnat:mrScanData"


def test_json_configurations(olga):
    path = "/data/projects/P/config/tool/json"
    assert olga.put(path, json={"contents": "c", "status": "enabled"}).status_code == 201
    kept = olga.get(path, params={"contents": "true"}).text
    assert (kept == "c") is olga.can("json-configuration")


def test_what_cannot_be_parsed(olga):
    files = {"a.dcm": image(StudyInstanceUID="2.25.11"), "readme.txt": b"no image"}
    labels = {"PROJECT_ID": "P", "SUBJECT_ID": "U", "EXPT_LABEL": "U1", "dest": "/prearchive/projects/P"}
    answer = send(olga, files, **labels, **{"Ignore-Unparsable": "true"})
    assert answer.status_code == (200 if olga.can("ignore-unparsable") else 400)


def test_a_second_study_in_a_row(olga):
    where = {"dest": "/prearchive/projects/P/20200101_010101/TWO"}
    assert send(olga, {"a.dcm": image(StudyInstanceUID="2.25.21")}, **where).status_code == 200
    other = image(StudyInstanceUID="2.25.22", SeriesInstanceUID="2.25.23", SOPInstanceUID="2.25.24")
    assert send(olga, {"b.dcm": other}, **where).status_code == (400 if olga.can("one-study-per-row") else 200)


def test_unknown_types_from_headers(olga):
    session_of(olga, "H1")
    path = "/data/projects/P/subjects/S/experiments/H1"
    olga.put(f"{path}/scans/1", params={"xsiType": "xnat:mrScanData", "type": "Unknown"})
    held = olga.put(
        f"{path}/scans/1/resources/DICOM/files/a.dcm",
        data=image(SeriesDescription="t1 axial"),
        params={"format": "DICOM"},
        headers={"Content-Type": "application/octet-stream"},
    )
    assert held.status_code == 200
    assert olga.put(path, params={"pullDataFromHeaders": "true"}).status_code == 200
    scan = olga.get(f"{path}/scans/1", params={"format": "json"}).json()["items"][0]["data_fields"]
    assert scan["series_description"] == "t1 axial"
    assert scan["type"] == ("t1 axial" if olga.can("unknown-type-from-headers") else "Unknown")


def test_an_unknown_personality_is_refused():
    with pytest.raises(ValueError, match="there are 1.6, 1.7.2, 1.7, 1.8, 1.9"):
        personality.choose(None, "2.0")
    command = [sys.executable, "-m", "xnbtransfer.server", "--personality", "2.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "invalid choice" in done.stderr) == (2, True)


def test_examples():
    assert doctest.testmod(personality).failed == 0


def version_of(folder) -> str:
    with sqlite3.connect(folder / "catalogue.sqlite") as db:
        return db.execute("SELECT value FROM site WHERE key='version'").fetchone()[0]


def test_the_environment_says_what_a_new_server_is_like(tmp_path, monkeypatch):
    monkeypatch.setenv(personality.UNSAID, "1.7.2")
    with running(data=tmp_path / "said", personality="1.9"), running(data=tmp_path / "unsaid"):
        pass
    monkeypatch.setenv(personality.UNSAID, "1.6")
    with running(data=tmp_path / "unsaid"):  # what it is like is kept with the state
        pass
    command = [sys.executable, "-c", "from xnbtransfer.cli import main; main()", "serve", "--data", tmp_path / "served"]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(served.stdout.readline())["url"]
    finally:
        served.terminate()
        served.wait(timeout=60)
        served.stdout.close()
    found = {name: version_of(tmp_path / name) for name in ("said", "unsaid", "served")}
    assert found == {"said": "1.9.3", "unsaid": "1.7.2", "served": "1.6.4"}


def test_a_test_session_takes_its_version_from_the_command_line(tmp_path):
    """And leaves out, with the evidence, what that version does not have."""
    path = tmp_path / "test_it.py"
    path.write_text(
        "import os, pytest\n"
        "def test_it(): assert os.environ['XNBTRANSFER_PERSONALITY'] == '1.7'\n"
        "@pytest.mark.needs('1.7.2', because='n1')\ndef test_older(): pass\n"
        "@pytest.mark.needs('1.8', because='recorded from 1.7.6: n2')\ndef test_newer(): raise OSError\n",
        encoding="utf-8",
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-rs"]
    done = subprocess.run(
        [*command, "--personality", "1.7", "-c", f"{root}/pyproject.toml", "--rootdir", str(tmp_path), str(path)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": f"{root}/tests"},
    )  # fmt: skip
    assert "2 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "XNAT 1.7 does not have it, 1.8 does: recorded from 1.7.6: n2" in done.stdout
