"""A run is paused, resumed, cancelled, slowed, tried on a pilot and taken in batches, and nothing is lost by it."""

from __future__ import annotations

import datetime
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some
from roads import again, as_, copy, make_plan, options, writes

from xnbtransfer.claims import claim
from xnbtransfer.cli import invoke
from xnbtransfer.control import PAUSE, STOP, Control, State, window_open
from xnbtransfer.errors import ExitCode, HeldError, OptionsError
from xnbtransfer.journal import JOURNAL
from xnbtransfer.server import running
from xnbtransfer.streams import Pace
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict


@pytest.fixture
def demo():
    with running(demo=True) as server:
        yield server


def carried(server, folder, on_event, control=None, **values):
    """A copy with somebody who is told each event; returns (plan, result)."""
    with as_(server) as source, as_(server) as destination:
        made = make_plan(source, destination, options(**values))
        return made, run(made, source, destination, folder=folder, on_event=on_event, control=control)


def proved(result) -> bool:
    return result.exit_code is ExitCode.PROVED and not result.counts[Verdict.DIFFERENT]


def test_a_paused_run_begins_nothing_and_goes_on_where_it_was(demo, tmp_path):
    control, seen, held = Control(), [], threading.Event()

    def told(event):
        seen.append((event.kind, event.name))
        if (event.kind, event.name) == ("scan", "sent") and not held.is_set():
            control.pause()
        if event.name == "paused":
            held.set()

    def wake():
        assert held.wait(60)
        deadline = time.monotonic() + 60
        before = -1
        while before != len(writes(demo)):  # what was in flight comes to its end
            assert time.monotonic() < deadline
            before = len(writes(demo))
            time.sleep(1.0)
        quiet.append(before)
        control.resume()

    quiet: list[int] = []
    waker = threading.Thread(target=wake)
    waker.start()
    made, result = carried(demo, tmp_path, told, control, archive=True, workers=2)
    waker.join()
    assert proved(result)
    assert seen.index(("run", "paused")) < seen.index(("run", "resumed"))
    assert quiet and quiet[0] < len(writes(demo))


def test_a_cancelled_run_is_completed_by_the_next(demo, tmp_path):
    control = Control()

    def told(event):
        if (event.kind, event.name) == ("scan", "sent"):
            control.cancel()

    made, result = carried(demo, tmp_path, told, control, archive=True, workers=1)
    assert result.exit_code is ExitCode.TRANSIENT and result.problems
    sent = sum(entry["path"].endswith("/import") for entry in writes(demo))
    assert 0 < sent < sum(len(session.sent_scans) for session in made.sessions)
    assert proved(again(demo, made, tmp_path))
    total = sum(entry["path"].endswith("/import") for entry in writes(demo))
    assert total == sum(len(session.sent_scans) for session in made.sessions if session.action == "copy")


def test_another_process_pauses_resumes_and_cancels_by_the_command_line(demo, tmp_path, capsys):
    held = threading.Event()
    asked: list[int] = []

    def told(event):
        if (event.kind, event.name) == ("scan", "sent") and not asked:
            asked.append(invoke(["pause", str(tmp_path)]))
        if event.name == "paused":
            held.set()

    def wake():
        assert held.wait(60)
        asked.append(invoke(["cancel", str(tmp_path)]))

    waker = threading.Thread(target=wake)
    waker.start()
    made, result = carried(demo, tmp_path, told, archive=True, workers=1)
    waker.join()
    assert asked == [0, 0] and result.exit_code is ExitCode.TRANSIENT
    assert not (tmp_path / STOP).exists()
    assert (tmp_path / PAUSE).exists() and invoke(["resume", str(tmp_path)]) == 0
    assert proved(again(demo, made, tmp_path))
    assert "goes on" in capsys.readouterr().out


def test_a_run_that_has_ended_is_neither_paused_nor_cancelled_and_the_next_is_not_met_by_it(demo, tmp_path, capsys):
    made, result = carried(demo, tmp_path, None, archive=True)
    assert proved(result)
    for word in ("pause", "cancel"):
        assert invoke([word, str(tmp_path)]) == ExitCode.BAD_INPUT
        assert "No run is going on" in capsys.readouterr().err
    assert not (tmp_path / STOP).exists() and not (tmp_path / PAUSE).exists()
    assert proved(again(demo, made, tmp_path))


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert invoke(["pause", str(tmp_path)]) == ExitCode.BAD_INPUT
    assert "not the folder of a run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@given(some.lists(some.sampled_from(["pause", "resume", "cancel"]), max_size=6))
