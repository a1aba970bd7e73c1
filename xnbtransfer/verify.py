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
import secrets
import time
from collections.abc import Callable, Collection, Hashable, ItemsView, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from . import dicom
from .carrying import Beside, beside_now
from .dicom import Content
from .errors import InputError, SourceDamagedError, TransientError, XnbTransferError
from .history import SessionHistory, read_history
from .journal import read_journal
from .plan import Plan, SessionPlan
from .routing import routing_script
from .script import Expectation, expectation
from .streams import Look, Seen, Spool, path_in_resource, read_scan, see_each
from .values import FILE_COLUMNS, MANIFEST_COLUMNS, OUTCOME_COLUMNS, Result, Verdict, frame
from .xnat import Connection

IN_PREARCHIVE = "in prearchive"
ARCHIVED = "archived"


class _Shared(Mapping):
    """Header digests of one file as differences from those of another: a series shares most of them."""

    __slots__ = ("_base", "_changed", "_gone")

    def __init__(self, base: Mapping[str, str], elements: Mapping[str, str]) -> None:
        self._base = base
        self._changed = {path: value for path, value in elements.items() if base.get(path) != value}
        self._gone = frozenset(path for path in base if path not in elements)

    def __getitem__(self, path: str) -> str:
        if path in self._changed:
            return self._changed[path]
        if path in self._gone:
            raise KeyError(path)
        return self._base[path]

    def __iter__(self) -> Iterator[str]:
        yield from (path for path in self._base if path not in self._gone)
        yield from (path for path in self._changed if path not in self._base)

    def __len__(self) -> int:
        return len(self._base) - len(self._gone) + sum(path not in self._base for path in self._changed)

    def items(self) -> ItemsView[str, str]:
        whole = {**self._base, **self._changed}
        for path in self._gone:
            del whole[path]
        return whole.items()


def share_elements(seen: Sequence[Seen]) -> list[Seen]:
    """The same files, holding what their headers have in common once (memory: about a tenth)."""
    base: Content | None = None
    found = []
    for one in seen:
        if one.content is not None:
            if base is None:
                base = one.content
            elements, uids = _Shared(base.elements, one.content.elements), _Shared(base.uids, one.content.uids)
            one = dataclasses.replace(one, content=dataclasses.replace(one.content, elements=elements, uids=uids))
        found.append(one)
    return found


def expected_changes(plan: Plan, session: SessionPlan, *, archived: bool) -> Expectation:
    """What the scripts of the destination do to a file of ``session``, from its settings in the plan."""
    settings = plan.destination.settings
    site_script = settings.get("site_script") if settings.get("site_script_on") else None
    if plan.transfer_options.method == "receiver":
        site_script = routing_script(plan.destination.project, session.to) + (site_script or "")
    return expectation(
        site_script=site_script,
        project_script=settings.get("project_script") if archived and settings.get("project_script_on") else None,
        project=plan.destination.project,
        subject=session.destination_subject,
        session=session.destination_session,
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
) -> tuple[list[Seen], Spool | None]:
    """Stream one scan resource from the source and check it against what the source lists.

    ``listed`` maps each path to (size in bytes, MD5 or ""). A stream that is cut is read again, and so is one whose
    bytes do not fit the listed MD5: damage on the way passes by itself, damage at the source does not. Each reading
    gets a spool and a look at the headers of its own.

    Raises
    ------
    SourceDamagedError
        If a listed file is missing, or does not match its listed MD5 twice.
    """
    where = f"{session.subject}/{session.session} scan {scan}"
    problem: XnbTransferError | None = None
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
            if wrong:
                raise SourceDamagedError(
                    f"{len(wrong)} of {len(seen)} files of {where} do not have the MD5 that the source lists for them."
                )
            return seen, spool
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


def _close(spool) -> None:
    if spool is not None:
        spool.close()


