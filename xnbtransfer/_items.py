"""One subject or one session: look at it, share, move, rename or delete it.

Each change is sent once; what became of it is for the caller to look up. Items are named by accession, so that a
label which meanwhile belongs to another item misdirects nothing. The addresses below a project and a subject are
those that every version of XNAT has.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

from . import forms
from ._http import Http
from ._rows import cell, current_item, event, integer, is_json, item_row, json_of, plain, subject_row, truth
from .errors import NotDataError, NotFoundError

_MOVE_TIMEOUT_S = 3600.0  # a move copies the files of a session on the server before it answers


class Items:
    """The part of a connection that looks at single items and changes them."""

    server: str
    user: str
    _http: Http
    _told: Callable
    _table: Callable
    _check_free: Callable

    def session_item(self, session_id: str) -> dict | None:
        """A session by its accession, with its shares and assessors; None where this user finds none."""
        return self._item(forms.SESSION_ITEM(session=session_id))

    def session_xml(self, session_id: str) -> bytes:
        """The document of a session as XNAT's XML, which holds its fields, notes and ratings; XNAT reads it, too.

        Raises
        ------
        NotFoundError
            This user finds no such session.
        NotDataError
            What came is no XML, or the document of something else.
        """
        request = forms.SESSION_XML(session=session_id)
        found = self._http.read(request).content
        try:
            named = None if b"<!DOCTYPE" in found else ElementTree.fromstring(found).get("ID")
        except ElementTree.ParseError:
            named = None
        if named != session_id:
            raise NotDataError(f"{self._http.host} answered {request.path} with no document of it.", status=200)
        return found

    def session_at(self, project: str, label: str) -> dict | None:
        """What has this label in a project, owned or shared in, as ``session_item``; None where nothing has.

        Raises
        ------
        ServerError, NotFoundError, RefusedError
            It is not found, and the list of the project names it, is not given, or may be a stranger's: that is no
            free label.
        """
        found = self._item(forms.SESSION_AT(project=project, label=label))
        if found is None:
            self._check_free(project, label)
            return None
        named = found["label"] if found["project"] == project else dict(found["shares"]).get(project)
        return found if named == label else None  # an accession finds its session there, too

    def subject_item(self, subject_id: str) -> dict | None:
        """A subject by its accession, with its shares; None where this user finds none."""
        return self._item(forms.SUBJECT_ITEM(subject=subject_id))

    def subject_document(self, project: str, subject: str) -> dict | None:
        """A subject by its label in a project, with fields, resources and the whole of its experiments, in one answer;
        None where this user finds none.
        """
        return self._item(forms.FIELDS(item=forms.subject_path(project, subject)), subject_row)

    def resources_of(self, path: str) -> list[dict]:
        """The resources of the item at ``path`` as its server counts them: resource, files, size_bytes.

        Raises
        ------
        NotFoundError
            The server does not find the item.
        """
        return [
            {
                "resource": plain(cell(row, "label")) or cell(row, "xnat_abstractresource_id"),
                "files": integer(cell(row, "file_count")) or 0,
                "size_bytes": integer(cell(row, "file_size")) or 0,
            }
            for row in self._table(forms.CATALOGS(item=path))
        ]

    def sees_project(self, project: str) -> bool:
        """Whether this user sees the project now: only then does "not found" below it mean that it is gone."""
        try:
            self._http.read(forms.PROJECT(project=project))
        except NotFoundError:
            return False
        return True

    def project_document(self, project: str) -> dict:
        """A project, by its ID or an alias, as its own item JSON tells it.

        Raises
        ------
        NotFoundError
            This user does not see it.
        """
        request = forms.PROJECT(project=project)
        try:
            answer = self._http.read(request)
        except NotFoundError:
            raise NotFoundError(f"{self.user} sees no project {project} at {self.server}.") from None
        try:
            found = current_item(json_of(answer))
        except (ValueError, KeyError, IndexError, TypeError):
            found = None
        if not isinstance(found, dict):
            raise NotDataError(f"{self._http.host} answered {request.path} with something that is no item.", status=200)
        return found

    def reruns_scripts(self) -> bool | None:
        """Whether the site anonymises again what is moved or relabelled; None where the server does not tell."""
        return truth(self._told(forms.RERUNS()))

    def share(self, path: str, project: str, label: str, reason: str = "") -> None:
        """Show the item at ``path`` in another project under ``label``, which is always sent."""
        self._http.write(forms.SHARE({"label": label, **event(reason)}, item=path, project=project))

    def unshare(self, path: str, project: str, reason: str = "") -> None:
        """Take the share of the item at ``path`` from a project; the item itself stays."""
        self._http.write(forms.UNSHARE(event(reason), item=path, project=project))

    def move(self, path: str, project: str, reason: str = "") -> None:
        """Make ``project`` the owner of the item at ``path``, under the label that it has."""
        request = forms.MOVE(event(reason), item=path, project=project)
        self._http.write(request, read_timeout_s=_MOVE_TIMEOUT_S)

    def rename(self, path: str, label: str, reason: str = "") -> None:
        """Give the item at ``path`` another label."""
        self._http.write(forms.RENAME({"label": label, **event(reason)}, item=path), read_timeout_s=_MOVE_TIMEOUT_S)

    def delete(self, path: str, reason: str = "") -> None:
        """Delete the item at ``path`` with its files. It cannot be undone."""
        self._http.write(forms.DELETE(event(reason), item=path), read_timeout_s=_MOVE_TIMEOUT_S)

    def count_below(self, path: str, what: str) -> int:
        """How many experiments or files the server lists below an item.

        Raises
        ------
        NotFoundError
            The server does not find the item, or does not list what is below it: that is no nought.
        """
        form = {"experiments": forms.EXPERIMENTS_BELOW, "files": forms.FILES_BELOW}[what]
        return len(self._table(form(item=path)))

    def _item(self, request: forms.Request, row: Callable[[dict], dict | None] = item_row) -> dict | None:
        try:
            answer = self._http.read(request)
        except NotFoundError:
            return None
        found = row(json_of(answer)) if is_json(answer) else None
        if found is None:
            raise NotDataError(f"{self._http.host} answered {request.path} with something that is no item.", status=200)
        return found
