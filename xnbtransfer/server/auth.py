"""Who is asking: passwords, alias tokens, sessions in memory, and the routes of logging in and out.

XNAT source: ``XnatBasicAuthenticationFilter``, ``AuthenticationRestlet``, ``UserSession``, ``AliasTokenRestlet``,
``XnatSecureGuard``, ``configured-urls.yaml``; REST tests TestUserAccess, TestAliasTokenService.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import string
import threading
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from . import clock, passwords, personality, unread
from .answers import Refusal, as_json, cell, container_page, json_body, status_page, text
from .people import GUEST
from .rules import strike
from .state import State, without_rights

OPEN = re.compile(
    r"/?|/app/.*|/(data|REST)/(JSESSION|services/auth|version)|/_faults|/_check|/_passwords|/_site"
    r"|/xapi/siteConfig/(buildInfo(/\w+)?|siteHome|siteId|siteLogoPath|siteUrl)"
)
_BROWSER = re.compile(r"Mozilla|AppleWebKit|MSIE|Opera", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NO_BROWSER = re.compile(r"XNATDesktopClient|\bJava/")
_FREE = re.compile(r".*/app/(template/(Login|XDATScreen_UpdateUser)\.vm|action/(LogoutUser|ModifyPassword))|/login")
"""Where who has an old password is not sent on to a new one (XNAT source, XnatExpiredPasswordFilter)."""
LOGIN = "/app/template/Login.vm"
_CSRF = "org.nrg.xdat.security.user.exceptions.InvalidCsrfException: Invalid CSRF"
_FAILED = (
    "Your login attempt failed because the username and password combination you provided was invalid or your user "
    "already has the maximum number of user sessions open."
)
RIGHTS_LATE_S = 0.5
"""How long 1.7.2 takes at most until it knows the rights of a new log-in (facts of live servers)."""
LOCKED_S = 3600
"""How long a user is locked out after too many wrong passwords."""
CHALLENGE = {"WWW-Authenticate": 'Basic realm="XNAT"'}
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
    rights: bool = True
    """Whether the rights of this log-in are known; 1.7.2 answers without them what comes beside its first request."""
    asked: bool = False
    """Whether a request of this log-in has been sent since it began."""
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

    def give(self, session: Session, login: str) -> None:
        """Let a session be somebody's; its id stays (XNAT source, AuthenticationRestlet)."""
        with self._lock:
            session.login, session.csrf = login, str(uuid.uuid4())

    def end_all_of(self, login: str) -> None:
        with self._lock:
            self._open = {key: value for key, value in self._open.items() if value.login != login}

    def expire_all(self) -> None:
        with self._lock:
            self._open.clear()

    def forget(self) -> None:
        """Forget which passwords were checked, after one changed or a token ended."""
        self._verified.clear()

    def full(self, state: State, login: str) -> bool:
        """Whether somebody has as many log-ins as the site allows; a further one is refused, those there stay."""
        return len(self.of(login)) >= int(state.site("concurrentMaxSessions") or 1000)

    def login(self, state: State, user: str, password: str, tokens: bool = True) -> str | None:
        """The login behind a name and password or, with ``tokens``, an alias token, or None; it is remembered.

        Too many wrong passwords in a row lock a user out for an hour (XNAT source: ``SiteConfigPreferences``).
        """
        user = user.rpartition("/")[2]
        if _UUID.fullmatch(user) and not tokens:
            return None
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
    """Set ``request.state.user`` and ``request.state.session``; the answer to give instead, or None to go on.

    Whoever comes without a session that is known gets a new one, whatever the answer is: to who had one before, the
    new cookie is the sign that the log-in is lost. On an open site nothing else is (recorded answers, topic W6).
    """
    answer = await run_in_threadpool(_identify, request)
    session = request.state.session
    if session is not None and session.login is not None and not session.rights and request.state.first is None:
        without_rights.set(True)
    return answer


