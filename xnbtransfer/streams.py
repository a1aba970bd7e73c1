"""Scans as streams: read a zip while it arrives, check every file as it passes, spool it, send it on.

Memory is bounded by a few times ``IN_MEMORY_BYTES`` per stream, temporary disk by two scans per worker. Names inside a
zip are text to be matched with what the server listed; they are never paths here.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import hashlib
import mmap
import os
import re
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from .dicom import Content, Values, read_content
from .errors import DicomError, DiskFullError
from .foretell import header_of
from .zips import Limits, ZipMember, read_zip, write_zip, zip_length

IN_MEMORY_BYTES = 4 << 20
_BLOCK = 1 << 20
_AHEAD = 2  # files of one stream that are digested while the next arrives
_SMALL_BYTES = 64 << 10  # a thread costs more than the digest of such a file


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One file as it passed: sizes in bytes, digests in lower-case hex, ``problem`` a sentence or ""."""

    scan: str
    resource: str
    path: str
    size_bytes: int
    md5: str
    content: Content | None = None
    problem: str = ""
    name: str = ""  # the unique name it is sent under
    way_out: str = ""  # what would have shown damage on the way out of the source; see MANIFEST_COLUMNS
    header: bytes = b""  # without its pixels, packed, where a script has to be carried out over it

    def record(self) -> dict:
        """What the journal keeps of it: no value of any header but the instance UID."""
        content = self.content
        return {
            "path": self.path,
            "name": self.name,
            "size_bytes": self.size_bytes,
            "md5": self.md5,
            "sop": content.sop_instance_uid if content else "",
            "bulk": content.bulk if content else "",
            "geometry": content.geometry if content else "",
            "problem": self.problem,
        }


