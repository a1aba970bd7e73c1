"""From the prearchive into the archive: ``services/archive``, ``services/validate-archive`` and the background job.

Files are linked into the archive and named in its catalogue in one transaction, and leave the prearchive only after
it: an archiving that is cut off leaves the waiting session whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import anonymise, answers, clock, tracking
from .answers import Refusal
from .faulty_files import slow_archive
from .identify import clean
from .importer import anonymise_file, is_true, project_script
from .merging import Merge, ScanMove, weigh
from .rules import during, in_background, strike
from .state import file_md5
from .waiting import DIRECT, IDLE, UNASSIGNED, Row, Waiting

if TYPE_CHECKING:
    from .state import State

_FIELD = re.compile(r"xnat:\w+SessionData/(label|subject_ID|project)", re.IGNORECASE)
_busy: set[tuple[str, str, str]] = set()
_busy_lock = threading.Lock()


def prearchive_code(state: State, row: Row) -> int:
    """Return 0, 4 or 5: what the project of ``row`` does with sessions on its own."""
    found = state.row("SELECT prearchive_code FROM projects WHERE id=?", row.project)
    return int(found["prearchive_code"] or 0) if found else 0


def archive_row(state: State, row: Row, user: str, *, merge: bool, override: bool, overwrite_files: bool,
                project: str = "", subject: str = "", label: str = "", quarantine: bool = False) -> str:
    """Archive one built row and return the URI of its session.

    Parameters
    ----------
    merge, override, overwrite_files
        Whether to merge into an existing session, to waive a different UID, and to replace files that are there.
    project, subject, label
        Where the session goes instead of where the row says.

    Raises
    ------
    Refusal
        403 without the right to create, 404 when the row is gone, 409 for a conflict (the row becomes CONFLICT) or
        when the row or its target is being worked on; 500 when the row is not built (it becomes ERROR).
    """
    waiting = Waiting(state)
    project, subject, label = project or row.project, clean(subject or row.subject), clean(label or row.name)
    if not state.can(user, project, "create"):
        raise Refusal(403, f"user {user} does not have create permissions for project {project}")
    row = waiting.claim(row, "ARCHIVING")
    thing = f"{row.url} {project}/{label}"
    try:
        slow_archive(thing)
        if strike("archive-conflict", thing):
            raise Refusal(409, "Session already exists with matching files.")
        if strike("archive-error", thing):
            raise RuntimeError("a fault on request")
        if not row.built:
            raise FileNotFoundError(f"{row.folder}.xml (No such file or directory)")
        with _alone(state, project, label):
            plan = weigh(state, row, project=project, subject=subject, label=label)
            stop = plan.stops(merge=merge, override=override, overwrite_files=overwrite_files)
            if stop:
                raise Refusal(409, stop.message)
            session = _transfer(state, row, plan, user, quarantine)
    except Refusal as refusal:
        waiting.set_status(row, "CONFLICT", refusal.message)
        raise
    except Exception as error:
        waiting.set_status(row, "ERROR", f"{type(error).__name__}: {error}")
        raise Refusal(500, f"{type(error).__name__}: {error}") from error
    waiting.clear(row)
    return f"/data/archive/projects/{project}/subjects/{plan.subject_label}/experiments/{session}"


@contextlib.contextmanager
def _alone(state: State, project: str, label: str) -> Iterator[None]:
    key = (str(state.folder), project, label)
    with _busy_lock:
        if key in _busy:
            raise Refusal(423, "Session archiving already in progress.  Concurrent modification is discouraged.")
        _busy.add(key)
    try:
        yield
    finally:
        with _busy_lock:
            _busy.discard(key)


def _transfer(state: State, row: Row, plan: Merge, user: str, quarantine: bool) -> str:
    """Carry out ``plan``; return the session's label."""
    waiting = Waiting(state)
    changed = _anonymise(state, row, plan, waiting)
    code = state.row("SELECT quarantine_code FROM projects WHERE id=?", plan.project)
    quarantine = quarantine or bool(code and code["quarantine_code"])
    sums = _sums(state, plan, waiting, row, changed)
    with state.write() as db:
        subject_id = plan.subject["id"] if plan.subject else state.new_subject(plan.project, plan.subject_label, user)
        if plan.existing is None:
            fields = {"dcmPatientName": row.subject, "dcmPatientId": row.name, "prearchivePath": row.url}
            if quarantine:
                fields["status"] = "quarantine"
            experiment = state.new_experiment(
                plan.project, subject_id, plan.label, plan.xsi_type, user, date=row.scan_date, time=row.scan_time,
                uid=row.tag, modality=plan.modality, **fields)
        else:
            experiment = plan.existing["id"]
        for move in plan.scans:
            scan_pk = _scan(state, experiment, move)
            for label, files in move.resources.items():
                resource = state.add_resource("scan", scan_pk, label, format="DICOM", content="RAW")
                folder = state.resource_folder(resource)
                folder.mkdir(parents=True, exist_ok=True)
                entries = []
                for file in files:
                    source = waiting.file_path(row, move.scan.id, label, file.file["path"])
                    _link(source, folder / file.path)
                    size, sop_uid = changed.get(str(source), (file.file["size"], file.file["sop_uid"]))
                    entries.append((resource, file.path, size, sums.get(str(source), ""), "DICOM", "RAW", "", sop_uid))
                db.executemany("INSERT OR REPLACE INTO files VALUES(?,?,?,?,?,?,?,?)", entries)
                state.count_files(resource)
            db.execute("UPDATE scans SET frames=(SELECT max(?, coalesce(sum(file_count),0)) FROM resources WHERE "
                       "parent_kind='scan' AND parent_id=? AND label='DICOM') WHERE pk=?",
                       (move.scan.frames, str(scan_pk), scan_pk))
        state.workflow(experiment, "Transferred" if plan.existing is None else "Merged", user, project=plan.project)
        waiting.forget(row)
    return plan.label


