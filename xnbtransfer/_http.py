"""Requests that survive a bad day: retries for reads, renewal of the login, and no web page taken for data.

Client HTTP only, on the ``requests`` session that xnatpy opened. Reads are repeated here; a request that
changes the server is sent exactly once, and what became of it is for the caller to look up.
"""

from __future__ import annotations

import contextlib
import email.utils
import html
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests
import tenacity
import urllib3

from .errors import (
    NotDataError,
    NotFoundError,
    RefusedError,
    ServerError,
    SessionExpiredError,
    TransientError,
    XnbTransferError,
)

READ_TRIES = 5  # how often a read is sent at most
READ_TRIES_500 = 2  # the same after a plain 500, which passes rarely
PAUSE_S = 0.5  # first pause; it doubles, with jitter
PAUSE_MAX_S = 30.0
RETRY_AFTER_MAX_S = 300.0  # a longer wish of the server is cut to this
CHUNK_BYTES = 256 * 1024
_ZIP_END = b"PK\x05\x06"
_ZIP_TAIL = 65_557  # the end record of a zip begins within this many bytes of its end

_LOST = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
    OSError,
)
_PASSING = {408, 425, 429, 502, 503, 504}


class KeepLogin(DefaultCookiePolicy):
    """Cookies of a balancer are kept, but no answer may put a guest's session in the place of ours."""

    def set_ok(self, cookie, request) -> bool:
        return cookie.name != "JSESSIONID" and super().set_ok(cookie, request)