def _identify(request: Request) -> Response | None:
    sessions, state, known = sessions_of(request), request.app.state.xnat, request.state
    known.timeout_s = float(state.site("sessionTimeout") or 900)
    session = sessions.get(request.cookies.get("JSESSIONID"), known.timeout_s)
    given, open_path = basic(request.headers.get("authorization")), OPEN.fullmatch(_path(request))
    known.session, known.fresh, known.user, known.first = session, None, None, None
    if given is not None:
        login = sessions.login(state, *given)
        there = session is not None and session.login == login
        if login is None or (not there and sessions.full(state, login)):
            known.timeout_s = None  # the one answer that sets no cookie
            return container_page(401, _FAILED, CHALLENGE)
        if session is None or not there:
            session = known.fresh = sessions.start(login)
            _begun(request, state, session)
    elif session is None:
        session = known.fresh = sessions.start(None)
    known.session, known.user = session, session.login
    if session.login is not None and not session.rights and not session.asked:
        session.asked, known.first = True, session
        threading.Timer(RIGHTS_LATE_S, setattr, (session, "rights", True)).start()
    if session.login is None:
        if state.site("requireLogin") == "false":
            known.user = GUEST
        elif open_path is None or (_path(request) == "/data/JSESSION" and not _beats(state)):
            return anonymous(request)
        return None
    old = not personality.has(state, "xapi")
    looked_at = given is not None or old or personality.has(state, "expiry-by-cookie")
    if looked_at and passwords.expired(state, session.login) and not _FREE.fullmatch(_path(request)):
        if old and given is not None:
            return container_page(403, "Your password has expired. Please try again after changing your password.")
        return _sent_to(request, f"/app/template/{'ChangePassword' if old else 'XDATScreen_UpdateUser'}.vm")
    if open_path is None and lacks_csrf(request, session) and _checks_csrf(state):
        return status_page(500, f"{_CSRF}: {request.method} on URL: {_path(request)}")
    return None


def _path(request: Request) -> str:
    return request.scope["path"]


def _beats(state: State) -> bool:
    """Whether a stranger at a closed site may ask for the id of a session, too (recorded answers, topic W6)."""
    return personality.has(state, "session-of-a-stranger")


def _begun(request: Request, state: State, session: Session) -> None:
    """1.7.2 reads the rights of a new log-in with its first request, and answers what comes beside it without."""
    late = not personality.has(state, "rights-at-once") or strike("rights-late", f"{request.method} {_path(request)}")
    session.rights, session.asked = not late, False


def answered(request: Request) -> None:
    """Note that a request has its answer: with the first one of a log-in its rights are known."""
    first = request.scope.get("state", {}).get("first")
    if first is not None:
        first.rights = True


def cookies(request: Request, response: Response) -> None:
    """Add the cookies of a new session and of the time it has left; the quotes are part of the value."""
    known = request.scope.get("state", {})
    if known.get("fresh") is not None and known.get("session") is known["fresh"]:
        response.headers.append("Set-Cookie", session_cookie(known["fresh"]))
    timeout_s = known.get("timeout_s", 900.0)
    if timeout_s is None:
        return
    until = int((clock.epoch_s() + timeout_s) * 1000)
    response.headers.append("Set-Cookie", f'SESSION_EXPIRATION_TIME="{until},{int(timeout_s * 1000)}"; Path=/')


def session_cookie(session: Session) -> str:
    return f"JSESSIONID={session.id}; Path=/; HttpOnly"


def anonymous(request: Request) -> Response:
    """What a closed site says to a stranger: 401, or to a browser the way to the login page."""
    if _BROWSER.search(request.headers.get("user-agent", "")):
        return _sent_to(request, LOGIN)
    return container_page(401, "", CHALLENGE)


def _sent_to(request: Request, page: str) -> Response:
    """The way to a page, as an address of its own."""
    return Response(status_code=302, headers={"Location": f"{str(request.base_url).rstrip('/')}{page}"})


def lacks_csrf(request: Request, session: Session) -> bool:
    """Browsers must send their session's token with what modifies, with Basic as well (recorded answers, topic CSRF).

    Only the older half of the addresses asks for it: ``/xapi`` does not.
    """
    agent = request.headers.get("user-agent", "")
    if request.method in ("GET", "HEAD", "OPTIONS") or session.login is None or not _path(request).startswith("/data"):
        return False
    if not _BROWSER.search(agent) or _NO_BROWSER.search(agent):
        return False
    return request.query_params.get("XNAT_CSRF") != session.csrf


def _checks_csrf(state: State) -> bool:
    return state.site("enableCsrfToken") != "false"


def sessions_of(request: Request) -> Sessions:
    return request.app.state.sessions


def front_page(request: Request) -> Response:
    """The page behind every address of the web pages; strangers are sent from the first one to the log-in."""
    user = request.state.user
    if user is None and request.scope["path"] == "/":
        return _sent_to(request, LOGIN)
    return HTMLResponse(LOGIN_PAGE if user in (None, GUEST) else f"<!DOCTYPE html>\n<html><body>{user}</body></html>\n")


async def log_in(request: Request) -> Response:
    """``PUT|POST /data/services/auth``: a form in, a new session id out."""
    request.headers.get("content-type")
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
    given = unread.values(request, {**dict(request.query_params.multi_items()), **form}, form)

    def value(name: str) -> str:
        return given.get(name, "")

    state, sessions = request.app.state.xnat, sessions_of(request)
    user, password = (value(name) or value(f"j_{name}") for name in ("username", "password"))
    method = value("provider") or value("login_method")

    def tried() -> str | None:
        if not passwords.choose(state, user.rpartition("/")[2], value("authenticatorId"), method):
            return None
        login = sessions.login(state, user, password, tokens=not personality.has(state, "form-takes-no-token"))
        return None if login is None or sessions.full(state, login) else login

    login = await run_in_threadpool(tried)
    if login is None:
        raise Refusal(401 if personality.has(state, "form-says-401") else 500, "Authentication failed.")
    session = request.state.session
    sessions.give(session, login)
    await run_in_threadpool(_begun, request, state, session)
    request.state.user = login
    return text(session.id if personality.has(state, "form-tells-session") else "")


