"""The door that a session goes through: DICOM-zip import into one prearchive row, build, archive.

Built on :mod:`xnbtransfer.xnat`. No write is repeated here before the state of the server was read, and what has
arrived is not sent again. Other doors are to have the same verbs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from filelock import FileLock

from .conflicts import meets, study_uids
from .errors import NotFoundError, RefusedError, ServerError, TransientError, XnbTransferError
from .history import SessionHistory
from .plan import Plan, ScanPlan, SessionPlan
from .streams import Seen, Spool
from .verify import ARCHIVED, same_study
from .xnat import Connection

_TRIES = 4
_ARCHIVE_WAIT_S = 600.0
_WITHDRAW_WAIT_S = 60.0
# What validate-archive may say of a session that is there on purpose (XNAT source, PrearcSessionArchiver).
_ALLOWED_CODES = {"copy": set(), "merge": {"1"}, "replace": {"1", "14", "16"}}

Listed = Mapping[tuple[str, str], Mapping[str, tuple[int, str]]]


@dataclasses.dataclass
class Work:
    """One session on its way."""

    session: SessionPlan
    past: SessionHistory
    listed: Listed
    pending: list[ScanPlan]
    seen: dict[tuple[str, str], list[Seen]] = dataclasses.field(default_factory=dict)
    uri: str = ""
    there: frozenset[str] = frozenset()
    study: str = ""  # StudyInstanceUID of the first file that is sent
    opened: bool = False
    left: int = 0  # scans that are neither sent nor given up
    spools: dict[ScanPlan, Spool] = dataclasses.field(default_factory=dict)  # read, and not sent yet
    sending: set[ScanPlan] = dataclasses.field(default_factory=set)
    failed: XnbTransferError | None = None
    state: str = ""
    rows: list[dict] = dataclasses.field(default_factory=list)
    extra: list[dict] = dataclasses.field(default_factory=list)
    because: str = ""
    claim: FileLock | None = None


class ImportDoor:
    """Carries the sessions of one plan into the prearchive of the destination, and on into its archive.

    ``note(work, kind, **values)`` writes to the journal before and after each step; ``pace`` slows a body down to the
    rate of the plan.
    """

    def __init__(
        self,
        plan: Plan,
        destination: Connection,
        note: Callable[..., None],
        pace: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
    ) -> None:
        self.destination, self.project = destination, plan.destination.project
        self.reason, self.note, self.pace = plan.transfer_options.reason, note, pace
        self.lock = threading.Lock()
        self.waiting_lock = threading.Lock()
        self.waiting_rows: list[dict] = []
        self.waiting_read = float("-inf")

    def look(self, session: SessionPlan) -> None:
        """Read label, study and prearchive once more, right before the first write of a session.

        Raises
        ------
        RefusedError
            If the session meets something that the plan did not know, or no longer what the plan counts on.
        """
        project, uid = self.project, session.StudyInstanceUID
        here, elsewhere = meets(
            project,
            session.to,
            uid,
            self.destination.sessions_with_label(project, session.destination_session),
            self.destination.sessions_with_uids(study_uids(uid)),
            self._waiting(),
        )
        if other := meets_other_things(session, here, elsewhere):
            raise RefusedError(f"{session.to} {other}.", "Plan again: the new plan shows it.")

    def _waiting(self) -> list[dict]:
        """The prearchive of the destination; sessions that begin within two seconds share one reading."""
        with self.waiting_lock:
            if time.monotonic() - self.waiting_read > 2.0:
                self.waiting_rows = self.destination.prearchive(self.project)
                self.waiting_read = time.monotonic()
            return self.waiting_rows

    def own_row(self, session: SessionPlan) -> str:
        """The prearchive row that an earlier upload of this session made, or ""."""
        for row in self.destination.prearchive(self.project):
            if row["session"] == session.destination_session and same_study(
                session.StudyInstanceUID, row["StudyInstanceUID"]
            ):
                return row["uri"]
        return ""

    def names_at(self, uri: str) -> set[str]:
        """The names of all files of a prearchive row. A row that is still RECEIVING lists none until it is built."""
        found = self._list_names(uri)
        if not found:
            with contextlib.suppress(XnbTransferError):
                self.destination.build(uri)
            found = self._list_names(uri)
        return found

    def _list_names(self, uri: str) -> set[str]:
        try:
            return {
                name_of(one["path"])
                for row in self.destination.prearchive_resources(uri)
                for one in self.destination.prearchive_files(uri, row["scan"], row["resource"])
            }
        except (ServerError, NotFoundError):
            return set()

    def send(self, work: Work, scan: ScanPlan, spool: Spool, seen: list[Seen]) -> None:
        """Send one zip. After a lost or failed answer the state is read before anything is sent again."""
        session, project = work.session, self.project
        names = {one.name for one in seen}
        problem: XnbTransferError | None = None
        for attempt in range(_TRIES):
            self.note(work, "sending", settle=False, scan=scan.scan, resource=scan.resource, attempt=attempt)
            try:
                uris = self.destination.import_zip(
                    project=project,
                    subject=session.destination_subject,
                    session=session.destination_session,
                    size_bytes=spool.zip_bytes,
                    body=lambda: self.pace(spool.chunks()),
                    reason=self.reason,
                )
            except (TransientError, ServerError) as error:
                if not error.retry and getattr(error, "status", 0) < 500:
                    raise
                problem = error
                _pause(error, attempt)
                uri = work.uri or self.own_row(session)
                if uri and names <= self.names_at(uri):
                    work.uri = uri
                    return
                continue
            wrong = [uri for uri in uris if not uri.startswith(f"/prearchive/projects/{project}/")]
            if wrong:
                raise ServerError(
                    f"The destination put {session.to} scan {scan.scan} at {wrong[0]}, not into the prearchive of "
                    f"{project}.",
                    "Ask an owner of the project to look at that row; it was not archived.",
                )
            if uris:
                with self.lock:
                    if work.uri and uris[0] != work.uri:
                        raise ServerError(
                            f"The upload of {session.to} was split over two prearchive rows.",
                            "Delete both rows, then run again.",
                        )
                    work.uri = uris[0]
                return
            problem = ServerError(
                f"The destination answered the upload of {session.to} scan {scan.scan} with 200 and stored nothing.",
                "Look at its series import filter and anonymisation script: one of them rejects the files.",
            )
            uri = work.uri or self.own_row(session)
            if uri and names <= self.names_at(uri):
                work.uri = uri
                return
        raise problem

    def withdraw(self, work: Work) -> bool:
        """Delete the prearchive row of a session that is not to stay; whether it is gone.

        Only where all of it is ours for certain: the plan met nothing there, and the row lists no file but those that
        were sent. A receiver names files anew, so its rows are left to a person.
        """
        ours = {one.name for seen in work.seen.values() for one in seen if one.name}
        ours |= {record["name"] for records in work.past.sent.values() for record in records}
        with contextlib.suppress(XnbTransferError):
            for attempt in range(_TRIES):
                if attempt:
                    time.sleep(0.2 * 2**attempt)
                if self._gone(work.uri):
                    return not self.archived_id(work.session)
                listed = self.names_at(work.uri)
                if work.session.met or not listed or not listed <= ours:
                    return False
                with contextlib.suppress(TransientError, ServerError):  # whether it went is what the row tells
                    self.destination.change_waiting("delete", work.uri)
            return self._gone(work.uri)
        return False

    def _gone(self, uri: str) -> bool:
        """Whether a row is not there; one that is being deleted is waited for."""
        until = time.time() + _WITHDRAW_WAIT_S
        while (row := self.destination.prearchive_row(uri)) is not None:
            if "DELETING" not in row["status"] or time.time() > until:
                return False
            time.sleep(0.2)
        return True

    def build(self, work: Work) -> None:
        """Have the row built; a row that is READY after a lost answer is built."""
        for attempt in range(_TRIES):
            try:
                self.destination.build(work.uri)
                return
            except (TransientError, ServerError) as problem:
                row = self.destination.prearchive_row(work.uri)
                if row is not None and row["status"] == "READY":
                    return
                if attempt == _TRIES - 1 or row is None:
                    raise
                _pause(problem, attempt)

    def archive(self, work: Work) -> list[dict]:
        """Archive the row after asking what the server would object to; returns the files that the archive lists.

        Raises
        ------
        RefusedError
            If the server names a conflict that the plan does not allow.
        """
        session = work.session
        allowed = _ALLOWED_CODES[session.action]
        for row in self.destination.validate_archive(work.uri):
            if row["type"] in ("CONFLICT", "FAIL") and str(row["code"]) not in allowed:
                raise RefusedError(
                    f"{session.to} was not archived; the destination says: {row['message']} (code {row['code']}).",
                    "It waits in the prearchive, compared and right; settle the conflict there, then run again.",
                )
        overwrite = {"copy": None, "merge": "append", "replace": "delete"}[session.action]
        self.note(work, "archiving", uri=work.uri)
        for attempt in range(_TRIES):
            problem: XnbTransferError | None = None
            try:
                address = self.destination.archive(work.uri, overwrite=overwrite, reason=self.reason)
                listed = self.destination.files_of(address) if f"/projects/{self.project}/" in address else []
                if listed:
                    return listed
            except (TransientError, ServerError) as error:
                problem = error
            found = self.archived_id(session) if problem is None else self._settled(session, work.uri)
            if found:
                return self.destination.files([found])
            if problem is None or not (problem.retry or getattr(problem, "status", 0) >= 500):
                break
            _pause(problem, attempt)
        raise problem or ServerError(f"{session.to} was archived, but the destination does not list it.")

    def _settled(self, session: SessionPlan, uri: str) -> str:
        """The accession of the archived session once its prearchive row has gone, else ""."""
        until = time.time() + _ARCHIVE_WAIT_S
        while True:
            row = self.destination.prearchive_row(uri)
            if row is None:
                return self.archived_id(session)
            if row["status"] not in ("ARCHIVING", "QUEUED_ARCHIVING", "_ARCHIVING") or time.time() > until:
                return ""
            time.sleep(0.5)

    def archived_before(self, work: Work) -> str:
        """The accession of a session that an earlier run has archived, or asked to be archived; else "".

        What waits in the prearchive still was not archived, whatever else the archive holds of its study.
        """
        if work.past.state == ARCHIVED:
            return self.archived_id(work.session)
        return self._settled(work.session, work.uri or work.past.uri) if work.past.archiving else ""

    def archived_id(self, session: SessionPlan) -> str:
        """The accession of the session in the archive of the destination, or ""."""
        project = self.project
        for row in self.destination.sessions_with_label(project, session.destination_session):
            if same_study(session.StudyInstanceUID, row["StudyInstanceUID"]):
                return row["session_id"]
        return ""


def _pause(problem: XnbTransferError | None, attempt: int) -> None:
    """Wait before something is asked again: as long as the server wishes, at most five minutes, else a random while."""
    wish = getattr(problem, "retry_after_s", None)
    time.sleep(min(wish if wish is not None else random.uniform(0.1, 0.4) * 2**attempt, 300.0))


def meets_other_things(session: SessionPlan, here: frozenset[str], elsewhere: frozenset[str]) -> str:
    """What a session meets now and the plan did not know, or the other way round, as words; "" where it is the same."""
    new, gone = here - set(session.met), set(session.met) - here
    if session.met_elsewhere is not None:
        new |= elsewhere - set(session.met_elsewhere)
    for words, what in ((new, "meets what the plan did not know"), (gone, "no longer meets what the plan saw")):
        if words:
            named = ", ".join(sorted(word.rpartition(": ")[0] for word in words))
            return f"{what}, at the destination: {named}"
    return ""


def prefix_of(session: SessionPlan, scan: ScanPlan) -> str:
    """What the names of a scan's files begin with, so that no two zips share a name; the same in every run."""
    return hashlib.sha256(f"{session.session_id}\x1f{scan.scan}\x1f{scan.resource}".encode()).hexdigest()[:8]


def name_of(path: str) -> str:
    """The last part of a path."""
    return path.rsplit("/", 1)[-1]
