"""The configuration service and preferences (REST tests TestConfigService, TestXapiSiteConfig)."""

from __future__ import annotations

from people import AS_TEXT

JSON = {"Content-Type": "application/json"}


def test_tools_paths_and_history(study):
    path = f"{study.path}/config"
    for body in ("one", "two"):
        study.owner.put(f"{path}/tool/a/b", data=body)
    study.owner.put(f"{path}/tool/c", data="other")
    assert {row["tool"] for row in study.owner.rows(path)} == {"tool"}
    assert {(row["path"], row["contents"]) for row in study.owner.rows(f"{path}/tool")} == {
        ("a/b", "two"), ("c", "other")
    }  # fmt: skip
    history = study.owner.rows(f"{path}/tool/a/b", action="getHistory")
    assert [(row["version"], row["contents"]) for row in history] == [("2", "two"), ("1", "one")]
    (meta,) = study.owner.rows(f"{path}/tool/a/b", meta="true")
    assert ("contents" in meta, meta["version"], meta["user"]) == (False, "2", study.owner.login)
    assert study.owner.get(f"{path}/nothing").status_code == 404


def test_what_is_switched_off_has_no_contents(study):
    path = f"{study.path}/config/tool/a"
    study.owner.put(path, data="one")
    assert study.owner.delete(path).status_code == 200
    assert study.owner.get(path, params={"contents": "true"}).status_code == 404
    assert study.owner.get(path, params={"contents": "true", "accept-not-found": "true"}).status_code == 204
    assert study.owner.rows(path)[0]["status"] == "disabled"
    assert study.owner.put(path, params={"status": "enabled"}).status_code == 200
    assert study.owner.get(path, params={"contents": "true"}).text == "one"
    assert study.owner.delete(f"{path}/nothing").status_code == 404


def test_a_project_may_fall_back_to_the_site(study, person):
    name = f"tool_{study.name}"
    assert person("member").put(f"/data/config/{name}/x", data="site").status_code == 403
    assert person("admin").put(f"/data/config/{name}/x", data="site").status_code == 201
    path = f"{study.path}/config/{name}/x"
    assert study.owner.get(path).status_code == 404
    assert study.owner.get(path, params={"contents": "true", "defaultToSiteWide": "true"}).text == "site"
    study.owner.put(path, data="own")
    assert study.owner.get(path, params={"contents": "true", "defaultToSiteWide": "true"}).text == "own"


def test_a_json_body_may_carry_contents_and_status(study):
    path = f"{study.path}/config/tool/json"
    assert study.owner.put(path, json={"contents": "c", "status": "disabled"}).status_code == 201
    row = study.owner.rows(path)[0]
    assert (row["contents"], row["status"]) == ("c", "disabled")
    own = '{"mode": "blacklist", "list": "a"}'
    assert study.owner.put(path, data=own, headers=JSON).status_code == 200
    assert study.owner.get(path, params={"contents": "true"}).text == own


def test_scripts_in_their_older_view(study):
    (row,) = study.owner.rows("/data/config/edit/image/dicom/script")
    assert (row["project"], row["id"]) == ("-1", "1")
    path = f"/data/config/edit/projects/{study.name}/image/dicom"
    assert study.owner.rows(f"{path}/script") == []
    script = 'version "6.1"\n(0010,0010) := "X"'
    study.owner.put(f"/xapi/anonymize/projects/{study.name}", data=script, headers={"Content-Type": "text/plain"})
    (row,) = study.owner.rows(f"{path}/script")
    assert (row["project"], row["script"]) == (study.name, script)
    (row,) = study.owner.rows(f"{path}/status")
    assert row["edit"] == "true"


def test_preferences_in_one_request(person):
    admin, owner = person("admin"), person("owner")
    assert owner.post("/xapi/siteConfig", json={"uiAllowQuarantine": False}).status_code == 403
    try:
        assert admin.post("/xapi/siteConfig", json={"uiAllowQuarantine": False}).status_code == 200
        assert owner.get("/xapi/siteConfig/uiAllowQuarantine").json() is False
    finally:
        admin.post("/xapi/siteConfig/uiAllowQuarantine", data="true", headers=AS_TEXT)
    names = "/xapi/siteConfig/values/uiAllowQuarantine,requireLogin"
    assert owner.get(names).status_code == 403, "one that one may not read spoils the list"
    assert admin.get(f"{names},nosuch").json() == {"uiAllowQuarantine": True, "requireLogin": True}
    assert owner.get("/xapi/siteConfig/values/uiAllowQuarantine").json() == {"uiAllowQuarantine": True}
    assert admin.put("/xapi/siteConfig/uiAllowQuarantine", data="true", headers=AS_TEXT).status_code == 405
    assert admin.post("/xapi/siteConfig", data="[]", headers=JSON).status_code == 400
    assert set(owner.get("/xapi/siteConfig/uptime").json()) == {"minutes", "seconds"}
