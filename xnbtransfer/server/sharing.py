"""The projects of an item: the list of them, sharing into one, and giving it to one (``primary=true``).

XNAT source: ``SecureResource.shareExperimentToProject``; REST test TestSharing.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import find, moving, personality, removing
from .answers import Refusal, flag, status_page, table, text
from .find import EXPERIMENT, SUBJECT, Kind
from .rules import strike
from .state import Record, State
from .workflows import justified

_COLUMNS = ["label", "ID", "Secondary_ID", "Name"]


def projects(request: Request) -> Response:
    """GET <item>/projects: the owner first, then where it is shared."""
    state: State = request.app.state.xnat
    kind, row, _ = find.asked(request)
    shares = state.rows("SELECT * FROM shares WHERE kind=? AND item_id=? ORDER BY rowid", kind.name, row["id"])
    rows = []
    for name in (row["project"], *(share["project"] for share in shares)):
        label, owner = find.label_in(state, kind, row, name), state.project(name)
        assert owner is not None  # a project that owns or shares is there
        rows.append({"label": label, "ID": name, "Secondary_ID": owner["secondary_id"], "Name": owner["name"]})
    return table(request, rows, _COLUMNS, total=False)


def _told(request: Request, kind: Kind, row: Record, label: str, owner: str) -> Response:
    """What a share or a move is answered: a page with the owner, or the session's id where its subject is named.

    XNAT source: ``SubjectResource`` and ``ExperimentResource``, ``SubjAssessmentResource``; recorded answers, topic W8.
    The table does not show the new share yet.
    """
    if kind is EXPERIMENT and "s" in request.path_params:
        return text(row["id"])
    found = request.app.state.xnat.project(owner)
    line = {"label": label, "ID": owner, "Secondary_ID": found["secondary_id"], "Name": found["name"]}
    return table(request, [line], _COLUMNS, total=False, default="html")


async def one_project(request: Request) -> Response:
    """PUT and DELETE <item>/projects/DEST."""
    return await run_in_threadpool(_one_project, request)


def _one_project(request: Request) -> Response:
    state: State = request.app.state.xnat
    kind, row, _ = find.asked(request, anywhere=request.method == "PUT")
    name = request.path_params["to"]
    try:
        to = find.project(state, request.state.user, name)["id"]
    except Refusal:
        raise Refusal(404, f"Unable to identify project: {name}") from None
    if request.method == "DELETE":
        return removing.delete(request, kind, row, to)
    justified(request)
    label = request.query_params.get("label", "")
    if flag(request, "primary"):
        answer = moving.move(request, kind, row, to, label)
        if answer.status_code != 200:
            return answer
        if kind is not SUBJECT:
            return text(row["id"] if not personality.has(state, "moves-tell-nothing") else "")
        row = find.again(state, kind, {**row, "project": to})
        return _told(request, kind, row, row["label"], to)
    return _share(request, kind, row, to, label)


def _share(request: Request, kind: Kind, row: Record, to: str, label: str) -> Response:
    """Let a project have an item, under a label of its own or, without one, under the original label."""
    state: State = request.app.state.xnat
    user = request.state.user
    _allowed(row["project"], row["label"])
    if not state.can(user, to, "create"):
        raise Refusal(
            403, f"Specified user account has insufficient create privileges for {kind.plural} in the {to} project."
        )
    with state.write() as db:
        row = find.again(state, kind, row)
        present = find.label_in(state, kind, row, to)
        wanted = label or present or row["label"]
        taken = find.by_label(state, kind, to, wanted)
        if taken is not None and taken["id"] != row["id"]:
            raise Refusal(409, f"Label already in use:{wanted}")
        if present:
            if row["project"] != to and label:  # the label changes although the answer is 409, as on a live server
                db.execute(
                    "UPDATE shares SET label=? WHERE kind=? AND item_id=? AND project=?",
                    (label, kind.name, row["id"], to),
                )
            return status_page(409, f"Already assigned to project:{to}")
        db.execute("INSERT INTO shares VALUES(?,?,?,?)", (kind.name, row["id"], to, label))
        state.workflow(row["id"], "Shared via web service", user, request.query_params, project=to)
    return _told(request, kind, row, row["label"], row["project"])


def _allowed(project: str, label: str) -> None:
    """Refuse what comes from a project in which the site does not let people share; a rule says which."""
    if strike("sharing-off", f"{project}/{label}"):
        raise Refusal(403, "Sharing is not allowed.")


# -- scans ------------------------------------------------------------------------------------------------------


def _scan(request: Request) -> tuple[Record, Record]:
    """The session and the scan that an address names."""
    state: State = request.app.state.xnat
    _, session, _ = find.asked(request)
    row = state.row("SELECT * FROM scans WHERE experiment_id=? AND id=?", session["id"], request.path_params["scan"])
    if row is None:
        raise Refusal(404, "Unable to find the specified scan.")
    return session, row


def scan_projects(request: Request) -> Response:
    """GET .../scans/N/projects: the session's owner first, then where the scan itself is shared."""
    state: State = request.app.state.xnat
    session, row = _scan(request)
    shares = state.rows("SELECT project FROM shares WHERE kind='scan' AND item_id=? ORDER BY rowid", str(row["pk"]))
    rows = []
    for name in (session["project"], *(share["project"] for share in shares)):
        owner = state.project(name)
        assert owner is not None  # a project that owns or shares is there
        rows.append({"label": row["id"], "ID": name, "Secondary_ID": owner["secondary_id"], "Name": owner["name"]})
    return table(request, rows, _COLUMNS, total=False)


