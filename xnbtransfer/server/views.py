"""Subjects, sessions, assessors and scans as the items that XNAT shows (XNAT source: ``SecureResource``)."""

from __future__ import annotations

import json
from typing import Any

from . import find
from .answers import item
from .fields import DEMOGRAPHICS
from .find import EXPERIMENT, Kind
from .state import Record, State


def view(state: State, user: str | None, kind: Kind, row: Record) -> dict[str, Any]:
    """A subject, session or assessor with its shares, a subject with its sessions, a session with its scans."""
    shown = {name: row[name] for name in ("label", "project")} | {"ID": row["id"]}
    if kind is EXPERIMENT:
        shown["id"] = row["id"]  # twice, as live servers tell it (recorded answers, topic history)
    shares = [
        item(f"{kind.xsi_type}_share", {"project": share["project"], "label": share["label"]})
        for share in state.rows("SELECT * FROM shares WHERE kind=? AND item_id=?", kind.name, row["id"])
    ]
    fields = json.loads(row["fields"])
    if kind is EXPERIMENT and row["session_id"]:
        shown |= {"date": row["date"], "time": row["time"], "imageSession_ID": row["session_id"]}
        below = {"resources/resource": _resources(state, "experiment", row["id"]), "sharing/share": shares}
        return item(row["xsi_type"], shown | fields, below)
    if kind is EXPERIMENT:
        shown |= {name: row[name] for name in ("date", "time", "modality", "subject_id")}
        shown["subject_ID"], shown["UID"] = shown.pop("subject_id"), row["uid"]
        scans = [scan_view(state, row["id"], scan) for scan in find.scans(state, row, "ALL")]
        assessors = [view(state, user, kind, one) for one in find.assessors(state, user, row)]
        below = {"resources/resource": _resources(state, "experiment", row["id"]), "scans/scan": scans}
        below |= {"assessors/assessor": assessors, "sharing/share": shares}
        return item(row["xsi_type"], shown | fields, below)
    fields = {f"demographics/{name}" if name in DEMOGRAPHICS else name: fields[name] for name in fields}
    sessions = [view(state, user, EXPERIMENT, one) for one in find.sessions_of(state, user, row["id"])]
    below = {"resources/resource": _resources(state, "subject", row["id"]), "experiments/experiment": sessions}
    return item("xnat:subjectData", shown | fields, below | {"sharing/share": shares})


def scan_view(state: State, session_id: str, scan: Record) -> dict[str, Any]:
    """A scan with its resources, which stand below ``file`` (recorded of 1.6.4 and 1.8.11, form F40)."""
    shown = {name: scan[name] for name in ("type", "quality", "note", "series_description", "frames")}
    shown |= {"ID": scan["id"], "UID": scan["uid"], "image_session_ID": session_id}
    below = {"file": _resources(state, "scan", scan["pk"])}
    return item(scan["xsi_type"], shown | json.loads(scan["fields"]), below)


def _resources(state: State, kind: str, of: object) -> list[dict[str, Any]]:
    """The resources of an item with what XNAT counted in them, as its document holds them."""
    names = ("label", "format", "content", "file_count", "file_size")
    return [
        item("xnat:resourceCatalog", {name: row[name] for name in names} | {"xnat_abstractresource_id": row["pk"]})
        for row in state.rows("SELECT * FROM resources WHERE parent_kind=? AND parent_id=? ORDER BY pk", kind, str(of))
    ]
