"""Scripts of the destination before the start: from their texts, and carried out over headers of the source."""

from __future__ import annotations

import contextlib
import time

import pytest
from people import set_script, site_script
from reviews import Ward, told
from roads import as_, make_plan
from which_xnat import ENGINE_6

from xnbtransfer.dicom import read_content
from xnbtransfer.dicomedit.dataset import write
from xnbtransfer.errors import ExitCode
from xnbtransfer.foretell import scripts_of
from xnbtransfer.script_findings import UNTOLD, dataset_of, text_findings, trouble
from xnbtransfer.transfer import run

WORDS = {"project": "DEST", "subject": "S", "session": "E"}


@pytest.fixture
def ward(person) -> Ward:
    found = Ward(person)
    for number in ("001", "002"):
        found.store(number, f"{number}_MR1", {"1": found.series(number, f"{number}_MR1", count=1)})
    return found


def of_project(ward: Ward, script: str) -> None:
    set_script(ward.who, ward.destination, script)


@contextlib.contextmanager
def of_site(ward: Ward, person, script: str):
    admin = person("admin")
    before = site_script(admin)
    set_script(admin, "", script)
    try:
        yield
    finally:
        set_script(admin, "", before)


def by_rule(made, rule: str) -> list:
    return [one for one in made.findings if one.rule == rule]


def said(script: str, *, whose: str = "project", no_header: bool = False, version: str = "1.8.10") -> list:
    scripts = scripts_of(**{whose: (True, script)}, context=WORDS, version=version)
    return list(text_findings(scripts, "DEST", no_header=no_header))


@pytest.mark.parametrize(
    ("script", "rule", "words"),
    [
        ('version "9.9"\n-(0010,0010)\n', "S16", ("line 1, column 1", "9.9")),
        ('version "6.6"\n-(0010,0030)\n(0010,0010) := \n', "S16", ("line 3", "No file gets through")),
        ('version "6.6"\n(0010,0010) := nobody\n', "S16", ("line 2, column 16", "nobody")),
        ('version "6.6"\n(0010,0010) := uppercas["a"]\n', "S16", ("line 2, column 16", "uppercas")),
        ('(0010,0010) := uppercas["a"]\n', "S16", ("line 1, column 16", "uppercas")),
        ("(0010,0010) := nobody\n", "S16", ("line 1, column 16", "nobody")),
        ('version  "6.6"\n-(0010,0010)\n', "S17", ("line 1", "DicomEdit 4", "not recognised", "changes nothing")),
        (' version "6.6"\n-(0010,0010)\n', "S17", ("line 1", "DicomEdit 4", "not recognised")),
        ('version "4.0"\n-(0010,0010)\n', "S17", ("line 1, column 1", "knows no version line")),
    ],
)
def test_what_a_text_alone_tells_names_line_and_column(script, rule, words):
    (found,) = said(script)
    assert (found.rule, found.severity) == (rule, "blocking")
    assert found.sentence.startswith("The project's script")
    assert all(word in found.sentence for word in words), found.sentence


@pytest.mark.parametrize(
    "script",
    [
        "",
        "\n",
        "// nothing\n",
        '(0010,0010) := "X"\n',
        'version "6.6"\n(0010,0010) := subject\n-(0010,0030)\nremoveAllPrivateTags\n',
        'version "6.6"\n(0020,000D) := hashUID[(0020,000D)]\n(0028,0010) := 4\n',
        'version "6.6"\nown := "1"\n(0010,0010) := lowercase[own]\n(0010,0020) := subject\n',
    ],
)
def test_a_script_that_cannot_fail_is_not_told(script):
    assert said(script, no_header=True) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("(0010,0010) := uppercase[(0018,1030)]", "uppercase fails where (0018,1030) is missing"),
        ('(0028,0010) := (0010,0020)', "need not be a number"),
        ("(0010,0010) := uppercase[project]", "the word project is only an argument"),
        ('(0008,0060) = "CT" ? reject[]', "it rejects files"),
        ('(0010,0010) := uppercase[nothing["a"]]', "there is no function nothing"),
        ("(0010,0010) := (0008,1140)", "a sequence is read as text"),
        ("(0010,0010) := (0008,1140)[%]/(0008,1155)", "several elements is used as a value"),
        ('(0010,0010) ~ "[" ? -(0010,0020)', "its pattern cannot be read"),
        ("(0010,0030) := shiftDateByIncrement[(0010,0030),1]", "fails where (0010,0030) is missing"),
    ],
)
def test_without_headers_what_can_fail_is_a_warning(line, words):
    found = said(f'version "6.6"\n{line}\n', whose="site", no_header=True)
    assert [one.severity for one in found] == ["warning"] and found[0].rule == "S19"
    assert words in found[0].sentence and "The site's script can fail at line 2, column " in found[0].sentence
    assert said(f'version "6.6"\n{line}\n', no_header=False) == []


