"""Each user's own cache: files that wait to be imported or moved into a resource.

XNAT source: ``UserCacheResource``, ``MoveFiles``; REST test TestImport.testUserCacheUploadAndImport; a live 1.6.4.
"""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from . import places, tracking, uploads, zips
from .answers import Refusal, flag, table, text
from .state import State, safe

_SRC = re.compile(r"/?(?:data/)?user/cache/resources/([^/]+)(?:/files(?:/(.+))?)?/?")


def folder(state: State, user: str) -> Path:
    return state.folder / "user_cache" / safe(user)


def within(state: State, user: str, resource: str, path: str = "") -> Path:
    return folder(state, user).joinpath(safe(resource), *(safe(part) for part in path.split("/") if part))


def resources(request: Request) -> Response:
    """GET /data/user/cache/resources: the names of what waits."""
    state: State = request.app.state.xnat
    home = folder(state, request.state.user)
    names = sorted(path.name for path in home.iterdir()) if home.exists() else []
    return table(request, [{"Resource": name, "URI": f"/data/user/cache/resources/{name}"} for name in names])


async def resource(request: Request) -> Response:
    """/data/user/cache/resources/X[/files[/PATH]]."""
    if request.method in ("PUT", "POST"):
        return await _receive(request)
    return await run_in_threadpool(_look, request)


def _look(request: Request) -> Response:
    state: State = request.app.state.xnat
    words = request.path_params
    base = within(state, request.state.user, words["r"])
    place = within(state, request.state.user, words["r"], words.get("path", ""))
    if not place.exists():
        raise Refusal(404, "There are no user resources here.")
    if request.method == "DELETE":
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
        return text("")
    if place.is_file():
        return FileResponse(place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    if request.query_params.get("format") == "zip":
        members = ((str(path.relative_to(base)), path) for path in files)
        headers = {"Content-Disposition": f"attachment; filename={base.name}.zip"}
        return StreamingResponse(zips.stored_zip(members), media_type="application/zip", headers=headers)
    rows = [
        {
            "Name": path.name,
            "Size": path.stat().st_size,
            "URI": f"/data/user/cache/resources/{words['r']}/files/{path.relative_to(base)}",
        }
        for path in files
    ]
    columns = {"Columns": [{"key": "URI", "serverRoot": ""}]}
    return table(request, rows, ["Name", "Size", "URI"], extra=columns)


async def _receive(request: Request) -> Response:
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    base, path = within(state, user, words["r"]), words.get("path", "")
    if request.scope["path"].rstrip("/").endswith(f"/resources/{words['r']}"):
        if base.exists():
            raise Refusal(412, "Resource directory already exists.")
        base.mkdir(parents=True)
        return text("")
    async with uploads.received(request, path) as files:
        await run_in_threadpool(_keep, state, user, words["r"], files, flag(request, "extract"))
    return text("")


def _keep(state: State, user: str, resource: str, files: uploads.Named, extract: bool) -> None:
    for name, source in files:
        inner = list(uploads.unpacked(source)) if extract else []
        for path, data in inner:
            target = within(state, user, resource, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        if not inner:
            target = within(state, user, resource, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source, target)


def source(state: State, user: str, src: str) -> Path:
    """The file or folder of a user's cache that ``src=`` of a service names.

    Raises
    ------
    Refusal
        400 for an address that is none of a cache, 404 for what is not there.
    """
    found = _SRC.fullmatch(src.strip())
    if not found:
        raise Refusal(400, f"Invalid src {src}")
    place = within(state, user, found[1], found[2] or "")
    if not place.exists():
        raise Refusal(404, f"{src} not found.")
    return place


def import_later(request: Request, src: str, work) -> Response:
    """Import a file of the cache: at once, or behind the answer where a listener was named.

    ``work`` takes the file and returns the addresses of what it became.
    """
    state: State = request.app.state.xnat
    path = source(state, request.state.user, src)
    key = request.query_params.get("http-session-listener", "")
    if not key:
        return text("".join(f"{uri}\r\n" for uri in work(path)))
    progress = request.app.state.tracking.begin(request, key)
    progress.say(f"Importing file ({path.name})")

    def run() -> None:
        try:
            uris = work(path)
            progress.end(tracking.address(uris[0]) if uris else "Nothing was imported.", bool(uris))
        except Refusal as refusal:
            progress.end(refusal.message, False)
        except Exception as problem:
            progress.end(type(problem).__name__, False)

    threading.Thread(target=run, name="import-from-cache", daemon=True).start()
    archive = "/archive" in request.query_params.get("dest", "")
    return text("Submitted for archival" if archive else "Submitted for prearchival")


def move_files(request: Request) -> Response:
    """POST /data/services/move-files?src=/user/cache/...&dest=/archive/.../resources/R/files[/PATH]."""
    state: State = request.app.state.xnat
    query = request.query_params
    if not query.get("src") or not query.get("dest"):
        raise Refusal(400, "Both src and dest are required.")
    place = source(state, request.state.user, query["src"])
    words = places.words_of(query["dest"])
    if "r" not in words:
        raise Refusal(400, "dest is no resource.")
    target = places.named(state, request.state.user, words, one=True)[0]
    path = words.get("path", "")
    files = [place] if place.is_file() else sorted(one for one in place.rglob("*") if one.is_file())
    if place.is_file():
        named = [(path or place.name, place)]
    else:
        named = [(f"{path}/{one.relative_to(place)}".lstrip("/"), one) for one in files]
    return uploads.store(request, target, words["r"], named)


_BASE = "/data/user/cache/resources"
_ALL = ["GET", "PUT", "POST", "DELETE"]
routes = [
    Route(_BASE, resources),
    Route(f"{_BASE}/{{r}}", resource, methods=_ALL),
    Route(f"{_BASE}/{{r}}/files", resource, methods=_ALL),
    Route(f"{_BASE}/{{r}}/files/{{path:path}}", resource, methods=_ALL),
    Route("/data/services/move-files", move_files, methods=["POST"]),
]
