"""The functions of DicomEdit 6.6 (dicom-edit6 sources: ``org.nrg.dicom.dicomedit.functions``).

Each takes its run and its arguments as they stand: text, ``None`` for what is missing, a list, or a path, which most
functions read and some do not. What a function gives back that gives nothing back is `VOID`, which cannot be assigned,
or the text "VOID", which can.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import dates, java, patterns, retain, texts
from .dataset import PIXELS, dictionary
from .errors import Failed, Refused, RejectedFile
from .parser6 import path_of
from .paths import Path, delete, holder_of, leaves, locate, present

if TYPE_CHECKING:
    from .engine6 import Run

Given = Any
"""A value of the language: str, None, bool, list, Path or VOID."""
DOB, STUDY_DATE, AGE = 0x00100030, 0x00080020, 0x00101010
_DAYS_IN_89_YEARS = round(365.24 * 89)
_ELEMENT = re.compile(r"\(([0-9A-Fa-f]{4})\s*,\s*([0-9A-Fa-f]{4})\)(?:\[(\d{1,9})\])?")


class _Void:
    def __repr__(self) -> str:
        return "VOID"


VOID = _Void()


def as_text(value: Given) -> str | None:
    """A value as the language writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join("null" if as_text(one) is None else str(as_text(one)) for one in value) + "]"
    return value.text() if isinstance(value, Path) else "VOID"


def truth(value: Given) -> bool:
    """Whether a value is true: the word, in any case; `Failed` for what is null (``AbstractMizerValue.asBoolean``)."""
    return value if isinstance(value, bool) else _some(as_text(value)).lower() == "true"


