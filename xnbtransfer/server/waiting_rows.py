"""What a prearchive session is, as it was read: its row, its scans, a file on its way, and what its status allows.

Called by `waiting`, which keeps them; changes nothing and reads nothing itself.

A status passes through three forms: ``QUEUED_BUILDING`` (asked for), ``BUILDING`` (next), ``_BUILDING`` (locked: work
is at it). Those that are locked stay so when the work dies, and nothing but ``overrideLock`` opens them again (XNAT
source: ``PrearcDatabase.LockAndSync``, ``PrearcUtils.inProcessStatusMap``; states as a live 1.8.11 showed them).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

    from .identify import Identity

UNASSIGNED = "Unassigned"
DIRECT = "DirectArchive"
"""In place of a row's auto-archive text: on its way into the archive, and in no list of the prearchive."""
IDLE = ("RECEIVING", "RECEIVING_INTERRUPT", "READY", "CONFLICT", "ERROR")
"""Statuses in which a row can be worked on; in any other something else has it."""
BUSY = ("BUILDING", "ARCHIVING", "MOVING", "DELETING", "SEPARATING")
STATUSES = (*IDLE, *BUSY, *(f"QUEUED_{status}" for status in BUSY), *(f"_{status}" for status in BUSY))
BUILDING = ("QUEUED_BUILDING", "BUILDING", "_BUILDING")


def locked(status: str) -> bool:
    """Whether work is at a row of this status, or was and died.

    >>> locked("_BUILDING"), locked("QUEUED_BUILDING")
    (True, False)
    """
    return status.startswith("_")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prearchive session as it was read; ``uri`` names it on the wire."""

    id: int
    project: str
    timestamp: str
    folder: str
    name: str
    subject: str
    tag: str
    status: str
    lastmod: str
    uploaded: str
    scan_date: str
    scan_time: str
    autoarchive: str
    prevent_anon: bool
    prevent_auto_commit: bool
    source: str
    built: bool
    uploader: str
    document: str
    """The session document: its scans as they were when it was built last, as JSON; empty before."""

    @property
    def url(self) -> str:
        """The address in listings, without ``/data``."""
        return f"/prearchive/projects/{self.project}/{self.timestamp}/{self.folder}"

    @property
    def uri(self) -> str:
        """The address in answers."""
        if self.autoarchive == DIRECT:
            return f"/xapi/direct-archive/{self.project}/{self.tag}/{self.name}"
        return f"/data{self.url}"

    def listing(self) -> dict[str, str]:
        """The row as prearchive listings show it; key names as recorded from a live server.

        Until it is built, the date has the time with it (recorded from 1.8.11; XNAT source: ``GradualDicomImporter``).
        """
        date, time = f"{self.scan_date} 00:00:00.0" if self.scan_date else "", self.scan_time
        if not self.built and self.scan_date:
            date, time = f"{self.scan_date} {self.scan_time or '00:00:00'}.0", ""
        return {
            "project": self.project, "timestamp": self.timestamp, "lastmod": self.lastmod, "uploaded": self.uploaded,
            "scan_date": date, "scan_time": time, "subject": self.subject, "folderName": self.folder,
            "name": self.name, "tag": self.tag, "status": self.status, "url": self.url,
            "autoarchive": self.autoarchive, "prevent_anon": str(self.prevent_anon).lower(),
            "prevent_auto_commit": str(self.prevent_auto_commit).lower(), "SOURCE": self.source,
            "VISIT": "", "PROTOCOL": "", "TIMEZONE": "",
        }  # fmt: skip


def row_of(found: sqlite3.Row) -> Row:
    """The row that a line of the catalogue is."""
    values: dict[str, Any] = {key: found[key] if found[key] is not None else "" for key in found.keys()}  # noqa: SIM118
    values["id"] = values.pop("pk")
    for flag in ("prevent_anon", "prevent_auto_commit", "built"):
        values[flag] = bool(values[flag])
    return Row(**values)


@dataclass(frozen=True, kw_only=True)
class Received:
    """One written file that waits to be named in the catalogue."""

    path: Path
    name: str
    other_name: str
    size: int
    resource: str
    identity: Identity
    md5: str = ""
    """Of the bytes as they were written; empty while checksums are off."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What the files of one scan say together; ``files`` are catalogue rows."""

    id: str
    xsi_type: str
    modality: str
    series_uid: str
    description: str
    frames: int
    files: list[sqlite3.Row]