def test_the_last_wish_counts_and_a_cancelled_run_stays_so(wishes):
    control = Control()
    for wish in wishes:
        getattr(control, wish)()
    last = "cancel" if "cancel" in wishes else wishes[-1] if wishes else "resume"
    assert control.state is {"pause": State.PAUSED, "resume": State.RUNNING, "cancel": State.CANCELLED}[last]


@pytest.mark.parametrize(
    ("window", "clock", "open_"),
    [
        ("", "12:00", True),
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("09:30-17:00", "09:29", False),
        ("09:30-17:00", "12:00", True),
        ("09:30-17:00", "17:00", False),
    ],
)
def test_a_run_window_opens_and_closes_on_its_minute(window, clock, open_):
    now = datetime.datetime.combine(datetime.date(2024, 1, 2), datetime.time.fromisoformat(clock))
    assert window_open(window, now) is open_


def test_outside_its_window_a_run_waits_and_sends_nothing(demo, tmp_path):
    hour = (datetime.datetime.now() + datetime.timedelta(hours=3)).hour
    control = Control()

    def told(event):
        if event.name == "waiting":
            control.cancel()

    window = f"{hour:02d}:00-{(hour + 1) % 24:02d}:00"
    _, result = carried(demo, tmp_path, told, control, run_window=window)
    assert result.exit_code is ExitCode.TRANSIENT and writes(demo) == []


@pytest.mark.parametrize("window", ["22-06", "22:00", "24:00-06:00", "06:00-06:00", "10pm-6am"])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(OptionsError, match="run_window"):
        options(run_window=window)


def test_batches_take_the_project_in_several_runs(demo, tmp_path):
    made, result = copy(demo, tmp_path, archive=True, batch=2)
    wanted = [session.key for session in made.sessions if session.action == "copy"]
    assert result.exit_code is ExitCode.TRANSIENT
    runs = 1
    while result.exit_code is ExitCode.TRANSIENT:
        done = int((result.sessions["state"] == "archived").sum())
        assert done == min(2 * runs, len(wanted))
        result = again(demo, made, tmp_path)
        runs += 1
    assert runs == -(-len(wanted) // 2) and proved(result)


def test_nothing_follows_a_pilot_that_is_not_proved(demo, tmp_path):
    demo.faults([{"fault": "bit-flip-on-store", "method": "POST", "path": "/data/services/import", "times": None}])
    made, result = copy(demo, tmp_path, archive=True, pilot=1)
    first = next(session for session in made.sessions if session.action == "copy")
    touched = {entry["query"].partition("EXPT_LABEL=")[2].partition("&")[0] for entry in writes(demo)} - {""}
    assert first.session == "001_MR1" and touched == {"001_MR1"}
    assert any("pilot" in problem for problem in result.problems)
    demo.faults([])


def test_two_runs_are_never_in_one_session(demo, tmp_path):
    held = claim(demo.url, "DEMO_DESTINATION", "001_MR1")
    made, result = copy(demo, tmp_path, archive=True)
    rows = result.sessions.set_index("session")
    assert "Another run" in rows.loc["001_MR1", "because"] and rows.loc["001_MR1", "state"] == "failed"
    assert set(rows.drop("001_MR1")["state"]) <= {"archived", "skipped", "there already"}
    with pytest.raises(HeldError, match="Another run"):
        claim(demo.url + "/", "DEMO_DESTINATION", "001_MR1")
    held.release()
    assert proved(again(demo, made, tmp_path))


def test_failures_in_a_row_end_the_run_and_one_alone_does_not(demo, tmp_path):
    demo.faults([{"fault": "403", "method": "POST", "path": "/data/services/import"}])
    made, result = copy(demo, tmp_path, failures=2, workers=1)
    tried = {entry["query"].partition("EXPT_LABEL=")[2].partition("&")[0] for entry in writes(demo)}
    assert len(tried) == 2 < len([session for session in made.sessions if session.action == "copy"])
    demo.faults([])
    assert proved(again(demo, made, tmp_path))
    assert (tmp_path / JOURNAL).exists()


@given(some.lists(some.binary(min_size=1, max_size=50), max_size=20))
def test_a_pace_changes_no_byte(chunks):
    assert list(Pace(0)(chunks)) == chunks == list(Pace(1e9)(chunks))


def test_a_pace_holds_all_streams_together_back():
    pace, begun = Pace(1000.0), time.monotonic()
    threads = [threading.Thread(target=lambda: list(pace([b"x" * 100] * 3))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 0.5
