"""Lists of sessions, subjects and scans: columns, key names, filters, joins (XNAT source: QueryOrganizer).

The naming of keys follows REST tests TestDynamicSearchSubjectAssessors, ...Subjects and ...Scans: a column that has a
shortcut is named by it, however it was asked for; any other is its path in lower case.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import find
from .answers import Refusal, table
from .state import State

_SESSION_LEVEL = {
    "session_id", "session_label", "session_project", "session_type", "modality", "uid", "studyinstanceuid", "scanner",
    "operator", "dcmaccessionnumber", "dcmpatientid", "dcmpatientname", "fieldstrength",
}  # fmt: skip
_EXPERIMENT = {
    name.lower(): name
    for name in (
        "ID", "label", "project", "date", "time", "note", "visit_id", "xsiType", "insert_date", "insert_user",
        "last_modified", "subject_ID", "subject_label", "subject_project", "session_ID", "session_label",
        "session_project", "session_type", "modality", "UID", "scanner", "operator", "dcmAccessionNumber",
        "dcmPatientId", "dcmPatientName", "fieldStrength", "URI",
    )
}  # fmt: skip
_PATHS = {
    "xnat:experimentdata/": {"id", "label", "project", "date", "time", "note", "visit_id"},
    "xnat:imagesessiondata/": {
        "modality",
        "uid",
        "scanner",
        "operator",
        "dcmpatientid",
        "dcmpatientname",
        "session_type",
    },
    "xnat:subjectassessordata/": {"subject_id"},
}
_SCAN = "xnat:imagescandata/"
_SCAN_FIELDS = {
    "id": "id", "uid": "uid", "type": "type", "quality": "quality", "frames": "frames", "note": "note",
    "series_description": "series_description", "modality": "modality", "xnat_imagescandata_id": "pk",
}  # fmt: skip
_FILE_FIELDS = {
    "label": "label", "file_count": "file_count", "file_size": "file_size", "format": "format", "content": "content",
}  # fmt: skip
_CONTROL = {"columns", "format", "xsitype", "sortby", "sortorder", "limit", "offset", "xnat_csrf", "recent"}


def shortcut(column: str) -> str:
    """The shortcut of a column of a session, or "" if it has none."""
    lower = column.lower()
    if lower == "studyinstanceuid":
        return "UID"
    if lower in _EXPERIMENT:
        return _EXPERIMENT[lower]
    for prefix, names in _PATHS.items():
        if lower.startswith(prefix) and lower[len(prefix) :] in names:
            return _EXPERIMENT[lower[len(prefix) :]]
    return ""


def matches(pattern: str, value: str) -> bool:
    """A filter of a query: comma is or, ``*`` and ``%`` are any text, ``MM/dd/yyyy-MM/dd/yyyy`` a range of dates."""
    dates = re.fullmatch(r"(\d\d/\d\d/\d{4})(?:-(\d\d/\d\d/\d{4}))?", pattern)
    if dates:
        first, last = (_iso(day or dates[1]) for day in dates.groups())
        return first <= value <= last
    return any(
        fnmatch.fnmatchcase(value, one.replace("%", "*").replace("[", "[[]")) if set(one) & set("*%") else value == one
        for one in pattern.split(",")
    )


def _iso(day: str) -> str:
    return f"{day[6:]}-{day[:2]}-{day[3:5]}"


def experiments(request: Request) -> Response:
    """GET /data/experiments, /data/projects/P/experiments, /data/projects/P/subjects/S/experiments."""
    state: State = request.app.state.xnat
    user = request.state.user
    project = subject = None
    if "p" in request.path_params:
        project = find.project(state, user, request.path_params["p"], "data")["id"]
    if "s" in request.path_params:
        subject = find.subject(state, user, request.path_params["s"], project or "")["id"]
    asked = [column for column in request.query_params.get("columns", "").split(",") if column and column != "DEFAULT"]
    kind = next((value for name, value in request.query_params.items() if name.lower() == "xsitype"), "")
    rows = _visible(request, project, subject)
    if kind and kind not in ("xnat:imageSessionData", "xnat:experimentData", "xnat:subjectAssessorData"):
        rows = [row for row in rows if row["xsiType"] == kind]
    if kind == "xnat:imageSessionData":
        rows = [row for row in rows if row["xsiType"].endswith("SessionData")]
    rows = _filtered(request, rows)
    names = [(column, shortcut(column)) for column in asked]
    scans = [column for column in asked if column.lower().startswith(_SCAN)]
    _known(asked)
    session_level = any(s.lower() in _SESSION_LEVEL for _, s in names if s) or bool(scans)
    concrete = bool(kind) and kind not in ("xnat:imageSessionData", "xnat:experimentData", "xnat:subjectAssessorData")
    if concrete:
        root, always = f"{kind.lower()}/id", ["URI"]
    elif kind == "xnat:imageSessionData" or session_level:
        root, always = "session_ID", ["project", "xsiType", "URI"]
    else:
        root, always = "ID", ["project", "xsiType", "URI"]
    if not asked:
        keys = ["ID", "project", "date", "xsiType", "label", "insert_date", "URI"]
        pairs = [(key, key) for key in keys]
        if project:
            pairs.append(("xnat:subjectassessordata/id", "ID"))
    else:
        pairs = [(root, "ID")] + [(name, name) for name in always]
        pairs += [(short, short) for _, short in names if short and short not in (root, *always, "ID")]
        if root == "ID" and "ID" not in dict(pairs):
            pairs.insert(0, ("ID", "ID"))
    found = [{key: row.get(value, "") for key, value in pairs} for row in rows]
    if scans:
        found = _join_scans(state, rows, found, scans)
    return _paged(request, found)


def _known(asked: list[str]) -> None:
    for column in asked:
        lower = column.lower()
        if "/" not in column or shortcut(column):
            continue
        field = lower.removeprefix(_SCAN)
        known = field in _SCAN_FIELDS or (field.startswith("file/") and field[5:] in _FILE_FIELDS)
        if lower.startswith(_SCAN) and not known:
            raise Refusal(500)
        if not lower.startswith(_SCAN) and not lower.startswith("xnat:"):
            raise Refusal(500)


def _visible(request: Request, project: str | None, subject: str | None) -> list[dict[str, Any]]:
    state: State = request.app.state.xnat
    user = request.state.user
    readable = set(state.visible_projects(user))
    sql = (
        "SELECT e.*, s.label AS subject_label, s.project AS subject_project FROM experiments e "
        "LEFT JOIN subjects s ON s.id=e.subject_id"
    )
    conditions, values = [], []
    for name, column in (("uid", "e.uid"), ("studyinstanceuid", "e.uid"), ("id", "e.id")):
        wanted = next((v for k, v in request.query_params.items() if k.lower() == name), "")
        if wanted and not set(wanted) & set("*%,"):
            conditions.append(f"{column}=?")
            values.append(wanted)
    if project:
        conditions.append("(e.project=? OR e.id IN (SELECT item_id FROM shares WHERE kind='experiment' AND project=?))")
        values += [project, project]
    if subject:
        conditions.append("e.subject_id=?")
        values.append(subject)
    if conditions:
        sql += " WHERE " + " AND ".join(conditions)
    shares: dict[str, dict[str, str]] = {}
    for share in state.rows("SELECT item_id, project, label FROM shares WHERE kind='experiment'"):
        shares.setdefault(share["item_id"], {})[share["project"]] = share["label"]
    subject_shares = {
        share["item_id"]: share["label"]
        for share in state.rows("SELECT item_id, label FROM shares WHERE kind='subject' AND project=?", project)
    }
    found = []
    for row in state.rows(sql + " ORDER BY e.rowid", *values):
        shared = shares.get(row["id"], {})
        if row["project"] not in readable and not readable & shared.keys():
            continue
        one = _session(row)
        if project and row["project"] != project:
            # XNAT source, ProjSubExptList: label, subject_label and project become the view of the project asked.
            one["label"] = shared.get(project) or one["label"]
            one["subject_label"] = subject_shares.get(row["subject_id"]) or one["subject_label"]
            one["project"] = project
        found.append(one)
    return found


def _session(row) -> dict[str, Any]:
    fields = json.loads(row["fields"] or "{}")
    return {
        **{shortcut(name) or name: value for name, value in fields.items()},
        "ID": row["id"],
        "label": row["label"],
        "project": row["project"],
        "date": row["date"],
        "time": row["time"],
        "xsiType": row["xsi_type"],
        "insert_date": row["insert_date"],
        "insert_user": row["insert_user"],
        "subject_ID": row["subject_id"],
        "subject_label": row["subject_label"],
        "subject_project": row["subject_project"],
        "session_ID": row["id"],
        "session_label": row["label"],
        "session_project": row["project"],
        "session_type": row["xsi_type"],
        "modality": row["modality"],
        "UID": row["uid"],
        "URI": f"/data/experiments/{row['id']}",
    }


def _filtered(request: Request, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for name, pattern in request.query_params.items():
        short = shortcut(name)
        if name.lower() in _CONTROL or not short or not pattern:
            continue
        owner = "session_project" if short == "project" else short
        rows = [row for row in rows if matches(pattern, str(row.get(owner, "") or ""))]
    return rows


def _join_scans(state: State, rows, found, columns: list[str]) -> list[dict[str, Any]]:
    """One row per session, scan and scan resource; a session without scans has one row with empty cells."""
    fields = [(column.lower(), column.lower()[len(_SCAN) :]) for column in columns]
    with_files = any(field.startswith("file/") for _, field in fields)
    ids = {row["ID"] for row in rows}
    picks = [
        (key, f"r.{_FILE_FIELDS[field[5:]]}" if field.startswith("file/") else f"s.{_SCAN_FIELDS[field]}")
        for key, field in fields
    ]
    sql = f"SELECT s.experiment_id, {', '.join(column for _, column in picks)} FROM scans s"
    if with_files:
        sql += " LEFT JOIN resources r ON r.parent_kind='scan' AND r.parent_id=CAST(s.pk AS TEXT)"
    if len(ids) == 1:
        scan_rows = state.read().execute(sql + " WHERE s.experiment_id=? ORDER BY s.pk", tuple(ids)).fetchall()
    else:
        scan_rows = state.read().execute(sql + " ORDER BY s.pk").fetchall()
    by_session: dict[str, list[dict[str, Any]]] = {}
    keys = [key for key, _ in picks]
    for session, *cells in scan_rows:
        if session in ids:
            by_session.setdefault(session, []).append(dict(zip(keys, cells, strict=True)))
    nothing = {key: "" for key, _ in picks}
    return [
        base | cells for row, base in zip(rows, found, strict=True) for cells in by_session.get(row["ID"], [nothing])
    ]


def _paged(request: Request, rows: list[dict[str, Any]]) -> Response:
    limit, offset = request.query_params.get("limit"), request.query_params.get("offset")
    if limit is None and offset is None:
        return table(request, rows)
    start = int(offset) if offset and offset.isdigit() else 0
    if limit == "*":
        return table(request, rows[start:], total=False)
    count = int(limit) if limit and limit.isdigit() else 100
    return table(request, rows[start : start + count], total=False)


def subjects(request: Request) -> Response:
    """GET /data/subjects and /data/projects/P/subjects; the project of a shared subject stays its owner."""
    state: State = request.app.state.xnat
    user = request.state.user
    readable = set(state.visible_projects(user))
    project = None
    if "p" in request.path_params:
        project = find.project(state, user, request.path_params["p"], "data")["id"]
    shares: dict[str, dict[str, str]] = {}
    for share in state.rows("SELECT item_id, project, label FROM shares WHERE kind='subject'"):
        shares.setdefault(share["item_id"], {})[share["project"]] = share["label"]
    found = []
    for row in state.rows("SELECT * FROM subjects ORDER BY rowid"):
        shared = shares.get(row["id"], {})
        if project and row["project"] != project and project not in shared:
            continue
        if row["project"] not in readable and not readable & shared.keys():
            continue
        fields = json.loads(row["fields"] or "{}")
        label = row["label"]
        if project and row["project"] != project:
            label = shared.get(project) or label
        found.append(
            {
                **fields,
                "ID": row["id"],
                "project": row["project"],
                "label": label,
                "insert_date": row["insert_date"],
                "insert_user": row["insert_user"],
                "URI": f"/data/subjects/{row['id']}",
            }
        )
    for name, pattern in request.query_params.items():
        key = {"id": "ID", "label": "label", "gender": "gender", "group": "group"}.get(name.lower())
        if key and pattern:
            found = [row for row in found if matches(pattern, str(row.get(key, "")))]
    asked = [column for column in request.query_params.get("columns", "").split(",") if column and column != "DEFAULT"]
    if asked:
        names = ["ID", *(column.rpartition("/")[2] if "/" in column else column for column in asked), "URI"]
    else:
        names = ["ID", "project", "label", "insert_date", "insert_user", "URI"]
    known = {name.lower(): name for row in found for name in row}
    names = list(dict.fromkeys(known.get(name.lower(), name) for name in names))
    return _paged(request, [{name: row.get(name, "") for name in names} for row in found])


def scans(request: Request) -> Response:
    """GET .../experiments/E/scans."""
    state: State = request.app.state.xnat
    session = find.experiment(state, request.state.user, request.path_params["e"], request.path_params.get("p", ""))
    kind = next((value for name, value in request.query_params.items() if name.lower() == "xsitype"), "")
    asked = [column for column in request.query_params.get("columns", "").split(",") if column and column != "DEFAULT"]
    found = []
    for row in find.scans(state, session, "ALL"):
        if kind and kind != "xnat:imageScanData" and row["xsi_type"] != kind:
            continue
        one = {
            "xnat_imagescandata_id": row["pk"],
            "ID": row["id"],
            "type": row["type"],
            "quality": row["quality"],
            "xsiType": row["xsi_type"],
            "note": row["note"],
            "series_description": row["series_description"],
            "URI": f"/data/experiments/{session['id']}/scans/{row['id']}",
        }
        extra = {"UID": row["uid"], "frames": row["frames"], "modality": row["modality"]}
        if asked:
            every = {name.lower(): (name, value) for name, value in (one | extra).items()}
            names = ["xnat_imagescandata_id", "ID", *asked, "URI"]
            one = {}
            for name in names:
                known = every.get(name.rpartition("/")[2].lower())
                if known:
                    one[known[0]] = known[1]
        if kind and kind != "xnat:imageScanData":
            one[f"{kind.lower()}/xnat_imagescandata_id"] = row["pk"]
        found.append(one)
    return table(request, found)


def assessors(request: Request) -> Response:
    """GET .../experiments/E/assessors: none are kept here."""
    find.experiment(
        request.app.state.xnat, request.state.user, request.path_params["e"], request.path_params.get("p", "")
    )
    return table(request, [], ["ID", "label", "xsiType", "URI"])


_SESSION_BASES = (
    "/data/experiments/{e}",
    "/data/projects/{p}/experiments/{e}",
    "/data/projects/{p}/subjects/{s}/experiments/{e}",
)

routes = [
    Route("/data/experiments", experiments),
    Route("/data/projects/{p}/experiments", experiments),
    Route("/data/projects/{p}/subjects/{s}/experiments", experiments),
    Route("/data/subjects/{s}/experiments", experiments),
    Route("/data/subjects", subjects),
    Route("/data/projects/{p}/subjects", subjects),
    *(Route(f"{base}/scans", scans) for base in _SESSION_BASES),
    *(Route(f"{base}/assessors", assessors) for base in _SESSION_BASES),
]
