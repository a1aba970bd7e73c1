"""Which sessions of a project to take, and which of their scans."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from .csv_files import read_table
from .errors import InputError
from .keys import SessionKey
from .options import TransferOptions
from .values import Inventory, tuples_of


def chooser(wanted: Sequence[str]) -> Callable[[str], bool]:
    """Whether a label is among the wanted ones, or a pattern (``~REGEX``) is found in it; none: all."""
    exact = {label for label in wanted if not label.startswith("~")}
    patterns = [re.compile(label[1:]) for label in wanted if label.startswith("~")]
    return lambda label: not wanted or label in exact or any(pattern.search(label) for pattern in patterns)


def not_there(wanted: Sequence[str], labels: Iterable[str]) -> list[str]:
    """The wanted labels, patterns left out, that are not among ``labels``."""
    there = set(labels)
    return [label for label in wanted if not label.startswith("~") and label not in there]


def select_sessions(inventory: Inventory, options: TransferOptions) -> Inventory:
    """The part of an inventory that the options choose.

    Raises
    ------
    InputError
        If a named subject or session is not there, the list of sessions cannot be used, or nothing is left.
    """
    sessions = inventory.sessions
    where = f"{inventory.project} on {inventory.server}"
    keep = pd.Series(True, index=sessions.index)
    for kind, wanted in (("subject", options.subjects), ("session", options.sessions)):
        if lacking := not_there(wanted, sessions[kind]):
            raise InputError(
                f"There is no {kind} {lacking[0]!r} in {where}.",
                "Labels are compared exactly, with their zeros; 'xnbtransfer inventory' lists them.",
            )
        keep &= sessions[kind].map(chooser(wanted)).astype(bool)
    if options.selection:
        listed = _listed(options.selection, sessions, where)
        keys = tuples_of(sessions, "subject", "session")
        keep &= pd.Series([key in listed for key in keys], index=sessions.index, dtype=bool)
    if options.modalities:
        keep &= sessions["modality"].isin(options.modalities)
    if options.date_from:
        keep &= sessions["date"] >= options.date_from
    if options.date_to:
        keep &= (sessions["date"] <= options.date_to) & (sessions["date"] != "")
    chosen = sessions[keep].reset_index(drop=True)
    if chosen.empty:
        raise InputError(
            f"Of the {len(sessions)} sessions in {where} the selection leaves none.",
            "Widen the selection; 'xnbtransfer inventory' lists what is there.",
        )
    kept = set(zip(chosen["subject"], chosen["session"], strict=True))
    scans, files, resources = (
        _where(table, ["subject", "session"], kept.__contains__)
        for table in (inventory.scans, inventory.files, inventory.resources)
    )
    found = dataclasses.replace(inventory, sessions=chosen, scans=scans, files=files, resources=resources)
    return select_scans(found, options)


def select_scans(inventory: Inventory, options: TransferOptions) -> Inventory:
    """The part of an inventory whose scans have the chosen types and qualities; sessions without any are left out.

    Raises
    ------
    InputError
        If nothing is left.
    """
    if not options.of_scans:
        return inventory
    scans = inventory.scans
    for column, wanted in (("type", options.scan_types), ("quality", options.qualities)):
        if not wanted:
            continue
        scans = scans[scans[column].isin(wanted)].reset_index(drop=True)
        if scans.empty:
            raise InputError(
                f"The chosen sessions in {inventory.project} on {inventory.server} hold no scan of {column} "
                f"{', '.join(wanted)}{' and the chosen type' if column == 'quality' and options.scan_types else ''}.",
                "Scan types and qualities are compared exactly; 'xnbtransfer inventory' lists them.",
            )
    left = set(tuples_of(scans, "subject", "session", "scan"))
    files, resources = (
        _where(table, ["subject", "session", "scan"], lambda key: key in left or not key[2])
        for table in (inventory.files, inventory.resources)
    )
    sums = scans.groupby(["subject", "session"], sort=False)[["files", "size_bytes"]].sum()
    counts = scans.groupby(["subject", "session"], sort=False).size()
    sessions = _where(inventory.sessions, ["subject", "session"], set(counts.index).__contains__)
    rows = list(tuples_of(sessions, "subject", "session"))
    sessions = sessions.assign(
        scans=[int(counts[row]) for row in rows],
        files=[int(sums["files"][row]) for row in rows],
        size_bytes=[int(sums["size_bytes"][row]) for row in rows],
    )
    return dataclasses.replace(inventory, sessions=sessions, scans=scans, files=files, resources=resources)


def _listed(path: str, sessions: pd.DataFrame, where: str) -> set[tuple[str, ...]]:
    """Subject and session of each line of a list of sessions, all of which must be there."""
    rows = read_table(path, ["subject", "session"], "list of sessions")
    if not rows:
        raise InputError(f"The list of sessions {path} names no session.", "Give it a line for each session to take.")
    there = set(tuples_of(sessions, "subject", "session"))
    for place, row in rows:
        if row not in there:
            raise InputError(
                f"{place[0].upper()}{place[1:]} of the list of sessions {path} names {SessionKey(*row)}, and {where} "
                "has no such session.",
                "Labels are compared exactly, with their zeros; 'xnbtransfer inventory' lists them.",
            )
    return {row for _, row in rows}


def _where(table: pd.DataFrame, keys: list[str], wanted: Callable[[tuple], bool]) -> pd.DataFrame:
    """The rows whose key columns are wanted, numbered anew."""
    mask = [wanted(key) for key in tuples_of(table, *keys)]
    return table[pd.Series(mask, index=table.index, dtype=bool)].reset_index(drop=True)
