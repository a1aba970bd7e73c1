"""The files door: sessions and scans are made, and their files put below them byte for byte.

No script of the destination runs on what goes through here, so a plan with this method is blocked until that is waived
with a reason. What is proved is every byte.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from ._items import item_path
from ._store import archived_path
from .errors import RefusedError, ServerError, TransientError, XnbTransferError
from .methods import ImportDoor, Work
from .parcels import Arrived, Parcel, carry
from .plan_file import Plan, ScanPlan, SessionPlan
from .values import Verdict
from .xnat import Connection

_TRIES = 4
_SCAN_FIELDS = ("type", "quality", "note", "series_description")


class FilesDoor(ImportDoor):
    """Carries the sessions of one plan straight into the archive of the destination.

    Looks before the first write as the import door does.
    """

    def __init__(self, plan: Plan, source: Connection, destination: Connection, note: Callable[..., None]) -> None:
        super().__init__(plan, destination, note)
        self.plan, self.source = plan, source
        self.options = plan.transfer_options

    def carry(
        self,
        work: Work,
        *,
        spool_folder: str | None = None,
        stopping: Callable[[], bool] = lambda: False,
        sent: Callable[[Work, ScanPlan, int], None] = lambda work, scan, files: None,
    ) -> None:
        """Make the session and its scans, put the files, prove them; ``work.rows`` and ``work.extra`` say what came.

        ``sent`` is told of each scan that has come to its end, with the number of its files.

        Raises
        ------
        TransientError
            If it was stopped, or the destination did not answer; another run goes on from there.
        """
        session = work.session
        session_id = self.archived_id(session) or self._make_session(session)
        scans = {one["scan"]: one for one in self.source.scan_list(session.session_id)}
        rows: list[dict] = []
        extra: list[dict] = []
        for scan in session.sent_scans:
            if stopping():
                raise TransientError(f"{session.key} was stopped before it was complete; run again to go on.")
            self._make_scan(session_id, session, scan, scans.get(scan.scan, {}))
            found, more = self._put(work, session_id, scan, spool_folder, stopping)
            rows += [_row(session, scan, one) for one in found]
            extra += more
            sent(work, scan, len(found))
        work.because = self._read_headers(session_id, session, scans)
        work.rows, work.extra = rows, extra

    def _make_session(self, session: SessionPlan) -> str:
        """The accession of the session, made with what tells it apart: its study."""
        kind = self._source_item(session)
        fields = {f"{kind}/UID": session.StudyInstanceUID}
        fields |= {f"{kind}/date": session.date} if session.date else {}
        fields |= {f"{kind}/modality": session.modality} if session.modality else {}

        def make() -> None:
            self.destination.make_session(
                self.project,
                session.destination_subject,
                session.destination_session,
                kind,
                fields,
                self.reason,
            )

        return self._until(make, lambda: self.archived_id(session), f"The session {session.to}")

    def _source_item(self, session: SessionPlan) -> str:
        item = self.source.session_item(session.session_id)
        if item is None or not item["xsi_type"]:
            raise RefusedError(f"The source does not tell of which type {session.key} is.", "Plan again.")
        return item["xsi_type"]

    def _make_scan(self, session_id: str, session: SessionPlan, scan: ScanPlan, about: Mapping[str, str]) -> None:
        there = {one["scan"] for one in self.destination.scan_list(session_id)}
        if scan.scan in there:
            return
        kind = about.get("xsi_type", "")
        if not kind:
            raise RefusedError(f"The source no longer lists scan {scan.scan} of {session.key}.", "Plan again.")
        fields = {f"{kind}/{name}": about[name] for name in _SCAN_FIELDS if about.get(name)}
        if about.get("SeriesInstanceUID"):
            fields[f"{kind}/UID"] = about["SeriesInstanceUID"]
        self._until(
            lambda: self.destination.make_scan(session_id, scan.scan, kind, fields, self.reason),
            lambda: scan.scan in {one["scan"] for one in self.destination.scan_list(session_id)},
            f"Scan {scan.scan} of {session.to}",
        )

    def _until(self, write: Callable[[], None], there: Callable[[], object], what: str):
        """Write once; after a lost or failed answer the state is read before it is written again."""
        problem: XnbTransferError | None = None
        for attempt in range(_TRIES):
            problem = None
            try:
                write()
            except (TransientError, ServerError) as error:
                if not error.retry and getattr(error, "status", 0) < 500:
                    raise
                problem = error
            if found := there():
                return found
            if problem is None:
                break
            wish = getattr(problem, "retry_after_s", None)
            time.sleep(min(wish if wish is not None else random.uniform(0.1, 0.4) * 2**attempt, 300.0))
        raise problem or ServerError(
            f"{what} was made, and the destination does not list it.",
            "Ask an owner of the project for the right to edit.",
        )

    def _put(self, work: Work, session_id: str, scan: ScanPlan, spool_folder, stopping):
        session, at = work.session, (scan.scan, scan.resource)
        listed = dict(work.listed.get(at, {}))

        def note(paths: list[str]) -> None:
            self.note(work, "sending", scan=scan.scan, resource=scan.resource, paths=paths)

        parcel = Parcel(
            source=archived_path(session.session_id, scan.scan),
            destination=archived_path(session_id, scan.scan),
            resource=scan.resource,
            listed=listed,
            overwrite=session.action == "replace",
            about={"format": "DICOM", "content": "RAW"},
        )
        found, more = carry(
            parcel,
            self.source,
            self.destination,
            reason=self.reason,
            read_back=self.options.proof == "all",
            mine=work.past.sending.get(at, ()),
            spool_folder=spool_folder,
            note=note,
            stopping=stopping,
        )
        if stopping() and any(one.verdict == Verdict.DIFFERENT for one in found):
            raise TransientError(f"{session.key} was stopped before it was complete; run again to go on.")
        files = [
            {
                "path": one.path,
                "name": one.path,
                "size_bytes": one.size_bytes,
                "md5": one.md5,
                "sop": "",
                "bulk": "",
                "geometry": "",
                "problem": one.because if one.because.startswith("not sent") else "",
            }
            for one in found
        ]
        self.note(work, "sent", scan=scan.scan, resource=scan.resource, uri="", files=files)
        place = {"subject": session.destination_subject, "session": session.destination_session}
        extra = [{**place, "scan": scan.scan, "resource": scan.resource, "path": path} for path in more]
        return found, extra if session.action == "copy" else []

    def _read_headers(self, session_id: str, session: SessionPlan, scans: Mapping[str, Mapping[str, str]]) -> str:
        """Let the server fill its fields from the headers, and put right what it changed in those that were carried."""
        path = item_path(self.project, session.destination_subject, session_id)
        because = ""
        for _ in range(_TRIES):
            because = ""
            try:
                self.destination.pull_headers(path, self.reason)
                break
            except XnbTransferError as problem:
                because = f"the server did not read the headers into its fields: {problem.message}"
                if not problem.retry:  # reading them once more changes nothing else, and the proof does not need it
                    break
        names = {scan.scan for scan in session.sent_scans}
        for one in self.destination.scan_list(session_id):
            wanted = scans.get(one["scan"], {}) if one["scan"] in names else {}
            lost = {name: wanted[name] for name in _SCAN_FIELDS if wanted.get(name) and wanted[name] != one[name]}
            if lost:
                kind = one["xsi_type"]
                fields = {f"{kind}/{name}": value for name, value in lost.items()}
                self.destination.make_scan(session_id, one["scan"], kind, fields, self.reason)
        return because


def _row(session: SessionPlan, scan: ScanPlan, one: Arrived) -> dict:
    return {
        "subject": session.subject,
        "session": session.session,
        "scan": scan.scan,
        "resource": scan.resource,
        "path": one.path,
        "size_bytes": one.size_bytes,
        "source_md5": one.md5,
        "destination_subject": session.destination_subject,
        "destination_session": session.destination_session,
        "destination_scan": scan.scan,
        "destination_path": one.path if one.there_md5 or one.there_size_bytes else "",
        "destination_size_bytes": one.there_size_bytes,
        "destination_md5": one.there_md5,
        "verdict": str(one.verdict),
        "because": one.because,
    }
