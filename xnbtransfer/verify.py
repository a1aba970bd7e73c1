"""Verification: what the destination holds now, against plan and source. Four verdicts, and they add up.

XNAT's importer writes the header of every file again, so bytes and MD5 seldom survive a copy. A file is proved by
its bytes where they are equal, and otherwise by its content: bulk data and geometry equal, and every header element
whose value changed explained by the destination's own script.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import hashlib
import secrets
import time
import types
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager as ContextManager
from pathlib import Path

from . import dicom
from .addresses import kept_apart
from .archived import archived_copy
from .carrying import Beside, beside_now
from .dicom import Content, Shared
from .errors import InputError, NotFoundError, SourceDamagedError, TransientError, XnbTransferError
from .foretell import Foretelling, Foretold, Scripts, compare, scripts_of, stamped
from .forms import archived_path
from .history import SessionHistory, read_history
from .holdings import Difference
from .journal import read_journal
from .old_lists import BECAUSE as OF_BEFORE
from .old_lists import CATALOG, OLD_LIST, is_told, of_before, with_catalog
from .pixels import both_lossless, same_pixels
from .plan import Plan, SessionPlan
from .plan_file import unsent_state
from .routing import routing_script
from .streams import Look, Seen, Spool, path_in_resource, read_scan, see_each, whole
from .values import FILE_COLUMNS, MANIFEST_COLUMNS, OUTCOME_COLUMNS, Result, Verdict, frame, manifest_row
from .xnat import Connection
from .zips import Limits, read_zip

IN_PREARCHIVE = "in prearchive"
ARCHIVED = "archived"
NOT_IN_ARCHIVE = "as read in the prearchive: the archive lists the same MD5 and was not read (proof=prearchive)"
ONE_PLACE = "it is the very same file in one place, shown there and copied by nothing; its bytes were not read"
SINCE_THE_RUN = "since the run"  # a proof that asks whether what a run has read is listed as it was
_UNLISTED = "not sent: what the source holds cannot be told"


def share_elements(seen: Sequence[Seen]) -> list[Seen]:
    """The same files, holding what their headers have in common once (memory: about a tenth)."""
    base: Content | None = None
    found = []
    for one in seen:
        if one.content is not None:
            if base is None:
                base = one.content
            elements, uids = Shared(base.elements, one.content.elements), Shared(base.uids, one.content.uids)
            one = dataclasses.replace(one, content=dataclasses.replace(one.content, elements=elements, uids=uids))
        found.append(one)
    return found


def expected_changes(plan: Plan, session: SessionPlan, *, archived: bool) -> Scripts:
    """The scripts of the destination that a file of ``session`` passes, from its settings in the plan."""
    settings = plan.destination.settings
    receiver = plan.transfer_options.method == "receiver"
    return scripts_of(
        site=(settings.get("site_script_on"), settings.get("site_script")),
        project=(settings.get("project_script_on"), settings.get("project_script")) if archived else (False, None),
        routing=routing_script(plan.destination.project, session.to) if receiver else "",
        context={
            "project": plan.destination.project,
            "subject": session.destination_subject,
            "session": session.destination_session,
        },
        version=str(settings.get("version") or ""),
        waived=plan.policy.unforetold(session.subject, session.session),
    )


def read_source_scan(
    source: Connection,
    session: SessionPlan,
    scan: str,
    resource: str,
    listed: Mapping[str, tuple[int, str]],
    *,
    key: bytes,
    study_uid: str,
    make_spool: Callable[[], Spool | None],
    make_look: Callable[[], Look | None] = lambda: None,
    prefix: str = "",
    pace: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
    twice: bool = False,
    keep: bool = False,
    beside: Mapping[tuple[str, str], Mapping[str, tuple[int, str]]] = types.MappingProxyType({}),
) -> tuple[list[Seen], Spool | None]:
    """Stream one scan resource from the source and check it against what the source lists.

    ``listed`` maps each path to (size in bytes, MD5 or ""); where it has none that of the catalogue is taken. A stream
    that is cut is read again, and so is one whose bytes do not fit the MD5: damage on the way passes by itself, damage
    at the source does not. Each reading gets a spool and a look at the headers of its own. ``twice`` reads a scan with
    files of no MD5 once more, so that damage on the way shows as a difference. ``keep`` keeps the headers for the
    scripts of the destination. ``beside`` is what is listed of all scans of the session: where the one file of a scan
    misses its MD5, another scan has to tell that the list is of before an anonymisation (:mod:`xnbtransfer.old_lists`).

    Raises
    ------
    SourceDamagedError
        If a listed file is missing, or does not match its listed MD5 twice, and not since the list is old.
    """
    where = f"{session.subject}/{session.session} scan {scan}"
    listed, catalogued = with_catalog(source, archived_path(session.session_id, scan), resource, listed)
    problem: XnbTransferError | None = None
    before: dict[str, tuple[int, str]] | None = None  # what came, where it did not have the listed MD5s
    for attempt in range(4):
        if attempt:
            time.sleep(min(0.2 * 2**attempt, 5.0))
        spool = make_spool()
        try:
            with source.open_scan(session.session_id, scan, resource) as chunks:
                seen = read_scan(
                    pace(chunks),
                    scan=scan,
                    resource=resource,
                    prefix=prefix,
                    listed=listed,
                    study_uid=study_uid,
                    key=key,
                    spool=spool,
                    look=make_look(),
                    keep=keep or before is not None,
                )
            missing = sorted(set(listed) - {one.path for one in seen})
            if missing:
                raise SourceDamagedError(
                    f"The source lists {len(listed)} files for {where}, and {len(missing)} of them did not come."
                )
            wrong = [
                one.path
                for one in seen
                if one.path in listed and listed[one.path][1] and listed[one.path][1] != one.md5
            ]
            old: frozenset[str] = frozenset()
            if wrong:
                now = {one.path: (one.size_bytes, one.md5) for one in seen}
                if before is not None:
                    anonymised = {one.path for one in seen if stamped(one.header)}
                    dicom = {one.path for one in seen if one.content is not None}
                    old = of_before(listed, before, now, anonymised=anonymised, dicom=dicom)
                before = now
                if not (old and is_told(source, session.session_id, (scan, resource), beside, len(old))):
                    raise SourceDamagedError(
                        f"{len(wrong)} of {len(seen)} files of {where} do not have the MD5 that the source lists for "
                        "them, and nothing tells for certain that only the list is old."
                    )
                seen = [one if keep else dataclasses.replace(one, header=b"") for one in seen]
            unlisted = [one for one in seen if not listed.get(one.path, (0, ""))[1]]
            if unlisted and twice:
                _read_the_same(source, session, scan, resource, listed, seen, pace)
            without = "read twice" if twice else "nothing"
            at = {one.path: without for one in unlisted}
            at |= dict.fromkeys(catalogued, CATALOG) | dict.fromkeys(old, OLD_LIST)
            return [dataclasses.replace(one, way_out=at.get(one.path, "listed MD5")) for one in seen], spool
        except SourceDamagedError as error:
            _close(spool)
            if isinstance(problem, SourceDamagedError):
                raise
            problem = error
        except TransientError as error:
            _close(spool)
            problem = error
            if not error.retry:
                raise
        except BaseException:
            _close(spool)
            raise
    raise problem or TransientError(f"{where} could not be read.")


def _read_the_same(source, session: SessionPlan, scan: str, resource: str, listed, seen: Sequence[Seen], pace) -> None:
    """Read a scan once more; raises where it does not come with the same bytes."""
    first = collections.Counter((one.path, one.md5) for one in seen)
    with source.open_scan(session.session_id, scan, resource) as chunks:
        found = collections.Counter()
        for entry, data in read_zip(pace(chunks)):
            digest = hashlib.md5(usedforsecurity=False)
            for piece in data:
                digest.update(piece)
            found[path_in_resource(entry), digest.hexdigest()] += 1
    if found != first:
        raise SourceDamagedError(
            f"Of {session.subject}/{session.session} scan {scan} {sum((first - found).values())} files came with other "
            "bytes the second time, and the source lists no MD5 for them."
        )


def _close(spool) -> None:
    if spool is not None:
        spool.close()


def read_back(
    chunks: Iterable[bytes],
    *,
    key: bytes,
    listed: Iterable[Mapping] = (),
    known: Mapping[str, Seen] | None = None,
    keep: bool = False,
    limits: Limits | None = None,
) -> list[Seen]:
    """Every file of a zip of the destination (a prearchive folder or a session), digested as it arrives.

    Catalogue and session documents that XNAT keeps beside the files are passed over. ``listed`` are the files as the
    server lists them, with scan and path: the layout of the zip of a session does not tell its scans for certain.
    ``known`` are files by MD5 that were read with ``key`` before; ``keep`` keeps the headers, where a script is going
    to run over these files. No more is read than ``limits`` say, which follow from what is listed.
    """
    scans_of: dict[str, set[str]] = {}
    for row in listed:
        if row["scan"]:
            scans_of.setdefault(row["path"], set()).add(row["scan"])

    def place(entry: str) -> tuple[str, str, str] | None:
        if entry.lower().endswith((".xml", ".log")) and "/files/" not in entry:
            return None
        path = path_in_resource(entry)
        return _scan_in(entry, scans_of.get(path, ())), "DICOM", path

    return [seen for _, seen in see_each(chunks, place, key=key, known=known, keep=keep, limits=limits)]


def _scan_in(entry: str, scans: Collection[str]) -> str:
    """The scan that an entry lies in, one of ``scans`` if there are any: files of several scans may have one name."""
    if len(scans) == 1:
        return next(iter(scans))
    parts = entry.split("/")
    for at, part in enumerate(parts[:-1]):
        if part.lower() == "scans":
            folder = parts[at + 1]
            named = [scan for scan in scans if folder == scan or folder.startswith((f"{scan}-", f"{scan}_"))]
            return max(named, key=len, default=folder.partition("-")[0] if part == "scans" else folder)
    return ""


def foretelling(sent: Sequence[Seen], expected: Scripts, *, key: bytes) -> Foretelling:
    """What ``expected`` makes of each file of ``sent``, computed when it is asked for or beside other work."""
    return Foretelling([(one.header, one.content) for one in sent], expected, key=key)


Compare = Callable[[Seen, Seen], dict]
Decoded = Callable[[Seen, Seen], bool | None]


def judge(
    session: SessionPlan,
    sent: Sequence[Seen],
    there: Sequence[Seen],
    expected: Scripts,
    *,
    key: bytes,
    where: str,
    judged: Compare | None = None,
    decoded: Decoded | None = None,
    md5s: Mapping[int, str] | None = None,
    pairs: dict[tuple[int, str], dict] | None = None,
    told: Foretelling | None = None,
) -> tuple[list[dict], list[dict]]:
    """Lay what was sent beside what is there: the one way to a verdict on bytes.

    Parameters
    ----------
    sent, there : sequence of Seen
        With ``content`` wherever the file is readable DICOM, header digests made with one ``key``; ``sent`` with
        ``header``, where there are scripts.
    expected : Scripts
        What the destination carries out over each file.
    where : str
        "the prearchive" or "the archive", for the sentences.
    judged : callable, optional
        The verdict on a pair as part of a row; without it both are compared, as ``expected`` says.
    decoded : callable, optional
        Whether the pixels of a pair are the same once they are decoded, None where that cannot be told. It is asked
        where the two stand in different lossless transfer syntaxes; without it nothing can be said of those.
    md5s : mapping, optional
        The MD5 that the file at a place of ``sent`` has at the destination, where that is known; else its own.
    pairs : dict, optional
        Verdicts on the same ``sent`` under the same ``expected``, by place and MD5 there: the same bytes have the same
        one. What is compared here is added.
    told : Foretelling, optional
        Of the same ``sent``, ``expected`` and ``key``, where it was begun while the destination was read.

    Returns
    -------
    rows : list of dict
        ``MANIFEST_COLUMNS``, one per file of ``sent``.
    extra : list of dict
        ``FILE_COLUMNS``, one per file of ``there`` that no file of ``sent`` accounts for.
    """
    known = {} if pairs is None else pairs
    foretell = told or foretelling(sent, expected, key=key)

    partner = _partners(sent, there, md5s or {}, foretell)
    taken = set(partner.values())
    rows = []
    for at, one in enumerate(sent):
        row = _row(session, one)
        if one.problem:
            row |= {"verdict": Verdict.DIFFERENT, "because": f"not sent: {one.problem}"}
        elif at not in partner:
            row |= {"verdict": Verdict.DIFFERENT, "because": f"it is not in {where} of the destination"}
        else:
            other = there[partner[at]]
            row |= _there(other) | {"read_in": where.removeprefix("the ")}
            if judged is not None:
                row |= judged(one, other)
            else:
                pair = (at, other.md5)
                if pair not in known:
                    known[pair] = _compare(one, other, functools.partial(foretell, at), key, decoded)
                row |= known[pair]
            if one.content is not None and one.content.unusual:
                row["because"] += f"; {one.content.unusual}, at the source as well"
            if one.way_out == OLD_LIST and OF_BEFORE not in row["because"]:
                row["because"] += f"; {OF_BEFORE}"
        rows.append(row)
    twins = {one.content.sop_instance_uid for at, one in enumerate(there) if at not in taken and one.content}
    for at, right in partner.items():
        content = there[right].content
        if content is not None and content.sop_instance_uid in twins:
            rows[at] |= {
                "verdict": Verdict.DIFFERENT,
                "because": f"its instance is in {where} of the destination twice",
            }
    places = {at: (sent[at], there[right].scan) for at, right in partner.items()}
    for at, because in misplaced(places, apart=where == "the archive").items():
        rows[at] |= {"verdict": Verdict.DIFFERENT, "because": because}
    return rows, _extra(session, there, taken)


def _partners(
    sent: Sequence[Seen],
    there: Sequence[Seen],
    md5s: Mapping[int, str],
    foretell: Callable[[int], Foretold | None],
) -> dict[int, int]:
    """Who is who: by equal bytes, in the same scan if there are several, and then by :func:`xnbtransfer.dicom.pair`."""

    def renamed(at: int) -> Iterator[str]:
        found = foretell(at)
        if found is not None and found.content is not None:
            yield found.content.sop_instance_uid

    partner: dict[int, int] = {}
    by_md5: dict[str, list[int]] = {}
    for at, one in enumerate(there):
        by_md5.setdefault(one.md5, []).append(at)
    for at, one in enumerate(sent):
        same = by_md5.get(md5s.get(at) or one.md5)
        if same and not one.problem:
            best = next((n for n, right in enumerate(same) if there[right].scan == one.scan), 0)
            partner[at] = same.pop(best)
    taken = set(partner.values())
    here = {
        at: one.content
        for at, one in enumerate(sent)
        if one.content is not None and not one.problem and at not in partner
    }
    over = {at: one.content for at, one in enumerate(there) if one.content is not None and at not in taken}
    for left, right in dicom.pair(here, over, renamed):
        if left is not None and right is not None:
            partner[left] = right
    return partner


def misplaced(found: Mapping[Hashable, tuple[Seen, str]], *, apart: bool) -> dict[Hashable, str]:
    """Which files lie in a scan of the destination where they do not belong, each with a sentence.

    The destination may number scans anew, and joins those of one series; but it keeps a series together.

    Parameters
    ----------
    found : mapping
        Anything to a file of the source and the scan that its partner is in.
    apart : bool
        Whether it keeps two series apart, as an archive does. The prearchive keeps files in folders by SeriesNumber,
        which two series may share (XNAT source, ``GradualDicomImporter``).
    """
    scans_of: dict[tuple[str, str], collections.Counter[str]] = {}
    series_in: dict[str, set[str]] = {}
    for one, there in found.values():
        if one.content is not None and there:
            series = one.content.series_instance_uid
            scans_of.setdefault((one.scan, series), collections.Counter())[there] += 1
            series_in.setdefault(there, set()).add(series)
    wrong = {}
    for name, (one, there) in found.items():
        if one.content is None or not there:
            continue
        scans = scans_of[one.scan, one.content.series_instance_uid]
        home = one.scan if one.scan in scans else scans.most_common(1)[0][0]
        if there != home:
            wrong[name] = f"it is in scan {there} of the destination, and others of its series in scan {home}"
        elif apart and there != one.scan and len(series_in[there]) > 1:
            wrong[name] = f"it is in scan {there} of the destination, together with another series"
    return wrong


def _extra(session: SessionPlan, there: Sequence[Seen], taken: set[int]) -> list[dict]:
    """The files at the destination that nothing accounts for, as rows of ``FILE_COLUMNS``."""
    return [
        {
            "subject": session.destination_subject,
            "session": session.destination_session,
            "scan": one.scan,
            "resource": one.resource,
            "path": one.path,
            "size_bytes": one.size_bytes,
            "md5": one.md5,
        }
        for at, one in enumerate(there)
        if at not in taken
    ]


def _row(session: SessionPlan, one: Seen) -> dict:
    return manifest_row(
        session,
        scan=one.scan,
        resource=one.resource,
        path=one.path,
        size_bytes=one.size_bytes,
        md5=one.md5,
        way_out=one.way_out,
        content=one.content.bulk if one.content else "",
        SOPInstanceUID=one.content.sop_instance_uid if one.content else "",
    )


def _there(other: Seen) -> dict:
    return {
        "destination_scan": other.scan,
        "destination_path": other.path,
        "destination_size_bytes": other.size_bytes,
        "destination_md5": other.md5,
    }


def decoded_by(
    here: Callable[[str, str, str], ContextManager], there: Callable[[str, str, str], ContextManager]
) -> Decoded:
    """Pixels compared by reading both files once more; both open a file by its scan, resource and path."""

    def decoded(one: Seen, other: Seen) -> bool | None:
        try:
            with (
                here(one.scan, one.resource, one.path) as left,
                there(other.scan, other.resource, other.path) as right,
                whole(left) as mine,
                whole(right) as theirs,
            ):
                md5s = [hashlib.md5(data, usedforsecurity=False).hexdigest() for data in (mine, theirs)]
                return same_pixels(mine, theirs) if md5s == [one.md5, other.md5] else None
        except XnbTransferError:
            return None

    return decoded


def _compare(
    one: Seen, other: Seen, foretell: Callable[[], Foretold | None], key: bytes, decoded: Decoded | None
) -> dict:
    if one.md5 == other.md5 and one.size_bytes == other.size_bytes:
        return {"verdict": Verdict.EQUAL, "because": "every byte is equal"}
    if other.problem:
        return {"verdict": Verdict.DIFFERENT, "because": f"at the destination {other.problem}"}
    reencoded = _reencoded(one, other, decoded)
    content_equal, changes = compare(one.content, other.content, foretell(), key=key, reencoded=reencoded is True)
    changed = " ".join(change.path for change in changes)
    if not content_equal:
        if one.content.transfer_syntax != other.content.transfer_syntax and reencoded is None:
            return {
                "changed": changed,
                "verdict": Verdict.NOT_PROVED,
                "because": "it is in another transfer syntax there, so its pixels cannot be compared here",
            }
        return {"changed": changed, "verdict": Verdict.DIFFERENT, "because": "its pixel data or geometry is not equal"}
    unexplained = [change for change in changes if not change.explained and change.foretold]
    if unexplained:
        names = ", ".join(sorted({change.keyword or change.path for change in unexplained})[:6])
        return {
            "changed": changed,
            "verdict": Verdict.DIFFERENT,
            "because": f"{len(unexplained)} header elements changed and no script explains it: {names}",
        }
    untold = [change for change in changes if not change.foretold]
    if untold:
        names = ", ".join(sorted({change.keyword or change.path for change in untold})[:6])
        whys = "; ".join(sorted({change.because for change in untold})[:2])
        because = f"{len(untold)} header elements changed, and what they should be now is not known ({whys}): {names}"
        return {
            "changed": changed,
            "verdict": Verdict.NOT_PROVED,
            "because": because,
        }
    if not changes:
        return {
            "verdict": Verdict.EXPLAINED,
            "because": "content and all header values are equal; the import wrote the header again",
        }
    names = ", ".join(sorted({change.keyword or change.path for change in changes})[:6])
    by_script = [change for change in changes if "script" in change.because]
    who = "the destination's script explains what changed" if by_script else "the import explains what changed"
    waived = sorted({change.because.partition("; ")[0] for change in changes if change.because.startswith("waived: ")})
    who += f", changed as explained ({'; '.join(waived)})" if waived else ""
    content = "re-encoded losslessly, its pixels decode to the same values" if reencoded else "content is equal"
    return {"changed": changed, "verdict": Verdict.EXPLAINED, "because": f"{content}; {who}: {names}"}


def _reencoded(one: Seen, other: Seen, decoded: Decoded | None) -> bool | None:
    """Whether a file stands there in another lossless transfer syntax with the same pixels; None: it cannot be told."""
    here, there = one.content, other.content
    if here.bulk == there.bulk or not both_lossless(here.transfer_syntax, there.transfer_syntax):
        return False if here.bulk == there.bulk else None
    if decoded is None or not dicom.same_but_for_pixels(here, there):
        return None
    return decoded(one, other)


def not_proved(session: SessionPlan, sent: Sequence[Seen], because: str) -> list[dict]:
    """Rows for files that were not read back."""
    rows = []
    for one in sent:
        verdict, why = Verdict.NOT_PROVED, because
        if one.problem:
            verdict, why = Verdict.DIFFERENT, f"not sent: {one.problem}"
        rows.append(_row(session, one) | {"verdict": verdict, "because": why})
    return rows


def missing_rows(session: SessionPlan, scans: Iterable[tuple[str, str, int, int]], because: str) -> list[dict]:
    """Rows for scans that never got as far as a file: one per planned file, so that the verdicts still add up."""
    rows = []
    for scan, resource, files, size_bytes in scans:
        for at in range(files):
            one = Seen(scan=scan, resource=resource, path="", size_bytes=size_bytes if at == 0 else 0, md5="")
            rows.append(_row(session, one) | {"verdict": Verdict.DIFFERENT, "because": because})
    return rows


def unlisted_rows(session: SessionPlan, found: Iterable[Difference]) -> list[dict]:
    """A row without a path for each place whose files a list may have lost: it cannot be proved, whatever arrived."""
    return [
        _row(session, Seen(scan=one.scan, resource=one.resource, path="", size_bytes=0, md5=""))
        | {"verdict": Verdict.NOT_PROVED, "because": f"{_UNLISTED}: {one.words}"}
        for one in found
    ]


def outcome(session: SessionPlan, state: str, rows: Sequence[dict], extra: Sequence[dict], because: str) -> dict:
    """One session's row of ``OUTCOME_COLUMNS``; the counts add up to its files."""
    counts = {verdict: sum(1 for row in rows if row["verdict"] == verdict) for verdict in Verdict}
    worst = Verdict.EQUAL
    for verdict in (Verdict.EXPLAINED, Verdict.NOT_PROVED, Verdict.DIFFERENT):
        if counts[verdict]:
            worst = verdict
    return {
        "subject": session.subject,
        "session": session.session,
        "destination_subject": session.destination_subject,
        "destination_session": session.destination_session,
        "action": session.action,
        "state": state,
        "scans": len({(row["scan"], row["resource"]) for row in rows}),
        "files": len(rows),
        "size_bytes": sum(row.get("size_bytes") or 0 for row in rows),
        "equal": counts[Verdict.EQUAL],
        "explained": counts[Verdict.EXPLAINED],
        "different": counts[Verdict.DIFFERENT],
        "not_proved": counts[Verdict.NOT_PROVED],
        "extra": len(extra),
        "verdict": str(worst) if rows else "",
        "because": because,
    }


