"""What comes while a row is built, what a cut upload leaves, rows that stay locked, and scripts that fail.

As a live XNAT 1.8.11 was recorded (races, surprises "an upload that was cut") and seen to do it.
"""

from __future__ import annotations

import base64
import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit

import pytest
from ingest_kit import Desk, desk, message, series, zipped  # noqa: F401

GIVEN = {"import-handler": "DICOM-zip", "inbody": "true", "prevent_auto_commit": "true", "SOURCE": "uploader"}


def send(desk: Desk, files, **given: str):  # noqa: F811
    named = {"PROJECT_ID": desk.project, "SUBJECT_ID": "S1", "EXPT_LABEL": "E1"}
    return desk.send(files, **GIVEN, **named, **given).text.strip()


def build(desk: Desk, uri: str):  # noqa: F811
    return desk.owner.post(uri, params={"action": "build"})


def archive(desk: Desk, uri: str, **given: str):  # noqa: F811
    return desk.owner.post("/data/services/archive", params={"src": uri, "auto-archive": "false", **given})


@pytest.fixture
def slowly(desk):  # noqa: F811
    desk.server.faults([{"fault": "slow-build", "item": desk.project, "delay_s": 1.0}])
    yield desk
    desk.server.faults([])


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_scan_that_comes_while_its_row_is_built_is_lost(slowly, rebuilt):
    uri = send(slowly, series(1, 3))
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(build, slowly, uri)
        slowly.wait_for(lambda: [row["status"] for row in slowly.waiting()] == ["_BUILDING"])
        assert send(slowly, series(2, 2)) == uri
        assert [row["status"] for row in slowly.waiting()] == ["RECEIVING"]
        assert going.result().status_code == 200
    assert [row["status"] for row in slowly.waiting()] == ["READY"]
    assert [row["ID"] for row in slowly.owner.rows(f"{uri}/scans")] == ["1"]
    assert len(slowly.waiting_headers(uri)) == 5, "the zip of a row has all that lies there"
    if rebuilt:
        assert build(slowly, uri).status_code == 200
    assert archive(slowly, uri).status_code == 200
    assert slowly.scans("E1") == ({"1": 3, "2": 2} if rebuilt else {"1": 3})
    assert slowly.waiting() == []
    (session,) = slowly.sessions()
    left = slowly.server.data / "archive" / slowly.project / session["id"] / "SCANS" / "2"
    assert len([path for path in left.rglob("*") if path.is_file()]) == 2


def test_what_comes_while_a_row_is_archived_makes_a_second_row(desk):  # noqa: F811
    uri = send(desk, series(1, 2))
    assert build(desk, uri).status_code == 200
    desk.server.faults([{"fault": "slow-archive", "item": desk.project, "delay_s": 1.0}])
    try:
        with ThreadPoolExecutor(1) as pool:
            going = pool.submit(archive, desk, uri)
            desk.wait_for(lambda: [row["status"] for row in desk.waiting()] == ["_ARCHIVING"])
            other = send(desk, series(2, 2))
            assert going.result().status_code == 200
    finally:
        desk.server.faults([])
    assert other != uri
    assert [(row["status"], "/data" + row["url"]) for row in desk.waiting()] == [("RECEIVING", other)]


def test_a_build_that_died_locks_its_row(desk):  # noqa: F811
    uri = send(desk, series(1, 2))
    desk.server.faults([{"fault": "stuck-building", "item": desk.project, "times": 1}])
    assert build(desk, uri).status_code == 500
    desk.server.faults([])
    assert build(desk, uri).status_code == 409
    for verb in ("rebuild", "delete"):
        answer = desk.owner.post(f"/data/services/prearchive/{verb}", params={"src": uri, "format": "json"})
        assert (answer.status_code, [row["status"] for row in answer.json()["ResultSet"]["Result"]]) == (
            200, ["_BUILDING"])  # fmt: skip
    time.sleep(0.3)
    assert [row["status"] for row in desk.waiting()] == ["_BUILDING"]
    params = {"src": uri, "overrideLock": "true"}
    assert desk.owner.post("/data/services/prearchive/delete", params=params).status_code == 200
    desk.wait_for(lambda: not desk.waiting())


def cut(desk: Desk, body: bytes) -> None:  # noqa: F811
    """Send a beginning of an upload and go away."""
    where = urlsplit(desk.server.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    query = urlencode({**GIVEN, "PROJECT_ID": desk.project, "SUBJECT_ID": "S1", "EXPT_LABEL": "E1"})
    connection.putrequest("POST", f"/data/services/import?{query}")
    word = base64.b64encode(":".join(desk.server.accounts["owner"]).encode()).decode()
    connection.putheader("Authorization", f"Basic {word}")
    connection.putheader("Content-Type", "application/zip")
    connection.putheader("Content-Length", str(len(body) + 5000))
    connection.endheaders()
    connection.send(body)
    time.sleep(0.3)
    connection.close()


@pytest.mark.parametrize("again", [False, True])
def test_a_cut_upload_leaves_a_truncated_file(desk, again):  # noqa: F811
    files = series(1, 2)
    whole = zipped(files)
    cut(desk, whole[: int(len(whole) * 0.8)])
    (row,) = desk.wait_for(desk.waiting)
    assert row["status"] == "RECEIVING"
    uri = f"/data{row['url']}"
    if again:
        assert send(desk, files) == uri
    assert build(desk, uri).status_code == 200
    found = {row["Name"]: int(row["Size"]) for row in desk.owner.rows(f"{uri}/scans/1/resources/DICOM/files")}
    assert {name for name, _ in files} <= set(found)
    assert len(found) == (3 if again else 2)
    assert desk.validate(uri) == [] or again
    answer = archive(desk, uri)
    if again:
        (name,) = set(found) - {name for name, _ in files}
        assert name.startswith(f"{row['tag']}-1-")
        assert (answer.status_code, "duplicated SOP instance UIDs" in message(answer)) == (500, True)
        assert [row["status"] for row in desk.waiting()] == ["ERROR"]
    else:
        assert answer.status_code == 200
        assert desk.scans("E1") == {"1": 2}


def test_a_project_script_that_fails_and_the_same_request_again(desk):  # noqa: F811
    desk.set_project(anon_script='version "6.6"\n(0028,0010) := "many"', anon_enabled=1)
    uri = send(desk, series(1, 2))
    assert build(desk, uri).status_code == 200
    answer = archive(desk, uri)
    assert (answer.status_code, "Anonymization failed" in message(answer)) == (500, True)
    assert [row["status"] for row in desk.waiting()] == ["ERROR"]
    assert desk.waiting_headers(uri) == []
    assert archive(desk, uri).status_code == 200
    assert (desk.waiting(), desk.scans("E1")) == ([], {"1": 0})
