"""Sharing: sessions of one project shown in another one of the same server. Nothing is copied, and it can be undone.

The subject goes first, since a session without it has no address below the other project, and a label is always sent:
what is shared without one is not found by it, and later clashes with it are not seen.
"""

from __future__ import annotations

from .changes import Change, ChangePlan, Step, make_plan
from .errors import ServerError
from .findings import finding
from .forms import item_path
from .inputs import read_inputs
from .method_options import ShareOptions
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
from .steps import files_of
from .xnat import Connection


def plan_share(connection: Connection, options: ShareOptions) -> ChangePlan:
    """Decide what is shared, or with ``undo`` what is no longer; subjects before their sessions, and after them.

    Raises
    ------
    InputError
        If the selection leaves nothing, or labels cannot be used.
    """
    inputs = read_inputs(options)
    both = read_both(connection, options, inputs)
    concerns = list(both.concerns)
    if options.undo:
        changes = [change for name in both.by_subject for change in _taken_back(both, name)]
        concerns += rights(connection, both, [(both.to, "delete")])
    else:
        changes = [change for name in both.by_subject for change in _shared(both, name, options)]
        concerns += rights(connection, both, [(both.project, "read"), (both.to, "create")])
        sentence = (
            f"Everybody who may read {both.to} will see these sessions with all their scans, and what is changed or "
        )
        sentence += "deleted in the source is changed or deleted there, too."
        if both.sides[1].settings.get("project_script_on") is not False:
            sentence += f" What is shared is not copied: a script of {both.to} does not run over it."
        concerns.append(finding("M04", sentence, project=both.to))
    return make_plan("unshare" if options.undo else "share", *both.sides, options, changes, concerns, inputs=inputs)


def _shared(both: Both, subject_id: str, options: ShareOptions) -> list[Change]:
    found = both.by_subject[subject_id]
    item, label = both.subjects[subject_id], found[0].to.subject
    action, because, conflict = "share", f"it is shown in {both.to} as {label}", ""
    known = dict(item.get("shares", ())).get(both.to)
    if not item or item["project"] not in (both.project, both.to):
        action, conflict = "skip", "owner"
        because = f"it belongs to {item.get('project') or 'a project that cannot be read'}; share it from there"
    elif item["project"] == both.to:
        action, because = "skip", f"it belongs to {both.to}"
    elif known is not None and known == label:
        action, because = "skip", f"it is shown in {both.to} already"
    elif known is not None:
        action, conflict = "skip", "shared under another label"
        because = f"it is shown in {both.to} as {known or '(no label)'}; take that back first, or map it to that label"
    elif clash := both.subject_clash(subject_id, label):
        action, because, conflict = "skip", clash, "label: other subject"
    if conflict and options.existing == "stop":
        action = "stop"
    steps = (Step(verb="share", project=both.to, label=label),) if action == "share" else ()
    first = subject_change(both, subject_id, action=action, because=because, conflict=conflict, steps=steps)
    return [first, *(_shared_session(both, one, bool(conflict), options) for one in found)]


def _shared_session(both: Both, one: Chosen, without_subject: bool, options: ShareOptions) -> Change:
    label = one.to.session
    action, because, conflict = "share", f"it is shown in {both.to} as {label}", ""
    known = dict(one.item["shares"]).get(both.to)
    word, clash = both.session_clash(one, label)
    if one.item["project"] == both.to:
        action, because = "skip", f"it belongs to {both.to}"
    elif one.item["project"] != both.project:
        action, because, conflict = "skip", f"it belongs to {one.item['project']}; share it from there", "owner"
    elif known is not None and known == label:
        action, because = "skip", f"it is shown in {both.to} already"
    elif known is not None:
        action, conflict = "skip", "shared under another label"
        because = f"it is shown in {both.to} as {known or '(no label)'}; take that back first, or map it to that label"
    elif without_subject:
        action, because, conflict = "skip", "its subject cannot be shared as asked", "subject"
    elif clash:
        action, because, conflict = "skip", clash, word
    if conflict and options.existing == "stop":
        action = "stop"
    steps = (Step(verb="share", project=both.to, label=label),) if action == "share" else ()
    return change_of(one, both.project, both.to, action=action, because=because, conflict=conflict, steps=steps)


def _taken_back(both: Both, subject_id: str) -> list[Change]:
    """Sessions one by one, and the subject after them: a refused unshare of a subject has already dropped a share."""
    found = both.by_subject[subject_id]
    changes = []
    for one in found:
        shown = both.to in dict(one.item["shares"]) and one.item["project"] == both.project
        changes.append(
            change_of(
                one,
                both.project,
                both.to,
                action="unshare" if shown else "skip",
                because=f"it is no longer shown in {both.to}" if shown else f"it is not shown in {both.to}",
                steps=(Step(verb="unshare", project=both.to),) if shown else (),
            )
        )
    item = both.subjects[subject_id]
    shown = bool(item) and both.to in dict(item["shares"]) and item["project"] == both.project
    last = subject_change(
        both,
        subject_id,
        action="unshare" if shown else "skip",
        because="only if no session of it is left there" if shown else f"it is not shown in {both.to}",
        steps=(Step(verb="unshare", project=both.to),) if shown else (),
    )
    return [*changes, last]


class ShareCarrier(ItemCarrier):
    """Shares, and takes shares back, one item at a time."""

    def before(self, change: Change) -> dict:
        if change.kind == "subject" and change.action == "unshare":
            left = self.connection.count_below(item_path(self.to, change.item), "experiments")
            return {"kept": f"left: {self.to} still has {left} sessions or assessments of it"} if left else {}
        return super().before(change)

    def holds(self, change: Change, step: Step, before: dict) -> bool:
        shares = dict(self.item(change)["shares"])
        return self.to not in shares if step.verb == "unshare" else shares.get(self.to) == step.label

    def act(self, change: Change, step: Step, before: dict) -> None:
        path = item_path(change.project, change.subject_id, "" if change.kind == "subject" else change.item)
        if step.verb == "share":
            self.connection.share(path, self.to, step.label, self.options.reason)
        else:
            self.connection.unshare(path, self.to, self.options.reason)

    def prove(self, change: Change, before: dict) -> tuple[str, list[dict], list[dict]]:
        """The other project's own list shows it, or no longer does; every file is the one that it was."""
        state = "shared" if change.action == "share" else "unshared"
        if change.kind == "subject":
            return state, [], []
        listed = {row["session_id"]: row["session"] for row in self.connection.sessions(self.to)}
        if state == "shared" and listed.get(change.item) != change.destination_session:
            raise ServerError(f"{change.name} was shared, and {self.to} does not list it as it should.")
        if state == "unshared" and change.item in listed:
            raise ServerError(f"The share of {change.name} was taken back, and {self.to} still lists it.")
        rows = same_listing(change, before["files"], files_of(self.connection, change.item))
        return state, rows + doubted(change, before), []
