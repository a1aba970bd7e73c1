"""A web server of scripted answers, for what a well-behaved XNAT never says: log-ins that die, pages for data."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "ada", "s3cret-word"
PAGE = b"<!DOCTYPE html>\n<html><body><h3>Please log in</h3></body></html>"


def table(rows: list[dict]) -> bytes:
    return json.dumps({"ResultSet": {"Result": rows, "totalRecords": str(len(rows))}}).encode()


class StandIn:
    """``answers[path]`` is a list of (status, headers, body), the last one repeated, or a function of the query."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict, bytes]]] = {}
        self.log: list[tuple[str, str, dict, int]] = []
        self.valid: set[str] = set()
        self.logins = 0
        self.url = ""
        self.lock = threading.Lock()

    def expire(self) -> None:
        self.valid.clear()

    def login(self, form: dict) -> str | None:
        if form.get("username") != [USER] or form.get("password") != [PASSWORD]:
            return None
        with self.lock:
            self.logins += 1
            token = f"{self.logins:032X}"
            self.valid.add(token)
        return token

    def sent(self, path: str) -> int:
        return sum(1 for _, where, _, _ in self.log if where == path)


def _handler(stand_in: StandIn):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words) -> None:
            pass

        def answer(self, status: int, headers: dict, body: bytes) -> None:
            self.send_response(status)
            headers = {"Content-Length": str(len(body)), **headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            if int(headers["Content-Length"]) != len(body):
                self.close_connection = True

        def serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            with stand_in.lock:
                stand_in.log.append((self.command, parts.path, parse_qs(parts.query), length))
            if parts.path == "/data/services/auth":
                token = stand_in.login(parse_qs(body.decode()))
                if token is None:
                    return self.answer(401, {}, b"<html><h3>Bad credentials</h3></html>")
                return self.answer(200, {"Set-Cookie": f"JSESSIONID={token}; Path=/; HttpOnly"}, token.encode())
            cookies = self.headers.get("Cookie", "")
            known = any(f"JSESSIONID={token}" in cookies for token in stand_in.valid)
            if parts.path == "/":
                return self.answer(200, {}, b"hello")
            if not known:
                guest = {"Set-Cookie": "JSESSIONID=0123456789ABCDEF0123456789ABCDEF; Path=/"}
                if "page" in stand_in.answers:
                    return self.answer(200, {**guest, "Content-Type": "text/html"}, PAGE)
                return self.answer(401, guest, b"")
            if parts.path == "/data/auth":
                return self.answer(200, {}, f"User '{USER}' is logged in".encode())
            if parts.path == "/data/JSESSION":
                return self.answer(200, {}, b"ok")
            with stand_in.lock:
                scripted = stand_in.answers.get(parts.path, [(404, {}, b"<html><h3>Nothing here</h3></html>")])
                if callable(scripted):
                    status, headers, body = scripted(parse_qs(parts.query))
                else:
                    status, headers, body = scripted.pop(0) if len(scripted) > 1 else scripted[0]
            return self.answer(status, headers, body)

        do_GET = do_PUT = do_POST = do_DELETE = serve

    return Handler


@contextlib.contextmanager
def standing_in() -> Iterator[StandIn]:
    stand_in = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stand_in))
    server.daemon_threads = True
    server.handle_error = lambda request, address: None  # a client that hangs up is part of the play
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
