"""The embedded server while recorded exchanges are asked of it, one after another: people, logins, numbers, rows.

Each request goes over a connection of its own and with its address as it was recorded: no library may quote it again.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from replay_bodies import Studies, body, zipped
from replay_compare import ACCESSION

AGENT = "xnatpy/0.8.1"
STAMP = re.compile(r"/prearchive/projects/(\w+)/(\d{8}_\d{6,})/([^/\s\"?&]+)")
_ROLES = {"admin": "admin", "owner": "owner", "member": "member", "collaborator": "collaborator",
          "no role": "outsider"}  # fmt: skip
_PATIENCE_S = 120


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back; status 0 where the connection ended without an answer."""

    status: int
    headers: dict[str, str]
    cookies: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def session(self) -> str:
        """The JSESSIONID that the answer sets, or nothing."""
        found = re.search(r"JSESSIONID=([^;,\s]+)", self.cookies)
        return found[1] if found else ""


NO_ANSWER = Answer(status=0, headers={}, cookies="", body=b"")


class World:
    """One server and what the exchanges so far told of it."""

    def __init__(self, server: Any, exchanges: list[dict[str, Any]]) -> None:
        self.server = server
        self.studies = Studies(exchanges)
        self.people = {role: tuple(server.accounts[name]) for role, name in _ROLES.items()}
        self.numbers: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._stamps: dict[tuple[str, str], list[str]] = {}
        self._jars: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._token: tuple[str, str] | None = None
        self._by_hand = ""
        self._open: list[tuple[Future[Answer], threading.Event]] = []
        self._pool = ThreadPoolExecutor(16)
        self._needed = {name for one in exchanges for name in one.get("ids", {})}

    def close(self) -> None:
        for _, rest in self._open:
            rest.set()
        self._pool.shutdown()

    # -- sending ---------------------------------------------------------------------------------------------------

    def plain(self, method: str, path: str, role: str = "admin", data: bytes | None = None,
              headers: dict[str, str] | None = None) -> Answer:  # fmt: skip
        """A request that is none of the recording."""
        sent = {"User-Agent": AGENT, "Authorization": self._basic(*self.people[role]), **(headers or {})}
        if role in self._jars:
            sent["Cookie"] = f"JSESSIONID={self._jars[role]}"
        answer = self._send(method, path, sent, data)
        self._jars.setdefault(role, answer.session)
        return answer

    def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None,
              share: float = 1.0, rest: threading.Event | None = None) -> Answer:  # fmt: skip
        """Send ``share`` of the body; then wait for ``rest`` to send the others, or close the connection."""
        where = urlsplit(self.server.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=_PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value.encode("utf-8"))
            if data is not None or method in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(data or b"")))
            connection.endheaders()
            cut = round(len(data or b"") * share)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if data:
                    connection.send(data[:cut])
                if share < 1 and rest is None:
                    time.sleep(0.3)
                    return NO_ANSWER
                if rest is not None:
                    rest.wait(_PATIENCE_S)
                    connection.send((data or b"")[cut:])
            answer = connection.getresponse()
            cookies = ", ".join(answer.msg.get_all("Set-Cookie") or [])
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=named, cookies=cookies, body=answer.read())
        except (http.client.HTTPException, OSError):
            return NO_ANSWER
        finally:
            connection.close()

    def ask(self, exchange: dict[str, Any], share: float = 1.0, rest: threading.Event | None = None) -> Answer:
        """Send a recorded request as whoever sent it and note what its answer tells."""
        request = exchange["request"]
        role = exchange["as"]
        headers = self._headers(exchange)
        data = self._body(request, headers)
        path = self.path(request, role)
        answer = self._send(request["method"], path, headers, data, share, rest)
        if answer.session and not (answer.status == 401 and request["method"] == "PUT"):  # a log-in that failed
            self._last[role] = answer.session
        self.learn(exchange, answer)
        return answer

    def _headers(self, exchange: dict[str, Any]) -> dict[str, str]:
        request, role = exchange["request"], exchange["as"]
        told = request.get("headers", {})
        headers = {"User-Agent": AGENT} | {
            name: value for name, value in told.items() if name in ("Content-Type", "Accept", "Range", "User-Agent")
        }
        if "Authorization" in told:
            headers["Authorization"] = self._basic(*self._pair(exchange))
        if "Cookie" in told:
            headers["Cookie"] = told["Cookie"].replace("{session-id}", self._last.get(role, "none"))
        elif "Authorization" in told and not _sets_session(exchange) and role in self.people:
            headers["Cookie"] = f"JSESSIONID={self._jar(role)}"
        elif not _sets_session(exchange) and role not in self.people:
            headers["Cookie"] = f"JSESSIONID={self._kept(role, headers)}"
        return headers

    def _kept(self, role: str, headers: dict[str, str]) -> str:
        """The session that somebody without a name kept from an answer before, or one begun as a guest's."""
        if role not in self._last:
            begun = {name: value for name, value in headers.items() if name in ("User-Agent", "Authorization")}
            self._last[role] = self._send("GET", "/data/JSESSION", begun, None).session
        return self._last[role]

    def _jar(self, role: str) -> str:
        """The session that a role works in; it begins with the first request that needs one."""
        if not self._jars.get(role):
            self._jars[role] = self._send("GET", "/data/JSESSION", {
                "User-Agent": AGENT, "Authorization": self._basic(*self.people[role])}, None).session  # fmt: skip
        return self._jars[role]

    def _pair(self, exchange: dict[str, Any]) -> tuple[str, str]:
        role, what = exchange["as"], exchange["what"]
        if role == "wrong password":
            return self.people["owner"][0], "wrong"
        if role.startswith("alias token"):
            alias, secret = self.token()
            if "wrong secret" in what:
                secret = "wrong"
            return ("no-such-alias" if "does not exist" in what else alias), secret
        return self.people[role]

    def token(self) -> tuple[str, str]:
        """An alias token of the owner: the first that was issued, or one that is issued now."""
        if self._token is None:
            told = json.loads(self.plain("GET", "/data/services/tokens/issue", "owner").body)
            self._token = (told["alias"], str(told["secret"]))
        return self._token

    @staticmethod
    def _basic(name: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    def _body(self, request: dict[str, Any], headers: dict[str, str]) -> bytes | None:
        content, kind = request.get("content"), headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            edge = uuid.uuid4().hex
            headers["Content-Type"] = f"multipart/form-data; boundary={edge}"
            name = re.search(r"(\w+) filename=(\S+)", str(request.get("body")))
            field, file = (name[1], name[2]) if name else ("file", "files.zip")
            head = f'--{edge}\r\nContent-Disposition: form-data; name="{field}"; filename="{file}"\r\n'
            head += "Content-Type: application/octet-stream\r\n\r\n"
            return head.encode() + body(content or {"zip": {}}, self.studies) + f"\r\n--{edge}--\r\n".encode()
        if content is not None:
            if set(content) == {"text"}:
                return self._named(str(content["text"]), form="urlencoded" in kind).encode()
            return body(content, self.studies)
        if request.get("body") is not None:
            return self._named(str(request["body"]), form="urlencoded" in kind).encode()
        return None

    # -- names and numbers -----------------------------------------------------------------------------------------

    def path(self, request: dict[str, Any], role: str = "owner") -> str:
        """The address to ask here: rows by the second in which they were made here, items by their numbers here."""
        path = request["path"]
        if "{and so on}" in path:
            path = _lengthened(path, int(request["length of path"]))
        path = re.sub(r"(/prearchive/projects/(\w+)/)\{timestamp\}/([^/?&]+)", self._stamped, path)
        if "{csrf}" in path:
            asked = {"User-Agent": AGENT, "Cookie": f"JSESSIONID={self._last.get(role, '')}"}
            told = self._send("GET", "/data/JSESSION?CSRF=true", asked, None).text
            path = path.replace("{csrf}", told.partition("XNAT_CSRF=")[2].strip())
        return self._named(path)

    def _stamped(self, found: re.Match[str]) -> str:
        if (found[2], found[3]) not in self._stamps:  # a row that no answer has named: it was moved, or its upload cut
            until = time.monotonic() + 2
            while (found[2], found[3]) not in self._stamps and time.monotonic() < until:
                told = self.plain("GET", f"/data/prearchive/projects/{found[2]}?format=json").text
                for _, stamp, folder in (row for row in STAMP.findall(told) if row[0] == found[2]):
                    self._stamps.setdefault((found[2], folder), []).append(stamp)
                time.sleep(0.05)
        known = self._stamps.get((found[2], found[3])) or ["20010101_000000000"]
        return f"{found[1]}{known[-1]}/{found[3]}"

    def _named(self, text: str, form: bool = False) -> str:
        for role, (name, password) in self.people.items():
            text = text.replace(f"{{login {role}}}", name)
            text = text.replace(f"{{password {role}}}", quote(password) if form else password)
        if "{alias}" in text or "{secret}" in text:
            alias, secret = self.token()
            text = text.replace("{alias}", alias).replace("{secret}", secret)
        text = ACCESSION.sub(lambda found: self.numbers.get(found[0], found[0]), text)
        return re.sub(r"(?<=/resources/)\d+(?=/)", lambda found: self.numbers.get(found[0], found[0]), text)

    def prepare(self, exchange: dict[str, Any]) -> None:
        """What was done before a request by hand, and the numbers that it names."""
        self._hand(exchange.get("by hand", ""))
        if gone := re.search(r"rows? of (\w+) w", exchange.get("before", "")):
            self._clear(gone[1])
        for number, where in exchange.get("ids", {}).items():
            if number not in self.numbers and where in self._labels:
                self.numbers[number] = self._labels[where]

    def learn(self, exchange: dict[str, Any], answer: Answer) -> None:
        for project, stamp, folder in STAMP.findall(answer.text):
            known = self._stamps.setdefault((project, folder), [])
            if stamp in known:
                known.remove(stamp)
            known.append(stamp)
        if exchange["as"] == "owner" and self._token is None and "/tokens/issue" in exchange["request"]["path"]:
            with contextlib.suppress(ValueError, KeyError):
                told = json.loads(answer.body)
                self._token = (told["alias"], str(told["secret"]))
        there, here = str(exchange["response"]["body"]).strip(), answer.text.strip()
        if ACCESSION.fullmatch(there) and ACCESSION.fullmatch(here):
            self.numbers.setdefault(there, here)
        if exchange["request"]["method"] != "GET" and answer.status < 500:
            self._look()

    def note(self, pairs: list[tuple[str, str]]) -> None:
        """Numbers of the recording and of here that mean the same."""
        for there, here in pairs:
            self.numbers.setdefault(there, here)

    def _look(self) -> None:
        """Note the labels that sessions and subjects have now."""
        for kind in ("experiments", "subjects"):
            answer = self.plain("GET", f"/data/{kind}?format=json&columns=ID,label,project")
            with contextlib.suppress(ValueError, KeyError):
                for row in json.loads(answer.body)["ResultSet"]["Result"]:
                    self._labels[f"{row['project']}/{row['label']}"] = row["ID"]

    def _clear(self, project: str) -> None:
        answer = self.plain("GET", f"/data/prearchive/projects/{project}?format=json")
        for row in json.loads(answer.body)["ResultSet"]["Result"]:
            if row["project"] == project:
                self.plain("POST", f"/data/services/prearchive/delete?src={quote(row['url'])}&format=json")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            rows = json.loads(self.plain("GET", f"/data/prearchive/projects/{project}?format=json").body)
            if not [row for row in rows["ResultSet"]["Result"] if row["project"] == project]:
                return
            time.sleep(0.05)

    def rest(self, path: str) -> None:
        """Wait until no row of the project in ``path`` is worked on, for ten seconds."""
        found = re.match(r"/data/prearchive/projects/(\w+)", path)
        until = time.monotonic() + 10
        while found and time.monotonic() < until:
            told = self.plain("GET", f"/data/prearchive/projects/{found[1]}?format=json").text
            if not re.search(r'"status": ?"(_|QUEUED)', told):
                return
            time.sleep(0.05)

    def _hand(self, what: str) -> None:
        """Do what was done in the database or the configuration, and undo it when it is named no more."""
        if what == self._by_hand:
            return
        for told, on in ((self._by_hand, False), (what, True)):
            if "requires a reason" in told:
                for name in ("requireChangeJustification", "showChangeJustification"):
                    self._preference(name, on)
            if "switched off" in told:
                self._account(enabled=not on)
            if "date of the user's password" in told:
                self._expire(on)
            if "concurrent_max" in told:
                self._preference("concurrentMaxSessions", 2 if on else 1000)
            if "into the group ALL_DATA_ACCESS in the database" in told:
                group = {"groups": {self.people["no role"][0]: "ALL_DATA_ACCESS" if on else ""}}
                self.plain("POST", "/_site", "admin", json.dumps(group).encode())
        self._by_hand = what

    def _preference(self, name: str, on: object) -> None:
        self.plain("POST", "/_site", "admin", json.dumps({"preferences": {name: on}}).encode())

    def _account(self, enabled: bool) -> None:
        name = self.people["no role"][0]
        self.plain("PUT", f"/xapi/users/{name}/enabled/{str(enabled).lower()}")

    def _expire(self, on: bool) -> None:
        """Make the password of the user without a role old, as one does in XNAT's database."""
        name = self.people["no role"][0]
        self.plain("POST", "/_passwords", "admin", json.dumps({"username": name, "expired": on}).encode())

    # -- what takes place at the same time -------------------------------------------------------------------------

    def begin(self, exchange: dict[str, Any], after_s: float = 0.0) -> Future[Answer]:
        """Send a request beside others."""

        def later() -> Answer:
            time.sleep(after_s)
            return self.ask(exchange)

        return self._pool.submit(later)

    def pause(self, exchange: dict[str, Any]) -> tuple[Future[Answer], threading.Event]:
        """Send the first share of a body; the rest goes when the event is set."""
        rest = threading.Event()
        sent = self._pool.submit(self.ask, exchange, float(exchange["request"]["paused"]), rest)
        self._open.append((sent, rest))
        time.sleep(0.3)
        return sent, rest

    def at_once(self, several: list[Callable[[], Answer]]) -> list[Answer]:
        """Send several requests at the same time."""
        return [sent.result() for sent in [self._pool.submit(one) for one in several]]

    def scan(self, like: dict[str, Any], *, study: str, number: int, description: str, prefix: str) -> Answer:
        """Import one more scan of one file into the session of a recorded import."""
        told = {"study": study, "number": number, "instance": 1, "modality": "MR", "description": description}
        data = zipped([(f"{prefix}{number}/MR_{number:04d}_0001.dcm", body({"dicom": told}, self.studies))])
        return self.plain("POST", like["request"]["path"], like["as"], data, {"Content-Type": "application/zip"})


def _sets_session(exchange: dict[str, Any]) -> bool:
    return "JSESSIONID=" in exchange["response"]["headers"].get("set-cookie", "")


def _lengthened(path: str, length: int) -> str:
    """A shortened address at its full length: more names of the list at its end."""
    head = path.replace("{and so on}", "").rpartition(",")[0]
    number = 1000 + head.count(",")
    while len(head) < length - 12:
        number += 1
        head += f",2.25.{number:08d}" if "UID=" in head else f",{number}"
    tail = "/files?format=json" if "/scans/" in head else ""
    return head[: length - len(tail)] + tail
