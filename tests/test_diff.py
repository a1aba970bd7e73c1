"""Two inventories side by side: cases as a table, and the laws that hold for any two."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inventories import project, session

from xnbtransfer.dicom import hash_uid
from xnbtransfer.diff import Status, diff
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import plan
from xnbtransfer.values import (
    FILE_COLUMNS,
    SESSION_COLUMNS,
    Inventory,
    frame,
)

A, B = ("1", "a.dcm", "aa"), ("1", "b.dcm", "bb")
CASES = {
    "nothing there": ([session()], [], {}, Status.ONLY_SOURCE, "", "neither its label nor its study"),
    "all MD5s equal": ([session()], [session()], {}, Status.SAME, "", "every MD5 is equal"),
    "subject in another case": ([session()], [session(subject="s1")], {}, Status.SAME, "", "every MD5"),
    "renamed, same bytes": (
        [session(files=[A, B])],
        [session(files=[("1", "x", "bb"), ("1", "y", "aa")])],
        {},
        Status.SAME,
        "",
        "every MD5",
    ),
    "rewritten on import": (
        [session(files=[A, B])],
        [session(files=[("1", "x", "c"), ("1", "y", "d")])],
        {},
        Status.CANNOT_TELL,
        "",
        "rewritten on import, so only a read-back",
    ),
    "no MD5 listed": (
        [session(files=[("1", "a", "")])],
        [session(files=[("1", "a", "")])],
        {},
        Status.CANNOT_TELL,
        "",
        "only a read-back",
    ),
    "a file is missing": ([session(files=[A, B])], [session(files=[A])], {}, Status.DIFFERS, "", "differ"),
    "a scan is missing": (
        [session(files=[A, ("2", "a", "cc")])],
        [session(files=[A])],
        {},
        Status.DIFFERS,
        "",
        "differ",
    ),
    "a scan more there": (
        [session(files=[A])],
        [session(files=[A, ("2", "a", "cc")])],
        {},
        Status.DIFFERS,
        "",
        "differ",
    ),
    "only DICOM counts": (
        [session(files=[A, ("1", "s.gif", "ss", "SNAPSHOTS", "GIF"), ("", "r.csv", "rr", "QC", "CSV")])],
        [session(files=[A])],
        {},
        Status.SAME,
        "",
        "every MD5",
    ),
    "secondary counts": (
        [session(files=[A, ("2", "s.dcm", "ss", "secondary", "DICOM")])],
        [session(files=[A])],
        {},
        Status.DIFFERS,
        "",
        "differ",
    ),
    "other study": ([session()], [session(uid="9")], {}, Status.CONFLICT, "label: other study", "another study"),
    "study not listed": ([session(uid="")], [session(uid="")], {}, Status.CONFLICT, "label: other study", "not listed"),
    "other subject": (
        [session()],
        [session(subject="S2", uid="9")],
        {},
        Status.CONFLICT,
        "label: other subject",
        "another study",
    ),
    "same study, other subject": (
        [session()],
        [session(subject="S2")],
        {},
        Status.CONFLICT,
        "label: other subject",
        "under the subject S2",
    ),
    "other modality": (
        [session()],
        [session(uid="9", modality="CT")],
        {},
        Status.CONFLICT,
        "label: other modality",
        "another study",
    ),
    "same study elsewhere": (
        [session()],
        [session(label="E2")],
        {},
        Status.CONFLICT,
        "same study under another label",
        "as E2",
    ),
    "mapped onto it": (
        [session()],
        [session(label="E2")],
        {SessionKey("S1", "E1"): SessionKey("S1", "E2")},
        Status.SAME,
        "",
        "every MD5",
    ),
    "only case differs": (
        [session()],
        [session(label="e1", uid="9")],
        {},
        Status.CONFLICT,
        "label differs only by case",
        "only by case from e1",
    ),
    "same study under a hashed UID": (
        [session()],
        [session(uid=hash_uid("1.2.3"))],
        {},
        Status.SAME,
        "",
        "every MD5",
    ),
    "shared into the source": (
        [session(shared=True, project="Q")],
        [],
        {},
        Status.ONLY_SOURCE,
        "shared into the source",
        "from project Q",
    ),
    "shared there": (
        [session()],
        [session(shared=True, project="Q")],
        {},
        Status.CONFLICT,
        "label: shared from another project",
        "share from Q",
    ),
}


@pytest.mark.parametrize(("source", "destination", "table", "status", "conflict", "because"), CASES.values(), ids=CASES)
def test_one_session(source, destination, table, status, conflict, because):
    found = diff(project(*source), project(*destination), LabelMap(table))
    row = found.sessions.iloc[0]
    assert (row["status"], row["conflict"]) == (status, conflict)
    assert because in row["because"]
    assert (row["subject"], row["session"]) == ("S1", "E1")


@pytest.mark.parametrize("waiting", [{"session": "E1"}, {"session": "X", "StudyInstanceUID": "1.2.3"}])
def test_a_session_in_the_prearchive_is_a_conflict(waiting):
    row = diff(project(session()), project(waiting=[waiting | {"status": "READY"}])).sessions.iloc[0]
    assert (row["status"], row["conflict"]) == (Status.CONFLICT, "waiting in the prearchive")
    assert "READY" in row["because"]


def test_a_session_without_a_study_does_not_meet_another_without_one():
    waiting = [{"session": "X", "status": "READY"}]
    row = diff(project(session(uid="")), project(session("E2", uid=""), waiting=waiting)).sessions.iloc[0]
    assert row["status"] == Status.ONLY_SOURCE


def test_two_sources_on_one_label():
    labels = LabelMap({SessionKey("S1", "E2"): SessionKey("S1", "E1")})
    found = diff(project(session(), session("E2", "4.5")), project(session()), labels)
    assert list(found.sessions["conflict"]) == ["two sources on one label"] * 2 + [""]
    assert len(found.files) == 2


def test_scans_say_what_is_missing():
    found = diff(
        project(session(files=[A, B, ("2", "a", "cc"), ("3", "a", "dd")])),
        project(session(files=[A, ("3", "z", "zz"), ("4", "a", "ee")])),
    ).scans
    assert dict(zip(found["scan"], found["status"], strict=True)) == {
        "1": "differs",
        "2": "only source",
        "3": "cannot tell",
        "4": "only destination",
    }
    assert found["files_source"].sum() == 4 and found["files_destination"].sum() == 3


def test_two_empty_projects():
    found = diff(project(), project())
    assert found.sessions.empty and found.scans.empty and found.files.empty
    assert "status" in found.files and "status" in found.scans


MD5 = st.sampled_from(["", "aa", "bb", "cc"])
FILES = st.dictionaries(
    st.tuples(st.sampled_from(["E1", "E2"]), st.sampled_from("12"), st.sampled_from("abcd")), MD5, max_size=8
)


def inventory_of(files, uid=str):
    labels = sorted({key[0] for key in files})
    return project(
        *(
            session(
                label, uid(label), files=[(scan, path, md5) for (s, scan, path), md5 in files.items() if s == label]
            )
            for label in labels
        )
    )


@settings(max_examples=60, deadline=None)
@given(FILES)
def test_a_project_is_the_same_as_itself(files):
    files = {key: md5 or "dd" for key, md5 in files.items()}
    found = diff(inventory_of(files), inventory_of(files))
    for table in (found.sessions, found.scans, found.files):
        assert set(table["status"]) <= {"same"}
    assert len(found.files) == len(files)


@settings(max_examples=50, deadline=None)
@given(FILES, FILES)
def test_every_file_is_there_once_and_both_ways_agree(here, there):
    found, back = diff(inventory_of(here), inventory_of(there)), diff(inventory_of(there), inventory_of(here))
    assert max(len(here), len(there)) <= len(found.files) <= len(here) + len(there)
    counts = found.files["status"].value_counts().to_dict()
    other = back.files["status"].value_counts().to_dict()
    assert len(here) == len(found.files) - counts.get("only destination", 0)
    assert len(there) == len(found.files) - counts.get("only source", 0)
    turned = {"only source": "only destination", "only destination": "only source"}
    assert counts == {turned.get(status, status): count for status, count in other.items()}
    assert found.sessions["status"].value_counts().to_dict() == {
        turned.get(status, status): count for status, count in back.sessions["status"].value_counts().items()
    }
    assert found.scans[["files_source", "files_destination"]].sum().tolist() == [len(here), len(there)]
    # whatever bytes are on both sides of a scan are found there, whatever their names
    for status, same in zip(found.scans["status"], found.scans["files_source"], strict=True):
        assert status != "same" or same > 0


def test_ten_thousand_sessions():
    """About a second; a loop over sessions x sessions would take many minutes."""
    files = {
        (f"E{n}", str(scan), f"{i}.dcm"): f"{n}{scan}{i}" for n in range(10_000) for scan in (1, 2) for i in (1, 2)
    }
    rows = [
        {"subject": "S", "session": s, "scan": scan, "path": path, "md5": md5, "resource": "DICOM", "format": "DICOM"}
        for (s, scan, path), md5 in files.items()
    ]
    labels = [{"subject": "S", "session": f"E{n}", "StudyInstanceUID": f"1.{n}"} for n in range(10_000)]
    big = project()
    big = Inventory(**{**big.__dict__, "sessions": frame(labels, SESSION_COLUMNS), "files": frame(rows, FILE_COLUMNS)})
    found = diff(big, big)
    assert set(found.sessions["status"]) == {"same"}


def test_a_session_without_files_can_be_planned():
    empty, other = project(session(files=())), project()
    options = TransferOptions.from_mapping({"source_project": "P", "destination_project": "Q"})
    made = plan(empty, dataclasses.replace(other, project="Q"), options)
    assert [(row.action, row.because) for row in made.sessions] == [
        ("skip", "it holds no DICOM scan that an import could carry")
    ]
