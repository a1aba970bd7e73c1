"""What the server knows: a SQLite catalogue, and files as files beside it. Survives a kill at any moment.

A file is written under a temporary name, renamed, and only then named in the catalogue.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

SCHEMA = """
CREATE TABLE IF NOT EXISTS site(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS users(login TEXT PRIMARY KEY, number INTEGER, salt TEXT, password_hash TEXT, first TEXT,
  last TEXT, email TEXT, admin INTEGER DEFAULT 0, enabled INTEGER DEFAULT 1);
CREATE TABLE IF NOT EXISTS projects(id TEXT PRIMARY KEY, secondary_id TEXT, name TEXT, description TEXT,
  pi_first TEXT DEFAULT '', pi_last TEXT DEFAULT '', alias TEXT DEFAULT '', accessibility TEXT DEFAULT 'private',
  prearchive_code INTEGER DEFAULT 4, quarantine_code INTEGER DEFAULT 0, anon_script TEXT,
  anon_enabled INTEGER DEFAULT 0,
  insert_date TEXT, insert_user TEXT);
CREATE TABLE IF NOT EXISTS members(project TEXT, login TEXT, role TEXT, PRIMARY KEY(project, login));
CREATE TABLE IF NOT EXISTS subjects(id TEXT PRIMARY KEY, project TEXT, label TEXT, insert_date TEXT, insert_user TEXT,
  fields TEXT DEFAULT '{}', UNIQUE(project, label));
CREATE TABLE IF NOT EXISTS experiments(id TEXT PRIMARY KEY, project TEXT, subject_id TEXT, label TEXT, xsi_type TEXT,
  date TEXT DEFAULT '', time TEXT DEFAULT '', uid TEXT DEFAULT '', modality TEXT DEFAULT '', insert_date TEXT,
  insert_user TEXT, fields TEXT DEFAULT '{}', UNIQUE(project, label));
CREATE INDEX IF NOT EXISTS experiments_uid ON experiments(uid);
CREATE INDEX IF NOT EXISTS experiments_subject ON experiments(subject_id);
CREATE TABLE IF NOT EXISTS scans(pk INTEGER PRIMARY KEY AUTOINCREMENT, experiment_id TEXT, id TEXT, xsi_type TEXT,
  type TEXT DEFAULT '', uid TEXT DEFAULT '', quality TEXT DEFAULT 'usable', note TEXT DEFAULT '',
  series_description TEXT DEFAULT '', frames TEXT DEFAULT '', modality TEXT DEFAULT '', fields TEXT DEFAULT '{}',
  UNIQUE(experiment_id, id));
CREATE TABLE IF NOT EXISTS resources(pk INTEGER PRIMARY KEY AUTOINCREMENT, parent_kind TEXT, parent_id TEXT, label TEXT,
  format TEXT DEFAULT '', content TEXT DEFAULT '', description TEXT DEFAULT '', tags TEXT DEFAULT '',
  file_count INTEGER DEFAULT 0, file_size INTEGER DEFAULT 0, UNIQUE(parent_kind, parent_id, label));
CREATE TABLE IF NOT EXISTS files(resource_pk INTEGER, path TEXT, size INTEGER, md5 TEXT DEFAULT '',
  format TEXT DEFAULT '',
  content TEXT DEFAULT '', tags TEXT DEFAULT '', sop_uid TEXT DEFAULT '', PRIMARY KEY(resource_pk, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shares(kind TEXT, item_id TEXT, project TEXT, label TEXT,
  PRIMARY KEY(kind, item_id, project));
CREATE TABLE IF NOT EXISTS prearchive(pk INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT, timestamp TEXT, folder TEXT,
  name TEXT, subject TEXT, tag TEXT, status TEXT, lastmod TEXT, uploaded TEXT, scan_date TEXT DEFAULT '',
  scan_time TEXT DEFAULT '', autoarchive TEXT DEFAULT '', prevent_anon INTEGER DEFAULT 0,
  prevent_auto_commit INTEGER DEFAULT 0, source TEXT DEFAULT '', built INTEGER DEFAULT 0, uploader TEXT DEFAULT '',
  UNIQUE(project, timestamp, folder));
CREATE TABLE IF NOT EXISTS prearchive_files(row_pk INTEGER, scan TEXT, resource TEXT, path TEXT, size INTEGER,
  sop_uid TEXT DEFAULT '', series_uid TEXT DEFAULT '', fields TEXT DEFAULT '{}',
  PRIMARY KEY(row_pk, scan, resource, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prearchive_logs(pk INTEGER PRIMARY KEY AUTOINCREMENT, row_pk INTEGER, at TEXT, text TEXT);
CREATE TABLE IF NOT EXISTS tokens(alias TEXT PRIMARY KEY, secret TEXT, login TEXT, created REAL);
CREATE TABLE IF NOT EXISTS config(project TEXT, tool TEXT, path TEXT, version INTEGER, contents TEXT, status TEXT,
  user TEXT, date TEXT, PRIMARY KEY(project, tool, path, version));
CREATE TABLE IF NOT EXISTS workflows(pk INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT, name TEXT, status TEXT,
  reason TEXT,
  comment TEXT, user TEXT, date TEXT, project TEXT DEFAULT '');
"""

SITE_DEFAULTS = {
    "siteId": "XNAT",
    "version": "1.8.10",
    "checksums": "true",
    "enableSitewideAnonymizationScript": "true",
    "preventCrossModalityMerge": "true",
    "requireLogin": "true",
    "sessionTimeout": "900",
    "sessionXmlRebuilderInterval": "300",
    "backupDeletedToCache": "false",
}

# XNAT source, BaseXnatProjectdata.initGroups: role -> rights on (project object, its data).
_RIGHTS = {
    "owner": ({"read", "create", "edit", "delete"}, {"read", "create", "edit", "delete"}),
    "member": ({"read"}, {"read", "create", "edit"}),
    "collaborator": ({"read"}, {"read"}),
}
GROUPS = {"owner": "Owners", "member": "Members", "collaborator": "Collaborators"}


def now(form: str = "%Y-%m-%d %H:%M:%S.%f") -> str:
    """The time as XNAT prints it in lists."""
    return datetime.datetime.now().strftime(form)[: -3 if form.endswith("%f") else None]


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
            db.executescript(SCHEMA)
            db.executemany("INSERT OR IGNORE INTO site VALUES(?, ?)", SITE_DEFAULTS.items())

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

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self.read().execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        return self.read().execute(sql, values).fetchone()

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
                "INSERT OR REPLACE INTO users VALUES(?,?,?,?,?,?,?,?,1)",
                (
                    login,
                    self.number("user"),
                    salt,
                    self._hash(password, salt),
                    first,
                    last,
                    f"{login}@example.org",
                    int(admin),
                ),
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

    def role(self, login: str | None, project: str) -> str:
        """owner, member, collaborator or ""."""
        found = self.row("SELECT role FROM members WHERE project=? AND login=?", project, login)
        return found["role"] if found else ""

    def can(self, login: str | None, project: str, action: str, on: str = "data") -> bool:
        """Whether somebody may read, create, edit or delete ``on`` "data" or the "project" object itself."""
        if self.is_admin(login):
            return True
        rights = _RIGHTS.get(self.role(login, project))
        if rights and action in rights[on == "data"]:
            return True
        if action != "read" or login is None:
            return False
        found = self.row("SELECT accessibility FROM projects WHERE id=?", project)
        level = found["accessibility"] if found else "private"
        return level == "public" or (level == "protected" and on == "project")

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
            accession = f"{self._site_prefix()}_S{self.number('subject'):05d}"
            db.execute(
                "INSERT INTO subjects VALUES(?,?,?,?,?,?)", (accession, project, label, now(), user, json.dumps(fields))
            )
            return accession

    def new_experiment(self, project: str, subject_id: str, label: str, xsi_type: str, user: str, **fields: Any) -> str:
        """Returns the accession number; ``date``, ``time``, ``uid`` and ``modality`` are columns."""
        own = {name: fields.pop(name, "") or "" for name in ("date", "time", "uid", "modality")}
        with self.write() as db:
            accession = f"{self._site_prefix()}_E{self.number('experiment'):05d}"
            db.execute(
                "INSERT INTO experiments VALUES(?,?,?,?,?,?,?,?,?,?,?,?)",
                (accession, project, subject_id, label, xsi_type, *own.values(), now(), user, json.dumps(fields)),
            )
            return accession

    def _site_prefix(self) -> str:
        return (self.site("siteId") or "XNAT").replace("-", "_").replace(" ", "").replace("'", "")

    def new_scan(self, experiment_id: str, scan: str, xsi_type: str, **fields: Any) -> int:
        """Returns the primary key."""
        names = ("type", "uid", "quality", "note", "series_description", "frames", "modality")
        own = {name: str(fields.pop(name, "usable" if name == "quality" else "") or "") for name in names}
        with self.write() as db:
            return db.execute(
                f"INSERT INTO scans(experiment_id, id, xsi_type, {', '.join(own)}, fields) "
                "VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                (experiment_id, scan, xsi_type, *own.values(), json.dumps(fields)),
            ).lastrowid

    def add_resource(self, kind: str, parent_id: str | int, label: str, **fields: str) -> int:
        """The primary key of a resource, made if it is missing. ``kind``: project, subject, experiment or scan."""
        with self.write() as db:
            found = db.execute(
                "SELECT pk FROM resources WHERE parent_kind=? AND parent_id=? AND label=?",
                (kind, str(parent_id), label),
            ).fetchone()
            if found:
                return found["pk"]
            return db.execute(
                "INSERT INTO resources(parent_kind, parent_id, label, format, content, description, tags) "
                "VALUES(?,?,?,?,?,?,?)",
                (
                    kind,
                    str(parent_id),
                    label,
                    *(fields.get(n, "") for n in ("format", "content", "description", "tags")),
                ),
            ).lastrowid

    # -- files --------------------------------------------------------------------------------------------------

    def resource_folder(self, pk: int) -> Path:
        """Where the files of a resource lie; from its parents' primary names, so that nothing has to move."""
        found = self.row("SELECT * FROM resources WHERE pk=?", pk)
        kind, parent = found["parent_kind"], found["parent_id"]
        base = self.folder / "archive"
        if kind == "project":
            return base / _safe(parent) / "resources" / _safe(found["label"])
        if kind == "subject":
            owner = self.row("SELECT project FROM subjects WHERE id=?", parent)
            return base / _safe(owner["project"]) / "subjects" / parent / _safe(found["label"])
        if kind == "experiment":
            owner = self.row("SELECT project FROM experiments WHERE id=?", parent)
            return base / _safe(owner["project"]) / parent / "RESOURCES" / _safe(found["label"])
        scan = self.row(
            "SELECT s.id AS id, e.id AS experiment, e.project AS project FROM scans s JOIN experiments e "
            "ON e.id=s.experiment_id WHERE s.pk=?",
            int(parent),
        )
        return base / _safe(scan["project"]) / scan["experiment"] / "SCANS" / _safe(scan["id"]) / _safe(found["label"])

    def file_path(self, resource_pk: int, path: str) -> Path:
        return self.resource_folder(resource_pk) / Path(*(_safe(part) for part in path.split("/") if part))

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

        A ``Path`` is moved. The MD5 is that of the stored bytes, and empty while ``checksums`` is off.
        """
        target = self.file_path(resource_pk, path)
        part = source if isinstance(source, Path) else self.temporary()
        if not isinstance(source, Path):
            with open(part, "wb") as out:
                if isinstance(source, bytes | bytearray | memoryview):
                    out.write(source)
                else:
                    shutil.copyfileobj(source, out, 1 << 20)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        size = target.stat().st_size
        md5 = file_md5(target) if self.site("checksums") == "true" else ""
        with self.write() as db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES(?,?,?,?,?,?,?,?)",
                (resource_pk, path, size, md5, format, content, tags, sop_uid),
            )
            self.count_files(resource_pk)
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
        return self.folder / "prearchive" / _safe(project or "Unassigned") / _safe(timestamp) / _safe(folder)

    # -- events -------------------------------------------------------------------------------------------------

    def workflow(
        self, item: str, name: str, user: str, query: Any = None, status: str = "Complete", project: str = ""
    ) -> None:
        """Note an audit entry; ``query`` may hold event_reason, event_action and event_comment."""
        get = query.get if query is not None else lambda *_: ""
        with self.write() as db:
            db.execute(
                "INSERT INTO workflows(item, name, status, reason, comment, user, date, project) "
                "VALUES(?,?,?,?,?,?,?,?)",
                (
                    item,
                    get("event_action", "") or name,
                    status,
                    get("event_reason", "") or "",
                    get("event_comment", "") or "",
                    user,
                    now(),
                    project,
                ),
            )


def _safe(part: str) -> str:
    """One path segment that stays one, whatever a client calls its file."""
    cleaned = part.replace("/", "_").replace("\\", "_").replace("\0", "_")
    return f"_{cleaned}" if cleaned in ("", ".", "..") else cleaned


def file_md5(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
