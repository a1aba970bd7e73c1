"""What nothing copied is said as that, and what was not read is not called equal."""

from __future__ import annotations

import pytest
from reviews import Ward
from shell import Shell


@pytest.fixture
def ward(person) -> Ward:
    found = Ward(person)
    found.store("S", "E1", {"1": found.series("S", "E1", count=2)})
    return found


@pytest.fixture
def shell(person, tmp_path, capsys, monkeypatch):
    return Shell(person("owner").server, tmp_path, capsys, monkeypatch)


def test_a_share_says_that_it_is_one_place_and_was_not_read(ward, shell):
    code, said = shell("share", ward.source, ward.destination, "-o", "share.json")
    assert code == 0, said
    code, said = shell("run", "share.json")
    assert code == 0, said
    assert "2 files are in one place for both projects: nothing was copied, and no byte was read." in said


def test_a_file_that_comes_neither_before_nor_after_a_move_is_not_proved(ward, shell):
    """The list names it without an MD5, and no zip holds it."""
    code, said = shell("move", ward.source, ward.destination, "-o", "move.json")
    assert code == 0, said
    lost = {"fault": "lost-in-zip", "item": "001.dcm", "times": None}
    ward.server.faults([{"fault": "digests-empty", "method": "GET", "path": "/", "times": None}, lost])
    try:
        code, said = shell("run", "move.json")
    finally:
        ward.server.faults([])
    assert code == 4 and "it came neither before the move nor after it" in said, said
