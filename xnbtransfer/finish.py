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
from functools import partial
from typing import NamedTuple

from .archived import archived_copy
from .backup import back_up
from .changes import Change, ChangePlan, Step, digest_of, make_plan
from .choice import chooser, not_there
from .diff import is_dicom
from .errors import InputError, RefusedError, ServerError
from .findings import finding
from .forms import item_path
from .history import SessionHistory, read_history
from .holdings import differences, not_carried, told
from .inputs import read_inputs
from .inventory import read_inventory
from .journal import read_journal
from .keys import SessionKey
from .method_options import METHODS, FinishOptions
from .one_place import refuse_one_place
from .outputs import with_home
from .plan import SENDS, Plan, SessionPlan, Side, source_states
from .record import Record, list_records, open_record
from .steps import Carrier, files_of, listed_row
from .values import Verdict, tuples_of
from .verify import decoded_by, expected_changes, judge, read_back, read_source_scan, study_of
from .xnat import USUAL_TYPE, Connection

PROOF_HOLDS_S = 60.0
REFRESH = "have the administrator of the source refresh its catalogue (options checksum, delete, append, populateStats)"
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
        found = open_record(with_home(options.record_root) / name)
    else:
        known = list_records(options.record_root)
        known = known[~known["template"].isin(_NO_COPY) & (known["state"] == "sealed") & (known["files"] > 0)]
        if known.empty:
            raise InputError(f"There is no record of a copy below {options.record_root}.", "Name one with 'record'.")
        found = open_record(with_home(options.record_root) / known.iloc[0]["record"])
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
    RefusedError
        If source and destination are one project under two names.
    """
    inputs = read_inputs(options)
    made = record.plan()
    for side, connection in ((made.source, source), (made.destination, destination)):
        if connection.server.rstrip("/") != side.server.rstrip("/"):
            raise InputError(
                f"The record is of {side.project} on {side.server}, and the connection is to {connection.server}.",
                "Give the address of that server.",
            )
    refuse_one_place(source, destination, made.source.project, made.destination.project)
    if lacking := not_there(options.sessions, (session.session for session in made.sessions)):
        raise InputError(f"The copy {record.path.name} knows no session {lacking[0]!r}.", "Its plan lists them.")
    chosen = chooser(options.sessions)
    asked = [one for one in made.sessions if chosen(one.session)]
    ids = {one.session_id for one in asked if one.action in SENDS}
    here = read_inventory(source, made.source.project, select=lambda row: row["session_id"] in ids, prearchive=False)
    states = source_states(here)
    past = read_history(read_journal(record.journal))
    now = now or datetime.datetime.now(datetime.UTC)
    decided = [_decide(made, one, source, destination, options, states, _known(past, one)) for one in asked]
    acting = 0
    for at, change in enumerate(decided):
        acting += bool(change.steps)
        if change.steps and acting > options.limit:
            because = f"one run deletes {options.limit} sessions at most; run again for the others"
            decided[at] = change.model_copy(update={"steps": (), "action": "later", "because": because})
    deletes = [change for change in decided if change.steps]
    types = dict(tuples_of(here.sessions, "session_id", "xsi_type"))
    kinds = sorted({types.get(change.item, "") for change in deletes} - {""})
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
        list(_concerns(record, made, here.settings, source, options, now, kinds)),
        confirm=f"{project} {len(deletes)}" if deletes else "",
        of_record={"record": record.path.name, "plan": made.fingerprint, "bag": bag_digest(record)},
        inputs=inputs,
    )


def bag_digest(record: Record) -> str:
    """SHA-256 of the bag's own manifest: names the whole content of a record in one line."""
    return hashlib.sha256((record.path / "manifest-sha256.txt").read_bytes()).hexdigest()


def _concerns(record: Record, made: Plan, settings, source: Connection, options: FinishOptions, now, kinds: list[str]):
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
    for kind in kinds or [USUAL_TYPE]:  # rights are per type (XNAT source, SubjAssessmentResource: the item's own)
        may = settings.can_delete
        if kind != USUAL_TYPE and settings.can_read is not None:
            may = source.can(project, "delete", kind)
        if may is False:
            yield finding("M02", f"{source.user} may not delete {kind} of {project}.", project=project)
        if may is None:
            sentence = f"The server does not tell whether {source.user} may delete {kind} of {project}."
            yield finding("M03", sentence, project=project)
    if not options.backup:
        sentence = "XNAT keeps no copy of what is deleted unless its administrator switched that on."
        yield finding("M08", sentence, project=project)
    sentence = "Fields and custom variables of a session are deleted with it; the copy proves files."
    yield finding("M09", sentence, project=project)


