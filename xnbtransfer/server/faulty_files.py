"""Faults that meet things rather than requests: files on their way to the disk or into a zip, sessions, rows."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .reencode import NotDicom, read_header
from .rules import strike

STORE_FAULTS = {
    "bit-flip-on-store",
    "cut-on-store",
    "header-changed-on-store",
    "lost-on-store",
    "duplicated-on-store",
    "swapped-on-store",
    "wrong-scan-on-store",
    "disk-full",
    "bit-flip-in-zip",
    "lost-in-zip",
    "duplicated-in-zip",
    "swapped-in-zip",
    "renamed-in-zip",
    "slow-archive",
    "slow-build",
    "archive-conflict",
    "archive-error",
    "subject-race",
    "workflow-lock",
    "sharing-off",
    "stuck-receiving",
    "stuck-building",
    "rights-late",
    "former-script",
    "other-header",
}


def disk_full(thing: str) -> None:
    """Raise what a full disk raises, where a rule says so."""
    if strike("disk-full", thing):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def spoil(path: Path, thing: str) -> bool:
    """Damage a stored file where rules say so; returns whether it is another file now."""
    changed = False
    if strike("bit-flip-on-store", thing):
        changed = _flip(path)
    if rule := strike("cut-on-store", thing):
        size = path.stat().st_size
        os.truncate(path, max(0, size - int(rule.number("bytes", 512))))
        changed = True
    if strike("header-changed-on-store", thing):
        changed = _rewrite(path) or changed
    return changed


def flipped(data: bytes) -> bytes:
    """The bytes with one bit turned near their end."""
    if not data:
        return data
    changed = bytearray(data)
    changed[-max(1, min(len(data) // 4, 64))] ^= 0x10
    return bytes(changed)


def _flip(path: Path) -> bool:
    size = path.stat().st_size
    if not size:
        return False
    with open(path, "r+b") as stream:
        stream.seek(-min(4096, size), os.SEEK_END)
        start, tail = stream.tell(), stream.read()
        stream.seek(start)
        stream.write(flipped(tail))
    return True


def _rewrite(path: Path) -> bool:
    """Give a DICOM file another SeriesDescription of the same length."""
    try:
        header = read_header(io.BytesIO(path.read_bytes()))
    except NotDicom:
        return False
    old = header.text(0x0008103E) or "changed"
    header.set_text(0x0008103E, old[::-1] if old[::-1] != old else "?" * len(old))
    with open(path, "wb") as out:
        header.write(out)
    return True


def slow_archive(thing: str) -> None:
    """Wait as long as a rule says."""
    if rule := strike("slow-archive", thing):
        time.sleep(rule.number("delay_s", 1.0))


_BUILD_S_PER_FILE = 0.00085
"""What a live 1.8.11 took to build a row: 300 files in a quarter of a second, 2,000 in more than a second."""


def building(thing: str, files: int) -> None:
    """Take the time that building a row of so many files takes, and what a rule adds to it."""
    rule = strike("slow-build", thing)
    time.sleep(files * _BUILD_S_PER_FILE + (rule.number("delay_s", 1.0) if rule else 0))


def sending(members: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path, bool]]:
    """The members of a zip as rules let them pass: name, file, and whether a bit of it turns on its way."""
    held: tuple[str, Path] | None = None
    for name, path in members:
        if strike("lost-in-zip", name):
            continue
        turned = strike("bit-flip-in-zip", name) is not None
        if rule := strike("renamed-in-zip", name):
            name = str(rule.values.get("prefix", "../../")) + name
        if held is not None:
            yield held[0], path, turned
            path, held = held[1], None
        elif strike("swapped-in-zip", name):
            held = (name, path)
            continue
        yield name, path, turned
        if strike("duplicated-in-zip", name):
            folder, _, last = name.rpartition("/")
            yield f"{folder}/again_{last}", path, False
    if held is not None:
        yield (*held, False)
