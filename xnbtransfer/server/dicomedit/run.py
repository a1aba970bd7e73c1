"""A script over one file or several, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from . import engine4, engine6, functions6, version
from .dataset import DataSet, Element, read, write
from .errors import Failed, Refused, RejectedFile

RELEASES = {"6.3": (6, 3), "6.4": (6, 4), "6.5": (6, 5), "6.6": (6, 6)}
STAMP = 0x00120064
"""De-identification Method Code Sequence, in which each run that is recorded leaves an item."""
CODE_LENGTH = 16
_TOO_DEEP = "StackOverflowError"


class End(Enum):
    """How a run over a file ended."""

    DONE = "done"
    REJECTED = "rejected"
    """The script keeps the object out: the file is left with 0 bytes."""
    REFUSED = "refused"
    """The engine threw: the file stays as it is."""
    FAILED = "evaluation failed"
    """The engine gave an error back: the file is left with 0 bytes."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file: ``data`` is what is left of it, ``error`` the engine's words."""

    end: End
    data: bytes
    error: str = ""
    echoed: str = ""
    notes: frozenset[str] = field(default=frozenset())


class Running:
    """A script that runs over one file after the other: what one file sets is there for the next.

    Parameters
    ----------
    context : mapping
        The names that the script may use: ``project``, ``subject``, ``session``.
    script_id : int or str
        What is recorded in each file; 0 and nothing record nothing.
    release : str
        The newest DicomEdit 6 that the server has: ``6.3`` to ``6.6``.
    only_4 : bool
        A server without DicomEdit 6, which takes every script for one of DicomEdit 4.
    keeps_all : bool
        Whether ``reject`` is to do nothing.
    """

    def __init__(
        self,
        text: str,
        context: Mapping[str, str],
        *,
        script_id: int | str = 0,
        release: str = "6.6",
        only_4: bool = False,
        maps: engine6.Maps | None = None,
        keeps_all: bool = False,
    ) -> None:
        newest = RELEASES[release]
        self.script: engine4.Run | engine6.Run | None = None
        self.code, self.reports, self.refusal = str(script_id or ""), newest >= (6, 6), ""
        try:
            if only_4 or version.engine_of(text, newest) == 4:
                self.script = engine4.Run(text, context, newest=self.reports)
            else:
                self.script = engine6.Run(text, context, release=newest, maps=maps, keeps_all=keeps_all)
        except Refused as problem:
            self.refusal = str(problem)
        except RecursionError:
            self.refusal = _TOO_DEEP

    def over(self, data: bytes) -> Outcome:
        """Run over the next file."""
        if self.script is None:
            return Outcome(end=End.REFUSED, data=data, error=self.refusal)
        self.script.echoed.clear()
        end, left, error = End.DONE, b"", ""
        try:
            left = self._changed(self.script, data)
        except RejectedFile as problem:
            end, error = End.REJECTED, str(problem)
        except Failed as problem:
            end, left, error = (End.FAILED, b"", str(problem)) if self.reports else (End.REFUSED, data, str(problem))
        except Refused as problem:
            end, left, error = End.REFUSED, data, str(problem)
        except RecursionError:
            end, left, error = End.REFUSED, data, _TOO_DEEP
        if end in (End.FAILED, End.REJECTED) and len(self.code) > CODE_LENGTH:
            end, left = End.REFUSED, data
        echoed, notes = "".join(self.script.echoed), frozenset(self.script.notes)
        return Outcome(end=end, data=left, error=error, echoed=echoed, notes=notes)

    def _changed(self, script: engine4.Run | engine6.Run, data: bytes) -> bytes:
        dataset, _ = read(data)
        script.over(dataset)
        if self.code:
            _stamp(dataset, self.code, script.meaning)
        return write(dataset)


def run(text: str, files: Iterable[bytes], context: Mapping[str, str], **how: Any) -> list[Outcome]:
    """Run ``text`` over ``files`` in one go, as at archiving: after a failure it goes on with the next file.

    ``how`` is what `Running` takes by name.
    """
    running = Running(text, context, **how)
    return [running.over(data) for data in files]


def _stamp(dataset: DataSet, code: str, meaning: str) -> None:
    if len(code) > CODE_LENGTH:
        raise Refused(f"One of the arguments: {code},{meaning},XNAT,1.0 exceeds the size fixed by the DICOM standard.")
    try:
        item = dataset.add_item(STAMP)
    except TypeError:
        raise Refused("ClassCastException: (0012,0064) is no sequence") from None
    for tag, vr, text in (
        (0x00080100, "SH", code),
        (0x00080102, "SH", "XNAT"),
        (0x00080103, "SH", "1.0"),
        (0x00080104, "LO", meaning),
    ):
        item[tag] = Element(vr, text.encode())


def shortcomings(text: str, *, release: str = "6.6", only_4: bool = False) -> list[str]:
    """What is not done here as by XNAT's engine, a sentence for each function; nothing for a script that is none."""
    try:
        if only_4 or version.engine_of(text, RELEASES[release]) == 4:
            called = engine4.called(text)
        else:
            called = engine6.called(text, RELEASES[release])
    except (Refused, RecursionError):
        return []
    return [functions6.NOT_CARRIED_OUT[name] for name in sorted(called) if name in functions6.NOT_CARRIED_OUT]
