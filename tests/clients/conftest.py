"""Clients of XNAT as people install them: each from PyPI, unmodified, in an environment of its own.

The environments are made once a run, and kept between runs in the folder that XNBTRANSFER_TEST_CLIENTS names.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from xnbtransfer.server import RunningServer, running

CLIENTS = {
    "xnatpy": ["xnat==0.8.1"],
    "pyxnat": ["pyxnat==1.6.4", "nibabel", "pandas"],  # it imports the last two without declaring them
    "xnatctl": ["xnatctl==0.6.0"],
    "xnatutils": ["xnatutils==0.10.0"],
    "xnat4tests": ["xnat4tests==0.4.1"],
    "copyxnat": ["copyxnat==0.9.6", "xmltodict<0.13"],  # its compare wants the ordered dictionaries of that time
}
UNREACHABLE = re.compile(
    "error sending request|dns error|failed to fetch|connection refused|newconnectionerror|connecttimeout|"
    "network is unreachable|temporary failure in name resolution|could not connect",
    re.IGNORECASE,
)


@pytest.fixture(scope="session")
def client(tmp_path_factory) -> Callable[[str], Path]:
    """A function from a client's name to the folder with its commands, made when it is first asked for."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = Path(os.environ.get("XNBTRANSFER_TEST_CLIENTS") or shared / "clients")
    root.mkdir(parents=True, exist_ok=True)

    def find(name: str) -> Path:
        wanted = CLIENTS[name]
        key = hashlib.sha256(repr((sys.version_info[:2], wanted)).encode()).hexdigest()[:8]
        folder = root / f"{name}-{key}"
        with FileLock(f"{folder}.lock"):
            if not (folder / "ready").exists():
                shutil.rmtree(folder, ignore_errors=True)
                _install(folder, wanted)
                (folder / "ready").touch()
        return folder / ("Scripts" if os.name == "nt" else "bin")

    return find


def _install(folder: Path, wanted: list[str]) -> None:
    """An environment with these packages: by uv where there is one, since it is much faster, else by pip."""
    python = str(folder / "bin" / "python")
    uv, pip = [sys.executable, "-m", "uv"], [python, "-m", "pip", "install", "-q", "--retries", "1", "--timeout", "15"]
    ways = {
        "uv": [[*uv, "venv", "-q", "-p", sys.executable, str(folder)], [*uv, "pip", "install", "-q", "-p", python]],
        "pip": [[sys.executable, "-m", "venv", "--clear", str(folder)], pip],
    }
    index = os.environ.get("PIP_INDEX_URL", "")
    environment = {**({"UV_DEFAULT_INDEX": index} if index else {}), **os.environ}
    for way, (make, install) in ways.items():
        if way == "uv" and importlib.util.find_spec("uv") is None:
            continue
        for step in (make, [*install, *wanted]):
            done = subprocess.run(step, capture_output=True, text=True, env=environment)
            if done.returncode:
                break
        if done.returncode == 0:
            return
        assert UNREACHABLE.search(done.stdout + done.stderr), done.stderr
    shutil.rmtree(folder, ignore_errors=True)
    pytest.skip(f"PyPI cannot be reached for {wanted[0]}")


@pytest.fixture(scope="module")
def source() -> Iterator[RunningServer]:
    """A server with the demonstration."""
    with running(demo=True) as server:
        yield server


@pytest.fixture(scope="module")
def destination() -> Iterator[RunningServer]:
    """An empty second server."""
    with running() as server:
        yield server
