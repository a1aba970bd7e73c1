"""Tag paths as the engine of DicomEdit 6 compares and resolves them.

A path of a script is a regular expression over the path of an element (mizer, ``TagPath``, ``TagSequenceWildcard``):
``00081140[0]/00081155``, a private tag as ``0019"CREATOR"1001``. Only signs of a fixed alphabet get into it, so that no
script can make one that runs for long: see :func:`pattern`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from .dataset import PIXEL_DATA, Dataset, Element
from .tree import Path, TagPart
from .values import Drawn, text_of
from .words import Failed, NotForetold

_CLASSES = {"X": "[0-9a-f]", "@": "[02468ace]", "#": "[13579bdf]"}
_MOST_WILDCARDS = 3
_MOST_PARTS = 64
NO_CREATOR = "NULL"


def is_singular(path: Path) -> bool:
    """Whether a path names one element, whatever the file."""
    return not any(
        part.wildcard or part.item == "%" or set(part.group + part.element) & set("Xx@#") for part in path.parts
    )


def shown(path: Path) -> str:
    """A path as the engine prints it."""
    return "/".join(_shown_part(part) for part in path.parts)


def written(parts: tuple[TagPart, ...]) -> str:
    """A path as a script has it.

    >>> written((TagPart(group="0008", element="1140", item="0"), TagPart(group="0019", element="01", creator="A")))
    '(0008,1140)[0]/(0019,{A}01)'
    """
    return "/".join(_written_part(part) for part in parts)


def _written_part(part: TagPart) -> str:
    if part.wildcard:
        return part.wildcard
    creator = "" if part.creator is None else f"{{{part.creator}}}"
    return f"({part.group},{creator}{part.element})" + (f"[{part.item}]" if part.item is not None else "")


def _shown_part(part: TagPart) -> str:
    if part.wildcard:
        return part.wildcard
    tag = part.group + (part.element if part.creator is None else f'"{part.creator}"10{part.element}')
    return tag + (f"[{part.item}]" if part.item is not None else "")


def _class(signs: str) -> str:
    return "".join(_CLASSES.get(sign.upper(), sign.lower()) for sign in signs)


def _wild(parts: tuple[TagPart, ...], at: int) -> str:
    """What a step without a tag fits; ``+`` is whatever does not begin as what follows it (``TagSequenceWildcard``)."""
    sign = parts[at].wildcard
    if sign == "+":
        if at + 1 >= len(parts):
            raise Failed("a wildcard + needs something behind it")
        following = _wild(parts, at + 1) if parts[at + 1].wildcard else _tag(parts[at + 1])
        return f"(?!{following})(?:[^/]*/)*"
    return r"[\s\S]*" if sign == "*" else "(?:/?[^/]+/)"


def _tag(part: TagPart) -> str:
    tag = _class(part.group)
    if part.creator is None:
        tag += _class(part.element)
    elif part.creator == NO_CREATOR:
        tag += f'"{NO_CREATOR}"10' + _class(part.element)
    else:
        tag += '"' + re.escape(part.creator) + '"[0-9a-f]{2}' + _class(part.element)
    if part.item == "%":
        tag += r"(?:\[[0-9]+\])?+"
    elif part.item is not None:
        tag += re.escape(f"[{part.item}]")
    return tag


@functools.lru_cache(maxsize=512)
def pattern(parts: tuple[TagPart, ...]) -> str:
    """The regular expression of a path.

    Raises
    ------
    NotForetold
        For more wildcards in place of tags than are matched in little time.
    """
    if sum(bool(part.wildcard) for part in parts) > _MOST_WILDCARDS or len(parts) > _MOST_PARTS:
        raise NotForetold("a path has too many wildcards or tags")
    out = ""
    for at, part in enumerate(parts):
        following = parts[at + 1] if at + 1 < len(parts) else None
        out += _wild(parts, at) if part.wildcard else _tag(part)
        if following is not None and not part.wildcard and not following.wildcard:
            out += "/"
    return out


@functools.lru_cache(maxsize=1024)
def matcher(parts: tuple[TagPart, ...], more: bool = False) -> Callable[[str], object]:
    """A test of element paths; with ``more`` what follows the path counts, too."""
    text = pattern(parts)
    return re.compile(text if not more or text.endswith("*") else text + ".*", re.IGNORECASE).fullmatch


def step(element: Element, dataset: Dataset) -> str:
    """How an element is named in a path, without an item number."""
    tag = element.tag
    name = f"{tag:08x}"
    if not tag & 0x10000:
        return name
    if not tag & 0xFF00:
        creator = text_of(element, dataset)
    else:
        creator = creator_of(tag, dataset)
    return f'{name[:4]}"{NO_CREATOR if creator is None else creator}"{name[4:]}'


def creator_of(tag: int, dataset: Dataset) -> str | None:
    """The private creator of a private element, None where its block has none."""
    return _text(dataset, tag & 0xFFFF0000 | tag >> 8 & 0xFF)


def _text(dataset: Dataset, tag: int) -> str | None:
    """A creator's text: the first value alone, None where it is missing or empty (``getString``)."""
    element = dataset.get(tag)
    if element is None or not element.value:
        return None
    text = text_of(element, dataset)
    if isinstance(text, Drawn):
        raise NotForetold("a private creator is drawn at random")
    return text.split("\\")[0] if text is not None else None


def is_creator(tag: int) -> bool:
    """Whether a tag is that of a private creator."""
    return bool(tag & 0x10000) and not tag & 0xFF00


