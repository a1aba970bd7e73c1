"""One project under two names is never copied onto itself, and never finished: by planning, by running, by finishing.

The names are an address and another one of the same server, and an ID and an alias. What was tried and missed is
printed.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from adversity_kit import chance, told, tries
from meddler import meddling
from places import SMALL, copied, make_place
from roads import as_
from test_finish_move import chosen, planned

from xnbtransfer import server as embedded
from xnbtransfer.errors import InputError, RefusedError
from xnbtransfer.finish import FinishCarrier, copy_record, plan_finish
from xnbtransfer.one_place import refuse_one_place
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan_file import Plan
from xnbtransfer.progress import read_sides
from xnbtransfer.transfer import run


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture(scope="module")
def place(demo):
    found = make_place(demo)
    found.hold("A1", "A", SMALL[0])
    found.request("PUT", f"/data/projects/{found.project}?alias={found.project}_TOO")
    return found


def named(server, host: str) -> SimpleNamespace:
    return SimpleNamespace(url=server.url.replace("127.0.0.1", host), accounts=server.accounts)


def test_one_server_under_two_names(demo, place, tmp_path):
    record = copied(place, tmp_path)
    made = planned(place, record)
    draw, missed, often = chance(), [], tries(12)
    before = len(place.writes())
    with meddling(demo) as front:
        servers = [demo, named(demo, "localhost"), front]
        for number in range(often):
            one, other = draw.sample(servers, 2)
            ids = [place.project, f"{place.project}_TOO"]
            here, there = draw.choice(ids), draw.choice(ids)
            way = ("plan", "run", "plan a deletion", "delete")[number % 4]
            with as_(one, "owner") as source, as_(other, "owner") as destination:
                try:
                    _go(way, record, made, source, destination, here, there, tmp_path)
                    missed.append((way, one.url, other.url, here, there))
                except RefusedError as problem:
                    if "under two names" not in str(problem):
                        missed.append((way, str(problem)))
    assert len(place.writes()) == before
    told("one project under two names", often, missed)


def _go(way, record, made, source, destination, here, there, folder) -> None:
    options = TransferOptions.from_mapping({"source_project": here, "destination_project": there, "archive": True})
    if way == "plan":
        read_sides(source, destination, options)
        return
    copy = copy_record(chosen(record))
    plan = copy.plan()
    sides = {
        "source": plan.source.model_copy(update={"project": here, "server": source.server}),
        "destination": plan.destination.model_copy(update={"project": there, "server": destination.server}),
    }
    wrong: Plan = plan.model_copy(update=sides)
    if way == "run":
        run(wrong, source, destination, folder=folder / "wrong")
        return
    taken = _Record(copy, wrong)
    if way == "plan a deletion":
        plan_finish(taken, source, destination, chosen(record))
        return
    of_record = {**made.of_record, "plan": wrong.fingerprint}
    FinishCarrier(made.model_copy(update={"of_record": of_record}), taken, source, destination, chosen(record))


@dataclasses.dataclass
class _Record:
    """A record whose plan names its sides otherwise."""

    record: object
    made: Plan

    def plan(self) -> Plan:
        return self.made

    def __getattr__(self, name: str):
        return getattr(self.record, name)


def test_an_alias_on_one_server_is_told(place):
    with place.connect() as one, pytest.raises(RefusedError, match="under two names"):
        refuse_one_place(one, one, place.project, f"{place.project}_TOO")


def test_two_servers_with_projects_of_one_name_are_two(demo, place):
    with embedded.running() as other, as_(other, "owner") as there:
        there_project = f"/data/projects/{place.project}"
        import requests

        assert requests.put(other.url + there_project, auth=other.accounts["owner"], timeout=60).status_code == 200
        with place.connect() as here:
            refuse_one_place(here, there, place.project, place.project)


def test_a_project_that_is_not_seen_is_said(place):
    with place.connect() as one, pytest.raises(InputError, match="sees no project"):
        refuse_one_place(one, one, "NOWHERE", place.project)
