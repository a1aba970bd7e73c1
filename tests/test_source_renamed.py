"""The source is given other labels after the copy: it is told by its accession, and nothing is deleted wrongly."""

from __future__ import annotations

import pytest
from archive_kit import Kit
from people import people
from places import Place, copied
from shell import Shell

from xnbtransfer import server as embedded


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    with people(server) as person:
        found = Kit(person)
        found.put(found.source, "S1", "E1", found.uid("E1"))
        yield found


@pytest.fixture
def shell(server, tmp_path, capsys, monkeypatch):
    return Shell(server, tmp_path, capsys, monkeypatch)


def at(kit) -> str:
    return f"/data/projects/{kit.source}/subjects/S1/experiments/E1"


def session_renamed(kit) -> None:
    assert kit.who.put(at(kit), params={"label": "E1_new"}).status_code == 200


def subject_renamed(kit) -> None:
    assert kit.who.put(f"/data/projects/{kit.source}/subjects/S1", params={"label": "S1_new"}).status_code == 200


def moved_and_shared_back(kit) -> None:
    accession = accessions(kit)["E1"]
    assert kit.who.put(f"{at(kit)}/projects/{kit.third}", params={"primary": "true"}).status_code == 200
    (row,) = kit.who.rows(f"/data/projects/{kit.third}/experiments", columns="ID,label")
    assert row["ID"] == accession
    shown = kit.who.rows(f"/data/projects/{kit.source}/experiments", columns="ID,label")
    if accession not in {one["ID"] for one in shown}:
        kit.share(kit.third, "S1", "E1", kit.source, "E1")


def another_under_the_label(kit) -> None:
    session_renamed(kit)
    kit.put(kit.source, "S1", "E1", kit.uid("another"))


def accessions(kit, project: str = "") -> dict[str, str]:
    rows = kit.who.rows(f"/data/projects/{project or kit.source}/experiments", columns="ID,label")
    return {row["label"]: row["ID"] for row in rows}


def everything(kit) -> dict:
    """Every session that the two projects of the source own or show, with its files."""
    return {project: kit.files(project) for project in (kit.source, kit.third)}


# what somebody did, and what is said of it by a plan that is made after it, and by the run of one that was made before
CHANGES = [
    (session_renamed, "it is called E1_new now", "S1/E1 changed at the source since the plan was made"),
    (
        subject_renamed,
        "the source does not list it under the subject S1 any more",
        "S1/E1 was not deleted: its subject is called S1_new now",
    ),
    (moved_and_shared_back, "it is not in {source} any more", "S1/E1 changed at the source since the plan was made"),
    (another_under_the_label, "it is called E1_new now", "S1/E1 changed at the source since the plan was made"),
]


@pytest.mark.parametrize(("change", "said_then"), [(change, planned) for change, planned, _ in CHANGES])
def test_a_plan_made_later_tells_it_by_its_accession_and_deletes_nothing(kit, server, shell, change, said_then):
    record = copied(Place(server, kit.source, kit.destination), shell.folder)
    change(kit)
    held, copy = everything(kit), kit.files(kit.destination)
    code, said = shell("verify", record, "--with-source")
    assert code == 0 and "read again now" in said, said  # both sides by accession, whatever is called E1 now
    code, said = shell("finish-move", record, "-o", "end.json")
    assert code == 0 and "0 sessions and 0 subjects" in said, said
    assert said_then.format(source=kit.source) in said
    code, said = shell("run", "end.json", "--confirm", f"{kit.source} 0")
    assert code == 7 and "1 needs a person" in said and "deleted" not in said, said
    assert (everything(kit), kit.files(kit.destination)) == (held, copy)


@pytest.mark.parametrize(("change", "said_then"), [(change, ran) for change, _, ran in CHANGES])
def test_a_plan_made_before_deletes_nothing(kit, server, shell, change, said_then):
    record = copied(Place(server, kit.source, kit.destination), shell.folder)
    code, said = shell("finish-move", record, "-o", "end.json")
    assert code == 0 and "Deletions at the source: 1 session" in said, said
    change(kit)
    held, copy = everything(kit), kit.files(kit.destination)
    code, said = shell("run", "end.json", "--confirm", f"{kit.source} 1")
    assert code == 3 and said_then in said, said
    assert (everything(kit), kit.files(kit.destination)) == (held, copy)
