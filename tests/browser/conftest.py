"""One JupyterLab and one Chromium for all browser tests. Nothing but this machine is ever asked for anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="the browser tests need the extra 'test'")

from lab import WAIT_MS, Jupyter, Lab
from playwright.sync_api import Browser, Error, Page, sync_playwright

from xnbtransfer.server import RunningServer, running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, else the one of playwright; without either the browser tests are left out."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as problem:
            if found:
                raise
            pytest.skip(f"there is no Chromium: {str(problem).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory) -> Iterator[Jupyter]:
    """A JupyterLab without any XNAT in its environment."""
    server = Jupyter(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture
def blocked() -> list[str]:
    """Addresses beyond this machine that a page asked for; empty at the end of a test."""
    return []


@pytest.fixture
def page(chromium: Browser, blocked: list[str]) -> Iterator[Page]:
    """A fresh browser window."""
    context = chromium.new_context(viewport={"width": 1360, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)

    def guard(route) -> None:
        address = urlsplit(route.request.url)
        if address.hostname == "127.0.0.1" or address.scheme in ("data", "blob"):
            route.continue_()
        else:
            blocked.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    yield context.new_page()
    context.close()
    assert blocked == []


@pytest.fixture
def lab(page: Page, jupyterlab: Jupyter):
    """A function that opens a notebook in JupyterLab."""

    def start(name: str, *cells: str) -> Lab:
        jupyterlab.put(name, *cells)
        found = Lab(page, jupyterlab, name)
        found.open()
        return found

    yield start


@pytest.fixture
def demo() -> Iterator[RunningServer]:
    """An embedded server of its own for a test that writes."""
    with running(demo=True) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test keeps its records."""
    return tmp_path / "records"
