"""A writer of Part 10 files by hand, in which every byte has a name: value, tag, length, padding, delimiter...

Used to say which bytes of a file no digest need hold; shares nothing with the walk that it is there to test.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

IMPLICIT, EXPLICIT, DEFLATED, BIG = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
RLE, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_TEXT = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_UNDEFINED = 0xFFFFFFFF
MR = "1.2.840.10008.5.1.4.1.1.4"

# An element: tag, VR, value. The value is bytes as they stand in little endian order, or a list of items (lists of
# elements) for SQ, or a list of fragments (bytes) for encapsulated pixels.
Element = tuple[int, str, object]


@dataclass
class Written:
    """Bytes with a name for each run of them."""

    data: bytearray = field(default_factory=bytearray)
    names: list[str] = field(default_factory=list)

    def add(self, raw: bytes, name: str) -> None:
        self.data += raw
        self.names += [name] * len(raw)

    def join(self, other: Written) -> None:
        self.data += other.data
        self.names += other.names


def swapped(vr: str, value: bytes) -> bytes:
    """The value of a number in the other byte order."""
    size = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}.get(vr, 0)
    size = size or {"FD": 8, "OD": 8, "SV": 8, "UV": 8, "OV": 8}.get(vr, 1)
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))


def data_set(elements: Iterable[Element], syntax: str, *, undefined: bool = False, lengths: bool = False) -> Written:
    """A data set; ``undefined`` leaves the lengths of sequences open, ``lengths`` puts group lengths before groups."""
    out, group = Written(), 0
    sign = ">" if syntax == BIG else "<"
    for tag, vr, value in elements:
        if lengths and tag >> 16 != group and tag >> 16 not in (2, 0xFFFC):
            group = tag >> 16
            out.add(_head(group << 16, "UL", 4, syntax), "group length, head")
            out.add(struct.pack(sign + "L", 4242), "group length")
        out.join(_element(tag, vr, value, syntax, undefined, lengths))
    return out


def _head(tag: int, vr: str, length: int, syntax: str) -> bytes:
    sign = ">" if syntax == BIG else "<"
    start = struct.pack(sign + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return start + struct.pack(sign + "L", length)
    if vr in _LONG:
        return start + vr.encode() + b"\0\0" + struct.pack(sign + "L", length)
    return start + vr.encode() + struct.pack(sign + "H", length)


def _add_head(out: Written, tag: int, vr: str, length: int, syntax: str, what: str = "") -> None:
    head = _head(tag, vr, length, syntax)
    if syntax == IMPLICIT:
        names = ["tag"] * 4 + ["length"] * 4
    elif vr in _LONG:
        names = ["tag"] * 4 + ["VR"] * 2 + ["reserved"] * 2 + ["length"] * 4
    else:
        names = ["tag"] * 4 + ["VR"] * 2 + ["length"] * 2
    out.data += head
    out.names += [f"{what}{name}" if name != "reserved" else name for name in names]


def _element(tag: int, vr: str, value, syntax: str, undefined: bool, lengths: bool) -> Written:
    out, sign = Written(), ">" if syntax == BIG else "<"
    mark = lambda tag, length: struct.pack(sign + "HHL", tag >> 16, tag & 0xFFFF, length)  # noqa: E731
    if vr == "SQ":
        inner = Written()
        for item in value:
            body = data_set(item, syntax, undefined=undefined, lengths=lengths)
            inner.add(mark(0xFFFEE000, _UNDEFINED if undefined else len(body.data)), "item")
            inner.join(body)
            if undefined:
                inner.add(mark(0xFFFEE00D, 0), "delimiter")
        if undefined:
            inner.add(mark(0xFFFEE0DD, 0), "delimiter")
        _add_head(out, tag, vr, _UNDEFINED if undefined else len(inner.data), syntax)
        out.join(inner)
        return out
    if isinstance(value, list):
        _add_head(out, tag, vr, _UNDEFINED, syntax)
        for number, fragment in enumerate(value):
            out.add(mark(0xFFFEE000, len(fragment)), "item")
            out.add(fragment, "offsets" if not number else "pixels")
        out.add(mark(0xFFFEE0DD, 0), "delimiter")
        return out
    raw = value if syntax != BIG else swapped(vr, value)
    pad = b""
    if len(raw) % 2:
        pad = b"\0" if vr in ("UI", "OB", "UN") else b" "
    if vr in _TEXT and not pad:
        raw, pad = raw.rstrip(b" \0"), raw[len(raw.rstrip(b" \0")) :]
    _add_head(out, tag, vr, len(raw) + len(pad), syntax)
    out.add(raw, "value")
    out.add(pad, "padding" if vr in _TEXT else "value")
    if tag == 0xFFFCFFFC:
        out.names = ["trailing padding"] * len(out.names)
    return out


def part10(
    elements: list[Element],
    syntax: str = EXPLICIT,
    *,
    undefined: bool = False,
    lengths: bool = False,
    preamble: bytes = bytes(128),
    meta: Iterable[Element] = (),
    encoding: str = "",
    behind: bytes = b"",
) -> Written:
    """A whole file. ``encoding`` is that of the data set where the syntax alone does not tell it."""
    about = {tag: value for tag, _, value in elements if isinstance(value, bytes)}
    group: list[Element] = [
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", about.get(0x00080016, MR.encode())),
        (0x00020003, "UI", about[0x00080018]),
        (0x00020010, "UI", syntax.encode()),
        (0x00020012, "UI", b"1.2.40.0.13.1.1"),
        (0x00020013, "SH", b"dcm4che-2.0"),
        *meta,
    ]
    head = Written()
    for tag, vr, value in sorted(group):
        one = _element(tag, vr, value, EXPLICIT, False, False)
        if tag in (0x00020012, 0x00020013):
            one.names = ["implementation"] * len(one.names)
        head.join(one)
    out = Written()
    out.add(preamble, "preamble")
    out.add(b"DICM", "prefix")
    out.add(_head(0x00020000, "UL", 4, EXPLICIT), "group length, head")
    out.add(struct.pack("<L", len(head.data)), "group length")
    out.join(head)
    body = data_set(elements, encoding or (EXPLICIT if syntax == DEFLATED else syntax), undefined=undefined,
                    lengths=lengths)  # fmt: skip
    if syntax == DEFLATED:
        pack = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = pack.compress(bytes(body.data)) + pack.flush()
        out.add(packed, "deflated")
        out.add(b"\0" * (len(packed) % 2), "behind")
    else:
        out.join(body)
    out.add(behind, "behind")
    return out


def image(number: int = 1, *, study: str = "1.2.826.0.1.3680043.8.498.77") -> list[Element]:
    """A small MR image with a sequence and a private block."""
    return [
        (0x00080005, "CS", b"ISO_IR 100"),
        (0x00080016, "UI", MR.encode()),
        (0x00080018, "UI", f"{study}.1.{number}".encode()),
        (0x00080020, "DA", b"20240301"),
        (0x00080060, "CS", b"MR"),
        (0x0008103E, "LO", b"localizer"),
        (0x00081140, "SQ", [[(0x00081150, "UI", MR.encode()), (0x00081155, "UI", b"1.2.9")]]),
        (0x00100010, "PN", b"S1"),
        (0x00100020, "LO", b"E1"),
        (0x00190010, "LO", b"SOME MAKER"),
        (0x00191001, "LO", b"kept"),
        (0x0020000D, "UI", study.encode()),
        (0x0020000E, "UI", f"{study}.1".encode()),
        (0x00200011, "IS", b"1"),
        (0x00200013, "IS", str(number).encode()),
        (0x00280002, "US", struct.pack("<H", 1)),
        (0x00280004, "CS", b"MONOCHROME2"),
        (0x00280010, "US", struct.pack("<H", 4)),
        (0x00280011, "US", struct.pack("<H", 4)),
        (0x00280100, "US", struct.pack("<H", 16)),
        (0x00280101, "US", struct.pack("<H", 16)),
        (0x00280102, "US", struct.pack("<H", 15)),
        (0x00280103, "US", struct.pack("<H", 0)),
        (0x7FE00010, "OW", bytes((at * 7 + number) % 251 for at in range(32))),
    ]
