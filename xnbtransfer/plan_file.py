"""The plan as a file: its rows, its totals, its fingerprint; a letter changed is seen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from . import __version__
from .errors import InputError
from .findings import Finding, in_order
from .html import findings_table, left_behind_table, plan_table
from .keys import SessionKey
from .markup import Html, Shown, many, size
from .options import TransferOptions
from .outputs import write_whole
from .policy import Policy

Action = Literal["copy", "merge", "replace", "skip", "stop"]
SENDS = ("copy", "merge", "replace")
_SAME_CONTENT = (
    "the same study is there with the same counts",
    "the same study is there, and every MD5 is equal",
    "the same study is there, and no DICOM file is listed",
)
LEASE = "xnbtransfer_lease_"  # how the label begins of the resource that is a run's lease
THERE_ALREADY = "there already"  # the state of a session that is not sent since the destination has it


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ScanPlan(_Record):
    """One scan resource that holds DICOM: what happens to it and why. ``size_bytes`` as the source lists it."""

    scan: str
    series_description: str
    resource: str
    files: int
    size_bytes: int
    action: Literal["send", "leave"]
    because: str


class SessionPlan(_Record):
    """One session of the source: where it goes, what is done and why."""

    subject: str
    session: str
    session_id: str
    destination_subject: str
    destination_session: str
    StudyInstanceUID: str
    modality: str
    date: str
    action: Action
    because: str
    conflict: str = ""
    decided: Literal["", "by rule", "by row"] = ""
    open_point: str = ""
    met: tuple[str, ...] = ()  # what it meets at the destination, in words; read again right before it is sent
    met_elsewhere: tuple[str, ...] | None = None  # the same in other projects; None where nobody asked
    scans: tuple[ScanPlan, ...]
    source_state: str
    destination_state: str

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.subject, self.session)

    @property
    def to(self) -> SessionKey:
        return SessionKey(self.destination_subject, self.destination_session)

    @property
    def unsettled(self) -> str:
        """Why somebody has to look at it after the run; "" where nobody has to.

        A plan of a version before decided nothing about that. What it does not send is settled there only where its
        words say that the same study is there with the same content counts; its merges went by scan numbers.
        """
        if self.open_point or "open_point" in self.model_fields_set or self.action in SENDS:
            return self.open_point
        settled = self.decided == "by row" or self.because.startswith(_SAME_CONTENT)
        return "" if settled else self.because

    @property
    def sent_scans(self) -> tuple[ScanPlan, ...]:
        """The scans that are sent; none unless the action of the session sends anything."""
        return tuple(scan for scan in self.scans if scan.action == "send") if self.action in SENDS else ()

    @property
    def files(self) -> int:
        return sum(scan.files for scan in self.sent_scans)

    @property
    def size_bytes(self) -> int:
        return sum(scan.size_bytes for scan in self.sent_scans)


class ResourcePlan(_Record):
    """One resource that was chosen: whose it is, where it goes, what is done and why.

    ``scan`` and ``session`` are "" for a resource of what stands above them. ``size_bytes`` as the source lists it.
    """

    level: Literal["project", "subject", "session", "scan"]
    subject: str
    session: str
    scan: str
    resource: str
    destination_subject: str
    destination_session: str
    format: str
    files: int
    size_bytes: int
    action: Literal["send", "add", "replace", "leave"]
    because: str
    source_state: str
    destination_state: str
    open_point: bool = False

    @property
    def at(self) -> list[str]:
        """Its place at the source, as the journal names it."""
        return [self.subject, self.session, self.scan, self.resource]

    @property
    def where(self) -> str:
        """Its place at the source, for people."""
        place = "/".join(part for part in (self.subject, self.session) if part) or "the project"
        return f"{self.resource} of {place}{f' scan {self.scan}' if self.scan else ''}"


class FieldPlan(_Record):
    """One field that was chosen: whose it is, where it goes, what is done and why; its value never.

    ``session`` is "" for a field of a subject, ``path`` "*" where the fields of an item could not be read. The states
    are digests of path and value, made with the plan's ``field_salt``; "" where there is none. ``replace`` without a
    ``destination_state`` is for a session that this plan makes: what its import fills in is written over.
    """

    level: Literal["subject", "session"]
    subject: str
    session: str
    destination_subject: str
    destination_session: str
    path: str
    name: str  # as people choose it: subject/gender
    action: Literal["write", "replace", "leave"]
    because: str
    source_state: str = ""
    destination_state: str = ""
    open_point: bool = False

    @property
    def where(self) -> str:
        """The field and its item, for people."""
        return f"The field {self.name} of {'/'.join(part for part in (self.subject, self.session) if part)}"


class Side(_Record):
    """One side as it was when the plan was made."""

    server: str
    project: str
    user: str
    read_at: str
    settings: dict[str, Any]


class LeftBehind(_Record):
    """Something that is not carried, and what to do about it.

    ``resource`` is its label, or its name where ``kind`` is another; ``session`` and ``scan`` are "" for what stands
    above them. Files and bytes as the source counts them.
    """

    subject: str
    session: str
    scan: str
    resource: str
    files: int
    size_bytes: int
    advice: str
    kind: Literal["resource", "assessor", "reconstruction", "assessment", "field", "other", "unread"] = "resource"


def lease_sentence(project: str) -> str:
    """What a plan says of the lease that its run takes at a project."""
    return (
        f"While it writes, a run keeps a lease at {project}: a resource {LEASE}... of the project with one small file, "
        "which it takes away at its end, with those of others that ran out. Without one: lease=none."
    )


def blockers_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The sentences of those findings that forbid a run."""
    return tuple(f"{one.sentence} {one.remedy}".strip() for one in findings if one.severity == "blocking")


