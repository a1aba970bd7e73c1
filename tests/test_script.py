"""Scripts: what they explain, and what they do not."""

from __future__ import annotations

import pytest

from xnbtransfer.dicom import value_digest
from xnbtransfer.script import Expectation, expectation

DEFAULT = """//
// Default XNAT anonymization script
//
version "6.1"
project != "Unassigned" ? (0008,1030) := project
(0010,0010) := subject
(0010,0020) := session
"""
KEY = b"key"


def expect(site=None, project_script=None, project="P"):
    return expectation(site_script=site, project_script=project_script, project=project, subject="S", session="E")


def digest(value):
    return value_digest(value, key=KEY)


def test_the_default_script_sets_three_labels():
    expected = expect(DEFAULT)
    assert expected == Expectation(
        site_script=True,
        project_script=False,
        values={"00081030": "P", "00100010": "S", "00100020": "E"},
        hashed=frozenset(),
        removed=frozenset(),
        named=frozenset(),
    )


def test_the_default_script_keeps_the_description_of_what_is_unassigned():
    assert expect(DEFAULT, project="Unassigned").values == {"00100010": "S", "00100020": "E"}


def test_no_script_explains_nothing():
    expected = expect()
    assert not expected.site_script and not expected.project_script
    for path in ("00100010", "00120064", "00120064[0].00080100", "00120063"):
        assert expected.explain(path, digest("a"), digest("b"), key=KEY) == ""


@pytest.mark.parametrize(
    ("statement", "field", "value"),
    [
        ('(0010,0010) := "x // y"  // a comment', "values", {"00100010": "x // y"}),
        ("(0010,0010):=subject", "values", {"00100010": "S"}),
        ("( 0008 , 103e ) := session", "values", {"0008103E": "E"}),
        ("(0020,000D) := hashUID[(0020,000D)]", "hashed", {"0020000D"}),
        ("(0020,000D) := hashUID[(0020,000E)]", "named", {"0020000D"}),
        ("-(0010,0030)", "removed", {"00100030"}),
        ("- (50XX,XXXX)", "removed", {"50XXXXXX"}),
        ('(0010,0010) := format["{0}", (0010,0020)]', "named", {"00100010", "00100020"}),
        ('(0008,0060) = "MR" ? (0010,0010) := "x" : (0010,0020) := "y"', "named", {"00080060", "00100010", "00100020"}),
        ("(0019,{SIEMENS MR HEADER}0C) := project", "named", {"0019XX0C"}),
        ("(0008,1140)/(0008,1155) := hashUID[(0008,1155)]", "named", {"00081140", "00081155"}),
        ("// (0010,0010) := subject", "values", {}),
        ('version "6.3"', "values", {}),
        ("", "named", set()),
    ],
)
def test_a_statement_is_read(statement, field, value):
    expected = expect(statement)
    assert getattr(expected, field) == value
    others = {"values", "hashed", "removed", "named"} - {field}
    assert not any(getattr(expected, other) for other in others)


def test_the_script_of_the_project_has_the_last_word():
    expected = expect(DEFAULT, '(0010,0010) := "anonymous"\n-(0010,0020)')
    assert expected.values == {"00081030": "P", "00100010": "anonymous"}
    assert expected.removed == {"00100020"}


def test_a_statement_that_is_not_understood_undoes_what_was_foretold():
    expected = expect(DEFAULT, "(0010,0010) := lowercase[(0010,0010)]")
    assert "00100010" not in expected.values
    assert expected.named == {"00100010"}


def test_a_value_explains_only_itself():
    expected = expect(DEFAULT)
    assert expected.explain("00100010", digest("before"), digest("S "), key=KEY)
    assert expected.explain("00100010", "", digest("S"), key=KEY)
    assert not expected.explain("00100010", digest("before"), digest("other"), key=KEY)
    assert not expected.explain("00100010", digest("before"), "", key=KEY)
    assert not expected.explain("00100010", digest("before"), value_digest("S", key=b"another"), key=KEY)
    assert not expected.explain("00400275[0].00100010", digest("before"), digest("S"), key=KEY)


def test_an_empty_value_may_be_no_element():
    expected = expect('(0010,0010) := ""')
    assert expected.explain("00100010", digest("before"), "", key=KEY)
    assert expected.explain("00100010", digest("before"), digest(""), key=KEY)


def test_a_removed_element_must_be_gone():
    expected = expect("-(0008,1140)\n-(60XX,XXXX)")
    for path in ("00081140", "00081140[0].00081155", "60020010"):
        assert expected.explain(path, digest("before"), "", key=KEY)
        assert not expected.explain(path, digest("before"), digest("after"), key=KEY)
    assert not expected.explain("00081115", digest("before"), "", key=KEY)


def test_the_stamp_is_an_added_item():
    expected = expect(project_script="-(0010,0030)")
    assert expected.explain("00120064[0].00080100", "", digest("1"), key=KEY)
    assert expected.explain("00120064", digest("one item"), digest("two items"), key=KEY)
    assert not expected.explain("00120063", "", digest("XNAT"), key=KEY), "no script sets DeidentificationMethod"
    assert not expected.explain("00120064[1].00100010", "", digest("Erika"), key=KEY)
    assert not expected.explain("00120064[0].00080100", digest("1"), digest("2"), key=KEY)
    assert not expected.explain("00120064[0].00080100", digest("1"), "", key=KEY)


def test_a_tag_that_is_named_explains_at_any_depth():
    expected = expect("*/(0008,1155) := mapReferencedUIDs[]")
    assert expected.explain("00081140[0].00081155", digest("1"), digest("2"), key=KEY)
    assert not expected.explain("00081140[0].00081150", digest("1"), digest("2"), key=KEY)
