"""The walk over the elements of a Part 10 file, by hand (DICOM PS3.5 section 7, PS3.10 section 7).

Called by ``dicom`` alone, whose head says which bytes are in no digest. It must cost little more than hashing, and it
must never give up a byte in silence: what it cannot read is a DicomError, and what stands where nothing should is in a
digest. Time and memory grow with the bytes of the file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import re
import struct
import sys
import tempfile
import zlib
from array import array
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .elements import LONG, SHORT, TEXT, WORDS, element_digest, sequence_digest
from .errors import DicomError

PREAMBLE = "preamble"
# Path of an element to the letters of its VR (none in implicit VR) and its value, as a review reads them.
Values = dict[str, tuple[bytes, bytes]]

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_GROUP_LENGTH = (b"UL", b"")
_PIXELS = 0x7FE00010
_BULK = frozenset((_PIXELS, 0x7FE00008, 0x7FE00009, 0x56000020, 0x00420011))
_WAVEFORM, _WAVEFORM_SEQUENCE = 0x54001010, "54000100["
_TRAILING_PADDING = 0xFFFCFFFC
_DEPTH = 64
_INFLATED_BYTES = 4 << 30
_IN_MEMORY_BYTES = 64 << 20
_BLOCK = 1 << 20
_ELEMENTS = 4_000_000  # elements and items of one file
_TWINS = 64
# PS3.10 7.1: what says nothing of the file but who wrote it, and how long the group is.
_META_UNSEEN = {0x0000: b"UL", 0x0012: b"UI", 0x0013: b"SH"}
_COPIED_BYTES = 4 << 20
_RUN = 8  # elements of a run
_RUN_BYTES = 4 << 10  # a longer run is not kept

NAMED = {
    "sop_instance_uid": 0x00080018,
    "series_instance_uid": 0x0020000E,
    "study_instance_uid": 0x0020000D,
    "sop_class_uid": 0x00080016,
    "modality": 0x00080060,
    "instance_number": 0x00200013,
    "series_number": 0x00200011,
}
SHORTS = {
    0x00280002: "SamplesPerPixel",
    0x00280006: "PlanarConfiguration",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x00280102: "HighBit",
    0x00280103: "PixelRepresentation",
}
FRAMES, PHOTOMETRIC, URL = 0x00280008, 0x00280004, 0x00287FE0
GEOMETRY = (PHOTOMETRIC, FRAMES, 0x00280030, 0x00200037, 0x00200032, 0x00180050, 0x00281052, 0x00281053)
UIDS = frozenset(tag for name, tag in NAMED.items() if name.endswith("_uid"))
WANTED = frozenset((*NAMED.values(), *SHORTS, *GEOMETRY, URL))
# PS3.3 C.7.6.16: an enhanced image keeps its geometry in functional groups, shared or one item per frame.
_FUNCTIONAL_GROUPS = ("52009229[", "52009230[")
_FRAME_GEOMETRY = frozenset(GEOMETRY[2:])


@contextlib.contextmanager
def inflated(view: memoryview, key: bytes, found: dict[str, str]) -> Iterator[memoryview]:
    """The data set of PS3.5 A.5: a raw deflate stream, padded to an even length; on disk where it is long.

    What else stands behind it, which no reader reads, is put into ``found`` beside the file meta information.
    """
    inflate, total = zlib.decompressobj(-15), 0
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, prefix="xnbtransfer-") as spill:
        piece: bytes | memoryview = view
        while not inflate.eof and (block := inflate.decompress(piece, _BLOCK)):
            piece, total = inflate.unconsumed_tail, total + len(block)
            if total > _INFLATED_BYTES:
                raise DicomError("its deflated data set grows beyond 4 GB")
            spill.write(block)
        if not inflate.eof:
            raise DicomError("it is cut short inside its deflated data set")
        if any(inflate.unused_data):
            found["00020010#behind"] = element_digest("OB", inflate.unused_data, key=key)
        if total <= _IN_MEMORY_BYTES:
            spill.seek(0)
            yield memoryview(spill.read())
            return
        spill.flush()
        # It is closed with its last view; a problem that is told on the way still holds one.
        yield memoryview(mmap.mmap(spill.fileno(), 0, access=mmap.ACCESS_READ))


def file_meta(view: memoryview, key: bytes, values: Values | None = None) -> tuple[str, int, dict[str, str]]:
    """Transfer syntax, start of the data set and element digests (PS3.10 7.1: explicit little endian)."""
    position, syntax = 132, ""
    found: dict[str, str] = {}
    unseen: set[str] = set()
    while position + 8 <= len(view):
        group, element = struct.unpack_from("<HH", view, position)
        if group != 2:
            break
        vr = bytes(view[position + 4 : position + 6])
        if vr in LONG:
            (length,) = struct.unpack_from("<L", view, position + 8)
            position += 12
        elif vr in SHORT:
            (length,) = struct.unpack_from("<H", view, position + 6)
            position += 8
        else:
            raise DicomError("its file meta information cannot be read")
        if position + length > len(view):
            raise DicomError("it is cut short in its file meta information")
        value = bytes(view[position : position + length])
        name = f"0002{element:04X}"
        name = _next_name(name, found) if name not in unseen else f"{name}#2"
        unseen.add(name)
        if values is not None:
            values[name] = (vr, value)
        if _META_UNSEEN.get(element) != vr or (element == 0 and length != 4) or "#" in name:
            found[name] = element_digest(vr, value, key=key)
        if element == 0x0010:
            syntax = value.rstrip(b" \0").decode("ascii", "replace")
            if not syntax and name in found:
                found[name] += "t"  # told apart from one that names any: no encoding explains an empty name
        position += length
    if not syntax:
        # Not allowed by PS3.10, but seen: the two letters of a VR tell explicit from implicit.
        syntax = "1.2.840.10008.1.2.1" if _is_vr(view[position + 4 : position + 6]) else IMPLICIT
    return syntax, position, found


def _next_name(name: str, found: Mapping[str, object]) -> str:
    """The name of an element that may have stood there before: ``#2`` and so on behind it."""
    if name not in found:
        return name
    for number in range(2, _TWINS + 1):
        if (again := f"{name}#{number}") not in found:
            return again
    raise DicomError(f"it holds one element more than {_TWINS} times")


