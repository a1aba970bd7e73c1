"""Whether source and destination are still as a plan saw them: both are read again, side by side, before a run.

What guards data at the destination as well: its scripts, filters and codes.
And whether what the source lists of a session is all that its own document says it holds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

from .choice import select_scans
from .conflicts import Surroundings
from .errors import InputError, RefusedError, ServerError, TransientError, XnbTransferError
from .holdings import Difference, differences
from .inventory import read_elsewhere, read_inventory
from .keys import SessionKey
from .methods import meets_other_things
from .plan import Plan, SessionPlan, destination_states, source_states
from .plan_file import Side
from .values import Inventory, Settings, tuples_of
from .xnat import Connection

_THREADS = 4


def changed_since(
    plan: Plan,
    sessions: Sequence[SessionPlan],
    begun: AbstractSet[SessionKey],
    source: Connection,
    destination: Connection,
) -> tuple[Inventory, dict[SessionKey, str]]:
    """Read both sides again.

    Parameters
    ----------
    begun : set of SessionKey
        Sessions that an earlier run has begun to send: their destination has changed by that, and is not compared.

    Returns
    -------
    Inventory, dict
        The source as it is now, and which sessions are not as the plan saw them, with where.

    Raises
    ------
    RefusedError, TransientError
        As of :func:`refuse_other_settings`, for the destination.
    """
    with ThreadPoolExecutor(2) as threads:
        reading = threads.submit(_read_destination, plan, sessions, destination)
        guarding = threads.submit(refuse_other_settings, plan.destination, destination)
        here = _read_source(plan, sessions, source)
    guarding.result()
    there, states = reading.result(), source_states(here)
    now, destination_state = Surroundings(there), destination_states(there)
    changed: dict[SessionKey, str] = {}
    for session in sessions:
        if states.get(session.key, "") != session.source_state:
            changed[session.key] = f"{session.key} at the source"
        elif session.key not in begun and (
            session.destination_state != destination_state(session.to, session.StudyInstanceUID)
            or meets_other_things(session, *now.met(session, session.to))
        ):
            changed[session.key] = f"{session.to} at the destination"
    return here, changed


def refuse_other_settings(side: Side, connection: Connection) -> None:
    """Refuse where what becomes of data in a project is not what a plan saw: scripts, filters, codes.

    They are read once more. What a plan does not hold, one of an earlier version, is not compared.

    Raises
    ------
    RefusedError
        If one was set, changed or switched since, or is no longer told.
    TransientError
        If the server fails to tell, so that it cannot be compared.
    """
    now = connection.guards(side.project)
    if now.failed:
        raise TransientError(
            f"{connection.server} failed three times to tell the {', the '.join(now.failed)} of {side.project}, "
            "which cannot be compared with the plan; nothing was sent.",
            "Run again later.",
        )
    if other := _other_setting(side, now):
        raise RefusedError(
            f"{other}: what the plan foretells would not happen.",
            "Plan again and review the new plan; nothing was sent.",
        )


def changed_meanwhile(side: Side, connection: Connection) -> str:
    """What to say of files that are not proved where a setting is not the one that the plan saw; "" where it is.

    It may have been set after a run had begun, or right before: a GET right after a PUT of the site's script gave the
    former text in 5 of 9 tries on a live 1.8.11 (``recorded``), and then a run cannot see it before it sends.
    """
    try:
        now = connection.guards(side.project)
    except XnbTransferError:
        return ""
    other = "" if now.failed else _other_setting(side, now)
    return f"{other}: what is not proved may have passed it. Plan again: a new plan foretells by it." if other else ""


def _other_setting(side: Side, now: Settings) -> str:
    saw = dict(side.settings)
    for words, names in _GUARDS.items():
        if not all(name in saw for name in names):
            continue
        before = [_plain(saw[name]) for name in names]
        after = [_plain(getattr(now, name)) for name in names]
        if before != after:
            states = [_STATES.get(one[0], "another one") if one[0] != two[0] else "another one"
                      for one, two in ((before, after), (after, before))]  # fmt: skip
            was = f", and was {states[0]} when the plan was made" if states[0] != states[1] else ""
            return f"The {words} of {side.project} is {states[1]} now{was}"
    return ""


_STATES = {True: "on", False: "off", None: "not told"}
# What is compared: its words, then whether it is on, and what it says.
_GUARDS = {
    "site's anonymisation script": ("site_script_on", "site_script"),
    "project's anonymisation script": ("project_script_on", "project_script"),
    "series import filter": ("series_filter_on", "series_filters"),
    "prearchive code": ("prearchive_code",),
    "quarantine code": ("quarantine_code",),
}


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def unsure(
    plan: Plan, sessions: Sequence[SessionPlan], here: Inventory | None, source: Connection
) -> dict[SessionKey, list[Difference]]:
    """Where the file lists of sessions and their own documents differ; one request a session.

    Parameters
    ----------
    here : Inventory or None
        The source as it was read right before the run. The session's own resources are those that the plan saw, and
        without an inventory those of scans, too.

    Raises
    ------
    ServerError
        If a session that is listed is not found.
    """
    listed: dict[SessionKey, list[dict]] = {}
    columns = ("subject", "session", "scan", "resource")
    for subject, session, scan, resource in tuples_of(here.files, *columns) if here is not None else ():
        if scan:
            listed.setdefault(SessionKey(subject, session), []).append({"scan": scan, "resource": resource})
    resources_left = (one for one in plan.left_behind if one.kind == "resource")
    for one in (*resources_left, *(one for one in plan.resources if one.action != "leave")):
        if one.session and (not one.scan or here is None):
            rows = [{"scan": one.scan, "resource": one.resource}] * one.files
            listed.setdefault(SessionKey(one.subject, one.session), []).extend(rows)
    of_scans = plan.transfer_options.of_scans

    def differing(session: SessionPlan) -> list[Difference]:
        item = source.session_item(session.session_id)
        if item is None:
            raise ServerError(f"{source.server} lists {session.key}, and does not find it.", "Run again.", status=404)
        rows, counted = listed.get(session.key, []), item["counted"]
        if of_scans:  # what was not chosen is not listed here
            chosen = {scan.scan for scan in session.scans}
            rows = [row for row in rows if row["scan"] in chosen]
            counted = {at: count for at, count in counted.items() if at[0] in chosen}
        return differences(counted, rows)

    if not sessions:
        return {}
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(differing, sessions)
        return {session.key: each for session, each in zip(sessions, found, strict=True) if each}


def _read_source(plan: Plan, sessions: Sequence[SessionPlan], source: Connection) -> Inventory:
    ids = {session.session_id for session in sessions}
    options = plan.transfer_options
    found = read_inventory(
        source, plan.source.project, known=ids, scans=bool(options.of_scans), prearchive=False, settings=False
    )
    # Only the chosen scans were planned, so only these are compared; what is gone shows as changed.
    with contextlib.suppress(InputError):
        return select_scans(found, options)
    return found


def _read_destination(plan: Plan, sessions: Sequence[SessionPlan], destination: Connection) -> Inventory:
    labels = {session.destination_session for session in sessions}
    uids = {session.StudyInstanceUID for session in sessions}
    seen = any(session.met_elsewhere is not None for session in sessions)
    with ThreadPoolExecutor(1) as threads:
        elsewhere = threads.submit(read_elsewhere, destination, uids - {""}) if seen else None
        found = read_inventory(
            destination,
            plan.destination.project,
            select=lambda row: row["session"] in labels or row["StudyInstanceUID"] in uids,
            settings=False,
        )
    return found if elsewhere is None else dataclasses.replace(found, elsewhere=elsewhere.result())
