"""Ask exchanges recorded from live servers again of the embedded one, and tell what it answers otherwise.

    python tests/contract/replay.py 1.8                    all files of a personality: differences by kind and topic
    python tests/contract/replay.py 1.8 newer              one file
    python tests/contract/replay.py 1.8 newer --topic W4   each difference of the topics that hold this text
    python tests/contract/replay.py 1.8 newer --case n391  one exchange, with both answers (number or ``n..``)
    python tests/contract/replay.py 1.7.2 surprises        the scenario of 1.8.11 as 1.7.2 answered it
    python tests/contract/replay.py 1.8 --write            write the list of differences again; reasons stay

``recorded/differences/VERSION-FILE.jsonl`` lists each difference, a line an exchange: what comes here and why. ``why``
is one of ``WHY``; what nobody has judged yet is ``open``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import replay_compare as compare
from replay_world import NO_ANSWER, Answer, World

RECORDED = Path(__file__).parent / "recorded"
PERSONALITIES = {
    "1.8": ("xnat-1.8.11", ("client-forms", "surprises", "newer", "races")),
    "1.7": ("xnat-1.8.11", ("client-forms", "surprises")),
    "1.7.2": ("xnat-1.8.11", ("client-forms", "surprises")),
    "1.6": ("xnat-1.6.4", ("client-forms", "surprises")),
}
VERSIONS = {"1.7": "1.7.6", "1.7.2": "1.7.2"}
"""Personalities of which status, kind of body and number of rows were recorded, for the exchanges of 1.8.11."""
WHY = {
    "open": "not judged yet",
    "rests on": "what answered there is not XNAT's own code of that version (field ``rests on`` of the exchange)",
    "consequence": "an exchange before it ended otherwise, for a reason of its own",
    "time": "what is met depends on how long the server takes",
    "trifle": "no client can see it, or none could do anything else",
    "age": "of 1.6.4, 1.7.2 or 1.7.6 alone; this is not imitated",
}
Exchange = dict[str, Any]


@cache
def exchanges(version: str, name: str) -> list[Exchange]:
    """The recorded exchanges of a file, in their order."""
    folder = PERSONALITIES[version][0]
    with zipfile.ZipFile(RECORDED / f"{folder}.zip") as packed:
        return json.loads(packed.read(f"{name}.json"))


@cache
def shorts(version: str, name: str) -> dict[int, str]:
    """What another version answered to the exchanges of a file of 1.8.11: ``200 table 3`` by number of the exchange."""
    release = VERSIONS[version]
    with zipfile.ZipFile(RECORDED / "versions.zip") as packed:
        rows = json.loads(packed.read("versions.json"))
    return {row["case"]: row[release] for row in rows if row["file"] == name and row[release] is not None}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one exchange was answered here; ``answer`` is None where it was not asked."""

    case: int
    exchange: Exchange
    differences: tuple[str, ...]
    answer: Answer | None

    @property
    def topic(self) -> str:
        return str(self.exchange.get("topic") or self.exchange.get("form") or "")


