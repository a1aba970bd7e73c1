"""An audit of a folder of records: is each of them whole, do they name each other rightly, and does it hold today?"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from . import actions
from .campaign import read_index
from .changes import ChangePlan, is_change_plan
from .errors import ExitCode, InputError, XnbTransferError
from .finish import bag_digest
from .html import NEXT_OF_AUDIT, WORDS, Html, Tone, banner, pairs, table
from .journal import read_journal
from .outputs import with_home
from .plan import Plan
from .record import (
    PLAN,
    SUMMARY,
    UNFINISHED,
    UNREADABLE,
    Record,
    is_running,
    list_records,
    open_record,
    read_about,
    record_folders,
)
from .values import OUTCOME_COLUMNS, Result, frame
from .verify import verify
from .xnat import connect

_COUNTS = {"equal": int, "explained": int, "different": int, "not_proved": int}
RECORD_COLUMNS = {
    "record": str,
    "made_at": str,
    "template": str,
    "user": str,
    "source": str,
    "destination": str,
    "files": int,
    **_COUNTS,
    "result": str,
    "reason": str,
    "status": str,
    "today": str,
    "because": str,
}
SESSION_COLUMNS = {
    "subject": str,
    "session": str,
    "to_subject": str,
    "to_session": str,
    "source": str,
    "destination": str,
    "state": str,
    "files": int,
    **_COUNTS,
    "template": str,
    "made_at": str,
    "record": str,
}
_VERDICTS = dict(zip(("equal", "changed as explained", "different", "cannot be proved"), _COUNTS, strict=True))
_STATUS = {
    "whole": "as it was sealed",
    "changed": "changed after it was sealed, or it does not fit what another record says of it",
    "lost": "named by another record, or by a campaign's index, and not here",
    "unfinished": "its run did not end",
    "running": "its run goes on now",
    "given up": "its run was ended on purpose, with the reason kept",
    "not read": "it belongs to somebody else, who has to audit it",
}
_BAD, _OPEN, _FINE = ("changed", "lost"), ("unfinished", "not read"), frozenset(("", WORDS[ExitCode.PROVED]))
_WORDS = {
    ExitCode.PROVED: "all records are whole",
    ExitCode.DIFFERENCES: "not every record is as it should be",
    ExitCode.CANNOT_BE_PROVED: "something is open",
}


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    records : DataFrame
        One row per record, RECORD_COLUMNS: who, when, what, its verdicts, ``status`` (whole, changed, lost, unfinished,
        running or given up), ``today`` in words where it was proved again, and ``because``.
    sessions : DataFrame
        One row per session of each whole record, SESSION_COLUMNS, the newest first.
    """

    records: pd.DataFrame
    sessions: pd.DataFrame

    @property
    def exit_code(self) -> ExitCode:
        """Differences if a record was changed or lost or no longer holds, cannot be proved if one is open."""
        status, today = set(self.records["status"]), set(self.records["today"])
        if status & set(_BAD) or WORDS[ExitCode.DIFFERENCES] in today:
            return ExitCode.DIFFERENCES
        return ExitCode.CANNOT_BE_PROVED if status & set(_OPEN) or today - _FINE else ExitCode.PROVED

    @property
    def ended(self) -> tuple[ExitCode, str]:
        """The exit code, and that in words."""
        return self.exit_code, _WORDS[self.exit_code]

    @property
    def open_points(self) -> pd.DataFrame:
        """The records that somebody has to look at."""
        bad = self.records["status"].isin([*_BAD, *_OPEN]) | ~self.records["today"].isin(_FINE)
        return self.records[bad].reset_index(drop=True)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The CSV files of its own record."""
        return {"records.csv": self.records, "sessions.csv": self.sessions}


def audit(
    root: str | Path, *, since: str = "", until: str = "", again: str = "none", leave_out: str = ""
) -> Audit:
    """Audit the records below a folder.

    Each sealed one is checked without any network: every digest of the bag, the fingerprint of the plan, the chain of
    the journal, the counts of its summary against its rows. What another record or the index of a campaign names has to
    be there, and a copy that a deletion was made by has to be the one of then.

    Parameters
    ----------
    since, until : str
        First and last day (UTC, YYYY-MM-DD) of the records to look at.
    again : {"none", "listing", "all"}
        Whether what the servers hold today is proved again, by their listings or by every byte. Reads only; credentials
        as for :func:`~xnbtransfer.xnat.connect`.
    leave_out : str
        Name of a folder that is passed over: the audit's own.

    Raises
    ------
    InputError
        If there is no such folder, or no record of those days in it.
    """
    root = with_home(root)
    rows, sessions = [], []
    for row in _found(root):
        day = row["made_at"][:10]
        if row["record"] == leave_out or (day and ((since and day < since) or (until and day > until))):
            continue
        whole = None
        if row["status"] == "sealed":
            row["status"], row["because"], whole = _check(root, row["record"])
        if whole is not None:
            sessions += _sessions_of(whole, row)
            if again != "none" and whole.journal.exists():
                row["today"], row["because"] = _today(whole, again)
        rows.append(row)
    _lay_beside(root, rows)
    if not rows:
        raise InputError(f"There is no record of those days below {root}.", "Name the folder given as --record-root.")
    return Audit(frame(rows, RECORD_COLUMNS), frame(sessions, SESSION_COLUMNS))


def _found(root: Path) -> Iterator[dict[str, Any]]:
    """One row for each folder that is a record or was one, the newest first; nothing is checked yet."""
    listed = {row["record"]: row for row in list_records(root).to_dict("records")}
    for folder in record_folders(root):
        known = listed.get(folder.name)
        if known is not None and known["state"] == UNREADABLE:
            yield {"record": folder.name, "made_at": "", "status": "not read", "because": "this user may not read it"}
            continue
        if known is None:
            if (folder / "bagit.txt").exists() or folder.name.endswith(UNFINISHED):
                yield {"record": folder.name, "made_at": "", "status": "changed", "because": "it has no summary"}
            continue
        about = read_about(folder / "data", SUMMARY) or read_about(folder, SUMMARY)
        row = {name: known[name] for name in ("record", "made_at", "template", "user", "source", "destination")}
        row |= {"files": known["files"], "result": known["result"], "reason": about.get("reason", ""), "because": ""}
        row |= {_VERDICTS[word]: count for word, count in about.get("verdicts", {}).items() if word in _VERDICTS}
        row["status"] = "running" if known["state"] == "unfinished" and is_running(folder) else known["state"]
        yield row


def _check(root: Path, name: str) -> tuple[str, str, Record | None]:
    """Status and reason of a sealed record, and the record where it is whole."""
    try:
        found = open_record(root / name)
        made = _plan_of(found)
        if found.journal.exists():
            read_journal(found.journal)
        if made is not None and made.fingerprint != found.summary["plan"]["fingerprint"]:
            return "changed", "its plan is not the one that its summary names", None
        if because := _does_not_add_up(found):
            return "changed", because, None
    except XnbTransferError as problem:
        return "changed", problem.message, None
    except (KeyError, ValueError, OSError) as problem:
        return "changed", f"it cannot be read ({type(problem).__name__})", None
    return "whole", "", found


def _plan_of(found: Record) -> Plan | ChangePlan | None:
    path = found.data / PLAN
    if not path.exists():
        return None
    return ChangePlan.load(path) if is_change_plan(path) else Plan.load(path)


def _does_not_add_up(found: Record) -> str:
    told: Mapping[str, int] = found.summary.get("verdicts", {})
    if not told:
        return ""
    rows = found.table("files")["verdict"].value_counts()
    for word, count in told.items():
        if count != rows.get(word, 0):
            return f"its summary tells of {count} files {word}, and its table of {rows.get(word, 0)}"
    return ""


def _sessions_of(found: Record, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a record says became of each session; one of a reading says nothing of that."""
    if not found.summary.get("verdicts"):
        return
    crosswalk: dict[tuple[str, str], dict[str, Any]] = {}
    if (found.data / "crosswalk.csv").exists():
        for one in found.table("crosswalk").to_dict("records"):
            crosswalk[one["subject"], one["session"]] = one
    for one in found.table("sessions").to_dict("records"):
        to = crosswalk.get((one["subject"], one["session"]), {})
        kept = {name: one[name] for name in SESSION_COLUMNS if name in OUTCOME_COLUMNS and name in one}
        kept |= {name: to.get(name, "") for name in ("to_subject", "to_session")}
        yield kept | {name: row[name] for name in ("source", "destination", "template", "made_at", "record")}


