"""Where a file that somebody named is written: whole or not at all, private, and never in the place of what is no file.

Called wherever a file is put at a path that was given, and for whatever holds labels. A device or a pipe is written
to; a symbolic link stays, and what it points to is written.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

TEAM = "XNBTRANSFER_TEAM"
"""``1`` lets the group of a folder read what is written there: what holds labels is 0640 then and 0600 else."""


def file_mode() -> int:
    """The mode of a file that holds labels."""
    return 0o640 if _is_team() else 0o600


def folder_mode() -> int:
    """The mode of a folder that is made for such files."""
    return 0o750 if _is_team() else 0o700


def keep_private() -> None:
    """Let all that this process and its children write be private; for a process that is ours, as a command is."""
    os.umask(0o777 & ~folder_mode())


def _is_team() -> bool:
    return os.environ.get(TEAM, "") == "1"


def with_home(path: str | Path) -> Path:
    """The path that somebody named, with ``~`` for the home folder; as it stands where nothing tells where that is."""
    return Path(os.path.expanduser(path))


def make_folder(path: str | Path) -> Path:
    """Make a folder and those above it, where they are not there; what is there keeps its mode."""
    path = Path(path)
    for one in (*reversed(path.parents), path):
        if not one.exists():
            one.mkdir(mode=folder_mode(), exist_ok=True)
    path.mkdir(exist_ok=True)  # raises where something else is there
    return path


def make_private(folder: Path) -> None:
    """Take from all below a folder of ours, and from it, what no file with labels allows; links are left alone."""
    for above, _, names in os.walk(folder):
        os.chmod(above, os.stat(above).st_mode & folder_mode())
        for path in (os.path.join(above, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & file_mode())


def write_whole(path: str | Path, text: str, newline: str | None = None) -> Path:
    """Write a file; it appears whole or not at all, where it is a plain file or none is there yet, and is private.

    ``newline`` is as of :func:`open`.

    Raises
    ------
    OSError
        With the path that was given, if it cannot be written.
    """
    path = Path(path)
    try:
        if _is_special(path):
            with path.open("w", encoding="utf-8", newline=newline) as out:
                out.write(text)
            return path
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        part = target.with_name(target.name + ".part")
        try:
            part.unlink(missing_ok=True)
            with open(part, "w", encoding="utf-8", newline=newline, opener=private) as out:
                out.write(text)
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(path)) from None
    return path


def private(path: str, flags: int) -> int:
    """Opens a file as ``open`` does, with the mode of what holds labels whatever the umask is."""
    found = os.open(path, flags, file_mode())
    if hasattr(os, "fchmod"):
        os.fchmod(found, file_mode())
    return found


def _is_special(path: Path) -> bool:
    """Whether something is at the end of a path that is neither a plain file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