class Replay:
    """One file of exchanges, asked from the top."""

    def __init__(self, world: World, told: list[Exchange], short: dict[int, str] | None = None) -> None:
        self.world, self.told, self.short = world, told, short
        self.outcomes: list[Outcome] = []
        self._at = 0

    def run(self) -> list[Outcome]:
        while self._at < len(self.told):
            one = self.told[self._at]
            self.world.prepare(one)
            if one["what"].startswith("the row while"):
                self._watched()
            elif one["what"].startswith("build it; the other scan"):
                self._raced()
            elif "paused" in one["request"]:
                self._paused()
            else:
                self._one(one)
        return self.outcomes

    def _keep(self, exchange: Exchange, answer: Answer | None, case: int | None = None) -> None:
        """Compare and note; the next exchange is the one after it."""
        found: tuple[str, ...] = ()
        if answer is not None:
            there, here = told(exchange), told_here(answer)
            found = tuple(self._judged(exchange, answer, there, here, self._at if case is None else case))
            self.world.note(compare.pairs(there, here))
        self.outcomes.append(Outcome(case=self._at if case is None else case, exchange=exchange,
                                     differences=found, answer=answer))  # fmt: skip
        if case is None:
            self._at += 1

    def _judged(self, exchange: Exchange, answer: Answer, there: compare.Told, here: compare.Told,
                case: int) -> list[str]:  # fmt: skip
        if self.short is None:
            return judged(exchange, answer, there, here)
        wanted, found = self.short.get(case), compare.short(answer.status, here)
        if wanted is None or answer is NO_ANSWER and wanted.startswith("0 "):
            return []
        same = found == wanted or wanted == "200 table" and found.startswith("200 table")
        return [] if same else [f"answer: {found} for {wanted}"]

    def _one(self, one: Exchange) -> None:
        request, what = one["request"], one["what"]
        if "twelve scans" in what:
            self._keep(one, self._side_by_side(one))
        elif "after the row was asked to build" in what:
            self._keep(one, self._while_building(one))
        else:
            self._keep(one, self._settled(one, self.world.ask(one, float(request.get("cut", 1.0)))))

    def _settled(self, one: Exchange, answer: Answer) -> Answer:
        """A read of what goes on in the background is repeated until it is as it was there, for two seconds."""
        if one["request"]["method"] != "GET" or "/prearchive" not in one["request"]["path"]:
            return answer
        until = time.monotonic() + 2
        while time.monotonic() < until and not _quiet(one, answer):
            time.sleep(0.1)
            answer = self.world.ask(one)
        if "seconds later" in one["what"]:  # there the work was done, whatever the answer tells of it
            self.world.rest(one["request"]["path"])
        return answer

    def _watched(self) -> None:
        """The row while something is done with it: the action goes on beside, and the row is read meanwhile."""
        watching = []
        while self.told[self._at]["what"].startswith("the row while"):
            watching.append((self._at, self.told[self._at]))
            self._at += 1
        case, first = watching[0]
        self._keep(first, self.world.ask(first), case)
        action = self.told[self._at]
        if "nothing is asked" in first["what"] and len(watching) == 1:
            return
        self.world.prepare(action)
        going = self.world.begin(action)
        if "arrives" in first["what"]:
            time.sleep(0.15)
            self._arrives()
        seen: dict[str, Answer] = {}
        while not going.done():
            answer = self.world.ask(first)
            seen.setdefault(_state(answer.text), answer)
        for case, one in watching[1:]:
            state = one["note"].removeprefix("status ")
            self._keep(one, self.world.ask(one) if state == "gone" else seen.get(state), case)
        self._keep(action, going.result())
        until = time.monotonic() + 5  # the recording went on when the work was done
        while time.monotonic() < until and _state(self.world.ask(first).text).startswith(("_", "QUEUED")):
            time.sleep(0.05)

    def _arrives(self) -> None:
        """The file that arrived while a row was built; its import is not among the exchanges."""
        like = next(one for one in reversed(self.told[: self._at]) if "/services/import" in one["request"]["path"])
        series = like["request"]["content"]["series"][0]
        self.world.scan(like, study=series["study"], number=2, description="late", prefix="l-")

    def _while_building(self, one: Exchange) -> Answer:
        project = re.search(r"PROJECT_ID=(\w+)", one["request"]["path"])
        label = re.search(r"EXPT_LABEL=(\w+)", one["request"]["path"])
        assert project and label
        path = f"/data/prearchive/projects/{project[1]}/{{timestamp}}/{label[1]}?action=build"
        asked = {"path": path, "method": "POST", "headers": {"Authorization": ""}}
        build = {"as": one["as"], "what": "", "request": asked, "response": {"headers": {}, "body": ""}}
        going = self.world.begin(build)
        time.sleep(0.15)
        answer = self.world.ask(one)
        going.result()
        return answer

    def _raced(self) -> None:
        build, other = self.told[self._at], self.told[self._at + 1]
        late = re.search(r"sent ([\d.]+) s", build["what"])
        going = self.world.begin(build)
        coming = self.world.begin(other, float(late[1]) if late else 0.0)
        self._keep(build, going.result())
        self._keep(other, coming.result())

    def _paused(self) -> None:
        slow, case = self.told[self._at], self._at
        sent, rest = self.world.pause(slow)
        self._at += 1
        meanwhile = self.told[self._at]
        self.world.prepare(meanwhile)
        self._keep(meanwhile, self.world.ask(meanwhile))
        rest.set()
        self._keep(slow, sent.result(), case)

    def _side_by_side(self, one: Exchange) -> Answer:
        """Twelve scans at the same time; what they were is not among the exchanges."""
        world, many = self.world, range(1, 13)
        answers = world.at_once([
            lambda n=n: world.scan(one, study="nside", number=n, description=f"s{n}", prefix="x-") for n in many
        ])  # fmt: skip
        world.learn(one, answers[0])
        return next((answer for answer in answers if answer.status != 200), answers[0])


