"""The register of request forms: complete, with evidence, the only place of addresses, and true on its page."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest
from forms_table import PAGE, evidence, written
from hypothesis import given
from hypothesis import strategies as st
from test_architecture import CLIENT, WIDGETS

from xnbtransfer import forms
from xnbtransfer.forms import FORMS, Form, form_of

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text not in (".", "..")
)
PLACES = {
    "item": "/data/projects/P/subjects/S/experiments/E",
    "row": "/data/prearchive/projects/P/20240102_030405123/F",
    "owned": "/data/archive/projects/P/subjects/S/experiments/E",
    "uri": "/data/experiments/E/scans/1/resources/7/files/a%20b.dcm",
    "sessions": "E1,E2",
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.number} {form.asks}")
def test_every_form_was_asked_of_a_live_xnat(form):
    assert form.relies and form.source and form.asks
    assert evidence(form), "no recorded exchange is of this form: record one, or do not ask it"


def test_no_form_is_there_twice():
    told = Counter((form.method, form.path, form.query) for form in FORMS)
    assert not [one for one, count in told.items() if count > 1]


def test_no_form_is_idle():
    """Each is asked by name somewhere in the client, the check of a server and the register itself left out."""
    named = {name: form for name, form in vars(forms).items() if isinstance(form, Form)}
    asked: set[str] = set()
    for path in [*CLIENT, *WIDGETS]:
        if path.stem in ("forms", "doctor"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "forms":
                asked.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and node.module == "forms":
                asked |= {one.name for one in node.names}
    assert sorted(set(named) - asked) == []


def test_addresses_stand_in_the_register_alone():
    """An address that begins with /data or /xapi as a text that is no docstring."""
    for path in [*CLIENT, *WIDGETS]:
        if path.stem == "forms":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        found = [one for one in texts if re.match(r"/(data|xapi)/\w", one) and "\n" not in one]
        assert not found, f"{path.name} holds the address {found[0]}"


def test_the_page_is_fresh():
    page = PAGE.read_text(encoding="utf-8")
    assert written(page) == page, "run: python tests/forms_table.py"


@given(st.sampled_from(FORMS), st.data())
def test_what_is_built_is_of_its_form(form, data):
    places = {name: PLACES.get(name) or data.draw(TEXT, name) for name in set(re.findall(r"{(\w+)}", form.path))}
    query = {name: data.draw(TEXT, name) for name in form.query if not name.endswith(("?", "*")) and "=" not in name}
    query.pop("columns", None)
    request = form(query, **places)
    found = form_of(request.method, request.address)
    assert found is not None and found.fits(request.method, request.path, request.query)


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"columns": "label,nosuch"}, {"project": "P"}),
        ({"strange": "1"}, {"project": "P"}),
        ({}, {}),
        ({}, {"who": "P"}),
    ],
)
def test_what_the_register_does_not_hold_cannot_be_asked(query, places):
    with pytest.raises(ValueError, match="The form"):
        forms.SUBJECTS(query, **places)


REFUSED = [
    "a%b.txt",
    "100%.txt",
    "p%41.txt",
    "a;b.txt",
    "a//b.txt",
    "/a.txt",
    "a/../b.txt",
    "../b.txt",
    "a\\b.txt",
    "a\0b",
]
TAKEN = [
    "a b.txt",
    "a+b c.txt",
    "a#1.txt",
    "q?.txt",
    "ü.txt",
    "a,b.txt",
    "a..b.txt",
    ".hidden",
    "br[1].txt",
    "a&b=c.txt",
]


def test_names_that_no_address_can_hold():
    """As a live XNAT 1.8.11 refused and took them (recorded, "characters that are refused", "W11 names of files")."""
    assert [name for name in REFUSED if forms.addressable(name)] == []
    assert [name for name in TAKEN if not forms.addressable(name)] == []
