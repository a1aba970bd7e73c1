"""Sharing: the subject first, the label always, nothing copied, and one way back."""

from __future__ import annotations

import pytest
from places import SMALL, carried, states, three_sessions

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode, InputError, RefusedError
from xnbtransfer.method_options import ShareOptions
from xnbtransfer.share import plan_share
from xnbtransfer.values import Verdict


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture
def place(demo):
    yield from three_sessions(demo)


def planned(place, role="member", **values):
    given = {"source_project": place.project, "destination_project": place.other}
    with place.connect(role) as connection:
        return plan_share(connection, ShareOptions.from_mapping({**given, **values}))


def share(place, folder, role="member", **values):
    made = planned(place, role, **values)
    return made, carried(place, made, folder, role)


def subjects(place, project="") -> set[str]:
    with place.connect() as connection:
        return {row["subject"] for row in connection.subjects(project or place.other)}


def test_subjects_go_first_and_a_label_is_always_sent(place, tmp_path):
    made, result = share(place, tmp_path, reason="a joint study")
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert set(states(result).values()) == {"shared"}
    assert result.counts[Verdict.EQUAL] == len(result.files) == 30
    assert place.sessions(place.other) == {"A1": "A", "A2": "A", "B1": "B"} == place.sessions()
    assert subjects(place) == {"A", "B"}
    sent = place.writes()
    assert [one["method"] for one in sent] == ["PUT"] * 5
    assert all("label=" in one["query"] and "event_reason=a%20joint%20study" in one["query"] for one in sent)
    shown = [("experiments" in one["path"]) for one in sent]
    assert shown == [False, True, True, False, True]


def test_a_second_run_writes_nothing_and_a_second_plan_knows(place, tmp_path):
    made, first = share(place, tmp_path)
    place.settle()
    second = carried(place, made, tmp_path, "member")
    assert (second.counts, second.exit_code, place.writes()) == (first.counts, 0, [])
    made, third = share(place, tmp_path / "new")
    assert all("already" in change.because for change in made.sessions)
    assert (third.exit_code, place.writes()) == (0, [])


@pytest.mark.parametrize("row", ["/scans/", "/scans/1/"], ids=["an empty list", "a short list"])
def test_a_list_that_the_document_of_a_session_contradicts_proves_nothing(demo, place, tmp_path, row):
    demo.faults([{"fault": "rows-left-out", "path": "^/data/experiments/.*/files$", "row": row}])
    try:
        _, result = share(place, tmp_path, subjects=["B"])
    finally:
        demo.faults([])
    assert states(result)["B", "B1"] == "shared"
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    doubted = result.files[result.files["verdict"] == Verdict.NOT_PROVED]
    assert len(doubted) and all("the session's document counts" in one for one in doubted["because"])


