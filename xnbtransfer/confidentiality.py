"""The attributes of DICOM's Basic Application Level Confidentiality Profile: PS3.15 table E.1-1, edition 2026c.

Kept in ``confidentiality.csv``, one row per attribute, made by ``docs/tables/confidentiality.py``, which names its
sources. ``action`` is what the profile does with it (D dummy, Z empty, X remove, U new UID), ``options`` are those that
keep or clean it instead, and ``kind`` is what a value that is still there means to a reviewer.
"""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path
from typing import NamedTuple

EDITION = "2026c"


class Attribute(NamedTuple):
    """One row of the table; an X in ``tag`` stands for any digit."""

    tag: str
    name: str
    vr: str
    action: str
    kind: str
    options: tuple[str, ...]
    options_from: str


@functools.lru_cache(maxsize=1)
def attributes() -> tuple[Attribute, ...]:
    """Every row, sorted by tag."""
    with (Path(__file__).parent / "confidentiality.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Attribute(**{**row, "options": tuple(row["options"].split())})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        )


@functools.lru_cache(maxsize=1)
def _exact() -> dict[str, Attribute]:
    return {row.tag: row for row in attributes() if "X" not in row.tag}


@functools.lru_cache(maxsize=1)
def _repeating() -> tuple[tuple[re.Pattern, Attribute], ...]:
    return tuple((re.compile(row.tag.replace("X", "[0-9A-F]")), row) for row in attributes() if "X" in row.tag)


@functools.lru_cache(maxsize=1 << 14)
def attribute(tag: str) -> Attribute | None:
    """The row of a tag written as eight upper-case hexadecimal digits; None where the profile leaves it alone.

    >>> attribute("00100030").name, attribute("60023000").kind, attribute("00280010")
    ("Patient's Birth Date", 'graphics', None)
    """
    found = _exact().get(tag)
    if found is None and tag[:2] in ("50", "60"):
        found = next((row for pattern, row in _repeating() if pattern.fullmatch(tag)), None)
    return found
