"""Assessors of a session's images: list, read, make, change, delete (XNAT source: SubjAssessmentResource).

An assessor is an experiment of a session in place of a subject: it has an accession number, a label in its project,
shares and resources of its own. Its files lie with its session.
"""

from __future__ import annotations

import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import fields, find, removing, subjects, unread
from .answers import Refusal, item_answer, table, text
from .fields import Given
from .find import EXPERIMENT
from .state import Record, State
from .views import view
from .workflows import justified

_TYPE = re.compile(r"\w+:\w+(?<!session)(?<!scan)(?<!subject)(?<!project)data", re.IGNORECASE)
_KEYS = ("ID", "project", "date", "xsiType", "label", "insert_date", "URI")


def assessor_list(request: Request) -> Response:
    """GET .../experiments/E/assessors."""
    state: State = request.app.state.xnat
    _, session, _ = find.asked(request)
    asked, kind = unread.columns(request), unread.in_any_case(request, "xsiType")
    known = {name.lower(): name for name in (*_KEYS, "insert_user", "session_ID", "session_label")}
    names = [known[name] for name in (name.lower().rpartition("/")[2] for name in asked) if name in known]
    rows = []
    for row in find.assessors(state, request.state.user, session):
        if kind and kind not in ("xnat:imageAssessorData", row["xsi_type"]):
            continue
        rows.append(
            {
                "ID": row["id"],
                "project": row["project"],
                "date": row["date"],
                "xsiType": row["xsi_type"],
                "label": row["label"],
                "insert_date": row["insert_date"],
                "insert_user": row["insert_user"],
                "session_ID": session["id"],
                "session_label": session["label"],
                "URI": f"/data/experiments/{row['id']}",
            }
        )
    return table(request, rows, list(dict.fromkeys(["ID", *names, "URI"])) if asked else _KEYS)


async def assessor(request: Request) -> Response:
    """.../experiments/E/assessors/A."""
    if request.method in ("PUT", "POST"):
        return await run_in_threadpool(_change, request, await request.body())
    return await run_in_threadpool(_look, request)


def _look(request: Request) -> Response:
    _, row, below = find.asked(request)
    if request.method == "DELETE":
        return removing.delete(request, EXPERIMENT, row, below)
    return item_answer(request, view(request.app.state.xnat, request.state.user, EXPERIMENT, row))


def _change(request: Request, body: bytes) -> Response:
    """Look and write in one transaction, so that two who make the same thing at once do not collide."""
    state: State = request.app.state.xnat
    given = fields.read(request, body)
    justified(request)
    with state.write():
        session, below = _session(request)
        try:
            row = find.assessor(state, request.state.user, session, request.path_params["a"], below)
        except Refusal:
            return text(_new(request, session, below, given, request.path_params["a"]), 201)
        return subjects.change(request, EXPERIMENT, row, below, given)


async def to_list(request: Request) -> Response:
    """POST to the list of assessors: one more, whose address is the answer; GET is the list."""
    if request.method == "POST":
        return await run_in_threadpool(_to_list, request, await request.body())
    return await run_in_threadpool(assessor_list, request)


def _to_list(request: Request, body: bytes) -> Response:
    given = fields.read(request, body)
    justified(request)
    with request.app.state.xnat.write():
        made = _new(request, *_session(request), given, "")
    return subjects.created(request, made)


def _session(request: Request) -> tuple[Record, str]:
    """The session of the address, and the project in it or ""."""
    state: State = request.app.state.xnat
    words, user = request.path_params, request.state.user
    below = find.project(state, user, words["p"])["id"] if "p" in words else ""
    session = find.experiment(state, user, words["e"], below)
    if session["session_id"]:
        raise Refusal(404, EXPERIMENT.missing)
    return session, below


def _new(request: Request, session: Record, below: str, given: Given, name: str) -> str:
    """Make an assessor in the project of the address, or in its session's; its accession number.

    Raises
    ------
    Refusal
        403 without the right, 409 when the label is in use, 417 for what is illegal or missing, 400 for a type that
        is none of assessors.
    """
    state: State = request.app.state.xnat
    user, project, label = request.state.user, below or session["project"], given.label or name
    subjects.may_make(state, user, EXPERIMENT, project, given, label)
    if not given.xsi_type:
        raise Refusal(417, "Need PUT Contents: the xsiType of the new assessor.")
    if not _TYPE.fullmatch(given.xsi_type):
        raise Refusal(400, f"Element not found: '{given.xsi_type}'")
    given.values.pop("imageSession_ID", None)
    accession = state.new_experiment(project, "", label, given.xsi_type, user, session_id=session["id"])
    return subjects.finished(request, EXPERIMENT, accession, project, given, label)


routes = []
for _base in find.SESSION_ADDRESSES:
    routes += [
        Route(f"{_base}/assessors", to_list, methods=["GET", "POST"]),
        Route(f"{_base}/assessors/{{a}}", assessor, methods=["GET", "PUT", "POST", "DELETE"]),
        Route(f"{_base}/assessors/{{a}}/status", subjects.status),
    ]
