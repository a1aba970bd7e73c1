"""The page about the server says what is true."""

from __future__ import annotations

import re
from pathlib import Path

from xnbtransfer.server.faults import FAULTS, STORE_FAULTS, WANTS

HERE = Path(__file__).parent
PAGE = (HERE.parent.parent / "docs" / "embedded-server.md").read_text(encoding="utf-8")


def test_every_fault_is_described_and_no_other():
    table = PAGE.partition("## Faults")[2].partition("## What is imitated")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    assert {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)} == {*FAULTS, *STORE_FAULTS}


def test_what_a_fault_wants_is_described():
    table = PAGE.partition("## Faults")[2].partition("## What is imitated")[0]
    described = {}
    for cells in re.findall(r"^\| (`.*?) \|.*\|(.*)\|$", table, flags=re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", cells[0]):
            described[name] = set(re.findall(r"`([^`]+)`", cells[1])) - {"seed", "retry_after_s"}
    for name in [*FAULTS, *STORE_FAULTS]:
        assert set(WANTS.get(name, ())) == described[name] or name.endswith("-on-store"), name


def test_every_file_that_shows_something_exists():
    for name in set(re.findall(r"`(test_core_\w+\.py)`", PAGE)):
        assert (HERE / name).is_file(), name
