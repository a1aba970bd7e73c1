"""From the words of an address to the things it names, and whether the person asking may see or change them.

Ids and labels are accepted at every level. What somebody may not read is answered 404, as what is not there
(REST test TestSharing).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from starlette.requests import Request

from .answers import Refusal
from .state import Record, State

WITHOUT_SUBJECT = "/data/projects/{p}/experiments/{e}"
"""An address of sessions without a list of scans below it: XNAT answers the session there (recorded, both versions)."""
SESSION_ADDRESSES = (
    "/data/experiments/{e}",
    WITHOUT_SUBJECT,
    "/data/projects/{p}/subjects/{s}/experiments/{e}",
)


@dataclass(frozen=True)
class Kind:
    """What subjects and sessions have in common: where they are kept, and how addresses and answers call them."""

    name: str
    table: str
    word: str
    xsi_type: str
    missing: str

    @property
    def plural(self) -> str:
        return f"{self.name}s"


SUBJECT = Kind("subject", "subjects", "s", "xnat:subjectData", "Unable to find the specified subject.")
EXPERIMENT = Kind("experiment", "experiments", "e", "xnat:experimentData", "Unable to find the specified experiment.")


def project(state: State, user: str | None, name: str, on: str = "project") -> sqlite3.Row:
    """A readable project by id or alias. ``on="data"`` asks for its data: 403 where only the project is readable."""
    found = state.project(name)
    if found is None or not state.can(user, found["id"], "read", "project"):
        raise Refusal(404)
    if on == "data" and not state.can(user, found["id"], "read", "data"):
        raise Refusal(403)
    return found


def item(state: State, user: str | None, kind: Kind, name: str, in_project: str = "") -> sqlite3.Row:
    """A subject or session by accession number, or by label in a project that owns it or has it shared."""
    found = state.row(f"SELECT * FROM {kind.table} WHERE id=?", name)
    if found is not None and in_project and not label_in(state, kind, found, in_project):
        found = None
    if found is None and in_project:
        found = by_label(state, kind, in_project, name)
    if found is None or not _readable(state, user, kind, found):
        raise Refusal(404, kind.missing)
    return found


def subject(state: State, user: str | None, name: str, in_project: str = "") -> sqlite3.Row:
    return item(state, user, SUBJECT, name, in_project)


def experiment(state: State, user: str | None, name: str, in_project: str = "") -> sqlite3.Row:
    return item(state, user, EXPERIMENT, name, in_project)


def asked(request: Request, *, anywhere: bool = False) -> tuple[Kind, sqlite3.Row, str]:
    """What an address of a subject, session or assessor names: kind, row, and the project in the address or "".

    ``anywhere``: an accession number of a session counts whatever project is named before it, and what is no session
    is 417, as XNAT has it where a session is put into a project (XNAT source, SubjAssessmentResource.handlePut).
    """
    state: State = request.app.state.xnat
    words = request.path_params
    kind = EXPERIMENT if "e" in words else SUBJECT
    below = project(state, request.state.user, words["p"])["id"] if "p" in words else ""
    try:
        row = item(state, request.state.user, kind, words[kind.word], below)
    except Refusal:
        if not anywhere or kind is SUBJECT:
            raise
        if state.row("SELECT 1 FROM experiments WHERE id=?", words["e"]) is None:
            raise Refusal(417, "Need PUT Contents") from None
        row = item(state, request.state.user, kind, words["e"])
    return kind, assessor(state, request.state.user, row, words["a"], below) if "a" in words else row, below


def sessions_of(state: State, user: str | None, subject_id: str) -> list[sqlite3.Row]:
    """The sessions of a subject that somebody may read, whichever project owns them."""
    rows = state.rows("SELECT * FROM experiments WHERE subject_id=? AND session_id='' ORDER BY rowid", subject_id)
    return [row for row in rows if _readable(state, user, EXPERIMENT, row)]


def assessors(state: State, user: str | None, session: Record) -> list[sqlite3.Row]:
    """The assessors of a session that somebody may read."""
    rows = state.rows("SELECT * FROM experiments WHERE session_id=? ORDER BY rowid", session["id"])
    return [row for row in rows if _readable(state, user, EXPERIMENT, row)]


def assessor(state: State, user: str | None, session: Record, name: str, in_project: str = "") -> sqlite3.Row:
    """An assessor of a session by accession number or label, also by the label of its share in a project."""
    for row in assessors(state, user, session):
        if name in (row["id"], row["label"], label_in(state, EXPERIMENT, row, in_project)):
            return row
    raise Refusal(404, "Unable to find the specified assessor.")


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


def scans(state: State, session: Record, names: str) -> list[sqlite3.Row]:
    """The scans that a segment names: ids, types, lists of them, ``ALL`` or ``*`` (XNAT source, XNATTemplate)."""
    all_scans = state.rows("SELECT * FROM scans WHERE experiment_id=? ORDER BY pk", session["id"])
    if names in ("ALL", "*"):
        return all_scans
    ids = {"" if word == "NULL" else word for word in names.split(",")}
    types = {word.replace("[SLASH]", "/").replace("[COMMA]", ",") for word in ids}
    return [scan for scan in all_scans if scan["id"] in ids or scan["type"] in types]


def by_label(state: State, kind: Kind, in_project: str, label: str) -> sqlite3.Row | None:
    """What has this label in a project, owned or shared; a share without a label goes by the original one."""
    return state.row(f"SELECT * FROM {kind.table} WHERE project=? AND label=?", in_project, label) or state.row(
        f"SELECT i.* FROM {kind.table} i JOIN shares h ON h.kind=? AND h.item_id=i.id "
        "WHERE h.project=? AND coalesce(nullif(h.label,''), i.label)=?",
        kind.name,
        in_project,
        label,
    )


def label_in(state: State, kind: Kind, row: Record, in_project: str) -> str:
    """The label of an item in a project that owns it or has it shared, or ""."""
    if row["project"] == in_project:
        return row["label"]
    shared = state.row(
        "SELECT label FROM shares WHERE kind=? AND item_id=? AND project=?", kind.name, row["id"], in_project
    )
    return (shared["label"] or row["label"]) if shared else ""


def again(state: State, kind: Kind, row: Record) -> sqlite3.Row:
    """An item as it is now, for those who hold the catalogue; 404 when it is gone or another project's by now."""
    found = state.row(f"SELECT * FROM {kind.table} WHERE id=?", row["id"])
    if found is None or found["project"] != row["project"]:
        raise Refusal(404, kind.missing)
    return found


def may(state: State, user: str | None, row: Record, action: str, below: str = "") -> bool:
    """Whether somebody may change an item: where it is owned and, asked for below another project, there as well.

    REST test BasePermissionComparisonTest.
    """
    return all(state.can(user, name, action) for name in {row["project"], below or row["project"]})


def _readable(state: State, user: str | None, kind: Kind, row: Record) -> bool:
    if state.can(user, row["project"], "read"):
        return True
    shared = state.rows("SELECT project FROM shares WHERE kind=? AND item_id=?", kind.name, row["id"])
    return any(state.can(user, share["project"], "read") for share in shared)
