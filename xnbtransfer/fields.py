"""Fields of subjects and sessions, custom variables among them: read for a plan, carried as it says, and read again.

Called by what reads both sides for a plan, and by what carries resources and fields. What is written, and over what,
the rows of the plan say; nothing here reads ``existing``.

Values are never in a plan, a journal or a record: they may say who somebody is. Plan and journal keep a salted digest
of each: the plan, so that what changed since is seen, the journal, so that a later verification can do without the
source. A value that can be guessed (one of two genders) can be found out from that by trying, so neither is in a copy
of a record that is handed on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pandas as pd

from .chosen_fields import UNREAD, field_state, salted, short_name
from .errors import NotDataError, NotFoundError, RefusedError, XnbTransferError
from .forms import archived_path, item_path, subject_path
from .keys import SessionKey
from .once import send_and_look
from .plan_file import SENDS, FieldPlan, Plan, SessionPlan
from .values import FIELD_COLUMNS, Verdict, frame
from .xnat import Connection

FIELDS = "(fields)"  # stands where a resource stands for files


def address(level: str, kind: str, path: str) -> str:
    """The path of a field as XNAT wants it when it is written."""
    if level == "subject" and path.startswith("demographics/"):
        name = path.removeprefix("demographics/")
        return f"xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/{name}"
    return f"{kind or 'xnat:subjectData'}/{path}"


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of one item: rows with MANIFEST_COLUMNS, and their values."""

    rows: list[dict]
    values: list[str] = field(default_factory=list, repr=False)


def read_fields(connection: Connection, items: Mapping[tuple[str, str], str], salt: str) -> pd.DataFrame:
    """What stands in the fields of some items, as digests; FIELD_COLUMNS. One request each.

    Parameters
    ----------
    items : mapping
        Subject and session ("" for the subject itself) to the address of the item. What cannot be read has one row.
    salt : str
        Hexadecimal; digests made with one salt can be compared.
    """
    known: dict[tuple[str, str], str] = {}

    def state(path: str, value: str) -> str:
        if (path, value) not in known:
            known[path, value] = field_state(salt, path, value)
        return known[path, value]

    with ThreadPoolExecutor(4) as threads:
        found = threads.map(partial(_fields_or_none, connection), items.values())
        rows = [
            {"subject": subject, "session": session, "path": path, "state": state(path, value)}
            for (subject, session), (kind, values) in zip(items, found, strict=True)
            for path, value in (values.items() if kind else [(UNREAD, "")])
            if value or not kind
        ]
    return frame(rows, FIELD_COLUMNS)


def _fields_or_none(connection: Connection, path: str) -> tuple[str, dict[str, str]]:
    """The xsiType and the fields of an item; "" as its type where they cannot be read."""
    try:
        return connection.fields_of(path)
    except (NotFoundError, NotDataError):
        return "", {}


def _items(plan: Plan, session: SessionPlan, session_id: str, subjects: set[str]):
    """Level and addresses of a session and, the first time, of its subject."""
    if session.destination_subject not in subjects:
        subjects.add(session.destination_subject)
        yield "subject", *_addresses(plan, "subject", session, session_id)
    yield "session", *_addresses(plan, "session", session, session_id)


def carry_fields(
    plan: Plan,
    source: Connection,
    destination: Connection,
    archived: Mapping[SessionKey, str],
    stopping: Callable[[], bool] = lambda: False,
    hold: Callable[[FieldPlan], None] = lambda row: None,
) -> list[Fields]:
    """Carry the fields that the plan names, of the sessions that are archived and of their subjects; read each again.

    Parameters
    ----------
    archived : mapping of SessionKey to str
        The accessions of the sessions at the destination.
    hold : callable
        Is asked with a row before its item is written to; raises where another run has it.
    """
    found: list[Fields] = []
    for rows in _planned(plan):
        session = _session_of(plan, rows[0], archived)
        if session is None:
            continue
        if stopping():
            break
        here, there = _addresses(plan, rows[0].level, session, archived[session.key])
        try:
            found.append(_carry(rows, here, there, source, destination, plan, hold))
        except XnbTransferError as problem:
            failed = [_row(row, False) | {"because": str(problem)} for row in rows]
            found.append(Fields(rows=failed, values=[""] * len(failed)))
    return found


def _planned(plan: Plan) -> list[list[FieldPlan]]:
    """The rows of a plan that are carried or looked at, by item."""
    found: dict[tuple[str, ...], list[FieldPlan]] = {}
    for row in plan.field_rows or ():
        if not row.open_point:
            found.setdefault((row.subject, row.session, row.destination_subject), []).append(row)
    return list(found.values())


def _session_of(plan: Plan, row: FieldPlan, archived: Mapping[SessionKey, str]) -> SessionPlan | None:
    """The session that was sent and has a field, or one of the subject that has it; None where none arrived."""
    of_item = (
        one
        for one in plan.sessions
        if one.action in SENDS
        and one.key in archived
        and (one.subject, one.destination_subject) == (row.subject, row.destination_subject)
        and row.session in ("", one.session)
    )
    return next(of_item, None)


def _addresses(plan: Plan, level: str, session: SessionPlan, session_id: str) -> tuple[str, str]:
    """Where an item is at the source and at the destination; older servers take fields below the project only."""
    if level == "subject":
        here = subject_path(plan.source.project, session.subject)
        return here, subject_path(plan.destination.project, session.destination_subject)
    there = item_path(plan.destination.project, session.destination_subject, session_id)
    return archived_path(session.session_id), there