def result_of(outcomes: Sequence[dict], rows: Sequence[dict], extra: Sequence[dict], started: float, **more) -> Result:
    """A Result from its rows, of which no two proved ones have one address; ``started`` is a time.time()."""
    now = time.time()
    for row in rows:
        row["verdict"] = str(row["verdict"])
    outcomes, rows = kept_apart(outcomes, rows)
    more["messages"] = (*more.get("messages", ()), *_not_shown(rows))
    return Result(
        sessions=frame(outcomes, OUTCOME_COLUMNS),
        files=frame(rows, MANIFEST_COLUMNS),
        extra=frame(extra, FILE_COLUMNS),
        started_at=_utc(started),
        finished_at=_utc(now),
        seconds=round(now - started, 3),
        **more,
    )


def _not_shown(rows: Sequence[dict]) -> Iterator[str]:
    """What a result has to say of damage that a comparison does not show."""
    if gate := sum(NOT_IN_ARCHIVE in row["because"] for row in rows):
        yield f"{gate} files are proved as they were read in the prearchive; the archive was not read."
    if shown := sum(row["because"] == ONE_PLACE for row in rows):
        files = "1 file is" if shown == 1 else f"{shown} files are"
        yield f"{files} in one place for both projects: nothing was copied, and no byte was read."
    if odd := sum("without pixels" in row["because"] for row in rows):
        yield f"{odd} files are images without pixels: cut short before them at the source, or made without."
    if old := sum(row.get("way_out") == OLD_LIST for row in rows):
        files = "1 file was" if old == 1 else f"{old} files were"
        yield f"The source lists MD5s of before an anonymisation; {files} read twice instead, with the same bytes."
    if blind := sum(row.get("way_out") == "nothing" for row in rows):
        files = "1 file" if blind == 1 else f"{blind} files"
        yield (
            f"The source lists no MD5 for {files}: damage on the way out of the source could not be seen. "
            "source_twice reads such scans twice."
        )


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def verify(
    plan: Plan,
    journal: str | Path,
    destination: Connection,
    source: Connection | None = None,
    *,
    proof: str = "all",
    beside: bool = True,
) -> Result:
    """Prove again, today, what a plan's journal says was sent. Reads only.

    Parameters
    ----------
    journal : path
        The journal of a run of ``plan``; a record holds both. One of an earlier version does not tell where a file was
        read, and what it called equal in content cannot be proved without the source.
    destination : Connection
        To the destination of the plan.
    source : Connection, optional
        Where headers changed at the destination since, the source is read again to tell what changed.
    proof : str
        "all" reads every file back. "listing" compares the MD5 that the destination lists with the one that was read
        back then; nothing is proved that way, but what has changed since is told. ``SINCE_THE_RUN`` is the same for a
        run that goes on: what is listed as it was keeps the verdict that it had.
    beside : bool
        Whether resources and fields are proved again, too.

    Raises
    ------
    InputError
        If ``destination`` is not the destination of the plan.
    """
    if destination.server.rstrip("/") != plan.destination.server.rstrip("/"):
        raise InputError(
            f"The record is of a transfer to {plan.destination.server}, not to {destination.server}.",
            "Give the address of that server.",
        )
    started, requests = time.time(), destination.requests
    entries = read_journal(journal)
    history = read_history(entries)
    more_rows = beside_now(plan, entries, destination, source, proof) if beside else Beside()
    outcomes, rows, extra = [], [], []
    for session in plan.sessions:
        past = history.get(session.key)
        if session.action not in ("copy", "merge", "replace"):
            outcomes.append(outcome(session, unsent_state(session), (), (), session.because))
            continue
        if past is None or past.rows is None:
            lost = missing_rows(
                session,
                [(scan.scan, scan.resource, scan.files, scan.size_bytes) for scan in session.sent_scans],
                "the run did not get as far as this session",
            )
            rows += lost
            outcomes.append(outcome(session, "failed", lost, (), "the run did not get as far as this session"))
            continue
        state, there_rows, more = _again(plan, session, past, destination, source, proof)
        rows += there_rows
        extra += more
        because = "read again now" if proof in ("all", "prearchive") else "its listing was read again now"
        outcomes.append(outcome(session, state, there_rows, more, because))
    return result_of(
        more_rows.told(outcomes),
        [*rows, *more_rows.rows],
        [*extra, *more_rows.extra],
        started,
        requests=destination.requests - requests,
    )


