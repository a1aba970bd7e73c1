"""What a review finds of planted identities: all of them, at any depth, and nothing where there are none."""

from __future__ import annotations

import collections
import importlib
import re
import warnings
from pathlib import Path

import pydicom
import pynetdicom
import pytest
from deid_results import CLASSES, PAGE, hits_by_element, keyword_of, page, planted_in, worst
from hypothesis import given
from hypothesis import strategies as st
from planted import SURNAME, clean, found_in, in_files, tag_of, values_of, written
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from xnbtransfer.confidentiality import EDITION, attribute, attributes
from xnbtransfer.deid import Judge
from xnbtransfer.dicom import read_content
from xnbtransfer.errors import DicomError
from xnbtransfer.findings import RULES, SEVERITIES, shape_of
from xnbtransfer.identities import (
    Identifiers,
    identity_in,
    is_dummy,
    looks_like_a_person,
    reads_as_a_person,
    routing_in,
)

SEVERITY = {rule: about.severity for rule, about in RULES.items()}
VENDORS = [
    path
    for root in (Path(pydicom.__file__).parent / "data", Path(pynetdicom.__file__).parent / "tests")
    for path in sorted(root.rglob("*"))
    if path.is_file() and path.stat().st_size > 132
]


def rules(hits) -> set[str]:
    return {hit.rule for hit in hits}


# -- the table of the profile ------------------------------------------------------------------------------------


def test_the_table_is_that_of_the_package_that_keeps_it():
    kept = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    groups = ("D", "Z", "X", "U", "Z_D", "X_Z", "X_D", "X_Z_D", "X_Z_U_STAR")
    tags = {f"{tag[0]:04X}{tag[1]:04X}" for name in groups for tag in getattr(kept, f"{name}_TAGS") if len(tag) == 2}
    assert tags == {row.tag for row in attributes() if "X" not in row.tag}
    assert sum("X" in row.tag for row in attributes()) == 3
    assert len(attributes()) == 655


def test_every_attribute_has_what_a_reviewer_needs():
    for row in attributes():
        assert row.kind and row.name and row.action, row
        assert attribute(f"{tag_of(row):08X}") == row


@pytest.mark.parametrize(
    ("tag", "action", "options"),
    [
        ("00080054", "X", ("device",)),
        ("00081301", "X", ("descriptors",)),
        ("00100010", "Z", ()),
        ("00100042", "X", ("patient", "descriptors")),
        ("00102160", "X", ("patient",)),
        ("00080080", "X/Z/D", ("institution",)),
        ("0020000D", "U", ("uids",)),
        ("00181200", "X", ("device", "dates")),
        ("00080020", "Z", ("dates",)),
        ("0040A730", "D", ("structured",)),
        ("60XX3000", "X", ("graphics",)),
        ("00720066", "D", ("descriptors",)),
    ],
)
def test_rows_of_the_table_are_those_of_the_standard(tag, action, options):
    (row,) = [row for row in attributes() if row.tag == tag]
    assert (row.action, row.options) == (action, options)


def test_where_each_row_has_its_options_from():
    counts = collections.Counter(row.options_from for row in attributes())
    assert counts == {"2025-06-24": 646, "value representation and name": 9}
    options = collections.Counter(option for row in attributes() for option in row.options)
    assert options["dates"] >= 169 and options["institution"] == 10 and options["patient"] == 19


# -- nothing where there is nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("implicit", [False, True])
def test_a_clean_header_has_notes_only(implicit):
    hits = found_in(written(clean(), implicit=implicit))
    assert worst(hits) == "note", [hit for hit in hits if SEVERITY[hit.rule] != "note"]


