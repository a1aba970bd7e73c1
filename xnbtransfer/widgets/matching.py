"""Comparing and labelling: how the selected sessions meet the destination, what is decided, and their labels there."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..conflicts import MATRIX, Decision
from ..csv_files import as_cell
from ..decisions import Decisions
from ..diff import Diff, Status, diff
from ..errors import InputError
from ..inputs import Inputs
from ..keys import SessionKey
from ..label_rules import map_by_rule
from ..labels import COLUMNS, LabelMap, check_labels, crosswalk, folded, read_label_map
from ..outputs import write_whole
from ..progress import Sides, meet_again, read_sides
from ..values import Inventory, tuples_of
from ..xnat import Connection
from .checks import label_notes
from .selection import Selection


class Matching(Selection):
    """The steps *compare* and *labels*."""

    def __init__(self, record_root: str = "") -> None:
        super().__init__(record_root)
        self.here: Inventory | None = None
        self.there: Inventory | None = None
        self.differences: Diff | None = None
        self._met_under: dict[SessionKey, SessionKey] | None = None

    def _drop(self, gone: tuple[str, ...]) -> None:
        super()._drop(gone)
        if "choose" in gone:
            self.here = self.there = self.differences = self._met_under = None

    # -- compare ------------------------------------------------------------------------------------------------

    def _prepare_compare(self) -> None:
        if self.differences is not None:
            return
        with self.working("compare", "reading both projects"):
            self._take(read_sides(*self._servers(), self.transfer_options(), self._labelled()))

    def _meet(self) -> None:
        """Read of the destination what the selected sessions could meet under their labels."""
        self._take(meet_again(*self._servers(), self.transfer_options(), self.here, self._labelled()))

    def _take(self, sides: Sides) -> None:
        self.here, self.there, _ = sides
        self._met_under = dict(self.labels)
        self._compare()

    def _servers(self) -> tuple[Connection, Connection]:
        return self.connections["source"], self.connections["destination"]

    def _labelled(self) -> Inputs:
        """The labels and decisions of the page, in place of files."""
        return Inputs(labels=self.label_map(), decisions=Decisions(dict(self.decisions)))

    def _compare(self) -> None:
        if self.here is not None and self.there is not None:
            decided = Decisions(self.decisions)
            self.differences = diff(self.here, self.there, decided.over(self.label_map()), decided.left_out)

    def compare(self) -> None:
        """Read both sides again, e.g. after something was changed there."""
        self.withdraw("compare")
        self.here = self.there = self.differences = None
        self._prepare_compare()

    def choices(self, key: tuple[str, str]) -> list[str]:
        """What may be decided about a session, by what it meets at the destination."""
        if self.differences is None:
            return []
        met = self.differences.meetings.get(SessionKey(*key), [])
        if not met:
            return [str(Decision.SKIP)]
        rows = [MATRIX[one.kind] for one in met]
        common = set(Decision).intersection(*({*row.decisions, *row.one_by_one} for row in rows))
        return [str(one) for one in Decision if one in common]

    def decide(self, key: tuple[str, str], decision: str, label: str = "") -> None:
        """Decide about one session; "" takes a decision back.

        Parameters
        ----------
        decision : str
            One of :meth:`choices`. ``rename`` without ``label`` takes the next free label.

        Raises
        ------
        InputError
            If that cannot be decided about this session.
        """
        key = SessionKey(*key)
        allowed = self.choices(key)
        if decision and decision not in allowed:
            raise InputError(f"{key} cannot be settled by {decision!r}.", f"Choose {', '.join(allowed) or 'nothing'}.")
        label = (label or self._free_label(key)) if decision == "rename" else ""
        if self.decisions.get(key, ("", "")) == (decision, label):
            return
        self.withdraw("compare")
        if self.decisions.pop(key, ("", ""))[0] == "rename":
            self.labels.pop(key, None)
        if decision:
            self.decisions[key] = (decision, label)
        if label:
            self.labels[key] = SessionKey(self.label_map()(key).subject, label)
        self._compare()
        self._changed()

    def _free_label(self, key: SessionKey) -> str:
        """The session label with the lowest number behind it that nothing has and no other session gets."""
        taken = {folded(label) for label in self.there.sessions["session"]}
        taken |= {folded(label) for label in self.there.prearchive["session"]}
        taken |= {folded(self.label_map()(one).session) for one in self.selected}
        number = 2
        while folded(f"{key.session}_{number}") in taken:
            number += 1
        return f"{key.session}_{number}"

    def decided(self) -> dict[SessionKey, str]:
        """What was decided about single sessions, in words."""
        return {key: f"{word} to {label}" if label else word for key, (word, label) in self.decisions.items()}

    def met(self, key: tuple[str, str]) -> list[tuple[str, str, str]]:
        """What a session meets at the destination: in words, why, and what XNAT would do without us."""
        found = self.differences.meetings.get(SessionKey(*key), []) if self.differences is not None else []
        return [(MATRIX[one.kind].words, one.because, MATRIX[one.kind].server) for one in found]

    def compared(self) -> pd.DataFrame:
        """One row per selected session: how it compares, and what would be done with it."""
        if self.differences is None:
            return pd.DataFrame()
        rows = self.differences.sessions
        rows = rows[rows["session"] != ""].reset_index(drop=True)
        decided = self.decided()
        keys = tuples_of(rows, "subject", "session")
        rows = rows.assign(decision=[decided.get(key, "") for key in keys])
        return rows.drop(columns=["destination_subject", "destination_session"])

    def details(self, key: tuple[str, str]) -> dict[str, Any]:
        """One session in full: how it compares, its scans on both sides, and what was decided."""
        key = SessionKey(*key)
        found: dict[str, Any] = {"key": key, "to": self.label_map()(key), "decision": self.decided().get(key, "")}
        if self.differences is None:
            if self.listing is not None:
                found["scans"] = _of(self.listing.scans, key)
            return found
        rows = _of(self.differences.sessions, key)
        found |= rows.iloc[0].to_dict() if len(rows) else {}
        found["scans"] = _of(self.differences.scans, key)
        return found

    def _blockers_compare(self) -> list[str]:
        return [] if self.differences is not None else ["The two projects are not compared yet."]

    # -- labels -------------------------------------------------------------------------------------------------

    def label_map(self) -> LabelMap:
        """The labels as they are now."""
        return LabelMap(dict(self.labels))

    def label_table(self) -> pd.DataFrame:
        """One row per selected session with its labels on both sides, how it compares, and why."""
        rows = self.compared()
        if rows.empty:
            return pd.DataFrame(columns=[*COLUMNS, "status", "because"])
        keys = [SessionKey(*row) for row in tuples_of(rows, "subject", "session")]
        table = crosswalk(keys, self.label_map())
        return table.assign(status=rows["status"].to_numpy(), because=rows["because"].to_numpy())

    def relabel(self, changes: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
        """Give sessions other labels: by key, ``to_subject`` and ``to_session``; an empty label takes the old one."""
        new = dict(self.labels)
        for key, cells in changes.items():
            key = SessionKey(*key)
            now = new.get(key, key)
            new[key] = SessionKey(
                cells.get("to_subject", now.subject) or key.subject, cells.get("to_session", now.session) or key.session
            )
        self._relabelled(new)

    def relabel_all(self, changes: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
        """Give sessions other labels, and all that are not named the ones they have at the source."""
        new = {}
        for key, cells in changes.items():
            key = SessionKey(*key)
            new[key] = SessionKey(cells.get("to_subject") or key.subject, cells.get("to_session") or key.session)
        self._relabelled(new)

    def use_labels(self, labels: LabelMap) -> None:
        """Take all labels from a map, e.g. of a CSV file."""
        self._relabelled(dict(labels.table))

    def read_labels(self, path: str | Path) -> None:
        """Take all labels from a CSV file with the columns subject, session, to_subject, to_session."""
        self.use_labels(read_label_map(path))

    def use_rule(self, rule: str) -> None:
        """Take all labels from a rule, e.g. ``session={subject}_{modality}`` or ``session~^MR~SCAN``."""
        self._relabelled(dict(self.by_rule(rule).table))

    def by_rule(self, rule: str) -> LabelMap:
        """The labels that a rule would give; nothing is changed."""
        if self.here is None:
            raise InputError("There are no sessions to label yet.", "Compare the two projects first.")
        return map_by_rule(rule, self.here.sessions, self.chosen_projects["source"])

    def write_labels(self, path: str | Path) -> Path:
        """Write the labels as a CSV file, to be edited and read again."""
        told = io.StringIO()
        writer = csv.writer(told)
        writer.writerow(COLUMNS)
        writer.writerows(map(as_cell, (*key, *self.label_map()(key))) for key in self.selected)
        return write_whole(path, told.getvalue(), newline="")

    def _relabelled(self, new: dict[SessionKey, SessionKey]) -> None:
        new = {key: to for key, to in new.items() if key != to}
        if new == self.labels:
            return
        self.withdraw("labels")
        self.labels = new
        for key, (decision, _) in tuple(self.decisions.items()):
            if decision == "rename":  # the label is what was decided: it goes where the label goes
                self.decisions.pop(key)
                if key in new and new[key].session != key.session:
                    self.decisions[key] = ("rename", new[key].session)
        self._compare()
        self._changed()

    def label_notes(self) -> dict[SessionKey, dict[str, str]]:
        """What is wrong with labels, at once and per cell: the sentence stands at ``to_subject`` or ``to_session``."""
        if self.there is None:
            return {}
        sessions = self.there.sessions
        return label_notes(self.selected, self.label_map(), tuple(sessions["subject"]), tuple(sessions["session"]))

    def _blockers_labels(self) -> list[str]:
        if self.there is None:
            return ["The two projects are not compared yet."]
        try:
            sent = [key for key in self.selected if self.decisions.get(key, ("", ""))[0] != "skip"]
            check_labels(self.selected, Decisions(self.decisions).over(self.label_map()), sent=sent)
        except InputError as problem:
            return [problem.message]
        return []

    def counts(self) -> dict[str, int]:
        """Selected sessions by how they compare."""
        rows = self.compared()
        return {str(word): int((rows["status"] == word).sum()) for word in Status} if len(rows) else {}


def _of(frame: pd.DataFrame, key: SessionKey) -> pd.DataFrame:
    return frame[(frame["subject"] == key.subject) & (frame["session"] == key.session)].reset_index(drop=True)
