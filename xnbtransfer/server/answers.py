"""The shapes of XNAT's answers: tables, items, catalogues, texts and the status page of its errors.

XNAT source: ``JSONTableRepresentation``, ``SecureResource``, ``CatalogUtils``; Restlet's default status page.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from starlette.requests import Request
from starlette.responses import Response

from . import unread

if TYPE_CHECKING:
    from .state import Record

NAMESPACES = (
    'xmlns:arc="http://nrg.wustl.edu/arc" xmlns:cat="http://nrg.wustl.edu/catalog" '
    'xmlns:xdat="http://nrg.wustl.edu/security" xmlns:xnat="http://nrg.wustl.edu/xnat" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


class Refusal(Exception):
    """An answer other than success: a status and the sentence that XNAT puts into its status page."""

    def __init__(self, status: int, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.status, self.headers = status, dict(headers or {})
        self.message = message or HTTPStatus(status).description or HTTPStatus(status).phrase
        super().__init__(self.message)


def status_page(status: int, message: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """Restlet's status page; clients read the sentence between ``<h3>`` and ``</h3>``."""
    sentence = html.escape(message or Refusal(status).message, quote=False)
    page = (
        f"<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n<h3>{sentence}</h3>"
        '<p>Please continue your visit at our <a href="/">home page</a>.\n</p>\n</body>\n</html>\n'
    )
    return Response(page, status, headers=dict(headers or {}), media_type="text/html")


_MEANS = {
    400: "The server cannot or will not process the request due to something that is perceived to be a client error "
    "(e.g., malformed request syntax, invalid request message framing, or deceptive request routing).",
    401: "The request has not been applied because it lacks valid authentication credentials for the target resource.",
    404: "The origin server did not find a current representation for the target resource or is not willing to "
    "disclose that one exists.",
    405: "The method received in the request-line is known by the origin server but not supported by the target "
    "resource.",
    406: "The target resource does not have a current representation that would be acceptable to the user agent, "
    "according to the proactive negotiation header fields received in the request, and the server is unwilling to "
    "supply a default representation.",
    415: "The origin server is refusing to service the request because the payload is in a format not supported by "
    "this method on the target resource.",
}
CONTAINER = "Servlet Container"
"""What the page of the container has between ``<h3>`` and ``</h3>``: its own name, and no reason."""