def _again(plan, session, past: SessionHistory, destination: Connection, source, proof: str):
    key = secrets.token_bytes(16)
    state, chunks, listed, one_of = _where(plan, session, past, destination)
    recorded = [dict(row) for row in past.rows]
    if state == "failed":
        for row in recorded:
            row |= {"verdict": Verdict.DIFFERENT, "because": "its session is no longer at the destination"}
        return state, recorded, []
    if proof not in ("all", "prearchive"):
        return state, *_by_listing(session, past, listed, since_the_run=proof == SINCE_THE_RUN)
    with chunks() as stream:
        there = read_back(stream, key=key, listed=listed)
    where = "the archive" if state == ARCHIVED else "the prearchive"
    rows, extra = _by_journal(session, past, there, key=key, where=where, moved=state != past.state)
    if source is not None and any(_is_open(row) for row in rows):
        expected = expected_changes(plan, session, archived=state == ARCHIVED)
        decoded = decoded_by(functools.partial(source.open_scan_file, session.session_id), one_of)
        try:
            sent = _source_again(source, session, past, key, keep=bool(expected.steps))
        except NotFoundError:
            for row in filter(_is_open, rows):
                row["because"] += "; the source does not hold it any more"
            return state, rows, extra
        except SourceDamagedError:
            for row in filter(_is_open, rows):
                row["because"] += "; the source does not hold it any more as it was sent"
            return state, rows, extra
        rows, extra = judge(session, sent, there, expected, key=key, where=where, decoded=decoded)
        rows += [row for row in recorded if row["because"].startswith(_UNLISTED)]
    return state, rows, extra


