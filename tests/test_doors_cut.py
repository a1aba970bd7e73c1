"""Every door on a bad day: killed in the middle and run again, and a login that runs out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archive_kit import Kit, logged
from people import Person
from roads import WRITES, as_

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan_file import LEASE
from xnbtransfer.preparing import prepare
from xnbtransfer.transfer import run

RUN = """
import sys
import time
from pathlib import Path
from xnbtransfer.plan import Plan
from xnbtransfer.transfer import run
from xnbtransfer.xnat import connect
folder = Path(sys.argv[1])
def tell(event):
    print(event.kind, event.name, event.where, flush=True)
with connect("source", prompt=False) as source, connect("destination", prompt=False) as destination:
    result = run(Plan.load(folder / "plan.json"), source, destination, folder=folder, on_event=tell)
sys.exit(int(result.exit_code))
"""


@pytest.fixture(scope="module")
def server():
    with embedded.running(receiver=True) as found:
        yield found


@pytest.fixture
def kit(server):
    found = Kit(lambda role: Person(server, role))
    for session in ("E1", "E2"):
        found.put(found.source, "S1", session, found.uid(session), scans=(1, 2))
        path = f"/data/projects/{found.source}/subjects/S1/experiments/{session}/resources/NOTES/files/a.txt"
        assert found.who.put(path, files={"file": ("a.txt", session.encode())}).status_code == 200
        item = path.partition("/resources/")[0]
        assert found.who.put(item, params={"xnat:mrSessionData/note": f"note of {session}"}).status_code == 200
    server.faults([])
    yield found
    server.faults([])


def planned(server, kit, folder, method):
    waivers = folder / "waivers.yaml"
    waivers.write_text(
        "format: 1\nwaivers:\n  - {rule: S13, scope: {everywhere: true}, reason: 'reviewed, ticket 17'}\n", "utf-8"
    )
    values = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    values |= {"method": method, "resources": ["NOTES"], "fields": ["session/note"], "waivers": str(waivers)}
    values |= {"receiver": f"dicom://XNAT@127.0.0.1:{server.receiver}"} if method == "receiver" else {}
    options = TransferOptions.from_mapping({**values, "workers": 2})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = prepare(source, destination, options)
    assert made.blockers == ()
    made.save(folder / "plan.json")
    return made


def again(server, made, folder):
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return run(made, source, destination, folder=folder)


def whole(kit, result):
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())
    assert sum(result.counts.values()) == len(result.files) == 12
    there, here = kit.files(kit.destination), kit.files(kit.source)
    assert {label: [one[0] for one in files] for label, files in there.items()} == {
        label: [one[0] for one in files] for label, files in here.items()
    }


def writes(server, since):
    quiet = ("/data/services/auth", "/data/JSESSION", "/_faults")
    sent = [one for one in server.log()[since:] if one["method"] in WRITES and not one["path"].startswith(quiet)]
    return [one for one in sent if LEASE not in one["path"]]


@pytest.mark.parametrize(("method", "after"), [("files", 3), ("files", 5), ("receiver", 5), ("import", 9)])
def test_killed_anywhere_the_next_run_completes_it(server, kit, tmp_path, method, after):
    made = planned(server, kit, tmp_path, method)
    user, password = server.accounts["owner"]
    env = {**os.environ, "XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    root = str(Path(__file__).parent.parent)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=root) as first:
        for _ in range(after):
            first.stdout.readline()
        first.send_signal(signal.SIGKILL)
        first.stdout.read()
    whole(kit, again(server, made, tmp_path))
    since = logged(server)
    whole(kit, again(server, made, tmp_path))
    assert writes(server, since) == []


@pytest.mark.parametrize("method", ["files", "receiver", "import"])
def test_a_login_that_runs_out_in_mid_run_is_renewed(server, kit, tmp_path, method):
    made = planned(server, kit, tmp_path, method)
    server.faults(
        [
            {"fault": "expire-sessions", "method": "GET", "path": "/scans/1/", "after": 1, "times": 1},
            {"fault": "expire-sessions", "method": "POST", "path": "/resources/NOTES", "times": 1},
            {"fault": "expire-sessions", "method": "PUT", "path": "/scans/", "times": 1},
        ]
    )
    told = []
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        whole(kit, run(made, source, destination, folder=tmp_path, on_event=told.append))
    sent = [event for event in told if (event.kind, event.name) == ("scan", "sent")]
    assert len(sent) == made.totals["scans"] and sum(event.files for event in sent) == made.totals["files"]
    assert sum(event.size_bytes for event in sent) == made.totals["size_bytes"]


@pytest.mark.parametrize("fault", ["no-answer-after", "500-after", "503"])
@pytest.mark.parametrize("method", ["files", "receiver", "import"])
def test_a_lost_answer_is_looked_up_and_nothing_is_there_twice(server, kit, tmp_path, method, fault):
    made = planned(server, kit, tmp_path, method)
    lost = ("/data/services/import$", "/data/services/archive$", "/resources/NOTES", "/scans/", "/experiments/")
    rules = [{"fault": fault, "method": "POST", "path": path, "times": 1, "retry_after_s": 0} for path in lost]
    rules += [{**rule, "method": "PUT"} for rule in rules[2:]]
    server.faults(rules)
    whole(kit, again(server, made, tmp_path))
    server.faults([])
    since = logged(server)
    whole(kit, again(server, made, tmp_path))
    assert writes(server, since) == []


@pytest.mark.parametrize("path", ["/data/services/import$", "/data/prearchive/projects/", "/data/services/archive$"])
def test_a_server_that_wishes_for_days_is_waited_for_five_minutes(server, kit, tmp_path, monkeypatch, path):
    waited: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: (waited.append(seconds), sleep(min(seconds, 0.05))))
    made = planned(server, kit, tmp_path, "import")
    server.faults([{"fault": "503", "method": "POST", "path": path, "times": 1, "retry_after_s": 200_000}])
    whole(kit, again(server, made, tmp_path))
    assert max(waited) == 300
