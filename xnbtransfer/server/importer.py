"""Take in DICOM objects as XNAT's importers do: re-encode, anonymise, route, store in the prearchive.

`Importer` serves one request. Re-encoding and writing happen outside every lock; only the catalogue work for a batch
of files takes the lock of its prearchive session, so parallel imports of different scans of one session run side by
side and end in one row (REST test TestImport.testPrearcGradualImport).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from . import anonymise, filters, personality, unpack
from .answers import Refusal
from .faulty_files import disk_full
from .identify import Identity, clean, clean_name, identify, resource_of
from .reencode import Header, NotDicom, read_header
from .routing import Routing
from .waiting import Received, Row, Waiting

if TYPE_CHECKING:
    from .state import State

_BATCH = 100
_writing: set[tuple[str, int, str]] = set()
_writing_lock = threading.Lock()
_DEST = re.compile(
    r"/?(?:data/)?(?:(?P<archive>archive)(?:/projects/(?P<ap>[^/]+)(?:/subjects/(?P<as>[^/]+)"
    r"(?:/experiments/(?P<ae>[^/]+))?)?)?"
    r"|(?P<prearchive>prearchive)(?:/projects/(?P<pp>[^/]+)(?:/(?P<pt>[^/]+)(?:/(?P<pf>[^/]+))?)?)?)/?"
)


def is_true(value: str | None) -> bool:
    """Read a flag as XNAT does: given and neither ``false`` nor ``0``."""
    return value is not None and value.strip().lower() not in ("false", "0")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the caller of one import asked for."""

    user: str
    handler: str = "DICOM-zip"
    project: str = ""
    subject: str = ""
    session: str = ""
    where: str = ""
    """``archive``, ``prearchive`` or empty when no destination was named."""
    timestamp: str = ""
    folder: str = ""
    commit: bool = False
    auto_archive: bool | None = None
    overwrite: str = ""
    overwrite_files: bool = False
    prevent_anon: bool = False
    prevent_auto_commit: bool = False
    source: str = ""
    rename: bool = False
    ignore_unparsable: bool = False
    quarantine: bool = False
    trigger_pipelines: bool = True
    direct: bool = False
    """Straight into the archive, without a row in the prearchive."""
    routing: Routing | None = None
    """Rules of the receiver that an object came through."""

    @classmethod
    def read(cls, user: str, handler: str, given: Mapping[str, str]) -> Order:
        """Read the parameters of ``POST /data/services/import``.

        Raises
        ------
        Refusal
            400 when ``dest`` is malformed.
        """
        if given.get("prearchive_code") == "1" and "overwrite" in given:
            raise Refusal(400, "overwrite cannot be used with prearchive_code=1")  # XNAT's own check is the wrong way
        dest = given.get("dest", "").strip()
        found = _DEST.fullmatch(dest)
        if dest and not found:
            raise Refusal(400, f"Invalid destination: {dest}")
        parts = {name: value or "" for name, value in found.groupdict().items()} if found else {}
        commit = given.get("action", "") == "commit"
        auto = next((given[key] for key in ("AA", "auto-archive", "autoArchive") if key in given), None)
        return cls(
            user=user,
            handler=handler,
            project=given.get("PROJECT_ID") or given.get("project") or parts.get("ap") or parts.get("pp", ""),
            subject=clean(given.get("SUBJECT_ID") or given.get("subject") or parts.get("as", "")),
            session=clean(given.get("EXPT_LABEL") or given.get("session") or parts.get("ae", "")),
            where=next((word for word in ("archive", "prearchive") if parts.get(word)), ""),
            timestamp=parts.get("pt") or given.get("PREARC_TIMESTAMP", ""),
            folder=clean(parts.get("pf") or given.get("PREARC_SESSION_FOLDER", "")),
            commit=commit,
            auto_archive=None if auto is None else is_true(auto) and auto != "Manual",
            overwrite=given.get("overwrite", ""),
            overwrite_files=is_true(given.get("overwrite_files")),
            prevent_anon=is_true(given.get("prevent_anon")),
            prevent_auto_commit=is_true(given.get("prevent_auto_commit")),
            source=given.get("SOURCE", ""),
            rename=is_true(given.get("rename")),
            ignore_unparsable=is_true(given.get("Ignore-Unparsable")) or (commit and "Ignore-Unparsable" not in given),
            quarantine=is_true(given.get("quarantine")),
            direct=is_true(given.get("Direct-Archive")) and handler != "SI",
            trigger_pipelines=is_true(given.get("triggerPipelines", given.get("tiggerPipelines", "true"))),
        )


