"""What a destination's scripts make of one file: computed from the file, element by element, never guessed.

Laid beside what the destination holds by :mod:`.verify`. Parses each script once; reads headers only, pixels never.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .dicom import Content, ElementChange, Shared, keyword, read_header, with_bulk, written_anew
from .dicomedit.dataset import PIXEL_DATA, Dataset, alike, read, stripped, write
from .dicomedit.engines import Engines, engines_of
from .dicomedit.script import LATEST, STAMP, Script, read_script
from .dicomedit.words import DONE, NotForetold
from .elements import difference, element_digest, parts
from .errors import DicomError

_NUMBER = f"{STAMP:08X}["
_MOST_NUMBERS = 200_000
_ASSUMED = Engines(names=(LATEST,), evidence="assumed")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One script that runs: whose it is, and its text; None where it runs but may not be read.

    ``others``: the same text as the other engines read it, where it is not known which of several runs.
    """

    whose: str
    script: Script | None
    recorded: bool = True
    alone: bool = True
    others: tuple[Script, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scripts:
    """The scripts that a file of one session passes, in their order, and what their words stand for.

    ``untold``: why it is not known which scripts run, or "". ``waived``: elements whose unforetold changes count as
    explained, by keyword or tag, each with the reason. ``engines``: which engines may run them, and the evidence.
    """

    steps: tuple[Step, ...] = ()
    engines: Engines = _ASSUMED
    context: Mapping[str, str] = field(default_factory=dict)
    untold: str = ""
    waived: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.steps or self.untold)

    def by_engine(self) -> tuple[tuple[str, tuple[Step, ...]], ...]:
        """The steps as each engine that may run reads them, with its name; the newest first."""
        names = self.engines.names[::-1]
        return tuple(
            (name, tuple(replace(one, script=one.others[at - 1]) if at and one.others else one for one in self.steps))
            for at, name in enumerate(names)
        )


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """What a file holds behind all scripts.

    Attributes
    ----------
    content : Content or None
        With the digests that the destination has to have; None where nothing can be said, and ``reason`` says why.
    drawn : frozenset of str
        Paths of what the server draws at random.
    numbered : frozenset of str
        Paths of the numbers of scripts, in the stamps that the runs append.
    undecided : frozenset of str
        Paths on which the engines that may run do not agree, and ``engines`` says which those are.
    waived : mapping
        As in :class:`Scripts`.
    """

    content: Content | None = None
    reason: str = ""
    drawn: frozenset[str] = frozenset()
    numbered: frozenset[str] = frozenset()
    undecided: frozenset[str] = frozenset()
    engines: str = ""
    waived: Mapping[str, str] = field(default_factory=dict)


def element_name(path: str) -> str:
    """How a finding and a waiver name an element that cannot be foretold: by its keyword, or its tag."""
    path = "00080018" if path == "00020003" else path  # the file meta information names the instance once more
    tag = path.rpartition(".")[2]
    return keyword(path) or f"({tag[:4]},{tag[4:8]})"


@functools.lru_cache(maxsize=64)
def parsed(text: str, engine: str = LATEST) -> Script:
    """A script, read once for an engine."""
    return read_script(text, engine=engine)


def scripts_of(
    *,
    site: tuple[bool | None, str | None] = (False, None),
    project: tuple[bool | None, str | None] = (False, None),
    routing: str = "",
    context: Mapping[str, str],
    version: str,
    waived: Mapping[str, str] | None = None,
) -> Scripts:
    """The scripts that run: of each of site and project whether it is on (None: not told), and its text.

    ``routing``: what was written into the copy before it was sent, as a script. ``version``: XNAT's, as the server
    tells it, which says what engine runs. ``waived``: as in :class:`Scripts`.
    """
    steps = []
    untold = ""
    engines = engines_of(version)
    first, *more = engines.names[::-1]
    if routing:
        steps.append(Step(whose="the sent copy", script=parsed(routing), recorded=False))
    # The site's script runs over each file as it arrives, the project's in one run over all files that are archived.
    for whose, (on, text), alone in (("the site's script", site, True), ("the project's script", project, False)):
        if on is None:
            untold = untold or f"it is not told whether {whose} runs"
        elif on:
            script = None if text is None else parsed(text, first)
            others = () if text is None else tuple(parsed(text, engine) for engine in more)
            steps.append(Step(whose=whose, script=script, alone=alone, others=others))
    if engines.always_6 and any(step.recorded and step.script and not step.script.stated for step in steps):
        untold = untold or f"a script without a version line may be run by DicomEdit 6 or 4 there ({engines.evidence})"
    return Scripts(
        steps=tuple(steps), engines=engines, context=dict(context), untold=untold, waived=dict(waived or {})
    )


