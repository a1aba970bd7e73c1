"""The frozen values that travel between the rooms: settings, inventory, events and results.

Frames are pandas DataFrames with the columns named here; text columns hold ``str`` (never NaN), counts and
``size_bytes`` hold integers. Lower-case columns come from XNAT, columns spelt as DICOM keywords from headers.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd

from .errors import ExitCode
from .markup import WORDS, Html, Shown, Tone, banner, look_of, many, next_step, pairs, size

SESSION_COLUMNS = {
    "subject": str,
    "session": str,
    "session_id": str,  # XNAT's accession number, used in addresses only
    "project": str,  # the owner: another project's where the session is shared into this one
    "shared": bool,
    "xsi_type": str,
    "modality": str,
    "date": str,
    "StudyInstanceUID": str,
    "scans": int,
    "files": int,
    "size_bytes": int,
}
SCAN_COLUMNS = {
    "subject": str,
    "session": str,
    "scan": str,
    "xsi_type": str,
    "type": str,
    "quality": str,
    "series_description": str,
    "note": str,
    "frames": str,
    "modality": str,
    "SeriesInstanceUID": str,
    "files": int,
    "size_bytes": int,
}
RESOURCE_COLUMNS = {
    "subject": str,
    "session": str,
    "scan": str,  # "" for a resource of the session itself
    "resource": str,
    "format": str,
    "files": int,
    "size_bytes": int,
}
FILE_COLUMNS = {
    "subject": str,
    "session": str,
    "scan": str,
    "resource": str,
    "path": str,
    "size_bytes": int,
    "md5": str,  # lower-case hex, "" where the server lists none
    "format": str,
}
ELSEWHERE_COLUMNS = {
    "project": str,
    "subject": str,
    "session": str,
    "session_id": str,
    "StudyInstanceUID": str,
}
PREARCHIVE_COLUMNS = {
    "project": str,
    "subject": str,
    "session": str,
    "status": str,
    "StudyInstanceUID": str,
    "uri": str,  # /prearchive/projects/P/TIMESTAMP/FOLDER
    "uploaded": str,
}


def frame(rows, columns: Mapping[str, type]) -> pd.DataFrame:
    """A frame with exactly ``columns``, in that order, each of its type; missing cells become "", 0 or False."""
    rows = list(rows)
    index, data = pd.RangeIndex(len(rows)), {}
    for name, kind in columns.items():
        empty = kind()
        found = [row.get(name) for row in rows]
        data[name] = pd.Series(
            [value if type(value) is kind else empty if value is None else kind(value) for value in found],
            index=index,
            dtype={str: object, int: "int64", bool: "bool"}[kind],
        )
    return pd.DataFrame(data, index=index)


def tuples_of(table: pd.DataFrame, *columns: str) -> Iterator[tuple]:
    """The rows of some columns as plain tuples; a fifth of the time that ``itertuples`` takes."""
    return zip(*(table[name].tolist() for name in columns), strict=True)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides how a project takes data; None where the server does not tell this user."""

    version: str = ""
    prearchive_code: int | None = None
    quarantine_code: int | None = None
    site_script: str | None = None  # text of the site-wide anonymisation script if it is switched on
    project_script: str | None = None  # text of the project's script if it is switched on
    site_script_on: bool | None = None
    project_script_on: bool | None = None
    checksums: bool | None = None
    can_read: bool | None = None
    can_create: bool | None = None
    can_edit: bool | None = None
    can_delete: bool | None = None
    types_missing: tuple[str, ...] = ()  # xsiTypes of the source that this user may not create here
    series_filter_on: bool | None = None
    series_filters: tuple[str, ...] = ()  # JSON of each series import filter that is on, the site's and the project's
    create_subjects: bool | None = None  # False: upload clients are to create no subjects
    bulk_upload: bool | None = None
    failed: tuple[str, ...] = ()  # what the server failed to tell again and again, in words

    def as_dict(self) -> dict:
        """Names and values as JSON has them."""
        found = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


FIELD_COLUMNS = {
    "subject": str,
    "session": str,  # "" for a field of the subject
    "path": str,  # "*" for an item whose fields could not be read
    "state": str,  # a salted digest of path and value
}


