"""Whether source and destination are still as a plan saw them: both are read again, side by side, before a run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

from .choice import select_scans
from .conflicts import Surroundings
from .errors import InputError
from .inventory import read_elsewhere, read_inventory
from .keys import SessionKey
from .methods import meets_other_things
from .plan import Plan, SessionPlan, destination_states, source_states
from .values import Inventory
from .xnat import Connection


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
    """
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(_read_destination, plan, sessions, destination)
        here = _read_source(plan, sessions, source)
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
