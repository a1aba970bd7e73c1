"""Static twins: what a run found, as plain tables that any notebook viewer shows.

JupyterLab strips ``<style>`` and SVG from a notebook it does not trust, so a table here is ``<table>`` with a caption,
scoped headings, inline styles and ``bgcolor``, a status is a symbol and a word, and every text is escaped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .conflicts import MATRIX
from .csv_files import as_cells
from .errors import ExitCode
from .findings import RULES, SEVERITIES, Finding, in_order
from .markup import (  # noqa: F401 - what the front shows, it finds in one place
    NEXT,
    NEXT_OF_AUDIT,
    WORDS,
    Html,
    Tone,
    banner,
    cell_style,
    duration,
    escape,
    framed,
    look_of,
    many,
    next_step,
    pairs,
    paragraph,
    size,
)
from .values import Result, Verdict, tuples_of

SHOWN = 200


# word -> (symbol, colour). The word always stands there: colour and symbol only help to find it.
STATUS: dict[str, tuple[str, str]] = {
    Verdict.EQUAL: ("=", Tone.GOOD),
    Verdict.EXPLAINED: ("≈", Tone.INFO),
    Verdict.DIFFERENT: ("✗", Tone.BAD),
    Verdict.NOT_PROVED: ("?", Tone.WARN),
    "all proved": ("✓", Tone.GOOD),
    "ok": ("✓", Tone.GOOD),
    "archived": ("·", Tone.QUIET),
    "in prearchive": ("·", Tone.QUIET),
    "sealed": ("✓", Tone.GOOD),
    "whole": ("✓", Tone.GOOD),
    "changed": ("✗", Tone.BAD),
    "lost": ("✗", Tone.BAD),
    "running": ("…", Tone.QUIET),
    "failed": ("✗", Tone.BAD),
    "unfinished": ("…", Tone.WARN),
    "planned": ("…", Tone.QUIET),
    "skipped": ("–", Tone.QUIET),
    "there already": ("=", Tone.QUIET),
    "needs a person": ("!", Tone.WARN),
    "copy": ("+", Tone.GOOD),
    "merge": ("+", Tone.INFO),
    "replace": ("!", Tone.WARN),
    "skip": ("–", Tone.QUIET),
    "stop": ("✗", Tone.BAD),
    "blocking": ("✗", Tone.BAD),
    "warning": ("!", Tone.WARN),
    "note": ("i", Tone.QUIET),
    "same": ("=", Tone.GOOD),
    "only source": ("+", Tone.INFO),
    "only destination": ("–", Tone.QUIET),
    "differs": ("≠", Tone.WARN),
    "conflict": ("✗", Tone.BAD),
    "cannot tell": ("?", Tone.WARN),
    "share": ("+", Tone.GOOD),
    "unshare": ("–", Tone.WARN),
    "move": ("→", Tone.INFO),
    "rebuild": ("+", Tone.INFO),
    "archive": ("+", Tone.GOOD),
    "delete": ("!", Tone.WARN),
    "later": ("…", Tone.QUIET),
    "shared": ("✓", Tone.QUIET),
    "unshared": ("✓", Tone.QUIET),
    "moved": ("✓", Tone.QUIET),
    "rebuilt": ("✓", Tone.QUIET),
    "deleted": ("✓", Tone.QUIET),
    "kept": ("?", Tone.WARN),
    "not found": ("?", Tone.WARN),
}
_STATUS_COLUMNS = ("verdict", "state", "action", "severity", "status")
_HEADINGS = {
    "size_bytes": "size",
    "not_proved": "cannot be proved",
    "explained": "changed as explained",
    "destination_subject": "subject there",
    "destination_session": "session there",
    "series_description": "series description",
    "made_at": "made",
    "files_source": "files at source",
    "files_destination": "files at destination",
    "size_bytes_source": "size at source",
    "size_bytes_destination": "size at destination",
}


def digest(frame: pd.DataFrame) -> str:
    """SHA-256 of the CSV that :func:`csv_text` makes of a frame, hexadecimal."""
    return hashlib.sha256(csv_text(frame).encode()).hexdigest()


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as the CSV of the records: UTF-8, no index, one line feed per row, no cell that a spreadsheet runs."""
    return as_cells(frame).to_csv(index=False, lineterminator="\n")


