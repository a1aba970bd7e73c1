"""DICOM content: what identifies a file when its header has been written again.

A walk over the element stream of a Part 10 file (DICOM PS3.5 section 7, PS3.10 section 7), by hand, because it must
cost little more than hashing: bulk data and geometry get digests of their own, every other element a short keyed one.
No value leaves this module except UIDs and the numbers that XNAT shows anyway, and those that a review asks for.

Each byte of a file is in a digest, or in one of these classes, which say nothing of what is in the file:

* the preamble, and what is behind the data set where all of it is zero;
* group lengths (gggg,0000) of VR UL and four bytes, and DataSetTrailingPadding (FFFC,FFFC);
* (0002,0012) and (0002,0013), name and version of the program that wrote the file;
* padding behind a text value: blanks and zeros at its end (PS3.5 6.2);
* the form of lengths: defined or not, with items and delimiters as they are then needed (PS3.5 7.5);
* the two reserved bytes behind a VR (PS3.5 7.1.2), and bits behind the end of a deflate stream.

`docs/explanation.md` says why each is harmless; `tests/adversity/test_flips.py` flips every bit.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import struct
import zlib
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from .elements import parts
from .errors import DicomError
from .walk import (
    BIG_ENDIAN,
    DEFLATED,
    FRAMES,
    GEOMETRY,
    IMPLICIT,
    NAMED,
    PHOTOMETRIC,
    PREAMBLE,
    SHORTS,
    UIDS,
    URL,
    WANTED,
    Values,
    Walker,
    file_meta,
    inflated,
)

__all__ = [
    "PREAMBLE",
    "Content",
    "ElementChange",
    "Values",
    "hash_uid",
    "keyword",
    "pair",
    "read_content",
    "read_header",
    "same_but_for_pixels",
    "written_anew",
]

K = TypeVar("K")
L = TypeVar("L")


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
    bulk_beside : str
        The same as ``bulk`` without PixelData.
    bulk_each : tuple
        Path, SHA-256 and length in bytes of each bulk element, in the order of their paths.
    encoding : str
        How the data set is encoded, whatever the file meta information says: explicit, implicit or big endian.
    elements : mapping
        Path such as ``00100010`` or ``00081140[0].00081155`` to a digest of value and VR; see
        :func:`xnbtransfer.elements.element_digest`. File meta information is among them. A sequence stands for its
        number of items, bulk data for the offsets and lengths of their fragments. An element that stands a second
        time has ``#2`` behind its tag.
    unusual : str
        What is whole as a file and odd as an object, as the end of a sentence: an image without pixels, or with fewer
        than its rows and columns need. "" for all others.
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
    bulk_beside: str
    geometry: str
    encoding: str
    elements: Mapping[str, str]
    uids: Mapping[str, str]
    unusual: str = ""
    bulk_each: tuple[tuple[str, str, int], ...] = ()


class Shared(Mapping):
    """Header digests of one file as differences from those of another: a series shares most of them."""

    __slots__ = ("_base", "_changed", "_gone")

    def __init__(self, base: Mapping[str, str], elements: Mapping[str, str]) -> None:
        self._base = base
        self._changed = {path: value for path, value in elements.items() if base.get(path) != value}
        self._gone = frozenset(path for path in base if path not in elements)

    def __getitem__(self, path: str) -> str:
        if path in self._changed:
            return self._changed[path]
        if path in self._gone:
            raise KeyError(path)
        return self._base[path]

    def __iter__(self) -> Iterator[str]:
        yield from (path for path in self._base if path not in self._gone)
        yield from (path for path in self._changed if path not in self._base)

    def __len__(self) -> int:
        return len(self._base) - len(self._gone) + sum(path not in self._base for path in self._changed)

    def items(self) -> ItemsView[str, str]:
        whole = {**self._base, **self._changed}
        for path in self._gone:
            del whole[path]
        return whole.items()


@dataclass(frozen=True)
class ElementChange:
    """One element that differs; ``because`` says what explains it. Values are never in it.

    ``foretold`` is False where it cannot be computed what should stand there: such a change is neither explained nor
    wrong.
    """

    path: str
    keyword: str
    kind: Literal["added", "removed", "changed"]
    explained: bool
    because: str
    foretold: bool = True


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
    A cut on the boundary of an element leaves a stream that parses: 1 to 7 bytes after the last element that are not
    all zeros count as cut, and an image without pixels is told as ``unusual``, since some are made so. Pixels that are
    fewer than rows and columns say are unusual, too, but not cut: their element says how long they are.

    An element has one digest in explicit and implicit VR, either byte order, and with sequences of either length
    encoding, as far as :func:`xnbtransfer.elements.difference` tells. A private value in implicit VR does not say that
    it is a sequence (PS3.5 7.8): one that parses as items is taken for one as well.

    Time and memory grow with the bytes of the file, and end at a number of elements (``_ELEMENTS``).
    """
    return _read(memoryview(data).cast("B"), key, values, whole=True)


