"""Direct archiving: sessions that go into the archive without a row in the prearchive.

They are archived when asked for, or once idle; what fails becomes a row of the prearchive (XNAT source:
``DirectArchiveSessionApi``; REST test TestDirectArchive).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import Refusal, as_json
from .archiving import archive_row
from .row_addresses import may_edit
from .waiting import Waiting
from .waiting_rows import Row

if TYPE_CHECKING:
    from .state import State


def _shown(state: State, row: Row) -> dict[str, Any]:
    """One session as a live 1.8.11 shows it (recorded: n451, n453); the folder is its place in the archive."""
    place = {"timestamp": row.timestamp, "folderName": row.folder, "project": row.project}
    return {
        "lastBuiltDate": _epoch(row.lastmod), "status": row.status, "subject": row.subject,
        "scan_date": _epoch(f"{row.scan_date} {row.scan_time or '00:00:00'}") if row.scan_date else None,
        "url": str(state.folder / "archive" / row.project / "arc001" / row.folder), "tag": row.tag,
        "preventAnon": row.prevent_anon, "preventAutoCommit": row.prevent_auto_commit, "id": row.id, "name": row.name,
        "sessionDataTriple": place, "externalUrl": row.url, **place,
    }  # fmt: skip


def _epoch(text: str) -> int:
    """Milliseconds since 1970 of a time as the catalogue has it."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _allowed(request: Request, row: Row | None) -> Row:
    state: State = request.app.state.xnat
    if row is None:
        raise Refusal(404, "There is no such session on its way into the archive.")
    if not may_edit(state, request.state.user, row):
        raise Refusal(403)
    return row


def _named(request: Request) -> Row:
    path = request.path_params
    rows = Waiting(request.app.state.xnat).rows(
        [path["project"]], "tag=? AND name=?", path["uid"], path["name"], direct=True
    )
    return _allowed(request, rows[0] if rows else None)


def read(request: Request) -> Response:
    """``GET /xapi/direct-archive/P/UID/NAME``."""
    return as_json(_shown(request.app.state.xnat, _named(request)))


def commit(request: Request) -> Response:
    """``POST /xapi/direct-archive/P/UID/NAME``: into the archive; the answer is empty (recorded from 1.8.11: n454)."""
    state: State = request.app.state.xnat
    row = Waiting(state).build(_named(request))
    assert row is not None
    try:
        archive_row(state, row, request.state.user, merge=False, override=False, overwrite_files=False)
    except Refusal as refusal:  # an exception below xapi is a 500, whatever it says itself
        return Response(refusal.message, 403 if refusal.status == 403 else 500, media_type="text/plain")
    return Response(status_code=200)


async def rows(request: Request) -> Response:
    """``POST /xapi/direct-archive``: what is on its way, by the pages that the body asks for."""
    state: State = request.app.state.xnat
    try:
        asked = json.loads(await request.body() or b"{}")
        size, page = int(asked.get("size", 50)), int(asked.get("page", 1))
    except (ValueError, TypeError, AttributeError):
        raise Refusal(400, "The body names size and page.") from None
    mine = [row for row in Waiting(state).rows(direct=True) if may_edit(state, request.state.user, row)]
    start = max(0, page - 1) * max(1, size)
    return as_json([_shown(state, row) for row in mine[start : start + max(1, size)]])


def delete(request: Request) -> Response:
    """``DELETE /xapi/direct-archive/ID``."""
    waiting = Waiting(request.app.state.xnat)
    found = waiting.rows(None, "pk=?", request.path_params["id"], direct=True)
    row = _allowed(request, found[0] if found else None)
    waiting.delete(waiting.claim(row, "DELETING"))
    return Response(status_code=200)


routes = [
    Route("/xapi/direct-archive", rows, methods=["POST"]),
    Route("/xapi/direct-archive/{id:int}", delete, methods=["DELETE"]),
    Route("/xapi/direct-archive/{project}/{uid}/{name}", read, methods=["GET"]),
    Route("/xapi/direct-archive/{project}/{uid}/{name}", commit, methods=["POST"]),
]
