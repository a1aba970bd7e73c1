"""Absence of an answer is not absence of data: where a 404, or nothing, stands for rows, another answer has to say so.

Each place of the client that reads rows is told the worst by scripted answers; what happens is an error, or what the
second answer says.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from standin import PASSWORD, USER, standing_in, table

from xnbtransfer import xnat
from xnbtransfer.errors import EmptyAnswerError, NotDataError, NotFoundError, RefusedError, ServerError
from xnbtransfer.fields import digests_of, prove_fields, read_fields
from xnbtransfer.keys import SessionKey
from xnbtransfer.one_server import _waiting
from xnbtransfer.prearchive import review_prearchive
from xnbtransfer.steps import files_of
from xnbtransfer.stuck import UNLISTED
from xnbtransfer.values import Verdict
from xnbtransfer.xnat import connect

SESSION, SUBJECT = "/data/experiments/X_E1", "/data/projects/P/subjects/S"
SCAN = f"{SESSION}/scans/1"
ROW = "/prearchive/projects/P/20260101_010203000/S1"
GONE = [(404, {}, b"")]


def rows(*found: dict) -> list:
    return [(200, {}, table(list(found)))]


def item(kind: str = "xnat:mrSessionData", **fields: str) -> list:
    meta = {"xsi:type": kind, "isHistory": False}
    return [(200, {}, json.dumps({"items": [{"meta": meta, "data_fields": fields, "children": []}]}).encode())]


def waiting(status: str) -> dict:
    return {"url": ROW, "status": status, "name": "S1", "project": "P", "lastmod": "2026-01-01 01:02:03"}


@pytest.fixture
def standin():
    with standing_in() as server:
        server.answers["/xapi/siteConfig/buildInfo"] = [(200, {}, b'{"version": "1.8.11"}')]
        yield server


@pytest.fixture
def connection(standin, monkeypatch):
    monkeypatch.setattr(xnat, "EMPTY_PAUSE_S", 0)
    with connect(server=standin.url, user=USER, password=PASSWORD, prompt=False) as found:
        yield found


# -- the archive -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204])
def test_a_list_without_a_byte_is_no_empty_list(connection, standin, status):
    standin.answers["/data/projects/P/subjects"] = [(status, {}, b"")]
    with pytest.raises(EmptyAnswerError, match=f"with {status} and nothing in it"):
        connection.subjects("P")


def test_the_address_that_archiving_named_and_that_is_not_found_is_no_session_without_files(connection):
    with pytest.raises(NotFoundError):
        connection.files_of("/data/archive/projects/P/subjects/S/experiments/L")


def test_the_files_of_a_session_that_is_not_found_are_not_none(connection, standin):
    with pytest.raises(NotFoundError):
        connection.files(["X_E1"])
    with pytest.raises(NotFoundError):
        connection.session_resources(["X_E1"])
    for where in ("scans/ALL/files", "files", "scans"):  # as up to 1.7, where a list of what is not there is empty
        standin.answers[f"{SESSION}/{where}"] = rows()
    with pytest.raises(NotFoundError, match="does not find the session X_E1"):
        files_of(connection, "X_E1")
    standin.answers[SESSION] = item(ID="X_E1", label="S1", project="P")
    assert files_of(connection, "X_E1") == []


def test_files_that_are_not_listed_of_a_session_with_scans_are_an_error(connection, standin):
    standin.answers |= {f"{SESSION}/scans": rows({"ID": "1"}), SESSION: item(ID="X_E1", label="S1", project="P")}
    with pytest.raises(NotFoundError):
        connection.files(["X_E1"])
    standin.answers[f"{SESSION}/scans"] = rows()
    assert connection.files(["X_E1"]) == [], "its list of scans says that it has none"


@pytest.mark.parametrize("path", [SUBJECT, SESSION, "/data/projects/P"])
def test_files_below_an_item_that_is_not_found_are_not_none(connection, path):
    for resource in ("", "NOTES", "my notes"):
        with pytest.raises(NotFoundError):
            connection.files_below(path, resource)


def test_a_resource_is_not_there_where_the_list_of_resources_says_so(connection, standin):
    standin.answers[f"{SUBJECT}/resources"] = rows({"label": "OTHER", "xnat_abstractresource_id": "7"})
    assert connection.files_below(SUBJECT, "NOTES") == connection.files_below(SUBJECT, "my notes") == []
    standin.answers[f"{SUBJECT}/resources"] = rows(
        {"label": "NOTES", "xnat_abstractresource_id": "7"}, {"label": "my notes", "xnat_abstractresource_id": "8"}
    )
    for resource in ("NOTES", "my notes"):
        with pytest.raises(NotFoundError):
            connection.files_below(SUBJECT, resource)


@pytest.mark.parametrize("status", [404, 500])
def test_a_scan_is_not_there_where_the_list_of_scans_says_so(connection, standin, status):
    standin.answers[f"{SCAN}/resources/NOTES/files"] = standin.answers[f"{SCAN}/files"] = [(status, {}, b"")]
    standin.answers[f"{SESSION}/scans"] = rows({"ID": "2"})
    assert connection.files_below(SCAN, "NOTES") == connection.files_below(SCAN) == []
    standin.answers[f"{SESSION}/scans"] = rows({"ID": "1"})
    for resource in ("NOTES", ""):
        with pytest.raises((NotFoundError, ServerError)):
            connection.files_below(SCAN, resource)
    standin.answers[f"{SESSION}/scans"] = GONE
    with pytest.raises(NotFoundError):
        connection.files_below(SCAN, "NOTES")


def test_a_session_that_is_listed_and_not_found_is_not_another_owners(connection, standin):
    standin.answers["/data/projects/P/experiments"] = rows({"label": "L", "URI": SESSION})
    with pytest.raises(ServerError, match="lists the session X_E1, and does not find it"):
        connection.own_sessions("P", "L")


# -- labels ------------------------------------------------------------------------------------------------------

LISTED = "/data/projects/P/experiments"


def owned(label: str = "L", project: str = "P") -> dict:
    """A row of the list of a project's sessions."""
    return {"label": label, "URI": SESSION, "session_project": project, "subject_project": project, "UID": "1.2.3"}


