"""What two answers differ in: status, emptiness, kind of body, keys, rows, values, content type, session cookie.

Numbers that a server gives (accessions, resources, times) are masked on both sides; everything else of a table counts.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

TRUNCATED = re.compile(r"\.\.\. \[truncated, \d+ characters\]$")
_MASKS = (
    (re.compile(r"\{(?:datetime|http-date|date|today|today-us|today-compact|epoch-ms)\}"), "{time}"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-]\d{4}|Z)?"), "{time}"),
    (re.compile(r"\b\d{8}_\d{6,9}\b"), "{timestamp}"),
    (re.compile(r"\b[A-Za-z]\w*_([ES])\d{5,}\b"), r"{\1}"),
    (re.compile(r"/resources/\d+(?=/|$)"), "/resources/{number}"),
    (re.compile(r"\b2\.25\.\d{20,}\b"), "{uid}"),
    (re.compile(r"\b[0-9A-F]{32}\b"), "{session-id}"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "{uuid}"),
)
_DEFAULT_SCRIPT = re.compile(r"\{default script, \d+ characters\}|//\s+// Default XNAT anonymization script.*", re.S)
_NUMBERS = re.compile(r"(?:^|_)(?:abstractresource_id|imagescandata_id|cat_id|xdat_user_id|user_id)$|^last_|^id$", re.I)
"""Columns of numbers that a server gives; of ``id`` only where its value is a number."""
_TIMES = {"insert_date", "last_modified", "lastmod", "uploaded", "create_date", "start_date", "timestamp"}
_OBJECT_DEPENDENT = {"Size", "digest", "size", "file_size", "tag2"}
_NAMES = {"Name", "URI", "label", "ID", "collection", "project", "folderName", "cat_id"}
"""Columns by which two rows are known to be of the same thing."""
ACCESSION = re.compile(r"\b[A-Za-z]\w*_[ES]\d{5,}\b")
RESOURCE = re.compile(r"(?<=/resources/)\d+(?=/|$)")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an answer is: its kind and, as far as it can be told, keys, rows, text, entries."""

    kind: str
    keys: frozenset[str] | None = None
    beside: frozenset[str] | None = None
    rows: list[dict[str, str]] | None = None
    count: int | None = None
    text: str = ""
    entries: tuple[str, ...] | None = None
    whole: bool = True
    raw: object = field(default=None, compare=False)


def mask(text: str) -> str:
    text = _DEFAULT_SCRIPT.sub("{default script}", text)
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text


def told_of(body: object, content_type: str) -> Told:
    """What a recorded body (text, or ``{"zip": ..}``, ``{"binary": .., "md5": ..}``) is."""
    if isinstance(body, dict):
        if "zip" in body:
            return Told(kind="zip", entries=tuple(sorted(mask(entry[0]) for entry in body["zip"])))
        return Told(kind="bytes", count=body.get("binary"))
    text = str(body)
    if found := re.match(r"\[table(?:, (\d+) rows)?", text):
        return Told(kind="table", count=int(found[1]) if found[1] else None, whole=False)
    if text == "[people]":
        return Told(kind="table", whole=False)
    if text == "[JSON object]":
        return Told(kind="json", whole=False)
    if text.startswith("[HTML page"):
        return Told(kind="html", whole=False)
    return _told(text, content_type)


