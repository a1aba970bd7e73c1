"""A source that lists MD5s of before an anonymisation is no dead end, and damage is never taken for such a list."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from people import AS_JSON, AS_TEXT, people
from reviews import Ward
from roads import copy, options
from shell import WAIVE, Shell

from xnbtransfer import server as embedded
from xnbtransfer.old_lists import BECAUSE, CATALOG, OLD_LIST
from xnbtransfer.record import close_record, open_workspace

SCRIPT = 'version "6.6"\n(0010,0020) := session\n(0008,1030) := project\n'
_numbers = itertools.count(1)


pytestmark = pytest.mark.needs("1.7", because="up to 1.7.2 a list of files names no MD5 that could be old")


@pytest.fixture(scope="module")
def person():
    """A server of this module's own: what is done to its files no longer fits its catalogues."""
    with embedded.running() as server, people(server) as find:
        again = {"rerunProjectAnonOnRename": "true"}
        find("admin").post("/xapi/siteConfig", json=again, headers=AS_JSON).raise_for_status()
        yield find


@pytest.fixture
def shell(person, tmp_path, capsys, monkeypatch):
    return Shell(person("owner").server, tmp_path, capsys, monkeypatch)


def renamed(person, files: int = 3, *, scans: int = 1) -> Ward:
    """A project with a script, and a session in it that was renamed: other files, and the old MD5s in its list."""
    ward = Ward(person)
    series = {str(n): ward.series("S", "BEFORE", n, files) for n in range(1, scans + 1)}
    ward.store("S", "BEFORE", series)
    script(ward, ward.source)
    answer = ward.who.put(f"/data/projects/{ward.source}/subjects/S/experiments/BEFORE", params={"label": "E1"})
    assert answer.status_code == 200, answer.text
    return ward


def script(ward: Ward, project: str) -> None:
    where = f"/xapi/anonymize/projects/{project}"
    ward.who.put(where, data=SCRIPT, headers=AS_TEXT).raise_for_status()
    ward.who.put(f"{where}/enabled", params={"enable": "true"}, headers=AS_JSON).raise_for_status()


