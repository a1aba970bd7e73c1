"""Moving without a copy: in the order that works, never into something, and read back afterwards."""

from __future__ import annotations

import pytest
from places import SMALL, carried, states, three_sessions
from which_xnat import ENGINE_6, script

from xnbtransfer import actions
from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode
from xnbtransfer.method_options import MoveOptions
from xnbtransfer.relocate import plan_move
from xnbtransfer.steps import carry_out
from xnbtransfer.values import Verdict


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture
def place(demo):
    yield from three_sessions(demo)


def planned(place, role="owner", **values):
    given = {"source_project": place.project, "destination_project": place.other}
    with place.connect(role) as connection:
        return plan_move(connection, MoveOptions.from_mapping({**given, **values}))


def move(place, folder, **values):
    made = planned(place, **values)
    return made, carried(place, made, folder)


def subjects(place, project) -> dict[str, bool]:
    """Labels, and whether they are only shown there."""
    with place.connect() as connection:
        return {row["subject"]: row["shared"] for row in connection.subjects(project)}


def conflicts(made) -> dict[tuple[str, str], str]:
    return {(change.subject, change.session): change.conflict for change in made.sessions}


def shown(place, session: str, project: str, label: str) -> None:
    with place.connect() as connection:
        (found,) = connection.sessions_with_label(place.project, session)
    place.request("PUT", f"/data/experiments/{found['session_id']}/projects/{project}?label={label}")


def test_whole_subjects_go_with_their_sessions_and_every_byte_is_read_back(place, tmp_path):
    made, result = move(place, tmp_path, reason="a new home")
    assert result.exit_code == ExitCode.PROVED, (result.problems, set(result.files["because"]))
    assert set(states(result).values()) == {"moved"}
    assert result.counts[Verdict.EQUAL] == len(result.files) == 30
    assert place.sessions() == {} and place.sessions(place.other) == {"A1": "A", "A2": "A", "B1": "B"}
    assert subjects(place, place.other) == {"A": False, "B": False} and subjects(place, place.project) == {}
    sent = place.writes()
    assert ["experiments" in one["path"] for one in sent] == [False, True, True, False, True]
    assert all("primary=true" in one["query"] and "label" not in one["query"] for one in sent)
    place.settle()
    again = carried(place, made, tmp_path)
    assert (again.counts, again.exit_code, place.writes()) == (result.counts, 0, [])


@pytest.mark.parametrize("row", ["/scans/", "/scans/1/"], ids=["an empty list", "a short list"])
def test_a_list_that_the_document_of_a_session_contradicts_proves_nothing(demo, place, tmp_path, row):
    demo.faults([{"fault": "rows-left-out", "path": "^/data/experiments/.*/files$", "row": row}])
    try:
        _, result = move(place, tmp_path, subjects=["B"])
    finally:
        demo.faults([])
    assert states(result)["B", "B1"] == "moved"
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    doubted = result.files[result.files["verdict"] == Verdict.NOT_PROVED]
    assert len(doubted) and all("the session's document counts" in one for one in doubted["because"])


def test_an_empty_list_of_a_subjects_files_that_its_document_contradicts_proves_nothing(demo, place, tmp_path):
    for name in ("a.txt", "b.txt"):
        path = f"/data/projects/{place.project}/subjects/B/resources/CONSENT/files/{name}?inbody=true"
        place.request("PUT", path, data=name.encode())
    demo.faults([{"fault": "rows-left-out", "path": "/subjects/[^/]+/files$", "row": "CONSENT"}])
    try:
        _, result = move(place, tmp_path, subjects=["B"])
    finally:
        demo.faults([])
    assert states(result)["B", ""] == "moved"
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    (doubted,) = result.files[result.files["verdict"] == Verdict.NOT_PROVED]["because"]
    assert "names 0 files in CONSENT" in doubted and "counts 2" in doubted


def test_resources_of_a_session_go_along_and_are_proved(place, tmp_path):
    path = f"/data/projects/{place.project}/subjects/B/experiments/B1/resources/QC/files/a/q.txt?inbody=true"
    place.request("PUT", path, data=b"quality")
    _, result = move(place, tmp_path, subjects=["B"])
    assert result.exit_code == ExitCode.PROVED and len(result.files) == 11


