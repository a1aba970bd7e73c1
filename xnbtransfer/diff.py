"""Diff: two inventories side by side, one status per session, scan and file. Pure: it reads no server."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .conflicts import MATRIX, Meeting, Surroundings, meetings
from .html import diff_table
from .keys import SessionKey
from .labels import LabelMap
from .markup import Html, Shown, many
from .values import Inventory, tuples_of

_DICOM_RESOURCES = {"DICOM", "SECONDARY"}
_ASIDE = {"shared-source", "other-project"}  # they are about something else than the session at the destination


class Status(enum.StrEnum):
    """How something compares."""

    SAME = "same"
    ONLY_SOURCE = "only source"
    ONLY_DESTINATION = "only destination"
    DIFFERS = "differs"
    CONFLICT = "conflict"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, repr=False)
class Diff(Shown):
    """Frames of one row per session, scan and file on either side, each with a ``status`` and a ``because``.

    ``meetings`` maps each session of the source to what it meets at the destination, the weightiest first.
    """

    sessions: pd.DataFrame
    scans: pd.DataFrame
    files: pd.DataFrame
    meetings: dict[SessionKey, list[Meeting]] = field(default_factory=dict)

    def line(self) -> str:
        return f"Diff of {many(len(self.sessions), 'session')}: {_counted(self.sessions)}"

    def card(self) -> Html:
        """One row per session of either side."""
        return diff_table(self)


def _counted(rows: pd.DataFrame) -> str:
    found = rows["status"].astype(str).value_counts() if len(rows) else {}
    return ", ".join(f"{count} {word}" for word, count in dict(found).items()) or "none"


def of_a_desktop(path: str) -> bool:
    """Whether a file is one that desktops leave beside others, such as ``Thumbs.db``: never DICOM."""
    name = path.rpartition("/")[2].lower()
    return name in (".ds_store", "thumbs.db", "desktop.ini") or name.startswith("._")


def is_dicom(resource: str, file_format: str) -> bool:
    """Whether a scan resource holds DICOM that an import carries (XNAT: label DICOM or secondary, or that format)."""
    return resource.upper() in _DICOM_RESOURCES or file_format.upper() == "DICOM"


def dicom_files(inventory: Inventory) -> pd.DataFrame:
    """The rows of ``files`` that an import carries: DICOM of scans."""
    files = inventory.files
    keep = [
        bool(scan) and is_dicom(resource, kind)
        for scan, resource, kind in zip(files["scan"], files["resource"], files["format"], strict=True)
    ]
    return files[np.array(keep, dtype=bool)]  # an empty list would choose no columns


def diff(
    source: Inventory,
    destination: Inventory,
    labels: LabelMap | None = None,
    left_out: frozenset[SessionKey] = frozenset(),
) -> Diff:
    """Lay two inventories side by side under a label map.

    Parameters
    ----------
    source, destination : Inventory
        ``destination`` with its prearchive; files on both sides for whatever is to be compared by MD5.
    labels : LabelMap, optional
        Without it labels are kept.
    left_out : set of SessionKey
        Sessions that will not be sent, so that the others do not meet them.

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
    here, there = dicom_files(source), dicom_files(destination)
    to = {
        SessionKey(*row): labels(SessionKey(*row))
        for row in tuples_of(source.sessions, "subject", "session")
    }
    files = _files(here, there, to)
    scans = _scans(files)
    sessions, met = _sessions(source, destination, to, scans, left_out)
    return Diff(sessions, scans, files, met)


_WHERE = ["destination_session", "scan", "resource"]


def _files(here: pd.DataFrame, there: pd.DataFrame, to) -> pd.DataFrame:
    columns = ["scan", "resource", "path", "size_bytes", "md5"]
    left = here[["subject", "session", *columns]].copy()
    labels = [to.get(key, SessionKey(*key)).session for key in zip(left["subject"], left["session"], strict=True)]
    left["destination_session"] = pd.Series(labels, index=left.index, dtype=object)
    right = there[["session", *columns]].rename(columns={"session": "destination_session"})
    left = left.sort_values([*_WHERE, "path"], kind="stable", ignore_index=True)
    right = right.sort_values([*_WHERE, "path"], kind="stable", ignore_index=True)
    # An import renames files, so a file meets its like by path and MD5, then by MD5 alone, then by path alone; each
    # meets one at most, also where a scan holds the same bytes twice.
    pairs, rest, other = [], left, right
    for on, hashed in ((["path", "md5"], True), (["md5"], True), (["path"], False)):
        if rest.empty or other.empty:
            break
        met = _meet(rest, other, [*_WHERE, *on], hashed)
        pairs.append(met)
        rest, other = rest.drop(met["left"]), other.drop(met["right"])
    pairs += [pd.DataFrame({"left": rest.index, "right": -1}), pd.DataFrame({"left": -1, "right": other.index})]
    met = pd.concat([pair for pair in pairs if len(pair)] or pairs[:1], ignore_index=True).astype("int64")
    with_left, with_right = met["left"].to_numpy() >= 0, met["right"].to_numpy() >= 0
    left, right = left.reindex(met["left"].to_numpy()), right.reindex(met["right"].to_numpy())
    found = pd.DataFrame(index=met.index)
    for name in ("subject", "session"):
        found[name] = left[name].fillna("").to_numpy(dtype=object)
    for name in (*_WHERE, "path"):
        found[name] = left[name].astype(object).where(with_left, right[name].to_numpy(dtype=object)).to_numpy()
    for side, table in (("source", left), ("destination", right)):
        found[f"size_bytes_{side}"] = table["size_bytes"].fillna(0).to_numpy(dtype="int64")
        found[f"md5_{side}"] = table["md5"].fillna("").to_numpy(dtype=object)
    found["status"] = str(Status.CANNOT_TELL)
    equal = (found["md5_source"] == found["md5_destination"]) & (found["md5_source"] != "")
    for mask, status in (
        (equal, Status.SAME),
        (~with_right, Status.ONLY_SOURCE),
        (~with_left, Status.ONLY_DESTINATION),
    ):
        found.loc[mask, "status"] = str(status)
    kept = ["subject", "session", "destination_session", "scan", "resource", "path", "status"]
    kept += ["size_bytes_source", "size_bytes_destination", "md5_source", "md5_destination"]
    return found[kept].sort_values([*_WHERE, "path"], kind="stable", ignore_index=True)


