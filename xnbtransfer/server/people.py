"""People: profiles, who belongs to a project, and what one may do oneself.

XNAT source: ``UsersApi``, ``ProjectUserListResource``, ``ProjectMemberResource``, ``RoleHolder``; REST test
TestUsersApi.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import find, personality
from .answers import Refusal, as_json, json_body, table, text
from .state import GROUPS, Record, State

GUEST = "guest"
_STARTED = time.time()
_SITE_GROUPS = ("ALL_DATA_ACCESS", "ALL_DATA_ADMIN")
_LIST = ["login", "firstname", "lastname", "email", "xdat_user_id"]
_MEMBERS = ["GROUP_ID", "displayname", "login", "firstname", "lastname", "email"]


def _may_list(request: Request) -> None:
    """Refuse the list of people to those for whom the site restricts it, and to guests."""
    state: State = request.app.state.xnat
    user = request.state.user
    if state.is_admin(user):
        return
    listed = state.row(
        "SELECT contents FROM config WHERE project='' AND tool='user-resource-whitelist' AND path='whitelist.json' "
        "AND status='enabled' ORDER BY version DESC LIMIT 1"
    )
    try:
        welcome = user in json.loads(listed["contents"]) if listed else False
    except (ValueError, TypeError, RecursionError):
        welcome = False
    if user == GUEST or (state.site("restrictUserListAccessToAdmins") == "true" and not welcome):
        raise Refusal(403, "Access Denied: Only site managers can access user resources.")


def _enabled(state: State) -> list:
    return state.rows("SELECT * FROM users WHERE enabled=1 ORDER BY login")


def _profile(row: Record) -> dict[str, Any]:
    return {
        "id": row["number"],
        "username": row["login"],
        "firstName": row["first"],
        "lastName": row["last"],
        "email": row["email"],
        "enabled": bool(row["enabled"]),
        "verified": True,
        "secured": True,
        "lastModified": int(_STARTED * 1000),
    }


def user_table(request: Request) -> Response:
    """GET /data/users."""
    _may_list(request)
    rows = [
        dict(zip(_LIST, (row["login"], row["first"], row["last"], row["email"], row["number"]), strict=True))
        for row in _enabled(request.app.state.xnat)
    ]
    return table(request, rows, _LIST, "Projects")


def names(request: Request) -> Response:
    """GET /xapi/users."""
    _may_list(request)
    return as_json([*(row["login"] for row in _enabled(request.app.state.xnat)), GUEST])


def profiles(request: Request) -> Response:
    """GET /xapi/users/profiles and /xapi/users/current."""
    _may_list(request)
    return as_json([_profile(row) for row in _enabled(request.app.state.xnat)])


def profile(request: Request) -> Response:
    """GET /xapi/users/profile, one's own, and /xapi/users/profile/NAME."""
    state: State = request.app.state.xnat
    login = request.path_params.get("login", request.state.user)
    if login != request.state.user:
        _may_list(request)
    row = state.row("SELECT * FROM users WHERE login=?", login)
    if row is None:
        raise Refusal(404, f"No user {login}")
    return as_json(_profile(row))


def own_name(request: Request) -> Response:
    return text(request.state.user)


def editable(request: Request) -> Response:
    """GET /xapi/users/projects: the projects whose data one can edit."""
    return as_json(request.app.state.xnat.visible_projects(request.state.user, "edit"))


def _self_or_admin(request: Request) -> str:
    login = request.path_params["login"]
    state: State = request.app.state.xnat
    if login != request.state.user and not state.is_admin(request.state.user):
        raise Refusal(403)
    if state.row("SELECT 1 FROM users WHERE login=?", login) is None:
        raise Refusal(404, f"No user {login}")
    return login


def groups(request: Request) -> Response:
    """GET /xapi/users/NAME/groups."""
    login = _self_or_admin(request)
    state: State = request.app.state.xnat
    rows = state.rows("SELECT project, role FROM members WHERE login=? ORDER BY project", login)
    own = state.site_group(login)
    return as_json([*(f"{row['project']}_{row['role']}" for row in rows), *([own] if own else [])])


