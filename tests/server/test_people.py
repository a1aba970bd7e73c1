"""People, guests and browsers (REST tests TestUsersApi, TestUserAccess; XNAT source: UsersApi)."""

from __future__ import annotations

import pytest
import requests

from xnbtransfer.server import running


@pytest.fixture(scope="module")
def own_server():
    with running() as server:
        yield server


@pytest.fixture
def site(own_server):
    """A server whose preferences a test may change; they are as before afterwards."""
    yield own_server
    prefer(own_server, requireLogin=True, restrictUserListAccessToAdmins=False, sessionTimeout=900)


def ask(server, role: str = "", method: str = "GET", path: str = "/", agent: str = "python-requests", **rest):
    auth = server.accounts[role] if role else None
    headers = {"User-Agent": agent, **rest.pop("headers", {})}
    return requests.request(
        method, server.url + path, auth=auth, headers=headers, timeout=30, allow_redirects=False, **rest
    )


def prefer(server, **values) -> None:
    assert ask(server, "admin", "POST", "/xapi/siteConfig", json=values).status_code == 200


def test_own_and_other_profiles(person):
    owner, member = person("owner"), person("member")
    own = owner.get("/xapi/users/profile").json()
    assert (own["username"], own["enabled"]) == (owner.login, True)
    assert owner.get(f"/xapi/users/profile/{member.login}").json()["username"] == member.login
    assert owner.get("/xapi/users/profile/nobody").status_code == 404
    assert {owner.login, member.login} <= set(owner.get("/xapi/users").json())
    assert owner.login in {one["username"] for one in owner.get("/xapi/users/profiles").json()}


def test_own_groups_and_roles(study, person):
    owner, member = person("owner"), person("member")
    assert f"{study.name}_owner" in owner.get(f"/xapi/users/{owner.login}/groups").json()
    assert owner.get(f"/xapi/users/{member.login}/groups").status_code == 403
    assert f"{study.name}_member" in person("admin").get(f"/xapi/users/{member.login}/groups").json()
    assert person("admin").get(f"/xapi/users/{person('admin').login}/roles").json() == ["Administrator"]
    assert study.name in member.get("/xapi/users/projects").json()
    assert study.name not in person("collaborator").get("/xapi/users/projects").json()
    assert owner.delete("/xapi/access/cache/flush").status_code == 200


def test_members_by_login_number_or_mail(study, person):
    owner, outsider = study.owner, person("outsider")
    number = outsider.get("/xapi/users/profile").json()["id"]
    path = f"{study.path}/users"
    for name in (outsider.login, str(number), f"{outsider.login}@example.org"):
        assert owner.put(f"{path}/{study.name}_collaborator/{name}").status_code == 200
        assert outsider.get(f"{study.path}/experiments").status_code == 200
        assert owner.delete(f"{path}/Collaborators/{name}").status_code == 200
        assert outsider.get(f"{study.path}/experiments").status_code == 404
    before = owner.rows(path)
    answer = owner.put(f"{path}/Members/somebody.new@example.org", params={"format": "json"})
    assert (answer.status_code, answer.json()["ResultSet"]["Result"]) == (200, before), "invited by mail"
    assert owner.put(f"{path}/Nonsense/{outsider.login}").status_code == 404


def test_the_list_of_people_may_be_for_administrators(site):
    paths = ("/data/users", "/xapi/users", "/xapi/users/profiles", "/xapi/users/current")
    for path in paths:
        assert ask(site, "owner", path=path).status_code == 200
    prefer(site, restrictUserListAccessToAdmins=True)
    assert ask(site, "owner", "PUT", "/data/projects/P").status_code == 200
    login = site.accounts["member"][0]
    assert ask(site, "owner", "PUT", f"/data/projects/P/users/Members/{login}").status_code == 200
    for path in (*paths, f"/xapi/users/profile/{login}"):
        assert ask(site, "owner", path=path).status_code == 403, path
        assert ask(site, "admin", path=path).status_code == 200, path
    assert ask(site, "owner", path="/data/projects/P/users").status_code == 200
    assert ask(site, "member", path="/data/projects/P/users").status_code == 403
    listed = "/data/config/user-resource-whitelist/whitelist.json"
    assert ask(site, "admin", "PUT", listed, data=f'["{login}"]').status_code == 201
    assert ask(site, "member", path="/data/projects/P/users").status_code == 200


