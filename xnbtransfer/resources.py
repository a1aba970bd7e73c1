"""Which resources are carried beside the DICOM scans: none, unless their labels are named. Pure.

What a pipeline made is usually made anew at the destination by running the pipeline there, so that is the advice; what
cannot be made anew is carried byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import pandas as pd

from .diff import is_dicom
from .findings import Finding, finding
from .keys import SessionKey
from .options import TransferOptions
from .plan_file import SENDS, LeftBehind, ResourcePlan, SessionPlan
from .values import Inventory, tuples_of

LEVELS = ("project", "subject", "session", "scan")
_OUTPUTS = {
    "BIDS": "BIDS raw data",
    "FMRIPREP": "fMRIPrep",
    "MRIQC": "MRIQC",
    "FREESURFER": "FreeSurfer",
    "QSIPREP": "QSIPrep",
    "XCP": "XCP",
    "PIPELINE": "a pipeline",
    "LOG": "a pipeline's log",
    "QC": "a quality control",
}
_OWN = ("SNAPSHOTS",)  # XNAT makes these from the images


def made_by(label: str) -> str:
    """What is known to make resources of such a label, or "".

    >>> made_by("fmriprep-23.1")
    'fMRIPrep'
    """
    upper = label.upper()
    if upper in _OWN:
        return "XNAT itself"
    return next((name for word, name in _OUTPUTS.items() if word in upper), "")


def is_wanted(level: str, label: str, chosen: Iterable[str]) -> bool:
    """Whether a resource was chosen: by its label, by ``*``, by ``~REGEX``, each perhaps behind ``LEVEL/``."""
    for one in chosen:
        where, slash, rest = one.partition("/")
        if slash and where in LEVELS:
            if where != level:
                continue
            one = rest
        if one in ("*", label) or (one.startswith("~") and re.search(one[1:], label)):
            return True
    return False


def state_of(files: Mapping[str, tuple[int, str]]) -> str:
    """What a resource holds, as one digest; "" where it holds nothing."""
    if not files:
        return ""
    lines = sorted(f"{path}\x1f{size}\x1f{md5}" for path, (size, md5) in files.items())
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


Place = tuple[str, str, str, str]  # subject, session, scan, resource; "" above


def listed(*tables: pd.DataFrame | None) -> dict[Place, dict[str, tuple[int, str]]]:
    """The files of each resource: path to (size in bytes, MD5 or "")."""
    found: dict[Place, dict[str, tuple[int, str]]] = {}
    columns = ["subject", "session", "scan", "resource", "path", "size_bytes", "md5"]
    for table in tables:
        if table is not None:
            for *place, path, size, md5 in tuples_of(table, *columns):
                found.setdefault(tuple(place), {})[path] = (size, md5)
    return found


def level_of(place: Place) -> str:
    """Whose resource it is."""
    subject, session, scan, _ = place
    return "scan" if scan else "session" if session else "subject" if subject else "project"


def plan_resources(
    source: Inventory,
    destination: Inventory,
    sessions: Iterable[SessionPlan],
    options: TransferOptions,
    held: Iterable[SessionKey],
) -> tuple[list[ResourcePlan], list[Finding]]:
    """Decide what happens with the resources that were chosen, and say what is worth knowing about them.

    Parameters
    ----------
    held : iterable of SessionKey
        Sessions whose study is in the archive of the destination already, under their label.
    """
    by_key = {row.key: row for row in sessions}
    subjects: dict[str, set[str]] = {}
    arriving: set[str] = set()
    for row in by_key.values():
        subjects.setdefault(row.subject, set()).add(row.destination_subject)
        if row.action in SENDS:
            arriving.add(row.destination_subject)
    arriving |= set(destination.sessions["subject"])
    held = set(held)
    formats = _formats(source)
    here, there = listed(source.files, source.others), listed(destination.files, destination.others)
    rows, missed = [], set(options.resources)
    for place in sorted(here):
        subject, session, scan, resource = place
        level = level_of(place)
        if scan and is_dicom(resource, formats.get(place, "")):
            continue
        if not is_wanted(level, resource, options.resources):
            continue
        missed = {one for one in missed if not is_wanted(level, resource, [one])}
        files = here[place]
        to_subject, to_session, action, because = "", "", "send", "chosen by resources"
        if level == "subject":
            if len(subjects.get(subject, ())) != 1:
                action, because = "leave", "the sessions of its subject go to several subjects"
            to_subject = min(subjects.get(subject, {""}))
            if to_subject not in arriving:
                action, because = "leave", "its subject is not at the destination"
        elif session:
            row = by_key[SessionKey(subject, session)]
            to_subject, to_session = row.to
            if row.action not in SENDS and row.key not in held:
                action, because = "leave", f"its session is not sent: {row.because}"
        theirs = there.get((to_subject, to_session, scan, resource), {})
        if action == "send" and theirs:
            action, because = _against(files, theirs, options.existing)
        by = made_by(resource)
        if by and action != "leave":
            because += f"; known as an output of {by}"
        rows.append(
            ResourcePlan(
                level=level,
                subject=subject,
                session=session,
                scan=scan,
                resource=resource,
                destination_subject=to_subject,
                destination_session=to_session,
                format=formats.get(place, ""),
                files=len(files),
                size_bytes=sum(size for size, _ in files.values()),
                action=action,
                because=because,
                source_state=state_of(files),
                destination_state=state_of(theirs),
            )
        )
    return rows, list(_findings(source, rows, missed, options))


def _against(files, theirs, existing: str) -> tuple[str, str]:
    changed = [
        path
        for path, (size, md5) in files.items()
        if path in theirs and (theirs[path][0] != size or (md5 and theirs[path][1] and md5 != theirs[path][1]))
    ]
    missing = set(files) - set(theirs)
    if not missing and not changed:
        return "leave", "the destination has all its files"
    if existing == "replace":
        return "replace", f"{len(missing)} files are added, {len(changed)} replaced; files only there stay"
    if existing == "merge" and missing:
        return "add", f"{len(missing)} files are missing there; {len(changed)} that differ stay as they are"
    return "leave", f"the destination has a resource of that label: {len(missing)} files missing, {len(changed)} differ"


def _formats(source: Inventory) -> dict[Place, str]:
    found: dict[Place, str] = {}
    for table in (source.files, source.others):
        if table is not None:
            columns = ["subject", "session", "scan", "resource", "format"]
            for *place, form in tuples_of(table, *columns):
                found.setdefault(tuple(place), form)
    return found


def left_behind(source: Inventory, carried: Iterable[ResourcePlan] = ()) -> Iterable[LeftBehind]:
    """The resources of sessions and scans that are not carried, each with what to do about it."""
    taken = {(one.subject, one.session, one.scan, one.resource) for one in carried if one.action != "leave"}
    for row in source.resources.itertuples(index=False):
        if row.scan and is_dicom(row.resource, row.format):
            continue
        if (row.subject, row.session, row.scan, row.resource) in taken:
            continue
        by = made_by(row.resource)
        advice = "not DICOM: name it in resources if it is needed there"
        if by == "XNAT itself":
            advice = "made by XNAT from the images: it is made anew there"
        elif by:
            advice = f"output of a pipeline ({by}): run the pipeline again at the destination"
        yield LeftBehind(
            subject=row.subject,
            session=row.session,
            scan=row.scan,
            resource=row.resource,
            files=row.files,
            size_bytes=row.size_bytes,
            advice=advice,
        )


def _findings(source: Inventory, rows: list[ResourcePlan], missed: set[str], options: TransferOptions):
    where = {"project": source.project}
    sent = [row for row in rows if row.action != "leave"]
    if not options.resources and (other := sum(1 for _ in left_behind(source))):
        yield finding(
            "P07",
            f"{other} resources that are not DICOM scans stay behind.",
            **where,
        )
    if sent:
        outputs = sorted({row.resource for row in sent if made_by(row.resource)})
        known = f" Known outputs of pipelines are among them: {', '.join(outputs)}." if outputs else ""
        files = sum(row.files for row in sent)
        sentence = f"{len(sent)} resources are carried byte for byte; no script runs on them.{known}"
        yield finding("P08", sentence, files=files, **where)
    if not options.archive and options.method != "files" and any(row.session for row in sent):
        sentence = "Resources of sessions and scans were chosen, and the sessions are to wait in the prearchive."
        yield finding("P09", sentence, **where)
    if missed:
        yield finding("P10", f"No resource of the selection is called {', '.join(sorted(missed))}.", **where)
    if options.resources and source.others is None:
        sentence = "Resources of the project and of subjects were not read, so they are not carried."
        yield finding("P10", sentence, **where)
