"""Modes of files: a umask that lets everybody read, and what of a folder others may open."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def a_loose_umask() -> Iterator[None]:
    """As most systems have it."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.exists()
    }


def open_to_others(folder: Path) -> dict[str, str]:
    """What below a folder the group or anybody may read, with its mode."""
    return {name: oct(mode) for name, mode in modes(folder).items() if mode & 0o077}
