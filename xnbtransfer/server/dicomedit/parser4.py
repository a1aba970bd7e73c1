"""The words and statements of DicomEdit 4, whose parser reports errors and goes on (dicom-edit4: ``EditDCM*.g``, ANTLR
3).

What it makes of a script with an error follows from how ANTLR 3 recovers, and was recorded:

- a sign that begins no word is dropped, also a parenthesis that begins no tag;
- one word too many before the one that is needed is passed over, and one that is missing is taken for there;
- something left over behind a statement, or a line that begins with what begins none: nothing of the script is done;
- a statement that is none: what stands before it is done, and nothing else;
- conditions that are none: without a first good one the action is done in any case, else the statement is left out;
- a deletion of what is no tag, and a value that is none: the engine throws.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .errors import Refused
from .version import lines_of

_SIGNS = {"[": "[", "]": "]", ",": ",", "=": "=", "~": "~"}
_KEYWORDS = frozenset(["echo", "new", "describe", "hidden", "export"])
_STRING = re.compile(r'"(?:[^\\"]|\\(?:[btnfr"\'\\]|u[0-9a-fA-F]{4}|[0-7]))*')
_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANK = re.compile(r"[ \t]|\\\r?\n")
_TAG = (*["X@#0123456789abcdefABCDEF"] * 4, ",", *["X@#0123456789abcdefABCDEF"] * 4, ")")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "'": "'", "\\": "\\"}
_TERMS = frozenset(("string", "number", "tag", "word"))
_ACTIONS = frozenset(("tag", "pattern", "-", "echo"))
_ENDS = frozenset(("newline", "end"))
_STARTS = _TERMS | _ACTIONS | {"describe", "export"}
MAX_NESTING = 200


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a script: its kind (a sign or keyword is its own kind) and what stands there."""

    kind: str
    text: str


def words(text: str) -> list[Word]:
    """The words of a script."""
    text = "".join(line + "\n" for line in lines_of(text))
    found, at = [], 0
    while at < len(text):
        kind, end = _word(text, at)
        if kind:
            found.append(Word(kind, text[at:end]))
        at = end
    return [*found, Word("end", "")]


def _word(text: str, at: int) -> tuple[str, int]:
    char = text[at]
    blank = _BLANK.match(text, at)
    if blank:
        return "", blank.end()
    if char in "\r\n":
        return ("newline", at + 1) if char == "\n" else ("", at + 1)
    if char == "(":
        return _tag(text, at)
    if char == '"':
        end = _STRING.match(text, at).end()  # type: ignore[union-attr]
        return ("string", end + 1) if text[end : end + 1] == '"' else ("", end + 1)
    if char == "/":
        if text.startswith("//", at):
            end = text.find("\n", at)
            return "", len(text) if end < 0 else end
        return "", at + 2
    if char == ":":
        return (":=", at + 2) if text.startswith(":=", at) else (":", at + 1)
    if char in _SIGNS:
        return char, at + 1
    return _letters(text, at)


def _letters(text: str, at: int) -> tuple[str, int]:
    for kind, pattern in (("number", _NUMBER), ("word", _WORD)):
        found = pattern.match(text, at)
        if found:
            return (found[0] if found[0] in _KEYWORDS else kind), found.end()
    return ("-", at + 1) if text[at] == "-" else ("", at + 1)


def _tag(text: str, at: int) -> tuple[str, int]:
    for number, signs in enumerate(_TAG, at + 1):
        if text[number : number + 1] == "" or text[number] not in signs:
            return "", at + 1
    end = at + 1 + len(_TAG)
    return ("pattern" if set(text[at:end]) & set("X@#") else "tag"), end


# What a statement is ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """A text or a number."""

    text: str


@dataclass(frozen=True)
class TagValue:
    """The value of an element of the original."""

    tag: int


@dataclass(frozen=True)
class Variable:
    """A variable, by its name in small letters."""

    name: str


@dataclass(frozen=True)
class Function:
    """A function with its arguments; ``format`` for a text that terms follow."""

    name: str
    arguments: tuple[Term, ...]


@dataclass(frozen=True)
class NewUid:
    """``new UID``: one for each value that the element has."""

    tag: int
    kind: str


Term = Constant | TagValue | Variable | Function | NewUid | None
"""None is a value that is none: it was not understood."""


@dataclass(frozen=True)
class Assign:
    """``tag := value``; ``pattern`` as it stands between the parentheses."""

    pattern: str
    value: Term


