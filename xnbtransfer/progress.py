"""Both sides read, a plan carried out with somebody watching: what the command line and the templates share."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pandas as pd

from .beside import read_beside
from .choice import select_sessions
from .conflicts import study_uids
from .control import Control
from .errors import InputError
from .fields import read_fields
from .forms import archived_path, item_path, subject_path
from .inputs import Inputs, read_inputs
from .inventory import read_elsewhere, read_inventory, read_others
from .keys import SessionKey
from .labels import LabelMap
from .markup import Html, Shown, duration, size
from .one_place import refuse_one_place
from .options import CHOICE, OF_SCANS, TransferOptions
from .plan import Plan
from .printable import printable
from .transfer import run
from .values import SESSION_COLUMNS, Event, Inventory, Result, frame, tuples_of
from .xnat import Connection

_MANY = 60
_EVERY_S = 30.0
_HELD = {
    ("run", "paused"): "paused; what is in flight is finished",
    ("run", "waiting"): "waits for the run window {}",
    ("run", "resumed"): "goes on",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Sides(Shown):
    """The selected part of the source, the destination with what could be met, and the labels between them.

    ``here, there, labels = sides`` takes it apart; ``inputs`` are the files that the labels come from.
    """

    source: Inventory
    destination: Inventory
    labels: LabelMap
    inputs: Inputs

    def __iter__(self) -> Iterator[Inventory | LabelMap]:
        return iter((self.source, self.destination, self.labels))

    def line(self) -> str:
        return f"Sides: {self.source.line()}; {self.destination.line()}"

    def card(self) -> Html:
        """What is selected at the source, and what of the destination it could meet, in numbers."""
        return self.source.card("Selected at the source") + self.destination.card("At the destination")


def read_selected(
    connection: Connection,
    project: str,
    options: TransferOptions,
    *,
    gives: bool = False,
    chosen: Callable[[pd.DataFrame], None] | None = None,
) -> Inventory:
    """The selected sessions of a project; files are listed for them only. ``gives`` as in ``read_inventory``.

    ``chosen`` is given the sessions as soon as they are known, while their files are still asked for; that of some of
    them no scan is chosen shows later.
    """
    if not any(getattr(options, name) for name in CHOICE):
        listed = None if chosen is None else lambda rows: chosen(frame(rows, SESSION_COLUMNS))
        return select_sessions(read_inventory(connection, project, gives=gives, listed=listed), options)
    listed = read_inventory(connection, project, files=False, prearchive=False, settings=False)
    sessions = select_sessions(listed, options.model_copy(update=dict.fromkeys(OF_SCANS, ()))).sessions
    if chosen is not None:
        chosen(sessions)
    found = read_inventory(connection, project, gives=gives, known=set(sessions["session_id"]))
    return select_sessions(found, options)


def read_sides(
    source: Connection, destination: Connection, options: TransferOptions, inputs: Inputs | None = None
) -> Sides:
    """Read what a plan needs to know of both projects.

    Parameters
    ----------
    options : TransferOptions
        Names the projects and what is selected.
    inputs : Inputs, optional
        What :func:`xnbtransfer.inputs.read_inputs` read; without it that is done first, before any request.

    Raises
    ------
    InputError
        If the label map, the label rule or the decisions cannot be used, or the selection names something that is
        not there.
    """
    inputs = inputs or read_inputs(options)
    refuse_one_place(source, destination, options.source_project, options.destination_project)
    met: Future[tuple[set[str], set[str]]] = Future()

    def could_be_met(row: dict) -> bool:
        wanted, uids = met.result()
        return row["session"] in wanted or row["StudyInstanceUID"] in uids

    with ThreadPoolExecutor(3) as threads:
        reading = []

        def meet(sessions: pd.DataFrame, labels: LabelMap) -> None:
            wanted, studies, uids = _to_meet(sessions, labels)
            met.set_result((wanted, uids))
            reading.append(threads.submit(read_elsewhere, destination, studies))

        def early(sessions: pd.DataFrame) -> None:
            with contextlib.suppress(InputError):  # what is wrong with the labels is told of the sessions that remain
                meet(sessions, inputs.labels_of(sessions, options.source_project))

        there = threads.submit(read_inventory, destination, options.destination_project, select=could_be_met)
        try:
            here = read_selected(source, options.source_project, options, gives=True, chosen=early)
            beside = threads.submit(read_beside, source, here)
            labels = inputs.labels_of(here.sessions, options.source_project)
            if not met.done():
                meet(here.sessions, labels)
        except BaseException:
            if not met.done():
                met.set_result((set(), set()))
            raise
    found = dataclasses.replace(there.result(), elsewhere=reading[0].result())
    here = dataclasses.replace(here, beside=beside.result())
    return _completed(source, destination, options, Sides(here, found, labels, inputs))


def meet_again(
    source: Connection, destination: Connection, options: TransferOptions, here: Inventory, inputs: Inputs
) -> Sides:
    """What sessions that were read before meet under other labels: the destination is read anew, they are not."""
    labels = inputs.labels_of(here.sessions, here.project)
    wanted, studies, uids = _to_meet(here.sessions, labels)
    found = read_inventory(
        destination,
        options.destination_project,
        select=lambda row: row["session"] in wanted or row["StudyInstanceUID"] in uids,
    )
    found = dataclasses.replace(found, elsewhere=read_elsewhere(destination, studies))
    return _completed(source, destination, options, Sides(here, found, labels, inputs))


def _completed(source: Connection, destination: Connection, options: TransferOptions, sides: Sides) -> Sides:
    """Both sides with the resources and fields that are to be carried, and the rights that they take."""
    here, there, labels = sides.source, sides.destination, sides.labels
    if options.resources:
        here, there = _with_others(source, destination, here, there, labels)
    if options.fields:
        here, there = _with_fields(source, destination, here, there, labels)
    return dataclasses.replace(sides, source=here, destination=_with_types(destination, here, there))


def _to_meet(sessions: pd.DataFrame, labels: LabelMap) -> tuple[set[str], set[str], set[str]]:
    """The labels that sessions go to, their studies, and all UIDs that a destination may know these by."""
    keys = [SessionKey(*row) for row in tuples_of(sessions, "subject", "session")]
    studies = set(sessions["StudyInstanceUID"]) - {""}
    return {labels(key).session for key in keys}, studies, {one for uid in studies for one in study_uids(uid)}


def _with_others(
    source: Connection, destination: Connection, here: Inventory, there: Inventory, labels: LabelMap
) -> tuple[Inventory, Inventory]:
    """Both sides with the files of resources of the project and of the subjects that are concerned."""
    keys = [SessionKey(*row) for row in tuples_of(here.sessions, "subject", "session")]
    at_source = read_others(source, here.project, (key.subject for key in keys))
    known = set(there.sessions["subject"])
    at_destination = read_others(destination, there.project, {labels(key).subject for key in keys} & known)
    return dataclasses.replace(here, others=at_source), dataclasses.replace(there, others=at_destination)


def _with_fields(
    source: Connection, destination: Connection, here: Inventory, there: Inventory, labels: LabelMap
) -> tuple[Inventory, Inventory]:
    """Both sides with what stands in the fields of sessions and of their subjects, as digests of one salt."""
    salt = secrets.token_hex(16)
    at_source, at_destination = {}, {}
    archived = dict(zip(there.sessions["session"], tuples_of(there.sessions, "subject", "session_id"), strict=True))
    for subject, session, session_id in tuples_of(here.sessions, "subject", "session", "session_id"):
        to = labels(SessionKey(subject, session))
        at_source[subject, ""] = subject_path(here.project, subject)
        at_source[subject, session] = archived_path(session_id)
        at_destination[to.subject, ""] = subject_path(there.project, to.subject)
        if to.session in archived:
            owner, accession = archived[to.session]
            at_destination[to] = item_path(there.project, owner, accession)
    listed = {row["subject"] for row in destination.subjects(there.project)}
    at_destination = {place: at for place, at in at_destination.items() if place[1] or place[0] in listed}
    sides = ((source, here, at_source), (destination, there, at_destination))
    found = [
        dataclasses.replace(side, fields=read_fields(connection, items, salt), field_salt=salt)
        for connection, side, items in sides
    ]
    return found[0], found[1]


def _with_types(destination: Connection, here: Inventory, there: Inventory) -> Inventory:
    """The destination with the rights for the types at hand, and those xsiTypes that the user may not create there.

    Settings are asked with the type of MR sessions, which a site may not have set up: a "no" to that is believed only
    where the source holds such sessions, or what it holds is answered so, too.
    """
    told, project, usual = there.settings, there.project, "xnat:mrSessionData"
    kinds = sorted(set(here.sessions["xsi_type"]) - {""})
    may = {usual: told.can_create}
    if told.can_create is not False or usual not in kinds:
        asked = {usual} if told.can_create else set()  # with the settings
        may |= {kind: destination.can(project, "create", kind) for kind in kinds if kind not in asked}
    ours = [may[kind] for kind in kinds if kind in may]  # a "no" to the usual type is believed: no other was asked for
    rights = {}
    if kinds and told.can_create is False and not all(one is False for one in ours):
        rights["can_create"] = True if True in ours else None
    if kinds and told.can_edit is False and usual not in kinds:
        edits = [destination.can(project, "edit", kind) for kind in kinds]
        rights["can_edit"] = False if False in edits else None if None in edits else True
    if rights.get("can_create", told.can_create) is not False:
        rights["types_missing"] = tuple(kind for kind in kinds if may.get(kind) is False)
    return dataclasses.replace(there, settings=dataclasses.replace(told, **rights)) if rights else there


class Watcher(Protocol):
    """Is told what happens in a run, always from the main thread."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Lines:
    """Quiet lines for logs and notebooks: one per finished session, or one every half minute where there are many."""

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write = write
        self._files = self._bytes = self._all_files = self._all_bytes = self._sessions = 0
        self._many = False
        self._begun = self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        if (event.kind, event.name) == ("run", "started"):
            self._all_files, self._all_bytes = event.files, event.size_bytes
            self._many = event.files > 100 * _MANY
            self._say(event, f"begins (times are UTC): {event.files} files, {size(event.size_bytes)} to send")
        elif (event.kind, event.name) == ("scan", "sent"):
            self._files += event.files
            self._bytes += event.size_bytes
            if time.monotonic() - self._last > _EVERY_S:
                self._say(event, self._so_far())
        elif event.name == "failed":
            self._say(event, f"{event.where} failed: {event.text}")
        elif event.name == "repairing":
            self._say(event, f"{event.where}: {event.text}")
        elif (event.kind, event.name) == ("session", "proved"):
            self._sessions += 1
            if not self._many or self._sessions <= _MANY:
                self._say(event, f"{event.where} compared, {event.text}: {event.files} files")
        elif (event.kind, event.name) == ("resource", "proved"):
            self._say(event, f"{event.where} {event.text}: {event.files} files")
        elif (event.kind, event.name) == ("run", "finished"):
            self._say(event, f"ended after {duration(time.monotonic() - self._begun)}: {self._so_far()}")
        elif (event.kind, event.name) in _HELD:
            self._say(event, _HELD[event.kind, event.name].format(event.text))
        elif event.kind == "message":
            self._say(event, event.text)

    def close(self) -> None:
        pass

    def _so_far(self) -> str:
        sent = f"{self._files} of {self._all_files} files, {size(self._bytes)} of {size(self._all_bytes)} sent"
        if self._files > self._all_files:
            sent = f"{self._files} files, {size(self._bytes)} sent, some of them again after they arrived damaged"
        return f"{sent}, {self._sessions} sessions compared"

    def _say(self, event: Event, text: str) -> None:
        self._last = time.monotonic()
        self._write(printable(f"{event.at[11:19]}  {text}"))


