"""Carry out the resources of a plan after its sessions, prove them, and prove them again later."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from .archived import archived_copy
from .chosen_fields import unmet
from .errors import DiskFullError, HeldError, JournalError, RefusedError, TransientError, XnbTransferError
from .fields import carry_fields, digests_of, prove_fields
from .forms import archived_path, project_path, subject_path
from .history import SessionHistory, read_history
from .journal import Journal
from .keys import SessionKey
from .parcels import Parcel, carry, listing, make_scan, prove
from .plan_file import SENDS, FieldPlan, Plan, ResourcePlan, SessionPlan
from .resources import state_of
from .values import Verdict
from .xnat import Connection


@dataclass
class Carried:
    """What became of one resource; ``rows`` have MANIFEST_COLUMNS, one per file, ``extra`` FILE_COLUMNS."""

    resource: ResourcePlan
    rows: list[dict]
    extra: list[dict] = field(default_factory=list)
    failed: XnbTransferError | None = None
    because: str = ""


ScanMap = Mapping[tuple[SessionKey, str], str]  # a session and its scan to the scan's number at the destination


class Carrier:
    """Carries the resources of one plan.

    Parameters
    ----------
    scans : mapping
        Where a scan got another number at the destination.
    stopping : callable
        Whether to end after the resource in flight.
    tell : callable
        Is told ``(name, resource, files, size_bytes, text)``.
    hold : callable
        Is asked with ``name_of`` a resource before anything is written to it; raises where another run has its item.
    """

    def __init__(
        self,
        plan: Plan,
        source: Connection,
        destination: Connection,
        journal: Journal,
        *,
        scans: ScanMap | None = None,
        spool_folder: str | None = None,
        stopping: Callable[[], bool] = lambda: False,
        tell: Callable[..., None] = lambda *about: None,
        hold: Callable[..., None] = lambda *name: None,
    ) -> None:
        self.plan, self.source, self.destination, self.journal = plan, source, destination, journal
        self.options = plan.transfer_options
        self.scans, self.spool_folder = scans or {}, spool_folder
        self.stopping, self.tell, self.hold = stopping, tell, hold
        self.past = history(journal.entries())
        self.ours = read_history(journal.entries())
        self.ids: dict[SessionKey, str] = {}
        self.lock = threading.Lock()
        self.fatal: XnbTransferError | None = None

    def carry_all(self) -> list[Carried]:
        """Each resource that the plan sends; one that fails does not take the others with it."""
        todo = [one for one in self.plan.resources if one.action != "leave"]
        if not todo:
            return []
        with ThreadPoolExecutor(min(self.options.workers, len(todo)), thread_name_prefix="xnbtransfer") as pool:
            return list(pool.map(self._one, todo))

    def _one(self, one: ResourcePlan) -> Carried:
        if self.stopping() or self.fatal is not None:
            because = "the run ended before it was carried"
            return Carried(one, missing_rows(one, because), failed=TransientError(f"{one.where}: {because}."))
        try:
            return self._carry(one)
        except XnbTransferError as problem:
            if isinstance(problem, DiskFullError | JournalError):
                self.fatal = self.fatal or problem
            with contextlib.suppress(XnbTransferError):
                self.journal.write("resource-failed", at=one.at, because=str(problem))
            self.tell("failed", one, 0, 0, str(problem))
            return Carried(one, missing_rows(one, str(problem)), failed=problem)

    def _carry(self, one: ResourcePlan) -> Carried:
        here, there = self._places(one)
        past = self.past.get(tuple(one.at), Past())
        if past.rows is not None and all(row["verdict"] == Verdict.EQUAL for row in past.rows):
            rows = listed_again(past.rows, listing(self.destination, there, one.resource))
            if all(row["verdict"] == Verdict.EQUAL for row in rows):
                return Carried(one, rows, past.extra, because="proved by an earlier run, and listed as it was")
        self.hold(*name_of(one))
        files = {row["path"]: (row["size_bytes"], row["md5"]) for row in self.source.files_below(here, one.resource)}
        if state_of(files) != one.source_state:
            raise RefusedError(f"{one.where} is no longer at the source as the plan saw it.", "Plan again.")
        if not past.sent and state_of(listing(self.destination, there, one.resource)) != one.destination_state:
            raise RefusedError(f"{one.where} is no longer at the destination as the plan saw it.", "Plan again.")
        if one.scan:
            self._scan_there(one)
        parcel = Parcel(
            source=here,
            destination=there,
            resource=one.resource,
            listed=files,
            overwrite=one.action == "replace",
            about={"format": one.format},
            twice=self.options.source_twice,
        )
        found, more = carry(
            parcel,
            self.source,
            self.destination,
            reason=self.options.reason,
            read_back=self.options.proof in ("all", "prearchive"),
            mine=past.sent,
            spool_folder=self.spool_folder,
            note=lambda paths: self.journal.write("resource-sending", at=one.at, paths=paths),
            stopping=self.stopping,
        )
        if self.stopping() and any(each.verdict == Verdict.DIFFERENT for each in found):
            raise TransientError(f"{one.where} was stopped before it was complete; run again to go on.")
        rows = [each.row(one, one.scan, one.resource, at=self._scan(one)) for each in found]
        if why := self._counted_otherwise(one, here, len(files)):
            rows = [row | {"verdict": Verdict.NOT_PROVED, "because": why} for row in rows]
        extra = [extra_row(one, path) for path in more] if one.action == "send" else []
        self.journal.write("resource-proved", at=one.at, rows=rows, extra=extra)
        self.tell("proved", one, len(rows), sum(row["size_bytes"] for row in rows), "carried")
        return Carried(one, rows, extra)

    def _counted_otherwise(self, one: ResourcePlan, here: str, listed: int) -> str:
        """Why a resource above the sessions may not be whole: its server counts other files than it lists; else "".

        Those of sessions and scans are counted in the session's own document (``fresh.unsure``).
        """
        if one.session:
            return ""
        counted = sum(row["files"] for row in self.source.resources_of(here) if row["resource"] == one.resource)
        if counted == listed:
            return ""
        return f"the file list names {listed} files of it, and the list of resources counts {counted}"

    def _scan_there(self, one: ResourcePlan) -> None:
        """Make the scan that a resource belongs to, where no DICOM of it has made it at the destination."""
        session = session_of(self.plan, one)
        if any(scan.scan == one.scan for scan in session.sent_scans):
            return
        about = next((row for row in self.source.scan_list(session.session_id) if row["scan"] == one.scan), {})
        with self.lock:
            session_id = self.ids[session.key]
            make_scan(self.destination, session_id, self._scan(one), about, self.options.reason, one.where)

    def listed_after(self, carried: Carried) -> Carried:
        """A resource of a session whose fields were written after it was proved, as it is listed now."""
        one = carried.resource
        if not one.session or carried.failed is not None:
            return carried
        now = listed_again(carried.rows, listing(self.destination, self._places(one)[1], one.resource))
        rows = [
            new if new["verdict"] == Verdict.DIFFERENT else old for old, new in zip(carried.rows, now, strict=True)
        ]
        if rows != carried.rows:
            self.journal.write("resource-proved", at=one.at, rows=rows, extra=carried.extra)
        return replace(carried, rows=rows)

    def _scan(self, one: ResourcePlan) -> str:
        return self.scans.get((SessionKey(one.subject, one.session), one.scan), one.scan)

    def _places(self, one: ResourcePlan) -> tuple[str, str]:
        """The addresses of the item at the source and at the destination."""
        if one.level == "project":
            here = project_path(self.plan.source.project)
        elif one.level == "subject":
            here = subject_path(self.plan.source.project, one.subject)
        else:
            here = archived_path(session_of(self.plan, one).session_id, one.scan)
        session_id = ""
        if one.session:
            session = session_of(self.plan, one)
            with self.lock:
                if session.key not in self.ids:
                    self.ids[session.key] = self._archived(session)
                session_id = self.ids[session.key]
        return here, place_there(self.plan, one, session_id, self._scan(one))

    def _archived(self, session: SessionPlan) -> str:
        """The accession of the session at the destination, kept in the journal before anything is put below it."""
        past = self.ours.get(session.key)
        found = archived_id(self.destination, self.plan, session, past)
        if past is None or not past.accession:
            self.journal.write("archived", subject=session.subject, session=session.session, accession=found)
        return found


def name_of(row: ResourcePlan | FieldPlan) -> tuple[str, ...]:
    """The item at the destination that a resource or field belongs to, as a lease names it."""
    if row.session:
        return ("session", row.destination_session)
    return ("subject", row.destination_subject) if row.subject else ("project",)


def archived_id(destination: Connection, plan: Plan, session: SessionPlan, past: SessionHistory | None) -> str:
    """The accession of a session in the archive of the destination.

    Raises
    ------
    RefusedError
        If it is not there.
    """
    if found := archived_copy(destination, plan, session, past.accession if past else ""):
        return found
    raise RefusedError(
        f"{session.to} is not in the archive of the destination, so its resources have no place there.",
        "Archive it, then run again.",
    )


@dataclass
class Past:
    """What a journal says of one resource."""

    sent: set[str] = field(default_factory=set)
    rows: list[dict] | None = None
    extra: list[dict] = field(default_factory=list)


def history(entries: Iterable[dict]) -> dict[tuple, Past]:
    """Fold the entries of a journal into one history per resource."""
    found: dict[tuple, Past] = {}
    for entry in entries:
        kind = entry["kind"]
        if not kind.startswith("resource-"):
            continue
        past = found.setdefault(tuple(entry["at"]), Past())
        if kind == "resource-sending":
            past.sent |= set(entry["paths"])
        elif kind == "resource-proved":
            past.rows, past.extra = entry["rows"], entry["extra"]
    return found


def prove_again(plan: Plan, journal: Iterable[dict], destination: Connection, proof: str) -> list[Carried]:
    """What the destination holds today of the resources that a journal says were carried. Reads only."""
    entries = list(journal)
    past, ours, found = history(entries), read_history(entries), []
    for one in plan.resources:
        if one.action == "leave":
            continue
        earlier = past.get(tuple(one.at), Past())
        if earlier.rows is None:
            found.append(Carried(one, missing_rows(one, "the run did not get as far as this resource")))
            continue
        try:
            rows = _again(plan, one, earlier.rows, destination, proof, ours.get(SessionKey(one.subject, one.session)))
        except RefusedError as problem:
            rows = [{**row, "verdict": str(Verdict.DIFFERENT), "because": problem.message} for row in earlier.rows]
        found.append(Carried(one, rows, earlier.extra, because="read again now"))
    return found


def _again(
    plan: Plan,
    one: ResourcePlan,
    rows: list[dict],
    destination: Connection,
    proof: str,
    ours: SessionHistory | None,
) -> list[dict]:
    scan = next((row["destination_scan"] for row in rows if row["destination_scan"]), one.scan)
    session_id = archived_id(destination, plan, session_of(plan, one), ours) if one.session else ""
    there = place_there(plan, one, session_id, scan)
    if proof == "listing":
        return listed_only(listed_again(rows, listing(destination, there, one.resource)))
    listed = {row["path"]: (row["size_bytes"], row["source_md5"]) for row in rows}
    found = {each.path: each for each in prove(destination, there, one.resource, listed)}
    return [{**row, "verdict": str(found[row["path"]].verdict), "because": found[row["path"]].because} for row in rows]


def session_of(plan: Plan, one: ResourcePlan) -> SessionPlan:
    """The row of the session that has a resource."""
    return next(row for row in plan.sessions if row.key == (one.subject, one.session))


def place_there(plan: Plan, one: ResourcePlan, session_id: str, scan: str) -> str:
    """The address of the item at the destination that a resource goes to."""
    if one.level == "project":
        return project_path(plan.destination.project)
    if one.level == "subject":
        return subject_path(plan.destination.project, one.destination_subject)
    return archived_path(session_id, scan if one.scan else "")


def listed_again(rows: Iterable[dict], now: Mapping[str, tuple[int, str]]) -> list[dict]:
    """Rows of an earlier proof, judged by what the destination lists now."""
    found = []
    for row in rows:
        size, md5 = now.get(row["path"], (0, ""))
        if row["path"] not in now:
            row = {**row, "verdict": str(Verdict.DIFFERENT), "because": "the destination no longer lists it"}
        elif size != row["size_bytes"] or (md5 and md5 != row["source_md5"]):
            row = {**row, "verdict": str(Verdict.DIFFERENT), "because": "the destination lists another size or MD5"}
        elif not md5:
            row = {**row, "verdict": str(Verdict.NOT_PROVED), "because": "the destination lists no MD5 for it"}
        found.append(row)
    return found


def listed_only(rows: Iterable[dict]) -> list[dict]:
    """The same rows where a list is all that was read: what is listed as it was is not proved by that."""
    because = "its listed MD5 is the one that was proved; its bytes were not read now"
    unread = {"verdict": str(Verdict.NOT_PROVED), "because": because, "read_in": ""}
    return [{**row, **unread} if row["verdict"] == Verdict.EQUAL else row for row in rows]


def extra_row(one: ResourcePlan, path: str) -> dict:
    """A file at the destination that the source does not have, as a row of FILE_COLUMNS."""
    return {
        "subject": one.destination_subject,
        "session": one.destination_session,
        "scan": one.scan,
        "resource": one.resource,
        "path": path,
    }


def missing_rows(one: ResourcePlan, because: str) -> list[dict]:
    """Rows for a resource that never got as far as a file: one per planned file, so that the verdicts add up."""
    empty = {"path": "", "destination_path": "", "source_md5": "", "destination_md5": ""}
    row = {
        **{name: getattr(one, name) for name in ("subject", "session", "scan", "resource")},
        **{name: getattr(one, name) for name in ("destination_subject", "destination_session")},
        **empty,
        "verdict": str(Verdict.DIFFERENT),
        "because": because,
    }
    return [{**row, "size_bytes": one.size_bytes if at == 0 else 0} for at in range(one.files)]


class Beside:
    """What is carried beside the DICOM scans of a plan, and what became of it, for the result of a run."""

    def __init__(self, resources: Iterable[Carried] = (), fields: Iterable[dict] = ()) -> None:
        self.rows: list[dict] = []
        self.extra: list[dict] = []
        self.problems: list[str] = []
        self.messages: list[str] = []
        self.transient = False
        self._of: dict[tuple[str, str], list[tuple[list[dict], list[dict], dict]]] = {}
        for one in resources:
            if one.failed is not None:
                self.problems.append(str(one.failed))
                self.transient = self.transient or one.failed.retry
            to = {"destination_subject": one.resource.destination_subject}
            to["destination_session"] = one.resource.destination_session
            self._add((one.resource.subject, one.resource.session), one.rows, one.extra, to)
        for row in fields:
            to = {name: row[name] for name in ("destination_subject", "destination_session")}
            self._add((row["subject"], row["session"]), [row], [], to)

    def _add(self, key: tuple[str, str], rows: list[dict], extra: list[dict], to: dict) -> None:
        self.rows += rows
        self.extra += extra
        self._of.setdefault(key, []).append((rows, extra, to))

    def told(self, outcomes: Iterable[dict]) -> list[dict]:
        """The outcomes of the sessions with their resources and fields counted in, and those of what stands above."""
        found = []
        left = dict(self._of)
        for one in outcomes:
            for rows, extra, _ in left.pop((one["subject"], one["session"]), ()):
                one = counted_in(one, rows, extra)
            found.append(one)
        for (subject, session), several in sorted(left.items()):
            where = {"subject": subject, "session": session, **several[0][2]}
            one = {**_NOTHING, **where, "action": "carry", "state": "carried", "because": "resources and fields"}
            for rows, extra, _ in several:
                one = counted_in(one, rows, extra)
            found.append(one | ({"state": "failed"} if one["different"] else {}))
        return found


_NOTHING = {
    name: 0 for name in ("scans", "files", "size_bytes", "equal", "explained", "different", "not_proved", "extra")
}
_NOTHING |= {"verdict": ""}
_COUNTS = {Verdict.EQUAL: "equal", Verdict.EXPLAINED: "explained", Verdict.NOT_PROVED: "not_proved"}
_COUNTS |= {Verdict.DIFFERENT: "different"}


def counted_in(outcome: dict, rows: Iterable[dict], extra: Iterable[dict]) -> dict:
    """An outcome with further rows in its counts; its verdict is the worst of all."""
    found = dict(outcome)
    for row in rows:
        found[_COUNTS[Verdict(row["verdict"])]] += 1
        found["files"] += 1
        found["size_bytes"] += row.get("size_bytes") or 0
    found["extra"] += len(list(extra))
    for verdict, column in _COUNTS.items():
        if found[column]:
            found["verdict"] = str(verdict)
    return found


def carry_beside(
    plan: Plan,
    source: Connection,
    destination: Connection,
    journal: Journal,
    *,
    scans: ScanMap,
    spool_folder: str | None,
    stopping: Callable[[], bool],
    tell: Callable[..., None],
    hold: Callable[..., None],
) -> Beside:
    """Carry the resources and the fields of a plan, once its sessions are where they belong.

    Raises
    ------
    DiskFullError, JournalError
        Where going on is pointless.
    """
    options = plan.transfer_options
    more = {"scans": scans, "spool_folder": spool_folder, "stopping": stopping, "tell": tell, "hold": hold}
    carrier = Carrier(plan, source, destination, journal, **more)
    resources = carrier.carry_all()
    if carrier.fatal is not None:
        raise carrier.fatal
    rows: list[dict] = []
    held: list[HeldError] = []
    before = destination.writes
    if options.fields and not stopping():
        rows, held = _carry_fields(plan, source, destination, journal, stopping, hold)
    if destination.writes != before:
        resources = [carrier.listed_after(one) for one in resources]
    beside = Beside(resources, rows)
    beside.problems += map(str, held)
    beside.transient = beside.transient or bool(held)
    known = (row.name for row in plan.field_rows or ())
    if plan.field_rows is not None and not stopping() and (idle := unmet(options.fields, known)):
        beside.messages.append(f"Of the fields {', '.join(idle)} none was carried: nothing that was selected has them.")
    return beside


def _carry_fields(
    plan: Plan,
    source: Connection,
    destination: Connection,
    journal: Journal,
    stopping: Callable[[], bool],
    hold: Callable[..., None],
) -> tuple[list[dict], list[HeldError]]:
    """The rows of the fields of a plan, and what of them another run has.

    Of a plan that decides about no field the rows are those that an earlier run has carried.
    """
    held: list[HeldError] = []

    def holding(row: FieldPlan) -> None:
        try:
            hold(*name_of(row))
        except HeldError as problem:
            held.append(problem)
            raise

    earlier = [entry for entry in journal.entries() if entry["kind"] == "fields-proved"]
    archived = archived_sessions(plan, destination, journal.entries())
    if plan.field_rows is None:
        past = earlier[-1] if earlier else {"rows": ()}
        return prove_fields(plan, past["rows"], source, destination, archived, past.get("carried")), held
    rows: list[dict] = []
    values: list[str] = []
    for one in carry_fields(plan, source, destination, archived, stopping, holding):
        rows += one.rows
        values += one.values
    if not earlier or earlier[-1]["rows"] != rows:
        journal.write("fields-proved", rows=rows, carried=digests_of(values))
    return rows, held


def archived_sessions(plan: Plan, destination: Connection, journal: Iterable[dict]) -> dict[SessionKey, str]:
    """The accessions of those sessions of a plan that are in the archive of the destination."""
    past, found = read_history(journal), {}
    for session in plan.sessions:
        if session.action in SENDS:
            with contextlib.suppress(RefusedError):
                found[session.key] = archived_id(destination, plan, session, past.get(session.key))
    return found


def beside_now(
    plan: Plan, journal: Iterable[dict], destination: Connection, source: Connection | None, proof: str
) -> Beside:
    """What the destination holds today of what a journal says was carried beside the scans. Reads only."""
    entries = list(journal)
    proved = [entry for entry in entries if entry["kind"] == "fields-proved"]
    rows: list[dict] = []
    if proved and proved[-1]["rows"]:
        there = archived_sessions(plan, destination, entries)
        rows = prove_fields(plan, proved[-1]["rows"], source, destination, there, proved[-1].get("carried"))
    return Beside(prove_again(plan, entries, destination, proof), rows)
