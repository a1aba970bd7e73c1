"""The conflict matrix: what a session meets at the destination, what XNAT would do about it, and what may be decided.

Pure. The table is read when planning; what was met is read again right before each session and compared with
:func:`meets`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .dicom import hash_uid
from .keys import SessionKey
from .labels import folded
from .values import Inventory


class Decision(enum.StrEnum):
    """What may be done about a conflict. ``copy`` goes on, where XNAT keeps both apart."""

    SKIP = "skip"
    COPY = "copy"
    RENAME = "rename"
    MERGE = "merge"
    REPLACE = "replace"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One row of the matrix.

    Attributes
    ----------
    words : str
        What the plan calls it.
    server : str
        What XNAT would do if an upload were sent without looking.
    default : Decision
        What is done unless somebody decides: nothing that exists is touched.
    decisions : tuple of Decision
        What may be decided, by rule or for one session.
    one_by_one : tuple of Decision
        What may be decided for a session that is named, never by rule.
    """

    words: str
    server: str
    default: Decision
    decisions: tuple[Decision, ...]
    one_by_one: tuple[Decision, ...] = ()


_SKIP, _COPY, _RENAME, _MERGE, _REPLACE, _STOP = Decision
MATRIX: dict[str, Conflict] = {
    "one-label": Conflict(
        words="two sources on one label",
        server="XNAT would merge both into one session, or refuse the second for its other StudyInstanceUID.",
        default=_STOP,
        decisions=(_SKIP, _STOP),
        one_by_one=(_RENAME,),
    ),
    "one-study": Conflict(
        words="two sources of one study",
        server="XNAT keeps one prearchive row per study and label: the second upload would fall into the first.",
        default=_SKIP,
        decisions=(_SKIP, _STOP),
    ),
    "same-study": Conflict(
        words="label: same study",
        server="XNAT would merge silently where the project archives by itself (prearchive code 4 or 5), else leave "
        "the upload as CONFLICT.",
        default=_SKIP,
        decisions=(_SKIP, _MERGE, _REPLACE, _STOP),
        one_by_one=(_RENAME,),
    ),
    "other-study": Conflict(
        words="label: other study",
        server="XNAT would refuse (invalid modification of session UID), or with overwrite=delete put both studies "
        "into one session.",
        default=_SKIP,
        decisions=(_SKIP, _RENAME, _STOP),
    ),
    "other-subject": Conflict(
        words="label: other subject",
        server="XNAT would refuse: the label already exists for another subject. Some ways in merge all the same.",
        default=_SKIP,
        decisions=(_SKIP, _RENAME, _STOP),
    ),
    "other-modality": Conflict(
        words="label: other modality",
        server="XNAT would refuse, or where the site allows it put scans of both modalities into one session.",
        default=_SKIP,
        decisions=(_SKIP, _RENAME, _STOP),
    ),
    "shared-label": Conflict(
        words="label: shared from another project",
        server="XNAT would refuse when archiving (duplicate experiment label); the upload stays in the prearchive.",
        default=_SKIP,
        decisions=(_SKIP, _RENAME, _STOP),
    ),
    "waiting": Conflict(
        words="waiting in the prearchive",
        server="XNAT would put the upload into the row that waits, whatever that holds.",
        default=_SKIP,
        decisions=(_SKIP, _RENAME, _STOP),
    ),
    "other-label": Conflict(
        words="same study under another label",
        server="XNAT would make a second session of the same study without a word.",
        default=_SKIP,
        decisions=(_SKIP, _STOP),
        one_by_one=(_COPY, _RENAME),
    ),
    "case": Conflict(
        words="label differs only by case",
        server="XNAT would keep two sessions; their folders are one on a disk that ignores case.",
        default=_SKIP,
        decisions=(_SKIP, _COPY, _RENAME, _STOP),
    ),
    "shared-source": Conflict(
        words="shared into the source",
        server="XNAT would make a second session of what another project owns.",
        default=_SKIP,
        decisions=(_SKIP, _COPY, _STOP),
        one_by_one=(_RENAME,),
    ),
    "other-project": Conflict(
        words="same study in another project",
        server="XNAT would make a second session of the same study; nothing in the other project changes.",
        default=_COPY,
        decisions=(_SKIP, _COPY, _STOP),
        one_by_one=(_RENAME, _MERGE, _REPLACE),
    ),
}
# --existing is about the session at the destination; these are about something else, and have rules of their own.
_NOT_EXISTING = {"one-label", "one-study", "shared-source", "other-project"}
_OF_LABEL = {"one-label", "same-study", "other-study", "other-subject", "other-modality", "shared-label"}
_OF_LABEL |= {"waiting", "case"}


