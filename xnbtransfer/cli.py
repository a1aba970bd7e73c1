"""The command line: the same verbs as in Python and in the notebooks, one exit code table for all."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from . import __version__
from .change_commands import COMMANDS, given, parameters, run_changes, verify_again
from .control import Control
from .errors import ExitCode, InputError, XnbTransferError
from .forms import PROJECTS
from .method_options import AuditOptions
from .options import CHOICE, OF_SCANS, TransferOptions
from .outputs import keep_private, with_home, write_whole
from .printable import printable, printable_json

_SOURCE = ("source_server", "source_project", *CHOICE, *OF_SCANS)
_BOTH = (*_SOURCE, "destination_server", "destination_project", "label_map", "label_rule")
_ALL = tuple(TransferOptions.model_fields)
_PORT = click.IntRange(0, 65535)
_AGAIN = "Interrupted. Run the same command again: it goes on where it stopped."


def _parameters(*names: str) -> Callable:
    return parameters(TransferOptions, names)


def _side(values: dict[str, Any], side: str, where: str | None) -> None:
    """Take a project given as ID, or as address/ID."""
    if not where:
        return
    server, _, project = where.rpartition("/") if where.startswith(("http://", "https://")) else ("", "", where)
    values[f"{side}_project"] = project
    if server:
        values[f"{side}_server"] = server.removesuffix(PROJECTS.path)


def _name_provider(context: click.Context, _parameter: click.Parameter, value: str) -> None:
    """Let every login of this command name the provider, whatever the environment names for a side."""
    if not value:
        return
    names = ("XNAT_PROVIDER", "XNAT_SOURCE_PROVIDER", "XNAT_DESTINATION_PROVIDER")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, value))

    def as_before() -> None:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)

    context.call_on_close(as_before)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on the standard output, and nothing else.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="xnbtransfer")
def cli() -> None:
    """Copy DICOM sessions between XNAT projects, prove every file, keep the record.

    Credentials come from XNAT_SOURCE_HOST, _USER, _PASS and XNAT_DESTINATION_HOST, _USER, _PASS, from XNAT_HOST, _USER,
    _PASS, from .netrc, from a keyring, or from a prompt; never from an option. Where XNAT has several login providers,
    --login-provider names one, or XNAT_SOURCE_PROVIDER, XNAT_DESTINATION_PROVIDER, XNAT_PROVIDER.

    Exit codes: 0 all proved, 1 anything else, 2 bad parameters, 3 differences or failed sessions, 4 something cannot be
    proved, 5 refused, 6 run it again.
    """


@cli.command()
@click.argument("project", required=False)
@_parameters(*_SOURCE)
@click.option("-o", "--output", type=click.Path(file_okay=False), help="Also write the tables as CSV into this folder.")
@_as_json
def inventory(project: str | None, output: str | None, as_json: bool, **values: Any) -> None:
    """List what a project holds. PROJECT is an ID, or an address and an ID: https://xnat.example.org/MYPROJECT."""
    from . import html
    from .inventory import write_inventory
    from .notebook import InventoryOptions
    from .progress import read_selected
    from .xnat import connect

    chosen = given(values)
    _side(chosen, "source", project)
    options = InventoryOptions.from_mapping({"source_project": "", **chosen})
    with connect("source", options.source_server) as source:
        found = read_selected(source, options.source_project, options)
    if output:
        try:
            write_inventory(found, output)
        except OSError as problem:
            raise InputError(f"The tables cannot be written to {output}: {problem.strerror}.") from None
    if as_json:
        _print_json(
            {
                **{
                    name: getattr(found, name) for name in ("server", "project", "user", "read_at", "requests", "notes")
                },
                "settings": found.settings.as_dict(),
                **{name: _rows(getattr(found, name)) for name in ("sessions", "scans", "resources", "prearchive")},
            }
        )
        return
    click.echo(found.card("Selected"))
    click.echo(html.sessions_table(found, "Sessions"))


