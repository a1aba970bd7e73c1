"""Files that people wrote for a transfer: each is opened once, before any server is asked, and by no one below."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from roads import DESTINATION, SOURCE, as_

from xnbtransfer import server as embedded
from xnbtransfer.errors import InputError
from xnbtransfer.inputs import Inputs, read_inputs
from xnbtransfer.keys import SessionKey
from xnbtransfer.method_options import MoveOptions, PrearchiveOptions, ShareOptions
from xnbtransfer.options import TransferOptions
from xnbtransfer.prearchive import plan_prearchive
from xnbtransfer.preparing import prepare
from xnbtransfer.relocate import plan_move
from xnbtransfer.share import plan_share

FILES = {
    "label_map": "subject,session,to_subject,to_session\n001,001_MR2,P1,P1_MR2\n",
    "decisions": "subject,session,decision,to_session\n001,001_MR1,skip,\n002,002_MR1,skip,\n",
    "policy": f"format: 1\nprojects: {{{DESTINATION}: {{rules: {{D12: note}}}}}}\n",
    "waivers": 'format: 1\nwaivers: [{rule: D05, scope: {session: "001_*"}, reason: ticket 17}]\n',
    "identifiers": "Mustermann\n",
}
WRONG = {name: "no such thing\n" for name in FILES} | {"identifiers": None}
COUNTED = """
import collections, json, sys
names, opened = json.loads(sys.argv[1]), collections.Counter()
sys.addaudithook(lambda event, args: event == "open" and args[0] in names and opened.update([args[0]]))
from xnbtransfer.inputs import read_inputs
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.xnat import connect_sides
options = TransferOptions.from_mapping(json.loads(sys.argv[2]))
with connect_sides() as (source, destination):
    made = prepare(source, destination, options)
print(json.dumps([opened, sorted({one.rule for one in made.findings})]))
"""


@pytest.fixture(scope="module")
def server():
    with embedded.running(demo=True) as found:
        yield found


def written(folder: Path, texts: dict[str, str | None] = FILES) -> dict[str, str]:
    """The parameters that name these files; a text of None is a file that is not there."""
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return {name: str(folder / name) for name in texts}


def options(**values) -> TransferOptions:
    return TransferOptions.from_mapping({"source_project": SOURCE, "destination_project": DESTINATION, **values})


def test_each_file_is_opened_once_on_the_way_to_a_plan(server, tmp_path):
    values = written(tmp_path)
    user, password = server.accounts["owner"]
    env = {**os.environ, "XNAT_HOST": server.url, "XNAT_USER": user, "XNAT_PASS": password}
    words = [json.dumps(list(values.values())), json.dumps(options(**values).model_dump(mode="json"))]
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *words], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    opened, rules = json.loads(done.stdout)
    assert opened == dict.fromkeys(values.values(), 1)
    assert "L04" in rules  # the list of identifiers was searched for


def test_what_was_read_is_enough(server, tmp_path):
    """The files are gone when the plan is made, and all that they said is in it."""
    values = written(tmp_path)
    chosen = options(**values)
    inputs = read_inputs(chosen)
    for name in values.values():
        Path(name).unlink()
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        made = prepare(source, destination, chosen, inputs=inputs)
    rows = {row.key: row for row in made.sessions}
    assert rows[SessionKey("001", "001_MR2")].to == SessionKey("P1", "P1_MR2")
    assert rows[SessionKey("001", "001_MR1")].decided == "by row"
    assert made.policy.rules == {"D12": "note"} and [one.rule for one in made.policy.waivers] == ["D05"]
    assert "L04" in {one.rule for one in made.findings}


@pytest.mark.parametrize("name", FILES)
def test_what_cannot_be_used_is_told_before_any_server_is_asked(server, tmp_path, name):
    chosen = options(**written(tmp_path, {name: WRONG[name]}))
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        before = source.requests + destination.requests
        with pytest.raises(InputError, match=name):
            prepare(source, destination, chosen)
        assert source.requests + destination.requests == before


@pytest.mark.parametrize("command", ["plan", "diff", "labels"])
def test_the_command_line_tells_it_before_it_asks_who_somebody_is(tmp_path, command):
    """There is no server at that address, and nobody is asked for a name."""
    values = written(tmp_path, {"label_map": "no such thing\n"})
    words = ["http://127.0.0.1:9/A", "http://127.0.0.1:9/B", "--label-map", values["label_map"]]
    asked = [sys.executable, "-m", "xnbtransfer", command, *words]
    done = subprocess.run(asked, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "label map" in done.stderr and "127.0.0.1" not in done.stderr, done.stderr


@pytest.mark.parametrize("rule", ["session={nothing}", "session~(~x"])
def test_so_is_a_rule_that_is_none(server, rule):
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        before = source.requests
        with pytest.raises(InputError):
            prepare(source, destination, options(label_rule=rule))
        assert source.requests == before


@pytest.mark.parametrize(
    ("decide", "kind"), [(plan_share, ShareOptions), (plan_move, MoveOptions), (plan_prearchive, PrearchiveOptions)]
)
def test_what_carries_no_file_reads_them_the_same_way(server, tmp_path, decide, kind):
    values = {"label_map": str(tmp_path / "none.csv"), "destination_project": DESTINATION}
    values |= {} if kind is PrearchiveOptions else {"source_project": SOURCE}
    with as_(server, "owner") as connection:
        before = connection.requests
        with pytest.raises(InputError, match="label map"):
            decide(connection, kind.from_mapping(values))
        assert connection.requests == before


def test_what_was_decided_wins_over_the_map_and_the_map_over_the_rule(tmp_path):
    texts = {
        "label_map": "subject,session,to_subject,to_session\n1,a,M,m\n1,b,M,m2\n",
        "decisions": "subject,session,decision,to_session\n1,b,rename,d\n",
    }
    inputs = read_inputs(options(**written(tmp_path, texts), label_rule="session=r_{session}"))
    assert isinstance(inputs, Inputs)
    rows = [("1", label, "", "") for label in "abc"]
    labels = inputs.labels_of(pd.DataFrame(rows, columns=["subject", "session", "modality", "date"]), "P")
    assert [labels(SessionKey("1", label)) for label in "abc"] == [("M", "m"), ("M", "d"), ("1", "r_c")]
