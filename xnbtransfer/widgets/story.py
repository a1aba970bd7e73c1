"""What each step of a guided transfer tells in the saved notebook: plain tables and PNG, no widget, no script."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from .. import change_tables, html, pictures
from ..changes import ChangePlan
from ..html import Html, paragraph
from ..pictures import Picture
from ..record import versions
from ..values import Result, tuples_of
from .models import GuidedTransfer
from .steps import BY_NAME, NAMES

ROWS = 60  # a table of the story; the whole ones are CSV files of the record

Chapter = list[Html | Picture]


def chapter(transfer: GuidedTransfer, name: str) -> Chapter:
    """One step as it was confirmed; what is not confirmed says so."""
    head = heading(f"{NAMES.index(name) + 1}. {BY_NAME[name].title}")
    done = name in transfer.confirmed or (name == "run" and transfer.begun) or (name == "record" and transfer.record)
    done = done or (name == "move" and transfer.deleted)
    if not done:
        return [head + paragraph("Not confirmed yet.")]
    parts = [part for part in _TELL[name](transfer) if part is not None]
    told: Chapter = [head]
    for part in parts:
        if isinstance(part, Picture):
            told += [part, part.caption()]
        elif isinstance(told[-1], Html):
            told[-1] = told[-1] + part
        else:
            told.append(part)
    return told


def heading(text: str) -> Html:
    """A heading between the tables."""
    return Html(f"<h3>{html.escape(text)}</h3>", f"\n{text}\n")


def short(rows: pd.DataFrame, caption: str, columns: list[str], full: str = "", limit: int = ROWS) -> Html:
    """A table of at most so many rows; which they are is for the caller to arrange."""
    shown = html.table(rows.head(limit), caption, columns, limit=10 * limit)
    if len(rows) > limit:
        more = f"{len(rows) - limit} of {len(rows)} rows are not shown here."
        shown += paragraph(f"{more} All are in {full}, SHA-256 {html.digest(rows)}." if full else more)
    return shown


def _connect(transfer: GuidedTransfer) -> list[Any]:
    rows: dict[str, Any] = {}
    for side, connection in transfer.connections.items():
        rows[side] = f"{connection.server} (XNAT {connection.version() or 'of an unknown version'})"
        rows[f"user at the {side}"] = connection.user
    rows["made with"] = ", ".join(f"{name} {version}" for name, version in versions().items())
    return [html.pairs(rows, "Who, from where, to where")]


def _choose(transfer: GuidedTransfer) -> list[Any]:
    if transfer.listing is None:
        return [_picked_up(transfer)]
    rows = transfer.listing.sessions
    chosen = set(transfer.selected)
    mask = [key in chosen for key in tuples_of(rows, "subject", "session")]
    rows = rows[pd.Series(mask, index=rows.index, dtype=bool)].reset_index(drop=True)
    columns = ["subject", "session", "modality", "date", "scans", "files", "size_bytes"]
    told = [
        html.pairs(
            {
                "from": f"{transfer.chosen_projects['source']} "
                f"({html.many(len(transfer.listing.sessions), 'session')})",
                "to": transfer.chosen_projects["destination"],
                "selected": f"{html.many(len(rows), 'session')} of {html.many(rows['subject'].nunique(), 'subject')}",
                "scan types": ", ".join(transfer.option("scan_types")) or "all",
            },
            "Selection",
        ),
        short(rows, f"Selected sessions: {len(rows)}", columns),
    ]
    if transfer.here is not None:
        told.append(pictures.months(transfer.here))
    return told


def _compare(transfer: GuidedTransfer) -> list[Any]:
    if transfer.differences is None:
        return [_picked_up(transfer)]
    rows = transfer.differences.sessions
    order = {"conflict": 0, "differs": 1, "cannot tell": 2, "same": 3, "only source": 4, "only destination": 5}
    rows = rows.assign(_order=rows["status"].map(order)).sort_values("_order", kind="stable").drop(columns="_order")
    words = ", ".join(f"{n} {word}" for word, n in rows["status"].value_counts().items())
    columns = ["subject", "session", "status", "conflict", "because", "files_source", "files_destination"]
    decided = [
        {"subject": key.subject, "session": key.session, "decision": word}
        for key, word in sorted(transfer.decided().items())
    ]
    return [
        transfer.here.card("Selected at the source") + transfer.there.card("There already"),
        short(rows.reset_index(drop=True), f"Side by side: {words}", columns, "diff-sessions.csv"),
        html.table(decided, "Decisions for single sessions", empty="none", limit=ROWS),
        paragraph(f"For all others: {transfer.option('existing')} what the destination has."),
        pictures.sides(transfer.differences),
    ]


def _labels(transfer: GuidedTransfer) -> list[Any]:
    rows = [
        {"subject": k.subject, "session": k.session, "to_subject": to.subject, "to_session": to.session}
        for k, to in sorted(transfer.labels.items())
    ]
    kept = len(transfer.selected) - len(rows)
    table = pd.DataFrame(rows, columns=["subject", "session", "to_subject", "to_session"])
    told = paragraph(f"{kept} of {len(transfer.selected)} sessions keep their labels.")
    if rows:
        return [short(table, f"Sessions with other labels: {len(rows)}", list(table.columns), "crosswalk.csv") + told]
    return [told]


def _review(transfer: GuidedTransfer) -> list[Any]:
    options = transfer.made.options
    chosen = {name: options[name] or "(none)" for name in ("existing", "review", "proof", "workers", "reason")}
    chosen["archive"] = "yes, after the comparison" if options["archive"] else "no, sessions wait in the prearchive"
    return [
        html.pairs(chosen, "How"),
        html.settings_table(transfer.made.source.settings, transfer.made.destination.settings),
        html.findings_table(transfer.made),
        html.review_table(transfer.made),
        html.policy_table(transfer.made),
    ]


def _plan(transfer: GuidedTransfer) -> list[Any]:
    made = transfer.made
    rows = made.to_frame()
    order = {"stop": 0, "replace": 1, "merge": 2, "skip": 3, "copy": 4}
    rows = rows.assign(_order=rows["action"].map(order).fillna(9)).sort_values("_order", kind="stable")
    rows = rows.drop(columns="_order").reset_index(drop=True)
    columns = ["subject", "session", "destination_subject", "destination_session", "action", "scans", "files"]
    left = html.left_behind(made)
    return [
        html.pairs(plan_words(transfer), "The approved plan"),
        short(rows, f"Sessions of the plan: {len(rows)}", [*columns, "size_bytes", "because"]),
        paragraph("The whole plan is in plan.csv and plan.json of the record."),
        short(left, f"Left behind, that is not carried: {len(left)}", list(left.columns), "left-behind.csv"),
    ]


def plan_words(transfer: GuidedTransfer) -> dict[str, str]:
    """A plan in numbers: what is sent, how long it may take, what it needs."""
    made = transfer.made
    total, estimate = made.totals, made.estimate
    warning = transfer.lifetime_warning()
    return ({"mind": warning} if warning else {}) | {
        "sent": f"{total['sessions']} of {len(made.sessions)} sessions, {total['scans']} scans, "
        f"{total['files']} files, {html.size(total['size_bytes'])}",
        "estimate": f"about {html.duration(estimate['seconds'])}, {estimate['requests']} requests, up to "
        f"{html.size(estimate['temporary_bytes'])} of temporary files",
        "from": f"{made.source.project} on {made.source.server}, read {made.source.read_at} by {made.source.user}",
        "to": f"{made.destination.project} on {made.destination.server}, as {made.destination.user}",
        "fingerprint": made.fingerprint,
    }


def _run(transfer: GuidedTransfer) -> list[Any]:
    progress = transfer.progress()
    if progress is None:
        return [paragraph("The run has not begun.")]
    lines = progress.log[-40:]
    log = "".join(f"{html.escape(line)}<br>" for line in lines)
    as_of = f" This was so at {time.strftime('%H:%M:%S', time.gmtime())} UTC." if transfer.going else ""
    words = f"{progress.sentence()}.".capitalize() + as_of
    told = [paragraph(words), Html(f"<p><code>{log}</code></p>", "\n".join(lines))]
    if progress.problem:
        told.append(html.banner("the run stopped", progress.problem, html.Tone.BAD, "✗"))
    return [*told, pictures.rate_of(transfer.made, transfer.result)]


def _verify(transfer: GuidedTransfer) -> list[Any]:
    result = transfer.outcome()
    rows = result.sessions
    loud = rows["verdict"].isin(["different", "cannot be proved"]) | (rows["state"] == "failed")
    rows = pd.concat([rows[loud], rows[~loud]], ignore_index=True)
    columns = ["subject", "session", "state", "verdict", "files", "equal", "explained", "different", "not_proved"]
    total = sum(result.counts.values())
    counted = [{"verdict": word, "files": count} for word, count in result.counts.items()]
    counted.append({"verdict": "together", "files": total})
    again = f"Verified again at {result.finished_at}." if transfer.verified is not None else ""
    return [
        html.verdict_banner(transfer.made, result),
        paragraph(again) if again else None,
        html.table(counted, "Files by verdict", ["verdict", "files"], counted=True),
        short(rows, f"Sessions: {len(rows)}", [*columns, "extra", "because"], limit=ROWS),
        paragraph("Every session is in sessions.csv, every file with both digests in files.csv of the record."),
        html.files_table(result),
        pictures.verdicts(result),
    ]


def _finish(transfer: GuidedTransfer) -> list[Any]:
    waiting = transfer.waiting()
    columns = ["destination_subject", "destination_session", "state", "verdict"]
    told = [short(transfer.archived, archived_words(transfer.archived), list(transfer.archived.columns))]
    return [*told, short(waiting, f"Waiting in the prearchive of the destination: {len(waiting)}", columns)]


def archived_words(done: pd.DataFrame) -> str:
    """What stands above the sessions that were archived: their verdict is about something else than that of the run."""
    return f"Archived from here: {len(done)} (verdict: files in the archive beside those that were in the prearchive)"


def _record(transfer: GuidedTransfer) -> list[Any]:
    return [
        html.pairs(
            {"record": transfer.record.name, "in": transfer.record.parent.name, "state": "sealed"},
            "The record",
            {"xnbtransfer": {"name": transfer.record.name, "record_root": str(transfer.option("record_root"))}},
        ),
        paragraph("It is a BagIt bag: anybody's tool, and 'xnbtransfer verify', can check that nothing was changed."),
    ]


def _move(transfer: GuidedTransfer) -> list[Any]:
    if not transfer.deleted:
        return [paragraph("Nothing was deleted at the source: this was a copy.")]
    told = []
    for made, result, record in transfer.deleted:
        told.append(deletion(made, result))
        where = f"Its own record is {record.name}." if record is not None else "It was stopped before its end."
        told.append(paragraph(where))
    return told


def deletion(made: ChangePlan, result: Result) -> Html:
    """One round of deletions at the source: which copy it takes up, what was planned, what became of each session."""
    told = change_tables.linked_table(made) + change_tables.rows_table(made) + change_tables.concerns_table(made)
    return told + change_tables.change_verdict(made, result)


def _picked_up(transfer: GuidedTransfer) -> Html:
    return paragraph(
        f"This transfer was cut off after its plan was approved at {transfer.made.made_at}, and was taken up here. "
        "What was chosen is in the plan below."
    )


_TELL = {
    "connect": _connect,
    "choose": _choose,
    "compare": _compare,
    "labels": _labels,
    "review": _review,
    "plan": _plan,
    "run": _run,
    "verify": _verify,
    "finish": _finish,
    "record": _record,
    "move": _move,
}
