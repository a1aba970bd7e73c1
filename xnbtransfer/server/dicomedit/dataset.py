"""A DICOM file as the engines hold it: read whole, its elements by tag, written in order again.

What a file loses or gains merely by being read and written follows from dcm4che 2, which the engines use: elements are
sorted and of two with one tag the last stays, group lengths go, sequences and items get undefined length (empty ones
length 0), odd lengths are padded, value representations that dcm4che 2 does not know become UN, UN of a known tag gets
its own, group 0002 is kept, the preamble is zero. Values that nobody sets keep their bytes.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR

from .errors import Refused

IMPLICIT, EXPLICIT, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
PIXELS = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
KNOWN = frozenset(
    ["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OF", "OW", "PN", "SH", "SL", "SQ",
     "SS", "ST", "TM", "UI", "UL", "UN", "US", "UT"]
)
"""The value representations of dcm4che 2; all others are UN to it."""
LONG = frozenset(["OB", "OW", "OF", "SQ", "UN", "UT", "UC", "UR", "OD", "OL", "OV", "SV", "UV"])
"""Those with four bytes of length in explicit VR (PS3.5 table 7.1-1)."""
SIZES = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "SL": 4, "UL": 4, "FD": 8}
"""Bytes of one number, for files whose byte order changes."""
_ZERO_PADDED = frozenset(["AT", "FD", "FL", "OB", "OF", "OW", "SS", "UI", "UL", "UN", "US"])
_OTHERWISE = {PIXELS: "OW", 0x00080055: "UN"} | {tag: "UN" for tag in range(0x00080300, 0x00080310)}
"""What the dictionary of dcm4che 2 says otherwise than today's: pixels are OW, newer tags are unknown to it."""
MAX_DEPTH = 100
"""Sequences within sequences that are read; more than any file of a modality has, and less than would end a process."""


@dataclass(slots=True)
class Element:
    """One element: ``value`` in the byte order of the file, or ``items``, or ``fragments`` of encapsulated data."""

    vr: str
    value: bytes = b""
    items: list[DataSet] | None = None
    fragments: list[bytes] | None = None


class DataSet(dict[int, Element]):
    """Elements by tag. ``parent`` is the data set that holds this item, where there is one."""

    __slots__ = ("big", "parent")

    def __init__(self, parent: DataSet | None = None, *, big: bool = False) -> None:
        super().__init__()
        self.parent = parent
        self.big: bool = big if parent is None else parent.big

    def tags(self, *, meta: bool = True) -> Iterator[int]:
        """Each tag in order while it is there, so that elements may be taken away meanwhile."""
        for tag in sorted(self):
            if tag in self and (meta or tag >> 16 != 2):
                yield tag

    def add_item(self, tag: int) -> DataSet:
        """Append an empty item to the sequence ``tag``, which is made when absent."""
        element = self.get(tag)
        if element is None:
            element = self[tag] = Element("SQ", items=[])
        if element.items is None:
            raise TypeError("no sequence")
        element.items.append(DataSet(self))
        return element.items[-1]

    def creator(self, tag: int) -> Element | None:
        """The creator element of the block of a private tag."""
        return self.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)


def is_private(tag: int) -> bool:
    """Whether the group is odd."""
    return bool(tag & 0x10000)


def is_creator(tag: int) -> bool:
    """Whether a private tag names the creator of a block; dcm4che 2 takes (gggg,00xx) for that."""
    return is_private(tag) and not tag & 0xFF00


@lru_cache(maxsize=8192)
def dictionary(tag: int) -> str:
    """The value representation that dcm4che 2 knows for ``tag``; UN where it knows none."""
    if is_private(tag):
        return "LO" if is_creator(tag) and tag & 0xFF else "UN"
    if not tag & 0xFFFF:
        return "UL"
    if tag in _OTHERWISE:
        return _OTHERWISE[tag]
    try:
        vr = dictionary_VR(tag).split(" ")[0]
    except KeyError:
        return "UN"
    return vr if vr in KNOWN else "UN"


