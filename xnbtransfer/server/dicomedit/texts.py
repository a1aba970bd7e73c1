"""Values as text and text as values, as dcm4che 2 and mizer do it for each value representation.

Reading joins several values by a backslash and takes away the blanks around each (of LT, ST and UT only those behind).
Writing checks neither length nor form, and wraps numbers that are too large. Text is decoded and encoded by (0008,0005)
of the data set, or of the one that holds it; without one by the server's default encoding, which is UTF-8 here.
"""

from __future__ import annotations

import re
import struct

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword

from .dataset import SIZES, DataSet, Element, dictionary
from .errors import Failed, Refused
from .java import Malformed, parse_float, parse_int, show_float

ONE_TEXT = frozenset(("LT", "ST", "UT"))
"""Text that is one value, whatever backslashes it holds."""
TEXT = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI"]) | ONE_TEXT
_CHARSET = frozenset(("LO", "LT", "PN", "SH", "ST", "UT"))
"""Text in the character set of the file (PS3.5 6.1.2.2); the other kinds are written in the default encoding."""
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "OW": "H", "OF": "f"}
_BYTES = frozenset(("OB", "OF", "OW", "UN"))
DEFAULT = "utf-8"
_SETS = {
    "ISO_IR 6": "ascii",
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 166": "tis-620",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
"""Python's name for the encodings of (0008,0005) (PS3.3 C.12.1.1.2); of JIS X 0201 only the half that has no
escapes."""


_HEXADECIMAL = re.compile(r"[+-]?[0-9A-Fa-f]{1,15}")


class NoText(Failed):
    """A sequence or encapsulated data, which nothing can read as text."""


def character_sets(dataset: DataSet) -> list[str]:
    """The values of (0008,0005) that hold for ``dataset``; empty when there is none, or one without a value."""
    holder: DataSet | None = dataset
    while holder is not None:
        element = holder.get(0x00080005)
        if element is not None:
            sets = [one.strip() for one in element.value.decode("latin-1").strip(" \0").split("\\")]
            return sets if any(sets) else []
        holder = holder.parent
    return []


def _first(sets: list[str]) -> str:
    """The encoding of what is written: that of the first set, whatever the others are."""
    if not sets:
        return DEFAULT
    name = sets[0].replace("ISO 2022 IR", "ISO_IR")
    return _SETS.get(name, "ascii" if not name or len(sets) > 1 else DEFAULT)


def _decode(raw: bytes, vr: str, dataset: DataSet) -> str:
    sets = character_sets(dataset) if vr in _CHARSET else []
    if b"\x1b" in raw and len(sets) > 1:
        try:
            return decode_bytes(raw, convert_encodings(list(sets)), set())
        except (LookupError, ValueError):
            pass
    return raw.decode(_first(sets), "replace")


def show(dataset: DataSet, tag: int) -> str | None:
    """The value of ``tag`` as text; None where the element is missing.

    Raises
    ------
    NoText
        For sequences and encapsulated data.
    """
    element = dataset.get(tag)
    return None if element is None else show_element(dataset, element)


def show_element(dataset: DataSet, element: Element) -> str:
    """As `show`, of an element that is there."""
    if element.items is not None or element.fragments is not None:
        raise NoText("null")
    vr, raw = element.vr, element.value
    if not raw:
        return ""
    if vr in ONE_TEXT:
        return _decode(raw, vr, dataset).lstrip("\0").rstrip(" \0")
    if vr in TEXT:  # ``StringUtils.trim`` and ``trimPN``
        behind = " ^" if vr == "PN" else " \0"
        return "\\".join(one.lstrip(" ").rstrip(behind) for one in _decode(raw, vr, dataset).split("\\"))
    if vr == "AT":
        order = ">" if dataset.big else "<"
        pairs = struct.iter_unpack(order + "HH", raw[: len(raw) // 4 * 4])
        return "\\".join(f"{group:04X}{number:04X}" for group, number in pairs)
    if vr in _NUMBERS:
        return _show_numbers(vr, raw, dataset.big)
    if vr == "OB":
        return "\\".join(f"{one:02X}" for one in raw)
    told = raw[:-1] if raw[-1:] == b"\0" and _printable(raw[:-1]) else raw
    return "".join((chr(one) if one != 0x5C else "\\\\") if 31 < one < 127 else f"\\{one:02X}" for one in told)


def _printable(raw: bytes) -> bool:
    return all(31 < one < 127 for one in raw)


def _show_numbers(vr: str, raw: bytes, big: bool) -> str:
    form = struct.Struct((">" if big else "<") + _NUMBERS[vr])
    numbers = [one for (one,) in form.iter_unpack(raw[: len(raw) // form.size * form.size])]
    if vr in ("FL", "FD", "OF"):
        return "\\".join(show_float(one, single=vr != "FD") for one in numbers)
    return "\\".join(map(str, numbers))


def put(dataset: DataSet, tag: int, text: str | None, *, vr: str = "") -> None:
    """Set ``tag``: in the value representation that the element has, else in that of the dictionary, or in ``vr``.

    Without a text the element becomes empty.

    Raises
    ------
    Failed
        For a sequence, and for a number that is none.
    """
    if not vr:
        vr = dataset[tag].vr if tag in dataset else dictionary(tag)
    dataset[tag] = Element(vr, encode(dataset, vr, text))


def encode(dataset: DataSet, vr: str, text: str | None) -> bytes:
    """The bytes of ``text`` in a value representation; `Failed` where it has none."""
    if vr == "SQ":
        raise Failed("null")
    if vr in _BYTES:
        if text is None:
            raise Failed("internal error: something is null")
        raw = text.encode(DEFAULT, "replace")
        size = SIZES[vr] if dataset.big and vr in ("OF", "OW") else 1
        if len(raw) % size:
            raise Refused(f"len = {len(raw)}")
        return b"".join(raw[at : at + size][::-1] for at in range(0, len(raw), size)) if size > 1 else raw
    if not text:
        return b""
    if vr in TEXT:
        return _encode(text, _first(character_sets(dataset)) if vr in _CHARSET else DEFAULT)
    if vr == "AT":
        return b"".join(_tag(one, dataset.big) for one in text.split("\\"))
    return b"".join(_number(vr, one, dataset.big) for one in text.split("\\"))


def _encode(text: str, encoding: str) -> bytes:
    """As Python does it, but of JIS X 0201 only the single bytes."""
    if encoding != "shift_jis":
        return text.encode(encoding, "replace")
    return b"".join(one if len(one) == 1 else b"?" for one in (char.encode(encoding, "replace") for char in text))


def _number(vr: str, text: str, big: bool) -> bytes:
    order = ">" if big else "<"
    if vr in ("FL", "FD"):
        try:
            return struct.pack(order + _NUMBERS[vr], parse_float(text))
        except OverflowError:
            return struct.pack(order + "f", float("-inf" if text.strip().startswith("-") else "inf"))
    size = 4 if vr in ("UL", "SL") else 2
    number = parse_int(text, bits=64 if size == 4 else 32)  # ``IntVR``, ``ShortVR``
    return (number & (1 << 8 * size) - 1).to_bytes(size, "big" if big else "little")


def _tag(text: str, big: bool) -> bytes:
    try:
        number = int(text, 16) & 0xFFFFFFFF if _HEXADECIMAL.fullmatch(text) else -1  # ``Tag.toTag``
        if number < 0:
            raise ValueError
    except ValueError:
        found = tag_for_keyword(text) if text else None
        number = -1 if found is None else found
    if not 0 <= number <= 0xFFFFFFFF:
        raise Malformed(f"Unknown Tag Name: {text}")
    return struct.pack((">" if big else "<") + "HH", number >> 16, number & 0xFFFF)
