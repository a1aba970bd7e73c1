"""Code 7 in the executed template, its record and a campaign; strict and prove_existing there."""

from __future__ import annotations

import pytest
import yaml
from archive_kit import Kit
from people import people
from shell import Shell

from xnbtransfer import server as embedded
from xnbtransfer.campaign import INDEX
from xnbtransfer.record import list_records, open_record


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    """E1, whose label another study has at the destination, and E2, which nothing is in the way of."""
    with people(server) as person:
        found = Kit(person)
        for session in ("E1", "E2"):
            found.put(found.source, "S1", session, found.uid(session))
        yield found


@pytest.fixture
def shell(server, tmp_path, capsys, monkeypatch):
    return Shell(server, tmp_path, capsys, monkeypatch)


def transfer(kit, shell, *words: str):
    """The exit code of the template that papermill ran, all that was said, and the newest record."""
    before = set(list_records("records")["record"]) if (shell.folder / "records").exists() else set()
    more = ("--archive", "--review", "none", "--existing", "skip", "--record-root", "records")
    code, said = shell("transfer", kit.source, kit.destination, *more, *words)
    (name,) = set(list_records("records")["record"]) - before
    return code, said, open_record(shell.folder / "records" / name)


def campaign(kit, shell, **values):
    row = {"name": "night", "source_project": kit.source, "destination_project": kit.destination, "existing": "skip"}
    rows = [row | {"archive": True, "review": "none"} | values]
    (shell.folder / "night.yaml").write_text(yaml.safe_dump({"transfers": rows}))
    code, said = shell("campaign", "night.yaml", "--record-root", "nights")
    return code, said, (shell.folder / "nights" / INDEX).read_text()


def test_a_conflict_is_7_in_notebook_record_and_campaign(kit, shell):
    kit.put(kit.destination, "S1", "E1", kit.uid("another study"))
    code, said, record = transfer(kit, shell)
    assert code == record.summary["exit_code"] == 7, said
    states = record.table("sessions").set_index("session")["state"]
    assert dict(states) == {"E1": "needs a person", "E2": "archived"}
    for name in ("notebook.ipynb", "record.html"):
        text = (record.data / name).read_text()
        assert "needs a person" in text.casefold() and "S1/E1" in text and "another study" in text, name
    assert "person" in record.summary["result"]
    code, said, index = campaign(kit, shell)
    assert code == 7 and "needs a person" in (said + index).casefold(), said


def test_strict_and_prove_existing_by_template_and_campaign(kit, shell):
    code, said, _ = transfer(kit, shell)
    assert code == 0, said
    assert transfer(kit, shell)[0] == 0
    code, said, record = transfer(kit, shell, "--strict")
    assert code == record.summary["exit_code"] == 4, said
    assert campaign(kit, shell, strict=True)[0] == 4
    code, said, record = transfer(kit, shell, "--strict", "--prove-existing")
    assert code == record.summary["exit_code"] == 0, said
    assert len(record.table("files")) == 4 and "cannot be proved" not in set(record.table("files")["verdict"])
    assert campaign(kit, shell, strict=True, prove_existing=True)[0] == 0
