"""What somebody decided about single sessions: a CSV or a frame with subject, session, decision and to_session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .conflicts import MATRIX, Decision
from .csv_files import read_table, rows_of
from .errors import InputError
from .keys import SessionKey
from .labels import LabelMap

COLUMNS = ["subject", "session", "decision", "to_session"]


@dataclass(frozen=True)
class Decisions:
    """A decision per session, and the label at the destination that goes with it where one was given."""

    rows: Mapping[SessionKey, tuple[str, str]] = field(default_factory=dict)

    def of(self, key: SessionKey) -> str:
        """The decision for a session, "" where there is none."""
        return self.rows.get(key, ("", ""))[0]

    def label(self, key: SessionKey) -> str:
        """The label that was decided, "" where there is none."""
        return self.rows.get(key, ("", ""))[1]

    @property
    def left_out(self) -> frozenset[SessionKey]:
        """The sessions that were decided to be skipped."""
        return frozenset(key for key, (decision, _) in self.rows.items() if decision == "skip")

    def over(self, labels: LabelMap) -> LabelMap:
        """A label map with the labels that were decided."""
        table = dict(labels.table)
        for key, (_, label) in self.rows.items():
            if label:
                table[key] = SessionKey(labels(key).subject, label)
        return LabelMap(table)


def read_decisions(path: str | Path) -> Decisions:
    """Decisions from a CSV with the columns subject, session, decision and to_session; all cells are text.

    ``to_session`` may be empty: a session to be renamed then gets a label by rule.

    Raises
    ------
    InputError
        If the file cannot be read, a decision is none, or a session is named twice.
    """
    return _decisions(read_table(path, COLUMNS, "table of decisions", ("to_session",)), f"table of decisions {path}")


def decisions_of(table: pd.DataFrame) -> Decisions:
    """Decisions from a frame, e.g. one edited in place; the same rules as for a CSV."""
    return _decisions(rows_of(table, COLUMNS, "table of decisions", ("to_session",)), "table of decisions")


def _decisions(rows: Iterable[tuple[str, tuple[str, ...]]], what: str) -> Decisions:
    found: dict[SessionKey, tuple[str, str]] = {}
    for place, (subject, session, decision, label) in rows:
        key = SessionKey(subject, session)
        if decision not in list(Decision):
            raise InputError(
                f"The {what} has {decision!r} in {place}, which is no decision.",
                f"The decisions are {', '.join(Decision)}.",
            )
        if key in found:
            raise InputError(f"The {what} names {key} twice, again in {place}.", "Keep one of the lines.")
        if label and decision in ("skip", "stop"):
            raise InputError(
                f"The {what} gives {key} a label and does not send it ({decision}, in {place}).",
                "Decide rename, merge or replace, or leave to_session empty.",
            )
        found[key] = (decision, label)
    return Decisions(found)


def read_rules(rules: Iterable[str]) -> dict[str, str]:
    """Rules such as ``other-study:rename`` as a mapping from the code of a conflict to a decision.

    Raises
    ------
    InputError
        If a code or a decision is unknown, or that decision is not for a rule.
    """
    found = {}
    for text in rules:
        code, _, decision = text.partition(":")
        if code not in MATRIX:
            raise InputError(f"There is no conflict {code!r}.", f"They are {', '.join(MATRIX)}.")
        allowed = MATRIX[code].decisions
        if decision not in list(allowed):
            raise InputError(
                f"The conflict {code} cannot be settled by {decision!r} as a rule.", f"Choose {', '.join(allowed)}."
            )
        found[code] = decision
    return found
