"""``POST /data/services/import``: DICOM archives and single objects into the prearchive or the archive.

Parameters, handlers and outcomes follow XNAT's importer (XNAT source: ``Importer``, ``DicomZipImporter``,
``SessionImporter``; REST test TestImport). Bodies go to a temporary file as they arrive, so memory stays flat.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import Refusal
from .archiving import archive_row, prearchive_code
from .importer import Importer, Order
from .waiting import Row

if TYPE_CHECKING:
    from .state import State

_HANDLERS = ("DICOM-zip", "gradual-DICOM", "SI")
_SINGLE = ("application/dicom", "application/x-mirc")

async def import_data(request: Request) -> Response:
    """Answer an import with one URI a line."""
    state: State = request.app.state.xnat
    given = dict(request.query_params)
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    with tempfile.TemporaryFile(dir=state.folder / "tmp") as spool:
        name = await _receive(request, content_type, given, spool)
        handler = given.get("import-handler", "")
        if handler and handler not in _HANDLERS:
            raise Refusal(404, f"Unknown importer implementation specified: {handler}")
        if not name:
            raise Refusal(400 if handler else 500, "Unable to identify upload format.")
        handler = handler or ("gradual-DICOM" if content_type.startswith(_SINGLE) else "DICOM-zip")
        order = Order.read(request.state.user, handler, given)
        uris = await run_in_threadpool(run_import, state, order, spool, name)
    body = "".join(f"{uri}\r\n" for uri in uris)
    if "text/plain" in request.headers.get("accept", "") and len(uris) == 1:
        return Response(uris[0], media_type="text/plain")
    return Response(body, headers={"Content-Type": "text/uri-list;charset=ISO-8859-1"})


async def _receive(request: Request, content_type: str, given: dict[str, str], spool: BinaryIO) -> str:
    """Write the one uploaded file to ``spool`` and return its name, empty when there is none."""
    if content_type == "multipart/form-data":
        async with request.form() as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            given.update({key: value for key, value in form.multi_items() if isinstance(value, str)})
            if len(files) > 1:
                raise Refusal(400, "Importer is limited to one uploaded resource at a time.")
            for upload in files:
                while block := await upload.read(1 << 20):
                    await run_in_threadpool(spool.write, block)
                spool.seek(0)
                return upload.filename or "upload"
        return ""
    if content_type == "application/x-www-form-urlencoded":
        async with request.form() as form:
            given.update({key: value for key, value in form.multi_items() if isinstance(value, str)})
        return ""
    chunked = "chunked" in request.headers.get("transfer-encoding", "").lower()
    if chunked and content_type != "application/zip":
        raise Refusal(400, "In-body File posts must include the file directly as the body of the message.")
    buffer, size = bytearray(), 0
    async for block in request.stream():
        buffer += block
        if len(buffer) >= 1 << 20:
            size += len(buffer)
            await run_in_threadpool(spool.write, buffer)
            buffer = bytearray()
    size += len(buffer)
    spool.write(buffer)
    spool.seek(0)
    return "upload" if size else ""


def run_import(state: State, order: Order, stream: BinaryIO, name: str = "upload") -> list[str]:
    """Import the upload in ``stream`` and return the URIs of what it became.

    Raises
    ------
    Refusal
        With XNAT's status and message; what was received stays in the prearchive.
    """
    importer = Importer(state, order)
    importer.take_upload(stream, name)
    rows = importer.close()
    if not rows:
        if order.handler == "SI":
            raise Refusal(400, "Upload did not include parseable files for session generation.")
        return []
    return [_commit(importer, order, row) for row in rows]


def _commit(importer: Importer, order: Order, row: Row) -> str:
    """Build and archive ``row`` as far as the order says; return where the data is now."""
    waiting, state = importer.waiting, importer.state
    if not (order.where or order.commit or order.handler == "SI"):
        return row.uri
    waiting.build(row)
    code = prearchive_code(state, row)
    wanted = order.where == "archive" or (
        not order.where and (order.auto_archive or row.autoarchive == "AutoArchive" or code >= 4)
    )
    if not wanted or row.project == "Unassigned":
        return row.uri
    overriding = order.overwrite in ("delete", "override")
    merge = bool(order.overwrite) or (order.handler != "SI" and code >= 4)
    try:
        return archive_row(
            state, row, order.user, merge=merge, override=overriding, quarantine=order.quarantine,
            overwrite_files=overriding or order.overwrite_files or code == 5,
        )
    except Refusal as refusal:
        if order.handler == "SI" or refusal.status == 403:
            raise
        raise Refusal(400, f"unable to archive for the Prearchive session {row.uri}: {refusal.message}") from refusal


async def refuse_get(request: Request) -> Response:
    """Importing is by POST only."""
    raise Refusal(405)


routes = [
    Route("/data/services/import", import_data, methods=["POST"]),
    Route("/data/services/import", refuse_get, methods=["GET", "HEAD", "PUT", "DELETE"]),
]
