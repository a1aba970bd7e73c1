"""Somebody at a server, over plain HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import requests

from xnbtransfer.server import RunningServer

# what a test asks through the session of our client is not asked by it
_BY_A_TEST = {"User-Agent": "python-requests"}
AS_TEXT = {"Content-Type": "text/plain"} | _BY_A_TEST
AS_JSON = {"Content-Type": "application/json"} | _BY_A_TEST
"""Types that the newer half of XNAT's addresses wants to be told, bodies without anything included."""


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


@contextlib.contextmanager
def people(server: RunningServer) -> Iterator[Callable[[str], Person]]:
    """A function from a role (admin, owner, member, collaborator, outsider) to somebody logged in at the server."""
    known: dict[str, Person] = {}

    def find(role: str) -> Person:
        if role not in known:
            known[role] = Person(server, role)
        return known[role]

    yield find
    for session in known.values():
        session.close()
