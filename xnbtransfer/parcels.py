"""One resource carried byte for byte: read as a zip, checked against what is listed, put, listed again, proved.

Nothing is sent that is there already. After a lost or failed answer the destination is listed before anything is sent
again, so a resource that was cut off goes on where it stopped.
"""

from __future__ import annotations

import collections
import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .errors import ServerError, TransientError, XnbTransferError
from .streams import Spool, whole
from .values import Verdict
from .xnat import Connection
from .zips import ZipMember, read_zip, write_zip, zip_length

_TRIES = 5
_BATCH_BYTES = 256 << 20
_BATCH_FILES = 1000
_PLAIN = re.compile(r"[\w. ()+,=@\[\]/-]+", re.ASCII)  # what comes through a zip and XNAT's filters as it is

Listing = Mapping[str, tuple[int, str]]


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
    """

    source: str
    destination: str
    resource: str
    listed: Listing
    overwrite: bool = False
    about: Mapping[str, str] = field(default_factory=dict)


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
    one = _Carrier(parcel, source, destination, reason, spool_folder, set(mine), note, stopping)
    found: list[Arrived] = []
    for heal in (False, True):
        there = one.bring()
        if read_back and not stopping():
            there = one.read_back(there)
        found = [one.judge(path, there, read_back) for path in sorted(parcel.listed)]
        one.again = {each.path for each in found if each.verdict == Verdict.DIFFERENT and each.path in one.ours}
        one.again &= set(there)
        if heal or not one.again or stopping():
            break
    return found, sorted(set(there) - set(parcel.listed))


def listing(destination: Connection, path: str, resource: str) -> dict[str, tuple[int, str]]:
    """What a resource holds now: path to (size in bytes, MD5 or "")."""
    return {row["path"]: (row["size_bytes"], row["md5"]) for row in destination.files_below(path, resource)}


def prove(destination: Connection, path: str, resource: str, listed: Listing) -> list[Arrived]:
    """Read a resource back and judge each file by what it was when it was carried. Sends nothing."""
    parcel = Parcel(source="", destination=path, resource=resource, listed=listed)
    one = _Carrier(parcel, destination, destination, "", None, set(), lambda paths: None, lambda: False)
    there = one.read_back(listing(destination, path, resource))
    return [one.judge(name, there, True) for name in sorted(listed)]


@dataclass
class _Carrier:
    parcel: Parcel
    source: Connection
    destination: Connection
    reason: str
    spool_folder: str | None
    ours: set[str]  # paths that were sent, and may be sent again
    note: Callable[[list[str]], None]
    stopping: Callable[[], bool]
    again: set[str] = field(default_factory=set)
    read: dict[str, tuple[int, str]] = field(default_factory=dict)
    doubts: collections.Counter = field(default_factory=collections.Counter)  # how often a file did not come as listed

    @property
    def damaged(self) -> set[str]:
        """Damage on the way passes by itself, damage at the source does not: the second time counts."""
        return {path for path, times in self.doubts.items() if times > 1}

    def bring(self) -> dict[str, tuple[int, str]]:
        """Send what is missing; returns what the destination lists in the end."""
        problem: XnbTransferError | None = None
        for attempt in range(_TRIES):
            if attempt and problem is not None:
                wish = getattr(problem, "retry_after_s", None)
                time.sleep(min(wish if wish is not None else random.uniform(0.1, 0.4) * 2**attempt, 300.0))
            try:
                there = listing(self.destination, self.parcel.destination, self.parcel.resource)
                missing = {path for path in self.parcel.listed if self.needed(path, there)} - self.damaged
                unknown = {path for path, (_, md5) in self.parcel.listed.items() if not md5} - set(self.read)
                unknown -= self.damaged
                if not (missing or unknown) or self.stopping():
                    return there
                if attempt == _TRIES - 1:
                    break
                self.send(missing, unknown, there)
                self.again -= missing
            except (TransientError, ServerError) as error:
                if not error.retry and getattr(error, "status", 0) < 500:
                    raise
                problem = error
        if problem is not None:
            raise problem
        return there

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
        spool = _Batch(self.spool_folder)
        try:
            with self.source.open_resource(self.parcel.source, self.parcel.resource) as chunks:
                for entry, data in read_zip(chunks):
                    with whole(data) as view:
                        path = _path_of(entry, self.parcel.listed)
                        if path is None or path in came or path not in wanted:
                            continue
                        md5 = hashlib.md5(view, usedforsecurity=False).hexdigest()
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
            if zipped:
                size, body = batch.as_zip(zipped)
                self.destination.put_zip(to, self.parcel.resource, size_bytes=size, body=body, **more)
            for member in some:
                if member not in zipped:
                    size, body = member.size_bytes, batch.bytes_of(member)
                    self.destination.put_file(to, self.parcel.resource, member.name, size_bytes=size, body=body, **more)

    def read_back(self, there: Listing) -> dict[str, tuple[int, str]]:
        """Size and MD5 of every file as the destination gives it out."""
        problem: TransientError | None = None
        for attempt in range(3):
            found: dict[str, tuple[int, str]] = {}
            try:
                if there:
                    with self.destination.open_resource(self.parcel.destination, self.parcel.resource) as chunks:
                        for entry, data in read_zip(chunks):
                            with whole(data) as view:
                                path = _path_of(entry, there)
                                if path is not None:
                                    md5 = hashlib.md5(view, usedforsecurity=False).hexdigest()
                                    found[path] = (len(view), md5)
                return found
            except TransientError as error:
                problem = error
                time.sleep(0.3 * 2**attempt)
        raise problem or TransientError(f"{self.parcel.resource} could not be read back.")

    def judge(self, path: str, there: Listing, read_back: bool) -> Arrived:
        """The verdict on one listed file."""
        size, md5 = self.read.get(path) or self.parcel.listed[path]
        there_size, there_md5 = there.get(path, (0, ""))
        verdict, because = Verdict.DIFFERENT, ""
        if path in self.damaged:
            because = "not sent: at the source it is missing, or does not have the MD5 that is listed for it"
        elif path not in there:
            because = "the destination does not hold it"
        elif there_size != size or (there_md5 and md5 and there_md5 != md5):
            because = "its bytes at the destination are not those of the source"
        elif not (there_md5 and md5):
            verdict, because = Verdict.NOT_PROVED, "no MD5 is listed for it, and it was not read back"
        else:
            verdict = Verdict.EQUAL
            because = "every byte is equal" if read_back else "its listed MD5 is that of the source"
        return Arrived(
            path=path,
            size_bytes=size,
            md5=md5,
            there_size_bytes=there_size,
            there_md5=there_md5,
            verdict=verdict,
            because=because,
        )


class _Batch(Spool):
    """Files on temporary disk, some of which go as a zip and some alone."""

    @property
    def is_full(self) -> bool:
        return len(self.members) >= _BATCH_FILES or sum(one.size_bytes for one in self.members) > _BATCH_BYTES

    def as_zip(self, members: list[ZipMember]) -> tuple[int, Iterator[bytes]]:
        """The length in bytes of a zip of some of the files, and the zip."""
        return zip_length(members), write_zip(members, self._read)

    def bytes_of(self, member: ZipMember) -> Iterator[bytes]:
        """The bytes of one file."""
        return self._read(member)


def _path_of(entry: str, listed: Listing) -> str | None:
    """The listed path that an entry of XNAT's zip is, whatever the layout puts in front of it."""
    _, found, path = entry.partition("/files/")
    for name in (path, unquote(path)) if found else ():
        if name in listed:
            return name
    parts = entry.split("/")
    for at in range(len(parts)):
        name = "/".join(parts[at:])
        if name in listed:
            return name
    return None
