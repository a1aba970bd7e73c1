"""The kit of the recorded cases: what it writes it reads again as it was recorded."""

from __future__ import annotations

import pytest
from dicomedit_kit import differences, part10, recorded


@pytest.mark.parametrize("name", ["cases-6", "cases-4"])
def test_what_is_written_of_a_case_is_read_as_it_was_recorded(name):
    cases = [case for case in recorded(name) if "output" in case]
    assert len(cases) > 800
    for case in cases:
        assert differences(case, part10(case["output"])) == [], case["id"]


def test_the_kit_sees_what_was_changed():
    told = 0
    for case in recorded("cases-6"):
        if case["changed"] if "output" in case else False:
            told += bool(differences(case | {"random": []}, part10(case["input"])))
    changed = [case for case in recorded("cases-6") if case.get("changed")]
    assert told == len(changed) > 500


def test_batches_have_files_with_outcomes():
    for batch in recorded("batches"):
        for file in batch["files"]:
            assert file["outcome"] in ("done", "rejected", "refused", "evaluation failed")
            assert part10(file["input"])
