"""R18: absence is not proof. A list or document of a copy or of a deletion is 404, 403, empty, short or another's.

Each request of both in turn, once and from then on. A copy that calls itself proved has every file of every session,
and a session that was deleted has all of them in its copy: both are counted on disk, past whoever meddles. What was
tried and missed is printed.
"""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
from adversity_kit import chance, told, tries
from kept_world import KeptWorld
from meddler import WORDS, empties, meddling, missing, shortens
from people import people
from places import Place, copied

from xnbtransfer import actions, xnat
from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode, RefusedError, XnbTransferError
from xnbtransfer.finish import copy_record, plan_finish
from xnbtransfer.method_options import FinishOptions
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.steps import carry_out
from xnbtransfer.transfer import run


def forbidden(meddler, pass_on, method, path, body):
    """403, whatever is there."""
    return 403, WORDS


class World(KeptWorld):
    """Two sessions and their copy; a third project holds other sessions of the same labels."""

    def __init__(self, server, front, person, root: Path) -> None:
        super().__init__(server, front, person, root)
        kit = self.kit
        for session, scans in (("E1", (1, 2)), ("E2", (1,))):
            kit.put(kit.source, "S1", session, kit.uid(session), scans=scans)
            kit.put(kit.third, "S1", session, kit.uid("another", session))
        at = f"/data/projects/{kit.source}/subjects/S1/experiments/E1"
        self.send("PUT", at + "/resources/NOTES/files/n.txt?inbody=true", data=b"a note")
        self.keep("before")
        self.record = copied(Place(front, kit.source, kit.destination), root, resources=["NOTES"])
        self.keep("after")
        self.whole = self.held_in(kit.source)
        ids = {session: self.id_in(kit.third, session) for session in ("E1", "E2")}
        self.another = [(kit.source, kit.third), (kit.destination, kit.third)]
        for project in (kit.source, kit.destination):
            self.another += [(self.id_in(project, session), other) for session, other in ids.items()]
        self.connect()

    def anothers(self, meddler, pass_on, method, path, body):
        """What the same question of the third project is answered."""
        for mine, other in self.another:
            if mine in path:
                answer = self.who.get(path.replace(mine, other), headers={"Accept": "*/*"})
                return answer.status_code, answer.content, [("Content-Type", answer.headers.get("Content-Type", ""))]
        return pass_on(body)


class Once:
    """Meddles with one GET of JSON, the one of this number, and with those of the same address after it."""

    def __init__(self, front, number: int, how) -> None:
        self.left, self.how, self.path = number, how, ""
        self.lock = threading.Lock()
        front.rule = self.rule

    def rule(self, method: str, path: str):
        if method != "GET" or not path.startswith("/data/") or "format=json" not in path:
            return None
        with self.lock:
            if not self.path:
                self.left -= 1
                self.path = path if self.left < 0 else ""
            return self.how if path == self.path else None


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with embedded.running() as server, people(server) as person, meddling(server) as front:
        yield World(server, front, person, tmp_path_factory.mktemp("r18"))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """An empty answer is asked for again after half a second, a setting after seconds: here at once."""
    monkeypatch.setattr(xnat, "EMPTY_PAUSE_S", 0.0)


def copies(world: World, folder: Path) -> str:
    kit = world.kit
    values = {"source_project": kit.source, "destination_project": kit.destination, "archive": True}
    options = TransferOptions.from_mapping({**values, "resources": ["NOTES"]})
    result = run(prepare(*world.sides, options), *world.sides, folder=folder)
    if result.exit_code != ExitCode.PROVED:
        return ""
    held = world.held_in(kit.destination)
    lacking = {label: len(each - held.get(label, set())) for label, each in world.whole.items()}
    return f"called proved and lacks {lacking}" if any(lacking.values()) else ""


def deletes(world: World, folder: Path) -> str:
    options = FinishOptions.from_mapping({"record": str(world.record)})
    problem = None
    try:
        made = plan_finish(copy_record(options), *world.sides, options)
        carrier = actions.carrier_of(made, *world.sides)
        result = carry_out(made, carrier, world.sides, folder=folder, confirm=made.confirm)
    except XnbTransferError as trouble:
        problem, result = trouble, None
    left, there = (world.held_in(one) for one in (world.kit.source, world.kit.destination))
    for label in set(world.whole) - set(left):
        if lacking := world.whole[label] - there.get(label, set()):
            return f"{label} deleted, and its copy lacks {len(lacking)}"
        if result is None:
            return f"{label} deleted, and then {problem}"
    return ""


HOW = {
    "copy": (copies, "before", 45),
    "deletion": (deletes, "after", 90),
}


def test_a_short_list_of_sessions_stops_a_plan(world, tmp_path):
    world.put_back("before")
    listed = f"/data/projects/{world.kit.source}/experiments?format=json&xsiType=xnat:imageSessionData&columns=label"
    world.front.rule = lambda method, path: shortens if path.startswith(listed) else None
    try:
        with pytest.raises(RefusedError, match="have scans and are in no list: XNAT_E"):
            copies(world, tmp_path)
    finally:
        world.front.rule = lambda method, path: None


def test_no_list_alone_is_believed(world, tmp_path):
    ways = {"404": missing, "403": forbidden, "empty": empties, "short": shortens, "another's": world.anothers}
    turns = [(kind, way, at) for kind, (_, _, requests) in HOW.items() for way in ways for at in range(requests)]
    chance().shuffle(turns)
    missed, often, met = [], tries(8), 0
    for number, (kind, way, at) in enumerate(itertools.islice(itertools.cycle(turns), often)):
        act, state, _ = HOW[kind]
        world.put_back(state)
        once = Once(world.front, at, ways[way])
        try:
            wrong = act(world, tmp_path / str(number))
        except XnbTransferError as problem:
            wrong = str(problem) if problem.exit_code == ExitCode.PROVED else ""
        finally:
            world.front.rule = lambda method, path: None
        met += bool(once.path)
        if wrong:
            missed.append((number, kind, way, at, once.path, wrong))
    print(f"R18: {met} of {often} met a request")
    told("R18: one list that is 404, 403, empty, short or another's", often, missed)
