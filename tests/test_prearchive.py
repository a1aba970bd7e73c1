"""The prearchive: told apart, archived, relabelled, rebuilt, moved and deleted, on a bad day, too."""

from __future__ import annotations

import datetime
import hashlib
import json

import pytest
from places import carried, make_place
from roads import DESTINATION, as_
from which_xnat import script

from xnbtransfer import actions
from xnbtransfer import server as embedded
from xnbtransfer.changes import Change, ChangePlan
from xnbtransfer.errors import ExitCode, InputError, OptionsError, RefusedError
from xnbtransfer.forms import archived_path
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap
from xnbtransfer.method_options import PrearchiveOptions
from xnbtransfer.prearchive import plan_prearchive, review_prearchive, same_files
from xnbtransfer.steps import carry_out
from xnbtransfer.stuck import CODES, idle_minutes, tell_apart
from xnbtransfer.values import Verdict

SERVICE = "/data/services/prearchive/"


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as server:
        yield server


@pytest.fixture
def place(demo):
    """Two projects of its own for each test, the first with W1 waiting in its prearchive."""
    found = make_place(demo)
    found.wait("W1")
    found.settle()
    yield found
    demo.faults([])


def chosen(place, **values) -> PrearchiveOptions:
    return PrearchiveOptions.from_mapping({"destination_project": place.project, **values})


def decided(place, connection, labels=None, **values) -> ChangePlan:
    return plan_prearchive(connection, chosen(place, **values), labels)[0]


def act(place, folder, role="owner", labels=None, **values):
    """Plan and carry out; returns (plan, result)."""
    with place.connect(role) as connection:
        made = decided(place, connection, labels, **values)
        carrier = actions.carrier_of(made, connection, connection)
        confirm = values.get("confirm", made.confirm)
        return made, carry_out(made, carrier, (connection,), folder=folder, confirm=confirm)


def old(place, session: str) -> None:
    """Let a waiting session be an hour old."""
    then = (datetime.datetime.now() - datetime.timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    place.sql("UPDATE prearchive SET lastmod=? WHERE project=? AND name=?", then, place.project, session)


# -- told apart -------------------------------------------------------------------------------------------------

TOLD = [
    ("RECEIVING", 3, {}, "receiving"),
    ("RECEIVING", None, {}, "receiving"),
    ("RECEIVING", 40, {}, "stuck"),
    ("RECEIVING", 40, {"left_alone": True}, "left by its sender"),
    ("RECEIVING_INTERRUPT", 900, {}, "stuck"),
    ("BUILDING", 5, {}, "working"),
    ("_BUILDING", 5, {}, "working"),
    ("QUEUED_ARCHIVING", 59, {}, "working"),
    ("QUEUED_ARCHIVING", 61, {}, "stuck"),
    ("ARCHIVING", 5000, {}, "stuck"),
    ("READY", 5000, {}, "ready"),
    ("READY", 1, {"codes": ["1"]}, "conflict"),
    ("READY", 1, {"codes": ["1", "10"]}, "locked"),
    ("CONFLICT", 1, {"codes": ["5"]}, "conflict"),
    ("CONFLICT", 1, {"log": "why"}, "conflict"),
    ("ERROR", 1, {"log": "why"}, "error"),
]


@pytest.mark.parametrize(("status", "minutes", "more", "kind"), TOLD)
def test_what_waits_is_told_from_what_is_stuck(status, minutes, more, kind):
    told = tell_apart(status, minutes, **more)
    assert told.kind == kind
    assert told.way_out
    assert bool(told.conflict) == (kind not in ("ready", "receiving", "working"))


def test_every_code_has_words_and_a_way_out():
    for code, (what, way_out) in CODES.items():
        told = tell_apart("READY", 1, codes=[code])
        assert (told.conflict, told.way_out) == (what, way_out)
    assert "code 99" in tell_apart("READY", 1, codes=["99"]).conflict


def test_ages_are_those_of_the_servers_clock():
    now = datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.UTC)
    assert idle_minutes("2026-01-01 12:30:00.0", now, "Europe/Berlin") == 30
    assert idle_minutes("2026-01-01 11:00:00.000", now, "UTC") == 60
    assert idle_minutes("2026-01-01 18:00:00.0", now, "UTC") is None
    assert idle_minutes("", now) is None
    with pytest.raises(InputError, match="no time zone"):
        idle_minutes("2026-01-01 11:00:00", now, "Nowhere/Else")