_File = TypeVar("_File", bound=BaseModel)


def read_whole(kind: type[_File], path: str | Path, again: str) -> _File:
    """Read a plan file of a kind that has a fingerprint; ``again`` says how to make another one.

    Raises
    ------
    InputError
        If the file is missing, cut short, changed by hand, of another kind, or of a format that this version does not
        read; which version does is said then.
    """
    text = ""
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = kind.model_validate_json(text)
    except OSError as problem:
        raise InputError(f"The plan {path} cannot be read: {problem.strerror}.", again) from None
    except (ValidationError, UnicodeDecodeError) as problem:
        if maker := _made_otherwise(text, problem):
            raise InputError(
                f"The plan {path} was made by {maker}, and this is xnbtransfer {__version__}, which reads no such "
                f"format: {_first_of(problem)}.",
                f"Carry it out with {maker}. {again}",
            ) from None
        raise InputError(f"The file {path} is not a whole plan: it is cut short or of another kind.", again) from None
    if found.fingerprint != found.own_fingerprint():
        raise InputError(f"The plan {path} was changed after it was made: its fingerprint does not fit.", again)
    return found


def _made_otherwise(text: str, problem: ValueError) -> str:
    """What made a plan that is whole and of another format; "" where it is none or is not whole."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    maker = found.get("made_by") if isinstance(found, dict) and "fingerprint" in found else None
    if not isinstance(problem, ValidationError) or not re.fullmatch(r"xnbtransfer [\w.+-]{1,40}", str(maker)):
        return ""
    of_format = any(one["loc"] == ("format",) for one in problem.errors())
    return str(maker) if of_format or maker != f"xnbtransfer {__version__}" else ""


def _first_of(problem: ValueError) -> str:
    """The place that does not fit; no value."""
    one = problem.errors()[0] if isinstance(problem, ValidationError) else {"loc": (), "type": ""}
    return f"{'.'.join(map(str, one['loc'])) or 'the file'} ({one['type']})"


def unsent_state(session: SessionPlan) -> str:
    """The state, in a result, of a session that a plan does not send."""
    if session.unsettled:
        return "needs a person"
    return "skipped" if session.decided == "by row" or session.action == "stop" else THERE_ALREADY


def open_points(plan: Plan) -> list[str]:
    """What was selected, will not be at the destination after the run, and was left by nobody on purpose."""
    sessions = [f"{row.key}: {row.unsettled}" for row in plan.sessions if row.unsettled]
    resources = [f"{row.where}: {row.because}" for row in plan.resources if row.open_point]
    return [*sessions, *resources, *_idle_resources(plan), *_open_fields(plan)]


def _idle_resources(plan: Plan) -> list[str]:
    """A sentence for each resource that was named by its label and that nothing has; a pattern may meet nothing."""
    labels = {name for row in plan.resources for name in (row.resource, f"{row.level}/{row.resource}")}
    named = [one for one in plan.options.get("resources") or () if not one.startswith("~") and "/~" not in one]
    idle = [one for one in named if one.rpartition("/")[2] != "*" and one not in labels]
    return [f"The resource {one}: nothing that was selected has it" for one in idle]


def _open_fields(plan: Plan) -> list[str]:
    """The same of fields: those that a row leaves, and those that were named and that nothing has."""
    named = plan.options.get("fields") or ()
    if not named:
        return []
    if plan.field_rows is None:
        return [f"The plan, made by {plan.made_by}, decides about no field, so none is carried. Plan again."]
    left = [f"{row.where}: {row.because}" for row in plan.field_rows if row.open_point]
    known = {row.name for row in plan.field_rows}
    idle = [one for one in named if not set(one) & set("*?[") and one not in known]
    return [*left, *(f"The field {one}: nothing that was selected has it" for one in idle)]


class Plan(Shown, _Record):
    """What would be done. A JSON file that a person can read; refused if a letter of it was changed.

    Attributes
    ----------
    totals : dict
        ``sessions``, ``scans``, ``files`` and ``size_bytes`` that would be sent.
    also_written : tuple of str
        What a run writes beside the data, in sentences: its lease. Plans of versions without leases name none, and
        none is taken for them.
    estimate : dict
        ``seconds``, ``requests`` and ``temporary_bytes`` (2 x workers x largest scan).
    policy : Policy
        What the destination project raises, lowers, retains and waives, as it was when the plan was made.
    fingerprint : str
        SHA-256 over all else, hexadecimal.
    """

    format: Literal[1] = 1
    made_by: str
    made_at: str
    source: Side
    destination: Side
    options: dict[str, Any]
    totals: dict[str, int]
    estimate: dict[str, int]
    blockers: tuple[str, ...]
    findings: tuple[Finding, ...]
    sessions: tuple[SessionPlan, ...]
    left_behind: tuple[LeftBehind, ...]
    resources: tuple[ResourcePlan, ...] = ()
    field_rows: tuple[FieldPlan, ...] | None = None  # None in plans of versions that decided nothing about fields
    field_salt: str = ""
    policy: Policy = Policy()
    also_written: tuple[str, ...] = ()
    fingerprint: str

    @property
    def transfer_options(self) -> TransferOptions:
        return TransferOptions.from_mapping(
            {name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()}
        )

    @property
    def lease(self) -> str:
        """The parameter ``lease`` that a run follows."""
        return self.options.get("lease", "none") if self.also_written else "none"

    def with_findings(self, found: Iterable[Finding]) -> Plan:
        """This plan with further findings, its blockers and its fingerprint made anew."""
        findings = in_order((*self.findings, *found))
        draft = self.model_copy(update={"findings": findings, "blockers": blockers_of(findings)})
        return draft.model_copy(update={"fingerprint": draft.own_fingerprint()})

    def own_fingerprint(self) -> str:
        """SHA-256 over all else, hexadecimal."""
        # Without what was never set: a plan of an earlier version lacks fields that have defaults today.
        body = self.model_dump(mode="json", exclude_unset=True, exclude={"fingerprint"})
        return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    def to_json(self) -> str:
        return self.model_dump_json(indent=1, exclude_unset=True)

    def save(self, path: str | Path) -> Path:
        """Write the plan; the file appears whole or not at all."""
        return write_whole(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan back.

        Raises
        ------
        InputError
            If the file is missing, cut short, changed by hand, or of another format.
        """
        return read_whole(cls, path, "Make the plan again with 'xnbtransfer plan', and review that.")

    def line(self) -> str:
        total, blocked = self.totals, many(len(self.blockers), "blocker")
        sent = f"{total['sessions']} of {many(len(self.sessions), 'session')} to send, {many(total['scans'], 'scan')}"
        sent += f", {many(total['files'], 'file')}, {size(total['size_bytes'])}; {blocked}"
        return f"Plan from {self.source.project} to {self.destination.project}: {sent}"

    def card(self) -> Html:
        """What would be done, session by session, what was found before the start, and what is not carried."""
        return plan_table(self) + findings_table(self) + left_behind_table(self)

    def to_frame(self) -> pd.DataFrame:
        """One row per session, in the order of the run; what is done with it stands first, and why last."""
        rows = [
            {
                **session.model_dump(exclude={"scans", "source_state", "destination_state", "met", "met_elsewhere"}),
                "scans": len(session.sent_scans),
                "files": session.files,
                "size_bytes": session.size_bytes,
            }
            for session in self.sessions
        ]
        # pandas leaves out the middle where a screen is narrow
        columns = ["subject", "session", "action", "conflict", "scans", "files", "size_bytes", "decided"]
        columns += ["destination_subject", "destination_session", "modality", "date", "because"]
        return pd.DataFrame(rows, columns=columns)

    def decisions_frame(self) -> pd.DataFrame:
        """What is decided about each session that meets something: a table to edit, and to plan with once more."""
        rows = [
            (session.subject, session.session, session.action, "")
            for session in self.sessions
            if session.met or session.conflict
        ]
        return pd.DataFrame(rows, columns=["subject", "session", "decision", "to_session"], dtype=object)

    def resources_frame(self) -> pd.DataFrame:
        """One row per resource that was chosen."""
        columns = [name for name in ResourcePlan.model_fields if not name.endswith("_state")]
        return pd.DataFrame([one.model_dump() for one in self.resources], columns=columns)

    def scans_frame(self) -> pd.DataFrame:
        """One row per scan resource of every session of the plan."""
        rows = [
            {
                "subject": session.subject,
                "session": session.session,
                "session_action": session.action,
                **scan.model_dump(),
            }
            for session in self.sessions
            for scan in session.scans
        ]
        return pd.DataFrame(rows, columns=["subject", "session", "session_action", *ScanPlan.model_fields])
