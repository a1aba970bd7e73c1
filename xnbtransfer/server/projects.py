"""Projects: four lists, objects, settings, people (XNAT source: ProjectListResource, ProjectResource)."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import datatypes, fields, find, personality, removing, unread
from .answers import Refusal, flag, item, item_answer, table, text
from .listings import matches
from .people import GUEST
from .state import GROUPS, State

_PLAIN = ["ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI"]
_RICH = ("accessible", "data", "owner", "member", "collaborator", "admin", "users", "favorite", "recent", "activeSince")


_IMAGES = {"public": "/@WEBAPPimages/globe.gif"}


def project_list(request: Request) -> Response:
    """GET /data/projects: which list comes depends on the parameters."""
    state: State = request.app.state.xnat
    user, query = request.state.user, request.query_params
    rows = state.rows("SELECT * FROM projects ORDER BY id")
    if query.get("permissions"):
        action = query["permissions"]
        if not datatypes.set_up(state, query.get("dataType", "")):
            rows = []
        counts = state.has_right if personality.has(state, "types-are-known") else state.can
        found = [row for row in rows if counts(user, row["id"], action)]
        return _ids(request, found, ["id", "secondary_id"])
    if flag(request, "creatableTypes"):
        found = [row for row in rows if state.can(user, row["id"], "create")]
        return _ids(request, found, ["id", "secondary_id", "name", "description"])
    readable = [row for row in rows if state.can(user, row["id"], "read", "project")]
    rich = any(name in query for name in _RICH) or flag(request, "prearc_code")
    if not readable and not rich and not personality.has(state, "xapi"):
        raise Refusal(403)  # 1.6, to who can read nothing (recorded answers, topic W6)
    if rich:
        return _rich(request, readable)
    if query.get("restrict") in ("edit", "delete"):
        readable = [row for row in readable if state.can(user, row["id"], query["restrict"], "project")]
    shown = [
        {
            "ID": row["id"],
            "secondary_ID": row["secondary_id"],
            "name": row["name"],
            "description": row["description"],
            "pi_firstname": row["pi_first"],
            "pi_lastname": row["pi_last"],
            "alias": row["alias"],
            "URI": f"/data/projects/{row['id']}",
        }
        for row in readable
    ]
    for name, pattern in query.items():
        column = _column(name)
        if column and pattern:
            unread.looked(request, name)
            shown = [one for one in shown if matches(pattern, str(one[column] or ""))]
    asked = [column for name in query.get("columns", "").split(",") if (column := _column(name))]
    for name in unread.columns(request):
        if not _column(name) and name.upper() != "URI":
            unread.ignored(request, "column", name)
    columns = list(dict.fromkeys(["ID", *asked, "URI"])) if query.get("columns") else _PLAIN
    return table(request, shown, columns)


def _column(name: str) -> str:
    """The key of a column of projects by its shortcut or path, or ""."""
    short = re.sub(r"^xnat:projectdata/(aliases/alias/|pi/)?", "", name, flags=re.IGNORECASE).lower()
    short = {"firstname": "pi_firstname", "lastname": "pi_lastname"}.get(short, short)
    return {column.lower(): column for column in (*_PLAIN, "alias") if column != "URI"}.get(short, "")


def _ids(request: Request, rows, columns: list[str]) -> Response:
    return table(request, [{name: row[name] for name in columns} for row in rows], columns, total=False)


def _rich(request: Request, rows) -> Response:
    state: State = request.app.state.xnat
    user, query = request.state.user, request.query_params
    known = state.row("SELECT number FROM users WHERE login=?", user)
    number = known["number"] if known else 0
    found = []
    for row in rows:
        role = state.role(user, row["id"])
        everything = state.is_admin(user) or bool(state.site_group(user))
        if query.get("accessible") == "false" and (role or everything):
            continue
        if query.get("data") == "writable" and role not in ("owner", "member") and not everything:
            continue
        if query.get("data") == "readable" and not role and row["accessibility"] != "public" and not everything:
            continue
        if any(flag(request, name) and role != name for name in ("owner", "member", "collaborator")):
            continue
        one: dict[str, Any] = {
            "id": row["id"],
            "secondary_id": row["secondary_id"],
            "name": row["name"],
            "description": row["description"],
            "pi": " ".join(part for part in (row["pi_first"], row["pi_last"]) if part),
            "project_invs": "",
            "project_access": row["accessibility"],
            "project_access_img": _IMAGES.get(row["accessibility"], "/@WEBAPPimages/key.gif"),
            "insert_date": row["insert_date"],
            "insert_user": row["insert_user"],
            f"user_role_{number}": GROUPS.get(role, ""),
            f"last_accessed_{number}": "",
            "quarantine_status": "active",
        }
        if flag(request, "prearc_code"):
            one |= {"proj_quarantine": row["quarantine_code"], "proj_prearchive_code": row["prearchive_code"]}
        found.append(one)
    return table(request, found, title="Projects", extra={"xdat_user_id": str(number)})


async def project(request: Request) -> Response:
    """/data/projects/P, and POST to the list of projects."""
    body = await request.body() if request.method in ("PUT", "POST") else b""
    return await run_in_threadpool(_project, request, body)


def _project(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    user, name = request.state.user, request.path_params.get("p", "")
    if request.method == "GET":
        return item_answer(request, _view(find.project(state, user, name)))
    if request.method == "DELETE":
        gone = find.project(state, user, name)
        if not state.can(user, gone["id"], "delete", "project"):
            raise Refusal(403, "User account doesn't have permission to delete this project.")
        removing.remove_project(state, gone["id"])
        return text("")
    given = fields.read(request, body)
    name = name or given.id
    with state.write():
        row = state.project(name)
        if row is not None:
            if not state.can(user, row["id"], "edit", "project"):
                raise Refusal(403, "User account doesn't have permission to edit this project.")
            if given.id and given.id != row["id"]:
                raise Refusal(400, "ID must not be modified.")
            _names(state, row["id"], given.values)
            _update(state, row["id"], given.values)
            return text("")
        if len(name) > 200 or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise Refusal(417, "Invalid character in project ID.")
        if user == GUEST or (state.site("uiAllowNonAdminProjectCreation") == "false" and not state.is_admin(user)):
            raise Refusal(403, "User account doesn't have permission to create projects.")
        if state.row("SELECT 1 FROM retired WHERE project=?", name):
            raise Refusal(403, f"Project {name} was deleted; its ID is not given again.")
        _names(state, name, given.values)
        state.new_project(name, user)
        _update(state, name, given.values)
    return text("")


def _view(row) -> dict[str, Any]:
    shown = {
        "ID": row["id"],
        "secondary_ID": row["secondary_id"],
        "name": row["name"],
        "description": row["description"],
        "keywords": row["keywords"],
        "aliases": row["alias"],
        "PI/firstname": row["pi_first"],
        "PI/lastname": row["pi_last"],
    }
    found = item("xnat:projectData", shown | json.loads(row["fields"] or "{}"))
    found["meta"]["start_date"] = row["insert_date"]
    return found


def _names(state: State, name: str, given: dict[str, str]) -> None:
    """Refuse an id, title, running title or alias that another project has, in any case."""
    wanted = {"Project ID": name} | {
        words: given.get(key, "")
        for key, words in (("name", "Project Title"), ("secondary_ID", "Running Title"), ("alias", "Alias"))
    }
    taken = {
        str(value).lower()
        for row in state.rows("SELECT id, name, secondary_id, alias FROM projects WHERE id<>?", name)
        for value in row
        if value
    }
    for words, value in wanted.items():
        if value and value.lower() in taken:
            raise Refusal(403, f"Invalid {words}: '{value}' is already being used.")


_COLUMNS = {
    "name": "name", "secondary_id": "secondary_id", "description": "description", "alias": "alias",
    "accessibility": "accessibility", "keywords": "keywords", "pi_firstname": "pi_first", "pi_lastname": "pi_last",
    "pi/firstname": "pi_first", "pi/lastname": "pi_last",
}  # fmt: skip


def _update(state: State, name: str, given: dict[str, str]) -> None:
    with state.write() as db:
        for key, value in given.items():
            if key.lower() in _COLUMNS:
                db.execute(f"UPDATE projects SET {_COLUMNS[key.lower()]}=? WHERE id=?", (value, name))
        custom = {key: value for key, value in given.items() if key.startswith("fields/")}
        if custom:
            row = state.project(name)
            assert row is not None  # who calls has found or made it
            known = json.loads(row["fields"] or "{}")
            db.execute("UPDATE projects SET fields=? WHERE id=?", (json.dumps(known | custom), name))


_CODES = {"prearchive_code": "prearchive_code", "quarantine_code": "quarantine_code"}


def setting(request: Request) -> Response:
    """GET /data/projects/P/prearchive_code (quarantine_code, accessibility, current_arc)."""
    row = find.project(request.app.state.xnat, request.state.user, request.path_params["p"])
    name = request.path_params["setting"]
    if name in _CODES:
        return Response(str(row[_CODES[name]]), media_type="text/html")
    if name == "accessibility":
        return text(row["accessibility"])
    if name == "current_arc":
        return text("arc001")
    raise Refusal(400)


def set_setting(request: Request) -> Response:
    """PUT /data/projects/P/prearchive_code/4, .../accessibility/private."""
    state: State = request.app.state.xnat
    user, name, value = request.state.user, request.path_params["setting"], request.path_params["value"]
    row = find.project(state, user, request.path_params["p"])
    if name in _CODES:
        if not state.can(user, row["id"], "edit", "project"):
            raise Refusal(403)
        value = {"true": "1", "false": "0"}.get(value, value)
        if not re.fullmatch(r"-?\d+", value):
            raise Refusal(400, f"{name.split('_')[0].title()} code must be an integer.")
        if name == "prearchive_code" and value != "0" and state.site("projectAllowAutoArchive") == "false":
            raise Refusal(403)
        column = _CODES[name]
    elif name == "accessibility":
        if not state.can(user, row["id"], "delete", "project"):
            raise Refusal(403)
        if value not in ("public", "protected", "private"):
            raise Refusal(400)
        if value != "private" and state.site("securityAllowNonPrivateProjects") == "false":
            raise Refusal(403)
        column = "accessibility"
    else:
        raise Refusal(400)
    with state.write() as db:
        db.execute(f"UPDATE projects SET {column}=? WHERE id=?", (value, row["id"]))
    return text(value if name == "accessibility" else "")


routes = [
    Route("/data/projects", project_list),
    Route("/data/projects", project, methods=["POST"]),
    Route("/data/projects/{p}", project, methods=["GET", "PUT", "POST", "DELETE"]),
    Route("/data/projects/{p}/{setting:str}", setting),
    Route("/data/projects/{p}/{setting:str}/{value:str}", set_setting, methods=["PUT"]),
]
