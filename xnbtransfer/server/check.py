"""Whether what the catalogue says and what lies in the folders fit together; and putting it right after a power cut."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from . import folders
from .state import State, file_md5

_MARK = "running"
_DANGLING = {
    "subject {0} is in project {1}, which does not exist":
        "SELECT id, project FROM subjects WHERE project NOT IN (SELECT id FROM projects)",
    "session {0} is in project {1}, which does not exist":
        "SELECT id, project FROM experiments WHERE project NOT IN (SELECT id FROM projects)",
    "session {0} has subject {1}, which does not exist":
        "SELECT id, subject_id FROM experiments WHERE session_id='' AND subject_id NOT IN (SELECT id FROM subjects)",
    "assessor {0} is of session {1}, which does not exist":
        "SELECT id, session_id FROM experiments WHERE session_id<>'' "
        "AND session_id NOT IN (SELECT id FROM experiments)",
    "scan {0} is of session {1}, which does not exist":
        "SELECT id, experiment_id FROM scans WHERE experiment_id NOT IN (SELECT id FROM experiments)",
    "{0} is shared into project {1}, which does not exist":
        "SELECT item_id, project FROM shares WHERE project NOT IN (SELECT id FROM projects)",
    "the share of {0} into {1} is of something that does not exist":
        "SELECT item_id, project FROM shares WHERE (kind='subject' AND item_id NOT IN (SELECT id FROM subjects)) "
        "OR (kind='experiment' AND item_id NOT IN (SELECT id FROM experiments)) "
        "OR (kind='scan' AND item_id NOT IN (SELECT CAST(pk AS TEXT) FROM scans))",
    "{0} is shared into {1}, which owns it":
        "SELECT item_id, project FROM shares JOIN (SELECT id, project AS owner FROM subjects UNION ALL "
        "SELECT id, project FROM experiments) ON id=item_id WHERE project=owner",
    "resource {0} ({2}) is of {1}, which does not exist":
        "SELECT pk, parent_id, label FROM resources WHERE NOT CASE parent_kind "
        "WHEN 'project' THEN parent_id IN (SELECT id FROM projects) "
        "WHEN 'subject' THEN parent_id IN (SELECT id FROM subjects) "
        "WHEN 'input' THEN parent_id IN (SELECT id FROM experiments WHERE session_id<>'') "
        "WHEN 'experiment' THEN parent_id IN (SELECT id FROM experiments) "
        "ELSE parent_id IN (SELECT CAST(pk AS TEXT) FROM scans) END",
    "file {0} is of resource {1}, which does not exist":
        "SELECT path, resource_pk FROM files WHERE resource_pk NOT IN (SELECT pk FROM resources)",
    "resource {0} says {1} files and {2} bytes, which is not their sum":
        "SELECT pk, file_count, file_size FROM resources r WHERE (file_count, file_size) <> (SELECT count(*), "
        "coalesce(sum(size),0) FROM files WHERE resource_pk=r.pk)",
    "{1} is {2} of project {0}, which does not exist":
        "SELECT project, login, role FROM members WHERE project NOT IN (SELECT id FROM projects)",
    "prearchive file {0} is of row {1}, which does not exist":
        "SELECT path, row_pk FROM prearchive_files WHERE row_pk NOT IN (SELECT pk FROM prearchive)",
}  # fmt: skip


def check(state: State, *, contents: bool = False) -> list[str]:
    """Sentences about what does not fit together; none when all is well.

    Walks from the catalogue to the files and back. ``contents`` reads every file and compares its MD5, except those
    that were anonymised after it was written down. To be asked of a server that is doing nothing else.
    """
    problems = [
        sentence.format(*row) for sentence, sql in _DANGLING.items() for row in state.read().execute(sql).fetchall()
    ]
    problems += _twins(state)
    if problems:
        return problems  # where things lie follows from what was just found wrong
    named: set[Path] = set()
    stale = {tuple(row) for row in state.rows("SELECT resource_pk, path FROM stale")}
    for path, row in _archive_files(state):
        named.add(path)
        problems += _compare(path, row["size"])
        fresh = contents and row["md5"] and (row["resource_pk"], row["path"]) not in stale
        if fresh and path.is_file() and file_md5(path) != row["md5"]:
            problems.append(f"{path} does not have the MD5 that the catalogue lists")
    for path, row in _prearchive_files(state):
        named.add(path)
        problems += _compare(path, row["size"])
    problems += [f"{path} is named by nothing" for path in _unnamed(state, named)]
    return problems


def _twins(state: State) -> list[str]:
    """Labels that two items have in one project, owned or shared."""
    found = []
    for kind in ("subject", "experiment"):
        rows = state.rows(
            f"SELECT project, label FROM (SELECT id, project, label FROM {kind}s UNION SELECT i.id, h.project, "
            f"coalesce(nullif(h.label,''), i.label) FROM shares h JOIN {kind}s i ON i.id=h.item_id WHERE h.kind=?) "
            "GROUP BY project, label HAVING count(*)>1",
            kind,
        )
        found += [f"two {kind}s of project {row['project']} have the label {row['label']}" for row in rows]
    return found


def _compare(path: Path, size: int) -> list[str]:
    if not path.is_file():
        return [f"{path} is not there"]
    found = path.stat().st_size
    return [] if found == size else [f"{path} has {found} bytes, not the {size} that the catalogue lists"]


def _archive_files(state: State) -> Iterator[tuple[Path, sqlite3.Row]]:
    for holder in state.rows("SELECT pk FROM resources"):
        for row in state.rows("SELECT * FROM files WHERE resource_pk=?", holder["pk"]):
            yield state.file_path(holder["pk"], row["path"]), row


def _prearchive_files(state: State) -> Iterator[tuple[Path, sqlite3.Row]]:
    for row in state.rows("SELECT * FROM prearchive"):
        scans = state.prearchive_folder(row["project"], row["timestamp"], row["folder"]) / "SCANS"
        for file in state.rows("SELECT * FROM prearchive_files WHERE row_pk=?", row["pk"]):
            yield scans / file["scan"] / file["resource"] / file["path"], file


def _unnamed(state: State, named: set[Path]) -> Iterator[Path]:
    """Files of the archive and of scans that wait, which neither the catalogue nor a kept folder accounts for."""
    kept = [str(folder) + os.sep for folder in folders.kept(state)]
    for room in ("archive", "prearchive"):
        for folder, _, names in os.walk(state.folder / room):
            parts = Path(folder).parts
            if room == "prearchive" and ("SCANS" not in parts or "catalogs" in parts):
                continue
            for name in names:
                path = Path(folder) / name
                if path not in named and not str(path).startswith(tuple(kept)):
                    yield path


# -- beginning and end ------------------------------------------------------------------------------------------


def begin(state: State) -> None:
    """Mark the state as in use; when the mark of before is still there, the server was killed: tidy up."""
    mark = state.folder / _MARK
    if mark.exists():
        repair(state, since=mark.stat().st_mtime)
    mark.touch()
    os.utime(mark)


def end(state: State) -> None:
    (state.folder / _MARK).unlink(missing_ok=True)


def repair(state: State, since: float) -> None:
    """Remove files that nothing names, and write down size and MD5 of those that were written after ``since`` anew.

    What is named and not there was being deleted, and is named no more. A prearchive session whose folder was moved
    and whose row was not is moved back.
    """
    for row in state.rows("SELECT project, timestamp, folder FROM prearchive"):
        there = state.prearchive_folder(*row)
        for other in () if there.exists() else (state.folder / "prearchive").glob(f"*/{row['timestamp']}/*"):
            if other.name == there.name:
                there.parent.mkdir(parents=True, exist_ok=True)
                os.replace(other, there)
                break
    named = {path for path, _ in _prearchive_files(state)}
    with state.write() as db:
        for path, row in list(_archive_files(state)):
            named.add(path)
            if not path.is_file():
                db.execute("DELETE FROM files WHERE resource_pk=? AND path=?", (row["resource_pk"], row["path"]))
                state.count_files(row["resource_pk"])
            elif path.stat().st_mtime >= since - 1:
                key = (row["resource_pk"], row["path"])
                md5 = file_md5(path) if row["md5"] else ""
                sql = "UPDATE files SET size=?, md5=? WHERE resource_pk=? AND path=? AND NOT (size=? AND md5=?)"
                found = (path.stat().st_size, md5)
                if db.execute(sql, (*found, *key, *found)).rowcount:
                    db.execute("DELETE FROM stale WHERE resource_pk=? AND path=?", key)
                    state.count_files(row["resource_pk"])
    for path in list(_unnamed(state, named)):
        path.unlink(missing_ok=True)
    for room in ("archive", "prearchive"):
        for folder, _, _ in os.walk(state.folder / room, topdown=False):
            if Path(folder) != state.folder / room:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
