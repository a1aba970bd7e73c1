"""How fast the walk over a DICOM file is, against pydicom with the SHA-256 of the pixels.

    python benchmarks/dicom_walker.py [seconds per measurement]

Files are made here: an MR of 28 KB with 200 elements, one of 0.5 MB, and an enhanced one of 200 frames. Best of five;
seconds are of one core, so that other work on the machine does not count.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from xnbtransfer.dicom import read_content


def example(rows: int, columns: int, elements: int, number: int, frames: int = 0) -> bytes:
    """A file with ``elements`` header elements besides those of the image; values differ from file to file."""
    ds = Dataset()
    ds.SOPClassUID = EnhancedMRImageStorage if frames else MRImageStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.4.{number}", "1.2.3", "1.2.3.4"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", "1", str(number)
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.ImagePositionPatient, ds.PixelSpacing = [0, 0, number], [1, 1]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, "1.2.9"
    ds.ReferencedImageSequence = Sequence([item] * 3)
    block = ds.private_block(0x0019, "XNB BENCHMARK", create=True)
    for at in range(elements):
        vr, value = [("LO", f"value {at}"), ("DS", f"{number}.{at}"), ("US", at), ("FD", at / 7), ("CS", "YES")][at % 5]
        block.add_new(at, vr, value)
    if frames:
        ds.NumberOfFrames = frames
        groups = []
        for frame in range(frames):
            group, plane, content = Dataset(), Dataset(), Dataset()
            plane.ImagePositionPatient = [0, 0, frame]
            content.DimensionIndexValues, content.InStackPositionNumber = [1, frame], frame
            group.PlanePositionSequence, group.FrameContentSequence = Sequence([plane]), Sequence([content])
            groups.append(group)
        ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds.add_new(0x7FE00010, "OW", os.urandom(rows * columns * 2 * (frames or 1)))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def with_pydicom(data: bytes) -> str:
    return hashlib.sha256(pydicom.dcmread(io.BytesIO(data)).PixelData).hexdigest()


def files_per_second(read, files: list[bytes], seconds: float) -> float:
    best = 0.0
    for _ in range(5):
        done, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds / 5:
            read(files[done % len(files)])
            done += 1
        best = max(best, done / spent)
    return best


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    kinds = {
        "MR 28 KB": [example(112, 112, 180, number) for number in range(50)],
        "MR 0.5 MB": [example(512, 512, 180, number) for number in range(20)],
        "enhanced 200 frames": [example(64, 64, 180, number, frames=200) for number in range(5)],
    }
    print(f"{'':22}{'KB':>8}{'walk files/s':>14}{'MB/s':>8}{'pydicom files/s':>17}{'ratio':>7}")
    for name, files in kinds.items():
        size = sum(map(len, files)) / len(files)
        walk = files_per_second(lambda data: read_content(data, key=b"benchmark"), files, seconds)
        other = files_per_second(with_pydicom, files, seconds)
        print(f"{name:22}{size / 1e3:8.0f}{walk:14.0f}{walk * size / 1e6:8.0f}{other:17.0f}{walk / other:7.1f}")


if __name__ == "__main__":
    main()
