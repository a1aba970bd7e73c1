"""Anonymisation, configuration, refresh, schemas, workflows: items 132 to 142."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pydicom
import pytest
from contract_kit import DEIDENTIFIED, message
from people import AS_JSON

TEXT = {"Content-Type": "text/plain"}
SCRIPT = 'version "6.1"\n(0008,0080) := "by the project"\n'


def set_script(desk, enabled: bool = True, script: str = SCRIPT) -> None:
    path = f"/xapi/anonymize/projects/{desk.project}"
    assert desk.owner.put(path, data=script, headers=TEXT).status_code == 200
    switch = {"enable": str(enabled).lower()}
    assert desk.owner.put(f"{path}/enabled", params=switch, headers=AS_JSON).status_code == 200


def runs(desk, headers) -> set[int]:
    """How many scripts left their mark on each of the files, beyond what they carried when they were sent."""
    (before,) = {len(getattr(pydicom.dcmread(io.BytesIO(data)), DEIDENTIFIED, [])) for _, data in desk.series(1, 1)}
    return {len(getattr(header, DEIDENTIFIED, [])) - before for header in headers}


def archived(desk, accession: str):
    return desk.headers(f"/data/experiments/{accession}/scans/ALL/files")


def test_item_132_both_scripts(desk):
    """Both scripts run: the site's on the way in, the project's when archiving.

    Source: REST test TestAnonymizerLegacy.
    """
    set_script(desk)
    uri = desk.to_prearchive(desk.series(1, 2))
    waiting = desk.headers(uri)
    assert runs(desk, waiting) == {1}
    assert {header.StudyDescription for header in waiting} == {desk.project}
    assert desk.archive(uri).status_code == 200
    found = archived(desk, desk.accession("S1_MR1"))
    assert runs(desk, found) == {2}
    assert {header.InstitutionName for header in found} == {"by the project"}
    first = [code.CodeValue for code in getattr(waiting[0], DEIDENTIFIED)]
    assert [code.CodeValue for code in getattr(found[0], DEIDENTIFIED)][: len(first)] == first


def test_item_133_one_script(desk):
    """A script that is switched off does not run. Source: REST test TestAnonymizerLegacy."""
    set_script(desk, enabled=False)
    found = archived(desk, desk.archived(desk.series(1, 2)))
    assert runs(desk, found) == {1}
    assert all(getattr(header, "InstitutionName", "") != "by the project" for header in found)
    set_script(desk)
    with desk.site.setting("enableSitewideAnonymizationScript", "false"):
        accession = desk.archived(desk.series(1, 2, study="B", session="S1_MR2"), session="S1_MR2")
    found = archived(desk, accession)
    assert runs(desk, found) == {1}
    assert {header.InstitutionName for header in found} == {"by the project"}
    assert {header.StudyDescription for header in found} == {"nowhere"}


def test_item_134_prevent_anon(desk):
    """`prevent_anon=true`: no script runs. Source: GradualDicomImporter."""
    set_script(desk)
    found = archived(desk, desk.archived(desk.series(1, 2), prevent_anon="true"))
    assert runs(desk, found) == {0}


def test_item_135_script_of_a_project(desk):
    """Script and switch of a project; no script is 204. Source: AnonymizeApi."""
    path = f"/xapi/anonymize/projects/{desk.project}"
    assert desk.owner.get(path).status_code == 204
    assert desk.owner.get(f"{path}/enabled").json() is False
    set_script(desk)
    assert desk.owner.get(path).text == SCRIPT
    assert desk.owner.get(f"{path}/enabled").json() is True
    assert desk.person("collaborator").get(path).status_code == 200
    assert desk.person("member").put(path, data=SCRIPT, headers=TEXT).status_code == 403


def test_item_136_script_on_moving(desk, other):
    """Moving runs the destination's script, whatever the site says of renaming. Source: a live 1.8.11 (L11)."""
    accession = desk.archived(desk.series(1, 2))
    set_script(other)
    path = f"{desk.path}/subjects/S1/experiments/S1_MR1/projects/{other.project}"
    before = [header.SOPInstanceUID for header in archived(desk, accession)]
    assert desk.owner.put(path, params={"primary": "true"}).status_code == 200
    found = archived(desk, accession)
    assert (runs(desk, found), [header.SOPInstanceUID for header in found]) == ({2}, before)
    set_script(desk)
    back = f"{other.path}/subjects/S1/experiments/S1_MR1/projects/{desk.project}"
    answer = other.owner.put(back, params={"primary": "true"})
    assert answer.status_code == 200, message(answer)
    assert runs(desk, archived(desk, accession)) == {3}


