"""No two proved files or fields of a result have one address: one of them would have taken the place of the other.

Called where a result is made, whatever made its rows: a run, a verification, a plan of changes. Pure; what is to be
kept apart before anything is written is decided by the plan (rule P15).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from .values import Verdict

_COLUMN = {Verdict.EQUAL: "equal", Verdict.EXPLAINED: "explained", Verdict.NOT_PROVED: "not_proved"}
_COLUMN |= {Verdict.DIFFERENT: "different"}
_PROVED = (Verdict.EQUAL, Verdict.EXPLAINED)
SAME_PLACE = "has the same place at the destination, which keeps only one of them"
SAME_INSTANCE = "is the same instance, and an archive keeps one file of an instance in a scan"


def kept_apart(outcomes: Sequence[dict], rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Outcomes and rows of a result, in which proved rows that have one address are different.

    An address is destination subject, session, scan, resource and path; the name of a field is a path. Two files of
    one SOPInstanceUID in one scan resource are one as well: XNAT counts them as damage of its catalogue ("Scan N DICOM
    catalog contains duplicated SOP instance UIDs", with which a live XNAT refused to archive such a scan, recorded).

    Parameters
    ----------
    outcomes, rows : sequence of dict
        OUTCOME_COLUMNS and MANIFEST_COLUMNS. They are not changed.
    """
    sentences: dict[int, str] = {}
    for name, words in ((_address, SAME_PLACE), (_instance, SAME_INSTANCE)):
        at: dict[Hashable, list[int]] = {}
        for number, row in enumerate(rows):
            if row["verdict"] in _PROVED and (key := name(row)) is not None:
                at.setdefault(key, []).append(number)
        for several in at.values():
            for number in several if len(several) > 1 else ():
                other = several[0] if number != several[0] else several[1]
                sentences.setdefault(number, f"{_name(rows[other])} {words}")
    if not sentences:
        return list(outcomes), list(rows)
    moved: dict[tuple[str, str], list[str]] = {}
    for number in sentences:
        row = rows[number]
        moved.setdefault((row["subject"], row["session"]), []).append(row["verdict"])
    different = {"verdict": str(Verdict.DIFFERENT)}
    found = [
        row | different | {"because": sentences[number]} if number in sentences else row
        for number, row in enumerate(rows)
    ]
    return [_counted(one, moved.get((one["subject"], one["session"]), ())) for one in outcomes], found


def _address(row: Mapping) -> Hashable | None:
    """Where a file or field is at the destination; None where no reading told it."""
    if not row.get("destination_path"):
        return None
    scan = row.get("destination_scan") or ("", row.get("scan", ""))  # a zip does not always tell the scan
    subject, session = row.get("destination_subject", ""), row.get("destination_session", "")
    return subject, session, scan, row.get("resource", ""), row["destination_path"]


def _instance(row: Mapping) -> Hashable | None:
    address = _address(row)
    return None if address is None or not row.get("SOPInstanceUID") else (*address[:4], row["SOPInstanceUID"])


def _name(row: Mapping) -> str:
    place = "/".join(part for part in (row["subject"], row["session"]) if part) or "the project"
    scan = f" scan {row['scan']}" if row.get("scan") else ""
    return f"{row.get('path', '')} of {place}{scan}"


def _counted(outcome: dict, moved: Iterable[str]) -> dict:
    """An outcome some of whose rows, told by the verdicts that they had, are different."""
    found = dict(outcome)
    for verdict in moved:
        found[_COLUMN[Verdict(verdict)]] -= 1
        found["different"] += 1
        found["verdict"] = str(Verdict.DIFFERENT)
    return found