def _known(past: dict[SessionKey, SessionHistory], one: SessionPlan) -> str:
    """The accession of a copy, as the record holds it; "" in records of earlier versions."""
    return past[one.key].accession if one.key in past else ""


def _decide(made: Plan, one: SessionPlan, source, destination, options: FinishOptions, states, known: str) -> Change:
    because, conflict, state, files = "", "", "", []
    if one.action not in SENDS:
        because = f"the copy did not send it: {one.because}"
    else:
        item = source.session_item(one.session_id)
        if item is None or item["project"] != made.source.project:
            because = f"it is not in {made.source.project} any more"
            conflict = "" if item is None else "in another project"
        else:
            files = files_of(source, one.session_id)
            state = session_state(item, files)
            because = _in_the_way(made, one, item, states) or unsure(item, files)
            if not because and not (there := archived_copy(destination, made, one, known)):
                because = "its copy is not in the archive of the destination; archive it there first"
            if not because:
                because = _not_copied(files, destination_files(destination, there), options)
            if not because:
                because = _would_be_lost(item, destination.session_item(there), options)
            conflict = "in the way" if because else ""
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
        conflict=conflict,
        because=because or "the copy sent it; deleted if it is proved again, whole",
        steps=steps,
        files=len(files) if steps else 0,
        size_bytes=sum(file["size_bytes"] for file in files) if steps else 0,
        state=state,
    )


def session_state(item: dict, files: list[dict]) -> str:
    """What a session is, as one digest: where it belongs, what it is called, who is shown it, every file.

    So is what its own document says that it holds: counts of files, ratings, notes, fields, reconstructions.
    """
    facts = {name: item[name] for name in ("label", "project", "subject_id", "shares", "assessors", "unknown")}
    facts |= {"reconstructions": item["reconstructions"]}
    facts |= {name: sorted([*at, value] for at, value in item[name].items()) for name in ("counted", "by_hand")}
    return digest_of(
        facts, [[one[name] for name in ("scan", "resource", "path", "size_bytes", "md5")] for one in files]
    )


def unsure(item: dict, files: list[dict]) -> str:
    """Why it cannot be said what a session holds; "" where its document and its file lists say the same."""
    found = differences(item["counted"], files)
    return f"what it holds cannot be proved: {told(found)}; {REFRESH}" if found else ""


def _places(item: dict, files: list[dict]) -> list[dict]:
    """A row, as of a file without a name, for each place where the two answers differ: the list may be empty."""
    return [
        {"scan": one.scan, "resource": one.resource, "path": "", "size_bytes": 0, "md5": ""}
        for one in differences(item["counted"], files)
    ]


def _open_row(because: str) -> dict:
    return {"verdict": str(Verdict.NOT_PROVED), "because": because}


_LOOK = "Look at it there; run again to have both sides looked at anew."
_NO_FILE = {"scan": "", "resource": "", "path": "", "size_bytes": 0, "md5": ""}
_UNSEEN = _open_row(
    "it is not found any more, and no answer said that this run deleted it; its copy was proved right before"
)


def _would_be_lost(item: dict, copy: dict | None, options: FinishOptions) -> str:
    """What the session's document holds and its copy does not; "" where nothing would be lost."""
    if copy is None:
        return "its copy is not in the archive of the destination; archive it there first"
    left = not_carried(item, copy, options.abandon)
    if not left:
        return ""
    return f"its copy does not hold its {', '.join(left)}; bring that there, or name it in 'abandon' to let it go"


def _in_the_way(made: Plan, one: SessionPlan, item: dict, states) -> str:
    if item["label"] != one.session:
        return f"it is called {item['label']} now"
    if one.key not in states:
        return f"the source does not list it under the subject {one.subject} any more; copy it again"
    if states.get(one.key, "") != one.source_state and not made.transfer_options.of_scans:
        return "it changed at the source since it was copied; copy it again"
    if item["shares"]:
        names = ", ".join(project for project, _ in item["shares"])
        return f"{names} is shown it, and would lose it; take that share back first"
    if item["assessors"]:
        return f"it has {len(item['assessors'])} assessors, and no copy carries them"
    return ""


