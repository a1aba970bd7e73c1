"""A hub ends what looks idle: a run with no page open must not look so, neither to the server nor to the hub."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import websocket

from xnbtransfer.server import running

CULLED_AFTER_S = 10  # longer than a kernel needs to start on a loaded machine; what is connected is not culled
BUSY_S = 15

# the road to the run, as a page would take it; then the run is started, and the cell ends at once
BEGIN = """
import json, os
os.environ.update(json.load(open({env!r})))
import xnbtransfer.widgets.app as app
app.BEAT_S = 1.0
guide = app.Guide({root!r})
one = guide.transfer
one.confirm()
one.choose_project("source", "DEMO_SOURCE"); one.choose_project("destination", "DEMO_DESTINATION")
one.select([("006_CT1"[:3], "006_CT1")])
one.set(workers=1)
for _ in range(5):
    one.confirm()
guide.start()
"""


class Server:
    """A Jupyter server that ends kernels that were idle for some seconds; no page is ever opened."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        env = {name: value for name, value in os.environ.items() if not name.startswith("XNAT_")}
        env |= {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
        command = [sys.executable, "-m", "jupyter_server", f"--port={self.url.rpartition(':')[2]}", "--allow-root"]
        command += ["--IdentityProvider.token=", "--ServerApp.port_retries=0", "--ServerApp.disable_check_xsrf=True"]
        command += [f"--MappingKernelManager.cull_idle_timeout={CULLED_AFTER_S}"]
        command += ["--MappingKernelManager.cull_interval=1"]
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(command, env=env, cwd=folder, stdout=self.log, stderr=subprocess.STDOUT)
        self.until(self.answers, "the server is there")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None and time.monotonic() < end, what
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/status", timeout=10).ok
        except requests.ConnectionError:
            return False

    def kernels(self) -> dict[str, dict]:
        return {one["id"]: one for one in requests.get(f"{self.url}/api/kernels", timeout=30).json()}

    def start(self, code: str = "") -> str:
        """A new kernel that has run this code, and to which nobody is connected any more."""
        name = requests.post(f"{self.url}/api/kernels", json={"name": "python3"}, timeout=60).json()["id"]
        line = websocket.create_connection(f"ws{self.url[4:]}/api/kernels/{name}/channels", timeout=120)
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "msg_type": "execute_request", "session": asked, "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        line.send(json.dumps(message))
        try:
            while True:
                frame = line.recv()
                told = json.loads(frame) if isinstance(frame, str) else {"parent_header": {}}  # data of a widget
                if told["parent_header"].get("msg_id") == asked and told["msg_type"] == "execute_reply":
                    assert told["content"]["status"] == "ok", told["content"]
                    return name
        finally:
            line.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture
def jupyter(tmp_path):
    folder = tmp_path / "jupyter"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.stop()


def test_a_run_without_a_page_is_not_culled_and_what_is_idle_is(jupyter, tmp_path):
    with running(demo=True) as xnat:
        user, password = xnat.accounts["member"]
        env = tmp_path / "env.json"
        env.write_text(json.dumps({"XNAT_HOST": xnat.url, "XNAT_USER": user, "XNAT_PASS": password}))
        # the first scan alone takes longer than the patience of the culler
        xnat.faults([{"fault": "latency", "path": "/data/services/import", "delay_s": BUSY_S, "times": 1}])
        idle_one = jupyter.start("1 + 1")  # first, so that its time is over well before that of the other
        running_one = jupyter.start(BEGIN.format(env=str(env), root=str(tmp_path / "records")))
        begun = time.monotonic()
        jupyter.until(lambda: idle_one not in jupyter.kernels(), "what is idle is culled")
        seen = set()
        while time.monotonic() < begun + BUSY_S:
            kernels = jupyter.kernels()
            assert running_one in kernels, "the run was culled"
            seen.add(kernels[running_one]["last_activity"])
            time.sleep(0.5)
        assert len(seen) > 2, "its last activity moves while it runs"
        # and the hub, which asks the server, sees the same
        status = requests.get(f"{jupyter.url}/api/status", timeout=30).json()
        assert status["last_activity"] >= max(seen)
        (folder,) = (tmp_path / "records").glob("*_guided_*.unfinished")
        jupyter.until(lambda: '"proved"' in (folder / "journal.jsonl").read_text(), "the run comes to its end")
