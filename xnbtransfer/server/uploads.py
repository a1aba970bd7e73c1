"""Files into resources: raw, multipart, unpacked, one request at a time (XNAT source: FileList, ResourceModifierA)."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from . import addresses, places, unread
from .answers import Refusal, flag, text
from .places import Place
from .state import Gone, State, too_long
from .workflows import justified

_ARCHIVES = (".zip", ".zar", ".xar", ".jar", ".tar", ".tar.gz", ".tgz", ".gz")
_TYPES = frozenset((
    "text/plain", "text/xml", "text/csv", "application/dicom", "application/zip", "application/xar",
    "application/x-gtar", "application/x-gzip", "application/octet-stream", "application/pdf", "application/x-tar",
    "application/vnd.ms-excel", "application/vnd.ms-powerpoint", "application/msword", "image/bmp", "image/gif",
    "image/x-icon", "image/jpeg", "image/png", "image/svg+xml", "image/tiff", "video/x-msvideo", "video/mp4",
    "video/mpeg", "video/quicktime", "video/x-ms-wmv",
))  # fmt: skip
"""What a body may be to count as a file without ``inbody=true`` (XNAT source, RequestUtil)."""
Named = list[tuple[str, Path]]
"""Received files, each with the name it is to have."""


async def upload(request: Request) -> Response:
    """PUT and POST <parent>/resources/R/files[/PATH]."""
    place = (await run_in_threadpool(lambda: places.asked(request, one=True)))[0]
    state: State = request.app.state.xnat
    resource = request.path_params["r"].split(",")[0]
    path = addresses.file_name(state, request.path_params.get("path", ""))
    await run_in_threadpool(places.numbered, state, request.state.user, resource)
    async with received(request, path) as files:
        return await run_in_threadpool(store, request, place, resource, files)


@contextlib.asynccontextmanager
async def received(request: Request, path: str):
    """The files of a body, under temporary names that are gone at the end.

    Raises
    ------
    Refusal
        400 without a file, 500 for a raw body without a length (as a live server).
    """
    state: State = request.app.state.xnat
    found: Named = []
    try:
        if request.headers.get("content-type", "").startswith("multipart/"):
            async with request.form() as form:
                for part in form.values():
                    if isinstance(part, UploadFile):
                        found.append((path or part.filename or "file", state.temporary()))
                        with open(found[-1][1], "wb") as out:
                            while piece := await part.read(1 << 20):
                                out.write(piece)
        else:
            if not file_in_body(request):
                raise Refusal(400, f"You tried to {request.method} a payload to this service, but didn't provide any "
                                   "data. If you think you sent data to upload, you can try to "
                                   f"{request.method} with the query-string parameter inbody=true or use "
                                   "multipart/form-data encoding.")  # fmt: skip
            if "content-length" not in request.headers and "transfer-encoding" in request.headers:
                raise Refusal(500)
            found.append((path or derived_name(request.headers.get("content-type", "")), state.temporary()))
            size = 0
            with open(found[-1][1], "wb") as out:
                async for piece in request.stream():
                    out.write(piece)
                    size += len(piece)
            if not size:
                raise Refusal(500, "In-body File post must include the file directly as the body of the message.")
        if not found:
            raise Refusal(400)
        yield found
    finally:
        for _, source in found:
            source.unlink(missing_ok=True)


def file_in_body(request: Request) -> bool:
    """Whether the body is a file: ``inbody=true`` says so, or a type that is one of files."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return flag(request, "inbody") or kind in _TYPES


def derived_name(content_type: str) -> str:
    """What a raw body without a name in its address is called (XNAT source, ``RequestUtil.deriveFileName``).

    >>> derived_name("application/zip"), derived_name("application/x-tar; charset=x"), derived_name("")
    ('upload.zip', 'upload.tar', 'upload')
    """
    kind = content_type.partition(";")[0].strip().lower()
    return "upload" + (mimetypes.guess_extension(kind) or "")


def store(request: Request, place: Place, resource: str, files: Named) -> Response:
    """Put received files into a resource, which is made if it is missing.

    Files that are there already stay, unless ``overwrite=true``, and are named in an answer that is 200 all the same.
    Without the right to edit the answer is 200 and nothing is stored: XNAT's handler has no else branch (XNAT source,
    FileList; seen on a live server).
    """
    state: State = request.app.state.xnat
    query, user = request.query_params, request.state.user
    if not place.may(state, user, "edit"):
        unread.of(request).dismiss()
        return text("")
    justified(request)
    fields = {name: query.get(name, "") for name in ("format", "content", "tags")}
    duplicates: list[str] = []
    for name, source in files:
        inner = unpacked(source) if flag(request, "extract") and name.lower().endswith(_ARCHIVES) else None
        for path, data in inner or [(name, source)]:
            path = path.replace("\\", "/").lstrip("/")
            if not _put(state, place, resource, path, data, fields, overwrite=flag(request, "overwrite")):
                duplicates.append(path)
    state.workflow(place.item, "Uploaded File", user, query, project=place.project)
    if duplicates:
        return Response(json.dumps({"duplicates": duplicates}), media_type="text/html")
    return text("")


def _put(
    state: State, place: Place, resource: str, path: str, data: bytes | Path, fields: dict[str, str], *, overwrite: bool
) -> bool:
    """Put one file into a resource; False when it is there already. What is deleted meanwhile is made anew."""
    if too_long(resource, *path.split("/")):
        raise Refusal(400, "A name is too long.")
    while True:
        with state.write():
            if not places.exists(state, place):
                raise Refusal(404)
            known = places.resources(state, place, resource)
            pk = known[0]["pk"] if known else state.add_resource(place.kind, place.key, resource, **fields)
            there = state.row("SELECT 1 FROM files WHERE resource_pk=? AND path=?", pk, path)
        if there and not overwrite:
            return False
        try:
            state.store_file(pk, path, data, **fields)
            return True
        except Gone:
            continue
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise Refusal(400, f"{path} would have to be a file and a folder.") from None


def unpacked(source: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents in a zip or tar; names that would leave the folder are left out."""
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
