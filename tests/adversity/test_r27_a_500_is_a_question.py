"""R27: every write of every operation answered 500 after it acted, in part or not at all, once and always.

``XNBTRANSFER_TRIES`` sets how many are tried, ``XNBTRANSFER_SEED`` where they begin; what was tried and missed is
printed.
"""

from __future__ import annotations

import os
import random
import re

import pytest
from adversity_kit import tries
from archive_kit import Kit
from meddler import acts, cuts, meddling, refuses, spoils
from people import people
from shell import Shell

from xnbtransfer import server as embedded

TRIES = tries(6)
SEED = int(os.environ.get("XNBTRANSFER_SEED", "0"))
_ASKS = ("/data/services/auth", "/data/JSESSION", "/data/services/validate-archive")


def copied(kit, shell, *words: str) -> tuple[str, list[str]]:
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E1"
    assert kit.who.put(f"{path}/resources/NOTES/files/n.txt", files={"file": ("n.txt", b"note")}).status_code == 200
    assert kit.who.put(path, params={"xnat:mrSessionData/note": "seen"}).status_code == 200
    more = ("--archive", "--resources", "NOTES", "--fields", "session/note", *words)
    return shell.plan(kit.source, kit.destination, *more), []


def by_import(kit, shell):
    return copied(kit, shell)


def by_files(kit, shell):
    return copied(kit, shell, "--method", "files", "--waivers", "waive.yaml")


def shared(kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    assert shell("share", kit.source, kit.destination, "-o", "share.json")[0] == 0
    return "share.json", []


def moved(kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    assert shell("move", kit.source, kit.destination, "-o", "move.json")[0] == 0
    return "move.json", []


def archived(kit, shell):
    kit.put(kit.destination, "S1", "E1", kit.uid("E1"), waits=True)
    assert shell("prearchive", kit.destination, "--action", "rebuild", "-o", "build.json")[0] == 0
    assert shell("run", "build.json")[0] == 0
    assert shell("prearchive", kit.destination, "--action", "archive", "-o", "pre.json")[0] == 0
    return "pre.json", []


def deleted(kit, shell):
    kit.put(kit.destination, "S1", "E1", kit.uid("E1"), waits=True)
    assert shell("prearchive", kit.destination, "--action", "delete", "-o", "gone.json")[0] == 0
    return "gone.json", ["--confirm", f"{kit.destination} 1"]


OPERATIONS = {one.__name__: one for one in (by_import, by_files, shared, moved, archived, deleted)}
_WRITES = {"by_import": 6, "by_files": 7, "shared": 2, "moved": 2, "archived": 1, "deleted": 1}  # of each, at least


def kind_of(method: str, path: str) -> str:
    return f"{method} {re.sub(r'[0-9]+', '#', path.partition('?')[0])}"


def meddled(at: int, always: bool, dice: random.Random):
    """A rule that meddles with the write of that number, or from it on with all of its kind; and what it chose."""
    count, chosen = 0, {}

    def rule(method: str, path: str):
        nonlocal count
        if method in ("GET", "HEAD") or path.startswith(_ASKS):
            return None
        count += 1
        if not chosen and count > at:
            ways = [refuses, acts]
            ways += [spoils] * 3 if "/services/archive" in path else []
            ways += [cuts] * 2 if "/services/import" in path else []
            chosen.update(kind=kind_of(method, path), way=dice.choice(ways))
            return chosen["way"]
        return chosen["way"] if always and chosen and kind_of(method, path) == chosen["kind"] else None

    return rule, chosen


def sent_unseen(seen) -> list[str]:
    """Writes that were sent twice without anything being read between."""
    found, unread = [], set()
    for method, path, digest in seen:
        if method == "GET":
            unread.clear()
        elif not path.startswith(_ASKS):
            one = (method, path, digest)
            if one in unread:
                found.append(f"{method} {path}")
            unread.add(one)
    return found


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


def way_out(kit, shell, name: str, confirm: list[str], said: str, operation: str, way) -> tuple[int, str]:
    """What a person does who reads the sentence: run again, and where it names a command, that first."""
    if operation == "archived" and way is spoils:
        assert "delete the row" in said, said
        assert shell("prearchive", kit.destination, "--action", "delete", "-o", "out.json")[0] == 0
        assert shell("run", "out.json", "--confirm", f"{kit.destination} 1")[0] == 0
        again, confirm = archived(kit, _renamed(shell))
        return shell("run", f"again-{again}", *confirm)
    for _ in range(3):
        code, said = shell("run", name, *confirm)
        if code == 0:
            break
    return code, said


def _renamed(shell):
    """A shell whose plans do not meet those of before."""

    def call(*words):
        return shell(*(f"again-{word}" if str(word).endswith(".json") else word for word in words))

    call.plan = shell.plan
    return call


@pytest.mark.parametrize("seed", range(SEED, SEED + TRIES))
def test_every_write_may_fail(server, tmp_path, capsys, monkeypatch, seed):
    dice = random.Random(seed)
    operation = list(OPERATIONS)[seed % len(OPERATIONS)]
    always, at = dice.random() < 0.4, dice.randrange(_WRITES[operation])
    with meddling(server) as front, people(server) as person:
        kit, shell = Kit(person), Shell(front, tmp_path, capsys, monkeypatch)
        name, confirm = OPERATIONS[operation](kit, shell)
        before = kit.files(kit.source)
        rule, chosen = meddled(at, always, dice)
        front.seen.clear()
        front.rule = rule
        code, said = shell("run", name, *confirm)
        missed = [f"sent twice unseen: {one}" for one in sent_unseen(front.seen)]
        way = chosen.get("way")
        if code != 0 and way in (refuses, spoils) and "Operation Failed" not in said:
            missed.append(f"the server's words are not shown: {said}")
        if way is spoils and not always and sum("/services/archive" in path for _, path in front.sent) > 1:
            missed.append("an archive request was repeated")
        front.rule = lambda method, path: None
        if code != 0:
            code, said = way_out(kit, shell, name, confirm, said, operation, way)
        if code != 0:
            missed.append(f"the way out ends with {code}: {said}")
        if operation not in ("moved", "archived", "deleted") and kit.files(kit.source) != before:
            missed.append("the source changed")
        if operation.startswith("by_") and len(kit.files(kit.destination).get("E1", ())) != 4:
            missed.append("files are lost")
        told = chosen.get("kind", "nothing"), getattr(way, "__name__", ""), "always" if always else "once"
        print(f"R27 seed {seed}: {operation}, {' '.join(told)}: tried 1, missed {len(missed)}")
        assert not missed, (operation, told, missed)