def test_the_review_says_what_waits_and_changes_nothing(place):
    place.receive("T1", like="007_MR1")
    place.settle()
    with place.connect("member") as connection:
        found = review_prearchive(connection, place.project).set_index("session")
    assert (found.loc["W1", "kind"], found.loc["W1", "files"]) == ("ready", 10)
    assert (found.loc["T1", "kind"], found.loc["T1", "files"]) == ("receiving", 0)
    assert place.writes() == []


def test_a_conflict_is_told_in_words(place, tmp_path):
    place.hold("W1", like="007_MR1")
    with place.connect() as connection:
        row = review_prearchive(connection, place.project).set_index("session").loc["W1"]
    assert row["kind"] == "conflict"
    assert "the archive has a session of this label" in row["conflict"]
    assert "another label" in row["way_out"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"action": "move"}, "to_project"),
        ({"archive": True}, "archive has no meaning here"),
        ({"action": "archive", "proof": "sample:3"}, "not all, prearchive or listing"),
        ({"statuses": "READY"}, "give a list"),
        ({"action": "burn"}, "action"),
    ],
)
def test_parameters_that_do_not_belong_together_are_refused(values, words):
    with pytest.raises(OptionsError, match=words):
        PrearchiveOptions.from_mapping({"destination_project": "P", **values})


# -- archive ----------------------------------------------------------------------------------------------------


def test_archiving_is_proved_file_by_file_and_not_done_twice(place, tmp_path):
    made, result = act(place, tmp_path, action="archive")
    assert (made.totals["sessions"], made.totals["files"]) == (1, 10)
    assert result.exit_code == ExitCode.PROVED
    assert result.counts[Verdict.EQUAL] == 10 == len(result.files)
    assert place.sessions() == {"W1": "T"} and place.rows() == {}
    place.settle()
    second = carried(place, made, tmp_path)
    assert (second.counts, second.exit_code, second.writes) == (result.counts, 0, 0)
    assert place.writes() == []


def test_a_script_of_the_project_changes_headers_and_is_recognised(place, tmp_path):
    place.sql(
        "UPDATE projects SET anon_enabled=1, anon_script=? WHERE id=?",
        script('(0008,0090) := "nobody"\n'),
        place.project,
    )
    _, result = act(place, tmp_path, action="archive")
    assert result.exit_code == ExitCode.PROVED, set(result.files["because"])
    assert result.counts[Verdict.EXPLAINED] == 10


def test_a_row_gets_other_labels_as_it_is_archived(place, tmp_path):
    labels = LabelMap({SessionKey("T", "W1"): SessionKey("P04", "P04_CT1")})
    _, result = act(place, tmp_path, labels=labels, action="archive")
    assert result.exit_code == ExitCode.PROVED
    assert place.sessions() == {"P04_CT1": "P04"} and place.rows() == {}


