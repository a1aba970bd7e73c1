"""Another owner, another label, another subject: what happens to an item and to its files.

XNAT source: ``SecureResource.changeExperimentPrimaryProject``, ``MoverMaker``, ``Rename``; REST tests
TestAnonymizerLegacy.testProjectChange, TestRename; checked against answers of a live 1.6.4.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from . import find, folders, past, personality
from .anonymise import Labels, Rejected, ScriptError
from .answers import Refusal, status_page, text
from .find import EXPERIMENT, SUBJECT, Kind
from .importer import anonymise_file, project_script
from .state import Record, State

_CLASH = {"experiment": "Specified label is already in use.", "subject": "Conflict: Duplicate subject label"}


def move(request: Request, kind: Kind, row: Record, to: str, label: str) -> Response:
    """``PUT <item>/projects/DEST?primary=true``: DEST becomes the owner; the accession number stays.

    A subject goes without its sessions, and a session without its subject. Assessors stay with their owner but for
    those that ``moveAssessors`` names, though their files lie with the session. Two surprises of XNAT are kept. Without
    the right to create in DEST the answer is 500, but the files have been copied there. With a label that is in use
    there the status is set to 409 and the work goes on: where the label is that of the item's own share it is moved,
    else its files have been copied and the catalogue is as before.
    """
    state: State = request.app.state.xnat
    user = request.state.user
    if not state.can(user, row["project"], "delete"):
        raise Refusal(403, f"Specified user account has insufficient privileges for {kind.plural} in this project.")
    if to == row["project"]:
        raise Refusal(409, f"Already assigned to project:{to}")
    with state.alone():
        answer, left = _move(request, kind, row, to, label)
        if left is not None:
            folders.remove(state, left)
    return answer


def _move(request: Request, kind: Kind, row: Record, to: str, label: str) -> tuple[Response, Path | None]:
    """The answer, and the folder that is to be removed after the transaction."""
    state: State = request.app.state.xnat
    user = request.state.user
    with state.write() as db:
        row = find.again(state, kind, row)
        label = label or row["label"]
        taken = find.by_label(state, kind, to, label)
        clashing = taken is not None
        other = taken is not None and taken["id"] != row["id"]
        if other and kind is SUBJECT:
            raise Refusal(409, _CLASH[kind.name])
        source = state.item_folder(kind.name, row["id"], row["project"])
        target = state.item_folder(kind.name, row["id"], to)
        stays = source == target  # the files of an assessor lie with its session
        along = _assessors(request, row) if kind is EXPERIMENT else []
        if not stays:
            folders.copy(state, source, target)
        for one in along:
            twin = find.by_label(state, kind, to, one["label"])
            other = other or (twin is not None and twin["id"] != one["id"])
        if other or not state.can(user, to, "create"):
            if not stays:
                folders.keep(state, target)
            return (status_page(409, _CLASH[kind.name]) if other else status_page(500)), None
        past.remember(state, kind, row)
        for one, name in ((row, label), *((one, one["label"]) for one in along)):
            db.execute(f"UPDATE {kind.table} SET project=?, label=? WHERE id=?", (to, name, one["id"]))
            db.execute("DELETE FROM shares WHERE kind=? AND item_id=? AND project=?", (kind.name, one["id"], to))
        if kind is EXPERIMENT:
            db.execute(
                "DELETE FROM shares WHERE kind='scan' AND project=? AND item_id IN "
                "(SELECT CAST(pk AS TEXT) FROM scans WHERE experiment_id=?)",
                (to, row["id"]),
            )
            anonymise_again(state, row["id"])
        silent = kind is SUBJECT or personality.has(state, "moves-without-files")
        if not silent and not _has_files(state, row["id"]):
            return status_page(500), None if stays else source
        state.workflow(row["id"], "Modified project", user, request.query_params, project=to)
    return (status_page(409, _CLASH[kind.name]) if clashing else text("")), None if stays else source


def _has_files(state: State, session_id: str) -> bool:
    """Whether a session holds any file, of its own or of a scan."""
    own = "r.parent_kind='experiment' AND r.parent_id=?"
    scans = "r.parent_kind='scan' AND r.parent_id IN (SELECT CAST(pk AS TEXT) FROM scans WHERE experiment_id=?)"
    where = f"SELECT 1 FROM files f JOIN resources r ON r.pk=f.resource_pk WHERE ({own}) OR ({scans})"
    return state.row(where, session_id, session_id) is not None


def _assessors(request: Request, session: Record) -> list[Record]:
    """The assessors that ``moveAssessors`` names, by accession number or label, and that are the session's owner's."""
    wanted = set(request.query_params.get("moveAssessors", "").split(","))
    rows = find.assessors(request.app.state.xnat, request.state.user, session)
    return [row for row in rows if {row["id"], row["label"]} & wanted and row["project"] == session["project"]]


def rename(request: Request, kind: Kind, row: Record, below: str, label: str) -> Response:
    """``PUT <item>?label=NEW`` and nothing else. The new label is not checked for characters, as on a live server."""
    state: State = request.app.state.xnat
    user = request.state.user
    if below and below != row["project"]:
        raise Refusal(409, "Project must be modified through separate URI.")
    if not state.can(user, row["project"], "edit"):
        raise Refusal(
            403, f"Specified user account has insufficient edit privileges for {kind.plural} in this project."
        )
    done = _renamed(state, kind, row)
    if label == row["label"]:
        return done
    if set(label) & set(" /\\"):
        raise Refusal(417, "Need PUT Contents")
    running = state.running_workflow(row["id"]) if kind is EXPERIMENT else None
    if running:
        raise Refusal(409, f"Specified session is being processed ({running['name']}).")
    with state.write() as db:
        taken = find.by_label(state, kind, row["project"], label)
        if taken is not None and taken["id"] != row["id"]:
            raise Refusal(409, _CLASH[kind.name])
        past.remember(state, kind, row)
        db.execute(f"UPDATE {kind.table} SET label=? WHERE id=?", (label, row["id"]))
        if kind is EXPERIMENT:
            anonymise_again(state, row["id"], renamed=True)
        state.workflow(row["id"], "Renamed", user, request.query_params, project=row["project"])
    return done


def _renamed(state: State, kind: Kind, row: Record) -> Response:
    """What a rename that worked is answered: nothing; 1.6 tells a subject's number, and 1.7 fails after it."""
    if kind is EXPERIMENT or personality.has(state, "renames-tell-nothing"):
        return text("")
    return status_page(500) if personality.has(state, "xapi") else text(row["id"])


