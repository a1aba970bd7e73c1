"""Projects and roles: items 25 to 44."""

from __future__ import annotations

import pytest
from contract_kit import keys

PLAIN = {"ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI"}
RICH = {
    "id", "secondary_id", "name", "description", "pi", "project_invs", "project_access", "project_access_img",
    "insert_date", "insert_user", "quarantine_status",
}  # fmt: skip
MR = "xnat:mrSessionData"


def found(agent, **params: str) -> set[str]:
    """The ids of a list of projects, however the key is spelled."""
    return {row.get("ID") or row["id"] for row in agent.rows("/data/projects", **params)}


def test_item_025_private_project(desk):
    """A private project is 404 for others. Source: REST test TestSharing."""
    assert desk.person("outsider").get(desk.path, params={"format": "json"}).status_code == 404
    assert desk.person("collaborator").get(desk.path, params={"format": "json"}).status_code == 200


def test_item_026_protected_project(desk):
    """A protected project shows itself, and nothing in it may be changed.

    Source: REST test TestInvalidUserAccess.testProtectedXMLCRUD.
    """
    assert desk.owner.put(f"{desk.path}/accessibility/protected").status_code == 200
    outsider = desk.person("outsider")
    desk.site.renew()
    assert outsider.get(desk.path, params={"format": "json"}).status_code == 200
    assert outsider.put(f"{desk.path}/subjects/2").status_code == 403
    assert outsider.post(f"{desk.path}/subjects", params={"label": "3"}).status_code == 403
    assert outsider.delete(desk.path).status_code == 403
    assert outsider.put(desk.path, params={"description": "x"}).status_code == 403


def test_item_027_new_project(desk):
    """A user makes a project with PUT and owns it. Source: REST test TestProjectResources."""
    rows = desk.owner.rows(f"{desk.path}/users")
    assert {"login": desk.owner.login, "GROUP_ID": f"{desk.project}_owner"}.items() <= rows[0].items()


@pytest.mark.parametrize("clash", ["name", "secondary_ID", "alias"])
def test_item_028_clashes(desk, clash):
    """Ids, names and aliases belong to one project, in any case: 403 or 409.

    Source: REST test TestProjectValidation.
    """
    other = desk.person("outsider")
    assert other.put(desk.path, params={"name": "x"}).status_code in (403, 404, 409)
    new = f"/data/projects/{desk.site.name()}"
    assert other.put(new, params={clash: desk.project.lower()}).status_code in (403, 409)
    assert other.get(new, params={"format": "json"}).status_code == 404


def test_item_029_alias(desk):
    """A project is found by its alias. Source: REST test TestProjectResources.testQueryCRUD."""
    alias = f"{desk.project}_alias"
    assert desk.owner.put(desk.path, params={"alias": alias}).status_code == 200
    assert desk.owner.fields(f"/data/projects/{alias}")["ID"] == desk.project


@pytest.mark.parametrize("code", ["4", "0", "11"])
def test_item_030_prearchive_code(desk, code):
    """The prearchive code is any number. Source: REST test TestProjectURIs.testPrearchiveConfig."""
    assert desk.owner.put(f"{desk.path}/prearchive_code/{code}").status_code == 200
    assert desk.owner.get(f"{desk.path}/prearchive_code").text == code


def test_item_031_prearchive_code_as_member(desk):
    """Members do not set it: 403. Source: UserGroupManager."""
    assert desk.person("member").put(f"{desk.path}/prearchive_code/4").status_code == 403
    assert desk.owner.get(f"{desk.path}/prearchive_code").text == "0"


def test_item_032_plain_list(desk):
    """Keys of the plain list. Source: REST test TestDynamicSearchProjects."""
    rows = desk.owner.rows("/data/projects")
    assert keys(rows) == PLAIN
    own = next(row for row in rows if row["ID"] == desk.project)
    assert own["URI"] == desk.path


def test_item_033_accessible(desk):
    """`accessible=true`: keys, and the role of the user. Source: REST test TestDynamicSearchProjects."""
    for role, word in (("owner", "Owners"), ("member", "Members"), ("collaborator", "Collaborators")):
        result = desk.person(role).table("/data/projects", accessible="true")
        number = result["xdat_user_id"]
        assert keys(result["Result"]) == RICH | {f"user_role_{number}", f"last_accessed_{number}"}
        own = next(row for row in result["Result"] if row["id"] == desk.project)
        assert own[f"user_role_{number}"] == word
        assert own["project_access"] == "private"


