"""A campaign: many transfers from one CSV or YAML file, one record each, and an index of all that was run.

Run it once, or again every night: with ``incremental`` a transfer that has nothing new to send leaves no record.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .csv_files import as_cell, read_lines, written_rows
from .errors import ExitCode, InputError, OptionsError, TransientError, XnbTransferError
from .html import Html, table
from .inputs import read_inputs
from .notebook import OPTIONS, run_template
from .options import TransferOptions
from .outputs import file_mode, make_folder, not_written, private, write_whole
from .pages import page
from .preparing import prepare
from .record import open_record
from .xnat import connect_sides
from .yaml_files import read_yaml

INDEX = "campaign.csv"
PAGE = "campaign.html"
COLUMNS = (
    "at",
    "name",
    "template",
    "source",
    "destination",
    "result",
    "exit_code",
    "files",
    "record",
    "because",
)
_TEMPLATES = ("transfer", "share", "move", "compare", "inventory", "review")
_NOTHING_NEW = "nothing new"
# What a night with several ends reports: a difference before anything that only has to be run again.
_WORST = (
    ExitCode.ERROR,
    ExitCode.DIFFERENCES,
    ExitCode.BAD_INPUT,
    ExitCode.REFUSED,
    ExitCode.CANNOT_BE_PROVED,
    ExitCode.TRANSIENT,
    ExitCode.NEEDS_A_PERSON,
    ExitCode.PROVED,
)


@dataclass(frozen=True)
class Entry:
    """One line of a campaign: the template that carries it out, and its parameters."""

    name: str
    template: str
    options: TransferOptions


def read_campaign(path: str | Path) -> list[Entry]:
    """The transfers of a campaign file.

    YAML holds ``transfers:``, a list of parameters by name, and may hold ``defaults:``, which count for each. CSV has
    one transfer a line and parameters as columns; an empty cell leaves the default, and labels of a list are
    separated by semicolons. ``name`` names a transfer, ``template`` what carries it out: transfer, share, move,
    compare, inventory or review.

    Raises
    ------
    InputError
        If the file cannot be read, two transfers have one name, or parameters are wrong: all that are, by name.
    """
    path = Path(path)
    rows = _yaml_rows(path) if path.suffix.lower() in (".yaml", ".yml") else _csv_rows(path)
    if not rows:
        raise InputError(f"The campaign {path} holds no transfer.", "Write one a line, or below 'transfers:'.")
    entries, problems = [], []
    for number, row in enumerate(rows, 1):
        row = dict(row)
        name = str(row.pop("name", "") or f"transfer-{number}")
        template = str(row.pop("template", "") or "transfer")
        try:
            if not re.fullmatch(r"[\w.-]+", name):
                raise OptionsError("its name may hold letters, digits, dot, dash and underscore only.")
            if template not in _TEMPLATES:
                raise OptionsError(f"there is no template {template!r} here; they are {', '.join(_TEMPLATES)}.")
            entries.append(Entry(name, template, OPTIONS[template].from_mapping(row)))
        except OptionsError as problem:
            problems.append(f"{name}: {problem}")
    twice = sorted({one.name for one in entries if [other.name for other in entries].count(one.name) > 1})
    problems += [f"{name}: two transfers have this name." for name in twice]
    if problems:
        raise InputError(f"The campaign {path} cannot be run. {' '.join(problems)}", "Nothing of it was begun.")
    return entries


def _yaml_rows(path: Path) -> list[dict[str, Any]]:
    found = read_yaml(path, "campaign").values
    unknown = set(found) - {"defaults", "transfers"} if isinstance(found, dict) else {"no names"}
    rows = found.get("transfers") if isinstance(found, dict) else None
    defaults = (found.get("defaults") or {}) if isinstance(found, dict) else {}
    if unknown or not isinstance(rows, list) or not all(isinstance(row, dict) for row in [*rows, defaults]):
        raise InputError(
            f"The campaign {path} is not of the form 'transfers:' with a list of parameters below it.",
            "Parameters that all of them share go below 'defaults:'; there is nothing else.",
        )
    return [{**defaults, **row} for row in rows]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    known = {"name", "template"}.union(*(options.model_fields for options in OPTIONS.values()))
    lines = read_lines(path, "campaign", known)
    header = lines[0][1] if lines else []
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"The campaign {path} has more than one column {twice[0]}.", "Keep one of them.")
    for number, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise InputError(f"The campaign {path} has more cells in line {number} than there are columns.")
    return [
        {name: _cell(name, text) for name, text in zip(header, cells, strict=False) if text.strip()}
        for _, cells in lines[1:]
    ]


def _cell(name: str, text: str) -> Any:
    """A cell as its parameter wants it; what does not fit stays text, and is refused with the parameter's name."""
    known = {field: about for options in OPTIONS.values() for field, about in options.model_fields.items()}
    about = known.get(name)
    if about is None:
        return text
    if isinstance(about.default, tuple):
        return [part.strip() for part in text.split(";") if part.strip()]
    if isinstance(about.default, bool):
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.strip().lower(), text)
    if isinstance(about.default, int) and re.fullmatch(r"\s*\d+\s*", text):
        return int(text)
    return text


