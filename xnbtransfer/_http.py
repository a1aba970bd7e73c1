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
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3

from ._bounds import LIST_BYTES, Patience, read_whole
from ._origin import leads_elsewhere, place
from .errors import (
    AddressError,
    LoginError,
    NotDataError,
    NotFoundError,
    RefusedError,
    ServerError,
    SessionExpiredError,
    TransientError,
    XnbTransferError,
)
from .forms import BUILD, LOGOUT, PROJECTS, VERSION, WHO, Request, refused_in_address
from .html import size

READ_TRIES = 5  # how often a read is sent at most
READ_TRIES_500 = 2  # the same after a plain 500, which passes rarely
PAUSE_S = 0.5  # first pause; it doubles, with jitter
PAUSE_MAX_S = 30.0
RETRY_AFTER_MAX_S = 300.0  # a longer wish of the server is cut to this
CHUNK_BYTES = 256 * 1024  # of an upload
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
_OF_NOBODY = (WHO, BUILD, VERSION, LOGOUT)  # no right decides about their answers
_PASSING = {408, 425, 429, 502, 503, 504}
_SAME_PLACE_BYTES = 4 << 20  # what sockets hold back: so near two uploads have broken off at the same place
_NOT_THERE = re.compile(r"requested resource \[.{1,2000}?\] is not available", re.DOTALL).search
"""The container's page for an address that no application has: at ``/data`` that is an XNAT which is not running."""