def test_item_034_not_accessible(desk, other):
    """`accessible=false`: public and protected projects without a role. Source: REST test TestDynamicSearchProjects."""
    assert desk.owner.put(f"{desk.path}/accessibility/public").status_code == 200
    outsider = desk.person("outsider")
    desk.site.renew()
    assert desk.project in found(outsider, accessible="false")
    assert other.project not in found(outsider, accessible="false")
    assert desk.project not in found(desk.person("member"), accessible="false")


def test_item_035_data(desk):
    """`data=writable` and `data=readable`. Source: REST test TestDynamicSearchProjects."""
    for role, writable in (("owner", True), ("member", True), ("collaborator", False), ("outsider", False)):
        assert (desk.project in found(desk.person(role), data="writable")) is writable
        assert (desk.project in found(desk.person(role), data="readable")) is (role != "outsider")


def test_item_036_prearchive_codes(desk):
    """`prearc_code=true` adds every project's code. Source: REST test TestDynamicSearchProjects."""
    desk.code(5)
    own = next(row for row in desk.owner.rows("/data/projects", prearc_code="true") if row["id"] == desk.project)
    assert (own["proj_prearchive_code"], own["proj_quarantine"]) == ("5", "0")


def test_item_037_may_create(desk):
    """`permissions=create` of a type: owners and members. Source: REST test TestDynamicSearchProjects."""
    rows = desk.owner.rows("/data/projects", permissions="create", dataType=MR)
    assert keys(rows) == {"id", "secondary_id"}
    for role, yes in (("owner", True), ("member", True), ("collaborator", False), ("outsider", False)):
        assert (desk.project in found(desk.person(role), permissions="create", dataType=MR)) is yes


def test_item_038_may_delete(desk):
    """`permissions=delete` of a type: owners. Source: REST test TestDynamicSearchProjects."""
    for role, yes in (("owner", True), ("member", False), ("collaborator", False)):
        mine = found(desk.person(role), permissions="delete", dataType="xnat:subjectData")
        assert (desk.project in mine) is yes


def test_item_039_creatable_types(desk):
    """`creatableTypes=true`: owners and members. Source: REST test TestDynamicSearchProjects."""
    rows = desk.owner.rows("/data/projects", creatableTypes="true")
    assert keys(rows) == {"id", "secondary_id", "name", "description"}
    assert desk.project in found(desk.person("member"), creatableTypes="true")
    assert desk.project not in found(desk.person("collaborator"), creatableTypes="true")


def test_item_040_restrict(desk):
    """`restrict=edit`: the projects one owns. Source: REST test TestDynamicSearchProjects."""
    assert keys(desk.owner.rows("/data/projects", restrict="edit")) == PLAIN
    assert desk.project in found(desk.owner, restrict="edit")
    assert desk.project not in found(desk.person("member"), restrict="edit")


def test_item_041_own_roles(desk):
    """`/xapi/access/projects` tells one's own roles. Source: RoleHolder."""
    desk.site.since("1.8.0")
    for role, word in (("owner", "Owners"), ("member", "Members"), ("collaborator", "Collaborators")):
        rows = [row for row in desk.person(role).get("/xapi/access/projects").json() if row["ID"] == desk.project]
        assert [(row["role"], row["group_id"]) for row in rows] == [(word, f"{desk.project}_{role}")]


def test_item_042_users_of_a_project(desk):
    """The users of a project. Source: ProjectUserListResource."""
    rows = desk.owner.rows(f"{desk.path}/users")
    assert keys(rows) == {"GROUP_ID", "displayname", "login", "firstname", "lastname", "email"}
    roles = [role for role in ("owner", "member", "collaborator") if role in desk.site.people]
    assert {row["login"]: row["GROUP_ID"] for row in rows} == {
        desk.site.people[role][0]: f"{desk.project}_{role}" for role in roles
    }


def test_item_043_users_of_the_site(site):
    """The users of the site are for administrators where the site says so: 403. Source: REST test TestUsersApi."""
    with site.setting("restrictUserListAccessToAdmins", "true"):
        assert site.agent("member").get("/data/users").status_code == 403
        assert site.agent("admin").get("/data/users").status_code == 200
    assert site.agent("member").get("/data/users").status_code == 200


def test_item_044_accessibility(desk):
    """Others neither see nor change who may see a project. Source: REST test TestInvalidUserAccess."""
    assert desk.owner.get(f"{desk.path}/accessibility").text == "private"
    change = f"{desk.path}/accessibility/public"
    assert desk.person("outsider").put(change).status_code in (403, 404)
    login, _ = desk.site.people["owner"]
    assert desk.site.stranger().put(change, auth=(login, "wrong")).status_code == 401
    assert desk.owner.get(f"{desk.path}/accessibility").text == "private"
