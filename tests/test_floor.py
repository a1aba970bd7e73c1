"""A copy on the oldest supported packages: what `.ci/run` runs in its floor environment, and everywhere else, too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from roads import DESTINATION, as_, copy  # noqa: E402

from xnbtransfer import server as embedded  # noqa: E402
from xnbtransfer.demo import embedded_server  # noqa: E402
from xnbtransfer.errors import ExitCode  # noqa: E402
from xnbtransfer.inventory import read_inventory, read_inventory_files, write_inventory  # noqa: E402
from xnbtransfer.notebook import run_template  # noqa: E402
from xnbtransfer.options import TransferOptions  # noqa: E402
from xnbtransfer.record import open_record  # noqa: E402


def test_a_copy_is_proved(tmp_path):
    with embedded.running(demo=True) as server:
        made, result = copy(server, tmp_path, archive=True)
        assert made.totals["sessions"] >= 5
        assert result.exit_code == ExitCode.PROVED
        with as_(server) as connection:
            found = read_inventory(connection, DESTINATION)
        back = read_inventory_files(write_inventory(found, tmp_path / "inventory"))
        assert list(back.sessions["session"]) == list(found.sessions["session"])
        assert list(back.files["md5"]) == list(found.files["md5"])


def test_the_commands_find_the_server():
    assert embedded_server() is embedded


def test_the_template_makes_a_record(tmp_path, monkeypatch):
    with embedded.running(demo=True) as server:
        user, password = server.accounts["member"]
        for name, value in (("HOST", server.url), ("USER", user), ("PASS", password)):
            monkeypatch.setenv(f"XNAT_{name}", value)
        chosen = TransferOptions.from_mapping(
            {
                "source_project": "DEMO_SOURCE",
                "destination_project": DESTINATION,
                "sessions": ["001_MR2"],
                "record_root": str(tmp_path),
            }
        )
        record = run_template("transfer", chosen)
    assert open_record(record).summary["exit_code"] == 0
