"""The tables of the catalogue, and what a site is set to before anybody changes it.

Beside what XNAT shows there are ``kept`` (folders whose files stay although nothing names them any more), ``stale``
(files that were anonymised after their MD5 was written down) and ``retired`` (ids of projects that were deleted).
An experiment with a ``session_id`` is an assessor of that session's images, and has no subject of its own.
"""

from __future__ import annotations

import sqlite3

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
CREATE INDEX IF NOT EXISTS shares_project ON shares(kind, project);
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
CREATE INDEX IF NOT EXISTS workflows_item ON workflows(item);
CREATE TABLE IF NOT EXISTS former(pk INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT, view TEXT);
CREATE TABLE IF NOT EXISTS kept(path TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS stale(resource_pk INTEGER, path TEXT, PRIMARY KEY(resource_pk, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired(project TEXT PRIMARY KEY);
"""

SITE_DEFAULTS = {
    "siteId": "XNAT",
    "version": "1.8.10",
    "checksums": "true",
    "enableSitewideAnonymizationScript": "true",
    "preventCrossModalityMerge": "true",
    "requireLogin": "true",
    "sessionTimeout": "900",
    "sessionXmlRebuilderInterval": "5",
    "backupDeletedToCache": "false",
}

# Columns that came later: a catalogue of before has its tables without them.
_LATER = {
    "prearchive": {"document": "TEXT DEFAULT ''"},
    "prearchive_files": {"listed": "INTEGER DEFAULT 0"},
    "workflows": {"type": "TEXT DEFAULT ''", "data_type": "TEXT DEFAULT ''", "data": "TEXT DEFAULT '{}'"},
    "projects": {"keywords": "TEXT DEFAULT ''", "fields": "TEXT DEFAULT '{}'"},
    "experiments": {"session_id": "TEXT DEFAULT ''"},
    "users": {
        "provider": "TEXT DEFAULT 'localdb'", "password_date": "TEXT DEFAULT ''", "site_group": "TEXT DEFAULT ''",
    },
}


def prepare(db: sqlite3.Connection) -> None:
    """Make what is missing; what is there stays."""
    db.executescript(SCHEMA)
    for table, columns in _LATER.items():
        known = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if name not in known:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    db.execute("CREATE INDEX IF NOT EXISTS experiments_session ON experiments(session_id)")
    db.executemany("INSERT OR IGNORE INTO site VALUES(?, ?)", SITE_DEFAULTS.items())
