"""A data set as XNAT's engines hold it: group 0002 inside, sorted, no group lengths; read from and written to bytes.

Called by the evaluators and by :mod:`.foretell`. Knows nothing of scripts. What reading and writing changes in every
file is the engine's way (dcm4che 2, ``DicomInputStream`` and ``DicomOutputStream``): UN of known tags gets its VR, VRs
newer than the library become UN, of a tag twice the last stays, sequences and items are written with undefined length.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator

from .dictionary import vr_of
from .words import NotForetold

IMPLICIT, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EXPLICIT_BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_DATA = 0x7FE00010

_SHORT = frozenset(["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS",
                    "ST", "TM", "UI", "UL", "US"])  # fmt: skip
# The VRs that the engine's library knows with a length of 32 bits; those that are newer it takes for UN.
_LONG = frozenset(["OB", "OF", "OW", "SQ", "UN", "UT"])
_NEWER = frozenset(["OD", "OL", "OV", "SV", "UC", "UR", "UV"])
WORDS = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "FD": 8}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEPTH = 64
_INFLATED_BYTES = 64 << 20


class Element:
    """One element: a value in little endian bytes, the items of a sequence, or fragments.

    ``random``: the engine draws this value, so that only its presence is foretold.
    """

    __slots__ = ("fragments", "items", "random", "tag", "value", "vr")

    def __init__(
        self,
        tag: int,
        vr: str,
        value: bytes = b"",
        *,
        items: list[Dataset] | None = None,
        fragments: list[bytes | memoryview] | None = None,
        random: bool = False,
    ) -> None:
        self.tag, self.vr, self.value = tag, vr, value
        self.items, self.fragments, self.random = items, fragments, random

    def copy(self) -> Element:
        items = None if self.items is None else [item.copy() for item in self.items]
        return Element(self.tag, self.vr, self.value, items=items, fragments=self.fragments, random=self.random)


class Dataset:
    """Elements by tag. An item knows the data set it stands in, whose character set it inherits."""

    __slots__ = ("elements", "parent")

    def __init__(self, parent: Dataset | None = None) -> None:
        self.elements: dict[int, Element] = {}
        self.parent = parent

    def __iter__(self) -> Iterator[Element]:
        """The elements in the order of their tags, as they were when the walk began."""
        return iter([self.elements[tag] for tag in sorted(self.elements)])

    def get(self, tag: int) -> Element | None:
        return self.elements.get(tag)

    def put(self, element: Element) -> None:
        """Add or replace; group lengths are not kept."""
        if element.tag & 0xFFFF:
            self.elements[element.tag] = element
        for item in element.items or ():
            item.parent = self

    def remove(self, tag: int) -> None:
        self.elements.pop(tag, None)

    def copy(self) -> Dataset:
        twin = Dataset()
        for element in self.elements.values():
            twin.put(element.copy())
        return twin

    def text(self, tag: int) -> str:
        """A value of group 0002 or a UID, as it stands."""
        element = self.get(tag)
        return element.value.decode("latin-1").strip(" \0") if element and element.items is None else ""


def alike(one: Dataset, other: Dataset) -> bool:
    """Whether two data sets hold the same elements, letter for letter."""
    if one.elements.keys() != other.elements.keys():
        return False
    for tag, element in one.elements.items():
        there = other.elements[tag]
        if element is there:
            continue
        if (element.vr, element.value, element.fragments, element.random) != (
            there.vr,
            there.value,
            there.fragments,
            there.random,
        ):
            return False
        if (element.items is None) != (there.items is None) or len(element.items or ()) != len(there.items or ()):
            return False
        if not all(map(alike, element.items or (), there.items or ())):
            return False
    return True


def read(data: bytes | memoryview) -> tuple[Dataset, str]:
    """The data set of a file, and the transfer syntax that it names.

    Raises
    ------
    NotForetold
        For what the engine spoils or cannot read: no file meta, no transfer syntax, a stream that does not parse.
    """
    view = memoryview(data).cast("B")
    root = Dataset()
    try:
        if len(view) < 132 or view[128:132] != b"DICM":
            if not _SHORT & {bytes(view[4:6]).decode("latin-1")} or view[1:2] != b"\0":
                raise NotForetold("the file has no file meta information")
            at, syntax = 0, EXPLICIT_LITTLE
        else:
            at = _read_meta(view, root)
            syntax = root.text(0x00020010)
        if not syntax:
            raise NotForetold("the file names no transfer syntax")
        if syntax == DEFLATED:
            view, at = memoryview(zlib.decompressobj(-15).decompress(view[at:], _INFLATED_BYTES)), 0
        reader = _Reader(view, explicit=syntax != IMPLICIT, big=syntax == EXPLICIT_BIG)
        end = reader.elements(root, at, len(view), 0)
        if len(view) - end >= 8:
            raise NotForetold("the file cannot be read to its end")
    except (struct.error, IndexError, zlib.error, ValueError):
        raise NotForetold("the file cannot be read") from None
    return root, syntax


def _read_meta(view: memoryview, root: Dataset) -> int:
    reader, at = _Reader(view, explicit=True, big=False), 132
    while at + 8 <= len(view) and view[at : at + 2] == b"\x02\0":
        at = reader.element(root, at, len(view), 0)
    return at


class _Reader:
    def __init__(self, view: memoryview, *, explicit: bool, big: bool) -> None:
        self.view, self.explicit, self.big = view, explicit, big
        sign = ">" if big else "<"
        self.tag = struct.Struct(sign + "HH")
        self.short, self.long = struct.Struct(sign + "H"), struct.Struct(sign + "L")

    def elements(self, into: Dataset, at: int, end: int, depth: int) -> int:
        """Read until ``end`` or behind the end of an item; a rest of less than 8 bytes is left."""
        if depth > _DEPTH:
            raise NotForetold("its sequences are nested too deeply")
        while at + 8 <= end:
            group, element = self.tag.unpack_from(self.view, at)
            if group == 0xFFFE:
                if group << 16 | element == _ITEM_END:
                    return at + 8
                raise ValueError
            at = self.element(into, at, end, depth)
        return at

    def element(self, into: Dataset, at: int, end: int, depth: int) -> int:
        group, number = self.tag.unpack_from(self.view, at)
        tag = group << 16 | number
        vr = bytes(self.view[at + 4 : at + 6]).decode("latin-1") if self.explicit else vr_of(tag)
        at += 4
        if not self.explicit:
            (length,) = self.long.unpack_from(self.view, at)
            at += 4
        elif vr in _SHORT:
            (length,) = self.short.unpack_from(self.view, at + 2)
            at += 4
        else:
            if vr not in _LONG and vr not in _NEWER:
                raise ValueError
            (length,) = self.long.unpack_from(self.view, at + 4)
            at += 8
        newer = vr in _NEWER
        if newer or vr == "UN":
            vr = vr_of(tag)
            if newer and vr in _SHORT:
                raise NotForetold("an element has a VR that the engine takes for a shorter one")
        if length == _UNDEFINED and vr in ("OB", "OW", "OF", "UN") and self._is_fragmented(vr, at):
            fragments, at = self._fragments(at, end)
            into.put(Element(tag, vr, fragments=fragments))
            return at
        if vr == "SQ" or length == _UNDEFINED:
            stop = end if length == _UNDEFINED else at + length
            items, at = self._items(at, stop, length == _UNDEFINED, depth, into)
            into.put(Element(tag, "SQ", items=items))
            return at
        if at + length > end:
            raise ValueError
        value: bytes | memoryview = self.view[at : at + length]
        if self.big and vr in WORDS:
            value = swapped(value, WORDS[vr])
        # Bulk data stays where it is: a script reads no more of it than its presence.
        held = value if tag == PIXEL_DATA else bytes(value)
        into.put(Element(tag, vr, held))  # type: ignore[arg-type]  # only the bulk data is a view, and nobody reads it
        return at + length

    def without_pixels(self) -> bytes:
        """The bytes of the data set, PixelData without its value; other values are passed over unread."""
        at, end = 0, len(self.view)
        while at + 8 <= end:
            group, element = self.tag.unpack_from(self.view, at)
            value, length = self._value_at(at)
            # where a value of undefined length ends is known by reading it
            stop = self.element(Dataset(), at, end, 0) if length == _UNDEFINED else value + length
            if stop > end:
                raise ValueError
            if group << 16 | element == PIXEL_DATA:
                return bytes(self.view[: value - 4]) + bytes(4) + bytes(self.view[stop:])
            at = stop
        return bytes(self.view)

    def _value_at(self, at: int) -> tuple[int, int]:
        """Where the value of the element at ``at`` begins, and its length in bytes."""
        if not self.explicit:
            return at + 8, self.long.unpack_from(self.view, at + 4)[0]
        if bytes(self.view[at + 4 : at + 6]).decode("latin-1") in _SHORT:
            return at + 8, self.short.unpack_from(self.view, at + 6)[0]
        return at + 12, self.long.unpack_from(self.view, at + 8)[0]

    def _is_fragmented(self, vr: str, at: int) -> bool:
        """UN of undefined length is a sequence (PS3.5 6.2.2); OB, OW and OF of undefined length are fragments."""
        return vr != "UN"

    def _fragments(self, at: int, end: int) -> tuple[list[bytes | memoryview], int]:
        fragments: list[bytes | memoryview] = []
        while at + 8 <= end:
            group, element = self.tag.unpack_from(self.view, at)
            (size,) = self.long.unpack_from(self.view, at + 4)
            at += 8
            if group << 16 | element == _SEQUENCE_END:
                return fragments, at
            if group << 16 | element != _ITEM or at + size > end:
                raise ValueError
            fragments.append(self.view[at : at + size])
            at += size
        raise ValueError

    def _items(self, at: int, end: int, undefined: bool, depth: int, parent: Dataset) -> tuple[list[Dataset], int]:
        items: list[Dataset] = []
        while at < end:
            group, element = self.tag.unpack_from(self.view, at)
            (size,) = self.long.unpack_from(self.view, at + 4)
            at += 8
            number = group << 16 | element
            if number == _SEQUENCE_END and undefined:
                return items, at
            if number != _ITEM:
                raise ValueError
            item = Dataset(parent)
            if size == _UNDEFINED:
                at = self.elements(item, at, end, depth + 1)
            else:
                if at + size > end or self.elements(item, at, at + size, depth + 1) != at + size:
                    raise ValueError
                at += size
            items.append(item)
        if undefined:
            raise ValueError
        return items, at


def swapped(value: bytes | memoryview, size: int) -> bytes:
    """Words of ``size`` bytes in the other byte order."""
    whole = len(value) // size * size
    words = array({2: "H", 4: "I", 8: "Q"}[size])
    words.frombytes(value[:whole])
    words.byteswap()
    return words.tobytes() + bytes(value[whole:])


def write(root: Dataset) -> bytes:
    """The file that the engine writes of a data set: zero preamble, group 0002, the data set in its transfer syntax.

    (0002,0002) and (0002,0003) follow the data set, and a missing (0002,0010) is explicit little endian (mizer,
    ``MizerDicomObject.write``).
    """
    if not root.text(0x00020010):
        root.put(Element(0x00020010, "UI", EXPLICIT_LITTLE.encode()))
    for copy, tag in ((0x00020002, 0x00080016), (0x00020003, 0x00080018)):
        uid = root.get(tag)
        value = uid.value.rstrip(b" \0") if uid and uid.items is None else b""
        root.put(Element(copy, "UI", value.lstrip(b" "), random=bool(uid and uid.random)))
    syntax = root.text(0x00020010)
    meta = _write((e for e in root if e.tag >> 16 == 2), explicit=True, big=False)
    head = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    elements = (e for e in root if e.tag >> 16 != 2)
    data = _write(elements, explicit=syntax != IMPLICIT, big=syntax == EXPLICIT_BIG)
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
        data += b"\0" * (len(data) % 2)
    return bytes(128) + b"DICM" + head + meta + data


def _write(elements: Iterator[Element], *, explicit: bool, big: bool) -> bytes:
    out = bytearray()
    sign = ">" if big else "<"
    tag, long = struct.Struct(sign + "HH"), struct.Struct(sign + "L")
    item = tag.pack(0xFFFE, 0xE000)
    for element in elements:
        out += tag.pack(element.tag >> 16, element.tag & 0xFFFF)
        if element.items is not None:
            body, length = _items_of(element, explicit=explicit, big=big)
        elif element.fragments is not None:
            body = b"".join(item + long.pack(len(part) + len(part) % 2) + part + bytes(len(part) % 2)
                            for part in element.fragments)  # fmt: skip
            body, length = body + tag.pack(0xFFFE, 0xE0DD) + long.pack(0), _UNDEFINED
        else:
            body = padded(element)
            body = swapped(body, WORDS[element.vr]) if big and element.vr in WORDS else body
            length = len(body)
        if not explicit:
            out += long.pack(length)
        elif element.vr in _SHORT:
            out += element.vr.encode() + struct.pack(sign + "H", length & 0xFFFF)
        else:
            out += element.vr.encode() + b"\0\0" + long.pack(length)
        out += body
    return bytes(out)


def _items_of(element: Element, *, explicit: bool, big: bool) -> tuple[bytes, int]:
    """A sequence without items has the length 0, and so has an item without elements."""
    if not element.items:
        return b"", 0
    sign = ">" if big else "<"
    head = struct.Struct(sign + "HHL")
    body = bytearray()
    for one in element.items:
        inner = _write(iter(one), explicit=explicit, big=big)
        if inner:
            body += head.pack(0xFFFE, 0xE000, _UNDEFINED) + inner + head.pack(0xFFFE, 0xE00D, 0)
        else:
            body += head.pack(0xFFFE, 0xE000, 0)
    return bytes(body + head.pack(0xFFFE, 0xE0DD, 0)), _UNDEFINED


def padded(element: Element) -> bytes:
    """The value, of even length: with a space behind text and SL (``VR.java``), with zero behind all else."""
    value = bytes(element.value)
    if len(value) % 2:
        binary = element.vr in ("UI", "OB", "OW", "OF", "UN", "AT", "FD", "FL", "SS", "UL", "US")
        value += b"\0" if binary else b" "
    return value


def stripped(data: bytes | memoryview) -> bytes:
    """A file with its pixels left out: PixelData stands there without a value; nothing else is changed.

    Raises
    ------
    NotForetold
        For a file that cannot be read.
    """
    view = memoryview(data).cast("B")
    try:
        if len(view) < 132 or view[128:132] != b"DICM":
            return bytes(view)
        meta = Dataset()
        start = _read_meta(view, meta)
        syntax = meta.text(0x00020010)
        body = view[start:]
        if syntax == DEFLATED:
            body = memoryview(zlib.decompressobj(-15).decompress(body, _INFLATED_BYTES))
        reader = _Reader(body, explicit=syntax != IMPLICIT, big=syntax == EXPLICIT_BIG)
        short = reader.without_pixels()
    except (struct.error, IndexError, zlib.error, ValueError):
        raise NotForetold("the file cannot be read") from None
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        short = deflate.compress(short) + deflate.flush()
    return bytes(view[:start]) + short
