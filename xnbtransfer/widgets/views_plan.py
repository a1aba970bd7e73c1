"""The pages on which a plan takes shape: labels, review, plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as ipw

from .. import html
from ..html import Html
from ..values import tuples_of
from .page import WIDE, Page, details
from .selection import DEPTH
from .story import plan_words
from .table import SessionTable

FORM = ("archive", "proof", "review", "policy", "waivers", "workers", "reason")
REVIEW = [
    ("no header", "none"),
    ("one file a scan, now", "sample"),
    ("every file, while it is copied", "all"),
]
PROOF = [
    ("read every file back (all)", "all"),
    ("read back before archiving only (prearchive)", "prearchive"),
    ("read three files a scan back (sample:3)", "sample:3"),
    ("compare lists only (listing)", "listing"),
]


class LabelsPage(Page):
    """The labels at the destination: edited in place, by rule, or by a CSV file."""

    name = "labels"

    def build(self) -> list[ipw.Widget]:
        self.rule = ipw.Text(description="Rule", placeholder="session={subject}_{modality}", style=WIDE)
        self.look = ipw.Button(description="Preview")
        self.use = ipw.Button(description="Use the rule")
        self.file = ipw.Text(description="CSV file", value="labels.csv", style=WIDE)
        self.write = ipw.Button(description="Save labels to it")
        self.read = ipw.Button(description="Take labels from it")
        self.keep = ipw.Button(description="Put all labels back")
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
        self.preview.value = details(
            html.table(rows, f"The rule would change {html.many(len(rows), 'session')}", columns, limit=30)
        )

    def _use(self) -> None:
        self.model.use_rule(self.rule.value)
        self.preview.value = ""

    def _write(self) -> None:
        path = self.model.write_labels(self.file.value)
        self.preview.value = details(Html(f"<p>The labels are in {html.escape(path)}.</p>", ""))

    def _read(self) -> None:
        self.model.read_labels(self.file.value)
        self.preview.value = ""

    def refresh(self) -> None:
        for one in (self.use, self.read, self.keep):
            one.disabled = self.locked
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
            elif list(tuples_of(old, "subject", "session")) != self.table._keys:
                self.table.edits = {}
                self.table.replace(old)
            else:
                cells = tuples_of(old, "subject", "session", "status", "because")
                self.table.patch({row[:2]: {"status": row[2], "because": row[3]} for row in cells})
            new = {key: {n: v for n, v in cells.items() if v != key[n == "to_session"]} for key, cells in edits.items()}
            if self.table.edits != new:
                self.table.edits = new
        finally:
            self._mine = False
        self.table.locked = self.locked
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
        self.proof = ipw.Dropdown(options=PROOF, description="Proof", style=WIDE, layout=wide)
        self.review = ipw.Dropdown(options=REVIEW, description="Headers to review", style=WIDE)
        self.waivers = ipw.Text(description="Waivers (YAML file)", style=WIDE)
        self.waivers.continuous_update = False
        self.policy = ipw.Text(description="Policy (YAML file)", style=WIDE)
        self.policy.continuous_update = False
        self.workers = ipw.BoundedIntText(min=1, max=32, description="Scans at one time, each way", style=WIDE)
        self.reason = ipw.Text(description="Reason, for the record and the server", style=WIDE, layout=wide)
        self.reason.continuous_update = False
        self.found = ipw.HTML()
        self._of: Any = None
        for name in FORM:
            box = getattr(self, name)
            box.observe(lambda change, name=name: self._change(name, change["new"]), "value")
        rows = [ipw.HBox([self.reason, self.archive]), ipw.HBox([self.proof, self.workers])]
        rows.append(ipw.HBox([self.review, self.policy, self.waivers]))
        return [*rows, self.found]

    def _change(self, name: str, value: Any) -> None:
        if value != self.model.option(name):
            do = self.guide.work if name in DEPTH else self.guide.safely
            do(self.set, name, value)

    def refresh(self) -> None:
        for name in FORM:
            box, value = getattr(self, name), self.model.option(name)
            if self.news(name, value) and box.value != value:
                if name == "proof" and value not in [one for _, one in PROOF]:
                    box.options = [*PROOF, (value, value)]
                box.value = value
            box.disabled = self.locked
        made = self.model.made
        if made is not self._of:
            self._of = made
            self.found.value = ""
            if made is not None:
                told = html.review_banner(made) + html.findings_table(made) + html.review_table(made)
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
        made = self.model.made
        if made is self._of:
            return
        self._of = made
        if made is None:
            self.words.value, self.left.value, self.place.children = "", "", []
            return
        self.words.value = html.pairs(plan_words(self.model), "The plan").markup
        if warning := self.model.lifetime_warning():
            told = html.banner("longer than this hub lets a server live", warning, html.Tone.WARN, "!")
            self.words.value += told.markup
        rows = made.to_frame()
        there = [
            f"destination_{name}"
            for name in ("subject", "session")
            if not (rows[name] == rows[f"destination_{name}"]).all()
        ]
        columns = ["subject", "session", *there, "action", "files", "size_bytes", "because"]
        self.table = SessionTable(rows, columns=columns, selectable=False, label="The plan")
        self.place.children = [self.table]
        columns = ["subject", "session", "scan", "kind", "resource", "files", "size_bytes", "advice"]
        left = html.left_behind(made)
        self.left.value = html.table(left, f"Left behind, that is not carried: {len(left)}", columns, limit=20).markup