def run_campaign(
    entries: list[Entry],
    root: str | Path,
    *,
    incremental: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    env: Mapping[str, str] | None = None,
) -> tuple[list[dict], ExitCode]:
    """Run the transfers of a campaign, one after another. One that fails does not keep the next from being run.

    Parameters
    ----------
    root : path
        Receives the records and the index: ``INDEX``, to which a row of ``COLUMNS`` is added for each transfer of each
        run, and ``PAGE``, which shows it.
    incremental : bool
        Look first whether there is anything new to send; where there is not, no record is made.
    tell : callable
        Is given a sentence before and after each.

    Returns
    -------
    list of dict, ExitCode
        The rows of this run, and the worst of their exit codes.

    Raises
    ------
    TransientError
        If this campaign is being run by somebody else at this moment.
    """
    root = Path(root)
    try:
        make_folder(root)
    except OSError as problem:
        what = f"The records cannot be written to {root}"
        raise not_written(problem, what, "Name another folder with --record-root.") from None
    try:
        with FileLock(root / f".{INDEX}.lock", timeout=0, mode=file_mode()):
            rows = []
            for entry in entries:
                tell(f"{entry.name}: begins.")
                rows.append(_run(entry, root, incremental, env))
                _write(root, rows[-1])
                tell(f"{entry.name}: {rows[-1]['result']}.")
    except Timeout:
        raise TransientError(
            f"A campaign is being run in {root}.", "Wait for it to end, then run this again."
        ) from None
    codes = [ExitCode(row["exit_code"]) for row in rows]
    return rows, min(codes, key=_WORST.index, default=ExitCode.PROVED)


def _run(entry: Entry, root: Path, incremental: bool, env: Mapping[str, str] | None) -> dict:
    options = entry.options.model_copy(update={"record_root": str(root)})
    row = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "name": entry.name,
        "template": entry.template,
        "source": options.source_project,
        "destination": options.destination_project,
        "files": 0,
        "record": "",
        "because": "",
    }
    try:
        if incremental and entry.template == "transfer" and not _anything_new(options):
            return row | {"result": _NOTHING_NEW, "exit_code": int(ExitCode.PROVED)}
        record = open_record(run_template(entry.template, options, env=env))
        summary = record.summary
        files = sum(summary.get("verdicts", {}).values())
        done = {"result": summary["result"], "exit_code": summary["exit_code"], "files": files}
        return row | done | {"record": record.path.name, "because": " ".join(summary.get("problems", [])[:3])}
    except XnbTransferError as problem:
        code = ExitCode(problem.exit_code)
        return row | {"result": "failed", "exit_code": int(code), "because": str(problem)}


def _anything_new(options: TransferOptions) -> bool:
    """Whether a plan made now would send something, has a blocker, or an earlier run has left something to do."""
    for folder in Path(options.record_root).glob("*.unfinished"):
        if f"_{options.source_project}-{options.destination_project}_" in folder.name:
            return True
    inputs = read_inputs(options)
    with connect_sides(options.source_server, options.destination_server) as (source, destination):
        made = prepare(source, destination, options, inputs=inputs, headers=False)
    return bool(made.totals["files"] or made.blockers)


def _write(root: Path, row: dict) -> None:
    path = root / INDEX
    new = not path.exists()
    with open(path, "a", encoding="utf-8", newline="", opener=private) as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({name: as_cell(str(cell)) for name, cell in row.items()})
    write_whole(root / PAGE, page("Campaign", index_table(read_index(root))._repr_html_(), ["Campaign"]))


def read_index(root: str | Path) -> list[dict]:
    """All rows of the index, the newest first.

    Raises
    ------
    InputError
        If no campaign was run in this folder.
    """
    path = Path(root) / INDEX
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(written_rows(file))[::-1]
    except OSError:
        raise InputError(f"No campaign was run in {root}.", "Name the folder that holds its records.") from None


def index_table(rows: list[dict]) -> Html:
    """The index as a table."""
    return table(rows, f"Transfers of the campaign, the newest first: {len(rows)}", list(COLUMNS), limit=100_000)
