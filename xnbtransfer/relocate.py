"""Moving without a copy: sessions and subjects of one project given to another one of the same server.

What XNAT does is kept out of harm's way: a move without the right to create answers 500 after it has copied files, a
clash of labels answers 409 and may go on, and a new label together with a move fails; so rights and clashes are looked
at before, and relabelling is a step of its own. The accession stays, and the server moves the files by itself; they
are read back afterwards, since the MD5s that it lists are only carried along.
"""

from __future__ import annotations

import hashlib
import secrets

from .changes import Change, ChangePlan, Step, make_plan
from .checks import failed_to_tell
from .errors import NotFoundError, ServerError, SessionExpiredError, XnbTransferError
from .findings import finding
from .foretell import scripts_of
from .forms import item_path
from .inputs import read_inputs
from .method_options import MoveOptions
from .one_server import (
    Both,
    Chosen,
    ItemCarrier,
    change_of,
    doubted,
    read_both,
    rights,
    same_listing,
    subject_change,
)
from .script_findings import text_findings
from .steps import files_of
from .streams import Seen, path_in_resource
from .values import Settings, Verdict
from .verify import judge, read_back
from .xnat import Connection
from .zips import Limits, read_zip

SETTLE_S = 20.0  # how long the state is watched after the answer to a move was lost


def plan_move(connection: Connection, options: MoveOptions) -> ChangePlan:
    """Decide what is moved, in the order that works: each subject, then its sessions.

    Raises
    ------
    InputError
        If the selection leaves nothing, or labels cannot be used.
    """
    inputs = read_inputs(options)
    both = read_both(connection, options, inputs)
    decided = (change for name in both.by_subject for change in _moved(both, name, options))
    changes = [_with_own_files(connection, change) for change in decided]
    asked = [(both.project, "delete"), (both.to, "create"), (both.to, "edit")]
    if any(step.verb == "rename" for change in changes for step in change.steps):
        asked.append((both.project, "edit"))
    concerns = [*both.concerns, *rights(connection, both, asked)]
    there = both.sides[1].settings
    concerns += failed_to_tell(Settings(**there), both.to, connection.user)
    script_on, script = there.get("project_script_on"), there.get("project_script")
    if script_on is not False:
        # Seen on a live 1.8.11: over every move, whatever rerunProjectAnonOnRename says, which is about labels.
        told = "runs" if script_on else "runs, if there is one (the server does not tell),"
        also = " or relabelled" if connection.reruns_scripts() is not False else ""
        sentence = (
            f"The anonymisation script of {both.to} {told} over sessions that are moved{also}; headers change then, "
            "and the MD5s that XNAT lists stay those of before."
        )
        concerns.append(finding("M05", sentence, project=both.to))
        words = {"project": both.to, "subject": "a subject", "session": "a session"}
        scripts = scripts_of(project=(script_on, script), context=words, version=str(there.get("version") or ""))
        concerns += text_findings(scripts, both.to, no_header=True)
    sentence = "Assessors of a session stay with the project that owns them, though their files lie with it."
    concerns.append(finding("M06", sentence, project=both.to))
    return make_plan("move", *both.sides, options, changes, concerns, inputs=inputs)


def _moved(both: Both, subject_id: str, options: MoveOptions) -> list[Change]:
    found = both.by_subject[subject_id]
    item, label = both.subjects[subject_id], found[0].to.subject
    whole = len(found) >= both.own[subject_id]
    steps: tuple[Step, ...] = ()
    action, conflict = "skip", ""
    shares = dict(item.get("shares", ()))
    others = sorted(set(shares) - {both.to})
    if item.get("project") == both.to:
        because = f"it belongs to {both.to} already"
        if item["label"] != label:
            because, conflict = f"it belongs to {both.to} as {item['label']}", "label: other subject"
    elif item.get("project") != both.project:
        because = f"it belongs to {item.get('project') or 'a project that cannot be read'}; move it from there"
        conflict = "owner"
    elif clash := both.subject_clash(subject_id, label):
        because, conflict = clash, "label: other subject"
    elif not whole and options.split == "stop":
        left = both.own[subject_id] - len(found)
        because, conflict = f"{left} sessions or assessments of it are not chosen and would stay behind", "split"
    elif not whole:
        because = f"it stays in {both.project}, and is shown in {both.to}"
        if both.to not in shares:
            action, steps = "share", (Step(verb="share", project=both.to, label=label),)
        elif shares[both.to] != label:
            because, conflict = f"it is shown in {both.to} as {shares[both.to]}", "shared under another label"
    elif others and options.other_shares == "stop":
        because, conflict = f"{', '.join(others)} is shown it, too; keep that by other_shares", "other shares"
    elif both.to in shares and _owns_there(both, shares[both.to] or item["label"]):
        because = f"{both.to} owns sessions of it, and XNAT cannot give it the subject then; share it by split"
        conflict = "owner"
    else:
        action, because, conflict, steps = _steps(both, item, label, "subject")
    if conflict and options.existing == "stop":
        action = "stop"
    first = subject_change(both, subject_id, action=action, because=because, conflict=conflict, steps=steps)
    return [first, *(_moved_session(both, one, bool(conflict), options) for one in found)]