@cli.command()
@click.argument("server", required=False, default="")
@click.argument("project", required=False, default="")
@_as_json
def doctor(server: str, project: str, as_json: bool) -> int:
    """Ask a server once for everything that a transfer will read, and say what is answered otherwise.

    SERVER is an address, or left out where XNAT_HOST names it; PROJECT an ID. Nothing is written. With --json the
    table holds no label, no name and no secret: attach it to a report. Ends with 0 where all is as expected, 3 else.
    """
    from .doctor import examine, report, table_of
    from .xnat import connect

    with connect("source", server) as connection:
        checks = examine(connection, project)
        told = report(connection, checks)
    if as_json:
        _print_json(told)
    else:
        click.echo(table_of(checks, told["xnat_version"]))
    return ExitCode.DIFFERENCES if told["otherwise"] else ExitCode.PROVED


@cli.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters(*_BOTH)
@_as_json
def diff(source_: str | None, destination_: str | None, as_json: bool, **values: Any) -> int:
    """Lay the selected sessions of two projects side by side.

    Ends with 0 where all are the same, 3 where something is missing, differs or is in conflict, 4 where listings alone
    cannot tell. Sessions that only the destination has do not count.
    """
    from . import html
    from .diff import diff as compare
    from .progress import read_sides

    options = _both(values, source_, destination_)
    with _with_inputs(options) as (source, destination, inputs):
        sides = read_sides(source, destination, options, inputs)
    found = compare(sides.source, sides.destination, sides.labels)
    if as_json:
        _print_json({"sessions": _rows(found.sessions), "scans": _rows(found.scans)})
    else:
        click.echo(html.diff_table(found))
    statuses = {str(status) for status in found.sessions["status"]}
    if statuses & {"only source", "differs", "conflict"}:
        return ExitCode.DIFFERENCES
    return ExitCode.CANNOT_BE_PROVED if "cannot tell" in statuses else ExitCode.PROVED


@cli.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters(*_BOTH, "subject_pattern", "session_pattern")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Also write the map as CSV, for --label-map.")
@_as_json
def labels(source_: str | None, destination_: str | None, output: str | None, as_json: bool, **values: Any) -> int:
    """Show which labels the selected sessions would get, and what does not fit. Nothing is written anywhere else.

    Ends with 3 where a label does not fit the destination.
    """
    from . import html
    from .label_rules import preview
    from .progress import read_sides

    options = _both(values, source_, destination_)
    with _with_inputs(options) as (source, destination, inputs):
        sides = read_sides(source, destination, options, inputs)
    found = preview(
        sides.source.sessions,
        sides.labels,
        subject_pattern=options.subject_pattern,
        session_pattern=options.session_pattern,
        existing_sessions=sides.destination.sessions["session"],
    )
    if output:
        table = found[["subject", "session", "to_subject", "to_session"]]
        try:
            write_whole(output, html.csv_text(table))
        except OSError as problem:
            raise InputError(f"The map cannot be written to {output}: {problem.strerror}.") from None
    if as_json:
        _print_json(_rows(found))
    else:
        click.echo(
            html.table(found, f"Labels at the destination: {int(found['changed'].sum())} of {len(found)} change")
        )
    return ExitCode.DIFFERENCES if (found["problem"] != "").any() else ExitCode.PROVED


@cli.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters(*(name for name in _ALL if name not in ("record_root", "dry_run")))
@click.option("-o", "--output", default="plan.json", show_default=True, help="The plan: a JSON file to review.")
@click.option(
    "--conflicts-to",
    type=click.Path(dir_okay=False),
    help="Also write the conflicts as a CSV, to edit for --decisions.",
)
@_as_json
def plan(
    source_: str | None, destination_: str | None, output: str, conflicts_to: str | None, as_json: bool, **values: Any
) -> int:
    """Decide what would be done, and write it down. Nothing is written at the destination.

    SOURCE and DESTINATION are project IDs, or an address and an ID: https://xnat.example.org/MYPROJECT.
    Ends with 5 where blockers forbid the run.
    """
    from . import html
    from .preparing import prepare

    options = _both(values, source_, destination_)
    with _with_inputs(options) as (source, destination, inputs):
        made = prepare(source, destination, options, inputs=inputs)
    try:
        made.save(output)
        if conflicts_to:
            write_whole(conflicts_to, html.csv_text(made.decisions_frame()))
    except OSError as problem:
        raise InputError(f"The plan cannot be written to {problem.filename}: {problem.strerror}.") from None
    code = ExitCode.REFUSED if made.blockers else ExitCode.PROVED
    if as_json:
        _print_json({"path": output, "exit_code": int(code), **made.model_dump(mode="json")})
        return code
    for table in (html.plan_table, html.findings_table, html.review_table, html.left_behind_table):
        click.echo(table(made))
    click.echo(f"The plan is in {output}.")
    if made.blockers:
        _say(f"There are {len(made.blockers)} blockers; 'xnbtransfer run' will refuse this plan.")
    return code