def test_findings_name_the_engine_and_the_evidence():
    (refused,) = said('version "6.6"\n(0010,0010) := nobody\n')
    assert "DicomEdit 6.6 (measured with the programs of XNAT 1.8.10)" in refused.sentence
    (newer,) = said('version "6.6"\n(0010,0010) := "X"\n', version="1.8.8")
    assert newer.rule == "S16" and "XNAT 1.8.8's build asks for 6.5.0" in newer.sentence
    (old,) = said('version "6.3"\n(0010,0010) := uppercase[project]\n', no_header=True, version="1.8.10")
    assert old.rule == "S19" and "DicomEdit 6.6" in old.sentence
    assert said('version "6.3"\n(0010,0010) := uppercase[project]\n', no_header=True, version="1.8.2") == []


def test_what_only_some_of_the_engines_refuse_is_a_warning_that_names_them():
    (found,) = said('version "6.6"\n(0010,0010) := "X"\n', version="1.8.9")
    assert (found.rule, found.severity) == ("S19", "warning")
    assert "refused by DicomEdit 6.5 at line 1" in found.sentence and "DicomEdit 6.5 or 6.6" in found.sentence


def test_a_failure_of_one_of_the_engines_names_it():
    script = 'version "6.5"\n(0010,0010) := concatenate["a",(0018,1030)]\n'
    values = {"00080018": (b"UI", b"1.2"), "00020010": (b"UI", b"1.2.840.10008.1.2.1")}
    for version, words in (("1.8.10", "run by DicomEdit 6.6"), ("1.8.9", "if DicomEdit 6.6 runs it")):
        found = trouble(scripts_of(site=(True, script), context=WORDS, version=version), values)
        assert found is not None and found.rule == "S18" and words in found.words
        assert "line 2, column 16" in found.words
    assert trouble(scripts_of(site=(True, script), context=WORDS, version="1.8.8"), values) is None


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_a_script_that_fails_blocks_the_sessions_that_it_strikes(ward, person):
    ward.store("003", "003_MR1", {"1": ward.series("003", "003_MR1", count=1, ImageComments="t1")})
    of_project(ward, 'version "6.6"\n(0010,0010) := subject\n(0008,103E) := uppercase[(0020,4000)]\n')
    made = ward.plan()
    (found,) = by_rule(made, "S18")
    assert "the project's script fails at line 3, column 16" in found.sentence
    assert "001/001_MR1, 002/002_MR1" in found.sentence and "003" not in found.sentence
    assert found.severity == "blocking" and made.blockers
    assert "S19" in told(ward.plan(review="none"), "warning")


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_the_site_s_script_runs_first_and_the_project_s_sees_what_it_leaves(ward, person):
    of_project(ward, 'version "6.6"\n(0008,103E) := uppercase[(0008,0060)]\n')
    assert not told(ward.plan()) & {"S16", "S17", "S18", "S19", "S20"}
    with of_site(ward, person, 'version "6.6"\n-(0008,0060)\n'):
        (found,) = by_rule(ward.plan(), "S18")
    assert "the project's script fails" in found.sentence


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_a_script_that_rejects_is_told_with_its_place(ward):
    of_project(ward, 'version "6.6"\nsession = "002_MR1" ? reject[]\n')
    made = ward.plan()
    (found,) = by_rule(made, "S20")
    assert found.session == "002_MR1" and "rejects at line 2" in found.sentence and found.severity == "blocking"


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_a_word_that_is_only_an_argument_fails_and_as_a_value_it_does_not(ward):
    of_project(ward, 'version "6.6"\n(0010,0010) := uppercase[project]\n')
    (found,) = by_rule(ward.plan(), "S18")
    assert "2 sessions" in found.sentence
    of_project(ward, 'version "6.6"\n(0010,0020) := project\n(0010,0010) := uppercase[project]\n')
    assert "S18" not in told(ward.plan())


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_what_a_dump_does_not_show_is_read_from_the_file(ward):
    long = "x" * 90
    ward.store("004", "004_MR1", {"1": ward.series("004", "004_MR1", count=1, ProtocolName=long)})
    of_project(
        ward,
        'version "6.6"\n(0018,1030) = "' + long + '" ? reject[]\n(0028,0010) := (0028,0011)\n',
    )
    (found,) = by_rule(ward.plan(), "S20")
    assert found.session == "004_MR1"


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_bulk_files_that_go_in_without_scripts_are_not_told(ward):
    of_project(ward, 'version "9.9"\n(0010,0010) := "X"\n')
    assert "S16" in told(ward.plan(), "blocking")
    assert "S16" not in told(ward.plan(method="files"))


def test_a_header_becomes_the_data_set_that_it_came_from(ward):
    from planted import written

    header = ward.header("001", "001_MR1")
    values: dict = {}
    whole = read_content(written(header), key=b"k", values=values)
    again = read_content(write(dataset_of(values)), key=b"k")
    bulk = {"7FE00010", "00080005"}
    assert {p for p, d in whole.elements.items() if again.elements.get(p) != d} <= bulk


