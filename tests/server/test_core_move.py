"""Another owner, another label (REST tests TestAnonymizerLegacy, TestRename, TestDeletionAccuracy; a live 1.6.4)."""

from __future__ import annotations

import hashlib

import pytest
from people import AS_TEXT
from share_kit import Pair

from xnbtransfer.server import running
from xnbtransfer.server.check import check, repair
from xnbtransfer.server.state import State


@pytest.fixture
def pair(study) -> Pair:
    found = Pair(study)
    yield found
    assert found.whole() == []


def move(pair: Pair, item: str, to: str = "", who=None, **params: str):
    return (who or pair.owner).put(f"{item}/projects/{to or pair.dst}", params={"primary": "true", **params})


def files(pair: Pair, session: str, who=None) -> dict[str, str]:
    """Address to MD5 of every file of a session, as they are downloaded."""
    person = who or pair.owner
    rows = person.rows(f"{session}/scans/ALL/files")
    return {row["URI"]: hashlib.md5(person.get(row["URI"]).content).hexdigest() for row in rows}


def test_subject_first_then_session(pair):
    accession = f"/data/experiments/{pair.ids['S01_MR1']}"
    before = files(pair, accession)
    assert len(before) == 3
    answer = move(pair, pair.subject)
    assert (answer.status_code, answer.headers["Content-Type"][:9]) == (200, "text/html")
    assert "<td>S01</td><td>" + pair.dst in answer.text, "a page with the owner"
    rows = pair.owner.rows(f"/data/projects/{pair.src}/experiments", columns="label,project")
    assert {row["label"] for row in rows} == {"S01_MR1", "S01_MR2", "S01_CT1"}
    assert pair.owner.rows(f"{pair.below}/experiments") == []
    assert pair.status(pair.session, pair.owner) == 200
    assert move(pair, pair.session).status_code == 200
    moved = f"{pair.below}/subjects/S01/experiments/S01_MR1"
    assert pair.status(moved) == 200
    assert pair.status(pair.session, pair.owner) == 404
    assert files(pair, accession, pair.there) == before
    assert pair.projects(accession) == {pair.dst: "S01_MR1"}
    item = pair.there.get(moved, params={"format": "json"}).json()["items"][0]["data_fields"]
    assert (item["ID"], item["project"]) == (pair.ids["S01_MR1"], pair.dst)


def test_session_first_then_subject_ends_the_same(pair):
    assert move(pair, pair.session).status_code == 200
    assert pair.status(f"{pair.below}/subjects/S01/experiments/S01_MR1") == 200
    assert pair.status(f"{pair.below}/subjects/S01") == 404
    (row,) = pair.there.rows(f"{pair.below}/experiments", columns="subject_label,subject_project")
    assert (row["subject_label"], row["subject_project"]) == ("S01", pair.src)
    assert move(pair, pair.subject).status_code == 200
    assert pair.status(f"{pair.below}/subjects/S01") == 200


def test_who_may_move(pair, person):
    assert move(pair, pair.session, who=person("member")).status_code == 403
    assert move(pair, pair.subject, who=person("member")).status_code == 403
    assert move(pair, pair.session, who=person("collaborator")).status_code == 404
    assert move(pair, pair.session, "NOPE").status_code == 404
    assert move(pair, pair.session, pair.src).status_code == 409
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}


def test_without_the_right_to_create_files_are_copied_and_500_is_the_answer(pair):
    before = files(pair, pair.session)
    assert move(pair, pair.session, pair.far).status_code == 500
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert files(pair, pair.session) == before
    copied = pair.owner.server.data / "archive" / pair.far / pair.ids["S01_MR1"]
    assert len([path for path in copied.rglob("*") if path.is_file()]) == 3
    assert pair.there.put(f"/data/projects/{pair.far}/users/Owners/{pair.owner.login}").status_code == 200
    assert move(pair, pair.session, pair.far).status_code == 200
    assert files(pair, f"/data/experiments/{pair.ids['S01_MR1']}") == before


