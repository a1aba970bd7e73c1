"""Which fields are chosen, and what a plan decides about each: pure, and without a value.

Called by the plan, and by what reads, carries and proves fields. A value is known here by a salted digest only, so that
a plan can be handed on; one that can be guessed (one of two genders) can be found out from that by trying.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Collection, Iterable, Mapping

from .keys import SessionKey
from .options import TransferOptions
from .plan_file import SENDS, FieldPlan, SessionPlan
from .values import Inventory, tuples_of

# What says which item it is, or what the server itself fills.
_NEVER = {
    "ID", "id", "label", "project", "subject_ID", "subject_id", "UID", "date", "time", "modality", "xsiType", "URI",
    "insert_date", "insert_user", "prearchivePath", "session_type", "study_id", "dcmAccessionNumber", "dcmPatientId",
    "dcmPatientName", "dcmPatientBirthDate", "dcmPatientWeight", "status", "version", "original", "protocol",
}  # fmt: skip
UNREAD = "*"


def short_name(path: str) -> str:
    """What people call a field: ``gender``, ``scanner/model``, and ``field:NAME`` for a custom variable.

    >>> short_name("demographics/gender"), short_name("fields/field[name=visit day]/field")
    ('gender', 'field:visit day')
    """
    if path.startswith("fields/field[name="):
        return "field:" + path.removeprefix("fields/field[name=").removesuffix("]/field")
    return path.removeprefix("demographics/")


def may_be_chosen(path: str) -> bool:
    """Whether a field can be carried: not what says which item it is, nor what the server itself fills."""
    return not (path in _NEVER or path.rpartition("/")[2] in ("ID", "id", "name") or path.endswith("_id"))


def is_chosen(level: str, path: str, chosen: Iterable[str]) -> bool:
    """Whether a field was named: ``subject/gender``, ``session/field:*``, ``subject/*``."""
    return may_be_chosen(path) and any(
        fnmatch.fnmatchcase(f"{level}/{short_name(path)}", one) for one in chosen
    )


def unmet(chosen: Iterable[str], carried: Iterable[str]) -> list[str]:
    """Those of the chosen names that met no field, given the names of all that were carried."""
    carried = list(carried)
    return [one for one in chosen if not fnmatch.filter(carried, one)]


def salted(salt: str, value: str) -> str:
    """A salted digest of a value that makes guessing slow; ``salt`` is hexadecimal."""
    return hashlib.scrypt(value.encode(), salt=bytes.fromhex(salt), n=1024, r=8, p=1, dklen=16).hex()


def field_state(salt: str, path: str, value: str) -> str:
    """What stands in a field, as one digest; "" where nothing does."""
    return salted(salt, f"{path}\x1f{value}") if value else ""


def plan_fields(
    source: Inventory,
    destination: Inventory,
    sessions: Iterable[SessionPlan],
    options: TransferOptions,
    held: Collection[SessionKey],
) -> list[FieldPlan] | None:
    """Decide what happens with each field that was chosen; None where none was, or where fields were not read.

    A subject of the destination gets the fields of one subject of the source, the first of those that are joined in it.

    Parameters
    ----------
    held : collection of SessionKey
        Sessions whose study is in the archive of the destination already, under their label.
    """
    if not options.fields or source.fields is None or destination.fields is None:
        return None
    here, there = _states(source), _states(destination)
    owner: dict[str, str] = {}
    rows: list[FieldPlan] = []
    seen: set[tuple[str, str]] = set()
    concerned = [one for one in sessions if one.action in SENDS or one.key in held and one.decided != "by row"]
    for one in sorted(concerned, key=lambda row: row.action not in SENDS):  # what is sent has the first word
        subject = (one.subject, one.destination_subject)
        if subject not in seen:
            seen.add(subject)
            first = owner.setdefault(one.destination_subject.casefold(), one.subject)
            mine = here.get((one.subject, ""), {})
            theirs = there.get((one.destination_subject, ""), {})
            because = "" if first == one.subject else f"subject {first} goes to the same subject, and its fields do"
            because = because or ("" if one.action in SENDS else "no session of its subject is sent")
            rows += _rows("subject", one, mine, theirs, options, because, made=False)
        mine, theirs = here.get(one.key, {}), there.get(one.to, {})
        because = "" if one.action in SENDS else "its session is there already and is not sent"
        rows += _rows("session", one, mine, theirs, options, because, made=one.key not in held)
    return rows


def _states(side: Inventory) -> dict[tuple[str, str], dict[str, str]]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for subject, session, path, state in tuples_of(side.fields, "subject", "session", "path", "state"):
        found.setdefault((subject, session), {})[path] = state
    return found


def _rows(
    level: str,
    session: SessionPlan,
    mine: Mapping[str, str],
    theirs: Mapping[str, str],
    options: TransferOptions,
    refused: str,
    *,
    made: bool,
) -> Iterable[FieldPlan]:
    """A row for each chosen field of an item; ``refused``: why none is written, ``made``: the plan makes the item."""
    at_session = level == "session"
    about = {
        "level": level,
        "subject": session.subject,
        "session": session.session if at_session else "",
        "destination_subject": session.destination_subject,
        "destination_session": session.destination_session if at_session else "",
    }
    if not any(one.startswith((f"{level}/", "*")) for one in options.fields):
        return
    side = "source" if UNREAD in mine else "destination" if UNREAD in theirs else ""
    if side:
        because = f"its fields could not be read at the {side}, so none is carried"
        name = f"{level}/{UNREAD}"
        yield FieldPlan(**about, path=UNREAD, name=name, action="leave", because=because, open_point=True)
        return
    for path, state in sorted(mine.items()):
        if not is_chosen(level, path, options.fields):
            continue
        action, because = _decided(state, theirs.get(path, ""), refused, options.existing, made)
        yield FieldPlan(
            **about,
            path=path,
            name=f"{level}/{short_name(path)}",
            action=action,
            because=because,
            source_state=state,
            destination_state=theirs.get(path, ""),
            open_point=action == "leave" and because != _ALREADY,
        )


_ALREADY = "the destination has its value already"


def _decided(mine: str, theirs: str, refused: str, existing: str, made: bool) -> tuple[str, str]:
    if mine == theirs:
        return "leave", _ALREADY
    if refused:
        return "leave", refused
    if existing == "replace" and (theirs or made):
        return "replace", "its value there is replaced" if theirs else "what the import fills in is replaced"
    if theirs:
        return "leave", "the destination has another value"
    return "write", "the destination has no value for it"
