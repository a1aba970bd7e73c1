"""Somebody between client and server who lets a write act in part and answers 500, as a live server was seen to do."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WORDS = b"<html><body><h3>Operation Failed: made up for this test</h3></body></html>"


@dataclass
class Meddler:
    """What is done to which requests; ``met`` are the requests that were meddled with.

    Attributes
    ----------
    rule : callable
        Gets method and path with query; gives a way to answer, or None for what passes untouched.
    """

    server: object
    rule: Callable[[str, str], Callable | None] = lambda method, path: None
    met: list[str] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)  # method, path and digest of the body of all
    url: str = ""
    accounts: dict = field(default_factory=dict)

    def log(self) -> list[dict]:
        return self.server.log()

    def faults(self, rules) -> None:
        self.server.faults(rules)

    @property
    def data(self):
        return self.server.data

    def sql(self, text: str, *values) -> None:
        with sqlite3.connect(self.server.data / "catalogue.sqlite", timeout=30) as db:
            db.execute(text, values)


def refuses(meddler, pass_on, method, path, body):
    """500, and nothing was done."""
    return 500, WORDS


def acts(meddler, pass_on, method, path, body):
    """500 after all was done."""
    pass_on(body)
    return 500, WORDS


def cuts(meddler, pass_on, method, path, body):
    """500 after the first two thirds of an upload were used."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        pass_on(body, cut=2 * len(body) // 3)
    return 500, WORDS


def spoils(meddler, pass_on, method, path, body):
    """An archive request that fails in a script: the row is in error, and its folder has lost its files (L8)."""
    uri = parse_qs(urlsplit(path).query)["src"][0]
    _, _, _, project, stamp, folder = uri.split("/")
    for one in sorted((meddler.server.data / "prearchive").glob(f"**/{stamp}/{folder}/**/*.dcm")):
        one.unlink()
    meddler.sql("UPDATE prearchive SET status='ERROR' WHERE project=? AND folder=?", project, folder)
    return 500, b"<html><body><h3>Operation Failed: Anonymization failed</h3></body></html>"


def missing(meddler, pass_on, method, path, body):
    """404, whatever is there."""
    return 404, WORDS


def _shortened(keep: Callable[[int], int], pass_on, body):
    status, said, headers = pass_on(body)
    try:
        found = json.loads(said)
        rows = found["ResultSet"]["Result"]
    except (ValueError, KeyError, TypeError):
        return status, said, headers
    found["ResultSet"]["Result"] = rows[: keep(len(rows))]
    return status, json.dumps(found).encode(), headers


def empties(meddler, pass_on, method, path, body):
    """The list, without a row."""
    return _shortened(lambda rows: 0, pass_on, body)


def shortens(meddler, pass_on, method, path, body):
    """The first half of a list."""
    return _shortened(lambda rows: rows // 2, pass_on, body)


@contextlib.contextmanager
def meddling(server) -> Iterator[Meddler]:
    """A meddler in front of an embedded server, with its own address."""
    up = urlsplit(server.url)
    meddler = Meddler(server, accounts=server.accounts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words) -> None:
            pass

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
            meddler.seen.append((self.command, self.path, digest))
            if self.command not in ("GET", "HEAD"):
                meddler.sent.append((self.command, self.path))
            answer = meddler.rule(self.command, self.path)
            if answer is None:
                return self.reply(*self.pass_on(body))
            meddler.met.append(f"{self.command} {re.sub(r'[?].*', '', self.path)}")
            status, said, *more = answer(meddler, self.pass_on, self.command, self.path, body)
            return self.reply(status, said, *(more or [[("Content-Type", "text/html")]]))

        def pass_on(self, body: bytes, cut: int | None = None):
            """The server's own answer to the request, or to its beginning."""
            there = http.client.HTTPConnection(up.hostname, up.port, timeout=60)
            try:
                there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() != "connection":
                        there.putheader(name, value)
                there.endheaders()
                there.send(body[:cut])
                if cut is not None:
                    return 0, b"", []
                found = there.getresponse()
                kept = [
                    (name, value)
                    for name, value in found.getheaders()
                    if name.lower() not in ("connection", "transfer-encoding", "content-length")
                ]
                return found.status, found.read(), kept
            finally:
                there.close()

        def reply(self, status: int, body: bytes, headers=()) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    front.daemon_threads = True
    front.handle_error = lambda request, address: None
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    meddler.url = f"http://127.0.0.1:{front.server_port}"
    try:
        yield meddler
    finally:
        front.shutdown()
        front.server_close()
        thread.join()
