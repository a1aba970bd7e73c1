"""What live servers taught, from the command line: each with the exit code and the sentence that a user gets.

L2 to L9, H1, H4 and W4 to W10 are the names of the observations on live 1.6.4 to 1.8.11; those of a session that is
shared in are in ``test_ours.py``.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import stat
import threading
import time
import zipfile

import pydicom
import pytest
from archive_kit import Kit, logged
from meddler import cuts, meddling, spoils
from people import people
from shell import Shell
from standin import table

from xnbtransfer import server as embedded
from xnbtransfer.server.demo_files import SeriesPlan, make_series


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    server.faults([])
    with people(server) as person:
        yield Kit(person)
    server.faults([])


@pytest.fixture
def front(server):
    with meddling(server) as found:
        yield found


@pytest.fixture
def shell(front, tmp_path, capsys, monkeypatch):
    """A shell whose requests pass the meddler."""
    return Shell(front, tmp_path, capsys, monkeypatch)


def archive_posts(front) -> int:
    return sum("/services/archive" in path for _, path in front.sent)


def once(part: str, answer, method: str = "POST", times: int = 1):
    """A rule that meddles with the first requests whose address has a part."""
    left = [times]

    def rule(asked: str, path: str):
        if asked == method and part in path and left[0]:
            left[0] -= 1
            return answer
        return None

    return rule


def test_l8_a_failed_archive_request_is_not_repeated_and_the_way_out_works(kit, front, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
    front.rule = once("/services/archive", spoils)
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive")
    assert code in (1, 3) and archive_posts(front) == 1
    assert "Anonymization failed" in said and "have it mended, then run again" in said, said
    assert kit.files(kit.destination) == {}, "no session without files was made"
    front.rule = lambda method, path: None  # the script is mended
    code, said = shell("run", folder.replace(".run", ".json"))
    assert code == 0, said
    assert [scan for scan, _, _ in kit.files(kit.destination)["E1"]] == ["1", "1", "2", "2"]
    assert shell.counts(folder)["exit_code"] == 0


def test_l8_in_the_prearchive_command(kit, front, shell):
    kit.put(kit.destination, "S1", "E1", kit.uid("E1"), waits=True)
    code, said = shell("prearchive", kit.destination, "--action", "rebuild", "-o", "build.json")
    code, said = shell("run", "build.json")
    assert code == 0, said
    front.rule = once("/services/archive", spoils, times=9)
    code, said = shell("prearchive", kit.destination, "--action", "archive", "-o", "pre.json")
    assert code == 0, said
    code, said = shell("run", "pre.json")
    assert code in (1, 3) and archive_posts(front) == 1
    assert "Anonymization failed" in said and "delete the row" in said, said
    assert kit.files(kit.destination) == {}


def test_l9_rows_of_other_projects_are_not_those_of_this_one(server, kit, shell, front):
    kit.put(kit.third, "S1", "E1", kit.uid("E1"), waits=True)
    (row,) = kit.who.rows(f"/data/prearchive/projects/{kit.third}")

    def listed_everywhere(method: str, path: str):
        if method == "GET" and path.startswith(f"/data/prearchive/projects/{kit.destination}?"):
            return lambda meddler, pass_on, method, path, body: (200, table([row]))
        return None

    front.rule = listed_everywhere
    code, said = shell("prearchive", kit.destination, "--action", "delete", "-o", "pre.json")
    assert code == 0 and "E1" not in said, said
    code, said = shell("run", "pre.json", "--confirm", f"{kit.destination} 1")
    assert [one["url"] for one in kit.who.rows(f"/data/prearchive/projects/{kit.third}")] == [row["url"]]
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 0, said


def test_l5_a_locked_row_is_told_with_its_age_and_the_way_out(kit, front, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))

    def locks(meddler, pass_on, method, path, body):
        locked = "UPDATE prearchive SET status='_BUILDING', lastmod='2023-11-14 10:00:00.0' WHERE project=?"
        meddler.sql(locked, kit.destination)
        return 500, b"<html><body><h3>the session document is locked</h3></body></html>"

    front.rule = once("action=build", locks)
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive")
    assert code != 0 and "_BUILDING for" in said and "administrator" in said, said
    code, said = shell("run", folder.replace(".run", ".json"))
    assert code != 0 and "_BUILDING for" in said and "minutes" in said, said


def test_l5_one_row_that_the_server_fails_on_does_not_end_the_others(kit, front, shell):
    for session in ("E1", "E2"):
        kit.put(kit.destination, "S1", session, kit.uid(session), waits=True)
        shell("prearchive", kit.destination, "--action", "rebuild", "--sessions", session, "-o", f"{session}.json")
        assert shell("run", f"{session}.json")[0] == 0

    def fails(meddler, pass_on, method, path, body):
        return 500, b"<html><body><h3>Field not found</h3></body></html>"

    front.rule = lambda method, path: fails if method == "GET" and "/E1/" in path else None
    code, said = shell("prearchive", kit.destination)
    assert code == 0 and "Field not found" in said, said
    code, said = shell("prearchive", kit.destination, "--action", "delete", "-o", "pre.json")
    assert code == 0, said
    code, said = shell("run", "pre.json", "--confirm", f"{kit.destination} 2")
    assert code == 0, said
    assert kit.who.rows(f"/data/prearchive/projects/{kit.destination}") == []


def test_h1_a_row_that_was_spoilt_by_a_cut_upload_is_withdrawn_and_sent_anew(server, kit, front, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2, 3))
    front.rule = once("/services/import", cuts, times=2)
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 0, said
    assert {name for _, name, _ in kit.files(kit.destination)["E1"]} and len(kit.files(kit.destination)["E1"]) == 6
    assert shell.counts(folder)["exit_code"] == 0


def test_nothing_is_built_while_a_scan_is_on_its_way(kit, front, shell):
    """A scan that arrives while its row is built is lost with 200 everywhere (races.json of 1.8.11, r72 to r107)."""
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2, 3, 4))
    flights: list[tuple[float, float]] = []
    builds: list[float] = []
    numbers = itertools.count()

    def slow(meddler, pass_on, method, path, body):
        begun, fails = time.monotonic(), next(numbers) == 1  # the second fails while others are still on their way
        time.sleep(0.1 if fails else 1.0)
        status, said, _ = (500, b"", []) if fails else pass_on(body)
        flights.append((begun, time.monotonic()))
        return status, said

    def rule(method: str, path: str):
        if method == "POST" and path.endswith("action=build"):
            builds.append(time.monotonic())
        return slow if method == "POST" and "/services/import" in path else None

    front.rule = rule
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive", "--workers", "4")
    assert code == 0, said
    assert len(flights) == 5 and builds
    assert not [at for at in builds for begun, ended in flights if begun < at < ended]
    assert max(ended for _, ended in flights) < builds[-1], "built once more after the last one has answered"
    assert len(kit.files(kit.destination)["E1"]) == 8


def cuts_a_file(meddler, pass_on, method, path, body):
    """An upload that breaks off in the middle of a file: that one stays in part, those after it are not there (H1)."""
    pass_on(body)
    (project,) = re.findall(r"PROJECT_ID=([^&]+)", path)
    *_, cut, lost = sorted((meddler.server.data / "prearchive" / project).glob("**/*.dcm"), key=lambda one: one.name)
    cut.write_bytes(cut.read_bytes()[:3000])
    lost.unlink()
    where = "path=? AND row_pk IN (SELECT pk FROM prearchive WHERE project=?)"
    meddler.sql(f"UPDATE prearchive_files SET size=3000 WHERE {where}", cut.name, project)
    meddler.sql(f"DELETE FROM prearchive_files WHERE {where}", lost.name, project)
    return 500, b"<html><body><h3>the connection was reset</h3></body></html>"


@pytest.mark.parametrize("scans", [(1,), (1, 2, 3)])
def test_h1_a_file_that_arrived_in_part_is_never_built_on(kit, front, shell, scans):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=scans)
    front.rule = once("/services/import", cuts_a_file)
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 0, said
    assert any("prearchive/delete" in path for _, path in front.sent), "the row with half a file was withdrawn"
    assert len(kit.files(kit.destination)["E1"]) == 2 * len(scans)
    assert shell.counts(folder)["exit_code"] == 0


def test_h1_a_row_that_holds_what_is_not_ours_is_left_and_the_command_is_named(kit, front, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))

    def joined(meddler, pass_on, method, path, body):
        kit.put(kit.destination, "S1", "E1", kit.uid("E1"), scans=(7,), waits=True)
        return cuts_a_file(meddler, pass_on, method, path, body)

    front.rule = once("/services/import", joined)
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive")
    assert code != 0 and f"xnbtransfer prearchive {kit.destination} --action delete --sessions E1" in said, said
    assert not any("prearchive/delete" in path for _, path in front.sent)


def test_l3_nothing_is_written_to_a_session_that_was_there_but_the_files_asked_for(kit, front, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
    kit.put(kit.destination, "S1", "E1", kit.uid("E1"), scans=(1,))
    front.sent.clear()
    code, said, _ = shell.copy_files(kit.source, kit.destination, "--archive", "--existing", "merge")
    assert code in (0, 3), said
    assert not [path for _, path in front.sent if "pullDataFromHeaders" in path]
    front.sent.clear()
    code, said, _ = shell.copy_files(kit.source, kit.third, "--archive")
    assert code == 0, said
    assert [path for _, path in front.sent if "pullDataFromHeaders" in path]


def test_l4_outputs_are_never_put_in_the_place_of_a_link_a_pipe_or_a_device(kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    real = shell.folder / "real.json"
    (shell.folder / "link.json").symlink_to(real)
    os.mkfifo(shell.folder / "pipe.json")
    code, said = shell("plan", kit.source, kit.destination, "-o", "link.json")
    assert code == 0, said
    came: list[str] = []
    reader = threading.Thread(target=lambda: came.append((shell.folder / "pipe.json").read_text()))
    reader.start()
    code, said = shell("plan", kit.source, kit.destination, "-o", "pipe.json")
    assert code == 0, said
    reader.join(20)
    assert came and came[0].startswith("{")
    assert (shell.folder / "link.json").is_symlink() and real.read_text().startswith("{")
    assert stat.S_ISFIFO((shell.folder / "pipe.json").stat().st_mode)
    (shell.folder / "decisions.csv").symlink_to(shell.folder / "target.csv")
    shell("plan", kit.source, kit.destination, "-o", "a.json", "--conflicts-to", "decisions.csv")
    assert (shell.folder / "decisions.csv").is_symlink() and (shell.folder / "target.csv").exists()


def beside(kit, name: str, data: bytes, scan: str = "1", resource: str = "DICOM") -> None:
    """A file of any kind in a scan of the session E1 of the source; the scan is made where there is none."""
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E1/scans/{scan}"
    if scan != "1":
        assert kit.who.put(path, params={"xsiType": "xnat:mrScanData", "type": "seg"}).status_code in (200, 201)
    answer = kit.who.put(f"{path}/resources/{resource}/files/{name}", files={"file": (name, data)})
    assert answer.status_code in (200, 201), answer.text


@pytest.mark.parametrize("copy", ["copy", "copy_files"])
def test_a_resource_of_a_scan_without_dicom_arrives_with_its_scan(kit, shell, copy):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    beside(kit, "seg.nii.gz", b"seg", scan="99", resource="NIFTI")
    code, said, folder = getattr(shell, copy)(kit.source, kit.destination, "--archive", "--resources", "*")
    assert code == 0, said
    (there,) = kit.who.rows(f"/data/projects/{kit.destination}/experiments", columns="ID,label")
    scans = {row["ID"]: row["type"] for row in kit.who.rows(f"/data/experiments/{there['ID']}/scans")}
    assert scans["99"] == "seg"
    names = [row["Name"] for row in kit.who.rows(f"/data/experiments/{there['ID']}/scans/99/files")]
    assert names == ["seg.nii.gz"] and shell.counts(folder)["exit_code"] == 0


@pytest.mark.parametrize("copy", ["copy", "copy_files"])
def test_a_body_that_a_proxy_finds_too_large_goes_in_smaller_ones(kit, front, shell, copy):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
    largest = 15_000  # one file of about 10 kB, and not two

    def refuses_large(meddler, pass_on, method, path, body):
        if len(body) > largest:
            return 413, b""
        status, said, _ = pass_on(body)
        return status, said

    logs_in = re.compile("/data/(JSESSION|services/auth)")  # its cookie is in the headers of the answer, up to 1.6
    front.rule = lambda method, path: (
        refuses_large if method in ("POST", "PUT") and not logs_in.match(path) else None
    )
    code, said, _ = getattr(shell, copy)(kit.source, kit.destination, "--archive")
    assert code == 0, said
    assert len(kit.files(kit.destination)["E1"]) == 4
    largest = 5_000
    code, said, _ = getattr(shell, copy)(kit.source, kit.third, "--archive")
    assert code != 0 and "client_max_body_size" in said and "413" in said, said


def test_files_of_a_desktop_are_told_before_and_left_out_by_a_waiver(kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    beside(kit, "Thumbs.db", b"\xd0\xcf\x11\xe0" * 50)
    code, said = shell("plan", kit.source, kit.destination, "--archive", "-o", "a.json")
    assert code == 0 and "C12" in said and "Thumbs.db" in said, said
    assert shell("run", "a.json")[0] == 3
    shell("prearchive", kit.destination, "--action", "delete", "-o", "pre.json")
    shell("run", "pre.json", "--confirm", f"{kit.destination} 1")
    rule = "waivers:\n  - {rule: C12, scope: {everywhere: true}, reason: 'left by a desktop'}\n"
    (shell.folder / "left.yaml").write_text(f"format: 1\n{rule}")
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive", "--waivers", "left.yaml")
    assert code == 4 and "left out" in said, said
    assert len(kit.files(kit.destination)["E1"]) == 2

def put_zip(kit, path: str, resource: str, files: dict[str, bytes]) -> None:
    """Files of any name as a resource of an item of the source, in one zip, where names are kept."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    to = f"/data/projects/{kit.source}/subjects/S1/experiments/E1{path}/resources/{resource}/files"
    answer = kit.who.post(to, params={"extract": "true"}, files={"file": ("files.zip", whole.getvalue())})
    assert answer.status_code == 200, answer.text


