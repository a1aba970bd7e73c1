"""The types of data that the server holds, and what can be asked about each (XNAT source: ``SearchElementListing``).

Clients ask before they copy, whether the destination knows the type of a session. The types are those of the schema.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import personality
from .answers import Refusal, as_json, table
from .state import State

_XS = "{http://www.w3.org/2001/XMLSchema}"
_COLUMNS = ["ELEMENT_NAME", "SINGULAR", "PLURAL", "SECURED", "COUNT"]


@cache
def fields() -> dict[str, dict[str, str]]:
    """Each type that can be asked for, with its own and inherited fields and their types."""
    tree = ElementTree.parse(Path(__file__).parent / "xnat.xsd").getroot()
    own: dict[str, dict[str, str]] = {}
    bases: dict[str, str] = {}
    for kind in tree.iter(f"{_XS}complexType"):
        name = kind.get("name")
        if name is None:
            continue
        extension = kind.find(f".//{_XS}extension[@base]")
        if extension is not None and extension.get("base", "").startswith("xnat:"):
            bases[name] = extension.get("base", "").removeprefix("xnat:")
        parts = [part for tag in ("attribute", "element") for part in kind.iter(f"{_XS}{tag}")]
        own[name] = {
            part.get("name", ""): part.get("type", "").removeprefix("xs:")
            for part in parts
            if part.get("type", "").startswith("xs:")
        }
    found = {}
    for name in own:
        known: dict[str, str] = {}
        at = name
        while at:
            known = own[at] | known
            at = bases.get(at, "")
        if re.search("(session|scan|subject|project)data$", name, re.IGNORECASE) and not name.startswith("image"):
            found[f"xnat:{name}"] = known
    return found


_NOT_AT_FIRST = {"xnat:otherDicomSessionData"}
"""Types that a new site has not set up: nobody has rights on them (recorded answers of 1.8.11, form F27)."""


def set_up(state: State, name: str) -> bool:
    """Whether rights on a type of data are known at this site; they are from its first session on.

    Raises
    ------
    Refusal
        500 for a type that is none (recorded answers of 1.8.11, form F27).
    """
    if name and not personality.has(state, "types-are-known"):
        return True
    if name and name not in _types():
        raise Refusal(500)
    return name not in _NOT_AT_FIRST or name in _counts(state)


def is_known(state: State, name: str) -> bool:
    """Whether a list can be asked for a type: one of the schema, or one that something here has."""
    return name in _types() or state.row("SELECT 1 FROM experiments WHERE xsi_type=?", name) is not None


@cache
def _types() -> set[str]:
    """Every type of the schema, those without items of their own included."""
    tree = ElementTree.parse(Path(__file__).parent / "xnat.xsd").getroot()
    return {f"xnat:{kind.get('name')}" for kind in tree.iter(f"{_XS}complexType") if kind.get("name")}


@cache
def lower_names() -> frozenset[str]:
    """The names of all types of the schema in lower case, as columns have them."""
    return frozenset(name.lower() for name in _types())


def _counts(state: State) -> dict[str, int]:
    found = {"xnat:projectData": state.one("SELECT count(*) AS n FROM projects")["n"],
             "xnat:subjectData": state.one("SELECT count(*) AS n FROM subjects")["n"]}  # fmt: skip
    for where in ("experiments", "scans"):
        found |= {row[0]: row[1] for row in state.rows(f"SELECT xsi_type, count(*) FROM {where} GROUP BY xsi_type")}
    return found


def elements(request: Request) -> Response:
    """GET /data/search/elements: the types, with what a person calls them."""
    counts, rows = _counts(request.app.state.xnat), []
    for name in fields():
        stem = name.removeprefix("xnat:").removesuffix("Data")
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem).split()
        singular = " ".join(word.upper() if len(word) < 3 else word[:1].upper() + word[1:] for word in words)
        rows.append({"ELEMENT_NAME": name, "SINGULAR": singular, "PLURAL": f"{singular}s", "SECURED": "true",
                     "COUNT": counts.get(name, 0)})  # fmt: skip
    return table(request, rows, _COLUMNS, total=False)


def element(request: Request) -> Response:
    """GET /data/search/elements/TYPE: the fields of a type."""
    known = fields().get(request.path_params["name"])
    if known is None:
        raise Refusal(404)
    rows = [
        {
            "FIELD_ID": name.upper(),
            "HEADER": name,
            "SUMMARY": f"{request.path_params['name']}/{name}",
            "TYPE": kind,
            "DESC": "",
            "REQUIRES_VALUE": "false",
        }  # fmt: skip
        for name, kind in known.items()
    ]
    return table(request, rows)


def names(request: Request) -> Response:
    """GET /xapi/schemas/datatypes: the types by name."""
    return as_json(sorted(fields()))


routes = [
    Route("/data/search/elements", elements),
    Route("/data/search/elements/{name}", element),
    Route("/xapi/schemas/datatypes", names),
]
