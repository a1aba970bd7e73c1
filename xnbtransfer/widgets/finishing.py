"""After the run: what waits in the prearchive is archived, by the same plan of changes as on the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from ..actions import follow_changes
from ..errors import RefusedError
from ..method_options import PrearchiveOptions
from ..prearchive import plan_prearchive
from ..progress import Lines
from .models import ARCHIVED_COLUMNS

if TYPE_CHECKING:
    from .models import GuidedTransfer

FOLDER = "archiving"


def archive(transfer: GuidedTransfer) -> pd.DataFrame:
    """Archive the sessions of a transfer that wait in the prearchive; returns what became of each.

    Raises
    ------
    RefusedError
        If the plan of it has blockers.
    """
    destination = transfer.connections["destination"]
    labels = tuple(f"~^{re.escape(label)}$" for label in transfer.waiting()["destination_session"])
    options = PrearchiveOptions.from_mapping(
        {
            "destination_server": destination.server,
            "destination_project": transfer.made.destination.project,
            "sessions": labels,
            "action": "archive",
            "reason": transfer.option("reason"),
        }
    )
    made, _ = plan_prearchive(destination, options)
    if made.blockers:
        raise RefusedError(" ".join(made.blockers))
    folder = transfer.workspace.folder / FOLDER
    result = follow_changes(made, destination, destination, folder, Lines(lambda text: None))
    rows = result.sessions.copy()
    done = pd.concat([transfer.archived, rows.reindex(columns=ARCHIVED_COLUMNS)], ignore_index=True)
    return done.drop_duplicates(["subject", "session"], keep="last").reset_index(drop=True)
