"""The pages of the guided transfer: each is a window on the model, built when somebody first looks at it.

No page decides or reads anything by itself. What takes time is done by the model in a thread of its own, because a
callback that blocks would hold up the whole notebook.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import pandas as pd

from .. import html, pictures
from ..html import Html
from .forms import Login
from .models import SIDES
from .steps import BY_NAME, NAMES, StepState
from .table import SessionTable

if TYPE_CHECKING:
    from .app import Guide

EXISTING = [
    ("leave it alone (skip)", "skip"),
    ("stop: nothing is run until it is settled", "stop"),
    ("add the scans that are missing there (merge)", "merge"),
    ("send all scans again (replace)", "replace"),
    ("give the session another label (rename)", "rename"),
]
PROOF = [
    ("read every file back (all)", "all"),
    ("read three files a scan back (sample:3)", "sample:3"),
    ("compare lists only (listing)", "listing"),
]
_WIDE = {"description_width": "initial"}


class Page:
    """One step: heading, body, blockers, and the button that confirms it."""

    name = ""

    def __init__(self, guide: Guide) -> None:
        self.guide, self.model = guide, guide.transfer
        step = BY_NAME[self.name]
        self.head = ipw.HTML(f"<h2>{step.title}</h2><p>{html._escape(step.purpose)}</p>")
        self.told = ipw.HTML()
        self.back = ipw.Button(description="Back")
        self.act = ipw.Button(description=step.act, button_style="primary")
        self.back.on_click(lambda _: self.guide.safely(self._go_back))
        self.act.on_click(lambda _: self.guide.work(self.confirm))
        self.footer = ipw.HBox([self.back, self.act], layout=ipw.Layout(justify_content="flex-end", margin="6px 0 0"))
        self.body = ipw.VBox()
        self.box = ipw.VBox([self.head, self.body, self.told, self.footer])
        self.box.add_class("xnb-card")
        self.body.children = self.build()

    def build(self) -> list[ipw.Widget]:
        """The widgets of this page, made once."""
        return []

    def refresh(self) -> None:
        """Show the model as it is now."""

    def confirm(self) -> None:
        """What the button does."""
        self.model.confirm(self.name)

    def refresh_all(self) -> None:
        """Body, blockers and buttons."""
        self.refresh()
        state = self.model.state(self.name)
        blockers = self.model.blockers(self.name)
        problem = self.model.problem(self.name)
        shown = ""
        if problem:
            shown += _listed("It did not work:", [problem])
        if blockers and state != StepState.WORKING:
            shown += _listed("Before going on:", blockers)
        if self.told.value != shown:
            self.told.value = shown
        self.act.disabled = bool(blockers) or bool(self.model.busy)
        self.back.disabled = self.name == NAMES[0] or bool(self.model.busy)

    def _go_back(self) -> None:
        self.model.show(NAMES[NAMES.index(self.name) - 1])


class ConnectPage(Page):
    """Who is logged in where, what was cut off earlier, and the form."""

    name = "connect"

    def build(self) -> list[ipw.Widget]:
        self.who = ipw.HTML()
        self.form = Login(_sides={})
        self.other = _button("Log in as somebody else")
        self.form.on_login(lambda sides: self.guide.work(self._connect, sides))
        self.other.on_click(lambda _: self._toggle())
        self.earlier = ipw.VBox()
        self._open = False
        return [self.who, self.form, self.other, self.earlier]

    def _toggle(self) -> None:
        self._open = not self._open
        self.refresh()

    def _connect(self, sides: Mapping[str, Mapping[str, str]]) -> None:
        for side in SIDES:
            self.model.connect(side, **sides[side])
        self._open = False

    def refresh(self) -> None:
        connected = self.model.connections
        rows = [
            {"side": side, "server": connected[side].server, "user": connected[side].user}
            for side in SIDES
            if side in connected
        ]
        self.who.value = html.table(rows, "Connected", ["side", "server", "user"], empty="nowhere yet").markup
        both = len(connected) == 2
        self.form.layout.display = None if self._open or not both else "none"
        self.form._locked = bool(self.model.busy) or self.model.begun
        self.other.layout.display = "none" if not both or self.model.begun else None
        self._offer(both)

    def _offer(self, both: bool) -> None:
        found = self.model.unfinished() if both and not self.model.begun else pd.DataFrame()
        names = list(found["transfer"]) if len(found) else []
        if [getattr(one, "transfer", None) for one in self.earlier.children[1:]] == names:
            return
        children: list[ipw.Widget] = []
        if names:
            children.append(ipw.HTML(html.table(found, "Transfers that were cut off").markup))
        for name in names:
            button = _button(f"Go on with {name}")
            button.transfer = name
            button.on_click(lambda _, name=name: self.guide.work(self.model.pick_up, name))
            children.append(button)
        self.earlier.children = children


class ChoosePage(Page):
    """Both projects, the sessions of the source, and which of them to take."""

    name = "choose"
    columns = ["subject", "session", "modality", "date", "scans", "files", "size_bytes"]

    def build(self) -> list[ipw.Widget]:
        self.project = {}
        for side in SIDES:
            box = ipw.Dropdown(options=[("choose …", "")], description=f"{side.capitalize()} project", style=_WIDE)
            box.observe(lambda change, side=side: self._project(side, change["new"]), "value")
            self.project[side] = box
        self.types = ipw.SelectMultiple(description="Scan types (none: all)", style=_WIDE, rows=4)
        self.types.observe(lambda change: self.guide.safely(self.model.set, scan_types=tuple(change["new"])), "value")
        self.place = ipw.VBox()
        self.details = ipw.HTML()
        self.table: SessionTable | None = None
        self._of: Any = None
        return [ipw.HBox(list(self.project.values())), self.place, self.details, self.types]

    def _project(self, side: str, project: str) -> None:
        if project != self.model.chosen_projects[side]:
            self.guide.work(self.model.choose_project, side, project)

    def refresh(self) -> None:
        for side, box in self.project.items():
            names = [("choose …", ""), *((name, name) for name in self.model.projects[side])]
            chosen = self.model.chosen_projects[side]
            if chosen and chosen not in self.model.projects[side]:
                names.append((chosen, chosen))
            if list(box.options) != names:
                box.options = names
            if box.value != chosen:
                box.value = chosen
            box.disabled = self.model.begun
        listing = self.model.listing
        if listing is not self._of:
            self._of = listing
            self.details.value = ""
            self.table = self._table(listing) if listing is not None else None
            self.place.children = [self.table] if self.table is not None else []
            types = sorted(set(listing.scans["type"]) - {""}) if listing is not None else []
            self.types.options = types
        self.types.layout.display = None if listing is not None else "none"
        self.types.disabled = self.model.begun
        if self.table is not None:
            self.table.locked = self.model.begun
            if self.table.selected != [tuple(key) for key in self.model.selected]:
                self.table.selected = self.model.selected

    def _table(self, listing: Any) -> SessionTable:
        label = f"Sessions of {listing.project}"
        table = SessionTable(listing.sessions, columns=self.columns, selected=self.model.selected, label=label)
        table.on_select(lambda keys: self.guide.safely(self.model.select, keys))
        table.on_current(self._details)
        return table

    def _details(self, key: tuple | None) -> None:
        if key is None:
            return
        columns = ["scan", "type", "series_description", "quality", "files", "size_bytes"]
        found = self.model.details(key)
        scans = self.model.listing.scans
        scans = scans[(scans["subject"] == key[0]) & (scans["session"] == key[1])]
        self.details.value = _details(html.table(scans, f"Scans of {found['key']}", columns))


class ComparePage(Page):
    """How the selected sessions compare, what each meets, and what is decided about it."""

    name = "compare"
    columns = ["subject", "session", "status", "conflict", "decision", "because"]

    def build(self) -> list[ipw.Widget]:
        self.existing = ipw.Dropdown(
            options=EXISTING,
            description="Where the destination has the session",
            style=_WIDE,
            layout=ipw.Layout(width="560px"),
        )
        self.existing.observe(lambda change: self.guide.work(self._existing, change["new"]), "value")
        self.again = ipw.Button(description="Read both projects again")
        self.again.on_click(lambda _: self.guide.work(self.model.compare))
        self.place = ipw.VBox()
        self.details = ipw.HTML()
        self.decision = ipw.Dropdown(options=[("as the rule says", "")], description="Decision", style=_WIDE)
        self.label = ipw.Text(description="New label (empty: the next free one)", style=_WIDE)
        self.decide = ipw.Button(description="Decide")
        self.decide.on_click(lambda _: self.guide.safely(self._decide))
        self.deciding = ipw.HBox([self.decision, self.label, self.decide])
        self.deciding.layout.display = "none"
        self.decision.observe(lambda change: self._ask_label(), "value")
        self.table: SessionTable | None = None
        self._of: Any = None
        return [ipw.HBox([self.existing, self.again]), self.place, self.details, self.deciding]

    def _existing(self, value: str) -> None:
        if value != self.model.option("existing"):
            self.model.set(existing=value)

    def _ask_label(self) -> None:
        self.label.layout.display = None if self.decision.value == "rename" else "none"

    def _decide(self) -> None:
        label = self.label.value.strip() if self.decision.value == "rename" else ""
        self.model.decide(self.table.current, self.decision.value, label)

    def refresh(self) -> None:
        if self.existing.value != self.model.option("existing"):
            self.existing.value = self.model.option("existing")
        self.existing.disabled = self.again.disabled = self.decide.disabled = self.model.begun
        differences = self.model.differences
        if differences is self._of:
            return
        current = self.table.current if self.table is not None else None
        self._of = differences
        if differences is None:
            self.table, self.place.children = None, []
            self.details.value, self.deciding.layout.display = "", "none"
            return
        rows = self.model.compared()
        if self.table is None:
            label = "Selected sessions side by side"
            self.table = SessionTable(rows, columns=self.columns, selectable=False, label=label)
            self.table.on_current(self._details)
            self.place.children = [self.table]
        else:
            self.table.replace(rows)
            if current in set(rows[["subject", "session"]].itertuples(index=False, name=None)):
                self.table.current = current

    def _details(self, key: tuple | None) -> None:
        if key is None:
            self.details.value, self.deciding.layout.display = "", "none"
            return
        found = self.model.details(key)
        columns = ["scan", "status", "because", "files_source", "files_destination", "size_bytes_source"]
        told = html.pairs({"status": found.get("status", ""), "because": found.get("because", "")}, str(found["key"]))
        met = [
            {"it meets": words, "why": why, "without this tool": server} for words, why, server in self.model.met(key)
        ]
        if met:
            told += html.table(met, "At the destination")
        told += html.table(found["scans"], "Scans on both sides", columns)
        self.details.value = _details(told)
        words = [("as the rule says", ""), *((word, word) for word in self.model.choices(key))]
        self.decision.options = words
        self.decision.value = self.model.decisions.get(key, ("", ""))[0]
        self.label.value = self.model.decisions.get(key, ("", ""))[1]
        self._ask_label()
        self.deciding.layout.display = None


class LabelsPage(Page):
    """The labels at the destination: edited in place, by rule, or by a CSV file."""

    name = "labels"

    def build(self) -> list[ipw.Widget]:
        self.rule = ipw.Text(description="Rule", placeholder="session={subject}_{modality}", style=_WIDE)
        self.look = ipw.Button(description="Preview")
        self.use = ipw.Button(description="Use the rule")
        self.file = ipw.Text(description="CSV file", value="labels.csv", style=_WIDE)
        self.write = ipw.Button(description="Write it")
        self.read = ipw.Button(description="Read it")
        self.keep = ipw.Button(description="Keep all labels")
        self.look.on_click(lambda _: self.guide.safely(self._preview))
        self.use.on_click(lambda _: self.guide.safely(self._use))
        self.write.on_click(lambda _: self.guide.safely(self._write))
        self.read.on_click(lambda _: self.guide.safely(self._read))
        self.keep.on_click(lambda _: self.guide.safely(self.model.relabel_all, {}))
        self.preview = ipw.HTML()
        self.place = ipw.VBox()
        self.table: SessionTable | None = None
        self._of: Any = None
        self._mine = False
        return [
            self.place,
            ipw.HBox([self.rule, self.look, self.use]),
            ipw.HBox([self.file, self.write, self.read, self.keep]),
            self.preview,
        ]

    def _preview(self) -> None:
        labels = self.model.by_rule(self.rule.value)
        rows = [
            {"subject": key.subject, "session": key.session, "to_subject": to.subject, "to_session": to.session}
            for key, to in ((key, labels(key)) for key in self.model.selected)
            if key != to
        ]
        columns = ["subject", "session", "to_subject", "to_session"]
        self.preview.value = _details(
            html.table(rows, f"The rule would change {len(rows)} sessions", columns, limit=30)
        )

    def _use(self) -> None:
        self.model.use_rule(self.rule.value)
        self.preview.value = ""

    def _write(self) -> None:
        path = self.model.write_labels(self.file.value)
        self.preview.value = _details(Html(f"<p>The labels are in {html._escape(path)}.</p>", ""))

    def _read(self) -> None:
        self.model.read_labels(self.file.value)
        self.preview.value = ""

    def refresh(self) -> None:
        for one in (self.use, self.read, self.keep):
            one.disabled = self.model.begun
        if self.model.differences is None:
            return
        state = (id(self.model.differences), tuple(sorted(self.model.labels.items())))
        if state == self._of:
            return
        self._of = state
        rows = self.model.label_table()
        old = rows.assign(to_subject=rows["subject"], to_session=rows["session"])
        edits = {
            (key.subject, key.session): {"to_subject": to.subject, "to_session": to.session}
            for key, to in self.model.labels.items()
        }
        self._mine = True
        try:
            if self.table is None:
                titles = {"to_subject": "subject there", "to_session": "session there"}
                columns = ["subject", "session", "to_subject", "to_session", "status", "because"]
                self.table = SessionTable(
                    old,
                    columns=columns,
                    editable=("to_subject", "to_session"),
                    titles=titles,
                    selectable=False,
                    label="Labels at the destination",
                )
                self.table.on_edit(self._edited)
                self.place.children = [self.table]
            elif list(old[["subject", "session"]].itertuples(index=False, name=None)) != self.table._keys:
                self.table.edits = {}
                self.table.replace(old)
            else:
                cells = old[["subject", "session", "status", "because"]].itertuples(index=False, name=None)
                self.table.patch({row[:2]: {"status": row[2], "because": row[3]} for row in cells})
            new = {key: {n: v for n, v in cells.items() if v != key[n == "to_session"]} for key, cells in edits.items()}
            if self.table.edits != new:
                self.table.edits = new
        finally:
            self._mine = False
        self.table.locked = self.model.begun
        self.table.note(self.model.label_notes())

    def _edited(self, edits: Mapping[tuple, Mapping[str, str]]) -> None:
        if not self._mine:
            self.guide.safely(self.model.relabel_all, edits)


class ReviewPage(Page):
    """How the transfer is made, the settings of both projects, and what is worth knowing."""

    name = "review"

    def build(self) -> list[ipw.Widget]:
        wide = ipw.Layout(width="520px")
        self.archive = ipw.Checkbox(
            description="Archive after the comparison in the prearchive", indent=False, layout=ipw.Layout(width="auto")
        )
        self.proof = ipw.Dropdown(options=PROOF, description="Proof", style=_WIDE, layout=wide)
        self.workers = ipw.BoundedIntText(min=1, max=32, description="Scans in flight", style=_WIDE)
        self.reason = ipw.Text(description="Reason, for the record and the server", style=_WIDE, layout=wide)
        self.reason.continuous_update = False
        self.found = ipw.HTML()
        self._of: Any = None
        for name in ("archive", "proof", "workers", "reason"):
            box = getattr(self, name)
            box.observe(lambda change, name=name: self.guide.safely(self._set, name, change["new"]), "value")
        rows = [self.reason, ipw.HBox([self.proof, self.workers]), self.archive]
        return [*rows, self.found]

    def _set(self, name: str, value: Any) -> None:
        if value != self.model.option(name):
            self.model.set(**{name: value})

    def refresh(self) -> None:
        for name in ("archive", "proof", "workers", "reason"):
            box, value = getattr(self, name), self.model.option(name)
            if box.value != value:
                if name == "proof" and value not in [one for _, one in PROOF]:
                    box.options = [*PROOF, (value, value)]
                box.value = value
            box.disabled = self.model.begun
        made = self.model.made
        if made is not self._of:
            self._of = made
            self.found.value = ""
            if made is not None:
                told = html.findings_table(made)
                told += html.settings_table(made.source.settings, made.destination.settings)
                self.found.value = told.markup


class PlanPage(Page):
    """What will be done, session by session."""

    name = "plan"

    def build(self) -> list[ipw.Widget]:
        self.words = ipw.HTML()
        self.place = ipw.VBox()
        self.left = ipw.HTML()
        self._of: Any = None
        return [self.words, self.place, self.left]

    def refresh(self) -> None:
        from .story import plan_words

        made = self.model.made
        if made is self._of:
            return
        self._of = made
        if made is None:
            self.words.value, self.left.value, self.place.children = "", "", []
            return
        self.words.value = html.pairs(plan_words(self.model), "The plan").markup
        rows = made.to_frame()
        there = [
            f"destination_{name}"
            for name in ("subject", "session")
            if not (rows[name] == rows[f"destination_{name}"]).all()
        ]
        columns = ["subject", "session", *there, "action", "files", "size_bytes", "because"]
        self.table = SessionTable(rows, columns=columns, selectable=False, label="The plan")
        self.place.children = [self.table]
        columns = ["subject", "session", "scan", "resource", "files", "size_bytes", "advice"]
        left = html.left_behind(made)
        self.left.value = html.table(left, f"Left behind, that is not carried: {len(left)}", columns, limit=20).markup


class RunPage(Page):
    """The run: how far it is, what it does, and what can be done about it."""

    name = "run"

    def build(self) -> list[ipw.Widget]:
        self.bar = ipw.HTML()
        self.start = ipw.Button(description="▶ Start", button_style="primary")
        self.pause = ipw.Button(description="‖ Pause")
        self.resume = ipw.Button(description="▶ Resume")
        self.cancel = ipw.Button(description="■ Cancel", button_style="danger")
        self.start.on_click(lambda _: self.guide.safely(self.guide.start))
        self.pause.on_click(lambda _: self.guide.safely(self.model.pause))
        self.resume.on_click(lambda _: self.guide.safely(self.model.resume))
        self.cancel.on_click(lambda _: self.guide.safely(self.model.cancel))
        self.place = ipw.VBox()
        self.log = ipw.HTML()
        self.table: SessionTable | None = None
        buttons = ipw.HBox([self.start, self.pause, self.resume, self.cancel])
        return [self.bar, buttons, self.place, self.log]

    def refresh(self) -> None:
        if self.model.made is None:
            return
        if self.table is None:
            rows = [
                {
                    "subject": one.subject,
                    "session": one.session,
                    "state": "planned",
                    "files": one.files,
                    "sent": 0,
                    "size_bytes": 0,
                }
                for one in self.model.made.sessions
                if one.sent_scans
            ]
            columns = ["subject", "session", "state", "files", "sent", "size_bytes"]
            titles = {"sent": "files sent", "size_bytes": "data sent"}
            frame = pd.DataFrame(rows, columns=columns)
            self.table = SessionTable(frame, titles=titles, selectable=False, label="Sessions of the run", height=250)
            self.place.children = [self.table]
        self.tick()
        state = str(self.model.run_state)
        self.start.description = "▶ Start" if state == "ready" else "▶ Go on"
        for button, states in (
            (self.start, ("ready", "cancelled", "failed")),
            (self.pause, ("running",)),
            (self.resume, ("paused",)),
            (self.cancel, ("running", "paused")),
        ):
            button.layout.display = None if state in states else "none"

    def tick(self) -> None:
        """What changes while it runs; called a few times a second."""
        progress = self.model.progress()
        if progress is None or self.table is None:
            total = self.model.made.totals
            words = (
                f"ready: {total['sessions']} sessions, {total['files']} files, {html.size(total['size_bytes'])} to send"
            )
            self.bar.value = f"<p>{words}</p>"
            return
        share = round(100 * progress.share)
        self.bar.value = (
            f'<div class="xnb-bar {progress.state}" role="progressbar" aria-label="Data sent" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{share}"><div style="width:{share}%"></div></div>'
            f"<p>{share} %, {html._escape(progress.sentence())}</p>"
        )
        changes = {
            tuple(key): {"state": state, "sent": files, "size_bytes": count}
            for key, (state, files, count) in progress.sessions.items()
        }
        self.table.patch(changes)
        lines = html._escape("\n".join(progress.log[-10:]))
        self.log.value = f'<div class="xnb-log" role="log" aria-label="What happened">{lines}</div>'


class VerifyPage(Page):
    """The verdicts, and the same once more from the server as it is now."""

    name = "verify"

    def build(self) -> list[ipw.Widget]:
        self.found = ipw.HTML()
        self.place = ipw.VBox()
        self.rest = ipw.HTML()
        self.again = _button("Verify again now")
        self.again.on_click(lambda _: self.guide.work(self.model.verify))
        self._of: Any = None
        return [self.found, self.place, self.rest, self.again]

    def refresh(self) -> None:
        self.again.disabled = bool(self.model.busy) or self.model.record is not None
        result = self.model.outcome()
        if result is self._of:
            return
        self._of = result
        if result is None:
            self.found.value, self.rest.value, self.place.children = "", "", []
            return
        self.found.value = html.verdict_banner(self.model.made, result).markup + _image(pictures.verdicts(result))
        columns = ["subject", "session", "state", "verdict", "files", "different", "not_proved", "extra", "because"]
        table = SessionTable(result.sessions, columns=columns, selectable=False, label="Sessions and verdicts")
        self.place.children = [table]
        self.rest.value = html.files_table(result).markup


class FinishPage(Page):
    """What waits in the prearchive, and archiving it."""

    name = "finish"

    def build(self) -> list[ipw.Widget]:
        self.waiting = ipw.HTML()
        self.archive = _button("Archive them now")
        self.archive.on_click(lambda _: self.guide.work(self.model.archive))
        self.done = ipw.HTML()
        return [self.waiting, self.archive, self.done]

    def refresh(self) -> None:
        rows = self.model.waiting()
        columns = ["subject", "session", "destination_subject", "destination_session", "verdict", "files"]
        empty = "nothing; every session that was sent is in the archive"
        self.waiting.value = html.table(rows, f"Waiting in the prearchive: {len(rows)}", columns, empty=empty).markup
        self.archive.layout.display = None if len(rows) else "none"
        self.archive.disabled = bool(self.model.busy) or self.model.record is not None
        done = self.model.archived
        self.done.value = html.table(done, f"Archived from here: {len(done)}").markup if len(done) else ""


class RecordPage(Page):
    """Sealing the record, and where it lies."""

    name = "record"

    def build(self) -> list[ipw.Widget]:
        self.found = ipw.HTML()
        return [self.found]

    def refresh(self) -> None:
        record = self.model.record
        if record is not None:
            words = f"It lies in {record.parent.name}/{record.name}. Save this notebook, too: what was done is in it."
            self.found.value = html.banner("the record is sealed", words, "#dff3e4", "✓").markup
            return
        result = self.model.outcome()
        told = html.verdict_banner(self.model.made, result) if result is not None else Html("", "")
        folder = self.model.option("record_root")
        words = f"<p>The record goes to <b>{html._escape(folder)}</b>. Sealing it ends the logins.</p>"
        self.found.value = told.markup + words


PAGES: dict[str, type[Page]] = {
    page.name: page
    for page in (
        ConnectPage,
        ChoosePage,
        ComparePage,
        LabelsPage,
        ReviewPage,
        PlanPage,
        RunPage,
        VerifyPage,
        FinishPage,
        RecordPage,
    )
}


def _listed(title: str, sentences: list[str]) -> str:
    items = "".join(f"<li>{html._escape(one)}</li>" for one in sentences[:8])
    more = f"<li>and {len(sentences) - 8} more</li>" if len(sentences) > 8 else ""
    return f'<div class="xnb-blockers" role="status"><b>{html._escape(title)}</b><ul>{items}{more}</ul></div>'


def _button(words: str) -> ipw.Button:
    return ipw.Button(description=words, layout=ipw.Layout(width="auto", align_self="flex-start"))


def _image(picture: pictures.Picture | None) -> str:
    if picture is None:
        return ""
    data = base64.b64encode(picture.png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html._escape(f"{picture.title}: {picture.alt}")}">'


def _details(told: Html) -> str:
    return f'<div class="xnb-details">{told.markup}</div>'
