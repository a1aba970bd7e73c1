"""What goes beside an import: resources, fields, and whole sessions by the files door. Byte for byte, and proved."""

from __future__ import annotations

import hashlib
import io
import json

import pydicom
import pytest
from archive_kit import Kit, logged
from people import Person
from roads import WRITES, as_
from which_xnat import has

from xnbtransfer import server as embedded
from xnbtransfer.errors import ExitCode, RefusedError
from xnbtransfer.fields import prove_fields
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import Plan
from xnbtransfer.plan_file import LEASE
from xnbtransfer.preparing import prepare
from xnbtransfer.resources import is_wanted, made_by
from xnbtransfer.transfer import run
from xnbtransfer.values import Verdict
from xnbtransfer.verify import verify


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def kit(server):
    """A subject with two sessions, each level with a resource of its own."""
    found = Kit(lambda role: Person(server, role))
    for session in ("E1", "E2"):
        found.put(found.source, "S1", session, found.uid(session), scans=(1, 2))
    project = f"/data/projects/{found.source}"
    subject = f"{project}/subjects/S1"
    for place, label, names in (
        (project, "PROTOCOL", ["protocol.pdf"]),
        (subject, "CONSENT", ["form.txt", "signed/form.txt"]),
        (f"{subject}/experiments/E1", "BIDS", ["dataset_description.json", "sub-1/anat/t1.json"]),
        (f"{subject}/experiments/E1", "NOTES", ["notes.txt"]),
        (f"{subject}/experiments/E1/scans/1", "NIFTI", ["1.nii.gz"]),
        (f"{subject}/experiments/E2", "NOTES", ["notes.txt"]),
    ):
        for name in names:
            data = {"file": (name, f"{place} {name}".encode())}
            assert found.who.put(f"{place}/resources/{label}/files/{name}", files=data).status_code == 200
    server.faults([])
    yield found
    server.faults([])


def planned(server, kit, **values):
    both = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    options = TransferOptions.from_mapping({**both, **values})
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return prepare(source, destination, options)


def carried_out(server, made, folder):
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        return run(made, source, destination, folder=folder)


def writes(server, since=0):
    skip = ("/data/services/auth", "/data/JSESSION", "/_faults", "/data/services/validate-archive")
    sent = [one for one in server.log()[since:] if one["method"] in WRITES and not one["path"].startswith(skip)]
    return [one for one in sent if LEASE not in one["path"]]


def held(kit, project, *places):
    """Level, label and path to MD5, of the resources of a project, a subject S1 and its sessions."""
    subject = f"/data/projects/{project}/subjects/S1"
    found = {}
    for place in (f"/data/projects/{project}", subject, *(f"{subject}/experiments/{one}" for one in places)):
        for row in kit.who.files(f"{place}/files"):
            found[(place.replace(project, "P"), row["collection"], row["URI"].partition("/files/")[2])] = row["digest"]
    return found


def dicom(kit, project):
    """Session to (scan, name, MD5) of its DICOM files."""
    return {label: [one for one in files if one[1].endswith(".dcm")] for label, files in kit.files(project).items()}


@pytest.mark.parametrize("row", ["form.txt", "signed/form.txt"], ids=["an empty list", "a short list"])
@pytest.mark.parametrize(
    ("place", "label", "names"),
    [
        ("subjects/S1/files", "CONSENT", ["form.txt", "signed/form.txt"]),
        ("files", "PROTOCOL", ["form.txt", "signed/form.txt"]),
    ],
    ids=["subject", "project"],
)
def test_a_chosen_resource_that_a_list_has_lost_blocks(server, kit, place, label, names, row):
    """What the list of files lacks is in no plan, so nothing later would miss it."""
    at = f"/data/projects/{kit.source}/{place.removesuffix('files')}resources/{label}/files"
    for name in names:
        kit.who.put(f"{at}/{name}", files={"file": (name, name.encode())})
    server.faults([{"fault": "rows-left-out", "method": "GET", "path": f"/{kit.source}/{place}$", "row": row}])
    made = planned(server, kit, resources=[label])
    (said,) = [one.sentence for one in made.findings if one.rule == "P20"]
    assert f"in {label} of" in said and "by its server's own count" in said
    assert made.blockers
    server.faults([])
    assert not [one for one in planned(server, kit, resources=[label]).findings if one.rule == "P20"]