def test_other_labels_and_only_some(place, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("subject,session,to_subject,to_session\nA,A1,P1,P1_V1\nA,A2,P1,P1_V2\n")
    _, result = share(place, tmp_path, subjects=["A"], label_map=str(labels))
    assert result.exit_code == ExitCode.PROVED
    assert set(place.sessions(place.other)) == {"P1_V1", "P1_V2"}
    assert subjects(place) == {"P1"}
    assert set(place.sessions()) == {"A1", "A2", "B1"}


def test_labels_that_cannot_be_are_refused(place, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("subject,session,to_subject,to_session\nA,A1,P1,P1_V1\nA,A2,P2,P2_V2\n")
    with pytest.raises(InputError, match="would get the labels P1 and P2"):
        planned(place, label_map=str(labels))
    labels.write_text("subject,session,to_subject,to_session\nA,A1,P1,V1\nA,A2,P1,V2\nB,B1,P1,V3\n")
    with pytest.raises(InputError, match="2 subjects would get the label P1"):
        planned(place, label_map=str(labels))
    with pytest.raises(InputError, match="same project"):
        planned(place, destination_project=place.project)


def test_what_is_in_the_way_is_left_and_nothing_of_it_changes(place, tmp_path):
    place.hold("A1", "X", SMALL[3], place.other)  # the label, another study
    place.hold("Z9", "B", SMALL[4], place.other)  # the subject's label, another subject
    place.wait("A2", "Y", SMALL[3], place.other)  # the label waits
    place.settle()
    made, result = share(place, tmp_path)
    found = {(change.subject, change.session): change.conflict for change in made.sessions}
    assert found == {
        ("A", ""): "",
        ("A", "A1"): "label: other study",
        ("A", "A2"): "waiting in the prearchive",
        ("B", ""): "label: other subject",
        ("B", "B1"): "subject",
    }
    assert states(result)[("A", "")] == "shared"
    assert len(place.writes()) == 1
    assert planned(place, existing="stop").blockers
    with pytest.raises(RefusedError):
        carried(place, planned(place, existing="stop"), tmp_path / "stop", "member")


def test_the_same_study_copied_there_is_not_shown_twice(place, tmp_path):
    place.hold("COPY", "A_COPY", SMALL[0], place.other)
    made = planned(place, sessions=["A1"])
    assert made.sessions[1].conflict == "same study under another label"


def test_shown_under_another_label_is_said_and_not_relabelled(place, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("subject,session,to_subject,to_session\nB,B1,P1,P1_V1\n")
    share(place, tmp_path / "one", subjects=["B"], label_map=str(labels))
    place.settle()
    made, _ = share(place, tmp_path / "two", subjects=["B"])
    assert {change.conflict for change in made.sessions} == {"shared under another label"}
    assert place.writes() == []


def test_a_label_that_appears_after_the_plan_stops_that_item_only(place, tmp_path):
    made = planned(place)
    place.hold("A1", "X", SMALL[3], place.other)
    result = carried(place, made, tmp_path, "member")
    assert result.exit_code == ExitCode.DIFFERENCES
    assert states(result)[("A", "A1")] == "failed"
    assert {states(result)[key] for key in (("A", "A2"), ("B", "B1"))} == {"shared"}


def test_a_collaborator_may_not(place):
    place.request(
        "PUT", f"/data/projects/{place.project}/users/Collaborators/{place.server.accounts['collaborator'][0]}"
    )
    place.request("PUT", f"/data/projects/{place.other}/users/Collaborators/{place.server.accounts['collaborator'][0]}")
    made = planned(place, role="collaborator")
    assert any("may not create" in sentence for sentence in made.blockers)


# -- the way back -----------------------------------------------------------------------------------------------


def test_shares_are_taken_back_one_by_one_and_the_subject_last(place, tmp_path):
    share(place, tmp_path / "there")
    place.settle()
    made, result = share(place, tmp_path / "back", role="owner", undo=True)
    assert made.kind == "unshare" and result.exit_code == ExitCode.PROVED, result.problems
    assert set(states(result).values()) == {"unshared"}
    assert result.counts[Verdict.EQUAL] == 30
    assert place.sessions(place.other) == {} and subjects(place) == set()
    assert set(place.sessions()) == {"A1", "A2", "B1"}
    sent = place.writes()
    assert all(one["method"] == "DELETE" and one["path"].endswith(f"/projects/{place.other}") for one in sent)
    assert [("experiments" in one["path"]) for one in sent] == [True, True, False, True, False]


def test_a_subject_stays_shown_while_the_other_project_has_sessions_of_it(place, tmp_path):
    share(place, tmp_path / "there")
    place.settle()
    _, result = share(place, tmp_path / "back", role="owner", undo=True, sessions=["A1"])
    assert states(result) == {("A", "A1"): "unshared", ("A", ""): "kept"}
    assert result.exit_code == ExitCode.PROVED
    assert set(place.sessions(place.other)) == {"A2", "B1"} and len(place.writes()) == 1


def test_a_member_may_not_take_back(place, tmp_path):
    share(place, tmp_path / "there")
    assert any("may not delete" in sentence for sentence in planned(place, undo=True).blockers)


# -- bad days ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize(
    ("fault", "more"), [("no-answer-after", 0), ("500-after", 0), ("503", 1), ("expire-sessions", 1), ("409", 0)]
)
def test_a_lost_answer_is_looked_up(place, tmp_path, undo, fault, more):
    if undo:
        share(place, tmp_path / "there", subjects=["B"])
        place.settle()
    method = "DELETE" if undo else "PUT"
    rule = {"fault": fault, "method": method, "path": "/experiments/", "times": 1, "retry_after_s": 0}
    place.server.faults([rule])
    _, result = share(place, tmp_path / "run", role="owner", subjects=["B"], undo=undo)
    if fault == "409":
        assert result.exit_code == ExitCode.DIFFERENCES and "failed" in states(result).values()
        return
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert len(place.writes()) <= 2 + more


def test_a_run_that_was_cut_off_is_continued(place, tmp_path):
    made = planned(place, subjects=["B"])
    place.server.faults([{"fault": "reset-before", "method": "PUT", "path": "/experiments/"}])
    first = carried(place, made, tmp_path, "member")
    assert first.exit_code == ExitCode.TRANSIENT
    assert sum(first.counts.values()) == len(first.files)
    place.server.faults([])
    second = carried(place, made, tmp_path, "member")
    assert second.exit_code == ExitCode.PROVED and set(states(second).values()) == {"shared"}
    assert place.sessions(place.other).keys() == {"B1"}
