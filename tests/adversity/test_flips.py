"""Flipped bits at rest: whatever no digest sees is in a class that says nothing of the file (``xnbtransfer.dicom``).

Every bit of small files in all transfer syntaxes and with all value representations, and random bits of the real files
that pydicom's wheel carries. pydicom is the public reader: it reads the same after a flip, or the flip was seen.
``XNBTRANSFER_TRIES`` says how many random flips are tried, ``XNBTRANSFER_SEED`` where they begin; figures are printed.
"""

from __future__ import annotations

import collections
import io
import os
import random
import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from part10 import BIG, DEFLATED, EXPLICIT, IMPLICIT, JPEG_2000, RLE, Written, image, part10

from xnbtransfer.dicom import read_content
from xnbtransfer.errors import DicomError
from xnbtransfer.foretell import compare

TRIES = int(os.environ.get("XNBTRANSFER_TRIES", "600"))
SEED = int(os.environ.get("XNBTRANSFER_SEED", "1"))
KEY = b"the key of one run"
# What the docstring of ``dicom`` names, in the words of ``part10``.
HARMLESS = frozenset(
    (
        "preamble",
        "group length, head",
        "group length",
        "trailing padding",
        "padding",
        "reserved",
        "behind",
        "implementation",
    )
)
SMALL = int(os.environ.get("XNBTRANSFER_TRIES", "0")) >= 10_000
VALUES = {
    "AE": b"STATION", "AS": b"031Y", "AT": struct.pack("<HH", 0x10, 0x20), "CS": b"ORIGINAL", "DA": b"20240301",
    "DS": b"1.5", "DT": b"20240301120000", "FD": struct.pack("<d", 1.5), "FL": struct.pack("<f", 1.5), "IS": b"12",
    "LO": b"text", "LT": b"  long text", "OB": b"\0\1\2 ", "OD": struct.pack("<d", 2.5), "OF": struct.pack("<f", 2.5),
    "OL": struct.pack("<L", 7), "OV": struct.pack("<Q", 7), "OW": b"\1\2\3\4", "PN": b"Some^One", "SH": b"odd",
    "SL": struct.pack("<l", -2), "SS": struct.pack("<h", -2), "ST": b"short text", "SV": struct.pack("<q", -2),
    "TM": b"120000", "UC": b"characters", "UI": b"1.2.3", "UL": struct.pack("<L", 32), "UN": b"\x20\0\x20\0",
    "UR": b"http://x/", "US": struct.pack("<H", 0x20), "UT": b"unlimited text", "UV": struct.pack("<Q", 32),
}  # fmt: skip


def everything() -> list:
    """An image with an element of each VR, private ones with odd and even text, and the same in an item."""
    maker = [(0x00190010, "LO", b"SOME MAKER")]
    maker += [(0x00191000 + at, vr, value) for at, (vr, value) in enumerate(sorted(VALUES.items()))]
    maker += [(0x00191080, "SQ", [[(0x00080104, "LO", b"odd")], []]), (0x001910F0, "LO", b"A ")]
    public = [(0x00080055, "AE", b"STATION"), (0x00100010, "PN", b"Some^One"), (0x00101010, "AS", b"031Y"),
              (0x00280106, "US", b"\x20\0"), (0x00280009, "AT", VALUES["AT"]),
              (0x00080120, "UR", b"http://x/")]  # fmt: skip
    inner = sorted([*public, *maker])
    made = [*image(), *public, *maker, (0x00081115, "SQ", [inner, []]), (0xFFFCFFFC, "OB", b"\0\0\0\0")]
    return sorted({tag: (tag, vr, value) for tag, vr, value in made}.values())


def small_files() -> dict[str, Written]:
    found = {}
    for name, syntax in (("explicit", EXPLICIT), ("implicit", IMPLICIT), ("big endian", BIG), ("deflated", DEFLATED)):
        found[name] = part10(everything(), syntax, lengths=True, preamble=b"II*\0" * 32)
        found[f"{name}, undefined"] = part10(everything(), syntax, undefined=True)
    packed = [(0x7FE00010, "OB", [struct.pack("<LL", 0, 14), b"frame 1.", b"frame 2!"])]
    frames = [one for one in image() if one[0] != 0x7FE00010] + [(0x00280008, "IS", b"2")]
    for name, syntax in (("RLE", RLE), ("JPEG 2000", JPEG_2000)):
        found[name] = part10(sorted(frames) + packed, syntax, encoding=EXPLICIT, behind=bytes(9))
    return found


def content(data: bytes):
    try:
        return read_content(data, key=KEY)
    except DicomError:
        return None


def seen(before, data: bytes) -> bool:
    """Whether anybody is told that ``data`` is another file; what the import is known to change is told, too."""
    after = content(data)
    if after is None:
        return True
    equal, changes = compare(before, after, None, key=KEY)
    return not equal or bool(changes)


