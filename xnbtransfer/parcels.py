"""One resource carried byte for byte: read as a zip, checked against what is listed, put, listed again, proved.

Nothing is sent that is there already. After a lost or failed answer the destination is listed before anything is sent
again, so a resource that was cut off goes on where it stopped.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .dicom import DicomError, read_header
from .errors import RefusedError, ServerError, TransientError, XnbTransferError
from .foretell import header_of, stamped
from .old_lists import BECAUSE as OF_BEFORE
from .old_lists import CATALOG, OLD_LIST, Beside, is_told, of_before, with_catalog
from .once import TOO_LARGE, send_and_look, too_large
from .streams import Spool, whole
from .values import Labelled, Verdict, manifest_row
from .xnat import Connection
from .zips import Limits, ZipMember, read_zip

_TRIES = 5
_BATCH_BYTES = 256 << 20
_BATCH_FILES = 1000
_PLAIN = re.compile(r"[\w. ()+,=@\[\]/-]+", re.ASCII)  # what comes through a zip and XNAT's filters as it is

Listing = Mapping[str, tuple[int, str]]


_SCAN_FIELDS = ("type", "quality", "note", "series_description")


def make_scan(
    destination: Connection, session_id: str, scan: str, about: Mapping[str, str], reason: str, where: str
) -> None:
    """Make a scan of an archived session as it is at the source, where the session has none of that number.

    ``about`` is a row of ``scan_list`` of the source.

    Raises
    ------
    RefusedError
        If the source does not tell of which type it is.
    """
    if scan in {one["scan"] for one in destination.scan_list(session_id)}:
        return
    kind = about.get("xsi_type", "")
    if not kind:
        raise RefusedError(f"The source no longer lists scan {scan} of {where}.", "Plan again.")
    fields = {f"{kind}/{name}": about[name] for name in _SCAN_FIELDS if about.get(name)}
    if about.get("SeriesInstanceUID"):
        fields[f"{kind}/UID"] = about["SeriesInstanceUID"]
    send_and_look(
        lambda: destination.make_scan(session_id, scan, kind, fields, reason),
        lambda problem: _made_as_asked(destination, session_id, scan, kind, about, where),
        f"Scan {scan} of {where}",
        remedy="Ask an owner of the project for the right to edit.",
    )


def _made_as_asked(
    destination: Connection, session_id: str, scan: str, kind: str, about: Mapping[str, str], where: str
) -> bool | None:
    """Whether a scan is there, of the type and the series that were asked for; None where it is not.

    Raises
    ------
    ServerError
        It is there as something else: nothing is put below it.
    """
    made = next((one for one in destination.scan_list(session_id) if one["scan"] == scan), None)
    if made is None:
        return None
    series = about.get("SeriesInstanceUID", "")
    if made["xsi_type"] != kind or made["SeriesInstanceUID"] != series:
        raise ServerError(
            f"Scan {scan} of {where} was made, and has another type or series than was asked for.",
            "Look at that session; nothing was put into the scan.",
        )
    return True


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A resource on its way.

    Attributes
    ----------
    source, destination : str
        Addresses of the items that have it.
    listed : mapping
        Path to (size in bytes, MD5 or ""), as the source lists it.
    overwrite : bool
        Whether files of the destination with another content may be replaced.
    about : mapping
        ``format`` and ``content`` for the catalogue.
    twice : bool
        Whether a resource with files of no listed MD5 is read once more, so that damage on the way out shows.
    dicom : bool
        Whether it is the DICOM of a scan: which instance a file is, is told then, and that its list is of before an
        anonymisation.
    session_id, scan, beside :
        Of a scan: where it is at the source, and what is listed of all scans of the session.
    """

    source: str
    destination: str
    resource: str
    listed: Listing
    overwrite: bool = False
    about: Mapping[str, str] = field(default_factory=dict)
    twice: bool = False
    dicom: bool = False
    session_id: str = ""
    scan: str = ""
    beside: Beside = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """One file of a parcel and what became of it; sizes in bytes."""

    path: str
    size_bytes: int
    md5: str
    there_size_bytes: int = 0
    there_md5: str = ""
    verdict: Verdict
    because: str
    read_in: str = ""
    way_out: str = ""
    instance: str = ""  # the SOPInstanceUID, as it was read back; "" where it was not asked for, or the file has none

    def row(self, of: Labelled, scan: str, resource: str, *, at: str = "") -> dict:
        """This file as a row of MANIFEST_COLUMNS; ``at`` is its scan at the destination, where that is another."""
        return manifest_row(
            of,
            scan=scan,
            resource=resource,
            path=self.path,
            size_bytes=self.size_bytes,
            md5=self.md5,
            SOPInstanceUID=self.instance,
            destination_scan=at or scan,
            destination_path=self.path if self.there_md5 or self.there_size_bytes else "",
            destination_size_bytes=self.there_size_bytes,
            destination_md5=self.there_md5,
            read_in=self.read_in,
            way_out=self.way_out,
            verdict=str(self.verdict),
            because=self.because,
        )


