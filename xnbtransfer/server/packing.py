"""Files of many places in one answer: as a zip, as a tar, as a catalogue (XNAT source: FileList, ZipRepresentation)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from starlette.responses import Response, StreamingResponse

from . import places, zips
from .answers import NAMESPACES, Refusal, as_xml
from .places import Place
from .state import State, safe


def below(path: Path, archive: Path) -> str:
    """A file's path below the archive of the project that owns it."""
    return "/".join(path.relative_to(archive).parts[1:])


def _types(state: State, found) -> dict[str, str]:
    """The type that the folder of a scan is named by, for each number: that of the last session with such a scan.

    So a folder may have the type of another session's scan (recorded answers of 1.8.11, exchange 218).
    """
    scans = {place.scan["pk"]: place.scan for place, _, _ in found if place.scan is not None}
    return {scans[pk]["id"]: scans[pk]["type"] for pk in sorted(scans)}


def _member(state: State, place: Place, holder, path: str, query, types: dict[str, str] | None = None) -> str:
    """The name of a file in a zip."""
    structure = query.get("structure", "")
    if place.scan is not None:
        scan = place.scan
        kind = (types or {}).get(scan["id"], scan["type"])
        name = zips.scan_entry(structure, place.label, scan["id"], kind, holder["label"], path)
    else:
        label = f"{place.session.label}/assessors/{place.label}" if place.session else place.label
        label += "/in" if place.kind == places.INPUT else ""
        name = zips.resource_entry(structure, label, holder["label"], path)
    return _prefix(state, place, query) + name


def catalogue(state: State, found, base: str) -> Response:
    """The files as ``format=xcat``: their addresses, and their names in a zip."""
    entries = []
    for place, holder, row in found:
        uri = f"{base}{place.uri}/resources/{holder['pk']}/files/{row['path']}"
        name = _member(state, place, holder, row["path"], {})
        entries.append(
            f"<cat:entry URI={quoteattr(uri)} cachePath={quoteattr(name)}><cat:metaFields>"
            f'<cat:metaField name="RELATIVE_PATH">{escape(name)}</cat:metaField>'
            f'<cat:metaField name="SIZE">{row["size"]}</cat:metaField></cat:metaFields></cat:entry>'
        )
    body = f"<cat:Catalog {NAMESPACES}>\n<cat:entries>{''.join(entries)}</cat:entries>\n</cat:Catalog>"
    headers = {"Content-Disposition": 'inline; filename="files.xcat";'}
    return as_xml(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}', headers, "application/xcat")


def packed(state: State, found, query) -> Response:
    if not found:
        raise Refusal(404)
    types = _types(state, found)
    folders = {holder["pk"]: state.resource_folder(holder["pk"]) for _, holder, _ in found}

    def members():
        for place, holder, row in found:
            name = _member(state, place, holder, row["path"], query, types)
            path = (
                state.file_path(holder["pk"], row["path"])
                if "/" in row["path"]
                else folders[holder["pk"]] / safe(row["path"])
            )
            yield name, path

    label = found[0][0].label
    if query["format"] == "zip":
        headers = {"Content-Disposition": f"attachment; filename={label}.zip"}
        return StreamingResponse(zips.stored_zip(members()), media_type="application/zip", headers=headers)
    headers = {"Content-Disposition": f"attachment; filename={label}.{query['format']}"}
    gz = query["format"] == "tar.gz"
    kind = "application/x-gtar" if gz else "application/x-tar"
    return StreamingResponse(_tar(members(), gz), media_type=kind, headers=headers)


def _prefix(state: State, place: Place, query) -> str:
    """The folders of project and subject before the session's, for those who ask for them."""
    if place.kind not in ("experiment", "scan", places.INPUT):
        return ""
    found = state.one(
        "SELECT e.project, s.label AS subject FROM experiments e JOIN subjects s ON s.id=e.subject_id WHERE e.id=?",
        place.scan["experiment_id"] if place.scan else (place.session or place).key,
    )
    asked = (("projectIncludedInPath", found["project"]), ("subjectIncludedInPath", found["subject"]))
    return "".join(f"{name}/" for word, name in asked if query.get(word) == "true")


class _Pieces(list):
    """What a tar writes, in pieces; true also while it is empty, or tarfile would take it for no file."""

    write = list.append

    def __bool__(self) -> bool:
        return True


def _tar(members: Iterable[tuple[str, Path]], gz: bool) -> Iterator[bytes]:
    """A tar of files, member by member."""
    pieces = _Pieces()
    mode = "w|gz" if gz else "w|"
    with tarfile.open(fileobj=pieces, mode=mode) as out:  # type: ignore[call-overload]  # a stream is only written to
        for name, path in members:
            out.add(path, name)
            yield b"".join(pieces)
            pieces.clear()
    yield b"".join(pieces)
