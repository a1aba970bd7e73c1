"""Any text as a script: read in bounded time, never with another exception than the one that says where it is wrong.

A server takes every text for a script, so the client meets every text. Recorded scripts are changed at random, or made
of signs alone; what is refused names line and column, and what runs ends in one of the words that are documented.
"""

from __future__ import annotations

import functools
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "contract"))

from adversity_kit import chance, told, tries
from dicomedit_kit import part10, recorded

from xnbtransfer.dicomedit.script import read_script
from xnbtransfer.server.dicomedit.run import run

WORDS = {"project": "P", "subject": "S", "session": "E"}
ENGINES = ("6.3", "6.4", "6.5", "6.6", "6.7", "4")
SIGNS = '()[]{}",:=?-/\\~!.*+%@#xX0123456789ABCDEFabcdef \t\n\r\x00\x1b\ufeff\u2028é山😀\ud800'
ENDS = {"done", "rejected", "refused", "evaluation failed", "not foretold"}


@functools.cache
def texts() -> list[str]:
    return [case["script"] for name in ("cases-6", "cases-4") for case in recorded(name)]


@functools.cache
def data() -> bytes:
    return part10(next(case["input"] for case in recorded("cases-6") if not case["input"].get("no_file_meta")))


def changed(rng: random.Random) -> str:
    text = rng.choice(texts()) if rng.random() < 0.9 else ""
    for _ in range(rng.choice((1, 1, 2, 3, 8, 40))):
        at = rng.randint(0, len(text))
        how = rng.random()
        if how < 0.5:
            text = text[:at] + "".join(rng.choices(SIGNS, k=rng.randint(1, 4))) + text[at:]
        elif how < 0.8:
            text = text[:at] + text[at + rng.randint(1, 5) :]
        else:
            other = rng.choice(texts())
            text = text[:at] + other[rng.randint(0, len(other)) :] + text[at:]
    return text


def test_any_text_is_read_and_what_is_refused_has_its_place():
    rng, missed, count = chance(), [], tries(300)
    for _ in range(count):
        text, engine = changed(rng), rng.choice(ENGINES)
        began = time.process_time()
        try:
            script = read_script(text, engine=engine)
            outcome = script.run(WORDS).over_file(data())
            wrong = outcome.word not in ENDS or (script.problem is not None and script.problem.place is None)
            if engine in ("6.3", "6.4", "6.5", "6.6"):
                run(text, [data()], WORDS, release=engine)
        except Exception as error:  # whatever escapes is what is looked for
            missed.append((type(error).__name__, str(error)[:80], engine, text))
            continue
        if wrong or time.process_time() - began > 20:
            missed.append((outcome.word, outcome.reason, engine, text))
    told("any text as a script", count, missed)


HUGE = {
    "one line": 'version "6.6"\n(0010,0010) := "' + "a" * (1 << 20) + '"\n',
    "too long": "(" * (1 << 21),
    "many lines": 'version "6.6"\n' + '(0010,0010) := "a"\n' * 4_000,
    "many lines of 4": '(0010,0010) := "a"\n' * 4_000,
    "nested blocks": 'version "6.6"\n' + "if (true[]) {" * 3_000,
    "nested lists": 'version "6.6"\n(0010,0010) := ' + "{" * 3_000,
    "brackets of 4": "(0010,0010) := " + "format[" * 3_000,
    "conditions of 4": '"a" = "a" : ' * 3_000 + "-(0010,0010)\n",
    "escapes": 'version "6.6"\n(0010,0010) := "' + "\\\\" * 200_000 + '"\n',
    "slashes": 'version "6.6"\n-' + "(0008,1140)/" * 4_000 + "(0008,1155)\n",
    "quotes": 'version "6.6"\n' + '"' * 40_000,
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_a_huge_script_is_read_in_bounded_time(text):
    began = time.process_time()
    read_script(text).run(WORDS).over_file(data())
    assert time.process_time() - began < 20
