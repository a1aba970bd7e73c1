"""Catalogues brought up to date with the files, and what the headers of DICOM files say.

XNAT source: ``RefreshCatalog``, ``CatalogApi``, ``DicomDump``; the rows of a dump are those of a live 1.6.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import places
from .answers import Refusal, flag, json_body, table, text
from .places import Place
from .state import State, file_md5

_OPTIONS = ("append", "checksum", "delete", "populateStats")


async def refresh(request: Request) -> Response:
    """POST /data/services/refresh/catalog?resource=...&options=append,checksum,delete,populateStats."""
    values = list(request.query_params.multi_items())
    if "form" in request.headers.get("content-type", ""):
        async with request.form() as form:
            values += [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    uris = [value for name, value in values if name == "resource"]
    chosen = {one.strip().lower() for name, value in values if name == "options" for one in value.split(",")}
    chosen |= {name.lower() for name, value in values if value.lower() not in ("false", "0")}
    if not uris:
        raise Refusal(400, "Missing parameter: resource")
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


# -- headers ----------------------------------------------------------------------------------------------------


def dump(request: Request) -> Response:
    """GET /data/services/dicomdump?src=/archive/.../scans/N&field=...: the header of the first DICOM file there."""
    src = request.query_params.get("src", "")
    if not src:
        raise Refusal(400, "Missing parameter: src")
    wanted = {_tag(name) for name in request.query_params.getlist("field")}
    header = next(_headers(_files(request, src)), None)
    rows = [] if header is None else list(_rows(header, wanted, summary=flag(request, "summary")))
    return table(request, rows, ["tag1", "tag2", "vr", "value", "desc"], total=False)


def _files(request: Request, src: str) -> Iterator[Path]:
    state: State = request.app.state.xnat
    parts = src.strip("/").removeprefix("data/").split("/")
    if parts[:2] == ["prearchive", "projects"] and len(parts) >= 5:
        from .archiving import find_rows
        from .waiting import Waiting

        (row,) = find_rows(state, request.state.user, [(parts[2], parts[3], parts[4])])
        scan = parts[6] if len(parts) > 6 and parts[5] == "scans" else None
        waiting = Waiting(state)
        for file in waiting.files(row, scan):
            yield waiting.file_path(row, file["scan"], file["resource"], file["path"])
        return
    words = places.words_of(src)
    here = places.named(state, request.state.user, words)
    if here and here[0].kind == "experiment":
        here = places.scans_of(state, here)
    for place in here:
        yield from dicom_files(state, place, words.get("r", ""))


def dicom_files(state: State, place: Place, wanted: str = "") -> Iterator[Path]:
    """The files of a place's resources, those of format DICOM first."""
    for holder in sorted(places.resources(state, place, wanted), key=lambda row: row["format"] != "DICOM"):
        for file in state.rows("SELECT path FROM files WHERE resource_pk=? ORDER BY path", holder["pk"]):
            yield state.file_path(holder["pk"], file["path"])


def _headers(files: Iterator[Path]) -> Iterator[Any]:
    import pydicom

    for path in files:
        try:
            yield pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, EOFError):
            continue


def header_of(state: State, place: Place) -> Any | None:
    """The header of the first DICOM file of a place, as pydicom reads it."""
    return next(_headers(dicom_files(state, place)), None)


def _tag(name: str) -> int:
    from pydicom.datadict import tag_for_keyword

    text_ = name.strip("() ").replace(",", "")
    found = tag_for_keyword(name)
    if found is None:
        try:
            found = int(text_, 16)
        except ValueError:
            raise Refusal(400, f"Unknown DICOM field {name}") from None
    return int(found)


def _rows(dataset: Any, wanted: set[int], *, summary: bool, outer: str = "") -> Iterator[dict[str, str]]:
    for element in dataset:
        if wanted and int(element.tag) not in wanted:
            continue
        here = f"({element.tag.group:04X},{element.tag.element:04X})".lower()
        one = {"tag1": outer or here, "tag2": here if outer else "", "vr": element.VR, "desc": element.name}
        if element.VR == "SQ":
            yield one | {"tag2": here, "value": ""}
            if not summary:
                for item in element.value:
                    yield from _rows(item, set(), summary=summary, outer=here)
        else:
            several = element.value if element.VM > 1 else [element.value]
            value = "" if isinstance(element.value, bytes) else "\\".join(str(part) for part in several)
            yield one | {"value": value if len(value) <= 1000 else value[:1000]}


routes = [
    Route("/data/services/refresh/catalog", refresh, methods=["POST"]),
    Route("/xapi/archive/catalogs/refresh", refresh_list, methods=["PUT"]),
    Route("/xapi/archive/catalogs/refresh/{operations}", refresh_list, methods=["PUT"]),
    Route("/data/services/dicomdump", dump),
]
