"""A lease at the destination: taken, met, renewed, run out, refused, and gone at the end; and never two at one time."""

from __future__ import annotations

import contextlib
import datetime
import json
import random
import threading

import pytest
from adversity.adversity_kit import chance, told, tries
from archive_kit import Kit
from people import people
from roads import as_, leases, make_plan, options, writes

from xnbtransfer import lease as leasing
from xnbtransfer import once
from xnbtransfer import server as embedded
from xnbtransfer.actions import carrier_of
from xnbtransfer.errors import ExitCode, HeldError, NotFoundError, TransientError, XnbTransferError
from xnbtransfer.inventory import read_inventory
from xnbtransfer.lease import FILE, VALID_S, Lease, digest, is_lease
from xnbtransfer.method_options import ShareOptions
from xnbtransfer.plan import Plan
from xnbtransfer.plan_file import LEASE
from xnbtransfer.share import plan_share
from xnbtransfer.steps import carry_out
from xnbtransfer.transfer import run


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    """Two sessions of one subject at the source."""
    server.faults([])
    with people(server) as person:
        found = Kit(person)
        for session in ("E1", "E2"):
            found.put(found.source, "S1", session, found.uid(session))
        yield found
    server.faults([])


def planned(server, kit, role="owner", **values) -> Plan:
    both = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    with as_(server, role) as source, as_(server, role) as destination:
        return make_plan(source, destination, options(**{**both, **values}))


def carried(server, made, folder, role="owner"):
    with as_(server, role) as source, as_(server, role) as destination:
        return run(made, source, destination, folder=folder)


def at(seconds_ago: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)


def leave(kit, *sessions: str, ago_s: float = 0.0, since_s: float = 0.0, content: bytes | None = None) -> str:
    """A lease as a run of another user leaves it that was cut off ``ago_s`` seconds ago."""
    label = f"{LEASE}{at(max(ago_s, since_s)):%Y%m%dT%H%M%S}_{random.getrandbits(64):016x}"
    about = {"xnbtransfer_lease": 1, "user": "bob", "since": "-", "renewed": at(ago_s).isoformat(), "valid_s": VALID_S}
    text = json.dumps({**about, "for": [digest(("session", one)) for one in sessions]}).encode()
    path = f"/data/projects/{kit.destination}/resources/{label}/files/{FILE}"
    body = text if content is None else content
    assert kit.who.put(path, params={"inbody": "true"}, data=body).status_code == 200
    return label


def there(kit, project="") -> list[str]:
    return [row["label"] for row in kit.who.rows(f"/data/projects/{project or kit.destination}/resources")]


def labels(kit, project="") -> set[str]:
    return {row["label"] for row in kit.who.rows(f"/data/projects/{project or kit.destination}/experiments")}


def test_a_run_takes_one_lease_names_it_in_the_plan_and_leaves_nothing(server, kit, tmp_path):
    made, before = planned(server, kit), len(leases(server))
    (said,) = made.also_written
    assert f"keeps a lease at {kit.destination}" in said and LEASE in said
    result = carried(server, made, tmp_path)
    assert (result.exit_code, result.messages) == (ExitCode.PROVED, ())
    sent = leases(server)[before:]
    assert [one["method"] for one in sent] == ["PUT", "DELETE"] and there(kit) == []
    assert all(f"/projects/{kit.destination}/" in one["path"] for one in sent)
    before = len(leases(server))
    again = carried(server, made, tmp_path)
    assert (again.exit_code, again.writes, len(leases(server))) == (ExitCode.PROVED, 0, before)


def test_without_one_none_is_taken(server, kit, tmp_path):
    made, before = planned(server, kit, lease="none"), len(leases(server))
    assert made.also_written == ()
    assert carried(server, made, tmp_path).exit_code == ExitCode.PROVED
    assert len(leases(server)) == before


def test_a_plan_of_a_version_before_names_no_lease_and_takes_none(server, kit, tmp_path):
    made, before = planned(server, kit), len(leases(server))
    old = json.loads(made.to_json())
    old = Plan.model_validate_json(json.dumps({name: one for name, one in old.items() if name != "also_written"}))
    old = old.model_copy(update={"fingerprint": old.own_fingerprint()})
    assert carried(server, old, tmp_path).exit_code == ExitCode.PROVED
    assert len(leases(server)) == before


