"""The model of a guided transfer: it holds all state and calls the verbs. It knows no widget.

Everything the page can do is a method here, so that it can be done, and is tested, from Python. A step is confirmed
when it has no blocker; whatever changes later withdraws that confirmation and all that follow from it.
"""

from __future__ import annotations

import contextlib
import csv
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import traitlets

from ..conflicts import MATRIX, Decision
from ..decisions import Decisions
from ..diff import Diff, Status, diff
from ..errors import InputError, NotFoundError, RefusedError, XnbTransferError
from ..inventory import read_inventory
from ..keys import SessionKey
from ..label_rules import map_by_rule
from ..labels import COLUMNS, LabelMap, check_labels, crosswalk, folded, read_label_map
from ..options import TransferOptions
from ..plan import Plan, plan
from ..progress import read_met, read_selected
from ..record import JOURNAL, PLAN, SUMMARY, UNFINISHED, Workspace, open_workspace, read_about
from ..values import Inventory, Result
from ..verify import verify
from ..xnat import Connection, connect
from .runner import GOING, Progress, Runner, RunState
from .steps import BY_NAME, NAMES, StepState, after

TEMPLATE = "guided"
SIDES = ("source", "destination")
POLICY = ("existing", "archive", "proof", "workers", "reason", "scan_types", "record_root")
ARCHIVED_COLUMNS = ["subject", "session", "state", "verdict", "because"]


def default_record_root() -> str:
    """Where records go: on XNAT's JupyterHub into the only folder that lasts."""
    root = os.environ.get("JUPYTERHUB_ROOT_DIR", "")
    return str(Path(root) / "xnbtransfer-records") if root else "xnbtransfer-records"


