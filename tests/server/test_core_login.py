"""Logging in and out, as XNAT does it (REST tests TestUserAccess and TestAliasTokenService)."""

from __future__ import annotations

import pytest
import requests

from xnbtransfer.server import running


@pytest.fixture
def bare(xnat):
    """A client without credentials, as a function of method and path."""
    with requests.Session() as session:
        session.headers["User-Agent"] = "python-requests"
        yield lambda method, path, **k: session.request(method, xnat.url + path, timeout=30, allow_redirects=False, **k)


def test_a_wrong_password_is_401(bare):
    assert bare("GET", "/data/projects", auth=("admin", "wrong")).status_code == 401
    answer = bare("PUT", "/data/services/auth", data={"username": "admin", "password": "wrong"})
    assert answer.status_code == 401
    assert "<h3>" in answer.text


def test_a_stranger_is_asked_for_credentials_and_a_browser_for_a_log_in(bare):
    answer = bare("GET", "/data/projects")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    browser = bare("GET", "/data/projects", headers={"User-Agent": "Mozilla/5.0"})
    assert browser.status_code == 302 or "html" in browser.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/xapi/siteConfig/buildInfo", "/xapi/siteConfig/siteId"])
def test_a_stranger_reads_what_is_open(bare, path):
    assert bare("GET", path).status_code == 200


@pytest.mark.parametrize("path", ["/xapi/siteConfig", "/xapi/siteConfig/checksums", "/data/auth"])
def test_a_stranger_reads_nothing_else(bare, path):
    assert bare("GET", path).status_code == 401


def test_the_session_of_a_log_in_lives_until_it_is_ended(xnat, bare):
    user, password = xnat.accounts["owner"]
    answer = bare("PUT", "/data/services/auth", data={"username": user, "password": password})
    assert answer.status_code == 200
    assert answer.cookies["JSESSIONID"] == answer.text
    assert bare("GET", "/data/auth").text == f"User '{user}' is logged in"
    heartbeat = bare("GET", "/data/JSESSION")
    assert heartbeat.text == answer.text
    until, interval = heartbeat.cookies["SESSION_EXPIRATION_TIME"].strip('"').split(",")
    assert int(until) > 1_600_000_000_000
    assert int(interval) == 900_000
    assert bare("DELETE", "/data/JSESSION").status_code == 200
    assert bare("GET", "/data/auth", cookies={"JSESSIONID": answer.text}).status_code == 401


def test_a_session_can_be_had_with_basic(person, bare):
    owner = person("owner")
    answer = bare("POST", "/data/JSESSION", auth=owner.auth)
    assert answer.status_code == 200
    assert answer.text == answer.cookies["JSESSIONID"]
    assert "; XNAT_CSRF=" in bare("GET", "/data/JSESSION", params={"CSRF": "true"}).text
    assert bare("PUT", "/data/JSESSION", auth=owner.auth).status_code == 405


def test_a_browser_must_send_its_csrf_token(study, xnat, bare):
    user, password = study.owner.auth
    session = bare("PUT", "/data/services/auth", data={"username": user, "password": password}).text
    cookie = {"JSESSIONID": session}
    path, agent = f"{study.path}/subjects/NEW", {"User-Agent": "Mozilla/5.0"}
    assert bare("PUT", path, headers=agent, cookies=cookie).status_code == 500
    token = bare("GET", "/data/JSESSION", params={"CSRF": "true"}, cookies=cookie).text.partition("=")[2]
    answer = bare("PUT", path, headers=agent, cookies=cookie, params={"XNAT_CSRF": token})
    assert answer.status_code == 201


def test_an_alias_token_is_its_user_until_it_is_invalidated(study, person, bare):
    token = study.owner.get("/data/services/tokens/issue").json()
    pair = token["alias"], token["secret"]
    assert bare("GET", study.path, auth=pair, params={"format": "json"}).status_code == 200
    assert person("owner").get("/data/services/tokens/validate/{}/{}".format(*pair)).json() == {
        "valid": study.owner.login
    }
    other = person("outsider").get("/data/services/tokens/issue").json()
    assert bare("GET", study.path, auth=(other["alias"], other["secret"]), cookies={}).status_code == 404
    assert study.owner.get(f"/data/services/tokens/invalidate/{token['alias']}").json() == {"result": "OK"}
    assert requests.get(study.owner.server.url + "/data/auth", auth=pair, timeout=30).status_code == 401
    assert study.owner.get(f"/data/services/tokens/issue/user/{person('outsider').login}").status_code == 403


def test_what_xnat_does_not_have_is_404_with_its_page(person, xnat):
    answer = person("owner").get("/data/version")
    assert answer.status_code == 404
    assert "<h3>" in answer.text
    assert person("owner").get("/data/no/such/thing").status_code == 404
    last = xnat.log()[-1]
    assert (last["status"], last["imitated"]) == (404, False)


def test_accounts_survive_a_kill(tmp_path):
    from xnbtransfer.server import running

    with running(data=tmp_path) as first:
        pair = first.accounts["owner"]
        requests.put(first.url + "/data/projects/KEPT", auth=pair, timeout=30)
        first.kill()
    assert (tmp_path / "accounts.json").stat().st_mode & 0o077 == 0
    with running(data=tmp_path) as second:
        assert second.accounts["owner"] == pair
        assert requests.get(second.url + "/data/projects/KEPT?format=json", auth=pair, timeout=30).status_code == 200


def test_too_many_wrong_passwords_lock_a_user_out_for_an_hour():
    with running() as server:
        def ask(password: str, role: str = "member") -> int:
            login = server.accounts[role][0]
            return requests.get(f"{server.url}/data/auth", auth=(login, password), timeout=30).status_code

        right = server.accounts["member"][1]
        for _ in range(2):
            assert [ask("wrong") for _ in range(19)] == [401] * 19
            assert ask(right) == 200, "nineteen are forgiven, and forgotten"
        assert [ask("wrong") for _ in range(20)] == [401] * 20
        assert ask(right) == 401
        assert ask(server.accounts["owner"][1], "owner") == 200, "nobody else is"
        server.faults([{"fault": "clock-jump", "jump_s": 3700, "times": 1}])
        assert ask(right) == 200
