"""All HTTP: a Connection on top of an xnatpy session.

Reads are repeated here when the answer is passing. Writes are never repeated here: whoever sends them reads the state
of the server first. A web page in place of data is never taken for data. No message of this module holds a secret.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import netrc
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
import requests.adapters
import tenacity

from .errors import (
    LoginError,
    NotDataError,
    NotFoundError,
    RefusedError,
    ServerError,
    SessionExpiredError,
    TransientError,
)
from .values import Settings

READ_TRIES = 5
RETRY_WAIT_S = 0.3
RETRY_AFTER_LIMIT_S = 300.0
URL_BYTES = 4000  # a 12 kB address was refused by a live server's container
_CHUNK = 1 << 18
_PASSING = {429, 502, 503, 504}
_ALIAS = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_STATUS_TEXT = re.compile(r"<h3>(.*?)</h3>", re.DOTALL)

_SESSION_COLUMNS = "ID,label,project,subject_ID,subject_label,xsiType,date,modality,UID"
_SCAN = "xnat:imagescandata/"
_SCAN_COLUMNS = ("id", "uid", "type", "quality", "frames", "note", "series_description", "file/label")


def connect(
    side: str = "",
    server: str = "",
    user: str = "",
    password: str = "",
    *,
    timeout_s: float = 60.0,
    read_timeout_s: float = 600.0,
    pool: int = 16,
    prompt: bool = True,
) -> Connection:
    """Log in to one XNAT.

    Parameters
    ----------
    side : {"source", "destination", ""}
        Whose variables are looked at: ``XNAT_<SIDE>_HOST|USER|PASS``, then ``XNAT_HOST|USER|PASS``, then ``.netrc``,
        then a prompt. An alias token and its secret do as user and password.
    timeout_s, read_timeout_s : float
        Seconds to connect, and seconds without a byte.
    prompt : bool
        Whether to ask where nothing else is found and somebody can answer.

    Raises
    ------
    LoginError
        If credentials are missing or refused.
    TransientError
        If the server cannot be reached.
    """
    import xnat

    server, user, password = _credentials(side, server, user, password, prompt)
    quiet = logging.getLogger("xnbtransfer.xnatpy")
    quiet.setLevel(logging.CRITICAL)
    host = _host(server)
    for attempt in range(READ_TRIES):
        try:
            session = xnat.connect(
                server,
                user=user,
                password=password,
                no_parse_model=True,
                logger=quiet,
                default_timeout=(timeout_s, read_timeout_s),
                detect_redirect=False,
            )
            break
        except Exception as problem:  # xnatpy raises errors of its own, of requests and bare ones here
            name = type(problem).__name__
            if "LoginFailed" in name or "Authentication" in name or "401" in str(problem):
                raise LoginError(f"The log-in at {host} was refused.") from None
            if attempt == READ_TRIES - 1 or not _passing_connect(problem):
                raise TransientError(
                    f"{host} cannot be reached ({name}).", "Check the address and the network, then run again."
                ) from None
            _pause(None, attempt)
    return Connection(session, server, user, password, (timeout_s, read_timeout_s), pool)


def _passing_connect(problem: Exception) -> bool:
    return not isinstance(problem, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema)


def _credentials(side: str, server: str, user: str, password: str, prompt: bool) -> tuple[str, str, str]:
    own = f"XNAT_{side.upper()}_" if side else "XNAT_"

    def variable(name: str, default: str = "") -> str:
        return os.environ.get(own + name) or default

    common = os.environ.get("XNAT_HOST", "").rstrip("/")
    server = (server or variable("HOST") or common).rstrip("/")
    if not server:
        raise LoginError(
            f"There is no address for the {side or 'XNAT'} server.",
            f"Give --{side or 'source'}-server, or set {own}HOST or XNAT_HOST.",
        )
    if side and not password and variable("HOST", server).rstrip("/") == server:
        user, password = user or variable("USER"), variable("PASS")
    if not password and (not common or common == server):
        user = user or os.environ.get("XNAT_USER", "")
        password = os.environ.get("XNAT_PASS", "") if user == os.environ.get("XNAT_USER", "") else ""
    if not password:
        found = _netrc(urlsplit(server).hostname or "")
        if found and user in ("", found[0]):
            user, password = found
    if not password and prompt and _somebody_answers():
        user = user or input(f"User name at {_host(server)}: ").strip()
        password = getpass.getpass(f"Password of {user} at {_host(server)} (not stored): ")
    if not user or not password:
        raise LoginError(
            f"There are no credentials for {_host(server)}.",
            f"Set {own}USER and {own}PASS (or XNAT_USER and XNAT_PASS), or write them into .netrc.",
        )
    return server, user, password


def _netrc(host: str) -> tuple[str, str] | None:
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        found = netrc.netrc(path).hosts.get(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2]) if found else None


def _somebody_answers() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _host(server: str) -> str:
    parts = urlsplit(server)
    return parts.netloc.rpartition("@")[2] + parts.path


def _q(text: str) -> str:
    return quote(str(text), safe="")


def _scan_segment(scan: str) -> str:
    # XNAT source, XNATTemplate: a comma makes a list of scans, and these words escape it.
    return _q(scan.replace(",", "[COMMA]").replace("/", "[SLASH]"))


def _pause(retry_after_s: float | None, attempt: int) -> None:
    import random
    import time

    wait = retry_after_s if retry_after_s is not None else random.uniform(0.5, 1.0) * RETRY_WAIT_S * 2**attempt
    time.sleep(min(wait, RETRY_AFTER_LIMIT_S))


class Connection:
    """One logged-in person at one XNAT; safe to use from several threads. ``with`` closes it.

    Attributes
    ----------
    server, user : str
        Address, and the name by which the server knows the person (never that of a token).
    requests, writes : int
        Requests sent so far, and how many of them could change something.
    """

    def __init__(self, session, server: str, user: str, password: str, timeout, pool: int) -> None:
        self.server = server
        self.user: str = str(session.logged_in_user or user)
        self._session = session
        self._http: requests.Session = session.interface
        self._login = (user, password)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._renewals = 0
        self.requests = 0
        self.writes = 0
        adapter = requests.adapters.HTTPAdapter(pool_connections=pool, pool_maxsize=pool, max_retries=0)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        self._counts_served: bool | None = None

    def __repr__(self) -> str:
        return f"Connection({_host(self.server)!r} as {self.user!r})"

    def __reduce__(self):
        raise TypeError("A Connection holds credentials and is never pickled; connect again where it is needed.")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Log out; whatever the server answers is of no interest."""
        with contextlib.suppress(Exception):
            self._session.disconnect()

    # -- one request --------------------------------------------------------------------------------------------

    def _once(self, method: str, path: str, *, stream: bool = False, **more: Any) -> requests.Response:
        with self._lock:
            self.requests += 1
            if method not in ("GET", "HEAD"):
                self.writes += 1
            renewals = self._renewals
        where = f"{method} {path.split('?')[0]} at {_host(self.server)}"
        try:
            answer = self._http.request(
                method,
                self.server + path,
                timeout=self._timeout,
                stream=stream,
                allow_redirects=False,
                **more,
            )
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as problem:
            raise TransientError(f"{where}: the connection was lost ({type(problem).__name__}).") from None
        except requests.RequestException as problem:
            raise ServerError(f"{where}: the request failed ({type(problem).__name__}).") from None
        return self._checked(answer, where, renewals, stream)

    def _checked(self, answer: requests.Response, where: str, renewals: int, stream: bool) -> requests.Response:
        status = answer.status_code
        kind = answer.headers.get("Content-Type", "")
        page = "text/html" in kind
        if status == 401 or (status in (302, 303) and "login" in answer.headers.get("Location", "").lower()):
            answer.close()
            self._renew(renewals)
            raise SessionExpiredError(f"{where}: the log-in had run out; it was renewed.")
        if status in (200, 201, 301):
            if page and not answer.headers.get("Content-Disposition") and self._is_page(answer, stream):
                answer.close()
                self._renew(renewals)
                raise NotDataError(f"{where}: a web page came in place of data.")
            return answer
        text = self._words(answer)
        answer.close()
        said = f": {text}" if text else ""
        if status in _PASSING:
            raise TransientError(f"{where}: {status}{said}.", retry_after_s=_retry_after(answer))
        if status == 403:
            raise RefusedError(
                f"{where}: {self.user} may not do this (403{said}).", "Ask an owner of the project for the right to."
            )
        if status == 404:
            raise NotFoundError(f"{where}: not found (404{said}).")
        raise ServerError(f"{where}: the server answered {status}{said}.", status=status)

    @staticmethod
    def _is_page(answer: requests.Response, stream: bool) -> bool:
        head = next(answer.iter_content(256), b"") if stream else answer.content[:256]
        return head.lstrip().lower().startswith((b"<!doctype", b"<html"))

    @staticmethod
    def _words(answer: requests.Response) -> str:
        try:
            text = answer.text[:4000]
        except requests.RequestException:
            return ""
        match = _STATUS_TEXT.search(text)
        if match:
            text = match.group(1)
        elif "<" in text:
            return ""
        return " ".join(text.split())[:300]

    def _renew(self, renewals: int) -> None:
        """Log in again, once for all threads that met the end of the same log-in."""
        with self._lock:
            if self._renewals != renewals:
                return
            user, password = self._login
            self.requests += 1
            try:
                if _ALIAS.fullmatch(user):
                    answer = self._http.get(self.server, auth=(user, password), timeout=self._timeout)
                    token = answer.cookies.get("JSESSIONID", "")
                else:
                    self._http.cookies.clear()
                    answer = requests.put(
                        self.server + "/data/services/auth",
                        data={"username": user, "password": password},
                        timeout=self._timeout,
                    )
                    token = answer.text.strip() if answer.status_code == 200 else ""
            except requests.RequestException as problem:
                raise TransientError(
                    f"The log-in at {_host(self.server)} could not be renewed ({type(problem).__name__})."
                ) from None
            if answer.status_code in (429, 500, 502, 503, 504):
                raise TransientError(f"The log-in at {_host(self.server)} could not be renewed ({answer.status_code}).")
            if not token or "<" in token:
                raise LoginError(
                    f"The log-in at {_host(self.server)} ran out and was refused when it was renewed.",
                    "Log in again (on a hub: restart the server to get a new token), then run again.",
                )
            self._http.cookies.clear()
            self._http.cookies.set("JSESSIONID", token)
            auth = self._http.auth
            self._http.auth = type(auth)(token) if auth is not None and not isinstance(auth, tuple) else auth
            self._renewals += 1

    def _read(self, what: Callable[[], Any]) -> Any:
        """Call a read until it answers: passing troubles a few times, a plain 500 or a web page twice."""

        def again(state: tenacity.RetryCallState) -> bool:
            problem = state.outcome.exception() if state.outcome else None
            if isinstance(problem, TransientError):
                return problem.retry
            if isinstance(problem, ServerError):
                return state.attempt_number < 3 and (isinstance(problem, NotDataError) or problem.status >= 500)
            return False

        def wait(state: tenacity.RetryCallState) -> float:
            problem = state.outcome.exception() if state.outcome else None
            asked = getattr(problem, "retry_after_s", None)
            if asked is not None:
                return min(asked, RETRY_AFTER_LIMIT_S)
            return tenacity.wait_random_exponential(RETRY_WAIT_S, 30)(state)

        retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(READ_TRIES), retry=again, wait=wait, reraise=True)
        return retrying(what)

    def _get(self, path: str) -> requests.Response:
        return self._read(lambda: self._once("GET", path))

    def _table(self, path: str) -> list[dict[str, str]]:
        """The rows of a listing."""

        def read() -> list[dict[str, str]]:
            answer = self._once("GET", path)
            try:
                return answer.json()["ResultSet"]["Result"]
            except (ValueError, KeyError, TypeError):
                raise NotDataError(f"GET {path.split('?')[0]} at {_host(self.server)}: no table came.") from None

        return self._read(read)

    def _maybe(self, path: str) -> requests.Response | None:
        """The answer, or None where this server or this user does not get one."""
        try:
            return self._get(path)
        except (NotFoundError, RefusedError, ServerError):
            return None

    # -- settings -----------------------------------------------------------------------------------------------

    def version(self) -> str:
        """The server's version, "" where it does not tell."""
        answer = self._maybe("/xapi/siteConfig/buildInfo")
        try:
            return str(answer.json().get("version", "")) if answer is not None else ""
        except (ValueError, AttributeError):
            return ""

    def settings(self, project: str) -> Settings:
        """What decides how ``project`` takes data.

        Raises
        ------
        NotFoundError
            If the project does not exist for this user.
        """
        base = f"/data/projects/{_q(project)}"
        try:
            code = self._get(f"{base}/prearchive_code").text.strip()
        except NotFoundError:
            raise NotFoundError(
                f"The project {project} does not exist at {_host(self.server)} for {self.user}."
            ) from None
        except (RefusedError, ServerError):
            code = ""
        site_on = _flag(self._maybe("/xapi/anonymize/site/enabled"))
        project_on = _flag(self._maybe(f"/xapi/anonymize/projects/{_q(project)}/enabled"))
        return Settings(
            version=self.version(),
            prearchive_code=_number(code),
            quarantine_code=_number(_text(self._maybe(f"{base}/quarantine_code"))),
            site_script_on=site_on,
            project_script_on=project_on,
            site_script=_text(self._maybe("/xapi/anonymize/site")) if site_on else None,
            project_script=_text(self._maybe(f"/xapi/anonymize/projects/{_q(project)}")) if project_on else None,
            checksums=_flag(self._maybe("/xapi/siteConfig/checksums")),
            can_read=self.can(project, "read"),
            can_create=self.can(project, "create"),
        )

    def can(self, project: str, action: str, xsi_type: str = "xnat:mrSessionData") -> bool | None:
        """Whether this user may read, create, edit or delete sessions of that type; None: not told."""
        try:
            rows = self._table(f"/data/projects?permissions={action}&dataType={_q(xsi_type)}&format=json")
        except (NotFoundError, RefusedError, ServerError):
            return None
        return any(row.get("id", row.get("ID")) == project for row in rows)

    # -- listings -----------------------------------------------------------------------------------------------

    def subjects(self, project: str) -> list[dict]:
        """Rows with ``subject_id``, ``subject`` and ``project`` (the owner)."""
        rows = self._table(f"/data/projects/{_q(project)}/subjects?columns=ID,label,project&format=json")
        return [{"subject_id": row["ID"], "subject": row["label"], "project": row.get("project", "")} for row in rows]

    def sessions(self, project: str) -> list[dict]:
        """The image sessions of a project, owned and shared into it (keys: see ``SESSION_COLUMNS``).

        Raises
        ------
        NotFoundError
            If the project does not exist for this user.
        """
        try:
            rows = self._table(f"/data/projects/{_q(project)}/experiments?columns={_SESSION_COLUMNS}&format=json")
        except (NotFoundError, RefusedError) as problem:
            if isinstance(problem, RefusedError):
                raise
            raise NotFoundError(
                f"The project {project} does not exist at {_host(self.server)} for {self.user}."
            ) from None
        return [found for row in rows if (found := self._session(row, project))["xsi_type"].endswith("SessionData")]

    def _session(self, row: dict[str, str], project: str = "") -> dict:
        # The accession number has another key for each root type (XNAT source, QueryOrganizer); the URI always has it.
        owner = row.get("session_project") or row.get("project", "")
        return {
            "session_id": row.get("URI", "").rstrip("/").rpartition("/")[2]
            or row.get("ID")
            or row.get("session_ID", ""),
            "subject": row.get("subject_label", ""),
            "session": row.get("label") or row.get("session_label", ""),
            "project": owner,
            "shared": bool(project) and owner != project,
            "xsi_type": row.get("xsiType", ""),
            "modality": row.get("modality", ""),
            "date": row.get("date", ""),
            "StudyInstanceUID": row.get("UID", ""),
        }

    def scans(self, project: str) -> list[dict]:
        """The scans of all owned sessions in one request: one row per session, scan and scan resource."""
        columns = ",".join(["label", "subject_label", *(_SCAN + name for name in _SCAN_COLUMNS)])
        rows = self._table(
            f"/data/experiments?project={_q(project)}&xsiType=xnat:imageSessionData&columns={columns}&format=json"
        )
        found = []
        for row in rows:
            scan = row.get(_SCAN + "id", "")
            if scan:
                found.append(
                    {
                        "session_id": row.get("URI", "").rstrip("/").rpartition("/")[2] or row.get("session_ID", ""),
                        "scan": scan,
                        "type": row.get(_SCAN + "type", ""),
                        "quality": row.get(_SCAN + "quality", ""),
                        "series_description": row.get(_SCAN + "series_description", ""),
                        "note": row.get(_SCAN + "note", ""),
                        "frames": row.get(_SCAN + "frames", ""),
                        "SeriesInstanceUID": row.get(_SCAN + "uid", ""),
                        "resource": row.get(_SCAN + "file/label", ""),
                    }
                )
        return found

    def files(self, session_ids: Sequence[str]) -> list[dict]:
        """All scan files of some sessions, some dozens of sessions a request.

        XNAT leaves out unknown and unreadable sessions of a list without a word: whoever asks counts.
        """
        return self._many_files(session_ids, "/scans/ALL/files?format=json")

    def session_resources(self, session_ids: Sequence[str]) -> list[dict]:
        """The files of the sessions' own resources, with ``scan`` empty."""
        return self._many_files(session_ids, "/files?format=json")

    def _many_files(self, session_ids: Sequence[str], rest: str) -> list[dict]:
        found = []
        for some in _chunks([_q(one) for one in session_ids], URL_BYTES):
            try:
                rows = self._table(f"/data/experiments/{','.join(some)}{rest}")
            except NotFoundError:
                continue
            found += [_file(row) for row in rows]
        return found

    def prearchive(self, project: str) -> list[dict]:
        """The rows that wait in the prearchive of a project (keys: ``PREARCHIVE_COLUMNS``); none without the right."""
        try:
            rows = self._table(f"/data/prearchive/projects/{_q(project)}?format=json")
        except (NotFoundError, RefusedError):
            return []
        return [_waiting(row) for row in rows if row.get("project") == project]

    def sessions_with_uid(self, uid: str) -> list[dict]:
        """Sessions of that study in any project this user can see."""
        if not uid:
            return []
        rows = self._table(f"/data/experiments?UID={_q(uid)}&columns={_SESSION_COLUMNS}&format=json")
        return [found for found in map(self._session, rows) if found["StudyInstanceUID"] == uid]

    def sessions_with_label(self, project: str, label: str) -> list[dict]:
        """Sessions of a project, owned or shared into it, with exactly that label."""
        rows = self._table(
            f"/data/projects/{_q(project)}/experiments?label={_q(label)}&columns={_SESSION_COLUMNS}&format=json"
        )
        return [found for row in rows if (found := self._session(row, project))["session"] == label]

    # -- streams ------------------------------------------------------------------------------------------------

    def open_scan(self, session_id: str, scan: str, resource: str):
        """A context with the chunks of the zip of one scan resource."""
        return self._stream(
            f"/data/experiments/{_q(session_id)}/scans/{_scan_segment(scan)}/resources/{_q(resource)}/files?format=zip"
        )

    def open_session(self, session_id: str):
        """A context with the chunks of the zip of all scans of a session."""
        return self._stream(f"/data/experiments/{_q(session_id)}/scans/ALL/files?format=zip")

    def open_prearchive(self, uri: str):
        """A context with the chunks of the zip of a prearchive folder."""
        return self._stream(f"/data{_path(uri)}?format=zip")

    def open_prearchive_file(self, uri: str, scan: str, resource: str, path: str):
        """A context with the chunks of one file of the prearchive."""
        at = f"/data{_path(uri)}/scans/{_scan_segment(scan)}/resources/{_q(resource)}/files/{quote(path)}"
        return self._stream(at)

    def open_file(self, uri: str):
        """A context with the chunks of one file, by the URI of a listing (which is encoded already)."""
        return self._stream(uri)

    @contextlib.contextmanager
    def _stream(self, path: str) -> Iterator[Iterator[bytes]]:
        answer = self._read(lambda: self._once("GET", path, stream=True))
        where = f"GET {path.split('?')[0]} at {_host(self.server)}"

        def chunks() -> Iterator[bytes]:
            expected = answer.headers.get("Content-Length")
            got = 0
            try:
                for chunk in answer.iter_content(_CHUNK):
                    got += len(chunk)
                    yield chunk
            except (requests.RequestException, OSError) as problem:
                raise TransientError(f"{where}: the stream broke off ({type(problem).__name__}).") from None
            told = expected is not None and expected.isdigit() and not answer.headers.get("Content-Encoding")
            if told and got != int(expected):
                raise TransientError(f"{where}: the stream broke off after {got} of {expected} bytes.")

        try:
            yield chunks()
        finally:
            answer.close()

    # -- writes: never repeated here ----------------------------------------------------------------------------

    def import_zip(
        self,
        *,
        project: str,
        subject: str,
        session: str,
        size_bytes: int,
        body: Callable[[], Iterable[bytes]],
        reason: str = "",
    ) -> list[str]:
        """Send one DICOM-zip into the prearchive; sent once, whatever comes back.

        The labels go as ``PROJECT_ID``, ``SUBJECT_ID`` and ``EXPT_LABEL``, which old and new servers honour. The row
        stays RECEIVING until :meth:`build` (XNAT source, ``DicomZipImporter``; the pattern of the Desktop Client).

        Returns
        -------
        list of str
            Addresses of prearchive rows, without ``/data``. Empty: the server stored nothing.
        """
        query = {
            "import-handler": "DICOM-zip",
            "PROJECT_ID": project,
            "SUBJECT_ID": subject,
            "EXPT_LABEL": session,
            "prevent_auto_commit": "true",
            "SOURCE": "uploader",
            "inbody": "true",
            **_event(reason),
        }
        answer = self._once(
            "POST",
            "/data/services/import?" + "&".join(f"{name}={_q(value)}" for name, value in query.items()),
            data=_Body(body(), size_bytes),
            headers={"Content-Type": "application/zip", "Accept": "text/uri-list"},
        )
        return [_path(line) for line in answer.text.split() if line.strip()]

    def build(self, uri: str) -> None:
        """Have the session document of a prearchive row built; the row is READY after."""
        self._once("POST", f"/data{_path(uri)}?action=build")

    def validate_archive(self, uri: str) -> list[dict]:
        """What the server would object to: rows with ``code``, ``type`` and ``message``. Changes nothing."""

        def ask() -> list[dict]:
            answer = self._once("POST", f"/data/services/validate-archive?src={_q(_path(uri))}&format=json")
            with self._lock:
                self.writes -= 1
            try:
                return answer.json()["ResultSet"]["Result"]
            except (ValueError, KeyError, TypeError):
                raise NotDataError(f"validate-archive at {_host(self.server)}: no table came.") from None

        return self._read(ask)

    def archive(self, uri: str, *, overwrite: str | None = None, reason: str = "") -> str:
        """Archive one prearchive row; sent once, whatever comes back. Returns the address of the session."""
        query = {"src": _path(uri), "auto-archive": "false", **_event(reason)}
        if overwrite:
            query["overwrite"] = overwrite
        answer = self._once(
            "POST", "/data/services/archive?" + "&".join(f"{name}={_q(value)}" for name, value in query.items())
        )
        return answer.text.strip()

    # -- prearchive ---------------------------------------------------------------------------------------------

    def prearchive_row(self, uri: str) -> dict | None:
        """One prearchive row, or None where it is gone."""
        try:
            rows = self._table(f"/data{_path(uri)}?format=json")
        except NotFoundError:
            return None
        return _waiting(rows[0]) if rows else None

    def prearchive_resources(self, uri: str) -> list[dict]:
        """The scan resources of a row: ``scan``, ``resource``, ``files`` and ``size_bytes``."""
        base = f"/data{_path(uri)}"
        try:
            rows = self._table(f"{base}/resources?format=json")
            found = [(row["cat_id"], row) for row in rows if row.get("category", "scans") == "scans"]
        except (ServerError, NotFoundError, KeyError):
            found = []
            for scan in self._table(f"{base}/scans?format=json"):
                at = f"{base}/scans/{_scan_segment(scan['ID'])}/resources?format=json"
                found += [(scan["ID"], row) for row in self._table(at)]
        return [
            {
                "scan": scan,
                "resource": row.get("label", ""),
                "files": _number(row.get("file_count", "")) or 0,
                "size_bytes": _number(row.get("file_size", "")) or 0,
            }
            for scan, row in found
        ]

    def prearchive_files(self, uri: str, scan: str, resource: str = "DICOM") -> list[dict]:
        """The files of one scan resource of a row: ``path`` and ``size_bytes``; there are no digests there."""
        at = f"/data{_path(uri)}/scans/{_scan_segment(scan)}/resources/{_q(resource)}/files?format=json"
        return [{"path": row["Name"], "size_bytes": _number(row.get("Size", "")) or 0} for row in self._table(at)]


