"""Who is asking: passwords, alias tokens, sessions in memory, and the routes of logging in and out.

XNAT source: ``XnatBasicAuthenticationFilter``, ``AuthenticationRestlet``, ``UserSession``, ``AliasTokenRestlet``,
``XnatSecureGuard``, ``configured-urls.yaml``; REST tests TestUserAccess, TestAliasTokenService.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import string
import threading
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from . import clock
from .answers import Refusal, as_json, status_page, text
from .people import GUEST
from .state import State

OPEN = re.compile(
    r"/?|/app/.*|/(data|REST)/(JSESSION|services/auth|version)|/_faults|/_check"
    r"|/xapi/siteConfig/(buildInfo(/\w+)?|siteHome|siteId|siteLogoPath|siteUrl)"
)
_BROWSER = re.compile(r"Mozilla|AppleWebKit|MSIE|Opera", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
LOCKED_S = 3600
"""How long a user is locked out after too many wrong passwords."""
CHALLENGE = {"WWW-Authenticate": 'Basic realm="XNAT Protected Area"'}
LOGIN_PAGE = (
    "<!DOCTYPE html>\n<html>\n<head><title>XNAT</title></head>\n<body>\n"
    '<span id="user_info">Logged in as: <span style="color:red;">Guest</span></span>\n'
    '<form name="form1" method="post" action="/login"><input name="username"><input type="password" name="password">'
    "</form>\n</body>\n</html>\n"
)


@dataclass
class Session:
    """One log-in; ``login`` is None for a guest."""

    id: str
    login: str | None
    seen: float = field(default_factory=time.monotonic)
    csrf: str = field(default_factory=lambda: str(uuid.uuid4()))


class Sessions:
    """The log-ins of this process, gone with it as on a restarted XNAT."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self._verified: dict[str, str] = {}
        self._failed: dict[str, tuple[int, float]] = {}

    def start(self, login: str | None) -> Session:
        found = Session(secrets.token_hex(16).upper(), login)
        with self._lock:
            self._open[found.id] = found
            if len(self._open) % 200 == 0:
                oldest = time.monotonic() - 3600
                self._open = {key: value for key, value in self._open.items() if value.seen > oldest}
        return found

    def get(self, session_id: str | None, timeout_s: float = 900) -> Session | None:
        with self._lock:
            found = self._open.get(session_id or "")
            if found and time.monotonic() - found.seen > timeout_s:
                del self._open[found.id]
                return None
            if found:
                found.seen = time.monotonic()
            return found

    def end(self, session_id: str | None) -> None:
        with self._lock:
            self._open.pop(session_id or "", None)

    def of(self, login: str) -> list[str]:
        with self._lock:
            return [key for key, value in self._open.items() if value.login == login]

    def end_all_of(self, login: str) -> None:
        with self._lock:
            self._open = {key: value for key, value in self._open.items() if value.login != login}

    def expire_all(self) -> None:
        with self._lock:
            self._open.clear()

    def forget(self) -> None:
        """Forget which passwords were checked, after one changed or a token ended."""
        self._verified.clear()

    def login(self, state: State, user: str, password: str) -> str | None:
        """The login behind a name and password or an alias token, or None; a right answer is remembered.

        Too many wrong passwords in a row lock a user out for an hour (XNAT source: ``SiteConfigPreferences``).
        """
        user = user.rpartition("/")[2]
        if _UUID.fullmatch(user):
            row = state.row("SELECT * FROM tokens WHERE alias=?", user)
            if row is None or row["secret"] != password or clock.epoch_s() - row["created"] > 2 * 86400:
                return None
            return row["login"]
        if self._locked_out(state, user):
            return None
        key = hashlib.sha256(f"{user}\0{password}".encode()).hexdigest()
        if key not in self._verified:
            if not state.check_password(user, password):
                self._note_failure(state, user)
                return None
            self._verified[key] = user
        if self._failed:
            with self._lock:
                self._failed.pop(user, None)
        return user

    def _note_failure(self, state: State, user: str) -> None:
        if state.row("SELECT 1 FROM users WHERE login=?", user):
            with self._lock:
                self._failed[user] = self._failed.get(user, (0, 0.0))[0] + 1, clock.epoch_s()

    def _locked_out(self, state: State, user: str) -> bool:
        count, last = self._failed.get(user, (0, 0.0))
        if not count:
            return False
        if clock.epoch_s() - last > LOCKED_S:
            with self._lock:
                self._failed.pop(user, None)
            return False
        most = int(state.site("maxFailedLogins") or 20)
        return 0 < most <= count


