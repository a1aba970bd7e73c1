"""Somebody at a server, over plain HTTP."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

import requests
from which_xnat import has

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

    def files(self, url: str, **params: str) -> list[dict]:
        """The rows of a list of files, each with its MD5 as ``digest``."""
        return with_digests(self.rows(url, **params), self.get)


def with_digests(rows: list[dict], get: Callable[[str], requests.Response]) -> list[dict]:
    """Rows of a list of files with MD5s as ``digest``: those listed, or of the bytes where this version lists none.

    Up to 1.7.2 lists of files have no such column (recorded: 1.6.4, difference 32; live servers, fact 13).
    """
    for row in rows:
        if not has("digests-are-listed"):
            answer = get(row["URI"])
            assert answer.status_code == 200, answer.text
            row["digest"] = hashlib.md5(answer.content, usedforsecurity=False).hexdigest()
    return rows


def set_script(who: Person, project: str, text: str, *, on: bool = True) -> None:
    """Give a project its script of anonymisation, or the site where ``project`` is ""; switched on or off.

    1.6 has no ``/xapi``; the script is a configuration there, as our client reads it (forms F15 and F18).
    """
    if has("xapi"):
        where = f"/xapi/anonymize/{f'projects/{project}' if project else 'site'}"
        who.put(where, data=text.encode(), headers=AS_TEXT).raise_for_status()
        who.put(f"{where}/enabled", params={"enable": str(on).lower()}, headers=AS_JSON).raise_for_status()
    else:
        where = f"/data/projects/{project}/config/anon/projects/{project}" if project else "/data/config/anon/script"
        query = {"inbody": "true", "status": "enabled" if on else "disabled"}
        who.put(where, params=query, data=text.encode(), headers=AS_TEXT).raise_for_status()


def site_script(who: Person) -> str:
    """The site's script of anonymisation."""
    if has("xapi"):
        return who.get("/xapi/anonymize/site").text
    (row,) = who.rows("/data/config/anon/script")
    return row["contents"]


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
