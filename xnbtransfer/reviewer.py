"""The reviewer: sees headers one by one, and adds up what they break. One for a whole run; safe between threads.

What it sees of values stays in memory: it gives back findings, which hold none.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .deid import Hit, Judge, element_words, image_hits, is_free_text, once
from .dicom import Values
from .dicomedit.survey import survey
from .findings import RULES, Finding, finding, in_order
from .foretell import Scripts, parsed, scripts_of
from .identities import Identifiers, is_dummy, routing_in
from .inputs import Inputs
from .keys import SessionKey
from .plan_file import Plan
from .policy import Policy
from .script_findings import BY_PLACE, Trouble, trouble

# One row per place up to here; more of the same rule and element are told in one row.
_PLACES = {"blocking": 20, "warning": 4, "note": 4}
_TEXTS = 100_000  # distinct texts that are remembered; nobody reads more
_QUIET = frozenset(rule for rule, about in RULES.items() if rule[0] == "D" and about.severity == "note")
# Where XNAT looks for routing text, in its order (XNAT documentation; ClassicDicomObjectIdentifier).
_ROUTED = ("00104000", "00324000", "001021B0", "00081030", "00080050")
_REROUTED = ("00104000", "00081030")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
_ANNOUNCED = ("00201002", "00201209")  # ImagesInAcquisition, NumberOfSeriesRelatedInstances


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a review has to know of the transfer.

    Attributes
    ----------
    source, destination : str
        Project IDs.
    sessions : mapping
        Labels at the source to labels at the destination.
    written : frozenset of str
        What the destination's scripts write, in lower case.
    rewritten : frozenset of str
        The elements that they set or remove, by keyword.
    receiver : bool
        The files go to a DICOM receiver, which follows routing text.
    scripts : Scripts
        Those of the destination that each file passes; what their words stand for differs by session.
    """

    source: str
    destination: str
    sessions: Mapping[SessionKey, SessionKey]
    policy: Policy = field(default_factory=Policy)
    written: frozenset[str] = frozenset()
    rewritten: frozenset[str] = frozenset()
    receiver: bool = False
    scripts: Scripts = field(default_factory=Scripts)

    def scripts_for(self, key: SessionKey) -> Scripts:
        """The scripts with the words of a session of the source."""
        to = self.sessions.get(key, key)
        context = {"project": self.destination, "subject": to.subject, "session": to.session}
        return replace(self.scripts, context=context)

    @property
    def labels(self) -> frozenset[str]:
        """Every text that is a label in this transfer, in lower case."""
        found = {self.source, self.destination, *self.written}
        for key, to in self.sessions.items():
            found |= {key.subject, key.session, to.subject, to.session}
        return frozenset(text.casefold() for text in found if text)


def ground_of(plan: Plan) -> Ground:
    """What a plan says of its own transfer."""
    settings = plan.destination.settings
    texts: dict[int, str] = {}
    gone: set[int] = set()
    for side in ("site", "project"):
        text = settings.get(f"{side}_script") if settings.get(f"{side}_script_on") else None
        said = survey(parsed(text)) if text else None
        if said is None:
            continue
        more, less = said.surely()
        touched = {mention.tag for mention in (*said.sets, *said.deletes)}
        texts = {tag: value for tag, value in texts.items() if tag not in touched} | more
        gone = (gone - touched) | less
    exact = sorted(f"{tag:08X}" for tag in (*texts, *gone))
    return Ground(
        source=plan.source.project,
        destination=plan.destination.project,
        sessions={row.key: row.to for row in plan.sessions},
        policy=plan.policy,
        written=frozenset(text.casefold() for text in texts.values() if text),
        rewritten=frozenset(map(element_words, exact)),
        receiver=plan.options.get("method") == "receiver",
        scripts=Scripts() if plan.options.get("method") == "files" else _scripts(settings),
    )


def _scripts(settings: Mapping[str, Any]) -> Scripts:
    sides = [(settings.get(f"{side}_script_on"), settings.get(f"{side}_script")) for side in ("site", "project")]
    return scripts_of(site=sides[0], project=sides[1], context={}, version=str(settings.get("version") or ""))


def reviewer_of(plan: Plan, *, whole: bool = True, inputs: Inputs | None = None) -> Reviewer:
    """The reviewer of a plan, with the list of identifiers of ``inputs``; without them that of the plan's options.

    Raises
    ------
    InputError
        If that list cannot be read.
    """
    path = plan.options.get("identifiers", "")
    read = inputs.identifiers if inputs else Identifiers.read(path) if path else None
    return Reviewer(ground_of(plan), identifiers=read, whole=whole)


