"""Runs a script of DicomEdit 4 (dicom-edit4 sources: ``ScriptApplicator``, ``Assignment``, ``TagPattern``, ``fn``).

All conditions and values are computed from the original first; then what is to be done is done from the last statement
to the first, so that of two statements about one tag the first wins. Elements are set in the value representation of
the dictionary, LO where it knows none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote_plus

from . import java, texts
from .dataset import DataSet, dictionary
from .errors import Failed, Refused
from .functions6 import hash_uid, new_uid
from .limits import Budget
from .parser4 import (
    Action,
    Assign,
    Compare,
    Constant,
    Delete,
    Describe,
    Do,
    Echo,
    Function,
    Initialize,
    NewUid,
    Statement,
    TagValue,
    Term,
    Variable,
    parse,
)
from .patterns import compiled

FUNCTIONS = frozenset(
    ["format", "getURL", "hashUID", "lowercase", "match", "replace", "substring", "uppercase", "urlEncode"]
)
_LEAST = {"substring": 3, "match": 3, "replace": 3}
_NULL = "NullPointerException: internal error: something is null"
_INTEGER = re.compile(r"-?\d+")


class Run:
    """A script over the files of one run.

    ``newest`` is DicomEdit 4 as of 1.8.10, which reports what cannot be evaluated; older ones throw.

    Raises
    ------
    Refused
        Where the engine throws before it has seen a file.
    """

    meaning = "XNAT DicomEdit 4 Script"

    def __init__(self, text: str, context: Mapping[str, str], *, newest: bool = True) -> None:
        self.statements = parse(text)
        self.newest = newest
        self.echoed: list[str] = []
        self.notes: set[str] = set()
        self.uids: dict[str | None, str] = {}
        self.initial: dict[str, Term] = {}
        self.variables: dict[str, str] = {}
        self.dataset, self.budget = DataSet(), Budget()
        self._prepare({key.lower(): value for key, value in context.items()})

    def _prepare(self, context: Mapping[str, str]) -> None:
        names: dict[str, None] = {}
        for statement in self.statements:
            for name in _names(statement):
                names[name] = None
            for value in _values(statement):
                self._check(value)
            if isinstance(statement, Do) and isinstance(statement.action, Delete) and not statement.action.pattern:
                raise Refused(_NULL)
            if isinstance(statement, Initialize):
                if self.initial.get(statement.name) is not None:
                    raise Refused(_NULL)
                self.initial[statement.name] = statement.value if _known(statement.value) else None
        for name in sorted(names):
            if self.initial.get(name) is None:
                if name not in context:
                    raise Refused(f"Missing value for script-required variable(s): {name}")
                self.variables[name] = context[name]

    def _check(self, value: Term) -> None:
        if isinstance(value, Constant) and _INTEGER.fullmatch(value.text) is None:
            return
        if isinstance(value, Function):
            for one in value.arguments:
                self._check(one)
            if len(value.arguments) < _LEAST.get(value.name, 0):
                raise Refused(_NULL)

    def over(self, dataset: DataSet) -> None:
        """Carry the script out over one file; `Failed` and `Refused` as the engine gives an error back or throws."""
        self.dataset, self.budget = dataset, Budget()
        todo = [
            self._made(one.action)
            for one in self.statements
            if isinstance(one, Do) and all(self._holds(condition) for condition in one.conditions)
        ]
        for act in reversed(todo):
            try:
                act()
            except java.Malformed as problem:
                raise Refused(str(problem)) from None

    def _holds(self, condition: Compare) -> bool:
        left, right = self.value(condition.left), self.value(condition.right)
        if condition.operator == "=":
            return left == right
        if right is None:
            raise Failed("null pattern not allowed")
        return left is not None and self._pattern(right).matches(left) is not None

    def _pattern(self, text: str):  # a compiled pattern; what is none throws
        try:
            return compiled(text)
        except java.Malformed as problem:
            raise Refused(str(problem)) from None

    def _made(self, action: Action) -> Callable[[], None]:
        if isinstance(action, Echo):
            try:
                told = self.value(action.value)
            except Failed:
                told = "[uninterpretable]"
            self.budget.spend(len(told or ""))
            return lambda: self.echoed.append("null" if told is None else told)
        if isinstance(action, Delete):
            pattern = action.pattern
            return lambda: self._delete(pattern)
        if action is None or action.value is None:
            raise Refused(_NULL)
        text, where = self.value(action.value), action.pattern
        return lambda: self._put(where, text)

    def _delete(self, pattern: str) -> None:
        for tag in self._tags(pattern):
            self.dataset.pop(tag, None)

    def _put(self, pattern: str, text: str | None) -> None:
        for tag in self._tags(pattern):
            vr = dictionary(tag)
            vr = "LO" if vr == "UN" else vr
            if vr in ("OB", "OF", "OW", "SQ"):
                raise Failed(f"Unable to set attribute ({tag >> 16:04X},{tag & 0xFFFF:04X}) (VR {vr}) to \"{text}\"")
            if text is None and vr in ("AT", "FD", "FL", "SL", "SS", "UL", "US"):
                raise Refused(_NULL)  # ``VR.toBytes`` of no text
            self.budget.spend(len(text or ""))
            texts.put(self.dataset, tag, text, vr=vr)

    def _tags(self, pattern: str) -> list[int]:
        """The tags that a pattern means: those that are there, and a single one in any case; never group 0002 by
        pattern."""
        digits = pattern.replace(",", "")
        if not set(digits) & set("X@#"):
            return [int(digits, 16)]
        signs = {"X": "[0-9A-F]", "@": "[02468ACE]", "#": "[13579BDF]"}
        regex = re.compile("".join(signs.get(one) or one.upper() for one in digits))
        return [tag for tag in self.dataset.tags(meta=False) if regex.fullmatch(f"{tag:08X}")]

    # Values --------------------------------------------------------------------------------------------------------

    def value(self, term: Term) -> str | None:
        """What a value is for the file at hand; None where it is missing."""
        if isinstance(term, Constant):
            return term.text
        if isinstance(term, Variable):
            initial = self.initial.get(term.name)
            return self.variables[term.name] if initial is None else self.value(initial)
        if isinstance(term, TagValue):
            return self._read(term.tag)
        if isinstance(term, NewUid):
            if term.kind != "UID":
                raise Refused(_NULL)
            return self.uids.setdefault(self._read(term.tag), new_uid())
        if term is None or term.name not in FUNCTIONS:
            raise Refused(_NULL)
        return self._call(term)

    def _read(self, tag: int) -> str | None:
        element = self.dataset.get(tag)
        if element is None:
            return None
        if element.items is not None or element.fragments is not None:
            raise Failed(
                f"AttributeVRMismatchException: Cannot use DICOM attribute ({tag >> 16:04X},{tag & 0xFFFF:04X}) -- "
                f"uninterpretable type {element.vr}"
            )
        text = texts.show_element(self.dataset, element)
        if element.vr == "AT":
            numbers = [int(one, 16) for one in text.split("\\") if one]
            return "\\".join(str(number - (1 << 32 if number >> 31 else 0)) for number in numbers)
        return text

    def _call(self, call: Function) -> str | None:
        name, arguments = call.name, call.arguments
        if name == "format":
            pattern, values = self.value(arguments[0]) or "", [self.value(one) for one in arguments[1:]]
            self.budget.for_message(pattern, values)
            try:
                return java.message(pattern, values)
            except java.Malformed as problem:
                raise Refused(str(problem)) from None
        first = self.value(arguments[0])
        if name == "getURL":
            self.notes.add("getURL: nothing is fetched, and the statement fails")
            raise Failed("getURL is not carried out here")
        if name == "replace":
            old, new = self.value(arguments[1]), self.value(arguments[2])
            if first is None or old is None or new is None:
                raise Refused(_NULL)
            return self.budget.replaced(first, old, new)
        if name == "match":
            return self._match(first, arguments)
        if first is None:
            return None
        if name == "substring":
            return self._substring(first, arguments)
        simple: dict[str, Callable[[str], str]] = {
            "lowercase": str.lower,
            "uppercase": str.upper,
            "hashUID": hash_uid,
            "urlEncode": lambda text: quote_plus(text, safe="*-._").replace("~", "%7E"),
        }
        return simple[name](first)

    def _match(self, text: str | None, arguments: tuple[Term, ...]) -> str | None:
        index = _integer(arguments[2])
        pattern = self._pattern(self.value(arguments[1]) or "")
        if text is None:
            return None
        groups = pattern.matches(text)
        if groups is None:
            return None
        if not 0 <= index <= pattern.groups:
            raise Refused(f"IndexOutOfBoundsException: No group {index}")
        span = groups[index]
        return None if span is None else text[span[0] : span[1]]

    @staticmethod
    def _substring(text: str, arguments: tuple[Term, ...]) -> str:
        begin, end = _integer(arguments[1]), _integer(arguments[2])
        if not 0 <= begin <= end <= len(text):
            raise Failed(
                f"Index out of bounds, requested substring from {begin} to {end}, string length was {len(text)}."
            )
        return text[begin:end]


def _integer(term: Term) -> int:
    if not isinstance(term, Constant) or not _INTEGER.fullmatch(term.text):
        raise Refused("ClassCastException: no number")
    try:
        return java.parse_int(term.text)
    except java.Malformed as problem:
        raise Refused(str(problem)) from None


def _known(value: Term) -> bool:
    return value is not None and (not isinstance(value, Function) or value.name in FUNCTIONS)


def _values(statement: Statement) -> Iterator[Term]:
    if isinstance(statement, Initialize):
        yield statement.value
    elif isinstance(statement, Do):
        for one in statement.conditions:
            yield from (one.left, one.right)
        if isinstance(statement.action, Assign | Echo):
            yield statement.action.value


def _names(statement: Statement) -> Iterator[str]:
    if isinstance(statement, Initialize | Describe):
        yield statement.name
    for value in _values(statement):
        yield from _names_in(value)


def _names_in(value: Term) -> Iterator[str]:
    if isinstance(value, Variable):
        yield value.name
    elif isinstance(value, Function):
        for one in value.arguments:
            yield from _names_in(one)


def called(text: str) -> set[str]:
    """The functions that a script calls, those in arguments too; `Refused` for a text that is no script."""
    return {name for statement in parse(text) for value in _values(statement) for name in _called_in(value)}


def _called_in(value: Term) -> Iterator[str]:
    if isinstance(value, Function):
        yield value.name
        for one in value.arguments:
            yield from _called_in(one)
