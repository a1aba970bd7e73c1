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

from . import anonymise, answers, clock, folders, personality, tracking, unread
from .answers import Refusal
from .faulty_files import slow_archive
from .identify import clean
from .importer import anonymise_file, is_true, project_script
from .merging import ERRORS, Merge, ScanMove, weigh
from .row_addresses import find_rows, read_values, sources, without_document, without_row
from .rules import during, in_background, strike
from .state import file_md5, safe
from .waiting import Waiting
from .waiting_rows import DIRECT, IDLE, UNASSIGNED, Row

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
                project: str = "", subject: str = "", label: str = "", quarantine: bool = False,
                event: Mapping[str, str] | None = None) -> str:
    """Archive one built row and return the URI of its session.

    Parameters
    ----------
    merge, override, overwrite_files
        Whether to merge into an existing session, to waive a different UID, and to replace files that are there.
    project, subject, label
        Where the session goes instead of where the row says.
    event
        ``event_reason``, ``event_type`` and ``event_comment`` for the history; its name is not asked for.

    Raises
    ------
    Refusal
        403 without the right to create, 409 for a conflict (the row becomes CONFLICT) or when the row is being worked
        on, 400 for what is wrong with its files, 423 when its target is being worked on, 500 when it is gone, not
        built, or a script fails (it becomes ERROR).
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
                raise Refusal(400 if stop.code in ERRORS else 409, stop.message)
            if plan.subject is None and strike("subject-race", thing):
                state.subject_of(project, plan.subject_label, user)
                raise ArchivingError(f"Unable to save new subject {state.unused_subject_id()}")
            session = _transfer(state, row, plan, user, quarantine, event)
    except Refusal as refusal:
        _failed(waiting, row, "CONFLICT" if refusal.status == 409 else "ERROR", refusal.message)
        raise
    except Exception as error:
        words = str(error) if isinstance(error, ArchivingError) else f"{type(error).__name__}: {error}"
        _failed(waiting, row, "ERROR", words)
        raise Refusal(500, words) from error
    waiting.clear(row)
    return f"/data/archive/projects/{project}/subjects/{plan.subject_label}/experiments/{session}"


def _failed(waiting: Waiting, row: Row, status: str, words: str) -> None:
    """Note why a row was not archived, twice, as XNAT does (recorded from 1.8.11: n486)."""
    for _ in range(2):
        waiting.set_status(row, status, words)


class ArchivingError(Exception):
    """Why XNAT broke off an archiving, in its words."""


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


def _transfer(state: State, row: Row, plan: Merge, user: str, quarantine: bool,
              event: Mapping[str, str] | None) -> str:
    """Carry out ``plan``; return the session's label."""
    waiting = Waiting(state)
    changed = _anonymise(state, row, plan, waiting)
    if changed and waiting.name_all(row):  # XNAT builds the session again after a script has run
        built = waiting.again(row)
        assert built is not None  # it is being archived
        again = weigh(state, built, project=plan.project, subject=plan.subject_label, label=plan.label)
        plan.scans = again.scans
    code = state.row("SELECT quarantine_code FROM projects WHERE id=?", plan.project)
    quarantine = quarantine or bool(code and code["quarantine_code"])
    sums = _sums(state, plan, waiting, row, changed)
    with state.write() as db:
        subject_id = plan.subject["id"] if plan.subject else state.subject_of(plan.project, plan.subject_label, user)
        if plan.existing is None:
            fields = {"dcmPatientName": row.subject, "dcmPatientId": row.name, "prearchivePath": row.url}
            if quarantine:
                fields["status"] = "quarantine"
            experiment = state.new_experiment(
                plan.project, subject_id, plan.label, plan.xsi_type, user, date=row.scan_date, time=row.scan_time,
                uid=row.tag, modality=plan.modality, **fields)
        else:
            experiment = plan.existing["id"]
            db.execute("UPDATE experiments SET uid=coalesce(nullif(?,''), uid) WHERE id=?", (row.tag, experiment))
        for move in plan.scans:
            scan_pk = _scan(state, experiment, move)
            for label, files in move.resources.items():
                resource = state.add_resource("scan", scan_pk, label, format="DICOM", content="RAW")
                folder = state.resource_folder(resource)
                folder.mkdir(parents=True, exist_ok=True)
                entries = []
                for file in files:
                    if file.replaces:
                        state.remove_file(resource, file.replaces)
                    source = waiting.file_path(row, move.scan.id, label, file.file["path"])
                    _link(source, folder / file.path)
                    size, sop_uid = changed.get(str(source), (file.file["size"], file.file["sop_uid"]))
                    entries.append((resource, file.path, size, sums.get(str(source), ""), "DICOM", "RAW", "", sop_uid))
                db.executemany("INSERT OR REPLACE INTO files VALUES(?,?,?,?,?,?,?,?)", entries)
                state.count_files(resource)
            db.execute("UPDATE scans SET frames=(SELECT max(?, coalesce(sum(file_count),0)) FROM resources WHERE "
                       "parent_kind='scan' AND parent_id=? AND label='DICOM') WHERE pk=?",
                       (move.scan.frames, str(scan_pk), scan_pk))
        _leave_unlisted(state, waiting, row, experiment, plan)
        state.workflow(experiment, "Transferred" if plan.existing is None else "Merged", user, event,
                       project=plan.project)
        waiting.forget(row)
    return plan.label


