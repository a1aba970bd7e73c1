"""Plans of changes that carry no file: what is shared, moved, archived or deleted, item by item, in order and why.

Such a plan is decided, written down, reviewed and only then carried out, as one that copies.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from . import __version__
from .change_tables import change_table
from .findings import Finding, finding
from .inputs import Inputs, read_inputs
from .keys import SessionKey
from .markup import Html, Shown, many
from .outputs import write_whole
from .plan import Side
from .plan_file import Plan, lease_sentence, read_whole
from .policy import Policy

Kind = Literal["share", "unshare", "move", "prearchive", "finish-move"]
Verb = Literal["share", "unshare", "rename", "move", "rebuild", "archive", "delete"]
LEFT = ("skip", "stop", "later")
_OVER = {"append": "into what is there", "delete": "over what is there"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Step(_Record):
    """One request that changes something. ``project`` and ``label`` are those that the item gets by it.

    ``overwrite`` is what becomes of the session that is there already: "append" adds to it, "delete" replaces files of
    it; with "" the step is for a place where nothing is.
    """

    verb: Verb
    project: str = ""
    label: str = ""
    overwrite: Literal["", "append", "delete"] = ""

    def __str__(self) -> str:
        words = [self.verb, *(["to " + self.project] if self.project else [])]
        words += ["as " + self.label] if self.label else []
        return " ".join([*words, *([_OVER[self.overwrite]] if self.overwrite else [])])


class Change(_Record):
    """One subject, session or row of the prearchive, and what is done with it.

    Attributes
    ----------
    item : str
        What the server calls it: an accession, or the address of the row.
    state : str
        A digest of what it was when the plan was made; where it is another one later, nothing is done.
    destination_state : str
        The same of what was at the destination under its label; "" where nothing was. Plans of earlier versions
        have none, so they decide nothing about what is there.
    """

    kind: Literal["subject", "session", "row"]
    item: str
    subject: str
    session: str
    subject_id: str = ""
    project: str
    destination_subject: str
    destination_session: str
    StudyInstanceUID: str = ""
    modality: str = ""
    date: str = ""
    action: str
    because: str
    conflict: str = ""
    steps: tuple[Step, ...] = ()
    files: int = 0
    size_bytes: int = 0
    state: str = ""
    destination_state: str = ""

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.subject, self.session)

    @property
    def open_point(self) -> bool:
        """Whether it was selected, and is left by nobody on purpose: something is in the way, or it is not ready."""
        in_the_way = self.action == "skip" and bool(self.conflict)
        return not self.steps and (in_the_way or (self.kind == "row" and self.action == "later"))

    @property
    def name(self) -> str:
        """The item in a sentence."""
        return str(self.key) if self.session else f"subject {self.subject}"


class ChangePlan(Shown, _Record):
    """What would be changed. A JSON file that a person can read; refused if a letter of it was altered.

    Attributes
    ----------
    confirm : str
        What has to be typed before anything is deleted; "" where nothing is.
    of_record : dict
        The record that this plan takes up: its name, the fingerprint of its plan, the digest of its bag.
    also_written : tuple of str
        What carrying it out writes beside that, in sentences: its lease. Plans of versions without leases name none.
    fingerprint : str
        SHA-256 over all else, hexadecimal.
    """

    format: Literal[1] = 1
    kind: Kind
    made_by: str
    made_at: str
    source: Side
    destination: Side
    options: dict[str, Any]
    totals: dict[str, int]
    confirm: str = ""
    of_record: dict[str, str] = {}
    blockers: tuple[str, ...]
    findings: tuple[Finding, ...]
    sessions: tuple[Change, ...]
    policy: Policy = Policy()
    also_written: tuple[str, ...] = ()
    fingerprint: str

    @property
    def acting(self) -> tuple[Change, ...]:
        """The items that something is done with, in order."""
        return tuple(change for change in self.sessions if change.steps)

    @property
    def touched(self) -> dict[str, set[tuple[str, ...]]]:
        """The projects that something is written to, and there the sessions and subjects, as ``lease.Lease`` has them.

        A move takes from one project and gives to another; a share leaves its source as it is; what ends a move deletes
        at the source alone.
        """
        found: dict[str, set[tuple[str, ...]]] = {}
        for change in self.acting:
            for project in touched_by(self, change):
                found.setdefault(project, set()).update(names_of(change))
        return found

    def save(self, path: str | Path) -> Path:
        """Write the plan; the file appears whole or not at all."""
        return write_whole(path, self.model_dump_json(indent=1, exclude_unset=True) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> ChangePlan:
        """Read a plan back.

        Raises
        ------
        InputError
            If the file is missing, cut short, changed by hand, or of another kind.
        """
        return read_whole(cls, path, "Make the plan again, and review that.")

    def own_fingerprint(self) -> str:
        """SHA-256 over all else, hexadecimal."""
        # Without what was never set: a plan of an earlier version lacks fields that have defaults today.
        body = self.model_dump(mode="json", exclude_unset=True, exclude={"fingerprint"})
        return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    def line(self) -> str:
        acting = sum(1 for change in self.sessions if change.steps)
        todo = f"{acting} of {many(len(self.sessions), 'item')} to change, {many(len(self.blockers), 'blocker')}"
        return f"Plan to {self.kind}, {self.source.project} to {self.destination.project}: {todo}"

    def card(self) -> Html:
        """What would be done with each item."""
        return change_table(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per item, in the order of the run."""
        columns = ["kind", "subject", "session", "destination_subject", "destination_session", "modality", "date"]
        columns += ["action", "steps", "conflict", "files", "size_bytes", "because"]
        rows = [
            {**change.model_dump(exclude={"steps"}), "steps": ", then ".join(map(str, change.steps))}
            for change in self.sessions
        ]
        return pd.DataFrame(rows, columns=columns)


