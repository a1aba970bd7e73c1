"""The log of requests: one JSON line each in the data folder and, where the environment names a folder, there as well.

Written by ``app`` and ``faults`` for every request; read by ``RunningServer.log`` and by tests. Nothing of it is kept
in memory. Must never hold a password, a secret, a token or a cookie.
"""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from . import unread

FOLDER = "XNBTRANSFER_REQUEST_LOG"
"""Environment variable with a folder: each server adds a file of its own there, with the lines of its log."""
HIDDEN = "***"
_SECRET = {"password", "secret", "xnat_csrf"}
_TOKEN = re.compile(r"(?<=/services/tokens/)(validate|invalidate)/.*")


class RequestLog:
    """Lines of ``time, method, path, query, body, agent, user, status, unread`` and what else a writer tells."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._files = [_opened(folder / "requests.jsonl")]
        if common := os.environ.get(FOLDER):
            Path(common).mkdir(parents=True, exist_ok=True)
            self._files.append(_opened(Path(common) / f"requests-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"))

    def write(self, scope: Any, *, path: str, time: float, status: int, **more: Any) -> None:
        """Add one request: what it asked, what it was answered, and which of its names no rule read."""
        notes = unread.notes_of(scope)
        agent = next((value for name, value in scope["headers"] if name.lower() == b"user-agent"), b"")
        line = {
            "time": time,
            "method": scope["method"],
            "path": _TOKEN.sub(rf"\1/{HIDDEN}", path),
            "query": _without_secrets(scope["query_string"].decode("latin-1")),
            "body": notes.of("body"),
            "agent": agent.decode("latin-1"),
            "status": status,
            "unread": notes.left(status),
            **more,
        }
        with self._lock:
            for file in self._files:
                file.write(json.dumps(line) + "\n")


def _opened(path: Path) -> Any:
    return open(path, "a", encoding="utf-8", buffering=1)


def _without_secrets(query: str) -> str:
    """A query as it was sent, but for the values of names that hold secrets.

    >>> _without_secrets("username=a&password=b&columns=ID")
    'username=a&password=***&columns=ID'
    """
    parts = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        hidden = equals and unquote_plus(name).lower() in _SECRET
        parts.append(f"{name}={HIDDEN}" if hidden else part)
    return "&".join(parts)