def test_a_label_that_is_in_use_there(pair):
    theirs = f"{pair.below}/subjects/T/experiments/S01_MR1"
    assert pair.owner.put(theirs, params={"xsiType": "xnat:mrSessionData"}).status_code == 201
    answer = move(pair, pair.session)
    assert (answer.status_code, "Specified label is already in use." in answer.text) == (409, True)
    assert pair.projects(pair.session) == {pair.src: "S01_MR1"}
    assert len(files(pair, pair.session)) == 3
    assert pair.owner.put(f"{pair.below}/subjects/S01").status_code == 201
    assert move(pair, pair.subject).status_code == 409
    assert pair.projects(pair.subject) == {pair.src: "S01"}
    assert move(pair, pair.session, label="S01_NEW").status_code == 200
    assert pair.status(f"{pair.below}/experiments/S01_NEW") == 200


def test_what_is_already_shared_there_is_moved_although_the_answer_is_409(pair):
    pair.share(pair.session, "S01_MR1")
    assert move(pair, pair.session).status_code == 409
    assert pair.projects(f"{pair.below}/experiments/S01_MR1") == {pair.dst: "S01_MR1"}
    pair.share(pair.subject, "OTHER")
    assert move(pair, pair.subject).status_code == 200
    assert pair.projects(f"{pair.below}/subjects/S01") == {pair.dst: "S01"}


def test_other_shares_remain(pair):
    pair.allow(pair.owner, f"{pair.dst}_B")
    third = f"{pair.session}/projects/{pair.dst}_B"
    assert pair.owner.put(third, params={"label": "ELSEWHERE"}).status_code == 200
    assert move(pair, pair.session).status_code == 200
    assert pair.projects(f"{pair.below}/experiments/S01_MR1") == {pair.dst: "S01_MR1", f"{pair.dst}_B": "ELSEWHERE"}


def test_resources_move_with_their_item(pair):
    for path in ("subjects/S01/resources/R/files/s.txt", "experiments/S01_MR1/resources/R/files/deep/e.txt"):
        assert pair.study.upload(path, path.encode()).status_code == 200
    assert move(pair, pair.subject).status_code == move(pair, pair.session).status_code == 200
    for path in ("subjects/S01/resources/R/files/s.txt", "experiments/S01_MR1/resources/R/files/deep/e.txt"):
        assert pair.there.get(f"{pair.below}/{path}").content == path.encode()


@pytest.fixture
def rerun(person):
    """The site runs a project's script again when the names of a session change."""
    person("admin").post("/xapi/siteConfig/rerunProjectAnonOnRename", data="true", headers=AS_TEXT)
    yield
    person("admin").post("/xapi/siteConfig/rerunProjectAnonOnRename", data="false", headers=AS_TEXT)


@pytest.mark.parametrize("change", ["move", "rename", "subject"])
@pytest.mark.parametrize("again", [True, False])
def test_the_script_runs_again_only_where_the_site_says_so(pair, request, change, again):
    import io

    import pydicom
    from pydicom.data import get_testdata_file

    if again:
        request.getfixturevalue("rerun")
    with open(get_testdata_file("MR_small.dcm"), "rb") as stream:
        sent = stream.read()
    pair.study.upload("experiments/S01_MR1/scans/1/resources/secondary/files/0.dcm", sent, format="DICOM")
    for name in (pair.src, pair.dst):
        script = 'version "6.1"\n(0010,0010) := subject\n(0010,0020) := session\n(0008,0080) := project\n'
        path = f"/xapi/anonymize/projects/{name}"
        assert pair.owner.put(path, data=script, headers={"Content-Type": "text/plain"}).status_code == 200
    subjects = f"/data/projects/{pair.src}/subjects"
    if change == "move":
        assert move(pair, pair.session).status_code == 200
    elif change == "rename":
        assert rename(pair, pair.session, "S01_NEW") == 200
    else:
        assert pair.owner.put(f"{subjects}/S77/experiments/S01_MR1").status_code == 200
    rows = pair.owner.rows(f"/data/experiments/{pair.ids['S01_MR1']}/scans/1/files")
    (row,) = (row for row in rows if row["Name"] == "0.dcm")
    stored = pair.owner.get(row["URI"]).content
    assert row["digest"] == hashlib.md5(sent).hexdigest(), "the catalogue is not told"
    again = again or change == "move"  # it always runs in the project that a session comes into (live 1.8.11, L11)
    assert (stored == sent) is not again
    if again:
        header = pydicom.dcmread(io.BytesIO(stored))
        names = {"move": (pair.dst, "S01", "S01_MR1"), "rename": (pair.src, "S01", "S01_NEW")}
        expected = names.get(change, (pair.src, "S77", "S01_MR1"))
        assert (header.InstitutionName, str(header.PatientName), header.PatientID) == expected
        assert len(header.DeidentificationMethodCodeSequence) == 1
        ask = {"resource": f"/archive/experiments/{pair.ids['S01_MR1']}", "options": "checksum"}
        assert pair.owner.post("/data/services/refresh/catalog", params=ask).status_code == 200
        rows = pair.owner.rows(f"/data/experiments/{pair.ids['S01_MR1']}/scans/1/files")
        assert hashlib.md5(stored).hexdigest() in {row["digest"] for row in rows}


