"""Write a DICOM file again the way XNAT's importer does.

XNAT's gradual importer (XNAT source: ``GradualDicomImporter``, dcm4che2 ``DicomInputStream``/``DicomOutputStream``)
reads the header, encodes it again and copies the rest of the stream raw, whether or not a script runs:

* the 128-byte preamble becomes zeros; group 0002 stays byte for byte, and is made where there is none;
* group lengths are dropped, sequences and items get undefined length (empty ones keep length zero), UR becomes UN;
* transfer syntax and every value stay as they are (seen on a live 1.8.11).

So a stored file rarely has the size or the MD5 of the file that was sent. This module works on bytes: it walks the
elements before the bulk data once, without building a data set, which is about twenty times faster than a toolkit.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR

from .unpack import Source

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
_LONG = frozenset([b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"])
_SHORT = frozenset([b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH",
                    b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"])
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
BULK = 0x54000000
"""First tag that is copied raw: waveforms, spectroscopy and pixel data lie above it."""
_CHUNK = 1 << 18
_DCM4CHE_CLASS, _DCM4CHE_NAME = "1.2.40.0.13.1.1", "dcm4che-2.0"


class NotDicom(ValueError):
    """The bytes are no DICOM object, or one that ends inside its header."""


class _NeedMore(Exception):
    """The walk ran past the bytes read so far."""


@lru_cache(maxsize=65536)
def vr_of(tag: int) -> bytes:
    """Return the value representation the dictionary gives for ``tag``; ``UN`` for private and unknown tags."""
    if (tag >> 16) & 1:
        return b"LO" if 0x10 <= (tag & 0xFFFF) <= 0xFF else b"UN"
    if tag & 0xFFFF == 0:
        return b"UL"
    try:
        return dictionary_VR(tag).split(" ")[0].encode()
    except KeyError:
        return b"UN"


class _Encoding:
    """How elements are laid out: explicit or implicit VR, little or big endian."""

    def __init__(self, syntax: str) -> None:
        order = ">" if syntax == EXPLICIT_BE else "<"
        self.explicit = syntax != IMPLICIT_LE
        self.short = struct.Struct(order + "HH2sH")
        self.long = struct.Struct(order + "L")
        self.implicit = struct.Struct(order + "HHL")

    def head(self, buf: bytes, pos: int) -> tuple[int, bytes, int, int]:
        """Return tag, VR, start of the value and its length for the element at ``pos``."""
        try:
            if self.explicit:
                group, element, vr, length = self.short.unpack_from(buf, pos)
                tag = group << 16 | element
                if group == 0xFFFE:
                    return tag, b"", pos + 8, self.long.unpack_from(buf, pos + 4)[0]
                if vr in _LONG:
                    return tag, vr, pos + 12, self.long.unpack_from(buf, pos + 8)[0]
                if not (vr.isalpha() and vr.isupper()):
                    raise NotDicom(f"no value representation at ({group:04X},{element:04X})")
                return tag, vr, pos + 8, length
            group, element, length = self.implicit.unpack_from(buf, pos)
        except struct.error:
            raise _NeedMore from None
        tag = group << 16 | element
        return tag, b"" if group == 0xFFFE else vr_of(tag), pos + 8, length

    def element(self, tag: int, vr: bytes, value: bytes) -> tuple[int, bytes, int, bytes]:
        """Encode one element; text is padded to even length."""
        if len(value) & 1:
            value += b"\0" if vr in (b"UI", b"OB", b"UN") else b" "
        group, number = tag >> 16, tag & 0xFFFF
        if not self.explicit:
            head = self.implicit.pack(group, number, len(value))
        elif vr in _LONG:
            head = self.short.pack(group, number, vr, 0) + self.long.pack(len(value))
        else:
            head = self.short.pack(group, number, vr, len(value))
        return tag, vr, len(head), head + value

    def mark(self, tag: int, length: int = 0) -> bytes:
        """Encode an item or delimiter."""
        return self.implicit.pack(tag >> 16, tag & 0xFFFF, length)

    def open_sequence(self, tag: int, empty: bool = False) -> bytes:
        """Encode the start of a sequence."""
        length = 0 if empty else _UNDEFINED
        if self.explicit:
            return self.short.pack(tag >> 16, tag & 0xFFFF, b"SQ", 0) + self.long.pack(length)
        return self.implicit.pack(tag >> 16, tag & 0xFFFF, length)

    # Nested data ------------------------------------------------------------------------------------------------

    def sequence(self, buf: bytes, pos: int, length: int, out: list[bytes]) -> int:
        """Re-encode the items at ``pos`` into ``out`` and return where the sequence ends."""
        end = len(buf) + 1 if length == _UNDEFINED else pos + length
        if length != _UNDEFINED and end > len(buf):
            raise _NeedMore
        while pos < end:
            tag, _, start, size = self.head(buf, pos)
            if tag == _SEQUENCE_END:
                pos = start
                break
            if tag != _ITEM:
                raise NotDicom("a sequence holds something that is no item")
            if size == 0:
                out.append(self.mark(_ITEM, 0))
                pos = start
                continue
            inner: list[bytes] = []
            pos = self.item(buf, start, size, inner)
            if inner:
                out += (self.mark(_ITEM, _UNDEFINED), *inner, self.mark(_ITEM_END))
            else:
                out.append(self.mark(_ITEM, 0))
        return pos

    def item(self, buf: bytes, pos: int, length: int, out: list[bytes]) -> int:
        """Re-encode the elements of one item and return where it ends."""
        end = len(buf) + 1 if length == _UNDEFINED else pos + length
        if length != _UNDEFINED and end > len(buf):
            raise _NeedMore
        while pos < end:
            tag, vr, start, size = self.head(buf, pos)
            if tag == _ITEM_END:
                return start
            pos = self.value(buf, pos, tag, vr, start, size, out)
        return pos

    def value(self, buf: bytes, pos: int, tag: int, vr: bytes, start: int, size: int, out: list[bytes]) -> int:
        """Append one re-encoded element to ``out`` and return where it ended."""
        if vr == b"SQ" or (size == _UNDEFINED and not self.explicit and tag >> 16 != 0x7FE0):
            inner: list[bytes] = []
            after = self.sequence(buf, start, size, inner)
            out += (self.open_sequence(tag, empty=not inner), *inner)
            if inner:
                out.append(self.mark(_SEQUENCE_END))
            return after
        if size == _UNDEFINED:
            after = _IMPLICIT.sequence(buf, start, size, []) if vr == b"UN" else self._fragments(buf, start)
        else:
            after = start + size
        if after > len(buf):
            raise _NeedMore
        if tag & 0xFFFF:
            out.append(buf[pos:after] if vr != b"UR" else buf[pos : pos + 4] + b"UN" + buf[pos + 6 : after])
        return after

    def _fragments(self, buf: bytes, pos: int) -> int:
        while True:
            tag, _, start, size = self.head(buf, pos)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise NotDicom("encapsulated data holds something that is no item")
            pos = start + size


_IMPLICIT = _Encoding(IMPLICIT_LE)


class _Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int: ...


class Header:
    """The elements of one file before its bulk data, already re-encoded, and what is left of the stream.

    ``elements`` are tuples ``(tag, vr, length of the head, encoded bytes)`` in tag order.
    """

    def __init__(self, syntax: str, elements: list[tuple[int, bytes, int, bytes]], left: bytes, rest: Source,
                 group2: bytes = b"") -> None:
        self.syntax = syntax
        self.group2 = group2
        """The file meta group as it was sent; empty where there was none, and where a script has run."""
        self.elements = elements
        self.encoding = _Encoding(syntax)
        self._left, self._rest = left, rest
        self._whole: bytes | None = None

    def _find(self, tag: int) -> tuple[int, bool]:
        at = bisect_left(self.elements, tag, key=lambda entry: entry[0])
        return at, at < len(self.elements) and self.elements[at][0] == tag

    def vr(self, tag: int) -> bytes:
        """Return the value representation of ``tag`` in this file, empty when absent."""
        at, found = self._find(tag)
        return self.elements[at][1] if found else b""

    def become(self, other: Header) -> None:
        """Take over the elements and the rest of ``other``."""
        self.syntax, self.elements, self.encoding = other.syntax, other.elements, other.encoding
        self.group2 = other.group2
        self._left, self._rest = other._left, other._rest

    def value(self, tag: int) -> bytes | None:
        """Return the raw value of ``tag``, or None when absent."""
        at, found = self._find(tag)
        return self.elements[at][3][self.elements[at][2]:] if found else None

    def text(self, tag: int) -> str:
        """Return the value of ``tag`` as text without padding; empty when absent."""
        raw = self.value(tag)
        if not raw:
            return ""
        if raw.isascii():
            return raw.decode("ascii").strip(" \0")
        charset = (self.value(0x00080005) or b"").decode("ascii", "replace").strip(" \0").split("\\")
        try:
            return decode_bytes(raw, convert_encodings(charset), set()).strip(" \0")
        except (LookupError, ValueError):
            return raw.decode("latin-1").strip(" \0")

    def number(self, tag: int) -> int | None:
        """Return the value of a US, UL, IS or similar element as a number, or None."""
        raw = self.value(tag)
        if not raw:
            return None
        if self.elements[self._find(tag)[0]][1] in (b"US", b"UL"):
            return int.from_bytes(raw, "big" if self.syntax == EXPLICIT_BE else "little")
        try:
            return int(raw.decode("ascii", "replace").strip(" \0").split("\\")[0])
        except ValueError:
            return None

    def set_text(self, tag: int, text: str) -> None:
        """Set ``tag`` to ``text``, adding the element in its place when absent."""
        at, found = self._find(tag)
        vr = self.elements[at][1] if found and self.elements[at][1] != b"UN" else vr_of(tag)
        charset = self.text(0x00080005)
        encoding = {"ISO_IR 192": "utf-8", "ISO_IR 100": "latin-1", "": "ascii"}.get(charset, "ascii")
        self.elements[at:at + found] = [self.encoding.element(tag, vr, text.encode(encoding, "replace"))]

    def whole(self) -> bytes:
        """The whole file. Where its stream breaks off, what has come is kept, and `write` breaks off there again."""
        come = io.BytesIO()
        try:
            self.write(come)
        except Exception as problem:
            size = len(self.meta()) + sum(len(entry[3]) for entry in self.elements)
            self._left, self._rest = come.getvalue()[size:], _BrokenOff(problem)
            raise
        self._whole = come.getvalue()
        return self._whole

    def replace(self, data: bytes) -> None:
        """Be the file ``data`` from now on, which is written as it is."""
        with contextlib.suppress(NotDicom):
            self.become(read_header(io.BytesIO(data)))
        self._whole = data

    def write(self, out: _Sink) -> int:
        """Write the whole file to ``out`` and return its size in bytes."""
        if self._whole is not None:
            return out.write(self._whole)
        if self.syntax == DEFLATED_LE:
            body = b"".join([entry[3] for entry in self.elements])
            deflate = zlib.compressobj(wbits=-15)
            packed = deflate.compress(body + self._left) + deflate.flush()
            return out.write(self.meta()) + out.write(packed + b"\0" * (len(packed) & 1))
        size = out.write(self.head()) + out.write(self._left)
        while block := self._rest.read(1 << 20):
            size += out.write(block)
        return size

    def head(self) -> bytes:
        """What a file begins with, up to its bulk data."""
        return b"".join([self.meta(), *(entry[3] for entry in self.elements)])

    def left(self) -> bytes:
        """What follows the elements, to the end of the stream; it is not there to be read again."""
        return self._left + self._rest.read()

    def meta(self) -> bytes:
        """Return preamble, prefix and the file meta group, a new one if none is kept."""
        if self.group2:
            return b"\0" * 128 + b"DICM" + self.group2
        encode = _Encoding("1.2.840.10008.1.2.1").element
        fields = [
            (0x00020001, b"OB", b"\0\1"),
            (0x00020002, b"UI", self.text(0x00080016).encode()),
            (0x00020003, b"UI", self.text(0x00080018).encode()),
            (0x00020010, b"UI", self.syntax.encode()),
            (0x00020012, b"UI", _DCM4CHE_CLASS.encode()),
            (0x00020013, b"SH", _DCM4CHE_NAME.encode()),
        ]
        group = b"".join(encode(*field)[3] for field in fields)
        return b"\0" * 128 + b"DICM" + encode(0x00020000, b"UL", struct.pack("<L", len(group)))[3] + group


class _BrokenOff(io.RawIOBase):
    """A stream that has broken off: reading raises the problem."""

    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self._problem = problem

    def read(self, size: int = -1) -> bytes:
        raise self._problem


def read_header(stream: Source) -> Header:
    """Read and re-encode the header at the start of ``stream``.

    Only as much is read as the header needs; `Header.write` copies the rest of the stream.

    Raises
    ------
    NotDicom
        If the bytes are no DICOM object or end inside the header.
    """
    buf, want = stream.read(_CHUNK), _CHUNK
    while True:
        try:
            return _parse(buf, stream)
        except _NeedMore:
            more = stream.read(want)
            if not more:
                raise NotDicom("the object ends inside its header") from None
            buf, want = buf + more, want * 2


def _parse(buf: bytes, stream: Source) -> Header:
    if len(buf) >= 132 and buf[128:132] == b"DICM":
        pos = 132
    elif len(buf) >= 8 and buf[:2] in (b"\2\0", b"\x08\0"):
        pos = 0
    else:
        raise NotDicom("no DICM prefix")
    start = pos
    syntax, pos = _read_meta(buf, pos)
    group2 = buf[start:pos]
    if syntax == DEFLATED_LE:
        try:
            buf, pos = zlib.decompressobj(wbits=-15).decompress(buf[pos:] + stream.read()), 0
        except zlib.error as error:
            raise NotDicom(f"the deflated part cannot be read: {error}") from None
        stream = io.BytesIO()
    encoding = _Encoding(syntax)
    elements, size, last = [], len(buf), -1
    head, long_vrs = encoding.head, (b"SQ", b"UN", b"UR")
    unpack, quick = encoding.short.unpack_from, size - 8 if encoding.explicit else -1
    while pos < size:
        group, element, vr, length = unpack(buf, pos) if pos <= quick else (0, 0, b"", 0)
        if vr in _SHORT:  # most elements, without a call for each of them
            tag, start = group << 16 | element, pos + 8
        else:
            tag, vr, start, length = head(buf, pos)
        if tag >= BULK:
            break
        if tag <= last:
            raise NotDicom(f"elements out of order at ({tag >> 16:04X},{tag & 0xFFFF:04X})")
        last = tag
        if length == _UNDEFINED or vr in long_vrs:
            out: list[bytes] = []
            pos = encoding.value(buf, pos, tag, vr, start, length, out)
            if out:
                whole = b"".join(out)
                is_sequence = vr == b"SQ" or not encoding.explicit and length == _UNDEFINED
                vr = b"SQ" if is_sequence else b"UN" if vr == b"UR" else vr
                elements.append((tag, vr, _head(encoding, vr), whole))
            continue
        after = start + length
        if after > size:
            raise _NeedMore
        if tag & 0xFFFF:
            elements.append((tag, vr, start - pos, buf[pos:after]))
        pos = after
    else:
        more = stream.read(_CHUNK)  # the header may simply end with the first chunk
        if more:
            return _parse(buf + more, stream)
    return Header(syntax, elements, buf[pos:], stream, group2)


def _head(encoding: _Encoding, vr: bytes) -> int:
    return 12 if encoding.explicit and vr in _LONG else 8


def _read_meta(buf: bytes, pos: int) -> tuple[str, int]:
    encoding, syntax = _Encoding("1.2.840.10008.1.2.1"), ""
    while True:
        if len(buf) >= pos + 2 and buf[pos:pos + 2] != b"\2\0":
            break
        if len(buf) == pos and syntax:
            break
        tag, _, start, length = encoding.head(buf, pos)
        if start + length > len(buf):
            raise _NeedMore
        if tag == 0x00020010:
            syntax = buf[start:start + length].decode("ascii", "replace").strip(" \0")
        pos = start + length
    return syntax or _guess(buf, pos), pos


def _guess(buf: bytes, pos: int) -> str:
    """Without file meta the first element tells explicit from implicit VR."""
    return "1.2.840.10008.1.2.1" if buf[pos + 4:pos + 6].isalpha() and buf[pos + 4:pos + 6].isupper() else IMPLICIT_LE


def is_whole(path: Path) -> bool:
    """Whether a file is a DICOM object whose last element ends where the file does, or before.

    A file that an upload left when it was cut off is none (XNAT source: ``GradualDicomImporter.getSafeFile`` reads it
    to its end).
    """
    try:
        with open(path, "rb") as stream:
            header = read_header(stream)
            buf, pos = header.left(), 0
        while header.syntax != DEFLATED_LE and pos < len(buf):
            tag, vr, start, size = header.encoding.head(buf, pos)
            pos = header.encoding.value(buf, pos, tag, vr, start, size, [])
    except (NotDicom, _NeedMore, OSError):
        return False
    return True