def read_back(chunks: Iterable[bytes], *, key: bytes, listed: Iterable[Mapping] = ()) -> list[Seen]:
    """Every file of a zip of the destination (a prearchive folder or a session), digested as it arrives.

    Catalogue and session documents that XNAT keeps beside the files are passed over. ``listed`` are the files as the
    server lists them, with scan and path: the layout of the zip of a session does not tell its scans for certain.
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

    return [seen for _, seen in see_each(chunks, place, key=key)]


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


def judge(
    session: SessionPlan,
    sent: Sequence[Seen],
    there: Sequence[Seen],
    expected: Expectation,
    *,
    key: bytes,
    where: str,
) -> tuple[list[dict], list[dict]]:
    """Lay what was sent beside what is there.

    Parameters
    ----------
    sent, there : sequence of Seen
        With ``content`` wherever the file is readable DICOM, header digests made with one ``key``.
    where : str
        "the prearchive" or "the archive", for the sentences.

    Returns
    -------
    rows : list of dict
        ``MANIFEST_COLUMNS``, one per file of ``sent``.
    extra : list of dict
        ``FILE_COLUMNS``, one per file of ``there`` that no file of ``sent`` accounts for.
    """
    here = {at: one.content for at, one in enumerate(sent) if one.content is not None and not one.problem}
    over = {at: one.content for at, one in enumerate(there) if one.content is not None}
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for left, right in dicom.pair(here, over):
        if left is not None and right is not None:
            partner[left] = right
            taken.add(right)
    rows = []
    for at, one in enumerate(sent):
        row = _row(session, one)
        if one.problem:
            row |= {"verdict": Verdict.DIFFERENT, "because": f"not sent: {one.problem}"}
        elif at not in partner:
            row |= {"verdict": Verdict.DIFFERENT, "because": f"it is not in {where} of the destination"}
        else:
            other = there[partner[at]]
            row |= _there(other)
            row |= _compare(one, other, expected, key)
        rows.append(row)
    twins = {one.content.sop_instance_uid for at, one in enumerate(there) if at not in taken and one.content}
    for at, right in partner.items():
        if there[right].content.sop_instance_uid in twins:
            rows[at] |= {
                "verdict": Verdict.DIFFERENT,
                "because": f"its instance is in {where} of the destination twice",
            }
    places = {at: (sent[at], there[right].scan) for at, right in partner.items()}
    for at, because in misplaced(places, apart=where == "the archive").items():
        rows[at] |= {"verdict": Verdict.DIFFERENT, "because": because}
    return rows, _extra(session, there, taken)


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
    return {
        "subject": session.subject,
        "session": session.session,
        "scan": one.scan,
        "resource": one.resource,
        "path": one.path,
        "size_bytes": one.size_bytes,
        "source_md5": one.md5,
        "content": one.content.bulk if one.content else "",
        "SOPInstanceUID": one.content.sop_instance_uid if one.content else "",
        "destination_subject": session.destination_subject,
        "destination_session": session.destination_session,
    }


def _there(other: Seen) -> dict:
    return {
        "destination_scan": other.scan,
        "destination_path": other.path,
        "destination_size_bytes": other.size_bytes,
        "destination_md5": other.md5,
    }


def _compare(one: Seen, other: Seen, expected: Expectation, key: bytes) -> dict:
    if one.md5 == other.md5 and one.size_bytes == other.size_bytes:
        return {"verdict": Verdict.EQUAL, "because": "every byte is equal"}
    if other.problem:
        return {"verdict": Verdict.DIFFERENT, "because": f"at the destination {other.problem}"}
    content_equal, changes = dicom.compare(one.content, other.content, expected, key=key)
    changed = " ".join(change.path for change in changes)
    if not content_equal:
        if one.content.transfer_syntax != other.content.transfer_syntax:
            return {
                "changed": changed,
                "verdict": Verdict.NOT_PROVED,
                "because": "it is in another transfer syntax there, so its pixels cannot be compared here",
            }
        return {"changed": changed, "verdict": Verdict.DIFFERENT, "because": "its pixel data or geometry is not equal"}
    unexplained = [change for change in changes if not change.explained]
    if unexplained:
        names = ", ".join(sorted({change.keyword or change.path for change in unexplained})[:6])
        return {
            "changed": changed,
            "verdict": Verdict.DIFFERENT,
            "because": f"{len(unexplained)} header elements changed and no script explains it: {names}",
        }
    if not changes:
        return {
            "verdict": Verdict.EXPLAINED,
            "because": "content and all header values are equal; the import wrote the header again",
        }
    names = ", ".join(sorted({change.keyword or change.path for change in changes})[:6])
    return {
        "changed": changed,
        "verdict": Verdict.EXPLAINED,
        "because": f"content is equal; the destination's script explains what changed: {names}",
    }


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
    """A Result from its rows; ``started`` is a time.time()."""
    now = time.time()
    for row in rows:
        row["verdict"] = str(row["verdict"])
    return Result(
        sessions=frame(outcomes, OUTCOME_COLUMNS),
        files=frame(rows, MANIFEST_COLUMNS),
        extra=frame(extra, FILE_COLUMNS),
        started_at=_utc(started),
        finished_at=_utc(now),
        seconds=round(now - started, 3),
        **more,
    )


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def same_study(uid: str, other: str) -> bool:
    """Whether two StudyInstanceUIDs name one study, also where a script has hashed one of them."""
    return bool(uid) and other in (uid, dicom.hash_uid(uid), dicom.hash_uid(dicom.hash_uid(uid)))


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
        The journal of a run of ``plan``; a record holds both.
    destination : Connection
        To the destination of the plan.
    source : Connection, optional
        Where headers changed at the destination since, the source is read again to tell what changed.
    proof : str
        "all" reads every file back. "listing" compares the MD5 that the destination lists with the one that was read
        back then; a file without an equal one cannot be proved that way.

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
            outcomes.append(outcome(session, "skipped", (), (), session.because))
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
        because = "read again now" if proof == "all" else "its listing was read again now"
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
    state, chunks, listed = _where(plan, session, past, destination)
    recorded = [dict(row) for row in past.rows]
    if state == "failed":
        for row in recorded:
            row |= {"verdict": Verdict.DIFFERENT, "because": "its session is no longer at the destination"}
        return state, recorded, []
    if proof == "listing":
        by_name = {(row["scan"], row["path"]): row for row in listed}
        for row in recorded:
            if not row.get("destination_path"):
                continue
            now = by_name.get((row["destination_scan"], row["destination_path"]))
            if now is None:
                row |= {"verdict": Verdict.DIFFERENT, "because": "the destination no longer lists it"}
            elif not now["md5"]:
                row |= {"verdict": Verdict.NOT_PROVED, "because": "the destination lists no MD5 for it"}
            elif now["md5"] != row["destination_md5"]:
                row |= {"verdict": Verdict.NOT_PROVED, "because": "its listed MD5 is not the one that was proved"}
        names = {record["name"] for records in past.sent.values() for record in records}
        ours = {(row["destination_scan"], row["destination_path"]) for row in recorded if row.get("destination_path")}
        more = [
            {**{name: row[name] for name in ("scan", "path", "size_bytes", "md5")}, "resource": row.get("resource", "")}
            for at, row in by_name.items()
            if at not in ours and row["path"].rsplit("/", 1)[-1] not in names
        ]
        labels = {"subject": session.destination_subject, "session": session.destination_session}
        return state, recorded, [{**labels, **row} for row in more]
    with chunks() as stream:
        there = read_back(stream, key=key, listed=listed)
    digests = collections.Counter(one.md5 for one in there)
    if (
        source is not None
        and collections.Counter(filter(None, (row.get("destination_md5") for row in recorded))) - digests
    ):
        sent = _source_again(source, session, past, key)
        rows, extra = judge(
            session,
            sent,
            there,
            expected_changes(plan, session, archived=state == ARCHIVED),
            key=key,
            where="the archive" if state == ARCHIVED else "the prearchive",
        )
        return state, rows, extra
    by_uid = {one.content.sop_instance_uid: at for at, one in enumerate(there) if one.content}
    by_md5: dict[str, list[int]] = {}
    for at, one in enumerate(there):
        by_md5.setdefault(one.md5, []).append(at)
    geometry = {
        (record["path"], scan, resource): (record["bulk"], record["geometry"])
        for (scan, resource), records in past.sent.items()
        for record in records
    }
    taken = set()
    for row in recorded:
        if row["because"].startswith("not sent"):
            continue
        if same := by_md5.get(row.get("destination_md5")):
            was = row.get("destination_scan", "")
            taken.add(at := same.pop(next((n for n, one in enumerate(same) if there[one].scan == was), 0)))
            # a session that was archived since may have been given other scan numbers on the way
            if state == past.state and there[at].scan not in ("", was):
                because = f"it is in scan {there[at].scan} now, and was in scan {was}"
                row |= {"verdict": Verdict.DIFFERENT, "because": because, "destination_scan": there[at].scan}
            continue
        at = by_uid.get(row["SOPInstanceUID"], by_uid.get(dicom.hash_uid(row["SOPInstanceUID"])))
        if at is None:
            row |= {"verdict": Verdict.DIFFERENT, "because": "it is no longer at the destination"}
            continue
        taken.add(at)
        content: Content = there[at].content
        before = row["verdict"] in (Verdict.EQUAL, Verdict.EXPLAINED)
        row |= _there(there[at])
        if (content.bulk, content.geometry) == geometry.get((row["path"], row["scan"], row["resource"])):
            read = "its header changed since it was proved" if before else "its header was not compared"
            row |= {
                "verdict": Verdict.NOT_PROVED,
                "because": f"its content is equal, but {read}; verify with the source",
            }
        else:
            row |= {"verdict": Verdict.DIFFERENT, "because": "its pixel data or geometry is not that of the source"}
    return state, recorded, _extra(session, there, taken)


def _source_again(source: Connection, session: SessionPlan, past: SessionHistory, key: bytes) -> list[Seen]:
    found: list[Seen] = []
    for (scan, resource), records in sorted(past.sent.items()):
        listed = {record["path"]: (record["size_bytes"], record["md5"]) for record in records}
        seen, _ = read_source_scan(
            source, session, scan, resource, listed, key=key, study_uid=study_of(found), make_spool=lambda: None
        )
        found += seen
    return found


def study_of(seen: Iterable[Seen]) -> str:
    """The StudyInstanceUID of the first file without a problem, or ""."""
    return next((one.content.study_instance_uid for one in seen if one.content and not one.problem), "")


def _where(plan: Plan, session: SessionPlan, past: SessionHistory, destination: Connection):
    """Where a session is now: (state, how to open its zip, its listed files).

    As long as it waits in the prearchive, what the archive holds of its study is older than this run.
    """
    if past.state != ARCHIVED and past.uri and destination.prearchive_row(past.uri) is not None:
        listed = [
            {"scan": row["scan"], "resource": row["resource"], **one, "md5": ""}
            for row in destination.prearchive_resources(past.uri)
            for one in destination.prearchive_files(past.uri, row["scan"], row["resource"])
        ]
        return IN_PREARCHIVE, functools.partial(destination.open_prearchive, past.uri), listed
    for row in destination.sessions_with_label(plan.destination.project, session.destination_session):
        if same_study(session.StudyInstanceUID, row["StudyInstanceUID"]):
            listed = destination.files([row["session_id"]])
            return ARCHIVED, functools.partial(destination.open_session, row["session_id"]), listed
    return "failed", None, []