def steady_s() -> float:
    """Seconds by a clock that only goes forward, also while the machine sleeps (clock_gettime(2))."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


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
        self._rotates = False  # whether new cookies come to logins that are alive
        self._broke_at: list[int] = []  # bytes after which uploads broke off
        self.user = ""  # as the server names it
        self.told_time: tuple[float, float] | None = None  # the server's clock in its last answer, and ours by then
        self.first: Request | None = None  # a small question of a project, for a login that begins with a large one
        self._first_alone = threading.Lock()
        self._first_of = -1  # the generation whose first request was answered

    def read(self, request: Request, *, patient: bool = True, tries: int = READ_TRIES_500) -> requests.Response:
        """The answer to a read, complete. Status 200 or 204, of our login and no guest's, and no web page.

        Parameters
        ----------
        patient : bool
            Whether a plain 500 is tried again.
        tries : int
            How often a plain 500 is tried at most.

        Raises
        ------
        NotFoundError, RefusedError, ServerError, NotDataError
            404, 403, other refusals, and a web page where data was asked.
        LoginError
            The server sends this login to a page first, as for a password that has expired.
        TransientError
            When ``READ_TRIES`` tries did not help.
        """

        def once() -> requests.Response:
            for again in (False, True):
                response, generation = self._send(request)
                if not self._is_strangers(response, request, generation):
                    self._check(response, request)
                    self._good = max(self._good, generation)
                    return response
                self._log_in_again(generation, response, request, last=again)
            raise AssertionError

        return self._patiently(once, tries if patient else 1)

    @contextlib.contextmanager
    def stream(self, request: Request, *, zipped: bool = True) -> Iterator[Iterator[bytes]]:
        """The body of a download in pieces; the connection is closed when the block is left.

        Opening is retried as a read is; what breaks later is not, since bytes were already handed out.

        Raises
        ------
        TransientError
            From the iterator: the body ended early, or the zip has no end.
        """

        def once() -> tuple[Patience, Iterator[bytes], bytes]:
            for again in (False, True):
                response, generation = self._send(request, stream=True)
                if response.status_code != 200:
                    self._read(response, request)
                body = Patience(response)
                try:
                    lost = response.status_code == 401 or self._is_strangers(response, request, generation, b"")
                    if not lost:
                        self._check(response, request)
                        if response.status_code == 204:
                            raise NotFoundError(f"{self.host} holds no file at {request.path}.")
                        pieces = iter(body.__enter__())
                        first = _next(pieces, self.host)
                        if zipped and not first:
                            raise TransientError(f"The zip from {self.host} is empty.")
                        if not _is_page(first, response, zipped):
                            self._good = max(self._good, generation)
                            return body, pieces, first
                except BaseException:
                    body.__exit__()
                    raise
                body.__exit__()
                self._log_in_again(generation, response, request, last=again)
            raise AssertionError

        body, pieces, first = self._patiently(once, READ_TRIES_500)
        try:
            yield self._whole(first, pieces, zipped)
        finally:
            body.__exit__()

    def write(
        self,
        request: Request,
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
        LoginError
            The server sends this login to a page first: nothing was carried out.
        RefusedError, NotFoundError, ServerError
            403, 404, and any other status with the server's own words.
        """
        timeout = (self.timeout[0], max(self.timeout[1], read_timeout_s))
        response, generation = self._send(request, data=data, headers=headers, timeout=timeout)
        if self._is_strangers(response, request, generation):
            self._log_in_again(generation, response, request)
            raise SessionExpiredError(f"The login at {self.host} had run out and was renewed.", "Send it again.")
        self._check(response, request)
        self._good = max(self._good, generation)
        return response

    def _send(
        self, request: Request, *, headers=None, data=None, stream: bool = False, **options
    ) -> tuple[requests.Response, int]:
        """Send a request, the first one of a login alone: what runs beside that one waits for its answer.

        Up to 1.7.2 the first parallel requests of a new login get 404 and empty lists (recorded, fact 15 of the live
        servers), and that is not to be told from what is not there. Where a login begins with an upload or a download,
        a small question goes before it.

        It is so for every XNAT, though seen on none after 1.7.2: the version is not known before the first answer, and
        many commands never ask it. It costs those beside it the wait for one answer, and a request only where a login
        begins with an upload or a download.
        """
        if request.form not in _OF_NOBODY:
            with self._first_alone:
                if self._first_of != self._generation:
                    small = data is None and not stream and not request.form.changes
                    generation = self._generation
                    if small:
                        found = self._send_now(request, headers, data, stream, options)
                    else:
                        with contextlib.suppress(TransientError):
                            self._send_now(self.first or PROJECTS(), None, None, False, {})
                    self._first_of = generation
                    if small:
                        return found
        return self._send_now(request, headers, data, stream, options)

    def _send_now(
        self, request: Request, headers, data, stream: bool, options: dict
    ) -> tuple[requests.Response, int]:
        with self._counting:
            self.requests += 1
            self.writes += request.form.changes
        generation = self._generation
        options.setdefault("timeout", self.timeout)
        given = {**dict(request.form.headers), **(headers or {})}
        if data is not None:
            options["data"] = data
        try:
            answer = self.interface.request(
                request.method,
                self.server + request.address,
                headers=given,
                allow_redirects=False,
                stream=True,
                **options,
            )
            if not stream:
                read_whole(answer, LIST_BYTES)
        except _LOST as problem:
            said = f"{self.host} did not answer {request.method} {request.path} ({_kind(problem)})."
            raise TransientError(*self._limit(said, data)) from None
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            date = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
            self.told_time = (date.timestamp(), steady_s())
        return answer, generation

    def _read(self, response: requests.Response, request: Request) -> None:
        try:
            read_whole(response)
        except _LOST as problem:
            raise TransientError(
                f"{self.host} did not answer {request.method} {request.path} ({_kind(problem)})."
            ) from None

    def _limit(self, said: str, body: Any) -> tuple[str, ...]:
        """What to say of a lost answer; also of a size limit and with its remedy, where uploads break there again."""
        sent = body.sent if isinstance(body, SizedBody) else 0
        if not sent:
            return (said,)
        with self._counting:
            same = any(abs(sent - one) <= _SAME_PLACE_BYTES for one in self._broke_at)
            self._broke_at.append(sent)
        if not same:
            return (said,)
        return (
            f"{said} An upload of {size(len(body))} broke off after about {size(sent)} for the second time: perhaps a "
            "size limit of the server or of what stands before it.",
            "Ask its administrator to raise the limit of a request's body in the proxy (nginx: client_max_body_size) "
            "and in the server (maxPostSize, maxSwallowSize) above the largest scan. Only if none is set, run the same "
            "command again.",
        )

    def _is_strangers(self, response: requests.Response, request: Request, generation: int, body=None) -> bool:
        """Whether an answer is not to our login: 401, a log-in page, or what a guest gets on an open site.

        XNAT gives a new JSESSIONID with every answer to a session that it does not know (recorded: 1.6.4 and 1.8.11,
        surprises, "on an open site a lost login is the guest's answer"), while status and rows are those of a guest.
        """
        if response.status_code == 401 or _leads_to_login(response, self.server):
            return True
        content = response.content if body is None else body
        if response.status_code == 200 and _looks_like_page(content) and not (request.form.page and _is_table(content)):
            return True
        given = {cookie.value for cookie in response.cookies if cookie.name == "JSESSIONID"}
        sent = str(response.request.headers.get("Cookie", ""))
        if all(f"JSESSIONID={one}" in sent for one in given) or self._rotates:
            return False
        if generation != self._generation:
            return True
        with contextlib.suppress(TransientError):
            answer, _ = self._send(WHO())
            ours = answer.status_code == 200 and f"User '{self.user}' is logged in" in answer.text
            if ours and generation == self._generation:
                self._rotates = True  # this server gives new cookies to logins that are alive
                return False
        return True

    def _log_in_again(self, generation: int, response: requests.Response, request: Request, last: bool = False) -> None:
        status = response.status_code
        with self._logging_in:
            if last or (generation == self._generation and generation > self._good):
                self._good = self._generation  # this request gives up; the next one may renew the login once more
                renewed = "although the login was renewed"
                if status == 401:
                    raise SessionExpiredError(f"{self.host} refuses {request.path} (401) {renewed}.")
                if where := response.headers.get("Location", ""):
                    raise LoginError(
                        f"{self.server} sends {request.path} to {place(where)} {renewed}; nothing was sent there.",
                        "Log in there with a browser; if it is another service's page, ask for XNAT's own address.",
                    )
                if status == 200:
                    sentence = f"{self.host} sent a web page in place of data for {request.path}."
                    raise NotDataError(sentence, status=status)
                raise SessionExpiredError(f"{self.host} answers {request.path} as to a guest {renewed}.")
            if generation == self._generation:
                self._first_of = -1  # what is sent from here on goes alone, until one was answered after the login
                try:
                    self._renew()
                except TransientError:
                    raise
                except XnbTransferError as problem:
                    raise SessionExpiredError(
                        f"The login at {self.host} ran out and could not be renewed: {problem.message}"
                    ) from None
                self._generation += 1

    def _check(self, response: requests.Response, request: Request) -> None:
        status = response.status_code
        if status in (200, 201, 202, 204):
            return
        if 300 <= status < 400:
            page = place(response.headers.get("Location", ""))
            if re.search(r"UpdateUser|ChangePassword|expired", page, re.IGNORECASE):
                raise LoginError(f"The password at {self.host} has expired.", "Set a new one there, then try again.")
            if "/app/" in page:
                raise LoginError(
                    f"{self.host} sends this login to its page {page} first.", "Log in there with a browser and look."
                )
            if request.form.changes and status in (301, 302, 303):
                return
            raise ServerError(f"{self.host} sends {request.path} elsewhere, to {page}.", status=status)
        where = f"{self.host} answered {request.method} {request.path} with {status}"
        said = words_of(response)
        sentence = f"{where}: {said}" if said else f"{where}."
        if request.path.startswith("/data/") and container_knows_nothing(response):
            raise TransientError(
                f"{self.host} knows no address below /data now: XNAT is starting there, or is not running.",
                "Wait some minutes, then run the same command again.",
            )
        if status in (400, 405, 500) and refused_in_address(request.path):
            raise AddressError(
                f"{self.host} refuses {request.method} of an address with %, ; or the like in a name ({status}).",
                "XNAT's firewall lets no such name through in an address; such files can go and come in a zip only.",
                status=status,
            )
        if status == 404:
            raise NotFoundError(sentence)
        if status in (401, 403):
            raise RefusedError(sentence, "Ask the project's owner for the right that is missing.")
        if status in _PASSING:
            raise TransientError(sentence, retry_after_s=_retry_after(response))
        raise ServerError(sentence, status=status)

    def _patiently(self, once: Callable[[], Any], tries_500: int) -> Any:
        def wait(state: tenacity.RetryCallState) -> float:
            wish = getattr(state.outcome.exception(), "retry_after_s", None)
            if wish is not None:
                return min(wish, RETRY_AFTER_MAX_S)
            return tenacity.wait_random_exponential(multiplier=PAUSE_S, max=PAUSE_MAX_S)(state)

        def again(state: tenacity.RetryCallState) -> bool:
            problem = state.outcome.exception()
            if isinstance(problem, TransientError):
                return not isinstance(problem, SessionExpiredError) and state.attempt_number < READ_TRIES
            passing = isinstance(problem, ServerError) and problem.status == 500
            passing = passing and not isinstance(problem, AddressError)
            return passing and state.attempt_number < tries_500

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
        self.sent = 0  # bytes given away so far

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
                self.sent += waiting
                pending, waiting = [], 0
        if left:
            raise ServerError(f"The upload is {left} bytes shorter than announced; it was broken off.")


