"""A waiver of what a script draws at random holds for a move and for what is archived from the prearchive, too."""

from __future__ import annotations

import pytest
from people import people, set_script
from reviews import Ward
from shell import Shell
from which_xnat import has, script

from xnbtransfer import server as embedded

WAIVE = 'format: 1\nwaivers: [{rule: S21, scope: {element: FrameOfReferenceUID}, reason: "drawn anew on purpose"}]\n'


@pytest.fixture(scope="module")
def person():
    with embedded.running() as server, people(server) as find:
        yield find


@pytest.fixture
def shell(person, tmp_path, capsys, monkeypatch):
    found = Shell(person("owner").server, tmp_path, capsys, monkeypatch)
    (tmp_path / "drawn.yaml").write_text(WAIVE)
    return found


def draw(ward: Ward) -> None:
    drawn = 'newUID["1.2"]' if has("dicomedit-6") else "new UID"
    set_script(ward.who, ward.destination, script(f"(0020,0052) := {drawn}\n"))


@pytest.mark.parametrize("kind", ["move", "archive"])
@pytest.mark.parametrize(("words", "code"), [((), 4), (("--waivers", "drawn.yaml"), 0)], ids=["without", "with"])
def test_the_element_that_is_waived_counts_as_explained(person, shell, kind, words, code):
    ward = Ward(person)
    ward.store("S", "E1", {"1": ward.series("S", "E1", count=2, FrameOfReferenceUID="2.25.7")})
    if kind == "archive":
        assert shell.copy(ward.source, ward.destination, "--review", "none")[0] == 0
    draw(ward)
    asked = ("move", ward.source, ward.destination)
    if kind == "archive":
        asked = ("prearchive", ward.destination, "--action", "archive")
    found, said = shell(*asked, *words, "-o", "changes.json")
    assert found == 0 and "S21" in said and "FrameOfReferenceUID" in said, said
    found, said = shell("run", "changes.json")
    assert found == code, said
    if words:
        assert "2 changed as explained" in said, said
