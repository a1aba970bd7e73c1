"""The model of a guided transfer: it holds all state and calls the verbs. It knows no widget.

Everything the page can do is a method here, so that it can be done, and is tested, from Python. A step is confirmed
when it has no blocker; whatever changes later withdraws that confirmation and all that follow from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import pandas as pd

from ..changes import ChangePlan
from ..control import Control
from ..decisions import Decisions
from ..errors import InputError, RefusedError, XnbTransferError
from ..findings import Finding
from ..html import duration
from ..inputs import Inputs, read_inputs
from ..journal import JOURNAL
from ..outputs import with_home
from ..plan import Plan
from ..preparing import prepare
from ..progress import Sides
from ..record import (
    PLAN,
    SUMMARY,
    UNFINISHED,
    Workspace,
    may_read,
    open_workspace,
    read_about,
    record_folders,
)
from ..review import review
from ..values import Result
from ..verify import verify
from .matching import Matching
from .moving import Deleted
from .runner import GOING, Progress, Runner, RunState
from .selection import POLICY
from .steps import NAMES

TEMPLATE = "guided"
ARCHIVED_COLUMNS = ["subject", "session", "state", "verdict", "because"]


class GuidedTransfer(Matching):
    """One transfer, step by step.

    Attributes
    ----------
    step : str
        The step that is shown.
    version : int
        Counts up with every change; views look again when it does.
    busy : str
        What is being done right now, "" when nothing is.
    connections : dict
        ``source`` and ``destination``, once connected.
    listing, here, there : Inventory
        The source without files; what is selected, with files; the destination with what could be met.
    differences : Diff
        Both sides under the labels as they are now.
    made : Plan
        The plan, made when the review begins.
    runner : Runner
        The run, once it has begun; it goes on whatever happens to the page.
    result, record
        What came out, and the folder of the sealed record.
    deletion, deleted
        For a move: the plan of what would be deleted at the source, and the rounds of deletions that were carried out.

    Examples
    --------
    >>> transfer = GuidedTransfer()
    >>> transfer.blockers("connect")
    ['Not connected to the source.', 'Not connected to the destination.']
    """

    def __init__(self, record_root: str = "") -> None:
        super().__init__(record_root)
        self.made: Plan | None = None
        self.workspace: Workspace | None = None
        self.runner: Runner | None = None
        self.result: Result | None = None
        self.verified: Result | None = None
        self.archived = pd.DataFrame(columns=ARCHIVED_COLUMNS)
        self.record: Path | None = None
        self.deletion: ChangePlan | None = None
        self.deleted: tuple[Deleted, ...] = ()
        self.heard: tuple[str, ...] = ()  # what a deletion tells while it goes on
        self._control = Control()
        self._seen: list[Finding] = []  # what the review of the headers told

    @property
    def begun(self) -> bool:
        """Whether the run has begun: from then on nothing before it can be changed."""
        return self.runner is not None

    def _drop(self, gone: tuple[str, ...]) -> None:
        super()._drop(gone)
        if "review" in gone:
            self.made = None

    # -- review and plan ----------------------------------------------------------------------------------------

    def _prepare_review(self) -> None:
        with self.working("review", "looking at headers"):
            if self._met_under != self.labels:
                self._meet()
            self._plan()

    def _remake(self, afresh: bool) -> None:
        """The plan again, after a parameter was changed, where there was one."""
        if "labels" in self._confirmed and self.there is not None and not self.begun:
            if afresh:
                with self.working("review", "looking at headers"):
                    self._plan()
            else:
                self.made = self._decided(self._inputs()).with_findings(self._seen)
                self._changed()

    def _plan(self) -> None:
        inputs = self._inputs()
        made = self._decided(inputs)
        reviewed = review(made, self.connections["source"], self.here, inputs=inputs)
        self._seen = [one for one in reviewed.findings if one not in made.findings]
        self.made = reviewed

    def _inputs(self) -> Inputs:
        """The files that the parameters name, with the labels and decisions of the page."""
        page = self._labelled()
        return dataclasses.replace(read_inputs(self.transfer_options()), labels=page.labels, decisions=page.decisions)

    def _decided(self, inputs: Inputs) -> Plan:
        made = self._planned(inputs)
        # Comparing showed what would be left out and why; who confirmed that page has decided so.
        seen = {row.key: ("skip", "") for row in made.sessions if row.unsettled and row.action == "skip"}
        if not seen:
            return made
        return self._planned(dataclasses.replace(inputs, decisions=Decisions(seen | self.decisions)))

    def _planned(self, inputs: Inputs) -> Plan:
        sides = Sides(self.here, self.there, inputs.labels, inputs)
        return prepare(*self._servers(), self.transfer_options(), sides=sides, headers=False)

    def _blockers_review(self) -> list[str]:
        return list(self.made.blockers) if self.made is not None else ["There is no plan yet."]

    def _blockers_plan(self) -> list[str]:
        return self._blockers_review()

    def _leave_plan(self) -> None:
        """Write the approved plan down before anything is done."""
        options = self.made.transfer_options
        self.workspace = open_workspace(options, TEMPLATE)
        kept = self.workspace.kept_plan()
        if kept is not None and kept.fingerprint != self.made.fingerprint:
            self.workspace.give_up("another plan was approved in its place", 5)
            self.workspace.close()
            self.workspace = open_workspace(options, TEMPLATE)
        self.workspace.keep(self.made)

    def lifetime_warning(self) -> str:
        """A sentence where the run is estimated to last longer than this hub lets a server live; "" otherwise.

        XNAT's hub ends servers after 48 hours; ``XNBTRANSFER_HUB_LIFETIME_H`` says what another one does, 0 for never.
        """
        hub = "JUPYTERHUB_ROOT_DIR" in os.environ or "JUPYTERHUB_API_TOKEN" in os.environ
        given = os.environ.get("XNBTRANSFER_HUB_LIFETIME_H", "") or ("48" if hub else "0")
        try:
            hours = float(given)
        except ValueError:
            return f"XNBTRANSFER_HUB_LIFETIME_H is {given!r}, which is no number of hours."
        seconds = self.made.estimate["seconds"] if self.made is not None else 0
        if not hours or seconds <= 3600 * hours:
            return ""
        return (
            f"The run may take {duration(seconds)}, and this hub ends a server after {duration(3600 * hours)}: the run "
            "is cut off then. Open the notebook again and press 'Go on with ...'; what was sent is not sent twice. "
            "Or go back and choose fewer sessions."
        )

    # -- run ----------------------------------------------------------------------------------------------------

    def start(self) -> Runner:
        """Begin the approved plan in a thread, or go on with it; returns at once."""
        if "plan" not in self._confirmed:
            raise RefusedError("The plan is not approved.", "Approve it first.")
        if self.runner is None:
            self.runner = Runner(self.made, self.connections["source"], self.connections["destination"], self._folder())
            self.runner.on_change(self._heard)
        self.runner.start()
        self._changed()
        return self.runner

    def run(self) -> Result | None:
        """Carry out the approved plan and wait for its end."""
        return self.start().wait()

    def pause(self) -> None:
        """Send nothing more until :meth:`resume`."""
        if self.runner is not None:
            self.runner.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        if self.runner is not None:
            self.runner.resume()

    def cancel(self) -> None:
        """End in order; :meth:`start` goes on from there."""
        if self.runner is not None:
            self.runner.cancel()

    def progress(self) -> Progress | None:
        """Where the run is, None before it began."""
        return self.runner.progress() if self.runner is not None else None

    def _heard(self) -> None:
        if self.runner.state not in GOING:
            self.result = self.runner.result
            self._changed()

    def _folder(self) -> Path:
        return self.workspace.folder

    def _blockers_run(self) -> list[str]:
        if self.runner is None:
            return ["The run has not begun."]
        if self.runner.state in GOING:
            return ["The run is not at its end."]
        if self.runner.result is None:
            return [f"The run stopped: {self.runner.problem}"]
        return []

    # -- what was cut off ---------------------------------------------------------------------------------------

    def unfinished(self) -> pd.DataFrame:
        """Guided transfers below the record root whose run began and did not come to a record, newest first."""
        root = with_home(self.option("record_root"))
        rows = []
        for folder in filter(may_read, record_folders(root)):
            if f"_{TEMPLATE}_" not in folder.name or not folder.name.endswith(UNFINISHED):
                continue
            about = read_about(folder)
            journal = folder / JOURNAL
            if not (folder / PLAN).exists() or not journal.exists() or (folder / "given-up.json").exists():
                continue
            given = about.get("parameters", {})
            rows.append(
                {
                    "transfer": folder.name.removesuffix(UNFINISHED),
                    "begun": about.get("made_at", ""),
                    "source": given.get("source_project", ""),
                    "destination": given.get("destination_project", ""),
                    "state": "run ended" if (folder / SUMMARY).exists() else "cut off",
                }
            )
        return pd.DataFrame(rows, columns=["transfer", "begun", "source", "destination", "state"])

    def pick_up(self, name: str) -> None:
        """Go on with a transfer that was cut off: its approved plan is taken as it is, and :meth:`start` continues it.

        Raises
        ------
        RefusedError
            If this transfer has begun already, or another process works in that folder.
        InputError
            If it is not there, or the connections are not to its servers.
        """
        if self.begun:
            raise RefusedError("A run has begun here already.", "Open the notebook once more for the other one.")
        folder = with_home(self.option("record_root")) / f"{name}{UNFINISHED}"
        made = Plan.load(folder / PLAN)
        for side, was in (("source", made.source), ("destination", made.destination)):
            if side not in self.connections or self.connections[side].server != was.server:
                raise InputError(f"This transfer needs a login at {was.server} as the {side}.", "Connect there first.")
        workspace = open_workspace(made.transfer_options, TEMPLATE)
        if workspace.folder.resolve() != folder.resolve():
            if workspace.kept_plan() is None:
                with contextlib.suppress(OSError):
                    (workspace.folder / "workspace.json").unlink()
                    workspace.folder.rmdir()
            workspace.close()
            raise RefusedError(
                f"The transfer {name} cannot be taken up: another process works on it, or the servers' addresses in "
                "the environment are others.",
                "Close the other notebook, then try again.",
            )
        with self._lock:
            self.made, self.workspace = made, workspace
            self.chosen_projects = {"source": made.source.project, "destination": made.destination.project}
            self.options |= {name: getattr(made.transfer_options, name) for name in POLICY}
            self.selected = tuple(session.key for session in made.sessions)
            self.labels = {session.key: session.to for session in made.sessions if session.key != session.to}
            self._confirmed = list(NAMES[: NAMES.index("run")])
            self.step = "run"
        self._changed()

    # -- verify, finish, record ---------------------------------------------------------------------------------

    def outcome(self) -> Result | None:
        """The newest judgement: of a verification after the run, else of the run."""
        return self.verified or self.result

    def verify(self) -> Result:
        """Prove again what the destination holds now, by the journal and by reading back."""
        if self.result is None:
            raise RefusedError("There is no result to verify yet.", "Run the plan first.")
        with self.working("verify", "reading the destination back"):
            self.verified = verify(
                self.made, self._folder() / JOURNAL, self.connections["destination"], self.connections["source"]
            )
        return self.verified

    def _blockers_verify(self) -> list[str]:
        return [] if self.outcome() is not None else ["There is no result yet."]

    def waiting(self) -> pd.DataFrame:
        """The sessions of this transfer that wait in the prearchive of the destination."""
        result = self.outcome()
        if result is None:
            return pd.DataFrame()
        return result.sessions[result.sessions["state"] == "in prearchive"].reset_index(drop=True)

    def archive(self) -> None:
        """Archive what waits in the prearchive, by the same way as ``xnbtransfer prearchive``, and verify again.

        Raises
        ------
        RefusedError
            If nothing waits, or the destination does not let this user archive.
        """
        from .finishing import archive

        if self.waiting().empty:
            raise RefusedError("No session of this transfer waits in the prearchive.", "Go on to the record.")
        with self.working("finish", "archiving"):
            self.archived = archive(self)
        self.verify()

    def _blockers_finish(self) -> list[str]:
        return []

    def close(self) -> Path:
        """Write the record and seal it; returns its folder. The logins last until :meth:`end`."""
        from .closing import close

        self.record = close(self)
        with self._lock:
            if "record" not in self._confirmed:
                self._confirmed.append("record")
        self._changed()
        return self.record

    def _leave_record(self) -> None:
        self.close()

    def _blockers_record(self) -> list[str]:
        if self.record is not None:
            return [f"The record is sealed: {self.record.name}."]
        if self.runner is not None and self.runner.state in GOING:
            return ["The run is not at its end."]
        return []

    # -- the end of a move ----------------------------------------------------------------------------------------

    def plan_deletion(self, **wanted: Any) -> ChangePlan:
        """Decide which sessions of the sealed copy may be deleted at the source, and why the others stay. Reads only.

        Parameters are those of ``finish-move``: ``limit``, ``abandon``, ``empty_subjects``, ``cooling_off_days`` and
        ``backup``.

        Raises
        ------
        RefusedError
            If the record of the copy is not sealed, or this transfer has ended.
        """
        from .moving import plan_deletion

        if self.record is None or "move" in self._confirmed:
            raise RefusedError("A move is finished from the sealed record of its copy.", "Seal the record first.")
        with self.working("move", "looking at what may be deleted"):
            self.deletion = None
            self.deletion = plan_deletion(self, **wanted)
        return self.deletion

    def delete(self, confirm: str) -> Deleted:
        """Delete at the source what the plan of deletions names, each session on a proof of that minute.

        Parameters
        ----------
        confirm : str
            What the plan asks to be typed: project and number of sessions.

        Raises
        ------
        RefusedError
            If there is no plan, it has blockers, or something else was typed. Nothing is deleted then.
        """
        from .moving import delete

        if self.deletion is None or not self.deletion.confirm:
            raise RefusedError("There is no plan that deletes anything.", "Look at what may be deleted first.")
        with self.working("move", "proving and deleting"):
            self.heard, self._control = (), Control()
            done = delete(self, self.deletion, confirm, self._control)
            self.deleted = (*(one for one in self.deleted if one.record is not None), done)
            if done.record is not None:
                self.deletion = None
        return done

    def stop_deleting(self) -> None:
        """Delete no further session; what is in flight is brought to its end. :meth:`delete` goes on."""
        self._control.cancel()

    def hear(self, line: str) -> None:
        """Keep a line of what goes on, and show it."""
        self.heard = (*self.heard[-39:], line)
        self._changed()

    def end(self) -> None:
        """End the logins; nothing can be done after that but reading."""
        for connection in self.connections.values():
            with contextlib.suppress(XnbTransferError):  # a login that is gone already is no loss
                connection.close()

    def _leave_move(self) -> None:
        self.end()

    def _blockers_move(self) -> list[str]:
        if "move" in self._confirmed:
            return ["This transfer has ended. Open the notebook again for another one."]
        return []

    @property
    def going(self) -> bool:
        """Whether a run is going."""
        return self.runner is not None and self.runner.state in GOING

    @property
    def run_state(self) -> RunState:
        """Where the run is; ready before it began."""
        return self.runner.state if self.runner is not None else RunState.READY
