"""Inventory: one project as pandas frames, in a number of requests that does not grow with its sessions.

Files cost one request per some dozens of sessions. Labels are text on every way in and out.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from .conflicts import study_uids
from .csv_files import as_cells, written_rows
from .errors import InputError, NotFoundError, RefusedError
from .forms import project_path, subject_path
from .lease import is_lease
from .outputs import make_folder, write_whole
from .values import (
    ELSEWHERE_COLUMNS,
    FILE_COLUMNS,
    PREARCHIVE_COLUMNS,
    RESOURCE_COLUMNS,
    SCAN_COLUMNS,
    SESSION_COLUMNS,
    Inventory,
    Settings,
    frame,
    tuples_of,
)
from .xnat import Connection

_FRAMES = {
    "sessions": SESSION_COLUMNS,
    "scans": SCAN_COLUMNS,
    "resources": RESOURCE_COLUMNS,
    "files": FILE_COLUMNS,
    "prearchive": PREARCHIVE_COLUMNS,
}


def read_inventory(
    connection: Connection,
    project: str,
    *,
    files: bool = True,
    select: Callable[[dict], bool] | None = None,
    known: Collection[str] | None = None,
    scans: bool = True,
    prearchive: bool = True,
    settings: bool = True,
    gives: bool = False,
    listed: Callable[[list[dict]], None] | None = None,
) -> Inventory:
    """Read one project.

    Parameters
    ----------
    files : bool
        Whether to list files (names, sizes in bytes, MD5).
    select : callable, optional
        Gets a session's row and says whether its files are wanted; all sessions are listed anyway.
    known : collection of str, optional
        Accessions of the sessions whose files are wanted, in place of ``select``: all is asked at the same time then.
    scans : bool
        Whether to list scans and the sessions' own resources; without it only the files of scans.
    prearchive, settings : bool
        Whether to read the prearchive and the project's settings.
    gives : bool
        Whether data is only taken from the project: settings that decide how it takes data are left out then.
    listed : callable, optional
        Is given the rows of all sessions as soon as they are known, while their files are still asked for.

    Returns
    -------
    Inventory
        ``notes`` name what the server left out: XNAT skips sessions of a list that it cannot read without a word.

    Raises
    ------
    NotFoundError
        If the project does not exist for this user.
    """
    before = connection.requests
    lists = (connection.files, connection.session_resources) if scans else (connection.files,)
    with ThreadPoolExecutor(6) as threads:
        listing = threads.submit(connection.sessions, project)  # first: a new login waits for the answer to one request
        asks = [threads.submit(ask, sorted(known)) for ask in lists if known]
        scanned = threads.submit(connection.scans, project) if known and scans else None
        told = threads.submit(connection.settings, project, gives=gives) if settings else None
        prearchived = threads.submit(connection.prearchive, project) if prearchive else None
        try:
            sessions = listing.result()
        except NotFoundError:
            raise NotFoundError(f"{connection.user} sees no project {project} at {connection.server}.") from None
        names = {row["session_id"]: row for row in sessions}
        wanted = [row for row in sessions if select is None or select(row)] if files else []
        if known is not None:
            wanted = [row for row in wanted if row["session_id"] in known]
        ids = [row["session_id"] for row in wanted]
        if known is None:
            asks = [threads.submit(ask, ids) for ask in lists if ids]
            scanned = threads.submit(connection.scans, project) if names and scans else None
        if listed is not None:
            listed(sessions)
        rows = scanned.result() if scanned is not None else []
        scan_rows = [_named(row, names) for row in rows if row["session_id"] in names]
        found = [_named(row, names) for ask in asks for row in ask.result() if row["session_id"] in names]
    notes = _left_out(project, wanted, scan_rows, found)
    if connection.given_up:
        notes.append(f"{project}: the server does not list {', '.join(connection.given_up)}.")
    waiting: list[dict] = []
    if prearchived is not None:
        try:
            waiting = prearchived.result()
        except (NotFoundError, RefusedError):
            notes.append(f"{project}: {connection.user} may not see its prearchive.")
    unlisted = {row["session_id"] for row in rows} - set(names)
    file_frame = frame(found, FILE_COLUMNS)
    asked = set(ids)
    uncounted = [row for row in scan_rows if row["session_id"] not in asked]
    scan_frame = _scan_frame(scan_rows, names, file_frame, uncounted)
    return Inventory(
        server=connection.server,
        project=project,
        user=connection.user,
        read_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        settings=told.result() if told is not None else Settings(),
        sessions=_session_frame(sessions, scan_frame, file_frame, uncounted),
        scans=scan_frame,
        resources=_resource_frame(file_frame, uncounted),
        files=file_frame,
        prearchive=frame(waiting, PREARCHIVE_COLUMNS),
        requests=connection.requests - before,
        notes=tuple(notes),
        unlisted=tuple(sorted(unlisted)),
    )


def read_elsewhere(connection: Connection, uids: Iterable[str]) -> pd.DataFrame:
    """The sessions of any project this user can see that have one of these studies; ELSEWHERE_COLUMNS.

    A study counts under its own UID and under what ``hashUID`` of a script makes of it.
    """
    asked = [one for uid in uids for one in study_uids(uid)]
    return frame(connection.sessions_with_uids(asked), ELSEWHERE_COLUMNS)


def read_others(connection: Connection, project: str, subjects: Iterable[str]) -> pd.DataFrame:
    """The files of the project's own resources and of those of some subjects; FILE_COLUMNS. One request each.

    Leases of runs are nobody's data, and left out.
    """
    places = [("", project_path(project)), *((one, subject_path(project, one)) for one in sorted(set(subjects)))]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda place: _own_files(connection, project, *place), places)
        rows = [
            {**row, "subject": subject, "session": "", "scan": ""}
            for (subject, _), listed in zip(places, found, strict=True)
            for row in listed
            if subject or not is_lease(row["resource"])
        ]
    return frame(rows, FILE_COLUMNS)


def _own_files(connection: Connection, project: str, subject: str, path: str) -> list[dict]:
    """The files of the own resources of a project or a subject.

    A session may be shared into a project without its subject, which is not found there then: the list of the
    project's subjects says so, too.
    """
    try:
        return connection.files_below(path)
    except NotFoundError:
        if subject and subject not in {one["subject"] for one in connection.subjects(project)}:
            return []
        raise


def _named(row: dict, names: dict[str, dict]) -> dict:
    """A row with the labels that its session has in this project; a shared session has others at home."""
    owner = names[row["session_id"]]
    return {**row, "subject": owner["subject"], "session": owner["session"]}


def _left_out(project: str, wanted: list[dict], scans: list[dict], listed: list[dict]) -> list[str]:
    """Sentences about sessions that the server skipped, wholly or in part, when it listed files."""
    counts: dict[str, int] = {}
    for row in listed:
        if row["scan"]:
            counts[row["session_id"]] = counts.get(row["session_id"], 0) + 1
    expected: dict[str, int] = {}
    for row in scans:
        if row["resource"]:
            told = row["files"] if row["files"] is not None else 1
            expected[row["session_id"]] = expected.get(row["session_id"], 0) + told
    silent = [row for row in wanted if expected.get(row["session_id"]) and row["session_id"] not in counts]
    notes = []
    if silent:
        some = _some(silent)
        notes.append(f"{project}: the server listed no files for {len(silent)} sessions that have scans: {some}.")
    exact = {row["session_id"] for row in scans} - {
        row["session_id"] for row in scans if row["resource"] and row["files"] is None
    }
    fewer = [
        row
        for row in wanted
        if row["session_id"] in exact and 0 < counts.get(row["session_id"], 0) < expected.get(row["session_id"], 0)
    ]
    if fewer:
        notes.append(
            f"{project}: for {len(fewer)} sessions fewer files are listed than the server counts: {_some(fewer)}."
        )
    return notes


def _some(rows: list[dict]) -> str:
    more = ", ..." if len(rows) > 5 else ""
    return ", ".join(f"{row['subject']}/{row['session']}" for row in rows[:5]) + more


def _scan_frame(rows: list[dict], names: dict[str, dict], files: pd.DataFrame, unlisted: list[dict]) -> pd.DataFrame:
    once: dict[tuple[str, str], dict] = {}
    for row in rows:
        once.setdefault((row["session_id"], row["scan"]), row)
    table = frame(once.values(), SCAN_COLUMNS).drop(columns=["files", "size_bytes"])
    return _with_sums(table, files, unlisted, ["subject", "session", "scan"], list(SCAN_COLUMNS))


def _session_frame(rows: list[dict], scans: pd.DataFrame, files: pd.DataFrame, unlisted: list[dict]) -> pd.DataFrame:
    table = frame(rows, SESSION_COLUMNS).drop(columns=["scans", "files", "size_bytes"])
    counts = Counter(zip(scans["subject"], scans["session"], strict=True))
    table["scans"] = pd.Series(
        [counts[key] for key in zip(table["subject"], table["session"], strict=True)], dtype="int64"
    )
    return _with_sums(table, files, unlisted, ["subject", "session"], list(SESSION_COLUMNS))


def _with_sums(
    table: pd.DataFrame, files: pd.DataFrame, unlisted: list[dict], keys: list[str], columns: list[str]
) -> pd.DataFrame:
    """Files and bytes of scans: counted from the file list, and as the server counts where none was asked for."""
    counts: dict[tuple, list[int]] = {}
    for *key, scan, size in tuples_of(files, *keys, "scan", "size_bytes"):
        if scan:
            sums = counts.setdefault(tuple(key), [0, 0])
            sums[0] += 1
            sums[1] += size
    for row in unlisted:
        sums = counts.setdefault(tuple(row[key] for key in keys), [0, 0])
        sums[0] += row["files"] or 0
        sums[1] += row["size_bytes"] or 0
    found = [counts.get(key, [0, 0]) for key in tuples_of(table, *keys)]
    table["files"] = pd.Series([sums[0] for sums in found], index=table.index, dtype="int64")
    table["size_bytes"] = pd.Series([sums[1] for sums in found], index=table.index, dtype="int64")
    return table[columns]


def _resource_frame(files: pd.DataFrame, unlisted: list[dict]) -> pd.DataFrame:
    found: dict[tuple, dict] = {}
    keys = ["subject", "session", "scan", "resource"]
    for *key, form, size in tuples_of(files, *keys, "format", "size_bytes"):
        row = found.setdefault(
            tuple(key), {**dict(zip(keys, key, strict=True)), "format": form, "files": 0, "size_bytes": 0}
        )
        row["files"] += 1
        row["size_bytes"] += size
    return frame([*found.values(), *(row for row in unlisted if row["resource"])], RESOURCE_COLUMNS)


def write_inventory(inventory: Inventory, folder: str | Path) -> Path:
    """Write an inventory as CSV files and one JSON file; returns the folder."""
    folder = Path(folder)
    make_folder(folder)
    for name in _FRAMES:
        table = getattr(inventory, name)
        write_whole(folder / f"{name}.csv", as_cells(table).to_csv(index=False, lineterminator="\r\n"), newline="")
    rest = {
        "server": inventory.server,
        "project": inventory.project,
        "user": inventory.user,
        "read_at": inventory.read_at,
        "settings": inventory.settings.as_dict(),
        "requests": inventory.requests,
        "notes": list(inventory.notes),
    }
    write_whole(folder / "inventory.json", json.dumps(rest, indent=1))
    return folder


def read_inventory_files(folder: str | Path) -> Inventory:
    """Read back what :func:`write_inventory` wrote; every label is the text it was.

    Raises
    ------
    InputError
        If a file is missing or not of this kind.
    """
    folder = Path(folder)
    try:
        rest = json.loads((folder / "inventory.json").read_text(encoding="utf-8"))
        frames = {}
        for name, columns in _FRAMES.items():
            with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                frames[name] = frame(map(_typed, written_rows(file)), columns)
        told = rest["settings"]
        rest["settings"] = Settings(**{key: tuple(one) if isinstance(one, list) else one for key, one in told.items()})
        rest["notes"] = tuple(rest["notes"])
        return Inventory(**rest, **frames)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise InputError(
            f"The folder {folder} holds no inventory that can be read ({type(problem).__name__}).",
            "Write it again with 'xnbtransfer inventory'.",
        ) from None


def _typed(row: dict) -> dict:
    return {**row, "shared": row.get("shared") == "True"}
