"""The prearchive: what waits there, why, and the way out; archive, rebuild, move and delete, waiting for the result.

XNAT offers no change of labels inside the prearchive, so a row gets other labels at the moment it is archived. Asked to
relabel, that is what the plan says and does, for those rows only that get other labels.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from .archived import archived_session, made_otherwise, same_study
from .arrival import watched
from .changes import Change, ChangePlan, Step, digest_of, make_plan
from .checks import failed_to_tell
from .choice import chooser, not_there
from .errors import InputError, NotFoundError, RefusedError, ServerError, XnbTransferError
from .findings import Finding, finding
from .foretell import scripts_of
from .inputs import read_inputs
from .keys import SessionKey
from .labels import ALLOWED, MAX_LENGTH, LabelMap
from .method_options import PrearchiveOptions
from .plan import Side
from .script_findings import text_findings
from .steps import Carrier, files_of, listed_row
from .streams import Seen
from .stuck import IDLE, RECEIVING, UNLISTED, idle_minutes, tell_apart, zone
from .values import Settings, Verdict, frame, tuples_of
from .verify import NOT_IN_ARCHIVE, judge, read_back
from .xnat import USUAL_TYPE, Connection

REVIEW_COLUMNS = {
    "subject": str,
    "session": str,
    "status": str,
    "kind": str,  # ready, conflict, locked, receiving, left by its sender, working, error, stuck, unreadable
    "idle_minutes": int,  # since its last change; -1 where nobody can tell
    "scans": int,
    "files": int,
    "size_bytes": int,
    "conflict": str,
    "way_out": str,
    "uploaded": str,
    "StudyInstanceUID": str,
    "uri": str,
    "codes": str,  # CONFLICT and FAIL codes of validate-archive, separated by blanks
    "state": str,  # a digest: another one later means that something changed
}
_SERVICES = {"move": "move", "rebuild": "rebuild", "delete": "delete"}
# What depends on the label alone says nothing about a row that is archived under another one.
_OF_THE_LABEL = {"1", "2", "3", "4", "5", "8", "10", "11", "14", "16", "17", "18", "19"}
_OVERWRITE = {"merge": "append", "replace": "delete"}
_ALLOWED = {"": set(), "append": {"1"}, "delete": {"1", "14", "16"}}  # codes, by what a step decides of what is there
_ARCHIVES = ("archive", "relabel")
_OTHER_TYPES = {"xnat:ctSessionData", "xnat:petSessionData"}  # asked for besides those at hand


def review_prearchive(
    connection: Connection, project: str, *, timezone: str = "", now: datetime.datetime | None = None
) -> pd.DataFrame:
    """What waits in the prearchive of a project, and what to do about it; reads only.

    Parameters
    ----------
    timezone : str
        That of the server ("Europe/Berlin"), since XNAT lists local times; empty: that of this machine.

    Returns
    -------
    DataFrame
        One row per waiting session, columns as ``REVIEW_COLUMNS``; sizes in bytes.

    Raises
    ------
    RefusedError, NotFoundError
        If this user may not see the prearchive of the project.
    """
    if timezone:
        zone(timezone)
    now = now or datetime.datetime.now(datetime.UTC)
    rows = []
    for row in connection.prearchive(project):
        idle = idle_minutes(row["changed"], now, timezone)
        scans, codes, log = _closer(connection, row["uri"], row["status"])
        told = tell_apart(row["status"], idle, left_alone=row["left_alone"], codes=codes, log=log)
        rows.append(
            {
                **row,
                "kind": told.kind,
                "conflict": told.conflict,
                "way_out": told.way_out,
                "idle_minutes": -1 if idle is None else idle,
                "scans": len({one["scan"] for one in scans}),
                "files": sum(one["files"] for one in scans),
                "size_bytes": sum(one["size_bytes"] for one in scans),
                "codes": " ".join(codes),
                "state": _state(row),
            }
        )
    return frame(rows, REVIEW_COLUMNS)


def _closer(connection: Connection, uri: str, status: str) -> tuple[list[dict], list[str], str]:
    """The scans of a row, the codes that stand against archiving it, and the last word of its log.

    One row that the server fails on is told as that, and does not hide the others.
    """
    scans: list[dict] = []
    codes: list[str] = []
    if status not in RECEIVING:
        try:
            scans = connection.prearchive_resources(uri)
        except (ServerError, NotFoundError) as problem:
            return [], [], f"{UNLISTED} what it holds: {problem.message}"
    if status in ("READY", "CONFLICT"):
        try:
            found = connection.validate_archive(uri)
        except (ServerError, NotFoundError) as problem:  # a row that is not built, or has just gone
            return scans, [], f"{UNLISTED} what stands against archiving it: {problem.message}"
        codes = [str(row["code"]) for row in found if row["type"] in ("CONFLICT", "FAIL")]
    log = connection.waiting_log(uri) if status in ("CONFLICT", "ERROR") else ""
    return scans, codes, log


def _state(row: dict) -> str:
    return digest_of(row["uri"], row["session"], row["subject"], row["changed"])


def plan_prearchive(
    connection: Connection, options: PrearchiveOptions, labels: LabelMap | None = None
) -> tuple[ChangePlan, pd.DataFrame]:
    """Decide what is done with each chosen row of a prearchive; returns the plan and the review it was made from.

    Parameters
    ----------
    labels : LabelMap, optional
        Other labels; without it those that the parameters ``label_map`` and ``label_rule`` give.

    Raises
    ------
    InputError
        If a label is named that does not wait there, or the label map or rule cannot be used.
    """
    project = options.destination_project
    inputs = read_inputs(options)
    settings = connection.settings(project)
    found = review_prearchive(connection, project, timezone=options.timezone)
    chosen = _choose(found, options)
    if labels is None:
        labels = inputs.labels_of(chosen.assign(modality="", date=""), project)
    findings: list[Finding] = []
    changes: list[Change] = []
    if options.action != "review":
        archived = connection.sessions(project) if options.action in _ARCHIVES else []
        there = connection.prearchive(options.to_project) if options.action == "move" else []
        goes = Counter(labels(SessionKey(row.subject, row.session)).session for row in chosen.itertuples())
        for row in chosen.itertuples(index=False):
            change = _decide(row, options, labels, goes, archived, there)
            if any(step.overwrite for step in change.steps):
                held = _held(connection, project, change.destination_session)
                change = change.model_copy(update={"destination_state": held})
            changes.append(change)
        findings += _told(changes, labels, chosen, project)
        if any(step.verb == "archive" for change in changes for step in change.steps):
            findings += failed_to_tell(settings, project, connection.user)
            words = {"project": project, "subject": "a subject", "session": "a session"}
            script = (settings.project_script_on, settings.project_script)
            scripts = scripts_of(project=script, context=words, version=settings.version)
            findings += text_findings(scripts, project, no_header=True)
        findings += _rights(connection, project, settings, changes)
    here = Side(
        server=connection.server,
        project=project,
        user=connection.user,
        read_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        settings=settings.as_dict(),
    )
    deletes = sum(1 for change in changes if any(step.verb == "delete" for step in change.steps))
    made = make_plan(
        "prearchive",
        here,
        here.model_copy(update={"project": options.to_project}) if options.to_project else here,
        options,
        changes,
        findings,
        confirm=f"{project} {deletes}" if deletes else "",
        inputs=inputs,
    )
    return made, found


def _rights(
    connection: Connection, project: str, settings: Settings, changes: Sequence[Change]
) -> Iterator[Finding]:
    """What this user lacks for the rows of a plan; rights are per type of session.

    Whoever may edit one type of session there may move, rebuild and delete rows (XNAT source, ``PrearcUtils.canModify``
    line 194), and to archive one takes the right to create its own type (``PrearcSessionArchiver`` line 524). Settings
    tell the rights to MR sessions.
    """
    acting = [change for change in changes if change.steps]
    types: dict[str, list[str]] = {}
    for change in acting:
        with contextlib.suppress(NotFoundError, ServerError):  # not built: of no type yet
            types[change.item] = connection.waiting_types(change.item)
    kinds = sorted({kind for found in types.values() for kind in found} | _OTHER_TYPES)
    if settings.can_edit is False and all(connection.can(project, "edit", kind) is False for kind in kinds):
        yield finding("M02", f"{connection.user} may not work on the prearchive of {project}.", project=project)
    archived = {change.item for change in acting if any(step.verb == "archive" for step in change.steps)}
    made = sorted({kind for item, found in types.items() if item in archived for kind in found})
    for kind in made:
        may = settings.can_create if kind == USUAL_TYPE else connection.can(project, "create", kind)
        of_several = all(len(found) > 1 for item, found in types.items() if item in archived and kind in found)
        if may is False and not of_several:
            yield finding("M02", f"{connection.user} may not create {kind} in {project}.", project=project)


def _held(connection: Connection, project: str, label: str) -> str:
    """What the archive of a project holds under a label, down to its files, as one digest; "" where it holds nothing.

    A file by its name, size in bytes and listed MD5.
    """
    there = connection.sessions_with_label(project, label)
    names = ("session_id", "project", "subject", "session", "StudyInstanceUID")
    rows = [
        [[one[name] for name in names], sorted([str(cell) for cell in file.values()] for file in files)]
        for one in there
        for files in [files_of(connection, one["session_id"])]
    ]
    return digest_of(sorted(rows)) if rows else ""


def _choose(found: pd.DataFrame, options: PrearchiveOptions) -> pd.DataFrame:
    keep = pd.Series(True, index=found.index)
    for kind, wanted in (("subject", options.subjects), ("session", options.sessions)):
        if lacking := not_there(wanted, found[kind]):
            raise InputError(
                f"No {kind} {lacking[0]!r} waits in the prearchive of {options.destination_project}.",
                "Labels are compared exactly; the review lists what waits there.",
            )
        keep &= found[kind].map(chooser(wanted)).astype(bool)
    if options.statuses:
        keep &= found["status"].isin([status.upper() for status in options.statuses])
    return found[keep]


def _told(changes: Sequence[Change], labels: LabelMap, chosen: pd.DataFrame, project: str) -> list[Finding]:
    """What is worth knowing of labels: when they are given, and which lines of the map no chosen row has."""
    found = []
    given = [one for one in changes if one.steps and one.key != (one.destination_subject, one.destination_session)]
    if given:
        sentence = f"XNAT cannot relabel a session that waits; {len(given)} get other labels as they are archived."
        found.append(finding("M10", sentence, project=project))
    waits = {SessionKey(*row) for row in tuples_of(chosen, "subject", "session")}
    if lacking := sorted(set(labels.table) - waits):
        some = ", ".join(map(str, lacking[:3]))
        found.append(finding("P02", f"The labels name {len(lacking)} sessions that do not wait here: {some}."))
    return found


def _decide(row, options: PrearchiveOptions, labels: LabelMap, goes: Counter, archived, there) -> Change:
    key = SessionKey(row.subject, row.session)
    to = labels(key) if options.action in _ARCHIVES else key
    steps: tuple[Step, ...] = ()
    action, because, conflict = "skip", "", ""
    if row.status not in IDLE:
        action, because = "later", f"the server is at it ({row.status}): {row.way_out}"
    elif row.kind == "receiving" and options.action != "delete":
        action, because = "later", "files may still arrive; it changed only a moment ago"
    elif options.action == "relabel" and to == key:
        because = "it gets no other label"
    elif options.action in _ARCHIVES:
        action, because, conflict, over = _may_archive(row, to, key != to, options, goes, archived)
        if action == "archive":
            steps = (Step(verb="archive", project=row.uri.split("/")[3], label=to.session, overwrite=over),)
            if row.status in RECEIVING:
                steps = (Step(verb="rebuild"), *steps)
    elif options.action == "move":
        where = row.uri.replace(f"/projects/{options.destination_project}/", f"/projects/{options.to_project}/", 1)
        if where in {one["uri"] for one in there}:
            conflict, because = "waiting in the prearchive", f"{options.to_project} has a row of that name and time"
        else:
            action, because = "move", f"it goes to the prearchive of {options.to_project}"
            steps = (Step(verb="move", project=options.to_project),)
    else:
        action, because = options.action, f"chosen, in status {row.status}"
        steps = (Step(verb=options.action),)
    if action == "skip" and conflict and options.existing == "stop":
        action = "stop"
    return Change(
        kind="row",
        item=row.uri,
        subject=row.subject,
        session=row.session,
        project=options.destination_project,
        destination_subject=to.subject,
        destination_session=to.session,
        StudyInstanceUID=row.StudyInstanceUID,
        action=action,
        because=because,
        conflict=conflict,
        steps=steps,
        files=row.files if action in ("archive", "move") else 0,
        size_bytes=row.size_bytes if action in ("archive", "move") else 0,
        state=row.state,
    )


def _may_archive(row, to: SessionKey, other: bool, options, goes: Counter, archived) -> tuple[str, str, str, str]:
    """Action, why, the conflict in a word, and what becomes of a session that is there, as a step says it."""
    for kind, label in (("subject", to.subject), ("session", to.session)):
        if not re.fullmatch(ALLOWED, label) or len(label) > MAX_LENGTH:
            return "skip", f"XNAT would alter the {kind} label {label!r}; give another one by label_map", "label", ""
    if goes[to.session] > 1:
        return (
            "skip",
            f"{goes[to.session]} rows go to {to.session}, and XNAT would merge them",
            "two sources on one label",
            "",
        )
    same = [one for one in archived if one["session"] == to.session]
    twin = [
        one
        for one in archived
        if row.StudyInstanceUID and one["StudyInstanceUID"] == row.StudyInstanceUID and one["session"] != to.session
    ]
    if twin:
        because = f"its study is in the archive already, as {twin[0]['session']}"
        return "skip", because, "same study under another label", ""
    against = set(row.codes.split()) - (_OF_THE_LABEL if other else set())
    if same:
        if not same_study(row.StudyInstanceUID, same[0]["StudyInstanceUID"]):
            return "skip", f"the label {to.session} is taken by another study; {row.way_out}", "label: other study", ""
        if same[0]["subject"].casefold() != to.subject.casefold() or same[0]["shared"]:
            return "skip", f"{to.session} belongs to the subject {same[0]['subject']}", "label: other subject", ""
        if options.existing in ("skip", "stop"):
            return "skip", f"the same study is in the archive as {to.session}; {row.way_out}", "label: same study", ""
    over = _OVERWRITE.get(options.existing, "") if same else ""
    if left := against - _ALLOWED[over]:
        words = "; ".join(filter(None, (row.conflict, row.way_out))) or f"code {' '.join(sorted(left))}"
        return "skip", words, "refused by the server", ""
    if row.status == "ERROR":
        return "skip", f"it is in error ({row.conflict}): {row.way_out}", "error", ""
    return "archive", f"{options.existing} into {to.session}" if same else "nothing is in the way", "", over


class PrearchiveCarrier(Carrier):
    """Carries out a plan of the prearchive over one connection."""

    def __init__(self, plan: ChangePlan, connection: Connection, options: PrearchiveOptions) -> None:
        self.plan, self.connection, self.options = plan, connection, options
        self.settings = Settings(**plan.source.settings)
        self.key = secrets.token_bytes(16)
        self.seen: dict[str, list[Seen]] = {}

    def look(self, change: Change) -> None:
        row = self.connection.prearchive_row(change.item)
        again = "Plan again: the new plan shows it."
        if row is None:
            raise RefusedError(f"{change.name} waits no longer in the prearchive.", again)
        if _state(row) != change.state:
            raise RefusedError(f"{change.name} changed in the prearchive since the plan was made.", again)
        for step in change.steps:
            if step.verb == "archive":
                self._look_in_archive(change)

    def _look_in_archive(self, change: Change) -> None:
        """Refuse where the archive is not what the row of the plan says: what came meanwhile was decided by nobody."""
        if _held(self.connection, change.project, change.destination_session) != change.destination_state:
            raise RefusedError(
                f"{change.destination_session} in the archive of {change.project} is no longer as the plan saw it.",
                "Plan again.",
            )
        again = "Plan again: the new plan shows it."
        for one in self.connection.sessions_with_uid(change.StudyInstanceUID):
            if one["project"] == change.project and one["session"] != change.destination_session:
                raise RefusedError(f"The study of {change.name} is in the archive as {one['session']}.", again)

    def before(self, change: Change) -> dict:
        row = self.connection.prearchive_row(change.item) or {}
        kept = {"status": row.get("status", ""), "changed": row.get("changed", ""), "files": []}
        if change.action not in ("archive", "move"):
            return kept
        if row.get("status") in RECEIVING and change.action == "archive":
            return kept  # it is read once it is built
        return kept | {"files": self._read(change, change.item)}

    def _read(self, change: Change, uri: str) -> list[dict]:
        """The files of a row: every byte of them, or as they are listed."""
        if self.options.proof == "listing":
            return [
                {
                    "scan": row["scan"],
                    "resource": row["resource"],
                    "path": one["path"],
                    "size_bytes": one["size_bytes"],
                    "md5": "",
                }
                for row in self.connection.prearchive_resources(uri)
                for one in self.connection.prearchive_files(uri, row["scan"], row["resource"])
            ]
        with self.connection.open_prearchive(uri) as chunks:
            seen = read_back(chunks, key=self.key, keep=bool(self.settings.project_script_on))
        self.seen[change.item] = seen
        return [{"scan": one.scan, "resource": one.resource, **one.record()} for one in seen]

    def holds(self, change: Change, step: Step, before: dict) -> bool:
        row = self.connection.prearchive_row(change.item)
        if step.verb == "rebuild":
            return self._rebuilt(change, row, before)
        if step.verb == "archive":
            return row is None and bool(self._archived(change, before))
        if step.verb == "move":
            return row is None and self.connection.prearchive_row(self._moved(change, step)) is not None
        return row is None

    def _rebuilt(self, change: Change, row: dict | None, before: dict) -> bool:
        if row is None:
            return bool(self._archived(change, before))  # a later step has been there already
        again = row["changed"] != before["changed"] or before["status"] != "READY"
        if row["status"] in ("ERROR", "CONFLICT") and row["changed"] != before["changed"]:
            said = self.connection.waiting_log(change.item)
            raise ServerError(f"{change.name} was built and ended as {row['status']}. {said}".strip())
        return row["status"] == "READY" and again

    def _moved(self, change: Change, step: Step) -> str:
        return change.item.replace(f"/projects/{change.project}/", f"/projects/{step.project}/", 1)

    def _archived(self, change: Change, before: dict) -> str:
        """The accession of what the row became, or ""."""
        study, known = change.StudyInstanceUID, before.get("accession", "")
        return archived_session(self.connection, change.project, change.destination_session, study, accession=known)

    def act(self, change: Change, step: Step, before: dict) -> None:
        reason = self.options.reason
        if step.verb in _SERVICES:
            query = {"newProject": step.project} if step.verb == "move" else {}
            self.connection.change_waiting(_SERVICES[step.verb], change.item, query)
            return
        if not before["files"]:
            before["files"] = self._read(change, change.item)
        self._validated(change, step)
        labels = (change.destination_subject, change.destination_session)
        ask = partial(
            self.connection.archive,
            change.item,
            overwrite=step.overwrite or None,
            reason=reason,
            labels=None if labels == change.key else labels,
        )
        address = watched(self.connection, change.item, ask)
        if other := made_otherwise(address, change.project, *labels):
            raise ServerError(f"{change.name} is not what was asked for: {other}.", "Look at that session there.")
        with contextlib.suppress(NotFoundError):  # then the list of the archive tells which it is
            made = {row["session_id"] for row in self.connection.files_of(address)} - {""}
            if len(made) == 1:
                before["accession"] = made.pop()

    def _validated(self, change: Change, step: Step) -> None:
        """What the server would object to now; raises where the plan does not allow it."""
        allowed = _ALLOWED[step.overwrite]
        if (change.destination_subject, change.destination_session) != change.key:
            allowed = allowed | _OF_THE_LABEL
        for row in self.connection.validate_archive(change.item):
            if row["type"] in ("CONFLICT", "FAIL") and str(row["code"]) not in allowed:
                raise RefusedError(
                    f"{change.name} was not archived; the server says: {row['message']} (code {row['code']}).",
                    "It waits in the prearchive as before; the review names the way out.",
                )
        self._look_in_archive(change)

    def may_repeat(self, change: Change, step: Step, before: dict, lost: XnbTransferError) -> None:
        """XNAT takes a second archive request for a row whose files the first has lost, and makes an empty session."""
        if step.verb != "archive":
            return
        row = self.connection.prearchive_row(change.item) or {"status": "no status"}
        try:
            now = self._read(change, change.item)
        except XnbTransferError:
            now = []
        names = ("scan", "resource", "path", "size_bytes", "md5")
        same = _as_set(now, names) == _as_set(before["files"], names)
        if row["status"] == "READY" and same and now:
            return
        log = self.connection.waiting_log(change.item)
        said = f" Its log says: {log}" if log and log not in lost.message else ""
        left = "as it was" if same else "without some of the files that it held"
        raise ServerError(
            f"{change.name} was not archived: {lost.message} The row is in {row['status']}, {left}.{said}",
            "Mostly the anonymisation script of the project fails on a file: have it mended, delete the row, and have "
            "its sender send it anew." if not same else "Plan again: the new plan says what is in the way.",
        )

    def busy(self, change: Change, step: Step, lost: XnbTransferError | None, since_s: float) -> bool:
        if since_s > self.options.wait_minutes * 60:
            return False
        row = self.connection.prearchive_row(change.item)
        if row is None:
            return since_s < 5  # it went between two looks, or its new place is listed a moment later
        if row["status"] not in IDLE:
            return True
        # The services answer before anything happened; a refusal was an answer, too.
        return lost is None and step.verb in _SERVICES and since_s < 5

    def prove(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        if change.action == "archive":
            return "archived", *self._prove_archived(change, before)
        if change.action == "move":
            there = self._read(change, self._moved(change, change.steps[-1]))
            rows = same_files(change, before["files"], there, "the prearchive")
            read_in = "" if self.options.proof == "listing" else "prearchive"
            return "moved", [row | {"read_in": read_in} for row in rows], []
        return {"rebuild": "rebuilt", "delete": "deleted"}[change.action], [], []

    def _prove_archived(self, change: Change, before: dict) -> tuple[list[dict], list[dict]]:
        found = self._archived(change, before)
        if not found:
            raise ServerError(f"{change.name} left the prearchive, and the archive does not list it.")
        listed = self.connection.files([found])
        files = before["files"]
        if not files:  # built and archived by a run that was cut off before it could keep what was there
            because = "the run was cut off before its files were kept, so nothing can be compared"
            rows = [listed_row(change, {**one, "md5": ""}) | {"because": because} for one in listed]
            return [row | {"verdict": Verdict.NOT_PROVED} for row in rows], []
        md5s = Counter(one["md5"] for one in listed if one["md5"])
        if self.options.proof == "listing":
            return same_files(change, files, listed, "the archive"), []
        if self.options.proof == "prearchive" and not Counter(one["md5"] for one in files) - md5s:
            rows = same_files(change, files, listed, "the archive")
            told = [f"{row['because']}, {NOT_IN_ARCHIVE}" for row in rows]
            return [row | {"read_in": "prearchive", "because": text} for row, text in zip(rows, told, strict=True)], []
        seen = self.seen.get(change.item)
        with self.connection.open_session(found) as chunks:
            there = read_back(chunks, key=self.key, listed=listed, known={one.md5: one for one in seen or ()})
        if seen is None:
            return _by_content(change, files, there), []
        expected = scripts_of(
            project=(self.settings.project_script_on, self.settings.project_script),
            context={
                "project": change.project,
                "subject": change.destination_subject,
                "session": change.destination_session,
            },
            version=self.settings.version,
            waived=self.plan.policy.unforetold(change.subject, change.session),
        )
        return judge(change, seen, there, expected, key=self.key, where="the archive")

    def still(self, change: Change, before: dict) -> bool:
        if change.action == "archive":
            return bool(self._archived(change, before))
        return True  # what was rebuilt, moved or deleted may have gone on since


def _as_set(files: Sequence[dict], names: Sequence[str]) -> Counter:
    return Counter(tuple(one[name] for name in names) for one in files)


def same_files(change: Change, before: Sequence[dict], after: Sequence[dict], where: str) -> list[dict]:
    """A verdict per file of ``before``: its bytes are in ``after``, or it is listed there, or it is not."""
    by_md5: dict[str, list[dict]] = {}
    by_name: dict[tuple, list[dict]] = {}
    for one in after:
        by_md5.setdefault(one["md5"], []).append(one)
        by_name.setdefault((one["scan"], one["path"].rsplit("/", 1)[-1]), []).append(one)
    rows = []
    for one in before:
        name = (one["scan"], one["path"].rsplit("/", 1)[-1])
        equal = by_md5.get(one["md5"]) if one["md5"] else None
        named = by_name.get(name)
        other = next((each for each in equal or () if each["scan"] == one["scan"]), (equal or named or [None])[0])
        row = listed_row(change, one)
        if other is not None:
            row |= {
                "destination_scan": other["scan"],
                "destination_path": other["path"],
                "destination_size_bytes": other["size_bytes"],
                "destination_md5": other["md5"],
            }
        if equal:
            equal.remove(other)
            row |= {"verdict": Verdict.EQUAL, "because": "every byte is equal"}
        elif other is None:
            row |= {"verdict": Verdict.DIFFERENT, "because": f"it is not in {where}"}
        elif one["size_bytes"] != other["size_bytes"] or (one["md5"] and other["md5"]):
            row |= {"verdict": Verdict.DIFFERENT, "because": f"it is another file in {where}"}
        else:
            row |= {"verdict": Verdict.NOT_PROVED, "because": "name and size are equal; its bytes were not compared"}
        rows.append(row)
    scans = _scans_of(rows)
    return [row | _elsewhere(row, scans, where) for row in rows]


def _scans_of(rows: Sequence[dict]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.get("destination_scan"):
            found.setdefault(row["scan"], Counter())[row["destination_scan"]] += 1
    return found


def _elsewhere(row: dict, scans: dict[str, Counter[str]], where: str) -> dict:
    """What to say of a file that is not where the others of its scan are; a scan as a whole may be numbered anew."""
    there = scans.get(row["scan"], Counter())
    home = row["scan"] if row["scan"] in there else next((scan for scan, _ in there.most_common(1)), "")
    if row.get("destination_scan", home) == home:
        return {}
    because = f"it is in scan {row['destination_scan']} of {where}, and others of its scan in scan {home}"
    return {"verdict": Verdict.DIFFERENT, "because": because}


def _by_content(change: Change, files: Sequence[dict], there: Sequence[Seen]) -> list[dict]:
    """Verdicts after a kill in mid-archiving: the headers that were read before are gone, pixels are compared."""
    by_md5 = {one.md5 for one in there}
    contents = {(one.content.bulk, one.content.geometry) for one in there if one.content}
    rows = []
    for one in files:
        row = listed_row(change, one) | {"read_in": "archive"}
        if one["md5"] in by_md5:
            row |= {"verdict": Verdict.EQUAL, "because": "every byte is equal"}
        elif (one["bulk"], one["geometry"]) in contents:
            row |= {
                "verdict": Verdict.NOT_PROVED,
                "because": "its content is equal; the run was cut off, so its header cannot be compared any more",
            }
        else:
            row |= {"verdict": Verdict.DIFFERENT, "because": "its pixel data or geometry is not in the archive"}
        rows.append(row)
    return rows
