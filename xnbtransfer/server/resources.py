"""Resources and files of projects, subjects, sessions and scans: lists, downloads, uploads (XNAT source: FileList)."""

from __future__ import annotations

import contextlib
import io
import json
import mimetypes
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from . import find, folders, removing, zips
from .answers import Refusal, catalog, flag, table, text
from .state import State

_FILE_COLUMNS = ["Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest"]
_RESOURCE_COLUMNS = [
    "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count", "file_size",
    "tags", "content", "format",
]  # fmt: skip
_ARCHIVES = (".zip", ".zar", ".xar", ".jar", ".tar", ".tar.gz", ".tgz")


class _Place:
    """One thing that has resources: how it is addressed, named in zips, and who may edit it.

    ``below`` is the project in the address: what is shared into it is edited with rights in both.
    """

    def __init__(self, kind: str, key: str, project: str, uri: str, label: str, scan=None, below: str = "") -> None:
        self.kind, self.key, self.project, self.uri, self.label, self.scan = kind, key, project, uri, label, scan
        self.below = below or project

    def may(self, state: State, user: str | None, action: str) -> bool:
        on = "project" if self.kind == "project" else "data"
        return all(state.can(user, name, action, on) for name in {self.project, self.below})


def _places(request: Request, *, one: bool = False) -> list[_Place]:
    """What an address names. With ``one`` it must be exactly one thing (XNAT: 404 otherwise)."""
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    project = words.get("p", "")
    if project:
        project = find.project(state, user, project, "project")["id"]
    if "e" in words:
        sessions = find.experiments(state, user, words["e"], project)
        found = []
        for session in sessions:
            uri = f"/data/experiments/{session['id']}"
            if "scan" in words:
                found += [
                    _Place(
                        "scan",
                        str(scan["pk"]),
                        session["project"],
                        f"{uri}/scans/{quote(scan['id'], safe='')}",
                        session["label"],
                        scan,
                        project,
                    )
                    for scan in find.scans(state, session, words["scan"])
                ]
            else:
                found.append(
                    _Place("experiment", session["id"], session["project"], uri, session["label"], below=project)
                )
        if "scan" in words and not found and (one or words["scan"] not in ("ALL", "*")):
            raise Refusal(404)
    elif "s" in words:
        row = find.subject(state, user, words["s"], project)
        uri = f"/data/subjects/{row['id']}"
        found = [_Place("subject", row["id"], row["project"], uri, row["label"], below=project)]
    else:
        found = [_Place("project", project, project, f"/data/projects/{project}", project)]
    if one and len(found) != 1:
        raise Refusal(404)
    return found


def _resources(state: State, place: _Place, wanted: str = "") -> list:
    rows = state.rows("SELECT * FROM resources WHERE parent_kind=? AND parent_id=? ORDER BY pk", place.kind, place.key)
    if not wanted:
        return rows
    words = set(wanted.split(","))
    return [row for row in rows if row["label"] in words or str(row["pk"]) in words]


def resource_list(request: Request) -> Response:
    """GET <parent>/resources; ``all=true`` on a session adds its scans'."""
    state: State = request.app.state.xnat
    places = _places(request)
    if flag(request, "all") and places and places[0].kind == "experiment":
        for place in list(places):
            session = state.row("SELECT * FROM experiments WHERE id=?", place.key)
            places += [
                _Place("scan", str(scan["pk"]), place.project, "", place.label, scan)
                for scan in find.scans(state, session, "ALL")
            ]
    rows = [
        {
            "xnat_abstractresource_id": row["pk"],
            "label": row["label"],
            "element_name": "xnat:resourceCatalog",
            "category": "scans" if place.kind == "scan" else "resources",
            "cat_id": place.scan["id"] if place.scan else place.key,
            "cat_desc": place.scan["type"] if place.scan else "",
            "file_count": row["file_count"],
            "file_size": row["file_size"],
            "tags": row["tags"],
            "content": row["content"],
            "format": row["format"],
        }
        for place in places
        for row in _resources(state, place)
    ]
    return table(request, rows, _RESOURCE_COLUMNS, title="Resources")


def resource(request: Request) -> Response:
    """GET, PUT, POST and DELETE <parent>/resources/R."""
    state: State = request.app.state.xnat
    user, label = request.state.user, request.path_params["r"]
    place = _places(request, one=True)[0]
    found = _resources(state, place, label)
    if request.method == "GET":
        if not found:
            raise Refusal(404)
        files = state.rows("SELECT * FROM files WHERE resource_pk=? ORDER BY path", found[0]["pk"])
        return catalog(found[0]["label"], str(found[0]["pk"]), files)
    if request.method == "DELETE":
        if not found:
            raise Refusal(404)
        _need(state, user, place, "delete")
        for row in found:
            with state.write():
                folder = removing.forget_resource(state, row["pk"])
            folders.remove(state, folder)
        state.workflow(place.key, "Removed resource", user, request.query_params)
        return text("")
    _need(state, user, place, "edit")
    if found:
        raise Refusal(409, "Specified resource already exists.")
    query = request.query_params
    state.add_resource(
        place.kind,
        place.key,
        label,
        **{name: query.get(name, "") for name in ("format", "content", "description", "tags")},
    )
    state.workflow(place.key, "Created resource", user, query)
    return text("")