def test_who_may_hold_none_is_told_and_goes_on(server, kit, tmp_path):
    for project in (kit.source, kit.destination):
        path = f"/data/projects/{project}/users/Members/{server.accounts['member'][0]}"
        assert kit.who.put(path).status_code == 200
    result = carried(server, planned(server, kit, "member"), tmp_path, "member")
    assert result.exit_code == ExitCode.PROVED and labels(kit) == {"E1", "E2"}
    (said,) = result.messages
    assert "local lock only" in said and "does not show it" in said and there(kit) == []


@pytest.mark.parametrize("status", ["403", "500-before", "500-after"])
def test_a_server_that_refuses_it_is_done_without(server, kit, tmp_path, status):
    made = planned(server, kit)
    server.faults([{"fault": status, "method": "PUT", "path": f"/data/projects/{kit.destination}/resources/{LEASE}.*",
                    "times": None}])  # fmt: skip
    result = carried(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED and labels(kit) == {"E1", "E2"}
    assert there(kit) == []
    if status == "500-after":  # it stands there all the same, and was read back
        assert result.messages == ()
    else:
        assert "local lock only" in result.messages[0]


def test_what_another_run_has_is_left_to_it_with_whose_and_since_when(server, kit, tmp_path):
    made = planned(server, kit)
    left, before = leave(kit, "E1", since_s=120), len(writes(server))
    result = carried(server, made, tmp_path)
    rows = result.sessions.set_index("session")
    assert result.exit_code == ExitCode.TRANSIENT
    assert (rows.loc["E1", "state"], rows.loc["E2", "state"]) == ("failed", "archived")
    because = rows.loc["E1", "because"]
    assert "A run of bob has had it since" in because and "runs out at" in because
    assert not [one for one in writes(server)[before:] if "E1" in one["path"] + one["query"]]
    assert there(kit) == [left] and labels(kit) == {"E2"}
    assert kit.who.delete(f"/data/projects/{kit.destination}/resources/{left}").status_code == 200
    assert carried(server, made, tmp_path).exit_code == ExitCode.PROVED and labels(kit) == {"E1", "E2"}


def test_who_may_hold_none_heeds_those_of_others(server, kit, tmp_path):
    for project in (kit.source, kit.destination):
        path = f"/data/projects/{project}/users/Members/{server.accounts['member'][0]}"
        assert kit.who.put(path).status_code == 200
    made = planned(server, kit, "member")
    leave(kit, "E1", "E2")
    assert carried(server, made, tmp_path, "member").exit_code == ExitCode.TRANSIENT and labels(kit) == set()


def test_one_that_ran_out_is_taken_over_and_told(server, kit, tmp_path):
    made = planned(server, kit)
    leave(kit, "E1", ago_s=VALID_S + 2 * leasing.MARGIN_S, since_s=5000)
    result = carried(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED and there(kit) == [] and labels(kit) == {"E1", "E2"}
    (said,) = result.messages
    assert "the lease of a run of bob, since" in said and "had run out at" in said and "taken over" in said


@pytest.mark.parametrize("content", [b"{}", b"no json", b'{"renewed": "2999-01-01T00:00:00+00:00"}', b"[" * 9000])
def test_one_that_cannot_be_read_is_in_force_and_told_how_to_end(server, kit, tmp_path, content):
    made = planned(server, kit)
    left = leave(kit, content=content, since_s=3600)
    result = carried(server, made, tmp_path)
    assert result.exit_code == ExitCode.TRANSIENT and labels(kit) == set() and there(kit) == [left]
    assert f"the resource {left} of {kit.destination}, does not tell" in result.sessions["because"].iloc[0]
    old = leave(kit, content=content, since_s=2 * leasing.UNREADABLE_S)
    kit.who.delete(f"/data/projects/{kit.destination}/resources/{left}")
    assert carried(server, made, tmp_path).exit_code == ExitCode.PROVED and old not in there(kit)


def test_the_same_run_after_a_kill_has_its_own_lease(server, kit, tmp_path):
    made = planned(server, kit)
    left = leave(kit, "E1", "E2", since_s=60)
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        from xnbtransfer.journal import JOURNAL, Journal

        with Journal.open(tmp_path / JOURNAL, made.fingerprint) as journal:
            journal.write("lease", label=left)
        result = run(made, source, destination, folder=tmp_path)
    assert result.exit_code == ExitCode.PROVED and there(kit) == []


def test_it_is_nobodys_data(server, kit, tmp_path):
    with as_(server, "owner") as connection:
        before = read_inventory(connection, kit.destination)
        left = leave(kit, "E9")
        kit.who.put(f"/data/projects/{kit.source}/resources/{left}/files/{FILE}", params={"inbody": "true"}, data=b"{}")
        after = read_inventory(connection, kit.destination)
    assert (before.others is None) == (after.others is None)
    made = planned(server, kit, resources=("*",))
    assert [one.resource for one in made.resources] == [] and is_lease(left)
    assert [one.resource for one in made.left_behind] == []


def test_sharing_holds_one_at_the_destination(server, kit, tmp_path):
    given = {"source_project": kit.source, "destination_project": kit.destination}
    with as_(server, "owner") as connection:
        made = plan_share(connection, ShareOptions.from_mapping(given))
        assert [kit.destination in one for one in made.also_written] == [True]
        left, carrier = leave(kit, "E1"), carrier_of(made, connection, connection)
        result = carry_out(made, carrier, (connection, connection), folder=tmp_path)
        states = dict(zip(result.sessions["session"], result.sessions["state"], strict=True))
        assert (result.exit_code, states["E1"], states["E2"]) == (ExitCode.TRANSIENT, "failed", "shared")
        assert there(kit) == [left] and labels(kit) == {"E2"}
        kit.who.delete(f"/data/projects/{kit.destination}/resources/{left}")
        result = carry_out(made, carrier, (connection, connection), folder=tmp_path)
        assert (result.exit_code, there(kit), labels(kit)) == (ExitCode.PROVED, [], {"E1", "E2"})
        before = len(leases(server))
        assert carry_out(made, carrier, (connection, connection), folder=tmp_path).writes == 0
        assert len(leases(server)) == before


# -- any order of requests ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """A run that is cut off: nothing of it is done any more."""


class World:
    """A store as an XNAT is one, runs that ask it one request at a time in a random order, and one clock."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.now, self.files = dice, 1_700_000_000.0, {}
        self.turns: dict[str, threading.Semaphore] = {}
        self.arrived = threading.Semaphore(0)
        self.waiting: set[str] = set()
        self.checked: set[str] = set()  # runs between their look and the write that it allows
        self.writing: dict[str, dict[str, list[int]]] = {}
        self.step, self.ended = 0, 0

    def turn(self, who: str) -> None:
        """Wait until it is this run's turn; perhaps it does not live to see it."""
        self.waiting.add(who)
        self.arrived.release()
        self.turns[who].acquire()
        if self.dice.random() < self.deadly:
            raise Killed

    def wrote(self, who: str, item: str) -> None:
        self.writing.setdefault(item, {}).setdefault(who, []).append(self.step)

    def go(self, runs: dict, deadly: float, jumps: bool = True) -> None:
        """Let runs go until all have ended or were killed; the clock jumps where a machine sleeps or a server hangs."""
        self.deadly, self.turns = deadly, {who: threading.Semaphore(0) for who in runs}

        def live(who: str, story) -> None:
            try:
                self.turn(who)
                story()
            except Killed:
                pass
            finally:
                self.checked.discard(who)
                self.ended += 1
                self.arrived.release()

        threads = [threading.Thread(target=live, args=one, daemon=True) for one in runs.items()]
        for thread in threads:
            thread.start()
        for _ in runs:
            self.arrived.acquire()
        while self.waiting:
            if jumps and not self.checked:
                self.now += self.dice.choice([0, 0, 0, 1, 1, 5, 30, self.dice.choice([0, 500, 2000])])
            self.step += 1
            who = self.dice.choice(sorted(self.waiting))
            self.waiting.discard(who)
            self.turns[who].release()
            self.arrived.acquire()
        for thread in threads:
            thread.join()

    def missed(self) -> list[str]:
        """Items that two runs wrote to at one time."""
        found = []
        for item, runs in self.writing.items():
            spans = sorted((min(steps), max(steps)) for steps in runs.values())
            found += [item for one, two in zip(spans, spans[1:], strict=False) if two[0] <= one[1]]
        return found


class Desk:
    """What a lease asks of a connection, at a world; each request waits for its turn, and acts at one moment."""

    def __init__(self, world: World, who: str) -> None:
        self.server = "https://xnat.example.org"
        self.world, self.user, self.skew = world, who, world.dice.choice([-20.0, 0.0, 0.0, 15.0])

    def server_time(self) -> float:
        return self.world.now + self.skew

    def put_file(self, path, resource, name, *, size_bytes, body, overwrite, reason) -> None:
        self.world.turn(self.user)
        self.world.files[resource] = b"".join(body)

    def small_file(self, path, resource, name) -> bytes:
        self.world.turn(self.user)
        if resource not in self.world.files:
            raise NotFoundError("none")
        return self.world.files[resource]

    def resource_labels(self, path) -> list[str]:
        self.world.turn(self.user)
        return list(self.world.files)

    def delete_resource(self, path, resource, reason="") -> None:
        self.world.turn(self.user)
        self.world.files.pop(resource, None)


def story(world: World, who: str, items: list[str], ends: dict[str, set]):
    """A run: hold, write a few times, renew now and then, release; what it got to the end of."""

    def lives() -> None:
        names = [("session", one) for one in items]
        held = Lease(Desk(world, who), "P", names)
        try:
            for item in items:
                try:
                    for _ in range(3):
                        held.hold("session", item)
                        world.checked.add(who)
                        world.turn(who)
                        world.wrote(who, item)
                        world.checked.discard(who)
                        if world.dice.random() < 0.3:
                            with contextlib.suppress(XnbTransferError):
                                held.renew()
                    ends.setdefault(item, set()).add(who)
                except HeldError:
                    ends.setdefault("held", set()).add((who, item))
                except TransientError:
                    break
            held.release()
        finally:
            held._over.set()

    return lives


def test_no_order_of_requests_lets_two_runs_write_to_one_item(monkeypatch):
    dice, missed, met, count = chance(), [], 0, tries(60)
    monkeypatch.setattr(leasing, "_PAUSE_S", 0.0)
    monkeypatch.setattr(once, "pause", lambda problem, attempt: None)
    for number in range(count):
        world = World(random.Random(dice.getrandbits(64)))
        monkeypatch.setattr(leasing, "steady_s", lambda world=world: world.now)
        ends: dict[str, set] = {}
        runs = {
            who: story(world, who, world.dice.sample(["A", "B", "C"], world.dice.choice([1, 2, 3])), ends)
            for who in ("ann", "bob", "eve")[: world.dice.choice([2, 2, 3])]
        }
        deadly = world.dice.choice([0.0, 0.0, 0.03])
        world.go(runs, deadly)
        met += bool(ends.get("held"))
        missed += [(number, one) for one in world.missed()]
        if not deadly and world.files:
            missed.append((number, f"left behind: {sorted(world.files)}"))
        # whoever comes when all are gone, and what they left has run out, is held off by nobody
        world.now += VALID_S + 10 * leasing.MARGIN_S
        last: dict[str, set] = {}
        world.writing.clear()
        world.go({"zoe": story(world, "zoe", ["A", "B", "C"], last)}, 0.0, jumps=False)
        if set(last) != {"A", "B", "C"} or world.files:
            missed.append((number, f"the next run: {last}, {sorted(world.files)}"))
    print(f"{met} of {count} worlds had a run that met another")
    told("two runs are never in one item", count, missed)
    assert met > count / 10
