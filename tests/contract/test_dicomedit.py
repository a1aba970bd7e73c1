"""The client's evaluator against the recorded engines: outcome, and every element to the byte, group 0002 too."""

from __future__ import annotations

import pytest
from dicomedit_kit import (
    OLDER,
    UNREADABLE,
    differences,
    differences_of_older,
    for_release,
    of_older,
    part10,
    recorded,
    subject,
)

from xnbtransfer.dicomedit.dataset import Dataset
from xnbtransfer.dicomedit.script import Outcome, read_script

CASES = [(name, case) for name in ("cases-6", "cases-4") for case in recorded(name)]
SUBJECTS = sorted({(name, subject(case)) for name, case in CASES})


def number(case: dict) -> str | None:
    return str(case["recorded_as"]) if "recorded_as" in case else None


def carried_out(case: dict, engine: str = "6.6") -> Outcome:
    """What the evaluator makes of a case, its second script included."""
    run = read_script(for_release(case["script"], engine), engine=engine).run(
        case["variables"], recorded_as=number(case), ignore_rejection=case.get("rejection_ignored", False)
    )
    outcome = run.over_file(part10(case["input"]))
    if "then" in case and outcome.word == "done":
        then = read_script(for_release(case["then"]["script"], engine), engine=engine)
        run = then.run(case["variables"], recorded_as=number(case["then"]))
        outcome = run.over_file(outcome.file())
    return outcome


def told(case: dict) -> str:
    """How the evaluator differs from the engine, "" where it does not."""
    outcome = carried_out(case)
    if outcome.word != case["outcome"]:
        return f"{case['id']}: {case['outcome']} expected, {outcome.word} ({outcome.reason}) found"
    lines = differences(case, outcome.file()) if outcome.word == "done" else []
    return f"{case['id']}: {'; '.join(lines)}" if lines else ""


@pytest.mark.parametrize(("name", "about"), SUBJECTS, ids=lambda part: part)
def test_the_evaluator_does_what_the_engine_did(name, about):
    wrong = [line for where, case in CASES if where == name and subject(case) == about and (line := told(case))]
    assert not wrong, "\n".join(wrong)


def told_of_older(case: dict, engine: str) -> str:
    """How the evaluator differs from an older engine, "" where it does not."""
    expected, outcome = of_older(case, engine)["outcome"], carried_out(case, engine)
    if outcome.word == "not foretold" and (engine, case["id"]) in UNREADABLE:
        return ""
    if outcome.word != expected:
        return f"{case['id']}: {expected} expected, {outcome.word} ({outcome.reason}) found"
    lines = differences_of_older(case, engine, outcome.file()) if outcome.word == "done" else []
    return f"{case['id']}: {'; '.join(lines)}" if lines else ""


@pytest.mark.parametrize("engine", OLDER)
def test_the_evaluator_does_what_older_engines_did(engine):
    cases = [case for _, case in CASES if "differs_in" in case]
    cases += [case for _, case in CASES if "differs_in" not in case and subject(case) != "version"]
    wrong = [line for case in cases if (line := told_of_older(case, engine))]
    assert not wrong, "\n".join(wrong)


def drawn(dataset: Dataset, prefix: str = "") -> set[str]:
    """The paths of what the evaluator says is drawn at random."""
    found = set()
    for element in dataset:
        path = f"{prefix}{element.tag:08X}"
        found |= {path} if element.random and element.tag >> 16 != 2 else set()
        for at, item in enumerate(element.items or ()):
            found |= drawn(item, f"{path}[{at}].")
    return found


def test_what_is_drawn_at_random_is_said_by_element_and_nothing_else_is():
    for _, case in CASES:
        outcome = carried_out(case)
        if outcome.word == "done":
            assert drawn(outcome.dataset) == set(case.get("random", ())), case["id"]


@pytest.mark.parametrize("batch", recorded("batches"), ids=lambda batch: batch["what"])
def test_a_run_over_many_files_keeps_what_the_engine_keeps(batch):
    run = read_script(batch["script"]).run(batch["variables"], recorded_as=number(batch))
    for file in batch["files"]:
        outcome = run.over_file(part10(file["input"]))
        assert outcome.word == file["outcome"]
        if outcome.word == "done":
            assert differences(file | {"random": drawn(outcome.dataset)}, outcome.file()) == []


def test_where_the_files_before_one_are_not_known_their_variables_are_not_foretold():
    batch = next(batch for batch in recorded("batches") if batch["what"].startswith("a variable that only"))
    run = read_script(batch["script"]).run(batch["variables"], alone=False)
    words = [run.over_file(part10(file["input"])).word for file in batch["files"]]
    assert words == ["done", "not foretold"]
