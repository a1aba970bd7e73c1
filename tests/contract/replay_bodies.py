"""Bodies of recorded requests, made again from what the recordings say of them: zips, made-up DICOM objects, texts.

A name of a study stands for the same UIDs in a whole file of exchanges, in ``dicom`` as in ``series``; see the README
in ``recorded``.
"""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from xnbtransfer.server.demo_files import make_uid

_CLASSES = {
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "SR": "1.2.840.10008.5.1.4.1.1.88.11",
}
Content = dict[str, Any]


class Studies:
    """The UIDs that the names of studies and series have in one file of exchanges."""

    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self._known: dict[tuple[Any, ...], str] = {}
        for exchange in exchanges:
            self._note(exchange["request"].get("content"))

    def _note(self, content: object) -> None:
        if not isinstance(content, dict):
            return
        told = content.get("dicom")
        if isinstance(told, dict) and "StudyInstanceUID" in told:
            self._known.setdefault((told["study"],), told["StudyInstanceUID"])
            self._known.setdefault((told["study"], told["number"]), told["SeriesInstanceUID"])
        for below in content.values():
            self._note(below)

    def uid(self, *names: object) -> str:
        """The UID of ``(study)`` or ``(study, series number)``."""
        return self._known.setdefault(names, make_uid("replay", *names))


def body(content: Content, studies: Studies) -> bytes:
    """The bytes of a recorded ``content``."""
    if "text" in content:
        return str(content["text"]).encode()
    if "bytes" in content:
        return bytes(content["bytes"])
    if "dicom" in content:
        return _object(content["dicom"], studies)
    files = [(name, body(one, studies) if isinstance(one, dict) else str(one).encode())
             for name, one in content.get("zip", {}).items()]  # fmt: skip
    for series in content.get("series", ()):
        files += _series(series, studies)
    return zipped(files)


def zipped(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def _series(told: dict[str, Any], studies: Studies) -> list[tuple[str, bytes]]:
    files, number, modality = [], told["number"], told["modality"]
    for instance in range(1, told["count"] + 1):
        name = f"{told['prefix']}{number}/{modality}_{number:04d}_{instance:04d}.dcm"
        files.append((name, _object({**told, "instance": instance}, studies)))
    return files


def _object(told: dict[str, Any], studies: Studies) -> bytes:
    """One small object as the recording made them: MR with pixels of ``rows`` by ``rows``, SR without."""
    modality, rows = told["modality"], int(told.get("rows", 16))
    series = told.get("SeriesInstanceUID") or studies.uid(told["study"], told["number"])
    made = Dataset()
    made.SOPClassUID = _CLASSES.get(modality, _CLASSES["MR"])
    made.SOPInstanceUID = told.get("SOPInstanceUID") or make_uid("replay", series, told["instance"])
    made.StudyInstanceUID = told.get("StudyInstanceUID") or studies.uid(told["study"])
    made.SeriesInstanceUID = series
    made.Modality, made.SeriesNumber, made.InstanceNumber = modality, told["number"], told["instance"]
    made.PatientName, made.PatientID = told.get("subject", "none"), told.get("session", "none")
    made.StudyDescription = told.get("project", "replayed")
    made.SeriesDescription = told.get("description", "")
    made.StudyDate = made.SeriesDate = made.ContentDate = told.get("date", "20240102")
    made.StudyTime = "101500"
    if modality != "SR":
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.Rows = made.Columns = rows
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
        made.PixelData = uuid.uuid5(uuid.NAMESPACE_OID, made.SOPInstanceUID).bytes * (rows * rows // 8)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return _written(made)


def _written(made: Dataset) -> bytes:
    out = io.BytesIO()
    if int(pydicom.__version__.split(".")[0]) >= 3:
        made.save_as(out, enforce_file_format=True)
    else:
        made.is_little_endian, made.is_implicit_VR = True, False
        made.save_as(out, write_like_original=False)
    return out.getvalue()
