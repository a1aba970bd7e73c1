"""Scans as objects: read, make, change, delete (XNAT source: ScanResource; REST test TestScans)."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import fields, find, removing
from .answers import Refusal, item_answer, text
from .state import State
from .views import scan_view

_OWN = {"type", "uid", "quality", "note", "series_description", "frames", "modality"}


async def scan(request: Request) -> Response:
    """.../experiments/E/scans/N."""
    if request.method in ("PUT", "POST"):
        return await run_in_threadpool(_change, request, await request.body())
    return await run_in_threadpool(_look, request)


def _found(request: Request):
    state: State = request.app.state.xnat
    _, owner, below = find.asked(request)
    rows = [row for row in find.scans(state, owner, "ALL") if row["id"] == request.path_params["scan"]]
    return owner, below, rows[0] if rows else None


def _look(request: Request) -> Response:
    state: State = request.app.state.xnat
    owner, below, found = _found(request)
    if found is None:
        raise Refusal(404, "Unable to find the specified scan.")
    if request.method == "GET":
        return item_answer(request, scan_view(owner["id"], found))
    if not find.may(state, request.state.user, owner, "delete", below):
        raise Refusal(403, "User account doesn't have permission to modify this session.")
    with state.write() as db:
        left = removing.forget_resources(state, "scan", str(found["pk"]))
        db.execute("DELETE FROM scans WHERE pk=?", (found["pk"],))
        state.workflow(
            owner["id"], "Removed via web service", request.state.user, request.query_params, project=owner["project"]
        )
    removing.discard(state, left)
    return text("")


def _change(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    with state.write() as db:
        owner, below, found = _found(request)
        if not find.may(state, request.state.user, owner, "edit", below):
            raise Refusal(403, "User account doesn't have permission to modify this session.")
        kind = next((value for name, value in request.query_params.items() if name.lower() == "xsitype"), "")
        if kind == "xnat:imageScanData":
            raise Refusal(400, "xnat:imageScanData is abstract.")
        if kind and not kind.endswith("ScanData"):
            raise Refusal(400, f"{kind} is no type of scan.")
        types = {"xnat:imagescandata", (found["xsi_type"] if found else kind).lower()}
        given = fields.read(request, body, types).values
        own = {name.lower(): value for name, value in given.items() if name.lower() in _OWN}
        name = request.path_params["scan"]
        if found is None:
            if not kind:
                raise Refusal(417, "Need xsiType of the new scan.")
            state.new_scan(owner["id"], name, kind, **own)
        elif kind and kind != found["xsi_type"]:
            raise Refusal(409, f"Scan {name} is of type {found['xsi_type']}.")
        for column in own if found else ():
            db.execute(f"UPDATE scans SET {column}=? WHERE pk=?", (own[column], found["pk"]))
        state.workflow(
            owner["id"], "Modified via web service", request.state.user, request.query_params, project=owner["project"]
        )
    return text("")


routes = [
    Route(f"{base}/scans/{{scan}}", scan, methods=["GET", "PUT", "POST", "DELETE"])
    for base in (
        "/data/experiments/{e}",
        "/data/projects/{p}/experiments/{e}",
        "/data/projects/{p}/subjects/{s}/experiments/{e}",
    )
]
