"""The syntax tree of a script of DicomEdit 6, and the tags of both versions as scripts write them.

Made by :mod:`.parser6`, walked by :mod:`.run6` and :mod:`.survey`. Frozen; every node knows its place in the script.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from .words import Place


@dataclass(frozen=True, kw_only=True)
class TagPart:
    """One step of a path: a tag with wildcards, perhaps private by creator, perhaps with an item number.

    ``group`` and ``element`` are signs as written (``X``, ``@``, ``#`` stand for any, any even, any odd digit); of a
    private tag ``element`` has two. ``item``: ``None`` for no sequence, ``%`` for any item; ``unsaid`` where the script
    leaves it out. ``wildcard``: ``*``, ``+`` or ``.`` in place of a tag.
    """

    group: str = ""
    element: str = ""
    creator: str | None = None
    item: str | None = None
    wildcard: str = ""
    unsaid: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Path:
    """A tag path, as in ``(0008,1140)[0]/(0008,1155)``."""

    parts: tuple[TagPart, ...]
    place: Place


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text as written, without its quotes."""

    text: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number, as it is spelt."""

    text: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Name:
    """A word: a variable, or one of the context."""

    name: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Items:
    """A list in braces."""

    values: tuple[Value, ...]
    place: Place


@dataclass(frozen=True, kw_only=True)
class Call:
    """A function with its arguments."""

    name: str
    arguments: tuple[Value, ...]
    place: Place


Value: TypeAlias = Path | Text | Number | Name | Items | Call


@dataclass(frozen=True, kw_only=True)
class Assign:
    """``target := value``, or ``target ?= value``."""

    target: Path
    value: Value
    if_exists: bool
    place: Place


@dataclass(frozen=True, kw_only=True)
class SetVariable:
    """``name := value``."""

    name: str
    value: Value
    place: Place


@dataclass(frozen=True, kw_only=True)
class Delete:
    """``-target``."""

    target: Path
    place: Place


@dataclass(frozen=True, kw_only=True)
class Echo:
    """``echo value``."""

    value: Value | None
    place: Place


@dataclass(frozen=True, kw_only=True)
class RemoveAllPrivateTags:
    """``removeAllPrivateTags``."""

    place: Place


@dataclass(frozen=True, kw_only=True)
class Version:
    """``version "6.6"``; the text still has its quotes."""

    text: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Describe:
    """``describe NAME "text"`` and ``export NAME "text"`` have the kind ``text``."""

    name: str
    kind: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``left operator right``; a function alone has no operator and no right side."""

    left: Value
    operator: str
    right: Value | None
    place: Place


@dataclass(frozen=True, kw_only=True)
class Choice:
    """``condition ? then : other``."""

    condition: Condition
    then: Statement
    other: Statement | None
    place: Place


@dataclass(frozen=True, kw_only=True)
class If:
    """Branches of ``if`` and ``elseif``, and what stands behind ``else``."""

    branches: tuple[tuple[Condition, tuple[Statement, ...]], ...]
    other: tuple[Statement, ...]
    place: Place


Statement: TypeAlias = (
    Assign | SetVariable | Delete | Echo | RemoveAllPrivateTags | Version | Describe | Choice | If | Call
)
Node: TypeAlias = Statement | Value | Condition


def nodes(tree: object) -> Iterator[Node]:
    """Every node of a tree, or of several, in the order of the script."""
    if isinstance(tree, tuple):
        for one in tree:
            yield from nodes(one)
    elif isinstance(tree, Node):
        yield tree
        for field in fields(tree):
            yield from nodes(getattr(tree, field.name))
