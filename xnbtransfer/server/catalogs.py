"""Catalogues brought up to date with the files (XNAT source: ``RefreshCatalog``, ``CatalogApi``)."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import places, unread
from .answers import Refusal, json_body, text
from .state import State, file_md5

_OPTIONS = ("append", "checksum", "delete", "populateStats")


async def refresh(request: Request) -> Response:
    """POST /data/services/refresh/catalog?resource=...&options=append,checksum,delete,populateStats."""
    values = list(request.query_params.multi_items())
    if "form" in request.headers.get("content-type", ""):
        async with request.form() as form:
            given = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        unread.of(request).give("body", [name for name, _ in given])
        values += given
    for name, _ in values:
        if name in ("resource", "options", *_OPTIONS):
            unread.looked(request, name)
    uris = [value for name, value in values if name == "resource"]
    chosen = {one.strip().lower() for name, value in values if name == "options" for one in value.split(",")}
    chosen |= {name.lower() for name, value in values if value.lower() not in ("false", "0")}
    await run_in_threadpool(_refresh, request, uris, chosen)
    return text("")


async def refresh_list(request: Request) -> Response:
    """PUT /xapi/archive/catalogs/refresh[/OPERATIONS]: a JSON list of addresses; what they do wrong is 500 here."""
    uris = await json_body(request, list)
    chosen = {one.lower() for one in request.path_params.get("operations", "All").split(",")}
    if "all" in chosen:
        chosen = {one.lower() for one in _OPTIONS}
    try:
        await run_in_threadpool(_refresh, request, [str(uri) for uri in uris], chosen)
    except Refusal as refusal:
        raise Refusal(500, refusal.message) from refusal
    return text("")


def _refresh(request: Request, uris: list[str], chosen: set[str]) -> None:
    state: State = request.app.state.xnat
    for uri in uris:
        words = places.words_of(uri)
        try:
            here = places.named(state, request.state.user, words)
        except Refusal as refusal:
            raise Refusal(400, f"Invalid resource URI {uri}: {refusal.message}") from refusal
        if not all(place.may(state, request.state.user, "edit") for place in here):
            raise Refusal(403, f"Unauthorized attempt to refresh {uri}")
        if here and here[0].kind == "experiment" and "r" not in words:
            here += [*places.scans_of(state, here), *places.assessors_of(state, request.state.user, here)]
        for place in here:
            for holder in places.resources(state, place, words.get("r", "")):
                _one(state, holder["pk"], chosen)
        if here:
            state.workflow(here[0].item, "Catalog(s) Refreshed", request.state.user, request.query_params)


def _one(state: State, pk: int, chosen: set[str]) -> None:
    """Bring one resource up to date: ``checksum`` fills blank MD5s and renews those of files anonymised since."""
    folder = state.resource_folder(pk)
    with state.write() as db:
        known = {row["path"]: row for row in state.rows("SELECT * FROM files WHERE resource_pk=?", pk)}
        there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if "delete" in chosen:
            for path in known.keys() - there.keys():
                db.execute("DELETE FROM files WHERE resource_pk=? AND path=?", (pk, path))
        if "append" in chosen:
            named = {state.file_path(pk, path) for path in known}
            for path in sorted(name for name, found in there.items() if found not in named):
                size = there[path].stat().st_size
                db.execute("INSERT INTO files(resource_pk, path, size) VALUES(?,?,?)", (pk, path, size))
        if "checksum" in chosen:
            stale = {row["path"] for row in state.rows("SELECT path FROM stale WHERE resource_pk=?", pk)}
            for row in state.rows("SELECT path, md5 FROM files WHERE resource_pk=?", pk):
                found = state.file_path(pk, row["path"])
                if found.is_file() and (not row["md5"] or row["path"] in stale):
                    values = (file_md5(found), found.stat().st_size, pk, row["path"])
                    db.execute("UPDATE files SET md5=?, size=? WHERE resource_pk=? AND path=?", values)
            db.execute("DELETE FROM stale WHERE resource_pk=?", (pk,))
        state.count_files(pk)


routes = [
    Route("/data/services/refresh/catalog", refresh, methods=["POST"]),
    Route("/xapi/archive/catalogs/refresh", refresh_list, methods=["PUT"]),
    Route("/xapi/archive/catalogs/refresh/{operations}", refresh_list, methods=["PUT"]),
]