def container_page(status: int, message: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """The error page of the servlet container: the reason stands in a paragraph (recorded answers, topic W16).

    It answers what XNAT's own code never sees, or gives back: nobody logged in, an address of ``/xapi`` that is none,
    a file that is not there.
    """
    title = f"HTTP Status {status} – {HTTPStatus(status).phrase}"
    reason = f"<p><b>Message</b> {html.escape(message, quote=False)}</p>" if message else ""
    page = (
        f'<!doctype html><html lang="en"><head><title>{title}</title></head><body><h1>{title}</h1><hr class="line" />'
        f"<p><b>Type</b> Status Report</p>{reason}<p><b>Description</b> {_MEANS.get(status, '')}</p>"
        f'<hr class="line" /><h3>{CONTAINER}</h3></body></html>'
    )
    return Response(page, status, headers=dict(headers or {}), media_type="text/html")


def text(body: object = "", status: int = 200) -> Response:
    """A text; nothing at all has no type, either."""
    return Response(str(body), status, media_type="text/plain" if body != "" else None)


def as_xml(document: str, headers: Mapping[str, str] | None = None, media_type: str = "text/xml") -> Response:
    """A document without the characters that XML cannot hold."""
    return Response(_NO_XML.sub("", document), headers=dict(headers or {}), media_type=media_type)


def as_json(body: object, status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


async def json_body(request: Request, kind: type) -> Any:
    """The JSON body of a request, which must be a ``kind``; anything else is refused with 400.

    Of an object it is noted which names are looked at (``unread``).
    """
    request.headers.get("content-type")
    try:
        found = await request.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise Refusal(400, f"The body must be a JSON {'object' if kind is dict else 'list'}.")
    return unread.values(request, found, found) if isinstance(found, dict) else found


def flag(request: Request, name: str) -> bool:
    """A flag of the query as XNAT reads it: given, and neither ``false`` nor ``0`` (XNAT source, SecureResource)."""
    return request.query_params.get(name, "false").strip().lower() not in ("false", "0")


def cell(value: object) -> str:
    """A cell as XNAT prints it: text always, and nothing for NULL."""
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def table(
    request: Request,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    title: str = "",
    *,
    total: bool = True,
    properties: Sequence[Mapping[str, str]] | None = None,
    extra: Mapping[str, Any] | None = None,
    default: str = "json",
) -> Response:
    """A table as JSON, CSV, XML or HTML, whatever ``format=`` asks for, else ``default``; sorted by ``sortBy=``.

    ``columns`` are those of the rows unless given; ``properties`` are those of columns, where a list has some, and
    ``extra`` goes beside the rows of the JSON form.
    """
    names = list(columns if columns is not None else (rows[0] if rows else ()))
    lines = [[v if type(v := row.get(name)) is str else cell(v) for name in names] for row in rows]
    for name in reversed([n for n in request.query_params.get("sortBy", "").split(",") if n in names]):
        place = names.index(name)
        lines.sort(key=lambda line: line[place], reverse=request.query_params.get("sortOrder", "").upper() == "DESC")
    wanted = request.query_params.get("format", default).lower()
    if wanted == "html":
        return Response(_html_table(names, lines), media_type="text/html")
    if wanted == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([names, *lines])
        return Response(out.getvalue(), media_type="text/csv")
    if wanted == "xml":
        head = "".join(f"<column>{escape(name)}</column>" for name in names)
        body = "".join("<row>" + "".join(f"<cell>{escape(c)}</cell>" for c in line) + "</row>" for line in lines)
        xml = f'<ResultSet totalRecords="{len(lines)}"><results><columns>{head}</columns><rows>{body}</rows></results>'
        return as_xml(f"{xml}</ResultSet>")
    found: dict[str, Any] = {"Columns": list(properties)} if properties else {}
    found |= extra or {}
    found["Result"] = [dict(zip(names, line, strict=True)) for line in lines]
    if total:
        found["totalRecords"] = str(len(lines))
    if title:
        found["title"] = title
    return as_json({"ResultSet": found})


def _html_table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as a page, as writes are answered (recorded answers, topic W8)."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "".join(
        f'<tr class="x_rs_tr_data {"even" if number % 2 else "odd"}">\n'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in line)
        + "</tr>"
        for number, line in enumerate(lines)
    )
    return (
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en"><body>'
        '<table class="x_rs_t" cellpadding="0" cellspacing="0">\n<thead class="x_rs_thead">\n'
        f'<tr class="x_rs_tr_head">{head}</tr>\n</thead>\n<tbody id="dataRows">\n{rows}</tbody>\n</table></body></html>'
    )


def item(
    xsi_type: str, fields: Mapping[str, Any], children: Mapping[str, Sequence[dict[str, Any]]] | None = None
) -> dict[str, Any]:
    """One item: its type, its fields that have a value, and its child lists by their names.

    A field ``a/b[name=c]/d`` becomes a row of the list ``a/b``, and ``demographics/x`` belongs to an object of its own
    (XNAT source, SecureResource; the keys are those of a PUT).
    """
    flat: dict[str, Any] = {}
    lists = {name: list(rows) for name, rows in (children or {}).items()}
    person: dict[str, Any] = {}
    for name, value in fields.items():
        custom = re.fullmatch(r"(\w+/\w+)\[name=(.*)\]/(\w+)", name, re.DOTALL)
        if value in (None, ""):
            continue
        if custom:
            row = item("xnat:fieldDefinition", {"name": custom[2], custom[3]: value})
            lists.setdefault(custom[1], []).append(row)
        elif name.startswith("demographics/"):
            person[name.partition("/")[2]] = value
        else:
            flat[name] = value
    if person:
        lists["demographics"] = [item("xnat:demographicData", person)]
    return {
        "children": [{"field": name, "items": rows} for name, rows in lists.items() if rows],
        "meta": {"xsi:type": xsi_type, "isHistory": False},
        "data_fields": flat,
    }


