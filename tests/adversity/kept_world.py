"""A small world on a server of its own that is put back as it was before each try; what sessions hold, as disks say.

Called by suites that try a thousand times: putting the catalogue and the archive back takes a tenth of a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sqlite3
from pathlib import Path

import pydicom
from archive_kit import Kit
from roads import as_

from xnbtransfer.errors import XnbTransferError


class KeptWorld:
    """Three projects behind a meddler, logins of their owner, and states that can be kept and put back."""

    def __init__(self, server, front, person, root: Path) -> None:
        self.server, self.front, self.root = server, front, root
        self.kit = Kit(person)
        self.who = self.kit.who
        self.catalogue, self.archive = server.data / "catalogue.sqlite", server.data / "archive"
        self.sql("UPDATE site SET value='false' WHERE key='enableSitewideAnonymizationScript'")
        self.sides: tuple = ()

    def send(self, method: str, path: str, **more) -> None:
        answer = self.who.request(method, path, **more)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text[:200]}"

    def id_in(self, project: str, session: str = "E1") -> str:
        rows = self.who.rows(f"/data/projects/{project}/experiments", columns="ID,label")
        return next(row["ID"] for row in rows if row["label"] == session)

    def connect(self) -> None:
        """New logins on both sides."""
        for one in self.sides:
            with contextlib.suppress(XnbTransferError):
                one.close()
        self.sides = (as_(self.front, "owner"), as_(self.front, "owner"))

    def keep(self, state: str) -> None:
        with sqlite3.connect(self.catalogue) as db, sqlite3.connect(self.root / f"{state}.sqlite") as kept:
            db.backup(kept)
        shutil.copytree(self.archive, self.root / state)

    def put_back(self, state: str = "kept") -> None:
        """The catalogue and the archive as they were when they were kept, and no row of a prearchive."""
        self.server.faults([])
        with sqlite3.connect(self.catalogue, timeout=60) as db:
            db.execute("ATTACH ? AS kept", (str(self.root / f"{state}.sqlite"),))
            tables = [row[0] for row in db.execute("SELECT name FROM kept.sqlite_master WHERE type='table'")]
            for table in tables:
                if not table.startswith("sqlite_"):
                    db.execute(f"DELETE FROM main.{table}")
                    db.execute(f"INSERT INTO main.{table} SELECT * FROM kept.{table}")
        for one in [*self.archive.iterdir(), *(self.server.data / "prearchive").iterdir()]:
            shutil.rmtree(one)
        shutil.copytree(self.root / state, self.archive, dirs_exist_ok=True)

    def sql(self, text: str, *values) -> None:
        with sqlite3.connect(self.catalogue, timeout=60) as db:
            db.execute(text, values)

    def dicom(self, accession: str) -> list[Path]:
        """The files of a session's scans on the server's own disk."""
        return sorted(self.archive.glob(f"*/{accession}/SCANS/**/*.dcm"))

    def holds(self, accession: str, project: str) -> set[tuple]:
        """What a session of a project has: images by content, files, and what people wrote; nothing if it is none."""
        with sqlite3.connect(self.catalogue, timeout=60) as db:
            db.row_factory = sqlite3.Row
            row = db.execute("SELECT * FROM experiments WHERE id=? AND project=?", (accession, project)).fetchone()
            if row is None:
                return set()
            found = {("note", json.loads(row["fields"]).get("note", ""))} - {("note", "")}
            found |= {("assessor", one[0]) for one in db.execute(
                "SELECT label FROM experiments WHERE session_id=?", (accession,))}  # fmt: skip
            found |= {("share", one[0]) for one in db.execute(
                "SELECT project FROM shares WHERE item_id=?", (accession,))}  # fmt: skip
            found |= {("rating", one[0]) for one in db.execute(
                "SELECT quality FROM scans WHERE experiment_id=? AND quality<>'usable'", (accession,))}  # fmt: skip
        found |= {("image", image(one.read_bytes())) for one in self.dicom(accession)}
        for one in self.archive.glob(f"*/{accession}/RESOURCES/**/*"):
            if one.is_file():
                found.add(("file", one.parent.name, one.name, one.read_bytes()))
        return found

    def held_in(self, project: str) -> dict[str, set[tuple]]:
        """The same of each session that a project owns, by label."""
        with sqlite3.connect(self.catalogue, timeout=60) as db:
            rows = db.execute("SELECT label, id FROM experiments WHERE project=? AND session_id=''", (project,))
            return {label: self.holds(accession, project) for label, accession in rows.fetchall()}


def image(data: bytes) -> str:
    """A digest of what is in a DICOM file, save group 0002 and the lengths of groups."""
    try:
        found = pydicom.dcmread(io.BytesIO(data), force=True)
        content = [(str(one.tag), one.VR, repr(one.value)) for one in found if one.tag.element]
    except Exception:  # noqa: BLE001 - a file that was spoilt on purpose is itself
        content = data
    return hashlib.md5(repr(content).encode(), usedforsecurity=False).hexdigest()
