"""What real servers and real data did that nobody expects, and what a copy makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from people import AS_JSON, AS_TEXT, Person, set_script
from roads import DESTINATION, SOURCE, again, as_, copy, make_plan, options, writes
from which_xnat import script

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode, RefusedError
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict

IMPORT = {"method": "POST", "path": "/data/services/import"}
ONE = {"sessions": ["001_MR2"]}


@pytest.fixture
def demo():
    with embedded.running(demo=True) as server:
        yield server


def source_folder(server, session: str) -> Path:
    with as_(server) as connection:
        (found,) = connection.sessions_with_label(SOURCE, session)
    return Path(server.data) / "archive" / SOURCE / found["session_id"] / "SCANS" / "1" / "DICOM"


def upload(server, session: str, name: str, data: bytes) -> None:
    with as_(server, "owner") as connection:
        (found,) = connection.sessions_with_label(SOURCE, session)
        address = f"/data/experiments/{found['session_id']}/scans/1/resources/DICOM/files/{name}"
        http = connection._session.interface
        http.put(server.url + address, data=data, params={"format": "DICOM", "inbody": "true"}).raise_for_status()


def test_an_import_that_answers_200_and_stores_nothing_is_repeated(demo, tmp_path):
    demo.faults([{"fault": "empty-200", "times": 1, **IMPORT}])
    made, result = copy(demo, tmp_path, archive=True, **ONE)
    assert result.exit_code == ExitCode.PROVED
    assert len(result.files) == made.totals["files"]


def test_an_import_that_never_stores_anything_is_a_failed_row(demo, tmp_path):
    demo.faults([{"fault": "empty-200", "times": None, **IMPORT}])
    made, result = copy(demo, tmp_path, archive=True, **ONE)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert "answered as done, and the server does not show it" in result.problems[0]
    assert "series import filter" in result.problems[0]
    assert sum(result.counts.values()) == made.totals["files"]


def test_two_files_of_one_instance_are_found_before_sending(demo, tmp_path):
    folder = source_folder(demo, "001_MR2")
    data = sorted(folder.glob("*"))[0].read_bytes()
    upload(demo, "001_MR2", "zz_again.dcm", data)
    made, result = copy(demo, tmp_path, archive=True, **ONE)
    (twin,) = result.files[result.files["verdict"] == Verdict.DIFFERENT].itertuples()
    assert twin.path == "zz_again.dcm"
    assert "SOPInstanceUID" in twin.because
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.counts[Verdict.EXPLAINED] == made.totals["files"] - 1
    assert set(result.sessions["state"]) == {"in prearchive"}, "not everything is right, so it is not archived"
    before = len(writes(demo))
    again(demo, made, tmp_path)
    imports = [entry for entry in writes(demo)[before:] if entry["path"] == "/data/services/import"]
    assert imports == []


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [("notes.txt", b"not DICOM at all" * 20, "not a DICOM file"), ("cut.dcm", None, "cut short")],
)
def test_a_file_that_is_no_whole_dicom_is_named_and_the_rest_is_sent(demo, tmp_path, name, data, word):
    folder = source_folder(demo, "001_MR2")
    if data is None:
        data = sorted(folder.glob("*"))[0].read_bytes()[:-500]
    upload(demo, "001_MR2", name, data)
    made, result = copy(demo, tmp_path, **ONE)
    (left,) = result.files[result.files["verdict"] == Verdict.DIFFERENT].itertuples()
    assert left.path == name
    assert word in left.because
    assert result.counts[Verdict.EXPLAINED] == made.totals["files"] - 1


def test_a_file_damaged_at_the_source_is_never_sent(demo, tmp_path):
    victim = sorted(source_folder(demo, "001_MR2").glob("*"))[0]
    data = bytearray(victim.read_bytes())
    data[-40] ^= 1
    victim.write_bytes(bytes(data))
    made, result = copy(demo, tmp_path, archive=True, **ONE)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert "do not have the MD5 that the source lists" in result.problems[0]
    assert [entry for entry in writes(demo) if entry["path"] == "/data/services/archive"] == []
    assert sum(result.counts.values()) == made.totals["files"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_login_that_runs_out_in_mid_run_is_renewed(demo, tmp_path, method):
    beyond = "^/data/(?!auth|JSESSION)"  # how often a log-in asks, and where it is led, is not meant
    demo.faults([{"fault": "expire-sessions", "method": method, "path": beyond, "after": 6, "times": 1}])
    _, result = copy(demo, tmp_path, archive=True)
    assert result.exit_code == ExitCode.PROVED, result.problems


def test_a_row_that_appears_in_the_prearchive_after_planning_stops_that_item(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(**ONE))
        other = make_plan(source, destination, options(archive=False, **ONE))
        run(other, source, destination, folder=tmp_path / "other")
        before = len(writes(demo))
        with pytest.raises(RefusedError, match="no longer as the plan saw"):
            run(made, source, destination, folder=tmp_path / "run")
    assert len(writes(demo)) == before


def test_a_source_that_gained_a_scan_is_refused(demo, tmp_path):
    with as_(demo) as source, as_(demo) as destination:
        made = make_plan(source, destination, options(**ONE))
        upload(demo, "001_MR2", "one_more.dcm", b"x" * 200)
        with pytest.raises(RefusedError, match="at the source"):
            run(made, source, destination, folder=tmp_path)
    assert [entry for entry in writes(demo) if entry["path"] == "/data/services/import"] == []


def test_with_the_scripts_off_headers_are_still_written_again_and_that_is_explained(demo, tmp_path):
    with as_(demo, "admin") as admin:
        http = admin._session.interface
        switch = demo.url + "/xapi/anonymize/site/enabled"
        http.put(switch, params={"enable": "false"}, headers=AS_JSON).raise_for_status()
    made, result = copy(demo, tmp_path, archive=True)
    assert "S03" in {finding.rule for finding in made.findings}
    assert result.exit_code == ExitCode.PROVED
    assert result.counts[Verdict.EXPLAINED] + result.counts[Verdict.EQUAL] == made.totals["files"]
    assert (result.files["changed"] == "").all()


def test_with_checksums_off_the_archive_is_read_back(demo, tmp_path):
    with as_(demo, "admin") as admin:
        http = admin._session.interface
        http.post(demo.url + "/xapi/siteConfig/checksums", data="false", headers=AS_TEXT).raise_for_status()
    _, result = copy(demo, tmp_path, archive=True, **ONE)
    assert result.exit_code == ExitCode.PROVED
    zips = [
        entry
        for entry in demo.log()
        if entry["path"].endswith("/scans/ALL/files") and "format=zip" in entry["query"] and entry["method"] == "GET"
    ]
    assert len(zips) == 1


def test_a_project_script_runs_at_archiving_and_is_explained(demo, tmp_path):
    with Person(demo, "owner") as owner:
        set_script(owner, DESTINATION, script('-(0018,1030)\n(0008,103E) := "series"\n'))
    made, result = copy(demo, tmp_path, archive=True, **ONE)
    assert made.destination.settings["project_script_on"] is True
    assert result.exit_code == ExitCode.PROVED, result.files["because"].unique()
    assert result.files["changed"].str.contains("0008103E").all()
