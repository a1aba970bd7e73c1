"""What a script explains: what was computed from the file, to the value, and nothing else."""

from __future__ import annotations

import dataclasses
import io
import threading
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from xnbtransfer.dicom import read_content
from xnbtransfer.dicomedit.dataset import PIXEL_DATA, alike, read
from xnbtransfer.dicomedit.script import read_script
from xnbtransfer.dicomedit.words import NotForetold
from xnbtransfer.errors import DicomError
from xnbtransfer.foretell import Foretelling, compare, foretold, header_of, scripts_of

KEY = b"key"
WORDS = {"project": "P", "subject": "S1", "session": "E1"}
STOCK = """version "6.1"
project != "Unassigned" ? (0008,1030) := project
(0010,0010) := subject
(0010,0020) := session
"""


def item(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def image() -> bytes:
    """A small MR image with names, a sequence, private elements and four pixels."""
    ds = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
        SOPInstanceUID="1.2.3.4",
        StudyDate="20200102",
        Modality="MR",
        StudyDescription="Brain study",
        SeriesDescription="t1",
        PatientName="Doe^Jane",
        PatientID="PID-1",
        PatientBirthDate="19700131",
        StudyInstanceUID="1.2.3.1",
        SeriesInstanceUID="1.2.3.2",
        InstanceNumber="5",
        AccessionNumber="ACC1",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=2,
        Columns=2,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
    )
    ds.ReferencedImageSequence = [
        item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4", ReferencedSOPInstanceUID="1.9.1"),
        item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4", ReferencedSOPInstanceUID="1.9.2"),
    ]
    ds.add_new(0x00190010, "LO", "MADEUP ONE")
    ds.add_new(0x00191001, "LO", "p1")
    ds.PixelData = b"\1\2\3\4"
    ds["PixelData"].VR = "OB"
    return written(ds)


def written(ds: Dataset) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def judged(
    there: bytes,
    *,
    site: str | None = None,
    project: str | None = None,
    source: bytes | None = None,
    version: str = "1.8.10",
):
    """How a file compares with what the scripts make of ``source``."""
    before = source or image()
    sides = {"site": (site is not None, site), "project": (project is not None, project)}
    scripts = scripts_of(**sides, context=WORDS, version=version)
    content = read_content(before, key=KEY)
    expected = foretold(header_of(before), content, scripts, key=KEY)
    return compare(content, read_content(there, key=KEY), expected, key=KEY)


def stored(*scripts: tuple[str, str], source: bytes | None = None, engine: str = "6.6") -> bytes:
    """What the engine stores behind scripts, each with its number."""
    data = source or image()
    for text, number in scripts:
        outcome = read_script(text, engine=engine).run(WORDS, recorded_as=number).over_file(data)
        assert outcome.word == "done", outcome.reason
        data = outcome.file()
    return data


def tampered(data: bytes, **values) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return written(ds)


def unexplained(there: bytes, **scripts) -> set[str]:
    _, changes = judged(there, **scripts)
    return {change.keyword or change.path for change in changes if not change.explained}


def test_what_the_stock_script_does_is_explained_and_names_are_told():
    same, changes = judged(stored((STOCK, "12")), site=STOCK)
    assert same and all(change.explained for change in changes)
    assert {"StudyDescription", "PatientName", "PatientID", "CodeValue"} <= {change.keyword for change in changes}


def test_both_scripts_are_composed():
    project = 'version "6.6"\n(0008,1030) = "P" ? (0010,0010) := "anonymous"\n-(0010,0030)\n'
    assert unexplained(stored((STOCK, "1"), (project, "7")), site=STOCK, project=project) == set()
    assert "PatientName" in unexplained(stored((STOCK, "1")), site=STOCK, project=project)


