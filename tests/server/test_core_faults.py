"""Misbehaviour on request: each fault does to a client what it says."""

from __future__ import annotations

import io
import time
import zipfile

import pytest
import requests

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
    import urllib.error

    with pytest.raises(urllib.error.HTTPError):
        faulty.owner.server.faults([{"fault": "earthquake"}])
