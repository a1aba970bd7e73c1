"""The pages of the run and after it: run, verify, archive, record."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import pandas as pd

from .. import html, pictures
from ..html import Html
from .page import Page, button, image
from .story import archived_words
from .table import SessionTable


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
        for one, states in (
            (self.start, ("ready", "cancelled", "failed")),
            (self.pause, ("running",)),
            (self.resume, ("paused",)),
            (self.cancel, ("running", "paused")),
        ):
            one.layout.display = None if state in states else "none"

    def tick(self) -> None:
        """What changes while it runs; called a few times a second."""
        progress = self.model.progress()
        if progress is None or self.table is None:
            total = self.model.made.totals
            words = f"ready: {html.many(total['sessions'], 'session')}, {html.many(total['files'], 'file')}, "
            words += f"{html.size(total['size_bytes'])} to send"
            if self.model.workspace is not None and self.model.workspace.resumed:
                words += "; what was sent before is not sent again"
            self.bar.value = f"<p>{words}</p>"
            return
        share = round(100 * progress.share)
        self.bar.value = (
            f'<div class="xnb-bar {progress.state}" role="progressbar" aria-label="Data sent" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{share}"><div style="width:{share}%"></div></div>'
            f"<p>{share} %, {html.escape(progress.sentence())}</p>"
        )
        changes = {
            tuple(key): {"state": state, "sent": files, "size_bytes": count}
            for key, (state, files, count) in progress.sessions.items()
        }
        self.table.patch(changes)
        lines = html.escape("\n".join(progress.log[-10:]))
        self.log.value = f'<div class="xnb-log" role="log" aria-label="What happened">{lines}</div>'


class VerifyPage(Page):
    """The verdicts, and the same once more from the server as it is now."""

    name = "verify"

    def build(self) -> list[ipw.Widget]:
        self.found = ipw.HTML()
        self.place = ipw.VBox()
        self.rest = ipw.HTML()
        self.again = button("Verify again now")
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
        self.found.value = html.verdict_banner(self.model.made, result).markup + image(pictures.verdicts(result))
        columns = ["subject", "session", "state", "verdict", "files", "different", "not_proved", "extra", "because"]
        table = SessionTable(result.sessions, columns=columns, selectable=False, label="Sessions and verdicts")
        self.place.children = [table]
        self.rest.value = html.files_table(result).markup


class FinishPage(Page):
    """What waits in the prearchive, and archiving it."""

    name = "finish"

    def build(self) -> list[ipw.Widget]:
        self.waiting = ipw.HTML()
        self.archive = button("Archive them now")
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
        self.done.value = html.table(done, archived_words(done)).markup if len(done) else ""


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
            self.found.value = html.banner("the record is sealed", words, html.Tone.GOOD, "✓").markup
            return
        result = self.model.outcome()
        told = html.verdict_banner(self.model.made, result) if result is not None else Html("", "")
        folder = self.model.option("record_root")
        words = f"<p>The record goes to <b>{html.escape(folder)}</b>. After that a copy can be made a move.</p>"
        self.found.value = told.markup + words