def _need(state: State, user: str | None, place: _Place, action: str) -> None:
    if not place.may(state, user, action):
        raise Refusal(403)


def file_list(request: Request) -> Response:
    """GET <parent>/files and <parent>/resources/R/files, as a list or as a zip."""
    state: State = request.app.state.xnat
    places = _places(request)
    if "r" not in request.path_params and flag(request, "all") and places and places[0].kind == "experiment":
        for place in list(places):
            session = state.row("SELECT * FROM experiments WHERE id=?", place.key)
            places += [
                _Place(
                    "scan", str(s["pk"]), place.project, f"{place.uri}/scans/{quote(s['id'], safe='')}", place.label, s
                )
                for s in find.scans(state, session, "ALL")
            ]
    found = _rows(state, places, request.path_params.get("r", ""))
    query = request.query_params
    for name, column in (("file_format", "format"), ("file_content", "content")):
        if query.get(name):
            found = [entry for entry in found if entry[2][column] in query[name].split(",")]
    if (
        "r" in request.path_params
        and not found
        and not any(_resources(state, place, request.path_params["r"]) for place in places)
    ):
        raise Refusal(404)
    if query.get("index", "").isdigit():
        at = int(query["index"])
        if at >= len(found):
            raise Refusal(404)
        place, holder, row = found[at]
        return _send_file(request, state, holder["pk"], row["path"])
    if query.get("format") in ("zip", "tar", "tar.gz"):
        return _download(state, found, query)
    rows = [
        {
            "Name": row["path"].rpartition("/")[2],
            "Size": row["size"],
            "URI": f"{place.uri}/resources/{holder['pk']}/files/{quote(row['path'])}",
            "collection": holder["label"],
            "file_tags": row["tags"],
            "file_format": row["format"],
            "file_content": row["content"],
            "cat_ID": holder["pk"],
            "digest": row["md5"],
        }
        for place, holder, row in found
    ]
    return table(
        request,
        rows,
        _FILE_COLUMNS,
        title="Files",
        extra={"Columns": [{"key": "URI", "serverRoot": ""}]},
    )


def _rows(state: State, places: list[_Place], wanted: str) -> list[tuple[_Place, Any, Any]]:
    """(place, resource, file) of all files; one query for all places of a kind."""
    words = set(wanted.split(",")) if wanted else set()
    by_key = {(place.kind, place.key): place for place in places}
    holders: list[tuple[_Place, Any]] = []
    for kind in {place.kind for place in places}:
        keys = [place.key for place in places if place.kind == kind]
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ",".join("?" * len(some))
            for row in state.rows(
                f"SELECT * FROM resources WHERE parent_kind=? AND parent_id IN ({marks})", kind, *some
            ):
                if not words or row["label"] in words or str(row["pk"]) in words:
                    holders.append((by_key[(kind, row["parent_id"])], row))
    found: list[tuple[_Place, Any, Any]] = []
    by_pk = {row["pk"]: (place, row) for place, row in holders}
    pks = list(by_pk)
    for start in range(0, len(pks), 500):
        some = pks[start : start + 500]
        marks = ",".join("?" * len(some))
        for row in state.rows(f"SELECT * FROM files WHERE resource_pk IN ({marks}) ORDER BY resource_pk, path", *some):
            found.append((*by_pk[row["resource_pk"]], row))
    return found


def _download(state: State, found, query) -> Response:
    if not found:
        raise Refusal(404)
    structure = query.get("structure", "")
    folders = {holder["pk"]: state.resource_folder(holder["pk"]) for _, holder, _ in found}

    def members():
        for place, holder, row in found:
            if place.scan is not None:
                scan = place.scan
                name = zips.scan_entry(structure, place.label, scan["id"], scan["type"], holder["label"], row["path"])
            else:
                name = zips.resource_entry(structure, place.label, holder["label"], row["path"])
            path = (
                state.file_path(holder["pk"], row["path"])
                if "/" in row["path"]
                else folders[holder["pk"]] / row["path"]
            )
            yield name, path

    label = found[0][0].label
    if query["format"] == "zip":
        headers = {"Content-Disposition": f"attachment; filename={label}.zip"}
        return StreamingResponse(zips.stored_zip(members()), media_type="application/zip", headers=headers)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if query["format"] == "tar.gz" else "w") as out:
        for name, path in members():
            out.add(path, name)
    headers = {"Content-Disposition": f"attachment; filename={label}.{query['format']}"}
    return Response(buffer.getvalue(), media_type="application/x-tar", headers=headers)


