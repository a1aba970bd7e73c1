"""The run as an object of the kernel: progress adds up, and starting twice starts once."""

from __future__ import annotations

import threading

from roads import as_, make_plan, options

from xnbtransfer.widgets import Progress, Runner, RunState


def test_progress_adds_up_and_a_second_start_does_nothing(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(sessions=("001_MR1", "001_MR2")))
        runner = Runner(made, source, destination, tmp_path)
        seen: list[Progress] = []
        runner.on_change(lambda: seen.append(runner.progress()))
        runner.on_change(lambda: 1 / 0)
        runner.start()
        runner.start()
        result = runner.wait(120)
        assert result.counts["changed as explained"] == 130
        last = runner.progress()
        assert (last.files, last.done, last.failed, last.share) == (130, 2, 0, 1.0)
        assert [one.files for one in seen] == sorted(one.files for one in seen)
        assert all(one.files <= one.all_files and 0 <= one.share <= 1 for one in seen)
        assert {state for state, _, _ in last.sessions.values()} == {"in prearchive"}
        runner.start()
        assert runner.state == RunState.FINISHED


def test_a_paused_run_sends_nothing_until_it_goes_on(demo, tmp_path):
    demo.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 0.2}])
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(sessions=("001_MR1", "005_MR1"), workers=1))
        runner = Runner(made, source, destination, tmp_path)
        sent = threading.Event()
        runner.on_change(lambda: runner.progress().files and sent.set())
        runner.start()
        assert sent.wait(60)
        runner.pause()
        assert runner.state == RunState.PAUSED
        runner.wait(2)
        held = runner.progress()
        runner.wait(1)
        assert runner.progress().files == held.files < held.all_files
        assert held.rate is None and held.left_s is None
        runner.resume()
        assert runner.wait(120).exit_code == 0


def test_what_stops_a_run_is_a_sentence(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(sessions=("001_MR1",)))
        runner = Runner(made, source, destination, tmp_path)
        demo.stop()
        runner.start()
        runner.wait(300)
        assert runner.state in (RunState.FAILED, RunState.FINISHED)
        assert runner.problem or runner.result.exit_code == 6
        demo.start()