@cli.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters(*_BOTH, "review", "policy", "waivers", "identifiers", "record_root", "reason")
@click.option("--show-values", is_flag=True, help="List each distinct text value once, on this terminal only.")
@_as_json
def review(source_: str | None, destination_: str | None, show_values: bool, as_json: bool, **values: Any) -> int:
    """Look at rights, settings and headers without a copy, and keep the result as a record.

    With --show-values nothing is kept: each text value is shown once to somebody who may see the data. Ends with 5
    where something is blocking.
    """
    from .notebook import ReviewOptions, run_template

    chosen = given(values)
    _side(chosen, "source", source_)
    _side(chosen, "destination", destination_)
    options = ReviewOptions.from_mapping(chosen)
    if show_values:
        return _show_values(options)
    return _tell_record(run_template("review", options, aloud=not as_json), as_json)


@cli.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(dir_okay=False))
@click.option("--folder", type=click.Path(file_okay=False), help="Folder of the journal.  [PLAN without .json, .run]")
@click.option("--confirm", default="", metavar="TEXT", help="What a plan that deletes asks to be typed.")
@_as_json
def run(plan_file: str, folder: str | None, confirm: str, as_json: bool) -> int:
    """Carry out a plan exactly as written. Run again, it goes on where it stopped."""
    from .changes import is_change_plan
    from .plan import Plan
    from .progress import follow
    from .record import Workspace, close_record

    where = Path(folder) if folder else Path(plan_file).with_suffix(".run")
    if is_change_plan(plan_file):
        return run_changes(plan_file, where, confirm, as_json)
    made = Plan.load(plan_file)
    _say(f"The journal is kept in {where}.")
    with _connections(made.source.server, made.destination.server) as (source, destination):
        result = follow(made, source, destination, where, _watcher())
    close_record(Workspace(where, "run", made.options, made.made_at), made, result)
    return _tell_result(made, result, where, as_json)


@cli.command()
@click.argument("record", type=click.Path())
@click.option("--proof", default="all", metavar="TEXT", help="all (read every file back) or listing  [all]")
@click.option("--with-source/--no-source", default=True, help="Read the source again where a header changed since.")
@click.option("--source-server", default="", metavar="TEXT", help="Address of the source, if it moved.")
@click.option("--destination-server", default="", metavar="TEXT", help="Address of the destination, if it moved.")
@_as_json
def verify(
    record: str, proof: str, with_source: bool, source_server: str, destination_server: str, as_json: bool
) -> int:
    """Check a record offline, then prove again what the destination holds today.

    RECORD may also be the folder of a run. Of a record with which nothing was carried out it is said that it is whole.
    """
    from .changes import is_change_plan
    from .journal import JOURNAL
    from .plan import Plan
    from .record import PLAN, open_record
    from .verify import verify as prove
    from .xnat import connect

    if proof not in ("all", "listing"):
        raise InputError(f"proof={proof} is not known.", "Choose all or listing.")
    where = Path(record)
    data = where if (where / PLAN).exists() and not (where / "bagit.txt").exists() else open_record(where).data
    if not (data / JOURNAL).exists():
        if data == where:
            raise InputError(f"Nothing was carried out in {where}, so nothing can be proved.", "Run the plan first.")
        return _tell_whole(where, as_json)
    if is_change_plan(data / PLAN):
        return verify_again(data / PLAN, data / JOURNAL, where, as_json)
    if data == where:
        made, journal = Plan.load(where / PLAN), where / JOURNAL
    else:
        found = open_record(where)
        made, journal = found.plan(), found.journal
    with contextlib.ExitStack() as stack:
        destination = stack.enter_context(connect("destination", destination_server or made.destination.server))
        source = stack.enter_context(connect("source", source_server or made.source.server)) if with_source else None
        result = prove(made, journal, destination, source, proof=proof)
    return _tell_result(made, result, where, as_json)


