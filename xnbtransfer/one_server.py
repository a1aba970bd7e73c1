"""Two projects of one server, read together: what is chosen, what it meets at the destination, and who may do what.

Sharing and moving leave the files where they are or let the server move them, so both look at single items.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .changes import Change, digest_of
from .choice import select_sessions
from .errors import InputError, RefusedError, ServerError
from .findings import Finding, finding
from .forms import item_path
from .holdings import differences
from .inputs import Inputs
from .inventory import read_inventory
from .keys import SessionKey
from .labels import check_labels
from .one_place import refuse_one_place
from .plan import Side
from .steps import Carrier, files_of, listed_row
from .values import Verdict, tuples_of
from .verify import ONE_PLACE
from .xnat import Connection

SUBJECT_DATA = "xnat:subjectData"


@dataclass(frozen=True)
class Chosen:
    """A session that was chosen, with what the server says of it alone."""

    key: SessionKey
    to: SessionKey
    session_id: str
    subject_id: str
    row: Any
    item: dict
    files: tuple[dict, ...]

    @property
    def size_bytes(self) -> int:
        return sum(one["size_bytes"] for one in self.files)


@dataclass(frozen=True)
class Both:
    """The chosen sessions by subject, and the destination as it is."""

    project: str
    to: str
    by_subject: dict[str, list[Chosen]]  # by accession of the subject
    subjects: dict[str, dict]  # items of the subjects, by accession
    own: dict[str, int]  # sessions and assessments of each subject that the source lists
    sessions_there: list[dict]
    subjects_there: list[dict]
    waiting: list[dict]
    sessions_here: list[dict]
    concerns: list[Finding]
    sides: tuple[Side, Side]

    def subject_clash(self, subject_id: str, label: str) -> str:
        """Why a subject cannot have ``label`` at the destination; "" where it can."""
        for row in self.subjects_there:
            if row["subject"].casefold() == label.casefold() and row["subject_id"] != subject_id:
                return f"{self.to} has another subject {row['subject']}"
        return ""

    def session_clash(self, one: Chosen, label: str) -> tuple[str, str]:
        """The conflict in a word, and why a session cannot have ``label`` at the destination; "" where it can."""
        uid = one.row.StudyInstanceUID
        for row in self.sessions_there:
            if row["session_id"] == one.session_id:
                continue
            if row["session"] == label:
                word = "label: same study" if uid and row["StudyInstanceUID"] == uid else "label: other study"
                return word, f"{self.to} has another session {label}"
            if uid and row["StudyInstanceUID"] == uid:
                return "same study under another label", f"{self.to} has the same study as {row['session']}"
        for row in self.waiting:
            if row["session"] == label or (uid and row["StudyInstanceUID"] == uid):
                because = f"a session of that label or study waits in the prearchive of {self.to} ({row['status']})"
                return "waiting in the prearchive", because
        return "", ""


def read_both(connection: Connection, options: Any, inputs: Inputs) -> Both:
    """Read what sharing or moving needs to know.

    Raises
    ------
    InputError
        If the projects are one, the selection leaves nothing, labels are not legal, or a subject would get two labels.
    """
    project, to = options.source_project, options.destination_project
    if project == to:
        raise InputError(f"Source and destination are the same project, {project}.", "Name another destination.")
    refuse_one_place(connection, connection, project, to)
    here = read_inventory(connection, project, files=False, prearchive=False)
    chosen = select_sessions(here, options)
    settings_there = connection.settings(to)
    sessions_there, subjects_there = connection.sessions(to), connection.subjects(to)
    labels = inputs.labels_of(chosen.sessions, project)
    keys = [SessionKey(*row) for row in tuples_of(chosen.sessions, "subject", "session")]
    warnings = check_labels(
        keys, labels, [row["subject"] for row in subjects_there], [row["session"] for row in sessions_there]
    )
    ids = list(chosen.sessions["session_id"])
    listed: dict[str, list[dict]] = {}
    for row in [*connection.files(ids), *connection.session_resources(ids)]:
        listed.setdefault(row["session_id"], []).append(row)
    by_subject: dict[str, list[Chosen]] = {}
    for row in chosen.sessions.sort_values(["subject", "session"], kind="stable").itertuples(index=False):
        item = connection.session_item(row.session_id)
        if item is None:
            raise ServerError(f"The server lists {row.subject}/{row.session}, and does not find it.")
        key = SessionKey(row.subject, row.session)
        files = sorted(listed.get(row.session_id, ()), key=lambda one: (one["scan"], one["resource"], one["path"]))
        found = Chosen(key, labels(key), row.session_id, item["subject_id"], row, item, tuple(files))
        by_subject.setdefault(item["subject_id"], []).append(found)
    _one_label_each(by_subject)
    subjects = {name: _subject(connection, name) for name in by_subject}
    all_here = here.sessions.to_dict("records")
    waiting, unseen = _waiting(connection, to)
    read_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    sides = tuple(
        Side(server=connection.server, project=name, user=connection.user, read_at=read_at, settings=told.as_dict())
        for name, told in ((project, here.settings), (to, settings_there))
    )
    return Both(
        project=project,
        to=to,
        by_subject=by_subject,
        subjects=subjects,
        own={
            name: max(
                # a subject that belongs to another project by now has no address below this one
                connection.count_below(item_path(project, name), "experiments")
                if subjects[name].get("project") == project
                else 0,
                sum(1 for row in all_here if row["subject"] == found[0].key.subject),
            )
            for name, found in by_subject.items()
        },
        sessions_there=sessions_there,
        subjects_there=subjects_there,
        waiting=waiting,
        sessions_here=all_here,
        concerns=[finding("P02", sentence, project=to) for sentence in warnings] + unseen,
        sides=sides,
    )


def _subject(connection: Connection, subject_id: str) -> dict:
    found = connection.subject_item(subject_id)
    if found is None:
        raise ServerError(
            f"{connection.server} lists sessions of the subject {subject_id}, and does not find it.",
            "Plan again; if it stays so, ask the owner of that subject's project for the right to read it.",
        )
    return found


def _waiting(connection: Connection, project: str) -> tuple[list[dict], list[Finding]]:
    """What waits in the prearchive of a project, and a finding where this user may not see that."""
    try:
        return connection.prearchive(project), []
    except RefusedError:
        sentence = f"{connection.user} may not see the prearchive of {project}: what waits there is not known."
        return [], [finding("P02", sentence, project=project)]


def _one_label_each(by_subject: dict[str, list[Chosen]]) -> None:
    goes: dict[str, set[str]] = {}
    for name, found in by_subject.items():
        labels = {one.to.subject for one in found}
        if len(labels) > 1:
            raise InputError(
                f"The subject {found[0].key.subject} would get the labels {' and '.join(sorted(labels))}.",
                "It stays one subject, so give all its sessions the same to_subject.",
            )
        goes.setdefault(labels.pop(), set()).add(name)
    for label, names in goes.items():
        if len(names) > 1:
            raise InputError(
                f"{len(names)} subjects would get the label {label}.", "Give each a to_subject of its own."
            )


def rights(connection: Connection, both: Both, asked: Iterable[tuple[str, str]]) -> list[Finding]:
    """What this user lacks: ``asked`` are pairs of project and action, for subjects and every type of session."""
    types = sorted({one.row.xsi_type for found in both.by_subject.values() for one in found if one.row.xsi_type})
    concerns = []
    for project, action in asked:
        for kind in (SUBJECT_DATA, *types):
            may = connection.can(project, action, kind)
            if may:
                continue
            words = f"{connection.user} may not {action} {kind} in {project}"
            if may is None:
                words = f"The server does not tell whether {connection.user} may {action} {kind} in {project}"
            concerns.append(finding("M02" if may is False else "M03", f"{words}.", project=project))
    return concerns


def change_of(one: Chosen, project: str, to: str, **values: Any) -> Change:
    """A session as an item of a plan."""
    return Change(
        kind="session",
        item=one.session_id,
        subject=one.key.subject,
        session=one.key.session,
        subject_id=one.subject_id,
        project=project,
        destination_subject=one.to.subject,
        destination_session=one.to.session,
        StudyInstanceUID=one.row.StudyInstanceUID,
        modality=one.row.modality,
        date=one.row.date,
        files=len(one.files) if values.get("steps") else 0,
        size_bytes=one.size_bytes if values.get("steps") else 0,
        state=item_state(one.item, to),
        **values,
    )


def subject_change(both: Both, subject_id: str, **values: Any) -> Change:
    """A subject as an item of a plan."""
    first = both.by_subject[subject_id][0]
    return Change(
        kind="subject",
        item=subject_id,
        subject=first.key.subject,
        session="",
        subject_id=subject_id,
        project=both.project,
        destination_subject=first.to.subject,
        destination_session="",
        state=item_state(both.subjects[subject_id], both.to),
        **values,
    )


def item_state(item: dict, to: str) -> str:
    """What an item is, as one digest: its label, its owner, and who but the destination is shown it."""
    shares = [one for one in item.get("shares", ()) if one[0] != to]
    return digest_of(item.get("label"), item.get("project"), shares)


class ItemCarrier(Carrier):
    """The part of sharing and moving that looks at items."""

    def __init__(self, connection: Connection, options: Any) -> None:
        self.connection, self.options = connection, options
        self.to: str = options.destination_project

    def item(self, change: Change) -> dict:
        """The item as it is now.

        Raises
        ------
        RefusedError
            If it is gone.
        """
        look = self.connection.subject_item if change.kind == "subject" else self.connection.session_item
        found = look(change.item)
        if found is None:
            raise RefusedError(f"{change.name} is not on the server any more.", "Plan again.")
        return found

    def look(self, change: Change) -> None:
        item, again = self.item(change), "Plan again: the new plan shows it."
        if item_state(item, self.to) != change.state:
            raise RefusedError(f"{change.name} is no longer what the plan saw.", again)
        label = dict(item["shares"]).get(self.to)
        if any(step.verb == "share" and label not in (None, step.label) for step in change.steps):
            raise RefusedError(f"{change.name} was shared there under another label meanwhile.", again)
        if change.action not in ("share", "move"):
            return
        labels = {step.label for step in change.steps if step.label} | {change.destination_session}
        if change.kind == "subject":
            labels = {step.label for step in change.steps if step.label} | {change.destination_subject}
            there = [row for row in self.connection.subjects(self.to) if row["subject"] in labels]
            others = [row for row in there if row["subject_id"] != change.item]
        else:
            there = [row for label in labels for row in self.connection.sessions_with_label(self.to, label)]
            others = [row for row in there if row["session_id"] != change.item]
        if others:
            raise RefusedError(f"The label of {change.name} appeared in {self.to} since the plan was made.", again)

    def before(self, change: Change) -> dict:
        return {} if change.kind == "subject" else self.held(change, files_of(self.connection, change.item))

    def held(self, change: Change, files: list[dict]) -> dict:
        """The files of an item before it is touched, and ``doubts``: where its document counts others."""
        found = differences(self.item(change)["counted"], files, of=change.kind)
        doubts = [{"scan": one.scan, "resource": one.resource, "because": one.words} for one in found]
        return {"files": files} | ({"doubts": doubts} if doubts else {})


def doubted(change: Change, before: dict) -> list[dict]:
    """A row without a path for each place whose files a list had lost before the change, perhaps: it proves nothing."""
    return [
        listed_row(change, {**one, "path": "", "size_bytes": 0, "md5": ""})
        | {"verdict": Verdict.NOT_PROVED, "because": f"what it held cannot be told: {one['because']}"}
        for one in before.get("doubts", ())
    ]


def same_listing(change: Change, before: list[dict], now: list[dict]) -> list[dict]:
    """Verdicts on files that nobody copied: each must be listed as it was, by name, size and MD5."""
    left = {(one["scan"], one["resource"], one["path"]): one for one in now}
    rows = []
    for one in before:
        row = listed_row(change, one)
        other = left.get((one["scan"], one["resource"], one["path"]))
        if other is None:
            rows.append(row | {"verdict": Verdict.DIFFERENT, "because": "it is not listed any more"})
            continue
        row |= {
            "destination_scan": other["scan"],
            "destination_path": other["path"],
            "destination_size_bytes": other["size_bytes"],
            "destination_md5": other["md5"],
        }
        if (one["size_bytes"], one["md5"]) == (other["size_bytes"], other["md5"]):
            row |= {"verdict": Verdict.EQUAL, "because": ONE_PLACE}
        else:
            row |= {"verdict": Verdict.DIFFERENT, "because": "it is listed with another size or MD5"}
        rows.append(row)
    return rows
