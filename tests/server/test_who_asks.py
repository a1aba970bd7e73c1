"""Who asks, as live servers were seen to treat them: what no recorded exchange shows, or only a part of.

Sources: live 1.8.11 (W5 to W9, W12, W13, facts 8, 11, 12, 15; L11); XNAT source, AuthenticationRestlet.
"""

from __future__ import annotations

import threading
import time

import pytest
import requests
from people import AS_JSON, AS_TEXT

from xnbtransfer.server import running

AGENT = {"User-Agent": "python-requests"}


@pytest.fixture(scope="module")
def open_site():
    """A server of its own whose settings are changed: an open site with a private and a protected project."""
    with running() as server:
        admin = as_(server, "admin")
        owner = as_(server, "owner")
        for name, level in (("HID", "private"), ("SEEN", "protected"), ("FREE", "public")):
            owner.put(f"{server.url}/data/projects/{name}")
            owner.put(f"{server.url}/data/projects/{name}/accessibility/{level}")
        setting(server, admin, "requireLogin", "false")
        yield server


def as_(server, role: str) -> requests.Session:
    session = requests.Session()
    session.auth = server.accounts[role]
    session.headers.update(AGENT)
    return session


def setting(server, admin, name: str, value: str) -> None:
    told = admin.post(f"{server.url}/xapi/siteConfig/{name}", data=value, headers=AS_TEXT, timeout=30)
    assert told.status_code == 200


def dead(server, method: str, path: str) -> requests.Response:
    return requests.request(method, server.url + path, cookies={"JSESSIONID": "dead"}, headers=AGENT, timeout=30)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/data/projects/HID?format=json", 404),
        ("GET", "/data/projects/HID/experiments?format=json", 404),
        ("GET", "/data/projects/SEEN?format=json", 200),
        ("GET", "/data/projects/SEEN/experiments?format=json", 403),
        ("GET", "/data/projects/FREE/experiments?format=json", 200),
        ("GET", "/data/prearchive/projects/HID?format=json", 404),
        ("PUT", "/data/projects/HID/subjects/S", 422),
        ("DELETE", "/data/projects/HID", 404),
        ("GET", "/data/JSESSION", 200),
        ("GET", "/data/auth", 200),
    ],
)
def test_a_dead_cookie_of_an_open_site_is_the_guest_with_a_new_cookie(open_site, method, path, status):
    answer = dead(open_site, method, path)
    assert answer.status_code == status
    assert answer.cookies["JSESSIONID"] not in ("", "dead")
    if path == "/data/auth":
        assert answer.text == "User 'guest' is logged in"


def test_a_log_in_by_form_keeps_the_session_that_asks(xnat):
    user, password = xnat.accounts["owner"]
    with requests.Session() as session:
        session.headers.update(AGENT)
        first = session.get(xnat.url + "/data/JSESSION", timeout=30).text
        told = session.put(xnat.url + "/data/services/auth", data={"username": user, "password": password}, timeout=30)
        assert (told.text, "JSESSIONID" in told.cookies) == (first, False)
        assert session.get(xnat.url + "/data/auth", timeout=30).text == f"User '{user}' is logged in"


def test_a_wrong_password_by_basic_sets_no_cookie(xnat):
    answer = requests.get(xnat.url + "/data/auth", auth=("olga", "wrong"), headers=AGENT, timeout=30)
    assert (answer.status_code, dict(answer.cookies)) == (401, {})
    assert "<b>Message</b>" in answer.text, "the page of the container"


def test_several_services_of_one_kind_want_a_name(open_site):
    admin = as_(open_site, "admin")
    setting(open_site, admin, "enabledProviders", '["localdb", "ldap1", "ldap2"]')
    user, password = open_site.accounts["owner"]

    def log_in(**more: str) -> int:
        form = {"username": user, "password": password, **more}
        return requests.put(f"{open_site.url}/data/services/auth", data=form, headers=AGENT, timeout=30).status_code

    assert [log_in(), log_in(provider="localdb"), log_in(authenticatorId="localdb")] == [200] * 3
    assert log_in(provider="ldap") == 400, "two are of this kind"
    assert log_in(authenticatorId="ldap1") == 401, "it does not know this user"
    assert log_in(authenticatorId="nosuch") == 400
    assert log_in(provider="nosuch") == 401


def test_a_user_has_as_many_log_ins_as_the_site_allows(open_site):
    setting(open_site, as_(open_site, "admin"), "concurrentMaxSessions", "2")
    pair = open_site.accounts["collaborator"]

    def log_in() -> requests.Response:
        return requests.get(f"{open_site.url}/data/JSESSION", auth=pair, headers=AGENT, timeout=30)

    first, second = log_in(), log_in()
    assert [first.status_code, second.status_code, log_in().status_code] == [200, 200, 401]
    how = {"cookies": first.cookies, "headers": AGENT, "timeout": 30}
    assert "carl" in requests.get(f"{open_site.url}/data/auth", **how).text, "those that are there go on"
    requests.delete(f"{open_site.url}/data/JSESSION", **how)
    assert log_in().status_code == 200, "ending one makes room"


@pytest.mark.parametrize(
    ("version", "by_basic", "by_cookie"), [("1.8", 302, 302), ("1.7", 302, 200), ("1.6", 403, 302)]
)
def test_an_old_password(version, by_basic, by_cookie):
    with running(personality=version) as server:
        member = as_(server, "member")
        cookies = member.get(f"{server.url}/data/JSESSION", timeout=30).cookies
        told = {"username": server.accounts["member"][0], "expired": True}
        assert requests.post(f"{server.url}/_passwords", json=told, timeout=30).status_code == 200

        def ask(**how) -> requests.Response:
            where = f"{server.url}/data/projects?format=json&accessible=true"
            return requests.get(where, headers=AGENT, timeout=30, allow_redirects=False, **how)

        answers = ask(auth=member.auth), ask(cookies=cookies)
        assert [answer.status_code for answer in answers] == [by_basic, by_cookie]
        for answer in answers:
            if answer.status_code == 302:
                page = "ChangePassword" if version == "1.6" else "XDATScreen_UpdateUser"
                assert answer.headers["Location"] == f"{server.url}/app/template/{page}.vm"