def test_nothing_is_carried_unless_it_is_named(server, kit, tmp_path):
    made = planned(server, kit)
    assert made.resources == ()
    left = {one.resource for one in made.left_behind if one.kind == "resource"}
    assert left == {"BIDS", "NOTES", "NIFTI", "CONSENT", "PROTOCOL"}
    assert "run the pipeline again" in next(one.advice for one in made.left_behind if one.resource == "BIDS")
    assert "P07" in {one.rule for one in made.findings}
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED
    assert held(kit, kit.destination, "E1", "E2") == {}


def test_resources_of_every_level_arrive_and_are_proved(server, kit, tmp_path):
    made = planned(server, kit, resources=["*"])
    assert made.blockers == ()
    assert {(one.level, one.resource, one.action) for one in made.resources} == {
        ("project", "PROTOCOL", "send"),
        ("subject", "CONSENT", "send"),
        ("session", "BIDS", "send"),
        ("session", "NOTES", "send"),
        ("scan", "NIFTI", "send"),
    }
    assert next(one.because for one in made.resources if one.resource == "BIDS").endswith("output of BIDS raw data")
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert held(kit, kit.destination, "E1", "E2") == held(kit, kit.source, "E1", "E2")
    rows = result.files[result.files["resource"] != "DICOM"]
    assert len(rows) == 8 and set(rows["verdict"]) == {"equal"}
    assert sum(result.counts.values()) == len(result.files) == made.totals["files"] + made.totals["resource_files"]
    assert result.sessions["files"].sum() == len(result.files)
    above = result.sessions[result.sessions["session"] == ""]
    assert list(above["state"]) == ["carried", "carried"]
    before = logged(server)
    again = carried_out(server, made, tmp_path)
    assert writes(server, before) == [] and again.counts == result.counts
    second = planned(server, kit, resources=["*"])
    assert {one.action for one in second.resources} == {"leave"} and second.totals["files"] == 0


def test_verified_years_later(server, kit, tmp_path):
    made = planned(server, kit, resources=["session/NOTES", "subject/*"])
    carried_out(server, made, tmp_path)
    where = f"/data/projects/{kit.destination}/subjects/S1"
    with as_(server, "owner") as destination:
        for proof, code in (("all", ExitCode.PROVED), ("listing", ExitCode.CANNOT_BE_PROVED)):
            assert verify(made, tmp_path / "journal.jsonl", destination, proof=proof).exit_code == code
        path = f"{where}/resources/CONSENT/files/form.txt"
        kit.who.put(path, params={"overwrite": "true"}, files={"file": ("form.txt", b"forged")})
        for proof in ("all", "listing"):
            found = verify(made, tmp_path / "journal.jsonl", destination, proof=proof)
            assert found.counts[Verdict.DIFFERENT] == 1 and found.exit_code == ExitCode.DIFFERENCES
        assert kit.who.delete(f"{where}/experiments/E1", params={"removeFiles": "true"}).status_code == 200
        found = verify(made, tmp_path / "journal.jsonl", destination)
        lost = found.files[(found.files["session"] == "E1") & (found.files["resource"] == "NOTES")]
        assert set(lost["verdict"]) == {"different"} and "not in the archive" in lost["because"].iloc[0]