def _is_open(row: Mapping) -> bool:
    return row["verdict"] not in (Verdict.EQUAL, Verdict.EXPLAINED) and not row["because"].startswith("not sent")


def _by_listing(session: SessionPlan, past: SessionHistory, listed, *, since_the_run: bool):
    """Rows of an earlier proof, judged by what the destination lists now; that is no reading of a byte.

    ``since_the_run`` asks only whether what a run has read has changed since: verdicts stay, where that is so.
    """
    by_name = {(row["scan"], row["path"]): row for row in listed}
    rows = [dict(row) for row in past.rows]
    for row in rows:
        if not row.get("destination_path"):
            continue
        now = by_name.get((row["destination_scan"], row["destination_path"]))
        if now is None:
            row |= {"verdict": Verdict.DIFFERENT, "because": "the destination no longer lists it"}
        elif not now["md5"]:
            row |= {"verdict": Verdict.NOT_PROVED, "because": "the destination lists no MD5 for it"}
        elif now["md5"] != row["destination_md5"]:
            row |= {"verdict": Verdict.NOT_PROVED, "because": "its listed MD5 is not the one that was proved"}
        elif row["verdict"] != Verdict.DIFFERENT and not (since_the_run and _still_says(row)):
            because = "its listed MD5 is the one that was proved; its bytes were not read now"
            row |= {"verdict": Verdict.NOT_PROVED, "because": because, "read_in": ""}
    names = {record["name"] for records in past.sent.values() for record in records}
    ours = {(row["destination_scan"], row["destination_path"]) for row in rows if row.get("destination_path")}
    labels = {"subject": session.destination_subject, "session": session.destination_session}
    columns = ("scan", "path", "size_bytes", "md5")
    more = [
        {**labels, **{name: row[name] for name in columns}, "resource": row.get("resource", "")}
        for at, row in by_name.items()
        if at not in ours and row["path"].rsplit("/", 1)[-1] not in names
    ]
    return rows, more


