"""What has been done: append-only JSON lines, hash-chained, one writer, may be cut off at any byte."""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .errors import DiskFullError, JournalError

_FIRST = "0" * 64


def _line(previous: str, kind: str, values: dict[str, Any]) -> tuple[bytes, str]:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    body = json.dumps({"kind": kind, "at": at, **values}, ensure_ascii=True, sort_keys=True, default=str)
    link = hashlib.sha256((previous + body).encode()).hexdigest()
    return f'{{"link": "{link}", "entry": {body}}}\n'.encode(), link


def _parse(path: Path) -> tuple[list[dict], str, int]:
    """All whole entries, the last link, and the length in bytes up to which the file is whole."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise JournalError(f"The journal {path} cannot be read: {problem.strerror}.") from None
    entries, previous, whole = [], _FIRST, 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        entry, link = _read_line(line)
        body = line[len(b'{"link": "') + 64 + len(b'", "entry": ') : -1]
        if entry is None or hashlib.sha256(previous.encode() + body).hexdigest() != link:
            raise JournalError(
                f"The journal {path} was changed or damaged in line {number}.",
                "Keep it for the administrator, and start again with a new plan in a new folder.",
            )
        entries.append(entry)
        previous, whole = link, whole + len(line) + 1
    return entries, previous, whole


def _read_line(line: bytes) -> tuple[dict | None, str]:
    try:
        found = json.loads(line)
        return found["entry"], found["link"]
    except (ValueError, KeyError, TypeError):
        return None, ""


def read_journal(path: str | Path) -> list[dict]:
    """The entries of a journal, header left out; takes no lock and forgives a torn last line.

    Raises
    ------
    JournalError
        If the file cannot be read or its chain is broken before the end.
    """
    return _parse(Path(path))[0][1:]


class Journal:
    """One run's journal, open for writing by one process. Make it with :meth:`open`."""

    def __init__(self, path: Path, lock: FileLock, entries: list[dict], link: str, length: int) -> None:
        self._path, self._lock, self._link = path, lock, link
        self._entries = entries
        self._guard = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(self._file, length)
        os.lseek(self._file, 0, os.SEEK_END)

    @classmethod
    def open(cls, path: str | Path, plan_fingerprint: str) -> Journal:
        """Open or begin the journal of one plan.

        A last line that was torn by a kill is cut off.

        Raises
        ------
        JournalError
            If another process has it open, it is of another plan, or its chain is broken before the end.
        """
        path = Path(path)
        lock = FileLock(str(path) + ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise JournalError(
                f"The journal {path} is in use by another run.", "Wait for that run to end, or stop it, then run again."
            ) from None
        try:
            entries, link, length = _parse(path) if path.exists() else ([], _FIRST, 0)
            if entries and entries[0].get("plan") != plan_fingerprint:
                raise JournalError(
                    f"The journal {path} is of another plan.",
                    "Run the plan it belongs to, or give this plan a folder of its own.",
                )
            journal = cls(path, lock, entries, link, length)
            if not entries:
                journal.write("journal", plan=plan_fingerprint, format=1)
            return journal
        except BaseException:
            lock.release()
            raise

    def write(self, kind: str, **values: Any) -> None:
        """Append one entry; it is on the disk when this returns.

        Raises
        ------
        DiskFullError
            If there is no room; the journal stays whole up to the entry before.
        """
        with self._guard:
            line, link = _line(self._link, kind, values)
            try:
                done = 0
                while done < len(line):
                    done += os.write(self._file, line[done:])
                os.fsync(self._file)
            except OSError as problem:
                if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise DiskFullError(f"The disk with the journal {self._path} is full.") from None
                raise JournalError(f"The journal {self._path} cannot be written: {problem.strerror}.") from None
            self._link = link
            self._entries.append(json.loads(line)["entry"])

    def entries(self) -> Iterator[dict]:
        """All entries so far, header left out."""
        with self._guard:
            found = self._entries[1:]
        yield from found

    def last(self, kind: str, **match: Any) -> dict | None:
        """The newest entry of a kind whose values match, or None."""
        for entry in reversed(list(self.entries())):
            if entry["kind"] == kind and all(entry.get(name) == value for name, value in match.items()):
                return entry
        return None

    def close(self) -> None:
        with self._guard:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
