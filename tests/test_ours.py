"""Ours is the session with this accession: what is shared in from elsewhere is never read, written or proved as a copy.

Each constellation is one that a live server met (its list of sessions names a share by its owner's label).
"""

from __future__ import annotations

import json

import pytest
from archive_kit import Kit
from people import people
from roads import as_
from shell import Shell
from standin import PASSWORD, USER, standing_in, table

from xnbtransfer import server as embedded
from xnbtransfer.archived import archived_session
from xnbtransfer.errors import RefusedError
from xnbtransfer.journal import Journal, read_journal
from xnbtransfer.xnat import connect


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


def ids(kit, project: str, *, owned: bool = True) -> dict[str, str]:
    """Label to accession of the sessions that a project lists, or of those that it owns."""
    rows = kit.who.rows(f"/data/projects/{project}/experiments", columns="ID,label")
    mine = {row["ID"] for row in kit.who.rows("/data/experiments", project=project, columns="ID")}
    return {row["label"]: row["ID"] for row in rows if not owned or row["ID"] in mine}


def shared(kit) -> str:
    """A session E2 of the source, shown in the destination as SH_E2; its accession."""
    kit.put(kit.source, "S2", "E2", kit.uid("E2"), scans=(1, 2, 3))
    kit.share(kit.source, "S2", "E2", kit.destination, "SH_E2")
    return ids(kit, kit.source)["E2"]


def writes_to(shell, accession: str, kit, since: int) -> list[str]:
    """What was written since to a session, by its accession or by its labels below the source."""
    sent = [one["path"] for one in shell.writes(since)]
    return [path for path in sent if accession in path or f"/projects/{kit.source}/" in path]


def decided(shell) -> list[str]:
    """That the session is copied although it is shown there: what its owner decides for it by name."""
    (shell.folder / "decisions.csv").write_text("subject,session,decision,to_session\nS2,E2,copy,\n")
    return ["--decisions", "decisions.csv"]


def test_a_session_that_was_shared_and_then_copied_is_proved_by_its_copy(server, kit, shell):
    source = shared(kit)
    since = len(shell.writes())
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive", *decided(shell))
    assert code == 0, said
    copy = ids(kit, kit.destination)["E2"]
    assert copy != source and writes_to(shell, source, kit, since) == []
    assert shell.counts(folder)["exit_code"] == 0
    kit.who.delete(f"/data/experiments/{copy}/scans/2", params={"removeFiles": "true"})
    found = shell.counts(folder)
    assert (found["exit_code"], found["different"]) == (3, 2), "the source is whole, the copy is not"


def test_the_files_door_makes_a_session_of_its_own_and_writes_nothing_to_the_source(server, kit, shell):
    source = shared(kit)
    before, since = kit.files(kit.source), len(shell.writes())
    code, said, folder = shell.copy_files(kit.source, kit.destination, "--archive", *decided(shell))
    assert code == 0, said
    copy = ids(kit, kit.destination)["E2"]
    assert copy != source and writes_to(shell, source, kit, since) == []
    assert kit.files(kit.source) == before and kit.files(kit.destination)["E2"] == before["E2"]
    there = f"/data/projects/{kit.destination}/subjects/S2/experiments/{copy}"
    kit.who.delete(there, params={"removeFiles": "true"}).raise_for_status()
    found = shell.counts(folder)
    assert (found["exit_code"], found["different"]) == (3, 6)


def test_resources_and_fields_go_to_the_copy(server, kit, shell):
    source = shared(kit)
    note = kit.who.post(f"/data/experiments/{source}/resources/NOTES/files/n.txt", files={"file": ("n.txt", b"note")})
    assert note.status_code == 200
    path = f"/data/projects/{kit.source}/subjects/S2/experiments/E2"
    assert kit.who.put(path, params={"xnat:mrSessionData/note": "seen"}).status_code == 200
    since = len(shell.writes())
    words = ("--archive", "--resources", "NOTES", "--fields", "session/note")
    code, said, folder = shell.copy(kit.source, kit.destination, *words, *decided(shell))
    assert code == 0, said
    copy = ids(kit, kit.destination)["E2"]
    assert writes_to(shell, source, kit, since) == []
    item = kit.who.get(f"/data/experiments/{copy}", params={"format": "json"}).json()["items"][0]
    assert item["data_fields"]["note"] == "seen"
    assert [row["Name"] for row in kit.who.rows(f"/data/experiments/{copy}/files")] == ["n.txt"]
    assert shell.counts(folder)["exit_code"] == 0


