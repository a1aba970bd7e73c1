"""The files door: sessions and scans are made, and their files put below them byte for byte.

No script of the destination runs on what goes through here, so a plan with this method is blocked until that is waived
with a reason. What is proved is every byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from .errors import RefusedError, ServerError, TransientError, XnbTransferError
from .forms import archived_path, item_path
from .methods import ImportDoor, Work
from .once import send_and_look
from .parcels import Arrived, Carrying, Parcel, make_scan
from .plan_file import Plan, ScanPlan, SessionPlan
from .values import Verdict
from .xnat import Connection

_SCAN_FIELDS = ("type", "quality", "note", "series_description")


class FilesDoor(ImportDoor):
    """Carries the sessions of one plan straight into the archive of the destination.

    Looks before the first write as the import door does.
    """

    def __init__(self, plan: Plan, source: Connection, destination: Connection, note: Callable[..., None]) -> None:
        super().__init__(plan, destination, note)
        self.source = source
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
        session_id = self.archived_id(work) or self._make_session(work)
        scans = {one["scan"]: one for one in self.source.scan_list(session.session_id)}
        parcels: list[tuple[ScanPlan, Carrying]] = []
        for scan in session.sent_scans:
            if stopping():
                raise TransientError(f"{session.key} was stopped before it was complete; run again to go on.")
            about = scans.get(scan.scan, {})
            make_scan(self.destination, session_id, scan.scan, about, self.reason, str(session.to))
            parcel = self._parcel(work, session_id, scan, spool_folder, stopping)
            parcel.bring()
            parcels.append((scan, parcel))
        if session.action == "copy":  # into what was there before nothing is written but the files that were asked for
            work.because = self._read_headers(session_id, session, scans)
        rows: list[dict] = []
        extra: list[dict] = []
        for scan, parcel in parcels:
            found, more = self._proved(work, scan, parcel, stopping)
            rows += [one.row(session, scan.scan, scan.resource) for one in found]
            extra += more
            sent(work, scan, len(found))
        work.rows, work.extra = rows, extra

    def _make_session(self, work: Work) -> str:
        """The accession of the session, made with what tells it apart: its study.

        Raises
        ------
        RefusedError
            If the label is taken by a session that is not ours: the request would write into that one.
        """
        session = work.session
        if self.destination.session_at(self.project, session.destination_session) is not None:
            raise RefusedError(
                f"The label {session.destination_session} belongs to another session of {self.project}.", "Plan again."
            )
        kind = self._source_item(session)
        fields = {f"{kind}/UID": session.StudyInstanceUID}
        fields |= {f"{kind}/date": session.date} if session.date else {}
        fields |= {f"{kind}/modality": session.modality} if session.modality else {}

        told: list[str] = []

        def make() -> None:
            with self.first_of.of(session.destination_subject):
                made = self.destination.make_session(
                    self.project,
                    session.destination_subject,
                    session.destination_session,
                    kind,
                    fields,
                    self.reason,
                )
            told.append(made)

        def there() -> str:
            if made := next(filter(None, reversed(told)), ""):
                self._as_asked(session, made, kind)
                self.keep(work, made)
            return self.archived_id(work)

        return self._until(make, there, f"The session {session.to}")

    def _as_asked(self, session: SessionPlan, accession: str, kind: str) -> None:
        """What was made is what was asked for: label, owner, subject, type and study, as its own document has them.

        Raises
        ------
        ServerError
            It is something else; nothing is put below it.
        """
        item = self.destination.session_item(accession)
        if item is None:
            return  # not there: looked for by label and study, and made once more
        subject = self.destination.subject_item(item["subject_id"]) or {"label": "", "project": "", "shares": []}
        label = subject["label"] if subject["project"] == self.project else dict(subject["shares"]).get(self.project)
        asked = {
            "label": (item["label"], session.destination_session),
            "project": (item["project"], self.project),
            "subject": ((label or "").casefold(), session.destination_subject.casefold()),
            "type": (item["xsi_type"], kind),
            "study": (item["StudyInstanceUID"], session.StudyInstanceUID),
        }
        if wrong := [name for name, (made, wanted) in asked.items() if made != wanted]:
            raise ServerError(
                f"{session.to} was made as {accession}, and that has another {', '.join(wrong)} than was asked for.",
                "Look at that session; nothing was put into it.",
            )

    def _source_item(self, session: SessionPlan) -> str:
        item = self.source.session_item(session.session_id)
        if item is None or not item["xsi_type"]:
            raise RefusedError(f"The source does not tell of which type {session.key} is.", "Plan again.")
        return item["xsi_type"]

    def _until(self, write: Callable[[], None], there: Callable[[], object], what: str):
        """Write, and see that it is there; XNAT answers 200 and stores nothing where the right to edit is missing."""
        remedy = "Ask an owner of the project for the right to edit."
        return send_and_look(write, lambda problem: there() or None, what, remedy=remedy)

    def _parcel(self, work: Work, session_id: str, scan: ScanPlan, spool_folder, stopping) -> Carrying:
        session, at = work.session, (scan.scan, scan.resource)

        def note(paths: list[str]) -> None:
            self.note(work, "sending", scan=scan.scan, resource=scan.resource, paths=paths)

        parcel = Parcel(
            source=archived_path(session.session_id, scan.scan),
            destination=archived_path(session_id, scan.scan),
            resource=scan.resource,
            listed=dict(work.listed.get(at, {})),
            overwrite=session.action == "replace",
            about={"format": "DICOM", "content": "RAW"},
            twice=self.options.source_twice,
            dicom=True,
            session_id=session.session_id,
            scan=scan.scan,
            beside=work.listed,
        )
        return Carrying(
            parcel,
            self.source,
            self.destination,
            reason=self.reason,
            mine=work.past.sending.get(at, ()),
            spool_folder=spool_folder,
            note=note,
            stopping=stopping,
        )

    def _proved(self, work: Work, scan: ScanPlan, parcel: Carrying, stopping) -> tuple[list[Arrived], list[dict]]:
        """What came of one scan, listed and read back after all else was written."""
        session = work.session
        found, more = parcel.prove(read_back=self.options.proof in ("all", "prearchive"))  # nothing waits here
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
        try:  # once: what it did does not show, and the proof does not need it
            self.destination.pull_headers(path, self.reason)
        except XnbTransferError as problem:
            because = f"the server did not read the headers into its fields: {problem.message}"
        names = {scan.scan for scan in session.sent_scans}
        for one in self.destination.scan_list(session_id):
            wanted = scans.get(one["scan"], {}) if one["scan"] in names else {}
            lost = {name: wanted[name] for name in _SCAN_FIELDS if wanted.get(name) and wanted[name] != one[name]}
            if lost:
                try:
                    self._set_again(session_id, one, lost)
                except XnbTransferError as problem:
                    because = because or f"fields of scan {one['scan']} are not those of the source: {problem.message}"
        return because

    def _set_again(self, session_id: str, scan: Mapping[str, str], lost: Mapping[str, str]) -> None:
        fields = {f"{scan['xsi_type']}/{name}": value for name, value in lost.items()}

        def look(problem: XnbTransferError | None) -> bool | None:
            now = next(one for one in self.destination.scan_list(session_id) if one["scan"] == scan["scan"])
            return True if problem is None or all(now[name] == value for name, value in lost.items()) else None

        write = partial(self.destination.make_scan, session_id, scan["scan"], scan["xsi_type"], fields, self.reason)
        send_and_look(write, look, f"The fields of scan {scan['scan']}")
