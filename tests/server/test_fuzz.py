"""Odd requests against every route: never a fault that nobody asked for, and a state that stays consistent.

A few hundred requests by default; ``XNBTRANSFER_FUZZ=5000`` sends about as many, other ones each time.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from ingest_kit import series, zipped
from starlette.routing import Route

from xnbtransfer.server import running
from xnbtransfer.server.app import create_app
from xnbtransfer.server.state import State

WANTED = int(os.environ.get("XNBTRANSFER_FUZZ", "300"))
LENGTH = 8
ODD = [
    "", " ", ".", "..", "../..", "a/b", "a\\b", "%", "%00", "\0", "a b", "a;b", "a,b", "ALL", "*", "NULL", "null", "0",
    "-1", "1e9", "99999999999999999999", "é", "日本", "\U0001f600", "<b>x</b>", "'", '"', "' OR 1=1 --", "{}", "[1]",
    "true", "false", "x" * 300, "ADMIN", "Unassigned", "[SLASH]", "1-MR1", "\r\nX: y",
    "‮", "$HOME", "~", "#", "?", "&", "=",
]  # fmt: skip
USUAL = {
    "p": ["P", "P", "Q", "P,Q"], "project": ["P", "Q", "Unassigned"], "s": ["S1", "S2", "XNAT_S00001"], "q": ["Q", "P"],
    "e": ["E1", "E1", "XNAT_E00001", "E2", "E1,E2"], "scan": ["1", "1", "2", "ALL", "1,2"], "r": ["DICOM", "NEW", "1"],
    "path": ["a.dcm", "a/b.txt", "new.txt"], "name": ["checksums", "a.dcm", "E1"], "u": ["olga", "mia"],
    "group": ["Owners", "Members"], "folder": ["S1_MR1"], "verb": ["move", "rebuild", "delete"], "tool": ["anon", "x"],
    "a": ["A1", "A1", "A1", "E1"], "side": ["in", "out"],
}  # fmt: skip
KNOWN = ["P", "S1", "E1", "XNAT_E00001", "1", "DICOM", "a.dcm", "olga", "true"]
USUALLY = st.integers(0, 5)
"""Which of the usual names, or of a route's own methods."""
NAMES = st.sampled_from(KNOWN) | st.sampled_from(ODD) | st.text(max_size=12)
QUERIES = [
    "format", "columns", "xsiType", "project", "label", "primary", "overwrite", "overwrite_files", "extract", "inbody",
    "removeFiles", "accept-not-found", "all", "structure", "limit", "offset", "sortBy", "sortOrder", "action", "AA",
    "newProject", "status", "src", "dest", "import-handler", "PROJECT_ID", "SUBJECT_ID", "EXPT_LABEL", "session",
    "subject", "prevent_anon", "prearchive_code", "Direct-Archive", "Ignore-Unparsable", "quarantine", "permissions",
    "dataType", "accessible", "data", "restrict", "creatableTypes", "date", "UID", "index", "file_content", "resource",
    "options", "event_reason", "value", "enable", "contents", "version", "req_format", "gender", "type", "compression",
    "pullDataFromHeaders", "fields", "reference", "locator", "tag", "redirect", "XNAT_CSRF", "http-session-listener",
]  # fmt: skip
VALUES = NAMES | st.sampled_from([
    "json", "xml", "csv", "zip", "tar", "tar.gz", "html", "true", "false", "append", "delete", "commit", "build",
    "move", "reset-status", "ID,label", "xnat:imageScanData/ID", "xnat:mrSessionData", "xnat:mrScanData", "create",
    "readable", "/archive/projects/P", "/prearchive/projects/P", "/archive/experiments/XNAT_E00001",
    "01/01/2020-01/01/2021", "SI", "DICOM-zip", "gradual-DICOM", "simplified", "legacy", "checksum,populateStats",
    "/user/cache/resources/X/files/a",
])  # fmt: skip
PEOPLE = ["admin", "admin", "owner", "owner", "owner", "owner", "member", "member", "collaborator", "outsider", None]
METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS"]


