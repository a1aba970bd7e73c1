"""A real server on a real port for every test worker: the embedded one, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
from people import people

from xnbtransfer.server import RunningServer, running

hypothesis.settings.register_profile("patient", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def xnat() -> Iterator[RunningServer]:
    """An empty server with five accounts; each pytest-xdist worker has its own."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def demo_xnat() -> Iterator[RunningServer]:
    """A server with the demonstration content; for reading, since the whole worker shares it."""
    with running(demo=True) as server:
        yield server


@pytest.fixture(scope="session")
def person(xnat: RunningServer) -> Iterator:
    """A function from a role to somebody logged in at ``xnat``."""
    with people(xnat) as find:
        yield find
