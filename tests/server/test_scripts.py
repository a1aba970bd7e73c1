"""What simple statements do to a file is what pydicom does to it, in every transfer syntax."""

from __future__ import annotations

import hashlib
import io
import time
import uuid

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
from xnbtransfer.server.dicomedit.run import End
from xnbtransfer.server.dicomedit.run import run as dicomedit
from xnbtransfer.server.reencode import read_header
from xnbtransfer.server.state import State

LABELS = anonymise.Labels(project="P", subject="S", session="E")
SYNTAXES = [UID(f"1.2.840.10008.1.2{tail}") for tail in ("", ".1", ".1.99", ".2", ".4.50", ".4.90", ".4.201", ".5")]
"""One for each way to lay out elements, and compressed ones, which differ by what is in their fragments only."""
REAL = ("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
        "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm", "MR_small_RLE.dcm")
TEXT = st.text("abcdefghijklmnopqrstuvwxyzABC 0123456789.-", min_size=1, max_size=16).map(str.strip).filter(bool)
TEXTS = [0x00080080, 0x00081030, 0x00100010, 0x00100020, 0x00104000, 0x00324000, 0x0020000D]
NUMBERS = [0x00280010, 0x00280011, 0x00189087]
OTHERS = [0x60003000, 0x60000010, 0x00400275, 0x54000100, 0xFFFCFFFC]


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


def run(data: bytes, script: str) -> bytes:
    header = read_header(io.BytesIO(data))
    anonymise.Script(text=f'version "6.6"\n{script}', script_id="7").apply(header, LABELS)
    out = io.BytesIO()
    header.write(out)
    return out.getvalue()


def hashed(uid: str) -> str:
    """``2.25.`` and the SHA-1 of a UID as a version 5 UUID."""
    return f"2.25.{uuid.UUID(bytes=hashlib.sha1(uid.encode(), usedforsecurity=False).digest()[:16], version=5).int}"


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
            new = value(dataset) if callable(value) else value
            if new is not None:
                dataset.add_new(tag, dictionary_VR(tag).split(" ")[0], new)

        return act

    def number(one: tuple[int, int]):
        tag, value = one
        return f'{shown(tag)} := "{value}"', put(tag, float(value) if dictionary_VR(tag) == "FD" else value)

    def drop(tag: int):
        return f"-{shown(tag)}", lambda dataset: dataset.pop(tag, None)

    def read(dataset: pydicom.Dataset, tag: int) -> str | None:
        """A value as text; "" where there is none, None where there is no element, and "0" for zero."""
        value = dataset[tag].value if tag in dataset else None
        return None if tag not in dataset else "" if value is None else str(value)

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
                put(tag, lambda dataset: None if (uid := read(dataset, tag)) is None else hashed(uid)),
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
@pytest.mark.parametrize("value", ["0", "00", "", " "])
def test_zero_nothing_and_no_element_are_told_apart(value):
    data = made(UID("1.2.840.10008.1.2.1"))
    lines = ['(0028,0010) := "0"', "(0008,0080) := (0028,0010)", f'(0008,1030) := "{value}"',
             "(0010,0020) := (0008,1030)", "-(0010,4000)", '(0008,103E) := "as before"', "(0008,103E) := (0010,4000)"]
    found = pydicom.dcmread(io.BytesIO(run(data, "\n".join(lines))))
    assert (found.Rows, found.InstitutionName) == (0, "0")
    assert found.StudyDescription == found.PatientID == value.strip()
    assert found.SeriesDescription == "as before"


def test_private_elements_and_overlays():
    data = made(UID("1.2.840.10008.1.2.1"))
    found = pydicom.dcmread(io.BytesIO(run(data, '(0028,0106) := "9"\n-(6000,3000)\n-(7FE0,0010)')))
    assert found.SmallestImagePixelValue == 9
    assert 0x60003000 not in found and "PixelData" not in found
    with pytest.raises(anonymise.Rejected):
        run(data, '(0028,0106) = "7" ? reject[]')


