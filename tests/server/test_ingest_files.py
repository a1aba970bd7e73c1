"""What the importer does to a file: re-encoding, anonymising, identifying. No server needed."""

from __future__ import annotations

import io
import time

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_kit import series
from pydicom.data import get_testdata_file

from xnbtransfer.server import anonymise
from xnbtransfer.server.identify import clean, clean_name, identify
from xnbtransfer.server.reencode import NotDicom, read_header

LABELS = anonymise.Labels(project="P", subject="001", session="001_MR1")
REAL = ("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
        "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm")


def rewritten(data: bytes, *scripts: anonymise.Script) -> bytes:
    header = read_header(io.BytesIO(data))
    for script in scripts:
        script.apply(header, LABELS)
    out = io.BytesIO()
    assert header.write(out) == len(out.getvalue())
    return out.getvalue()


def values(data: bytes) -> dict:
    dataset = pydicom.dcmread(io.BytesIO(data))
    return {element.tag: element.value for element in dataset if element.tag.element}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REAL)
def test_reencoding_changes_no_value(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    with open(path, "rb") as stream:
        data = stream.read()
    again = rewritten(data)
    assert values(again) == values(data)
    before, after = (pydicom.dcmread(io.BytesIO(each)) for each in (data, again))
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.preamble == b"\0" * 128
    assert after.file_meta.ImplementationVersionName == "dcm4che-2.0"
    assert rewritten(again) == again


def test_reencoding_gives_sequences_undefined_length():
    data = series(1, 1)[0][1]
    dataset = pydicom.dcmread(io.BytesIO(rewritten(data)))
    assert dataset["RequestAttributesSequence"].is_undefined_length
    assert not pydicom.dcmread(io.BytesIO(data))["RequestAttributesSequence"].is_undefined_length


@pytest.mark.parametrize("data", [b"", b"hello, this is a readme\n" * 20, b"\0" * 128 + b"DICM"])
def test_other_bytes_are_no_dicom(data):
    with pytest.raises(NotDicom):
        rewritten(data)


@given(cut=st.integers(min_value=0, max_value=1500))
def test_a_cut_header_is_noticed_unless_cut_between_two_elements(cut):
    data = series(1, 1)[0][1]
    try:
        kept = rewritten(data[:cut])
    except NotDicom:
        return
    assert values(kept).items() <= values(data).items()


def test_reencoding_is_fast_enough():
    """Beside pydicom on the same machine, since nothing is promised of a loaded one; benchmarks have the figures."""
    data = series(1, 1)[0][1]
    script = anonymise.compile_script(anonymise.DEFAULT_SITE_SCRIPT, "1")

    def general() -> None:
        header = read_header(io.BytesIO(data))
        script.apply_with_pydicom(header, LABELS)

    def least(action) -> float:
        taken = []
        for _ in range(20):
            began = time.thread_time()
            action()
            taken.append(time.thread_time() - began)
        return min(taken)

    assert least(lambda: rewritten(data, script)) < least(general)


def test_default_script_sets_three_values_and_a_stamp():
    script = anonymise.compile_script(anonymise.DEFAULT_SITE_SCRIPT, "7")
    dataset = pydicom.dcmread(io.BytesIO(rewritten(series(1, 1)[0][1], script)))
    assert (dataset.StudyDescription, dataset.PatientName, dataset.PatientID) == ("P", "001", "001_MR1")
    stamp = dataset.DeidentificationMethodCodeSequence[-1]
    assert (stamp.CodeValue, stamp.CodingSchemeDesignator, stamp.CodingSchemeVersion, stamp.CodeMeaning) == (
        "7", "XNAT", "1.0", "XNAT DicomEdit 6 Script")


def test_script_language():
    script = anonymise.compile_script('\n'.join([
        '// comment', 'version "6.3"', '(0008,0080) := "The // Clinic"', '-(0008,0060)',
        '(0020,000D) := hashUID[(0020,000D)]', 'subject = "001" ? (0010,4000) := session']), "9")
    before = pydicom.dcmread(io.BytesIO(series(1, 1)[0][1]))
    after = pydicom.dcmread(io.BytesIO(rewritten(series(1, 1)[0][1], script)))
    assert after.InstitutionName == "The // Clinic"
    assert "Modality" not in after
    assert after.StudyInstanceUID == anonymise.hash_uid(before.StudyInstanceUID)
    assert after.PatientComments == "001_MR1"


@pytest.mark.parametrize("line", ["alterPixels[x]", "(0010,0010) := lowercase[subject]", "reject[(0010,0010)]"])
def test_unknown_statements_are_refused(line):
    with pytest.raises(anonymise.ScriptError, match="line 1"):
        anonymise.compile_script(line, "1")


@pytest.mark.parametrize(("comments", "expected"), [
    ("Project:P Subject:S Session:E", ("P", "S", "E")),
    ("x; session : E,subject:S", (None, "S", "E")),
    ("nothing here", (None, "S1", "S1_MR1")),
])
def test_item_120_labels_in_comments(comments, expected):
    found = identify(read_header(io.BytesIO(series(1, 1, PatientComments=comments)[0][1])))
    project, subject, session = expected
    assert (found.subject, found.session) == (subject, session)
    assert project is None or found.projects[0] == project


def test_names_are_cleaned():
    assert clean("a b.c^d") == "a_b_c_d"
    assert clean_name("folder/../x y(1).dcm") == "x_y_1_.dcm"
