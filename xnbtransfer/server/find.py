"""From the words of an address to the things it names, and whether the person asking may see them.

Ids and labels are accepted at every level. What somebody may not read is answered 404, as what is not there
(REST test TestSharing).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from .answers import Refusal
from .state import State


def project(state: State, user: str | None, name: str, on: str = "project") -> sqlite3.Row:
    """A readable project by id or alias. ``on="data"`` asks for its data: 403 where only the project is readable."""
    found = state.project(name)
    if found is None or not state.can(user, found["id"], "read", "project"):
        raise Refusal(404)
    if on == "data" and not state.can(user, found["id"], "read", "data"):
        raise Refusal(403)
    return found


def subject(state: State, user: str | None, name: str, in_project: str = "") -> sqlite3.Row:
    """A subject by accession number, or by label in a project that owns it or has it shared."""
    found = _in(state, "subject", state.row("SELECT * FROM subjects WHERE id=?", name), in_project)
    if found is None and in_project:
        found = state.row("SELECT * FROM subjects WHERE project=? AND label=?", in_project, name) or state.row(
            "SELECT s.* FROM subjects s JOIN shares h ON h.kind='subject' AND h.item_id=s.id "
            "WHERE h.project=? AND coalesce(nullif(h.label,''), s.label)=?",
            in_project,
            name,
        )
    if found is None or not _readable(state, user, "subject", found):
        raise Refusal(404)
    return found


def experiment(state: State, user: str | None, name: str, in_project: str = "") -> sqlite3.Row:
    """A session by accession number, or by label in a project that owns it or has it shared."""
    found = _in(state, "experiment", state.row("SELECT * FROM experiments WHERE id=?", name), in_project)
    if found is None and in_project:
        found = state.row("SELECT * FROM experiments WHERE project=? AND label=?", in_project, name) or state.row(
            "SELECT e.* FROM experiments e JOIN shares h ON h.kind='experiment' AND h.item_id=e.id "
            "WHERE h.project=? AND coalesce(nullif(h.label,''), e.label)=?",
            in_project,
            name,
        )
    if found is None or not _readable(state, user, "experiment", found):
        raise Refusal(404)
    return found


def experiments(state: State, user: str | None, names: str, in_project: str = "") -> list[sqlite3.Row]:
    """The sessions of a comma list; in a list of several, unknown and unreadable ones are left out without a word."""
    words = names.split(",")
    if len(words) == 1:
        return [experiment(state, user, words[0], in_project)]
    found = []
    for word in words:
        try:
            found.append(experiment(state, user, word, in_project))
        except Refusal:
            continue
    return found


def scans(state: State, session: sqlite3.Row, names: str) -> list[sqlite3.Row]:
    """The scans that a segment names: ids, types, lists of them, ``ALL`` or ``*`` (XNAT source, XNATTemplate)."""
    all_scans = state.rows("SELECT * FROM scans WHERE experiment_id=? ORDER BY pk", session["id"])
    if names in ("ALL", "*"):
        return all_scans
    words = {word.replace("[SLASH]", "/").replace("[COMMA]", ",") for word in names.split(",")}
    words = {"" if word == "NULL" else word for word in words}
    return [scan for scan in all_scans if scan["id"] in words or scan["type"] in words]


def _in(state: State, kind: str, row: sqlite3.Row | None, project: str) -> sqlite3.Row | None:
    """The row, if ``project`` is empty, owns it or has it shared."""
    if row is None or not project or row["project"] == project:
        return row
    shared = state.row("SELECT 1 FROM shares WHERE kind=? AND item_id=? AND project=?", kind, row["id"], project)
    return row if shared else None


def _readable(state: State, user: str | None, kind: str, row: Mapping) -> bool:
    if state.can(user, row["project"], "read"):
        return True
    shared = state.rows("SELECT project FROM shares WHERE kind=? AND item_id=?", kind, row["id"])
    return any(state.can(user, share["project"], "read") for share in shared)
