"""The parameters of the methods that carry no file, of the prearchive and of an audit: names, types, defaults, help."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from .options import CHOICE, Labels, TransferOptions, day

PROOFS = ("all", "listing")
PREARCHIVE_PROOFS = ("all", "prearchive", "listing")


class PartOptions(TransferOptions):
    """Parameters of a template that offers some of those of a transfer; the others are refused."""

    offered: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _only_offered(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name in cls.model_fields and name not in cls.offered:
                raise ValueError(f"{name} has no meaning here; the parameters are {', '.join(cls.offered)}")
        return values


class _OneServer(PartOptions):
    existing: Literal["skip", "stop"] = Field(
        "skip", description="what to do where something is in the way at the destination: skip or stop"
    )

    @field_validator("proof", check_fields=False)
    @classmethod
    def _all_or_listing(cls, value: str) -> str:
        if value not in PROOFS:
            raise ValueError("is not all or listing")
        return value


class ShareOptions(_OneServer):
    """Parameters of ``templates/share.ipynb``: sessions shown in another project of the same server."""

    command = "share"
    offered: ClassVar[tuple[str, ...]] = (
        "source_server", "source_project", "destination_project", *CHOICE, "label_map", "label_rule",
    )
    offered += ("existing", "undo", "lease", "record_root", "dry_run", "reason")
    undo: bool = Field(False, description="take the shares back in place of making them; the sessions themselves stay")


class MoveOptions(_OneServer):
    """Parameters of ``templates/move.ipynb``: sessions given to another project of the same server, without a copy."""

    command = "move"
    offered: ClassVar[tuple[str, ...]] = (
        "source_server", "source_project", "destination_project", *CHOICE, "label_map", "label_rule",
    )
    offered += ("existing", "split", "other_shares", "policy", "waivers", "proof", "lease", "record_root")
    offered += ("dry_run", "reason")
    split: Literal["stop", "share"] = Field(
        "stop",
        description="a subject of whom only some sessions are chosen: stop, or share (it stays and is shown there)",
    )
    other_shares: Literal["stop", "keep"] = Field(
        "stop", description="a session that further projects are shown: stop, or keep (they go on seeing it)"
    )
    proof: str = Field("all", description="all (every file is read back after the move) or listing")


class PrearchiveOptions(PartOptions):
    """Parameters of ``templates/prearchive.ipynb``: what waits in a project's prearchive, and what is done with it."""

    command = "prearchive"
    offered: ClassVar[tuple[str, ...]] = (
        "destination_server", "destination_project", "action", "subjects", "sessions", "statuses",
        "to_project",
    )
    offered += ("label_map", "label_rule", "existing", "policy", "waivers", "proof", "wait_minutes", "timezone")
    offered += ("confirm", "lease", "record_root", "dry_run", "reason")
    source_project: str = ""
    action: Literal["review", "archive", "relabel", "rebuild", "move", "delete"] = Field(
        "review",
        description="review, archive, relabel (archive what label_map or label_rule name otherwise), rebuild, move or "
        "delete",
    )
    existing: Literal["skip", "stop", "merge", "replace"] = Field(
        "skip", description="what to do where the archive has the same study: skip, stop, merge or replace"
    )
    statuses: Labels = Field((), description="statuses to take (READY, CONFLICT, ERROR, RECEIVING); none: all")
    to_project: str = Field("", description="project ID that the rows are moved to")
    proof: str = Field(
        "all", description="all (every file is read before and after), prearchive (only before) or listing"
    )
    wait_minutes: int = Field(10, ge=0, le=1440, description="minutes to wait for the server to end with one row")
    timezone: str = Field("", description="time zone of the server, as Europe/Berlin; empty: that of this machine")
    confirm: str = Field("", description="to delete, what the plan asks to be typed: project ID and number of rows")

    @field_validator("statuses", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("give a list, e.g. ['READY']")
        return tuple(value) if isinstance(value, list) else value

    @field_validator("proof")
    @classmethod
    def _known_depth(cls, value: str) -> str:
        if value not in PREARCHIVE_PROOFS:
            raise ValueError("is not all, prearchive or listing")
        return value

    @model_validator(mode="after")
    def _to_another(self) -> PrearchiveOptions:
        if (self.action == "move") != bool(self.to_project):
            raise ValueError("to_project and action move belong together")
        labels = self.label_map or self.label_rule
        if self.action == "relabel" and not labels:
            raise ValueError("To relabel, say by label_map or label_rule which labels the sessions get")
        if self.action in ("rebuild", "move", "delete") and labels:
            raise ValueError("XNAT gives a waiting session other labels only as it is archived; choose action relabel")
        return self


class FinishOptions(PartOptions):
    """Parameters of ``templates/finish-move.ipynb``: a copy that is proved becomes a move by deleting the source."""

    command = "finish-move"
    offered: ClassVar[tuple[str, ...]] = (
        "record", "sessions", "limit", "cooling_off_days", "abandon", "empty_subjects", "backup", "confirm",
    )
    offered += ("source_server", "destination_server", "lease", "record_root", "dry_run", "reason")
    source_project: str = ""
    destination_project: str = ""
    record: str = Field("", description="folder of the record of the copy; empty: the newest below record_root")
    limit: int = Field(10, ge=1, le=1000, description="sessions that one run deletes at most")
    cooling_off_days: int = Field(0, ge=0, le=3650, description="days that must have passed since the copy ended")
    abandon: Labels = Field(
        (),
        description="what was not copied and may go with its session: labels of resources, scan/quality, session/note, "
        "reconstructions",
    )
    empty_subjects: bool = Field(False, description="delete a subject, too, that has no session and no data any more")
    backup: str = Field("", description="folder that receives each session as a BagIt bag before it is deleted")
    confirm: str = Field("", description="what the plan asks to be typed: project ID and number of sessions")

    @field_validator("abandon", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("give a list of labels, e.g. ['MRIQC']")
        return tuple(value) if isinstance(value, list) else value


class AuditOptions(PartOptions):
    """Parameters of ``templates/audit.ipynb``: a folder of records, and how deep to look."""

    command = "audit"
    offered = ("records", "since", "until", "again", "record_root", "reason")
    source_project: str = ""
    destination_project: str = ""
    records: str = Field("", description="folder whose records are audited; empty: record_root")
    since: str = Field("", description="first day of the records to look at, YYYY-MM-DD (UTC); empty: no limit")
    until: str = Field("", description="last day of the records to look at, YYYY-MM-DD (UTC); empty: no limit")
    again: Literal["none", "listing", "all"] = Field(
        "none", description="prove again what the servers hold today: none, listing, or all (every file is read back)"
    )

    reason: str = Field("", description="why this audit is made; kept in the record")

    _days = field_validator("since", "until")(day)


METHODS: dict[str, type[PartOptions]] = {
    "share": ShareOptions,
    "move": MoveOptions,
    "prearchive": PrearchiveOptions,
    "finish-move": FinishOptions,
}
