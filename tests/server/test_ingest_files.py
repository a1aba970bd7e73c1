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
from xnbtransfer.server.dicomedit.run import End
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


def group2(data: bytes) -> bytes:
    """The file meta group as it lies in a file."""
    stream = io.BytesIO(data)
    pydicom.filereader.read_preamble(stream, force=False)
    start = stream.tell()
    pydicom.filereader._read_file_meta_info(stream)
    return data[start : stream.tell()]


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
    assert group2(again) == group2(data), "group 0002 stays byte for byte"
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

    def general() -> None:
        pydicom.dcmread(io.BytesIO(data)).save_as(io.BytesIO())

    def least(action) -> float:
        taken = []
        for _ in range(20):
            began = time.thread_time()
            action()
            taken.append(time.thread_time() - began)
        return min(taken)

    assert least(lambda: rewritten(data)) < least(general)


def test_default_script_sets_three_values_and_a_stamp():
    script = anonymise.Script(text=anonymise.DEFAULT_SITE_SCRIPT, script_id="7")
    dataset = pydicom.dcmread(io.BytesIO(rewritten(series(1, 1)[0][1], script)))
    assert (dataset.StudyDescription, dataset.PatientName, dataset.PatientID) == ("P", "001", "001_MR1")
    stamp = dataset.DeidentificationMethodCodeSequence[-1]
    assert (stamp.CodeValue, stamp.CodingSchemeDesignator, stamp.CodingSchemeVersion, stamp.CodeMeaning) == (
        "7", "XNAT", "1.0", "XNAT DicomEdit 6 Script")


def test_a_script_of_no_statement_leaves_its_stamp():
    dataset = pydicom.dcmread(io.BytesIO(rewritten(series(1, 1)[0][1], anonymise.Script(text="\n", script_id="3"))))
    assert dataset.DeidentificationMethodCodeSequence[-1].CodeMeaning == "XNAT DicomEdit 4 Script"


@pytest.mark.parametrize(
    ("line", "left"),
    [("(0010,0010) := uppercase[(0010,1040)]", 0), ("(0010,0010) := nothing_known", None), ("(((", None)],
)
def test_a_script_that_fails_leaves_nothing_and_one_that_is_none_all(line, left):
    data = series(1, 1)[0][1]
    script = anonymise.Script(text=f'version "6.6"\n{line}', script_id="1")
    (outcome,) = anonymise.apply(script, [data], LABELS)
    assert outcome.end is not End.DONE and outcome.error
    assert len(outcome.data) == (len(data) if left is None else left)
    with pytest.raises(anonymise.ScriptError):
        rewritten(data, script)


def test_a_run_goes_on_with_the_next_file():
    files = [one for _, one in series(1, 3)]
    script = anonymise.Script(
        text='version "6.6"\n(0020,0013) = "0002" ? (0010,0010) := uppercase[(0010,1040)] : (0010,0010) := "done"',
        script_id="1",
    )
    outcomes = anonymise.apply(script, files, LABELS)
    assert [outcome.end for outcome in outcomes] == [End.DONE, End.FAILED, End.DONE]
    assert [bool(outcome.data) for outcome in outcomes] == [True, False, True]


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
