"""The end of a move by copy: the source is deleted, session by session, each on a proof of this very minute.

The plan is made from the record of the copy, on the same day or much later. What that copy did not send is not touched;
what it sent is read again on both sides, whole, right before it is deleted; and what cannot be proved stays.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ._items import item_path
from .backup import back_up
from .changes import Change, ChangePlan, Step, digest_of, make_plan
from .choice import chooser, not_there
from .diff import is_dicom
from .errors import InputError, RefusedError, ServerError
from .findings import finding
from .inventory import read_inventory
from .method_options import METHODS, FinishOptions
from .plan import SENDS, Plan, SessionPlan, Side, source_states
from .record import Record, list_records, open_record
from .steps import Carrier, files_of, manifest_row
from .values import Verdict
from .verify import expected_changes, judge, read_back, read_source_scan, same_study, study_of
from .xnat import Connection

PROOF_HOLDS_S = 60.0
_NO_COPY = ("inventory", "compare", "review", "verify", "unshare", *METHODS)  # templates whose records are of no copy
_PROVED = (str(Verdict.EQUAL), str(Verdict.EXPLAINED))


def copy_record(options: FinishOptions, name: str = "") -> Record:
    """The record of the copy, checked offline.

    Parameters
    ----------
    name : str
        What the record must be called; "" takes the one that the parameters name, or the newest of a copy.

    Raises
    ------
    InputError
        If there is none, it was changed after it was sealed, or it is of something else.
    """
    if options.record:
        found = open_record(options.record)
    elif name:
        found = open_record(Path(options.record_root).expanduser() / name)
    else:
        known = list_records(options.record_root)
        known = known[~known["template"].isin(_NO_COPY) & (known["state"] == "sealed") & (known["files"] > 0)]
        if known.empty:
            raise InputError(f"There is no record of a copy below {options.record_root}.", "Name one with 'record'.")
        found = open_record(Path(options.record_root).expanduser() / known.iloc[0]["record"])
    if found.summary.get("template") in _NO_COPY or "verdicts" not in found.summary:
        raise InputError(f"The record {found.path.name} is not of a copy that was carried out.", "Name one that is.")
    if name and found.path.name != name:
        raise InputError(f"The plan takes up the record {name}, and {found.path.name} was named.", "Name that one.")
    return found


def plan_finish(
    record: Record,
    source: Connection,
    destination: Connection,
    options: FinishOptions,
    *,
    now: datetime.datetime | None = None,
) -> ChangePlan:
    """Decide which sessions of a copy may be deleted at the source, and why the others stay. Reads only.

    The files themselves are read when the plan is carried out; here it is seen what forbids a deletion beforehand.

    Raises
    ------
    InputError
        If a named session is not of the copy, or a connection is to another server than that of the copy.
    """
    made = record.plan()
    for side, connection in ((made.source, source), (made.destination, destination)):
        if connection.server.rstrip("/") != side.server.rstrip("/"):
            raise InputError(
                f"The record is of {side.project} on {side.server}, and the connection is to {connection.server}.",
                "Give the address of that server.",
            )
    if lacking := not_there(options.sessions, (session.session for session in made.sessions)):
        raise InputError(f"The copy {record.path.name} knows no session {lacking[0]!r}.", "Its plan lists them.")
    chosen = chooser(options.sessions)
    asked = [one for one in made.sessions if chosen(one.session)]
    ids = {one.session_id for one in asked if one.action in SENDS}
    here = read_inventory(source, made.source.project, select=lambda row: row["session_id"] in ids, prearchive=False)
    states = source_states(here)
    decided = [_decide(made, one, source, destination, options, states) for one in asked]
    acting = 0
    for at, change in enumerate(decided):
        acting += bool(change.steps)
        if change.steps and acting > options.limit:
            because = f"one run deletes {options.limit} sessions at most; run again for the others"
            decided[at] = change.model_copy(update={"steps": (), "action": "later", "because": because})
    deletes = [change for change in decided if change.steps]
    if options.empty_subjects:
        decided += _subjects(deletes)
    project = made.source.project
    return make_plan(
        "finish-move",
        Side(
            server=source.server,
            project=project,
            user=source.user,
            read_at=here.read_at,
            settings=here.settings.as_dict(),
        ),
        made.destination.model_copy(update={"user": destination.user}),
        options,
        decided,
        list(_concerns(record, made, here.settings, source, options, now or datetime.datetime.now(datetime.UTC))),
        confirm=f"{project} {len(deletes)}" if deletes else "",
        of_record={"record": record.path.name, "plan": made.fingerprint, "bag": bag_digest(record)},
    )


def bag_digest(record: Record) -> str:
    """SHA-256 of the bag's own manifest: names the whole content of a record in one line."""
    return hashlib.sha256((record.path / "manifest-sha256.txt").read_bytes()).hexdigest()


