"""What a script does to a file is what pydicom does to it, in every transfer syntax and by either way."""

from __future__ import annotations

import io

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_kit import desk, message, series  # noqa: F401
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from xnbtransfer.server import anonymise
from xnbtransfer.server.reencode import read_header

LABELS = anonymise.Labels(project="P", subject="S", session="E")
SYNTAXES = [UID(f"1.2.840.10008.1.2{tail}") for tail in ("", ".1", ".1.99", ".2", ".4.50", ".4.90", ".4.201", ".5")]
"""One for each way to lay out elements, and compressed ones, which differ by what is in their fragments only."""
REAL = ("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
        "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm", "MR_small_RLE.dcm")
TEXT = st.text("abcdefghijklmnopqrstuvwxyzABC 0123456789.-", min_size=1, max_size=16).map(str.strip).filter(bool)
TEXTS = [0x00080080, 0x00081030, 0x00100010, 0x00100020, 0x00104000, 0x00324000, 0x0020000D]
NUMBERS = [0x00280010, 0x00280011, 0x00189087]
OTHERS = [0x60003000, 0x60000010, 0x00091001, 0x00400275, 0x54000100, 0xFFFCFFFC]


def made(syntax: UID) -> bytes:
    """A file of this syntax with nested sequences, private elements, numbers and an overlay."""
    dataset = pydicom.dcmread(io.BytesIO(series(1, 1)[0][1]))
    inner, outer = pydicom.Dataset(), pydicom.Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "a code"
    outer.ScheduledProtocolCodeSequence = [inner, pydicom.Dataset()]
    dataset.RequestAttributesSequence = [outer, inner]
    block = dataset.private_block(0x0009, "SOMEBODY", create=True)
    block.add_new(0x01, "LO", "kept to itself")
    block.add_new(0x02, "SS", -3)
    block.add_new(0x03, "SQ", [inner])
    dataset.SmallestImagePixelValue, dataset.DiffusionBValue = 7, 1000.5
    dataset["SmallestImagePixelValue"].VR = "US"
    dataset.add_new(0x60000010, "US", 4)
    dataset.add_new(0x60003000, "OW", b"\1\2" * 8)
    pixels = b"\5\6" * 32
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    dataset.PixelData = encapsulate([pixels]) if syntax.is_encapsulated else pixels
    dataset["PixelData"].is_undefined_length = syntax.is_encapsulated
    out = io.BytesIO()
    kind = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    pydicom.dcmwrite(out, dataset, enforce_file_format=True, **kind)
    return out.getvalue()


def real(name: str) -> bytes:
    path = get_testdata_file(name, download=False) or next(iter(get_charset_files(name)), None)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    with open(path, "rb") as stream:
        return stream.read()


def run(data: bytes, script: str, way: str = "apply") -> bytes:
    header = read_header(io.BytesIO(data))
    getattr(anonymise.compile_script(script, "7"), way)(header, LABELS)
    out = io.BytesIO()
    header.write(out)
    return out.getvalue()


