"""A copy of a record for others: who, when, what and with what result, without crosswalk and without labels.

Subjects and sessions bear numbers of this copy, and so do resources and scans that bear no name which everybody's have.
What could say more (labels, file names, dates, UIDs, sentences, the notebook, the plan, the journal) is left out, and
the copy is searched for what was left out before it is handed over.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .errors import RefusedError
from .html import csv_text
from .outputs import make_folder, not_written, write_whole
from .record import SUMMARY, Record, make_bag, open_record
from .values import tuples_of

_TABLES = ("files", "sessions", "scans", "plan", "findings", "carried", "left-behind", "extra")
_KEPT = (
    "scan", "kind", "resource", "level", "modality", "action", "session_action", "state", "scans", "files",
    "size_bytes", "equal", "explained", "different", "not_proved", "extra", "verdict", "source_md5", "content",
    "destination_scan", "destination_size_bytes", "destination_md5", "read_in", "way_out", "changed", "conflict",
    "decided", "rule", "severity", "md5",
)  # fmt: skip
_ABOUT = (
    "format", "template", "made_at", "closed_at", "resumed", "exit_code", "result", "versions", "verdicts", "sessions",
    "extra", "left_behind", "started_at", "finished_at", "seconds", "requests", "writes", "read_in", "way_out",
)  # fmt: skip
# Names that XNAT, its pipelines and dcm2niix give, whoever the project is of; any other was typed by somebody.
_PUBLIC_RESOURCES = frozenset(("", "DICOM", "secondary", "SNAPSHOTS", "NIFTI", "NIFTI_RAW", "BIDS", "(fields)"))
_SCAN = re.compile(r"([0-9]{1,5}(-[A-Z]{2}[0-9]{1,3})?)?")  # 4, and 4-MR1 where two series have one number
_MODALITY = re.compile(r"([A-Z]{2,3})?")  # DICOM's codes (PS3.3 C.7.3.1.1.1) that sessions have
_LABELS = ("subject", "session", "destination_subject", "destination_session", "to_subject", "to_session")


def share_record(record: str | Path | Record, to: str | Path) -> Path:
    """Write a copy of a sealed record that names no subject and no session; returns its folder.

    Parameters
    ----------
    record : path or Record
        The sealed record; it is checked first, and stays as it is.
    to : path
        The folder to make.

    Raises
    ------
    RefusedError
        If the folder is there, or a label is found in the copy.
    InputError
        If the record is none, or was changed.
    """
    found = record if isinstance(record, Record) else open_record(record)
    to = Path(to)
    if os.path.lexists(to):
        raise RefusedError(f"The folder {to} is there already; nothing is overwritten.", "Name another folder.")
    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        make_folder(part)
        labels = _write(found, part)
        _refuse_labels(part, labels)
        summary = json.loads((part / SUMMARY).read_text(encoding="utf-8"))
        make_bag(part, summary)
        part.rename(to)
    except OSError as problem:
        raise not_written(problem, f"The copy cannot be written to {to}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return to


def _write(found: Record, folder: Path) -> set[str]:
    """The tables and the summary; returns every label that must not occur."""
    tables = {name: found.table(name) for name in _TABLES if (found.data / f"{name}.csv").exists()}
    labels: set[str] = set()
    for table in [*tables.values(), *([found.table("crosswalk")] if (found.data / "crosswalk.csv").exists() else [])]:
        for column in _LABELS:
            if column in table:
                labels |= set(table[column])
    labels.discard("")
    numbers = {kind: _Numbers(kind) for kind in ("subject", "session", "resource", "scan")}
    for name, table in tables.items():
        shown = pd.DataFrame(index=table.index)
        if "subject" in table:
            prefix = "destination" if name == "extra" else "source"  # a number means one label of one side
            for kind in ("subject", "session"):
                shown[kind] = [numbers[kind].of(prefix, *key) for key in _keys(table, kind)]
        for column in _KEPT:
            if column in table:
                shown[column] = [_told(column, text, numbers) for text in table[column]]
        if "kind" in table:  # the names of other things may hold a label
            shown["resource"] = shown["resource"].where(table["kind"] == "resource", "")
        write_whole(folder / f"{name}.csv", csv_text(shown))
    about = {name: found.summary[name] for name in _ABOUT if name in found.summary}
    about |= {"record": f"shareable copy {secrets.token_hex(4)}", "blockers": len(found.summary.get("blockers", ()))}
    for side in ("source", "destination"):
        if side in found.summary:
            about[side] = {
                name: found.summary[side][name] for name in ("server", "project", "user", "read_at", "version")
            }
    about["plan"] = {"fingerprint": found.summary.get("plan", {}).get("fingerprint", "")}
    write_whole(folder / SUMMARY, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    return labels


def _told(column: str, text: str, numbers: dict[str, _Numbers]) -> str:
    """A cell as the copy tells it: what somebody may have named is a number, a modality that is none is "other"."""
    if column == "resource":
        return text if text in _PUBLIC_RESOURCES else numbers["resource"].of(text)
    if column in ("scan", "destination_scan"):
        return text if _SCAN.fullmatch(text) else numbers["scan"].of(text)
    if column == "modality":
        return text if _MODALITY.fullmatch(text) else "other"
    return text


def _keys(table: pd.DataFrame, kind: str) -> Iterable[tuple[str, ...]]:
    names = ["subject"] if kind == "subject" else ["subject", "session"]
    return tuples_of(table, *names)


class _Numbers:
    """Numbers in the order of appearance: the same label the same number, in every table of one copy."""

    def __init__(self, word: str) -> None:
        self._word, self._known = word, {}

    def of(self, *key: str) -> str:
        if not key[-1]:
            return ""
        return self._known.setdefault(key, f"{self._word} {len(self._known) + 1}")


def _refuse_labels(folder: Path, labels: Iterable[str]) -> None:
    """A short label such as 1 is found everywhere, so only those that tell something are looked for."""
    telling = sorted({label for label in labels if len(label) >= 4 or not label.isdigit()}, key=len, reverse=True)
    patterns = [re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(label)}(?![A-Za-z0-9_-])") for label in telling]
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        if any(pattern.search(text) for pattern in patterns):
            raise RefusedError(
                f"The copy is not made: {path.name} holds a label of a subject or session.",
                "A project, user or resource bears the name of one; write a copy by hand.",
            )