@dataclass
class _Series:
    scans: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    instances: list[int] = field(default_factory=list)
    announced: int = 0
    files: int = 0


@dataclass
class _Session:
    """What the files of one session say of it."""

    studies: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    series: dict[str, _Series] = field(default_factory=lambda: defaultdict(_Series))
    instances: Counter = field(default_factory=Counter)
    syntaxes: Counter = field(default_factory=Counter)
    files: int = 0


class Reviewer:
    """Adds up the headers of a transfer.

    Parameters
    ----------
    ground : Ground
    identifiers : Identifiers, optional
        Names and numbers to be found wherever they stand.
    whole : bool
        Every file is seen, so that gaps and duplicates can be told.
    """

    def __init__(self, ground: Ground, *, identifiers: Identifiers | None = None, whole: bool = True) -> None:
        policy = ground.policy
        self.ground, self.whole = ground, whole
        self.judge = Judge(
            retain=policy.retain,
            private_creators=policy.private_creators,
            harmless=policy.harmless,
            identifiers=identifiers,
        )
        self.labels = ground.labels
        self._lock = threading.Lock()
        self._places: dict[tuple[str, str], dict[tuple[str, str, str], list]] = {}
        self._sessions: dict[SessionKey, _Session] = {}
        self._ended: list[Finding] = []
        self._subjects: dict[str, set[str]] = {}
        self._texts: dict[tuple[str, str], list] = {}
        self._syntaxes: Counter = Counter()
        self.files = 0

    def scan(self, subject: str, session: str, scan: str) -> ScanReview:
        """A review of one scan; it is added to this one when it is closed."""
        return ScanReview(self, subject, session, scan)

    def findings(self) -> tuple[Finding, ...]:
        """Everything so far, weighed by the policy, many places of one thing told in one row."""
        with self._lock:
            for key in list(self._sessions):
                self._ended += self._consistency(key, self._sessions.pop(key))
            found = [*self._ended, *self._shared_ids(), *self._rows(self._places)]
            if told := ", ".join(f"{_syntax(uid)} ({files})" for uid, files in self._syntaxes.most_common() if uid):
                found.append(finding("C08", f"Transfer syntaxes: {told}.", project=self.ground.source))
            if self._texts:
                elements = {element for element, _ in self._texts}
                count = f"{len(self._texts)}{' or more' if len(self._texts) >= _TEXTS else ''}"
                sentence = f"{count} distinct texts in {len(elements)} elements were not read by a person."
                found.append(finding("D50", sentence, project=self.ground.source))
        return in_order(together(self.ground.policy.applied(found), self.ground.source))

    def end(self, key: SessionKey) -> list[Finding]:
        """A session was seen whole: keep, and give back, what its files together tell."""
        with self._lock:
            state = self._sessions.pop(key, None)
            found = list(self._consistency(key, state)) if state is not None else []
            self._ended += found
            return found

    def add(self, findings: Iterable[Finding]) -> None:
        """Findings of an earlier run."""
        with self._lock:
            self._ended += findings

    def distinct_values(self) -> list[tuple[str, str, int, int]]:
        """Element, value, files and sessions of each text that stands in a header, each once.

        For the eyes of somebody who may see the data: whoever shows it must not save it.
        """
        with self._lock:
            return sorted((element, text, count, len(where)) for (element, text), (count, where) in self._texts.items())

    # -- adding up ----------------------------------------------------------------------------------------------

    def _add(self, part: ScanReview) -> None:
        with self._lock:
            key = SessionKey(part.subject, part.session)
            state = self._sessions.setdefault(key, _Session())
            for fact in part.facts:
                self._fact(key, state, part.scan, fact)
            part.facts.clear()
            for (rule, element), (files, shapes) in part.counts.items():
                place = ("", "", "") if rule in _QUIET else (part.subject, part.session, part.scan)
                row = self._places.setdefault((rule, element), {}).setdefault(place, [0, set()])
                row[0] += files
                row[1] |= shapes
            part.counts.clear()
            self.files += part.files
            for (element, text), files in part.texts.items():
                if len(self._texts) >= _TEXTS and (element, text) not in self._texts:
                    continue
                row = self._texts.setdefault((element, text), [0, set()])
                row[0] += files
                row[1].add(key)
            part.texts.clear()

    def _fact(self, key: SessionKey, state: _Session, scan: str, fact: _Fact) -> None:
        state.files += 1
        state.studies.add(fact.study)
        state.syntaxes[fact.syntax] += 1
        self._syntaxes[fact.syntax] += 1
        state.instances[fact.instance] += 1
        series = state.series[fact.series]
        series.scans.add(scan)
        series.files += 1
        series.numbers.add(fact.series_number)
        if self.whole and fact.instance_number.lstrip("-").isdecimal():
            series.instances.append(int(fact.instance_number))
        series.announced = max(series.announced, fact.announced)
        state.ids.add(fact.patient)
        state.names.add(fact.name)
        if fact.patient and not is_dummy(fact.patient):
            self._subjects.setdefault(fact.patient, set()).add(self.ground.sessions.get(key, key).subject)

    def _consistency(self, key: SessionKey, state: _Session) -> Iterable[Finding]:
        at = {"project": self.ground.source, "subject": key.subject, "session": key.session}
        if len(state.studies) > 1:
            yield finding("C01", f"{key} holds files of {len(state.studies)} studies.", files=state.files, **at)
        for several, word in ((state.ids, "PatientIDs"), (state.names, "PatientNames")):
            if len(several) > 1:
                yield finding("C04", f"{key} holds {len(several)} different {word}.", files=state.files, **at)
        own = {one.casefold() for one in (*key, *self.ground.sessions.get(key, key))}
        foreign = {one.casefold() for one in state.ids | state.names} & self.labels - own - self.ground.written
        foreign -= {self.ground.source.casefold(), self.ground.destination.casefold()}
        if foreign:
            yield finding("C05", f"{key}: PatientID or PatientName is the label of another subject or session.", **at)
        spread = [uid for uid, one in state.series.items() if len(one.scans) > 1]
        if spread:
            yield finding("C02", f"{key}: {len(spread)} series stand in more than one scan.", **at)
        by_number: dict[str, set[str]] = {}
        for uid, one in state.series.items():
            for number in one.numbers:
                by_number.setdefault(number, set()).add(uid)
        clashes = sorted(number for number, uids in by_number.items() if len(uids) > 1 and number)
        if clashes:
            yield finding("C06", f"{key}: SeriesNumber {', '.join(clashes[:5])} is used by several series.", **at)
        deflated = state.syntaxes[_DEFLATED]
        if deflated:
            yield finding("C09", f"{key} has {deflated} deflated files.", files=deflated, **at)
        refused = deflated + sum(state.syntaxes[one] for one in _HTJ2K)
        if refused and self.ground.receiver:
            yield finding("C10", f"{key} has {refused} files that a receiver does not take.", files=refused, **at)
        if self.whole:
            yield from self._gaps(key, state, at)

    def _gaps(self, key: SessionKey, state: _Session, at: dict[str, str]) -> Iterable[Finding]:
        twice = sum(count - 1 for count in state.instances.values() if count > 1)
        if twice:
            yield finding("C03", f"{key}: {twice} files repeat the SOPInstanceUID of another.", files=twice, **at)
        for one in state.series.values():
            where = {**at, "scan": min(one.scans)}
            there = sorted(set(one.instances))
            steps = {b - a for a, b in zip(there, there[1:], strict=False)}
            if len(steps) > 1 and len(there) == len(one.instances):
                lost = there[-1] - there[0] + 1 - len(there)
                yield finding(
                    "C07",
                    f"{key} scan {where['scan']}: InstanceNumber runs from {there[0]} to {there[-1]} and {lost} are "
                    "missing.",
                    files=one.files,
                    **where,
                )
            elif one.announced > one.files:
                yield finding(
                    "C07",
                    f"{key} scan {where['scan']}: a header announces {one.announced} images, {one.files} are there.",
                    files=one.files,
                    **where,
                )

    def _shared_ids(self) -> Iterable[Finding]:
        several = sum(1 for subjects in self._subjects.values() if len(subjects) > 1)
        if several:
            yield finding(
                "C05", f"{several} PatientIDs stand in sessions of more than one subject.", project=self.ground.source
            )

    def _rows(self, places: Mapping[tuple[str, str], Mapping[tuple[str, str, str], list]]) -> list[Finding]:
        return [
            _row(self.ground, rule, element, place, files, shapes)
            for (rule, element), where in places.items()
            for place, (files, shapes) in where.items()
        ]


