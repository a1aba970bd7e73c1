"""What has been done: append-only JSON lines, hash-chained, one writer, may be cut off at any byte."""

from __future__ import annotations

import contextlib
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

from .errors import DiskFullError, JournalError, XnbTransferError
from .outputs import file_mode, make_folder

JOURNAL = "journal.jsonl"  # its name in the folder of a run, and in a record
_FIRST = "0" * 64
_HEAD, _MIDDLE, _TAIL = b'{"link": "', b'", "entry": ', b"}"


def _line(previous: str, kind: str, values: dict[str, Any]) -> tuple[bytes, str]:
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    body = json.dumps({"kind": kind, "at": at, **values}, ensure_ascii=True, sort_keys=True, default=str)
    link = hashlib.sha256((previous + body).encode()).hexdigest()
    return _wrap(body.encode(), link) + b"\n", link


def _wrap(body: bytes, link: str) -> bytes:
    return _HEAD + link.encode() + _MIDDLE + body + _TAIL


def _parse(path: Path) -> tuple[list[dict], str, int]:
    """All whole entries, the last link, and the length in bytes up to which the file is whole."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise JournalError(f"The journal {path} cannot be read: {problem.strerror}.") from None
    entries, previous, whole = [], _FIRST, 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        body = line[len(_HEAD) + 64 + len(_MIDDLE) : -len(_TAIL)]
        link = hashlib.sha256(previous.encode() + body).hexdigest()
        # compared with the line as we would write it, so that even a changed blank between the fields is seen
        if _wrap(body, link) != line:
            raise JournalError(
                f"The journal {path} was changed or damaged in line {number}.",
                "Keep it for the administrator, and start again with a new plan in a new folder.",
            )
        entries.append(json.loads(body))
        previous, whole = link, whole + len(line) + 1
    return entries, previous, whole


def read_journal(path: str | Path) -> list[dict]:
    """The entries of a journal, header left out; takes no lock and forgives a torn last line.

    Raises
    ------
    JournalError
        If the file cannot be read or its chain is broken before the end.
    """
    return _parse(Path(path))[0][1:]


def in_use(path: str | Path) -> bool:
    """Whether a run is writing to this journal now."""
    lock = FileLock(f"{path}.lock", mode=file_mode())
    if not os.path.exists(lock.lock_file):
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


class Journal:
    """One run's journal, open for writing by one process. Make it with :meth:`open`."""

    def __init__(self, path: Path, lock: FileLock, entries: list[dict], link: str, length: int) -> None:
        self._path, self._lock, self._link = path, lock, link
        self._entries, self._length = entries, length
        self._guard, self._settling = threading.Lock(), threading.Lock()
        self._settled = length  # up to here it is on the disk for certain
        self._broken: OSError | None = None  # the disk refused what was written: nothing can follow it
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), file_mode())
        self._cut()

    def _cut(self) -> None:
        """Take away whatever stands after the last whole line."""
        os.ftruncate(self._file, self._length)
        os.lseek(self._file, self._length, os.SEEK_SET)

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
        lock = FileLock(str(path) + ".lock", mode=file_mode())
        try:
            make_folder(path.parent)
            lock.acquire(timeout=0)
        except OSError as problem:  # Timeout is one too
            if not isinstance(problem, Timeout):
                raise JournalError(f"The journal {path} cannot be written: {problem.strerror}.") from None
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
            try:
                journal = cls(path, lock, entries, link, length)
            except OSError as problem:
                raise JournalError(f"The journal {path} cannot be written: {problem.strerror}.") from None
            if not entries:
                journal.write("journal", plan=plan_fingerprint, format=1)
            return journal
        except BaseException:
            lock.release()
            raise

    def write(self, kind: str, *, settle: bool = True, **values: Any) -> None:
        """Append one entry; it is on the disk when this returns.

        Parameters
        ----------
        settle : bool
            Whether to wait for the disk. Without it an entry outlives a kill, and a power cut from the next settled
            entry on: enough for what the next run can see at a server itself.

        Raises
        ------
        DiskFullError
            If there is no room; the journal stays whole up to the entry before.
        """
        with self._guard:
            self._refuse_if_broken()
            line, link = _line(self._link, kind, values)
            try:
                done = 0
                while done < len(line):
                    done += os.write(self._file, line[done:])
            except OSError as problem:
                # without this cut the next entry would follow half a line, and the chain would be broken there
                with contextlib.suppress(OSError):
                    self._cut()
                raise self._told(problem) from None
            self._link, self._length = link, self._length + len(line)
            self._entries.append(json.loads(line)["entry"])
            length = self._length
        if settle:
            self._settle(length)

    def _settle(self, length: int) -> None:
        """Wait until the disk has the first ``length`` bytes; what was written meanwhile goes with them."""
        with self._settling:
            if self._settled >= length:
                return
            with self._guard:
                self._refuse_if_broken()
                length = self._length
            try:
                os.fsync(self._file)
            except OSError as problem:
                with self._guard:
                    self._broken, self._length = problem, self._settled
                    with contextlib.suppress(OSError):
                        self._cut()
                raise self._told(problem) from None
            self._settled = length

    def _refuse_if_broken(self) -> None:
        if self._broken is not None:
            raise self._told(self._broken)

    def _told(self, problem: OSError) -> XnbTransferError:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DiskFullError(f"The disk with the journal {self._path} is full.")
        return JournalError(f"The journal {self._path} cannot be written: {problem.strerror}.")

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
        """Close the file and let the next writer in; a second call does nothing."""
        with self._settling, self._guard:
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    if self._settled < self._length:
                        os.fsync(self._file)
                os.close(self._file)
                self._file = -1
                self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