def test_a_label_is_free_where_its_address_and_the_list_of_the_project_say_so(connection, standin):
    standin.answers[LISTED] = rows(owned("L2"), owned("L", "Q"))
    standin.answers["/data/projects"] = [(200, {}, table([{"id": "P"}]))]
    assert connection.session_at("P", "L") is None
    assert connection.sessions_with_label("P", "L") == []


@pytest.mark.parametrize("ask", ["session_at", "sessions_with_label"])
def test_a_label_that_is_listed_and_not_found_is_not_free(connection, standin, ask):
    standin.answers[LISTED] = rows(owned())
    standin.answers["/data/projects"] = [(200, {}, table([{"id": "P"}]))]
    with pytest.raises(ServerError, match="lists the session X_E1 as L in P, and does not find it"):
        getattr(connection, ask)("P", "L")


@pytest.mark.parametrize("answer", [GONE, [(403, {}, b"")], [(200, {}, b"")]], ids=["404", "403", "nothing"])
def test_no_label_is_free_in_a_project_whose_sessions_are_not_listed(connection, standin, answer):
    standin.answers[LISTED] = answer
    standin.answers["/data/projects"] = [(200, {}, table([{"id": "P"}]))]
    with pytest.raises((NotFoundError, RefusedError, EmptyAnswerError)):
        connection.session_at("P", "L")


def test_no_label_is_free_for_who_has_lost_the_right_to_read(connection, standin):
    standin.answers[LISTED] = rows()
    standin.answers["/data/projects"] = [(200, {}, table([{"id": "Q"}]))]
    with pytest.raises(RefusedError, match="no label of P can be called free"):
        connection.session_at("P", "L")


def test_who_reads_all_data_without_a_role_is_told_by_what_is_listed(connection, standin):
    """What access to all data gives is not in the list of rights (``Told._lists_sessions``)."""
    standin.answers[LISTED] = rows()
    standin.answers["/data/projects"] = [(200, {}, table([{"id": "Q"}]))]
    standin.answers["/data/experiments"] = rows({"ID": "X_E7"})
    assert connection.session_at("P", "L") is None


@pytest.mark.parametrize("listed", [[], [owned("other")]])
def test_a_label_that_is_found_and_in_no_list_is_taken(connection, standin, listed):
    standin.answers[f"{LISTED}/L"] = item(ID="X_E1", label="L", project="P", UID="1.2.3")
    standin.answers[LISTED] = rows(*listed)
    (found,) = connection.sessions_with_label("P", "L")
    assert (found["session_id"], found["session"], found["project"]) == ("X_E1", "L", "P")
    assert found["StudyInstanceUID"] == "1.2.3" and not found["shared"]


def test_a_share_that_is_found_and_in_no_list_is_taken(connection, standin):
    """A session of Q is shown in P as L; the lists of P name nothing."""
    share = {"field": "sharing/share", "items": [{"data_fields": {"project": "P", "label": "L"}}]}
    found = {"meta": {"xsi:type": "xnat:mrSessionData", "isHistory": False}, "children": [share]}
    found["data_fields"] = {"ID": "X_E1", "label": "theirs", "project": "Q"}
    standin.answers[f"{LISTED}/L"] = [(200, {}, json.dumps({"items": [found]}).encode())]
    standin.answers[LISTED] = rows()
    (row,) = connection.sessions_with_label("P", "L")
    assert (row["session_id"], row["session"], row["project"], row["shared"]) == ("X_E1", "L", "Q", True)


