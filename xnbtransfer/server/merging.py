"""What would happen if a prearchive session were archived: conflicts, warnings, and where each scan and file goes.

The rules are those of XNAT (XNAT source: ``PrearcSessionArchiver.checkForConflicts``, ``PrearcSessionValidator``).
Codes and messages are what ``validate-archive`` answers; nothing here changes anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import filters
from .rules import strike
from .waiting import UNASSIGNED, Row, Scan, Waiting

if TYPE_CHECKING:
    import sqlite3

    from .state import State


@dataclass(frozen=True)
class Finding:
    """One line of ``validate-archive``; ``waived_by`` says what a caller can do about it."""

    code: int
    type: str
    message: str
    waived_by: str = ""
    """``merge``, ``override``, ``files``, ``always`` (never stops an archiving) or empty: nothing helps."""


@dataclass(frozen=True)
class FileMove:
    """One file: where it waits and which path it gets in the archive."""

    file: sqlite3.Row
    path: str


@dataclass
class ScanMove:
    """One scan: the existing scan it joins (or None), the id it gets, and its files by resource."""

    scan: Scan
    existing: sqlite3.Row | None
    id: str
    resources: dict[str, list[FileMove]] = field(default_factory=dict)


@dataclass
class Merge:
    """The whole answer for one session."""

    project: str
    subject: sqlite3.Row | None
    subject_label: str
    label: str
    existing: sqlite3.Row | None
    xsi_type: str
    modality: str
    scans: list[ScanMove]
    findings: list[Finding]

    def stops(self, *, merge: bool, override: bool, overwrite_files: bool) -> Finding | None:
        """Return the first finding that stops an archiving with these permissions, or None."""
        waived = {"always"} | {
            word for word, given in (("merge", merge), ("override", override), ("files", overwrite_files)) if given
        }
        return next((finding for finding in self.findings if finding.waived_by not in waived), None)


def weigh(state: State, row: Row, *, project: str = "", subject: str = "", label: str = "") -> Merge:
    """Lay the waiting session ``row`` beside the archive; ``project``, ``subject`` and ``label`` override its own."""
    waiting = Waiting(state)
    scans = waiting.scans(row)
    project, subject, label = project or row.project, subject or row.subject, label or row.name
    xsi_type, modality = waiting.session_kind(scans)
    found = find_subject(state, project, subject)
    existing = state.row("SELECT * FROM experiments WHERE project=? AND label=? AND session_id=''", project, label)
    merge = Merge(project=project, subject=found, subject_label=found["label"] if found else subject, label=label,
                  existing=existing, xsi_type=xsi_type, modality=modality, scans=[], findings=[])
    add = merge.findings.append
    if project == UNASSIGNED or not state.project(project):
        add(Finding(6, "FAIL", "Unable to identify destination project."))
    if not label:
        add(Finding(8, "FAIL", "Unable to identify destination label."))
    if not subject:
        add(Finding(11, "FAIL", "Unable to identify destination subject."))
    if found is None and subject:
        add(Finding(12, "WARN", f"Subject {subject} will be created.", "always"))
    if strike("workflow-lock", f"{row.url} {project}/{label}"):
        add(Finding(10, "CONFLICT", "Session processing may already be in progress: AutoRun.  "
                                    "Concurrent modification is discouraged."))
    _weigh_contents(state, merge, scans)
    _weigh_folders(waiting, row, merge)
    if existing is None:
        taken = state.row(
            "SELECT 1 FROM shares WHERE kind='experiment' AND project=? AND label=? UNION "
            "SELECT 1 FROM experiments WHERE project=? AND label=?", project, label, project, label)
        if taken:
            add(Finding(2, "FAIL", f"Conflict: Duplicate experiment label {label}."))
        merge.scans = [_new_scan(scan, scan.id) for scan in scans]
        return merge
    add(Finding(1, "CONFLICT", "Session already exists, retry with overwrite enabled", "merge"))
    _weigh_session(state, row, merge)
    for scan in scans:
        _weigh_scan(state, merge, scan)
    return merge


def _weigh_contents(state: State, merge: Merge, scans: list[Scan]) -> None:
    add = merge.findings.append
    uids = [file["sop_uid"] for scan in scans for file in scan.files if file["sop_uid"]]
    if len(set(uids)) < len(uids):
        add(Finding(22, "WARN", "Session contains duplicate SOP Instance UIDs.", "always"))
    try:
        tests = filters.of(state, merge.project)
    except filters.FilterError:
        tests = []
    kept_out = [scan.id for scan in scans for passes in tests if not passes(_reader(scan))]
    if kept_out:
        add(Finding(22, "FAIL", f"Series import filter non-compliance: scan {', '.join(dict.fromkeys(kept_out))}."))


def _weigh_folders(waiting: Waiting, row: Row, merge: Merge) -> None:
    """Warn of files that are no DICOM or that no catalogue names; a folder with none of its files named has none."""
    named = {(file["scan"], file["resource"], file["path"]) for file in waiting.files(row)}
    known = {place[:2] for place in named}
    strange = any(not file["sop_uid"] for file in waiting.files(row))
    without: set[str] = set()
    top = waiting.folder(row) / "SCANS"
    for folder, _, names in os.walk(top):
        parts = Path(folder).relative_to(top).parts
        if len(parts) < 2 or not names:
            strange = strange or bool(names)
        elif parts[:2] not in known:
            without.add("/".join(parts[:2]))
        else:
            strange = strange or any((*parts[:2], "/".join((*parts[2:], name))) not in named for name in names)
    if strange:
        merge.findings.append(Finding(20, "WARN", "Session contains non-DICOM or unreferenced files.", "always"))
    if without:
        places = ", ".join(sorted(without))
        merge.findings.append(Finding(21, "WARN", f"Session is missing the catalog of {places}.", "always"))


def _reader(scan: Scan) -> filters.Read:
    """What is known of a scan without reading its files: description, modality and series."""
    known = {0x0008103E: scan.description, 0x00080060: scan.modality, 0x0020000E: scan.series_uid}
    return lambda tag: known.get(tag, "")


def find_subject(state: State, project: str, name: str) -> sqlite3.Row | None:
    """Return the subject of ``project`` with this label (in any case) or id, owned or shared."""
    return state.row("SELECT * FROM subjects WHERE project=? AND (label=? COLLATE NOCASE OR id=?) "
                     "ORDER BY label<>? LIMIT 1", project, name, name, name) or state.row(
        "SELECT s.* FROM subjects s JOIN shares h ON h.kind='subject' AND h.item_id=s.id "
        "WHERE h.project=? AND (h.label=? COLLATE NOCASE OR s.id=?) LIMIT 1", project, name, name)


def _weigh_session(state: State, row: Row, merge: Merge) -> None:
    existing, add = merge.existing, merge.findings.append
    if merge.subject is None or existing["subject_id"] != merge.subject["id"]:
        add(Finding(4, "FAIL", "Invalid modification of session subject via archive process.: "
                               f"{merge.label} Already Exists for another Subject"))
    if existing["xsi_type"] != merge.xsi_type and state.site("preventCrossModalityMerge") == "true":
        add(Finding(19, "FAIL", "Invalid modification of session modality via archive process.  "
                                "Data may require a manual merge."))
    if existing["uid"] and row.tag and existing["uid"] != row.tag:
        add(Finding(5, "CONFLICT", "Invalid modification of session UID via archive process.", "override"))
    if running := state.running_workflow(existing["id"]):
        add(Finding(10, "CONFLICT", f"Session processing may already be in progress: {running['name']}.  "
                                    "Concurrent modification is discouraged."))


def _weigh_scan(state: State, merge: Merge, scan: Scan) -> None:
    add = merge.findings.append
    existing = state.rows("SELECT * FROM scans WHERE experiment_id=?", merge.existing["id"])
    same_id = next((found for found in existing if found["id"] == scan.id), None)
    same_uid = next((found for found in existing if found["uid"] and found["uid"] == scan.series_uid), None)
    if same_id is not None and (not same_id["uid"] or same_id["uid"] == scan.series_uid):
        add(Finding(16, "CONFLICT", f"Session already contains a scan ({scan.id}) with the same UID and number.",
                    "always"))
        merge.scans.append(_joined(state, merge, scan, same_id))
    elif same_uid is not None:
        renamed = same_uid["id"].startswith(f"{scan.id}-")
        if not renamed:
            add(Finding(18, "CONFLICT", "Session already contains a scan with the same UID, but a different number "
                                        f"({same_uid['id']}).", "override"))
        merge.scans.append(_joined(state, merge, scan, same_uid))
    elif same_id is not None:
        taken = {found["id"] for found in existing} | {move.id for move in merge.scans}
        number = 1
        while (new := f"{scan.id}-{scan.modality or 'OT'}{number}") in taken:
            number += 1
        add(Finding(17, "CONFLICT", f"Session already contains a scan ({scan.id}) with the same number, but a "
                                    f"different UID. - New scan will be renamed to {new}.", "always"))
        merge.scans.append(_new_scan(scan, new))
    else:
        merge.scans.append(_new_scan(scan, scan.id))


def _new_scan(scan: Scan, scan_id: str) -> ScanMove:
    move = ScanMove(scan, None, scan_id)
    for file in scan.files:
        move.resources.setdefault(file["resource"], []).append(FileMove(file, file["path"]))
    return move


def _joined(state: State, merge: Merge, scan: Scan, existing: sqlite3.Row) -> ScanMove:
    """Merge the files of ``scan`` into an existing scan: matched by SOP UID, then by name."""
    move, matching = ScanMove(scan, existing, existing["id"]), False
    for resource in sorted({file["resource"] for file in scan.files}):
        present = state.rows("SELECT f.path, f.sop_uid FROM files f JOIN resources r ON r.pk=f.resource_pk WHERE "
                             "r.parent_kind='scan' AND r.parent_id=? AND r.label=?", str(existing["pk"]), resource)
        by_uid = {file["sop_uid"]: file["path"] for file in present if file["sop_uid"]}
        by_path = {file["path"]: file["sop_uid"] for file in present}
        moves = move.resources.setdefault(resource, [])
        for file in scan.files:
            if file["resource"] != resource:
                continue
            path = by_uid.get(file["sop_uid"])
            if path is None and by_path.get(file["path"], ""):
                merge.findings.append(Finding(14, "CONFLICT", f"Session already contains a file {file['path']} with "
                                                              "another SOPInstanceUID."))
            matching = matching or path is not None or file["path"] in by_path
            moves.append(FileMove(file, path or file["path"]))
    if matching and not any(finding.code == 14 and finding.waived_by for finding in merge.findings):
        merge.findings.append(Finding(14, "CONFLICT", "Session already exists with matching files.", "files"))
    return move
