"""Zips as XNAT streams them: stored, no length in advance (XNAT source: ZipRepresentation)."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from .faulty_files import flipped, sending

_LIMIT = 0xFFFFFFFF
_PIECE = 1 << 20


def stored_zip(members: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """A zip of stored files with size and CRC in the local headers, in pieces of about a megabyte."""
    offset = 0
    count = 0
    central = bytearray()
    pending = bytearray()
    for name, path, turned in sending(members):
        size = path.stat().st_size
        raw = name.encode()
        crc = 0
        small = path.read_bytes() if size <= 4 * _PIECE or turned else None
        if small is not None:
            small = flipped(small) if turned else small
            crc = zlib.crc32(small)
        else:
            with open(path, "rb") as stream:
                while piece := stream.read(_PIECE):
                    crc = zlib.crc32(piece, crc)
        big = size >= _LIMIT
        shown = _LIMIT if big else size
        extra = struct.pack("<HHQQ", 1, 16, size, size) if big else b""
        version = 45 if big else 20
        header = struct.pack(
            "<4sHHHHHLLLHH", b"PK\x03\x04", version, 0x0800, 0, 0, 0x21, crc, shown, shown, len(raw), len(extra)
        )
        pending += header + raw + extra
        if small is not None:
            pending += small
            if len(pending) >= _PIECE:
                yield bytes(pending)
                pending.clear()
        else:
            yield bytes(pending)
            pending.clear()
            with open(path, "rb") as stream:
                while piece := stream.read(_PIECE):
                    yield piece
        wide = b""
        if big:
            wide += struct.pack("<QQ", size, size)
        if offset >= _LIMIT:
            wide += struct.pack("<Q", offset)
        extra_central = struct.pack("<HH", 1, len(wide)) + wide if wide else b""
        central += struct.pack(
            "<4sHHHHHHLLLHHHHHLL",
            b"PK\x01\x02", 45, version, 0x0800, 0, 0, 0x21, crc, shown, shown, len(raw), len(extra_central), 0, 0, 0, 0,
            min(offset, _LIMIT),
        )  # fmt: skip
        central += raw + extra_central
        offset += len(header) + len(raw) + len(extra) + size
        count += 1
    pending += central
    if count >= 0xFFFF or offset >= _LIMIT or len(central) >= _LIMIT:
        pending += struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(central), offset)
        pending += struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + len(central), 1)
    few = min(count, 0xFFFF)
    pending += struct.pack(
        "<4sHHHHLLH", b"PK\x05\x06", 0, 0, few, few, min(len(central), _LIMIT), min(offset, _LIMIT), 0
    )
    yield bytes(pending)


def scan_entry(structure: str, session: str, scan: str, scan_type: str, resource: str, path: str) -> str:
    """The name of a scan file in a zip, by ``structure=``."""
    kind = re.sub(r"\W", "_", scan_type)
    if structure == "simplified":
        return f"{session}/scans/{scan}/{resource}/{path}"
    if structure == "improved":
        return f"scans/{scan}_{kind}/{resource}/{path}"
    if structure == "legacy":
        return f"{session}/SCANS/{scan}/{resource}/{path}"
    suffix = f"-{kind}" if kind else ""
    return f"{session}/scans/{scan}{suffix}/resources/{resource}/files/{path}"


def resource_entry(structure: str, label: str, resource: str, path: str) -> str:
    """The name of a file of a session's (subject's, project's) own resource in a zip."""
    if structure == "simplified":
        return f"{label}/{resource}/{path}"
    if structure == "legacy":
        return f"{label}/RESOURCES/{resource}/{path}"
    return f"{label}/resources/{resource}/files/{path}"
