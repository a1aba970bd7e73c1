"""How the engines read a value as text, and what bytes they make of a text, for each VR and character set.

After dcm4che 2 (``VR.java``, ``SpecificCharacterSet.java``, ``StringUtils.java``). Pure: bytes and text; a data set
only for the character set that holds where an element stands.
"""

from __future__ import annotations

import re
import struct

from .dataset import SPECIFIC_CHARACTER_SET, Dataset, Element
from .words import Failed, NotForetold

_CHARSETS = {
    "": "ascii",
    "ISO_IR 13": "jis_x0201",
    "ISO_IR 100": "iso8859_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 166": "tis_620",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "ISO 2022 IR 6": "ascii",
    "ISO 2022 IR 13": "jis_x0201",
    "ISO 2022 IR 87": "jis0208",
    "ISO 2022 IR 100": "iso8859_1",
    "ISO 2022 IR 101": "iso8859_2",
    "ISO 2022 IR 109": "iso8859_3",
    "ISO 2022 IR 110": "iso8859_4",
    "ISO 2022 IR 126": "iso8859_7",
    "ISO 2022 IR 127": "iso8859_6",
    "ISO 2022 IR 138": "iso8859_8",
    "ISO 2022 IR 144": "iso8859_5",
    "ISO 2022 IR 148": "iso8859_9",
    "ISO 2022 IR 149": "cp949",
    "ISO 2022 IR 159": "jis0212",
    "ISO 2022 IR 166": "tis_620",
}
_ESCAPES = {
    b"$(D": ("jis0212", 2),
    b"$)C": ("cp949", -1),
    b"$B": ("jis0208", 2),
    b"(B": ("ascii", 1),
    b"(J": ("jis_x0201", 1),
    b")I": ("jis_x0201", 1),
    b"-A": ("iso8859_1", 1),
    b"-B": ("iso8859_2", 1),
    b"-C": ("iso8859_3", 1),
    b"-D": ("iso8859_4", 1),
    b"-F": ("iso8859_7", 1),
    b"-G": ("iso8859_6", 1),
    b"-H": ("iso8859_8", 1),
    b"-L": ("iso8859_5", 1),
    b"-M": ("iso8859_9", 1),
    b"-T": ("tis_620", 1),
}
# Text whose bytes are in the server's default encoding whatever (0008,0005) says; UTF-8 on every server measured.
_PLAIN = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"])
_STRINGS = frozenset(["LO", "PN", "SH"])
_TEXTS = frozenset(["LT", "ST", "UT"])
# What becomes empty where a value is null; the engine's library fails at numbers and bytes then (``VR.toBytes``).
EMPTIED = _PLAIN | _STRINGS | _TEXTS
_FORMATS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d"}
_HEX = "0123456789ABCDEF"
_LONG_TEXT = 1 << 20


class Drawn(str):
    """A text that the engine draws at random: nothing that depends on it can be foretold."""

    __slots__ = ()


def charset_of(dataset: Dataset | None) -> tuple[str, bool]:
    """The encoding that holds in a data set, and whether code extensions are read in it.

    The server's default encoding where nothing, or nothing known, is said: UTF-8.
    """
    while dataset is not None:
        element = dataset.get(SPECIFIC_CHARACTER_SET)
        if element is not None and element.items is None:
            codes = _split(element.value.decode("utf-8", "replace"))
            if codes:
                if element.random:
                    raise NotForetold("the character set is drawn at random")
                first = _CHARSETS.get(_trim(codes[0]))
                if first:
                    return first, len(codes) > 1
        dataset = dataset.parent
    return "utf-8", False