@cli.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters(*_ALL)
@click.option("--config", type=click.Path(dir_okay=False), help="YAML file with parameters; options win over it.")
@_as_json
def transfer(source_: str | None, destination_: str | None, config: str | None, as_json: bool, **values: Any) -> int:
    """The whole road in one command: the transfer notebook is run, and becomes the record."""
    from .notebook import run_template

    chosen = given(values)
    _side(chosen, "source", source_)
    _side(chosen, "destination", destination_)
    options = TransferOptions.from_yaml(config, **chosen) if config else TransferOptions.from_mapping(chosen)
    path = run_template("transfer", options, aloud=not as_json)
    return _tell_record(path, as_json)


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--record-root", default="xnbtransfer-records", show_default=True, help="Folder for records and index.")
@click.option("--incremental", is_flag=True, help="Leave out transfers that have nothing new to send.")
@click.option("--list", "list_only", is_flag=True, help="Show the index of what was run, and run nothing.")
@_as_json
def campaign(file: str, record_root: str, incremental: bool, list_only: bool, as_json: bool) -> int:
    """Run many transfers from a CSV or YAML file, one record each, and keep an index of them.

    Run it again, or every night: what is there already is not sent twice.
    """
    from .campaign import index_table, read_campaign, read_index, run_campaign

    entries = read_campaign(file)
    if list_only:
        rows, code = read_index(record_root), ExitCode.PROVED
    else:
        rows, code = run_campaign(entries, record_root, incremental=incremental, tell=_say)
    if as_json:
        _print_json({"transfers": rows, "exit_code": int(code)})
        return code
    click.echo(index_table(rows))
    return code


def _ask(folder: str, *, going: bool = True) -> Control:
    """What another process obeys; a wish to a run that has ended would meet the next one."""
    from .journal import JOURNAL, in_use

    if not (Path(folder) / JOURNAL).exists():
        raise InputError(
            f"{folder} is not the folder of a run that can go on.",
            "It is the one named by 'run', or the unfinished record below the record root.",
        )
    if going and not in_use(Path(folder) / JOURNAL):
        raise InputError(
            f"No run is going on in {folder}, so nothing was asked of it.",
            "Look at it with 'xnbtransfer records', or ask on the machine that it runs on.",
        )
    return Control(folder)


def _tell_asked(folder: str, asked: str, sentence: str, as_json: bool) -> None:
    if as_json:
        _print_json({"folder": folder, "asked": asked})
    else:
        click.echo(f"The run in {folder} {sentence}.")


@cli.command()
@click.argument("folder", type=click.Path())
@_as_json
def pause(folder: str, as_json: bool) -> None:
    """Hold a run: the scans in flight are finished, and nothing new is begun.

    FOLDER is the folder of the run, or its unfinished record.
    """
    _ask(folder).ask_to_pause()
    _tell_asked(folder, "pause", f"pauses. 'xnbtransfer resume {folder}' lets it go on", as_json)


@cli.command()
@click.argument("folder", type=click.Path())
@_as_json
def resume(folder: str, as_json: bool) -> None:
    """Let a run that was held go on."""
    _ask(folder, going=False).resume()
    _tell_asked(folder, "resume", "goes on", as_json)


@cli.command()
@click.argument("folder", type=click.Path())
@_as_json
def cancel(folder: str, as_json: bool) -> None:
    """End a run in order after the scans in flight; another run over the same folder goes on from there."""
    _ask(folder).ask_to_stop()
    _tell_asked(folder, "cancel", "ends after what is in flight", as_json)


