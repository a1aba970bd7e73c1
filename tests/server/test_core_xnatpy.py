"""The unmodified xnatpy works with the server: with and without a parsed data model."""

from __future__ import annotations

import pytest
import xnat

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.other_client]


@pytest.fixture
def connected(study):
    user, password = study.owner.auth
    with xnat.connect(study.owner.server.url, user=user, password=password, loglevel="ERROR") as session:
        yield session


def test_objects_all_the_way_down(study, connected):
    project = connected.projects[study.name]
    subject = project.subjects["S01"]
    assert set(subject.experiments.key_map) == {"S01_MR1", "S01_MR2", "S01_CT1"}
    session = subject.experiments["S01_MR1"]
    assert type(session).__name__ == "MrSessionData"
    assert (session.label, session.project, session.uid) == ("S01_MR1", study.name, "1.2.3.1")
    assert str(session.date) == "2018-07-03"
    assert sorted(session.scans.key_map) == ["localizer", "T1 (axial)"] or len(session.scans) == 2
    scan = session.scans["2"]
    assert (scan.id, scan.type, scan.quality) == ("2", "T1 (axial)", "usable")
    resource = scan.resources["DICOM"]
    assert (resource.file_count, list(resource.files)) == (1, ["c.dcm"]) or len(resource.files) == 1


def test_downloads_are_complete(study, connected, tmp_path):
    session = connected.projects[study.name].experiments["S01_MR1"]
    session.download_dir(str(tmp_path), verbose=False)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.dcm"))
    assert found == [
        "S01_MR1/scans/1-localizer/resources/DICOM/files/a.dcm",
        "S01_MR1/scans/1-localizer/resources/DICOM/files/b.dcm",
        "S01_MR1/scans/2-T1__axial_/resources/DICOM/files/deep/c.dcm",
    ]
    one = session.scans["1"].resources["DICOM"].files["a.dcm"]
    one.download(str(tmp_path / "one"), verbose=False)
    assert (tmp_path / "one").read_bytes() == study.content("S01_MR1", "a.dcm")


def test_things_are_made_and_files_uploaded(study, connected, tmp_path):
    project = connected.projects[study.name]
    subject = connected.classes.SubjectData(parent=project, label="S02")
    session = connected.classes.MrSessionData(parent=subject, label="S02_MR1")
    scan = connected.classes.MrScanData(parent=session, id="7", type="T2", series_description="t2", quality="usable")
    resource = scan.create_resource("DICOM")
    (tmp_path / "x.dcm").write_bytes(b"x" * 1000)
    resource.upload(str(tmp_path / "x.dcm"), "x.dcm")
    row = study.owner.rows(f"{study.path}/experiments/S02_MR1/scans/7/files")[0]
    assert (row["Name"], row["Size"]) == ("x.dcm", "1000")
    session.note = "seen"
    subject.fields["colour"] = "blue"
    connected.clearcache()
    assert connected.projects[study.name].experiments["S02_MR1"].note == "seen"
    assert connected.projects[study.name].subjects["S02"].fields["colour"] == "blue"


def test_a_session_is_deleted(study, connected):
    connected.projects[study.name].experiments["S01_MR2"].delete()
    assert study.owner.get(f"{study.path}/experiments/S01_MR2").status_code == 404
    assert study.owner.get(f"/data/experiments/{study.ids['S01_MR1']}").status_code == 200


def test_without_a_model_four_requests_are_enough(study):
    server, before = study.owner.server, len(study.owner.server.log())
    user, password = study.owner.auth
    with xnat.connect(server.url, user=user, password=password, no_parse_model=True, loglevel="ERROR") as session:
        made = len(server.log()) - before
        rows = session.get_json(f"/data/projects/{study.name}/experiments")["ResultSet"]["Result"]
    assert len(rows) == 3
    assert made <= 6


def test_a_token_logs_in(study):
    token = study.owner.get("/data/services/tokens/issue").json()
    with xnat.connect(
        study.owner.server.url, user=token["alias"], password=token["secret"], no_parse_model=True, loglevel="ERROR"
    ) as session:
        assert study.name in {
            row["ID"] for row in session.get_json("/data/projects")["ResultSet"]["Result"]
        }


def test_a_wrong_password_is_told(study):
    with pytest.raises(xnat.exceptions.XNATError):
        xnat.connect(study.owner.server.url, user=study.owner.login, password="wrong", loglevel="ERROR")
