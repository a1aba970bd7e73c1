"""The core of what a notebook shows: pieces of HTML with their text, and the words for how a run ended.

JupyterLab strips ``<style>`` and SVG from a notebook it does not trust, so what is made here has inline styles and
``bgcolor`` only, and every text is escaped. Values make their cards of it; :mod:`.html` makes the tables.
"""

from __future__ import annotations

import enum
import html
from collections.abc import Mapping
from typing import Any

from .errors import ExitCode
from .printable import printable

CELL = "padding:3px 9px;border:1px solid #d0d7de;text-align:{align};vertical-align:top"
WORDS = {
    ExitCode.PROVED: "all proved",
    ExitCode.ERROR: "error",
    ExitCode.BAD_INPUT: "bad parameters",
    ExitCode.DIFFERENCES: "differences or failed sessions",
    ExitCode.CANNOT_BE_PROVED: "not everything can be proved",
    ExitCode.REFUSED: "refused",
    ExitCode.TRANSIENT: "not complete: run it again",
    ExitCode.NEEDS_A_PERSON: "proved, and something needs a person",
}
NEXT = {
    ExitCode.PROVED: "Nothing needs to be done. Keep the record.",
    ExitCode.DIFFERENCES: "Look at the rows marked 'different' or 'failed' and their reasons; delete nothing at the "
    "source. What is already right is not sent again by another run.",
    ExitCode.NEEDS_A_PERSON: "What was sent is proved. Settle what is named as needing a person (decisions, label map, "
    "prearchive of the destination) and plan again; what is right is not sent again.",
    ExitCode.CANNOT_BE_PROVED: "Delete nothing at the source. Verify again with proof=all, or check the files named "
    "below by hand.",
    ExitCode.REFUSED: "Clear the blockers and run again; what they stop was not sent.",
    ExitCode.TRANSIENT: "Run the same command again: it goes on where it stopped, and what is done is not sent twice.",
}
NEXT_OF_AUDIT = {
    ExitCode.PROVED: "Nothing needs to be done. Keep the record of this audit.",
    ExitCode.DIFFERENCES: "Look at the records that want it: take what was changed or lost from your backup, and ask "
    "who had access; where a server no longer holds what a record says, find out who changed it there.",
    ExitCode.CANNOT_BE_PROVED: "Let the runs that did not end go on, by the same command, and give the credentials of "
    "the servers that could not be asked; then audit again.",
}


class Tone(enum.StrEnum):
    """What a colour says: the background of a banner or a status, and beside it always a word and a symbol."""

    GOOD, INFO, BAD, WARN, QUIET = "#dff3e4", "#e1edfb", "#fbdfdd", "#fdf1d0", "#f0f1f3"


class Html:
    """A piece of HTML with its text: notebooks show the one, plain readers the other.

    Parameters
    ----------
    markup, text : str
        ``markup`` is shown as it is, so whatever came from outside is escaped before. Control characters of both
        become visible, so that no name in a table is a command to a terminal.
    metadata : dict, optional
        Kept with the output in the saved notebook, never shown.
    """

    def __init__(self, markup: str, text: str, metadata: Mapping[str, Any] | None = None) -> None:
        self.markup, self.text, self.metadata = printable(markup), printable(text), dict(metadata or {})

    def _repr_html_(self) -> str:
        return self.markup

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.markup, "text/plain": self.text}, self.metadata

    def __repr__(self) -> str:
        return self.text

    def __add__(self, other: Html) -> Html:
        return Html(
            self.markup + "\n" + other.markup, self.text + "\n\n" + other.text, {**self.metadata, **other.metadata}
        )


