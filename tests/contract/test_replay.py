"""Exchanges recorded from live servers, asked again of the embedded one: the same answer, or a listed difference.

``replay.py`` is the way to see them; a listed difference that is none any more fails, too.
"""

from __future__ import annotations

import json

import pytest
from replay import PERSONALITIES, WHY, listed, replay

pytestmark = pytest.mark.other_client
FILES = [(version, name) for version, (_, names) in PERSONALITIES.items() for name in names]


@pytest.mark.parametrize(("version", "name"), FILES)
def test_the_recorded_answers(version, name):
    """Status, emptiness, kind, keys, rows, values, content type and session cookie of each exchange."""
    known, wrong = listed(version, name), []
    for outcome in replay(version, name):
        line = known.get(outcome.case, {})
        here, there = list(outcome.differences), line.get("here", [])
        if line.get("why") == "time" and set(here) <= set(there):
            continue
        if here != there:
            request = outcome.exchange["request"]
            asked = f"{outcome.exchange['as']} {request['method']} {request['path']}"
            wrong.append({"case": outcome.case, "asked": asked[:200], "here": here, "listed": there})
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


@pytest.mark.parametrize(("version", "name"), FILES)
def test_each_difference_says_why(version, name):
    for case, line in listed(version, name).items():
        assert line["why"] in WHY, (case, line["why"])
        assert line["here"], case
        assert line.get("because") or line["why"] == "open", (case, "no reason is given")
