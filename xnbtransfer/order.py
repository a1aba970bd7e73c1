"""Which step of a session comes when: its first scan is read, and sent alone while the others are read; then these are
sent, and when all of them are sent its end begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from .lanes import Step
from .methods import Work
from .plan_file import ScanPlan


class Order:
    """The steps of all sessions of a run, for :class:`~xnbtransfer.lanes.Lanes` with lanes read, send and end.

    Parameters
    ----------
    workers : int
        As many scans are read and sent at one time; twice as many have a place on temporary disk.
    opens, ends : callable
        Take a session that an earlier run has begun for this one; compare and archive it.
    reads, sends : callable
        Read one scan to temporary disk (to ``work.spools``); send it. None of the four may raise.
    """

    def __init__(
        self,
        workers: int,
        *,
        opens: Callable[[Work], None],
        reads: Callable[[Work, ScanPlan], None],
        sends: Callable[[Work, ScanPlan], None],
        ends: Callable[[Work], None],
    ) -> None:
        self._opens, self._reads, self._sends, self._ends = opens, reads, sends, ends
        self._places = 2 * workers

    def steps(self, work: Work) -> list[Step]:
        """The first steps of a session. What has arrived in an earlier run is known before anything is read."""
        if work.past.begun:
            return [Step("read", partial(self._opens, work), partial(self._to_read, work))]
        return self._to_read(work)

    def _to_read(self, work: Work) -> list[Step]:
        """The first scan before the others: nothing of them can be sent before it, and they would slow it down."""
        work.left = len(work.pending)
        if not work.pending:
            return self._to_end(work)
        first, *others = work.pending
        return [self._reading(work, first, others)]

    def _reading(self, work: Work, scan: ScanPlan, others: Sequence[ScanPlan] = ()) -> Step:
        after = partial(self._was_read, work, scan, others)
        return Step("read", partial(self._reads, work, scan), after, self._takes_place)

    def _takes_place(self) -> bool:
        if not self._places:
            return False
        self._places -= 1
        return True

    def _was_read(self, work: Work, scan: ScanPlan, others: Sequence[ScanPlan]) -> list[Step]:
        over = () if scan in work.spools else self._over(work)
        return [*self._to_send(work), *over, *(self._reading(work, other) for other in others)]

    def _to_send(self, work: Work) -> list[Step]:
        """What may be sent now: the first scan of a session alone, the others once its row is there."""
        ready = [scan for scan in work.pending if scan in work.spools and scan not in work.sending]
        if not work.uri and work.failed is None:
            ready = ready[:1] if not work.sending and ready[:1] == work.pending[:1] else []
        work.sending.update(ready)
        return [Step("send", partial(self._sends, work, scan), partial(self._was_sent, work, scan)) for scan in ready]

    def _was_sent(self, work: Work, scan: ScanPlan) -> list[Step]:
        work.sending.discard(scan)
        if spool := work.spools.pop(scan, None):  # its session has failed meanwhile, or the run is to end
            spool.close()
        return [*self._to_send(work), *self._over(work)]

    def _over(self, work: Work) -> list[Step]:
        """A scan is sent, or given up."""
        self._places += 1
        work.left -= 1
        return self._to_end(work)

    def _to_end(self, work: Work) -> list[Step]:
        return [] if work.left else [Step("end", partial(self._ends, work))]
