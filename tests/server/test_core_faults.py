"""Misbehaviour on request: each fault does to a client what it says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import io
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from xnbtransfer.server.app import create_app
from xnbtransfer.server.state import State

ZIP = {"format": "zip"}


@pytest.fixture
def faulty(study):
    """The study on a server whose fault rules are taken back afterwards."""
    study.big = bytes(range(256)) * 4000
    study.upload("experiments/S01_CT1/scans/1/resources/DICOM/files/big.dcm", study.big)
    study.scan_files = f"{study.path}/experiments/S01_CT1/scans/1/resources/DICOM/files"
    yield study
    study.owner.server.faults([])


@pytest.mark.parametrize(("fault", "status"), [("503", 503), ("500-before", 500), ("401", 401)])
def test_a_status_in_place_of_an_answer(faulty, fault, status):
    faulty.owner.server.faults([{"fault": fault, "method": "PUT", "path": "/subjects/", "times": 1}])
    path = f"{faulty.path}/subjects/NEW"
    assert faulty.owner.put(path).status_code == status
    assert faulty.owner.get(path).status_code == 404, "it was not carried out"
    assert faulty.owner.put(path).status_code == 201, "only once"


def test_an_answer_that_says_when_to_come_back(faulty):
    faulty.owner.server.faults([{"fault": "503", "retry_after_s": 7, "times": 1}])
    assert faulty.owner.get("/data/auth").headers["Retry-After"] == "7"


def test_done_but_answered_with_500(faulty):
    faulty.owner.server.faults([{"fault": "500-after", "method": "PUT", "path": "/subjects/", "times": 1}])
    assert faulty.owner.put(f"{faulty.path}/subjects/NEW").status_code == 500
    assert faulty.owner.put(f"{faulty.path}/subjects/NEW").status_code == 200


def test_done_but_never_answered(faulty):
    faulty.owner.server.faults([{"fault": "no-answer-after", "method": "PUT", "path": "/subjects/", "times": 1}])
    with pytest.raises(requests.ConnectionError):
        faulty.owner.put(f"{faulty.path}/subjects/NEW")
    assert faulty.owner.put(f"{faulty.path}/subjects/NEW").status_code == 200


def test_a_reset_in_the_middle_of_a_body(faulty):
    faulty.owner.server.faults([{"fault": "reset-mid-body", "path": "/files", "bytes": 5000, "times": 2}])
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _ = faulty.owner.get(f"{faulty.scan_files}/big.dcm").content
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _ = faulty.owner.get(faulty.scan_files, params=ZIP).content
    assert faulty.owner.get(f"{faulty.scan_files}/big.dcm").content == faulty.big
    assert [line["fault"] for line in faulty.owner.server.log()].count(["reset-mid-body"]) == 2


def test_a_zip_that_ends_too_early_without_a_word(faulty):
    faulty.owner.server.faults([{"fault": "truncated-zip", "path": "/files", "bytes": 5000, "times": 1}])
    short = faulty.owner.get(faulty.scan_files, params=ZIP).content
    assert len(short) == 5000
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(short))


def test_a_login_page_in_place_of_data(faulty):
    faulty.owner.server.faults([{"fault": "login-page", "times": 1}])
    answer = faulty.owner.get("/data/projects", params={"format": "json"})
    assert (answer.status_code, "html" in answer.headers["Content-Type"]) == (200, True)
    assert answer.text.startswith("<!DOCTYPE")


def test_slow_answers(faulty):
    faulty.owner.server.faults([{"fault": "latency", "path": "/data/auth", "delay_s": 0.2, "times": 1}])
    began = time.monotonic()
    faulty.owner.get("/data/auth")
    assert time.monotonic() - began >= 0.2
    faulty.owner.server.faults([{"fault": "bandwidth", "path": "big.dcm", "bytes_per_s": 4e6, "times": 1}])
    began = time.monotonic()
    assert faulty.owner.get(f"{faulty.scan_files}/big.dcm").content == faulty.big
    assert time.monotonic() - began >= 0.2


def test_dice_with_a_seed_fall_the_same_way(faulty):
    def throw() -> list[int]:
        faulty.owner.server.faults([{"fault": "503", "path": "/data/auth", "probability": 0.5, "seed": 3}])
        return [faulty.owner.get("/data/auth").status_code for _ in range(20)]

    first = throw()
    assert {200, 503} == set(first)
    assert throw() == first


def test_a_fault_nobody_knows_is_refused(faulty):
    with pytest.raises(ValueError, match="there is no fault 'latncy' .did you mean 'latency'"):
        faulty.owner.server.faults([{"fault": "latncy"}])


@pytest.mark.parametrize(
    ("rule", "near"),
    [
        ({"fault": "503", "propability": 0.5}, "probability"),
        ({"fault": "503", "Path": "/scans"}, "path"),
        ({"fault": "latency", "delay": 1}, "delay_s"),
        ({"fault": "reset-mid-body", "byte": 3}, "bytes"),
    ],
)
def test_a_key_nobody_knows_is_refused_with_the_near_one(faulty, rule, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        faulty.owner.server.faults([rule])


def test_what_belongs_to_another_fault_is_refused(faulty):
    with pytest.raises(ValueError, match="a rule of latency has no 'share'; it may have .*delay_s"):
        faulty.owner.server.faults([{"fault": "latency", "share": 0.5}])


def test_rules_that_were_read_can_be_put_back(faulty):
    server = faulty.owner.server
    server.faults([{"fault": "503", "path": "/data/auth", "times": 3}])
    assert faulty.owner.get("/data/auth").status_code == 503
    told = requests.get(f"{server.url}/_faults").json()
    server.faults([])
    server.faults(told)
    assert [faulty.owner.get("/data/auth").status_code for _ in range(3)] == [503, 503, 200]


def test_a_500_that_does_not_wait_for_the_body(faulty):
    faulty.owner.server.faults([{"fault": "500-unread", "method": "PUT", "times": 1}])
    path = "experiments/S01_CT1/scans/1/resources/DICOM/files/new.dcm"
    try:
        status = faulty.upload(path, bytes(30_000_000)).status_code
    except requests.ConnectionError:
        status = 500
    assert status == 500
    assert faulty.owner.get(f"{faulty.path}/{path}").status_code == 404, "nothing was stored"


def test_a_connection_that_ends_behind_the_body(faulty):
    faulty.owner.server.faults([{"fault": "reset-after-body", "path": "big.dcm", "times": 1}])
    answer = faulty.owner.get(f"{faulty.scan_files}/big.dcm", stream=True)
    came = bytearray()
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        for piece in answer.iter_content(1 << 16):
            came += piece
    assert came == faulty.big


def test_done_but_nothing_is_said(faulty):
    faulty.owner.server.faults([{"fault": "empty-200-after", "method": "PUT", "path": "/subjects/", "times": 1}])
    answer = faulty.owner.put(f"{faulty.path}/subjects/NEW")
    assert (answer.status_code, answer.text) == (200, "")
    assert faulty.owner.put(f"{faulty.path}/subjects/NEW").status_code == 200


def test_a_bit_turns_on_the_way(faulty):
    faulty.owner.server.faults([{"fault": "bit-flip-on-send", "path": "big.dcm", "times": 1}])
    came = faulty.owner.get(f"{faulty.scan_files}/big.dcm").content
    assert len(came) == len(faulty.big)
    assert sum(a != b for a, b in zip(came, faulty.big, strict=True)) == 1
    assert faulty.owner.get(f"{faulty.scan_files}/big.dcm").content == faulty.big


def unzipped(faulty, session: str = "S01_MR1") -> dict[str, bytes]:
    found = faulty.owner.get(f"{faulty.path}/experiments/{session}/scans/ALL/files", params=ZIP).content
    with zipfile.ZipFile(io.BytesIO(found)) as archive:
        assert archive.testzip() is None, "its checksums are right"
        return {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_zips_with_right_checksums_and_wrong_files(faulty):
    whole = unzipped(faulty)
    assert len(whole) == 3
    for fault, expected in (
        ("lost-in-zip", {"b.dcm": whole["b.dcm"], "c.dcm": whole["c.dcm"]}),
        ("swapped-in-zip", {**whole, "a.dcm": whole["b.dcm"], "b.dcm": whole["a.dcm"]}),
        ("duplicated-in-zip", {**whole, "again_a.dcm": whole["a.dcm"]}),
    ):
        faulty.owner.server.faults([{"fault": fault, "item": "a.dcm", "times": 1}])
        assert unzipped(faulty) == expected, fault
        assert unzipped(faulty) == whole, "only once"
    faulty.owner.server.faults([{"fault": "bit-flip-in-zip", "item": "a.dcm"}])
    damaged = unzipped(faulty)
    assert len(damaged["a.dcm"]) == len(whole["a.dcm"])
    assert {name for name in whole if damaged[name] != whole[name]} == {"a.dcm"}
    assert faulty.owner.server.log()[-1]["fault"] == ["bit-flip-in-zip"]


def test_names_that_lead_out_of_the_folder(faulty):
    faulty.owner.server.faults([{"fault": "renamed-in-zip", "item": "a.dcm", "prefix": "../../"}])
    found = faulty.owner.get(f"{faulty.path}/experiments/S01_MR1/scans/ALL/files", params=ZIP).content
    names = zipfile.ZipFile(io.BytesIO(found)).namelist()
    assert [name.startswith("../../") for name in sorted(names)] == [True, False, False]


def test_lists_that_leave_something_out(faulty):
    path = f"{faulty.path}/experiments"
    faulty.owner.server.faults([{"fault": "rows-left-out", "path": "/experiments$", "row": "S01_MR2"}])
    found = faulty.owner.get(path, params={"format": "json"}).json()["ResultSet"]
    assert {row["label"] for row in found["Result"]} == {"S01_MR1", "S01_CT1"}
    assert found.get("totalRecords", "2") == "2"
    faulty.owner.server.faults([{"fault": "rows-left-out", "path": "/experiments$", "share": 0.5, "seed": 2}])
    again = [len(faulty.owner.rows(path)) for _ in range(3)]
    assert again == again[:1] * 3


def test_digests_that_are_missing_or_old(faulty):
    path = f"{faulty.path}/experiments/S01_MR1/scans/1/resources/DICOM"
    right = {row["Name"]: row["digest"] for row in faulty.owner.rows(f"{path}/files")}
    faulty.owner.server.faults([{"fault": "digests-empty", "row": "a.dcm"}])
    assert {row["Name"]: row["digest"] for row in faulty.owner.rows(f"{path}/files")} == {**right, "a.dcm": ""}
    faulty.owner.server.faults([{"fault": "digests-stale"}])
    old = {row["Name"]: row["digest"] for row in faulty.owner.rows(f"{path}/files")}
    assert all(len(old[name]) == 32 and old[name] != right[name] for name in right)
    catalogue = faulty.owner.get(path, params={"format": "xml"}).text
    assert all(digest in catalogue for digest in old.values())
    assert not any(digest in catalogue for digest in right.values())


def test_a_project_that_is_made_fails_others(faulty):
    faulty.owner.server.faults([{"fault": "500-while-made", "requests": 2, "path": "/data/projects"}])
    assert faulty.owner.get(faulty.path).status_code == 200
    assert faulty.owner.put(f"/data/projects/{faulty.name}_MADE").status_code == 200
    assert faulty.owner.get("/data/auth").status_code == 200  # the rule is about projects
    assert [faulty.owner.get(faulty.path).status_code for _ in range(3)] == [500, 500, 200]
    struck = [line["fault"] for line in faulty.owner.server.log()[-6:] if "500-while-made" in line["fault"]]
    assert len(struck) <= 2


def test_the_clock_jumps(person):
    from xnbtransfer.server import running

    with running() as server:
        login = server.accounts["owner"]
        with requests.Session() as session:
            session.auth = login
            assert session.put(f"{server.url}/data/projects/P").status_code == 200
            cookies = session.cookies.get_dict()
            server.faults([{"fault": "clock-jump", "jump_s": 86400, "times": 1}])
            dead = requests.get(f"{server.url}/data/auth", cookies=cookies, headers={"User-Agent": "python-requests"})
            assert dead.status_code == 401
            session.put(f"{server.url}/data/projects/P/subjects/S")
            (row,) = session.get(f"{server.url}/data/projects/P/subjects?format=json").json()["ResultSet"]["Result"]
            ahead = datetime.datetime.fromisoformat(row["insert_date"]) - datetime.datetime.now()
            assert datetime.timedelta(hours=23) < ahead < datetime.timedelta(hours=25)


def test_answers_without_end_or_measure(faulty):
    faulty.owner.server.faults([{"fault": "endless", "path": "/data/auth", "times": 1}])
    came = 0
    with faulty.owner.get("/data/auth", stream=True) as answer:
        for piece in answer.iter_content(1 << 16):
            came += len(piece)
            if came > 3_000_000:
                break
    faulty.owner.server.faults([{"fault": "deep-json", "path": "/data/auth", "times": 1}])
    assert faulty.owner.get("/data/auth").content.startswith(b"[" * 100_000)
    assert faulty.owner.get("/data/auth").status_code == 200


def test_a_disk_that_is_full(faulty):
    path = "experiments/S01_CT1/scans/1/resources/DICOM/files/new.dcm"
    faulty.owner.server.faults([{"fault": "disk-full", "item": "new.dcm", "times": 1}])
    assert faulty.upload(path, b"x").status_code == 500
    assert faulty.owner.get(f"{faulty.path}/{path}").status_code == 404
    assert faulty.upload(path, b"x").status_code == 200


@pytest.mark.parametrize("fault", ["bit-flip-on-store", "cut-on-store", "lost-on-store"])
def test_uploaded_files_are_damaged(faulty, fault):
    folder = "experiments/S01_CT1/scans/1/resources/DICOM/files"
    faulty.owner.server.faults([{"fault": fault, "item": "new.dcm", "times": 1}])
    assert faulty.upload(f"{folder}/new.dcm", faulty.big).status_code == 200
    answer = faulty.owner.get(f"{faulty.path}/{folder}/new.dcm")
    assert answer.status_code == (404 if fault == "lost-on-store" else 200)
    assert answer.content != faulty.big
    assert len(answer.content) == len(faulty.big) or fault != "bit-flip-on-store"


@pytest.mark.parametrize("fault", ["503", "reset-before", "login-page"])
def test_what_is_never_carried_out_is_logged_too(faulty, fault):
    faulty.owner.server.faults([{"fault": fault, "path": f"/subjects/{fault}", "times": 1}])
    with contextlib.suppress(requests.ConnectionError):
        faulty.owner.put(f"{faulty.path}/subjects/{fault}")
    (line,) = [one for one in faulty.owner.server.log() if one["path"] == f"{faulty.path}/subjects/{fault}"]
    assert (line["fault"], line["cut"], line["method"]) == ([fault], fault == "reset-before", "PUT")


@pytest.mark.parametrize(
    "rules",
    [{}, ["503"], [{"path": "x"}], [{"fault": "503", "path": "("}], [{"fault": "latency", "delay_s": "soon"}],
     [{"fault": "503", "probability": -1}], [{"fault": "503", "times": "often"}], [{"fault": 503}],
     [{"fault": "503", "probability": 50}], [{"fault": "renamed-in-zip", "prefix": 3}]],
)  # fmt: skip
def test_rules_that_are_none_are_refused_with_a_sentence(faulty, rules):
    answer = requests.post(f"{faulty.owner.server.url}/_faults", json=rules)
    assert answer.status_code == 400
    assert " " in answer.json()["error"]
    assert requests.get(f"{faulty.owner.server.url}/_faults").json() == []


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/data/JSESSION"), ("HEAD", "/data/auth"), ("GET", "/data/auth")]
)
def test_a_request_is_in_the_log_before_its_client_has_all_of_the_answer(tmp_path, method, path):
    state = State(tmp_path)
    state.add_user("olga", "secret", "Olga", "Owner")
    app, log = create_app(state), tmp_path / "requests.jsonl"
    login = base64.b64encode(b"olga:secret")
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http"}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
    scope |= {"headers": [(b"host", b"x"), (b"authorization", b"Basic " + login)], "client": ("127.0.0.1", 1)}
    scope |= {"server": ("127.0.0.1", 80)}
    told = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        length = dict(message.get("headers", ())).get(b"content-length")
        told.append((message["type"], length, len(log.read_text().splitlines())))

    with ThreadPoolExecutor(1) as elsewhere:  # a test with a browser leaves an event loop in this thread
        elsewhere.submit(asyncio.run, app(scope, receive, send)).result()
    start, last = told[0], told[-1]
    assert last[2] == 1
    assert start[0] == "http.response.start" and start[2] == (1 if method == "HEAD" or start[1] == b"0" else 0)
