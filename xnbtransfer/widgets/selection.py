"""Connecting and choosing: two logins, two projects, the sessions to take and the parameters."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..doctor import Check, examine
from ..errors import InputError, NotFoundError, RefusedError, XnbTransferError
from ..inventory import read_inventory
from ..keys import SessionKey
from ..options import TransferOptions
from ..values import Inventory
from ..xnat import Connection, connect
from .state import Steps

SIDES = ("source", "destination")
READING = ("scan_types", "resources", "fields")  # what is read depends on these
DEPTH = ("review", "policy", "waivers", "identifiers")  # and how headers are looked at on these
POLICY = ("existing", *READING, *DEPTH, "archive", "proof", "workers", "reason", "record_root")


def default_record_root() -> str:
    """Where records go: on XNAT's JupyterHub into the only folder that lasts."""
    root = os.environ.get("JUPYTERHUB_ROOT_DIR", "")
    return str(Path(root) / "xnbtransfer-records") if root else "xnbtransfer-records"


class Selection(Steps):
    """The steps *connect* and *choose*."""

    def __init__(self, record_root: str = "") -> None:
        super().__init__()
        self._typed: set[str] = set()
        self.connections: dict[str, Connection] = {}
        self.examined: dict[str, list[Check]] = {}  # by side, how its server answers what a transfer will ask
        self.projects: dict[str, list[str]] = {side: [] for side in SIDES}
        self.chosen_projects: dict[str, str] = dict.fromkeys(SIDES, "")
        self.options: dict[str, Any] = {"record_root": record_root or default_record_root()}
        self.listing: Inventory | None = None
        self.selected: tuple[SessionKey, ...] = ()
        self.decisions: dict[SessionKey, tuple[str, str]] = {}
        self.labels: dict[SessionKey, SessionKey] = {}

    # -- connect ------------------------------------------------------------------------------------------------

    def connect(self, side: str, server: str = "", user: str = "", password: str = "") -> None:
        """Log in at one side; what is not given comes from the environment or ``.netrc``.

        The password is used here and kept nowhere but in the login itself.
        """
        self._must_be_side(side)
        self.withdraw("connect")
        with self.working("connect", f"logging in at the {side}"):
            self.examined.pop(side, None)
            old = self.connections.pop(side, None)
            if old is not None:
                old.close()
            self.connections[side] = connect(side, server, user, password, prompt=False)
            if password:
                self._typed.add(password)
            self.projects[side] = []

    def examine(self) -> None:
        """Ask each server once for everything that a transfer will read there, as ``xnbtransfer doctor`` does.

        Of a project that is chosen by then, else of the site alone. Nothing is written, and nothing withdrawn.

        Raises
        ------
        RefusedError
            If nobody is logged in yet.
        """
        if not self.connections:
            raise RefusedError("Nobody is logged in yet, so no server can be looked at.", "Log in first.")
        with self.working("connect", "looking at how the servers answer"):
            for side, connection in self.connections.items():
                self.examined[side] = examine(connection, self.chosen_projects[side])

    def connect_from_environment(self) -> None:
        """Log in wherever the environment or ``.netrc`` has all it takes, as on XNAT's JupyterHub."""
        for side in SIDES:
            named = os.environ.get(f"XNAT_{side.upper()}_HOST") or os.environ.get("XNAT_HOST")
            if named and side not in self.connections:
                with contextlib.suppress(XnbTransferError):
                    self.connect(side)

    def _blockers_connect(self) -> list[str]:
        return [f"Not connected to the {side}." for side in SIDES if side not in self.connections]

    # -- choose -------------------------------------------------------------------------------------------------

    def _prepare_choose(self) -> None:
        with self.working("choose", "listing projects"):
            for side in SIDES:
                if not self.projects[side]:
                    self.projects[side] = self.connections[side].projects()

    def choose_project(self, side: str, project: str) -> None:
        """Name the project of a side; the sessions of the source are listed."""
        self._must_be_side(side)
        if self.chosen_projects[side] == project and (side == "destination" or self.listing is not None):
            return
        self.withdraw("choose")
        self.chosen_projects[side] = project
        if side == "source":
            self.listing, self.selected, self.decisions, self.labels = None, (), {}, {}
        self._changed()
        if side == "source" and project:
            with self.working("choose", f"listing the sessions of {project}"):
                try:
                    self.listing = read_inventory(
                        self.connections["source"], project, files=False, prearchive=False, settings=False
                    )
                except NotFoundError:
                    self.chosen_projects[side] = ""
                    raise

    def select(self, keys: Iterable[tuple[str, str]]) -> None:
        """Select exactly these sessions of the source.

        Raises
        ------
        InputError
            If one is not there.
        """
        wanted = {SessionKey(*key) for key in keys}
        there = self._listed()
        lacking = sorted(wanted - set(there))
        if lacking:
            raise InputError(f"There is no session {lacking[0]} in {self.chosen_projects['source']}.")
        found = tuple(key for key in there if key in wanted)
        if found == self.selected:
            return
        self.withdraw("choose")
        self.selected = found
        self._changed()

    def select_all(self) -> None:
        """Select every session of the source."""
        self.select(self._listed())

    def set(self, **values: Any) -> None:
        """Set parameters of the transfer: what to do with what exists, archiving, proof, workers, reason, scan types.

        Raises
        ------
        OptionsError
            If a name or a value is not one.
        """
        unknown = [name for name in values if name not in POLICY]
        if unknown:
            raise InputError(f"{unknown[0]!r} is not set here.", f"What can be set is {', '.join(POLICY)}.")
        values = {name: value for name, value in values.items() if self.option(name) != value}
        if not values:
            return
        TransferOptions.from_mapping({"source_project": "-", "destination_project": "-", **self.options, **values})
        self.withdraw("choose" if set(READING) & set(values) else "compare" if "existing" in values else "review")
        self.options |= values
        self._changed()
        self._remake(afresh=bool(set(DEPTH) & set(values)))

    def option(self, name: str) -> Any:
        """A parameter as it is now."""
        return self.options.get(name, TransferOptions.model_fields[name].default)

    def transfer_options(self) -> TransferOptions:
        """All parameters, as the plan will read them."""
        labels = tuple(key.session for key in self.selected)
        everything = self.listing is not None and len(labels) == len(self.listing.sessions)
        return TransferOptions.from_mapping(
            {
                "source_server": self.connections["source"].server,
                "source_project": self.chosen_projects["source"],
                "destination_server": self.connections["destination"].server,
                "destination_project": self.chosen_projects["destination"],
                "sessions": () if everything else labels,
                **self.options,
            }
        )

    def _listed(self) -> list[SessionKey]:
        if self.listing is None:
            return []
        rows = self.listing.sessions[["subject", "session"]]
        return [SessionKey(*row) for row in rows.itertuples(index=False, name=None)]

    def _blockers_choose(self) -> list[str]:
        found = [f"No {side} project is chosen." for side in SIDES if not self.chosen_projects[side]]
        if not found and self._one_project():
            found.append("Source and destination are the same project: choose another destination.")
        if self.listing is not None and not self.selected:
            found.append("No session is selected.")
        if any(key.session.startswith("~") for key in self.selected):
            found.append("A selected session has a label that begins with ~, which stands for a pattern: leave it out.")
        return found

    def other_ways(self) -> list[str]:
        """What this guide does not do and another template does, as sentences; empty where there is nothing to say."""
        if len(self.connections) < 2 or len({one.server for one in self.connections.values()}) > 1:
            return []
        return [
            "This guide copies. Both projects are on one server, where sessions can also be shown in the other project "
            "(templates/share.ipynb) or given to it (templates/move.ipynb) without a copy."
        ]

    def _one_project(self) -> bool:
        servers = {one.server for one in self.connections.values()}
        return len(servers) == 1 and self.chosen_projects["source"] == self.chosen_projects["destination"]

    def _remake(self, afresh: bool) -> None:
        """Follow a changed parameter, where something was made from it; ``afresh`` where headers are read for it."""

    def typed(self) -> tuple[str, ...]:
        """Passwords that were typed here, so that no file of the record holds one."""
        return tuple(self._typed)

    def _must_be_side(self, side: str) -> None:
        if side not in SIDES:
            raise InputError(f"{side!r} is no side.", "The sides are source and destination.")