def digests_of(values: Iterable[str]) -> dict:
    """A salted digest of each value, as a journal may keep it."""
    salt = secrets.token_hex(16)
    return {"salt": salt, "values": [salted(salt, value) for value in values]}


def prove_fields(
    plan: Plan,
    proved: Sequence[dict],
    source: Connection | None,
    destination: Connection,
    archived: Mapping[SessionKey, str],
    carried: Mapping | None = None,
) -> list[dict]:
    """Rows of an earlier proof with the verdicts of now.

    Where the source has a value today it decides, else the digest of the one that was ``carried``: ``digests_of`` the
    values of the rows. Without either nothing can be said.
    """
    now: dict[tuple, tuple[str | None, str]] = {}
    unread: set[tuple] = set()
    gone: set[tuple] = set()
    subjects: set[str] = set()
    concerned = {row["subject"] for row in proved}
    for session in plan.sessions:
        if session.subject not in concerned:
            continue
        for level, here, there in _items(plan, session, archived.get(session.key, ""), subjects):
            item = (session.subject, session.session if level == "session" else "")
            if level == "session" and session.key not in archived:
                gone.add(item)
                continue
            theirs = _fields_or_none(source, here)[1] if source is not None else {}
            kind, ours = _fields_or_none(destination, there)
            if not kind:
                unread.add(item)
            for path in {*theirs, *ours}:
                name = (session.subject, session.session if level == "session" else "", f"{level}/{short_name(path)}")
                now[name] = theirs.get(path), ours.get(path, "")
    found = []
    for at, row in enumerate(proved):
        theirs, ours = now.get((row["subject"], row["session"], row["path"]), (None, ""))
        verdict, because = Verdict.NOT_PROVED, "without the source its value cannot be compared"
        equal = tried = False
        if (row["subject"], row["session"]) in unread:
            because = "the destination does not show the fields of this item now"
        elif (row["subject"], row["session"]) in gone:
            because = "its session is not found in the archive of the destination"
        elif theirs is not None:
            equal = ours == theirs
            because = "its value is equal" if equal else "its value is not that of the source"
        elif tried := carried and not row["path"].endswith("/*"):  # that stands for fields that were never read
            equal = salted(carried["salt"], ours) == carried["values"][at]
            because = "its value is the one that was carried" if equal else "its value is not the one that was carried"
        if theirs is not None or tried:
            verdict = Verdict.EQUAL if equal else Verdict.DIFFERENT
        found.append({**row, "verdict": str(verdict), "because": because})
    return found


def _carry(rows: Sequence[FieldPlan], at: str, to: str, source, destination, plan: Plan, hold) -> Fields:
    """Write the fields of one item that its rows name, over nothing but what they name, and read them again."""
    kind, theirs = _fields_or_none(source, at)
    kind_there, there = _fields_or_none(destination, to)
    if kind and kind_there and any(there.get(row.path, "") != theirs.get(row.path, "") for row in rows):
        hold(rows[0])
        kind_there, there = _fields_or_none(destination, to)
    if not kind or not kind_there:
        side = "destination" if kind else "source"
        raise RefusedError(f"The {side} does not show the fields of this item, so none is carried.", "Run again.")
    wrong = {row.path: because for row in rows if (because := _changed(row, theirs, there, plan.field_salt))}
    fine = [row.path for row in rows if row.path not in wrong]
    missing = {path: theirs[path] for path in fine if there.get(path, "") != theirs[path]}
    if missing:
        given = {address(rows[0].level, kind, path): value for path, value in missing.items()}

        def look(problem: XnbTransferError | None) -> dict[str, str] | None:
            _, now = destination.fields_of(to)
            arrived = all(now.get(path, "") == value for path, value in missing.items())
            return now if problem is None or arrived else None

        write = partial(destination.set_fields, to, given, plan.transfer_options.reason)
        there = send_and_look(write, look, f"The fields of {rows[0].destination_subject}")
    found = []
    for row in rows:
        because = {"because": wrong[row.path]} if row.path in wrong else {}
        found.append(_row(row, not because and there.get(row.path, "") == theirs[row.path]) | because)
    return Fields(rows=found, values=[theirs.get(row.path, "") for row in rows])


def _changed(row: FieldPlan, theirs: Mapping[str, str], there: Mapping[str, str], salt: str) -> str:
    """In which words a field is not what its row of the plan says, on either side; "" where it is."""
    mine, ours = theirs.get(row.path, ""), there.get(row.path, "")
    if field_state(salt, row.path, mine) != row.source_state:
        return f"{row.where} is no longer as the plan saw it. Plan again."
    made = row.action == "replace" and not row.destination_state
    if mine == ours or made or (row.action == "write" and not ours):
        return ""
    if row.action == "replace" and field_state(salt, row.path, ours) == row.destination_state:
        return ""
    return f"{row.where} is no longer at the destination as the plan saw it. Plan again."


def _row(row: FieldPlan, equal: bool) -> dict:
    """One field as a row of MANIFEST_COLUMNS: its name, and no value."""
    return {
        "subject": row.subject,
        "session": row.session,
        "resource": FIELDS,
        "path": row.name,
        "destination_subject": row.destination_subject,
        "destination_session": row.destination_session,
        "destination_path": row.name,
        "verdict": str(Verdict.EQUAL if equal else Verdict.DIFFERENT),
        "because": "its value is equal" if equal else "the destination did not take its value",
    }
