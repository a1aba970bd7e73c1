"""A script of a server: which engine it gets, and what that engine makes of a file.

The one door of this package for the rest of the client. Pure: texts and bytes in, an :class:`Outcome` out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from . import run4, run6
from .dataset import Dataset, Element, read, write
from .engines import NEWER
from .lexer6 import java_lines
from .parser4 import Statements
from .parser4 import parse as parse4
from .parser6 import parse as parse6
from .tree import Statement
from .words import DONE, FAILED, REFUSED, Ended, NotForetold, Place, Refused

STAMP = 0x00120064
DIALECTS = {"6.3": (6, 3), "6.4": (6, 4), "6.5": (6, 5), "6.6": (6, 6), NEWER: (6, 7), "4": (6, 6)}
LATEST = "6.6"
_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)\s*").fullmatch
_LONGEST_NUMBER = 16
_MOST_SIGNS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run over one file comes to.

    ``dataset``: what the file then holds, where ``word`` is ``done``. Of the other words ``rejected`` and
    ``evaluation failed`` leave 0 bytes since 6.6, ``refused`` the file as it was; ``not foretold`` says nothing.
    """

    word: str
    reason: str = ""
    place: Place | None = None
    dataset: Dataset | None = None
    echoed: tuple[str, ...] = ()

    def file(self) -> bytes:
        """The file that the engine writes."""
        if self.dataset is None:
            raise ValueError(f"a run that is {self.word} writes no file")
        return write(self.dataset)


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script that was read once, for all files.

    ``number``: that of the engine that runs it, 6 or 4, or 0 where none does. ``problem``: why nothing is carried out
    of it. ``stated``: the version it names, ``line`` where.
    """

    text: str
    number: int
    dialect: tuple[int, int]
    stated: str | None
    line: int
    six: tuple[Statement, ...] = ()
    four: Statements | None = None
    problem: Ended | None = None

    def run(
        self,
        context: Mapping[str, str],
        *,
        recorded_as: str | None = None,
        ignore_rejection: bool = False,
        alone: bool = True,
    ) -> ScriptRun:
        """A run of the script over files, in turn."""
        return ScriptRun(self, context, recorded_as=recorded_as, ignore_rejection=ignore_rejection, alone=alone)


def version_of(text: str) -> tuple[str | None, int]:
    """The version that a script states, and its line; None and 0 where it states none.

    Only a line that begins with ``version`` counts, split at single white spaces; of several the first.
    """
    for number, line in enumerate(java_lines(text), 1):
        if line.startswith("version"):
            words = re.split(r"\s", line)
            return (re.sub(r"//.*|[\"']", "", words[1]) if len(words) > 1 else ""), number
    return None, 0


def read_script(text: str, *, engine: str = LATEST) -> Script:
    """Read a script as a server with this engine reads it: 6.3 to 6.6, 6.7 for what is newer, 4 for that alone.

    Never raises for what the script says: ``problem`` tells it.
    """
    dialect = DIALECTS[engine]
    stated, line = version_of(text)
    script = partial(Script, text=text, dialect=dialect, stated=stated, line=line)
    place = Place(line=max(line, 1), column=1)
    if len(text) > _MOST_SIGNS:
        return script(number=0, problem=Refused("the script is too long to be read", place))
    numbers = _numbers(stated)
    if numbers == (4,) or not stated or engine == "4":
        try:
            return script(number=4, four=parse4(text))
        except Refused as refused:
            return script(number=4, four=Statements(), problem=refused)
        except RecursionError:
            untold = NotForetold("the script is nested too deeply", place)
            return script(number=4, four=Statements(), problem=untold)
    if dialect > (6, 6) and numbers in ((6, 7), (6, 8)):
        return script(number=6, problem=NotForetold(f"what DicomEdit {stated} does was not measured", place))
    known = run6.VERSIONS[: dialect[1] + 1]
    if numbers is None or numbers not in [tuple(int(n) for n in v.split(".") if n != "0") for v in known]:
        reason = f"no engine takes a script of version {stated}" if numbers else "its version line cannot be read"
        return script(number=0, problem=Refused(reason, place))
    try:
        return script(number=6, six=parse6(text, dialect=dialect))
    except Refused as refused:
        return script(number=6, problem=refused)


def _numbers(stated: str | None) -> tuple[int, ...] | None:
    """A version as numbers without zeros at the end."""
    found = _VERSION(stated or "")
    if not found or len(found[1]) > 20:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


class ScriptRun:
    """One run of a script: over one file, or over many as at archiving."""

    def __init__(
        self,
        script: Script,
        context: Mapping[str, str],
        *,
        recorded_as: str | None = None,
        ignore_rejection: bool = False,
        alone: bool = True,
    ) -> None:
        self.script, self.recorded_as = script, recorded_as
        self.problem: Ended | None = script.problem
        self._run: run6.Run | run4.Run | None = None
        if self.problem is not None:
            return
        if recorded_as is not None and len(recorded_as) > _LONGEST_NUMBER:
            self.problem = Refused("the script's number is too long to be recorded")
            return
        try:
            if script.number == 6:
                self._run = run6.Run(
                    script.six,
                    context,
                    ignore_rejection=ignore_rejection,
                    alone=alone,
                    dialect=script.dialect,
                )
            else:
                assert script.four is not None
                self._run = run4.Run(script.four, context)
        except Ended as ended:
            self.problem = ended

    def over(self, root: Dataset) -> Outcome:
        """What the engine makes of a data set, which is changed in place; see :class:`Outcome`."""
        if self.problem is not None or self._run is None:
            problem = self.problem or NotForetold("the script is not carried out")
            return Outcome(word=problem.outcome, reason=problem.reason, place=problem.place)
        run = self._run
        run.echoed.clear()
        try:
            run.over(root)
            if self.recorded_as is not None:
                stamp(root, self.recorded_as, self.script.number)
        except Ended as ended:
            if ended.outcome == FAILED and self.script.dialect < (6, 6):
                # Until 6.5 a failure is an exception, and the file stays as it is.
                return Outcome(word=REFUSED, reason=ended.reason, place=ended.place, echoed=tuple(run.echoed))
            return Outcome(word=ended.outcome, reason=ended.reason, place=ended.place, echoed=tuple(run.echoed))
        return Outcome(word=DONE, dataset=root, echoed=tuple(run.echoed))

    def over_file(self, data: bytes) -> Outcome:
        """The same of the bytes of a file."""
        try:
            root, _ = read(data)
        except NotForetold as ended:
            return Outcome(word=ended.outcome, reason=ended.reason)
        return self.over(root)


def stamp(root: Dataset, number: str, engine: int) -> None:
    """Append the item by which a run is recorded (mizer): the script's number, XNAT, 1.0 and the engine's name."""
    sequence = root.get(STAMP)
    if sequence is None or sequence.items is None:
        sequence = Element(STAMP, "SQ", items=[])
        root.put(sequence)
    item = Dataset(root)
    for tag, vr, text in (
        (0x00080100, "SH", number),
        (0x00080102, "SH", "XNAT"),
        (0x00080103, "SH", "1.0"),
        (0x00080104, "LO", f"XNAT DicomEdit {engine} Script"),
    ):
        item.put(Element(tag, vr, text.encode()))
    assert sequence.items is not None
    sequence.items.append(item)
