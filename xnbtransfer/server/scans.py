"""Scans as objects: read, make, change, delete (XNAT source: ScanResource; REST test TestScans)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import fields, find, personality, removing, unread
from .answers import Refusal, item_answer, text
from .state import Record, State, too_long
from .views import scan_view
from .workflows import justified

_OWN = {"type", "uid", "quality", "note", "series_description", "frames", "modality"}


async def scan(request: Request) -> Response:
    """.../experiments/E/scans/N."""
    if request.method in ("PUT", "POST"):
        return await run_in_threadpool(_change, request, await request.body())
    return await run_in_threadpool(_look, request)


def _found(request: Request, name: str):
    state: State = request.app.state.xnat
    try:
        _, owner, below = find.asked(request)
    except Refusal:
        if request.method in ("PUT", "POST"):
            raise Refusal(417, "Specified scan must reference a valid image session.") from None
        raise
    if owner["session_id"]:
        raise Refusal(404, "An assessor has no scans.")
    return owner, below, state.row("SELECT * FROM scans WHERE experiment_id=? AND id=?", owner["id"], name)


def _look(request: Request) -> Response:
    state: State = request.app.state.xnat
    owner, below, found = _found(request, request.path_params["scan"])
    if found is None:
        raise Refusal(404, "Unable to find the specified scan.")
    if request.method == "GET":
        return item_answer(request, scan_view(state, owner["id"], found))
    if not find.may(state, request.state.user, owner, "delete", below):
        raise Refusal(403, "User account doesn't have permission to modify this session.")
    justified(request)
    with state.alone():
        with state.write():
            left = removing.forget_scan(state, found["pk"])
            _note(request, owner, "Removed via web service")
        removing.discard(state, left)
    return text("")


def _change(request: Request, body: bytes) -> Response:
    with request.app.state.xnat.write():
        _save(request, body, request.path_params["scan"])
    return text("")


def _save(request: Request, body: bytes, name: str) -> str:
    """Make or change a scan; its id. Without a ``name`` the id is among the fields, and must be new."""
    state: State = request.app.state.xnat
    owner, below, found = _found(request, name)
    if not find.may(state, request.state.user, owner, "edit", below):
        raise Refusal(403, "User account doesn't have permission to modify this session.")
    said = unread.in_any_case(request, "xsiType")
    types = {"xnat:imagescandata", (found["xsi_type"] if found else said).lower()}
    given = fields.read(request, body, types)
    if not name:
        name = given.id
        if not name:
            raise Refusal(417, "Need POST Contents: the ID of the new scan.")
        if _found(request, name)[2]:
            raise Refusal(409, f"Scan {name} already exists.")
    justified(request)
    write(state, owner["id"], name, given.xsi_type, given.values)
    _note(request, owner, "Modified via web service" if found else "Added via web service")
    return name


def write(state: State, session_id: str, name: str, xsi_type: str, values: Mapping[str, str]) -> None:
    """Make or change one scan of a session.

    Raises
    ------
    Refusal
        417 without a type for a new one, 400 for a type that is none of scans, 409 for another than the scan has.
    """
    if xsi_type == "xnat:imageScanData":
        raise Refusal(
            400,
            "Multiple scan modalities can be associated here.  "
            "Please retry with the specification of a particular modality (i.e. ?xsiType=xnat:mrScanData).",
        )
    if xsi_type and not xsi_type.endswith("ScanData"):
        raise Refusal(400, f"{xsi_type} is no type of scan.")
    found = state.row("SELECT * FROM scans WHERE experiment_id=? AND id=?", session_id, name)
    own = {key.lower(): value for key, value in values.items() if key.lower() in _OWN}
    rest = {key: value for key, value in values.items() if key.lower() not in _OWN and "/" in key}
    with state.write() as db:
        if found is None:
            if not xsi_type:
                raise Refusal(417, "Need PUT Contents: the xsiType of the new scan.")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or too_long(name):
                raise Refusal(500)  # live 1.6.4 to 1.8.11: other signs than these fail (W15)
            state.new_scan(session_id, name, xsi_type, **own, **rest)
            return
        strict = personality.has(state, "scan-keeps-its-type")
        if not strict and not xsi_type:
            raise Refusal(417, "Need PUT Contents: the xsiType of the scan.")
        if strict and xsi_type and xsi_type != found["xsi_type"]:
            raise Refusal(409, f"Scan {name} is of type {found['xsi_type']}.")
        for column in own:
            db.execute(f"UPDATE scans SET {column}=? WHERE pk=?", (own[column], found["pk"]))
        known = json.loads(found["fields"]) | rest
        db.execute("UPDATE scans SET fields=? WHERE pk=?", (json.dumps(known), found["pk"]))


async def to_list(request: Request) -> Response:
    """POST to the list of scans: one more."""
    return await run_in_threadpool(_to_list, request, await request.body())


def _to_list(request: Request, body: bytes) -> Response:
    from .subjects import created

    with request.app.state.xnat.write():
        name = _save(request, body, "")
    return created(request, name)


def _note(request: Request, owner: Record, what: str) -> None:
    request.app.state.xnat.workflow(
        owner["id"], what, request.state.user, request.query_params, project=owner["project"]
    )


routes = []
for _base in find.SESSION_ADDRESSES:
    routes += [
        Route(f"{_base}/scans", to_list, methods=["POST"]),
        Route(f"{_base}/scans/{{scan}}", scan, methods=["GET", "PUT", "POST", "DELETE"]),
    ]