def test_what_is_there_stays_unless_the_plan_says_otherwise(server, kit, tmp_path):
    carried_out(server, planned(server, kit, resources=["CONSENT"]), tmp_path / "first")
    where = f"/data/projects/{kit.destination}/subjects/S1/resources/CONSENT/files"
    kit.who.put(f"{where}/form.txt", params={"overwrite": "true"}, files={"file": ("form.txt", b"mine")})
    assert kit.who.delete(f"{where}/signed/form.txt").status_code == 200
    made = planned(server, kit, resources=["CONSENT"])
    (row,) = made.resources
    assert row.action == "leave" and "1 files missing, 1 differ" in row.because
    made = planned(server, kit, resources=["CONSENT"], existing="merge")
    assert made.resources[0].action == "add"
    found = carried_out(server, made, tmp_path / "merge").files
    assert dict(zip(found["path"], found["verdict"], strict=True)) == {
        "form.txt": "different",
        "signed/form.txt": "equal",
    }
    made = planned(server, kit, resources=["CONSENT"], existing="replace", sessions=["E1"])
    assert made.resources[0].action == "replace"
    result = carried_out(server, made, tmp_path / "replace")
    assert set(result.files[result.files["resource"] == "CONSENT"]["verdict"]) == {"equal"}


def test_a_resource_that_changed_since_the_plan_is_not_sent_and_the_others_are(server, kit, tmp_path):
    made = planned(server, kit, resources=["*"])
    path = f"/data/projects/{kit.source}/resources/PROTOCOL/files/protocol.pdf"
    kit.who.put(path, params={"overwrite": "true"}, files={"file": ("protocol.pdf", b"a new version")})
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.DIFFERENCES
    assert "PROTOCOL of the project is no longer at the source as the plan saw it" in result.problems[0]
    bad = result.files[result.files["verdict"] != "equal"]
    assert set(bad[~bad["resource"].isin(["DICOM"])]["resource"]) == {"PROTOCOL"}


def test_a_resource_that_was_named_and_that_nothing_has_needs_a_person(server, kit, tmp_path):
    """A pattern may meet nothing; a label that is wrong by a letter is not called done."""
    result = carried_out(server, planned(server, kit, resources=["NOTES", "BIDZ", "scan/NIFTY", "scan/~^X"]), tmp_path)
    assert result.exit_code == ExitCode.NEEDS_A_PERSON
    found = "nothing that was selected has it"
    assert result.open_points == (f"The resource BIDZ: {found}", f"The resource scan/NIFTY: {found}")
    assert set(result.files["verdict"]) <= {"equal", "changed as explained"}


def test_in_the_prearchive_there_is_no_place_for_them(server, kit, tmp_path):
    made = planned(server, kit, resources=["NOTES"], archive=False)
    with pytest.raises(RefusedError, match="wait in the prearchive"):
        carried_out(server, made, tmp_path)
    assert planned(server, kit, resources=["project/*"], archive=False).blockers == ()


UPLOADS = {"method": "POST", "path": "/resources/[A-Z]+/files$"}


def test_cut_off_it_goes_on_where_it_stopped(server, kit, tmp_path):
    made = planned(server, kit, resources=["*"], workers=1)
    server.faults([{"fault": "503", "retry_after_s": 0, "times": 40, "after": 2, **UPLOADS}])
    first = carried_out(server, made, tmp_path)
    assert first.exit_code == ExitCode.TRANSIENT
    server.faults([])
    since = logged(server)
    second = carried_out(server, made, tmp_path)
    assert second.exit_code == ExitCode.PROVED, second.problems
    assert held(kit, kit.destination, "E1", "E2") == held(kit, kit.source, "E1", "E2")
    assert all(one["path"].endswith("/files") for one in writes(server, since)), "no scan is sent twice"
    assert len(writes(server, since)) == 4