def _scan(state: State, experiment: str, move: ScanMove) -> int:
    if move.existing is not None:
        return move.existing["pk"]
    scan = move.scan
    return state.new_scan(experiment, move.id, scan.xsi_type, type=scan.description or "unknown", uid=scan.series_uid,
                          quality="usable", series_description=scan.description, frames=scan.frames,
                          modality=scan.modality)


def _anonymise(state: State, row: Row, plan: Merge, waiting: Waiting) -> dict[str, tuple[int, str]]:
    """Run the project's script over the waiting DICOM files; return new size and SOP UID by path.

    Objects that it rejects are deleted (REST test TestArchive.testArchiveEmptySessionAfterProjectAnonRejection).
    """
    script = None if row.prevent_anon else project_script(state, plan.project)
    if script is None:
        return {}
    labels = anonymise.Labels(project=plan.project, subject=plan.subject_label, session=plan.label)
    changed, rejected = {}, []
    for move in plan.scans:
        for resource, files in move.resources.items():
            for file in list(files):
                path = waiting.file_path(row, move.scan.id, resource, file.file["path"])
                try:
                    changed[str(path)] = anonymise_file(path, script, labels)
                except anonymise.Rejected:
                    files.remove(file)
                    rejected.append(file.file)
        move.resources = {resource: files for resource, files in move.resources.items() if files}
    plan.scans = [move for move in plan.scans if move.resources]
    waiting.drop_files(row, rejected)
    if rejected and not plan.scans:
        raise ValueError("The project's anonymisation script rejected every object of the session.")
    return changed


def _sums(state: State, plan: Merge, waiting: Waiting, row: Row, changed: Mapping[str, object]) -> dict[str, str]:
    """Return the MD5 of each waiting file by path; none while checksums are switched off.

    Files are read again only where their bytes are no longer those that were summed on their way in.
    """
    if state.site("checksums") != "true":
        return {}
    sums = {}
    for move in plan.scans:
        for resource, files in move.resources.items():
            for file in files:
                path = waiting.file_path(row, move.scan.id, resource, file.file["path"])
                known = "" if str(path) in changed else (json.loads(file.file["fields"])[5:] or [""])[0]
                sums[str(path)] = known or file_md5(path)
    return sums


def _link(source: Path, target: Path) -> None:
    """Give ``source`` a second name in the archive, replacing what is there; copy where links are impossible."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    os.replace(part, target)


# -- services ---------------------------------------------------------------------------------------------------


def sources(request_values: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Read each ``src``, or ``project``, ``timestamp`` and ``folder``, as (project, timestamp, folder).

    Raises
    ------
    Refusal
        400 when there is none or one is no prearchive address.
    """
    found = []
    for value in request_values.get("src", []):
        parts = value.strip().strip("/").split("/")
        if parts[0] == "data":
            parts = parts[1:]
        if len(parts) != 5 or parts[:2] != ["prearchive", "projects"]:
            raise Refusal(400, f"Invalid prearchive path {value}")
        found.append((parts[2], parts[3], parts[4]))
    older = [request_values.get(name, [""])[0] for name in ("project", "timestamp", "folder")]
    if not found and all(older[1:]):  # the older way to name one session
        found.append((older[0] or UNASSIGNED, older[1], older[2]))
    if not found:
        raise Refusal(400, "Missing parameter: src")
    return found