# -- fields ------------------------------------------------------------------------------------------------------


def test_fields_of_an_item_that_is_not_found_are_not_none(connection, standin):
    with pytest.raises(NotFoundError):
        connection.fields_of(SUBJECT)
    standin.answers[SUBJECT] = [(200, {}, b"{}")]
    with pytest.raises(NotDataError, match="no item"):
        connection.fields_of(SUBJECT)
    standin.answers[SUBJECT] = GONE
    found = read_fields(connection, {("S", ""): SUBJECT}, "00")
    assert list(found["path"]) == ["*"], "fields that nobody has read, not an item without fields"


def test_fields_that_the_destination_does_not_show_are_neither_equal_nor_different(connection):
    """What was carried without a value may not be found equal to what is not found."""
    key = SessionKey("S", "S1")
    session = SimpleNamespace(
        key=key, subject="S", session="S1", destination_subject="S", destination_session="S1", session_id="X_E9"
    )
    side = SimpleNamespace(project="P")
    plan = SimpleNamespace(sessions=[session], source=side, destination=side)
    proved = [{"subject": "S", "session": "S1", "path": "session/note"}]
    for archived, because in (({key: "X_E1"}, "does not show the fields"), ({}, "is not found in the archive")):
        (row,) = prove_fields(plan, proved, None, connection, archived, digests_of([""]))
        assert row["verdict"] == Verdict.NOT_PROVED and because in row["because"]


# -- the prearchive ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [GONE, rows()], ids=["404", "no row"])
def test_a_row_is_gone_only_where_the_list_of_its_project_lacks_it(connection, standin, answer):
    standin.answers[f"/data{ROW}"] = answer
    with pytest.raises(NotFoundError):
        connection.prearchive_row(ROW)
    standin.answers["/data/prearchive/projects/P"] = rows(waiting("READY"))
    assert connection.prearchive_row(ROW)["status"] == "READY"
    standin.answers["/data/prearchive/projects/P"] = rows()
    assert connection.prearchive_row(ROW) is None


@pytest.mark.parametrize("status", ["READY", "CONFLICT"])
def test_a_row_that_is_built_and_lists_no_scans_is_an_error(connection, standin, status):
    standin.answers["/data/prearchive/projects/P"] = rows(waiting(status))
    with pytest.raises(NotFoundError):
        connection.prearchive_resources(ROW)
    standin.answers["/data/prearchive/projects/P"] = rows(waiting("RECEIVING"))
    assert connection.prearchive_resources(ROW) == []
    standin.answers["/data/prearchive/projects/P"] = rows()
    with pytest.raises(NotFoundError):
        connection.prearchive_resources(ROW)


def test_files_of_a_scan_of_a_row_that_are_not_found_are_not_none(connection):
    with pytest.raises(NotFoundError):
        connection.prearchive_files(ROW, "1", "DICOM")


def test_a_row_of_which_nobody_says_what_stands_against_it_is_not_ready(connection, standin):
    standin.answers["/data/prearchive/projects/P"] = rows(waiting("READY"))
    standin.answers[f"/data{ROW}/resources"] = rows(
        {"category": "scans", "cat_id": "1", "label": "DICOM", "file_count": "1", "file_size": "9"}
    )
    (row,) = review_prearchive(connection, "P").to_dict("records")
    assert row["kind"] == "unreadable" and row["conflict"].startswith(UNLISTED)


def test_a_prearchive_that_may_not_be_seen_is_said_where_sessions_are_shared_or_moved(connection, standin):
    standin.answers["/data/prearchive/projects/P"] = [(403, {}, b"")]
    listed, said = _waiting(connection, "P")
    assert listed == [] and "what waits there is not known" in said[0].sentence


# -- settings ----------------------------------------------------------------------------------------------------


def test_a_filter_of_the_site_that_is_not_told_is_not_off(connection, standin):
    standin.answers["/data/projects/P"] = item("xnat:projectData", ID="P")
    standin.answers["/data/projects/P/config/seriesImportFilter/config"] = [(204, {}, b"")]
    assert connection.settings("P").series_filter_on is None
    told = b'{"enableSitewideSeriesImportFilter": false}'
    names = "enableSitewideSeriesImportFilter,sitewideSeriesImportFilterMode,sitewideSeriesImportFilter"
    standin.answers[f"/xapi/siteConfig/values/{names}"] = [(200, {}, told)]
    assert connection.settings("P").series_filter_on is False
