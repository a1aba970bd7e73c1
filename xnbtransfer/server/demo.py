"""The content of ``--demo``, and large projects for measurements.

``DEMO_SOURCE`` holds nine sessions of seven subjects, ``DEMO_DESTINATION`` what a copy will run into: a study that is
there already, a label that another study has, and a session that waits in the prearchive. What is real and what is
made up stands in ``docs/demo-content.md``.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom

from .demo_files import SeriesPlan, make_series, make_uid
from .identify import identify, scan_type, session_type
from .importer import Order
from .ingest import run_import
from .reencode import BULK, read_header

if TYPE_CHECKING:
    from .state import State

SOURCE, DESTINATION = "DEMO_SOURCE", "DEMO_DESTINATION"


@dataclass(frozen=True, kw_only=True)
class _Session:
    subject: str
    label: str
    date: str
    series: tuple[SeriesPlan, ...]
    results: tuple[str, ...] = ()

    @property
    def study_uid(self) -> str:
        return make_uid("demo", self.label)

    def files(self, project: str, study_uid: str = "") -> Iterator[tuple[int, str, bytes]]:
        """Yield scan number, name and bytes of each file."""
        for plan in self.series:
            made = make_series(plan, project=project, subject=self.subject, session=self.label, date=self.date,
                               study_uid=study_uid or self.study_uid)
            for name, data in made:
                yield plan.number, name, data


def _series(source: str, *scans: tuple[int, str, int]) -> tuple[SeriesPlan, ...]:
    return tuple(SeriesPlan(source=source, number=number, description=description, count=count)
                 for number, description, count in scans)


_SESSIONS = (
    _Session(subject="001", label="001_MR1", date="20240108", results=("BIDS", "MRIQC"),
             series=_series("MR", (1, "localizer", 10), (2, "T1w MPRAGE", 40), (3, "BOLD rest", 30))),
    _Session(subject="001", label="001_MR2", date="20240709",
             series=_series("MR", (1, "localizer", 10), (2, "T1w MPRAGE", 40))),
    _Session(subject="002", label="002_MR1", date="20240115", results=("MRIQC",),
             series=_series("MR", (1, "localizer", 10), (2, "T2w TSE", 24), (5, "T2w FLAIR", 24))),
    _Session(subject="003", label="003_CT1", date="20240116",
             series=_series("CT", (1, "scout", 10), (2, "thorax 2.5 mm", 24))),
    _Session(subject="004", label="004_PET1", date="20240122", results=("SUV",),
             series=_series("PT", (1, "FDG static AC", 30), (2, "FDG static NAC", 30))),
    _Session(subject="005", label="005_MR1", date="20240123", results=("BIDS",),
             series=_series("MR", (1, "localizer", 10), (2, "T1w MPRAGE", 30), (3, "DWI b0", 12),
                            (4, "DWI b1000", 12))),
    _Session(subject="006", label="006_CT1", date="20240129",
             series=_series("CT", (1, "scout", 10), (2, "head 5 mm", 16))),
    _Session(subject="007", label="007_MR1", date="20240130",
             series=_series("MR", (1, "localizer", 10), (2, "T1w MPRAGE", 30))),
    _Session(subject="007", label="007_PET1", date="20240131",
             series=_series("PT", (1, "FDG dynamic", 24), (2, "FDG static AC", 12))),
)
_SAME_STUDY, _OTHER_STUDY, _WAITING = "003_CT1", "002_MR1", "004_PET1"


def populate(state: State, accounts: Mapping[str, Sequence[str]]) -> None:
    """Fill an empty server.

    Parameters
    ----------
    accounts : mapping
        Role (``owner``, ``member``, ``collaborator``, ``outsider``) to user name and password.
    """
    owner = accounts["owner"][0]
    for project, name in ((SOURCE, "Demonstration: source"), (DESTINATION, "Demonstration: destination")):
        with state.write() as db:
            state.new_project(project, owner, prearchive_code=0,
                              description="Made for the demonstration; see docs/demo-content.md.")
            db.execute("UPDATE projects SET name=? WHERE id=?", (name, project))
            db.executemany("INSERT OR REPLACE INTO members VALUES(?,?,?)", [
                (project, accounts[role][0], role) for role in ("member", "collaborator")])
    for session in _SESSIONS:
        _store(state, session, owner)
    by_label = {session.label: session for session in _SESSIONS}
    target = f"/archive/projects/{DESTINATION}"
    same = by_label[_SAME_STUDY]
    _import(state, owner, same.files(SOURCE), f"{target}/subjects/{same.subject}/experiments/{same.label}")
    other = by_label[_OTHER_STUDY]
    files = other.files(DESTINATION, study_uid=make_uid("demo", "another study", other.label))
    _import(state, owner, files, f"{target}/subjects/{other.subject}/experiments/{other.label}")
    waiting = by_label[_WAITING]
    _import(state, owner, waiting.files(SOURCE), f"/prearchive/projects/{DESTINATION}", subject=waiting.subject,
            session=waiting.label)


def _import(state: State, user: str, files: Iterator[tuple[int, str, bytes]], dest: str, **labels: str) -> None:
    """Send files through the server's own importer, so that they end as a copy would leave them."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for number, name, data in files:
            out.writestr(f"{number}/{name}", data)
    archive.seek(0)
    run_import(state, Order.read(user, "DICOM-zip", {"dest": dest, **labels}), archive)