async def read_values(request: Request) -> dict[str, list[str]]:
    """Return query and form parameters together, each with all its values."""
    values: dict[str, list[str]] = {}
    pairs = list(request.query_params.multi_items())
    if "form" in request.headers.get("content-type", ""):
        async with request.form() as form:
            pairs += [(key, value) for key, value in form.multi_items() if isinstance(value, str)]
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return values


def find_rows(state: State, user: str, addresses: list[tuple[str, str, str]], *, status: int = 403,
              refusal: str = "") -> list[Row]:
    """Return the rows at ``addresses``.

    Raises
    ------
    Refusal
        404 for an unknown one; ``status`` for one in a project the user may not edit, with ``refusal`` or its address.
    """
    waiting, rows = Waiting(state), []
    for address in addresses:
        url = "/prearchive/projects/" + "/".join(address)
        row = waiting.find(*address)
        if row is None and (address[0] == UNASSIGNED or state.can(user, address[0], "edit")):
            raise Refusal(404, f"{url} not found.")
        if row is None or not may_edit(state, user, row):
            raise Refusal(status, refusal or url)
        rows.append(row)
    return rows


def may_edit(state: State, user: str, row: Row) -> bool:
    """Whether ``user`` may work on ``row``: editors of its project, administrators and, unassigned, its uploader."""
    if row.project == UNASSIGNED:
        return state.is_admin(user) or row.uploader == user
    return state.can(user, row.project, "edit")


async def archive(request: Request) -> Response:
    """``POST /data/services/archive``.

    Notes
    -----
    XNAT 1.8 merges into an existing session unasked here, takes ``append`` and ``delete`` alike as leave to
    override, and answers every conflict with 500 (XNAT source: ``Archiver``, ``QueueBasedImageCommit``).
    """
    values = await read_values(request)
    return await run_in_threadpool(_archive, request, values)


def _archive(request: Request, values: dict[str, list[str]]) -> Response:
    state: State = request.app.state.xnat
    user = request.state.user
    given = {key: found[0] for key, found in values.items()}
    for key, value in list(given.items()):  # xnat:mrSessionData/label=... says the same as session=...
        if found := _FIELD.fullmatch(key):
            given[{"label": "session", "subject_id": "subject"}.get(found[1].lower(), "project")] = value
    addresses = sources(values)
    rows = find_rows(state, user, addresses)
    if any(row.project == UNASSIGNED for row in rows):
        raise Refusal(400, "Sessions in the Unassigned folder cannot be archived.")
    if any(row.status not in IDLE for row in rows):
        raise Refusal(403, f"Operation already in progress on this prearchive entry: {rows[0].url}")
    override = given.get("overwrite", "") in ("append", "delete", "override")
    quarantine = is_true(given.get("quarantine"))
    if len(rows) > 1:
        for row in rows:
            Waiting(state).set_status(row, "QUEUED_ARCHIVING")
        listing = [found.listing() for row in rows if (found := Waiting(state).again(row))]
        in_background("archive", _archive_later, state, rows, user, given, quarantine)
        return answers.table(request, listing, total=False)
    row = rows[0]
    code = prearchive_code(state, row)
    target = state.project(given["project"]) if given.get("project") else None
    if given.get("project") and target is None:
        raise Refusal(404, f"Unable to identify project: {given['project']}")

    def one() -> str:
        try:
            return archive_row(
                state, row, user, merge=True, override=override, overwrite_files=override or code == 5,
                project=target["id"] if target else "", subject=given.get("subject", ""),
                label=given.get("session", ""), quarantine=quarantine)
        except Refusal as refusal:
            if refusal.status in (403, 404):
                raise
            raise Refusal(500, f"FAILED: {refusal.message}") from refusal

    base = str(request.base_url).rstrip("/")
    if key := given.get("http-session-listener"):
        Waiting(state).set_status(row, "QUEUED_ARCHIVING")
        in_background("archive", _archive_heard, request.app.state.tracking.begin(request, key), one)
        return Response(status_code=303, headers={"Location": f"{base}/data/status/{quote(key, safe='')}"})
    uri = one()
    auto = given.get("auto-archive")
    if is_true(given.get("redirect")) or (auto is None and row.autoarchive.startswith("AutoArchive")):
        return Response(status_code=303, headers={"Location": f"{base}{uri}"})
    return Response(f"{uri}\r\n", headers={"Content-Type": "text/uri-list;charset=ISO-8859-1"})