class _Body:
    """A request body of a known length that is made while it is sent."""

    def __init__(self, chunks: Iterable[bytes], size_bytes: int) -> None:
        self._chunks = iter(chunks)
        self._size = size_bytes
        self._rest = b""

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size or size < 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest = self._rest + chunk if self._rest else bytes(chunk)
        if size < 0:
            found, self._rest = self._rest, b""
        else:
            found, self._rest = self._rest[:size], self._rest[size:]
        return found


def _event(reason: str) -> dict[str, str]:
    if not reason:
        return {}
    return {"event_reason": reason, "event_type": "PROCESS", "event_action": "xnbtransfer", "event_comment": reason}


def _path(uri: str) -> str:
    path = urlsplit(uri.strip()).path if "://" in uri else uri.strip()
    return path.removeprefix("/data")


def _retry_after(answer: requests.Response) -> float | None:
    asked = answer.headers.get("Retry-After", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        return None


def _text(answer: requests.Response | None) -> str | None:
    return None if answer is None else answer.text


def _flag(answer: requests.Response | None) -> bool | None:
    text = (_text(answer) or "").strip().strip('"').lower()
    return {"true": True, "false": False}.get(text)


def _number(text: str | None) -> int | None:
    try:
        return int(float(str(text).strip()))
    except ValueError:
        return None


def _waiting(row: dict[str, str]) -> dict:
    return {
        "project": row.get("project", ""),
        "subject": row.get("subject", ""),
        "session": row.get("name", ""),
        "status": row.get("status", ""),
        "StudyInstanceUID": row.get("tag", ""),
        "uri": row.get("url", ""),
        "uploaded": row.get("uploaded", ""),
    }


def _file(row: dict[str, str]) -> dict:
    # /data/experiments/E/scans/S/resources/R/files/PATH; without /scans/S for a resource of the session.
    address = row["URI"]
    head, _, path = address.partition("/files/")
    parts = head.split("/")
    scan = unquote(parts[parts.index("scans") + 1]) if "scans" in parts else ""
    return {
        "session_id": unquote(parts[parts.index("experiments") + 1]),
        "scan": scan.replace("[COMMA]", ",").replace("[SLASH]", "/"),
        "resource": row.get("collection", ""),
        "path": unquote(path),
        "size_bytes": _number(row.get("Size", "")) or 0,
        "md5": (row.get("digest") or "").lower(),
        "format": row.get("file_format", ""),
        "uri": address,
    }


def _chunks(words: Sequence[str], limit: int) -> Iterator[list[str]]:
    some: list[str] = []
    length = 0
    for word in words:
        if some and (length + len(word) + 1 > limit or len(some) >= 100):
            yield some
            some, length = [], 0
        some.append(word)
        length += len(word) + 1
    if some:
        yield some
