"""What the chosen sessions, their subjects and their project hold beside images, so that a plan can name what stays.

Called when a copy is planned, by what reads both sides. It asks once for each subject, whose document holds the whole
of its experiments (recorded of 1.6.4 and 1.8.11, form F41), once for each session that is not in it, and twice for the
project. What cannot be read is a row of its own: nobody could look is not nothing there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from .chosen_fields import may_be_chosen, short_name
from .errors import NotFoundError, RefusedError, ServerError
from .forms import project_path
from .lease import is_lease
from .values import BESIDE_COLUMNS, Inventory, frame, tuples_of
from .xnat import Connection

_THREADS = 4
_CANNOT = (NotFoundError, RefusedError, ServerError)


def read_beside(connection: Connection, chosen: Inventory) -> pd.DataFrame:
    """What stands beside the images of the chosen sessions; BESIDE_COLUMNS.

    Parameters
    ----------
    chosen : Inventory
        The sessions; resources of theirs and of their scans it has itself.
    """
    subjects: dict[str, dict[str, str]] = {}
    for subject, session, accession in tuples_of(chosen.sessions, "subject", "session", "session_id"):
        subjects.setdefault(subject, {})[accession] = session
    with ThreadPoolExecutor(_THREADS) as threads:
        above = threads.submit(_of_project, connection, chosen.project)
        found = threads.map(lambda one: list(_of_subject(connection, chosen.project, *one)), subjects.items())
        rows = [*above.result(), *(row for each in found for row in each)]
    return frame(rows, BESIDE_COLUMNS)


def _of_project(connection: Connection, project: str) -> list[dict]:
    try:
        held = connection.resources_of(project_path(project))
        kind, fields = connection.fields_of(project_path(project))
    except _CANNOT:
        return [_unread()]
    rows = [{"kind": "resource", "name": one["resource"], **one} for one in held if not is_lease(one["resource"])]
    own = [path for path in fields if path.startswith("fields/field")]  # the rest says how the project is set up
    return [*rows, *([] if kind else [_unread()]), *_fields("project", own)]


def _of_subject(
    connection: Connection, project: str, subject: str, sessions: dict[str, str]
) -> Iterator[dict]:
    """Rows of a subject, of its chosen sessions (accession to label), and of its experiments without images."""
    try:
        found = connection.subject_document(project, subject)
    except _CANNOT:
        found = None
    if found is None:
        yield _unread(subject)
    else:
        yield from ({**row, "subject": subject} for row in found["beside"])
        yield from ({**row, "subject": subject} for row in _fields("subject", found["field_names"]))
        yield from ({**row, "subject": subject} for row in _others(found["unknown"]))
    inside = found["experiments"] if found is not None else {}
    for accession, session in sessions.items():
        place = {"subject": subject, "session": session}
        item = inside.get(accession)
        if item is None:
            try:
                item = connection.session_item(accession)
            except _CANNOT:
                item = None
        if item is None:
            yield _unread(**place)
            continue
        names = sorted(name.removeprefix("session/") for scan, name in item["by_hand"] if not scan)
        yield from ({**row, **place} for row in item["beside"] if row["kind"] != "resource")
        yield from ({"kind": "field", "name": f"session/{name}", **place} for name in names)
        yield from ({**row, **place} for row in _others(item["unknown"]))
    for item in inside.values():
        if item["project"] == project and not _has_images(item["xsi_type"]):
            about = {"subject": subject, "kind": "assessment", "name": item["label"] or item["id"]}
            files = sum(row["files"] for row in item["beside"])
            yield {**about, "type": item["xsi_type"], "files": files}


def _has_images(xsi_type: str) -> bool:
    return xsi_type.lower().endswith("sessiondata")


def _fields(level: str, paths: Iterable[str]) -> list[dict]:
    return [{"kind": "field", "name": f"{level}/{short_name(one)}"} for one in paths if may_be_chosen(one)]


def _others(names: Iterable[str]) -> list[dict]:
    return [{"kind": "other", "name": name} for name in names]


def _unread(subject: str = "", session: str = "") -> dict:
    return {"subject": subject, "session": session, "kind": "unread", "name": "*"}