@dataclass(frozen=True)
class Meeting:
    """One thing that a session meets; ``kind`` is a row of :data:`MATRIX`."""

    kind: str
    because: str


def matrix_frame() -> pd.DataFrame:
    """The matrix as people read it: one row per conflict."""
    rows = [
        {
            "code": code,
            "conflict": one.words,
            "what XNAT would do": one.server,
            "by default": str(one.default),
            "by rule": ", ".join(one.decisions),
            "for a named session also": ", ".join(one.one_by_one),
        }
        for code, one in MATRIX.items()
    ]
    return pd.DataFrame(rows)


def study_uids(uid: str) -> tuple[str, ...]:
    """The StudyInstanceUIDs that one study may bear: its own, and what ``hashUID`` of a script makes of it."""
    return (uid, hash_uid(uid), hash_uid(hash_uid(uid))) if uid else ()


def _in_order(table: pd.DataFrame, *columns: str) -> Iterable[Any]:
    return table.sort_values(list(columns)).itertuples(index=False) if len(table) else ()


class Surroundings:
    """What is at the destination already, by label and by study, for looking up many sessions.

    What is told of several does not depend on the order in which the server lists them.
    """

    def __init__(self, destination: Inventory) -> None:
        self.project = destination.project
        self.by_label: dict[str, Any] = {}
        self.by_case: dict[str, list[Any]] = {}
        self.by_uid: dict[str, list[Any]] = {}
        for row in _in_order(destination.sessions, "session", "subject", "project"):
            self.by_label[row.session] = row
            self.by_case.setdefault(folded(row.session), []).append(row)
            if row.StudyInstanceUID:
                self.by_uid.setdefault(row.StudyInstanceUID, []).append(row)
        self.waiting_label: dict[str, list[Any]] = {}
        self.waiting_uid: dict[str, list[Any]] = {}
        for row in _in_order(destination.prearchive, "session", "subject", "status"):
            self.waiting_label.setdefault(row.session, []).append(row)
            if row.StudyInstanceUID:
                self.waiting_uid.setdefault(row.StudyInstanceUID, []).append(row)
        self.elsewhere: dict[str, list[Any]] | None = None
        if destination.elsewhere is not None:
            self.elsewhere = {}
            for row in _in_order(destination.elsewhere, "project", "session"):
                self.elsewhere.setdefault(row.StudyInstanceUID, []).append(row)

    def of_study(self, uid: str) -> list[Any]:
        """The sessions of the destination that hold this study."""
        return [row for one in study_uids(uid) for row in self.by_uid.get(one, ())]

    def in_other_projects(self, row: Any) -> list[Any]:
        """The sessions of other projects that hold the study of a source session; never that session itself."""
        return [
            other
            for one in study_uids(row.StudyInstanceUID)
            for other in (self.elsewhere or {}).get(one, ())
            if other.project != self.project and not _is_itself(row, other)
        ]

    def met(self, row: Any, to: SessionKey) -> tuple[frozenset[str], frozenset[str]]:
        """What a source session meets, as :func:`meets` says it."""
        uids = study_uids(row.StudyInstanceUID)
        at = self.by_label.get(to.session)
        others = [*self.of_study(row.StudyInstanceUID)]
        others = [one for one in others if one.project == self.project]
        others += [one for uid in uids for one in (self.elsewhere or {}).get(uid, ())]
        waiting = [*self.waiting_label.get(to.session, ()), *(r for u in uids for r in self.waiting_uid.get(u, ()))]
        return meets(
            self.project,
            to,
            row.StudyInstanceUID,
            [at._asdict()] if at is not None else [],
            [one._asdict() for one in others],
            [one._asdict() for one in waiting],
        )

    def free(self, label: str, taken: Iterable[str] = ()) -> bool:
        """Whether nothing at the destination, and none of ``taken``, has this label in any case."""
        return (
            folded(label) not in self.by_case
            and label not in self.waiting_label
            and folded(label) not in {folded(one) for one in taken}
        )


