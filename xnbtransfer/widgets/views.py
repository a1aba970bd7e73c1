"""The pages before the comparison is confirmed: connect, choose, compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as ipw
import pandas as pd

from .. import html
from ..doctor import table_of
from ..values import tuples_of
from .forms import Login
from .page import WIDE, Page, button, details, labels_of
from .selection import SIDES
from .table import SessionTable

EXISTING = [
    ("leave it alone (skip)", "skip"),
    ("stop: nothing is run until it is settled", "stop"),
    ("add the scans that are missing there (merge)", "merge"),
    ("send all scans again (replace)", "replace"),
    ("give the session another label (rename)", "rename"),
]


class ConnectPage(Page):
    """Who is logged in where, the form, how the servers answer, and what was cut off earlier."""

    name = "connect"

    def build(self) -> list[ipw.Widget]:
        self.who = ipw.HTML()
        self.form = Login(_sides={})
        self.other = button("Log in as somebody else")
        self.form.on_login(lambda sides: self.guide.work(self._connect, sides))
        self.other.on_click(lambda _: self._toggle())
        self.look = button("Look at how the servers answer")
        self.look.tooltip = "Asks once for everything that a transfer will read, and writes nothing"
        self.look.on_click(lambda _: self.guide.work(self.model.examine))
        self.looked = ipw.HTML()
        self.earlier = ipw.VBox()
        self._open = False
        return [self.who, self.form, self.other, self.look, self.looked, self.earlier]

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
        self.look.layout.display = None if connected and not self.model.begun else "none"
        self.look.disabled = bool(self.model.busy)
        self.looked.value = "".join(
            f"<h3>{side.capitalize()}</h3>{table_of(self.model.examined[side], connected[side].version()).markup}"
            for side in SIDES
            if side in connected and self.model.examined.get(side)
        )
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
            one = button(f"Go on with {name}")
            one.transfer = name
            one.on_click(lambda _, name=name: self.guide.work(self.model.pick_up, name))
            children.append(one)
        self.earlier.children = children


class ChoosePage(Page):
    """Both projects, the sessions of the source, and which of them to take."""

    name = "choose"
    columns = ["subject", "session", "modality", "date", "scans", "files", "size_bytes"]

    def build(self) -> list[ipw.Widget]:
        self.project = {}
        for side in SIDES:
            box = ipw.Dropdown(options=[("choose …", "")], description=f"{side.capitalize()} project", style=WIDE)
            box.observe(lambda change, side=side: self._project(side, change["new"]), "value")
            self.project[side] = box
        self.types = ipw.SelectMultiple(description="Only scans of these types (none marked: all)", style=WIDE, rows=4)
        self.types.observe(lambda change: self.guide.safely(self.set, "scan_types", tuple(change["new"])), "value")
        self.resources = ipw.Text(
            description="Also carry these resources (labels, by comma; * for all)",
            placeholder="none: pipelines are better run again there",
            style=WIDE,
            layout=ipw.Layout(width="680px"),
        )
        self.resources.continuous_update = False
        self.resources.observe(lambda change: self.guide.safely(self._resources, change["new"]), "value")
        self.other = ipw.HTML()
        self.place = ipw.VBox()
        self.details = ipw.HTML()
        self.table: SessionTable | None = None
        self._of: Any = None
        projects = ipw.HBox(list(self.project.values()))
        return [projects, self.other, self.place, self.details, ipw.HBox([self.types, self.resources])]

    def _resources(self, text: str) -> None:
        self.set("resources", labels_of(text))

    def _project(self, side: str, project: str) -> None:
        if project != self.model.chosen_projects[side]:
            self.guide.work(self._choose, side, project)

    def _choose(self, side: str, project: str) -> None:
        try:
            self.model.choose_project(side, project)
        finally:
            if self.model.chosen_projects[side] != project:
                self._heard.pop(side, None)

    def refresh(self) -> None:
        for side, box in self.project.items():
            names = [("choose …", ""), *((name, name) for name in self.model.projects[side])]
            chosen = self.model.chosen_projects[side]
            if chosen and chosen not in self.model.projects[side]:
                names.append((chosen, chosen))
            if self.news(side, (chosen, names)):
                if list(box.options) != names:
                    box.options = names
                if box.value != chosen:
                    box.value = chosen
            box.disabled = self.locked
        listing = self.model.listing
        if listing is not self._of:
            self._of = listing
            self.details.value = ""
            self.table = self._table(listing) if listing is not None else None
            self.place.children = [self.table] if self.table is not None else []
            types = sorted(set(listing.scans["type"]) - {""}) if listing is not None else []
            self.types.options = types
        for one in (self.types, self.resources):
            one.layout.display = None if listing is not None else "none"
            one.disabled = self.locked
        carried = self.model.option("resources")
        if self.news("resources", carried) and labels_of(self.resources.value) != carried:
            self.resources.value = ", ".join(carried)
        told = "".join(f"<p>{html.escape(one)}</p>" for one in self.model.other_ways())
        if self.other.value != told:
            self.other.value = told
        if self.table is not None:
            self.table.locked = self.locked
            keys = [tuple(key) for key in self.model.selected]
            if self.news("selected", keys) and self.table.selected != keys:
                self.table.selected = keys

    def _table(self, listing: Any) -> SessionTable:
        label = f"Sessions of {listing.project}"
        table = SessionTable(listing.sessions, columns=self.columns, selected=self.model.selected, label=label)
        table.on_select(lambda keys: self.guide.safely(self._select, keys))
        table.on_current(self._details)
        return table

    def _select(self, keys: list[tuple]) -> None:
        try:
            self.model.select(keys)
        finally:
            if self.table.selected != [tuple(key) for key in self.model.selected]:
                self._heard.pop("selected", None)

    def _details(self, key: tuple | None) -> None:
        if key is None:
            return
        columns = ["scan", "type", "series_description", "quality", "files", "size_bytes"]
        found = self.model.details(key)
        scans = self.model.listing.scans
        scans = scans[(scans["subject"] == key[0]) & (scans["session"] == key[1])]
        self.details.value = details(html.table(scans, f"Scans of {found['key']}", columns))


class ComparePage(Page):
    """How the selected sessions compare, what each meets, and what is decided about it."""

    name = "compare"
    columns = ["subject", "session", "status", "conflict", "decision", "because"]

    def build(self) -> list[ipw.Widget]:
        self.existing = ipw.Dropdown(
            options=EXISTING,
            description="Where the destination has the session",
            style=WIDE,
            layout=ipw.Layout(width="560px"),
        )
        self.existing.observe(lambda change: self.guide.work(self._existing, change["new"]), "value")
        self.again = ipw.Button(description="Read both projects again")
        self.again.on_click(lambda _: self.guide.work(self.model.compare))
        self.place = ipw.VBox()
        self.details = ipw.HTML()
        self.decision = ipw.Dropdown(options=[("as the rule says", "")], description="Decision", style=WIDE)
        self.label = ipw.Text(description="New label (empty: the next free one)", style=WIDE)
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
            self.set("existing", value)

    def _ask_label(self) -> None:
        self.label.layout.display = None if self.decision.value == "rename" else "none"

    def _decide(self) -> None:
        label = self.label.value.strip() if self.decision.value == "rename" else ""
        self.model.decide(self.table.current, self.decision.value, label)

    def refresh(self) -> None:
        existing = self.model.option("existing")
        if self.news("existing", existing) and self.existing.value != existing:
            self.existing.value = existing
        self.existing.disabled = self.again.disabled = self.decide.disabled = self.locked
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
            if current in set(tuples_of(rows, "subject", "session")):
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
        self.details.value = details(told)
        words = [("as the rule says", ""), *((word, word) for word in self.model.choices(key))]
        self.decision.options = words
        self.decision.value = self.model.decisions.get(key, ("", ""))[0]
        self.label.value = self.model.decisions.get(key, ("", ""))[1]
        self._ask_label()
        self.deciding.layout.display = None