@pytest.mark.parametrize(
    ("level", "label", "chosen", "wanted"),
    [
        ("session", "BIDS", ["BIDS"], True),
        ("session", "BIDS", ["session/BIDS"], True),
        ("session", "BIDS", ["project/BIDS"], False),
        ("scan", "NIFTI", ["scan/*"], True),
        ("scan", "NIFTI", ["~^NIF"], True),
        ("scan", "NIFTI", ["nifti"], False),
        ("subject", "a/b", ["a/b"], True),
        ("subject", "X", [], False),
    ],
)
def test_resources_are_chosen_by_label(level, label, chosen, wanted):
    assert is_wanted(level, label, chosen) is wanted


def test_known_outputs_are_named():
    assert (made_by("SNAPSHOTS"), made_by("mriqc_reports"), made_by("NOTES")) == ("XNAT itself", "MRIQC", "")


# -- fields ---------------------------------------------------------------------------------------------------------

SECRET = {"gender": "female", "note": "walks with a stick", "visit": "baseline of spring"}


def with_fields(kit):
    subject = f"/data/projects/{kit.source}/subjects/S1"
    custom = "xnat:mrSessionData/fields/field[name=visit]/field"
    assert kit.who.put(subject, params={"gender": SECRET["gender"], "handedness": "left"}).status_code == 200
    values = {"xnat:mrSessionData/note": SECRET["note"], custom: SECRET["visit"]}
    assert kit.who.put(f"{subject}/experiments/E1", params=values).status_code == 200


def test_fields_are_carried_by_name_and_their_values_are_nowhere_written_down(server, kit, tmp_path):
    with_fields(kit)
    chosen = ["subject/gender", "session/note", "session/field:*"]
    made = planned(server, kit, fields=chosen)
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED, (result.problems, result.files["because"].unique())
    rows = result.files[result.files["resource"] == "(fields)"]
    assert set(rows["path"]) == {"subject/gender", "session/note", "session/field:visit"}
    where = f"/data/projects/{kit.destination}/subjects/S1"
    shown = json.dumps([kit.who.get(p, params={"format": "json"}).json() for p in (where, f"{where}/experiments/E1")])
    assert all(value in shown for value in SECRET.values()) and "left" not in shown
    told = made.to_json() + (tmp_path / "journal.jsonl").read_text() + result.files.to_csv() + result.sessions.to_csv()
    assert not [value for value in SECRET.values() if value in told]
    queries = "".join(one["query"] for one in writes(server) if kit.destination in one["path"])
    if has("forms-are-read"):  # else there is no other way
        assert "stick" not in queries and "spring" not in queries
    since = logged(server)
    carried_out(server, made, tmp_path)
    assert writes(server, since) == []
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        assert verify(made, tmp_path / "journal.jsonl", destination, source).exit_code == ExitCode.PROVED
        assert verify(made, tmp_path / "journal.jsonl", destination).exit_code == ExitCode.PROVED, "by digests"
        assert prove_fields(made, rows.to_dict("records"), None, destination, {})[0]["verdict"] == "cannot be proved"
        kit.who.put(f"{where}/experiments/E1", params={"xnat:mrSessionData/note": "runs"})
        found = verify(made, tmp_path / "journal.jsonl", destination, source)
        assert found.counts[Verdict.DIFFERENT] == 1
        found = verify(made, tmp_path / "journal.jsonl", destination)
        (bad,) = found.files[found.files["verdict"] == "different"].itertuples()
        assert (bad.path, bad.because) == ("session/note", "its value is not the one that was carried")


def test_a_value_that_the_destination_has_stays(server, kit, tmp_path):
    with_fields(kit)
    where = f"/data/projects/{kit.destination}/subjects/S1"
    assert kit.who.put(where, params={"gender": "male"}).status_code == 201
    result = carried_out(server, planned(server, kit, fields=["subject/*", "session/nte"]), tmp_path)
    assert [message for message in result.messages if "session/nte" in message and "subject" not in message]
    assert result.exit_code == ExitCode.NEEDS_A_PERSON
    assert result.open_points == (
        "The field subject/gender of S1: the destination has another value",
        "The field session/nte: nothing that was selected has it",
    )
    assert set(result.files[result.files["resource"] == "(fields)"]["path"]) == {"subject/handedness"}
    assert '"male"' in kit.who.get(where, params={"format": "json"}).text


