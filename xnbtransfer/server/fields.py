"""What a PUT or POST says about an item: its query, its form (XNAT source: XMLPathShortcuts, SecureResource)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from .answers import Refusal

_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = {
    "req_format", "format", "triggerpipelines", "fixscantypes", "pulldatafromheaders", "removefiles", "event_reason",
    "event_type", "event_action", "event_comment", "event_id", "inbody", "activate", "quarantine", "_lock", "_unlock",
    "_obsolete", "allowdatadeletion", "xnat_csrf", "primary",
}  # fmt: skip
_IDENTITY = {"id", "project", "label", "xsitype", "xsi_type", "user", "subject"}
DEMOGRAPHICS = {"gender", "dob", "yob", "age", "handedness", "height", "weight"}


@dataclass
class Given:
    """Fields by the last word of their path; what identifies the item stands apart.

    ``relabel`` is a label that came as the plain parameter ``label``: alone, it renames.
    """

    values: dict[str, str] = field(default_factory=dict)
    id: str = ""
    label: str = ""
    relabel: str = ""
    project: str = ""
    xsi_type: str = ""

    @property
    def only_label(self) -> bool:
        return bool(self.label) and not (self.values or self.xsi_type or self.project or self.id)


def read(request: Request, body: bytes, types: set[str] | None = None) -> Given:
    """The fields of a query or a form.

    With ``types`` paths that begin with another type are left out without a word (REST test
    TestArchive.testSetScanProperties).
    """
    pairs = list(request.query_params.multi_items())
    if "form-urlencoded" in request.headers.get("content-type", ""):
        pairs += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    found = Given()
    for name, value in pairs:
        if name.lower() in _CONTROL or (types and "/" in name and name.partition("/")[0].lower() not in types):
            continue
        custom = re.search(r"field\[name=([^\]]+)\]/field$", name)
        key = f"fields/field[name={custom[1]}]/field" if custom else name.rpartition("/")[2]
        value = "" if value == "NULL" else value
        if key.lower() not in _IDENTITY:
            found.values[key] = value
        elif key.lower() == "label":
            found.label = value
            found.relabel = value if name == "label" else found.relabel
        elif key.lower() in ("xsitype", "id", "project"):
            setattr(found, "xsi_type" if key.lower() == "xsitype" else key.lower(), value)
    return found


def legal(label: str) -> None:
    """Labels of what is made may have letters, figures, ``_`` and ``-`` (XNAT source, preSave)."""
    if not _LABEL.fullmatch(label):
        raise Refusal(417, "Invalid character in label.")
