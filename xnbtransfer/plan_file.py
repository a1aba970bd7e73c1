"""The plan as a file: its rows, its totals, its fingerprint; a letter changed is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InputError
from .findings import Finding, in_order
from .keys import SessionKey
from .options import TransferOptions
from .policy import Policy

Action = Literal["copy", "merge", "replace", "skip", "stop"]
SENDS = ("copy", "merge", "replace")


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

    @property
    def at(self) -> list[str]:
        """Its place at the source, as the journal names it."""
        return [self.subject, self.session, self.scan, self.resource]

    @property
    def where(self) -> str:
        """Its place at the source, for people."""
        place = "/".join(part for part in (self.subject, self.session) if part) or "the project"
        return f"{self.resource} of {place}{f' scan {self.scan}' if self.scan else ''}"


class Side(_Record):
    """One side as it was when the plan was made."""

    server: str
    project: str
    user: str
    read_at: str
    settings: dict[str, Any]


class LeftBehind(_Record):
    """A resource that is not carried, and what to do about it."""

    subject: str
    session: str
    scan: str
    resource: str
    files: int
    size_bytes: int
    advice: str


def blockers_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The sentences of those findings that forbid a run."""
    return tuple(f"{one.sentence} {one.remedy}".strip() for one in findings if one.severity == "blocking")


_File = TypeVar("_File", bound=BaseModel)


def write_whole(path: str | Path, text: str) -> Path:
    """Write a plan file; it appears whole or not at all."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        return part.replace(path)
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise OSError(problem.errno, problem.strerror, str(path)) from None


def read_whole(kind: type[_File], path: str | Path, again: str) -> _File:
    """Read a plan file of a kind that has a fingerprint; ``again`` says how to make another one.

    Raises
    ------
    InputError
        If the file is missing, cut short, changed by hand, or of another kind.
    """
    try:
        found = kind.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"The plan {path} cannot be read: {problem.strerror}.", again) from None
    except (ValidationError, UnicodeDecodeError):
        raise InputError(f"The file {path} is not a whole plan: it is cut short or of another kind.", again) from None
    if found.fingerprint != found.own_fingerprint():
        raise InputError(f"The plan {path} was changed after it was made: its fingerprint does not fit.", again)
    return found


class Plan(_Record):
    """What would be done. A JSON file that a person can read; refused if a letter of it was changed.

    Attributes
    ----------
    totals : dict
        ``sessions``, ``scans``, ``files`` and ``size_bytes`` that would be sent.
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
    policy: Policy = Policy()
    fingerprint: str

    @property
    def transfer_options(self) -> TransferOptions:
        return TransferOptions.from_mapping(
            {name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()}
        )

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
        return write_whole(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan back.

        Raises
        ------
        InputError
            If the file is missing, cut short, changed by hand, or of another format.
        """
        return read_whole(cls, path, "Make the plan again with 'xnbtransfer plan', and review that.")

    def to_frame(self) -> pd.DataFrame:
        """One row per session, in the order of the run."""
        rows = [
            {
                **session.model_dump(exclude={"scans", "source_state", "destination_state", "met", "met_elsewhere"}),
                "scans": len(session.sent_scans),
                "files": session.files,
                "size_bytes": session.size_bytes,
            }
            for session in self.sessions
        ]
        columns = ["subject", "session", "destination_subject", "destination_session", "modality", "date", "action"]
        columns += ["conflict", "decided", "scans", "files", "size_bytes", "because"]
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