def _scan(state: State, experiment: str, move: ScanMove) -> int:
    if move.existing is not None:
        return move.existing["pk"]
    scan = move.scan
    return state.new_scan(experiment, move.id, scan.xsi_type, type=scan.description or "unknown", uid=scan.series_uid,
                          quality="usable", series_description=scan.description, frames=scan.frames,
                          modality=scan.modality)


def _leave_unlisted(state: State, waiting: Waiting, row: Row, experiment: str, plan: Merge) -> None:
    """Put the files that the session document does not have into the folder of the session, where nothing lists them.

    They are those that came while the row was built, or later (recorded from 1.8.11: races r72-r107).
    """
    session = state.item_folder("experiment", experiment, plan.project)
    for file in waiting.files(row, every=True):
        folder = session / "SCANS" / safe(file["scan"]) / safe(file["resource"])
        target = folder / safe(file["path"])
        if not file["listed"] and not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _link(waiting.file_path(row, file["scan"], file["resource"], file["path"]), target)
            folders.keep(state, folder)


def _anonymise(state: State, row: Row, plan: Merge, waiting: Waiting) -> dict[str, tuple[int, str]]:
    """Run the project's script over the waiting DICOM files; return new size and SOP UID by path.

    Objects that it rejects are deleted (REST test TestArchive.testArchiveEmptySessionAfterProjectAnonRejection). Where
    it fails in one file, or rejects all, nothing of a new session is left but its document, so that the same request
    again makes a session without files; where there is a session already, the files stay as the script left them, the
    failing ones empty, and the same request again merges them (XNAT source: ``MergeSessionsA.rollback``; seen on a
    live 1.8.11).

    Raises
    ------
    ArchivingError
        When the script fails, or rejects every object.
    """
    script = None if row.prevent_anon else project_script(state, plan.project)
    if script is None:
        return {}
    labels = anonymise.Labels(project=plan.project, subject=plan.subject_label, session=plan.label)
    changed, rejected, failed, scans = {}, [], [], list(plan.scans)
    for move in scans:
        for resource, files in move.resources.items():
            for file in list(files):
                path = waiting.file_path(row, move.scan.id, resource, file.file["path"])
                try:
                    changed[str(path)] = anonymise_file(path, script, labels)
                except anonymise.Rejected:
                    files.remove(file)
                    rejected.append(file.file)
                except anonymise.ScriptError as problem:
                    if problem.left:  # an exception: XNAT ends there, and what lies in the folder stays
                        waiting.anonymised(row, changed, ())
                        raise ArchivingError(f"An error occurred when anonymizing the data: {problem}") from problem
                    failed.append(file.file)
        if move.resources and not any(move.resources.values()):
            plan.scans.remove(move)
        move.resources = {resource: files for resource, files in move.resources.items() if files}
    emptied = bool(rejected) and not plan.scans
    if failed or emptied:
        if plan.existing is None:
            waiting.drop_files(row, waiting.files(row, every=True))
        else:
            waiting.anonymised(row, changed, failed)
        if failed:
            raise ArchivingError(f"Anonymization failed for prearcSession at {waiting.folder(row)}")
        raise ArchivingError(f"Something went wrong: I anonymized the data in {waiting.folder(row)} but something "
                             "failed during the session rebuild.")
    waiting.drop_files(row, rejected)
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


