"""Label maps: text stays text, and what XNAT would refuse or merge is refused here first."""

from __future__ import annotations

import csv
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnbtransfer.errors import InputError
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import ALLOWED, COLUMNS, LabelMap, check_labels, crosswalk, read_label_map

LABEL = st.from_regex(re.compile(ALLOWED), fullmatch=True).filter(lambda label: len(label) <= 64) | st.sampled_from(
    ["001", "1e3", "NA", "null", "nan", "True", "0x10", "-1"]
)
KEY = st.builds(SessionKey, LABEL, LABEL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("labels")


def made(folder, text):
    path = folder / "map.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@settings(max_examples=100, deadline=None)
@given(table=st.dictionaries(KEY, KEY, min_size=1, max_size=6), columns=st.permutations([*COLUMNS, "remark"]))
def test_a_map_comes_back_as_it_was_written(folder, table, columns):
    path = folder / "written.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        for key, to in table.items():
            writer.writerow(dict(zip(COLUMNS, (*key, *to), strict=True), remark="a, b"))
    labels = read_label_map(path)
    assert labels.table == table
    for key, to in table.items():
        assert labels(key) == to


def test_zeros_stay(folder):
    labels = read_label_map(made(folder, "subject,session,to_subject,to_session\n001,002,003,0004\n"))
    assert labels.table == {SessionKey("001", "002"): SessionKey("003", "0004")}


def test_excel_writes_a_mark_and_other_line_ends(folder):
    labels = read_label_map(made(folder, b"\xef\xbb\xbfsubject,session,to_subject,to_session\r\na,b,c,d\r\n\r\n"))
    assert labels(SessionKey("a", "b")) == SessionKey("c", "d")


@pytest.mark.parametrize(
    "text",
    [
        "subject;session;to_subject;to_session\r\n001;b;c;d\r\n",
        "subject\tsession\tto_subject\tto_session\n001\tb\tc\td\n",
        "Subject, Session, To_Subject, To_Session\n001,b,c,d\n,,,\n  \n",
        '"subject";"session";"to_subject";"to_session"\n"001";"b";"c";"d"\n',
    ],
)
def test_what_spreadsheets_make_of_a_table_is_read(folder, text):
    assert read_label_map(made(folder, text)).table == {SessionKey("001", "b"): SessionKey("c", "d")}


def test_a_session_without_a_line_keeps_its_labels():
    assert LabelMap({})(SessionKey("a", "b")) == SessionKey("a", "b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks the column subject"),
        ("subject,session,to_subject,to_session\n", "no line below its header"),
        ("subject,session,to_subject\na,b,c\n", "lacks the column to_session"),
        ("subject|session|to_subject|to_session\na|b|c|d\n", "separated by commas"),
        ("subject,session,to_subject,to_session\na ,b,c,d\n", "'a ' as subject in line 2"),
        ("subject,session,to_subject,to_session\na,\u00a0b,c,d\n", "a sign that nobody sees"),
        ('subject,session,to_subject,to_session\n"a\n",b,c,d\n', "as subject in line 3"),
        (b"PK\x03\x04\xff\xfe", "is a workbook"),
        ("subject,session,to_subject,to_session\na,b,c,d\n".encode("utf-16"), "not text in UTF-8"),
        ("subject,session,to_subject,to_session,session\na,b,c,d,e\n", "more than one column session"),
        ("subject,session,to_subject,to_session\na,b,c,\n", "empty cell in line 2"),
        ("subject,session,to_subject,to_session\na,b,c,d\na,b,c,e\n", "twice, again in line 3"),
        ("subject,session,to_subject,to_session\na,b,c,d,e\n", "5 cells in line 2"),
        ("subject,session,to_subject,to_session\na,b\n", "2 cells in line 2"),
        (b"subject,session,to_subject,to_session\n\xff\xfe,b,c,d\n", "not text in UTF-8"),
        ('subject,session,to_subject,to_session\n"a,b,c,d\n', "not a CSV table"),
    ],
)
def test_a_map_that_cannot_be_used_is_a_sentence(folder, text, says):
    with pytest.raises(InputError, match=says):
        read_label_map(made(folder, text))


def test_a_missing_map_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_label_map(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (SessionKey("S 1", "E1"), "character that XNAT does not take"),
        (SessionKey("S1", "E.1"), "character that XNAT does not take"),
        (SessionKey("S1", "Ä"), "character that XNAT does not take"),
        (SessionKey("S1", "E1\n"), "character that XNAT does not take"),
        (SessionKey("S1", ""), "character that XNAT does not take"),
        (SessionKey("S1", "x" * 65), "65 characters long"),
    ],
)
def test_labels_that_xnat_does_not_take(to, says):
    with pytest.raises(InputError, match=says):
        check_labels([SessionKey("a", "b")], LabelMap({SessionKey("a", "b"): to}))


def test_two_sessions_on_one_label_are_refused_also_under_two_subjects():
    labels = LabelMap({SessionKey("a", "1"): SessionKey("x", "E"), SessionKey("b", "2"): SessionKey("y", "E")})
    with pytest.raises(InputError, match="2 sessions go to the label E: a/1, b/2"):
        check_labels(labels.table, labels)


@settings(max_examples=100, deadline=None)
@given(keys=st.lists(KEY, max_size=6, unique_by=lambda key: key.session))
def test_labels_that_xnat_takes_pass_and_clash_only_by_case(keys):
    sentences = check_labels(keys, LabelMap({}))
    for kind, labels in (("subject", {k.subject for k in keys}), ("session", {k.session for k in keys})):
        clash = len({label.casefold() for label in labels}) < len(labels)
        assert clash == any(f"The {kind} labels" in sentence for sentence in sentences)


def test_a_label_that_differs_by_case_from_one_that_exists():
    [sentence] = check_labels([SessionKey("sub1", "E1")], LabelMap({}), ["SUB1"], ["E1", "e2", "E2"])
    assert sentence == "The subject labels SUB1 and sub1 differ only by case."


def test_a_line_of_the_map_that_no_session_has_is_said():
    [sentence] = check_labels([SessionKey("a", "1")], LabelMap({SessionKey("a", "01"): SessionKey("a", "x")}))
    assert "names 1 sessions that are not selected: a/01" in sentence


def test_crosswalk_is_text():
    table = crosswalk([SessionKey("001", "002")], LabelMap({SessionKey("001", "002"): SessionKey("a", "03")}))
    assert table.to_dict("records") == [{"subject": "001", "session": "002", "to_subject": "a", "to_session": "03"}]
    assert list(crosswalk([], LabelMap({})).columns) == COLUMNS
