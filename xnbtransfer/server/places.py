"""Things that have resources, by their addresses: projects to scans and assessors (XNAT source: XNATTemplate)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from . import find, personality
from .answers import Refusal
from .state import Record, State

_URI = re.compile(
    r"/?(?:(?:data|REST)/)?(?:archive/)?(?:projects/(?P<p>[^/]+)/?)?(?:subjects/(?P<s>[^/]+)/?)?"
    r"(?:experiments/(?P<e>[^/]+)/?)?(?:scans/(?P<scan>[^/]+)/?|assessors/(?P<a>[^/]+)/?(?:(?P<side>in|out)(?:/|$))?)?"
    r"(?:resources/(?P<r>[^/]+)/?(?:files(?:/(?P<path>.+?))?)?)?/?"
)

INPUT = "input"
"""The kind of the place that holds what went into an assessor; what came out of it belongs to the assessor itself."""


class _Side(Convertor[str]):
    regex = "in|out"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("side", _Side())


@dataclass(frozen=True)
class Place:
    """One thing that has resources: how it is addressed, named in zips, and who may edit it.

    ``item`` is the subject, session or project that its audit entries are about. ``below`` is the project in the
    address: what is shared into it is edited with rights in both. ``session`` is the place that an assessor is of.
    """

    kind: str
    key: str
    project: str
    uri: str
    label: str
    item: str
    scan: Any = None
    below: str = ""
    session: Any = None

    def may(self, state: State, user: str | None, action: str) -> bool:
        on = "project" if self.kind == "project" else "data"
        return all(state.can(user, name, action, on) for name in {self.project, self.below or self.project})


def asked(request: Request, *, one: bool = False) -> list[Place]:
    """What the address of a request names. With ``one`` it must be exactly one thing (XNAT: 404 otherwise)."""
    return named(request.app.state.xnat, request.state.user, request.path_params, one=one)


def named(state: State, user: str | None, words: Mapping[str, str], *, one: bool = False) -> list[Place]:
    project = words.get("p") or ""
    if project:
        project = find.project(state, user, project, "project")["id"]
    if words.get("e"):
        found = []
        for session in find.experiments(state, user, words["e"], project):
            uri = f"/data/experiments/{session['id']}"
            place = Place(
                "experiment", session["id"], session["project"], uri, session["label"], session["id"], below=project
            )
            if words.get("a"):
                row = find.assessor(state, user, session, words["a"], project)
                found.append(_assessor(place, row, words.get("side") or "out"))
            else:
                found += scans_of(state, [place], words["scan"]) if words.get("scan") else [place]
        if words.get("scan") and not found and (one or words["scan"] not in ("ALL", "*")):
            raise Refusal(404)
    elif words.get("s"):
        row = find.subject(state, user, words["s"], project)
        uri = f"/data/projects/{project}/subjects/{row['id']}" if project else f"/data/subjects/{row['id']}"
        found = [Place("subject", row["id"], row["project"], uri, row["label"], row["id"], below=project)]
    else:
        found = [Place("project", project, project, f"/data/projects/{project}", project, project)]
    if one and len(found) != 1:
        raise Refusal(404)
    return found


def with_files(request: Request) -> list[Place]:
    """What a list of files, a zip or one file is asked of; without any scan of those named it is something else.

    Below a subject it is the subject, below a project the project (recorded answers, W14); by accession alone 1.8
    fails (FileList.represent, W4), and before the list is empty. Sessions that are not there fail by accession.

    Raises
    ------
    Refusal
        500 as said; 404 as :func:`named`.
    """
    state: State = request.app.state.xnat
    words = dict(request.path_params)
    if not words.get("e") or words.get("a"):
        return asked(request)
    if words.get("p"):
        find.project(state, request.state.user, words["p"], "project")
    try:
        found = asked(request)
    except Refusal:
        found = []
    if found:
        return found
    if words.pop("scan", "") and words.get("p"):
        del words["e"]
        return named(state, request.state.user, words)
    if not request.path_params.get("scan") and words.get("p"):
        return asked(request)
    if personality.has(state, "no-scan-fails"):
        raise Refusal(500)
    return []


def scans_of(state: State, sessions: Iterable[Place], names: str = "ALL") -> list[Place]:
    """The scans of sessions, as places."""
    return [
        Place(
            "scan", str(scan["pk"]), place.project, f"{place.uri}/scans/{scan['id']}", place.label,
            place.item, scan, place.below,
        )
        for place in sessions
        for scan in find.scans(state, {"id": place.key}, names)
    ]  # fmt: skip


def assessors_of(state: State, user: str | None, sessions: Iterable[Place]) -> list[Place]:
    """The assessors of sessions that somebody may read, as places."""
    return [_assessor(place, row) for place in sessions for row in find.assessors(state, user, {"id": place.key})]


def _assessor(place: Place, row: Record, side: str = "out") -> Place:
    """What came out of an assessor, or went ``in``; without a word it is ``out`` (XNAT source: XNATTemplate)."""
    kind, uri = "experiment" if side == "out" else INPUT, f"{place.uri}/assessors/{row['id']}/{side}"
    return Place(kind, row["id"], row["project"], uri, row["label"], row["id"], below=place.below, session=place)


def exists(state: State, place: Place) -> bool:
    """Whether a place is still there."""
    key, kind = "pk" if place.kind == "scan" else "id", "experiment" if place.kind == INPUT else place.kind
    return state.row(f"SELECT 1 FROM {kind}s WHERE {key}=?", place.key) is not None


def resources(state: State, place: Place, wanted: str = "") -> list:
    """The resources of a place, or those of a comma list of labels and numbers."""
    rows = state.rows("SELECT * FROM resources WHERE parent_kind=? AND parent_id=? ORDER BY pk", place.kind, place.key)
    if not wanted:
        return rows
    words = set(wanted.split(","))
    return [row for row in rows if row["label"] in words or str(row["pk"]) in words]


def numbered(state: State, user: str | None, wanted: str) -> list:
    """The resources whose numbers a comma list of labels names, whatever they are of, as XNAT finds them.

    Raises
    ------
    Refusal
        404 where a number is nobody's, or of what somebody may not read (recorded answers of 1.8.11, W10).
    """
    found = []
    for word in wanted.split(",") if personality.has(state, "numbers-are-resources") else ():
        if word.isascii() and word.isdigit():
            row = state.row("SELECT * FROM resources WHERE pk=?", int(word))
            if row is None or not _may_read(state, user, row):
                raise Refusal(404, "Unable to find the specified resource.")
            found.append(row)
    return found


def _may_read(state: State, user: str | None, resource: Record) -> bool:
    """Whether somebody may read what a resource is of."""
    kind, key = resource["parent_kind"], resource["parent_id"]
    if kind == "project":
        return state.can(user, key, "read")
    if kind == "scan":
        key, kind = state.one("SELECT experiment_id FROM scans WHERE pk=?", key)["experiment_id"], "experiment"
    of = find.SUBJECT if kind == "subject" else find.EXPERIMENT
    try:
        find.item(state, user, of, key)
    except Refusal:
        return False
    return True


def words_of(uri: str) -> dict[str, str]:
    """The words of an address of the archive that came as a parameter, by the names of the routes.

    >>> words_of("/archive/experiments/XNAT_E00001/scans/1/resources/DICOM/files/a/b.dcm")
    {'e': 'XNAT_E00001', 'scan': '1', 'r': 'DICOM', 'path': 'a/b.dcm'}

    Raises
    ------
    Refusal
        400 when it is none.
    """
    found = _URI.fullmatch(uri.strip())
    given = {name: value for name, value in found.groupdict().items() if value} if found else {}
    words = {name: value if name in ("r", "path") else unquote(value) for name, value in given.items()}
    if not words.keys() & {"p", "s", "e"}:
        raise Refusal(400, f"Invalid resource URI: {uri}")
    return words
