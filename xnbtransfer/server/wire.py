"""How bytes come in and go out: uvicorn on httptools, with large buffers, and sockets that can be cut."""

from __future__ import annotations

import asyncio

import uvicorn.protocols.http.httptools_impl as httptools_impl

from .faults import Disconnect

_BUFFER = 1 << 20


class Cycle(httptools_impl.RequestResponseCycle):
    """One request whose connection is cut without a word when a fault asks for it."""

    async def run_asgi(self, app) -> None:
        async def cutting(scope, receive, send) -> None:
            try:
                await app(scope, receive, send)
            except Disconnect:
                self.disconnected = True
                self.transport.abort()

        await super().run_asgi(cutting)


class Protocol(httptools_impl.HttpToolsProtocol, asyncio.BufferedProtocol):
    """Reads into one buffer of a megabyte, which all connections share: what is in it is used before the next read.

    asyncio alone reads at most 256 kB at a time into new memory, and uvicorn lets 64 kB wait; uploads then are made
    of thousands of small steps.
    """

    _memory = memoryview(bytearray(_BUFFER))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._memory[:nbytes])  # type: ignore[arg-type]  # httptools parses any buffer


def protocol() -> type[Protocol]:
    """The protocol class for ``uvicorn.Config(http=...)``."""
    httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]  # uvicorn makes its cycles by this name
    httptools_impl.HIGH_WATER_LIMIT = _BUFFER
    return Protocol