def _meet(left: pd.DataFrame, right: pd.DataFrame, on: list[str], hashed: bool) -> pd.DataFrame:
    """Pairs of row numbers with equal ``on``: the first with the first, the second with the second."""
    sides = []
    for name, table in (("left", left), ("right", right)):
        table = table[table["md5"] != ""] if hashed else table
        sides.append(table[on].assign(turn=table.groupby(on, sort=False).cumcount(), **{name: table.index}))
    return sides[0].merge(sides[1], on=[*on, "turn"])[["left", "right"]]


def _scans(files: pd.DataFrame) -> pd.DataFrame:
    columns = ["subject", "session", "destination_session", "scan", "status", "because"]
    columns += ["files_source", "files_destination", "size_bytes_source", "size_bytes_destination"]
    if files.empty:
        return pd.DataFrame(columns=columns)
    # Of each scan: its labels at the source, files and bytes on either side, and files that are the same.
    sums: dict[tuple[str, str], tuple[list[str], list[int]]] = {}
    of_file = ["subject", "session", "destination_session", "scan", "status"]
    of_file += ["size_bytes_source", "size_bytes_destination"]
    for subject, session, to, scan, status, size_here, size_there in tuples_of(files, *of_file):
        labels, counts = sums.setdefault((to, scan), (["", ""], [0, 0, 0, 0, 0]))
        if session > labels[1]:  # files only at the destination carry no labels
            labels[:] = subject, session
        counts[0] += status != Status.ONLY_DESTINATION
        counts[1] += status != Status.ONLY_SOURCE
        counts[2] += size_here
        counts[3] += size_there
        counts[4] += status == Status.SAME
    rows = []
    for (to, scan), (labels, (here, there, *sizes, same)) in sorted(sums.items()):
        status, because = _scan_status(here, there, same)
        rows.append((*labels, to, scan, str(status), because, here, there, *sizes))
    return pd.DataFrame(rows, columns=columns)


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


def _sessions(
    source: Inventory, destination: Inventory, to, scans: pd.DataFrame, left_out
) -> tuple[pd.DataFrame, dict[SessionKey, list[Meeting]]]:
    there = Surroundings(destination)
    met = meetings(source, there, to, left_out)
    statuses: dict[str, list[str]] = {}
    for label, status in zip(scans["destination_session"], scans["status"], strict=True):
        statuses.setdefault(label, []).append(status)
    rows, seen = [], set()
    for row in source.sessions.itertuples(index=False):
        key = SessionKey(row.subject, row.session)
        new, found = to[key], met[key]
        at = there.by_label.get(new.session)
        if at is not None and not any(one.kind == "one-label" for one in found):
            seen.add(new.session)
        status, because = Status.ONLY_SOURCE, "the destination has neither its label nor its study"
        for number, one in enumerate(found):
            if one.kind == "same-study":
                status, because = _same_study(statuses.get(new.session, []))
                found[number] = Meeting(one.kind, because)
        conflict = next((one for one in found if one.kind != "same-study"), None)
        if conflict is not None and (conflict.kind not in _ASIDE or status == Status.ONLY_SOURCE):
            because = conflict.because
            status = status if conflict.kind in _ASIDE else Status.CONFLICT
        words = MATRIX[conflict.kind].words if conflict is not None else ""
        rows.append(_row(row, None, key, new, at, status, words, because))
    for row in destination.sessions.itertuples(index=False):
        if row.session not in seen:
            key = SessionKey("", "")
            new = SessionKey(row.subject, row.session)
            rows.append(_row(None, row, key, new, row, Status.ONLY_DESTINATION, "", "the source selection lacks it"))
    columns = ["subject", "session", "destination_subject", "destination_session", "status", "conflict", "because"]
    columns += ["scans_source", "scans_destination", "files_source", "files_destination"]
    columns += ["size_bytes_source", "size_bytes_destination"]
    return pd.DataFrame(rows, columns=columns), met


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


def _same_study(found: list[str]) -> tuple[Status, str]:
    if not found:
        return Status.CANNOT_TELL, "the same study is there, and no DICOM file is listed on either side"
    if all(status == Status.SAME for status in found):
        return Status.SAME, "the same study is there, and every MD5 is equal"
    if all(status in (Status.SAME, Status.CANNOT_TELL) for status in found):
        return (
            Status.CANNOT_TELL,
            "the same study is there with the same counts; its bytes were rewritten on import, so only a read-back "
            "can prove it",
        )
    return Status.DIFFERS, "the same study is there, but its scans or files differ"
