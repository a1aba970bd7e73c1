"""Two runs of one machine never send to one session: each takes a lock on it first.

Runs on other machines are kept apart by what the server says right before the first scan, and by the comparison: files
that the plan does not name keep a session out of the archive.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import RefusedError

_OLD_S = 86_400.0


def claim(server: str, project: str, label: str) -> FileLock:
    """Take the session ``label`` of a destination for this run; release it when it is done.

    Raises
    ------
    RefusedError
        If another run on this machine has it.
    """
    folder = _folder()
    name = hashlib.sha256("\x1f".join((server.rstrip("/"), project, label)).encode()).hexdigest()[:32]
    lock = FileLock(folder / name, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RefusedError(
            f"Another run on this machine is sending the session {label} of {project}.",
            "Wait for it to end, then run again.",
        ) from None
    return lock


def clear_claims() -> None:
    """Take away the locks of yesterday that nobody holds."""
    for path in _folder().iterdir():
        with contextlib.suppress(OSError, Timeout):
            if time.time() - path.stat().st_mtime > _OLD_S:
                with FileLock(path, timeout=0):
                    path.unlink()


def _folder() -> Path:
    who = hashlib.sha256(getpass.getuser().encode()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"xnbtransfer-{who}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