def header_of(data: bytes | memoryview) -> bytes:
    """A file without its pixels, small enough to be kept until the destination is read; b"" if it is none."""
    try:
        return zlib.compress(stripped(data), 1)
    except NotForetold:
        return b""


def stamped(header: bytes) -> bool:
    """Whether a file bears the stamp that XNAT appends to (0012,0064) for each run of a script.

    ``header`` is one of :func:`header_of`. Version 4 and 6 alike write coding scheme XNAT and "XNAT DicomEdit ..."
    (recorded in ``dicomedit``); earlier stamps may have been removed by a script, its own never is.
    """
    try:
        sequence = read(zlib.decompress(header))[0].get(STAMP) if header else None
    except NotForetold:
        return False
    return any(
        _words(item, 0x00080102) == b"XNAT" and _words(item, 0x00080104).startswith(b"XNAT DicomEdit")
        for item in (sequence.items or () if sequence is not None else ())
    )


def _words(item: Dataset, tag: int) -> bytes:
    element = item.get(tag)
    return element.value.strip(b" \0") if element is not None else b""


def foretold(header: bytes, source: Content, scripts: Scripts, *, key: bytes) -> Foretold:
    """What the scripts make of a file.

    Parameters
    ----------
    header : bytes
        From :func:`header_of`.
    source : Content
        The whole file as it was read, with ``key``.
    """
    if scripts.untold:
        return Foretold(reason=scripts.untold)
    try:
        before = zlib.decompress(header) if header else b""
        if not before:
            return Foretold(reason="its header cannot be carried through a script here")
        root, _ = read(before)
        pixels = root.get(PIXEL_DATA)
        (_, steps), *others = scripts.by_engine()
        twins = [(root.copy(), again) for _, again in others]
        drawn, numbered = _carried(root, steps, scripts)
        stays = root.get(PIXEL_DATA) is pixels
        undecided: set[str] = set()
        otherwise: list[tuple[Dataset, frozenset[str]]] = []
        for twin, again in twins:
            try:
                also, numbers = _carried(twin, again, scripts)
            except NotForetold as ended:
                return Foretold(reason=_not_by_all(scripts, ended.reason))
            undecided |= (also ^ drawn) | (numbers ^ numbered)
            if not alike(twin, root):
                otherwise.append((twin, also))
        after = read_header(write(root), key=key)
    except NotForetold as untold:
        return Foretold(reason=untold.reason)
    except DicomError as error:
        return Foretold(reason=f"a script leaves a file of which {error.message}")
    for twin, also in otherwise:
        try:
            there = read_header(write(twin), key=key)
        except DicomError as error:
            return Foretold(reason=_not_by_all(scripts, error.message))
        if (there.bulk_each, there.geometry) != (after.bulk_each, after.geometry):
            return Foretold(reason=f"its scripts are run by {scripts.engines}, which leave other pixels or geometry")
        undecided |= {path for path, _ in there.elements.items() ^ after.elements.items()} - (also & drawn)
    content = _with_pixels(source, after) if stays else after
    return Foretold(
        content=replace(content, elements=Shared(source.elements, content.elements)),
        drawn=drawn,
        numbered=numbered,
        waived=scripts.waived,
        undecided=frozenset(undecided),
        engines=str(scripts.engines),
    )


