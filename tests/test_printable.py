"""No answer of a server is a command to a terminal, and nothing that nobody sees makes one name look like another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some
from people import Person

from xnbtransfer import errors
from xnbtransfer.cli import invoke
from xnbtransfer.html import pairs, table
from xnbtransfer.printable import printable, printable_json
from xnbtransfer.server import running

UNSEEN = ["\x1b]0;owned\x07", "\x9b2J", "\r", "\x08", "\u202e", "\u2066", "\x00", "\x7f"]


@pytest.mark.parametrize("sign", UNSEEN, ids=ascii)
def test_errors_and_tables_show_what_nobody_sees(sign):
    said = str(errors.ServerError(f"the server said {sign}", f"look at {sign}"))
    shown = table([{"session": f"S{sign}1"}], f"Sessions {sign}", ["session"]) + pairs({"a": sign}, "b")
    for text in (said, repr(shown), shown.markup):
        assert not set(sign) & set(text) - set("]0;owned2J"), ascii(text)


@given(some.text())
def test_nothing_unseen_is_left_and_the_rest_stays(text):
    shown = printable(text)
    assert all(one in "\n\t" or one.isprintable() or ord(one) > 0x9F for one in shown)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@given(some.recursive(some.text() | some.integers(), lambda one: some.lists(one) | some.dictionaries(some.text(), one)))
def test_json_means_the_same(value):
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value and not set(text) & {"\x1b", "\x9b", "\x7f", "\u202e"}


def test_a_name_on_the_server_does_not_reach_the_terminal_raw(capfd, monkeypatch):
    with running() as server:
        admin = server.accounts["admin"]
        monkeypatch.setenv("XNAT_USER", admin[0])
        monkeypatch.setenv("XNAT_PASS", admin[1])
        monkeypatch.setenv("XNAT_HOST", server.url)
        who = Person(server, "admin")
        stem = "xnat:mrSessionData"
        for path in ("projects/P", "projects/P/subjects/S", f"projects/P/subjects/S/experiments/E?xsiType={stem}"):
            who.put(f"/data/{path}").raise_for_status()
        who.put(
            "/data/projects/P/subjects/S/experiments/E/scans/1",
            params={"xsiType": "xnat:mrScanData", "series_description": "T1\x9b2J\x1b[31m", "type": "T1\x1b[31m"},
        ).raise_for_status()
        for more in ([], ["--json"]):
            code = invoke(["inventory", "P", *more])
            out, err = capfd.readouterr()
            assert code == 0 and "E" in out
            assert not set(out + err) & {"\x1b", "\x9b"}
