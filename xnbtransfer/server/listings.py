"""Lists of sessions, subjects and scans: columns, key names, filters, joins (XNAT source: QueryOrganizer).

The naming of keys follows REST tests TestDynamicSearchSubjectAssessors, ...Subjects and ...Scans: a column that has a
shortcut is named by it, however it was asked for; any other is its path in lower case.
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import columns, datatypes, find, personality, unread
from .answers import Refusal, cell, table
from .columns import ScanColumn
from .fields import DEMOGRAPHICS
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
_OF_SUBJECT = {"xnat:subjectdata/id": "subject_ID", "xnat:subjectdata/label": "subject_label",
               "xnat:subjectdata/project": "subject_project"}  # fmt: skip
_ASSESSOR = re.compile(r"(xnat:imageassessordata|\w+:(?!subjectassessor)\w*assessordata)/(.+)")
_SUBJECT = ("ID", "project", "label", "insert_date", "insert_user", "group", "src", "dob", "yob", "age", "gender",
            "handedness", "URI")  # fmt: skip
_SUBJECT_PATH = re.compile(r"xnat:subjectdata/(?:demographics(?:\[[^\]]*\])?/)?(.+)", re.IGNORECASE)
_SESSION_ROOT = re.compile(r"xnat:(\w+sessiondata|experimentdata|subjectassessordata)")
_BELOW = re.compile(r"xnat:(\w+(session|scan)data|experimentdata)/")
_CONTROL = {"columns", "format", "xsitype", "sortby", "sortorder", "limit", "offset", "xnat_csrf", "recent"}


def shortcut(column: str) -> str:
    """The shortcut of a column of a session, or "" if it has none."""
    lower = column.lower()
    if lower == "studyinstanceuid":
        return "UID"
    if lower in _EXPERIMENT:
        return _EXPERIMENT[lower]
    if lower in _OF_SUBJECT:
        return _OF_SUBJECT[lower]
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
    """GET /data/experiments, /data/projects/P/experiments, /data/projects/P/subjects/S/experiments.

    What is not there or may not be read is refused; a failure of the query itself is swallowed below a project.
    """
    state: State = request.app.state.xnat
    user = request.state.user
    project = subject = None
    if "p" in request.path_params:
        project = find.project(state, user, request.path_params["p"], "data")["id"]
    if "s" in request.path_params:
        subject = find.subject(state, user, request.path_params["s"], project or "")["id"]
    try:
        return _experiments(request, project, subject)
    except Refusal as problem:
        if problem.status != 500:
            raise
        return columns.failed(request)


def _experiments(request: Request, project: str | None, subject: str | None) -> Response:
    state: State = request.app.state.xnat
    asked, kind = unread.columns(request), unread.in_any_case(request, "xsiType")
    rows = _visible(request, project, subject)
    names = [(column, shortcut(column)) for column in asked]
    scans = _scan_columns(asked)
    others, assessed = _others(asked, kind)
    for column, short in names:
        if not short and not ScanColumn.of(column) and column.lower() not in {*others, *assessed}:
            unread.ignored(request, "column", column)
    session_level = any(s.lower() in _SESSION_LEVEL for _, s in names if s) or bool(scans)
    if kind and not datatypes.is_known(state, kind):
        raise Refusal(500)
    concrete = bool(kind) and kind not in ("xnat:imageSessionData", "xnat:experimentData", "xnat:subjectAssessorData")
    if kind == "xnat:imageAssessorData":
        rows = [row for row in rows if row["imageSession_ID"]]
    elif concrete:
        rows = [row for row in rows if row["xsiType"] == kind]
    elif kind == "xnat:imageSessionData":
        rows = [row for row in rows if row["xsiType"].endswith("SessionData")]
    elif project or kind == "xnat:subjectAssessorData" or session_level:
        rows = [row for row in rows if not row["imageSession_ID"]]
    if not project or personality.has(state, "project-lists-filter"):
        rows = _filtered(request, rows)
    if not (kind == "xnat:imageSessionData" or session_level and not concrete):
        rows = _as_seen(state, rows)
    if concrete:
        root, always = f"{kind.lower()}/id", ["URI"]
    elif kind == "xnat:imageSessionData" or session_level:
        root, always = "session_ID", ["project", "xsiType", "URI"]
    else:
        root, always = "xnat:subjectassessordata/id" if project else "ID", ["project", "xsiType", "URI"]
    if not asked:
        keys = ["ID", "project", "date", "xsiType", "label", "insert_date", "URI"]
        pairs = [(key, key) for key in keys]
        if project:
            pairs.append(("xnat:subjectassessordata/id", "ID"))
    else:
        pairs = [(root, "ID")] + [(name, name) for name in always]
        pairs += [(short, short) for _, short in names if short and short not in (root, *always)]
    for key in others:
        if person := _SUBJECT_PATH.fullmatch(key):
            pairs.append((key, f"person {person[1]}"))
            continue
        stem, _, field = key.partition("/")
        own = _SESSION_ROOT.fullmatch(stem) or stem == kind.lower()
        pairs.append((key, _EXPERIMENT.get(field, f"/{field}") if own else key))
    found = [{key: row.get(value, "") for key, value in pairs} for row in rows]
    ids = [row["ID"] for row in rows]
    if assessed:
        ids, found = _join_assessors(request, ids, found, assessed)
    if scans:
        found = _join_scans(state, ids, found, scans)
    title = "" if "p" in request.path_params or "s" in request.path_params else "Matching experiments"
    return _paged(request, found, [key for key, _ in pairs] + assessed + [column.key for column in scans], title)


def _scan_columns(asked: list[str]) -> list[ScanColumn]:
    found = [ScanColumn.of(column) for column in dict.fromkeys(column.lower() for column in asked)]
    return [column for column in found if column is not None]


def _others(asked: list[str], kind: str) -> tuple[list[str], list[str]]:
    """Paths of columns that have no shortcut and are no scan's, as keys: those of the rows, and those of assessors.

    What is no path at all, or of a type that there is not, is ignored. In a list of one type its own columns are those
    of the rows.
    """
    found: list[str] = []
    assessed: list[str] = []
    for column in dict.fromkeys(column.lower() for column in asked):
        if "/" in column and not shortcut(column) and not columns.is_scan(column):
            below = _ASSESSOR.fullmatch(column)
            if not columns.check(column):
                continue
            joined = below and below[1] != kind.lower() and kind != "xnat:imageAssessorData"
            (assessed if joined else found).append(column)
    return found, assessed


def _visible(request: Request, project: str | None, subject: str | None) -> list[dict[str, Any]]:
    state: State = request.app.state.xnat
    user = request.state.user
    readable = set(state.visible_projects(user))
    sql = (
        "SELECT e.*, s.label AS subject_label, s.project AS subject_project, s.fields AS person FROM experiments e "
        "LEFT JOIN subjects s ON s.id=e.subject_id"
    )
    conditions, values = [], []
    for name, column in (("uid", "e.uid"), ("studyinstanceuid", "e.uid"), ("id", "e.id")):
        wanted = unread.in_any_case(request, name)
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
        one["sharing"] = ",".join(shared)
        if project and row["project"] != project:
            one["seen"] = {
                "label": shared.get(project) or one["label"],
                "subject_label": subject_shares.get(row["subject_id"]) or one["subject_label"],
                "project": project,
            }
        found.append(one)
    return found


def _as_seen(state: State, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions as the project that is asked sees them: label, label of the subject and project of a share.

    XNAT writes them over the owner's where it finds the column of accession numbers under its full name; with image
    sessions as root that column is called ``session_ID``, and the owner's stay (ProjSubExptList.represent; recorded
    answers of 1.8.11 and 1.6.4, W1). Filters have been applied before, to the owner's. 1.6.4 replaces the label alone.
    """
    names = ("label", "subject_label", "project") if personality.has(state, "shares-in-full") else ("label",)
    return [row | {name: row["seen"][name] for name in names} if "seen" in row else row for row in rows]