def words_of(response: requests.Response) -> str:
    """What an error page says, in one line of at most 300 characters.

    XNAT's page has it as ``<h3>``; that of the container (recorded: 404 of a file) has its own name there, and the
    reason behind ``Message``.
    """
    try:
        text = response.text
    except _LOST:
        return ""
    found = re.search(r"<b>Message</b>(.*?)</p>", text, re.DOTALL | re.IGNORECASE)
    if found is None and not re.search(r"<h1>HTTP Status \d", text, re.IGNORECASE):
        found = re.search(r"<h3>(.*?)</h3>", text, re.DOTALL | re.IGNORECASE)
    if found:
        text = found.group(1)
    elif _looks_like_page(text.encode("utf-8", "replace")):
        return ""
    text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return " ".join(re.sub(r"://[^/@\s]+@", "://", text).split())[:300]


def container_knows_nothing(response: requests.Response) -> bool:
    """Whether the container says that no application has this address; at ``/data`` XNAT itself is not running then."""
    return response.status_code == 404 and bool(_NOT_THERE(response.text[:8000]))


def _leads_to_login(response: requests.Response, server: str) -> bool:
    """Whether a redirect says that nobody is logged in: to a log-in page, or elsewhere as single sign-on does."""
    if not 300 <= response.status_code < 400:
        return False
    where = response.headers.get("Location", "")
    return leads_elsewhere(where, server) or bool(re.search(r"/login\b|Login\.vm", place(where), re.IGNORECASE))


def _is_table(body: bytes) -> bool:
    """Whether a page is a table of what was done, and asks for no password (recorded: share and move of subjects)."""
    return b"<table" in body and not re.search(rb"type\s*=\s*[\"']?password", body, re.IGNORECASE)


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
