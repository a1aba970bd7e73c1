"""Static twins of the plans of changes: what would be done with each item, what came of it, what waits and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from . import html
from .errors import ExitCode
from .html import NEXT, WORDS, Html, Tone, banner, look_of, many, pairs, size, table
from .values import Result

_WHAT = {
    "share": "Shares",
    "unshare": "Shares to take back",
    "move": "Moves",
    "prearchive": "The prearchive",
    "finish-move": "Deletions at the source",
}


def review_table(found: pd.DataFrame, project: str) -> Html:
    """What waits in a prearchive, and the way out for each row."""
    columns = ["subject", "session", "status", "kind", "scans", "files", "size_bytes", "idle", "conflict", "way_out"]
    shown = found.assign(idle=[_idle(minutes) for minutes in found["idle_minutes"]])
    kinds = found["kind"].value_counts()
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    title = f"In the prearchive of {project}: {len(found)}" + (f" ({words})" if words else "")
    return table(shown, title, columns, full="prearchive.csv", of=found, empty="nothing waits")


def _idle(minutes: int) -> str:
    if minutes < 0:
        return "not known"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def change_table(plan: Any) -> Html:
    """What would be done, one row per item, in order, and how to confirm what cannot be undone."""
    shown = rows_table(plan)
    if plan.confirm and plan.acting:
        shown += banner(
            "this cannot be undone",
            f"To carry it out, set confirm to {plan.confirm!r}: the project and the number of sessions deleted.",
            Tone.WARN,
            "!",
        )
    return shown


def rows_table(plan: Any) -> Html:
    """What would be done, one row per item, in order."""
    frame = plan.to_frame()
    total = plan.totals
    title = (
        f"{_WHAT[plan.kind]}: {many(total['sessions'], 'session')} and {many(total['subjects'], 'subject')} of "
        f"{many(len(frame), 'row')}, {many(total['files'], 'file')}, {size(total['size_bytes'])}"
    )
    if plan.also_written:
        title += f". {' '.join(plan.also_written)}"
    columns = ["subject", "session", *html._other_labels(frame), "action", "steps", "conflict", "files", "because"]
    return table(frame, title, columns, full="plan.csv", empty="nothing is asked for")


def concerns_table(plan: Any) -> Html:
    """What is worth knowing before the start, what blocks first."""
    order = {"blocking": 0, "warning": 1, "note": 2}
    rows = [
        one.model_dump() | {"where": one.where} for one in sorted(plan.findings, key=lambda one: order[one.severity])
    ]
    columns = ["severity", "rule", "where", "sentence", "remedy"]
    return table(rows, f"To know before the start: {len(rows)}", columns, limit=1000)


def linked_table(plan: Any) -> Html:
    """The earlier record that a plan takes up."""
    names = {"record": "record of the copy", "plan": "fingerprint of its plan", "bag": "SHA-256 of its bag's manifest"}
    return pairs({names.get(name, name): value for name, value in plan.of_record.items()}, "Takes up")


def change_banner(plan: Any, result: Result | None) -> Html:
    """How it went in one line, and what to do next."""
    if result is None:
        if plan.blockers:
            return banner("blockers", f"{' '.join(plan.blockers)} {NEXT[ExitCode.REFUSED]}", Tone.BAD, "✗")
        if not plan.acting:
            sentence = "No row of the plan asks for a change. The reasons stand beside it."
            return banner("nothing to do", sentence, Tone.QUIET, "–")
        sentence = "Nothing was changed. Review the plan, then run again with dry_run=False"
        sentence += f" and confirm={plan.confirm!r}." if plan.confirm else "."
        return banner("dry run: this is the plan", sentence, Tone.INFO, "i")
    code = ExitCode(result.exit_code)
    states: Mapping[str, int] = result.sessions["state"].value_counts()
    done = ", ".join(f"{count} {state}" for state, count in states.items()) or "nothing was asked for"
    counts = ", ".join(f"{n} {word}" for word, n in result.counts.items() if n)
    sentence = f"{done.capitalize()}. Files: {counts}." if counts else f"{done.capitalize()}."
    sentence += "".join(f" {message}" for message in result.messages)
    colour, symbol = look_of(code)
    word = "done, and confirmed by a fresh look" if code == ExitCode.PROVED else WORDS[code]
    return banner(word, f"{sentence} Next: {NEXT.get(code, 'Read the reasons below.')}", colour, symbol)


def change_verdict(plan: Any, result: Result | None) -> Html:
    """The banner, then what became of each item and of its files."""
    shown = change_banner(plan, result)
    if result is None:
        return shown
    columns = ["subject", "session", *html._other_labels(result.sessions), "action", "state", "verdict", "files"]
    columns += ["equal", "explained", "different", "not_proved", "because"]
    shown += table(result.sessions, "What became of each", columns, full="sessions.csv")
    return shown + html.files_table(result) if len(result.files) else shown
