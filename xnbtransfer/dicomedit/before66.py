"""What DicomEdit 6.3, 6.4 and 6.5 do otherwise than 6.6, where it was recorded (``differs_in`` of the cases).

Before 6.6 an argument of a function is a value, so a tag is read; a value is written in the VR of the dictionary,
whatever the element had (6.5 keeps it behind ``?=``); a failure leaves the file as it is. 6.3 writes the text's bytes
into every VR, sets nothing in items behind ``?=``, and tidies up after a deletion. Called by :mod:`.run6`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from . import paths
from .dataset import EXPLICIT_BIG, PIXEL_DATA, WORDS, Dataset, Element
from .dates import Unreadable, shifted
from .functions6 import FUNCTIONS, VOID, Value, direct, shown
from .tree import Path
from .values import Drawn, java_int, text_of
from .words import Failed, NotForetold, Refused

if TYPE_CHECKING:
    from .run6 import Run

_SAME = ("alterPixels", "delete", "format", "getURL", "hashUID", "lookup", "lowercase", "mapUID", "match", "newUID",
         "replace", "retainPrivateTags", "substring", "uppercase")  # fmt: skip


def _needed(text: str | None) -> str:
    if text is None:
        raise Failed("a value is missing")
    if isinstance(text, Drawn):
        raise NotForetold("what is drawn at random is worked on")
    return text


def _concatenate(run: Run, values: list[Value]) -> Value:
    texts = [shown(value) for value in values]
    if any(isinstance(text, Drawn) for text in texts):
        return Drawn("")
    return "".join("null" if text is None else text for text in texts)


def _tests(run: Run, values: list[Value]) -> list[Callable[[str], object]]:
    """Paths that are given as texts."""
    found = []
    for value in values:
        try:
            found.append(paths.matcher(run.path_of_text(_needed(shown(value))).parts))
        except Refused:
            raise Failed("what should be a tag is none") from None
    return found


def _map_references(run: Run, values: list[Value]) -> Value:
    _tests(run, values[1:])
    return FUNCTIONS["mapReferencedUIDs"](run, values)


def _set(run: Run, values: list[Value]) -> Value:
    """The element becomes LO, whatever it is."""
    if len(values) != 2:
        raise Failed("a function has the wrong number of arguments")
    run.put_at(direct(_needed(shown(values[0]))), shown(values[1]), "LO")
    return VOID


def _shift_date(run: Run, values: list[Value]) -> Value:
    """``SimpleDateFormat`` with the pattern ``yyyyMMdd``: empty text stays, what follows a date is passed over."""
    if len(values) != 2:
        raise Failed("a function has the wrong number of arguments")
    text, increment = shown(values[0]), java_int(_needed(shown(values[1])))
    if not text:
        return text
    moment = _day_of(_needed(text))
    try:
        return f"{moment + timedelta(days=increment):%Y%m%d}".rjust(8, "0")
    except OverflowError:
        raise NotForetold("a date is shifted beyond the years 1 to 9999") from None


def _day_of(text: str) -> datetime:
    """A day, lenient: month 13 is January of the next year. Year and month have their width, the day what follows."""
    found = re.match(r"([0-9]{4})([0-9]{2})([0-9]+)", text)
    if not found:
        if re.match(r"[0-9]{0,5}[ \t-]", text) or (text[0].isdigit() and not text.isascii()):
            raise NotForetold("a text that is no date may be read as one")
        raise Failed("a text is no date")
    year, month, day = (int(part) for part in found.groups())
    if not year or day > 10_000:
        raise NotForetold("a date is far from any")
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    if not 1 <= year <= 9999:
        raise NotForetold("a date is far from any")
    return datetime(year, month, 1) + timedelta(days=day - 1)


def _shift_date_time(run: Run, values: list[Value]) -> Value:
    if len(values) != 2:
        raise Failed("a function has the wrong number of arguments")
    text = shown(values[0])
    if isinstance(text, Drawn):
        raise NotForetold("what is drawn at random is worked on")
    return _seconds(run, text, java_int(_needed(shown(values[1]))))


def _seconds(run: Run, text: str | None, increment: int) -> str | None:
    return shifted(text, increment, "seconds") if run.dialect >= (6, 4) else _in_full(text, increment)


def _in_full(text: str | None, increment: int) -> str | None:
    """6.3: of a date or time that is not whole the start is taken, and the answer is whole, in the server's time zone.

    Measured on a server in UTC; digits beyond a month's or a day's end count on (``235959`` is month 59 of 2359).
    """
    if not text:
        return text
    if re.fullmatch(r"[0-9]{14}(\.[0-9]{1,6})?([+-][0-9]{4})?", text):
        return shifted(text, increment, "seconds")
    found = re.fullmatch(r"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?([+-][0-9]{4})?", text)
    if not found:
        raise NotForetold("a text that is no date may be read as one")
    year, month, day, hour, minute = int(found[1]), *(int(found[at] or at < 4) for at in range(2, 6))
    zone = found[6] or "+0000"
    minute -= int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[3:]))
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    if not 1 <= year <= 9998:
        raise NotForetold("a date is far from any")
    start = datetime(year, month, 1) + timedelta(days=day - 1, hours=hour, minutes=minute)
    try:
        return f"{start + timedelta(seconds=increment):%Y%m%d%H%M%S}".rjust(14, "0")
    except OverflowError:
        raise NotForetold("a date is shifted beyond the years 1 to 9999") from None


def _shift_sequence(run: Run, values: list[Value]) -> Value:
    if len(values) < 2:
        raise Failed("a function has too few arguments")
    increment, tests = java_int(_needed(shown(values[0]))), _tests(run, values[1:])

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        if any(test(path) for test in tests):
            text = _needed(text_of(element, dataset))
            try:
                new = _seconds(run, text, increment)
            except Unreadable:
                raise NotForetold("what an older engine makes of a value that is no date is not known") from None
            run.write(element.tag, new, dataset, "LO")

    paths.walk(run.root, leaf)
    return VOID


OLDER = {name: FUNCTIONS[name] for name in _SAME} | {
    "concatenate": _concatenate,
    "mapReferencedUIDs": _map_references,
    "set": _set,
    "shiftDateByIncrement": _shift_date,
    "shiftDateTimeByIncrement": _shift_date_time,
    "shiftDateTimeSequenceByIncrement": _shift_sequence,
}


def is_many(path: Path) -> bool:
    """Whether the engine takes a path for one of several elements; of another with wildcards it fails to read numbers.

    An item number that is not said does not count (``TagSequence``), and a wildcard as the last digit of an element
    does.
    """
    return any(
        part.wildcard or (part.item == "%" and not part.unsaid) or part.element[-1:] in ("X", "x", "@", "#")
        for part in path.parts
    )


def read_many(path: Path) -> bool:
    """The same of a path that is read."""
    if not is_many(path) and any(set(part.group + part.element) & set("Xx@#") for part in path.parts):
        raise NotForetold("what an engine before 6.5 reads at a tag with a wildcard in its midst was not measured")
    return is_many(path)


def assign_if_exists(run: Run, target: Path, text: str | None) -> None:
    """``?=`` up to 6.4: one element, where it is there; 6.3 goes into no items, and a missing value assigns nothing."""
    if any(part.wildcard for part in target.parts):
        if run.dialect < (6, 4) and len(target.parts) > 1:
            return
        if run.dialect < (6, 4):
            raise NotForetold("what 6.3 sets at a wildcard alone was not measured")
        raise Failed("a path with a wildcard cannot be set if it exists")
    if not paths.is_singular(target):
        raise Failed("a path of several elements cannot be set if it exists")
    if text is None or (len(target.parts) > 1 and run.dialect < (6, 4)):
        return
    if paths.present(target, run.root):
        run.put_at(paths.resolve(target, run.root, create=True), text, "UN")


def write(run: Run, tag: int, text: str | None, dataset: Dataset, vr: str) -> bool:
    """Set an element as engines before 6.6 do; whether that was done, or is as in 6.6."""
    if run.dialect >= (6, 4):
        if vr in ("OB", "OW", "OF"):
            raise Failed(f"a text cannot be written as {vr}")
        return False
    if text is None or isinstance(text, Drawn):
        return False
    if vr == "SQ":
        raise NotForetold("a text is written into a sequence, which no reader takes")
    raw = text.encode("utf-8", "replace")
    if vr in WORDS and run.root.text(0x00020010) == EXPLICIT_BIG and len(raw) % WORDS[vr]:
        raise Failed(f"a text has no whole number of words for {vr}")
    dataset.put(Element(tag, vr, raw))
    return True


def filled(dataset: Dataset) -> set[int]:
    """The items that hold something, at any depth."""
    found: set[int] = set()
    for element in dataset:
        for item in element.items or ():
            found |= ({id(item)} if item.elements else set()) | filled(item)
    return found


def tidy(dataset: Dataset, before: set[int]) -> None:
    """6.3 takes away what a deletion has emptied: items, their sequences, and outside of items private creators."""
    for element in dataset:
        if not element.items or element.tag == PIXEL_DATA:
            continue
        for item in element.items:
            tidy(item, before)
        kept = [item for item in element.items if item.elements or id(item) not in before]
        if len(kept) < len(element.items):
            element.items[:] = kept
            if not kept:
                dataset.remove(element.tag)
    for element in dataset if dataset.parent is None else ():
        if paths.is_creator(element.tag) and not any(
            other & 0xFF00 and other & 0xFFFF0000 | other >> 8 & 0xFF == element.tag for other in dataset.elements
        ):
            dataset.remove(element.tag)
