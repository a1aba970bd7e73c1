"""Resources and files of projects, subjects, sessions and scans: lists, downloads, uploads (XNAT source: FileList)."""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import quote, unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from . import addresses, find, folders, packing, personality, places, removing
from .answers import Refusal, catalog, container_page, flag, table, text
from .places import Place
from .state import State, too_long
from .uploads import upload
from .workflows import justified

_FILE_COLUMNS = ["Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest"]
_RESOURCE_COLUMNS = [
    "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count", "file_size",
    "tags", "content", "format",
]  # fmt: skip


def resource_list(request: Request) -> Response:
    """GET <parent>/resources; ``all=true`` on a session adds its scans' and assessors'."""
    state: State = request.app.state.xnat
    here = places.asked(request)
    if flag(request, "all") and here and here[0].kind == "experiment":
        here += [*places.scans_of(state, here), *places.assessors_of(state, request.state.user, here)]
    rows = [
        {
            "xnat_abstractresource_id": row["pk"],
            "label": row["label"],
            "element_name": "xnat:resourceCatalog",
            "category": "assessors" if place.session else "scans" if place.scan else "resources",
            "cat_id": place.scan["id"] if place.scan else place.key,
            "cat_desc": place.scan["type"] if place.scan else " ",
            "file_count": row["file_count"],
            "file_size": row["file_size"],
            "tags": row["tags"],
            "content": row["content"],
            "format": row["format"],
        }
        for place in here
        for row in places.resources(state, place)
    ]
    return table(request, rows, _RESOURCE_COLUMNS, title="Resources")


def resource(request: Request) -> Response:
    """GET, PUT, POST and DELETE <parent>/resources/R."""
    state: State = request.app.state.xnat
    user, label = request.state.user, request.path_params["r"]
    place = places.asked(request, one=True)[0]
    found = places.resources(state, place, label)
    if request.method == "GET":
        if not found:
            raise Refusal(404)
        files = state.rows("SELECT * FROM files WHERE resource_pk=? ORDER BY path", found[0]["pk"])
        return catalog(found[0]["label"], str(found[0]["pk"]), files)
    if request.method == "DELETE":
        if not found:
            raise Refusal(404)
        _need(state, user, place, "delete")
        justified(request)
        for row in found:
            with state.alone():
                folders.remove(state, removing.forget_resource(state, row["pk"]))
        state.workflow(place.item, "Removed resource", user, request.query_params)
        return text("")
    _need(state, user, place, "edit")
    justified(request)
    if found:
        raise Refusal(409, "Specified resource already exists.")
    query = request.query_params
    if too_long(label):
        raise Refusal(400, "A name is too long.")
    with state.write():
        if not places.exists(state, place):
            raise Refusal(404)
        given = {name: query.get(name, "") for name in ("format", "content", "description", "tags")}
        state.add_resource(place.kind, place.key, label, **given)
    state.workflow(place.item, "Created resource", user, query)
    return text("")


def _need(state: State, user: str | None, place: Place, action: str) -> None:
    if not place.may(state, user, action):
        raise Refusal(403)


def file_list(request: Request) -> Response:
    """GET <parent>/files and <parent>/resources/R/files, as a list or as a zip.

    The list of a resource that is not there is one without rows (XNAT source, FileList; clients ask after a deletion).
    """
    state: State = request.app.state.xnat
    here = places.with_files(request)
    if "r" not in request.path_params and flag(request, "all") and here and here[0].kind == "experiment":
        here += [*places.scans_of(state, here), *places.assessors_of(state, request.state.user, here)]
    wanted = request.path_params.get("r", "")
    found = _rows(state, here, wanted)
    there = {holder["pk"] for _, holder, _ in found}
    others = [row for row in places.numbered(state, request.state.user, wanted) if here and row["pk"] not in there]
    found += [
        (here[0], row, file)
        for row in others
        for file in state.rows("SELECT * FROM files WHERE resource_pk=? ORDER BY path", row["pk"])
    ]
    query = request.query_params
    for name, column in (("file_format", "format"), ("file_content", "content")):
        if query.get(name):
            found = [entry for entry in found if entry[2][column] in query[name].split(",")]
    if query.get("index", "").isdigit():
        at = int(query["index"])
        if at >= len(found):
            raise Refusal(404)
        place, holder, row = found[at]
        return _send_file(request, state, holder["pk"], row["path"])
    if query.get("format") in ("zip", "tar", "tar.gz"):
        return packing.packed(state, found, query)
    if query.get("format") == "xcat":
        return packing.catalogue(state, found, str(request.base_url).rstrip("/"))
    rows = [
        {
            "Name": row["path"].rpartition("/")[2],
            "Size": row["size"],
            "URI": f"{place.uri}/resources/{holder['pk']}/files/{row['path']}",
            "collection": holder["label"],
            "file_tags": row["tags"],
            "file_format": row["format"],
            "file_content": row["content"],
            "cat_ID": holder["pk"],
            "digest": row["md5"],
        }
        for place, holder, row in found
    ]
    columns = [name for name in _FILE_COLUMNS if name != "digest" or personality.has(state, "digests-are-listed")]
    locator = {"absolutepath": "absolutePath", "projectpath": "projectPath"}.get(query.get("locator", "").lower(), "")
    if locator:  # where a file lies, in place of its address, as a live server has it
        columns = [locator if name == "URI" else name for name in columns]
        for row, (_, holder, file) in zip(rows, found, strict=True):
            path = state.file_path(holder["pk"], file["path"])
            row[locator] = path if locator == "absolutePath" else packing.below(path, state.folder / "archive")
    return table(
        request,
        rows,
        columns,
        title="Files",
        total=False,
        extra={"Columns": [{"key": "URI", "serverRoot": ""}]},
    )


