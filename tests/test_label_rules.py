"""Labels by rule: what a rule gives is text that XNAT takes, or a sentence says why not."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnbtransfer.errors import InputError
from xnbtransfer.inputs import read_inputs
from xnbtransfer.keys import SessionKey
from xnbtransfer.label_rules import clean_label, map_by_rule, preview, read_rule, unfit
from xnbtransfer.labels import ALLOWED, LabelMap, crosswalk, folded, label_map_of
from xnbtransfer.options import TransferOptions

ROW = {"subject": "7", "session": "7_MR2", "project": "STUDY", "modality": "MR", "date": "2024-01-08"}
ANY = st.text(max_size=12)
LABEL = st.from_regex(re.compile(ALLOWED), fullmatch=True).filter(lambda label: len(label) <= 40)


def table(*rows, **more):
    return pd.DataFrame([{**ROW, **dict(zip(("subject", "session"), row, strict=True)), **more} for row in rows])


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        ("", ("7", "7_MR2")),
        ("session={subject}_{modality}_{date}", ("7", "7_MR_2024-01-08")),
        ("session={project}-{year}{month}{day}", ("7", "STUDY-20240108")),
        ("subject=SUB{subject:0>4}", ("SUB0007", "7_MR2")),
        ("subject={subject:0>4}; session={subject}_{modality}", ("0007", "0007_MR")),
        (r"session~^(\d+)_~SUB-\1_", ("7", "SUB-7_MR2")),
        (r"session/MR(\d)/SCAN\1/", ("7", "7_SCAN2")),
        (r"session~(?P<visit>\d)$~V\g<visit>", ("7", "7_MRV2")),
        ("subject~^~S; session~_~-", ("S7", "7-MR2")),
        ("clean", ("7", "7_MR2")),
    ],
)
def test_a_rule(rule, becomes):
    assert read_rule(rule)(ROW) == becomes


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("label={subject}", "cannot be read"),
        ("session={label}", "has no field 'label'"),
        ("session={subject.__class__}", "has no field"),
        ("session={0}", "has no field '0'"),
        ("session={subject!r}", "has no field"),
        ("session={subject", "cannot be read"),
        ("subject={subject:04}", "form of a number"),
        ("subject={subject:d}", "form of a number"),
        ("session~(~x", "cannot be read"),
        (r"session~a~\1", "there is no group 1"),
        (r"session~a~\q", "bad escape"),
        ("session~a", "not one expression and one replacement"),
        ("sessionXaXb", "cannot be read"),
        ("tidy", "cannot be read"),
    ],
)
def test_a_rule_that_cannot_be_read_is_a_sentence(rule, says):
    with pytest.raises(InputError, match=re.escape(says)):
        read_rule(rule)


def test_a_field_that_the_source_does_not_list_is_a_sentence():
    with pytest.raises(InputError, match="needs the date of 7/7_MR2"):
        read_rule("session={subject}_{date}")({**ROW, "date": ""})


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_a_cleaned_label_has_only_what_xnat_takes_and_stays_so(text):
    cleaned = clean_label(text)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", cleaned)
    assert clean_label(cleaned) == cleaned
    assert clean_label(unicodedata.normalize("NFD", text)) == clean_label(unicodedata.normalize("NFC", text))


@settings(max_examples=100, deadline=None)
@given(LABEL)
def test_cleaning_leaves_what_is_clean(label):
    assert clean_label(label) == label
    assert read_rule("clean")({**ROW, "session": label}).session == label


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789", min_size=1, max_size=6), st.integers(1, 8))
def test_zeros_are_kept_and_added_in_front(label, width):
    filled = read_rule(f"subject={{subject:0>{width}}}")({**ROW, "subject": label}).subject
    assert filled == label.rjust(width, "0") and filled.endswith(label)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(LABEL, LABEL), max_size=5, unique=True), LABEL)
def test_a_line_of_the_map_wins_over_the_rule(rows, to):
    sessions = table(*rows) if rows else table().reindex(columns=list(ROW))
    keys = [SessionKey(*row) for row in rows]
    first = LabelMap({keys[0]: SessionKey(to, to)}) if keys else LabelMap()
    labels = map_by_rule("session~^~X-", sessions, "P", first)
    for key in keys:
        expected = first.table.get(key, SessionKey(key.subject, f"X-{key.session}"))
        assert labels(key) == expected
    assert label_map_of(crosswalk(keys, labels)).table == {key: labels(key) for key in keys}


def test_a_frame_edited_in_place_is_a_map_and_numbers_are_refused():
    edited = crosswalk([SessionKey("001", "01")], LabelMap())
    edited.loc[0, "to_session"] = "0002"
    assert label_map_of(edited)(SessionKey("001", "01")) == SessionKey("001", "0002")
    edited.loc[0, "to_session"] = 2
    with pytest.raises(InputError, match="no text"):
        label_map_of(edited)
    with pytest.raises(InputError, match="lacks the column to_subject"):
        label_map_of(edited.drop(columns="to_subject"))


def test_the_preview_says_what_does_not_fit():
    sessions = table(("1", "a b"), ("1", "E1"), ("1", "e1"), ("2", "x" * 65), ("3", "T9"), ("3", "S5"))
    found = preview(sessions, LabelMap(), session_pattern="[ES].*|e1", existing_sessions=["s5"])
    assert list(found["changed"]) == [False] * 6
    says = dict(zip(found["session"], found["problem"], strict=True))
    assert "a character that XNAT does not take" in says["a b"]
    assert "2 sessions go to this label, or differ only by case" in says["E1"] and says["e1"]
    assert "65 characters" in says["x" * 65]
    assert "does not match" in says["T9"]
    assert says["S5"] == "the destination has s5"
    renamed = preview(sessions.head(1), map_by_rule("clean", sessions.head(1), "P"))
    assert list(renamed[["to_session", "changed", "problem"]].iloc[0]) == ["a_b", True, ""]


def test_accents_in_two_ways_of_writing_are_one_label():
    assert folded("Ä1") == folded("A\u03081") == folded("ä1")
    assert unfit("session", "Ä1") and not unfit("session", "A1", "A.")


def test_parameters_give_the_map(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("subject,session,to_subject,to_session\n7,7_MR2,007,007_MR2\n", encoding="utf-8")
    values = {"source_project": "P", "destination_project": "Q", "label_rule": "subject=X{subject}"}
    chosen = TransferOptions.from_mapping({**values, "label_map": str(path)})
    labels = read_inputs(chosen).labels_of(table(("7", "7_MR2"), ("8", "8_MR1")), "P")
    assert labels(SessionKey("7", "7_MR2")) == SessionKey("007", "007_MR2")
    assert labels(SessionKey("8", "8_MR1")) == SessionKey("X8", "8_MR1")
