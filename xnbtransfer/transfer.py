"""run(plan): carry out what was reviewed, session by session, and prove it. Nothing else is decided here.

A session goes: read its first scan, look again, send that alone while the others are read, send these side by side,
build, compare in the prearchive, archive if the plan says so, compare again. Success is what a listing and a read-back
say, never a status code. Reading, sending and proving run side by side: while some scans go out others arrive, and
while a session is compared and archived those of the next go on.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .carrying import Beside, carry_beside, name_of
from .claims import claim, clear_claims
from .control import Control, State, window_open
from .diff import of_a_desktop
from .ended import Ended, add_existing, add_finished, add_silent, add_works, all_right
from .errors import (
    DiskFullError,
    HeldError,
    InputError,
    JournalError,
    RefusedError,
    TransientError,
    XnbTransferError,
)
from .files_door import FilesDoor
from .fresh import changed_meanwhile, changed_since, unsure
from .history import SessionHistory, read_history
from .journal import JOURNAL, Journal
from .keys import SessionKey
from .lanes import Lanes, Step
from .lease import Lease, Name
from .methods import ImportDoor, SpoiltError, Work, prefix_of
from .mounted import MountedSource, mounted_root
from .one_place import refuse_one_place
from .order import Order
from .plan import SENDS, Plan, ScanPlan, SessionPlan
from .plan_file import THERE_ALREADY, open_points, unsent_state
from .proof import Proof, no_longer_listed
from .receiver_door import ReceiverDoor
from .review import RunReview
from .streams import Pace, Seen, Spool
from .values import Event, Result, Verdict, tuples_of
from .verify import (
    ARCHIVED,
    IN_PREARCHIVE,
    expected_changes,
    missing_rows,
    not_proved,
    read_source_scan,
    result_of,
    share_elements,
    study_of,
    unlisted_rows,
)
from .xnat import Connection

_FRESH_S = 2.0  # what was read of the destination this long ago is not read again before the first write

Listener = Callable[[Event], None]


def run(
    plan: Plan,
    source: Connection,
    destination: Connection,
    *,
    folder: str | Path,
    on_event: Listener | None = None,
    control: Control | None = None,
    spool_folder: str | None = None,
) -> Result:
    """Carry out ``plan`` exactly as written, and prove every file.

    Parameters
    ----------
    folder : path
        Holds the journal. A journal of this plan that lies there is continued: what it proves done is not sent again.
    on_event : callable, optional
        Is told what happens, from worker threads; whatever it raises is dropped.
    control : Control, optional
        Pauses, resumes and cancels the run after the scans in flight; the next run goes on from there. Without it
        files in ``folder`` do (see :mod:`xnbtransfer.control`).
    spool_folder : str, optional
        For temporary files, at most 2 x ``workers`` x the largest scan; without it the system's.

    Returns
    -------
    Result
        One row per file of the plan, each with one of four verdicts.

    Raises
    ------
    RefusedError
        If the plan has blockers, source and destination are one project under two names, or every session changed since
        it was made; where some did, those alone fail.
    InputError
        If a connection is not to the server of the plan, or the journal is of another plan.
    DiskFullError
        If there is no room for a scan or for the journal. Nothing is lost; run it again.
    """
    if plan.blockers:
        raise RefusedError(
            f"The plan has {len(plan.blockers)} blockers: {' '.join(plan.blockers)}", "Clear them and plan again."
        )
    for side, connection in ((plan.source, source), (plan.destination, destination)):
        if connection.server.rstrip("/") != side.server.rstrip("/"):
            raise InputError(
                f"The plan is for {side.project} on {side.server}, and the connection is to {connection.server}.",
                "Connect to the servers of the plan, or plan again.",
            )
    refuse_one_place(source, destination, plan.source.project, plan.destination.project)
    folder = Path(folder)
    with Journal.open(folder / JOURNAL, plan.fingerprint) as journal:
        control = control or Control(folder)
        if plan.transfer_options.mounted and (root := mounted_root(source)):
            source = MountedSource(source, plan, root)
        return _Run(plan, source, destination, journal, folder / JOURNAL, on_event, control, spool_folder).go()


class _Run:
    def __init__(self, plan, source, destination, journal, path, on_event, control, spool_folder) -> None:
        self.plan: Plan = plan
        self.options = plan.transfer_options
        self.source: Connection = source
        self.destination: Connection = destination
        self.journal: Journal = journal
        self.path: Path = path
        self.listener: Listener | None = on_event
        self.control: Control = control
        self.held = ""  # why nothing new begins now
        self.ending = False  # by a fault that is no session's own
        self.spool_folder = spool_folder
        self.key = secrets.token_bytes(16)
        self.started = time.time()
        self.sent_bytes = 0
        self.timeline: list[tuple[float, int]] = []
        self.lock = threading.Lock()
        self.fatal: BaseException | None = None
        self.broken = 0
        self.looked = float("-inf")
        self.pace = Pace(self.options.rate_mb_s * 1e6)
        door = ReceiverDoor if self.options.method == "receiver" else ImportDoor
        self.door: ImportDoor = door(plan, destination, self._note, self.pace)
        self.files = FilesDoor(plan, source, destination, self._note) if self.options.method == "files" else None
        self.review = RunReview(plan, self._note) if self.options.review == "all" else None
        self.order = Order(
            self.options.workers,
            opens=partial(self._guarded, self._open),
            reads=partial(self._guarded, self._read),
            sends=partial(self._guarded, self._send),
            ends=partial(self._guarded, self._end),
        )
        self.proof = Proof(plan, source, destination, self.door, self.key, self.pace)
        self.lease = lease_of(plan, destination, journal, lambda text: self._tell("message", "lease", text=text))

    # -- the whole run ------------------------------------------------------------------------------------------

    def go(self) -> Result:
        try:
            return self._go()
        finally:
            self.lease.release()

    def _go(self) -> Result:
        before = (self.source.requests + self.destination.requests, self.source.writes + self.destination.writes)
        past = read_history(self.journal.entries())
        todo, done = [], []
        for session in self.plan.sessions:
            if session.action not in SENDS:
                continue
            one = past.setdefault(session.key, SessionHistory())
            (done if self._finished(one) else todo).append(session)
        works = [self._work(session, past[session.key]) for session in todo]
        now, later = works[: self.options.batch or None], works[self.options.batch or len(works) :]
        for work in later:
            work.because = f"left for the next run (batch={self.options.batch})"
        if now:
            clear_claims()
            self._look_again(now)
        sizes = {"files": sum(s.files for s in todo), "size_bytes": sum(s.size_bytes for s in todo)}
        self._tell("run", "started", **sizes)
        try:
            self._carry_out(now)
        finally:
            for work in now:
                _release(work)
        before_beside = self.destination.writes
        beside = self._beside(works) if self.fatal is None else Beside()
        if self.destination.writes != before_beside:
            self._list_again(works)
        self.lease.release()
        existing = self._prove_existing() if self.fatal is None else []
        result = self._result(works, done, before, beside, existing)
        self._tell("run", "finished", files=len(result.files), size_bytes=self.sent_bytes)
        if self.fatal is not None:
            raise self.fatal
        return result

    def _beside(self, works: list[Work]) -> Beside:
        """Resources and fields, once the sessions are where they belong."""
        scans = {
            (work.session.key, row["scan"]): row["destination_scan"]
            for work in works
            for row in work.rows
            if row.get("destination_scan")
        }
        try:
            return carry_beside(
                self.plan,
                self.source,
                self.destination,
                self.journal,
                scans=scans,
                spool_folder=self.spool_folder,
                stopping=self._stopping,
                tell=lambda name, one, files, size, text: self._tell(
                    "resource", name, where=one.where, files=files, size_bytes=size, text=text
                ),
                hold=self.lease.hold,
            )
        except XnbTransferError as problem:
            self.fatal = self.fatal or problem
            return Beside()

    def _prove_existing(self) -> list[Work]:
        """The sessions that the destination has already, read back if the plan says so; nothing is written."""
        there = [one for one in self.plan.sessions if unsent_state(one) == THERE_ALREADY and one.action not in SENDS]
        if not (there and self.options.prove_existing):
            return []
        with ThreadPoolExecutor(self.options.workers, thread_name_prefix="xnbtransfer") as pool:
            return list(pool.map(self._read_existing, there))

    def _read_existing(self, session: SessionPlan) -> Work:
        work = Work(session, SessionHistory(), {}, [], state=THERE_ALREADY, because=session.because)
        scans = [(scan.scan, scan.resource, scan.files, scan.size_bytes) for scan in session.scans]
        try:
            if self._stopping():
                raise TransientError(f"{session.key} was not read back before the run ended.", "Run again.")
            work.rows, work.extra = self.proof.there_already(session)
            work.because += "; read back now on both sides"
            self._tell("session", "proved", session, files=len(work.rows), text="there already, read back")
        except XnbTransferError as problem:
            work.failed, because = problem, f"it was not read back: {problem}"
            lost = missing_rows(session, scans, because)
            work.rows = [row | {"verdict": Verdict.NOT_PROVED} for row in lost]
            self._tell("session", "failed", session, text=str(problem))
        return work

    def _list_again(self, works: list[Work]) -> None:
        """What resources and fields were written to is listed once more: a write may change what was proved."""
        archived = {
            work.accession or work.past.accession: work for work in works if work.state == ARCHIVED and work.rows
        }
        listed: dict[str, list[dict]] = {}
        for row in self.destination.files([name for name in archived if name]):
            listed.setdefault(row["session_id"], []).append(row)
        for name, work in archived.items():
            rows = no_longer_listed(work.rows, listed.get(name, ()))
            if rows != work.rows:
                work.rows = rows
                self._proved(work, ARCHIVED)

    def _finished(self, past: SessionHistory) -> bool:
        if past.rows is None or past.failed or past.damaged:
            return False
        clean = all(row["verdict"] != Verdict.DIFFERENT for row in past.rows)
        return past.state == ARCHIVED or not (self.options.archive and clean)

    def _work(self, session: SessionPlan, past: SessionHistory) -> Work:
        # What stopped it before is read first, so that nothing of it is sent in vain.
        pending = sorted(session.sent_scans, key=lambda scan: (scan.scan, scan.resource) != past.stopped_at)
        return Work(session, past, {}, pending, uri=past.uri)

    def _look_again(self, works: list[Work]) -> None:
        """Read both sides again; a session that is not as the plan saw it fails before anything of it is sent."""
        begun = {work.session.key for work in works if work.past.begun}
        here, changed = changed_since(self.plan, [work.session for work in works], begun, self.source, self.destination)
        self.looked = time.monotonic()
        if len(changed) == len(works):
            raise RefusedError(
                f"{len(changed)} sessions are no longer as the plan saw them: {', '.join(list(changed.values())[:5])}.",
                "Plan again and review the new plan; nothing was sent.",
            )
        listed: dict[SessionKey, dict[tuple[str, str], dict[str, tuple[int, str]]]] = {}
        columns = ["subject", "session", "scan", "resource", "path", "size_bytes", "md5"]
        for row in tuples_of(here.files, *columns):
            of_session = listed.setdefault(SessionKey(row[0], row[1]), {})
            of_session.setdefault((row[2], row[3]), {})[row[4]] = (row[5], row[6])
        for work in works:
            work.listed = listed.get(work.session.key, {})
            if work.session.key in changed:
                what = changed[work.session.key]
                self._failed(work, RefusedError(f"{what} is no longer as the plan saw it.", "Plan again."))
        going = [work for work in works if work.failed is None]
        doubts = unsure(self.plan, [work.session for work in going], here, self.source)
        for work in going:
            work.unsure = unlisted_rows(work.session, doubts.get(work.session.key, ()))

    # -- which step when ----------------------------------------------------------------------------------------

    def _carry_out(self, works: list[Work]) -> None:
        """The pilot sessions first, if there are any; the others only once all files of those are proved."""
        works = [work for work in works if work.failed is None]
        pilot, others = works[: self.options.pilot], works[self.options.pilot :]
        self._together(pilot)
        bad = [work for work in pilot if work.failed is not None or not all_right(work)]
        if bad and others:
            for work in others:
                work.because = f"not begun: the pilot session {bad[0].session.key} was not proved"
            return
        self._together(others)

    def _together(self, works: list[Work]) -> None:
        """Keep ``workers`` scans arriving and ``workers`` going out, and half as many sessions being proved beside."""
        workers = self.options.workers
        lanes = Lanes(
            {"read": workers, "send": workers, "end": max(1, workers // 2)},
            held=self._held,
            stopping=self._stopping,
            pause=self.control.wait,
        )
        try:
            lanes.run(self._steps(work) for work in works)
        except BaseException:
            self.ending = True
            raise

    def _held(self) -> bool:
        """Whether nothing new begins now: it is paused, or waits for the run window; told when that changes."""
        held = "paused" if self.control.state is State.PAUSED else ""
        if not held and not window_open(self.options.run_window, datetime.datetime.now()):
            held = "waiting"
        if held != self.held:
            self._tell("run", held or "resumed", text=self.options.run_window if held == "waiting" else "")
        self.held = held
        return bool(held)

    def _stopping(self) -> bool:
        return self.ending or self.fatal is not None or self.control.cancelled

    def _steps(self, work: Work) -> list[Step]:
        session = work.session
        self._tell("session", "started", session, files=session.files, size_bytes=session.size_bytes)
        if self.files is not None:
            return [Step("read", partial(self._guarded, self._put_files, work))]
        return self.order.steps(work)

    def _guarded(self, do: Callable[..., None], work: Work, *scan: ScanPlan) -> None:
        """Do one step; what goes wrong in it ends its session, and the run only where it is no session's own."""
        try:
            if not scan or (work.failed is None and not self._stopping()):
                do(work, *scan)
        except XnbTransferError as problem:
            self._failed(work, problem)
            if isinstance(problem, DiskFullError | JournalError):
                self.fatal = self.fatal or problem
            if not isinstance(problem, HeldError):  # who has one session says nothing of the next
                self._count_failure()
        except Exception as problem:  # a fault of ours in one session must not take the others with it
            self._failed(work, XnbTransferError(f"Unexpected {type(problem).__name__} in {work.session.key}."))
            self.fatal = self.fatal or problem

    def _failed(self, work: Work, problem: XnbTransferError) -> None:
        with self.lock:
            if work.failed is not None:
                return
            work.failed = problem
        try:
            self._note(work, "failed", because=str(problem), transient=problem.retry)
        except XnbTransferError as worse:
            self.fatal = self.fatal or worse
        self._tell("session", "failed", work.session, text=str(problem))

    def _count_failure(self) -> None:
        """Many in a row are not the sessions' fault: end here, and let the next run go on."""
        with self.lock:
            self.broken += 1
            self.ending = self.ending or self.broken >= self.options.failures

    # -- one session --------------------------------------------------------------------------------------------

    def _open(self, work: Work) -> None:
        """Right before the first write of a session: take it for this run, and look at the destination once more."""
        self.lease.hold("session", work.session.destination_session)
        if work.opened:
            return
        session, past = work.session, work.past
        to = self.plan.destination
        work.claim = claim(to.server, to.project, session.destination_session)
        if past.begun:
            # A row that somebody deleted since is not waited for: what was in it is sent again.
            row = self.destination.prearchive_row(past.uri) if past.uri else None
            work.uri = past.uri if row else self.door.own_row(session)
            if row and row["status"] == "ERROR":  # what was archived in vain may have lost its files by that
                work.spoilt = f"{session.to} is in error in the prearchive."
                self._withdraw(work)
            work.there = self.door.held(work)
        else:
            # what was read before the lease stood may be older than what another run has done
            if time.monotonic() - self.looked > _FRESH_S or self.looked < self.lease.taken:
                self.door.look(session)
            self._note(work, "begun")
        work.opened = True

    def _read(self, work: Work, scan: ScanPlan) -> None:
        """Read one scan to temporary disk, or only look at it where it has arrived in an earlier run."""
        if work.spoilt:
            return
        at = (scan.scan, scan.resource)
        damaged = at in work.past.damaged
        arrived = at in work.past.sent and not damaged and self._holds(work, work.past.sent[at])
        spool = self._read_scan(work, scan, (lambda: None) if arrived else (lambda: Spool(self.spool_folder)))
        with self.lock:
            if spool is None:
                work.pending.remove(scan)
            else:
                work.spools[scan] = spool

    def _read_scan(self, work: Work, scan: ScanPlan, make_spool: Callable[[], Spool | None]) -> Spool | None:
        session = work.session
        at = (scan.scan, scan.resource)
        seen, spool = read_source_scan(
            self.source,
            session,
            scan.scan,
            scan.resource,
            work.listed.get(at, {}),
            prefix=prefix_of(session, scan),
            key=self.key,
            study_uid=work.study,
            pace=self.pace,
            make_spool=make_spool,
            make_look=lambda: self.review.look(session, scan) if self.review else None,
            twice=self.options.source_twice,
            keep=bool(expected_changes(self.plan, session, archived=True).steps),
            beside=work.listed,
        )
        seen = share_elements(seen)
        with self.lock:
            work.seen[at] = seen
            work.study = work.study or study_of(seen)
        if self.review is not None:
            try:
                self.review.passed(work, scan)
            except XnbTransferError:
                if spool is not None:
                    spool.close()
                raise
        return spool

    def _send(self, work: Work, scan: ScanPlan) -> None:
        """Send one scan that was read."""
        at = (scan.scan, scan.resource)
        with self.lock:
            spool = work.spools.pop(scan)
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: spool.close())
            self._open(work)
            if study_of(work.seen[at]) not in ("", work.study):  # read beside the scan that told the study
                spool.close()
                spool = self._read_scan(work, scan, lambda: Spool(self.spool_folder))
            seen = work.seen[at]
            if work.spoilt:
                return
            good = [one for one in seen if not one.problem]
            try:
                if work.there:
                    self.door.check(work, [one.record() for one in good], work.there)
                if good and (at in work.past.damaged or not {one.name for one in good} <= set(work.there)):
                    self.door.send(work, scan, spool, good)
            except SpoiltError as problem:
                work.spoilt = str(problem)
                return
            count, sent = len(spool.members), sum(member.size_bytes for member in spool.members)
        files = [one.record() for one in seen]
        self._note(work, "sent", settle=False, scan=scan.scan, resource=scan.resource, uri=work.uri, files=files)
        with self.lock:
            work.pending.remove(scan)
            self.sent_bytes += sent
            self.timeline.append((round(time.time() - self.started, 3), self.sent_bytes))
        self._tell("scan", "sent", work.session, where=scan.scan, files=count, size_bytes=scan.size_bytes)

    def _put_files(self, work: Work) -> None:
        """All of a session byte for byte, in one step."""
        try:
            self._open(work)
            if self.review is not None:
                self.review.read_before(self.source, work)
            self.files.carry(work, spool_folder=self.spool_folder, stopping=self._stopping, sent=self._arrived)
            work.pending.clear()
            self._proved(work, ARCHIVED)
            self.broken = 0
        finally:
            _release(work)

    def _arrived(self, work: Work, scan: ScanPlan, files: int) -> None:
        with self.lock:
            self.sent_bytes += scan.size_bytes
            self.timeline.append((round(time.time() - self.started, 3), self.sent_bytes))
        self._tell("scan", "sent", work.session, where=scan.scan, files=files, size_bytes=scan.size_bytes)

    def _holds(self, work: Work, records: list[dict]) -> bool:
        """Whether the destination still holds all files of a scan that the journal says was sent."""
        if self.door.archived_before(work):
            return True
        if self.options.method == "receiver":
            return bool(work.uri)  # a receiver names files anew: what is missing in its row is seen by the proof
        names = {record["name"] for record in records if record["name"]}
        return bool(work.uri) and names <= set(work.there)

    def _end(self, work: Work) -> None:
        try:
            self._end_session(work)
        finally:
            _release(work)

    def _end_session(self, work: Work) -> None:
        if work.spoilt and work.failed is None and not self._stopping():
            self._anew(work)
        if work.failed is None and not work.pending and self._all_read(work):
            self._prove(work)
            self.broken = 0
            return
        if self.review is not None:
            self.review.withdraw(self.door, work)
        if work.failed is None and self._stopping():
            work.because = "stopped before it was complete; run again to go on"

    def _withdraw(self, work: Work) -> None:
        """Withdraw a row that was spoilt, so that all of the session is sent once more.

        Raises
        ------
        RefusedError
            If it cannot be withdrawn, or was spoilt again.
        """
        session, why = work.session, work.spoilt
        if work.anew or not self.door.withdraw(work):
            because = "It was sent anew, and is so again." if work.anew else "Not all of that row is this run's own."
            raise RefusedError(f"{why} {because}", self._by_hand(session))
        self._tell("session", "repairing", session, text=f"{why} The row was withdrawn; all of it is sent anew.")
        self._note(work, "withdrawn", scan="", resource="")
        self._note(work, "begun")
        work.spoilt, work.anew = "", True
        work.uri, work.there, work.rows, work.extra = "", {}, [], []
        work.past = SessionHistory(begun=True)

    def _by_hand(self, session: SessionPlan) -> str:
        return (
            f"Look at it, then: xnbtransfer prearchive {self.plan.destination.project} --action delete --sessions "
            f"{session.destination_session}, and run again: all of it is sent anew."
        )

    def _anew(self, work: Work) -> None:
        """Withdraw a row that was spoilt, and send all of the session once more, one scan after another."""
        self._withdraw(work)
        while work.spools:
            work.spools.popitem()[1].close()
        work.pending = list(work.session.sent_scans)
        for scan in work.session.sent_scans:
            if self._stopping():
                return
            self._read(work, scan)
            if scan in work.spools:
                self._send(work, scan)
        if work.spoilt:
            self._withdraw(work)

    def _all_read(self, work: Work) -> bool:
        return {(scan.scan, scan.resource) for scan in work.session.sent_scans} <= set(work.seen)

    def _sent(self, work: Work) -> list[Seen]:
        return [one for at in sorted(work.seen) for one in work.seen[at]]

    def _prove(self, work: Work) -> None:
        session, sent = work.session, self._sent(work)
        if work.opened:
            self.lease.hold("session", session.destination_session)
        if not any(not one.problem for one in sent):
            work.rows = not_proved(session, sent, "")
            work.state = "failed"
            self._proved(work, "failed")
            return
        archived_id = self.door.archived_before(work)
        listed = self.destination.files([archived_id]) if archived_id else []
        if not archived_id:
            work.rows, work.extra = self.proof.in_prearchive(work, sent)
            bad = self._bad_scans(session, work.rows, sent)
            if bad:
                self._repair(work, bad)
                if not work.spoilt:
                    work.rows, work.extra = self.proof.in_prearchive(work, self._sent(work))
                sent = self._sent(work)
            if self.options.method == "import" and not work.anew and (work.spoilt or work.extra):
                work.spoilt = work.spoilt or f"The prearchive row of {session.to} holds files that were not sent."
                try:
                    self._anew(work)
                except RefusedError as problem:
                    if work.anew:
                        raise
                    work.because = str(problem)
                    self._proved(work, IN_PREARCHIVE)
                    return
                if work.pending:
                    return
                sent = self._sent(work)
                work.rows, work.extra = self.proof.in_prearchive(work, sent)
            self._tell("session", "compared", session, files=len(work.rows))
            left_out = [row for row in work.rows if self._left_out(row)]
            good = not work.extra and all(
                row["verdict"] != Verdict.DIFFERENT or row in left_out for row in work.rows
            )
            if not (self.options.archive and good):
                work.because = "" if good or not self.options.archive else "not archived: not every file is right"
                self._proved(work, IN_PREARCHIVE)
                return
            try:
                listed = self.door.archive(work)
            except XnbTransferError:
                self._proved(work, IN_PREARCHIVE)
                raise
            self._tell("session", "archived", session)
        work.rows, work.extra = self.proof.in_archive(work, sent, listed)
        because = "left out: it is no DICOM file, and the rule C12 is waived for it"
        work.rows = [
            row | {"verdict": Verdict.NOT_PROVED, "because": because} if self._left_out(row) else row
            for row in work.rows
        ]
        self._proved(work, ARCHIVED)

    def _left_out(self, row: dict) -> bool:
        """Whether a file was not sent since it is no DICOM, and somebody has said with a reason that this may be."""
        found = (one for one in self.plan.findings if one.rule == "C12" and one.waived)
        waived = {(one.subject, one.session, one.scan) for one in found}
        why = row["because"]
        no_dicom = why.startswith("not sent") and ("not a DICOM" in why or of_a_desktop(row["path"]))
        return no_dicom and (row["subject"], row["session"], row["scan"]) in waived

    def _proved(self, work: Work, state: str) -> None:
        work.state, work.read = state, {}
        work.rows = [row for row in work.rows if row not in work.unsure] + work.unsure
        if self.review is not None:
            self.review.ended(work)
        rows = [row | {"verdict": str(row["verdict"])} for row in work.rows]
        self._note(work, "proved", state=state, rows=rows, extra=work.extra)
        self._tell("session", "proved", work.session, files=len(rows), text=state)

    def _bad_scans(self, session: SessionPlan, rows: list[dict], sent: list[Seen]) -> set[tuple[str, str]]:
        fine = {(one.scan, one.resource, one.path) for one in sent if not one.problem}
        return {
            (row["scan"], row["resource"])
            for row in rows
            if row["verdict"] == Verdict.DIFFERENT and (row["scan"], row["resource"], row["path"]) in fine
        }

    def _repair(self, work: Work, bad: set[tuple[str, str]]) -> None:
        """Send the scans that did not arrive whole once more into the same prearchive row."""
        self._tell("session", "repairing", work.session, text=f"{len(bad)} scans are sent again")
        for scan in work.session.sent_scans:
            if (scan.scan, scan.resource) in bad:
                work.past.sent.pop((scan.scan, scan.resource), None)
                work.pending.append(scan)
                self._read(work, scan)
                self._send(work, scan)

    # -- telling ------------------------------------------------------------------------------------------------

    def _note(self, work: Work, kind: str, **values) -> None:
        self.journal.write(kind, subject=work.session.subject, session=work.session.session, **values)

    def _tell(self, kind, name, session: SessionPlan | None = None, where="", files=0, size_bytes=0, text="") -> None:
        if self.listener is None:
            return
        place = f"{session.key} {where}".strip() if session else where
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            self.listener(
                Event(kind=kind, name=name, where=place, files=files, size_bytes=size_bytes, text=text, at=at)
            )
        except Exception:  # noqa: BLE001 - a listener never stops a run
            return

    def _result(
        self,
        works: list[Work],
        done: list[SessionPlan],
        before: tuple[int, int],
        beside: Beside,
        existing: list[Work],
    ) -> Result:
        ended = Ended(transient=beside.transient)
        add_finished(ended, self.plan, done, self.path, self.destination, self.source)
        add_works(ended, works)
        add_existing(ended, existing)
        if self.fatal is None:
            add_silent(ended, self.plan, self.source)
        meanwhile = ""
        if works and any(row["verdict"] not in (Verdict.EQUAL, Verdict.EXPLAINED) for row in ended.rows):
            meanwhile = changed_meanwhile(self.plan.destination, self.destination)
        return result_of(
            beside.told(ended.ordered(self.plan)),
            [*ended.rows, *beside.rows],
            [*ended.extra, *beside.extra],
            self.started,
            requests=self.source.requests + self.destination.requests - before[0],
            writes=self.source.writes + self.destination.writes - before[1],
            messages=(*self._messages(), *filter(None, [meanwhile]), *beside.messages, *self.lease.messages),
            problems=(*ended.problems, *beside.problems),
            transient=ended.transient,
            timeline=tuple(self.timeline),
            open_points=tuple(open_points(self.plan)),
            strict=self.options.strict,
            findings=self.review.findings(self.journal.entries(), {one.key for one in done}) if self.review else None,
        )

    def _messages(self) -> tuple[str, ...]:
        files, scans = getattr(self.source, "files_read", 0), getattr(self.source, "scans_read", 0)
        if not files:
            return ()
        return (f"{files} files of {scans} scan resources were read from XNAT_DATA in place of a download.",)


def lease_of(plan: Plan, destination: Connection, journal: Journal, tell: Callable[[str], None]) -> Lease:
    """The lease of a run of this plan, not asked for yet; an earlier run over the same journal leaves its own to it."""
    names: set[Name] = {("session", one.destination_session) for one in plan.sessions if one.action in SENDS}
    for row in (*plan.resources, *(plan.field_rows or ())):
        if row.action != "leave":
            names.add(name_of(row))
    earlier = journal.last("lease") or {}
    return Lease(
        destination,
        plan.destination.project,
        names,
        kind=plan.lease,
        reason=plan.transfer_options.reason,
        keep=lambda label: journal.write("lease", label=label),
        label=earlier.get("label", ""),
        tell=tell,
    )


def _release(work: Work) -> None:
    while work.spools:
        work.spools.popitem()[1].close()
    if work.claim is not None:
        work.claim.release()
        work.claim = None
