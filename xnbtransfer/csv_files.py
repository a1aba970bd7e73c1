"""CSV tables: those that people write, as editors and spreadsheets save them, and the cells of those that we write.

Labels, decisions and campaigns are read here; records, inventories and indexes write their cells through ``as_cell``
and read them through ``of_cell``. All cells are text: nothing here turns one into a number.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Container, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pandas as pd

from .errors import InputError
from .values import tuples_of

_SIGNS = (",", ";", "\t")
# A spreadsheet runs a cell that begins so; one apostrophe before it says that it is text (OWASP, "CSV Injection").
_RUN = re.compile(r"'*[=+\-@\t\r\n]")


def as_cell(text: str) -> str:
    """A text as the cell of a CSV that no spreadsheet takes for a formula; :func:`of_cell` gives the text back.

    >>> as_cell("=1+1"), as_cell("T1"), of_cell(as_cell("'=1"))
    ("'=1+1", 'T1', "'=1")
    """
    return f"'{text}" if _RUN.match(text) else text


def of_cell(cell: str) -> str:
    """The text that :func:`as_cell` made the cell of."""
    return cell[1:] if cell[:1] == "'" and _RUN.match(cell, 1) else cell


def as_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with each text, those in its header, too, as the cell of a CSV; numbers stay numbers."""

    def safe(value: object) -> object:
        return as_cell(value) if isinstance(value, str) else value

    made = frame.copy()
    for place, kind in enumerate(frame.dtypes):
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)):
            made.isetitem(place, frame.iloc[:, place].map(safe))
    made.columns = [safe(name) for name in frame.columns]
    return made


def written_rows(file: TextIO) -> Iterator[dict[str, str]]:
    """The rows of a CSV that we wrote, by the names of its header, each text as it was before it became a cell."""
    for row in csv.DictReader(file):
        yield {of_cell(name or ""): of_cell(cell) for name, cell in row.items() if isinstance(cell, str)}


def read_lines(path: str | Path, what: str, columns: Collection[str]) -> list[tuple[int, list[str]]]:
    """The lines of a CSV that hold something, each with its number; the first of them is the header.

    Parameters
    ----------
    what : str
        How a message calls the file, e.g. ``label map``.
    columns : collection of str
        What the header may name. Blanks around its cells and capitals do not count there, and that sign of ``,``,
        ``;`` and tab separates cells with which most of them are found.

    Raises
    ------
    InputError
        If the file cannot be read as such a table.
    """
    # csv and not pandas: nothing can turn 001 into a number or NA into nothing, and a row too long is seen
    try:
        raw = Path(path).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as problem:
        raise InputError(f"The {what} {path} cannot be read: {problem.strerror}.") from None
    except UnicodeDecodeError:
        kind = "a workbook or another archive" if raw[:2] == b"PK" else "not text in UTF-8"
        raise InputError(f"The {what} {path} is {kind}.", "Save it as CSV in UTF-8.") from None
    known = {name.lower(): name for name in columns}

    def named(cells: list[str]) -> list[str]:
        return [known.get(cell.strip().lower(), cell.strip()) for cell in cells]

    def found(sign: str) -> int:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=sign), [])
        return sum(cell in columns for cell in named(first))

    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_SIGNS, key=found), strict=True)
        rows = ([of_cell(cell) for cell in row] for row in reader)
        lines = [(reader.line_num, row) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as problem:
        raise InputError(
            f"The {what} {path} is not a CSV table: {problem}.", "Save it again as CSV in UTF-8."
        ) from None
    return [(number, named(row) if place == 0 else row) for place, (number, row) in enumerate(lines)]


def read_table(
    path: str | Path, columns: Sequence[str], what: str, may_be_empty: Container[str] = ()
) -> list[tuple[str, tuple[str, ...]]]:
    """The rows of a CSV, each with its place in words; none of its cells is empty unless it may be.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column or has it twice, or a line does not fit.
    """
    lines = read_lines(path, what, columns)
    header = lines[0][1] if lines else []
    if lacking := [column for column in columns if header.count(column) != 1]:
        many = "has more than one column" if lacking[0] in header else "lacks the column"
        raise InputError(
            f"The {what} {path} {many} {lacking[0]}.",
            f"Give it the columns {', '.join(columns)}, separated by commas.",
        )
    places = [header.index(column) for column in columns]
    found = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise InputError(
                f"The {what} {path} has {len(cells)} cells in line {number} and {len(header)} columns.",
                "Give every line as many cells as the first line.",
            )
        row = tuple(cells[place] for place in places)
        for cell, column in zip(row, columns, strict=True):
            if not cell and column not in may_be_empty:
                raise InputError(
                    f"The {what} {path} has an empty cell in line {number}.", "Fill it or take the line out."
                )
            if cell != cell.strip() or not cell.isprintable():
                raise InputError(
                    f"The {what} {path} has {cell!r} as {column} in line {number}: a blank or a sign that nobody sees.",
                    "No label is equal to that; take it out.",
                )
        found.append((f"line {number}", row))
    return found


def rows_of(
    table: pd.DataFrame, columns: Sequence[str], what: str, may_be_empty: Container[str] = ()
) -> list[tuple[str, tuple[str, ...]]]:
    """The rows of a frame as :func:`read_table` gives those of a file."""
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise InputError(f"The {what} lacks the column {lacking[0]}.", f"Its columns are {', '.join(columns)}.")
    found = []
    for number, row in enumerate(tuples_of(table, *columns), 1):
        for cell, column in zip(row, columns, strict=True):
            if not isinstance(cell, str):
                raise InputError(
                    f"The {what} has {cell!r} as {column} in row {number}, and that is no text.",
                    "A label such as 001 would have lost its zeros: make the column text.",
                )
            if not cell and column not in may_be_empty:
                raise InputError(f"The {what} has an empty cell in row {number}.", "Fill it or take the row out.")
        found.append((f"row {number}", row))
    return found
