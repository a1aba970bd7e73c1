"""Where a file was read: nothing is proved whose bytes in the last place were not read, and every row says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from part10 import image, part10
from people import people
from reviews import Ward
from roads import as_

from xnbtransfer.errors import ExitCode
from xnbtransfer.history import read_history
from xnbtransfer.journal import read_journal
from xnbtransfer.plan_file import Plan
from xnbtransfer.preparing import prepare
from xnbtransfer.server import running
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict
from xnbtransfer.verify import verify

EARLIER = Path(__file__).parent / "earlier"
PROVED = {Verdict.EQUAL, Verdict.EXPLAINED}


@pytest.fixture(scope="module")
def person():
    with running() as server, people(server) as find:
        yield find


class Road:
    """One session of two files, copied with a change at some moment."""

    def __init__(self, person, folder: Path, **values) -> None:
        self.ward, self.folder = Ward(person), folder
        self.ward.store("A", "A_MR1", {"1": self.ward.series("A", "A_MR1", count=2)})
        self.values = {"review": "none", "archive": True, **values}

    def files(self, room: str = "archive") -> list[Path]:
        return sorted((self.ward.server.data / room / self.ward.destination).rglob("*.dcm"))

    def sides(self):
        return as_(self.ward.server, "owner"), as_(self.ward.server, "owner")

    def run(self, moment: tuple[str, str] = ("", ""), change=None):
        source, destination = self.sides()
        with source, destination:
            options = self.ward.options(**self.values)
            self.plan = prepare(source, destination, options)

            def on_event(event) -> None:
                if (event.kind, event.name) == moment:
                    change(self)

            return run(self.plan, source, destination, folder=self.folder, on_event=on_event)

    def verify(self, *, with_source: bool = False, proof: str = "all"):
        source, destination = self.sides()
        with source, destination:
            journal = self.folder / "journal.jsonl"
            return verify(self.plan, journal, destination, source if with_source else None, proof=proof)


def flip(path: Path) -> None:
    """One bit of the pixels, where the server keeps them; what it lists stays."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_the_archive_is_read_and_every_row_says_so(person, tmp_path):
    result = Road(person, tmp_path).run()
    assert result.exit_code == ExitCode.PROVED
    assert set(result.files["read_in"]) == {"archive"}
    assert set(result.files["way_out"]) == {"listed MD5"} and not result.messages


def test_what_waits_is_read_where_it_waits(person, tmp_path):
    assert set(Road(person, tmp_path, archive=False).run().files["read_in"]) == {"prearchive"}


def test_damage_after_the_server_has_listed_a_file_is_found(person, tmp_path):
    """Its MD5 is listed as it was read in the prearchive; only the bytes in the archive are others."""
    result = Road(person, tmp_path).run(("session", "archived"), lambda road: flip(road.files()[0]))
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.counts[Verdict.DIFFERENT] == 1


def test_the_reading_of_the_archive_is_left_out_in_so_many_words(person, tmp_path):
    road = Road(person, tmp_path, proof="prearchive")
    result = road.run(("session", "archived"), lambda road: flip(road.files()[0]))
    assert result.exit_code == ExitCode.PROVED
    assert set(result.files["read_in"]) == {"prearchive"}
    assert all("the archive lists the same MD5 and was not read" in because for because in result.files["because"])
    assert road.verify().counts[Verdict.DIFFERENT] + road.verify().counts[Verdict.NOT_PROVED] == 1


def test_a_list_alone_proves_nothing(person, tmp_path):
    road = Road(person, tmp_path, proof="listing")
    result = road.run()
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED and set(result.files["read_in"]) == {""}
    assert road.verify(proof="listing").exit_code == ExitCode.CANNOT_BE_PROVED
    assert road.verify(with_source=True).exit_code == ExitCode.PROVED


def test_a_list_proves_nothing_of_what_was_read_before(person, tmp_path):
    road = Road(person, tmp_path)
    assert road.run().exit_code == ExitCode.PROVED
    result = road.verify(proof="listing")
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    assert set(result.files["because"]) == {"its listed MD5 is the one that was proved; its bytes were not read now"}


