"""The steps of a transfer as a machine: which are confirmed, what blocks them, and what withdraws what."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import traitlets

from ..errors import RefusedError, XnbTransferError
from .steps import BY_NAME, NAMES, StepState, after


class Steps(traitlets.HasTraits):
    """The steps, each confirmed when it has no blocker, and withdrawn with all that follow when something changes.

    A step ``x`` has a method ``_blockers_x``, and where it needs them ``_prepare_x`` (before anybody looks at it) and
    ``_leave_x`` (when it is confirmed).
    """

    step = traitlets.Unicode(NAMES[0])
    version = traitlets.Int(0)
    busy = traitlets.Unicode("")

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._confirmed: list[str] = []
        self._problems: dict[str, str] = {}
        self._working = ""

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Names of the confirmed steps."""
        return tuple(self._confirmed)

    @property
    def begun(self) -> bool:
        """Whether the run has begun: from then on nothing before it can be changed."""
        return False

    @property
    def going(self) -> bool:
        """Whether a run is going."""
        return False

    def state(self, name: str) -> StepState:
        """Where a step is."""
        if self._working == name or (name == "run" and self.going):
            return StepState.WORKING
        if name in self._confirmed:
            return StepState.DONE
        if any(one not in self._confirmed for one in NAMES[: NAMES.index(name)]):
            return StepState.WAITING
        if self._problems.get(name):
            return StepState.FAILED
        return StepState.BLOCKED if self.blockers(name) else StepState.READY

    def problem(self, name: str) -> str:
        """What went wrong in a step, as a sentence; "" where nothing did."""
        return self._problems.get(name, "")

    def blockers(self, name: str) -> list[str]:
        """Why a step cannot be confirmed, as sentences."""
        return [sentence for sentence in getattr(self, f"_blockers_{name}")() if sentence]

    def confirm(self, name: str = "") -> None:
        """Confirm a step, do what the next one needs, and go there.

        Raises
        ------
        RefusedError
            If it has blockers, or an earlier step is not confirmed.
        XnbTransferError
            If what the next step needs could not be done; the step stays confirmed, and :meth:`prepare` tries again.
        """
        name = name or self.step
        if self.busy:
            raise RefusedError(f"Still {self.busy}.", "Wait until that has ended.")
        missing = [one for one in NAMES[: NAMES.index(name)] if one not in self._confirmed]
        if missing:
            raise RefusedError(f"The step '{BY_NAME[missing[0]].title}' is not confirmed.", "Confirm that one first.")
        found = self.blockers(name)
        if found:
            raise RefusedError(" ".join(found))
        leave = getattr(self, f"_leave_{name}", None)
        if leave is not None:
            leave()
        with self._lock:
            if name not in self._confirmed:
                self._confirmed.append(name)
            self.step = after(name)
        self.prepare(self.step)  # says with the new step that it is at work, so that nobody changes anything in between

    def withdraw(self, name: str) -> None:
        """Take back the confirmation of a step and of all that follow.

        Raises
        ------
        RefusedError
            If the run has begun, or something is being done right now: what it makes would not know of the change.
        """
        if self.busy:
            raise RefusedError(f"Still {self.busy}.", "Wait until that has ended, then change it.")
        if self.begun and NAMES.index(name) <= NAMES.index("run"):
            raise RefusedError(
                "The run of the approved plan has begun, so nothing before it can be changed.",
                "Begin another transfer for what is different.",
            )
        with self._lock:
            gone = NAMES[NAMES.index(name) :]
            self._confirmed = [one for one in self._confirmed if one not in gone]
            for one in gone:
                self._problems.pop(one, None)
            self._drop(gone)
            if self.step not in self._confirmed and self.state(self.step) == StepState.WAITING:
                self.step = name
        self._changed()

    def _drop(self, gone: tuple[str, ...]) -> None:
        """Forget what withdrawn steps have made."""

    def show(self, name: str) -> None:
        """Look at a step that is confirmed or open."""
        if self.state(name) != StepState.WAITING:
            self.step = name
            self._changed()

    def prepare(self, name: str) -> None:
        """Do what a step needs before anybody can look at it: list projects, read both sides, make the plan."""
        work = getattr(self, f"_prepare_{name}", None)
        if work is not None:
            work()
        self._changed()

    @contextlib.contextmanager
    def working(self, name: str, what: str) -> Iterator[None]:
        """Something that takes time: one at a time, said in ``busy``; what goes wrong is kept as a sentence."""
        with self._lock:
            if self.busy:
                raise RefusedError(f"Still {self.busy}.", "Wait until that has ended.")
            self._working, self.busy = name, what
            self._problems.pop(name, None)
        self._changed()
        try:
            yield
        except XnbTransferError as problem:
            self._problems[name] = str(problem)
            raise
        except Exception as problem:
            self._problems[name] = f"Unexpected {type(problem).__name__}: {problem}"
            raise
        finally:
            with self._lock:
                self._working, self.busy = "", ""
            self._changed()

    def _changed(self) -> None:
        self.version += 1
