"""The prearchive: what is sent there, what waits there, how it is built, archived, moved and deleted.

The part of a connection for rows of the prearchive, used by the doors and by the commands for the prearchive. Each
change is sent once; what became of it is for the caller to look up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from . import forms
from ._http import Http, SizedBody
from ._rows import (
    cell,
    event,
    integer,
    path_in_resource,
    prearchive_path,
    prearchive_row,
    session_type_of,
    without_data,
)
from .errors import NotFoundError

_ARCHIVE_TIMEOUT_S = 900.0  # XNAT itself waits up to 600 s for its archiver
BUILT = ("READY", "CONFLICT")  # states of a row that lists its scans


class Waiting:
    """The part of a connection that sends to the prearchive and looks after its rows."""

    _http: Http
    _told: Callable
    _table: Callable
    _out_of_zip: Callable
    before: Callable

    def prearchive(self, project: str) -> list[dict]:
        """Rows of the project's prearchive.

        To users with access to all data XNAT lists the rows of "Unassigned" with those of every project (recorded), so
        each row's own project is compared.
        """
        rows = [prearchive_row(row, project) for row in self._table(forms.WAITING(project=project))]
        return [row for row in rows if row["project"] == project]

    def address_of_row(self, uri: str) -> str:
        """The address of a row of the prearchive, from what a list or an import says."""
        return prearchive_path(uri)

    def open_prearchive(self, uri: str):
        """A zip of a whole prearchive folder, as a context manager that yields its pieces."""
        return self._http.stream(forms.WAITING_ZIP(row=prearchive_path(uri)))

    def open_prearchive_file(self, uri: str, scan: str, resource: str, path: str):
        """One file of the prearchive, as a context manager that yields its pieces."""
        row = prearchive_path(uri)
        if not forms.addressable(path):
            return self._out_of_zip(forms.WAITING_ZIP(row=row), f"/SCANS/{scan}/{resource}/{path}")
        return self._http.stream(forms.WAITING_FILE(row=row, scan=scan, resource=resource, file=path), zipped=False)

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
        query = {"PROJECT_ID": project, "SUBJECT_ID": subject, "EXPT_LABEL": session, **event(reason)}
        answer = self._http.write(forms.IMPORT(query), data=SizedBody(body(), size_bytes) if size_bytes else b"")
        return [without_data(line) for line in answer.text.splitlines() if line.strip()]

    def build(self, uri: str) -> None:
        """Let the server build the session of a prearchive row; afterwards it is READY."""
        self._http.write(forms.BUILD_ROW(row=prearchive_path(uri)), read_timeout_s=_ARCHIVE_TIMEOUT_S)

    def validate_archive(self, uri: str) -> list[dict]:
        """What archiving this row would run into: code, type (WARN, CONFLICT, FAIL) and message. Changes nothing."""
        rows = self._table(forms.VALIDATE({"src": without_data(uri)}))
        return [{name: cell(row, name) for name in ("code", "type", "message")} for row in rows]

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
        query = {"src": without_data(uri), **event(reason)}
        if overwrite is not None:
            query["overwrite"] = overwrite
        if labels is not None:
            query |= {"project": without_data(uri).split("/")[3], "subject": labels[0], "session": labels[1]}
        answer = self._http.write(forms.ARCHIVE(query), read_timeout_s=_ARCHIVE_TIMEOUT_S)
        lines = [line.strip() for line in answer.text.splitlines() if line.strip().startswith("/")]
        return lines[0] if lines else answer.headers.get("Location", "")

    def prearchive_row(self, uri: str) -> dict | None:
        """The row of the prearchive, or None when it is gone: neither found, nor in the list of its project.

        Up to 1.7.2 the list of one row is always empty, and to a lost right everything is "not found".
        """
        try:
            rows = self._table(forms.WAITING_ROW(row=prearchive_path(uri)))
        except NotFoundError:
            rows = []
        project = without_data(uri).split("/")[3]
        if not rows:
            return next((row for row in self.prearchive(project) if row["uri"] == without_data(uri)), None)
        return prearchive_row(rows[0], project)

    def prearchive_resources(self, uri: str) -> list[dict]:
        """Scans of a prearchive row: scan, resource, files, size_bytes. Empty while the row is not built.

        Raises
        ------
        NotFoundError, ServerError
            The row is gone, or is built and its scans are not given: that is no row without scans.
        """
        try:
            rows = self._table(forms.WAITING_RESOURCES(row=prearchive_path(uri)))
        except NotFoundError:
            row = self.prearchive_row(uri)
            if row is None or row["status"] in BUILT:
                raise
            return []
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

    def waiting_types(self, uri: str) -> list[str]:
        """The types of session that a built row may become, by those of its scans; several where they differ.

        Raises
        ------
        NotFoundError
            The row is gone or not built.
        """
        rows = self._table(forms.WAITING_SCANS(row=prearchive_path(uri)))
        return sorted({session_type_of(cell(row, "xsiType")) for row in rows} - {""})

    def prearchive_files(self, uri: str, scan: str, resource: str = "DICOM") -> list[dict]:
        """Files of a scan in the prearchive: path, size_bytes, uri.

        Raises
        ------
        NotFoundError
            The row is gone or not built, or has no such scan or resource: that is no empty one.
        """
        rows = self._table(forms.WAITING_FILES(row=prearchive_path(uri), scan=scan, resource=resource))
        return [
            {
                "path": path_in_resource(cell(row, "URI"), cell(row, "Name"))[1] or cell(row, "Name"),
                "size_bytes": integer(cell(row, "Size")) or 0,
                "uri": cell(row, "URI"),
            }
            for row in rows
        ]

    def change_waiting(self, verb: str, uri: str, query: Mapping[str, str] | None = None) -> None:
        """Ask for a row of the prearchive to be moved, rebuilt or deleted. The server answers before it is done."""
        form = {"move": forms.MOVE_ROW, "rebuild": forms.REBUILD_ROW, "delete": forms.DELETE_ROW}[verb]
        self._http.write(form({"src": without_data(uri), **(query or {})}))

    def waiting_log(self, uri: str) -> str:
        """The last entry of a row's log, in one line; "" where there is none."""
        answer = self._told(forms.WAITING_LOG(row=prearchive_path(uri)))
        return " ".join(answer.text.split())[:300] if answer is not None else ""