def _session(row) -> dict[str, Any]:
    fields = json.loads(row["fields"] or "{}")
    person = json.loads(row["person"] or "{}")
    return {
        **{f"/{name.lower()}": value for name, value in fields.items()},
        **{f"person {name.lower()}": value for name, value in person.items()},
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
        "imageSession_ID": row["session_id"],
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
        if name.lower().endswith("/sharing/share/project"):
            unread.looked(request, name)
            rows = [row for row in rows if set(pattern.split(",")) & set(row["sharing"].split(","))]
        if not short and (person := _SUBJECT_PATH.fullmatch(name)):
            short = f"person {person[1].lower()}"
        if name.lower() in _CONTROL or not short or not pattern:
            continue
        unread.looked(request, name)
        owner = "session_project" if short == "project" else short
        rows = [row for row in rows if matches(pattern, cell(row.get(owner)))]
    return rows


def _join_assessors(request: Request, sessions: list[str], found, keys: list[str]):
    """One row per session and assessor, with the accession number of its session; a session without any has one row.

    ``sessions`` are the accession numbers of the rows ``found``.
    """
    kinds = {stem for stem in (key.partition("/")[0] for key in keys) if stem != "xnat:imageassessordata"}
    by_session: dict[str, list[dict[str, Any]]] = {}
    for one in _visible(request, None, None):
        if one["imageSession_ID"] and (not kinds or one["xsiType"].lower() in kinds):
            cells = {}
            for key in keys:
                field = key.partition("/")[2]
                cells[key] = one.get(_EXPERIMENT.get(field, f"/{field}"), "")
            by_session.setdefault(one["imageSession_ID"], []).append(cells)
    nothing = [dict.fromkeys(keys, "")]
    pairs = [
        (session, base | cells)
        for session, base in zip(sessions, found, strict=True)
        for cells in by_session.get(session, nothing)
    ]
    return [session for session, _ in pairs], [row for _, row in pairs]


def _join_scans(state: State, sessions: list[str], found, columns: list[ScanColumn]) -> list[dict[str, Any]]:
    """One row per session, scan and scan resource; a session without scans has one row with empty cells.

    ``sessions`` are the accession numbers of the rows ``found``.
    """
    ids = set(sessions)
    sql = f"SELECT s.experiment_id, {', '.join(column.sql for column in columns)} FROM scans s"
    if any(column.sql.startswith("r.") for column in columns):
        sql += " LEFT JOIN resources r ON r.parent_kind='scan' AND r.parent_id=CAST(s.pk AS TEXT)"
    conditions: list[str] = []
    values: list[str] = []
    kinds = {column.kind for column in columns if column.kind}
    if kinds:
        conditions.append(f"lower(s.xsi_type) IN ({','.join('?' * len(kinds))})")
        values += kinds
    if len(ids) == 1:
        conditions.append("s.experiment_id=?")
        values += ids
    sql += f"{' WHERE ' if conditions else ''}{' AND '.join(conditions)} ORDER BY s.pk"
    keys = [column.key for column in columns]
    by_session: dict[str, list[dict[str, Any]]] = {}
    for session, *cells in state.read().execute(sql, values):
        if session in ids:
            by_session.setdefault(session, []).append(dict(zip(keys, cells, strict=True)))
    nothing = dict.fromkeys(keys, "")
    return [
        base | cells
        for session, base in zip(sessions, found, strict=True)
        for cells in by_session.get(session, [nothing])
    ]


def _paged(request: Request, rows: list[dict[str, Any]], columns: list[str], title: str = "") -> Response:
    limit, offset = request.query_params.get("limit"), request.query_params.get("offset")
    if limit is None and offset is None:
        return table(request, rows, columns, title)
    start = int(offset) if offset and offset.isdigit() else 0
    if limit == "*":
        return table(request, rows[start:], columns, title, total=False)
    count = int(limit) if limit and limit.isdigit() else 100
    return table(request, rows[start : start + count], columns, title, total=False)


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
        key, where = _subject_column(name)
        if key and pattern and name.lower() not in _CONTROL:
            unread.looked(request, name)
            found = [row for row in found if matches(pattern, str(row.get(where, "")))]
    asked = unread.columns(request)
    names = ["ID", "project", "label", "insert_date", "insert_user", "URI"]
    below = [column for column in asked if _BELOW.match(column.lower())]
    if asked:
        own = [_subject_column(column) for column in asked if column not in below]
        for column, (key, _) in zip((one for one in asked if one not in below), own, strict=True):
            if not key:
                unread.ignored(request, "column", column)
        pairs = dict([("ID", "ID"), *(pair for pair in own if pair[0]), ("URI", "URI")])
    else:
        pairs = {name: name for name in names}
    names = list(pairs)
    rows = [{name: row.get(where, "") for name, where in pairs.items()} for row in found]
    if below:
        rows = _join_sessions(request, project, rows, below)
        names += [column.lower() for column in below]
    return _paged(request, rows, names)


def _subject_column(column: str) -> tuple[str, str]:
    """The key of a column of subjects and the field that it shows; the shortcut where there is one, else the path.

    >>> _subject_column("GENDER"), _subject_column("xnat:subjectData/fields/field[name=arm]/field")
    (('gender', 'gender'), ('xnat:subjectdata/fields/field[name=arm]/field', 'fields/field[name=arm]/field'))
    >>> _subject_column("xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/gender")
    ('gender', 'gender')
    >>> _subject_column("nonsense")
    ('', '')
    """
    short = {name.lower(): name for name in (*_SUBJECT, *DEMOGRAPHICS)}
    path = _SUBJECT_PATH.fullmatch(column)
    field = path[1] if path else column
    if field.lower() in short:
        return short[field.lower()], short[field.lower()]
    if path and not path[0].lower().startswith("xnat:subjectdata/demographics"):
        columns.check(column)
    return (column.lower(), field) if path else ("", "")


def _join_sessions(request: Request, project: str | None, rows, below: list[str]) -> list[dict[str, Any]]:
    """One row per subject and session, and per scan if columns of scans are asked for."""
    scans = _scan_columns(below)
    plain = [(column.lower(), shortcut(re.sub(".*/", "", column))) for column in below if not ScanColumn.of(column)]
    kinds = {key.partition("/")[0] for key, _ in plain} - {"xnat:imagesessiondata", "xnat:experimentdata"}
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for session in _visible(request, project, None):
        if not kinds or session["xsiType"].lower() in kinds:
            by_subject.setdefault(session["subject_ID"], []).append(session)
    sessions, found = [], []
    for row in rows:
        for session in by_subject.get(row["ID"], [{"ID": ""}]):
            sessions.append(session["ID"])
            found.append(row | {key: session.get(name, "") for key, name in plain})
    return _join_scans(request.app.state.xnat, sessions, found, scans) if scans else found


def scans(request: Request) -> Response:
    """GET .../experiments/E/scans."""
    state: State = request.app.state.xnat
    below = request.path_params.get("p", "")
    try:
        session = find.experiment(state, request.state.user, request.path_params["e"], below)
    except Refusal:
        if below:
            raise
        raise Refusal(500) from None  # the constructor of ScanList fails (recorded answers of 1.8.11, form F39)
    asked, kind = unread.columns(request), unread.in_any_case(request, "xsiType")
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
            "URI": f"/data/experiments/{session['id']}/scans/{quote(row['id'], safe='')}",
        }
        extra = {"UID": row["uid"], "frames": row["frames"], "modality": ""}
        if asked:
            every = {name.lower(): (name, value) for name, value in (one | extra).items()}
            names = ["xnat_imagescandata_id", "ID", *asked, "URI"]
            one = {}
            fields = {name.lower(): value for name, value in json.loads(row["fields"] or "{}").items()}
            for name in names:
                path = columns.scan_field(name)
                known = every.get(path or name.lower())
                if known:
                    one[known[0]] = known[1]
                elif path:
                    one[name.lower()] = fields.get(path, "")
        if kind and kind != "xnat:imageScanData":
            one[f"{kind.lower()}/xnat_imagescandata_id"] = row["pk"]
        found.append(one)
    return table(request, found)


