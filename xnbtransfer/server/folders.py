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
    """Remove a folder that nothing names any more; into the cache, where the site says ``backupDeletedToCache``.

    To be called after the transaction that ended its naming, and within the same ``state.alone()``: the same names may
    come to be anew, in the same folder.
    """
    if state.site("backupDeletedToCache") == "true" and folder.exists():
        target = state.folder / "cache" / folder.parent.name / f"{now('%Y%m%d_%H%M%S%f')}_{folder.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder, target)
    shutil.rmtree(folder, ignore_errors=True)


def _name(state: State, folder: Path) -> str:
    return str(folder.relative_to(state.folder))