@pytest.mark.parametrize(
    "values",
    [
        {"PatientName": "ANONYMOUS", "PatientID": "0000"},
        {"PatientName": "xxxx^xxxx", "PatientID": "REMOVED"},
        {"PatientBirthDate": "", "ReferringPhysicianName": "", "AccessionNumber": ""},
        {"InstitutionName": "REMOVED", "OperatorsName": "anonymous^anonymous"},
        {"StudyDescription": "Head^Routine", "SeriesDescription": "Researcher^Project"},
        {"PatientAge": "089Y"},
        {"PatientComments": "Project: STUDY_B Subject: 001 Session: 001_MR1"},
        {"DeviceSerialNumber": "45123", "StationName": "MRC45123"},
        {"SeriesDescription": "ep2d 1.2999999 p2 s3 2024.1"},
    ],
)
def test_what_stands_for_nobody_is_no_finding(values):
    hits = found_in(written(clean(**values)))
    assert worst(hits) == "note", [hit for hit in hits if SEVERITY[hit.rule] != "note"]


# -- every planted identity is found -----------------------------------------------------------------------------


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_every_attribute_of_the_profile_is_found_in_every_nesting(implicit):
    missed, count = [], 0
    table: collections.Counter = collections.Counter()
    for depth in (0, 1, 3):
        rows = planted_in(depth)
        found = hits_by_element(rows, depth, implicit, Judge())
        for row in rows:
            hits = found.get(keyword_of(row), set())
            count += 1
            missed += [(row.tag, row.name, depth)] if not hits else []
            table[(row.kind, worst(hits))] += 1
    print(f"{count} planted, {len(missed)} missed")
    for kind in sorted({kind for kind, _ in table}):
        print(
            f"  {kind:12} " + "  ".join(f"{word} {table[(kind, word)]}" for word in SEVERITIES if table[(kind, word)])
        )
    assert missed == []
    for kind, word in (("direct", "blocking"), ("document", "blocking"), ("name", "blocking"), ("birth", "blocking")):
        assert table[(kind, word)] == sum(number for (one, _), number in table.items() if one == kind), kind
    for kind in ("staff", "order", "institution", "comment", "graphics", "former", "signature"):
        assert not table[(kind, "note")], kind


def test_every_attribute_that_holds_text_is_blocked_by_a_list_of_known_identifiers():
    judge, missed = Judge(identifiers=Identifiers([SURNAME])), []
    texts = ("AE", "LO", "LT", "OB", "PN", "SH", "ST", "UC", "UN", "UR", "UT", "CS", "")
    chosen = [row for row in in_files() if row.vr in texts and row.kind not in ("graphics", "document", "padding")]
    for depth in (0, 2):
        found = hits_by_element(chosen, depth, False, judge)
        missed += [(row.tag, row.name, depth) for row in chosen if "D07" not in rules(found.get(keyword_of(row), ()))]
    assert len(chosen) > 250
    assert missed == []


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_of_identities(name):
    values, severity = CLASSES[name]
    hits = found_in(written(clean(**values)))
    print(f"{name:40} {severity:9} {sorted(rules(hit for hit in hits if SEVERITY[hit.rule] == severity))}")
    assert worst(hits) == severity


@pytest.mark.parametrize(
    "surroundings",
    [
        "seen by Quistelhausen today",
        "QUISTELHAUSEN",
        "quistelhausen's knee",
        "T2 Quistelhausen_repeat",
        "Quistelhäusen",
    ],
)
def test_a_surname_alone_is_found_by_a_list_of_known_ones(surroundings):
    data = written(clean(SeriesDescription=surroundings))
    assert "D07" not in rules(found_in(data))
    assert "D07" in rules(found_in(data, Judge(identifiers=Identifiers(["#no", "Quistelhausen"]))))