def bodies() -> list[tuple[str, bytes]]:
    dicom = series(1, 2)
    odd = io.BytesIO()
    with zipfile.ZipFile(odd, "w") as archive:
        for name in ("../out.dcm", "/etc/x.dcm", "a/" * 40 + "b", "é.dcm", " "):
            archive.writestr(name, dicom[0][1])
    whole = zipped(dicom)
    return [
        ("", b""), ("application/json", b"{}"), ("application/json", b"[" * 3000), ("application/json", b'{"a": '),
        ("application/json", b'{"contents": 1, "status": []}'), ("application/json", b"null"),
        ("text/plain", b"\xff\xfe"),
        ("text/xml", b"<xnat:Subject xmlns:xnat='http://nrg.wustl.edu/xnat' label='S9'/>"), ("text/xml", b"<a><b></a>"),
        ("text/xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), ("application/zip", whole),
        ("application/zip", whole[:-100]), ("application/zip", whole[:5000]), ("application/zip", odd.getvalue()),
        ("application/zip", b"PK\3\4" + bytes(200)), ("application/dicom", dicom[0][1]),
        ("application/dicom", dicom[0][1][:900]), ("application/octet-stream", b"x" * 5000),
        ("application/x-www-form-urlencoded", b"username=olga&password=&src=%2Fprearchive%2Fprojects%2FP&=&%zz"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.zip"\r\n\r\n'
         + whole + b"\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense"), ("multipart/form-data", b"no boundary"),
        ("text/plain", b'version "6.1"\n(0010,0010) := "x"\n'), ("text/plain", b"reject["), ("nonsense", b"\0\1\2"),
    ]  # fmt: skip


BODIES = bodies()
SESSION = zipped(series(1, 2))


@pytest.fixture(scope="module")
def server() -> Iterator:
    """A server of its own, with two projects, a session and a row in the prearchive."""
    with running() as found:
        session = requests.Session()
        session.auth = found.accounts["owner"]
        for project in ("P", "Q"):
            assert session.put(f"{found.url}/data/projects/{project}").status_code == 200
            for role, group in (("member", "Members"), ("collaborator", "Collaborators")):
                session.put(f"{found.url}/data/projects/{project}/users/{group}/{found.accounts[role][0]}")
        for place in ("archive/projects/P/subjects/S1/experiments/E1", "prearchive/projects/P"):
            params = {"dest": f"/{place}", "import-handler": "DICOM-zip"}
            answer = session.post(f"{found.url}/data/services/import", params=params, data=SESSION,
                                  headers={"Content-Type": "application/zip"})  # fmt: skip
            assert answer.status_code == 200, answer.text
        yield found
        session.close()


@pytest.fixture(scope="module")
def addresses(tmp_path_factory) -> list[tuple[str, list[str]]]:
    """The templates of all routes with their methods, as the application has them."""
    app = create_app(State(tmp_path_factory.mktemp("routes"))).app
    found = {
        (route.path, tuple(sorted(set(route.methods or METHODS) - {"HEAD"})))
        for route in app.routes
        if isinstance(route, Route) and route.path not in ("/_faults", "/_check")
    }
    assert len(found) > 80
    return sorted(found)


@pytest.fixture(scope="module")
def people(server) -> Iterator[dict]:
    known = {}
    for role in {role for role in PEOPLE}:
        known[role] = requests.Session()
        known[role].headers["User-Agent"] = "python-requests"
        if role:
            known[role].auth = server.accounts[role]
    yield known
    for session in known.values():
        session.close()


@st.composite
def requests_of(draw, templates: int) -> dict:
    """One request; addresses are drawn by number, so that they need not be known here."""
    return {
        "template": draw(st.integers(0, templates - 1)),
        "names": draw(st.lists(USUALLY | USUALLY | USUALLY | NAMES, min_size=6, max_size=6)),
        "tail": draw(st.sampled_from([*[""] * 12, "/", "/extra", "//", "%2F", ";x=1"])),
        "method": draw(USUALLY | USUALLY | USUALLY | st.sampled_from(METHODS)),
        "who": draw(st.sampled_from(PEOPLE)),
        "query": draw(st.lists(st.tuples(st.sampled_from(QUERIES), VALUES), max_size=4)),
        "body": draw(st.integers(0, len(BODIES) - 1)),
        "range": draw(st.sampled_from(["", "", "", "bytes=0-3", "bytes=-1", "bytes=9-1", "nonsense"])),
    }


def address(template: str, names: list[str | int]) -> str:
    """The template with names in its places: usual ones by number, or odd ones; numbers stay what they are."""
    left = iter(names)

    def fill(found: re.Match[str]) -> str:
        name = next(left, 0)
        if isinstance(name, int):
            usual = USUAL.get(found[1], KNOWN)
            name = usual[name % len(usual)]
        return "1" if found[2] == ":int" else quote(name, safe="/" if found[2] == ":path" else "")

    return re.sub(r"\{(\w+)(:\w+)?\}", fill, template)


def log_size(server) -> int:
    log = server.data / "requests.jsonl"
    return log.stat().st_size if log.exists() else 0


def problems(server, since: int) -> list[str]:
    """What went wrong inside, by the request log behind its first ``since`` bytes."""
    with open(server.data / "requests.jsonl", "rb") as log:
        log.seek(since)
        lines = [json.loads(line) for line in log]
    return [f"{line['method']} {line['path']}?{line['query']}: {line['problem']}"
            for line in lines if line.get("problem")]


def test_odd_requests(server, addresses, people):
    templates = len(addresses)
    steps = st.lists(requests_of(templates), min_size=LENGTH, max_size=LENGTH)
    every = st.integers(0, templates - 1)

    @settings(
        max_examples=max(1, WANTED // (LENGTH + 1)), deadline=None, database=None, phases=[Phase.generate],
        derandomize="XNBTRANSFER_FUZZ" not in os.environ, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(steps, every)
    def walk(drawn, plain):
        since = log_size(server)
        people["admin"].post(  # what an earlier walk may have deleted
            f"{server.url}/data/services/import", data=SESSION, headers={"Content-Type": "application/zip"},
            params={"dest": "/archive/projects/P/subjects/S1/experiments/E1", "overwrite": "delete"},
        )  # fmt: skip
        people["admin"].put(
            f"{server.url}/data/projects/P/subjects/S1/experiments/E1/assessors/A1",
            params={"xsiType": "xnat:qcManualAssessorData"},
        )
        for asked in [*drawn, {**drawn[0], "template": plain, "query": [], "tail": "", "names": []}]:
            send(server, people, addresses, asked)
        found = problems(server, since)
        assert not found, "\n".join(found)

    walk()
    assert consistent(server) == []


def send(server, people, addresses, asked) -> None:
    template, methods = addresses[asked["template"]]
    method = methods[asked["method"] % len(methods)] if isinstance(asked["method"], int) else asked["method"]
    whole_project = template == "/data/projects/{p}" and method == "DELETE"  # its name could never be used again
    url = server.url + address(template, ["Q"] if whole_project else asked["names"]) + asked["tail"]
    kind, body = BODIES[asked["body"]] if method in ("PUT", "POST", "PATCH") else ("", b"")
    headers = ({"Content-Type": kind} if kind else {}) | ({"Range": asked["range"]} if asked["range"] else {})
    note(f"{asked['who']}: {method} {url} {asked['query']} {kind} {len(body)}")
    with people[asked["who"]].request(
        method, url, params=asked["query"], data=body, headers=headers, timeout=60, allow_redirects=False
    ) as answer:
        text = answer.content[:200_000].decode("latin-1")
        assert "Traceback (most recent call last)" not in text
        assert 100 <= answer.status_code < 600
        if answer.ok and method == "GET" and not asked["range"]:
            readable(answer)
        assert not re.search(r"sqlite3\.|site-packages|\.py\b.*line \d+", text), text[:500]


def readable(answer: requests.Response) -> None:
    """What says that it is XML or JSON can be read as such; files of people may be anything."""
    kind = answer.headers.get("Content-Type", "")
    if "attachment" in answer.headers.get("Content-Disposition", "") or not answer.content:
        return
    if "xml" in kind and not answer.url.endswith("/download"):
        ElementTree.fromstring(answer.content)
    if "json" in kind:
        answer.json()


def consistent(server) -> list[str]:
    return requests.get(f"{server.url}/_check", params={"contents": "true"}, timeout=120).json()


RAW = [
    b"GET /data/projects HTTP/1.1\r\n\r\n", b"GET  /data/projects HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\1\2\3\r\n\r\n",
    b"GET /data/%zz%ff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /data/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /data/projects?format=\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"FOO /data HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /data/services/import HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /data/services/import HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nabc",
    b"POST /data/services/import HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /data/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Basic !!!!\r\n\r\n",
    b"GET /data/projects HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID=\xff; =; ;;\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(RAW)))
def test_what_is_hardly_a_request(server, number):
    import socket
    from urllib.parse import urlsplit

    since = log_size(server)
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as wire:
        wire.sendall(RAW[number])
        wire.shutdown(socket.SHUT_WR)
        came = b""
        while piece := wire.recv(65536):
            came += piece
    assert b"Traceback" not in came
    assert not came or came.startswith(b"HTTP/1.1 ")
    assert not problems(server, since)
    assert requests.get(f"{server.url}/xapi/siteConfig/buildInfo", timeout=10).status_code == 200


def test_the_page_says_how_to_send_more():
    page = Path(__file__).parent.parent.parent / "docs" / "embedded-server.md"
    assert "XNBTRANSFER_FUZZ" in page.read_text(encoding="utf-8")
