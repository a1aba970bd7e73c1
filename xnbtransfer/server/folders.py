"""Folders of items in the archive: copied when an item moves, removed when it goes, kept where XNAT keeps them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .state import State, now


def copy(state: State, source: Path, target: Path) -> bool:
    """Give every file below ``source`` a second name below ``target``, which is emptied first; False without files."""
    shutil.rmtree(target, ignore_errors=True)
    with state.write() as db:
        db.execute("DELETE FROM kept WHERE path=?", (_name(state, target),))
    found = False
    for folder, _, names in os.walk(source):
        there = target / Path(folder).relative_to(source)
        for name in names:
            there.mkdir(parents=True, exist_ok=True)
            link(Path(folder) / name, there / name)
            found = True
    return found


def link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where links are impossible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def keep(state: State, folder: Path) -> None:
    """Note that the files of a folder stay although nothing names them any more."""
    if folder.exists():
        with state.write() as db:
            db.execute("INSERT OR IGNORE INTO kept VALUES(?)", (_name(state, folder),))


def kept(state: State) -> list[Path]:
    return [state.folder / row["path"] for row in state.rows("SELECT path FROM kept")]


def remove(state: State, folder: Path) -> None:
    """Remove a folder of what was forgotten; into the cache, where the site says ``backupDeletedToCache``.

    What has come to lie there since, because somebody made the same anew or moved it back, stays.
    """
    with state.write():  # nobody puts anything here meanwhile
        named = _named(state, folder)
        if named:
            for path in [path for path in folder.rglob("*") if path.is_file() and path not in named]:
                path.unlink()
            return
        if state.site("backupDeletedToCache") == "true" and folder.exists():
            target = state.folder / "cache" / folder.parent.name / f"{now('%Y%m%d_%H%M%S%f')}_{folder.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, target)
        shutil.rmtree(folder, ignore_errors=True)


def _named(state: State, folder: Path) -> set[Path]:
    """The files of the item to which a folder belongs, as the catalogue names them now."""
    project, *rest = folder.relative_to(state.folder / "archive").parts
    if not rest:
        return set()
    if rest[0] == "resources":
        where, values = "parent_kind='project' AND parent_id=?", [project]
    elif rest[0] == "subjects":
        where = "parent_kind='subject' AND parent_id IN (SELECT id FROM subjects WHERE id=? AND project=?)"
        values = [rest[1], project]
    else:
        where = (
            "(parent_kind='experiment' AND parent_id IN (SELECT id FROM experiments WHERE id=? AND project=?)) OR "
            "(parent_kind='scan' AND parent_id IN (SELECT CAST(s.pk AS TEXT) FROM scans s JOIN experiments e ON "
            "e.id=s.experiment_id WHERE e.id=? AND e.project=?))"
        )
        values = [rest[0], project] * 2
    return {
        state.file_path(holder["pk"], file["path"])
        for holder in state.rows(f"SELECT pk FROM resources WHERE {where}", *values)
        for file in state.rows("SELECT path FROM files WHERE resource_pk=?", holder["pk"])
    }


def _name(state: State, folder: Path) -> str:
    return str(folder.relative_to(state.folder))
