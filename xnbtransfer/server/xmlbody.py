"""XML as a body of PUT and POST: a project, subject, session or scan with its simple elements and custom variables.

Shares, resources and assessors inside a document are not read; scans of a session are.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from starlette.requests import Request

from . import unread
from .answers import Refusal, flag
from .fields import Given

_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_ELSEWHERE = {"sharing", "experiments", "assessors", "resources", "file", "reconstructions", "regions"}


def given(request: Request, body: bytes) -> Given | None:
    """What an XML body says, or None for a request without one.

    Raises
    ------
    Refusal
        422 for what is no XML; 400 for one with a DOCTYPE, which 1.10.1 refuses and this server always does.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    said = kind in ("text/xml", "application/xml") or request.query_params.get("req_format") == "xml"
    if not body.strip() or not (said or (flag(request, "inbody") and body.lstrip()[:1] == b"<")):
        return None
    if b"<!DOCTYPE" in body.replace(b"\0", b"").upper():
        raise Refusal(400, "A document with a DOCTYPE is not accepted.")
    try:
        root = ElementTree.fromstring(body)
        for child in root:
            if _local(child.tag) in _ELSEWHERE:
                unread.ignored(request, "element", _local(child.tag))
        return _item(root)
    except RecursionError:
        raise Refusal(400, "The document nests too deep.") from None
    except (ElementTree.ParseError, ValueError, LookupError) as problem:
        raise Refusal(422, f"The body is not well-formed XML: {problem}") from None


def xsi_type(element: str) -> str:
    """The type of a root element.

    >>> xsi_type("MRSession"), xsi_type("OtherDicomSession"), xsi_type("Subject")
    ('xnat:mrSessionData', 'xnat:otherDicomSessionData', 'xnat:subjectData')
    """
    found = re.fullmatch(r"(\w*?)(Session|Scan)?", element)
    if found is None:
        raise TypeError(f"no type has an element {element}")
    stem, tail = found[1], found[2] or ""
    stem = stem.lower() if stem.isupper() else stem[:1].lower() + stem[1:]
    return f"xnat:{stem}{tail}Data"


def _item(root: ElementTree.Element) -> Given:
    found = Given(xsi_type=root.get(_TYPE) or xsi_type(_local(root.tag)), document=True)
    for name, value in root.attrib.items():
        if name in ("ID", "label", "project"):
            setattr(found, name.lower(), value)
        elif not name.startswith("{"):
            found.values[name] = value
    for child in root:
        name = _local(child.tag)
        if name == "scans":
            found.scans += [_item(scan) for scan in child]
        elif name == "fields":
            for one in child:
                found.values[f"fields/field[name={one.get('name', '')}]/field"] = (one.text or "").strip()
        elif name == "aliases":
            found.values["alias"] = next(((one.text or "").strip() for one in child), "")
        elif name not in _ELSEWHERE:
            _values(child, "" if name == "demographics" else name, found.values)
    return found


def _values(element: ElementTree.Element, path: str, values: dict[str, str]) -> None:
    """The text, attributes and children of an element, by their paths."""
    below = f"{path}/" if path else ""
    text = (element.text or "").strip()
    if path and (text or not (len(element) or element.attrib)):
        values[path] = text
    for name, value in element.attrib.items():
        if not name.startswith("{"):
            values[below + name] = value
    for child in element:
        _values(child, below + _local(child.tag), values)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