def test_what_is_written_over_is_what_the_plan_saw(server, kit, tmp_path):
    """``existing=replace`` replaces the value of the row, and no other that came meanwhile; the other rows go on."""
    with_fields(kit)
    where = f"/data/projects/{kit.destination}/subjects/S1"
    assert kit.who.put(where, params={"gender": "male"}).status_code == 201
    made = planned(server, kit, fields=["subject/gender", "subject/handedness"], existing="replace")
    assert {row.name: (row.action, bool(row.destination_state)) for row in made.field_rows} == {
        "subject/gender": ("replace", True),
        "subject/handedness": ("write", False),
    }
    assert "male" not in made.to_json() and "left" not in [row.source_state for row in made.field_rows]
    assert kit.who.put(where, params={"gender": "unknown"}).status_code == 200
    result = carried_out(server, made, tmp_path / "changed")
    rows = result.files[result.files["resource"] == "(fields)"].set_index("path")
    assert rows.loc["subject/handedness", "verdict"] == "equal" and result.exit_code == ExitCode.DIFFERENCES
    assert rows.loc["subject/gender", "because"] == (
        "The field subject/gender of S1 is no longer at the destination as the plan saw it. Plan again."
    )
    assert '"unknown"' in kit.who.get(where, params={"format": "json"}).text
    made = planned(server, kit, fields=["subject/gender"], existing="replace")
    result = carried_out(server, made, tmp_path / "again")
    assert result.exit_code == ExitCode.PROVED, result.files["because"].unique()
    assert '"female"' in kit.who.get(where, params={"format": "json"}).text


@pytest.mark.parametrize("existing", ["skip", "replace"])
def test_a_value_that_came_after_the_plan_stays(server, kit, tmp_path, existing):
    with_fields(kit)
    made = planned(server, kit, fields=["subject/gender"], existing=existing)
    where = f"/data/projects/{kit.destination}/subjects/S1"
    assert kit.who.put(where, params={"gender": "male"}).status_code == 201
    result = carried_out(server, made, tmp_path)
    (row,) = result.files[result.files["resource"] == "(fields)"].itertuples()
    assert row.verdict == "different" and "no longer at the destination as the plan saw it" in row.because
    assert '"male"' in kit.who.get(where, params={"format": "json"}).text


def test_a_field_that_changed_at_the_source_is_not_carried(server, kit, tmp_path):
    with_fields(kit)
    made = planned(server, kit, fields=["session/note", "session/field:visit"], sessions=["E1"])
    path = f"/data/projects/{kit.source}/subjects/S1/experiments/E1"
    assert kit.who.put(path, params={"xnat:mrSessionData/note": "another"}).status_code == 200
    result = carried_out(server, made, tmp_path)
    rows = result.files[result.files["resource"] == "(fields)"].set_index("path")
    assert rows.loc["session/note", "because"].endswith("is no longer as the plan saw it. Plan again.")
    assert rows.loc["session/field:visit", "verdict"] == "equal"
    shown = kit.who.get(path.replace(kit.source, kit.destination), params={"format": "json"}).text
    assert "another" not in shown and SECRET["note"] not in shown