class Foretelling:
    """What the scripts make of each of several files: computed once each, when it is asked for or ahead of that.

    Parameters
    ----------
    files : sequence of (bytes, Content or None)
        The header of each file, from :func:`header_of`, and its content; None for what cannot be read.
    """

    def __init__(self, files: Sequence[tuple[bytes, Content | None]], scripts: Scripts, *, key: bytes) -> None:
        self._files, self._scripts, self._key = files, scripts, key
        self._told: dict[int, Foretold] = {}

    def __call__(self, at: int) -> Foretold | None:
        """Of the file at this place; None where no script runs, or the file cannot be read."""
        header, content = self._files[at]
        if not self._scripts or content is None:
            return None
        told = self._told.get(at)
        if told is None:
            told = self._told[at] = foretold(header, content, self._scripts, key=self._key)
        return told

    @contextlib.contextmanager
    def ahead(self) -> Iterator[None]:
        """Compute in a thread, file by file, while the caller waits for a server; what is not done then is left."""
        over = threading.Event()

        def compute() -> None:
            for at in range(len(self._files)):
                if over.is_set():
                    return
                self(at)

        thread = threading.Thread(target=compute, name="xnbtransfer-foretell", daemon=True)
        if self._scripts:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self._scripts:
                thread.join()


PIXEL_DATA_PATH = f"{PIXEL_DATA:08X}"


def _not_by_all(scripts: Scripts, because: str) -> str:
    return f"its scripts are run by {scripts.engines}, not by all of them to the end: {because}"


def _carried(root: Dataset, steps: tuple[Step, ...], scripts: Scripts) -> tuple[frozenset[str], frozenset[str]]:
    """Carry the steps out over a data set; the paths that are drawn, and those of the scripts' numbers."""
    numbered: set[str] = set()
    for step in steps:
        if step.script is None:
            raise NotForetold(f"{step.whose} may not be read")
        recorded = "0" if step.recorded else None
        outcome = step.script.run(scripts.context, recorded_as=recorded, alone=step.alone).over(root)
        if outcome.word != DONE:
            where = f" at {outcome.place}" if outcome.place else ""
            raise NotForetold(f"{step.whose} ends with {outcome.word!r}{where}: {outcome.reason}")
        if step.recorded:
            sequence = root.get(STAMP)
            assert sequence is not None and sequence.items
            numbered.add(f"{_NUMBER}{len(sequence.items) - 1}].00080100")
    return frozenset(_drawn(root)), frozenset(numbered)


def _drawn(dataset: Dataset, prefix: str = "") -> set[str]:
    found = {f"{prefix}{tag:08X}" for tag, element in dataset.elements.items() if element.random}
    for tag, element in dataset.elements.items():
        if element.items:
            for at, item in enumerate(element.items):
                found |= _drawn(item, f"{prefix}{tag:08X}[{at}].")
    if not prefix and "00080018" in found:
        found.add("00020003")
    return found


def _with_pixels(source: Content, after: Content) -> Content:
    """What was computed without pixels, with those of the source, which no script has touched."""
    one, other = (content.elements.get(PIXEL_DATA_PATH) for content in (source, after))
    if one is None or other is None or parts(one).vr != parts(other).vr:
        return after  # there are none, or reading and writing alone gives them another VR
    beside = [bulk for bulk in after.bulk_each if bulk[0] != PIXEL_DATA_PATH]
    elements = {**after.elements, PIXEL_DATA_PATH: one}
    return with_bulk(replace(after, elements=elements), [*beside, *_pixels(source)])


def _pixels(content: Content) -> list[tuple[str, str, int]]:
    return [one for one in content.bulk_each if one[0] == PIXEL_DATA_PATH]


class _Numbers:
    """Digests of the numbers that scripts may have, made as far as they are asked for: servers count from one."""

    def __init__(self, key: bytes) -> None:
        self._key, self._next, self._known = key, 0, set[str]()
        self._not: set[str] = set()
        self._making = threading.Lock()

    def __contains__(self, value: str) -> bool:
        with self._making:
            if value in self._known or value in self._not:
                return value in self._known
            while self._next < _MOST_NUMBERS:
                made = parts(element_digest("SH", str(self._next).encode(), key=self._key)).value
                self._next += 1
                self._known.add(made)
                if made == value:
                    return True
            self._not.add(value)
            return False


@functools.lru_cache(maxsize=4)
def _numbers(key: bytes) -> _Numbers:
    return _Numbers(key)


def is_number(digest: str, *, key: bytes) -> bool:
    """Whether an element digest is that of a script's number, which nothing but the server's own count foretells."""
    found = parts(digest) if digest else None
    return found is not None and found.vr in ("", "SH") and found.value in _numbers(key)


