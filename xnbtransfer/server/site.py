"""What is asked of the site rather than of a project's data: version, preferences, scripts, schemas, people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import datatypes, derived, personality, unread
from .answers import Refusal, as_json, cell, container_page, json_body, text
from .state import State, now

_STARTED = time.time()

# XNAT source, site-config-access.yaml: what anybody, and what anybody logged in, may read.
_WRITTEN = "script-written:"
_PUBLIC = {"buildInfo", "siteHome", "siteId", "siteLogoPath", "siteUrl"}
_READABLE = {
    "checksums", "defaultProjectAutoArchiveSetting", "enableSitewideAnonymizationScript", "sitewideAnonymizationScript",
    "enableSitewideSeriesImportFilter", "sitewideSeriesImportFilter", "sitewideSeriesImportFilterMode",
    "projectAllowAutoArchive", "sessionXmlRebuilderInterval", "sessionXmlRebuilderRepeat", "siteId",
    "uiAllowNonAdminProjectCreation", "zipExtensions", "sitewidePetTracers", "dicomFileNameTemplate",
    "enableDicomReceiver", "scanTypeMapping", "uiAllowQuarantine", "uiDefaultCompressedUploaderImporter",
    "uiExptAllowLabelChange", "uiExptAllowProjectChange", "uiExptAllowSubjectChange",
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
    kept = {name: value for name, value in found.items() if not name.startswith(_WRITTEN) and "." not in name}
    return kept | {"sitewideAnonymizationScript": site_script(state)}


def build_info(request: Request) -> Response:
    """GET /xapi/siteConfig/buildInfo[/PROPERTY] (XNAT source, XnatAppInfo)."""
    version = request.app.state.xnat.site("version")
    found = {
        "version": version, "buildNumber": "1", "buildDate": "Unknown", "sha": "Unknown", "isDirty": "false",
        "timestamp": str(int(_STARTED * 1000)), "hostName": "localhost", "displayHostName": "never", "nodeId": "",
        "branch": "main", "commit": "0", "shaFull": "Unknown", "tag": "None",
    }  # fmt: skip
    name = request.path_params.get("name")
    if name is None:
        return as_json(found)
    return text(found[name]) if name in found else Response(status_code=404)


def uptime(request: Request) -> Response:
    """GET /xapi/siteConfig/uptime."""
    left, found = int(time.time() - _STARTED), {}
    for name, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if left >= seconds or name == "minutes":
            found[name] = str(left // seconds)
        left %= seconds
    return as_json(found | {"seconds": f"{left:.1f}"})


async def preference(request: Request) -> Response:
    """GET and POST /xapi/siteConfig/{name}: one preference, and its value as the body from an administrator.

    The value is sent as it is, text too, and called JSON all the same (recorded answers, topic xapi).
    """
    body = (await request.body()).decode("utf-8", "replace") if request.method == "POST" else ""
    return await run_in_threadpool(_preference, request, body)


def _preference(request: Request, body: str) -> Response:
    state: State = request.app.state.xnat
    user, name = request.state.user, request.path_params["name"]
    if request.method == "POST":
        if not state.is_admin(user):
            return Response(status_code=403)
        if not says(request, "text/plain", "application/json"):
            return container_page(415)
        state.set_site(name, body)
        return text("")
    if not _may_read(state, user, [name]):
        return Response(status_code=403)
    value = _values(state).get(name)
    if value is None:
        return container_page(404)
    return Response(value, media_type="application/json")


def _may_read(state: State, user: str | None, names: list[str]) -> bool:
    """Whether somebody may read these preferences; one that is not for everybody, or is none, spoils the list."""
    if state.is_admin(user) or set(names) <= _PUBLIC:
        return True
    if not personality.has(state, "preferences-for-all") or not set(names) <= _READABLE | _PUBLIC:
        return False
    return len(names) == 1 or personality.has(state, "lists-of-preferences-for-all")


def says(request: Request, *kinds: str) -> bool:
    """Whether the body of a request is said to be of one of these types; a body without a word is none of them."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in kinds


async def set_preferences(request: Request) -> Response:
    """POST /xapi/siteConfig: a JSON object of preferences, from an administrator."""
    state: State = request.app.state.xnat
    if not await run_in_threadpool(state.is_admin, request.state.user):
        return Response(status_code=403)
    given = await json_body(request, dict)
    for name, value in given.items():
        unread.looked(request, name)
        await run_in_threadpool(state.set_site, name, cell(value))
    return text("")


def chosen_preferences(request: Request) -> Response:
    """GET /xapi/siteConfig/values/a,b: all or, where one may not be read, 403 (recorded answers, topic xapi)."""
    state: State = request.app.state.xnat
    names = request.path_params["names"].split(",")
    if not _may_read(state, request.state.user, names):
        return Response(status_code=403)
    found = _values(state)
    return as_json({name: _typed(found[name]) for name in names if name in found})


def preferences(request: Request) -> Response:
    """GET /xapi/siteConfig: those that one may read."""
    state: State = request.app.state.xnat
    user = request.state.user
    return as_json({key: _typed(value) for key, value in _values(state).items() if _may_read(state, user, [key])})


def _typed(value: str) -> object:
    return {"true": True, "false": False}.get(value, value)


def script(state: State, project: str) -> tuple[str | None, bool]:
    """The script of a project, or of the site for "", and whether it is switched on."""
    if project:
        row = state.one("SELECT anon_script, anon_enabled FROM projects WHERE id=?", project)
        return row["anon_script"], bool(row["anon_enabled"]) and row["anon_script"] is not None
    return site_script(state), state.site("enableSitewideAnonymizationScript") == "true"


def site_script(state: State) -> str:
    """The script of the site, XNAT's own until there is another."""
    from .anonymise import default_site_script

    found = state.site("sitewideAnonymizationScript")
    return default_site_script(state) if found is None else found


def set_script(state: State, project: str, script: str | None, enabled: bool | None, user: str = "") -> None:
    """Change the script or its switch; None leaves it as it is. Who did it, when and how often is noted."""
    with state.write() as db:
        if not project and script is not None:
            state.set_site("sitewideAnonymizationScript.former", site_script(state))
            state.set_site("sitewideAnonymizationScript", script)
        if not project and enabled is not None:
            state.set_site("enableSitewideAnonymizationScript", "true" if enabled else "false")
        if project and script is not None:
            db.execute("UPDATE projects SET anon_script=? WHERE id=?", (script, project))
        if project and enabled is not None:
            db.execute("UPDATE projects SET anon_enabled=? WHERE id=?", (int(enabled), project))
        noted = written(state, project)
        once_more = script is not None  # a switch makes no version
        noted = {"user": user or noted["user"], "date": now(), "version": noted["version"] + once_more}
        state.set_site(f"{_WRITTEN}{project}", json.dumps(noted))


def written(state: State, project: str) -> dict[str, Any]:
    """Who wrote a script last, when, and its version; that of the site is the second one when XNAT is installed, and
    the first one of 1.6 (recorded from 1.6.4: F15).
    """
    found, first = state.site(f"{_WRITTEN}{project}"), 2 if personality.has(state, "dicomedit-6") else 1
    return json.loads(found) if found else {"user": "admin", "date": now(), "version": 0 if project else first}


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
    Route("/xapi/siteConfig/{name}", preference, methods=["GET", "POST"]),
    Route("/xapi/schemas", schemas),
    Route("/xapi/schemas/{name:path}", schemas),
    Route("/schemas/{name:path}", schemas),
    Route("/xapi/plugins", plugins),
]
