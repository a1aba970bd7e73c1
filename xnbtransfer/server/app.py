"""The application: routes of all rooms behind log-in, faults and the request log."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from . import (
    addresses,
    answers,
    archiving,
    assessors,
    auth,
    catalogs,
    check,
    configuration,
    downloads,
    dumps,
    ingest,
    listings,
    people,
    personality,
    prearchive,
    projects,
    resources,
    scans,
    scripts,
    sharing,
    site,
    subjects,
    tracking,
    unread,
    user_cache,
    workflows,
)
from .faults import Disconnect, FaultMiddleware, Faults
from .requestlog import RequestLog
from .state import State

_MAY_CUT = ("reset", "endless", "no-answer", "cut")
"""How the names of faults begin that may end the connection within the last piece of an answer."""


class Gate:
    """Log-in, aliases of addresses, refusals as pages, and the log. Pure ASGI, so that streams stay streams."""

    def __init__(self, app, log: RequestLog) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.time()
        seen = {"status": 0, "in": 0, "out": 0}
        length: int | None = None
        original = scope["path"]
        sent = scope.get("raw_path", original.encode())
        scope["raw_path"] = addresses.alias(sent.decode("latin-1")).encode("latin-1")
        scope["path"] = addresses.routed(scope["raw_path"].decode("latin-1"))
        request = unread.Request(scope, receive)

        async def counting_receive():
            message = await receive()
            seen["in"] += len(message.get("body", b""))
            return message

        async def counting_send(message) -> None:
            nonlocal length
            last = not message.get("more_body")
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                response = Response()
                response.raw_headers = list(message["headers"])
                auth.cookies(request, response)
                auth.answered(request)  # before the client can ask the next thing
                message = {**message, "headers": response.raw_headers}
                length = _body_length(scope["method"], message)
                last = False
            seen["out"] += len(message.get("body", b""))
            struck = scope.get("state", {}).get("faults", [])
            if (last or seen["out"] == length) and not any(name.startswith(_MAY_CUT) for name in struck):
                note()  # before the client can look for it
            await send(message)

        cut, noted = False, False

        def note() -> None:
            nonlocal noted
            if noted:
                return
            noted = True
            if not seen["in"] and dict(scope["headers"]).get(b"content-length", b"0") != b"0":
                unread.of(request).give("body", ["(all of it)"])
            self.log.write(
                scope,
                path=original,
                time=round(started, 3),
                user=getattr(request.state, "user", None),
                status=seen["status"],
                bytes_in=seen["in"],
                bytes_out=seen["out"],
                fault=scope.get("state", {}).get("faults", []),
                cut=cut,
                imitated=not scope.get("state", {}).get("unknown", False),
                ms=round((time.time() - started) * 1000, 1),
                **{name: state[name] for name in ("problem", "notes") if name in (state := scope.get("state", {}))},
            )

        try:
            arrived = {**scope, "raw_path": sent}
            refused = addresses.refused(scope["app"].state.xnat, arrived) or await auth.identify(request)
            refused = refused or _unacceptable(request)
            if refused is not None:
                await refused(scope, counting_receive, counting_send)
            else:
                await self.app(scope, counting_receive, counting_send)
        except Disconnect:
            cut = True
            raise
        except Exception as problem:
            _mark(request, problem)
            raise
        finally:
            auth.answered(request)
            note()


def _body_length(method: str, start) -> int | None:
    """How many bytes follow the head of an answer, where it says so: with them the client has all of it."""
    if method == "HEAD" or start["status"] in (204, 304):
        return 0
    found = [value for name, value in start["headers"] if name.lower() == b"content-length"]
    return int(found[0]) if found else None


def _unacceptable(request: Request) -> Response | None:
    """What the newer half of the addresses says to who takes neither text nor JSON, and 1.6 to everybody there."""
    if not request.scope["path"].startswith("/xapi/"):
        return None
    if not personality.has(request.app.state.xnat, "xapi"):
        return answers.container_page(404)
    wanted = request.headers.get("accept", "*/*")
    known = any(kind in wanted for kind in ("*/*", "json", "text/plain", "text/*", "application/*", "octet-stream"))
    return None if known else answers.container_page(406)


def _mark(request: Request, problem: BaseException) -> None:
    """Let the log say where this server itself failed: a kind of exception and a line, never a value."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == Path(__file__).parent] or frames[-1:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in own[-3:])
    request.scope.setdefault("state", {})["problem"] = f"{type(problem).__name__} at {places}"