def carry(
    parcel: Parcel,
    source: Connection,
    destination: Connection,
    *,
    reason: str = "",
    read_back: bool = True,
    mine: Iterable[str] = (),
    spool_folder: str | None = None,
    note: Callable[[list[str]], None] = lambda paths: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[list[Arrived], list[str]]:
    """Bring all files of a parcel to the destination and prove each.

    Parameters
    ----------
    read_back : bool
        Whether every file is read back; else the MD5 that the destination lists decides, and a file without one
        cannot be proved.
    mine : iterable of str
        Paths that an earlier run of the same plan has sent: they may be sent again where they arrived damaged.
    note : callable
        Is told the paths before each upload.

    Returns
    -------
    list of Arrived
        One per listed file.
    list of str
        Paths of the resource at the destination that the source does not list.
    """
    one = Carrying(
        parcel,
        source,
        destination,
        reason=reason,
        mine=mine,
        spool_folder=spool_folder,
        note=note,
        stopping=stopping,
    )
    return one.prove(read_back=read_back)


def listing(destination: Connection, path: str, resource: str) -> dict[str, tuple[int, str]]:
    """What a resource holds now: path to (size in bytes, MD5 or "")."""
    return {row["path"]: (row["size_bytes"], row["md5"]) for row in destination.files_below(path, resource)}


def prove(destination: Connection, path: str, resource: str, listed: Listing) -> list[Arrived]:
    """Read a resource back and judge each file by what it was when it was carried. Sends nothing."""
    parcel = Parcel(source="", destination=path, resource=resource, listed=listed)
    one = Carrying(parcel, destination, destination)
    there = one.read_back(listing(destination, path, resource))
    return [one.judge(name, there, True) for name in sorted(listed)]


class Carrying:
    """A parcel on its way; parameters as of :func:`carry`."""

    def __init__(
        self,
        parcel: Parcel,
        source: Connection,
        destination: Connection,
        *,
        reason: str = "",
        mine: Iterable[str] = (),
        spool_folder: str | None = None,
        note: Callable[[list[str]], None] = lambda paths: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.parcel, self.source, self.destination = parcel, source, destination
        self.reason, self.spool_folder, self.note, self.stopping = reason, spool_folder, note, stopping
        self.ours = set(mine)  # paths that were sent, and may be sent again
        self.again: set[str] = set()
        self.read: dict[str, tuple[int, str]] = {}
        self.again_read: dict[str, tuple[int, str]] = {}
        self.instances: dict[str, str] = {}
        self.doubts: collections.Counter[str] = collections.Counter()  # how often a file did not come as listed
        self.catalogued: frozenset[str] = frozenset()  # files whose MD5 the catalogue has, and the list has not
        self.old: frozenset[str] = frozenset()  # files whose listed MD5 is of before an anonymisation
        self.before: dict[str, tuple[int, str]] = {}  # what came where files did not come as listed

    def prove(self, *, read_back: bool) -> tuple[list[Arrived], list[str]]:
        """Send what is missing, list and read all of it; as :func:`carry` returns it."""
        found: list[Arrived] = []
        for heal in (False, True):
            there = self.bring()
            self.read_twice()
            reading = read_back and not self.stopping()
            if reading:
                there = self.read_back(there)
            found = [self.judge(path, there, reading) for path in sorted(self.parcel.listed)]
            self.again = {one.path for one in found if one.verdict == Verdict.DIFFERENT and one.path in self.ours}
            self.again &= set(there)
            if heal or not self.again or self.stopping():
                break
        return found, sorted(set(there) - set(self.parcel.listed))

    @property
    def damaged(self) -> set[str]:
        """Damage on the way passes by itself, damage at the source does not: the second time counts."""
        return {path for path, times in self.doubts.items() if times > 1}

    def bring(self) -> dict[str, tuple[int, str]]:
        """Send what is missing; returns what the destination lists in the end."""
        self._ask_catalog()
        there, missing, unknown = self._state()
        tried = 0

        def send() -> None:
            nonlocal tried
            tried += 1
            self.send(missing, unknown, there)
            self.again -= missing

        def look(problem: XnbTransferError | None) -> dict[str, tuple[int, str]] | None:
            nonlocal there, missing, unknown
            there, missing, unknown = self._state()
            over = not (missing or unknown) or self.stopping()
            return there if over or (problem is None and tried >= _TRIES) else None

        if not (missing or unknown) or self.stopping():
            return there
        return send_and_look(send, look, f"What is missing in {self.parcel.resource}", tries=_TRIES, doubts=True)

    def _ask_catalog(self) -> None:
        parcel = self.parcel
        if parcel.source and not self.catalogued:
            listed, self.catalogued = with_catalog(self.source, parcel.source, parcel.resource, parcel.listed)
            self.parcel = dataclasses.replace(parcel, listed=listed)

    def _state(self) -> tuple[dict[str, tuple[int, str]], set[str], set[str]]:
        """What the destination lists, which files are to be sent, and of which no MD5 is known yet."""
        there = listing(self.destination, self.parcel.destination, self.parcel.resource)
        missing = {path for path in self.parcel.listed if self.needed(path, there)} - self.damaged
        unknown = {path for path, (_, md5) in self.parcel.listed.items() if not md5} - set(self.read)
        return there, missing, unknown - self.damaged

    def needed(self, path: str, there: Listing) -> bool:
        """Whether a listed file is to be sent."""
        if path not in there or path in self.again:
            return True
        size, md5 = self.parcel.listed[path]
        differs = there[path][0] != size or bool(md5 and there[path][1] and there[path][1] != md5)
        return differs and (self.parcel.overwrite or path in self.ours)

    def send(self, missing: set[str], unknown: set[str], there: Listing) -> None:
        """Read the resource once and put what is missing, a batch at a time; what is unknown is digested only."""
        wanted = missing | unknown
        came: set[str] = set()
        read: dict[str, tuple[int, str]] = {}
        anonymised: set[str] = set()
        dicom: set[str] = set()
        spool = _Batch(self.spool_folder)
        try:
            with self.source.open_resource(self.parcel.source, self.parcel.resource) as chunks:
                for entry, data in read_zip(chunks, Limits.of(size for size, _ in self.parcel.listed.values())):
                    with whole(data) as view:
                        path = _path_of(entry, self.parcel.listed)
                        if path is None or path in came or path not in wanted:
                            continue
                        md5 = hashlib.md5(view, usedforsecurity=False).hexdigest()
                        read[path] = (len(view), md5)
                        if self.parcel.dicom and view[128:132] == b"DICM":
                            dicom.add(path)
                            if self.before and stamped(header_of(view)):
                                anonymised.add(path)
                        if self.parcel.listed[path][1] not in ("", md5):
                            continue
                        came.add(path)
                        self.read[path] = (len(view), md5)
                        if path in missing:
                            spool.add(path, view)
                    if spool.is_full:
                        self.put(spool, there)
                        spool.close()
                        spool = _Batch(self.spool_folder)
            self.put(spool, there)
        finally:
            spool.close()
        self.doubts.update(wanted - came)
        if self.parcel.dicom and wanted - came:
            self._take_for_old(read, anonymised, dicom)

    def _take_for_old(self, read: dict[str, tuple[int, str]], anonymised: set[str], dicom: set[str]) -> None:
        """Let what came twice with the same bytes stand for a list that is of before an anonymisation, if it is one."""
        parcel, listed = self.parcel, self.parcel.listed
        old = of_before(listed, self.before, read, anonymised=anonymised, dicom=dicom) if self.before else frozenset()
        self.before = read
        if old and is_told(self.source, parcel.session_id, (parcel.scan, parcel.resource), parcel.beside, len(old)):
            self.old = old
            self.parcel = dataclasses.replace(parcel, listed={**listed, **{path: read[path] for path in old}})
            for path in old:
                del self.doubts[path]

    def put(self, batch: _Batch, there: Listing) -> None:
        """Put the files of a batch; only those that are to be replaced go with overwrite."""
        for replace in (False, True):
            some = [member for member in batch.members if (member.name in there) == replace]
            if not some:
                continue
            names = [member.name for member in some]
            self.ours.update(names)
            self.note(names)
            plain = [member for member in some if _PLAIN.fullmatch(member.name) and member.size_bytes]
            to, about = self.parcel.destination, self.parcel.about
            more = {"about": about, "overwrite": replace, "reason": self.reason}
            # An empty file is refused as a raw body by some versions, so it goes in the zip, whatever its name.
            zipped = [member for member in some if member in plain or not member.size_bytes]
            self.put_zipped(batch, zipped, more)
            for member in some:
                if member not in zipped:
                    size, body = member.size_bytes, batch.bytes_of(member)
                    self.destination.put_file(to, self.parcel.resource, member.name, size_bytes=size, body=body, **more)

    def put_zipped(self, batch: _Batch, members: list[ZipMember], more: Mapping) -> None:
        """Put some files as one zip, or where that is larger than a server or its proxy takes, as smaller ones."""
        if not members:
            return
        size, body = batch.as_zip(members)
        try:
            to, resource = self.parcel.destination, self.parcel.resource
            self.destination.put_zip(to, resource, size_bytes=size, body=body, **more)
        except ServerError as problem:
            if problem.status != TOO_LARGE:
                raise
            if len(members) == 1:
                raise too_large(problem, size) from None
            half = len(members) // 2
            self.put_zipped(batch, members[:half], more)
            self.put_zipped(batch, members[half:], more)

    def read_twice(self) -> None:
        """Read once more what came without a listed MD5, if the parcel says so."""
        unlisted = {path for path in self.read if not self.parcel.listed[path][1]}
        if self.parcel.twice and unlisted - set(self.again_read) and not self.stopping():
            self.again_read = self._digests(self.source, self.parcel.source, self.parcel.listed, unlisted)

    def read_back(self, there: Listing) -> dict[str, tuple[int, str]]:
        """Size and MD5 of every file as the destination gives it out."""
        return self._digests(self.destination, self.parcel.destination, there, set(there))

    def _digests(
        self, side: Connection, address: str, listed: Listing, wanted: set[str]
    ) -> dict[str, tuple[int, str]]:
        problem: TransientError | None = None
        for attempt in range(3):
            found: dict[str, tuple[int, str]] = {}
            try:
                if wanted:
                    with side.open_resource(address, self.parcel.resource) as chunks:
                        for entry, data in read_zip(chunks, Limits.of(size for size, _ in listed.values())):
                            with whole(data) as view:
                                path = _path_of(entry, listed)
                                if path in wanted:
                                    md5 = hashlib.md5(view, usedforsecurity=False).hexdigest()
                                    found[path] = (len(view), md5)
                                    if self.parcel.dicom:
                                        self.instances[path] = _instance(view)
                return found
            except TransientError as error:
                problem = error
                time.sleep(0.3 * 2**attempt)
        raise problem or TransientError(f"{self.parcel.resource} could not be read again.")

    def way_out(self, path: str) -> str:
        """What would have shown damage of a file on its way out of the source; see MANIFEST_COLUMNS."""
        if path in self.old:
            return OLD_LIST
        if path in self.catalogued:
            return CATALOG
        if self.parcel.listed[path][1]:
            return "listed MD5"
        return "read twice" if path in self.again_read else "nothing"

    def judge(self, path: str, there: Listing, read_back: bool) -> Arrived:
        """The verdict on one listed file."""
        size, md5 = self.read.get(path) or self.parcel.listed[path]
        there_size, there_md5 = there.get(path, (0, ""))
        verdict, because = Verdict.DIFFERENT, ""
        if path in self.damaged:
            because = "not sent: at the source it is missing, or does not have the MD5 that is listed for it"
        elif path in self.again_read and self.again_read[path] != self.read.get(path):
            because = "it came from the source with other bytes the second time, and no MD5 is listed for it"
        elif path not in there:
            because = "the destination does not hold it"
        elif there_size != size or (there_md5 and md5 and there_md5 != md5):
            because = "its bytes at the destination are not those of the source"
        elif not (there_md5 and md5):
            verdict, because = Verdict.NOT_PROVED, "no MD5 is listed for it, and it was not read back"
        elif read_back:
            verdict, because = Verdict.EQUAL, "every byte is equal"
        else:
            verdict, because = Verdict.NOT_PROVED, "its listed MD5 is that of the source; its bytes were not read"
        if path in self.old:
            because += f"; {OF_BEFORE}"
        return Arrived(
            path=path,
            size_bytes=size,
            md5=md5,
            there_size_bytes=there_size,
            there_md5=there_md5,
            verdict=verdict,
            because=because,
            read_in="archive" if read_back and path in there else "",
            way_out=self.way_out(path),
            instance=self.instances.get(path, ""),
        )


def _instance(data: memoryview) -> str:
    try:
        return read_header(data).sop_instance_uid
    except DicomError:
        return ""


class _Batch(Spool):
    """Files on temporary disk, some of which go as a zip and some alone."""

    @property
    def is_full(self) -> bool:
        return len(self.members) >= _BATCH_FILES or sum(one.size_bytes for one in self.members) > _BATCH_BYTES

    def bytes_of(self, member: ZipMember) -> Iterator[bytes]:
        """The bytes of one file."""
        return self._read(member)


def _path_of(entry: str, listed: Listing) -> str | None:
    """The listed path that an entry of XNAT's zip is, whatever the layout puts in front of it."""
    _, found, path = entry.partition("/files/")
    if found:
        return path if path in listed else None  # names in lists and in zips are raw, and never decoded once more
    parts = entry.split("/")
    for at in range(len(parts)):
        name = "/".join(parts[at:])
        if name in listed:
            return name
    return None
