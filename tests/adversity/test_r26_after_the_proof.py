"""R26: no write of a run comes after the last reading of what it touches, whatever is carried, by either door.

What was tried and missed is printed.
"""

from __future__ import annotations

import os
import random
import re

import pytest
from adversity_kit import tries
from archive_kit import Kit
from meddler import meddling
from people import people
from shell import Shell

from xnbtransfer import server as embedded

SEED = int(os.environ.get("XNBTRANSFER_SEED", "1"))
_ASKS = ("/data/services/auth", "/data/JSESSION", "/data/services/validate-archive")
_SESSION = re.compile(r"(XNAT_E\d+)")
_SUBJECT = re.compile(r"/projects/([^/?]+)/subjects/([^/?]+)(?:$|[?])")


def touched(path: str) -> str:
    """What a write touches: a session by its accession, or a subject by its label; "" for what waits."""
    if found := _SESSION.search(path):
        return found[1]
    found = _SUBJECT.search(path)
    return f"{found[1]}/subjects/{found[2]}" if found else ""


def unread(seen) -> list[str]:
    """Writes after which nothing read what they touch."""
    last: dict[str, tuple[int, str]] = {}
    reads: dict[str, int] = {}
    for at, (method, path, _) in enumerate(seen):
        if method != "GET" and not path.startswith(_ASKS) and touched(path):
            last[touched(path)] = at, f"{method} {path}"
    for at, (method, path, _) in enumerate(seen):
        for what in last:
            if method == "GET" and what in path:
                reads[what] = at
    return [sent for what, (at, sent) in last.items() if reads.get(what, -1) < at]


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.mark.parametrize("seed", range(SEED, SEED + tries(4)))
def test_what_was_written_is_read_after_it(server, tmp_path, capsys, monkeypatch, seed):
    dice = random.Random(seed)
    with meddling(server) as front, people(server) as person:
        kit, shell = Kit(person), Shell(front, tmp_path, capsys, monkeypatch)
        kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
        path = f"/data/projects/{kit.source}/subjects/S1"
        for place in (path, f"{path}/experiments/E1", f"{path}/experiments/E1/scans/1"):
            answer = kit.who.put(f"{place}/resources/NOTES/files/n.txt", files={"file": ("n.txt", b"note")})
            assert answer.status_code == 200
        assert kit.who.put(f"{path}/experiments/E1", params={"xnat:mrSessionData/note": "seen"}).status_code == 200
        merge = dice.random() < 0.5
        if merge:
            kit.put(kit.destination, "S1", "E1", kit.uid("E1"), scans=(1,))
        words = ["--archive"]
        words += ["--resources", "NOTES"] if dice.random() < 0.7 else []
        words += ["--fields", "session/note"] if dice.random() < 0.7 else []
        words += ["--existing", "merge"] if merge else []
        copy = shell.copy_files if seed % 2 else shell.copy
        front.seen.clear()
        code, said, _ = copy(kit.source, kit.destination, *words)
        missed = unread(front.seen)
        missed += [one[1] for one in front.seen if merge and "pullDataFromHeaders" in one[1]]
        print(f"R26 seed {seed}: {copy.__name__} {' '.join(words)} ({code}): tried 1, missed {len(missed)}")
        assert code == 0, said
        assert not missed, missed
