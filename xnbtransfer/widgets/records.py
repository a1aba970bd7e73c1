"""The records of a folder: what was transferred, when, by whom, with what result; search them, open one, verify one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from .. import html
from ..errors import ExitCode, InputError, XnbTransferError
from ..record import Record, list_records, open_record
from ..values import Result
from ..verify import verify
from ..xnat import connect
from .forms import Styles
from .page import button
from .selection import default_record_root
from .still import Still
from .table import SessionTable

COLUMNS = ["record", "state", "result", "source", "destination", "user", "files"]


class RecordShelf:
    """The records below one folder. It knows no widget.

    Parameters
    ----------
    root : str
        The folder; without it the one that guided transfers write to.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root or default_record_root()
        self.rows = pd.DataFrame(columns=COLUMNS)
        self.read()

    def read(self) -> pd.DataFrame:
        """Read the folder again; the newest first. A folder that is not there yet holds none."""
        try:
            self.rows = list_records(self.root)
        except InputError:
            self.rows = pd.DataFrame(columns=[*COLUMNS, "made_at", "template", "exit_code"])
        return self.rows

    def search(self, text: str) -> pd.DataFrame:
        """The records in which every word of ``text`` occurs, in any column."""
        rows = self.rows
        joined = rows.astype(str).agg(" ".join, axis=1).str.casefold() if len(rows) else pd.Series(dtype=str)
        keep = pd.Series(True, index=rows.index)
        for word in text.casefold().split():
            keep &= joined.str.contains(word, regex=False)
        return rows[keep].reset_index(drop=True)

    def open(self, name: str) -> Record:
        """One record, checked offline: every digest, nothing added, nothing lost.

        Raises
        ------
        InputError
            If it is not sealed, or was changed after it was.
        """
        return open_record(Path(self.root) / name)

    def tell(self, name: str) -> html.Html:
        """What a record says of itself, after it was checked."""
        found = self.open(name)
        told = html.pairs(self._words(found), f"Record {name}")
        path = found.page.relative_to(found.path)
        told += html.paragraph(f"Read {path} in its folder.")
        if (found.data / "sessions.csv").exists():
            columns = ["subject", "session", "state", "verdict", "files", "different", "not_proved", "because"]
            told += html.table(found.table("sessions"), "Sessions", columns, limit=60)
        return told

    def _words(self, found: Record) -> dict[str, Any]:
        summary = found.summary
        sides = {side: summary[side] for side in ("source", "destination") if summary.get(side)}
        return {
            "checked": "every file of it is as it was sealed",
            "closed": summary["closed_at"],
            **{side: f"{one['project']} on {one['server']}, by {one['user']}" for side, one in sides.items()},
            "result": f"{summary['result']} (exit code {summary['exit_code']})",
            "files by verdict": ", ".join(f"{n} {word}" for word, n in summary.get("verdicts", {}).items()) or "none",
            "reason": summary.get("reason") or "(none given)",
            "next": html.NEXT.get(ExitCode(summary["exit_code"]), ""),
        }

    def verify(self, name: str, **login: str) -> Result:
        """Prove again what the destination of a record holds today, by reading it back.

        ``login`` may hold ``server``, ``user`` and ``password`` of the destination.
        """
        found = self.open(name)
        made = found.plan()
        server = login.pop("server", "") or made.destination.server
        with connect("destination", server, prompt=False, **login) as destination:
            return verify(made, found.journal, destination, proof="all")


class Records(ipywidgets.VBox):
    """The view of a :class:`RecordShelf`: a table with filters, the chosen record, and a button to verify it."""

    def __init__(self, root: str = "") -> None:
        self.shelf = RecordShelf(root)
        self.table = SessionTable(
            self.shelf.rows,
            key=("record",),
            columns=COLUMNS,
            selectable=False,
            label="Records",
            height=260,
        )
        self._told = ipywidgets.HTML()
        self._again = button("Read the folder again")
        self._verify = button("Verify at the destination")
        self._verify.disabled = True
        self._busy = False
        self.table.on_current(lambda key: self._do(self._open))
        self._again.on_click(lambda _: self._do(self._read))
        self._verify.on_click(lambda _: self._do(self._prove))
        folder = ipywidgets.HTML(f"<p>Records in <b>{html.escape(self.shelf.root)}</b>; choose one to open it.</p>")
        super().__init__([Styles(), folder, self.table, ipywidgets.HBox([self._again, self._verify]), self._told])
        self.add_class("xnb-guide")

    def _ipython_display_(self) -> None:
        rows = html.table(self.shelf.rows, f"Records: {len(self.shelf.rows)}", COLUMNS, empty="none", limit=200)
        Still(self, rows)

    def _do(self, act: Callable[[], None]) -> None:
        """In a thread, since reading and proving take time; one at a time."""
        if self._busy:
            return
        self._busy = True

        def work() -> None:
            try:
                act()
            except XnbTransferError as problem:
                self._told.value = html.banner("not read", str(problem), html.Tone.BAD, "✗").markup
            except Exception as problem:
                text = f"Unexpected {type(problem).__name__}: {problem}"
                self._told.value = html.banner("not read", text, html.Tone.BAD, "✗").markup
            finally:
                self._busy = False

        threading.Thread(target=work, name="xnbtransfer-records", daemon=True).start()

    def _read(self) -> None:
        self.table.replace(self.shelf.read())

    def _open(self) -> None:
        self._verify.disabled = True
        if self.table.current is None:
            self._told.value = ""
            return
        self._told.value = self.shelf.tell(self.table.current[0]).markup
        self._verify.disabled = not (self.shelf.open(self.table.current[0]).data / "plan.json").exists()

    def _prove(self) -> None:
        name = self.table.current[0]
        self._told.value = "<p>Reading the destination back …</p>"
        result = self.shelf.verify(name)
        made = self.shelf.open(name).plan()
        self._told.value = (html.verdict_banner(made, result) + html.verdict_table(result)).markup
