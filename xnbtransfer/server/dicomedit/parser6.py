"""The statements of DicomEdit 6 (dicom-edit6 source: ``DE6Parser.g4``): one error anywhere, and nothing is carried out.

``newest`` is 6.6. Before, conditions compare two values and nothing else, and there are no lists; 6.3 has no ``if`` and
one statement a line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from .errors import Refused
from .lexer6 import Word, prepared, words
from .paths import Path, Tag

_OPERATORS = frozenset(("=", "!=", "~", "!~"))
_PATH_STARTS = frozenset(("public group", "private group", "wild"))
MAX_NESTING = 200
"""Functions, lists and blocks within each other that are read."""


@dataclass(frozen=True)
class Text:
    """A text as it stands between its quotes."""

    raw: str


@dataclass(frozen=True)
class Number:
    """A number as it stands."""

    text: str


@dataclass(frozen=True)
class Name:
    """A variable."""

    name: str


@dataclass(frozen=True)
class Call:
    """A function with its arguments."""

    name: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True)
class Listed:
    """A list."""

    values: tuple[Value, ...]


Value = Text | Number | Name | Call | Listed | Path


@dataclass(frozen=True)
class Assign:
    """``path := value``, or with ``present`` ``path ?= value``."""

    path: Path
    value: Value
    present: bool = False


@dataclass(frozen=True)
class Initialize:
    """``name := value``."""

    name: str
    value: Value


@dataclass(frozen=True)
class Delete:
    """``-path``."""

    path: Path


@dataclass(frozen=True)
class Echo:
    """``echo value``; without a value it fails when it is run."""

    value: Value | None


@dataclass(frozen=True)
class Compare:
    """A condition of two values."""

    left: Value
    operator: str
    right: Value


Condition = Compare | Call


@dataclass(frozen=True)
class If:
    """Conditions with what is done where the first holds, and what else."""

    branches: tuple[tuple[Condition, tuple[Statement, ...]], ...]
    otherwise: tuple[Statement, ...] = field(default=())


@dataclass(frozen=True)
class Describe:
    """``describe name what``: a text, or ``hidden``, ``const``, ``immutable``; and ``export``."""

    name: str
    what: str


@dataclass(frozen=True)
class RemovePrivate:
    """``removeAllPrivateTags``."""


@dataclass(frozen=True)
class Version:
    """``version "6.1"``: looked at when it is run."""

    text: str


Statement = Assign | Initialize | Delete | Echo | Call | If | Describe | RemovePrivate | Version


@lru_cache(maxsize=64)
def parse(text: str, release: tuple[int, int]) -> tuple[Statement, ...]:
    """The statements of a script; `Refused` with line and column for the first thing that is none."""
    newest = release >= (6, 6)
    return _Parser(words(prepared(text, newest=newest), newest=newest, blocks=release >= (6, 4)), release).script()


def path_of(text: str) -> Path:
    """A path that a script gives as text; `Refused` when it is none."""
    parser = _Parser(words(text, newest=True), (6, 6))
    return parser.path()


class _Parser:
    def __init__(self, found: list[Word], release: tuple[int, int]) -> None:
        self.words, self.at, self.depth = found, 0, 0
        self.newest, self.blocks = release >= (6, 6), release >= (6, 4)

    @property
    def kind(self) -> str:
        return self.words[self.at].kind

    def _wrong(self) -> Refused:
        word = self.words[self.at]
        return Refused(f"Failed to parse at {word.line}:{word.column} due to {word.text!r}")

    def _take(self, kind: str) -> Word:
        word = self.words[self.at]
        if word.kind != kind:
            raise self._wrong()
        self.at += 1
        return word

    def _skip_lines(self) -> int:
        begin = self.at
        while self.kind == "newline":
            self.at += 1
        return self.at - begin

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Refused("functions, lists or blocks are nested too deeply")

    def script(self) -> tuple[Statement, ...]:
        found: list[Statement] = []
        self._skip_lines()
        while self.kind != "end":
            found.append(self._statement())
            if not self._skip_lines() and self.kind != "end" and not self.blocks:
                raise self._wrong()
        return tuple(found)

    def _statement(self) -> Statement:
        if self.kind == "if" and self.blocks:
            return self._if()
        if self.kind == "removeAllPrivateTags":
            self.at += 1
            return RemovePrivate()
        if self.kind == "version":
            self.at += 1
            return Version(self._take("string").text.replace('"', ""))
        if self.kind in ("describe", "export"):
            return self._describe()
        return self._action_or_condition()

    def _describe(self) -> Describe:
        export = self._take(self.kind).kind == "export"
        name = self._take("word").text
        if self.kind == "string" or export:
            self._take("string")
            return Describe(name, "text")
        if self.kind not in ("hidden", "const", "immutable"):
            raise self._wrong()
        return Describe(name, self._take(self.kind).kind)

    def _action_or_condition(self) -> Statement:
        if self.kind in ("-", "echo"):
            return self._action()
        if self.kind == "word" and self.words[self.at + 1].kind == ":=":
            return self._action()
        left = self._value()
        if isinstance(left, Path) and self.kind in (":=", "?="):
            return self._assign(left)
        if isinstance(left, Call) and self.kind not in _OPERATORS and not (self.newest and self.kind == "?"):
            return left
        return self._conditional(self._condition(left))

    def _condition(self, left: Value) -> Condition:
        if self.newest and isinstance(left, Call) and self.kind not in _OPERATORS:
            return left
        if self.kind not in _OPERATORS:
            raise self._wrong()
        operator = self._take(self.kind).kind
        return Compare(left, operator, self._value())

    def _conditional(self, condition: Condition) -> If:
        self._take("?")
        then = self._action()
        otherwise: tuple[Statement, ...] = ()
        if self.kind == ":":
            self.at += 1
            otherwise = (self._action(),)
        return If(((condition, (then,)),), otherwise)

    def _action(self) -> Statement:
        if self.kind == "-":
            self.at += 1
            return Delete(self.path())
        if self.kind == "echo":
            self.at += 1
            return Echo(self._value() if self._begins_value() else None)
        if self.kind == "word" and self.words[self.at + 1].kind == ":=":
            name = self._take("word").text
            self.at += 1
            return Initialize(name, self._value())
        if self.kind == "word" and self.blocks:  # no function behind a question mark in 6.3
            return self._call()
        return self._assign(self.path())

    def _begins_value(self) -> bool:
        if self.kind == "word":  # echo, and then a variable is set
            return self.words[self.at + 1].kind != ":="
        return self.kind in _PATH_STARTS or self.kind in ("integer", "float", "string", "{")

    def _assign(self, path: Path) -> Assign:
        if self.kind not in (":=", "?="):
            raise self._wrong()
        present = self._take(self.kind).kind == "?="
        return Assign(path, self._value(), present)

    def _value(self) -> Value:
        if self.kind in ("integer", "float"):
            return Number(self._take(self.kind).text)
        if self.kind == "string":
            return Text(self._take("string").text[1:-1])
        if self.kind == "word":
            return self._call() if self.words[self.at + 1].kind == "[" else Name(self._take("word").text)
        if self.kind == "{" and self.newest:
            return self._list()
        return self.path()

    def _call(self) -> Call:
        self._deeper()
        name = self._take("word").text
        self._take("[")
        arguments: list[Value] = []
        if self.kind != "]":
            arguments.append(self._value())
            while self.kind == ",":
                self.at += 1
                arguments.append(self._value())
        self._take("]")
        self.depth -= 1
        return Call(name, tuple(arguments))

    def _list(self) -> Listed:
        self._deeper()
        self._take("{")
        values: list[Value] = []
        self._few_lines(2)
        while self.kind != "}":
            values.append(self._value())
            self._few_lines(2 if self.kind == "newline" and self.words[self.at + 1].kind == "newline" else 1)
            if self.kind == "}":
                break
            self._take(",")
            self._few_lines(1)
            if self.kind == "}":
                raise self._wrong()
        self._take("}")
        self.depth -= 1
        return Listed(tuple(values))

    def _few_lines(self, most: int) -> None:
        for _ in range(most):
            if self.kind == "newline":
                self.at += 1

    def _if(self) -> If:
        branches = [(self._head(), self._block())]
        otherwise: tuple[Statement, ...] = ()
        mark = self.at
        self._skip_lines()
        while self.kind == "elseif":
            branches.append((self._head(), self._block()))
            mark = self.at
            self._skip_lines()
        if self.kind == "else":
            self.at += 1
            otherwise = self._block()
        else:
            self.at = mark
        return If(tuple(branches), otherwise)

    def _head(self) -> Condition:
        self.at += 1
        self._take("(")
        condition = self._condition(self._value())
        self._take(")")
        return condition

    def _block(self) -> tuple[Statement, ...]:
        self._deeper()
        self._skip_lines()
        self._take("{")
        found: list[Statement] = []
        self._skip_lines()
        while self.kind != "}":
            found.append(self._statement())
            self._skip_lines()
        self._take("}")
        self.depth -= 1
        return tuple(found)

    def path(self) -> Path:
        """A tag path."""
        tags = [self._tag()]
        while self.kind == "/":
            self.at += 1
            if tags[-1].wild == "" and not tags[-1].sequence:
                last = tags[-1]
                tags[-1] = Tag(last.group, last.number, last.creator, sequence=True)
            tags.append(self._tag())
        return Path(tuple(tags))

    def _tag(self) -> Tag:
        if self.kind == "wild":
            return Tag(wild=self._take("wild").text)
        private = self.kind == "private group"
        group = self._take("private group" if private else "public group").text[1:]
        self._take(",")
        element = self._take("private element" if private else "public element").text[:-1]
        creator, number = None, element
        if private:
            creator, _, number = element[1:].partition("}")
            number = "10" + number
        if self.kind != "[":
            return Tag(group, number, creator)
        self.at += 1
        item = self._take("%" if self.kind == "%" else "integer").text
        self._take("]")
        return Tag(group, number, creator, sequence=True, item=item)