def basic(header: str | None) -> tuple[str, str] | None:
    """Name and password of an ``Authorization: Basic`` header."""
    if not header or not header.lower().startswith("basic "):
        return None
    try:
        user, _, password = base64.b64decode(header[6:].strip()).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


async def identify(request: Request) -> Response | None:
    """Set ``request.state.user`` and ``request.state.session``; the answer to give instead, or None to go on."""
    sessions, state = sessions_of(request), request.app.state.xnat
    timeout_s = await run_in_threadpool(lambda: float(state.site("sessionTimeout") or 900))
    sent = request.cookies.get("JSESSIONID")
    session = sessions.get(sent, timeout_s)
    given, open_path = basic(request.headers.get("authorization")), OPEN.fullmatch(request.scope["path"])
    request.state.timeout_s, request.state.fresh = timeout_s, None
    request.state.user, request.state.session = session.login if session else None, session
    if given is not None:
        login = await run_in_threadpool(sessions.login, state, *given)
        if login is None:
            return status_page(401, "Login attempt failed. Please try again.", CHALLENGE)
        if session is None or session.login != login:
            request.state.session = request.state.fresh = sessions.start(login)
            request.state.user = login
        return None
    if open_path is None and session is None and sent:
        return status_page(401, "Your session has expired.", CHALLENGE)
    if open_path is None and (session is None or session.login is None):
        if await run_in_threadpool(state.site, "requireLogin") != "false":
            return anonymous(request)
        request.state.user = GUEST
        if session is None:
            request.state.session = request.state.fresh = sessions.start(None)
        return None
    if session is not None and lacks_csrf(request, session) and await run_in_threadpool(_checks_csrf, state):
        return status_page(403, "Invalid CSRF token")
    return None


def cookies(request: Request, response: Response) -> None:
    """Add the cookies of a new session and of the time it has left; the quotes are part of the value."""
    known = request.scope.get("state", {})
    if known.get("fresh") is not None and known.get("session") is known["fresh"]:
        response.headers.append("Set-Cookie", session_cookie(known["fresh"]))
    timeout_s = known.get("timeout_s", 900.0)
    until = int((clock.epoch_s() + timeout_s) * 1000)
    response.headers.append("Set-Cookie", f'SESSION_EXPIRATION_TIME="{until},{int(timeout_s * 1000)}"; Path=/')


def session_cookie(session: Session) -> str:
    return f"JSESSIONID={session.id}; Path=/; HttpOnly"


def anonymous(request: Request) -> Response:
    """What a closed site says to a stranger: 401, or to a browser the way to the login page."""
    if _BROWSER.search(request.headers.get("user-agent", "")):
        return RedirectResponse("/app/template/Login.vm", 302)
    return status_page(401, "The request requires user authentication", CHALLENGE)


def lacks_csrf(request: Request, session: Session) -> bool:
    """Browsers with a session must send its token with what modifies (XNAT source, SecureAction)."""
    agent = request.headers.get("user-agent", "")
    if request.method in ("GET", "HEAD", "OPTIONS") or session.login is None or not _BROWSER.search(agent):
        return False
    return "XNATDesktopClient" not in agent and request.query_params.get("XNAT_CSRF") != session.csrf


def _checks_csrf(state: State) -> bool:
    return state.site("enableCsrfToken") != "false"


def sessions_of(request: Request) -> Sessions:
    return request.app.state.sessions


def front_page(request: Request) -> Response:
    """The page behind every address of the web pages; strangers are sent from the first one to the log-in."""
    user = request.state.user
    if user is None and request.scope["path"] == "/":
        return RedirectResponse("/app/template/Login.vm", 302)
    return HTMLResponse(LOGIN_PAGE if user is None else f"<!DOCTYPE html>\n<html><body>{user}</body></html>\n")