class Importer:
    """One import request: give it objects with `take`, then call `close` for the rows they went to."""

    def __init__(self, state: State, order: Order) -> None:
        if not personality.has(state, "ignore-unparsable"):
            order = replace(order, ignore_unparsable=False)
        if not personality.has(state, "direct-archive"):
            order = replace(order, direct=False)
        self.state, self.order = state, order
        self.waiting = Waiting(state)
        self.rows: dict[tuple[str, str, str], list[Row]] = {}
        self._filters: dict[str, list[filters.Test]] = {}
        self._pending: dict[int, list[Received]] = {}
        try:
            self._script = None if order.prevent_anon else site_script(state)
        except anonymise.ScriptError as problem:
            raise Refusal(400, f"The site's anonymisation script cannot be run: {problem}") from None
        self._projects: dict[tuple[str, ...], str] = {}
        self._incoming: dict[int, Path] = {}
        self.digests = state.site("checksums") == "true"

    def take_upload(self, stream: BinaryIO, name: str) -> None:
        """Take every object of an uploaded archive, or the one object when it is no archive.

        Raises
        ------
        Refusal
            400 for an entry that is no DICOM object (unless unparsable entries are to be ignored) and for a
            damaged archive; what came before it stays, as on XNAT.
        """
        tolerant = self.order.ignore_unparsable or self.order.handler == "SI"
        source = stream if isinstance(stream, unpack.Flow) else unpack.Flow.of(stream)
        try:
            if self.order.handler == "gradual-DICOM" or not unpack.is_archive(source):
                if self.order.handler == "DICOM-zip":
                    raise Refusal(400, f"unable to read archive {name}")
                self._take_or_skip(name, source, tolerant and self.order.handler != "gradual-DICOM")
            else:
                for entry, member in unpack.entries(source):
                    self._take_or_skip(entry, member, tolerant)
        except unpack.BROKEN as error:
            raise Refusal(400, f"unable to read archive {name}: {error}") from error
        finally:
            self.flush()

    def _take_or_skip(self, name: str, stream: BinaryIO, tolerant: bool) -> None:
        try:
            self.take(name, stream)
        except NotDicom as error:
            if not tolerant:
                raise Refusal(400, f"unable to read DICOM object {clean_name(name)}") from error
        except (OSError, anonymise.ScriptError) as error:  # XNAT's wrapper hides a full disk and a script's error, too
            raise Refusal(400, f"unable to read DICOM object {clean_name(name)}") from error

    def take(self, name: str, stream: BinaryIO) -> None:
        """Store one object; ``name`` is what the sender calls it. What a filter or script keeps out is dropped."""
        header = read_header(stream)
        found = identify(header, self.order.routing)
        if not (found.sop_class and found.sop_uid):
            raise NotDicom("no SOP class or instance UID")
        project, subject = self._project(found), self.order.subject or found.subject
        label = self.order.session or found.session
        if not all(passes(header.text) for passes in self._filters_of(project)):
            return
        if self._script:
            try:
                self._script.apply(header, anonymise.Labels(project=project, subject=subject, session=label))
            except anonymise.Rejected:
                return
        row = self._row_for(found, project, subject, label)
        with self._alone(row, found):
            self._write(row, found, header, name)

    def _write(self, row: Row, found: Identity, header: Header, name: str) -> None:
        if row.id not in self._incoming:
            self._incoming[row.id] = self.waiting.folder(row) / ".incoming"
            self._incoming[row.id].mkdir(parents=True, exist_ok=True)
        path = self._incoming[row.id] / uuid.uuid4().hex
        try:
            disk_full(f"{row.url} {name}")
            with Summing(path, digest=self.digests) as out:
                size = header.write(out)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        other_name = template_name(found, header.text(0x00200013))
        if self.order.rename or self.order.handler == "gradual-DICOM":
            name = other_name
        pending = self._pending.setdefault(row.id, [])
        pending.append(Received(
            path=path, name=clean_name(name), other_name=other_name, size=size,
            resource=resource_of(found.sop_class), identity=found, md5=out.digest(),
        ))
        if len(pending) >= _BATCH:
            self.flush()

    @contextlib.contextmanager
    def _alone(self, row: Row, found: Identity) -> Iterator[None]:
        """One object is written once at a time."""
        key = (str(self.state.folder), row.id, found.sop_uid)
        with _writing_lock:
            if key in _writing:
                raise Refusal(400, "Concurrent file sends of the same data is not supported.")
            _writing.add(key)
        try:
            yield
        finally:
            with _writing_lock:
                _writing.discard(key)

    def flush(self) -> None:
        """Enter what was written so far into the catalogue."""
        rows = {row.id: row for some in self.rows.values() for row in some}
        for row_id, files in list(self._pending.items()):
            del self._pending[row_id]
            if files:
                self.waiting.add_files(rows[row_id], files)

    def _row_for(self, found: Identity, project: str, subject: str, label: str) -> Row:
        """The row of an object. Where two rows of one key wait, they share what comes, as seen on a live server."""
        order = self.order
        key = (project, found.study_uid, label)
        single = order.handler == "SI"
        if key not in self.rows:
            if single and self.rows:  # one session per request, whatever the headers say
                return next(iter(self.rows.values()))[0]
            auto = found.auto_archive if order.auto_archive is None else order.auto_archive
            self.rows[key] = self.waiting.find_or_create(
                project=project, study_uid=found.study_uid, label=label, subject=subject, user=order.user,
                auto_archive=auto, prevent_anon=order.prevent_anon, prevent_auto_commit=order.prevent_auto_commit,
                source=order.source, timestamp=order.timestamp, folder=order.folder, fresh=single,
                one_study=not single and personality.has(self.state, "one-study-per-row"), date=found.date,
                direct=order.direct,
            )
        rows = self.rows[key]
        return rows[0] if len(rows) == 1 else rows[zlib.crc32(found.sop_uid.encode()) % len(rows)]

    def _filters_of(self, project: str) -> list[filters.Test]:
        if project not in self._filters:
            try:
                self._filters[project] = filters.of(self.state, project)
            except filters.FilterError as problem:
                raise Refusal(400, f"The series import filter cannot be used: {problem}") from None
        return self._filters[project]

    def _project(self, found: Identity) -> str:
        names = (self.order.project, *found.projects, "" if self.order.handler == "SI" else found.accession)
        if names not in self._projects:
            self._projects[names] = next(
                (project for name in names if name and (project := self.waiting.project(self.order.user, name))),
                "Unassigned",
            )
        return self._projects[names]

    def close(self) -> list[Row]:
        """Finish and return the rows that received something, in the order they were first used."""
        self.flush()
        unique = {row.id: row for some in self.rows.values() for row in some}
        return [replace(row) for row in unique.values()]