def group(request: Request) -> Response:
    """PUT and DELETE /xapi/users/NAME/groups/GROUP, for administrators: ALL_DATA_ACCESS, ALL_DATA_ADMIN, P_role."""
    state: State = request.app.state.xnat
    login, name = request.path_params["login"], request.path_params["group"]
    if not state.is_admin(request.state.user):
        raise Refusal(403)
    if state.row("SELECT 1 FROM users WHERE login=?", login) is None:
        raise Refusal(404, f"No user {login}")
    put = request.method == "PUT"
    project, _, role = name.rpartition("_")
    with state.write() as db:
        if name in _SITE_GROUPS:
            db.execute("UPDATE users SET site_group=? WHERE login=?", (name if put else "", login))
        elif role in GROUPS and state.project(project) is not None:
            db.execute("DELETE FROM members WHERE project=? AND login=?", (project, login))
            if put:
                db.execute("INSERT INTO members VALUES(?,?,?)", (project, login, role))
        else:
            raise Refusal(404, f"No group {name}")
    return text("")


def roles(request: Request) -> Response:
    """GET /xapi/users/NAME/roles."""
    return as_json(["Administrator"] if request.app.state.xnat.is_admin(_self_or_admin(request)) else [])


def all_roles(request: Request) -> Response:
    """GET /xapi/users/roles, for administrators: the roles of everybody."""
    state: State = request.app.state.xnat
    if not state.is_admin(request.state.user):
        raise Refusal(403)
    return as_json({row["login"]: ["Administrator"] for row in _enabled(state) if row["admin"]})


def active(request: Request) -> Response:
    """GET /xapi/users/active: who is logged in, and how often; for administrators."""
    state: State = request.app.state.xnat
    if not state.is_admin(request.state.user):
        raise Refusal(403)
    sessions = request.app.state.sessions
    found = {row["login"]: sessions.of(row["login"]) for row in _enabled(state)}
    return as_json({login: {"sessions": ids, "count": len(ids)} for login, ids in found.items() if ids})


def active_of(request: Request) -> Response:
    """GET and DELETE /xapi/users/active/NAME: the ids of somebody's log-ins; DELETE ends them."""
    login = _self_or_admin(request)
    sessions = request.app.state.sessions
    ids = sessions.of(login)
    if request.method == "DELETE":
        sessions.end_all_of(login)
    return as_json(ids)


async def new_user(request: Request) -> Response:
    """POST /xapi/users and PUT /xapi/users/NAME, for administrators: a new account, or a change of one."""
    given = await json_body(request, dict)
    return await run_in_threadpool(_save, request, given)


def enable(request: Request) -> Response:
    """PUT /xapi/users/NAME/enabled/FLAG, for administrators; log-ins that there are go on (recorded, topic W12)."""
    return _save(request, {"enabled": request.path_params["flag"].lower() not in ("false", "0")})


def _save(request: Request, given: Mapping[str, Any]) -> Response:
    state: State = request.app.state.xnat
    if not state.is_admin(request.state.user):
        if request.method == "POST":  # the refusal does not change the status (recorded answers, topic xapi)
            return Response(status_code=201)
        raise Refusal(403)
    login = request.path_params.get("login", "") or str(given.get("username", ""))
    known = state.row("SELECT * FROM users WHERE login=?", login)
    with state.write() as db:
        if request.method == "POST":
            if known is not None:
                raise Refusal(409, f"There is a user {login} already.")
            if not login or not given.get("password"):
                raise Refusal(400, "A new user needs username and password.")
            state.add_user(login, str(given["password"]), "", "")
        elif known is None:
            raise Refusal(404, f"No user {login}")
        elif given.get("password"):
            state.set_password(login, str(given["password"]))
        for name, column in (("firstName", "first"), ("lastName", "last"), ("email", "email")):
            if name in given:
                db.execute(f"UPDATE users SET {column}=? WHERE login=?", (str(given[name]), login))
        if "enabled" in given:
            db.execute("UPDATE users SET enabled=? WHERE login=?", (int(bool(given["enabled"])), login))
    request.app.state.sessions.forget()
    found = state.one("SELECT * FROM users WHERE login=?", login)
    return as_json(_profile(found), 201 if request.method == "POST" else 200)