async def log_in(request: Request) -> Response:
    """``PUT|POST /data/services/auth``: a form in, a new session id out."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)

    def value(name: str) -> str:
        return form.get(name, [request.query_params.get(name, "")])[0]

    if value("authenticatorId") not in ("", "localdb"):
        raise Refusal(400, f"No authenticator {value('authenticatorId')}")
    login = await run_in_threadpool(
        sessions_of(request).login, request.app.state.xnat, value("username"), value("password")
    )
    if login is None:
        raise Refusal(401, "Authentication failed.", CHALLENGE)
    session = sessions_of(request).start(login)
    request.state.user, request.state.session, request.state.fresh = login, session, session
    return text(session.id)


def jsession(request: Request) -> Response:
    """``/data/JSESSION``: GET and POST tell the session's id (a stranger becomes a guest), DELETE ends it."""
    session, sent = request.state.session, request.cookies.get("JSESSIONID")
    if request.method == "DELETE":
        sessions_of(request).end(session.id if session else sent)
        return text()
    if session is None:
        if sent:
            raise Refusal(401, "Your session has expired.", CHALLENGE)
        session = request.state.session = request.state.fresh = sessions_of(request).start(None)
    csrf = f"; XNAT_CSRF={session.csrf}" if request.query_params.get("CSRF", "false") == "true" else ""
    return text(f"{session.id}{csrf}")


def user_auth(request: Request) -> Response:
    return text(f"User '{request.state.user}' is logged in")


def user_sessions(request: Request) -> Response:
    login, state = request.path_params["login"], request.app.state.xnat
    if login != request.state.user and not state.is_admin(request.state.user):
        raise Refusal(403)
    if request.method == "DELETE":
        sessions_of(request).end_all_of(login)
        return text()
    return as_json({login: len(sessions_of(request).of(login))})


def tokens(request: Request) -> Response:
    """``/data/services/tokens/<operation>[/...]``."""
    state, user = request.app.state.xnat, request.state.user
    if user == GUEST:
        raise Refusal(403)
    operation, *rest = [part for part in request.path_params["rest"].split("/") if part]
    if operation == "issue":
        login = user
        if rest[:1] == ["user"] and len(rest) == 2:
            login = rest[1]
            if login != user and not state.is_admin(user):
                raise Refusal(403, "Only administrators can issue tokens for somebody else.")
            if state.row("SELECT 1 FROM users WHERE login=?", login) is None:
                raise Refusal(404, f"No user {login}")
        alias, made = str(uuid.uuid4()), clock.epoch_s()
        secret = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(64))
        with state.write() as db:
            db.execute("INSERT INTO tokens VALUES(?,?,?,?)", (alias, secret, login, made))
        return as_json(
            {
                "alias": alias,
                "secret": secret,
                "xdatUserId": login,
                "singleUse": False,
                "validIPAddresses": [],
                "estimatedExpirationTime": int((made + 2 * 86400) * 1000),
                "created": int(made * 1000),
                "timestamp": int(made * 1000),
                "enabled": True,
                "disabled": 0,
                "id": state.number("token"),
            }
        )
    if operation == "show":
        rows = state.rows("SELECT alias, login FROM tokens WHERE login=?", user)
        return as_json([{"alias": row["alias"], "xdatUserId": row["login"]} for row in rows])
    if operation == "validate":
        if len(rest) != 2:
            raise Refusal(401, "You must specify the alias and the secret.")
        row = state.row("SELECT login FROM tokens WHERE alias=? AND secret=?", *rest)
        return as_json({"valid": row["login"] if row else None})
    if operation == "invalidate" and rest:
        row = state.row("SELECT login FROM tokens WHERE alias=?", rest[0])
        if row is None:
            raise Refusal(404, f"No token {rest[0]}")
        if row["login"] != user and not state.is_admin(user):
            raise Refusal(403)
        with state.write() as db:
            db.execute("DELETE FROM tokens WHERE alias=?", (rest[0],))
        sessions_of(request).forget()
        return as_json({"result": "OK"})
    raise Refusal(400, f"Unknown operation: {operation}")


routes = [
    Route("/", front_page),
    Route("/app/{rest:path}", front_page),
    Route("/data/services/auth", log_in, methods=["PUT", "POST"]),
    Route("/data/JSESSION", jsession, methods=["GET", "POST", "DELETE"]),
    Route("/data/auth", user_auth),
    Route("/data/user/{login}/sessions", user_sessions, methods=["GET", "DELETE"]),
    Route("/data/services/tokens/{rest:path}", tokens),
]
