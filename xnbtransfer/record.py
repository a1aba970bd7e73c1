"""The record of a run: a BagIt bag with the executed notebook, its HTML copy, plan, journal and a manifest per file.

A run works in ``<record_root>/<name>.unfinished``. Killed, it is picked up again by the same parameters; sealed, it
becomes ``<name>``, read-only, and anybody's BagIt tool can check it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import shutil
import stat
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from . import __version__
from .changes import ChangePlan
from .csv_files import of_cell
from .dicomedit.engines import engines_of
from .errors import ExitCode, InputError, RefusedError
from .findings import recorded_findings
from .html import WORDS, csv_text, earlier_table, left_behind
from .journal import JOURNAL
from .markup import Html, Shown
from .outputs import folder_mode, make_folder, make_private, not_written, with_home, write_whole
from .plan import Plan
from .values import OUTCOME_COLUMNS, Result, frame

WORKSPACE = "XNBTRANSFER_WORKSPACE"  # set for the notebook by a parent that holds the lock
UNFINISHED = ".unfinished"
UNREADABLE = "cannot be read"  # state of a folder below a shared record root that this user may not look into
PLANNED = "plan only (dry run)"
_TAGS = "tagmanifest-sha256.txt"
_OF_THE_DESKTOP = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left beside the files by whoever looks into a folder
NOTEBOOK, PAGE = "notebook.ipynb", "record.html"
PLAN, SUMMARY, ABOUT = "plan.json", "summary.json", "workspace.json"
_PACKAGES = ("xnat", "pydicom", "pandas", "pydantic", "papermill", "nbclient", "nbconvert", "bagit", "requests")
_RECORD_COLUMNS = {
    "record": str,
    "made_at": str,
    "template": str,
    "source": str,
    "destination": str,
    "user": str,
    "files": int,
    "state": str,
    "result": str,
    "exit_code": str,
}


@dataclasses.dataclass(frozen=True)
class Workspace:
    """The folder of one unfinished run."""

    folder: Path
    template: str
    parameters: Mapping[str, Any]
    made_at: str
    resumed: bool = False
    lock: FileLock | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name that the record will have."""
        if self.folder.name.endswith(UNFINISHED):
            return self.folder.name.removesuffix(UNFINISHED)
        token = hashlib.sha256(f"{self.made_at}{self.folder.name}".encode()).hexdigest()[:6]
        return _name(self.template, self.parameters, self.made_at, token)

    def kept_plan(self) -> Plan | None:
        """The plan of the run that was cut off here, or None where nothing was begun."""
        journal = self.folder / JOURNAL
        if journal.exists() and journal.stat().st_size and (self.folder / PLAN).exists():
            return Plan.load(self.folder / PLAN)
        return None

    def keep(self, plan: Plan) -> Plan:
        """Write the plan down before anything is done."""
        plan.save(self.folder / PLAN)
        return plan

    def give_up(self, reason: str, exit_code: int) -> None:
        """Say why this run cannot go on, so that the next one begins anew."""
        _write_json(self.folder / "given-up.json", {"reason": reason, "exit_code": int(exit_code), "at": _now()})

    def close(self) -> None:
        """Let go of the folder."""
        if self.lock is not None:
            self.lock.release()
            with contextlib.suppress(OSError):
                os.unlink(self.lock.lock_file)


def open_workspace(options: Any, template: str) -> Workspace:
    """A folder for a run, or the one in which a run with the same parameters was cut off.

    Parameters
    ----------
    options : TransferOptions or another model with ``record_root``
        All parameters count: a run is resumed by exactly the same ones.
    template : str
        Name of the template or command; part of the record's name.

    Raises
    ------
    InputError
        If the record root cannot be written.
    """
    values = options.model_dump(mode="json")
    # The addresses may come from the environment, and another server is another run.
    hosts = [os.environ.get(f"XNAT_{side}HOST", "").rstrip("/") for side in ("", "SOURCE_", "DESTINATION_")]
    same = hashlib.sha256(json.dumps([template, values, hosts], sort_keys=True).encode()).hexdigest()
    given = os.environ.get(WORKSPACE)
    if given and (about := read_about(Path(given))).get("digest") == same:
        return Workspace(Path(given), template, values, about["made_at"], resumed=(Path(given) / JOURNAL).exists())
    root = with_home(options.record_root)
    try:
        make_folder(root)
        for folder in filter(may_read, record_folders(root)):
            about = read_about(folder) if folder.name.endswith(UNFINISHED) else {}
            if about.get("digest") == same and not (folder / "given-up.json").exists() and (lock := _lock(folder)):
                return Workspace(folder, template, values, about["made_at"], (folder / JOURNAL).exists(), lock)
        made_at = _now()
        folder = root / f"{_name(template, values, made_at, secrets.token_hex(3))}{UNFINISHED}"
        folder.mkdir(mode=folder_mode())
    except OSError as problem:
        raise InputError(
            f"The record root {root} cannot be written: {problem.strerror}.", "Name another folder with --record-root."
        ) from None
    lock = _lock(folder)
    _write_json(folder / ABOUT, {"digest": same, "template": template, "parameters": values, "made_at": made_at})
    return Workspace(folder, template, values, made_at, lock=lock)