@cli.command()
@click.argument("record", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder to make.")
@_as_json
def shareable(record: str, output: str, as_json: bool) -> None:
    """Copy a sealed record for others: verdicts and digests, without crosswalk, labels, file names, dates and UIDs."""
    from .shareable import share_record

    made = share_record(record, output)
    if as_json:
        _print_json({"path": str(made)})
    else:
        click.echo(f"The copy is in {made}.")


@cli.command()
@click.argument("root", default="xnbtransfer-records", type=click.Path())
@_as_json
def records(root: str, as_json: bool) -> None:
    """List the records below a folder, the newest first."""
    from . import html
    from .record import list_records

    found = list_records(root)
    if as_json:
        _print_json(_rows(found))
        return
    columns = ["record", "state", "result", "source", "destination", "user", "files"]
    click.echo(html.table(found, f"Records in {root}", columns, limit=100_000))


@cli.command()
@click.argument("records", required=False, type=click.Path())
@parameters(AuditOptions, ("since", "until", "again", "record_root", "reason"))
@_as_json
def audit(records: str | None, as_json: bool, **values: Any) -> int:
    """Check all records below a folder, and keep what is found as a record.

    RECORDS is the folder; without it, that of --record-root. Ends with 3 where a record was changed or lost, or a
    server no longer holds what it says, and with 4 where something is open.
    """
    from .notebook import run_template

    options = AuditOptions.from_mapping({**given(values), **({"records": records} if records else {})})
    return _tell_record(run_template("audit", options, aloud=not as_json), as_json)


@cli.command()
@click.argument("what", metavar="NOTEBOOK", type=click.Path())
@_as_json
def seal(what: str, as_json: bool) -> int:
    """Add a notebook that was run by papermill or by hand to its record, and make that final.

    NOTEBOOK may also be an unfinished folder.
    """
    from .pages import workspace_named_in
    from .record import UNFINISHED
    from .record import seal as finish

    path = Path(what)
    if path.is_dir():
        return _tell_record(finish(path), as_json)
    if not path.exists():
        raise InputError(f"There is no notebook {path}.")
    try:
        found = workspace_named_in(path)
    except (ValueError, OSError):
        raise InputError(f"{path} is no notebook.") from None
    if not found:
        raise InputError(f"The notebook {path} names no record.", "Run one of the templates first.")
    roots = [Path(found["record_root"]), path.parent / found["record_root"]]
    for root in roots:
        folder = with_home(root) / f"{found['name']}{UNFINISHED}"
        if folder.exists():
            return _tell_record(finish(folder, path), as_json)
    raise InputError(
        f"The unfinished record {found['name']} is not below {roots[0]}.", "Run this where the notebook was run."
    )


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=_PORT, default=0, show_default=True, help="0 takes a free one.")
@click.option("--data", type=click.Path(file_okay=False), help="Folder with the state; without it a temporary one.")
@click.option("--demo", is_flag=True, help="Fill it with people, projects and DICOM.")
@click.option("--faults", type=click.Path(dir_okay=False), help="JSON file with fault rules.")
@click.option("--receiver", type=_PORT, metavar="PORT", help="Also receive DICOM here; 0 takes a free one.")
@click.option(
    "--receiver-tls",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False),
    metavar="CERT KEY",
    help="PEM files: encrypted receiving only; needs --receiver.",
)
@click.option(
    "--personality",
    type=click.Choice(["1.6", "1.7.2", "1.7", "1.8", "1.9"]),
    help="The XNAT to be like; 1.8 unless said.",
)
def serve(
    host: str,
    port: int,
    data: str | None,
    demo: bool,
    faults: str | None,
    receiver: int | None,
    receiver_tls: tuple[str, str] | None,
    personality: str | None,
) -> None:
    """Run the embedded XNAT-compatible server; prints one JSON line when it is ready."""
    from .demo import embedded_server

    if receiver_tls and receiver is None:
        raise InputError("--receiver-tls encrypts a receiver that was not asked for.", "Add --receiver PORT.")
    if receiver is not None:
        try:
            importlib.import_module("pynetdicom")
        except ImportError:
            raise InputError(
                "The DICOM receiver needs the package pynetdicom.", "Install it: pip install 'xnbtransfer[receiver]'."
            ) from None
    try:
        embedded_server().serve(host, port, data, demo, faults, receiver, receiver_tls, personality or "")
    except (OSError, ValueError) as problem:  # a port in use, an address of another machine, rules that are none
        named = getattr(problem, "filename", None)
        said = f"{problem.strerror} ({named})" if named else getattr(problem, "strerror", None) or problem
        raise InputError(
            f"The server cannot be started: {said}.", "Check --host, --port, --data and --faults."
        ) from None


