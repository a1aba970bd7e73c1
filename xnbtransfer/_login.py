"""Where the address and the credentials come from, and how a login is made and renewed. Never prints a secret."""

from __future__ import annotations

import contextlib
import getpass
import logging
import netrc
import os
import re
import sys
import time
from collections.abc import Callable
from http.cookiejar import Cookie, CookieJar
from pathlib import Path
from urllib.parse import urlsplit

import requests
import xnat

from ._address import no_tls, why_no_login
from ._bounds import Bounded, read_whole
from ._http import KeepLogin, words_of
from ._origin import OwnPlace, next_address, place
from .errors import InputError, LoginError, NotDataError, TransientError
from .forms import FRONT, LOGIN, LOGOUT, WHO

LOGIN_PAUSES_S = (1.0, 3.0, 6.0)  # between the tries of a login that the server fails to judge
_HOPS = 5  # redirects from the address that was given to XNAT's front page
_REFUSES = re.compile(r"credential|authentication failed|password", re.IGNORECASE)
_ALIAS = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def address(side: str, server: str) -> str:
    """The server's address: the argument, else ``XNAT_<SIDE>_HOST``, else ``XNAT_HOST``."""
    names = _names(side, "HOST")
    found = (server or next((os.environ[name] for name in names if os.environ.get(name)), "")).strip().rstrip("/")
    if not found:
        raise InputError(
            f"No address of the {side} XNAT is given.".replace("  ", " "), f"Pass it, or set {' or '.join(names)}."
        )
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(
            "The address of the XNAT is no address.", "It begins with https://, for example https://xnat.example.org."
        )
    if "@" in parts.netloc:
        raise InputError(
            "The address of the XNAT holds a login.", "Leave it out: give user and password by XNAT_USER and XNAT_PASS."
        )
    return found


def credentials(side: str, server: str, user: str, password: str, prompt: bool) -> tuple[str, str]:
    """User and password: arguments, ``XNAT_<SIDE>_*``, ``XNAT_*``, ``.netrc``, a keyring, a prompt, in this order.

    A password is only used with the user of the same place, or with a user named without a password.
    """
    pairs = [(user, password)]
    for user_name, pass_name in zip(_names(side, "USER"), _names(side, "PASS"), strict=True):
        pairs.append((os.environ.get(user_name, ""), os.environ.get(pass_name, "")))
    wanted = ""
    for name, secret in pairs:
        if secret and (name or wanted) and (not wanted or name in ("", wanted)):
            return wanted or name, secret
        wanted = wanted or name
    found = _from_netrc(server)
    if not found or wanted not in ("", found[0]):
        found = _from_keyring(server, wanted)
    if found and wanted in ("", found[0]):
        return found
    if prompt and _somebody_there():
        try:
            wanted = wanted or input(f"User at {server}: ").strip()
            secret = getpass.getpass(f"Password of {wanted} at {server}: ")
        except (EOFError, RuntimeError, NotImplementedError):
            secret = ""
        if wanted and secret:
            return wanted, secret
    names = " and ".join(f"XNAT_{side.upper()}_{key}" if side else f"XNAT_{key}" for key in ("USER", "PASS"))
    raise LoginError(
        f"No credentials for {server} are given.",
        f"Set {names} (or XNAT_USER and XNAT_PASS), or add the host to ~/.netrc or to a keyring.",
    )


def provider(side: str) -> str:
    """The login provider to name, "" to let XNAT find it: ``XNAT_<SIDE>_PROVIDER``, else ``XNAT_PROVIDER``.

    XNAT guesses it from earlier logins, and answers 400 where that leaves several (XNAT source, AuthenticationRestlet).
    """
    return next((os.environ[name] for name in _names(side, "PROVIDER") if os.environ.get(name)), "")


def open_session(
    server: str, user: str, password: str, login_provider: str, timeout: tuple[float, float], pool: int
) -> tuple[xnat.session.BaseXNATSession, str, Callable[[], None]]:
    """Log in; return a session of xnatpy, the address after redirects and a function that logs in again.

    Raises
    ------
    LoginError
        XNAT is there and refuses the login, or the password has expired.
    InputError
        The address is that of no XNAT, or not XNAT's whole address, or the certificate cannot be verified.
    TransientError
        Nothing answers, or XNAT is starting.
    RefusedError
        The address, or the answer to the login, leads to another scheme, host or port.
    """
    host = urlsplit(server).netloc
    interface = _interface(server, pool)
    effective, name = server, ""
    try:
        effective = _after_redirects(interface, server, timeout[0])
        wait = timeout[0], timeout[0]
        answer = _judged(lambda: _ask_in(interface, effective, user, password, login_provider, wait))
        if answer.status_code == 200 or answer.is_redirect:
            _take(interface, answer, host)
            name = _who(interface, effective, _shown(user), timeout[0])
    except NotDataError:
        name = ""
    except requests.exceptions.SSLError as problem:
        raise no_tls(host, problem) from None
    except (requests.RequestException, OSError) as problem:
        raise TransientError(
            f"{host} cannot be reached ({type(problem).__name__}).",
            "Check the address and your network, then try again.",
        ) from None
    finally:
        if not name:
            _give_up(interface, effective)
    if not name:
        raise why_no_login(effective, _shown(user), login_provider, timeout[0])
    session = _Session(
        server=effective,
        logger=_quiet(),
        interface=interface,
        original_uri=server,
        logged_in_user=name,
        default_timeout=timeout,
        jsession=interface.cookies.get("JSESSIONID"),
    )
    return session, effective, lambda: _log_in(interface, effective, user, password, login_provider, timeout)


