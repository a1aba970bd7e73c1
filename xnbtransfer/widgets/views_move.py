"""The last page: a copy becomes a move when its source is deleted, on fresh proof and after something was typed."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw

from .. import change_tables, html
from .page import WIDE, Page, button, labels_of, listed
from .story import deletion


class MovePage(Page):
    """What may be deleted at the source, the confirmation, and what became of it."""

    name = "move"

    def build(self) -> list[ipw.Widget]:
        self.sealed = ipw.HTML()
        self.limit = ipw.BoundedIntText(value=10, min=1, max=1000, description="Sessions at most", style=WIDE)
        self.days = ipw.BoundedIntText(min=0, max=3650, description="Days that must have passed", style=WIDE)
        wide = ipw.Layout(width="520px")
        self.abandon = ipw.Text(description="Abandon these resources (labels, by comma)", style=WIDE, layout=wide)
        self.backup = ipw.Text(description="Folder for a backup of each session", style=WIDE, layout=wide)
        self.subjects = ipw.Checkbox(
            description="Delete subjects, too, that are empty then", indent=False, layout=ipw.Layout(width="auto")
        )
        self.look = button("Look at what may be deleted")
        self.look.on_click(lambda _: self.guide.work(self._plan))
        self.planned = ipw.HTML()
        self.confirmation = ipw.Text(style=WIDE, layout=wide)
        self.confirmation.observe(lambda change: self._typed(), "value")
        self.delete = button("Delete them at the source")
        self.delete.button_style = "danger"
        self.delete.on_click(lambda _: self.guide.work(self._delete))
        self.stop = button("■ Stop after this session")
        self.stop.on_click(lambda _: self.guide.safely(self.model.stop_deleting))
        self.asked = ipw.HBox([self.confirmation, self.delete, self.stop])
        self.log = ipw.HTML()
        self.done = ipw.HTML()
        self._of: tuple[Any, ...] = ()
        self.form = ipw.VBox(
            [
                ipw.HBox([self.limit, self.days, self.subjects]),
                ipw.HBox([self.abandon, self.backup]),
                self.look,
            ]
        )
        return [self.sealed, self.form, self.planned, self.asked, self.log, self.done]

    def _plan(self) -> None:
        self.confirmation.value = ""
        self.model.plan_deletion(
            limit=self.limit.value,
            cooling_off_days=self.days.value,
            abandon=labels_of(self.abandon.value),
            backup=self.backup.value.strip(),
            empty_subjects=self.subjects.value,
        )

    def _delete(self) -> None:
        self.model.delete(self.confirmation.value)
        self.confirmation.value = ""

    def _typed(self) -> None:
        made = self.model.deletion
        ready = made is not None and not self.model.busy and self.confirmation.value.strip() == made.confirm
        self.delete.disabled = not (ready and made.confirm and not made.blockers)

    def refresh(self) -> None:
        record, made, busy = self.model.record, self.model.deletion, bool(self.model.busy)
        ended = self.name in self.model.confirmed
        self.form.layout.display = "none" if ended else None
        for one in self.form.children[0].children + self.form.children[1].children + (self.look,):
            one.disabled = busy
        deletes = made is not None and bool(made.confirm) and not made.blockers and not ended
        self.asked.layout.display = None if deletes else "none"
        self.confirmation.disabled = busy
        self.stop.layout.display = None if busy and self.model.heard else "none"
        self.delete.layout.display = "none" if busy else None
        self._typed()
        lines = html.escape("\n".join(self.model.heard[-10:]))
        log = f'<div class="xnb-log" role="log" aria-label="What is deleted">{lines}</div>' if lines else ""
        if self.log.value != log:
            self.log.value = log
        state = (record, made, self.model.deleted)
        if state == self._of or record is None:
            return
        self._of = state
        where = f"It lies in {record.parent.name}/{record.name}."
        words = f"{where} This copy is complete: end here, unless it is to be a move."
        self.sealed.value = html.banner("the record is sealed", words, html.Tone.GOOD, "✓").markup
        self.planned.value = self._told(made) if made is not None else ""
        self.confirmation.description = f"To delete, type: {made.confirm}" if deletes else ""
        rounds = (deletion(one.plan, one.result).markup for one in self.model.deleted)
        self.done.value = "".join(rounds)

    def _told(self, made: Any) -> str:
        told = change_tables.rows_table(made) + change_tables.concerns_table(made)
        shown = told.markup
        if made.blockers:
            shown += listed("Nothing can be deleted now:", list(made.blockers), "failed")
        elif made.confirm:
            words = "Each session is read again on both sides, whole, and deleted only if every file is proved."
            shown += html.banner("what is deleted is gone", words, html.Tone.WARN, "!").markup
        else:
            words = "No session may be deleted; the reasons stand beside each."
            shown += html.banner("nothing to delete", words, html.Tone.QUIET, "–").markup
        return shown
