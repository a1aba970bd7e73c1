"""A script of DicomEdit 6 as a syntax tree (``DE6Parser.g4``), or the place where the engine stops reading it.

Statements follow each other with or without a line end. Called by :mod:`.script`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .lexer6 import Token, tokens
from .tree import (
    Assign,
    Call,
    Choice,
    Condition,
    Delete,
    Describe,
    Echo,
    If,
    Items,
    Name,
    Number,
    Path,
    RemoveAllPrivateTags,
    SetVariable,
    Statement,
    TagPart,
    Text,
    Value,
    Version,
)
from .words import Place, Refused

_OPERATORS = ("=", "!=", "~", "!~")
_TAGS = ("public group", "private group")
_DEPTH = 60
_MOST_TOKENS = 200_000


def parse(text: str, *, dialect: tuple[int, int] = (6, 6)) -> tuple[Statement, ...]:
    """The statements of a script; ``dialect`` is the engine's version.

    Raises
    ------
    Refused
        With the place at which the engine stops reading, and what it met there.
    """
    found = tokens(text, dialect=dialect)
    if len(found) > _MOST_TOKENS:
        raise Refused("the script is too long to be read", found[_MOST_TOKENS].place)
    return _Parser(found, dialect).script()


class _Parser:
    def __init__(self, found: list[Token], dialect: tuple[int, int]) -> None:
        self.tokens, self.at, self.depth = found, 0, 0
        self.functions_as_conditions = dialect >= (6, 6)
        self.blocks = dialect >= (6, 4)
        self.loose = dialect >= (6, 4)
        self.lists = dialect >= (6, 6)
        self.functions_as_actions = dialect >= (6, 4)

    @property
    def kind(self) -> str:
        return self.tokens[self.at].kind

    @property
    def place(self) -> Place:
        return self.tokens[self.at].place

    def next(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def take(self, kind: str) -> Token:
        if self.kind != kind:
            self.wrong(kind)
        return self.next()

    def maybe(self, kind: str) -> bool:
        if self.kind != kind:
            return False
        self.at += 1
        return True

    def wrong(self, expected: str) -> None:
        met = self.tokens[self.at]
        shown = {"newline": "the end of the line", "end": "the end of the script"}.get(met.kind, f"{met.text!r}")
        wanted = {"newline": "a new line"}.get(expected, expected)
        raise Refused(f"{wanted} is expected where {shown} stands", met.place)

    def script(self) -> tuple[Statement, ...]:
        statements: list[Statement] = []
        self.newlines()
        while self.kind != "end":
            statements.append(self.statement())
            if not self.newlines() and not self.loose and self.kind != "end":
                self.wrong("newline")
        return tuple(statements)

    def newlines(self) -> bool:
        start = self.at
        while self.maybe("newline"):
            pass
        return self.at > start

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _DEPTH:
            raise Refused("it is nested too deeply to be read", self.place)

    def statement(self) -> Statement:
        place, kind = self.place, self.kind
        if kind == "if" and self.blocks:
            return self.block_if()
        if kind == "version":
            self.next()
            return Version(text=self.take("text").text, place=place)
        if kind == "removeAllPrivateTags":
            self.next()
            return RemoveAllPrivateTags(place=place)
        if kind == "describe":
            self.next()
            name = self.take("name").text
            if self.kind in ("hidden", "const", "immutable"):
                return Describe(name=name, kind=self.next().text, place=place)
            self.take("text")
            return Describe(name=name, kind="text", place=place)
        if kind == "export":
            self.next()
            name = self.take("name").text
            self.take("text")
            return Describe(name=name, kind="text", place=place)
        return self.action(conditional=True)

    def action(self, *, conditional: bool) -> Statement:
        """An action; with ``conditional`` also one that stands behind a condition."""
        place = self.place
        if self.maybe("-"):
            return Delete(target=self.path(), place=place)
        if self.maybe("echo"):
            value = self.value() if self.begins_value() else None
            return Echo(value=value, place=place)
        left = self.value()
        if isinstance(left, Path) and self.kind in (":=", "?="):
            if_exists = self.next().kind == "?="
            return Assign(target=left, value=self.value(), if_exists=if_exists, place=place)
        if isinstance(left, Name) and self.maybe(":="):
            return SetVariable(name=left.name, value=self.value(), place=place)
        if conditional and (self.kind in _OPERATORS or (isinstance(left, Call) and self.kind == "?")):
            condition = self.rest_of_condition(left, place)
            self.take("?")
            then = self.action(conditional=False)
            other = self.action(conditional=False) if self.maybe(":") else None
            return Choice(condition=condition, then=then, other=other, place=place)
        if isinstance(left, Call) and (conditional or self.functions_as_actions):
            return left
        self.wrong(":=" if isinstance(left, Path | Name) else "= (or !=, ~, !~)")
        raise AssertionError

    def rest_of_condition(self, left: Value, place: Place) -> Condition:
        if self.kind in _OPERATORS:
            operator = self.next().kind
            return Condition(left=left, operator=operator, right=self.value(), place=place)
        if isinstance(left, Call) and self.functions_as_conditions:
            return Condition(left=left, operator="", right=None, place=place)
        self.wrong("= (or !=, ~, !~)")
        raise AssertionError

    def block_if(self) -> If:
        place = self.place
        self.deeper()
        branches = []
        self.take("if")
        while True:
            self.take("(")
            start = self.place
            condition = self.rest_of_condition(self.value(), start)
            self.take(")")
            self.newlines()
            branches.append((condition, self.block()))
            behind = self.at
            self.newlines()
            if not self.maybe("elseif"):
                break
        other: tuple[Statement, ...] = ()
        if self.maybe("else"):
            self.newlines()
            other = self.block()
        else:
            self.at = behind
        self.depth -= 1
        return If(branches=tuple(branches), other=other, place=place)

    def block(self) -> tuple[Statement, ...]:
        self.take("{")
        statements: list[Statement] = []
        while True:
            self.newlines()
            if self.maybe("}"):
                return tuple(statements)
            statements.append(self.statement())

    def begins_value(self) -> bool:
        return self.kind in (*_TAGS, "text", "integer", "float", "name", "wildcard", "{")

    def value(self, *, inner: Callable[[], Value] | None = None) -> Value:
        place, kind = self.place, self.kind
        if kind == "text":
            return Text(text=self.next().text[1:-1], place=place)
        if kind in ("integer", "float"):
            return Number(text=self.next().text, place=place)
        if kind == "{" and self.lists:
            return self.items()
        if kind in (*_TAGS, "wildcard"):
            return self.path()
        if kind != "name":
            self.wrong("a value")
        name = self.next().text
        if not self.maybe("["):
            return Name(name=name, place=place)
        self.deeper()
        arguments: list[Value] = []
        if not self.maybe("]"):
            arguments.append(self.value())
            while self.maybe(","):
                arguments.append(self.value())
            self.take("]")
        self.depth -= 1
        return Call(name=name, arguments=tuple(arguments), place=place)

    def items(self) -> Items:
        """A list; a line may end behind its brace, and before and behind each of its values."""
        place = self.place
        self.deeper()
        self.take("{")
        values: list[Value] = []
        self.maybe("newline")
        self.maybe("newline")
        if not self.maybe("}"):
            values.append(self.value())
            self.maybe("newline")
            while self.maybe(","):
                self.maybe("newline")
                values.append(self.value())
                self.maybe("newline")
            self.maybe("newline")
            self.take("}")
        self.depth -= 1
        return Items(values=tuple(values), place=place)

    def path(self) -> Path:
        place = self.place
        parts = [self.part()]
        while self.maybe("/"):
            last = parts[-1]
            if not last.wildcard and last.item is None:
                parts[-1] = replace(last, item="%", unsaid=True)
            parts.append(self.part())
        return Path(parts=tuple(parts), place=place)

    def part(self) -> TagPart:
        if self.kind == "wildcard":
            return TagPart(wildcard=self.next().text)
        if self.kind not in _TAGS:
            self.wrong("a tag")
        private = self.kind == "private group"
        group = self.next().text[1:]
        self.take(",")
        if private:
            text = self.take("private element").text
            creator, _, element = text[1:-1].partition("}")
        else:
            creator, element = None, self.take("public element").text[:-1]
        item = None
        if self.maybe("["):
            item = self.take("%").text if self.kind == "%" else self.take("integer").text
            self.take("]")
        return TagPart(group=group, element=element, creator=creator, item=item)
