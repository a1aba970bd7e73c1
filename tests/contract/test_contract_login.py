"""Authentication and site: items 1 to 24."""

from __future__ import annotations

import re

import pytest
from contract_kit import BROWSER, message


def logged_in(site, role: str = "owner"):
    """A client with a session cookie and nothing else, and the id."""
    stranger = site.stranger()
    answer = stranger.post("/data/JSESSION", auth=site.people[role])
    assert answer.status_code == 200, message(answer)
    return stranger, answer.text.strip()


def refused(answer) -> bool:
    """401, or the log-in page in its place, or the way to it."""
    page = answer.status_code == 200 and "html" in answer.headers.get("Content-Type", "")
    return answer.status_code == 401 or page or answer.status_code in (302, 303)


def test_item_001_wrong_password(site):
    """A wrong password is 401. Source: REST test TestUserAccess.testInvalidAccess."""
    login, _ = site.people["owner"]
    assert site.stranger().get("/data/projects", auth=(login, "wrong")).status_code == 401
    assert site.stranger().get("/data/projects", auth=("nobody", "wrong")).status_code == 401


def test_item_002_projects_as_xml(desk):
    """The list of projects as XML. Source: REST test TestUserAccess.testValidAccess."""
    answer = desk.owner.get("/data/projects", params={"format": "xml"})
    assert answer.status_code == 200
    assert "<ResultSet" in answer.text
    assert f"<cell>{desk.project}</cell>" in answer.text


def test_item_003_stranger(site):
    """A stranger's script gets 401 and is asked for Basic. Source: XnatSecureGuard."""
    site.closed()
    answer = site.stranger().get("/data/projects")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_item_004_strangers_browser(site):
    """A stranger's browser gets the log-in page, never JSON.

    Source: XnatSecureGuard, DefaultInteractiveAgentDetector.
    """
    site.closed()
    answer = site.stranger(BROWSER).get("/data/projects", params={"format": "json"})
    assert answer.status_code in (302, 303) or "html" in answer.headers["Content-Type"]
    assert not answer.text.startswith("{")


def test_item_005_who_am_i(site):
    """`GET /data/auth` names the user. Source: UserAuth."""
    answer = site.agent("owner").get("/data/auth")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert re.match(rf"User '{site.people['owner'][0]}' is logged in", answer.text)


def test_item_006_session_id(site):
    """`GET /data/JSESSION` tells the id in the cookie. Source: UserSession."""
    answer = site.stranger().get("/data/JSESSION", auth=site.people["owner"])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text == answer.cookies["JSESSIONID"]


def test_item_007_csrf_token(site):
    """`?CSRF=true` adds the token. Source: UserSession."""
    answer = site.agent("owner").get("/data/JSESSION", params={"CSRF": "true"})
    assert re.fullmatch(r"[0-9A-F]{32}; XNAT_CSRF=[0-9a-f-]{36}", answer.text)


def test_item_008_methods_of_the_session(site):
    """POST tells the id as well, PUT is 405. Source: UserSession."""
    stranger, session = logged_in(site)
    assert session == stranger.cookies["JSESSIONID"]
    assert stranger.put("/data/JSESSION").status_code == 405


def test_item_009_logging_out(site):
    """DELETE ends the session. Source: UserSession."""
    stranger, session = logged_in(site)
    assert stranger.get("/data/auth").status_code == 200
    assert stranger.delete("/data/JSESSION").status_code == 200
    assert refused(site.stranger().get("/data/auth", cookies={"JSESSIONID": session}))


def test_item_010_dead_cookie(site):
    """A dead cookie is 401 or the log-in page. Source: REST test TestUserAccess.testUserSessionInvalidation."""
    stranger, session = logged_in(site)
    stranger.delete("/data/JSESSION")
    answer = site.stranger().get("/data/projects", params={"format": "json"}, cookies={"JSESSIONID": session})
    assert refused(answer)
    assert not answer.text.startswith("{")


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_item_011_services_auth(site, method):
    """`/data/services/auth` takes a form and answers with the session id, or 401. Source: AuthenticationRestlet."""
    login, password = site.people["owner"]
    stranger = site.stranger()
    answer = stranger.request(method, "/data/services/auth", data={"username": login, "password": password})
    assert answer.status_code == 200
    assert stranger.get("/data/auth", cookies={"JSESSIONID": answer.text}).status_code == 200
    wrong = site.stranger().request(method, "/data/services/auth", data={"username": login, "password": "wrong"})
    assert wrong.status_code == 401


@pytest.mark.parametrize("path", ["/data/auth", "/data/projects", "/data/JSESSION", "/xapi/users/username"])
def test_item_012_time_left(site, path):
    """Every answer carries `SESSION_EXPIRATION_TIME`. Source: XnatSessionEventPublisher."""
    stranger, _ = logged_in(site)
    found = stranger.get(path).cookies["SESSION_EXPIRATION_TIME"].strip('"')
    until, timeout = found.split(",")
    assert int(until) > 1_600_000_000_000
    assert int(timeout) > 0