def test_to_relabel_is_to_archive_what_gets_another_label(place, tmp_path):
    place.wait("T1", like="007_MR1")
    place.settle()
    table = tmp_path / "labels.csv"
    table.write_text("subject,session,to_subject,to_session\nT,W1,P04,P04_CT1\nT,W9,P04,P04_CT9\n")
    made, result = act(place, tmp_path, action="relabel", label_map=str(table))
    assert {one.session: (one.action, one.because) for one in made.sessions} == {
        "W1": ("archive", "nothing is in the way"),
        "T1": ("skip", "it gets no other label"),
    }
    told = {one.rule: one.sentence for one in made.findings}
    assert told["M10"].startswith("XNAT cannot relabel a session that waits; 1 get other labels")
    assert "T/W9" in told["P02"] and made.totals["files"] == 10
    assert result.exit_code == ExitCode.PROVED and len(result.files) == 10
    assert place.sessions() == {"P04_CT1": "P04"} and place.rows() == {"T1": "READY"}
    rule = "session={subject}_{session}"
    _, result = act(place, tmp_path / "rule", action="relabel", sessions=["T1"], label_rule=rule)
    assert result.exit_code == ExitCode.PROVED
    assert place.sessions() == {"P04_CT1": "P04", "T_T1": "T"} and place.rows() == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"action": "relabel"}, "^To relabel, say by label_map .* listed by 'xnbtransfer prearchive --help'."),
        ({"action": "delete", "label_rule": "session={subject}"}, "only as it is archived; choose action relabel"),
        ({"action": "move", "to_project": "Q", "label_map": "labels.csv"}, "choose action relabel"),
    ],
)
def test_labels_are_asked_for_where_they_can_be_given(place, values, words):
    with pytest.raises(OptionsError, match=words):
        chosen(place, **values)


def test_a_label_that_is_taken_is_left_alone_and_another_label_is_the_way_out(place, tmp_path):
    place.hold("X1", "X", "007_MR1")
    place.settle()
    taken = LabelMap({SessionKey("T", "W1"): SessionKey("T", "X1")})
    made, result = act(place, tmp_path, labels=taken, action="archive")
    (change,) = made.sessions
    assert (change.action, change.conflict) == ("skip", "label: other study")
    assert result.exit_code == ExitCode.NEEDS_A_PERSON and not len(result.files)
    assert "taken by another study" in result.open_points[0]
    with pytest.raises(RefusedError, match="taken by another study"):
        act(place, tmp_path / "stop", labels=taken, action="archive", existing="stop")
    assert place.writes() == []


def test_two_rows_on_one_label_are_both_left(place, tmp_path):
    place.wait("T1", like="007_MR1")
    labels = LabelMap({SessionKey("T", "T1"): SessionKey("T", "W1")})
    made, _ = act(place, tmp_path, labels=labels, action="archive")
    assert {change.conflict for change in made.sessions} == {"two sources on one label"}
    assert len(place.rows()) == 2 and place.sessions() == {}


def test_the_same_study_under_another_label_is_left(place, tmp_path):
    place.hold("X1", "X", "006_CT1")
    made, _ = act(place, tmp_path, action="archive")
    assert made.sessions[0].conflict == "same study under another label"


def test_what_changed_after_the_plan_stops_that_row_only(place, tmp_path):
    place.wait("T1", like="007_MR1")
    with place.connect() as connection:
        made = decided(place, connection, action="archive")
        place.wait("W1", like="006_CT1")  # more arrives in the same row
        result = carry_out(made, actions.carrier_of(made, connection, connection), (connection,), folder=tmp_path)
    assert result.exit_code == ExitCode.DIFFERENCES
    state = dict(zip(result.sessions["session"], result.sessions["state"], strict=True))
    assert state == {"W1": "failed", "T1": "archived"}
    assert "changed in the prearchive" in " ".join(result.problems)


def test_scans_of_the_same_study_are_merged_only_if_asked(place, tmp_path):
    place.hold("M1", "T", "007_MR1")
    uri = place.receive("M1", "T", "007_MR1", scan="2")
    with place.connect() as connection:
        connection.build(uri)
    made, _ = act(place, tmp_path, action="archive", sessions=["M1"])
    assert made.sessions[0].conflict == "label: same study"
    _, result = act(place, tmp_path / "merge", action="archive", sessions=["M1"], existing="merge")
    assert result.exit_code == ExitCode.PROVED, result.problems
    with place.connect() as connection:
        (found,) = connection.sessions_with_label(place.project, "M1")
        assert {row["scan"] for row in connection.files([found["session_id"]])} == {"1", "2"}