@dataclass(frozen=True)
class Delete:
    """``-tag``; without a pattern for what is no tag, at which the engine throws."""

    pattern: str


@dataclass(frozen=True)
class Echo:
    """``echo value``."""

    value: Term


Action = Assign | Delete | Echo | None


@dataclass(frozen=True)
class Compare:
    """``left = right`` or ``left ~ right``."""

    left: Term
    operator: str
    right: Term


@dataclass(frozen=True)
class Do:
    """An action under conditions; none at all means in any case. None for the action is one that was not understood."""

    action: Action
    conditions: tuple[Compare, ...] = ()


@dataclass(frozen=True)
class Initialize:
    """``name := value``."""

    name: str
    value: Term


@dataclass(frozen=True)
class Describe:
    """``describe`` and ``export``: the name is one of the script's."""

    name: str


Statement = Do | Initialize | Describe


class _Nothing(Exception):
    """Something is left over: nothing of the script is done."""


class _Stop(Exception):
    """A statement that is none: what stood before is done."""


class _Skip(Exception):
    """A statement that is left out; ``loses_next`` when the one behind goes with it."""

    def __init__(self, *, loses_next: bool) -> None:
        self.loses_next = loses_next


class _Bad(Exception):
    """A value that is none."""


@lru_cache(maxsize=64)
def parse(text: str) -> tuple[Statement, ...]:
    """The statements that the engine makes of a script; `Refused` where its parser throws."""
    try:
        return tuple(_Parser(words(text)).script())
    except _Nothing:
        return ()


def unquoted(text: str) -> str:
    """A text without its quotes, escapes undone; `Refused` for those that the engine does not carry out."""
    out, at = [], 1
    while at < len(text) - 1:
        char = text[at]
        if char == "\\":
            at += 1
            if text[at] not in _ESCAPES:
                raise Refused("UnsupportedOperationException")
            char = _ESCAPES[text[at]]
        out.append(char)
        at += 1
    return "".join(out)