def close_record(
    workspace: Workspace,
    plan: Plan | ChangePlan | None = None,
    result: Result | None = None,
    *,
    inventory: Any = None,
    differences: Any = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    ended: tuple[ExitCode, str] | None = None,
) -> dict[str, Any]:
    """Write everything but the notebook into the workspace; returns the summary.

    ``summary.json`` says who, when, from where, to where, with what, and how it ended: as the result or the plan says,
    or as ``ended`` does in their place.

    Raises
    ------
    DiskFullError, InputError
        If there is no room, or the folder takes nothing.
    """
    folder = workspace.folder
    code = ExitCode.PROVED
    if result is not None:
        code = ExitCode(result.exit_code)
    elif plan is not None and plan.blockers:
        code = ExitCode.REFUSED
    word = result_word(plan, result, workspace.template)
    if ended is not None:
        code, word = ended
    sides = {}
    for name in ("source", "destination"):
        side = getattr(plan, name, None) or (inventory if name == "source" else None)
        if side is not None:
            settings = side.settings if isinstance(side.settings, Mapping) else side.settings.as_dict()
            sides[name] = {
                "server": side.server,
                "project": side.project,
                "user": side.user,
                "read_at": side.read_at,
                "version": str(settings.get("version") or ""),
            }
            if name == "destination" and (settings.get("site_script_on") or settings.get("project_script_on")):
                sides[name]["script_engine"] = str(engines_of(str(settings.get("version") or "")))
    summary: dict[str, Any] = {
        "format": 1,
        "record": workspace.name,
        "template": workspace.template,
        "made_at": workspace.made_at,
        "closed_at": _now(),
        "resumed": workspace.resumed,
        "exit_code": int(code),
        "result": word,
        **sides,
        "reason": workspace.parameters.get("reason", ""),
        "parameters": dict(workspace.parameters),
        "versions": versions(),
    }
    if plan is not None:
        summary |= {
            "plan": {"fingerprint": plan.fingerprint, "made_at": plan.made_at, "totals": plan.totals},
            "blockers": list(plan.blockers),
        }
        if isinstance(plan, ChangePlan):
            summary |= {"takes_up": plan.of_record} if plan.of_record else {}
        else:
            summary["left_behind"] = len(plan.left_behind)
    if result is not None:
        summary |= {
            "verdicts": result.counts,
            "read_in": {str(k) or "not read": int(v) for k, v in result.files["read_in"].value_counts().items()},
            "way_out": {str(k) or "not told": int(v) for k, v in result.files["way_out"].value_counts().items()},
            "sessions": {str(k): int(v) for k, v in result.sessions["state"].value_counts().items()},
            "extra": len(result.extra),
            "started_at": result.started_at,
            "finished_at": result.finished_at,
            "seconds": result.seconds,
            "requests": result.requests,
            "writes": result.writes,
            "problems": list(result.problems),
            "messages": list(result.messages),
        }
    tables = dict(tables or {})
    if plan is not None:
        plan.save(folder / PLAN)
        tables |= _tables_of(plan, result)
    if result is not None:
        tables |= {"sessions.csv": result.sessions, "files.csv": result.files, "extra.csv": result.extra}
    if inventory is not None:
        tables |= {f"{name}.csv": getattr(inventory, name) for name in ("sessions", "scans", "resources", "files")}
    if differences is not None:
        tables |= {f"diff-{name}.csv": getattr(differences, name) for name in ("sessions", "scans", "files")}
    try:
        for name, rows in tables.items():
            write_whole(folder / name, csv_text(rows))
        lines = [f"{name} {version}" for name, version in sorted(_installed().items())]
        write_whole(folder / "versions.txt", "\n".join(lines) + "\n")
        _write_json(folder / SUMMARY, summary)
    except OSError as problem:
        raise not_written(problem, f"The record cannot be written to {folder}") from None
    return summary


