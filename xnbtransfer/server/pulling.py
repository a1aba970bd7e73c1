"""What ``pullDataFromHeaders`` and ``fixScanTypes`` do to a session: fields from the headers of its own files.

REST tests TestScans.testPullDataFromHeaders, TestArchive.
"""

from __future__ import annotations

import json
from typing import Any

from . import dumps, personality, places
from .answers import Refusal, cell
from .state import Record, State

# Field of a session or scan, and the DICOM keyword that it comes from.
_SESSION = {
    "scanner/manufacturer": "Manufacturer", "scanner/model": "ManufacturerModelName", "scanner": "StationName",
    "acquisition_site": "InstitutionName", "operator": "OperatorsName", "dcmPatientName": "PatientName",
    "dcmPatientId": "PatientID", "dcmAccessionNumber": "AccessionNumber",
}  # fmt: skip
_SCAN = {"uid": "SeriesInstanceUID", "series_description": "SeriesDescription", "modality": "Modality"}


def from_headers(state: State, session: Record) -> None:
    """Fill fields of a session and its scans; what the headers leave out stays.

    A session whose scans have no file is refused: 500 (recorded from 1.6.4 and 1.8.11: F82).

    Without any file of a scan it is 500 (recorded answers, form F82). The type of a scan that has none becomes its
    SeriesDescription; from 1.9.3 also one that is "Unknown".
    """
    place = places.Place("experiment", session["id"], session["project"], "", session["label"], session["id"])
    scans = "SELECT CAST(pk AS TEXT) FROM scans WHERE experiment_id=?"
    held = f"SELECT 1 FROM resources WHERE parent_kind='scan' AND file_count>0 AND parent_id IN ({scans})"
    if state.row(held, session["id"]) is None:
        raise Refusal(500, "Unable to derive session directory")
    found: dict[str, str] = {}
    if not any(True for scan in places.scans_of(state, [place]) for _ in dumps.dicom_files(state, scan)):
        raise Refusal(500, "Unable to derive session directory")
    with state.write() as db:
        for scan in places.scans_of(state, [place]):
            header = dumps.header_of(state, scan)
            if header is None:
                continue
            for column, keyword in _SCAN.items():
                if value := _text(header, keyword):
                    db.execute(f"UPDATE scans SET {column}=? WHERE pk=?", (value, scan.key))
            files = "SELECT sum(file_count) FROM resources WHERE parent_kind='scan' AND parent_id=?"
            db.execute(f"UPDATE scans SET frames=({files}) WHERE pk=?", (scan.key, scan.key))
            found = found or {name: _text(header, keyword) for name, keyword in _SESSION.items()}
            own = {"uid": _text(header, "StudyInstanceUID"), **_when(header)}
            for column in (name for name in own if own[name]):
                db.execute(f"UPDATE experiments SET {column}=? WHERE id=?", (own[column], session["id"]))
        fields = json.loads(session["fields"]) | {name: value for name, value in found.items() if value}
        db.execute("UPDATE experiments SET fields=? WHERE id=?", (json.dumps(fields), session["id"]))
        fix_types(state, session, ("", "unknown") if personality.has(state, "unknown-type-from-headers") else ("",))


def fix_types(state: State, session: Record, blank: tuple[str, ...] = ("",)) -> None:
    """Let scans without a type have their SeriesDescription as one."""
    marks = ",".join("?" * len(blank))
    with state.write() as db:
        db.execute(
            f"UPDATE scans SET type=series_description WHERE experiment_id=? AND series_description<>'' AND "
            f"lower(type) IN ({marks})",
            (session["id"], *blank),
        )


def _text(header: Any, keyword: str) -> str:
    """A value as text: nothing for none, and ``0`` for zero."""
    return cell(header.get(keyword))


def _when(header: Any) -> dict[str, str]:
    date, time = _text(header, "StudyDate"), _text(header, "StudyTime")
    return {
        "date": f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 and date.isdigit() else "",
        "time": f"{time[:2]}:{time[2:4]}:{time[4:6]}" if len(time) >= 6 and time[:6].isdigit() else "",
    }