def compare(
    source: Content, destination: Content, expected: Foretold | None, *, key: bytes, reencoded: bool = False
) -> tuple[bool, tuple[ElementChange, ...]]:
    """Whether the content is as it has to be, and which header elements differ from the source.

    All contents must have been read with ``key``. ``reencoded`` says that the pixels of both were decoded and are the
    same, so that transfer syntax and layout of the pixels are explained.

    Returns
    -------
    content_equal : bool
        Bulk data (with its length) and geometry are those of the source, or what ``expected`` says.
    changes : tuple of ElementChange
        One per element that differs, in the order of their paths. Explained is only what was computed: the element
        that stands there now has the digest that the scripts give it, by every engine that may run there. An element
        that the scripts change and that is still as at the source is told, too, where they changed anything else.
        What cannot be foretold is neither.
    """
    changed = _changed(source, destination, reencoded)
    same = _same_bulk(source, destination, reencoded) and source.geometry == destination.geometry
    if expected is None or (same and all(changed.values())):
        return same, tuple(_change(path, source, destination, changed[path]) for path in sorted(changed))
    if expected.content is None:
        told = [_change(path, source, destination, because) for path, because in sorted(changed.items())]
        why = f"it cannot be foretold: {expected.reason}"
        return same, tuple(one if one.explained else replace(one, because=why, foretold=False) for one in told)
    after = expected.content
    wrong = {path for path, because in _changed(after, destination, reencoded).items() if not because}
    wrong -= {path for path in wrong & expected.drawn if path in destination.elements and path in after.elements}
    wrong -= {path for path in wrong & expected.numbered if is_number(destination.elements.get(path, ""), key=key)}
    changes = []
    wrong -= expected.undecided
    for path in sorted(changed.keys() | wrong | expected.undecided):
        one = _change(path, source, destination, changed.get(path))
        if path in expected.undecided:
            why = f"it cannot be foretold: the engines that may run there write different values: {expected.engines}"
            one = replace(one, explained=False, because=why, foretold=False)
        elif path in expected.drawn and path not in wrong:
            one = _drawn_change(one, expected, destination)
        elif path not in wrong:
            one = replace(one, explained=True, because=one.because or "as the destination's script computes it")
        elif path not in changed:
            one = replace(one, explained=False, because="")
        changes.append(replace(one, explained=False, because="") if path in wrong else one)
    return _same_bulk(after, destination, reencoded) and after.geometry == destination.geometry, tuple(changes)


def _drawn_change(one: ElementChange, expected: Foretold, destination: Content) -> ElementChange:
    """A change of what is drawn at random: explained where a waiver names the element and the VR is as computed."""
    because = "the destination's script draws it at random"
    reason = expected.waived.get(element_name(one.path), "")
    assert expected.content is not None
    letters = [parts(each.elements[one.path]).vr for each in (expected.content, destination)]
    if reason and (letters[0] == letters[1] or "" in letters):
        return replace(one, explained=True, because=f"waived: {reason}; {because}")
    return replace(one, because=because, foretold=False)


def _same_bulk(one: Content, other: Content, reencoded: bool) -> bool:
    same = (one.bulk, one.bulk_bytes) == (other.bulk, other.bulk_bytes)
    return same or (reencoded and one.bulk_beside == other.bulk_beside)


def _changed(one: Content, other: Content, reencoded: bool) -> dict[str, str | None]:
    """Paths that differ, each with what explains it without a script, or None."""
    found: dict[str, str | None] = {}
    here, there = one.elements, other.elements
    bulk = {path for path, *_ in {*one.bulk_each} ^ {*other.bulk_each}}
    for path in {path for path, _ in here.items() ^ there.items()} | bulk:
        before, after = here.get(path, ""), there.get(path, "")
        because = difference(path, before, after) if before and after and path not in bulk else None
        if because is None and reencoded and path in ("00020010", PIXEL_DATA_PATH) and before and after:
            because = "re-encoded losslessly"
        if because is None and path.startswith("0002"):
            because = written_anew(path, one, other) or None
        if because != "":
            found[path] = because
    return found


def _change(path: str, source: Content, destination: Content, because: str | None) -> ElementChange:
    before, after = path in source.elements, path in destination.elements
    kind: Literal["added", "removed", "changed"] = "changed" if before == after else "added" if after else "removed"
    return ElementChange(path, keyword(path), kind, bool(because), because or "")
