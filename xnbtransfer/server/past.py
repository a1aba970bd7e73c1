"""What an item was before: XNAT 1.6.4 shows it beside the item in each answer, and before it where it was moved.

Recorded answers of 1.6.4, topic "history in items"; 1.7 and later show the item alone. Called by ``subjects`` and
``moving``.
"""

from __future__ import annotations

import json
from typing import Any

from . import personality
from .find import EXPERIMENT, Kind
from .state import Record, State
from .views import view


def remember(state: State, kind: Kind, row: Record) -> None:
    """Keep an item as it is now, within the transaction that is going to change it."""
    if personality.has(state, "history-on-request"):
        return
    found = view(state, row["insert_user"], kind, row)
    found["meta"]["isHistory"] = True
    with state.write() as db:
        db.execute("INSERT INTO former(item, view) VALUES(?,?)", (row["id"], json.dumps(found)))


def items(state: State, kind: Kind, row: Record, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The items that an answer holds, in their order."""
    rows = state.rows("SELECT view FROM former WHERE item=? ORDER BY pk", row["id"])
    former = [json.loads(one["view"]) for one in rows]
    moved = kind is EXPERIMENT and any(one["data_fields"]["project"] != row["project"] for one in former)
    return [*former, found] if moved else [found, *former]
