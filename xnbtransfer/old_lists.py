"""The MD5s that a source has of its files: those of its lists or catalogues, and whether they are of before.

XNAT anonymises a session again when it is renamed or moved into a project with a script, and lists the new size and the
MD5 that the file had before (seen on a live 1.8.11). Such a list is no damage, and damage is no such list: it is taken
for one only where all DICOM files of a scan miss their MD5, have the size that is listed, bear the stamp that each run
of a script appends, and come with the same bytes when they are read twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from .foretell import header_of, stamped
from .streams import path_in_resource, whole
from .xnat import Connection
from .zips import Limits, read_zip

OLD_LIST = "read twice, listed MD5 is older"
"""What a row says of the way out of such a file; see ``MANIFEST_COLUMNS``."""

CATALOG = "catalogue's MD5"
"""The same of a file that the catalogue of its resource has an MD5 for, and the list has none."""

BECAUSE = "the source lists an MD5 of before an anonymisation, so it was read twice instead"

Listing = Mapping[str, tuple[int, str]]
Beside = Mapping[tuple[str, str], Listing]


def with_catalog(
    source: Connection, path: str, resource: str, listed: Listing
) -> tuple[dict[str, tuple[int, str]], frozenset[str]]:
    """What is listed of a resource, with the MD5 of its catalogue where the list has none; and the paths of those."""
    found = dict(listed)
    if not all(md5 for _, md5 in found.values()):
        told = source.catalog_md5s(path, resource)
        found |= {name: (size, told[name]) for name, (size, md5) in found.items() if not md5 and name in told}
    return found, frozenset(name for name, one in found.items() if one != listed[name])


def of_before(
    listed: Listing, first: Listing, second: Listing, *, anonymised: AbstractSet[str], dicom: AbstractSet[str]
) -> frozenset[str]:
    """The paths whose listed MD5 is of before an anonymisation: all that miss theirs, or none.

    Parameters
    ----------
    listed, first, second : mapping
        Path to (size in bytes, MD5 or "") as the source lists it, and as it came once and again.
    anonymised : set of str
        The paths of files that bear the stamp of a script. A file that misses its MD5 and bears none is damaged.
    dicom : set of str
        The paths of DICOM files. One that has its MD5 tells that no anonymisation came after the list.
    """
    told = {path: (size, md5) for path, (size, md5) in listed.items() if md5}
    misses = {path for path, (_, md5) in told.items() if path in first and first[path][1] != md5}
    fits = told.keys() - misses
    good = misses <= anonymised and not (fits & dicom)
    same = all(first[path] == second.get(path) and first[path][0] == told[path][0] for path in misses)
    return frozenset(misses) if good and same else frozenset()


def is_told(source: Connection, session_id: str, own: tuple[str, str], beside: Beside, files: int) -> bool:
    """Whether a list that is old for ``files`` files of one scan is told by more than one file.

    One file alone may as well be damaged: then the smallest other scan of the session is read, and has to be the same.

    Parameters
    ----------
    own : tuple of str
        Scan and resource.
    beside : mapping
        Scan and resource to what the source lists, of all that is sent of the session.
    """
    if files > 1:
        return True
    others = [(at, listed) for at, listed in beside.items() if at != own and any(md5 for _, md5 in listed.values())]
    for (scan, resource), listed in sorted(others, key=lambda one: sum(size for size, _ in one[1].values()))[:1]:
        came: dict[str, tuple[int, str]] = {}
        anonymised, dicom = set(), set()
        with source.open_scan(session_id, scan, resource) as chunks:
            for entry, data in read_zip(chunks, Limits.of(size for size, _ in listed.values())):
                with whole(data) as view:
                    path = path_in_resource(entry)
                    came[path] = (len(view), hashlib.md5(view, usedforsecurity=False).hexdigest())
                    if view[128:132] == b"DICM":
                        dicom.add(path)
                    if stamped(header_of(view)):
                        anonymised.add(path)
        return bool(of_before(listed, came, came, anonymised=anonymised, dicom=dicom))
    return False
