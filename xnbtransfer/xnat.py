"""All HTTP to an XNAT: a Connection on top of an xnatpy session.

Listings are bulk queries, so that the number of requests does not grow with the number of sessions.
Labels are text, compared exactly. Each request is of a form of ``forms``, which names the evidence; where versions of
XNAT differ, both answers are understood.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from requests import Response

from . import forms
from ._http import Http, steady_s
from ._items import Items
from ._login import address, credentials, end_session, keep_alive_quietly, open_session, provider
from ._rows import (
    accession,
    cell,
    chunked,
    file_row,
    filled,
    json_of,
    modality_of,
    scan_row,
    without_data,
)
from ._scans import ScanColumns, refused
from ._settings import USUAL_TYPE as USUAL_TYPE
from ._settings import Told
from ._store import Store
from ._waiting import Waiting
from .errors import EmptyAnswerError, NotDataError, NotFoundError, RefusedError, ServerError
from .markup import Html, Shown, pairs

_THREADS = 8
_UID_REQUESTS = 5  # lists of UIDs that are asked for one by one
EMPTY_TRIES = 3  # how often a list is asked for whose answer is 200 with nothing
EMPTY_PAUSE_S = 0.5
_RIGHTS_S = 60.0  # how long an answer about the right to read is believed
_SESSION_COLUMNS = ",".join(forms.SESSION_COLUMNS)


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
    """Log in to an XNAT.

    Each of server, user and password is the argument, else ``XNAT_<SIDE>_HOST|USER|PASS``, else
    ``XNAT_HOST|USER|PASS``; user and password else come from ``.netrc`` (``NETRC`` is honoured), else from a keyring
    (if the package of that name is installed), else from a prompt if somebody is there. A user name that is an alias
    token is understood. Of several login providers ``XNAT_<SIDE>_PROVIDER``, else ``XNAT_PROVIDER``, names one.

    Parameters
    ----------
    side : {"", "source", "destination"}
        Names the environment variables and the error messages.
    timeout_s, read_timeout_s : float
        Seconds to connect, and seconds between two bytes of an answer.
    pool : int
        Connections kept open at one time.
    prompt : bool
        Whether a missing password may be asked for.

    Raises
    ------
    InputError
        No address, or one that is none.
    LoginError
        No credentials, or refused ones.
    TransientError
        The host cannot be reached.
    """
    where = address(side, server)
    name, secret = credentials(side, where, user, password, prompt)
    return _logged_in(where, name, secret, provider(side), (timeout_s, read_timeout_s), pool)


class Pair(NamedTuple):
    """The logins of a transfer; a context manager that closes both at the same time."""

    source: Connection
    destination: Connection

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *problem) -> None:
        with ThreadPoolExecutor(2) as threads:
            for connection in self:
                threads.submit(connection.close)


def connect_sides(source_server: str = "", destination_server: str = "") -> Pair:
    """Log in to the source and to the destination of a transfer, at the same time; else as :func:`connect`."""
    asked = []
    for side, server in (("source", source_server), ("destination", destination_server)):
        where = address(side, server)
        asked.append((where, *credentials(side, where, "", "", True), provider(side)))
    with ThreadPoolExecutor(2) as threads:
        logins = [threads.submit(_logged_in, *one) for one in asked]
    for one, other in (logins, logins[::-1]):
        if one.exception() is not None and other.exception() is None:
            other.result().close()
    return Pair(logins[0].result(), logins[1].result())


def _logged_in(
    server: str,
    user: str,
    password: str,
    login_provider: str = "",
    timeout: tuple[float, float] = (60.0, 600.0),
    pool: int = 16,
) -> Connection:
    session, effective, renew = open_session(server, user, password, login_provider, timeout, pool)
    return Connection(session, effective, renew, timeout)


class Connection(Shown, Items, Store, Waiting, Told):
    """A login at one XNAT. Thread-safe; a context manager that closes the login; never pickled.

    Attributes
    ----------
    server : str
        Its address, without a slash at the end.
    user : str
        The user as the server names it.
    requests, writes : int
        Requests sent so far, and how many of them change something.
    """

    def __init__(self, session, server: str, renew: Callable[[], None], timeout: tuple[float, float]) -> None:
        self._session = session
        self._http = Http(session.interface, server, renew, timeout)
        self.server = server
        self.user = str(session.logged_in_user)
        self._http.user = self.user
        self._version: str | None = None
        self._asks_version = threading.RLock()
        self._scans = ScanColumns()
        self._reads: dict[str, tuple[bool, float]] = {}  # project: whether it may be read, and until when that counts
        self._tells_subjects = True  # whether a list of sessions may name whose their subjects are
        keep_alive_quietly(session, lambda: self._http.read(forms.WHO()))

    def line(self) -> str:
        return f"Connection {self.user} at {self.server}"

    def card(self) -> Html:
        """Who is logged in where; no server is asked for it."""
        told = {"server": self.server, "user": self.user, **({"XNAT": self._version} if self._version else {})}
        return pairs({**told, "requests so far": f"{self.requests}, {self.writes} of them writes"}, "Login")

    def __reduce__(self):
        raise TypeError("A Connection holds a login and is not pickled; connect again instead.")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *problem) -> None:
        self.close()

    def close(self) -> None:
        """End the login at the server and free its connections."""
        end_session(self._session, self.server)

    @property
    def requests(self) -> int:
        return self._http.requests

    @property
    def writes(self) -> int:
        return self._http.writes

    def server_time(self) -> float | None:
        """Seconds since 1970 by the server's own clock, from the Date of its last answer; None where it tells none.

        An origin server with a clock sends a Date (RFC 9110, 6.6.1); to the second.
        """
        if self._http.told_time is None:
            return None
        said, then = self._http.told_time
        return said + steady_s() - then

    def projects(self) -> list[str]:
        """IDs of the projects that this user may read, sorted."""
        rows = self._table(forms.PROJECTS())
        return sorted({cell(row, "ID") or cell(row, "id") for row in rows} - {""})

    def subjects(self, project: str) -> list[dict]:
        """Subjects owned and shared in: subject, subject_id, project (the owner), shared."""
        rows = self._table(forms.SUBJECTS(project=project))
        return [
            {
                "subject": cell(row, "label"),
                "subject_id": accession(row),
                "project": cell(row, "project") or project,
                "shared": cell(row, "project") not in ("", project),
            }
            for row in rows
        ]

    def sessions(self, project: str) -> list[dict]:
        """Image sessions owned and shared in, by the labels they and their subjects have in this project.

        One request; a second where a session is shared in, and one more where a subject is that has sessions of its own
        here: asking for session-level columns makes some servers show the labels of the owner.
        """
        rows = self._sessions_listed(project)
        return self._by_labels_here(project, {accession(row): row for row in rows})

    def _sessions_listed(self, project: str, query: Mapping[str, str] | None = None) -> list[dict]:
        """Image sessions of a project with whose their subjects are, where this server serves that; else without."""
        self._http.first = forms.PROJECT(project=project)
        if self._tells_subjects:
            try:
                request = forms.SESSIONS(query, project=project)
                return self._table(request, patient=False, tries=1)
            except ServerError as problem:
                if not refused(problem):
                    raise
        rows = self._table(forms.SESSIONS({**(query or {}), "columns": _SESSION_COLUMNS}, project=project))
        self._tells_subjects = False
        return rows

    def _by_labels_here(self, project: str, detailed: dict[str, dict]) -> list[dict]:
        if all(cell(row, "session_project") == project for row in detailed.values()):
            found = [self._session_row(row, project, row) for row in detailed.values()]
            return self._with_subjects_here(project, found, detailed, {})
        named = {accession(row): row for row in self._table(forms.NAMES(project=project))}
        found = [
            self._session_row({**detailed[name], **filled(row)}, project, detailed[name])
            for name, row in named.items()
            if name in detailed
        ]
        if detailed and not any(cell(row, "session_project") for row in detailed.values()):
            owned = {accession(row) for row in self._table(forms.OWNED({"project": project}))}
            for row in found:
                row["shared"] = row["shared"] or row["session_id"] not in owned
        return self._with_subjects_here(project, found, detailed, named)

    def _with_subjects_here(
        self, project: str, found: list[dict], detailed: Mapping[str, dict], named: Mapping[str, dict]
    ) -> list[dict]:
        """The sessions with the labels that their subjects have in this project.

        Lists of sessions name a subject of another project as its owner does, those of the project's own sessions, too
        (recorded from 1.8.11: client-forms 147 to 149), and a list without session-level columns names the subject of
        a session that is shared in as it is called here, from 1.7 on: there it gives this project in place of the
        owner. Where neither settles it, one request more, and one for each subject that is shared in where the server
        does not say which subject a session is of.
        """

        def settled(row: dict) -> bool:
            detail = detailed[row["session_id"]]
            owned = cell(detail, "session_project") == project
            renamed = cell(named.get(row["session_id"], {}), "project") == project
            return cell(detail, "subject_project") == project or (not owned and renamed)

        doubtful = [row for row in found if not settled(row)]
        if not doubtful:
            return found
        subjects = {one["subject_id"]: one for one in self.subjects(project) if one["shared"] and one["subject_id"]}
        if all(cell(detailed[row["session_id"]], "subject_ID") for row in doubtful):
            here = {row["session_id"]: cell(detailed[row["session_id"]], "subject_ID") for row in doubtful}
        else:
            here = {name: one for one in subjects for name in self._below(project, one)}
        for row in doubtful:
            subject = subjects.get(here.get(row["session_id"], ""))
            row["subject"] = subject["subject"] if subject else row["subject"]
        return found

    def _below(self, project: str, subject_id: str) -> list[str]:
        """The accessions of what is listed below a subject that a project has been shown."""
        below = forms.EXPERIMENTS_BELOW(item=forms.subject_path(project, subject_id))
        try:
            return [accession(row) for row in self._table(below)]
        except NotFoundError:
            raise ServerError(
                f"{self._http.host} lists the subject {subject_id} of {project}, and does not find it.", "Run again."
            ) from None

    def scans(self, project: str) -> list[dict]:
        """One row per scan and resource of all image sessions of a project. One request, the first time up to four.

        ``files`` and ``size_bytes`` are None, and ``format``, ``xsi_type`` and ``modality`` "", where the server does
        not serve them in such a list: ``given_up`` says which. Labels of shared sessions may be those of the owner:
        join by ``session_id``.
        """

        def ask(columns: Sequence[str], last: bool) -> list[dict]:
            request = forms.SCANS({"columns": ",".join(columns)}, project=project)
            return self._table(request, patient=last, tries=EMPTY_TRIES if last else 1)

        return [row for row in map(scan_row, self._scans.ask(ask)) if row["scan"]]

    @property
    def given_up(self) -> tuple[str, ...]:
        """What this server does not list of scans and sessions, in words; known once ``scans`` and ``sessions`` were
        asked.
        """
        subjects = () if self._tells_subjects else ("whose the subjects of sessions are",)
        return (*self._scans.given_up, *subjects)

    def files(self, session_ids: Sequence[str]) -> list[dict]:
        """Files of all scans of some sessions. One request per some dozens of sessions.

        Of several a session that does not exist or may not be read is left out by the server without a word: count per
        session. ``path`` is relative to the resource, ``md5`` is "" where the server lists none.

        Raises
        ------
        NotFoundError
            One session was asked for, and is not found.
        """
        return self._files(session_ids, forms.SCAN_FILES_OF)

    def files_of(self, address: str) -> list[dict]:
        """Files of all scans of the session at an address that the server gave.

        Where the session has no scan, XNAT lists the files of its subject under this address (recorded, "W14").

        Raises
        ------
        NotFoundError
            Nothing is found there: that is no session without files.
        """
        rows = self._table(forms.ADDRESSED_FILES(owned=f"/data{quote(without_data(address))}"))
        return [file_row(row, "") for row in rows if "/experiments/" in cell(row, "URI")]

    def session_resources(self, session_ids: Sequence[str]) -> list[dict]:
        """Files of the sessions' own resources, as ``files`` but with scan ""."""
        return [row for row in self._files(session_ids, forms.FILES_OF) if not row["scan"]]

    def sessions_with_uid(self, uid: str) -> list[dict]:
        """Image sessions with this StudyInstanceUID, in any project this user can see."""
        return self.sessions_with_uids([uid])

    def sessions_with_uids(self, uids: Iterable[str]) -> list[dict]:
        """Image sessions with one of these StudyInstanceUIDs, in any project this user can see.

        A few requests at most: above some two hundred UIDs all visible sessions are listed once instead.
        """
        wanted = set(uids) - {""}
        chunks = [",".join(chunk) for chunk in chunked(sorted(wanted))]
        asks = [{"UID": chunk} for chunk in chunks] if len(chunks) <= _UID_REQUESTS else [{}]
        rows = [row for ask in asks for row in self._table(forms.STUDIES(ask))]
        return [self._session_row(row, "", row) for row in rows if cell(row, "UID") in wanted]

    def own_sessions(self, project: str, label: str) -> list[dict]:
        """Image sessions of exactly this label that the project itself owns; subjects by the labels of their owners.

        The list names each session by its owner's label, those that are shared in among them, and filters by that
        (recorded from a live 1.8.11), so the rows of other owners are dropped.
        """
        query = _by_label(label) | {"columns": _SESSION_COLUMNS}
        rows = self._table(forms.SESSIONS(query, project=project))
        return [self._session_row(row, project, row) for row in self._owned(rows, project, label)]

    def _owned(self, rows: Iterable[dict], project: str, label: str) -> list[dict]:
        return [row for row in rows if cell(row, "label") == label and self._owner(row) == project]

    def _owner(self, row: dict) -> str:
        """The project that owns a listed session; the session itself tells it where the list does not."""
        if told := cell(row, "session_project"):
            return told
        item = self.session_item(accession(row))
        if item is None:
            raise ServerError(
                f"{self._http.host} lists the session {accession(row)}, and does not find it.", "Run again.", status=404
            )
        return item["project"]

    def sessions_with_label(self, project: str, label: str) -> list[dict]:
        """Image sessions that have exactly this label in a project, owned or shared in.

        Asked by its address below the project, which knows the labels of shares, too (XNAT source,
        ``XnatExperimentdata.GetExptByProjectIdentifier``); no filter of a list does.
        """
        there = self.session_at(project, label)
        if there is None:
            return []
        if there["project"] != project:
            found = [row for row in self.sessions(project) if row["session"] == label]
        else:
            rows = self._owned(self._sessions_listed(project, _by_label(label)), project, label)
            found = [self._session_row(row, project, row) for row in rows]
            found = self._with_subjects_here(project, found, {accession(row): row for row in rows}, {})
        return found or [_unlisted(there, project, label)]

    def _check_free(self, project: str, label: str) -> None:
        """Ask the list of a project about a label that was not found by its address: one answer alone proves nothing.

        The list filters by owners' labels (form F31), so it says nothing of a session that is shared in.

        Raises
        ------
        ServerError
            The project's list has a session of this label.
        RefusedError
            This user may not read the project's sessions, so that a list without a row says nothing.
        """
        if rows := self._owned(self._sessions_listed(project, _by_label(label)), project, label):
            raise ServerError(
                f"{self._http.host} lists the session {accession(rows[0])} as {label} in {project}, and does not find "
                "it by that label.",
                "Run again; if it stays so, show it to the administrator of the server.",
                status=404,
            )
        if not self._may_read(project):
            raise RefusedError(
                f"{self.user} has no right to read {project} now, so that no label of {project} can be called free.",
                "Ask the project's owner for the right to read, then run again.",
            )

    def _may_read(self, project: str) -> bool:
        """Whether this user may read sessions of a project, as the list of rights says it, or what is listed; asked
        again after ``_RIGHTS_S``.
        """
        may, until = self._reads.get(project, (False, 0.0))
        if steady_s() >= until:
            may = self.can(project, "read") is not False or self._lists_sessions(project)
            self._reads[project] = may, steady_s() + _RIGHTS_S
        return may

    def open_scan(self, session_id: str, scan: str, resource: str):
        """A zip of one resource of a scan, as a context manager that yields its pieces."""
        return self._http.stream(self._scan_zip(session_id, scan, resource))

    def open_scan_file(self, session_id: str, scan: str, resource: str, path: str):
        """One file of a scan, as a context manager that yields its pieces; leaving it early reads no further."""
        item = forms.archived_path(session_id, scan)
        number = self._catalog(item, resource) or resource
        if self._in_zip_only(item, number, path):
            return self._out_of_zip(self._scan_zip(session_id, scan, resource), f"/files/{path}")
        request = forms.SCAN_FILE(session=session_id, scan=scan, resource=number, file=path)
        return self._http.stream(request, zipped=False)

    def _scan_zip(self, session_id: str, scan: str, resource: str) -> forms.Request:
        number = self._catalog(forms.archived_path(session_id, scan), resource) or resource
        return forms.SCAN_ZIP(session=session_id, scan=scan, resource=number)

    def header_dump(self, project: str, session_id: str, scan: str) -> list[dict]:
        """The header of one file of a scan as the server reads it: tag1, tag2, vr, value.

        XNAT source, ``DicomDump`` and ``DicomHeaderDump``: long values are cut, binary ones empty, of nested elements
        ``tag1`` names the innermost sequence only, and text may be escaped for HTML.

        Raises
        ------
        NotFoundError, ServerError, RefusedError
            Where the server has no such service, or no such scan.
        """
        source = f"/archive/projects/{project}/experiments/{session_id}/scans/{scan}"
        rows = self._table(forms.HEADER({"src": source}), patient=False)
        return [{name: cell(row, name) for name in ("tag1", "tag2", "vr", "value")} for row in rows]

    def open_session(self, session_id: str):
        """A zip of all scans of a session, as a context manager that yields its pieces."""
        return self._http.stream(forms.SESSION_ZIP(session=session_id))

    def open_file(self, uri: str):
        """One file by the ``uri`` of a file list, as a context manager that yields its pieces."""
        prefix = urlsplit(self.server).path.rstrip("/")
        if prefix and uri.startswith(f"{prefix}/"):
            uri = uri[len(prefix) :]
        where, _, path = uri.partition("/files/")
        item, _, resource = where.rpartition("/resources/")
        if item and self._in_zip_only(item, unquote(resource), unquote(path)):
            return self._out_of_zip(forms.LISTED_ZIP(uri=f"{where}/files"), f"/files/{unquote(path)}")
        return self._http.stream(forms.LISTED_FILE(uri=uri), zipped=False)

    def answer(self, request: forms.Request) -> Response:
        """The answer to one read as it comes, asked once; for a check of the server.

        Raises
        ------
        XnbTransferError
            Whatever refuses or fails.
        """
        return self._http.read(request, patient=False)

    def _told(self, request: forms.Request) -> Response | None:
        """The answer to a question the server may leave open, or None."""
        try:
            return self._http.read(request, patient=False)
        except (NotFoundError, RefusedError, ServerError):
            return None

    def _files(self, session_ids: Sequence[str], form: forms.Form) -> list[dict]:
        chunks = list(chunked(session_ids))

        def listed(chunk: list[str]) -> list[dict]:
            try:
                rows = self._table(form(sessions=",".join(chunk)))
            except (NotFoundError, ServerError) as problem:
                if getattr(problem, "status", 404) not in (404, 500):
                    raise
                having = [one for one in chunk if self._has_files(one, form, alone=len(session_ids) == 1)]
                if having == chunk:
                    raise
                return listed(having) if having else []
            alone = chunk[0] if len(chunk) == 1 else ""
            return [file_row(row, alone) for row in rows if "/experiments/" in cell(row, "URI")]

        if len(chunks) < 2:
            return [row for chunk in chunks for row in listed(chunk)]
        with ThreadPoolExecutor(_THREADS) as threads:
            return [row for rows in threads.map(listed, chunks) for row in rows]

    def _has_files(self, session_id: str, form: forms.Form, *, alone: bool) -> bool:
        """Whether a session has what such a list is of: one whose sessions all have none is 500 from 1.8, and 404 is
        believed as little.

        XNAT source, ``FileList`` line 526, with neither a parent nor a project; recorded, "W4 sessions without scans".
        """
        try:
            if form is not forms.FILES_OF:
                return bool(self.scan_list(session_id))
            there = self.session_item(session_id) is not None
        except (NotFoundError, ServerError) as problem:
            if getattr(problem, "status", 404) not in (404, 500) or self.session_item(session_id) is not None:
                raise
            there = False
        if alone and not there:
            raise NotFoundError(f"{self._http.host} does not find the session {session_id}.")
        return there

    def _table(self, request: forms.Request, *, patient: bool = True, tries: int = EMPTY_TRIES) -> list[dict]:
        """The rows of a list. 200 with no byte is how XNAT says that it failed, and is asked for again.

        XNAT source, ``ProjSubExptList`` lines 420-427: every exception ends so. No list was ever answered with 204.

        Raises
        ------
        EmptyAnswerError
            It came ``tries`` times.
        """
        for turn in range(tries):
            if turn:
                time.sleep(EMPTY_PAUSE_S * turn)
            answer = self._http.read(request, patient=patient)
            if answer.content:
                return self._rows(answer, request)
        columns = request.query.get("columns", "").split(",") if request.query.get("columns") else []
        asked = f" with the columns {', '.join(one.rpartition('/')[2] for one in columns)}" if columns else ""
        raise EmptyAnswerError(
            f"{self._http.host} answered the list {request.path}{asked} with {answer.status_code} and nothing in it.",
            status=200,
        )

    def _rows(self, answer: Response, request: forms.Request) -> list[dict]:
        try:
            rows = json_of(answer)["ResultSet"]["Result"]
        except (ValueError, KeyError, TypeError):
            rows = None
        if not isinstance(rows, list):
            raise NotDataError(f"{self._http.host} answered {request.path} with something that is no list.", status=200)
        return rows

    def _session_row(self, row: dict, project: str, detail: dict) -> dict:
        owner = cell(detail, "session_project") or cell(row, "project") or project
        return {
            "session_id": accession(row),
            "subject": cell(row, "subject_label"),
            "session": cell(row, "label"),
            "project": owner,
            "xsi_type": cell(row, "xsiType"),
            "modality": cell(detail, "modality") or modality_of(cell(row, "xsiType") or cell(detail, "xsiType")),
            "date": cell(row, "date"),
            "StudyInstanceUID": cell(detail, "UID"),
            "shared": bool(project) and owner != project,
        }


def _unlisted(item: Mapping, project: str, label: str) -> dict:
    """A row as of ``Connection.sessions`` for what has a label and is in no list: the label is taken all the same.

    ``subject`` and ``date`` are "": an item names its subject by accession.
    """
    return {
        "session_id": item["id"],
        "subject": "",
        "session": label,
        "project": item["project"],
        "xsi_type": item["xsi_type"],
        "modality": modality_of(item["xsi_type"]),
        "date": "",
        "StudyInstanceUID": item["StudyInstanceUID"],
        "shared": item["project"] != project,
    }


def _by_label(label: str) -> dict[str, str]:
    return {} if set(label) & set(",*%") else {"label": label}