def test_a_name_in_japanese_that_is_copied_loses_its_letters():
    """As XNAT's engine does (recorded: charset-102); the name itself stays."""
    data = real("chrH31.dcm")
    found = pydicom.dcmread(io.BytesIO(run(data, "(0008,1030) := (0010,0010)")))
    assert found.StudyDescription == "Yamada^Tarou=??^??=???^???"
    assert found.PatientName == pydicom.dcmread(io.BytesIO(data)).PatientName


def test_a_number_that_is_none_is_an_error_of_the_script(desk):  # noqa: F811
    desk.set_project(anon_script='version "6.6"\n(0028,0010) := "many"', anon_enabled=1)
    uri = desk.to_prearchive(series(1, 1))
    answer = desk.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, "Anonymization failed" in message(answer)) == (500, True)
    assert [row["status"] for row in desk.waiting()] == ["ERROR"]


HOSTILE = {
    "a pattern that never ends": '(0008,1030) := "' + "a" * 60 + '!"\n(0008,1030) ~ "(a+)+" ? (0010,0010) := "x"',
    "a pattern of parentheses": '(0008,1030) ~ "' + "(" * 5000 + "a" + ")" * 5000 + '" ? (0010,0010) := "x"',
    "text that doubles": 'val := "' + "a" * 16 + '"\n' + "val := concatenate[val,val]\n" * 40,
    "text that is replaced": 'val := "aaaaaaaa"\n' + 'val := replace[val,"a","aaaaaaaa"]\n' * 20,
    "text that is formatted": 'val := "aaaaaaaa"\n' + 'val := format["{0}{0}{0}{0}{0}{0}{0}{0}",val]\n' * 20,
    "text that is put again and again": 'val := "aaaaaaaa"\n' + "val := concatenate[val,val]\n" * 18
    + "(0010,0010) := val\n" * 1000,
    "functions in functions": "(0010,0010) := " + "lowercase[" * 3000 + '"x"' + "]" * 3000,
    "lists in lists": "removeTags[" + "{" * 3000 + "}" * 3000 + "]",
    "parentheses": "(" * 20000,
    "sequences in sequences": "/".join(["(0008,1140)[0]"] * 5000) + '/(0008,1150) := "1"',
    "an item that no file has": '(0008,1140)[200000000]/(0008,1150) := "1.2"',
    "wild cards": "-" + "+/*/./" * 20 + "(0008,XXXX)",
}


@pytest.mark.parametrize("version", ['version "6.6"\n', 'version "6.3"\n', ""], ids=["6.6", "6.3", "4"])
@pytest.mark.parametrize("what", HOSTILE)
def test_no_script_holds_the_server_up(what, version):
    """Whatever the end is, it comes soon, and what is left is the file, nothing, or not much more than the file."""
    data = series(1, 1)[0][1]
    began = time.thread_time()
    (outcome,) = dicomedit(version + HOSTILE[what], [data], {}, release="6.3" if "6.3" in version else "6.6")
    assert time.thread_time() - began < 20
    assert len(outcome.data) < len(data) + (1 << 23)


@settings(max_examples=100)
@given(script=st.text("()[]{}\"\\/,:=?!~-+*.@#Xx019 aval\n", max_size=80), version=st.sampled_from(["6.6", "6.4", "4"]))
def test_any_text_ends_in_one_of_four_ways(script, version):
    data = series(1, 1)[0][1]
    text = script if version == "4" else f'version "{version}"\n{script}'
    (outcome,) = dicomedit(text, [data], vars(LABELS), script_id=1, release="6.6" if version == "4" else version)
    left = {End.REFUSED: outcome.data == data, End.FAILED: not outcome.data, End.REJECTED: not outcome.data}
    assert left.get(outcome.end, True)
    if outcome.end is End.DONE:
        found = pydicom.dcmread(io.BytesIO(outcome.data), force=True)
        assert found.DeidentificationMethodCodeSequence[-1].CodeValue == "1"


def test_the_catalogue_tells_zero_from_nothing(tmp_path):
    state = State(tmp_path)
    for frames, kept in ((0, "0"), (3, "3"), (None, ""), ("", "")):
        pk = state.new_scan("E", f"scan {frames}", "xnat:mrScanData", frames=frames)
        assert state.row("SELECT frames FROM scans WHERE pk=?", pk)["frames"] == kept
