"""Names that clients choose: each stays itself, none leaves its folder, and what cannot be kept is refused with 400."""

from __future__ import annotations

import doctest
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnbtransfer.server import state

OCTETS = {"Content-Type": "application/octet-stream"}
SEGMENT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from([".", "..", "%2E", "a%2Fb"])


@given(SEGMENT, SEGMENT)
def test_different_names_are_different_segments(one, other):
    first, second = state.safe(one), state.safe(other)
    assert (first == second) is (one == other)
    assert first not in ("", ".", "..")
    assert not set(first) & {"/", "\\", "\0"}


def put(study, path: str, data: bytes) -> int:
    return study.owner.put(f"{study.path}/{path}", data=data, headers=OCTETS).status_code


@pytest.mark.parametrize("twins", [("a|b", "a_b"), ("A", "a"), ("é", "e\u0301"), (" x", "x")])
def test_resources_of_like_names_keep_their_own_files(study, twins):
    for number, name in enumerate(twins):
        assert put(study, f"resources/{quote(name, safe='')}/files/f", bytes([65 + number])) == 200
    for number, name in enumerate(twins):
        held = study.owner.get(f"{study.path}/resources/{quote(name, safe='')}/files/f")
        assert held.content == bytes([65 + number])
    assert study.owner.get("/_check", params={"contents": "true"}).json() == []


def test_a_name_is_a_file_or_a_folder(study):
    assert put(study, "resources/R/files/a", b"1") == 200
    assert put(study, "resources/R/files/a/b", b"2") == 400
    assert put(study, "resources/R/files/c/d", b"3") == 200
    assert put(study, "resources/R/files/c", b"4") == 400
    assert {row["Name"] for row in study.owner.rows(f"{study.path}/resources/R/files")} == {"a", "d"}


@pytest.mark.parametrize("path", [f"resources/R/files/{'x' * 300}", f"resources/{'x' * 300}/files/f"])
def test_names_that_no_disk_takes(study, path):
    assert put(study, path, b"1") == 400
    assert study.owner.get("/_check").json() == []


def test_labels_end_somewhere(study):
    assert study.owner.put(f"{study.path}/subjects/{'x' * 255}").status_code == 201
    assert study.owner.put(f"{study.path}/subjects/{'x' * 256}").status_code == 400
    assert study.owner.put(f"/data/projects/{'x' * 300}").status_code == 417


def test_examples():
    assert doctest.testmod(state).failed == 0
