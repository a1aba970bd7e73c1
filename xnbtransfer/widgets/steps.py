"""The steps of a guided transfer: their order, their words, and where each is."""

from __future__ import annotations

import enum
from typing import NamedTuple


class StepState(enum.StrEnum):
    """Where a step is."""

    WAITING = "waiting"  # an earlier step is not confirmed
    READY = "ready"
    WORKING = "working"
    BLOCKED = "blocked"
    FAILED = "failed"
    DONE = "done"


class Step(NamedTuple):
    """One step: its name, its title, what the button says that confirms it, and what it is for."""

    name: str
    title: str
    act: str
    purpose: str


STEPS = (
    Step("connect", "Connect", "Go on", "Log in at the source and at the destination."),
    Step("choose", "Choose", "Confirm selection", "Choose both projects, and the sessions to copy."),
    Step("compare", "Compare", "Confirm comparison", "See what the destination has already, and decide each conflict."),
    Step("labels", "Labels", "Confirm labels", "Give sessions the labels they shall have at the destination."),
    Step("review", "Review", "Confirm review", "Say how to copy, and read what is worth knowing before the start."),
    Step("plan", "Plan", "Approve plan", "Read what will be done, session by session. Exactly this is carried out."),
    Step("run", "Run", "Go on to the verdict", "Start, and follow it here. It goes on when this page is closed."),
    Step(
        "verify",
        "Verify",
        "Confirm verdict",
        "Each file that arrived was compared with its source. This is what came of it.",
    ),
    Step(
        "finish",
        "Archive",
        "Go on to the record",
        "What waits in the prearchive of the destination can be archived from here.",
    ),
    Step("record", "Record", "Seal record", "Everything above, kept so that anybody can check it."),
    Step("move", "Move", "End, and log out", "Only for a move: delete at the source what the copy has proved."),
)
NAMES = tuple(step.name for step in STEPS)
BY_NAME = {step.name: step for step in STEPS}
GLYPHS = {
    StepState.DONE: "✓",
    StepState.WORKING: "…",
    StepState.BLOCKED: "!",
    StepState.FAILED: "✗",
}


def after(name: str) -> str:
    """The step after this one; the last stays."""
    return NAMES[min(NAMES.index(name) + 1, len(NAMES) - 1)]