@pytest.mark.parametrize("existing", ["merge", "replace"])
def test_a_session_that_came_after_the_plan_is_not_archived_over(place, tmp_path, existing):
    """The plan saw nothing under the label, so its row decides nothing about what came there, whatever was asked."""
    place.wait("T1", like="007_MR1")
    with place.connect() as connection:
        labels = LabelMap({SessionKey("T", "W1"): SessionKey("T", "X1")})
        made = decided(place, connection, labels, action="archive", existing=existing)
        assert [step.overwrite for one in made.sessions for step in one.steps] == ["", ""]
        place.hold("X1", "T", "006_CT1")
        (before,) = connection.sessions_with_label(place.project, "X1")
        held = connection.files([before["session_id"]])
        result = carry_out(made, actions.carrier_of(made, connection, connection), (connection,), folder=tmp_path)
        assert connection.files([before["session_id"]]) == held
    assert dict(zip(result.sessions["session"], result.sessions["state"], strict=True))["T1"] == "archived"
    (said,) = result.problems
    assert said.startswith("T/W1: ") and "is no longer as the plan saw it. Plan again." in said
    assert result.exit_code == ExitCode.DIFFERENCES


@pytest.mark.parametrize("change", ["added", "gone", "other bytes"])
def test_what_is_archived_over_is_what_the_row_names(place, tmp_path, change):
    place.hold("M1", "T", "007_MR1")
    with place.connect() as connection:
        connection.build(place.receive("M1", "T", "007_MR1", scan="2"))
        made = decided(place, connection, action="archive", existing="replace", sessions=["M1"])
        (row,) = made.sessions
        assert row.destination_state and [str(step) for step in row.steps] == [
            f"archive to {place.project} as M1 over what is there"
        ]
        (there,) = connection.sessions_with_label(place.project, "M1")
        held = connection.files([there["session_id"]])
        file = next(one for one in held if one["scan"] == "1")
        at = f"{archived_path(there['session_id'], '1')}/resources/DICOM/files/"
        if change == "gone":
            place.request("DELETE", at + file["path"])
        else:
            name = "new.dcm" if change == "added" else file["path"]
            place.request("PUT", at + name, params={"overwrite": "true"}, files={"file": (name, b"others" * 9)})
        result = carry_out(made, actions.carrier_of(made, connection, connection), (connection,), folder=tmp_path)
        assert "is no longer as the plan saw it. Plan again." in result.problems[0], result.problems
        assert place.rows()["M1"] == "READY" and result.exit_code == ExitCode.DIFFERENCES


def test_a_plan_of_an_earlier_version_decides_nothing_about_what_is_there(place, tmp_path):
    """It names neither what was there nor what becomes of it; its file is whole all the same."""
    place.hold("M1", "T", "007_MR1")
    with place.connect() as connection:
        connection.build(place.receive("M1", "T", "007_MR1", scan="2"))
        made = decided(place, connection, action="archive", existing="replace")
        old = json.loads(made.save(tmp_path / "plan.json").read_text())
        for row in old["sessions"]:
            row.pop("destination_state", None)
            for step in row["steps"]:
                step.pop("overwrite", None)
        del old["fingerprint"]
        body = json.dumps(old, sort_keys=True, ensure_ascii=True).encode()
        old["fingerprint"] = hashlib.sha256(body).hexdigest()
        (tmp_path / "old.json").write_text(json.dumps(old))
        made = ChangePlan.load(tmp_path / "old.json")
        result = carry_out(made, actions.carrier_of(made, connection, connection), (connection,), folder=tmp_path)
        (said,) = result.problems
        assert said.startswith("T/M1: ") and "is no longer as the plan saw it" in said
    assert place.sessions()["W1"] == "T"


LOST = [("no-answer-after", 1), ("500-after", 1), ("503", 2), ("expire-sessions", 2), ("reset-before", 2)]


@pytest.mark.parametrize(("fault", "most"), LOST)
def test_a_lost_answer_to_an_archiving_is_looked_up(place, tmp_path, fault, most):
    place.server.faults(
        [{"fault": fault, "method": "POST", "path": "/data/services/archive", "times": 1, "retry_after_s": 0}]
    )
    _, result = act(place, tmp_path, action="archive")
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert result.counts[Verdict.EQUAL] == 10
    assert place.sessions() == {"W1": "T"}
    assert len([one for one in place.writes() if one["path"] == "/data/services/archive"]) <= most