def rename(pair: Pair, item: str, label: str, who=None) -> int:
    return (who or pair.owner).put(item, params={"label": label}).status_code


def test_renaming_by_role(pair, person):
    before = files(pair, pair.session)
    assert rename(pair, pair.session, "X", pair.there) == 404
    assert rename(pair, pair.session, "X", person("collaborator")) == 403
    assert rename(pair, pair.session, "S01_M", person("member")) == 200
    assert pair.status(pair.session, pair.owner) == 404
    renamed = f"{pair.subject}/experiments/S01_M"
    assert files(pair, renamed) == before
    assert b"S01_M/scans/1-" in pair.owner.get(f"{renamed}/scans/1/files", params={"format": "zip"}).content
    assert rename(pair, renamed, "S01_M") == 200
    assert rename(pair, f"/data/experiments/{pair.ids['S01_MR1']}", "S01_N") == 200


def test_renaming_onto_a_used_label(pair):
    answer = pair.owner.put(pair.session, params={"label": "S01_MR2"})
    assert (answer.status_code, "Specified label is already in use." in answer.text) == (409, True)
    assert pair.owner.put(f"/data/projects/{pair.src}/subjects/S02").status_code == 201
    assert rename(pair, pair.subject, "S02") == 409
    assert rename(pair, pair.subject, "S03") == 200
    path = f"/data/projects/{pair.src}/subjects"
    assert pair.owner.put(f"{path}/S03", params={"xnat:subjectData/label": "S04"}).status_code == 200
    assert pair.status(f"{path}/S04/experiments/S01_MR1", pair.owner) == 200


def test_a_label_among_other_fields_is_refused(pair):
    assert pair.owner.put(pair.session, params={"label": "NEW", "note": "x"}).status_code == 400
    assert pair.owner.put(pair.session, params={"label": "S01_MR1", "note": "x"}).status_code == 200
    assert rename(pair, pair.session, "bad.label") == 200, "a live server does not check it either"
    assert rename(pair, f"{pair.subject}/experiments/bad.label", "two words") == 417


def test_another_subject(pair):
    path = f"/data/projects/{pair.src}/subjects"
    assert pair.owner.put(f"{path}/S02/experiments/S01_MR1").status_code == 200
    (row,) = pair.owner.rows(f"{path}/S02/experiments")
    assert row["ID"] == pair.ids["S01_MR1"]
    subject = next(row["ID"] for row in pair.owner.rows(path) if row["label"] == "S01")
    assert pair.owner.put(f"{path}/S02/experiments/S01_MR1", params={"subject_ID": subject}).status_code == 200
    assert pair.owner.rows(f"{path}/S02/experiments") == []


def test_deleting_by_role_and_what_stays_on_the_disk(pair, person):
    folder = pair.owner.server.data / "archive" / pair.src
    kept, gone = (folder / pair.ids[label] for label in ("S01_MR1", "S01_MR2"))
    for item in (f"{pair.session}/scans/1", pair.session, pair.subject):
        for role, status in (("outsider", 404), ("collaborator", 403), ("member", 403)):
            assert person(role).delete(item).status_code == status
    assert pair.owner.delete(f"{pair.session}/scans/2").status_code == 200
    assert pair.owner.delete(f"{pair.session}/scans/2").status_code == 404
    assert pair.owner.delete(pair.session).status_code == 200
    assert pair.owner.delete(pair.session).status_code == 404
    assert len([path for path in kept.rglob("*") if path.is_file()]) == 2
    answer = pair.owner.delete(f"/data/experiments/{pair.ids['S01_MR2']}", params={"removeFiles": "true"})
    assert answer.status_code == 200
    assert not gone.exists()
    rows = pair.owner.rows(f"/data/projects/{pair.src}/experiments")
    assert [row["label"] for row in rows] == ["S01_CT1"]
    again = pair.owner.put(pair.session, params={"xsiType": "xnat:mrSessionData"})
    assert again.status_code == 201
    assert again.text not in pair.ids.values()
    assert pair.owner.delete(pair.subject, params={"removeFiles": "true"}).status_code == 200
    assert pair.owner.rows(f"/data/projects/{pair.src}/experiments") == []


