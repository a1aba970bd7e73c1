"""A server that is killed while it receives or archives comes back with every session whole."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import pytest
import requests
from ingest_kit import series, zipped

from xnbtransfer.server import running

FILES = 120


def post(server, path: str, **given):
    """POST as the owner; None when the server went away meanwhile."""
    with contextlib.suppress(requests.RequestException):
        return requests.post(server.url + path, auth=server.accounts["owner"], timeout=60, **given)
    return None


def sql(server, text: str) -> list:
    with sqlite3.connect(server.data / "catalogue.sqlite") as db:
        return db.execute(text).fetchall()


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1])
def test_killed_while_archiving(tmp_path, delay_s):
    with running(data=tmp_path / "server") as server:
        requests.put(f"{server.url}/data/projects/P", auth=server.accounts["owner"], timeout=60)
        sql(server, "UPDATE projects SET prearchive_code=0")
        answer = post(server, "/data/services/import", params={"dest": "/prearchive/projects/P"},
                      data=zipped(series(1, FILES)), headers={"Content-Type": "application/zip"})
        uri = answer.text.strip()
        given = {"params": {"src": uri}}
        request = threading.Thread(target=post, args=(server, "/data/services/archive"), kwargs=given)
        request.start()
        time.sleep(delay_s)
        server.kill()
        request.join()
        server.start()
        time.sleep(0.2)
        waiting = sql(server, "SELECT status FROM prearchive")
        archived = sql(server, "SELECT count(*) FROM files")[0][0]
        assert archived in (0, FILES)
        assert len(waiting) == (archived == 0)
        if archived == 0:
            assert waiting[0][0] in ("READY", "ERROR")
            assert post(server, "/data/services/archive", params={"src": uri}).status_code == 200
        paths = [path for path in (server.data / "archive").rglob("*.dcm") if not path.name.startswith(".")]
        assert len(paths) == FILES
        assert sql(server, "SELECT count(*) FROM files")[0][0] == FILES


def test_killed_while_receiving(tmp_path):
    files = series(1, FILES)
    with running(data=tmp_path / "server") as server:
        requests.put(f"{server.url}/data/projects/P", auth=server.accounts["owner"], timeout=60)
        sql(server, "UPDATE projects SET prearchive_code=0")
        given = {"params": {"dest": "/prearchive/projects/P"}, "data": zipped(files),
                 "headers": {"Content-Type": "application/zip"}}
        request = threading.Thread(target=post, args=(server, "/data/services/import"), kwargs=given)
        request.start()
        time.sleep(0.05)
        server.kill()
        request.join()
        server.start()
        answer = post(server, "/data/services/import", **given)
        assert answer.status_code == 200
        rows = requests.get(server.url + answer.text.strip() + "/resources", auth=server.accounts["owner"],
                            timeout=60).json()["ResultSet"]["Result"]
        assert [row["file_count"] for row in rows] == [str(FILES)]
        assert sql(server, "SELECT count(*) FROM prearchive")[0][0] == 1