@pytest.mark.parametrize("encode", ["latin-1", "utf-16-le", "utf-8"])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_name_inside_an_allow_listed_private_blob_is_found(encode, implicit):
    ds = clean()
    blob = b"SV10\4\3\2\1" + bytes(range(256)) * 4 + "Müller-Quistel".encode(encode) + bytes(64)
    ds.add_new(0x00291020, "OB", blob)
    data = written(ds, implicit=implicit)
    assert worst(found_in(data)) == "note", "the header is clean otherwise"
    judge = Judge(private_creators=["SIEMENS *"], identifiers=Identifiers(["Müller-Quistel"]))
    assert "D07" in rules(found_in(data, judge))


def test_a_name_that_a_protocol_in_a_private_blob_labels_is_found_without_a_list():
    ds = clean()
    ds.add_new(
        0x00291020, "OB", b'\0\1<ParamString."PatientName">  { "Mustermann, Erika" }\n<ParamLong."Rows"> { 4 }\0'
    )
    assert "D06" in rules(found_in(written(ds)))
    ds.add_new(
        0x00291020, "OB", b'\0\1<ParamString."PatientName">  { "001" }\n<ParamString."PatientID"> { "xxxxxx" }\0\0'
    )
    assert worst(found_in(written(ds))) == "note"


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("implicit", [False, True])
def test_names_in_sequences_are_found(depth, implicit):
    ds = clean()
    holder = ds
    for _ in range(depth):
        inner = Dataset()
        holder.add_new(0x00082218, "SQ", Sequence([inner]))
        holder = inner
    holder.PatientName = "Mustermann^Erika"
    hits = found_in(written(ds, implicit=implicit))
    assert [hit for hit in hits if hit.rule == "D01" and hit.element.endswith("/ PatientName")]


def test_private_elements():
    ds = clean()
    ds.add_new(0x00310010, "LO", "MITRA LINKED ATTRIBUTES 1.0")
    ds.add_new(0x00311020, "LO", "4711-0815")
    ds.add_new(0x00110010, "LO", "HOMEGROWN 7")
    ds.add_new(0x00111001, "LO", "technical")
    ds.add_new(0x00130010, "LO", "PRIVATE ORIGINAL ATTRIBUTES")
    ds.add_new(0x00210010, "LO", "PRIVATE ORIGINAL ATTRIBUTES")
    ds.add_new(0x00211070, "PN", "Nurse^Joy")
    hits = found_in(written(ds))
    assert {"D25", "D14", "D26"} <= rules(hits)
    assert "HOMEGROWN" not in str([hit[:3] for hit in hits]), "an unknown creator may be a name"
    allowed = Judge(private_creators=["HOMEGROWN*"])
    assert "D14" not in rules(found_in(written(ds), allowed))


def test_file_meta_and_preamble_are_looked_at():
    ds = clean()
    data = written(ds, preamble=b"hostname.example.org".ljust(128, b"\0"))
    assert "D18" in rules(found_in(data))
    tiff = b"II*\0\x54\1\0\0MM\0*" + bytes(116)
    assert "D18" not in rules(found_in(written(ds, preamble=tiff)))
    assert {hit.element for hit in found_in(data) if hit.rule == "D40"} >= {"MediaStorageSOPInstanceUID"}


def test_the_page_of_results_is_what_a_run_finds():
    text = page()
    assert "MISSED" not in text
    assert PAGE.read_text(encoding="utf-8") == text, "run: python tests/deid_results.py"


# -- what is told of it ------------------------------------------------------------------------------------------

VALUE = st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "Zs"]), min_size=4, max_size=40)


@given(VALUE, st.sampled_from(["PatientName", "PatientID", "PatientComments", "OtherPatientNames", "InstitutionName"]))
def test_no_hit_tells_its_value(value, keyword):
    ds = clean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(ds, keyword, value.replace("\\", "/"))
        hits = found_in(written(ds))
    words = [word for word in value.split() if len(word) > 3 and word.isalpha()]
    for hit in hits:
        names = [part for part in re.findall(r"\w+", hit.element) if tag_for_keyword(part) is not None]
        told = re.sub("|".join(map(re.escape, names)) or "$^", "", hit.element) + f" {hit.shape}"
        assert not [word for word in words if word in told], (hit.rule, value)


