"""Which prearchive rows a request means, who may work on them, and what is said where one is not there.

Called by the services about rows (`archiving`, `prearchive`, `catalogs`, `direct`); changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request

from . import unread
from .answers import Refusal
from .waiting import Waiting, gone
from .waiting_rows import UNASSIGNED, Row

if TYPE_CHECKING:
    from .state import State

Absent = Callable[["State", str, str, str], Refusal]
"""Makes the refusal of a row that is not there, of project, time and folder."""


def sources(request_values: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Read each ``src``, or ``project``, ``timestamp`` and ``folder``, as (project, timestamp, folder).

    Raises
    ------
    Refusal
        400 when there is none or one is no prearchive address.
    """
    found = []
    for value in request_values.get("src", []):
        parts = value.strip().strip("/").split("/")
        if parts[0] == "data":
            parts = parts[1:]
        if len(parts) != 5 or parts[:2] != ["prearchive", "projects"]:
            raise Refusal(400, f"Invalid prearchive path {value}")
        found.append((parts[2], parts[3], parts[4]))
    older = [request_values.get(name, [""])[0] for name in ("project", "timestamp", "folder")]
    if not found and all(older[1:]):  # the older way to name one session
        found.append((older[0] or UNASSIGNED, older[1], older[2]))
    if not found:
        raise Refusal(400, "Missing parameter: src")
    return found


async def read_values(request: Request) -> dict[str, list[str]]:
    """Return query and form parameters together, each with all its values."""
    values: dict[str, list[str]] = {}
    pairs, body = list(request.query_params.multi_items()), []
    if "form" in request.headers.get("content-type", ""):
        async with request.form() as form:
            body = [(key, value) for key, value in form.multi_items() if isinstance(value, str)]
    for key, value in [*pairs, *body]:
        values.setdefault(key, []).append(value)
    return unread.values(request, values, [key for key, _ in body])


def find_rows(state: State, user: str, addresses: list[tuple[str, str, str]], *, status: int = 403,
              refusal: str = "", absent: Absent | None = None) -> list[Row]:
    """Return the rows at ``addresses``.

    ``absent`` makes the refusal of one that is not there: it gets project, time and folder.

    Raises
    ------
    Refusal
        500 for an unknown one, as XNAT has it for most requests; ``status`` for one in a project the user may not
        edit, with ``refusal`` or its address.
    """
    waiting, rows = Waiting(state), []
    for address in addresses:
        address = (*address[:2], _ascii(address[2]))
        row = waiting.find(*address)
        if row is None and (address[0] == UNASSIGNED or state.can(user, address[0], "edit")):
            raise absent(state, *address) if absent else gone(*address)
        if row is None or not may_edit(state, user, row):
            raise Refusal(status, refusal or "/prearchive/projects/" + "/".join(address))
        rows.append(row)
    return rows


def _ascii(folder: str) -> str:
    """What XNAT makes of a folder's name in ``src``: what is before its first letter beyond ASCII.

    Such a row is never found (recorded from 1.8.11: n520-n522).

    >>> _ascii("X_\u00fc.1"), _ascii("S1_MR1")
    ('X_', 'S1_MR1')
    """
    return re.split(r"[^\x00-\x7f]", folder, maxsplit=1)[0]


def without_document(state: State, project: str, timestamp: str, folder: str) -> Refusal:
    """What the validation of a row says that has no document, or is gone."""
    path = state.prearchive_folder(project, timestamp, folder)
    if not path.is_dir():
        return _not_found(project, timestamp, folder)
    return Refusal(500, f"{path.with_name(f'{path.name}.xml')} (No such file or directory)")


def without_row(state: State, project: str, timestamp: str, folder: str) -> Refusal:
    """What an archiving of a row is told that is gone: 404, or 500 where its folder is there again.

    A request to build a row that is gone fails and writes so into the log of its folder, which makes the folder
    (recorded from 1.6.4 and 1.8.11: client-forms, F68 before and after F66).
    """
    if state.prearchive_folder(project, timestamp, folder).is_dir():
        return gone(project, timestamp, folder)
    return _not_found(project, timestamp, folder)


def _not_found(project: str, timestamp: str, folder: str) -> Refusal:
    return Refusal(404, f"/prearchive/projects/{project}/{timestamp}/{folder} not found.")


def may_edit(state: State, user: str, row: Row) -> bool:
    """Whether ``user`` may work on ``row``: editors of its project, administrators and, unassigned, its uploader."""
    if row.project == UNASSIGNED:
        return state.is_admin(user) or row.uploader == user
    return state.can(user, row.project, "edit")
