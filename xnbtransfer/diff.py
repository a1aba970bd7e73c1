"""Diff: two inventories side by side, one status per session, scan and file. Pure: it reads no server."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import pandas as pd

from .keys import SessionKey
from .labels import LabelMap
from .values import Inventory

_DICOM_RESOURCES = {"DICOM", "SECONDARY"}


class Status(enum.StrEnum):
    """How something compares."""

    SAME = "same"
    ONLY_SOURCE = "only source"
    ONLY_DESTINATION = "only destination"
    DIFFERS = "differs"
    CONFLICT = "conflict"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Diff:
    """Frames of one row per session, scan and file on either side, each with a ``status`` and a ``because``."""

    sessions: pd.DataFrame
    scans: pd.DataFrame
    files: pd.DataFrame


def is_dicom(resource: str, file_format: str) -> bool:
    """Whether a scan resource holds DICOM that an import carries (XNAT: label DICOM or secondary, or that format)."""
    return resource.upper() in _DICOM_RESOURCES or file_format.upper() == "DICOM"


def _dicom_files(inventory: Inventory) -> pd.DataFrame:
    files = inventory.files
    keep = [
        bool(scan) and is_dicom(resource, kind)
        for scan, resource, kind in zip(files["scan"], files["resource"], files["format"], strict=True)
    ]
    return files[keep]


def diff(source: Inventory, destination: Inventory, labels: LabelMap | None = None) -> Diff:
    """Lay two inventories side by side under a label map.

    Parameters
    ----------
    source, destination : Inventory
        ``destination`` with its prearchive; files on both sides for whatever is to be compared by MD5.
    labels : LabelMap, optional
        Without it labels are kept.

    Returns
    -------
    Diff
        ``sessions``: one row per session on either side. ``size_bytes_*`` are in bytes, 0 where it is absent.

    Notes
    -----
    Two sessions with one label and another ``StudyInstanceUID`` are a conflict (XNAT source,
    ``PrearcSessionArchiver``: "Invalid modification of session UID"). Subjects are matched without regard to case, as
    XNAT does when it archives, sessions exactly. After an import the MD5s of equal content differ, so the files of a
    copied session are ``cannot tell`` here; only a read-back proves them.
    """
    labels = labels or LabelMap({})
    here, there = _dicom_files(source), _dicom_files(destination)
    to = {
        SessionKey(*row): labels(SessionKey(*row))
        for row in source.sessions[["subject", "session"]].itertuples(index=False, name=None)
    }
    files = _files(here, there, to)
    scans = _scans(files)
    return Diff(_sessions(source, destination, to, scans, files), scans, files)


def _files(here: pd.DataFrame, there: pd.DataFrame, to) -> pd.DataFrame:
    columns = ["scan", "resource", "path", "size_bytes", "md5"]
    left = here[["subject", "session", *columns]].copy()
    keys = list(zip(left["subject"], left["session"], strict=True))
    left["destination_session"] = [to.get(key, SessionKey(*key)).session for key in keys]
    right = there[["session", *columns]].rename(columns={"session": "destination_session"}).copy()
    # An import renames files, so files meet by MD5 first, then by path.
    left["meet"] = left["path"]
    right["meet"] = right["path"]
    by_md5 = {
        (row[0], row[1], row[2]): row[3]
        for row in left[left["md5"] != ""][["destination_session", "scan", "md5", "path"]].itertuples(
            index=False, name=None
        )
    }
    right["meet"] = [
        by_md5.get((session, scan, md5), path)
        for session, scan, md5, path in zip(
            right["destination_session"], right["scan"], right["md5"], right["path"], strict=True
        )
    ]
    on = ["destination_session", "scan", "resource", "meet"]
    merged = left.merge(right, how="outer", on=on, suffixes=("_source", "_destination"), indicator=True)
    merged["path"] = merged["path_source"].fillna(merged["path_destination"]) if len(merged) else []
    for column in ("subject", "session", "md5_source", "md5_destination"):
        merged[column] = merged[column].astype(object).fillna("")
    for column in ("size_bytes_source", "size_bytes_destination"):
        merged[column] = merged[column].fillna(0).astype("int64")
    merged["status"] = [
        _file_status(side, a, b)
        for side, a, b in zip(merged["_merge"], merged["md5_source"], merged["md5_destination"], strict=True)
    ]
    kept = ["subject", "session", "destination_session", "scan", "resource", "path", "status"]
    kept += ["size_bytes_source", "size_bytes_destination", "md5_source", "md5_destination"]
    return merged[kept].reset_index(drop=True)


def _file_status(side: str, here: str, there: str) -> str:
    if side == "left_only":
        return Status.ONLY_SOURCE
    if side == "right_only":
        return Status.ONLY_DESTINATION
    return Status.SAME if here and here == there else Status.CANNOT_TELL


def _scans(files: pd.DataFrame) -> pd.DataFrame:
    columns = ["subject", "session", "destination_session", "scan", "status", "because"]
    columns += ["files_source", "files_destination", "size_bytes_source", "size_bytes_destination"]
    if files.empty:
        return pd.DataFrame(columns=columns)
    work = files.copy()
    work["files_source"] = (work["status"] != Status.ONLY_DESTINATION).astype(int)
    work["files_destination"] = (work["status"] != Status.ONLY_SOURCE).astype(int)
    work["same"] = (work["status"] == Status.SAME).astype(int)
    sums = ["files_source", "files_destination", "size_bytes_source", "size_bytes_destination", "same"]
    grouped = work.groupby(["destination_session", "scan"], sort=True)
    found = grouped[sums].sum().reset_index()
    # rows only at the destination carry no source labels: take them from a row that does
    named = work.sort_values("session", ascending=False).drop_duplicates(["destination_session", "scan"])
    found = found.merge(
        named[["destination_session", "scan", "subject", "session"]], on=["destination_session", "scan"]
    )
    judged = [_scan_status(a, b, same) for a, b, same in found[["files_source", "files_destination", "same"]].values]
    found["status"] = [status for status, _ in judged]
    found["because"] = [because for _, because in judged]
    return found[columns]


def _scan_status(here: int, there: int, same: int) -> tuple[str, str]:
    if not there:
        return Status.ONLY_SOURCE, "the destination does not have it"
    if not here:
        return Status.ONLY_DESTINATION, "the source does not have it"
    if same == here == there:
        return Status.SAME, "every MD5 is equal"
    if here != there:
        return Status.DIFFERS, f"{here} files at the source, {there} at the destination"
    return Status.CANNOT_TELL, f"{here} files on both sides; the import rewrote them, only a read-back can tell"


def _sessions(source: Inventory, destination: Inventory, to, scans: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    by_label = {row.session: row for row in destination.sessions.itertuples(index=False)}
    by_uid: dict[str, list] = {}
    for row in destination.sessions.itertuples(index=False):
        if row.StudyInstanceUID:
            by_uid.setdefault(row.StudyInstanceUID, []).append(row)
    waiting_label = {row.session: row for row in destination.prearchive.itertuples(index=False)}
    waiting_uid = {row.StudyInstanceUID: row for row in destination.prearchive.itertuples(index=False)}
    goes: dict[str, list[SessionKey]] = {}
    for key, new in to.items():
        goes.setdefault(new.session, []).append(key)
    statuses: dict[tuple[str, str, str], list] = {}
    for row in scans[["subject", "session", "destination_session", "status"]].itertuples(index=False, name=None):
        statuses.setdefault(row[:3], []).append(row[3])
        if row[1]:
            statuses.setdefault(("", "", row[2]), [])
    rows, met = [], set()
    for row in source.sessions.itertuples(index=False):
        key = SessionKey(row.subject, row.session)
        new = to[key]
        there = by_label.get(new.session)
        status, conflict, because = Status.ONLY_SOURCE, "", "the destination has neither its label nor its study"
        waiting = waiting_label.get(new.session) or waiting_uid.get(row.StudyInstanceUID or None)
        elsewhere = [other for other in by_uid.get(row.StudyInstanceUID, ()) if other.session != new.session]
        if len(goes[new.session]) > 1:
            status, conflict = Status.CONFLICT, "two sources on one label"
            because = f"{len(goes[new.session])} sessions go to {new.session}"
        elif there is not None:
            met.add(new.session)
            status, conflict, because = _against(row, new, there, destination.project, statuses, key)
        elif elsewhere:
            status, conflict = Status.CONFLICT, "same study under another label"
            because = f"the same study is at the destination as {elsewhere[0].session}"
        if not conflict and waiting is not None:
            status, conflict = Status.CONFLICT, "waiting in the prearchive"
            because = f"a session of that label or study waits in the prearchive ({waiting.status})"
        rows.append(_row(row, None, key, new, there, status, conflict, because))
    for row in destination.sessions.itertuples(index=False):
        if row.session not in met:
            key = SessionKey("", "")
            new = SessionKey(row.subject, row.session)
            rows.append(_row(None, row, key, new, row, Status.ONLY_DESTINATION, "", "the source selection lacks it"))
    columns = ["subject", "session", "destination_subject", "destination_session", "status", "conflict", "because"]
    columns += ["scans_source", "scans_destination", "files_source", "files_destination"]
    columns += ["size_bytes_source", "size_bytes_destination"]
    return pd.DataFrame(rows, columns=columns)


def _row(here, there_only, key, new, there, status, conflict, because) -> dict:
    return {
        "subject": key.subject,
        "session": key.session,
        "destination_subject": new.subject,
        "destination_session": new.session,
        "status": str(status),
        "conflict": conflict,
        "because": because,
        "scans_source": here.scans if here is not None else 0,
        "scans_destination": there.scans if there is not None else 0,
        "files_source": here.files if here is not None else 0,
        "files_destination": there.files if there is not None else 0,
        "size_bytes_source": here.size_bytes if here is not None else 0,
        "size_bytes_destination": there.size_bytes if there is not None else 0,
    }


def _against(row, new: SessionKey, there, project: str, statuses, key: SessionKey) -> tuple[str, str, str]:
    if there.shared:
        return (
            Status.CONFLICT,
            "label: shared from another project",
            f"the label is taken by a share from {there.project}",
        )
    if there.StudyInstanceUID != row.StudyInstanceUID:
        word = "label: other study"
        if there.subject.casefold() != new.subject.casefold():
            word = "label: other subject"
        elif there.modality != row.modality:
            word = "label: other modality"
        return Status.CONFLICT, word, f"the label {new.session} is taken by another study"
    if there.subject.casefold() != new.subject.casefold():
        return (
            Status.CONFLICT,
            "label: other subject",
            f"the same study is there under the subject {there.subject}",
        )
    found = statuses.get((key.subject, key.session, new.session), [])
    only_there = [
        s for (subject, session, label), all_ in statuses.items() if label == new.session and not session for s in all_
    ]
    found = [*found, *only_there]
    if found and all(status == Status.SAME for status in found):
        return Status.SAME, "", "the same study is there, and every MD5 is equal"
    if found and all(status in (Status.SAME, Status.CANNOT_TELL) for status in found):
        return (
            Status.CANNOT_TELL,
            "",
            "the same study is there with the same counts; its bytes were rewritten on import, so only a read-back "
            "can prove it",
        )
    return Status.DIFFERS, "", "the same study is there, but its scans or files differ"