def item_answer(request: Request, found: dict[str, Any], shown: Sequence[dict[str, Any]] = ()) -> Response:
    """One item as JSON, with what it was before where that is ``shown`` beside it, or as XML for ``format=xml``."""
    if request.query_params.get("format", "json").lower() == "xml":
        return as_xml(f'<?xml version="1.0" encoding="UTF-8"?>\n{item_xml(found)}')
    return as_json({"items": list(shown) or [found]})


_ATTRIBUTES = ("ID", "project", "label", "secondary_ID", "type", "UID", "modality", "name")


def item_xml(found: dict[str, Any], element: str = "") -> str:
    """An item as XNAT's XML, for ``format=xml``; the outermost element is named by its type.

    What stands in it can be sent back as the body of a PUT (see ``xmlbody``).
    """
    kind = found["meta"]["xsi:type"]
    fields = {name: cell(value) for name, value in found["data_fields"].items()}
    if kind == "xnat:fieldDefinition":
        return f"<xnat:field name={quoteattr(fields['name'])}>{escape(fields.get('field', ''))}</xnat:field>"
    outermost = not element
    if outermost:
        element = f"xnat:{root_element(kind)}"
    plain = {k: v for k, v in fields.items() if "/" not in k}
    attributes = {k: v for k, v in plain.items() if k in _ATTRIBUTES and not (k == "name" and outermost)}
    head = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    head += f" {NAMESPACES}" if outermost else f' xsi:type="{kind}"'
    body = "".join(f"<xnat:{k}>{escape(v)}</xnat:{k}>" for k, v in plain.items() if k not in attributes)
    body += _nested({name: value for name, value in fields.items() if "/" in name})
    for child in found["children"]:
        wrapper, _, single = child["field"].partition("/")
        inside = "".join(item_xml(row, f"xnat:{single or wrapper}") for row in child["items"])
        body += f"<xnat:{wrapper}>{inside}</xnat:{wrapper}>" if single else inside
    return f"<{element}{head}>{body}</{element}>"


def _nested(fields: Mapping[str, str]) -> str:
    """Elements within elements for fields by their paths: ``scanner/model`` is a ``model`` in a ``scanner``."""
    plain = "".join(f"<xnat:{name}>{escape(v)}</xnat:{name}>" for name, v in fields.items() if "/" not in name)
    below: dict[str, dict[str, str]] = {}
    for name in (name for name in fields if "/" in name):
        outer, _, inner = name.partition("/")
        below.setdefault(outer, {})[inner] = fields[name]
    return plain + "".join(f"<xnat:{outer}>{_nested(inner)}</xnat:{outer}>" for outer, inner in below.items())


def root_element(xsi_type: str) -> str:
    """The element of a type.

    >>> root_element("xnat:mrSessionData"), root_element("xnat:otherDicomSessionData"), root_element("xnat:subjectData")
    ('MRSession', 'OtherDicomSession', 'Subject')
    """
    short = xsi_type.partition(":")[2].removesuffix("Data")
    tail = next((word for word in ("Session", "Scan") if short.endswith(word)), "")
    stem = short.removesuffix(tail) if tail else short
    return (stem.upper() if tail and stem.islower() else stem[:1].upper() + stem[1:]) + tail


def catalog(label: str, key: str, files: Iterable[Record]) -> Response:
    """The catalogue of a resource; xnatpy tells a resource from a file by its first two lines."""
    rows = list(files)
    dicom = any(row["sop_uid"] for row in rows)
    root, kind = ("cat:DCMCatalog", "cat:dcmEntry") if dicom else ("cat:Catalog", "cat:entry")
    lines = []
    for row in rows:
        named = {
            "ID": row["path"],
            "URI": row["path"],
            "UID": row["sop_uid"],
            "digest": row["md5"],
            "format": row["format"],
            "content": row["content"],
        }
        shown = " ".join(f"{name}={quoteattr(str(value))}" for name, value in named.items() if value)
        lines.append(f'\t<cat:entry {shown} xsi:type="{kind}"/>')
    body = "\n".join(["<cat:entries>", *lines, "</cat:entries>"])
    head = f"<{root} ID={quoteattr(key)} name={quoteattr(label)} {NAMESPACES}>"
    return as_xml(f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n{body}\n</{root}>')
