"""Content of DICOM files: the same however they are encoded, and never of a file that is cut.

The files are those that pydicom's wheel carries; none is copied here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import uuid
import warnings
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from part10 import BIG, DEFLATED, EXPLICIT, IMPLICIT, part10
from part10 import image as part10_image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_fragments
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from xnbtransfer import walk
from xnbtransfer.dicom import Content, hash_uid, pair, read_content
from xnbtransfer.elements import difference, element_digest, sequence_digest, value_digest
from xnbtransfer.errors import DicomError
from xnbtransfer.foretell import compare

KEY = b"a key of one run"
BUNDLED = Path(pydicom.__file__).parent / "data"


def bundled():
    """Every bundled file of an instance: Part 10, with a SOPInstanceUID, and accepted by the walk."""
    for path in sorted(BUNDLED.rglob("*")):
        if not path.is_file() or path.stat().st_size < 132:
            continue
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(io.BytesIO(data))
            if ds.get("SOPInstanceUID"):
                yield path.relative_to(BUNDLED).as_posix(), data


FILES = dict(bundled())
# Cut short: what these files are for.
DAMAGED = {
    "test_files/MR_truncated.dcm",
    "test_files/rtplan_truncated.dcm",
}
WHOLE = {name: data for name, data in FILES.items() if name not in DAMAGED}
# pydicom writes names in several character sets anew, in other bytes.
WRITTEN_ALIKE = [name for name in sorted(WHOLE) if "Multi" not in name]


def load(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data))


def image(*, rows=8, columns=8, frames=None, syntax=ExplicitVRLittleEndian):
    """A small image with sequences, private elements and text of odd length."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, "1.2.3.4.5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", "3", "7"
    ds.PatientName, ds.PatientID, ds.StudyDescription = "Some^One", "ID1", "Head"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    if frames:
        ds.NumberOfFrames = frames
    ds.PixelSpacing, ds.ImagePositionPatient, ds.SliceThickness = [1.0, 1.5], [0, 0, 12.5], "2.0"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, "1.2.9"
    deep = Dataset()
    deep.CodeValue, deep.CodeMeaning = "1", "odd"
    item.PurposeOfReferenceCodeSequence = Sequence([deep, Dataset()])
    ds.ReferencedImageSequence = Sequence([item, item])
    ds.ReferencedStudySequence = Sequence([])
    block = ds.private_block(0x0019, "XNB TEST", create=True)
    block.add_new(0x01, "LO", "private text!")
    block.add_new(0x02, "US", 0)
    block.add_new(0x03, "OB", b"\0\1\2 ")
    block.add_new(0x04, "SQ", Sequence([deep]))
    block.add_new(0x05, "SQ", Sequence([]))
    ds.add_new(0x7FE00010, "OW", bytes(i % 251 for i in range(rows * columns * 2 * (frames or 1))))
    return encode(ds, syntax)


