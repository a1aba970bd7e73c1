"""Steps that run side by side in lanes, so many of each at one time; when one is done, it says what comes next.

Where several could begin, those of the group that came first do: what has begun is to be completed.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from operator import itemgetter

_LOOK_S = 0.25


def _nothing() -> Iterable[Step]:
    return ()


def _always() -> bool:
    return True


@dataclass(eq=False)
class Step:
    """One thing to do in a thread of ``lane``. ``may`` and ``after`` are asked in the thread of the loop alone.

    Parameters
    ----------
    do : callable
        Must tell of its own faults; what it raises ends the loop.
    after : callable
        Gives the steps that come next; they belong to the same group, and go before those of it that wait already.
    may : callable
        Whether it may begin now; asked when its lane has room, and True means that it does begin.
    """

    lane: str
    do: Callable[[], None]
    after: Callable[[], Iterable[Step]] = _nothing
    may: Callable[[], bool] = _always


class Lanes:
    """Runs steps until none is left.

    Parameters
    ----------
    most : mapping
        Lane to how many of its steps run at one time. The first lane is the one that new groups of steps enter by.
    held : callable
        Whether nothing new may begin for now; asked again every quarter of a second.
    stopping : callable
        Whether nothing new may begin at all. What runs is finished first.
    pause : callable
        Waits for so many seconds, or less.
    """

    def __init__(
        self,
        most: Mapping[str, int],
        *,
        held: Callable[[], bool],
        stopping: Callable[[], bool],
        pause: Callable[[float], None],
    ) -> None:
        self._most, self._entry = dict(most), next(iter(most))
        self._held, self._stopping, self._pause = held, stopping, pause
        # A step with the number of its group, the waiting ones in the order of these numbers.
        self._waiting: list[tuple[int, Step]] = []
        self._running: dict[Future[None], tuple[int, Step]] = {}

    def run(self, groups: Iterator[Iterable[Step]]) -> None:
        """Take a group whenever the first lane has room and nothing waits for it, and run all that follows of it."""
        numbered = enumerate(groups)
        with contextlib.ExitStack() as stack:
            threads = {
                lane: stack.enter_context(ThreadPoolExecutor(most, thread_name_prefix=f"xnbtransfer-{lane}"))
                for lane, most in self._most.items()
            }
            while True:
                held = self._held()
                if not held:
                    self._begin(numbered, threads)
                if self._running:
                    self._finish(_LOOK_S if held else None)
                elif held and not self._stopping():
                    self._pause(_LOOK_S)
                else:
                    return

    def _begin(
        self, groups: Iterator[tuple[int, Iterable[Step]]], threads: Mapping[str, ThreadPoolExecutor]
    ) -> None:
        free = collections.Counter(self._most)
        free.subtract(step.lane for _, step in self._running.values())
        while not self._stopping():
            kept = []
            for number, step in self._waiting:
                if free[step.lane] > 0 and step.may():
                    free[step.lane] -= 1
                    self._running[threads[step.lane].submit(step.do)] = number, step
                else:
                    kept.append((number, step))
            self._waiting = kept
            if free[self._entry] <= 0 or any(step.lane == self._entry for _, step in self._waiting):
                return
            number, group = next(groups, (0, None))
            if group is None:
                return
            self._waiting.extend((number, step) for step in group)

    def _finish(self, timeout_s: float | None) -> None:
        for future in wait(self._running, timeout_s, FIRST_COMPLETED).done:
            number, step = self._running.pop(future)
            future.result()
            at = bisect.bisect_left(self._waiting, number, key=itemgetter(0))
            self._waiting[at:at] = [(number, one) for one in step.after()]


class FirstOfSubject:
    """Lets one session of a subject be archived, or made, before others of it are; what comes later goes side by side.

    Whoever asks for a session of a subject that is not there makes that subject, too. XNAT looks for it and makes it
    without a lock where a session is made by an address (XNAT source, ``SubjAssessmentResource`` line 662), and holds
    one for archiving in one process alone (``PrearcSessionArchiver.getOrCreateSubject``): two at once may make two.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, threading.Lock] = {}
        self._there: set[str] = set()

    @contextlib.contextmanager
    def of(self, subject: str) -> Iterator[None]:
        """Waits while another session of this subject is the first one; one that fails leaves its place to the next."""
        name = subject.casefold()  # XNAT finds a subject in whatever case its label is written
        with self._lock:
            first = self._first.setdefault(name, threading.Lock())
            alone = name not in self._there
        if not alone:
            yield
            return
        first.acquire()
        if name in self._there:
            first.release()
            yield
            return
        try:
            yield
            self._there.add(name)
        finally:
            first.release()
