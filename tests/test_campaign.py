"""Many transfers from one file: read strictly, run one after another, one record each, and an index that adds up."""

from __future__ import annotations

import json

import pytest
import yaml
from modes import a_loose_umask, open_to_others
from places import make_place
from roads import DESTINATION, SOURCE
from test_notebook import logins

from xnbtransfer.campaign import COLUMNS, INDEX, PAGE, read_campaign, read_index, run_campaign
from xnbtransfer.cli import invoke
from xnbtransfer.errors import ExitCode, InputError, TransientError
from xnbtransfer.record import list_records, open_record
from xnbtransfer.server import running

BOTH = {"source_project": SOURCE, "destination_project": DESTINATION}


@pytest.fixture
def demo():
    with running(demo=True) as server:
        yield server


def written(folder, *rows, **more):
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({"transfers": list(rows), **more}))
    return path


def test_each_transfer_has_its_record_and_one_that_fails_keeps_no_other_back(demo, tmp_path):
    path = written(
        tmp_path,
        {"name": "nowhere", "source_project": "NOWHERE"},
        {"name": "five", "sessions": ["005_MR1"], "archive": True},
        defaults=BOTH,
    )
    root = tmp_path / "records"
    with a_loose_umask():
        rows, code = run_campaign(read_campaign(path), root, env=logins(demo))
    assert not open_to_others(root)
    assert [(row["name"], row["exit_code"]) for row in rows] == [("nowhere", 2), ("five", 0)]
    assert code is ExitCode.BAD_INPUT and "NOWHERE" in rows[0]["because"]
    sealed = list_records(root).query("state == 'sealed'")
    assert list(sealed["record"]) == [rows[1]["record"]] and rows[1]["files"] > 0
    index = read_index(root)
    assert [row["name"] for row in index] == ["five", "nowhere"] and tuple(index[0]) == COLUMNS
    text = (root / PAGE).read_text()
    assert rows[1]["record"] in text and "<script" not in text
    again, _ = run_campaign(read_campaign(path)[1:], root, env=logins(demo))
    assert len(read_index(root)) == 3 and again[0]["files"] == 0


def test_at_night_only_what_is_new_leaves_a_record(demo, tmp_path, monkeypatch):
    for name, value in logins(demo).items():
        monkeypatch.setenv(name, value)
    path = written(tmp_path, {"name": "one", **BOTH, "sessions": ["005_MR1"], "existing": "skip", "archive": True})
    root = tmp_path / "records"
    entries = read_campaign(path)
    (first,), code = run_campaign(entries, root, incremental=True)
    assert code is ExitCode.PROVED and first["record"]
    (second,), code = run_campaign(entries, root, incremental=True)
    assert code is ExitCode.PROVED and second["result"] == "nothing new" and not second["record"]
    assert len(list_records(root)) == 1


def test_run_again_a_campaign_carries_only_what_came_since(demo, tmp_path, monkeypatch):
    for name, value in logins(demo).items():
        monkeypatch.setenv(name, value)
    place = make_place(demo)
    path = written(
        tmp_path,
        {"name": "grows", "source_project": place.project, "destination_project": place.other},
        {"name": "stays", **BOTH, "sessions": ["005_MR1"]},
        defaults={"archive": True, "existing": "skip"},
    )
    root, entries = tmp_path / "records", read_campaign(path)
    place.hold("NEW1", "N1", "007_MR1")
    first, code = run_campaign(entries, root, incremental=True)
    assert code is ExitCode.PROVED and all(row["record"] for row in first)
    place.hold("NEW2", "N2", "006_CT1")
    second, code = run_campaign(entries, root, incremental=True)
    assert code is ExitCode.PROVED and [bool(row["record"]) for row in second] == [True, False]
    sent = open_record(root / second[0]["record"]).table("sessions")
    assert dict(zip(sent["session"], sent["state"], strict=True)) == {"NEW1": "there already", "NEW2": "archived"}
    assert second[0]["files"] == 10
    assert len(list_records(root)) == 3 and len(read_index(root)) == 4


def test_a_csv_has_a_transfer_a_line_and_labels_keep_their_zeros(tmp_path):
    path = tmp_path / "campaign.csv"
    path.write_text(
        "name,source_project,destination_project,subjects,archive,workers,template\n"
        "a,P,Q,001;002,yes,2,\n"
        "b,P,Q,,,,share\n"
    )
    one, two = read_campaign(path)
    assert one.options.subjects == ("001", "002") and one.options.archive and one.options.workers == 2
    assert (two.template, two.options.subjects) == ("share", ())
    path.write_text('Name;source_project ;destination_project;subjects\na;P;Q;"001;002"\n;;;\n')
    (one,) = read_campaign(path)
    assert (one.name, one.options.subjects) == ("a", ("001", "002"))
    path.write_text("source_project,source_project,destination_project\nP,R,Q\n")
    with pytest.raises(InputError, match="more than one column source_project"):
        read_campaign(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("transfers: []\n", "holds no transfer"),
        ("- a\n- b\n", "not of the form"),
        ("transfers: [{source_project: P, destination_project: Q}]\nother: 1\n", "not of the form"),
        ("transfers: [{source_project: P}]\n", "'destination_project' is required"),
        ("transfers: [{source_project: P, destination_project: Q, sesions: [a]}]\n", "no parameter 'sesions'"),
        ("transfers: [{source_project: P, destination_project: Q, subjects: [1]}]\n", "lost its zeros"),
        ("transfers: [{source_project: P, destination_project: Q, template: nightly}]\n", "no template 'nightly'"),
        ("transfers: [{source_project: P, destination_project: Q, name: ../x}]\n", "its name may hold"),
        ("transfers: [{source_project: P, destination_project: Q, name: x}, "
         "{source_project: P, destination_project: Q, name: x}]\n", "two transfers have this name"),
        ("transfers: [", "is not YAML"),
    ],
)  # fmt: skip
def test_a_campaign_that_is_wrong_anywhere_is_not_begun(tmp_path, capsys, text, words):
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_campaign(path)
    root = tmp_path / "records"
    assert invoke(["campaign", str(path), "--record-root", str(root)]) == ExitCode.BAD_INPUT
    assert not root.exists() and words in capsys.readouterr().err


def test_two_campaigns_in_one_folder_are_kept_apart(tmp_path):
    from filelock import FileLock

    path = written(tmp_path, {"name": "a", **BOTH})
    with FileLock(tmp_path / f".{INDEX}.lock"), pytest.raises(TransientError, match="being run"):
        run_campaign(read_campaign(path), tmp_path)


def test_the_index_is_shown_without_running_anything(tmp_path, capsys):
    path = written(tmp_path, {"name": "a", **BOTH})
    assert invoke(["campaign", str(path), "--record-root", str(tmp_path), "--list"]) == ExitCode.BAD_INPUT
    assert "No campaign was run" in capsys.readouterr().err
    (tmp_path / INDEX).write_text(",".join(COLUMNS) + "\n2026-01-01T00:00:00+00:00,a,transfer,P,Q,proved,0,5,rec,\n")
    assert invoke(["campaign", str(path), "--record-root", str(tmp_path), "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["transfers"][0]["record"] == "rec"
