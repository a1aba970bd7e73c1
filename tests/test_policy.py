"""Policies: checked by their schema, weighed per project, waived with a reason; the page that tells of each rule."""

from __future__ import annotations

import re

import pytest
from findings_page import PAGE, written
from hypothesis import given
from hypothesis import strategies as st

from xnbtransfer.errors import InputError
from xnbtransfer.findings import FAMILIES, RULES, SEVERITIES, Finding, finding, findings_frame, in_order
from xnbtransfer.inputs import read_inputs
from xnbtransfer.options import TransferOptions
from xnbtransfer.policy import Policy, idle_findings, read_policies, read_waivers
from xnbtransfer.reviewer import together
from xnbtransfer.values import FINDING_COLUMNS


def policy_file(tmp_path, text: str):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def policy_of(path="", project="B", *, waivers=""):
    """The policy of a project as a transfer takes it."""
    values = {"source_project": "A", "destination_project": project, "policy": str(path), "waivers": str(waivers)}
    return read_inputs(TransferOptions.from_mapping(values)).policy_of(project)


def test_what_stands_for_every_project_is_joined_with_what_stands_for_one(tmp_path):
    path = policy_file(
        tmp_path,
        """
format: 1
projects:
  "*":
    rules: {D12: note, D14: off}
    retain: [dates]
  B:
    rules: {D12: blocking}
    retain: [device]
    private_creators: ["SIEMENS *"]
    waivers: [{rule: D05, scope: {element: "Patient*"}, reason: ticket 17}]
""",
    )
    found = policy_of(path, "B")
    assert dict(found.rules) == {"D12": "blocking", "D14": "off"}
    assert found.retain == ("dates", "device")
    assert dict(policy_of(path, "C").rules) == {"D12": "note", "D14": "off"}
    assert policy_of() == Policy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format: 1\nprojects: {B: {rules: {D99: note}}}", "no rule 'D99'"),
        ("format: 1\nprojects: {B: {rules: {D12: loud}}}", "it is blocking, warning, note or off"),
        ("format: 1\nprojects: {B: {retain: [date]}}", "perhaps 'dates'"),
        ("format: 1\nprojects: {B: {retain: dates}}", "here belongs a list"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {}, reason: because}]}}", "everywhere"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {scan: '1'}, reason: ''}]}}", "why"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {session: 001}, reason: because}]}}", "quotes"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {scan: '1'}}]}}", "the key 'reason' is missing"),
        ("format: 1\nprojects: {001: {}}", "Line 2, projects > 1: write it in quotes"),
        ("format: 1\nprojects: {B: text}", "lines of the form 'name: value', and there is 'text'"),
        ("format: 1\nprojects: {B: }", "and there is nothing"),
        ("format: 2\nprojects: {}", "Line 1, format: 2 is not known; it is 1."),
        ("format: 1\nprojects:\n  B:\n    waiver: []", "Line 4, projects > B: there is no key 'waiver'; did you mean"),
        ("format: 1\nprojects:\n  B:\n    waivers:\n    - x", "Line 5, projects > B > waivers > 1: here belong"),
        ("format: 1\nprojects:\n  B: {}\n  B: {}", "'B' in line 3 and again in line 4"),
        ("format: 1\nprojects:\n\tB: {}", "not YAML in line 3, column 1"),
        ("projects: [", "YAML"),
        ("a: 2020-13-45", "not YAML"),
        ("[" * 3000, "too deeply"),
        ("just text", "cannot be used"),
        ("", "and there is nothing"),
        ("format: 1\nprojects: {}\nmore: 1", "Line 3: there is no key 'more'; the keys are format, projects"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(tmp_path, text, said):
    with pytest.raises(InputError) as refused:
        policy_of(policy_file(tmp_path, text), "B")
    assert said in str(refused.value)
    for jargon in ("Input should", "Extra inputs", "Field required", "_File", "instance of", "dictionary"):
        assert jargon not in str(refused.value)


def test_a_policy_in_another_encoding_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_bytes("format: 1\nprojects: {Ä: {}}".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        policy_of(path, "B")
    path.write_bytes("format: 1\r\nprojects: {B: {retain: [dates]}}\r\n".encode("utf-8-sig"))
    assert policy_of(path, "B").retain == ("dates",)


SELECTED = [("001", "001_MR1", ""), ("001", "001_MR1", "1"), ("002", "002_MR1", "")]


@pytest.mark.parametrize(
    ("scope", "rule", "said"),
    [
        ('session: "001_MR1"', "", ""),
        ('session: "001_*", scan: "1"', "", ""),
        ("everywhere: true", "", ""),
        ("element: PatientName", "", ""),
        ('session: "001_MRI"', "P12", "perhaps session 001_MR1 was meant"),
        ('session: "001_mr1"', "P12", "perhaps session 001_MR1 was meant"),
        ('session: "002_MR1", scan: "1"', "P13", "session 002_MR1, scan 1 fits nothing"),
        ('subject: "9*"', "P13", "fits nothing"),
    ],
)
def test_a_waiver_that_fits_nothing_is_said(tmp_path, scope, rule, said):
    waivers = f'waivers: [{{rule: D05, scope: {{{scope}}}, reason: "ticket 17"}}]'
    path = policy_file(tmp_path, f"format: 1\nprojects: {{B: {{{waivers}}}}}")
    found = list(idle_findings(policy_of(path, "B"), SELECTED, "B"))
    assert [one.rule for one in found] == ([rule] if rule else [])
    assert all(said in one.sentence and one.sentence.endswith(".") for one in found)
    path = policy_file(tmp_path, f"format: 1\n{waivers}")  # in a file for this transfer it is always a warning
    found = list(idle_findings(policy_of(waivers=path), SELECTED, "B", waivers=read_waivers(path)))
    assert [one.rule for one in found] == (["P12"] if rule else [])


@pytest.mark.parametrize(
    ("names", "said"),
    [("B: {}", None), ('"*": {}', None), ("C: {}", "names C."), ("STUDY_D: {}", "STUDY_D is misspelt")],
)
def test_a_policy_that_says_nothing_of_the_project_is_said(tmp_path, names, said):
    project = "STUDY-D" if said and "STUDY" in said else "B"
    path = policy_file(tmp_path, f"format: 1\nprojects: {{{names}}}")
    found = list(idle_findings(policy_of(path, project), SELECTED, project, named=read_policies(path)))
    assert [one.rule for one in found] == (["P14"] if said else [])
    assert all(said in one.sentence for one in found)


def test_a_waiver_holds_in_its_scope_only():
    policy = Policy(waivers=[{"rule": "D05", "scope": {"session": "001_*"}, "reason": "ticket 17"}])
    inside = finding("D05", "x", subject="001", session="001_MR1")
    for other in (finding("D05", "x", session="002_MR1"), finding("D05", "x"), finding("D06", "x", session="001_MR1")):
        assert policy.applied([other]) == [other]
    (waived,) = policy.applied([inside])
    assert (waived.severity, waived.waived) == ("note", "ticket 17")
    assert policy.applied([waived]) == [waived]


FOUND = st.builds(
    finding,
    st.sampled_from(sorted(RULES)),
    st.just("a sentence"),
    subject=st.sampled_from(["", "001", "002"]),
    session=st.sampled_from(["", "001_MR1"]),
    files=st.integers(0, 5),
)
WORDS = st.dictionaries(st.sampled_from(sorted(RULES)), st.sampled_from([*SEVERITIES, "off"]), max_size=5)


@given(st.lists(FOUND, max_size=8), WORDS)
def test_a_policy_changes_severities_and_nothing_else(findings, rules):
    policy = Policy(rules=rules)
    found = policy.applied(findings)
    kept = [one for one in findings if rules.get(one.rule) != "off"]
    assert [one.rule for one in found] == [one.rule for one in kept]
    for before, after in zip(kept, found, strict=True):
        assert after.severity == rules.get(before.rule, before.severity)
        assert after.model_copy(update={"severity": before.severity}) == before
    assert policy.applied(found) == found


@given(st.lists(FOUND, max_size=60))
def test_many_places_of_one_thing_are_one_row_and_none_gets_lost(findings):
    found = together(findings, "A")
    assert {(one.rule, one.severity) for one in found} == {(one.rule, one.severity) for one in findings}
    assert len(found) <= len(findings)
    frame = findings_frame(in_order(found))
    assert list(frame.columns) == list(FINDING_COLUMNS)


def test_many_sessions_of_one_blocker_are_one_row():
    many = [
        finding(
            "D03", "x", project="A", subject=f"{n}", session=f"{n}_MR1", scan="1", element="PatientBirthDate", files=3
        )
        for n in range(500)
    ]
    (one,) = together(many, "A")
    assert one.files == 1500 and "500 sessions" in one.sentence and one.severity == "blocking"


def test_every_rule_is_told_one_by_one():
    text = PAGE.read_text(encoding="utf-8")
    assert written(text) == text, "run: python tests/findings_page.py"
    for code, rule in RULES.items():
        assert f"### {code} {rule.title}" in text
        assert re.fullmatch(r"[A-Z]\d\d", code) and code[0] in FAMILIES
        assert rule.severity in SEVERITIES and rule.about.endswith((".", ")"))
        assert rule.severity != "blocking" or rule.remedy, code


def test_the_policy_on_the_page_can_be_read(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert policy_of(policy_file(tmp_path, blocks[0]), "STUDY_B").waivers
    path = tmp_path / "waivers.yaml"
    path.write_text(blocks[1], encoding="utf-8")
    assert policy_of(waivers=path).waivers[0].rule == "D50"


def test_a_finding_takes_no_other_fields():
    with pytest.raises(ValueError):
        Finding(rule="D01", severity="note", sentence="x", value="Mustermann")


def test_a_waiver_of_what_cannot_be_foretold_names_one_element(tmp_path):
    text = "format: 1\nprojects: {B: {waivers: [{rule: S21, scope: {%s}, reason: drawn anew}]}}"
    found = policy_of(policy_file(tmp_path, text % "element: StudyInstanceUID, session: 'A*'"), "B")
    assert found.unforetold("1", "A1") == {"StudyInstanceUID": "drawn anew"} and not found.unforetold("1", "B1")
    for scope in ("everywhere: true", "session: A", "element: '*UID'"):
        with pytest.raises(InputError, match="name one element"):
            policy_of(policy_file(tmp_path, text % scope), "B")
