"""The connection: credentials, retries, renewed log-ins, streams, quoting. No secret ever shows."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import threading
import zipfile
from urllib.parse import unquote, urlsplit

import keyring
import keyring.backend
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import PAGE, PASSWORD, USER, table

from xnbtransfer import _http, _rows, forms
from xnbtransfer.errors import (
    InputError,
    LoginError,
    NotDataError,
    NotFoundError,
    RefusedError,
    ServerError,
    SessionExpiredError,
    TransientError,
)
from xnbtransfer.server import running
from xnbtransfer.xnat import Connection, connect

ROWS = "/data/projects/P/subjects"
SIZES = st.lists(st.sampled_from([0, 1, 40, 28_000, _http.CHUNK_BYTES - 1, _http.CHUNK_BYTES, 300_000]), max_size=12)
OK = (200, {}, table([{"ID": "S1", "label": "001", "project": "P", "URI": "/data/subjects/S1"}]))
WEB_PAGE = (200, {"Content-Type": "text/html"}, PAGE)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Short pauses, and none of this machine's credentials."""
    monkeypatch.setattr(_http, "PAUSE_S", 0.001)
    for side in ("", "SOURCE_", "DESTINATION_"):
        for key in ("HOST", "USER", "PASS"):
            monkeypatch.delenv(f"XNAT_{side}{key}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(scope="module")
def one_demo_xnat():
    with running(demo=True) as server:
        yield server


@pytest.fixture
def fresh_demo_xnat(one_demo_xnat):
    """A demonstration of this module's own, for writes and faults; no fault outlives its test."""
    yield one_demo_xnat
    one_demo_xnat.faults([])


def zipped(names=("a.dcm",), size=100_000) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * size)
    return raw.getvalue()


# -- credentials -------------------------------------------------------------------------------------------------