@cli.command()
@click.option("--output", default="demo-record", show_default=True, help="Folder that receives the record.")
@_as_json
def demo(output: str, as_json: bool) -> int:
    """Start a demo server, transfer its demo project, prove it, keep the record, and stop the server."""
    from .demo import run_demo

    return _tell_record(run_demo(output, aloud=not as_json), as_json)


def _show_values(options: TransferOptions) -> int:
    """Each distinct text value, to a terminal and nowhere else."""
    from . import html
    from .preparing import prepare
    from .progress import read_sides
    from .review import review as look
    from .reviewer import reviewer_of

    if not sys.stdout.isatty():
        raise InputError(
            "Values are shown on a terminal only: in a file, a pipe or a notebook they would be kept.",
            "Run the same command in a terminal.",
        )
    with _with_inputs(options) as (source, destination, inputs):
        sides = read_sides(source, destination, options, inputs)
        made = prepare(source, destination, options, sides=sides, headers=False)
        reviewer = reviewer_of(made, whole=False, inputs=inputs)
        look(made, source, sides.source, alone=True, reviewer=reviewer)
    columns = ["element", "value", "files", "sessions"]
    rows = [
        {"element": element, "value": _printable(text), "files": files, "sessions": sessions}
        for element, text, files, sessions in reviewer.distinct_values()
    ]
    click.echo(repr(html.table(rows, f"Distinct text values: {len(rows)}", columns, limit=len(rows) or 1)))
    return ExitCode.PROVED


