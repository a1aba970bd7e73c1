"""Which names of a request a rule of this server has looked at, and which none has: those are *not read*.

XNAT passes over a name that it does not know without a word, and so would this server: a test of a client could not
see that its parameter does nothing. Handlers therefore get their request as :class:`Request`, whose query, headers and
values of a body note each name that is asked for; what is left at the end goes into the request log. There is no list
of known names anywhere: a name counts as read when, and only when, a rule looked at it in this request.

Called by ``app`` (every handler is wrapped), by ``answers`` and by the handlers that read a body. Must never change
what a handler gets.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import starlette.requests
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.routing import Route

Value = TypeVar("Value")
_KEY = "xnbtransfer.noted"
_CARRIERS = {
    "host", "connection", "keep-alive", "te", "content-length", "transfer-encoding", "expect", "accept-encoding",
    "user-agent", "authorization", "cookie",
}  # fmt: skip
"""Headers that are read below the handlers: by the HTTP server, by the log-in and by the log (RFC 9110)."""


class Notes:
    """The names that one request gave, and those that were looked at; each as ``query x``, ``header x``, ``body x``."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.read: set[str] = set()
        self.given: dict[str, None] = {}
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.give("query", (name for name, _ in query))
        for name, value in Headers(scope=scope).items():
            if name not in _CARRIERS and (name, value) != ("accept", "*/*"):
                self.give("header", [name])

    def give(self, kind: str, names: Iterable[str]) -> None:
        """Note names that the request holds."""
        self.given |= dict.fromkeys(f"{kind} {name}" for name in names)

    def look(self, kind: str, name: str) -> None:
        """Note that a rule looks at a name."""
        self.read.add(f"{kind} {name}")

    def dismiss(self) -> None:
        """Note that a rule answers whatever else is said, and says why where it does so."""
        self.read |= self.given.keys()

    def of(self, kind: str) -> list[str]:
        """The names of one kind that were given, as ``body``."""
        return [name.partition(" ")[2] for name in self.given if name.partition(" ")[0] == kind]

    def left(self, status: int) -> list[str]:
        """The names that no rule read. What is refused, or answered with nothing, passes over no name."""
        told = 200 <= status < 400 and status != 204
        return [name for name in self.given if name not in self.read] if told else []


class Request(starlette.requests.Request):
    """A request that notes what is looked at. Going through all names at once (``items``, ``keys``) is no looking."""

    @functools.cached_property
    def query_params(self) -> QueryParams:
        return _Query(self.scope["query_string"], of(self))

    @functools.cached_property
    def headers(self) -> Headers:
        return _Headers(self.scope["headers"], of(self))


class Values(dict[str, Value]):
    """Values by name, of a query with its form or of a JSON body, that note which names are looked at."""

    def __init__(self, values: Mapping[str, Value], note: Callable[[str], None]) -> None:
        super().__init__(values)
        self._note = note

    def __getitem__(self, name: str) -> Value:
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._note(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().get(name, default)


class _Query(QueryParams):
    def __init__(self, query: bytes, notes: Notes) -> None:
        super().__init__(query.decode("latin-1"))
        self._notes = notes

    def __getitem__(self, name: str) -> str:
        self._notes.look("query", name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._notes.look("query", str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._notes.look("query", name)
        return super().get(name, default)

    def getlist(self, name: Any) -> list[str]:
        self._notes.look("query", name)
        return super().getlist(name)


class _Headers(Headers):
    def __init__(self, raw: list[tuple[bytes, bytes]], notes: Notes) -> None:
        super().__init__(raw=raw)
        self._notes = notes

    def __getitem__(self, name: str) -> str:
        self._notes.look("header", name.lower())
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._notes.look("header", str(name).lower())
        return super().__contains__(name)

    def getlist(self, name: str) -> list[str]:
        self._notes.look("header", name.lower())
        return super().getlist(name)


def of(request: starlette.requests.Request) -> Notes:
    """The notes of a request, begun with its first use."""
    return notes_of(request.scope)


def notes_of(scope: Any) -> Notes:
    if _KEY not in scope:
        scope[_KEY] = Notes(scope)
    return scope[_KEY]


def looked(request: starlette.requests.Request, name: str) -> None:
    """Note a name of query or body that a rule found by going through all of them."""
    for kind in ("query", "body"):
        of(request).look(kind, name)


def ignored(request: starlette.requests.Request, kind: str, name: str) -> None:
    """Note what lies within a value and is passed over: a ``column``, an ``element`` of a document."""
    of(request).give(kind, [name])


def in_any_case(request: starlette.requests.Request, name: str) -> str:
    """The value of a query's name that XNAT reads in any case, as ``xsiType``; "" without one."""
    for given, value in request.query_params.multi_items():
        if given.lower() == name.lower():
            looked(request, given)
            return value
    return ""


def columns(request: starlette.requests.Request) -> list[str]:
    """The names of ``columns=``, without the word that stands for those of the list itself."""
    return [name for name in request.query_params.get("columns", "").split(",") if name and name != "DEFAULT"]


def values(request: starlette.requests.Request, given: Mapping[str, Value], body: Iterable[str] = ()) -> Values[Value]:
    """Values of the query and of a body together, so that looking at a name is noted wherever it came from.

    ``body`` are the names that the body gave.
    """
    of(request).give("body", body)
    return Values(given, functools.partial(looked, request))


def noting(route: Route) -> Route:
    """The same route, its handler with a request that notes what it looks at."""
    handler = route.endpoint

    def noted(request: starlette.requests.Request) -> Request:
        return Request(request.scope, request.receive)

    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def wrapped(request: starlette.requests.Request) -> Response:
            return await handler(noted(request))
    else:

        @functools.wraps(handler)
        def wrapped(request: starlette.requests.Request) -> Response:
            return handler(noted(request))

    return Route(route.path, wrapped, methods=list(route.methods or ()), name=route.name)
