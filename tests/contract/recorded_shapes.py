"""What kind of answer a body is, so that two servers can be compared: keys, types, names, states, short texts."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from xml.etree import ElementTree

import requests

STAMP = re.compile(r"\d{8}_\d{6,}")
"""The second in which a prearchive row was made, as its address has it."""


def shape(content_type: str, body: bytes) -> object:
    """What kind of answer a body is: the keys of a table, the type of an item, the entries of a zip, a short text."""
    if body[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return {"zip": sorted(name for name in archive.namelist() if not name.endswith("/"))}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "bytes"
    if "\0" in text:
        return "bytes"
    if not text.strip():
        return "nothing"
    if "<h3>" in text:
        return "page"
    if text.lstrip()[:1] == "{":
        return _json_shape(json.loads(text))
    if text.lstrip()[:1] == "<":
        return _xml_shape(text)
    if "csv" in content_type:
        return {"csv": sorted(next(csv.reader([text.splitlines()[0]])))}
    return _text_shape(text)


def _json_shape(found: dict) -> object:
    if "ResultSet" in found:
        rows = found["ResultSet"]["Result"]
        keys = {re.sub(r"_\d+$", "_{user}", key) for key in (rows[0] if rows else ())}
        return {"table": sorted(keys), "beside": sorted(set(found["ResultSet"]) - {"Result"})}
    if "items" in found:
        kind = found["items"][0]["meta"]["xsi:type"]
        return {"item": "session" if kind.endswith("SessionData") else kind}
    return {"json": sorted(found)}


def _xml_shape(text: str) -> object:
    if "<html" in text[:200].lower():
        return "html"
    root = ElementTree.fromstring(text.encode())
    return {"xml": root.tag.rpartition("}")[2]}


def _text_shape(text: str) -> object:
    line = text.strip()
    if re.fullmatch(r"\w+_[SE]\d{5,}", line):
        return "accession number"
    return {"text": line} if re.fullmatch(r"[\w.]{1,20}", line) else "text"


def detail(there: dict, answer: requests.Response) -> dict | None:
    """What a recorded shape tells beyond the keys: rows with their states, codes of conflicts, files of folders."""
    kind = next(iter(there))
    if kind == "zip folders":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            folders = [name.rpartition("/")[0] for name in archive.namelist() if not name.endswith("_catalog.xml")]
        return {kind: {folder: folders.count(folder) for folder in folders}}
    if kind == "zip sessions":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            sessions = [name.partition("/")[0] for name in archive.namelist() if name.endswith(".dcm")]
        return {kind: {session: sessions.count(session) for session in sessions}}
    if kind == "addresses":
        return {kind: sorted(STAMP.sub("{timestamp}", line) for line in answer.text.split())}
    if kind == "user":
        return {kind: answer.text.partition("'")[2].partition("'")[0]}
    if kind == "session" and "JSESSIONID" in answer.cookies:
        return {kind: "as in the cookie" if answer.text.startswith(answer.cookies["JSESSIONID"]) else answer.text}
    if kind not in ("rows", "codes", "values") or answer.text[:1] != "{":
        return None
    columns = {"rows": ("project", "folderName", "status"), "codes": ("code",), "values": ("tag1", "value")}[kind]
    rows = answer.json()["ResultSet"]["Result"]
    return {kind: sorted([row.get(column, "") for column in columns] for row in rows)}
