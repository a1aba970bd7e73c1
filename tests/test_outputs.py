"""Where the command line writes: a device, a pipe or a link is written to, or refused, and never replaced.

The options are those of the parser itself, so that none can be forgotten.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from archive_kit import Kit
from people import Person
from places import Place, copied
from shell import Shell

from xnbtransfer import server as embedded
from xnbtransfer.cli import cli

# Texts that name no place, or one that is read.
READ = {
    "project", "source_server", "source_project", "subjects", "sessions", "selection", "modalities", "date_from",
    "date_to", "scan_types", "qualities", "login_provider", "server", "source_", "destination_", "destination_server",
    "destination_project", "label_map", "label_rule", "subject_pattern", "session_pattern", "on_conflict", "decisions",
    "rename_to", "receiver", "receiver_ca", "calling_title", "resources", "fields", "proof", "policy", "waivers",
    "identifiers", "run_window", "reason", "plan_file", "confirm", "record", "record_", "config", "file", "root",
    "records", "since", "until", "what", "host", "faults", "receiver_tls", "statuses", "to_project", "timezone",
    "abandon",
}  # fmt: skip
# What writes one file: a command line that does it, P and Q two projects, R a record of a copy, X the file.
FILES = {
    ("labels", "output"): "labels P Q -o X",
    ("plan", "output"): "plan P Q -o X",
    ("plan", "conflicts_to"): "plan P Q -o plan.json --conflicts-to X",
    ("share", "output"): "share P Q -o X",
    ("move", "output"): "move P Q -o X",
    ("prearchive", "output"): "prearchive P --action delete -o X",
    ("finish-move", "output"): "finish-move R --cooling-off-days 0 -o X",
}
# What makes a folder, or writes into one that is there; None where a command only finds a run that is there.
FOLDERS = {
    ("inventory", "output"): "inventory P -o X",
    ("run", "folder"): "run run.json --folder X",
    ("pause", "folder"): None,
    ("resume", "folder"): None,
    ("cancel", "folder"): None,
    ("shareable", "output"): "shareable R -o X",
    ("demo", "output"): "demo --output X",
    ("serve", "data"): "serve --data X",
    ("review", "record_root"): "review P Q --record-root X",
    ("transfer", "record_root"): "transfer P Q --record-root X",
    ("campaign", "record_root"): "campaign campaign.csv --record-root X",
    ("audit", "record_root"): "audit . --record-root X",
    ("share", "record_root"): "share P Q --notebook --record-root X",
    ("move", "record_root"): "move P Q --notebook --record-root X",
    ("prearchive", "record_root"): "prearchive P --action delete --notebook --record-root X",
    ("finish-move", "record_root"): "finish-move R --notebook --record-root X",
    ("finish-move", "backup"): "finish-move R --cooling-off-days 0 --backup X -o finish.json",
}


def commands(group: click.Group = cli):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield name, command


def test_of_each_text_that_a_command_takes_it_is_known_whether_it_is_written_to():
    texts = {
        (name, one.name)
        for name, command in commands()
        for one in command.params
        if isinstance(one.type, click.Path | click.types.StringParamType)
    }
    written = {one for one in texts if one[1] not in READ}
    assert written == FILES.keys() | FOLDERS.keys()
    assert {name for _, name in texts} - {name for _, name in written} == READ


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A copy of one session, and its record."""
    with embedded.running() as server:
        kit = Kit(lambda role: Person(server, role))
        kit.put(kit.source, "S1", "E1", kit.uid("E1"))
        yield server, kit, copied(Place(server, kit.source, kit.destination), tmp_path_factory.mktemp("copy"))


@pytest.fixture
def typed(world, tmp_path, capsys, monkeypatch):
    """Type a command line of the tables, with ``place`` in the place of X; the exit code and what was said."""
    server, kit, record = world
    shell = Shell(server, tmp_path, capsys, monkeypatch)

    def type_(words: str, place, **more: str) -> tuple[int, str]:
        names = {"P": kit.source, "Q": kit.third, "R": record, "X": place, **more}
        return shell(*(names.get(word, word) for word in words.split()))

    return type_


@pytest.fixture
def device(tmp_path):
    """A device of nobody where one can be made, else the machine's own, which who may make none cannot replace."""
    made = tmp_path / "device"
    try:
        os.mknod(made, 0o666 | stat.S_IFCHR, os.stat(os.devnull).st_rdev)
        made.open("w").close()
    except OSError:
        return Path(os.devnull)
    return made


