"""Two runs of one user on one machine never send to one session: each takes a lock on it first.

This asks no server, so it is the fast path, and all there is where a server grants no lease. Runs of other users, of
other machines and of other state folders are kept apart by ``lease.py``, at the destination.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import HeldError
from .state_folder import state_folder

_OLD_S = 86_400.0
_OURS = re.compile("[0-9a-f]{32}").fullmatch


def claim(server: str, project: str, label: str) -> FileLock:
    """Take the session ``label`` of a destination for this run; release it when it is done.

    Raises
    ------
    HeldError
        If another run on this machine has it.
    """
    folder = _folder()
    name = hashlib.sha256("\x1f".join((server.rstrip("/"), project, label)).encode()).hexdigest()[:32]
    lock = FileLock(folder / name, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HeldError(f"Another run of yours is sending the session {label} of {project}.") from None
    return lock


def clear_claims() -> None:
    """Take away the locks of yesterday that nobody holds, and nothing that is not named as one of ours."""
    for path in _folder().iterdir():
        with contextlib.suppress(OSError, Timeout):
            if _OURS(path.name) and time.time() - path.lstat().st_mtime > _OLD_S:
                with FileLock(path, timeout=0):
                    path.unlink()


def _folder() -> Path:
    folder = state_folder() / "claims"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