def change_subject(state: State, session: Record, subject_id: str) -> None:
    """Give a session another subject, within the caller's transaction."""
    if subject_id == session["subject_id"]:
        return
    with state.write() as db:
        db.execute("UPDATE experiments SET subject_id=? WHERE id=?", (subject_id, session["id"]))
        anonymise_again(state, session["id"], renamed=True)


def anonymise_again(state: State, session_id: str, *, renamed: bool = False) -> None:
    """Run the project's script over a session that came into the project or, by the site's leave, was renamed.

    After a move it always runs, after a change of names where the site says ``rerunProjectAnonOnRename`` (live 1.8.11,
    L11). Only files of resources of format DICOM in scans. Their sizes in the catalogue are the new ones, their MD5s
    those of before, as in XNAT.
    """
    if renamed and state.site("rerunProjectAnonOnRename") != "true":
        return
    session = state.one("SELECT * FROM experiments WHERE id=?", session_id)
    subject = state.row("SELECT label FROM subjects WHERE id=?", session["subject_id"])
    script = project_script(state, session["project"])
    if script is None:
        return
    labels = Labels(project=session["project"], subject=subject["label"] if subject else "", session=session["label"])
    with state.write() as db:
        for holder in state.rows(
            "SELECT r.pk FROM resources r JOIN scans s ON r.parent_kind='scan' AND r.parent_id=CAST(s.pk AS TEXT) "
            "WHERE s.experiment_id=? AND r.format='DICOM'",
            session_id,
        ):
            for row in state.rows("SELECT path, sop_uid FROM files WHERE resource_pk=?", holder["pk"]):
                try:
                    size, sop_uid = anonymise_file(state.file_path(holder["pk"], row["path"]), script, labels)
                except Rejected:
                    state.remove_file(holder["pk"], row["path"])
                    continue
                except ScriptError as problem:
                    raise Refusal(500, f"The project's anonymisation script failed: {problem}") from None
                db.execute(
                    "UPDATE files SET size=?, sop_uid=? WHERE resource_pk=? AND path=?",
                    (size, sop_uid or row["sop_uid"], holder["pk"], row["path"]),
                )
                db.execute("INSERT OR IGNORE INTO stale VALUES(?,?)", (holder["pk"], row["path"]))
            state.count_files(holder["pk"])
