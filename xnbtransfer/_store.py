"""What is put into an archive without an import: subjects, sessions, scans, their fields, resources and files.

Each write is sent once; what became of it is for the caller to look up. XNAT answers 200 and stores nothing where the
right to edit is missing (seen on a live server), so only a listing tells.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote

from ._http import Http, SizedBody, encode, quoted
from ._rows import cell, event, file_row, is_json, item_fields, scan_segment
from .errors import NotFoundError

_UPLOAD_TIMEOUT_S = 3600.0
_HEADERS_TIMEOUT_S = 900.0  # reading the headers of a large session takes the server a while


def project_path(project: str) -> str:
    """The address of a project."""
    return f"/data/projects/{quoted(project)}"


def subject_path(project: str, subject: str) -> str:
    """The address of a subject by its label."""
    return f"{project_path(project)}/subjects/{quoted(subject)}"


def archived_path(session_id: str, scan: str = "") -> str:
    """The address of an archived session by its accession, or of one of its scans."""
    path = f"/data/experiments/{quoted(session_id)}"
    return f"{path}/scans/{scan_segment(scan)}" if scan else path


class Store:
    """The part of a connection that makes items and puts files below them."""

    _http: Http
    _table: Callable

    def files_below(self, path: str, resource: str = "") -> list[dict]:
        """The files of the item's own resources, or of one of them; empty where there is none. Rows as of ``files``."""
        where = f"{path}/resources/{quoted(resource)}/files" if resource else f"{path}/files"
        try:
            rows = self._table(where)
        except NotFoundError:
            return []
        return [{**row, "resource": resource} if resource else row for row in (file_row(one, "") for one in rows)]

    def open_resource(self, path: str, resource: str):
        """A zip of one resource of the item at ``path``, as a context manager that yields its pieces."""
        return self._http.stream(f"{path}/resources/{quoted(resource)}/files", {"format": "zip"})

    def put_zip(
        self,
        path: str,
        resource: str,
        *,
        size_bytes: int,
        body: Iterable[bytes],
        about: Mapping[str, str] | None = None,
        overwrite: bool = False,
        reason: str = "",
    ) -> None:
        """Unpack a zip into a resource, once; the resource is made where it is missing. Byte for byte, no script runs.

        ``about`` may hold ``format`` and ``content``, which the catalogue keeps of each file.
        """
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="files.zip"\r\n'
            "Content-Type: application/zip\r\n\r\n"
        ).encode()
        foot = f"\r\n--{boundary}--\r\n".encode()

        def parts() -> Iterator[bytes]:
            yield head
            yield from body
            yield foot

        self._http.write(
            "POST",
            f"{path}/resources/{quoted(resource)}/files",
            {"extract": "true", **_marks(about, overwrite), **event(reason)},
            data=SizedBody(parts(), len(head) + size_bytes + len(foot)),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
            read_timeout_s=_UPLOAD_TIMEOUT_S,
        )

    def put_file(
        self,
        path: str,
        resource: str,
        name: str,
        *,
        size_bytes: int,
        body: Iterable[bytes],
        about: Mapping[str, str] | None = None,
        overwrite: bool = False,
        reason: str = "",
    ) -> None:
        """Put one file into a resource under exactly this name, once."""
        self._http.write(
            "PUT",
            f"{path}/resources/{quoted(resource)}/files/{quote(name)}",
            {"inbody": "true", **_marks(about, overwrite), **event(reason)},
            data=SizedBody(body, size_bytes),
            headers={"Content-Type": "application/octet-stream"},
            read_timeout_s=_UPLOAD_TIMEOUT_S,
        )

    def make_subject(self, project: str, subject: str, fields: Mapping[str, str], reason: str = "") -> None:
        """Make a subject, or give one that is there these fields. Keys are XNAT's paths or short names."""
        self._http.write("PUT", subject_path(project, subject), {**fields, **event(reason)})

    def make_session(
        self, project: str, subject: str, session: str, xsi_type: str, fields: Mapping[str, str], reason: str = ""
    ) -> None:
        """Make an empty session, in the archive."""
        path = f"{subject_path(project, subject)}/experiments/{quoted(session)}"
        self._http.write("PUT", path, {"xsiType": xsi_type, **fields, **event(reason)})

    def set_fields(self, path: str, fields: Mapping[str, str], reason: str = "") -> None:
        """Give the item at ``path`` these fields; others stay. They go in the body: addresses end up in logs."""
        self._http.write(
            "PUT",
            path,
            data=encode({**fields, **event(reason)}).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def fields_of(self, path: str) -> tuple[str, dict[str, str]]:
        """The xsiType and the fields of the item at ``path``; "" and nothing where there is none."""
        try:
            answer = self._http.read(path, {"format": "json"})
        except NotFoundError:
            return "", {}
        return item_fields(answer.json()) if is_json(answer) else ("", {})

    def make_scan(self, session_id: str, scan: str, xsi_type: str, fields: Mapping[str, str], reason: str = "") -> None:
        """Make a scan of an archived session, or give one that is there these fields."""
        path = f"/data/experiments/{quoted(session_id)}/scans/{quoted(scan)}"
        self._http.write("PUT", path, {"xsiType": xsi_type, **fields, **event(reason)})

    def pull_headers(self, path: str, reason: str = "") -> None:
        """Let the server read the DICOM headers of the session at ``path`` into its fields and those of its scans."""
        query = {"pullDataFromHeaders": "true", **event(reason)}
        self._http.write("PUT", path, query, read_timeout_s=_HEADERS_TIMEOUT_S)

    def scan_list(self, session_id: str) -> list[dict]:
        """The scans of one session: scan, xsi_type, type, quality, note, series_description, SeriesInstanceUID."""
        names = {"scan": "ID", "xsi_type": "xsiType", "type": "type", "quality": "quality", "note": "note"}
        names |= {"series_description": "series_description", "SeriesInstanceUID": "UID"}
        rows = self._table(f"{archived_path(session_id)}/scans", {"columns": ",".join(names.values())})
        return [{name: cell(row, key) for name, key in names.items()} for row in rows]


def _marks(about: Mapping[str, str] | None, overwrite: bool) -> dict[str, str]:
    found = {name: value for name, value in (about or {}).items() if value}
    return found | ({"overwrite": "true"} if overwrite else {})