def members(request: Request) -> Response:
    """GET /data/projects/P/users[/DISPLAY_HIDDEN_USERS]."""
    state: State = request.app.state.xnat
    row = find.project(state, request.state.user, request.path_params["p"])
    if not state.can(request.state.user, row["id"], "edit", "project"):
        _may_list(request)
    hidden = request.path_params.get("hidden", "false").lower() in ("true", "1")
    return _members(request, row["id"], hidden)


def _members(request: Request, project: str, hidden: bool = False) -> Response:
    rows = request.app.state.xnat.rows(
        "SELECT m.role, u.* FROM members m JOIN users u ON u.login=m.login WHERE m.project=? AND (u.enabled=1 OR ?) "
        "ORDER BY m.role DESC",
        project,
        hidden,
    )
    found = [
        (f"{project}_{one['role']}", GROUPS[one["role"]], one["login"], one["first"], one["last"], one["email"])
        for one in rows
    ]
    return table(request, [dict(zip(_MEMBERS, one, strict=True)) for one in found], _MEMBERS, "Projects")


def member(request: Request) -> Response:
    """PUT and DELETE /data/projects/P/users/GROUP/USER; somebody unknown is invited by mail, which changes nothing."""
    state: State = request.app.state.xnat
    project = find.project(state, request.state.user, request.path_params["p"])["id"]
    if not state.can(request.state.user, project, "delete", "project"):
        raise Refusal(403, "User account doesn't have permission to edit this project.")
    group, name = request.path_params["group"], request.path_params["login"]
    role = group.lower().removeprefix(project.lower() + "_").removesuffix("s")
    if role not in GROUPS:
        raise Refusal(404, f"No group {group} in {project}")
    found = state.row("SELECT login FROM users WHERE login=? OR CAST(number AS TEXT)=? OR email=?", name, name, name)
    if found is not None:
        with state.write() as db:
            if request.method == "PUT":
                db.execute("INSERT OR REPLACE INTO members VALUES(?,?,?)", (project, found["login"], role))
            else:
                db.execute("DELETE FROM members WHERE project=? AND login=?", (project, found["login"]))
    return _members(request, project)


def own_memberships(request: Request) -> Response:
    """GET /xapi/access/projects: own memberships only (XNAT source, RoleHolder)."""
    state: State = request.app.state.xnat
    if not personality.has(state, "own-memberships"):
        raise Refusal(404)
    rows = state.rows(
        "SELECT p.*, m.role FROM members m JOIN projects p ON p.id=m.project WHERE m.login=? ORDER BY p.id",
        request.state.user,
    )
    return as_json(
        [
            {
                "ID": row["id"],
                "secondary_ID": row["secondary_id"],
                "name": row["name"],
                "description": row["description"],
                "role": GROUPS[row["role"]],
                "group_id": f"{row['id']}_{row['role']}",
                "URI": f"/data/projects/{row['id']}",
            }
            for row in rows
        ]
    )


def flush(request: Request) -> Response:
    """DELETE /xapi/access/cache/flush: rights are never cached here."""
    return as_json([])


routes = [
    Route("/data/users", user_table),
    Route("/xapi/users", names),
    Route("/xapi/users", new_user, methods=["POST"]),
    Route("/xapi/users/profiles", profiles),
    Route("/xapi/users/current", profiles),
    Route("/xapi/users/profile", profile),
    Route("/xapi/users/profile/{login}", profile),
    Route("/xapi/users/username", own_name),
    Route("/xapi/users/projects", editable),
    Route("/xapi/users/active", active),
    Route("/xapi/users/active/{login}", active_of, methods=["GET", "DELETE"]),
    Route("/xapi/users/roles", all_roles),
    Route("/xapi/users/{login}", profile),
    Route("/xapi/users/{login}", new_user, methods=["PUT"]),
    Route("/xapi/users/{login}/enabled/{flag}", enable, methods=["PUT"]),
    Route("/xapi/users/{login}/groups", groups),
    Route("/xapi/users/{login}/groups/{group}", group, methods=["PUT", "DELETE"]),
    Route("/xapi/users/{login}/roles", roles),
    Route("/data/projects/{p}/users", members),
    Route("/data/projects/{p}/users/{hidden}", members),
    Route("/data/projects/{p}/users/{group}/{login}", member, methods=["PUT", "DELETE"]),
    Route("/xapi/access/projects", own_memberships),
    Route("/xapi/access/cache/flush", flush, methods=["DELETE"]),
]
