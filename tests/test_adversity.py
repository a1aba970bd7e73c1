"""Deletions against the odds: whatever happens to either side before the run, only what is whole there is deleted.

Each round copies three sessions and lets some of them meet a mishap. ``XNBTRANSFER_ROUNDS`` sets how many rounds are
tried, ``XNBTRANSFER_FIRST_ROUND`` the first of them, so that many can be tried in slices; the figures are printed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from places import SMALL, Place, make_place
from test_finish_move import carried, copied, damage, planned

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.steps import files_of

ROUNDS = int(os.environ.get("XNBTRANSFER_ROUNDS", "3"))
FIRST = int(os.environ.get("XNBTRANSFER_FIRST_ROUND", "0"))
SUBJECTS = {"A1": "A", "A2": "A", "B1": "B"}


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


def _ids(place: Place, session: str) -> tuple[str, str]:
    with place.connect() as connection:
        here = connection.sessions_with_label(place.project, session)[0]["session_id"]
        return here, connection.sessions_with_label(place.other, session)[0]["session_id"]


def _path(place: Place, project: str, session: str) -> str:
    return f"/data/projects/{project}/subjects/{SUBJECTS[session]}/experiments/{session}"


def _file(place: Place, session_id: str) -> Path:
    return random.choice(sorted((place.server.data / "archive").glob(f"*/**/{session_id}/**/*.dcm")))


def _more(place: Place, session: str) -> None:
    uri = place.receive(session, SUBJECTS[session], SMALL[list(SUBJECTS).index(session)], scan="2")
    with place.connect() as connection:
        connection.build(uri)
        connection.archive(uri, overwrite="append")


MISHAPS = {
    "a bit of the copy flips": lambda place, session: damage(_file(place, _ids(place, session)[1])),
    "a file of the copy is lost": lambda place, session: _file(place, _ids(place, session)[1]).unlink(),
    "a scan of the copy is deleted": lambda place, session: place.request(
        "DELETE", _path(place, place.other, session) + "/scans/1?removeFiles=true"
    ),
    "the copy is deleted": lambda place, session: place.request(
        "DELETE", _path(place, place.other, session) + "?removeFiles=true"
    ),
    "the copy is renamed": lambda place, session: place.request(
        "PUT", _path(place, place.other, session) + f"?label={session}_NEW"
    ),
    "the source gains a scan": _more,
    "the source gains a note": lambda place, session: place.request(
        "PUT", _path(place, place.project, session) + "/resources/NOTES/files/n.txt?inbody=true", data=b"note"
    ),
    "the source is renamed": lambda place, session: place.request(
        "PUT", _path(place, place.project, session) + f"?label={session}_OLD"
    ),
    "the source is shared": lambda place, session: place.request(
        "PUT", _path(place, place.project, session) + f"/projects/DEMO_SOURCE?label={place.project}_{session}"
    ),
    "a bit of the source flips": lambda place, session: damage(_file(place, _ids(place, session)[0])),
}
ODDS = [
    {"fault": "500-after", "method": "DELETE", "path": "/experiments/", "probability": 0.5},
    {"fault": "no-answer-after", "method": "DELETE", "path": "/experiments/", "probability": 0.5},
    {"fault": "503", "method": "GET", "path": "/scans/", "probability": 0.1, "retry_after_s": 0},
    {"fault": "reset-mid-body", "method": "GET", "path": "/scans/", "probability": 0.1},
    {"fault": "expire-sessions", "method": "GET", "path": "/experiments/", "probability": 0.05},
]


@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_only_what_is_whole_there_is_deleted(demo, tmp_path, seed):
    dice = random.Random(seed)
    random.seed(seed)
    place = make_place(demo)
    for session, like in zip(SUBJECTS, SMALL, strict=False):
        place.hold(session, SUBJECTS[session], like)
    record = copied(place, tmp_path)
    ids = {session: _ids(place, session) for session in SUBJECTS}
    with place.connect() as connection:
        whole = {session: files_of(connection, ids[session][1]) for session in SUBJECTS}
    made = planned(place, record)
    met = {session: dice.choice(sorted(MISHAPS)) for session in SUBJECTS if dice.random() < 0.6}

    def go_wrong() -> None:
        for session, mishap in met.items():
            MISHAPS[mishap](place, session)
        demo.faults([{**dice.choice(ODDS), "seed": seed}])

    result = carried(place, made, tmp_path / "run", between=go_wrong)
    demo.faults([])
    if result.exit_code == ExitCode.TRANSIENT:  # the answer is to run again
        result = carried(place, made, tmp_path / "run")
    with place.connect() as connection:
        left = {row["session_id"] for row in connection.sessions(place.project)}
        deleted = {session for session in SUBJECTS if ids[session][0] not in left}
        wrong = deleted & set(met)
        for session in deleted - wrong:
            assert files_of(connection, ids[session][1]) == whole[session]
    print(f"round {seed}: {len(met)} mishaps, {len(deleted)} deleted, {len(wrong)} wrongly")
    assert not wrong, {session: met[session] for session in wrong}
    states = {row.session: row.state for row in result.sessions.itertuples()}
    assert deleted == {session for session, state in states.items() if state in ("deleted", "not found")}
    assert (result.exit_code == 0) == (set(states.values()) == {"deleted"})