def one_scan_project(request: Request) -> Response:
    """PUT and DELETE .../scans/N/projects/DEST. A shared scan does not share its session."""
    state: State = request.app.state.xnat
    user, name = request.state.user, request.path_params["to"]
    session, row = _scan(request)
    try:
        to = find.project(state, user, name)["id"]
    except Refusal:
        raise Refusal(404, f"Unable to identify project: {name}") from None
    justified(request)
    key = ("scan", str(row["pk"]), to)
    with state.write() as db:
        shared = state.row("SELECT 1 FROM shares WHERE kind=? AND item_id=? AND project=?", *key)
        if request.method == "DELETE":
            if not state.can(user, to, "delete"):
                raise Refusal(403, f"User cannot delete scans for project {to}")
            if to == session["project"]:
                raise Refusal(403, "The project owns the session of this scan.")
            db.execute("DELETE FROM shares WHERE kind=? AND item_id=? AND project=?", key)
        else:
            _allowed(session["project"], session["label"])
            if not state.can(user, to, "create"):
                raise Refusal(403, f"Specified user account has insufficient create privileges in the {to} project.")
            if shared or to == session["project"]:
                raise Refusal(409, f"Already assigned to project:{to}")
            db.execute("INSERT INTO shares VALUES(?,?,?,'')", key)
        what = "Removed" if request.method == "DELETE" else "Shared"
        state.workflow(session["id"], f"{what} via web service", user, request.query_params, project=to)
    return text("")


routes = []
_ASSESSORS = tuple(f"{base}/assessors/{{a}}" for base in find.SESSION_ADDRESSES)
for _base in ("/data/subjects/{s}", "/data/projects/{p}/subjects/{s}", *find.SESSION_ADDRESSES, *_ASSESSORS):
    routes += [
        Route(f"{_base}/projects", projects),
        Route(f"{_base}/projects/{{to}}", one_project, methods=["PUT", "DELETE"]),
    ]
for _base in find.SESSION_ADDRESSES:
    routes += [
        Route(f"{_base}/scans/{{scan}}/projects", scan_projects),
        Route(f"{_base}/scans/{{scan}}/projects/{{to}}", one_scan_project, methods=["PUT", "DELETE"]),
    ]