class Http:
    """The requests of one connection. Thread-safe.

    Parameters
    ----------
    interface : requests.Session
        The session xnatpy logged in.
    server : str
        Address of the XNAT, without a slash at its end.
    renew : callable
        Logs in again and puts the new cookie into ``interface``; raises one of our errors.
    timeout : tuple of float
        Seconds to connect and seconds between two bytes.
    """

    def __init__(
        self, interface: requests.Session, server: str, renew: Callable[[], None], timeout: tuple[float, float]
    ) -> None:
        self.interface = interface
        self.server = server
        self.host = urlsplit(server).netloc.rpartition("@")[2]
        self.timeout = timeout
        self.requests = 0
        self.writes = 0
        self._renew = renew
        self._counting = threading.Lock()
        self._logging_in = threading.Lock()
        self._generation = 0  # how often the login was renewed
        self._good = 0  # the latest generation that brought data

    def read(self, path: str, query: Mapping[str, str] | None = None, *, method: str = "GET", patient: bool = True):
        """The answer to a read, complete. Status 200 or 204, and no web page.

        Parameters
        ----------
        path, query
            Path below the server, already quoted, and parameters, not quoted.
        patient : bool
            Whether a plain 500 is tried again.

        Raises
        ------
        NotFoundError, RefusedError, ServerError, NotDataError
            404, 403, other refusals, and a web page where data was asked.
        TransientError
            When ``READ_TRIES`` tries did not help.
        """

        def once() -> requests.Response:
            for again in (False, True):
                response, generation = self._send(method, path, query)
                if not self._is_login_page(response):
                    self._check(response, method, path)
                    self._good = max(self._good, generation)
                    return response
                self._log_in_again(generation, response.status_code, path, last=again)
            raise AssertionError

        return self._patiently(once, patient)

    @contextlib.contextmanager
    def stream(
        self, path: str, query: Mapping[str, str] | None = None, *, zipped: bool = True
    ) -> Iterator[Iterator[bytes]]:
        """The body of a download in pieces; the connection is closed when the block is left.

        Opening is retried as a read is; what breaks later is not, since bytes were already handed out.

        Raises
        ------
        TransientError
            From the iterator: the body ended early, or the zip has no end.
        """

        def once() -> tuple[requests.Response, Iterator[bytes], bytes]:
            for again in (False, True):
                response, generation = self._send("GET", path, query, stream=True)
                try:
                    if response.status_code not in (200, 401):
                        self._check(response, "GET", path)
                    if response.status_code == 204:
                        raise NotFoundError(f"{self.host} holds no file at {path}.")
                    pieces = response.iter_content(CHUNK_BYTES)
                    first = b"" if response.status_code == 401 else _next(pieces, self.host)
                    if response.status_code == 200 and zipped and not first:
                        raise TransientError(f"The zip from {self.host} is empty.")
                    if response.status_code == 200 and not _is_page(first, response, zipped):
                        self._good = max(self._good, generation)
                        return response, pieces, first
                except BaseException:
                    response.close()
                    raise
                response.close()
                self._log_in_again(generation, response.status_code, path, last=again)
            raise AssertionError

        response, pieces, first = self._patiently(once, True)
        try:
            yield self._whole(first, pieces, zipped)
        finally:
            response.close()

    def write(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        read_timeout_s: float = 0.0,
    ) -> requests.Response:
        """Send a request that changes the server, once. 2xx and 3xx are answers; redirects are not followed.

        Raises
        ------
        TransientError
            The answer is lost or says "later": whether it was carried out must be looked up.
        SessionExpiredError
            The login had run out and is renewed: nothing was carried out.
        RefusedError, NotFoundError, ServerError
            403, 404, and any other status with the server's own words.
        """
        timeout = (self.timeout[0], max(self.timeout[1], read_timeout_s))
        response, generation = self._send(
            method,
            path,
            query,
            data=data,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            counts_as_write=True,
        )
        if self._is_login_page(response):
            self._log_in_again(generation, response.status_code, path)
            raise SessionExpiredError(f"The login at {self.host} had run out and was renewed.", "Send it again.")
        self._check(response, method, path)
        self._good = max(self._good, generation)
        return response

    def _send(self, method, path, query, *, counts_as_write=False, **options) -> tuple[requests.Response, int]:
        with self._counting:
            self.requests += 1
            self.writes += counts_as_write
        url = self.server + path + (f"?{encode(query)}" if query else "")
        generation = self._generation
        options.setdefault("timeout", self.timeout)
        try:
            return self.interface.request(method, url, **options), generation
        except _LOST as problem:
            raise TransientError(f"{self.host} did not answer {method} {path} ({_kind(problem)}).") from None

    def _is_login_page(self, response: requests.Response) -> bool:
        return response.status_code == 401 or (response.status_code == 200 and _looks_like_page(response.content))

    def _log_in_again(self, generation: int, status: int, path: str, last: bool = False) -> None:
        with self._logging_in:
            if last or (generation == self._generation and generation > self._good):
                self._good = self._generation  # this request gives up; the next one may renew the login once more
                if status == 401:
                    raise SessionExpiredError(f"{self.host} refuses {path} (401) although the login was renewed.")
                raise NotDataError(f"{self.host} sent a web page in place of data for {path}.", status=status)
            if generation == self._generation:
                try:
                    self._renew()
                except TransientError:
                    raise
                except XnbTransferError as problem:
                    raise SessionExpiredError(
                        f"The login at {self.host} ran out and could not be renewed: {problem.message}"
                    ) from None
                self._generation += 1

    def _check(self, response: requests.Response, method: str, path: str) -> None:
        status = response.status_code
        if status in (200, 201, 202, 204) or (method != "GET" and status in (301, 302, 303)):
            return
        where = f"{self.host} answered {method} {path} with {status}"
        said = words_of(response)
        sentence = f"{where}: {said}" if said else f"{where}."
        if status == 404:
            raise NotFoundError(sentence)
        if status in (401, 403):
            raise RefusedError(sentence, "Ask the project's owner for the right that is missing.")
        if status in _PASSING:
            raise TransientError(sentence, retry_after_s=_retry_after(response))
        raise ServerError(sentence, status=status)

    def _patiently(self, once: Callable[[], Any], patient: bool) -> Any:
        def wait(state: tenacity.RetryCallState) -> float:
            wish = getattr(state.outcome.exception(), "retry_after_s", None)
            if wish is not None:
                return min(wish, RETRY_AFTER_MAX_S)
            return tenacity.wait_random_exponential(multiplier=PAUSE_S, max=PAUSE_MAX_S)(state)

        def again(state: tenacity.RetryCallState) -> bool:
            problem = state.outcome.exception()
            if isinstance(problem, TransientError):
                return not isinstance(problem, SessionExpiredError) and state.attempt_number < READ_TRIES
            passing = patient and isinstance(problem, ServerError) and problem.status == 500
            return passing and state.attempt_number < READ_TRIES_500

        return tenacity.Retrying(retry=again, wait=wait, sleep=time.sleep, reraise=True)(once)

    def _whole(self, first: bytes, pieces: Iterator[bytes], zipped: bool) -> Iterator[bytes]:
        tail = b""
        piece = first
        while piece:
            tail = piece[-_ZIP_TAIL:] if len(piece) >= _ZIP_TAIL else (tail + piece)[-_ZIP_TAIL:]
            yield piece
            piece = _next(pieces, self.host)
        if zipped and _ZIP_END not in tail:
            raise TransientError(f"The zip from {self.host} ended early.")


