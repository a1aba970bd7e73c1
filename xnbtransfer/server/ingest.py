"""``POST /data/services/import``: DICOM archives and single objects into the prearchive or the archive.

Parameters, handlers and outcomes follow XNAT's importer (XNAT source: ``Importer``, ``DicomZipImporter``,
``SessionImporter``; REST test TestImport). A body is used while it arrives, entry by entry: one that is cut off leaves
the objects before the cut in a row that is RECEIVING, as seen on a live server.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio.from_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from . import direct, receiver, tracking, unread, user_cache
from .answers import Refusal, flag
from .archiving import archive_row, prearchive_code
from .importer import Importer, Order
from .unpack import Flow, Source
from .uploads import derived_name, file_in_body
from .waiting_rows import DIRECT, Row

if TYPE_CHECKING:
    from .state import State

_HANDLERS = ("DICOM-zip", "gradual-DICOM", "SI")
_ELSEWHERE = ("XAR", "inbox")
"""Handlers of XNAT that no transfer uses: archives of XNAT's own, and folders of its machine."""
_SINGLE = ("application/dicom", "application/x-mirc")


async def import_data(request: Request) -> Response:
    """Answer an import with one URI a line."""
    state: State = request.app.state.xnat
    given = unread.values(request, dict(request.query_params.multi_items()))
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    handler = given.get("import-handler", "")
    if handler in _ELSEWHERE:
        raise Refusal(400, f"This server does not import by {handler}; send DICOM by {', '.join(_HANDLERS)}.")
    if handler and handler not in _HANDLERS:
        raise Refusal(404, f"Unknown importer implementation specified: {handler}")
    if given.get("src"):
        order = _order(request, given, content_type)
        return await run_in_threadpool(_from_cache, request, order, given["src"])
    plain = content_type == "application/x-www-form-urlencoded" and not flag(request, "inbody")
    if plain or content_type == "multipart/form-data":
        async with request.form() as form:
            uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            told = {key: value for key, value in form.multi_items() if isinstance(value, str)}
            given = unread.values(request, {**given, **told}, told)
            if len(uploads) > 1:
                raise Refusal(400, "Importer is limited to one uploaded resource at a time.")
            if not uploads:
                raise Refusal(400 if handler else 500, "Unable to identify upload format.")
            order = _order(request, given, content_type)
            source = Flow.of(uploads[0].file)
            uris = await run_in_threadpool(run_import, state, order, source, uploads[0].filename or "upload")
        return _answer(request, uris)
    if not (file_in_body(request) or content_type.startswith(_SINGLE)):
        raise Refusal(400 if handler else 500, "Unable to identify upload format.")
    if "chunked" in request.headers.get("transfer-encoding", "").lower() and content_type != "application/zip":
        raise Refusal(400, "In-body File posts must include the file directly as the body of the message.")
    order = _order(request, given, content_type)
    body = request.stream()

    async def next_block() -> bytes:
        async for block in body:
            if block:
                return block
        return b""

    try:
        first = await next_block()
        if not first and handler != "DICOM-zip":
            raise Refusal(400 if handler else 500, "Unable to identify upload format.")
        source = Flow(lambda: anyio.from_thread.run(next_block))
        source.give_back(first)
        try:
            uris = await run_in_threadpool(run_import, state, order, source, derived_name(content_type))
        finally:
            while await next_block():  # what is not wanted is still on its way
                pass
    except ClientDisconnect:  # nobody hears this; what has arrived stays in a row that is RECEIVING
        raise Refusal(400, "The upload was cut off.") from None
    return _answer(request, uris)


def _order(request: Request, given: dict[str, str], content_type: str) -> Order:
    single = content_type.startswith(_SINGLE)
    handler = given.get("import-handler") or ("gradual-DICOM" if single else "DICOM-zip")
    return Order.read(request.state.user, handler, given)


def _from_cache(request: Request, order: Order, src: str) -> Response:
    """Import a file that waits in the user's cache (REST test TestImport.testUserCacheUploadAndImport)."""

    def work(path: Path) -> list[str]:
        if not path.is_file():
            raise Refusal(400, f"{src} is no file.")
        with open(path, "rb") as stream:
            return run_import(request.app.state.xnat, order, Flow.of(stream), path.name)

    return user_cache.import_later(request, src, work)


def _answer(request: Request, uris: list[str]) -> Response:
    if key := request.query_params.get("http-session-listener"):
        progress = request.app.state.tracking.begin(request, key)
        progress.end(tracking.address(uris[0]) if uris else "Nothing was imported.", bool(uris))
    accept = request.headers.get("accept", "")
    if "text/plain" in accept and "text/uri-list" not in accept and len(uris) == 1:
        return Response(uris[0], media_type="text/plain")
    body = "".join(f"{uri}\r\n" for uri in uris).encode("latin-1", "replace")
    return Response(body, headers={"Content-Type": "text/uri-list;charset=ISO-8859-1"})


def run_import(state: State, order: Order, source: Source, name: str = "upload") -> list[str]:
    """Import the upload in ``source`` and return the URIs of what it became.

    Raises
    ------
    Refusal
        With XNAT's status and message; what was received stays in the prearchive.
    """
    importer = Importer(state, order)
    importer.take_upload(source, name)
    rows = importer.close()
    if not rows:
        if order.handler == "SI":
            raise Refusal(400, "Upload did not include parseable files for session generation.")
        return []
    return [_commit(importer, order, row) for row in rows]


def _commit(importer: Importer, order: Order, row: Row) -> str:
    """Build and archive ``row`` as far as the order says; return where the data is now.

    What is archived directly is so when its time comes, and at once where ``dest`` is the archive.
    """
    waiting, state = importer.waiting, importer.state
    if (row.autoarchive == DIRECT and order.where != "archive") or not (
            order.where or order.commit or order.handler == "SI"):
        return row.uri
    waiting.build(row)
    code = prearchive_code(state, row)
    wanted = order.where == "archive" or (
        not order.where and (order.auto_archive or row.autoarchive == "AutoArchive" or code >= 4)
    )
    if not wanted or row.project == "Unassigned":
        return row.uri
    overriding = order.overwrite in ("delete", "override")  # not append (recorded from 1.8.11: n425-n434)
    merge = bool(order.overwrite) or (order.handler != "SI" and code >= 4)
    try:
        return archive_row(
            state, row, order.user, merge=merge, override=overriding, quarantine=order.quarantine,
            overwrite_files=overriding or order.overwrite_files or code == 5,
        )
    except Refusal as refusal:
        if order.handler == "SI" or refusal.status == 403:
            raise
        raise Refusal(400, "unable to archive for the Prearchive session") from refusal


async def refuse_get(request: Request) -> Response:
    """Importing is by POST only."""
    raise Refusal(405)


routes = [
    *direct.routes,
    *receiver.routes,
    Route("/data/services/import", import_data, methods=["POST"]),
    Route("/data/services/import", refuse_get, methods=["GET", "HEAD", "PUT", "DELETE"]),
]