def _send_file(request: Request, state: State, pk: int, path: str) -> Response:
    found = state.row("SELECT * FROM files WHERE resource_pk=? AND path=?", pk, path)
    on_disk = state.file_path(pk, path)
    if found is None or not on_disk.is_file():
        if flag(request, "accept-not-found"):
            return Response(status_code=204)
        raise Refusal(404)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    name = quote(path.rpartition("/")[2])
    return FileResponse(
        on_disk,
        media_type=kind,
        headers={"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "must-revalidate"},
    )


async def one_file(request: Request) -> Response:
    """GET, PUT, POST and DELETE <parent>/resources/R/files/PATH."""
    if request.method in ("PUT", "POST"):
        return await _upload(request)
    return await run_in_threadpool(_one_file, request)


def _one_file(request: Request) -> Response:
    state: State = request.app.state.xnat
    place = _places(request, one=True)[0]
    path = request.path_params["path"]
    found = _resources(state, place, request.path_params["r"])
    if request.method in ("GET", "HEAD"):
        if not found:
            raise Refusal(404)
        return _send_file(request, state, found[0]["pk"], path)
    _need(state, request.state.user, place, "delete")
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
    state.workflow(place.key, "Removed File", request.state.user, request.query_params)
    return text("")


async def upload_to_list(request: Request) -> Response:
    """PUT and POST <parent>/resources/R/files; GET is the list."""
    if request.method in ("PUT", "POST"):
        return await _upload(request)
    return await run_in_threadpool(file_list, request)


async def _upload(request: Request) -> Response:
    state: State = request.app.state.xnat
    place = (await run_in_threadpool(lambda: _places(request, one=True)))[0]
    path = request.path_params.get("path", "")
    received: list[tuple[str, Path]] = []
    try:
        if request.headers.get("content-type", "").startswith("multipart/"):
            async with request.form() as form:
                for part in form.values():
                    if isinstance(part, UploadFile):
                        target = state.temporary()
                        with open(target, "wb") as out:
                            while piece := await part.read(1 << 20):
                                out.write(piece)
                        received.append((path or (part.filename or "file"), target))
        else:
            if "content-length" not in request.headers and "transfer-encoding" in request.headers:
                raise Refusal(500)
            target = state.temporary()
            size = 0
            with open(target, "wb") as out:
                async for piece in request.stream():
                    out.write(piece)
                    size += len(piece)
            received.append((path or "file", target))
            if not size:
                raise Refusal(400)
        if not received:
            raise Refusal(400)
        return await run_in_threadpool(_keep, request, place, received)
    finally:
        for _, target in received:
            target.unlink(missing_ok=True)


def _keep(request: Request, place: _Place, received: list[tuple[str, Path]]) -> Response:
    state: State = request.app.state.xnat
    query, user = request.query_params, request.state.user
    if not place.may(state, user, "edit"):
        # XNAT source, FileList: the handler has no else branch. 200, and nothing is stored (seen on a live server).
        return text("")
    known = _resources(state, place, request.path_params["r"])
    fields = {name: query.get(name, "") for name in ("format", "content", "tags")}
    pk = known[0]["pk"] if known else state.add_resource(place.kind, place.key, request.path_params["r"], **fields)
    duplicates: list[str] = []
    for name, source in received:
        if flag(request, "extract") and name.lower().endswith(_ARCHIVES):
            for inner, data in _unpacked(source):
                _store(state, pk, inner, data, fields, flag(request, "overwrite"), duplicates)
        else:
            _store(state, pk, name, source, fields, flag(request, "overwrite"), duplicates)
    state.workflow(place.key, "Uploaded File", user, query)
    if duplicates:
        return Response(json.dumps({"duplicates": duplicates}), media_type="text/html")
    return text("")


def _store(state: State, pk: int, name: str, data, fields, overwrite: bool, duplicates: list[str]) -> None:
    name = name.replace("\\", "/").lstrip("/")
    exists = state.row("SELECT 1 FROM files WHERE resource_pk=? AND path=?", pk, name)
    if exists and not overwrite:
        duplicates.append(name)
        return
    state.store_file(pk, name, data, **fields)


def _unpacked(source: Path):
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as found:
            for info in found.infolist():
                if not info.is_dir() and ".." not in info.filename.split("/"):
                    yield info.filename, found.read(info)
        return
    with contextlib.suppress(tarfile.TarError), tarfile.open(source) as found:
        for member in found:
            stream = found.extractfile(member) if member.isfile() else None
            if stream is not None and ".." not in member.name.split("/"):
                yield member.name, stream.read()


_BASES = [
    "/data/projects/{p}",
    "/data/projects/{p}/subjects/{s}",
    "/data/subjects/{s}",
]
for _session in (
    "/data/experiments/{e}",
    "/data/projects/{p}/experiments/{e}",
    "/data/projects/{p}/subjects/{s}/experiments/{e}",
):
    _BASES += [_session, _session + "/scans/{scan}"]

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