class SlowBody:
    """One byte that comes some time after the head of its request."""

    def __len__(self) -> int:
        return 1

    def __init__(self) -> None:
        self._left = b"x"

    def read(self, size: int = -1) -> bytes:
        time.sleep(0.4 if self._left else 0)
        piece, self._left = self._left, b""
        return piece


def beside_the_first(server) -> list[int]:
    """Statuses of two requests of a new log-in for a project of its owner: one beside the first, and one after it."""
    user, password = server.accounts["owner"]
    as_(server, "owner").put(f"{server.url}/data/projects/LATE", timeout=30)
    form = {"username": user, "password": password}
    told = requests.put(f"{server.url}/data/services/auth", data=form, headers=AGENT, timeout=30)
    how = {"cookies": {"JSESSIONID": told.text}, "headers": AGENT, "timeout": 30}
    where = f"{server.url}/data/projects/LATE"
    first = threading.Thread(target=lambda: requests.put(f"{where}/subjects/S", data=SlowBody(), **how))
    first.start()
    time.sleep(0.15)
    found = [requests.get(f"{where}?format=json", **how).status_code]
    first.join()
    return [*found, requests.get(f"{where}?format=json", **how).status_code]


def test_1_7_2_answers_without_rights_what_comes_beside_the_first_request_of_a_log_in():
    with running(personality="1.7.2") as server:
        assert beside_the_first(server) == [404, 200]


def test_rights_that_come_late_on_request():
    with running() as server:
        assert beside_the_first(server) == [200, 200]
        server.faults([{"fault": "rights-late", "method": "PUT", "path": "services/auth"}])
        assert beside_the_first(server) == [404, 200]


def test_permissions_do_not_count_the_reading_of_everything(xnat, person):
    owner, admin, outsider = person("owner"), person("admin"), person("outsider")
    owner.put("/data/projects/ALLREAD")
    group = f"/xapi/users/{outsider.login}/groups/ALL_DATA_ACCESS"
    assert outsider.put(group).status_code == 403
    assert admin.put(group).status_code == 200
    try:
        told = outsider.get("/data/projects?format=json&permissions=read&dataType=xnat:mrSessionData").json()
        assert "ALLREAD" not in {row["id"] for row in told["ResultSet"]["Result"]}
        assert outsider.get("/data/projects/ALLREAD/experiments?format=json").status_code == 200
        assert outsider.put("/data/projects/ALLREAD/subjects/S").status_code == 403
    finally:
        assert admin.delete(group).status_code == 200
    assert outsider.get("/data/projects/ALLREAD/experiments?format=json").status_code == 404
    never = owner.get("/data/projects?format=json&permissions=create&dataType=xnat:nosuchData")
    assert never.status_code == 500


def test_the_former_script_of_the_site_on_request(xnat, person):
    admin = person("admin")
    first, second = 'version "6.1"\n(0008,0080) := "a"\n', 'version "6.1"\n(0008,0080) := "b"\n'
    before = admin.get("/xapi/anonymize/site").text
    try:
        for script in (first, second):
            assert admin.put("/xapi/anonymize/site", data=script, headers=AS_TEXT).status_code == 200
        xnat.faults([{"fault": "former-script", "times": 1}])
        assert [admin.get("/xapi/anonymize/site").text for _ in range(2)] == [first, second]
    finally:
        xnat.faults([])
        admin.put("/xapi/anonymize/site", data=before, headers=AS_TEXT)


def test_a_switch_of_a_script_reads_the_query_only(xnat, person):
    owner = person("owner")
    owner.put("/data/projects/SWITCH")
    where = "/xapi/anonymize/projects/SWITCH"
    assert owner.put(where, data="\n", headers=AS_TEXT).status_code == 200
    assert (owner.get(where).status_code, owner.get(f"{where}/enabled").json()) == (204, True)
    assert owner.put(f"{where}/enabled?enable=false").status_code == 415
    assert owner.put(f"{where}/enabled?enable=false", headers=AS_JSON).status_code == 200
    assert owner.get(f"{where}/enabled").json() is False
    assert owner.put(f"{where}/enabled", data="false", headers=AS_JSON).status_code == 200
    assert owner.get(f"{where}/enabled").json() is True, "the body is not read"


def test_fields_by_accession_number_alone_are_refused(study):
    accession = study.owner.rows(f"{study.path}/experiments", columns="ID,label")[0]["ID"]
    where = f"/data/experiments/{accession}"
    note = {"xnat:mrSessionData/note": "a"}
    for given in ({"params": note}, {"data": note}):
        assert study.owner.put(where, **given).status_code == 422
    assert study.owner.put(where, params={"label": "RENAMED"}).status_code == 200


def test_requests_beside_each_other_know_their_rights(xnat, person):
    """What is one log-in's affair stays its own: rights that are late elsewhere are nobody else's."""
    person("owner").put("/data/projects/BESIDE")
    statuses: list[int] = []

    def ask(role: str) -> None:
        answer = requests.get(
            xnat.url + "/data/projects/BESIDE?format=json", auth=xnat.accounts[role], headers=AGENT, timeout=60
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask, args=(role,)) for role in ("owner", "admin") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
