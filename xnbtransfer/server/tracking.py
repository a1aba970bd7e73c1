"""How far a long request is: ``/data/status/KEY`` for its log-in, ``/xapi/event_tracking/KEY`` for its user.

Kept in memory, as the log-ins are. XNAT source: ``Importer``; REST test TestImport.testUserCacheUploadAndImport.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import Refusal, as_json, text


@dataclass
class Progress:
    """What was said about one request, and how it ended: ``succeeded`` is None until then."""

    key: str
    user: str
    session: str
    messages: list[dict[str, str]] = field(default_factory=list)
    succeeded: bool | None = None
    final: str = ""

    def say(self, message: str, status: str = "PROCESSING") -> None:
        self.messages.append({"status": status, "msg": message})

    def end(self, message: str, succeeded: bool = True) -> None:
        """Say the last word: ``Archive:<address>``, ``Prearchive:<address>``, or what went wrong."""
        self.messages.append({"status": "COMPLETED" if succeeded else "FAILED", "msg": message, "terminal": "true"})
        self.succeeded, self.final = succeeded, message


class Tracking:
    """All requests that gave a key as ``http-session-listener``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Progress] = {}

    def begin(self, request: Request, key: str) -> Progress:
        session = request.state.session
        found = Progress(key, request.state.user, session.id if session else "")
        with self._lock:
            self._known[key] = found
            while len(self._known) > 1000:
                self._known.pop(next(iter(self._known)))
        return found

    def get(self, key: str) -> Progress | None:
        with self._lock:
            return self._known.get(key)


def address(uri: str) -> str:
    """The last word about data that is now at ``uri``.

    >>> address("/data/archive/projects/P/subjects/S/experiments/E")
    'Archive:/archive/projects/P/subjects/S/experiments/E'
    """
    path = uri.removeprefix("/data")
    return f"{'Archive' if path.startswith('/archive') else 'Prearchive'}:{path}"


def status(request: Request) -> Response:
    """GET /data/status/KEY: the messages so far; none to another log-in."""
    found = request.app.state.tracking.get(request.path_params["key"])
    session = request.state.session
    own = found is not None and session is not None and found.session == session.id
    return as_json({"msgs": [list(found.messages) if own else []]})


def event(request: Request) -> Response:
    """GET /xapi/event_tracking/KEY and .../payload."""
    found = request.app.state.tracking.get(request.path_params["key"])
    if found is None or found.user != request.state.user:
        raise Refusal(404, f"No event tracking with ID {request.path_params['key']}")
    payload = json.dumps({"entryList": list(found.messages)})
    if request.scope["path"].endswith("/payload"):
        return text(payload)
    shown = {"key": found.key, "payload": payload, "succeeded": found.succeeded, "finalMessage": found.final or None}
    return as_json(shown)


routes = [
    Route("/data/status/{key}", status),
    Route("/xapi/event_tracking/{key}", event),
    Route("/xapi/event_tracking/{key}/payload", event),
]
