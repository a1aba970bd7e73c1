"""What addresses mean: the firewall, raw labels and names, numbers of resources (live 1.8.11, 1.7.6 and 1.7.2)."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest
import requests

from xnbtransfer.server import running

OCTETS = {"Content-Type": "application/octet-stream"}


def raw(study, method: str, path: str, data: bytes = b"") -> tuple[int, str, bytes]:
    """Status, type and body of a request whose address nobody quotes again."""
    where = urlsplit(study.owner.server.url)
    user, password = study.owner.server.accounts["owner"]
    head = {"Authorization": requests.auth._basic_auth_str(user, password)} | (OCTETS if data else {})
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    connection.request(method, path, data or None, head)
    answer = connection.getresponse()
    found = answer.status, answer.getheader("Content-Type", ""), answer.read()
    connection.close()
    return found


@pytest.mark.parametrize("name", ["a%25b", "a;b", "a%3Bb", "a%3bb", "a//b", "a%2Eb", "a/../b", "a/./b", "100%", "a%u1"])
def test_the_firewall_refuses_for_ever(study, name):
    path = f"{study.path}/resources/FW/files/{name}.txt"
    status, kind, body = raw(study, "GET", path)
    assert (status, kind.partition(";")[0]) == (500, "text/html")
    assert b"<h3>" not in body
    assert raw(study, "PUT", path + "?inbody=true", b"x")[0] == raw(study, "DELETE", path)[0] == 405
    assert study.owner.rows(f"{study.path}/resources/FW/files") == []
    assert raw(study, "GET", f"{study.path}/subjects?format=json&label={name}")[0] == 200


@pytest.mark.parametrize("name", ["a%2Fb", "a%5Cb", "a%00b"])
def test_the_container_refuses_before(study, name):
    status, _, body = raw(study, "GET", f"{study.path}/resources/FW/files/{name}")
    assert status == 400
    assert b"HTTP Status 400" in body


@pytest.mark.parametrize(
    ("sent", "listed"),
    [("a%20b.txt", "a b.txt"), ("a+b.txt", "a+b.txt"), ("a%2Bb.txt", "a+b.txt"), ("a+b%20c.txt", "a b c.txt"),
     ("a%2Bb%20c%23.txt", "a+b c#.txt"), ("a%23b.txt", "a%23b.txt"), ("%C3%BC.txt", "%C3%BC.txt")],
)  # fmt: skip
def test_a_name_is_decoded_where_it_holds_a_quoted_blank_or_plus(study, sent, listed):
    path = f"{study.path}/resources/N/files"
    assert raw(study, "PUT", f"{path}/{sent}?inbody=true", b"x")[0] == 200
    (row,) = study.owner.rows(path)
    assert (row["Name"], row["URI"].rpartition("/")[2]) == (listed, listed)
    assert raw(study, "GET", f"{path}/{sent}")[2] == b"x"


@pytest.mark.parametrize("label", ["My%20Res", "R%26D", "it%27s", "plus+one", "%C3%BC"])
def test_a_label_of_a_resource_stays_as_it_was_sent(study, label):
    path = f"{study.path}/resources/{label}/files"
    assert raw(study, "PUT", f"{path}/a.txt?inbody=true", b"x")[0] == 200
    (row,) = study.owner.rows(f"{study.path}/resources")
    assert row["label"] == label
    (file,) = study.owner.rows(f"{study.path}/resources/{row['xnat_abstractresource_id']}/files")
    assert file["collection"] == label


def test_a_comma_ends_a_label(study):
    assert raw(study, "PUT", f"{study.path}/resources/a,b/files/a.txt?inbody=true", b"x")[0] == 200
    assert [row["label"] for row in study.owner.rows(f"{study.path}/resources")] == ["a"]


def test_a_label_of_digits_is_the_number_of_any_readable_resource(study, person):
    study.upload("experiments/S01_MR1/resources/OTHER/files/secret.txt", b"x")
    number = study.owner.rows(f"{study.path}/experiments/S01_MR1/resources")[0]["xnat_abstractresource_id"]
    below = f"{study.path}/experiments/S01_MR2/resources"
    (row,) = study.owner.rows(f"{below}/{number}/files")
    assert (row["Name"], row["URI"].split("/")[3]) == ("secret.txt", study.ids["S01_MR2"])
    assert study.owner.rows(below) == []
    assert study.upload(f"experiments/S01_MR2/resources/{number}/files/mine.txt", b"y").status_code == 200
    assert [row["label"] for row in study.owner.rows(below)] == [number]
    assert study.owner.get(f"{below}/999999/files").status_code == 404
    assert study.upload("experiments/S01_MR2/resources/999999/files/f", b"y").status_code == 404


def test_older_ones_have_no_firewall_and_take_digits():
    with running(personality="1.7.2") as server, requests.Session() as owner:
        owner.auth = server.accounts["owner"]
        assert owner.put(f"{server.url}/data/projects/P", timeout=60).status_code == 200
        for label in ("50%25", "2020"):
            path = f"{server.url}/data/projects/P/resources/{label}/files"
            sent = owner.put(f"{path}/100%25.txt", params={"inbody": "true"}, data=b"x", headers=OCTETS, timeout=60)
            assert sent.status_code == 200
            (row,) = owner.get(path, timeout=60).json()["ResultSet"]["Result"]
            assert (row["collection"], row["Name"]) == (label, "100%25.txt")
