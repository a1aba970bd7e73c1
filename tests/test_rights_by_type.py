"""Rights are per type of session in XNAT: a "no" for MR sessions says nothing of CT sessions, nor does a "yes"."""

from __future__ import annotations

import datetime
from types import SimpleNamespace

import pytest
from standin import PASSWORD, USER, standing_in, table

from xnbtransfer.finish import _concerns
from xnbtransfer.method_options import FinishOptions, PrearchiveOptions
from xnbtransfer.prearchive import plan_prearchive
from xnbtransfer.values import Settings
from xnbtransfer.xnat import connect

ROW = "/prearchive/projects/P/20260101_010203000/S1"
MR, CT, PET = "xnat:mrSessionData", "xnat:ctSessionData", "xnat:petSessionData"
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture
def standin():
    """A project P with a row of a CT session; ``server.may`` are the pairs of action and type that are permitted."""
    with standing_in() as server:
        server.may = {("read", kind) for kind in (MR, CT, PET)}

        def rights(query: dict) -> tuple[int, dict, bytes]:
            ok = (query["permissions"][0], query["dataType"][0]) in server.may
            return 200, {}, table([{"id": "P"}] if ok else [])

        row = {"url": ROW, "status": "READY", "name": "S1", "subject": "S", "project": "P", "tag": "1.2.3"}
        server.answers |= {
            "/data/projects": rights,
            "/data/projects/P": [(200, {}, b'{"items": []}')],
            "/data/projects/P/experiments": [(200, {}, table([]))],
            "/data/prearchive/projects/P": [(200, {}, table([row]))],
            f"/data{ROW}/resources": [(200, {}, table([{"category": "scans", "cat_id": "1", "label": "DICOM"}]))],
            f"/data{ROW}/scans": [(200, {}, table([{"ID": "1", "xsiType": "xnat:ctScanData"}]))],
            "/data/services/validate-archive": [(200, {}, table([]))],
        }
        yield server


@pytest.fixture
def connection(standin):
    with connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as found:
        yield found


def lacking(connection, action: str) -> list[str]:
    options = PrearchiveOptions.from_mapping({"destination_project": "P", "action": action})
    plan, _ = plan_prearchive(connection, options)
    assert [change.action for change in plan.sessions] == [action]
    return [one.sentence for one in plan.findings if one.rule == "M02"]


@pytest.mark.parametrize(
    ("may", "archive", "rebuild"),
    [
        ({("edit", MR), ("create", MR)}, [f"{USER} may not create {CT} in P."], []),
        ({("edit", CT), ("create", CT)}, [], []),
        ({("edit", PET), ("create", CT)}, [], []),
        (set(), ["prearchive", f"may not create {CT}"], ["prearchive"]),
    ],
    ids=["MR alone", "CT alone", "edit of another type", "nothing"],
)
def test_a_waiting_ct_session_takes_the_rights_to_ct_sessions(connection, standin, may, archive, rebuild):
    standin.may |= may
    for action, expected in (("archive", archive), ("rebuild", rebuild)):
        said = lacking(connection, action)
        assert len(said) == len(expected) and all(part in one for part, one in zip(expected, said, strict=True)), said


def test_a_row_that_is_not_built_has_no_type_yet(connection, standin):
    standin.may |= {("edit", MR), ("create", MR)}
    del standin.answers[f"/data{ROW}/scans"]
    assert lacking(connection, "archive") == []


@pytest.mark.parametrize("kinds", [[CT], [MR], [CT, PET]])
def test_a_deletion_takes_the_right_to_each_type_that_is_deleted(connection, standin, kinds):
    standin.may |= {("delete", MR), ("delete", PET)}
    record = SimpleNamespace(summary={"finished_at": "2026-01-01T00:00:00+00:00"})
    plan = SimpleNamespace(source=SimpleNamespace(project="P"))
    settings = Settings(can_read=True, can_delete=True)
    found = _concerns(record, plan, settings, connection, FinishOptions.from_mapping({}), NOW, kinds)
    said = [one.sentence for one in found if one.rule in ("M02", "M03")]
    assert said == ([f"{USER} may not delete {CT} of P."] if CT in kinds else [])
