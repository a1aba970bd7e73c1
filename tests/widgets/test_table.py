"""The session table without a browser: what a browser would send is set as its state."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pandas as pd
import pytest
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st

import xnbtransfer.widgets
from xnbtransfer.widgets import SessionTable
from xnbtransfer.widgets.table import PALETTE


def sessions(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": [f"{row:05d}" for row in range(count)],
            "session": [f"{row:05d}_MR1" for row in range(count)],
            "to_session": [f"{row:05d}_MR1" for row in range(count)],
            "date": "2024-01-31",
            "status": ["same", "only source", "conflict", "differs"] * (count // 4) + ["same"] * (count % 4),
            "scans": range(count),
            "size_bytes": [row * 1000 for row in range(count)],
        }
    )


def unpacked(table: SessionTable) -> dict:
    return json.loads(gzip.decompress(table._data))


def browser(table: SessionTable, **state) -> None:
    """Set traits as the page does: binary ones arrive as a memoryview."""
    table.set_state({name: memoryview(one) if isinstance(one, bytes) else one for name, one in state.items()})


def key(row: int) -> tuple[str, str]:
    return f"{row:05d}", f"{row:05d}_MR1"


def test_it_carries_the_frame_with_its_zeros():
    table = SessionTable(sessions(3))
    assert unpacked(table)["columns"]["subject"] == ["00000", "00001", "00002"]
    kinds = {column["name"]: column["kind"] for column in table._columns}
    assert kinds["status"] == "status" and kinds["size_bytes"] == "size" and kinds["subject"] == "text"


def test_a_selection_in_the_browser_is_a_list_of_keys():
    table = SessionTable(sessions(20))
    heard = []
    table.on_select(heard.append)
    browser(table, _selected=bytes([0b00000101, 0b10000000, 0]))
    assert table.selected == heard[-1] == [key(0), key(2), key(15)]


@settings(deadline=None)
@given(st.sets(st.integers(0, 99)))
def test_what_is_selected_is_selected(rows):
    table = SessionTable(sessions(100))
    table.selected = [key(row) for row in rows]
    assert table.selected == [key(row) for row in sorted(rows)]


def test_edits_lie_beside_the_frame():
    table = SessionTable(sessions(4), editable=("to_session",))
    browser(table, _edits={"1": {"to_session": "A"}, "2": {"to_session": "00002_MR1"}, "3": {"subject": "X"}})
    assert table.edits == {key(1): {"to_session": "A"}}
    assert table.rows["to_session"].tolist()[1] == "A"
    assert table.frame["to_session"].tolist()[1] == "00001_MR1"


def test_live_changes_travel_alone_and_are_folded_when_they_are_many():
    table = SessionTable(sessions(1000))
    before = table._data
    table.patch({key(3): {"status": "archived"}})
    assert table._patch == {"3": {"status": "archived"}} and table._data is before
    table.patch({key(row): {"status": "archived"} for row in range(500)})
    assert table._patch == {} and unpacked(table)["columns"]["status"][:500] == ["archived"] * 500
    table.patch({key(3): {"status": "archived"}, ("no", "such"): {"status": "failed"}})
    assert table._patch == {}


def test_replacing_keeps_what_is_still_there():
    table = SessionTable(sessions(6), editable=("to_session",), selected=[key(1), key(5)])
    table.edits = {key(1): {"to_session": "A"}, key(5): {"to_session": "B"}}
    table.replace(sessions(6).iloc[[1, 2]])
    assert table.selected == [key(1)] and table.edits == {key(1): {"to_session": "A"}}
    same = SessionTable(sessions(6).iloc[[1, 2]], editable=("to_session",), selected=[key(1)])
    assert unpacked(table) == unpacked(same) and table._columns == same._columns


def test_notes_stand_at_cells():
    table = SessionTable(sessions(3), editable=("to_session",))
    table.note({key(2): {"to_session": "no"}, ("x", "y"): {"to_session": "nowhere"}})
    assert table._notes == {"2": {"to_session": "no"}}


def test_a_key_that_is_not_unique_is_refused():
    with pytest.raises(ValueError, match="have the key of another"):
        SessionTable(pd.concat([sessions(2), sessions(2)]))


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError):
        SessionTable(sessions(1), colour="red")


def test_twenty_thousand_rows_are_packed_quickly_and_small():
    frame = sessions(20_000)
    begun = time.process_time()
    table = SessionTable(frame)
    assert time.process_time() - begun < 1.0
    assert len(table._data) < 400_000


def test_every_status_has_a_word_a_symbol_and_a_tone():
    assert all(word and symbol and tone for word, symbol, tone in PALETTE)
    css = Path(xnbtransfer.widgets.__file__).with_name("table.css").read_text()
    assert {tone for _, _, tone in PALETTE} <= {
        tone for tone in ("good", "info", "bad", "warn", "quiet") if f".{tone} " in css
    }
    assert isinstance(PALETTE, list), "the order of a mapping is lost in a saved notebook"


def test_the_twin_is_a_plain_table():
    told = SessionTable(sessions(4), label="Sessions").static()
    assert "<table" in told.markup and "+ only source" in told.text and "<script" not in told.markup


@pytest.mark.parametrize("name", ["table", "stepper", "login"])
def test_the_scripts_ask_the_network_for_nothing(name):
    text = Path(xnbtransfer.widgets.__file__).with_name(f"{name}.js").read_text()
    for word in ("import ", "fetch(", "http:", "XMLHttp", "WebSocket", "innerHTML", "eval("):
        assert word not in text.replace("https://xnat.example.org", ""), word


def test_no_trait_of_the_login_can_hold_a_password():
    from xnbtransfer.widgets.forms import Login

    form, heard = Login(), []
    form.on_login(heard.append)
    form._handle_custom_msg({"kind": "login", "sides": {"source": {"password": "a secret word"}}}, [])
    assert heard[0]["source"]["password"] == "a secret word"
    assert "a secret word" not in repr(form.get_state())
    assert not [name for name in form.traits() if "password" in name]
    assert isinstance(form.traits()["_sides"], traitlets.Dict)