def walk(
    dataset: Dataset,
    leaf: Callable[[str, Element, Dataset], None],
    sequence: Callable[[str, Element, Dataset], bool] | None = None,
    context: str = "",
) -> None:
    """Visit every element at any depth; of sequences with items their items (mizer, ``DicomObjectVisitor``).

    ``sequence`` is asked before the items of one are visited; what it answers says whether they are.
    """
    for element in dataset:
        if dataset.get(element.tag) is not element:
            continue
        path = context + step(element, dataset)
        if element.items and element.tag != PIXEL_DATA:
            if sequence is None or sequence(path, element, dataset):
                for at, item in enumerate(list(element.items)):
                    walk(item, leaf, sequence, f"{path}[{at}]/")
        else:
            leaf(path, element, dataset)


def resolve_tag(tag: int, creator: str, dataset: Dataset, *, reserve: bool) -> int:
    """A private tag in the block that a creator has here; -1 where it has none and none is made.

    A free block is reserved behind those that follow each other from 0010 on (dcm4che 2, ``resolveTag``).
    """
    group, at = tag & 0xFFFF0000, 0x10
    while at <= 0xFF:
        known = _text(dataset, group | at)
        if known == creator:
            break
        if known is None:
            if not reserve:
                return -1
            from .values import encode

            dataset.put(Element(group | at, "LO", encode(creator, dataset)))
            break
        at += 1
    else:
        raise Failed("no private block is free")
    return tag & 0xFFFF00FF | at << 8


def number(part: TagPart) -> int:
    """A tag without wildcards as a number; of a private one that in block 10."""
    element = part.element if part.creator is None else "10" + part.element
    return int(part.group + element, 16)


def item_number(part: TagPart) -> int:
    """The number of an item in a path.

    Raises
    ------
    Failed
        Where the path has none, or any.
    """
    if part.item is None or part.item == "%":
        raise Failed("a path needs the number of an item")
    return int(part.item)


def resolve(path: Path, root: Dataset, *, create: bool) -> list[int]:
    """A path of one element as tags and item numbers in turn, with what resolving it makes on the way.

    Reading does that, too: a missing public sequence is made with one empty item, a private block with its creator
    (mizer, ``MizerDicomObject.resolve``). The item that a private tag is looked for in is always the first.
    """
    found: list[int] = []
    here: Dataset | None = root
    for part in path.parts:
        if part.wildcard:
            continue
        tag = number(part)
        if part.item is None:
            if part.creator is None:
                found.append(tag)
            else:
                if here is None:
                    raise Failed("a sequence on the way has no items")
                found.append(resolve_tag(tag, part.creator, here, reserve=True))
            continue
        if part.creator is not None:
            if here is None:
                raise Failed("a sequence on the way has no items")
            resolved = resolve_tag(tag, part.creator, here, reserve=create)
            if resolved == -1:
                creator_tag = tag & 0xFFFF0000 | 0x10
                here.put(Element(tag, "SQ", items=[]))
                from .values import encode

                here.put(Element(creator_tag, "LO", encode(part.creator, here)))
                here, resolved = None, creator_tag
            found += [resolved, item_number(part)]
            continue
        if here is None:
            raise Failed("a sequence on the way has no items")
        sequence = here.get(tag)
        if sequence is None:
            sequence = Element(tag, "SQ", items=[Dataset(here)])
            here.put(sequence)
        if sequence.items is None:
            raise Failed("what a path takes for a sequence is none")
        here = sequence.items[0] if sequence.items else None
        found += [tag, item_number(part)]
    return found


def get(tags: list[int], root: Dataset) -> tuple[Element | None, Dataset]:
    """The element at tags and item numbers in turn, None where it is missing, and the data set it would stand in."""
    if not len(tags) % 2:
        raise Failed("a path ends with an item")
    here = root
    for at in range(0, len(tags) - 1, 2):
        sequence = here.get(tags[at])
        if sequence is None or sequence.items is None or len(sequence.items) <= tags[at + 1]:
            return None, here
        if tags[at + 1] < 0:
            raise Failed("the number of an item is below zero")
        here = sequence.items[tags[at + 1]]
    return here.get(tags[-1]), here


def make(tags: list[int], root: Dataset) -> Dataset:
    """The data set that the last tag belongs in; items that are missing before it are made, empty."""
    here = root
    for at in range(0, len(tags) - 1, 2):
        if tags[at + 1] < 0:
            raise Failed("the number of an item is below zero")
        if tags[at + 1] > 10_000:
            raise NotForetold("a script makes more than 10,000 items")
        sequence = here.get(tags[at])
        items = None if sequence is None else sequence.items
        if items is None:
            items = []
            here.put(Element(tags[at], "SQ", items=items))
        while len(items) <= tags[at + 1]:
            items.append(Dataset(here))
        here = items[tags[at + 1]]
    return here


def present(path: Path, root: Dataset) -> bool:
    """Whether a path of one element leads to something, without making anything (``resolveTagPath``)."""
    here = root
    for part in path.parts:
        tag = number(part)
        if part.creator is not None:
            tag = resolve_tag(tag, part.creator, here, reserve=False)
            if tag == -1:
                return False
        element = here.get(tag)
        if element is None:
            return False
        if part.item is not None:
            if element.items is None or len(element.items) <= int(part.item):
                return False
            here = element.items[int(part.item)]
    return True