def kind(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


@pytest.mark.parametrize("words", FILES.values(), ids=["-".join(one) for one in FILES])
def test_a_file_is_written_to_what_stands_there(typed, tmp_path, device, words):
    plain = tmp_path / "plain"
    code, said = typed(words, plain)
    expected = plain.read_text()
    assert code in (0, 3, 5) and expected, said

    assert typed(words, device)[0] == code
    assert kind(device) == stat.S_IFCHR

    there, dangling, over = tmp_path / "there", tmp_path / "dangling", tmp_path / "over"
    there.write_text("old")
    for link, to in ((over, "link"), (tmp_path / "link", "there"), (dangling, "not-yet")):
        link.symlink_to(to)
    for link, to in ((over, there), (dangling, tmp_path / "not-yet")):
        assert typed(words, link)[0] == code
        assert kind(link) == stat.S_IFLNK and len(to.read_text()) == len(expected)
    assert kind(tmp_path / "link") == stat.S_IFLNK

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    for pipe in ("pipe", "to-pipe"):
        came: list[str] = []
        reader = threading.Thread(target=lambda came=came: came.append((tmp_path / "pipe").read_text()), daemon=True)
        reader.start()
        assert typed(words, tmp_path / pipe)[0] == code
        reader.join(20)
        assert len(came[0]) == len(expected)
    assert kind(tmp_path / "pipe") == stat.S_IFIFO and kind(tmp_path / "to-pipe") == stat.S_IFLNK


@pytest.mark.parametrize("words", FILES.values(), ids=["-".join(one) for one in FILES])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_file_goes_to_the_standard_output_that_a_shell_appends_to(world, tmp_path, words, name):
    """The file behind it is neither replaced nor emptied: ``-o /dev/stdout >> log``."""
    if not os.path.exists(name):
        pytest.skip(f"this machine has no {name}")
    server, kit, record = world
    log = tmp_path / "log"
    log.write_text("kept\n")
    before = log.stat().st_ino
    user, password = server.accounts["owner"]
    env = {**os.environ, "XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
    names = {"P": kit.source, "Q": kit.third, "R": str(record), "X": name}
    with log.open("a") as out:
        done = subprocess.run(
            [sys.executable, "-m", "xnbtransfer.cli", *(names.get(word, word) for word in words.split())],
            stdout=out, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path, timeout=120,
        )  # fmt: skip
    assert done.returncode in (0, 3, 5), done.stderr
    text = log.read_text()
    assert log.stat().st_ino == before and text.startswith("kept\n")
    assert text[5:6] in "{s" and len(text.splitlines()) > 3


@pytest.mark.parametrize(
    "words", filter(None, FOLDERS.values()), ids=["-".join(one) for one, it in FOLDERS.items() if it]
)
def test_what_is_no_folder_is_refused_as_one(typed, tmp_path, device, words):
    (tmp_path / "campaign.csv").write_text("source_project,destination_project\nA,B\n")
    if "run.json" in words:
        assert typed("plan P Q -o run.json", "")[0] == 0
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plain").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "to-plain").symlink_to("plain")
    places = [device, *(tmp_path / name for name in ("pipe", "plain", "dangling", "to-plain"))]
    kinds = [kind(one) for one in places]
    for place in places:
        code, said = typed(words, place)
        if "finish-move R --cooling" in words:  # the folder is made when the plan is carried out
            assert code in (0, 5), said
            confirm = json.loads((tmp_path / "finish.json").read_text())["confirm"]
            folder = tmp_path / f"{place.name}.run"
            code, said = typed("run finish.json --confirm C --folder F", "", C=confirm, F=folder)
            assert code == 3 and "cannot be written" in said, said
            continue
        assert code in (2, 5) and place.name in said, (place.name, code, said)
    assert kinds == [kind(one) for one in places]
    assert (tmp_path / "plain").read_text() == "mine" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("words", ["inventory P -o X", "run run.json --folder X", "review P Q --record-root X"])
def test_a_link_to_a_folder_stays_and_the_folder_is_written(typed, tmp_path, words):
    if "run.json" in words:
        assert typed("plan P Q -o run.json", "")[0] == 0
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to("folder")
    code, said = typed(words, link)
    assert code in (0, 3, 5, 7), said
    assert kind(link) == stat.S_IFLNK and list(folder.iterdir())


def test_tables_in_a_folder_that_are_links_and_pipes_stay(typed, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sessions.csv").symlink_to("../kept.csv")
    os.mkfifo(folder / "files.csv")
    reader = threading.Thread(target=(folder / "files.csv").read_bytes, daemon=True)
    reader.start()
    assert typed("inventory P -o X", folder)[0] == 0
    reader.join(20)
    assert not reader.is_alive()
    assert kind(folder / "sessions.csv") == stat.S_IFLNK and "E1" in (tmp_path / "kept.csv").read_text()
    assert kind(folder / "files.csv") == stat.S_IFIFO
