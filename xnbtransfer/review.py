"""Review of headers: one file of each scan before the start, by the server's header dump or from the file itself; and
every file in the stream of the copy."""

from __future__ import annotations

import abc
import contextlib
import html
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from .dicom import Values, read_content
from .errors import DicomError, NotFoundError, RefusedError, ServerError, TransientError
from .findings import Finding, finding, findings_frame, in_order
from .inputs import Inputs
from .keys import SessionKey
from .methods import ImportDoor, Work
from .plan_file import Plan, ScanPlan, SessionPlan
from .reviewer import Reviewer, ScanReview, reviewer_of
from .script_findings import UNTOLD
from .streams import path_in_resource, whole
from .values import Inventory, tuples_of
from .xnat import Connection
from .zips import Limits, read_zip

_AT_ONE_TIME = 16
_HEADER_BYTES = 4 << 20
_DUMP_TRIES = 3  # how often a header that is another's is asked for again, alone
_STUDY, _SERIES = "0020000D", "0020000E"
_Scans = list[tuple[SessionPlan, ScanPlan]]
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)?")


def review(
    plan: Plan,
    source: Connection,
    here: Inventory,
    *,
    alone: bool = False,
    reviewer: Reviewer | None = None,
    inputs: Inputs | None = None,
) -> Plan:
    """The plan with what a look at the headers of its scans tells; a blocking finding becomes a blocker.

    Parameters
    ----------
    plan : Plan
        Its option ``review`` says how deep: ``none`` reads no header, ``sample`` and ``all`` one file of each scan
        now. With ``all``, :func:`xnbtransfer.transfer.run` reads every file before it is sent.
    here : Inventory
        The source with its files, as the plan was made from it.
    alone : bool
        A review without a copy: sessions that the plan would skip are looked at, too, and ``review=all`` reads every
        file now.
    reviewer : Reviewer, optional
        For its distinct values; without it one is made.
    inputs : Inputs, optional
        What the plan was made with; without it the list of identifiers is read again.

    Raises
    ------
    InputError
        If the list of known identifiers cannot be read.
    """
    depth = plan.transfer_options.review
    project = plan.source.project
    if depth == "none":
        return plan.with_findings(plan.policy.applied([finding("L02", "No header was read.", project=project)]))
    every = alone and depth == "all"
    reviewer = reviewer or reviewer_of(plan, whole=every, inputs=inputs)
    scans = [(row, scan) for row in plan.sessions for scan in (row.scans if alone else row.sent_scans)]
    look = _Every(plan, source, reviewer, scans) if every else _Sample(plan, source, here, reviewer, scans)
    look.read()
    found = [*reviewer.findings(), *plan.policy.applied([*look.limits(), *_list_used(reviewer, project)])]
    return plan.with_findings(found)


def _list_used(reviewer: Reviewer, project: str) -> Iterable[Finding]:
    known = reviewer.judge.identifiers
    if known is not None:
        about = known.fingerprint()
        sentence = (
            f"A list of {about['entries']} known identifiers was searched for ({about['left_out']} lines of it are "
            f"empty, too short or too common); salt {about['salt']}, scrypt {about['scrypt']}."
        )
        yield finding("L04", sentence, project=project)


class _Look(abc.ABC):
    """A look at the scans of a plan, several at one time."""

    at_one_time = _AT_ONE_TIME

    def __init__(self, plan: Plan, source: Connection, reviewer: Reviewer, scans: _Scans) -> None:
        self.plan, self.source, self.reviewer, self.scans = plan, source, reviewer, scans
        self.files = sum(scan.files for _, scan in scans)
        self.failed: list[Finding] = []

    def read(self) -> None:
        """Look at every scan; one that cannot be read becomes a finding."""
        if not self.scans:
            return
        self._one(*self.scans[0])
        with ThreadPoolExecutor(self.at_one_time, thread_name_prefix="xnbtransfer-review") as pool:
            for future in [pool.submit(self._one, *one) for one in self.scans[1:]]:
                future.result()

    def _one(self, row: SessionPlan, scan: ScanPlan) -> None:
        try:
            self._look_at(row, scan)
        except (NotFoundError, ServerError, RefusedError, TransientError) as error:
            place = {"project": self.plan.source.project, "subject": row.subject, "session": row.session}
            sentence = f"{row.key} scan {scan.scan}: its header could not be read ({type(error).__name__})."
            self.failed.append(finding("L03", sentence, scan=scan.scan, files=scan.files, **place))

    @abc.abstractmethod
    def _look_at(self, row: SessionPlan, scan: ScanPlan) -> None:
        """Give the reviewer what there is to see of a scan."""

    def limits(self) -> Iterable[Finding]:
        """What could not be seen."""
        yield from self.failed
        told = f"{self._told()} Pixels are judged by what the headers say of them, and no review is a guarantee."
        yield finding("L01", told, project=self.plan.source.project, files=self.files)

    @abc.abstractmethod
    def _told(self) -> str:
        """How much was seen."""


