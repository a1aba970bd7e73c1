"""Tag paths of DicomEdit 6: which elements of a file they mean.

Mizer turns a path of a script into a regular expression and each element of a file into a text, and lays one on the
other (mizer sources: ``TagPath``, ``TagPublic``, ``TagPrivate``, ``TagSequence``, ``TagSequenceWildcard``). What
follows from that is kept here: a path without an item number means every item, ``*`` reaches the top too, ``+`` does
not, ``.`` is one level down, and what stands below a deleted path goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from .dataset import PIXELS, DataSet, Element, is_creator, is_private
from .errors import Failed
from .java import Malformed
from .texts import show_element

_DIGITS = {"x": "[0-9a-fA-F]", "X": "[0-9a-fA-F]", "#": "[13579bdfBDF]", "@": "[02468aceACE]"}
_WILD = frozenset("xX#@")


def _digits(text: str) -> str:
    cases = (_DIGITS.get(char) or (f"[{char.lower()}{char.upper()}]" if char.isalpha() else char) for char in text)
    return "".join(cases)


@dataclass(frozen=True)
class Tag:
    """One tag of a path: ``creator`` for a private one, ``item`` as it stands in the brackets, ``wild`` for ``* +
    .``."""

    group: str = ""
    number: str = ""
    creator: str | None = None
    sequence: bool = False
    item: str | None = None
    wild: str = ""

    @property
    def singular(self) -> bool:
        """Whether it means one element; a sequence without an item number counts as one, and fails later."""
        return not self.wild and not _WILD & set(self.group + self.number) and self.item != "%"

    @property
    def tag(self) -> int:
        """The number of the tag, a private one in block 10."""
        try:
            return int(self.group + self.number, 16)
        except ValueError:
            raise Malformed(f'For input string: "{self.group}{self.number}" under radix 16') from None

    @property
    def index(self) -> int:
        """The item number; `Failed` where there is none."""
        text = "%" if self.item is None else self.item
        if not re.fullmatch(r"-?\d{1,9}", text):
            raise Malformed(f'For input string: "{text}"')
        return int(text)

    def text(self) -> str:
        """The tag as mizer writes it."""
        if self.wild:
            return self.wild
        name = self.group + ("" if self.creator is None else f'"{self.creator}"') + self.number
        return f"{name}[{'%' if self.item is None else self.item}]" if self.sequence else name

    def regex(self, following: Tag | None) -> str:
        """What matches this tag; ``+`` needs to know what follows."""
        if self.wild == "*":
            return r"[\s\S]*"
        if self.wild == ".":
            return "(?:/?[^/]+/)"
        if self.wild:
            if following is None:
                raise Failed("internal error: something is null")
            return f"(?!{following.regex(None)})(?:[^/]*/)*"
        if self.creator is None:
            found = _digits(self.group) + _digits(self.number)
        else:
            found = f'{_digits(self.group)}"{re.escape(self.creator)}"[0-9a-fA-F]{{2}}{_digits(self.number[2:])}'
        if not self.sequence:
            return found
        return found + (r"(?:\[[0-9]+\])?+" if self.item in (None, "%") else rf"\[{re.escape(self.item)}\]")


@dataclass(frozen=True)
class Path:
    """A tag path; `matches` and `reaches` take the text of a `Place`."""

    tags: tuple[Tag, ...]
    _cache: dict = field(default_factory=dict, compare=False, repr=False)

    def text(self) -> str:
        """The path as mizer writes it, which is what a function gets that does not read it."""
        return "/".join(tag.text() for tag in self.tags)

    @property
    def singular(self) -> bool:
        """Whether it means one element that can be read and set."""
        return all(tag.singular for tag in self.tags) and not self.tags[-1].sequence and not self.tags[-1].wild

    @property
    def private(self) -> bool:
        """Whether any of its tags is private."""
        return any(tag.creator is not None for tag in self.tags)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression of the whole path."""
        parts = []
        for at, tag in enumerate(self.tags):
            following = self.tags[at + 1] if at + 1 < len(self.tags) else None
            parts.append(tag.regex(following))
            if following is not None and not tag.wild and not following.wild:
                parts.append("/")
        return re.compile("".join(parts))

    def matches(self, place: str) -> bool:
        """Whether the path means exactly this place."""
        return self.pattern.fullmatch(place) is not None

    def reaches(self, place: str) -> bool:
        """Whether it means this place or one that this lies below of."""
        return self.pattern.match(place) is not None

    def under(self, *tags: Tag) -> Path:
        """The path with further tags behind."""
        return Path((*self.tags, *tags))


@dataclass(frozen=True)
class Place:
    """An element of a file and where it stands, ``path`` in mizer's words and the numbers to it."""

    holder: DataSet
    tag: int
    element: Element
    path: Path

    @cached_property
    def text(self) -> str:
        """The place as `Path` matches it."""
        return self.path.text()

    @property
    def is_creator(self) -> bool:
        """Whether it is the creator of a private block."""
        return is_creator(self.tag)


def _named(dataset: DataSet, tag: int) -> Tag:
    text = f"{tag:08x}"
    if not is_private(tag):
        return Tag(text[:4], text[4:])
    holder = dataset.get(tag) if is_creator(tag) else dataset.creator(tag)
    try:
        creator = "NULL" if holder is None else show_element(dataset, holder)
    except Failed:
        creator = "NULL"
    return Tag(text[:4], text[4:], creator)