# Reading -------------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, data: bytes, *, explicit: bool, big: bool) -> None:
        self.data, self.explicit, self.big = data, explicit, big
        order = ">" if big else "<"
        self.head, self.short = struct.Struct(order + "HHL"), struct.Struct(order + "HH2sH")
        self.length = struct.Struct(order + "L")

    def elements(self, into: DataSet, at: int, end: int, depth: int = 0) -> int:
        """Read elements from ``at`` into ``into`` up to ``end`` or the end of the item; return where they end."""
        if depth > MAX_DEPTH:
            raise Refused("sequences are nested too deeply")
        while at + 8 <= end:
            group, number, length = self.head.unpack_from(self.data, at)
            tag = group << 16 | number
            if tag in (ITEM_END, SEQUENCE_END):
                return at + 8
            vr, start, length = self._vr(tag, at, length)
            if length == UNDEFINED and vr == "UN":
                vr = "SQ"
            if vr == "SQ" or (length == UNDEFINED and tag != PIXELS and vr not in ("OB", "OW")):
                element = Element("SQ", items=[])
                at = self._items(element, into, start, end if length == UNDEFINED else start + length, depth)
            elif length == UNDEFINED:
                element = Element(vr, fragments=[])
                at = self._fragments(element, start, end)
            else:
                if start + length > end:
                    raise Refused("the file ends within an element")
                element, at = Element(vr, self.data[start : start + length]), start + length
            if number:  # group lengths are not kept
                into[tag] = element
        return at

    def _vr(self, tag: int, at: int, length: int) -> tuple[str, int, int]:
        if not self.explicit:
            return dictionary(tag), at + 8, length
        _, _, raw, short = self.short.unpack_from(self.data, at)
        vr = raw.decode("latin-1")
        if vr in LONG or vr not in KNOWN:
            if at + 12 > len(self.data):
                raise Refused("the file ends within an element")
            start, length = at + 12, self.length.unpack_from(self.data, at + 8)[0]
        else:
            start, length = at + 8, short
        if vr not in KNOWN or vr == "UN":
            known = dictionary(tag)
            vr = known if known != "SQ" or length == UNDEFINED else "UN"
        return vr, start, length

    def _items(self, element: Element, parent: DataSet, at: int, end: int, depth: int) -> int:
        assert element.items is not None
        if end > len(self.data):
            raise Refused("the file ends within a sequence")
        while at + 8 <= end:
            group, number, length = self.head.unpack_from(self.data, at)
            at += 8
            if group << 16 | number != ITEM:
                return at
            item = DataSet(parent)
            at = self.elements(item, at, end if length == UNDEFINED else min(at + length, end), depth + 1)
            element.items.append(item)
        return at

    def _fragments(self, element: Element, at: int, end: int) -> int:
        assert element.fragments is not None
        while at + 8 <= end:
            group, number, length = self.head.unpack_from(self.data, at)
            at += 8
            if group << 16 | number != ITEM:
                return at
            if at + length > end:
                raise Refused("the file ends within an element")
            element.fragments.append(self.data[at : at + length])
            at += length
        return at


def read(data: bytes) -> tuple[DataSet, str]:
    """Read a file; return its data set, group 0002 included, and its transfer syntax.

    Raises
    ------
    Refused
        If it is no DICOM file, or ends within an element.
    """
    dataset, at = DataSet(), 0
    if data[128:132] == b"DICM":
        at = 132
    elif not (len(data) >= 8 and data[1] == 0 and 2 <= data[0] <= 8):
        raise Refused("Not a DICOM Stream")
    meta_end = at
    while meta_end + 8 <= len(data) and data[meta_end : meta_end + 2] == b"\2\0":
        vr = data[meta_end + 4 : meta_end + 6].decode("latin-1")
        if vr in LONG:
            start, length = meta_end + 12, int.from_bytes(data[meta_end + 8 : meta_end + 12], "little")
        else:
            start, length = meta_end + 8, int.from_bytes(data[meta_end + 6 : meta_end + 8], "little")
        if start + length > len(data):
            raise Refused("the file ends within its meta information")
        number = int.from_bytes(data[meta_end + 2 : meta_end + 4], "little")
        if number:
            dataset[0x00020000 | number] = Element(vr if vr in KNOWN else "UN", data[start : start + length])
        meta_end = start + length
    syntax = _syntax(dataset, data, meta_end, has_meta=meta_end > at)
    if syntax == DEFLATED:
        try:
            data, meta_end = zlib.decompressobj(-15).decompress(data[meta_end:]), 0
        except zlib.error as problem:
            raise Refused(f"the deflated part cannot be read: {problem}") from None
    dataset.big = syntax == EXPLICIT_BIG
    _Reader(data, explicit=syntax != IMPLICIT, big=dataset.big).elements(dataset, meta_end, len(data))
    return dataset, syntax