def encode(ds, syntax, *, undefined=None, group_lengths=False):
    """The Part 10 bytes of a data set, with sequences of undefined or defined length."""
    ds = load_copy(ds)

    def visit(inner):
        for element in inner:
            if element.VR == "SQ":
                if undefined is not None:
                    element.is_undefined_length = undefined
                for item in element.value:
                    if undefined is not None:
                        item.is_undefined_length_sequence_item = undefined
                    visit(item)
        if group_lengths:
            for group in {element.tag.group for element in inner if element.tag.group not in (2, 0x7FE0)}:
                inner.add_new(group << 16, "UL", 4242)

    visit(ds)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.get("SOPClassUID", "1.2"), ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    ds.file_meta, ds.preamble = meta, bytes(128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if group_lengths:
            # dcmwrite leaves group lengths out; the data set is written behind a header of its own.
            pydicom.filewriter.write_file_meta_info(out, meta, enforce_standard=True)
            fp = DicomBytesIO()
            fp.is_little_endian, fp.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
            for element in ds:
                if element.tag.group != 2:
                    pydicom.filewriter.write_data_element(fp, element)
            return bytes(128) + b"DICM" + out.getvalue() + fp.getvalue()
        pydicom.dcmwrite(
            out,
            ds,
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
            enforce_file_format=True,
        )
    return out.getvalue()


def load_copy(ds):
    fp = DicomBytesIO()
    fp.is_little_endian, fp.is_implicit_VR = True, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(fp, Dataset({element.tag: element for element in ds if element.tag.group != 2}))
        return pydicom.dcmread(io.BytesIO(fp.getvalue()), force=True)




def changed(one, other):
    """Paths of elements that are other ones, and "" where the content is; file meta information is left out."""
    equal, changes = compare(one, other, None, key=KEY)
    found = {change.path for change in changes if not change.explained and not change.path.startswith("0002")}
    return found if equal else found | {""}


def same(one, other):
    """Equal in everything but the transfer syntax and how it encodes."""
    return not changed(one, other) and one.uids == other.uids


def bulk_of(ds):
    """Pixel bytes as pydicom sees them, in little endian order."""
    data = ds["PixelData"].value
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax and syntax.is_encapsulated:
        return b"".join(list(generate_fragments(data))[1:])
    return data


def only_pixels(ds):
    return not any(tag.group & 0xFF00 == 0x6000 and tag.element == 0x3000 for tag in ds.keys())  # noqa: SIM118


def test_enough_files_are_looked_at():
    assert len(WHOLE) > 80


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_pixels_are_those_that_pydicom_reads(name):
    content, ds = read_content(WHOLE[name]), load(WHOLE[name])
    assert content.sop_instance_uid == ds.SOPInstanceUID
    assert content.study_instance_uid == ds.get("StudyInstanceUID", "")
    number = ds.get_item("InstanceNumber").value if "InstanceNumber" in ds else b""
    assert content.instance_number.encode() == (number or b"").strip(b" \0")
    if "PixelData" not in ds or not only_pixels(ds):
        return
    if ds.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian:
        return
    data = bulk_of(ds)
    line = f"7FE00010:{hashlib.sha256(data).hexdigest()}:{len(data)}"
    assert content.bulk == hashlib.sha256(line.encode()).hexdigest()
    assert content.bulk_bytes == len(data)


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damaged_files_are_flagged(name):
    with pytest.raises(DicomError, match="cut short"):
        read_content(FILES[name])


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("name", WRITTEN_ALIKE)
def test_content_survives_another_encoding_of_sequences(name, undefined):
    ds = load(WHOLE[name])
    before = read_content(WHOLE[name], key=KEY)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for element in ds.iterall():
                if element.VR == "SQ":
                    element.is_undefined_length = undefined
                    for item in element.value:
                        item.is_undefined_length_sequence_item = undefined
            ds.save_as(out)
        except Exception as problem:
            pytest.skip(f"pydicom cannot write it: {type(problem).__name__}")
    after = read_content(out.getvalue(), key=KEY)
    # pydicom drops an empty component group at the end of a name that it has decoded.
    twice = {path for path in before.elements if "#" in path}  # pydicom keeps one of them
    assert changed(before, after) - twice <= ({"00100010"} if "chrX" in name else set())


def little_endian():
    """The native files, each with the other VR encoding."""
    for name in WRITTEN_ALIKE:
        data = WHOLE[name]
        syntax = load(data).file_meta.get("TransferSyntaxUID")
        if syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            other = ImplicitVRLittleEndian if syntax == ExplicitVRLittleEndian else ExplicitVRLittleEndian
            yield pytest.param(data, other, id=name)


@pytest.mark.parametrize(("data", "other"), little_endian())
def test_content_survives_the_other_vr_encoding(request, data, other):
    ds = load(data)
    ds.file_meta.TransferSyntaxUID = other
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(out, ds, implicit_vr=other.is_implicit_VR, little_endian=True)
    before, after = read_content(data, key=KEY), read_content(out.getvalue(), key=KEY)
    twice = {path for path in before.elements if "#" in path}  # pydicom keeps one of them
    assert changed(before, after) - twice <= ({"00100010"} if "chrX" in request.node.name else set())


@pytest.mark.parametrize("group_lengths", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_one_image_has_one_content_in_every_encoding(syntax, undefined, group_lengths):
    original = image()
    again = encode(load(original), syntax, undefined=undefined, group_lengths=group_lengths)
    if undefined or group_lengths or syntax != ExplicitVRLittleEndian:
        assert again != original
    assert same(read_content(again, key=KEY), read_content(original, key=KEY))


def test_big_endian_order_changes_no_element():
    ds = load(image())
    there = load(image())
    # pydicom writes the bytes of OW as they are, so they are swapped by hand.
    pixels = ds.PixelData
    there.PixelData = b"".join(pixels[at + 1 : at + 2] + pixels[at : at + 1] for at in range(0, len(pixels), 2))
    big = read_content(encode(there, ExplicitVRBigEndian), key=KEY)
    assert same(big, read_content(encode(ds, ExplicitVRLittleEndian), key=KEY))


def test_a_deflated_file_has_the_content_of_an_inflated_one():
    ds = load(image())
    deflated = encode(ds, DeflatedExplicitVRLittleEndian)
    assert same(read_content(deflated, key=KEY), read_content(image(), key=KEY))


def test_paths_and_values():
    elements = read_content(image(), key=KEY).elements
    assert elements["00081140[1].00081155"] == element_digest("UI", b"1.2.9", key=KEY)
    assert elements["00081140[0].0040A170[0].00080104"] == element_digest("LO", b"odd", key=KEY)
    assert elements["00081110"] == sequence_digest(0, key=KEY)
    assert elements["00191004[0].00080100"] == element_digest("SH", b"1", key=KEY)
    assert elements["00100020"] == value_digest("ID1", key=KEY) + "LO"
    assert elements["00020010"] == element_digest("UI", b"1.2.840.10008.1.2.1", key=KEY)
    # the pixels have a digest of their own
    assert elements["7FE00010"] == element_digest("OW", b"", key=KEY)
    # who wrote the file, and how long the group is
    assert not {"00020000", "00020012", "00020013"} & elements.keys()


@pytest.mark.parametrize("pairs", [(0, 32), (0, 8192), (32, 8192), (0, 0x2020)])
def test_numbers_are_not_taken_for_padding(pairs):
    found = []
    for value in pairs:
        ds = load(image())
        ds.SmallestImagePixelValue = value
        ds[0x0019, 0x1002].value = value
        content = read_content(encode(ds, ExplicitVRLittleEndian), key=KEY)
        found.append((content.elements["00280106"], content.elements["00191002"]))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_another_key_gives_other_digests_of_the_same_elements():
    one, other = read_content(image(), key=b"1"), read_content(image(), key=b"2")
    assert one.elements.keys() == other.elements.keys()
    assert not set(one.elements.values()) & set(other.elements.values())
    assert (one.bulk, one.geometry) == (other.bulk, other.geometry)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_every_cut_of_an_image_is_flagged(syntax, undefined):
    data = encode(load(image()), syntax, undefined=undefined)
    read_content(data)
    unseen = []
    for length in range(len(data)):
        try:
            if read_content(data[:length]).unusual:
                continue
        except DicomError:
            continue
        unseen.append(length)
    # Until the first attribute of an image, a cut between two elements leaves a file like any other.
    before_image = [element for element in load(data) if 0x00080018 <= element.tag < 0x00280002]
    assert len(unseen) == len(before_image)
    assert max(unseen) == data.index(b"\x28\x00\x02\x00")


@pytest.mark.parametrize("name", ["test_files/MR_small.dcm", "test_files/CT_small.dcm", "test_files/JPEG2000.dcm"])
def test_cuts_of_real_files_inside_and_after_their_pixels_are_flagged(name):
    data = FILES[name]
    pixels = data.rindex(b"\xe0\x7f\x10\x00")
    end = read_to_the_end_of_pixels(data)
    assert "without pixels" in read_content(data[:pixels]).unusual
    for length in [pixels + 1, pixels + 7, *range(pixels + 8, end, max(1, (end - pixels) // 300)), end - 1]:
        with pytest.raises(DicomError):
            read_content(data[:length])
    for more in range(1, 8):
        with pytest.raises(DicomError):
            read_content(data[:end] + b"\xfc\xff\xfc\xffOB\0"[:more])


def read_to_the_end_of_pixels(data):
    ds = load(data)
    if ds["PixelData"].is_undefined_length:
        return data.rindex(b"\xfe\xff\xdd\xe0\0\0\0\0") + 8
    return data.rindex(ds.PixelData) + len(ds.PixelData)


def test_pixels_are_as_many_as_their_element_says():
    ds = load(image())
    pixels = ds.PixelData
    ds.PixelData = pixels[:-2]
    fewer = read_content(encode(ds, ExplicitVRLittleEndian))
    assert fewer.bulk_bytes == len(pixels) - 2 and "fewer pixels" in fewer.unusual
    ds.PixelData = pixels + b"\0\0"
    assert read_content(encode(ds, ExplicitVRLittleEndian)).bulk_bytes == len(pixels) + 2


def test_a_cut_deflated_file_is_flagged():
    data = encode(load(image()), DeflatedExplicitVRLittleEndian)
    start = data.index(b"1.2.840.10008.1.2.1.99") + 22
    for length in range(start, len(data) - 2):
        with pytest.raises(DicomError):
            read_content(data[:length])


@given(st.binary(max_size=300))
def test_what_is_no_dicom_is_refused_and_nothing_else_is_raised(data):
    for prefix in (b"", bytes(128) + b"DICM", image()[:400]):
        try:
            read_content(prefix + data)
        except DicomError:
            pass


@given(st.integers(132, 1500), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_else(at, byte):
    data = bytearray(image())
    data[at % len(data)] = byte
    try:
        read_content(bytes(data))
    except DicomError:
        pass


def outcome(data):
    """What a walk says of a file, with the order of its elements, and what a review would see in it."""
    values = {}
    try:
        found = read_content(data, key=KEY, values=values)
    except DicomError as problem:
        return problem.message
    return found, list(found.elements), values


CHANGES = st.tuples(
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]),
    st.sampled_from(["as it is", "byte", "cut", "twice", "gone"]),
    st.integers(132, 1500),
    st.integers(1, 60),
)


@given(st.lists(CHANGES, min_size=1, max_size=6))
def test_what_was_read_before_changes_nothing(changes):
    """A walk remembers runs of elements from file to file; one that remembers nothing finds the same."""
    files = []
    for syntax, change, at, size in changes:
        data = image(syntax=syntax)
        before, part, rest = data[:at], data[at : at + size], data[at + size :]
        parts = {"as it is": part, "byte": bytes([size]) + part[1:], "cut": b"", "twice": part + part, "gone": b""}
        files.append(before + parts[change] + (b"" if change == "cut" else rest))
    cold = []
    for data in files:
        walk._runs.cache_clear()
        cold.append(outcome(data))
    walk._runs.cache_clear()
    assert [outcome(data) for data in files * 2] == cold * 2


def test_a_message_holds_no_value():
    data = image()
    for length in range(140, len(data), 13):
        try:
            read_content(data[:length])
        except DicomError as problem:
            assert "Some" not in str(problem) and "1.2." not in str(problem)


def test_deep_nesting_is_refused():
    # 100 sequences of undefined length in each other.
    inner = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100
    data = image()
    start = data.index(b"\x08\x00\x16\x00")
    with pytest.raises(DicomError, match="deep"):
        read_content(data[:start] + inner)


def test_waveforms_and_icons():
    ds = load(image())
    wave = Dataset()
    wave.WaveformBitsAllocated, wave.WaveformSampleInterpretation = 16, "SS"
    wave.add_new(0x54001010, "OW", b"\1\2\3\4")
    ds.WaveformSequence = Sequence([wave])
    with_wave = read_content(encode(ds, ExplicitVRLittleEndian), key=KEY)
    assert with_wave.bulk_bytes == 8 * 8 * 2 + 4
    assert same(with_wave, read_content(encode(ds, ImplicitVRLittleEndian, undefined=True), key=KEY))
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    icon.add_new(0x7FE00010, "OB", b"\1\0")
    ds.IconImageSequence = Sequence([icon])
    with_icon = read_content(encode(ds, ExplicitVRLittleEndian), key=KEY)
    assert with_icon.bulk == with_wave.bulk
    assert "00880200[0].7FE00010" in with_icon.elements


def test_geometry_of_frames_counts():
    def enhanced(position):
        ds = load(image(frames=2))
        frames = []
        for z in (0, position):
            frame, plane = Dataset(), Dataset()
            plane.ImagePositionPatient = [0, 0, z]
            frame.PlanePositionSequence = Sequence([plane])
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
        return read_content(encode(ds, ExplicitVRLittleEndian))

    assert enhanced(1).geometry != enhanced(2).geometry
    assert enhanced(1).geometry == enhanced(1.0).geometry


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.840.113619.2.55.3.2831868886.123", "2.25.1", ""])
def test_hash_uid_is_a_name_based_uuid_without_a_name_space(uid):
    # RFC 4122 4.3 with an empty name space, through the standard library's own bits.
    digest = hashlib.sha1(uid.encode()).digest()[:16]
    assert hash_uid(uid) == f"2.25.{uuid.UUID(bytes=digest, version=5).int}"


def relabelled(data, **values):
    ds = load(data)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return read_content(encode(ds, ExplicitVRLittleEndian, undefined=True), key=KEY)


def content(uid, bulk="b", geometry="g"):
    empty = dict.fromkeys((field.name for field in dataclasses.fields(Content)), "")
    return Content(**empty | {"sop_instance_uid": uid, "bulk": bulk, "geometry": geometry, "elements": {}})


def test_pairs():
    source = {1: content("1"), 2: content("2"), 3: content("3"), 4: content("4", "x"), 5: content("5", "z")}
    there = {
        "same": content("1"),
        "once": content(hash_uid("2")),
        "twice": content(hash_uid(hash_uid("3"))),
        "content": content("9", "x"),
        "extra": content("8", "y"),
    }
    hashed = {2: [hash_uid("2")], 3: [hash_uid("3"), hash_uid(hash_uid("3"))]}
    pairs = pair(source, there, lambda name: hashed.get(name, []))
    assert pairs == [(1, "same"), (2, "once"), (3, "twice"), (4, "content"), (5, None), (None, "extra")]


@given(st.lists(st.tuples(st.sampled_from("12345"), st.sampled_from("ab"))), st.data())
def test_everyone_is_in_one_pair(rows, data):
    source = {at: content(uid, bulk) for at, (uid, bulk) in enumerate(rows)}
    there = {f"d{at}": content(uid, bulk) for at, (uid, bulk) in enumerate(data.draw(st.permutations(rows)))}
    pairs = pair(source, there)
    assert sorted(left for left, _ in pairs if left is not None) == sorted(source)
    assert sorted(right for _, right in pairs if right is not None) == sorted(there)
    assert all(left is not None and right is not None for left, right in pairs)


def test_a_file_without_bulk_is_not_paired_by_content():
    assert pair({1: content("1", "")}, {"a": content("2", "")}) == [(1, None), (None, "a")]


def test_deflate_is_raw():
    # The helper of these tests, not the module: PS3.5 A.5 has no zlib header.
    data = encode(load(image()), DeflatedExplicitVRLittleEndian)
    start = data.index(b"1.2.840.10008.1.2.1.99") + 22
    with pytest.raises(zlib.error):
        zlib.decompress(data[start:])


def write(*elements, syntax=EXPLICIT, **more):
    """A small image with these elements besides; those of one tag all stand there."""
    base = [one for one in part10_image() if one[0] not in {tag for tag, _, _ in elements}]
    return bytes(part10(sorted([*base, *elements], key=lambda one: one[0]), syntax, **more).data)


@pytest.mark.parametrize("zeros", [1, 2, 7, 8, 512])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_zeros_behind_the_data_set_are_no_cut(syntax, zeros):
    data = write(syntax=syntax)
    assert same(read_content(data + bytes(zeros), key=KEY), read_content(data, key=KEY))
    with pytest.raises(DicomError):
        read_content(data + bytes(zeros) + b"\1")


def test_what_an_element_holds_twice_is_content_twice():
    def names(*values):
        return read_content(write(*((0x00100010, "PN", value) for value in values)), key=KEY)

    assert changed(names(b"A", b"B"), names(b"C", b"B")) == {"00100010"}
    assert changed(names(b"A", b"B"), names(b"A", b"C")) == {"00100010#2"}
    assert changed(names(b"A", b"B"), names(b"B")) == {"00100010", "00100010#2"}
    with pytest.raises(DicomError, match="more than"):
        names(*[b"A"] * 80)


def test_sequences_and_pixels_that_stand_twice_are_content():
    def pair_of(*texts, pixels=(b"\1" * 32,)):
        sequences = [(0x00081115, "SQ", [[(0x00100020, "LO", text), (0x00100020, "LO", b"X")]]) for text in texts]
        return read_content(write(*sequences, *((0x7FE00010, "OW", one) for one in pixels)), key=KEY)

    assert changed(pair_of(b"A", b"B"), pair_of(b"C", b"B")) == {"00081115[0].00100020"}
    assert changed(pair_of(b"A", b"B"), pair_of(b"A", b"C")) == {"00081115#2[0].00100020"}
    assert "" in changed(pair_of(b"A", pixels=(b"\1" * 32, b"\2" * 32)), pair_of(b"A", pixels=(b"\2" * 32,)))


def test_a_review_reads_both_of_two():
    values = {}
    item = [(0x00100020, "LO", b"A"), (0x00100020, "LO", b"B")]
    read_content(write((0x00100010, "PN", b"A"), (0x00100010, "PN", b"B"), (0x00081115, "SQ", [item])), values=values)
    assert (values["00100010"][1], values["00100010#2"][1]) == (b"A", b"B")
    assert (values["00081115[0].00100020"][1], values["00081115[0].00100020#2"][1]) == (b"A", b"B")


@pytest.mark.parametrize("text", [b"A ", b"AB  ", b"ABC     ", b"ABCDEFGH  "])
@pytest.mark.parametrize("vr", ["LO", "SH", "UT", "LT", "PN", "CS", "AE"])
def test_blanks_trimmed_of_a_private_text_are_no_change(vr, text):
    full, trimmed = write((0x00191001, vr, text)), write((0x00191001, vr, text.rstrip()))
    assert not changed(read_content(full, key=KEY), read_content(trimmed, key=KEY))


def test_pixels_of_half_the_chroma_are_whole():
    """PS3.3 C.7.6.3.1.2: YBR_PARTIAL_422 has two samples a pixel, of 4 x 4 pixels in 8 bits that is 32 bytes."""
    more = [(0x00280004, "CS", b"YBR_PARTIAL_422"), (0x00280002, "US", b"\3\0"), (0x00280100, "US", b"\x08\0")]
    found = read_content(write(*more))
    assert found.bulk_bytes == 32 and not found.unusual


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.481.2", "1.3.12.2.1107.5.9.1"]
)
def test_an_object_that_need_not_have_pixels_is_whole_without(sop_class):
    elements = [one for one in part10_image() if one[0] != 0x7FE00010]
    elements[1] = (0x00080016, "UI", sop_class.encode())
    found = read_content(bytes(part10(elements).data))
    assert found.bulk == "" and not found.unusual


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("UR", "UN", "the import writes UR as UN"),
        ("OL", "OF", "the import writes OL as OF"),
        ("OB", "OW", None),
        ("US", "SS", None),
        ("LO", "UN", None),
        ("LO", "SH", None),
    ],
)
def test_value_representations_are_held_to_each_other(before, after, said):
    one, other = (element_digest(vr, b"\1\2\3\4", key=KEY) for vr in (before, after))
    assert difference("00191001", one, other) == said
    assert difference("00191001", element_digest(before, b"\1\2\3\4", key=KEY, told=False), other) == ""


def test_the_vr_of_one_explicit_file_is_held_to_the_dictionary():
    implicit = element_digest("PN", b"A", key=KEY, told=False)
    assert difference("00100010", implicit, element_digest("PN", b"A", key=KEY)) == ""
    assert difference("00100010", implicit, element_digest("LO", b"A", key=KEY)) is None


def test_a_value_representation_that_is_none_is_refused():
    data = write((0x00191001, "LO", b"text"))
    with pytest.raises(DicomError, match="cannot be read"):
        read_content(data.replace(b"LO\4\0text", b"LX\4\0text"))


def test_file_meta_information_is_content():
    data = write()
    other = data.replace(b"UI\x12\x001.2.840.10008.5.1", b"UI\x12\x001.2.840.10008.5.2", 1)
    for tampered in (other, data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4\0")):
        if tampered == data:
            continue
        _, changes = compare(read_content(data, key=KEY), read_content(tampered, key=KEY), None, key=KEY)
        assert [change.explained for change in changes] == [False]


def test_a_file_without_end_is_refused_in_bounded_time():
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * (1 << 16)
    data = write() + b"\x88\x00\x00\x02SQ\0\0\xff\xff\xff\xff" + items
    with pytest.raises(DicomError, match="cut short"):
        read_content(data)


def test_more_elements_than_any_file_has_are_refused(monkeypatch):
    monkeypatch.setattr(walk, "_ELEMENTS", 50)
    item = [[(0x00080100, "SH", b"1")]] * 60
    with pytest.raises(DicomError, match="more than 50 elements"):
        read_content(write((0x00081115, "SQ", item)))


def test_a_deflated_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(walk, "_INFLATED_BYTES", 1 << 20)
    data = write((0x00420011, "OB", bytes(8 << 20)), syntax=DEFLATED)
    assert len(data) < 1 << 17
    with pytest.raises(DicomError, match="grows beyond"):
        read_content(data)


def test_a_long_deflated_data_set_is_read_from_disk(monkeypatch):
    data = write((0x00420011, "OB", bytes(range(256)) * 1024), syntax=DEFLATED)
    before = read_content(data, key=KEY)
    monkeypatch.setattr(walk, "_IN_MEMORY_BYTES", 1 << 10)
    assert read_content(data, key=KEY) == before
