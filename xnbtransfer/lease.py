"""A lease at the destination: no two runs write to one session, whoever runs them, from wherever.

A run that is about to write puts one small file into a resource of its own of the destination project, reads what other
runs have put there, and goes on with what none of them has. It renews its lease while it lives and takes it away at its
end, so that a run that was cut off holds nothing for longer than ``VALID_S``. Four requests a run, none a session.

Why it holds: a lease is put before the others are read, so of two runs that want one session the one that put its lease
later reads the other's; who reads another's gives the session up. No order of requests lets both go on, and nothing of
a server is needed but that it lists what it has stored. Each lease is a resource of its own, so no two writers have one
catalogue. Times are those of the server's clock, since those of two machines differ.

Speaks to a server through a Connection; knows no plan. It must never take silence for leave: a lease that cannot be
read is in force, and a server that cannot be asked ends the run. Only a server that says, or shows, that it keeps no
lease for this user is done without, and that is told.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from ._http import steady_s
from .errors import HeldError, NotFoundError, ServerError, TransientError, XnbTransferError
from .forms import project_path
from .once import send_and_look
from .plan_file import LEASE
from .xnat import Connection

VALID_S = 900.0  # a lease that was not renewed for so long has run out
RENEW_S = 240.0
MARGIN_S = 60.0  # how far clocks may be apart: who holds a lease trusts it for less, who meets one heeds it for longer
UNREADABLE_S = 86_400.0  # a lease that does not tell when it was renewed is in force for so long
TRIES = 4
FILE = "lease.json"

_LABEL = re.compile(LEASE + r"(\d{8}T\d{6})_[0-9a-f]{16}").fullmatch
_LOOKS = 3  # a file that is being written over may be missing for a moment
_PAUSE_S = 0.5
_LONGEST_VALID_S = 7200.0
_JOIN_S = 60.0  # a renewal that hangs is not waited for

Name = tuple[str, ...]  # ("session", label), ("subject", label), ("project",): labels as they are at the destination


def is_lease(resource: str) -> bool:
    """Whether a resource of a project is a lease, and so nobody's data.

    >>> is_lease("xnbtransfer_lease_20240102T030405_0123456789abcdef"), is_lease("NOTES")
    (True, False)
    """
    return _LABEL(resource) is not None


@dataclass(frozen=True)
class Met:
    """A lease of another run. Times in seconds since 1970 by the server's clock; ``names`` None: it does not tell."""

    label: str
    user: str
    since: float
    until: float
    names: frozenset[str] | None

    def __str__(self) -> str:
        who = f"A run of {self.user}" if self.user else "A run that does not say whose it is"
        return f"{who} has had it since {_utc(self.since)} (the server's clock)"