def _rows(state: State, here: list[Place], wanted: str) -> list[tuple[Place, Any, Any]]:
    """(place, resource, file) of all files; one query for all places of a kind."""
    words = set(wanted.split(",")) if wanted else set()
    by_key = {(place.kind, place.key): place for place in here}
    holders: list[tuple[Place, Any]] = []
    for kind in {place.kind for place in here}:
        keys = [place.key for place in here if place.kind == kind]
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ",".join("?" * len(some))
            for row in state.rows(
                f"SELECT * FROM resources WHERE parent_kind=? AND parent_id IN ({marks})", kind, *some
            ):
                if not words or row["label"] in words or str(row["pk"]) in words:
                    holders.append((by_key[(kind, row["parent_id"])], row))
    found: list[tuple[Place, Any, Any]] = []
    by_pk = {row["pk"]: (place, row) for place, row in holders}
    pks = list(by_pk)
    for start in range(0, len(pks), 500):
        some = pks[start : start + 500]
        marks = ",".join("?" * len(some))
        for row in state.rows(f"SELECT * FROM files WHERE resource_pk IN ({marks}) ORDER BY resource_pk, path", *some):
            found.append((*by_pk[row["resource_pk"]], row))
    return found


def _meant(state: State, pk: int, path: str) -> str:
    """The file that the path of an address means in a resource: the one of this name, else of the unquoted one."""
    names = [path, unquote_plus(path)]
    asked = "SELECT path FROM files WHERE resource_pk=? AND path IN (?,?)"
    rows = {row["path"] for row in state.rows(asked, pk, *names)}
    return next((name for name in names if name in rows), path)


def _send_file(request: Request, state: State, pk: int, path: str) -> Response:
    found = state.row("SELECT * FROM files WHERE resource_pk=? AND path=?", pk, path)
    on_disk = state.file_path(pk, path) if found else None
    if on_disk is None or not on_disk.is_file():
        if flag(request, "accept-not-found"):
            return Response(status_code=204)
        return container_page(404, "Unable to find catalog entry for given uri.")
    if request.query_params.get("format", "").startswith("image/"):
        raise Refusal(400, "This server makes no pictures of DICOM files.")
    kind = "" if path.lower().endswith((".dcm", ".ima")) else mimetypes.guess_type(path)[0]
    name = quote(path.rpartition("/")[2])
    return FileResponse(
        on_disk,
        media_type=kind or "application/octet-stream",
        headers={"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "must-revalidate"},
    )


async def one_file(request: Request) -> Response:
    """GET, PUT, POST and DELETE <parent>/resources/R/files/PATH."""
    if request.method in ("PUT", "POST"):
        return await upload(request)
    return await run_in_threadpool(_one_file, request)


def _one_file(request: Request) -> Response:
    state: State = request.app.state.xnat
    label, path = request.path_params["r"], addresses.file_name(state, request.path_params["path"])
    if request.method in ("GET", "HEAD"):
        here = places.with_files(request)
        holders = [row for place in here for row in places.resources(state, place, label)]
        holders += places.numbered(state, request.state.user, label)
        for row in holders:
            meant = _meant(state, row["pk"], path)
            if state.row("SELECT 1 FROM files WHERE resource_pk=? AND path=?", row["pk"], meant):
                return _send_file(request, state, row["pk"], meant)
        return _send_file(request, state, -1, path)
    place = places.asked(request, one=True)[0]
    found = places.resources(state, place, label)
    path = next((meant for row in found if (meant := _meant(state, row["pk"], path)) != path), path)
    _need(state, request.state.user, place, "delete")
    justified(request)
    doomed = [
        (row["pk"], one["path"])
        for row in found
        for one in state.rows("SELECT path FROM files WHERE resource_pk=?", row["pk"])
        if one["path"] == path or one["path"].startswith(path.rstrip("/") + "/")
    ]
    if not doomed:
        raise Refusal(404)
    for pk, name in doomed:
        state.remove_file(pk, name)
    state.workflow(place.item, "Removed File", request.state.user, request.query_params)
    return text("")


async def upload_to_list(request: Request) -> Response:
    """PUT and POST <parent>/resources/R/files; GET is the list."""
    if request.method in ("PUT", "POST"):
        return await upload(request)
    return await run_in_threadpool(file_list, request)


_BASES = [
    "/data/projects/{p}",
    "/data/projects/{p}/subjects/{s}",
    "/data/subjects/{s}",
]
for _session in find.SESSION_ADDRESSES:
    _BASES += [_session, _session + "/scans/{scan}", _session + "/assessors/{a}"]
    _BASES.append(_session + "/assessors/{a}/{side:side}")

_ALL = ["GET", "PUT", "POST", "DELETE"]
routes = []
for _base in _BASES:
    routes += [
        Route(f"{_base}/resources", resource_list),
        Route(f"{_base}/files", file_list),
        Route(f"{_base}/resources/{{r}}", resource, methods=_ALL),
        Route(f"{_base}/resources/{{r}}/files", upload_to_list, methods=["GET", "PUT", "POST"]),
        Route(f"{_base}/resources/{{r}}/files/{{path:path}}", one_file, methods=_ALL),
    ]
