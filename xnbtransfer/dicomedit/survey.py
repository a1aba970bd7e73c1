"""What a script says of tags, told from its text alone: which it reads, sets and deletes, each kept apart, with places.

For reviews and findings before the start; what happens to a file is computed by :mod:`.script`, never taken from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import parser4
from .paths import is_singular, number
from .script import Script
from .tree import (
    Assign,
    Call,
    Choice,
    Delete,
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
)
from .tree import Value as Node
from .words import Place

# Functions that change what their tags name, and that delete it.
_SETTING = frozenset(["hashUIDList", "shiftDateTimeListByIncrement"])
_DELETING = frozenset(["removeTags"])


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A tag in a script. ``text``: what it is set to, where that is a plain text; ``always``: outside of conditions.

    ``word``: the word of the context that it is set to, or "". ``hashed``: it is set to a hash of something.
    """

    parts: tuple[TagPart, ...]
    place: Place
    text: str | None = None
    word: str = ""
    hashed: bool = False
    always: bool = True

    @property
    def tag(self) -> int | None:
        """The tag as a number, of one public tag outside of sequences; else None."""
        part = self.parts[0]
        path = Path(parts=self.parts, place=self.place)
        if len(self.parts) > 1 or part.creator is not None or part.item is not None or not is_singular(path):
            return None
        return number(part)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The tags of a script by what is done with them."""

    reads: tuple[Mention, ...] = ()
    sets: tuple[Mention, ...] = ()
    deletes: tuple[Mention, ...] = ()
    removes_private: bool = False

    def surely(self) -> tuple[dict[int, str], set[int]]:
        """Public tags outside of sequences that end as a plain text or a word, whatever the file, and those deleted."""
        texts: dict[int, str] = {}
        gone: set[int] = set()
        for mention, deleted in sorted(
            [(one, False) for one in self.sets] + [(one, True) for one in self.deletes],
            key=lambda pair: (pair[0].place.line, pair[0].place.column),
        ):
            if mention.tag is None:
                continue
            texts.pop(mention.tag, None)
            gone.discard(mention.tag)
            if deleted and mention.always:
                gone.add(mention.tag)
            elif mention.always and (mention.text is not None or mention.word):
                texts[mention.tag] = mention.text or ""
        return texts, gone


def survey(script: Script) -> Survey:
    """The tags that a script mentions; of one that cannot be read none."""
    if script.problem is not None:
        return Survey()
    found = _Six() if script.number == 6 else None
    if found is not None:
        for statement in script.six:
            found.statement(statement, always=True)
        return Survey(
            reads=tuple(found.reads),
            sets=tuple(found.sets),
            deletes=tuple(found.deletes),
            removes_private=found.removes_private,
        )
    return _four(script.four or parser4.Statements())


class _Six:
    def __init__(self) -> None:
        self.reads: list[Mention] = []
        self.sets: list[Mention] = []
        self.deletes: list[Mention] = []
        self.removes_private = False
        self.own: set[str] = set()

    def statement(self, node: Statement | None, *, always: bool) -> None:
        match node:
            case Assign():
                self.value(node.value)
                text = node.value.text.replace("\\\\", "\\") if isinstance(node.value, Text | Number) else None
                word = node.value.name if isinstance(node.value, Name) and node.value.name not in self.own else ""
                sure = always and not node.if_exists
                hashed = isinstance(node.value, Call) and node.value.name == "hashUID"
                mention = Mention(
                    parts=node.target.parts, place=node.place, text=text, word=word, hashed=hashed, always=sure
                )
                self.sets.append(mention)
            case SetVariable():
                self.value(node.value)
                self.own.add(node.name)
            case Delete():
                self.deletes.append(Mention(parts=node.target.parts, place=node.place, always=always))
            case RemoveAllPrivateTags():
                self.removes_private = True
            case Choice():
                self.value(node.condition.left)
                self.value(node.condition.right)
                self.statement(node.then, always=False)
                self.statement(node.other, always=False)
            case If():
                for condition, block in node.branches:
                    self.value(condition.left)
                    self.value(condition.right)
                    for one in block:
                        self.statement(one, always=False)
                for one in node.other:
                    self.statement(one, always=False)
            case Call():
                self.value(node)
            case _:
                self.value(getattr(node, "value", None))

    def value(self, node: Node | None) -> None:
        match node:
            case Path():
                self.reads.append(Mention(parts=node.parts, place=node.place))
            case Items():
                for one in node.values:
                    self.value(one)
            case Call():
                kinds = self.deletes if node.name in _DELETING else self.sets if node.name in _SETTING else None
                for one in node.arguments:
                    if kinds is not None:
                        hashed = node.name == "hashUIDList"
                        kinds += [
                            Mention(parts=path.parts, place=path.place, hashed=hashed, always=False)
                            for path in _paths_in(one)
                        ]
                    else:
                        self.value(one)
            case _:
                pass


def _paths_in(node: Node) -> Iterator[Path]:
    if isinstance(node, Path):
        yield node
    for one in node.values if isinstance(node, Items) else ():
        yield from _paths_in(one)


def _four(statements: parser4.Statements) -> Survey:
    """The first statement about a tag has the last word in version 4, so a later one about it is passed over."""
    reads: list[Mention] = []
    sets: list[Mention] = []
    deletes: list[Mention] = []
    settled: set[tuple[TagPart, ...]] = set()
    for statement in statements.statements:
        for condition in statement.conditions:
            reads += [*_terms(condition.left), *_terms(condition.right)]
        if statement.value is not None:
            reads += _terms(statement.value)
        if statement.target is None:
            continue
        parts = _parts(statement.target)
        if parts in settled:
            continue
        always = not statement.conditions
        if always:
            settled.add(parts)
        value = statement.value
        if value is None:
            deletes.append(Mention(parts=parts, place=statement.place, always=always))
            continue
        text = value.text if isinstance(value, parser4.Text | parser4.Number) else None
        word = value.name if isinstance(value, parser4.Name) and value.name not in statements.variables else ""
        hashed = isinstance(value, parser4.Call) and value.name == "hashUID"
        sets.append(Mention(parts=parts, place=statement.place, text=text, word=word, hashed=hashed, always=always))
    return Survey(reads=tuple(reads), sets=tuple(sets), deletes=tuple(deletes))


def _parts(pattern: parser4.Pattern) -> tuple[TagPart, ...]:
    return (TagPart(group=pattern.group, element=pattern.element),)


def _terms(term: parser4.Term) -> list[Mention]:
    if isinstance(term, parser4.Pattern):
        return [Mention(parts=_parts(term), place=term.place)]
    inner: tuple[parser4.Term, ...] = ()
    if isinstance(term, parser4.Call):
        inner = term.arguments
    elif isinstance(term, parser4.Format):
        inner = term.values
    return [mention for one in inner for mention in _terms(one)]
