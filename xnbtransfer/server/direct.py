"""Direct archiving: sessions that go into the archive without a row in the prearchive.

They are archived when asked for, or once idle; what fails becomes a row of the prearchive (XNAT source:
``DirectArchiveSessionApi``; REST test TestDirectArchive).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import Refusal, as_json
from .archiving import archive_row, may_edit
from .waiting import Row, Waiting

if TYPE_CHECKING:
    from .state import State


def _shown(row: Row) -> dict[str, Any]:
    return {
        "id": row.id, "project": row.project, "subject": row.subject, "name": row.name, "folderName": row.folder,
        "tag": row.tag, "status": row.status, "scanDate": row.scan_date, "scanTime": row.scan_time,
        "uploaded": row.uploaded, "lastModified": row.lastmod, "source": row.source, "location": row.uri,
    }  # fmt: skip


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
    return as_json(_shown(_named(request)))


def commit(request: Request) -> Response:
    """``POST /xapi/direct-archive/P/UID/NAME``: into the archive now."""
    state: State = request.app.state.xnat
    row = Waiting(state).build(_named(request))
    try:
        archive_row(state, row, request.state.user, merge=False, override=False, overwrite_files=False)
    except Refusal as refusal:  # an exception below xapi is a 500, whatever it says itself
        return Response(refusal.message, 403 if refusal.status == 403 else 500, media_type="text/plain")
    return as_json(_shown(row))


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
    return as_json([_shown(row) for row in mine[start : start + max(1, size)]])


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
