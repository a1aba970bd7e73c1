"""One way in for the methods that carry no file: decide, show, carry out. Templates and command line share it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import steps
from .changes import ChangePlan, is_change_plan
from .control import Control
from .errors import InputError, RefusedError
from .finish import FinishCarrier, copy_record
from .journal import JOURNAL
from .method_options import METHODS
from .prearchive import PrearchiveCarrier
from .progress import Lines, Watcher, watch
from .record import PLAN, Record, Workspace
from .relocate import MoveCarrier
from .share import ShareCarrier
from .steps import Carrier, Listener, look_again
from .values import Event, Result
from .xnat import Connection, connect, connect_sides


def kept_plan(workspace: Workspace) -> ChangePlan | None:
    """The plan of the run that was cut off in this workspace, or None where nothing was begun."""
    journal = workspace.folder / JOURNAL
    if journal.exists() and journal.stat().st_size and is_change_plan(workspace.folder / PLAN):
        return ChangePlan.load(workspace.folder / PLAN)
    return None


def connect_to(earlier: Record, options: Any) -> tuple[Connection, Connection]:
    """Log in to the servers of an earlier record, or to those that the parameters name."""
    made = earlier.plan()
    return connect_sides(
        options.source_server or made.source.server, options.destination_server or made.destination.server
    )


def connect_for(plan: ChangePlan, stack: contextlib.ExitStack) -> tuple[Connection, Connection]:
    """Log in to the servers of a plan, once where one login does it all."""
    if plan.kind == "finish-move":
        source, destination = connect_sides(plan.source.server, plan.destination.server)
        return stack.enter_context(source), stack.enter_context(destination)
    side = "destination" if plan.kind == "prearchive" else "source"
    both = stack.enter_context(connect(side, plan.source.server))
    return both, both


def options_of(plan: ChangePlan) -> Any:
    """The parameters that a plan was made with."""
    kind = METHODS["share" if plan.kind == "unshare" else plan.kind]
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in plan.options.items()
        if name in kind.offered
    }
    return kind.from_mapping(given)


def carrier_of(plan: ChangePlan, source: Connection, destination: Connection) -> Carrier:
    """What carries out a plan of this kind."""
    options = options_of(plan)
    if plan.kind == "prearchive":
        return PrearchiveCarrier(plan, destination, options)
    if plan.kind in ("share", "unshare"):
        return ShareCarrier(source, options)
    if plan.kind == "move":
        return MoveCarrier(plan, source, options)
    if plan.kind == "finish-move":
        return FinishCarrier(plan, copy_record(options, plan.of_record["record"]), source, destination, options)
    raise InputError(f"A plan of kind {plan.kind} is not known here.", "Use the version that made it.")


def verify_changes(plan: ChangePlan, journal: str | Path, source: Connection, destination: Connection) -> Result:
    """Whether what a journal says was changed holds today. Reads only."""
    return look_again(plan, carrier_of(plan, source, destination), journal, (source, destination))


def carry_out(
    plan: ChangePlan,
    source: Connection,
    destination: Connection,
    *,
    folder: str | Path,
    confirm: str = "",
    on_event: Listener | None = None,
    control: Control | None = None,
) -> Result:
    """Carry out a plan that shares, moves, works on a prearchive or deletes, exactly as written.

    Parameters
    ----------
    source, destination : Connection
        Logged in to the servers of the plan; one and the same where both projects are on one server.
    folder : path
        Holds the journal. A journal of this plan that lies there is continued.
    confirm : str
        What somebody typed; where the plan deletes it must be its ``confirm``, letter by letter.
    on_event, control : optional
        Is told what happens; ends the run between two items.

    Raises
    ------
    RefusedError
        If the plan has blockers, the confirmation is another, or the project is not as the plan saw it.
    InputError
        If a connection is not to a server of the plan, or the journal is of another plan.
    """
    carrier, both = carrier_of(plan, source, destination), (source, destination)
    return steps.carry_out(plan, carrier, both, folder=folder, confirm=confirm, on_event=on_event, control=control)


def follow_changes(
    plan: ChangePlan,
    source: Connection,
    destination: Connection,
    folder: str | Path,
    watcher: Watcher,
    *,
    confirm: str = "",
    control: Control | None = None,
) -> Result:
    """Carry out a plan of changes in a thread of its own and tell ``watcher`` from this one; else as ``follow``."""

    def work(tell: Callable[[Event], None], control: Control) -> Result:
        return carry_out(plan, source, destination, folder=folder, confirm=confirm, on_event=tell, control=control)

    return watch(work, watcher, control or Control(folder))


def do(workspace: Workspace, plan: ChangePlan, source: Connection, destination: Connection) -> Result | None:
    """Carry out the plan with quiet lines below the cell; None on a dry run, or where nothing is asked for.

    Raises
    ------
    RefusedError
        If there are blockers, or the confirmation is not the one that the plan asks for.
    """
    if workspace.parameters.get("dry_run"):
        print("Dry run: nothing is changed.")
        return None
    confirm = str(workspace.parameters.get("confirm", ""))
    try:
        return follow_changes(
            plan,
            source,
            destination,
            workspace.folder,
            Lines(),
            confirm=confirm,
        )
    except RefusedError as problem:
        workspace.give_up(str(problem), problem.exit_code)
        raise
