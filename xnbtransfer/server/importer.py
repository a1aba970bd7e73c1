"""Take in DICOM objects as XNAT's importers do: re-encode, anonymise, route, store in the prearchive.

`Importer` serves one request. Re-encoding and writing happen outside every lock; only the catalogue work for a batch
of files takes the lock of its prearchive session, so parallel imports of different scans of one session run side by
side and end in one row (REST test TestImport.testPrearcGradualImport).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import anonymise, filters, personality, unpack
from .answers import Refusal
from .faulty_files import disk_full
from .identify import Identity, clean, clean_name, identify, resource_of
from .reencode import Header, NotDicom, read_header
from .routing import Routing
from .waiting import Waiting
from .waiting_rows import Received, Row

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
    named: bool = False
    """Whether the caller named the handler."""
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
            named=bool(given.get("import-handler")),
            project=given.get("PROJECT_ID") or given.get("project") or parts.get("ap") or parts.get("pp", ""),
            subject=given.get("SUBJECT_ID") or given.get("subject") or parts.get("as", ""),
            session=given.get("EXPT_LABEL") or given.get("session") or parts.get("ae", ""),
            where=next((word for word in ("archive", "prearchive") if parts.get(word)), ""),
            timestamp=parts.get("pt") or given.get("PREARC_TIMESTAMP", ""),
            folder=parts.get("pf") or given.get("PREARC_SESSION_FOLDER", ""),
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
        self._now: dict[int, Row] = {}
        """The row that files go to in place of another, which was archived, moved or deleted meanwhile."""
        self._filled: dict[int, Row] = {}
        self._filters: dict[str, list[filters.Test]] = {}
        self._pending: dict[int, list[Received]] = {}
        self._script = None if order.prevent_anon else site_script(state)
        self._turn = 0
        self._projects: dict[tuple[str, ...], str] = {}
        self.digests = state.site("checksums") == "true"

    def take_upload(self, stream: unpack.Source, name: str) -> None:
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
            if self.order.handler == "DICOM-zip" and self.order.named and not self._opens(name, source):
                return  # Java's zip reader finds no entry in what is no zip (recorded from 1.8.11: n470-n472)
            if self.order.handler == "gradual-DICOM" or not unpack.is_archive(source):
                if self.order.handler == "DICOM-zip" and source.peek(1):
                    raise Refusal(400, f"unable to read archive {name}")
                if self.order.handler == "DICOM-zip":
                    return
                self._take_or_skip(name, source, tolerant and self.order.handler != "gradual-DICOM")
            else:
                for entry, member in unpack.entries(source):
                    self._take_or_skip(entry, member, tolerant)
        except unpack.BROKEN as error:
            raise Refusal(400, f"unable to read archive {name}: {error}") from error
        finally:
            self.flush()

    def _opens(self, name: str, source: unpack.Flow) -> bool:
        """Whether XNAT finds entries in an upload of this name, which alone tells it what to expect.

        Raises
        ------
        Refusal
            400 when the name is that of no archive (recorded from 1.8.11: n473).
        """
        kind = unpack.kind(name)
        if "." not in name:  # no type was given
            return unpack.is_archive(source)
        if not kind:
            raise Refusal(400, "Unsupported format UNKNOWN")
        if kind == "zip":
            return source.peek(2) == b"PK"
        return personality.has(self.state, "late-files-join")  # a tar is 200 and nothing stored (recorded from 1.6.4)

    def _take_or_skip(self, name: str, stream: unpack.Source, tolerant: bool) -> None:
        try:
            self.take(name, stream)
        except NotDicom as error:
            if not tolerant:
                raise Refusal(400, f"unable to read DICOM object {clean_name(name)}") from error
        except (OSError, anonymise.ScriptError) as error:  # XNAT's wrapper hides a full disk and a script's error, too
            raise Refusal(400, f"unable to read DICOM object {clean_name(name)}") from error

    def take(self, name: str, stream: unpack.Source) -> None:
        """Store one object; ``name`` is what the sender calls it. What a filter or script keeps out is dropped.

        The row is made before the site's script runs, which sees its folder's name as the session: a row stays that
        holds nothing when the script rejects its only object, and goes again when the script fails in its first
        (XNAT source: ``GradualDicomImporter``; seen on a live 1.8.11).
        """
        header = read_header(stream)
        found = identify(header, self.order.routing)
        if not (found.sop_class and found.sop_uid):
            raise NotDicom("no SOP class or instance UID")
        project, subject = self._project(found), self.order.subject or found.subject
        label = self.order.session or found.session
        if not all(passes(header.text) for passes in self._filters_of(project)):
            return
        row, made = self._row_for(found, project, subject, label)
        with self._alone(row, found):
            if self._script:
                labels = anonymise.Labels(project=row.project, subject=row.subject, session=row.folder)
                try:
                    self._script.apply(header, labels)
                except anonymise.Rejected:
                    return
                except anonymise.ScriptError:
                    if made:
                        self.waiting.delete(row)
                        self.rows = {key: rows for key, rows in self.rows.items() if row not in rows}
                    raise
            self._write(row, found, header, name)

    def _write(self, row: Row, found: Identity, header: Header, name: str) -> None:
        """Write one object; of one whose stream breaks off what has come stays, without the script.

        XNAT writes first and runs the script over the file then (XNAT source: ``GradualDicomImporter``).
        """
        path, broken = self.state.temporary(), None
        try:
            disk_full(f"{row.url} {name}")
            with Summing(path, digest=self.digests) as out:
                size = header.write(out)
            md5 = out.digest()
        except OSError:
            path.unlink(missing_ok=True)
            raise
        except Exception as problem:  # the stream ended, the connection too
            broken, size, md5 = problem, path.stat().st_size, out.digest()
        other_name = template_name(found, header.text(0x00200013))
        if self.order.rename or self.order.handler == "gradual-DICOM":
            name = other_name
        pending = self._pending.setdefault(row.id, [])
        pending.append(Received(
            path=path, name=clean_name(name), other_name=other_name, size=size,
            resource=resource_of(found.sop_class), identity=found, md5=md5,
        ))
        if len(pending) >= _BATCH or broken:
            self.flush()
        if broken:
            raise broken

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
                row = self.waiting.add_files(self._now.get(row_id, rows[row_id]), files)
                self._now[row_id] = self._filled[row.id] = row

    def _row_for(self, found: Identity, project: str, subject: str, label: str) -> tuple[Row, bool]:
        """The row of an object, and whether it was made for it. Where several take it, they share what comes."""
        order = self.order
        key = (project, found.study_uid, label)
        single, made = order.handler == "SI", False
        if key not in self.rows:
            if single and self.rows:  # one session per request, whatever the headers say
                return next(iter(self.rows.values()))[0], False
            auto = found.auto_archive if order.auto_archive is None else order.auto_archive
            self.rows[key], made = self.waiting.find_or_create(
                project=project, study_uid=found.study_uid, label=label, subject=subject, user=order.user,
                auto_archive=auto, prevent_anon=order.prevent_anon, prevent_auto_commit=order.prevent_auto_commit,
                source=order.source, timestamp=order.timestamp, folder=order.folder, fresh=single,
                one_study=not single and personality.has(self.state, "one-study-per-row"), date=found.date,
                time=found.time, direct=order.direct and not self._archived(project, label),
            )
        rows = self.rows[key]
        self._turn += 1
        return rows[self._turn % len(rows)], made

    def _archived(self, project: str, label: str) -> bool:
        """Whether the archive has a session of this label: what is to be archived directly then waits like others."""
        found = self.state.row("SELECT 1 FROM experiments WHERE project=? AND label=?", project, clean(label))
        return found is not None

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
        return list(self._filled.values())


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
    """Name a file from its header, as the site's file name template does.

    ``${StudyInstanceUID}-${SeriesNumber}-${InstanceNumber}-${HashSOPClassUIDWithSOPInstanceUID}``, whose last part is
    Java's hash of both as a number without sign, to the base 36 (recorded from 1.8.11: s303, s315).
    """
    number, text = 0, ""
    for part in (found.sop_class, found.sop_uid):
        number = 31 * (number or 1) + _java_hash(part) & 0xFFFFFFFF
    while number:
        number, rest = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + text
    return f"{found.study_uid}-{found.series_number}-{instance or 1}-{text}.dcm"


def _java_hash(text: str) -> int:
    """Java's hash of a text of letters that it keeps in one unit each.

    >>> _java_hash("1.2.840")
    1902550267
    """
    found = 0
    for letter in text:
        found = 31 * found + ord(letter) & 0xFFFFFFFF
    return found


def site_script(state: State) -> anonymise.Script | None:
    """Return the site's script, or None when it is switched off."""
    if state.site("enableSitewideAnonymizationScript") != "true":
        return None
    text = state.site("sitewideAnonymizationScript")
    return anonymise.of(state, anonymise.default_site_script(state) if text is None else text, "1")


