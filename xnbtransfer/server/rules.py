"""Rules of misbehaviour: which fault meets which request and which thing, how often, and with what chance.

A rule is ``{"fault": NAME, "method": "POST", "path": REGEX, "item": TEXT, "times": N or null, "probability": 0..1,
"seed": S, ...}``; what is not given matches everything, always. Faults of the wire meet a request; those inside
(`strike`) meet one thing of it: a file, a session.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, copy_context
from typing import Any

_NUMBERS = ("after", "at_once", "bytes", "bytes_per_s", "delay_s", "jump_s", "probability", "share", "requests")


class Disconnect(Exception):
    """Ends a request by closing its socket without a word more."""


class Rule:
    """One rule with its own count and its own dice.

    Raises
    ------
    ValueError
        With a sentence, if it cannot be a rule.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping) or not isinstance(values.get("fault"), str):
            raise ValueError(f"a rule is an object with the name of a fault, not {str(values)[:80]!r}")
        for name in _NUMBERS:
            found = values.get(name, 0)
            if isinstance(found, bool) or not isinstance(found, int | float) or (found < 0 and name != "jump_s"):
                raise ValueError(f"{name} of a rule is a number, not {found!r}")
        for name in ("probability", "share"):
            if values.get(name, 0) > 1:
                raise ValueError(f"{name} of a rule is between 0 and 1, not {values[name]!r}")
        self.values = {name: value for name, value in values.items() if name != "left"}
        self.fault = values["fault"]
        self.method, self.item = values.get("method"), values.get("item")
        self.left = values.get("left", values.get("times"))
        if self.left is not None and (isinstance(self.left, bool) or not isinstance(self.left, int)):
            raise ValueError(f"times of a rule is a whole number or null, not {self.left!r}")
        for name in ("method", "item", "path", "row", "prefix"):
            if not isinstance(values.get(name, ""), str | None):
                raise ValueError(f"{name} of a rule is a text, not {values[name]!r}")
        try:
            self.path = re.compile(values.get("path") or "")
        except re.error as problem:
            raise ValueError(f"path of a rule is a regular expression: {problem}") from None
        self.skip = int(values.get("after", 0))
        self.probability = float(values.get("probability", 1.0))
        self.dice = random.Random(str(values.get("seed", 0)))
        self.lock = threading.Lock()
        self.due = 0  # requests that it still meets, where something else has to come first

    def number(self, name: str, default: float) -> float:
        """What the rule says for one of its numbers."""
        return float(self.values.get(name, default))

    def fits(self, method: str, path: str, item: str) -> bool:
        """Whether this request, and this thing where one is meant, is one that the rule is about."""
        if self.method and self.method != method:
            return False
        return bool(self.path.search(path)) and (not self.item or self.item in item)

    def falls(self) -> bool:
        """Throw the dice; uses up one of its times if it strikes."""
        with self.lock:
            if self.left is not None and self.left <= 0:
                return False
            if self.dice.random() >= self.probability:
                return False
            if self.skip > 0:
                self.skip -= 1
                return False
            if self.left is not None:
                self.left -= 1
            return True


class Moment:
    """One request, or one turn of a background job, with the rules that were in force when it began."""

    def __init__(self, rules: Sequence[Rule], method: str = "", path: str = "", query: str = "") -> None:
        self.method, self.path, self.address = method, path, f"{path}?{query}"
        self.rules = [rule for rule in rules if rule.fits(method, path, rule.item or "")]
        self.names = {rule.fault for rule in self.rules}
        self.struck: list[str] = []


_moment: ContextVar[Moment | None] = ContextVar("moment", default=None)


@contextlib.contextmanager
def during(moment: Moment) -> Iterator[None]:
    """Let `strike` know what is going on, also in threads that are started with this context."""
    token = _moment.set(moment)
    try:
        yield
    finally:
        _moment.reset(token)


def in_background(name: str, work: Callable[..., None], *given: object) -> None:
    """Start ``work`` in a thread that knows what request it belongs to."""
    threading.Thread(target=copy_context().run, args=(work, *given), name=name, daemon=True).start()


def strike(fault: str, thing: str = "", counts: Callable[[Rule], bool] | None = None) -> Rule | None:
    """The rule by which ``fault`` meets ``thing`` now, or None; ``item`` of a rule is a piece of either's name.

    Of a rule that does not count now the dice are not thrown.
    """
    moment = _moment.get()
    if moment is None or fault not in moment.names:
        return None
    for rule in moment.rules:
        if rule.fault != fault or not rule.fits(moment.method, moment.path, f"{thing} {moment.address}"):
            continue
        if counts is not None and not counts(rule):
            continue
        if rule.falls():
            if fault not in moment.struck:
                moment.struck.append(fault)
            return rule
    return None