def _is_itself(row: Any, other: Any) -> bool:
    if row.session_id != other.session_id:
        return False
    return other.session == row.session or row.shared


def meetings(source: Inventory, there: Surroundings, to: Mapping[SessionKey, SessionKey], left_out=frozenset()):
    """What each session of the source meets, the weightiest first.

    Parameters
    ----------
    to : mapping
        Labels at the source to labels at the destination.
    left_out : set of SessionKey
        Sessions that are not sent whatever they meet, so that the others do not meet them.

    Returns
    -------
    dict of SessionKey to list of Meeting
    """
    goes: dict[str, list[SessionKey]] = {}
    studies: dict[str, list[SessionKey]] = {}
    for row in source.sessions.itertuples(index=False):
        key = SessionKey(row.subject, row.session)
        if key not in left_out:
            goes.setdefault(folded(to[key].session), []).append(key)
            if row.StudyInstanceUID:
                studies.setdefault(row.StudyInstanceUID, []).append(key)
    return {
        SessionKey(row.subject, row.session): list(_meetings(row, there, to, goes, studies))
        for row in source.sessions.itertuples(index=False)
    }


def _meetings(row, there: Surroundings, to, goes, studies):
    key = SessionKey(row.subject, row.session)
    new, uid = to[key], row.StudyInstanceUID
    others = [other for other in goes.get(folded(new.session), ()) if other != key]
    same_label = [other for other in others if to[other].session == new.session]
    if same_label:
        yield Meeting("one-label", f"{len(same_label) + 1} sessions go to {new.session}")
    twins = [other for other in studies.get(uid, ()) if other != key] if uid else []
    if twins:
        yield Meeting("one-study", f"{twins[0]} is of the same study, and XNAT would put both into one")
    at = there.by_label.get(new.session)
    if at is not None:
        yield _at_label(row, new, at)
    waiting = [*there.waiting_label.get(new.session, ())]
    waiting += [other for one in study_uids(uid) for other in there.waiting_uid.get(one, ())]
    if waiting:
        yield Meeting("waiting", f"a session of that label or study waits in the prearchive ({waiting[0].status})")
    elsewhere = [other for other in there.of_study(uid) if other.session != new.session]
    if elsewhere:
        shared = f", shared from {elsewhere[0].project}" if elsewhere[0].shared else ""
        yield Meeting("other-label", f"the same study is at the destination as {elsewhere[0].session}{shared}")
    near = [] if at is not None else [one.session for one in there.by_case.get(folded(new.session), ())]
    near += [to[other].session for other in others if to[other].session != new.session]
    if near and not (elsewhere and near == [elsewhere[0].session]):
        yield Meeting("case", f"the label {new.session} differs only by case from {near[0]}")
    if row.shared:
        yield Meeting("shared-source", f"it is shared into the source from project {row.project}; copy it from there")
    found = there.in_other_projects(row)
    if found:
        names = ", ".join(sorted({f"{one.project}/{one.session}" for one in found})[:3])
        yield Meeting("other-project", f"the same study is in another project as {names}")


def _at_label(row, new: SessionKey, at) -> Meeting:
    if at.shared:
        return Meeting("shared-label", f"the label is taken by a share from {at.project}")
    other_subject = at.subject.casefold() != new.subject.casefold()
    if at.StudyInstanceUID not in study_uids(row.StudyInstanceUID):
        kind = "other-study"
        if other_subject:
            kind = "other-subject"
        elif at.modality != row.modality:
            kind = "other-modality"
        if not (at.StudyInstanceUID and row.StudyInstanceUID):
            return Meeting(kind, f"the label {new.session} is taken, and the study behind it is not listed")
        return Meeting(kind, f"the label {new.session} is taken by another study")
    if other_subject:
        return Meeting("other-subject", f"the same study is there under the subject {at.subject}")
    return Meeting("same-study", "the same study is there")


