"""Start the server: in this process (:func:`serve`), or as one of its own (:func:`running`)."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .personality import UNSAID, VERSIONS

ACCOUNTS = "accounts.json"
_PEOPLE = {
    "admin": ("admin", "Ada", "Admin"),
    "owner": ("olga", "Olga", "Owner"),
    "member": ("mia", "Mia", "Member"),
    "collaborator": ("carl", "Carl", "Collaborator"),
    "outsider": ("xena", "Xena", "Outsider"),
}


def _accounts(state) -> dict[str, list[str]]:
    """The five people; their passwords are made once and kept in a file that only its owner reads."""
    path = state.folder / ACCOUNTS
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for role, (login, first, last) in _PEOPLE.items():
        password = secrets.token_urlsafe(12)
        state.add_user(login, password, first, last, admin=role == "admin")
        found[role] = [login, password]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(found, out)
    return found


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    data: str | Path | None = None,
    demo: bool = False,
    faults: str | Path | None = None,
    receiver: int | None = None,
    receiver_tls: tuple[str | Path, str | Path] | None = None,
    personality: str = "",
) -> None:
    """Run the server until it is stopped; prints one JSON line with its address and accounts when it is ready.

    Parameters
    ----------
    port : int
        0 takes a free one.
    data : path, optional
        Folder with the state; without it one that is removed at the end.
    demo : bool
        Fill an empty state with the demo content.
    faults : path, optional
        JSON file with fault rules.
    receiver : int, optional
        Port of a DICOM receiver beside it, 0 for a free one; needs the extra ``receiver``.
    receiver_tls : paths of a certificate and its key, optional
        With them the receiver takes encrypted associations only.
    personality : str
        ``1.6``, ``1.7.2``, ``1.7``, ``1.8`` or ``1.9``: which XNAT it is like where they differ. Kept with the state;
        1.8 unless said here or, for a new state, in the environment (``XNBTRANSFER_PERSONALITY``).
    """
    import uvicorn

    from . import demo as demo_content
    from . import wire
    from .app import create_app
    from .faults import read_rules
    from .personality import choose
    from .receiver import start as start_receiver
    from .state import State

    rules = read_rules(str(faults)) if faults else []
    folder = Path(data) if data else Path(tempfile.mkdtemp(prefix="xnbtransfer-server-"))
    listening = None
    try:
        new = not (folder / ACCOUNTS).exists()
        state = State(folder)
        if wanted := personality or (os.environ.get(UNSAID, "") if new else ""):
            choose(state, wanted)
        accounts = _accounts(state)
        if demo and not state.rows("SELECT id FROM projects"):
            demo_content.populate(state, accounts)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With the protocol named, asyncio switches Nagle's algorithm off; without, each answer waits 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            create_app(state, rules),
            http=wire.protocol(),
            log_level="critical",
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )

        ready = {"url": url, "accounts": accounts}
        if receiver is not None:
            listening, ready["receiver"] = start_receiver(state, host, receiver, receiver_tls)

        class Ready(uvicorn.Server):
            async def startup(self, sockets=None) -> None:
                await super().startup(sockets=sockets)
                print(json.dumps(ready), flush=True)

        with contextlib.suppress(KeyboardInterrupt):
            Ready(config).run(sockets=[listener])
    finally:
        if listening is not None:
            listening.shutdown()
        if not data:
            shutil.rmtree(folder, ignore_errors=True)


class RunningServer:
    """A server in a process of its own.

    Attributes
    ----------
    url : str
    accounts : dict
        Role to (user, password): admin, owner, member, collaborator, outsider.
    data : Path
        Folder with the state.
    receiver : int or None
        Port of the DICOM receiver, where one runs; its AE title is XNAT.
    """

    def __init__(
        self,
        data: Path,
        demo: bool,
        faults: str | Path | None,
        receiver: bool = False,
        receiver_tls: tuple[str | Path, str | Path] | None = None,
        personality: str = "",
    ) -> None:
        self.data, self._demo, self._faults, self._personality = data, demo, faults, personality
        self._receiver, self._tls = receiver, receiver_tls
        self._process: subprocess.Popen | None = None
        self.start()

    def start(self, port: int = 0) -> None:
        """Start it (again, over the same data)."""
        command = [sys.executable, "-m", "xnbtransfer.server", "--data", str(self.data), "--port", str(port)]
        if self._demo:
            command.append("--demo")
        if self._faults:
            command += ["--faults", str(self._faults)]
        if self._personality:
            command += ["--personality", self._personality]
        if self._receiver:
            command += ["--receiver", "0", *(["--receiver-tls", *map(str, self._tls)] if self._tls else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start; what it said is above")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.receiver: int | None = ready.get("receiver")
        self.accounts = {role: tuple(pair) for role, pair in ready["accounts"].items()}

    def log(self) -> list[dict[str, Any]]:
        """All requests so far, the oldest first."""
        path = self.data / "requests.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def notes(self) -> list[str]:
        """What the server said of itself so far: what it does less well than XNAT with a script that was set."""
        return [note for line in self.log() for note in line.get("notes", [])]

    def faults(self, rules: list[dict[str, Any]]) -> None:
        """Replace the fault rules while it runs.

        Raises
        ------
        ValueError
            With a sentence, if one is none; the old ones stay in force.
        """
        body = json.dumps(rules).encode()
        request = urllib.request.Request(
            self.url + "/_faults", body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
        except urllib.error.HTTPError as refusal:
            if refusal.code != 400:
                raise
            raise ValueError(json.loads(refusal.read())["error"]) from None

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def stop(self) -> None:
        """End it in order; ends it anyway after ten seconds."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@contextlib.contextmanager
