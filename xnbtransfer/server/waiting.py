"""The prearchive's rows and files: find, create, fill, build, move, delete.

One row is one session that waits. Rows are looked up by project, StudyInstanceUID and label, so repeated and parallel
imports of one session meet in one row, also in one that a conflict left behind (XNAT source: ``PrearcDatabase``).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .answers import Refusal
from .faulty_files import spoil
from .identify import Identity, clean, scan_type, session_modality, session_type
from .rules import strike
from .state import now

if TYPE_CHECKING:
    import sqlite3

    from .state import State

UNASSIGNED = "Unassigned"
DIRECT = "DirectArchive"
"""In place of a row's auto-archive text: on its way into the archive, and in no list of the prearchive."""
IDLE = ("RECEIVING", "RECEIVING_INTERRUPT", "READY", "CONFLICT", "ERROR")
"""Statuses in which a row can be worked on; in any other something else has it."""
BUSY = ("BUILDING", "ARCHIVING", "MOVING", "DELETING", "SEPARATING")
STATUSES = (*IDLE, *BUSY, *(f"QUEUED_{status}" for status in BUSY))


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
        """The row as prearchive listings show it; key names as recorded from a live server."""
        return {
            "project": self.project, "timestamp": self.timestamp, "lastmod": self.lastmod, "uploaded": self.uploaded,
            "scan_date": f"{self.scan_date} 00:00:00.0" if self.scan_date else "", "scan_time": self.scan_time,
            "subject": self.subject, "folderName": self.folder, "name": self.name, "tag": self.tag,
            "status": self.status, "url": self.url, "autoarchive": self.autoarchive,
            "prevent_anon": str(self.prevent_anon).lower(),
            "prevent_auto_commit": str(self.prevent_auto_commit).lower(), "SOURCE": self.source,
            "VISIT": "", "PROTOCOL": "", "TIMEZONE": "",
        }


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


