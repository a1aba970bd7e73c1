"""The command line: one table of exit codes, sentences and JSON, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from results import a_plan, a_result, options
from roads import DESTINATION, SOURCE, writes

from xnbtransfer import cli, errors, progress
from xnbtransfer import server as embedded
from xnbtransfer.cli import invoke
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan_file import Plan
from xnbtransfer.record import close_record, open_record, open_workspace, seal


@pytest.fixture(scope="module")
def quiet():
    """One server for all tests that write nothing."""
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log_in(monkeypatch, server, role="member"):
    user, password = server.accounts[role]
    for name, value in (("HOST", server.url), ("USER", user), ("PASS", password)):
        monkeypatch.setenv(f"XNAT_{name}", value)


def said(capsys) -> tuple[dict | list, str]:
    """What was printed: the JSON of the standard output, and the standard error."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return json.loads(out), err


def test_every_command_has_help(capsys):
    for name, command in cli.cli.commands.items():
        assert invoke([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert len(command.help) > 20, name
        if name != "serve":
            assert "--json" in shown, name


def test_options_bear_the_names_and_the_help_of_the_parameters():
    found = {option.name: option for option in cli.cli.commands["transfer"].params}
    for name, about in TransferOptions.model_fields.items():
        assert found[name].opts[0] == "--" + name.replace("_", "-")
        assert found[name].help.startswith(about.description)
    rest = {"config", "as_json", "source_", "destination_", "login_provider"}
    assert set(found) - set(TransferOptions.model_fields) == rest


def test_importing_the_command_line_is_quick():
    heavy = ("pandas", "xnat", "papermill", "pydicom")
    code = f"import sys, xnbtransfer.cli; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


RAISED = [
    (errors.InputError("What.", "So."), 2, "What. So."),
    (errors.OptionsError("What."), 2, "What."),
    (errors.LoginError("No."), 2, "No. Check the user name"),
    (errors.JournalError("Of another plan."), 2, "Of another plan."),
    (errors.RefusedError("Blockers."), 5, "Blockers."),
    (errors.TransientError("Time-out."), 6, "Run the same command again"),
    (errors.DiskFullError("Full."), 6, "Free some space"),
    (errors.ServerError("Odd.", status=500), 1, "Odd."),
    (errors.IncompleteError("Not clean.", exit_code=4), 4, "Not clean."),
    (errors.IncompleteError("Not clean."), 3, "Not clean."),
    (KeyboardInterrupt(), 6, "Run the same command again"),
    (OSError(errno.ENOSPC, "No space left on device"), 6, "Free some space"),
    (PermissionError(errno.EACCES, "Permission denied", "x"), 1, "Permission denied"),
    (ZeroDivisionError("by zero"), 1, "Unexpected ZeroDivisionError"),
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("problem", "code", "sentence"), RAISED, ids=lambda value: type(value).__name__)
def test_each_error_has_its_exit_code_and_sentence(here, monkeypatch, capsys, problem, code, sentence, as_json):
    def fail(*_args, **_words):
        raise problem

    monkeypatch.setattr("xnbtransfer.record.list_records", fail)
    assert invoke(["records", ".", *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    assert sentence in err and "Traceback" not in err
    if as_json:
        assert json.loads(out)["exit_code"] == code
    else:
        assert out == ""


RESULTS = [
    (a_result("equal", "changed as explained"), 0),
    (a_result("equal", "different"), 3),
    (a_result("equal", state="failed"), 3),
    (a_result("cannot be proved"), 4),
    (a_result("different", "cannot be proved"), 3),
    (a_result("equal", transient=True, problems=("It was stopped.",)), 6),
    (a_result(), 0),
]


@pytest.mark.parametrize(("result", "code"), RESULTS)
def test_the_exit_code_of_a_run_is_that_of_its_result(here, monkeypatch, capsys, quiet, result, code):
    log_in(monkeypatch, quiet)
    made = a_plan().model_copy(update={"fingerprint": ""})
    monkeypatch.setattr(Plan, "load", classmethod(lambda _cls, _path: made))
    monkeypatch.setattr(cli, "_connections", lambda *_: _nobody())
    monkeypatch.setattr(progress, "follow", lambda _plan, _s, _d, folder, _w: folder.mkdir() or result)
    assert invoke(["run", "plan.json", "--json"]) == code
    answer, _ = said(capsys)
    assert answer["exit_code"] == code and answer["folder"] == "plan.run"
    assert sum(answer["verdicts"].values()) == len(result.files)
    assert json.loads((here / "plan.run" / "summary.json").read_text())["exit_code"] == code


class _nobody:
    def __enter__(self):
        return None, None

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"],
        ["transfer", "--wrokers", "3"],
        ["transfer", "--workers", "three"],
        ["transfer", "--workers", "0", "--source-project", "A", "--destination-project", "B"],
        ["transfer", "--source-project", "A"],
        ["transfer", "--existing", "overwrite"],
        ["transfer", "--source-project", "A", "--destination-project", "B", "--proof", "some"],
        ["transfer", "--source-project", "A", "--destination-project", "B", "--source-server", "https://a:b@c"],
        ["transfer", "--config", "missing.yaml"],
        ["transfer", "--config", "numbers.yaml"],
        ["transfer", "--config", "secret.yaml"],
        ["run", "missing.json"],
        ["run", "cut.json"],
        ["verify", "missing"],
        ["verify", "missing", "--proof", "some"],
        ["records", "missing"],
        ["seal", "missing.ipynb"],
        ["seal", "cut.json"],
        ["inventory"],
        ["inventory", "A", "--date-from", "2024-13-01"],
        ["inventory", "A", "--date-from", "2024-02-01", "--date-to", "2024-01-31"],
        ["plan", "A", "B", "--resources", "session/~["],
        ["plan", "A", "B", "--fields", "note"],
        ["plan", "A", "B", "--fields", "scan/note"],
        ["serve", "--port", "99999"],
        ["serve", "--faults", "missing.json"],
        ["serve", "--faults", "cut.json"],
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(here, capsys, words):
    (here / "numbers.yaml").write_text("source_project: A\ndestination_project: B\nsessions: [001]\n")
    (here / "secret.yaml").write_text("source_project: A\ndestination_project: B\npassword: x\n")
    (here / "cut.json").write_text(a_plan().to_json()[:-20])
    before = sorted(here.iterdir())
    assert invoke([*words, *(["--json"] if words[0] not in ("nothing", "serve") else [])]) == 2
    out, err = capsys.readouterr()
    assert err.strip() and "Traceback" not in err
    assert sorted(here.iterdir()) == before


def test_a_run_without_a_place_for_its_journal_is_a_sentence(here, monkeypatch, capsys, quiet):
    log_in(monkeypatch, quiet)
    (here / "taken").write_text("x")
    assert invoke(["plan", SOURCE, DESTINATION, "--sessions", "001_MR2", "--review", "none"]) == 0
    assert invoke(["run", "plan.json", "--folder", "taken/run"]) == 2
    assert "journal" in capsys.readouterr().err
    assert invoke(["inventory", SOURCE, "--output", "taken/tables"]) == 2


def test_a_plan_that_cannot_be_written_leaves_nothing_and_names_what_was_asked_for(here):
    (here / "taken").mkdir()
    with pytest.raises(OSError) as refused:
        a_plan().save(here / "taken")
    assert refused.value.filename == str(here / "taken") and list(here.iterdir()) == [here / "taken"]


def test_a_config_file_is_read_and_options_win(here, monkeypatch):
    seen = {}

    def stop(name, chosen, **_words):
        seen["options"] = chosen
        raise errors.RefusedError("Enough.")

    monkeypatch.setattr("xnbtransfer.notebook.run_template", stop)
    (here / "c.yaml").write_text("source_project: A\ndestination_project: B\nworkers: 2\nsessions: ['001']\n")
    assert invoke(["transfer", "--config", "c.yaml", "--workers", "8", "--subjects", "007,008", "--subjects", "9"]) == 5
    assert seen["options"] == options(workers=8, sessions=("001",), subjects=("007", "008", "9"))
    for projects in (["--source-project", "A", "--destination-project", "B"], ["A", "B"]):
        assert invoke(["transfer", *projects, "--sessions", "~^0{1,2}", "--no-archive"]) == 5
        assert seen.pop("options") == options(sessions=("~^0{1,2}",))


def test_reading_commands(here, monkeypatch, capsys, quiet):
    log_in(monkeypatch, quiet)
    assert invoke(["inventory", SOURCE, "--subjects", "001", "--output", "tables", "--json"]) == 0
    answer, _ = said(capsys)
    assert {row["subject"] for row in answer["sessions"]} == {"001"}
    assert (here / "tables" / "sessions.csv").exists()
    assert invoke(["diff", SOURCE, f"{quiet.url}/{DESTINATION}", "--json"]) == 3
    answer, _ = said(capsys)
    assert {row["status"] for row in answer["sessions"]} >= {"only source", "conflict"}
    assert invoke(["plan", SOURCE, DESTINATION, "--existing", "stop", "-o", "no.json", "--json"]) == 5
    answer, _ = said(capsys)
    assert answer["blockers"] and (here / "no.json").exists()
    assert invoke(["run", "no.json", "--json"]) == 5
    said(capsys)
    assert invoke(["plan", SOURCE, DESTINATION, "-o", "nowhere/plan.json"]) == 2
    assert invoke(["inventory", "NOWHERE"]) == 2
    assert "sees no project NOWHERE" in capsys.readouterr().err
    monkeypatch.setenv("XNAT_PASS", "wrong-password")
    assert invoke(["inventory", SOURCE, "--json"]) == 2
    answer, err = said(capsys)
    assert answer["error"] == "LoginError" and "wrong-password" not in err
    monkeypatch.setenv("XNAT_HOST", "http://127.0.0.1:9")
    assert invoke(["inventory", SOURCE]) == 6
    assert writes(quiet) == []


def test_plan_run_and_verify(here, monkeypatch, capsys, demo):
    log_in(monkeypatch, demo)
    assert invoke(["plan", SOURCE, DESTINATION, "--sessions", "006_CT1,005_MR1", "--archive"]) == 0
    assert "Plan: 2 of 2 sessions" in capsys.readouterr().out
    assert invoke(["run", "plan.json"]) == 0
    out, err = capsys.readouterr()
    assert "✓ all proved" in out and "plan.run" in err and "006_CT1" in err
    before = len(writes(demo))
    assert invoke(["run", "plan.json", "--json"]) == 0
    assert said(capsys)[0]["writes"] == 0
    assert invoke(["verify", "plan.run", "--json"]) == 0
    assert said(capsys)[0]["verdicts"]["cannot be proved"] == 0
    assert invoke(["verify", "plan.run", "--proof", "listing", "--no-source"]) == 4
    assert len(writes(demo)) == before
    capsys.readouterr()
    assert invoke(["seal", "plan.run", "--json"]) == 0
    path = said(capsys)[0]["path"]
    assert open_record(path).path.name[16:].startswith(f"_run_{SOURCE}-{DESTINATION}_"), path
    assert invoke(["verify", path]) == 0


def test_a_changed_record_is_refused_with_a_sentence(here, capsys):
    workspace = open_workspace(options(record_root="records"), "transfer")
    close_record(workspace, a_plan(), a_result("equal"))
    path = seal(workspace)
    assert invoke(["records", "records", "--json"]) == 0
    assert said(capsys)[0][0]["state"] == "sealed"
    files = path / "data" / "files.csv"
    files.chmod(0o600)
    files.write_text(files.read_text().replace("equal", "EQUAL"))
    assert invoke(["verify", str(path)]) == 2
    assert "files.csv has another content" in capsys.readouterr().err


def test_a_record_of_a_plan_alone_is_whole_and_asks_no_server(here, capsys):
    workspace = open_workspace(options(record_root="records", dry_run=True), "transfer")
    close_record(workspace, a_plan(), None)
    assert invoke(["verify", str(workspace.folder)]) == 2
    assert "Nothing was carried out" in capsys.readouterr().err
    path = seal(workspace)
    assert invoke(["verify", str(path), "--json"]) == 0
    assert said(capsys)[0]["result"] == "as it was sealed"
    (path / "notes.txt").write_text("x")
    assert invoke(["verify", str(path)]) == 2


def test_the_demo(here, capsys):
    assert invoke(["demo", "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert "Files by verdict" in out and "The record is in out/" in out
    assert invoke(["demo", "--output", "out", "--json"]) == 0
    open_record(said(capsys)[0]["path"])
    assert sorted(path.is_dir() for path in (here / "out").iterdir()) == [False, True, True], "decisions, two records"


def test_without_the_demo_extra_there_is_a_sentence(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert invoke(["demo"]) == 2
    assert "pip install 'xnbtransfer[demo]'" in capsys.readouterr().err


def test_the_shell_completes_commands_and_options():
    def offered(*words: str) -> list[str]:
        asked = {"COMP_WORDS": " ".join(["xnbtransfer", *words]), "COMP_CWORD": str(len(words))}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("xnbtransfer"))],
            env={**os.environ, **asked, "_XNBTRANSFER_COMPLETE": "bash_complete"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert offered("tr") == ["transfer"]
    assert "--existing" in offered("transfer", "--ex")
    assert offered("transfer", "--existing", "re") == ["replace", "rename"]