def test_an_account_is_made_disabled_and_gone(site):
    new = {"username": "nora", "password": "a long one", "firstName": "Nora", "email": "nora@example.org"}
    assert ask(site, "owner", "POST", "/xapi/users", json=new).status_code == 201
    assert ask(site, "admin", "POST", "/xapi/users", json=new).status_code == 201
    assert ask(site, "admin", "POST", "/xapi/users", json=new).status_code == 409
    with requests.Session() as nora:
        nora.auth = ("nora", "a long one")
        assert nora.get(f"{site.url}/data/auth", timeout=30).text == "User 'nora' is logged in"
        assert len(ask(site, "admin", path="/xapi/users/active/nora").json()) == 1
        assert ask(site, "admin", path="/xapi/users/active").json()["nora"]["count"] == 1
        nora.auth = None
        assert len(ask(site, "admin", "DELETE", "/xapi/users/active/nora").json()) == 1
        assert nora.get(f"{site.url}/data/auth", timeout=30).status_code == 401
        assert ask(site, "admin", "PUT", "/xapi/users/nora", json={"enabled": False}).status_code == 200
        assert ask(site, "owner", "DELETE", "/xapi/users/active/nora").status_code == 403
    assert "nora" not in ask(site, "owner", path="/xapi/users").json()
    again = requests.get(f"{site.url}/data/auth", auth=("nora", "a long one"), timeout=30)
    assert again.status_code == 401


def test_guests_of_an_open_site(site):
    for name, level in (("PUB", "public"), ("PROT", "protected"), ("PRIV", "private")):
        assert ask(site, "owner", "PUT", f"/data/projects/{name}?accessibility={level}").status_code == 200
        assert ask(site, "owner", "PUT", f"/data/projects/{name}/subjects/S").status_code == 201
    assert ask(site, path="/data/projects").status_code == 401
    prefer(site, requireLogin=False)
    seen = ask(site, path="/data/projects?format=json")
    assert {row["ID"] for row in seen.json()["ResultSet"]["Result"]} == {"PUB", "PROT"}
    assert "JSESSIONID" in seen.cookies
    assert ask(site, path="/data/auth").text == "User 'guest' is logged in"
    statuses = {name: ask(site, path=f"/data/projects/{name}/subjects").status_code for name in ("PUB", "PROT", "PRIV")}
    assert statuses == {"PUB": 200, "PROT": 403, "PRIV": 404}
    assert ask(site, "", "PUT", "/data/projects/PUB/subjects/T").status_code == 403
    assert ask(site, "", "PUT", "/data/projects/MINE").status_code == 403
    assert ask(site, path="/data/services/tokens/issue").status_code == 403
    assert ask(site, path="/xapi/users").status_code == 403
    assert ask(site, path="/data/projects?accessible=true").status_code == 200
    wrong = requests.get(f"{site.url}/data/projects", auth=("olga", "wrong"), timeout=30)
    assert wrong.status_code == 401


def test_browsers_need_the_token_of_their_session(site):
    browser = {"User-Agent": "Mozilla/5.0"}
    with requests.Session() as session:
        session.auth = site.accounts["owner"]
        session.get(f"{site.url}/data/auth", headers=browser, timeout=30)
        session.auth = None
        assert session.put(f"{site.url}/data/projects/P", headers=browser, timeout=30).status_code == 500
        said = session.get(f"{site.url}/data/JSESSION?CSRF=true", headers=browser, timeout=30).text
        token = said.partition("XNAT_CSRF=")[2]
        again = session.put(f"{site.url}/data/projects/P?XNAT_CSRF={token}", headers=browser, timeout=30)
        assert again.status_code == 200
        assert session.put(f"{site.url}/data/projects/Q", timeout=30).status_code == 200, "a script needs none"
    assert ask(site, path="/data/projects", agent="Mozilla/5.0").status_code == 302


def test_log_ins_end_when_they_have_been_idle(site):
    import time

    prefer(site, sessionTimeout=1)
    with requests.Session() as session:
        session.auth = site.accounts["owner"]
        answer = session.get(f"{site.url}/data/auth", timeout=30)
        until, span = answer.cookies["SESSION_EXPIRATION_TIME"].strip('"').split(",")
        assert span == "1000"
        assert 0 < int(until) / 1000 - time.time() < 2
        session.auth = None
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            time.sleep(0.3)
            assert session.get(f"{site.url}/data/auth", timeout=30).status_code == 200, "each request prolongs it"
        time.sleep(1.5)
        assert session.get(f"{site.url}/data/auth", timeout=30).status_code == 401


def test_errors_of_the_two_stacks_differ(person):
    owner = person("owner")
    page = owner.get("/data/projects/NOPE")
    assert (page.status_code, "<h3>" in page.text) == (404, True)
    plain = owner.get("/xapi/users/profile/nobody")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert "<" not in plain.text
    forbidden = owner.get(f"/xapi/users/{person('member').login}/roles")
    assert (forbidden.status_code, forbidden.text) == (403, "")
