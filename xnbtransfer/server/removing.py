"""Taking away: unsharing an item below a project that has it shared, deleting it below the one that owns it.

XNAT source: ``SecureResource.deleteItem``; REST tests TestSharing, TestDeletionAccuracy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from . import find, folders, personality
from .answers import Refusal, flag, status_page, text
from .find import EXPERIMENT, SUBJECT, Kind
from .state import Record, State
from .workflows import justified


def delete(request: Request, kind: Kind, row: Record, below: str) -> Response:
    """Answer a DELETE of an item that was asked for below a project ("" for an address without one)."""
    state: State = request.app.state.xnat
    user = request.state.user
    project = below or row["project"]
    if not state.can(user, project, "delete"):
        raise Refusal(403, f"User cannot delete {kind.plural} for project {project}")
    justified(request)
    with state.alone():
        left = _delete(request, kind, row, project)
        if isinstance(left, Response):
            return left
        discard(state, left)
    return text("")


def _delete(request: Request, kind: Kind, row: Record, project: str) -> Response | list[Path]:
    """Unshare or delete in one transaction; the folders to remove after it."""
    state: State = request.app.state.xnat
    user, query, keep = request.state.user, request.query_params, not flag(request, "removeFiles")
    with state.write():
        row = find.again(state, kind, row)
        if project != row["project"]:
            return _unshare(state, user, kind, row, project, query)
        sessions = [] if kind is EXPERIMENT else state.rows("SELECT * FROM experiments WHERE subject_id=?", row["id"])
        for one in [row, *sessions]:
            if json.loads(one["fields"]).get("status") == "locked":
                raise Refusal(403, f"{one['label']} is locked.")
        for session in sessions:
            if not state.can(user, session["project"], "delete"):
                raise Refusal(403, f"User cannot delete experiments for project {session['project']}")
        for one in (*sessions, row):
            state.workflow(one["id"], "Removed via web service", user, query, project=project)
        left = [forget(state, EXPERIMENT, session, keep=keep) for session in sessions]
        left.append(forget(state, kind, row, keep=keep))
    return [] if keep else left


def _unshare(state: State, user: str, kind: Kind, row: Record, project: str, query) -> Response:
    """End a share; that of a subject ends its sessions' one by one, up to one that the project owns.

    A live server refuses with 403 there, and what came before stays unshared.
    """
    sessions = [] if kind is EXPERIMENT else state.rows("SELECT * FROM experiments WHERE subject_id=?", row["id"])
    with state.write() as db:
        end = "DELETE FROM shares WHERE kind=? AND item_id=? AND project=?"
        for session in sorted(sessions, key=lambda one: one["project"] == project):
            if session["project"] == project:
                return status_page(
                    403,
                    "This operation would delete an experiment (rather than un-share).  "
                    f"Please modify experiment ({session['id']}).",
                )
            db.execute(end, ("experiment", session["id"], project))
        again = kind is SUBJECT and state.number(f"unshared {row['id']} {project}") > 1
        if not again or personality.has(state, "shares-end-always"):  # a live 1.6.4 answers 200 and leaves the share
            db.execute(end, (kind.name, row["id"], project))
        state.workflow(row["id"], "Removed via web service", user, query, project=project)
    return text("")


def forget(state: State, kind: Kind, row: Record, *, keep: bool = False) -> Path:
    """Take an item out of the catalogue, within the caller's transaction; its folder, which is still there.

    A session takes its assessors along, whoever owns them: their files lie in its folder.

    With ``keep`` the files stay for good.
    """
    folder = state.item_folder(kind.name, row["id"], row["project"])
    with state.write() as db:
        if keep:
            folders.keep(state, folder)
        forget_resources(state, kind.name, row["id"])
        if kind is EXPERIMENT:
            forget_resources(state, "input", row["id"])
            for scan in state.rows("SELECT pk FROM scans WHERE experiment_id=?", row["id"]):
                forget_scan(state, scan["pk"])
            for assessor in state.rows("SELECT * FROM experiments WHERE session_id=?", row["id"]):
                forget(state, kind, assessor)
        db.execute("DELETE FROM shares WHERE kind=? AND item_id=?", (kind.name, row["id"]))
        db.execute("DELETE FROM former WHERE item=?", (row["id"],))
        db.execute(f"DELETE FROM {kind.table} WHERE id=?", (row["id"],))
    return folder


def forget_scan(state: State, pk: int) -> list[Path]:
    """Take a scan out of the catalogue; the folders of its resources, which are still there."""
    left = forget_resources(state, "scan", str(pk))
    with state.write() as db:
        db.execute("DELETE FROM shares WHERE kind='scan' AND item_id=?", (str(pk),))
        db.execute("DELETE FROM scans WHERE pk=?", (pk,))
    return left


def forget_resources(state: State, parent_kind: str, parent_id: str) -> list[Path]:
    """Take all resources of one parent out of the catalogue; their folders, which are still there."""
    found = state.rows("SELECT pk FROM resources WHERE parent_kind=? AND parent_id=?", parent_kind, parent_id)
    return [forget_resource(state, row["pk"]) for row in found]


def forget_resource(state: State, pk: int) -> Path:
    """Take one resource out of the catalogue; its folder, which is still there. 404 when somebody was faster."""
    with state.write() as db:
        if state.row("SELECT 1 FROM resources WHERE pk=?", pk) is None:
            raise Refusal(404)
        folder = state.resource_folder(pk)
        for table in ("files", "stale"):
            db.execute(f"DELETE FROM {table} WHERE resource_pk=?", (pk,))
        db.execute("DELETE FROM resources WHERE pk=?", (pk,))
    return folder


def discard(state: State, left: Iterable[Path]) -> None:
    """Remove folders of what is forgotten, after the transaction."""
    for folder in left:
        folders.remove(state, folder)


def remove_project(state: State, name: str) -> None:
    """Delete a project with what it owns; its id is never given again.

    Raises
    ------
    Refusal
        403 while a subject of it has sessions that another project owns, which are to stay intact.
    """
    strange = state.row(
        "SELECT e.label, e.project FROM experiments e JOIN subjects s ON s.id=e.subject_id "
        "WHERE s.project=? AND e.project<>?",
        name,
        name,
    )
    if strange:
        raise Refusal(403, f"A subject of {name} has session {strange['label']} in project {strange['project']}.")
    with state.alone():
        strays = _forget_project(state, name)
        folders.remove(state, state.item_folder("experiment", "", name))
        discard(state, strays)


def _forget_project(state: State, name: str) -> list[Path]:
    """The folders of assessors whose sessions other projects own, which are still there."""
    with state.write() as db:
        strays = [
            forget(state, EXPERIMENT, row)
            for row in state.rows("SELECT * FROM experiments WHERE project=? AND session_id<>''", name)
        ]
        for kind in (EXPERIMENT, SUBJECT):
            for row in state.rows(f"SELECT * FROM {kind.table} WHERE project=?", name):
                forget(state, kind, row)
        forget_resources(state, "project", name)
        for table in ("members", "shares", "config"):
            db.execute(f"DELETE FROM {table} WHERE project=?", (name,))
        db.execute("DELETE FROM projects WHERE id=?", (name,))
        db.execute("INSERT OR IGNORE INTO retired VALUES(?)", (name,))
        prefix = f"archive/{name}/"
        db.execute("DELETE FROM kept WHERE substr(path, 1, ?)=?", (len(prefix), prefix))
    return strays
