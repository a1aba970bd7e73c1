"""What a PUT or POST says about an item: XML, query or form (XNAT source: ``XMLPathShortcuts``, ``SecureResource``)."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from . import personality, unread
from .answers import Refusal

_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = {
    "req_format", "format", "triggerpipelines", "fixscantypes", "pulldatafromheaders", "removefiles", "event_reason",
    "event_type", "event_action", "event_comment", "event_id", "inbody", "activate", "quarantine", "_lock", "_unlock",
    "_obsolete", "allowdatadeletion", "xnat_csrf", "primary", "overwrite", "accept-not-found", "columns",
    "moveassessors",
}  # fmt: skip
_PATH = re.compile(r"[A-Za-z_][\w.-]*(/[A-Za-z_][\w.-]*)*|\w+/\w+\[name=[^\]]+\]/\w+", re.ASCII)
"""What can be the path of a field; anything else is no field of XNAT's, and left out without a word as such are."""
_IDENTITY = {"id": "id", "project": "project", "label": "label", "xsitype": "xsi_type"}
_NOT_OURS = {"xsi_type", "user", "subject"}
DEMOGRAPHICS = {
    "gender", "dob", "yob", "age", "handedness", "height", "weight", "race", "ethnicity", "education", "ses",
}  # fmt: skip
_DATES = {"date", "dob"}
_NUMBERS = {"yob", "age", "height", "weight", "education", "ses", "frames"}
_LONG = {"note", "notes", "description"}


@dataclass
class Given:
    """Fields by their path below the item; what identifies the item stands apart.

    ``relabel`` is a label that came as the plain parameter ``label``: alone, it renames. ``document`` says that the
    fields came as XML, ``scans`` are those inside it.
    """

    values: dict[str, str] = field(default_factory=dict)
    id: str = ""
    label: str = ""
    relabel: str = ""
    project: str = ""
    xsi_type: str = ""
    document: bool = False
    scans: list[Given] = field(default_factory=list)

    @property
    def only_label(self) -> bool:
        return bool(self.label) and not (self.values or self.xsi_type or self.project or self.id)


def read(request: Request, body: bytes, types: set[str] | None = None) -> Given:
    """The fields of an XML body, and of the query and the form beside it.

    With ``types`` paths that begin with another type are left out without a word (REST test
    TestArchive.testSetScanProperties).

    Raises
    ------
    Refusal
        422 or 400 for XML that cannot be read; 400 for a value that its field cannot hold.
    """
    from . import xmlbody

    pairs = list(request.query_params.multi_items())
    if "form-urlencoded" in request.headers.get("content-type", ""):
        form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        unread.of(request).give("body", [name for name, _ in form])
        if request.method != "PUT" or personality.has(request.app.state.xnat, "forms-are-read"):
            pairs += form
    found = xmlbody.given(request, body) or Given()
    plain = personality.has(request.app.state.xnat, "escapes-ascii-only")
    for name, value in pairs:
        if name.lower() in _CONTROL or (types and "/" in name and name.partition("/")[0].lower() not in types):
            continue
        key, value = _key(name), "" if value == "NULL" else escaped(value, everything=not plain)
        identity = _IDENTITY.get(key.lower())
        if identity:
            unread.looked(request, name)
            setattr(found, identity, value)
            found.relabel = value if name == "label" else found.relabel
        elif _PATH.fullmatch(key) and key.lower() not in _NOT_OURS:
            unread.looked(request, name)
            found.values[key] = value
    for one in (found, *found.scans):
        one.values = {name: _checked(name, value) for name, value in one.values.items()}
    return found


_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}


def escaped(value: str, *, everything: bool = False) -> str:
    """A value of a query or a form as XNAT stores it: escaped as for XML, again if it was (recorded answers, topic W9).

    An XML body is stored as it says. ``everything``: 1.6 writes letters beyond ASCII as numbers, too.

    >>> escaped("a<b & 'c'"), escaped("&lt;"), escaped("\u00f6", everything=True)
    ('a&lt;b &amp; &apos;c&apos;', '&amp;lt;', '&#246;')
    """
    found = "".join(_ESCAPES.get(letter, letter) for letter in value)
    return "".join(letter if letter.isascii() else f"&#{ord(letter)};" for letter in found) if everything else found


def _key(name: str) -> str:
    """The path of a field below its item.

    >>> _key("xnat:mrSessionData/fields/field[name=colour]/field")
    'fields/field[name=colour]/field'
    >>> _key("xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/gender")
    'gender'
    >>> _key("xnat:mrSessionData/scanner/model"), _key("note")
    ('scanner/model', 'note')
    """
    custom = re.search(r"fields/field\[name=([^\]]+)\]/field$", name)
    if custom:
        return f"fields/field[name={custom[1]}]/field"
    path = name.partition("/")[2] if re.match(r"\w+:\w+/", name) else name
    return path.rpartition("/")[2] if path.startswith("demographics") else path


def _checked(name: str, value: str) -> str:
    """A value as it is kept: dates as ``yyyy-MM-dd``; 400 for what XNAT's schema refuses.

    A date of no calendar, as month 13, passes the schema and fails as it is stored: 500 (seen on a live 1.8.11).
    """
    short = name.lower()
    if not value:
        return value
    if short in _DATES:
        us = re.fullmatch(r"(\d\d?)/(\d\d?)/(\d{4})", value)
        value = f"{us[3]}-{int(us[1]):02}-{int(us[2]):02}" if us else value
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
                raise Refusal(500) from None
            raise Refusal(400, f"'{name}' Must Be A Valid Date") from None
    if short == "time" and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?", value):
        raise Refusal(400, f"'{name}' Must Be A Valid Time")
    if short in _NUMBERS and not re.fullmatch(r"-?\d+(\.\d+)?" if short != "yob" else r"\d+", value):
        raise Refusal(400, f"'{name}' Must Be A Valid Number")
    if len(value) > 255 and short not in _LONG and not short.startswith("fields/"):
        raise Refusal(400, f"'{name}' Must Be Less Than 255 Characters")
    return value


def legal(label: str) -> None:
    """Labels of what is made may have letters, figures, ``_`` and ``-`` (XNAT source, preSave)."""
    if not _LABEL.fullmatch(label):
        raise Refusal(417, "Invalid character in label.")
    if len(label) > 255:
        raise Refusal(400, "A label must have less than 256 characters.")