def reading(data: bytes):
    """All that pydicom reads of a file, or None: each element with its VR and value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(io.BytesIO(data))
            return _elements(ds.file_meta), _elements(ds)
        except Exception:  # noqa: BLE001 - whatever a reader says of a damaged file
            return None


def _elements(ds) -> list:
    found = []
    for tag in sorted(ds.keys()):
        if tag.element == 0 or tag in (0x00020012, 0x00020013, 0xFFFCFFFC):
            continue
        element = ds[tag]
        value = [_elements(item) for item in element.value] if element.VR == "SQ" else repr(element.value)
        found.append((tag, element.VR, value))
    return found


def flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@pytest.mark.parametrize("name", sorted(small_files()))
def test_every_bit_of_a_small_file_is_seen_or_harmless(name):
    file = small_files()[name]
    data = bytes(file.data)
    before, read, unseen = read_content(data, key=KEY), reading(data), collections.Counter()
    assert read is not None
    bits = range(128 * 8 if not SMALL else 0, len(data) * 8)
    step = 1 if SMALL or len(data) < 1500 else 5
    tried = 0
    for bit in bits[SEED % step :: step]:
        damaged = flipped(data, bit)
        tried += 1
        if not seen(before, damaged):
            name_of_byte = file.names[bit // 8]
            unseen[name_of_byte] += 1
            assert reading(damaged) == read, (bit, name_of_byte)
            # A bit of a deflate stream is one of a group length and so on, or stands behind its end.
            assert name_of_byte in HARMLESS or name_of_byte == "deflated", (bit, name_of_byte)
    print(f"{name}: {tried} tried, 0 missed; harmless: {dict(unseen)}")


@pytest.mark.parametrize("vr", sorted(VALUES))
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, IMPLICIT])
def test_every_bit_of_an_element_is_seen(vr, syntax):
    """Padding apart; a private one and, in a private block, one of a maker that pydicom's dictionary knows."""
    elements = sorted([*image(), (0x00190011, "LO", b"SIEMENS MR HEADER"), (0x0019110C, vr, VALUES[vr])])
    file = part10(elements, syntax)
    data = bytes(file.data)
    before, read = read_content(data, key=KEY), reading(data)
    start = data.index(struct.pack((">" if syntax == BIG else "<") + "HH", 0x0019, 0x110C))
    for bit in range(start * 8, (start + 12 + len(VALUES[vr]) + len(VALUES[vr]) % 2) * 8):
        damaged = flipped(data, bit)
        if not seen(before, damaged):
            assert file.names[bit // 8] in HARMLESS, bit
            assert reading(damaged) == read, bit


def real_files() -> dict[str, bytes]:
    found = {}
    folder = Path(pydicom.__file__).parent / "data"
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() and path.stat().st_size > 132 else b""
        if data[128:132] == b"DICM" and content(data) is not None and reading(data) is not None:
            found[path.relative_to(folder).as_posix()] = data
    return found


def test_random_bits_of_real_files_are_seen_or_harmless():
    dice, files = random.Random(SEED), real_files()
    assert len(files) > 80
    names = sorted(files)
    before = {name: read_content(files[name], key=KEY) for name in names}
    missed, unseen = [], 0
    for at in range(TRIES):
        name = names[at % len(names)]
        data = files[name]
        # a header is small beside pixels: two of three flips are there
        reach = len(data) if at % 3 == 0 else min(len(data), 4096)
        bit = dice.randrange(132 * 8, reach * 8)
        damaged = flipped(data, bit)
        if not seen(before[name], damaged):
            unseen += 1
            if reading(damaged) != reading(data):
                missed.append((name, bit))
    print(f"real files: {TRIES} tried, {len(missed)} missed, {unseen} harmless")
    assert not missed


def lawful(file: list, syntax: str, dice: random.Random) -> bytes:
    """The same file as XNAT's importer may leave it: what a live 1.8.11 changed without any script."""
    changed = file if syntax == IMPLICIT else _unknown([file])[0]
    return bytes(part10(changed, syntax, undefined=True).data) + bytes(dice.choice((0, 0, 2, 512)))


def _unknown(value):
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [[(tag, "UN" if vr == "UR" else vr, _unknown(inner)) for tag, vr, inner in item] for item in value]
    return value


def test_what_the_importer_may_change_is_no_alarm():
    dice, alarms, tried = random.Random(SEED), [], max(40, TRIES // 20)
    for at in range(tried):
        syntax = (EXPLICIT, IMPLICIT, BIG)[at % 3]
        elements = [one for one in everything() if one[0] >> 16 in (8, 0x20, 0x28, 0x7FE0) or dice.random() < 0.7]
        data = bytes(part10(elements, syntax, lengths=at % 2 == 0, preamble=dice.randbytes(128)).data)
        before, after = read_content(data, key=KEY), content(lawful(elements, syntax, dice))
        equal, changes = compare(before, after, None, key=KEY) if after else (False, ())
        if not equal or any(not change.explained for change in changes):
            alarms.append((at, [change for change in changes if not change.explained]))
    print(f"clean pairs: {tried} tried, {len(alarms)} false alarms")
    assert not alarms
