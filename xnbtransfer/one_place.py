"""Whether source and destination are one project under two names: an address and its alias, 127.0.0.1 and localhost.

Called when planning, running and finishing. A copy of a project onto itself proves itself, and the deletion that
follows has the only data there is; so it is refused wherever it is met. Names are not compared to tell it: what the
servers say of the project and of its sessions is. Reads only, two requests where the projects have other IDs.
"""

from __future__ import annotations

from .errors import InputError, RefusedError
from .xnat import Connection


def refuse_one_place(source: Connection, destination: Connection, project: str, other: str) -> None:
    """Refuse two names for one project.

    A project is found by its aliases, too, and its own document holds its ID and when it was made (recorded of 1.6.4
    and 1.8.11, form F24). Two servers that happen to have a project of one ID differ in that; and of one project both
    sides list sessions with the same accession and the same study.

    Raises
    ------
    InputError
        If they are one project even by name.
    RefusedError
        If they are one project.
    NotFoundError
        If one of the users does not see the project.
    """
    same_server = source.server.rstrip("/") == destination.server.rstrip("/")
    if same_server and project == other:
        raise InputError(
            f"Source and destination are the same project, {project} on {source.server}.",
            "Name another destination project.",
        )
    here, there = source.project_document(project), destination.project_document(other)
    if _id_of(here) != _id_of(there):
        return
    if not same_server:
        if here != there:
            return
        known = _sessions(source, project)
        if known and not known & _sessions(destination, other):
            return
    raise RefusedError(
        f"{project} on {source.server} and {other} on {destination.server} are one project under two names.",
        "Name another destination: a copy onto itself is no copy, and what was deleted then would be the only data.",
    )


def _id_of(document: dict) -> str:
    return str((document.get("data_fields") or {}).get("ID", ""))


def _sessions(connection: Connection, project: str) -> set[tuple[str, str]]:
    return {(row["session_id"], row["StudyInstanceUID"]) for row in connection.sessions(project)}