class _Parser:
    def __init__(self, found: list[Word]) -> None:
        self.words, self.at, self.depth, self.failed_at = found, 0, 0, -1

    def _kind(self, ahead: int = 0) -> str:
        return self.words[min(self.at + ahead, len(self.words) - 1)].kind

    def _next(self) -> Word:
        self.at += 1
        return self.words[self.at - 1]

    def _until(self, *kinds: str) -> None:
        while self._kind() not in _ENDS and self._kind() not in kinds:
            self.at += 1

    def script(self) -> list[Statement]:
        found: list[Statement] = []
        stopped = lost = False
        while True:
            while self._kind() == "newline":
                self.at += 1
            if self._kind() == "end":
                return found
            if self._kind() not in _STARTS:
                raise _Nothing
            try:
                statement = self._statement()
                if not stopped and not lost:
                    found.append(statement)
                lost = False
            except _Stop:
                stopped = True
                self._until()
            except _Skip as skip:
                lost = skip.loses_next
                self._until()
            if self._kind() not in _ENDS:
                raise _Nothing

    def _statement(self) -> Statement:
        kind, following = self._kind(), self._kind(1)
        if kind in ("describe", "export"):
            return self._describe()
        if kind == "word" and following == ":=":
            name = self._next().text
            self.at += 1
            return Initialize(name.lower(), self._value())
        if kind in ("string", "number"):
            return self._constrained()
        if kind in ("word", "tag") and following in ("=", "~"):
            return self._constrained()
        if kind == "word" and following == "[":
            return self._constrained()
        if kind == "word" or (kind == "tag" and following != ":="):
            raise _Stop
        return Do(self._action())

    def _describe(self) -> Describe:
        export = self._next().kind == "export"
        if self._kind() != "word":
            raise _Stop
        name = self._next().text
        if self._kind() == "string" or (self._kind() == "hidden" and not export):
            self.at += 1
            return Describe(name.lower())
        raise _Stop

    def _action(self) -> Action:
        kind = self._kind()
        if kind == "-":
            self.at += 1
            if self._kind() not in ("tag", "pattern"):
                self._until()
                return Delete("")
            return Delete(self._next().text[1:-1])
        if kind == "echo":
            self.at += 1
            return Echo(self._value() if self._kind() in _TERMS else Constant(""))
        pattern = self._next().text[1:-1]
        if not self._match(":=", _TERMS):
            raise _Stop
        if self._kind() == "new" and kind == "tag":
            return self._new(pattern)
        if self._kind() not in _TERMS and kind == "tag":
            raise _Stop
        return Assign(pattern, self._value())

    def _new(self, pattern: str) -> Assign:
        self.at += 1
        if self._kind() != "word":
            raise _Stop
        name = self._next().text
        if self._kind() == "[":
            self.at += 1
            try:
                self._terms()
            except _Bad:
                raise _Stop from None
            if self._kind() != "]":
                raise _Stop
            self.at += 1
        return Assign(pattern, NewUid(int(pattern.replace(",", ""), 16), name))

    def _constrained(self) -> Do:
        conditions: list[Compare | None] = []
        whole = True
        while True:
            conditions.append(self._condition())
            if not self._match(":", _TERMS | _ACTIONS):
                loses = self._kind() not in _ENDS or conditions[0] is None
                if self.failed_at == self.at:  # the second error at one place: the parser moves on, over the line end
                    self.at += self._kind() != "end"
                self._until(*_ACTIONS)
                whole = False
                break
            by_tag = self._kind() == "tag" and self._kind(1) in ("=", "~")
            if not by_tag and self._kind() not in ("string", "number", "word"):
                break
        return self._under(conditions if whole else [None], loses=not whole and loses)

    def _under(self, conditions: list[Compare | None], *, loses: bool) -> Do:
        good = tuple(one for one in conditions[: conditions.index(None) if None in conditions else None] if one)
        if self._kind() not in _ACTIONS or (self._kind() == "tag" and self._kind(1) != ":="):
            if len(good) == len(conditions):
                return Do(None, good)
            raise _Skip(loses_next=loses)
        try:
            action = self._action()
        except _Stop:
            raise _Skip(loses_next=False) from None
        if good and len(good) < len(conditions):
            raise _Skip(loses_next=False)
        return Do(action, good)

    def _match(self, kind: str, then: frozenset[str]) -> bool:
        """Take a word of ``kind``: also behind one too many, and where it is missing before one of ``then``."""
        if self._kind() != kind and self._kind(1) == kind:
            self.at += 1
        if self._kind() == kind:
            self.at += 1
            return True
        return self._kind() in then

    def _condition(self) -> Compare | None:
        """``value = value`` or ``value ~ value``; of anything else the engine thinks that the second was meant."""
        begin = self.at
        try:
            left = self._value_or_bad()
            if self._kind() == "=":
                middle, self.at = self.at, self.at + 1
                try:
                    return Compare(left, "=", self._value_or_bad())
                except _Bad:
                    self.at = middle
            if not self._match("~", _TERMS):
                raise _Bad
            return Compare(left, "~", self._value_or_bad())
        except _Bad:
            self.at = self.failed_at = max(self.at, begin + 1)
            self._until(":", *_ACTIONS)
            return None

    # Values ----------------------------------------------------------------------------------------------------------

    def _value(self) -> Term:
        try:
            return self._value_or_bad()
        except _Bad:
            self._until()
            return None

    def _value_or_bad(self) -> Term:
        if self._kind() == "string":
            following = self._kind(1)
            if following in _TERMS:
                text = Constant(unquoted(self._next().text))
                return Function("format", (text, *self._terms()))
            if following not in _ENDS and following not in (":", "=", "~"):
                raise _Bad
        return self._term()

    def _terms(self) -> tuple[Term, ...]:
        found = [self._term()]
        while self._kind() == ",":
            self.at += 1
            found.append(self._term())
        return tuple(found)

    def _term(self) -> Term:
        kind = self._kind()
        if kind == "string":
            return Constant(unquoted(self._next().text))
        if kind == "number":
            return Constant(self._next().text)
        if kind == "tag":
            return TagValue(int(self._next().text[1:-1].replace(",", ""), 16))
        if kind != "word":
            raise _Bad
        name = self._next().text
        if self._kind() != "[":
            return Variable(name.lower())
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Refused("functions are nested too deeply")
        self.at += 1
        try:
            arguments = self._terms()
        except _Bad:  # the function is taken for one that does not exist
            self._until("]", ",", "=", "~", ":", *_ACTIONS)
            name, arguments = "", ()
        if not self._match("]", _ENDS | {",", "]", ":", "=", "~"}):
            raise _Bad
        self.depth -= 1
        return Function(name, arguments)
