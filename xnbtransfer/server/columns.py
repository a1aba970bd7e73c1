"""What a column of a list of sessions, subjects or scans is: a shortcut, a field of a scan, of a file, or none.

Called by ``listings``. The rules are those of the live 1.8.11 and 1.6.4 (recorded answers, topics W2 and W3; XNAT
source, QueryOrganizer): a type that XNAT does not have is left out without a word, a field that its type does not have
makes the whole list fail, and how a failed list looks like depends on where it was asked (:func:`failed`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from . import datatypes
from .answers import Refusal

_SCAN = re.compile(r"xnat:(\w+)scandata/(.+)|xnat:(\w+)sessiondata/scans/scan/(.+)")
_FILE = re.compile(r"file(?:\[@xsi:type=xnat:(\w+)\])?/(\w+)")
_SCAN_FIELDS = {
    "id": "id", "uid": "uid", "type": "type", "quality": "quality", "frames": "frames", "note": "note",
    "series_description": "series_description", "modality": "''", "xnat_imagescandata_id": "pk",
    "extension_item/element_name": "xsi_type",
}  # fmt: skip
"""Fields of scans and the columns that hold them here; XNAT lists the modality of every scan as empty (W2, H4)."""
_FILE_FIELDS = {"label": "label", "file_count": "file_count", "file_size": "file_size", "note": "''"}
_CATALOG_FIELDS = _FILE_FIELDS | {"format": "format", "content": "content", "description": "description"}
"""Fields of any resource, and of one that is said to be a catalogue: the format is no field of any resource."""
_EXPERIMENT = {
    "id", "project", "label", "date", "time", "note", "visit_id", "visit", "version", "original", "protocol", "delay",
    "investigator", "validation", "acquisition_site", "duration", "sharing", "resources", "fields", "provenance",
    "meta",
}  # fmt: skip
_SESSION = _EXPERIMENT | {
    "subject_id", "age", "session_type", "modality", "uid", "scanner", "operator", "dcmaccessionnumber", "dcmpatientid",
    "dcmpatientname", "dcmpatientbirthdate", "dcmpatientweight", "study_id", "prearchivepath", "scans", "assessors",
    "reconstructions", "regions",
}  # fmt: skip
_SCAN_OWN = {
    "project", "image_session_id", "condition", "documentation", "scanner", "starttime", "start_date", "operator",
    "data_type", "sharing", "parameters", "coil", "fieldstrength", "marker", "stabilization", "dcmvalidation",
    "requestedproceduredescription", "meta",
}  # fmt: skip
_KNOWN = {
    "xnat:experimentdata": _EXPERIMENT,
    "xnat:subjectassessordata": _EXPERIMENT | {"subject_id", "age"},
    "xnat:imagesessiondata": _SESSION,
    "xnat:mrsessiondata": _SESSION | {"fieldstrength", "coil", "marker", "stabilization"},
    "xnat:ctsessiondata": _SESSION,
    "xnat:subjectdata": {
        "id", "project", "label", "group", "src", "metadata", "demographics", "investigator", "sharing", "resources",
        "experiments", "fields", "addid", "insert_date", "insert_user", "last_modified", "uri", "meta",
    },
}  # fmt: skip
"""The fields of the types that every site has, by their first words; of other types any field is taken for known."""


@dataclass(frozen=True)
class ScanColumn:
    """A column of the scans of a session: the key of its cells, where they come from, and the type it asks for."""

    key: str
    sql: str
    kind: str

    @classmethod
    def of(cls, column: str) -> ScanColumn | None:
        """None for what is no scan's; a field that scans do not have is refused with 500."""
        found = _SCAN.fullmatch(column.lower())
        kind = f"xnat:{found[1]}scandata" if found and found[2] else ""
        if found is None or kind and not _is_type(kind):
            return None
        sql = _sql(found[2] or found[4])
        return cls(column.lower(), sql, "" if kind == "xnat:imagescandata" else kind)


def _sql(field: str) -> str:
    """Where the cells of a field of a scan come from.

    >>> _sql("file/file_count"), _sql("file[@xsi:type=xnat:resourcecatalog]/format")
    ('r.file_count', 'r.format')
    """
    if field in _SCAN_FIELDS:
        name = _SCAN_FIELDS[field]
        return name if name == "''" else f"s.{name}"
    if file := _FILE.fullmatch(field):
        names = _CATALOG_FIELDS if file[1] in ("resourcecatalog", "resource") else _FILE_FIELDS
        if file[2] in names:
            return names[file[2]] if names[file[2]] == "''" else f"r.{names[file[2]]}"
    elif re.split(r"[/\[]", field)[0] in _SCAN_OWN:
        return "''"
    raise Refusal(500)


def scan_field(column: str) -> str:
    """The field of a scan that a column of a list of scans names by its path, or "".

    Raises
    ------
    Refusal
        500 for a field that scans do not have.
    """
    found = _SCAN.fullmatch(column.lower())
    if not found:
        return ""
    _sql(found[2] or found[4])
    return found[2] or found[4]


def is_scan(column: str) -> bool:
    """Whether a column is one of scans, whatever its field."""
    return _SCAN.fullmatch(column.lower()) is not None


def check(column: str) -> bool:
    """Whether a column by its path is one of a type that there is; what is no path is none.

    >>> check("xnat:mrSessionData/note"), check("xnat:nosuchType/x"), check("label")
    (True, False, False)

    Raises
    ------
    Refusal
        500 for a field that its type does not have.
    """
    stem, _, path = column.lower().partition("/")
    if not path or not _is_type(stem):
        return False
    known = _KNOWN.get(stem)
    if known is not None and re.split(r"[/\[]", path)[0] not in known:
        raise Refusal(500)
    return True


def _is_type(name: str) -> bool:
    """Whether a type, in lower case, is one of XNAT's; those of other name spaces may be installed."""
    return not name.startswith("xnat:") or name in datatypes.lower_names()


def failed(request: Request) -> Response:
    """A list that failed: below a project or a subject 200 with nothing at all, elsewhere 500 (W2, W3)."""
    if {"p", "s"} & request.path_params.keys():
        return Response(b"")
    raise Refusal(500)
