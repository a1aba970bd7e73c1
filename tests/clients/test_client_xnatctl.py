"""xnatctl: `project transfer` from one embedded server to another, and what came of it."""

from __future__ import annotations

import json

import pytest
import requests
import yaml
from client_kit import SESSIONS, SOURCE, Reader, results, run, unknown
from people import AS_TEXT

TARGET = "BY_XNATCTL"

pytestmark = [pytest.mark.other_client, pytest.mark.needs("1.7.2", because="it asks for /xapi, and 1.6 has none")]


@pytest.fixture(scope="module")
def home(source, destination, tmp_path_factory):
    """A home folder with a profile for each server."""
    folder = tmp_path_factory.mktemp("xnatctl")
    profiles = {
        name: {"url": server.url, "username": server.accounts["owner"][0], "password": server.accounts["owner"][1]}
        for name, server in (("source", source), ("destination", destination))
    }
    (folder / ".config" / "xnatctl").mkdir(parents=True)
    config = folder / ".config" / "xnatctl" / "config.yaml"
    config.touch(0o600)
    config.write_text(yaml.safe_dump({"default_profile": "source", "profiles": profiles}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def transferred(client, home, source, destination) -> str:
    """What `project transfer` said. The destination archives what has been idle, as code 4 asks, though not only after
    five minutes."""
    idle = f"{destination.url}/xapi/siteConfig/sessionXmlRebuilderInterval"
    done = requests.post(idle, data="0.025", headers=AS_TEXT, auth=destination.accounts["admin"], timeout=30)
    assert done.status_code == 200
    owner = Reader(destination)
    owner.put(f"/data/projects/{TARGET}")
    owner.put(f"/data/projects/{TARGET}/prearchive_code/4")
    settings = {"source_project": SOURCE, "dest_project": TARGET, "archive_poll_interval": 0.2}
    (home / "transfer.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    words = ["project", "transfer", "-p", "source", "-P", SOURCE, "--dest-profile", "destination", "--dest-project",
             TARGET, "--config", home / "transfer.yaml", "--yes", "-o", "json"]  # fmt: skip
    return run([client("xnatctl") / "xnatctl", *words], home)


def test_it_says_that_it_succeeded(transferred):
    assert json.loads(transferred)["success"] is True


def test_every_session_arrived(transferred, destination):
    found = Reader(destination)
    assert set(found.sessions(TARGET)) == SESSIONS
    assert found.rows(f"/data/prearchive/projects/{TARGET}") == []


def test_every_image_arrived(transferred, source, destination):
    """By UID and pixels: the importer and the destination's script write the headers anew."""
    there = Reader(destination).images(TARGET)
    assert there == Reader(source).images(SOURCE)
    assert len(there) > 200


def test_results_arrived_byte_by_byte(transferred, source, destination):
    there = results(Reader(destination).files(TARGET))
    assert there == results(Reader(source).files(SOURCE))
    assert there


def test_who_am_i_and_lists(client, home):
    commands = client("xnatctl")
    assert "olga" in run([commands / "xnatctl", "whoami", "-p", "source"], home)
    listed = json.loads(run([commands / "xnatctl", "project", "list", "-p", "source", "-o", "json"], home))
    assert SOURCE in str(listed)


def test_everything_it_asked_for_is_imitated(transferred, source, destination):
    assert (unknown(source), unknown(destination)) == ([], [])