def running(
    demo: bool = False,
    data: str | Path | None = None,
    faults: str | Path | None = None,
    receiver: bool = False,
    receiver_tls: tuple[str | Path, str | Path] | None = None,
    personality: str = "",
) -> Iterator[RunningServer]:
    """An XNAT-compatible server on a free port of this machine, for as long as the context lasts.

    ``receiver=True`` adds a DICOM receiver, with ``receiver_tls`` (certificate, key) an encrypted one; it needs the
    extra ``receiver``. ``personality`` is ``1.6``, ``1.7.2``, ``1.7``, ``1.8`` or ``1.9``: which XNAT it is
    like where they differ.

    Examples
    --------
    >>> with running() as xnat:
    ...     xnat.url.startswith("http://127.0.0.1:")
    True
    """
    folder = Path(data) if data else Path(tempfile.mkdtemp(prefix="xnbtransfer-server-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = RunningServer(folder, demo, faults, receiver, receiver_tls, personality)
        try:
            yield server
        finally:
            server.stop()
    finally:
        if not data:
            shutil.rmtree(folder, ignore_errors=True)


def main(words: list[str] | None = None) -> None:
    """The command line of ``python -m xnbtransfer.server``."""
    parser = argparse.ArgumentParser(
        prog="python -m xnbtransfer.server", description="An embedded XNAT-compatible server."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--data", help="folder with the state; without it one that is removed at the end")
    parser.add_argument("--demo", action="store_true", help="fill an empty state with the demo content")
    parser.add_argument("--faults", help="JSON file with fault rules")
    parser.add_argument("--receiver", type=int, metavar="PORT", help="also receive DICOM here (C-STORE); 0: any free")
    parser.add_argument("--receiver-tls", nargs=2, metavar=("CERT", "KEY"), help="PEM files: encrypted receiving only")
    parser.add_argument("--personality", choices=tuple(VERSIONS), default="", help="the XNAT to be like")
    chosen = parser.parse_args(words)
    serve(
        chosen.host,
        chosen.port,
        chosen.data,
        chosen.demo,
        chosen.faults,
        chosen.receiver,
        tuple(chosen.receiver_tls) if chosen.receiver_tls else None,
        chosen.personality,
    )
