"""What XNAT's rows and addresses mean: read the answers, write the paths."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote

import requests

from ._http import quoted

SESSIONS_PER_REQUEST = 48  # sessions named in one file list
URL_BYTES = 3_000  # and the ids together are no longer than this
_OF_RESOURCE = re.compile(r"(.*?/resources/[^/]+)/files/(.*)", re.DOTALL).match


def cell(row: dict, name: str) -> str:
    """A cell as text; missing and null are "" ."""
    value = row.get(name)
    return "" if value is None else str(value)


def filled(row: dict) -> dict:
    return {name: value for name, value in row.items() if value not in (None, "")}


def accession(row: dict) -> str:
    """XNAT's id of the row, from its URI, since the key of the id depends on the columns that were asked for."""
    uri = cell(row, "URI")
    return unquote(uri.rstrip("/").rpartition("/")[2]) if uri else cell(row, "ID") or cell(row, "session_ID")


def integer(text: str) -> int | None:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return None


def number(answer: requests.Response | None) -> int | None:
    return None if answer is None else integer(answer.text.strip())


def truth(answer: requests.Response | None) -> bool | None:
    if answer is None:
        return None
    return {"true": True, "1": True, "false": False, "0": False}.get(answer.text.strip().strip('"').lower())


def is_json(answer: requests.Response) -> bool:
    try:
        return isinstance(answer.json(), dict)
    except ValueError:
        return False


def session_path(session_id: str) -> str:
    return f"/data/experiments/{quoted(session_id)}"


def scan_segment(scan: str) -> str:
    """A scan id in a path where XNAT takes lists: commas and slashes of the id itself have escapes of their own."""
    return quoted(scan.replace(",", "[COMMA]").replace("/", "[SLASH]"))


def prearchive_path(uri: str) -> str:
    return f"/data{quote(without_data(uri), safe='/')}"


def without_data(uri: str) -> str:
    """``/prearchive/projects/...`` of an address that may begin with a host, a context and ``/data``."""
    uri = unquote(uri.strip())
    found = re.search(r"/(?:pre)?archive/projects/", uri)
    return uri[found.start() :] if found else uri


def path_in_resource(uri: str) -> tuple[str, str]:
    """What stands before ``/files/`` of a file's address, and the decoded path behind it."""
    found = _OF_RESOURCE(uri)
    return (found.group(1), unquote(found.group(2))) if found else (uri, "")


def event(reason: str) -> dict[str, str]:
    if not reason:
        return {}
    return {"event_reason": reason, "event_type": "WEB_SERVICE", "event_action": "xnbtransfer", "event_comment": reason}


