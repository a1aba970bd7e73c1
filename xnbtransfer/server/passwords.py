"""How old a password may be, and which log-in service an account belongs to.

XNAT source: ``XnatExpiredPasswordFilter`` (``passwordExpirationType``, ``passwordExpirationInterval``),
``AuthenticationRestlet`` and ``XnatProviderManager`` (``enabledProviders``). Asked by ``auth``.
"""

from __future__ import annotations

import datetime
import re

from . import clock
from .answers import Refusal
from .state import State

_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


def expired(state: State, login: str) -> bool:
    """Whether a user has to set a new password first; those of other log-in services never have."""
    if state.site("passwordExpirationType") == "Disabled":
        return False
    row = state.row("SELECT provider, password_date FROM users WHERE login=?", login)
    if row is None or row["provider"] != "localdb" or not row["password_date"]:
        return False
    interval = re.fullmatch(r"(\d+) (day|week|month|year)s?", state.site("passwordExpirationInterval") or "1 year")
    if not interval:
        return False
    oldest = clock.now() - datetime.timedelta(days=int(interval[1]) * _DAYS[interval[2]])
    return datetime.datetime.fromisoformat(row["password_date"]) < oldest


def age(state: State, login: str, old: bool) -> None:
    """Date a password back by years, as one does in XNAT's database, or to now."""
    date = "2020-01-01 00:00:00.000" if old else clock.now().strftime("%Y-%m-%d %H:%M:%S.000")
    with state.write() as db:
        db.execute("UPDATE users SET password_date=? WHERE login=?", (date, login))


def kind(provider: str) -> str:
    """The kind of a log-in service by its id.

    >>> kind("localdb"), kind("ldap1"), kind("ldap-north")
    ('localdb', 'ldap', 'ldap')
    """
    return re.split(r"[\d_-]", provider, maxsplit=1)[0]


def providers(state: State) -> list[str]:
    """The ids of the log-in services of the site."""
    told = (state.site("enabledProviders") or "localdb").strip("[]")
    return [name.strip().strip('"') for name in told.split(",") if name.strip()]


def choose(state: State, user: str, provider: str, method: str) -> bool:
    """Whether a log-in by form can be tried with the service that is named, or that is the user's where none is.

    Raises
    ------
    Refusal
        400 for an id that is none, and where several services of one kind could be meant.
    """
    row = state.row("SELECT provider FROM users WHERE login=?", user)
    own = row["provider"] if row else "localdb"
    if provider:
        if provider not in providers(state):
            raise Refusal(400, f"Authentication failed: No authentication provider identified by id {provider} found.")
        return provider == own
    wanted = method or kind(own)
    several = sum(kind(one) == wanted for one in providers(state))
    if several > 1:
        raise Refusal(
            400,
            "Authentication failed: Multiple authentication providers with identical authMethod exist. Use query "
            "parameter authenticatorId to specify a particular provider.",
        )
    return several == 1 and wanted == kind(own)
