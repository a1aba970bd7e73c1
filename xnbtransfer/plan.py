"""The plan: what would be done, scan by scan, in order and why. The only reader of policy.

Options are read once, here. Below this module only a decided ``action`` with its ``because`` travels, so a
dry run is the plan itself, and what runs is what was reviewed.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import __version__
from .checks import (
    access_findings,
    label_findings,
    listing_findings,
    rating_findings,
    settings_findings,
    standing_in_the_way,
)
from .chosen_fields import plan_fields
from .conflicts import Surroundings, decide, wants_rename
from .decisions import Decisions, decisions_of, read_rules
from .deid import Judge
from .diff import Diff, Status, dicom_files, diff
from .errors import InputError
from .findings import Finding, finding, in_order
from .inputs import Inputs, read_inputs
from .keys import SessionKey
from .label_rules import read_rule
from .labels import LabelMap, check_labels, label_map_of
from .options import TransferOptions
from .plan_file import (
    SENDS,
    Action,
    LeftBehind,
    Plan,
    ScanPlan,
    SessionPlan,
    Side,
    blockers_of,
    lease_sentence,
)
from .policy import idle_findings
from .resources import beside_findings, left_behind, plan_resources
from .routing import read_receiver, too_long
from .uncarried import leave_uncarried
from .values import Inventory, tuples_of

__all__ = [
    "SENDS",
    "Action",
    "Finding",
    "LeftBehind",
    "Plan",
    "ScanPlan",
    "SessionPlan",
    "Side",
    "destination_states",
    "plan",
    "source_states",
]

# A bare proving loop on a live XNAT took 2.3 requests a scan and about 0.3 s an archiving; the rate is that of a
# 1 Gbit/s link shared by three passes (download, upload, read-back). An estimate is for planning the evening, no more.
_BYTES_PER_S = 30e6
_REQUESTS_PER_SCAN = 2
_REQUESTS_PER_SESSION = 8
_SECONDS_PER_REQUEST = 0.05
_SCAN = ("subject", "session", "scan")
_ALL_THERE = "every scan of it is at the destination already"
_OF_IMPORT = {"S01", "S02", "S03", "S04", "S08", "S11", "S16", "S17", "S19", "S21"}  # what other ways in do not meet


def _digest(rows: Iterable[Iterable[Any]]) -> str:
    lines = sorted("\x1f".join(str(cell) for cell in row) for row in rows)
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def source_states(source: Inventory) -> dict[SessionKey, str]:
    """What each session of the source holds, as one digest: changed by any file that is added, lost or replaced."""
    found: dict[SessionKey, list] = {}
    columns = ["subject", "session", "scan", "resource", "path", "size_bytes", "md5"]
    for row in tuples_of(source.files, *columns):
        if row[2]:
            found.setdefault(SessionKey(row[0], row[1]), []).append(row[2:])
    return {key: _digest(rows) for key, rows in found.items()}


def destination_states(destination: Inventory) -> Callable[[SessionKey, str], str]:
    """What the destination holds that could meet a session: same label or study, archived or in the prearchive.

    The function that is returned gives it as one digest, for where a session goes and its StudyInstanceUID; empty
    where nothing meets it.
    """
    archived = _by_label_and_study(destination.sessions, ["subject", "session", "project", "StudyInstanceUID"])
    waiting = _by_label_and_study(destination.prearchive, ["uri", "status", "session"])
    files: dict[str, list[tuple]] = {}
    columns = ["session", "scan", "resource", "path", "size_bytes", "md5"]
    for row in tuples_of(destination.files, *columns):
        files.setdefault(row[0], []).append(row)

    def state(to: SessionKey, study_uid: str) -> str:
        near, rows = archived(to.session, study_uid), waiting(to.session, study_uid)
        if not near and not rows:
            return ""
        labels = {row[1] for row in near}
        return _digest([*near, *(row for label in labels for row in files.get(label, ())), *rows])

    return state


def _by_label_and_study(table: pd.DataFrame, columns: list[str]) -> Callable[[str, str], list[tuple]]:
    """Finds the rows of a label or of a study, each once."""
    rows = list(tuples_of(table, *columns))
    at: dict[tuple[str, str], list[int]] = {}
    for number, (label, study) in enumerate(zip(table["session"], table["StudyInstanceUID"], strict=True)):
        at.setdefault(("label", label), []).append(number)
        if study:
            at.setdefault(("study", study), []).append(number)
    return lambda label, study: [rows[n] for n in {*at.get(("label", label), ()), *at.get(("study", study), ())}]


def plan(
    source: Inventory,
    destination: Inventory,
    options: TransferOptions,
    *,
    labels: LabelMap | pd.DataFrame | None = None,
    decisions: Decisions | pd.DataFrame | None = None,
    inputs: Inputs | None = None,
) -> Plan:
    """Decide what would be done with every selected session of the source.

    Parameters
    ----------
    source : Inventory
        The selected sessions, with their files.
    destination : Inventory
        The destination project, with the files of the sessions that could be met.
    options : TransferOptions
        Read here and nowhere below.
    labels : LabelMap or frame, optional
        Where the labels change, e.g. a crosswalk that was edited in place; without it as ``inputs`` say.
    decisions : Decisions or frame, optional
        What was decided about single sessions; without it as ``inputs`` say.
    inputs : Inputs, optional
        The files that the options name, read before; without it they are read now.

    Returns
    -------
    Plan
        One row per session of ``source``. Nothing that exists at the destination is touched unless its row says so.

    Raises
    ------
    InputError
        If source and destination are one project, nothing is selected, or two sessions go to one label and nothing
        was decided about it.
    """
    if (source.server.rstrip("/"), source.project) == (destination.server.rstrip("/"), destination.project):
        raise InputError(
            f"Source and destination are the same project, {source.project} on {source.server}.",
            "Name another destination project.",
        )
    if source.sessions.empty:
        raise InputError(
            f"No session of {source.project} is selected.",
            "Widen the selection; 'xnbtransfer inventory' lists what is there.",
        )
    inputs = inputs or read_inputs(options)
    if decisions is None:
        decisions = inputs.decisions
    elif isinstance(decisions, pd.DataFrame):
        decisions = decisions_of(decisions)
    if labels is None:
        labels = inputs.labels_of(source.sessions, source.project)
    elif isinstance(labels, pd.DataFrame):
        labels = label_map_of(labels)
    keys = [SessionKey(*row) for row in tuples_of(source.sessions, "subject", "session")]
    settled = _settle(source, destination, options, decisions.over(labels), decisions)
    rows, uncarried = leave_uncarried(source, _sessions(source, destination, options, settled), options)
    sending = [row.key for row in rows if row.action in SENDS]
    clash = [row.key for row in rows if row.action == "stop" and row.conflict == "two sources on one label"]
    warnings = check_labels(
        keys,
        settled.labels,
        tuple(destination.sessions["subject"]),
        tuple(destination.sessions["session"]),
        sent=[*sending, *clash],
    )
    held = {key for key, met in settled.compared.meetings.items() if any(one.kind == "same-study" for one in met)}
    resources, about_resources = plan_resources(source, destination, rows, options, held)
    fields = plan_fields(source, destination, rows, options, held)
    ratings = options.method != "files"  # which makes scans with them
    left = tuple(left_behind(source, resources, sessions=rows, fields=fields, ratings=ratings))
    policy = inputs.policy_of(destination.project)
    findings = in_order(
        policy.applied(
            [
                *access_findings(source, destination),
                *(
                    one
                    for one in settings_findings(source, destination, options, rows)
                    if options.method != "files" or one.rule not in _OF_IMPORT
                ),
                *rating_findings(source, options, rows),
                *label_findings(warnings, destination.project),
                *_decision_findings(decisions, keys),
                *_pattern_findings(rows, options),
                *idle_findings(
                    policy, _selected(source), destination.project, named=inputs.policy, waivers=inputs.waivers
                ),
                *about_resources,
                *beside_findings(source, left),
                *uncarried,
                *_joined_fields(rows, options, source.project),
                *_method_findings(source, destination, options, rows),
                *standing_in_the_way(rows, source.project),
                *listing_findings(source, rows, Judge(harmless=policy.harmless, identifiers=inputs.identifiers)),
            ]
        )
    )
    sent = [row for row in rows if row.sent_scans]
    carried = [one for one in resources if one.action != "leave"]
    scans = [scan for row in sent for scan in row.sent_scans]
    size = sum(scan.size_bytes for scan in scans)
    extra = {"resources": len(carried), "resource_files": sum(one.files for one in carried)}
    extra["resource_bytes"] = sum(one.size_bytes for one in carried)
    requests = 24 + _REQUESTS_PER_SESSION * len(sent) + _REQUESTS_PER_SCAN * len(scans)
    values: dict[str, Any] = {
        "format": 1,
        "made_by": f"xnbtransfer {__version__}",
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": _side(source),
        "destination": _side(destination),
        "options": options.model_dump(mode="json"),
        "totals": {
            "sessions": len(sent),
            "scans": len(scans),
            "files": sum(scan.files for scan in scans),
            "size_bytes": size,
            **(extra if carried else {}),
        },
        "estimate": {
            "seconds": round(size / _BYTES_PER_S + requests * _SECONDS_PER_REQUEST / options.workers + 0.3 * len(sent)),
            "requests": requests,
            "temporary_bytes": 2 * options.workers * max((scan.size_bytes for scan in scans), default=0),
        },
        "blockers": blockers_of(findings),
        "findings": findings,
        "sessions": tuple(rows),
        "left_behind": left,
        "resources": tuple(resources),
        **({} if fields is None else {"field_rows": tuple(fields), "field_salt": source.field_salt}),
        "policy": policy,
        "also_written": (lease_sentence(destination.project),) if options.lease == "project" else (),
        "fingerprint": "",
    }
    draft = Plan(**values)
    return draft.model_copy(update={"fingerprint": draft.own_fingerprint()})


def _side(inventory: Inventory) -> Side:
    return Side(
        server=inventory.server,
        project=inventory.project,
        user=inventory.user,
        read_at=inventory.read_at,
        settings=inventory.settings.as_dict(),
    )


@dataclass(frozen=True)
class _Settled:
    """The labels after what was decided about them, and what each session meets under them."""

    labels: LabelMap
    compared: Diff
    there: Surroundings
    decisions: Decisions
    rules: dict[str, str]
    renamed: frozenset[SessionKey]


def _settle(
    source: Inventory, destination: Inventory, options: TransferOptions, labels: LabelMap, decisions: Decisions
) -> _Settled:
    """Give other labels where that was decided, and lay both sides side by side under the labels that come of it."""
    rules = read_rules(options.on_conflict)
    there = Surroundings(destination)
    compared = diff(source, destination, labels, decisions.left_out)
    fill = read_rule(f"session={options.rename_to}", extra=("n",))
    new: dict[SessionKey, SessionKey] = {}
    taken = {labels(key).session for key in compared.meetings}
    rows = source.sessions[["subject", "session", "modality", "date"]].sort_values(["subject", "session"])
    for row in rows.to_dict("records"):
        key = SessionKey(row["subject"], row["session"])
        wanted = wants_rename(
            compared.meetings[key], existing=options.existing, rules=rules, row=decisions.of(key)
        ) and not decisions.label(key)
        if not wanted:
            continue
        to = labels(key)
        for number in range(2, 1000):
            label = fill({**row, **to._asdict(), "project": source.project, "n": str(number)}).session
            if there.free(label, taken):
                new[key] = SessionKey(to.subject, label)
                taken.add(label)
                break
    if new:
        labels = LabelMap({**labels.table, **new})
        compared = diff(source, destination, labels, decisions.left_out)
    return _Settled(labels, compared, there, decisions, rules, frozenset(new))


def _selected(source: Inventory) -> Iterable[tuple[str, str, str]]:
    yield from tuples_of(source.scans, "subject", "session", "scan")
    for subject, session in tuples_of(source.sessions, "subject", "session"):
        yield subject, session, ""


def _decision_findings(decisions: Decisions, keys: list[SessionKey]) -> list[Finding]:
    idle = sorted(set(decisions.rows) - set(keys))
    if not idle:
        return []
    some = f"{', '.join(map(str, idle[:3]))}{' and others' if len(idle) > 3 else ''}"
    sentence = f"The decisions name {len(idle)} sessions that are not selected: {some}."
    return [finding("P05", sentence)]


def _method_findings(
    source: Inventory, destination: Inventory, options: TransferOptions, rows: list[SessionPlan]
) -> list[Finding]:
    found = []
    if options.method == "receiver":
        read_receiver(options.receiver)
        if options.proof not in ("all", "prearchive"):
            raise InputError(
                f"A receiver names files anew, so proof={options.proof} cannot tell them apart.", "Choose proof=all."
            )
        long = [row.to.session for row in rows if row.action in SENDS and too_long(destination.project, row.to)]
        if long:
            found.append(finding("R05", f"The routing string of {len(long)} sessions is too long, such as {long[0]}."))
        if (destination.settings.prearchive_code or 0) >= 4:
            code = destination.settings.prearchive_code
            sentence = f"{destination.project} archives what a receiver takes by itself (prearchive code {code})."
            found.append(finding("S14", sentence, project=destination.project))
    if options.method == "files":
        sentence = f"Files are put into the archive of {destination.project} as they are; no script runs on them."
        found.append(finding("S13", sentence, project=destination.project))
    if options.fields:
        found.append(finding("P11", f"Fields are carried: {', '.join(options.fields)}.", project=source.project))
        if options.method != "files" and not options.archive:
            sentence = "Fields were chosen, and the sessions are to wait in the prearchive."
            found.append(finding("P09", sentence, project=source.project))
    return found


def _joined_fields(rows: list[SessionPlan], options: TransferOptions, project: str) -> Iterable[Finding]:
    """A finding for each subject of the destination that would get the fields of several subjects of the source."""
    if not any(one.startswith(("subject/", "*")) for one in options.fields):
        return
    goes: dict[str, set[str]] = {}
    for row in rows:
        if row.action in SENDS:
            goes.setdefault(row.destination_subject.casefold(), set()).add(row.subject)
    for subjects in goes.values():
        if len(subjects) > 1:
            some = " and ".join(sorted(subjects)[:2]) + (" and others" if len(subjects) > 2 else "")
            yield finding("P15", f"The fields of {some} would go to one subject.", project=project)


def _pattern_findings(rows: list[SessionPlan], options: TransferOptions) -> list[Finding]:
    found = []
    for kind, pattern in (("subject", options.subject_pattern), ("session", options.session_pattern)):
        labels = {getattr(row, f"destination_{kind}"): row.key for row in rows if row.action in SENDS}
        unfit = sorted(label for label in labels if pattern and not re.fullmatch(pattern, label))
        if unfit:
            sentence = f"{len(unfit)} {kind} labels do not match {pattern}: {', '.join(unfit[:3])}"
            sentence += " and others." if len(unfit) > 3 else "."
            found.append(finding("P06", sentence))
    return found


def _sessions(source: Inventory, destination: Inventory, options: TransferOptions, settled: _Settled):
    compared, labels = settled.compared, settled.labels
    standing = _Standing(source, destination)
    chosen = bool(options.scan_types or options.qualities)  # a session of which no scan was chosen is left on purpose
    status = {
        SessionKey(row.subject, row.session): row
        for row in compared.sessions.itertuples(index=False)
        if row.status != Status.ONLY_DESTINATION
    }
    # Files and bytes of the resources of each session that an import carries.
    resources: dict[SessionKey, dict[tuple[str, str], list[int]]] = {}
    of_file = ["subject", "session", "scan", "resource", "size_bytes"]
    for subject, session, scan, resource, size in tuples_of(dicom_files(source), *of_file):
        sums = resources.setdefault(SessionKey(subject, session), {}).setdefault((scan, resource), [0, 0])
        sums[0] += 1
        sums[1] += size
    described = {
        (row.subject, row.session, row.scan): row.series_description for row in source.scans.itertuples(index=False)
    }
    states, destination_state = source_states(source), destination_states(destination)
    for row in source.sessions.sort_values(["subject", "session"], kind="stable").itertuples(index=False):
        key = SessionKey(row.subject, row.session)
        to = labels(key)
        here = sorted(resources.get(key, {}).items(), key=lambda item: _natural(item[0][0]))
        action, because, decided = _decide(row, key, status[key], bool(here), options, settled)
        scans, partly = [], False
        for (scan, resource), (files, size) in here:
            send, why = True, "not at the destination"
            if action == "merge":
                send, why, whole = standing.of(key, to, scan, resource, files)
                partly |= not whole
            elif action == "replace":
                why = "sent again; files of the same instance are replaced"
            elif action in ("skip", "stop"):
                send, why = False, because
            scans.append(
                ScanPlan(
                    scan=scan,
                    series_description=described.get((key.subject, key.session, scan), ""),
                    resource=resource,
                    files=files,
                    size_bytes=size,
                    action="send" if send else "leave",
                    because=why,
                )
            )
        if action == "merge" and not any(scan.action == "send" for scan in scans):
            action, because = "skip", _ALL_THERE
            if partly:
                because = "no scan of it can be added, and not every scan of it is whole at the destination"
        met = settled.there.met(row, to)
        yield SessionPlan(
            subject=key.subject,
            session=key.session,
            session_id=row.session_id,
            destination_subject=to.subject,
            destination_session=to.session,
            StudyInstanceUID=row.StudyInstanceUID,
            modality=row.modality,
            date=row.date,
            action=action,
            because=because,
            conflict=status[key].conflict or ("a scan is there in part" if partly else ""),
            decided=decided,
            open_point=_open_point(action, because, decided, status[key], partly) if here or not chosen else "",
            met=tuple(sorted(met[0])),
            met_elsewhere=tuple(sorted(met[1])) if settled.there.elsewhere is not None else None,
            scans=tuple(scans),
            source_state=states.get(key, ""),
            destination_state=destination_state(to, row.StudyInstanceUID),
        )


def _open_point(action: Action, because: str, decided: str, compared, partly: bool) -> str:
    """Why somebody has to look at a session after the run, although it may end well; "" where nobody has to.

    Settled is what is sent, what a person named and left out, and what the destination has already: the same study
    with the same content counts.
    """
    if decided == "by row":
        return ""
    if partly:
        return "a scan of it is at the destination in part, and is not completed"
    there = compared.status in (Status.SAME, Status.CANNOT_TELL)  # a conflict would be the status
    if action in SENDS or there or because == _ALL_THERE:
        return ""
    return because


class _Standing:
    """Which scans of a session are at the destination already, told by their series and never by their numbers.

    XNAT gives a series another number where its own is taken (``5-MR1``; XNAT source, ``MergeSessionsA``), so one
    number on both sides may be two series, and one series may have two numbers.
    """

    def __init__(self, source: Inventory, destination: Inventory) -> None:
        self._series = {row[:3]: row[3] for row in tuples_of(source.scans, *_SCAN, "SeriesInstanceUID")}
        counts: dict[tuple[str, str, str], int] = {}
        for session, scan, resource in tuples_of(dicom_files(destination), "session", "scan", "resource"):
            counts[session, scan, resource] = counts.get((session, scan, resource), 0) + 1
        self._files = counts
        self._numbers = {at[:2] for at in counts} | set(tuples_of(destination.scans, "session", "scan"))
        self._there: dict[tuple[str, str], list[str]] = {}
        self._unnamed: set[str] = set()
        named = set()
        for session, scan, series in tuples_of(destination.scans, "session", "scan", "SeriesInstanceUID"):
            if series:
                self._there.setdefault((session, series), []).append(scan)
                named.add((session, scan))
        self._unnamed = {session for session, scan in self._numbers - named}

    def of(self, key: SessionKey, to: SessionKey, scan: str, resource: str, files: int) -> tuple[bool, str, bool]:
        """Whether a scan of the source is to be sent, why, and whether it is whole there or will be."""
        series = self._series.get((*key, scan), "")
        numbers = self._there.get((to.session, series), []) if series else []
        if numbers:
            there = sum(self._files.get((to.session, number, resource), 0) for number in set(numbers))
            if there >= files:
                return False, "its series is at the destination already", True
            missing = f"{files - there} of the {files} files of its series are missing at the destination"
            return False, f"{missing}, and an import cannot add them to a scan that is there", False
        if series and to.session not in self._unnamed:
            taken = (to.session, scan) in self._numbers
            return True, "missing at the destination" + (", where another series has its number" if taken else ""), True
        if (to.session, scan) not in self._numbers:
            return True, "missing at the destination", True
        return False, "a scan of its number is at the destination, and no list tells whether it is this series", False


def _decide(
    row, key, compared, has_dicom: bool, options: TransferOptions, settled: _Settled
) -> tuple[Action, str, str]:
    if not has_dicom:
        return "skip", "it holds no DICOM scan that an import could carry", ""
    if not row.StudyInstanceUID:
        because = "the source lists no StudyInstanceUID for it, so what is there already cannot be recognised"
        return "skip", because, ""
    action, because, by = decide(
        settled.compared.meetings[key],
        existing=options.existing,
        rules=settled.rules,
        row=settled.decisions.of(key),
        renamed=key in settled.renamed,
    )
    if action == "copy" and key in settled.renamed:
        because = "; ".join(filter(None, ["its label is taken, so it gets another", because]))
    if action == "copy" and not because:
        because = compared.because
    if action == "merge":
        because = f"{because}; scans that are missing there are added"
    if action == "replace":
        because = f"{because}; its files are replaced, files only there stay"
    return action, because, by


def _natural(text: str) -> tuple:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)