def _state(text: str) -> str:
    found = re.search(r'"status": ?"(\w+)"', text)
    return found[1] if found else "gone"


def _quiet(one: Exchange, answer: Answer) -> bool:
    """Whether the states of the rows are those of the recording, or there is no more than that to wait for."""
    if answer.status != 200 or one["response"]["status"] != 200:
        return True
    states = [sorted(re.findall(r'"status": ?"(\w+)"', str(text))) for text in (one["response"]["body"], answer.text)]
    busy = ("_", "QUEUED", "ARCHIVING", "MOVING", "DELETING", "BUILDING")
    return states[0] == states[1] or not any(state.isupper() and state.startswith(busy) for state in states[1])


def told(one: Exchange) -> compare.Told:
    return compare.told_of(one["response"]["body"], one["response"]["headers"].get("content-type", ""))


def told_here(answer: Answer) -> compare.Told:
    return compare.told_of_answer(answer.body, answer.headers.get("content-type", ""))


def judged(one: Exchange, answer: Answer, there: compare.Told, here: compare.Told) -> list[str]:
    if one["response"]["status"] == 0 and answer is NO_ANSWER:
        return []
    headers = one["response"]["headers"]
    if one["request"]["method"] == "HEAD":
        there = here
    return compare.differences(
        there, here, status=(one["response"]["status"], answer.status),
        types=(_media(headers.get("content-type")), _media(answer.headers.get("content-type"))),
        cookies=("JSESSIONID=" in headers.get("set-cookie", ""), bool(answer.session)),
    )  # fmt: skip


def _media(value: str | None) -> str:
    return (value or "").partition(";")[0].strip()


def replay(version: str, name: str) -> list[Outcome]:
    """Ask a whole file of a fresh server."""
    from xnbtransfer.server import running

    told = exchanges(version, name)
    with running(personality=version) as server:
        world = World(server, told)
        try:
            short = shorts(version, name) if version in VERSIONS else None
            return sorted(Replay(world, told, short).run(), key=lambda outcome: outcome.case)
        finally:
            world.close()


# -- the list of differences ---------------------------------------------------------------------------------------


def listed(version: str, name: str) -> dict[int, dict[str, Any]]:
    """The differences that are listed, by the number of the exchange within its file."""
    path = RECORDED / "differences" / f"{version}-{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {one["case"]: one for one in map(json.loads, lines)}


def covered(one: Exchange, differences: tuple[str, ...]) -> bool:
    """Whether what an exchange rests on (beside XNAT's own code) accounts for all of its differences."""
    rests = one.get("rests on", "")
    allowed: set[str] = set()
    for part, kinds in _RESTS.items():
        if part in rests:
            allowed |= set(kinds)
    return bool(differences) and all(one.partition(":")[0] in allowed for one in differences)


_ALL = ("status", "body", "type", "keys", "beside", "rows", "values", "text", "entries")
_RESTS = {
    "sizes, digests": ("values",),
    "fields and columns": ("keys", "rows", "values", "beside"),
    "values of imported scans": ("values", "entries"),
    "fields of items": ("keys", "values", "rows"),
    "page of the container": ("body", "type"),
    "the words": ("text",),
    "making a project": _ALL,
    "right to remove a share": _ALL,
    "deleting": _ALL,
    "moving": _ALL,
    "HTTP engine": _ALL,
    "limit of the container": _ALL,
    "which scan ids": _ALL,
    "project found from headers": _ALL,
    "values of headers": ("values", "rows"),
}


