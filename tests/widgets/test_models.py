"""The guided transfer from Python, without a browser: its steps, what withdraws what, and the record."""

from __future__ import annotations

import json
import threading

import bagit
import nbformat
import pytest
from roads import DESTINATION, SOURCE, writes

from xnbtransfer.errors import InputError, LoginError, RefusedError
from xnbtransfer.record import open_record
from xnbtransfer.widgets import GuidedTransfer, RunState
from xnbtransfer.widgets.steps import NAMES, StepState

FIRST, SECOND = ("001", "001_MR1"), ("001", "001_MR2")
TAKEN, WAITING = ("002", "002_MR1"), ("004", "004_PET1")


def test_a_whole_transfer_from_connect_to_record(road):
    transfer = road.to("record")
    transfer.confirm()
    assert transfer.step == "move" and transfer.record is not None
    transfer.confirm()
    assert transfer.confirmed == NAMES
    record = open_record(transfer.record)
    assert record.summary["exit_code"] == 0
    assert record.summary["verdicts"]["changed as explained"] == 130
    assert (record.data / "pictures" / "verdicts.png").read_bytes().startswith(b"\x89PNG")
    assert bagit.Bag(str(transfer.record)).is_valid()


def test_the_notebook_of_the_record_tells_the_story_without_widgets(road):
    transfer = road.to("record")
    transfer.confirm()
    path = open_record(transfer.record).notebook
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    text = path.read_text()
    assert "widget-view" not in text and not notebook.metadata.get("widgets")
    told = "".join(str(out.data.get("text/plain")) for cell in notebook.cells for out in cell.get("outputs", ()))
    for word in (SOURCE, road.destination, "001_MR1", "all proved", "Findings", transfer.made.fingerprint):
        assert word in told, word
    assert {"image/png"} & {mime for cell in notebook.cells for out in cell.get("outputs", ()) for mime in out.data}
    password = road.server.accounts[road.role][1]
    assert not [one for one in transfer.record.rglob("*") if one.is_file() and password.encode() in one.read_bytes()]


def test_nothing_is_written_before_the_run(road):
    before = len(writes(road.server))
    road.to("run")
    assert [one["path"] for one in writes(road.server)[before:] if road.destination not in one["path"]] == []


def test_each_step_says_what_is_missing(reading_road):
    transfer = GuidedTransfer(reading_road.root)
    assert transfer.blockers("connect") == ["Not connected to the source.", "Not connected to the destination."]
    with pytest.raises(RefusedError, match="Not connected to the source"):
        transfer.confirm()
    assert [transfer.state(name) for name in NAMES[:2]] == [StepState.BLOCKED, StepState.WAITING]
    transfer = reading_road.to("connect")
    transfer.confirm()
    assert transfer.blockers("choose") == ["No source project is chosen.", "No destination project is chosen."]
    transfer.choose_project("source", SOURCE)
    transfer.choose_project("destination", SOURCE)
    assert "the same project" in transfer.blockers("choose")[0]
    transfer.choose_project("destination", DESTINATION)
    assert transfer.blockers("choose") == ["No session is selected."]
    with pytest.raises(RefusedError, match="'Choose' is not confirmed"):
        transfer.confirm("compare")


def test_a_wrong_password_is_a_sentence_of_the_step(reading_road):
    transfer = GuidedTransfer(reading_road.root)
    with pytest.raises(LoginError):
        transfer.connect("source", reading_road.server.url, "mia", "not this one")
    assert "refuses the login" in transfer.problem("connect")
    assert transfer.state("connect") == StepState.FAILED and not transfer.busy
    assert "not this one" not in repr(vars(transfer)["_problems"])


def test_with_the_environment_of_a_hub_it_is_connected_at_once(reading_road, monkeypatch):
    user, password = reading_road.server.accounts["member"]
    for name, value in (("HOST", reading_road.server.url), ("USER", user), ("PASS", password)):
        monkeypatch.setenv(f"XNAT_{name}", value)
    transfer = GuidedTransfer(reading_road.root)
    transfer.connect_from_environment()
    assert set(transfer.connections) == {"source", "destination"}
    assert transfer.blockers("connect") == []


