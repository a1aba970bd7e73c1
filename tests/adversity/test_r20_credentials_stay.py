"""R20: no byte of a password, token or cookie goes to any but the scheme, host and port that were named.

Every request form of the register is answered by a redirect elsewhere, while a read, a download or a write of it runs,
at the login and at its renewal; hosts that record what reaches them stand where the redirects lead.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from adversity_kit import chance, told, tries
from standin import PASSWORD, USER, standing_in

from xnbtransfer import _http, _origin
from xnbtransfer.errors import XnbTransferError
from xnbtransfer.forms import FORMS, FRONT, LOGIN, WHO, Form, Request
from xnbtransfer.xnat import connect

ALIAS = "0123abcd-0000-4000-8000-00000000abcd"
STATUSES = (300, 301, 302, 303, 307, 308)
PLACES = {
    "item": "/data/projects/P/subjects/S/experiments/E",
    "row": "/data/prearchive/projects/P/20240102_030405123/F",
    "owned": "/data/archive/projects/P/subjects/S/experiments/E",
    "uri": "/data/experiments/E/scans/1/resources/7/files/a.dcm",
    "sessions": "E1,E2",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_http, "PAUSE_S", 0.001)
    monkeypatch.setattr(_http, "READ_TRIES", 2)


class Recorder:
    """Everything that reached a host, as it came; it answers what would be believed."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.url = ""


@contextlib.contextmanager
def recording():
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words) -> None:
            pass

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            recorder.came.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
            said = f"User '{USER}' is logged in".encode()
            self.send_response(200)
            self.send_header("Set-Cookie", "JSESSIONID=0123456789ABCDEF; Path=/")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def request_of(form: Form, dice: random.Random) -> Request:
    places = {name: PLACES.get(name, f"x{dice.randrange(100)}") for name in re.findall(r"{(\w+)}", form.path)}
    query = {name: "v" for name in form.query if not name.endswith(("?", "*")) and "=" not in name}
    if "columns" in query:
        query["columns"] = ",".join(form.columns[:1])
    return form(query, **places)


def elsewhere(recorder: Recorder, dice: random.Random) -> str:
    """A ``Location`` that leads to the recording host, in one of the ways to write one."""
    port = recorder.url.rpartition(":")[2]
    host = dice.choice((f"127.0.0.1:{port}", f"localhost:{port}", f"{USER}:x@127.0.0.1:{port}"))
    path = dice.choice(("/", "/data/auth", "/app/template/Login.vm", "/data/services/auth", "/login;jsessionid=A?b=c"))
    return dice.choice((f"http://{host}{path}", f"//{host}{path}", f"HTTP://{host}{path}", f"https://{host}{path}"))


def ask(connection, form: Form, how: str, dice: random.Random) -> None:
    request = request_of(form, dice)
    if how == "write" or form.changes:
        connection._http.write(request, data=b"body")
    elif how == "stream":
        with connection._http.stream(request, zipped=dice.random() < 0.5) as pieces:
            list(pieces)
    else:
        connection._http.read(request)


def wrong(problem: XnbTransferError, *addresses: str) -> list[str]:
    """What a sentence about a redirect holds too much, or lacks of the addresses."""
    sentence = str(problem)
    found = [f"holds the password: {sentence}"] if PASSWORD in sentence else []
    return found + [f"lacks {one}: {sentence}" for one in addresses if one.rpartition(":")[2] not in sentence]


def test_nothing_of_a_login_goes_elsewhere_with_any_form():
    dice, missed, tried = chance(), [], 0
    forms = [form for form in FORMS if form not in (FRONT, LOGIN, WHO) and not form.path.endswith("/data/JSESSION")]
    with standing_in() as standin, recording() as other:
        with connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as connection:
            for turn in range(max(tries(2), 1)):
                for form in forms:
                    how = dice.choice(("read", "stream"))
                    where = elsewhere(other, dice)
                    path = request_of(form, random.Random(turn)).path
                    answer = (dice.choice(STATUSES), {"Location": where}, dice.choice((b"", b"PK\x03\x04", b"{}")))
                    standin.answers.clear()
                    standin.answers[path] = [answer]
                    tried += 1
                    for last in (False, True):  # the first may be taken for a login that has run out
                        try:
                            ask(connection, form, how, random.Random(turn))
                            missed.append(f"{form.number} {form.asks}: {how} took {answer[0]} {where} for an answer")
                        except XnbTransferError as problem:
                            missed += wrong(problem, standin.url, other.url) if last else []
            assert standin.logins > 1, "the login was renewed at the place that was named"
        missed += [f"{one!r}" for one in other.came]
    told("R20 forms", tried, missed)


@pytest.mark.parametrize("user", [USER, ALIAS])
def test_nothing_of_a_login_goes_elsewhere_when_it_is_made_or_renewed(user, monkeypatch):
    dice, missed, tried = chance(), [], 0
    for turn in range(tries(6)):
        with twisted(dice) as (url, other, twist, came):
            at = ("front", "login", "who", "renewal")[turn % 4]
            twist[at] = (dice.choice((301, 302, 303, 307, 308)), elsewhere(other, dice))
            tried += 1
            try:
                with connect(server=url, user=user, password=PASSWORD, prompt=False) as connection:
                    twist["renew"] = True
                    connection.projects()
                missed.append(f"{at}: {twist[at]} was followed or passed over")
            except XnbTransferError as problem:
                missed += [f"{at} {one}" for one in wrong(problem, url, *([] if at == "who" else [other.url]))]
            missed += [f"{at}: {one!r}" for one in other.came]
            assert came, "the named one was asked"
    told(f"R20 login of {'a token' if user == ALIAS else 'a user'}", tried, missed)


@contextlib.contextmanager
def twisted(dice: random.Random):
    """An XNAT that answers logins, and one request of them with a redirect elsewhere; ``renew`` ends all sessions."""
    twist: dict = {}
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            came.append(path)
            at = {"/": "login" if self.headers.get("Authorization") else "front"}.get(path, "")
            at = {"/data/services/auth": "login", "/data/auth": "who"}.get(path, at)
            at = "renewal" if at == "login" and "renew" in twist else at
            if at in twist:
                return self.answer(twist[at][0], Location=twist[at][1])
            if at in ("login", "renewal"):
                token = f"{dice.getrandbits(64):032X}"
                return self.answer(200, token.encode(), Set_Cookie=f"JSESSIONID={token}; Path=/")
            if at == "who":
                return self.answer(200, f"User '{USER}' is logged in".encode())
            if path == "/data/projects":
                return self.answer(401)
            return self.answer(200)

        do_GET = do_PUT = do_POST = do_DELETE = serve

    with recording() as other:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", other, twist, came
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def test_another_path_of_the_same_place_is_followed_at_the_login():
    """Recorded of 1.8.11, client-forms F01: ``/`` is 302 to a page of XNAT's own; a context path comes before it."""
    named = "https://xnat.example.org"
    for where, leads in {
        "/xnat/app/template/Login.vm;jsessionid=A": f"{named}/xnat/app/template/Login.vm",
        f"{named}:443/xnat/": f"{named}/xnat/",
        "xnat/": f"{named}/xnat/",
        "http://xnat.example.org/app/": f"{named}/app/",  # a container that does not know of the proxy before it
    }.items():
        assert _origin.next_address(where, f"{named}/") == leads
    for where in ("http://xnat.example.org:80/", f"{named}:8443/", "//other.example.org/", "https://[broken"):
        with pytest.raises(XnbTransferError, match=r"xnat\.example\.org"):
            _origin.next_address(where, f"{named}/")
