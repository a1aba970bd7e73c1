"""Zip as a stream: written so that Java's ZipInputStream takes it, read while it arrives.

XNAT's importer reads with ``java.util.zip.ZipInputStream``, which refuses a stored entry whose size and CRC come after
it. So they are known before the first byte, and stand in the local header; the length of the whole is known too.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import NotDataError, ServerError, TransientError

_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_END = struct.Struct("<4sHHHHLLH")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR64 = struct.Struct("<4sLQL")
_UTF8 = 0x0800
_MOST = 0xFFFFFFFF
_TELL = "Tell its administrator."
_SLACK = 1 << 20
_DOS_DATE = 0x0021  # 1980-01-01: the time of a file is no business of a copy


@dataclass(frozen=True)
class ZipMember:
    """One stored file: name, size in bytes and CRC-32 of its bytes."""

    name: str
    size_bytes: int
    crc32: int


@dataclass(frozen=True)
class Limits:
    """What a zip may hold at most; a server that sends more is not believed. Sizes in bytes."""

    members: int = 200_000
    member_bytes: int = 8 << 30
    total_bytes: int = 200 << 30

    @classmethod
    def of_sum(cls, files: int, size_bytes: int) -> Limits:
        """The same where a list tells the number of the files and the sum of their sizes; 0 is a sum unknown."""
        if not files or not size_bytes:
            return cls()
        most = 2 * size_bytes + _SLACK
        return cls(members=2 * files + 1000, member_bytes=most, total_bytes=most)

    @classmethod
    def of(cls, sizes_bytes: Iterable[int]) -> Limits:
        """What a zip of files of these listed sizes may hold: twice as much, and a little; 0 is a size that is unknown.

        A list may be behind by some bytes, which is told by file elsewhere; here it is what does not end.
        """
        sizes = list(sizes_bytes)
        if not sizes or not all(sizes):
            return cls()
        members = 2 * len(sizes) + 1000
        return cls(members=members, member_bytes=2 * max(sizes) + _SLACK, total_bytes=2 * sum(sizes) + _SLACK)


def zip_length(members: Sequence[ZipMember]) -> int:
    """The exact length in bytes of what :func:`write_zip` makes of ``members``."""
    length, central = 0, 0
    for member in members:
        name = len(member.name.encode())
        central += _CENTRAL.size + name + _extra_length(member.size_bytes, length)
        length += _LOCAL.size + name + (20 if member.size_bytes >= _MOST else 0) + member.size_bytes
    big = len(members) >= 0xFFFF or length >= _MOST or central >= _MOST
    return length + central + (_END64.size + _LOCATOR64.size if big else 0) + _END.size


def _extra_length(size: int, offset: int) -> int:
    wide = (16 if size >= _MOST else 0) + (8 if offset >= _MOST else 0)
    return wide + 4 if wide else 0


def write_zip(members: Sequence[ZipMember], read: Callable[[ZipMember], Iterable[bytes]]) -> Iterator[bytes]:
    """A zip of stored members, chunk by chunk; ``read`` gives the bytes of one.

    Sizes and CRC stand in the local headers (PKWARE APPNOTE 4.4.4, bit 3 clear); zip64 only where it is needed.

    Raises
    ------
    ValueError
        If ``read`` gives other bytes than the size and CRC of the member say: the file changed meanwhile. What was
        yielded until then is no whole zip, so no reader takes it for one.
    """
    offset = 0
    offsets = []
    for member in members:
        name = member.name.encode()
        wide = member.size_bytes >= _MOST
        size = _MOST if wide else member.size_bytes
        extra = struct.pack("<HHQQ", 1, 16, member.size_bytes, member.size_bytes) if wide else b""
        version = 45 if wide else 20
        header = _LOCAL.pack(
            b"PK\x03\x04", version, _UTF8, 0, 0, _DOS_DATE, member.crc32, size, size, len(name), len(extra)
        )
        yield header + name + extra
        sent, crc = 0, 0
        for chunk in read(member):
            sent += len(chunk)
            if sent > member.size_bytes:
                raise ValueError(f"a member of {member.size_bytes} bytes gave more")
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if sent != member.size_bytes:
            raise ValueError(f"a member of {member.size_bytes} bytes gave {sent}")
        if crc != member.crc32:
            raise ValueError("the bytes of a member changed after their CRC was taken")
        offsets.append(offset)
        offset += len(header) + len(name) + len(extra) + sent
    start = offset
    central = bytearray()
    for member, at in zip(members, offsets, strict=True):
        name = member.name.encode()
        large = b""
        if member.size_bytes >= _MOST:
            large += struct.pack("<QQ", member.size_bytes, member.size_bytes)
        if at >= _MOST:
            large += struct.pack("<Q", at)
        extra = struct.pack("<HH", 1, len(large)) + large if large else b""
        size = min(member.size_bytes, _MOST)
        version = 45 if large else 20
        central += _CENTRAL.pack(
            b"PK\x01\x02",
            version,
            version,
            _UTF8,
            0,
            0,
            _DOS_DATE,
            member.crc32,
            size,
            size,
            len(name),
            len(extra),
            0,
            0,
            0,
            0,
            min(at, _MOST),
        )
        central += name + extra
    yield bytes(central)
    count = len(members)
    if count >= 0xFFFF or start >= _MOST or len(central) >= _MOST:
        yield _END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(central), start)
        yield _LOCATOR64.pack(b"PK\x06\x07", 0, start + len(central), 1)
    few = min(count, 0xFFFF)
    yield _END.pack(b"PK\x05\x06", 0, 0, few, few, min(len(central), _MOST), min(start, _MOST), 0)


def read_zip(chunks: Iterable[bytes], limits: Limits | None = None) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The members of a zip while it arrives: (name, chunks). Names are text, never paths.

    Every member must be read to its end before the next.

    Raises
    ------
    TransientError
        If the zip is cut short or a CRC does not fit: asking again can help.
    NotDataError
        If what comes is no zip: a web page, or nothing.
    ServerError
        If it holds one name twice, more than ``limits`` allow, or what cannot be read as a stream.

    Notes
    -----
    Directories are passed over. Bytes after the end of the zip count for nothing. Names that are not UTF-8 get
    replacement characters; nothing else of a name is changed, so it may well be absolute or climb up: never open it.
    """
    from stream_unzip import UnzipError, stream_unzip

    limits = limits or Limits()
    names: set[str] = set()
    total = 0
    tail = _Tail(_zip_only(chunks))
    try:
        for raw, _, data in stream_unzip(tail, chunk_size=1 << 18):
            name = raw.decode("utf-8", "replace")
            if name in names:
                raise ServerError("A zip from the server holds one name twice.", _TELL)
            names.add(name)
            if len(names) > limits.members:
                raise ServerError(f"A zip from the server holds more than {limits.members} files.", _TELL)
            counted = _Counted(data, limits.member_bytes, limits.total_bytes - total)
            if not name.endswith("/"):
                yield name, counted
            for _ in counted:
                pass
            total += counted.size
    except UnzipError as problem:
        raise _translated(problem) from None
    tail.check(len(names))


