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
from .findings import Finding, finding
from .keys import SessionKey
from .plan import Side
from .plan_file import read_whole, write_whole

Kind = Literal["share", "unshare", "move", "prearchive", "finish-move"]
Verb = Literal["share", "unshare", "rename", "move", "rebuild", "archive", "delete"]
LEFT = ("skip", "stop", "later")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Step(_Record):
    """One request that changes something. ``project`` and ``label`` are those that the item gets by it."""

    verb: Verb
    project: str = ""
    label: str = ""

    def __str__(self) -> str:
        words = [self.verb, *(["to " + self.project] if self.project else [])]
        return " ".join([*words, *(["as " + self.label] if self.label else [])])


class Change(_Record):
    """One subject, session or row of the prearchive, and what is done with it.

    Attributes
    ----------
    item : str
        What the server calls it: an accession, or the address of the row.
    state : str
        A digest of what it was when the plan was made; where it is another one later, nothing is done.
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

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.subject, self.session)

    @property
    def name(self) -> str:
        """The item in a sentence."""
        return str(self.key) if self.session else f"subject {self.subject}"


class ChangePlan(_Record):
    """What would be changed. A JSON file that a person can read; refused if a letter of it was altered.

    Attributes
    ----------
    confirm : str
        What has to be typed before anything is deleted; "" where nothing is.
    of_record : dict
        The record that this plan takes up: its name, the fingerprint of its plan, the digest of its bag.
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
    fingerprint: str

    @property
    def acting(self) -> tuple[Change, ...]:
        """The items that something is done with, in order."""
        return tuple(change for change in self.sessions if change.steps)

    def save(self, path: str | Path) -> Path:
        """Write the plan; the file appears whole or not at all."""
        return write_whole(path, self.model_dump_json(indent=1))

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
        body = self.model_dump(mode="json", exclude={"fingerprint"})
        return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    def to_frame(self) -> pd.DataFrame:
        """One row per item, in the order of the run."""
        columns = ["kind", "subject", "session", "destination_subject", "destination_session", "modality", "date"]
        columns += ["action", "steps", "conflict", "files", "size_bytes", "because"]
        rows = [
            {**change.model_dump(exclude={"steps"}), "steps": ", then ".join(map(str, change.steps))}
            for change in self.sessions
        ]
        return pd.DataFrame(rows, columns=columns)


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
) -> ChangePlan:
    """A plan from its parts; items of action "stop" and findings that block become its blockers."""
    changes = tuple(changes)
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
    acting = [change for change in changes if change.steps]
    draft = ChangePlan(
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
        fingerprint="",
    )
    return draft.model_copy(update={"fingerprint": draft.own_fingerprint()})


def is_change_plan(path: str | Path) -> bool:
    """Whether a plan file is of this kind and not one that copies."""
    try:
        return "kind" in json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def digest_of(*things: Any) -> str:
    """A digest of values that JSON can hold, whatever the order of the keys in them."""
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()
