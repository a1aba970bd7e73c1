"""DICOM content: what identifies a file when its header has been written again.

A walk over the element stream of a Part 10 file (DICOM PS3.5 section 7, PS3.10 section 7), by hand, because it must
cost little more than hashing: bulk data and geometry get digests of their own, every other element a short keyed one.
No value leaves this module except UIDs and the numbers that XNAT shows anyway, and those that a review asks for.
"""

from __future__ import annotations

import functools
import hashlib
import re
import struct
import sys
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from .errors import DicomError
from .script import Expectation

PREAMBLE = "preamble"
# Path of an element to the letters of its VR (none in implicit VR) and its value, as a review reads them.
Values = dict[str, tuple[bytes, bytes]]

K = TypeVar("K")
L = TypeVar("L")

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
# PS3.5 7.1.2: these value representations have a length of 32 bits behind two reserved bytes.
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
# PS3.5 6.2: how many bytes of a value swap together when its bytes are in big endian order (7.3).
_WORDS = {b"US": 2, b"SS": 2, b"OW": 2, b"AT": 2}
_WORDS |= dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4)
_WORDS |= dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), 8)
_BINARY = {"US", "SS", "OW", "AT", "UL", "SL", "FL", "OF", "OL", "FD", "OD", "SV", "UV", "OV", "OB"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_PIXELS = 0x7FE00010
_BULK = frozenset((_PIXELS, 0x7FE00008, 0x7FE00009, 0x56000020, 0x00420011))
_WAVEFORM, _WAVEFORM_SEQUENCE = 0x54001010, "54000100["
_TRAILING_PADDING = 0xFFFCFFFC
_DEPTH = 64
_INFLATED_BYTES = 4 << 30
_COPIED_BYTES = 4 << 20
_RUN = 8  # elements of a run
_RUN_BYTES = 4 << 10  # a longer run is not kept

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
    0x00280002: "SamplesPerPixel",
    0x00280006: "PlanarConfiguration",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x00280102: "HighBit",
    0x00280103: "PixelRepresentation",
}
_FRAMES, _PHOTOMETRIC, _URL = 0x00280008, 0x00280004, 0x00287FE0
_GEOMETRY_TEXT = (_PHOTOMETRIC, _FRAMES, 0x00280030, 0x00200037, 0x00200032, 0x00180050, 0x00281052, 0x00281053)
_UIDS = frozenset(tag for name, tag in _TEXT.items() if name.endswith("_uid"))
_WANTED = frozenset((*_TEXT.values(), *_SHORTS, *_GEOMETRY_TEXT, _URL))
# PS3.3 C.7.6.16: an enhanced image keeps its geometry in functional groups, shared or one item per frame.
_FUNCTIONAL_GROUPS = ("52009229[", "52009230[")
_FRAME_GEOMETRY = frozenset(_GEOMETRY_TEXT[2:])


