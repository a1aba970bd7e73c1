"""Label mapping: which labels a session gets at the destination, and whether XNAT takes them."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .errors import InputError
from .keys import SessionKey

ALLOWED = r"[A-Za-z0-9_-]+"  # XNAT source, BaseXnatExperimentdata.preSave; an import turns all else into "_"
MAX_LENGTH = 64  # a label becomes the name of a folder several times over, and a DICOM LO holds 64 characters
COLUMNS = ["subject", "session", "to_subject", "to_session"]


@dataclass(frozen=True)
class LabelMap:
    """Source labels to destination labels; a session that it does not name keeps its labels."""

    table: Mapping[SessionKey, SessionKey] = field(default_factory=dict)

    def __call__(self, key: SessionKey) -> SessionKey:
        return self.table.get(key, key)


def read_label_map(path: str | Path) -> LabelMap:
    """A label map from a CSV with the columns subject, session, to_subject and to_session; all cells are text.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, has an empty cell, or names a session twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as problem:
        raise InputError(f"The label map {path} cannot be read: {problem.strerror}.") from None
    except (ValueError, UnicodeDecodeError):
        raise InputError(
            f"The label map {path} is not a CSV table.", f"Give it the columns {', '.join(COLUMNS)}."
        ) from None
    lacking = [column for column in COLUMNS if column not in table.columns]
    if lacking:
        raise InputError(
            f"The label map {path} lacks the column {lacking[0]}.", f"Give it the columns {', '.join(COLUMNS)}."
        )
    found: dict[SessionKey, SessionKey] = {}
    for number, row in enumerate(table[COLUMNS].itertuples(index=False, name=None), 2):
        if not all(row):
            raise InputError(
                f"The label map {path} has an empty cell in line {number}.", "Fill it or take the line out."
            )
        key = SessionKey(row[0], row[1])
        if key in found:
            raise InputError(
                f"The label map {path} names {key} twice, again in line {number}.", "Keep one of the lines."
            )
        found[key] = SessionKey(row[2], row[3])
    return LabelMap(found)


def check_labels(
    keys: Iterable[SessionKey],
    labels: LabelMap,
    existing_subjects: Iterable[str] = (),
    existing_sessions: Iterable[str] = (),
) -> list[str]:
    """Whether the destination takes the labels.

    Parameters
    ----------
    keys : iterable of SessionKey
        The selected sessions, by their source labels.
    existing_subjects, existing_sessions : iterable of str
        Labels at the destination.

    Returns
    -------
    list of str
        Sentences on labels that differ from another only by case.

    Raises
    ------
    InputError
        If a label has a character XNAT does not take or is too long, if two sessions go to one label, or if the map
        names sessions that are not selected.
    """
    keys = list(keys)
    to = {key: labels(key) for key in keys}
    goes: dict[str, list[SessionKey]] = collections.defaultdict(list)
    for key, new in to.items():
        for kind, label in (("subject", new.subject), ("session", new.session)):
            if not re.fullmatch(ALLOWED, label):
                raise InputError(
                    f"The {kind} label {label!r} of {key} has a character that XNAT does not take.",
                    "Use letters, digits, - and _ only; map it to another label with --label-map.",
                )
            if len(label) > MAX_LENGTH:
                raise InputError(
                    f"The {kind} label of {key} is {len(label)} characters long.",
                    f"Map it to one of at most {MAX_LENGTH} characters with --label-map.",
                )
        goes[new.session].append(key)
    for label, sources in goes.items():
        if len(sources) > 1:
            raise InputError(
                f"{len(sources)} sessions go to the label {label}: {', '.join(map(str, sorted(sources)))}.",
                "Give each a label of its own in the label map; XNAT would merge them.",
            )
    sentences = []
    for kind, new, old in (
        ("subject", {key.subject for key in to.values()}, set(existing_subjects)),
        ("session", {key.session for key in to.values()}, set(existing_sessions)),
    ):
        groups: dict[str, set[str]] = collections.defaultdict(set)
        for label in new | old:
            groups[label.casefold()].add(label)
        sentences += [
            f"The {kind} labels {' and '.join(sorted(group))} differ only by case."
            for _, group in sorted(groups.items())
            if len(group) > 1 and group & new
        ]
    return sentences


def crosswalk(keys: Iterable[SessionKey], labels: LabelMap) -> pd.DataFrame:
    """One row per session with its labels on both sides, all text."""
    rows = [(*key, *labels(key)) for key in keys]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)