def test_an_archiving_that_fails_is_not_called_done(place, tmp_path):
    place.server.faults([{"fault": "500-before", "method": "POST", "path": "/data/services/archive"}])
    _, result = act(place, tmp_path, action="archive")
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.counts[Verdict.NOT_PROVED] == 10
    assert place.rows() == {"W1": "READY"}


# -- rebuild, move, delete --------------------------------------------------------------------------------------


def test_a_row_that_its_sender_left_is_rebuilt(place, tmp_path):
    place.receive("T1", like="007_MR1")
    old(place, "T1")
    with place.connect() as connection:
        found = review_prearchive(connection, place.project).set_index("session")
    assert (found.loc["T1", "kind"], found.loc["T1", "way_out"]) == ("left by its sender", "rebuild it")
    _, result = act(place, tmp_path, action="rebuild", sessions=["T1"])
    assert result.exit_code == ExitCode.PROVED and list(result.sessions["state"]) == ["rebuilt"]
    assert place.rows()["T1"] == "READY"


def test_a_row_that_is_not_built_is_built_and_archived_in_one_plan(place, tmp_path):
    place.receive("T1", like="007_MR1")
    old(place, "T1")
    made, result = act(place, tmp_path, action="archive", sessions=["~^T"])
    assert [step.verb for step in made.sessions[0].steps] == ["rebuild", "archive"]
    assert result.exit_code == ExitCode.PROVED and result.counts[Verdict.EQUAL] == 10


def test_a_row_that_still_receives_is_left(place, tmp_path):
    place.receive("T1", like="007_MR1")
    made, result = act(place, tmp_path, action="rebuild", statuses=["RECEIVING"])
    (change,) = made.sessions
    assert change.action == "later" and "may still arrive" in change.because
    assert result.exit_code == ExitCode.NEEDS_A_PERSON and set(result.sessions["state"]) == {"needs a person"}


def test_a_row_is_moved_and_its_bytes_are_compared(place, tmp_path):
    made, result = act(place, tmp_path, action="move", to_project=place.other)
    assert result.exit_code == ExitCode.PROVED
    assert result.counts[Verdict.EQUAL] == 10
    assert place.rows() == {} and place.rows(place.other) == {"W1": "READY"}
    assert carried(place, made, tmp_path).writes == 0


def test_proof_by_listing_claims_no_more(place, tmp_path):
    _, result = act(place, tmp_path, action="move", to_project=place.other, proof="listing")
    assert result.exit_code == ExitCode.CANNOT_BE_PROVED
    assert result.counts[Verdict.NOT_PROVED] == 10


def test_nothing_is_deleted_before_it_is_typed(place, tmp_path):
    place.wait("T1", like="007_MR1")
    place.settle()
    for typed in ("", "yes", place.project, f"{place.project} 2", f"{place.other} 1"):
        with pytest.raises(RefusedError, match="deletes"):
            act(place, tmp_path, action="delete", sessions=["W1"], confirm=typed)
    assert place.writes() == []
    _, result = act(place, tmp_path, action="delete", sessions=["W1"], confirm=f"{place.project} 1")
    assert list(result.sessions["state"]) == ["deleted"] and result.exit_code == ExitCode.PROVED
    assert set(place.rows()) == {"T1"}


@pytest.mark.parametrize("verb", ["rebuild", "move", "delete"])
@pytest.mark.parametrize(("fault", "most"), [("no-answer-after", 1), ("503", 2), ("expire-sessions", 2)])
def test_a_lost_answer_to_a_service_is_looked_up(place, tmp_path, verb, fault, most):
    place.server.faults([{"fault": fault, "method": "POST", "path": SERVICE, "times": 1, "retry_after_s": 0}])
    more = {"to_project": place.other} if verb == "move" else {}
    _, result = act(place, tmp_path, action=verb, **more)
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert 1 <= len([one for one in place.writes() if one["path"].startswith(SERVICE)]) <= most


