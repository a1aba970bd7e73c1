"""Inventories that were never read from a server."""

from __future__ import annotations

from xnbtransfer.values import (
    FILE_COLUMNS,
    PREARCHIVE_COLUMNS,
    RESOURCE_COLUMNS,
    SCAN_COLUMNS,
    SESSION_COLUMNS,
    Inventory,
    Settings,
    frame,
)


def session(label="E1", uid="1.2.3", subject="S1", files=(("1", "a.dcm", "aa"),), **more):
    """A session of one project: its row and its files (scan, path, MD5 and where needed resource and format)."""
    row = {"subject": subject, "session": label, "StudyInstanceUID": uid, "modality": "MR", "project": "P"} | more
    rows = [
        {"subject": subject, "session": label, "scan": scan, "path": path, "md5": md5, "size_bytes": 10}
        | dict(zip(("resource", "format"), rest or ("DICOM", "DICOM"), strict=False))
        for scan, path, md5, *rest in files
    ]
    return row | {"scans": len({f[0] for f in files}), "files": len(rows), "size_bytes": 10 * len(rows)}, rows


def project(*sessions, waiting=()):
    return Inventory(
        server="https://xnat.example",
        project="P",
        user="owner",
        read_at="",
        settings=Settings(),
        sessions=frame([row for row, _ in sessions], SESSION_COLUMNS),
        scans=frame([], SCAN_COLUMNS),
        resources=frame([], RESOURCE_COLUMNS),
        files=frame([file for _, files in sessions for file in files], FILE_COLUMNS),
        prearchive=frame(waiting, PREARCHIVE_COLUMNS),
    )
