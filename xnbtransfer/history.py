"""What a journal says of each session: begun, sent, proved, withdrawn. Read-only; the server decides if it still is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .keys import SessionKey
from .values import Verdict


@dataclass
class SessionHistory:
    """One session as the journal tells it; ``sent`` maps (scan, resource) to the file records of the last sending."""

    begun: bool = False
    uri: str = ""
    sent: dict[tuple[str, str], list[dict]] = field(default_factory=dict)
    sending: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # paths that went byte for byte
    archiving: bool = False
    accession: str = ""  # of the session at the destination, as archiving or creation returned it
    state: str = ""  # "in prearchive" or "archived" once compared there
    rows: list[dict] | None = None
    extra: list[dict] = field(default_factory=list)
    failed: str = ""
    stopped_at: tuple[str, str] | None = None  # scan and resource that a review stopped it at

    @property
    def damaged(self) -> set[tuple[str, str]]:
        """Scan resources with a file that was sent and is not right at the destination."""
        left_out = {
            (scan, resource, record["path"])
            for (scan, resource), records in self.sent.items()
            for record in records
            if record["problem"]
        }
        return {
            (row["scan"], row["resource"])
            for row in self.rows or ()
            if row["verdict"] == Verdict.DIFFERENT and (row["scan"], row["resource"], row["path"]) not in left_out
        }


def read_history(entries: Iterable[dict]) -> dict[SessionKey, SessionHistory]:
    """Fold the entries of a journal into one history per session."""
    found: dict[SessionKey, SessionHistory] = {}
    for entry in entries:
        if "session" not in entry:
            continue
        one = found.setdefault(SessionKey(entry["subject"], entry["session"]), SessionHistory())
        kind = entry["kind"]
        if kind == "begun":
            one.begun = True
        elif kind == "sent":
            one.uri = entry["uri"]
            one.sent[(entry["scan"], entry["resource"])] = entry["files"]
            one.failed = ""
        elif kind == "sending" and "paths" in entry:
            one.sending.setdefault((entry["scan"], entry["resource"]), set()).update(entry["paths"])
        elif kind == "archiving":
            one.archiving = True
        elif kind == "archived":
            one.accession = entry["accession"]
        elif kind == "proved":
            one.state, one.rows, one.extra, one.failed = entry["state"], entry["rows"], entry["extra"], ""
        elif kind == "withdrawn":
            one.begun, one.uri, one.sent, one.stopped_at = False, "", {}, (entry["scan"], entry["resource"])
            one.archiving, one.rows, one.state = False, None, ""
        elif kind == "failed":
            one.failed = entry["because"]
    return found
