"""The VR that XNAT's engines take a tag for, where neither the file nor the script says one.

The dictionary is that of the library the engines write with (dcm4che 2, ``dictionary.xml`` and ``VRMap.vrOf``), kept as
tag numbers by VR in ``dictionary.csv``: tags newer than it are UN to the engine, whatever the standard says today.
"""

from __future__ import annotations

import functools
from pathlib import Path

UNKNOWN = "UN"


@functools.cache
def _vrs() -> dict[int, str]:
    known = {}
    for line in (Path(__file__).parent / "dictionary.csv").read_text(encoding="ascii").splitlines():
        vr, tags = line.split(",")
        for tag in tags.split():
            if tag[:4] in ("50XX", "60XX"):
                tag = tag.replace("XX", "00", 1)
            if "X" not in tag:
                known[int(tag, 16)] = vr
    return known


def vr_of(tag: int) -> str:
    """The VR of a tag, ``UN`` for what the engine does not know and for private elements; creators are LO."""
    if not tag & 0xFFFF:
        return "UL"
    if tag & 0x10000:
        return "LO" if not tag & 0xFF00 else UNKNOWN
    if tag & 0xFFE00000 in (0x50000000, 0x60000000):
        tag &= 0xFF00FFFF
    return _vrs().get(tag, UNKNOWN)
