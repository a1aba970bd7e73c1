"""What is asked of the site rather than of a project's data: version, preferences, scripts, schemas, people."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import datatypes, derived, find
from .answers import Refusal, as_json, cell, flag, json_body, text
from .state import State

_STARTED = time.time()

# XNAT source, site-config-access.yaml: what anybody, and what anybody logged in, may read.
_PUBLIC = {"buildInfo", "siteHome", "siteId", "siteLogoPath", "siteUrl"}
_READABLE = {
    "checksums", "defaultProjectAutoArchiveSetting", "enableSitewideAnonymizationScript", "sitewideAnonymizationScript",
    "enableSitewideSeriesImportFilter", "sitewideSeriesImportFilter", "sitewideSeriesImportFilterMode",
    "projectAllowAutoArchive", "sessionXmlRebuilderInterval", "sessionXmlRebuilderRepeat", "siteId",
    "uiAllowNonAdminProjectCreation", "zipExtensions", "sitewidePetTracers", "dicomFileNameTemplate",
    "enableDicomReceiver", "scanTypeMapping", "uiAllowQuarantine", "uiDefaultCompressedUploaderImporter",
    "uiExptAllowLabelChange", "uiExptAllowProjectChange", "uiExptAllowSubjectChange",
}  # fmt: skip
_ADMIN_ONLY = {
    "sessionTimeout", "aliasTokenTimeout", "preventCrossModalityMerge", "requireChangeJustification",
    "backupDeletedToCache", "maintainFileHistory", "sessionArchiveTimeoutInterval", "receivedFileUser", "requireLogin",
    "passwordComplexityMessage", "restrictUserListAccessToAdmins", "showChangeJustification", "requireEventName",
    "rerunProjectAnonOnRename", "securityAllowNonPrivateProjects", "enableCsrfToken",
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
    "dicomFileNameTemplate": "${StudyInstanceUID}-${SeriesNumber}-${InstanceNumber}-"
    "${HashSOPClassUIDWithSOPInstanceUID}",
    "enableCsrfToken": "true",
    "enableDicomReceiver": "false",
    "maintainFileHistory": "false",
    "requireChangeJustification": "false",
    "showChangeJustification": "false",
    "requireEventName": "false",
    "rerunProjectAnonOnRename": "false",
    "securityAllowNonPrivateProjects": "true",
    "sessionArchiveTimeoutInterval": "600",
    "receivedFileUser": "admin",
    "scanTypeMapping": "true",
    "uiAllowQuarantine": "true",
    "uiDefaultCompressedUploaderImporter": "DICOM-zip",
    "uiExptAllowLabelChange": "true",
    "uiExptAllowProjectChange": "true",
    "uiExptAllowSubjectChange": "true",
}


def _values(state: State) -> dict[str, str]:
    found = _DEFAULTS | {row["key"]: row["value"] for row in state.rows("SELECT key, value FROM site")}
    return found | {"sitewideAnonymizationScript": script(state, "")[0] or ""}


def build_info(request: Request) -> Response:
    """GET /xapi/siteConfig/buildInfo[/PROPERTY] (XNAT source, XnatAppInfo)."""
    version = request.app.state.xnat.site("version")
    found = {
        "version": version, "buildNumber": "1", "buildDate": "Unknown", "sha": "Unknown", "isDirty": "false",
        "timestamp": str(int(_STARTED * 1000)), "hostName": "localhost", "displayHostName": "never", "nodeId": "",
    }  # fmt: skip
    name = request.path_params.get("name")
    if name is None:
        return as_json(found)
    return text(found[name]) if name in found else Response(status_code=404)


def uptime(request: Request) -> Response:
    """GET /xapi/siteConfig/uptime."""
    left, found = int(time.time() - _STARTED), {}
    for name, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        found[name], left = str(left // seconds), left % seconds
    return as_json(found)


async def preference(request: Request) -> Response:
    """GET /xapi/siteConfig/{name}; PUT by an administrator, the value as the body or as ``value=``."""
    body = (await request.body()).decode("utf-8", "replace") if request.method == "PUT" else ""
    return await run_in_threadpool(_preference, request, body)


def _preference(request: Request, body: str) -> Response:
    state: State = request.app.state.xnat
    user, name = request.state.user, request.path_params["name"]
    if request.method == "PUT":
        if not state.is_admin(user):
            return Response(status_code=403)
        state.set_site(name, request.query_params.get("value", body))
        return text("")
    if name not in _READABLE | _PUBLIC and not state.is_admin(user):
        return Response(status_code=403 if name in _ADMIN_ONLY else 404)
    value = _values(state).get(name)
    return Response(status_code=404) if value is None else text(value)


async def set_preferences(request: Request) -> Response:
    """POST /xapi/siteConfig: a JSON object of preferences, from an administrator."""
    state: State = request.app.state.xnat
    if not await run_in_threadpool(state.is_admin, request.state.user):
        return Response(status_code=403)
    given = await json_body(request, dict)
    for name, value in given.items():
        await run_in_threadpool(state.set_site, name, cell(value))
    return text("")


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


def script(state: State, project: str) -> tuple[str | None, bool]:
    """The script of a project, or of the site for "", and whether it is switched on."""
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
            set_script(state, project, None, flag(request, "enable"))
        else:
            from .anonymise import ScriptError, compile_script

            try:
                compile_script(body, "check")
            except ScriptError as problem:
                return text(str(problem), 400)
            set_script(state, project, body, True if project else None)
        return text("")
    found, enabled = script(state, project)
    if switch:
        return as_json(enabled)
    return Response(status_code=204) if found is None else text(found)


def set_script(state: State, project: str, script: str | None, enabled: bool | None) -> None:
    """Change the script or its switch; None leaves it as it is."""
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


def plugins(request: Request) -> Response:
    return as_json({})


routes = [
    *datatypes.routes,
    *derived.routes,
    Route("/xapi/siteConfig/buildInfo", build_info),
    Route("/xapi/siteConfig/buildInfo/{name}", build_info),
    Route("/xapi/siteConfig/values/{names}", chosen_preferences),
    Route("/xapi/siteConfig/uptime", uptime),
    Route("/xapi/siteConfig", preferences),
    Route("/xapi/siteConfig", set_preferences, methods=["POST"]),
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
]
