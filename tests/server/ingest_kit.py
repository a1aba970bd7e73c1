"""Studies to send, and the ways to send them, for the tests of importing and archiving."""

from __future__ import annotations

import io
import itertools
import json
import re
import sqlite3
import time
import zipfile

import pydicom
import pytest

from xnbtransfer.server.demo_files import SeriesPlan, make_series, make_uid

_NUMBERS = itertools.count(1)

Files = list[tuple[str, bytes]]


def series(number: int, count: int, *, source: str = "MR", study: str = "1.2.3", subject: str = "S1",
           session: str = "S1_MR1", project: str = "none", **changes: str) -> Files:
    """Files of one series; ``changes`` sets DICOM keywords in each of them."""
    plan = SeriesPlan(source=source, number=number, description=f"series {number}", count=count)
    made = make_series(plan, project=project, subject=subject, session=session, study_uid=make_uid(study),
                       date="20240102")
    return [(name, changed(data, **changes) if changes else data) for name, data in made]


def changed(data: bytes, **changes: str) -> bytes:
    """The file with other header values."""
    dataset, out = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(out)
    return out.getvalue()


def zipped(files: Files) -> bytes:
    """A stored zip of the files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def message(answer) -> str:
    """What a status page says."""
    found = re.search(r"<h3>(.*?)</h3>", answer.text)
    return found[1] if found else answer.text


class Desk:
    """A fresh project with the three roles, and its owner's hands."""

    def __init__(self, xnat, person, code: int) -> None:
        self.server, self.person, self.owner = xnat, person, person("owner")
        self.project = f"ING_{next(_NUMBERS)}"
        assert self.owner.put(f"/data/projects/{self.project}").status_code in (200, 201)
        for role, group in (("member", "Members"), ("collaborator", "Collaborators")):
            path = f"/data/projects/{self.project}/users/{group}/{person(role).login}"
            assert self.owner.put(path).status_code == 200
        self.set_project(prearchive_code=code)
        self.archive_path = f"/archive/projects/{self.project}"
        self.prearchive_path = f"/prearchive/projects/{self.project}"

    # Settings go straight into the catalogue: these tests are about importing, not about the settings' own addresses.
    def sql(self, text: str, *values: object) -> list[sqlite3.Row]:
        with sqlite3.connect(self.server.data / "catalogue.sqlite", timeout=30) as db:
            db.row_factory = sqlite3.Row
            return db.execute(text, values).fetchall()

    def set_project(self, **columns: object) -> None:
        names = ", ".join(f"{name}=?" for name in columns)
        self.sql(f"UPDATE projects SET {names} WHERE id=?", *columns.values(), self.project)

    def set_site(self, key: str, value: str) -> None:
        self.sql("INSERT OR REPLACE INTO site VALUES(?,?)", key, value)

    def send(self, files: Files, who: str = "owner", handler: str = "", **params: str):
        """One import as a raw zip; ``dest`` is left out when it is not given."""
        if handler:
            params["import-handler"] = handler
        return self.person(who).post("/data/services/import", params=params, data=zipped(files),
                                     headers={"Content-Type": "application/zip"})

    def to_prearchive(self, files: Files, **params: str) -> str:
        """Import into the prearchive and return the row's address."""
        answer = self.send(files, dest=self.prearchive_path, **params)
        assert answer.status_code == 200, answer.text
        assert answer.text.endswith("\r\n")
        return answer.text.strip()

    def to_archive(self, files: Files, session: str = "", subject: str = "S1", **params: str):
        """Import straight into the archive."""
        tail = f"/subjects/{subject}/experiments/{session}" if session else ""
        return self.send(files, dest=self.archive_path + tail, **params)

    def waiting(self) -> list[dict]:
        """The project's prearchive rows."""
        return self.owner.rows(f"/data/prearchive/projects/{self.project}")

    def waiting_row(self, uri: str) -> dict:
        """The row at an address."""
        (row,) = [row for row in self.waiting() if "/data" + row["url"] == uri]
        return row

    def sessions(self) -> list[sqlite3.Row]:
        return self.sql("SELECT e.*, s.label AS subject FROM experiments e JOIN subjects s ON s.id=e.subject_id "
                        "WHERE e.project=? ORDER BY e.id", self.project)

    def scans(self, session: str) -> dict[str, int]:
        """Scan id to number of files, from the archive's catalogue."""
        found = self.sql(
            "SELECT s.id, count(f.path) AS files FROM scans s JOIN experiments e ON e.id=s.experiment_id "
            "LEFT JOIN resources r ON r.parent_kind='scan' AND r.parent_id=s.pk LEFT JOIN files f "
            "ON f.resource_pk=r.pk WHERE e.project=? AND e.label=? GROUP BY s.id", self.project, session)
        return {row["id"]: row["files"] for row in found}

    def workflows(self, session: str) -> list[str]:
        found = self.sql("SELECT w.name FROM workflows w JOIN experiments e ON e.id=w.item WHERE e.project=? AND "
                         "e.label=? ORDER BY w.pk", self.project, session)
        return [row["name"] for row in found]

    def archived_headers(self, session: str) -> list[pydicom.Dataset]:
        """The stored files of a session, read from disk."""
        (found,) = [row for row in self.sessions() if row["label"] == session]
        folder = self.server.data / "archive" / self.project / found["id"]
        return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]

    def waiting_headers(self, uri: str) -> list[pydicom.Dataset]:
        """The files of a prearchive row as they are downloaded."""
        answer = self.owner.get(uri, params={"format": "zip"})
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith((".xml", ".log")))
            return [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in names]

    @staticmethod
    def wait_for(look, seconds: float = 20):
        """What ``look`` finds, as soon as it finds something."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.1)
        return found

    def validate(self, uri: str) -> list[dict]:
        answer = self.owner.post("/data/services/validate-archive", params={"src": uri, "format": "json"})
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)["ResultSet"]["Result"]


@pytest.fixture
def desk(xnat, person) -> Desk:
    """A project that archives nothing by itself (code 0)."""
    return Desk(xnat, person, 0)


@pytest.fixture
def merging_desk(xnat, person) -> Desk:
    """A project with the site's default, code 4."""
    return Desk(xnat, person, 4)
