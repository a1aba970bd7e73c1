"""The words in which both engines speak: how a run over one file ends, and where in a script something stands.

Used by every other module of this package and by nobody outside for more than :class:`Place` and the names of outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass

DONE, REJECTED, REFUSED, FAILED, UNKNOWN = "done", "rejected", "refused", "evaluation failed", "not foretold"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Line and column of a script, both from 1, as an editor shows them."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Ended(Exception):
    """A run over a file ended before its last statement; ``place`` says where in the script, if that is known."""

    outcome = UNKNOWN

    def __init__(self, reason: str, place: Place | None = None) -> None:
        super().__init__(reason)
        self.reason, self.place = reason, place


class Rejected(Ended):
    """``reject`` was reached: since 6.6 the file is left with 0 bytes."""

    outcome = REJECTED


class Refused(Ended):
    """The engine throws an exception: the file stays as it is."""

    outcome = REFUSED


class Failed(Ended):
    """The engine returns an error: since 6.6 the file is left with 0 bytes."""

    outcome = FAILED


class NotForetold(Ended):
    """What the engine does cannot be computed here: random, unbounded, or outside of what was measured."""

    outcome = UNKNOWN
