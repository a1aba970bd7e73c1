"""Where the contract is tested: the embedded server, or a real XNAT when the environment names one.

XNBTRANSFER_TEST_XNAT, XNBTRANSFER_TEST_USER and XNBTRANSFER_TEST_PASS name a real server. The tests make projects of
their own there, with a random prefix, and remove them; if the account is an administrator's, also four people for
the roles, who are disabled at the end. Without one, tests that need several people are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from contract_kit import Desk, Site, real_site

from xnbtransfer.server import running


@pytest.fixture(scope="session")
def site(request) -> Iterator[Site]:
    """The server under test and its people."""
    address = os.environ.get("XNBTRANSFER_TEST_XNAT", "").rstrip("/")
    if address:
        pair = os.environ["XNBTRANSFER_TEST_USER"], os.environ["XNBTRANSFER_TEST_PASS"]
        with real_site(address, pair) as found:
            yield found
        return
    server = request.getfixturevalue("xnat")
    found = Site(server.url, dict(server.accounts))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def desk(site) -> Iterator[Desk]:
    """A fresh private project with the three roles, which archives nothing by itself (code 0)."""
    yield from site.desks()


@pytest.fixture(scope="session")
def newest_site(site) -> Iterator[Site]:
    """The server under test; of the embedded one, its newest personality."""
    if site.real:
        yield site
        return
    with running(personality="1.9") as server:
        found = Site(server.url, dict(server.accounts))
        yield found
        found.close()


@pytest.fixture
def newest(newest_site) -> Iterator[Desk]:
    """A project as ``desk``, on the newest version there is."""
    yield from newest_site.desks()


@pytest.fixture
def other(site) -> Iterator[Desk]:
    """A second project of the same owner, without other people."""
    yield from site.desks(roles=())


@pytest.fixture(scope="module")
def seen(site) -> Iterator[Desk]:
    """A project with two MR sessions and a CT session of one subject, which the tests of a module only read."""
    for found in site.desks():
        found.furnish()
        yield found