class Spool:
    """The files of one scan on temporary disk, and the zip that they become."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder or tempfile.gettempdir()
        self._file = tempfile.TemporaryFile(prefix="xnbtransfer-", dir=folder)
        self._at: dict[str, tuple[int, int]] = {}
        self._size = 0
        self.members: list[ZipMember] = []

    def add(self, name: str, data: memoryview) -> None:
        with _room(self._folder):
            self._at[name] = (self._size, len(data))
            self._size += self._file.write(data)
        self.members.append(ZipMember(name=name, size_bytes=len(data), crc32=zlib.crc32(data)))

    @property
    def zip_bytes(self) -> int:
        return zip_length(self.members)

    def chunks(self) -> Iterator[bytes]:
        """The zip, from its start; may be asked for again."""
        with _room(self._folder):
            self._file.flush()
        return write_zip(self.members, self._read)

    def as_zip(self, members: list[ZipMember]) -> tuple[int, Iterator[bytes]]:
        """The length in bytes of a zip of some of the files, and the zip."""
        with _room(self._folder):
            self._file.flush()
        return zip_length(members), write_zip(members, self._read)

    @property
    def folder(self) -> str:
        """Where the temporary file lies."""
        return self._folder

    def bytes_of(self, member: ZipMember) -> Iterator[bytes]:
        """The bytes of one file."""
        return self._read(member)

    def _read(self, member: ZipMember) -> Iterator[bytes]:
        offset, left = self._at[member.name]
        while left:
            self._file.seek(offset)
            block = self._file.read(min(_BLOCK, left))
            offset, left = offset + len(block), left - len(block)
            yield block

    def close(self) -> None:
        # What is still buffered for a disk that is full cannot be written, and need not be.
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _room(folder: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(
                f"The disk with the temporary files ({folder or tempfile.gettempdir()}) is full."
            ) from None
        raise


class Pace:
    """Holds streams back so that all of them together pass at most ``bytes_per_s``; 0 lets everything pass."""

    def __init__(self, bytes_per_s: float = 0.0) -> None:
        self._rate, self._lock, self._free_at = bytes_per_s, threading.Lock(), 0.0

    def __call__(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        if not self._rate:
            yield from chunks
            return
        for chunk in chunks:
            with self._lock:
                now = time.monotonic()
                begin = max(now, self._free_at)
                self._free_at = begin + len(chunk) / self._rate
            time.sleep(begin - now)
            yield chunk


@contextlib.contextmanager
def whole(chunks: Iterable[bytes]) -> Iterator[memoryview]:
    """All of a stream as one memoryview: in memory while it is small, else a mapped temporary file."""
    pieces: list[bytes] = []
    size, spill = 0, None
    for chunk in chunks:
        size += len(chunk)
        if spill is None and size > IN_MEMORY_BYTES:
            spill = tempfile.TemporaryFile(prefix="xnbtransfer-")
            with _room():
                spill.writelines(pieces)
            pieces = []
        if spill is None:
            pieces.append(chunk)
        else:
            with _room():
                spill.write(chunk)
    if spill is None:
        yield memoryview(b"".join(pieces))
        return
    with spill:
        with _room():
            spill.flush()
        with mmap.mmap(spill.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                yield view
            finally:
                view.release()


def path_in_resource(name: str) -> str:
    """The path of a file below its resource, from the name of its entry in one of XNAT's zips.

    XNAT source, ``ZipRepresentation``: ``<label>/scans/<id>-<type>/resources/<resource>/files/<path>``; other
    layouts drop segments. It is the name as it is stored, as in lists, and never decoded (recorded).
    """
    _, found, path = name.partition("/files/")
    if not found:
        path = name.rsplit("/", 1)[-1]
    return path


def see(
    data: memoryview,
    *,
    scan: str,
    resource: str,
    path: str,
    key: bytes,
    look: Look | None = None,
    known: Mapping[str, Seen] | None = None,
    keep: bool = False,
) -> Seen:
    """Digest and read one file. A file that is not whole DICOM is seen with its ``problem``, never an exception.

    ``look`` is given the values of its header in passing, and keeps none of them; ``keep`` keeps the header. ``known``
    are files by MD5 that were read with the same key before: what has the same bytes has the same content.
    """
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    same = known.get(md5) if known and look is None else None
    if same is not None and same.size_bytes == len(data) and (same.header or not keep):
        return replace(same, scan=scan, resource=resource, path=path)
    content, problem = None, ""
    values: Values | None = None if look is None else {}
    if len(data) == 0:
        problem = "the file is empty"
    else:
        try:
            content = read_content(data, key=key, values=values)
        except DicomError as error:
            problem = error.message
    if look is not None and values is not None:
        look.file(values, path=path, problem=problem)
    header = header_of(data) if keep and content is not None else b""
    return Seen(
        scan=scan,
        resource=resource,
        path=path,
        size_bytes=len(data),
        md5=md5,
        content=content,
        problem=problem,
        header=header,
    )


class Look(Protocol):
    """Looks at headers while they pass, from several threads."""

    def file(self, values: Values, *, path: str = "", problem: str = "") -> None:
        """One file: the values of its header, and why it could not be read whole, or ""."""


@functools.cache
def _hands() -> ThreadPoolExecutor:
    """The threads that digest, shared by all streams: digests let go of the interpreter, so cores work side by side."""
    return ThreadPoolExecutor(os.cpu_count() or 2, thread_name_prefix="xnbtransfer-digest")


def see_each(
    chunks: Iterable[bytes],
    place: Callable[[str], tuple[str, str, str] | None],
    *,
    key: bytes,
    look: Look | None = None,
    known: Mapping[str, Seen] | None = None,
    limits: Limits | None = None,
    keep: bool = False,
) -> Iterator[tuple[memoryview, Seen]]:
    """The files of a zip in their order, each digested while the next ones arrive.

    ``place`` gives scan, resource and path of an entry's name, or None to pass it over. A view holds until the next
    file is asked for.

    Raises
    ------
    TransientError
        If the zip is cut short or damaged.
    """
    ahead: collections.deque[tuple[contextlib.ExitStack, memoryview, Future[Seen]]] = collections.deque()

    def oldest() -> Iterator[tuple[memoryview, Seen]]:
        stack, view, future = ahead.popleft()
        with stack:
            yield view, future.result()

    try:
        for entry, data in read_zip(chunks, limits):
            at = place(entry)
            if at is None:
                continue
            stack = contextlib.ExitStack()
            view = stack.enter_context(whole(data))
            ask = functools.partial(
                see, view, scan=at[0], resource=at[1], path=at[2], key=key, look=look, known=known, keep=keep
            )
            if len(view) <= _SMALL_BYTES and not ahead:
                with stack:
                    yield view, ask()
                continue
            ahead.append((stack, view, _hands().submit(ask)))
            if len(ahead) > _AHEAD:
                yield from oldest()
        while ahead:
            yield from oldest()
    finally:
        for stack, _, future in ahead:
            if not future.cancel():
                future.exception()
            stack.close()


def read_scan(
    chunks: Iterable[bytes],
    *,
    scan: str,
    resource: str,
    prefix: str,
    listed: Mapping[str, tuple[int, str]],
    study_uid: str,
    key: bytes,
    spool: Spool | None,
    look: Look | None = None,
    keep: bool = False,
) -> list[Seen]:
    """Read the zip of one scan resource, check each file, and spool what an import can carry.

    Parameters
    ----------
    chunks : iterable of bytes
        The zip as it arrives.
    prefix : str
        Begins the name of every spooled file, so that no two zips sent side by side share a name (equal names
        collided on a live server).
    listed : mapping
        Path below the resource to size in bytes and MD5 as the source lists them; much more is not read.
    study_uid : str
        The study that the session belongs to; "" takes that of the first file.
    spool : Spool or None
        None reads only.
    look : Look, optional
        Is given each header in passing.
    keep : bool
        Whether each file keeps its header, because a script will be carried out over it.

    Returns
    -------
    list of Seen
        One per file, sorted by path. Those with a ``problem`` were not spooled.

    Raises
    ------
    TransientError
        If the zip is cut short or damaged.
    """
    found: list[Seen] = []
    instances: dict[str, str] = {}
    limits = Limits.of(size for size, _ in listed.values())
    numbers = {path: number for number, path in enumerate(sorted(listed))}

    def place(entry: str) -> tuple[str, str, str]:
        return scan, resource, path_in_resource(entry)

    for view, one in see_each(chunks, place, key=key, look=look, keep=keep, limits=limits):
        problem = one.problem
        if one.content is not None:
            uid = one.content.sop_instance_uid
            study_uid = study_uid or one.content.study_instance_uid
            if uid in instances:
                problem = f"it has the SOPInstanceUID of {instances[uid]}, and XNAT keeps one file of an instance"
            elif one.content.study_instance_uid != study_uid:
                problem = "it belongs to another study than the first file of its session"
            instances.setdefault(uid, one.path)
        # by the list and not by arrival: the next run, or a mounted archive, may bring the files in another order
        number = numbers.pop(one.path, len(listed) + len(found))
        name = f"{prefix}-{number:05d}-{_plain(one.path)}.dcm"
        one = replace(one, problem=problem, name="" if problem else name)
        if spool is not None and not problem:
            spool.add(name, view)
        found.append(one)
    return sorted(found, key=lambda item: item.path)


def _plain(path: str) -> str:
    stem = path.rsplit("/", 1)[-1]
    stem = stem[:-4] if stem.lower().endswith(".dcm") else stem
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[-60:] or "file"
