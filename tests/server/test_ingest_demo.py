"""What the demonstration holds, and what large projects are made of."""

from __future__ import annotations

import hashlib

import pydicom
import pytest

from xnbtransfer.server import demo
from xnbtransfer.server.state import State

ACCOUNTS = {role: (role, "") for role in ("admin", "owner", "member", "collaborator", "outsider")}


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> State:
    made = State(tmp_path_factory.mktemp("demo"))
    demo.populate(made, ACCOUNTS)
    return made


def stored(state: State, project: str) -> list:
    return state.rows("SELECT f.*, e.label AS session FROM files f JOIN resources r ON r.pk=f.resource_pk AND "
                      "r.parent_kind='scan' JOIN scans s ON s.pk=r.parent_id JOIN experiments e ON "
                      "e.id=s.experiment_id WHERE e.project=?", project)


def test_source_has_distinct_files(state):
    files = stored(state, demo.SOURCE)
    assert 300 < len(files) < 600
    assert len({row["sop_uid"] for row in files}) == len(files)
    pixels = set()
    for row in files:
        path = state.file_path(row["resource_pk"], row["path"])
        data = path.read_bytes()
        assert hashlib.md5(data).hexdigest() == row["md5"]
        dataset = pydicom.dcmread(path)
        assert dataset.PatientID == row["session"]
        assert dataset.SOPInstanceUID == row["sop_uid"]
        pixels.add(dataset.PixelData)
    assert len(pixels) == len(files)


def test_sessions_and_roles(state):
    sessions = state.rows("SELECT * FROM experiments WHERE project=?", demo.SOURCE)
    assert len(sessions) >= 8
    assert {row["modality"] for row in sessions} == {"MR", "CT", "PT"}
    assert len({row["subject_id"] for row in sessions}) < len(sessions)
    for project in (demo.SOURCE, demo.DESTINATION):
        roles = {role: state.role(role, project) for role in ACCOUNTS}
        assert roles == {"admin": "", "owner": "owner", "member": "member", "collaborator": "collaborator",
                         "outsider": ""}


def test_destination_has_conflicts(state):
    source = {row["label"]: row["uid"] for row in state.rows("SELECT * FROM experiments WHERE project=?", demo.SOURCE)}
    there = {row["label"]: row["uid"]
             for row in state.rows("SELECT * FROM experiments WHERE project=?", demo.DESTINATION)}
    waiting = {row["name"]: row["tag"] for row in state.rows("SELECT * FROM prearchive")}
    assert [there[label] == source[label] for label in ("003_CT1", "002_MR1")] == [True, False]
    assert waiting == {"004_PET1": source["004_PET1"]}
    assert len(set(source) - set(there) - set(waiting)) >= 5
    assert state.project(demo.DESTINATION)["prearchive_code"] == 0
    stamps = set()
    for row in stored(state, demo.DESTINATION):
        dataset = pydicom.dcmread(state.file_path(row["resource_pk"], row["path"]))
        stamps.add(dataset.DeidentificationMethodCodeSequence[-1].CodingSchemeDesignator)
    assert stamps == {"XNAT"}


def test_bulk(tmp_path):
    state = State(tmp_path)
    state.add_user("olga", "x", "Olga", "Owner")
    demo.bulk(state, "ROWS", 20, 3, 5, 0)
    assert len(stored(state, "ROWS")) == 300
    demo.bulk(state, "FILES", 1, 2, 3, 50_000, prefix="F")
    files = stored(state, "FILES")
    datasets = [pydicom.dcmread(state.file_path(row["resource_pk"], row["path"])) for row in files]
    assert len({dataset.PixelData for dataset in datasets}) == 6
    assert [dataset.SOPInstanceUID for dataset in datasets] == [row["sop_uid"] for row in files]