def _is_vr(letters: bytes | memoryview) -> bool:
    """Whether these are the two letters of a value representation (PS3.5 6.2)."""
    return bytes(letters) in SHORT or bytes(letters) in LONG


class _Tag(NamedTuple):
    """What is known of a tag before its value is read."""

    number: int
    name: str
    kind: int
    vr: bytes | None
    wanted: bool


_PLAIN, _SEQUENCE, _UNKNOWN, _DROPPED, _BULKY, _END = range(6)


def _tag(number: int) -> _Tag:
    """The part of the dictionary that the walk needs (PS3.6).

    ``vr`` is the first that the dictionary has for an element with a plain value, None for private and unknown ones,
    because implicit VR does not say.
    """
    from pydicom.datadict import dictionary_VR

    group, element = number >> 16, number & 0xFFFF
    name = sys.intern(f"{number:08X}")
    if group == 0xFFFE:
        return _Tag(number, name, _END, None, False)
    if element == 0 or number == _TRAILING_PADDING:
        return _Tag(number, name, _DROPPED, None, False)
    if number in _BULK or number == _WAVEFORM or (group & 0xFF00 == 0x6000 and element == 0x3000):
        return _Tag(number, name, _BULKY, b"OB", False)
    try:
        vr = dictionary_VR(number) if group % 2 == 0 else ""
    except KeyError:
        vr = ""
    if not vr or vr == "UN":
        return _Tag(number, name, _UNKNOWN, None, False)
    if vr == "SQ":
        return _Tag(number, name, _SEQUENCE, None, False)
    return _Tag(number, name, _PLAIN, vr[:2].encode(), number in WANTED or vr == "UI")


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


@functools.lru_cache(maxsize=12)
def _digests(key: bytes, explicit: bool, big: bool) -> dict[bytes, tuple[str, bytes]]:
    """Digest and value of short elements by their bytes, which repeat from file to file."""
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


