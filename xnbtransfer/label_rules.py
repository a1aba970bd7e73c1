"""Labels by rule: a template with fields, a regular expression, or a cleaning, written as one line of text.

A rule is a row of clauses with semicolons between them, carried out from left to right:

- ``session={subject}_{modality}_{date}`` fills a template. Its fields are ``subject``, ``session``, ``project``,
  ``modality``, ``date`` (YYYY-MM-DD), ``year``, ``month``, ``day``; text is filled with zeros by ``{subject:0>4}``.
- ``session~^(\\d+)_~SUB-\\1_`` replaces what the regular expression finds; the second tilde may be any character that
  follows the word ``session`` or ``subject``.
- ``clean`` takes accents off and puts ``_`` for everything that XNAT does not take, as its importer would.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from .errors import InputError
from .keys import SessionKey
from .labels import ALLOWED, MAX_LENGTH, LabelMap, folded
from .values import tuples_of

FIELDS = ("subject", "session", "project", "modality", "date", "year", "month", "day")
_SHAPE = "Write e.g. 'session={subject}_{modality}', 'session~^MR~SCAN' or 'clean', with ; between clauses."

Clause = Callable[[dict[str, str]], None]


def clean_label(text: str) -> str:
    """A label that XNAT takes: accents off, blanks at the ends off, ``_`` for every other character it refuses.

    >>> clean_label(" Müller 1 ")
    'Muller_1'
    """
    plain = unicodedata.normalize("NFKD", text.strip())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9_-]", "_", plain)


def read_rule(text: str, extra: Iterable[str] = ()) -> Callable[[Mapping[str, Any]], SessionKey]:
    """A function from the row of a session to its labels at the destination.

    Parameters
    ----------
    text : str
        The clauses; "" keeps the labels.
    extra : iterable of str
        Further fields that the rows have.

    Raises
    ------
    InputError
        If a clause cannot be read, or names a field that there is none of.
    """
    clauses = [_clause(part.strip(), (*FIELDS, *extra)) for part in text.split(";") if part.strip()]

    def apply(row: Mapping[str, Any]) -> SessionKey:
        values = {name: str(row[name]) for name in ("subject", "session", "project", "modality", "date", *extra)}
        values |= dict(zip(("year", "month", "day"), (*values["date"].split("-"), "", "", "")[:3], strict=True))
        for clause in clauses:
            clause(values)
        return SessionKey(values["subject"], values["session"])

    return apply


def _clause(text: str, fields: tuple[str, ...]) -> Clause:
    if text == "clean":
        return _cleaning
    found = re.match(r"(subject|session)\s*(.)(.*)", text, re.DOTALL)
    if not found:
        raise InputError(f"The label rule {text!r} cannot be read.", _SHAPE)
    name, mark, rest = found.groups()
    if mark == "=":
        return _template(name, rest, fields)
    if mark.isalnum() or mark.isspace() or mark in "_-{}":
        raise InputError(f"The label rule {text!r} cannot be read.", _SHAPE)
    pattern, again, replacement = rest.partition(mark)
    if not again or mark in replacement.removesuffix(mark):
        raise InputError(f"The label rule {text!r} has not one expression and one replacement.", _SHAPE)
    return _replacing(name, pattern, replacement.removesuffix(mark))


def _cleaning(values: dict[str, str]) -> None:
    for name in ("subject", "session"):
        values[name] = clean_label(values[name])


def _template(name: str, template: str, fields: tuple[str, ...]) -> Clause:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as problem:
        raise InputError(f"The label rule {template!r} cannot be read: {problem}.", _SHAPE) from None
    for _, field, form, conversion in parts:
        if field is not None and (field not in fields or conversion or "{" in (form or "")):
            raise InputError(
                f"The label rule {template!r} has no field {field!r} to fill.", f"The fields are {', '.join(fields)}."
            )
    try:
        if any(re.match(r"0\d", form or "") for _, _, form, _ in parts):
            raise ValueError  # Python would put the zeros behind a text
        template.format(**dict.fromkeys(fields, ""))
    except ValueError:
        raise InputError(
            f"The label rule {template!r} gives a text the form of a number.", "Fill with zeros by {subject:0>4}."
        ) from None

    def fill(values: dict[str, str]) -> None:
        empty = [field for _, field, _, _ in parts if field and not values[field]]
        if empty:
            raise InputError(
                f"The label rule {template!r} needs the {empty[0]} of {values['subject']}/{values['session']}, and the "
                "source lists none.",
                "Map this session by --label-map, or leave the field out of the rule.",
            )
        values[name] = template.format(**values)

    return fill


def _replacing(name: str, pattern: str, replacement: str) -> Clause:
    try:
        wanted = re.compile(pattern)
        parsed = re.sub(r"\\g<\w+>|\\[1-9]", "", replacement)
        if "\\" in parsed.replace("\\\\", ""):
            raise re.error(f"bad escape in {replacement!r}")
        for group in re.findall(r"\\g<(\w+)>|\\([1-9])", replacement):
            word = group[0] or group[1]
            if (word.isdigit() and int(word) > wanted.groups) or (not word.isdigit() and word not in wanted.groupindex):
                raise re.error(f"there is no group {word}")
    except re.error as problem:
        raise InputError(f"The label rule {pattern!r} cannot be read: {problem}.", _SHAPE) from None

    def replace(values: dict[str, str]) -> None:
        values[name] = wanted.sub(replacement, values[name])

    return replace


def map_by_rule(text: str, sessions: pd.DataFrame, project: str, first: LabelMap | None = None) -> LabelMap:
    """The label map that a rule gives for some sessions; what ``first`` names keeps the labels given there.

    ``sessions`` has the columns of an inventory's sessions; ``project`` is the source project.
    """
    apply = read_rule(text)
    table = {
        SessionKey(row["subject"], row["session"]): apply({**row, "project": project})
        for row in sessions[["subject", "session", "modality", "date"]].to_dict("records")
    }
    return LabelMap({**table, **(first.table if first else {})})


def preview(
    sessions: pd.DataFrame,
    labels: LabelMap,
    *,
    subject_pattern: str = "",
    session_pattern: str = "",
    existing_sessions: Iterable[str] = (),
) -> pd.DataFrame:
    """What the labels become: one row per session, with ``changed`` and a ``problem`` in words, "" where all is well.

    Parameters
    ----------
    sessions : DataFrame
        With the columns ``subject`` and ``session``.
    subject_pattern, session_pattern : str
        Regular expressions that whole labels must match at the destination; "" takes all.
    existing_sessions : iterable of str
        Labels at the destination.
    """
    keys = [SessionKey(*row) for row in tuples_of(sessions, "subject", "session")]
    to = [labels(key) for key in keys]
    there = {folded(label): label for label in existing_sessions}
    count: dict[str, int] = {}
    for new in to:
        count[folded(new.session)] = count.get(folded(new.session), 0) + 1
    rows = []
    for key, new in zip(keys, to, strict=True):
        problems = [
            problem
            for kind, label, pattern in (
                ("subject", new.subject, subject_pattern),
                ("session", new.session, session_pattern),
            )
            if (problem := unfit(kind, label, pattern))
        ]
        if count[folded(new.session)] > 1:
            problems.append(f"{count[folded(new.session)]} sessions go to this label, or differ only by case")
        if folded(new.session) in there:
            met = there[folded(new.session)]
            problems.append("the destination has it" if met == new.session else f"the destination has {met}")
        rows.append((*key, *new, key != new, "; ".join(problems)))
    columns = ["subject", "session", "to_subject", "to_session", "changed", "problem"]
    return pd.DataFrame(rows, columns=columns)


def unfit(kind: str, label: str, pattern: str = "") -> str:
    """Why a label does not fit the destination, or ""."""
    if not re.fullmatch(ALLOWED, label):
        return f"the {kind} label has a character that XNAT does not take"
    if len(label) > MAX_LENGTH:
        return f"the {kind} label has {len(label)} characters, more than {MAX_LENGTH}"
    if pattern and not re.fullmatch(pattern, label):
        return f"the {kind} label does not match {pattern}"
    return ""