def text_of(element: Element, dataset: Dataset) -> str | None:
    """An element as the engine reads it for a script; all values joined by backslashes.

    Raises
    ------
    Failed
        For a sequence.
    """
    if element.random:
        return Drawn("")
    if element.vr in ("OB", "SQ") and not element.items and not element.value and element.fragments is None:
        # The library has no text for it (``SequenceDicomElement``, ``VR.OB``); mizer may make the word null of that.
        raise NotForetold(f"an empty {element.vr} is read as text")
    if element.items is not None or element.vr == "SQ":
        raise Failed("a sequence cannot be read as text")
    if element.fragments is not None:
        raise NotForetold("encapsulated data is read as text")
    value, vr = element.value, element.vr
    if len(value) > _LONG_TEXT:
        raise NotForetold("a value of more than 1 MB is read as text")
    value = bytes(value)
    if vr in _PLAIN:
        return "\\".join(_trim(one) for one in _split(value.decode("utf-8", "replace")))
    if vr in _STRINGS:
        trim = _trim_name if vr == "PN" else _trim
        return "\\".join(trim(one) for one in _split(decode(value, dataset)))
    if vr in _TEXTS:
        return _trim_end(decode(value, dataset)) if value else ""
    if vr in _FORMATS:
        size = struct.calcsize("<" + _FORMATS[vr])
        numbers = struct.unpack_from(f"<{len(value) // size}{_FORMATS[vr]}", value)
        show = {"FL": java_float, "FD": java_double}.get(vr, str)
        return "\\".join(show(number) for number in numbers)
    if vr == "AT":
        pairs = struct.unpack_from(f"<{len(value) // 4 * 2}H", value)
        return "\\".join(f"{pairs[i]:04X}{pairs[i + 1]:04X}" for i in range(0, len(pairs), 2))
    if vr == "OF":
        return "\\".join(java_float(n) for n in struct.unpack_from(f"<{len(value) // 4}f", value))
    if vr == "OW":
        return "\\".join(str(n) for n in struct.unpack_from(f"<{len(value) // 2}H", value))
    if vr == "OB":
        return "\\".join(f"{byte:02X}" for byte in value)
    if value[-1:] == b"\0" and all(32 <= byte <= 126 for byte in value[:-1]):
        raise NotForetold("text in UN that ends with a zero is read")  # whether that is kept was not measured
    # UN: its signs, and what is none as hexadecimal digits.
    return "".join(_sign(byte) for byte in value) if value else ""


def _sign(byte: int) -> str:
    if 32 <= byte <= 126:
        return "\\\\" if byte == 0x5C else chr(byte)
    return f"\\{byte:02X}"


def bytes_of(text: str, vr: str, dataset: Dataset) -> bytes:
    """The value that an element of ``vr`` gets when it is set to ``text``, without a padding byte.

    Raises
    ------
    Failed
        Where the text is no number and has to be one, and for VRs that the engine cannot write.
    """
    if vr in _PLAIN:
        return text.encode("utf-8", "replace")
    if vr in _STRINGS or vr in _TEXTS:
        return encode(text, dataset)
    if vr in ("OB", "OF", "OW", "UN"):
        return text.encode("utf-8", "replace")
    parts = _split(text)
    if vr in ("US", "SS"):
        return b"".join(struct.pack("<H", _int(part) & 0xFFFF) for part in parts)
    if vr in ("UL", "SL"):
        return b"".join(struct.pack("<L", _long(part) & 0xFFFFFFFF) for part in parts)
    if vr == "FL":
        return b"".join(_float(part) for part in parts)
    if vr == "FD":
        return b"".join(struct.pack("<d", _double(part)) for part in parts)
    if vr == "AT":
        tags = [_tag(part) for part in parts]
        return b"".join(struct.pack("<HH", tag >> 16 & 0xFFFF, tag & 0xFFFF) for tag in tags)
    raise Failed(f"a text cannot be written as {vr}")


def encode(text: str, dataset: Dataset) -> bytes:
    """Text in the first character set that holds; signs that are none of its become a question mark."""
    charset, _ = charset_of(dataset)
    if charset == "jis_x0201":
        return bytes(_half_width(sign) for sign in text)
    if charset in ("jis0208", "jis0212"):
        raise NotForetold("text is written in a character set of two bytes a sign")
    return text.encode(charset, "replace")


def decode(value: bytes, dataset: Dataset) -> str:
    """Text of bytes in the character set that holds, code extensions included."""
    charset, extended = charset_of(dataset)
    return _decode_extended(value, charset) if extended else _decode(value, charset)


