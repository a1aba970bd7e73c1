"""Projects of their own for tests that write, on one server: cheaper than a server of its own for each of them."""

from __future__ import annotations

import itertools
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests
from roads import SOURCE, as_, make_plan, writes

from xnbtransfer import actions
from xnbtransfer.options import TransferOptions
from xnbtransfer.record import close_record, open_workspace, seal
from xnbtransfer.steps import carry_out
from xnbtransfer.transfer import run

_numbers = itertools.count(1)
SMALL = ("006_CT1", "007_MR1", "005_MR1", "001_MR2", "003_CT1")  # each with a first scan of ten files


@dataclass
class Place:
    """Empty projects of the owner of a demo server, and ways to fill them."""

    server: object
    project: str
    other: str
    before: int = 0
    scans: dict = field(default_factory=dict)

    def connect(self, role: str = "owner"):
        return as_(self.server, role)

    def writes(self) -> list[dict]:
        """Mutating requests since the place was filled; what only asks is left out."""
        self._flush()
        sent = [one for one in writes(self.server) if "validate-archive" not in one["path"]]
        return sent[self.before :]

    def _flush(self) -> None:
        """Wait until the log, which is written after an answer, has come as far as now."""
        mark = f"/data/mark-{next(_numbers)}"
        requests.get(self.server.url + mark, auth=self.server.accounts["owner"], timeout=60)
        until = time.monotonic() + 10
        while time.monotonic() < until and not any(one["path"] == mark for one in self.server.log()[-20:]):
            time.sleep(0.01)

    def settle(self) -> None:
        """Count writes from here."""
        self.before = 0
        self.before = len(self.writes())

    def request(self, method: str, path: str, role: str = "owner", **more) -> requests.Response:
        answer = requests.request(method, self.server.url + path, auth=self.server.accounts[role], timeout=60, **more)
        assert answer.status_code < 400, answer.text
        return answer

    def receive(self, session: str, subject: str = "T", like: str = "006_CT1", project: str = "", scan="1") -> str:
        """Upload ten files of the demonstration, and leave the row as an uploader that dies would."""
        with self.connect() as connection:
            (found,) = connection.sessions_with_label(SOURCE, like)
            with connection.open_scan(found["session_id"], scan, "DICOM") as chunks:
                data = b"".join(chunks)
            (uri,) = connection.import_zip(
                project=project or self.project,
                subject=subject,
                session=session,
                size_bytes=len(data),
                body=lambda: iter([data]),
            )
            return uri

    def wait(self, session: str, subject: str = "T", like: str = "006_CT1", project: str = "") -> str:
        """A row that is READY."""
        uri = self.receive(session, subject, like, project)
        with self.connect() as connection:
            connection.build(uri)
        return uri

    def hold(self, session: str, subject: str = "T", like: str = "006_CT1", project: str = "") -> str:
        """An archived session; returns its accession."""
        project = project or self.project
        uri = self.wait(session, subject, like, project)
        with self.connect() as connection:
            connection.archive(uri)
            (found,) = connection.sessions_with_label(project, session)
            return found["session_id"]

    def sql(self, text: str, *values) -> None:
        """Change the catalogue behind the server's back, as time or an administrator would."""
        with sqlite3.connect(self.server.data / "catalogue.sqlite", timeout=30) as db:
            db.execute(text, values)

    def sessions(self, project: str = "") -> dict[str, str]:
        with self.connect() as connection:
            return {row["session"]: row["subject"] for row in connection.sessions(project or self.project)}

    def rows(self, project: str = "") -> dict[str, str]:
        with self.connect() as connection:
            return {row["session"]: row["status"] for row in connection.prearchive(project or self.project)}


def make_place(server) -> Place:
    """Two fresh projects of the owner; the member of the demonstration is member in both."""
    number = next(_numbers)
    place = Place(server, f"HERE{number}", f"THERE{number}")
    server.faults([])
    for project in (place.project, place.other):
        place.request("PUT", f"/data/projects/{project}")
        place.request("PUT", f"/data/projects/{project}/prearchive_code/0")
        place.request("PUT", f"/data/projects/{project}/users/Members/{server.accounts['member'][0]}")
    place.settle()
    return place


def three_sessions(server):
    """A place whose project has A1 and A2 of one subject and B1 of another; for a fixture, which ends the faults."""
    found = make_place(server)
    for session, subject, like in (("A1", "A", SMALL[0]), ("A2", "A", SMALL[1]), ("B1", "B", SMALL[2])):
        found.hold(session, subject, like)
    found.settle()
    yield found
    server.faults([])


def carried(place: Place, made, folder, role: str = "owner", confirm: str | None = None):
    """Carry out a plan of steps, confirmed as it asks where nothing else is said."""
    confirm = made.confirm if confirm is None else confirm
    with place.connect(role) as source, place.connect(role) as destination:
        carrier = actions.carrier_of(made, source, destination)
        return carry_out(made, carrier, (source, destination), folder=folder, confirm=confirm)


def states(result) -> dict[tuple[str, str], str]:
    return {(row.subject, row.session): row.state for row in result.sessions.itertuples()}


def copied(place, root: Path, **values) -> Path:
    """A sealed record of a copy of the project into the other one, made without a notebook."""
    given = {"source_project": place.project, "destination_project": place.other, "archive": True}
    options = TransferOptions.from_mapping({**given, "record_root": str(root), **values})
    with place.connect() as source, place.connect() as destination:
        workspace = open_workspace(options, "transfer")
        made = workspace.keep(make_plan(source, destination, options))
        result = run(made, source, destination, folder=workspace.folder)
        close_record(workspace, made, result)
    path = seal(workspace)
    place.settle()
    return path