class Summing:
    """A new file that is summed while it is written."""

    def __init__(self, path: Path, *, digest: bool) -> None:
        self._out = open(path, "wb", buffering=0)
        self._md5 = hashlib.md5(usedforsecurity=False) if digest else None

    def write(self, data: bytes) -> int:
        if self._md5:
            self._md5.update(data)
        return self._out.write(data)

    def digest(self) -> str:
        """The MD5 of what was written, empty where none was wanted."""
        return self._md5.hexdigest() if self._md5 else ""

    def __enter__(self) -> Summing:
        return self

    def __exit__(self, *problem: object) -> None:
        self._out.close()


def template_name(found: Identity, instance: str) -> str:
    """Name a file from its header, as the site's file name template does."""
    digest = hashlib.sha1(f"{found.sop_class}{found.sop_uid}".encode(), usedforsecurity=False).digest()
    number, text = int.from_bytes(digest[:5], "big"), ""
    while number:
        number, rest = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + text
    return f"{found.study_uid}-{found.series_number}-{instance or 1}-{text}.dcm"


def site_script(state: State) -> anonymise.Script | None:
    """Return the site's script, or None when it is switched off."""
    if state.site("enableSitewideAnonymizationScript") != "true":
        return None
    text = state.site("sitewideAnonymizationScript")
    return _compile(anonymise.DEFAULT_SITE_SCRIPT if text is None else text, "1")


def project_script(state: State, project: str) -> anonymise.Script | None:
    """Return the project's script, or None when it has none or it is switched off."""
    found = state.row("SELECT rowid AS number, anon_script, anon_enabled FROM projects WHERE id=?", project)
    if found is None or not found["anon_enabled"]:
        return None
    return _compile(found["anon_script"] or "", str(found["number"] + 1))


def _compile(text: str, script_id: str) -> anonymise.Script | None:
    return anonymise.compile_script(text, script_id) if text.strip() else None


def anonymise_file(path: Path, script: anonymise.Script, labels: anonymise.Labels) -> tuple[int, str]:
    """Run ``script`` over the file at ``path`` in place; return its new size and SOPInstanceUID.

    A file that is no DICOM object stays as it is, with an empty UID; so does one that the script rejects, by
    `anonymise.Rejected`.
    """
    new = path.with_name(f".{path.name}.anon")
    try:
        with open(path, "rb") as stream, open(new, "wb", buffering=0) as out:
            header = read_header(stream)
            script.apply(header, labels)
            size = header.write(out)
    except NotDicom:
        new.unlink(missing_ok=True)
        return path.stat().st_size, ""
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    os.replace(new, path)
    return size, header.text(0x00080018)