def _syntax(dataset: DataSet, data: bytes, at: int, *, has_meta: bool) -> str:
    """Of a file without meta information the first element tells; meta information that does not say means implicit."""
    if 0x00020010 in dataset:
        return dataset[0x00020010].value.decode("latin-1").strip(" \0")
    vr = data[at + 4 : at + 6]
    return EXPLICIT if not has_meta and vr.isalpha() and vr.isupper() else IMPLICIT


# Writing -------------------------------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, *, explicit: bool, big: bool, swap: bool) -> None:
        self.explicit, self.swap = explicit, swap
        order = ">" if big else "<"
        self.head, self.short = struct.Struct(order + "HHL"), struct.Struct(order + "HH2sH")
        self.long = struct.Struct(order + "HH2sHL")
        self.out: list[bytes] = []

    def elements(self, dataset: DataSet, *, meta: bool) -> None:
        for tag in sorted(dataset):
            if (tag >> 16 == 2) == meta and tag & 0xFFFF:
                self._element(tag, dataset[tag])

    def _element(self, tag: int, element: Element) -> None:
        if element.items is not None:
            self._sequence(tag, element.items)
        elif element.fragments is not None:
            self._start(tag, element.vr, UNDEFINED)
            for part in element.fragments:
                self._mark(ITEM, len(part) + len(part) % 2)
                self.out.append(part + b"\0" * (len(part) % 2))
            self._mark(SEQUENCE_END)
        else:
            value = element.value
            if len(value) % 2:
                value += b"\0" if element.vr in _ZERO_PADDED else b" "
            size = SIZES.get(element.vr)
            if self.swap and size and tag >> 16 != 2:
                value = b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
            self._start(tag, element.vr, len(value))
            self.out.append(value)

    def _sequence(self, tag: int, items: list[DataSet]) -> None:
        self._start(tag, "SQ", UNDEFINED if items else 0)
        for item in items:
            if any(inner & 0xFFFF for inner in item):
                self._mark(ITEM, UNDEFINED)
                self.elements(item, meta=False)
                self._mark(ITEM_END)
            else:
                self._mark(ITEM)
        if items:
            self._mark(SEQUENCE_END)

    def _start(self, tag: int, vr: str, length: int) -> None:
        group, number = tag >> 16, tag & 0xFFFF
        if not self.explicit:
            self.out.append(self.head.pack(group, number, length))
        elif vr in LONG:
            self.out.append(self.long.pack(group, number, vr.encode("latin-1"), 0, length))
        else:
            self.out.append(self.short.pack(group, number, vr.encode("latin-1"), length & 0xFFFF))

    def _mark(self, tag: int, length: int = 0) -> None:
        self.out.append(self.head.pack(tag >> 16, tag & 0xFFFF, length))


def write(dataset: DataSet) -> bytes:
    """The file that mizer writes (mizer, ``DicomObjectFactory.write``): (0002,0010) as it stands, else explicit VR.

    (0002,0002) and (0002,0003) follow the data set, and are empty where it has lost them.
    """
    if not dataset.get(0x00020010, Element("UI")).value.strip(b" \0"):
        dataset[0x00020010] = Element("UI", EXPLICIT.encode() + b"\0")
    for copy, tag in ((0x00020002, 0x00080016), (0x00020003, 0x00080018)):
        uid = dataset[tag].value.strip(b" \0") if tag in dataset else b""
        dataset[copy] = Element("UI", uid)
    syntax = dataset[0x00020010].value.decode("latin-1").strip(" \0")
    group = _Writer(explicit=True, big=False, swap=False)
    group.elements(dataset, meta=True)
    meta = b"".join(group.out)
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    big = syntax == EXPLICIT_BIG
    body = _Writer(explicit=syntax != IMPLICIT, big=big, swap=big != dataset.big)
    body.elements(dataset, meta=False)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(b"".join(body.out)) + packer.flush()
        body.out = [packed + b"\0" * (len(packed) % 2)]
    return b"".join([bytes(128), b"DICM", length, meta, *body.out])


assert sys.getrecursionlimit() > MAX_DEPTH * 4
