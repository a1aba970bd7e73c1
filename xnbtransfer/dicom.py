"""DICOM content: what identifies a file when its header has been written again.

A walk over the element stream of a Part 10 file (DICOM PS3.5 section 7, PS3.10 section 7), by hand, because it must
cost little more than hashing: bulk data and geometry get digests of their own, every other element a short keyed one.
No value leaves this module except UIDs and the numbers that XNAT shows anyway.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from .errors import DicomError
from .script import Expectation

K = TypeVar("K")
L = TypeVar("L")

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
# PS3.5 7.1.2: these value representations have a length of 32 bits behind two reserved bytes.
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_BULK = {_PIXELS, 0x7FE00008, 0x7FE00009, 0x56000020, 0x00420011}
_TRAILING_PADDING = 0xFFFCFFFC
_DEPTH = 64

_TEXT = {
    "sop_instance_uid": 0x00080018,
    "series_instance_uid": 0x0020000E,
    "study_instance_uid": 0x0020000D,
    "sop_class_uid": 0x00080016,
    "modality": 0x00080060,
    "instance_number": 0x00200013,
    "series_number": 0x00200011,
}
_SHORTS = {
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280002: "SamplesPerPixel",
    0x00280006: "PlanarConfiguration",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x00280102: "HighBit",
    0x00280103: "PixelRepresentation",
}
_GEOMETRY_TEXT = (0x00280004, 0x00280008, 0x00280030, 0x00200037, 0x00200032, 0x00180050, 0x00281052, 0x00281053)
_WANTED = {*_TEXT.values(), *_SHORTS, *_GEOMETRY_TEXT}


@dataclass(frozen=True, kw_only=True)
class Content:
    """What one file is, without its bytes.

    Attributes
    ----------
    bulk : str
        SHA-256 over all bulk data (pixels, overlays, spectroscopy, encapsulated documents), "" if there is none.
    bulk_bytes : int
        Length of the bulk data in bytes.
    geometry : str
        Digest over size, spacing, position, bits, rescaling and InstanceNumber.
    elements : mapping
        Path such as ``00100010`` or ``00081140[0].00081155`` to a digest of the value; see :func:`value_digest`.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    modality: str
    instance_number: str
    series_number: str
    bulk: str
    bulk_bytes: int
    geometry: str
    elements: Mapping[str, str]


@dataclass(frozen=True)
class ElementChange:
    """One element that differs; ``because`` says what explains it. Values are never in it."""

    path: str
    keyword: str
    kind: Literal["added", "removed", "changed"]
    explained: bool
    because: str


def value_digest(value: str | bytes, *, key: bytes = b"") -> str:
    """The digest that an element with this value has: BLAKE2b under ``key``, 8 bytes, hexadecimal.

    Padding at the end is no part of a value (PS3.5 6.2), and is stripped.
    """
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return hashlib.blake2b(raw.rstrip(b" \0"), digest_size=8, key=key).hexdigest()


