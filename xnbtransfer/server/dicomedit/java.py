"""Habits of the engines' language that a script can see: how numbers are read and written, messages, patterns,
hashes."""

from __future__ import annotations

import re
import struct
from decimal import Decimal

from .errors import Failed

INT = re.compile(r"[+-]?\d{1,20}")
_FLOAT = re.compile(r"[+-]?(NaN|Infinity|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fFdD]?)")


class Malformed(Failed):
    """Text that is no number, pattern or message: an exception in Java (so `Refused` to DicomEdit 4)."""


def parse_int(text: str | None, *, bits: int = 32) -> int:
    """``Integer.parseInt`` and ``Long.parseLong``: a sign and digits, nothing around them.

    >>> parse_int("-0"), parse_int("+7")
    (0, 7)
    """
    if text is None or not INT.fullmatch(text):
        raise Malformed(f'For input string: "{text}"')
    number = int(text)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise Malformed(f'For input string: "{text}"')
    return number


def parse_float(text: str) -> float:
    """``Double.parseDouble``: blanks around it are fine, and so is a letter that tells the type."""
    stripped = text.strip("".join(map(chr, range(33))))
    if not _FLOAT.fullmatch(stripped):
        raise Malformed(f'For input string: "{text}"')
    return float(stripped.rstrip("fFdD") if stripped[-1:] in "fFdD" else stripped)


def show_float(number: float, *, single: bool = False) -> str:
    """``Double.toString`` or ``Float.toString``: the shortest digits that tell it, with a point, or an exponent.

    >>> show_float(1.0), show_float(1e7), show_float(0.0001)
    ('1.0', '1.0E7', '1.0E-4')
    """
    if number != number:
        return "NaN"
    sign = "-" if str(number).startswith("-") else ""
    if abs(number) == float("inf"):
        return sign + "Infinity"
    if number == 0:
        return sign + "0.0"
    _, digits, exponent = Decimal(_shortest(number) if single else repr(number)).normalize().as_tuple()
    shown = "".join(map(str, digits))
    power = len(shown) - 1 + int(exponent)
    if not 1e-3 <= abs(number) < 1e7:
        return f"{sign}{shown[0]}.{shown[1:] or '0'}E{power}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{shown}"
    whole = shown[: power + 1].ljust(power + 1, "0")
    return f"{sign}{whole}.{shown[power + 1 :] or '0'}"


def _shortest(number: float) -> str:
    for precision in range(1, 10):
        text = f"{number:.{precision}g}"
        if struct.pack("<f", float(text)) == struct.pack("<f", number):
            return text
    return repr(number)


def message(pattern: str, arguments: list[str | None]) -> str:
    """``MessageFormat.format`` with texts: ``{0}``, apostrophes that quote, and what is not there left as it stands.

    >>> message("it''s {0} '{0}' {1}", ["a"])
    "it's a {0} {1}"
    """
    out, at, quoted = [], 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "'":
            if pattern[at + 1 : at + 2] == "'":
                out.append("'")
                at += 1
            else:
                quoted = not quoted
        elif char == "{" and not quoted:
            end = _closing(pattern, at)
            out.append(_argument(pattern[at + 1 : end], arguments))
            at = end
        else:
            out.append(char)
        at += 1
    return "".join(out)


def _closing(pattern: str, at: int) -> int:
    depth = 0
    for here in range(at, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[here], 0)
        if depth == 0:
            return here
    raise Malformed("Unmatched braces in the pattern.")


def _argument(inner: str, arguments: list[str | None]) -> str:
    number, _, kind = inner.partition(",")
    if not re.fullmatch(r"\s*\d{1,9}\s*", number):
        raise Malformed(f"can't parse argument number: {number}")
    index = int(number)
    if index >= len(arguments):
        return "{" + str(index) + "}"
    value = arguments[index]
    if kind and value is not None:  # a number, date or choice is asked for, and a text is given
        raise Malformed("Cannot format given Object as a Number")
    return "null" if value is None else value


def string_hash(text: str) -> int:
    """``String.hashCode``."""
    number = 0
    for unit in struct.unpack(f">{len(text.encode('utf-16-be')) // 2}H", text.encode("utf-16-be")):
        number = (number * 31 + unit) & 0xFFFFFFFF
    return number


def hash_set(texts: list[str]) -> list[str]:
    """The order in which a ``HashSet`` of texts is gone through."""
    distinct = list(dict.fromkeys(texts))
    buckets = 16
    while len(distinct) > buckets * 3 // 4:
        buckets *= 2

    def bucket(text: str) -> int:
        number = string_hash(text)
        return (number ^ number >> 16) & buckets - 1

    return sorted(distinct, key=bucket)
