"""The prearchive's rows and files: find, create, fill, build, move, delete.

One row is one session that waits. Rows are looked up by project, StudyInstanceUID and label, so repeated and parallel
imports of one session meet in one row, also in one that a conflict left behind (XNAT source: ``PrearcDatabase``).

What a row lists and what archiving takes are its scans and files as they were when it was built last. A file that
comes while it is built, or afterwards, lies in its folder and is in no list until it is built again (recorded from
1.8.11: races).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from . import personality
from .answers import Refusal
from .faulty_files import building, spoil
from .identify import Identity, scan_type, session_modality, session_type
from .reencode import is_whole
from .rules import strike
from .state import now
from .waiting_rows import BUILDING, DIRECT, IDLE, UNASSIGNED, Received, Row, Scan, row_of

if TYPE_CHECKING:
    import sqlite3

    from .state import State


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
        return [row_of(found) for found in self.state.rows(sql + " ORDER BY pk", *values)]

    def find(self, project: str, timestamp: str, folder: str) -> Row | None:
        """Return one row by its address, or None."""
        found = self.rows([project], "timestamp=? AND folder=?", timestamp, folder)
        return found[0] if found else None

    def again(self, row: Row) -> Row | None:
        """Read ``row`` anew; None when it is gone."""
        found = self.rows(None, "pk=?", row.id, direct=None)
        return found[0] if found else None

    def _there(self, row: Row) -> Row:
        """Read ``row`` anew in the transaction that found it."""
        found = self.again(row)
        assert found is not None
        return found

    def find_or_create(self, *, project: str, study_uid: str, label: str, subject: str, user: str,
                       auto_archive: bool | None, prevent_anon: bool, prevent_auto_commit: bool, source: str,
                       timestamp: str, folder: str, fresh: bool, one_study: bool, date: str, time: str = "",
                       direct: bool = False) -> tuple[list[Row], bool]:
        """Return the row that an object of this session goes to, in status RECEIVING, and whether it was made for it.

        ``fresh`` makes a new row even when one with the same key waits (handler SI). With ``timestamp`` and
        ``folder`` given, the row at that address is used; ``one_study`` refuses a second study there. A row that is
        being built takes what comes and becomes RECEIVING; one that is archived, moved or deleted does not, and a
        second row is made (XNAT source: ``PrearcDatabase.eitherGetOrCreateSession``). 1.6 makes a second row while
        one is built, too. Several rows of a key share what comes (recorded from 1.6.4; nothing orders them).

        Raises
        ------
        Refusal
            409 when the row of an address that was given is being archived, moved or deleted; 400 for a second study.
        """
        direct = direct and project != UNASSIGNED
        with self.state.write() as db:
            if timestamp:
                at = self.find(project, timestamp, folder or label)
                found = [at] if at else []
                if at and one_study and at.tag != study_uid:
                    raise Refusal(400, f"Prearchive session {at.url} holds study {at.tag}, not {study_uid}.")
                if at and not self.takes(at):
                    raise Refusal(409, f"Session processing may already be in progress: {at.status}.")
            elif fresh:
                found = []
            else:
                same = self.rows([project], "tag=? AND name=?", study_uid, label, direct=direct)
                found = [row for row in same if self.takes(row)]
            for row in found:
                db.execute("UPDATE prearchive SET status='RECEIVING', lastmod=?, prevent_anon=max(prevent_anon,?), "
                           "prevent_auto_commit=max(prevent_auto_commit,?), source=CASE WHEN ?<>'' THEN ? ELSE source "
                           "END, autoarchive=CASE WHEN ? THEN 'AutoArchive' ELSE autoarchive END WHERE pk=?",
                           (now(), prevent_anon, prevent_auto_commit, source, source, bool(auto_archive) and not direct,
                            row.id))
            if found:
                return [self._there(row) for row in found], False
            auto = DIRECT if direct else self.auto(project)
            if auto_archive is not None and project != UNASSIGNED and not direct:
                auto = "AutoArchive" if auto_archive else "Manual"
            return [self._insert(dict(
                project=project, timestamp=timestamp, folder=folder or label, name=label, subject=subject,
                tag=study_uid, scan_date=date, scan_time=time, autoarchive=auto, prevent_anon=prevent_anon,
                prevent_auto_commit=prevent_auto_commit, source=source, uploader=user))], True

    def takes(self, row: Row) -> bool:
        """Whether files may come into ``row`` now."""
        joins = personality.has(self.state, "late-files-join")
        return row.status in IDLE or (joins and row.status in BUILDING)

    def beside(self, row: Row) -> Row:
        """Make a second row for what comes while ``row`` is archived, moved or deleted, or after it has gone."""
        names = ("project", "folder", "name", "subject", "tag", "scan_date", "scan_time", "autoarchive",
                 "prevent_anon", "prevent_auto_commit", "source", "uploader")
        with self.state.write():
            same = self.rows([row.project], "tag=? AND name=?", row.tag, row.name, direct=row.autoarchive == DIRECT)
            open_ones = [one for one in same if self.takes(one)]
            if open_ones:
                return open_ones[0]
            return self._insert({"timestamp": "", **{name: getattr(row, name) for name in names}})

    def _insert(self, values: dict[str, object]) -> Row:
        """Make a row that is RECEIVING, under a time that no other row of its name has."""
        while not values["timestamp"] or self.rows([str(values["project"])], "timestamp=? AND folder=?",
                                                   values["timestamp"], values["folder"], direct=None):
            values["timestamp"] = now("%Y%m%d_%H%M%S%f")
        values = {**values, "status": "RECEIVING", "lastmod": now(), "uploaded": ""}
        with self.state.write() as db:
            key = db.execute(f"INSERT INTO prearchive({', '.join(values)}) VALUES({','.join('?' * len(values))})",
                             tuple(values.values())).lastrowid
        return self.rows(None, "pk=?", key, direct=None)[0]

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

    def claim(self, row: Row, work: str) -> Row:
        """Lock ``row`` for work that must be alone, ``BUILDING`` and the like; return the row as it was.

        Raises
        ------
        Refusal
            500 when the row is gone, 409 when something else has it.
        """
        with self.state.write():
            found = self.again(row)
            if found is None:
                raise gone(row.project, row.timestamp, row.folder)
            if found.status not in (*IDLE, work, f"QUEUED_{work}"):
                raise Refusal(409, f"Operation not permitted: session document locked ({found.status}).")
            self.set_status(found, f"_{work}")
            return found

    # -- files --------------------------------------------------------------------------------------------------

    def folder(self, row: Row) -> Path:
        """Where the files of ``row`` lie."""
        return self.state.prearchive_folder(row.project, row.timestamp, row.folder)

    def file_path(self, row: Row, scan: str, resource: str, name: str) -> Path:
        """Where one file of ``row`` lies."""
        return self.folder(row) / "SCANS" / scan / resource / name

    def add_files(self, row: Row, files: list[Received]) -> Row:
        """Name written files in the catalogue, move them to their places, and return the row that has them now.

        Scan ids are the series numbers; a second series with a number that is taken becomes ``1-MR1``
        (REST test TestImport.testModifiedSeriesUIDs). A file of a name that is taken replaces what is there if that
        is the same object and can be read to its end; else it gets the name that the site's template makes, which
        replaces what has it (XNAT source: ``GradualDicomImporter.getSafeFile``).
        """
        with self.state.write() as db:
            current = self.again(row)
            if current is None or not self.takes(current):
                current = self.beside(row)
            row = current
            db.execute("UPDATE prearchive SET status='RECEIVING', lastmod=? WHERE pk=?", (now(), row.id))
            scans = {found["series_uid"]: found["scan"] for found in db.execute(
                "SELECT DISTINCT series_uid, scan FROM prearchive_files WHERE row_pk=?", (row.id,))}
            names: dict[tuple[str, str], dict[str, str]] = {}
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
                    names[place] = {entry["path"]: entry["sop_uid"] for entry in db.execute(
                        "SELECT sop_uid, path FROM prearchive_files WHERE row_pk=? AND scan=? AND resource=?",
                        (row.id, *place))}
                    self.file_path(row, *place, "").mkdir(parents=True, exist_ok=True)
                name = file.name
                if name in names[place] and not (
                        names[place][name] == found.sop_uid and is_whole(self.file_path(row, *place, name))):
                    name = file.other_name
                names[place][name] = found.sop_uid
                target = self.file_path(row, *place, name)
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
                db.executemany(
                    "INSERT INTO prearchive_files(row_pk, scan, resource, path, size, sop_uid, series_uid, fields) "
                    "VALUES(?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET size=excluded.size, sop_uid=excluded.sop_uid, "
                    "series_uid=excluded.series_uid, fields=excluded.fields",
                    [(row.id, *place, one, size, found.sop_uid, found.series_uid, fields) for one in stored])
        return row

    def files(self, row: Row, scan: str | None = None, resource: str | None = None, *,
              every: bool = False) -> list[sqlite3.Row]:
        """Return the catalogue rows of a session's files, or of one scan's, or of one resource's.

        ``every`` adds those that came after the row was built last.
        """
        sql = "SELECT * FROM prearchive_files WHERE row_pk=?"
        values: list[int | str] = [row.id]
        if not every:
            sql += " AND listed=1"
        for column, value in (("scan", scan), ("resource", resource)):
            if value is not None:
                sql += f" AND {column}=?"
                values.append(value)
        return self.state.rows(sql, *values)

    def scans(self, row: Row) -> list[Scan]:
        """Return the scans of ``row`` as it was built last, with their files, by id (numbers first, in order)."""
        files: dict[str, list[sqlite3.Row]] = {}
        for file in self.files(row):
            files.setdefault(file["scan"], []).append(file)
        return [Scan(**scan, files=files.get(scan["id"], [])) for scan in json.loads(row.document or "[]")]

    def session_kind(self, scans: list[Scan]) -> tuple[str, str]:
        """Return xsiType and modality of a session with these scans."""
        modalities = {scan.modality for scan in scans}
        return session_type(modalities), session_modality(modalities)

    # -- verbs --------------------------------------------------------------------------------------------------

    def build(self, row: Row) -> Row | None:
        """Write the session document of ``row``: it becomes READY, with date and time.

        It takes a moment, and names what was there when it began. What comes meanwhile makes the row RECEIVING, and
        the end of the work makes it READY all the same (recorded from 1.8.11: races).

        Raises
        ------
        Refusal
            409 when the row is busy; 500 when it is gone, and when it holds no file: it is ERROR then.
        """
        if strike("stuck-receiving", row.url):
            self.set_status(row, "RECEIVING")
            return self.again(row)
        self.claim(row, "BUILDING")
        if strike("stuck-building", row.url):
            raise Refusal(500, "The session is still being built.")
        files = self.files(row, every=True)
        building(row.url, len(files))
        if not files:
            self.set_status(row, "ERROR", "Error building session")
            raise Refusal(500, "Error building session")
        date, time = json.loads(files[0]["fields"])[3:5]
        with contextlib.suppress(OSError):  # somebody has deleted it meanwhile
            self._write(row, files)
        with self.state.write() as db:
            self._name(row, files)
            db.execute("UPDATE prearchive SET built=1, lastmod=?, uploaded=?, scan_date=?, scan_time=?, "
                       "status=CASE WHEN status IN ('_BUILDING', 'RECEIVING') THEN 'READY' ELSE status END WHERE pk=?",
                       (now(), now(), date, time, row.id))
        found = self.again(row)
        if found is None:
            raise gone(row.project, row.timestamp, row.folder)
        return found

    def name_all(self, row: Row) -> bool:
        """Have the session document of ``row`` name every file; False when it did so before."""
        files = self.files(row, every=True)
        if all(file["listed"] for file in files):
            return False
        self._name(row, files)
        return True

    def written(self, row: Row) -> list[tuple[str, Path]]:
        """What building ``row`` has written beside its files, by name in its zip: a catalogue a scan, and a log."""
        folder = self.folder(row)
        kept = folder / "catalogs"
        if not kept.is_dir():
            return []
        return [
            (f"{row.folder}/{'/'.join(path.relative_to(kept).parts)}", path)
            for path in sorted(kept.rglob("*"))
            if path.is_file()
        ]

    def _write(self, row: Row, files: list[sqlite3.Row]) -> None:
        """Write what the session builder leaves beside the files (recorded from 1.8.11: F64)."""
        kept = self.folder(row) / "catalogs"
        shutil.rmtree(kept, ignore_errors=True)
        places: dict[tuple[str, str], list[str]] = {}
        for file in files:
            places.setdefault((file["scan"], file["resource"]), []).append(
                f'<cat:entry URI={quoteattr(file["path"])} UID="{file["sop_uid"]}" xsi:type="cat:dcmEntry"/>')
        for (scan, resource), entries in places.items():
            end = "catalog.xml" if resource == "DICOM" else f"{resource}_catalog.xml"
            path = kept / "SCANS" / scan / resource / f"scan_{scan}_{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([
                '<cat:DCMCatalog xmlns:cat="http://nrg.wustl.edu/catalog" '
                'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">', "<cat:entries>", *entries, "</cat:entries>",
                "</cat:DCMCatalog>\n"]), encoding="utf-8")
        (kept / "dcmtoxnat.log").write_text(f"{len(files)} files of {len(places)} scans\n", encoding="utf-8")

    def _name(self, row: Row, files: list[sqlite3.Row]) -> None:
        with self.state.write() as db:
            db.executemany("UPDATE prearchive_files SET listed=1 WHERE row_pk=? AND scan=? AND resource=? AND path=?",
                           [(row.id, file["scan"], file["resource"], file["path"]) for file in files])
            db.execute("UPDATE prearchive SET document=? WHERE pk=?", (json.dumps(_document(files)), row.id))

    def move(self, row: Row, project: str) -> Row | None:
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

    def anonymised(self, row: Row, changed: Mapping[str, tuple[int, str]], failed: Iterable[sqlite3.Row]) -> None:
        """Note what a script left of the files of ``row``, size and SOP UID by path, and empty those it failed in."""
        broken = {(file["scan"], file["resource"], file["path"]) for file in failed}
        with self.state.write() as db:
            for file in self.files(row):
                key = file["scan"], file["resource"], file["path"]
                path = self.file_path(row, *key)
                if key in broken:
                    path.write_bytes(b"")
                known = 0 if key in broken else file["size"], file["sop_uid"]
                size, sop_uid = changed.get(str(path), known)
                fields = json.dumps([*json.loads(file["fields"])[:5], ""])
                db.execute("UPDATE prearchive_files SET size=?, sop_uid=?, fields=? WHERE row_pk=? AND scan=? AND "
                           "resource=? AND path=?", (size, sop_uid, fields, row.id, *key))

    def delete_scan(self, row: Row, scan: str) -> None:
        """Remove one scan of ``row``."""
        kept = [one for one in json.loads(row.document or "[]") if one["id"] != scan]
        document = json.dumps(kept) if row.document else ""
        with self.state.write() as db:
            db.execute("DELETE FROM prearchive_files WHERE row_pk=? AND scan=?", (row.id, scan))
            db.execute("UPDATE prearchive SET document=? WHERE pk=?", (document, row.id))
        shutil.rmtree(self.folder(row) / "SCANS" / scan, ignore_errors=True)


def gone(project: str, timestamp: str, folder: str) -> Refusal:
    """What XNAT says of a row that is not there (recorded from 1.8.11: client-forms F66, F68, F71)."""
    return Refusal(500, f"A record with session {folder}, timestamp {timestamp} and project {project} could not be "
                        "found.")


def _document(files: list[sqlite3.Row]) -> list[dict[str, object]]:
    """The scans that files make, as a session document keeps them."""
    grouped: dict[str, list[sqlite3.Row]] = {}
    for file in files:
        grouped.setdefault(file["scan"], []).append(file)
    scans = []
    for scan, members in grouped.items():
        modality, description = json.loads(members[0]["fields"])[:2]
        scans.append({
            "id": scan, "xsi_type": scan_type(modality), "modality": modality, "description": description,
            "series_uid": members[0]["series_uid"],
            "frames": sum(json.loads(file["fields"])[2] for file in members),
        })  # fmt: skip
    return sorted(scans, key=lambda scan: (int(scan["id"]) if scan["id"].isdigit() else float("inf"), scan["id"]))


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