def another(data: bytes, uid: str) -> bytes:
    """The same image as an instance of its own."""
    image = pydicom.dcmread(io.BytesIO(data))
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
    written = io.BytesIO()
    image.save_as(written)
    return written.getvalue()


def paths_of(kit, project: str, resource: str) -> dict[str, int]:
    """Path to size in bytes, of one resource of the only session of a project."""
    (row,) = kit.who.rows(f"/data/projects/{project}/experiments", columns="ID,label")
    rows = kit.who.rows(f"/data/experiments/{row['ID']}/files") if resource != "DICOM" else []
    rows = rows or kit.who.rows(f"/data/experiments/{row['ID']}/scans/1/files")
    ours = [one for one in rows if one["collection"] == resource]
    return {one["URI"].partition("/files/")[2]: int(one["Size"]) for one in ours}


def test_l2_files_whose_names_differ_by_percent_coding_stay_two(kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    given = {"c/p%41.txt": b"one", "c/pA.txt": b"other", "odd/a#1.txt": b"sharp", "100%.txt": b"all", "a;b": b";"}
    put_zip(kit, "", "NOTES", given)
    code, said, folder = shell.copy(kit.source, kit.destination, "--archive", "--resources", "NOTES")
    assert code == 0, said
    assert paths_of(kit, kit.destination, "NOTES") == {name: len(data) for name, data in given.items()}
    assert shell.counts(folder)["equal"] == len(given)


def test_l2_images_whose_names_differ_by_percent_coding_stay_three(kit, shell):
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    (row,) = kit.who.rows(f"/data/projects/{kit.source}/experiments", columns="ID,label")
    one, other = kit.who.rows(f"/data/experiments/{row['ID']}/scans/1/files")
    images = [another(kit.who.get(found["URI"]).content, kit.uid(found["URI"])) for found in (one, other)]
    put_zip(kit, "/scans/1", "DICOM", {"I%31.dcm": images[0] + b"\0\0", "I1.dcm": images[1] + b"\0\0\0\0"})
    before = paths_of(kit, kit.source, "DICOM")
    assert len(before) == 4
    code, said, folder = shell.copy_files(kit.source, kit.destination, "--archive", "--review", "none")
    assert code == 0, said
    assert paths_of(kit, kit.destination, "DICOM") == before
    assert shell.counts(folder)["equal"] == 4


def in_syntax(data: bytes, syntax: str) -> bytes:
    """A DICOM file that says it is of this transfer syntax, its pixels in one fragment."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    made = io.BytesIO()
    dataset.save_as(made, enforce_file_format=False)
    return made.getvalue()


def test_l6_a_syntax_that_the_receiver_does_not_take_is_named_and_the_import_takes_it(tmp_path, capsys, monkeypatch):
    with embedded.running(receiver=True) as server, people(server) as person:
        kit, shell = Kit(person), Shell(server, tmp_path, capsys, monkeypatch)
        plan = SeriesPlan(source="MR", number=1, description="series 1", count=1)
        labels = {"project": kit.source, "subject": "S1", "session": "E1"}
        ((name, data),) = make_series(plan, **labels, study_uid=kit.uid("E1"), date="20240108")
        where = f"/archive/projects/{kit.source}/subjects/S1/experiments/E1"
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            archive.writestr(name, in_syntax(data, "1.2.840.10008.1.2.4.201"))
        sent = {"import-handler": "DICOM-zip", "inbody": "true", "dest": where}
        as_zip = {"Content-Type": "application/zip"}
        assert kit.who.post("/data/services/import", params=sent, data=whole.getvalue(), headers=as_zip).text.strip()
        words = ["--archive", "--review", "none"]
        receiver = ["--method", "receiver", "--receiver", f"dicom://XNAT@127.0.0.1:{server.receiver}"]
        code, said, _ = shell.copy(kit.source, kit.destination, *words, *receiver)
        assert code == 3 and "1.2.840.10008.1.2.4.201" in said and "method=import, which takes it" in said, said
        assert "did not answer" not in said and "Run the same command again" not in said
        code, said, _ = shell.copy(kit.source, kit.third, *words)
        assert code == 0, said


def without_scans(kit) -> None:
    """A session E0 that holds nothing, beside E1."""
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E0"
    assert kit.who.put(path, params={"xsiType": "xnat:mrSessionData"}).status_code in (200, 201)


def test_l7_a_session_without_scans_ends_no_command(kit, shell):
    """XNAT 1.8 answers the files of such a session with 500 (live 1.8.11, W4)."""
    without_scans(kit)
    code, said = shell("inventory", kit.source, "-o", "there")
    assert code == 0, said
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive")
    assert code == 7 and "S1/E0: it holds no DICOM scan that an import could carry" in said, said
    assert set(kit.files(kit.destination)) == {"E1"}
    for verb in ("share", "move"):
        code, said = shell(verb, kit.source, kit.third, "-o", f"{verb}.json")
        assert code == 0, said
    code, said = shell("run", "share.json", "--confirm", f"{kit.third} 2")
    assert code == 0, said
    shared = kit.who.rows(f"/data/projects/{kit.third}/experiments", columns="ID,label")
    assert {row["label"] for row in shared} == {"E0", "E1"}


def test_l7_sessions_without_a_listed_modality_are_chosen_by_their_type(kit, shell):
    """A session of MR scans and a report is listed without a modality (live 1.8.11, H4)."""
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    kit.put(kit.source, "S1", "E2", kit.uid("E2"))
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E2/scans/99"
    assert kit.who.put(path, params={"xsiType": "xnat:srScanData", "type": "report"}).status_code in (200, 201)
    kit.who.put(f"/data/projects/{kit.source}/subjects/S1/experiments/E2", params={"xnat:mrSessionData/modality": ""})
    rows = kit.who.rows(f"/data/projects/{kit.source}/experiments", xsiType="xnat:mrSessionData",
                        columns="label,modality")  # fmt: skip
    assert {row["label"]: row["modality"] for row in rows}["E2"] == "", rows
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive", "--modalities", "MR")
    assert code == 0, said
    assert set(kit.files(kit.destination)) == {"E1", "E2"}


def test_l7_six_subjects_that_are_shared_open_no_session_each(server, kit, shell):
    """A share that worked is answered with a table in HTML, which is no log-in page (live 1.8.11, W8)."""
    for number in range(6):
        kit.put(kit.source, f"S{number}", f"E{number}", kit.uid(f"E{number}"))
    code, said = shell("share", kit.source, kit.third, "-o", "share.json")
    assert code == 0, said
    before = len(server.log())
    code, said = shell("run", "share.json", "--confirm", f"{kit.third} 6")
    assert code == 0, said
    logins = [one for one in server.log()[before:] if one["method"] == "POST" and "JSESSION" in one["path"]]
    assert len(logins) <= 1, logins


def test_l7_text_with_signs_of_xml_is_carried_as_it_was_meant(kit, shell):
    """XNAT stores what is written over REST with XML escapes (live 1.8.11, W9)."""
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E1"
    note = "a < b & 'c' > \"d\""
    assert kit.who.put(path, params={"xnat:mrSessionData/note": note}).status_code == 200
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive", "--fields", "session/note")
    assert code == 0, said
    notes = []
    for project in (kit.source, kit.destination):
        (row,) = kit.who.rows(f"/data/projects/{project}/experiments", columns="ID,label")
        item = kit.who.get(f"/data/experiments/{row['ID']}", params={"format": "json"}).json()["items"][0]
        notes.append(item["data_fields"]["note"])
    assert notes[0] == notes[1] and notes[0].startswith("a &lt; b")


def test_l7_a_resource_whose_label_is_not_read_as_it_stands_is_carried(kit, shell):
    """A label in an address is never decoded (live 1.8.11, W10)."""
    kit.put(kit.source, "S1", "E1", kit.uid("E1"))
    put_zip(kit, "", "My%20Notes", {"a.txt": b"a"})
    code, said, _ = shell.copy(kit.source, kit.destination, "--archive", "--resources", "*")
    assert code == 0, said
    assert paths_of(kit, kit.destination, "My%20Notes") == {"a.txt": 1}


@pytest.mark.parametrize("refused", ["xnat:mrSessionData", ""])
def test_w7_rights_are_asked_for_the_types_at_hand(kit, front, shell, refused):
    """Where MR is not set up nobody may create such sessions; those of CT can be created all the same."""
    kit.put(kit.source, "S1", "E1", kit.uid("E1"), kind="CT")

    def nobody(meddler, pass_on, method, path, body):
        return 200, table([])

    def rule(method: str, path: str):
        asked = re.search(r"permissions=(create|edit)", path)
        return nobody if asked and (not refused or refused in path) else None

    front.rule = rule
    code, said = shell("plan", kit.source, kit.destination, "--archive", "-o", "a.json")
    assert (code == 0 and "A02" not in said and "A04" not in said) if refused else (code == 5 and "A02" in said), said


def test_a_run_on_1_7_2_asks_one_thing_of_each_project_before_many(tmp_path, capsys, monkeypatch):
    """The first parallel requests of a new login get 404 and empty lists for half a second (live 1.7.2, fact 15)."""
    with embedded.running(personality="1.7.2") as old, people(old) as person:
        kit, shell = Kit(person), Shell(old, tmp_path, capsys, monkeypatch)
        kit.put(kit.source, "S1", "E1", kit.uid("E1"))
        name = shell.plan(kit.source, kit.destination, "--archive")
        before = logged(old)
        code, said = shell("run", name)
        assert code in (0, 4), said  # 1.7.2 lists no digests
        asked = [one["path"] for one in old.log()[before:]]
    for project in (kit.source, kit.destination):
        first = asked.index(f"/data/projects/{project}")
        many = [path for path in asked if path.startswith((f"/data/projects/{project}/", "/data/experiments"))]
        assert many and first < min(map(asked.index, many))
