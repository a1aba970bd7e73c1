"""The journal: cut anywhere, it loses at most its last line; changed anywhere, it says so."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnbtransfer.errors import DiskFullError, JournalError
from xnbtransfer.journal import Journal, read_journal

VALUES = st.dictionaries(
    st.sampled_from(["subject", "session", "scan", "files"]), st.text(max_size=8) | st.integers(0, 99), max_size=3
)
ENTRIES = st.lists(st.tuples(st.sampled_from(["sent", "proved", "archived"]), VALUES), max_size=6)


def told(entries):
    return [{name: value for name, value in entry.items() if name != "at"} for entry in entries]


def written(folder, entries):
    path = folder / "journal.jsonl"
    path.unlink(missing_ok=True)
    with Journal.open(path, "plan-a") as journal:
        for kind, values in entries:
            journal.write(kind, **values)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("journal")


@settings(max_examples=60, deadline=None)
@given(entries=ENTRIES)
def test_what_is_written_is_read(folder, entries):
    path = written(folder, entries)
    expected = [{"kind": kind, **values} for kind, values in entries]
    assert told(read_journal(path)) == expected
    with Journal.open(path, "plan-a") as journal:
        assert told(journal.entries()) == expected


@settings(max_examples=120, deadline=None)
@given(entries=ENTRIES, data=st.data())
def test_a_cut_at_any_byte_loses_at_most_the_last_line(folder, entries, data):
    path = written(folder, entries)
    whole, before = path.read_bytes(), told(read_journal(path))
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = max(whole[:cut].count(b"\n") - 1, 0)
    assert told(read_journal(path)) == before[:kept]
    with Journal.open(path, "plan-a") as journal:
        assert told(journal.entries()) == before[:kept]
        journal.write("after", files=1)
    assert told(read_journal(path)) == [*before[:kept], {"kind": "after", "files": 1}]


@settings(max_examples=150, deadline=None)
@given(entries=ENTRIES, data=st.data())
def test_a_changed_byte_before_the_end_is_refused(folder, entries, data):
    path = written(folder, entries)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 2))  # the very last byte is the line end: without it, a torn line
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(whole))
    with pytest.raises(JournalError, match="changed or damaged"):
        read_journal(path)
    with pytest.raises(JournalError, match="changed or damaged"):
        Journal.open(path, "plan-a")
    assert path.read_bytes() == bytes(whole)  # kept for whoever looks into it


def test_a_changed_blank_is_seen(folder):
    path = written(folder, [("sent", {})])
    path.write_bytes(path.read_bytes().replace(b'{"link": ', b'{"link":\t'))
    with pytest.raises(JournalError):
        read_journal(path)


def test_a_line_taken_out_is_seen(folder):
    path = written(folder, [("sent", {"scan": str(n)}) for n in range(4)])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(JournalError):
        read_journal(path)


def test_another_plan_is_refused_and_nothing_changes(folder):
    path = written(folder, [("sent", {})])
    before = path.read_bytes()
    with pytest.raises(JournalError, match="another plan"):
        Journal.open(path, "plan-b")
    assert path.read_bytes() == before
    Journal.open(path, "plan-a").close()  # the refused one let go of its lock


def test_one_writer_within_a_process(folder):
    path = written(folder, [])
    with Journal.open(path, "plan-a"), pytest.raises(JournalError, match="in use"):
        Journal.open(path, "plan-a")
    Journal.open(path, "plan-a").close()


def test_one_writer_across_processes(folder):
    path = written(folder, [])
    code = """
