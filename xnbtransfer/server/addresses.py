"""Addresses as they arrive: what the container and the firewall refuse, and what XNAT decodes and what not.

Called by ``app`` alone, before the log-in. Handlers get the path decoded, but the label of a resource and the path of
a file as they were sent: XNAT looks at those itself (``XNATCatalogTemplate``, ``FileList``; recorded answers of
1.8.11, topics W10, W11 and "characters that are refused"). :func:`file_name` says what a file's path means.

A refusal of the firewall is no failure that passes and no missing right: the same address is refused for ever.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, unquote_plus

from starlette.responses import Response

from . import personality
from .answers import container_page
from .state import State

LONGEST_HEAD = 8192
"""Bytes of the request line and headers that XNAT's container reads before it refuses with 400."""
_OF_THE_CONTAINER = re.compile(r"%(2f|5c|00)|\\", re.IGNORECASE)
_OF_THE_FIREWALL = re.compile(r"%25|;|%3b|//|%2e|(^|/)\.\.?(/|$)|%(?![0-9a-f]{2})", re.IGNORECASE)
_AS_SENT = re.compile(r"(/resources/)([^/]+)(?:(/files/)(.*))?", re.DOTALL)
_FIREWALL_PAGE = """<!DOCTYPE html>
<html><head><title>XNAT</title></head><body><div id="layout_content"><p>An error has occurred.</p></div></body></html>
"""


def alias(path: str) -> str:
    """``/REST/X`` and ``/data/archive/X`` are ``/data/X`` (XNAT source, XNATApplication)."""
    if path.startswith("/REST/"):
        path = "/data/" + path[len("/REST/") :]
    if path.startswith("/data/archive/"):
        path = "/data/" + path[len("/data/archive/") :]
    return path if len(path) < 2 else path.rstrip("/")


def routed(raw: str) -> str:
    """The path that handlers see.

    >>> routed("/data/projects/a%20b/resources/My%20Res/files/x%41%20y.txt")
    '/data/projects/a b/resources/My%20Res/files/x%41%20y.txt'
    >>> routed("/data/prearchive/projects/P/T/F/scans/1/resources/DICOM/files/a%20b.dcm")
    '/data/prearchive/projects/P/T/F/scans/1/resources/DICOM/files/a b.dcm'
    """
    found = None if raw.startswith("/data/prearchive/") else _AS_SENT.search(raw)
    if found is None or not raw.startswith("/data/"):
        return unquote(raw)
    rest = raw[found.end() :]
    return unquote(raw[: found.start()]) + found[1] + found[2] + (found[3] or "") + (found[4] or "") + unquote(rest)


def file_name(state: State, path: str) -> str:
    """The name that the path of an address means to XNAT when a file is put, got or deleted.

    With a quoted blank or plus sign in it, all of it is decoded as a form is (FileList, constructor), so that a bare
    plus sign beside a quoted blank is a blank; else nothing is. 1.7.2 and before decode nothing.
    """
    if not personality.has(state, "file-names-are-decoded"):
        return path
    return unquote_plus(path) if "%20" in path or "%2B" in path else path


def refused(state: State, scope: dict[str, Any]) -> Response | None:
    """What the container (400) or the firewall before XNAT (500 with a page, 405 with nothing) refuses.

    Query strings are free. The firewall is there from 1.7.6 on.
    """
    raw = scope["raw_path"].decode("latin-1")
    length = len(raw) + len(scope["query_string"])
    length += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if length > LONGEST_HEAD:
        return container_page(400, "Request header is too large")
    if _OF_THE_CONTAINER.search(raw):
        return container_page(400, "Invalid URI: noSlash")
    if _OF_THE_FIREWALL.search(raw) and personality.has(state, "firewall"):
        if scope["method"] in ("GET", "POST", "HEAD"):
            return Response(_FIREWALL_PAGE, 500, media_type="text/html")
        return Response(status_code=405)
    return None