def _decode(value: bytes, charset: str) -> str:
    if charset == "jis_x0201":
        return "".join(chr(byte + 0xFEC0) if 0xA1 <= byte <= 0xDF else _low(byte) for byte in value)
    if charset in ("jis0208", "jis0212"):
        start = b"\x1b$B" if charset == "jis0208" else b"\x1b$(D"
        return (start + value).decode("iso2022_jp_1", "replace")
    return value.decode(charset, "replace")


def _low(byte: int) -> str:
    return chr(byte) if byte < 0x80 else "\ufffd"


def _half_width(sign: str) -> int:
    code = ord(sign)
    if code < 0x80:
        return code
    return code - 0xFEC0 if 0xFF61 <= code <= 0xFF9F else 0x3F


def _decode_extended(value: bytes, charset: str) -> str:
    out, run, at, step = [], 0, 0, 1
    while at < len(value):
        if value[at] != 0x1B:
            at += step if step > 0 else 2 if value[at] >= 0x80 else 1
            continue
        out.append(_decode(value[run:at], charset))
        for escape, known in _ESCAPES.items():
            if value.startswith(escape, at + 1):
                charset, step = known
                at += 1 + len(escape)
                break
        else:
            out.append(_decode(value[at : at + 3], charset))
            at += 3
        run = at
    out.append(_decode(value[run:], charset))
    return "".join(out)


def _split(text: str) -> list[str]:
    return text.split("\\") if text else []


def _trim(text: str) -> str:
    return text.lstrip(" ").rstrip(" \0")


def _trim_name(text: str) -> str:
    return text.lstrip(" ").rstrip(" ^")


def _trim_end(text: str) -> str:
    return text.lstrip("\0").rstrip(" \0")


_INT = re.compile(r"[+-]?[0-9]+").fullmatch
_DECIMAL = re.compile(r"[\x00-\x20]*([+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFdD]?))"
                      r"[\x00-\x20]*").fullmatch  # fmt: skip


def java_int(text: str) -> int:
    """``Integer.parseInt``."""
    if not _INT(text) or len(text) > 12 or not -(1 << 31) <= int(text) < 1 << 31:
        raise Failed("a text is no whole number")
    return int(text)


_int = java_int


def _long(text: str) -> int:
    text = text.removeprefix("+")
    if not _INT(text) or len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise Failed("a text is no whole number")
    return int(text)


def _double(text: str) -> float:
    found = _DECIMAL(text)
    if not found:
        raise Failed("a text is no number")
    number = found[1]
    if number[-1] in "fFdD" and not number.endswith(("Infinity",)):
        number = number[:-1]
    return float(number)


def _float(text: str) -> bytes:
    number = _double(text)
    try:
        return struct.pack("<f", number)
    except OverflowError:
        return struct.pack("<f", float("inf") if number > 0 else float("-inf"))


def _tag(text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9A-Fa-f]{1,15}", text):
        return int(text, 16) & 0xFFFFFFFF
    if re.fullmatch(r"[A-Z][A-Za-z]{2,}[A-Za-z0-9]*", text):
        raise NotForetold("a word is written where a tag has to be, and it may be a tag's keyword")
    raise Failed("a text is no tag")


def java_double(number: float) -> str:
    """``Double.toString``.

    >>> java_double(1000.0), java_double(1e10), java_double(0.0001)
    ('1000.0', '1.0E10', '1.0E-4')
    """
    return _java(repr(number), number)


def java_float(number: float) -> str:
    """``Float.toString`` of a number of 32 bits."""
    for digits in range(1, 10):
        short = f"{number:.{digits}g}"
        if number != number or struct.pack("<f", float(short)) == struct.pack("<f", number):
            break
    return _java(repr(float(short)), number)


def _java(shown: str, number: float) -> str:
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    sign = "-" if shown.startswith("-") else ""
    mantissa, _, power = shown.removeprefix("-").partition("e")
    whole, _, part = mantissa.partition(".")
    digits, exponent = whole + part, len(whole) + int(power or 0)
    stripped = digits.lstrip("0")
    exponent -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    if not digits:
        return sign + "0.0"
    if -3 < exponent <= 7:
        if exponent <= 0:
            return f"{sign}0.{'0' * -exponent}{digits}"
        digits = digits.ljust(exponent, "0")
        return f"{sign}{digits[:exponent]}.{digits[exponent:] or '0'}"
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent - 1}"
