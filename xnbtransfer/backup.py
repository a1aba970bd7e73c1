"""A session kept as a BagIt bag before it is deleted, every file checked against what the server lists."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import logging
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .changes import Change, digest_of
from .csv_files import as_cell
from .errors import RefusedError
from .outputs import folder_mode, make_folder, make_private, not_written
from .xnat import Connection
from .zips import Limits, read_zip

_LISTED = ("scan", "resource", "path", "size_bytes", "md5")


def back_up(connection: Connection, change: Change, state: str, files: list[dict], root: Path) -> str:
    """Keep a session as a BagIt bag below ``root``, every file checked against what the server lists.

    Parameters
    ----------
    state : str
        What the session is, as one digest; a bag that is there already holds it only if it is of this state.
    files : list of dict
        All that the server lists.

    Returns
    -------
    str
        The name of the bag: ``session.xml``, the session's own document with fields, notes and ratings, ``scans.zip``
        as the server sends it, ``resources.zip``, and ``files.csv``. It is private, as all that holds labels.

    Raises
    ------
    RefusedError
        If a listed file does not come, or comes with another MD5, or a bag of this name is of another state.
    NotDataError
        If the session's document does not come.
    DiskFullError
        If there is no room.
    """
    import bagit

    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{change.project}_{change.subject}_{change.session}_{change.item}")
    final, staging = root / name, root / f".{name}.part"
    wanted = digest_of([state, *([one[part] for part in _LISTED] for one in files)])
    logger, level = logging.getLogger("bagit"), logging.getLogger("bagit").level
    logger.setLevel(logging.CRITICAL)
    try:
        if final.exists():
            if bagit.Bag(str(final)).is_valid() and bagit.Bag(str(final)).info.get("Session-State") == wanted:
                return name
            raise RefusedError(f"The backup {name} is there already, and is of another state.", "Put it elsewhere.")
        shutil.rmtree(staging, ignore_errors=True)
        make_folder(root)
        staging.mkdir(mode=0o700)
        came = Counter(_scans_to(connection, change.item, files, staging / "scans.zip") if _has_scans(files) else ())
        came += Counter(_resources_to(connection, files, staging / "resources.zip"))
        lost = [one for one in files if not _came(one, came)]
        if lost:
            raise RefusedError(
                f"The backup of {change.name} lacks {len(lost)} of {len(files)} files, or has others in their place.",
                "Nothing of it was deleted; run again.",
            )
        (staging / "session.xml").write_bytes(connection.session_xml(change.item))
        with (staging / "files.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(_LISTED)
            writer.writerows([as_cell(str(one[part])) for part in _LISTED] for one in files)
        about = {"External-Identifier": name, "Session-State": wanted, "Source-Project": change.project}
        bagit.make_bag(str(staging), bag_info=about, checksums=["sha256"])
        make_private(staging)
        os.chmod(staging, folder_mode())
        os.replace(staging, final)
    except bagit.BagError as problem:
        raise RefusedError(f"The backup {name} is damaged: {problem}.", "Put it elsewhere, and run again.") from None
    except OSError as problem:
        raise not_written(problem, f"The backup cannot be written to {root}") from None
    finally:
        logger.setLevel(level)
        with contextlib.suppress(OSError):
            shutil.rmtree(staging, ignore_errors=True)
    return name


def _has_scans(files: list[dict]) -> bool:
    return any(one["scan"] for one in files)


def _came(one: dict, came: Counter) -> bool:
    """Takes a file out of what came: by its MD5, or by name and size where the server lists none."""
    at = one["md5"] or (one["path"].rsplit("/", 1)[-1], one["size_bytes"])
    if not came[at]:
        return False
    came[at] -= 1
    return True


def _scans_to(
    connection: Connection, session_id: str, files: list[dict], path: Path
) -> Iterator[str | tuple[str, int]]:
    limits = Limits.of(one["size_bytes"] for one in files if one["scan"])
    with path.open("wb") as out, connection.open_session(session_id) as chunks:

        def kept() -> Iterator[bytes]:
            for chunk in chunks:
                out.write(chunk)
                yield chunk

        for entry, data in read_zip(kept(), limits):
            found, size = hashlib.md5(usedforsecurity=False), 0
            for piece in data:
                found.update(piece)
                size += len(piece)
            yield found.hexdigest()
            yield (entry.rsplit("/", 1)[-1], size)


def _resources_to(connection: Connection, files: list[dict], path: Path) -> Iterator[str | tuple[str, int]]:
    mine = [one for one in files if not one["scan"]]
    if not mine:
        return
    with zipfile.ZipFile(path, "w") as out:
        for one in mine:
            found, size = hashlib.md5(usedforsecurity=False), 0
            with (
                out.open(f"{one['resource']}/{one['path']}", "w", force_zip64=True) as member,
                connection.open_file(one["uri"]) as chunks,
            ):
                for chunk in chunks:
                    found.update(chunk)
                    size += len(chunk)
                    member.write(chunk)
            yield found.hexdigest()
            yield (one["path"].rsplit("/", 1)[-1], size)
