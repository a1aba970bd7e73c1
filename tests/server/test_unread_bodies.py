"""An answer that comes before the body was read leaves the connection whole, or says that it ends."""

from __future__ import annotations

import base64
import http.client
import socket
from urllib.parse import urlsplit

import pytest

ROUNDS = 100
"""How often each case is asked; what breaks a connection does so only now and then."""
SMALL, LARGE = b"x" * 100, bytes(3 << 20)
FILE = "experiments/S01_CT1/scans/1/resources/DICOM/files/new.dcm"
IMPORT = "/data/services/import?import-handler="


class Wire:
    """One connection that never opens itself again, so that a broken one is seen."""

    def __init__(self, xnat, role: str | None = None) -> None:
        parts = urlsplit(xnat.url)
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self._headers = {"Authorization": basic(xnat, role)} if role else {}
        self.opened = 0

    def ask(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        if self._connection.sock is None:
            self._connection.auto_open = 1
            self._connection.connect()
            self.opened += 1
        self._connection.auto_open = 0
        given = {"Content-Type": "application/octet-stream"} if body else {}
        self._connection.request(method, path, body, {**self._headers, **given})
        answer = self._connection.getresponse()
        answer.read()
        if "JSESSIONID=" in (cookie := answer.headers.get("Set-Cookie", "")):
            self._headers["Cookie"] = cookie.partition(";")[0]
        return answer

    def close(self) -> None:
        self._connection.close()


def basic(xnat, role: str) -> str:
    return "Basic " + base64.b64encode(":".join(xnat.accounts[role]).encode()).decode()


CASES = {
    "a full disk": ("owner", "PUT", "{study}/" + FILE, 500, "disk-full"),
    "500 on request": ("owner", "PUT", "{study}/" + FILE, 500, "500-before"),
    "503 on request": ("owner", "PUT", "{study}/" + FILE, 503, "503"),
    "a log-in page on request": ("owner", "PUT", "{study}/" + FILE, 200, "login-page"),
    "done, but 500": ("owner", "PUT", "{study}/" + FILE + "?overwrite=true", 500, "500-after"),
    "nobody": (None, "PUT", "{study}/" + FILE, 401, ""),
    "no right": ("collaborator", "PUT", "{study}/" + FILE, 200, ""),
    "not seen": ("outsider", "PUT", "{study}/" + FILE, 404, ""),
    "no such address": ("owner", "PUT", "/data/nowhere", 404, ""),
    "no such method": ("owner", "PUT", "/data/services/import", 405, ""),
    "a label taken": ("owner", "PUT", "{study}/experiments/S01_MR1?label=S01_MR2", 409, ""),
    "no such importer": ("owner", "POST", IMPORT + "none", 404, ""),
    "import of no archive": ("owner", "POST", IMPORT + "DICOM-zip", 400, ""),
    "import into nowhere": ("owner", "POST", IMPORT + "DICOM-zip&dest=/moon", 400, ""),
    "rules that are none": (None, "POST", "/_faults", 400, ""),
    "settings by a member": ("member", "PUT", "{study}/config/anon/script", 403, ""),
    "a waiting session that is none": ("owner", "POST", "/data/prearchive/projects/P/T/F?action=build", 403, ""),
}  # fmt: skip


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", CASES)
def test_the_next_request_goes_through(study, name, body):
    role, method, path, status, fault = CASES[name]
    xnat, wire, first = study.owner.server, Wire(study.owner.server, role), None
    rounds = ROUNDS if body is SMALL else ROUNDS // 10
    if fault:
        xnat.faults([{"fault": fault, "method": "PUT", "path": "/files"}])
    try:
        for _ in range(rounds):
            answer = wire.ask(method, path.format(study=study.path), body)
            assert answer.status == status
            first = first or wire.ask("GET", "/data/auth").status
            assert wire.ask("GET", "/data/auth").status == first
        assert wire.opened == 1
    finally:
        wire.close()
        if fault:
            xnat.faults([])


def test_who_waits_to_send_a_body_that_is_refused_is_told_that_the_connection_ends(study):
    parts = urlsplit(study.owner.server.url)
    for _ in range(ROUNDS):
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as wire:
            wire.sendall(b"PUT /data/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
            answer = http.client.HTTPResponse(wire)
            answer.begin()
            answer.read()
            assert (answer.status, answer.headers["Connection"]) == (401, "close")
            assert wire.recv(1) == b""
