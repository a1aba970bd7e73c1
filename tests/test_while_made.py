"""While anybody makes a project XNAT answers others with 500 for a moment: nothing of a copy is decided by that."""

from __future__ import annotations

import uuid

import pytest
from archive_kit import Kit
from people import Person, set_script
from roads import as_
from shell import Shell
from which_xnat import script

from xnbtransfer import _http, _login, _settings
from xnbtransfer.server import running

SCRIPT = script('(0008,1030) := "told"\n')


@pytest.fixture(scope="module")
def busy():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_http, "PAUSE_S", 0.001)
    monkeypatch.setattr(_login, "LOGIN_PAUSES_S", (0.001, 0.001, 0.001))
    monkeypatch.setattr(_settings, "GUARD_PAUSES_S", (0.001, 0.001))


@pytest.fixture
def somebody_makes_a_project(busy):
    """A function that lets somebody make a project; so many requests after that are 500."""
    with Person(busy, "admin") as admin:

        def make(requests: int) -> None:
            busy.faults([{"fault": "500-while-made", "requests": requests}])
            assert admin.put(f"/data/projects/M{uuid.uuid4().hex[:8]}").status_code == 200

        yield make
        busy.faults([])


@pytest.mark.parametrize("requests", [1, 2])
def test_what_guards_something_is_told_all_the_same(busy, somebody_makes_a_project, requests):
    """One question is asked three times, and may meet each failure itself."""
    kit = Kit(lambda role: Person(busy, role))
    owner = Person(busy, "owner")
    set_script(owner, kit.destination, SCRIPT)
    assert owner.put(f"/data/projects/{kit.destination}/prearchive_code/4").status_code == 200
    with as_(busy, "owner") as connection:
        somebody_makes_a_project(requests)
        told = connection.settings(kit.destination)
    assert told.failed == () and told.version == "1.8.10"
    assert (told.prearchive_code, told.project_script, told.can_create) == (4, SCRIPT, True)


@pytest.mark.parametrize("requests", [1, 2, 3, 5])
def test_a_copy_gets_over_it(busy, somebody_makes_a_project, requests, tmp_path, capsys, monkeypatch):
    """Before the plan, and before the run."""
    kit, shell = Kit(lambda role: Person(busy, role)), Shell(busy, tmp_path, capsys, monkeypatch)
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    somebody_makes_a_project(requests)
    name = shell.plan(kit.source, kit.destination, "--archive")
    somebody_makes_a_project(requests)
    code, said = shell("run", name)
    assert code == 0, said