def at_rest(ward: Ward) -> list[Path]:
    return sorted((ward.server.data / "archive" / ward.source).rglob("*.dcm"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.unlink()
    path.write_bytes(data)


def rows(folder: str) -> list[dict]:
    with (Path(folder) / "files.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("method", ["import", "files"])
@pytest.mark.parametrize("shape", [(3, 1), (1, 2)])
def test_a_renamed_session_is_copied_and_the_result_says_how_it_was_compared(person, shell, method, shape):
    ward = renamed(person, shape[0], scans=shape[1])
    more = ("--method", "files", "--waivers", "waive.yaml") if method == "files" else ("--archive",)
    code, said, folder = shell.copy(ward.source, ward.destination, "--review", "none", *more)
    assert code == 0, said
    count = shape[0] * shape[1]
    assert f"The source lists MD5s of before an anonymisation; {count} files were read twice instead" in said
    assert shell.counts(folder)["exit_code"] == 0


def test_the_record_says_it_and_so_does_a_reading_of_what_is_there(person, tmp_path):
    ward = renamed(person)
    sides = {"source_project": ward.source, "destination_project": ward.destination, "review": "none", "archive": True}
    made, result = copy(ward.server, tmp_path / "run", "owner", **sides)
    workspace = open_workspace(options(record_root=str(tmp_path / "records"), **sides), "transfer")
    summary = close_record(workspace, made, result)
    assert summary["way_out"] == {OLD_LIST: 3} and "of before an anonymisation" in summary["messages"][0]
    assert all(BECAUSE in because for because in result.files["because"])
    _, there = copy(ward.server, tmp_path / "again", "owner", prove_existing=True, **sides)
    assert there.exit_code == 0 and set(there.files["way_out"]) == {OLD_LIST} and there.messages == result.messages


def test_a_move_of_such_a_session_is_proved_by_what_was_read_before_it(person, shell):
    ward = renamed(person)
    code, said = shell("move", ward.source, ward.destination, "-o", "move.json")
    assert code == 0, said
    code, said = shell("run", "move.json")
    assert code == 0 and "3 equal" in said, said


def test_one_damaged_file_beside_files_that_fit_is_no_old_list(person, shell):
    """All of them bear a stamp, since a site's script ran when they came; one is damaged at rest."""
    ward = renamed(person)
    catalogued(ward)
    flip(at_rest(ward)[1])
    code, said, _ = shell.copy(ward.source, ward.destination, "--review", "none", "--archive")
    assert code == 3 and "1 of 3 files" in said and "backup" in said, said


def test_one_damaged_file_alone_is_no_old_list(person, shell):
    """The only file of its scan, with a stamp: another scan tells that the list is right."""
    ward = renamed(person, 1, scans=2)
    catalogued(ward)
    flip(at_rest(ward)[0])
    code, said, _ = shell.copy(ward.source, ward.destination, "--review", "none", "--archive")
    assert code == 3 and "1 of 1 files" in said, said


def test_the_only_file_of_a_session_tells_nothing(person, shell):
    ward = renamed(person, 1)
    code, said, _ = shell.copy(ward.source, ward.destination, "--review", "none", "--archive")
    assert code == 3 and "nothing tells for certain that only the list is old" in said, said


@pytest.mark.parametrize("method", ["import", "files"])
def test_files_without_a_stamp_are_damaged(person, shell, method):
    ward = Ward(person)
    ward.store("S", "E1", {"1": ward.series("S", "E1", 1, 2)})
    for path in at_rest(ward):
        flip(path)
    more = ("--method", "files", "--waivers", "waive.yaml") if method == "files" else ("--archive",)
    code, said, _ = shell.copy(ward.source, ward.destination, "--review", "none", *more)
    assert code == 3 and "MD5" in said, said


def catalogued(ward: Ward) -> None:
    """The list of the source as it is once its owner had the MD5s made again."""
    found = ward.who.rows(f"/data/projects/{ward.source}/experiments", columns="ID")
    for row in found:
        for scan in ward.who.rows(f"/data/experiments/{row['ID']}/scans", columns="ID"):
            where = f"/archive/experiments/{row['ID']}/scans/{scan['ID']}/resources/DICOM"
            query = {"resource": where, "options": "checksum"}
            ward.who.post("/data/services/refresh/catalog", params=query).raise_for_status()


class TestAListWithoutMD5s:
    """Lists of files name no MD5 up to 1.6, and the catalogue does (recorded from 1.6.4)."""

    @pytest.fixture(scope="class")
    def old(self):
        with embedded.running(personality="1.6") as server, people(server) as find:
            yield find

    @pytest.mark.parametrize("method", ["import", "files"])
    def test_that_of_the_catalogue_is_taken(self, old, tmp_path, method):
        ward = stored(old)
        result = copied(ward, tmp_path, method)
        assert set(result.files["way_out"]) == {CATALOG} and not result.messages

    @pytest.mark.parametrize("method", ["import", "files"])
    def test_it_shows_damage_of_a_file_at_the_source(self, old, tmp_path, method):
        ward = stored(old)
        flip(at_rest(ward)[0])
        assert copied(ward, tmp_path, method).exit_code == 3


def stored(person) -> Ward:
    ward = Ward(person)
    ward.store("S", "E1", {"1": ward.series("S", "E1", 1, 2)})
    return ward


def copied(ward: Ward, folder: Path, method: str):
    waive = folder / "waive.yaml"
    waive.write_text(WAIVE)
    sides = {"source_project": ward.source, "destination_project": ward.destination, "review": "none"}
    return copy(ward.server, folder / "run", "owner", method=method, waivers=str(waive), archive=True, **sides)[1]


def test_a_catalogue_that_names_none_is_asked_and_said(person, tmp_path):
    ward = stored(person)
    ward.server.faults([{"fault": "digests-empty", "method": "GET", "path": "/", "times": None}])
    try:
        result = copied(ward, tmp_path, "import")
    finally:
        ward.server.faults([])
    assert set(result.files["way_out"]) == {"nothing"} and "could not be seen" in result.messages[0]
    assert [one for one in ward.server.log() if one["path"].endswith("/resources/DICOM") and one["method"] == "GET"]
