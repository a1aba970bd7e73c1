"""The commands for what carries no file: share, move, prearchive and finish-move.

Each decides, shows and writes a plan; ``xnbtransfer run`` carries it out. With ``--notebook`` the whole road is one
notebook, which becomes the record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import click

from .errors import ExitCode, InputError
from .forms import PROJECTS
from .method_options import METHODS
from .options import TransferOptions

_NOT_HERE = ("record_root", "dry_run", "confirm")


def parameters(options: type[TransferOptions], names: Iterable[str]) -> Callable:
    """Click options made from the fields of a class of options: same names, same help, same defaults."""

    def decorate(command: Callable) -> Callable:
        for name in reversed(tuple(names)):
            about = options.model_fields[name]
            flag = "--" + name.replace("_", "-")
            default = "" if about.is_required() or about.default in ("", ()) else str(about.default)
            text = (about.description or "") + (f"  [{default}]" if default and about.default is not False else "")
            choices = get_args(about.annotation)
            if about.annotation is bool:
                command = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)(command)
            elif about.annotation is int:
                command = click.option(flag, name, type=int, default=None, help=text)(command)
            elif about.default == ():
                text += "; repeat it, or separate with commas"
                command = click.option(flag, name, multiple=True, metavar="LABEL", help=text)(command)
            elif choices and all(isinstance(choice, str) for choice in choices):
                command = click.option(flag, name, type=click.Choice(choices), default=None, help=text)(command)
            else:
                command = click.option(flag, name, default=None, metavar="TEXT", help=text)(command)
        return command

    return decorate


def _parameters(kind: str, *left_out: str) -> Callable:
    return parameters(METHODS[kind], (name for name in METHODS[kind].offered if name not in left_out))


def _finish(command: Callable, kind: str) -> Callable:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON on the standard output, and nothing else."),
        click.option("--notebook", is_flag=True, help="Run the template in place of this; it becomes the record."),
        click.option("-o", "--output", default=f"{kind}.json", show_default=True, help="The plan: a file to review."),
    ):
        command = option(command)
    return command


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters that were given, lists taken apart at commas (a pattern ~REGEX keeps its own)."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            parts = [part.strip() for one in value for part in ([one] if one[:1] == "~" else one.split(",")) if part]
            if parts:
                found[name] = tuple(parts)
        elif value is not None:
            found[name] = value
    return found


def _given(kind: str, values: dict[str, Any], side: dict[str, str | None]) -> dict[str, Any]:
    found = given(values)
    for name, where in side.items():
        if not where:
            continue
        server, _, project = where.rpartition("/") if where.startswith(("http://", "https://")) else ("", "", where)
        found[f"{name}_project"] = project
        if server and f"{name}_server" in METHODS[kind].offered:
            found[f"{name}_server"] = server.removesuffix(PROJECTS.path)
    return found


def _go(kind: str, given: dict[str, Any], output: str, notebook: bool, as_json: bool) -> int:
    """Decide and write the plan, or run the template."""
    options = METHODS[kind].from_mapping(given)
    if notebook:
        from .cli import _tell_record as tell_record
        from .notebook import run_template

        return tell_record(run_template(kind, options, aloud=not as_json), as_json)
    from . import change_tables
    from .cli import _print_json as print_json
    from .cli import _say as say

    made, found = _decide(kind, options)
    asks = kind != "prearchive" or options.action != "review"
    code = ExitCode.REFUSED if made.blockers else ExitCode.PROVED
    if asks:
        try:
            made.save(output)
        except OSError as problem:
            raise InputError(f"The plan cannot be written to {output}: {problem.strerror}.") from None
    if as_json:
        values = {"path": output, "exit_code": int(code), **made.model_dump(mode="json")} if asks else {}
        if found is not None:
            values["prearchive"] = found.to_dict("records")
        print_json({"exit_code": int(code), **values})
        return code
    if found is not None:
        click.echo(change_tables.review_table(found, options.destination_project))
    if not asks:
        return code
    click.echo(change_tables.change_table(made))
    click.echo(change_tables.concerns_table(made))
    confirm = f" --confirm {made.confirm!r}" if made.confirm else ""
    click.echo(f"The plan is in {output}; review it, then: xnbtransfer run {output}{confirm}")
    if made.blockers:
        say(f"There are {len(made.blockers)} blockers; 'xnbtransfer run' will refuse this plan.")
    return code


def _decide(kind: str, options: Any) -> tuple:
    """The plan, and for the prearchive what waits there."""
    from . import actions
    from .xnat import connect

    if kind == "finish-move":
        from .finish import copy_record, plan_finish

        earlier = copy_record(options)
        with contextlib.ExitStack() as stack:
            source, destination = map(stack.enter_context, actions.connect_to(earlier, options))
            return plan_finish(earlier, source, destination, options), None
    if kind == "prearchive":
        from .prearchive import plan_prearchive

        with connect("destination", options.destination_server) as connection:
            return plan_prearchive(connection, options)
    from .relocate import plan_move
    from .share import plan_share

    with connect("source", options.source_server) as connection:
        return (plan_share if kind == "share" else plan_move)(connection, options), None


@click.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters("share")
def share(source_: str | None, destination_: str | None, output: str, notebook: bool, as_json: bool, **values: Any):
    """Plan to show sessions in another project of the same server, without a copy; --undo takes it back."""
    given = _given("share", values, {"source": source_, "destination": destination_})
    return _go("share", given, output, notebook, as_json)


@click.command()
@click.argument("source_", metavar="SOURCE", required=False)
@click.argument("destination_", metavar="DESTINATION", required=False)
@_parameters("move")
def move(source_: str | None, destination_: str | None, output: str, notebook: bool, as_json: bool, **values: Any):
    """Plan to give sessions to another project of the same server, without a copy."""
    given = _given("move", values, {"source": source_, "destination": destination_})
    return _go("move", given, output, notebook, as_json)


@click.command()
@click.argument("project", required=False)
@_parameters("prearchive")
def prearchive(project: str | None, output: str, notebook: bool, as_json: bool, **values: Any):
    """Say what waits in a prearchive, why, and the way out; with --action plan what is done about it."""
    given = _given("prearchive", values, {"destination": project})
    return _go("prearchive", given, output, notebook, as_json)


@click.command("finish-move")
@click.argument("record_", metavar="RECORD", required=False, type=click.Path())
@_parameters("finish-move", "record")
def finish_move(record_: str | None, output: str, notebook: bool, as_json: bool, **values: Any):
    """Plan to delete at the source what a copy has sent, if it is proved again. RECORD is that of the copy.

    'xnbtransfer run' reads both sides again, whole, and deletes nothing without --confirm.
    """
    given = _given("finish-move", values, {})
    if record_:
        given["record"] = record_
    return _go("finish-move", given, output, notebook, as_json)


COMMANDS = [_finish(share, "share"), _finish(move, "move"), _finish(prearchive, "prearchive-plan")]
COMMANDS.append(_finish(finish_move, "finish-move"))


def run_changes(plan_file: str, folder: Path, confirm: str, as_json: bool) -> int:
    """Carry out a plan of changes exactly as written, from the shell."""
    from . import actions, change_tables
    from .changes import ChangePlan
    from .cli import _print_json as print_json
    from .cli import _say as say
    from .progress import Lines
    from .record import Workspace, close_record

    made = ChangePlan.load(plan_file)
    say(f"The journal is kept in {folder}.")
    with contextlib.ExitStack() as stack:
        source, destination = actions.connect_for(made, stack)
        result = actions.follow_changes(made, source, destination, folder, Lines(say), confirm=confirm)
    close_record(Workspace(folder, made.kind, made.options, made.made_at), made, result)
    return tell_changes(made, result, folder, as_json, change_tables, print_json)


def verify_again(plan_file: Path, journal: Path, where: Path, as_json: bool) -> int:
    """Whether what a record of changes says holds today."""
    from . import actions, change_tables
    from .changes import ChangePlan
    from .cli import _print_json as print_json

    made = ChangePlan.load(plan_file)
    with contextlib.ExitStack() as stack:
        source, destination = actions.connect_for(made, stack)
        result = actions.verify_changes(made, journal, source, destination)
    return tell_changes(made, result, where, as_json, change_tables, print_json)


def tell_changes(made: Any, result: Any, where: Path, as_json: bool, tables: Any, print_json: Callable) -> int:
    """Show what became of each item; returns the exit code."""
    code = ExitCode(result.exit_code)
    if as_json:
        print_json(
            {
                "folder": str(where),
                "exit_code": int(code),
                "verdicts": result.counts,
                "sessions": result.sessions.to_dict("records"),
                "problems": list(result.problems),
                "messages": list(result.messages),
                "requests": result.requests,
                "writes": result.writes,
                "seconds": result.seconds,
            }
        )
        return code
    click.echo(tables.change_verdict(made, result))
    return code