class Shown:
    """A value that a notebook shows as its card, and a prompt in one line; a control character in it is visible."""

    def card(self) -> Html:
        """What a notebook shows."""
        raise NotImplementedError

    def line(self) -> str:
        """What a prompt shows."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.card().markup

    def __repr__(self) -> str:
        return printable(f"<{self.line()}>").replace("\n", " ")

    __str__ = __repr__


def size(count: int) -> str:
    """Bytes for people: 1.5 MB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def many(count: int, noun: str) -> str:
    """How many of something: 1 session, 2 sessions."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Seconds for people: 1 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def pairs(rows: Mapping[str, Any], caption: str, metadata: Mapping[str, Any] | None = None) -> Html:
    """Names and values, one a line."""
    style = f"{cell_style(False)};background-color:{Tone.QUIET};color:#1f2328;white-space:nowrap"
    lines = "".join(
        f'<tr><th scope="row" bgcolor="{Tone.QUIET}" style="{style}">{escape(name)}</th>'
        f'<td style="{cell_style(False)};overflow-wrap:anywhere">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    markup = framed(caption, f"<tbody>{lines}</tbody>")
    text = "\n".join([caption, *(f"{name}: {value}" for name, value in rows.items())])
    return Html(markup, text, metadata)


def banner(word: str, sentence: str, colour: str, symbol: str) -> Html:
    """One line that tells how it went, and what to do next."""
    markup = (
        f'<table width="100%" style="border-collapse:collapse;margin:8px 0;width:100%"><tr><td bgcolor="{colour}" '
        f'style="background-color:{colour};color:#1f2328;padding:12px 16px;border:1px solid #d0d7de;text-align:left;'
        'overflow-wrap:anywhere">'
        f'<b style="font-size:120%">{symbol} {escape(word)}</b><br>{escape(sentence)}</td></tr></table>'
    )
    return Html(markup, f"{symbol} {word}\n{sentence}")


def paragraph(text: str) -> Html:
    """A sentence between the tables."""
    return Html(f"<p>{escape(text)}</p>", text)


def look_of(code: ExitCode) -> tuple[str, str]:
    """Colour and symbol of a result."""
    if code == ExitCode.PROVED:
        return Tone.GOOD, "✓"
    symbols = {ExitCode.CANNOT_BE_PROVED: "?", ExitCode.TRANSIENT: "…", ExitCode.NEEDS_A_PERSON: "!"}
    return (Tone.WARN, symbols[code]) if code in symbols else (Tone.BAD, "✗")


def next_step(
    code: ExitCode, states: Mapping[str, int], warnings: int = 0, template: str = "", dry_run: bool = False
) -> str:
    """What to do next, from how it ended, how many sessions ended in which state, and how many warnings stand."""
    if dry_run and code == ExitCode.PROVED:
        return "Review the plan in the record, then run again without --dry-run (in a notebook: dry_run=False)."
    follow = (NEXT_OF_AUDIT if template == "audit" else NEXT).get(code, "")
    if code != ExitCode.PROVED:
        return follow
    if warnings:
        them = "the warning" if warnings == 1 else f"the {warnings} warnings"
        follow = f"Read {them} in the record; have what is named there cleared, or waive the rule. Keep the record."
    if states.get("in prearchive"):
        follow = "The sessions wait in the prearchive of the destination: archive them there. Keep the record."
    if skipped := int(states.get("skipped", 0)) + int(states.get("there already", 0)):
        word = "session was" if skipped == 1 else "sessions were"
        follow = follow.replace("Nothing needs to be done.", "Nothing needs to be done for what was sent.")
        follow += f" {skipped} {word} not sent: the plan says why."
    return follow


def framed(caption: str, rows: str) -> str:
    """A table under its caption, in a box of its own: what is too wide is scrolled there and moves nothing else."""
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:8px 0">'
        f'<caption style="caption-side:top;text-align:left;font-weight:bold;padding:4px 0">{escape(caption)}</caption>'
        f"{rows}</table></div>"
    )


def cell_style(number: bool) -> str:
    """The style of a cell, numbers to the right."""
    return CELL.format(align="right" if number else "left")


def escape(value: Any) -> str:
    """A value as text of a page: nothing of it is markup."""
    return html.escape(str(value), quote=True)