def hash_uid(uid: str) -> str:
    """What DicomEdit's ``hashUID`` makes of a UID (DicomEdit source: name-based UUID, SHA-1, no name space)."""
    raw = bytearray(hashlib.sha1(uid.encode(), usedforsecurity=False).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x50
    raw[8] = (raw[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(raw, 'big')}"


def read_content(data: bytes | memoryview, *, key: bytes = b"") -> Content:
    """Read one Part 10 file.

    Parameters
    ----------
    data : bytes or memoryview
        The whole file.
    key : bytes, optional
        Makes the element digests of one run comparable with each other and with nothing else; at most 64 bytes.

    Raises
    ------
    DicomError
        If it is no DICOM, is cut short, or has no SOPInstanceUID. Nothing of its values is in the message.

    Notes
    -----
    A cut on the boundary of an element leaves a stream that parses, so an image without pixels, native pixels shorter
    than rows x columns x samples x bits x frames, and 1 to 7 bytes after the last element count as cut, too.
    """
    view = memoryview(data).cast("B") if not isinstance(data, memoryview) else data.cast("B")
    if len(view) < 132 or bytes(view[128:132]) != b"DICM":
        raise DicomError("it is not a DICOM file (no DICM after the preamble)")
    try:
        syntax, start = _meta(view)
        if syntax == _DEFLATED:
            view, start = memoryview(zlib.decompress(view[start:], -15)), 0
        walker = _Walker(view, syntax, key)
        end = walker.elements(start, len(view), "", 0, top=True)
    except (struct.error, IndexError, zlib.error):
        raise DicomError("it is cut short or damaged inside an element") from None
    if end != len(view):
        raise DicomError("it is cut short after its last whole element")
    return walker.content()


def _meta(view: memoryview) -> tuple[str, int]:
    """Transfer syntax and start of the data set (PS3.10 7.1: the meta information is explicit little endian)."""
    position, syntax = 132, _IMPLICIT
    while position + 8 <= len(view):
        group, element = struct.unpack_from("<HH", view, position)
        if group != 2:
            break
        vr = bytes(view[position + 4 : position + 6])
        if vr in _LONG:
            (length,) = struct.unpack_from("<L", view, position + 8)
            position += 12
        else:
            (length,) = struct.unpack_from("<H", view, position + 6)
            position += 8
        if position + length > len(view):
            raise DicomError("it is cut short in its file meta information")
        if element == 0x0010:
            syntax = bytes(view[position : position + length]).rstrip(b" \0").decode("ascii", "replace")
        position += length
    return syntax, position


@functools.lru_cache(maxsize=8192)
def _is_sequence(tag: int) -> bool:
    """Whether the dictionary calls an element of an implicit-VR stream a sequence; private ones stay opaque."""
    from pydicom.datadict import dictionary_VR

    if tag >> 16 & 1:
        return False
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


class _Walker:
    """One pass over the element stream of one data set."""

    def __init__(self, view: memoryview, syntax: str, key: bytes) -> None:
        self.view, self.syntax, self.key = view, syntax, key
        self.explicit = syntax != _IMPLICIT
        order = ">" if syntax == _BIG_ENDIAN else "<"
        self.order = order
        self.tag = struct.Struct(order + "HH").unpack_from
        self.long = struct.Struct(order + "L").unpack_from
        self.short = struct.Struct(order + "H").unpack_from
        self.found: dict[str, str] = {}
        self.values: dict[int, bytes] = {}
        self.bulk: list[tuple[int, str, int, bool]] = []

    def elements(self, at: int, end: int, prefix: str, depth: int, *, top: bool = False, explicit=None) -> int:
        """Walk elements from ``at`` to ``end`` or to the end of an item; returns where it stopped."""
        if depth > _DEPTH:
            raise DicomError("its sequences are nested too deeply")
        view, found, key = self.view, self.found, self.key
        explicit = self.explicit if explicit is None else explicit
        digest, intern = hashlib.blake2b, sys.intern
        while at < end:
            if end - at < 8:
                return at
            group, element = self.tag(view, at)
            tag = group << 16 | element
            if tag == _ITEM_END:
                return at + 8
            vr = b""
            if explicit:
                vr = bytes(view[at + 4 : at + 6])
                if vr in _LONG:
                    (length,) = self.long(view, at + 8)
                    start = at + 12
                elif vr.isalpha() and vr.isupper():
                    (length,) = self.short(view, at + 6)
                    start = at + 8
                else:
                    raise DicomError("it has an element that cannot be read")
            else:
                (length,) = self.long(view, at + 4)
                start = at + 8
            name = intern(f"{prefix}{tag:08X}")
            if top and (tag in _BULK or (group & 0xFF00 == 0x6000 and element == 0x3000)):
                at = self._bulk(tag, start, length, end)
                continue
            if length == _UNDEFINED:
                # PS3.5 6.2.2: UN of undefined length holds a sequence in implicit VR little endian.
                at = self._sequence(start, end, name, depth, explicit and vr != b"UN", undefined=True)
                continue
            stop = start + length
            if stop > end:
                raise DicomError("it is cut short inside an element")
            if vr == b"SQ" or (not explicit and _is_sequence(tag)):
                at = self._sequence(start, stop, name, depth, explicit, undefined=False)
                continue
            at = stop
            if element == 0 or tag == _TRAILING_PADDING:
                continue
            value = bytes(view[start:stop]).rstrip(b" \0")
            found[name] = intern(digest(value, digest_size=8, key=key).hexdigest())
            if top and tag in _WANTED:
                self.values[tag] = bytes(view[start:stop])
        return at

    def _sequence(self, at: int, end: int, name: str, depth: int, explicit, *, undefined: bool) -> int:
        number = 0
        self.found[name] = "sequence"
        while undefined or at < end:
            group, element = self.tag(self.view, at)
            (length,) = self.long(self.view, at + 4)
            tag = group << 16 | element
            at += 8
            if tag == _SEQUENCE_END and undefined:
                return at
            if tag != _ITEM:
                raise DicomError("it has a sequence that cannot be read")
            prefix = f"{name}[{number}]."
            number += 1
            if length == _UNDEFINED:
                if at > end:
                    raise DicomError("it is cut short inside a sequence")
                stop = self.elements(at, end, prefix, depth + 1, explicit=explicit)
                if self.view[stop - 8 : stop] != struct.pack(self.order + "HHL", 0xFFFE, 0xE00D, 0):
                    raise DicomError("it is cut short inside a sequence")
                at = stop
            else:
                if at + length > end:
                    raise DicomError("it is cut short inside a sequence")
                if self.elements(at, at + length, prefix, depth + 1, explicit=explicit) != at + length:
                    raise DicomError("it has a sequence that cannot be read")
                at += length
        return at

    def _bulk(self, tag: int, start: int, length: int, end: int) -> int:
        if length != _UNDEFINED:
            if start + length > end:
                raise DicomError("it is cut short inside its bulk data")
            digest = hashlib.sha256(self.view[start : start + length]).hexdigest()
            self.bulk.append((tag, digest, length, False))
            return start + length
        # PS3.5 A.4: an item with the offset table, then fragments; only their bytes are content.
        digest, total, at, first = hashlib.sha256(), 0, start, True
        while True:
            group, element = self.tag(self.view, at)
            (size,) = self.long(self.view, at + 4)
            at += 8
            if group << 16 | element == _SEQUENCE_END:
                self.bulk.append((tag, digest.hexdigest(), total, True))
                return at
            if group << 16 | element != _ITEM or at + size > end:
                raise DicomError("it is cut short inside its bulk data")
            if not first:
                digest.update(self.view[at : at + size])
                total += size
            first, at = False, at + size

    def _text(self, tag: int) -> str:
        return self.values.get(tag, b"").rstrip(b" \0").strip().decode("latin-1")

    def _number(self, tag: int) -> int | None:
        value = self.values.get(tag, b"")
        return self.short(value, 0)[0] if len(value) >= 2 else None

    def content(self) -> Content:
        text = {name: self._text(tag) for name, tag in _TEXT.items()}
        if not text["sop_instance_uid"]:
            raise DicomError("it has no SOPInstanceUID")
        numbers = {name: self._number(tag) for tag, name in _SHORTS.items()}
        self._whole_image(numbers)
        geometry = [*(str(numbers[name]) for name in sorted(numbers))]
        geometry += [_plain_numbers(self._text(tag)) for tag in _GEOMETRY_TEXT]
        geometry.append(text["instance_number"])
        bulk = ""
        if self.bulk:
            parts = "|".join(f"{tag:08X}:{digest}:{length}" for tag, digest, length, _ in sorted(self.bulk))
            bulk = hashlib.sha256(parts.encode()).hexdigest()
        return Content(
            **text,
            transfer_syntax=self.syntax,
            bulk=bulk,
            bulk_bytes=sum(length for _, _, length, _ in self.bulk),
            geometry=hashlib.sha256("|".join(geometry).encode()).hexdigest(),
            elements=self.found,
        )

    def _whole_image(self, numbers: Mapping[str, int | None]) -> None:
        rows, columns, bits = numbers["Rows"], numbers["Columns"], numbers["BitsAllocated"]
        if not rows or not columns:
            return
        if not self.bulk and "00287FE0" not in self.found:
            raise DicomError("it is cut short: an image without its pixels")
        native = [length for tag, _, length, packed in self.bulk if tag == _PIXELS and not packed]
        if not native or not bits:
            return
        frames = self._text(0x00280008)
        samples = numbers["SamplesPerPixel"] or 1
        if self._text(0x00280004) == "YBR_FULL_422":
            samples = 2
        needed = (rows * columns * samples * bits * (int(frames) if frames.isdigit() else 1) + 7) // 8
        if native[0] < needed:
            raise DicomError("it is cut short: fewer pixels than its rows and columns need")


def _plain_numbers(text: str) -> str:
    """Numbers of a decimal string in one spelling, so that ``1.0`` and ``1`` are one geometry."""
    parts = []
    for part in text.split("\\"):
        try:
            parts.append(repr(float(part)))
        except ValueError:
            parts.append(part.strip())
    return "\\".join(parts)


def compare(
    source: Content, destination: Content, expected: Expectation, *, key: bytes = b""
) -> tuple[bool, tuple[ElementChange, ...]]:
    """Whether the content is equal, and which header elements differ.

    Both contents must have been read with ``key``.

    Returns
    -------
    content_equal : bool
        Bulk data (with its length) and geometry are equal.
    changes : tuple of ElementChange
        One per element whose value differs, in the order of their paths.
    """
    same = (source.bulk, source.bulk_bytes, source.geometry) == (
        destination.bulk,
        destination.bulk_bytes,
        destination.geometry,
    )
    here, there = source.elements, destination.elements
    changes = []
    for path in sorted(here.keys() | there.keys()):
        before, after = here.get(path, ""), there.get(path, "")
        if before == after:
            continue
        kind: Literal["added", "removed", "changed"] = (
            "changed" if before and after else "added" if after else "removed"
        )
        because = expected.explain(path, before, after, key=key)
        changes.append(ElementChange(path, keyword(path), kind, bool(because), because))
    return same, tuple(changes)


def keyword(path: str) -> str:
    """The DICOM keyword of the last element of a path; "" for private and unknown ones."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(int(path.rsplit(".", 1)[-1][:8], 16))


def pair(source: Mapping[K, Content], destination: Mapping[L, Content]) -> list[tuple[K | None, L | None]]:
    """Who is who on the other side.

    By SOPInstanceUID, then through ``hashUID`` once and twice (a script may run at import and again at archiving), then
    by equal bulk data and geometry. What is left over stands alone, beside None.
    """
    left, right = dict(source), dict(destination)
    pairs: list[tuple[K | None, L | None]] = []
    for image in (lambda uid: uid, hash_uid, lambda uid: hash_uid(hash_uid(uid))):
        by_uid: dict[str, list[L]] = {}
        for name, content in right.items():
            by_uid.setdefault(content.sop_instance_uid, []).append(name)
        for name in list(left):
            there = by_uid.get(image(left[name].sop_instance_uid))
            if there:
                other = there.pop(0)
                pairs.append((name, other))
                del left[name], right[other]
        if not left or not right:
            break
    by_content: dict[tuple[str, str], list[L]] = {}
    for name, content in right.items():
        if content.bulk:
            by_content.setdefault((content.bulk, content.geometry), []).append(name)
    for name in list(left):
        there = by_content.get((left[name].bulk, left[name].geometry))
        if there:
            other = there.pop(0)
            pairs.append((name, other))
            del left[name], right[other]
    pairs += [(name, None) for name in left]
    pairs += [(None, name) for name in right]
    return pairs
