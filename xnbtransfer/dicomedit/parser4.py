"""A script of DicomEdit 4 as its engine reads it (``EditDCMLexer.g``, ``EditDCMParser.g``), mistakes included.

The engine never says that it cannot read a script. What it makes of a line that is none is measured, not documented:
signs that begin no token are dropped; a line that begins no statement ends the script in silence; a condition that is
none holds always; what is wrong deeper in a statement makes the run stop with an exception before anything is done.
Called by :mod:`.script`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from .words import Place, Refused

_HEX, _WILD = "[0-9A-Fa-f]", "[0-9A-Fa-fX@#]"
_ESCAPE = r"\\(?:[btnfr\"'\\]|u[0-9A-Fa-f]{4}|[0-3][0-7]{2}|[0-7]{1,2})"
_RULES = [
    ("skip", re.compile(r"[ \t]|\\\r?\n|//[^\r\n]*")),
    ("newline", re.compile(r"\r?\n")),
    ("pattern", re.compile(rf"\({_WILD}{{4}},{_WILD}{{4}}\)")),
    ("number", re.compile(r"0|-?[1-9][0-9]*")),
    ("sign", re.compile(r":=|[\[\],:\-=~]")),
    ("name", re.compile(r"[A-Za-z_][A-Za-z0-9_]*")),
    ("text", re.compile(rf'"(?:{_ESCAPE}|[^\\"])*"')),
]
_TAG = re.compile(rf"\({_HEX}{{4}},{_HEX}{{4}}\)").fullmatch
_WORDS = frozenset(["echo", "new", "describe", "hidden", "export"])
_BEGINNINGS = frozenset(["describe", "export", "name", "tag", "pattern", "-", "echo", "text", "number"])
_ACTIONS = ("tag", "pattern", "-", "echo")
_UNDONE = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "'": "'", "\\": "\\"}
_MOST_TOKENS = 200_000


@dataclass(frozen=True)
class Token:
    """One token, with its kind, its text and where it stands."""

    kind: str
    text: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A tag of a statement, perhaps with ``X``, ``@`` and ``#``: any, any even, any odd digit."""

    group: str
    element: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text without its quotes and escapes."""

    text: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number, as it is spelt."""

    text: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Name:
    """A word in small letters."""

    name: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Call:
    """A function with its arguments."""

    name: str
    arguments: tuple[Term, ...]
    place: Place


@dataclass(frozen=True, kw_only=True)
class Format:
    """A text with other terms behind it, which fill its places."""

    text: str
    values: tuple[Term, ...]
    place: Place


@dataclass(frozen=True, kw_only=True)
class New:
    """``new UID``."""

    name: str
    place: Place