def decide(
    found: Iterable[Meeting],
    *,
    existing: str = "skip",
    rules: Mapping[str, str] | None = None,
    row: str = "",
    renamed: bool = False,
) -> tuple[str, str, str]:
    """What is done with a session that meets ``found``.

    Parameters
    ----------
    existing : str
        The rule for what the destination has.
    rules : mapping
        Code of a conflict to a decision; wins over ``existing``.
    row : str
        The decision for this very session; wins over both.
    renamed : bool
        Whether a rule gave it another label already.

    Returns
    -------
    action, because, by : str
        ``action`` is copy, merge, replace, skip or stop; ``by`` is "", "by rule" or "by row".
    """
    found = list(found)
    if row in ("skip", "stop"):
        met = f" ({found[0].because})" if found else ""
        return row, f"the decision for it is {row}{met}", "by row"
    action, reasons, by, stuck = "copy", [], "by row" if row else "", False
    for one in found:
        rule = MATRIX[one.kind]
        cannot = existing == "rename" and _RENAME not in rule.decisions
        if row:
            chosen, allowed = row, (*rule.decisions, *rule.one_by_one)
        elif one.kind in (rules or {}):
            chosen, allowed, by = (rules or {})[one.kind], rule.decisions, "by rule"
        elif one.kind in _NOT_EXISTING or existing == "skip" or cannot:
            chosen, allowed = str(rule.default), (rule.default,)
        else:
            chosen, allowed, by = existing, rule.decisions, "by rule"
        if chosen not in allowed:
            return "stop", f"{one.because}; {chosen} is not possible here, but {_or(allowed)} is", by
        if chosen in ("skip", "stop"):
            return str(chosen), one.because, by
        if chosen == "rename" and one.kind in _OF_LABEL:
            if not row and not renamed:
                stuck = True  # what it meets besides settles it, or there is no label left
                reasons.append(one.because)
                continue
            # The label was changed already; what is met still, another label does not mend.
            return ("stop" if row else "skip"), f"{one.because}, under the label it was given, too", by
        if one.kind == "same-study":
            action = str(chosen)
        reasons.append(one.because)
    if stuck:
        return "skip", f"{'; '.join(reasons)}; no other label is free", by
    if row in ("merge", "replace") and action == "copy":
        return "stop", f"the decision for it is {row}, and no session of that label and study is there", by
    return action, "; ".join(reasons), by


def wants_rename(found: Iterable[Meeting], *, existing: str, rules: Mapping[str, str], row: str = "") -> bool:
    """Whether the decision about what a session meets is to give it another label."""
    if row:
        return row == "rename"
    wanted = False
    for one in found:
        rule = MATRIX[one.kind]
        general = str(rule.default) if one.kind in _NOT_EXISTING or _RENAME not in rule.decisions else existing
        chosen = rules.get(one.kind, general)
        if chosen in ("skip", "stop"):
            return False
        wanted = wanted or chosen == "rename"
    return wanted


def _or(words: Iterable[str]) -> str:
    *first, last = map(str, words)
    return f"{', '.join(first)} or {last}" if first else last


def meets(
    project: str,
    to: SessionKey,
    uid: str,
    with_label: Iterable[Mapping[str, Any]],
    with_uid: Iterable[Mapping[str, Any]],
    waiting: Iterable[Mapping[str, Any]],
) -> tuple[frozenset[str], frozenset[str]]:
    """What a session meets now, as words that can be compared with those of the plan.

    Parameters
    ----------
    with_label, with_uid, waiting : iterables of mappings
        Rows of the destination: sessions of that label in ``project``, sessions of that study in any project, and
        its prearchive.

    Returns
    -------
    here, elsewhere : frozenset of str
        In the destination project and its prearchive, and in other projects.
    """
    uids = set(study_uids(uid))
    here = {f"label {to.session}: {row['session_id']}" for row in with_label if row["session"] == to.session}
    elsewhere = set()
    for row in with_uid:
        if row["StudyInstanceUID"] not in uids:
            continue
        if row["project"] == project:
            here.add(f"study as {row['session']}: {row['session_id']}")
        else:
            elsewhere.add(f"study in {row['project']} as {row['session']}: {row['session_id']}")
    for row in waiting:
        if row["session"] == to.session or row["StudyInstanceUID"] in uids:
            here.add(f"in the prearchive: {row['uri']}")
    return frozenset(here), frozenset(elsewhere)
