"""A waiver of what a script draws at random holds for a move and for what is archived from the prearchive, too."""

from __future__ import annotations

import pytest
from people import AS_JSON, AS_TEXT, people
from reviews import Ward
from shell import Shell

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


def set_script(ward: Ward) -> None:
    where = f"/xapi/anonymize/projects/{ward.destination}"
    ward.who.put(where, data='version "6.6"\n(0020,0052) := newUID["1.2"]\n', headers=AS_TEXT).raise_for_status()
    ward.who.put(f"{where}/enabled", params={"enable": "true"}, headers=AS_JSON).raise_for_status()


@pytest.mark.parametrize("kind", ["move", "archive"])
@pytest.mark.parametrize(("words", "code"), [((), 4), (("--waivers", "drawn.yaml"), 0)], ids=["without", "with"])
def test_the_element_that_is_waived_counts_as_explained(person, shell, kind, words, code):
    ward = Ward(person)
    ward.store("S", "E1", {"1": ward.series("S", "E1", count=2, FrameOfReferenceUID="2.25.7")})
    if kind == "archive":
        assert shell.copy(ward.source, ward.destination, "--review", "none")[0] == 0
    set_script(ward)
    asked = ("move", ward.source, ward.destination)
    if kind == "archive":
        asked = ("prearchive", ward.destination, "--action", "archive")
    found, said = shell(*asked, *words, "-o", "changes.json")
    assert found == 0 and "S21" in said and "FrameOfReferenceUID" in said, said
    found, said = shell("run", "changes.json")
    assert found == code, said
    if words:
        assert "2 changed as explained" in said, said