def _still_says(row: Mapping) -> bool:
    """Whether a row of a journal says what this version says: rows of earlier ones do not tell where they were read.

    They held values, and neither file meta information nor the letters of value representations.
    """
    return "read_in" in row or row["verdict"] not in (Verdict.EQUAL, Verdict.EXPLAINED)


def _by_journal(
    session: SessionPlan, past: SessionHistory, there: Sequence[Seen], *, key: bytes, where: str, moved: bool
) -> tuple[list[dict], list[dict]]:
    """What is there now, judged by what a run has read there and of the source. ``moved``: archived since."""
    was = {(row["scan"], row["resource"], row["path"]): row for row in past.rows}
    records = [(*at, record) for at, found in sorted(past.sent.items()) for record in found]
    sent = [_as_sent(*one, was.get((one[0], one[1], one[2]["path"]), {})) for one in records]
    sent = [one for one in sent if (one.scan, one.resource, one.path) in was]

    def judged(one: Seen, other: Seen) -> dict:
        return _since(was[one.scan, one.resource, one.path], one, other, moved=moved)

    md5s = {at: was[one.scan, one.resource, one.path].get("destination_md5", "") for at, one in enumerate(sent)}
    rows, extra = judge(session, sent, there, Scripts(), key=key, where=where, judged=judged, md5s=md5s)
    told = {(one.scan, one.resource, one.path) for one in sent}
    return [*rows, *(dict(row) for at, row in was.items() if at not in told)], extra