def test_environment_of_the_side_comes_before_the_common_one(standin, monkeypatch):
    monkeypatch.setenv("XNAT_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("XNAT_USER", "nobody")
    monkeypatch.setenv("XNAT_PASS", "wrong")
    monkeypatch.setenv("XNAT_SOURCE_HOST", standin.url + "/")
    monkeypatch.setenv("XNAT_SOURCE_USER", USER)
    monkeypatch.setenv("XNAT_SOURCE_PASS", PASSWORD)
    with connect("source") as found:
        assert (found.server, found.user) == (standin.url, USER)


def test_the_common_environment_serves_both_sides(standin, monkeypatch):
    monkeypatch.setenv("XNAT_HOST", standin.url)
    monkeypatch.setenv("XNAT_USER", USER)
    monkeypatch.setenv("XNAT_PASS", PASSWORD)
    with connect("destination") as found:
        assert found.user == USER


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory, in place of that of the desktop."""

    priority = 1

    def __init__(self, held: dict[tuple[str, str], str], broken: bool = False) -> None:
        self.held, self.broken = held, broken

    def get_password(self, service: str, username: str) -> str | None:
        if self.broken:
            raise keyring.errors.KeyringLocked("locked")
        return self.held.get((service, username))

    def get_credential(self, service: str, username: str | None):
        for (place, name), secret in self.held.items():
            if not self.broken and place == service and username in (None, name):
                return keyring.credentials.SimpleCredential(name, secret)
        if self.broken:
            raise keyring.errors.KeyringLocked("locked")
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("nothing is ever stored")


@pytest.fixture
def ring():
    before = keyring.get_keyring()
    yield lambda held, **more: keyring.set_keyring(Ring(held, **more))
    keyring.set_keyring(before)


def test_a_keyring_is_asked_after_netrc_and_before_a_prompt(standin, monkeypatch, tmp_path, ring):
    host = urlsplit(standin.url).netloc
    ring({(host, "ben"): "another", (standin.url, USER): PASSWORD})
    with connect(server=standin.url, user=USER, prompt=False) as connection:
        assert connection.user == USER
    with connect(server=standin.url, prompt=False) as connection:
        assert connection.user == USER, "the whole address is nearer than its host"
    with pytest.raises(LoginError, match="No credentials"):
        connect(server=standin.url, user="somebody", prompt=False)
    ring({(host, USER): PASSWORD})
    with connect(server=standin.url, prompt=False) as connection:
        assert connection.user == USER
    path = tmp_path / "netrc"
    path.write_text(f"machine {host} login {USER} password wrong\n", encoding="utf-8")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    with pytest.raises(LoginError, match="refuses the login"):
        connect(server=standin.url, prompt=False)


def test_a_keyring_that_is_locked_or_not_installed_is_passed_over(standin, monkeypatch, ring):
    ring({(standin.url, USER): PASSWORD}, broken=True)
    with pytest.raises(LoginError, match="No credentials"):
        connect(server=standin.url, prompt=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(LoginError, match="No credentials"):
        connect(server=standin.url, prompt=False)


def test_netrc_is_used_last_and_a_password_is_not_mixed_with_another_user(standin, monkeypatch, tmp_path):
    path = tmp_path / "netrc"
    path.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("XNAT_USER", "somebody-else")
    monkeypatch.setenv("XNAT_PASS", "of-somebody-else")
    with connect(server=standin.url, user=USER, prompt=False) as found:
        assert found.user == USER


def test_without_credentials_the_error_names_what_to_set(standin):
    with pytest.raises(LoginError, match="XNAT_SOURCE_USER"):
        connect("source", standin.url, prompt=False)


def test_without_address_the_error_names_what_to_set():
    with pytest.raises(InputError, match="XNAT_DESTINATION_HOST"):
        connect("destination")


def test_an_address_with_a_login_is_refused_and_not_repeated():
    with pytest.raises(InputError) as caught:
        connect(server="https://ada:hunter2@xnat.example.org")
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_a_login_error_without_the_password(standin, caplog, capsys):
    with pytest.raises(LoginError) as caught:
        connect(server=standin.url, user=USER, password="not-the-word", prompt=False)
    shown = f"{caught.value!r} {caught.value} {caplog.text} {capsys.readouterr()}"
    assert "not-the-word" not in shown


def test_an_unreachable_host_is_transient_and_named():
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9"):
        connect(server="http://127.0.0.1:9", user=USER, password=PASSWORD, timeout_s=2)


def test_the_connection_shows_no_secret_and_is_not_pickled(connection):
    assert PASSWORD not in repr(connection) + repr(vars(connection)) + repr(vars(connection._http))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(connection)


# -- reads on a bad day ------------------------------------------------------------------------------------------


def test_an_expired_login_is_renewed_once_for_all_threads(connection, standin):
    standin.answers[ROWS] = [OK]
    standin.expire()
    found = []
    threads = [threading.Thread(target=lambda: found.append(connection.subjects("P"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rows[0]["subject"] for rows in found] == ["001"] * 8
    assert standin.logins == 2


def test_a_login_page_with_200_and_a_guest_cookie_renews_the_login(connection, standin):
    standin.answers |= {ROWS: [OK], "page": []}
    standin.expire()
    assert connection.subjects("P")[0]["subject"] == "001"
    assert standin.logins == 2


def test_a_page_that_comes_again_is_never_data(connection, standin):
    standin.answers[ROWS] = [WEB_PAGE]
    with pytest.raises(NotDataError):
        connection.subjects("P")


def test_a_page_in_place_of_a_zip_or_a_file_is_never_data(connection, standin):
    standin.answers["/data/experiments/E/scans/1/resources/DICOM/files"] = [WEB_PAGE]
    standin.answers["/data/experiments/E/file.dcm"] = [WEB_PAGE]
    with pytest.raises(NotDataError), connection.open_scan("E", "1", "DICOM") as chunks:
        next(chunks)
    with pytest.raises(NotDataError), connection.open_file("/data/experiments/E/file.dcm") as chunks:
        next(chunks)


def test_a_list_that_is_none_is_refused(connection, standin):
    standin.answers[ROWS] = [(200, {}, b'{"items": []}')]
    with pytest.raises(NotDataError, match="no list"):
        connection.subjects("P")


@pytest.mark.parametrize("status", [429, 502, 503, 504, 500])
def test_passing_refusals_of_a_read_are_tried_again(connection, standin, status):
    standin.answers[ROWS] = [(status, {"Retry-After": "0"}, b""), OK]
    assert connection.subjects("P")
    assert standin.sent(ROWS) == 2


def test_retry_after_is_waited_for_but_not_for_ever(connection, standin, monkeypatch):
    waits = []
    monkeypatch.setattr(_http.time, "sleep", waits.append)
    standin.answers[ROWS] = [(503, {"Retry-After": "7"}, b""), (503, {"Retry-After": "9999"}, b""), OK]
    assert connection.subjects("P")
    assert [wait for wait in waits if wait >= 1] == [7.0, _http.RETRY_AFTER_MAX_S]


def test_a_read_gives_up_after_some_tries(connection, standin):
    standin.answers[ROWS] = [(503, {"Retry-After": "0"}, b"<html><h3>Too busy</h3></html>")]
    with pytest.raises(TransientError, match="Too busy") as caught:
        connection.subjects("P")
    assert caught.value.retry_after_s == 0
    assert standin.sent(ROWS) == _http.READ_TRIES


@pytest.mark.parametrize(
    ("status", "kind"), [(403, RefusedError), (404, NotFoundError), (500, ServerError), (409, ServerError)]
)
def test_final_refusals_have_their_error(connection, standin, status, kind):
    standin.answers[ROWS] = [(status, {}, b"<html><h3>Because &amp; why</h3></html>")]
    with pytest.raises(kind, match="Because & why") as caught:
        connection.subjects("P")
    assert getattr(caught.value, "status", status) == status


# -- streams -----------------------------------------------------------------------------------------------------

ZIP = "/data/experiments/E/scans/1/resources/DICOM/files"


def test_a_zip_arrives_whole(connection, standin):
    whole = zipped(size=700_000)
    standin.answers[ZIP] = [(200, {"Content-Type": "application/zip"}, whole)]
    with connection.open_scan("E", "1", "DICOM") as chunks:
        assert b"".join(chunks) == whole


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_zip_without_its_end_is_transient(connection, standin, keep):
    whole = zipped(size=700_000)
    standin.answers[ZIP] = [(200, {}, whole[: int(len(whole) * keep)])]
    with pytest.raises(TransientError), connection.open_scan("E", "1", "DICOM") as chunks:
        for _ in chunks:
            pass


def test_a_connection_cut_in_mid_body_is_transient(connection, standin):
    standin.answers["/data/f.dcm"] = [(200, {"Content-Length": "900000"}, b"x" * 400_000)]
    with pytest.raises(TransientError), connection.open_file("/data/f.dcm") as chunks:
        for _ in chunks:
            pass


def test_an_empty_file_is_empty_and_not_an_error(connection, standin):
    standin.answers["/data/f.txt"] = [(200, {}, b"")]
    with connection.open_file("/data/f.txt") as chunks:
        assert list(chunks) == []


# -- writes ------------------------------------------------------------------------------------------------------

IMPORT = "/data/services/import"


def send(connection: Connection, body: bytes = b"PK", **more):
    given_ = {"project": "P", "subject": "001", "session": "001_MR1", "size_bytes": len(body), "reason": "a test"}
    return connection.import_zip(**{**given_, "body": lambda: [body], **more})


def test_an_import_is_streamed_with_its_length_and_answers_addresses(connection, standin):
    standin.answers[IMPORT] = [(200, {}, b"/data/prearchive/projects/P/20240102_030405123/001_MR1\r\n")]
    before = connection.writes
    assert send(connection, b"x" * 100_000) == ["/prearchive/projects/P/20240102_030405123/001_MR1"]
    method, _, query, length = standin.log[-1]
    assert (method, length, connection.writes - before) == ("POST", 100_000, 1)
    assert query["SUBJECT_ID"] == ["001"] and query["event_reason"] == ["a test"]


def test_an_import_that_stored_nothing_answers_nothing(connection, standin):
    standin.answers[IMPORT] = [(200, {}, b"")]
    assert send(connection) == []


@pytest.mark.parametrize(("status", "kind"), [(503, TransientError), (500, ServerError), (403, RefusedError)])
def test_a_write_is_never_sent_twice(connection, standin, status, kind):
    standin.answers[IMPORT] = [(status, {"Retry-After": "3"}, b"")]
    with pytest.raises(kind) as caught:
        send(connection)
    assert standin.sent(IMPORT) == 1
    assert status != 503 or caught.value.retry_after_s == 3


def test_a_write_after_the_login_ran_out_says_so_and_the_next_one_works(connection, standin):
    standin.answers[IMPORT] = [(200, {}, b"/data/prearchive/projects/P/T/F\r\n")]
    standin.expire()
    with pytest.raises(SessionExpiredError):
        send(connection)
    assert send(connection) == ["/prearchive/projects/P/T/F"]


def test_a_page_in_answer_to_a_write_is_no_answer(connection, standin):
    standin.answers[IMPORT] = [WEB_PAGE]
    with pytest.raises(SessionExpiredError):
        send(connection)
    with pytest.raises(NotDataError):
        send(connection)


def test_a_body_of_another_length_is_broken_off(connection, standin):
    standin.answers[IMPORT] = [(200, {}, b"")]
    with pytest.raises(ServerError, match="longer"):
        send(connection, b"1234", size_bytes=2)


def test_archive_reads_the_address_and_the_conflict(connection, standin):
    where = "/data/archive/projects/P/subjects/S/experiments/E"
    standin.answers["/data/services/archive"] = [
        (200, {}, where.encode() + b"\r\n"),
        (301, {"Content-Type": "text/plain"}, where.encode()),
        (409, {}, b"<html><h3>Session already exists</h3></html>"),
    ]
    assert connection.archive("/prearchive/projects/P/T/F") == where
    assert connection.archive("/prearchive/projects/P/T/F") == where
    with pytest.raises(ServerError, match="already exists") as caught:
        connection.archive("/prearchive/projects/P/T/F", overwrite="append")
    assert caught.value.status == 409


# -- names in addresses ------------------------------------------------------------------------------------------


@given(parts=st.lists(st.text(min_size=1).filter(lambda text: text not in (".", "..")), min_size=1, max_size=4))
def test_quoting_keeps_any_label(parts):
    try:
        path = "/data/" + forms.quoted(*parts)
    except UnicodeEncodeError:
        return  # half of a surrogate pair is no text
    sent = requests.Request("GET", f"http://127.0.0.1{path}?a=b").prepare()
    assert [unquote(part) for part in urlsplit(sent.url).path.split("/")[2:]] == parts
    assert urlsplit(sent.url).query == "a=b"


@given(scan=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_scan_id_is_never_read_as_a_list_or_a_path(scan):
    segment = unquote(forms.scan_segment(scan))
    assert "," not in segment and "/" not in segment
    assert segment.replace("[COMMA]", ",").replace("[SLASH]", "/") == scan.replace("[COMMA]", ",").replace(
        "[SLASH]", "/"
    )


@given(path=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), scan=st.text(min_size=1))
@settings(max_examples=50)
def test_file_addresses_are_read_back(path, scan):
    try:
        uri = f"/data/experiments/E1/scans/{forms.quoted(scan)}/resources/12/files/{path}"
    except UnicodeEncodeError:
        return
    name = path.rpartition("/")[2]
    row = _rows.file_row({"URI": uri, "Name": name, "Size": "12", "digest": "AB", "collection": "DICOM"}, "")
    assert (row["session_id"], row["scan"], row["resource"], row["path"]) == ("E1", scan, "DICOM", path)
    assert (row["size_bytes"], row["md5"]) == (12, "ab")
    asked = unquote(row["uri"].partition("/files/")[2])
    assert asked == path, "quoted once, and read back by whoever unquotes once"


def test_names_that_differ_by_quoting_stay_apart():
    """Two files of one resource, as a live XNAT 1.8.11 lists them: raw."""
    rows = [
        _rows.file_row({"URI": f"/data/experiments/E1/resources/12/files/c/{name}", "Name": name}, "")
        for name in ("p%41.txt", "pA.txt", "a+b c.txt", "a%20b.txt", "a b.txt")
    ]
    assert [row["path"] for row in rows] == ["c/p%41.txt", "c/pA.txt", "c/a+b c.txt", "c/a%20b.txt", "c/a b.txt"]
    assert rows[2]["uri"].endswith("/files/c/a%2Bb%20c.txt")


@pytest.mark.parametrize("name", ["files", "scans", "resources", "data", "experiments"])
def test_names_that_look_like_parts_of_an_address(name):
    uri = f"/data/experiments/E1/scans/{name}/resources/7/files/files/{name}/a.dcm"
    row = _rows.file_row({"URI": uri, "collection": "R"}, "")
    assert (row["session_id"], row["scan"], row["path"]) == ("E1", name, f"files/{name}/a.dcm")
    row = f"/prearchive/projects/{name}/20240102_030405123/{name}"
    assert _rows.without_data(row) == row
    assert _rows.without_data(f"/data{row}\r\n") == row
    assert _rows.without_data(f"https://xnat.example.org/context/data{row}") == row


def test_ids_are_cut_into_lists_that_keep_addresses_short():
    ids = [f"XNAT_E{number:05d}" for number in range(1000)]
    chunks = list(_rows.chunked(ids))
    assert [one for chunk in chunks for one in chunk] == ids
    assert len(chunks) <= 21
    assert all(len(",".join(chunk)) < 4000 for chunk in _rows.chunked([one * 12 for one in ids]))


# -- the embedded server -----------------------------------------------------------------------------------------

SOURCE, DESTINATION = "DEMO_SOURCE", "DEMO_DESTINATION"


def as_(server, role: str = "member") -> Connection:
    user, password = server.accounts[role]
    return connect(server=server.url, user=user, password=password, prompt=False)


def test_every_session_is_listed_with_what_a_plan_needs(demo_xnat):
    with as_(demo_xnat) as connection:
        rows = connection.sessions(SOURCE)
        assert len(rows) >= 5 and len({row["session_id"] for row in rows}) == len(rows)
        for row in rows:
            assert row["subject"] and row["session"] and row["xsi_type"].endswith("SessionData")
            owner_is_here = row["project"] == SOURCE
            assert row["shared"] is not owner_is_here
        assert {row["session_id"] for row in connection.scans(SOURCE)} <= {row["session_id"] for row in rows}


def test_sessions_are_found_by_label_and_study_exactly(demo_xnat):
    with as_(demo_xnat) as connection:
        row = next(row for row in connection.sessions(SOURCE) if row["StudyInstanceUID"] and not row["shared"])
        found = connection.sessions_with_label(SOURCE, row["session"])
        assert [(one["session_id"], one["StudyInstanceUID"]) for one in found] == [
            (row["session_id"], row["StudyInstanceUID"])
        ]
        assert row["session_id"] in {one["session_id"] for one in connection.sessions_with_uid(row["StudyInstanceUID"])}
        assert connection.sessions_with_label(SOURCE, row["session"][:-1]) == []
        assert connection.sessions_with_label(SOURCE, "*") == []
        assert connection.sessions_with_uid(row["StudyInstanceUID"][:-1]) == []


def test_listed_files_are_those_of_the_zip_and_have_their_md5(demo_xnat):
    with as_(demo_xnat) as connection:
        row = next(row for row in connection.sessions(SOURCE) if not row["shared"])
        files = [one for one in connection.files([row["session_id"]]) if one["resource"] == "DICOM"]
        scan = files[0]["scan"]
        with connection.open_scan(row["session_id"], scan, "DICOM") as chunks:
            archive = zipfile.ZipFile(io.BytesIO(b"".join(chunks)))
        sent = {name.partition("/files/")[2]: archive.read(name) for name in archive.namelist()}
        listed = {one["path"]: one for one in files if one["scan"] == scan}
        assert set(sent) == set(listed)
        for path, data in sent.items():
            assert listed[path]["size_bytes"] == len(data)
            assert listed[path]["md5"] in ("", hashlib.md5(data).hexdigest())
        with connection.open_file(files[0]["uri"]) as chunks:
            assert b"".join(chunks) == sent[files[0]["path"]]


def test_roles_and_settings_are_told(demo_xnat):
    with as_(demo_xnat) as member, as_(demo_xnat, "collaborator") as reader, as_(demo_xnat, "outsider") as outsider:
        told = member.settings(DESTINATION)
        assert told.can_create and told.can_read and told.can_delete is False
        assert told.version and told.prearchive_code is not None and told.site_script_on is not None
        assert bool(told.site_script) is bool(told.site_script_on)
        assert reader.can(SOURCE, "read") and not reader.can(SOURCE, "create")
        with pytest.raises(NotFoundError):
            outsider.settings(SOURCE)


def test_an_import_waits_in_the_prearchive_until_it_is_archived(fresh_demo_xnat):
    with as_(fresh_demo_xnat, "owner") as connection:
        row = next(row for row in connection.sessions(SOURCE) if row["StudyInstanceUID"] and not row["shared"])
        scan = next(one["scan"] for one in connection.files([row["session_id"]]) if one["resource"] == "DICOM")
        with connection.open_scan(row["session_id"], scan, "DICOM") as chunks:
            body = b"".join(chunks)
        before = connection.writes
        (uri,) = connection.import_zip(
            project=DESTINATION,
            subject="007",
            session="007_X1",
            size_bytes=len(body),
            body=lambda: [body[:1000], body[1000:]],
            reason="a test",
        )
        waiting = connection.prearchive_row(uri)
        assert (waiting["subject"], waiting["session"], waiting["status"]) == ("007", "007_X1", "RECEIVING")
        connection.build(uri)
        assert connection.prearchive_row(uri)["status"] == "READY"
        assert uri in {one["uri"] for one in connection.prearchive(DESTINATION)}
        (there,) = connection.prearchive_resources(uri)
        files = connection.prearchive_files(uri, there["scan"], there["resource"])
        assert there["files"] == len(files) == len(zipfile.ZipFile(io.BytesIO(body)).namelist())
        with connection.open_prearchive(uri) as chunks:
            assert len(zipfile.ZipFile(io.BytesIO(b"".join(chunks))).namelist()) >= len(files)
        with connection.open_prearchive_file(uri, there["scan"], there["resource"], files[0]["path"]) as chunks:
            assert len(b"".join(chunks)) == files[0]["size_bytes"]
        assert not [one for one in connection.validate_archive(uri) if one["type"] != "WARN"]
        assert connection.archive(uri, reason="a test").endswith("/experiments/007_X1")
        assert connection.prearchive_row(uri) is None
        (found,) = connection.sessions_with_label(DESTINATION, "007_X1")
        assert found["subject"] == "007"
        assert connection.writes - before == 3


@pytest.mark.parametrize("fault", ["401", "login-page", "503", "reset-before", "500-before", "429"])
def test_a_listing_survives_the_faults_of_the_embedded_server(fresh_demo_xnat, fault):
    with as_(fresh_demo_xnat) as connection:
        expected = connection.sessions(SOURCE)
        rule = {"fault": fault, "method": "GET", "path": "/data/projects/.*/experiments", "times": 1}
        fresh_demo_xnat.faults([rule])
        assert connection.sessions(SOURCE) == expected


def test_sessions_that_expire_at_the_embedded_server_are_renewed(fresh_demo_xnat):
    with as_(fresh_demo_xnat) as connection:
        expected = connection.subjects(SOURCE)
        fresh_demo_xnat.faults([{"fault": "expire-sessions", "times": 1}])
        assert connection.subjects(SOURCE) == expected
        assert connection.subjects(SOURCE) == expected


@pytest.mark.parametrize("fault", ["truncated-zip", "reset-mid-body"])
def test_a_broken_download_is_transient(fresh_demo_xnat, fault):
    with as_(fresh_demo_xnat) as connection:
        row = next(row for row in connection.sessions(SOURCE) if not row["shared"])
        fresh_demo_xnat.faults([{"fault": fault, "method": "GET", "path": "/scans/ALL/files", "times": 1}])
        with pytest.raises(TransientError), connection.open_session(row["session_id"]) as chunks:
            for _ in chunks:
                pass
        with connection.open_session(row["session_id"]) as chunks:
            assert zipfile.ZipFile(io.BytesIO(b"".join(chunks))).testzip() is None


def test_an_alias_token_logs_in_and_is_not_shown(demo_xnat):
    user, password = demo_xnat.accounts["member"]
    token = requests.get(demo_xnat.url + "/data/services/tokens/issue", auth=(user, password), timeout=10).json()
    with connect(server=demo_xnat.url, user=token["alias"], password=token["secret"], prompt=False) as connection:
        assert connection.user == user
        assert connection.subjects(SOURCE)
        connection._http.interface.cookies.clear()
        assert connection.subjects(SOURCE)
        assert token["secret"] not in repr(vars(connection)) + repr(vars(connection._http))


@given(SIZES, st.sampled_from([-1, 0, 0, 1]))
def test_a_body_is_sent_whole_in_few_pieces_or_broken_off(sizes, wrong):
    chunks = [bytes([number]) * size for number, size in enumerate(sizes)]
    announced = max(0, sum(sizes) + wrong)
    sent, body = [], _http.SizedBody(iter(chunks), announced)
    assert len(body) == announced
    if announced == sum(sizes):
        sent = list(body)
        assert b"".join(sent) == b"".join(chunks)
        assert all(len(piece) >= _http.CHUNK_BYTES for piece in sent[:-1]) and all(sent)
        return
    with pytest.raises(ServerError, match="than announced"):
        sent.extend(body)
    assert sum(map(len, sent)) <= announced
