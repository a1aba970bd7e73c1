"""The private folder of this user for what outlives a run but belongs to no record. Only ``claims.py`` calls it.

A name in a folder that all users of a machine share is never trusted because it is the one we would have made: what was
there before, made by whomever, is looked at after it was asked for. Nothing in here is ever removed by this module.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

_NAME = "xnbtransfer"


def state_folder() -> Path:
    """A folder that is this user's own and that nobody else can look into; made where it is missing.

    ``$XDG_STATE_HOME/xnbtransfer``, else ``~/.local/state/xnbtransfer`` (XDG Base Directory Specification), else one in
    ``$XDG_RUNTIME_DIR``, else one in the temporary folder with the number of the user in its name. The first that can
    be made, is a folder and no link, belongs to this user and is closed to others is taken. No entry in the machine's
    list of users is needed.

    Raises
    ------
    InputError
        None of them is such a folder.
    """
    problems = []
    for folder in _places():
        problem = _made_private(folder)
        if not problem:
            return folder
        problems.append(f"{folder} {problem}")
    raise InputError(
        f"There is no private folder for the state of runs: {'; '.join(problems)}.",
        "Let XDG_STATE_HOME name a folder that belongs to you.",
    )


def _places() -> Iterator[Path]:
    home = os.path.expanduser("~")  # stays "~" where neither HOME nor the list of users tells
    for base in (os.environ.get("XDG_STATE_HOME", ""), os.path.join(home, ".local", "state")):
        if os.path.isabs(base):
            yield Path(base) / _NAME
    if os.path.isabs(base := os.environ.get("XDG_RUNTIME_DIR", "")):
        yield Path(base) / _NAME
    yield Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid() if hasattr(os, 'getuid') else 'state'}"


def _made_private(folder: Path) -> str:
    """Make the folder; why it cannot be used, "" where it can."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode):
            return "is no folder"
        if not hasattr(os, "getuid"):
            return ""
        if found.st_uid != os.getuid():
            return "belongs to somebody else"
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(folder, 0o700)
    except OSError as problem:
        return f"cannot be made ({problem.strerror})"
    return "" if os.access(folder, os.W_OK | os.X_OK) else "cannot be written to"
