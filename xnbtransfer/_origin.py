"""Where a login may go: to the scheme, host and port that were named, and nowhere else, whatever an answer says.

Used by all that sends a request. A redirect is never followed by the session below; the login alone reads where one
leads, and takes another path of the same place. It must never let a name, password, token or cookie go elsewhere.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import requests

from .errors import RefusedError

_PORTS = {"http": 80, "https": 443}


def origin(address: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; the port of the scheme where none is named (RFC 6454, section 4).

    An address that cannot be read is of no origin: ``("", "", 0)``.
    """
    try:
        parts = urlsplit(requests.Request("GET", address).prepare().url)
        return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except (requests.RequestException, ValueError):
        return "", "", 0


def leads_elsewhere(location: str, asked: str) -> bool:
    """Whether a ``Location`` names another scheme, host or port than the address that was asked."""
    return bool(location) and origin(_joined(asked, location)) != origin(asked)


def place(location: str) -> str:
    """An address without what may be secret: no query, no session id, no login."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return "an address that is none"
    host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    return host + parts.path.partition(";")[0]


def next_address(location: str, asked: str) -> str:
    """The address that a ``Location`` leads to, without query and fragment, at the place that was asked.

    Raises
    ------
    RefusedError
        It leads to another scheme, host or port.
    """
    if leads_elsewhere(location, asked):
        raise RefusedError(
            f"{place(asked)} leads to {place(location)}, another scheme, host or port; no name and "
            "password goes there.",
            "If that is the XNAT you mean, give its address.",
        )
    here = urlsplit(asked)
    return f"{here.scheme}://{here.netloc}{urlsplit(_joined(asked, location)).path.partition(';')[0]}"


def _joined(asked: str, location: str) -> str:
    """The address that a ``Location`` names, seen from the one that was asked.

    A container behind a proxy that ends TLS writes ``http`` with the host and port that it was asked for. It means
    itself: the path counts, and the scheme stays https.
    """
    try:
        found = urljoin(asked, location)
        here, there = urlsplit(asked), urlsplit(found)
        if here.scheme == "https" and there.scheme == "http" and there.netloc == here.netloc:
            return found.replace("http", "https", 1)
        return found
    except ValueError:
        return location


class OwnPlace(requests.Session):
    """A session that speaks to one scheme, host and port, and follows no redirect: none is read, its body neither.

    The environment's proxies and certificates are read once; ``.netrc`` is left to the login.
    """

    def __init__(self, server: str) -> None:
        super().__init__()
        self._origin = origin(server)
        told = self.merge_environment_settings(server, {}, None, self.verify, None)
        self.proxies, self.verify, self.trust_env = told["proxies"], told["verify"], False

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None

    def get_adapter(self, url: str):
        if origin(url) != self._origin:
            scheme, host, port = self._origin
            raise RefusedError(f"A request to {place(url)} was to be sent with the login of {scheme}://{host}:{port}.")
        return super().get_adapter(url)