@pytest.mark.parametrize(
    ("script", "change", "name"),
    [
        # each of them passed a verification against a live server
        ('version "6.6"\n(0008,0060) = "MR" ? (0010,0010) := "X"\n', {"Modality": "CT"}, "Modality"),
        ('version "6.6"\n(0008,0050) = "NOBODY" ? (0008,103E) := "never"\n', {"AccessionNumber": "A"},
         "AccessionNumber"),
        ('version "6.6"\n(0008,1030) := (0010,0020)\n', {"PatientID": "another"}, "PatientID"),
        ('version "6.6"\n(0008,1030) := (0008,103E)\n', {"SeriesDescription": "t2"}, "SeriesDescription"),
        ('version "6.6"\necho (0010,0020)\n', {"PatientID": "another"}, "PatientID"),
        ('version "6.6"\n(0008,0060) = "CT" ? (0008,1030) := "a"\n', {"StudyDescription": "a"}, "StudyDescription"),
        ('version "6.6"\n(0008,1030) := 12\n', {"StudyDescription": "13"}, "StudyDescription"),
        ('version "4.0"\n(0010,0010) := "X"\n', {"PatientName": "X"}, "PatientName"),
        ("(0010,0020) := \"A\"\n(0010,0020) := \"B\"\n", {"PatientID": "B"}, "PatientID"),
        ('version "6.6"\nremoveAllPrivateTags\n', {"PatientName": "Q"}, "PatientName"),
    ],
)  # fmt: skip
def test_a_further_change_is_named_alone(script, change, name):
    there = tampered(stored((script, "3")), **change)
    assert unexplained(there, site=script) == {name}
    assert unexplained(stored((script, "3")), site=script) == set()


def test_another_element_of_an_item_of_which_one_is_named_is_not_explained():
    script = 'version "6.6"\n(0008,1140)[0]/(0008,1155) := "1.1"\n'
    ds = pydicom.dcmread(io.BytesIO(stored((script, "3"))))
    assert unexplained(written(ds), site=script) == set()
    ds.ReferencedImageSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    assert unexplained(written(ds), site=script) == {"ReferencedSOPClassUID"}


def test_a_file_that_is_as_at_the_source_is_equal_whatever_the_script_would_have_done():
    assert judged(image(), site=STOCK) == (True, ())


def test_what_a_script_changes_and_is_not_changed_is_told_where_it_ran():
    there = tampered(stored((STOCK, "12")), PatientName="Doe^Jane")
    assert unexplained(there, site=STOCK) == {"PatientName"}


def test_the_stamp_is_explained_with_any_number_and_nothing_else_in_it():
    there = stored((STOCK, "98765"))
    assert unexplained(there, site=STOCK) == set()
    ds = pydicom.dcmread(io.BytesIO(there))
    ds.DeidentificationMethodCodeSequence[0].CodeValue = "Jane"
    assert unexplained(written(ds), site=STOCK) == {"CodeValue"}
    ds = pydicom.dcmread(io.BytesIO(there))
    ds.DeidentificationMethodCodeSequence[0].CodeMeaning = "something"
    assert unexplained(written(ds), site=STOCK) == {"CodeMeaning"}


def test_what_is_drawn_at_random_is_neither_explained_nor_wrong():
    script = 'version "6.6"\n(0020,000D) := newUID[]\n(0010,0010) := "X"\n'
    ds = pydicom.dcmread(io.BytesIO(stored((script, "3"))))
    ds.StudyInstanceUID = "2.25.12345"
    _, changes = judged(written(ds), site=script)
    assert {change.keyword for change in changes if not change.foretold} == {"StudyInstanceUID"}
    assert {change.keyword for change in changes if change.foretold and not change.explained} == set()
    assert "random" in next(change.because for change in changes if not change.foretold)


@pytest.mark.parametrize(
    "script",
    [
        'version "6.6"\n(0010,0010) := uppercase[(0018,1030)]\n',
        'version "9.9"\n(0010,0010) := "X"\n',
        'version "6.6"\n(0010,0010) := \n',
        'version "6.6"\n(0008,1030) := getURL["http://example.org"]\n',
    ],
)
def test_where_nothing_can_be_computed_nothing_is_explained(script):
    _, changes = judged(tampered(image(), PatientName="X"), site=script)
    assert [change.explained for change in changes] == [False]


def test_a_script_that_may_not_be_read_explains_nothing():
    before = image()
    content = read_content(before, key=KEY)
    for on in (True, None):
        scripts = scripts_of(site=(on, None), context=WORDS, version="1.8.10")
        expected = foretold(header_of(before), content, scripts, key=KEY)
        there = read_content(tampered(before, PatientName="X"), key=KEY)
        _, changes = compare(content, there, expected, key=KEY)
        assert [(change.explained, change.foretold) for change in changes] == [(False, False)]


def test_pixels_are_those_of_the_source_unless_the_script_takes_them_away():
    script = 'version "6.6"\n(0028,0010) := "1"\n'
    same, _ = judged(stored((script, "3")), site=script)
    assert same, "Rows is a number that the script sets"
    same, _ = judged(tampered(stored((STOCK, "3")), PixelData=b"\1\2\3\5"), site=STOCK)
    assert not same
    same, _ = judged(tampered(stored((STOCK, "3")), Rows=1), site=STOCK)
    assert not same