class GuidedTransfer(traitlets.HasTraits):
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

    Examples
    --------
    >>> transfer = GuidedTransfer()
    >>> transfer.blockers("connect")
    ['Not connected to the source.', 'Not connected to the destination.']
    """

    step = traitlets.Unicode(NAMES[0])
    version = traitlets.Int(0)
    busy = traitlets.Unicode("")

    def __init__(self, record_root: str = "") -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._confirmed: list[str] = []
        self._problems: dict[str, str] = {}
        self._working = ""
        self._typed: set[str] = set()
        self.connections: dict[str, Connection] = {}
        self.projects: dict[str, list[str]] = {side: [] for side in SIDES}
        self.chosen_projects: dict[str, str] = dict.fromkeys(SIDES, "")
        self.options: dict[str, Any] = {"record_root": record_root or default_record_root()}
        self.listing: Inventory | None = None
        self.selected: tuple[SessionKey, ...] = ()
        self.decisions: dict[SessionKey, str] = {}
        self.labels: dict[SessionKey, SessionKey] = {}
        self.here: Inventory | None = None
        self.there: Inventory | None = None
        self.differences: Diff | None = None
        self.made: Plan | None = None
        self.workspace: Workspace | None = None
        self.runner: Runner | None = None
        self.result: Result | None = None
        self.verified: Result | None = None
        self.record: Path | None = None
        self.archived = pd.DataFrame(columns=ARCHIVED_COLUMNS)
        self._met_under: dict[SessionKey, SessionKey] | None = None

    # -- where it is --------------------------------------------------------------------------------------------

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Names of the confirmed steps."""
        return tuple(self._confirmed)

    @property
    def begun(self) -> bool:
        """Whether the run has begun: from then on nothing before it can be changed."""
        return self.runner is not None

    def state(self, name: str) -> StepState:
        """Where a step is."""
        if self._working == name or (name == "run" and self.going):
            return StepState.WORKING
        if name in self._confirmed:
            return StepState.DONE
        if any(one not in self._confirmed for one in NAMES[: NAMES.index(name)]):
            return StepState.WAITING
        if self._problems.get(name):
            return StepState.FAILED
        return StepState.BLOCKED if self.blockers(name) else StepState.READY

    def problem(self, name: str) -> str:
        """What went wrong in a step, as a sentence; "" where nothing did."""
        return self._problems.get(name, "")

    def blockers(self, name: str) -> list[str]:
        """Why a step cannot be confirmed, as sentences."""
        return [sentence for sentence in getattr(self, f"_blockers_{name}")() if sentence]

    def confirm(self, name: str = "") -> None:
        """Confirm a step, do what the next one needs, and go there.

        Raises
        ------
        RefusedError
            If it has blockers, or an earlier step is not confirmed.
        XnbTransferError
            If what the next step needs could not be done; the step stays confirmed, and :meth:`prepare` tries again.
        """
        name = name or self.step
        missing = [one for one in NAMES[: NAMES.index(name)] if one not in self._confirmed]
        if missing:
            raise RefusedError(f"The step '{BY_NAME[missing[0]].title}' is not confirmed.", "Confirm that one first.")
        found = self.blockers(name)
        if found:
            raise RefusedError(" ".join(found))
        if name == "plan":
            self._approve()
        if name == "record":
            self.close()
            return
        with self._lock:
            if name not in self._confirmed:
                self._confirmed.append(name)
            self.step = after(name)
        self._changed()
        self.prepare(self.step)

    def withdraw(self, name: str) -> None:
        """Take back the confirmation of a step and of all that follow.

        Raises
        ------
        RefusedError
            If the run has begun.
        """
        if self.begun and NAMES.index(name) <= NAMES.index("run"):
            raise RefusedError(
                "The run of the approved plan has begun, so nothing before it can be changed.",
                "Begin another transfer for what is different.",
            )
        with self._lock:
            gone = NAMES[NAMES.index(name) :]
            self._confirmed = [one for one in self._confirmed if one not in gone]
            for one in gone:
                self._problems.pop(one, None)
            if "review" in gone:
                self.made = None
            if "choose" in gone:
                self.here = self.there = self.differences = self._met_under = None
            if self.step not in self._confirmed and self.state(self.step) == StepState.WAITING:
                self.step = name
        self._changed()

    def show(self, name: str) -> None:
        """Look at a step that is confirmed or open."""
        if self.state(name) != StepState.WAITING:
            self.step = name
            self._changed()

    def prepare(self, name: str) -> None:
        """Do what a step needs before anybody can look at it: list projects, read both sides, make the plan."""
        work = getattr(self, f"_prepare_{name}", None)
        if work is not None:
            work()
        self._changed()

    @contextlib.contextmanager
    def working(self, name: str, what: str) -> Iterator[None]:
        """Something that takes time: one at a time, said in ``busy``; what goes wrong is kept as a sentence."""
        with self._lock:
            if self.busy:
                raise RefusedError(f"Still {self.busy}.", "Wait until that has ended.")
            self._working, self.busy = name, what
            self._problems.pop(name, None)
        self._changed()
        try:
            yield
        except XnbTransferError as problem:
            self._problems[name] = str(problem)
            raise
        except Exception as problem:
            self._problems[name] = f"Unexpected {type(problem).__name__}: {problem}"
            raise
        finally:
            with self._lock:
                self._working, self.busy = "", ""
            self._changed()

    def _changed(self) -> None:
        self.version += 1

    # -- connect ------------------------------------------------------------------------------------------------

    def connect(self, side: str, server: str = "", user: str = "", password: str = "") -> None:
        """Log in at one side; what is not given comes from the environment or ``.netrc``.

        The password is used here and kept nowhere but in the login itself.
        """
        self._must_be_side(side)
        self.withdraw("connect")
        with self.working("connect", f"logging in at the {side}"):
            old = self.connections.pop(side, None)
            if old is not None:
                old.close()
            self.connections[side] = connect(side, server, user, password, prompt=False)
            if password:
                self._typed.add(password)
            self.projects[side] = []

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
        self.withdraw("choose" if "scan_types" in values else "compare" if "existing" in values else "review")
        self.options |= values
        self._changed()
        self._remake()

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

    def _one_project(self) -> bool:
        servers = {one.server for one in self.connections.values()}
        return len(servers) == 1 and self.chosen_projects["source"] == self.chosen_projects["destination"]

    # -- compare ------------------------------------------------------------------------------------------------

    def _prepare_compare(self) -> None:
        if self.differences is not None:
            return
        with self.working("compare", "reading both projects"):
            options = self.transfer_options()
            self.here = read_selected(self.connections["source"], options.source_project, options)
            self._meet()

    def _meet(self) -> None:
        """Read of the destination what the selected sessions could meet under their labels."""
        project = self.chosen_projects["destination"]
        self.there = read_met(self.connections["destination"], project, self.here, self.label_map())
        self._met_under = dict(self.labels)
        self._compare()

    def _compare(self) -> None:
        if self.here is not None and self.there is not None:
            decided = Decisions(self.decisions)
            self.differences = diff(self.here, self.there, decided.over(self.label_map()), decided.left_out)

    def compare(self) -> None:
        """Read both sides again, e.g. after something was changed there."""
        self.withdraw("compare")
        self.here = self.there = self.differences = None
        self._prepare_compare()

    def choices(self, key: tuple[str, str]) -> list[str]:
        """What may be decided about a session, by what it meets at the destination."""
        if self.differences is None:
            return []
        met = self.differences.meetings.get(SessionKey(*key), [])
        if not met:
            return [str(Decision.SKIP)]
        rows = [MATRIX[one.kind] for one in met]
        common = set(Decision).intersection(*({*row.decisions, *row.one_by_one} for row in rows))
        return [str(one) for one in Decision if one in common]

    def decide(self, key: tuple[str, str], decision: str, label: str = "") -> None:
        """Decide about one session; "" takes a decision back.

        Parameters
        ----------
        decision : str
            One of :meth:`choices`. ``rename`` without ``label`` takes the next free label.

        Raises
        ------
        InputError
            If that cannot be decided about this session.
        """
        key = SessionKey(*key)
        allowed = self.choices(key)
        if decision and decision not in allowed:
            raise InputError(f"{key} cannot be settled by {decision!r}.", f"Choose {', '.join(allowed) or 'nothing'}.")
        label = (label or self._free_label(key)) if decision == "rename" else ""
        if self.decisions.get(key, ("", "")) == (decision, label):
            return
        self.withdraw("compare")
        if self.decisions.pop(key, ("", ""))[0] == "rename":
            self.labels.pop(key, None)
        if decision:
            self.decisions[key] = (decision, label)
        if label:
            self.labels[key] = SessionKey(self.label_map()(key).subject, label)
        self._compare()
        self._changed()

    def _free_label(self, key: SessionKey) -> str:
        """The session label with the lowest number behind it that nothing has and no other session gets."""
        taken = {folded(label) for label in self.there.sessions["session"]}
        taken |= {folded(label) for label in self.there.prearchive["session"]}
        taken |= {folded(self.label_map()(one).session) for one in self.selected}
        number = 2
        while folded(f"{key.session}_{number}") in taken:
            number += 1
        return f"{key.session}_{number}"

    def decided(self) -> dict[SessionKey, str]:
        """What was decided about single sessions, in words."""
        return {key: f"{word} to {label}" if label else word for key, (word, label) in self.decisions.items()}

    def met(self, key: tuple[str, str]) -> list[tuple[str, str, str]]:
        """What a session meets at the destination: in words, why, and what XNAT would do without us."""
        found = self.differences.meetings.get(SessionKey(*key), []) if self.differences is not None else []
        return [(MATRIX[one.kind].words, one.because, MATRIX[one.kind].server) for one in found]

    def compared(self) -> pd.DataFrame:
        """One row per selected session: how it compares, and what would be done with it."""
        if self.differences is None:
            return pd.DataFrame()
        rows = self.differences.sessions
        rows = rows[rows["session"] != ""].reset_index(drop=True)
        decided = self.decided()
        keys = rows[["subject", "session"]].itertuples(index=False, name=None)
        rows = rows.assign(decision=[decided.get(key, "") for key in keys])
        return rows.drop(columns=["destination_subject", "destination_session"])

    def details(self, key: tuple[str, str]) -> dict[str, Any]:
        """One session in full: how it compares, its scans on both sides, and what was decided."""
        key = SessionKey(*key)
        found: dict[str, Any] = {"key": key, "to": self.label_map()(key), "decision": self.decided().get(key, "")}
        if self.differences is None:
            if self.listing is not None:
                found["scans"] = _of(self.listing.scans, key)
            return found
        rows = _of(self.differences.sessions, key)
        found |= rows.iloc[0].to_dict() if len(rows) else {}
        found["scans"] = _of(self.differences.scans, key)
        if self.made is not None:
            planned = next((one for one in self.made.sessions if one.key == key), None)
            if planned is not None:
                found |= {"action": planned.action, "because_action": planned.because}
        return found

    def _blockers_compare(self) -> list[str]:
        return [] if self.differences is not None else ["The two projects are not compared yet."]

    # -- labels -------------------------------------------------------------------------------------------------

    def label_map(self) -> LabelMap:
        """The labels as they are now."""
        return LabelMap(dict(self.labels))

    def label_table(self) -> pd.DataFrame:
        """One row per selected session with its labels on both sides, how it compares, and why."""
        rows = self.compared()
        if rows.empty:
            return pd.DataFrame(columns=[*COLUMNS, "status", "because"])
        keys = [SessionKey(*row) for row in rows[["subject", "session"]].itertuples(index=False, name=None)]
        table = crosswalk(keys, self.label_map())
        return table.assign(status=rows["status"].to_numpy(), because=rows["because"].to_numpy())

    def relabel(self, changes: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
        """Give sessions other labels: by key, ``to_subject`` and ``to_session``; an empty label takes the old one."""
        new = dict(self.labels)
        for key, cells in changes.items():
            key = SessionKey(*key)
            now = new.get(key, key)
            new[key] = SessionKey(
                cells.get("to_subject", now.subject) or key.subject, cells.get("to_session", now.session) or key.session
            )
        self._relabelled(new)

    def relabel_all(self, changes: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
        """Give sessions other labels, and all that are not named the ones they have at the source."""
        new = {}
        for key, cells in changes.items():
            key = SessionKey(*key)
            new[key] = SessionKey(cells.get("to_subject") or key.subject, cells.get("to_session") or key.session)
        self._relabelled(new)

    def use_labels(self, labels: LabelMap) -> None:
        """Take all labels from a map, e.g. of a CSV file."""
        self._relabelled(dict(labels.table))

    def read_labels(self, path: str | Path) -> None:
        """Take all labels from a CSV file with the columns subject, session, to_subject, to_session."""
        self.use_labels(read_label_map(path))

    def use_rule(self, rule: str) -> None:
        """Take all labels from a rule, e.g. ``session={subject}_{modality}`` or ``session~^MR~SCAN``."""
        self._relabelled(dict(self.by_rule(rule).table))

    def by_rule(self, rule: str) -> LabelMap:
        """The labels that a rule would give; nothing is changed."""
        if self.here is None:
            raise InputError("There are no sessions to label yet.", "Compare the two projects first.")
        return map_by_rule(rule, self.here.sessions, self.chosen_projects["source"])

    def write_labels(self, path: str | Path) -> Path:
        """Write the labels as a CSV file, to be edited and read again."""
        with open(path, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            writer.writerows((*key, *self.label_map()(key)) for key in self.selected)
        return Path(path)

    def _relabelled(self, new: dict[SessionKey, SessionKey]) -> None:
        new = {key: to for key, to in new.items() if key != to}
        if new == self.labels:
            return
        self.withdraw("labels")
        self.labels = new
        for key, (decision, _) in tuple(self.decisions.items()):
            if decision == "rename":  # the label is what was decided: it goes where the label goes
                self.decisions.pop(key)
                if key in new and new[key].session != key.session:
                    self.decisions[key] = ("rename", new[key].session)
        self._compare()
        self._changed()

    def label_notes(self) -> dict[SessionKey, dict[str, str]]:
        """What is wrong with labels, at once and per cell: the sentence stands at ``to_subject`` or ``to_session``."""
        from .checks import label_notes

        if self.there is None:
            return {}
        sessions = self.there.sessions
        return label_notes(self.selected, self.label_map(), tuple(sessions["subject"]), tuple(sessions["session"]))

    def _blockers_labels(self) -> list[str]:
        if self.there is None:
            return ["The two projects are not compared yet."]
        try:
            sent = [key for key in self.selected if self.decisions.get(key, ("", ""))[0] != "skip"]
            check_labels(self.selected, Decisions(self.decisions).over(self.label_map()), sent=sent)
        except InputError as problem:
            return [problem.message]
        return []

    # -- review and plan ----------------------------------------------------------------------------------------

    def _prepare_review(self) -> None:
        with self.working("review", "looking at what the labels could meet"):
            if self._met_under != self.labels:
                self._meet()
            self._plan()

    def _remake(self) -> None:
        """The plan again, after a parameter was changed, where there was one."""
        if "labels" in self._confirmed and self.there is not None and not self.begun:
            self._plan()
            self._changed()

    def _plan(self) -> None:
        self.made = plan(
            self.here,
            self.there,
            self.transfer_options(),
            labels=self.label_map(),
            decisions=Decisions(self.decisions),
        )

    def _blockers_review(self) -> list[str]:
        return list(self.made.blockers) if self.made is not None else ["There is no plan yet."]

    def _blockers_plan(self) -> list[str]:
        if self.made is None:
            return ["There is no plan yet."]
        return list(self.made.blockers)

    def _approve(self) -> None:
        """Write the approved plan down before anything is done."""
        options = self.made.transfer_options
        self.workspace = open_workspace(options, TEMPLATE)
        kept = self.workspace.kept_plan()
        if kept is not None and kept.fingerprint != self.made.fingerprint:
            self.workspace.give_up("another plan was approved in its place", 5)
            self.workspace.close()
            self.workspace = open_workspace(options, TEMPLATE)
        self.workspace.keep(self.made)

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
        root = Path(self.option("record_root")).expanduser()
        rows = []
        for folder in sorted(root.glob(f"*_{TEMPLATE}_*{UNFINISHED}"), reverse=True) if root.is_dir() else ():
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
        folder = Path(self.option("record_root")).expanduser() / f"{name}{UNFINISHED}"
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

    def typed(self) -> tuple[str, ...]:
        """Passwords that were typed here, so that no file of the record holds one."""
        return tuple(self._typed)

    def _blockers_finish(self) -> list[str]:
        return []

    def close(self) -> Path:
        """Write the record, seal it, and end the logins; returns its folder."""
        from .closing import close

        self.record = close(self)
        with self._lock:
            if "record" not in self._confirmed:
                self._confirmed.append("record")
        self._changed()
        return self.record

    def _blockers_record(self) -> list[str]:
        if self.record is not None:
            return [f"The record is sealed: {self.record.name}."]
        if self.runner is not None and self.runner.state in GOING:
            return ["The run is not at its end."]
        return []

    @property
    def going(self) -> bool:
        """Whether a run is going."""
        return self.runner is not None and self.runner.state in GOING

    @property
    def run_state(self) -> RunState:
        """Where the run is; ready before it began."""
        return self.runner.state if self.runner is not None else RunState.READY

    def counts(self) -> dict[str, int]:
        """Selected sessions by how they compare."""
        rows = self.compared()
        return {str(word): int((rows["status"] == word).sum()) for word in Status} if len(rows) else {}

    def _must_be_side(self, side: str) -> None:
        if side not in SIDES:
            raise InputError(f"{side!r} is no side.", "The sides are source and destination.")


def _of(frame: pd.DataFrame, key: SessionKey) -> pd.DataFrame:
    return frame[(frame["subject"] == key.subject) & (frame["session"] == key.session)].reset_index(drop=True)
