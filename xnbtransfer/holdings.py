"""What a session holds, as two answers of its server state it: the file lists, and the session's own document.

Called before anything rests on such a list: by a copy, a share and a move, which cannot be proved where the two differ,
and by a deletion, which is refused then. A list that is empty, short or not found is an answer like any other and never
the whole truth (recorded of 1.8.11: files that a list has lost lie in their folder). This room speaks to no server, and
it never gives the value of a field away, only its name: it may say who somebody is.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Place = tuple[str, str]
"""Scan ("" for the session itself) and label of a resource."""

RECONSTRUCTIONS = "reconstructions"
"""How reconstructions are named where they are let go."""

_FROM_IMAGES = (
    "ID", "id", "UID", "date", "time", "label", "project", "subject_ID", "modality", "session_type", "prearchivePath",
    "operator", "acquisition_site", "fieldStrength", "scanner", "scanner/*", "dcm*", "tracer", "tracer/*",
    "start_time*", "injection_time*", "stabilization",
)  # fmt: skip
"""Fields that say which session it is, or that XNAT reads from the headers whenever a session is built."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A place where the two answers differ; ``counted`` is None where the document does not count its files."""

    scan: str
    resource: str
    listed: int
    counted: int | None
    of: str = "session"

    @property
    def words(self) -> str:
        place = f"{self.resource or 'a resource'} of {f'scan {self.scan}' if self.scan else f'the {self.of}'}"
        said = "does not count them" if self.counted is None else f"counts {self.counted}"
        return f"the file list names {self.listed} files in {place}, and the {self.of}'s document {said}"


def differences(
    counted: Mapping[Place, int | None], files: Iterable[Mapping], of: str = "session"
) -> list[Difference]:
    """Where the document of a session, or of a subject, and its file lists differ.

    Parameters
    ----------
    counted : mapping
        The files of each resource as the document counts them, from ``Connection.session_item``.
    files : iterable of mapping
        All rows of the file lists, with ``scan`` and ``resource``.
    of : {"session", "subject"}
        Whose they are.
    """
    listed = Counter((row["scan"], row["resource"]) for row in files)
    return [
        Difference(scan=at[0], resource=at[1], listed=listed[at], counted=counted.get(at, 0), of=of)
        for at in sorted({*listed, *counted})
        if counted.get(at, 0) != listed[at]
    ]


def told(found: Iterable[Difference], most: int = 3) -> str:
    """Differences as the rest of a sentence."""
    found = list(found)
    more = f"; and so in {len(found) - most} more places" if len(found) > most else ""
    return "; ".join(one.words for one in found[:most]) + more


def by_hand(scans: Iterable[Mapping], fields: Mapping[str, str]) -> dict[Place, str]:
    """What people have written into a session: (scan or "", name) to its value.

    Names are ``scan/quality``, ``scan/type``, ``scan/note``, ``session/note``, ``session/field:NAME`` and other fields
    that no header fills. A scan's quality is ``usable`` and its type the series description until somebody changes
    them (recorded of 1.6.4 and 1.8.11, form F40).

    Parameters
    ----------
    scans : iterable of mapping
        With ``scan``, ``quality``, ``type``, ``note`` and ``series_description``.
    fields : mapping
        Fields of the session by their paths in XNAT.
    """
    found: dict[Place, str] = {}
    for one in scans:
        if one["quality"] not in ("", "usable"):
            found[one["scan"], "scan/quality"] = one["quality"]
        if one["type"] not in ("", one["series_description"]):
            found[one["scan"], "scan/type"] = one["type"]
        if one["note"]:
            found[one["scan"], "scan/note"] = one["note"]
    for path, value in fields.items():
        if not any(fnmatch.fnmatchcase(path, known) for known in _FROM_IMAGES):
            found["", f"session/{_short(path)}"] = value
    return found


def _short(path: str) -> str:
    if path.startswith("fields/field[name="):
        return "field:" + path.removeprefix("fields/field[name=").removesuffix("]/field")
    return path


def not_carried(item: Mapping, copy: Mapping, abandon: Iterable[str] = ()) -> list[str]:
    """What a session's document holds that neither its copy holds with the same value nor somebody let go by name.

    Parameters
    ----------
    item, copy : mapping
        The session and its copy as ``Connection.session_item`` gives them.
    abandon : iterable of str
        Names as ``by_hand`` has them, patterns among them, and ``RECONSTRUCTIONS``.

    Returns
    -------
    list of str
        Names, with their scans; no values.
    """
    abandon = tuple(abandon)

    def let_go(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, one) for one in abandon)

    scans: dict[str, list[str]] = {}
    for (scan, name), value in item["by_hand"].items():
        if copy["by_hand"].get((scan, name)) != value and not let_go(name):
            scans.setdefault(name, []).append(scan)
    found = [f"{name} (scans {', '.join(of)})" if any(of) else name for name, of in sorted(scans.items())]
    if item["reconstructions"] and not let_go(RECONSTRUCTIONS):
        found.append(f"{RECONSTRUCTIONS} ({len(item['reconstructions'])})")
    return [*found, *(name for name in item["unknown"] if not let_go(name))]