def test_records_go_where_a_hub_keeps_them(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTERHUB_ROOT_DIR", str(tmp_path))
    assert GuidedTransfer().option("record_root") == str(tmp_path / "xnbtransfer-records")


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda transfer: transfer.select([FIRST]), "connect"),
        (lambda transfer: transfer.set(scan_types=("T1w",)), "connect"),
        (lambda transfer: transfer.set(existing="stop"), "connect choose"),
        (lambda transfer: transfer.relabel({FIRST: {"to_session": "A"}}), "connect choose compare"),
        (lambda transfer: transfer.set(archive=True), "connect choose compare labels"),
        (lambda transfer: transfer.set(reason="ticket 17"), "connect choose compare labels"),
    ],
)
def test_a_later_change_withdraws_what_was_confirmed_after_it(reading_road, change, left):
    transfer = reading_road.to("plan")
    version = transfer.version
    change(transfer)
    assert transfer.confirmed == tuple(left.split())
    assert transfer.version > version
    assert transfer.state(transfer.step) != StepState.WAITING


def test_setting_what_is_set_already_withdraws_nothing(reading_road):
    transfer = reading_road.to("plan")
    transfer.set(archive=False, reason="", existing="skip", workers=4)
    transfer.relabel({FIRST: {"to_session": FIRST[1]}})
    transfer.select([FIRST, SECOND])
    assert transfer.confirmed == NAMES[: NAMES.index("plan")]


def test_after_the_run_has_begun_nothing_before_it_changes(road):
    transfer = road.to("verify")
    for change in (lambda: transfer.select([]), lambda: transfer.set(workers=2), lambda: transfer.connect("source")):
        with pytest.raises(RefusedError, match="has begun"):
            change()
    assert transfer.confirmed == NAMES[: NAMES.index("verify")]


def test_labels_are_checked_at_once_and_cell_by_cell(reading_road):
    transfer = reading_road.to("labels", sessions=("001_MR1", "001_MR2", "002_MR1"))
    transfer.relabel({FIRST: {"to_session": "a b"}, SECOND: {"to_session": "002_mr1"}})
    notes = transfer.label_notes()
    assert "does not take" in notes[FIRST]["to_session"]
    assert "only by case" in notes[SECOND]["to_session"]
    assert "does not take" in transfer.blockers("labels")[0]
    transfer.relabel({FIRST: {"to_session": "X"}, SECOND: {"to_session": "X"}})
    assert "goes to X, too" in transfer.label_notes()[FIRST]["to_session"]
    assert transfer.blockers("labels")
    transfer.relabel_all({FIRST: {"to_session": "V001"}})
    assert transfer.label_notes() == {} and transfer.blockers("labels") == []
    transfer.confirm()
    transfer.confirm()
    assert {row.destination_session for row in transfer.made.sessions} == {"V001", "001_MR2", "002_MR1"}


def test_labels_by_rule_and_by_file(reading_road, tmp_path):
    transfer = reading_road.to("labels")
    path = transfer.write_labels(tmp_path / "labels.csv")
    assert path.read_text().splitlines()[1] == "001,001_MR1,001,001_MR1"
    transfer.use_rule("session={subject}-{date}")
    assert transfer.label_table()["to_session"].tolist() == ["001-2024-01-08", "001-2024-07-09"]
    transfer.read_labels(path)
    assert transfer.labels == {}


def test_a_conflict_is_told_in_words_and_decided(reading_road):
    transfer = reading_road.to("compare", sessions=("001_MR1", "002_MR1", "004_PET1"))
    assert transfer.counts()["conflict"] == 2
    words, because, server = transfer.met(TAKEN)[0]
    assert words == "label: other study" and "taken by another study" in because and "XNAT" in server
    assert transfer.choices(TAKEN) == ["skip", "rename", "stop"]
    with pytest.raises(InputError, match="Choose skip, rename, stop"):
        transfer.decide(TAKEN, "merge")
    transfer.decide(TAKEN, "rename")
    assert transfer.decided()[TAKEN] == "rename to 002_MR1_2"
    assert transfer.compared().set_index("session")["status"]["002_MR1"] == "only source"
    transfer.decide(WAITING, "skip")
    for _ in range(3):
        transfer.confirm()
    actions = {row.session: (row.action, row.destination_session) for row in transfer.made.sessions}
    assert actions["002_MR1"] == ("copy", "002_MR1_2") and actions["004_PET1"][0] == "skip"
    transfer.decide(TAKEN, "")
    assert transfer.confirmed == ("connect", "choose") and transfer.labels == {}


