"""Fixtures for anybody's tests of XNAT scripts; a project asks for them with one line in its ``conftest.py``:

    pytest_plugins = ["xnbtransfer.server.pytest_plugin"]

Nothing is started, and nothing heavy imported, before a test asks.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .main import RunningServer, running

_NEEDED = ("starlette", "uvicorn", "multipart", "numpy")


@pytest.fixture(scope="session")
def xnat_server() -> Iterator[RunningServer]:
    """An XNAT-compatible server with the demonstration, for as long as the session lasts.

    With pytest-xdist each worker has its own. Tests that leave something behind, or that break the server on purpose,
    take one from ``new_xnat_server``.
    """
    with _started(demo=True) as server:
        yield server


@pytest.fixture
def new_xnat_server() -> Iterator[Callable[..., RunningServer]]:
    """A function that starts a server for one test; its parameters are those of ``xnbtransfer.server.running``."""
    with contextlib.ExitStack() as stack:
        yield lambda **given: stack.enter_context(_started(**given))


@contextlib.contextmanager
def _started(**given: Any) -> Iterator[RunningServer]:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.fail(
            f"The embedded XNAT server needs {', '.join(missing)}. Install it with: pip install 'xnbtransfer[demo]'",
            pytrace=False,
        )
    with running(**given) as server:
        yield server