import sys
from xnbtransfer.journal import Journal
with Journal.open(sys.argv[1], 'plan-a') as journal:
    journal.write('sent')
    print('open', flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(JournalError, match="in use"):
            Journal.open(path, "plan-a")
        assert told(read_journal(path)) == [{"kind": "sent"}]  # reading needs no lock
    finally:
        other.kill()
        other.communicate()
    with Journal.open(path, "plan-a") as journal:  # a killed writer leaves no lock behind
        assert told(journal.entries()) == [{"kind": "sent"}]


def test_many_threads_one_chain(folder):
    path = written(folder, [])
    with Journal.open(path, "plan-a") as journal:
        threads = [
            threading.Thread(target=lambda n=n: [journal.write("sent", scan=f"{n}-{i}") for i in range(20)])
            for n in range(8)
        ]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert {entry["scan"] for entry in read_journal(path)} == {f"{n}-{i}" for n in range(8) for i in range(20)}


def test_last_finds_the_newest_that_matches(folder):
    path = written(folder, [("sent", {"scan": "1", "files": 1}), ("sent", {"scan": "1", "files": 2}), ("x", {})])
    with Journal.open(path, "plan-a") as journal:
        assert journal.last("sent", scan="1")["files"] == 2
        assert journal.last("sent", scan="2") is None


def test_a_full_disk_is_said_and_leaves_the_journal_whole(folder, monkeypatch):
    path = written(folder, [])
    real, turns = os.write, iter([7, None])  # half a line goes through, then the disk is full

    def full(file, data):
        turn = next(turns)
        if turn is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:turn])

    with Journal.open(path, "plan-a") as journal:
        journal.write("sent", scan="1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(DiskFullError, match="full"):
                journal.write("sent", scan="2")
        journal.write("sent", scan="3")  # somebody made room
    assert [entry["scan"] for entry in read_journal(path)] == ["1", "3"]


class Disk:
    """In the place of ``os.fsync``: knows how many bytes of a file a power cut would leave, may be slow or fail."""

    def __init__(self, monkeypatch, path) -> None:
        self.path, self.real, self.calls, self.kept = path, os.fsync, 0, 0
        self.busy, self.problem = threading.Event(), None
        self.busy.set()
        monkeypatch.setattr(os, "fsync", self.sync)

    def sync(self, file: int) -> None:
        self.calls += 1
        size = os.fstat(file).st_size
        assert self.busy.wait(10)
        if self.problem is not None:
            raise self.problem
        self.real(file)
        self.kept = size

    def after_a_power_cut(self) -> list[dict]:
        cut = self.path.with_name("cut.jsonl")
        cut.write_bytes(self.path.read_bytes()[: self.kept])
        return told(read_journal(cut))


def test_what_was_written_outlives_a_power_cut_and_what_need_not_settle_does_with_the_next(folder, monkeypatch):
    path = written(folder, [])
    disk = Disk(monkeypatch, path)
    with Journal.open(path, "plan-a") as journal:
        journal.write("begun")
        assert disk.after_a_power_cut() == [{"kind": "begun"}]
        journal.write("sent", settle=False)
        assert told(read_journal(path)) == [{"kind": "begun"}, {"kind": "sent"}]  # a kill leaves both
        assert disk.after_a_power_cut() == [{"kind": "begun"}]
        journal.write("archiving")
        assert [one["kind"] for one in disk.after_a_power_cut()] == ["begun", "sent", "archiving"]
        journal.write("sent", settle=False)
    assert len(disk.after_a_power_cut()) == 4  # closing settles what is left


def test_threads_that_wait_for_a_slow_disk_share_its_answer(folder, monkeypatch):
    path = written(folder, [])
    disk = Disk(monkeypatch, path)
    with Journal.open(path, "plan-a") as journal:
        disk.busy.clear()
        threads = [threading.Thread(target=journal.write, args=("sent",), kwargs={"scan": str(n)}) for n in range(8)]
        [thread.start() for thread in threads]
        while len(read_journal(path)) < 8:  # all are written, and wait
            threading.Event().wait(0.01)
        disk.busy.set()
        [thread.join() for thread in threads]
        assert len(disk.after_a_power_cut()) == 8 and disk.calls <= 2


def test_a_disk_that_refuses_late_leaves_what_was_promised_and_takes_nothing_more(folder, monkeypatch):
    path = written(folder, [])
    disk = Disk(monkeypatch, path)
    with Journal.open(path, "plan-a") as journal:
        journal.write("sent", scan="1")
        disk.problem = OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(DiskFullError, match="full"):
            journal.write("sent", scan="2")
        disk.problem = None
        with pytest.raises(DiskFullError, match="full"):  # whoever waited beside it is not told that all is well
            journal.write("sent", scan="3")
    assert [entry["scan"] for entry in read_journal(path)] == ["1"]
    with Journal.open(path, "plan-a") as journal:
        journal.write("sent", scan="4")
    assert [entry["scan"] for entry in read_journal(path)] == ["1", "4"]


def test_a_journal_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(tmp_path / "none.jsonl")


def test_each_line_is_json_with_a_link(folder):
    path = written(folder, [("sent", {"session": "001"})])
    header, line = [json.loads(line) for line in path.read_text().splitlines()]
    assert header["entry"]["plan"] == "plan-a"
    assert line["entry"]["session"] == "001" and len(line["link"]) == 64