def test_the_label_of_a_renamed_session_can_be_edited_further(reading_road):
    transfer = reading_road.to("compare", sessions=("002_MR1",))
    transfer.decide(TAKEN, "rename", "B")
    transfer.relabel({TAKEN: {"to_session": "C"}})
    assert transfer.decided() == {TAKEN: "rename to C"}
    transfer.relabel_all({})
    assert transfer.decided() == {}


def test_a_decision_to_stop_is_a_blocker_in_words(reading_road):
    transfer = reading_road.to("compare", sessions=("001_MR1", "002_MR1"))
    transfer.decide(TAKEN, "stop")
    transfer.confirm()
    transfer.confirm()
    assert "002/002_MR1" in transfer.blockers("review")[0]
    assert transfer.state("review") == StepState.BLOCKED


def test_somebody_without_rights_is_stopped_at_the_review(reading_road):
    reading_road.role = "collaborator"
    transfer = reading_road.to("review")
    assert any("may not create" in sentence for sentence in transfer.blockers("review"))


def cut_off(road, transfer):
    """Start a run and cancel it once its first scan is sent; returns its runner."""
    seen = threading.Event()

    def cut() -> None:  # in the run's own thread, before it begins the next scan
        if runner.progress().files and not seen.is_set():
            transfer.cancel()
            seen.set()

    road.server.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 0.5}])
    runner = transfer.start()
    runner.on_change(cut)
    assert seen.wait(120)
    return runner


def test_cancelled_and_gone_on_with(road):
    transfer = road.to("run", workers=1)
    runner = cut_off(road, transfer)
    runner.wait(60)
    assert runner.state == RunState.CANCELLED
    progress = transfer.progress()
    assert 0 < progress.files < progress.all_files
    assert progress.failed == 0 and "failed" not in progress.sentence(), "nothing went wrong"
    states = {state for state, *_ in progress.sessions.values()}
    assert "unfinished" in states and states <= {"unfinished", "in prearchive"}
    assert transfer.result.exit_code == 6
    transfer.run()
    assert runner.state == RunState.FINISHED
    assert transfer.progress().files == transfer.progress().all_files == 130
    assert transfer.result.exit_code == 0


def test_a_transfer_that_was_cut_off_is_picked_up(road):
    first = road.to("run", workers=1)
    cut_off(road, first)
    first.runner.wait(60)
    first.workspace.lock.release()  # as when its process is gone
    second = road.connected()
    found = second.unfinished()
    assert found["source"].tolist() == [SOURCE] and found["state"].tolist() == ["cut off"]
    second.pick_up(found["transfer"][0])
    assert second.step == "run" and second.made.fingerprint == first.made.fingerprint
    second.run()
    for _ in range(4):
        second.confirm()
    assert open_record(second.record).summary["exit_code"] == 0
    assert len(second.unfinished()) == 0


def test_a_transfer_that_goes_on_elsewhere_is_not_taken(road):
    first = road.to("run")
    first.start()
    first.runner.wait(60)
    second = road.connected()
    with pytest.raises(RefusedError, match="another process"):
        second.pick_up(second.unfinished()["transfer"][0])
    assert second.made is None and second.step == "connect"
    assert len(second.unfinished()) == 1


def test_approving_another_plan_leaves_the_cut_off_one_readable(road):
    first = road.to("run", workers=1)
    cut_off(road, first)
    first.runner.wait(60)
    first.workspace.lock.release()
    second = road.to("plan", workers=1)
    second.confirm()
    assert second.workspace.folder != first.workspace.folder
    given_up = json.loads((first.workspace.folder / "given-up.json").read_text())
    assert "another plan" in given_up["reason"]


