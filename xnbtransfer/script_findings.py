"""What a destination's scripts will come to, said before the start: from their texts, and from headers of the source.

Called by :mod:`.checks` with the settings of a plan, and by :mod:`.reviewer` with each header that it sees. Every
sentence names whose script it is, the line and the column, and quotes no value of a header. Changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .dicom import Values
from .dicomedit import parser4
from .dicomedit.dataset import Dataset, Element
from .dicomedit.dictionary import vr_of
from .dicomedit.javatext import matches
from .dicomedit.paths import is_singular, number, written
from .dicomedit.run4 import FUNCTIONS as FUNCTIONS4
from .dicomedit.run6 import functions_of
from .dicomedit.script import Script
from .dicomedit.tree import Assign, Call, Condition, Echo, Items, Name, Node, Number, Path, SetVariable, Text, nodes
from .dicomedit.words import DONE, REJECTED, UNKNOWN, Ended, Place
from .findings import Finding, finding
from .foretell import Scripts, Step, element_name

# Of a script that ended otherwise than at its end: one row per place in it, with the sessions.
BY_PLACE = frozenset(["S18", "S20"])
_MOST = 8
_PATH = re.compile(r"[0-9A-F]{8}(?:\[\d+\]\.[0-9A-F]{8})*").fullmatch
_STEP = re.compile(r"([0-9A-F]{8})(?:\[(\d+)\])?")
_MOST_ITEMS = 1 << 12
_NUMBERS = frozenset(["US", "SS", "UL", "SL", "FL", "FD"])
_BINARY = _NUMBERS | {"OB", "OW", "OF", "UN", "AT", ""}
# A header dump cuts values (XNAT source, DicomHeaderDump: 64 characters); what is as long may be longer.
_CUT = 60
# Functions that fail where a tag that they are given is missing (measured: cases of `func`, `text` and `date`).
_NEED = frozenset(["concatenate", "format", "ismatch", "lowercase", "match", "replace", "shiftDateByIncrement",
                   "shiftDateTimeByIncrement", "substring", "uppercase"])  # fmt: skip
_SPELT = re.compile(r"[ \t\ufeff]*version\b", re.IGNORECASE)


class Trouble(NamedTuple):
    """Why a script does not come to its end over a header: the rule, "" for none, and the words of the finding."""

    rule: str
    words: str


def text_findings(scripts: Scripts, project: str, *, no_header: bool) -> Iterator[Finding]:
    """What the texts of the scripts alone tell; with ``no_header`` also where they can fail for some files."""
    for step in scripts.steps:
        if step.script is None or not step.recorded:
            continue
        yield from _read_wrong(step, step.script, scripts, project)
        yield from _drawn(step, step.script, project)
        if no_header and step.script.problem is None:
            yield from _can_fail(step, scripts, project)


def _refusals(step: Step, scripts: Scripts) -> dict[str, Ended]:
    """Which engines of those that may run refuse a script, and why."""
    readings = dict(zip(scripts.engines.names[::-1], (step.script, *step.others), strict=False))
    found = {name: script.run(scripts.context).problem for name, script in readings.items() if script is not None}
    return {name: problem for name, problem in found.items() if problem is not None and problem.outcome != UNKNOWN}


def _read_wrong(step: Step, script: Script, scripts: Scripts, project: str) -> Iterator[Finding]:
    refusals = _refusals(step, scripts)
    whose = f"{step.whose[0].upper()}{step.whose[1:]}"
    if refusals:
        name, problem = next(iter(refusals.items()))
        where = f"{step.whose}{_at(problem.place)}"
        if len(refusals) < len(scripts.engines.names):
            sentence = (
                f"{whose} is refused by DicomEdit {name}{_at(problem.place)}: {problem.reason}. Which engine the "
                f"destination has is not known: {scripts.engines}."
            )
            yield finding("S19", sentence, element=where, project=project)
            return
        sentence = (
            f"{whose} is refused by its engine{_at(problem.place)}: {problem.reason}. No file gets through it. "
            f"The engine is {scripts.engines}."
        )
        yield finding("S16", sentence, element=where, project=project)
        return
    four = script.four
    if four is None:
        return
    if four.stopped is not None:
        place = four.stopped.place
        if four.statements:
            what = "is carried out up to there, and from there on nothing is"
        else:
            what = "changes nothing"
        sentence = (
            f"{whose} is run by DicomEdit 4, which ends in silence{_at(place)}: {four.stopped.reason}. It {what}; "
            f"files pass with what it was to change.{_about_version(script)}"
        )
        yield finding("S17", sentence, element=f"{step.whose}{_at(place)}", project=project)
    for one in four.dropped[:_MOST]:
        sentence = f"{whose} is run by DicomEdit 4, which passes over the statement{_at(one.place)}: {one.reason}."
        yield finding("S17", sentence, element=f"{step.whose}{_at(one.place)}", project=project)
    if len(four.dropped) > _MOST:
        sentence = f"{whose}: {len(four.dropped) - _MOST} more statements are passed over."
        yield finding("S17", sentence, element=step.whose, project=project)


def _about_version(script: Script) -> str:
    """What is wrong about the version line of a script that version 4 runs."""
    for number_, line in enumerate(script.text.splitlines(), 1):
        if not _SPELT.match(line):
            continue
        if script.stated and number_ == script.line:
            return f" Version {script.stated} knows no version line (line {number_})."
        return (
            f" The version in line {number_} is not recognised: the word has to begin the line, with one blank and the "
            'number behind it, as in version "6.6".'
        )
    return " It names no version; a script for DicomEdit 6 does in its first line."


def _at(place: Place | None) -> str:
    return f" at {place}" if place is not None else ""


def _drawn(step: Step, script: Script, project: str) -> Iterator[Finding]:
    """The elements that are set to what is drawn at random, each at the first place that does so."""
    found: dict[str, Place] = {}
    for name, place in _drawn4(script) if script.number == 4 else _drawn6(script):
        found.setdefault(name, place)
    for name, place in found.items():
        sentence = f"{step.whose[0].upper()}{step.whose[1:]} draws {name} at random{_at(place)}."
        yield finding("S21", sentence, element=name, project=project)


def _drawn6(script: Script) -> Iterator[tuple[str, Place]]:
    every = list(nodes(script.six))
    words: set[str] = set()  # own variables that hold what was drawn

    def draws(value: Node) -> bool:
        for one in nodes(value):
            if isinstance(one, Call) and one.name in ("mapUID", "newUID"):
                return True
            if isinstance(one, Name) and one.name in words:
                return True
        return False

    for _ in every:  # a variable may be set from one that is set further down
        more = {one.name for one in every if isinstance(one, SetVariable) and draws(one.value)} - words
        if not more:
            break
        words |= more
    for node in every:
        if isinstance(node, Assign) and draws(node.value):
            yield _last(written(node.target.parts)), node.place
        elif isinstance(node, Call) and node.name == "mapReferencedUIDs":
            for one in node.arguments[1:]:
                for text in (inner.text for inner in nodes(one) if isinstance(inner, Text)):
                    yield _last(text), node.place
        elif isinstance(node, Call) and node.name == "set" and len(node.arguments) == 2 and draws(node.arguments[1]):
            for text in (inner.text for inner in nodes(node.arguments[0]) if isinstance(inner, Text)):
                yield _last(text), node.place


def _drawn4(script: Script) -> Iterator[tuple[str, Place]]:
    assert script.four is not None
    for one in script.four.statements:
        if one.target is not None and isinstance(one.value, parser4.New):
            yield _last(f"({one.target.group},{one.target.element})"), one.place


def _last(path: str) -> str:
    """How a waiver names the last element of a path: by keyword or tag, and as it is written where it is a wildcard."""
    tags = re.findall(r"\(([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{4})\)", path)
    whole = bool(tags) and path.rstrip().endswith(")") and path.count("(") == len(tags)
    return element_name("".join(tags[-1]).upper()) if whole else path


# -- what can fail ------------------------------------------------------------------------------------------------


def _can_fail(step: Step, scripts: Scripts, project: str) -> Iterator[Finding]:
    found: dict[Place, str] = {}
    for script in (step.script, *step.others):
        if script is not None and script.problem is None:
            found = dict(_risks6(script) if script.number == 6 else _risks4(script)) | found
    for place, why in sorted(found.items(), key=lambda one: (one[0].line, one[0].column))[:_MOST]:
        sentence = (
            f"{step.whose[0].upper()}{step.whose[1:]} can fail{_at(place)}: {why}. No header was read to tell. It is "
            f"run by {scripts.engines if step.script is None or step.script.number == 6 else 'DicomEdit 4'}."
        )
        yield finding("S19", sentence, element=f"{step.whose}{_at(place)}", project=project)
    if len(found) > _MOST:
        sentence = f"{step.whose[0].upper()}{step.whose[1:]} can fail at {len(found) - _MOST} more places."
        yield finding("S19", sentence, element=step.whose, project=project)


def _risks6(script: Script) -> Iterator[tuple[Place, str]]:
    """Places at which a run of version 6 can end before the end of the script, by the engine that reads it."""
    every = list(nodes(script.six))
    modern, functions = script.dialect >= (6, 6), functions_of(script.dialect)
    words = {one.name for one in every if isinstance(one, SetVariable)}
    # Words that are no argument of a function get their values before the script runs, in 6.6 others do not.
    arguments = {id(inner) for one in every if isinstance(one, Call) for inner in _inside(one.arguments)}
    words |= {one.name for one in every if isinstance(one, Name) and (id(one) not in arguments or not modern)}
    for node in every:
        match node:
            case Call(name="reject") if modern:
                yield node.place, "it rejects files"
            case Call() if node.name not in functions:
                yield node.place, f"there is no function {node.name}"
            case Call() if tag := _needed_tag(node, modern=modern):
                yield node.place, f"{node.name} fails where {written(tag.parts)} is missing"
            case Name() if id(node) in arguments and node.name not in words:
                yield node.place, f"the word {node.name} is only an argument of a function, and has no value there"
            case Condition() if _bad_pattern(node):
                yield node.place, "its pattern cannot be read"
            case Assign() if not is_singular(node.target) and not node.if_exists:
                yield node.place, "several elements are set at one time"
            case Assign() if vr_of(number(node.target.parts[-1])) in _NUMBERS and not _is_number(node.value):
                yield node.place, "what is written need not be a number, and the element holds numbers"
            case Assign() if vr_of(number(node.target.parts[-1])) == "SQ":
                yield node.place, "a text is written into a sequence"
        for value in _values(node):
            if isinstance(value, Path) and not is_singular(value):
                yield value.place, "a path of several elements is used as a value"
            elif isinstance(value, Path) and vr_of(number(value.parts[-1])) == "SQ":
                yield value.place, "a sequence is read as text"


def _needed_tag(call: Call, *, modern: bool) -> Path | None:
    """A tag that has to be there for a function not to fail: of most the first argument, of ``concatenate`` any."""
    if call.name not in _NEED or (call.name == "concatenate" and not modern):
        return None
    looked_at = call.arguments if call.name == "concatenate" else call.arguments[:1]
    return next((one for one in looked_at if isinstance(one, Path)), None)


def _bad_pattern(condition: Condition) -> bool:
    if condition.operator not in ("~", "!~") or not isinstance(condition.right, Text):
        return False
    try:
        matches("", condition.right.text.replace("\\\\", "\\"))
    except Ended as ended:
        return ended.outcome != UNKNOWN
    return False


def _values(node: Node) -> tuple[object, ...]:
    """What a statement or a condition reads as values."""
    if isinstance(node, Assign | SetVariable | Echo):
        return (node.value,)
    return (node.left, node.right) if isinstance(node, Condition) else ()


def _inside(values: tuple[Node, ...]) -> Iterator[Node]:
    for one in values:
        yield one
        if isinstance(one, Items):
            yield from _inside(one.values)


def _is_number(node: Node) -> bool:
    return isinstance(node, Number) or (isinstance(node, Text) and bool(re.fullmatch(r"[+-]?\d+", node.text)))


def _risks4(script: Script) -> Iterator[tuple[Place, str]]:
    """The same of version 4, of which all values are computed before anything is changed."""
    assert script.four is not None
    waiting: list[parser4.Term | None] = [one.value for one in script.four.statements]
    while waiting:
        term = waiting.pop(0)
        if isinstance(term, parser4.Call):
            waiting += term.arguments
            if term.name in _NEED & set(FUNCTIONS4) and any(isinstance(a, parser4.Pattern) for a in term.arguments):
                yield term.place, f"{term.name} fails where the element that it is given is missing"
    for statement in script.four.statements:
        if statement.value is not None and statement.target is not None:
            tag = statement.target.group + statement.target.element
            vr = vr_of(int(tag, 16)) if re.fullmatch("[0-9A-Fa-f]{8}", tag) else ""
            if vr in ("OB", "OW", "OF", "SQ"):
                yield statement.place, f"a text cannot be written as {vr}"
            elif vr in _NUMBERS and not isinstance(statement.value, parser4.Number):
                yield statement.place, "what is written need not be a number, and the element holds numbers"


# -- over a header ------------------------------------------------------------------------------------------------


UNTOLD = Trouble("", "what the scripts make of it cannot be told")


def trouble(scripts: Scripts, values: Values, *, dump: bool = False) -> Trouble | None:
    """Why a file with this header does not pass the scripts; None where it does, ``UNTOLD`` where nobody can say.

    Parameters
    ----------
    values : Values
        As :func:`xnbtransfer.dicom.read_content` gives them.
    dump : bool
        They come from a server's dump, which cuts values and shows no binary ones.
    """
    if not values or not scripts.steps:
        return None
    found = [_trouble(steps, scripts, values, dump=dump) for _, steps in scripts.by_engine()]
    names = scripts.engines.names[::-1]
    worst = next((one for one in found if one is not None and one.rule), None)
    if worst is None:
        return UNTOLD if UNTOLD in found else None
    if all(one is not None and one.rule for one in found):
        return Trouble(worst.rule, f"{worst.words}; it is run by {scripts.engines}")
    name = names[found.index(worst)]
    return Trouble(worst.rule, f"{worst.words} if DicomEdit {name} runs it; which does is not known: {scripts.engines}")


def _trouble(steps: tuple[Step, ...], scripts: Scripts, values: Values, *, dump: bool) -> Trouble | None:
    root = dataset_of(values, dump=dump)
    for step in steps:
        if step.script is None:
            return UNTOLD
        run = step.script.run(scripts.context, recorded_as="0" if step.recorded else None, alone=step.alone)
        if run.problem is not None:
            return None  # told from the text alone
        outcome = run.over(root)
        if outcome.word == UNKNOWN:
            return UNTOLD
        if outcome.word == REJECTED:
            return Trouble("S20", f"{step.whose} rejects{_at(outcome.place)}")
        if outcome.word != DONE:
            return Trouble("S18", f"{step.whose} fails{_at(outcome.place)} ({outcome.reason})")
    return None


def dataset_of(values: Values, *, dump: bool = False) -> Dataset:
    """A header as the engines hold it. What a dump does not show whole counts as known to be there, and no more."""
    root = Dataset()
    for key, (letters, raw) in values.items():
        path = key.split("#")[0]
        if not _PATH(path):
            continue
        dataset: Dataset | None = root
        *above, last = path.split(".")
        for one in above:
            step = _STEP.fullmatch(one)
            assert step is not None and dataset is not None
            dataset = _item(dataset, int(step[1], 16), int(step[2] or 0))
            if dataset is None:
                break
        if dataset is None:
            continue
        tag, vr = int(last, 16), letters.decode("latin-1") or vr_of(int(last, 16))
        if vr == "SQ":
            if dataset.get(tag) is None:
                dataset.put(Element(tag, "SQ", items=[]))
            continue
        doubtful = dump and (vr in _BINARY or len(raw) >= _CUT)
        dataset.put(Element(tag, vr, b"" if doubtful else bytes(raw), random=doubtful))
    return root


def _item(dataset: Dataset, tag: int, at: int) -> Dataset | None:
    sequence = dataset.get(tag)
    if sequence is None or sequence.items is None:
        sequence = Element(tag, "SQ", items=[])
        dataset.put(sequence)
    if at >= _MOST_ITEMS:
        return None
    assert sequence.items is not None
    while len(sequence.items) <= at:
        sequence.items.append(Dataset(dataset))
    return sequence.items[at]
