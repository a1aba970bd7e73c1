"""What would happen if a prearchive session were archived: conflicts, warnings, and where each scan and file goes.

The rules are those of XNAT (XNAT source: ``PrearcSessionArchiver.checkForConflicts``, ``PrearcSessionValidator``).
Codes and messages are what ``validate-archive`` answers; nothing here changes anything.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import filters, personality
from .rules import strike
from .waiting import Waiting
from .waiting_rows import UNASSIGNED, Row, Scan

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


_MET = (6, 8, 11, 2, 10, 1, 19, 4, 5, 18, 21, 20, 22, 14)
"""Codes of what can stop an archiving, in the order in which it is looked for (XNAT source: ``PrearcSessionArchiver``;
recorded from 1.8.11: n408-n421)."""


ERRORS = (6, 8, 11, 20, 21, 22)
"""Codes that leave a row in ERROR; after the others it is in CONFLICT."""


@dataclass(frozen=True)
class FileMove:
    """One file: where it waits and which path it gets in the archive; ``replaces`` has the same instance there."""

    file: sqlite3.Row
    path: str
    replaces: str = ""


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
        """Return the finding that stops an archiving with these permissions, the one that XNAT meets first, or None."""
        waived = {"always"} | {
            word for word, given in (("merge", merge), ("override", override), ("files", overwrite_files)) if given
        }
        left = [finding for finding in self.findings if finding.waived_by not in waived]
        return min(left, key=lambda finding: _MET.index(finding.code), default=None)


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
    if strike("workflow-lock", f"{row.url} {project}/{label}"):
        add(Finding(10, "CONFLICT", "Session processing may already be in progress: AutoRun.  "
                                    "Concurrent modification is discouraged."))
    _weigh_contents(state, merge, scans)
    _weigh_folders(waiting, row, merge, scans)
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
    """Twins of one instance within a scan, and what the series filter would keep out.

    The validator lists what the archiver throws at, unless the caller overrides (XNAT source: ``validateDicomFiles``;
    recorded from 1.8.11: s317).
    """
    stops = _stops(state)
    for scan in scans:
        for resource in dict.fromkeys(file["resource"] for file in scan.files):
            uids = Counter(file["sop_uid"] for file in scan.files if file["resource"] == resource and file["sop_uid"])
            twins = [uid for uid, count in uids.items() if count > 1]
            if twins:
                merge.findings.append(Finding(22, "WARN", f"Scan {scan.id} {resource} catalog contains duplicated SOP "
                                                          f"instance UIDs: {', '.join(twins)}", stops))
    try:
        tests = filters.of(state, merge.project)
    except filters.FilterError:
        tests = []
    stops = "" if state.site("verifyComplianceInPrearcSessionReview") == "true" else "always"
    for scan in scans:
        if not all(passes(_reader(scan)) for passes in tests):
            merge.findings.append(Finding(22, "FAIL", f"Scan {scan.id} is non-compliant with this project's DICOM "
                                                      "whitelist/blacklist.", stops))


def _stops(state: State) -> str:
    """What waives a warning of `validate-archive`: from 1.8 on only leave to override, before they stopped nothing."""
    return "override" if personality.has(state, "warnings-refuse") else "always"


def _weigh_folders(waiting: Waiting, row: Row, merge: Merge, scans: list[Scan]) -> None:
    """Warn of files that are no DICOM or that no catalogue names; a folder with none of its files named has none.

    Only the folders of scans that are in the session document are looked at (XNAT source: ``validateDicomFiles``).
    """
    named: dict[tuple[str, ...], str] = {
        (file["scan"], file["resource"], file["path"]): file["sop_uid"] for file in waiting.files(row)
    }
    known = {place[:2] for place in named}
    stops, top = _stops(waiting.state), waiting.folder(row) / "SCANS"
    for scan in scans:
        strange: Counter[str] = Counter()
        for folder, _, names in os.walk(top / scan.id):
            parts = Path(folder).relative_to(top).parts
            label = parts[1] if len(parts) > 1 else ""
            if not names or not label:
                continue
            if parts[:2] not in known:
                merge.findings.append(Finding(21, "WARN", "Expected a catalog file, however it was missing.", stops))
                continue
            strange[label] += sum(not named.get((*parts[:2], "/".join((*parts[2:], name)))) for name in names)
        merge.findings += [
            Finding(20, "WARN", f"Scan {scan.id} has {count} non-{label} (or non-parsable {label}) files", stops)
            for label, count in strange.items()
            if count
        ]


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
    assert existing is not None  # the caller has seen it
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
                                    "Concurrent modification is discouraged.", "override"))


def _weigh_scan(state: State, merge: Merge, scan: Scan) -> None:
    add = merge.findings.append
    assert merge.existing is not None  # the caller has seen it
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
                                    "different UID. - New scan will be renamed during archive.", "always"))
        merge.scans.append(_new_scan(scan, new))
    else:
        merge.scans.append(_new_scan(scan, scan.id))


def _new_scan(scan: Scan, scan_id: str) -> ScanMove:
    move = ScanMove(scan, None, scan_id)
    for file in scan.files:
        move.resources.setdefault(file["resource"], []).append(FileMove(file, file["path"]))
    return move


def _joined(state: State, merge: Merge, scan: Scan, existing: sqlite3.Row) -> ScanMove:
    """Merge the files of ``scan`` into an existing scan.

    The same instance replaces the file that has it, under the new name; a file of the same name is replaced, too
    (recorded from 1.8.11: n379-n390; XNAT source: ``MergeSessionsA.checkForConflict`` for the words, of which those
    about names are the last).
    """
    move, twins, names = ScanMove(scan, existing, existing["id"]), False, False
    for resource in sorted({file["resource"] for file in scan.files}):
        present = state.rows("SELECT f.path, f.sop_uid FROM files f JOIN resources r ON r.pk=f.resource_pk WHERE "
                             "r.parent_kind='scan' AND r.parent_id=? AND r.label=?", str(existing["pk"]), resource)
        by_uid = {file["sop_uid"]: file["path"] for file in present if file["sop_uid"]}
        by_path = {file["path"]: file["sop_uid"] for file in present}
        moves = move.resources.setdefault(resource, [])
        for file in scan.files:
            if file["resource"] != resource:
                continue
            there = by_uid.get(file["sop_uid"], "")
            if not there and by_path.get(file["path"], ""):
                merge.findings.append(Finding(14, "CONFLICT", f"Session already contains a file {file['path']} with "
                                                              "another SOPInstanceUID."))
            twins, names = twins or bool(there), names or file["path"] in by_path
            moves.append(FileMove(file, file["path"], there if there != file["path"] else ""))
    if (twins or names) and not any(finding.code == 14 and finding.waived_by for finding in merge.findings):
        what = "matching files" if names else "the same resources"
        merge.findings.append(Finding(14, "CONFLICT", f"Session already exists with {what}.", "files"))
    return move