Term: TypeAlias = Pattern | Text | Number | Name | Call | Format | New


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``left = right`` or ``left ~ right``."""

    left: Term
    operator: str
    right: Term


@dataclass(frozen=True, kw_only=True)
class Statement:
    """``conditions : action``; ``value`` is None for a deletion, ``target`` for an echo."""

    conditions: tuple[Condition, ...]
    target: Pattern | None
    value: Term | None
    place: Place


@dataclass(frozen=True, kw_only=True)
class Statements:
    """What the engine has of a script.

    ``stopped``: where it stopped reading in silence, and why. ``broken``: the run stops there with an exception.
    ``variables``: initial values by name in small letters; ``words``: every word, in the order met.
    ``dropped``: places of statements that were passed over.
    """

    statements: tuple[Statement, ...] = ()
    variables: dict[str, Term] = field(default_factory=dict)
    words: dict[str, Place] = field(default_factory=dict)
    stopped: Refused | None = None
    broken: Refused | None = None
    dropped: tuple[Refused, ...] = ()


class _Stop(Exception):
    def __init__(self, reason: str, place: Place) -> None:
        self.refused = Refused(reason, place)


class _Drop(_Stop):
    pass


class _Break(_Stop):
    pass


class _Nothing(_Stop):
    """The whole script is given up, with what came before."""


def tokens(text: str) -> list[Token]:
    """The tokens of a script, ``end`` last; what begins none is dropped."""
    found: list[Token] = []
    at, line, begin = 0, 1, 0
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    while at < len(text):
        for kind, pattern in _RULES:
            match = pattern.match(text, at)
            if not match:
                continue
            token = match[0]
            place = Place(line=line, column=at - begin + 1)
            if kind == "sign" or kind == "name" and token in _WORDS:
                found.append(Token(token, token, place))
            elif kind != "skip":
                found.append(Token("tag" if kind == "pattern" and _TAG(token) else kind, token, place))
            if "\n" in token:
                line += token.count("\n")
                begin = at + token.rindex("\n") + 1
            at += len(token)
            break
        else:
            at = _after_a_mistake(text, at)
    if len(found) > _MOST_TOKENS:
        raise Refused("the script is too long to be read", found[_MOST_TOKENS].place)
    found.append(Token("end", "", Place(line=line, column=at - begin + 1)))
    return found


def _after_a_mistake(text: str, at: int) -> int:
    """Where reading goes on behind a sign that begins no token: of a text with a wrong escape behind that backslash."""
    if text[at] == '"':
        inner = re.compile(rf'"(?:{_ESCAPE}|[^\\"])*').match(text, at)
        return min(inner.end() + 1, len(text)) if inner else at + 1
    if text[at] == "/":
        return at + 2
    return at + 1


def parse(text: str) -> Statements:
    """What the engine has of a script; never raises for what it cannot read."""
    return _Parser(tokens(text)).script()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self.tokens, self.at = found, 0
        self.variables: dict[str, Term] = {}
        self.words: dict[str, Place] = {}

    @property
    def kind(self) -> str:
        return self.tokens[self.at].kind

    @property
    def place(self) -> Place:
        return self.tokens[self.at].place

    def ahead(self, count: int) -> str:
        return self.tokens[min(self.at + count, len(self.tokens) - 1)].kind

    def next(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def maybe(self, kind: str) -> bool:
        if self.kind != kind:
            return False
        self.at += 1
        return True

    def script(self) -> Statements:
        statements: list[Statement] = []
        dropped: list[Refused] = []
        stopped = broken = None
        while True:
            while self.maybe("newline"):
                pass
            if self.kind == "end":
                break
            known = dict(self.words)
            try:
                if self.kind not in _BEGINNINGS:
                    raise _Nothing("no statement begins here", self.place)
                statement = self.statement()
                if self.kind not in ("newline", "end"):
                    raise _Nothing("the line goes on behind its statement", self.place)
                if statement is not None:
                    statements.append(statement)
            except _Drop as found:
                self.words = known
                dropped.append(found.refused)
                self.skip_line()
            except _Nothing as found:
                return Statements(stopped=found.refused)
            except _Break as found:
                broken = found.refused
                break
            except _Stop as found:
                self.words = known
                stopped = found.refused
                break
        return Statements(
            statements=tuple(statements),
            variables=self.variables,
            words=self.words,
            stopped=stopped,
            broken=broken,
            dropped=tuple(dropped),
        )

    def skip_line(self) -> None:
        while self.kind not in ("newline", "end"):
            self.at += 1

    def statement(self) -> Statement | None:
        place = self.place
        if self.kind in ("describe", "export"):
            self.description()
            return None
        if self.kind == "name" and self.ahead(1) == ":=":
            self.initialization()
            return None
        conditions = self.conditions() if self.begins_condition() else ()
        if conditions and self.kind not in ("tag", "pattern", "-", "echo"):
            raise _Drop("behind its condition stands no action", self.place)
        if self.maybe("-"):
            if self.kind not in ("tag", "pattern"):
                raise _Break("a deletion needs a tag", self.place)
            return Statement(conditions=conditions, target=self.pattern(), value=None, place=place)
        if self.maybe("echo"):
            known = self.kind in ("text", "number", "tag", "name")
            value: Term = self.value() if known else Text(text="", place=place)
            return Statement(conditions=conditions, target=None, value=value, place=place)
        if self.kind in ("tag", "pattern") and self.ahead(1) == ":=":
            plain = self.kind == "tag"
            target = self.pattern()
            self.at += 1
            if self.kind == "new" and plain:
                return Statement(conditions=conditions, target=target, value=self.new(), place=place)
            if self.kind not in ("text", "number", "tag", "name"):
                raise _Stop("a value is expected", self.place)
            return Statement(conditions=conditions, target=target, value=self.value(), place=place)
        raise _Stop("no statement begins here", self.place)

    def description(self) -> None:
        export = self.next().kind == "export"
        if self.kind != "name":
            raise _Stop("a word is expected", self.place)
        name = self.next()
        if not (self.maybe("text") or (not export and self.maybe("hidden"))):
            raise _Stop("a text is expected", self.place)
        self.words.setdefault(name.text.lower(), name.place)

    def initialization(self) -> None:
        token = self.next()
        name = token.text.lower()
        self.at += 1
        if self.kind not in ("text", "number", "tag", "name"):
            raise _Stop("a value is expected", self.place)
        try:
            value = self.value()
        except _Break:
            # The word is known now, but has no value.
            self.words.setdefault(name, token.place)
            self.skip_line()
            return
        if name in self.variables:
            raise _Break(f"the word {token.text} is set a second time", token.place)
        self.words.setdefault(name, token.place)
        self.variables[name] = value

    def begins_condition(self) -> bool:
        if self.kind in ("text", "number"):
            return True
        return (self.kind == "tag" and self.ahead(1) in ("=", "~")) or (
            self.kind == "name" and self.ahead(1) in ("=", "~", "[")
        )

    def conditions(self) -> tuple[Condition, ...]:
        """The conditions before an action.

        Where one cannot be read, or has no colon behind it, reading goes on at the next colon or action of the line,
        and the action is carried out whether the condition holds or not.
        """
        found: list[Condition] = []
        while self.begins_condition():
            start, kind = self.at, self.kind
            condition = self.condition()
            if condition is None:
                self.skip_to(*((":",) if kind in ("tag", "name") else (":", *_ACTIONS)))
                names = any(token.kind == "name" for token in self.tokens[start : self.at])
                if self.kind in ("newline", "end"):
                    reason = "a condition needs a colon behind it"
                    raise _Drop(reason, self.place) if kind == "name" else _Stop(reason, self.tokens[start].place)
                if kind == "number" and names and self.kind == ":":
                    raise _Stop("no statement begins here", self.tokens[start].place)
                if not self.maybe(":"):
                    break
            elif self.maybe(":"):
                found.append(condition)
            elif self.ahead(1) == ":":
                found.append(condition)
                self.at += 2
            else:
                place = self.place
                self.skip_to(*_ACTIONS)
                if self.kind in ("newline", "end"):
                    raise _Stop("a condition needs a colon behind it", place)
                found.clear()
                break
        return tuple(found)

    def skip_to(self, *kinds: str) -> None:
        while self.kind not in (*kinds, "newline", "end"):
            self.at += 1

    def condition(self) -> Condition | None:
        start, known = self.at, dict(self.words)
        try:
            left = self.value()
            if self.kind in ("=", "~"):
                operator = self.next().kind
                return Condition(left=left, operator=operator, right=self.value())
        except _Stop:
            pass
        self.at, self.words = start, known
        return None

    def value(self) -> Term:
        term = self.term()
        if isinstance(term, Text) and self.kind == ",":
            raise _Break("a text is followed by a comma", self.place)
        if isinstance(term, Text) and self.kind in ("text", "number", "tag", "name"):
            return Format(text=term.text, values=self.terms(), place=term.place)
        return term

    def terms(self) -> tuple[Term, ...]:
        found = [self.term()]
        while self.maybe(","):
            found.append(self.term())
        return tuple(found)

    def term(self) -> Term:
        place, kind = self.place, self.kind
        if kind == "text":
            return Text(text=undone(self.next().text, place), place=place)
        if kind == "number":
            return Number(text=self.next().text, place=place)
        if kind == "tag":
            return self.pattern()
        if kind != "name":
            raise _Break("a value is expected", place)
        token = self.next()
        if not self.maybe("["):
            self.words.setdefault(token.text.lower(), place)
            return Name(name=token.text.lower(), place=place)
        arguments = self.terms()
        if not self.maybe("]"):
            raise _Break("a ] is expected", self.place)
        return Call(name=token.text, arguments=arguments, place=place)

    def new(self) -> New:
        place = self.next().place
        if self.kind != "name":
            raise _Stop("UID is expected behind new", self.place)
        name = self.next().text
        if self.maybe("["):
            self.terms()
            if not self.maybe("]"):
                raise _Break("a ] is expected", self.place)
        return New(name=name, place=place)

    def pattern(self) -> Pattern:
        token = self.next()
        return Pattern(group=token.text[1:5], element=token.text[6:10], place=token.place)


def undone(text: str, place: Place) -> str:
    """A text without its quotes and escapes; those of numbers make the engine stop with an exception."""
    out, at, inner = [], 0, text[1:-1]
    while at < len(inner):
        if inner[at] != "\\":
            out.append(inner[at])
            at += 1
            continue
        sign = inner[at + 1 : at + 2]
        if sign not in _UNDONE:
            raise _Break("a text has an escape that the engine does not undo", place)
        out.append(_UNDONE[sign])
        at += 2
    return "".join(out)
