"""What no rule of the server reads stands in its log; what is refused is passed over by nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import request_log
import requests

from xnbtransfer.server import requestlog, running


@pytest.fixture(scope="module")
def logged(xnat, person):
    """A function that sends a request as the owner and returns the answer's status with what was not read."""
    owner = person("owner")
    owner.put("/data/projects/UNREAD")

    def send(method: str, path: str, **more) -> tuple[int, list[str]]:
        answer = owner.request(method, path, **more)
        return answer.status_code, xnat.log()[-1]["unread"]

    return send


def test_a_parameter_that_nothing_reads(logged):
    assert logged("GET", "/data/projects/UNREAD?format=json&nonsense=1") == (200, ["query nonsense"])
    assert logged("GET", "/data/projects/UNREAD?format=json") == (200, [])


def test_a_header_that_nothing_reads(logged):
    assert logged("GET", "/data/projects?format=json", headers={"X-Wish": "1"}) == (200, ["header x-wish"])


def test_a_column_that_nothing_reads(logged):
    status, left = logged("GET", "/data/projects/UNREAD/subjects?format=json&columns=ID,label,wish")
    assert (status, left) == (200, ["column wish"])


def test_a_field_of_a_form_and_of_a_json_body_that_nothing_reads(logged, xnat, person):
    form = {"gender": "female", "event_reason": "why", "event_wish": "x"}
    status, left = logged("PUT", "/data/projects/UNREAD/subjects/S1", data=form)
    assert status == 201 and "body gender" not in left
    person("admin").post("/xapi/users", json={"username": "una", "password": "pw-of-una", "wish": 1})
    assert xnat.log()[-1]["unread"] == ["body wish"]


def test_a_body_that_nothing_reads(logged):
    status, left = logged("DELETE", "/data/projects/UNREAD/subjects/S1", data=b"why")
    assert (status, left) == (200, ["body (all of it)"])


def test_what_is_refused_passes_over_nothing(logged):
    assert logged("GET", "/data/projects/NO_SUCH?format=json&nonsense=1") == (404, [])


def test_no_secret_is_in_the_log(xnat):
    user, password = xnat.accounts["owner"]
    query = {"username": user, "password": password}
    assert requests.put(xnat.url + "/data/services/auth", params=query, timeout=60).status_code == 200
    line = xnat.log()[-1]
    assert line["query"] == f"username={user}&password={requestlog.HIDDEN}"
    assert password not in json.dumps(xnat.log())


def test_every_server_of_a_session_adds_to_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(requestlog.FOLDER, str(tmp_path))
    for _ in range(2):
        with running() as server:
            agent = {"User-Agent": "xnbtransfer"}
            requests.get(server.url + "/xapi/siteConfig/buildInfo?wish=1", headers=agent, timeout=60)
    lines = request_log.Lines(tmp_path)
    found = [line for line in lines.new() if "buildInfo" in line["path"]]
    assert [request_log.not_read(line) for line in found] == [["query wish"]] * 2
    assert list(lines.new()) == []


CONFTEST = """
import importlib.util

found = importlib.util.spec_from_file_location("of_all_tests", {path!r})
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
globals().update({{name: value for name, value in vars(module).items() if not name.startswith("__")}})
"""
WISH = """
from xnbtransfer.xnat import connect


def test_a_wish(xnat):
    with connect(server=xnat.url, user=xnat.accounts["owner"][0], password=xnat.accounts["owner"][1]) as ours:
        ours._session.interface.get(f"{xnat.url}/xapi/siteConfig/buildInfo?wish=1")
"""


def test_a_test_fails_whose_client_asks_in_vain(tmp_path):
    """The fixture of ``tests/conftest.py`` for every test, shown in a test session of its own."""
    here = os.path.dirname(os.path.dirname(__file__))
    (tmp_path / "conftest.py").write_text(CONFTEST.format(path=os.path.join(here, "conftest.py")))
    (tmp_path / "test_wish.py").write_text(WISH)
    own = {"PYTHONPATH": here, requestlog.FOLDER: str(tmp_path / "log")}
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **own}, timeout=300,
    )  # fmt: skip
    assert "1 error" in told.stdout, told.stdout
    assert "/xapi/siteConfig/buildInfo: the server did not read query wish" in told.stdout