def table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    caption: str,
    columns: Sequence[str] | None = None,
    *,
    limit: int = SHOWN,
    full: str = "",
    of: pd.DataFrame | None = None,
    empty: str = "none",
    counted: bool = False,
) -> Html:
    """A frame as a plain table; a column named like a status gets its symbol and colour.

    Parameters
    ----------
    limit : int
        Rows shown. Rows that need a look (a status that is neither equal nor skipped) are shown first and in any case.
    full : str
        Name of the CSV in the record that holds all rows; said with its SHA-256 where rows are left out.
    of : DataFrame, optional
        What that CSV holds, where ``rows`` are a part of it.
    empty : str
        What stands in place of a table without rows.
    counted : bool
        The last column counts, and a row that counts nothing keeps its word but not its colour.
    """
    whole = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=columns)
    if whole.empty:
        return Html(f"<p><b>{escape(caption)}</b>: {escape(empty)}</p>", f"{caption}: {empty}")
    shown, left_out = _cut(whole, limit)
    names = [name for name in (columns or list(whole.columns)) if name in whole.columns]
    names = [name for name in names if name == names[0] or not (whole[name].astype(str) == "").all()]
    numbers = {name for name in names if pd.api.types.is_numeric_dtype(whole[name]) and whole[name].dtype != bool}
    note = ""
    if left_out:
        note = f"{left_out} of {len(whole)} rows are not shown here."
        if full:
            note += f" All are in {full}, SHA-256 {digest(whole if of is None else of)}."
    titles = [_HEADINGS.get(name, name) for name in names]
    head = "".join(
        f'<th scope="col" bgcolor="{Tone.QUIET}" style="{cell_style(name in numbers)};background-color:{Tone.QUIET};'
        f'color:#1f2328">{escape(title)}</th>'
        for name, title in zip(names, titles, strict=True)
    )
    lines, texts = [], []
    for row in tuples_of(shown, *names):
        cells = [_shown(name, value) for name, value in zip(names, row, strict=True)]
        bleak = counted and cells[-1] == "0"
        drawn = [_cell(n, cell, n in numbers, n == names[0], bleak) for n, cell in zip(names, cells, strict=True)]
        lines.append(f"<tr>{''.join(drawn)}</tr>")
        texts.append([_plain(name, cell) for name, cell in zip(names, cells, strict=True)])
    markup = framed(caption, f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>")
    if note:
        markup += f"<p>{escape(note)}</p>"
    right = [name in numbers for name in names]
    return Html(markup, "\n".join([caption, *_aligned(titles, texts, right), *([note] if note else [])]))


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """The rows as lines of text, their columns under each other."""
    whole = [list(titles), *rows]
    widths = [max(len(row[i]) for row in whole) for i in range(len(titles))]
    lines = []
    for row in whole:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def parameters_table(options: Any) -> Html:
    """The parameters in force, defaults among them, with their help."""
    rows = []
    offered = getattr(type(options), "offered", ()) or type(options).model_fields
    for name in offered:
        about = type(options).model_fields[name]
        value = getattr(options, name)
        shown = (", ".join(value) or "(none)") if isinstance(value, tuple) else (str(value) or "(empty)")
        rows.append({"parameter": name, "value": shown, "meaning": about.description or ""})
    return table(rows, "Parameters in force", ["parameter", "value", "meaning"])


def who_table(
    workspace: Any, versions: Mapping[str, str], source: Any = None, destination: Any = None, reason: str = ""
) -> Html:
    """Who, when, from, to, why and with what. The users are those that the servers name."""
    rows: dict[str, Any] = {"record": workspace.name, "begun": workspace.made_at}
    if workspace.resumed:
        rows["resumed"] = "yes: the run with these parameters was cut off, and goes on here"
    for side, connection in (("source", source), ("destination", destination)):
        if connection is not None:
            rows[side] = f"{connection.server} (XNAT {connection.version() or 'of an unknown version'})"
            rows[f"user at the {side}"] = connection.user
    rows["reason"] = reason or "(none given)"
    rows["made with"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    metadata = {"xnbtransfer": {"name": workspace.name, "record_root": str(workspace.parameters["record_root"])}}
    return pairs(rows, "This run", metadata)


def record_table(workspace: Any, summary: Mapping[str, Any], files: Mapping[str, int]) -> Html:
    """What lies in the record beside this notebook."""
    words = {
        "plan.json": "the plan as it was carried out, with its fingerprint",
        "journal.jsonl": "what was done, line by line, each chained to the one before",
        "files.csv": "one row per file: digests on both sides, verdict, reason",
        "plan.csv": "the plan, one row per session",
        "findings.csv": "what the checks and the review found, by rule; no values",
        "carried.csv": "resources that were chosen, and what was planned for each",
        "left-behind.csv": "resources that are not carried",
        "prearchive.csv": "what waited in the prearchive, and the way out",
        "sessions.csv": "one row per session",
        "scans.csv": "one row per scan resource",
        "extra.csv": "files at the destination that the plan does not name",
        "crosswalk.csv": "labels at the source and labels at the destination",
        "summary.json": "who, when, from, to, versions, parameters, counts, exit code",
        "records.csv": "one row per record of the audited folder",
        "versions.txt": "every package that was installed",
    }
    rows = [
        {"file": name, "size_bytes": count, "what it is": words.get(name, "")}
        for name, count in sorted(files.items())
        if not name.endswith((".ipynb", ".html", ".lock")) and name != "workspace.json"
    ]
    return table(rows, f"Record {workspace.name}: {summary['result']} (exit code {summary['exit_code']})")


def sessions_table(inventory: Any, title: str, full: str = "") -> Html:
    """One row per session of an inventory."""
    columns = ["subject", "session", "modality", "date", "scans", "files", "size_bytes"]
    return table(inventory.sessions, title, columns, full=full)


def scans_table(inventory: Any) -> Html:
    """One row per scan of an inventory."""
    columns = ["subject", "session", "scan", "type", "series_description", "quality", "files", "size_bytes"]
    return table(inventory.scans, f"Scans: {len(inventory.scans)}", columns, full="scans.csv")


def other_resources_table(inventory: Any) -> Html:
    """Resources that no import would carry: those of sessions, and scan resources that are not DICOM."""
    rows = inventory.resources
    dicom = rows["resource"].str.upper().isin(["DICOM", "SECONDARY"]) | (rows["format"].str.upper() == "DICOM")
    rest = rows[~dicom | (rows["scan"] == "")]
    columns = ["subject", "session", "scan", "resource", "format", "files", "size_bytes"]
    return table(
        rest, f"Resources that are not DICOM scans: {len(rest)}", columns, full="resources.csv", of=inventory.resources
    )


def settings_table(source: Mapping[str, Any], destination: Mapping[str, Any]) -> Html:
    """The settings of both projects that decide how data is taken, side by side; script texts as yes or no."""
    names = {
        "version": "XNAT version",
        "can_read": "may read",
        "can_create": "may create sessions",
        "can_edit": "may edit",
        "can_delete": "may delete",
        "prearchive_code": "prearchive code",
        "quarantine_code": "quarantine code",
        "site_script_on": "site-wide anonymisation",
        "project_script_on": "project anonymisation",
        "checksums": "keeps checksums",
    }
    of_source = ("version", "can_read", "checksums")  # the others say how a project takes data, and are not asked there

    def at_source(name: str) -> str:
        value = source.get(name)
        return "not asked" if value is None and name not in of_source else _told(value)

    rows = [
        {"setting": words, "source": at_source(name), "destination": _told(destination.get(name))}
        for name, words in names.items()
    ]
    return table(rows, "Settings that decide how data is taken", ["setting", "source", "destination"])


def diff_table(differences: Any) -> Html:
    """One row per session of either side, those that exist on one side only last."""
    columns = ["subject", "session", "status", "because", "conflict", "files_source", "files_destination"]
    counts = differences.sessions["status"].astype(str).value_counts() if len(differences.sessions) else {}
    words = ", ".join(f"{n} {word}" for word, n in dict(counts).items())
    return table(differences.sessions, f"Sessions side by side: {words or 'none'}", columns)


def diff_scans_table(differences: Any) -> Html:
    """One row per scan of either side that is not the same on both."""
    rows = differences.scans[differences.scans["status"] != "same"]
    columns = ["subject", "session", "scan", "status", "because", "files_source", "files_destination"]
    return table(
        rows, f"Scans that are not the same: {len(rows)}", columns, full="diff-scans.csv", of=differences.scans
    )


def earlier_table(record: Any) -> Html:
    """What an earlier record says of itself."""
    found = record.summary
    sides = {word: found[side] for word, side in (("from", "source"), ("to", "destination")) if side in found}
    users = [side["user"] for side in sides.values()]
    verdicts = ", ".join(f"{count} {word}" for word, count in found.get("verdicts", {}).items())
    return pairs(
        {
            "record": found["record"],
            "checked": "every file of it is as it was sealed",
            "closed": found["closed_at"],
            **{word: f"{side['project']} on {side['server']}" for word, side in sides.items()},
            **({"by": users[-1]} if users else {}),
            "result": f"{found['result']} (exit code {found['exit_code']})",
            **({"files by verdict": verdicts} if verdicts else {}),
        },
        "The earlier record",
    )


def conflicts_table(plan: Any) -> Html:
    """The sessions that meet something at the destination, and what is done about it."""
    frame = plan.to_frame()
    frame = frame[frame["conflict"] != ""]
    server = {one.words: one.server for one in MATRIX.values()}
    frame = frame.assign(**{"XNAT itself": [server.get(words, "") for words in frame["conflict"]]})
    columns = ["subject", "session", "conflict", "action", "because", "XNAT itself"]
    return table(frame, f"Conflicts at the destination: {len(frame)}", columns, empty="no session meets a conflict")


def plan_table(plan: Any) -> Html:
    """What would be done, one row per session, with totals and the estimate."""
    frame = plan.to_frame()
    columns = ["subject", "session", *_other_labels(frame), "action", "scans", "files", "size_bytes", "because"]
    total, estimate = plan.totals, plan.estimate
    caption = (
        f"Plan: {total['sessions']} of {len(plan.sessions)} sessions, {total['scans']} scans, {total['files']} files, "
        f"{size(total['size_bytes'])}; about {duration(estimate['seconds'])}, {estimate['requests']} requests, "
        f"up to {size(estimate['temporary_bytes'])} of temporary files"
    )
    if plan.also_written:
        caption += f". {' '.join(plan.also_written)}"
    shown = table(frame, caption, columns, full="plan.csv")
    return shown + resources_table(plan) if plan.resources else shown


def resources_table(plan: Any) -> Html:
    """The resources that were chosen beside the DICOM scans, and what is done with each."""
    frame = plan.resources_frame()
    sent = frame[frame["action"] != "leave"]
    files, held = int(sent["files"].sum()), int(sent["size_bytes"].sum())
    caption = f"Resources: {len(sent)} of {len(frame)}, {files} files, {size(held)}"
    columns = ["level", "subject", "session", "scan", "resource", *_other_labels(frame)]
    return table(frame, caption, [*columns, "action", "files", "size_bytes", "because"], full="carried.csv")


def findings_table(plan: Any) -> Html:
    """What rights, settings, labels and listings tell before the start, the blockers first."""
    found = [one for one in plan.findings if one.rule[0] in "ASP"]
    return findings_rows(found, f"Findings before the start: {len(found)}")


def review_table(plan: Any) -> Html:
    """What the review of the headers tells: consistency, routing, de-identification, and what it could not see."""
    found = [one for one in plan.findings if one.rule[0] not in "ASP"]
    counts = {word: sum(one.severity == word for one in found) for word in SEVERITIES}
    told = f"{counts['blocking']} blocking, {many(counts['warning'], 'warning')}, {many(counts['note'], 'note')}"
    depth = plan.options.get("review", "sample")
    return findings_rows(found, f"Review of the headers (review={depth}): {told}")


def review_banner(plan: Any) -> Html:
    """How a review ended in one line."""
    counts = {word: sum(one.severity == word for one in plan.findings) for word in SEVERITIES}
    waived = sum(bool(one.waived) for one in plan.findings)
    sentence = f"{counts['blocking']} blocking, {many(counts['warning'], 'warning')}, {many(counts['note'], 'note')}"
    sentence += f", {waived} of them waived. " if waived else ". "
    if counts["blocking"]:
        return banner("blocking findings", f"{sentence}A transfer would be refused.", Tone.BAD, "✗")
    if counts["warning"]:
        return banner("no blocking finding", f"{sentence}The warnings want a person to look.", Tone.WARN, "!")
    return banner("no blocking finding, no warning", f"{sentence}No review is a guarantee.", Tone.GOOD, "✓")


def policy_table(plan: Any) -> Html:
    """What the policy of the destination project changes, and what is waived."""
    policy = plan.policy
    rows: list[dict[str, str]] = [
        {"what": f"rule {rule}", "is": word, "because": RULES[rule].title}
        for rule, word in sorted(policy.rules.items())
    ]
    for name in ("retain", "private_creators", "harmless"):
        if found := getattr(policy, name):
            rows.append({"what": name.replace("_", " "), "is": ", ".join(found), "because": "policy"})
    for one in policy.waivers:
        rows.append({"what": f"waiver of {one.rule}", "is": one.scope.told, "because": one.reason})
    return table(rows, "Policy and waivers", ["what", "is", "because"], empty="none: every rule counts as it stands")


def findings_rows(findings: Iterable[Finding], caption: str) -> Html:
    """Findings as a table, the blockers first; a waiver stands where the remedy would."""
    rows = [
        {
            **one.model_dump(),
            "rule": f"{one.rule} {RULES[one.rule].title}",
            "where": one.where,
            "remedy": f"waived: {one.waived}" if one.waived else one.remedy,
        }
        for one in in_order(findings)
    ]
    columns = ["severity", "rule", "where", "sentence", "shape", "remedy"]
    return table(rows, caption, columns, limit=1000, full="findings.csv")


def left_behind(plan: Any) -> pd.DataFrame:
    """What is not carried, one a row."""
    columns = ["subject", "session", "scan", "kind", "resource", "files", "size_bytes", "advice"]
    return pd.DataFrame([row.model_dump() for row in plan.left_behind], columns=columns)


def left_behind_table(plan: Any) -> Html:
    """What is not carried, with advice."""
    frame = left_behind(plan)
    return table(frame, f"Left behind, that is not carried: {len(frame)}", full="left-behind.csv")


def verdict_banner(plan: Any, result: Result | None) -> Html:
    """How it went in one line, and what to do next."""
    if result is None:
        if plan.blockers:
            sentence = f"{' '.join(plan.blockers)} {NEXT[ExitCode.REFUSED]}"
            return banner("dry run: there are blockers", sentence, Tone.BAD, "✗")
        sentence = "Nothing was written at the destination. Review the plan, then run again with dry_run=False."
        return banner("dry run: this is the plan", sentence, Tone.INFO, "i")
    return result.card()


def verdict_table(result: Result) -> Html:
    """Files by verdict, then one row per session."""
    total = sum(result.counts.values())
    counted = [{"verdict": word, "files": count} for word, count in result.counts.items()]
    counted.append({"verdict": "together", "files": total})
    first = table(counted, "Files by verdict", ["verdict", "files"], counted=True)
    columns = ["subject", "session", *_other_labels(result.sessions), "state", "verdict", "files", "equal"]
    columns += ["explained", "different", "not_proved", "extra", "because"]
    return first + table(result.sessions, "Sessions", columns, full="sessions.csv")


def files_table(result: Result) -> Html:
    """The files that are neither equal nor explained, and which header elements changed in the others."""
    bad = result.files[~result.files["verdict"].isin([Verdict.EQUAL, Verdict.EXPLAINED])]
    columns = ["subject", "session", "scan", "resource", "path", "verdict", "because"]
    shown = table(
        bad,
        f"Files that need a look: {len(bad)}" if len(bad) else "Files that need a look",
        columns,
        empty=f"none; all {len(result.files)} files are in files.csv, SHA-256 {digest(result.files)}",
        full="files.csv",
        of=result.files,
    )
    changed: dict[tuple[str, str], int] = {}
    for verdict, elements in tuples_of(result.files, "verdict", "changed"):
        for element in str(elements).split():
            changed[(element, verdict)] = changed.get((element, verdict), 0) + 1
    rows = [
        {"element": _element(element), "verdict": verdict, "files": count}
        for (element, verdict), count in sorted(changed.items(), key=lambda item: (-item[1], item[0]))
    ]
    if rows:
        shown += table(rows, "Header elements that changed (values are never shown)", ["element", "verdict", "files"])
    if len(result.extra):
        columns = ["subject", "session", "scan", "resource", "path", "size_bytes"]
        shown += table(result.extra, "Files at the destination that the plan does not name", columns, full="extra.csv")
    return shown


def verdict(plan: Any, result: Result | None) -> Html:
    """The banner, then verdicts, sessions and the files that need a look."""
    shown = verdict_banner(plan, result)
    if result is None:
        return shown
    if result.findings is not None:
        shown += findings_rows(
            (Finding(**row) for row in result.findings.to_dict("records")),
            f"Review of every file while it was copied: {len(result.findings)} findings",
        )
    return shown + verdict_table(result) + files_table(result)


def _other_labels(frame: pd.DataFrame) -> list[str]:
    """The columns with the labels at the destination, unless all labels are kept."""
    kept = (frame["subject"] == frame["destination_subject"]) & (frame["session"] == frame["destination_session"])
    return [] if bool(kept.all()) else ["destination_subject", "destination_session"]


def _cut(frame: pd.DataFrame, limit: int) -> tuple[pd.DataFrame, int]:
    if len(frame) <= limit:
        return frame, 0
    done = {"skipped", "there already", "archived", "in prearchive", "skip", "copy", "same", "note"}
    quiet = {Verdict.EQUAL, Verdict.EXPLAINED, *done}
    column = next((name for name in _STATUS_COLUMNS if name in frame.columns), None)
    if column is None:
        return frame.head(limit), len(frame) - limit
    loud = ~frame[column].isin(quiet)
    # All that needs a look, unless that alone would make a notebook nobody can open.
    first = frame[loud].head(10 * limit)
    shown = pd.concat([first, frame[~loud].head(limit)])
    return shown, len(frame) - len(shown)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.startswith("size_bytes"):
        return size(int(value))
    return "" if value is None else str(value)


def _element(path: str) -> str:
    """An element path with the names of DICOM's data dictionary: 00081030 becomes StudyDescription (0008,1030)."""
    from pydicom.datadict import keyword_for_tag

    shown = []
    for part in path.split("."):
        tag, item = part[:8], part[8:]
        name = keyword_for_tag(int(tag, 16)) if re.fullmatch(r"[0-9A-Fa-f]{8}", tag) else ""
        shown.append(f"{name} ({tag[:4]},{tag[4:]}){item}" if name else part)
    return " / ".join(shown)


def _told(value: Any) -> str:
    if value is None or value == "":
        return "not told"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _plain(name: str, cell: str) -> str:
    symbol, _ = STATUS.get(cell, ("", "")) if name in _STATUS_COLUMNS else ("", "")
    return f"{symbol} {cell}".strip().replace("\n", " ")


def _cell(name: str, cell: str, number: bool, first: bool, bleak: bool) -> str:
    if name in _STATUS_COLUMNS and cell in STATUS:
        colour = "#ffffff" if bleak else STATUS[cell][1]
        style = f"{cell_style(number)};background-color:{colour};color:#1f2328;white-space:nowrap"
        return f'<td bgcolor="{colour}" style="{style}">{escape(_plain(name, cell))}</td>'
    if first and not number:
        return f'<th scope="row" style="{cell_style(False)};font-weight:normal;white-space:nowrap">{escape(cell)}</th>'
    # Short words stay on one line, so that a narrow screen breaks the sentences, and digests, and not the labels.
    breaks = "white-space:nowrap" if len(cell) <= 24 else "min-width:9em;overflow-wrap:anywhere"
    return f'<td style="{cell_style(number)};{breaks}">{escape(cell)}</td>'