async def archive(request: Request) -> Response:
    """``POST /data/services/archive``.

    Notes
    -----
    From 1.7.6 on XNAT merges into an existing session unasked here and answers every conflict with 500; before,
    without the word ``overwrite``, with 409. ``append`` and ``delete`` alike are leave to override: another study of
    the same label is merged, and its UID is the session's then (XNAT source: ``Archiver``, ``QueueBasedImageCommit``;
    recorded from 1.6.4, 1.7.2, 1.7.6 and 1.8.11).
    """
    values = await read_values(request)
    return await run_in_threadpool(_archive, request, values)


def _archive(request: Request, values: dict[str, list[str]]) -> Response:
    state: State = request.app.state.xnat
    user = request.state.user
    given = unread.values(request, {key: found[0] for key, found in values.items()})
    for key, value in list(given.items()):  # xnat:mrSessionData/label=... says the same as session=...
        if found := _FIELD.fullmatch(key):
            unread.looked(request, key)
            given[{"label": "session", "subject_id": "subject"}.get(found[1].lower(), "project")] = value
    addresses = sources(values)
    rows = find_rows(state, user, addresses, absent=without_row)
    if any(row.project == UNASSIGNED for row in rows):
        raise Refusal(400, "Sessions in the Unassigned folder cannot be archived.")
    if any(row.status not in IDLE for row in rows):
        raise Refusal(403, f"Operation already in progress on this prearchive entry: {rows[0].url}")
    unasked = personality.has(state, "merges-unasked")
    override = given.get("overwrite", "") in ("delete", "override", *(("append",) if unasked else ()))
    quarantine = is_true(given.get("quarantine"))
    if len(rows) > 1:
        for row in rows:
            Waiting(state).set_status(row, "ARCHIVING")
        listing = [marked.listing() for row in rows if (marked := Waiting(state).again(row))]
        in_background("archive", _archive_later, state, rows, user, given, quarantine)
        return answers.table(request, listing, total=False)
    event = {name: given.get(name, "") for name in ("event_reason", "event_type", "event_comment")}
    row = rows[0]
    code = prearchive_code(state, row)
    target = state.project(given["project"]) if given.get("project") else None
    if given.get("project") and target is None:
        raise Refusal(404, f"Unable to identify project: {given['project']}")

    def one() -> str:
        try:
            return archive_row(
                state, row, user, merge=unasked or "overwrite" in given, override=override,
                overwrite_files=override or code == 5,
                project=target["id"] if target else "", subject=given.get("subject", ""),
                label=given.get("session", ""), quarantine=quarantine, event=event)
        except Refusal as refusal:
            if refusal.status in (403, 404) or not unasked:
                raise
            raise Refusal(500, f"FAILED: Unable to archive {row.folder}: Operation Failed: "
                               f"{refusal.message}") from refusal

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
        addresses = sources(values)
        if len(addresses) > 1:
            raise Refusal(400, "Only one session can be validated at a time.")
        rows = find_rows(state, request.state.user, addresses, absent=without_document)
        if not rows[0].built:
            raise without_document(state, rows[0].project, rows[0].timestamp, rows[0].folder)
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
            assert built is not None
            code = prearchive_code(state, row)
            wanted = row.autoarchive not in ("", "Manual")
            if built.status == "READY" and wanted and row.project != UNASSIGNED:
                archive_row(state, built, row.uploader, merge=row.autoarchive != DIRECT, override=False,
                            overwrite_files=code == 5)


routes = [
    Route("/data/services/archive", archive, methods=["POST"]),
    Route("/data/services/validate-archive", validate, methods=["POST"]),
]
