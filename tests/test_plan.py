"""Laws of a plan for any two projects: nothing twice, nothing lost, nothing touched that was not asked for."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inventories import project, session

from xnbtransfer.errors import InputError
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import SENDS, destination_states, plan
from xnbtransfer.values import Inventory

LABELS = ["E1", "E2", "e1", "E3", "001", "1", "E4", "E5", "E6", "E7"]
SUBJECTS = ["S1", "S2", "s1", "01"]
STUDIES = ["", "1.2", "1.3", "1.4", *(f"2.{number}" for number in range(9))]
FILES = st.lists(
    st.tuples(st.sampled_from("12"), st.sampled_from(["a.dcm", "b.dcm"]), st.sampled_from(["", "aa", "bb"])),
    min_size=1,
    max_size=3,
    unique_by=lambda file: file[:2],
)
SESSIONS = st.lists(
    st.tuples(
        st.sampled_from(LABELS),
        st.sampled_from(STUDIES),
        st.sampled_from(SUBJECTS),
        FILES,
        st.sampled_from(["MR", "CT"]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one[0],
)
WAITING = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(STUDIES), st.sampled_from(["READY", "CONFLICT", "ERROR"])),
    max_size=2,
)
EXISTING = st.sampled_from(["skip", "merge", "replace", "rename", "stop"])
MAPS = st.dictionaries(st.sampled_from(LABELS), st.sampled_from(LABELS), max_size=2)


def side(name: str, sessions, waiting=()) -> Inventory:
    made = [session(label, uid, subject, files, modality=kind) for label, uid, subject, files, kind in sessions]
    rows = [{"subject": "W", "session": label, "StudyInstanceUID": uid, "status": s} for label, uid, s in waiting]
    return dataclasses.replace(project(*made, waiting=rows), project=name)


def options(**values) -> TransferOptions:
    return TransferOptions.from_mapping({"source_project": "P", "destination_project": "Q", "archive": True, **values})


def planned(here, there, waiting=(), renamed=None, **values):
    source = side("P", here)
    keys = [SessionKey(one[2], one[0]) for one in here]
    labels = LabelMap({key: SessionKey(key.subject, (renamed or {}).get(key.session, key.session)) for key in keys})
    return plan(source, side("Q", there, waiting), options(**values), labels=labels)


def any_plan(here, there, waiting, renamed, existing):
    """A plan, or None where it is refused: for two sessions on one label, or for none at all."""
    try:
        return planned(here, there, waiting, renamed, existing=existing)
    except InputError:
        targets = Counter((renamed or {}).get(one[0], one[0]) for one in here)
        assert not here or max(targets.values()) > 1
        return None


@st.composite
def both_sides(draw):
    """Two projects, of which the destination has some of the sessions already, perhaps not all of their files."""
    here, others = draw(SESSIONS), draw(st.one_of(st.just([]), SESSIONS))
    again = [one for one in here if draw(st.integers(0, 3)) == 0]
    again = [(*one[:3], one[3][: draw(st.integers(1, 3))], one[4]) for one in again]
    known = {one[0] for one in again}
    return here, [*again, *(one for one in others if one[0] not in known)]


ANY = given(both_sides(), WAITING, MAPS, EXISTING)


@settings(max_examples=60, deadline=None)
@ANY
def test_every_session_has_one_row_and_what_is_sent_adds_up(sides, waiting, renamed, existing):
    here, there = sides
    made = any_plan(here, there, waiting, renamed, existing)
    if made is None:
        return
    assert Counter(row.key for row in made.sessions) == Counter(SessionKey(one[2], one[0]) for one in here)
    files = {(one[2], one[0]): one[3] for one in here}
    sent = [row for row in made.sessions if row.action in SENDS]
    for row in made.sessions:
        assert row.because, "each row says why"
        carried = sum(scan.files for scan in row.sent_scans)
        assert carried <= len(files[row.key]) and (row.action in SENDS) == bool(row.sent_scans)
    scans = [scan for row in sent for scan in row.sent_scans]
    assert made.totals["sessions"] == len(sent) and made.totals["scans"] == len(scans)
    assert made.totals["files"] == sum(scan.files for scan in scans)
    assert made.totals["size_bytes"] == sum(scan.size_bytes for scan in scans) == 10 * made.totals["files"]


@settings(max_examples=60, deadline=None)
@ANY
def test_nothing_goes_where_something_is_unless_its_row_says_so(sides, waiting, renamed, existing):
    here, there = sides
    made = any_plan(here, there, waiting, renamed, existing)
    if made is None:
        return
    labels = {one[0]: one for one in there}
    studies = {one[1] for one in there} - {""}
    in_the_way = {label for label, _, _ in waiting}, {uid for _, uid, _ in waiting} - {""}
    for row in made.sessions:
        if row.action == "copy":
            assert row.destination_session not in labels and row.destination_session not in in_the_way[0], row
            if existing != "rename":
                assert row.StudyInstanceUID not in studies and row.StudyInstanceUID not in in_the_way[1], row
        elif row.action in ("merge", "replace"):
            assert row.action == existing
            label, uid, subject, _, _ = labels[row.destination_session]
            assert uid == row.StudyInstanceUID != "" and subject.casefold() == row.destination_subject.casefold(), row
    goes = Counter(row.destination_session.casefold() for row in made.sessions if row.action in SENDS)
    assert all(count == 1 for count in goes.values()), "two sessions would become one"
    assert bool(made.blockers) >= any(row.action == "stop" for row in made.sessions)


@settings(max_examples=60, deadline=None)
@ANY
def test_the_order_in_which_a_server_lists_changes_nothing(sides, waiting, renamed, existing):
    here, there = sides
    made = any_plan(here, there, waiting, renamed, existing)
    turned = any_plan(here[::-1], there[::-1], waiting[::-1], renamed, existing)
    assert (made is None) == (turned is None)
    if made is not None:
        def told(one):
            return {(r.key, r.to, r.action, r.conflict, r.source_state, r.destination_state) for r in one.sessions}

        assert told(made) == told(turned) and made.totals == turned.totals
        assert set(made.blockers) == set(turned.blockers)


@settings(max_examples=60, deadline=None)
@given(SESSIONS, WAITING, st.sampled_from(LABELS), st.sampled_from(STUDIES))
def test_the_state_of_a_destination_is_that_of_what_could_meet_a_session(there, waiting, label, uid):
    def state(sessions, rows):
        return destination_states(side("Q", sessions, rows))(SessionKey("S1", label), uid)

    def near(found):
        return [one for one in found if one[0] == label or (uid and one[1] == uid)]

    before = state(there, waiting)
    assert before == state(near(there), near(waiting)) == state(there[::-1], waiting[::-1])
    assert bool(before) == bool(near(there) or near(waiting))
    for at in near(there):
        assert state([one for one in there if one != at], waiting) != before
        more = (*at[:3], [*at[3], ("9", "new.dcm", "cc")], at[4])
        assert state([more if one == at else one for one in there], waiting) != before
    for at in near(waiting):
        assert state(there, [one for one in waiting if one != at]) != before


@settings(max_examples=20, deadline=None)
@ANY
def test_a_plan_comes_back_as_it_was(tmp_path_factory, sides, waiting, renamed, existing):
    here, there = sides
    made = any_plan(here, there, waiting, renamed, existing)
    if made is None:
        return
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    made.save(path)
    assert type(made).load(path) == made
    text = path.read_text(encoding="utf-8")
    for old, new in (('"skip"', '"copy"'), ('"copy"', '"replace"'), ('"E1"', '"E9"')):
        if old in text:
            path.write_text(text.replace(old, new), encoding="utf-8")
            with pytest.raises(InputError):
                type(made).load(path)
