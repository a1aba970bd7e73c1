"""Faults that meet files on their way in, and sessions on their way into the archive."""

from __future__ import annotations

import time

import pytest
import requests
from ingest_kit import Desk, desk, message, series, zipped  # noqa: F401


@pytest.fixture
def faulty(desk):  # noqa: F811
    """A desk whose server is well again afterwards."""
    yield desk
    desk.server.faults([])


def stored(desk: Desk, uri: str) -> dict[tuple[str, str], str]:  # noqa: F811
    """(scan, file) to SOPInstanceUID as the prearchive keeps them."""
    rows = desk.sql("SELECT f.* FROM prearchive_files f JOIN prearchive p ON p.pk=f.row_pk WHERE p.project=?",
                    desk.project)
    return {(row["scan"], row["path"]): row["sop_uid"] for row in rows}


def sums(desk: Desk, session: str) -> dict[str, str]:  # noqa: F811
    return {row["Name"]: row["digest"]
            for row in desk.owner.rows(f"/data/projects/{desk.project}/experiments/{session}/scans/ALL/files")}


def test_files_are_lost_doubled_and_put_elsewhere(faulty):
    names = [name for name, _ in series(1, 4)]
    faulty.server.faults([
        {"fault": "lost-on-store", "item": names[0]},
        {"fault": "duplicated-on-store", "item": names[1]},
        {"fault": "wrong-scan-on-store", "item": names[2]},
    ])
    found = stored(faulty, faulty.to_prearchive(series(1, 4)))
    assert set(found) == {("1", names[1]), ("1", f"again_{names[1]}"), ("19", names[2]), ("1", names[3])}
    assert found["1", names[1]] == found["1", f"again_{names[1]}"]


def test_two_files_have_each_others_content(faulty):
    files = series(1, 3)
    faulty.server.faults([{"fault": "swapped-on-store", "item": files[0][0]}])
    uri = faulty.to_prearchive(files)
    headers = faulty.waiting_headers(uri)
    assert [int(one.InstanceNumber) for one in headers] == [2, 1, 3]


@pytest.mark.parametrize("fault", ["bit-flip-on-store", "cut-on-store", "header-changed-on-store"])
def test_a_damaged_file_is_listed_with_the_sum_of_what_is_stored(faulty, fault):
    files = series(1, 2)
    faulty.set_site("enableSitewideAnonymizationScript", "false")
    try:
        assert faulty.to_archive(files, session="E1").status_code == 200
        faulty.server.faults([{"fault": fault, "item": files[0][0]}])
        assert faulty.to_archive(files, session="E2").status_code == 200
    finally:
        faulty.set_site("enableSitewideAnonymizationScript", "true")
    right, wrong = sums(faulty, "E1"), sums(faulty, "E2")
    assert right.keys() == wrong.keys()
    assert [name for name in right if right[name] != wrong[name]] == [files[0][0]]


def test_each_file_throws_its_own_dice(faulty):
    faulty.server.faults([{"fault": "lost-on-store", "probability": 0.5, "seed": 7}])
    first = {name for _, name in stored(faulty, faulty.to_prearchive(series(1, 20)))}
    assert 2 < len(first) < 18
    faulty.owner.delete("/data" + faulty.waiting()[0]["url"])
    faulty.server.faults([{"fault": "lost-on-store", "probability": 0.5, "seed": 7}])
    assert {name for _, name in stored(faulty, faulty.to_prearchive(series(1, 20)))} == first
    assert faulty.server.log()[-1]["fault"] == ["lost-on-store"]


def test_rules_of_another_address_do_not_meet_imports(faulty):
    faulty.server.faults([{"fault": "lost-on-store", "path": "/resources/"}])
    assert len(stored(faulty, faulty.to_prearchive(series(1, 3)))) == 3


def test_a_full_disk_leaves_what_came_before(faulty):
    files = series(1, 4)
    faulty.server.faults([{"fault": "disk-full", "item": files[2][0]}])
    answer = faulty.send(files, dest=faulty.prearchive_path)
    assert (answer.status_code, message(answer)) == (400, f"unable to read DICOM object {files[2][0]}")
    (row,) = faulty.waiting()
    assert (row["status"], len(faulty.waiting_headers("/data" + row["url"]))) == ("RECEIVING", 2)


def test_a_cut_upload_leaves_a_part_that_is_receiving(faulty):
    files = series(1, 6)
    body = zipped(files)
    faulty.server.faults([{"fault": "cut-upload", "path": "import", "bytes": len(body) // 2, "times": 1}])
    with pytest.raises(requests.ConnectionError):
        faulty.send(files, PROJECT_ID=faulty.project)
    deadline = time.monotonic() + 10
    while not faulty.waiting() and time.monotonic() < deadline:
        time.sleep(0.05)
    (row,) = faulty.waiting()
    assert row["status"] == "RECEIVING"
    assert 1 <= len(stored(faulty, row["url"])) <= 3
    assert faulty.send(files, PROJECT_ID=faulty.project).text.strip() == "/data" + row["url"], "the same row again"
    assert len(stored(faulty, row["url"])) == 6


@pytest.mark.parametrize(("fault", "status", "word"), [
    ("archive-conflict", "CONFLICT", "matching files"), ("archive-error", "ERROR", "on request"),
    ("workflow-lock", "CONFLICT", "already be in progress"),
])
def test_an_archiving_that_fails(faulty, fault, status, word):
    uri = faulty.to_prearchive(series(1, 2))
    faulty.server.faults([{"fault": fault, "item": f"{faulty.project}/S1_MR1"}])
    answer = faulty.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, word in message(answer)) == (500, True)
    assert [row["status"] for row in faulty.waiting()] == [status]
    assert word in faulty.owner.get(f"{uri}/logs/last").text
    faulty.server.faults([])
    assert faulty.owner.post("/data/services/archive", params={"src": uri}).status_code == 200


def test_an_archiving_that_takes_its_time(faulty):
    uri = faulty.to_prearchive(series(1, 1))
    faulty.server.faults([{"fault": "slow-archive", "delay_s": 0.3}])
    began = time.monotonic()
    assert faulty.owner.post("/data/services/archive", params={"src": uri}).status_code == 200
    assert time.monotonic() - began >= 0.3


def test_building_that_never_ends_holds_the_row(faulty):
    uri = faulty.send(series(1, 1), PROJECT_ID=faulty.project).text.strip()
    faulty.server.faults([{"fault": "stuck-building", "times": 1}])
    assert faulty.owner.post(uri, params={"action": "commit"}).status_code == 500
    assert [row["status"] for row in faulty.waiting()] == ["_BUILDING"]
    again = faulty.owner.post(uri, params={"action": "commit"})
    assert (again.status_code, "session document locked" in message(again)) == (409, True)
    assert faulty.owner.delete(uri).status_code == 409
    assert faulty.owner.post(uri, params={"action": "reset-status"}).status_code == 200
    assert faulty.owner.post(uri, params={"action": "commit"}).status_code == 200
    assert [row["status"] for row in faulty.waiting()] == ["READY"]


def test_receiving_that_never_ends(faulty):
    uri = faulty.send(series(1, 1), PROJECT_ID=faulty.project).text.strip()
    faulty.server.faults([{"fault": "stuck-receiving"}])
    answer = faulty.owner.post(uri, params={"action": "commit", "AA": "true"}, allow_redirects=False)
    assert (answer.status_code, answer.text) == (200, uri)
    assert [row["status"] for row in faulty.waiting()] == ["RECEIVING"]