class ScanReview:
    """The files of one scan, from several threads. What was seen is added to the reviewer by :meth:`close`."""

    def __init__(self, reviewer: Reviewer, subject: str, session: str, scan: str) -> None:
        self.reviewer, self.subject, self.session, self.scan = reviewer, subject, session, scan
        self.counts: dict[tuple[str, str], tuple[int, set[str]]] = {}
        self.facts: list[_Fact] = []
        self.texts: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[str, bytes], tuple[str, str]] = {}
        self._scripts = reviewer.ground.scripts_for(SessionKey(subject, session))
        self._lock = threading.Lock()
        self.files = 0

    def trouble(self, values: Values, *, dump: bool = False) -> Trouble | None:
        """Why the destination's scripts do not come to their end over a header; ``dump``: as a server shows one."""
        return trouble(self._scripts, values, dump=dump)

    def file(self, values: Values, *, path: str = "", problem: str = "", dump: bool = False) -> None:
        """Look at one file: ``values`` as :func:`xnbtransfer.dicom.read_content` gives them.

        ``problem`` says why a file could not be read whole; what was read of it is looked at anyway.
        """
        with self._lock:
            self._file(values, path, problem, dump)

    def _file(self, values: Values, path: str, problem: str, dump: bool) -> None:
        self.files += 1
        hits: list[Hit] = []
        if problem:
            rule = "C13" if "empty" in problem else "C12" if "not a DICOM" in problem else "C11"
            hits.append(Hit(rule, "", ""))
        if values:
            hits += self.reviewer.judge.hits(values, self.reviewer.labels)
            hits += image_hits(values)
            hits += self._routing(values)
        if values and not problem:
            self.facts.append(_fact_of(values))
            if (found := self.trouble(values, dump=dump)) and found.rule:
                hits.append(Hit(found.rule, found.words, ""))
        if path:
            hits += self.reviewer.judge.name_hits(path)
        for rule, element, shape, _ in dict.fromkeys(hits):
            files, shapes = self.counts.get((rule, element), (0, set()))
            if shape and len(shapes) < 3:
                shapes.add(shape)
            self.counts[(rule, element)] = (files + 1, shapes)
        self._keep_texts(values)

    def blocking(self) -> list[Finding]:
        """The findings of this scan alone that block it, as the policy weighs them."""
        ground, place = self.reviewer.ground, (self.subject, self.session, self.scan)
        found = [
            _row(ground, rule, element, place, files, shapes)
            for (rule, element), (files, shapes) in self.counts.items()
        ]
        return [one for one in ground.policy.applied(found) if one.severity == "blocking"]

    def record(self) -> list[list]:
        """What was seen, for a journal: rule, element, files and shapes."""
        return [[rule, element, files, sorted(shapes)] for (rule, element), (files, shapes) in self.counts.items()]

    def restore(self, rows: Iterable[list]) -> None:
        """Add what :meth:`record` gave in an earlier run."""
        self.counts = {(rule, element): (files, set(shapes)) for rule, element, files, shapes in rows}
        self.close()

    def close(self) -> None:
        """Add what was seen to the reviewer."""
        self.reviewer._add(self)

    def _routing(self, values: Values) -> Iterable[Hit]:
        ground = self.reviewer.ground
        key = SessionKey(self.subject, self.session)
        to = ground.sessions.get(key, key)
        expected = {"project": ground.destination, "subject": to.subject, "session": to.session}
        for tag in _ROUTED:
            raw = values.get(tag, (b"", b""))[1]
            if not raw:
                continue
            text = raw.decode("latin-1").strip(" \0")
            if tag == "00081030" and len(text) > 64:
                yield Hit("R04", element_words(tag), "")
            if tag in ("00081030", "00080050"):
                if text.casefold() == ground.source.casefold() != ground.destination.casefold():
                    yield Hit("R03", element_words(tag), "")
                    continue
                if tag == "00080050":
                    continue
            # The receiver door writes these two anew in the copy that it sends.
            fine = ground.receiver and tag in _REROUTED
            for word, value in routing_in(text):
                if fine or word == "aa" or value.casefold() == expected[word].casefold():
                    yield Hit("R03", element_words(tag), "")
                else:
                    yield Hit("R01" if word == "project" else "R02", element_words(tag), "")

    def _keep_texts(self, values: Values) -> None:
        known, texts = self._known, self.texts
        for path, (vr, raw) in values.items():
            path = once(path)
            if raw and is_free_text(path, vr):
                name = known.get((path, raw))
                if name is None:
                    element = element_words(re.sub(r"\[\d+\]", "", path))
                    name = known[(path, raw)] = (element, raw.decode("utf-8", "replace").strip(" \0"))
                texts[name] = texts.get(name, 0) + 1


