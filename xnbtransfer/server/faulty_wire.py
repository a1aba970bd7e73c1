"""Faults of the wire: what meets a whole request, before, while or after it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

from . import clock
from .faulty_files import flipped
from .rules import Disconnect, Rule

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
Fault = Callable[[Rule, App, dict[str, Any], Receive, Send], Awaitable[None]]

_MADE = re.compile(r"/(data|REST)/(archive/)?projects/[^/]+")
_PAGE = b"<html><body><h3>a fault on request</h3></body></html>"


async def _latency(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(rule.number("delay_s", 0.05))
    await app(scope, receive, send)


async def _bandwidth(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    rate = max(1.0, rule.number("bytes_per_s", 1e6))

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


async def _answer(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None, kind: bytes = b"text/html"
) -> None:
    head = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _status(status: int) -> Fault:
    async def fault(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
        await _drain(receive)
        headers = []
        if "retry_after_s" in rule.values:
            headers = [(b"retry-after", str(rule.values["retry_after_s"]).encode())]
        await _answer(send, status, _PAGE, headers)

    return fault


async def _unread(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _answer(send, 500, _PAGE, [(b"connection", b"close")])


async def _acted(app: App, scope, receive: Receive) -> None:
    """Let the request act, and keep its answer."""

    async def nowhere(message: Message) -> None:
        return

    await app(scope, receive, nowhere)


def _after(status: int, body: bytes = _PAGE) -> Fault:
    async def fault(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
        await _acted(app, scope, receive)
        await _answer(send, status, body)

    return fault


async def _no_answer(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _acted(app, scope, receive)
    raise Disconnect


async def _reset_before(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _drain(receive)
    raise Disconnect


async def _reset_mid_body(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    limit = int(rule.number("bytes", 3000))
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


async def _reset_after(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """The whole body goes out; the connection ends before the answer says that this was all."""

    async def unending(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send({**message, "headers": _without_length(message)})
        else:
            await send({**message, "more_body": True})
            if not message.get("more_body"):
                raise Disconnect

    await app(scope, receive, unending)


async def _cut_upload(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """The connection ends within the body of the request; what came before is used."""
    limit = int(rule.number("bytes", 3000))
    came = 0

    async def cutting() -> Message:
        nonlocal came
        if came >= limit:
            return {"type": "http.disconnect"}
        message = await receive()
        body = message.get("body", b"")[: limit - came]
        came += len(message.get("body", b""))
        return {**message, "body": bytes(body), "more_body": True} if came >= limit else message

    await _acted(app, scope, cutting)
    raise Disconnect


def _without_length(message: Message) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]


async def _truncated_zip(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """The zip ends in the middle, and the answer ends as if it were whole."""
    limit = int(rule.number("bytes", 3000))
    sent = 0
    over = False

    async def cutting(message: Message) -> None:
        nonlocal sent, over
        if message["type"] == "http.response.start":
            await send({**message, "headers": _without_length(message)})
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


async def _clock_jump(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """The clock jumps, and with it everything that is reckoned by it; log-ins end that are too old by then."""
    seconds = rule.number("jump_s", 3600)
    clock.jump(seconds)
    if seconds > float(scope["app"].state.xnat.site("sessionTimeout") or 900):
        scope["app"].state.sessions.expire_all()
    await app(scope, receive, send)


async def _endless(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    """The answer's body goes on until the client has enough."""
    gone = asyncio.ensure_future(_gone(receive))

    async def unending(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send({**message, "headers": _without_length(message)})
            return
        await send({**message, "more_body": True})
        while not message.get("more_body") and not gone.done():
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            await asyncio.sleep(0)

    async def no_body() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    try:
        await app(scope, no_body, unending)
        raise Disconnect
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _deep_json(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
    await _drain(receive)
    depth = int(rule.number("bytes", 200_000)) // 2
    await _answer(send, 200, b"[" * depth + b"]" * depth, kind=b"application/json")


def _whole(change: Callable[[Rule, str, bytes], bytes]) -> Fault:
    """A fault that rewrites a whole body; zips pass as they are."""

    async def fault(rule: Rule, app: App, scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body, kind = bytearray(), ""

        async def keeping(message: Message) -> None:
            nonlocal start, kind
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
                if message["status"] == 200 and scope["method"] != "HEAD" and "zip" not in kind:
                    start = message
                    return
            if not start:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            changed = change(rule, kind, bytes(body))
            headers = [*_without_length(start), (b"content-length", str(len(changed)).encode())]
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": changed})

        await app(scope, receive, keeping)

    return fault


def _flip_on_send(rule: Rule, kind: str, body: bytes) -> bytes:
    return flipped(body)


def _rows(change: Callable[[Rule, list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Rule, str, bytes], bytes]:
    def table(rule: Rule, kind: str, body: bytes) -> bytes:
        if "json" not in kind:
            return body
        found = json.loads(body)
        if not isinstance(found, dict) or "Result" not in found.get("ResultSet", {}):
            return body
        rows = change(rule, found["ResultSet"]["Result"])
        found["ResultSet"]["Result"] = rows
        if "totalRecords" in found["ResultSet"]:
            found["ResultSet"]["totalRecords"] = str(len(rows))
        return json.dumps(found).encode()

    return table


def _left_out(rule: Rule, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that hold the text ``row``, or without it each by ``share`` of the dice, are missing."""
    word, dice = rule.values.get("row"), random.Random(str(rule.values.get("seed", 0)))
    if word:
        return [row for row in rows if not any(str(word) in str(value) for value in row.values())]
    share = float(rule.values.get("share", 0.5))
    return [row for row in rows if dice.random() >= share]


def _digests(new: Callable[[str], str]) -> Callable[[Rule, str, bytes], bytes]:
    def change(rule: Rule, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        word = str(rule.values.get("row", ""))
        return [
            {**row, "digest": new(row["digest"])}
            if row.get("digest") and (not word or any(word in str(value) for value in row.values()))
            else row
            for row in rows
        ]

    in_table = _rows(change)

    def both(rule: Rule, kind: str, body: bytes) -> bytes:
        if "xml" in kind:
            found = re.sub(r'digest="(\w+)"', lambda one: f'digest="{new(one[1])}"', body.decode())
            return found.encode()
        return in_table(rule, kind, body)

    return both


def _stale(digest: str) -> str:
    """The digest of other bytes, always the same for the same file."""
    return hashlib.md5(f"before {digest}".encode(), usedforsecurity=False).hexdigest()


def is_due(rule: Rule, method: str, path: str, fits: bool) -> bool:
    """Whether a rule that ``fits`` a request meets it, by what came before.

    While somebody makes a project XNAT answers others with 500 for a moment (seen on live servers): ``500-while-made``
    meets the ``requests`` that come after the PUT of a project.
    """
    if rule.fault != "500-while-made":
        return fits
    with rule.lock:
        if method == "PUT" and _MADE.fullmatch(path):
            rule.due = int(rule.number("requests", 5))
            return False
        met = fits and rule.due > 0
        rule.due -= met
        return met


FAULTS: dict[str, Fault] = {
    "latency": _latency,
    "bandwidth": _bandwidth,
    "401": _status(401),
    "403": _status(403),
    "404": _status(404),
    "409": _status(409),
    "429": _status(429),
    "503": _status(503),
    "500-before": _status(500),
    "500-while-made": _status(500),
    "500-unread": _unread,
    "500-after": _after(500),
    "504-after": _after(504),
    "no-answer-after": _no_answer,
    "reset-before": _reset_before,
    "reset-mid-body": _reset_mid_body,
    "reset-after-body": _reset_after,
    "cut-upload": _cut_upload,
    "truncated-zip": _truncated_zip,
    "bit-flip-on-send": _whole(_flip_on_send),
    "rows-left-out": _whole(_rows(_left_out)),
    "digests-empty": _whole(_digests(lambda digest: "")),
    "digests-stale": _whole(_digests(_stale)),
    "login-page": _login_page,
    "empty-200": _empty,
    "empty-200-after": _after(200, b""),
    "expire-sessions": _expire,
    "clock-jump": _clock_jump,
    "endless": _endless,
    "deep-json": _deep_json,
}
