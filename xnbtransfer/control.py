"""Pause, resume and cancel a run: from another thread, or from another process by files in the run's folder.

A run looks before it begins a scan or the end of a session; what is in flight is finished first.
"""

from __future__ import annotations

import datetime
import enum
import os
import threading
from pathlib import Path

PAUSE = "pause"  # a file of this name in a run's folder holds the run for as long as it is there
STOP = "stop"  # a file of this name ends it in order

_LOOK_S = 0.25


class State(enum.StrEnum):
    """What a run has been asked to do."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Control:
    """What a run obeys. Safe to use from any thread; a cancelled run stays cancelled.

    Parameters
    ----------
    folder : path, optional
        Files named ``PAUSE`` and ``STOP`` in it count as well, so that another process can ask.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._changed = threading.Condition()
        self._state = State.RUNNING

    @property
    def state(self) -> State:
        """What was asked last, here or by a file; a file that asks to stop is taken away once it is seen."""
        if self._folder is not None and self._asks(STOP):
            self.cancel()
            (self._folder / STOP).unlink(missing_ok=True)
        if self._state is State.CANCELLED:
            return self._state
        return State.PAUSED if self._state is State.PAUSED or self._asks(PAUSE) else State.RUNNING

    @property
    def cancelled(self) -> bool:
        return self.state is State.CANCELLED

    def pause(self) -> None:
        """Begin nothing new until ``resume``."""
        self._set(State.PAUSED)

    def resume(self) -> None:
        """Go on. Takes away a pause that was asked for by a file, too."""
        if self._folder is not None:
            (self._folder / PAUSE).unlink(missing_ok=True)
        self._set(State.RUNNING)

    def cancel(self) -> None:
        """End in order after what is in flight; another run over the same journal goes on from there."""
        self._set(State.CANCELLED)

    def ask_to_pause(self) -> None:
        """Leave the file that pauses the run of another process."""
        (self._folder / PAUSE).touch()

    def ask_to_stop(self) -> None:
        """Leave the file that ends the run of another process."""
        (self._folder / STOP).touch()

    def wait(self, timeout_s: float) -> None:
        """Return when something was asked in this process, or after ``timeout_s`` seconds."""
        with self._changed:
            self._changed.wait(timeout_s)

    def go_on(self) -> bool:
        """Hold the caller while paused; then whether to go on, which is False once cancelled."""
        while self.state is State.PAUSED:
            self.wait(_LOOK_S)
        return not self.cancelled

    def _set(self, state: State) -> None:
        with self._changed:
            if self._state is not State.CANCELLED:
                self._state = state
            self._changed.notify_all()

    def _asks(self, name: str) -> bool:
        return self._folder is not None and os.path.exists(f"{self._folder}/{name}")


def window_open(window: str, now: datetime.datetime) -> bool:
    """Whether ``now`` is inside a time of day such as ``22:00-06:00``; an empty window is always open."""
    if not window:
        return True
    begin, end = (datetime.time.fromisoformat(word) for word in window.split("-"))
    clock = now.time()
    return begin <= clock < end if begin < end else clock >= begin or clock < end
