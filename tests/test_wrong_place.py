"""A file twice, a file in another scan, an older session beside what was sent: each is told, in the run and later."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from archive_kit import Kit, logged
from people import Person, set_script
from roads import WRITES, as_
from which_xnat import script

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.streams import Seen
from xnbtransfer.transfer import run
from xnbtransfer.verify import misplaced, verify

ARCHIVE = "/data/services/archive$"


@pytest.fixture(scope="module")
def server():
    with embedded.running(receiver=True) as found:
        yield found


@pytest.fixture
def kit(server):
    found = Kit(lambda role: Person(server, role))
    found.put(found.source, "S1", "E1", found.uid("E1"), scans=(1, 2))
    server.faults([])
    yield found
    server.faults([])


class Road:
    """The plan of a copy of E1, carried out over one folder as often as wished."""

    def __init__(self, server, kit, folder, **values) -> None:
        self.server, self.folder = server, folder
        both = {"source_project": kit.source, "destination_project": kit.destination, "review": "none"}
        if values.get("method") == "receiver":
            values["receiver"] = f"dicom://XNAT@127.0.0.1:{server.receiver}"
        options = TransferOptions.from_mapping({"archive": True, **both, **values})
        with as_(server, "owner") as source, as_(server, "owner") as destination:
            self.plan = prepare(source, destination, options)

    def run(self):
        with as_(self.server, "owner") as source, as_(self.server, "owner") as destination:
            return run(self.plan, source, destination, folder=self.folder)

    def verify(self, proof="all", with_source=True):
        with as_(self.server, "owner") as source, as_(self.server, "owner") as destination:
            journal = self.folder / "journal.jsonl"
            return verify(self.plan, journal, destination, source if with_source else None, proof=proof)


def state(result) -> str:
    return result.sessions["state"].iloc[0]


@pytest.mark.parametrize(
    ("fault", "method", "times"),
    [
        ("wrong-scan-on-store", "import", None),
        ("wrong-scan-on-store", "receiver", None),  # if it falls once, the receiver keeps the series there together
        ("duplicated-on-store", "import", None),
        ("duplicated-on-store", "receiver", None),
    ],
)
def test_a_file_in_another_scan_or_there_twice_is_never_proved(server, kit, tmp_path, fault, method, times):
    road = Road(server, kit, tmp_path, method=method)
    server.faults([{"fault": fault, "times": times}])
    result = road.run()
    assert result.exit_code == ExitCode.DIFFERENCES, (result.sessions.to_dict("records"), result.files["because"])
    assert sum(result.counts.values()) == len(result.files) == 4
    together = (fault, times) == (
        "wrong-scan-on-store",
        None,
    )  # all of a scan is in one other: seen once it has a number
    assert state(result) == ("archived" if together and method == "import" else "in prearchive")
    words = "scan" if fault.startswith("wrong") else "twice"
    assert result.files["because"].str.contains(words).any()


@pytest.mark.parametrize("fault", ["wrong-scan-on-store", "duplicated-on-store"])
def test_what_goes_wrong_once_is_withdrawn_and_sent_anew(server, kit, tmp_path, fault):
    """The row is deleted, since all in it is ours; what is archived in the end holds each file once, in its scan."""
    road = Road(server, kit, tmp_path)
    server.faults([{"fault": fault, "times": 1}])
    since = logged(server)
    result = road.run()
    assert result.exit_code == ExitCode.PROVED, (result.sessions.to_dict("records"), result.files["because"])
    assert any("prearchive/delete" in one["path"] for one in server.log()[since:])
    here, there = kit.files(kit.source)["E1"], kit.files(kit.destination)["E1"]
    assert [scan for scan, _, _ in there] == [scan for scan, _, _ in here]
    assert {md5 for _, _, md5 in there} == set(result.files["destination_md5"])


def test_two_series_may_share_a_folder_of_the_prearchive_and_no_scan_of_the_archive(kit):
    def seen(scan: str, series: str) -> Seen:
        content = SimpleNamespace(series_instance_uid=series)
        return Seen(scan=scan, resource="DICOM", path="a", size_bytes=1, md5="", content=content)

    shared = {"a": (seen("2", "2.25.1"), "2"), "b": (seen("2-MR1", "2.25.2"), "2")}
    assert misplaced(shared, apart=False) == {}
    assert list(misplaced(shared, apart=True)) == ["b"]
    joined = {"a": (seen("2", "2.25.1"), "2"), "b": (seen("3", "2.25.1"), "2")}  # two scans of one series
    anew = {"a": (seen("2", "2.25.1"), "7"), "b": (seen("3", "2.25.2"), "8")}
    assert misplaced(joined, apart=True) == misplaced(anew, apart=True) == {}


@pytest.mark.parametrize("with_source", [True, False])
@pytest.mark.parametrize("proof", ["all", "listing"])
def test_a_file_that_moves_to_another_scan_of_the_archive_is_found_later(server, kit, tmp_path, proof, with_source):
    road = Road(server, kit, tmp_path)
    assert road.run().exit_code == ExitCode.PROVED
    base, (one, _) = archived(kit)
    data = kit.who.get(one["URI"]).content
    where = f"{base}/2/resources/DICOM/files/{one['Name']}"
    assert kit.who.put(where, params={"inbody": "true"}, data=data).status_code == 200
    assert kit.who.delete(one["URI"]).status_code == 200
    result = road.verify(proof, with_source)
    assert result.exit_code == ExitCode.DIFFERENCES, result.files[["verdict", "because"]]
    assert result.counts["different"] >= 1


@pytest.mark.parametrize("proof", ["all", "sample:9"])
@pytest.mark.parametrize("existing", ["merge", "replace"])
class TestBesideAnOlderOne:
    """The archive holds an older session of the same study; what was sent waits in the prearchive or joins it."""

    @pytest.fixture
    def older(self, kit):
        kit.put(kit.destination, "S1", "E1", kit.uid("E1"), scans=(1,))

    def test_what_waits_is_looked_for_where_it_waits(self, server, kit, tmp_path, older, existing, proof):
        road = Road(server, kit, tmp_path, existing=existing, archive=False, proof=proof)
        assert road.plan.sessions[0].action == existing
        first = road.run()
        assert (first.exit_code, state(first)) == (ExitCode.PROVED, "in prearchive")
        since = logged(server)
        for result in (road.run(), road.verify(), road.verify(with_source=False)):
            assert (result.exit_code, state(result)) == (ExitCode.PROVED, "in prearchive"), result.files["because"]
        listed = road.verify("listing")
        assert (listed.exit_code, state(listed)) == (ExitCode.CANNOT_BE_PROVED, "in prearchive")
        assert [one for one in server.log()[since:] if one["method"] in WRITES and "/projects/" in one["path"]] == []

    def test_an_archiving_that_never_came_is_done_by_the_next_run(self, server, kit, tmp_path, older, existing, proof):
        road = Road(server, kit, tmp_path, existing=existing, proof=proof)
        server.faults([{"fault": "500-before", "method": "POST", "path": ARCHIVE, "times": None}])
        assert road.run().exit_code != ExitCode.PROVED
        server.faults([])
        result = road.run()
        assert (result.exit_code, state(result)) == (ExitCode.PROVED, "archived"), result.problems
        assert kit.who.rows(f"/data/prearchive/projects/{kit.destination}") == []
        assert sorted(one[0] for one in kit.files(kit.destination)["E1"]) == ["1", "1", "2", "2"]


@pytest.mark.parametrize("proof", ["sample:1", "sample:9", "listing", "all"])
def test_a_finished_plan_says_the_same_again_from_the_prearchive(server, kit, tmp_path, proof):
    road = Road(server, kit, tmp_path, archive=False, proof=proof)
    first, second = road.run(), road.run()
    assert second.counts == first.counts and second.exit_code == first.exit_code


def test_what_was_sampled_is_read_again_where_archiving_changed_it(server, kit, tmp_path):
    set_script(kit.who, kit.destination, script('(0008,0080) := "a place"\n'))
    kit.put(kit.source, "S1", "E2", kit.uid("E2"))
    road = Road(server, kit, tmp_path / "first", proof="sample:9", sessions=["E1"])
    assert road.run().exit_code == ExitCode.PROVED
    road = Road(server, kit, tmp_path / "second", proof="sample:9", sessions=["E2"])

    def tamper(event) -> None:
        if (event.kind, event.name) == ("session", "compared"):
            for path in (server.data / "prearchive" / kit.destination).rglob("*.dcm"):
                data = bytearray(path.read_bytes())
                data[-20] ^= 1
                path.unlink()
                path.write_bytes(data)

    with as_(server, "owner") as source, as_(server, "owner") as destination:
        result = run(road.plan, source, destination, folder=tmp_path, on_event=tamper)
    assert result.exit_code == ExitCode.DIFFERENCES, result.files[["verdict", "because"]]


def test_what_was_lost_of_a_waiting_session_is_seen_by_its_listing(server, kit, tmp_path):
    road = Road(server, kit, tmp_path, archive=False)
    assert road.run().exit_code == ExitCode.PROVED
    (row,) = kit.who.rows(f"/data/prearchive/projects/{kit.destination}")
    assert kit.who.delete(f"/data{row['url']}/scans/1").status_code == 200
    for proof in ("listing", "all"):
        assert road.verify(proof).counts["different"] == 2


def archived(kit) -> tuple[str, list[dict]]:
    """The address of the scans of E1 in the archive of the destination, and the files of the first of them."""
    (row,) = kit.who.rows(f"/data/projects/{kit.destination}/experiments", columns="ID,label")
    base = f"/data/experiments/{row['ID']}/scans"
    return base, kit.who.rows(f"{base}/1/files")


@pytest.mark.parametrize(
    ("what", "verdict"), [("changed", "cannot be proved"), ("lost", "different"), ("more", ""), ("nothing", "")]
)
def test_what_a_listing_can_tell_of_the_archive_is_told(server, kit, tmp_path, what, verdict):
    road = Road(server, kit, tmp_path)
    assert road.run().exit_code == ExitCode.PROVED
    base, (one, _) = archived(kit)
    where = f"{base}/1/resources/DICOM/files/{one['Name'] if what == 'changed' else 'stranger.dcm'}"
    if what in ("changed", "lost"):
        data = bytearray(kit.who.get(one["URI"]).content)
        assert kit.who.delete(one["URI"]).status_code == 200
        data[-20] ^= 1
    else:
        data = b"anything"
    if what in ("changed", "more"):
        assert kit.who.put(where, params={"inbody": "true"}, data=bytes(data)).status_code == 200
    result = road.verify("listing")
    assert sum(result.counts.values()) == 4
    assert len(result.extra) == (what == "more")
    assert result.counts["different"] == (verdict == "different")
    assert result.counts["cannot be proved"] == (3 if verdict == "different" else 4)  # nothing was read
    assert result.exit_code == (3 if verdict == "different" else 4)
    assert road.verify("listing", with_source=False).counts == result.counts


@pytest.mark.parametrize("fault", ["lost-on-store", "bit-flip-on-store"])
def test_a_run_that_only_lists_never_calls_proved_what_it_did_not_read(server, kit, tmp_path, fault):
    """Where every file is lost the row is empty, and XNAT answers the building of an empty row with 500."""
    road = Road(server, kit, tmp_path, proof="listing")
    server.faults([{"fault": fault, "times": None}])
    result = road.run()
    assert result.counts["cannot be proved"] == len(result.files) == 4
    assert (result.exit_code != ExitCode.PROVED) and ("500" in "".join(result.problems)) is (fault == "lost-on-store")


@pytest.mark.parametrize("method", ["files", "import"])
def test_files_of_one_name_in_several_scans_are_told_apart(server, kit, tmp_path, method):
    (row,) = kit.who.rows(f"/data/projects/{kit.source}/experiments", columns="ID,label")
    for scan in ("1", "2"):
        base = f"/data/experiments/{row['ID']}/scans/{scan}"
        for number, one in enumerate(kit.who.rows(f"{base}/files")):
            data = kit.who.get(one["URI"]).content
            where = f"{base}/resources/DICOM/files/{number}.dcm"
            assert kit.who.put(where, params={"inbody": "true"}, data=data).status_code == 200
            assert kit.who.delete(one["URI"]).status_code == 200
    assert [path for _, path, _ in kit.files(kit.source)["E1"]] == ["0.dcm", "1.dcm", "0.dcm", "1.dcm"]
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text("format: 1\nwaivers: [{rule: S13, scope: {everywhere: true}, reason: 'reviewed, ticket 17'}]\n")
    road = Road(server, kit, tmp_path, method=method, waivers=str(waivers) if method == "files" else "")
    for result in (road.run(), road.run(), road.verify(), road.verify(with_source=False)):
        assert result.exit_code == ExitCode.PROVED, result.files[["scan", "path", "verdict", "because"]]
    assert road.verify("listing").counts["different"] == 0
