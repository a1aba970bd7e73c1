"""After the record: a copy becomes a move when its source is deleted, by the same plan as ``xnbtransfer finish-move``.

What the copy sent is read again on both sides right before it is deleted; what is not proved stays. It has a record of
its own, because the record of the copy is sealed by then, and names it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..actions import carrier_of, kept_plan, options_of
from ..changes import ChangePlan
from ..control import Control
from ..errors import ExitCode, RefusedError
from ..finish import copy_record, plan_finish
from ..method_options import FinishOptions
from ..record import NOTEBOOK, Workspace, close_record, open_workspace, seal
from ..steps import carry_out
from ..values import Event, Result

if TYPE_CHECKING:
    from .models import GuidedTransfer

TEMPLATE = "finish-move"


class Deleted(NamedTuple):
    """One round of deletions: its plan, what came of it, and its record, None where it was stopped before its end."""

    plan: ChangePlan
    result: Result
    record: Path | None


def plan_deletion(
    transfer: GuidedTransfer,
    *,
    limit: int = 10,
    abandon: Sequence[str] = (),
    empty_subjects: bool = False,
    cooling_off_days: int = 0,
    backup: str = "",
) -> ChangePlan:
    """Which sessions of the sealed copy may be deleted at the source, and why the others stay. Reads only."""
    options = FinishOptions.from_mapping(
        {
            "record": str(transfer.record),
            "record_root": transfer.option("record_root"),
            "reason": transfer.option("reason"),
            "limit": limit,
            "abandon": tuple(abandon),
            "empty_subjects": empty_subjects,
            "cooling_off_days": cooling_off_days,
            "backup": backup,
        }
    )
    source, destination = (transfer.connections[side] for side in ("source", "destination"))
    return plan_finish(copy_record(options), source, destination, options)


def delete(transfer: GuidedTransfer, made: ChangePlan, confirm: str, control: Control) -> Deleted:
    """Carry out a plan of deletions and seal its record; stopped before its end it has none, and goes on when asked."""
    if confirm.strip() != made.confirm:
        raise RefusedError(f"What was typed is {confirm.strip()!r}.", f"To delete, type {made.confirm!r}.")
    source, destination = (transfer.connections[side] for side in ("source", "destination"))
    workspace = _workspace(made)
    try:
        result = carry_out(
            made,
            carrier_of(made, source, destination),
            (source, destination),
            folder=workspace.folder,
            confirm=confirm,
            on_event=lambda event: _heard(transfer, event),
            control=control,
        )
        if result.exit_code == ExitCode.TRANSIENT:
            return Deleted(made, result, None)
        close_record(workspace, made, result)
        _tell(transfer, made, result, workspace)
        return Deleted(made, result, seal(workspace, hidden=transfer.typed()))
    finally:
        workspace.close()


def _workspace(made: ChangePlan) -> Workspace:
    """A folder with this plan in it; one that holds a journal of another plan is left as it is."""
    options = options_of(made)
    workspace = open_workspace(options, TEMPLATE)
    kept = kept_plan(workspace)
    if kept is not None and kept.fingerprint != made.fingerprint:
        workspace.give_up("another plan was confirmed in its place", ExitCode.REFUSED)
        workspace.close()
        workspace = open_workspace(options, TEMPLATE)
    workspace.keep(made)
    return workspace


def _tell(transfer: GuidedTransfer, made: ChangePlan, result: Result, workspace: Workspace) -> None:
    from .closing import write_story
    from .story import deletion, heading

    title = heading(f"The end of a move: {made.source.project}, by {made.source.user}")
    write_story([[title + deletion(made, result)]], workspace.folder / NOTEBOOK)


def _heard(transfer: GuidedTransfer, event: Event) -> None:
    words = " ".join(word for word in (event.where, event.name, event.text) if word)
    transfer.hear(f"{time.strftime('%H:%M:%S', time.gmtime())}  {words}")