def hash_uid(text: str) -> str:
    """``2.25.`` and the name-based UUID (version 5, no name space) of ``text``.

    >>> hash_uid("1.2.3")
    '2.25.148370922854076938159295778886134140470'
    """
    digest = bytearray(hashlib.sha1(text.encode(texts.DEFAULT), usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def new_uid(root: str = "2.25") -> str:
    """A random UID below ``root``."""
    return f"{root.rstrip('.')}.{uuid.uuid4().int}"


def _read(run: Run, value: Given) -> str | None:
    return run.read(value) if isinstance(value, Path) else as_text(value)


def _some(text: str | None) -> str:
    if text is None:
        raise Failed("internal error: something is null")
    return text


def _at(given: list[Given], index: int) -> Given:
    if index >= len(given):
        raise Failed(f"Index {index} out of bounds for length {len(given)}")
    return given[index]


def _number(value: Given) -> int:
    return java.parse_int(as_text(value))


def _usage(name: str, given: list[Given], *counts: int) -> None:
    if len(given) not in counts:
        raise Failed(f"Error evaluating {name}")


def _flat(given: list[Given]) -> list[Given]:
    return [inner for one in given for inner in (_flat(one) if isinstance(one, list) else [one])]


def _paths(given: list[Given]) -> list[Path]:
    """The paths among the arguments, written as paths or as texts (``getTagPaths``)."""
    found = []
    for one in _flat(given):
        if isinstance(one, Path):
            found.append(one)
        elif isinstance(one, str):
            try:
                found.append(path_of(one))
            except Refused as problem:
                raise Failed(str(problem)) from None
    return found


def numbers_of(text: str | None) -> tuple[int, ...]:
    """A path in the plain notation that ``set`` and ``delete`` take: numbers only, private blocks as they stand."""
    found: list[int] = []
    for part in _some(text).split("/"):
        match = _ELEMENT.fullmatch(part.strip())
        if match is None:
            raise Failed(f"Failed to parse at 1:0 due to mismatched input {part!r}")
        found.append(int(match[1] + match[2], 16))
        if match[3] is not None:
            found.append(int(match[3]))
    return tuple(found)


def concatenate(run: Run, given: list[Given]) -> Given:
    return run.budget.joined([_some(_read(run, one)) for one in given])


def format_(run: Run, given: list[Given]) -> Given:
    _at(given, 0)
    pattern, texts_ = _some(as_text(given[0])), [_read(run, one) for one in _flat(given[1:])]
    run.budget.for_message(pattern, texts_)
    return java.message(pattern, texts_)


def lowercase(run: Run, given: list[Given]) -> Given:
    _usage("lowercase", given, 1)
    return _some(_read(run, given[0])).lower()


def uppercase(run: Run, given: list[Given]) -> Given:
    return _some(_read(run, _at(given, 0))).upper()


def substring(run: Run, given: list[Given]) -> Given:
    text = _read(run, _at(given, 0))
    begin, end = _number(_at(given, 1)), _number(_at(given, 2))
    if not 0 <= begin <= end <= len(_some(text)):
        raise Failed(f"begin {begin}, end {end}, length {len(_some(text))}")
    return _some(text)[begin:end]


def replace(run: Run, given: list[Given]) -> Given:
    text, old, new = _read(run, _at(given, 0)), as_text(_at(given, 1)), as_text(_at(given, 2))
    return run.budget.replaced(_some(text), _some(old), _some(new))


def match(run: Run, given: list[Given]) -> Given:
    _usage("match", given, 3)
    text, index = _read(run, given[0]), _number(given[2])
    pattern = patterns.compiled(_some(as_text(given[1])))
    groups = pattern.find(_some(text))
    if groups is None:
        return None
    if not 0 <= index <= pattern.groups:
        raise Failed(f"No group {index}")
    span = groups[index]
    return None if span is None else _some(text)[span[0] : span[1]]


def is_match(run: Run, given: list[Given]) -> Given:
    _usage("ismatch", given, 2)
    text, pattern = _read(run, given[0]), patterns.compiled(_some(as_text(given[1])))
    return pattern.matches(_some(text)) is not None


def normalize_string(run: Run, given: list[Given]) -> Given:
    _usage("normalizeString", given, 1, 2)
    text = _read(run, given[0])
    other = as_text(given[1]) if len(given) == 2 else "_"
    if text is None:
        return None
    if re.search(r"\$|\\", _some(other)):
        raise Failed("Illegal group reference")
    return "".join(char if char.isascii() else _some(other) for char in text)


def value_at(run: Run, given: list[Given]) -> Given:
    return _read(run, _at(given, 0))


def equals(run: Run, given: list[Given]) -> Given:
    told = [as_text(one) for one in given]
    return len(told) > 1 and None not in told and len(set(told)) == 1


def is_present(run: Run, given: list[Given]) -> Given:
    for one in _flat(given):
        if not isinstance(one, Path) or not one.singular:
            raise Failed(f"Argument is not a singular tagPath: {as_text(one)}")
        if not present(run.dataset, one):
            return False
    return True


def reject(run: Run, given: list[Given]) -> Given:
    if (not given or truth(given[0])) and not run.keeps_all:
        raise RejectedFile(f"Rejected: SOPInstanceUID {texts.show(run.dataset, 0x00080018)}")
    return VOID


def hash_uid_of(run: Run, given: list[Given]) -> Given:
    _usage("hashUID", given, 1, 2)
    text = _read(run, given[0])
    return None if text is None else hash_uid(text)


def hash_uid_list(run: Run, given: list[Given]) -> Given:
    paths = _paths(given)
    for place in leaves(run.dataset):
        if not place.is_creator and any(path.matches(place.text) for path in paths):
            text = texts.show_element(place.holder, place.element)
            whole = place.element.vr in (*texts.ONE_TEXT, "OB", "UN")  # what has no several values (``VR.toStrings``)
            hashed = "\\".join(hash_uid(one) for one in ([text] if whole else text.split("\\"))) if text else ""
            texts.put(place.holder, place.tag, hashed)
    return VOID


def new_uid_of(run: Run, given: list[Given]) -> Given:
    return new_uid()


def map_uid(run: Run, given: list[Given]) -> Given:
    _usage("mapUID", given, 2)
    root = _some(as_text(given[1]))
    return run.maps.uids.setdefault(as_text(given[0]), new_uid(root))


def map_referenced(run: Run, given: list[Given]) -> Given:
    if len(given) < 2:
        raise Failed("class String cannot be cast to class [Ljava.lang.Object;")
    root = _some(as_text(given[0]))

    def mapped(text: str | None) -> str:
        return run.maps.referenced.setdefault(text, new_uid(root))

    _each_text_path(run, given[1:], mapped)
    return VOID


def _each_text_path(
    run: Run,
    given: list[Given],
    change: Callable[[str | None], str | None],
    *,
    fits: Callable[[str | None], bool] = lambda text: True,
) -> None:
    """Change each leaf that a path given as text means and that fits; what is no path is passed over."""
    paths = []
    for one in given:
        try:
            paths.append(path_of(as_text(one) or ""))
        except Refused:
            continue
    for place in leaves(run.dataset):
        if any(path.matches(place.text) for path in paths):
            text = texts.show_element(place.holder, place.element)
            if fits(text):
                texts.put(place.holder, place.tag, change(text))


def _date_of(run: Run, name: str, value: Given, kinds: tuple[str, ...]) -> str | None:
    if not isinstance(value, Path):
        return as_text(value)
    if not value.singular:
        raise Failed(f"Error evaluating {name}")
    numbers = tuple(number for tag in value.tags for number in ((tag.tag, tag.index) if tag.sequence else (tag.tag,)))
    holder = holder_of(run.dataset, numbers, create=False)
    tag = numbers[-1]
    vr = holder[tag].vr if holder is not None and tag in holder else dictionary(tag)
    if vr not in kinds:
        raise Failed(f"Error evaluating {name}")
    return run.read(value)


def shift_date(run: Run, given: list[Given]) -> Given:
    _usage("shiftDateByIncrement", given, 2, 3)
    text = _date_of(run, "shiftDateByIncrement", given[0], ("DA",))
    return dates.shifted(text, _number(given[1]), as_text(given[2]) if len(given) == 3 else "days")


def shift_date_time(run: Run, given: list[Given]) -> Given:
    _usage("shiftDateTimeByIncrement", given, 2, 3)
    text = _date_of(run, "shiftDateTimeByIncrement", given[0], ("DA", "DT"))
    return dates.shifted(text, _number(given[1]), as_text(given[2]) if len(given) == 3 else "seconds")


def shift_list(run: Run, given: list[Given]) -> Given:
    _usage("shiftDateTimeListByIncrement", given, 3)
    if not isinstance(given[0], list):
        raise Failed("internal error: something is null")
    paths, increment, units = _paths(given[0]), _number(given[1]), as_text(given[2])
    for place in leaves(run.dataset):
        for path in paths:
            if path.matches(place.text):
                text = texts.show(place.holder, place.tag)
                texts.put(place.holder, place.tag, dates.shifted(text, increment, units) if text else text)
    return "VOID"


def shift_sequence(run: Run, given: list[Given]) -> Given:
    if len(given) < 2:
        raise Failed("shiftDateTimeSequenceByIncrement illegal arguments")
    increment = _number(given[0])

    _each_text_path(run, given[1:], lambda text: dates.shifted(text, increment, "seconds"), fits=dates.is_one)
    return VOID


def scale_age(run: Run, given: list[Given]) -> Given:
    """``scalePatientAgeAndDobFromStudyDate``: who is over 89 becomes 89, by birth date and by age."""
    born, seen = (_moment(run, tag) for tag in (DOB, STUDY_DATE))
    if born is not None:
        if seen is None:
            return "VOID"
        shift = int((seen.seconds - born.seconds) / 86400) - _DAYS_IN_89_YEARS
        if shift > 0:
            _change(run, DOB, lambda text: dates.shifted(text, shift, "days"))
    if _years(texts.show(run.dataset, AGE)) > 89:
        _change(run, AGE, lambda text: "089Y")
    return "VOID"


def _moment(run: Run, tag: int) -> dates.Moment | None:
    text = texts.show(run.dataset, tag)
    if not text or not re.fullmatch(r"\d{4,14}(\.\d{1,6})?([+-]\d{4})?", text):
        return None
    return dates.moment(text)[0]


def _years(text: str | None) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?\d+", text[:3]) or text[3:4] not in ("Y", "M", "W", "D"):
        raise Failed(f"Error parsing age in tag {AGE}: '{text}'")
    return int(text[:3]) if text[3] == "Y" else 0


def _change(run: Run, tag: int, change: Callable[[str], str]) -> None:
    for place in leaves(run.dataset):
        if place.tag == tag:
            texts.put(place.holder, tag, change(texts.show_element(place.holder, place.element)))


def remove_tags(run: Run, given: list[Given]) -> Given:
    for path in _paths(given):
        delete(run.dataset, path)
    return "VOID"


def delete_plain(run: Run, given: list[Given]) -> Given:
    numbers = numbers_of(as_text(_at(given, 0)))
    item = len(numbers) % 2 == 0
    holder = holder_of(run.dataset, numbers[:-2] + numbers[-2:-1] if item else numbers, create=False)
    if holder is None:
        return VOID
    if not item:
        holder.pop(numbers[-1], None)
    elif numbers[-2] in holder and holder[numbers[-2]].items:
        items = holder[numbers[-2]].items
        if items is not None and numbers[-1] < len(items):
            del items[numbers[-1]]
    return VOID


def set_plain(run: Run, given: list[Given]) -> Given:
    _usage("set", given, 2)
    numbers, text = numbers_of(as_text(given[0])), as_text(given[1])
    if len(numbers) % 2 == 0:
        raise Failed("an item holds no value")
    holder = holder_of(run.dataset, numbers, create=True)
    assert holder is not None
    texts.put(holder, numbers[-1], text)
    return VOID


def retain_private(run: Run, given: list[Given]) -> Given:
    try:
        retain.retain(run.dataset, _retained(given))
    except Failed:
        raise Failed("Error evaluating retainPrivateTags") from None
    return VOID


def _retained(given: list[Given]) -> list[Path]:
    paths = _paths(given)
    if len(paths) != len(_flat(given)) or not all(path.private for path in paths):
        raise Failed("TagPath argument in retainPrivateTags is not private")
    return paths


def _values_of(run: Run, given: list[Given]) -> list[str]:
    """The values that the arguments have, texts as they are and each place that a path means (``asStrings``)."""
    found: list[str] = []
    for one in _flat(given):
        if not isinstance(one, Path):
            told = as_text(one)
            found += [] if told is None else [told]
            continue
        for place in leaves(run.dataset):
            if one.matches(place.text):
                found.append(texts.show_element(place.holder, place.element))
    return java.hash_set(found)


def collect_values(run: Run, given: list[Given]) -> Given:
    return list(_values_of(run, given))


def blank_values(run: Run, given: list[Given]) -> Given:
    known = set(_values_of(run, given))
    raw = {one.encode(texts.DEFAULT) for one in known}
    for place in leaves(run.dataset):
        element = place.element
        if element.items is not None or element.fragments is not None:
            continue
        same = element.value in raw if element.vr == "UN" else texts.show_element(place.holder, element) in known
        if same:
            texts.put(place.holder, place.tag, "")
    return "VOID"


def alter_pixels(run: Run, given: list[Given]) -> Given:
    _usage("alterPixels", given, 4)
    if PIXELS in run.dataset:
        run.notes.add("alterPixels: pixels are left as they are")
    return VOID


def get_url(run: Run, given: list[Given]) -> Given:
    run.notes.add("getURL: nothing is fetched, and the statement fails")
    raise Failed("getURL is not carried out here")


def lookup(run: Run, given: list[Given]) -> Given:
    """XNAT gives a script no table, so nothing is ever found."""
    return None


Function = Callable[["Run", list[Given]], Given]
FUNCTIONS: dict[str, Function] = {
    "alterPixels": alter_pixels,
    "and": lambda run, given: all(truth(one) for one in given),
    "blankValues": blank_values,
    "collectValues": collect_values,
    "concatenate": concatenate,
    "delete": delete_plain,
    "equals": equals,
    "false": lambda run, given: False,
    "format": format_,
    "getURL": get_url,
    "hashUID": hash_uid_of,
    "hashUIDList": hash_uid_list,
    "isPresent": is_present,
    "ismatch": is_match,
    "lookup": lookup,
    "lowercase": lowercase,
    "mapReferencedUIDs": map_referenced,
    "mapUID": map_uid,
    "match": match,
    "newUID": new_uid_of,
    "normalizeString": normalize_string,
    "or": lambda run, given: any(truth(one) for one in given),
    "reject": reject,
    "removeTags": remove_tags,
    "replace": replace,
    "retainPrivateTags": retain_private,
    "scalePatientAgeAndDobFromStudyDate": scale_age,
    "set": set_plain,
    "shiftDateByIncrement": shift_date,
    "shiftDateTimeByIncrement": shift_date_time,
    "shiftDateTimeListByIncrement": shift_list,
    "shiftDateTimeSequenceByIncrement": shift_sequence,
    "substring": substring,
    "true": lambda run, given: True,
    "uppercase": uppercase,
    "valueAt": value_at,
}
NOT_CARRIED_OUT = {
    "alterPixels": "alterPixels leaves the pixels as they are here",
    "getURL": "getURL fetches nothing here, and the file fails",
    "lookup": "lookup finds nothing, as there is no table",
}
"""Functions that are known and do less here than on XNAT, and what is said of them when a script is set."""


def assign(run: Run, path: Path, text: str | None) -> None:
    """``path := text``: nothing at all without a text, and items are made up to the one that is named."""
    if not path.singular:
        told = path.text()
        raise Failed(f"Assigning to a tagpath that maps to multiple attributes in not supported. TagPath: {told}")
    if text is None:
        return
    numbers = locate(run.dataset, path, create=True)
    holder = holder_of(run.dataset, numbers, create=True)
    assert holder is not None
    run.put(holder, numbers[-1], text)


def assign_present(run: Run, path: Path, text: str | None) -> None:
    """``path ?= text``: each place that the path means."""
    _ = path.pattern
    for place in leaves(run.dataset):
        if path.matches(place.text):
            if text is None and place.element.vr not in texts.TEXT:
                raise Failed("internal error: something is null")
            run.put(place.holder, place.tag, text, present=True)
