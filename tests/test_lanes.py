"""Steps run side by side: never more than a lane takes, none twice, none lost; and what that means for a run."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import pytest
from archive_kit import Kit
from hypothesis import given, settings
from hypothesis import strategies as some
from people import Person
from roads import as_, make_plan, options

from xnbtransfer.control import Control
from xnbtransfer.errors import ExitCode
from xnbtransfer.lanes import Lanes, Step
from xnbtransfer.progress import read_sides
from xnbtransfer.server import running
from xnbtransfer.server.demo_files import SeriesPlan, make_series
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict


def lanes(most, stopping=lambda: False, held=lambda: False) -> Lanes:
    return Lanes(most, held=held, stopping=stopping, pause=time.sleep)


class Watch:
    """Steps that write down what runs beside what."""

    def __init__(self) -> None:
        self.lock, self.now, self.most, self.done = threading.Lock(), Counter(), Counter(), []

    def step(self, lane: str, name, after=lambda: (), may=lambda: True) -> Step:
        def do() -> None:
            with self.lock:
                self.now[lane] += 1
                self.most[lane] = max(self.most[lane], self.now[lane])
            time.sleep(0.001)
            with self.lock:
                self.now[lane] -= 1
                self.done.append(name)

        return Step(lane, do, after, may)


@settings(deadline=None, max_examples=30)
@given(
    groups=some.lists(some.lists(some.sampled_from(["read", "send", "end"]), max_size=4), max_size=6),
    read=some.integers(1, 3),
    send=some.integers(1, 3),
)
def test_every_step_runs_once_with_what_follows_it_and_no_lane_is_overfull(groups, read, send):
    watch, most = Watch(), {"read": read, "send": send, "end": 1}
    numbers = itertools.count()

    def chain(lane: str) -> Step:
        name = next(numbers)
        return watch.step(lane, name, lambda: [watch.step("end", f"after {name}")])

    planned = [[chain(lane) for lane in group] for group in groups]
    count = next(numbers)
    lanes(most).run(iter(planned))
    assert sorted(map(str, watch.done)) == sorted([*map(str, range(count)), *(f"after {n}" for n in range(count))])
    assert all(watch.done.index(n) < watch.done.index(f"after {n}") for n in range(count))
    assert all(watch.most[lane] <= most[lane] for lane in most)


def test_a_group_is_taken_only_when_its_first_lane_has_room():
    taken, watch, gate = [], Watch(), threading.Event()

    def groups():
        for number in range(4):
            taken.append(number)
            yield [Step("read", gate.wait), watch.step("send", number)]

    def look() -> None:
        while not watch.done:
            time.sleep(0.01)
        time.sleep(0.1)
        seen.append(list(taken))
        gate.set()

    seen: list[list[int]] = []
    looking = threading.Thread(target=look)
    looking.start()
    lanes({"read": 1, "send": 1}).run(groups())
    looking.join()
    assert seen == [[0]]  # it has the room; the others are not even asked for
    assert watch.done == [0, 1, 2, 3]


def test_a_step_waits_until_it_may_and_others_pass_it():
    watch, open_now = Watch(), []
    first = watch.step("read", "kept", may=lambda: bool(open_now))
    other = watch.step("read", "passes", after=lambda: open_now.append(True) or ())
    lanes({"read": 2}).run(iter([[first, other]]))
    assert watch.done == ["passes", "kept"]


def test_what_came_first_is_completed_first():
    watch, second_waits, first_is_read = Watch(), threading.Event(), threading.Event()
    after_first = [watch.step("send", name) for name in ("first 1", "first 2")]
    after_second = [Step("send", first_is_read.wait), watch.step("send", "second 2")]

    def then(steps: list[Step], told: threading.Event):
        told.set()
        return steps

    def groups():
        yield [Step("read", second_waits.wait, lambda: then(after_first, first_is_read))]
        yield [Step("read", lambda: None, lambda: then(after_second, second_waits))]

    lanes({"read": 2, "send": 1}).run(groups())
    assert watch.done == ["first 1", "first 2", "second 2"]


def test_what_runs_is_finished_and_nothing_begins_once_it_is_to_stop():
    watch, stopped = Watch(), []
    steps = [watch.step("read", name, after=lambda: stopped.append(True) or [watch.step("end", "no")]) for name in "ab"]
    lanes({"read": 1, "end": 1}, stopping=lambda: bool(stopped)).run(iter([steps]))
    assert watch.done == ["a"]


def test_what_a_step_raises_ends_the_loop_and_what_runs_beside_it_is_waited_for():
    watch = Watch()

    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        lanes({"read": 2}).run(iter([[watch.step("read", "beside"), Step("read", fails)]]))
    assert watch.done == ["beside"] and not watch.now["read"]


# -- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


@pytest.fixture
def kit(server):
    yield Kit(lambda role: Person(server, role))
    server.faults([])


def carried(server, kit, folder, **values):
    chosen = options(
        source_project=kit.source, destination_project=kit.destination, archive=True, **{"review": "none", **values}
    )
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = make_plan(source, destination, chosen)
        before = len(server.log())
        result = run(made, source, destination, folder=folder)
    return result, server.log()[before:]


def times(log: list[dict], word: str) -> list[tuple[float, float]]:
    """When each request began and ended whose path has ``word``."""
    found = [one for one in log if word in one["path"]]
    return sorted((one["time"], one["time"] + one["ms"] / 1000) for one in found)


@pytest.mark.parametrize("values", [{}, {"sessions": ("S1_MR1",)}])
def test_what_could_be_met_is_asked_for_while_the_files_of_the_source_are_listed(server, kit, values):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=(1, 2))
    kit.put(kit.destination, "S9", "S9_MR1", kit.uid("S1"))
    chosen = options(source_project=kit.source, destination_project=kit.destination, **values)
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        held = f"/data/experiments/{source.sessions(kit.source)[0]['session_id']}/scans/ALL/files"
        server.faults([{"fault": "latency", "path": held, "delay_s": 0.5}])
        before = len(server.log())
        here, there, _ = read_sides(source, destination, chosen)
    log = server.log()[before:]
    asked = [one["path"] for one in log if "/scans/ALL/files" in one["path"] or "UID=" in one["query"]]
    assert len(asked) == 3 and asked[-1] == held  # its answer was held back, and nothing waited for it
    assert list(there.elsewhere["session"]) == ["S1_MR1", "S9_MR1"] and set(there.files["session"]) == {"S9_MR1"}
    assert list(here.sessions["session"]) == ["S1_MR1"]


def test_the_first_scan_is_read_alone_and_the_others_while_it_goes_out(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=range(1, 5))
    server.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 0.3}])
    result, log = carried(server, kit, tmp_path, workers=4)
    assert result.exit_code is ExitCode.PROVED
    reads, sends = times(log, "/resources/DICOM/files"), times(log, "/services/import")
    assert all(begun >= reads[0][1] - 0.002 for begun, _ in reads[1:])
    assert all(begun < sends[0][1] for begun, _ in reads[1:])


def test_scans_arrive_while_others_go_out_and_temporary_disk_is_bounded(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=range(1, 13))
    server.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": 0.3}])
    result, log = carried(server, kit, tmp_path, workers=2)
    assert result.exit_code is ExitCode.PROVED and len(result.files) == 24
    reads, sends = times(log, "/resources/DICOM/files"), times(log, "/services/import")
    assert len(reads) == len(sends) == 12
    first = sends[0]
    assert all(begun >= first[1] - 0.002 for begun, _ in sends[1:])  # a session's first scan goes alone
    assert sum(begun < first[1] for begun, _ in reads) == 4  # as many as workers, twice
    for number, (begun, _) in enumerate(reads):
        assert number - sum(ended <= begun + 0.002 for _, ended in sends) < 4


def odd_scan(kit, number: int) -> None:
    """A scan of another study in S1_MR1, as a person may have filed it there."""
    odd = SeriesPlan(source="MR", number=number, description="odd", count=2)
    where = f"/data/projects/{kit.source}/subjects/S1/experiments/S1_MR1/scans/{number}"
    assert kit.who.put(where, params={"xsiType": "xnat:mrScanData"}).status_code == 200
    labels = {"project": kit.source, "subject": "S1", "session": "S1_MR1"}
    for name, data in make_series(odd, **labels, study_uid=kit.uid("other"), date="20240108"):
        path = f"{where}/resources/DICOM/files/{name}"
        assert kit.who.put(path, params={"inbody": "true", "format": "DICOM"}, data=data).status_code == 200


def refused(result) -> set[str]:
    """The scans that were not sent because they are of another study."""
    rows = result.files[result.files["because"].str.contains("another study")]
    assert set(rows["verdict"]) <= {str(Verdict.DIFFERENT)}
    return set(rows["scan"])


def test_a_scan_of_another_study_is_not_sent(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=(1, 2))
    odd_scan(kit, 3)
    result, log = carried(server, kit, tmp_path, workers=4)
    assert len(times(log, "/services/import")) == 2 and len(times(log, "/resources/DICOM/files")) == 3
    assert refused(result) == {"3"} and result.exit_code is ExitCode.DIFFERENCES


def test_nor_is_it_where_it_was_read_before_the_study_was_known(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=(1, 2))
    odd_scan(kit, 3)
    where = f"/data/projects/{kit.source}/subjects/S1/experiments/S1_MR1/scans/1/resources/DICOM/files"
    for row in kit.who.get(where).json()["ResultSet"]["Result"]:  # the first scan tells nothing
        assert kit.who.put(f"{where}/{row['Name']}", params={"inbody": "true", "overwrite": "true"}, data=b"no DICOM")
    server.faults([{"fault": "latency", "path": "/scans/3/resources/DICOM/files", "delay_s": 0.3}])
    result, log = carried(server, kit, tmp_path, workers=4)
    assert len(times(log, "/services/import")) == 1
    assert refused(result) == {"3"} and result.exit_code is ExitCode.DIFFERENCES


def test_nor_is_it_when_all_others_arrived_in_an_earlier_run(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=(1, 2))
    odd_scan(kit, 3)
    control, sent = Control(), []

    def told(event) -> None:
        if (event.kind, event.name) == ("scan", "sent"):
            sent.append(event.where)
            if len(sent) == 2:
                control.cancel()

    chosen = options(
        source_project=kit.source, destination_project=kit.destination, archive=True, review="none", workers=1
    )
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = make_plan(source, destination, chosen)
        run(made, source, destination, folder=tmp_path, control=control, on_event=told)
        before = len(server.log())
        result = run(made, source, destination, folder=tmp_path)
    assert not times(server.log()[before:], "/services/import")
    assert refused(result) == {"3"} and result.exit_code is ExitCode.DIFFERENCES


@pytest.mark.parametrize("workers", [1, 4])
def test_a_session_that_fails_gives_its_room_to_the_others(server, kit, tmp_path, workers):
    for name in ("S1", "S2", "S3"):
        kit.put(kit.source, name, f"{name}_MR1", kit.uid(name), scans=range(1, 11))
    server.faults([{"fault": "403", "path": "/data/services/import", "item": "EXPT_LABEL=S1_MR1"}])
    result, log = carried(server, kit, tmp_path, workers=workers)
    states = dict(zip(result.sessions["session"], result.sessions["state"], strict=True))
    assert states == {"S1_MR1": "failed", "S2_MR1": "archived", "S3_MR1": "archived"}


def test_a_run_that_is_cancelled_gives_up_what_it_has_read_and_the_next_completes_it(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=range(1, 13))
    chosen = options(
        source_project=kit.source, destination_project=kit.destination, archive=True, review="none", workers=2
    )
    control = Control()

    def told(event) -> None:
        if (event.kind, event.name) == ("scan", "sent"):
            control.cancel()

    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = make_plan(source, destination, chosen)
        first = run(made, source, destination, folder=tmp_path, control=control, on_event=told)
        before = len(server.log())
        assert first.exit_code is ExitCode.TRANSIENT and len(first.files) == 24
        second = run(made, source, destination, folder=tmp_path)
    sent = len(times(server.log()[before:], "/services/import"))
    assert second.exit_code is ExitCode.PROVED and 9 <= sent <= 11


def test_a_damaged_scan_is_sent_again_although_the_run_is_to_end(server, kit, tmp_path):
    kit.put(kit.source, "S1", "S1_MR1", kit.uid("S1"), scans=(1, 2))
    chosen = options(
        source_project=kit.source, destination_project=kit.destination, archive=True, review="none", workers=1
    )
    server.faults([{"fault": "bit-flip-on-store", "path": "/data/services/import", "times": 1}])
    control = Control()
    repaired = []

    def told(event) -> None:
        if event.name == "repairing":
            repaired.append(event.text)
            control.cancel()

    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = make_plan(source, destination, chosen)
        result = run(made, source, destination, folder=tmp_path, control=control, on_event=told)
    assert repaired and result.exit_code is ExitCode.PROVED