def shown(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def told(dataset: pydicom.Dataset) -> dict:
    """Every element with its value, whatever the lengths are written like."""
    return {one.tag: (one.VR, str(one.value)) for one in dataset if one.tag.element}


def taken(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """The stamp of the run, which is taken out again."""
    stamp = dataset.DeidentificationMethodCodeSequence.pop(-1)
    if not dataset.DeidentificationMethodCodeSequence:
        del dataset.DeidentificationMethodCodeSequence
    return stamp


def statements(texts: list[int], others: list[int]):
    """Lines of a script, and what each does to a data set of pydicom."""
    every = st.sampled_from(texts + NUMBERS + others)
    text = st.sampled_from(texts)

    def put(tag: int, value: object):
        def act(dataset: pydicom.Dataset) -> None:
            dataset.add_new(tag, dictionary_VR(tag).split(" ")[0], value(dataset) if callable(value) else value)

        return act

    def number(one: tuple[int, int]):
        tag, value = one
        return f'{shown(tag)} := "{value}"', put(tag, float(value) if dictionary_VR(tag) == "FD" else value)

    def drop(tag: int):
        return f"-{shown(tag)}", lambda dataset: dataset.pop(tag, None)

    def read(dataset: pydicom.Dataset, tag: int) -> str:
        return str(dataset[tag].value or "") if tag in dataset else ""

    return st.one_of(
        every.map(drop),
        st.tuples(text, TEXT).map(lambda one: (f'{shown(one[0])} := "{one[1]}"', put(*one))),
        st.tuples(st.sampled_from(NUMBERS), st.integers(0, 99)).map(number),
        st.tuples(st.sampled_from([0x00080080, 0x00081030]), st.sampled_from([0x0020000D, 0x00280010])).map(
            lambda one: (f"{shown(one[0])} := {shown(one[1])}", put(one[0], lambda dataset: read(dataset, one[1])))
        ),
        st.just(0x0020000D).map(
            lambda tag: (
                f"{shown(tag)} := hashUID[{shown(tag)}]",
                put(tag, lambda dataset: anonymise.hash_uid(uid) if (uid := read(dataset, tag)) else ""),
            )
        ),
    )


def holds(data: bytes, lines) -> None:
    expected = pydicom.dcmread(io.BytesIO(data))
    for _, act in lines:
        act(expected)
    found = pydicom.dcmread(io.BytesIO(run(data, "\n".join(line for line, _ in lines))))
    stamp = taken(found)
    assert (stamp.CodeValue, stamp.CodingSchemeDesignator) == ("7", "XNAT")
    assert found.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert told(found) == told(expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", SYNTAXES, ids=str)
@settings(max_examples=8)
@given(lines=st.lists(statements(TEXTS, OTHERS), max_size=5))
def test_every_transfer_syntax(syntax, lines):
    holds(made(syntax), lines)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REAL)
@settings(max_examples=10)
@given(lines=st.lists(statements([0x00081030, 0x00100020, 0x00324000], OTHERS), max_size=5))
def test_files_of_scanners(name, lines):
    holds(real(name), lines)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", [*SYNTAXES, *REAL], ids=str)
def test_both_ways_leave_the_same(source):
    data = real(source) if source in REAL else made(source)
    script = '(0008,1030) := project\n-(0010,0030)\n(0020,000D) := hashUID[(0020,000D)]\n(0010,0020) := (0008,1030)'
    assert anonymise.compile_script(script, "7").is_plain(read_header(io.BytesIO(data)))
    quick, general = run(data, script), run(data, script, "apply_with_pydicom")
    found = [pydicom.dcmread(io.BytesIO(one)) for one in (quick, general)]
    assert taken(found[0]).CodeValue == "7"
    assert told(found[0]) == told(found[1])


@pytest.mark.parametrize(
    ("script", "plain"),
    [
        (anonymise.DEFAULT_SITE_SCRIPT, True),
        ("-(0009,1001)", True),
        ('(0028,0010) := "5"', False),
        ('(0028,0010) = "5" ? reject[]', False),
        ("-(6000,3000)", False),
        ('(0009,1002) := "4"', False),
        ('(0008,0005) := "ISO_IR 100"', False),
    ],
)
def test_which_way_a_script_takes(script, plain):
    header = read_header(io.BytesIO(made(UID("1.2.840.10008.1.2.1"))))
    assert anonymise.compile_script(script, "7").is_plain(header) is plain


def test_what_pydicom_can_do_and_the_header_alone_could_not():
    data = made(UID("1.2.840.10008.1.2.1"))
    found = pydicom.dcmread(io.BytesIO(run(data, '(0028,0106) := "9"\n(0009,1002) := "4"\n-(6000,3000)\n-(7FE0,0010)')))
    assert (found.SmallestImagePixelValue, found[0x00091002].value) == (9, 4)
    assert 0x60003000 not in found and "PixelData" not in found
    with pytest.raises(anonymise.Rejected):
        run(data, '(0028,0106) = "7" ? reject[]')


def test_a_name_in_japanese():
    found = pydicom.dcmread(io.BytesIO(run(real("chrH31.dcm"), "(0008,1030) := (0010,0010)")))
    assert found.StudyDescription == str(found.PatientName)


@pytest.mark.parametrize("line", ['(7FE0,0010) := "x"', '(0040,0275) := "x"', '(0028,0009) := "x"'])
def test_elements_that_hold_no_text_are_not_set(line):
    with pytest.raises(anonymise.ScriptError, match=r"line 1: .*only be deleted"):
        anonymise.compile_script(line, "1")


def test_a_number_that_is_none_is_an_error_of_the_script(desk):  # noqa: F811
    desk.set_project(anon_script='(0028,0010) := "many"', anon_enabled=1)
    uri = desk.to_prearchive(series(1, 1))
    answer = desk.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, "takes numbers only" in message(answer)) == (500, True)
    assert [row["status"] for row in desk.waiting()] == ["ERROR"]