class _Session(xnat.session.XNATSession):
    """A session of xnatpy whose heart beats only as it is told: its own asks JSESSION, which is 200 for guests, too."""

    def heartbeat(self) -> None:
        """Nothing, until :func:`keep_alive_quietly` says what."""


def _interface(server: str, pool: int) -> OwnPlace:
    """A session for one server, with as many connections as are used at one time."""
    interface = OwnPlace(server)
    agent = interface.headers["User-Agent"]
    interface.headers["User-Agent"] = f"xnbtransfer xnatpy/{xnat.__version__} ({agent})"
    for scheme in ("http://", "https://"):
        interface.mount(scheme, Bounded(pool_connections=4, pool_maxsize=pool, pool_block=True, max_retries=0))
    interface.cookies.set_policy(KeepLogin())
    return interface


def _after_redirects(interface: OwnPlace, server: str, timeout_s: float) -> str:
    """XNAT's address where the front page lies below another path (a context path); no login is sent to find out.

    Raises
    ------
    RefusedError
        The front page lies at another scheme, host or port.
    """
    asked = server + FRONT.path
    for _ in range(_HOPS):
        page = re.match(r"(.*?)/(?:app|data)/", asked)  # of XNAT's own, which need not be asked for
        if page:
            return page[1]
        with interface.get(asked, timeout=timeout_s, stream=True) as answer:
            where = answer.headers.get("Location", "") if 300 <= answer.status_code < 400 else ""
        if not where:
            return asked.rstrip("/")
        asked = next_address(where, asked)
    raise InputError(f"{server} leads from one address to the next without an end.", "Check the address.")


def _ask_in(
    interface: requests.Session, server: str, user: str, password: str, login_provider: str, wait: tuple[float, float]
) -> requests.Response:
    """The answer to name and password, or to an alias token, sent without the cookies of an earlier login.

    Raises
    ------
    RefusedError
        The answer leads to another scheme, host or port.
    """
    with OwnPlace(server) as fresh:
        for scheme in ("http://", "https://"):
            fresh.mount(scheme, Bounded(max_retries=0))
        fresh.headers["User-Agent"] = interface.headers["User-Agent"]
        fresh.verify, fresh.proxies = interface.verify, interface.proxies
        if _ALIAS.fullmatch(user):
            asked = server + FRONT.path
            answer = read_whole(fresh.get(asked, auth=(user, password), timeout=wait, stream=True))
        else:
            asked = server + LOGIN.path
            form = {"username": user, "password": password}
            form |= {"provider": login_provider} if login_provider else {}
            answer = read_whole(fresh.put(asked, data=form, timeout=wait, stream=True))
    if 300 <= answer.status_code < 400:
        next_address(answer.headers.get("Location", ""), asked)
    return answer


def _judged(ask: Callable[[], requests.Response]) -> requests.Response:
    """The answer to ``ask``, asked again where the server fails, as it does for a moment while a project is made.

    A wrong password is 500, too, up to 1.7.6, with the words "Bad credentials" (recorded from 1.6.4: client-forms 2);
    it is not sent again.
    """
    for pause in LOGIN_PAUSES_S:
        answer = ask()
        if answer.status_code != 500 or _REFUSES.search(words_of(answer)):
            return answer
        time.sleep(pause)
    return ask()


def _take(interface: requests.Session, answer: requests.Response, host: str) -> None:
    """Put the session that an answer to the login gives in the place of any other.

    Raises
    ------
    NotDataError
        The answer gives none.
    """
    cookies = _cookies(answer.cookies)
    if not any(cookie.name == "JSESSIONID" for cookie in cookies):
        token = answer.text.strip()
        if not re.fullmatch(r"[\w.!~-]{8,128}", token):
            raise NotDataError(f"{host} sent no session id when logging in.")
        cookies.append(requests.cookies.create_cookie("JSESSIONID", token))
    new = {(cookie.domain, cookie.path) for cookie in cookies if cookie.name == "JSESSIONID"}
    for cookie in cookies:
        interface.cookies.set_cookie(cookie)
    for cookie in _cookies(interface.cookies):
        if cookie.name == "JSESSIONID" and (cookie.domain, cookie.path) not in new:
            interface.cookies.clear(cookie.domain, cookie.path, cookie.name)


def _cookies(jar: CookieJar) -> list[Cookie]:
    """The cookies themselves, as :class:`http.cookiejar.CookieJar` gives them."""
    return list(jar)


