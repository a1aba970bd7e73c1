"""What the status, the age and the conflicts of a waiting session mean, in words, and the way out. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Sequence
from typing import NamedTuple

from .errors import InputError

RECEIVING = ("RECEIVING", "RECEIVING_INTERRUPT")
UNLISTED = "the server does not list"  # how a log begins that says why nothing is known of a row
IDLE = ("READY", "CONFLICT", "ERROR", *RECEIVING)
_STILL_ARRIVING_MINUTES = 15  # XNAT builds a row five minutes after its last file and looks once a minute
_STUCK_MINUTES = 60

# What validate-archive says (XNAT source: PrearcSessionArchiver, PrearcSessionValidator): conflict, and the way out.
CODES = {
    "1": (
        "the archive has a session of this label",
        "archive it under another label, or merge if it is the same study",
    ),
    "2": ("archiving would change a label", "archive it under another label"),
    "3": ("the label belongs to another project", "move it to that project, or archive it under another label"),
    "4": ("the label belongs to a session of another subject", "archive it under another label"),
    "5": ("the label belongs to another study", "archive it under another label"),
    "6": ("it has no project", "move it to a project"),
    "7": ("its processing failed", "rebuild it; if that does not help, report it to the administrator"),
    "8": ("it has no label", "archive it under a label of your choice"),
    "9": ("the server could not make an accession for it", "report it to the administrator"),
    "10": ("a workflow of the archived session is open", "wait until it ends; if it never does, report it"),
    "11": ("its subject cannot be told", "archive it under a subject of your choice"),
    "13": ("its session document is not valid", "rebuild it; if that does not help, report it to the administrator"),
    "14": ("files of it are in the archive already", "delete it here if it is the same data, or replace on purpose"),
    "15": ("merging it failed", "report it to the administrator"),
    "16": ("a scan of it is in the archive already", "delete it here if it is the same data, or replace on purpose"),
    "17": ("a scan number is taken by another series", "look at both; archived, the new scan gets another number"),
    "18": ("a series of it is in the archive under another scan number", "look at both before anything else"),
    "19": ("the archived session has another modality", "archive it under another label"),
    "22": ("the project's series filter refuses a series of it", "ask an owner of the project about the filter"),
}


class Told(NamedTuple):
    """What kind of waiting this is, what is in the way, and the way out."""

    kind: str
    conflict: str
    way_out: str


def tell_apart(
    status: str,
    idle_minutes: int | None,
    *,
    left_alone: bool = False,
    codes: Sequence[str] = (),
    log: str = "",
) -> Told:
    """Tell a session that waits from one that is stuck.

    Parameters
    ----------
    status : str
        As XNAT lists it.
    idle_minutes : int or None
        Minutes since its last change; None where nobody can tell.
    left_alone : bool
        Whether XNAT's background job passes it over (``prevent_auto_commit``, or sent by an uploader).
    codes : sequence of str
        CONFLICT and FAIL codes of validate-archive.
    log : str
        The last entry of its log.

    Returns
    -------
    Told
        ``kind`` is ready, conflict, locked, receiving, left by its sender, working, error, stuck or unreadable.
    """
    old = idle_minutes or 0
    status = status.upper()
    if log.startswith(UNLISTED):
        return Told("unreadable", log, "try again; if it stays so, delete it or report it to the administrator")
    if status in RECEIVING:
        if old < _STILL_ARRIVING_MINUTES:
            return Told("receiving", "", "wait: files may still arrive")
        if left_alone:
            return Told("left by its sender", "its upload was not ended, and XNAT leaves it alone", "rebuild it")
        return Told(
            "stuck",
            f"it has been receiving for {old} minutes without a file",
            "rebuild it; if it stays so, report it to the administrator",
        )
    if status == "READY" or (status == "CONFLICT" and codes):
        words = [CODES.get(code, (f"the server names code {code}", "ask the administrator")) for code in codes]
        if not words:
            return Told("ready", "", "archive it")
        kind = "locked" if "10" in codes else "conflict"
        outs = list(dict.fromkeys(way for _, way in words))
        return Told(kind, "; ".join(dict.fromkeys(what for what, _ in words)), "; ".join(outs))
    if status == "CONFLICT":
        return Told("conflict", log or "the server does not say which", "look at both sessions; archive it elsewhere")
    if status == "ERROR":
        return Told("error", log or "the server does not say why", "rebuild it; if that does not help, report it")
    if old >= _STUCK_MINUTES:
        return Told("stuck", f"it has been {status} for {old} minutes", "report it to the administrator")
    return Told("working", "", f"wait: the server is at it ({status})")


def is_busy(status: str) -> bool:
    """Whether XNAT itself is at a row, or has locked it: such a status begins with an underscore, or is of a queue."""
    return status.upper() not in IDLE


class Since(NamedTuple):
    """How long a row has been as it is, in words, and whether that is too long to wait for."""

    words: str
    stuck: bool


def busy_since(changed: str, now: datetime.datetime | None = None) -> Since:
    """How long XNAT has been at a row, by the time of its last change, which names no time zone.

    Read as UTC and as the time of this machine; the shorter of both counts, so that nothing is called stuck too early.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    ages = [idle_minutes(changed, now), idle_minutes(changed, now, "UTC")]
    known = [age for age in ages if age is not None]
    if not known:
        return Since("for a time that it does not tell", False)
    return Since(f"for {min(known)} minutes (since {changed})", min(known) >= _STUCK_MINUTES)


def idle_minutes(changed: str, now: datetime.datetime, timezone: str = "") -> int | None:
    """Minutes between a time as XNAT lists it, which names no time zone, and ``now``; None where that cannot be.

    ``timezone`` is that of the server ("Europe/Berlin"); without it that of this machine is taken.
    """
    try:
        then = datetime.datetime.fromisoformat(changed.strip())
    except ValueError:
        return None
    then = then.astimezone() if not timezone else then.replace(tzinfo=zone(timezone))
    minutes = (now - then).total_seconds() / 60
    return None if minutes < -1 else max(0, int(minutes))


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"There is no time zone {name!r}.", "Write it as Europe/Berlin or UTC.") from None
