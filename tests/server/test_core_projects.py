"""Projects, roles, settings and scripts (REST tests TestProjectResources, TestProjectURIs, TestSharing)."""

from __future__ import annotations

import pytest
from people import AS_JSON, AS_TEXT


def test_what_each_role_may_do(study, person):
    subject = f"{study.path}/subjects/NEW"
    assert person("outsider").get(study.path, params={"format": "json"}).status_code == 404
    assert person("outsider").get(f"/data/experiments/{study.ids['S01_MR1']}").status_code == 404
    assert person("outsider").put(subject).status_code == 422
    assert person("collaborator").put(subject).status_code == 403
    assert person("member").put(subject).status_code == 201
    assert person("member").put(subject).status_code == 200
    for role in ("member", "collaborator"):
        assert person(role).delete(subject).status_code == 403
        assert person(role).delete(study.path).status_code == 403
        assert person(role).put(f"{study.path}/prearchive_code/0").status_code == 403
    assert person("outsider").delete(subject).status_code == 404
    assert study.owner.delete(subject).status_code == 200
    assert study.owner.delete(subject).status_code == 404


def test_a_protected_project_shows_itself_but_not_its_data(study, person):
    outsider = person("outsider")
    assert study.owner.put(f"{study.path}/accessibility/protected").status_code == 200
    assert study.owner.get(f"{study.path}/accessibility").text == "protected"
    assert outsider.get(study.path, params={"format": "json"}).status_code == 200
    assert outsider.get(f"{study.path}/experiments").status_code == 403
    assert outsider.put(f"{study.path}/subjects/2").status_code == 403
    assert outsider.delete(study.path).status_code == 403
    assert study.owner.put(f"{study.path}/accessibility/public").status_code == 200
    assert outsider.get(f"{study.path}/experiments").status_code == 200


@pytest.mark.parametrize("code", ["4", "0", "5", "11"])
def test_the_prearchive_code_is_any_number(study, code):
    assert study.owner.put(f"{study.path}/prearchive_code/{code}").status_code == 200
    assert study.owner.get(f"{study.path}/prearchive_code").text == code


def test_settings_that_do_not_exist(study):
    assert study.owner.put(f"{study.path}/prearchive_code/x").status_code == 400
    assert study.owner.get(f"{study.path}/nonsense").status_code == 400
    assert study.owner.get(f"{study.path}/quarantine_code").text == "0"


def test_ids_names_and_aliases_belong_to_one_project(person):
    owner, other = person("owner"), person("member")
    given = {"name": "One study", "secondary_ID": "ONE_2", "alias": "one_alias"}
    assert owner.put("/data/projects/ONE", params=given).status_code == 200
    assert owner.get("/data/projects/one_alias", params={"format": "json"}).status_code == 200
    assert other.put("/data/projects/ONE", params={"name": "x"}).status_code == 403
    for clash in ({"name": "one STUDY"}, {"secondary_ID": "one"}, {"alias": "ONE"}):
        assert other.put("/data/projects/TWO", params=clash).status_code in (403, 409), clash
    assert other.put("/data/projects/NE.W").status_code == 417


def test_the_users_of_a_project(study, person):
    rows = study.owner.rows(f"{study.path}/users")
    assert {row["login"]: row["GROUP_ID"] for row in rows} == {
        person(role).login: f"{study.name}_{role}" for role in ("owner", "member", "collaborator")
    }
    assert set(rows[0]) == {"GROUP_ID", "displayname", "login", "firstname", "lastname", "email"}
    assert person("member").put(f"{study.path}/users/Owners/{person('member').login}").status_code == 403
    assert study.owner.delete(f"{study.path}/users/Members/{person('member').login}").status_code == 200
    assert person("member").get(study.path, params={"format": "json"}).status_code == 404


def test_my_own_roles(study, person):
    found = [row for row in person("member").get("/xapi/access/projects").json() if row["ID"] == study.name]
    assert [(row["role"], row["group_id"]) for row in found] == [("Members", f"{study.name}_member")]


def test_the_script_of_a_project(study, person):
    path = f"/xapi/anonymize/projects/{study.name}"
    assert study.owner.get(path).status_code == 204
    assert study.owner.get(f"{path}/enabled").json() is False
    script = 'version "6.1"\n(0010,0010) := "X"'
    headers = {"Content-Type": "text/plain"}
    assert person("member").put(path, data=script, headers=headers).status_code == 403
    assert study.owner.put(path, data=script, headers=headers).status_code == 200
    assert study.owner.put(f"{path}/enabled", params={"enable": "true"}, headers=AS_JSON).status_code == 200
    assert study.owner.get(f"{path}/enabled").json() is True
    assert person("member").get(path).text == script
    view = study.owner.rows(f"{study.path}/config/anon/projects/{study.name}")
    assert (view[0]["contents"], view[0]["status"]) == (script, "enabled")