def _with_own_files(connection: Connection, change: Change) -> Change:
    """A subject that moves with the count of its own files: they go along, and are read back."""
    if change.kind != "subject" or change.action != "move":
        return change
    files = _own_files(connection, change.project, change.item)
    return change.model_copy(update={"files": len(files), "size_bytes": sum(one["size_bytes"] for one in files)})


def _own_files(connection: Connection, project: str, subject_id: str) -> list[dict]:
    """The files of a subject's own resources, as the server lists them."""
    found = [{**row, "scan": ""} for row in connection.files_below(item_path(project, subject_id))]
    return sorted(found, key=lambda one: (one["resource"], one["path"]))


def _owns_there(both: Both, label: str) -> bool:
    return any(row["subject"] == label and not row["shared"] for row in both.sessions_there)


def _moved_session(both: Both, one: Chosen, without_subject: bool, options: MoveOptions) -> Change:
    steps: tuple[Step, ...] = ()
    action, conflict = "skip", ""
    others = sorted({project for project, _ in one.item["shares"]} - {both.to})
    word, clash = both.session_clash(one, one.to.session)
    if one.item["project"] == both.to:
        because = f"it belongs to {both.to} already"
    elif one.item["project"] != both.project:
        because, conflict = f"it belongs to {one.item['project']}; move it from there", "owner"
    elif without_subject:
        because, conflict = "its subject cannot go as asked", "subject"
    elif clash:
        because, conflict = clash, word
    elif others and options.other_shares == "stop":
        because, conflict = f"{', '.join(others)} is shown it, too; keep that by other_shares", "other shares"
    else:
        action, because, conflict, steps = _steps(both, one.item, one.to.session, "session")
    if conflict and options.existing == "stop":
        action = "stop"
    return change_of(one, both.project, both.to, action=action, because=because, conflict=conflict, steps=steps)


def _steps(both: Both, item: dict, label: str, kind: str) -> tuple[str, str, str, tuple[Step, ...]]:
    """Action, why, conflict and steps: a share there ends first, and another label is given before or after."""
    steps = [Step(verb="unshare", project=both.to)] if both.to in dict(item["shares"]) else []
    move, rename = Step(verb="move", project=both.to), Step(verb="rename", label=label)
    if item["label"] == label:
        return "move", f"it goes to {both.to} under its label", "", (*steps, move)
    here = {row[kind] for row in both.sessions_here} - {item["label"]}
    there = {row[kind] for row in (both.sessions_there if kind == "session" else both.subjects_there)}
    if label not in here:
        return "move", f"it is called {label}, then goes to {both.to}", "", (*steps, rename, move)
    if item["label"] not in there:
        return "move", f"it goes to {both.to}, and is called {label} there", "", (*steps, move, rename)
    because = f"{both.project} has another {label}, and {both.to} another {item['label']}"
    return "skip", f"{because}, so it cannot be relabelled on either side", "label: other study", ()


