"""One subject, one session or one row of the prearchive: look at it, share, move, rename or delete it.

Each change is sent once; what became of it is for the caller to look up. Items are named by accession, so that a
label which meanwhile belongs to another item misdirects nothing. The addresses below a project and a subject are
those that every version of XNAT has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ._http import Http, quoted
from ._rows import event, is_json, item_row, prearchive_path, truth, without_data
from .errors import NotDataError, NotFoundError

_MOVE_TIMEOUT_S = 3600.0  # a move copies the files of a session on the server before it answers


def item_path(project: str, subject_id: str, session_id: str = "") -> str:
    """The address of a session, or of a subject, below its project."""
    subject = f"/data/projects/{quoted(project)}/subjects/{quoted(subject_id)}"
    return f"{subject}/experiments/{quoted(session_id)}" if session_id else subject


class Items:
    """The part of a connection that looks at single items and changes them."""

    _http: Http
    _told: Callable
    _rows: Callable

    def session_item(self, session_id: str) -> dict | None:
        """A session by its accession, with its shares and assessors; None where this user finds none."""
        return self._item(f"/data/experiments/{quoted(session_id)}")

    def subject_item(self, subject_id: str) -> dict | None:
        """A subject by its accession, with its shares; None where this user finds none."""
        return self._item(f"/data/subjects/{quoted(subject_id)}")

    def sees_project(self, project: str) -> bool:
        """Whether this user sees the project now: only then does "not found" below it mean that it is gone."""
        try:
            self._http.read(f"/data/projects/{quoted(project)}", {"format": "json"})
        except NotFoundError:
            return False
        return True

    def reruns_scripts(self) -> bool | None:
        """Whether the site anonymises again what is moved or relabelled; None where the server does not tell."""
        return truth(self._told("/xapi/siteConfig/rerunProjectAnonOnRename"))

    def share(self, path: str, project: str, label: str, reason: str = "") -> None:
        """Show the item at ``path`` in another project under ``label``, which is always sent."""
        self._http.write("PUT", f"{path}/projects/{quoted(project)}", {"label": label, **event(reason)})

    def unshare(self, path: str, project: str, reason: str = "") -> None:
        """Take the share of the item at ``path`` from a project; the item itself stays."""
        self._http.write("DELETE", f"{path}/projects/{quoted(project)}", event(reason))

    def move(self, path: str, project: str, reason: str = "") -> None:
        """Make ``project`` the owner of the item at ``path``, under the label that it has."""
        query = {"primary": "true", **event(reason)}
        self._http.write("PUT", f"{path}/projects/{quoted(project)}", query, read_timeout_s=_MOVE_TIMEOUT_S)

    def rename(self, path: str, label: str) -> None:
        """Give the item at ``path`` another label. XNAT takes the label alone here, so no reason is sent."""
        self._http.write("PUT", path, {"label": label}, read_timeout_s=_MOVE_TIMEOUT_S)

    def delete(self, path: str, reason: str = "") -> None:
        """Delete the item at ``path`` with its files. It cannot be undone."""
        self._http.write("DELETE", path, {"removeFiles": "true", **event(reason)}, read_timeout_s=_MOVE_TIMEOUT_S)

    def change_waiting(self, verb: str, uri: str, query: Mapping[str, str] | None = None) -> None:
        """Ask for a row of the prearchive to be moved, rebuilt or deleted. The server answers before it is done."""
        values = {"src": without_data(uri), "format": "json", **(query or {})}
        self._http.write("POST", f"/data/services/prearchive/{verb}", values)

    def count_below(self, path: str, what: str) -> int:
        """How many experiments or files the server lists below an item."""
        try:
            answer = self._http.read(f"{path}/{what}", {"format": "json"})
        except NotFoundError:
            return 0
        return len(self._rows(answer))

    def waiting_log(self, uri: str) -> str:
        """The last entry of a row's log, in one line; "" where there is none."""
        answer = self._told(f"{prearchive_path(uri)}/logs/last")
        return " ".join(answer.text.split())[:300] if answer is not None else ""

    def _item(self, path: str) -> dict | None:
        try:
            answer = self._http.read(path, {"format": "json"})
        except NotFoundError:
            return None
        found = item_row(answer.json()) if is_json(answer) else None
        if found is None:
            raise NotDataError(f"{self._http.host} answered {path} with something that is no item.", status=200)
        return found