def test_no_header_and_an_unreadable_script_tell_nothing():
    scripts = scripts_of(site=(True, None), context=WORDS, version="1.8.10")
    assert trouble(scripts, {"00100010": (b"PN", b"A")}) == UNTOLD
    assert trouble(scripts_of(site=(True, 'version "6.6"\nreject[]\n'), context=WORDS, version="1.8.10"), {}) is None


def test_what_is_drawn_at_random_is_told_by_element():
    (found,) = said('version "6.6"\n(0020,000D) := newUID[]\n')
    assert (found.rule, found.severity, found.element) == ("S21", "warning", "StudyInstanceUID")
    assert "at line 2, column 1" in found.sentence


@pytest.mark.parametrize(
    ("lines", "elements"),
    [
        ('mapReferencedUIDs["1.2.3", "(0008,1140)/(0008,1155)"]', {"ReferencedSOPInstanceUID"}),
        ('mapReferencedUIDs["1.2.3", "(0020,000D)", "(0008,0018)"]', {"StudyInstanceUID", "SOPInstanceUID"}),
        ('mapReferencedUIDs["1.2.3", "*/(0008,1155)"]', {"ReferencedSOPInstanceUID"}),
        ('own := newUID["1.2"]\nother := own\n(0020,0052) := other', {"FrameOfReferenceUID"}),
        ('(0008,1140)[0]/(0008,1155) := mapUID[(0008,0018), "1.2"]', {"ReferencedSOPInstanceUID"}),
        ('set["(0020,0052)", newUID["1.2"]]', {"FrameOfReferenceUID"}),
        ("(0020,0052) := hashUID[(0020,0052)]", set()),
    ],
)
def test_all_that_cannot_be_foretold_is_told_by_element(lines, elements):
    assert {one.element for one in said(f'version "6.6"\n{lines}\n') if one.rule == "S21"} == elements


def test_what_version_4_draws_is_told_by_element():
    assert {one.element for one in said("(0020,0052) := new UID\n") if one.rule == "S21"} == {"FrameOfReferenceUID"}


@pytest.mark.parametrize(
    "script",
    [
        'version "6.6"\n' + "(0010,0010) := " + "uppercase[" * 3000 + '"a"' + "]" * 3000 + "\n",
        'version "6.6"\n' + "(" * 50_000,
        'version "6.6"\nown := "aaaaaaaa"\n' + "own := concatenate[own, own]\n" * 60 + "(0010,0010) := own\n",
        'version "6.6"\n(0010,0010) ~ "(a+)+$" ? -(0010,0020)\n',
        'version "6.6"\n(0010,0010) ~ "(a|aa)*b" ? -(0010,0020)\n',
        'version "6.6"\n' + '(0010,0010) := match[(0010,0010), "(a*)*b", 1]\n' * 20,
        '(0010,0010) ~ "(a+)+$" : -(0010,0020)\n',
        "(0010,0010) := " + "uppercase[" * 3000 + '"a"' + "]" * 3000 + "\n",
        "\x00\ufeff" * 20_000,
        'version "6.6"\n' + "-(XXXX,XXXX)[%]/*/+/*/+/*/(0010,0010)\n" * 50,
    ],
    ids=["nested6", "open", "doubling", "plus", "either", "star", "plus4", "nested4", "signs", "wildcards"],
)
def test_a_hostile_script_ends_in_bounded_time(script):
    values = {"00080018": (b"UI", b"1.2"), "00020010": (b"UI", b"1.2.840.10008.1.2.1")}
    values["00100010"] = (b"PN", b"a" * 60 + b"!")
    began = time.monotonic()
    said(script, no_header=True)
    trouble(scripts_of(project=(True, script), context=WORDS, version="1.8.10"), values)
    assert time.monotonic() - began < 10


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_a_waiver_of_what_is_drawn_travels_into_the_verdict(ward, tmp_path):
    of_project(ward, 'version "6.6"\n(0020,0052) := newUID[]\n')
    policy = tmp_path / "policy.yaml"
    waiver = "{rule: S21, scope: {element: FrameOfReferenceUID}, reason: drawn anew on purpose}"
    policy.write_text(f"format: 1\nprojects: {{'*': {{waivers: [{waiver}]}}}}\n")
    for values, code in (({}, ExitCode.CANNOT_BE_PROVED), ({"policy": str(policy)}, ExitCode.PROVED)):
        options = ward.options(review="none", archive=True, existing="replace", **values)
        with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
            made = make_plan(source, destination, options)
            result = run(made, source, destination, folder=tmp_path / str(int(code)))
        assert result.exit_code == code, (result.problems, set(result.files["because"]))
        if values:
            assert all("waived: drawn anew on purpose" in because for because in result.files["because"])