class MoveCarrier(ItemCarrier):
    """Moves items one by one, and reads the files of a session back where they are now."""

    def __init__(self, plan: ChangePlan, connection: Connection, options: MoveOptions) -> None:
        super().__init__(connection, options)
        self.plan = plan
        self.settings = Settings(**plan.destination.settings)
        self.key = secrets.token_bytes(16)
        self.seen: dict[str, list[Seen]] = {}
        # Where a script runs over what is moved, the headers are kept until after it, to tell what it changed.
        self.scripted = options.proof == "all" and bool(self.settings.project_script_on)

    def before(self, change: Change) -> dict:
        kept = super().before(change)
        if change.action == "move" and change.kind == "subject":
            kept = self.held(change, _own_files(self.connection, self.item(change)["project"], change.item))
        if not kept or self.options.proof != "all":
            return kept
        if any(not one["md5"] for one in kept["files"]) or self._listed_otherwise(kept["files"]):
            kept["files"] = self._digested(change.item, kept["files"])
        if self.scripted and change.session:
            with self.connection.open_session(change.item) as chunks:
                self.seen[change.item] = read_back(chunks, key=self.key, listed=kept["files"], keep=True)
        return kept

    def _listed_otherwise(self, files: list[dict]) -> bool:
        """Whether the smallest file of the scans is not as listed: then all are read before they are moved.

        XNAT keeps the MD5s of before when it anonymises again (seen on a live 1.8.11), and a move may follow.
        """
        of_scans = [one for one in files if one["scan"]]
        smallest = min(of_scans, key=lambda one: one["size_bytes"], default=None)
        return smallest is not None and self._md5(smallest["uri"]) != smallest["md5"]

    def _digested(self, session_id: str, files: list[dict]) -> list[dict]:
        """The files with the MD5 of the bytes that the server sends now, "" for what does not come.

        Raises
        ------
        NotFoundError
            The server lists files of scans and gives none.
        """
        came: dict[str, list[tuple[str, str]]] = {}
        if any(one["scan"] for one in files):
            limits = Limits.of(one["size_bytes"] for one in files if one["scan"])
            with self.connection.open_session(session_id) as chunks:
                for entry, data in read_zip(chunks, limits):
                    found = hashlib.md5(usedforsecurity=False)
                    for piece in data:
                        found.update(piece)
                    scan, path = _place(entry)
                    came.setdefault(path, []).append((scan, found.hexdigest()))
        now = []
        for one in files:
            if one["scan"]:
                md5 = _take(came.get(one["path"], []), one["scan"], one["md5"])
            else:
                md5 = self._md5(one["uri"])
            now.append({**one, "md5": md5})
        return now

    def _md5(self, uri: str) -> str:
        found = hashlib.md5(usedforsecurity=False)
        try:
            with self.connection.open_file(uri) as chunks:
                for chunk in chunks:
                    found.update(chunk)
        except NotFoundError:
            return ""
        return found.hexdigest()

    def holds(self, change: Change, step: Step, before: dict) -> bool:
        item = self.item(change)
        if step.verb == "unshare":
            return self.to not in dict(item["shares"])
        if step.verb == "share":
            return dict(item["shares"]).get(self.to) == step.label
        if step.verb == "rename":
            return item["label"] == step.label
        return item["project"] == self.to

    def act(self, change: Change, step: Step, before: dict) -> None:
        item, reason = self.item(change), self.options.reason
        path = item_path(item["project"], change.subject_id, "" if change.kind == "subject" else change.item)
        if step.verb == "unshare":
            self.connection.unshare(path, self.to, reason)
        elif step.verb == "share":
            self.connection.share(path, self.to, step.label, reason)
        elif step.verb == "rename":
            self.connection.rename(path, step.label, reason)
        else:
            self.connection.move(path, self.to, reason)

    def busy(self, change: Change, step: Step, lost: XnbTransferError | None, since_s: float) -> bool:
        return step.verb in ("move", "rename") and _no_answer(lost) and since_s < SETTLE_S

    def repeatable(self, step: Step, lost: XnbTransferError) -> bool:
        """A move whose answer was lost may still be going on; the next run looks at what came of it."""
        if step.verb in ("move", "rename"):
            return isinstance(lost, SessionExpiredError) or getattr(lost, "retry_after_s", None) is not None
        return super().repeatable(step, lost)

    def prove(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        """Both projects' own lists show where it is now, and its files are read from there."""
        if change.kind == "subject":
            label = change.destination_subject
            if {row["subject_id"]: row["subject"] for row in self.connection.subjects(self.to)}.get(
                change.item
            ) != label:
                raise ServerError(f"{change.name} was moved, and {self.to} does not list it as {label}.")
            if change.action != "move":
                return "shared", [], []
            listed = _own_files(self.connection, self.to, change.item)
            return "moved", *self._compared(change, before, listed)
        there = {row["session_id"]: row for row in self.connection.sessions(self.to)}
        found = there.get(change.item)
        if found is None or found["session"] != change.destination_session or found["shared"]:
            raise ServerError(f"{change.name} was moved, and {self.to} does not list it as its own.")
        if any(row["session_id"] == change.item for row in self.connection.sessions(change.project)):
            raise ServerError(f"{change.name} was moved, and {change.project} still lists it.")
        return "moved", *self._compared(change, before, files_of(self.connection, change.item))

    def _compared(self, change: Change, before: dict, listed: list[dict]) -> tuple[list[dict], list[dict]]:
        """Rows and extra files, by their bytes or by the lists, as the parameters say."""
        files = before.get("files", [])
        if self.options.proof != "listing":
            rows, extra = self._read_back(change, files, listed)
            return rows + doubted(change, before), extra
        rows = same_listing(change, files, listed)
        for row in rows:
            if row["verdict"] == Verdict.EQUAL:
                row |= {"verdict": Verdict.NOT_PROVED, "because": "it is listed as before; its bytes were not read"}
        return rows + doubted(change, before), []

    def _read_back(self, change: Change, files: list[dict], listed: list[dict]) -> tuple[list[dict], list[dict]]:
        now = self._digested(change.item, listed)
        rows = same_listing(change, files, now)
        for row in rows:
            row["read_in"] = "archive"
            if row["verdict"] == Verdict.EQUAL and not row["destination_md5"]:
                because = "it came neither before the move nor after it, so nothing was compared"
                row |= {"verdict": Verdict.NOT_PROVED, "because": because, "read_in": ""}
            elif row["verdict"] == Verdict.EQUAL:
                row["because"] = "every byte is equal, read after the move"
            elif row["because"] != "it is not listed any more":
                row["because"] = "its bytes are not those of before the move"
        seen = self.seen.get(change.item)
        if seen and any(row["verdict"] == Verdict.DIFFERENT for row in rows):
            rows = self._explained(change, seen, rows, listed)
        known = {(row["scan"], row["resource"], row["path"]) for row in files}
        extra = [
            {
                **{name: one[name] for name in ("scan", "resource", "path", "size_bytes", "md5")},
                "subject": change.destination_subject,
                "session": change.destination_session,
            }
            for one in now
            if (one["scan"], one["resource"], one["path"]) not in known
        ]
        return rows, extra

    def _explained(self, change: Change, seen: list[Seen], rows: list[dict], listed: list[dict]) -> list[dict]:
        """Where the site ran the script again: whether it explains what changed in the headers."""
        with self.connection.open_session(change.item) as chunks:
            there = read_back(chunks, key=self.key, listed=listed)
        expected = scripts_of(
            project=(self.settings.project_script_on, self.settings.project_script),
            context={
                "project": self.to,
                "subject": change.destination_subject,
                "session": change.destination_session,
            },
            version=self.settings.version,
            waived=self.plan.policy.unforetold(change.subject, change.session),
        )
        judged, _ = judge(change, seen, there, expected, key=self.key, where="the archive")
        by_place = {(row["scan"], row["path"]): row for row in judged}
        return [
            row | by_place.get((row["scan"], row["path"]), {}) | {"resource": row["resource"]}
            if row["verdict"] == Verdict.DIFFERENT
            else row
            for row in rows
        ]


def _no_answer(lost: XnbTransferError | None) -> bool:
    if isinstance(lost, SessionExpiredError):
        return False
    return lost is not None and lost.retry and getattr(lost, "retry_after_s", None) is None


def _place(entry: str) -> tuple[str, str]:
    """The scan's folder and the path of an entry of a session's zip: LABEL/scans/ID-TYPE/resources/R/files/PATH."""
    parts = entry.split("/")
    scan = next((parts[at + 1] for at, part in enumerate(parts[:-1]) if part == "scans"), "")
    return scan, path_in_resource(entry)


def _take(came: list[tuple[str, str]], scan: str, md5: str) -> str:
    """The MD5 of one file among those of its path: scans, and resources of a scan, may hold files of one name."""
    mine = [at for at in came if at[0] == scan or at[0].startswith(f"{scan}-")]
    taken = next((at for at in mine if at[1] == md5), mine[0] if mine else None)
    if taken is None:
        return ""
    came.remove(taken)
    return taken[1]
