"""Find a template, run it with papermill, and keep the executed notebook as the record."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from . import errors
from .control import STOP
from .errors import ExitCode, IncompleteError, InputError, RefusedError, TransientError, XnbTransferError
from .html import NEXT, Html, next_step, paragraph, record_table
from .method_options import METHODS, AuditOptions, PartOptions
from .options import CHOICE, OF_SCANS, TransferOptions
from .outputs import make_private
from .plan import Plan
from .progress import Lines, follow
from .record import (
    NOTEBOOK,
    SUMMARY,
    WORKSPACE,
    Record,
    Workspace,
    close_record,
    list_records,
    open_record,
    open_workspace,
    read_about,
    seal,
)
from .values import Result
from .xnat import Connection, connect, connect_sides


class InventoryOptions(PartOptions):
    """Parameters of ``templates/inventory.ipynb``."""

    command = "inventory"
    offered = ("source_server", "source_project", *CHOICE, *OF_SCANS, "record_root")
    destination_project: str = ""


class CompareOptions(PartOptions):
    """Parameters of ``templates/compare.ipynb``."""

    command = "diff"
    offered: ClassVar[tuple[str, ...]] = (
        "source_server", "source_project", "destination_server", "destination_project", *CHOICE, *OF_SCANS,
    )
    offered += ("label_map", "label_rule", "record_root")


class ReviewOptions(PartOptions):
    """Parameters of ``templates/review.ipynb``: the checks and the review alone, without a copy."""

    command = "review"
    offered: ClassVar[tuple[str, ...]] = (
        "source_server", "source_project", "destination_server", "destination_project", *CHOICE, *OF_SCANS,
    )
    offered += ("label_map", "label_rule", "review", "policy", "waivers", "identifiers", "record_root", "reason")


class VerifyOptions(PartOptions):
    """Parameters of ``templates/verify.ipynb``: the record to prove again, and how."""

    command = "verify"
    offered = ("record", "proof", "with_source", "source_server", "destination_server", "record_root")
    source_project: str = ""
    destination_project: str = ""
    record: str = Field("", description="folder of the record to prove again; empty: the newest below record_root")
    with_source: bool = Field(True, description="read the source again where a header changed since")


OPTIONS: dict[str, type[TransferOptions]] = {
    "transfer": TransferOptions,
    "compare": CompareOptions,
    "inventory": InventoryOptions,
    "verify": VerifyOptions,
    "review": ReviewOptions,
    "audit": AuditOptions,
    **METHODS,
}


def find_template(name: str) -> Path:
    """The template of that name, in the checkout or in the installed package.

    Raises
    ------
    InputError
        If there is none.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "_templates", here.parent / "templates"):
        if (found := folder / f"{name}.ipynb").exists():
            return found
    raise InputError(f"There is no template {name!r}.", f"The templates are {', '.join(OPTIONS)}.")


def parameters_of(template: Path) -> dict[str, dict[str, str]]:
    """The parameters that a template offers, as papermill reads them: name to default, type and help."""
    import papermill

    with _quiet_papermill():
        return papermill.inspect_notebook(str(template))


def run_template(
    name: str, options: TransferOptions, *, env: Mapping[str, str] | None = None, aloud: bool = False
) -> Path:
    """Run a template with papermill and seal its record, clean or not.

    Parameters
    ----------
    name : str
        One of ``OPTIONS``: ``transfer``, ``inventory``, ``compare``, ``verify``, ``share``, ``move``, ...
    env : mapping, optional
        Environment variables for the notebook's kernel only, e.g. the credentials.
    aloud : bool
        Repeat the notebook's quiet lines on the standard error.

    Returns
    -------
    Path
        The record. Its ``summary.json`` holds the exit code.

    Raises
    ------
    XnbTransferError
        What stopped the notebook; it stays readable in the unfinished folder, which the message names.
    TransientError
        If the run is not complete: running it again goes on from there.
    """
    template = find_template(name)
    offered = parameters_of(template)
    values = options.model_dump(mode="json")
    parameters = {key: value for key, value in values.items() if key in offered}
    with _environment(env or {}):
        workspace = open_workspace(options, name)
    executed = workspace.folder / NOTEBOOK
    (workspace.folder / SUMMARY).unlink(missing_ok=True)
    hidden = [value for key, value in (env or {}).items() if key.startswith("XNAT_") and key.endswith("PASS")]
    try:
        problem = _execute(template, executed, parameters, {**(env or {}), WORKSPACE: str(workspace.folder)}, aloud)
        summary = read_about(workspace.folder, SUMMARY)
        code = summary.get("exit_code")
        where = f"The notebook that says so is {executed}."
        if code == ExitCode.TRANSIENT:
            reasons = " ".join(summary.get("problems", [])[:3]).replace(TransientError.default_remedy, "").strip()
            raise TransientError(f"The transfer is not complete. {reasons}", f"{NEXT[ExitCode.TRANSIENT]} {where}")
        if problem is not None and not (problem[0] == IncompleteError.__name__ and summary):
            raise _as_ours(*problem, where)
        return seal(workspace, executed, hidden=hidden)
    finally:
        make_private(workspace.folder)  # the notebook is written with the mode of other programs
        workspace.close()


