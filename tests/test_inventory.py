"""The inventory: few requests, nothing left out in silence, labels as text on every way."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin import table

from xnbtransfer import forms, xnat
from xnbtransfer.choice import select_sessions
from xnbtransfer.errors import EmptyAnswerError, InputError, NotFoundError, ServerError
from xnbtransfer.inventory import read_inventory, read_inventory_files, write_inventory
from xnbtransfer.options import TransferOptions
from xnbtransfer.server import running
from xnbtransfer.values import (
    FILE_COLUMNS,
    PREARCHIVE_COLUMNS,
    RESOURCE_COLUMNS,
    SCAN_COLUMNS,
    SESSION_COLUMNS,
    Inventory,
    Settings,
    frame,
)
from xnbtransfer.xnat import connect

FRAMES = ("sessions", "scans", "resources", "files", "prearchive")


def made(sessions: list[dict], **more) -> Inventory:
    return Inventory(
        server="https://xnat.example.org",
        project="P",
        user="ada",
        read_at="2026-01-02T03:04:05+00:00",
        settings=Settings(version="1.9.2", prearchive_code=0),
        sessions=frame(sessions, SESSION_COLUMNS),
        scans=frame(more.get("scans", ()), SCAN_COLUMNS),
        resources=frame(more.get("resources", ()), RESOURCE_COLUMNS),
        files=frame(more.get("files", ()), FILE_COLUMNS),
        prearchive=frame(more.get("prearchive", ()), PREARCHIVE_COLUMNS),
        requests=7,
        notes=("a note",),
    )


def chosen(inventory: Inventory, **values) -> list[str]:
    options = TransferOptions.from_mapping({"source_project": "P", "destination_project": "Q", **values})
    return list(select_sessions(inventory, options).sessions["session"])


# -- reading -----------------------------------------------------------------------------------------------------

SESSIONS = [
    {"ID": "X_E1", "label": "001", "subject_label": "0001", "project": "P", "xsiType": "xnat:mrSessionData"},
    {"ID": "X_E2", "label": "1e5", "subject_label": "NA", "project": "P", "xsiType": "xnat:ctSessionData"},
    {"ID": "X_E3", "label": "shared_here", "subject_label": "S3", "project": "P", "xsiType": "xnat:ctSessionData"},
]
PATH = "/data/projects/P/experiments"


OPTIONAL = {
    forms.SCAN_FILES: "2",
    forms.SCAN_BYTES: "20",
    forms.SCAN_MODALITY: "MR",
    forms.SCAN_FORMAT: "DICOM",
    forms.SCAN_TYPE: "xnat:mrScanData",
}
EMPTY = (200, {}, b"")


def script(standin, files: list[dict], refused=(), refusal=EMPTY) -> None:
    """A project of three sessions, the third one shared in; sessions 1 and 2 have a scan of two files each.

    The server refuses a list of scans that is asked for one of the columns ``refused``.
    """
    named = [{**row, "URI": f"/data/experiments/{row['ID']}", "date": "2024-01-02"} for row in SESSIONS]
    owners = ("P", "P", "OTHER")
    detailed = [
        {**row, "session_project": owner, "label": "label at home", "modality": "MR", "UID": f"1.2.{number}"}
        for number, (row, owner) in enumerate(zip(named, owners, strict=True))
    ]
    scans = [
        {"URI": row["URI"], "label": "label at home", "xnat:imagescandata/id": "1", "xnat:imagescandata/type": "T1"}
        | {"xnat:imagescandata/file/label": "DICOM"}
        for row in named[:2]
    ]

    def answer(query: dict) -> tuple[int, dict, bytes]:
        columns = query["columns"][0].split(",")
        if not any("mage" in one for one in columns):
            return 200, {}, table(detailed if "xsiType" in query else named)
        if set(columns) & set(refused):
            return refusal
        more = {name: value for name, value in OPTIONAL.items() if name in columns}
        return 200, {}, table([row | {name.lower(): value for name, value in more.items()} for row in scans])

    standin.answers[PATH] = answer
    for ids in ("X_E1,X_E2,X_E3", "X_E2"):
        standin.answers[f"/data/experiments/{ids}/scans/ALL/files"] = [(200, {}, table(files))]
        standin.answers[f"/data/experiments/{ids}/files"] = [(200, {}, table([]))]
    standin.answers["/data/prearchive/projects/P"] = [(403, {}, b"")]
    standin.answers["/data/projects/P"] = [(200, {}, b'{"items": []}')]
    standin.answers["/data/projects/P/subjects"] = [(200, {}, table([]))]


def listed(session: str, name: str) -> dict:
    uri = f"/data/experiments/{session}/scans/1/resources/77/files/{name}"
    return {"Name": name, "Size": "10", "URI": uri, "collection": "DICOM", "digest": "AA", "file_format": "DICOM"}


def test_labels_are_those_of_this_project_and_keep_their_zeros(connection, standin):
    script(standin, [listed("X_E1", "a.dcm"), listed("X_E1", "b.dcm"), listed("X_E2", "a.dcm"), listed("X_E2", "b")])
    found = read_inventory(connection, "P")
    assert list(found.sessions["session"]) == ["001", "1e5", "shared_here"]
    assert list(found.sessions["subject"]) == ["0001", "NA", "S3"]
    assert list(found.sessions["shared"]) == [False, False, True]
    assert list(found.sessions["project"]) == ["P", "P", "OTHER"]
    assert list(found.sessions["files"]) == [2, 2, 0]
    assert list(found.sessions["size_bytes"]) == [20, 20, 0]
    assert list(found.scans["session"]) == ["001", "1e5"]
    assert list(found.scans["files"]) == [2, 2]
    assert set(found.files["md5"]) == {"aa"}
    assert found.notes == ("P: ada may not see its prearchive.",)


def test_a_session_that_the_server_skips_in_silence_is_noted(connection, standin):
    script(standin, [listed("X_E1", "a.dcm"), listed("X_E1", "b.dcm")])
    notes = read_inventory(connection, "P", prearchive=False).notes
    assert len(notes) == 1 and "NA/1e5" in notes[0] and "0001/001" not in notes[0]


def test_a_session_that_is_listed_in_part_is_noted(connection, standin):
    script(standin, [listed("X_E1", "a.dcm"), listed("X_E2", "a"), listed("X_E2", "b")])
    notes = read_inventory(connection, "P", prearchive=False).notes
    assert len(notes) == 1 and "0001/001" in notes[0] and "fewer" in notes[0]


def asked_of_scans(standin) -> int:
    """How often the scans of the project were asked for."""
    return sum("mage" in query.get("columns", [""])[0] for _, path, query, _ in standin.log if path == PATH)


KEYS = {
    forms.SCAN_FILES: ("files", None),
    forms.SCAN_BYTES: ("size_bytes", None),
    forms.SCAN_MODALITY: ("modality", ""),
    forms.SCAN_FORMAT: ("format", ""),
    forms.SCAN_TYPE: ("xsi_type", ""),
}


@pytest.mark.parametrize("refusal", [EMPTY, (500, {}, b"")], ids=["200 with nothing", "500"])
@pytest.mark.parametrize("refused", [(), *((one,) for one in OPTIONAL), (forms.SCAN_FORMAT, forms.SCAN_TYPE)])
def test_a_column_that_a_server_refuses_costs_no_other(connection, standin, refused, refusal):
    script(standin, [], refused, refusal)
    found = connection.scans("P")
    assert asked_of_scans(standin) <= 1 + bool(refused) * 3
    if not set(refused) & {forms.SCAN_FILES, forms.SCAN_BYTES}:  # these would take a request more
        for column, (key, nothing) in KEYS.items():
            if column == forms.SCAN_MODALITY and forms.SCAN_TYPE not in refused:
                continue  # the type of a scan tells it, too
            assert {row[key] == nothing for row in found} == {column in refused}, column
        assert len(connection.given_up) == len(refused)
    before = asked_of_scans(standin)
    assert connection.scans("P") == found
    assert asked_of_scans(standin) == before + 1, "what it refuses is asked once in a connection"


def test_what_a_server_does_not_list_is_said(connection, standin):
    script(standin, [], [forms.SCAN_FORMAT])
    notes = read_inventory(connection, "P", prearchive=False, files=False).notes
    assert [note for note in notes if "does not list file formats" in note]


@pytest.mark.parametrize("refusal", [EMPTY, (500, {}, b"")], ids=["200 with nothing", "500"])
@pytest.mark.parametrize("scans", [True, False])
def test_a_server_that_does_not_list_whose_subjects_are_is_asked_once_and_that_is_said(
    connection, standin, refusal, scans
):
    script(standin, [])
    served = standin.answers[PATH]

    def whose(query: dict) -> bool:
        return bool(set(query.get("columns", [""])[0].split(",")) & set(forms.SUBJECT_COLUMNS))

    standin.answers[PATH] = lambda query: refusal if whose(query) else served(query)
    notes = read_inventory(connection, "P", prearchive=False, files=False, scans=scans).notes
    assert notes == ("P: the server does not list whose the subjects of sessions are.",)
    connection.sessions("P")
    assert sum(whose(query) for _, path, query, _ in standin.log if path == PATH) == 1


def test_a_list_that_failed_once_is_asked_again_and_gives_nothing_up(connection, standin):
    script(standin, [])
    served, turns = standin.answers[PATH], []
    standin.answers[PATH] = lambda query: EMPTY if turns.append(1) or len(turns) < 2 else served(query)
    found = connection.scans("P")
    assert connection.given_up == () and {row["format"] for row in found} == {"DICOM"}


def test_a_list_that_is_always_empty_names_the_columns_and_no_login(connection, standin, monkeypatch):
    monkeypatch.setattr(xnat, "EMPTY_PAUSE_S", 0)
    standin.answers[PATH] = [EMPTY]
    for ask in (connection.scans, connection.sessions):
        with pytest.raises(EmptyAnswerError, match="with the columns .*label") as caught:
            ask("P")
        assert "no question of your login" in str(caught.value)
    assert standin.logins == 1


def test_a_server_that_refuses_every_list_of_scans_is_no_empty_project(connection, standin):
    standin.answers[PATH] = [(500, {}, b"")]
    with pytest.raises(ServerError):
        connection.scans("P")
    assert standin.sent(PATH) <= 5


# -- labels of subjects that are shared in -----------------------------------------------------------------------


def of_subjects(standin, served: bool = True, renamed: bool = True) -> None:
    """A project with a session of its own subject, one of a subject that is shared in, and one that is shared in.

    ``served`` is whether the server lists whose their subjects are, ``renamed`` whether it names what is shared in as
    it is called here, as 1.8.11 does.
    """
    about = {"modality": "MR", "date": "2024-01-02"}
    rows = [
        {"label": "A1", "subject_label": "A", "project": "P", "session_project": "P"},
        {"label": "P007_MR1", "subject_label": "MRN77231", "project": "P", "session_project": "P"},
        {"label": "at home", "subject_label": "S04", "project": "OTHER", "session_project": "OTHER"},
    ]
    rows = [row | about | {"URI": f"/data/experiments/X_E{number}"} for number, row in enumerate(rows, 1)]
    subjects = [("X_S1", "P"), ("X_S2", "OWNER"), ("X_S3", "OTHER")]
    whose = [{"subject_ID": name, "subject_project": owner} for name, owner in subjects]
    here = {"project": "P", "label": "SH1", "subject_label": "SH"}
    named = [*rows[:2], rows[2] | (here if renamed else {"label": "SH1"})]

    def answer(query: dict) -> tuple[int, dict, bytes]:
        if "xsiType" not in query:
            return 200, {}, table(named)
        if "subject_project" not in query["columns"][0]:
            return 200, {}, table(rows)
        return (200, {}, table([row | more for row, more in zip(rows, whose, strict=True)])) if served else EMPTY

    labels = ("A", "P007", "SH")
    standin.answers[PATH] = answer
    standin.answers["/data/projects/P/subjects"] = lambda query: (
        200,
        {},
        table(
            [
                {"URI": f"/data/subjects/{name}", "label": label, "project": owner}
                for (name, owner), label in zip(subjects, labels, strict=True)
            ]
        ),
    )
    for name, row in (("X_S2", rows[1]), ("X_S3", rows[2])):
        standin.answers[f"/data/projects/P/subjects/{name}/experiments"] = [(200, {}, table([row]))]


@pytest.mark.parametrize("renamed", [True, False], ids=["as 1.8.11", "as 1.6.4"])
@pytest.mark.parametrize("served", [True, False], ids=["whose subjects are is listed", "it is refused"])
def test_a_subject_that_is_shared_in_has_its_label_of_here(connection, standin, served, renamed):
    of_subjects(standin, served, renamed)
    before = connection.requests
    found = {row["session"]: row["subject"] for row in connection.sessions("P")}
    assert found == {"A1": "A", "P007_MR1": "P007", "SH1": "SH"}
    asked = connection.requests - before
    assert asked == 3 if served else asked <= 3 + 3, "sessions, their labels here, and the subjects"


def test_a_subject_that_is_listed_and_not_found_is_an_error(connection, standin):
    of_subjects(standin, served=False)
    del standin.answers["/data/projects/P/subjects/X_S2/experiments"]
    with pytest.raises(ServerError, match="lists the subject X_S2 of P, and does not find it"):
        connection.sessions("P")


def test_whose_subjects_are_is_asked_in_vain_once_in_a_connection(connection, standin):
    of_subjects(standin, served=False)
    first = connection.sessions("P")
    before = sum(path == PATH for _, path, _, _ in standin.log)
    assert connection.sessions("P") == first
    assert sum(path == PATH for _, path, _, _ in standin.log) == before + 2


def test_select_limits_the_file_lists_only(connection, standin):
    script(standin, [listed("X_E2", "a"), listed("X_E2", "b")])
    found = read_inventory(connection, "P", select=lambda row: row["session"] == "1e5", prearchive=False)
    assert list(found.sessions["session"]) == ["001", "1e5", "shared_here"]
    assert set(found.files["session"]) == {"1e5"}
    assert list(found.sessions["files"]) == [2, 2, 0]  # as the server counts, where no list was asked for
    assert standin.sent("/data/experiments/X_E2/scans/ALL/files") == 1
    assert found.notes == ()


def test_an_unknown_project_is_an_input_error(connection):
    with pytest.raises(NotFoundError, match="NO_SUCH"):
        read_inventory(connection, "NO_SUCH")


# -- choosing ----------------------------------------------------------------------------------------------------


@pytest.fixture
def three() -> Inventory:
    return made(
        [
            {"subject": "001", "session": "001_MR1", "modality": "MR", "date": "2024-01-02", "session_id": "E1"},
            {"subject": "1", "session": "1_CT1", "modality": "CT", "date": "2024-03-01", "session_id": "E2"},
            {"subject": "001", "session": "001_MR2", "modality": "MR", "date": "", "session_id": "E3"},
        ],
        scans=[
            {"subject": "001", "session": "001_MR1", "scan": "1", "type": "T1", "quality": "questionable"},
            {"subject": "001", "session": "001_MR1", "scan": "2", "type": "T2", "quality": "usable"},
        ],
        files=[
            {"subject": "001", "session": "001_MR1", "scan": "1", "resource": "DICOM", "path": "a"},
            {"subject": "001", "session": "001_MR1", "scan": "2", "resource": "DICOM", "path": "b"},
        ],
    )


def test_choosing(three):
    assert chosen(three) == ["001_MR1", "1_CT1", "001_MR2"]
    assert chosen(three, subjects=["001"]) == ["001_MR1", "001_MR2"]
    assert chosen(three, sessions=["1_CT1"]) == ["1_CT1"]
    assert chosen(three, sessions=["~_MR[0-9]$"]) == ["001_MR1", "001_MR2"]
    assert chosen(three, modalities=["CT"]) == ["1_CT1"]
    assert chosen(three, date_from="2024-01-01", date_to="2024-02-01") == ["001_MR1"]
    assert chosen(three, subjects=["~^0"]) == ["001_MR1", "001_MR2"]
    assert chosen(three, subjects=["~^0", "1"], modalities=["MR", "CT"]) == ["001_MR1", "1_CT1", "001_MR2"]


def test_choosing_scan_types_takes_their_files_along(three):
    options = TransferOptions.from_mapping({"source_project": "P", "destination_project": "Q", "scan_types": ["T2"]})
    part = select_sessions(three, options)
    assert list(part.scans["scan"]) == ["2"]
    assert list(part.files["path"]) == ["b"]


def test_choosing_by_quality_takes_their_files_along(three):
    options = TransferOptions.from_mapping({"source_project": "P", "destination_project": "Q", "qualities": ["usable"]})
    part = select_sessions(three, options)
    assert list(part.scans["scan"]) == ["2"] and list(part.files["path"]) == ["b"]
    assert list(part.sessions["session"]) == ["001_MR1"] and list(part.sessions["scans"]) == [1]


def test_choosing_by_a_list(three, tmp_path):
    listed = tmp_path / "sessions.csv"
    listed.write_text("session,subject,note\n001_MR2,001,second\n1_CT1,1,\n", encoding="utf-8-sig")
    assert chosen(three, selection=str(listed)) == ["1_CT1", "001_MR2"]
    assert chosen(three, selection=str(listed), modalities=["MR"]) == ["001_MR2"]
    listed.write_text("subject,session\n1,001_MR1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"Line 2 .* names 1/001_MR1, and .* has no such session"):
        chosen(three, selection=str(listed))
    listed.write_text("subject,session\n", encoding="utf-8")
    with pytest.raises(InputError, match="names no session"):
        chosen(three, selection=str(listed))


@pytest.mark.parametrize(
    "values",
    [
        {"subjects": ["01"]},
        {"sessions": ["001_mr1"]},
        {"modalities": ["PT"]},
        {"sessions": ["~^nothing"]},
        {"subjects": ["~nobody"]},
        {"scan_types": ["t1"]},
        {"qualities": ["good"]},
        {"scan_types": ["T1"], "qualities": ["usable"]},
    ],
)
def test_a_choice_that_is_not_there_is_said(three, values):
    with pytest.raises(InputError, match=r"There is no|leaves none|hold no scan of"):
        chosen(three, **values)


# -- files -------------------------------------------------------------------------------------------------------

TEXT = st.one_of(
    st.sampled_from(["001", "1e5", "NA", "nan", "", "None", "TRUE", "0x10", " 1", "1 ", "a,b", 'a"b', "a\nb", "a\rb"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(labels=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), size=st.integers(0, 2**60))
def test_an_inventory_comes_back_from_its_files_as_it_was(tmp_path, labels, size):
    rows = [
        {"subject": a, "session": b, "scan": a, "path": b, "size_bytes": size, "shared": bool(number % 2)}
        for number, (a, b) in enumerate(labels)
    ]
    before = made(rows, scans=rows, files=rows, resources=rows, prearchive=rows)
    after = read_inventory_files(write_inventory(before, tmp_path))
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(before, name), getattr(after, name))
    for field in dataclasses.fields(Inventory):
        if field.name not in FRAMES:
            assert getattr(before, field.name) == getattr(after, field.name)


def test_a_folder_that_is_no_inventory_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no inventory"):
        read_inventory_files(tmp_path)


# -- the embedded server -----------------------------------------------------------------------------------------


def as_(server, role: str = "member"):
    user, password = server.accounts[role]
    return connect(server=server.url, user=user, password=password, prompt=False)


def test_the_demo_project_adds_up(demo_xnat):
    with as_(demo_xnat) as connection:
        found = read_inventory(connection, "DEMO_SOURCE")
    assert found.sessions["files"].sum() == (found.files["scan"] != "").sum() > 0
    assert found.sessions["size_bytes"].sum() == found.files[found.files["scan"] != ""]["size_bytes"].sum()
    assert found.sessions["scans"].sum() == len(found.scans)
    assert found.resources["files"].sum() == len(found.files)
    assert found.requests < 30
    assert any(label.startswith("0") for label in found.sessions["subject"])


def test_requests_do_not_grow_with_the_sessions(demo_xnat):
    with as_(demo_xnat) as connection:
        one = read_inventory(connection, "DEMO_SOURCE", select=lambda row: False)
        all_ = read_inventory(connection, "DEMO_SOURCE")
    assert all_.requests - one.requests <= 2  # one list of scan files, one of session files


@pytest.mark.parametrize("personality", ["1.6", "1.7.2", "1.7", "1.8", "1.9"])
def test_an_inventory_without_shares_asks_for_sessions_once_and_for_no_subject(personality):
    """As many requests as before labels of shared subjects were looked at: lists, and what settings are asked for."""
    with running(demo=True, personality=personality) as server, as_(server) as connection:
        found = read_inventory(connection, "DEMO_SOURCE", settings=False)
        asked = [line["path"] for line in server.log() if line["user"] == connection.user]
    assert len(found.sessions) > 5
    assert asked.count("/data/projects/DEMO_SOURCE/experiments") == 2, "sessions and scans"
    assert not [path for path in asked if "subjects" in path]
    assert found.requests == 5, "sessions, scans, files of scans, other files, prearchive"
