"""A guided transfer that stands at any step, against an embedded server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import requests
from guide_roads import Road

from xnbtransfer.server import RunningServer, running


@pytest.fixture
def demo() -> Iterator[RunningServer]:
    """A server with the demonstration content for a test that writes."""
    with running(demo=True) as server:
        yield server


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