def with_overlay() -> bytes:
    ds = pydicom.dcmread(io.BytesIO(image()))
    ds.add_new(0x60003000, "OW", b"\1\2\3\4")
    return written(ds)


def test_bulk_data_beside_pixels_is_explained_exactly():
    script = 'version "6.6"\n(6000,3000) := "X"\n'
    source = with_overlay()
    content = read_content(source, key=KEY)
    scripts = scripts_of(site=(True, script), context=WORDS, version="1.8.10")
    expected = foretold(header_of(source), content, scripts, key=KEY)
    there = stored((script, "3"), source=source)
    same, changes = compare(content, read_content(there, key=KEY), expected, key=KEY)
    assert same and all(change.explained for change in changes)
    assert "60003000" in {change.path for change in changes}
    for values in ({"PixelData": b"\1\2\3\5"}, {"OverlayData": b"Y "}):
        ds = pydicom.dcmread(io.BytesIO(there))
        ds[0x60003000 if "OverlayData" in values else 0x7FE00010].value = next(iter(values.values()))
        same, changes = compare(content, read_content(written(ds), key=KEY), expected, key=KEY)
        assert not same and len([change for change in changes if not change.explained]) == 1


def real_files() -> list[Path]:
    """The files that pydicom's wheel carries, and that it reads."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return [path for path in sorted(folder.rglob("*.dcm")) if is_read(path)]


def is_read(path: Path) -> bool:
    try:
        return bool(read_content(path.read_bytes(), key=KEY)) and bool(header_of(path.read_bytes()))
    except DicomError:
        return False


def test_a_header_is_the_file_without_its_pixels():
    found = real_files()
    assert len(found) > 40
    for path in found:
        data = path.read_bytes()
        try:
            whole, _ = read(data)
        except NotForetold:
            continue
        short, _ = read(zlib.decompress(header_of(data)))
        if (pixels := short.get(PIXEL_DATA)) is not None:
            assert (bytes(pixels.value), pixels.fragments) == (b"", None), path.name
            whole.put(pixels)
        assert alike(whole, short), path.name
        whole.remove(PIXEL_DATA)
        assert alike(whole, short) == (pixels is None), path.name


@pytest.mark.parametrize("version", ["1.8.10", "1.8.11", "1.8.6", ""], ids=["one", "two", "before", "unknown"])
def test_real_files_behind_the_stock_script_are_explained(version):
    tried = 0
    for path in real_files():
        source = path.read_bytes()
        done = read_script(STOCK).run(WORDS, recorded_as="3").over_file(source)
        if done.word != "done":
            continue
        there = done.file()
        content = read_content(source, key=KEY)
        scripts = scripts_of(site=(True, STOCK), context=WORDS, version=version)
        expected = foretold(header_of(source), content, scripts, key=KEY)
        same, changes = compare(content, read_content(there, key=KEY), expected, key=KEY)
        assert same, path.name
        assert not [one for one in changes if one.foretold and not one.explained], path.name
        if version in ("1.8.10", "1.8.11"):
            assert all(one.explained for one in changes), path.name
        tried += 1
    assert tried > 40


def test_what_is_foretold_ahead_is_what_is_foretold_when_it_is_asked_for():
    files = [path.read_bytes() for path in real_files()[:12]]
    held = [(header_of(data), read_content(data, key=KEY)) for data in files] + [(b"", None)]
    scripts = scripts_of(site=(True, STOCK), context=WORDS, version="1.8.11")
    asked, ahead = Foretelling(held, scripts, key=KEY), Foretelling(held, scripts, key=KEY)
    with ahead.ahead():
        first = ahead(0)  # while the thread is at work
    assert "xnbtransfer-foretell" not in {one.name for one in threading.enumerate()}
    told = [ahead(at) for at in range(len(held))]
    assert told[0] == first == asked(0)
    assert [one and dict(one.content.elements) for one in told if one is None or one.content] == [
        one and dict(one.content.elements) for one in map(asked, range(len(held))) if one is None or one.content
    ]
    assert told[-1] is None and not Foretelling(held, scripts_of(context=WORDS, version=""), key=KEY)(0)


def test_a_waiver_explains_the_element_that_it_names_and_nothing_else():
    script = 'version "6.6"\n(0020,000D) := newUID[]\n(0020,000E) := newUID[]\n(0010,0010) := "X"\n'
    ds = pydicom.dcmread(io.BytesIO(stored((script, "3"))))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.12345", "2.25.12346"
    source = image()
    content = read_content(source, key=KEY)
    scripts = scripts_of(site=(True, script), context=WORDS, version="1.8.10")
    scripts = dataclasses.replace(scripts, waived={"StudyInstanceUID": "new"})
    expected = foretold(header_of(source), content, scripts, key=KEY)

    def untold(data: bytes) -> dict[str, set[str]]:
        _, changes = compare(content, read_content(data, key=KEY), expected, key=KEY)
        waived = {change.keyword for change in changes if change.explained and "waived: new" in change.because}
        return {
            "waived": waived,
            "untold": {change.keyword for change in changes if not change.foretold},
            "wrong": {change.keyword for change in changes if change.foretold and not change.explained},
        }

    assert untold(written(ds)) == {"waived": {"StudyInstanceUID"}, "untold": {"SeriesInstanceUID"}, "wrong": set()}
    ds.PatientID = "another"
    assert untold(written(ds))["wrong"] == {"PatientID"}
    del ds.StudyInstanceUID
    assert untold(written(ds))["wrong"] == {"PatientID", "StudyInstanceUID"}


def test_no_script_explains_nothing():
    there = tampered(image(), PatientName="S1")
    assert unexplained(there) == {"PatientName"}


PRIVATE = 'version "6.1"\n(0019,{MADEUP ONE}01) := "n"\n(0010,0010) := "X"\n'
"""Up to 6.5 the private element becomes UN, 6.6 keeps its LO (recorded: private-001)."""


ENGINES = [("1.8.2", "6.3"), ("1.8.7", "6.4"), ("1.8.8", "6.5"), ("1.8.10", "6.6")]


@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_the_engine_goes_by_the_version_of_the_destination(version, engine):
    there = stored((PRIVATE, "7"), engine=engine)
    assert unexplained(there, site=PRIVATE, version=version) == set()
    other = stored((PRIVATE, "7"), engine="6.5" if engine == "6.6" else "6.6")
    assert unexplained(other, site=PRIVATE, version=version) == {"00191001"}


@pytest.mark.parametrize("version", ["1.8.9", "1.7.6", "", "devel"])
@pytest.mark.parametrize("engine", ["6.5", "6.6"])
def test_where_engines_disagree_the_element_alone_cannot_be_proved(version, engine):
    _, changes = judged(stored((PRIVATE, "7"), engine=engine), site=PRIVATE, version=version)
    (one,) = [change for change in changes if not change.explained]
    assert (one.path, one.foretold) == ("00191001", False)
    assert "DicomEdit" in one.because and "6.5 or 6.6" in one.because and (version or "does not tell") in one.because


def test_an_element_on_which_engines_disagree_is_no_cover_for_another():
    there = tampered(stored((PRIVATE, "7"), engine="6.5"), PatientName="Y")
    _, changes = judged(there, site=PRIVATE, version="1.8.9")
    assert {one.keyword or one.path: one.foretold for one in changes if not one.explained} == {
        "00191001": False,
        "PatientName": True,
    }


def test_what_one_of_the_engines_refuses_cannot_be_foretold():
    script = 'version "6.6"\nisPresent[(0010,0020)] ? (0010,0010) := "X"\n'
    _, changes = judged(stored((script, "7")), site=script, version="1.8.9")
    assert all(not one.explained and not one.foretold for one in changes if one.keyword == "PatientName")
    assert any("DicomEdit 6.5 or 6.6" in one.because for one in changes)


def test_a_script_without_a_version_line_is_not_foretold_where_version_6_may_run_it():
    plain = '(0010,0010) := "X"\n'
    there = stored((plain, "7"))
    assert unexplained(there, site=plain, version="1.7.3") == set()
    _, changes = judged(there, site=plain, version="1.7.1")
    assert any("asks for 6.0" in one.because and not one.foretold for one in changes)
    assert unexplained(stored((STOCK, "7"), engine="6.3"), site=STOCK, version="1.7.1") == set()


def test_one_version_line_too_new_for_a_newer_engine_is_no_refusal():
    script = 'version "6.7"\n(0010,0010) := "X"\n'
    _, changes = judged(tampered(image(), PatientName="X"), site=script, version="1.9.3")
    assert any("was not measured" in one.because and not one.foretold for one in changes)
