"""Audit entries, workflows and their lock (REST test TestWorkflows; XNAT source: WorkflowResource, EventUtils)."""

from __future__ import annotations

import pytest
from people import AS_TEXT

EVENT = {
    "event_reason": "copied for the study",
    "event_action": "Copied by hand",
    "event_type": "WEB_SERVICE",
    "event_comment": "second try",
}


def events(study, session: str = "S01_MR1") -> list[dict]:
    answer = study.owner.get(f"{study.path}/experiments/{session}/history", params={"format": "json"})
    return answer.json()["events"]


@pytest.mark.parametrize("road", ["fields", "file", "scan file", "share", "rename"])
def test_why_something_was_changed_is_kept(study, road):
    path = f"{study.path}/subjects/S01/experiments/S01_MR1"
    octets = {"headers": {"Content-Type": "application/octet-stream"}, "data": b"x"}
    if road == "fields":
        answer = study.owner.put(path, params={"note": "x", **EVENT})
    elif road == "file":
        answer = study.owner.put(f"{path}/resources/R/files/x", params=EVENT, **octets)
    elif road == "scan file":
        answer = study.owner.put(f"{path}/scans/1/resources/R/files/x", params=EVENT, **octets)
    elif road == "share":
        assert study.owner.put(f"/data/projects/{study.name}_B").status_code == 200
        answer = study.owner.put(f"{path}/projects/{study.name}_B", params=EVENT)
    else:
        answer = study.owner.put(path, params={"label": "S01_MR1_B", **EVENT})
    assert answer.status_code == 200
    newest = events(study, study.ids["S01_MR1"])[0]
    assert (newest["event_action"], newest["event_reason"], newest["event_comment"]) == (
        "Copied by hand", "copied for the study", "second try"
    )  # fmt: skip
    assert (newest["event_user"], newest["event_type"], newest["event_status"]) == (
        study.owner.login, "WEB_SERVICE", "Complete"
    )  # fmt: skip


def test_a_workflow_is_found_and_changed_by_its_fields(study, person):
    wrk = "wrk:workflowData"
    launched = {
        f"{wrk}/id": study.ids["S01_MR1"],
        f"{wrk}/pipeline_name": "Segment",
        f"{wrk}/launch_time": "2024-01-02",
    }
    made = {**launched, f"{wrk}/data_type": "xnat:mrSessionData", f"{wrk}/status": "Running"}
    assert study.owner.put("/data/workflows", params=launched).status_code == 400
    assert person("outsider").put("/data/workflows", params=made).status_code == 403
    assert person("collaborator").put("/data/workflows", params=made).status_code == 403
    assert study.owner.put("/data/workflows", params=made).status_code == 200
    (item,) = study.owner.get("/data/workflows", params={**launched, "format": "json"}).json()["items"]
    assert item["meta"]["xsi:type"] == wrk
    assert item["data_fields"]["status"] == "Running"
    number = item["data_fields"]["wrk_workflowData_id"]
    one = f"/data/workflows/{number}"
    assert person("collaborator").get(one, params={"format": "json"}).status_code == 200
    assert person("outsider").get(one, params={"format": "json"}).status_code == 404
    assert person("member").put(one, params={f"{wrk}/status": "Complete"}).status_code == 403
    assert study.owner.put(one, params={f"{wrk}/status": "Complete", f"{wrk}/step_id": "3"}).status_code == 200
    (item,) = study.owner.get(one, params={"format": "json"}).json()["items"]
    assert (item["data_fields"]["status"], item["data_fields"]["step_id"]) == ("Complete", "3")
    assert study.owner.get("/data/workflows/999999").status_code == 404
    rows = study.owner.rows("/data/services/workflows/Segment", experiment=study.ids["S01_MR1"], display="LATEST")
    assert [row["status"] for row in rows] == ["Complete"]


def test_an_open_workflow_locks_a_session_until_it_ends(study):
    wrk = "wrk:workflowData"
    session = f"{study.path}/subjects/S01/experiments/S01_MR1"
    named = {f"{wrk}/id": study.ids["S01_MR1"], f"{wrk}/pipeline_name": "AutoRun", f"{wrk}/launch_time": "2024-01-02"}
    opened = {**named, f"{wrk}/data_type": "xnat:mrSessionData", f"{wrk}/status": "Queued"}
    assert study.owner.put("/data/workflows", params=opened).status_code == 200
    answer = study.owner.put(session, params={"label": "S01_MR1_B"})
    assert (answer.status_code, "is being processed (AutoRun)" in answer.text) == (409, True)
    assert study.owner.put(session, params={"note": "fields may change"}).status_code == 200
    assert study.owner.put("/data/workflows", params={**named, f"{wrk}/status": "Complete"}).status_code == 200
    assert study.owner.put(session, params={"label": "S01_MR1_B"}).status_code == 200


def test_a_site_may_ask_for_reasons(study, person):
    session = f"{study.path}/subjects/S01/experiments/S01_MR1"
    octets = {"headers": {"Content-Type": "application/octet-stream"}, "data": b"x"}
    names = ("requireChangeJustification", "showChangeJustification")
    try:
        for name in names:
            assert study.owner.put(session, params={"note": "x"}).status_code == 200, "both settings are needed"
            assert person("admin").post(f"/xapi/siteConfig/{name}", data="true", headers=AS_TEXT).status_code == 200
        assert study.owner.put(session, params={"note": "y"}).status_code == 500
        answer = study.owner.delete(session)
        assert (answer.status_code, "Justification required." in answer.text) == (403, True)
        assert study.owner.put(f"{session}/resources/R/files/x", **octets).status_code == 500
        assert study.owner.rows(f"{session}/resources") == []
        form = {"note": "y", **EVENT}
        assert study.owner.put(session, data=form).status_code == 500, "in a form a reason does not count"
        assert study.owner.put(session, params={"label": "RENAMED"}).status_code == 500
        assert study.owner.put(session, params={"note": "y", **EVENT}).status_code == 200
        assert study.owner.delete(session, params=EVENT).status_code == 200
    finally:
        for name in names:
            person("admin").post(f"/xapi/siteConfig/{name}", data="false", headers=AS_TEXT)


@pytest.mark.parametrize("number", ["99999999999999999999", "²", "0"])
def test_a_number_that_no_workflow_has_is_not_found(study, number):
    for method in ("GET", "PUT"):
        assert study.owner.request(method, f"/data/workflows/{number}").status_code == 404