@dataclass
class Lease:
    """What one run holds at one project. Thread-safe; ``hold`` before a write, ``release`` at the end.

    Parameters
    ----------
    connection : Connection
        The login at the server of the project.
    names : iterable of tuple
        All that the run may write to: ``("session", LABEL)``, ``("subject", LABEL)``, ``("project",)``.
    kind : {"project", "none"}
        The parameter ``lease``: without one every ``hold`` is granted.
    keep : callable
        Is given the label of the lease before it is put, and "" once it is taken away, for the journal.
    label : str
        That of an earlier run over the same journal, which is dead then: this run has its lease.
    tell : callable
        Is told sentences that a person should read.

    Attributes
    ----------
    taken : float
        A ``time.monotonic()`` at which the lease stood; 0 before it was asked for.
    messages : list of str
        What the end of the run has to say of it.
    """

    connection: Connection
    project: str
    names: Iterable[Name]
    kind: str = "project"
    reason: str = ""
    keep: Callable[[str], None] = lambda label: None
    label: str = ""
    tell: Callable[[str], None] = lambda text: None
    messages: list[str] = field(default_factory=list)
    taken: float = 0.0

    def __post_init__(self) -> None:
        self._path = project_path(self.project)
        self._wanted = {digest(name) for name in self.names}
        self._lost: dict[str, str] = {}  # what another run has, and the sentence of it
        self._gone: dict[str, str] = {}  # what this run had begun when its lease ran out
        self._granted: set[str] = set()
        self._local = self.kind != "project"  # no lease is asked for, or the server keeps none
        self._there, self._since = False, 0.0  # whether it may be at the server; when it was made
        self._text = b""
        self._begun = self._renewed = 0.0  # steady_s() before it was put last, and before what was read back
        self._guard, self._over = threading.RLock(), threading.Event()
        self._beat: threading.Thread | None = None

    def hold(self, *name: str) -> None:
        """Have this item for this run, or say who has it. Asks the server the first time, and after a long silence.

        What was begun is given up where the lease has run out since, as a machine sleeps or a server is out of reach:
        another run may have taken it over, and be gone again.

        Raises
        ------
        HeldError
            Another run has it, or may have had it since this one began with it.
        TransientError
            The server cannot be asked now.
        """
        one = digest(name)
        with self._guard:
            if not self._local and not self._is_fresh():
                because = f"The lease of this run at {self.project} had run out, and another may have taken it over."
                self._gone |= dict.fromkeys(self._granted, because)
                self._wanted -= self._granted
                self._take()
                if not self._local and not self._is_fresh():
                    raise TransientError(f"{self.connection.server} is too slow for a lease at {self.project}.")
            if because := self._gone.get(one) or self._lost.get(one):
                raise HeldError(because)
            self._granted.add(one)

    def release(self) -> None:
        """Take the lease away. Where that fails it is told, and the lease runs out."""
        self._over.set()
        if self._beat is not None:
            self._beat.join(_JOIN_S)
            if self._beat.is_alive():
                self.messages.append(f"The lease {self.label} was left at {self.project}; it runs out by itself.")
                return
        with self._guard:
            if self._there and self._remove():
                with contextlib.suppress(XnbTransferError):
                    self.keep("")
            self._local = True

    def _is_fresh(self) -> bool:
        return bool(self.taken) and steady_s() - self._renewed <= VALID_S - MARGIN_S

    # -- taking -------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Put a lease for all, read those of others, and give up what another run has."""
        try:
            self._lost = self._put_and_look()
        except TransientError:
            raise
        except XnbTransferError as problem:
            if self.taken or (self._there and steady_s() - self._begun > MARGIN_S):
                # it was kept before, or may have been taken over before it was looked for: no sign of a missing right
                raise TransientError(f"The lease at {self.project} could not be put: {problem.message}") from None
            self._do_without(problem)
            self._lost = self._contested_by_others()
        self.taken = time.monotonic()
        if self._there and self._beat is None:
            self._beat = threading.Thread(target=self._keep_alive, name="xnbtransfer-lease", daemon=True)
            self._beat.start()

    def _put_and_look(self) -> dict[str, str]:
        """Put the lease, then read those of others; what they have, with a sentence each.

        Where all of those began later, they give way as this one does, and it is put once more.
        """
        attempts = itertools.count(1)

        def look(problem: XnbTransferError | None) -> dict[str, str] | None:
            if not self._shows():
                if problem is None:
                    raise ServerError("The server answered that it was stored, and does not show it.")
                return None
            contested = self._others()
            if contested:
                mine = self._wanted - set(contested)
                if mine:
                    self._write(mine)
                else:
                    self._remove()
                later = all((other.since, other.label) > (self._since, self.label) for other in contested.values())
                if later and next(attempts) < TRIES:
                    return None
            return {one: self._held_by(other) for one, other in contested.items()}

        put = partial(self._put, self._wanted)
        return send_and_look(put, look, f"The lease at {self.project}", tries=TRIES, doubts=True)

    def _contested_by_others(self) -> dict[str, str]:
        """What others have, for a user who may hold no lease; nothing where that user may not see them either."""
        try:
            return {one: self._held_by(other) for one, other in self._others().items()}
        except TransientError:
            raise
        except XnbTransferError:
            return {}

    def _overlap(self, other: Met) -> set[str]:
        return self._wanted if other.names is None else self._wanted & other.names

    def _held_by(self, other: Met) -> str:
        if other.names is None:
            return (
                f"{other}, and it is left to that run. Its lease, the resource {other.label} of {self.project}, does "
                "not tell for what it is; the project's owner may delete it once no run is going."
            )
        return (
            f"{other}, and it is left to that run. If that run was cut off, its lease runs out at {_utc(other.until)}."
        )

    def _put(self, names: set[str]) -> None:
        """Put the lease for these, once."""
        now = self.connection.server_time()
        if now is None:
            raise ServerError(f"{self.connection.server} tells no time.")
        if not self.label:
            made = datetime.datetime.fromtimestamp(now, datetime.UTC)
            self.label = f"{LEASE}{made:%Y%m%dT%H%M%S}_{secrets.token_hex(8)}"
            self.keep(self.label)
        self._since = _made(self.label)
        about = {"xnbtransfer_lease": 1, "user": self.connection.user, "since": _utc(self._since)}
        text = json.dumps({**about, "renewed": _utc(now), "valid_s": VALID_S, "for": sorted(names)}).encode()
        self._text, self._there, self._begun = text, True, steady_s()
        size = {"size_bytes": len(text), "body": iter([text])}
        self.connection.put_file(self._path, self.label, FILE, overwrite=True, reason=self.reason, **size)

    def _shows(self) -> bool:
        """Whether the server shows the lease as it was put; what was put is good from before it was sent."""
        if not self._there or self._content(self.label) != self._text:
            return False
        self._renewed = self._begun
        return True

    def _write(self, names: set[str]) -> None:
        """Put the lease again and read it back."""
        send_and_look(partial(self._put, names), lambda _: self._shows() or None, f"The lease at {self.project}")

    def _do_without(self, problem: XnbTransferError) -> None:
        if getattr(problem, "status", 0) >= 500:  # it may have been stored all the same
            self._remove(quietly=True)
        self._there, self._local = False, True
        said = (
            f"No lease could be had at {self.project}, so this run is kept apart from others of this user on this "
            f"machine only (local lock only). {problem.message} See to it that nobody else sends the same sessions "
            "meanwhile; an owner of the project can keep a lease."
        )
        self.messages.append(said)
        self.tell(said)

    # -- the others ---------------------------------------------------------------------------------------------

    def _others(self) -> dict[str, Met]:
        """What of ours is in the leases of other runs that are in force; those that ran out are taken away."""
        found: dict[str, Met] = {}
        for label in self.connection.resource_labels(self._path):
            other = self._read(label) if is_lease(label) and label != self.label else None
            if other is None:
                continue
            if (self.connection.server_time() or 0.0) <= other.until + MARGIN_S:
                found |= dict.fromkeys(self._overlap(other), other)
            elif not self._local:
                self._over_with(other)
        return found

    def _read(self, label: str) -> Met | None:
        """A lease as it is now; None where it was taken away meanwhile."""
        content = self._content(label)
        if content is None:
            with contextlib.suppress(NotFoundError):
                if label not in self.connection.resource_labels(self._path):
                    return None
        return _met(label, content or b"", self.connection.server_time() or 0.0)

    def _content(self, label: str) -> bytes | None:
        """The file of a lease; None where there is none, b"" where it may not be read."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_PAUSE_S)
            try:
                return self.connection.small_file(self._path, label, FILE)
            except NotFoundError:
                if look == 0 and label not in self.connection.resource_labels(self._path):
                    return None
            except TransientError:
                raise
            except XnbTransferError:
                return b""
        return None

    def _over_with(self, other: Met) -> None:
        """Take away a lease that ran out: that of a run which was cut off."""
        with contextlib.suppress(XnbTransferError):
            self.connection.delete_resource(self._path, other.label, self.reason)
        whose = f"a run of {other.user}" if other.user else "a run that did not say whose it is"
        said = (
            f"At {self.project} the lease of {whose}, since {_utc(other.since)}, had run out at {_utc(other.until)}: "
            "that run was cut off, and its lease was taken over."
        )
        self.messages.append(said)
        self.tell(said)

    # -- while it lives -----------------------------------------------------------------------------------------

    def _keep_alive(self) -> None:
        while not self._over.wait(RENEW_S):
            with contextlib.suppress(XnbTransferError):
                self.renew()

    def renew(self) -> None:
        """Put the lease again, where it has not run out; one that has is asked for anew by ``hold``."""
        with self._guard:
            if self._there and not self._over.is_set() and self._is_fresh():
                self._write(self._wanted - set(self._lost))

    def _remove(self, quietly: bool = False) -> bool:
        """Delete the lease, where it may be there; whether it is gone. That it could not be is told."""
        if not self._there:
            return True
        self._there = False

        def look(problem: XnbTransferError | None) -> bool | None:
            if problem is None or self.label not in self.connection.resource_labels(self._path):
                return True
            return None

        delete = partial(self.connection.delete_resource, self._path, self.label, self.reason)
        try:
            return send_and_look(delete, look, f"The lease at {self.project}")
        except XnbTransferError as problem:
            if not quietly:
                self.messages.append(
                    f"The lease {self.label} could not be taken away from {self.project}; it runs out by itself. "
                    f"{problem.message}"
                )
            return False


def digest(name: Name) -> str:
    """What stands in a lease for an item, so that it names nobody; labels that differ in case alone are one."""
    return hashlib.sha256("\x1f".join(name).casefold().encode()).hexdigest()[:16]


def _met(label: str, content: bytes, now: float) -> Met:
    """A lease from its file. One that cannot be read, or tells of times to come, is in force for ``UNREADABLE_S``."""
    made = _made(label)
    try:
        told = json.loads(content)
        renewed = datetime.datetime.fromisoformat(told["renewed"]).timestamp()
        valid_s = min(float(told["valid_s"]), _LONGEST_VALID_S)
        names = frozenset(told["for"])
        if all(isinstance(one, str) for one in names) and renewed <= now + MARGIN_S and valid_s >= 0:
            return Met(label, str(told["user"])[:100], made, renewed + valid_s, names)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        pass
    return Met(label, "", made, made + UNREADABLE_S, None)


def _made(label: str) -> float:
    """When a lease was made, by the server's clock, as its label tells it; seconds since 1970."""
    at = datetime.datetime.strptime(_LABEL(label)[1], "%Y%m%dT%H%M%S")
    return at.replace(tzinfo=datetime.UTC).timestamp()


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