def carry_out(workspace: Workspace, plan: Plan, source: Connection, destination: Connection) -> Result | None:
    """Carry out the plan with quiet lines below the cell; None on a dry run.

    Raises
    ------
    RefusedError
        If there are blockers, or the world changed since the plan: this workspace is then given up.
    """
    if workspace.parameters.get("dry_run"):
        print("Dry run: nothing is sent.")
        return None
    try:
        return follow(plan, source, destination, workspace.folder, Lines())
    except RefusedError as problem:
        workspace.give_up(str(problem), problem.exit_code)
        raise


def earlier_record(options: VerifyOptions) -> Record:
    """The record to prove again, checked offline.

    Raises
    ------
    InputError
        If there is none, or it was changed after it was sealed.
    """
    if options.record:
        return open_record(options.record)
    found = list_records(options.record_root)
    found = found[(found["template"] == "transfer") & (found["state"] == "sealed") & (found["files"] > 0)]
    if found.empty:
        raise InputError(f"There is no record of a transfer below {options.record_root}.", "Name one with 'record'.")
    return open_record(Path(options.record_root) / found.iloc[0]["record"])


def connect_again(plan: Plan, options: VerifyOptions) -> tuple[Connection | None, Connection]:
    """Log in to the servers of a plan, or to those that the parameters name; no source where it is not wanted."""
    there = options.destination_server or plan.destination.server
    if not options.with_source:
        return None, connect("destination", there)
    return connect_sides(options.source_server or plan.source.server, there)


def close(workspace: Workspace, *things: Any, **named: Any) -> Html:
    """Write the record's files and show what they are."""
    summary = close_record(workspace, *things, **named)
    files = {path.name: path.stat().st_size for path in workspace.folder.iterdir() if path.is_file()}
    return record_table(workspace, summary, files)


def end(workspace: Workspace) -> Html:
    """The last cell: says where the record lies, or that the result is not clean.

    Raises
    ------
    IncompleteError
        One line, with the exit code of the result, so that papermill and what started it see it.
    """
    summary = read_about(workspace.folder, SUMMARY)
    workspace.close()
    code = ExitCode(summary["exit_code"])
    if code != ExitCode.PROVED:
        follow = next_step(code, {}, template=summary["template"])
        raise IncompleteError(f"{summary['result']} (exit code {int(code)}).".capitalize(), follow, code)
    if os.environ.get(WORKSPACE):
        return paragraph(f"The record is {workspace.name}.")
    return paragraph(
        f"The record {workspace.name} is complete but for this notebook: save it, then run 'xnbtransfer seal' on it."
    )


def _execute(template: Path, executed: Path, parameters: dict, env: Mapping[str, str], aloud: bool):
    """Run it; returns (ename, evalue) of the cell that stopped it, or None."""
    import papermill

    def work() -> None:
        papermill.execute_notebook(
            str(template),
            str(executed),
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            coalesce_streams=True,
            autosave_cell_every=10,
            cwd=str(Path.cwd()),
            extra_arguments=["--IPKernelApp.log_level=50"],
            stdout_file=sys.stderr if aloud else None,
        )

    stop = executed.with_name(STOP)
    stop.unlink(missing_ok=True)
    try:
        with _quiet_papermill(), _environment(env):
            _interruptible(work, stop)
    except papermill.PapermillExecutionError as problem:
        return problem.ename, problem.evalue
    return None


def _interruptible(work: Callable[[], None], stop: Path) -> None:
    """Run ``work`` in a thread; an interrupt leaves the file ``stop``, which ends the transfer in order.

    In the main thread nbclient answers an interrupt by killing the kernel, in the middle of whatever it does. An event
    is waited for, since a thread whose ``join`` was interrupted counts as ended in Python 3.11 (gh-90882).
    """
    end: list[BaseException] = []
    ended = threading.Event()

    def guarded() -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 - raised again in the thread that asked
            end.append(problem)
        finally:
            ended.set()

    threading.Thread(target=guarded, name="xnbtransfer-papermill", daemon=True).start()
    interrupted = False
    while not ended.is_set():
        try:
            ended.wait(0.2)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            stop.touch()
    stop.unlink(missing_ok=True)
    if interrupted:
        raise KeyboardInterrupt
    if end:
        raise end[0]


def _as_ours(name: str, text: str, where: str) -> XnbTransferError:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, XnbTransferError):
        return kind(text, where)
    return XnbTransferError(f"The notebook stopped with {name}: {str(text).splitlines()[0] if text else ''}", where)


@contextlib.contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Variables that the kernel inherits; this process gives them back."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet_papermill() -> Iterator[None]:
    import logging
    import warnings

    logger = logging.getLogger("papermill")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
