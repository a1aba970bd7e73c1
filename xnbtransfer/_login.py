"""Where the address and the credentials come from, and how a login is made and renewed. Never prints a secret."""

from __future__ import annotations

import contextlib
import getpass
import logging
import netrc
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
import xnat
from requests.adapters import HTTPAdapter

from ._http import KeepLogin
from .errors import InputError, LoginError, NotDataError, ServerError, TransientError

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


def open_session(
    server: str, user: str, password: str, timeout: tuple[float, float], pool: int
) -> tuple[xnat.session.BaseXNATSession, str, Callable[[], None]]:
    """Log in through xnatpy; return its session, the address after redirects and a function that logs in again."""
    host = urlsplit(server).netloc
    try:
        session = xnat.connect(
            server,
            user=user,
            password=password,
            no_parse_model=True,
            logger=_quiet(),
            default_timeout=timeout,
            pilot_timeout=timeout[0],
        )
    except xnat.exceptions.XNATLoginFailedError:
        raise LoginError(f"{host} refuses the login of {_shown(user)}.") from None
    except xnat.exceptions.XNATExpiredCredentialsError:
        raise LoginError(f"The password of {_shown(user)} at {host} has expired.", "Set a new one there.") from None
    except requests.exceptions.SSLError:
        raise InputError(
            f"The certificate of {host} cannot be verified.", "Name your site's certificates in REQUESTS_CA_BUNDLE."
        ) from None
    except (requests.RequestException, xnat.exceptions.XNATConnectionError, OSError) as problem:
        raise TransientError(
            f"{host} cannot be reached ({type(problem).__name__}).",
            "Check the address and your network, then try again.",
        ) from None
    except (xnat.exceptions.XNATError, ValueError) as problem:
        raise ServerError(f"{host} does not answer as an XNAT does ({type(problem).__name__}).") from None
    interface = session.interface
    for scheme in ("http://", "https://"):
        interface.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=pool, pool_block=True, max_retries=0))
    interface.cookies.set_policy(KeepLogin())
    effective = session._effective_uri.rstrip("/")
    # Proxies and certificates of the environment are read once: requests would read all of it for each request.
    told = interface.merge_environment_settings(effective, {}, None, interface.verify, None)
    interface.proxies, interface.verify, interface.trust_env = told["proxies"], told["verify"], False
    return session, effective, lambda: _log_in(interface, effective, user, password, timeout)


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
        interface.delete(f"{server}/data/JSESSION", headers={"Connection": "close"}, timeout=10)
    xnat.session.BaseXNATSession.disconnect(session)


def _log_in(interface: requests.Session, server: str, user: str, password: str, timeout: tuple[float, float]) -> None:
    host = urlsplit(server).netloc
    with requests.Session() as fresh:
        fresh.headers["User-Agent"] = interface.headers["User-Agent"]
        fresh.verify = interface.verify
        fresh.auth = lambda request: request  # keeps requests from reading .netrc
        wait = (timeout[0], min(timeout[1], 120.0))
        try:
            if _ALIAS.fullmatch(user):
                answer = fresh.get(server, auth=(user, password), timeout=wait)
            else:
                form = {"username": user, "password": password}
                answer = fresh.put(f"{server}/data/services/auth", data=form, timeout=wait)
        except (requests.RequestException, OSError) as problem:
            raise TransientError(f"{host} cannot be reached to log in again ({type(problem).__name__}).") from None
        if answer.status_code in (401, 403):
            raise LoginError(f"{host} refuses the login of {_shown(user)}.")
        if answer.status_code != 200:
            raise TransientError(f"{host} answered the login with {answer.status_code}.")
        cookies = list(fresh.cookies)
        if not any(cookie.name == "JSESSIONID" for cookie in cookies):
            token = answer.text.strip()
            if not re.fullmatch(r"[\w.!~-]{8,128}", token):
                raise NotDataError(f"{host} sent no session id when logging in again.")
            cookies.append(requests.cookies.create_cookie("JSESSIONID", token))
    new = {(cookie.domain, cookie.path) for cookie in cookies if cookie.name == "JSESSIONID"}
    for cookie in cookies:
        interface.cookies.set_cookie(cookie)
    for cookie in list(interface.cookies):
        if cookie.name == "JSESSIONID" and (cookie.domain, cookie.path) not in new:
            interface.cookies.clear(cookie.domain, cookie.path, cookie.name)


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
    return logger
