"""Checks before the start that need no header: rights, settings, what the listings tell, routing by a series filter.

The same frame of findings as the review of headers; a policy weighs both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from .deid import Judge
from .dicom import keyword
from .dicomedit.engines import engines_of
from .dicomedit.paths import written
from .dicomedit.survey import Mention, survey
from .diff import of_a_desktop
from .findings import Finding, finding
from .foretell import parsed, scripts_of
from .keys import SessionKey
from .options import TransferOptions
from .plan_file import SENDS, SessionPlan
from .resources import edited
from .script_findings import text_findings
from .series_filters import Described, dropped_by
from .values import Inventory, Settings, tuples_of

_LISTED = 8


def access_findings(source: Inventory, destination: Inventory) -> Iterator[Finding]:
    """Rights on both sides, lists that are not whole, and data types that the destination does not have."""
    here, there, where = source.settings, destination.settings, destination.project
    if here.can_read is False:
        yield finding("A01", f"{source.user} may not read sessions of {source.project}.", project=source.project)
    if there.can_create is False:
        yield finding("A02", f"{destination.user} may not create sessions in {where}.", project=where)
    if there.can_create is None:
        sentence = f"The server does not tell whether {destination.user} may create sessions in {where}."
        yield finding("A03", sentence, project=where)
    if there.can_edit is False and there.can_create is not False:
        sentence = f"{destination.user} may not edit sessions in {where}, and an import of several scans needs it."
        yield finding("A04", sentence, project=where)
    if here.can_delete is False:
        sentence = f"{source.user} may not delete sessions of {source.project}; a copy does not need it."
        yield finding("A05", sentence, project=source.project)
    for side in (source, destination):
        if side.unlisted:
            some = ", ".join(side.unlisted[:5]) + (", ..." if len(side.unlisted) > 5 else "")
            sentence = f"{len(side.unlisted)} sessions of {side.project} have scans and are in no list: {some}."
            yield finding("P20", sentence, project=side.project)
    for xsi_type in there.types_missing:
        yield finding("A06", f"{where} takes no sessions of type {xsi_type} from {destination.user}.", project=where)


def settings_findings(
    source: Inventory, destination: Inventory, options: TransferOptions, rows: Sequence[SessionPlan]
) -> Iterator[Finding]:
    """What the settings of the destination will do to what arrives."""
    there, where = destination.settings, destination.project
    if there.site_script_on:
        runs = f"The site-wide anonymisation of the destination runs on every file that arrives{_rewrites(there)}."
        sentence = f"{runs} Its engine is taken for {engines_of(there.version)}."
        yield finding("S01", sentence, project=where)
    if there.project_script_on:
        runs = f"The script of {where} runs when a session is archived{_rewrites(there, of_project=True)}."
        sentence = f"{runs} Its engine is taken for {engines_of(there.version)}."
        yield finding("S02", sentence, project=where)
    yield from text_findings(
        scripts_of(
            site=(there.site_script_on, there.site_script),
            project=(there.project_script_on, there.project_script),
            context={"project": where, "subject": "a subject", "session": "a session"},
            version=there.version,
        ),
        where,
        no_header=options.review == "none",
    )
    if there.site_script_on is False and there.project_script_on is False:
        yield finding("S03", f"No anonymisation script runs at {where}.", project=where)
    if (there.prearchive_code or 0) >= 4:
        sentence = (
            f"{where} archives by itself (prearchive code {there.prearchive_code}); this transfer keeps its sessions "
            "out of that until they are compared."
        )
        yield finding("S04", sentence, project=where)
    if there.quarantine_code:
        yield finding("S05", f"New sessions of {where} are quarantined.", project=where)
    if there.checksums is False:
        sentence = "The destination keeps no checksums: the archived files are read back a second time."
        yield finding("S06", sentence, project=where)
    if not source.files.empty and (without := int((source.files["md5"] == "").sum())):
        sentence = f"The source lists no MD5 for {without} files: damage on the way to here cannot be seen for them."
        yield finding("S07", sentence, project=source.project, files=without)
    yield from _filtered(source, there, where, rows)
    yield from _subjects(source, destination, rows)
    if there.bulk_upload is False and sum(row.action in SENDS for row in rows) > 1:
        yield finding("S10", f"{where} is set up not to take bulk uploads.", project=where)
    untold = [
        word
        for word, value in (
            ("prearchive code", there.prearchive_code),
            ("site script", there.site_script_on),
            ("project script", there.project_script_on),
            ("checksums", there.checksums),
            ("series import filter", there.series_filter_on),
        )
        if value is None and word not in there.failed
    ]
    yield from failed_to_tell(there, where, destination.user)
    if untold:
        yield finding("S12", f"{where} does not tell {destination.user}: {', '.join(untold)}.", project=where)
    if options.proof == "prearchive":
        sentence = "proof=prearchive: files are proved as they were read there; the archive is not read."
        yield finding("P03", sentence, project=where)
    elif options.proof != "all":
        sentence = f"proof={options.proof}: files that are not read back stay 'cannot be proved' (exit code 4)."
        yield finding("P03", sentence, project=where)
    for inventory in (source, destination):
        for sentence in inventory.notes:
            yield finding("P04", sentence, project=inventory.project)


def rating_findings(source: Inventory, options: TransferOptions, rows: Sequence[SessionPlan]) -> Iterator[Finding]:
    """Scans whose quality, type or note somebody edited: an import carries none of that. Names places, no values."""
    if options.method == "files":
        return  # makes scans with these fields
    found: dict[str, list[str]] = {}
    for subject, session, scan, name in edited(source, rows):
        found.setdefault(name, []).append(f"{subject}/{session} scan {scan}")
    for name, places in sorted(found.items()):
        some = ", ".join(places[:5]) + (", ..." if len(places) > 5 else "")
        sentence = f"The {name} of {len(places)} scans was edited, and an import does not carry it: {some}."
        yield finding("P17", sentence, project=source.project)


def _rewrites(settings: Settings, *, of_project: bool = False) -> str:
    """Which elements a script touches, as the end of a sentence."""
    script = settings.project_script if of_project else settings.site_script
    if not script:
        return ", and its text may not be read" if script is None else ""
    found = survey(parsed(script))
    told = ["removes all private elements"] if found.removes_private else []
    kinds = (
        ("sets", [one for one in found.sets if not one.hashed]),
        ("hashes", [one for one in found.sets if one.hashed]),
        ("removes", found.deletes),
    )
    for word, mentions in kinds:
        names = list(dict.fromkeys(_name(one) for one in mentions))
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            told.append(f"{word} {', '.join(names[:_LISTED])}{more}")
    return f"; it {'; '.join(told)}" if told else ""


def _name(mention: Mention) -> str:
    """A tag of a script: its keyword, where it is one public tag, and else as it is written."""
    word = keyword(f"{mention.tag:08X}") if mention.tag is not None else ""
    return word or written(mention.parts)


def failed_to_tell(settings: Settings, project: str, user: str) -> Iterator[Finding]:
    """What guards the data of a project and could not be read: that is no answer, and nothing is done over it."""
    if failed := [word for word in settings.failed if not word.startswith("right to")]:
        sentence = f"{project} failed to tell {user}, three times over ten seconds: {', '.join(failed)}."
        yield finding("S15", sentence, project=project)


def _filtered(source: Inventory, there: Settings, where: str, rows: Sequence[SessionPlan]) -> Iterator[Finding]:
    """The scans that the series import filters drop, each once, and how many cannot be told."""
    columns = tuples_of(source.scans, "subject", "session", "scan", "modality")
    kinds = {tuple(place): modality or None for *place, modality in columns}
    scans = [
        (row, scan, Described(kinds.get((row.subject, row.session, scan.scan)), scan.series_description))
        for row in rows
        for scan in row.sent_scans
    ]
    unread = there.series_filter_on is True and not there.series_filters
    for text in there.series_filters:
        said = dropped_by(text, {about for _, _, about in scans})
        if said is None:
            unread = True
            continue
        lost = [(row, scan) for row, scan, about in scans if said[about]]
        untold = sum(said[about] is None for _, _, about in scans)
        if untold:
            sentence = (
                f"A series import filter of {where} is on; whether it drops {untold} of {len(scans)} scans cannot be "
                "told, because it asks for what no listing has."
            )
            yield finding("S11", sentence, project=where)
        elif not lost:
            sentence = f"A series import filter of {where} is on; it drops no scan of this plan."
            yield finding("S11", sentence, project=where)
        for row, scan in lost[:_LISTED]:
            sentence = f"{row.key} scan {scan.scan}: the series import filter of {where} drops it, with status 200."
            place = {"subject": row.subject, "session": row.session, "scan": scan.scan, "files": scan.files}
            yield finding("S08", sentence, project=where, **place)
        if len(lost) > _LISTED:
            sentence = f"The series import filter of {where} drops {len(lost) - _LISTED} more scans of this plan."
            yield finding("S08", sentence, project=where)
    if unread:
        yield finding(
            "S11",
            f"A series import filter of {where} is on, and what it drops cannot be told: it is none of the documented "
            "forms of blacklist, whitelist and modalityMap, or may not be read.",
            project=where,
        )


def _subjects(source: Inventory, destination: Inventory, rows: Sequence[SessionPlan]) -> Iterator[Finding]:
    if destination.settings.create_subjects is not False:
        return
    known = {label.casefold() for label in destination.sessions["subject"]}
    new = sorted({row.destination_subject for row in rows if row.action in SENDS} - {""})
    new = [label for label in new if label.casefold() not in known]
    if new:
        some = ", ".join(new[:5]) + (" and others" if len(new) > 5 else "")
        sentence = (
            f"{destination.project} wants subjects registered first, and {len(new)} have no session there: {some}."
        )
        yield finding("S09", sentence, project=destination.project)


def listing_findings(source: Inventory, rows: Sequence[SessionPlan], judge: Judge) -> Iterator[Finding]:
    """What the listing of the source tells: empty and equal files, and labels and file names that are people's."""
    sent = {(row.subject, row.session, scan.scan, scan.resource) for row in rows for scan in row.sent_scans}
    columns = ["subject", "session", "scan", "resource", "path", "size_bytes", "md5"]
    empty: Counter = Counter()
    foreign: dict[tuple[str, str, str], list[str]] = {}
    digests: dict[tuple[str, str], Counter] = {}
    named: Counter = Counter()
    for subject, session, scan, resource, path, size_bytes, md5 in source.files[columns].itertuples(
        index=False, name=None
    ):
        if (subject, session, scan, resource) not in sent:
            continue
        place = (subject, session, scan)
        if of_a_desktop(path):
            foreign.setdefault(place, []).append(path.rpartition("/")[2])
        if size_bytes == 0:
            empty[place] += 1
        elif md5:
            digests.setdefault((subject, session), Counter())[md5] += 1
        for hit in judge.name_hits(path):
            named[(*place, hit.rule, hit.shape)] += 1
    for (subject, session, scan), files in empty.items():
        place = {"project": source.project, "subject": subject, "session": session, "scan": scan, "files": files}
        yield finding("C13", f"{subject}/{session} scan {scan} lists {files} empty files.", **place)
    for (subject, session, scan), names in foreign.items():
        place = {"project": source.project, "subject": subject, "session": session, "scan": scan, "files": len(names)}
        sentence = (
            f"{subject}/{session} scan {scan} holds {len(names)} files that a desktop left there "
            f"({', '.join(sorted(set(names))[:3])}); an import cannot carry them, and unless this rule is waived the "
            "session is not archived."
        )
        yield finding("C12", sentence, **place)
    for (subject, session), counts in digests.items():
        if files := sum(count - 1 for count in counts.values() if count > 1):
            place = {"project": source.project, "subject": subject, "session": session, "files": files}
            yield finding("C14", f"{subject}/{session}: {files} files have the bytes of another file.", **place)
    for (subject, session, scan, rule, shape), files in named.items():
        place = {"project": source.project, "subject": subject, "session": session, "scan": scan, "files": files}
        sentence = f"{subject}/{session} scan {scan}: the names of {files} files read as a person."
        yield finding(rule, sentence, element="file name", shape=shape, **place)
    yield from _label_findings(source, rows, judge)