def _syntax(uid: str) -> str:
    """The name of a transfer syntax, or its UID where it is one of somebody's own."""
    from pydicom._uid_dict import UID_dictionary

    if uid in UID_dictionary:
        return UID_dictionary[uid][0]
    return uid if re.fullmatch(r"[\d.]{5,64}", uid) else "an unreadable one"


class _Fact(NamedTuple):
    """What one file says of its session."""

    study: str
    series: str
    instance: str
    syntax: str
    instance_number: str
    series_number: str
    patient: str
    name: str
    announced: int


def _fact_of(values: Values) -> _Fact:
    def text(tag: str) -> str:
        return values.get(tag, (b"", b""))[1].decode("latin-1").strip(" \0")

    return _Fact(
        *(text(tag) for tag in ("0020000D", "0020000E", "00080018", "00020010", "00200013", "00200011")),
        text("00100020"),
        text("00100010"),
        max((int(said) for tag in _ANNOUNCED if (said := text(tag)).isdecimal()), default=0),
    )


_SENTENCES: dict[str, Callable[[str, str], str]] = {
    "C11": lambda element, files: f"{files} cut short or damaged",
    "C12": lambda element, files: f"{files} not DICOM",
    "C13": lambda element, files: f"{files} empty",
    "D27": lambda element, files: f"{files} called like a person",
}


