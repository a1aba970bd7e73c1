"""The configuration service of the site and of projects: texts with versions (XNAT source: ConfigResource)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import find, personality, site
from .answers import Refusal, flag, table, text
from .state import Record, State, now

_COLUMNS = ["tool", "path", "project", "user", "create_date", "reason", "contents", "unversioned", "version", "status"]


async def config(request: Request) -> Response:
    """/data[/projects/P]/config[/TOOL[/PATH]]."""
    body = (await request.body()).decode("utf-8", "replace") if request.method == "PUT" else ""
    return await run_in_threadpool(_config, request, body)


def _config(request: Request, body: str) -> Response:
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    project = ""
    if "p" in words:
        found = state.project(words["p"])
        if found is not None and not state.can(user, found["id"], "read", "project"):
            raise Refusal(403, f"User {user} can not access project {words['p']}")
        project = find.project(state, user, words["p"])["id"]
        if request.method == "GET":
            find.project(state, user, project, "data")
    if request.method == "GET":
        return _look(request, project)
    if not (state.can(user, project, "delete", "project") if project else state.is_admin(user)):
        raise Refusal(403)
    if not words.get("path"):
        raise Refusal(400, "A configuration has a tool and a path.")
    return _write(request, project, body)


def _look(request: Request, project: str) -> Response:
    state: State = request.app.state.xnat
    words, query = request.path_params, request.query_params
    absent = flag(request, "accept-not-found") and personality.has(state, "accept-not-found")
    if not words.get("path"):
        return _overview(request, project, words.get("tool", ""))
    rows = versions(state, project, words["tool"], words["path"])
    if not rows and project and flag(request, "defaultToSiteWide"):
        rows = versions(state, "", words["tool"], words["path"])
    history = query.get("action") == "getHistory"
    if query.get("version", "").isdecimal():
        rows = [row for row in rows if row["version"] == int(query["version"])]
    if not rows or (flag(request, "contents") and rows[0]["status"] != "enabled"):
        if absent:
            return Response(status_code=204, media_type="application/json")
        where = f" and project {project}" if project else ""
        raise Refusal(404, f"Couldn't find config for user {request.state.user}{where} on tool [{words['tool']}] path "
                           f"[/{words['path']}]")  # fmt: skip
    if flag(request, "contents"):
        return text(rows[0]["contents"])
    columns = [name for name in _COLUMNS if name != "contents" or not flag(request, "meta")]
    return table(request, [_shown(row) for row in (rows if history else rows[:1])], columns, total=False)


def _overview(request: Request, project: str, tool: str) -> Response:
    """The tools that have a configuration, or the newest version of each path of one tool."""
    state: State = request.app.state.xnat
    rows = state.rows("SELECT DISTINCT tool, path FROM config WHERE project=? ORDER BY tool, path", project)
    pairs = [(row["tool"], row["path"]) for row in rows]
    anon = ("anon", f"projects/{project}" if project else "script")
    if _script_rows(state, project):
        pairs.append(anon)
    if not tool:
        return table(request, [{"tool": name} for name in sorted({name for name, _ in pairs})], ["tool"])
    found = [_shown(versions(state, project, name, path)[0]) for name, path in pairs if name == tool]
    if not found:
        if flag(request, "accept-not-found") and personality.has(state, "accept-not-found"):
            return Response(status_code=204, media_type="application/json")
        raise Refusal(404)
    return table(request, found, _COLUMNS, total=False)


def versions(state: State, project: str, tool: str, path: str) -> Sequence[Record]:
    """All versions of one configuration, the newest first."""
    if (tool, path) == ("anon", f"projects/{project}" if project else "script"):
        return _script_rows(state, project)
    return state.rows(
        "SELECT * FROM config WHERE project=? AND tool=? AND path=? ORDER BY version DESC", project, tool, path
    )


def _script_rows(state: State, project: str) -> Sequence[Record]:
    """The script of the site or of a project as the configuration service shows it."""
    script, enabled = site.script(state, project)
    if script is None:
        return []
    path = f"/projects/{project}" if project else "script"
    row = {"project": project, "tool": "anon", "path": path, "contents": script}
    return [row | site.written(state, project) | {"status": "enabled" if enabled else "disabled"}]


def _shown(row: Record) -> dict[str, Any]:
    found = {name: row[name] for name in ("tool", "path", "project", "user", "contents", "version", "status")}
    return found | {"create_date": row["date"], "reason": "", "unversioned": "false"}


def _write(request: Request, project: str, body: str) -> Response:
    state: State = request.app.state.xnat
    user, words, query = request.state.user, request.path_params, request.query_params
    tool, path = words["tool"], words["path"]
    rows = versions(state, project, tool, path)
    status = query.get("status", "")
    if request.method == "DELETE":
        if not rows:
            raise Refusal(404)
        body, status = "", "disabled"
    elif "json" in request.headers.get("content-type", "") and personality.has(state, "json-configuration"):
        body, status = _document(body, status)
    if status not in ("", "enabled", "disabled") or (not body and not status):
        raise Refusal(400, "A configuration needs contents, or status=enabled or status=disabled.")
    if not body and not rows:
        raise Refusal(404)
    if tool == "anon" and path == (f"projects/{project}" if project else "script"):
        enabled = {"disabled": False, "enabled": True, "": True if body else None}[status]
        site.set_script(state, project, body or None, enabled, user)
        return text("", 200 if rows else 201)
    with state.write() as db:
        db.execute(
            "INSERT INTO config(project, tool, path, version, contents, status, user, date) VALUES(?,?,?,?,?,?,?,?)",
            (
                project, tool, path, rows[0]["version"] + 1 if rows else 1, body or rows[0]["contents"],
                status or "enabled", user, now(),
            ),
        )  # fmt: skip
    return text("", 200 if rows else 201)


def _document(body: str, status: str) -> tuple[str, str]:
    """Contents and status of a JSON body that holds nothing else; any other is itself the contents."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return body, status
    if isinstance(given, dict) and given and given.keys() <= {"contents", "status"}:
        return str(given.get("contents", "")), str(given.get("status", status))
    return body, status


def scripts(request: Request) -> Response:
    """GET /data/config/edit[/projects/P]/image/dicom/{script,status}: the older view of the scripts, with their ids."""
    state: State = request.app.state.xnat
    name = request.path_params.get("p", "")
    project = find.project(state, request.state.user, name) if name else None
    key = project["id"] if project else ""
    script, enabled = site.script(state, key)
    number = state.row("SELECT rowid AS number FROM projects WHERE id=?", key)
    row = {
        "project": key or "-1", "user": "admin", "create_date": "", "script": script, "edit": str(enabled).lower(),
        "id": number["number"] + 1 if number else 1,
    }  # fmt: skip
    last = "script" if request.scope["path"].endswith("/script") else "edit"
    columns = ["project", "user", "create_date", last, "id"]
    return table(request, [row] if script is not None else [], columns, total=False)


_ALL = ["GET", "PUT", "DELETE"]
routes = [
    Route(f"/data/config/edit{middle}/image/dicom/{last}", scripts)
    for middle in ("", "/projects/{p}")
    for last in ("script", "status")
]
for _base in ("/data/config", "/data/projects/{p}/config"):
    routes += [
        Route(_base, config),
        Route(f"{_base}/{{tool}}", config),
        Route(f"{_base}/{{tool}}/{{path:path}}", config, methods=_ALL),
    ]