def _label_findings(source: Inventory, rows: Sequence[SessionPlan], judge: Judge) -> Iterator[Finding]:
    told: set[tuple[str, str, str]] = set()
    for row in rows:
        if row.action not in SENDS:
            continue
        texts = [("subject label", label) for label in {row.subject, row.destination_subject}]
        texts += [("session label", label) for label in {row.session, row.destination_session}]
        texts += [("series description", scan.series_description) for scan in row.sent_scans]
        for what, text in texts:
            for hit in judge.name_hits(text):
                if (what, text, hit.rule) not in told and (hit.rule == "D07" or what != "series description"):
                    told.add((what, text, hit.rule))
                    place = {"project": source.project, "subject": "", "session": ""}
                    sentence = (
                        f"A {what} reads as a person." if hit.rule == "D27" else f"A {what} holds a known identifier."
                    )
                    yield finding(hit.rule, sentence, element=what, shape=hit.shape, **place)


def label_findings(warnings: Iterable[str], project: str) -> Iterator[Finding]:
    """What was said of labels and of the label map, as findings."""
    for sentence in warnings:
        yield finding("P02", sentence, project=project)


def standing_in_the_way(rows: Iterable[SessionPlan], project: str) -> Iterator[Finding]:
    """The sessions that stop a plan."""
    for row in rows:
        if row.action == "stop":
            key = SessionKey(row.subject, row.session)
            place = {"project": project, "subject": row.subject, "session": row.session}
            yield finding("P01", f"{key}: {row.because}.", **place)
