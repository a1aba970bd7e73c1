"""An audit of a folder: what was changed, lost or left open is found; what is whole is told in one place."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import bagit
import pytest
from filelock import FileLock
from places import SMALL, carried, copied, make_place

from xnbtransfer import server as embedded
from xnbtransfer.audit import audit
from xnbtransfer.campaign import INDEX
from xnbtransfer.cli import invoke
from xnbtransfer.errors import ExitCode, InputError
from xnbtransfer.finish import copy_record, plan_finish
from xnbtransfer.method_options import FinishOptions
from xnbtransfer.record import close_record, open_record, open_workspace, seal


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture(scope="module")
def made(demo, tmp_path_factory):
    """A copy of two sessions, and the deletion of one of them at the source, each with its record."""
    place, root = make_place(demo), tmp_path_factory.mktemp("made")
    place.hold("A1", "A", SMALL[0])
    place.hold("B1", "B", SMALL[1])
    copy = copied(place, root, reason="ticket 17")
    options = FinishOptions.from_mapping({"record": str(copy), "sessions": ["A1"], "record_root": str(root)})
    with place.connect() as source, place.connect() as destination:
        workspace = open_workspace(options, "finish-move")
        plan = plan_finish(copy_record(options), source, destination, options)
    result = carried(place, plan, workspace.folder)
    assert result.exit_code == ExitCode.PROVED
    close_record(workspace, plan, result)
    return place, copy, seal(workspace)


@pytest.fixture
def root(made, tmp_path):
    """The two records, to be spoilt."""
    for record in made[1:]:
        shutil.copytree(record, tmp_path / record.name)
    return tmp_path


@pytest.fixture
def copy(made, root) -> Path:
    return root / made[1].name


@pytest.fixture
def deletion(made, root) -> Path:
    return root / made[2].name


def statuses(root: Path, **more) -> dict[str, tuple[str, str]]:
    return {row.record: (row.status, row.because) for row in audit(root, **more).records.itertuples()}


def bag_again(record: Path) -> None:
    """As somebody would who knows what a bag is."""
    bagit.Bag(str(record)).save(manifests=True)


def test_what_is_whole_is_told_in_one_place(made, root, copy, deletion):
    place = made[0]
    found = audit(root)
    assert found.ended == (ExitCode.PROVED, "all records are whole") and found.open_points.empty
    assert list(found.records["record"]) == sorted([copy.name, deletion.name], reverse=True)
    assert set(found.records["status"]) == {"whole"} and set(found.records["today"]) == {""}
    (one,) = found.records[found.records["template"] == "transfer"].itertuples()
    assert (one.source, one.destination, one.user, one.reason) == (place.project, place.other, "olga", "ticket 17")
    assert one.files == one.equal + one.explained > 0 == one.different + one.not_proved
    told = {(row.template, row.session): row.state for row in found.sessions.itertuples()}
    assert told == {
        ("finish-move", "A1"): "deleted",
        ("transfer", "A1"): "archived",
        ("transfer", "B1"): "archived",
    }


def test_a_file_that_was_changed_added_or_lost(root, copy, deletion):
    table = copy / "data" / "files.csv"
    table.write_text(table.read_text("utf-8").replace("changed as explained", "equal"), "utf-8")
    (deletion / "data" / "note.txt").write_text("added", "utf-8")
    found = audit(root)
    assert found.exit_code == ExitCode.DIFFERENCES and len(found.open_points) == 2 and found.sessions.empty
    told = statuses(root)
    assert told[copy.name][0] == told[deletion.name][0] == "changed"
    assert "files.csv" in told[copy.name][1] and "note.txt" in told[deletion.name][1]


@pytest.mark.parametrize("lie", ["verdicts", "plan", "journal"])
def test_a_record_that_was_bagged_again_after_a_change(root, copy, lie):
    summary, journal = copy / "data" / "summary.json", copy / "data" / "journal.jsonl"
    values = json.loads(summary.read_text("utf-8"))
    if lie == "verdicts":
        values["verdicts"]["equal"] += 1
    elif lie == "plan":
        values["plan"]["fingerprint"] = "0" * 64
    else:
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:1] + lines[2:]))
    summary.write_text(json.dumps(values), "utf-8")
    bag_again(copy)
    open_record(copy)  # a validator of bags sees nothing
    status, because = statuses(root)[copy.name]
    assert status == "changed" and because


def test_a_copy_that_is_another_one_than_a_deletion_was_made_by(root, copy, deletion):
    (copy / "data" / "versions.txt").write_text("", "utf-8")
    bag_again(copy)
    told = statuses(root)
    assert told[deletion.name] == ("whole", "")
    assert told[copy.name] == ("changed", f"{deletion.name} deleted by another one of that name")


def test_a_record_that_another_one_names_is_missed(root, copy, deletion):
    # the record names the copy by its path of then, which is another folder here: that one is not missed
    shutil.rmtree(copy)
    assert audit(root).exit_code == ExitCode.PROVED
    summary = deletion / "data" / "summary.json"
    values = json.loads(summary.read_text("utf-8"))
    values["parameters"]["record"] = str(copy)
    summary.write_text(json.dumps(values), "utf-8")
    bag_again(deletion)
    assert statuses(root)[copy.name] == ("lost", f"{deletion.name} names it")
    assert audit(root).exit_code == ExitCode.DIFFERENCES


def test_a_record_that_the_index_of_a_campaign_names_is_missed(root, copy):
    with (root / INDEX).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["at", "name", "record"])
        writer.writeheader()
        writer.writerows([{"record": copy.name}, {"record": "20260101T000000Z_transfer_A-B_000000"}, {"record": ""}])
    assert statuses(root)["20260101T000000Z_transfer_A-B_000000"] == ("lost", "the index of a campaign names it")


def test_a_record_without_its_summary_is_not_passed_over(root, copy):
    (copy / "data" / "summary.json").unlink()
    assert statuses(root)[copy.name] == ("changed", "it has no summary")


def test_runs_that_did_not_end(root, copy):
    open_ = root / "20260102T000000Z_transfer_A-B_aaaaaa.unfinished"
    given_up = root / "20260103T000000Z_transfer_A-B_bbbbbb.unfinished"
    about = {"template": "transfer", "made_at": "2026-01-02T00:00:00+00:00", "parameters": {}}
    for folder in (open_, given_up):
        folder.mkdir()
        (folder / "workspace.json").write_text(json.dumps(about), "utf-8")
    (given_up / "given-up.json").write_text(json.dumps({"reason": "the plan no longer fits"}), "utf-8")
    told = statuses(root)
    assert told[open_.name][0] == "unfinished" and told[given_up.name][0] == "given up"
    assert audit(root).exit_code == ExitCode.CANNOT_BE_PROVED
    with FileLock(str(root / f".{open_.name}.lock")):
        assert statuses(root)[open_.name][0] == "running" and audit(root).exit_code == ExitCode.PROVED
    assert statuses(root)[open_.name][0] == "unfinished"


def test_days_and_folders(root, copy):
    day = open_record(copy).summary["made_at"][:10]
    assert len(audit(root, since=day, until=day).records) == 2
    with pytest.raises(InputError, match="no record of those days"):
        audit(root, until="2001-01-01")
    with pytest.raises(InputError, match="There is no folder"):
        audit(root / "nothing")


def test_what_the_servers_hold_today(made, demo, root, copy, deletion, monkeypatch):
    place = made[0]
    user, password = demo.accounts["owner"]
    for name, value in (("HOST", demo.url), ("USER", user), ("PASS", password)):
        monkeypatch.setenv(f"XNAT_{name}", value)
    found = audit(root, again="all")
    assert dict(zip(found.records["template"], found.records["today"], strict=True)) == {
        "finish-move": "all proved",
        "transfer": "all proved",
    }
    monkeypatch.setenv("XNAT_PASS", "not-the-password")
    refused = audit(root, again="listing")
    assert refused.exit_code == ExitCode.CANNOT_BE_PROVED and len(refused.open_points) == 2
    assert "not-the-password" not in refused.records.to_csv()
    monkeypatch.setenv("XNAT_PASS", password)
    place.request("DELETE", f"/data/projects/{place.other}/subjects/B/experiments/B1", params={"removeFiles": "true"})
    gone = audit(root, again="listing")
    assert gone.exit_code == ExitCode.DIFFERENCES
    (row,) = gone.open_points[gone.open_points["record"] == copy.name].itertuples()
    assert "different" in row.because


def test_the_command_keeps_a_record_of_the_audit(root, copy, capsys, monkeypatch):
    monkeypatch.chdir(root)
    code = invoke(["audit", ".", "--record-root", "audits", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0, told
    assert told["template"] == "audit" and told["result"] == "all records are whole"
    record = open_record(told["path"])
    assert copy.name in record.page.read_text("utf-8") and len(record.table("records")) == 2
    table = copy / "data" / "files.csv"
    table.write_text(table.read_text("utf-8") + "\n", "utf-8")
    assert invoke(["audit", "--record-root", ".", "--reason", "yearly"]) == 3
    out = capsys.readouterr().out
    assert "✗ changed" in out and "take what was changed or lost from your backup" in out
    assert invoke(["audit", ".", "--since", "yesterday"]) == 2
