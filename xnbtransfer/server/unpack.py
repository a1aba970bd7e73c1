"""Open what a client uploads while it arrives: zip, tar, tgz, archives inside archives, or one file alone.

Everything is read once and forward, as XNAT does; what came before a damaged place has been used by then.
"""

from __future__ import annotations

import io
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
_PIECE = 1 << 20
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)
"""What reading a damaged archive raises."""


class Source(Protocol):
    """What bytes are read from: a file, an upload while it arrives, or an entry of an archive."""

    def read(self, size: int = -1, /) -> bytes: ...


class Flow(io.RawIOBase):
    """A stream that is read forward, with a look ahead; ``fetch`` gives some next bytes, and none at the end."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch, self._waiting, self._at = fetch, memoryview(b""), 0

    @classmethod
    def of(cls, stream: Source) -> Flow:
        """The flow of a file that is open for reading."""
        return cls(lambda: stream.read(_PIECE))

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end; they stay to be read."""
        while len(self._waiting) - self._at < size and (more := self._fetch()):
            self._waiting, self._at = memoryview(bytes(self._waiting[self._at :]) + more), 0
        return bytes(self._waiting[self._at : self._at + size])

    def some(self, limit: int) -> memoryview:
        """Some next bytes, at most ``limit``, without copying; none at the end."""
        if self._at == len(self._waiting):
            self._waiting, self._at = memoryview(self._fetch()), 0
        found = self._waiting[self._at : self._at + limit]
        self._at += len(found)
        return found

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = 1 << 62
        pieces, left = [], size
        while left and (piece := self.some(left)):
            pieces.append(piece)
            left -= len(piece)
        return pieces[0].tobytes() if len(pieces) == 1 else b"".join(pieces)

    def give_back(self, data: bytes) -> None:
        """Let ``data`` be what comes next."""
        self._waiting, self._at = memoryview(data + bytes(self._waiting[self._at :])), 0


def kind(name: str) -> str:
    """What a file's name says it is: ``zip``, ``tar``, ``tgz`` or nothing (XNAT source: ``Format.getFormat``).

    >>> kind("upload.zip"), kind("a.TGZ"), kind("a.tar.gz"), kind("a.dcm")
    ('zip', 'tgz', 'tgz', '')
    """
    name = name.lower()
    ends = {".zip": "zip", ".xar": "zip", ".tar": "tar", ".tgz": "tgz", ".tar.gz": "tgz", ".gz": "tgz"}
    return next((found for end, found in ends.items() if name.endswith(end)), "")


def is_archive(flow: Flow) -> bool:
    """Say whether ``flow`` begins a zip, tar or compressed tar; nothing is read from it."""
    head = flow.peek(262)
    return head[:2] in (b"PK", b"\x1f\x8b") or head[257:262] == b"ustar"


def entries(flow: Flow) -> Iterator[tuple[str, Source]]:
    """Yield name and stream of each file in the archive, in its order.

    A stream is to be read before the next one is asked for. Archives inside the archive are opened in turn.

    Raises
    ------
    zipfile.BadZipFile, tarfile.TarError
        If the archive is damaged, also in the middle (see `BROKEN`).
    """
    for name, member in _zip_entries(flow) if flow.peek(2) == b"PK" else _tar_entries(flow):
        if _hidden(name):
            continue
        if name.lower().endswith(_ARCHIVES):
            with tempfile.TemporaryFile() as spool:
                while block := member.read(_PIECE):
                    spool.write(block)
                spool.seek(0)
                yield from entries(Flow.of(spool))
        else:
            yield name, member


def _zip_entries(flow: Flow) -> Iterator[tuple[str, Source]]:
    while (head := flow.peek(30))[:4] == b"PK\x03\x04":
        if len(head) < 30:
            raise EOFError("the zip ends inside the head of an entry")
        flags, method, crc, packed, size, name_size, extra_size = struct.unpack("<6xHH4xLLLHH", flow.read(30))
        raw, extra = flow.read(name_size), flow.read(extra_size)
        if len(raw) < name_size or len(extra) < extra_size:
            raise EOFError("the zip ends inside the head of an entry")
        if flags & 1:
            raise NotImplementedError("the zip is encrypted")
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError(f"compression method {method} is not known")
        if 0xFFFFFFFF in (packed, size):
            packed, size = _wide(extra)
        late = bool(flags & 8) and not packed
        if method == zipfile.ZIP_DEFLATED:
            pieces: Iterator[bytes | memoryview] = _inflated(flow, None if late else packed)
        else:
            pieces = _searched(flow) if late else _counted(flow, packed)
        name = raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        member = _Member(_checked(pieces, flow, None if flags & 8 else (crc, size)))
        if not name.endswith("/"):
            yield name, member
        member.finish()
    tail = b""
    while piece := flow.read(_PIECE):
        tail = (tail + piece)[-(1 << 17) :]
    if b"PK\x05\x06" not in tail:
        raise EOFError("the zip has no end")