def test_a_copy_that_was_renamed_is_found_and_one_that_took_its_label_is_not(server, kit, shell):
    kit.put(kit.source, "S2", "E2", kit.uid("E2"))
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 0, said
    path = f"/data/projects/{kit.destination}/subjects/S2/experiments"
    assert kit.who.put(f"{path}/E2", params={"label": "E2_OLD"}).status_code == 200
    assert shell.counts(folder)["exit_code"] == 0
    kit.put(kit.destination, "S2", "E2", kit.uid("E2"))
    kit.who.delete(f"{path}/E2_OLD", params={"removeFiles": "true"})
    assert shell.counts(folder)["exit_code"] == 3, "another session of that label and study is not ours"


def test_what_was_moved_away_from_the_destination_is_not_there(server, kit, shell):
    kit.put(kit.source, "S2", "E2", kit.uid("E2"))
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 0, said
    path = f"/data/projects/{kit.destination}/subjects/S2/experiments/E2"
    assert kit.who.put(f"{path}/projects/{kit.third}", params={"primary": "true"}).status_code == 200
    assert shell.counts(folder)["exit_code"] == 3


def test_a_journal_without_accessions_finds_its_session_by_label_study_and_owner(server, kit, shell):
    shared(kit)
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive", *decided(shell))
    assert code == 0, said
    journal = shell.folder / folder / "journal.jsonl"
    older(journal)
    assert shell.counts(folder)["exit_code"] == 0
    code, said = shell("run", folder.replace(".run", ".json"))
    assert code == 0, said
    kit.who.delete(f"/data/projects/{kit.destination}/subjects/S2/experiments/E2", params={"removeFiles": "true"})
    assert shell.counts(folder)["exit_code"] == 3


def older(journal) -> None:
    """Make a journal one of an earlier version, which kept no accession."""
    plan = json.loads(journal.read_text().splitlines()[0])["entry"]["plan"]
    entries = [entry for entry in read_journal(journal) if entry["kind"] != "archived"]
    journal.unlink()
    with Journal.open(journal, plan) as made:
        for entry in entries:
            made.write(entry.pop("kind"), **{name: value for name, value in entry.items() if name != "at"})


def row_of(accession: str, owner: str) -> dict:
    """A session as the list of a live 1.8.11 tells it: by the label of its owner."""
    return {"session_ID": accession, "URI": f"/data/experiments/{accession}", "label": "E2", "subject_label": "S2",
            "project": owner, "session_project": owner, "UID": "1.2.3", "xsiType": "xnat:mrSessionData"}  # fmt: skip


@pytest.mark.parametrize(
    "rows, source, found",
    [
        ([("X_E1", "A"), ("X_E2", "P")], "X_E1", "X_E2"),  # recorded: the share before the copy, both called E2
        ([("X_E1", "A")], "X_E1", ""),
        ([("X_E1", "P")], "X_E1", ""),
        ([("X_E3", "C"), ("X_E2", "P")], "", "X_E2"),  # the same study, shared in from a third project
        ([], "", ""),
    ],
)
def test_a_list_by_the_labels_of_owners_gives_the_copy_or_nothing(rows, source, found):
    with standing_in() as standin, connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as there:
        standin.answers["/data/projects/P/experiments"] = [(200, {}, table([row_of(*row) for row in rows]))]
        assert archived_session(there, "P", "E2", "1.2.3", source=source) == found


def test_two_sessions_of_one_label_and_study_are_not_guessed_between():
    with standing_in() as standin, connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as there:
        rows = [row_of("X_E1", "P"), row_of("X_E2", "P")]
        standin.answers["/data/projects/P/experiments"] = [(200, {}, table(rows))]
        with pytest.raises(RefusedError, match="2 sessions E2 of one study"):
            archived_session(there, "P", "E2", "1.2.3")


def test_subjects_that_are_shared_in_keep_the_label_of_this_project(server, kit, shell):
    owner = f"/data/projects/{kit.third}/subjects/MRN77231"
    assert kit.who.put(owner).status_code == 201
    assert kit.who.put(f"{owner}/projects/{kit.source}", params={"label": "P007"}).status_code == 200
    kit.put(kit.source, "P007", "P007_MR1", kit.uid("P007"))
    with as_(server, "owner") as connection:
        assert {row["subject"] for row in connection.sessions(kit.source)} == {"P007"}
        assert {row["subject"] for row in connection.sessions_with_label(kit.source, "P007_MR1")} == {"P007"}
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 0 and "MRN77231" not in said, said
    subjects = kit.who.rows(f"/data/projects/{kit.destination}/subjects", columns="label")
    assert [row["label"] for row in subjects] == ["P007"]
