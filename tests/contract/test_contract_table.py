"""The page about conformance says what the tests say."""

from __future__ import annotations

from collections import Counter

from contract_table import NUMBERS, PAGE, items, written


def test_every_number_has_a_test():
    assert set(NUMBERS) - {item.number for item in items()} == set()
    assert {item.number for item in items()} - set(NUMBERS) == set()
    assert not [name for name, count in Counter(item.test for item in items()).items() if count > 1]


def test_every_test_says_what_it_shows_and_where_that_was_learned():
    assert [item.test for item in items() if not item.says.endswith(".") or not item.source] == []


def test_the_page_is_fresh():
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "run: python tests/contract/contract_table.py"
