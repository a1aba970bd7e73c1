"""A real server on a real port for every test worker: the embedded one, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from xnbtransfer.server import RunningServer, running


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


class Person(requests.Session):
    """A role logged in at a server; paths are relative to its address."""

    def __init__(self, server: RunningServer, role: str) -> None:
        super().__init__()
        self.server, self.login = server, server.accounts[role][0]
        self.auth = server.accounts[role]
        self.headers["User-Agent"] = "python-requests"

    def request(self, method, url, *args, **kwargs):
        kwargs.setdefault("timeout", 60)
        return super().request(method, self.server.url + url, *args, **kwargs)

    def rows(self, url: str, **params: str) -> list[dict]:
        """The rows of a list."""
        answer = self.get(url, params={"format": "json", **params})
        assert answer.status_code == 200, answer.text
        return answer.json()["ResultSet"]["Result"]


@pytest.fixture(scope="session")
def person(xnat: RunningServer) -> Iterator:
    """A function from a role (admin, owner, member, collaborator, outsider) to somebody logged in at ``xnat``."""
    known: dict[str, Person] = {}

    def find(role: str) -> Person:
        if role not in known:
            known[role] = Person(xnat, role)
        return known[role]

    yield find
    for session in known.values():
        session.close()
