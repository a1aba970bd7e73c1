"""The door that a session goes through: DICOM-zip import into one prearchive row, build, archive.

Built on :mod:`xnbtransfer.xnat`. No write is repeated here before the state of the server was read, and what has
arrived is not sent again. Other doors are to have the same verbs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from filelock import FileLock

from .archived import archived_copy, made_otherwise, same_study, source_accession
from .arrival import Held, Quiet, all_ours, build, gone, held_now, idle_row, spoilt, watched
from .conflicts import meets, study_uids
from .errors import NotFoundError, RefusedError, ServerError, XnbTransferError
from .history import SessionHistory
from .lanes import FirstOfSubject
from .once import TOO_LARGE, send_and_look, too_large
from .plan import Plan, ScanPlan, SessionPlan
from .streams import Seen, Spool
from .verify import ARCHIVED, read_back
from .xnat import Connection
from .zips import ZipMember

_ARCHIVE_WAIT_S = 600.0
_WITHDRAW_WAIT_S = 60.0
_NOT_LISTED = "Look whether this user may read the project; what was archived is found by the next run."
# What validate-archive may say of a session that is there on purpose (XNAT source, PrearcSessionArchiver).
# 17: a series whose number another one has; XNAT gives it a number of its own, and the plan of a merge said so
_ALLOWED_CODES = {"copy": set(), "merge": {"1", "17"}, "replace": {"1", "14", "16"}}

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
    accession: str = ""  # of what this run archived or made
    there: Held = dataclasses.field(default_factory=dict)  # what an earlier run has left in the row
    study: str = ""  # StudyInstanceUID of the first file that is sent
    opened: bool = False
    left: int = 0  # scans that are neither sent nor given up
    spools: dict[ScanPlan, Spool] = dataclasses.field(default_factory=dict)  # read, and not sent yet
    sending: set[ScanPlan] = dataclasses.field(default_factory=set)
    failed: XnbTransferError | None = None
    state: str = ""
    read: dict[str, Seen] = dataclasses.field(default_factory=dict)  # by MD5, what was read back in the prearchive
    pairs: dict[tuple[int, str], dict] = dataclasses.field(default_factory=dict)  # and the verdicts, see verify.judge
    rows: list[dict] = dataclasses.field(default_factory=list)
    extra: list[dict] = dataclasses.field(default_factory=list)
    unsure: list[dict] = dataclasses.field(default_factory=list)  # rows for files that a list may have lost
    because: str = ""
    claim: FileLock | None = None
    quiet: Quiet = dataclasses.field(default_factory=Quiet)
    spoilt: str = ""  # why its row is withdrawn and all of it sent anew
    anew: bool = False  # that was done once in this run


class SpoiltError(ServerError):
    """A row holds a file in part, or twice: nothing may be built on it."""


class ImportDoor:
    """Carries the sessions of one plan into the prearchive of the destination, and on into its archive.

    ``note(work, kind, **values)`` writes to the journal before and after each step; ``pace`` slows a body down to the
    rate of the plan.
    """

    by_instance = True  # whether a file that the server named anew is known as ours by its SOPInstanceUID

    def __init__(
        self,
        plan: Plan,
        destination: Connection,
        note: Callable[..., None],
        pace: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
    ) -> None:
        self.plan, self.destination, self.project = plan, destination, plan.destination.project
        self.reason, self.note, self.pace = plan.transfer_options.reason, note, pace
        self.lock = threading.Lock()
        self.first_of = FirstOfSubject()
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

    def held(self, work: Work) -> Held:
        """The files of the session's row, with nothing of it on its way meanwhile: it may have to be built for that.

        Raises
        ------
        RefusedError
            If XNAT has locked the row.
        """
        with work.quiet.look():
            return held_now(self.destination, work.uri) if work.uri else {}

    def send(self, work: Work, scan: ScanPlan, spool: Spool, seen: list[Seen]) -> None:
        """Send one zip. After a lost or failed answer the state is read before anything is sent again.

        Raises
        ------
        SpoiltError
            If a file of it lies in the row in part: XNAT would keep that, and take the whole one under another name.
        """
        session = work.session
        records = [one.record() for one in seen]
        names = {one.name for one in seen}
        attempts = itertools.count()
        uris: list[str] = []

        def send() -> None:
            attempt = next(attempts)
            self.note(work, "sending", settle=False, scan=scan.scan, resource=scan.resource, attempt=attempt)
            uris.clear()
            with work.quiet.flight():
                uris.extend(self._import(session, spool, spool.members))

        def look(problem: XnbTransferError | None) -> str | None:
            if problem is None and uris:
                return self._in_own_row(work, scan, uris)
            with self.lock:
                work.uri = work.uri or self.own_row(session)
            there = self.held(work)
            self.check(work, records, there)
            return work.uri if names <= set(there) else None

        send_and_look(
            send,
            look,
            f"The upload of {session.to} scan {scan.scan}",
            doubts=True,
            remedy="Look at the series import filter and the anonymisation script of the destination: one of them "
            "rejects the files.",
        )

    def _import(self, session: SessionPlan, spool: Spool, members: list[ZipMember]) -> list[str]:
        """Send files as one zip, or where that is larger than the server or its proxy takes, as smaller ones."""
        size, _ = spool.as_zip(members)
        try:
            return self.destination.import_zip(
                project=self.project,
                subject=session.destination_subject,
                session=session.destination_session,
                size_bytes=size,
                body=lambda: self.pace(spool.as_zip(members)[1]),
                reason=self.reason,
            )
        except ServerError as problem:
            if problem.status != TOO_LARGE:
                raise
            if len(members) == 1:
                raise too_large(problem, size) from None
            half = len(members) // 2
            first = self._import(session, spool, members[:half])
            return sorted({*first, *self._import(session, spool, members[half:])})

    def _in_own_row(self, work: Work, scan: ScanPlan, uris: Sequence[str]) -> str:
        session, project = work.session, self.project
        wrong = [uri for uri in uris if not uri.startswith(f"/prearchive/projects/{project}/")]
        if wrong:
            raise ServerError(
                f"The destination put {session.to} scan {scan.scan} at {wrong[0]}, not into the prearchive of "
                f"{project}.",
                "Ask an owner of the project to look at that row; it was not archived.",
            )
        with self.lock:
            if {*uris, work.uri or uris[0]} != {uris[0]}:
                raise ServerError(
                    f"The upload of {session.to} was split over two prearchive rows.",
                    "Delete both rows, then run again.",
                )
            work.uri = uris[0]
        return work.uri

    def check(self, work: Work, records: Sequence[Mapping], there: Held) -> None:
        """Whether what lies in the row of a scan is whole.

        Raises
        ------
        SpoiltError
            If a file of it is there in part, or twice.
        """
        present = [one for one in records if one["name"] in there]
        if present and (bad := spoilt(self.destination, work.uri, records, there)):
            raise SpoiltError(
                f"{len(bad)} files of {work.session.to} lie in the prearchive of {self.project} in part, or twice."
            )

    def withdraw(self, work: Work) -> bool:
        """Delete the prearchive row of a session that is not to stay; whether it is gone.

        Only where all of it is ours for certain: the plan met nothing there, and the row holds no file but those that
        were sent, by name or by instance. A receiver's rows are left to a person.
        """
        names = {one.name for seen in work.seen.values() for one in seen if one.name}
        names |= {record["name"] for records in work.past.sent.values() for record in records}
        instances = {one.content.sop_instance_uid for seen in work.seen.values() for one in seen if one.content}
        instances |= {record["sop"] for records in work.past.sent.values() for record in records}

        def look(problem: XnbTransferError | None = None) -> bool | None:
            if gone(self.destination, work.uri, _WITHDRAW_WAIT_S):
                return not self.archived_id(work)
            return None

        with contextlib.suppress(XnbTransferError):
            if (found := look()) is not None:
                return found
            met = any(one.startswith("in the prearchive") for one in work.session.met)
            known = instances - {""} if self.by_instance else set()
            if met or not all_ours(self.destination, work.uri, self.held(work), names, known):
                return False
            delete = partial(self.destination.change_waiting, "delete", work.uri)
            return send_and_look(delete, look, f"The withdrawal of {work.session.to}", doubts=True)
        return False

    def build(self, work: Work) -> None:
        """Have the row built, with nothing of it on its way."""
        with work.quiet.look():
            build(self.destination, work.uri)

    def archive(self, work: Work) -> list[dict]:
        """Archive the row after asking what the server would object to; returns the files that the archive lists.

        It is asked for once more only where the row lies there as before, whole: XNAT takes a second request for a row
        whose files the first one has lost, and makes a session without them (live 1.8.11).

        Raises
        ------
        RefusedError
            If the server names a conflict that the plan does not allow, or what is there is another study.
        ServerError
            With the server's words, if it failed and left the row in error or with less than was sent.
        """
        session = work.session
        overwrite = {"copy": None, "merge": "append", "replace": "delete"}[session.action]
        self._objections(work)
        if overwrite is not None:
            self._same_study_there(session)
        self.note(work, "archiving", uri=work.uri)
        address: list[str] = []

        def send() -> None:
            address.clear()
            ask = partial(self.destination.archive, work.uri, overwrite=overwrite, reason=self.reason)
            with self.first_of.of(session.destination_subject):
                address.append(watched(self.destination, work.uri, ask))

        def look(problem: XnbTransferError | None) -> list[dict] | None:
            if problem is None and (other := made_otherwise(address[0], self.project, *session.to)):
                raise ServerError(f"{session.to} is not what was asked for: {other}.", "Look at that session there.")
            if problem is None and f"/projects/{self.project}/" in address[0]:
                listed: list[dict] = []
                with contextlib.suppress(NotFoundError):  # then the row and the list of the archive tell
                    listed = self.destination.files_of(address[0])
                if made := self._made(work, listed):
                    return [row for row in listed if row["session_id"] == made]
            row = idle_row(self.destination, work.uri, _ARCHIVE_WAIT_S)
            if row is None:
                found = self.archived_id(work)
                return self.destination.files([found]) if found else None
            if problem is not None:
                self._still_whole(work, row, problem)
            return None

        return send_and_look(send, look, f"The archiving of {session.to}", remedy=_NOT_LISTED)

    def _objections(self, work: Work) -> None:
        """Refuse what validate-archive names and the plan does not allow."""
        allowed = _ALLOWED_CODES[work.session.action]
        for row in self.destination.validate_archive(work.uri):
            if row["type"] in ("CONFLICT", "FAIL") and str(row["code"]) not in allowed:
                raise RefusedError(
                    f"{work.session.to} was not archived; the destination says: {row['message']} (code {row['code']}).",
                    "It waits in the prearchive, compared and right; settle the conflict there, then run again.",
                )

    def _same_study_there(self, session: SessionPlan) -> None:
        """With the word ``append`` XNAT puts another study into the session that is there, with 200 (live 1.8.11)."""
        there = self.destination.session_at(self.project, session.destination_session)
        if there is None:
            return
        if there["project"] != self.project or not same_study(session.StudyInstanceUID, there["StudyInstanceUID"]):
            raise RefusedError(
                f"{session.to} was not archived: the session of that label in {self.project} is of another study or "
                "another owner.",
                "It waits in the prearchive; plan again.",
            )

    def _still_whole(self, work: Work, row: Mapping, problem: XnbTransferError) -> None:
        """Refuse to ask again for what the first request has left in error, or without some of its files."""
        lost = self._lost(work)
        if row["status"] == "READY" and lost == 0:
            return
        log = self.destination.waiting_log(work.uri)
        said = f" Its log says: {log}" if log and log not in problem.message else ""
        left = "cannot be read" if lost is None else "is whole"
        if lost:
            left = f"lacks {lost} of the files that were there"
        raise ServerError(
            f"{work.session.to} was not archived: {problem.message} Its prearchive row is in {row['status']} and "
            f"{left}.{said}",
            f"Mostly the anonymisation script of {self.project} fails on a file: have it mended, then run again. What "
            "waits is withdrawn then and sent anew; by hand: xnbtransfer prearchive "
            f"{self.project} --action delete --sessions {work.session.destination_session}.",
            status=getattr(problem, "status", 0),
        )

    def _lost(self, work: Work) -> int | None:
        """How many files of the row are no longer as they were when it was compared; None where it cannot be read."""
        try:
            with self.destination.open_prearchive(work.uri) as chunks:
                there = read_back(chunks, key=b"")
        except XnbTransferError:
            return None
        digests = Counter(row["destination_md5"] for row in work.rows if row.get("destination_md5"))
        if digests:
            return (digests - Counter(one.md5 for one in there)).total()
        wanted = sum(1 for seen in work.seen.values() for one in seen if not one.problem)
        return max(0, wanted - sum(1 for one in there if not one.problem))

    def _made(self, work: Work, listed: Sequence[Mapping]) -> str:
        """The accession of the session that was just archived, from the files listed at the address of the answer.

        That address is one of labels; the files below it are listed by accession (recorded from a live 1.8.11). Where
        it finds no session the files of its subject come in their place, which belong to none.
        """
        found = {row["session_id"] for row in listed} - {"", source_accession(self.plan, work.session)}
        if len(found) != 1:
            return ""
        self.keep(work, found.pop())
        return work.accession

    def keep(self, work: Work, accession: str) -> None:
        """Write down which session is ours, before anything else is done with it."""
        if accession and accession != work.accession:
            self.note(work, "archived", accession=accession)
            work.accession = accession

    def _settled(self, work: Work, uri: str) -> str:
        """The accession of the archived session once its prearchive row has gone, else ""."""
        row = idle_row(self.destination, uri, _ARCHIVE_WAIT_S) if uri else None
        return self.archived_id(work) if row is None else ""

    def archived_before(self, work: Work) -> str:
        """The accession of a session that an earlier run has archived, or asked to be archived; else "".

        What waits in the prearchive still was not archived, whatever else the archive holds of its study.
        """
        if work.past.state == ARCHIVED:
            return self.archived_id(work)
        return self._settled(work, work.uri or work.past.uri) if work.past.archiving else ""

    def archived_id(self, work: Work) -> str:
        """The accession of the session in the archive of the destination, or ""."""
        known = work.accession or work.past.accession
        found = archived_copy(self.destination, self.plan, work.session, known)
        if not known:
            self.keep(work, found)
        return found


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
