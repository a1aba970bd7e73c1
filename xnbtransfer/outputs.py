"""Where a file that somebody named is written: whole or not at all, private, and never in the place of what is no file.

Called wherever a file is put at a path that was given, and for whatever holds labels. A device or a pipe is written
to, and so is an open file of this process by its number (``/dev/stdout``); a symbolic link stays, and what it points to
is written.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from pathlib import Path

from .errors import DiskFullError, InputError, XnbTransferError

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


def not_written(problem: OSError, what: str, remedy: str = "Name another place.") -> XnbTransferError:
    """The error for what could not be written, which ``what`` says: no room, or a place that takes nothing."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFullError(f"{what}: {problem.strerror}.")
    return InputError(f"{what}: {problem.strerror or problem}.", remedy)


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
        if (number := _own_number(path)) is not None:
            _write_to(number, text, newline)
            return path
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


def _own_number(path: Path) -> int | None:
    """The number of the open file of this process that a path names, as ``/dev/stdout`` and ``/dev/fd/3`` do.

    What is open may be a plain file that a shell appends to: opened anew by its name it would be emptied, or replaced.
    """
    for _ in range(40):  # as many links as Linux follows (path_resolution(7))
        folder = os.path.realpath(path.parent)
        number = re.fullmatch(r"/dev/fd/(\d+)|/proc/(?:self|\d+)(?:/task/\d+)?/fd/(\d+)", f"{folder}/{path.name}")
        if number and folder in ("/dev/fd", *map(os.path.realpath, ("/proc/self/fd", "/proc/thread-self/fd"))):
            return int(number[1] or number[2])
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _write_to(number: int, text: str, newline: str | None) -> None:
    """Write to an open file where it stands, after what waits for it."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    with open(os.dup(number), "w", encoding="utf-8", newline=newline) as out:
        out.write(text)


def _is_special(path: Path) -> bool:
    """Whether something is at the end of a path that is neither a plain file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
