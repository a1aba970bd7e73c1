"""Make the DICOM files of the demonstration: real headers where the pydicom wheel has them, made-up pixels.

MR and CT series start from ``MR_small.dcm`` and ``CT_small.dcm``, which pydicom installs with itself; PET series are
made from nothing. Every value is a function of the names given, so the demonstration is the same on each machine.
"""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://xnbtransfer.example/demo")
_GONE = [
    "PatientBirthDate", "PatientAge", "PatientSize", "PatientWeight", "PatientAddress", "OtherPatientIDs",
    "OtherPatientIDsSequence", "AdditionalPatientHistory", "PatientComments", "StudyComments",
    "ReferringPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "PerformingPhysicianName",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "AccessionNumber",
    "StudyID", "ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence", "InstanceCreationDate",
    "InstanceCreationTime",
]


@dataclass(frozen=True, kw_only=True)
class SeriesPlan:
    """One series to make; ``source`` is ``MR``, ``CT`` or ``PT``."""

    source: str
    number: int
    description: str
    count: int


def make_uid(*names: object) -> str:
    """Return the same ``2.25.`` UID for the same names on every machine; always 43 characters."""
    number = uuid.uuid5(_NAMESPACE, "/".join(map(str, names))).int
    return f"2.25.{10**37 + number % (9 * 10**37)}"


def make_series(plan: SeriesPlan, *, project: str, subject: str, session: str, study_uid: str, date: str,
                time: str = "101500", file_prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield file name and bytes for each file of a series; pixels differ from file to file.

    ``date`` is ``YYYYMMDD`` and ``time`` ``HHMMSS``. The headers look de-identified: PatientName is the subject's
    label, PatientID the session's.
    """
    dataset, base = _template(plan.source)
    dataset = dataset.copy()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    series_uid = make_uid(study_uid, plan.number)
    dataset.PatientName, dataset.PatientID = subject, session
    dataset.StudyDescription, dataset.SeriesDescription = project, plan.description
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.FrameOfReferenceUID = make_uid(study_uid, "frame")
    dataset.SeriesNumber, dataset.ProtocolName = plan.number, plan.description
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, date)
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, time)
    seed = uuid.uuid5(_NAMESPACE, series_uid).int % 2**32
    random = np.random.default_rng(seed)
    noise = random.integers(0, 64, size=(base.shape[0] + plan.count, base.shape[1] + plan.count), dtype=np.uint16)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(make_uid(series_uid, 0))
    dataset.InstanceNumber, dataset.SliceLocation = "0001", "0000.0"
    dataset.ImagePositionPatient = ["-100", "-100", "0000.0"]
    dataset.PixelData = bytes(base.size * 2)
    out = io.BytesIO()
    _write(dataset, out)
    stamp = _Stamp(out.getvalue(), dataset.SOPInstanceUID, base.size * 2)
    for index in range(plan.count):
        window = noise[index:index + base.shape[0], index:index + base.shape[1]]
        pixels = np.roll(base, index, axis=0).astype(np.uint16) + window
        pixels[0, :2] = (index, plan.number)
        data = stamp.file(make_uid(series_uid, index), index + 1, index * 2.5, pixels.astype("<u2").tobytes())
        yield f"{file_prefix}{plan.source}_{plan.number:04d}_{index + 1:04d}.dcm", data


def _write(dataset: Dataset, out: io.BytesIO) -> None:
    """A whole DICOM file; pydicom 3 and 2.4 have other words for the same wish."""
    if int(pydicom.__version__.split(".")[0]) >= 3:
        dataset.save_as(out, enforce_file_format=True)
    else:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(out, write_like_original=False)


class _Stamp:
    """One file of a series as a mould for the others: what differs has the same length at the same place."""

    def __init__(self, first: bytes, uid: str, pixel_bytes: int) -> None:
        self.head, self.uid = first[:-pixel_bytes], uid.encode()
        self.number = self.head.index(b"\x20\0\x13\0IS\x04\0") + 8
        self.location = self.head.index(b"\x20\0\x41\x10DS\x06\0") + 8
        self.position = self.head.index(b"\x20\0\x32\0DS\x10\0") + 18

    def file(self, uid: str, number: int, location_mm: float, pixels: bytes) -> bytes:
        """Return the file with these values."""
        data = bytearray(self.head)
        for start, value in ((self.number, f"{number:04d}"), (self.location, f"{location_mm:06.1f}"),
                             (self.position, f"{location_mm:06.1f}")):
            data[start:start + len(value)] = value.encode()
        return bytes(data).replace(self.uid, uid.encode()) + pixels


@lru_cache(maxsize=4)
def _template(source: str) -> tuple[Dataset, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source in ("MR", "CT"):
            path = get_testdata_file(f"{source}_small.dcm", download=False)
            assert isinstance(path, str)  # pydicom ships these two
            dataset: Dataset = pydicom.dcmread(path)
            base = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
            for keyword in _GONE:
                if keyword in dataset:
                    delattr(dataset, keyword)
            if "DataSetTrailingPadding" in dataset:
                del dataset.DataSetTrailingPadding
            str(dataset)  # decode every element once, so that writing does not do it again for each file
        else:
            dataset, base = _pet()
        _add_common(dataset)
    return dataset, base


def _pet() -> tuple[Dataset, np.ndarray]:
    dataset = Dataset()
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID, dataset.Modality = PositronEmissionTomographyImageStorage, "PT"
    dataset.Manufacturer, dataset.ManufacturerModelName = "xnbtransfer", "Demonstration PET"
    dataset.SliceThickness, dataset.Units, dataset.CountsSource = "2.5", "BQML", "EMISSION"
    dataset.SeriesType, dataset.NumberOfSlices = ["WHOLE BODY", "IMAGE"], 0
    dataset.CorrectedImage, dataset.DecayCorrection = ["DECY", "ATTN"], "START"
    tracer = Dataset()
    tracer.Radiopharmaceutical, tracer.RadionuclideHalfLife = "FDG", "6586.2"
    dataset.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], ["2.5", "2.5"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 96
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    rows, columns = np.mgrid[:96, :96]
    base = np.clip(4000 - 3 * ((rows - 48) ** 2 + (columns - 40) ** 2), 0, None).astype(np.uint16)
    return dataset, base


def _add_common(dataset: Dataset) -> None:
    dataset.PatientIdentityRemoved = "YES"
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = Sequence([method])
    request = Dataset()
    request.RequestedProcedureDescription, request.ScheduledProcedureStepID = "Research scan", "1"
    dataset.RequestAttributesSequence = Sequence([request])
    block = dataset.private_block(0x0029, "XNBTRANSFER DEMO", create=True)
    block.add_new(0x01, "LO", "made for the demonstration")
    block.add_new(0x02, "OB", bytes(range(64)))
