"""What a copy promises, shown on the embedded server over a real port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from roads import DESTINATION, again, as_, copy, make_plan, options, writes
from which_xnat import has

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode, InputError, JournalError, RefusedError
from xnbtransfer.inventory import read_inventory
from xnbtransfer.plan import Plan
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict
from xnbtransfer.verify import verify


@pytest.fixture
def demo():
    """A demo server of its own: these tests write."""
    with embedded.running(demo=True) as server:
        yield server


def adds_up(made: Plan, result) -> None:
    assert sum(result.counts.values()) == sum(s.files for s in made.sessions) == len(result.files)
    for row in result.sessions.itertuples():
        assert row.equal + row.explained + row.different + row.not_proved == row.files


def listing(server):
    with as_(server, "owner") as connection:
        return read_inventory(connection, DESTINATION)


def test_a_copy_into_the_archive_is_proved_and_equals_a_fresh_listing(demo, tmp_path):
    made, result = copy(demo, tmp_path, archive=True)
    assert made.totals["sessions"] >= 5
    adds_up(made, result)
    assert result.exit_code == ExitCode.PROVED, result.files[result.files["verdict"] == "different"]["because"].unique()
    there = listing(demo)
    for session in made.sessions:
        if session.action != "copy":
            continue
        found = there.sessions[there.sessions["session"] == session.destination_session]
        assert list(found["subject"]) == [session.destination_subject]
        files = there.files[there.files["session"] == session.destination_session]
        assert len(files) == session.files
        reported = result.files[result.files["destination_session"] == session.destination_session]
        listed = sorted(reported["destination_md5"]) if has("digests-are-listed") else [""] * len(files)
        assert sorted(files["md5"]) == listed
    assert (
        there.prearchive["session"].isin({s.destination_session for s in made.sessions if s.action == "copy"}).sum()
        == 0
    )


def test_nothing_that_was_there_is_touched(demo, tmp_path):
    before = listing(demo)
    made, _ = copy(demo, tmp_path, archive=True)
    after = listing(demo)
    old = set(before.sessions["session"])
    kept = after.files[after.files["session"].isin(old)].reset_index(drop=True)
    columns = ["session", "scan", "path", "md5"]
    assert sorted(map(tuple, kept[columns].values)) == sorted(map(tuple, before.files[columns].values))
    assert set(before.prearchive["uri"]) <= set(after.prearchive["uri"])
    assert {s.action for s in made.sessions if s.conflict} <= {"skip"}


def test_the_prearchive_is_the_default_and_is_compared_there(demo, tmp_path):
    made, result = copy(demo, tmp_path)
    adds_up(made, result)
    assert result.exit_code == ExitCode.PROVED
    assert set(result.sessions["state"]) == {"in prearchive", "skipped", "there already"}
    there = listing(demo)
    waiting = set(there.prearchive["session"])
    assert {s.destination_session for s in made.sessions if s.action == "copy"} <= waiting


def test_a_second_run_writes_nothing(demo, tmp_path):
    made, first = copy(demo, tmp_path, archive=True)
    before = len(writes(demo))
    second = again(demo, made, tmp_path)
    assert len(writes(demo)) == before
    assert second.writes == 0
    assert second.counts == first.counts
    assert second.exit_code == ExitCode.PROVED
    made, third = copy(demo, tmp_path / "new", archive=True)
    assert len(writes(demo)) == before
    assert made.totals["sessions"] == 0
    assert third.exit_code == ExitCode.PROVED


@pytest.mark.needs("1.8", because="settings are asked by other addresses of an older XNAT, some of them one by one")
def test_requests_are_two_a_scan_and_nine_a_session(demo, tmp_path):
    """With the usual dozen of scans a session that is less than three a scan, both readings of the proof included.

    A session that begins later than two seconds after the run has read the destination is looked for once more before
    its first write: its label, by its address and in a list, its study, and the prearchive; for that the right to
    read is asked once. What guards data at the destination is read once a run.
    """
    made, result = copy(demo, tmp_path, archive=True)
    sessions, scans = made.totals["sessions"], made.totals["scans"]
    labels = {f"/data/projects/{DESTINATION}/experiments/{one.destination_session}" for one in made.sessions}
    late = sum(entry["path"] in labels for entry in demo.log())
    print(f"{result.requests} requests for {scans} scans in {sessions} sessions, {late} of them late")
    assert result.requests <= 2 * scans + 9 * sessions + 4 * late + 1 + 14 + 9
    once_each = [entry["path"] for entry in demo.log() if entry["method"] == "GET" and entry["query"] == "format=json"]
    looked = [path for path in once_each if path.startswith("/data/experiments/") and path.count("/") == 3]
    assert len(looked) == len(set(looked)) == 2 * sessions, "one look at the document of each session, on both sides"


def test_chosen_scan_types_only(demo, tmp_path):
    with as_(demo) as source:
        kinds = read_inventory(source, "DEMO_SOURCE").scans["type"].value_counts()
    made, result = copy(demo, tmp_path, archive=True, scan_types=[str(kinds.index[0])])
    adds_up(made, result)
    assert 0 < made.totals["scans"] <= kinds.iloc[0]
    assert result.exit_code == ExitCode.PROVED


def test_chosen_scan_qualities_only(demo, tmp_path):
    with as_(demo) as source:
        scans = read_inventory(source, "DEMO_SOURCE").scans
    poor = scans[scans["session"] == "001_MR1"].iloc[0]
    where = f"{demo.url}/data/projects/DEMO_SOURCE/subjects/001/experiments/001_MR1/scans/{poor['scan']}"
    changed = {"xsiType": poor["xsi_type"], "quality": "unusable"}
    answer = requests.put(where, params=changed, auth=demo.accounts["owner"], timeout=60)
    assert answer.status_code == 200
    made, result = copy(demo, tmp_path / "a", archive=True, sessions=["001_MR1"], qualities=["usable"])
    adds_up(made, result)
    assert result.exit_code == ExitCode.PROVED
    (session,) = made.sessions
    assert poor["scan"] not in {scan.scan for scan in session.sent_scans} and len(session.sent_scans) > 0
    with as_(demo) as source, as_(demo) as destination:
        later = make_plan(source, destination, options(sessions=["001_MR2"], qualities=["usable"]))
        first = later.sessions[0].sent_scans[0].scan
        where = f"{demo.url}/data/projects/DEMO_SOURCE/subjects/001/experiments/001_MR2/scans/{first}"
        typed = {**changed, "xsiType": str(scans.set_index(["session", "scan"]).at[("001_MR2", first), "xsi_type"])}
        requests.put(where, params=typed, auth=demo.accounts["owner"], timeout=60).raise_for_status()
        with pytest.raises(RefusedError, match="no longer as the plan saw"):
            run(later, source, destination, folder=tmp_path / "b")


def test_a_plan_that_no_longer_fits_is_refused(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(archive=True))
        one = next(s for s in made.sessions if s.action == "copy")
        alone = make_plan(source, destination, options(archive=True, sessions=[one.session]))
        copy(demo, tmp_path / "other", archive=True, sessions=[one.session])
        before = len(writes(demo))
        with pytest.raises(RefusedError, match="no longer as the plan saw"):
            run(alone, source, destination, folder=tmp_path / "alone")
        assert len(writes(demo)) == before


def test_a_session_that_changed_since_the_plan_fails_alone(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(archive=True))
        one = next(s for s in made.sessions if s.action == "copy")
        copy(demo, tmp_path / "other", archive=True, sessions=[one.session])
        before = len(writes(demo))
        result = run(made, source, destination, folder=tmp_path / "all")
    rows = result.sessions.set_index("session")
    assert rows.loc[one.session, "state"] == "failed"
    assert "no longer as the plan saw" in rows.loc[one.session, "because"]
    assert set(rows.drop(one.session)["state"]) <= {"archived", "skipped", "there already"}
    assert result.exit_code == ExitCode.DIFFERENCES
    assert not [entry for entry in writes(demo)[before:] if one.destination_session in entry["query"] + entry["path"]]


def test_a_collaborator_is_refused_before_anything_is_sent(demo, tmp_path):
    before = len(writes(demo))
    with pytest.raises(RefusedError, match="may not create"):
        copy(demo, tmp_path, role="collaborator")
    assert len(writes(demo)) == before


def test_source_equal_destination(demo, tmp_path):
    with pytest.raises(InputError, match="same project"):
        copy(demo, tmp_path, destination_project="DEMO_SOURCE")


def test_a_journal_of_another_plan(demo, tmp_path):
    copy(demo, tmp_path, sessions=["~.*"])
    with pytest.raises(JournalError):
        copy(demo, tmp_path, archive=True)


@pytest.mark.parametrize("size", [0, 40, 2000])
def test_a_truncated_plan_file(demo, tmp_path, size):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options())
    path = made.save(tmp_path / "plan.json")
    assert Plan.load(path) == made
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="not a whole plan"):
        Plan.load(path)


def test_a_plan_changed_by_hand(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options())
    path = made.save(tmp_path / "plan.json")
    values = json.loads(path.read_text())
    values["sessions"][0]["destination_session"] = "OTHER"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="changed after it was made"):
        Plan.load(path)


FAULTS = {
    "503 with Retry-After": {
        "fault": "503",
        "method": "POST",
        "path": "/data/services/import",
        "times": 3,
        "retry_after_s": 0,
    },
    "500 before acting": {"fault": "500-before", "method": "POST", "path": "/data/services/import", "times": 2},
    "500 after acting": {"fault": "500-after", "method": "POST", "path": "/data/services/import", "times": 2},
    "no answer after acting": {
        "fault": "no-answer-after",
        "method": "POST",
        "path": "/data/services/import",
        "times": 2,
    },
    "reset in mid-body": {"fault": "reset-mid-body", "method": "GET", "path": "/scans/[0-9]+/resources/", "times": 2},
    "truncated zip": {"fault": "truncated-zip", "method": "GET", "path": "/scans/[0-9]+/resources/", "times": 2},
    "login page": {"fault": "login-page", "method": "GET", "path": "/scans/[0-9]+/resources/", "times": 1},
    "archive answers 500 after acting": {
        "fault": "500-after",
        "method": "POST",
        "path": "/data/services/archive",
        "times": 1,
    },
    "no answer to the archiving": {
        "fault": "no-answer-after",
        "method": "POST",
        "path": "/data/services/archive",
        "times": 1,
    },
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_passing_fault_is_survived_and_nothing_is_sent_twice(demo, tmp_path, name):
    demo.faults([FAULTS[name]])
    made, result = copy(demo, tmp_path, archive=True)
    adds_up(made, result)
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())
    there = listing(demo)
    for session in made.sessions:
        if session.action == "copy":
            assert (there.files["session"] == session.destination_session).sum() == session.files


def test_a_bit_flip_on_store_is_found_and_the_scan_is_sent_again(demo, tmp_path):
    demo.faults([{"fault": "bit-flip-on-store", "method": "POST", "path": "/data/services/import", "times": 1}])
    made, result = copy(demo, tmp_path, archive=True)
    assert result.exit_code == ExitCode.PROVED
    imports = [entry for entry in writes(demo) if entry["path"] == "/data/services/import"]
    assert len(imports) == made.totals["scans"] + 1


def test_a_lasting_bit_flip_is_different_and_never_archived(demo, tmp_path):
    demo.faults([{"fault": "bit-flip-on-store", "method": "POST", "path": "/data/services/import", "times": None}])
    made, result = copy(demo, tmp_path, archive=True)
    adds_up(made, result)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.counts[Verdict.DIFFERENT] >= made.totals["sessions"]
    assert "archived" not in set(result.sessions["state"])


def test_proof_by_sample_and_listing_never_claims_more(demo, tmp_path):
    made, result = copy(demo, tmp_path, proof="listing")
    adds_up(made, result)
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    assert result.counts[Verdict.NOT_PROVED] == made.totals["files"]


def test_proof_by_sample(demo, tmp_path):
    made, result = copy(demo, tmp_path, proof="sample:1", archive=True)
    adds_up(made, result)
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    assert result.counts[Verdict.EXPLAINED] + result.counts[Verdict.EQUAL] >= made.totals["scans"]


def test_verify_sees_a_file_altered_after_the_copy(demo, tmp_path):
    made, _ = copy(demo, tmp_path, archive=True)
    with as_(demo, "owner") as destination:
        fresh = verify(made, tmp_path / "journal.jsonl", destination)
        assert fresh.exit_code == ExitCode.PROVED
        one = next(session for session in made.sessions if session.action == "copy")
        (found,) = destination.sessions_with_label(DESTINATION, one.destination_session)
        victim = sorted((Path(demo.data) / "archive" / DESTINATION / found["session_id"]).rglob("*.dcm"))[0]
        data = bytearray(victim.read_bytes())
        data[-20] ^= 1
        victim.write_bytes(bytes(data))
        again = verify(made, tmp_path / "journal.jsonl", destination)
    assert again.exit_code == ExitCode.DIFFERENCES
    assert again.counts[Verdict.DIFFERENT] == 1


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from roads import connect
from xnbtransfer.plan import Plan
from xnbtransfer.transfer import run
folder = Path(sys.argv[2])
plan = Plan.load(folder / "plan.json")
def tell(event):
    print(event.kind, event.name, event.where, flush=True)
with connect("source", prompt=False) as source, connect("destination", prompt=False) as destination:
    result = run(plan, source, destination, folder=folder, on_event=tell)
sys.exit(int(result.exit_code))
"""


@pytest.mark.parametrize("after", [1, 4, 8, 13])
def test_killed_anywhere_the_next_run_completes_it(demo, tmp_path, after):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(archive=True, workers=2))
    made.save(tmp_path / "plan.json")
    user, password = demo.accounts["member"]
    env = {**os.environ, "XNAT_HOST": demo.url, "XNAT_USER": user, "XNAT_PASS": password}
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as first:
        for _ in range(after):
            first.stdout.readline()
        first.send_signal(signal.SIGKILL)
        first.stdout.read()
    time.sleep(0.3)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    imports = [entry for entry in writes(demo) if entry["path"] == "/data/services/import"]
    assert len(imports) <= made.totals["scans"] + 2
    before = len(writes(demo))
    result = again(demo, made, tmp_path)
    assert len(writes(demo)) == before
    assert result.exit_code == ExitCode.PROVED
    adds_up(made, result)