def test_what_waits_in_the_prearchive_is_archived_and_proved_again(road):
    transfer = road.to("finish")
    assert transfer.waiting()["session"].tolist() == ["001_MR1", "001_MR2"]
    transfer.archive()
    assert transfer.archived["state"].tolist() == ["archived", "archived"]
    assert transfer.waiting().empty
    assert transfer.outcome().counts["changed as explained"] == 130
    transfer.confirm()
    transfer.confirm()
    summary = open_record(transfer.record).summary
    assert summary["sessions"] == {"archived": 2} and summary["exit_code"] == 0


def test_one_thing_at_a_time(reading_road):
    transfer = reading_road.to("connect")
    with transfer.working("connect", "reading"), pytest.raises(RefusedError, match="Still reading"):
        transfer.confirm()
    assert transfer.busy == ""


def test_nothing_changes_below_what_is_being_made(reading_road):
    """A plan that is being made would not have what was changed meanwhile, and be approved without it."""
    transfer = reading_road.to("labels")
    told = []

    def change(_) -> None:
        if transfer.busy == "looking at headers" and not told:
            told.append(transfer.step)
            with pytest.raises(RefusedError, match="Still looking at headers"):
                transfer.set(archive=True)
            with pytest.raises(RefusedError, match="Still looking at headers"):
                transfer.relabel({FIRST: {"to_session": "OTHER"}})

    transfer.observe(change, "version")
    transfer.confirm()
    assert told == ["review"], "a step is shown together with what is done for it"
    assert not transfer.option("archive") and not transfer.made.transfer_options.archive and not transfer.labels
    transfer.set(archive=True)
    assert transfer.made.transfer_options.archive


def test_no_step_is_shown_as_idle_before_its_work_begins(reading_road):
    transfer = reading_road.to("labels")
    seen = []
    transfer.observe(lambda _: seen.append((transfer.step, transfer.busy)), "version")
    transfer.confirm()
    assert seen[0] == ("review", "looking at headers")


def test_what_is_not_a_parameter_of_the_guide_is_refused(reading_road):
    transfer = reading_road.to("connect")
    with pytest.raises(InputError, match="'password' is not set here"):
        transfer.set(password="x")
    with pytest.raises(InputError):
        transfer.set(workers="many")
    assert transfer.option("workers") == 4


@pytest.mark.parametrize(
    ("given", "hub", "words"),
    [("", False, ""), ("", True, "48 h 00 min"), ("3", False, "3 h 00 min"), ("0", True, ""), ("60", True, "")],
)
def test_a_run_longer_than_the_hub_lives_is_said_beforehand(reading_road, monkeypatch, given, hub, words):
    transfer = reading_road.to("plan")
    estimate = transfer.made.estimate | {"seconds": 50 * 3600}
    transfer.made = transfer.made.model_copy(update={"estimate": estimate})
    monkeypatch.setenv("XNBTRANSFER_HUB_LIFETIME_H", given)
    if hub:
        monkeypatch.setenv("JUPYTERHUB_ROOT_DIR", "/workspace/somebody")
    found = transfer.lifetime_warning()
    assert words in found and bool(words) == bool(found)
    assert not words or "Go on with" in found


def test_other_ways_are_named_on_one_server_and_results_are_carried_if_asked(reading_road):
    from xnbtransfer.widgets import Guide

    transfer = reading_road.to("review", resources=("MRIQC",))
    assert "templates/share.ipynb" in transfer.other_ways()[0]
    guide = Guide(transfer=transfer)
    assert {one.resource for one in transfer.made.resources if one.action != "leave"} == {"MRIQC"}
    transfer.show("choose")
    assert guide.page.resources.value == "MRIQC" and "without a copy" in guide.page.other.value
    guide.page.resources.value = ""
    assert transfer.option("resources") == () and transfer.confirmed == ("connect",)


def test_a_policy_is_named_on_the_page(reading_road, tmp_path):
    from xnbtransfer.widgets import Guide

    policy = tmp_path / "policy.yaml"
    policy.write_text("format: 1\nprojects:\n  '*':\n    rules: {D14: note}\n")
    transfer = reading_road.to("review")
    guide = Guide(transfer=transfer)
    guide.page.policy.value = str(policy)
    guide.wait()
    assert transfer.option("policy") == str(policy) and transfer.made.options["policy"] == str(policy)
