"""What no request can carry: labels, scan numbers and file names that XNAT, or what stands before it, reads otherwise.

Called by the plan, so that it is told before the start and not by a refusal in the middle of writing. Pure. It must
never judge more harshly than the edge that writes: both ask ``forms``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from . import forms
from .diff import dicom_files
from .findings import Finding, finding
from .options import TransferOptions
from .plan_file import SENDS, ScanPlan, SessionPlan
from .values import Inventory, tuples_of

_NAMED = 3


def why_not(resource: str, paths: Iterable[str], *, is_there: bool = False, makes_scan: str = "") -> str:
    """Why no request carries a resource; "" where one does.

    Parameters
    ----------
    paths : iterable of str
        Its files.
    is_there : bool
        Whether the destination has a resource of this label, which is addressed by its number then.
    makes_scan : str
        The number of the scan that is made for it; "" where none is.
    """
    if makes_scan and not forms.scan_can_be_made(makes_scan):
        return f"no request makes a scan called {makes_scan!r}: XNAT takes letters, digits, _ and - there"
    if not is_there and not forms.label_can_be_made(resource):
        return f"no request makes a resource called {resource!r}: XNAT reads this label otherwise"
    bad = sorted(path for path in paths if not forms.file_can_be_put(path))
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        named = ", ".join(map(repr, bad[:_NAMED]))
        return f"no request and no zip brings files of these names: {named}{more}"
    return ""


def leave_uncarried(
    source: Inventory, rows: Iterable[SessionPlan], options: TransferOptions
) -> tuple[list[SessionPlan], list[Finding]]:
    """The sessions of a plan without those scans that no request can carry, and a finding for each scan."""
    rows = list(rows)
    names: dict[tuple[str, str, str, str], list[str]] = {}
    if options.method == "files":
        for *place, path in tuples_of(dicom_files(source), "subject", "session", "scan", "resource", "path"):
            names.setdefault(tuple(place), []).append(path)
    kept, found = [], []
    for row in rows:
        bad = dict(_uncarried(row, names, options)) if row.action in SENDS else {}
        for scan, because in bad.items():
            where = {"project": source.project, "subject": row.subject, "session": row.session, "scan": scan.scan}
            found.append(finding("P16", f"{row.key} scan {scan.scan}: {because}.", files=scan.files, **where))
        kept.append(_without(row, bad) if bad else row)
    return kept, found


def _uncarried(
    row: SessionPlan, names: dict[tuple[str, str, str, str], list[str]], options: TransferOptions
) -> Iterator[tuple[ScanPlan, str]]:
    for scan in row.sent_scans:
        because = ""
        if not forms.scan_can_be_asked(scan.scan):
            because = f"no request names a scan called {scan.scan!r}"
        elif options.method == "files":
            paths = names.get((row.subject, row.session, scan.scan, scan.resource), [])
            there = row.action == "replace"
            because = why_not(scan.resource, paths, is_there=there, makes_scan="" if there else scan.scan)
        if because:
            yield scan, because


def _without(row: SessionPlan, bad: Collection[ScanPlan]) -> SessionPlan:
    """A session of which some scans stay behind; somebody has to look at it, also after that was waived."""
    scans = tuple(
        scan.model_copy(update={"action": "leave", "because": "no request can carry it"}) if scan in bad else scan
        for scan in row.scans
    )
    left = {"scans": scans, "open_point": f"{len(bad)} of its scans cannot be carried by any request"}
    if not any(scan.action == "send" for scan in scans):
        left |= {"action": "skip", "because": "none of its scans can be carried by any request"}
    return row.model_copy(update=left)