class Walker:
    """One pass over the element stream of one data set."""

    def __init__(
        self,
        view: memoryview,
        start: int,
        syntax: str,
        key: bytes,
        kept: Values | None,
        found: dict[str, str],
    ) -> None:
        self.kept = kept
        self.view, self.syntax, self.key = view, syntax, key
        # A slice of bytes costs a quarter of one of a view, and a small file is copied in no time.
        self.raw: bytes | memoryview = view if len(view) > _COPIED_BYTES else bytes(view)
        self.main = {IMPLICIT: _IMPLICIT_LITTLE, BIG_ENDIAN: _EXPLICIT_BIG}.get(syntax, _EXPLICIT_LITTLE)
        if start + 8 <= len(view) and self.main.explicit != _is_vr(view[start + 4 : start + 6]):
            # The meta information may promise one VR encoding and the data set have the other (seen in JPEG files).
            self.main = _IMPLICIT_LITTLE if self.main.explicit else _EXPLICIT_LITTLE
        self.digests = _digests(key, self.main.explicit, self.main.big)
        self.inner_digests = _digests(key, False, False)
        self.found = found
        self.left = _ELEMENTS
        self.odd = b""  # what stands behind a delimiter where its length of zero should
        self.values: dict[int, bytes] = {}
        self.frames: dict[str, bytes] = {}
        # Path, SHA-256, length in bytes and whether it is encapsulated, of each bulk element.
        self.bulk: list[tuple[str, str, int, bool]] = []

    def walk(self, at: int, end: int) -> int:
        """Walk the elements outside of sequences, in runs that were seen before where their bytes are the same."""
        order, raw = self.main, self.raw
        if not isinstance(raw, bytes):
            return self.elements(at, end, "", 0, order)
        runs = _runs(self.key, order.explicit, order.big, self.kept is not None)
        begin, meta, before = at, dict(self.found), None if self.kept is None else dict(self.kept)
        found, values, kept = self.found, self.values, self.kept
        while at <= end - 8:
            head = raw[at : at + 8]
            run = runs.get(head)
            if run is None or not raw.startswith(run.raw, at):
                start, inner = at, len(self.bulk) + len(self.frames)
                self.found, self.values, self.kept = {}, {}, None if kept is None else {}
                at = self.elements(at, end, "", 0, order, _RUN)
                run = _Run(raw[start:at], self.found, self.values, self.kept)
                if len(run.raw) <= _RUN_BYTES and len(self.bulk) + len(self.frames) == inner and at < end:
                    if len(runs) >= 1 << 10:
                        runs.clear()
                    runs[head] = run
            else:
                at += len(run.raw)
            more = len(found) + len(run.found)
            found.update(run.found)
            if len(found) < more:  # an element stands twice: once more, with an eye on that
                self.found, self.values, self.kept, self.frames, self.bulk = meta, {}, kept, {}, []
                if kept is not None and before is not None:
                    kept.clear()
                    kept.update(before)
                return self.elements(begin, end, "", 0, order)
            values.update(run.values)
            if kept is not None and run.kept is not None:
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
        found, values, kept = self.found, self.values, self.kept
        head, explicit, long, tags = order.head.unpack_from, order.explicit, order.long.unpack_from, order.tags
        digests = self.digests if order is self.main else self.inner_digests
        per_frame = depth and prefix.startswith(_FUNCTIONAL_GROUPS)
        memo, part = digests.get, 4 if explicit else 0
        last, all_of_it = end - 8, most > self.left
        if all_of_it:
            most = max(self.left, 0)
        self.left -= 1
        before = most
        while at <= last and most:
            most -= 1
            if explicit:
                raw, vr, length = head(view, at)
                start = at + 8
                if vr not in SHORT:
                    if vr in LONG:
                        (length,) = long(view, start)
                        start += 4
                    elif tags[raw].kind != _END:
                        if not depth and not any(view[at:end]):
                            return end
                        raise DicomError("it has an element that cannot be read")
            else:
                raw, length = head(view, at)
                start, vr = at + 8, b""
            number, name, kind, usual, wanted = tags[raw]
            if kind == _END:
                if not depth or number != _ITEM_END:
                    raise DicomError("it has a delimiter where none may be")
                if any(view[at + 4 : at + 8]):
                    self.odd += bytes(view[at + 4 : at + 8])
                self.left -= before - most
                return at + 8
            if depth:
                name = prefix + name
            if name in found:
                name = _next_name(name, found)
            if kind == _BULKY and (
                not depth or (number == _WAVEFORM and depth == 1 and prefix.startswith(_WAVEFORM_SEQUENCE))
            ):
                at = self._bulk(name, start, length, end, order, vr)
                continue
            if length == _UNDEFINED:
                # Pixels of an icon are encapsulated like those of the image (PS3.5 A.4).
                if kind == _BULKY or vr == b"OB" or vr == b"OW":
                    hashed, _, at, layout = self._fragments(start, end, order)
                    found[name] = element_digest(vr, hashed.encode() + layout, key=self.key)
                    if kept is not None:
                        kept[name] = (vr, b"")
                else:
                    # PS3.5 6.2.2: UN of undefined length holds a sequence in implicit VR little endian.
                    inner = _IMPLICIT_LITTLE if vr == b"UN" else order
                    at = self._sequence(start, end, name, depth, inner, vr, undefined=True)
                continue
            stop = start + length
            if stop > end:
                raise DicomError("it is cut short inside an element")
            if vr == b"SQ":
                at = self._sequence(start, stop, name, depth, order, vr, undefined=False)
                continue
            if kind:
                if kind == _DROPPED and self._says_nothing(number, vr, length, depth, at, end):
                    if kept is not None and number == _TRAILING_PADDING:
                        kept[name] = (vr, bytes(raws[start:stop]))
                    at = stop
                    continue
                if (
                    length >= 8
                    and view[start : start + 4] == _ITEM_BYTES
                    and kind != _BULKY
                    and (not explicit or vr == b"UN")
                    and self._perhaps_sequence(start, stop, name, depth, vr, of_bytes=explicit or kind == _UNKNOWN)
                ):
                    at = stop
                    continue
            if length <= 64:
                piece = bytes(raws[at + part : stop])
                both = memo(piece)
                if both is None:
                    both = self._digest_and_value(vr, usual, bytes(raws[start:stop]), big)
                    if len(digests) >= 1 << 16:
                        digests.clear()
                    digests[piece] = both
                digest, value = both
            else:
                digest, value = self._digest_and_value(vr, usual, bytes(raws[start:stop]), big)
            at = stop
            found[name] = digest
            if kept is not None:
                kept[name] = (vr, value)
            if wanted or vr == b"UI":
                if not depth:
                    values[number] = value
                elif per_frame and number in _FRAME_GEOMETRY:
                    self.frames[name] = value
        self.left -= before - most
        if all_of_it and not most and at <= last:
            raise DicomError(f"it holds more than {_ELEMENTS} elements")
        return at

    def _says_nothing(self, number: int, vr: bytes, length: int, depth: int, at: int, end: int) -> bool:
        """Whether this is a group length or trailing padding as the standard has it (PS3.5 7.2, PS3.10 7.2)."""
        if number == _TRAILING_PADDING:
            return vr in (b"OB", b"")
        if number == 0:  # in implicit VR zeros behind the data set read as that
            if depth or any(self.view[at:end]):
                raise DicomError("it has an element that cannot be read")
            return True
        return vr in _GROUP_LENGTH and length == 4

    def _digest_and_value(self, vr: bytes, usual: bytes | None, value: bytes, big: bool) -> tuple[str, bytes]:
        """Digest of an element, and its value without padding; ``usual`` is its VR by the dictionary, or None."""
        if big and vr in WORDS:
            value = _swapped(value, WORDS[vr])
        digest = element_digest(vr or usual or b"", value, key=self.key, told=bool(vr))
        reads_as = usual if vr in (b"", b"UN") else vr
        if reads_as is None:
            return digest, _without_padding(value)
        return digest, value.rstrip(b" \0") if reads_as in TEXT else value

    def _sequence(self, at: int, end: int, name: str, depth: int, order: _Order, vr: bytes, *, undefined: bool) -> int:
        """Walk the items of a sequence, with lengths or with delimiters (PS3.5 7.5); returns where it ends."""
        count, unpack, odd, self.odd = 0, order.item.unpack_from, b"", b""
        while undefined or at < end:
            if at + 8 > end:
                raise DicomError("it is cut short inside a sequence")
            group, element, length = unpack(self.view, at)
            tag = group << 16 | element
            at += 8
            if tag == _SEQUENCE_END and undefined:
                odd += b"" if not length else bytes(self.view[at - 4 : at])
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
            odd += self.odd
            self.odd = b""
        self.found[name] = sequence_digest(count, vr=vr.decode(), key=self.key, more=odd)
        if self.kept is not None and count:
            self.kept[name] = (b"SQ", str(count).encode())
        return at

    def _perhaps_sequence(self, at: int, end: int, name: str, depth: int, vr: bytes, *, of_bytes: bool) -> bool:
        """Walk a value as a sequence if it parses as one; leaves no trace otherwise.

        Where nothing says that it is one (``of_bytes``), its bytes count as well: a reader may take them as they are.
        """
        before = self.found, self.frames, self.bulk, self.kept
        self.found, self.frames, self.bulk, self.kept = {}, {}, [], None if self.kept is None else {}
        try:
            whole = self._sequence(at, end, name, depth, _IMPLICIT_LITTLE, vr, undefined=False) == end
        except (struct.error, IndexError):
            whole = False
        except DicomError:
            whole = False
            if self.left <= 0:
                raise
        inner = self.found, self.frames, self.bulk, self.kept
        self.found, self.frames, self.bulk, self.kept = before
        if whole:
            if of_bytes:
                items = inner[0][name][:16]
                inner[0][name] = f"{element_digest(vr, bytes(self.view[at:end]), key=self.key)[: 16 + len(vr)]}s{items}"
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
            digest, total, at, layout = self._fragments(start, end, order)
            self.bulk.append((name, digest, total, True))
            self.found[name] = element_digest(vr, layout, key=self.key)
            return at
        stop = start + length
        if stop > end:
            raise DicomError("it is cut short inside its bulk data")
        value: bytes | memoryview = self.view[start:stop]
        if order.big and vr in WORDS:
            value = _swapped(value, WORDS[vr])
        self.bulk.append((name, hashlib.sha256(value).hexdigest(), length, False))
        self.found[name] = element_digest(vr, b"", key=self.key)
        return stop

    def _fragments(self, at: int, end: int, order: _Order) -> tuple[str, int, int, bytes]:
        """SHA-256 and length in bytes of the fragments of encapsulated data, where it ends, and how it is laid out.

        PS3.5 A.4: an item with the offset table, then fragments; the layout is that table and their lengths.
        """
        digest, total, first = hashlib.sha256(), 0, True
        layout = hashlib.blake2b(digest_size=16, key=self.key)
        while True:
            if at + 8 > end:
                raise DicomError("it is cut short inside its bulk data")
            group, element, size = order.item.unpack_from(self.view, at)
            at += 8
            layout.update(self.view[at - 8 : at])
            if group << 16 | element == _SEQUENCE_END:
                return digest.hexdigest(), total, at, layout.digest()
            if group << 16 | element != _ITEM or at + size > end:
                raise DicomError("it is cut short inside its bulk data")
            if first:
                layout.update(self.view[at : at + size])
            else:
                digest.update(self.view[at : at + size])
                total += size
            first, at = False, at + size


def _without_padding(value: bytes) -> bytes:
    """A private value without padding, where it reads as text; numbers keep their zeros.

    Two, four and eight bytes may be one number, whose last byte looks like padding: they stay as they are.
    """
    text = value.rstrip(b" \0")
    return text if len(value) not in (2, 4, 8) and text and _TEXT_ONLY(text) else value