def read_header(data: bytes | memoryview, *, key: bytes = b"") -> Content:
    """The same of a file that was computed without its pixels, and need not have any, nor a SOPInstanceUID.

    Raises
    ------
    DicomError
        If it is no DICOM, or is cut short.
    """
    return _read(memoryview(data).cast("B"), key, None, whole=False)


def _read(view: memoryview, key: bytes, values: Values | None, *, whole: bool) -> Content:
    if len(view) < 132 or view[128:132] != b"DICM":
        raise DicomError("it is not a DICOM file (no DICM after the preamble)")
    data_set: contextlib.AbstractContextManager[memoryview] = contextlib.nullcontext(view)
    try:
        if values is not None and any(view[:128]):
            values[PREAMBLE] = (b"", bytes(view[:128]))
        syntax, start, found = file_meta(view, key, values)
        if syntax == DEFLATED:
            data_set, start = inflated(view[start:], key, found), 0
        with data_set as view:
            walker = Walker(view, start, syntax, key, values, found)
            end = walker.walk(start, len(view))
            if end != len(view) and any(view[end:]):
                raise DicomError("it is cut short after its last whole element")
            return _content(walker, whole)
    except (struct.error, IndexError, zlib.error):
        raise DicomError("it is cut short or damaged inside an element") from None


def _text(walker: Walker, tag: int) -> str:
    return walker.values.get(tag, b"").strip(b" \0").decode("latin-1")


def _number(walker: Walker, tag: int) -> int | None:
    value = walker.values.get(tag, b"")
    return int.from_bytes(value[:2], "little") if len(value) >= 2 else None


def _content(walker: Walker, whole: bool) -> Content:
    text = {name: _text(walker, tag) for name, tag in NAMED.items()}
    if whole and not text["sop_instance_uid"]:
        raise DicomError("it has no SOPInstanceUID")
    numbers = {name: _number(walker, tag) for tag, name in SHORTS.items()}
    geometry = [str(number) for number in numbers.values()]
    geometry += [_plain_numbers(_text(walker, tag)) for tag in GEOMETRY]
    geometry.append(_plain_numbers(text["instance_number"]))
    geometry += [f"{path}={_plain_numbers(value.decode('latin-1'))}" for path, value in sorted(walker.frames.items())]
    main = walker.main
    each = tuple(sorted((path, digest, length) for path, digest, length, _ in walker.bulk))
    return Content(
        **text,
        transfer_syntax=walker.syntax,
        bulk=_of_bulk(each),
        bulk_bytes=sum(length for _, _, length in each),
        bulk_beside=_of_bulk([one for one in each if one[0] != "7FE00010"]),
        bulk_each=each,
        encoding="big endian" if main.big else "explicit" if main.explicit else "implicit",
        geometry=hashlib.sha256("|".join(geometry).encode()).hexdigest(),
        elements=walker.found,
        unusual=_unusual(walker, numbers),
        uids={f"{tag:08X}": _text(walker, tag) for tag in walker.values if tag in UIDS or tag not in WANTED},
    )


def _unusual(walker: Walker, numbers: Mapping[str, int | None]) -> str:
    """What is odd about the pixels of an image (PS3.5 8.1.1: how long native pixels are).

    Spectra, raw data, doses without a grid and private objects may have rows and columns and no pixels; PS3.5 A.6: the
    pixels of a JPIP image are at an address.
    """
    rows, columns, bits = numbers["Rows"], numbers["Columns"], numbers["BitsAllocated"]
    image = rows or columns or numbers["SamplesPerPixel"]
    if image and not walker.bulk and URL not in walker.values and _has_pixels(_text(walker, NAMED["sop_class_uid"])):
        return "it is an image without pixels: it ends right before them, or was made without"
    native = [length for path, _, length, packed in walker.bulk if path == "7FE00010" and not packed]
    if not (native and rows and columns and bits):
        return ""
    # PS3.3 C.7.6.3.1.2: how many samples a pixel takes where chroma is subsampled.
    samples = _SUBSAMPLED.get(_text(walker, PHOTOMETRIC), numbers["SamplesPerPixel"] or 1)
    frames = _text(walker, FRAMES)
    needed = (rows * columns * samples * bits * (int(frames) if frames.isdecimal() else 1)) // 8
    return "it has fewer pixels than its rows and columns need" if native[0] < needed else ""


_SUBSAMPLED = {"YBR_FULL_422": 2, "YBR_PARTIAL_422": 2, "YBR_PARTIAL_420": 1.5}


def _of_bulk(bulk: Sequence[tuple[str, str, int]]) -> str:
    if not bulk:
        return ""
    each = "|".join(f"{path}:{digest}:{length}" for path, digest, length in bulk)
    return hashlib.sha256(each.encode()).hexdigest()


