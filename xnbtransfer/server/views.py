"""Subjects, sessions, assessors and scans as the items that XNAT shows (XNAT source: ``SecureResource``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import find
from .answers import item
from .fields import DEMOGRAPHICS
from .find import EXPERIMENT, Kind
from .state import State


def view(state: State, user: str | None, kind: Kind, row: Mapping) -> dict[str, Any]:
    """A subject, session or assessor with its shares, a session with its scans and assessors."""
    shown = {name: row[name] for name in ("label", "project")} | {"ID": row["id"]}
    shares = [
        item(f"{kind.xsi_type}_share", {"project": share["project"], "label": share["label"]})
        for share in state.rows("SELECT * FROM shares WHERE kind=? AND item_id=?", kind.name, row["id"])
    ]
    fields = json.loads(row["fields"])
    if kind is EXPERIMENT and row["session_id"]:
        shown |= {"date": row["date"], "time": row["time"], "imageSession_ID": row["session_id"]}
        return item(row["xsi_type"], shown | fields, {"sharing/share": shares})
    if kind is EXPERIMENT:
        shown |= {name: row[name] for name in ("date", "time", "modality", "subject_id")}
        shown["subject_ID"], shown["UID"] = shown.pop("subject_id"), row["uid"]
        scans = [scan_view(row["id"], scan) for scan in find.scans(state, row, "ALL")]
        assessors = [view(state, user, kind, one) for one in find.assessors(state, user, row)]
        below = {"scans/scan": scans, "assessors/assessor": assessors, "sharing/share": shares}
        return item(row["xsi_type"], shown | fields, below)
    fields = {f"demographics/{name}" if name in DEMOGRAPHICS else name: fields[name] for name in fields}
    return item("xnat:subjectData", shown | fields, {"sharing/share": shares})


def scan_view(session_id: str, scan: Mapping) -> dict[str, Any]:
    shown = {name: scan[name] for name in ("type", "quality", "note", "series_description", "frames")}
    shown |= {"ID": scan["id"], "UID": scan["uid"], "image_session_ID": session_id}
    return item(scan["xsi_type"], shown | json.loads(scan["fields"]))
