"""What a live XNAT does at the edge: guests, pages, redirects, wrong addresses, passing failures, unusual names."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from archive_kit import Kit
from hypothesis import given
from hypothesis import strategies as st
from people import Person
from roads import as_
from standin import PAGE, PASSWORD, USER, table

from xnbtransfer import _http, _rows, _settings, cli
from xnbtransfer.arrival import watched
from xnbtransfer.errors import (
    AddressError,
    InputError,
    LoginError,
    NotDataError,
    NotFoundError,
    ServerError,
    SessionExpiredError,
    TransientError,
)
from xnbtransfer.server import running
from xnbtransfer.xnat import connect

ITEM = "/data/projects/P/subjects/S"
DONE = (
    b'<html xmlns="http://www.w3.org/1999/xhtml"><body><table class="x_rs_t"><tr><td>P</td></tr></table></body></html>'
)
GONE = (
    b"<!doctype html><html><head><title>HTTP Status 404</title></head><body><h1>HTTP Status 404</h1><p><b>Message</b> "
    b"The requested resource [&#47;data&#47;projects] is not available</p><h3>Apache Tomcat/9.0.70</h3></body></html>"
)
NOFILE = GONE.replace(b"The requested resource [&#47;data&#47;projects] is not available", b"Unable to find the file.")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_http, "PAUSE_S", 0.001)
    monkeypatch.setattr(_settings, "GUARD_PAUSES_S", (0.001, 0.001))


# -- whose answer it is ------------------------------------------------------------------------------------------


@pytest.mark.needs("1.7.2", because="1.6 has no /xapi/siteConfig by which the test opens the site")
def test_on_an_open_site_a_login_that_was_lost_is_noticed_before_anything_is_believed():
    """Recorded of 1.8.11 and 1.6.4, "on an open site a lost login is the guest's answer"."""
    with running() as server:
        kit = Kit(lambda role: Person(server, role))
        admin = Person(server, "admin")
        assert admin.post("/xapi/siteConfig/requireLogin", data="false", headers={"Content-Type": "text/plain"}).ok
        with as_(server, "owner") as connection:
            listed = connection.projects()
            assert kit.source in listed
            for ask, right in (
                (lambda: connection.projects(), listed),
                (lambda: connection.sees_project(kit.source), True),
                (lambda: connection.settings(kit.source).can_create, True),
            ):
                server.faults([{"fault": "expire-sessions", "times": 1}])
                assert ask() == right


def test_a_new_cookie_for_a_login_that_is_alive_is_no_loss(connection, standin):
    rows = table([{"label": "001", "project": "P", "URI": "/data/subjects/S1"}])
    standin.answers[f"{ITEM.rpartition('/')[0]}"] = [(200, {"Set-Cookie": "JSESSIONID=ROTATED1; Path=/"}, rows)]
    for _ in range(3):
        assert connection.subjects("P")[0]["subject"] == "001"
    assert standin.logins == 1
    assert standin.sent("/data/auth") == 2, "asked once at the login and once more in all"


def test_a_login_that_is_renewed_ends_the_old_one(connection, standin):
    standin.answers["/data/projects/P/subjects"] = [(200, {}, table([]))]
    standin.expire()
    connection.subjects("P")
    assert ("DELETE", "/data/JSESSION") in [(method, path) for method, path, _, _ in standin.log]


def test_the_heartbeat_asks_who_is_logged_in(connection, standin):
    before = standin.sent("/data/JSESSION")
    connection._session.heartbeat()
    assert standin.log[-1][1] == "/data/auth" and standin.sent("/data/JSESSION") == before


def test_a_share_or_a_move_that_is_answered_by_a_table_is_done(connection, standin):
    """Recorded of 1.8.11 and 1.6.4: 200, text/html, ``<table class="x_rs_t"``."""
    standin.answers[f"{ITEM}/projects/Q"] = [(200, {"Content-Type": "text/html"}, DONE)]
    connection.share(ITEM, "Q", "S")
    connection.move(ITEM, "Q")
    assert standin.logins == 1


def test_a_log_in_page_is_no_answer_to_a_share(connection, standin):
    page = b'<html><body><table><tr><td><input type="password"></td></tr></table></body></html>'
    standin.answers[f"{ITEM}/projects/Q"] = [(200, {"Content-Type": "text/html"}, page), (200, {}, DONE)]
    with pytest.raises(SessionExpiredError):
        connection.share(ITEM, "Q", "S")
    connection.share(ITEM, "Q", "S")


# -- redirects and the container's pages -------------------------------------------------------------------------

READ, WRITE = "read", "write"


def asked(connection, how: str):
    return connection.sees_project("P") if how == READ else connection.delete("/data/projects/P")


@pytest.mark.parametrize("how", [READ, WRITE])
@pytest.mark.parametrize("page", ["XDATScreen_UpdateUser.vm", "ChangePassword.vm"])
def test_a_redirect_to_the_page_of_passwords_says_that_it_has_expired(connection, standin, how, page):
    standin.answers["/data/projects/P"] = [(302, {"Location": f"{standin.url}/app/template/{page}"}, b"")]
    with pytest.raises(LoginError, match="password .* has expired"):
        asked(connection, how)


@pytest.mark.parametrize("how", [READ, WRITE])
def test_a_redirect_elsewhere_is_no_success_and_shows_no_secret(connection, standin, how):
    where = "https://sso.example.org/login;jsessionid=SECRET?ticket=SECRET"
    standin.answers["/data/projects/P"] = [(302, {"Location": where}, b"")]
    with pytest.raises((LoginError, SessionExpiredError)):
        asked(connection, how)
    with pytest.raises(LoginError, match=r"sso\.example\.org/login") as caught:
        asked(connection, how)
    assert "SECRET" not in str(caught.value)


def test_a_redirect_to_the_log_in_page_renews_the_login(connection, standin):
    to_login = (302, {"Location": "/app/template/Login.vm"}, b"")
    standin.answers["/data/projects/P"] = [to_login, (200, {}, b'{"items": []}')]
    assert connection.sees_project("P")
    assert standin.logins == 2


def test_the_container_without_xnat_is_passing_and_a_file_that_is_missing_is_not(connection, standin):
    standin.answers["/data/projects/P"] = [(404, {"Content-Type": "text/html"}, GONE), (200, {}, b'{"items": []}')]
    assert connection.sees_project("P"), "XNAT was starting, and is asked again"
    standin.answers["/data/projects/P"] = [(404, {"Content-Type": "text/html"}, GONE)]
    with pytest.raises(TransientError, match="starting"):
        connection.sees_project("P")
    standin.answers["/data/projects/P"] = [(404, {"Content-Type": "text/html"}, NOFILE)]
    assert not connection.sees_project("P")


def test_the_container_s_own_name_is_not_told_as_its_words(connection, standin):
    standin.answers["/data/projects/P"] = [(409, {"Content-Type": "text/html"}, NOFILE)]
    with pytest.raises(Exception, match="Unable to find the file") as caught:
        connection.sees_project("P")
    assert "Tomcat" not in str(caught.value)


def test_a_name_that_the_firewall_refuses_is_neither_passing_nor_a_missing_right(connection, standin):
    standin.answers["/data/projects/50%25"] = [(500, {"Content-Type": "text/html"}, PAGE)]
    with pytest.raises(AddressError, match="%"):
        connection.sees_project("50%")
    assert standin.sent("/data/projects/50%25") == 1


# -- addresses that are none -------------------------------------------------------------------------------------


@contextlib.contextmanager
def site(answer):
    """A server of another kind; ``answer`` takes method and path and gives status, headers and body."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words) -> None:
            pass

        def serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(self.command, self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def beside(method: str, path: str) -> tuple[int, dict, bytes]:
    """XNAT below /xnat, nothing else."""
    if path.startswith("/xnat/xapi/siteConfig/buildInfo"):
        return 200, {"Content-Type": "application/json"}, b'{"version": "1.8.11"}'
    return (200, {}, b"front") if path == "/" else (404, {"Content-Type": "text/html"}, GONE)


@pytest.mark.parametrize(
    ("scheme", "answer", "kind", "words"),
    [
        ("http", lambda method, path: (200, {"Content-Type": "text/html"}, PAGE), NotDataError, "not as an XNAT does"),
        ("http", lambda method, path: (404, {}, b"nothing"), NotDataError, "not as an XNAT does"),
        ("http", beside, InputError, "there is one at http://127.0.0.1:[0-9]+/xnat"),
        ("https", beside, InputError, "does not speak https"),
        ("http", lambda method, path: (404, {"Content-Type": "text/html"}, GONE), TransientError, "starting"),
        ("http", lambda method, path: (503, {}, b""), TransientError, "starting"),
    ],
    ids=["a web site", "an empty site", "another path", "no https", "a container without XNAT", "a balancer"],
)
def test_an_address_that_lets_nobody_in_says_why(scheme, answer, kind, words):
    with site(answer) as host, pytest.raises(kind, match=words) as caught:
        connect(server=f"{scheme}://{host}", user=USER, password=PASSWORD, prompt=False, timeout_s=10)
    assert caught.value.remedy and "refuses the login" not in str(caught.value)


@pytest.mark.parametrize("status", [404, 401], ids=["nothing there", "an XNAT that lets nobody in anywhere"])
def test_a_wrong_context_path_names_the_right_one(status):
    right = r"there is one at http://127\.0\.0\.1:\d+\."
    elsewhere = site(lambda method, path: (status, {}, b"") if "/wrong" in path else xnat_at_root(path))
    with elsewhere as host, pytest.raises(InputError, match=right):
        connect(server=f"http://{host}/wrong", user=USER, password=PASSWORD, prompt=False)


def xnat_at_root(path: str) -> tuple[int, dict, bytes]:
    return 200, {"Content-Type": "application/json"}, b'{"version": "1.8.11"}'


def test_the_login_provider_is_named(standin, monkeypatch):
    seen = []
    right = standin.login
    standin.login = lambda form: seen.append(form.get("provider")) or right(form)
    monkeypatch.setenv("XNAT_PROVIDER", "ldap1")
    with connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as connection:
        standin.expire()
        standin.answers["/data/projects/P/subjects"] = [(200, {}, table([]))]
        connection.subjects("P")
    monkeypatch.setenv("XNAT_SOURCE_PROVIDER", "ldap2")
    with connect("source", server=standin.url, user=USER, password=PASSWORD, prompt=False):
        pass
    assert seen == [["ldap1"], ["ldap1"], ["ldap2"]]


def test_the_login_provider_of_the_command_line_wins_over_the_environment_and_is_not_kept(standin, monkeypatch):
    seen = []
    right = standin.login
    standin.login = lambda form: seen.append(form.get("provider")) or right(form)
    names = {"XNAT_SOURCE_PROVIDER": "of-the-source", "XNAT_DESTINATION_PROVIDER": "of-the-destination"}
    for name, value in {"XNAT_HOST": standin.url, "XNAT_USER": USER, "XNAT_PASS": PASSWORD, **names}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XNAT_PROVIDER", raising=False)
    for words, sides in ((["inventory", "P"], ["of-the-source"]), (["diff", "P", "Q"], sorted(names.values()))):
        seen.clear()
        cli.invoke([*words, "--login-provider", "typed"])
        assert seen == [["typed"]] * len(sides)
        seen.clear()
        cli.invoke(words)
        assert sorted(one for (one,) in seen) == sides
    assert {name: os.environ.get(name) for name in names} == names and "XNAT_PROVIDER" not in os.environ


def test_an_upload_that_breaks_twice_at_one_place_is_perhaps_too_large():
    with running() as server:
        kit = Kit(lambda role: Person(server, role))
        server.faults([{"fault": "cut-upload", "path": "/data/services/import", "bytes": 6_000_000}])
        words = []
        with as_(server, "owner") as connection:
            while len(words) < 2 or (len(words) < 8 and "size limit" not in words[-1]):  # sockets hold back at random
                with pytest.raises(TransientError) as caught:
                    connection.import_zip(
                        project=kit.destination,
                        subject="S",
                        session="E",
                        size_bytes=40_000_000,
                        body=lambda: [b"x" * 100_000] * 400,
                    )
                words.append(str(caught.value))
        server.faults([])
    assert "size limit" not in words[0] and "size limit" in words[-1]
    assert "run the same command again" in words[0].lower()
    assert "client_max_body_size" in words[-1] and "Only if none is set, run the same command again" in words[-1]


def test_a_small_upload_that_breaks_twice_says_how_much_went_out():
    words = []
    with running() as server:
        kit = Kit(lambda role: Person(server, role))
        server.faults([{"fault": "cut-upload", "path": "/data/services/import", "bytes": 50_000}])
        with as_(server, "owner") as connection:
            for _ in range(2):
                where = {"project": kit.destination, "subject": "S", "session": "E"}
                with pytest.raises(TransientError) as caught:
                    connection.import_zip(**where, size_bytes=90_000, body=lambda: [b"x" * 90_000])
                words.append(str(caught.value))
        server.faults([])
    assert "after about 90.0 kB for the second time" in words[1]


# -- settings that guard something -------------------------------------------------------------------------------


def ready(standin, code: list) -> None:
    standin.answers["/data/projects/P"] = [(200, {}, b'{"items": []}')]
    standin.answers["/data/projects/P/prearchive_code"] = code


def test_a_passing_failure_of_a_setting_is_asked_again(connection, standin):
    ready(standin, [(500, {}, b""), (500, {}, b""), (200, {}, b"4")])
    told = connection.settings("P")
    assert told.prearchive_code == 4 and not [one for one in told.failed if one == "prearchive code"]


def test_a_setting_that_stays_a_failure_is_told_apart_from_one_that_is_left_open(connection, standin):
    ready(standin, [(500, {}, b"")])
    told = connection.settings("P")
    assert told.prearchive_code is None and "prearchive code" in told.failed
    assert standin.sent("/data/projects/P/prearchive_code") == 3
    standin.answers["/data/projects/P/prearchive_code"] = [(403, {}, b"")]
    assert "prearchive code" not in connection.settings("P").failed


@pytest.mark.parametrize(("owned", "can"), [([{"URI": "/data/experiments/E1", "ID": "E1"}], None), ([], False)])
def test_rights_that_are_denied_of_a_project_whose_sessions_are_listed_are_not_told(connection, standin, owned, can):
    """Access to all data is not in XNAT's list of rights (source, DefaultGroupsAndPermissionsCache)."""
    ready(standin, [(200, {}, b"0")])
    standin.answers["/data/projects"] = [(200, {}, table([{"id": "Q"}]))]
    standin.answers["/data/experiments"] = [(200, {}, table(owned))]
    told = connection.settings("P")
    assert (told.can_read, told.can_create) == (can, can)


# -- waiting for archiving -----------------------------------------------------------------------------------------

ROW = "/prearchive/projects/P/20260101_010203000/S1"


def waiting_in(standin, *statuses: str) -> None:
    row = {"url": ROW, "name": "S1", "project": "P", "lastmod": "2026-01-01 01:02:03"}
    standin.answers[f"/data{ROW}"] = [(200, {}, table([{**row, "status": one}])) for one in statuses]
    standin.answers[f"/data{ROW}/logs/last"] = [(200, {}, b"a script failed")]


@pytest.mark.parametrize("status", ["CONFLICT", "ERROR"])
def test_who_waits_for_archiving_is_told_what_the_row_says_meanwhile(connection, standin, status):
    """XNAT answers up to ten minutes after the row tells it (L5)."""
    waiting_in(standin, "ARCHIVING", status)
    answered = threading.Event()
    try:
        with pytest.raises(ServerError, match=f"the row in {status}. a script failed"):
            watched(connection, ROW, lambda: answered.wait(60) and "late", look_s=0.02)
    finally:
        answered.set()
    assert standin.sent(f"/data{ROW}") >= 3, "one reading alone is not believed"


def test_an_archiving_that_goes_on_is_waited_for_and_a_failed_look_ends_nothing(connection, standin):
    waiting_in(standin, "ARCHIVING", "CONFLICT", "ARCHIVING")
    standin.answers[f"/data{ROW}"].insert(1, (500, {}, b""))

    def send() -> str:
        while standin.sent(f"/data{ROW}") < 8:
            time.sleep(0.01)
        return "/data/experiments/X_E1"

    assert watched(connection, ROW, send, look_s=0.01) == "/data/experiments/X_E1"


# -- reasons, text, names ----------------------------------------------------------------------------------------


def test_a_reason_is_in_the_query_of_renames_and_fields(connection, standin):
    standin.answers[ITEM] = [(200, {}, b"")]
    standin.answers["/xapi/siteConfig/buildInfo"] = [(200, {}, b'{"version": "1.8.11"}')]
    connection.rename(ITEM, "T", "why")
    assert standin.log[-1][2]["event_reason"] == ["why"]
    connection.set_fields(ITEM, {"gender": "female"}, "why")
    assert standin.log[-1][2]["event_reason"] == ["why"] and "gender" not in standin.log[-1][2]


def test_up_to_1_6_fields_go_in_the_query(connection, standin):
    """A form is 200 and passed over there (recorded)."""
    standin.answers[ITEM] = [(200, {}, b"")]
    standin.answers["/data/version"] = [(200, {}, b"Unknown version")]
    connection.set_fields(ITEM, {"gender": "female"}, "why")
    assert standin.log[-1][2]["gender"] == ["female"]


@given(st.text(alphabet=st.sampled_from("a<>&'\"; lt#38amp")))
def test_text_is_what_it_was_before_xnat_escaped_it(text):
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = escaped.replace("'", "&apos;").replace('"', "&quot;")
    assert _rows.plain(escaped) == text


def test_the_current_item_is_read_and_no_history():
    """1.6.4 begins the item of a session that was moved with what it was before (recorded)."""
    items = [
        {"meta": {"isHistory": True, "xsi:type": "xnat:mrSessionData"}, "data_fields": {"ID": "E1", "project": "A"}},
        {"meta": {"isHistory": False, "xsi:type": "xnat:mrSessionData"}, "data_fields": {"ID": "E1", "project": "B"}},
    ]
    assert _rows.item_row({"items": items})["project"] == "B"
    assert _rows.item_fields({"items": items})[1]["project"] == "B"


@pytest.mark.parametrize(
    ("kind", "modality"), [("mr", "MR"), ("pet", "PT"), ("ct", "CT"), ("petmr", ""), ("otherDicom", "")]
)
def test_the_type_of_a_session_says_its_modality(kind, modality):
    assert _rows.modality_of(f"xnat:{kind}SessionData") == modality


@pytest.fixture(scope="module")
def shelf():
    """A server with a subject at each project of a kit."""
    with running() as server:
        kit = Kit(lambda role: Person(server, role))
        for project in (kit.source, kit.destination):
            assert kit.who.put(f"/data/projects/{project}/subjects/S1").status_code == 201
        yield server, f"/data/projects/{kit.source}/subjects/S1"


NAMES = [
    "p%41.txt",
    "pA.txt",
    "100%.txt",
    "semi;colon.txt",
    "a+b c.txt",
    "a#1.txt",
    "q?.txt",
    "\u00fc.txt",
    "a b/c,d.txt",
]


def test_files_of_any_name_go_and_come_under_exactly_their_name(shelf):
    server, path = shelf
    with as_(server, "owner") as connection:
        for name in NAMES:
            connection.put_file(path, "NAMES", name, size_bytes=len(name.encode()), body=[name.encode()])
        rows = connection.files_below(path, "NAMES")
        assert sorted(row["path"] for row in rows) == sorted(NAMES)
        for row in rows:
            with connection.open_file(row["uri"]) as pieces:
                assert b"".join(pieces) == row["path"].encode(), row["path"]


@pytest.mark.parametrize("label", ["2020", "a,b", "with blank", "50%", "R&D"])
def test_a_resource_that_no_request_makes_is_refused_and_nothing_is_written(shelf, label):
    server, path = shelf
    with as_(server, "owner") as connection:
        before = connection.files_below(path)
        with pytest.raises(Exception, match="No request makes"):
            connection.put_file(path, label, "a.txt", size_bytes=1, body=[b"a"])
        assert connection.files_below(path) == before


@pytest.mark.parametrize("label", ["dots.in.it", "My%20Res"])
def test_a_resource_of_an_unusual_label_is_made_and_found_under_it(shelf, label):
    server, path = shelf
    with as_(server, "owner") as connection:
        connection.put_file(path, label, "a.txt", size_bytes=1, body=[b"a"])
        assert [(row["resource"], row["path"]) for row in connection.files_below(path, label)] == [(label, "a.txt")]


# -- the doctor --------------------------------------------------------------------------------------------------


@pytest.mark.needs("1.8", because="an older XNAT answers some forms otherwise, and the doctor says so")
def test_the_doctor_tells_all_of_a_server_and_nothing_of_anybody(demo_xnat, monkeypatch, capsys):
    user, password = demo_xnat.accounts["member"]
    for name, value in (("HOST", demo_xnat.url), ("USER", user), ("PASS", password)):
        monkeypatch.setenv(f"XNAT_{name}", value)
    before = len([line for line in demo_xnat.log() if line["method"] in ("PUT", "POST", "DELETE")])
    code = cli.invoke(["doctor", demo_xnat.url, "DEMO_SOURCE", "--json"])
    found = json.loads(capsys.readouterr().out)
    writes = [line for line in demo_xnat.log() if line["method"] in ("PUT", "POST", "DELETE")][before:]
    assert {line["path"] for line in writes} <= {"/data/services/auth", "/data/JSESSION"}
    assert code == 0 and found["otherwise"] == 0 and found["as_expected"] > 30
    listed = requests.get(
        f"{demo_xnat.url}/data/projects/DEMO_SOURCE/experiments?format=json", auth=(user, password), timeout=30
    ).json()["ResultSet"]["Result"]
    text = json.dumps(found)
    names = [
        user,
        password,
        "DEMO_SOURCE",
        "127.0.0.1",
        *(row["label"] for row in listed),
        *(row["ID"] for row in listed),
    ]
    assert [name for name in names if name in text] == []


@pytest.mark.needs("1.8", because="an older XNAT answers some forms otherwise, and the doctor says so")
def test_the_doctor_says_what_another_answer_will_cost(demo_xnat, monkeypatch, capsys):
    with running(demo=True) as server:
        server.faults([{"fault": "404", "path": "/data/services/dicomdump"}])
        user, password = server.accounts["member"]
        for name, value in (("HOST", server.url), ("USER", user), ("PASS", password)):
            monkeypatch.setenv(f"XNAT_{name}", value)
        assert cli.invoke(["doctor", server.url, "DEMO_SOURCE"]) == 3
        shown = capsys.readouterr().out
        assert "1 answered otherwise" in shown and "reads the files themselves" in shown
        with pytest.raises(NotFoundError):
            cli.cli.main(["doctor", server.url, "NO_SUCH"], standalone_mode=False)