def _archive_heard(progress: tracking.Progress, one: Callable[[], str]) -> None:
    """Archive one session while somebody asks how far it is."""
    progress.say("Archiving")
    try:
        progress.end(tracking.address(one()))
    except Refusal as refusal:
        progress.end(refusal.message, False)


def _archive_later(state: State, rows: list[Row], user: str, given: dict[str, str], quarantine: bool) -> None:
    overwrite = given.get("overwrite", "")
    override = overwrite in ("delete", "override")
    for row in rows:
        with contextlib.suppress(Refusal):
            archive_row(state, row, user, merge=bool(overwrite), override=override, quarantine=quarantine,
                        overwrite_files=override or is_true(given.get("overwrite_files")))


async def validate(request: Request) -> Response:
    """``POST /data/services/validate-archive``: what archiving would run into; changes nothing."""
    values = await read_values(request)

    def work() -> Response:
        state: State = request.app.state.xnat
        rows = find_rows(state, request.state.user, sources(values))
        if len(rows) > 1:
            raise Refusal(400, "Only one session can be validated at a time.")
        if not rows[0].built:
            raise Refusal(500, f"{rows[0].folder}.xml (No such file or directory)")
        seen = {finding.code: finding for finding in weigh(state, rows[0]).findings}
        listing = [{"code": str(finding.code), "type": finding.type, "message": finding.message}
                   for _, finding in sorted(seen.items())]
        return answers.table(request, listing, ["code", "type", "message"], total=False)

    return await run_in_threadpool(work)


# -- the background job -----------------------------------------------------------------------------------------


def start_background(state: State, stop: threading.Event, every_s: float = 1.0) -> threading.Thread:
    """Start the job that builds and archives idle sessions; it ends when ``stop`` is set.

    Rows left busy by a server that was killed become ERROR first.
    """
    waiting = Waiting(state)
    marks = ",".join("?" * len(IDLE))
    for row in waiting.rows(None, f"status NOT IN ({marks})", *IDLE, direct=None):
        waiting.set_status(row, "ERROR", f"The server ended while this session was {row.status}.")

    def work() -> None:
        while not stop.wait(every_s):
            with contextlib.suppress(Exception), _moment(state):  # one bad row must not end the job
                archive_idle(state)

    thread = threading.Thread(target=work, name="session-xml-rebuilder", daemon=True)
    thread.start()
    return thread


def _moment(state: State) -> contextlib.AbstractContextManager:
    return during(state.faults.moment()) if state.faults else contextlib.nullcontext()


def archive_idle(state: State) -> None:
    """Build each RECEIVING row that has been idle, and archive it where the project's code is 4 or 5.

    The idle time is the site setting ``sessionXmlRebuilderInterval`` in minutes, which may be a fraction here (XNAT
    source: ``SessionXMLRebuilder``; REST test simpleAutoarchiveMerge).
    """
    try:
        idle_s = 60 * float(state.site("sessionXmlRebuilderInterval") or 5)
    except ValueError:
        idle_s = 300.0
    waiting = Waiting(state)
    for row in waiting.rows(None, "status='RECEIVING'", direct=None):
        age_s = (clock.now() - datetime.fromisoformat(row.lastmod)).total_seconds()
        if age_s < idle_s or row.prevent_auto_commit or row.source == "uploader":
            continue
        with contextlib.suppress(Refusal):
            built = waiting.build(row)
            code = prearchive_code(state, row)
            wanted = row.autoarchive not in ("", "Manual")
            if built.status == "READY" and wanted and row.project != UNASSIGNED:
                archive_row(state, built, row.uploader, merge=row.autoarchive != DIRECT, override=False,
                            overwrite_files=code == 5)


routes = [
    Route("/data/services/archive", archive, methods=["POST"]),
    Route("/data/services/validate-archive", validate, methods=["POST"]),
]