def test_one_that_fails_does_not_stop_the_others(place, tmp_path):
    place.wait("T1", like="007_MR1")
    place.server.faults([{"fault": "403", "method": "POST", "path": SERVICE, "item": "W1"}])
    _, result = act(place, tmp_path, action="delete")
    state = dict(zip(result.sessions["session"], result.sessions["state"], strict=True))
    assert state == {"W1": "failed", "T1": "deleted"}
    assert result.exit_code == ExitCode.DIFFERENCES
    assert set(place.rows()) == {"W1"}


def test_a_collaborator_sees_no_prearchive(demo):
    with as_(demo, "collaborator") as connection, pytest.raises(RefusedError):
        review_prearchive(connection, DESTINATION)


def test_a_plan_is_a_file_that_cannot_be_changed_by_hand(place, tmp_path):
    with place.connect() as connection:
        made = decided(place, connection, action="delete")
    path = made.save(tmp_path / "plan.json")
    assert ChangePlan.load(path) == made
    path.write_text(path.read_text().replace('"delete"', '"archive"'))
    with pytest.raises(InputError, match="changed after it was made"):
        ChangePlan.load(path)


def listed(*places: tuple[str, str, str]) -> list[dict]:
    return [
        {"scan": scan, "resource": "DICOM", "path": path, "size_bytes": 3, "md5": md5} for scan, path, md5 in places
    ]


BEFORE = listed(("1", "a", "A"), ("1", "b", "B"), ("2", "a", "C"), ("2", "b", "A"))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (BEFORE, []),
        (listed(("1", "a", "A"), ("1", "b", "B"), ("2-MR1", "a", "C"), ("2-MR1", "b", "A")), []),  # numbered anew
        (listed(("1", "a", "A"), ("2", "b", "B"), ("2", "a", "C"), ("2", "c", "A")), ["1/b"]),
        (listed(("1", "a", "A"), ("1", "b", "B"), ("2", "a", "C")), ["2/b"]),  # one of two files of the same bytes
    ],
)
def test_a_file_that_left_its_scan_on_the_way_is_different(after, told):
    labels = {"subject": "S", "session": "E", "destination_subject": "S", "destination_session": "E"}
    change = Change(kind="row", item="/x", project="P", action="archive", because="", **labels)
    rows = same_files(change, BEFORE, after, "the archive")
    assert [f"{row['scan']}/{row['path']}" for row in rows if row["verdict"] == Verdict.DIFFERENT] == told
    if not told:
        assert len({(row["destination_scan"], row["destination_path"]) for row in rows}) == 4


NO_MD5 = "1.6.4 and 1.7.2 list no MD5 (recorded: F45), so that there the archive is read, and the bit found"


@pytest.mark.parametrize(
    ("proof", "read_in", "different"),
    [
        ("all", "archive", 1),
        pytest.param("prearchive", "prearchive", 0, marks=pytest.mark.needs("1.7", because=NO_MD5)),
    ],
)
def test_what_is_archived_is_read_in_the_archive(place, tmp_path, proof, read_in, different):
    """One bit flips right after archiving, and the server lists the MD5 of before."""
    with place.connect() as connection:
        made = decided(place, connection, action="archive", proof=proof)
        carrier = actions.carrier_of(made, connection, connection)
        prove = carrier.prove

        def flip_and_prove(change, before):
            (path, *_) = sorted((place.server.data / "archive" / place.project).rglob("*.dcm"))
            data = bytearray(path.read_bytes())
            data[-20] ^= 1
            path.unlink()
            path.write_bytes(data)
            return prove(change, before)

        carrier.prove = flip_and_prove
        result = carry_out(made, carrier, (connection,), folder=tmp_path, confirm=made.confirm)
    assert result.counts[Verdict.DIFFERENT] == different
    assert set(result.files["read_in"]) == {read_in}
    if proof == "prearchive":
        assert all("the archive lists the same MD5 and was not read" in because for because in result.files["because"])