def test_of_subjects_that_are_joined_one_has_its_fields_carried_and_the_others_are_named(server, kit, tmp_path):
    """The destination has the value of one of them, and the run is not called done."""
    with_fields(kit)
    kit.put(kit.source, "S2", "E3", kit.uid("E3"), scans=(1,))
    other = f"/data/projects/{kit.source}/subjects/S2"
    assert kit.who.put(other, params={"gender": "male", "handedness": "right"}).status_code == 200
    rule = tmp_path / "labels.csv"
    rule.write_text("subject,session,to_subject,to_session\nS1,E1,T,E1\nS1,E2,T,E2\nS2,E3,T,E3\n")
    made = planned(server, kit, fields=["subject/gender", "subject/handedness"], label_map=str(rule))
    assert "P15" in {one.rule for one in made.findings}
    result = carried_out(server, made, tmp_path / "run")
    rows = result.files[result.files["resource"] == "(fields)"]
    assert list(rows["subject"]) == ["S1", "S1"] and set(rows["verdict"]) == {"equal"}
    refused = ": subject S1 goes to the same subject, and its fields do"
    assert result.exit_code == ExitCode.NEEDS_A_PERSON
    assert result.open_points == tuple(f"The field subject/{one} of S2{refused}" for one in ("gender", "handedness"))
    shown = kit.who.get(f"/data/projects/{kit.destination}/subjects/T", params={"format": "json"}).text
    assert '"female"' in shown and '"right"' not in shown


def test_a_plan_that_decides_about_no_field_carries_none(server, kit, tmp_path):
    """As one of an earlier version: its rows go on, and the run says that the fields stay behind."""
    with_fields(kit)
    made = planned(server, kit, fields=["subject/gender"], sessions=["E1"])
    kept = {name: value for name, value in json.loads(made.to_json()).items() if not name.startswith("field_")}
    old = Plan.model_validate_json(json.dumps(kept))
    old = old.model_copy(update={"fingerprint": old.own_fingerprint()})
    result = carried_out(server, old, tmp_path)
    assert result.exit_code == ExitCode.NEEDS_A_PERSON and "decides about no field" in result.open_points[0]
    assert set(result.files["resource"]) == {"DICOM"} and set(result.sessions["state"]) == {"archived"}


# -- the files door -------------------------------------------------------------------------------------------------


@pytest.fixture
def waived(tmp_path):
    path = tmp_path / "waivers.yaml"
    path.write_text(
        "format: 1\nwaivers:\n  - {rule: S13, scope: {everywhere: true}, reason: 'reviewed on both sides, ticket 17'}\n"
    )
    return {"method": "files", "waivers": str(path)}


def test_the_files_door_is_closed_until_its_consequence_is_waived(server, kit, tmp_path, waived):
    since = logged(server)
    made = planned(server, kit, method="files")
    assert any("no script runs on them" in one for one in made.blockers)
    with pytest.raises(RefusedError, match="no script runs on them"):
        carried_out(server, made, tmp_path)
    assert writes(server, since) == []
    made = planned(server, kit, **waived)
    assert made.blockers == ()
    assert "reviewed on both sides, ticket 17" in made.to_json()


def test_the_files_door_keeps_every_byte_and_the_fields_of_scans(server, kit, tmp_path, waived):
    scan = f"/data/projects/{kit.source}/subjects/S1/experiments/E1/scans/1"
    fields = {"xsiType": "xnat:mrScanData", "quality": "questionable", "note": "moved"}  # its type: 417 before 1.8.6
    assert kit.who.put(scan, params=fields).status_code == 200
    made = planned(server, kit, **waived, resources=["NIFTI"])
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert set(result.files["verdict"]) == {"equal"}
    assert (result.files["source_md5"] == result.files["destination_md5"]).all()
    assert set(result.sessions["state"]) == {"archived"}
    assert kit.files(kit.destination) == kit.files(kit.source)
    for session in ("E1", "E2"):
        path = "/data/projects/{}/subjects/S1/experiments/" + session
        here, there = (kit.who.rows(f"{path.format(project)}/scans") for project in (kit.source, kit.destination))
        for one in (*here, *there):
            del one["URI"], one["xnat_imagescandata_id"]
        assert there == here
        item = kit.who.get(path.format(kit.destination), params={"format": "json"}).json()["items"][0]
        assert item["data_fields"]["UID"] == kit.uid(session) and item["meta"]["xsi:type"] == "xnat:mrSessionData"
    since = logged(server)
    carried_out(server, made, tmp_path)
    assert writes(server, since) == []
    assert {row.action for row in planned(server, kit, **waived).sessions} == {"skip"}
    with as_(server, "owner") as destination:
        assert verify(made, tmp_path / "journal.jsonl", destination).exit_code == ExitCode.PROVED
    assert hashlib.md5(b"").hexdigest() not in set(result.files["source_md5"])