def _translated(problem: Exception) -> ServerError | TransientError:
    from stream_unzip import EncryptionMechanismNotAllowed, PasswordError, UnsupportedFeatureError

    kind = type(problem).__name__
    if isinstance(problem, (UnsupportedFeatureError, PasswordError, EncryptionMechanismNotAllowed)):
        return ServerError(f"A zip from the server cannot be read as a stream ({kind}).", _TELL)
    return TransientError(f"A zip from the server is cut short or damaged ({kind}).")


class _Tail:
    """Chunks that pass, of which the last ones are kept: they hold the end record (PKWARE APPNOTE 4.3.16).

    A reader of a stream has every member before the central directory, and would not miss a directory that is cut.
    """

    _KEPT = _END.size + 0xFFFF

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._last, self._size = chunks, deque[bytes](), 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._last.append(chunk)
        self._size += len(chunk)
        while self._size - len(self._last[0]) >= self._KEPT:
            self._size -= len(self._last.popleft())
        return chunk

    def check(self, members: int) -> None:
        """Raise TransientError unless the zip has its end record, and that knows of ``members``."""
        for _ in self:
            pass
        last = b"".join(self._last)[-self._KEPT :]
        at = last.rfind(b"PK\x05\x06")
        if at < 0 or len(last) - at < _END.size:
            raise TransientError("A zip from the server is cut short: it has no end.")
        _, _, _, _, count, _, _, comment = _END.unpack_from(last, at)
        if len(last) - at - _END.size < comment:
            raise TransientError("A zip from the server is cut short inside its end.")
        # Zip64 writes 65535; some writers the last 16 bits.
        if count != min(members, 0xFFFF) and count != members & 0xFFFF:
            raise TransientError(f"A zip from the server lists {count} files at its end and holds {members}.")


class _Counted:
    """Chunks of one member, counted while they pass."""

    def __init__(self, data: Iterable[bytes], limit: int, left: int) -> None:
        self._data, self._limit, self._left, self.size = iter(data), limit, left, 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        from stream_unzip import UnzipError

        try:
            chunk = next(self._data)
        except UnzipError as problem:
            raise _translated(problem) from None
        self.size += len(chunk)
        if self.size > self._limit:
            sentence = f"A file in a zip from the server is larger than {self._limit} bytes, beyond what is listed."
            raise ServerError(sentence, _TELL)
        if self.size > self._left:
            raise ServerError("A zip from the server holds more bytes than what is listed.", _TELL)
        return chunk


def _zip_only(chunks: Iterable[bytes]) -> Iterator[bytes]:
    head = b""
    source = iter(chunks)
    for chunk in source:
        head += chunk
        if len(head) >= 4:
            break
    if not head:
        raise NotDataError("The server sent nothing in place of a zip.")
    if not head.startswith(b"PK") and len(head) >= 2:
        kind = "a web page" if head.lstrip()[:1] == b"<" else "something else"
        raise NotDataError(f"The server sent {kind} in place of a zip.")
    yield head
    yield from source
