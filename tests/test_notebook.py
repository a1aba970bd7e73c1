"""Templates, run as people run them, against the embedded server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from roads import DECIDED, DESTINATION, SOURCE, as_, writes
from which_xnat import has

from xnbtransfer import server as embedded
from xnbtransfer.cli import invoke
from xnbtransfer.errors import IncompleteError, InputError, LoginError, OptionsError, RefusedError, TransientError
from xnbtransfer.inventory import read_inventory
from xnbtransfer.notebook import CompareOptions, InventoryOptions, VerifyOptions, find_template, run_template
from xnbtransfer.options import TransferOptions
from xnbtransfer.record import list_records, open_record

BOTH = {"source_project": SOURCE, "destination_project": DESTINATION}


@pytest.fixture
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture(scope="module")
def quiet():
    """One server for all tests that write nothing."""
    with embedded.running(demo=True) as server:
        yield server


def logins(server, role: str = "member") -> dict[str, str]:
    user, password = server.accounts[role]
    return {"XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def pictures_of(path: Path) -> list[str]:
    """The texts of the pictures in a notebook, in order; each has a PNG."""
    outputs = [one for cell in nbformat.read(path, as_version=4).cells for one in cell.get("outputs", ())]
    return [one.metadata["image/png"]["alt"] for one in outputs if "image/png" in one.get("data", {})]


def test_the_whole_road_of_records(demo, tmp_path):
    env, root = logins(demo), str(tmp_path)
    decided = {"decisions": DECIDED, "reason": "a test"}
    options = TransferOptions.from_mapping({**BOTH, "archive": True, "record_root": root, **decided})
    path = run_template("transfer", options, env=env)
    found = open_record(path)
    assert found.summary["exit_code"] == 0
    assert found.summary["sessions"]["archived"] >= 5
    with as_(demo, "owner") as connection:
        there = read_inventory(connection, DESTINATION)
    files = found.table("files")
    if has("digests-are-listed"):
        assert set(files["destination_md5"]) <= set(there.files["md5"])
    page, notebook = text_of(found.page), text_of(found.notebook)
    for word in ("a test", "mia", demo.url, SOURCE, "xnbtransfer 0.1", "Conflicts", "all proved", "Keep the record"):
        assert word in page and word in notebook, word
    assert env["XNAT_PASS"] not in page + notebook
    assert "output_type" in notebook and '"error"' not in notebook
    assert f"<p>The record is {path.name}.</p>" in page

    told = pictures_of(found.notebook)
    words = ("sessions and data by month and modality", "on both sides", "Data sent over the run", "Verdicts on")
    assert len(told) == page.count("<img") == page.count(' alt="') == 4
    assert all(word in text for word, text in zip(words, told, strict=True)), told

    before = len(writes(demo))
    for name, options in (
        ("inventory", InventoryOptions.from_mapping({"source_project": SOURCE, "record_root": root})),
        ("compare", CompareOptions.from_mapping({**BOTH, "record_root": root})),
        ("transfer", TransferOptions.from_mapping({**BOTH, "record_root": root, "dry_run": True})),
        ("verify", VerifyOptions.from_mapping({"record": str(path), "record_root": root})),
    ):
        other = open_record(run_template(name, options, env=env))
        assert other.summary["exit_code"] == 0, name
        assert other.summary["template"] == name
    assert other.summary["verdicts"] == found.summary["verdicts"]
    assert len(writes(demo)) == before
    assert len(list_records(root)) == 5


def test_a_result_that_is_not_clean_is_sealed_and_says_so(demo, tmp_path):
    options = TransferOptions.from_mapping(
        {**BOTH, "record_root": str(tmp_path), "proof": "listing", "sessions": ("005_MR1",)}
    )
    found = open_record(run_template("transfer", options, env=logins(demo)))
    assert found.summary["exit_code"] == 4
    notebook = nbformat.read(found.notebook, as_version=4)
    errors = [out for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "error"]
    assert [error.ename for error in errors] == ["IncompleteError"]
    assert len(errors[0].traceback) == 1 and "exit code 4" in errors[0].traceback[0]
    assert "not everything can be proved" in text_of(found.page)


IMPORT = {"method": "POST", "path": "/data/services/import", "times": None}


def test_a_run_that_met_a_bad_day_is_continued_by_the_next(demo, tmp_path):
    options = TransferOptions.from_mapping({**BOTH, "record_root": str(tmp_path), "sessions": ("006_CT1",)})
    demo.faults([{"fault": "503", **IMPORT}])
    with pytest.raises(TransientError, match="not complete") as caught:
        run_template("transfer", options, env=logins(demo))
    assert caught.value.exit_code == 6
    assert str(caught.value).count("Run the same command again") == 1
    (row,) = list_records(tmp_path).to_dict("records")
    assert (row["state"], row["exit_code"]) == ("unfinished", "6")
    demo.faults([])
    found = open_record(run_template("transfer", options, env=logins(demo)))
    assert found.summary["record"] + ".unfinished" == row["record"]
    assert found.summary["exit_code"] == 0


def test_damage_is_sealed_as_what_it_is(demo, tmp_path):
    options = TransferOptions.from_mapping({**BOTH, "record_root": str(tmp_path), "sessions": ("006_CT1",)})
    demo.faults([{"fault": "bit-flip-on-store", **IMPORT}])
    found = open_record(run_template("transfer", options, env=logins(demo)))
    assert found.summary["exit_code"] == 3
    assert found.summary["verdicts"]["different"] >= 1
    assert "differences or failed sessions" in text_of(found.page)


def test_a_world_that_changed_gives_the_run_up_and_the_next_begins_anew(demo, tmp_path):
    options = TransferOptions.from_mapping({**BOTH, "record_root": str(tmp_path), "sessions": ("006_CT1",)})
    demo.faults([{"fault": "503", **IMPORT}])
    with pytest.raises(TransientError):
        run_template("transfer", options, env=logins(demo))
    demo.faults([])
    (folder,) = tmp_path.glob("*.unfinished")
    journal = folder / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:1]))  # as if nothing had been begun
    other = TransferOptions.from_mapping({**BOTH, "record_root": str(tmp_path / "other"), "sessions": ("006_CT1",)})
    run_template("transfer", other, env=logins(demo))
    with pytest.raises(RefusedError, match="no longer as the plan saw"):
        run_template("transfer", options, env=logins(demo))
    assert list(list_records(tmp_path)["state"]) == ["given up"]
    found = open_record(run_template("transfer", options, env=logins(demo)))
    assert found.summary["exit_code"] == 7, "it waits in the prearchive"
    assert found.summary["sessions"] == {"needs a person": 1}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"source_project": "NOWHERE"}, InputError, "sees no project NOWHERE"),
        ({"sessions": ("5_MR1",)}, InputError, "no session '5_MR1'"),
        ({"existing": "stop"}, RefusedError, "blockers"),
        ({"destination_project": SOURCE}, InputError, "same project"),
    ],
)
def test_hard_errors_are_ours_and_the_notebook_is_kept(quiet, tmp_path, changes, kind, words):
    options = TransferOptions.from_mapping({**BOTH, "record_root": str(tmp_path), **changes})
    with pytest.raises(kind, match=words) as caught:
        run_template("transfer", options, env=logins(quiet))
    (folder,) = tmp_path.glob("*.unfinished")
    assert str(folder / "notebook.ipynb") in str(caught.value)
    assert words.split()[-1] in text_of(folder / "notebook.ipynb")
    assert writes(quiet) == []


def test_a_wrong_password_is_a_sentence(quiet, tmp_path):
    options = TransferOptions.from_mapping({**BOTH, "record_root": str(tmp_path)})
    with pytest.raises(LoginError, match="refuses the login"):
        run_template("transfer", options, env={**logins(quiet), "XNAT_PASS": "wrong-password-1"})


def raw(template: str, out: Path, env: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    """What a person types: papermill itself."""
    command = [sys.executable, "-m", "papermill", str(find_template(template)), str(out), "--no-progress-bar", *words]
    return subprocess.run(command, env={**os.environ, **env}, cwd=out.parent, capture_output=True, text=True)


def test_raw_papermill_works_and_its_notebook_is_sealed_afterwards(demo, tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("sessions: ['006_CT1']\ndry_run: false\narchive: true\nrecord_root: records\n")
    env = logins(demo)
    done = raw("transfer", tmp_path / "out.ipynb", env, "-f", str(config))
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert invoke(["seal", "out.ipynb", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    found = open_record(said["path"])
    assert found.summary["parameters"]["sessions"] == ["006_CT1"]
    assert "006_CT1" in text_of(found.notebook)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-p", "sesions", "x"], "There is no parameter 'sesions'"),
        (["-p", "dry_run", "false"], "'dry_run'"),
        (["-y", "sessions: [7]"], "the label 7 is a number"),
        (["-p", "source_project", "007"], "it is a name, never a number"),
        (["-p", "workers", "0"], "'workers'"),
        (["-p", "password", "x"], "looks like a secret"),
    ],
)
def test_mistyped_parameters_stop_raw_papermill(tmp_path, words, sentence):
    done = raw("transfer", tmp_path / "out.ipynb", {"XNAT_HOST": "http://127.0.0.1:9"}, *words)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Did you mean 'sessions'?" in done.stderr or "sesions" not in words
    assert not (tmp_path / "xnbtransfer-records").exists()


def test_a_killed_template_goes_on_where_it_was(demo, tmp_path):
    env, root = logins(demo), tmp_path / "records"
    command = [sys.executable, "-m", "xnbtransfer.cli", "transfer", "--archive", "--workers", "1"]
    command += ["--source-project", SOURCE, "--destination-project", DESTINATION, "--record-root", str(root), "--json"]
    command += ["--decisions", DECIDED]
    first = subprocess.Popen(command, env={**os.environ, **env}, cwd=tmp_path, stdout=subprocess.DEVNULL)
    until = time.time() + 60
    while time.time() < until and not any('"archiving"' in text_of(one) for one in root.glob("*/journal.jsonl")):
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (folder,) = root.glob("*.unfinished")
    time.sleep(2.5)  # the kernel sees that its parent has gone, and ends
    done = subprocess.run(command, env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["record"] == folder.name.removesuffix(".unfinished")
    assert said["resumed"] and said["verdicts"]["different"] == said["verdicts"]["cannot be proved"] == 0
    imports = [entry for entry in writes(demo) if "import" in entry["path"]]
    plan = open_record(said["path"]).plan()
    assert len(imports) <= plan.totals["scans"] + 1


def test_an_interrupt_ends_in_order_and_is_resumed(demo, tmp_path):
    env, root = {**os.environ, **logins(demo)}, tmp_path / "records"
    command = [sys.executable, "-m", "xnbtransfer.cli", "transfer", "--workers", "1", "--record-root", str(root)]
    command += ["--source-project", SOURCE, "--destination-project", DESTINATION, "--decisions", DECIDED]
    demo.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 0.5}])
    first = subprocess.Popen(
        command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs in the background may ignore it
    )  # fmt: skip
    until = time.time() + 60
    while time.time() < until and not any('"sent"' in text_of(one) for one in root.glob("*/journal.jsonl")):
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    demo.faults([])
    assert first.returncode == 6
    assert "Run the same command again" in err and "Traceback" not in out + err
    done = subprocess.run([*command, "--json"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed"]
    imports = [entry for entry in writes(demo) if "import" in entry["path"]]
    assert len(imports) == open_record(json.loads(done.stdout)["path"]).plan().totals["scans"]


def test_nbval_runs_every_template_on_its_defaults(demo, tmp_path):
    """As the continuous integration does it: the cells one by one, with nothing but the environment set."""
    pytest.importorskip("nbval")
    import shutil

    shutil.copytree(find_template("transfer").parent, tmp_path / "templates")
    records = tmp_path / "templates" / "xnbtransfer-records"
    chosen = {**BOTH, "sessions": ("006_CT1",), "archive": True, "record_root": str(records)}
    run_template("transfer", TransferOptions.from_mapping(chosen), env=logins(demo, "owner"))
    before = len(writes(demo))
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:cacheprovider", "-W", "ignore", "."]
    done = subprocess.run(
        command, env={**os.environ, **logins(demo, "owner")}, cwd=tmp_path / "templates", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(writes(demo)) == before


def test_errors_of_a_notebook_keep_their_kind():
    from xnbtransfer.notebook import _as_ours

    assert isinstance(_as_ours("OptionsError", "x", ""), OptionsError)
    assert isinstance(_as_ours("TransientError", "x", ""), TransientError)
    assert isinstance(_as_ours("IncompleteError", "x", ""), IncompleteError)
    assert "ZeroDivisionError" in str(_as_ours("ZeroDivisionError", "by zero", ""))


def test_a_parameter_that_a_template_does_not_offer_is_refused():
    with pytest.raises(OptionsError, match="archive has no meaning here"):
        InventoryOptions.from_mapping({"source_project": "A", "archive": True})
    with pytest.raises(OptionsError, match="no parameter 'recrod'"):
        VerifyOptions.from_mapping({"recrod": "x"})


def test_an_unknown_template_is_a_sentence():
    with pytest.raises(InputError, match="no template 'nothing'"):
        find_template("nothing")


def test_papermill_reads_the_help_of_each_parameter():
    offered = papermill.inspect_notebook(str(find_template("transfer")))
    assert offered["workers"]["help"] == "scans that arrive, and scans that go out, at one time"
    assert offered["sessions"]["inferred_type_name"] == "list"