def write(version: str, name: str, outcomes: list[Outcome]) -> None:
    """Write the list again; a reason stays while the difference does."""
    before = listed(version, name)
    lines = []
    for outcome in outcomes:
        if not outcome.differences:
            continue
        old = before.get(outcome.case, {})
        why = old.get("why", "open") if old.get("here") == list(outcome.differences) else "open"
        because = old.get("because", "") if why != "open" else ""
        if why == "open" and version not in VERSIONS and covered(outcome.exchange, outcome.differences):
            why, because = "rests on", outcome.exchange["rests on"]
        line = {"case": outcome.case, "topic": outcome.topic, "here": list(outcome.differences), "why": why}
        lines.append(json.dumps(line | ({"because": because} if because else {}), ensure_ascii=False))
    path = RECORDED / "differences" / f"{version}-{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# -- the command line ----------------------------------------------------------------------------------------------


def show(version: str, name: str, outcomes: list[Outcome], topic: str, every: bool) -> None:
    """Print the differences: counted by kind and topic, or one by one."""
    known = listed(version, name)
    asked = [outcome for outcome in outcomes if outcome.answer is not None]
    otherwise = [outcome for outcome in asked if outcome.differences]
    if topic:
        otherwise = [outcome for outcome in otherwise if topic in outcome.topic]
    own = [o for o in otherwise if not covered(o.exchange, o.differences)
           and known.get(o.case, {}).get("why", "open") == "open"]  # fmt: skip
    counts = f"{len(outcomes)} exchanges, {len(asked)} asked, {len(otherwise)} otherwise, {len(own)} open"
    print(f"{version} {name}: {counts}")
    shown = otherwise if every else own
    if topic or every:
        for outcome in shown:
            print(_line(outcome))
        return
    for (kind, where), count in sorted(Counter((o.differences[0].partition(":")[0], o.topic) for o in own).items()):
        print(f"  {count:4} {kind:8} {where}")


def _line(outcome: Outcome) -> str:
    one = outcome.exchange
    number = f"{outcome.case}" + (f" n{one['n']}" if "n" in one else "")
    asked = f"{one['as']} {one['request']['method']} {one['request']['path'][:150]}"
    rests = f" [{one['rests on'][:60]}]" if "rests on" in one else ""
    return f"{number} [{outcome.topic}] {one['what']}{rests}\n    {asked}\n    " + "\n    ".join(outcome.differences)


def _both(outcome: Outcome) -> Iterator[str]:
    one, answer = outcome.exchange, outcome.answer
    yield _line(outcome)
    yield json.dumps({key: value for key, value in one.items() if key != "response"}, indent=1)
    yield f"THERE {one['response']['status']} {one['response']['headers'].get('content-type')}"
    yield str(one["response"]["body"])
    if answer is not None:
        yield f"HERE {answer.status} {answer.headers.get('content-type')} {answer.cookies}"
        yield answer.text[:4000]


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Ask recorded exchanges again of the embedded server.")
    parser.add_argument("version", choices=list(PERSONALITIES))
    parser.add_argument("file", nargs="*")
    parser.add_argument("--topic", default="", help="each difference of the topics or forms that hold this text")
    parser.add_argument("--case", help="one exchange with both answers: its number in the file, or n and its number")
    parser.add_argument("--all", action="store_true", help="also the differences that have a reason")
    parser.add_argument("--write", action="store_true", help="write the list of differences again")
    chosen = parser.parse_args(words)
    for name in chosen.file or PERSONALITIES[chosen.version][1]:
        outcomes = replay(chosen.version, name)
        if chosen.case:
            for outcome in outcomes:
                if chosen.case in (str(outcome.case), f"n{outcome.exchange.get('n')}"):
                    print("\n".join(_both(outcome)))
            continue
        if chosen.write:
            write(chosen.version, name, outcomes)
        show(chosen.version, name, outcomes, chosen.topic, chosen.all)


if __name__ == "__main__":
    sys.exit(main())