def _as_sent(scan: str, resource: str, record: Mapping, row: Mapping) -> Seen:
    """A file as the journal has it: bulk data and geometry, and nothing of its header."""
    content = None
    if record["sop"]:
        names = {one.name: "" for one in dataclasses.fields(Content)}
        names |= {"bulk_bytes": 0, "bulk_each": (), "elements": {}, "uids": {}}
        told = {"sop_instance_uid": record["sop"], "bulk": record["bulk"], "geometry": record["geometry"]}
        content = Content(**names | told)
    return Seen(
        scan=scan,
        resource=resource,
        path=record["path"],
        size_bytes=record["size_bytes"],
        md5=record["md5"],
        content=content,
        problem=record["problem"],
        way_out=row.get("way_out", ""),
    )


def _since(row: Mapping, one: Seen, other: Seen, *, moved: bool) -> dict:
    """The verdict on a file that was proved by a run, from what is there now."""
    verdict, because = row["verdict"], row["because"]
    if one.md5 == other.md5 and one.size_bytes == other.size_bytes:
        verdict, because = Verdict.EQUAL, "every byte is equal"
    elif other.md5 == row.get("destination_md5"):
        if not _still_says(row):
            verdict = Verdict.NOT_PROVED
            because = (
                "its bytes are those that an earlier version proved, which compared neither file meta information nor "
                "value representations; verify with the source"
            )
    elif other.content is None:
        verdict, because = Verdict.DIFFERENT, f"at the destination {other.problem or 'its bytes are others'}"
    elif one.content and (other.content.bulk, other.content.geometry) == (one.content.bulk, one.content.geometry):
        read = "its header changed since it was proved" if _is_proved(row) else "its header was not compared"
        verdict, because = Verdict.NOT_PROVED, f"its content is equal, but {read}; verify with the source"
    else:
        verdict, because = Verdict.DIFFERENT, "its pixel data or geometry is not that of the source"
    # a session that was archived since may have been given other scan numbers on the way
    scan = row.get("destination_scan", "")
    if not moved and scan and other.scan not in ("", scan):
        verdict, because = Verdict.DIFFERENT, f"it is in scan {other.scan} now, and was in scan {scan}"
    return {"verdict": verdict, "because": because, "changed": row.get("changed", "")}