def scan_types(request: Request) -> Response:
    """GET /data/scan_types and /data/projects/P/scan_types: the types of scans and how their series are called."""
    state: State = request.app.state.xnat
    projects = state.visible_projects(request.state.user)
    if "p" in request.path_params:
        projects = [find.project(state, request.state.user, request.path_params["p"], "data")["id"]]
    marks = ",".join("?" * len(projects))
    found: dict[str, str] = {}
    for row in state.rows(
        f"SELECT s.type, s.series_description FROM scans s JOIN experiments e ON e.id=s.experiment_id "
        f"WHERE e.project IN ({marks}) ORDER BY s.type, s.pk",
        *projects,
    ):
        found[row["type"]] = f"{found.get(row['type'], '')}{row['series_description']},"
    rows = [{"type": kind, "series_descriptions": names} for kind, names in found.items()]
    return table(request, rows, ("type", "series_descriptions"), title="Scan Types")


routes = [
    Route("/data/scan_types", scan_types),
    Route("/data/projects/{p}/scan_types", scan_types),
    Route("/data/experiments", experiments),
    Route("/data/projects/{p}/experiments", experiments),
    Route("/data/projects/{p}/subjects/{s}/experiments", experiments),
    Route("/data/subjects/{s}/experiments", experiments),
    Route("/data/subjects", subjects),
    Route("/data/projects/{p}/subjects", subjects),
    *(Route(f"{base}/scans", scans) for base in find.SESSION_ADDRESSES if base != find.WITHOUT_SUBJECT),
]
