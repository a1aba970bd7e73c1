"""What the server knows: a SQLite catalogue, and files as files beside it. Survives a kill at any moment.

A file is written under a temporary name, renamed, and only then named in the catalogue.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from . import clock, schema
from .faulty_files import disk_full, spoil
from .rules import strike

# XNAT source, BaseXnatProjectdata.initGroups: role -> rights on (project object, its data).
_RIGHTS = {
    "owner": ({"read", "create", "edit", "delete"}, {"read", "create", "edit", "delete"}),
    "member": ({"read"}, {"read", "create", "edit"}),
    "collaborator": ({"read"}, {"read"}),
}
SETTLED = ("Complete", "Failed", "Failed (Dismissed)", "Error", "Failed (Rejected)")
"""Statuses of a workflow that has ended."""
GROUPS = {"owner": "Owners", "member": "Members", "collaborator": "Collaborators"}


without_rights: ContextVar[bool] = ContextVar("without_rights", default=False)
"""Set while a request is answered as if who asks had no role anywhere (see ``auth``)."""


def now(form: str = "%Y-%m-%d %H:%M:%S.%f") -> str:
    """The time as XNAT prints it in lists."""
    return clock.now().strftime(form)[: -3 if form.endswith("%f") else None]


class Record(Protocol):
    """Values by name: a row of the catalogue, or a mapping that stands for one."""

    def __getitem__(self, name: str, /) -> Any: ...


class Gone(Exception):
    """The resource that a file was to go to is no more."""


class State:
    """All that is kept, below one folder. Safe to use from several threads of one process."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("archive", "prearchive", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        for left in (self.folder / "tmp").iterdir():
            left.unlink(missing_ok=True)
        self._local = threading.local()
        self._write_lock = threading.RLock()
        self.faults: Any = None  # set by the application; see faults.Faults
        with self.write() as db:
            schema.prepare(db)

    # -- the catalogue ------------------------------------------------------------------------------------------

    def read(self) -> sqlite3.Connection:
        """This thread's connection, for reading. Rows are ``sqlite3.Row``."""
        found = getattr(self._local, "db", None)
        if found is None:
            found = sqlite3.connect(self.folder / "catalogue.sqlite", timeout=60, isolation_level=None)
            found.row_factory = sqlite3.Row
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=NORMAL")
            self._local.db = found
        return found

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it or, after an exception, nothing. May be nested."""
        with self._write_lock:
            db = self.read()
            if db.in_transaction:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if db.in_transaction:
                db.execute("COMMIT")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes meanwhile: for a transaction and what must follow it at once, as removing files."""
        with self._write_lock:
            yield

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        try:
            return self.read().execute(sql, values).fetchall()
        except OverflowError:  # a number from an address that no row can have
            return []

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        try:
            return self.read().execute(sql, values).fetchone()
        except OverflowError:
            return None

    def one(self, sql: str, *values: Any) -> sqlite3.Row:
        """The row of a question that always has one: it counts, or what it asks for is known to be there."""
        found = self.row(sql, *values)
        assert found is not None, sql
        return found

    def site(self, key: str) -> str | None:
        found = self.row("SELECT value FROM site WHERE key=?", key)
        return found["value"] if found else None

    def set_site(self, key: str, value: str) -> None:
        with self.write() as db:
            db.execute("INSERT INTO site VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value))

    def number(self, name: str) -> int:
        """The next of a counter; never given twice, also after a deletion (XNAT source, IDGenerator)."""
        with self.write() as db:
            db.execute(
                "INSERT INTO counters VALUES(?,1) ON CONFLICT(name) DO UPDATE SET value=value+1",
                (name,),
            )
            return db.execute("SELECT value FROM counters WHERE name=?", (name,)).fetchone()[0]

    # -- people -------------------------------------------------------------------------------------------------

    def add_user(self, login: str, password: str, first: str, last: str, *, admin: bool = False) -> None:
        salt = secrets.token_hex(16)
        with self.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO users(login, number, salt, password_hash, first, last, email, admin, enabled, "
                "password_date) VALUES(?,?,?,?,?,?,?,?,1,?)",
                (
                    login,
                    self.number("user"),
                    salt,
                    self._hash(password, salt),
                    first,
                    last,
                    f"{login}@example.org",
                    int(admin),
                    now(),
                ),
            )

    def set_password(self, login: str, password: str) -> None:
        salt = secrets.token_hex(16)
        with self.write() as db:
            db.execute(
                "UPDATE users SET salt=?, password_hash=?, password_date=? WHERE login=?",
                (salt, self._hash(password, salt), now(), login),
            )

    @staticmethod
    def _hash(password: str, salt: str) -> str:
        return hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), 20_000).hex()

    def check_password(self, login: str, password: str) -> bool:
        user = self.row("SELECT salt, password_hash FROM users WHERE login=? AND enabled=1", login)
        return user is not None and secrets.compare_digest(self._hash(password, user["salt"]), user["password_hash"])

    def is_admin(self, login: str | None) -> bool:
        user = self.row("SELECT admin FROM users WHERE login=?", login)
        return bool(user and user["admin"])

    def site_group(self, login: str | None) -> str:
        """``ALL_DATA_ACCESS`` (reads everything), ``ALL_DATA_ADMIN`` (does everything) or ""."""
        found = self.row("SELECT site_group FROM users WHERE login=?", login)
        return found["site_group"] if found else ""

    def role(self, login: str | None, project: str) -> str:
        """owner, member, collaborator or ""."""
        if without_rights.get():
            return ""
        found = self.row("SELECT role FROM members WHERE project=? AND login=?", project, login)
        return found["role"] if found else ""

    def can(self, login: str | None, project: str, action: str, on: str = "data") -> bool:
        """Whether somebody may read, create, edit or delete ``on`` "data" or the "project" object itself."""
        if self.is_admin(login):
            return True
        group = self.site_group(login)
        if group and not without_rights.get() and (action == "read" or group == "ALL_DATA_ADMIN"):
            return True
        rights = _RIGHTS.get(self.role(login, project))
        if rights and action in rights[on == "data"]:
            return True
        if action != "read" or login is None:
            return False
        found = self.row("SELECT accessibility FROM projects WHERE id=?", project)
        level = found["accessibility"] if found else "private"
        return level == "public" or (level == "protected" and on == "project")

    def has_right(self, login: str | None, project: str, action: str) -> bool:
        """As `can` on data, but for what comes with reading everything, which ``permissions=`` does not count."""
        if not self.is_admin(login) and self.site_group(login) == "ALL_DATA_ACCESS":
            return action in _RIGHTS.get(self.role(login, project), ((), ()))[1]
        return self.can(login, project, action)

    def visible_projects(self, login: str | None, action: str = "read", on: str = "data") -> list[str]:
        return [
            row["id"]
            for row in self.rows("SELECT id FROM projects ORDER BY id")
            if self.can(login, row["id"], action, on)
        ]

    # -- projects and below -------------------------------------------------------------------------------------

    def project(self, name: str) -> sqlite3.Row | None:
        return self.row("SELECT * FROM projects WHERE id=? OR (alias<>'' AND alias=?)", name, name)

    def new_project(self, name: str, owner: str, **fields: Any) -> None:
        values = {"secondary_id": name, "name": name, "description": "", "insert_date": now(), "insert_user": owner}
        values.update(fields)
        with self.write() as db:
            columns = ", ".join(values)
            marks = ",".join("?" * len(values))
            db.execute(f"INSERT INTO projects(id, {columns}) VALUES(?,{marks})", (name, *values.values()))
            db.execute("INSERT OR REPLACE INTO members VALUES(?,?,'owner')", (name, owner))

    def new_subject(self, project: str, label: str, user: str, **fields: Any) -> str:
        """Returns the accession number, ``<site>_S00001`` (XNAT source, IDGenerator)."""
        with self.write() as db:
            accession = self.unused_subject_id()
            db.execute(
                "INSERT INTO subjects VALUES(?,?,?,?,?,?)", (accession, project, label, now(), user, json.dumps(fields))
            )
            return accession

    def unused_subject_id(self) -> str:
        """An accession number that no subject will have."""
        return f"{self._site_prefix()}_S{self.number('subject'):05d}"

    def subject_of(self, project: str, label: str, user: str) -> str:
        """The accession number of the subject with this label, which is made unless somebody else has just done so."""
        with self.write():
            there = self.row("SELECT id FROM subjects WHERE project=? AND label=?", project, label)
            return there["id"] if there else self.new_subject(project, label, user)

    def new_experiment(self, project: str, subject_id: str, label: str, xsi_type: str, user: str, **fields: Any) -> str:
        """Returns the accession number; ``date``, ``time``, ``uid``, ``modality`` and ``session_id`` are columns."""
        own = {name: fields.pop(name, "") or "" for name in ("date", "time", "uid", "modality", "session_id")}
        with self.write() as db:
            accession = f"{self._site_prefix()}_E{self.number('experiment'):05d}"
            db.execute(
                f"INSERT INTO experiments(id, project, subject_id, label, xsi_type, {', '.join(own)}, insert_date, "
                "insert_user, fields) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (accession, project, subject_id, label, xsi_type, *own.values(), now(), user, json.dumps(fields)),
            )
            return accession

    def _site_prefix(self) -> str:
        return (self.site("siteId") or "XNAT").replace("-", "_").replace(" ", "").replace("'", "")

    def new_scan(self, experiment_id: str, scan: str, xsi_type: str, **fields: Any) -> int:
        """Returns the primary key."""
        names = ("type", "uid", "quality", "note", "series_description", "frames", "modality")
        given = {name: fields.pop(name, "usable" if name == "quality" else "") for name in names}
        own = {name: "" if value is None else str(value) for name, value in given.items()}  # 0 frames are "0"
        with self.write() as db:
            key = db.execute(
                f"INSERT INTO scans(experiment_id, id, xsi_type, {', '.join(own)}, fields) "
                "VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                (experiment_id, scan, xsi_type, *own.values(), json.dumps(fields)),
            ).lastrowid
        assert key is not None
        return key

    def add_resource(self, kind: str, parent_id: str | int, label: str, **fields: str) -> int:
        """The primary key of a resource, made if it is missing; ``kind``: project, subject, experiment, input, scan."""
        with self.write() as db:
            found = db.execute(
                "SELECT pk FROM resources WHERE parent_kind=? AND parent_id=? AND label=?",
                (kind, str(parent_id), label),
            ).fetchone()
            if found:
                return found["pk"]
            key = db.execute(
                "INSERT INTO resources(parent_kind, parent_id, label, format, content, description, tags) "
                "VALUES(?,?,?,?,?,?,?)",
                (
                    kind,
                    str(parent_id),
                    label,
                    *(fields.get(n, "") for n in ("format", "content", "description", "tags")),
                ),
            ).lastrowid
        assert key is not None
        return key

    # -- files --------------------------------------------------------------------------------------------------

    def item_folder(self, kind: str, key: str, project: str) -> Path:
        """Where the files of a subject or a session lie, its scans' included; a label does not move them.

        Those of an assessor lie with its session, whatever project owns it.
        """
        base = self.folder / "archive" / safe(project)
        if kind == "subject":
            return base / "subjects" / key
        session = self.row(
            "SELECT s.id, s.project FROM experiments a JOIN experiments s ON s.id=a.session_id WHERE a.id=?", key
        )
        if session:
            return self.folder / "archive" / safe(session["project"]) / session["id"] / "ASSESSORS" / key
        return base / key

    def resource_folder(self, pk: int) -> Path:
        """Where the files of a resource lie, below the project that owns it."""
        found = self.one("SELECT * FROM resources WHERE pk=?", pk)
        kind, parent = found["parent_kind"], found["parent_id"]
        if kind == "project":
            return self.folder / "archive" / safe(parent) / "resources" / safe(found["label"])
        if kind == "input":
            owner = self.one("SELECT project FROM experiments WHERE id=?", parent)
            return self.item_folder("experiment", parent, owner["project"]) / "IN" / safe(found["label"])
        if kind in ("subject", "experiment"):
            owner = self.one(f"SELECT project FROM {kind}s WHERE id=?", parent)
            base = self.item_folder(kind, parent, owner["project"])
            return (base if kind == "subject" else base / "RESOURCES") / safe(found["label"])
        scan = self.one(
            "SELECT s.id AS id, e.id AS experiment, e.project AS project FROM scans s JOIN experiments e "
            "ON e.id=s.experiment_id WHERE s.pk=?",
            int(parent),
        )
        base = self.folder / "archive" / safe(scan["project"]) / scan["experiment"]
        return base / "SCANS" / safe(scan["id"]) / safe(found["label"])

    def file_path(self, resource_pk: int, path: str) -> Path:
        return self.resource_folder(resource_pk) / Path(*(safe(part) for part in path.split("/") if part))

    def temporary(self) -> Path:
        """A name for a file that is being received."""
        return self.folder / "tmp" / uuid.uuid4().hex

    def store_file(
        self,
        resource_pk: int,
        path: str,
        source: bytes | Path | BinaryIO,
        *,
        sop_uid: str = "",
        format: str = "",
        content: str = "",
        tags: str = "",
        where: str = "",
    ) -> int:
        """Put one file into a resource, replacing what has its path; returns its size in bytes.

        A ``Path`` is moved. The MD5 is that of the stored bytes, and empty while ``checksums`` is off. ``Gone`` is
        raised when somebody deleted the resource meanwhile; nothing has changed then.
        """
        disk_full(path)
        part = source if isinstance(source, Path) else self.temporary()
        try:
            if not isinstance(source, Path):
                with open(part, "wb") as out:
                    if isinstance(source, bytes | bytearray | memoryview):
                        out.write(source)
                    else:
                        shutil.copyfileobj(source, out, 1 << 20)
            if strike("lost-on-store", path):
                part.unlink()
                return 0
            spoil(part, path)
            size = part.stat().st_size
            md5 = file_md5(part) if self.site("checksums") == "true" else ""
            with self.write() as db:  # whoever moves the folder waits, or has moved it
                if self.row("SELECT 1 FROM resources WHERE pk=?", resource_pk) is None:
                    raise Gone
                target = self.file_path(resource_pk, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, target)
                db.execute(
                    "INSERT OR REPLACE INTO files VALUES(?,?,?,?,?,?,?,?)",
                    (resource_pk, path, size, md5, format, content, tags, sop_uid),
                )
                db.execute("DELETE FROM stale WHERE resource_pk=? AND path=?", (resource_pk, path))
                self.count_files(resource_pk)
        finally:
            if part is not source:
                part.unlink(missing_ok=True)
        return size

    def count_files(self, resource_pk: int) -> None:
        """Bring the count and size of a resource up to date."""
        with self.write() as db:
            db.execute(
                "UPDATE resources SET (file_count, file_size)=(SELECT count(*), coalesce(sum(size),0) FROM files "
                "WHERE resource_pk=resources.pk) WHERE pk=?",
                (resource_pk,),
            )

    def remove_file(self, resource_pk: int, path: str) -> None:
        with self.write() as db:
            db.execute("DELETE FROM files WHERE resource_pk=? AND path=?", (resource_pk, path))
            self.count_files(resource_pk)
            self.file_path(resource_pk, path).unlink(missing_ok=True)

    def prearchive_folder(self, project: str, timestamp: str, folder: str) -> Path:
        return self.folder / "prearchive" / safe(project or "Unassigned") / safe(timestamp) / safe(folder)

    # -- events -------------------------------------------------------------------------------------------------

    def workflow(
        self, item: str, name: str, user: str, query: Any = None, status: str = "Complete", project: str = ""
    ) -> None:
        """Note an audit entry; ``query`` may hold event_reason, event_type, event_action and event_comment."""
        get = query.get if query is not None else lambda *_: ""
        known = self.row(
            "SELECT xsi_type FROM experiments WHERE id=? UNION SELECT 'xnat:subjectData' FROM subjects WHERE id=?",
            item,
            item,
        )
        with self.write() as db:
            db.execute(
                "INSERT INTO workflows(item, name, status, reason, comment, user, date, project, type, data_type) "
                "VALUES(?,?,?,?,?,?,?,?,?,?)",
                (
                    item,
                    get("event_action", "") or name,
                    status,
                    get("event_reason", "") or "",
                    get("event_comment", "") or "",
                    user,
                    now(),
                    project,
                    get("event_type", "") or "WEB_SERVICE",
                    known["xsi_type"] if known else "",
                ),
            )

    def running_workflow(self, item: str) -> sqlite3.Row | None:
        """The workflow that holds an item, if one has begun and not ended; it refuses archiving and renaming."""
        marks = ",".join("?" * len(SETTLED))
        return self.row(
            f"SELECT * FROM workflows WHERE item=? AND status NOT IN ({marks}) ORDER BY pk DESC LIMIT 1",
            item,
            *SETTLED,
        )


def safe(part: str) -> str:
    """One path segment that stays one, whatever a client calls its file; different names stay different.

    >>> safe("a.dcm"), safe(".."), safe("a/b"), safe("a%2Fb")
    ('a.dcm', '%2E%2E', 'a%2Fb', 'a%252Fb')
    """
    cleaned = re.sub(r"[%/\\\0]", lambda found: f"%{ord(found[0]):02X}", part)
    return {"": "%", ".": "%2E", "..": "%2E%2E"}.get(cleaned, cleaned)


def too_long(*parts: str) -> bool:
    """Whether one of these names is longer than a file system takes."""
    return any(len(safe(part).encode("utf-8", "surrogatepass")) > 250 for part in parts)


def file_md5(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
