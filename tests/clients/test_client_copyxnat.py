"""copyxnat: `copy -t zip -b simplexnat` from one embedded server to another, and its own `compare` afterwards."""

from __future__ import annotations

import pytest
from client_kit import SESSIONS, SOURCE, Reader, run, unknown

# It waits for half a minute after each session; nothing else of it is changed.
HASTE = "import sys, time; time.sleep = lambda seconds: None; " \
        "from copyxnat.ui.command_line import run_entry_point; sys.exit(run_entry_point())"  # fmt: skip

pytestmark = pytest.mark.other_client


@pytest.fixture(scope="module")
def said(client, source, destination, tmp_path_factory) -> dict[str, str]:
    """What `copy`, then `compare` printed."""
    folder = tmp_path_factory.mktemp("copyxnat")
    (here, first), (there, second) = source.accounts["owner"], destination.accounts["owner"]
    Reader(destination).put(f"/data/projects/{SOURCE}")
    found = {}
    for verb, words in (("copy", ["-t", "zip"]), ("compare", [])):
        command = [client("copyxnat") / "python", "-c", HASTE, "-c", folder, verb, *words, "-b", "simplexnat",
                   "-p", SOURCE, "-s", source.url, "-u", here, "-d", destination.url, "-w", there]  # fmt: skip
        found[verb] = run(command, folder, said=f"{first}\n{second}\n")
    return found


def test_every_session_and_file_arrived(said, source, destination):
    assert set(Reader(destination).sessions(SOURCE)) == SESSIONS
    assert Reader(destination).files(SOURCE) == Reader(source).files(SOURCE)


def test_fields_arrived(said, source, destination):
    for server in (source, destination):
        rows = Reader(server).rows(f"/data/projects/{SOURCE}/experiments", columns="label,date,UID,modality")
        found = {row["label"]: (row["date"], row["UID"], row["modality"]) for row in rows}
        if server is source:
            expected = found
    assert found == expected


def test_its_own_comparison_finds_no_difference(said):
    assert "project structure matches" in said["compare"]
    assert "Missing from" not in said["compare"]
    differing = [line for line in said["compare"].splitlines() if " differs:" in line or "missing from dst" in line]
    assert all("(Project)" in line for line in differing), "name and description were set at the destination before"


def test_everything_it_asked_for_is_imitated(said, source, destination):
    assert (unknown(source), unknown(destination)) == ([], [])