BESIDE_COLUMNS = {
    "subject": str,  # "" for what the project holds
    "session": str,  # "" for what the subject holds
    "kind": str,  # resource, assessor, reconstruction, assessment, field, other; unread where nobody could look
    "name": str,
    "type": str,  # the xsiType of assessors and assessments
    "files": int,  # as the server counts them
    "size_bytes": int,
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Inventory(Shown):
    """One project as frames, with where and when it was read.

    ``sessions``, ``scans``, ``resources``, ``files`` and ``prearchive`` have the columns of this module.
    ``notes`` are sentences about what could not be read, ``unlisted`` the accessions of sessions that the list of
    scans names and the list of sessions does not. ``elsewhere`` lists sessions of any project that have one of
    the studies that were asked for (ELSEWHERE_COLUMNS), ``others`` files of resources of the project and of subjects
    (FILE_COLUMNS, with "" for session and subject), ``fields`` the fields of sessions and subjects without their values
    (FIELD_COLUMNS, made with ``field_salt``), ``beside`` what sessions, their subjects and the project hold beside
    images and what the other frames list (BESIDE_COLUMNS); None where nobody asked.
    """

    server: str
    project: str
    user: str
    read_at: str  # UTC, ISO 8601
    settings: Settings
    sessions: pd.DataFrame
    scans: pd.DataFrame
    resources: pd.DataFrame
    files: pd.DataFrame
    prearchive: pd.DataFrame
    requests: int = 0
    notes: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    elsewhere: pd.DataFrame | None = None
    others: pd.DataFrame | None = None
    fields: pd.DataFrame | None = None
    field_salt: str = ""
    beside: pd.DataFrame | None = None

    def line(self) -> str:
        rows = self.sessions
        held = f"{many(len(rows), 'session')}, {many(int(rows['scans'].sum()), 'scan')}"
        held += f", {many(int(rows['files'].sum()), 'file')}, {size(int(rows['size_bytes'].sum()))}"
        return f"Inventory of {self.project} on {self.server}: {held}; read {self.read_at}"

    def card(self, title: str = "Inventory") -> Html:
        """What the project holds, in numbers."""
        sessions = self.sessions
        kinds = sessions["modality"].replace("", "unknown").value_counts()
        of_kind = f" ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})" if len(kinds) else ""
        return pairs(
            {
                "project": f"{self.project} on {self.server}",
                "read": f"{self.read_at} by {self.user}, {self.requests} requests",
                "subjects": sessions["subject"].nunique(),
                "sessions": f"{len(sessions)}{of_kind}",
                "scans": int(sessions["scans"].sum()),
                "files": f"{int(sessions['files'].sum())}, {size(int(sessions['size_bytes'].sum()))}",
                "in the prearchive": len(self.prearchive),
                **({"could not be read": " ".join(self.notes)} if self.notes else {}),
            },
            title,
        )


class Verdict(enum.StrEnum):
    """The four verdicts on a file. They add up to the files of the plan, always."""

    EQUAL = "equal"
    EXPLAINED = "changed as explained"
    DIFFERENT = "different"
    NOT_PROVED = "cannot be proved"


FINDING_COLUMNS = {
    "rule": str,
    "severity": str,  # blocking, warning or note
    "project": str,
    "subject": str,
    "session": str,
    "scan": str,
    "element": str,  # keywords from the outside in; values never
    "shape": str,
    "files": int,
    "sentence": str,
    "remedy": str,
    "waived": str,  # the reason of the waiver, "" where there is none
}
MANIFEST_COLUMNS = {
    "subject": str,
    "session": str,
    "scan": str,
    "resource": str,
    "path": str,
    "size_bytes": int,
    "source_md5": str,
    "content": str,  # sha256 of the bulk data
    "SOPInstanceUID": str,
    "destination_subject": str,
    "destination_session": str,
    "destination_scan": str,
    "destination_path": str,
    "destination_size_bytes": int,
    "destination_md5": str,
    "read_in": str,  # where at the destination its bytes were read last: archive, prearchive, "" where they were not
    # what would have shown damage on the way out of the source: listed MD5, catalogue's MD5, read twice, read twice
    # as the listed MD5 is older than the file (old_lists.OLD_LIST), nothing
    "way_out": str,
    "changed": str,  # element paths whose values differ, separated by spaces; values never
    "verdict": str,
    "because": str,
}


class Labelled(Protocol):
    """What has its labels at the source and those at the destination: a session, a resource, an operation."""

    subject: str
    session: str
    destination_subject: str
    destination_session: str


def manifest_row(
    of: Labelled, *, scan: str, resource: str, path: str, size_bytes: int = 0, md5: str = "", **more: Any
) -> dict[str, Any]:
    """A file of the source as a row of ``MANIFEST_COLUMNS``, its verdict still open; ``more`` are further columns."""
    return {
        "subject": of.subject,
        "session": of.session,
        "scan": scan,
        "resource": resource,
        "path": path,
        "size_bytes": size_bytes,
        "source_md5": md5,
        "destination_subject": of.destination_subject,
        "destination_session": of.destination_session,
        **more,
    }


OUTCOME_COLUMNS = {
    "subject": str,
    "session": str,
    "destination_subject": str,
    "destination_session": str,
    "action": str,
    "state": str,  # planned, skipped, in prearchive, archived, failed
    "scans": int,
    "files": int,
    "size_bytes": int,
    "equal": int,
    "explained": int,
    "different": int,
    "not_proved": int,
    "extra": int,
    "verdict": str,
    "because": str,
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run; listeners never stop it. ``kind``: run, session, scan, message."""

    kind: str
    name: str  # started, sent, compared, archived, proved, failed, skipped, finished
    where: str = ""
    files: int = 0
    size_bytes: int = 0
    text: str = ""
    at: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Result(Shown):
    """What a run or a verification found. ``files`` has MANIFEST_COLUMNS, ``sessions`` OUTCOME_COLUMNS.

    ``extra`` lists files at the destination that the plan does not name (columns as FILE_COLUMNS).
    """

    sessions: pd.DataFrame
    files: pd.DataFrame
    extra: pd.DataFrame
    started_at: str
    finished_at: str
    seconds: float = 0.0
    requests: int = 0
    writes: int = 0
    messages: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    transient: bool = False
    timeline: tuple[tuple[float, int], ...] = field(default=())  # (seconds since the start, bytes sent so far)
    findings: pd.DataFrame | None = None  # FINDING_COLUMNS: what a review of every file found; None where none was made
    open_points: tuple[str, ...] = ()  # what was selected, is not at the destination, and was left by nobody on purpose
    strict: bool = False  # whether what is there already, and was not read, counts as not proved

    @property
    def counts(self) -> dict[str, int]:
        """Files by verdict, all four always present."""
        found = self.files["verdict"].value_counts()
        return {str(verdict): int(found.get(str(verdict), 0)) for verdict in Verdict}

    @property
    def exit_code(self):
        """The exit code of this result: never 0 with a failed or unproved row."""
        counts = self.counts
        states = self.sessions["state"]
        # what waits with files that nobody sent is not what was to be archived
        failed = bool((states == "failed").any() or (states.eq("in prearchive") & self.sessions["extra"].gt(0)).any())
        if self.transient:
            return ExitCode.TRANSIENT
        if self.findings is not None and bool((self.findings["severity"] == "blocking").any()):
            return ExitCode.REFUSED
        if failed or counts[Verdict.DIFFERENT]:
            return ExitCode.DIFFERENCES
        unread = states.eq("there already") & self.sessions["verdict"].eq("")
        if counts[Verdict.NOT_PROVED] or (self.strict and bool(unread.any())):
            return ExitCode.CANNOT_BE_PROVED
        if self.open_points:
            return ExitCode.NEEDS_A_PERSON
        return ExitCode.PROVED

    def line(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items())
        return f"Result: {WORDS[ExitCode(self.exit_code)]} (exit code {int(self.exit_code)}); files: {counts}"

    def card(self) -> Html:
        """How it went in one line, and what to do next."""
        code = ExitCode(self.exit_code)
        counts = self.counts
        total = sum(counts.values())
        sentence = f"{', '.join(f'{n} {word}' for word, n in counts.items())}; together {total} files."
        if code == ExitCode.PROVED and not total and not self.open_points:
            why = "No session of the plan needed to be sent. See the plan for why."
            return banner("nothing to send", why, Tone.QUIET, "–")
        done = self.sessions["state"].value_counts()
        sentence += " Sessions: " + ", ".join(f"{n} {word}" for word, n in done.items()) + "."
        if self.open_points:
            more = f" and {len(self.open_points) - 3} more" if len(self.open_points) > 3 else ""
            sentence += f" Needs a person: {'; '.join(self.open_points[:3])}{more}."
        sentence += "".join(f" {message}" for message in self.messages)
        colour, symbol = look_of(code)
        return banner(WORDS[code], f"{sentence} Next: {next_step(code, done)}", colour, symbol)