def _printable(text: str) -> str:
    """A text from a header without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _both(values: dict[str, Any], source: str | None, destination: str | None) -> TransferOptions:
    chosen = given(values)
    _side(chosen, "source", source)
    _side(chosen, "destination", destination)
    return TransferOptions.from_mapping(chosen)


@contextlib.contextmanager
def _connections(source_server: str, destination_server: str) -> Iterator[tuple]:
    from .xnat import connect_sides

    with connect_sides(source_server, destination_server) as both:
        yield both


@contextlib.contextmanager
def _with_inputs(options: TransferOptions) -> Iterator[tuple]:
    """Both logins and what people wrote down; a file that cannot be used is told before a password is asked for."""
    from .inputs import read_inputs

    inputs = read_inputs(options)
    with _connections(options.source_server, options.destination_server) as (source, destination):
        yield source, destination, inputs


def _watcher():
    from .progress import Bar, Lines

    return Bar() if sys.stderr.isatty() else Lines(_say)


def _tell_result(made: Any, result: Any, where: Path, as_json: bool) -> int:
    from . import html

    code = ExitCode(result.exit_code)
    if as_json:
        _print_json(
            {
                "folder": str(where),
                "exit_code": int(code),
                "result": html.WORDS[code],
                "verdicts": result.counts,
                "sessions": _rows(result.sessions),
                "extra": len(result.extra),
                "problems": list(result.problems),
                "messages": list(result.messages),
                "requests": result.requests,
                "writes": result.writes,
                "seconds": result.seconds,
            }
        )
        return code
    click.echo(html.verdict_table(result))
    if code not in (ExitCode.PROVED, ExitCode.TRANSIENT):
        click.echo(html.files_table(result))
    click.echo(html.verdict_banner(made, result))
    return code


def _tell_whole(where: Path, as_json: bool) -> int:
    """A record of an inventory, a review, a dry run, or a copy that is handed on: nothing of it is at a server."""
    if as_json:
        _print_json({"folder": str(where), "exit_code": 0, "result": "as it was sealed", "verdicts": {}})
    else:
        click.echo(f"The record {where.name} is as it was sealed. It holds no journal of a run, so no server is asked.")
    return ExitCode.PROVED


def _tell_record(path: Path, as_json: bool) -> int:
    """Say how the run of a record ended, from its own files."""
    from . import html
    from .record import PLANNED, open_record

    found = open_record(path)
    code = ExitCode(found.summary["exit_code"])
    if as_json:
        _print_json({"path": str(path), **found.summary})
        return code
    if (found.data / "sessions.csv").exists() and found.summary.get("verdicts"):
        rows = [{"verdict": word, "files": count} for word, count in found.summary["verdicts"].items()]
        rows.append({"verdict": "together", "files": sum(found.summary["verdicts"].values())})
        click.echo(html.table(rows, "Files by verdict", ["verdict", "files"]))
        columns = ["subject", "session", "state", "files", "equal", "explained", "different", "not_proved", "because"]
        click.echo(html.table(found.table("sessions"), "Sessions", columns))
    click.echo(f"Result: {found.summary['result']} (exit code {int(code)}).")
    template = found.summary["template"]
    if template == "audit":
        records = found.table("records")
        click.echo(html.table(records, "Records", ["record", "status", "today", "source", "destination", "because"]))
    if code in html.NEXT:
        warnings = 0
        if template == "review":
            warnings = int((found.table("findings")["severity"] == "warning").sum())
        planned = found.summary["result"] == PLANNED
        states = found.summary.get("sessions", {})
        click.echo(f"Next: {html.next_step(code, states, warnings, template, planned)}")
    click.echo(f"The record is in {path}; read {found.page.relative_to(path)} in it.")
    return code


def _rows(frame: Any) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records"))


def _print_json(values: Any) -> None:
    click.echo(printable_json(json.dumps(values, indent=1, ensure_ascii=False, default=str)))


def _say(text: str) -> None:
    click.echo(printable(text), err=True)


for _command in COMMANDS:
    cli.add_command(_command)
for _name, _command in cli.commands.items():
    if _name not in ("demo", "serve", "records", "shareable", "seal", "pause", "resume", "cancel"):
        _command.params.append(
            click.Option(
                ["--login-provider"],
                metavar="NAME",
                expose_value=False,
                callback=_name_provider,
                help="The login provider of XNAT to name, where it has several; else XNAT_PROVIDER.",
            )
        )


def invoke(arguments: list[str] | None = None) -> int:
    """Run a command line; returns its exit code. Errors become sentences on the standard error, never tracebacks."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=words, prog_name="xnbtransfer", standalone_mode=False)
        return int(code or ExitCode.PROVED)
    except click.exceptions.Exit as problem:
        return problem.exit_code
    except click.ClickException as problem:
        if "--json" in words:
            _print_json({"error": "UsageError", "message": problem.format_message(), "exit_code": 2})
        problem.show()
        return ExitCode.BAD_INPUT
    except XnbTransferError as problem:
        return _failed(type(problem).__name__, str(problem), problem.exit_code, words)
    except (KeyboardInterrupt, click.Abort):
        return _failed("Interrupted", _AGAIN, ExitCode.TRANSIENT, words)
    except BrokenPipeError:
        # Whoever read our output has gone; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except OSError as problem:
        from errno import EDQUOT, ENOSPC

        if problem.errno in (ENOSPC, EDQUOT):
            return _failed("DiskFullError", "The disk is full. Free some space, then run again.", 6, words)
        return _failed("OSError", f"{problem.strerror or problem} ({problem.filename or 'no file'}).", 1, words)
    except Exception as problem:
        if os.environ.get("XNBTRANSFER_DEBUG"):
            raise
        text = f"Unexpected {type(problem).__name__}: {problem}. XNBTRANSFER_DEBUG=1 shows where."
        return _failed(type(problem).__name__, text, ExitCode.ERROR, words)


def _failed(name: str, text: str, code: int, words: list[str]) -> int:
    if "--json" in words:
        _print_json({"error": name, "message": text, "exit_code": int(code)})
    _say(text)
    return int(code)


def main() -> None:
    """The console script. What it writes, its notebooks and its temporary files are private."""
    keep_private()
    sys.exit(invoke())


if __name__ == "__main__":
    main()