def _row(ground: Ground, rule: str, element: str, place: tuple[str, str, str], files: int, shapes: set[str]) -> Finding:
    subject, session, scan = place
    count = f"{files} file is" if files == 1 else f"{files} files are"
    where = f"{subject}/{session} scan {scan}" if session else ground.source
    told = _SENTENCES.get(rule)
    if told:
        sentence = f"{where}: {told(element, count)}."
    else:
        sentence = f"{where}: {element}, in {files} file{'' if files == 1 else 's'}."
    if element in ground.rewritten and RULES[rule].severity != "note":
        sentence += " The destination's script replaces it on arrival; it is sent all the same."
    more = {"severity": "blocking"} if rule == "R01" and ground.receiver else {}
    return finding(
        rule, sentence, project=ground.source, subject=subject, session=session, scan=scan, element=element,
        shape=" | ".join(sorted(shapes)[:3]), files=files, **more,
    )  # fmt: skip


def together(findings: Iterable[Finding], project: str) -> list[Finding]:
    """Findings that differ in their place only as one row where there are many, and quiet ones by rule."""
    groups: dict[tuple, list[Finding]] = {}
    for one in findings:
        quiet = one.rule in _QUIET and one.severity == "note" and not one.subject
        key = (one.rule, one.severity, one.waived, "" if quiet else one.element)
        groups.setdefault(key, []).append(one)
    found: list[Finding] = []
    for (rule, _, _, element), group in groups.items():
        if rule in _QUIET and len(group) > 1 and not element and not group[0].subject:
            names = sorted({one.element for one in group if one.element})
            files = max(one.files for one in group)
            some = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            sentence = f"{project}: {some}, in up to {files} files." if names else group[0].sentence
            found.append(group[0].model_copy(update={"element": "", "shape": "", "files": files, "sentence": sentence}))
        elif len(group) > (1 if group[0].rule in BY_PLACE else _PLACES[group[0].severity]) and group[0].session:
            sessions = sorted({f"{one.subject}/{one.session}" for one in group})
            shapes = sorted({shape for one in group for shape in one.shape.split(" | ") if shape})
            files = sum(one.files for one in group)
            what = f"{element}, " if element else f"{RULES[rule].title.lower()}, "
            sentence = (
                f"{project}: {what}in {files} files of {len(group)} scans in {len(sessions)} sessions: "
                f"{', '.join(sessions[:5])}{', ...' if len(sessions) > 5 else ''}."
            )
            place = {"subject": "", "session": "", "scan": "", "shape": " | ".join(shapes[:3]), "files": files}
            found.append(group[0].model_copy(update={**place, "sentence": sentence}))
        else:
            found += group
    return found