def test_the_server_fills_its_fields_from_the_headers_that_came_by_the_files_door(server, kit, tmp_path, waived):
    since = logged(server)
    result = carried_out(server, planned(server, kit, **waived, sessions=["E1"]), tmp_path)
    assert result.exit_code == ExitCode.PROVED and set(result.sessions["because"]) == {""}, result.sessions["because"]
    path = f"/data/projects/{kit.destination}/subjects/S1/experiments/E1"
    asked = [one["path"] for one in writes(server, since) if "pullDataFromHeaders" in one["query"]]
    assert len(asked) == 1 and asked[0].startswith(path.rpartition("/")[0] + "/")
    (file, *_) = kit.who.rows(f"{path}/scans/1/resources/DICOM/files")
    header = pydicom.dcmread(io.BytesIO(kit.who.get(file["URI"]).content))
    shown = kit.who.get(path, params={"format": "json"}).json()["items"][0]["data_fields"]
    assert shown["scanner/manufacturer"] == header.Manufacturer
    assert shown["dcmPatientName"] == header.PatientName and shown["date"] == "2024-01-08"
    scan = kit.who.get(f"{path}/scans/1", params={"format": "json"}).json()["items"][0]["data_fields"]
    assert (scan["series_description"], str(scan["frames"])) == (header.SeriesDescription, "2")
    assert scan["UID"] == header.SeriesInstanceUID


def test_headers_that_the_server_does_not_read_are_told_and_every_byte_is_proved(server, kit, tmp_path, waived):
    server.faults([{"fault": "403", "method": "PUT", "item": "pullDataFromHeaders"}])
    result = carried_out(server, planned(server, kit, **waived, sessions=["E1"]), tmp_path)
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert result.sessions["because"][0].startswith("the server did not read the headers into its fields")


@pytest.mark.parametrize("fault", ["500-after", "no-answer-after", "503", "500-before"])
def test_a_lost_answer_at_the_files_door_makes_nothing_twice(server, kit, tmp_path, waived, fault):
    session = "/subjects/S1/experiments/E[12]$"
    server.faults(
        [
            {
                "fault": fault,
                "method": "PUT",
                "path": session,
                "times": 1,
                "retry_after_s": 0,
            },
            {"fault": fault, "method": "PUT", "path": "/scans/[12]$", "times": 2, "retry_after_s": 0},
            {"fault": fault, "times": 2, "retry_after_s": 0, **UPLOADS},
        ]
    )
    made = planned(server, kit, **waived)
    result = carried_out(server, made, tmp_path)
    assert result.exit_code == ExitCode.PROVED, result.problems
    assert dicom(kit, kit.destination) == dicom(kit, kit.source)


def test_cut_off_at_the_files_door_it_goes_on(server, kit, tmp_path, waived):
    made = planned(server, kit, **waived, workers=1)
    server.faults([{"fault": "503", "retry_after_s": 0, "times": 60, "after": 1, **UPLOADS}])
    assert carried_out(server, made, tmp_path).exit_code == ExitCode.TRANSIENT
    server.faults([])
    since = logged(server)
    assert carried_out(server, made, tmp_path).exit_code == ExitCode.PROVED
    assert dicom(kit, kit.destination) == dicom(kit, kit.source)
    assert len([one for one in writes(server, since) if one["path"].endswith("/files")]) == 3
