"""All HTTP to an XNAT: a Connection on top of an xnatpy session.

Listings are bulk queries, so that the number of requests does not grow with the number of sessions.
Labels are text, compared exactly and quoted here only. Facts about the server come from XNAT 1.8's source
and from recordings of a live 1.6.4; where the two differ, both answers are understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import requests

from ._http import Http, SizedBody, quoted
from ._items import Items
from ._login import address, credentials, end_session, keep_alive_quietly, open_session
from ._rows import (
    accession,
    cell,
    chunked,
    event,
    file_row,
    filled,
    integer,
    is_json,
    number,
    path_in_resource,
    prearchive_path,
    prearchive_row,
    scan_row,
    scan_segment,
    session_path,
    truth,
    without_data,
)
from ._store import Store
from .errors import NotDataError, NotFoundError, RefusedError, ServerError
from .values import Settings

_THREADS = 8
_UID_REQUESTS = 5  # lists of UIDs that are asked for one by one
_IMAGE_SESSION = "xnat:imageSessionData"
_SESSION_COLUMNS = "label,project,subject_label,date,modality,UID,session_project"
_SCAN_COLUMNS = (
    "project,label,subject_label,xnat:imagescandata/id,xnat:imagescandata/uid,xnat:imagescandata/type,"
    "xnat:imagescandata/quality,xnat:imagescandata/frames,xnat:imagescandata/note,"
    "xnat:imagescandata/series_description,xnat:imagescandata/file/label"
)
_SCAN_FILES = ",".join(f"xnat:imagescandata/file/{name}" for name in ("file_count", "file_size", "format"))
# What is asked of all scans of a project, the most first: a server refuses the whole list for one column it lacks.
_SCAN_ASKED = (
    f"{_SCAN_COLUMNS},{_SCAN_FILES},xnat:imagescandata/modality",
    f"{_SCAN_COLUMNS},{_SCAN_FILES}",
    _SCAN_COLUMNS,
)
_CONTENTS = {"contents": "true", "accept-not-found": "true"}
_ARCHIVE_TIMEOUT_S = 900.0  # XNAT itself waits up to 600 s for its archiver


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
    token is understood.

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
    return _logged_in(where, name, secret, (timeout_s, read_timeout_s), pool)


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
        asked.append((where, *credentials(side, where, "", "", True)))
    with ThreadPoolExecutor(2) as threads:
        logins = [threads.submit(_logged_in, *one) for one in asked]
    for one, other in (logins, logins[::-1]):
        if one.exception() is not None and other.exception() is None:
            other.result().close()
    return Pair(logins[0].result(), logins[1].result())


def _logged_in(
    server: str, user: str, password: str, timeout: tuple[float, float] = (60.0, 600.0), pool: int = 16
) -> Connection:
    session, effective, renew = open_session(server, user, password, timeout, pool)
    return Connection(session, effective, renew, timeout)


class Connection(Items, Store):
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
        self._version: str | None = None
        self._scan_asked = 0
        keep_alive_quietly(session, lambda: session.interface.get(f"{server}/data/JSESSION", timeout=10))

    def __repr__(self) -> str:
        return f"<Connection {self.user} at {self.server}>"

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

    def version(self) -> str:
        """XNAT's version, "" where it does not tell. Asked once."""
        if self._version is None:
            found = self._told("/xapi/siteConfig/buildInfo", {"format": "json"})
            version = found.json().get("version", "") if found is not None and is_json(found) else ""
            if not version:
                found = self._told("/data/version")
                version = found.text.strip() if found is not None else ""
            self._version = str(version)
        return self._version

    def settings(self, project: str, *, gives: bool = False) -> Settings:
        """What decides how a project takes data; None where the server does not tell.

        Parameters
        ----------
        gives : bool
            Whether data is only taken from the project: what decides how it takes data is not asked then.

        Raises
        ------
        NotFoundError
            The project is not visible for this user.
        """
        place = f"/data/projects/{quoted(project)}"
        anon = f"/xapi/anonymize/projects/{quoted(project)}"
        asks: dict[str, Callable] = {
            "version": self.version,
            "checksums": lambda: truth(self._told("/xapi/siteConfig/checksums")),
            "can_read": lambda: self.can(project, "read"),
        }
        takes: dict[str, Callable] = {
            # those of several requests first
            "site": lambda: self._script(
                "/xapi/anonymize/site/enabled", "/xapi/anonymize/site", "/data/config/anon/script"
            ),
            "project": lambda: self._script(f"{anon}/enabled", anon, f"{place}/config/anon/projects/{quoted(project)}"),
            "filters": lambda: self._series_filters(place),
            "prearchive_code": lambda: number(self._told(f"{place}/prearchive_code")),
            "quarantine_code": lambda: number(self._told(f"{place}/quarantine_code")),
            "create_subjects": lambda: truth(self._told(f"{place}/config/applet/allow-create-subject", _CONTENTS)),
            "bulk_upload": lambda: truth(self._told(f"{place}/config/applet/allow-bulk-upload", _CONTENTS)),
            **{f"can_{act}": lambda act=act: self.can(project, act) for act in ("create", "edit", "delete")},
        }
        asks = asks if gives else takes | asks
        with ThreadPoolExecutor(_THREADS) as threads:
            there = threads.submit(self._http.read, place, {"format": "json"})
            found = {name: threads.submit(ask) for name, ask in asks.items()}
        try:
            there.result()
        except NotFoundError:
            raise NotFoundError(f"{self.user} sees no project {project} at {self.server}.") from None
        told = {name: future.result() for name, future in found.items()}
        site_on, site_script = told.pop("site", (None, None))
        project_on, project_script = told.pop("project", (None, None))
        filter_on, filters = told.pop("filters", (None, ()))
        return Settings(
            **told,
            series_filter_on=filter_on,
            series_filters=filters,
            site_script_on=site_on,
            site_script=site_script,
            project_script_on=project_on,
            project_script=project_script,
        )

    def projects(self) -> list[str]:
        """IDs of the projects that this user may read, sorted."""
        rows = self._table("/data/projects", {"accessible": "true"})
        return sorted({cell(row, "ID") or cell(row, "id") for row in rows} - {""})

    def subjects(self, project: str) -> list[dict]:
        """Subjects owned and shared in: subject, subject_id, project (the owner), shared."""
        rows = self._table(f"/data/projects/{quoted(project)}/subjects", {"columns": "ID,label,project"})
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
        """Image sessions owned and shared in, by the labels they have in this project. One request, or two.

        Asking for session-level columns makes some servers show the label of the owner, so the labels come
        from a list without them where a session may be of another project.
        """
        path = f"/data/projects/{quoted(project)}/experiments"
        detailed = {
            accession(row): row for row in self._table(path, {"xsiType": _IMAGE_SESSION, "columns": _SESSION_COLUMNS})
        }
        if all(cell(row, "session_project") == project for row in detailed.values()):
            return [self._session_row(row, project, row) for row in detailed.values()]
        named = self._table(path, {"columns": "ID,label,project,subject_label,xsiType,date"})
        found = [
            self._session_row({**detailed[accession(row)], **filled(row)}, project, detailed[accession(row)])
            for row in named
            if accession(row) in detailed
        ]
        if detailed and not any(cell(row, "session_project") for row in detailed.values()):
            owned = {accession(row) for row in self._table("/data/experiments", {"project": project, "columns": "ID"})}
            for row in found:
                row["shared"] = row["shared"] or row["session_id"] not in owned
        return found

    def scans(self, project: str) -> list[dict]:
        """One row per scan and resource of all image sessions of a project. One request, the first time up to three.

        ``files`` and ``size_bytes`` are None, and ``modality`` is "", where the server does not serve them in such a
        list. Labels of shared sessions may be those of the owner: join by ``session_id``.
        """
        path = f"/data/projects/{quoted(project)}/experiments"
        rows = None
        while rows is None:
            last = self._scan_asked == len(_SCAN_ASKED) - 1
            query = {"xsiType": _IMAGE_SESSION, "columns": _SCAN_ASKED[self._scan_asked]}
            try:
                rows = self._table(path, query, patient=last)
            except NotDataError:
                raise
            except ServerError:
                if last:
                    raise
                self._scan_asked += 1
        return [row for row in map(scan_row, rows) if row["scan"]]

    def files(self, session_ids: Sequence[str]) -> list[dict]:
        """Files of all scans of some sessions. One request per some dozens of sessions.

        A session that does not exist or may not be read is left out by the server without a word: count per
        session. ``path`` is relative to the resource, ``md5`` is "" where the server lists none.
        """
        return self._files(session_ids, "scans/ALL/files")

    def files_of(self, address: str) -> list[dict]:
        """Files of all scans of the session at an address that the server gave; empty where it is not there."""
        try:
            rows = self._table(f"/data{quote(without_data(address))}/scans/ALL/files")
        except NotFoundError:
            return []
        return [file_row(row, "") for row in rows]

    def session_resources(self, session_ids: Sequence[str]) -> list[dict]:
        """Files of the sessions' own resources, as ``files`` but with scan ""."""
        return [row for row in self._files(session_ids, "files") if not row["scan"]]

    def prearchive(self, project: str) -> list[dict]:
        """Rows of the project's prearchive."""
        rows = self._table(f"/data/prearchive/projects/{quoted(project)}")
        return [prearchive_row(row, project) for row in rows]

    def sessions_with_uid(self, uid: str) -> list[dict]:
        """Image sessions with this StudyInstanceUID, in any project this user can see."""
        return self.sessions_with_uids([uid])

    def sessions_with_uids(self, uids: Iterable[str]) -> list[dict]:
        """Image sessions with one of these StudyInstanceUIDs, in any project this user can see.

        A few requests at most: above some two hundred UIDs all visible sessions are listed once instead.
        """
        wanted = set(uids) - {""}
        query = {"xsiType": _IMAGE_SESSION, "columns": _SESSION_COLUMNS}
        chunks = [",".join(chunk) for chunk in chunked(sorted(wanted))]
        asks = [{**query, "UID": chunk} for chunk in chunks] if len(chunks) <= _UID_REQUESTS else [query]
        rows = [row for ask in asks for row in self._table("/data/experiments", ask)]
        return [self._session_row(row, "", row) for row in rows if cell(row, "UID") in wanted]

    def sessions_with_label(self, project: str, label: str) -> list[dict]:
        """Image sessions of exactly this label in a project."""
        query = {"xsiType": _IMAGE_SESSION, "columns": _SESSION_COLUMNS}
        if not set(label) & set(",*%"):
            query["label"] = label
        rows = self._table(f"/data/projects/{quoted(project)}/experiments", query)
        return [self._session_row(row, project, row) for row in rows if cell(row, "label") == label]

    def can(self, project: str, action: str, xsi_type: str = "xnat:mrSessionData") -> bool | None:
        """Whether this user may read, create, edit or delete such data; None where the server does not tell."""
        try:
            rows = self._table("/data/projects", {"permissions": action, "dataType": xsi_type})
        except RefusedError:
            return False  # the answer to a user without any project
        except (NotFoundError, ServerError):
            return None
        if any("id" not in row for row in rows):
            return None
        return project in {row["id"] for row in rows}

    def open_scan(self, session_id: str, scan: str, resource: str):
        """A zip of one resource of a scan, as a context manager that yields its pieces."""
        path = f"{session_path(session_id)}/scans/{scan_segment(scan)}/resources/{quoted(resource)}/files"
        return self._http.stream(path, {"format": "zip"})

    def open_scan_file(self, session_id: str, scan: str, resource: str, path: str):
        """One file of a scan, as a context manager that yields its pieces; leaving it early reads no further."""
        where = f"{session_path(session_id)}/scans/{quoted(scan)}/resources/{quoted(resource)}/files/{quote(path)}"
        return self._http.stream(where, zipped=False)

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
        rows = self._table("/data/services/dicomdump", {"src": source}, patient=False)
        return [{name: cell(row, name) for name in ("tag1", "tag2", "vr", "value")} for row in rows]

    def open_session(self, session_id: str):
        """A zip of all scans of a session, as a context manager that yields its pieces."""
        return self._http.stream(f"{session_path(session_id)}/scans/ALL/files", {"format": "zip"})

    def open_prearchive(self, uri: str):
        """A zip of a whole prearchive folder, as a context manager that yields its pieces."""
        return self._http.stream(prearchive_path(uri), {"format": "zip"})

    def open_prearchive_file(self, uri: str, scan: str, resource: str, path: str):
        """One file of the prearchive, as a context manager that yields its pieces."""
        where = f"{prearchive_path(uri)}/scans/{quoted(scan)}/resources/{quoted(resource)}/files/{quote(path)}"
        return self._http.stream(where, zipped=False)

    def open_file(self, uri: str):
        """One file by the ``uri`` of a file list, as a context manager that yields its pieces."""
        prefix = urlsplit(self.server).path.rstrip("/")
        if prefix and uri.startswith(f"{prefix}/"):
            uri = uri[len(prefix) :]
        return self._http.stream(quote(uri, safe="/%:@!$&'()*+,;=~"), zipped=False)

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
        """Send a zip of DICOM files into the prearchive, once, and leave the row open for more.

        Returns
        -------
        list of str
            ``/prearchive/projects/P/TIME/FOLDER``; empty where the server stored nothing.

        Raises
        ------
        TransientError, SessionExpiredError, ServerError, RefusedError
            As ``write`` of ``_http``: after the first and third read the prearchive before sending again.
        """
        query = {
            "import-handler": "DICOM-zip",
            "PROJECT_ID": project,
            "SUBJECT_ID": subject,
            "EXPT_LABEL": session,
            "inbody": "true",
            "prevent_auto_commit": "true",
            "SOURCE": "uploader",
            **event(reason),
        }
        answer = self._http.write(
            "POST",
            "/data/services/import",
            query,
            data=SizedBody(body(), size_bytes) if size_bytes else b"",
            headers={"Content-Type": "application/zip", "Accept": "text/uri-list, text/plain, */*"},
        )
        return [without_data(line) for line in answer.text.splitlines() if line.strip()]

    def build(self, uri: str) -> None:
        """Let the server build the session of a prearchive row; afterwards it is READY."""
        self._http.write("POST", prearchive_path(uri), {"action": "build"}, read_timeout_s=_ARCHIVE_TIMEOUT_S)

    def validate_archive(self, uri: str) -> list[dict]:
        """What archiving this row would run into: code, type (WARN, CONFLICT, FAIL) and message. Changes nothing."""
        answer = self._http.read(
            "/data/services/validate-archive", {"src": without_data(uri), "format": "json"}, method="POST"
        )
        return [{name: cell(row, name) for name in ("code", "type", "message")} for row in self._rows(answer)]

    def archive(
        self, uri: str, *, overwrite: str | None = None, reason: str = "", labels: tuple[str, str] | None = None
    ) -> str:
        """Archive a prearchive row, once; return the address of the session as the server gives it.

        ``labels`` are the subject and the session that it becomes; without them those of the row.

        Raises
        ------
        ServerError
            409 or 500 with the server's words: a conflict, or a failure while archiving.
        TransientError
            No answer: look whether the row is gone and the session is there.
        """
        query = {"src": without_data(uri), "auto-archive": "false", **event(reason)}
        if overwrite is not None:
            query["overwrite"] = overwrite
        if labels is not None:
            query |= {"project": without_data(uri).split("/")[3], "subject": labels[0], "session": labels[1]}
        answer = self._http.write("POST", "/data/services/archive", query, read_timeout_s=_ARCHIVE_TIMEOUT_S)
        lines = [line.strip() for line in answer.text.splitlines() if line.strip().startswith("/")]
        return lines[0] if lines else answer.headers.get("Location", "")

    def prearchive_row(self, uri: str) -> dict | None:
        """The row of the prearchive, or None when it is gone."""
        try:
            rows = self._table(prearchive_path(uri))
        except NotFoundError:
            return None
        project = without_data(uri).split("/")[3]
        return prearchive_row(rows[0], project) if rows else None

    def prearchive_resources(self, uri: str) -> list[dict]:
        """Scans of a prearchive row: scan, resource, files, size_bytes. Empty while the row is not built."""
        path = prearchive_path(uri)
        try:
            rows = self._table(f"{path}/resources", patient=False)
            return [
                {
                    "scan": cell(row, "cat_id"),
                    "resource": cell(row, "label"),
                    "files": integer(cell(row, "file_count")) or 0,
                    "size_bytes": integer(cell(row, "file_size")) or 0,
                }
                for row in rows
                if cell(row, "category") in ("scans", "")
            ]
        except (NotFoundError, ServerError):
            pass
        try:
            scans = self._table(f"{path}/scans", patient=False)
        except NotFoundError:
            return []
        found = []
        for scan in (cell(row, "ID") for row in scans):
            try:
                rows = self._table(f"{path}/scans/{quoted(scan)}/resources", patient=False)
            except (NotFoundError, ServerError):
                rows = [{"label": "DICOM"}]
            for label in (cell(row, "label") for row in rows):
                files = self.prearchive_files(uri, scan, label)
                size = sum(row["size_bytes"] for row in files)
                found.append({"scan": scan, "resource": label, "files": len(files), "size_bytes": size})
        return found

    def prearchive_files(self, uri: str, scan: str, resource: str = "DICOM") -> list[dict]:
        """Files of a scan in the prearchive: path, size_bytes, uri. Empty while the row is not built."""
        path = f"{prearchive_path(uri)}/scans/{quoted(scan)}/resources/{quoted(resource)}/files"
        try:
            rows = self._table(path)
        except NotFoundError:
            return []
        return [
            {
                "path": path_in_resource(cell(row, "URI"))[1] or cell(row, "Name"),
                "size_bytes": integer(cell(row, "Size")) or 0,
                "uri": cell(row, "URI"),
            }
            for row in rows
        ]

    def _told(self, path: str, query: dict | None = None) -> requests.Response | None:
        """The answer to a question the server may leave open, or None."""
        try:
            answer = self._http.read(path, query, patient=False)
        except (NotFoundError, RefusedError, ServerError):
            return None
        return answer

    def _script(self, switch: str, text: str, config: str) -> tuple[bool | None, str | None]:
        """Whether a script is on, and its text if it is."""
        on = truth(self._told(switch))
        if on is not None:
            answer = self._told(text) if on else None
            return on, answer.text if answer is not None else None
        try:
            rows = self._table(config, patient=False)
        except (NotFoundError, RefusedError, ServerError):
            return None, None
        if not rows:
            return False, None
        on = cell(rows[0], "status") != "disabled"
        return on, cell(rows[0], "contents") if on else None

    def _series_filters(self, place: str) -> tuple[bool | None, tuple[str, ...]]:
        """Whether a series import filter is on, and the JSON of each that is (XNAT source, DicomFilterService)."""
        found: list[str] = []
        names = ("enableSitewideSeriesImportFilter", "sitewideSeriesImportFilterMode", "sitewideSeriesImportFilter")
        answer = self._told(f"/xapi/siteConfig/values/{','.join(names)}")
        site = answer.json() if answer is not None and is_json(answer) else {}
        on = str(site.get(names[0], "")).lower() if isinstance(site, dict) else ""
        if on == "true":
            found.append(json.dumps({"mode": site.get(names[1], ""), "list": site.get(names[2], "")}))
        answer = self._told(f"{place}/config/seriesImportFilter/config", _CONTENTS)
        if answer is not None and answer.text.strip():
            found.append(answer.text)
        return (True if found else False if answer is not None or on else None), tuple(found)

    def _files(self, session_ids: Sequence[str], what: str) -> list[dict]:
        chunks = list(chunked(session_ids))

        def listed(chunk: list[str]) -> list[dict]:
            try:
                rows = self._table(f"/data/experiments/{','.join(map(quoted, chunk))}/{what}")
            except NotFoundError:
                return []
            alone = chunk[0] if len(chunk) == 1 else ""
            return [file_row(row, alone) for row in rows]

        if len(chunks) < 2:
            return [row for chunk in chunks for row in listed(chunk)]
        with ThreadPoolExecutor(_THREADS) as threads:
            return [row for rows in threads.map(listed, chunks) for row in rows]

    def _table(self, path: str, query: dict | None = None, *, patient: bool = True) -> list[dict]:
        return self._rows(self._http.read(path, {"format": "json", **(query or {})}, patient=patient))

    def _rows(self, answer: requests.Response) -> list[dict]:
        if answer.status_code == 204:
            return []
        try:
            rows = answer.json()["ResultSet"]["Result"]
        except (ValueError, KeyError, TypeError):
            rows = None
        if not isinstance(rows, list):
            path = urlsplit(answer.url).path
            raise NotDataError(f"{self._http.host} answered {path} with something that is no list.", status=200)
        return rows

    def _session_row(self, row: dict, project: str, detail: dict) -> dict:
        owner = cell(detail, "session_project") or cell(row, "project") or project
        return {
            "session_id": accession(row),
            "subject": cell(row, "subject_label"),
            "session": cell(row, "label"),
            "project": owner,
            "xsi_type": cell(row, "xsiType"),
            "modality": cell(detail, "modality"),
            "date": cell(row, "date"),
            "StudyInstanceUID": cell(detail, "UID"),
            "shared": bool(project) and owner != project,
        }
