"""pyxnat, as scripts use it."""

from __future__ import annotations

import pytest
from client_kit import SESSIONS, drive, unknown

pytestmark = pytest.mark.other_client


@pytest.fixture(scope="module")
def seen(client, source, tmp_path_factory) -> dict:
    return drive(client("pyxnat"), "drive_pyxnat.py", source, tmp_path_factory.mktemp("pyxnat"))


def test_selecting_and_reading(seen):
    found = seen["read"]
    assert found["projects"] == ["DEMO_DESTINATION", "DEMO_SOURCE"]
    assert found["subjects"] == [f"{number:03}" for number in range(1, 8)]
    assert set(found["sessions"]) == SESSIONS
    assert found["exists"] == [True, True, False]
    assert found["attributes"] == ["2024-01-08", "xnat:mrSessionData", "localizer", "xnat:mrScanData"]
    assert found["scans"] == ["1", "2", "3"]
    assert found["files"] == [10, "DICOM"]
    assert (found["mr"], found["scans by array"]) == (5, 14)
    assert (found["users"], found["role"]) == (["carl", "mia", "olga"], "owner")


def test_downloading(seen):
    found = seen["download"]
    assert found["size"][0] == found["size"][1]
    assert (found["magic"], found["unpacked"]) == ("DICM", 10)


def test_making_changing_deleting(seen):
    found = seen["write"]
    assert found["subject"] == [True, "female"]
    assert found["session"] == ["2024-02-03", "seen"]
    assert found["scan"] == "xnat:mrScanData"
    assert (found["files"], found["content"]) == (["a/note.txt"], "some text")
    assert found["assessor"] == [["GIVEN"], ["RESULT"]]
    assert found["shares"] == [["BY_PYXNAT", "DEMO_DESTINATION"], ["BY_PYXNAT"]]
    assert found["left"] is False


def test_everything_it_asked_for_is_imitated(seen, source):
    assert unknown(source) == []
