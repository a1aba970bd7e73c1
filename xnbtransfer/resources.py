"""Which resources are carried beside the DICOM scans: none, unless their labels are named. Pure.

What a pipeline made is usually made anew at the destination by running the pipeline there, so that is the advice; what
cannot be made anew is carried byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd

from .diff import is_dicom
from .findings import Finding, finding
from .holdings import by_hand
from .keys import SessionKey
from .options import TransferOptions
from .plan_file import SENDS, FieldPlan, LeftBehind, ResourcePlan, SessionPlan
from .uncarried import why_not
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
_ALL_THERE = "the destination has all its files"
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
    rows, uncarried, missed = [], [], set(options.resources)
    sent_scans = {key: {scan.scan for scan in row.sent_scans} for key, row in by_key.items()}
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
        if action != "leave":
            made = scan if scan and scan not in sent_scans.get(SessionKey(subject, session), ()) else ""
            if why := why_not(resource, files, is_there=bool(theirs), makes_scan=made):
                action, because = "leave", why
                what = f"{resource} of {'/'.join(filter(None, (subject, session, scan))) or 'the project'}: {why}."
                about = {"subject": subject, "session": session, "scan": scan, "files": len(files)}
                uncarried.append(finding("P16", what, project=source.project, **about))
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
                open_point=action == "leave" and because != _ALL_THERE,
                source_state=state_of(files),
                destination_state=state_of(theirs),
            )
        )
    rows, crossed = _kept_apart(source, rows, here, options)
    return rows, [*_findings(source, rows, missed, options), *_lost(source, here, options), *crossed, *uncarried]


def _lost(source: Inventory, here: Mapping[Place, Mapping], options: TransferOptions) -> Iterable[Finding]:
    """Chosen resources of subjects and the project of which a file list names fewer files than their server counts.

    Those of sessions are laid beside the session's own document right before a run (``fresh.unsure``).
    """
    if source.beside is None or source.others is None:
        return
    for subject, session, kind, name, files in tuples_of(source.beside, "subject", "session", "kind", "name", "files"):
        level = "subject" if subject else "project"
        if kind != "resource" or session or not is_wanted(level, name, options.resources):
            continue
        if (listed := len(here.get((subject, "", "", name), ()))) < files:
            what = f"The file list names {listed} files in {name} of {subject or 'the project'}, and {files} are there "
            what += "by its server's own count."
            yield finding("P20", what, project=source.project, subject=subject, files=files)


def _kept_apart(
    source: Inventory, rows: list[ResourcePlan], here: Mapping[Place, Mapping], options: TransferOptions
) -> tuple[list[ResourcePlan], list[Finding]]:
    """The rows, of which none is carried to an address of another one; with a finding for each that is left for that.

    An import files the scans of one series as one scan (XNAT source, ``GradualDicomImporter``: the folder of a scan
    is found by SeriesInstanceUID), so their resources meet there; so do those of subjects that the label map joins.
    """
    series = {}
    if options.method != "files":
        columns = ["subject", "session", "scan", "SeriesInstanceUID"]
        series = {tuple(row[:3]): row[3] for row in tuples_of(source.scans, *columns) if row[3]}
    taken: dict[tuple[str, ...], dict[str, ResourcePlan]] = {}
    kept, found = [], []
    for row in rows:
        if row.action == "leave":
            kept.append(row)
            continue
        place = (row.subject, row.session, row.scan, row.resource)
        scan = series.get(place[:3], row.scan)
        to = (row.level, row.destination_subject.casefold(), row.destination_session, scan, row.resource)
        paths = taken.setdefault(to, {})
        met = sorted(set(paths) & set(here[place]))
        if met:
            files = "a file of one name" if len(met) == 1 else f"{len(met)} files of the same names"
            sentence = f"{paths[met[0]].where} and {row.where} would go to one place, with {files}."
            found.append(finding("P15", sentence, project=source.project, subject=row.subject, session=row.session,
                                 scan=row.scan, files=len(met)))  # fmt: skip
            because = f"{paths[met[0]].where} goes to the same place, and only one of them can be kept there"
            row = row.model_copy(update={"action": "leave", "because": because, "open_point": True})
        else:
            paths.update(dict.fromkeys(here[place], row))
        kept.append(row)
    return kept, found


def _against(files, theirs, existing: str) -> tuple[str, str]:
    changed = [
        path
        for path, (size, md5) in files.items()
        if path in theirs and (theirs[path][0] != size or (md5 and theirs[path][1] and md5 != theirs[path][1]))
    ]
    missing = set(files) - set(theirs)
    if not missing and not changed:
        return "leave", _ALL_THERE
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


def left_behind(
    source: Inventory,
    carried: Iterable[ResourcePlan] = (),
    *,
    sessions: Iterable[SessionPlan] = (),
    fields: Iterable[FieldPlan] | None = None,
    ratings: bool = True,
) -> Iterable[LeftBehind]:
    """All that the chosen sessions, their subjects and the project hold and that is not carried, and what to do.

    Parameters
    ----------
    carried : iterable of ResourcePlan
        The resources that were chosen.
    sessions : iterable of SessionPlan
        What people wrote of the scans that are sent is named, too, unless ``ratings`` go with them.
    fields : iterable of FieldPlan, optional
        The fields that were chosen.
    """
    taken = {(one.subject, one.session, one.scan, one.resource) for one in carried if one.action != "leave"}
    for row in source.resources.itertuples(index=False):
        if row.scan and is_dicom(row.resource, row.format):
            continue
        if (row.subject, row.session, row.scan, row.resource) in taken:
            continue
        yield _left(row, row.resource, "resource", _advice(row.resource, "the images"), scan=row.scan)
    yield from _beside(source, taken, fields or ())
    for subject, session, scan, name in edited(source, sessions) if ratings else ():
        about = {"subject": subject, "session": session, "scan": scan, "resource": f"scan/{name}", "kind": "field"}
        advice = "an import does not carry it: enter it at the destination"
        yield LeftBehind(**about, files=0, size_bytes=0, advice=advice)


def edited(source: Inventory, sessions: Iterable[SessionPlan]) -> Iterable[tuple[str, str, str, str]]:
    """Subject, session, scan and name of what somebody edited of the scans that are sent; no values."""
    sent = {(row.subject, row.session, scan.scan) for row in sessions for scan in row.sent_scans}
    columns = ("quality", "type", "note", "series_description")
    for subject, session, scan, *values in tuples_of(source.scans, "subject", "session", "scan", *columns):
        if (subject, session, scan) in sent:
            about = {"scan": scan, **dict(zip(columns, values, strict=True))}
            for _, name in by_hand([about], {}):
                yield subject, session, scan, name.removeprefix("scan/")


def _beside(source: Inventory, taken: Collection[Place], fields: Iterable[FieldPlan]) -> Iterable[LeftBehind]:
    if source.beside is None:
        return
    settled = {(one.subject, one.session, one.name) for one in fields if not one.open_point}
    for row in source.beside.itertuples(index=False):
        if (row.subject, row.session, "", row.name) in taken and row.kind == "resource":
            continue
        if row.kind == "field" and (row.subject, row.session, row.name) in settled:
            continue
        advice = _ADVICE.get(row.kind) or _advice(row.name, "what it has")
        yield _left(row, row.name, row.kind, advice.format(type=row.type))


_ADVICE = {
    "assessor": "an assessor of type {type}: no copy carries it; bring it there by hand if it is needed",
    "reconstruction": "a reconstruction: no copy carries it; make it anew there, or bring it by hand",
    "assessment": "data of the subject without images, of type {type}: no copy carries it; bring it there by hand",
    "field": "name it in fields if it is needed there",
    "other": "no copy carries it; enter it at the destination",
    "unread": "what this holds beside images could not be read; look at it on the web page of the source",
}


def _left(row, name: str, kind: str, advice: str, scan: str = "") -> LeftBehind:
    return LeftBehind(
        subject=row.subject,
        session=row.session,
        scan=scan,
        resource=name,
        files=row.files,
        size_bytes=row.size_bytes,
        advice=advice,
        kind=kind,
    )


def _advice(label: str, of: str) -> str:
    by = made_by(label)
    if by == "XNAT itself":
        return f"made by XNAT from {of}: it is made anew there"
    if by:
        return f"output of a pipeline ({by}): run the pipeline again at the destination"
    return "not DICOM: name it in resources if it is needed there"


def beside_findings(source: Inventory, left: Sequence[LeftBehind]) -> Iterable[Finding]:
    """What a plan leaves behind, in sentences: resources, what people wrote, assessors, and what nobody could see."""
    where = {"project": source.project}
    resources = [one for one in left if one.kind == "resource"]
    if resources:
        sentence = f"{len(resources)} resources that are not DICOM scans stay behind{_some(resources)}."
        yield finding("P07", sentence, **where)
    fields = [one for one in left if one.kind == "field" and not one.scan]
    if fields:
        names = sorted({one.resource for one in fields})
        some = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        items = len({(one.subject, one.session) for one in fields})
        yield finding("P17", f"{len(fields)} fields of {items} subjects or sessions stay behind: {some}.", **where)
    for kind, words in _STAYS.items():
        if these := [one for one in left if one.kind == kind]:
            yield finding("P18", f"{len(these)} {words} stay behind{_some(these)}.", **where)
    if unread := [one for one in left if one.kind == "unread"]:
        sentence = f"What {len(unread)} subjects or sessions hold beside images could not be read{_some(unread)}."
        yield finding("P19", sentence, **where)
    if source.beside is None:
        sentence = "Nobody asked what sessions, their subjects and the project hold beside images and their resources."
        yield finding("P19", sentence, severity="note", **where)


_STAYS = {
    "assessor": "assessors",
    "reconstruction": "reconstructions",
    "assessment": "data sets of subjects without images",
    "other": "lists of further data",
}


def _some(left: Sequence[LeftBehind], most: int = 5) -> str:
    """The first of them with their places, as the end of a sentence."""

    def told(one: LeftBehind) -> str:
        place = "/".join(filter(None, (one.subject, one.session))) or "the project"
        name = {"unread": ""}.get(one.kind, f"{one.resource} of ")
        return f"{name}{place}{f' scan {one.scan}' if one.scan else ''}"

    return ": " + ", ".join(told(one) for one in left[:most]) + (", ..." if len(left) > most else "")


def _findings(source: Inventory, rows: list[ResourcePlan], missed: set[str], options: TransferOptions):
    where = {"project": source.project}
    sent = [row for row in rows if row.action != "leave"]
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
