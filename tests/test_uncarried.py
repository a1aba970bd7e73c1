"""What no request can carry is told before the start, by what would be written, and what is carried is listed so."""

from __future__ import annotations

import sqlite3

import pytest
from archive_kit import Kit
from hypothesis import given
from hypothesis import strategies as st
from people import people
from shell import WAIVE, Shell

from xnbtransfer import forms
from xnbtransfer import server as embedded
from xnbtransfer.uncarried import why_not


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    with people(server) as person:
        yield Kit(person)


@pytest.fixture
def shell(server, tmp_path, capsys, monkeypatch):
    return Shell(server, tmp_path, capsys, monkeypatch)


def put(kit, path: str, name: str = "a.txt") -> None:
    """A file below the session E1 of the source, at an address that is sent as it stands."""
    base = f"/data/projects/{kit.source}/subjects/S1/experiments/E1"
    answer = kit.who.put(f"{base}/{path}/files/{name}", params={"inbody": "true"}, data=b"a")
    assert answer.status_code in (200, 201), answer.text


def renamed(server, text: str, *values: str) -> None:
    """Give something of the source a name that its web page takes, and no request."""
    with sqlite3.connect(server.data / "catalogue.sqlite", timeout=30) as base:
        assert base.execute(text, values).rowcount == 1


def test_a_label_that_no_request_makes_blocks_and_stays_behind_by_a_waiver(server, kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    put(kit, "resources/NOTES")
    mine = f"TOBE{kit.source}"
    put(kit, f"resources/{mine}")
    renamed(server, "UPDATE resources SET label=? WHERE label=?", "a,b;c", mine)
    words = (kit.source, kit.destination, "--archive", "--resources", "*")
    code, said = shell("plan", *words, "-o", "a.json")
    assert code == 5 and "P16" in said and "no request makes a resource called" in said, said
    (shell.folder / "left.yaml").write_text(WAIVE.replace("S13", "P16"))
    code, said, folder = shell.copy(*words, "--waivers", "left.yaml")
    assert code == 7 and "no request makes a resource called" in said, said
    (there,) = kit.who.rows(f"/data/projects/{kit.destination}/experiments", columns="ID,label")
    found = kit.who.rows(f"/data/experiments/{there['ID']}/resources")
    assert [row["label"] for row in found if row["category"] == "resources"] == ["NOTES"]
    assert shell.counts(folder)["different"] == 0


@pytest.mark.parametrize("method", ["import", "files"])
def test_a_scan_number_that_no_request_names_blocks(server, kit, shell, method):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
    (row,) = kit.who.rows(f"/data/projects/{kit.source}/experiments", columns="ID,label")
    renamed(server, "UPDATE scans SET id='2,b' WHERE id='2' AND experiment_id=?", row["ID"])
    code, said = shell("plan", kit.source, kit.destination, "--archive", "--method", method, "-o", "a.json")
    assert code == 5 and "P16" in said and "no request names a scan called '2,b'" in said, said
    (shell.folder / "left.yaml").write_text(WAIVE.replace("S13", "P16") + WAIVE.partition("waivers:\n")[2])
    words = ("--archive", "--method", method, "--waivers", "left.yaml")
    code, said, _ = shell.copy(kit.source, kit.destination, *words)
    assert code == 7 and "cannot be carried by any request" in said, said
    assert {scan for scan, _, _ in kit.files(kit.destination)["E1"]} == {"1"}


@pytest.mark.parametrize("name", ["../a", "a//b", "/a", "a\\b", "a/./b", "", "x" * 300])
def test_names_that_leave_their_folder_or_that_no_disk_takes_are_told(name):
    assert "no request and no zip" in why_not("R", ["fine.txt", name])


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8))
def test_a_scan_that_can_be_made_can_be_asked_and_a_plain_name_is_carried(name):
    if forms.scan_can_be_made(name):
        assert forms.scan_can_be_asked(name)
        assert why_not("R", [name], makes_scan=name) == ""
        assert forms.label_can_be_made(name) is not name.isdigit()
    if forms.addressable(name) and not set(name) & {"/", "\\", "\0"} and name not in (".", ".."):
        assert why_not("R", [name]) == ""
