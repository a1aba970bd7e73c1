"""The conflict matrix, walked on the embedded server: what its request log says was written, and to what."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from archive_kit import Kit, logged
from roads import WRITES, as_

from xnbtransfer.cli import invoke
from xnbtransfer.conflicts import MATRIX, Decision, Meeting, decide, matrix_frame, wants_rename
from xnbtransfer.decisions import decisions_of, read_decisions, read_rules
from xnbtransfer.errors import ExitCode, InputError, RefusedError
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap
from xnbtransfer.methods import ImportDoor
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import Plan, plan
from xnbtransfer.plan_file import LEASE
from xnbtransfer.progress import read_sides
from xnbtransfer.transfer import run


@pytest.fixture
def kit(person):
    return Kit(person)


def arrange(kit: Kit, kind: str, name: str) -> None:
    """A session of the source with the label ``name``, and at the destination what it is to meet."""
    subject, uid, other = f"{name}_s", kit.uid(name), kit.uid(name, "other")
    there = kit.destination
    if kind == "shared-source":
        kit.put(kit.third, subject, name, uid, scans=(1, 2))
        kit.share(kit.third, subject, name, kit.source, name)
        return
    kit.put(kit.source, subject, name, uid, scans=(1, 2))
    if kind == "same-study":
        kit.put(there, subject, name, uid)
    elif kind == "other-study":
        kit.put(there, subject, name, other)
    elif kind == "other-subject":
        kit.put(there, f"{name}_x", name, other)
    elif kind == "other-modality":
        kit.put(there, subject, name, other, kind="CT")
    elif kind == "shared-label":
        kit.put(kit.third, subject, f"{name}_t", other)
        kit.share(kit.third, subject, f"{name}_t", there, name)
    elif kind == "waiting":
        kit.put(there, subject, name, other, waits=True)
    elif kind == "other-label":
        kit.put(there, subject, f"{name}_o", uid)
    elif kind == "case":
        kit.put(there, subject, name.swapcase(), other)
    elif kind == "other-project":
        kit.put(kit.third, subject, f"{name}_p", uid)
    elif kind == "one-study":
        kit.put(kit.source, subject, f"{name}_twin", uid, scans=(3,))
    elif kind == "one-label":
        kit.put(kit.source, subject, f"{name}_twin", other)


def written(server, since: int, project: str) -> dict[str, int]:
    """Label to number of imports, of what was sent to ``project``; any other write but archiving fails the test."""
    found: dict[str, int] = {}
    for entry in server.log()[since:]:
        if entry["method"] not in WRITES or entry["path"].startswith(("/data/services/auth", "/data/JSESSION")):
            continue
        if entry["path"].startswith(f"/data/projects/{project}/resources/{LEASE}"):
            continue  # the plan names it as written beside the data
        query = {name: values[0] for name, values in parse_qs(entry["query"]).items()}
        if entry["path"] == "/data/services/import":
            assert query["PROJECT_ID"] == project
            found[query["EXPT_LABEL"]] = found.get(query["EXPT_LABEL"], 0) + 1
        elif entry["path"] in ("/data/services/archive", "/data/services/validate-archive"):
            assert query["src"].startswith(f"/prearchive/projects/{project}/")
        else:
            assert entry["path"].startswith(f"/data/prearchive/projects/{project}/"), entry["path"]
            assert query.get("action") == "build"
    return found


def options(kit: Kit, **values) -> TransferOptions:
    both = {"source_project": kit.source, "destination_project": kit.destination, "archive": True}
    return TransferOptions.from_mapping({**both, **values})


def planned(xnat, kit: Kit, labels=None, decisions=None, **values):
    with as_(xnat, "owner") as source, as_(xnat, "owner") as destination:
        here, there, by_parameters = read_sides(source, destination, options(kit, **values))
        return plan(here, there, options(kit, **values), labels=labels or by_parameters, decisions=decisions)


def carried_out(xnat, made, folder):
    with as_(xnat, "owner") as source, as_(xnat, "owner") as destination:
        return run(made, source, destination, folder=folder)


CASES = {
    (kind, str(decision)): None
    for kind, rule in MATRIX.items()
    for decision in ("default", *rule.decisions, *rule.one_by_one)
    if decision not in ("stop", "merge", "replace") or kind == "same-study"
    if (kind, decision) != ("one-label", "default")
}
SENT = {"copy": 2, "rename": 2, "merge": 1, "replace": 2}


def test_the_whole_matrix_by_row(xnat, kit, tmp_path):
    lines, labels = ["subject,session,decision,to_session"], {}
    expected, twins = {}, {}
    cases = [case for case in CASES if case[1] != "stop"]
    for kind, decision in cases:
        name = f"{kind}-{decision}"
        arrange(kit, kind, name)
        to = f"{name}_new" if decision == "rename" else ""
        if decision != "default":
            lines.append(f"{name}_s,{name},{decision},{to}")
        action = MATRIX[kind].default if decision == "default" else decision
        if action != "skip":
            expected[to or name] = SENT[action]
        if kind == "one-label":
            labels[SessionKey(f"{name}_s", f"{name}_twin")] = SessionKey(f"{name}_s", name)
            expected[name] = 1
        if kind == "one-study" and decision == "skip":
            expected[f"{name}_twin"] = 1
        twins[name] = action
    before = {project: kit.files(project) for project in (kit.destination, kit.source, kit.third)}
    waiting = kit.who.rows(f"/data/prearchive/projects/{kit.destination}")
    table = tmp_path / "decisions.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    since = logged(xnat)
    decided = read_decisions(table)
    made = planned(xnat, kit, labels=LabelMap(labels), decisions=decided)
    assert written(xnat, since, kit.destination) == {}, "planning writes nothing"
    assert made.blockers == ()
    for row in made.sessions:
        if (row.session in twins) and twins[row.session] not in ("rename", "copy"):
            assert row.action == twins[row.session], row
        if row.session in twins and decided.of(row.key):
            assert row.decided == "by row"
    result = carried_out(xnat, made, tmp_path)
    assert result.exit_code == ExitCode.NEEDS_A_PERSON, result.problems
    assert written(xnat, since, kit.destination) == expected
    after = kit.files(kit.destination)
    for label, files in before[kit.destination].items():
        if label == "same-study-merge":
            assert set(files) < set(after[label]) and {scan for scan, _, _ in after[label]} == {"1", "2"}
        elif label == "same-study-replace":
            # an instance takes the place of the one that was there, under the name that the importer gives it
            assert {one[0] for one in files} <= {one[0] for one in after[label]}
            assert len(files) <= len(after[label])
        else:
            assert after[label] == files, label
    assert kit.files(kit.source) == before[kit.source] and kit.files(kit.third) == before[kit.third]
    assert waiting == kit.who.rows(f"/data/prearchive/projects/{kit.destination}")
    assert set(after) == set(before[kit.destination]) | set(expected)


def test_the_whole_matrix_by_rule(xnat, kit, tmp_path):
    """With a rule for each conflict that may be renamed; twice, since the second night must find all of it there."""
    kinds = [kind for kind in MATRIX if kind not in ("one-label", "one-study")]
    for kind in kinds:
        arrange(kit, kind, kind)
    before = kit.files(kit.destination)
    since = logged(xnat)
    made = planned(xnat, kit, existing="rename")
    renamed = {"other-study", "other-subject", "other-modality", "shared-label", "waiting", "case"}
    assert {row.session for row in made.sessions if row.action == "copy"} == {*renamed, "other-project"}
    result = carried_out(xnat, made, tmp_path)
    assert result.exit_code == ExitCode.NEEDS_A_PERSON, result.problems
    assert written(xnat, since, kit.destination) == {**{f"{kind}_2": 2 for kind in renamed}, "other-project": 2}
    after = kit.files(kit.destination)
    assert {label: after[label] for label in before} == before
    second = planned(xnat, kit, existing="rename")
    assert {row.action for row in second.sessions} == {"skip"}
    again = {row.session: row.because for row in second.sessions}
    assert "is at the destination as case_2" in again["case"]


def test_stop_stops_the_run_before_anything_is_written(xnat, kit, tmp_path):
    kinds = [kind for kind in MATRIX if kind != "one-label"]
    for kind in kinds:
        arrange(kit, kind, kind)
    since = logged(xnat)
    made = planned(xnat, kit, on_conflict=[f"{kind}:stop" for kind in kinds])
    assert {row.session: row.action for row in made.sessions if row.session in kinds} == dict.fromkeys(kinds, "stop")
    assert len(made.blockers) >= len(kinds)
    with pytest.raises(RefusedError, match="other-project"):
        carried_out(xnat, made, tmp_path)
    assert written(xnat, since, kit.destination) == {}


def test_two_sources_on_one_label_are_refused_until_somebody_decides(xnat, kit):
    arrange(kit, "one-label", "E")
    labels = LabelMap({SessionKey("E_s", "E_twin"): SessionKey("E_s", "E")})
    with pytest.raises(InputError, match="2 sessions go to the label E"):
        planned(xnat, kit, labels=labels)
    made = planned(xnat, kit, labels=labels, on_conflict=["one-label:skip"])
    assert {row.action for row in made.sessions} == {"skip"}


@pytest.mark.parametrize("kind", ["other-study", "other-label", "waiting", "other-project"])
def test_what_appears_after_planning_stops_that_session_and_not_the_others(xnat, kit, tmp_path, kind):
    for name in ("Stays", "Meets"):
        kit.put(kit.source, f"{name}_s", name, kit.uid(name))
    made = planned(xnat, kit)
    uid = kit.uid("Meets") if kind != "other-study" else kit.uid("other")
    where = kit.third if kind == "other-project" else kit.destination
    kit.put(where, "Meets_s", "Meets" if kind in ("other-study", "waiting") else "Z", uid, waits=kind == "waiting")
    before, since = kit.files(kit.destination), logged(xnat)
    result = carried_out(xnat, made, tmp_path)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert dict(zip(result.sessions["session"], result.sessions["state"], strict=True)) == {
        "Meets": "failed",
        "Stays": "archived",
    }
    assert "no longer as the plan saw it" in result.problems[0]
    assert set(written(xnat, since, kit.destination)) == {"Stays"}
    after = kit.files(kit.destination)
    assert {label: after[label] for label in before} == before


def test_what_appears_right_before_a_session_is_seen_by_the_last_look(xnat, kit):
    kit.put(kit.source, "S", "Meets", kit.uid("Meets"))
    made = planned(xnat, kit)
    kit.put(kit.third, "S", "Z", kit.uid("Meets"))
    with as_(xnat, "owner") as destination:
        door = ImportDoor(made, destination, lambda *about, **more: None)
        with pytest.raises(RefusedError, match=rf"did not know, at the destination: study in {kit.third} as Z"):
            door.look(made.sessions[0])


MERGES = [
    "other-study",
    "other-subject",
    "other-modality",
    "shared-label",
    "waiting",
    "other-label",
    "case",
]


@pytest.mark.parametrize("existing", ["merge", "replace"])
@pytest.mark.parametrize("kind", MERGES)
def test_what_cannot_be_merged_stops(kind, existing):
    action, because, by = decide([Meeting(kind, "it meets something")], existing=existing)
    assert (action, by) == ("stop", "by rule")
    assert f"{existing} is not possible here" in because


@pytest.mark.parametrize("kind", MATRIX)
def test_nothing_that_exists_is_touched_unless_somebody_says_so(kind):
    action, _, by = decide([Meeting(kind, "it meets something")])
    assert (action, by) in (("skip", ""), ("stop", ""), ("copy", ""))
    assert action != "copy" or "nothing in the other project changes" in MATRIX[kind].server


def test_a_decision_that_does_not_fit_its_conflict_is_a_blocker():
    for row, kind in (("merge", "other-study"), ("replace", "waiting"), ("copy", "same-study")):
        action, because, by = decide([Meeting(kind, "it meets something")], row=row)
        assert (action, by) == ("stop", "by row") and f"{row} is not possible here" in because
    assert decide([], row="merge")[0] == "stop"
    assert decide([], row="skip")[:1] == ("skip",) and decide([], row="rename")[0] == "copy"


def test_the_weightiest_conflict_decides_and_a_rename_does_not_hide_the_others():
    both = [Meeting("other-study", "taken"), Meeting("other-label", "there as X")]
    assert not wants_rename(both, existing="rename", rules={})
    assert decide(both, existing="rename") == ("skip", "there as X", "by rule")
    assert wants_rename(both[:1], existing="rename", rules={})
    assert decide(both[:1], existing="rename")[0] == "skip", "without a free label nothing is sent"


def test_rules_and_tables_that_cannot_be_used_are_sentences(tmp_path):
    assert read_rules(["other-study:rename"]) == {"other-study": "rename"}
    for rule, says in (("nothing:skip", "no conflict 'nothing'"), ("waiting:merge", "cannot be settled by 'merge'")):
        with pytest.raises(InputError, match=says):
            read_rules([rule])
    path = tmp_path / "decisions.csv"
    for line, says in (
        ("a,b,leave,", "'leave' in line 2, which is no decision"),
        ("a,b,skip,\na,b,copy,", "names a/b twice"),
        ("a,b,skip,c", "gives a/b a label and does not send it"),
        (",b,skip,", "empty cell in line 2"),
    ):
        path.write_text(f"subject,session,decision,to_session\n{line}\n", encoding="utf-8")
        with pytest.raises(InputError, match=says):
            read_decisions(path)


def test_a_frame_is_as_good_as_a_file():
    import pandas as pd

    columns = {"subject": ["001"], "session": ["01"], "decision": ["rename"], "to_session": ["02"]}
    decided = decisions_of(pd.DataFrame(columns))
    key = SessionKey("001", "01")
    assert (decided.of(key), decided.label(key)) == ("rename", "02")
    assert decided.over(LabelMap())(key) == SessionKey("001", "02")
    with pytest.raises(InputError, match="no text"):
        decisions_of(pd.DataFrame({**columns, "session": [1]}))


def test_the_conflicts_of_a_plan_are_a_table_to_edit(xnat, kit, tmp_path):
    arrange(kit, "other-study", "001")
    kit.put(kit.source, "002_s", "002", kit.uid("002"))
    where = [f"{xnat.url}/{project}" for project in (kit.source, kit.destination)]
    table, made = tmp_path / "decisions.csv", tmp_path / "plan.json"
    user, password = xnat.accounts["owner"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XNAT_USER", user)
        patch.setenv("XNAT_PASS", password)
        words = ["plan", *where, "--review", "none", "-o", str(made)]
        assert invoke([*words, "--conflicts-to", str(table)]) == 0
        assert table.read_text() == "subject,session,decision,to_session\n001_s,001,skip,\n"
        table.write_text("subject,session,decision,to_session\n001_s,001,rename,001b\n")
        assert invoke([*words, "--decisions", str(table)]) == 0
    found = {row.session: (row.action, row.destination_session) for row in Plan.load(made).sessions}
    assert found == {"001": ("copy", "001b"), "002": ("copy", "002")}


def test_labels_are_shown_and_written_before_they_are_used(xnat, kit, tmp_path, capsys):
    kit.put(kit.source, "7", "7_MR", kit.uid("7"))
    kit.put(kit.destination, "0007", "0007_MR", kit.uid("other"))
    where = [f"{xnat.url}/{project}" for project in (kit.source, kit.destination)]
    user, password = xnat.accounts["owner"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XNAT_USER", user)
        patch.setenv("XNAT_PASS", password)
        rule = "subject={subject:0>4}; session={subject}_MR"
        path = tmp_path / "labels.csv"
        assert invoke(["labels", *where, "--label-rule", rule, "-o", str(path)]) == 3
        assert "the destination has it" in capsys.readouterr().out
        assert path.read_text() == "subject,session,to_subject,to_session\n7,7_MR,0007,0007_MR\n"
        path.write_text("subject,session,to_subject,to_session\n7,7_MR,0007,0007_MR2\n")
        assert invoke(["labels", *where, "--label-map", str(path), "--session-pattern", "[0-9]{4}_MR[0-9]"]) == 0


def test_many_studies_are_looked_for_in_few_requests(xnat, kit):
    kit.put(kit.third, "S", "E", kit.uid("E"))
    others = [kit.uid("none", str(number)) for number in range(1000)]
    with as_(xnat, "owner") as destination:
        for uids in ([kit.uid("E")], [kit.uid("E"), *others]):
            before = destination.requests
            assert [row["session"] for row in destination.sessions_with_uids(uids)] == ["E"]
            assert destination.requests - before == 1
        assert destination.sessions_with_uids([]) == []
    with as_(xnat, "outsider") as stranger:
        assert stranger.sessions_with_uids([kit.uid("E")]) == [], "what a user may not see is not met"


def test_the_matrix_is_complete():
    table = matrix_frame()
    assert len(table) == len(MATRIX) == 12
    for rule in MATRIX.values():
        assert rule.server.endswith(".") and Decision.STOP in rule.decisions and Decision.SKIP in rule.decisions