def touched_by(plan: ChangePlan, change: Change) -> tuple[str, ...]:
    """The projects that carrying out one change writes to."""
    here, there = plan.source.project, plan.destination.project
    if plan.kind == "finish-move":
        return (here,)
    projects = (here, there) if plan.kind == "move" else (there,)
    return tuple(dict.fromkeys([*projects, *(step.project for step in change.steps if step.project)]))


def names_of(change: Change) -> tuple[tuple[str, ...], ...]:
    """What a change writes to, under the labels of either side."""
    if change.kind == "subject":
        return tuple({("subject", change.subject), ("subject", change.destination_subject or change.subject)})
    return tuple({("session", change.session), ("session", change.destination_session or change.session)})


def make_plan(
    kind: Kind,
    source: Side,
    destination: Side,
    options: Any,
    changes: Iterable[Change],
    findings: Sequence[Finding] = (),
    *,
    confirm: str = "",
    of_record: dict[str, str] | None = None,
    inputs: Inputs | None = None,
) -> ChangePlan:
    """A plan from its parts; items of action "stop" and findings that block become its blockers.

    The policy of the destination weighs the findings where ``options`` names one, and travels inside the plan;
    ``inputs`` are the files that the options name, where they were read before.
    """
    changes = tuple(changes)
    policy = (inputs or read_inputs(options)).policy_of(destination.project)
    findings = (
        *findings,
        *(
            finding(
                "M01",
                f"{change.name}: {change.because}.",
                project=change.project,
                subject=change.subject,
                session=change.session,
            )
            for change in changes
            if change.action == "stop"
        ),
    )
    findings = tuple(policy.applied(findings))
    acting = [change for change in changes if change.steps]
    draft = ChangePlan(
        format=1,
        kind=kind,
        made_by=f"xnbtransfer {__version__}",
        made_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        source=source,
        destination=destination,
        options=options.model_dump(mode="json"),
        totals={
            "sessions": sum(1 for change in acting if change.kind != "subject"),
            "subjects": sum(1 for change in acting if change.kind == "subject"),
            "files": sum(change.files for change in acting),
            "size_bytes": sum(change.size_bytes for change in acting),
        },
        confirm=confirm,
        of_record=of_record or {},
        blockers=tuple(f"{one.sentence} {one.remedy}".strip() for one in findings if one.severity == "blocking"),
        findings=findings,
        sessions=changes,
        **({"policy": policy} if policy != Policy() else {}),
        fingerprint="",
    )
    if options.lease == "project":
        draft = draft.model_copy(update={"also_written": tuple(map(lease_sentence, sorted(draft.touched)))})
    return draft.model_copy(update={"fingerprint": draft.own_fingerprint()})


def is_change_plan(path: str | Path) -> bool:
    """Whether a plan file is of this kind and not one that copies."""
    try:
        return "kind" in json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def load_plan(path: str | Path) -> Plan | ChangePlan:
    """Read a plan of either kind back from its file.

    Raises
    ------
    InputError
        If the file is missing, cut short, changed by hand, of another kind or of another format.
    """
    return ChangePlan.load(path) if is_change_plan(path) else Plan.load(path)


def digest_of(*things: Any) -> str:
    """A digest of values that JSON can hold, whatever the order of the keys in them."""
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()
