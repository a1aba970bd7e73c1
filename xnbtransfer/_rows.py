"""What XNAT's rows and addresses mean: read the answers, write the paths."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote

import requests

from .forms import SCAN_FORMAT, SCAN_TYPE, quoted
from .holdings import by_hand

SESSIONS_PER_REQUEST = 48  # sessions named in one file list
URL_BYTES = 3_000  # and the ids together are no longer than this
_KEPT = "/%:@!$&'()*+,;=~"  # what stays as it is in the address of a resource
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


_ESCAPES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


def plain(text: str) -> str:
    """Text that was written over REST as it was meant: XNAT stores it with XML escapes, and escapes once more what is
    written with them (XNAT source, ``TurbineUtils.escapeParam``; recorded, "W9 escaping").
    """

    def meant(found: re.Match) -> str:
        name = found[1]
        return _ESCAPES[name] if name in _ESCAPES else chr(int(name[1:]))

    return re.sub(r"&(lt|gt|amp|quot|apos|#\d{1,6});", meant, text)


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


def json_of(answer: requests.Response) -> Any:
    """What an answer holds as JSON.

    Raises
    ------
    ValueError
        It is none, or is nested more deeply than can be read (XNAT nests a few levels).
    """
    try:
        return answer.json()
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_json(answer: requests.Response) -> bool:
    try:
        return isinstance(json_of(answer), dict)
    except ValueError:
        return False


def prearchive_path(uri: str) -> str:
    return f"/data{quote(without_data(uri), safe='/')}"


def without_data(uri: str) -> str:
    """``/prearchive/projects/...`` of an address that may begin with a host, a context and ``/data``."""
    uri = unquote(uri.strip())
    found = re.search(r"/(?:pre)?archive/projects/", uri)
    return uri[found.start() :] if found else uri


def path_in_resource(uri: str, name: str = "") -> tuple[str, str]:
    """What stands before ``/files/`` of a listed file's address, and the path behind it as the file is called.

    XNAT lists the stored path as it is, not quoted (recorded of 1.6.4 and 1.8.11, "W11 names of files"), so it is taken
    as it stands; it is unquoted only where the ``Name`` of the row, the end of the path, says that it was quoted.
    """
    found = _OF_RESOURCE(uri)
    if not found:
        return uri, ""
    path, end = found.group(2), name.rpartition("/")[2]
    if end and path.rpartition("/")[2] != end and unquote(path).rpartition("/")[2] == end:
        path = unquote(path)
    return found.group(1), path


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
        "xsi_type": cell(row, SCAN_TYPE.lower()),
        "type": plain(scan("type")),
        "quality": plain(scan("quality")),
        "series_description": plain(scan("series_description")),
        "note": plain(scan("note")),
        "frames": scan("frames"),
        "modality": scan("modality") or modality_of(cell(row, SCAN_TYPE.lower())),
        "SeriesInstanceUID": scan("uid"),
        "resource": scan("file/label"),
        "format": cell(row, SCAN_FORMAT.lower()),
        "files": integer(scan("file/file_count")),
        "size_bytes": integer(scan("file/file_size")),
    }


_MODALITIES = {
    **{name: name.upper() for name in ("mr", "ct", "us", "cr", "dx", "xa", "xc", "mg", "nm", "rf", "es", "ecg", "io")},
    **{name: name.upper() for name in ("hd", "op", "opt", "sm", "gm", "sr", "eps")},
    "pet": "PT",
    "dx3DCraniofacial": "DX",
    "xa3D": "XA",
    "xcv": "XC",
    "gmv": "GM",
    "esv": "ES",
}


def modality_of(xsi_type: str) -> str:
    """The modality that the type of a session or scan says, "" where it says none: ``xnat:mrSessionData`` is MR.

    XNAT lists no modality for a session with scans of several, as with a report beside the images, and none for any
    scan in a list of sessions (both recorded).
    """
    found = re.fullmatch(r"xnat:(\w+)(?:Session|Scan)Data", xsi_type)
    return _MODALITIES.get(found[1], "") if found else ""


def session_type_of(scan_type: str) -> str:
    """The type of session that scans of a type make, ``xnat:ctSessionData`` of ``xnat:ctScanData``; "" of others."""
    found = re.fullmatch(r"xnat:(\w+)ScanData", scan_type)
    return f"xnat:{found[1]}SessionData" if found and found[1] in _MODALITIES and found[1] != "sr" else ""


@functools.lru_cache(maxsize=4096)
def _holder(address: str) -> tuple[str, str, str]:
    """Session, scan and resource that an address names; all files of a resource share it."""
    parts = [unquote(part) for part in address.split("/")]

    def after(name: str) -> str:
        return parts[parts.index(name) + 1] if name in parts[:-1] else ""

    return after("experiments"), after("scans"), after("resources")


def file_row(row: dict, alone: str) -> dict:
    """A row of a file list; session, scan and path are read from its URI, which names all three.

    ``uri`` is that address, quoted once, as it is asked for.
    """
    before, path = path_in_resource(cell(row, "URI"), cell(row, "Name"))
    session_id, scan, resource = _holder(before)
    path = path or cell(row, "Name")
    return {
        "session_id": alone if not session_id or "," in session_id else session_id,
        "scan": scan,
        "resource": cell(row, "collection") or resource,
        "path": path,
        "size_bytes": integer(cell(row, "Size")) or 0,
        "md5": cell(row, "digest").lower(),
        "format": cell(row, "file_format"),
        "uri": f"{quote(before, safe=_KEPT)}/files/{quote(path, safe='/')}",
    }


def current_item(found: dict) -> dict:
    """The item of XNAT's item JSON; what is marked as history may stand before it (1.6.4, a session that was moved)."""
    items = found["items"]
    past = {"true", "1"}
    return next((one for one in items if cell(one.get("meta") or {}, "isHistory").lower() not in past), items[0])