class _Every(_Look):
    """Every file of every scan, in the stream of the scan; nothing is kept."""

    at_one_time = 4

    def _look_at(self, row: SessionPlan, scan: ScanPlan) -> None:
        part = self.reviewer.scan(row.subject, row.session, scan.scan)
        read_every(self.source, row, scan, part)
        part.close()

    def _told(self) -> str:
        return f"Every one of {self.files} files in {len(self.scans) - len(self.failed)} scans was read."


def _problem(view: memoryview, values: Values) -> str:
    """Read one file into ``values``; why it could not be read whole, or ""."""
    if not len(view):
        return "the file is empty"
    try:
        read_content(view, values=values)
    except DicomError as error:
        return error.message
    return ""


class _Gate:
    """Lets requests go side by side, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beside, self._alone = 0, 0
        self._lonely = threading.Lock()

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._beside += 1
        try:
            yield
        finally:
            with self._changed:
                self._beside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._alone += 1  # nobody new begins
            self._changed.wait_for(lambda: not self._beside)
        try:
            with self._lonely:
                yield
        finally:
            with self._changed:
                self._alone -= 1
                self._changed.notify_all()


class _Sample(_Look):
    """One file of each scan of a plan."""

    def __init__(self, plan: Plan, source: Connection, here: Inventory, reviewer: Reviewer, scans: _Scans) -> None:
        super().__init__(plan, source, reviewer, scans)
        self.dumps: bool | None = None
        self.untold = False  # what the scripts do cannot be told from a file either
        self.gate = _Gate()
        listed = tuples_of(here.scans, "subject", "session", "scan", "SeriesInstanceUID")
        self.series = {tuple(place): uid for *place, uid in listed}
        self.paths: dict[tuple[str, str, str, str], tuple[str, int]] = {}
        columns = ["subject", "session", "scan", "resource", "path", "size_bytes"]
        for *place, path, size_bytes in tuples_of(here.files, *columns):
            # The smallest file that is not empty: it has the same header, and arrives sooner.
            best = self.paths.get(tuple(place))
            if size_bytes and (best is None or size_bytes < best[1]):
                self.paths[tuple(place)] = (path, size_bytes)

    def _look_at(self, row: SessionPlan, scan: ScanPlan) -> None:
        part = self.reviewer.scan(row.subject, row.session, scan.scan)
        values, problem, dump = self._values(row, scan)
        found = part.trouble(values, dump=True) if dump else None
        if found and (found.rule or not self.untold):
            # A dump does not show all that a script may ask for; the file does.
            with contextlib.suppress(NotFoundError, ServerError, RefusedError, TransientError):
                values, problem, dump = *self._from_file(row, scan), False
                self.untold = self.untold or part.trouble(values) == UNTOLD
        part.file(values, problem=problem, dump=dump)
        part.close()

    def _values(self, row: SessionPlan, scan: ScanPlan) -> tuple[Values, str, bool]:
        """A header of the scan, why it could not be read whole, and whether it is as the server dumped it."""
        if self.dumps is not False and scan.resource == "DICOM":
            try:
                values = self._from_dump(row, scan)
            except (NotFoundError, ServerError, RefusedError):
                values, self.dumps = None, bool(self.dumps)
            if values is not None:
                self.dumps = True
                return values, "", True
        return *self._from_file(row, scan), False

    def _from_dump(self, row: SessionPlan, scan: ScanPlan) -> Values | None:
        """The header that the server dumps for this scan; None where what it gives cannot be known to be that.

        XNAT may answer 200 with the header of another session, where several are asked for at one time (live 1.7.2 and
        1.7.6: up to a quarter of the answers). So the UIDs of each are compared with those that the source lists for
        the session and the scan, and what does not fit is asked for again, with nothing else on its way.
        """
        wanted = (row.StudyInstanceUID, self.series.get((row.subject, row.session, scan.scan), ""))
        if not all(wanted):
            return None
        for turn in range(1 + _DUMP_TRIES):
            with self.gate.alone() if turn else self.gate.beside():
                rows = self.source.header_dump(self.plan.source.project, row.session_id, scan.scan)
            values = values_of_dump(rows) if rows else {}
            if tuple(_uid(values, path) for path in (_STUDY, _SERIES)) == wanted:
                return values
            if turn and not rows and not self.dumps:
                self.dumps = False  # it has no dump of anything
                return None
        return None

    def _from_file(self, row: SessionPlan, scan: ScanPlan) -> tuple[Values, str]:
        path, size_bytes = self.paths.get((row.subject, row.session, scan.scan, scan.resource), ("", 0))
        if not path:
            raise NotFoundError(f"{row.key} scan {scan.scan} lists no file that is not empty.")
        values: Values = {}
        with (
            self.source.open_scan_file(row.session_id, scan.scan, scan.resource, path) as chunks,
            whole(_first(chunks, _HEADER_BYTES)) as view,
        ):
            cut = len(view) < size_bytes
            problem = _problem(view, values)
        # Where the pixels were not read to their end, the header before them was.
        return values, "" if cut and "0020000D" in values else problem

    def _told(self) -> str:
        read = len(self.scans) - len(self.failed)
        told = f"One file of each of {read} scans was looked at before the start, {self.files} files in all."
        if self.dumps:
            told += (
                " The server's header dump was used: it cuts long values and shows neither deeper nesting in full, nor "
                "binary values, nor what stands before the header."
            )
        if self.plan.transfer_options.review == "all":
            return f"{told} Every file is read while it is copied, before it is sent."
        return f"{told} The others may hold something else; review=all reads every file."


class RunReview:
    """The review of a run with ``review=all``: each header in the stream of the copy, before its scan is sent.

    ``note(work, kind, **values)`` writes to the journal: rules, elements, counts and shapes, no values.
    """

    def __init__(self, plan: Plan, note: Callable[..., None]) -> None:
        self.plan, self.note = plan, note
        self.reviewer = reviewer_of(plan)
        self.looks: dict[tuple[str, str, str], ScanReview] = {}
        self.stopped: dict[SessionKey, ScanPlan] = {}

    def look(self, session: SessionPlan, scan: ScanPlan) -> ScanReview:
        """What looks at one reading of a scan; a further reading begins anew."""
        part = self.reviewer.scan(session.subject, session.session, scan.scan)
        self.looks[(session.session_id, scan.scan, scan.resource)] = part
        return part

    def passed(self, work: Any, scan: ScanPlan) -> None:
        """A scan was read whole.

        Raises
        ------
        RefusedError
            If something in it is blocking. It must not be sent, and its session not archived.
        """
        session = work.session
        part = self.looks.pop((session.session_id, scan.scan, scan.resource))
        blocking, told = part.blocking(), part.record()
        part.close()
        self.note(work, "reviewed", scan=scan.scan, resource=scan.resource, counts=told, findings=[])
        if blocking:
            some = " ".join(f"{one.rule}: {one.sentence}" for one in blocking[:3])
            more = f" And {len(blocking) - 3} more." if len(blocking) > 3 else ""
            self.stopped.setdefault(session.key, scan)
            raise RefusedError(
                f"The review stopped {session.key} at scan {scan.scan}, which was not sent. {some}{more}",
                "De-identify at the source, leave the session out, or waive the rule with a reason.",
            )

    def withdraw(self, door: ImportDoor, work: Work) -> None:
        """Take back what was sent of a session before the scan that stopped it: nothing of it is to stay there."""
        scan = self.stopped.get(work.session.key)
        if scan is None or not work.uri:
            return
        if gone := door.withdraw(work):
            self.note(work, "withdrawn", scan=scan.scan, resource=scan.resource)
        told = (
            "What was sent of it before was deleted from the prearchive again."
            if gone
            else "Scans of it that were sent before are still at the destination, in the prearchive if nobody archived "
            "them; delete them there, this run could not."
        )
        if isinstance(work.failed, RefusedError):
            work.failed = RefusedError(f"{work.failed.message} {told}", work.failed.remedy)

    def read_before(self, source: Connection, work: Any) -> None:
        """Read all scans of a session before any of them is sent, where files go byte for byte."""
        session = work.session
        for scan in session.sent_scans:
            read_every(source, session, scan, self.look(session, scan))
            self.passed(work, scan)

    def ended(self, work: Any) -> None:
        """A session was seen whole."""
        found = [one.model_dump() for one in self.reviewer.end(work.session.key)]
        if found:
            self.note(work, "reviewed", scan="", resource="", counts=[], findings=found)

    def findings(self, entries: Iterable[dict], done: Collection[SessionKey]) -> pd.DataFrame:
        """All that was found, in this run and in those before it, with what could not be seen."""
        past: dict[tuple[str, str, str, str], dict] = {}
        for entry in entries:
            if entry["kind"] == "reviewed" and SessionKey(entry["subject"], entry["session"]) in done:
                past[(entry["subject"], entry["session"], entry["scan"], entry["resource"])] = entry
        for entry in past.values():
            self.reviewer.scan(entry["subject"], entry["session"], entry["scan"]).restore(entry["counts"])
            self.reviewer.add(Finding(**one) for one in entry["findings"])
        project = self.plan.source.project
        told = (
            f"{self.reviewer.files} files were read in the stream of the copy. Pixels are judged by what the headers "
            "say of them, and no review is a guarantee."
        )
        limits = [finding("L01", told, project=project, files=self.reviewer.files)]
        return findings_frame(in_order([*self.reviewer.findings(), *self.plan.policy.applied(limits)]))


def read_every(source: Connection, session: SessionPlan, scan: ScanPlan, part: ScanReview) -> None:
    """Let ``part`` look at every file of a scan, in the stream of its zip, as far as is listed; nothing is kept."""
    limits = Limits.of_sum(scan.files, scan.size_bytes)
    with source.open_scan(session.session_id, scan.scan, scan.resource) as chunks:
        for entry, data in read_zip(chunks, limits):
            with whole(data) as view:
                values: Values = {}
                part.file(values, path=path_in_resource(entry), problem=_problem(view, values))


def _first(chunks: Iterable[bytes], limit: int) -> Iterable[bytes]:
    got = 0
    for chunk in chunks:
        yield chunk
        got += len(chunk)
        if got >= limit:
            return


def _uid(values: Values, path: str) -> str:
    _, value = values.get(path, (b"", b""))
    return value.decode("ascii", "replace").strip(" \0")


def values_of_dump(rows: Iterable[dict[str, str]]) -> Values:
    """The rows of a header dump as a review reads values: text in UTF-8, nested elements below their sequence."""
    values: Values = {}
    sequences: set[str] = set()
    for row in rows:
        first, second = _TAG.search(row["tag1"]), _TAG.search(row["tag2"] or "")
        if first is None:
            continue
        path = (first[1] + first[2]).upper()
        vr = row["vr"].strip().encode()[:2]
        if vr == b"SQ":
            # Its own tag stands in the second column where it is nested, on some servers always.
            sequences.add((second[1] + second[2]).upper() if second else path)
            continue
        if second is not None:
            sequences.add(path)
            inner = (second[1] + second[2]).upper()
            number = 0
            while f"{path}[{number}].{inner}" in values:
                number += 1
            path = f"{path}[{number}].{inner}"
        values[path] = (vr, html.unescape(row["value"]).encode())
    for path in sequences:
        values.setdefault(path, (b"SQ", b"1"))
    values["00080005"] = (b"CS", b"ISO_IR 192")
    return values