def _concerns(record: Record, made: Plan, settings, source: Connection, options: FinishOptions, now):
    project = made.source.project
    ended = datetime.datetime.fromisoformat(record.summary.get("finished_at") or record.summary["closed_at"])
    ready = ended + datetime.timedelta(days=options.cooling_off_days)
    if now < ready:
        yield finding(
            "M07",
            f"The copy ended at {ended.isoformat(timespec='minutes')}, and {options.cooling_off_days} days have to "
            "pass before its source is deleted.",
            project=project,
            remedy=f"Run again after {ready.isoformat(timespec='minutes')}.",
        )
    if settings.can_delete is False:
        yield finding("M02", f"{source.user} may not delete sessions of {project}.", project=project)
    if settings.can_delete is None:
        sentence = f"The server does not tell whether {source.user} may delete sessions of {project}."
        yield finding("M03", sentence, project=project)
    if not options.backup:
        sentence = "XNAT keeps no copy of what is deleted unless its administrator switched that on."
        yield finding("M08", sentence, project=project)
    sentence = "Fields and custom variables of a session are deleted with it; the copy proves files."
    yield finding("M09", sentence, project=project)


def _decide(made: Plan, one: SessionPlan, source, destination, options: FinishOptions, states) -> Change:
    because, state, files = "", "", []
    if one.action not in SENDS:
        because = f"the copy did not send it: {one.because}"
    else:
        item = source.session_item(one.session_id)
        if item is None or item["project"] != made.source.project:
            because = f"it is not in {made.source.project} any more"
        else:
            files = files_of(source, one.session_id)
            state = session_state(item, files)
            because = (
                _in_the_way(made, one, item, states)
                or _not_there(made, one, source, destination)
                or _not_copied(files, destination_files(made, one, destination), options)
            )
    steps = () if because else (Step(verb="delete"),)
    return Change(
        kind="session",
        item=one.session_id,
        subject=one.subject,
        session=one.session,
        project=made.source.project,
        destination_subject=one.destination_subject,
        destination_session=one.destination_session,
        StudyInstanceUID=one.StudyInstanceUID,
        modality=one.modality,
        date=one.date,
        action="delete" if steps else "skip",
        because=because or "the copy sent it; deleted if it is proved again, whole",
        steps=steps,
        files=len(files) if steps else 0,
        size_bytes=sum(file["size_bytes"] for file in files) if steps else 0,
        state=state,
    )


def session_state(item: dict, files: list[dict]) -> str:
    """What a session is, as one digest: where it belongs, what it is called, who is shown it, every file."""
    facts = {name: item[name] for name in ("label", "project", "subject_id", "shares", "assessors")}
    return digest_of(
        facts, [[one[name] for name in ("scan", "resource", "path", "size_bytes", "md5")] for one in files]
    )


def _in_the_way(made: Plan, one: SessionPlan, item: dict, states) -> str:
    if item["label"] != one.session:
        return f"it is called {item['label']} now"
    if states.get(one.key, "") != one.source_state and not made.transfer_options.of_scans:
        return "it changed at the source since it was copied; copy it again"
    if item["shares"]:
        names = ", ".join(project for project, _ in item["shares"])
        return f"{names} is shown it, and would lose it; take that share back first"
    if item["assessors"]:
        return f"it has {len(item['assessors'])} assessors, and no copy carries them"
    return ""


def archived_copy(made: Plan, one: SessionPlan, destination: Connection) -> dict | None:
    """The session that the copy became, in the archive of the destination, or None."""
    for row in destination.sessions_with_label(made.destination.project, one.destination_session):
        if same_study(one.StudyInstanceUID, row["StudyInstanceUID"]):
            return row
    return None


def _not_there(made: Plan, one: SessionPlan, source: Connection, destination: Connection) -> str:
    found = archived_copy(made, one, destination)
    if found is None:
        return "its copy is not in the archive of the destination; archive it there first"
    if found["shared"] or (found["session_id"] == one.session_id and source.server == destination.server):
        return "what the destination shows is this very session, shared; there is no copy of it"
    return ""


def destination_files(made: Plan, one: SessionPlan, destination: Connection) -> set[tuple[str, str, str]]:
    """Resource files that are not DICOM at the destination: scan, resource and path."""
    found = archived_copy(made, one, destination)
    if found is None:
        return set()
    rows = files_of(destination, found["session_id"])
    return {(row["scan"], row["resource"], row["path"]) for row in rows if not carried(row)}


def carried(row: dict) -> bool:
    """Whether a file is DICOM of a scan, which an import carries."""
    return bool(row["scan"]) and is_dicom(row["resource"], row["format"])