@dataclass(frozen=True, kw_only=True)
class Content:
    """What one file is, without its bytes.

    Attributes
    ----------
    bulk : str
        SHA-256 over the digests of all bulk data (pixels, overlays, spectroscopy, encapsulated documents, waveforms),
        "" if there is none.
    bulk_bytes : int
        Length of the bulk data in bytes; of encapsulated pixels, that of the fragments.
    geometry : str
        Digest over size, spacing, position, bits, rescaling and InstanceNumber, of functional groups, too.
    elements : mapping
        Path such as ``00100010`` or ``00081140[0].00081155`` to a digest of the value; see :func:`value_digest`.
        A sequence stands for its number of items. Bulk data, group lengths and trailing padding are left out.
    uids : mapping
        Path to value of every UID outside of sequences, so that what a script made of it can be told.
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
    uids: Mapping[str, str]


@dataclass(frozen=True)
class ElementChange:
    """One element that differs; ``because`` says what explains it. Values are never in it."""

    path: str
    keyword: str
    kind: Literal["added", "removed", "changed"]
    explained: bool
    because: str


def value_digest(value: str | bytes, *, key: bytes = b"") -> str:
    """The digest that an element with this text value has: BLAKE2b under ``key``, 8 bytes, hexadecimal.

    Padding at the end is no part of a value (PS3.5 6.2), and is stripped.

    >>> value_digest("S1") == value_digest(b"S1 ")
    True
    """
    raw = value.encode() if isinstance(value, str) else bytes(value)
    return hashlib.blake2b(raw.rstrip(b" \0"), digest_size=8, key=key).hexdigest()


def hash_uid(uid: str) -> str:
    """What DicomEdit's ``hashUID`` makes of a UID (DicomEdit source: name-based UUID, SHA-1, no name space)."""
    raw = bytearray(hashlib.sha1(uid.encode(), usedforsecurity=False).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x50
    raw[8] = (raw[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(raw, 'big')}"


def read_content(data: bytes | memoryview, *, key: bytes = b"", values: Values | None = None) -> Content:
    """Read one Part 10 file.

    Parameters
    ----------
    data : bytes or memoryview
        The whole file.
    key : bytes, optional
        Makes the element digests of one run comparable with each other and with nothing else; at most 64 bytes.
    values : dict, optional
        Receives what stands in the file, for a review in memory: a sequence with items as VR SQ and their number, bulk
        data as empty, a preamble that is not all zeros as ``PREAMBLE``.

    Raises
    ------
    DicomError
        If it is no DICOM, is cut short, or has no SOPInstanceUID. Nothing of its values is in the message.

    Notes
    -----
    A cut on the boundary of an element leaves a stream that parses, so an image without pixels, native pixels shorter
    than rows x columns x samples x bits x frames, and 1 to 7 bytes after the last element count as cut, too. Pixels
    longer than that are whole: some scanners round their length up.

    An element has one digest in explicit and implicit VR, either byte order, and with sequences of either length
    encoding. A private value in implicit VR does not say that it is a sequence (PS3.5 7.8): one that parses as items
    is taken for one, in every encoding.
    """
    view = memoryview(data).cast("B")
    if len(view) < 132 or view[128:132] != b"DICM":
        raise DicomError("it is not a DICOM file (no DICM after the preamble)")
    try:
        if values is not None and any(view[:128]):
            values[PREAMBLE] = (b"", bytes(view[:128]))
        syntax, start = _meta(view, values)
        if syntax == _DEFLATED:
            view, start = memoryview(_inflate(view[start:])), 0
        walker = _Walker(view, start, syntax, key, values)
        end = walker.walk(start, len(view))
    except (struct.error, IndexError, zlib.error):
        raise DicomError("it is cut short or damaged inside an element") from None
    if end != len(view):
        raise DicomError("it is cut short after its last whole element")
    return walker.content()


def _inflate(view: memoryview) -> bytes:
    """The data set of PS3.5 A.5: a raw deflate stream, padded to an even length."""
    inflate = zlib.decompressobj(-15)
    data = inflate.decompress(view, _INFLATED_BYTES)
    if not inflate.eof:
        raise DicomError("it is cut short inside its deflated data set")
    return data


def _meta(view: memoryview, values: Values | None = None) -> tuple[str, int]:
    """Transfer syntax and start of the data set (PS3.10 7.1: the meta information is explicit little endian)."""
    position, syntax = 132, ""
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
        if values is not None:
            values[f"0002{element:04X}"] = (vr, bytes(view[position : position + length]))
        if element == 0x0010:
            syntax = bytes(view[position : position + length]).rstrip(b" \0").decode("ascii", "replace")
        position += length
    if not syntax:
        # Not allowed by PS3.10, but seen: the two letters of a VR tell explicit from implicit.
        syntax = "1.2.840.10008.1.2.1" if _letters(view[position + 4 : position + 6]) else _IMPLICIT
    return syntax, position


def _letters(vr: bytes | memoryview) -> bool:
    """Whether these are the two letters of a value representation, known or not."""
    return len(vr) == 2 and 65 <= vr[0] <= 90 and 65 <= vr[1] <= 90


class _Tag(NamedTuple):
    """What is known of a tag before its value is read."""

    number: int
    name: str
    kind: int
    padded: bool | None
    wanted: bool


_PLAIN, _SEQUENCE, _UNKNOWN, _DROPPED, _BULKY, _END = range(6)


def _tag(number: int) -> _Tag:
    """The part of the dictionary that the walk needs (PS3.6).

    ``padded`` says whether bytes at the end of a value may be padding: of text they are, of numbers never, and of
    private elements it is None, because implicit VR does not say.
    """
    from pydicom.datadict import dictionary_VR

    group, element = number >> 16, number & 0xFFFF
    name = sys.intern(f"{number:08X}")
    if group == 0xFFFE:
        return _Tag(number, name, _END, None, False)
    if element == 0 or number == _TRAILING_PADDING:
        return _Tag(number, name, _DROPPED, None, False)
    if number in _BULK or number == _WAVEFORM or (group & 0xFF00 == 0x6000 and element == 0x3000):
        return _Tag(number, name, _BULKY, False, False)
    try:
        vr = dictionary_VR(number) if group % 2 == 0 else ""
    except KeyError:
        vr = ""
    if not vr or vr == "UN":
        return _Tag(number, name, _UNKNOWN, None, False)
    if vr == "SQ":
        return _Tag(number, name, _SEQUENCE, None, False)
    binary = vr[:2] in _BINARY
    return _Tag(number, name, _PLAIN, not binary, number in _WANTED or vr == "UI")


class _Tags(dict[int, _Tag]):
    """What is known of tags, by the number that their four bytes make in one byte order."""

    def __init__(self, big: bool) -> None:
        super().__init__()
        self.big = big

    def __missing__(self, raw: int) -> _Tag:
        number = raw if self.big else (raw & 0xFFFF) << 16 | raw >> 16
        # In big endian order the four bytes are the tag; in little endian order its halves are swapped.
        if len(self) >= 1 << 16:
            self.clear()
        known = self[raw] = _tag(number)
        return known


class _Order(NamedTuple):
    """How elements are encoded: explicit VR or not, in which byte order."""

    explicit: bool
    big: bool
    tags: _Tags
    head: struct.Struct
    long: struct.Struct
    item: struct.Struct


def _order(explicit: bool, sign: str) -> _Order:
    head = struct.Struct(sign + ("L2sH" if explicit else "LL"))
    return _Order(
        explicit, sign == ">", _Tags(sign == ">"), head, struct.Struct(sign + "L"), struct.Struct(sign + "HHL")
    )


_EXPLICIT_LITTLE, _EXPLICIT_BIG, _IMPLICIT_LITTLE = _order(True, "<"), _order(True, ">"), _order(False, "<")
# Text as opposed to numbers: no control characters, except those that text values may hold (PS3.5 6.1.3).
_TEXT_ONLY = re.compile(rb"[\t\n\f\r\x1b\x20-\xff]*").fullmatch


@functools.lru_cache(maxsize=4)
def _digests(key: bytes) -> dict[bytes, str]:
    """Digests under one key of short values, which repeat from file to file."""
    return {}


class _Run(NamedTuple):
    """Some elements that follow each other outside of sequences: their bytes, and what a walk over them has found."""

    raw: bytes
    found: dict[str, str]
    values: dict[int, bytes]
    kept: Values | None


@functools.lru_cache(maxsize=4)
def _runs(key: bytes, explicit: bool, big: bool, looked: bool) -> dict[bytes, _Run]:
    """The latest run that began with these eight bytes. Most bytes of a header are those of the file before it.

    What a walk finds in a run depends on nothing but its bytes and these four.
    """
    return {}


def _swapped(value: bytes | memoryview, size: int) -> bytes:
    """Big endian words of ``size`` bytes in little endian order."""
    words = array({2: "H", 4: "I", 8: "Q"}[size])
    words.frombytes(value[: len(value) // size * size])
    words.byteswap()
    return words.tobytes() + bytes(value[len(value) // size * size :])


class _Walker:
    """One pass over the element stream of one data set."""

    def __init__(self, view: memoryview, start: int, syntax: str, key: bytes, kept: Values | None = None) -> None:
        self.kept = kept
        self.view, self.syntax, self.key = view, syntax, key
        # A slice of bytes costs a quarter of one of a view, and a small file is copied in no time.
        self.raw: bytes | memoryview = view if len(view) > _COPIED_BYTES else bytes(view)
        self.main = {_IMPLICIT: _IMPLICIT_LITTLE, _BIG_ENDIAN: _EXPLICIT_BIG}.get(syntax, _EXPLICIT_LITTLE)
        if start + 8 <= len(view) and self.main.explicit != _letters(view[start + 4 : start + 6]):
            # The meta information may promise one VR encoding and the data set have the other (seen in JPEG files).
            self.main = _IMPLICIT_LITTLE if self.main.explicit else _EXPLICIT_LITTLE
        self.digests = _digests(key)
        self.found: dict[str, str] = {}
        self.values: dict[int, bytes] = {}
        self.frames: dict[str, bytes] = {}
        # Path, SHA-256, length in bytes and whether it is encapsulated, of each bulk element.
        self.bulk: list[tuple[str, str, int, bool]] = []

    def walk(self, at: int, end: int) -> int:
        """Walk the elements outside of sequences, in runs that were seen before where their bytes are the same."""
        order, raw = self.main, self.raw
        if raw is self.view:
            return self.elements(at, end, "", 0, order)
        runs = _runs(self.key, order.explicit, order.big, self.kept is not None)
        found, values, kept = self.found, self.values, self.kept
        while at <= end - 8:
            head = raw[at : at + 8]
            run = runs.get(head)
            if run is None or not raw.startswith(run.raw, at):
                start, inner = at, len(self.bulk) + len(self.frames)
                self.found, self.values, self.kept = {}, {}, None if kept is None else {}
                at = self.elements(at, end, "", 0, order, _RUN)
                run = _Run(raw[start:at], self.found, self.values, self.kept)
                if len(run.raw) <= _RUN_BYTES and len(self.bulk) + len(self.frames) == inner:
                    if len(runs) >= 1 << 10:
                        runs.clear()
                    runs[head] = run
            else:
                at += len(run.raw)
            found.update(run.found)
            values.update(run.values)
            if kept is not None:
                kept.update(run.kept)
        self.found, self.values, self.kept = found, values, kept
        return at

    def elements(self, at: int, end: int, prefix: str, depth: int, order: _Order, most: int = sys.maxsize) -> int:
        """Walk at most ``most`` elements from ``at`` to ``end`` or to the end of an item; returns where it stopped.

        That is less than ``end`` where 1 to 7 bytes are left, which hold no element.
        """
        if depth > _DEPTH:
            raise DicomError("its sequences are nested too deeply")
        view, raws, big = self.view, self.raw, order.big
        found, values, digests, kept = self.found, self.values, self.digests, self.kept
        head, explicit, long, tags = order.head.unpack_from, order.explicit, order.long.unpack_from, order.tags
        per_frame = depth and prefix.startswith(_FUNCTIONAL_GROUPS)
        memo = digests.get
        last = end - 8
        while at <= last and most:
            most -= 1
            if explicit:
                raw, vr, length = head(view, at)
                start = at + 8
                if vr not in _SHORT:
                    if vr in _LONG:
                        (length,) = long(view, start)
                        start += 4
                    elif tags[raw].kind != _END and not _letters(vr):
                        raise DicomError("it has an element that cannot be read")
            else:
                raw, length = head(view, at)
                start, vr = at + 8, b""
            number, name, kind, padded, wanted = tags[raw]
            if depth:
                name = prefix + name
            if kind == _END:
                if not depth or number != _ITEM_END:
                    raise DicomError("it has a delimiter where none may be")
                return at + 8
            if kind == _BULKY:
                if depth == 0 or (number == _WAVEFORM and depth == 1 and prefix.startswith(_WAVEFORM_SEQUENCE)):
                    at = self._bulk(name, start, length, end, order, vr)
                    continue
                if length == _UNDEFINED:
                    # The pixels of an icon, encapsulated like those of the image (PS3.5 A.4).
                    hashed, _, at = self._fragments(start, end, order, vr)
                    found[name] = value_digest(hashed, key=self.key)
                    if kept is not None:
                        kept[name] = (vr, b"")
                    continue
            if length == _UNDEFINED:
                if vr == b"OB" or vr == b"OW":
                    hashed, _, at = self._fragments(start, end, order, vr)
                    found[name] = value_digest(hashed, key=self.key)
                    if kept is not None:
                        kept[name] = (vr, b"")
                else:
                    # PS3.5 6.2.2: UN of undefined length holds a sequence in implicit VR little endian.
                    inner = _IMPLICIT_LITTLE if vr == b"UN" else order
                    at = self._sequence(start, end, name, depth, inner, undefined=True)
                continue
            stop = start + length
            if stop > end:
                raise DicomError("it is cut short inside an element")
            if vr == b"SQ":
                at = self._sequence(start, stop, name, depth, order, undefined=False)
                continue
            at = stop
            if kind:
                if kind == _DROPPED:
                    if kept is not None and number == _TRAILING_PADDING:
                        kept[name] = (vr, bytes(raws[start:stop]))
                    continue
                if kind != _BULKY and length >= 8 and view[start : start + 4] == _ITEM_BYTES:
                    inner = _IMPLICIT_LITTLE if explicit else order
                    if self._perhaps_sequence(start, stop, name, depth, inner):
                        continue
            value = bytes(raws[start:stop])
            if big and vr in _WORDS:
                value = _swapped(value, _WORDS[vr])
            if padded:
                value = value.rstrip(b" \0")
            elif padded is None and value[-1:] in b" \0":
                value = _without_padding(value)
            digest = memo(value)
            if digest is None:
                digest = hashlib.blake2b(value, digest_size=8, key=self.key).hexdigest()
                if length <= 64:
                    if len(digests) >= 1 << 16:
                        digests.clear()
                    digests[value] = digest
            found[name] = digest
            if kept is not None:
                kept[name] = (vr, value)
            if wanted or vr == b"UI":
                if not depth:
                    values[number] = value
                elif per_frame and number in _FRAME_GEOMETRY:
                    self.frames[name] = value
        return at

    def _sequence(self, at: int, end: int, name: str, depth: int, order: _Order, *, undefined: bool) -> int:
        """Walk the items of a sequence, with lengths or with delimiters (PS3.5 7.5); returns where it ends."""
        count, unpack = 0, order.item.unpack_from
        while undefined or at < end:
            if at + 8 > end:
                raise DicomError("it is cut short inside a sequence")
            group, element, length = unpack(self.view, at)
            tag = group << 16 | element
            at += 8
            if tag == _SEQUENCE_END and undefined:
                break
            if tag != _ITEM:
                raise DicomError("it has a sequence that cannot be read")
            prefix = f"{name}[{count}]."
            count += 1
            if length == _UNDEFINED:
                stop = self.elements(at, end, prefix, depth + 1, order)
                if stop < at + 8 or unpack(self.view, stop - 8)[:2] != (0xFFFE, 0xE00D):
                    raise DicomError("it is cut short inside a sequence")
                at = stop
            else:
                if at + length > end:
                    raise DicomError("it is cut short inside a sequence")
                if self.elements(at, at + length, prefix, depth + 1, order) != at + length:
                    raise DicomError("it has a sequence that cannot be read")
                at += length
        # The digest of no items is that of an empty value: an empty private sequence in implicit VR is just that.
        self.found[name] = value_digest(_ITEM_BYTES + str(count).encode() if count else b"", key=self.key)
        if self.kept is not None and count:
            self.kept[name] = (b"SQ", str(count).encode())
        return at

    def _perhaps_sequence(self, at: int, end: int, name: str, depth: int, order: _Order) -> bool:
        """Walk a value as a sequence if it parses as one; leaves no trace otherwise."""
        before = self.found, self.frames, self.bulk, self.kept
        self.found, self.frames, self.bulk, self.kept = {}, {}, [], None if self.kept is None else {}
        try:
            whole = self._sequence(at, end, name, depth, order, undefined=False) == end
        except (DicomError, struct.error, IndexError):
            whole = False
        inner = self.found, self.frames, self.bulk, self.kept
        self.found, self.frames, self.bulk, self.kept = before
        if whole:
            self.found.update(inner[0])
            self.frames.update(inner[1])
            self.bulk += inner[2]
            if self.kept is not None and inner[3]:
                self.kept.update(inner[3])
        return whole

    def _bulk(self, name: str, start: int, length: int, end: int, order: _Order, vr: bytes) -> int:
        if self.kept is not None:
            self.kept[name] = (vr, b"")
        if length == _UNDEFINED:
            digest, total, at = self._fragments(start, end, order, vr)
            self.bulk.append((name, digest, total, True))
            return at
        stop = start + length
        if stop > end:
            raise DicomError("it is cut short inside its bulk data")
        value = self.view[start:stop]
        if order.big and vr in _WORDS:
            value = _swapped(value, _WORDS[vr])
        self.bulk.append((name, hashlib.sha256(value).hexdigest(), length, False))
        return stop

    def _fragments(self, at: int, end: int, order: _Order, vr: bytes) -> tuple[str, int, int]:
        """SHA-256 and length in bytes of the fragments of encapsulated data, and where it ends.

        PS3.5 A.4: an item with the offset table, then fragments; only the bytes of those are content.
        """
        digest, total, first = hashlib.sha256(), 0, True
        while True:
            if at + 8 > end:
                raise DicomError("it is cut short inside its bulk data")
            group, element, size = order.item.unpack_from(self.view, at)
            at += 8
            if group << 16 | element == _SEQUENCE_END:
                return digest.hexdigest(), total, at
            if group << 16 | element != _ITEM or at + size > end:
                raise DicomError("it is cut short inside its bulk data")
            if not first:
                digest.update(self.view[at : at + size])
                total += size
            first, at = False, at + size

    def _text(self, tag: int) -> str:
        return self.values.get(tag, b"").strip(b" \0").decode("latin-1")

    def _number(self, tag: int) -> int | None:
        value = self.values.get(tag, b"")
        return int.from_bytes(value[:2], "little") if len(value) >= 2 else None

    def content(self) -> Content:
        text = {name: self._text(tag) for name, tag in _TEXT.items()}
        if not text["sop_instance_uid"]:
            raise DicomError("it has no SOPInstanceUID")
        numbers = {name: self._number(tag) for tag, name in _SHORTS.items()}
        self._whole_image(numbers)
        geometry = [str(number) for number in numbers.values()]
        geometry += [_plain_numbers(self._text(tag)) for tag in _GEOMETRY_TEXT]
        geometry.append(_plain_numbers(text["instance_number"]))
        geometry += [f"{path}={_plain_numbers(value.decode('latin-1'))}" for path, value in sorted(self.frames.items())]
        bulk = ""
        if self.bulk:
            parts = "|".join(f"{path}:{digest}:{length}" for path, digest, length, _ in sorted(self.bulk))
            bulk = hashlib.sha256(parts.encode()).hexdigest()
        return Content(
            **text,
            transfer_syntax=self.syntax,
            bulk=bulk,
            bulk_bytes=sum(length for _, _, length, _ in self.bulk),
            geometry=hashlib.sha256("|".join(geometry).encode()).hexdigest(),
            elements=self.found,
            uids={f"{tag:08X}": self._text(tag) for tag in self.values if tag in _UIDS or tag not in _WANTED},
        )

    def _whole_image(self, numbers: Mapping[str, int | None]) -> None:
        """Refuse an image that misses pixels (PS3.5 8.1.1: how long native pixels are)."""
        rows, columns, bits = numbers["Rows"], numbers["Columns"], numbers["BitsAllocated"]
        image = rows or columns or numbers["SamplesPerPixel"]
        # PS3.5 A.6: the pixels of a JPIP image are at an address.
        if image and not self.bulk and _URL not in self.values:
            raise DicomError("it is cut short: an image without its pixels")
        if not rows or not columns:
            return
        native = [length for path, _, length, packed in self.bulk if path == "7FE00010" and not packed]
        if not native or not bits:
            return
        frames = self._text(_FRAMES)
        samples = numbers["SamplesPerPixel"] or 1
        if self._text(_PHOTOMETRIC) == "YBR_FULL_422":
            samples = 2
        needed = (rows * columns * samples * bits * (int(frames) if frames.isdecimal() else 1) + 7) // 8
        if native[0] < needed:
            raise DicomError("it is cut short: fewer pixels than its rows and columns need")


def _without_padding(value: bytes) -> bytes:
    """A private value without padding, where it reads as text; numbers keep their zeros.

    Two, four and eight bytes may be one number, whose last byte looks like padding: they stay as they are.
    """
    text = value.rstrip(b" \0")
    return text if len(value) not in (2, 4, 8) and text and _TEXT_ONLY(text) else value


@functools.lru_cache(maxsize=4096)
def _plain_numbers(text: str) -> str:
    """Numbers of a decimal string in one spelling, so that ``1.0`` and ``1`` are one geometry.

    >>> _plain_numbers("1.0\\\\2 ")
    '1.0\\\\2.0'
    """
    parts = []
    for part in text.split("\\"):
        try:
            parts.append(repr(float(part)))
        except ValueError:
            parts.append(part.strip())
    return "\\".join(parts)


def compare(
    source: Content, destination: Content, expected: Expectation, *, key: bytes
) -> tuple[bool, tuple[ElementChange, ...]]:
    """Whether the content is equal, and which header elements differ.

    Both contents must have been read with ``key``.

    Returns
    -------
    content_equal : bool
        Bulk data (with its length) and geometry are equal.
    changes : tuple of ElementChange
        One per element whose value differs, in the order of their paths. A change is explained when ``expected`` says
        so and what stands there now is what it says.
    """
    same = (source.bulk, source.bulk_bytes, source.geometry) == (
        destination.bulk,
        destination.bulk_bytes,
        destination.geometry,
    )
    here, there = source.elements, destination.elements
    changes = []
    for path in sorted({path for path, _ in here.items() ^ there.items()}):
        before, after = here.get(path, ""), there.get(path, "")
        kind: Literal["added", "removed", "changed"] = (
            "changed" if before and after else "added" if after else "removed"
        )
        because = expected.explain(path, before, after, key=key)
        if because and path in expected.hashed and (uid := source.uids.get(path, "")):
            # Both scripts may hash it, the site's at import and the project's at archiving.
            once, twice = hash_uid(uid), hash_uid(hash_uid(uid))
            if after not in (value_digest(once, key=key), value_digest(twice, key=key)):
                because = ""
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