class Waiting:
    """The prearchive of one server."""

    def __init__(self, state: State) -> None:
        self.state = state

    # -- rows ---------------------------------------------------------------------------------------------------

    def project(self, login: str, name: str) -> str:
        """Return the id of the project ``name`` (id or alias) when ``login`` may read it, else an empty text."""
        found = self.state.project(name)
        return found["id"] if found and self.state.can(login, found["id"], "read") else ""

    def rows(self, projects: Iterable[str] | None = None, where: str = "", *values: object,
             direct: bool | None = False) -> list[Row]:
        """Return rows in the order they were made, of all or of some projects.

        ``direct`` says whether those are meant that go straight into the archive; None means all.
        """
        sql = "SELECT * FROM prearchive"
        conditions = [where] if where else []
        if direct is not None:
            conditions.append(f"autoarchive{'=' if direct else '<>'}'{DIRECT}'")
        if projects is not None:
            names = list(projects)
            conditions.append(f"project IN ({','.join('?' * len(names))})")
            values = (*values, *names)
        if conditions:
            sql += " WHERE " + " AND ".join(conditions)
        return [_row(found) for found in self.state.rows(sql + " ORDER BY pk", *values)]

    def find(self, project: str, timestamp: str, folder: str) -> Row | None:
        """Return one row by its address, or None."""
        found = self.rows([project], "timestamp=? AND folder=?", timestamp, folder)
        return found[0] if found else None

    def again(self, row: Row) -> Row | None:
        """Read ``row`` anew; None when it is gone."""
        found = self.rows(None, "pk=?", row.id, direct=None)
        return found[0] if found else None

    def find_or_create(self, *, project: str, study_uid: str, label: str, subject: str, user: str,
                       auto_archive: bool | None, prevent_anon: bool, prevent_auto_commit: bool, source: str,
                       timestamp: str, folder: str, fresh: bool, one_study: bool, date: str,
                       direct: bool = False) -> list[Row]:
        """Return the row that an object of this session goes to, in status RECEIVING; more where equal ones wait.

        ``fresh`` makes a new row even when one with the same key waits (handler SI). With ``timestamp`` and
        ``folder`` given, the row at that address is used; ``one_study`` refuses a second study there.

        Raises
        ------
        Refusal
            409 when the row is being archived, built, moved or deleted; 400 for a second study.
        """
        direct = direct and project != UNASSIGNED
        with self.state.write() as db:
            if timestamp:
                at = self.find(project, timestamp, folder or label)
                found = [at] if at else []
                if at and one_study and at.tag != study_uid:
                    raise Refusal(400, f"Prearchive session {at.url} holds study {at.tag}, not {study_uid}.")
            elif fresh:
                found = []
            else:
                found = self.rows([project], "tag=? AND name=?", study_uid, label, direct=direct)
            for row in found:
                if row.status not in IDLE:
                    raise Refusal(409, f"Session processing may already be in progress: {row.status}.")
                db.execute("UPDATE prearchive SET status='RECEIVING', lastmod=?, prevent_anon=max(prevent_anon,?), "
                           "prevent_auto_commit=max(prevent_auto_commit,?), source=CASE WHEN ?<>'' THEN ? ELSE source "
                           "END, autoarchive=CASE WHEN ? THEN 'AutoArchive' ELSE autoarchive END WHERE pk=?",
                           (now(), prevent_anon, prevent_auto_commit, source, source, bool(auto_archive) and not direct,
                            row.id))
            if found:
                return [self.again(row) for row in found]
            auto = DIRECT if direct else self.auto(project)
            if auto_archive is not None and project != UNASSIGNED and not direct:
                auto = "AutoArchive" if auto_archive else "Manual"
            folder = folder or clean(label)
            while not timestamp or self.rows([project], "timestamp=? AND folder=?", timestamp, folder, direct=None):
                timestamp = now("%Y%m%d_%H%M%S%f")
            key = db.execute(
                "INSERT INTO prearchive(project, timestamp, folder, name, subject, tag, status, lastmod, uploaded, "
                "scan_date, autoarchive, prevent_anon, prevent_auto_commit, source, uploader) "
                "VALUES(?,?,?,?,?,?,'RECEIVING',?,'',?,?,?,?,?,?)",
                (project, timestamp, folder, label, subject, study_uid, now(), date, auto, prevent_anon,
                 prevent_auto_commit, source, user)).lastrowid
            return self.rows(None, "pk=?", key, direct=None)

    def auto(self, project: str) -> str:
        """What a row of ``project`` says of auto-archiving: by the project's code, nothing for Unassigned."""
        found = self.state.row("SELECT prearchive_code FROM projects WHERE id=?", project)
        if found is None:
            return ""
        code = int(found["prearchive_code"] or 0)
        return "Manual" if code < 4 else "AutoArchiveOverwrite" if code == 5 else "AutoArchive"

    def set_status(self, row: Row, status: str, log: str = "") -> None:
        """Set the status of ``row`` and add ``log`` to its log."""
        with self.state.write() as db:
            if row.autoarchive == DIRECT and status in ("CONFLICT", "ERROR"):
                db.execute("UPDATE prearchive SET autoarchive='Manual' WHERE pk=?", (row.id,))
                log = f"Attempt to direct-archive failed. {log}"
            db.execute("UPDATE prearchive SET status=?, lastmod=? WHERE pk=?", (status, now(), row.id))
            if log:
                db.execute("INSERT INTO prearchive_logs(row_pk, at, text) VALUES(?,?,?)", (row.id, now(), log))

    def claim(self, row: Row, status: str) -> Row:
        """Set the busy status ``status`` for work that must be alone; return the row as it was.

        Raises
        ------
        Refusal
            404 when the row is gone, 409 when something else has it.
        """
        with self.state.write():
            found = self.again(row)
            if found is None:
                raise Refusal(404, f"{row.url} not found.")
            if found.status not in (*IDLE, f"QUEUED_{status}"):
                raise Refusal(409, f"Operation not permitted: session document locked ({found.status}).")
            self.set_status(found, status)
            return found

    # -- files --------------------------------------------------------------------------------------------------

    def folder(self, row: Row) -> Path:
        """Where the files of ``row`` lie."""
        return self.state.prearchive_folder(row.project, row.timestamp, row.folder)

    def file_path(self, row: Row, scan: str, resource: str, name: str) -> Path:
        """Where one file of ``row`` lies."""
        return self.folder(row) / "SCANS" / scan / resource / name

    def add_files(self, row: Row, files: list[Received]) -> None:
        """Name written files in the catalogue and move them to their places.

        Scan ids are the series numbers; a second series with a number that is taken becomes ``1-MR1``
        (REST test TestImport.testModifiedSeriesUIDs). An object that is there already is replaced without a word.
        """
        with self.state.write() as db:
            current = self.again(row)
            if current is None or current.status not in IDLE:  # somebody has archived, moved or deleted it meanwhile
                for file in files:
                    file.path.unlink(missing_ok=True)
                raise Refusal(409, f"Session processing may already be in progress: {row.url}.")
            row = current
            scans = {found["series_uid"]: found["scan"] for found in db.execute(
                "SELECT DISTINCT series_uid, scan FROM prearchive_files WHERE row_pk=?", (row.id,))}
            names: dict[tuple[str, str], dict[str, str]] = {}
            taken: dict[tuple[str, str], set[str]] = {}
            made: set[tuple[str, str]] = set()
            for file in _exchanged(row, files):
                found = file.identity
                scan = scans.get(found.series_uid) or _free_id(found, set(scans.values()))
                scans[found.series_uid] = scan
                thing = f"{row.url} {scan} {file.name}"
                if strike("lost-on-store", thing):
                    file.path.unlink()
                    continue
                if strike("wrong-scan-on-store", thing):
                    scan = next((other for other in scans.values() if other != scan), f"{scan}9")
                place = (scan, file.resource)
                if place not in names:
                    names[place] = {entry["sop_uid"]: entry["path"] for entry in db.execute(
                        "SELECT sop_uid, path FROM prearchive_files WHERE row_pk=? AND scan=? AND resource=?",
                        (row.id, *place))}
                    taken[place] = set(names[place].values())
                name = names[place].get(found.sop_uid)
                if name is None:
                    name = file.other_name if file.name in taken[place] else file.name
                    names[place][found.sop_uid] = name
                    taken[place].add(name)
                target = self.file_path(row, scan, file.resource, name)
                if place not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(place)
                os.replace(file.path, target)
                size, md5 = file.size, file.md5
                if spoil(target, thing):
                    size, md5 = target.stat().st_size, ""
                fields = json.dumps([found.modality, found.series_description, found.frames, found.date, found.time,
                                     md5])
                stored = [name]
                if strike("duplicated-on-store", thing):
                    stored.append(f"again_{name}")
                    shutil.copyfile(target, target.with_name(stored[-1]))
                db.executemany("INSERT OR REPLACE INTO prearchive_files VALUES(?,?,?,?,?,?,?,?)", [
                    (row.id, scan, file.resource, one, size, found.sop_uid, found.series_uid, fields)
                    for one in stored])
            db.execute("UPDATE prearchive SET lastmod=? WHERE pk=?", (now(), row.id))

    def files(self, row: Row, scan: str | None = None, resource: str | None = None) -> list[sqlite3.Row]:
        """Return the catalogue rows of a session's files, or of one scan's, or of one resource's."""
        sql, values = "SELECT * FROM prearchive_files WHERE row_pk=?", [row.id]
        for column, value in (("scan", scan), ("resource", resource)):
            if value is not None:
                sql += f" AND {column}=?"
                values.append(value)
        return self.state.rows(sql, *values)

    def scans(self, row: Row) -> list[Scan]:
        """Return the scans of ``row`` with their files, by id (numbers first, in order)."""
        grouped: dict[str, list[sqlite3.Row]] = {}
        for file in self.files(row):
            grouped.setdefault(file["scan"], []).append(file)
        scans = []
        for scan, files in grouped.items():
            modality, description = json.loads(files[0]["fields"])[:2]
            frames = sum(json.loads(file["fields"])[2] for file in files)
            scans.append(Scan(id=scan, xsi_type=scan_type(modality), modality=modality, description=description,
                              series_uid=files[0]["series_uid"], frames=frames, files=files))
        return sorted(scans, key=lambda scan: (int(scan.id) if scan.id.isdigit() else float("inf"), scan.id))

    def session_kind(self, scans: list[Scan]) -> tuple[str, str]:
        """Return xsiType and modality of a session with these scans."""
        modalities = {scan.modality for scan in scans}
        return session_type(modalities), session_modality(modalities)

    # -- verbs --------------------------------------------------------------------------------------------------

    def build(self, row: Row) -> Row:
        """Write the session document of ``row``: it becomes READY, with date and time.

        Raises
        ------
        Refusal
            404 when the row is gone, 409 when it is busy.
        """
        if strike("stuck-receiving", row.url):
            self.set_status(row, "RECEIVING")
            return self.again(row)
        self.claim(row, "BUILDING")
        if strike("stuck-building", row.url):
            raise Refusal(500, "The session is still being built.")
        first = self.state.row("SELECT fields FROM prearchive_files WHERE row_pk=? LIMIT 1", row.id)
        date, time = json.loads(first["fields"])[3:5] if first else ("", "")
        with self.state.write() as db:
            db.execute("UPDATE prearchive SET status='READY', built=1, lastmod=?, uploaded=?, scan_date=?, scan_time=? "
                       "WHERE pk=?", (now(), now(), date, time, row.id))
        return self.again(row)

    def move(self, row: Row, project: str) -> Row:
        """Move ``row`` to another project and return it with its new address.

        Raises
        ------
        Refusal
            409 when the project holds a row of the same folder name and time.
        """
        with self.state.write() as db:
            if self.find(project, row.timestamp, row.folder):
                raise Refusal(409, f"Session {row.folder} already exists in {project}.")
            target = self.state.prearchive_folder(project, row.timestamp, row.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.folder(row).exists():
                os.rename(self.folder(row), target)
            status = "READY" if row.built else "RECEIVING"
            db.execute("UPDATE prearchive SET project=?, status=?, lastmod=?, autoarchive=? WHERE pk=?",
                       (project, status, now(), self.auto(project), row.id))
        return self.again(row)

    def delete(self, row: Row) -> None:
        """Remove ``row`` and its files."""
        self.forget(row)
        self.clear(row)

    def forget(self, row: Row) -> None:
        """Remove ``row`` from the catalogue; its files stay."""
        with self.state.write() as db:
            db.execute("DELETE FROM prearchive WHERE pk=?", (row.id,))
            db.execute("DELETE FROM prearchive_files WHERE row_pk=?", (row.id,))
            db.execute("DELETE FROM prearchive_logs WHERE row_pk=?", (row.id,))

    def clear(self, row: Row) -> None:
        """Remove the files of a row that is forgotten."""
        shutil.rmtree(self.folder(row), ignore_errors=True)
        with contextlib.suppress(OSError):  # another session may share the time
            self.folder(row).parent.rmdir()

    def drop_files(self, row: Row, files: Iterable[sqlite3.Row]) -> None:
        """Remove single files of ``row``."""
        with self.state.write() as db:
            for file in files:
                db.execute("DELETE FROM prearchive_files WHERE row_pk=? AND scan=? AND resource=? AND path=?",
                           (row.id, file["scan"], file["resource"], file["path"]))
                self.file_path(row, file["scan"], file["resource"], file["path"]).unlink(missing_ok=True)

    def delete_scan(self, row: Row, scan: str) -> None:
        """Remove one scan of ``row``."""
        with self.state.write() as db:
            db.execute("DELETE FROM prearchive_files WHERE row_pk=? AND scan=?", (row.id, scan))
        shutil.rmtree(self.folder(row) / "SCANS" / scan, ignore_errors=True)


def _exchanged(row: Row, files: list[Received]) -> list[Received]:
    """The files, two neighbours with each other's content where a fault says so."""
    files = list(files)
    for at in range(len(files) - 1):
        one, other = files[at], files[at + 1]
        if strike("swapped-on-store", f"{row.url} {one.name}"):
            files[at] = replace(one, path=other.path, size=other.size, md5=other.md5)
            files[at + 1] = replace(other, path=one.path, size=one.size, md5=one.md5)
    return files


def _free_id(found: Identity, taken: set[str]) -> str:
    if found.series_number not in taken:
        return found.series_number
    number = 1
    while (candidate := f"{found.series_number}-{found.modality or 'OT'}{number}") in taken:
        number += 1
    return candidate


def _row(found: sqlite3.Row) -> Row:
    values = {key: found[key] if found[key] is not None else "" for key in found.keys()}  # noqa: SIM118
    values["id"] = values.pop("pk")
    for flag in ("prevent_anon", "prevent_auto_commit", "built"):
        values[flag] = bool(values[flag])
    return Row(**values)
