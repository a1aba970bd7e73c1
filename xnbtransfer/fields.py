"""Fields of subjects and sessions, custom variables among them: carried on request, by name, and read again.

Values are never in a plan, a journal or a record: they may say who somebody is. The journal keeps a salted digest of
each, so that a later verification can do without the source. A value that can be guessed (one of two genders) can be
found out from that by trying, so it is in no copy that is handed on.
"""

from __future__ import annotations

import fnmatch
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ._items import item_path
from ._store import archived_path, subject_path
from .errors import ServerError, TransientError, XnbTransferError
from .keys import SessionKey
from .plan_file import SENDS, Plan, SessionPlan
from .values import Verdict
from .xnat import Connection

FIELDS = "(fields)"  # stands where a resource stands for files
# What says which item it is, or what the server itself fills.
_NEVER = {
    "ID", "id", "label", "project", "subject_ID", "subject_id", "UID", "date", "time", "modality", "xsiType", "URI",
    "insert_date", "insert_user", "prearchivePath", "session_type", "study_id", "dcmAccessionNumber", "dcmPatientId",
    "dcmPatientName", "dcmPatientBirthDate", "dcmPatientWeight", "status", "version", "original", "protocol",
}  # fmt: skip


def short_name(path: str) -> str:
    """What people call a field: ``gender``, ``scanner/model``, and ``field:NAME`` for a custom variable.

    >>> short_name("demographics/gender"), short_name("fields/field[name=visit day]/field")
    ('gender', 'field:visit day')
    """
    if path.startswith("fields/field[name="):
        return "field:" + path.removeprefix("fields/field[name=").removesuffix("]/field")
    return path.removeprefix("demographics/")


def is_chosen(level: str, path: str, chosen: Iterable[str]) -> bool:
    """Whether a field was named: ``subject/gender``, ``session/field:*``, ``subject/*``."""
    if path in _NEVER or path.rpartition("/")[2] in ("ID", "id", "name") or path.endswith("_id"):
        return False
    return any(fnmatch.fnmatchcase(f"{level}/{short_name(path)}", one) for one in chosen)


def unmet(chosen: Iterable[str], carried: Iterable[str]) -> list[str]:
    """Those of the chosen names that met no field, given the names of all that were carried."""
    carried = list(carried)
    return [one for one in chosen if not fnmatch.filter(carried, one)]


