"""xnatpy with its object model, as scripts use it."""

from __future__ import annotations

import pytest
from client_kit import SESSIONS, Reader, drive, unknown

pytestmark = [pytest.mark.other_client, pytest.mark.needs("1.7.2", because="it asks for /xapi, and 1.6 has none")]


@pytest.fixture(scope="module")
def seen(client, source, tmp_path_factory) -> dict:
    """What the script saw, part by part; it ends with an error where a part could not be done."""
    return drive(client("xnatpy"), "drive_xnatpy.py", source, tmp_path_factory.mktemp("xnatpy"))


def test_object_model(seen):
    found = seen["model"]
    assert found["version"].startswith("1.")
    assert found["user"] == "olga"
    assert found["subjects"] == [f"{number:03}" for number in range(1, 8)]
    assert set(found["sessions"]) == SESSIONS
    assert found["sessions"]["004_PET1"] == "PetSessionData"
    assert found["fields"][:2] == ["2024-01-08", "MR"]
    assert found["fields"][3:] == ["001", "DEMO_SOURCE"]
    assert found["scans"]["2"] == ["MrScanData", "T1w MPRAGE", "usable"]
    assert found["resources"]["DICOM"][:2] == [10, 10]
    assert found["results"] == ["BIDS", "MRIQC"]
    assert ["003_CT1", "CT"] in found["table"]
    assert found["users"] == ["carl", "mia", "olga"]
    assert found["roles"]["DEMO_SOURCE"] == "Owners"


def test_downloads(seen, source):
    listed = Reader(source).files("DEMO_SOURCE")
    first = {key: value for key, value in listed.items() if key[0] == "001_MR1" and key[1]}
    assert seen["downloads"]["file"][0] == seen["downloads"]["file"][1]
    assert seen["downloads"]["scan"] == sorted(value for key, value in first.items() if key[1] == "1")
    assert seen["downloads"]["session"] == sorted(first.values())
    assert seen["downloads"]["magic"] == "DICM"


def test_making_and_uploading(seen):
    found = seen["uploads"]
    assert found["subject"] == ["S1", "female"]
    assert found["session"] == ["S1_MR1", "seen", "blue", True]
    assert found["scan"] == ["7", "T1", "a scan"]
    assert found["text"] == "some text"
    assert found["tree"] == ["sub/y.txt", "x.txt"]
    assert found["deleted"] == [1, False]


def test_import(seen):
    found = seen["imports"]
    assert found["session"] == ["I1_MR1", "I1", "MrSessionData"]
    assert found["files"] == 10
    assert found["refused"] == "XNATUploadError"


def test_prearchive(seen):
    found = seen["prearchive"]
    assert found["row"] == ["P1_MR1", "P1", "BY_XNATPY", "READY"]
    assert found["scans"] == [["1", 10]]
    assert found["archived"] == ["P1_MR1", 1]
    assert "P2_MR1" in found["waiting"]
    assert found["moved"] == 1
    assert "P2_MR1" not in found["left"]


def test_sharing_renaming_deleting(seen):
    found = seen["sharing"]
    assert found["there"] == [True, True]
    assert found["sharing"] == [["DEMO_DESTINATION", "SHARED_MR1"]]
    assert found["renamed"]
    assert found["deleted"]


def test_everything_it_asked_for_is_imitated(seen, source):
    """``/data/version`` as well, which XNAT 1.7 and later answer with 404."""
    assert unknown(source) == []
