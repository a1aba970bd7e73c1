"""Policies: checked by their schema, weighed per project, waived with a reason; the page that tells of each rule."""

from __future__ import annotations

import re

import pytest
from findings_page import PAGE, written
from hypothesis import given
from hypothesis import strategies as st

from xnbtransfer.errors import InputError
from xnbtransfer.findings import FAMILIES, RULES, SEVERITIES, Finding, finding, findings_frame, in_order
from xnbtransfer.policy import Policy, read_policy
from xnbtransfer.reviewer import together
from xnbtransfer.values import FINDING_COLUMNS


def policy_file(tmp_path, text: str):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


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
    found = read_policy(path, "B")
    assert dict(found.rules) == {"D12": "blocking", "D14": "off"}
    assert found.retain == ("dates", "device")
    assert dict(read_policy(path, "C").rules) == {"D12": "note", "D14": "off"}
    assert read_policy() == Policy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format: 1\nprojects: {B: {rules: {D99: note}}}", "no rule 'D99'"),
        ("format: 1\nprojects: {B: {rules: {D12: loud}}}", "D12"),
        ("format: 1\nprojects: {B: {retain: [everything]}}", "retain"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {}, reason: because}]}}", "everywhere"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {scan: '1'}, reason: ''}]}}", "why"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {session: 001}, reason: because}]}}", "quotes"),
        ("format: 1\nprojects: {B: {waivers: [{rule: D05, scope: {scan: '1'}}]}}", "reason"),
        ("format: 2\nprojects: {}", "format"),
        ("projects: [", "YAML"),
        ("just text", "cannot be used"),
        ("format: 1\nprojects: {}\nmore: 1", "more"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(tmp_path, text, said):
    with pytest.raises(InputError, match=re.escape(said)):
        read_policy(policy_file(tmp_path, text), "B")


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
    assert read_policy(policy_file(tmp_path, blocks[0]), "STUDY_B").waivers
    path = tmp_path / "waivers.yaml"
    path.write_text(blocks[1], encoding="utf-8")
    assert read_policy(waivers=path).waivers[0].rule == "D50"


def test_a_finding_takes_no_other_fields():
    with pytest.raises(ValueError):
        Finding(rule="D01", severity="note", sentence="x", value="Mustermann")