def token(site, role: str) -> tuple[str, str]:
    answer = site.agent(role).get("/data/services/tokens/issue")
    assert answer.status_code == 200
    found = answer.json()
    return found["alias"], found["secret"]


def test_item_013_alias_token(site, desk):
    """An alias token is its user. Source: REST test TestAliasTokenService."""
    pair = token(site, "owner")
    assert site.stranger().get(desk.path, params={"format": "json"}, auth=pair).status_code == 200
    assert site.people["owner"][0] in site.stranger().get("/data/auth", auth=pair).text


def test_item_014_token_of_somebody_else(site, desk):
    """Another user's token does not open a private project: 404. Source: REST test TestAliasTokenService."""
    pair = token(site, "outsider")
    assert site.stranger().get(desk.path, params={"format": "json"}, auth=pair).status_code == 404


def test_item_015_token_invalidated(site):
    """An invalidated token is 401. Source: REST test TestAliasTokenService."""
    alias, secret = token(site, "owner")
    answer = site.agent("owner").get(f"/data/services/tokens/invalidate/{alias}")
    assert answer.json() == {"result": "OK"}
    assert site.stranger().get("/data/auth", auth=(alias, secret)).status_code == 401


def test_item_016_token_for_somebody_else(site):
    """Only administrators issue tokens for others: 403, strangers 401. Source: REST test TestAliasTokenService."""
    path = f"/data/services/tokens/issue/user/{site.agent('outsider').login}"
    assert site.agent("member").get(path).status_code == 403
    site.closed()
    assert site.stranger().get(path).status_code == 401
    assert site.agent("admin").get(path).status_code == 200


def test_item_017_token_validated(site):
    """`validate` names the user of a token. Source: AliasTokenRestlet."""
    alias, secret = token(site, "owner")
    path = "/data/services/tokens/validate"
    assert site.agent("owner").get(f"{path}/{alias}/{secret}").json() == {"valid": site.people["owner"][0]}
    assert site.agent("owner").get(f"{path}/{alias}").status_code == 401


def test_item_018_data_version(site):
    """`/data/version` does not exist. Source: XNATApplication."""
    assert site.agent("owner").get("/data/version").status_code == 404


def test_item_019_build_info(site):
    """A stranger reads the build information. Source: configured-urls.yaml."""
    answer = site.stranger().get("/xapi/siteConfig/buildInfo")
    assert answer.status_code == 200
    assert re.match(r"1\.\d+", answer.json()["version"])
    assert all(isinstance(value, str) for value in answer.json().values())


def test_item_020_preferences_of_the_site(site):
    """A stranger reads no preferences: 401. Source: REST test TestXapiSiteConfig."""
    site.closed()
    assert site.stranger().get("/xapi/siteConfig").status_code == 401


def test_item_021_open_preferences(site):
    """The site id is open to anybody, other preferences to users. Source: REST test TestXapiSiteConfig."""
    site.closed()
    assert site.stranger().get("/xapi/siteConfig/siteId").status_code == 200
    assert site.agent("owner").get("/xapi/siteConfig/sitewidePetTracers").status_code == 200
    assert site.stranger().get("/xapi/siteConfig/sitewidePetTracers").status_code in (401, 403)


def test_item_022_closed_preferences(site):
    """Some preferences are the administrator's: 403. Source: REST test TestXapiSiteConfig."""
    path = "/xapi/siteConfig/passwordComplexityMessage"
    assert site.agent("member").get(path).status_code == 403
    assert site.agent("admin").get(path).status_code == 200


def test_item_023_user_name(site):
    """`/xapi/users/username` is the own name as text. Source: UsersApi."""
    answer = site.agent("owner").get("/xapi/users/username")
    assert (answer.status_code, answer.text) == (200, site.people["owner"][0])
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_item_024_csrf(site, desk):
    """A browser's session must send its CSRF token with what modifies, a script's need not. Source: SecureAction."""
    stranger, _ = logged_in(site)
    path, agent = f"{desk.path}/subjects", {"User-Agent": BROWSER}
    answer = stranger.put(f"{path}/B1", headers=agent)
    assert answer.status_code not in (200, 201) or "html" in answer.headers["Content-Type"]
    assert desk.owner.get(f"{path}/B1", params={"format": "json"}).status_code == 404
    csrf = stranger.get("/data/JSESSION", params={"CSRF": "true"}).text.partition("XNAT_CSRF=")[2]
    assert stranger.put(f"{path}/B2", headers=agent, params={"XNAT_CSRF": csrf}).status_code == 201
    assert stranger.put(f"{path}/B3").status_code == 201
