"""Download catalogues: sizes of many sessions in one answer, and their files as one zip.

XNAT source: ``CatalogApi``, ``DefaultCatalogService``. A catalogue belongs to who asked for it and outlives the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from . import answers, find, zips
from .answers import NAMESPACES, Refusal, as_json, json_body
from .state import State, now, safe


async def order(request: Request) -> Response:
    """POST /xapi/archive/downloadwithsize and /xapi/archive/download."""
    asked = await json_body(request, dict)
    if any(asked.get(name, ()) is None for name in ("sessions", "projectId", "projectIds")):
        raise Refusal(500)  # not asked for its items (a live 1.8.11; XNAT source, CatalogApi.validateResourceRequest)
    return await run_in_threadpool(_order, request, {name: _list(value) for name, value in asked.items()})


def _list(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _order(request: Request, asked: dict[str, list[str]]) -> Response:
    state: State = request.app.state.xnat
    if not asked.get("sessions") or not (asked.get("projectIds") or asked.get("projectId")):
        return Response(status_code=204)
    entries: list[dict[str, Any]] = []
    for one in asked["sessions"]:
        words = one.split(":")
        if len(words) != 4:
            raise Refusal(400, f"{one} is not project:subject:session:ID.")
        try:
            session = find.experiment(state, request.state.user, words[3], words[0])
        except Refusal:
            raise Refusal(403) from None
        entries += _entries(state, session, words, asked)
        entries += _of_assessors(state, request.state.user, session, words, asked)
    key = _save(state, request.state.user, entries)
    if request.scope["path"].endswith("/download"):
        return Response(key, media_type="application/xml")
    size = sum(entry["size"] for entry in entries)
    return as_json({"id": key, "size": str(size), "resourcesOfUnknownSize": "0"})


def _entries(state: State, session, words: list[str], asked: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """The resources of one session that were asked for, with their names in the zip."""
    lead, simple = _lead(words, asked)
    label = words[2]
    types, formats = asked.get("scan_types"), asked.get("scan_formats")
    if types and formats:
        for scan in find.scans(state, session, "ALL"):
            if (scan["type"] or "NULL") not in types:
                continue
            for holder in _holders(state, "scan", str(scan["pk"])):
                if (holder["label"] or "NULL") in formats:
                    kind = re.sub(r"[\\/(), ]", "_", scan["type"])
                    middle = scan["id"] if simple else f"scans/{scan['id']}-{kind}/resources"
                    uri = f"/archive/experiments/{session['id']}/scans/{scan['id']}/resources/{holder['label']}/files"
                    yield _entry(holder, f"{lead}{label}/{middle}/{holder['label']}", uri)
    for holder in _holders(state, "experiment", session["id"]):
        if holder["label"] in asked.get("resources", ()):
            middle = "" if simple else "resources/"
            uri = f"/archive/experiments/{session['id']}/resources/{holder['label']}/files"
            yield _entry(holder, f"{lead}{label}/{middle}{holder['label']}", uri)


def _of_assessors(state: State, user: str, session, words: list[str], asked) -> Iterator[dict[str, Any]]:
    """What came out of the assessors of one session that are of a type asked for."""
    lead, simple = _lead(words, asked)
    for row in find.assessors(state, user, session):
        if row["xsi_type"] not in asked.get("assessors", ()):
            continue
        middle = row["label"] if simple else f"assessors/{row['label']}/resources"
        for holder in _holders(state, "experiment", row["id"]):
            uri = f"/archive/experiments/{session['id']}/assessors/{row['id']}/out/resources/{holder['label']}/files"
            yield _entry(holder, f"{lead}{words[2]}/{middle}/{holder['label']}", uri)


def _lead(words: list[str], asked: dict[str, list[str]]) -> tuple[str, bool]:
    """The folders before a session's in the zip, of a project always with its subject; and whether it is simplified."""
    options = set(asked.get("options", ()))
    lead = f"{words[0]}/" if "projectIncludedInPath" in options else ""
    lead += f"{words[1]}/" if options & {"projectIncludedInPath", "subjectIncludedInPath"} else ""
    return lead, "simplified" in options


def _holders(state: State, kind: str, key: str) -> list:
    return state.rows("SELECT * FROM resources WHERE parent_kind=? AND parent_id=? ORDER BY pk", kind, key)


def _entry(holder, name: str, uri: str) -> dict[str, Any]:
    return {"resource": holder["pk"], "name": name, "uri": uri, "size": holder["file_size"]}


def _folder(state: State, user: str) -> Path:
    return state.folder / "catalogs" / safe(user)


def _save(state: State, user: str, entries: list[dict[str, Any]]) -> str:
    folder = _folder(state, user)
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        key = f"{user}-{now('%Y%m%d_%H%M%S%f')}"
        try:
            with open(folder / f"{safe(key)}.json", "x", encoding="utf-8") as out:
                json.dump(entries, out)
        except FileExistsError:
            continue
        return key


def _read(request: Request) -> tuple[str, list[dict[str, Any]]]:
    key = request.path_params["id"]
    path = _folder(request.app.state.xnat, request.state.user) / f"{safe(key)}.json"
    if not path.is_file():
        raise Refusal(403)
    return key, json.loads(path.read_text(encoding="utf-8"))


def as_xml(request: Request) -> Response:
    """GET /xapi/archive/download/ID[/xml]: the catalogue itself."""
    key, entries = _read(request)
    lines = [f"<cat:entry name={quoteattr(one['name'])} URI={quoteattr(one['uri'])}/>" for one in entries]
    body = f"<cat:Catalog ID={quoteattr(key)} {NAMESPACES}><cat:entries>{''.join(lines)}</cat:entries></cat:Catalog>"
    headers = {"Content-Disposition": f'attachment; filename="{key}.xml"'}
    return answers.as_xml(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}', headers, "application/xml")


def as_zip(request: Request) -> Response:
    """GET /xapi/archive/download/ID/zip, and /test with a word instead of each file's content."""
    key, entries = _read(request)
    state: State = request.app.state.xnat
    if request.scope["path"].endswith("/test"):
        dummy = state.folder / "catalogs" / "dummy.txt"
        dummy.write_text("dummy\n", encoding="utf-8")
        members: Iterator[tuple[str, Path]] = ((name, dummy) for name, _ in _members(state, entries))
    else:
        members = _members(state, entries)
    headers = {"Content-Disposition": f'attachment; filename="{key}.zip"'}
    return StreamingResponse(zips.stored_zip(members), media_type="application/zip", headers=headers)


def _members(state: State, entries: list[dict[str, Any]]) -> Iterator[tuple[str, Path]]:
    for entry in entries:
        for row in state.rows("SELECT path FROM files WHERE resource_pk=? ORDER BY path", entry["resource"]):
            yield f"{entry['name']}/{row['path']}", state.file_path(entry["resource"], row["path"])


routes = [
    Route("/xapi/archive/downloadwithsize", order, methods=["POST"]),
    Route("/xapi/archive/download", order, methods=["POST"]),
    Route("/xapi/archive/download/{id}", as_xml),
    Route("/xapi/archive/download/{id}/xml", as_xml),
    Route("/xapi/archive/download/{id}/zip", as_zip),
    Route("/xapi/archive/download/{id}/test", as_zip),
]