def _tables_of(plan: Plan | ChangePlan, result: Result | None) -> dict[str, pd.DataFrame]:
    """The CSV files that a plan becomes; one that carries no file becomes fewer."""
    crosswalk = [(s.subject, s.session, s.destination_subject, s.destination_session) for s in plan.sessions]
    found = {
        "crosswalk.csv": pd.DataFrame(
            crosswalk, columns=["subject", "session", "to_subject", "to_session"], dtype=object
        ),
        "plan.csv": plan.to_frame(),
        "findings.csv": recorded_findings(plan.findings, result.findings if result is not None else None),
    }
    if isinstance(plan, ChangePlan):
        return found
    found |= {"scans.csv": plan.scans_frame(), "left-behind.csv": left_behind(plan)}
    return found | ({"carried.csv": plan.resources_frame()} if plan.resources else {})


def result_word(plan: Plan | ChangePlan | None, result: Result | None, template: str = "") -> str:
    """How it ended, in words."""
    if result is not None:
        if result.exit_code == ExitCode.PROVED and not len(result.files):
            acted = set(result.sessions["state"]) - {"skipped", "there already"}
            return "done" if acted else "nothing to send"
        return WORDS[ExitCode(result.exit_code)]
    if plan is None:
        return "read"
    if template == "review":
        return "reviewed, with blocking findings" if plan.blockers else "reviewed"
    return "plan with blockers" if plan.blockers else PLANNED


def seal(where: Workspace | str | Path, executed: str | Path | None = None, *, hidden: Iterable[str] = ()) -> Path:
    """Make the record final: notebook tidied, HTML copy, bag, read-only. Returns its folder.

    Parameters
    ----------
    where : Workspace or path
        The unfinished folder.
    executed : path, optional
        The executed notebook; without it the one in the folder, if there is one.
    hidden : iterable of str
        Further secrets that must not occur; those of the environment are known.

    Raises
    ------
    RefusedError
        If a password or token in use occurs in a file of the record, or a record of this name is there.
    InputError
        If the folder is not one that :func:`close_record` has finished.
    """
    from .pages import tidy_notebook, write_page

    folder = where.folder if isinstance(where, Workspace) else Path(where)
    if not (folder / SUMMARY).exists():
        raise InputError(
            f"The run in {folder} did not end, so there is nothing to seal.", "Run it again with the same parameters."
        )
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    final = folder.parent / summary["record"]
    if final.exists():
        raise RefusedError(f"The record {final} is there already; a record is never overwritten.", "Look at that one.")
    staging = folder.parent / f".{summary['record']}.sealing"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        shutil.copytree(
            folder, staging, ignore=shutil.ignore_patterns(ABOUT, "stop", "*.lock", "*.part", NOTEBOOK, PAGE)
        )
        notebook = Path(executed) if executed else folder / NOTEBOOK
        if notebook.exists():
            tidy_notebook(notebook, staging / NOTEBOOK)
            write_page(staging / NOTEBOOK, staging / PAGE, summary["record"], _header(summary))
        _refuse_secrets(staging, [*secrets_in_use(), *hidden])
        make_bag(staging, summary)
        make_private(staging)
        os.replace(staging, final)
    except OSError as problem:
        raise not_written(problem, f"The record {final.name} cannot be written") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(where, Workspace):
        where.close()
    return final


@dataclasses.dataclass(frozen=True, repr=False)
class Record(Shown):
    """A sealed record that was found whole."""

    path: Path
    summary: dict[str, Any]

    def line(self) -> str:
        told = self.summary
        return f"Record {told['record']} ({told['template']}): {told['result']} (exit code {told['exit_code']})"

    def card(self) -> Html:
        """What the record says of itself."""
        return earlier_table(self)

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def journal(self) -> Path:
        return self.data / JOURNAL

    @property
    def notebook(self) -> Path:
        return self.data / NOTEBOOK

    @property
    def page(self) -> Path:
        return self.data / PAGE

    def plan(self) -> Plan:
        """The plan, its fingerprint checked.

        Raises
        ------
        InputError
            If the record is of something else than a copy.
        """
        if self.summary.get("template") in ("share", "unshare", "move", "prearchive", "finish-move"):
            raise InputError(
                f"The record {self.path.name} is of {self.summary['template']}, not of a copy.",
                "'xnbtransfer verify' looks whether it still holds.",
            )
        return Plan.load(self.data / PLAN)

    def table(self, name: str) -> pd.DataFrame:
        """One of the CSV files, e.g. ``files``; labels stay text."""
        return read_csv(self.data / f"{name}.csv")