def _store(state: State, session: _Session, user: str) -> None:
    """Put one session straight into the archive, bytes as they were made."""
    with state.write():
        subject = state.row("SELECT id FROM subjects WHERE project=? AND label=?", SOURCE, session.subject)
        subject_id = subject["id"] if subject else state.new_subject(SOURCE, session.subject, user)
        modalities = {plan.source for plan in session.series}
        date = f"{session.date[:4]}-{session.date[4:6]}-{session.date[6:]}"
        experiment = state.new_experiment(
            SOURCE, subject_id, session.label, session_type(modalities), user, date=date, time="10:15:00",
            uid=session.study_uid, modality=next(iter(modalities)))
        by_scan: dict[int, list[tuple[str, bytes]]] = {}
        for number, name, data in session.files(SOURCE):
            by_scan.setdefault(number, []).append((name, data))
        for plan in session.series:
            files = by_scan[plan.number]
            found = identify(read_header(io.BytesIO(files[0][1])))
            scan = state.new_scan(
                experiment, str(plan.number), scan_type(found.modality), type=plan.description, uid=found.series_uid,
                series_description=plan.description, frames=len(files), modality=found.modality)
            resource = state.add_resource("scan", scan, "DICOM", format="DICOM", content="RAW")
            _write(state, resource, ((name, data, identify(read_header(io.BytesIO(data))).sop_uid)
                                     for name, data in files))
        for label in session.results:
            resource = state.add_resource("experiment", experiment, label, format=label)
            _write(state, resource, ((name, data, "") for name, data in _results(label, session)))
        state.workflow(experiment, "Transferred", user, project=SOURCE)