class Bar:
    """A tqdm bar over the bytes to send, for terminals."""

    def __init__(self) -> None:
        self._bar = None

    def __call__(self, event: Event) -> None:
        from tqdm import tqdm

        if (event.kind, event.name) == ("run", "started"):
            self._bar = tqdm(total=event.size_bytes, unit="B", unit_scale=True, file=sys.stderr, mininterval=0.5)
        elif self._bar is None:
            return
        elif (event.kind, event.name) == ("scan", "sent"):
            self._bar.update(event.size_bytes)
        elif event.kind == "session":
            self._bar.set_postfix_str(printable(f"{event.where} {event.name}"), refresh=False)
            if event.name == "failed":
                self._bar.write(printable(f"{event.where} failed: {event.text}"), file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def follow(
    plan: Plan,
    source: Connection,
    destination: Connection,
    folder: str | Path,
    watcher: Watcher,
    *,
    control: Control | None = None,
) -> Result:
    """Carry out a plan in a thread of its own and tell ``watcher`` from this one.

    An interrupt (Ctrl-C) or ``control`` ends the run after the scans in flight, with all that was done in the journal.

    Raises
    ------
    KeyboardInterrupt
        After the run has come to its end in order.
    """

    def carry(tell: Callable[[Event], None], control: Control) -> Result:
        return run(plan, source, destination, folder=folder, on_event=tell, control=control)

    return watch(carry, watcher, control or Control(folder))


def watch(
    carry: Callable[[Callable[[Event], None], Control], Result],
    watcher: Watcher,
    control: Control,
) -> Result:
    """What ``carry`` returns; it runs in a thread of its own and is given whom to tell and what it obeys.

    Raises
    ------
    KeyboardInterrupt
        After an interrupt or a cancellation, once ``carry`` has come to its end in order.
    """
    events: queue.Queue[Event | None] = queue.Queue()
    end: dict[str, Result | BaseException] = {}

    def work() -> None:
        try:
            end["result"] = carry(events.put, control)
        except BaseException as problem:  # noqa: BLE001 - raised again in the thread that asked
            end["problem"] = problem
        finally:
            events.put(None)

    thread = threading.Thread(target=work, name="xnbtransfer-run", daemon=True)
    thread.start()
    interrupted = False
    try:
        while True:
            try:
                event = events.get()
                if event is None:
                    break
                watcher(event)
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                control.cancel()
    finally:
        watcher.close()
    thread.join()
    if "problem" in end:
        raise end["problem"]
    if control.cancelled:
        raise KeyboardInterrupt
    return end["result"]
