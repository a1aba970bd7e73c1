"""xnatutils: `ls`, `put` and `get`."""

from __future__ import annotations

import pytest
from client_kit import SESSIONS, drive, unknown

pytestmark = [pytest.mark.other_client, pytest.mark.needs("1.7.2", because="it asks for /xapi, and 1.6 has none")]


def test_ls_put_and_get(client, source, tmp_path):
    seen = drive(client("xnatutils"), "drive_xnatutils.py", source, tmp_path)
    assert {"DEMO_SOURCE", "XU"} <= set(seen["projects"])
    assert set(seen["sessions"]) >= SESSIONS
    assert seen["put"] == ["XU_S1_MR1"]
    assert len(seen["got"]) == 10
    assert seen["same"] == [True]
    assert unknown(source) == []