def project_script(state: State, project: str) -> anonymise.Script | None:
    """Return the project's script, or None when it has none or it is switched off.

    A text of white space is a script, too, which sets nothing and leaves its stamp (seen on a live 1.8.11).
    """
    found = state.row("SELECT rowid AS number, anon_script, anon_enabled FROM projects WHERE id=?", project)
    if found is None or not found["anon_enabled"] or not found["anon_script"]:
        return None
    return anonymise.of(state, found["anon_script"], str(found["number"] + 1))


def anonymise_file(path: Path, script: anonymise.Script, labels: anonymise.Labels) -> tuple[int, str]:
    """Run ``script`` over the file at ``path`` as the next one of its run; return its new size and SOPInstanceUID.

    A file that is no DICOM object stays as it is, with an empty UID.

    Raises
    ------
    anonymise.Rejected, anonymise.ScriptError
        The file is as before; the error has what the engine left of it.
    """
    new, data = path.with_name(f".{path.name}.anon"), path.read_bytes()
    try:
        read_header(io.BytesIO(data))
    except NotDicom:
        return len(data), ""
    left = script.over(data, labels)
    try:
        new.write_bytes(left)
        os.replace(new, path)  # a file of its own where it had several names
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    with contextlib.suppress(NotDicom):
        return len(left), read_header(io.BytesIO(left)).text(0x00080018)
    return len(left), ""
