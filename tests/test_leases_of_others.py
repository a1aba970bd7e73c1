"""Every operation that writes leaves what somebody else's run has to it: code 6, whose and since when."""

from __future__ import annotations

import datetime
import json

import pytest
from archive_kit import Kit
from people import people
from places import Place, copied
from roads import writes
from shell import Shell

from xnbtransfer import server as embedded
from xnbtransfer.changes import ChangePlan
from xnbtransfer.lease import FILE, VALID_S, digest
from xnbtransfer.plan_file import LEASE


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    with people(server) as person:
        yield Kit(person)


@pytest.fixture
def shell(server, tmp_path, capsys, monkeypatch):
    return Shell(server, tmp_path, capsys, monkeypatch)


def archived(kit) -> None:
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))


def waiting(kit) -> None:
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), waits=True)


def plan_of(operation: str, kit, shell) -> str:
    """The file of a plan over E1, made as somebody at a shell makes it."""
    sides = (kit.source, kit.destination)
    if operation == "run":
        archived(kit)
        return shell.plan(*sides, "--archive", "--review", "none")
    if operation in ("share", "unshare", "move"):
        archived(kit)
        words = [operation.removeprefix("un"), *sides]
        if operation == "unshare":
            kit.share(kit.source, "S1", "E1", kit.destination, "E1")
            words.append("--undo")
    elif operation == "finish-move":
        archived(kit)
        words = [operation, copied(Place(shell.server, *sides), shell.folder)]
    else:
        waiting(kit)
        words = ["prearchive", kit.source, "--action", operation]
        words += ["--to-project", kit.third] if operation == "move-row" else []
        words = ["move" if word == "move-row" else word for word in words]
    code, said = shell(*words, "-o", "changes.json")
    assert code == 0, said
    return "changes.json"


def hold(kit, held: dict[str, set[tuple[str, ...]]]) -> None:
    """Leases of a run of bob, since two minutes and in force, on these items at each project."""
    now = datetime.datetime.now(datetime.UTC)
    since = now - datetime.timedelta(minutes=2)
    for number, (project, names) in enumerate(held.items()):
        about = {"xnbtransfer_lease": 1, "user": "bob", "since": since.isoformat(), "renewed": now.isoformat()}
        text = json.dumps(about | {"valid_s": VALID_S, "for": [digest(name) for name in sorted(names)]})
        label = f"{LEASE}{since:%Y%m%dT%H%M%S}_{number:016x}"
        path = f"/data/projects/{project}/resources/{label}/files/{FILE}"
        assert kit.who.put(path, params={"inbody": "true"}, data=text.encode()).status_code == 200


OPERATIONS = ("run", "share", "unshare", "move", "archive", "delete", "rebuild", "move-row", "finish-move")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_somebody_elses_run_has_is_left_to_it(kit, server, shell, operation):
    plan = plan_of(operation, kit, shell)
    if operation == "run":
        held, confirm = {kit.destination: {("session", "E1")}}, ""
    else:
        made = ChangePlan.load(plan)
        assert made.acting and made.also_written, made
        held, confirm = made.touched, made.confirm  # the subject that a share or a move takes along is an item, too
        assert any(("session", "E1") in names for names in held.values())
    hold(kit, held)
    before = len(writes(server))
    code, said = shell("run", plan, *(("--confirm", confirm) if confirm else ()))
    assert code == 6, said
    assert "A run of bob has had it since" in said and "runs out at" in said
    assert [(one["method"], one["path"]) for one in writes(server)[before:]] == []