def test_item_137_configuration(desk):
    """Configurations have versions. Source: REST test TestConfigService; ConfigResource."""
    path = f"{desk.path}/config/tool/a/b"
    assert desk.owner.put(path, data="one", headers=TEXT).status_code == 201
    assert desk.owner.put(path, data="two", headers=TEXT).status_code == 200
    assert desk.owner.put(path, data="three", headers=TEXT).status_code == 200
    row = desk.owner.rows(path)[0]
    assert (row["contents"], row["version"], row["status"]) == ("three", "3", "enabled")
    assert desk.owner.get(path, params={"version": "2", "contents": "true"}).text == "two"
    assert desk.owner.put(path, params={"status": "nonsense"}).status_code == 400
    assert desk.owner.put(path, params={"status": "disabled"}).status_code == 200
    assert desk.owner.rows(path)[0]["status"] == "disabled"


def test_item_138_configuration_by_role(desk):
    """Only owners write; a private project is refused; nothing there is 204 if one says so.

    Source: REST test TestConfigService; ConfigResource.
    """
    path = f"{desk.path}/config/tool/a"
    for role in ("member", "collaborator", "outsider"):
        assert desk.person(role).put(path, data="one", headers=TEXT).status_code in (403, 404)
    assert desk.owner.get(path).status_code == 404
    assert desk.owner.get(path, params={"accept-not-found": "true"}).status_code == 204
    assert desk.owner.put(path, data="one", headers=TEXT).status_code == 201
    assert desk.person("collaborator").get(path).status_code == 200
    assert desk.person("outsider").get(path).status_code in (403, 404)


def test_item_139_refresh(desk):
    """Refreshing a catalogue needs the right to edit. Source: RefreshCatalog."""
    accession = desk.archived(desk.series(1, 2))
    ask = {"resource": f"/archive/experiments/{accession}", "options": "checksum,populateStats"}
    assert desk.owner.post("/data/services/refresh/catalog", params=ask).status_code == 200
    assert desk.person("collaborator").post("/data/services/refresh/catalog", params=ask).status_code == 403
    assert desk.owner.get("/data/services/refresh/catalog", params=ask).status_code in (404, 405)


def test_item_140_schemas(site):
    """Each schema that is named is an XSD. Source: REST tests TestXapiSchema, TestSchemasOnlyApi."""
    owner = site.agent("owner")
    names = owner.get("/xapi/schemas").json()
    assert {"xnat", "xdat"} <= set(names)
    for name in names[:4]:
        for path in (f"/xapi/schemas/{name}", f"/schemas/{name}.xsd"):
            assert ElementTree.fromstring(owner.get(path).content).tag.endswith("}schema")
    assert owner.get("/xapi/schemas/no-such-schema").status_code == 404


def test_item_141_workflow(desk):
    """A workflow is opened and closed, by its own user only. Source: REST test TestWorkflows."""
    accession = desk.session("S1", "S1_MR1")
    stem = "wrk:workflowData"
    names = {f"{stem}/id": accession, f"{stem}/pipeline_name": "Contract", f"{stem}/launch_time": "2024-01-02 03:04:05"}
    new = {
        **names,
        f"{stem}/data_type": "xnat:mrSessionData",
        f"{stem}/status": "Running",
        f"{stem}/ExternalID": desk.project,
    }
    answer = desk.owner.put("/data/workflows", params={"req_format": "qs", **new})
    assert answer.status_code in (200, 201), message(answer)
    found = desk.owner.get("/data/workflows", params={"format": "json", **names})
    assert found.status_code == 200, message(found)
    fields = found.json()["items"][0]["data_fields"]
    assert fields["status"] == "Running"
    path = f"/data/workflows/{fields['wrk_workflowData_id']}"
    change = {"req_format": "qs", f"{stem}/status": "Complete"}
    assert desk.person("member").put(path, params=change).status_code == 403
    assert desk.owner.put(path, params=change).status_code == 200
    assert desk.owner.fields(path)["status"] == "Complete"
    assert desk.owner.get("/data/workflows/999999999", params={"format": "json"}).status_code == 404


@pytest.mark.parametrize("call", ["field", "file"])
def test_item_142_reason(desk, call):
    """The reason of a change is kept with the session. Source: EventUtils."""
    accession = desk.session("S1", "S1_MR1")
    event = {"event_reason": "said by the contract", "event_action": f"Contract {call}", "event_type": "WEB_SERVICE"}
    path = f"{desk.path}/subjects/S1/experiments/S1_MR1"
    if call == "field":
        assert desk.owner.put(path, params={"note": "x", **event}).status_code == 200
    else:
        assert desk.upload(f"{path}/resources/R/files/x.txt", b"x", **event).status_code == 200
    found = str(desk.workflows(accession))
    assert f"Contract {call}" in found
    assert "said by the contract" in found
