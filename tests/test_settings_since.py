"""What guards data at the destination is read again before a run: a script that came after the plan is never unseen."""

from __future__ import annotations

import pytest
from people import AS_JSON, people, set_script
from reviews import Ward
from shell import Shell
from which_xnat import script

from xnbtransfer import _settings
from xnbtransfer import server as embedded


@pytest.fixture(scope="module")
def person():
    with embedded.running() as server, people(server) as find:
        yield find


@pytest.fixture
def ward(person) -> Ward:
    found = Ward(person)
    found.store("S", "E1", {"1": found.series("S", "E1", count=1)})
    return found


@pytest.fixture
def shell(person, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_settings, "GUARD_PAUSES_S", (0.0, 0.0))
    return Shell(person("owner").server, tmp_path, capsys, monkeypatch)


def scripted(ward: Ward, text: str, *, on: bool = True) -> None:
    set_script(ward.who, ward.destination, script(f"{text}\n"), on=on)


def code(ward: Ward) -> None:
    ward.who.put(f"/data/projects/{ward.destination}/prearchive_code/4").raise_for_status()


def filtered(ward: Ward) -> None:
    where = f"/data/projects/{ward.destination}/config/seriesImportFilter/config"
    body = '{"enabled":"true","mode":"blacklist","list":".*LOCALIZER.*"}'
    ward.who.put(where, data=body, params={"inbody": "true"}, headers=AS_JSON).raise_for_status()


LATER = {
    "a script is set": (None, lambda ward: scripted(ward, "(0010,0020) := session"), "is on now, and was off"),
    "a script is another": (
        lambda ward: scripted(ward, "(0010,0020) := session"),
        lambda ward: scripted(ward, "-(0010,0020)"),
        "is another one now",
    ),
    "a script is off": (
        lambda ward: scripted(ward, "(0010,0020) := session"),
        lambda ward: scripted(ward, "(0010,0020) := session", on=False),
        "is off now, and was on",
    ),
    "another code": (None, code, "prearchive code"),
    "a filter": (None, filtered, "series import filter"),
}


@pytest.mark.parametrize("what", LATER)
def test_a_setting_that_changed_after_the_plan_is_refused_and_said(ward, shell, what):
    before, after, sentence = LATER[what]
    if before is not None:
        before(ward)
    name = shell.plan(ward.source, ward.destination, "--review", "none", "--archive")
    after(ward)
    since = len(shell.writes())
    found, said = shell("run", name)
    assert found == 5 and sentence in said and "nothing was sent" in said, said
    assert not shell.writes(since)


@pytest.mark.needs("1.8", because="the test makes the address fail by which a newer XNAT tells a project's script")
def test_what_the_server_fails_to_tell_is_asked_again_later(ward, shell):
    name = shell.plan(ward.source, ward.destination, "--review", "none", "--archive")
    where = f"/xapi/anonymize/projects/{ward.destination}"
    ward.server.faults([{"fault": "500-before", "method": "GET", "path": where, "times": None}])
    try:
        found, said = shell("run", name)
    finally:
        ward.server.faults([])
    assert found == 6 and "failed three times to tell the project script" in said, said
    assert shell("run", name)[0] == 0


def test_a_run_that_is_finished_is_not_asked_about_it(ward, shell):
    name = shell.plan(ward.source, ward.destination, "--review", "none", "--archive")
    assert shell("run", name)[0] == 0
    scripted(ward, "(0010,0020) := session")
    assert shell("run", name)[0] == 0


def test_a_move_is_refused_as_well(ward, shell):
    found, said = shell("move", ward.source, ward.destination, "-o", "move.json")
    assert found == 0, said
    scripted(ward, "(0010,0020) := session")
    since = len(shell.writes())
    found, said = shell("run", "move.json")
    assert found == 5 and "is on now, and was off" in said, said
    assert not shell.writes(since)


def test_what_waits_is_not_archived_over_it(ward, shell):
    assert shell.copy(ward.source, ward.destination, "--review", "none")[0] == 0
    found, said = shell("prearchive", ward.destination, "--action", "archive", "-o", "archive.json")
    assert found == 0, said
    scripted(ward, "(0010,0020) := session")
    since = len(shell.writes())
    found, said = shell("run", "archive.json")
    assert found == 5 and "is on now, and was off" in said, said
    assert not shell.writes(since)


@pytest.mark.needs("1.8", because="the test makes the address fail by which a newer XNAT tells a project's script")
@pytest.mark.parametrize("kind", ["move", "archive"])
def test_what_is_not_told_while_planning_is_no_missing_script(ward, shell, kind):
    if kind == "archive":
        assert shell.copy(ward.source, ward.destination, "--review", "none")[0] == 0
    asked = {"move": ("move", ward.source, ward.destination), "archive": ("prearchive", ward.destination)}[kind]
    more = ("--action", "archive") if kind == "archive" else ()
    where = f"/xapi/anonymize/projects/{ward.destination}"
    ward.server.faults([{"fault": "500-before", "method": "GET", "path": where, "times": None}])
    try:
        found, said = shell(*asked, *more, "-o", "plan.json")
    finally:
        ward.server.faults([])
    assert found == 5 and "S15" in said and "Plan again" in said, said
