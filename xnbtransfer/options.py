"""TransferOptions: every parameter of a transfer, its type, default and help, stated once.

The command line, the parameters cell of the templates, the configuration file and the documentation
all follow from the fields of this class. Unknown names and mistyped values are refused.
"""

from __future__ import annotations

import datetime
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import OptionsError
from .yaml_files import in_words, read_yaml

Existing = Literal["skip", "stop", "merge", "replace", "rename"]

Method = Literal["import", "files", "receiver"]
Review = Literal["none", "sample", "all"]
_SECRET = re.compile(r"pass(word|wd)?$|secret|token|credential", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"://[^/@\s]+:[^/@\s]*@")
_IPYTHON_NAMES = {"In", "Out", "exit", "quit", "open", "get_ipython"}

CHOICE = ("subjects", "sessions", "selection", "modalities", "date_from", "date_to")  # which sessions to take
OF_SCANS = ("scan_types", "qualities")  # and which of their scans

Labels = Annotated[tuple[str, ...], Field(default=())]


def day(value: str) -> str:
    """A day of the calendar, or nothing; for a validator."""
    try:
        fits = not value or datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("is no date; write YYYY-MM-DD")
    return value


class TransferOptions(BaseModel):
    """What to transfer, from where to where, and how. Frozen; labels are text; nothing is guessed.

    Raises
    ------
    OptionsError
        From the ``from_*`` constructors: one sentence per wrong name or value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    command: ClassVar[str] = "transfer"  # whose --help lists the parameters

    source_server: str = Field("", description="address of the source XNAT; empty: XNAT_SOURCE_HOST, then XNAT_HOST")
    source_project: str = Field(description="project ID to copy from")
    destination_server: str = Field(
        "", description="address of the destination XNAT; empty: XNAT_DESTINATION_HOST, then XNAT_HOST"
    )
    destination_project: str = Field(description="project ID to copy to")
    subjects: Labels = Field((), description="subject labels to take; none: all; a pattern may be given as ~REGEX")
    sessions: Labels = Field((), description="session labels to take; none: all; a pattern may be given as ~REGEX")
    selection: str = Field("", description="CSV with subject,session that lists the sessions to take; empty: all")
    modalities: Labels = Field((), description="modalities to take (MR, CT, PT); none: all")
    scan_types: Labels = Field((), description="scan types to take, as XNAT lists them; none: all")
    qualities: Labels = Field((), description="scan qualities to take (usable, questionable, unusable); none: all")
    date_from: str = Field("", description="earliest session date, YYYY-MM-DD; empty: no limit")
    date_to: str = Field("", description="latest session date, YYYY-MM-DD; empty: no limit")
    label_map: str = Field("", description="CSV with subject,session,to_subject,to_session; empty: labels are kept")
    label_rule: str = Field(
        "", description="rule for labels that the map does not name: a template, find and replace, or clean; see how-to"
    )
    subject_pattern: str = Field(
        "", description="regular expression that subject labels must match there; empty: all that XNAT takes"
    )
    session_pattern: str = Field(
        "", description="regular expression that session labels must match there; empty: all that XNAT takes"
    )
    existing: Existing = Field(
        "skip", description="what to do where the destination has the session: skip, stop, merge, replace or rename"
    )
    on_conflict: Labels = Field(
        (), description="rules for single conflicts, CONFLICT:DECISION, that win over existing; none: as existing says"
    )
    decisions: str = Field("", description="CSV with subject,session,decision,to_session; its lines win over all rules")
    rename_to: str = Field("{session}_{n}", description="label of a session that is renamed by rule; {n} counts from 2")
    strict: bool = Field(
        False, description="count a session that the destination has already, and that was not read, as not proved"
    )
    prove_existing: bool = Field(
        False, description="read sessions that the destination has already on both sides, and judge them like a copy"
    )
    method: Method = Field(
        "import",
        description="import (to the prearchive), receiver (that by C-STORE) or files (byte for byte, to the archive)",
    )
    receiver: str = Field("", description="DICOM receiver: dicom://TITLE@HOST:PORT, or dicoms:// for TLS")
    receiver_ca: str = Field(
        "", description="PEM file with the certificates by which a receiver is trusted; empty: those of this machine"
    )
    calling_title: str = Field("XNBTRANSFER", description="AE title under which a receiver knows this sender")
    mounted: bool = Field(
        True, description="read the source's files from XNAT_DATA where that is mounted and holds them"
    )
    resources: Labels = Field(
        (), description="labels of resources to carry beside the DICOM scans, ~REGEX, or *; none: none"
    )
    fields: Labels = Field(
        (),
        description="fields to carry: subject/gender, session/note, session/field:NAME (custom), subject/*; none: none",
    )
    archive: bool = Field(False, description="archive after the comparison in the prearchive")
    proof: str = Field(
        "all",
        description="all (every file is read back, at last where it stays), prearchive (only before archiving), "
        "sample:N (N files a scan) or listing",
    )
    source_twice: bool = Field(
        False, description="read what has no listed MD5 at the source twice, so that damage on the way out is seen"
    )
    review: Review = Field(
        "sample",
        description="headers to look at: none, sample (one file a scan, before the start) or all (and every file while "
        "it is copied)",
    )
    policy: str = Field("", description="YAML with rules, retained options and waivers by destination project")
    waivers: str = Field("", description="YAML with waivers for this transfer, each with its rule, scope and reason")
    identifiers: str = Field(
        "", description="text file with names and numbers to be found, one a line; it is never stored"
    )
    lease: Literal["project", "none"] = Field(
        "project",
        description="how runs of other users and machines are kept off what this one writes: project (by a lease, a "
        "small resource of the project while it writes) or none",
    )
    workers: int = Field(4, ge=1, le=32, description="scans that arrive, and scans that go out, at one time")
    rate_mb_s: int = Field(0, ge=0, description="megabytes sent or read in a second at most; 0: no limit")
    run_window: str = Field(
        "", description="time of day in which scans are sent, as 22:00-06:00 on this machine's clock; empty: always"
    )
    pilot: int = Field(0, ge=0, description="sessions to copy and prove first; the rest follows if all are proved")
    batch: int = Field(0, ge=0, description="sessions to take in one run; the next run goes on; 0: all")
    failures: int = Field(5, ge=1, description="failed sessions in a row after which the run ends")
    record_root: str = Field("xnbtransfer-records", description="folder that receives the record")
    dry_run: bool = Field(False, description="stop after the plan: nothing is written at the destination")
    reason: str = Field("", description="why this transfer is made; kept in the record and sent to the server")

    @field_validator(
        "subjects", "sessions", "modalities", *OF_SCANS, "on_conflict", "resources", "fields", mode="before"
    )
    @classmethod
    def _labels_are_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("give a list of labels, e.g. ['001', '002']")
        if isinstance(value, list | tuple):
            for label in value:
                if not isinstance(label, str):
                    raise ValueError(
                        f"the label {label!r} is a number, and a label such as 001 would have lost its zeros; "
                        "write it in quotes (papermill: -r, YAML: '001')"
                    )
            return tuple(value)
        return value

    @field_validator(
        "source_project",
        "destination_project",
        "selection",
        "label_map",
        "label_rule",
        "subject_pattern",
        "session_pattern",
        "decisions",
        "rename_to",
        "date_from",
        "date_to",
        mode="before",
    )
    @classmethod
    def _text_only(cls, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("write it in quotes: it is a name, never a number")
        return value

    @field_validator("source_project", "destination_project")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; name a project ID")
        return value

    @field_validator("source_server", "destination_server")
    @classmethod
    def _no_login_in_address(cls, value: str) -> str:
        if _LOGIN_IN_URL.search(value + "/"):
            raise ValueError("holds a password; parameters are saved, so credentials come from the environment only")
        if value and not re.match(r"https?://", value):
            raise ValueError("is no address; it begins with https://")
        return value.rstrip("/")

    @field_validator("subjects", "sessions")
    @classmethod
    def _patterns_compile(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for label in value:
            if pattern := re.fullmatch(r"(?:\w+/)?~(.*)", label, re.DOTALL):
                try:
                    re.compile(pattern[1])
                except re.error as problem:
                    raise ValueError(f"the pattern {label} cannot be read: {problem}") from None
        return value

    @field_validator("subject_pattern", "session_pattern")
    @classmethod
    def _pattern_compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as problem:
            raise ValueError(f"the pattern {value} cannot be read: {problem}") from None
        return value

    @field_validator("on_conflict")
    @classmethod
    def _rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for rule in value:
            if not re.fullmatch(r"[a-z-]+:[a-z]+", rule):
                raise ValueError(f"{rule!r} is no rule; write a conflict and a decision, e.g. 'other-study:rename'")
        return value

    @field_validator("calling_title")
    @classmethod
    def _title(cls, value: str) -> str:
        if not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]{1,16}", value):
            raise ValueError("is no AE title; it has 1 to 16 letters, digits or signs")
        return value

    _dates = field_validator("date_from", "date_to")(day)

    @model_validator(mode="after")
    def _dates_in_order(self) -> TransferOptions:
        if self.date_from and self.date_to and self.date_from > self.date_to:
            raise ValueError(f"date_from ({self.date_from}) is after date_to ({self.date_to})")
        return self

    @field_validator("run_window")
    @classmethod
    def _times_of_day(cls, value: str) -> str:
        if not value:
            return value
        time = r"([01]\d|2[0-3]):[0-5]\d"
        if not re.fullmatch(f"{time}-{time}", value) or value[:5] == value[6:]:
            raise ValueError("is no time of day; write it as 22:00-06:00")
        return value

    @field_validator("proof")
    @classmethod
    def _known_proof(cls, value: str) -> str:
        if not re.fullmatch(r"all|prearchive|listing|sample:[1-9]\d*", value):
            raise ValueError("is not all, prearchive, listing or sample:N")
        return value

    @property
    def of_scans(self) -> dict[str, tuple[str, ...]]:
        """What is chosen of the scans of a session, where that is not all of them: the parameters that say so."""
        return {name: wanted for name in OF_SCANS if (wanted := getattr(self, name))}

    @property
    def sample(self) -> int | None:
        """Files a scan to read back, or None when ``proof`` is not a sample."""
        return int(self.proof.partition(":")[2]) if self.proof.startswith("sample:") else None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TransferOptions:
        """Options from names and values, e.g. of a YAML file or a command line.

        Raises
        ------
        OptionsError
            If a name is unknown, looks like a secret, or a value has the wrong type.
        """
        for name in values:
            if name not in cls.model_fields and _SECRET.search(str(name)):
                raise OptionsError(
                    f"The parameter {name!r} looks like a secret, and parameters are saved with the record.",
                    "Leave it out: credentials come from XNAT_USER and XNAT_PASS, .netrc or a prompt.",
                )
        try:
            return cls(**{str(name): value for name, value in values.items()})
        except ValidationError as problem:
            sentences = " ".join(_sentence(error) for error in problem.errors())
            raise OptionsError(sentences, _spelling(cls, problem)) from None

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> TransferOptions:
        """Options from a YAML file; ``overrides`` win."""
        values = read_yaml(path, "configuration", refuse=OptionsError).values
        if not isinstance(values, dict):
            raise OptionsError(f"The configuration {path} holds no 'name: value' lines.")
        return cls.from_mapping({**values, **overrides})

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> TransferOptions:
        """Options from the names of the parameters cell: call it with ``globals()`` right below that cell.

        Every public name that is not a module, class or function counts as a parameter, so that one injected
        under a wrong name is refused (papermill itself only warns and goes on with the default).
        """
        values = {
            name: value
            for name, value in namespace.items()
            if not name.startswith("_")
            and name not in _IPYTHON_NAMES
            and not isinstance(value, types.ModuleType | type)
            and not callable(value)
        }
        return cls.from_mapping(values)


def _sentence(error: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"There is no parameter {name!r}."
    if error["type"] == "missing":
        return f"The parameter {name!r} is required."
    message = in_words(error)
    return f"The parameter {name!r}: {message}." if name else f"{message}."


def _spelling(kind: type[TransferOptions], problem: ValidationError) -> str:
    import difflib

    for error in problem.errors():
        if error["type"] == "extra_forbidden":
            names = getattr(kind, "offered", ()) or kind.model_fields
            near = difflib.get_close_matches(str(error["loc"][0]), names, 1, 0.5)
            if near:
                return f"Did you mean {near[0]!r}?"
    return f"The parameters are listed by 'xnbtransfer {kind.command} --help'."
