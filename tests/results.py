"""Plans and results made by hand, for tests of what shows and keeps them."""

from __future__ import annotations

import pandas as pd

from xnbtransfer.inventory import Inventory
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import Plan, plan
from xnbtransfer.values import (
    FILE_COLUMNS,
    MANIFEST_COLUMNS,
    OUTCOME_COLUMNS,
    PREARCHIVE_COLUMNS,
    RESOURCE_COLUMNS,
    SCAN_COLUMNS,
    SESSION_COLUMNS,
    Result,
    Settings,
    Verdict,
    frame,
)

HOSTILE = "<script>alert('x')</script>\"&'\n| %23"


def inventory(project: str = "A", session: str = "001_MR1", **changes) -> Inventory:
    uid = f"1.2.3.{len(session)}"
    at = {"subject": "001", "session": session}
    values = {
        "server": f"https://{project.lower()}.example.org",
        "project": project,
        "user": "mia",
        "read_at": "2026-01-01T00:00:00+00:00",
        "settings": Settings(version="1.8.10", can_create=True),
        "sessions": frame(
            [{**at, "session_id": "X_E1", "modality": "MR", "StudyInstanceUID": uid, "scans": 1, "files": 1}],
            SESSION_COLUMNS,
        ),
        "scans": frame([{**at, "scan": "1", "type": "T1", "files": 1}], SCAN_COLUMNS),
        "resources": frame([{**at, "scan": "1", "resource": "DICOM", "format": "DICOM", "files": 1}], RESOURCE_COLUMNS),
        "files": frame(
            [{**at, "scan": "1", "resource": "DICOM", "path": "a.dcm", "size_bytes": 10, "md5": "a" * 32}], FILE_COLUMNS
        ),
        "prearchive": frame([], PREARCHIVE_COLUMNS),
        "notes": (),
    }
    return Inventory(**{**values, **changes})


def empty(project: str = "B") -> Inventory:
    kinds = {"sessions": SESSION_COLUMNS, "scans": SCAN_COLUMNS, "resources": RESOURCE_COLUMNS, "files": FILE_COLUMNS}
    return inventory(project, **{name: frame([], columns) for name, columns in kinds.items()})


def options(**values) -> TransferOptions:
    return TransferOptions.from_mapping({"source_project": "A", "destination_project": "B", **values})


def a_plan(session: str = "001_MR1", **values) -> Plan:
    labels = LabelMap({SessionKey("001", session): SessionKey("001", "001_MR1")})
    return plan(inventory(session=session), empty(), options(**values), labels=labels)


def a_result(*verdicts: str, state: str = "archived", because: str = "", session: str = "001_MR1", **changes) -> Result:
    """A result of one session with one file per verdict."""
    at = {"subject": "001", "session": session}
    files = [
        {**at, "scan": "1", "resource": "DICOM", "path": f"{n}.dcm", "size_bytes": 10, "verdict": v, "because": because}
        for n, v in enumerate(verdicts)
    ]
    count = {name: sum(v == verdict for v in verdicts) for name, verdict in _NAMES.items()}
    outcome = {**at, "destination_subject": "001", "destination_session": session, "action": "copy", "state": state}
    values = {
        "sessions": frame([{**outcome, "files": len(files), "because": because, **count}], OUTCOME_COLUMNS),
        "files": frame(files, MANIFEST_COLUMNS),
        "extra": pd.DataFrame(columns=list(FILE_COLUMNS)),
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:01:00+00:00",
    }
    return Result(**{**values, **changes})


_NAMES = {
    "equal": Verdict.EQUAL,
    "explained": Verdict.EXPLAINED,
    "different": Verdict.DIFFERENT,
    "not_proved": Verdict.NOT_PROVED,
}
