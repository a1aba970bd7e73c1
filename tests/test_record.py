"""Records: whole, checkable by anybody, without secrets, and picked up again when a run was cut off."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import bagit
import nbformat
import pytest
from results import a_plan, a_result, options

from xnbtransfer.cli import invoke
from xnbtransfer.errors import InputError, RefusedError
from xnbtransfer.journal import Journal
from xnbtransfer.record import (
    UNFINISHED,
    close_record,
    list_records,
    open_record,
    open_workspace,
    seal,
    secrets_in_use,
)


@pytest.fixture(autouse=True)
def no_logins(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("XNAT_", "XNBTRANSFER_")):
            monkeypatch.delenv(name)


def notebook(path: Path, *outputs: str) -> Path:
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text=text) for text in outputs])
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), cell])
    made.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    made.metadata["papermill"] = {"input_path": "/home/somebody/templates/transfer.ipynb", "output_path": str(path)}
    nbformat.write(made, path)
    return path


def closed(tmp_path, *verdicts, **values):
    workspace = open_workspace(options(record_root=str(tmp_path / "records"), **values), "transfer")
    made = workspace.keep(a_plan())
    Journal.open(workspace.folder / "journal.jsonl", made.fingerprint).close()
    close_record(workspace, made, a_result(*(verdicts or ("equal",))))
    return workspace


def sealed(tmp_path, *verdicts, **values) -> Path:
    workspace = closed(tmp_path, *verdicts, **values)
    notebook(workspace.folder / "notebook.ipynb", "all is well\n")
    return seal(workspace)


def test_a_record_is_a_bag_that_others_tools_check(tmp_path):
    path = sealed(tmp_path)
    assert bagit.Bag(str(path)).validate()
    found = open_record(path)
    assert found.summary["exit_code"] == 0
    assert found.summary["verdicts"]["equal"] == 1
    assert found.summary["source"]["user"] == "mia"
    assert found.plan() == found.plan()
    assert list(found.table("files")["path"]) == ["0.dcm"]
    assert list(found.table("crosswalk")["subject"]) == ["001"]
    names = {one.name for one in found.data.iterdir()}
    assert names >= {"notebook.ipynb", "record.html", "plan.json", "journal.jsonl", "files.csv", "versions.txt"}
    assert not {name for name in names if name.endswith((".lock", ".part"))}
    assert "Transfer-By: mia" in (path / "bag-info.txt").read_text()
    assert "Transfer-Result: all proved (exit code 0)" in (path / "bag-info.txt").read_text()
    assert not [one for one in path.rglob("*") if one.is_file() and one.stat().st_mode & stat.S_IWUSR]
    assert not [one for one in path.parent.iterdir() if one != path]


def test_the_pages_need_nothing_from_elsewhere(tmp_path):
    found = open_record(sealed(tmp_path))
    page = found.page.read_text()
    assert "all is well" in page
    assert "<script" not in page.lower()
    assert not [word for word in ("src=", "@import", "url(", "<link") if word in page]
    kept = json.loads(found.notebook.read_text())
    assert "widgets" not in kept["metadata"]
    assert kept["metadata"]["papermill"]["input_path"] == "transfer.ipynb"
    assert str(tmp_path) not in found.notebook.read_text()


def change(path: Path) -> None:
    path.chmod(0o600)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"equal", b"equaI", 1) if b"equal" in data else data[:-1] + b"x")


@pytest.mark.parametrize(
    "name", ["bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt", "data/files.csv"]
)
def test_one_lost_file_is_found(tmp_path, name):
    path = sealed(tmp_path)
    (path / name).unlink()
    with pytest.raises(InputError, match="no record" if name == "bagit.txt" else "changed after it was sealed"):
        open_record(path)


@pytest.mark.parametrize("name", ["notes.txt", "fetch.txt", "data/notes.txt"])
def test_one_added_file_is_found(tmp_path, name):
    path = sealed(tmp_path)
    (path / name).write_text("https://xnat.example.org/x 1 data/x\n" if name == "fetch.txt" else "x")
    with pytest.raises(InputError, match="changed after it was sealed"):
        open_record(path)


@pytest.mark.parametrize("name", ["files.csv", "summary.json", "notebook.ipynb", "plan.json", "journal.jsonl"])
def test_one_changed_letter_is_found(tmp_path, name):
    path = sealed(tmp_path)
    change(path / "data" / name)
    with pytest.raises(InputError, match=f"changed after it was sealed.*{name}"):
        open_record(path)


def test_lost_and_added_files_and_a_changed_manifest_are_found(tmp_path):
    path = sealed(tmp_path)
    (path / "data" / "new.txt").write_text("x")
    with pytest.raises(InputError, match=r"new\.txt was added"):
        open_record(path)
    (path / "data" / "new.txt").unlink()
    open_record(path)
    change(path / "bag-info.txt")
    with pytest.raises(InputError, match="bag-info"):
        open_record(path)
    path = sealed(tmp_path)
    (path / "data" / "extra.csv").unlink()
    with pytest.raises(InputError, match=r"extra\.csv"):
        open_record(path)
    with pytest.raises(InputError, match="is no record"):
        open_record(tmp_path)


@pytest.mark.parametrize("word", ["Hunter2-is-mine", "p?ss w%rd/é", "tiny"])
def test_a_password_in_a_record_is_never_sealed(tmp_path, monkeypatch, word):
    monkeypatch.setenv("XNAT_DESTINATION_USER", "mia")
    monkeypatch.setenv("XNAT_DESTINATION_PASS", word)
    workspace = closed(tmp_path)
    notebook(workspace.folder / "notebook.ipynb", f"logged in with {word}\n")
    with pytest.raises(RefusedError, match="password or token") as caught:
        seal(workspace)
    assert word not in str(caught.value)
    assert workspace.folder.exists()
    assert len(list(workspace.folder.parent.glob("[!.]*"))) == 1
    workspace.close()


def test_secrets_are_passwords_and_alias_tokens_but_not_a_user_name_used_as_password():
    token = "0b1c2d3e-1111-2222-3333-444455556666"
    found = secrets_in_use({"XNAT_USER": token, "XNAT_PASS": "x1", "XNAT_SOURCE_USER": "a", "XNAT_SOURCE_PASS": "a"})
    assert token in found and "x1" in found and "a" not in found


def test_logins_in_addresses_are_redacted(tmp_path):
    workspace = closed(tmp_path)
    notebook(workspace.folder / "notebook.ipynb", "https://mia:Geheim77@xnat.example.org JSESSIONID=ABC123\n")
    text = open_record(seal(workspace)).notebook.read_text()
    assert "Geheim77" not in text and "ABC123" not in text


def test_a_run_that_was_cut_off_is_picked_up_with_its_plan(tmp_path):
    chosen = options(record_root=str(tmp_path))
    first = open_workspace(chosen, "transfer")
    assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
    other = open_workspace(chosen, "transfer")
    assert other.folder != first.folder  # the first is locked
    other.give_up("the world changed", 5)
    other.close()
    assert first.kept_plan() is None
    made = first.keep(a_plan())
    assert first.kept_plan() is None  # nothing was begun, so a new plan is better
    Journal.open(first.folder / "journal.jsonl", made.fingerprint).close()
    first.close()
    assert open_workspace(options(record_root=str(tmp_path), archive=True), "transfer").folder != first.folder
    again = open_workspace(chosen, "transfer")
    assert again.folder == first.folder
    assert again.resumed and again.kept_plan() == made
    again.close()
    states = dict(zip(list_records(tmp_path)["record"], list_records(tmp_path)["state"], strict=True))
    assert states[first.folder.name] == "unfinished"
    assert states[other.folder.name] == "given up"


def test_another_server_in_the_environment_is_another_run(tmp_path, monkeypatch):
    first = open_workspace(options(record_root=str(tmp_path)), "transfer")
    first.close()
    monkeypatch.setenv("XNAT_HOST", "https://other.example.org")
    second = open_workspace(options(record_root=str(tmp_path)), "transfer")
    second.close()
    assert first.folder != second.folder


def test_what_is_not_finished_is_not_sealed_and_nothing_is_overwritten(tmp_path):
    workspace = open_workspace(options(record_root=str(tmp_path / "records")), "transfer")
    with pytest.raises(InputError, match="did not end"):
        seal(workspace)
    workspace.close()
    workspace = closed(tmp_path / "two")
    (workspace.folder.parent / workspace.name).mkdir()
    with pytest.raises(RefusedError, match="never overwritten"):
        seal(workspace)
    with pytest.raises(InputError, match="did not end"):
        open_record(workspace.folder)
    workspace.close()


def test_a_dry_run_is_a_record_of_the_plan(tmp_path, capsys):
    workspace = open_workspace(options(record_root=str(tmp_path), dry_run=True), "transfer")
    summary = close_record(workspace, a_plan(), None)
    assert summary["result"] == "plan only (dry run)"
    workspace.close()
    assert invoke(["seal", str(workspace.folder)]) == 0
    assert "Next: Review the plan in the record, then run again without --dry-run" in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    found = open_record(path)
    assert "verdicts" not in found.summary
    assert list(found.table("plan")["action"]) == ["copy"]


def test_records_are_listed_newest_first(tmp_path):
    sealed(tmp_path)
    sealed(tmp_path, "different")
    found = list_records(tmp_path / "records")
    assert sorted(found["exit_code"]) == ["0", "3"]
    assert set(found["state"]) == {"sealed"}
    assert list(found["record"]) == sorted(found["record"], reverse=True)
    assert not [one for one in (tmp_path / "records").iterdir() if one.name.endswith(UNFINISHED)]
    with pytest.raises(InputError):
        list_records(tmp_path / "nowhere")


def test_the_digests_that_tables_name_are_those_of_the_files(tmp_path):
    import hashlib
    import re

    from xnbtransfer import html

    workspace = open_workspace(options(record_root=str(tmp_path)), "transfer")
    result = a_result(*(["cannot be proved"] * 2300 + ["equal"]))
    close_record(workspace, a_plan(), result)
    shown = html.verdict(a_plan(), result).text + html.verdict(a_plan(), a_result("equal")).text
    named = re.findall(r"([\w-]+\.csv), SHA-256 ([0-9a-f]{64})", shown)
    assert ("files.csv", hashlib.sha256((workspace.folder / "files.csv").read_bytes()).hexdigest()) in named
    workspace.close()
