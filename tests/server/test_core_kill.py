"""A power cut in the middle of uploads: what was answered is there, what is listed is whole."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest
import requests
from ingest_kit import series, zipped

from xnbtransfer.server import running


def test_what_was_answered_survives_a_kill(tmp_path):
    answered: set[str] = set()

    def upload(server, worker: int) -> None:
        with requests.Session() as session:
            session.auth = server.accounts["owner"]
            for number in range(10_000):
                name = f"{worker}_{number}.bin"
                url = f"{server.url}/data/projects/P/resources/R/files/{name}"
                try:
                    answer = session.put(
                        url, data=name.encode() * 5000, headers={"Content-Type": "application/octet-stream"}, timeout=30
                    )
                except requests.ConnectionError:
                    return
                if answer.status_code == 200:
                    answered.add(name)

    with running(data=tmp_path) as first:
        requests.put(f"{first.url}/data/projects/P", auth=first.accounts["owner"], timeout=30)
        workers = [threading.Thread(target=upload, args=(first, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + 30
        while len(answered) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        first.kill()
        for worker in workers:
            worker.join()
    with running(data=tmp_path) as second, requests.Session() as session:
        session.auth = second.accounts["owner"]
        rows = session.get(f"{second.url}/data/projects/P/resources/R/files", timeout=30).json()["ResultSet"]["Result"]
        assert answered <= {row["Name"] for row in rows}
        for row in rows:
            content = session.get(second.url + row["URI"], timeout=30).content
            assert content == row["Name"].encode() * 5000
            assert (row["Size"], row["digest"]) == (str(len(content)), hashlib.md5(content).hexdigest())
        assert session.get(f"{second.url}/_check?contents=true", timeout=30).json() == []
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("after_s", [0.1, 0.5])
def test_a_kill_among_imports_leaves_a_state_that_fits_together(tmp_path, after_s):
    body = zipped(series(1, 40))

    def send(server, worker: int) -> None:
        with requests.Session() as session:
            session.auth = server.accounts["owner"]
            for number in range(50):
                archive, waiting = (
                    "archive/projects/P/subjects/S/experiments/E",
                    "prearchive/projects/P/20200101_010101/F",
                )
                place = f"{waiting if worker % 2 else archive}{worker}_{number}"
                params = {"dest": f"/{place}", "overwrite": "delete", "import-handler": "DICOM-zip"}
                try:
                    session.post(
                        f"{server.url}/data/services/import", params=params, data=body, timeout=30,
                        headers={"Content-Type": "application/zip"},
                    )  # fmt: skip
                except requests.RequestException:
                    return

    with running(data=tmp_path) as server:
        requests.put(f"{server.url}/data/projects/P", auth=server.accounts["owner"], timeout=30)
        workers = [threading.Thread(target=send, args=(server, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        time.sleep(after_s)
        server.kill()
        for worker in workers:
            worker.join()
    with running(data=tmp_path) as server:
        assert requests.get(f"{server.url}/_check?contents=true", timeout=60).json() == []