def read_csv(path: str | Path) -> pd.DataFrame:
    """A CSV of a record; text stays text, counts and bytes become integers."""
    counts = {name for name, kind in OUTCOME_COLUMNS.items() if kind is int}
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in found.columns:
        if name.startswith("size_bytes") or name in counts:
            found[name] = found[name].astype("int64")
        else:
            found[name] = found[name].map(of_cell)
    return found


def open_record(path: str | Path) -> Record:
    """Read a record after checking it without any network: every digest, nothing added, nothing lost.

    Raises
    ------
    InputError
        If it is no record, or was changed after it was sealed.
    """
    import bagit

    path = Path(path)
    if path.name.endswith(UNFINISHED):
        raise InputError(f"{path} is of a run that did not end.", "Run it again with the same parameters.")
    advice = "Take the copy from your backup, and ask who opened this one."
    changed = f"The record {path.name} was changed after it was sealed"
    try:
        bag = bagit.Bag(str(path))
        bag.info.pop("Payload-Oxum", None)  # its digest is checked; as a total it would hide which file it is
        with _quiet_bagit():
            bag.validate()
    except bagit.BagValidationError as problem:
        found = [_detail(one) for one in problem.details] or [str(problem)]
        raise InputError(f"{changed}: {'; '.join(found)}.", advice) from None
    except (bagit.BagError, OSError):
        way = "Name the folder that holds bagit.txt; 'xnbtransfer seal FOLDER' makes one of a run."
        raise InputError(f"{path} is no record.", way) from None
    # a valid bag may lack the digests of its tag files, and hold others; one that was sealed here does not
    listed = {*bag.tagfile_entries(), _TAGS}
    beside = {one.name for one in path.iterdir()} - {"data"} - _OF_THE_DESKTOP
    if beside != listed:
        words = [f"{name} is missing" for name in sorted(listed - beside)]
        words += [f"{name} was added" for name in sorted(beside - listed) if _TAGS in beside]
        raise InputError(f"{changed}: {'; '.join(words)}.", advice)
    try:
        summary = json.loads((path / "data" / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"The record {path.name} has no summary.", advice) from None
    return Record(path, summary)


def list_records(root: str | Path) -> pd.DataFrame:
    """The records below a folder, sealed and unfinished, newest first; their bags are not checked here.

    A folder that this user may not look into, in a root that a team shares, is a row whose state says so.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"There is no folder {root}.", "Name the folder given as --record-root.")
    rows = []
    for folder in record_folders(root):
        if not may_read(folder):
            rows.append({"record": folder.name, "state": UNREADABLE})
            continue
        sealed = (folder / "bagit.txt").exists()
        about = read_about(folder, SUMMARY) or read_about(folder / "data", SUMMARY) or read_about(folder)
        given_up = read_about(folder, "given-up.json")
        if not about:
            continue
        rows.append(
            {
                "record": folder.name,
                "made_at": about.get("made_at"),
                "template": about.get("template"),
                "source": about.get("source", {}).get("project") or about["parameters"].get("source_project"),
                "destination": about.get("destination", {}).get("project")
                or about["parameters"].get("destination_project"),
                "user": about.get("destination", about.get("source", {})).get("user"),
                "files": sum(about.get("verdicts", {}).values()),
                "state": "sealed" if sealed else ("given up" if given_up else "unfinished"),
                "result": given_up.get("reason") or about.get("result"),
                "exit_code": about.get("exit_code"),
            }
        )
    return frame(rows, _RECORD_COLUMNS)


def record_folders(root: Path) -> list[Path]:
    """The folders below a record root that may be records, newest first; empty where there is no root."""
    if not root.is_dir():
        return []
    return sorted((one for one in root.iterdir() if one.is_dir() and one.name[:1] != "."), reverse=True)


def may_read(folder: Path) -> bool:
    """Whether this user may look into a folder, which can be somebody else's."""
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def is_running(folder: Path) -> bool:
    """Whether a run holds this unfinished folder now."""
    if not _lock_of(folder).exists():
        return False
    lock = _lock(folder)
    if lock is None:
        return True
    lock.release()
    return False


def secrets_in_use(environment: Mapping[str, str] | None = None) -> list[str]:
    """The passwords and token secrets that the environment holds for us, and the names of alias tokens."""
    known = os.environ if environment is None else environment
    found = []
    for name, value in known.items():
        if re.fullmatch(r"XNAT_(\w+_)?PASS", name) and value:
            user = known.get(name.removesuffix("PASS") + "USER", "")
            # Where password and user name are one word, finding it tells nothing.
            if value != user:
                found.append(value)
                pair = f"{user}:{value}".encode()
                found.append(base64.b64encode(pair).decode())
        if re.fullmatch(r"XNAT_(\w+_)?USER", name) and re.fullmatch(r"[0-9a-fA-F-]{36}", value):
            found.append(value)
    return found


def versions() -> dict[str, str]:
    """What made the record."""
    found = {"python": platform.python_version(), "xnbtransfer": __version__}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _installed() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for one in importlib.metadata.distributions():
        found[str(one.metadata["Name"])] = one.version
    return found


def _refuse_secrets(folder: Path, hidden: Iterable[str]) -> None:
    forms = set()
    for secret in hidden:
        if len(secret) >= 4:
            forms |= {secret, urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1]}
    patterns = [
        re.compile((re.escape(form) if len(form) >= 8 else rf"(?<!\w){re.escape(form)}(?!\w)").encode())
        for form in forms
    ]
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        data = path.read_bytes()
        if any(pattern.search(data) for pattern in patterns):
            raise RefusedError(
                f"The record is not sealed: {path.name} holds a password or token that is in use.",
                "Change that password, take it out of what was entered, and run again.",
            )