def _who(interface: requests.Session, server: str, shown: str, timeout_s: float) -> str:
    """The user as the server names it; "" for a guest, and where it names nobody.

    Raises
    ------
    LoginError
        The password has expired: XNAT says so, or sends each request to the page for a new one.
    """
    answer = _judged(lambda: read_whole(interface.get(server + WHO.path, timeout=timeout_s, stream=True)))
    where = answer.headers.get("Location", "") if 300 <= answer.status_code < 400 else ""
    if re.search(r"UpdateUser|ChangePassword|expired", place(where)) or "Your password has expired" in answer.text:
        host = urlsplit(server).netloc
        raise LoginError(f"The password of {shown} at {host} has expired.", "Set a new one there.")
    found = re.search(r"User '([^<]+)' is logged in", answer.text) if answer.status_code == 200 else None
    return found[1] if found and found[1] != "guest" else ""


def _give_up(interface: requests.Session, server: str) -> None:
    """End what a login that failed has left, if anything, and free the connections."""
    if interface.cookies.get("JSESSIONID"):
        with contextlib.suppress(requests.RequestException, OSError):
            _end(interface, server)
    interface.close()


def keep_alive_quietly(session: xnat.session.BaseXNATSession, beat: Callable[[], object]) -> None:
    """Let xnatpy's heart-beat thread call ``beat``: a missed beat must not end the thread with a traceback."""

    def safely() -> None:
        try:
            beat()
        except Exception:  # the next request finds out and renews the login
            pass

    session.heartbeat = safely


def end_session(session: xnat.session.BaseXNATSession, server: str) -> None:
    """End the login, its heart-beat and its connections; what the server says to that is of no interest.

    xnatpy's own ``disconnect`` of a login that has run out raises and leaves the thread alive.
    """
    interface, session.heartbeat = session.interface, lambda: None
    if interface is None:
        return
    with contextlib.suppress(requests.RequestException, OSError):
        _end(interface, server)
    xnat.session.BaseXNATSession.disconnect(session)


def _end(interface: requests.Session, server: str) -> None:
    interface.delete(server + LOGOUT.path, headers={"Connection": "close"}, timeout=10, stream=True).close()


def _log_in(
    interface: requests.Session,
    server: str,
    user: str,
    password: str,
    login_provider: str,
    timeout: tuple[float, float],
) -> None:
    """Log in anew, end the old session at the server, and put the new cookie in its place.

    A session that is left open counts against the limit of sessions for a user.
    """
    host = urlsplit(server).netloc
    try:
        wait = (timeout[0], min(timeout[1], 120.0))
        answer = _judged(lambda: _ask_in(interface, server, user, password, login_provider, wait))
    except (requests.RequestException, OSError) as problem:
        raise TransientError(f"{host} cannot be reached to log in again ({type(problem).__name__}).") from None
    if answer.status_code in (401, 403):
        raise LoginError(f"{host} refuses the login of {_shown(user)}.")
    if answer.status_code != 200 and not (answer.is_redirect and _ALIAS.fullmatch(user)):
        raise TransientError(f"{host} answered the login with {answer.status_code}.")
    with contextlib.suppress(requests.RequestException, OSError):
        _end(interface, server)
    _take(interface, answer, host)


def _names(side: str, key: str) -> list[str]:
    return [f"XNAT_{side.upper()}_{key}", f"XNAT_{key}"] if side else [f"XNAT_{key}"]


def _shown(user: str) -> str:
    return "the alias token" if _ALIAS.fullmatch(user) else f"the user {user!r}"


def _from_netrc(server: str) -> tuple[str, str] | None:
    if os.environ.get("NETRC"):
        places = [Path(os.environ["NETRC"])]
    else:
        try:
            places = [Path.home() / ".netrc", Path.home() / "_netrc"]
        except RuntimeError:
            return None
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    try:
        hosts = netrc.netrc(str(path)).hosts
    except netrc.NetrcParseError as problem:
        raise LoginError(f"The file {path.name} cannot be read (line {problem.lineno}).") from None
    except OSError:
        return None
    parts = urlsplit(server)
    for name in (parts.netloc, parts.hostname or "", "default"):
        if name in hosts and hosts[name][0] and hosts[name][2]:
            return hosts[name][0], hosts[name][2]
    return None


def _from_keyring(server: str, user: str) -> tuple[str, str] | None:
    """What the desktop's keyring holds for the address or its host, where the package ``keyring`` is installed."""
    try:
        import keyring
    except ImportError:
        return None
    for service in (server, urlsplit(server).netloc):
        try:
            found = keyring.get_credential(service, user or None)
        except Exception:  # noqa: BLE001 - none on this machine, locked, or what its backend raises
            return None
        if found and found.username and found.password:
            return found.username, found.password
    return None


def _somebody_there() -> bool:
    """Whether a person can answer a prompt: a terminal, or a notebook front end."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and hasattr(shell, "kernel"):
        return bool(getattr(shell.kernel, "_allow_stdin", False))
    return bool(sys.stdin) and sys.stdin.isatty()


def _quiet() -> logging.Logger:
    logger = logging.getLogger("xnbtransfer.xnatpy")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 10)
    logger.verbose = logger.debug  # a level of its own that xnatpy expects of a logger
    return logger
