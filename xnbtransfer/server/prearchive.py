"""The prearchive on the wire: listings, files, zips, actions on one session, and the three batch services.

Key names and answers are those recorded from a live server; rules by XNAT source ``PrearcSessionListResource``,
``PrearcSessionResource`` and ``BatchPrearchive*``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from . import answers, personality, zips
from .answers import Refusal
from .archiving import archive_row, prearchive_code
from .faulty_files import slow_archive
from .importer import is_true
from .row_addresses import find_rows, may_edit, read_values, sources
from .rules import in_background
from .waiting import Waiting, gone
from .waiting_rows import IDLE, STATUSES, UNASSIGNED, Row, Scan, locked

if TYPE_CHECKING:
    from .state import State

_COLUMNS = (
    "project", "timestamp", "lastmod", "uploaded", "scan_date", "scan_time", "subject", "folderName", "name", "tag",
    "status", "url", "autoarchive", "prevent_anon", "prevent_auto_commit", "SOURCE", "VISIT", "PROTOCOL", "TIMEZONE",
)
_ADDRESS = "/data/prearchive/projects/{project}/{timestamp}/{folder}"


def _table(request: Request, rows: list[dict[str, str]], columns: tuple[str, ...]) -> Response:
    return answers.table(request, rows, columns, total=False)


# -- lists of sessions ------------------------------------------------------------------------------------------


def list_all(request: Request) -> Response:
    """``GET /data/prearchive``: every row the user may work on, in one answer."""
    state: State = request.app.state.xnat
    user, tag = request.state.user, request.query_params.get("tag")
    if tag and not state.is_admin(user):
        raise Refusal(403, "Non admin user's can not query by tag")
    projects = state.visible_projects(user, "edit")
    if state.is_admin(user):
        projects.append(UNASSIGNED)
    where = ("tag=?", tag) if tag else ("",)
    rows = Waiting(state).rows(projects, *where)
    return _table(request, [row.listing() for row in rows], _COLUMNS)


def rebuild_table(request: Request) -> Response:
    """``PUT /data/prearchive``: administrators have the table read from the folders again; here it is always right."""
    if not request.app.state.xnat.is_admin(request.state.user):
        raise Refusal(403)
    return Response(status_code=200)


def list_projects(request: Request) -> Response:
    """``GET /data/prearchive/projects/P[,Q]``, for readers; a project the user may not read is 404, as a missing one.

    Before 1.7.6 it is an empty list (recorded answers, topic W6 and n158, n167). Who has access to all data gets the
    unassigned rows with those of any project (seen on a live 1.8.11).
    """
    state: State = request.app.state.xnat
    user, projects = request.state.user, []
    everything = state.is_admin(user)
    for name in request.path_params["project"].split(","):
        if name == UNASSIGNED:
            continue
        found = state.project(name)
        if found is None or not state.can(user, found["id"], "read"):
            if personality.has(state, "strangers-see-no-rows"):
                raise Refusal(404)
            continue
        projects.append(found["id"])
    if everything:
        projects.append(UNASSIGNED)
    rows = Waiting(state).rows(projects)
    return _table(request, [row.listing() for row in rows], _COLUMNS)


# -- one session ------------------------------------------------------------------------------------------------


def _row(request: Request, *, built: bool = False) -> tuple[Waiting, Row]:
    """Return the addressed row.

    Raises
    ------
    Refusal
        403 without the right to edit, 404 when there is no such row (or, with ``built``, no document yet).
    """
    waiting, row = _find(request)
    if row is None or (built and not row.built):
        raise Refusal(404, "Unable to locate prearc resource.")
    return waiting, row


def _find(request: Request) -> tuple[Waiting, Row | None]:
    """Return the addressed row, None where there is none.

    What is unassigned only administrators may read; its uploader can build and move it, who knows the address
    (XNAT source, ``PrearcUtils.getPrearcSessionDir``). The folder's name in an address is not decoded: a row whose
    name is written otherwise there is never found (recorded from 1.8.11: n520, n521).

    Raises
    ------
    Refusal
        403 without the right to edit.
    """
    state: State = request.app.state.xnat
    waiting, path = Waiting(state), request.path_params
    row = waiting.find(path["project"], path["timestamp"], path["folder"]) if path["folder"].isascii() else None
    user = request.state.user
    if path["project"] == UNASSIGNED and request.method != "POST" and not state.is_admin(user):
        raise Refusal(403, f"This user has insufficient privileges for the data type 'user {user} does not have "
                           "permission to access the Unassigned directory '.")
    allowed = may_edit(state, user, row) if row else state.can(user, path["project"], "edit")
    if not allowed:
        raise Refusal(403, f"This user has insufficient privileges for the data type 'user {user} does not have create "
                           f"permissions for project {path['project']}'.")
    return waiting, row


def _worked_on(request: Request) -> tuple[Waiting, Row]:
    """The addressed row that something is to be done with; 500 where there is none (recorded from 1.8.11: F66).

    XNAT writes that into the log of the row's folder, which is there from then on (see `row_addresses.without_row`).
    """
    waiting, row = _find(request)
    if row is None:
        path = request.path_params
        with contextlib.suppress(OSError):
            waiting.state.prearchive_folder(path["project"], path["timestamp"], path["folder"]).mkdir(parents=True)
        raise gone(path["project"], path["timestamp"], quote(path["folder"]))
    return waiting, row


def read_session(request: Request) -> Response:
    """``GET`` one session: its row, with ``format=zip`` its files, with ``format=xml`` its document.

    Of a session that is unknown, or gone, it is a table without rows (XNAT source, ``PrearcDatabase.buildRows``) and
    an empty zip. Releases 1.7.0 to 1.7.2 never list one row (recorded from 1.7.2), and up to there the zip of a row
    that is gone is 500.
    """
    state: State = request.app.state.xnat
    form = request.query_params.get("format", "json").lower()
    if form not in ("json", "csv", "xml", "zip", "html"):
        raise Refusal(400, f"unsupported format: {form}")
    waiting, found = _find(request)
    if form == "zip":
        if found is None and not personality.has(state, "gone-rows-told"):
            raise Refusal(500)
        return _zip(request.path_params["folder"], _session_entries(waiting, found) if found else iter(()))
    if form == "xml":
        waiting, row = _row(request)
        if not row.built:
            raise Refusal(404, "The named session exists, but its XNAT session document is not available. The session "
                               "is likely invalid or incomplete.")
        return answers.as_xml(_document(waiting, row))
    listed = personality.has(state, "one-row-is-listed") or not personality.has(state, "late-files-join")
    return _table(request, [found.listing()] if found and listed else [], _COLUMNS)


def delete_session(request: Request) -> Response:
    """``DELETE`` one session with its files."""
    waiting, row = _row(request)
    waiting.delete(waiting.claim(row, "DELETING"))
    return Response(status_code=200)


def act(request: Request) -> Response:
    """``POST ?action=``: build, commit, move, reset-status.

    Archived by commit means **301** with the archive's address as body and no ``Location`` header, as XNAT does
    (REST test TestImport.testManualArchiveGradualImport).
    """
    state: State = request.app.state.xnat
    query = request.query_params
    action = query.get("action", "")
    if action == "move":
        return _move(request, query.get("newProject", ""))
    waiting, row = _worked_on(request)
    if action == "build":
        waiting.build(row)
        return _uri(row.uri)
    if action == "commit":
        built = waiting.build(row)
        auto = next((query[key] for key in ("AA", "auto-archive", "autoArchive") if key in query), None)
        code = prearchive_code(state, row)
        wanted = is_true(auto) if auto is not None else row.autoarchive.startswith("AutoArchive")
        if not wanted or row.project == UNASSIGNED or (built is not None and built.status == "RECEIVING"):
            return _uri(row.uri)
        assert built is not None
        uri = archive_row(state, built, request.state.user, merge=True, override=False, overwrite_files=code == 5)
        return Response(uri, 301, media_type="text/plain")
    if action in ("reset-status", "set-status"):
        status = query.get("status") or ("READY" if row.built else "RECEIVING")
        if status not in STATUSES:
            raise Refusal(400, f"unknown prearchive status: {status}")
        waiting.set_status(row, status)
        return _uri(row.uri)
    raise Refusal(400, f"unsupported action on prearchive session: {action}")


def _move(request: Request, target: str) -> Response:
    """The uploader of an unassigned session may move it where he may edit (XNAT source: ``PrearcUtils``)."""
    state: State = request.app.state.xnat
    waiting, row = _worked_on(request)
    project = state.project(target)
    if not target or project is None:
        raise Refusal(400, "Move action requires newProject parameter" if not target else f"Unknown project {target}")
    if not state.can(request.state.user, project["id"], "edit"):
        raise Refusal(403, "Invalid permissions for new project.")
    moved = waiting.move(waiting.claim(row, "MOVING"), project["id"])
    assert moved is not None
    return Response(moved.uri, 301, media_type="text/plain")


def _uri(uri: str) -> Response:
    return Response(uri, headers={"Content-Type": "text/uri-list;charset=ISO-8859-1"})


def _document(waiting: Waiting, row: Row) -> str:
    scans = waiting.scans(row)
    kind, modality = waiting.session_kind(scans)
    lines = [f'<xnat:scan ID={quoteattr(scan.id)} UID={quoteattr(scan.series_uid)} xsi:type="{scan.xsi_type}" '
             f'type={quoteattr(scan.description)}><xnat:frames>{scan.frames}</xnat:frames></xnat:scan>'
             for scan in scans]
    name = kind.removeprefix("xnat:").removesuffix("SessionData")
    element = f"xnat:{name.upper() if len(name) <= 3 else 'OtherDicom'}Session"
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<{element} ID="" UID={quoteattr(row.tag)} '
            f'label={quoteattr(row.name)} modality={quoteattr(modality)} project={quoteattr(row.project)} '
            'xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
            f"<xnat:subject_ID>{row.subject}</xnat:subject_ID>\n<xnat:date>{row.scan_date}</xnat:date>\n"
            f"<xnat:time>{row.scan_time}</xnat:time>\n<xnat:scans>\n" + "\n".join(lines)
            + f"\n</xnat:scans>\n</{element}>\n")


# -- scans, resources, files ------------------------------------------------------------------------------------


def list_scans(request: Request) -> Response:
    """``GET .../scans`` once the session is built."""
    waiting, row = _row(request, built=True)
    rows = [{"ID": scan.id, "xsiType": scan.xsi_type, "series_description": scan.description}
            for scan in waiting.scans(row)]
    return _table(request, rows, ("ID", "xsiType", "series_description"))


def _scan(waiting: Waiting, row: Row, name: str) -> Scan:
    found = next((scan for scan in waiting.scans(row) if scan.id == name), None)
    if found is None:
        raise Refusal(404, "Unable to locate prearc resource.")
    return found


def read_scan(request: Request) -> Response:
    """``GET .../scans/ID``: its row, or with ``format=zip`` its files as ``ID/DICOM/...``."""
    waiting, row = _row(request, built=True)
    scan = _scan(waiting, row, request.path_params["scan"])
    if request.query_params.get("format") == "zip":
        entries = ((f"{scan.id}/{file['resource']}/{file['path']}", _path(waiting, row, file)) for file in scan.files)
        return _zip(f"{row.folder}_{scan.id}", entries)
    return _table(request, [{"ID": scan.id, "xsiType": scan.xsi_type, "series_description": scan.description}],
                  ("ID", "xsiType", "series_description"))


def delete_scan(request: Request) -> Response:
    """``DELETE .../scans/ID``."""
    waiting, row = _row(request)
    waiting.delete_scan(row, _scan(waiting, row, request.path_params["scan"]).id)
    return Response(status_code=200)


def _resources(scan: Scan) -> list[dict[str, str]]:
    labels = sorted({file["resource"] for file in scan.files})
    return [{
        "label": label,
        "file_count": str(sum(1 for file in scan.files if file["resource"] == label)),
        "file_size": str(sum(file["size"] for file in scan.files if file["resource"] == label)),
    } for label in labels]


def list_resources(request: Request) -> Response:
    """``GET .../resources``: every resource of every scan, in one request."""
    waiting, row = _row(request, built=True)
    rows = [{"category": "scans", "cat_id": scan.id, **found}
            for scan in waiting.scans(row) for found in _resources(scan)]
    return _table(request, rows, ("category", "cat_id", "label", "file_count", "file_size"))


def list_scan_resources(request: Request) -> Response:
    """``GET .../scans/ID/resources``; 1.6 knows no JSON here (recorded from 1.6.4: F61)."""
    if not personality.has(request.app.state.xnat, "late-files-join"):
        raise Refusal(400, "Requested type application/json is not supported")
    waiting, row = _row(request, built=True)
    rows = _resources(_scan(waiting, row, request.path_params["scan"]))
    return _table(request, rows, ("label", "file_count", "file_size"))


def list_files(request: Request) -> Response:
    """``GET .../scans/ID/resources/R/files``: name, size and address; the prearchive knows no digests."""
    waiting, row = _row(request, built=True)
    path = request.path_params
    files = waiting.files(row, path["scan"], path["resource"])
    if not files:
        raise Refusal(404)
    base = f"{row.uri}/scans/{quote(path['scan'])}/resources/{quote(path['resource'])}/files"
    rows = [{"Name": file["path"], "Size": str(file["size"]), "URI": f"{base}/{quote(file['path'])}"}
            for file in files]
    return _table(request, rows, ("Name", "Size", "URI"))


def read_file(request: Request) -> Response:
    """``GET .../files/NAME``: the bytes."""
    waiting, row = _row(request)
    path = request.path_params
    known = [file for file in waiting.files(row, path["scan"], path["resource"]) if file["path"] == path["name"]]
    if not known:
        raise Refusal(404, "Unable to locate prearc resource.")
    return FileResponse(_path(waiting, row, known[0]), media_type="application/octet-stream")


def read_logs(request: Request) -> Response:
    """``GET .../logs``, ``.../logs/last`` or ``.../logs/N``: what went wrong with a session.

    The last entry of a session that has none, or is gone, is an empty text (recorded from 1.8.11: F65).
    """
    _, row = _find(request)
    state: State = request.app.state.xnat
    logs = state.rows("SELECT * FROM prearchive_logs WHERE row_pk=? ORDER BY pk", row.id) if row else []
    which = request.path_params.get("log")
    if which is None:
        rows = [{"id": str(number), "date": log["at"], "entry": log["text"]} for number, log in enumerate(logs)]
        return _table(request, rows, ("id", "date", "entry"))
    number = len(logs) - 1 if which == "last" else int(which) if which.isdecimal() else -1
    if which != "last" and not 0 <= number < len(logs):
        raise Refusal(404, "Unable to find log.")
    words = logs[number]["text"] if logs else ""
    return Response(words, headers={"Content-Type": "text/xml;charset=ISO-8859-1"})


def _path(waiting: Waiting, row: Row, file) -> Path:
    return waiting.file_path(row, file["scan"], file["resource"], file["path"])


def _session_entries(waiting: Waiting, row: Row) -> Iterator[tuple[str, Path]]:
    """Every file in the folder of a session, listed or not, and what building it has written there."""
    for file in waiting.files(row, every=True):
        yield f"{row.folder}/SCANS/{file['scan']}/{file['resource']}/{file['path']}", _path(waiting, row, file)
    yield from waiting.written(row)


def _zip(name: str, entries: Iterator[tuple[str, Path]]) -> Response:
    headers = {"Content-Disposition": f"attachment; filename=\"{name}.zip\""}
    return StreamingResponse(zips.stored_zip(entries), media_type="application/zip", headers=headers)


# -- batch services ---------------------------------------------------------------------------------------------


async def batch(request: Request) -> Response:
    """``POST /data/services/prearchive/{move,rebuild,delete}``: answered at once, done afterwards.

    A locked row is left alone, and the answer is 200 all the same (seen on a live 1.8.11); ``overrideLock`` opens it.
    """
    values = await read_values(request)
    try:
        return await run_in_threadpool(_batch, request, values)
    except _Nothing:
        answer = _table(request, [], _COLUMNS)
        answer.status_code = 500
        return answer


class _Nothing(Refusal):
    """A rebuild of a row that is gone: 500 with a table that has no rows (recorded from 1.8.11: F70)."""


def _not_moved(state: State, project: str, timestamp: str, folder: str) -> Refusal:
    """What a move of a row that is gone is told (recorded from 1.6.4, 1.7.2, 1.7.6 and 1.8.11: F69)."""
    if not personality.has(state, "gone-rows-told"):
        return gone(project, timestamp, folder)
    return Refusal(404, f"No prearchive resource with session {folder} and timestamp {timestamp} exists in the "
                        f"project {project}")


_ABSENT = {
    "move": _not_moved,
    "rebuild": lambda state, *address: _Nothing(500),
    "delete": lambda state, *address: gone(*address),
}


def _batch(request: Request, values: dict[str, list[str]]) -> Response:
    state: State = request.app.state.xnat
    user, verb = request.state.user, request.path_params["verb"]
    waiting = Waiting(state)
    addresses = sources(values)
    target = ""
    if verb == "move":
        name = values.get("newProject", [""])[0]
        found = state.project(name)
        if found is None:
            raise Refusal(400, "Missing parameter: newProject" if not name else f"Unknown project {name}")
        target = found["id"]
        if not state.can(user, target, "edit"):
            raise Refusal(403, "Invalid permissions for new project.")
    rows = find_rows(state, user, addresses, refusal="Invalid permissions for new project.", absent=_ABSENT[verb])
    unlock = values.get("overrideLock", ["false"])[0].lower() == "true"
    if verb == "move" and not unlock and any(row.status not in IDLE for row in rows):
        raise Refusal(403, "Operation not permitted: a session is being worked on.")
    if target and any(waiting.find(target, row.timestamp, row.folder) for row in rows):
        raise Refusal(409, "Session already exists in the new project.")
    status = {"move": "QUEUED_MOVING", "rebuild": "QUEUED_BUILDING", "delete": "QUEUED_DELETING"}[verb]
    free = [row for row in rows if unlock or not locked(row.status)]
    for row in free:
        waiting.set_status(row, status)
    listing = [marked.listing() for row in rows if (marked := waiting.again(row))]

    def work() -> None:
        for row in free:
            with contextlib.suppress(Refusal):
                slow_archive(row.url)
                if verb == "move":
                    waiting.move(waiting.claim(row, "MOVING"), target)
                elif verb == "rebuild":
                    waiting.build(row)
                else:
                    waiting.delete(waiting.claim(row, "DELETING"))

    in_background(f"prearchive-{verb}", work)
    return _table(request, listing, _COLUMNS)


_SCAN = _ADDRESS + "/scans/{scan}"
routes = [
    Route("/data/prearchive", list_all, methods=["GET"]),
    Route("/data/prearchive", rebuild_table, methods=["PUT"]),
    Route("/data/prearchive/projects", list_all),
    Route("/data/prearchive/projects/{project}", list_projects),
    Route(_ADDRESS, read_session, methods=["GET"]),
    Route(_ADDRESS, act, methods=["POST"]),
    Route(_ADDRESS, delete_session, methods=["DELETE"]),
    Route(_ADDRESS + "/logs", read_logs),
    Route(_ADDRESS + "/logs/{log}", read_logs),
    Route(_ADDRESS + "/resources", list_resources),
    Route(_ADDRESS + "/scans", list_scans),
    Route(_SCAN, read_scan, methods=["GET"]),
    Route(_SCAN, delete_scan, methods=["DELETE"]),
    Route(_SCAN + "/resources", list_scan_resources),
    Route(_SCAN + "/resources/{resource}/files", list_files),
    Route(_SCAN + "/resources/{resource}/files/{name:path}", read_file),
    Route("/data/services/prearchive/{verb:str}", batch, methods=["POST"]),
]
