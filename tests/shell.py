"""The command line against one server: what a user types, the exit code, and all that was said."""

from __future__ import annotations

import json
from pathlib import Path

from roads import writes

from xnbtransfer.cli import invoke

WAIVE = """format: 1
waivers:
  - {rule: S13, scope: {everywhere: true}, reason: "made-up data, nothing to anonymise"}
"""


class Shell:
    """Somebody at a shell, in a folder of their own."""

    def __init__(self, server, folder: Path, capsys, monkeypatch, role: str = "owner") -> None:
        self.server, self.folder, self.capsys = server, folder, capsys
        user, password = server.accounts[role]
        monkeypatch.chdir(folder)
        for name, value in (("HOST", server.url), ("USER", user), ("PASS", password)):
            monkeypatch.setenv(f"XNAT_{name}", value)
        (folder / "waive.yaml").write_text(WAIVE)
        self.plans = 0

    def __call__(self, *words: object) -> tuple[int, str]:
        code = int(invoke([str(word) for word in words]))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out + err

    def plan(self, source: str, destination: str, *words: object) -> str:
        """The name of a plan that has no blockers."""
        self.plans += 1
        name = f"plan{self.plans}.json"
        code, said = self("plan", source, destination, "-o", name, *words)
        assert code == 0, said
        return name

    def copy(self, source: str, destination: str, *words: object) -> tuple[int, str, str]:
        """Plan and run: the exit code of the run, all that it said, and the folder of the run."""
        name = self.plan(source, destination, *words)
        code, said = self("run", name)
        return code, said, name.removesuffix(".json") + ".run"

    def copy_files(self, source: str, destination: str, *words: object) -> tuple[int, str, str]:
        """The same by the files door, what bypasses the scripts waived."""
        return self.copy(source, destination, "--method", "files", "--waivers", "waive.yaml", *words)

    def counts(self, folder: str) -> dict:
        """The verdicts of ``verify`` over a folder, and its exit code as ``exit_code``."""
        code = int(invoke(["verify", folder, "--json"]))
        found = json.loads(self.capsys.readouterr().out)
        return {**found["verdicts"], "exit_code": code}

    def writes(self, since: int = 0) -> list[dict]:
        return writes(self.server)[since:]