def address(level: str, kind: str, path: str) -> str:
    """The path of a field as XNAT wants it when it is written."""
    if level == "subject" and path.startswith("demographics/"):
        name = path.removeprefix("demographics/")
        return f"xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/{name}"
    return f"{kind or 'xnat:subjectData'}/{path}"


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of one item: rows with MANIFEST_COLUMNS, their values, and how many stay as they are there."""

    level: str
    session: SessionPlan
    rows: list[dict]
    values: list[str] = field(default_factory=list, repr=False)
    kept: int = 0
    failed: XnbTransferError | None = None


def _items(plan: Plan, session: SessionPlan, session_id: str, subjects: set[str]):
    """Level and addresses of a session and, the first time, of its subject."""
    if session.destination_subject not in subjects:
        subjects.add(session.destination_subject)
        here = subject_path(plan.source.project, session.subject)
        yield "subject", here, subject_path(plan.destination.project, session.destination_subject)
    there = item_path(plan.destination.project, session.destination_subject, session_id)
    yield "session", archived_path(session.session_id), there  # older servers take fields below the project only


def carry_fields(
    plan: Plan,
    source: Connection,
    destination: Connection,
    archived: Mapping[SessionKey, str],
    stopping: Callable[[], bool] = lambda: False,
) -> list[Fields]:
    """Carry the chosen fields of the sessions that are archived, and of their subjects; read each again.

    What the destination has a value for already stays, unless the plan says replace.

    Parameters
    ----------
    archived : mapping of SessionKey to str
        The accessions of the sessions at the destination.
    """
    options, found, subjects = plan.transfer_options, [], set()
    for session in plan.sessions if options.fields else ():
        if session.action not in SENDS or session.key not in archived:
            continue
        for level, here, there in _items(plan, session, archived[session.key], subjects):
            if stopping():
                return found
            try:
                found.append(_carry(level, session, here, there, source, destination, options))
            except XnbTransferError as problem:
                row = _row(level, session, "*", False) | {"because": str(problem)}
                found.append(Fields(level=level, session=session, rows=[row], values=[""], failed=problem))
    return found


def digests_of(values: Iterable[str]) -> dict:
    """A salted digest of each value, as a journal may keep it."""
    salt = secrets.token_hex(16)
    return {"salt": salt, "values": [_digest(salt, value) for value in values]}


def _digest(salt: str, value: str) -> str:
    return hashlib.scrypt(value.encode(), salt=bytes.fromhex(salt), n=1024, r=8, p=1, dklen=16).hex()


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
    subjects: set[str] = set()
    concerned = {row["subject"] for row in proved}
    for session in plan.sessions:
        if session.subject not in concerned:
            continue
        for level, here, there in _items(plan, session, archived.get(session.key, ""), subjects):
            if level == "session" and session.key not in archived:
                continue
            theirs = source.fields_of(here)[1] if source is not None else {}
            _, ours = destination.fields_of(there)
            for path in {*theirs, *ours}:
                name = (session.subject, session.session if level == "session" else "", f"{level}/{short_name(path)}")
                now[name] = theirs.get(path), ours.get(path, "")
    found = []
    for at, row in enumerate(proved):
        theirs, ours = now.get((row["subject"], row["session"], row["path"]), (None, ""))
        verdict, because = Verdict.NOT_PROVED, "without the source its value cannot be compared"
        equal = tried = False
        if theirs is not None:
            equal = ours == theirs
            because = "its value is equal" if equal else "its value is not that of the source"
        elif tried := carried and not row["path"].endswith("/*"):  # that stands for fields that were never read
            equal = _digest(carried["salt"], ours) == carried["values"][at]
            because = "its value is the one that was carried" if equal else "its value is not the one that was carried"
        if theirs is not None or tried:
            verdict = Verdict.EQUAL if equal else Verdict.DIFFERENT
        found.append({**row, "verdict": str(verdict), "because": because})
    return found


def _carry(level, session: SessionPlan, at: str, to: str, source, destination, options) -> Fields:
    kind, theirs = source.fields_of(at)
    wanted = {path: value for path, value in theirs.items() if is_chosen(level, path, options.fields)}
    _, there = destination.fields_of(to)
    missing = {
        path: value
        for path, value in wanted.items()
        if there.get(path, "") != value and (not there.get(path) or options.existing == "replace")
    }
    kept = sum(1 for path, value in wanted.items() if there.get(path, "") != value and path not in missing)
    if missing:
        given = {address(level, kind, path): value for path, value in missing.items()}
        problem: XnbTransferError | None = None
        for _ in range(3):
            try:
                destination.set_fields(to, given, options.reason)
                problem = None
            except (TransientError, ServerError) as error:
                problem = error
            _, there = destination.fields_of(to)
            if problem is None or all(there.get(path, "") == value for path, value in missing.items()):
                problem = None
                break
            if not (problem.retry or getattr(problem, "status", 0) >= 500):
                break
        if problem is not None:
            raise problem
    shown = {path: value for path, value in sorted(wanted.items()) if path in missing or there.get(path, "") == value}
    rows = [_row(level, session, path, there.get(path, "") == value) for path, value in shown.items()]
    return Fields(level=level, session=session, rows=rows, values=list(shown.values()), kept=kept)


def _row(level: str, session: SessionPlan, path: str, equal: bool) -> dict:
    """One field as a row of MANIFEST_COLUMNS: its name, and no value."""
    return {
        "subject": session.subject,
        "session": session.session if level == "session" else "",
        "resource": FIELDS,
        "path": f"{level}/{short_name(path)}",
        "destination_subject": session.destination_subject,
        "destination_session": session.destination_session if level == "session" else "",
        "destination_path": f"{level}/{short_name(path)}",
        "verdict": str(Verdict.EQUAL if equal else Verdict.DIFFERENT),
        "because": "its value is equal" if equal else "the destination did not take its value",
    }
