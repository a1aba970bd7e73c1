"""A copy of a record for others: what was proved is in it, who it was about is not."""

from __future__ import annotations

import bagit
import pytest
from archive_kit import Kit
from roads import as_

from xnbtransfer.cli import invoke
from xnbtransfer.errors import RefusedError
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.record import close_record, open_record, open_workspace, seal
from xnbtransfer.shareable import share_record
from xnbtransfer.transfer import run


@pytest.fixture
def record(xnat, person, tmp_path):
    """The record of two sessions, one of them renamed."""
    kit = Kit(person)
    for session in ("Mustermann_MR1", "Musterfrau_MR2"):
        kit.put(kit.source, f"{session}_subject", session, kit.uid(session))
    values = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    values |= {"label_rule": "session~^Muster~Renamed", "record_root": str(tmp_path / "records")}
    options = TransferOptions.from_mapping(values)
    with as_(xnat, "owner") as source, as_(xnat, "owner") as destination:
        made = prepare(source, destination, options)
        workspace = open_workspace(options, "transfer")
        workspace.keep(made)
        close_record(workspace, made, run(made, source, destination, folder=workspace.folder))
    return seal(workspace)


def test_the_copy_is_a_bag_with_the_verdicts_and_without_a_label(record, tmp_path):
    before = {path: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    copy = share_record(record, tmp_path / "copy")
    bagit.Bag(str(copy)).validate()
    assert before == {path: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    text = "\n".join(path.read_text(encoding="utf-8") for path in copy.rglob("*") if path.is_file())
    for word in ("Muster", "Renamed", "2024-01-08", ".dcm", "2.25."):
        assert word not in text, word
    found, whole = open_record(copy), open_record(record)
    names = {path.name for path in found.data.iterdir()}
    assert not names & {"crosswalk.csv", "plan.json", "journal.jsonl", "notebook.ipynb", "record.html"}
    files = found.table("files")
    assert list(files["verdict"]) == list(whole.table("files")["verdict"]) and len(files) == 4
    assert list(files["source_md5"]) == list(whole.table("files")["source_md5"])
    assert sorted(set(files["subject"])) == ["subject 1", "subject 2"]
    assert set(files["session"]) == set(found.table("sessions")["session"]) == {"session 1", "session 2"}
    assert found.summary["plan"]["fingerprint"] == whole.summary["plan"]["fingerprint"]
    with pytest.raises(RefusedError, match="there already"):
        share_record(record, copy)


def test_a_label_that_is_found_in_the_copy_refuses_it(record, tmp_path):
    found = open_record(record)
    found.summary["template"] = "of Mustermann_MR1"
    with pytest.raises(RefusedError, match="summary.json holds a label"):
        share_record(found, tmp_path / "copy")
    assert not list(tmp_path.glob("*copy*"))


def test_on_the_command_line(record, tmp_path, capsys):
    assert invoke(["shareable", str(record), "-o", str(tmp_path / "copy")]) == 0
    assert "The copy is in" in capsys.readouterr().out
