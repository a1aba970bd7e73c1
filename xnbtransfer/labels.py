"""Label mapping: which labels a session gets at the destination, and whether XNAT takes them."""

from __future__ import annotations

import collections
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .csv_files import read_table, rows_of
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
        """The labels of ``key`` at the destination."""
        return self.table.get(key, key)


def folded(label: str) -> str:
    """A label as a disk that ignores case and ways of writing accents would have it."""
    return unicodedata.normalize("NFC", label).casefold()


def read_label_map(path: str | Path) -> LabelMap:
    """A label map from a CSV with the columns subject, session, to_subject and to_session; all cells are text.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, has an empty cell, names a session twice, or names none.
    """
    rows = read_table(path, COLUMNS, "label map")
    if not rows:
        raise InputError(f"The label map {path} has no line below its header.", "Every session would keep its labels.")
    return _label_map(rows, f"label map {path}")


def label_map_of(table: pd.DataFrame) -> LabelMap:
    """A label map from a frame as :func:`crosswalk` makes it, perhaps edited in place.

    Raises
    ------
    InputError
        If it lacks a column, a cell is empty or no text, or a session is named twice.
    """
    return _label_map(rows_of(table, COLUMNS, "label map"), "label map")


def _label_map(rows: Iterable[tuple[str, tuple[str, ...]]], what: str) -> LabelMap:
    found: dict[SessionKey, SessionKey] = {}
    for place, row in rows:
        key = SessionKey(row[0], row[1])
        if key in found:
            raise InputError(f"The {what} names {key} twice, again in {place}.", "Keep one of the lines.")
        found[key] = SessionKey(row[2], row[3])
    return LabelMap(found)


def check_labels(
    keys: Iterable[SessionKey],
    labels: LabelMap,
    existing_subjects: Iterable[str] = (),
    existing_sessions: Iterable[str] = (),
    sent: Iterable[SessionKey] | None = None,
) -> list[str]:
    """Whether the destination takes the labels.

    Parameters
    ----------
    keys : iterable of SessionKey
        The selected sessions, by their source labels.
    existing_subjects, existing_sessions : iterable of str
        Labels at the destination.
    sent : iterable of SessionKey, optional
        Those of ``keys`` that are sent; without it all. The labels of the others do not matter.

    Returns
    -------
    list of str
        Sentences on labels that differ from another only by case, and on lines of the map that no selected session
        has: a misspelt line would otherwise leave a session its old label without a word.

    Raises
    ------
    InputError
        If a label has a character XNAT does not take or is too long, or if two sessions go to one label.
    """
    keys = list(keys)
    to = {key: labels(key) for key in (keys if sent is None else sent)}
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
    for kind, wanted, old in (
        ("subject", {key.subject for key in to.values()}, set(existing_subjects)),
        ("session", {key.session for key in to.values()}, set(existing_sessions)),
    ):
        groups: dict[str, set[str]] = collections.defaultdict(set)
        for label in wanted | old:
            groups[folded(label)].add(label)
        sentences += [
            f"The {kind} labels {' and '.join(sorted(group))} differ only by case."
            for _, group in sorted(groups.items())
            if len(group) > 1 and group & wanted
        ]
    idle = sorted(set(labels.table) - set(keys))
    if idle:
        sentences.append(
            f"The label map names {len(idle)} sessions that are not selected: {', '.join(map(str, idle[:3]))}"
            f"{' and others' if len(idle) > 3 else ''}."
        )
    return sentences


def crosswalk(keys: Iterable[SessionKey], labels: LabelMap) -> pd.DataFrame:
    """One row per session with its labels on both sides, all text."""
    rows = [(*key, *labels(key)) for key in keys]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)