def with_bulk(content: Content, each: Iterable[tuple[str, str, int]]) -> Content:
    """A content with other bulk elements, as :attr:`Content.bulk_each` has them."""
    each = tuple(sorted(each))
    return replace(
        content,
        bulk=_of_bulk(each),
        bulk_bytes=sum(length for _, _, length in each),
        bulk_beside=_of_bulk([one for one in each if one[0] != "7FE00010"]),
        bulk_each=each,
    )


@functools.lru_cache(maxsize=1 << 10)
def _has_pixels(sop_class: str) -> bool:
    """Whether all objects of a SOP class have pixels: those that PS3.6 calls images, and unnamed ones as well."""
    from pydicom._uid_dict import UID_dictionary

    known = UID_dictionary.get(sop_class)
    return not sop_class or (known is not None and "Image Storage" in known[0])


@functools.lru_cache(maxsize=4096)
def _plain_numbers(text: str) -> str:
    """Numbers of a decimal string in one spelling, so that ``1.0`` and ``1`` are one geometry.

    >>> _plain_numbers("1.0\\\\2 ")
    '1.0\\\\2.0'
    """
    found = []
    for part in text.split("\\"):
        try:
            found.append(repr(float(part)))
        except ValueError:
            found.append(part.strip())
    return "\\".join(found)


def same_but_for_pixels(source: Content, destination: Content) -> bool:
    """Whether all content but PixelData is equal: other bulk data, and geometry."""
    return (source.bulk_beside, source.geometry) == (destination.bulk_beside, destination.geometry)


_NATIVE = {IMPLICIT: "implicit", BIG_ENDIAN: "big endian", DEFLATED: "explicit", "1.2.840.10008.1.2.1": "explicit"}
# Titles of the programs that a file went through, and what one of them noted (PS3.10 7.1).
_PASSED_THROUGH = frozenset(
    ("00020001", "00020016", "00020017", "00020018", "00020026", "00020027", "00020028", "00020100", "00020102")
)


def written_anew(path: str, source: Content, destination: Content) -> str:
    """Why an element of the file meta information changed, where the importer writes that anew; else "".

    dcm4che 2 leaves out what it does not know a value for, and takes class and instance from the data set (XNAT source,
    ``GradualDicomImporter``; DicomEdit up to mizer 1.2.1 wrote the group anew as well).
    """
    anew = "the import writes the file meta information anew"
    after = destination.elements.get(path, "")
    if path in ("00020002", "00020003", "00020010") and (parts(after).vr != "UI" or parts(after).other):
        return ""  # gone, empty, or under the letters of another VR
    if path == "00020010":
        native = [_NATIVE.get(one.transfer_syntax) == one.encoding for one in (source, destination)]
        return "the same values in another encoding" if all(native) and after else ""
    if path in ("00020002", "00020003"):
        tag = {"00020002": "00080016", "00020003": "00080018"}[path]
        return anew if after and _same_text(after, destination.elements.get(tag, "")) else ""
    if path == "00020001":
        return anew if path not in source.elements else ""
    return anew if path in _PASSED_THROUGH and not after else ""


def _same_text(one: str, other: str) -> bool:
    return bool(other) and parts(one).value == parts(other).value


def keyword(path: str) -> str:
    """The DICOM keyword of the last element of a path; "" for private and unknown ones."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(int(path.rsplit(".", 1)[-1][:8], 16))


def pair(
    source: Mapping[K, Content],
    destination: Mapping[L, Content],
    renamed: Callable[[K], Iterable[str]] = lambda name: (),
) -> list[tuple[K | None, L | None]]:
    """Who is who on the other side.

    By SOPInstanceUID, then by those that a script gives (``renamed``, asked only of what is left), then by equal bulk
    data and geometry. What is left over stands alone, beside None.
    """
    left, right = dict(source), dict(destination)
    pairs: list[tuple[K | None, L | None]] = []
    for uids in (lambda name: (source[name].sop_instance_uid,), renamed):
        by_uid: dict[str, list[L]] = {}
        for other, content in right.items():
            by_uid.setdefault(content.sop_instance_uid, []).append(other)
        for name in list(left) if right else ():
            there = next((by_uid[uid] for uid in uids(name) if by_uid.get(uid)), None)
            if there:
                other = there.pop(0)
                pairs.append((name, other))
                del left[name], right[other]
        if not left or not right:
            break
    by_content: dict[tuple[str, str], list[L]] = {}
    for other, content in right.items():
        if content.bulk:
            by_content.setdefault((content.bulk, content.geometry), []).append(other)
    for name in list(left):
        there = by_content.get((left[name].bulk, left[name].geometry))
        if there:
            other = there.pop(0)
            pairs.append((name, other))
            del left[name], right[other]
    pairs += [(name, None) for name in left]
    pairs += [(None, other) for other in right]
    return pairs