@given(st.text(max_size=300))
def test_a_shape_has_no_runs_of_what_it_hides(text):
    shape = shape_of(text)
    assert len(shape) <= 32
    for run in ("xxxx", "XXXX", "9999"):
        assert run not in shape


@given(st.text(max_size=200))
def test_patterns_never_fail(text):
    list(identity_in(text))
    is_dummy(text)
    looks_like_a_person(text, is_name=True)
    reads_as_a_person(text)
    routing_in(text)


def test_patterns_are_quick_on_what_could_slow_them():
    for text in (
        "x" * 5000 + "y",
        "1" * 5000 + "a",
        "@" * 3000,
        "A " * 3000,
        "a" * 5000 + "@",
        "12 Ab " * 800,
        "- " * 3000,
    ):
        list(identity_in(text))
        is_dummy(text)
        reads_as_a_person(text)


# -- known identifiers -------------------------------------------------------------------------------------------


def test_a_list_of_identifiers_never_leaves_the_process(tmp_path):
    import pickle

    path = tmp_path / "names.txt"
    path.write_text("# people\n\nMüller\nvan der Berg\n1947-03-11\nab\nscan\n4711\n", encoding="utf-8-sig")
    known = Identifiers.read(path)
    assert (known.count, known.dropped) == (4, 4)
    assert "ller" not in repr(known)
    with pytest.raises(TypeError):
        pickle.dumps(known)
    told = known.fingerprint()
    assert "ller" not in str(told) and told["entries"] == 4
    assert known.fingerprint()["scrypt"] != told["scrypt"], "salted"
    assert known.entries_in("for VAN DER BERG, born 19470311") == {4, 5}
    assert known.entries_in("der Berg, 47110, Mullerstein, abc scan") == set()
    assert known.entries_in_bytes("x\0Müller\0".encode()) == {3}


@given(st.text(st.characters(categories=["L"]), min_size=4, max_size=20))
def test_a_known_word_is_found_between_other_words(word):
    known = Identifiers([word])
    if known:
        assert known.entries_in(f"before {word}, after") == {1}
        assert known.entries_in(f"before {word.upper()}^after") == {1} or word.upper().casefold() != word.casefold()


# -- real files --------------------------------------------------------------------------------------------------


def test_real_files_of_many_vendors():
    judge, seen, names, counts = Judge(), 0, [], collections.Counter()
    for path in VENDORS:
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        values: dict = {}
        try:
            read_content(data, values=values)
        except DicomError:
            continue
        seen += 1
        hits = judge.hits(values)
        counts.update(rules(hits))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            for element in ds.iterall():
                if element.VR == "PN" and not element.tag.is_private and str(element.value).strip("^ "):
                    texts = [str(one) for one in ([element.value] if element.VM == 1 else element.value)]
                    if not all(is_dummy(text) for text in texts):
                        names.append((path.name, element.keyword, {hit.element.rsplit(" / ", 1)[-1] for hit in hits}))
    print(f"{seen} files; " + ", ".join(f"{rule} {count}" for rule, count in sorted(counts.items())))
    assert seen > 150 and len(names) > 150
    assert [(name, keyword) for name, keyword, elements in names if keyword not in elements] == []


def test_private_blocks_of_known_vendors_are_not_called_unknown():
    known = unknown = 0
    judge = Judge()
    for path in VENDORS:
        data = path.read_bytes()
        if data[128:132] == b"DICM":
            try:
                hits = judge.hits(values_of(data))
            except DicomError:
                continue
            known += "D47" in rules(hits)
            unknown += "D14" in rules(hits)
    assert known > 20 and unknown < known / 3