def _lay_beside(root: Path, rows: list[dict[str, Any]]) -> None:
    """What records and the index of a campaign say of other records here: a row for each that is lost."""
    by_name = {row["record"]: row for row in rows}
    named = {}
    with contextlib.suppress(InputError):
        named = {Path(row["record"]).name: "the index of a campaign" for row in read_index(root) if row.get("record")}
    for row in list(rows):
        about = read_about(root / row["record"] / "data", SUMMARY)
        copy, given = about.get("takes_up", {}), about.get("parameters", {}).get("record", "")
        if not copy:
            continue
        if not given or with_home(given).resolve().parent == root.resolve():
            named[copy["record"]] = row["record"]
        there = by_name.get(copy["record"], {})
        if there.get("status") == "whole" and bag_digest(Record(root / copy["record"], {})) != copy["bag"]:
            there |= {"status": "changed", "because": f"{row['record']} deleted by another one of that name"}
    for name, by in sorted(named.items()):
        if not (root / name).exists() and not (root / f"{name}{UNFINISHED}").exists():
            rows.append({"record": name, "status": "lost", "because": f"{by} names it"})


def _today(found: Record, depth: str) -> tuple[str, str]:
    """Whether what a record says holds on the servers now, in words, and why not."""
    try:
        with contextlib.ExitStack() as stack:
            result = _prove(found, depth, stack)
    except XnbTransferError as problem:
        return WORDS[ExitCode.CANNOT_BE_PROVED], problem.message
    code = ExitCode(result.exit_code)
    if code == ExitCode.PROVED:
        return WORDS[code], ""
    counts = ", ".join(f"{count} {word}" for word, count in result.counts.items() if count)
    return WORDS[code], "; ".join([counts, *result.problems[:3]])


