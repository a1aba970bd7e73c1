"""Workflows: what was done to an item, by whom and why; and the lock that an open one puts on it.

XNAT source: ``WorkflowResource``, ``WorkflowsRestlet``, ``EventUtils``; REST test TestWorkflows. The shape of a history
is that of a live 1.6.4.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import fields, find
from .answers import Refusal, as_json, item, item_answer, table, text
from .find import EXPERIMENT, SUBJECT
from .state import Record, State

TYPE = "wrk:workflowData"
_NEEDED = ("id", "launch_time", "data_type", "pipeline_name")
_COLUMNS = {
    "id": "item", "pipeline_name": "name", "status": "status", "justification": "reason", "comments": "comment",
    "ExternalID": "project", "type": "type", "data_type": "data_type",
}  # fmt: skip


def justified(request: Request) -> None:
    """Refuse a change without the words that the site asks for (XNAT source, EventUtils).

    Raises
    ------
    Refusal
        500, of DELETE 403, without ``event_reason`` where a justification is required and shown, or without
        ``event_action`` where events need a name. Both count in the query only (recorded answers, topic W5).
    """
    state: State = request.app.state.xnat
    query = request.query_params
    status = 403 if request.method == "DELETE" else 500
    wanted = [state.site(name) == "true" for name in ("requireChangeJustification", "showChangeJustification")]
    if all(wanted) and not query.get("event_reason"):
        raise Refusal(status, "Justification required.")
    if state.site("requireEventName") == "true" and not query.get("event_action"):
        raise Refusal(status, "Event name required.")


def history(request: Request) -> Response:
    """GET <item>/history: the audit entries, the newest first."""
    _, row, _ = find.asked(request)
    rows = request.app.state.xnat.rows("SELECT * FROM workflows WHERE item=? ORDER BY pk DESC", row["id"])
    return as_json({"events": [_event(one) for one in rows]})


def _event(row: Record) -> dict[str, Any]:
    try:
        at = datetime.datetime.fromisoformat(row["date"]).timestamp()
    except ValueError:
        at = 0.0
    found = {
        "event_action": row["name"],
        "event_id": row["pk"],
        "event_type": row["type"] or "WEB_SERVICE",
        "event_reason": row["reason"],
        "event_comment": row["comment"],
        "event_date": int(at * 1000),
        "changesets": [],
        "event_user": row["user"],
        "event_category": "DATA",
        "event_status": row["status"],
    }
    return {name: value for name, value in found.items() if value != ""}


def _view(row: Record) -> dict[str, Any]:
    shown = {"wrk_workflowData_id": row["pk"], "create_user": row["user"], "launch_time": row["date"]}
    shown |= {name: row[column] for name, column in _COLUMNS.items()}
    return item(TYPE, shown | json.loads(row["data"] or "{}"))


async def workflow(request: Request) -> Response:
    """/data/workflows and /data/workflows/N: one workflow by its number or by its fields."""
    body = await request.body() if request.method == "PUT" else b""
    return await run_in_threadpool(_workflow, request, body)


def _workflow(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    user, number = request.state.user, request.path_params.get("number", "")
    given = fields.read(request, body)
    asked = {"id": given.id, **given.values}
    found: Record | None
    if number:
        found = state.row("SELECT * FROM workflows WHERE pk=?", int(number)) if number.isdecimal() else None
        if found is None:
            raise Refusal(404, "Unable to find the specified workflow.")
    else:
        found = _by_fields(state, asked)
    if request.method == "GET":
        if found is None or not _readable(state, user, found):
            raise Refusal(404, "Unable to find the specified workflow.")
        return item_answer(request, _view(found))
    if found is not None:
        if found["user"] != user and not state.is_admin(user):
            raise Refusal(403, "Only who launched a workflow may change it.")
        _write(state, found["pk"], asked)
        return text(found["pk"])
    missing = [name for name in _NEEDED if not asked.get(name)]
    if missing:
        raise Refusal(400, f"A new workflow needs {', '.join(missing)}.")
    if not any(_may_edit(state, user, kind.table, asked["id"]) for kind in (SUBJECT, EXPERIMENT)):
        raise Refusal(403, f"User cannot change {asked['id']}")
    with state.write() as db:
        key = db.execute(
            "INSERT INTO workflows(item, name, status, user, date, type) VALUES(?,?,?,?,?,?)",
            (asked["id"], asked["pipeline_name"], "Queued", user, asked["launch_time"], "PROCESS"),
        ).lastrowid
        assert key is not None
        _write(state, key, asked)
    return text(key)


def _by_fields(state: State, asked: Mapping[str, str]) -> Record | None:
    """The newest workflow with these values of the fields that tell one from another."""
    columns = {"id": "item", "pipeline_name": "name", "launch_time": "date", "ExternalID": "project"}
    wanted = {column: asked[name] for name, column in columns.items() if asked.get(name)}
    if "item" not in wanted:
        return None
    where = " AND ".join(f"{column}=?" for column in wanted)
    return state.row(f"SELECT * FROM workflows WHERE {where} ORDER BY pk DESC LIMIT 1", *wanted.values())


def _write(state: State, key: int, asked: Mapping[str, str]) -> None:
    with state.write() as db:
        for name, column in _COLUMNS.items():
            if asked.get(name):
                db.execute(f"UPDATE workflows SET {column}=? WHERE pk=?", (asked[name], key))
        rest = {name: value for name, value in asked.items() if name not in _COLUMNS and name != "launch_time"}
        known = json.loads(state.one("SELECT data FROM workflows WHERE pk=?", key)["data"] or "{}")
        db.execute("UPDATE workflows SET data=? WHERE pk=?", (json.dumps(known | rest), key))


def _readable(state: State, user: str, row: Record) -> bool:
    if row["user"] == user or state.is_admin(user):
        return True
    for kind in (SUBJECT, EXPERIMENT):
        try:
            find.item(state, user, kind, row["item"])
        except Refusal:
            continue
        return True
    return bool(row["project"]) and state.can(user, row["project"], "read")


def _may_edit(state: State, user: str, kind: str, key: str) -> bool:
    row = state.row(f"SELECT project FROM {kind} WHERE id=?", key)
    return row is not None and state.can(user, row["project"], "edit")


def of_pipeline(request: Request) -> Response:
    """GET /data/services/workflows/PIPELINE?experiment=&project=&status=&display=ALL|LATEST."""
    state: State = request.app.state.xnat
    query = request.query_params
    wanted = {"name": request.path_params["pipeline"]} | {
        column: query[name]
        for name, column in (("experiment", "item"), ("project", "project"), ("status", "status"))
        if query.get(name)
    }
    where = " AND ".join(f"{column}=?" for column in wanted)
    rows = state.rows(f"SELECT * FROM workflows WHERE {where} ORDER BY pk DESC", *wanted.values())
    rows = [row for row in rows if _readable(state, request.state.user, row)]
    if query.get("display", "").upper() == "LATEST":
        rows = rows[:1]
    names = ["wrk_workflowData_id", "id", "ExternalID", "pipeline_name", "data_type", "launch_time", "status"]
    return table(request, [_view(row)["data_fields"] for row in rows], [*names, "create_user"], "Workflows")


_BASES = ("/data/subjects/{s}", "/data/projects/{p}/subjects/{s}", *find.SESSION_ADDRESSES)
routes = [Route(f"{base}/history", history) for base in _BASES]
routes += [Route(f"{base}/assessors/{{a}}/history", history) for base in find.SESSION_ADDRESSES]
routes += [
    Route("/data/workflows", workflow, methods=["GET", "PUT"]),
    Route("/data/workflows/{number}", workflow, methods=["GET", "PUT"]),
    Route("/data/services/workflows/{pipeline}", of_pipeline),
]
