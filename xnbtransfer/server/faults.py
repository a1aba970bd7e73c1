"""Misbehaviour on request: rules that say which fault meets which request, how often, and with what chance.

A rule is ``{"fault": NAME, "method": "POST", "path": REGEX, "times": N or null, "probability": 0..1, "seed": S, ...}``;
what is not given matches everything, always. Rules are read from a file at start and replaced while the server runs by
``POST /_faults``, from this machine only.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class Disconnect(Exception):
    """Ends a request by closing its socket without a word more."""


class Rule:
    """One rule with its own count and its own dice."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.fault = str(values["fault"])
        if self.fault not in FAULTS and self.fault not in STORE_FAULTS:
            known = ", ".join(sorted([*FAULTS, *STORE_FAULTS]))
            raise ValueError(f"there is no fault {self.fault!r}; known are {known}")
        self.method = values.get("method")
        self.path = re.compile(values.get("path", ""))
        self.item = values.get("item")
        self.left = values.get("times")
        self.skip = int(values.get("after", 0))
        self.probability = float(values.get("probability", 1.0))
        self.dice = random.Random(values.get("seed", 0))
        self.lock = threading.Lock()

    def meets(self, method: str, path: str, query: str) -> bool:
        """Whether the rule strikes this request; uses up one of its times if so."""
        if self.method and self.method != method:
            return False
        if not self.path.search(path) or (self.item and self.item not in path + "?" + query):
            return False
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


class Faults:
    """All rules in force."""

    def __init__(self, rules: list[dict[str, Any]] | None = None) -> None:
        self.rules: list[Rule] = []
        self.replace(rules or [])

    def replace(self, rules: list[dict[str, Any]]) -> None:
        self.rules = [Rule(rule) for rule in rules]

    def meeting(self, method: str, path: str, query: str) -> list[Rule]:
        found = [rule for rule in self.rules if rule.fault in FAULTS]
        return [rule for rule in found if rule.meets(method, path, query)]

    def flip(self, data: bytes, where: str = "") -> bytes:
        """What is stored in place of ``data``: with one bit flipped near its end if a ``bit-flip-on-store`` rule
        whose ``item`` is part of ``where`` (or that has none) strikes, else ``data`` itself."""
        for rule in self.rules:
            if rule.fault != "bit-flip-on-store" or (rule.item and rule.item not in where):
                continue
            if len(data) > 64 and rule.meets(rule.method or "", rule.values.get("path", ""), rule.item or ""):
                changed = bytearray(data)
                changed[-min(len(data) // 4, 64)] ^= 0x10
                return bytes(changed)
        return data


async def _latency(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(rule.values.get("delay_s", 0.05)))
    await app(scope, receive, send)


async def _bandwidth(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    rate = float(rule.values.get("bytes_per_s", 1e6))

    async def slow_receive() -> Message:
        message = await receive()
        await asyncio.sleep(len(message.get("body", b"")) / rate)
        return message

    async def slow_send(message: Message) -> None:
        await asyncio.sleep(len(message.get("body", b"")) / rate)
        await send(message)

    await app(scope, slow_receive, slow_send)


async def _drain(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    head = [(b"content-type", b"text/html"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _status(status: int) -> Callable:
    async def fault(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
        await _drain(receive)
        headers = []
        if "retry_after_s" in rule.values:
            headers = [(b"retry-after", str(rule.values["retry_after_s"]).encode())]
        await _answer(send, status, b"<html><body><h3>a fault on request</h3></body></html>", headers)

    return fault


async def _acted(app: App, scope, receive: Receive) -> None:
    """Let the request act, and keep its answer."""

    async def nowhere(message: Message) -> None:
        return

    await app(scope, receive, nowhere)


def _after(status: int) -> Callable:
    async def fault(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
        await _acted(app, scope, receive)
        await _answer(send, status, b"<html><body><h3>a fault on request</h3></body></html>")

    return fault


async def _no_answer(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _acted(app, scope, receive)
    raise Disconnect


async def _reset_before(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _drain(receive)
    raise Disconnect


async def _reset_mid_body(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    limit = int(rule.values.get("bytes", 3000))
    sent = 0

    async def cutting(message: Message) -> None:
        nonlocal sent
        body = message.get("body", b"")
        if message["type"] == "http.response.body" and sent + len(body) >= limit:
            await send({**message, "body": body[: max(0, limit - sent)], "more_body": True})
            raise Disconnect
        sent += len(body)
        await send(message)

    await app(scope, receive, cutting)


async def _truncated_zip(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """The zip ends in the middle, and the answer ends as if it were whole."""
    limit = int(rule.values.get("bytes", 3000))
    sent = 0
    over = False

    async def cutting(message: Message) -> None:
        nonlocal sent, over
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
            await send({**message, "headers": headers})
            return
        if over:
            return
        body = message.get("body", b"")[: max(0, limit - sent)]
        sent += len(body)
        over = sent >= limit or not message.get("more_body")
        await send({"type": "http.response.body", "body": body, "more_body": not over})

    await app(scope, receive, cutting)


async def _login_page(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    from .auth import LOGIN_PAGE

    await _drain(receive)
    await _answer(send, 200, LOGIN_PAGE.encode())


async def _empty(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _drain(receive)
    await _answer(send, 200, b"")


async def _expire(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """Every log-in ends just before this request."""
    scope["app"].state.sessions.expire_all()
    await app(scope, receive, send)


FAULTS: dict[str, Callable] = {
    "latency": _latency,
    "bandwidth": _bandwidth,
    "401": _status(401),
    "403": _status(403),
    "404": _status(404),
    "409": _status(409),
    "429": _status(429),
    "503": _status(503),
    "500-before": _status(500),
    "500-after": _after(500),
    "504-after": _after(504),
    "no-answer-after": _no_answer,
    "reset-before": _reset_before,
    "reset-mid-body": _reset_mid_body,
    "truncated-zip": _truncated_zip,
    "login-page": _login_page,
    "empty-200": _empty,
    "expire-sessions": _expire,
}
STORE_FAULTS = {"bit-flip-on-store"}


class FaultMiddleware:
    """Lets the rules that meet a request have their way with it, the first outermost."""

    control: ClassVar[str] = "/_faults"

    def __init__(self, app: App, faults: Faults) -> None:
        self.app, self.faults = app, faults

    async def __call__(self, scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self.control:
            await self.app(scope, receive, send)
            return
        rules = self.faults.meeting(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        app = self.app
        for rule in reversed(rules):
            app = _wrap(rule, app)
        scope.setdefault("state", {})["faults"] = [rule.fault for rule in rules]
        await app(scope, receive, send)


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
    for rule in found:
        Rule(rule)
    return found
