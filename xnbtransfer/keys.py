"""Names of things: labels, always text, compared exactly."""

from __future__ import annotations

from typing import NamedTuple


class SessionKey(NamedTuple):
    """A session by its labels, within one project."""

    subject: str
    session: str

    def __str__(self) -> str:
        return f"{self.subject}/{self.session}"


class ScanKey(NamedTuple):
    """A scan of a session; ``scan`` is XNAT's scan id (``1``, ``1-MR1``), as text."""

    subject: str
    session: str
    scan: str

    def __str__(self) -> str:
        return f"{self.subject}/{self.session}/{self.scan}"


class FileKey(NamedTuple):
    """A file of a scan resource; ``path`` is relative to the resource."""

    subject: str
    session: str
    scan: str
    resource: str
    path: str