def _checked(
    pieces: Iterator[bytes | memoryview], flow: Flow, expected: tuple[int, int] | None
) -> Iterator[bytes | memoryview]:
    """The pieces of an entry; at their end an error, if CRC and size are not those that are said before or behind."""
    crc = size = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
        size += len(piece)
        yield piece
    if (crc, size) != (expected or _descriptor(flow)):
        raise zipfile.BadZipFile("wrong size or checksum of an entry")


class _Member(io.RawIOBase):
    """One entry of a zip, to be read to its end; where the connection ends in it, what has come is given first."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces, self._left = pieces, memoryview(b"")
        self._broken: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = 1 << 62
        found: list[memoryview] = []
        while size:
            if not self._left:
                if self._broken and not found:
                    raise self._broken
                try:
                    piece = None if self._broken else next(self._pieces, None)
                except BROKEN:
                    raise
                except Exception as problem:  # the connection ended: what came before is given first
                    self._broken = problem
                    if not found:
                        raise
                    piece = None
                if piece is None:
                    break
                self._left = memoryview(piece)
            found.append(self._left[:size])
            self._left = self._left[len(found[-1]) :]
            size -= len(found[-1])
        return found[0].tobytes() if len(found) == 1 else b"".join(found)

    def finish(self) -> None:
        """Read what nobody wanted."""
        while self.read(_PIECE):
            pass


def _counted(flow: Flow, size: int) -> Iterator[memoryview]:
    while size:
        piece = flow.some(size)
        if not piece:
            raise EOFError("the zip ends inside an entry")
        size -= len(piece)
        yield piece


def _inflated(flow: Flow, packed: int | None) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=-15)
    pending: bytes | memoryview = b""
    while not inflate.eof:
        if not pending:
            pending = flow.some(_PIECE if packed is None else min(packed, _PIECE))
            if not pending:
                raise EOFError("the zip ends inside an entry")
            packed = None if packed is None else packed - len(pending)
        piece = inflate.decompress(pending, _PIECE)
        pending = inflate.unconsumed_tail
        if piece:
            yield piece
    if inflate.unused_data:
        flow.give_back(inflate.unused_data)


def _searched(flow: Flow) -> Iterator[bytes]:
    """A stored entry whose size follows it: it ends before a descriptor that counts as many bytes."""
    size = 0
    while True:
        ahead = flow.peek(_PIECE)
        at = ahead.find(b"PK\x07\x08")
        while at >= 0 and len(found := ahead[at + 8 : at + 16]) >= 4:
            if size + at == int.from_bytes(found[:4], "little"):
                yield flow.read(at)
                return
            at = ahead.find(b"PK\x07\x08", at + 1)
        keep = len(ahead) - 32 if at < 0 else at
        if keep <= 0 or len(ahead) < 64:
            raise EOFError("the zip ends inside an entry")
        size += keep
        yield flow.read(keep)


def _descriptor(flow: Flow) -> tuple[int, int]:
    """CRC and size behind an entry, with or without a signature, of 32 or of 64 bits."""
    ahead = flow.peek(28)
    start = 4 if ahead[:4] == b"PK\x07\x08" else 0
    wide = ahead[start + 12 : start + 14] != b"PK" and ahead[start + 20 : start + 22] == b"PK"
    found = flow.read(start + (20 if wide else 12))
    if len(found) < start + 12:
        raise EOFError("the zip ends behind an entry")
    crc, = struct.unpack_from("<L", found, start)
    return crc, int.from_bytes(found[start + (12 if wide else 8) :], "little")


def _wide(extra: bytes) -> tuple[int, int]:
    """Packed size and size of a large entry, from its extra field."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 1 and size >= 16:
            whole, packed = struct.unpack_from("<QQ", extra, 4)
            return packed, whole
        extra = extra[4 + size :]
    raise zipfile.BadZipFile("a large entry without its size")


def _tar_entries(flow: Flow) -> Iterator[tuple[str, Source]]:
    with tarfile.open(fileobj=flow, mode="r|*") as archive:
        for info in archive:
            if info.isfile() and (member := archive.extractfile(info)) is not None:
                yield info.name, member


def _hidden(name: str) -> bool:
    return "__MACOSX" in name or name.rsplit("/", 1)[-1] in ("", ".DS_Store")