def _not_copied(files: list[dict], there: set[tuple[str, str, str]], options: FinishOptions) -> str:
    left = Counter(
        row["resource"]
        for row in files
        if not carried(row)
        and row["resource"] not in options.abandon
        and (row["scan"], row["resource"], row["path"]) not in there
    )
    if not left:
        return ""
    words = ", ".join(f"{label} ({count} files)" for label, count in sorted(left.items()))
    return f"it holds what was not copied: {words}; copy that, or name it in 'abandon' to let it go"


def _subjects(deletes: list[Change]) -> Iterator[Change]:
    for subject in dict.fromkeys(change.subject for change in deletes):
        first = next(change for change in deletes if change.subject == subject)
        yield first.model_copy(
            update={
                "kind": "subject",
                "item": f"subject {subject}",
                "session": "",
                "destination_session": "",
                "StudyInstanceUID": "",
                "modality": "",
                "date": "",
                "because": "deleted only if it has no session, no data and no share any more",
                "files": 0,
                "size_bytes": 0,
                "state": "",
            }
        )


class FinishCarrier(Carrier):
    """Proves, deletes and confirms, one session after another."""

    always_fresh = True

    def __init__(
        self, plan: ChangePlan, record: Record, source: Connection, destination: Connection, options: FinishOptions
    ) -> None:
        self.plan, self.source, self.destination, self.options = plan, source, destination, options
        self.made = record.plan()
        if self.made.fingerprint != plan.of_record["plan"] or bag_digest(record) != plan.of_record["bag"]:
            raise InputError(f"The record {record.path.name} is not the one that the plan takes up.", "Plan again.")
        self.sessions = {one.session_id: one for one in self.made.sessions}
        self.proved_at: dict[str, float] = {}
        self.subject_ids: dict[str, str] = {}

    def look(self, change: Change) -> None:
        if change.kind == "subject":
            return
        item = self.source.session_item(change.item)
        if item is None:
            raise RefusedError(f"{change.name} is gone from {change.project}, and not by this run.", "Plan again.")
        if session_state(item, files_of(self.source, change.item)) != change.state:
            raise RefusedError(f"{change.name} changed at the source since the plan was made.", "Copy it again.")

    def before(self, change: Change) -> dict:
        if change.kind == "subject":
            return self._subject_before(change)
        one = self.sessions[change.item]
        item = self.source.session_item(change.item)
        if item is None or item["project"] != change.project:
            raise RefusedError(f"{change.name} is not in {change.project} any more.", "Plan again.")
        files = files_of(self.source, change.item)
        kept = {"subject_id": item["subject_id"], "files": files}
        if self.options.backup:
            kept["backup"] = back_up(self.source, change, files, Path(self.options.backup).expanduser())
        found = archived_copy(self.made, one, self.destination)
        if found is None or found["shared"] or self._is_the_source(found, change):
            return kept | {"kept": "its copy is not in the archive of the destination"}
        there = files_of(self.destination, found["session_id"])
        rows, extra = self._prove(change, one, found["session_id"], files, there)
        kept |= {"rows": rows, "extra": extra, "there": there, "there_id": found["session_id"]}
        if bad := Counter(row["verdict"] for row in rows if row["verdict"] not in _PROVED):
            words = ", ".join(f"{count} {verdict}" for verdict, count in bad.items())
            return kept | {"kept": f"not deleted: of {len(rows)} files {words}"}
        if not rows:
            raise RefusedError(f"{change.name} was not deleted: no file of it could be compared.")
        if session_state(self.source.session_item(change.item) or item, files_of(self.source, change.item)) != (
            session_state(item, files)
        ):
            raise RefusedError(f"{change.name} was not deleted: it changed at the source while it was read.")
        if files_of(self.destination, found["session_id"]) != there:
            raise RefusedError(f"{change.name} was not deleted: its copy changed while it was read.")
        self.proved_at[change.item] = time.monotonic()
        return kept

    def _is_the_source(self, found: dict, change: Change) -> bool:
        return found["session_id"] == change.item and self.source.server == self.destination.server

    def _prove(self, change: Change, one: SessionPlan, there_id: str, files, there) -> tuple[list[dict], list[dict]]:
        """Every file of the session on both sides, read now."""
        key = secrets.token_bytes(16)
        scans: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
        for row in files:
            if carried(row):
                scans.setdefault((row["scan"], row["resource"]), {})[row["path"]] = (row["size_bytes"], row["md5"])
        sent = []
        for (scan, resource), listed in sorted(scans.items()):
            seen, _ = read_source_scan(
                self.source, one, scan, resource, listed, key=key, study_uid=study_of(sent), make_spool=lambda: None
            )
            sent += seen
        with self.destination.open_session(there_id) as chunks:
            back = read_back(chunks, key=key, listed=there)
        expected = expected_changes(self.made, one, archived=True)
        rows, extra = judge(one, sent, back, expected, key=key, where="the archive")
        names = {(row["scan"], row["resource"], row["path"]): row for row in there if not carried(row)}
        extra = [row for row in extra if row["path"] not in {path for _, _, path in names}]
        for row in files:
            if not carried(row) and row["resource"] not in self.options.abandon:
                rows.append(self._resource_row(change, row, names.get((row["scan"], row["resource"], row["path"]))))
        return [row | {"verdict": str(row["verdict"])} for row in rows], extra

    def _resource_row(self, change: Change, row: dict, other: dict | None) -> dict:
        found = manifest_row(change, row)
        if other is None:
            return found | {"verdict": Verdict.DIFFERENT, "because": "it was not copied"}
        here, there = (_md5(side, one["uri"]) for side, one in ((self.source, row), (self.destination, other)))
        found |= {
            "source_md5": here,
            "destination_scan": other["scan"],
            "destination_path": other["path"],
            "destination_size_bytes": other["size_bytes"],
            "destination_md5": there,
        }
        if here == there and (not row["md5"] or row["md5"] == here):
            return found | {"verdict": Verdict.EQUAL, "because": "every byte is equal"}
        return found | {"verdict": Verdict.DIFFERENT, "because": "its bytes are not those of the source"}

    def _subject_before(self, change: Change) -> dict:
        found = next((row for row in self.source.subjects(change.project) if row["subject"] == change.subject), None)
        if found is None:
            return {"subject_id": "", "kept": "it is gone already"}
        kept = {"subject_id": found["subject_id"]}
        if why := subject_keeps(self.source, change.project, found):
            return kept | {"kept": f"left: {why}"}
        return kept

    def holds(self, change: Change, step: Step, before: dict) -> bool:
        if change.kind == "subject":
            gone = self.source.subject_item(before["subject_id"]) is None
        else:
            gone = self.source.session_item(change.item) is None
        # Without rights everything is "not found": only below a project that is seen does it mean deleted.
        return gone and self.source.sees_project(change.project)

    def act(self, change: Change, step: Step, before: dict) -> None:
        if change.kind == "subject":
            self.source.delete(item_path(change.project, before["subject_id"]), self.options.reason)
            return
        item = self.source.session_item(change.item)
        if item is None or item["project"] != change.project or item["label"] != change.session:
            raise RefusedError(f"{change.name} changed right before it was to be deleted.", "Plan again.")
        if time.monotonic() - self.proved_at.get(change.item, float("-inf")) > PROOF_HOLDS_S:
            raise RefusedError(
                f"The proof of {change.name} is more than {PROOF_HOLDS_S:.0f} s old, so it was not deleted.",
                "Run again: it is proved anew.",
            )
        self.source.delete(item_path(change.project, item["subject_id"], change.item), self.options.reason)

    def prove(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        """Both sides as fresh listings show them: gone here, and whole there."""
        if change.kind == "subject":
            return "deleted", [], []
        if any(row["session_id"] == change.item for row in self.source.sessions(change.project)):
            raise ServerError(f"{change.name} was deleted, and {change.project} still lists it.")
        now = files_of(self.destination, before["there_id"])
        rows = [dict(row) for row in before["rows"]]
        if now != before["there"]:
            left = Counter((row["scan"], row["path"], row["md5"]) for row in now)
            for row in rows:
                at = (row.get("destination_scan"), row.get("destination_path"), row.get("destination_md5"))
                if not left[at]:
                    because = "it was proved and then deleted here, and the destination lists it no longer so"
                    row |= {"verdict": Verdict.DIFFERENT, "because": because}
        return "deleted", rows, before["extra"]

    def still(self, change: Change, before: dict) -> bool:
        if change.kind == "subject":
            return not before.get("subject_id") or self.holds(change, change.steps[0], before)
        return self.holds(change, change.steps[0], before) and bool(self.destination.session_item(before["there_id"]))


def subject_keeps(connection: Connection, project: str, found: dict) -> str:
    """Why a subject is not empty; "" where nothing would be lost with it."""
    if found["shared"]:
        return "it belongs to another project"
    item = connection.subject_item(found["subject_id"])
    if item is None:
        return "it cannot be read"
    if item["shares"]:
        return f"{', '.join(name for name, _ in item['shares'])} is shown it"
    if count := connection.count_below(item_path(project, found["subject_id"]), "experiments"):
        return f"it still has {count} sessions or assessments"
    if count := connection.count_below(item_path(project, found["subject_id"]), "files"):
        return f"it has {count} files of its own"
    if item["holds"] or item["fields"]:
        return f"it has data of its own ({', '.join([*item['fields'], *item['holds']][:4])})"
    return ""


def _md5(connection: Connection, uri: str) -> str:
    found = hashlib.md5(usedforsecurity=False)
    with connection.open_file(uri) as chunks:
        for chunk in chunks:
            found.update(chunk)
    return found.hexdigest()