def test_the_script_of_the_site(person):
    owner, admin = person("owner"), person("admin")
    assert "(0010,0010)" in owner.get("/xapi/anonymize/site").text
    assert owner.get("/xapi/anonymize/site/enabled").json() is True
    assert owner.put("/xapi/anonymize/site/enabled", params={"enable": "false"}, headers=AS_JSON).status_code == 403
    try:
        assert admin.put("/xapi/anonymize/site/enabled", params={"enable": "false"}, headers=AS_JSON).status_code == 200
        assert owner.get("/xapi/siteConfig/enableSitewideAnonymizationScript").text == "false"
    finally:
        admin.put("/xapi/anonymize/site/enabled", params={"enable": "true"}, headers=AS_JSON)


def test_settings_of_the_site(person):
    owner = person("owner")
    assert owner.get("/xapi/siteConfig/checksums").json() is True
    assert owner.get("/xapi/siteConfig/buildInfo").json()["version"].startswith("1.8")
    assert owner.get("/xapi/siteConfig/sessionTimeout").status_code == 403
    assert owner.get("/xapi/siteConfig/noSuchThing").status_code == 403


def test_configurations_have_versions(study, person):
    path = f"{study.path}/config/tool/a/b"
    assert study.owner.get(path).status_code == 404
    assert study.owner.get(path, params={"accept-not-found": "true"}).status_code == 204
    assert person("member").put(path, data="one").status_code == 403
    assert study.owner.put(path, data="one").status_code == 201
    assert study.owner.put(path, data="two").status_code == 200
    assert study.owner.get(path, params={"contents": "true"}).text == "two"
    assert study.owner.put(path, params={"status": "nonsense"}).status_code == 400


def test_schemas_are_schemas(person):
    import xml.etree.ElementTree as ElementTree

    owner = person("owner")
    names = owner.get("/xapi/schemas").json()
    assert {"xnat", "xdat"} <= set(names)
    for name in names:
        for path in (f"/xapi/schemas/{name}", f"/schemas/{name}.xsd"):
            assert ElementTree.fromstring(owner.get(path).content).tag.endswith("}schema")


def test_many_who_make_the_same_session_at_once_get_one(study):
    from concurrent.futures import ThreadPoolExecutor

    import requests

    def make(_: int) -> tuple[int, str]:
        answer = requests.put(
            f"{study.owner.server.url}{study.path}/subjects/S09/experiments/S09_MR1",
            params={"xsiType": "xnat:mrSessionData"},
            auth=study.owner.auth,
            timeout=60,
        )
        return answer.status_code, answer.text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(make, range(16)))
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({accession for _, accession in answers}) == 1


def test_fields_of_subjects_and_sessions(study):
    path = f"{study.path}/subjects/S01"
    given = {"gender": "female", "project": study.name, "group": "control"}
    assert study.owner.put(path, params=given).status_code == 200
    item = study.owner.get(path, params={"format": "json"}).json()["items"][0]
    assert item["data_fields"]["group"] == "control"
    people = next(child for child in item["children"] if child["field"] == "demographics")
    assert people["items"][0]["data_fields"]["gender"] == "female"
    session = f"{study.path}/subjects/S01/experiments/S01_MR1"
    custom = "xnat:mrSessionData/fields/field[name=colour]/field"
    assert study.owner.put(session, params={custom: "blue", "note": "seen"}).status_code == 200
    item = study.owner.get(session, params={"format": "json"}).json()["items"][0]
    assert item["data_fields"]["note"] == "seen"
    fields = next(child for child in item["children"] if child["field"] == "fields/field")
    assert fields["items"][0]["data_fields"] == {"name": "colour", "field": "blue"}


def test_a_session_is_found_only_in_its_own_project(study, person):
    owner = study.owner
    assert owner.put(f"/data/projects/{study.name}_B").status_code == 200
    accession = study.ids["S01_MR1"]
    assert owner.get(f"{study.path}/experiments/{accession}").status_code == 200
    assert owner.get(f"/data/projects/{study.name}_B/experiments/{accession}").status_code == 404


def test_who_is_there(person):
    owner = person("owner")
    assert owner.get("/xapi/users/username").text == owner.login
    assert owner.login in {row["login"] for row in owner.rows("/data/users")}


def test_a_refresh_fills_missing_digests(study, person):
    admin, path = person("admin"), "experiments/S01_MR1/scans/1/resources/NEW"
    admin.post("/xapi/siteConfig/checksums", data="false", headers=AS_TEXT)
    try:
        study.upload(f"{path}/files/x", b"x")
    finally:
        admin.post("/xapi/siteConfig/checksums", data="true", headers=AS_TEXT)
    assert study.owner.rows(f"{study.path}/{path}/files")[0]["digest"] == ""
    ask = {"resource": f"/archive/experiments/{study.ids['S01_MR1']}", "options": "checksum,populateStats"}
    assert person("collaborator").post("/data/services/refresh/catalog", params=ask).status_code == 403
    assert study.owner.post("/data/services/refresh/catalog", params=ask).status_code == 200
    assert study.owner.rows(f"{study.path}/{path}/files")[0]["digest"] == "9dd4e461268c8034f5c8564e155c67a6"