def make_bag(folder: Path, summary: Mapping[str, Any]) -> None:
    """Make a BagIt bag of a folder, read-only."""
    import bagit

    def side(name: str) -> str:
        found = summary.get(name)
        return f"{found['project']} on {found['server']}" if found else "none"

    people = {found["user"] for name in ("source", "destination") if (found := summary.get(name))}
    about = {
        "External-Identifier": summary["record"],
        "External-Description": f"xnbtransfer {summary['template']}: {side('source')} to {side('destination')}",
        "Transfer-Source": side("source"),
        "Transfer-Destination": side("destination"),
        "Transfer-By": ", ".join(sorted(people)) or "unknown",
        "Transfer-When": summary["closed_at"],
        "Transfer-Result": f"{summary['result']} (exit code {summary['exit_code']})",
    }
    with _quiet_bagit():
        bagit.make_bag(str(folder), bag_info=about, checksums=["sha256"])
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(stat.S_IRUSR | stat.S_IRGRP)


def _header(summary: Mapping[str, Any]) -> list[str]:
    """What a reader wants to know first."""
    sides = [found for name in ("source", "destination") if (found := summary.get(name))]
    verdicts = [f"{count} {word}" for word, count in summary.get("verdicts", {}).items() if count]
    people = list(dict.fromkeys(side["user"] for side in sides))
    words = [f"{summary['result']} (exit code {summary['exit_code']})", *([", ".join(verdicts)] if verdicts else [])]
    words += [" → ".join(side["project"] for side in sides)] if sides else []
    words += [f"by {' and '.join(people)}"] if people else []
    return [*words, summary["closed_at"]]


@contextlib.contextmanager
def _quiet_bagit() -> Iterator[None]:
    import logging

    logger = logging.getLogger("bagit")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _detail(problem: Exception) -> str:
    path = getattr(problem, "path", "") or str(problem)
    words = {
        "ChecksumMismatch": "has another content",
        "FileMissing": "is missing",
        "UnexpectedFile": "was added",
    }
    return f"{path} {words.get(type(problem).__name__, 'does not fit')}"


def _lock(folder: Path) -> FileLock | None:
    """The lock of an unfinished folder, beside it; None where another run has it."""
    lock = FileLock(str(_lock_of(folder)))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _lock_of(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"


def read_about(folder: Path, name: str = ABOUT) -> dict[str, Any]:
    """A JSON file of a record's folder; empty where there is none."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(template: str, values: Mapping[str, Any], made_at: str, token: str) -> str:
    """UTC time, template, projects and a token: sorts by time, and is a legal file name anywhere."""
    ends = [values[key] for key in ("source_project", "destination_project") if values.get(key)]
    ends = [re.sub(r"[^A-Za-z0-9_]", "_", end) for end in ends]
    time = re.sub(r"[-:]|\+.*", "", made_at) + "Z"
    return "_".join([time, template, *(["-".join(ends)] if ends else []), token])


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(values, indent=1, ensure_ascii=False, default=str) + "\n")