def _prove(found: Record, depth: str, stack: contextlib.ExitStack) -> Result:
    made = _plan_of(found)
    if isinstance(made, ChangePlan):
        return actions.verify_changes(made, found.journal, *actions.connect_for(made, stack))
    destination = stack.enter_context(connect("destination", made.destination.server))
    return verify(made, found.journal, destination, None, proof=depth)


# -- how it is shown ------------------------------------------------------------------------------------------------


def audit_banner(found: Audit) -> Html:
    """How it went in one line, how many of which status, and what to do next."""
    code = found.exit_code
    counts = found.records["status"].value_counts()
    sentence = ", ".join(f"{n} {status}" for status, n in counts.items()) + f"; together {len(found.records)} records."
    return banner(found.ended[1], f"{sentence} Next: {NEXT_OF_AUDIT[code]}", *_LOOK[code])


_LOOK = {
    ExitCode.PROVED: (Tone.GOOD, "✓"),
    ExitCode.DIFFERENCES: (Tone.BAD, "✗"),
    ExitCode.CANNOT_BE_PROVED: (Tone.WARN, "?"),
}


def totals_table(found: Audit) -> Html:
    """What all records say together."""
    made = found.records["made_at"]
    made = made[made != ""]
    kinds = found.records["template"].value_counts()
    whole = found.records[found.records["status"] == "whole"]
    sums = {word: int(whole[name].sum()) for word, name in _VERDICTS.items()}
    states = found.sessions["state"].value_counts()
    return pairs(
        {
            "records": ", ".join(f"{n} {kind}" for kind, n in kinds.items() if kind) or "none",
            "made between": f"{made.min()} and {made.max()}" if len(made) else "unknown",
            "by": ", ".join(sorted(set(whole["user"]) - {""})) or "unknown",
            "sessions": ", ".join(f"{n} {state}" for state, n in states.items()) or "none",
            "files by verdict": ", ".join(f"{n} {word}" for word, n in sums.items()),
        },
        "What the records say together",
    )


def records_tables(found: Audit) -> Html:
    """The records that want a look, then all of them; a record's name tells when it was made, and the projects."""
    told = [{"status": word, "means": means} for word, means in _STATUS.items() if word in set(found.records["status"])]
    return (
        table(told, "What is said of a record", ["status", "means"])
        + table(found.open_points, "Records that want a look", ["record", "status", "today", "because"])
        + table(found.records, "Records", ["record", "status", "today", "user", "files", "result"], full="records.csv")
    )


def sessions_table(found: Audit) -> Html:
    """What became of each session, by the records that are whole."""
    columns = ["subject", "session", "destination_session", "source", "destination", "state"]
    columns += ["files", "different", "not_proved", "made_at"]
    shown = found.sessions.assign(made_at=found.sessions["made_at"].str[:10])
    shown = shown.rename(columns={"to_session": "destination_session"})
    return table(shown, "Sessions", columns, full="sessions.csv", of=found.sessions)