async def _refused(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, answers.Refusal)
    if request.scope["path"].startswith("/xapi/"):  # the other of XNAT's two stacks: text, and nothing for 403
        body = "" if problem.status == 403 else problem.message
        return Response(body, problem.status, problem.headers, media_type="text/plain")
    return answers.status_page(problem.status, problem.message, problem.headers)


async def _unknown(request: Request, problem: Exception) -> Response:
    request.state.unknown = True
    if not request.scope["path"].startswith("/data/"):
        return answers.container_page(404, f"The requested resource [{request.scope['path']}] is not available")
    return answers.status_page(404)


async def _not_allowed(request: Request, problem: Exception) -> Response:
    """405, and 200 for ``OPTIONS``, both with the methods that the address has."""
    newer = request.scope["path"].startswith("/xapi/")
    known = set() if newer else {"OPTIONS"}
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            known |= route.methods or set()
    headers = {"Allow": ", ".join(sorted(known - {"HEAD"} if newer else known))}
    if newer:
        return answers.container_page(405, f"Request method '{request.method}' not supported", headers)
    return Response(headers=headers) if request.method == "OPTIONS" else answers.status_page(405, headers=headers)


async def _broken(request: Request, problem: Exception) -> Response:
    _mark(request, problem)
    return answers.status_page(500)


async def _faults(request: Request) -> Response:
    """Read or replace the rules while the server runs; from this machine only."""
    _from_here(request)
    faults: Faults = request.app.state.xnat.faults
    if request.method == "POST":
        try:
            faults.replace(await request.json())
        except (ValueError, TypeError, KeyError) as problem:
            return JSONResponse({"error": str(problem)}, 400)
    return JSONResponse([rule.values | {"left": rule.left} for rule in faults.rules])


def _check(request: Request) -> Response:
    """What does not fit together in the state, as sentences; from this machine only."""
    _from_here(request)
    return JSONResponse(check.check(request.app.state.xnat, contents=answers.flag(request, "contents")))


def _from_here(request: Request) -> None:
    if request.client is None or request.client.host not in ("127.0.0.1", "::1"):
        raise answers.Refusal(403)


def create_app(state: State, rules: list[dict[str, Any]] | None = None):
    """The ASGI application over one state."""
    state.faults = Faults(rules)
    routes = [Route("/_faults", _faults, methods=["GET", "POST"]), Route("/_check", _check)]
    for room in (
        auth, people, workflows, tracking, user_cache, configuration, catalogs, dumps, downloads, site, scripts, ingest,
        prearchive, archiving, resources, listings, sharing, scans, assessors, subjects, projects,
    ):  # fmt: skip
        routes += room.routes

    @contextlib.asynccontextmanager
    async def lifespan(app):
        check.begin(state)
        stop = threading.Event()
        start = getattr(archiving, "start_background", None)
        if start is not None:
            start(state, stop)
        yield
        stop.set()
        check.end(state)

    app = Starlette(
        routes=[unread.noting(route) for route in routes],
        lifespan=lifespan,
        exception_handlers={answers.Refusal: _refused, 404: _unknown, 405: _not_allowed, 500: _broken},
    )
    app.state.xnat = state
    app.state.sessions = auth.Sessions()
    app.state.tracking = tracking.Tracking()
    gate = Gate(app, RequestLog(state.folder))
    return _Outermost(FaultMiddleware(gate, state.faults, gate.log), app)


class _Outermost:
    """Puts the Starlette application into the scope before the gate needs it, and keeps connections whole.

    Whoever is answered before the body of the request was read goes on with the next request on the same connection:
    what is still on its way is thrown away by uvicorn, and a failure that was answered in full ends nothing. Who
    waits for a word before sending a body that nobody wants is told that the connection ends.
    """

    def __init__(self, gate, app) -> None:
        self.gate, self.app = gate, app

    async def __call__(self, scope, receive, send) -> None:
        scope["app"] = self.app
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        waits, answered = dict(scope["headers"]).get(b"expect", b"").lower() == b"100-continue", False

        async def asked_for():
            nonlocal waits
            waits = False
            return await receive()

        async def noting(message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and waits:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)
            answered = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self.gate(scope, asked_for, noting)
        except Exception as problem:  # Starlette raises again what it has answered with 500; the gate has noted it
            if not answered or isinstance(problem, Disconnect):
                raise
