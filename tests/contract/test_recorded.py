"""Requests that were sent to a live XNAT 1.6.4, sent again: the same status, keys and shape, or a listed difference.

`recorded/differences.json` lists each with what comes here and why; a difference that is none any more fails, too.
"""

from __future__ import annotations

import json

import pytest
from recorded_kit import RECORDED, World, ask, prepare

from xnbtransfer.server import running

CHAINS = {
    "auth": ("auth",),
    "projects": ("projects",),
    "imports": ("imports",),
    "rows": ("rows",),
    "logins": ("logins",),
    "data": ("files", "listings", "download", "import", "prearchive", "errors", "share-move", "rename", "delete"),
}
"""Files of requests that follow each other on one server."""
WHY = {
    "age": "1.6.4 is of 2014; XNAT's source and tests of 1.8 say otherwise",
    "digest": "lists of files had no digest yet, and no total",
    "gentler": "the live server failed or refused by accident; here it is done, or refused with a reason",
    "less": "this server does not imitate it",
    "world": "what was done between the requests, by hand or with files that are not kept, is not repeated",
}


def cases(name: str) -> list[dict]:
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


DIFFERENCES = {(one["file"], one["case"]): one for one in cases("differences")}


@pytest.mark.parametrize("chain", CHAINS)
def test_recorded_answers(chain):
    wrong = []
    with running() as server:
        world = World(server)
        if chain != "projects":
            world.projects()
        if chain == "data":
            world.fill()
        for name in CHAINS[chain]:
            for number, case in enumerate(cases(name)):
                if "before" in case:
                    prepare(world, case)
                    continue
                found, listed = ask(world, case), DIFFERENCES.get((name, number))
                there = [case["status"], case["shape"]]
                if found != (listed["here"] if listed else there):
                    asked = f"{case['as']} {case['method']} {case['path'][:150]}"
                    wrong.append({"file": name, "case": number, "asked": asked, "here": found, "there": there})
        world.close()
    assert not wrong, json.dumps(wrong, indent=1)


def test_every_difference_says_why():
    assert {one["why"] for one in DIFFERENCES.values()} <= set(WHY)
    for (name, number), one in DIFFERENCES.items():
        case = cases(name)[number]
        assert one["here"] != [case["status"], case["shape"]], (name, number)
