"""/xapi/anonymize: the scripts of the site and of projects, and their switches.

XNAT source: ``AnonymizeApi``; recorded answers of 1.8.11, topic anonymisation. What a script does to a file is told
elsewhere.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import personality
from .anonymise import default_site_script, shortcomings
from .answers import as_json, container_page, text
from .rules import strike
from .site import says, script, set_script
from .state import State


def default(request: Request) -> Response:
    """GET /xapi/anonymize/default: the script that XNAT comes with."""
    return text(default_site_script(request.app.state.xnat))


async def anonymize(request: Request) -> Response:
    """/xapi/anonymize/site and /projects/P: the script as text. Any text is taken, and only an empty body refused.

    What is no script is found out when it runs. Setting that of a project switches it on. What this server does less
    well than XNAT with a script is written to its request log (``notes``), since XNAT's answer says nothing.
    """
    body = (await request.body()).decode("utf-8", "replace") if request.method == "PUT" else ""
    return await run_in_threadpool(_anonymize, request, body)


def _anonymize(request: Request, body: str) -> Response:
    state: State = request.app.state.xnat
    project = request.path_params.get("p", "")
    if not _may(request, project):
        return Response(status_code=403)
    if request.method == "PUT":
        if not says(request, "text/plain"):
            return container_page(415)
        if not body:
            return text("Required request body is missing", 500)
        set_script(state, project, body, True if project else None, request.state.user)
        if notes := shortcomings(state, body):
            request.state.notes = notes
        return text("")
    found, _ = script(state, project)
    former = state.site("sitewideAnonymizationScript.former")
    if not project and former is not None and strike("former-script", "site"):
        found = former
    return Response(status_code=204, media_type="text/plain") if not (found or "").strip() else text(found)


def switch(request: Request) -> Response:
    """/xapi/anonymize/site/enabled and /projects/P/enabled.

    PUT reads ``enable=`` of the query, which is true unless given, wants a JSON type, and never reads the body: a body
    ``false`` switches on.
    """
    state: State = request.app.state.xnat
    project = request.path_params.get("p", "")
    if request.method == "PUT":
        if not _may(request, project):
            return Response(status_code=403)
        if not says(request, "application/json"):
            return container_page(415)
        enable = request.query_params.get("enable", "true").lower() in ("true", "on", "yes", "1")
        set_script(state, project, None, enable, request.state.user)
        return text("")
    if project and not personality.has(state, "switch-of-a-script"):
        return container_page(415) if not personality.has(state, "rights-at-once") else text("Internal error", 500)
    if not _may(request, project):
        return Response("false" if project else None, 403, media_type="application/json" if project else None)
    return as_json(script(state, project)[1])


def _may(request: Request, project: str) -> bool:
    """Readers of a project and its owners; of the site everybody logged in, since 1.8, and administrators."""
    state: State = request.app.state.xnat
    user = request.state.user
    if not project:
        return state.is_admin(user) or (request.method == "GET" and personality.has(state, "site-script-for-all"))
    if state.row("SELECT 1 FROM projects WHERE id=?", project) is None:
        return False
    return state.can(user, project, "read" if request.method == "GET" else "delete", "project")


_BOTH = ["GET", "PUT"]
routes = [
    Route("/xapi/anonymize/default", default),
    Route("/xapi/anonymize/site", anonymize, methods=_BOTH),
    Route("/xapi/anonymize/site/enabled", switch, methods=_BOTH),
    Route("/xapi/anonymize/projects/{p}", anonymize, methods=_BOTH),
    Route("/xapi/anonymize/projects/{p}/enabled", switch, methods=_BOTH),
]
