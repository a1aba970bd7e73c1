"""``retainPrivateTags``: what is named is read as text, every private element deleted, and what was read is set again.

(dicom-edit6 source: ``RetainPrivateTagsReplaceFunction`` as of 6.6: values of UN come back as escaped text.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import texts
from .dataset import KNOWN, PIXELS, DataSet, dictionary
from .errors import Failed
from .paths import Path, Place, Tag, holder_of, leaves


@dataclass(frozen=True)
class _Kept:
    numbers: tuple[int, ...]
    vr: str
    text: str


def retain(dataset: DataSet, paths: list[Path]) -> None:
    """Keep the private elements that ``paths`` mean, with their creators, and delete all others."""
    wanted = [*paths, *(path.under(Tag(wild="*")) for path in paths if not path.tags[-1].wild)]
    found = [path for path in _all(dataset) if path.private and any(one.matches(path.text()) for one in wanted)]
    creators = {creator.text(): creator for path in found for creator in _creators(path)}
    kept = list(_values(dataset, [*found, *creators.values()]))
    _delete_private(dataset)
    for one in kept:
        holder = holder_of(dataset, one.numbers, create=True)
        assert holder is not None
        vr = one.vr if one.vr in KNOWN and one.vr not in ("AE", "UN") else ""
        tag = one.numbers[-1]
        texts.put(holder, tag, one.text, vr=vr or (holder[tag].vr if tag in holder else dictionary(tag)))


def _all(dataset: DataSet) -> Iterator[Path]:
    """The paths of all elements, sequences before what they hold."""
    sequences: list[Path] = []

    def note(place: Place) -> bool:
        sequences.append(place.path)
        return False

    for place in leaves(dataset, sequence=note):
        yield from sequences
        sequences.clear()
        yield place.path
    yield from sequences


def _creators(path: Path) -> Iterator[Path]:
    for at, tag in enumerate(path.tags):
        number = int(tag.number, 16)
        if tag.creator is not None and number > 0xFF:
            yield Path((*path.tags[:at], Tag(tag.group, f"{number >> 8:04x}", tag.creator)))


def _values(dataset: DataSet, paths: list[Path]) -> Iterator[_Kept]:
    for place in leaves(dataset):
        if place.tag == PIXELS or not any(path.matches(place.text) for path in paths):
            continue
        numbers: list[int] = []
        for tag in place.path.tags:
            numbers.append(int(tag.group + tag.number, 16))
            if tag.sequence:
                numbers.append(tag.index)
        if place.element.fragments is not None or place.element.items is not None:
            raise Failed("UnsupportedOperationException")
        yield _Kept(tuple(numbers), place.element.vr, texts.show_element(place.holder, place.element))


def _delete_private(dataset: DataSet) -> None:
    for tag in dataset.tags(meta=False):
        if tag & 0x10000:
            del dataset[tag]
        else:
            for item in dataset[tag].items or ():
                _delete_private(item)
