"""A run that belongs to the kernel: a thread that carries out a plan, and what can be told of it at any moment.

A page may be reloaded or closed; the run goes on, and whoever asks for :meth:`Runner.progress` sees where it is. If the
kernel itself is gone, a new runner over the same folder goes on from the journal.
"""

from __future__ import annotations

import collections
import enum
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..control import Control
from ..html import duration, size
from ..keys import SessionKey
from ..plan import Plan
from ..transfer import run
from ..values import Event, Result
from ..xnat import Connection

LOG_LINES = 500
_RATE_OVER_S = 20.0


class RunState(enum.StrEnum):
    """Where a run is."""

    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    ENDING = "ending"  # cancelled, and the scans in flight are brought to their end
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


GOING = (RunState.RUNNING, RunState.PAUSED, RunState.ENDING)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run at one moment. ``rate`` is bytes a second lately, ``left_s`` seconds, None where nothing can be said."""

    state: RunState
    files: int = 0
    all_files: int = 0
    size_bytes: int = 0
    all_bytes: int = 0
    done: int = 0
    all_sessions: int = 0
    failed: int = 0
    seconds: float = 0.0
    rate: float | None = None
    left_s: float | None = None
    sessions: Mapping[SessionKey, tuple[str, int, int]] = field(default_factory=dict)  # state, files, bytes so far
    log: tuple[str, ...] = ()
    problem: str = ""

    @property
    def share(self) -> float:
        """How much of the bytes has been sent, 0 to 1; of the sessions where the plan has no bytes to send."""
        if self.state == RunState.FINISHED:
            return 1.0
        if self.all_bytes:
            return min(1.0, self.size_bytes / self.all_bytes)
        return self.done / self.all_sessions if self.all_sessions else 0.0

    def sentence(self) -> str:
        """Where the run is, in words."""
        told = [
            f"{self.done} of {self.all_sessions} sessions proved",
            f"{self.files} of {self.all_files} files",
            f"{size(self.size_bytes)} of {size(self.all_bytes)} sent",
        ]
        if self.failed:
            told.insert(1, f"{self.failed} failed")
        if self.rate and self.state == RunState.RUNNING:
            told.append(f"{size(round(self.rate))} a second")
        if self.left_s is not None:
            told.append(f"about {duration(self.left_s)} left")
        return f"{self.state}: {', '.join(told)}, {duration(self.seconds)} so far"


class Runner:
    """Carries out a plan in a thread of its own, once or again after it was cancelled or cut off.

    Parameters
    ----------
    plan, source, destination, folder
        As for :func:`xnbtransfer.transfer.run`.
    """

    def __init__(self, plan: Plan, source: Connection, destination: Connection, folder: str | Path) -> None:
        self.plan, self.source, self.destination, self.folder = plan, source, destination, Path(folder)
        self.result: Result | None = None
        self.problem = ""
        self._lock = threading.RLock()
        self._state = RunState.READY
        self._control = Control(folder)
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[], None]] = []
        self._log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._places = {str(session.key): session.key for session in plan.sessions}
        self._places |= {
            f"{session.key} {scan.scan}": session.key for session in plan.sessions for scan in session.sent_scans
        }
        self._clear()

    def _clear(self) -> None:
        sent = [session for session in self.plan.sessions if session.sent_scans]
        self._sessions = {session.key: ["planned", 0, 0] for session in sent}
        self._whole = {session.key: (session.files, session.size_bytes) for session in sent}
        self._files = self._bytes = 0
        self._before = (0, 0)  # files and bytes of sessions that an earlier run has done
        self._all_files = sum(session.files for session in sent)
        self._all_bytes = sum(session.size_bytes for session in sent)
        self._done: set[SessionKey] = set()
        self._failed: set[SessionKey] = set()
        self._begun = self._ended = 0.0
        self._recent: collections.deque[tuple[float, int]] = collections.deque()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called, from any thread, whenever something happened; what it raises is dropped."""
        self._listeners.append(listener)

    @property
    def state(self) -> RunState:
        return self._state

    def start(self) -> None:
        """Begin, or go on after a cancelled or failed run; a run that is going is left alone."""
        with self._lock:
            if self._state in (*GOING, RunState.FINISHED):
                return
            self._clear()
            self._control, self.result, self.problem = Control(self.folder), None, ""
            self._state, self._begun = RunState.RUNNING, time.monotonic()
            self._thread = threading.Thread(target=self._work, name="xnbtransfer-run", daemon=True)
            self._thread.start()
        self._changed()

    def pause(self) -> None:
        """Send nothing more until :meth:`resume`; scans in flight are brought to their end."""
        self._switch(RunState.RUNNING, RunState.PAUSED, "paused: the scans in flight are brought to their end")

    def resume(self) -> None:
        """Go on after a pause."""
        self._switch(RunState.PAUSED, RunState.RUNNING, "goes on")

    def cancel(self) -> None:
        """End in order after the scans in flight. What is done stays done, and :meth:`start` goes on from there."""
        with self._lock:
            if self._state not in (RunState.RUNNING, RunState.PAUSED):
                return
            self._state = RunState.ENDING
            self._control.cancel()
        self._say("cancelled: the scans in flight are brought to their end")
        self._changed()

    def wait(self, timeout_s: float | None = None) -> Result | None:
        """Wait until the run has ended; returns its result, None where it failed or is still going."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self.result

    def progress(self) -> Progress:
        """Where the run is now."""
        with self._lock:
            now = time.monotonic()
            files, count = self._files + self._before[0], self._bytes + self._before[1]
            rate, left = self._speed(now, self._all_bytes - count)
            return Progress(
                state=self._state,
                files=files,
                all_files=max(self._all_files, files),
                size_bytes=count,
                all_bytes=max(self._all_bytes, count),
                done=len(self._done),
                all_sessions=len(self._sessions),
                failed=len(self._failed),
                seconds=(self._ended or now) - self._begun if self._begun else 0.0,
                rate=rate,
                left_s=left,
                sessions={key: tuple(value) for key, value in self._sessions.items()},
                log=tuple(self._log),
                problem=self.problem,
            )

    def _speed(self, now: float, missing: int) -> tuple[float | None, float | None]:
        while self._recent and now - self._recent[0][0] > _RATE_OVER_S:
            self._recent.popleft()
        if self._state != RunState.RUNNING or not self._recent:
            return None, None
        over = max(1.0, min(_RATE_OVER_S, now - self._begun))
        rate = sum(count for _, count in self._recent) / over
        return rate, max(0, missing) / rate if rate else None

    def _switch(self, before: RunState, after: RunState, text: str) -> None:
        with self._lock:
            if self._state != before:
                return
            self._state = after
            (self._control.pause if after == RunState.PAUSED else self._control.resume)()
            self._recent.clear()
        self._say(text)
        self._changed()

    def _work(self) -> None:
        result, problem = None, ""
        try:
            result = run(
                self.plan,
                self.source,
                self.destination,
                folder=self.folder,
                on_event=self._hear,
                control=self._control,
            )
        except BaseException as error:  # noqa: BLE001 - shown by whoever looks at this run
            problem = str(error) or type(error).__name__
        with self._lock:
            self._ended = time.monotonic()
            self.result, self.problem = result, problem
            if problem:
                self._state = RunState.FAILED
            else:
                self._state = RunState.CANCELLED if self._state == RunState.ENDING else RunState.FINISHED
            if result is not None:
                self._settle(result)
        self._say(f"failed: {problem}" if problem else f"{self._state} after {duration(self._ended - self._begun)}")
        self._changed()

    def _settle(self, result: Result) -> None:
        """The states that the result tells, also of sessions that an earlier run has done."""
        self._before = (0, 0)
        rows = result.sessions[["subject", "session", "state"]]
        for subject, session, state in rows.itertuples(index=False, name=None):
            key = SessionKey(subject, session)
            if key not in self._sessions:
                continue
            if state in ("archived", "in prearchive"):
                self._arrived(key)
            elif self._state == RunState.CANCELLED and key not in self._failed:
                state = "unfinished"  # nothing went wrong with it: it was not its turn any more
            else:
                self._failed.add(key)
            self._sessions[key][0] = state
        self._failed -= self._done

    def _arrived(self, key: SessionKey) -> None:
        """A session is all there, also what an earlier run had sent of it."""
        one, (files, count) = self._sessions[key], self._whole[key]
        if key not in self._done:
            self._files += max(0, files - one[1])
            self._bytes += max(0, count - one[2])
        one[1], one[2] = files, count
        self._done.add(key)

    def _hear(self, event: Event) -> None:
        key = self._places.get(event.where)
        with self._lock:
            one = self._sessions.get(key) if key else None
            if (event.kind, event.name) == ("run", "started"):
                # what is not begun anew was done by an earlier run
                self._before = max(0, self._all_files - event.files), max(0, self._all_bytes - event.size_bytes)
            elif (event.kind, event.name) == ("run", "paused") and self._state == RunState.RUNNING:
                self._state = RunState.PAUSED  # asked for by another process
            elif (event.kind, event.name) == ("run", "resumed") and self._state == RunState.PAUSED:
                self._state = RunState.RUNNING
            elif one is not None:
                self._hear_session(event, key, one)
        text = _line(event)
        if text:
            self._say(text)
        self._changed()

    def _hear_session(self, event: Event, key: SessionKey, one: list) -> None:
        if (event.kind, event.name) == ("scan", "sent"):
            one[0], one[1], one[2] = "sending", one[1] + event.files, one[2] + event.size_bytes
            self._files += event.files
            self._bytes += event.size_bytes
            self._recent.append((time.monotonic(), event.size_bytes))
        elif event.name in ("started", "repairing"):
            one[0] = "sending"
        elif event.name == "compared":
            one[0] = "compared"
        elif event.name == "archived":
            one[0] = "archived"
        elif event.name == "proved":
            one[0] = event.text or "proved"
            if event.text == "failed":
                self._failed.add(key)
            else:
                self._arrived(key)
        elif event.name == "failed":
            one[0] = "failed"
            self._failed.add(key)

    def _say(self, text: str) -> None:
        self._log.append(f"{time.strftime('%H:%M:%S', time.gmtime())}  {text}")

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 - a view never stops a run
                pass


def _line(event: Event) -> str:
    """An event as a line of the log; "" for those that the counts tell already."""
    if (event.kind, event.name) == ("run", "started"):
        return f"begins (times are UTC): {event.files} files, {size(event.size_bytes)} to send"
    if event.name == "failed":
        return f"{event.where} failed: {event.text}"
    if event.name == "repairing":
        return f"{event.where}: {event.text}"
    if (event.kind, event.name) == ("scan", "sent"):
        return f"{event.where} sent: {event.files} files, {size(event.size_bytes)}"
    if (event.kind, event.name) == ("session", "proved"):
        return f"{event.where} compared, {event.text}: {event.files} files"
    return event.text if event.kind == "message" else ""