@pytest.mark.parametrize("with_source", [True, False])
def test_two_files_of_one_instance_are_not_all_proved(person, tmp_path, with_source):
    road = Road(person, tmp_path)
    assert road.run().exit_code == ExitCode.PROVED
    first = road.files()[0]
    (first.parent / "twin.dcm").write_bytes(first.read_bytes())
    with as_(road.ward.server, "owner") as connection:
        (found,) = connection.own_sessions(road.ward.destination, "A_MR1")
        where = f"/data/experiments/{found['session_id']}/scans/1/resources/DICOM/files/twin.dcm"
    (first.parent / "twin.dcm").unlink()
    answer = road.ward.who.put(where, params={"inbody": "true", "format": "DICOM"}, data=first.read_bytes())
    assert answer.status_code in (200, 201)
    result = road.verify(with_source=with_source)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert "twice" in " ".join(result.files["because"])
    assert len(result.extra) == 1


def test_damage_on_the_way_out_that_nothing_shows_is_said(person, tmp_path):
    road = Road(person, tmp_path)
    road.ward.server.faults([{"fault": "digests-empty", "method": "GET", "path": "/", "times": None}])
    try:
        result = road.run()
        twice = Road(person, tmp_path / "twice", source_twice=True).run()
    finally:
        road.ward.server.faults([])
    assert set(result.files["way_out"]) == {"nothing"}
    assert "could not be seen" in " ".join(result.messages)
    assert set(twice.files["way_out"]) == {"read twice"} and not twice.messages


class TestAnEarlierRecord:
    """A plan and a journal of version 0.1 of 1 December 2026, which held neither file meta information nor VRs.

    Files 1 and 2 had lost their preamble, file 3 went through byte for byte.
    """

    @pytest.fixture
    def there(self, person, tmp_path):
        ward = Ward(person)
        study = "1.2.826.0.1.3680043.8.498.77"
        for project in (ward.source, ward.destination):
            preamble = b"TIFF" * 32 if project == ward.source else bytes(128)
            kept = {n: part10(image(n), undefined=True, preamble=preamble if n < 3 else bytes(128)) for n in (1, 2, 3)}
            at = f"/data/projects/{project}/subjects/S1"
            ward.who.put(at).raise_for_status()
            query = {"xsiType": "xnat:mrSessionData", "xnat:mrSessionData/UID": study}
            ward.who.put(f"{at}/experiments/E1", params=query).raise_for_status()
            scan = f"{at}/experiments/E1/scans/1"
            ward.who.put(scan, params={"xsiType": "xnat:mrScanData"}).raise_for_status()
            ward.who.put(f"{scan}/resources/DICOM", params={"format": "DICOM"}).raise_for_status()
            for n, file in kept.items():
                name = f"{n}.dcm" if project == ward.source else f"b3bae98d-{n - 1:05d}-{n}.dcm"
                where = f"{scan}/resources/DICOM/files/{name}"
                ward.who.put(where, params={"inbody": "true", "format": "DICOM"}, data=bytes(file.data))
        return ward

    def made(self, ward, source_id: str) -> Plan:
        earlier = Plan.load(EARLIER / "plan.json")
        url = ward.server.url
        sides = {
            "source": earlier.source.model_copy(update={"server": url, "project": ward.source}),
            "destination": earlier.destination.model_copy(update={"server": url, "project": ward.destination}),
        }
        sessions = tuple(one.model_copy(update={"session_id": source_id}) for one in earlier.sessions)
        return earlier.model_copy(update={**sides, "sessions": sessions})

    @pytest.mark.parametrize("with_source", [True, False])
    def test_is_opened_and_says_what_it_cannot_show(self, there, with_source):
        journal = EARLIER / "journal.jsonl"
        assert all("read_in" not in row for one in read_history(read_journal(journal)).values() for row in one.rows)
        with as_(there.server, "owner") as source, as_(there.server, "owner") as destination:
            (found,) = source.own_sessions(there.source, "E1")
            made = self.made(there, found["session_id"])
            result = verify(made, journal, destination, source if with_source else None)
        verdicts = dict(zip(result.files["path"], result.files["verdict"], strict=True))
        assert verdicts["3.dcm"] == Verdict.EQUAL
        if with_source:
            assert result.exit_code == ExitCode.PROVED, result.files["because"].tolist()
            return
        assert result.exit_code == ExitCode.CANNOT_BE_PROVED
        assert [verdicts["1.dcm"], verdicts["2.dcm"]] == [Verdict.NOT_PROVED] * 2
        assert "neither file meta information nor" in result.files["because"][0]