def _is_proved(row: Mapping) -> bool:
    return row["verdict"] in (Verdict.EQUAL, Verdict.EXPLAINED)


def _source_again(
    source: Connection, session: SessionPlan, past: SessionHistory, key: bytes, *, keep: bool
) -> list[Seen]:
    found: list[Seen] = []
    for (scan, resource), records in sorted(past.sent.items()):
        listed = {record["path"]: (record["size_bytes"], record["md5"]) for record in records}
        seen, _ = read_source_scan(
            source,
            session,
            scan,
            resource,
            listed,
            key=key,
            study_uid=study_of(found),
            make_spool=lambda: None,
            keep=keep,
        )
        found += seen
    return found


def study_of(seen: Iterable[Seen]) -> str:
    """The StudyInstanceUID of the first file without a problem, or ""."""
    return next((one.content.study_instance_uid for one in seen if one.content and not one.problem), "")


def _where(plan: Plan, session: SessionPlan, past: SessionHistory, destination: Connection):
    """Where a session is now: (state, how to open its zip, its listed files, how to open one of them).

    As long as it waits in the prearchive, what the archive holds of its study is older than this run.
    """
    if past.state != ARCHIVED and past.uri and destination.prearchive_row(past.uri) is not None:
        listed = [
            {"scan": row["scan"], "resource": row["resource"], **one, "md5": ""}
            for row in destination.prearchive_resources(past.uri)
            for one in destination.prearchive_files(past.uri, row["scan"], row["resource"])
        ]
        one_of = functools.partial(destination.open_prearchive_file, past.uri)
        return IN_PREARCHIVE, functools.partial(destination.open_prearchive, past.uri), listed, one_of
    if found := archived_copy(destination, plan, session, past.accession):
        one_of = functools.partial(destination.open_scan_file, found)
        return ARCHIVED, functools.partial(destination.open_session, found), destination.files([found]), one_of
    return "failed", None, [], None