def _write(state: State, resource: int, files: Iterator[tuple[str, bytes, str]]) -> None:
    rows = []
    for name, data, sop_uid in files:
        path = state.file_path(resource, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        rows.append((resource, name, len(data), md5, "DICOM" if sop_uid else "", "RAW" if sop_uid else "", "", sop_uid))
    with state.write() as db:
        db.executemany("INSERT OR REPLACE INTO files VALUES(?,?,?,?,?,?,?,?)", rows)
        state.count_files(resource)


def _results(label: str, session: _Session) -> Iterator[tuple[str, bytes]]:
    """Yield what a pipeline might have left: small texts that name their session."""
    if label == "BIDS":
        yield "dataset_description.json", _json({"Name": session.label, "BIDSVersion": "1.8.0"})
        for plan in session.series:
            yield f"sub-{session.subject}/scan-{plan.number}.json", _json({"SeriesDescription": plan.description})
    elif label == "MRIQC":
        for plan in session.series:
            metrics = {"scan": str(plan.number), "snr": 10 + plan.number, "fd_mean": 0.12}
            yield f"{plan.number}_iqms.json", _json(metrics)
        yield "summary.txt", f"Image quality of {session.label}: made for the demonstration.\n".encode()
    else:
        yield "suv.csv", f"session,region,suv_mean\n{session.label},liver,2.1\n{session.label},lung,0.5\n".encode()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def bulk(state: State, project: str, sessions: int, scans: int, files: int, size: int, *, user: str = "olga",
         prefix: str = "B") -> None:
    """Add a large project (made when missing) for measurements.

    Parameters
    ----------
    sessions, scans, files : int
        Sessions in all, scans a session, files a scan. Each session has its own subject.
    size : int
        Pixel bytes a file, about. With 0 nothing is written to disk: the catalogue names files that are not there,
        which is enough for measuring listings.
    """
    if state.project(project) is None:
        state.new_project(project, user, prearchive_code=0)
    template = _bulk_template(size) if size else None
    for number in range(1, sessions + 1):
        with state.write() as db:
            subject, label = f"{prefix}{number:05d}", f"{prefix}{number:05d}_MR1"
            study = f"1.2.826.0.1.3680043.10.999.1.{number + 100000}"
            experiment = state.new_experiment(
                project, state.new_subject(project, subject, user), label, "xnat:mrSessionData", user,
                date="2024-01-08", time="10:15:00", uid=study, modality="MR")
            for scan in range(1, scans + 1):
                series = f"{study}.{scan + 1000}"
                pk = state.new_scan(experiment, str(scan), "xnat:mrScanData", type=f"series {scan}", uid=series,
                                    series_description=f"series {scan}", frames=files, modality="MR")
                resource = state.add_resource("scan", pk, "DICOM", format="DICOM", content="RAW")
                if template is None:
                    rows = [(resource, f"{index:05d}.dcm", 500_000, f"{resource:016x}{index:016x}", "DICOM", "RAW", "",
                             f"{series}.{index + 100000}") for index in range(1, files + 1)]
                else:
                    labels = {0x00100010: subject, 0x00100020: label, 0x0020000D: study, 0x0020000E: series,
                              0x00200011: str(scan), 0x0008103E: f"series {scan}", 0x00081030: project}
                    rows = _bulk_files(state, resource, template, labels, files)
                db.executemany("INSERT INTO files VALUES(?,?,?,?,?,?,?,?)", rows)
                state.count_files(resource)


def _bulk_template(size: int) -> bytes:
    _, data = next(make_series(SeriesPlan(source="MR", number=1, description="bulk", count=1), project="B", subject="B",
                               session="B", study_uid="1.2.3", date="20240108"))
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.Rows, dataset.Columns = 256, max(size // 512, 8)
    dataset.PixelData = bytes(range(256)) * (2 * dataset.Columns)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def _bulk_files(state: State, resource: int, template: bytes, labels: dict[int, str], files: int) -> list[tuple]:
    header = read_header(io.BytesIO(template))
    for tag, text in labels.items():
        header.set_text(tag, text)
    pixels = template[-_pixel_bytes(template):]
    folder, rows = state.resource_folder(resource), []
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(1, files + 1):
        sop_uid = f"{labels[0x0020000E]}.{index + 100000}"
        header.set_text(0x00080018, sop_uid)
        header.set_text(0x00200013, str(index))
        body = b"".join([header.meta(), *(entry[3] for entry in header.elements if entry[0] < BULK),
                         pixels[:12], resource.to_bytes(4, "big"), index.to_bytes(4, "big"), pixels[20:]])
        path = folder / f"{index:05d}.dcm"
        path.write_bytes(body)
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        rows.append((resource, path.name, len(body), md5, "DICOM", "RAW", "", sop_uid))
    return rows


def _pixel_bytes(data: bytes) -> int:
    """Return the length of the pixel data element at the end of ``data``, head included."""
    return len(data) - data.rindex(b"\xe0\x7f\x10\x00OW\0\0")
