"""Several sessions of a subject that the destination does not have, archived at one time.

XNAT looks for the subject, then saves a new one, and its save refuses a label that is taken (source:
``PrearcSessionArchiver.getOrCreateSubject``, ``BaseXnatSubjectdata.checkUniqueLabel``). Between the two another session
may have made it, before XNAT-6799 of June 2021 and on several nodes of one XNAT: 500 "Unable to save new subject", the
row is ERROR. Since then a lock within one process holds that apart; the second waits up to ten seconds.
"""

from __future__ import annotations

import pytest
from archive_kit import Kit
from people import people
from shell import Shell

from xnbtransfer.server import running


@pytest.fixture(scope="module")
def raced():
    with running() as server, people(server) as person:
        yield server, person


def test_a_row_that_lost_the_race_for_its_subject_is_archived_all_the_same(raced, tmp_path, capsys, monkeypatch):
    server, person = raced
    kit, shell = Kit(person), Shell(server, tmp_path, capsys, monkeypatch)
    for session in ("E1", "E2", "E3"):
        kit.put(kit.source, "S1", session, kit.uid(session))
    name = shell.plan(kit.source, kit.destination, "--archive")
    server.faults([{"fault": "subject-race", "times": 1}])
    code, said = shell("run", name)
    if code:
        assert "Unable to save new subject" in said, said
        code, said = shell("run", name)
    server.faults([])
    assert code == 0, said
    rows = person("owner").rows(f"/data/projects/{kit.destination}/subjects")
    assert [row["label"] for row in rows] == ["S1"]
    rows = person("owner").rows(f"/data/projects/{kit.destination}/experiments")
    assert sorted(row["label"] for row in rows) == ["E1", "E2", "E3"]
    assert person("owner").rows(f"/data/prearchive/projects/{kit.destination}") == []
