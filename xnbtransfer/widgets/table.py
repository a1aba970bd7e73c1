"""The session table: thousands of rows to look through, choose from and edit, in any notebook front end, offline.

One plain ES module, no framework. All state is in traits, so a page that is reloaded shows what it showed before. What
a person types never overwrites what the frame held: edits lie beside it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets

from ..html import _HEADINGS, STATUS, Html, Tone, table
from ..values import tuples_of

_HERE = Path(__file__).parent
_FOLD = 200  # live changes that travel one by one before the whole table is sent again

# word -> tone; the colours of a tone are those of the theme, in table.css
_TONES: dict[str, str] = {tone: tone.name.lower() for tone in Tone}
_MORE = {"sending": ("↑", "info"), "compared": ("≈", "info"), "planned": ("…", "quiet"), "warning": ("!", "warn")}
PALETTE = [
    *([word, symbol, _TONES[colour]] for word, (symbol, colour) in STATUS.items() if word not in _MORE),
    *([word, symbol, tone] for word, (symbol, tone) in _MORE.items()),
]


class SessionTable(anywidget.AnyWidget):
    """A frame as a table with selection, filters, sorting, status colours and cells that can be edited.

    Parameters
    ----------
    frame : DataFrame
        One row per session; ``key`` names it, other columns are shown in their order.
    key : sequence of str
        Columns that together are unique.
    columns : sequence of str, optional
        What is shown; without it all columns.
    editable : sequence of str
        Columns whose cells can be typed over. A word is added to their title.
    selected : iterable of keys
        What is selected at the start.
    selectable : bool
        Whether there are boxes to tick.
    label : str
        What the table is, for screen readers.
    titles : mapping, optional
        Headings that differ from the column's name.
    height : int
        Of the scrolled part, in pixels.

    Notes
    -----
    ``selected`` are keys, never positions. ``edits`` holds what was typed, ``rows`` the frame with it. ``current`` is
    the key of the row whose details are asked for.
    """

    _esm = _HERE / "table.js"
    _css = _HERE / "table.css"

    _data = traitlets.Bytes().tag(sync=True)
    _columns = traitlets.List().tag(sync=True)
    _palette: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    # what a browser sends is a memoryview, which Bytes alone refuses without a word
    _selected = traitlets.Bytes().tag(sync=True, from_json=lambda value, widget: bytes(value))
    _edits = traitlets.Dict().tag(sync=True)
    _notes = traitlets.Dict().tag(sync=True)
    _patch = traitlets.Dict().tag(sync=True)
    _current = traitlets.Int(-1).tag(sync=True)
    _view = traitlets.Dict().tag(sync=True)
    _selectable = traitlets.Bool(True).tag(sync=True)
    _locked = traitlets.Bool(False).tag(sync=True)
    _label = traitlets.Unicode("Sessions").tag(sync=True)
    _height = traitlets.Int(380).tag(sync=True)

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        key: Sequence[str] = ("subject", "session"),
        columns: Sequence[str] | None = None,
        editable: Sequence[str] = (),
        selected: Iterable[tuple] = (),
        selectable: bool = True,
        label: str = "Sessions",
        titles: Mapping[str, str] | None = None,
        height: int = 380,
    ) -> None:
        self.key = tuple(key)
        self._shown = list(columns) if columns is not None else list(frame.columns)
        self._editable, self._titles = tuple(editable), dict(titles or {})
        self._take(frame)
        super().__init__(
            _data=self._packed(),
            _columns=self._described(),
            _palette=PALETTE,
            _selected=self._bits(selected),
            _selectable=selectable,
            _label=label,
            _height=height,
        )

    def _take(self, frame: pd.DataFrame) -> None:
        self.frame = frame.reset_index(drop=True)
        keys = list(tuples_of(self.frame, *self.key))
        self._keys = keys
        self._at = {one: row for row, one in enumerate(keys)}
        if len(self._at) != len(keys):
            raise ValueError(f"{len(keys) - len(self._at)} rows have the key of another: {', '.join(self.key)}.")

    def _packed(self) -> bytes:
        columns = {name: [_plain(value) for value in self.frame[name].tolist()] for name in self._shown}
        return gzip.compress(json.dumps({"rows": len(self.frame), "columns": columns}).encode(), 5, mtime=0)

    def _described(self) -> list[dict[str, Any]]:
        found = []
        for name in self._shown:
            values = self.frame[name]
            kind = "text"
            if name.startswith("size_bytes"):
                kind = "size"
            elif pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
                kind = "number"
            elif name in ("status", "state", "action", "verdict", "severity"):
                kind = "status"
            title = self._titles.get(name) or _HEADINGS.get(name, name.replace("_", " "))
            longest = max((len(str(value)) for value in values), default=0) if kind == "text" else 8
            longest = min(longest, {"because": 52, "record": 58}.get(name, 30))
            width = max(len(title) + 2, longest, (24 if name == "verdict" else 15) if kind == "status" else 6)
            found.append(
                {"name": name, "title": title, "kind": kind, "editable": name in self._editable, "width": width}
            )
        return found

    def _bits(self, keys: Iterable[tuple]) -> bytes:
        bits = bytearray((len(self._keys) + 7) // 8)
        for key in keys:
            row = self._at[tuple(key)]
            bits[row >> 3] |= 1 << (row & 7)
        return bytes(bits)

    @property
    def selected(self) -> list[tuple]:
        """Keys of the selected rows, in the order of the frame."""
        bits = self._selected
        return [key for row, key in enumerate(self._keys) if row >> 3 < len(bits) and bits[row >> 3] >> (row & 7) & 1]

    @selected.setter
    def selected(self, keys: Iterable[tuple]) -> None:
        self._selected = self._bits(keys)

    @property
    def edits(self) -> dict[tuple, dict[str, str]]:
        """What was typed, by key and column, where it differs from the frame."""
        found = {}
        for row, cells in sorted(self._edits.items(), key=lambda item: int(item[0])):
            old = self.frame.iloc[int(row)]
            new = {name: value for name, value in cells.items() if name in self._editable and value != old[name]}
            if new:
                found[self._keys[int(row)]] = new
        return found

    @edits.setter
    def edits(self, edits: Mapping[tuple, Mapping[str, str]]) -> None:
        self._edits = {str(self._at[tuple(key)]): dict(cells) for key, cells in edits.items()}

    @property
    def rows(self) -> pd.DataFrame:
        """The frame with the edits in it."""
        found = self.frame.copy()
        for key, cells in self.edits.items():
            for name, value in cells.items():
                found.at[self._at[key], name] = value
        return found

    @property
    def current(self) -> tuple | None:
        """Key of the row whose details are asked for."""
        return self._keys[self._current] if 0 <= self._current < len(self._keys) else None

    @current.setter
    def current(self, key: tuple | None) -> None:
        self._current = -1 if key is None else self._at[tuple(key)]

    @property
    def locked(self) -> bool:
        """Whether selection and edits are closed."""
        return self._locked

    @locked.setter
    def locked(self, value: bool) -> None:
        self._locked = bool(value)

    def note(self, notes: Mapping[tuple, Mapping[str, str]]) -> None:
        """Put a sentence to cells, by key and column; it replaces all earlier ones."""
        self._notes = {str(self._at[tuple(key)]): dict(cells) for key, cells in notes.items() if tuple(key) in self._at}

    def patch(self, changes: Mapping[tuple, Mapping[str, Any]]) -> None:
        """Change cells of rows, by key and column, without sending the whole table."""
        overlay = {row: dict(cells) for row, cells in self._patch.items()}
        for key, cells in changes.items():
            row = self._at.get(tuple(key))
            if row is None:
                continue
            new = {name: value for name, value in cells.items() if self.frame.at[row, name] != value}
            for name, value in new.items():
                self.frame.at[row, name] = value
            if new:
                overlay.setdefault(str(row), {}).update({name: _plain(value) for name, value in new.items()})
        if len(overlay) > _FOLD:
            with self.hold_sync():
                self._data, self._patch = self._packed(), {}
        elif overlay != self._patch:
            self._patch = overlay

    def replace(self, frame: pd.DataFrame, selected: Iterable[tuple] | None = None) -> None:
        """Show another frame with the same columns; selected rows that are still there stay selected."""
        kept = self.selected if selected is None else list(selected)
        edits = self.edits
        self._take(frame)
        with self.hold_sync():
            self._patch, self._notes, self._current = {}, {}, -1
            self._columns, self._data = self._described(), self._packed()
            self._selected = self._bits(key for key in kept if tuple(key) in self._at)
            self.edits = {key: cells for key, cells in edits.items() if key in self._at}

    def on_select(self, listener: Callable[[list[tuple]], None]) -> None:
        """Have ``listener`` called with the selected keys when they change."""
        self.observe(lambda change: listener(self.selected), "_selected")

    def on_edit(self, listener: Callable[[dict[tuple, dict[str, str]]], None]) -> None:
        """Have ``listener`` called with all edits when one is made."""
        self.observe(lambda change: listener(self.edits), "_edits")

    def on_current(self, listener: Callable[[tuple | None], None]) -> None:
        """Have ``listener`` called with the key of the row whose details are asked for."""
        self.observe(lambda change: listener(self.current), "_current")

    def static(self, title: str = "", full: str = "") -> Html:
        """The same as a plain table, for the saved notebook."""
        return table(self.rows, title or self._label, self._shown, full=full)


def _plain(value: Any) -> Any:
    """A cell as JSON has it: numbers as numbers, yes and no as words, all else as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | str):
        return value
    return "" if value is None else str(value)