def told_of_answer(body: bytes, content_type: str) -> Told:
    """What the body of an answer is."""
    if body[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            names = [mask(name) for name in archive.namelist() if not name.endswith("/")]
        return Told(kind="zip", entries=tuple(sorted(names)))
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Told(kind="bytes", count=len(body))
    return Told(kind="bytes", count=len(body)) if "\0" in text else _told(text, content_type)


def _told(text: str, content_type: str) -> Told:
    if not text:
        return Told(kind="nothing")
    if not text.strip():
        return Told(kind="blank")
    head = text.lstrip()[:1]
    if re.fullmatch(r"\{[\w ,-]+\}", text.strip()):
        return Told(kind="text", text=mask(text.strip()))
    if head == "<":
        return _markup(text)
    if "csv" in content_type:
        return _csv(text)
    if head in "{[":
        whole = not TRUNCATED.search(text)
        try:
            return _json(json.loads(text)) if whole else _cut_json(text)
        except ValueError:
            return Told(kind="json", whole=False)
    return Told(kind="text", text=mask(text.strip()))


def _markup(text: str) -> Told:
    head = text[:2000]
    if "<title>Status page</title>" in head:
        return Told(kind="page")
    if re.search(r"<title>HTTP Status \d", head):
        return Told(kind="page of the container")
    if "<table" in head and 'class="x_rs_t"' in text:
        return Told(kind="table page")
    if re.search(r"<html|<!doctype html", head, re.I):
        return Told(kind="html")
    root = re.search(r"<(?:\w+:)?(\w+)[\s>/]", re.sub(r"<\?.*?\?>", "", head))
    return Told(kind=f"xml {root[1] if root else ''}")


def _csv(text: str) -> Told:
    rows = list(csv.DictReader(io.StringIO(TRUNCATED.sub("", text))))
    return Told(kind="csv", keys=frozenset(rows[0] if rows else text.strip().split(",")), count=len(rows))


def _json(found: object) -> Told:
    if isinstance(found, list):
        first = found[0] if found else None
        return Told(kind="list", count=len(found), keys=frozenset(first) if isinstance(first, dict) else None)
    assert isinstance(found, dict)
    if "ResultSet" in found:
        rows = found["ResultSet"].get("Result", [])
        return _table(rows, frozenset(found["ResultSet"]) - {"Result"})
    if "items" in found:
        item = found["items"][0] if found["items"] else {"meta": {}, "data_fields": {}, "children": []}
        keys = {f"history {bool(item['meta'].get('isHistory'))}", f"type {item['meta'].get('xsi:type')}"}
        keys |= set(item["data_fields"]) | {f"child {child['field']}" for child in item.get("children", ())}
        fields = {key: mask(str(value)) for key, value in item["data_fields"].items()}
        raw = [item["data_fields"]]
        return Told(kind="item", keys=frozenset(keys), rows=[fields], count=len(found["items"]), raw=raw)
    return Told(kind="json", keys=frozenset(found))


def _cut_json(text: str) -> Told:
    """The rows of a table that was cut, as far as they are whole."""
    at, rows, decoder = text.find('"Result":'), [], json.JSONDecoder()
    at = text.find("[", at) + 1
    while at and at < len(text):
        try:
            row, at = decoder.raw_decode(text, at)
        except ValueError:
            break
        rows.append(row)
        while text[at:at + 1] in (",", " ", "\n"):
            at += 1
    if not rows:
        return Told(kind="item" if '"items"' in text[:20] else "json", whole=False)
    return Told(kind="table", keys=frozenset(_plain(key) for key in rows[0]), whole=False)


def _plain(key: str) -> str:
    """A key without the number of the user that XNAT puts into some (``user_role_9``)."""
    return re.sub(r"_\d+$", "_{user}", key)


def _table(rows: object, beside: frozenset[str]) -> Told:
    if not isinstance(rows, list):  # a long list, which the recording replaced by its count
        return Told(kind="table", beside=beside, count=rows if type(rows) is int else None, whole=False)
    shown = [{_plain(key): _cell(_plain(key), value, row) for key, value in row.items()} for row in rows]
    keys = frozenset().union(*shown) if shown else None
    return Told(kind="table", keys=keys, beside=beside, rows=shown, count=len(rows), raw=rows)


def _cell(key: str, value: object, row: dict[str, Any]) -> str:
    text = str(value)
    if key in ("firstname", "lastname") or key == "label" and text.isdigit() and "cat_id" in row:
        return "{name}"  # of a person; of a resource that was made under the number of another
    if key in _TIMES:
        return "{time}" if text else ""
    if _NUMBERS.search(key) and text.isdigit() or key.startswith("last_"):
        return "{number}" if text else ""
    measured = key.rpartition("/")[2] in _OBJECT_DEPENDENT and text not in ("", "0")
    if measured and str(row.get("Name", ".dcm")).endswith((".dcm", ".xml")):
        return "{of the object}"
    return mask(text)


def short(status: int, told: Told) -> str:
    """An answer as ``versions.json`` has it: status, kind, number of rows."""
    kind = {"page of the container": "page", "html": "page", "blank": "text"}.get(told.kind, told.kind)
    return f"{status} {kind}" + (f" {told.count}" if kind == "table" and told.count is not None else "")


def differences(there: Told, here: Told, *, status: tuple[int, int], types: tuple[str, str],
                cookies: tuple[bool, bool]) -> list[str]:  # fmt: skip
    """Each difference as ``kind: what is here for what was there``; nothing where the answers are the same.

    The pairs are there (recorded) and here.
    """
    found = []
    if status[0] != status[1]:
        found.append(f"status: {status[1]} for {status[0]}")
    if there.kind != here.kind:
        found.append(f"body: {here.kind} for {there.kind}")
    elif there.kind not in ("nothing", "page of the container") and types[0] != types[1]:
        found.append(f"type: {types[1] or 'none'} for {types[0] or 'none'}")
    if cookies[0] != cookies[1]:
        found.append("cookie: " + ("a new session" if cookies[1] else "no new session"))
    if there.kind == here.kind:
        found += _inside(there, here)
    return found


def _inside(there: Told, here: Told) -> list[str]:
    found = []
    for name, one, other in (("keys", there.keys, here.keys), ("beside", there.beside, here.beside)):
        if one is not None and other is not None and one != other:
            less, more = sorted(one - other), sorted(other - one)
            found.append(f"{name}: " + " ".join([*(f"-{key}" for key in less), *(f"+{key}" for key in more)]))
    counted = there.kind in ("table", "list", "csv", "item")
    if counted and None not in (there.count, here.count) and there.count != here.count:
        found.append(f"rows: {here.count} for {there.count}")
    elif there.rows is not None and here.rows is not None and there.whole and here.whole:
        found += _values(there.rows, here.rows)
    if there.kind == "text" and there.text != here.text:
        found.append(f"text: {here.text[:80]!r} for {there.text[:80]!r}")
    if there.entries is not None and here.entries is not None and there.entries != here.entries:
        less, more = Counter(there.entries) - Counter(here.entries), Counter(here.entries) - Counter(there.entries)
        if less.pop("and so on", 0):  # a long list of the recording
            more.clear()
        names = [*(f"-{name}" for name in sorted(less)), *(f"+{name}" for name in sorted(more))]
        if names:
            found.append("entries: " + " ".join(names)[:300])
    return found


def _values(there: list[dict[str, str]], here: list[dict[str, str]]) -> list[str]:
    keys = sorted(set().union(*there, *here) & set(there[0] if there else ()) & set(here[0] if here else ()))
    if Counter(_line(row, keys) for row in there) == Counter(_line(row, keys) for row in here):
        return []
    found = []
    for key in keys:
        one, other = Counter(row.get(key, "") for row in there), Counter(row.get(key, "") for row in here)
        if one != other:
            less, more = sorted((one - other).elements()), sorted((other - one).elements())
            found.append(f"values: {key} {more[:4]} for {less[:4]}"[:300])
    return found or ["values: rows are put together otherwise"]


def _line(row: dict[str, str], keys: list[str]) -> tuple[str, ...]:
    return tuple(row.get(key, "") for key in keys)


def pairs(there: Told, here: Told) -> list[tuple[str, str]]:
    """Numbers of the recording and of here that stand at the same place: accessions and numbers of resources."""
    if there.kind != here.kind or not isinstance(there.raw, list) or not isinstance(here.raw, list):
        return []
    if there.rows is None or here.rows is None or there.kind == "item":
        return []
    mine: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    keys = sorted(_NAMES & set(there.keys or ()) & set(here.keys or ()))
    for masked, row in zip(here.rows, here.raw, strict=True):
        mine.setdefault(_line(masked, keys), []).append(row)
    found: list[tuple[str, str]] = []
    for masked, row in zip(there.rows, there.raw, strict=True):
        same = mine.get(_line(masked, keys), [])
        if len(same) != 1:
            continue
        for key, value in row.items():
            one, other = str(value), str(same[0].get(key, ""))
            found += zip(ACCESSION.findall(one), ACCESSION.findall(other), strict=False)
            found += zip(RESOURCE.findall(one), RESOURCE.findall(other), strict=False)
            if key in ("cat_ID", "xnat_abstractresource_id") and one.isdigit() and other.isdigit():
                found.append((one, other))
    return found
