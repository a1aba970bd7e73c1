"""What a merge sends: the series that the destination lacks, told by their UIDs, whatever the scans are called."""

from __future__ import annotations

import dataclasses

import pytest
from archive_kit import Kit
from hypothesis import given
from hypothesis import strategies as some
from inventories import project, session
from people import Person
from roads import as_

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import plan
from xnbtransfer.preparing import prepare
from xnbtransfer.transfer import run
from xnbtransfer.values import SCAN_COLUMNS, frame

OPTIONS = TransferOptions.from_mapping(
    {"source_project": "P", "destination_project": "Q", "archive": True, "existing": "merge"}
)
# Number, series and how many files of each scan of a session.
SCANS = some.lists(
    some.tuples(some.sampled_from("1235"), some.sampled_from(["1.1", "1.2", "1.3", "1.4"]), some.integers(1, 3)),
    min_size=1,
    max_size=3,
    unique_by=(lambda one: one[0], lambda one: one[1]),
)


def side(name, scans):
    files = [(number, f"{number}-{n}.dcm", "") for number, _, count in scans for n in range(count)]
    rows = [{"subject": "S1", "session": "E1", "scan": number, "SeriesInstanceUID": uid} for number, uid, _ in scans]
    made = project(session(files=files))
    return dataclasses.replace(made, project=name, scans=frame(rows, SCAN_COLUMNS))


@given(SCANS, SCANS)
def test_a_series_is_sent_where_the_destination_lacks_it(here, there):
    row = plan(side("P", here), side("Q", there), OPTIONS).sessions[0]
    held = {uid: count for _, uid, count in there}
    sent = {scan.scan for scan in row.scans if scan.action == "send"}
    assert sent == {number for number, uid, _ in here if uid not in held}
    short = [uid for _, uid, count in here if held.get(uid, count) < count]
    assert bool(short) == (row.conflict == "a scan is there in part")
    if not sent:
        assert row.action == "skip" and ("is at the destination already" in row.because) == (not short)


@pytest.mark.parametrize("number", ["1", "2"])
def test_what_no_list_tells_is_not_taken_for_the_same(number):
    here, there = side("P", [("1", "", 1), ("3", "1.3", 1)]), side("Q", [(number, "", 1)])
    row = plan(here, there, OPTIONS).sessions[0]
    actions = {scan.scan: (scan.action, scan.because) for scan in row.scans}
    if number == "1":
        assert actions["1"][0] == "leave" and "no list tells whether it is this series" in actions["1"][1]
    assert actions["3"][0] == "send"


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


def merged(server, kit, folder):
    values = {"source_project": kit.source, "destination_project": kit.destination, "review": "none"}
    options = TransferOptions.from_mapping({"archive": True, "existing": "merge", **values})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = prepare(source, destination, options)
        return made, run(made, source, destination, folder=folder)


def test_another_series_of_the_same_number_arrives_beside_it(server, tmp_path):
    kit = Kit(lambda role: Person(server, role))
    study = kit.uid("E1")
    kit.put(kit.source, "S1", "E1", study, scans=(5,))
    path = f"/data/projects/{kit.destination}/subjects/S1/experiments/E1"
    stem = "xnat:mrSessionData"
    assert kit.who.put(path, params={"xsiType": stem, f"{stem}/UID": study}).status_code == 201
    assert kit.who.put(f"{path}/scans/5?xsiType=xnat:mrScanData&UID={kit.uid('another')}").status_code == 200
    for name, data in (("a.dcm", b"one"), ("b.dcm", b"other")):
        where = f"{path}/scans/5/resources/DICOM/files/{name}?inbody=true&format=DICOM"
        assert kit.who.put(where, data=data).status_code == 200
    before = kit.files(kit.destination)["E1"]
    made, result = merged(server, kit, tmp_path / "a")
    assert "another series has its number" in made.sessions[0].scans[0].because
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].tolist())
    after = kit.files(kit.destination)["E1"]
    assert set(before) < set(after) and len(after) == 4, "what was there stays, and the two files came"
    again, result = merged(server, kit, tmp_path / "b")
    assert again.sessions[0].action == "skip" and again.totals["files"] == 0
