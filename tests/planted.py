"""Headers with planted identities, and headers without any, for the review."""

from __future__ import annotations

import io
import warnings

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from xnbtransfer.confidentiality import Attribute, attributes
from xnbtransfer.deid import Hit, Judge, image_hits
from xnbtransfer.dicom import Values, read_content

SURNAME = "Quistelhausen"
BY_VR = {
    "AE": "QUISTELHAUSEN", "AS": "093Y", "CS": "QUISTELHAUSEN", "DA": "19470311", "DS": "47.11",
    "DT": "19470311101500", "IS": "4711", "LO": f"{SURNAME}^Ada", "LT": f"seen by {SURNAME}",
    "OB": SURNAME.encode() + b"\0", "PN": f"{SURNAME}^Ada",
    "SH": SURNAME, "ST": f"{SURNAME}, Ada", "TM": "101500", "UC": SURNAME, "UI": "1.2.840.99999.19470311",
    "UN": SURNAME.encode() + b"\0", "UR": f"http://{SURNAME.lower()}.example.org", "US": 4711, "UT": SURNAME,
    "": SURNAME,
}  # fmt: skip
# Commands are in no file, and the meta information of a file has its UID always.
NOT_IN_FILES = {"00001000", "00001001", "00020003"}


def clean(**values) -> Dataset:
    """A header as de-identification leaves it: labels, other UIDs, shifted dates, technical descriptions."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, "2.25.1234.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1234", "2.25.1234.2"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "MR", "A maker", "3", "1"
    ds.PatientName, ds.PatientID, ds.StudyDescription = "001", "001_MR1", "STUDY_A"
    ds.SeriesDescription, ds.ProtocolName = "T2w TSE tra 3mm", "T2w_TSE"
    ds.PatientSex, ds.PatientAge, ds.PatientWeight = "O", "041Y", "70"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20240108"
    ds.StudyTime = ds.ContentTime = "101500"
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "XNAT script"
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning = "1", "XNAT", "XNAT DicomEdit 6 Script"
    ds.DeidentificationMethodCodeSequence = Sequence([method])
    request = Dataset()
    request.RequestedProcedureDescription, request.ScheduledProcedureStepID = "MR knee", "1"
    ds.RequestAttributesSequence = Sequence([request])
    ds.SoftwareVersions, ds.MagneticFieldStrength = "syngo MR E11", "3"
    ds.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    ds.add_new(0x00291008, "CS", "IMAGE NUM 4")
    ds.add_new(0x00291010, "OB", b"SV10\4\3\2\1" + b"EchoLinePosition\0" + bytes(64))
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.BitsAllocated = 1, "MONOCHROME2", 8
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 7, 0
    ds.PixelData = bytes(16)
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def written(ds: Dataset, *, implicit: bool = False, preamble: bytes = bytes(128)) -> bytes:
    """The bytes of a Part 10 file."""
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.preamble = preamble
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds.save_as(out, enforce_file_format=True)
        except TypeError:
            ds.is_little_endian, ds.is_implicit_VR = True, implicit
            ds.save_as(out, write_like_original=False)
    return out.getvalue()


def values_of(data: bytes) -> Values:
    values: Values = {}
    read_content(data, values=values)
    return values


def tag_of(row: Attribute) -> int:
    return int(row.tag.replace("60XX", "6000").replace("50XXXXXX", "50003000"), 16)


def plant(ds: Dataset, row: Attribute) -> None:
    """Give an attribute of the profile a value that says who somebody is."""
    number, vr = tag_of(row), row.vr or "LO"
    if vr == "SQ":
        inner = Dataset()
        inner.CodeMeaning = SURNAME
        ds.add_new(number, "SQ", Sequence([inner]))
        return
    if row.tag.startswith(("50XX", "60XX3")):
        vr = "OB"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.add_new(number, vr, BY_VR[vr])


def planted(rows: list[Attribute], depth: int) -> Dataset:
    """A clean header with each of these attributes planted: at the top, or in an item so many sequences deep."""
    ds = clean()
    items = []
    for row in rows:
        holder = ds if not depth else Dataset()
        plant(holder, row)
        for _ in range(depth - 1):
            outer = Dataset()
            outer.add_new(0x00081140, "SQ", Sequence([Dataset(), holder]))
            holder = outer
        items += [holder] if depth else []
    if items:
        ds.add_new(0x00081140, "SQ", Sequence(items))
    return ds


def found_in(data: bytes, judge: Judge | None = None, labels=("001", "001_mr1", "study_a", "study_b")) -> list[Hit]:
    values = values_of(data)
    return [*(judge or Judge()).hits(values, frozenset(labels)), *image_hits(values)]


def in_files() -> list[Attribute]:
    return [row for row in attributes() if row.tag not in NOT_IN_FILES]