def test_a_subject_with_a_session_elsewhere_needs_the_right_there(pair):
    assert pair.there.put(f"/data/projects/{pair.far}/users/Members/{pair.owner.login}").status_code == 200
    assert move(pair, pair.session, pair.far).status_code == 200
    assert pair.owner.delete(pair.subject).status_code == 403
    assert pair.owner.delete(f"/data/projects/{pair.src}").status_code == 403
    assert pair.status(pair.subject, pair.owner) == 200


def state_with_a_file(folder) -> tuple[State, int]:
    state = State(folder)
    state.new_project("P", "olga")
    subject = state.new_subject("P", "S", "olga")
    session = state.new_experiment("P", subject, "E", "xnat:mrSessionData", "olga")
    resource = state.add_resource("scan", state.new_scan(session, "1", "xnat:mrScanData"), "DICOM")
    state.store_file(resource, "a.dcm", b"abc")
    return state, resource


def test_the_checker_finds_what_does_not_fit(tmp_path):
    state, resource = state_with_a_file(tmp_path)
    path = state.file_path(resource, "a.dcm")
    assert check(state, contents=True) == []
    path.write_bytes(b"abd")
    assert [word for word in check(state, contents=True) if "MD5" in word]
    path.write_bytes(b"longer")
    assert [word for word in check(state) if "6 bytes, not the 3" in word]
    path.unlink()
    assert [word for word in check(state) if "is not there" in word]
    path.with_name("stray").write_bytes(b"x")
    assert [word for word in check(state) if "named by nothing" in word]
    with state.write() as db:
        db.execute("UPDATE experiments SET subject_id='XNAT_S99999'")
    assert [word for word in check(state) if "XNAT_S99999, which does not exist" in word]


def test_after_a_power_cut_the_state_is_put_right(tmp_path):
    state, resource = state_with_a_file(tmp_path)
    path = state.file_path(resource, "a.dcm")
    path.write_bytes(b"newer bytes")
    path.with_name("b.dcm").write_bytes(b"never named")
    half = tmp_path / "archive" / "Q" / "XNAT_E00001" / "SCANS" / "1" / "DICOM" / "a.dcm"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half moved")
    assert len(check(state)) == 3
    repair(state, since=0)
    assert check(state, contents=True) == []
    assert not (tmp_path / "archive" / "Q").exists()


@pytest.mark.parametrize("after_s", [0.0, 0.1])
def test_a_move_that_is_cut_off_happened_or_did_not(tmp_path, after_s):
    import threading
    import time

    import requests

    state, resource = state_with_a_file(tmp_path)
    state.new_project("Q", "olga")
    for number in range(400):
        state.store_file(resource, f"{number}.dcm", f"{number}".encode() * 100)
    with running(data=tmp_path) as server:
        auth = server.accounts["owner"]

        def ask() -> None:
            url = f"{server.url}/data/projects/P/subjects/S/experiments/E/projects/Q?primary=true"
            try:
                requests.put(url, auth=auth, timeout=30)
            except requests.ConnectionError:
                pass

        worker = threading.Thread(target=ask)
        worker.start()
        time.sleep(after_s)
        server.kill()
        worker.join()
    with running(data=tmp_path) as server:
        auth = server.accounts["owner"]
        assert requests.get(f"{server.url}/_check?contents=true", timeout=30).json() == []
        rows = requests.get(f"{server.url}/data/experiments/XNAT_E00001/scans/ALL/files", auth=auth, timeout=30).json()
        assert len(rows["ResultSet"]["Result"]) == 401
