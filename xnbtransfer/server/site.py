"""What is asked of the site rather than of a project's data: version, preferences, scripts, schemas, people."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import datatypes, derived, find
from .answers import Refusal, as_json, flag, table, text
from .state import State, file_md5, now

# XNAT source, site-config-access.yaml: what anybody, and what anybody logged in, may read.
_PUBLIC = {"buildInfo", "siteHome", "siteId", "siteLogoPath", "siteUrl"}
_READABLE = {
    "checksums", "defaultProjectAutoArchiveSetting", "enableSitewideAnonymizationScript", "sitewideAnonymizationScript",
    "enableSitewideSeriesImportFilter", "sitewideSeriesImportFilter", "sitewideSeriesImportFilterMode",
    "projectAllowAutoArchive", "sessionXmlRebuilderInterval", "sessionXmlRebuilderRepeat", "siteId",
    "uiAllowNonAdminProjectCreation", "zipExtensions", "sitewidePetTracers",
}  # fmt: skip
_ADMIN_ONLY = {
    "sessionTimeout", "aliasTokenTimeout", "preventCrossModalityMerge", "requireChangeJustification",
    "backupDeletedToCache", "maintainFileHistory", "sessionArchiveTimeoutInterval", "receivedFileUser", "requireLogin",
    "passwordComplexityMessage", "restrictUserListAccessToAdmins",
}  # fmt: skip
_DEFAULTS = {
    "defaultProjectAutoArchiveSetting": "4",
    "enableSitewideSeriesImportFilter": "false",
    "passwordComplexityMessage": "Password is not sufficiently complex.",
    "restrictUserListAccessToAdmins": "false",
    "sitewideSeriesImportFilter": "",
    "sitewideSeriesImportFilterMode": "blacklist",
    "projectAllowAutoArchive": "true",
    "sessionXmlRebuilderRepeat": "60000",
    "uiAllowNonAdminProjectCreation": "true",
    "zipExtensions": "zip,jar,rar,ear,gar,mrb",
    "sitewidePetTracers": "",
}


def _values(state: State) -> dict[str, str]:
    found = _DEFAULTS | {row["key"]: row["value"] for row in state.rows("SELECT key, value FROM site")}
    script, _ = _script(state, "")
    return found | {"sitewideAnonymizationScript": script or ""}


def build_info(request: Request) -> Response:
    """GET /xapi/siteConfig/buildInfo[/PROPERTY] (XNAT source, XnatAppInfo)."""
    version = request.app.state.xnat.site("version")
    found = {"version": version, "buildNumber": "1", "buildDate": "", "sha": "", "isDirty": "false"}
    name = request.path_params.get("name")
    if name is None:
        return as_json(found)
    return text(found[name]) if name in found else Response(status_code=404)


def preference(request: Request) -> Response:
    """GET /xapi/siteConfig/{name}; PUT by an administrator."""
    state: State = request.app.state.xnat
    user, name = request.state.user, request.path_params["name"]
    if request.method == "PUT":
        if not state.is_admin(user):
            return Response(status_code=403)
        state.set_site(name, request.query_params.get("value", ""))
        return text("")
    if name not in _READABLE | _PUBLIC and not state.is_admin(user):
        return Response(status_code=403 if name in _ADMIN_ONLY else 404)
    value = _values(state).get(name)
    return Response(status_code=404) if value is None else text(value)


def chosen_preferences(request: Request) -> Response:
    """GET /xapi/siteConfig/values/a,b: those of them that the caller may read."""
    state: State = request.app.state.xnat
    readable = _READABLE | _PUBLIC
    names = request.path_params["names"].split(",")
    admin = state.is_admin(request.state.user)
    found = _values(state)
    return as_json({name: found[name] for name in names if name in found and (admin or name in readable)})


def preferences(request: Request) -> Response:
    state: State = request.app.state.xnat
    found = _values(state)
    admin = state.is_admin(request.state.user)
    return as_json({key: value for key, value in found.items() if admin or key in _READABLE | _PUBLIC})


def _script(state: State, project: str) -> tuple[str | None, bool]:
    if project:
        row = state.row("SELECT anon_script, anon_enabled FROM projects WHERE id=?", project)
        return row["anon_script"], bool(row["anon_enabled"]) and row["anon_script"] is not None
    from .anonymise import DEFAULT_SITE_SCRIPT

    script = state.site("sitewideAnonymizationScript")
    enabled = state.site("enableSitewideAnonymizationScript") == "true"
    return DEFAULT_SITE_SCRIPT if script is None else script, enabled


async def anonymize(request: Request) -> Response:
    """/xapi/anonymize/site, /default, /projects/P and their /enabled (XNAT source, AnonymizeApi)."""
    body = (await request.body()).decode("utf-8", "replace") if request.method == "PUT" else ""
    return await run_in_threadpool(_anonymize, request, body)


def _anonymize(request: Request, body: str) -> Response:
    state: State = request.app.state.xnat
    user = request.state.user
    project = ""
    if "p" in request.path_params:
        project = find.project(state, user, request.path_params["p"])["id"]
    switch = request.url.path.endswith("/enabled")
    if request.method == "PUT":
        allowed = state.can(user, project, "delete", "project") if project else state.is_admin(user)
        if not allowed:
            return Response(status_code=403)
        if switch:
            _set(state, project, None, flag(request, "enable"))
        else:
            from .anonymise import ScriptError, compile_script

            try:
                compile_script(body, "check")
            except ScriptError as problem:
                return text(str(problem), 400)
            _set(state, project, body, True if project else None)
        return text("")
    script, enabled = _script(state, project)
    if switch:
        return as_json(enabled)
    if script is None:
        return Response(status_code=204)
    return text(script)


def _set(state: State, project: str, script: str | None, enabled: bool | None) -> None:
    if not project:
        if script is not None:
            state.set_site("sitewideAnonymizationScript", script)
        if enabled is not None:
            state.set_site("enableSitewideAnonymizationScript", "true" if enabled else "false")
        return
    with state.write() as db:
        if script is not None:
            db.execute("UPDATE projects SET anon_script=? WHERE id=?", (script, project))
        if enabled is not None:
            db.execute("UPDATE projects SET anon_enabled=? WHERE id=?", (int(enabled), project))


def schemas(request: Request) -> Response:
    """The names of the schemas, or one of them."""
    name = request.path_params.get("name", "")
    if not name:
        return as_json(["xnat", "xdat"])
    short = name.removesuffix(".xsd").rpartition("/")[2]
    if short not in ("xnat", "xdat"):
        raise Refusal(404)
    return Response((Path(__file__).parent / f"{short}.xsd").read_bytes(), media_type="application/xml")


def users(request: Request) -> Response:
    state: State = request.app.state.xnat
    if _values(state)["restrictUserListAccessToAdmins"] == "true" and not state.is_admin(request.state.user):
        raise Refusal(403)
    rows = state.rows("SELECT * FROM users ORDER BY login")
    found = [
        {
            "login": r["login"],
            "firstname": r["first"],
            "lastname": r["last"],
            "email": r["email"],
            "xdat_user_id": r["number"],
        }
        for r in rows
    ]
    return table(request, found)


def plugins(request: Request) -> Response:
    return as_json({})


async def config(request: Request) -> Response:
    """/data[/projects/P]/config/TOOL/PATH (XNAT source, ConfigResource)."""
    body = (await request.body()).decode("utf-8", "replace") if request.method == "PUT" else ""
    return await run_in_threadpool(_config, request, body)


def _config(request: Request, body: str) -> Response:
    state: State = request.app.state.xnat
    user, words, query = request.state.user, request.path_params, request.query_params
    project = find.project(state, user, words["p"])["id"] if "p" in words else ""
    tool, path = words["tool"], words["path"]
    if (tool, path) == ("anon", f"projects/{project}" if project else "script"):
        rows = _script_row(state, project, path)
    else:
        rows = state.rows(
            "SELECT * FROM config WHERE project=? AND tool=? AND path=? ORDER BY version DESC", project, tool, path
        )
    if request.method == "GET":
        if query.get("version", "").isdigit():
            rows = [row for row in rows if row["version"] == int(query["version"])]
        if not rows or (flag(request, "contents") and rows[0]["status"] != "enabled"):
            if flag(request, "accept-not-found"):
                return Response(status_code=204)
            raise Refusal(404)
        if flag(request, "contents"):
            return text(rows[0]["contents"])
        return table(
            request,
            [
                {
                    "tool": row["tool"],
                    "path": row["path"],
                    "project": row["project"],
                    "user": row["user"],
                    "create_date": row["date"],
                    "reason": "",
                    "contents": row["contents"],
                    "unversioned": "false",
                    "version": row["version"],
                    "status": row["status"],
                }
                for row in rows[:1]
            ],
        )
    allowed = state.can(user, project, "delete", "project") if project else state.is_admin(user)
    if not allowed:
        raise Refusal(403)
    status = query.get("status", "")
    if status not in ("", "enabled", "disabled") or (not body and not status):
        raise Refusal(400)
    contents = body or (rows[0]["contents"] if rows else "")
    if tool == "anon":
        _set(state, project, body or None, {"disabled": False, "enabled": True, "": True if body else None}[status])
        return text("", 200 if rows else 201)
    with state.write() as db:
        version = rows[0]["version"] + 1 if rows else 1
        db.execute(
            "INSERT INTO config VALUES(?,?,?,?,?,?,?,?)",
            (project, tool, path, version, contents, status or "enabled", user, now()),
        )
    return text("", 200 if rows else 201)


def _script_row(state: State, project: str, path: str) -> list[dict]:
    """The script of the site or of a project as the config service shows it."""
    script, enabled = _script(state, project)
    if script is None:
        return []
    status = "enabled" if enabled else "disabled"
    return [{"project": project, "tool": "anon", "path": path, "version": 1, "contents": script, "status": status,
             "user": "", "date": ""}]


def refresh(request: Request) -> Response:
    """POST /data/services/refresh/catalog: fills blank MD5s, counts files (XNAT source, RefreshCatalog)."""
    state: State = request.app.state.xnat
    for uri in request.query_params.getlist("resource"):
        found = re.match(r"/?(?:data/)?(?:archive/)?(?:.*/)?experiments/([^/]+)", uri)
        if not found:
            raise Refusal(400)
        session = find.experiment(state, request.state.user, found[1])
        if not state.can(request.state.user, session["project"], "edit"):
            raise Refusal(403)
        for holder in state.rows(
            "SELECT pk FROM resources WHERE (parent_kind='experiment' AND parent_id=?) OR (parent_kind='scan' AND "
            "parent_id IN (SELECT CAST(pk AS TEXT) FROM scans WHERE experiment_id=?))",
            session["id"],
            session["id"],
        ):
            for row in state.rows("SELECT path FROM files WHERE resource_pk=? AND md5=''", holder["pk"]):
                md5 = file_md5(state.file_path(holder["pk"], row["path"]))
                with state.write() as db:
                    db.execute(
                        "UPDATE files SET md5=? WHERE resource_pk=? AND path=?", (md5, holder["pk"], row["path"])
                    )
            state.count_files(holder["pk"])
    return text("")


def workflows(request: Request) -> Response:
    """GET <session>/history and /data/services/workflows: the audit entries."""
    state: State = request.app.state.xnat
    item = request.path_params["e"]
    session = find.experiment(state, request.state.user, item, request.path_params.get("p", ""))
    rows = state.rows("SELECT * FROM workflows WHERE item=? ORDER BY pk", session["id"])
    return table(request, [dict(row) for row in rows])


routes = [
    *datatypes.routes,
    *derived.routes,
    Route("/xapi/siteConfig/buildInfo", build_info),
    Route("/xapi/siteConfig/buildInfo/{name}", build_info),
    Route("/xapi/siteConfig/values/{names}", chosen_preferences),
    Route("/xapi/siteConfig", preferences),
    Route("/xapi/siteConfig/{name}", preference, methods=["GET", "PUT"]),
    Route("/xapi/anonymize/site", anonymize, methods=["GET", "PUT"]),
    Route("/xapi/anonymize/default", anonymize),
    Route("/xapi/anonymize/site/enabled", anonymize, methods=["GET", "PUT"]),
    Route("/xapi/anonymize/projects/{p}", anonymize, methods=["GET", "PUT"]),
    Route("/xapi/anonymize/projects/{p}/enabled", anonymize, methods=["GET", "PUT"]),
    Route("/xapi/schemas", schemas),
    Route("/xapi/schemas/{name:path}", schemas),
    Route("/schemas/{name:path}", schemas),
    Route("/xapi/plugins", plugins),
    Route("/data/users", users),
    Route("/data/config/{tool}/{path:path}", config, methods=["GET", "PUT"]),
    Route("/data/projects/{p}/config/{tool}/{path:path}", config, methods=["GET", "PUT"]),
    Route("/data/services/refresh/catalog", refresh, methods=["POST"]),
    Route("/data/experiments/{e}/history", workflows),
]