def _subject_now(source: Connection, project: str, item: dict) -> str:
    """The label that a session's subject has in a project, which the session does not tell; "" where nobody tells."""
    found = source.subject_item(item["subject_id"]) if item["subject_id"] else None
    if found is None:
        return ""
    return found["label"] if found["project"] == project else dict(found["shares"]).get(project, "")


def destination_files(destination: Connection, there: str) -> set[tuple[str, str, str]]:
    """Resource files that are not DICOM of the copy with this accession: scan, resource and path."""
    rows = files_of(destination, there)
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


class Moment(NamedTuple):
    """Seconds by a clock that only goes forward, and by the wall clock."""

    steady: float
    wall: float


def moment() -> Moment:
    """Now, by clocks that go on while the machine sleeps: ``time.monotonic`` does not on Linux (clock_gettime(2))."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return Moment(time.monotonic() if boot is None else time.clock_gettime(boot), time.time())


def age_s(since: Moment) -> float:
    """Seconds since then: by the clock that says most, so that neither sleep nor a wall clock put back shortens it."""
    now = moment()
    return max(now.steady - since.steady, now.wall - since.wall)


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
        refuse_one_place(source, destination, self.made.source.project, self.made.destination.project)
        self.sessions = {one.session_id: one for one in self.made.sessions}
        self.past = read_history(read_journal(record.journal))
        self.key = secrets.token_bytes(16)  # of the header digests of this run; kept nowhere
        self.proved_at: dict[str, Moment] = {}
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
        if session_state(item, files) != change.state:  # since it was looked at
            raise RefusedError(f"{change.name} changed at the source since the plan was made.", "Copy it again.")
        kept = {"subject_id": item["subject_id"], "files": files}
        if why := unsure(item, files):
            because = f"not deleted: {why}"
            rows = [listed_row(change, one) for one in [*files, *_places(item, files)]]
            return kept | {"kept": because, "rows": [row | _open_row(because) for row in rows]}
        if self.options.backup and item["reconstructions"]:
            return kept | {"kept": "not deleted: no backup holds the files of its reconstructions; fetch them first"}
        if self.options.backup:
            state, root = session_state(item, files), with_home(self.options.backup)
            kept["backup"] = back_up(self.source, change, state, files, root)
        found = archived_copy(self.destination, self.made, one, _known(self.past, one))
        if not found:
            return kept | {"kept": "its copy is not in the archive of the destination"}
        if why := _would_be_lost(item, self.destination.session_item(found), self.options):
            return kept | {"kept": f"not deleted: {why}"}
        there = files_of(self.destination, found)
        rows, extra = self._prove(change, one, found, files, there)
        kept |= {"rows": rows, "extra": extra, "there": there, "there_id": found}
        if bad := Counter(row["verdict"] for row in rows if row["verdict"] not in _PROVED):
            words = ", ".join(f"{count} {verdict}" for verdict, count in bad.items())
            return kept | {"kept": f"not deleted: of {len(rows)} files {words}"}
        if not rows:
            raise RefusedError(f"{change.name} was not deleted: no file of it could be compared.")
        kept["state"] = session_state(item, files)
        self._unchanged(change, kept)
        self.proved_at[change.item] = moment()
        return kept

    def _unchanged(self, change: Change, before: dict) -> None:
        """Refuse where either side is no longer as it was when it was proved: asked after the proof, and once more
        right before each deletion that is sent, the repeated ones among them.
        """
        item = self.source.session_item(change.item)
        if item is None or session_state(item, files_of(self.source, change.item)) != before["state"]:
            raise RefusedError(f"{change.name} was not deleted: it changed at the source meanwhile.", "Plan again.")
        if (now := _subject_now(self.source, change.project, item)) != change.subject:
            whose = f"its subject is called {now} now" if now else "the source does not tell whose it is"
            raise RefusedError(f"{change.name} was not deleted: {whose}.", "Copy it again, or rename the copy as well.")
        copy = self.destination.session_item(before["there_id"])
        if copy is None or copy["project"] != self.made.destination.project:
            raise RefusedError(f"{change.name} was not deleted: its copy is not there any more.", "Copy it again.")
        if why := _would_be_lost(item, copy, self.options):
            raise RefusedError(f"{change.name} was not deleted: {why}.", "Plan again.")
        if files_of(self.destination, before["there_id"]) != before["there"]:
            raise RefusedError(f"{change.name} was not deleted: its copy changed meanwhile.", "Plan again.")

    def _prove(self, change: Change, one: SessionPlan, there_id: str, files, there) -> tuple[list[dict], list[dict]]:
        """Every file of the session on both sides, read now."""
        key = self.key
        scans: dict[tuple[str, str], dict[str, tuple[int, str]]] = {}
        for row in files:
            if carried(row):
                scans.setdefault((row["scan"], row["resource"]), {})[row["path"]] = (row["size_bytes"], row["md5"])
        expected = expected_changes(self.made, one, archived=True)
        sent = []
        for (scan, resource), listed in sorted(scans.items()):
            seen, _ = read_source_scan(
                self.source,
                one,
                scan,
                resource,
                listed,
                key=key,
                study_uid=study_of(sent),
                make_spool=lambda: None,
                keep=bool(expected.steps),
                beside=scans,
            )
            sent += seen
        with self.destination.open_session(there_id) as chunks:
            back = read_back(chunks, key=key, listed=there)
        decoded = decoded_by(
            partial(self.source.open_scan_file, change.item), partial(self.destination.open_scan_file, there_id)
        )
        rows, extra = judge(one, sent, back, expected, key=key, where="the archive", decoded=decoded)
        names = {(row["scan"], row["resource"], row["path"]): row for row in there if not carried(row)}
        extra = [row for row in extra if row["path"] not in {path for _, _, path in names}]
        for row in files:
            if not carried(row) and row["resource"] not in self.options.abandon:
                rows.append(self._resource_row(change, row, names.get((row["scan"], row["resource"], row["path"]))))
        return [row | {"verdict": str(row["verdict"])} for row in rows], extra

    def _resource_row(self, change: Change, row: dict, other: dict | None) -> dict:
        found = listed_row(change, row)
        if other is None:
            return found | {"verdict": Verdict.DIFFERENT, "because": "it was not copied"}
        here, there = (_md5(side, one["uri"]) for side, one in ((self.source, row), (self.destination, other)))
        found |= {
            "source_md5": here,
            "destination_scan": other["scan"],
            "destination_path": other["path"],
            "destination_size_bytes": other["size_bytes"],
            "destination_md5": there,
            "read_in": "archive",
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
        self._unchanged(change, before)
        proved_at = self.proved_at.get(change.item)
        if proved_at is None or age_s(proved_at) > PROOF_HOLDS_S:
            raise RefusedError(
                f"The proof of {change.name} is more than {PROOF_HOLDS_S:.0f} s old, so it was not deleted.",
                "Run again: it is proved anew.",
            )
        self.source.delete(item_path(change.project, before["subject_id"], change.item), self.options.reason)

    def prove(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        """Both sides as fresh listings show them: gone here, and whole there.

        Gone is what a deletion of ours was answered for as done, what is not found, and what the project's list, read
        with rights that are proved by the project itself, lacks. Where no answer came it is not found, and that is all.
        """
        subject = change.kind == "subject"
        if not self.holds(change, change.steps[0], before):
            raise ServerError(
                f"The deletion of {change.name} was sent, and {self.source.server} still finds it.",
                _LOOK,
            )
        listed = self.source.subjects(change.project) if subject else self.source.sessions(change.project)
        gone = before["subject_id"] if subject else change.item
        if any(row["subject_id" if subject else "session_id"] == gone for row in listed):
            raise ServerError(f"{change.name} was deleted, and {change.project} still lists it.", _LOOK)
        answered = before.get("answered") == change.steps[0].verb
        if subject:
            return ("deleted", [], []) if answered else ("not found", [listed_row(change, _NO_FILE) | _UNSEEN], [])
        now = files_of(self.destination, before["there_id"])
        rows = [dict(row) for row in before["rows"]]
        if now != before["there"]:
            left = Counter((row["scan"], row["path"], row["md5"]) for row in now)
            for row in rows:
                at = (row.get("destination_scan"), row.get("destination_path"), row.get("destination_md5"))
                if not left[at]:
                    because = "it was proved and then deleted here, and the destination lists it no longer so"
                    row |= {"verdict": Verdict.DIFFERENT, "because": because}
        if not answered:
            rows = [row if row["verdict"] == Verdict.DIFFERENT else row | _UNSEEN for row in rows]
        return "deleted" if answered else "not found", rows, before["extra"]

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