def test_resources_of_a_subject_go_along_and_are_read_back(place, tmp_path):
    for name, data in (("a/form.txt", b"consent"), ("b.txt", b"second")):
        place.request(
            "PUT", f"/data/projects/{place.project}/subjects/B/resources/FORMS/files/{name}?inbody=true", data=data
        )
    made = planned(place, subjects=["B"])
    (subject,) = [change for change in made.acting if change.kind == "subject"]
    assert (subject.files, subject.size_bytes, made.totals["files"]) == (2, 13, 12)
    result = carried(place, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED, result.problems
    own = result.files[result.files["session"] == ""]
    assert set(own["path"]) == {"a/form.txt", "b.txt"} and set(own["resource"]) == {"FORMS"}
    assert set(own["because"]) == {"every byte is equal, read after the move"}
    there = f"/data/projects/{place.other}/subjects/B/resources/FORMS/files/a/form.txt"
    assert place.request("GET", there).content == b"consent"


def test_a_file_of_a_subject_that_is_damaged_on_the_way_is_found(place, tmp_path):
    here = f"/data/projects/{place.project}/subjects/B/resources/FORMS/files/odd.txt?inbody=true"
    place.request("PUT", here, data=b"consent of a very odd length")
    made = planned(place, subjects=["B"])
    (path,) = (place.server.data / "archive").glob("**/odd.txt")
    with place.connect() as connection:
        carrier = actions.carrier_of(made, connection, connection)
        keep = carrier.before

        def before(change):
            kept = keep(change)
            if change.kind == "subject":
                path.write_bytes(b"Consent of a very odd length")
            return kept

        carrier.before = before
        result = carry_out(made, carrier, (connection,), folder=tmp_path)
    assert result.exit_code == ExitCode.DIFFERENCES
    (bad,) = result.files[result.files["verdict"] == "different"].itertuples()
    assert (bad.session, bad.path, bad.because) == ("", "odd.txt", "its bytes are not those of before the move")


def test_a_session_whose_subject_stays(place, tmp_path):
    made = planned(place, sessions=["A1"])
    assert conflicts(made) == {("A", ""): "split", ("A", "A1"): "subject"}
    made, result = move(place, tmp_path, sessions=["A1"], split="share")
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert states(result) == {("A", ""): "shared", ("A", "A1"): "moved"}
    assert place.sessions() == {"A2": "A", "B1": "B"} and set(place.sessions(place.other)) == {"A1"}
    assert subjects(place, place.project)["A"] is False and subjects(place, place.other) == {"A": True}


def test_relabelling_is_a_step_of_its_own(place, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("subject,session,to_subject,to_session\nB,B1,P1,P1_V1\n")
    made, result = move(place, tmp_path, subjects=["B"], label_map=str(labels))
    assert [[step.verb for step in change.steps] for change in made.sessions] == [["rename", "move"]] * 2
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert place.sessions(place.other) == {"P1_V1": "P1"}


def test_a_label_that_the_source_uses_is_given_after_the_move(place, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("subject,session,to_subject,to_session\nB,B1,B,A1\n")
    made, result = move(place, tmp_path, subjects=["B"], label_map=str(labels))
    assert [step.verb for step in made.sessions[1].steps] == ["move", "rename"]
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert place.sessions(place.other) == {"A1": "B"} and place.sessions() == {"A1": "A", "A2": "A"}


def test_what_is_in_the_way_is_left_and_nothing_of_it_changes(place, tmp_path):
    place.hold("A1", "X", SMALL[3], place.other)
    place.hold("Z9", "B", SMALL[4], place.other)
    place.settle()
    made, result = move(place, tmp_path)
    assert conflicts(made) == {
        ("A", ""): "",
        ("A", "A1"): "label: other study",
        ("A", "A2"): "",
        ("B", ""): "label: other subject",
        ("B", "B1"): "subject",
    }
    assert states(result)[("A", "A2")] == "moved"
    assert place.sessions(place.other)["A1"] == "X"
    assert "A1" in place.sessions()
    assert planned(place, existing="stop").blockers


def test_rights_are_looked_at_before(place):
    made = planned(place, role="member")
    assert any("may not delete" in sentence for sentence in made.blockers)
    place.sql("UPDATE members SET role='collaborator' WHERE project=? AND login='olga'", place.other)
    made = planned(place)
    assert any("may not create" in sentence for sentence in made.blockers)


def test_further_projects_that_see_it_are_not_surprised(place, tmp_path):
    place.request("PUT", f"/data/projects/{place.project}_3")
    shown(place, "B1", f"{place.project}_3", "SEEN")
    made = planned(place, subjects=["B"])
    assert conflicts(made)[("B", "B1")] == "other shares"
    _, result = move(place, tmp_path, subjects=["B"], other_shares="keep")
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert set(place.sessions(f"{place.project}_3")) == {"SEEN"}


def test_a_share_there_ends_before_the_move(place, tmp_path):
    with place.connect() as connection:
        subject = next(row for row in connection.subjects(place.project) if row["subject"] == "B")
    place.request("PUT", f"/data/subjects/{subject['subject_id']}/projects/{place.other}?label=B")
    shown(place, "B1", place.other, "SHOWN")
    made, result = move(place, tmp_path, subjects=["B"])
    assert [[step.verb for step in change.steps] for change in made.sessions] == [["unshare", "move"]] * 2
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert place.sessions(place.other) == {"B1": "B"} and subjects(place, place.other) == {"B": False}


def test_a_label_that_appears_after_the_plan_stops_that_session_only(place, tmp_path):
    made = planned(place)
    place.hold("A1", "X", SMALL[3], place.other)
    result = carried(place, made, tmp_path)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert states(result)[("A", "A1")] == "failed" and states(result)[("A", "A2")] == "moved"
    assert place.sessions(place.other)["A1"] == "X" and "A1" in place.sessions()


def test_a_file_that_is_damaged_on_the_way_is_found_although_its_md5_is_listed_as_before(place, tmp_path):
    made = planned(place, subjects=["B"])
    (session,) = [change for change in made.acting if change.session]
    path = sorted((place.server.data / "archive").glob(f"*/**/{session.item}/**/*.dcm"))[0]
    with place.connect() as connection:
        carrier = actions.carrier_of(made, connection, connection)
        keep = carrier.before

        def before(change):
            kept = keep(change)
            if change.session:
                data = bytearray(path.read_bytes())
                data[-20] ^= 1
                path.write_bytes(bytes(data))
            return kept

        carrier.before = before
        result = carry_out(made, carrier, (connection,), folder=tmp_path)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.counts[Verdict.DIFFERENT] == 1 and result.counts[Verdict.EQUAL] == 9


def test_proof_by_listing_claims_no_more(place, tmp_path):
    _, result = move(place, tmp_path, subjects=["B"], proof="listing")
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED


@pytest.mark.parametrize("on_rename", ["true", "false"])
def test_a_project_whose_script_runs_over_what_is_moved_is_recognised(place, tmp_path, on_rename):
    place.sql(f"INSERT OR REPLACE INTO site VALUES('rerunProjectAnonOnRename', '{on_rename}')")
    place.sql(
        "UPDATE projects SET anon_enabled=1, anon_script=? WHERE id=?",
        script('(0008,0090) := "nobody"\n'),
        place.other,
    )
    try:
        made, result = move(place, tmp_path, subjects=["B"])
    finally:
        place.sql("INSERT OR REPLACE INTO site VALUES('rerunProjectAnonOnRename', 'false')")
    assert [place.other in found.sentence for found in made.findings if found.rule == "M05"] == [True]
    assert result.exit_code == ExitCode.PROVED, set(result.files["because"])
    assert result.counts[Verdict.EXPLAINED] == 10


@pytest.mark.needs("1.7.2", because=ENGINE_6)
def test_a_script_that_cannot_be_read_stops_a_move_before_it_starts(place, tmp_path):
    place.sql("UPDATE projects SET anon_enabled=1, anon_script=? WHERE id=?", 'version "6.6"\n(((\n', place.other)
    made = planned(place, subjects=["B"])
    assert any(found.rule == "S16" and "line 2" in found.sentence for found in made.findings)


# -- bad days ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "most"),
    [
        ("no-answer-after", ExitCode.PROVED, 2),
        ("500-after", ExitCode.PROVED, 2),
        ("504-after", ExitCode.PROVED, 2),
        ("503", ExitCode.PROVED, 3),
        ("expire-sessions", ExitCode.PROVED, 3),
        ("500-before", ExitCode.DIFFERENCES, 2),
    ],
)
def test_a_lost_answer_is_looked_up(place, tmp_path, fault, code, most):
    place.server.faults([{"fault": fault, "method": "PUT", "path": "/experiments/", "times": 1, "retry_after_s": 0}])
    _, result = move(place, tmp_path, subjects=["B"])
    assert result.exit_code == code, result.problems
    assert len(place.writes()) <= most
    assert ("B1" in place.sessions(place.other)) == (code == ExitCode.PROVED)


def test_a_move_that_was_not_answered_is_not_sent_again_in_the_same_run(place, tmp_path, monkeypatch):
    monkeypatch.setattr("xnbtransfer.relocate.SETTLE_S", 0.3)
    place.server.faults([{"fault": "reset-before", "method": "PUT", "path": "/experiments/"}])
    made, first = move(place, tmp_path, subjects=["B"])
    assert first.exit_code == ExitCode.TRANSIENT and first.counts[Verdict.NOT_PROVED] == 10
    assert len(place.writes()) <= 2
    place.server.faults([])
    second = carried(place, made, tmp_path)
    assert second.exit_code == ExitCode.PROVED and second.counts[Verdict.EQUAL] == 10
    assert place.sessions(place.other) == {"B1": "B"}


def test_a_subject_that_fails_keeps_its_sessions_where_they_are(place, tmp_path):
    place.server.faults([{"fault": "403", "method": "PUT", "path": f"/projects/{place.other}$", "times": 1}])
    _, result = move(place, tmp_path)
    assert states(result) == {
        ("A", ""): "failed",
        ("A", "A1"): "failed",
        ("A", "A2"): "failed",
        ("B", ""): "moved",
        ("B", "B1"): "moved",
    }
    assert set(place.sessions()) == {"A1", "A2"}