def leaves(
    dataset: DataSet, path: tuple[Tag, ...] = (), *, sequence: Callable[[Place], bool] | None = None
) -> Iterator[Place]:
    """Each element that is no sequence with items, at any depth, group 0002 included, in order.

    ``sequence`` is asked for each sequence with items, before it is gone into; where it says true it is not gone into.
    Elements may be set and deleted meanwhile (mizer source: ``DicomObjectVisitor``).
    """
    for tag in dataset.tags():
        element = dataset[tag]
        name = _named(dataset, tag)
        if not element.items or tag == PIXELS:
            yield Place(dataset, tag, element, Path((*path, name)))
            continue
        if sequence is not None and sequence(Place(dataset, tag, element, Path((*path, name)))):
            continue
        for at, item in enumerate(element.items):
            inside = Tag(name.group, name.number, name.creator, sequence=True, item=str(at))
            yield from leaves(item, (*path, inside), sequence=sequence)


def delete(dataset: DataSet, path: Path) -> None:
    """Delete what ``path`` means and what lies below it; creators of private blocks stay
    (``DeleteDicomObjectVisitor``)."""
    _ = path.pattern  # a path that cannot be one fails even over an empty file

    only = path.tags[0] if len(path.tags) == 1 else Tag()
    plain = bool(only.group) and only.creator is None and not only.sequence and (only.group + only.number).isdigit()
    open_ended = False  # ``TagPath`` keeps the pattern that the first leaf made open-ended, and so for sequences, too

    def whole(place: Place) -> bool:
        if (path.reaches if open_ended else path.matches)(place.text):
            del place.holder[place.tag]
            return True
        return False

    for place in leaves(dataset, sequence=whole):
        if not place.is_creator:
            open_ended = not plain
            if path.reaches(place.text):
                place.holder.pop(place.tag, None)


def resolve_private(dataset: DataSet, tag: int, creator: str, *, create: bool) -> int | None:
    """The number of a private tag in the block that ``creator`` has in this data set; a block is made if asked for."""
    group, free = tag & 0xFFFF0000, None
    for block in range(0x10, 0x100):
        element = dataset.get(group | block)
        if element is None or (_is_text(element) and not element.value):
            free = block  # nothing behind a gap is looked at (dcm4che 2, ``BasicDicomObject.resolveTag``)
            break
        if _is_text(element) and show_element(dataset, element).split("\\")[0] == creator:
            return group | block << 8 | tag & 0xFF
    if not create or free is None:
        return None
    raw = creator.encode("ascii", "replace")
    dataset[group | free] = Element("LO", raw + b" " * (len(raw) % 2))
    return group | free << 8 | tag & 0xFF


def _is_text(element: Element) -> bool:
    return element.items is None and element.fragments is None


def locate(dataset: DataSet, path: Path, *, create: bool) -> tuple[int, ...]:
    """The numbers of a singular path: tag, item, tag, item, ..., tag (mizer source: ``DicomObjectFactory.resolve``).

    Even without ``create`` a sequence that is missing is made with one empty item, and so is a private block: that is
    how the engine reads.
    """
    found: list[int] = []
    here: DataSet | None = dataset
    for tag in path.tags:
        if not tag.sequence:
            number = tag.tag
            if tag.creator is not None:
                resolved = resolve_private(_there(here), number, tag.creator, create=True)
                number = resolved if resolved is not None else number & 0xFFFF0000 | 0x10
            found.append(number)
        elif tag.creator is None:
            here = _first_item(_there(here), tag.tag)
            found += (tag.tag, tag.index)
        else:
            resolved = resolve_private(_there(here), tag.tag, tag.creator, create=create)
            if resolved is None:  # mizer makes the sequence, names the creator, and goes on with that one's tag
                there, resolved = _there(here), tag.tag & 0xFFFF0000 | 0x10
                there[tag.tag] = Element("SQ", items=[])
                there[resolved] = Element("LO", tag.creator.encode("ascii", "replace"))
                here = None
            found += (resolved, tag.index)
    return tuple(found)


def _there(dataset: DataSet | None) -> DataSet:
    if dataset is None:
        raise Failed("internal error: something is null")
    return dataset


def _first_item(dataset: DataSet, tag: int) -> DataSet | None:
    element = dataset.get(tag)
    if element is None:
        return dataset.add_item(tag)
    if element.items is None:
        raise Failed("UnsupportedOperationException")
    return element.items[0] if element.items else None


def holder_of(dataset: DataSet, numbers: tuple[int, ...], *, create: bool) -> DataSet | None:
    """The data set that holds the last of ``numbers``; items up to it are made if asked for, None where one is
    missing."""
    here = dataset
    for tag, index in zip(numbers[:-1:2], numbers[1::2], strict=True):
        element = here.get(tag)
        if element is None and not create:
            return None
        if element is None:
            element = here[tag] = Element("SQ", items=[])
        if element.items is None and not create:
            return None
        if element.items is None:  # what is no sequence is replaced by one (``AbstractDicomObject.getItem``)
            element = here[tag] = Element("SQ", items=[])
        assert element.items is not None
        if index < 0:
            raise Failed(f"Index {index} out of bounds for length {len(element.items)}")
        if index > MAX_ITEM:
            raise Failed("an item number beyond every file")
        while len(element.items) <= index:
            if not create:
                return None
            here.add_item(tag)
        here = element.items[index]
    return here


MAX_ITEM = 100_000
"""The highest item number that is made: each item before it is made, too, and a script must not fill the memory."""


def present(dataset: DataSet, path: Path) -> bool:
    """Whether a singular path is there; nothing is made (``resolveTagPath``)."""
    here = dataset
    for tag in path.tags:
        index = tag.index if tag.sequence else 0
        number: int | None = tag.tag
        if tag.creator is not None:
            number = resolve_private(here, tag.tag, tag.creator, create=False)
        if number is None or number not in here:
            return False
        if tag.sequence:
            items = here[number].items
            if not items or not 0 <= index < len(items):
                return False
            here = items[index]
    return True
