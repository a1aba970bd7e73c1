"""Subjects and sessions as objects: read, make, change, delete (XNAT source: SubjectResource, SubjAssessmentResource).

One mechanism serves both: what differs is what a new one needs, and which fields are columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import fields, find, moving, past, personality, pulling, removing, scans
from .answers import Refusal, flag, item_answer, text
from .fields import Given
from .find import EXPERIMENT, SUBJECT, Kind
from .state import Record, State
from .views import view
from .workflows import justified

_BY_NUMBER = "delete-by-accession-number"
_OWN = {"date", "time", "uid", "modality"}
_STATUS = {"_lock": "locked", "_unlock": "active", "_obsolete": "obsolete", "activate": "active",
           "quarantine": "quarantine"}  # fmt: skip


async def item(request: Request) -> Response:
    """A subject or a session, by any of its addresses."""
    if request.method in ("PUT", "POST"):
        return await run_in_threadpool(_change, request, await request.body())
    return await run_in_threadpool(_look, request)


def _look(request: Request) -> Response:
    kind, row, below = find.asked(request)
    if request.method == "DELETE":
        if kind is EXPERIMENT and not below and not personality.has(request.app.state.xnat, _BY_NUMBER):
            raise Refusal(405)
        return removing.delete(request, kind, row, below)
    found = view(request.app.state.xnat, request.state.user, kind, row)
    return item_answer(request, found, past.items(request.app.state.xnat, kind, row, found))


def _change(request: Request, body: bytes) -> Response:
    """Look and write in one transaction, so that two who make the same thing at once do not collide."""
    state: State = request.app.state.xnat
    given = fields.read(request, body)
    justified(request)
    with state.write():
        try:
            kind, row, below = find.asked(request)
        except Refusal as refusal:
            words = request.path_params
            if "p" not in words and "e" in words:
                raise _not_mine(state, words["e"], refusal) from None
            if "p" not in words or (words.get("e") and "s" not in words):
                raise
            if "e" not in words and not _sees(state, request.state.user, words["p"]):
                raise Refusal(422, "Submitted subject record must include the project attribute.") from None
            project = find.project(state, request.state.user, words["p"])["id"]
            kind = EXPERIMENT if "e" in words else SUBJECT
            return text(_new(request, kind, project, given, words[kind.word], refusal), 201)
        return change(request, kind, row, below, given)


def _sees(state: State, user: str | None, name: str) -> bool:
    found = state.project(name)
    return found is not None and state.can(user, found["id"], "read", "project")


def _not_mine(state: State, name: str, refusal: Refusal) -> Refusal:
    """What a change by accession number is told: XNAT finds the session whoever asks (recorded answers, n164)."""
    if state.row("SELECT 1 FROM experiments WHERE id=?", name) is None:
        return refusal
    return Refusal(403, "Specified user account has insufficient edit privileges for experiments in this project.")


def change(request: Request, kind: Kind, row: Record, below: str, given: Given) -> Response:
    """Rename or change a subject, session or assessor asked for below a project ("" for an address without one).

    A session is changed by its path: with its accession number alone, fields are 422 (live 1.8.11, fact 11).
    """
    state: State = request.app.state.xnat
    if kind is EXPERIMENT and not below and "a" not in request.path_params:
        if not personality.has(state, "change-by-accession-number"):
            raise Refusal(405)
        if (given.values or given.xsi_type or given.document) and not given.project:
            raise Refusal(422, "Submitted experiment record must include the project attribute.")
    if given.only_label and (given.relabel or kind is SUBJECT):
        return moving.rename(request, kind, row, below, given.label)
    return _modify(request, kind, row, below, given)


def _modify(request: Request, kind: Kind, row: Record, below: str, given: Given) -> Response:
    state: State = request.app.state.xnat
    user = request.state.user
    if not find.may(state, user, row, "edit", below):
        raise Refusal(
            403, f"Specified user account has insufficient edit privileges for {kind.plural} in this project."
        )
    if given.project and given.project != row["project"]:
        raise Refusal(409, "Project must be modified through separate URI.")
    if given.id and given.id != row["id"]:
        raise Refusal(400, "ID must not be modified.")
    if given.label and given.label not in (row["label"], find.label_in(state, kind, row, below)):
        raise Refusal(400, "Label must be modified through separate URI.")
    if kind is EXPERIMENT and not row["session_id"] and (below or row["project"]) == row["project"]:
        other = given.values.pop("subject_ID", "") or request.path_params.get("s", "")
        if other:
            moving.change_subject(state, row, _subject(state, user, row["project"], other))
    known = json.loads(row["fields"])
    if given.document and flag(request, "allowDataDeletion"):
        absent = _OWN - {name.lower() for name in given.values} if kind is EXPERIMENT else ()
        given.values |= dict.fromkeys(absent, "")
        known = {}
    for name, status in _STATUS.items():
        if flag(request, name):
            if status == "locked" and not state.can(user, row["project"], "delete"):
                raise Refusal(403, "Specified user account has insufficient privileges to lock this.")
            known["status"] = status
    if given.values or given.scans:
        past.remember(state, kind, row)
    write(state, kind, row["id"], known, given)
    for name, pull in (("pullDataFromHeaders", pulling.from_headers), ("fixScanTypes", pulling.fix_types)):
        if kind is EXPERIMENT and not row["session_id"] and flag(request, name):
            pull(state, state.one("SELECT * FROM experiments WHERE id=?", row["id"]))
    state.workflow(row["id"], "Modified via web service", user, request.query_params, project=row["project"])
    return text(row["id"])


def write(state: State, kind: Kind, key: str, known: Mapping[str, str], given: Given) -> None:
    """Set fields of an item beside those ``known``; dates, times, UIDs and modalities of sessions are columns."""
    values = {name: value for name, value in given.values.items() if name != "subject_ID"}
    own = {name for name in values if kind is EXPERIMENT and name.lower() in _OWN}
    with state.write() as db:
        for name in own:
            db.execute(f"UPDATE experiments SET {name.lower()}=? WHERE id=?", (values[name], key))
        rest = {**known, **{name: value for name, value in values.items() if name not in own}}
        db.execute(f"UPDATE {kind.table} SET fields=? WHERE id=?", (json.dumps(rest), key))
        for scan in given.scans if kind is EXPERIMENT else ():
            scans.write(state, key, scan.id, scan.xsi_type, scan.values)


def _new(request: Request, kind: Kind, project: str, given: Given, name: str, missing: Refusal | None = None) -> str:
    """Make a subject or session; its accession number.

    Raises
    ------
    Refusal
        403 without the right, 409 when the label is in use, 417 for what is illegal or missing; ``missing`` when an
        address without a subject was to make a session.
    """
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    label = given.label or name
    may_make(state, user, kind, project, given, label)
    if kind is EXPERIMENT and not given.xsi_type:
        raise Refusal(417, "Need PUT Contents: the xsiType of the new experiment.")
    if kind is EXPERIMENT and not given.xsi_type.lower().endswith(("sessiondata", "assessordata")):
        raise Refusal(400, f"Element not found: '{given.xsi_type}'")
    if kind is SUBJECT:
        accession = state.new_subject(project, label, user)
    else:
        owner = words.get("s", "") or given.values.get("subject_ID", "")
        subject = _subject(state, user, project, owner, make=missing is not None)
        accession = state.new_experiment(project, subject, label, given.xsi_type, user)
    return finished(request, kind, accession, project, given, label)


def may_make(state: State, user: str | None, kind: Kind, project: str, given: Given, label: str) -> None:
    """Refuse what is not to be made: 403 without the right, 409 for another project or a label in use, 417."""
    if not state.can(user, project, "create"):
        raise Refusal(
            403, f"Specified user account has insufficient create privileges for {kind.plural} in this project."
        )
    if given.project and given.project != project:
        raise Refusal(409, "Project must be modified through separate URI.")
    if label:
        fields.legal(label)
        if find.by_label(state, kind, project, label):
            raise Refusal(409, f"Conflict: Duplicate {kind.name} label")


def finished(request: Request, kind: Kind, accession: str, project: str, given: Given, label: str) -> str:
    """What is new with its fields and an audit entry; without a label it goes by its accession number."""
    state: State = request.app.state.xnat
    with state.write() as db:
        if not label:
            db.execute(f"UPDATE {kind.table} SET label=id WHERE id=?", (accession,))
        write(state, kind, accession, {}, given)
        state.workflow(accession, "Added via web service", request.state.user, request.query_params, project=project)
    return accession


def _subject(state: State, user: str, project: str, name: str, *, make: bool = True) -> str:
    """The accession number of a subject that an address or a field names; PUT makes a new one, POST does not."""
    try:
        return find.subject(state, user, name, project)["id"]
    except Refusal:
        if not make:
            raise Refusal(404, f"Unable to identify subject {name}") from None
        if not state.can(user, project, "create"):
            raise
        fields.legal(name)
        return state.subject_of(project, name, user)


async def to_list(request: Request) -> Response:
    """POST to a list of subjects or sessions: one more, whose address is the answer."""
    return await run_in_threadpool(_to_list, request, await request.body())


def _to_list(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    project = find.project(state, request.state.user, request.path_params["p"])["id"]
    kind = SUBJECT if request.scope["path"].endswith("/subjects") else EXPERIMENT
    given = fields.read(request, body)
    justified(request)
    with state.write():
        made = _new(request, kind, project, given, "")
    return created(request, made)


def created(request: Request, name: str) -> Response:
    """The address of what was added to a list, as text and as ``Location``."""
    address = f"{str(request.base_url).rstrip('/')}{request.scope['path']}/{name}"
    answer = text(address, 201)
    answer.headers["Location"] = address
    return answer


def status(request: Request) -> Response:
    """GET <session>/status."""
    _, row, _ = find.asked(request)
    return text(json.loads(row["fields"]).get("status", "active"))


_ALL = ["GET", "PUT", "POST", "DELETE"]
_BASES = (
    "/data/subjects/{s}",
    "/data/projects/{p}/subjects/{s}",
    *find.SESSION_ADDRESSES,
)
routes = [Route(base, item, methods=_ALL) for base in _BASES]
routes.append(Route(f"{find.WITHOUT_SUBJECT}/scans", item))
routes += [Route(f"{base}/status", status) for base in _BASES]
routes += [
    Route(path, to_list, methods=["POST"])
    for path in (
        "/data/projects/{p}/subjects",
        "/data/projects/{p}/experiments",
        "/data/projects/{p}/subjects/{s}/experiments",
    )
]
