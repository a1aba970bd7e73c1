"""Why an address lets nobody in: it is no XNAT, not XNAT's whole address, the wrong scheme, or XNAT is starting.

Asked by the login when it has failed, without name and password; a login that works costs nothing more.
"""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import requests

from ._bounds import read_whole
from ._http import container_knows_nothing, words_of
from ._origin import OwnPlace
from ._rows import is_json, json_of
from .errors import InputError, LoginError, NotDataError, TransientError, XnbTransferError
from .forms import BUILD, FRONT, WHO, Form

_USUAL_CONTEXT = "/xnat"  # where XNAT lies in a container that it shares


def no_tls(host: str, problem: Exception) -> InputError:
    """What a failed TLS handshake means: a certificate that cannot be verified, or a port that speaks none."""
    if "CERTIFICATE" in str(problem).upper():
        return InputError(
            f"The certificate of {host} cannot be verified.", "Name your site's certificates in REQUESTS_CA_BUNDLE."
        )
    return InputError(
        f"{host} does not speak https on this port.",
        "Check the port of the address; if the server has plain http only, write http:// in place of https://.",
    )


def why_no_login(server: str, user: str, login_provider: str, timeout_s: float) -> XnbTransferError:
    """The error for a login that failed, after a look at what answers at this address.

    Parameters
    ----------
    server : str
        The address without a slash at its end.
    user : str
        The user as a message may name it.
    """
    parts = urlsplit(server)
    host, origin = parts.netloc, f"{parts.scheme}://{parts.netloc}"
    try:
        told = _asked(server, BUILD, timeout_s)
        who = _asked(server, WHO, timeout_s)
    except (requests.RequestException, OSError) as problem:
        return TransientError(f"{host} does not answer reliably ({type(problem).__name__}).", "Try again in a minute.")
    if parts.path and not _tells_version(told):  # an XNAT at another path may refuse any address below it with 401
        with contextlib.suppress(requests.RequestException, OSError):
            if _tells_version(_asked(origin, BUILD, timeout_s)):
                return InputError(f"There is no XNAT at {server}, but there is one at {origin}.", "Use that address.")
    if _is_xnat(told, who) or who.status_code == 401:
        if login_provider:
            return LoginError(f"{host} refuses the login of {user} by the login provider {login_provider!r}.")
        return LoginError(
            f"{host} refuses the login of {user}.",
            "Check the user name and the password or token; where XNAT has several login providers, name one with "
            "--login-provider or XNAT_PROVIDER.",
        )
    for other in dict.fromkeys((origin, origin + _USUAL_CONTEXT)):
        with contextlib.suppress(requests.RequestException, OSError):
            if other != server and _is_xnat(_asked(other, BUILD, timeout_s), _asked(other, WHO, timeout_s)):
                return InputError(f"There is no XNAT at {server}, but there is one at {other}.", "Use that address.")
    if who.status_code in (502, 503, 504):
        return TransientError(
            f"{host} answers with {who.status_code}: XNAT is starting there, or is not running.",
            "Wait some minutes, then try again; if it stays so, ask its administrator.",
        )
    if who.status_code == 400 and "https" in who.text[:2000].lower():
        return InputError(f"{host} speaks https on this port, not http.", "Write https:// in place of http://.")
    front = _front(server, timeout_s)
    if container_knows_nothing(who) and (front is None or container_knows_nothing(front)):
        return TransientError(
            f"{host} knows no address of XNAT now: XNAT is starting there, or it has another path.",
            "Wait some minutes, then try again; if it stays so, look in a browser at which address XNAT's pages are.",
        )
    said = f" ({words_of(who)})" if who.status_code >= 400 and words_of(who) else ""
    return NotDataError(
        f"{server} answers, but not as an XNAT does: {WHO.path} is {who.status_code}{said}.",
        "Check the address: it is that of XNAT's own pages, without /app or /data.",
    )


def _asked(server: str, form: Form, timeout_s: float) -> requests.Response:
    with OwnPlace(server) as nobody:
        return read_whole(nobody.get(server + form().address, timeout=timeout_s, stream=True))


def _front(server: str, timeout_s: float) -> requests.Response | None:
    try:
        return _asked(server, FRONT, timeout_s)
    except (requests.RequestException, OSError):
        return None


def _tells_version(told: requests.Response) -> bool:
    return told.status_code == 200 and is_json(told) and "version" in json_of(told)


def _is_xnat(told: requests.Response, who: requests.Response) -> bool:
    """By the build information, open to anybody from 1.7, else by what it says to the question who is logged in."""
    if _tells_version(told):
        return True
    if who.status_code == 200:
        return "is logged in" in who.text[:500]
    return who.status_code == 401 and "basic" in who.headers.get("WWW-Authenticate", "").lower()
