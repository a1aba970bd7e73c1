"""Subjects, sessions and scans as objects: read, make, change, delete (XNAT source: SubjectResource, ...)."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import find
from .answers import Refusal, item, item_answer, table, text
from .state import State

_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_OWN = {"date", "time", "uid", "modality"}
_DEMOGRAPHICS = {"gender", "dob", "yob", "age", "handedness", "height", "weight"}
_RESERVED = {"id", "project", "label", "user", "subject", "xsi_type", "xsitype"}
_SCAN_OWN = {"type", "uid", "quality", "note", "series_description", "frames", "modality"}
_CONTROL = {
    "xsitype", "req_format", "format", "label", "triggerpipelines", "fixscantypes", "pulldatafromheaders",
    "removefiles",
    "event_reason", "event_type", "event_action", "event_comment", "event_id", "inbody", "activate", "quarantine",
    "allowdatadeletion", "xnat_csrf",
}  # fmt: skip


def _given(request: Request, body: bytes, types: set[str] | None = None) -> dict[str, str]:
    """Field values of a query or a form, by the last word of their path.

    With ``types`` paths that begin with another type are left out without a word (REST test
    TestArchive.testSetScanProperties).
    """
    pairs = list(request.query_params.multi_items())
    if "form-urlencoded" in request.headers.get("content-type", ""):
        pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    found = {}
    for name, value in pairs:
        if name.lower() in _CONTROL or (types and "/" in name and name.partition("/")[0].lower() not in types):
            continue
        custom = re.search(r"field\[name=([^\]]+)\]/field$", name)
        key = f"fields/field[name={custom[1]}]/field" if custom else name.rpartition("/")[2]
        if key.lower() not in _RESERVED:
            found[key] = "" if value == "NULL" else value
    return found


def _label(request: Request, name: str) -> str:
    """The label of what is made: as a field, or the last word of the address."""
    found = (value for key, value in request.query_params.items() if re.fullmatch(r"(xnat:\w+/)?label", key))
    return next(found, "") or name


def _kind(request: Request) -> str:
    return next((value for name, value in request.query_params.items() if name.lower() == "xsitype"), "")


def _legal(label: str) -> None:
    if not _LABEL.fullmatch(label):
        raise Refusal(417, "Invalid character in label.")


def _shares(state: State, kind: str, key: str) -> list[dict[str, Any]]:
    return [
        item(f"xnat:{kind}Data_share", {"project": row["project"], "label": row["label"]})
        for row in state.rows("SELECT * FROM shares WHERE kind=? AND item_id=?", kind, key)
    ]


def _change(handler, request: Request, body: bytes) -> Response:
    """Look and write in one transaction, so that two who make the same thing at once do not collide."""
    if request.method not in ("PUT", "POST"):
        return handler(request, body)
    with request.app.state.xnat.write():
        return handler(request, body)


async def subject(request: Request) -> Response:
    """/data/projects/P/subjects/S and /data/subjects/S."""
    body = await request.body() if request.method in ("PUT", "POST") else b""
    return await run_in_threadpool(_change, _subject, request, body)


def _subject(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    project = find.project(state, user, words["p"])["id"] if "p" in words else ""
    if request.method == "GET":
        row = find.subject(state, user, words["s"], project)
        fields = json.loads(row["fields"])
        fields = {f"demographics/{name}" if name in _DEMOGRAPHICS else name: fields[name] for name in fields}
        shown = {"ID": row["id"], "label": row["label"], "project": row["project"], **fields}
        children = {"sharing/share": _shares(state, "subject", row["id"])}
        return item_answer(request, item("xnat:subjectData", shown, children))
    if request.method == "DELETE":
        row = find.subject(state, user, words["s"], project)
        if not state.can(user, row["project"], "delete"):
            raise Refusal(403)
        for session in state.rows("SELECT id FROM experiments WHERE subject_id=?", row["id"]):
            _remove_session(state, session["id"])
        with state.write() as db:
            db.execute("DELETE FROM subjects WHERE id=?", (row["id"],))
            db.execute("DELETE FROM shares WHERE kind='subject' AND item_id=?", (row["id"],))
        state.workflow(row["id"], "Removed via web service", user, request.query_params, project=row["project"])
        return text("")
    given = _given(request, body)
    try:
        row = find.subject(state, user, words["s"], project)
    except Refusal:
        row = None
    if row is None:
        if not project:
            raise Refusal(404)
        if not state.can(user, project, "create"):
            raise Refusal(403)
        label = _label(request, words["s"])
        _legal(label)
        accession = state.new_subject(project, label, user, **given)
        state.workflow(accession, "Added via web service", user, request.query_params, project=project)
        return text(accession, 201)
    if not state.can(user, row["project"], "edit"):
        raise Refusal(403)
    fields = json.loads(row["fields"]) | given
    with state.write() as db:
        db.execute("UPDATE subjects SET fields=? WHERE id=?", (json.dumps(fields), row["id"]))
    state.workflow(row["id"], "Modified via web service", user, request.query_params, project=row["project"])
    return text(row["id"])


async def session(request: Request) -> Response:
    """/data/experiments/E and the project paths to it."""
    body = await request.body() if request.method in ("PUT", "POST") else b""
    return await run_in_threadpool(_change, _session, request, body)


def _session(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    project = find.project(state, user, words["p"])["id"] if "p" in words else ""
    if request.method == "GET":
        return item_answer(request, _session_item(state, find.experiment(state, user, words["e"], project)))
    if request.method == "DELETE":
        row = find.experiment(state, user, words["e"], project)
        if not state.can(user, row["project"], "delete"):
            raise Refusal(403)
        _remove_session(state, row["id"])
        state.workflow(row["id"], "Removed via web service", user, request.query_params, project=row["project"])
        return text("")
    given = _given(request, body)
    try:
        row = find.experiment(state, user, words["e"], project)
    except Refusal:
        row = None
    if row is None:
        return _new_session(request, state, project, given)
    if not state.can(user, row["project"], "edit"):
        raise Refusal(403)
    other = given.pop("subject_ID", "")
    if other:
        subject_id = find.subject(state, user, other, row["project"])["id"]
        with state.write() as db:
            db.execute("UPDATE experiments SET subject_id=? WHERE id=?", (subject_id, row["id"]))
    own = {name.lower(): value for name, value in given.items() if name.lower() in _OWN}
    fields = json.loads(row["fields"]) | {name: value for name, value in given.items() if name.lower() not in _OWN}
    with state.write() as db:
        for name, value in own.items():
            db.execute(f"UPDATE experiments SET {name}=? WHERE id=?", (value, row["id"]))
        db.execute("UPDATE experiments SET fields=? WHERE id=?", (json.dumps(fields), row["id"]))
    state.workflow(row["id"], "Modified via web service", user, request.query_params, project=row["project"])
    return text(row["id"])


def _new_session(request: Request, state: State, project: str, given: dict[str, str]) -> Response:
    user, words = request.state.user, request.path_params
    if not project or "s" not in words:
        raise Refusal(404)
    if not state.can(user, project, "create"):
        raise Refusal(403)
    kind = _kind(request)
    if not kind:
        raise Refusal(417, "Need xsiType of the new experiment.")
    label = _label(request, words["e"])
    _legal(label)
    try:
        owner = find.subject(state, user, words["s"], project)["id"]
    except Refusal:
        _legal(words["s"])
        owner = state.new_subject(project, words["s"], user)
    given.pop("subject_ID", None)
    own = {name.lower(): value for name, value in given.items() if name.lower() in _OWN}
    rest = {name: value for name, value in given.items() if name.lower() not in _OWN}
    accession = state.new_experiment(project, owner, label, kind, user, **own, **rest)
    state.workflow(accession, "Added via web service", user, request.query_params, project=project)
    return text(accession, 201)


def _remove_session(state: State, key: str) -> None:
    with state.write() as db:
        holders = db.execute(
            "SELECT pk FROM resources WHERE (parent_kind='experiment' AND parent_id=?) OR (parent_kind='scan' AND "
            "parent_id IN (SELECT CAST(pk AS TEXT) FROM scans WHERE experiment_id=?))",
            (key, key),
        ).fetchall()
        doomed = [state.resource_folder(row["pk"]) for row in holders]
        for row in holders:
            db.execute("DELETE FROM files WHERE resource_pk=?", (row["pk"],))
            db.execute("DELETE FROM resources WHERE pk=?", (row["pk"],))
        db.execute("DELETE FROM scans WHERE experiment_id=?", (key,))
        db.execute("DELETE FROM shares WHERE kind='experiment' AND item_id=?", (key,))
        db.execute("DELETE FROM experiments WHERE id=?", (key,))
    for folder in doomed:
        shutil.rmtree(folder, ignore_errors=True)


def _session_item(state: State, row) -> dict[str, Any]:
    fields = json.loads(row["fields"])
    shown = {
        "ID": row["id"],
        "label": row["label"],
        "project": row["project"],
        "subject_ID": row["subject_id"],
        "date": row["date"],
        "time": row["time"],
        "UID": row["uid"],
        "modality": row["modality"],
        **fields,
    }
    scans = [_scan_item(row["id"], scan) for scan in find.scans(state, row, "ALL")]
    children = {"scans/scan": scans, "sharing/share": _shares(state, "experiment", row["id"])}
    return item(row["xsi_type"], shown, children)


def _scan_item(session_id: str, scan) -> dict[str, Any]:
    shown = {
        "ID": scan["id"],
        "type": scan["type"],
        "UID": scan["uid"],
        "quality": scan["quality"],
        "note": scan["note"],
        "series_description": scan["series_description"],
        "frames": scan["frames"],
        "image_session_ID": session_id,
        **json.loads(scan["fields"]),
    }
    return item(scan["xsi_type"], shown)


async def scan(request: Request) -> Response:
    """.../experiments/E/scans/N."""
    body = await request.body() if request.method in ("PUT", "POST") else b""
    return await run_in_threadpool(_change, _scan, request, body)


def _scan(request: Request, body: bytes) -> Response:
    state: State = request.app.state.xnat
    user, words = request.state.user, request.path_params
    project = find.project(state, user, words["p"])["id"] if "p" in words else ""
    owner = find.experiment(state, user, words["e"], project)
    found = [row for row in find.scans(state, owner, "ALL") if row["id"] == words["scan"]]
    if request.method == "GET":
        if not found:
            raise Refusal(404)
        return item_answer(request, _scan_item(owner["id"], found[0]))
    if request.method == "DELETE":
        if not found:
            raise Refusal(404)
        if not state.can(user, owner["project"], "delete"):
            raise Refusal(403)
        holders = state.rows("SELECT pk FROM resources WHERE parent_kind='scan' AND parent_id=?", str(found[0]["pk"]))
        folders = [state.resource_folder(holder["pk"]) for holder in holders]
        with state.write() as db:
            for holder in holders:
                db.execute("DELETE FROM files WHERE resource_pk=?", (holder["pk"],))
                db.execute("DELETE FROM resources WHERE pk=?", (holder["pk"],))
            db.execute("DELETE FROM scans WHERE pk=?", (found[0]["pk"],))
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return text("")
    if not state.can(user, owner["project"], "edit"):
        raise Refusal(403)
    kind = _kind(request)
    if kind == "xnat:imageScanData":
        raise Refusal(400)
    if kind and not kind.endswith("ScanData"):
        raise Refusal(400, f"{kind} is no type of scan.")
    types = {"xnat:imagescandata", (found[0]["xsi_type"] if found else kind).lower()}
    own = {name.lower(): value for name, value in _given(request, body, types).items() if name.lower() in _SCAN_OWN}
    if not found:
        if not kind:
            raise Refusal(417, "Need xsiType of the new scan.")
        state.new_scan(owner["id"], words["scan"], kind, **own)
        return text(words["scan"])
    if kind and kind != found[0]["xsi_type"]:
        raise Refusal(409)
    with state.write() as db:
        for name, value in own.items():
            db.execute(f"UPDATE scans SET {name}=? WHERE pk=?", (value, found[0]["pk"]))
    return text(words["scan"])


def item_projects(request: Request) -> Response:
    """GET <subject or session>/projects: the owner first, then where it is shared."""
    state: State = request.app.state.xnat
    words = request.path_params
    project = words.get("p", "")
    kind = "experiment" if "e" in words else "subject"
    row = getattr(find, kind)(state, request.state.user, words["e" if kind == "experiment" else "s"], project)
    found = [(row["project"], row["label"])]
    found += [
        (share["project"], share["label"] or row["label"])
        for share in state.rows("SELECT * FROM shares WHERE kind=? AND item_id=?", kind, row["id"])
    ]
    rows = []
    for name, label in found:
        owner = state.project(name)
        rows.append({"label": label, "ID": name, "Secondary_ID": owner["secondary_id"], "Name": owner["name"]})
    return table(request, rows)


def status(request: Request) -> Response:
    find.experiment(
        request.app.state.xnat, request.state.user, request.path_params["e"], request.path_params.get("p", "")
    )
    return text("active")


_ALL = ["GET", "PUT", "POST", "DELETE"]
_SESSIONS = (
    "/data/experiments/{e}",
    "/data/projects/{p}/experiments/{e}",
    "/data/projects/{p}/subjects/{s}/experiments/{e}",
)
routes = [
    Route("/data/subjects/{s}", subject, methods=_ALL),
    Route("/data/projects/{p}/subjects/{s}", subject, methods=_ALL),
    Route("/data/subjects/{s}/projects", item_projects),
    Route("/data/projects/{p}/subjects/{s}/projects", item_projects),
]
for _base in _SESSIONS:
    routes += [
        Route(_base, session, methods=_ALL),
        Route(f"{_base}/projects", item_projects),
        Route(f"{_base}/status", status),
        Route(f"{_base}/scans/{{scan}}", scan, methods=_ALL),
    ]
