"""A mounted archive in place of downloads: the same proof, and never anything that the server does not list."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from archive_kit import Kit, logged
from people import Person
from roads import as_
from test_doors_cut import RUN

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.mounted import MountedSource, mounted_root
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.transfer import run


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    found = Kit(lambda role: Person(server, role))
    found.put(found.source, "S1", "E1", found.uid("E1"), scans=(1, 2))
    return found


def mount(kit, root):
    """The files of E1 as XNAT's JupyterHub shows them."""
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E1/scans/ALL/files"
    answer = kit.who.get(path, params={"format": "zip", "structure": "legacy"})
    where = root / "projects" / kit.source / "experiments"
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(where)
    assert (where / "E1" / "SCANS" / "1" / "DICOM").is_dir()
    return where / "E1" / "SCANS"


def planned(server, kit, **values):
    both = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    options = TransferOptions.from_mapping({**both, **values})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return prepare(source, destination, options)


def carried(server, made, folder):
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return run(made, source, destination, folder=folder)


def copied(server, kit, folder, **values):
    return carried(server, planned(server, kit, **values), folder)


def downloads(server, since=0):
    """How many zips of scans the server was asked for."""
    return len(
        [one for one in server.log()[since:] if "/resources/DICOM/files" in one["path"] and "zip" in one["query"]]
    )


@pytest.fixture
def root(server, kit, tmp_path, monkeypatch):
    monkeypatch.setenv("XNAT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XNAT_HOST", server.url)
    return tmp_path / "data"


def test_what_is_mounted_is_not_downloaded_and_proved_all_the_same(server, kit, root, tmp_path):
    mount(kit, root)
    since = logged(server)
    result = copied(server, kit, tmp_path / "run")
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert downloads(server, since) == 0
    assert result.messages == ("4 files of 2 scan resources were read from XNAT_DATA in place of a download.",)
    assert len(result.files) == 4 and set(result.files["verdict"]) <= {"equal", "changed as explained"}


def test_what_goes_byte_for_byte_is_read_from_there_too(server, kit, root, tmp_path):
    mount(kit, root)
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text("format: 1\nwaivers: [{rule: S13, scope: {everywhere: true}, reason: 'reviewed, ticket 17'}]\n")
    since = logged(server)
    result = copied(server, kit, tmp_path / "run", method="files", waivers=str(waivers))
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert result.messages[0].startswith("4 files of 2 scan resources")
    # What is left are the two zips that the destination is read back by.
    assert downloads(server, since) == 2 and kit.files(kit.destination) == kit.files(kit.source)


def test_it_is_not_read_where_the_parameters_say_so(server, kit, root, tmp_path):
    mount(kit, root)
    since = logged(server)
    assert copied(server, kit, tmp_path / "run", mounted=False).exit_code == ExitCode.PROVED
    assert downloads(server, since) == 2


@pytest.mark.parametrize("what", ["altered", "cut", "lost", "more"])
def test_what_is_not_as_the_server_lists_it_is_downloaded(server, kit, root, tmp_path, what):
    folder = mount(kit, root) / "1" / "DICOM"
    file = next(iter(sorted(folder.iterdir())))
    data = bytearray(file.read_bytes())
    if what == "altered":
        data[-20] ^= 1
        file.write_bytes(data)
    elif what == "cut":
        file.write_bytes(data[:-2])
    elif what == "lost":
        file.unlink()
    else:
        (folder / "stranger.dcm").write_bytes(data)
    since = logged(server)
    result = copied(server, kit, tmp_path / "run")
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert len(result.files) == 4
    assert downloads(server, since) == (0 if what == "more" else 1)


def test_nothing_outside_the_mounted_folder_is_read(server, kit, root, tmp_path):
    scans = mount(kit, root)
    away = tmp_path / "away"
    (scans / "1" / "DICOM").rename(away)
    (scans / "1" / "DICOM").symlink_to(away)
    since = logged(server)
    assert copied(server, kit, tmp_path / "run").exit_code == ExitCode.PROVED
    assert downloads(server, since) == 1


@pytest.mark.parametrize("gone", [False, True], ids=["the mount stays", "the mount goes"])
def test_killed_while_it_reads_from_there_the_next_run_completes_it(server, kit, root, tmp_path, gone):
    mount(kit, root)
    made = planned(server, kit, workers=1)
    made.save(tmp_path / "plan.json")
    user, password = server.accounts["owner"]
    env = {**os.environ, "XNAT_USER": user, "XNAT_PASS": password}
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    since = logged(server)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as first:
        while not first.stdout.readline().startswith("scan sent"):
            pass
        first.kill()
        first.stdout.read()
    if gone:
        shutil.rmtree(root)
    result = carried(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED and len(result.files) == 4, result.problems
    imports = [one for one in server.log()[since:] if one["path"] == "/data/services/import"]
    assert len(imports) <= 3, "one scan of the one worker may be sent twice"
    assert downloads(server, since) == (2 if gone else 0)
    since = logged(server)
    assert carried(server, made, tmp_path).exit_code == ExitCode.PROVED
    assert not [
        one for one in server.log()[since:] if "/services/import" in one["path"] or "/services/ar" in one["path"]
    ]


@pytest.mark.parametrize("fault", ["no-answer-after", "500-after", "503"])
def test_a_lost_answer_to_what_was_read_from_there_is_looked_up(server, kit, root, tmp_path, fault):
    mount(kit, root)
    made = planned(server, kit)
    paths = ("/data/services/import$", "/data/services/archive$")
    server.faults([{"fault": fault, "method": "POST", "path": path, "times": 1, "retry_after_s": 0} for path in paths])
    since = logged(server)
    result = carried(server, made, tmp_path)
    server.faults([])
    assert result.exit_code == ExitCode.PROVED and len(result.files) == 4, result.problems
    assert downloads(server, since) == 0 and result.messages[0].startswith("4 files of 2 scan resources")
    assert [len(files) for files in kit.files(kit.destination).values()] == [4]


def test_the_mount_of_another_server_is_not_this_one(server, kit, root, monkeypatch):
    root.mkdir()
    with as_(server, "owner") as source:
        assert mounted_root(source) == root
        monkeypatch.setenv("XNAT_HOST", "https://xnat.example.org")
        assert mounted_root(source) is None
        monkeypatch.delenv("XNAT_DATA")
        assert mounted_root(source) is None


def test_the_rest_of_the_connection_is_the_connection(server, kit, root):
    mount(kit, root)
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        options = TransferOptions.from_mapping(
            {"source_project": kit.source, "destination_project": kit.destination, "review": "none"}
        )
        made = prepare(source, destination, options)
        found = MountedSource(source, made, root)
        assert found.server == source.server and found.user == source.user
        session_id = made.sessions[0].session_id
        with found.open_scan(session_id, "1", "DICOM") as chunks:
            names = zipfile.ZipFile(io.BytesIO(b"".join(chunks))).namelist()
        assert len(names) == found.files_read == 2 and found.scans_read == 1
        with found.open_scan(session_id, "1", "DICOM") as chunks:
            assert len(zipfile.ZipFile(io.BytesIO(b"".join(chunks))).namelist()) == 2
        assert found.scans_read == 1, "the second time it is downloaded"
