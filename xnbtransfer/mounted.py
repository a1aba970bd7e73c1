"""The source's archive where it is mounted (``XNAT_DATA`` on XNAT's JupyterHub): files from disk, not downloads.

Only what the server lists with a size and an MD5 is taken from there, and what is read is checked against that MD5 as a
download is. Whatever is not there, or is not what the server lists, is downloaded.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .forms import scan_at
from .plan_file import Plan
from .xnat import Connection
from .zips import ZipMember, write_zip

_BLOCK = 1 << 20
# XNAT's JupyterHub plugin mounts the item that the server was started from: a project, or a subject or session.
_LAYOUTS = ("projects/{project}/experiments/{session}", "projects/{project}/{session}", "experiments/{session}")


def mounted_root(source: Connection) -> Path | None:
    """The folder with the archive of this server, or None where none is mounted.

    ``XNAT_DATA`` belongs to the server of ``XNAT_HOST``.
    """
    root, host = os.environ.get("XNAT_DATA", ""), os.environ.get("XNAT_HOST", "")
    if not root or host.rstrip("/") != source.server.rstrip("/") or not Path(root).is_dir():
        return None
    return Path(root)


class MountedSource:
    """A connection to the source that opens scans from a mounted archive where it can.

    Attributes
    ----------
    files_read, scans_read : int
        How many files and scan resources came from disk so far.
    """

    def __init__(self, source: Connection, plan: Plan, root: Path) -> None:
        self._source, self._root = source, root.resolve()
        self._labels = {session.session_id: session.session for session in plan.sessions}
        self._project = plan.source.project
        self._tried: set[tuple[str, str, str]] = set()
        self._listed: dict[str, list[dict]] = {}
        self._lock = threading.Lock()
        self.files_read = self.scans_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def open_scan(self, session_id: str, scan: str, resource: str):
        """A zip of one resource of a scan, as of a connection; from disk the first time, if all of it is there."""
        found = self._found(session_id, scan, resource)
        return contextlib.nullcontext(found) if found else self._source.open_scan(session_id, scan, resource)

    def open_resource(self, path: str, resource: str):
        """The same by the address of a scan, as files that go byte for byte are asked for."""
        session_id, scan = scan_at(path)
        found = self._found(session_id, scan, resource) if scan else None
        return contextlib.nullcontext(found) if found else self._source.open_resource(path, resource)

    def _found(self, session_id: str, scan: str, resource: str) -> Iterator[bytes] | None:
        at = (session_id, scan, resource)
        with self._lock:
            first = at not in self._tried
            self._tried.add(at)
        found = self._on_disk(*at) if first else None
        if not found:
            return None
        with self._lock:
            self.files_read += len(found)
            self.scans_read += 1
        return _zip_of(found)

    def _on_disk(self, session_id: str, scan: str, resource: str) -> dict[str, Path] | None:
        """Path to file of all that the server lists for a scan, or None where one is missing or of another size."""
        listed = [row for row in self._files(session_id) if (row["scan"], row["resource"]) == (scan, resource)]
        folder = self._folder(session_id, scan, resource)
        if folder is None or not listed:
            return None
        found = {}
        for row in listed:
            file = (folder / row["path"]).resolve()
            if not row["md5"] or not file.is_relative_to(self._root) or not file.is_file():
                return None
            if file.stat().st_size != row["size_bytes"]:
                return None
            found[row["path"]] = file
        return found

    def _files(self, session_id: str) -> list[dict]:
        with self._lock:
            if session_id not in self._listed:
                self._listed[session_id] = self._source.files([session_id])
            return self._listed[session_id]

    def _folder(self, session_id: str, scan: str, resource: str) -> Path | None:
        label = self._labels.get(session_id, "")
        if not label or {label, scan, resource} & {"", ".", ".."} or any("/" in one for one in (label, scan, resource)):
            return None
        for layout in _LAYOUTS:
            folder = self._root / layout.format(project=self._project, session=label) / "SCANS" / scan / resource
            if folder.is_dir():
                return folder
        return None


def _zip_of(files: dict[str, Path]) -> Iterator[bytes]:
    """A zip of files as XNAT would send it; each file is read once, one at a time."""
    members = _Members({f"/files/{path}": file for path, file in files.items()})
    try:
        yield from write_zip(members, members.read)
    finally:
        members.close()


class _Members:
    """The members of a zip; size and CRC of each are taken when it is its turn."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files, self._made = list(files.items()), []
        self._open: contextlib.ExitStack = contextlib.ExitStack()
        self._data: mmap.mmap | bytes = b""

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[ZipMember]:
        for number, (name, file) in enumerate(self._files):
            if number == len(self._made):
                self.close()
                stream = self._open.enter_context(file.open("rb"))
                size = os.fstat(stream.fileno()).st_size
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
                if size:
                    self._open.enter_context(data)
                crc = 0
                for at in range(0, size, _BLOCK):
                    crc = zlib.crc32(data[at : at + _BLOCK], crc)
                self._data = data
                self._made.append(ZipMember(name=name, size_bytes=size, crc32=crc))
            yield self._made[number]

    def read(self, member: ZipMember) -> Iterator[bytes]:
        for at in range(0, member.size_bytes, _BLOCK):
            yield self._data[at : at + _BLOCK]

    def close(self) -> None:
        self._data = b""
        self._open.close()
        self._open = contextlib.ExitStack()
