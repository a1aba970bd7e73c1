"""Routing rules of a receiver: which element names project, subject and session, before the default rules.

One rule a line, ``(gggg,eeee):regex[:group][ t:target r:replacement]``: the group (1 if none is named) of the regular
expression, as it is found in the element, with ``target`` replaced (XNAT wiki, How XNAT Scans DICOM to Map to
Project/Subject/Session).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_RULE = re.compile(
    r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\):(?P<regex>.+?)(?::(?P<group>\d+))?(?:\s+t:(?P<old>.+?)\s+r:(?P<new>.*))?"
)
XNAT_STRING = {
    "project": r"(0008,1030):xnat://([\w-]+)(?:/.*)?$",
    "subject": r"(0008,1030):xnat://[\w-]+/([\w-]+)(?:/.*)?$",
    "session": r"(0008,1030):xnat://[\w-]+/[\w-]+/([\w-]+)/?$",
}
"""Rules for ``xnat://project/subject/session`` in StudyDescription, as sites with routing strings have them."""


class RuleError(ValueError):
    """A line that is no routing rule."""


@dataclass(frozen=True)
class Routing:
    """Rules by what they name: ``project``, ``subject``, ``session``."""

    project: str = ""
    subject: str = ""
    session: str = ""

    def find(self, what: str, read: Callable[[int], str]) -> str:
        """What the first rule that is met says; empty when none is."""
        for tag, pattern, group, old, new in _rules(getattr(self, what)):
            found = pattern.search(read(tag))
            if found and found[group]:
                return re.sub(old, new, found[group]) if old else found[group]
        return ""


@lru_cache(maxsize=64)
def _rules(text: str) -> list[tuple[int, re.Pattern[str], int, str, str]]:
    return [_rule(line.strip()) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _rule(line: str) -> tuple[int, re.Pattern[str], int, str, str]:
    """Read one rule.

    Raises
    ------
    RuleError
        With a sentence, if it is none.
    """
    found = _RULE.fullmatch(line)
    if not found:
        raise RuleError(f"{line!r} is no routing rule; one looks like (0008,1030):xnat://([^/]+):1")
    try:
        pattern = re.compile(found["regex"])
        re.compile(found["old"] or "")
    except re.error as problem:
        raise RuleError(f"{line!r} holds no regular expression: {problem}") from None
    group = int(found["group"] or min(1, pattern.groups))
    if group > pattern.groups:
        raise RuleError(f"{line!r} has no group {group}")
    return int(found[1] + found[2], 16), pattern, group, found["old"] or "", found["new"] or ""


def check(text: str) -> None:
    """Raise RuleError with a sentence if a line of ``text`` is no rule."""
    _rules(text)
