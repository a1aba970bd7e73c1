"""Answers that never end: how many bytes of one are read, how slowly they may come, and what may pack them.

Used by all that reads an answer. Memory stays below what is said here, whatever a server sends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPResponse

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ._origin import place
from .errors import NotDataError, ServerError

LIST_BYTES = 512 << 20  # of a list: about a million rows of files, of some 500 bytes each
SMALL_BYTES = 1 << 20  # of an answer to a login, and of a refusal
GRACE_S = 600.0  # an answer may take this long, however few bytes come
SLOWEST_BYTES_PER_S = 1024  # and this much longer for its bytes: what comes more slowly never ends
_PIECE_BYTES = 256 << 10
_PACKED_PIECE_BYTES = 16 << 10  # unpacked at one time: DEFLATE makes at most 1,032 times as many of them (RFC 1951)
_HEAD_PIECES = 16  # a head that comes in no more pieces than these is not timed: silence has the time-out of a read
_PACKINGS = ("", "identity", "gzip", "x-gzip", "deflate")


class Patience:
    """The pieces of a body, no slower than it may come; only the time that the server is waited for counts.

    A context manager: when it is left, the connection is closed or given back.
    """

    def __init__(self, response: requests.Response) -> None:
        self._response, self._waited_s, self._since, self._bytes, self._late = response, 0.0, 0.0, 0, False
        self._timer: threading.Timer | None = None
        self._over = False

    def __enter__(self) -> Patience:
        self._watch(GRACE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces, unpacked.

        Raises
        ------
        ServerError
            It is packed in a way, or in layers, that nothing was asked for, or comes too slowly.
        """
        packing = self._response.headers.get("Content-Encoding", "").strip().lower()
        where = place(self._response.url)
        if packing not in _PACKINGS:
            raise ServerError(f"{where} answered with a body that is packed as {packing[:40]!r}.", "Ask its operator.")
        packed = packing not in ("", "identity")
        pieces = self._response.iter_content(_PACKED_PIECE_BYTES if packed else _PIECE_BYTES)
        while True:
            self._since = time.monotonic()
            try:
                piece = next(pieces, b"")
            except Exception:
                if self._late:
                    raise self._slow(where) from None
                raise
            finally:
                self._waited_s += time.monotonic() - self._since
                self._since = 0.0
            if self._late:
                raise self._slow(where)
            if not piece:
                return
            self._bytes += len(piece)
            yield piece

    def _slow(self, where: str) -> ServerError:
        return ServerError(
            f"{where} sent {self._bytes} bytes in {self._waited_s:.0f} s and no end; the answer was broken off.",
            "Look at the network and the server's load, then run the same command again.",
        )

    def _watch(self, after_s: float) -> None:
        self._timer = threading.Timer(after_s, self._judge)
        self._timer.daemon = True
        self._timer.start()

    def _judge(self) -> None:
        since = self._since
        waited = self._waited_s + (time.monotonic() - since if since else 0.0)
        left = GRACE_S + self._bytes / SLOWEST_BYTES_PER_S - waited
        if self._over:
            return
        if left > 0:
            self._watch(max(left, 0.05))
            return
        self._late = True
        with contextlib.suppress(Exception):  # the body may have ended in this moment
            _break_off(self._response)


class _Head(HTTPResponse):
    """An answer whose status line and headers may not drip: each byte would begin the time-out of a read anew."""

    def __init__(self, *given, where: str, **options) -> None:
        super().__init__(*given, **options)
        self._where = where

    def begin(self) -> None:
        """Read status line and headers.

        Raises
        ------
        ServerError
            They come in many pieces, and after ``GRACE_S`` from the first of them there is no end.
        """
        raw = self.fp.raw
        read, pieces, since = raw.readinto, 0, 0.0

        def watched(buffer) -> int | None:
            nonlocal pieces, since
            got = read(buffer)
            now = time.monotonic()
            pieces, since = pieces + 1, since or now
            if pieces > _HEAD_PIECES and now - since > GRACE_S:
                raise ServerError(
                    f"{self._where} sent the headers of an answer in {pieces} pieces in {now - since:.0f} s and no "
                    "end of them; the answer was broken off.",
                    "Look at the network and the server's load, then run the same command again.",
                )
            return got

        raw.readinto = watched
        try:
            super().begin()
        finally:
            del raw.readinto


def _with_head(base: type) -> type:
    """A class of connections whose answers are of ``_Head``."""

    class Connection(base):
        @property
        def response_class(self) -> partial:
            return partial(_Head, where=self._tunnel_host or self.host)

    return Connection


class _Plain(urllib3.HTTPConnectionPool):
    ConnectionCls = _with_head(urllib3.HTTPConnectionPool.ConnectionCls)


class _Secure(urllib3.HTTPSConnectionPool):
    ConnectionCls = _with_head(urllib3.HTTPSConnectionPool.ConnectionCls)


class Bounded(HTTPAdapter):
    """Sends requests whose answers have no headers without end, directly or by a proxy."""

    def init_poolmanager(self, *given, **options) -> None:
        super().init_poolmanager(*given, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Plain, "https": _Secure}

    def proxy_manager_for(self, proxy, **options):
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = {"http": _Plain, "https": _Secure}
        return manager


def _break_off(response: requests.Response) -> None:
    """End the connection of an answer from another thread, so that whoever waits for its next byte goes on."""
    below = getattr(response.raw, "_fp", None)
    held = getattr(getattr(getattr(below, "fp", None), "raw", None), "_sock", None)
    if held is not None:
        held.shutdown(socket.SHUT_RDWR)


def read_whole(response: requests.Response, most_bytes: int = SMALL_BYTES) -> requests.Response:
    """An answer that was opened as a stream, read to its end, and the connection given back.

    Of a refusal no more than ``SMALL_BYTES`` are kept: only a sentence is looked for in it.

    Raises
    ------
    NotDataError
        It is longer than ``most_bytes``.
    ServerError
        It comes too slowly, or packed in a way that nothing was asked for.
    """
    refused = response.status_code >= 300
    most_bytes = SMALL_BYTES if refused else most_bytes
    found = bytearray()
    with Patience(response) as pieces:
        for piece in pieces:
            found += piece
            if len(found) > most_bytes and refused:
                del found[most_bytes:]
                break
            if len(found) > most_bytes:
                raise NotDataError(
                    f"{place(response.url)} answered with more than {most_bytes} bytes, and was read no further.",
                    "Check that the address is that of the XNAT itself; a list this long has to be asked for in parts.",
                    status=response.status_code,
                )
    response._content = bytes(found)  # as requests does where an answer is not opened as a stream
    response._content_consumed = True
    if response.encoding is None:
        response.encoding = "utf-8"  # else requests guesses, for minutes where the text is long
    return response