class SizedBody:
    """An iterable of bytes with a length, so that it is sent with ``Content-Length`` and never chunked; few pieces."""

    def __init__(self, chunks: Iterable[bytes], size_bytes: int) -> None:
        self._chunks = chunks
        self._size = size_bytes

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left, waiting = self._size, 0
        pending: list[bytes] = []
        for chunk in self._chunks:
            left -= len(chunk)
            if left < 0:
                raise ServerError("The upload is longer than announced; it was broken off.")
            pending.append(chunk)
            waiting += len(chunk)
            if waiting >= CHUNK_BYTES or (waiting and not left):  # each piece is a write of its own to the socket
                yield b"".join(pending)
                pending, waiting = [], 0
        if left:
            raise ServerError(f"The upload is {left} bytes shorter than announced; it was broken off.")


def quoted(*parts: str) -> str:
    """Path segments, each quoted, joined by slashes. The only place where labels become parts of an address."""
    return "/".join(quote(part, safe="") for part in parts)


def encode(query: Mapping[str, str]) -> str:
    """A query string; blanks become %20 since not every handler of XNAT reads a plus as a blank."""
    return urlencode(query, quote_via=quote, safe=",:/")


def words_of(response: requests.Response) -> str:
    """What an error page says, in one line of at most 300 characters."""
    try:
        text = response.text
    except _LOST:
        return ""
    found = re.search(r"<h3>(.*?)</h3>", text, re.DOTALL | re.IGNORECASE)
    if found:
        text = found.group(1)
    elif _looks_like_page(text.encode("utf-8", "replace")):
        return ""
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return " ".join(re.sub(r"://[^/@\s]+@", "://", text).split())[:300]


def _looks_like_page(body: bytes) -> bool:
    return body[:200].lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith((b"<!doctype", b"<html"))


def _is_page(first: bytes, response: requests.Response, zipped: bool) -> bool:
    if zipped:
        return not first.startswith(b"PK")
    attached = "attachment" in response.headers.get("Content-Disposition", "").lower()
    return not attached and _looks_like_page(first)


def _next(pieces: Iterator[bytes], host: str) -> bytes:
    try:
        for piece in pieces:
            if piece:
                return piece
    except _LOST as problem:
        raise TransientError(f"The download from {host} ended early ({_kind(problem)}).") from None
    return b""


def _kind(problem: BaseException) -> str:
    return "time-out" if isinstance(problem, requests.Timeout) else type(problem).__name__


def _retry_after(response: requests.Response) -> float | None:
    """Seconds to wait as the server wishes, from a number or a date; None without a readable wish."""
    wish = response.headers.get("Retry-After", "").strip()
    if not wish:
        return None
    try:
        return max(0.0, float(wish))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(wish).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