TAGS = st.one_of(
    st.sampled_from([row.tag.replace("X", "2") for row in attributes()]),
    st.integers(0, 0xFFFFFFFF).map(lambda number: f"{number:08X}"),
)
VRS = st.sampled_from([b"", *re.findall(rb"..", b"AEASATCSDADSDTFDISLOLTOBOWPNSHSQSTTMUIUNUSUT")])
CHARSETS = st.sampled_from(
    [b"", b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 149", b"GB18030", b"nonsense", b"\xff\\\\"]
)
HEADERS = st.dictionaries(
    st.lists(TAGS, min_size=1, max_size=3).map(lambda tags: "[0].".join(tags)), st.tuples(VRS, st.binary(max_size=80))
)


@given(HEADERS, CHARSETS, st.booleans())
def test_no_header_can_stop_a_review(values, charset, known):
    from xnbtransfer.keys import SessionKey
    from xnbtransfer.reviewer import Ground, Reviewer

    values["00080005"] = (b"CS", charset)
    key = SessionKey("001", "001_MR1")
    reviewer = Reviewer(
        Ground(source="A", destination="B", sessions={key: key}),
        identifiers=Identifiers(["Quistelhausen", "Müller"]) if known else None,
    )
    part = reviewer.scan("001", "001_MR1", "1")
    part.file(values, path="a/b.dcm")
    part.blocking()
    part.close()
    assert isinstance(reviewer.findings(), tuple) and reviewer.files == 1
    reviewer.distinct_values()


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("7723145", "patient 7723145"),
        ("7723145", "TEST 7723145"),
        ("123-45-6789", "Patient: 123-45-6789"),
        ("123-45-6789", "id 123456789 here"),
        ("7723145", "NA7723145"),
        ("007723145", "MRN 00-77-23-145"),
        ("12345", "id 0012345 scanned"),
        ("Anna Schmidtmeier", "Schmidtmeier, Anna"),
        ("Müllerhuber", "MUELLERHUBER"),
        ("Muellerhuber", "Müllerhuber"),
        ("Sørensen", "Sorensen"),
        ("Soerensen", "Sørensen"),
        ("Wałęsa", "Walesa"),
        ("Ångström", "Aangstroem"),
        ("山田", "山田 again"),
        ("山田", "撮影山田太郎"),
    ],
)
def test_a_known_one_is_found_as_people_write_it(listed, text):
    assert Identifiers([listed]).entries_in(text) == {1}


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("999999", "factor 1.2999999"),
        ("12345", "1234567"),
        ("12345", "112345"),
        ("Anna Schmidtmeier", "Anna and Schmidtmeier"),
        ("Müller", "Miller"),
        ("1234", "SE1234"),
    ],
)
def test_what_is_somebody_else_is_not_found(listed, text):
    assert not Identifiers([listed]).entries_in(text)


def test_a_dummy_word_hides_no_number_that_is_known():
    ds = clean(ImageComments="TEST 7723145", AccessionNumber="NA7723145")
    found = found_in(written(ds), Judge(identifiers=Identifiers(["7723145"])))
    assert {hit.element for hit in found if hit.rule == "D07"} == {"ImageComments", "AccessionNumber"}


def test_japanese_in_seven_bits_is_read():
    ds = clean()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.ImageComments, ds.PatientName = "scan 山田太郎 again", "山田^太郎"
    found = found_in(written(ds), Judge(identifiers=Identifiers(["山田太郎"])))
    assert {(hit.rule, hit.element) for hit in found} >= {("D07", "ImageComments"), ("D01", "PatientName")}


def test_an_identity_behind_a_clean_element_of_the_same_tag_is_found():
    data = written(clean())
    first = data.index(b"\x10\x00\x10\x00PN")
    length = int.from_bytes(data[first + 6 : first + 8], "little")
    end = first + 8 + length
    twice = data[:end] + b"\x10\x00\x10\x00PN\x12\x00Quistelhausen^Ada " + data[end:]
    assert "D01" in rules(found_in(twice))
    assert "D01" not in rules(found_in(data))
