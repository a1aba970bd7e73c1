"""The plan: what would be done, scan by scan, in order and why. The only reader of policy.

Options are read once, here. Below this module only a decided ``action`` with its ``because`` travels, so a
dry run is the plan itself, and what runs is what was reviewed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from . import __version__
from .diff import Status, dicom_files, diff, is_dicom
from .errors import InputError
from .keys import SessionKey
from .labels import LabelMap, check_labels
from .options import TransferOptions
from .values import Inventory

Action = Literal["copy", "merge", "replace", "skip", "stop"]
SENDS = ("copy", "merge", "replace")

# A bare proving loop on a live XNAT took 2.3 requests a scan and about 0.3 s an archiving; the rate is that of a
# 1 Gbit/s link shared by three passes (download, upload, read-back). An estimate is for planning the evening, no more.
_BYTES_PER_S = 30e6
_REQUESTS_PER_SCAN = 2
_REQUESTS_PER_SESSION = 8
_SECONDS_PER_REQUEST = 0.05

_OUTPUTS = ("BIDS", "FMRIPREP", "MRIQC", "FREESURFER", "PIPELINE", "QC", "LOG")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Finding(_Record):
    """One thing worth knowing before the start. ``severity`` is blocking, warning or note."""

    severity: Literal["blocking", "warning", "note"]
    rule: str
    where: str
    sentence: str
    remedy: str = ""


class ScanPlan(_Record):
    """One scan resource that holds DICOM: what happens to it and why. ``size_bytes`` as the source lists it."""

    scan: str
    series_description: str
    resource: str
    files: int
    size_bytes: int
    action: Literal["send", "leave"]
    because: str


class SessionPlan(_Record):
    """One session of the source: where it goes, what is done and why."""

    subject: str
    session: str
    session_id: str
    destination_subject: str
    destination_session: str
    StudyInstanceUID: str
    modality: str
    date: str
    action: Action
    because: str
    conflict: str = ""
    scans: tuple[ScanPlan, ...]
    source_state: str
    destination_state: str

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.subject, self.session)

    @property
    def to(self) -> SessionKey:
        return SessionKey(self.destination_subject, self.destination_session)

    @property
    def sent_scans(self) -> tuple[ScanPlan, ...]:
        """The scans that are sent; none unless the action of the session sends anything."""
        return tuple(scan for scan in self.scans if scan.action == "send") if self.action in SENDS else ()

    @property
    def files(self) -> int:
        return sum(scan.files for scan in self.sent_scans)

    @property
    def size_bytes(self) -> int:
        return sum(scan.size_bytes for scan in self.sent_scans)


class Side(_Record):
    """One side as it was when the plan was made."""

    server: str
    project: str
    user: str
    read_at: str
    settings: dict[str, Any]


class LeftBehind(_Record):
    """A resource that is not carried, and what to do about it."""

    subject: str
    session: str
    scan: str
    resource: str
    files: int
    size_bytes: int
    advice: str


class Plan(_Record):
    """What would be done. A JSON file that a person can read; refused if a letter of it was changed.

    Attributes
    ----------
    totals : dict
        ``sessions``, ``scans``, ``files`` and ``size_bytes`` that would be sent.
    estimate : dict
        ``seconds``, ``requests`` and ``temporary_bytes`` (workers x largest scan).
    fingerprint : str
        SHA-256 over all else, hexadecimal.
    """

    format: Literal[1] = 1
    made_by: str
    made_at: str
    source: Side
    destination: Side
    options: dict[str, Any]
    totals: dict[str, int]
    estimate: dict[str, int]
    blockers: tuple[str, ...]
    findings: tuple[Finding, ...]
    sessions: tuple[SessionPlan, ...]
    left_behind: tuple[LeftBehind, ...]
    fingerprint: str

    @property
    def transfer_options(self) -> TransferOptions:
        return TransferOptions.from_mapping(
            {name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()}
        )

    def to_json(self) -> str:
        return self.model_dump_json(indent=1)

    def save(self, path: str | Path) -> Path:
        """Write the plan; the file appears whole or not at all."""
        path = Path(path)
        part = path.with_name(path.name + ".part")
        part.write_text(self.to_json() + "\n", encoding="utf-8")
        os.replace(part, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan back.

        Raises
        ------
        InputError
            If the file is missing, cut short, changed by hand, or of another format.
        """
        again = "Make the plan again with 'xnbtransfer plan', and review that."
        try:
            found = cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except OSError as problem:
            raise InputError(f"The plan {path} cannot be read: {problem.strerror}.", again) from None
        except (ValidationError, UnicodeDecodeError):
            raise InputError(
                f"The file {path} is not a whole plan: it is cut short or of another kind.", again
            ) from None
        if found.fingerprint != _fingerprint(found.model_dump(mode="json")):
            raise InputError(f"The plan {path} was changed after it was made: its fingerprint does not fit.", again)
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row per session, in the order of the run."""
        rows = [
            {
                **session.model_dump(exclude={"scans", "source_state", "destination_state"}),
                "scans": len(session.sent_scans),
                "files": session.files,
                "size_bytes": session.size_bytes,
            }
            for session in self.sessions
        ]
        columns = ["subject", "session", "destination_subject", "destination_session", "modality", "date", "action"]
        columns += ["conflict", "scans", "files", "size_bytes", "because"]
        return pd.DataFrame(rows, columns=columns)

    def scans_frame(self) -> pd.DataFrame:
        """One row per scan resource of every session of the plan."""
        rows = [
            {
                "subject": session.subject,
                "session": session.session,
                "session_action": session.action,
                **scan.model_dump(),
            }
            for session in self.sessions
            for scan in session.scans
        ]
        return pd.DataFrame(rows, columns=["subject", "session", "session_action", *ScanPlan.model_fields])


def _fingerprint(values: dict[str, Any]) -> str:
    body = {name: value for name, value in values.items() if name != "fingerprint"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _digest(rows: Iterable[Iterable[Any]]) -> str:
    lines = sorted("\x1f".join(str(cell) for cell in row) for row in rows)
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def source_states(source: Inventory) -> dict[SessionKey, str]:
    """What each session of the source holds, as one digest: changed by any file that is added, lost or replaced."""
    found: dict[SessionKey, list] = {}
    columns = ["subject", "session", "scan", "resource", "path", "size_bytes", "md5"]
    for row in source.files[columns].itertuples(index=False, name=None):
        if row[2]:
            found.setdefault(SessionKey(row[0], row[1]), []).append(row[2:])
    return {key: _digest(rows) for key, rows in found.items()}


def destination_state(destination: Inventory, to: SessionKey, study_uid: str) -> str:
    """What the destination holds that could meet a session: same label or study, archived or in the prearchive.

    Empty where nothing meets it.
    """
    sessions = destination.sessions
    near = sessions[
        (sessions["session"] == to.session) | (sessions["StudyInstanceUID"].eq(study_uid) & (study_uid != ""))
    ]
    waiting = destination.prearchive
    rows = waiting[(waiting["session"] == to.session) | (waiting["StudyInstanceUID"].eq(study_uid) & (study_uid != ""))]
    if near.empty and rows.empty:
        return ""
    files = destination.files[destination.files["session"].isin(set(near["session"]))]
    return _digest(
        [
            *near[["subject", "session", "project", "StudyInstanceUID"]].itertuples(index=False, name=None),
            *files[["session", "scan", "resource", "path", "size_bytes", "md5"]].itertuples(index=False, name=None),
            *rows[["uri", "status", "session"]].itertuples(index=False, name=None),
        ]
    )


def plan(
    source: Inventory, destination: Inventory, options: TransferOptions, *, labels: LabelMap | None = None
) -> Plan:
    """Decide what would be done with every selected session of the source.

    Parameters
    ----------
    source : Inventory
        The selected sessions, with their files.
    destination : Inventory
        The destination project, with the files of the sessions that could be met.
    options : TransferOptions
        Read here and nowhere below.
    labels : LabelMap, optional
        Where the labels change; without it they are kept.

    Returns
    -------
    Plan
        One row per session of ``source``. Nothing that exists at the destination is touched unless its row says so.

    Raises
    ------
    InputError
        If source and destination are one project, nothing is selected, or two sessions go to one label.
    """
    labels = labels or LabelMap({})
    if (source.server.rstrip("/"), source.project) == (destination.server.rstrip("/"), destination.project):
        raise InputError(
            f"Source and destination are the same project, {source.project} on {source.server}.",
            "Name another destination project.",
        )
    if source.sessions.empty:
        raise InputError(
            f"No session of {source.project} is selected.",
            "Widen the selection; 'xnbtransfer inventory' lists what is there.",
        )
    keys = [SessionKey(*row) for row in source.sessions[["subject", "session"]].itertuples(index=False, name=None)]
    warnings = check_labels(
        keys, labels, tuple(destination.sessions["subject"]), tuple(destination.sessions["session"])
    )
    findings = [*_settings_findings(source, destination, options)]
    findings += [
        Finding(severity="warning", rule="LABEL", where=destination.project, sentence=sentence) for sentence in warnings
    ]
    rows = list(_sessions(source, destination, options, labels))
    findings += [
        Finding(
            severity="blocking",
            rule="EXISTS",
            where=f"{row.subject}/{row.session}",
            sentence=f"{row.subject}/{row.session}: {row.because}",
            remedy="Give it another label with --label-map, leave it out with --sessions, or choose --existing skip.",
        )
        for row in rows
        if row.action == "stop"
    ]
    sent = [row for row in rows if row.sent_scans]
    scans = [scan for row in sent for scan in row.sent_scans]
    size = sum(scan.size_bytes for scan in scans)
    requests = 24 + _REQUESTS_PER_SESSION * len(sent) + _REQUESTS_PER_SCAN * len(scans)
    values: dict[str, Any] = {
        "format": 1,
        "made_by": f"xnbtransfer {__version__}",
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": _side(source),
        "destination": _side(destination),
        "options": options.model_dump(mode="json"),
        "totals": {
            "sessions": len(sent),
            "scans": len(scans),
            "files": sum(scan.files for scan in scans),
            "size_bytes": size,
        },
        "estimate": {
            "seconds": round(size / _BYTES_PER_S + requests * _SECONDS_PER_REQUEST / options.workers + 0.3 * len(sent)),
            "requests": requests,
            "temporary_bytes": options.workers * max((scan.size_bytes for scan in scans), default=0),
        },
        "blockers": tuple(
            f"{finding.sentence} {finding.remedy}".strip() for finding in findings if finding.severity == "blocking"
        ),
        "findings": tuple(findings),
        "sessions": tuple(rows),
        "left_behind": tuple(_left_behind(source)),
        "fingerprint": "",
    }
    draft = Plan(**values)
    return draft.model_copy(update={"fingerprint": _fingerprint(draft.model_dump(mode="json"))})


def _side(inventory: Inventory) -> Side:
    return Side(
        server=inventory.server,
        project=inventory.project,
        user=inventory.user,
        read_at=inventory.read_at,
        settings=inventory.settings.as_dict(),
    )


def _sessions(source: Inventory, destination: Inventory, options: TransferOptions, labels: LabelMap):
    compared = diff(source, destination, labels)
    by_scan: dict[SessionKey, dict[str, str]] = {}
    for row in compared.scans[["subject", "session", "scan", "status"]].itertuples(index=False, name=None):
        by_scan.setdefault(SessionKey(row[0], row[1]), {})[row[2]] = row[3]
    status = {
        SessionKey(row.subject, row.session): row
        for row in compared.sessions.itertuples(index=False)
        if row.status != Status.ONLY_DESTINATION
    }
    dicom = dicom_files(source)
    resources: dict[SessionKey, list] = {}
    grouped = dicom.groupby(["subject", "session", "scan", "resource"], sort=False)["size_bytes"].agg(["count", "sum"])
    for (subject, session, scan, resource), count, total in grouped.itertuples(name=None):
        resources.setdefault(SessionKey(subject, session), []).append((scan, resource, int(count), int(total)))
    described = {
        (row.subject, row.session, row.scan): row.series_description for row in source.scans.itertuples(index=False)
    }
    states = source_states(source)
    for row in source.sessions.sort_values(["subject", "session"], kind="stable").itertuples(index=False):
        key = SessionKey(row.subject, row.session)
        to = labels(key)
        here = sorted(resources.get(key, ()), key=lambda item: _natural(item[0]))
        action, because = _decide(row, status[key], bool(here), options)
        scans = []
        for scan, resource, files, size in here:
            send, why = True, "not at the destination"
            if action == "merge":
                there = by_scan.get(key, {}).get(scan, "")
                send = there == Status.ONLY_SOURCE
                why = "missing at the destination" if send else "its scan number is at the destination already"
            elif action == "replace":
                why = "sent again; files of the same instance are replaced"
            elif action in ("skip", "stop"):
                send, why = False, because
            scans.append(
                ScanPlan(
                    scan=scan,
                    series_description=described.get((key.subject, key.session, scan), ""),
                    resource=resource,
                    files=files,
                    size_bytes=size,
                    action="send" if send else "leave",
                    because=why,
                )
            )
        if action == "merge" and not any(scan.action == "send" for scan in scans):
            action, because = "skip", "every scan of it is at the destination already"
        yield SessionPlan(
            subject=key.subject,
            session=key.session,
            session_id=row.session_id,
            destination_subject=to.subject,
            destination_session=to.session,
            StudyInstanceUID=row.StudyInstanceUID,
            modality=row.modality,
            date=row.date,
            action=action,
            because=because,
            conflict=status[key].conflict,
            scans=tuple(scans),
            source_state=states.get(key, ""),
            destination_state=destination_state(destination, to, row.StudyInstanceUID),
        )


def _decide(row, compared, has_dicom: bool, options: TransferOptions) -> tuple[Action, str]:
    if not has_dicom:
        return "skip", "it holds no DICOM scan that an import could carry"
    if row.shared:
        return "skip", f"it is shared into the source from project {row.project}; copy it from there"
    if not row.StudyInstanceUID:
        return "skip", "the source lists no StudyInstanceUID for it, so what is there already cannot be recognised"
    if compared.status == Status.ONLY_SOURCE:
        return "copy", "the destination has neither its label nor its study"
    if options.existing == "skip":
        return "skip", compared.because
    if options.existing == "stop":
        return "stop", compared.because
    if compared.status == Status.CONFLICT:
        return "stop", f"{compared.because}; {options.existing} is for a session of the same study, label and subject"
    if options.existing == "merge":
        return "merge", f"{compared.because}; scans that are missing there are added"
    return "replace", f"{compared.because}; its files are replaced, files only there stay"


def _natural(text: str) -> tuple:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def _left_behind(source: Inventory):
    for row in source.resources.itertuples(index=False):
        if row.scan and is_dicom(row.resource, row.format):
            continue
        output = any(word in row.resource.upper() for word in _OUTPUTS)
        yield LeftBehind(
            subject=row.subject,
            session=row.session,
            scan=row.scan,
            resource=row.resource,
            files=row.files,
            size_bytes=row.size_bytes,
            advice="output of a pipeline: run the pipeline again at the destination"
            if output
            else "not DICOM: upload it as a resource if it is needed there",
        )


def _settings_findings(source: Inventory, destination: Inventory, options: TransferOptions):
    there = destination.settings
    where = destination.project
    if source.settings.can_read is False:
        yield Finding(
            severity="blocking",
            rule="RIGHT-READ",
            where=source.project,
            sentence=f"{source.user} may not read sessions of {source.project}.",
            remedy="Ask an owner of the project to add you.",
        )
    if there.can_create is False:
        yield Finding(
            severity="blocking",
            rule="RIGHT-CREATE",
            where=where,
            sentence=f"{destination.user} may not create sessions in {where}.",
            remedy="Ask an owner of the project to make you a member.",
        )
    if there.can_create is None:
        yield Finding(
            severity="warning",
            rule="RIGHT-CREATE",
            where=where,
            sentence=f"The server does not tell whether {destination.user} may create sessions in {where}.",
        )
    if there.site_script_on:
        yield Finding(
            severity="note",
            rule="ANON-SITE",
            where=where,
            sentence="The site-wide anonymisation of the destination runs on every file that arrives: bytes change, "
            "and the elements named in its script take new values.",
        )
    if there.project_script_on:
        yield Finding(
            severity="note",
            rule="ANON-PROJECT",
            where=where,
            sentence=f"The anonymisation script of {where} runs when a session is archived.",
        )
    if there.site_script_on is False and not there.project_script_on:
        yield Finding(
            severity="warning",
            rule="ANON-OFF",
            where=where,
            sentence="No anonymisation script runs at the destination: what the headers hold arrives as it is.",
        )
    if (there.prearchive_code or 0) >= 4:
        yield Finding(
            severity="note",
            rule="PREARCHIVE-CODE",
            where=where,
            sentence=f"{where} archives by itself (prearchive code {there.prearchive_code}); this transfer keeps its "
            "sessions out of that until they are compared.",
        )
    if there.quarantine_code:
        yield Finding(
            severity="note", rule="QUARANTINE", where=where, sentence=f"New sessions of {where} are quarantined."
        )
    if there.checksums is False:
        yield Finding(
            severity="note",
            rule="CHECKSUMS",
            where=where,
            sentence="The destination keeps no checksums: the archived files are read back a second time.",
        )
    if not source.files.empty and bool((source.files["md5"] == "").any()):
        without = int((source.files["md5"] == "").sum())
        yield Finding(
            severity="warning",
            rule="SOURCE-MD5",
            where=source.project,
            sentence=f"The source lists no MD5 for {without} files: damage on the way from the source to here "
            "cannot be seen for them.",
        )
    if options.proof != "all":
        yield Finding(
            severity="warning",
            rule="PROOF",
            where=where,
            sentence=f"proof={options.proof}: files that are not read back stay 'cannot be proved' (exit code 4).",
        )
    for sentence in (*source.notes, *destination.notes):
        yield Finding(severity="warning", rule="INVENTORY", where="", sentence=sentence)
