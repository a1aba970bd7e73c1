"""Open what a client uploads: zip, tar, tgz, archives inside archives, or one file alone."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)
"""What reading a damaged archive raises."""


def is_archive(stream: BinaryIO) -> bool:
    """Say whether ``stream`` holds a zip, tar or compressed tar, by its first bytes; the position is kept."""
    start = stream.tell()
    head = stream.read(262)
    stream.seek(start)
    return head[:2] in (b"PK", b"\x1f\x8b") or head[257:262] == b"ustar"


def entries(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """Yield name and stream of each file in the archive ``stream``, in the archive's order.

    A stream is to be read before the next one is asked for. Archives inside the archive are opened in turn.

    Raises
    ------
    zipfile.BadZipFile, tarfile.TarError
        If the archive is damaged, also in the middle (see `BROKEN`).
    """
    start = stream.tell()
    zipped = stream.read(2) == b"PK"
    stream.seek(start)
    for name, member in _zip_entries(stream) if zipped else _tar_entries(stream):
        if _hidden(name):
            continue
        if name.lower().endswith(_ARCHIVES):
            with tempfile.TemporaryFile() as spool:
                _copy(member, spool)
                yield from entries(spool)
        else:
            yield name, member


def _zip_entries(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as member:
                    yield info.filename, member


def _tar_entries(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        for info in archive:
            if info.isfile() and (member := archive.extractfile(info)) is not None:
                yield info.name, member


def _hidden(name: str) -> bool:
    return "__MACOSX" in name or name.rsplit("/", 1)[-1] in ("", ".DS_Store")


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while block := source.read(1 << 20):
        target.write(block)
    target.seek(0, io.SEEK_SET)
