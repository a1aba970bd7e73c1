"""The functions of DicomEdit 6.6 (``org.nrg.dicom.dicomedit.functions``), each over its arguments and a run.

Values of arguments: text, None (a value that is null), a truth value, a list, a :class:`~.tree.Path` (a tag given as an
argument is the path, not its value), ``MISSING`` (no value at all: every use fails), ``VOID``. Called by :mod:`.run6`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import paths
from .dataset import PIXEL_DATA, Dataset, Element
from .dates import Moment, Unreadable, shifted
from .javatext import find, hash_all, hash_code, hash_order, matches, message
from .tree import Path, TagPart
from .values import Drawn, java_int, text_of
from .words import Failed, NotForetold, Refused, Rejected

if TYPE_CHECKING:
    from .run6 import Run

# Any of: text, None, truth value, list of these, Path, MISSING, VOID; Java's Value holds an Object, too.
Value = Any


class _Mark:
    def __init__(self, name: str) -> None:
        self.name = name


MISSING, VOID, VOID_TEXT = _Mark("missing"), _Mark("void"), "VOID"
_PATIENT_AGE, _BIRTH_DATE, _STUDY_DATE = 0x00101010, 0x00100030, 0x00080020
_DAYS_IN_89_YEARS = round(365.24 * 89)
_DIRECT = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)(?:\[([0-9]+)\])?")


def hash_uid(text: str) -> str:
    """A UID made of a text: the version 5 UUID of its bytes without a name space, as a number below 2.25.

    >>> hash_uid("1.2.3")
    '2.25.148370922854076938159295778886134140470'
    """
    if isinstance(text, Drawn):
        return Drawn("")
    raw = bytearray(hashlib.sha1(text.encode("utf-8", "replace"), usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(raw, 'big')}"


def shown(value: Value) -> str | None:
    """A value as text (``asString``); None is null."""
    if value is MISSING:
        raise Failed("a word without a value is used")
    if value is None or isinstance(value, str):
        return value
    if value is VOID:
        return VOID_TEXT
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path):
        return paths.shown(value)
    inner = [shown(one) for one in value]
    if any(isinstance(one, Drawn) for one in inner):
        return Drawn("")
    return "[" + ", ".join("null" if one is None else one for one in inner) + "]"


def _number(value: Value) -> int:
    text = shown(value)
    if text is None:
        raise Failed("a number is missing")
    if isinstance(text, Drawn):
        raise NotForetold("a number is drawn at random")
    return java_int(text)


def truth(value: Value) -> bool:
    """``asBoolean``: the text ``true`` in any case."""
    text = shown(value)
    if text is None:
        raise Failed("a truth value is missing")
    if isinstance(text, Drawn):
        raise NotForetold("a condition asks for what is drawn at random")
    return text.lower() == "true"


def _flat(values: list[Value]) -> list[Value]:
    out: list[Value] = []
    for value in values:
        if value is MISSING:
            raise Failed("a word without a value is used")
        out += _flat(value) if isinstance(value, list) else [value]
    return out


def _paths(run: Run, values: list[Value]) -> list[Path]:
    """Tags that were given, and texts that can be read as one."""
    found = []
    for value in _flat(values):
        if isinstance(value, Path):
            found.append(value)
        else:
            try:
                found.append(run.path_of_text(_needed(shown(value))))
            except Refused:
                raise Failed("what should be a tag is none") from None
    return found


def _read(run: Run, value: Value) -> str | None:
    """A text, or the value of the tag that was given."""
    return run.text_at(value) if isinstance(value, Path) else shown(value)


def _needed(text: str | None) -> str:
    if text is None:
        raise Failed("a value is missing")
    return text


def _at(values: list[Value], index: int) -> Value:
    if index >= len(values):
        raise Failed("a function has too few arguments")
    return values[index]


def _count(values: list[Value], *allowed: int) -> None:
    if len(values) not in allowed:
        raise Failed("a function has the wrong number of arguments")


def _fixed(*texts: str | None) -> None:
    if any(isinstance(text, Drawn) for text in texts):
        raise NotForetold("what is drawn at random is worked on")


def _concatenate(run: Run, values: list[Value]) -> Value:
    texts = [_needed(_read(run, value)) for value in values]
    return Drawn("") if any(isinstance(text, Drawn) for text in texts) else "".join(texts)


def _format(run: Run, values: list[Value]) -> Value:
    flat = _flat(values)
    if not flat:
        raise Failed("a function has too few arguments")
    texts = [_read(run, value) for value in flat]
    if any(isinstance(text, Drawn) for text in texts):
        return Drawn("")
    return message(_needed(texts[0]), texts[1:])


def _case(change: Callable[[str], str]) -> Callable[[Run, list[Value]], Value]:
    def apply(run: Run, values: list[Value]) -> Value:
        _count(values, 1)
        text = _needed(_read(run, values[0]))
        return text if isinstance(text, Drawn) else change(text)

    return apply


def _substring(run: Run, values: list[Value]) -> Value:
    text = _needed(_read(run, _at(values, 0)))
    begin, end = _number(_at(values, 1)), _number(_at(values, 2))
    _fixed(text)
    if not 0 <= begin <= end <= len(text):
        raise Failed("a part of a text is asked for that the text does not have")
    return text[begin:end]


def _replace(run: Run, values: list[Value]) -> Value:
    text = _needed(_read(run, _at(values, 0)))
    old, new = _needed(shown(_at(values, 1))), _needed(shown(_at(values, 2)))
    _fixed(text, old, new)
    return text.replace(old, new)


def _match(run: Run, values: list[Value]) -> Value:
    _count(values, 3)
    text, pattern, group = _needed(_read(run, values[0])), _needed(shown(values[1])), _number(values[2])
    _fixed(text, pattern)
    return find(text, pattern, group)[1]


def _is_match(run: Run, values: list[Value]) -> Value:
    _count(values, 2)
    text, pattern = _needed(_read(run, values[0])), _needed(shown(values[1]))
    _fixed(text, pattern)
    return matches(text, pattern)


def _hash(run: Run, values: list[Value]) -> Value:
    if not values:
        raise Failed("a function has too few arguments")
    text = _read(run, values[0])
    return None if text is None else hash_uid(text)


def _hash_list(run: Run, values: list[Value]) -> Value:
    wanted = [paths.matcher(path.parts) for path in _paths(run, values)]

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        if paths.is_creator(element.tag) or not any(test(path) for test in wanted):
            return
        text = text_of(element, dataset)
        if isinstance(text, Drawn):
            element.random = True
            return
        one = element.vr in ("LT", "ST", "UT", "UN", "OB")
        parts = [_needed(text)] if one else _needed(text).split("\\") if text else []
        if one and not text:
            parts = []
        run.put(element.tag, "\\".join(hash_uid(part) for part in parts), dataset)

    paths.walk(run.root, leaf)
    return VOID


def _drawn(run: Run, values: list[Value]) -> Value:
    return Drawn("")


def _map_uid(run: Run, values: list[Value]) -> Value:
    _count(values, 2)
    shown(values[0])
    _needed(shown(values[1]))
    return Drawn("")


def _texts_as_paths(run: Run, values: list[Value]) -> list[Callable[[str], object]]:
    """Paths that are given as texts; what cannot be read as one is passed over."""
    found = []
    for value in values:
        try:
            path = run.path_of_text(_needed(shown(value)))
        except Refused:
            continue
        found.append(paths.matcher(path.parts))
    return found


def _map_references(run: Run, values: list[Value]) -> Value:
    if len(values) < 2:
        raise Failed("a function has too few arguments")
    wanted = _texts_as_paths(run, values[1:])

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        if any(test(path) for test in wanted):
            text_of(element, dataset)
            run.put(element.tag, Drawn(""), dataset)

    paths.walk(run.root, leaf)
    return VOID


def _retain(run: Run, values: list[Value]) -> Value:
    arguments = _paths(run, values)
    if any(all(part.creator is None for part in path.parts) for path in arguments):
        raise Failed("a tag to retain is not private")
    tests = [paths.matcher(path.parts) for path in arguments]
    tests += [paths.matcher((*path.parts, TagPart(wildcard="*"))) for path in arguments if not path.parts[-1].wildcard]
    kept: dict[tuple[int, ...], tuple[str, str | None]] = {}
    private: list[tuple[int, ...]] = []
    creators: set[tuple[int, ...]] = set()
    texts: dict[tuple[int, ...], tuple[str, str | None]] = {}

    def visit(dataset: Dataset, tags: tuple[int, ...], context: str, inside: bool) -> None:
        for element in dataset:
            here, path = (*tags, element.tag), context + paths.step(element, dataset)
            is_private = inside or bool(element.tag & 0x10000)
            if element.items and element.tag != PIXEL_DATA:
                for at, item in enumerate(element.items):
                    visit(item, (*here, at), f"{path}[{at}]/", is_private)
                continue
            if not is_private:
                continue
            private.append(here)
            if element.tag == PIXEL_DATA:
                continue
            texts[here] = (element.vr, text_of(element, dataset))
            if any(test(path) for test in tests):
                kept[here] = texts[here]
                for at in range(0, len(here), 2):
                    tag = here[at]
                    if tag & 0x10000 and tag & 0xFF00:
                        creators.add((*here[:at], tag & 0xFFFF0000 | tag >> 8 & 0xFF))

    visit(run.root, (), "", False)
    kept |= {tags: texts[tags] for tags in creators if tags in texts}
    for tags in private:
        element, dataset = paths.get(list(tags), run.root)
        if element is not None:
            dataset.remove(element.tag)
    _without_empty_private(run.root)
    for tags, (vr, text) in kept.items():
        run.put_at(list(tags), text, vr)
    return VOID


def _without_empty_private(dataset: Dataset) -> None:
    """Items of private sequences that hold no more go, and then the sequences."""
    for element in dataset:
        if not element.items:
            continue
        for item in element.items:
            _without_empty_private(item)
        if element.tag & 0x10000:
            element.items = [item for item in element.items if item.elements]
            if not element.items:
                dataset.remove(element.tag)


def _shift(units: str, allowed: tuple[str, ...]) -> Callable[[Run, list[Value]], Value]:
    def apply(run: Run, values: list[Value]) -> Value:
        _count(values, 2, 3)
        first = values[0]
        if isinstance(first, Path):
            if not paths.is_singular(first):
                raise Failed("a shift needs one tag")
            if run.vr_at(first) not in allowed:
                raise Failed("a shift needs a date")
            text = run.text_at(first)
        else:
            text = shown(first)
        _fixed(text)
        return shifted(text, _number(values[1]), shown(values[2]) if len(values) == 3 else units)

    return apply


def _shift_list(run: Run, values: list[Value]) -> Value:
    _count(values, 3)
    if not isinstance(values[0], list):
        raise Failed("a list of tags is missing")
    wanted = [paths.matcher(path.parts) for path in _paths(run, values[0])]
    increment, units = _number(values[1]), shown(values[2])

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        for test in wanted:
            if test(path):
                text = text_of(dataset.elements[element.tag], dataset)
                _fixed(text)
                run.put(element.tag, shifted(text, increment, units) if text else text, dataset)

    paths.walk(run.root, leaf)
    return VOID_TEXT


def _shift_sequence(run: Run, values: list[Value]) -> Value:
    if len(values) < 2:
        raise Failed("a function has too few arguments")
    increment = _number(values[0])
    wanted = _texts_as_paths(run, values[1:])

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        for test in wanted:
            if test(path):
                text = text_of(element, dataset)
                _fixed(text)
                try:
                    run.put(element.tag, shifted(text, increment, "seconds"), dataset)
                except Unreadable:
                    continue
                return

    paths.walk(run.root, leaf)
    return VOID


def _first(run: Run, tag: int) -> str | None:
    """The first value of a tag outside of sequences, None where it is missing or empty."""
    element = run.root.get(tag)
    if element is None:
        return None
    text = text_of(element, run.root)
    _fixed(text)
    return text.split("\\")[0] if text else None


def _scale_age(run: Run, values: list[Value]) -> Value:
    whole = run.root.get(_BIRTH_DATE)
    born = Moment.read(text_of(whole, run.root)) if whole is not None else None
    if born is not None:
        study = run.root.get(_STUDY_DATE)
        studied = Moment.read(text_of(study, run.root)) if study is not None else None
        if studied is None:
            return VOID_TEXT
        days = int((studied.time - born.time) / timedelta(days=1)) - _DAYS_IN_89_YEARS
        if days > 0:
            _set_everywhere(run, _BIRTH_DATE, lambda text: shifted(text, days, "days"))
    age = _first(run, _PATIENT_AGE)
    if age:
        if not re.fullmatch(r"[+-]?[0-9]+", age[:3]) or age[3:4] not in tuple("YMWD"):
            raise Failed("PatientAge is no age")
        if age[3] == "Y" and int(age[:3]) > 89:
            _set_everywhere(run, _PATIENT_AGE, lambda text: "089Y")
    return VOID_TEXT


def _set_everywhere(run: Run, tag: int, change: Callable[[str | None], str]) -> None:
    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        if element.tag == tag:
            run.put(tag, change(text_of(element, dataset)), dataset)

    paths.walk(run.root, leaf)


def _known_values(run: Run, values: list[Value]) -> list[str | None]:
    """Texts, then the values of the tags, in the order in which a hash map of Java walks their paths."""
    flat = _flat(values)
    texts = [shown(value) for value in flat if not isinstance(value, Path)]
    wanted = [paths.matcher(path.parts) for path in flat if isinstance(path, Path)]
    found: dict[str, str | None] = {}

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        if any(test(path) for test in wanted):
            found[path] = text_of(element, dataset)

    if wanted:
        paths.walk(run.root, leaf)
    _fixed(*found.values())
    keys = list(found)
    order = hash_order([_path_hash(key) for key in keys]) if len(keys) > 1 else range(len(keys))
    return texts + [found[keys[at]] for at in order]


def _path_hash(path: str) -> int:
    """``TagPath.hashCode`` of the path of an element; only of public elements outside of sequences it is known."""
    if not re.fullmatch("[0-9a-f]{8}", path):
        return 0
    tag = hash_all([hash_code(path[:4]), hash_code(path[4:]), 1231])
    return hash_all([hash_all([tag])])


def _blank(run: Run, values: list[Value]) -> Value:
    known = set(_known_values(run, values))
    if not known:
        return VOID_TEXT

    def leaf(path: str, element: Element, dataset: Dataset) -> None:
        if element.tag == PIXEL_DATA:
            if element.fragments is not None:
                raise NotForetold("encapsulated pixels are read as text")
            return
        if element.vr in ("OB", "SQ") and not element.items and not element.value:
            if known & {"null", "", None}:
                raise NotForetold(f"an empty {element.vr} is read as text")
            return
        if element.vr == "UN":  # compared as bytes (``ReplaceKnownValueVisitor``)
            same = element.value in [text.encode("utf-8", "replace") for text in known if text is not None]
        else:
            text = text_of(element, dataset)
            _fixed(text)
            same = text in known
        if same:
            run.put(element.tag, "", dataset)

    paths.walk(run.root, leaf)
    return VOID_TEXT


def _present(run: Run, values: list[Value]) -> Value:
    for value in _flat(values):
        if not isinstance(value, Path) or not paths.is_singular(value):
            raise Failed("one tag is asked for")
        if not paths.present(value, run.root):
            return False
    return True


def _remove(run: Run, values: list[Value]) -> Value:
    for path in _paths(run, values):
        run.delete(path)
    return VOID_TEXT


def _normalize(run: Run, values: list[Value]) -> Value:
    _count(values, 1, 2)
    text = _read(run, values[0])
    new = shown(values[1]) if len(values) == 2 else "_"
    if text is None or isinstance(text, Drawn):
        return text
    new = _needed(new)
    if set(new) & set("$\\"):
        raise NotForetold("a replacement has a sign that Java reads in its own way")
    return "".join(sign if sign.isascii() else new for sign in text)


def direct(text: str) -> list[int]:
    """A path in direct notation, ``(gggg,eeee)[n]/(gggg,eeee)``, as tags and item numbers in turn."""
    tags: list[int] = []
    parts = text.split("/")
    for at, part in enumerate(parts):
        found = _DIRECT.fullmatch(part)
        if not found or (found[3] is None and at < len(parts) - 1):
            raise Failed("a path in a text cannot be read")
        tags.append(int(found[1] + found[2], 16))
        if found[3] is not None:
            tags.append(int(found[3]))
    return tags


def _set(run: Run, values: list[Value]) -> Value:
    _count(values, 2)
    run.put_at(direct(_needed(shown(values[0]))), shown(values[1]), "UN")
    return VOID


def _delete(run: Run, values: list[Value]) -> Value:
    _count(values, 1)
    tags = direct(_needed(shown(values[0])))
    _, dataset = paths.get(tags, run.root)
    dataset.remove(tags[-1])
    return VOID


def _reject(run: Run, values: list[Value]) -> Value:
    if (not values or truth(values[0])) and not run.ignore_rejection:
        raise Rejected("the script rejects the file")
    return VOID


def _alter_pixels(run: Run, values: list[Value]) -> Value:
    if run.root.get(PIXEL_DATA) is not None:
        raise NotForetold("pixels are edited")
    return VOID_TEXT


def _url(run: Run, values: list[Value]) -> Value:
    raise NotForetold("an address is read by the server")


def _equals(run: Run, values: list[Value]) -> Value:
    if any(value is MISSING for value in values):
        raise Failed("a word without a value is used")
    if len(values) != 2:
        return False
    first, second = values
    _fixed(*(one for one in values if isinstance(one, str)))
    if isinstance(first, Path) or isinstance(second, Path):
        return isinstance(first, Path) and isinstance(second, Path) and first.parts == second.parts
    return shown(first) == shown(second)


def _both(decide: Callable[[Iterable[bool]], bool]) -> Callable[[Run, list[Value]], Value]:
    def apply(run: Run, values: list[Value]) -> Value:
        flat = _flat(values)
        missing = next((at for at, value in enumerate(flat) if shown(value) is None), len(flat))
        told = [truth(value) for value in flat[:missing]]
        if missing == len(flat):
            return decide(told)
        if all(one == (decide is all) for one in told):
            raise Failed("a truth value is missing")
        raise NotForetold("a truth value is missing behind what decides already")

    return apply


FUNCTIONS: dict[str, Callable[[Run, list[Value]], Value]] = {
    "alterPixels": _alter_pixels,
    "and": _both(all),
    "blankValues": _blank,
    "collectValues": _known_values,
    "concatenate": _concatenate,
    "delete": _delete,
    "equals": _equals,
    "false": lambda run, values: False,
    "format": _format,
    "getURL": _url,
    "hashUID": _hash,
    "hashUIDList": _hash_list,
    "isPresent": _present,
    "ismatch": _is_match,
    "lookup": lambda run, values: None,
    "lowercase": _case(str.lower),
    "mapReferencedUIDs": _map_references,
    "mapUID": _map_uid,
    "match": _match,
    "newUID": _drawn,
    "normalizeString": _normalize,
    "or": _both(any),
    "reject": _reject,
    "removeTags": _remove,
    "replace": _replace,
    "retainPrivateTags": _retain,
    "scalePatientAgeAndDobFromStudyDate": _scale_age,
    "set": _set,
    "shiftDateByIncrement": _shift("days", ("DA",)),
    "shiftDateTimeByIncrement": _shift("seconds", ("DA", "DT")),
    "shiftDateTimeListByIncrement": _shift_list,
    "shiftDateTimeSequenceByIncrement": _shift_sequence,
    "substring": _substring,
    "true": lambda run, values: True,
    "uppercase": _case(str.upper),
    "valueAt": lambda run, values: _read(run, _at(values, 0)),
}