def jsession(request: Request) -> Response:
    """``/data/JSESSION``: GET and POST tell the session's id, also to a stranger; DELETE ends it.

    It never tells that a log-in is lost: that answer is 200 with another id (recorded answers, topic W6).
    """
    session = request.state.session
    if request.method == "DELETE":
        sessions_of(request).end(session.id)
        return text()
    csrf = f"; XNAT_CSRF={session.csrf}" if request.query_params.get("CSRF", "false") == "true" else ""
    return text(f"{session.id}{csrf}")


def user_auth(request: Request) -> Response:
    stop = "" if personality.has(request.app.state.xnat, "xapi") else "."
    return text(f"User '{request.state.user}' is logged in{stop}")


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
                raise Refusal(
                    403, "Non-admin users can only request operations on alias tokens for their own account"
                )
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
        row = state.row("SELECT login, secret FROM tokens WHERE alias=?", rest[0])
        if row is None:
            raise Refusal(404, f"Can't find an alias token with the alias {rest[0]}")
        return as_json({"valid": row["login"]} if row["secret"] == rest[1] else {})
    if operation == "invalidate" and rest:
        row = state.row("SELECT login FROM tokens WHERE alias=?", rest[0])
        if row is None:
            raise Refusal(404, f"Can't find an alias token with the alias {rest[0]}")
        if row["login"] != user and not state.is_admin(user):
            raise Refusal(403)
        with state.write() as db:
            db.execute("DELETE FROM tokens WHERE alias=?", (rest[0],))
        sessions_of(request).forget()
        return as_json({"result": "OK"})
    raise Refusal(400, f"Unknown operation: {operation}")


async def site_settings(request: Request) -> Response:
    """POST /_site: ``{"preferences": {NAME: VALUE}, "groups": {LOGIN: GROUP}}``, as one changes XNAT's database.

    From this machine only, and no part of XNAT.
    """
    if request.client is None or request.client.host not in ("127.0.0.1", "::1"):
        raise Refusal(403)
    given, state = await json_body(request, dict), request.app.state.xnat

    def change() -> None:
        with state.write() as db:
            for name, value in given.get("preferences", {}).items():
                state.set_site(name, cell(value))
            for login, group in given.get("groups", {}).items():
                db.execute("UPDATE users SET site_group=? WHERE login=?", (group, login))

    await run_in_threadpool(change)
    return text()


def old_settings(request: Request) -> Response:
    """PUT /data/services/settings/NAME/VALUE, for administrators: how 1.6 sets a preference."""
    state: State = request.app.state.xnat
    name, value = request.path_params["name"], request.path_params["value"]
    if personality.has(state, "xapi"):
        raise Refusal(404)
    if not state.is_admin(request.state.user):
        raise Refusal(403)
    state.set_site(name, value)
    told = {"true": True, "false": False}.get(value, value)
    return text(json.dumps({"ResultSet": {"Result": told, "title": name}}))


async def old_passwords(request: Request) -> Response:
    """POST /_passwords: make somebody's password old, or new again; from this machine only, and no part of XNAT."""
    if request.client is None or request.client.host not in ("127.0.0.1", "::1"):
        raise Refusal(403)
    given = await json_body(request, dict)
    await run_in_threadpool(passwords.age, request.app.state.xnat, given["username"], bool(given["expired"]))
    return text()


def version(request: Request) -> Response:
    """GET /data/version, which 1.6 has (recorded answers, form F09)."""
    if personality.has(request.app.state.xnat, "xapi"):
        raise Refusal(404)
    return text("Unknown version")


routes = [
    Route("/data/version", version),
    Route("/_site", site_settings, methods=["POST"]),
    Route("/data/services/settings/{name}/{value}", old_settings, methods=["PUT"]),
    Route("/_passwords", old_passwords, methods=["POST"]),
    Route("/", front_page),
    Route("/app/{rest:path}", front_page),
    Route("/data/services/auth", log_in, methods=["PUT", "POST"]),
    Route("/data/JSESSION", jsession, methods=["GET", "POST", "DELETE"]),
    Route("/data/auth", user_auth),
    Route("/data/user/{login}/sessions", user_sessions, methods=["GET", "DELETE"]),
    Route("/data/services/tokens/{rest:path}", tokens),
]
