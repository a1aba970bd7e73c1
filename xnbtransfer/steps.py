"""Carry out a plan of changes, one item after another: look again, keep what was there, act, look, prove.

No change is sent before the state of the server was read, and none is believed before it was read again: whatever the
answer was, and whether there was one, the state decides.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .changes import Change, ChangePlan, Step, names_of, touched_by
from .control import Control
from .errors import (
    DiskFullError,
    HeldError,
    InputError,
    JournalError,
    NotFoundError,
    RefusedError,
    XnbTransferError,
)
from .fresh import refuse_other_settings
from .journal import JOURNAL, Journal, read_journal
from .lease import Lease
from .once import is_open, pause, send_and_look
from .values import Event, Result, Verdict, manifest_row
from .verify import outcome, result_of
from .xnat import Connection

_TRIES = 4
_BROKEN_IN_A_ROW = 5

_NOTHING = {"verdict": str(Verdict.NOT_PROVED), "because": "it was not done, so nothing was compared"}

Listener = Callable[[Event], None]


class Carrier:
    """How one kind of change is looked at, carried out and proved. Each method reads the server as it is now."""

    always_fresh = False  # whether what was kept before an act is taken anew by every run that still has to act

    def look(self, change: Change) -> None:
        """Refuse, by a RefusedError, an item that is no longer what the plan saw."""

    def before(self, change: Change) -> dict:
        """What is kept of an item before the first act; with ``kept`` (a sentence) in it nothing is done."""
        return {}

    def holds(self, change: Change, step: Step, before: dict) -> bool:
        """Whether the state of the server is the one that the step leads to."""
        raise KeyError(step.verb)

    def act(self, change: Change, step: Step, before: dict) -> None:
        """Send the one request of a step."""
        raise KeyError(step.verb)

    def busy(self, change: Change, step: Step, lost: XnbTransferError | None, since_s: float) -> bool:
        """Whether the server may still be at it, ``since_s`` seconds after the request; ``lost`` is what came back."""
        return False

    def repeatable(self, step: Step, lost: XnbTransferError) -> bool:
        """Whether a step that did not happen may be sent again in this run."""
        return is_open(lost)

    def may_repeat(self, change: Change, step: Step, before: dict, lost: XnbTransferError) -> None:
        """Raise, with the server's words, where sending a step again would do harm."""

    def prove(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        """State, rows of MANIFEST_COLUMNS and rows of FILE_COLUMNS that nothing accounts for, after the last step."""
        return change.action, [], []

    def still(self, change: Change, before: dict) -> bool:
        """Whether what an earlier run did holds today."""
        return all(self.holds(change, step, before) for step in change.steps[-1:])


@dataclass
class _Past:
    """What the journal says of one item."""

    before: dict | None = None
    doing: bool = False
    done: int = 0
    state: str = ""
    rows: list[dict] = field(default_factory=list)
    extra: list[dict] = field(default_factory=list)
    because: str = ""


def carry_out(
    plan: ChangePlan,
    carrier: Carrier,
    connections: Sequence[Connection],
    *,
    folder: str | Path,
    confirm: str = "",
    on_event: Listener | None = None,
    control: Control | None = None,
) -> Result:
    """Carry out a plan of changes exactly as written.

    Parameters
    ----------
    connections : sequence of Connection
        Those that ``carrier`` uses; their requests are counted.
    folder : path
        Holds the journal. A journal of this plan that lies there is continued: what it says done is looked up.
    confirm : str
        What somebody typed; where the plan deletes it must be its ``confirm``, letter by letter.
    on_event, control : optional
        As for a copy: is told what happens; ends the run between two items.

    Raises
    ------
    RefusedError
        If the plan has blockers, the confirmation is not the one that the plan asks for, or scripts, filters or codes
        of the project that data comes into are not those that the plan saw.
    InputError
        If a connection is not to a server of the plan, or the journal is of another plan.
    """
    if plan.blockers:
        raise RefusedError(
            f"The plan has {len(plan.blockers)} blockers: {' '.join(plan.blockers)}", "Clear them and plan again."
        )
    servers = {side.server.rstrip("/") for side in (plan.source, plan.destination)}
    for connection in connections:
        if connection.server.rstrip("/") not in servers:
            raise InputError(
                f"The plan is for {' and '.join(sorted(servers))}, and the connection is to {connection.server}.",
                "Connect to the servers of the plan, or plan again.",
            )
    if plan.confirm and plan.acting and confirm.strip() != plan.confirm:
        raise RefusedError(
            f"This plan deletes, and what was typed to confirm it is {confirm.strip()!r}.",
            f"Review the plan; to delete what it names, and only that, confirm with {plan.confirm!r}.",
        )
    folder = Path(folder)
    with Journal.open(folder / JOURNAL, plan.fingerprint) as journal:
        control = control or Control(folder)
        run = _Run(plan, carrier, tuple(dict.fromkeys(connections)), journal, on_event, control)
        run.leases = leases_of(plan, connections, journal, run.say)
        try:
            return run.go()
        finally:
            run.release()


def leases_of(
    plan: ChangePlan, connections: Sequence[Connection], journal: Journal, tell: Callable[[str], None]
) -> dict[str, Lease]:
    """The leases of a run by project, not asked for yet; an earlier run over the same journal leaves its own to it."""
    server = (plan.source if plan.kind == "finish-move" else plan.destination).server.rstrip("/")
    connection = next(one for one in connections if one.server.rstrip("/") == server)
    found = {}
    for project, names in plan.touched.items():
        earlier = journal.last("lease", project=project) or {}
        found[project] = Lease(
            connection,
            project,
            names,
            kind=plan.options.get("lease", "none") if plan.also_written else "none",
            reason=str(plan.options.get("reason", "")),
            keep=partial(_keep, journal, project),
            label=earlier.get("label", ""),
            tell=tell,
        )
    return found


def _keep(journal: Journal, project: str, label: str) -> None:
    journal.write("lease", project=project, label=label)


def look_again(plan: ChangePlan, carrier: Carrier, journal: str | Path, connections: Sequence[Connection]) -> Result:
    """Whether what a journal says was changed holds today; reads only.

    Returns
    -------
    Result
        The verdicts of the run where it still holds; "different" where it does not.
    """
    seen = _ReadOnly(read_journal(journal))
    return _Run(plan, carrier, tuple(dict.fromkeys(connections)), seen, None, Control()).go()


class _ReadOnly:
    """A journal that is only looked at."""

    def __init__(self, entries: list[dict]) -> None:
        self._entries = entries

    def entries(self) -> list[dict]:
        return self._entries


class _Run:
    def __init__(self, plan, carrier, connections, journal, on_event, control) -> None:
        self.plan: ChangePlan = plan
        self.carrier: Carrier = carrier
        self.connections: tuple[Connection, ...] = connections
        self.journal: Journal | _ReadOnly = journal
        self.listener: Listener | None = on_event
        self.control: Control = control
        self.outcomes: list[dict] = []
        self.rows: list[dict] = []
        self.extra: list[dict] = []
        self.problems: list[str] = []
        self.transient = False
        self.broken = 0
        self.leases: dict[str, Lease] = {}

    def release(self) -> None:
        for lease in self.leases.values():
            lease.release()

    def say(self, text: str) -> None:
        self._tell("message", "lease", text=text)

    def go(self) -> Result:
        started = time.time()
        requests = sum(one.requests for one in self.connections)
        writes = sum(one.writes for one in self.connections)
        past = self._history()
        failed_subjects: set[str] = set()
        self._look_at_settings(past)
        for change in self.plan.sessions:
            if not change.steps:
                self._close(change, "needs a person" if change.open_point else "skipped", because=change.because)
            elif not self.control.go_on() or self.broken >= _BROKEN_IN_A_ROW:
                self.transient = True
                self.problems.append(f"{change.name} was not reached.")
                self._close(change, "failed", because="the run ended before it was reached; run it again")
            elif change.subject_id in failed_subjects and change.session and not self._state(past, change):
                self._close(change, "failed", because="its subject was not done, so it was left as it is")
            elif isinstance(self.journal, _ReadOnly) and not self._state(past, change):
                self._close(change, "failed", because="the run did not get as far as this")
            elif not self._one(change, past.setdefault(change.item, _Past())) and change.kind == "subject":
                failed_subjects.add(change.item)
        self.release()
        return result_of(
            self.outcomes,
            self.rows,
            self.extra,
            started,
            messages=tuple(text for lease in self.leases.values() for text in lease.messages),
            requests=sum(one.requests for one in self.connections) - requests,
            writes=sum(one.writes for one in self.connections) - writes,
            problems=tuple(self.problems),
            transient=self.transient,
            open_points=tuple(f"{one.name}: {one.because}" for one in self.plan.sessions if one.open_point),
        )

    def _look_at_settings(self, past: dict[str, _Past]) -> None:
        """Refuse where data would come into the project otherwise than the plan saw, before anything more is done."""
        open_ = [change for change in self.plan.sessions if change.steps and not self._state(past, change)]
        verbs = {step.verb for change in open_ for step in change.steps}
        if not isinstance(self.journal, Journal):
            return
        if "archive" in verbs:
            refuse_other_settings(self.plan.source, self.connections[-1])
        elif self.plan.kind == "move" and "move" in verbs:
            refuse_other_settings(self.plan.destination, self.connections[-1])

    def _state(self, past: dict[str, _Past], change: Change) -> str:
        """What an earlier run left an item as; "" where it did not get as far."""
        return past[change.item].state if change.item in past else ""

    def _history(self) -> dict[str, _Past]:
        found: dict[str, _Past] = {}
        for entry in self.journal.entries():
            if "item" not in entry:
                continue
            past = found.setdefault(entry["item"], _Past())
            kind = entry["kind"]
            if kind == "before":
                past.before = entry["kept"]
            elif kind == "doing":
                past.doing = True
            elif kind == "answered" and past.before is not None:
                past.before["answered"] = entry["verb"]
            elif kind == "done":
                past.done += 1
                if past.before is not None and entry.get("accession"):
                    past.before["accession"] = entry["accession"]
            elif kind == "proved":
                past.state, past.rows, past.extra = entry["state"], entry["rows"], entry["extra"]
                past.because = entry["because"]
        return found

    def _one(self, change: Change, past: _Past) -> bool:
        try:
            if past.state == "kept" and isinstance(self.journal, _ReadOnly):
                self._close(change, "kept", past.rows, past.extra, past.because)
            elif past.state and past.state != "kept":
                self._again(change, past)
            else:
                self._carry(change, past)
            self.broken = 0
            return self.outcomes[-1]["state"] not in ("failed", "kept")
        except (DiskFullError, JournalError):
            raise
        except XnbTransferError as problem:
            self._failed(change, problem, past)
            return False

    def _again(self, change: Change, past: _Past) -> None:
        """What an earlier run did and proved is looked up, and not done again."""
        rows = [dict(row) for row in past.rows]
        if self.carrier.still(change, past.before or {}):
            self._close(change, past.state, rows, past.extra, past.because or "done in an earlier run")
            return
        because = f"it was {past.state} in an earlier run, and is so no longer"
        for row in rows:
            row |= {"verdict": str(Verdict.DIFFERENT), "because": because}
        self._close(change, "failed", rows, past.extra, because)

    def _carry(self, change: Change, past: _Past) -> None:
        carrier = self.carrier
        before = past.before
        if self.leases:
            for project in touched_by(self.plan, change):
                for name in names_of(change):
                    self.leases[project].hold(*name)
        if not past.doing:
            carrier.look(change)
        if before is None or not past.doing or (carrier.always_fresh and not self._over(change, before)):
            if carrier.always_fresh and change.session:
                self._tell("message", "begun", text=f"{change.name}: {change.files} files are read on both sides")
            before = past.before = carrier.before(change)
            self._note(change, "before", kept=before)
            if before.get("kept"):
                rows = before.get("rows") or [
                    listed_row(change, one) | _NOTHING | {"because": before["kept"]}
                    for one in before.get("files", [])
                ]
                self._proved(change, "kept", rows, before.get("extra", []), before["kept"])
                return
        for step in change.steps:
            if not carrier.holds(change, step, before):
                self._do(change, step, before)
        state, rows, extra = self._looked_at(change, before)
        self._proved(change, state, rows, extra, "")

    def _looked_at(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        """The proof after the last step. It only reads, so it is tried again before what was done is called failed."""
        for attempt in range(_TRIES):
            try:
                return self.carrier.prove(change, before)
            except XnbTransferError as problem:
                if not problem.retry or attempt == _TRIES - 1:
                    raise
                pause(problem, attempt)
        raise KeyError(change.action)

    def _over(self, change: Change, before: dict) -> bool:
        return self.carrier.holds(change, change.steps[-1], before)

    def _do(self, change: Change, step: Step, before: dict) -> None:
        """One step. A lost or failed answer is answered by reading the state, never by sending blindly again."""
        attempts, said, begun = itertools.count(), "", 0.0

        def send() -> None:
            nonlocal begun
            self._note(change, "doing", verb=step.verb, attempt=next(attempts))
            begun = time.monotonic()
            self.carrier.act(change, step, before)
            before["answered"] = step.verb
            self._note(change, "answered", verb=step.verb)

        def look(lost: XnbTransferError | None) -> bool | None:
            nonlocal said
            said = "" if lost is None else str(lost)
            if self._settled(change, step, before, lost, begun):
                return True
            if lost is not None and self.carrier.repeatable(step, lost):
                self.carrier.may_repeat(change, step, before, lost)
            return None

        what = f"The request to {step} {change.name}"
        send_and_look(send, look, what, repeats=lambda lost: self.carrier.repeatable(step, lost))
        self._note(change, "done", verb=step.verb, said=said, accession=before.get("accession", ""))

    def _settled(self, change, step, before, lost, begun: float) -> bool:
        wait_s = 0.05
        while True:
            if self.carrier.holds(change, step, before):
                return True
            if not self.carrier.busy(change, step, lost, time.monotonic() - begun):
                return False
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 5.0)

    def _proved(self, change: Change, state: str, rows: list[dict], extra: list[dict], because: str) -> None:
        rows = [row | {"verdict": str(row["verdict"])} for row in rows]
        self._note(change, "proved", state=state, rows=rows, extra=extra, because=because)
        self._close(change, state, rows, extra, because)
        words = f"{len(rows)} files" if rows else ""
        self._tell("message", state, text=", ".join(filter(None, (f"{change.name}: {state}", words, because))))

    def _failed(self, change: Change, problem: XnbTransferError, past: _Past) -> None:
        self.broken = self.broken + 1 if problem.retry and not isinstance(problem, HeldError) else 0
        self.transient = self.transient or problem.retry
        self.problems.append(f"{change.name}: {problem}")
        if not isinstance(self.journal, _ReadOnly):
            self._note(change, "failed", because=str(problem), transient=problem.retry)
        rows = [listed_row(change, one) | _NOTHING for one in (past.before or {}).get("files", [])]
        self._close(change, "failed", rows, (), str(problem))
        self._tell("session", "failed", where=change.name, text=str(problem))

    def _close(self, change: Change, state: str, rows=(), extra=(), because: str = "") -> None:
        self.rows += rows
        self.extra += extra
        self.outcomes.append(outcome(change, state, list(rows), list(extra), because))

    def _note(self, change: Change, kind: str, **values) -> None:
        self.journal.write(kind, item=change.item, subject=change.subject, session=change.session, **values)

    def _tell(self, kind: str, name: str, where: str = "", text: str = "") -> None:
        if self.listener is None:
            return
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            self.listener(Event(kind=kind, name=name, where=where, text=text, at=at))
        except Exception:  # noqa: BLE001 - a listener never stops a run
            return


def listed_row(change: Change, one: dict) -> dict:
    """A file as a row of MANIFEST_COLUMNS, its verdict still open; ``one`` is as a file list tells it."""
    return manifest_row(change, **{name: one[name] for name in ("scan", "resource", "path", "size_bytes", "md5")})


def files_of(connection: Connection, session_id: str) -> list[dict]:
    """All files of a session as the server lists them: those of its scans, and those of its own resources.

    Raises
    ------
    NotFoundError
        The session is not found: up to 1.7 its lists are empty then (recorded, "W4 sessions without scans").
    """
    rows = [*connection.files([session_id]), *connection.session_resources([session_id])]
    if not rows and connection.session_item(session_id) is None:
        raise NotFoundError(f"{connection.server} does not find the session {session_id}.", "Run again.")
    names = ("scan", "resource", "path", "size_bytes", "md5", "format", "uri")
    found = [{name: row[name] for name in names} for row in rows]
    return sorted(found, key=lambda one: (one["scan"], one["resource"], one["path"]))
