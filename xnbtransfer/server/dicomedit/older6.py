"""What DicomEdit 6.3, 6.4 and 6.5 did otherwise than 6.6, where it was recorded (``differs_in`` of the cases)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import dates, functions6, java, texts
from .dataset import SIZES, DataSet, Element, dictionary, is_creator
from .errors import Failed, Refused
from .functions6 import FUNCTIONS, Given, as_text
from .parser6 import path_of
from .paths import Path, delete, holder_of, leaves, present

if TYPE_CHECKING:
    from .engine6 import Run

_KNOWN = [
    "alterPixels", "concatenate", "delete", "format", "getURL", "hashUID", "lookup", "lowercase", "mapReferencedUIDs",
    "mapUID", "match", "newUID", "replace", "retainPrivateTags", "set", "shiftDateByIncrement",
    "shiftDateTimeByIncrement", "shiftDateTimeSequenceByIncrement", "substring", "uppercase",
]


def functions(release: tuple[int, int]) -> dict[str, Callable[[Run, list[Given]], Given]]:
    """The functions of a release before 6.6, whose arguments are values: paths were read."""
    return {name: FUNCTIONS[name] for name in _KNOWN} | {
        "concatenate": _concatenate,
        "mapReferencedUIDs": _map_referenced,
        "set": _set,
        "shiftDateByIncrement": _shift_date,
        "shiftDateTimeByIncrement": _shift_date_time,
        "shiftDateTimeSequenceByIncrement": _shift_sequence,
    }


def _concatenate(run: Run, given: list[Given]) -> Given:
    return run.budget.joined(["null" if as_text(one) is None else str(as_text(one)) for one in given])


def _shift_date(run: Run, given: list[Given]) -> Given:
    if len(given) != 2:
        raise Failed("usage: shiftDateByIncrement[src-date increment-in-days ]")
    return dates.shifted_before_6_6(as_text(given[0]), java.parse_int(as_text(given[1])))


def _shift_date_time(run: Run, given: list[Given]) -> Given:
    if len(given) != 2:
        raise Failed("usage: shiftDateTimeByIncrement[src-date increment-in-seconds ]")
    return _seconds(run, as_text(given[0]), java.parse_int(as_text(given[1])))


def _seconds(run: Run, text: str | None, increment: int) -> str | None:
    return dates.shifted(text, increment, "seconds") if run.release >= (6, 4) else dates.shifted_in_6_3(text, increment)


def _paths(given: list[Given]) -> list[Path]:
    try:
        return [path_of(as_text(one) or "") for one in given]
    except Refused as problem:
        raise Failed(str(problem)) from None


def _map_referenced(run: Run, given: list[Given]) -> Given:
    _paths(given[1:])
    return functions6.map_referenced(run, given)


def _shift_sequence(run: Run, given: list[Given]) -> Given:
    if len(given) < 2:
        raise Failed("shiftDateTimeSequenceByIncrement illegal arguments")
    increment, paths = java.parse_int(as_text(given[0])), _paths(given[1:])
    for place in leaves(run.dataset):
        if any(path.matches(place.text) for path in paths):
            text = _seconds(run, texts.show_element(place.holder, place.element), increment)
            texts.put(place.holder, place.tag, text, vr="LO")
    return functions6.VOID


def _set(run: Run, given: list[Given]) -> Given:
    if len(given) != 2:
        raise Failed("Error evaluating set")
    numbers = functions6.numbers_of(as_text(given[0]))
    if len(numbers) % 2 == 0:
        raise Failed("an item holds no value")
    holder = holder_of(run.dataset, numbers, create=True)
    assert holder is not None
    texts.put(holder, numbers[-1], as_text(given[1]), vr="LO")
    return functions6.VOID


def of_many(run: Run, path: Path) -> Given:
    """A path that means many, read: nothing up to 6.4."""
    return functions6.VOID


def put(release: tuple[int, int], holder: DataSet, tag: int, text: str | None, *, present: bool) -> None:
    """Up to 6.5 the dictionary says how, whatever the element was, but for ``?=`` in 6.5; 6.3 sets bytes into
    anything."""
    if present and release >= (6, 5):
        texts.put(holder, tag, text)
        return
    vr = dictionary(tag)
    if release < (6, 4):
        _put_bytes(holder, tag, vr, text or "")
    elif vr in ("OB", "OW", "OF"):
        raise Failed("UnsupportedOperationException")
    else:
        texts.put(holder, tag, text, vr=vr)


def _put_bytes(holder: DataSet, tag: int, vr: str, text: str) -> None:
    raw = text.encode(texts.DEFAULT, "replace")
    size = SIZES.get(vr, 1)
    if holder.big and len(raw) % size:
        raise Failed(f"len = {len(raw)}")
    if holder.big:  # ``VR.toggleEndian`` as the file is written
        raw = b"".join(raw[at : at + size][::-1] for at in range(0, len(raw), size))
    holder[tag] = Element(vr, raw)


def assign(run: Run, path: Path, text: str | None) -> None:
    """``:=`` in 6.3: a path that means many sets nothing, and does not fail."""
    if run.release < (6, 4) and any(tag.wild or tag.item == "%" for tag in path.tags):
        return
    functions6.assign(run, path, text)


def assign_present(run: Run, path: Path, text: str | None) -> None:
    """``?=`` up to 6.4: one element where it is there; 6.3 goes into no items."""
    if any(tag.wild for tag in path.tags):
        if run.release < (6, 4):
            return
        raise Failed(f"tagPath.length: {len(path.tags)}")
    there = present(run.dataset, path)
    if text is not None and there and (len(path.tags) == 1 or run.release >= (6, 4)):
        functions6.assign(run, path, text)


def delete_and_tidy(dataset: DataSet, path: Path) -> None:
    """Deleting in 6.3: items, sequences and private blocks that are empty afterwards go, too."""
    before = _items(dataset)
    delete(dataset, path)
    _tidy(dataset, before)
    for tag in dataset.tags(meta=False):
        if is_creator(tag) and not any(one & 0xFFFF0000 | one >> 8 & 0xFF == tag for one in dataset if one & 0xFF00):
            del dataset[tag]


def _items(dataset: DataSet) -> set[int]:
    found = set()
    for element in dataset.values():
        for item in element.items or ():
            if item:
                found.add(id(item))
            found |= _items(item)
    return found


def _tidy(dataset: DataSet, full_before: set[int]) -> None:
    for tag in dataset.tags(meta=False):
        element = dataset[tag]
        if element.items is None:
            continue
        for item in element.items:
            _tidy(item, full_before)
        kept = [item for item in element.items if item or id(item) not in full_before]
        if len(kept) != len(element.items):
            element.items[:] = kept
            if not kept:
                del dataset[tag]
