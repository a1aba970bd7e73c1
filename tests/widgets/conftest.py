"""A guided transfer that stands at any step, against an embedded server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import requests
from roads import DESTINATION, SOURCE

from xnbtransfer.server import RunningServer, running
from xnbtransfer.widgets import GuidedTransfer
from xnbtransfer.widgets.steps import NAMES


@pytest.fixture
def demo() -> Iterator[RunningServer]:
    """A server with the demonstration content for a test that writes."""
    with running(demo=True) as server:
        yield server


class Road:
    """Brings transfers to a step, as a person would by pressing the button of each step."""

    def __init__(self, server: RunningServer, root: str, role: str = "member", destination: str = DESTINATION) -> None:
        self.server, self.root, self.role, self.destination = server, root, role, destination

    def connected(self) -> GuidedTransfer:
        transfer = GuidedTransfer(self.root)
        user, password = self.server.accounts[self.role]
        for side in ("source", "destination"):
            transfer.connect(side, self.server.url, user, password)
        return transfer

    def to(self, step: str, sessions: tuple[str, ...] = ("001_MR1", "001_MR2"), **values) -> GuidedTransfer:
        transfer = self.connected()
        if values:
            transfer.set(**values)
        if step == "connect":
            return transfer
        transfer.confirm()
        transfer.choose_project("source", SOURCE)
        transfer.choose_project("destination", self.destination)
        keys = transfer.listing.sessions[["subject", "session"]].itertuples(index=False, name=None)
        transfer.select([key for key in keys if key[1] in sessions])
        while NAMES.index(transfer.step) < NAMES.index(step):
            if transfer.step == "run":
                transfer.run()
            transfer.confirm()
        return transfer


@pytest.fixture(scope="session")
def written_xnat() -> Iterator[RunningServer]:
    """A server with the demonstration content for tests that write, each into a project of its own."""
    with running(demo=True) as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def road(written_xnat, tmp_path) -> Iterator[Road]:
    """To an empty project."""
    project = f"EMPTY_{next(_numbers)}"
    user = written_xnat.accounts["owner"]
    answer = requests.put(f"{written_xnat.url}/data/projects/{project}", auth=tuple(user), timeout=60)
    assert answer.status_code in (200, 201), answer.text
    yield Road(written_xnat, str(tmp_path / "records"), "owner", project)
    written_xnat.faults([])


@pytest.fixture
def reading_road(demo_xnat, tmp_path) -> Road:
    """The same over a server that others read, too: for steps before the run."""
    return Road(demo_xnat, str(tmp_path / "records"))
