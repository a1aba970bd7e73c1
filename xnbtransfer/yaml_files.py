"""YAML that people write by hand: read with its line numbers, and refused in words that name the line and the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from .errors import InputError

Place = tuple[str | int, ...]


class YamlFile(NamedTuple):
    """What a file says, and in which line each name and each entry of a list stands."""

    values: Any
    lines: Mapping[Place, int]


def read_yaml(path: str | Path, what: str, remedy: str = "", refuse: type[InputError] = InputError) -> YamlFile:
    """The values of a YAML file; a name that is given twice is refused, since the last one would win without a word.

    Parameters
    ----------
    what : str
        How a message calls the file, e.g. ``policy file``.
    remedy : str
        What to do where it cannot be read as YAML.
    refuse : type
        The error to raise.

    Raises
    ------
    InputError
        If it cannot be read, is no YAML, or gives a name twice.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise refuse(f"The {what} {path} cannot be read: {problem.strerror}.", remedy) from None
    except UnicodeDecodeError:
        raise refuse(f"The {what} {path} is not text in UTF-8.", "Save it again as UTF-8.") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        twice = list(_walk(node, (), lines, set()))
        values = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise refuse(f"The {what} {path} is not YAML{where}: {problem.problem or problem.context}.", remedy) from None
    except RecursionError:
        raise refuse(f"The {what} {path} is nested too deeply.", remedy) from None
    except (yaml.YAMLError, ValueError) as problem:
        raise refuse(f"The {what} {path} is not YAML: {(str(problem).splitlines() or ['?'])[0]}.", remedy) from None
    if twice:
        name, first, again = twice[0]
        raise refuse(f"The {what} {path} has {name!r} in line {first} and again in line {again}.", "Keep one of them.")
    return YamlFile(values, lines)


def _walk(node: Any, place: Place, lines: dict[Place, int], seen: set[int]) -> Iterable[tuple[str, int, int]]:
    """Note the lines of what lies below a node; yields each name that is given twice, with both lines."""
    if id(node) in seen or not isinstance(getattr(node, "value", None), list):
        return
    seen.add(id(node))
    if node.id == "sequence":
        for number, entry in enumerate(node.value):
            lines[(*place, number)] = entry.start_mark.line + 1
            yield from _walk(entry, (*place, number), lines, seen)
        return
    here: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.tag.endswith(":merge"):
            continue
        line = key.start_mark.line + 1
        if (key.tag, key.value) in here:
            yield key.value, here[key.tag, key.value], line
        here[key.tag, key.value] = line
        lines[(*place, key.value)] = line
        yield from _walk(value, (*place, key.value), lines, seen)


def what_is_wrong(error: Mapping[str, Any], kind: type[BaseModel], lines: Mapping[Place, int] | None = None) -> str:
    """One error of a schema as a sentence that names the line and the key, and the key that was perhaps meant.

    Parameters
    ----------
    error : mapping
        One of ``ValidationError.errors()``.
    kind : type
        The model that refused.
    lines : mapping, optional
        Those of the file, as :func:`read_yaml` gives them.
    """
    place = tuple(error["loc"])
    if place[-1:] == ("[key]",):  # the name itself is wrong, such as 001 without quotes
        place = (*place[:-2], str(place[-2]))
    key = str(place[-1]) if place else ""
    if error["type"] in ("extra_forbidden", "missing"):
        above = place[:-1]
        names = list(getattr(_found(kind, above), "model_fields", ()))
        if error["type"] == "missing":
            return _sentence(_at(above, lines), f"the key {key!r} is missing.")
        near = difflib.get_close_matches(key, names, 1, 0.5)
        meant = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(names)}."
        return _sentence(_at(place, lines, above), f"there is no key {key!r}; {meant}")
    return _sentence(_at(place, lines), f"{in_words(error)}.")


def in_words(error: Mapping[str, Any]) -> str:
    """What a value should have been, without the name of it and without the words of the schema library."""
    about, value = error.get("ctx", {}), error.get("input")
    match error["type"]:
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case "string_type":
            return "write it in quotes: names and labels are text" if value is not None else "it is empty"
        case "literal_error":
            words = [word.strip(" '") for word in str(about["expected"]).replace(" or ", ", ").split(",")]
            near = difflib.get_close_matches(str(value), words, 1, 0.6)
            meant = f", perhaps {near[0]!r}" if near and near[0] != str(value) else ""
            return (
                f"{value!r} is not known; it is {' or '.join(filter(None, [', '.join(words[:-1]), words[-1]]))}{meant}"
            )
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"here belong lines of the form 'name: value', and there is {_kind(value)}"
        case "tuple_type" | "list_type":
            return f"here belongs a list, [one, two], and there is {_kind(value)}"
        case "bool_type" | "bool_parsing":
            return f"{value!r} is neither true nor false"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"{value!r} is no whole number"
        case "greater_than_equal":
            return f"{value!r} is too small; it is at least {about['ge']}"
        case "less_than_equal":
            return f"{value!r} is too large; it is at most {about['le']}"
    return error["msg"]


def _at(place: Place, lines: Mapping[Place, int] | None, told: Place | None = None) -> str:
    """``line 4, projects > B > rules``, as much of it as is known; entries of lists count from 1."""
    line = next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), 0) if lines else 0
    words = " > ".join(str(part + 1) if isinstance(part, int) else part for part in (place if told is None else told))
    parts = [*([f"line {line}"] if line else []), *([words] if words else [])]
    return ", ".join(parts)


def _sentence(place: str, said: str) -> str:
    text = f"{place}: {said}" if place else said
    return text[0].upper() + text[1:]


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a set of names and values"
    return "a list" if isinstance(value, list | tuple) else f"{value!r}"


def _found(kind: Any, place: Place) -> Any:
    """The model that lies at a place of another one; None where there is none."""
    for part in place:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:
            arguments = get_args(kind) if get_origin(kind) in (dict, tuple, list) else ()
            kind = arguments[1 if get_origin(kind) is dict else 0] if arguments else None
    return kind
