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

from . import fields, find, moving, removing
from .answers import Refusal, item_answer, text
from .fields import Given
from .find import EXPERIMENT, SUBJECT, Kind
from .state import State
from .views import view

_OWN = {"date", "time", "uid", "modality"}


async def item(request: Request) -> Response:
    """A subject or a session, by any of its addresses."""
    if request.method in ("PUT", "POST"):
        return await run_in_threadpool(_change, request, await request.body())
    return await run_in_threadpool(_look, request)


def _look(request: Request) -> Response:
    kind, row, below = find.asked(request)
    if request.method == "DELETE":
        return removing.delete(request, kind, row, below)
    return item_answer(request, view(request.app.state.xnat, kind, row))


def _change(request: Request, body: bytes) -> Response:
    """Look and write in one transaction, so that two who make the same thing at once do not collide."""
    state: State = request.app.state.xnat
    given = fields.read(request, body)
    with state.write():
        try:
            kind, row, below = find.asked(request)
        except Refusal as refusal:
            if "p" not in request.path_params:
                raise
            project = find.project(state, request.state.user, request.path_params["p"])["id"]
            return _new(request, EXPERIMENT if "e" in request.path_params else SUBJECT, project, given, refusal)
        if given.only_label and given.relabel or given.only_label and kind is SUBJECT:
            return moving.rename(request, kind, row, below, given.label)
        return _modify(request, kind, row, below, given)


def _modify(request: Request, kind: Kind, row: Mapping, below: str, given: Given) -> Response:
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
    if kind is EXPERIMENT and (below or row["project"]) == row["project"]:
        other = given.values.pop("subject_ID", "") or request.path_params.get("s", "")
        if other:
            moving.change_subject(state, row, _subject(state, user, row["project"], other))
    write(state, kind, row["id"], json.loads(row["fields"]), given.values)
    state.workflow(row["id"], "Modified via web service", user, request.query_params, project=row["project"])
    return text(row["id"])


def write(state: State, kind: Kind, key: str, known: dict[str, str], values: Mapping[str, str]) -> None:
    """Set fields of an item beside those ``known``; dates, times, UIDs and modalities of sessions are columns."""
    own = {name for name in values if kind is EXPERIMENT and name.lower() in _OWN}
    with state.write() as db:
        for name in own:
            db.execute(f"UPDATE experiments SET {name.lower()}=? WHERE id=?", (values[name], key))
        rest = known | {name: value for name, value in values.items() if name not in own}
        db.execute(f"UPDATE {kind.table} SET fields=? WHERE id=?", (json.dumps(rest), key))


def _new(request: Request, kind: Kind, project: str, given: Given, missing: Refusal) -> Response:
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    if kind is EXPERIMENT and "s" not in words:
        raise missing
    if not state.can(user, project, "create"):
        raise Refusal(
            403, f"Specified user account has insufficient create privileges for {kind.plural} in this project."
        )
    label = given.label or words[kind.word]
    fields.legal(label)
    if kind is EXPERIMENT and not given.xsi_type:
        raise Refusal(417, "Need xsiType of the new experiment.")
    if find.by_label(state, kind, project, label):
        raise Refusal(409, f"Conflict: Duplicate {kind.name} label")
    if kind is SUBJECT:
        accession = state.new_subject(project, label, user)
    else:
        given.values.pop("subject_ID", None)
        owner = _subject(state, user, project, words["s"])
        accession = state.new_experiment(project, owner, label, given.xsi_type, user)
    write(state, kind, accession, {}, given.values)
    state.workflow(accession, "Added via web service", user, request.query_params, project=project)
    return text(accession, 201)


def _subject(state: State, user: str, project: str, name: str) -> str:
    """The accession number of a subject that an address or a field names; a new one is made (REST: PUT)."""
    try:
        return find.subject(state, user, name, project)["id"]
    except Refusal:
        if not state.can(user, project, "create"):
            raise
        fields.legal(name)
        return state.new_subject(project, name, user)


def status(request: Request) -> Response:
    """GET <session>/status."""
    _, row, _ = find.asked(request)
    return text(json.loads(row["fields"]).get("status", "active"))


_ALL = ["GET", "PUT", "POST", "DELETE"]
_BASES = (
    "/data/subjects/{s}",
    "/data/projects/{p}/subjects/{s}",
    "/data/experiments/{e}",
    "/data/projects/{p}/experiments/{e}",
    "/data/projects/{p}/subjects/{s}/experiments/{e}",
)
routes = [Route(base, item, methods=_ALL) for base in _BASES]
routes += [Route(f"{base}/status", status) for base in _BASES]