def chunked(session_ids: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for session_id in dict.fromkeys(session_ids):
        length = len(quoted(session_id)) + 1
        if chunk and (len(chunk) >= SESSIONS_PER_REQUEST or size + length > URL_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(session_id)
        size += length
    if chunk:
        yield chunk


def scan_row(row: dict) -> dict:
    """A row of the bulk scan query; its keys are spelt in lower case by some servers and as asked by others."""
    row = {name.lower(): value for name, value in row.items()}

    def scan(name: str) -> str:
        return cell(row, f"xnat:imagescandata/{name}")

    return {
        "session_id": unquote(cell(row, "uri").rpartition("/")[2]) or cell(row, "session_id"),
        "subject": cell(row, "subject_label"),
        "session": cell(row, "label"),
        "scan": scan("id"),
        "xsi_type": scan("xsitype"),
        "type": scan("type"),
        "quality": scan("quality"),
        "series_description": scan("series_description"),
        "note": scan("note"),
        "frames": scan("frames"),
        "modality": scan("modality"),
        "SeriesInstanceUID": scan("uid"),
        "resource": scan("file/label"),
        "format": scan("file/format"),
        "files": integer(scan("file/file_count")),
        "size_bytes": integer(scan("file/file_size")),
    }


@functools.lru_cache(maxsize=4096)
def _holder(address: str) -> tuple[str, str, str]:
    """Session, scan and resource that an address names; all files of a resource share it."""
    parts = [unquote(part) for part in address.split("/")]

    def after(name: str) -> str:
        return parts[parts.index(name) + 1] if name in parts[:-1] else ""

    return after("experiments"), after("scans"), after("resources")


def file_row(row: dict, alone: str) -> dict:
    """A row of a file list; session, scan and path are read from its URI, which names all three."""
    uri = cell(row, "URI")
    before, path = path_in_resource(uri)
    session_id, scan, resource = _holder(before)
    return {
        "session_id": alone if not session_id or "," in session_id else session_id,
        "scan": scan,
        "resource": cell(row, "collection") or resource,
        "path": path or cell(row, "Name"),
        "size_bytes": integer(cell(row, "Size")) or 0,
        "md5": cell(row, "digest").lower(),
        "format": cell(row, "file_format"),
        "uri": uri,
    }


def prearchive_row(row: dict, project: str) -> dict:
    """A row of the prearchive, with the keys of PREARCHIVE_COLUMNS."""
    return {
        "project": cell(row, "project") or project,
        "subject": cell(row, "subject"),
        "session": cell(row, "name") or cell(row, "folderName"),
        "status": cell(row, "status"),
        "StudyInstanceUID": cell(row, "tag"),
        "uri": cell(row, "url"),
        "uploaded": cell(row, "uploaded"),
        "changed": cell(row, "lastmod"),
        "left_alone": cell(row, "prevent_auto_commit").lower() == "true" or cell(row, "SOURCE") == "uploader",
    }


def item_row(found: dict) -> dict | None:
    """One subject or session as XNAT's item JSON tells it; None where it is none."""
    try:
        item = found["items"][0]
        fields = item["data_fields"]
        children: dict[str, list[dict]] = {}
        for child in item.get("children", ()):
            children.setdefault(child["field"], []).extend(child["items"])
        shares = [one["data_fields"] for one in children.get("sharing/share", ())]
        assessors = [one["data_fields"] for one in children.get("assessors/assessor", ())]
    except (KeyError, IndexError, TypeError):
        return None
    return {
        "id": cell(fields, "ID"),
        "label": cell(fields, "label"),
        "project": cell(fields, "project"),
        "subject_id": cell(fields, "subject_ID"),
        "xsi_type": cell(item.get("meta") or {}, "xsi:type"),
        "StudyInstanceUID": cell(fields, "UID"),
        "shares": sorted((cell(one, "project"), cell(one, "label")) for one in shares),
        "assessors": sorted(cell(one, "label") or cell(one, "ID") for one in assessors),
        "fields": sorted(set(fields) - {"ID", "id", "label", "project"}),
        "holds": sorted(set(children) - {"sharing/share"}),
    }


def item_fields(found: dict) -> tuple[str, dict[str, str]]:
    """The xsiType of an item and its fields with values, by their path below it; those of scans and the like left out.

    A custom field is ``fields/field[name=NAME]/field``, as XNAT wants it when it is written.
    """
    try:
        item = found["items"][0]
        kind = cell(item.get("meta") or {}, "xsi:type")
        return kind, {path: value for path, value in _flat(item, "") if value != ""}
    except (KeyError, IndexError, TypeError, AttributeError):
        return "", {}


_LISTS = {"scans", "sharing", "assessors", "reconstructions", "resources", "experiments", "out", "in"}


def _flat(item: dict, path: str) -> Iterator[tuple[str, str]]:
    fields = item.get("data_fields") or {}
    for name in fields:
        yield f"{path}{name}", cell(fields, name)
    for child in item.get("children") or ():
        where = child["field"]
        if where.partition("/")[0] in _LISTS:
            continue
        for one in child["items"]:
            inner = one.get("data_fields") or {}
            if where == "fields/field":
                yield f"fields/field[name={cell(inner, 'name')}]/field", cell(inner, "field")
            elif len(child["items"]) == 1:
                yield from _flat(one, f"{path}{where}/")
