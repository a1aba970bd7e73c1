"""Misbehaviour on request: all rules in force, and the gate where they meet requests.

Rules are read from a file at start and replaced while the server runs by ``POST /_faults``, from this machine only.
What a rule is: `rules`; what faults do: `faulty_wire`, `faulty_files`.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from .faulty_files import STORE_FAULTS
from .faulty_wire import FAULTS, App, Receive, Send, is_due
from .rules import Disconnect, Moment, Rule, during

__all__ = ["FAULTS", "STORE_FAULTS", "Disconnect", "FaultMiddleware", "Faults", "Rule", "read_rules"]

_OF_ALL = ("fault", "method", "path", "item", "times", "left", "after", "probability", "seed", "retry_after_s")
"""What every rule may say; ``left`` is what `GET /_faults` tells of ``times``."""
WANTS: dict[str, tuple[str, ...]] = {
    "latency": ("delay_s",),
    "bandwidth": ("bytes_per_s",),
    "reset-mid-body": ("bytes",),
    "cut-upload": ("bytes",),
    "truncated-zip": ("bytes",),
    "rows-left-out": ("row", "share"),
    "digests-empty": ("row",),
    "digests-stale": ("row",),
    "clock-jump": ("jump_s",),
    "deep-json": ("bytes",),
    "cut-on-store": ("bytes",),
    "renamed-in-zip": ("prefix",),
    "slow-archive": ("delay_s",),
    "other-header": ("at_once", "share"),
    "slow-build": ("delay_s",),
    "500-while-made": ("requests",),
}
"""What a fault wants beside that."""


class Faults:
    """All rules in force."""

    def __init__(self, rules: list[dict[str, Any]] | None = None) -> None:
        self.rules: list[Rule] = []
        self.replace(rules or [])

    def replace(self, rules: list[dict[str, Any]]) -> None:
        """Put other rules in force; raises ValueError with a sentence, and keeps the old ones, if one is none."""
        if not isinstance(rules, list):
            raise ValueError("rules are a list of objects")
        made = [Rule(rule) for rule in rules]
        for rule in made:
            _known(rule.values)
        self.rules = made

    def meeting(self, method: str, path: str, query: str) -> list[Rule]:
        """The rules of the wire that strike this request."""
        return [
            rule
            for rule in self.rules
            if rule.fault in FAULTS
            and is_due(rule, method, path, rule.fits(method, path, f"{path}?{query}"))
            and rule.falls()
        ]

    def moment(self, method: str = "", path: str = "", query: str = "") -> Moment:
        """What `rules.strike` asks while this request, or a turn of a background job, goes on."""
        return Moment([rule for rule in self.rules if rule.fault in STORE_FAULTS], method, path, query)


def _known(rule: Mapping[str, Any]) -> None:
    """Refuse a fault that there is not, and what a rule says that its fault takes no notice of."""
    fault = rule["fault"]
    if fault not in FAULTS and fault not in STORE_FAULTS:
        every = sorted([*FAULTS, *STORE_FAULTS])
        raise ValueError(f"there is no fault {fault!r}{_near(fault, every)}; known are {', '.join(every)}")
    takes = [*_OF_ALL, *WANTS.get(fault, ())]
    for name in rule.keys() - set(takes):
        raise ValueError(f"a rule of {fault} has no {name!r}{_near(name, takes)}; it may have {', '.join(takes)}")


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(word), list(known), 1, 0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


class FaultMiddleware:
    """Lets the rules that meet a request have their way with it, the first outermost."""

    control: ClassVar[str] = "/_faults"

    def __init__(self, app: App, faults: Faults, log: Any) -> None:
        self.app, self.faults, self.log = app, faults, log

    async def __call__(self, scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self.control:
            await self.app(scope, receive, send)
            return
        address = scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        rules, moment = self.faults.meeting(*address), self.faults.moment(*address)
        reached = _Reached(self.app)
        app: App = reached
        for rule in reversed(rules):
            app = _wrap(rule, app)
        moment.struck += [rule.fault for rule in rules]
        scope.setdefault("state", {})["faults"] = moment.struck
        started, status, cut = time.time(), 0, False

        async def noting(message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            with during(moment):
                await app(scope, receive, noting if rules else send)
        except Disconnect:
            cut = True
            raise
        finally:
            if not reached.was:  # what is answered here never meets the gate that writes the log
                self.log.write(
                    scope, path=address[1], time=round(started, 3), user=None, status=status, unread=[],
                    bytes_in=0, bytes_out=0, fault=moment.struck, cut=cut, imitated=True,
                    ms=round((time.time() - started) * 1000, 1),
                )  # fmt: skip


class _Reached:
    """The application behind the faults, and whether a request came to it."""

    def __init__(self, app: App) -> None:
        self.app, self.was = app, False

    async def __call__(self, scope, receive: Receive, send: Send) -> None:
        self.was = True
        await self.app(scope, receive, send)


def _wrap(rule: Rule, app: App) -> App:
    async def wrapped(scope, receive: Receive, send: Send) -> None:
        await FAULTS[rule.fault](rule, app, scope, receive, send)

    return wrapped


def read_rules(path: str) -> list[dict[str, Any]]:
    """Rules from a JSON file; raises ValueError with a sentence if it holds none."""
    with open(path, encoding="utf-8") as stream:
        found = json.load(stream)
    if not isinstance(found, list):
        raise ValueError(f"{path} holds no list of fault rules")
    Faults(found)
    return found
