"""A real server on a real port for every test worker: the embedded one, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis.core
import pytest
import request_log
from people import people
from standin import PASSWORD, USER, StandIn, standing_in

from xnbtransfer.server import RunningServer, running
from xnbtransfer.server.personality import UNSAID, VERSIONS
from xnbtransfer.xnat import Connection, connect

_HERE = Path(__file__).parent
TRIES, SEED = os.environ.get("XNBTRANSFER_TRIES", ""), os.environ.get("XNBTRANSFER_SEED", "")
"""How often each law is tried, and where its examples begin; without either the same few examples every time."""
# deadline: how long an example takes is the machine's affair
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fresh", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fresh" if TRIES or SEED else "same")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--personality 1.7.2``: the XNAT that each embedded server is like which is not told what to be like."""
    told = "the XNAT that embedded servers are like where a test does not say it (default: 1.8)"
    parser.addoption("--personality", choices=list(VERSIONS), default=os.environ.get(UNSAID) or "1.8", help=told)


def pytest_configure(config: pytest.Config) -> None:
    """Tell all servers, those of commands and notebooks too, what to be like; begin the examples of all laws at the
    seed that the environment names, as ``--hypothesis-seed`` does.
    """
    os.environ[UNSAID] = config.getoption("--personality")
    config.addinivalue_line(
        "markers",
        "needs(version, because=...): what is tested is not there in an older XNAT than this; the evidence says so",
    )
    if SEED and config.getoption("--hypothesis-seed") is None:
        hypothesis.core.global_force_seed = int(SEED)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, with the reason, what the chosen XNAT does not have; try every law as often as the environment says,
    also one that sets a number of its own.
    """
    versions, chosen = list(VERSIONS), config.getoption("--personality")
    for item in items:
        if chosen != "1.8" and {_HERE / "server", _HERE / "contract"} & set(item.path.parents):
            item.add_marker(pytest.mark.skip(reason="tells what each version is, and 1.8 where it names none"))
        for needs in item.iter_markers("needs"):
            (version,), because = needs.args, needs.kwargs["because"]
            if versions.index(chosen) < versions.index(version):
                item.add_marker(pytest.mark.skip(reason=f"XNAT {chosen} does not have it, {version} does: {because}"))
    for law in {item.obj for item in items if getattr(getattr(item, "obj", None), "is_hypothesis_test", False)}:
        law = getattr(law, "__func__", law)
        if TRIES:
            own = law._hypothesis_internal_use_settings
            law._hypothesis_internal_use_settings = hypothesis.settings(own, max_examples=int(TRIES))


@pytest.fixture(scope="session", autouse=True)
def private_state(tmp_path_factory) -> Iterator[None]:
    """The state folder of whoever runs the tests stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def requests_of_servers(tmp_path_factory) -> Iterator[request_log.Lines]:
    """What all embedded servers of this worker are asked; kept where the environment names a folder."""
    kept = os.environ.get(request_log.FOLDER)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    folder = Path(kept).resolve() / worker if kept else tmp_path_factory.mktemp("requests")
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(request_log.FOLDER, str(folder))
        yield request_log.Lines(folder)


@pytest.fixture(autouse=True)
def nothing_asked_in_vain(request, requests_of_servers: request_log.Lines) -> Iterator[None]:
    """A test fails where our client sends a name that no rule of the server reads, or what is of no registered form.

    Tests of other people's clients are marked ``other_client``.
    """
    yield
    lines = [(line, request_log.not_read(line)) for line in requests_of_servers.new()]
    found = {request_log.sentence(line, names) for line, names in lines if names}
    found |= {request_log.unregistered(line) for line, _ in lines} - {""}
    if found and request.node.get_closest_marker("other_client") is None:
        pytest.fail("\n".join(sorted(found)), pytrace=False)


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


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """A server that answers only what a test has put into ``answers``."""
    with standing_in() as server:
        yield server


@pytest.fixture
def connection(standin: StandIn) -> Iterator[Connection]:
    """A login of ours at ``standin``."""
    with connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as found:
        yield found