def prearchive_row(row: dict, project: str) -> dict:
    """A row of the prearchive, with the keys of PREARCHIVE_COLUMNS; its address says whose it is."""
    named = without_data(cell(row, "url")).split("/")
    return {
        "project": named[3] if named[2:3] == ["projects"] else cell(row, "project") or project,
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
        item = current_item(found)
        fields = item["data_fields"]
        children: dict[str, list[dict]] = {}
        for child in item.get("children", ()):
            children.setdefault(child["field"], []).extend(child["items"])
        shares = [one["data_fields"] for one in children.get("sharing/share", ())]
        assessors = [one["data_fields"] for one in children.get("assessors/assessor", ())]
        scans = children.get("scans/scan", [])
        counted = _counted("", children.get("resources/resource", ()))
        for scan in scans:
            counted |= _counted(plain(cell(scan["data_fields"], "ID")), _below(scan, "file"))
        made = children.get("reconstructions/reconstructedImage", ())
        reconstructions = [cell(one["data_fields"], "ID") for one in made]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return {
        "beside": _beside(children),
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
        "counted": counted,
        "reconstructions": sorted(reconstructions),
        "by_hand": by_hand([_scan_as_told(scan["data_fields"]) for scan in scans], item_fields(found)[1]),
        "unknown": sorted(name for name, rows in children.items() if name not in _KNOWN and len(rows) > 1),
    }


def subject_row(found: dict) -> dict | None:
    """A subject as ``item_row``, with its own ``field_names``, and its ``experiments`` by accession.

    The document of a subject holds the whole items of its experiments (recorded of 1.6.4 and 1.8.11, form F41).
    """
    row = item_row(found)
    if row is None:
        return None
    experiments = [item_row({"items": [one]}) for one in _below(current_item(found), "experiments/experiment")]
    named = {one["id"]: one for one in experiments if one is not None and one["id"]}
    return {**row, "field_names": sorted(item_fields(found)[1]), "experiments": named}


def _beside(children: dict[str, list[dict]]) -> list[dict]:
    """What stands below an item beside its scans: kind, name, type, files and size_bytes as XNAT counts them."""
    kinds = {
        "resource": ("resources/resource", "label"),
        "assessor": ("assessors/assessor", "label"),
        "reconstruction": ("reconstructions/reconstructedImage", "ID"),
    }
    return [
        {
            "kind": kind,
            "name": plain(cell(one["data_fields"], name) or cell(one["data_fields"], "ID")),
            "type": "" if kind == "resource" else cell(one.get("meta") or {}, "xsi:type"),
            "files": _sum(one, "file_count"),
            "size_bytes": _sum(one, "file_size"),
        }
        for kind, (where, name) in kinds.items()
        for one in children.get(where, ())
    ]


def _sum(item: dict, name: str) -> int:
    """A count of an item and of all that stands below it, added up."""
    below = (one for child in item.get("children") or () for one in child["items"])
    return (integer(cell(item["data_fields"], name)) or 0) + sum(_sum(one, name) for one in below)


_KNOWN = {
    "sharing/share", "assessors/assessor", "scans/scan", "resources/resource", "reconstructions/reconstructedImage",
    "experiments/experiment", "fields/field",
}  # fmt: skip


def _below(item: dict, name: str) -> list[dict]:
    return [one for child in item.get("children", ()) if child["field"] == name for one in child["items"]]


def _counted(scan: str, resources: Iterable[dict]) -> dict[tuple[str, str], int | None]:
    """The files that XNAT counts in resources of an item's document; None where it has not counted them.

    They stand below ``file`` of a scan and ``resources/resource`` of a session, with ``label`` and ``file_count``
    (recorded of 1.6.4 and 1.8.11, form F40).
    """
    found: dict[tuple[str, str], int | None] = {}
    for one in resources:
        fields = one["data_fields"]
        at = scan, plain(cell(fields, "label")) or cell(fields, "xnat_abstractresource_id")
        count = integer(cell(fields, "file_count"))
        known = found.get(at, 0)
        found[at] = None if count is None or known is None else known + count
    return found


def _scan_as_told(fields: dict) -> dict[str, str]:
    names = {"scan": "ID", **{name: name for name in ("quality", "type", "note", "series_description")}}
    return {name: plain(cell(fields, key)) for name, key in names.items()}


def item_fields(found: dict) -> tuple[str, dict[str, str]]:
    """The xsiType of an item and its fields with values, by their path below it; those of scans and the like left out.

    A custom field is ``fields/field[name=NAME]/field``, as XNAT wants it when it is written. Text is as it was meant.
    """
    try:
        item = current_item(found)
        kind = cell(item.get("meta") or {}, "xsi:type")
        return kind, {path: plain(value) for path, value in _flat(item, "") if value != ""}
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
