"""Keys and rows of lists (REST tests TestDynamicSearchProjects, ...SubjectAssessors, ...Subjects, ...Scans)."""

from __future__ import annotations

import pytest

DEFAULT = {"ID", "project", "xsiType", "date", "label", "insert_date", "URI"}
SCAN = "xnat:imagescandata"


def keys(rows: list[dict]) -> set[str]:
    found = {frozenset(row) for row in rows}
    assert len(found) == 1, "rows of one list have the same keys"
    assert all(isinstance(value, str) for row in rows for value in row.values())
    return set(found.pop())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, DEFAULT),
        ({"columns": "ID"}, {"ID", "project", "xsiType", "URI"}),
        (
            {"columns": "xnat:experimentData/date,xnat:imageSessionData/modality,xnat:imageSessionData/UID"},
            {"session_ID", "URI", "xsiType", "project", "date", "modality", "UID"},
        ),
        (
            {"columns": "date,modality,UID"},
            {"session_ID", "URI", "xsiType", "project", "date", "modality", "UID"},
        ),
        (
            {"columns": "date,modality,UID", "xsiType": "xnat:mrSessionData"},
            {"xnat:mrsessiondata/id", "URI", "date", "modality", "UID"},
        ),
        ({"columns": "label,nonsense"}, {"ID", "label", "project", "xsiType", "URI"}),
    ],
)
def test_keys_of_sessions(seen, params, expected):
    assert keys(seen.owner.rows("/data/experiments", project=seen.name, **params)) == expected


def test_sessions_of_a_project_carry_the_key_of_their_root(seen):
    assert keys(seen.owner.rows(f"{seen.path}/experiments")) == DEFAULT | {"xnat:subjectassessordata/id"}
    asked = seen.owner.rows(f"{seen.path}/experiments", columns="ID,URI,label,xsiType")
    assert {"ID", "label", "xsiType"} <= keys(asked)


@pytest.mark.parametrize(
    ("params", "labels"),
    [
        ({"UID": "1.2.*"}, {"S01_MR1", "S01_MR2"}),
        ({"date": "07/01/2018-07/14/2018"}, {"S01_MR1", "S01_CT1"}),
        ({"label": "S01_MR1,S01_CT1"}, {"S01_MR1", "S01_CT1"}),
        ({"xsiType": "xnat:mrSessionData"}, {"S01_MR1", "S01_MR2"}),
        ({"xsiType": "xnat:imageSessionData"}, {"S01_MR1", "S01_MR2", "S01_CT1"}),
    ],
)
def test_filters(seen, params, labels):
    rows = seen.owner.rows("/data/experiments", project=seen.name, columns="label", **params)
    assert {row["label"] for row in rows} == labels


def test_paging_leaves_the_total_out(seen):
    answer = seen.owner.get(f"{seen.path}/experiments", params={"limit": "2", "offset": "2", "format": "json"}).json()
    assert len(answer["ResultSet"]["Result"]) == 1
    assert "totalRecords" not in answer["ResultSet"]
    whole = seen.owner.get(f"{seen.path}/experiments", params={"format": "json"}).json()
    assert whole["ResultSet"]["totalRecords"] == "3"


def test_one_request_lists_every_scan_and_resource(seen):
    asked = ["id", "uid", "type", "quality", "frames", "note", "series_description"]
    files = ["label", "file_count", "file_size"]
    columns = ["label", "subject_label"] + [f"{SCAN}/{name}" for name in asked + [f"file/{name}" for name in files]]
    rows = seen.owner.rows(
        "/data/experiments", project=seen.name, xsiType="xnat:imageSessionData", columns=",".join(columns)
    )
    assert keys(rows) == {*columns, "session_ID", "project", "xsiType", "URI"}
    found = {
        (row["label"], row[f"{SCAN}/id"], row[f"{SCAN}/file/label"], row[f"{SCAN}/file/file_count"]) for row in rows
    }
    assert found == {
        ("S01_MR1", "1", "DICOM", "2"),
        ("S01_MR1", "2", "DICOM", "1"),
        ("S01_MR2", "1", "DICOM", "1"),
        ("S01_CT1", "1", "", ""),
    }
    sizes = {row[f"{SCAN}/file/file_size"] for row in rows if row["label"] == "S01_MR2"}
    assert sizes == {str(len(seen.content("S01_MR2", "a.dcm")))}


@pytest.mark.parametrize(
    "column",
    ["imagescandata/file/format", "imageScanData/file/content", "imagescandata/xsitype", "mrScanData/nosuch",
     "mrSessionData/nosuch", "experimentData/nosuch"],
)  # fmt: skip
def test_a_field_that_its_type_does_not_have_fails_the_list(seen, column):
    """Recorded answers of 1.8.11, W2 and W3: 200 with nothing below a project or subject, 500 elsewhere."""
    asked = {"format": "json", "xsiType": "xnat:imageSessionData", "columns": f"label,xnat:{column}"}
    for path in (f"{seen.path}/experiments", f"{seen.path}/subjects/S01/experiments"):
        answer = seen.owner.get(path, params=asked)
        assert (answer.status_code, answer.content) == (200, b"")
    assert seen.owner.get("/data/experiments", params=asked | {"project": seen.name}).status_code == 500
    asked = {"columns": "ID,xnat:subjectData/nosuch"}
    assert seen.owner.get(f"{seen.path}/subjects", params=asked).status_code == 500


def test_what_is_served_of_scans_beside_the_format(seen):
    catalog = f"{SCAN}/file[@xsi:type=xnat:resourceCatalog]/format"
    columns = f"label,{SCAN}/id,{catalog},{SCAN}/extension_item/element_name,{SCAN}/modality,xnat:nosuchType/x"
    rows = seen.owner.rows(f"{seen.path}/experiments", xsiType="xnat:imageSessionData", columns=columns)
    (one,) = [row for row in rows if row["label"] == "S01_MR2"]
    assert (one[catalog.lower()], one[f"{SCAN}/extension_item/element_name".lower()]) == ("", "xnat:mrScanData")
    assert one[f"{SCAN}/modality".lower()] == ""
    assert "xnat:nosuchtype/x" not in one


def test_a_type_that_is_none_fails_the_list(seen):
    asked = {"xsiType": "xnat:nosuchType", "columns": "ID"}
    answer = seen.owner.get(f"{seen.path}/experiments", params=asked)
    assert (answer.status_code, answer.content) == (200, b"")
    assert seen.owner.get("/data/experiments", params=asked).status_code == 500


def test_keys_of_subjects(seen):
    rows = seen.owner.rows(f"{seen.path}/subjects")
    assert keys(rows) == {"ID", "project", "label", "insert_date", "insert_user", "URI"}
    assert rows[0]["insert_date"]


PERSON = "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]"


def test_columns_of_subjects_by_path(study):
    arm = "xnat:subjectData/fields/field[name=arm]/field"
    given = {f"{PERSON}/gender": "female", arm: "B", "weight": "70"}
    made = study.owner.put(f"{study.path}/subjects/S01", params=given)
    assert made.status_code == 200
    rows = study.owner.rows(f"{study.path}/subjects", columns=f"label,{PERSON}/gender,{arm},weight,nonsense")
    assert keys(rows) == {"ID", "label", "gender", arm.lower(), "weight", "URI"}
    row = next(row for row in rows if row["label"] == "S01")
    assert (row["gender"], row[arm.lower()], row["weight"]) == ("female", "B", "70")
    for name, value in (("gender", "female"), (f"{PERSON}/gender", "fem*"), (arm, "B"), ("weight", "70")):
        found = study.owner.rows(f"{study.path}/subjects", **{"columns": "label", name: value})
        assert [row["label"] for row in found] == ["S01"], name


def test_sessions_with_what_is_known_of_their_subjects(study):
    arm = "xnat:subjectData/fields/field[name=arm]/field"
    given = {f"{PERSON}/gender": "female", arm: "B"}
    assert study.owner.put(f"{study.path}/subjects/S01", params=given).status_code == 200
    asked = {"columns": f"label,xnat:subjectData/label,{PERSON}/gender,{arm}", "project": study.name}
    for path in ("/data/experiments", f"{study.path}/experiments"):
        rows = study.owner.rows(path, **asked)
        row = next(row for row in rows if row["label"] == "S01_MR1")
        assert (row["subject_label"], row[f"{PERSON}/gender".lower()], row[arm.lower()]) == ("S01", "female", "B")
    assert study.owner.rows("/data/experiments", **asked, **{f"{PERSON}/gender": "female"})
    assert not study.owner.rows("/data/experiments", **asked, **{f"{PERSON}/gender": "male"})


def test_columns_of_projects(study, person):
    name = f"{study.name}_ALIASED"
    assert study.owner.put(f"/data/projects/{name}", params={"alias": f"{name}_alias"}).status_code == 200
    rows = study.owner.rows("/data/projects", columns="alias,name")
    assert keys(rows) == {"ID", "alias", "name", "URI"}
    assert {row["ID"]: row["alias"] for row in rows}[name] == f"{name}_alias"
    for given in ({"alias": f"{name}_alias"}, {"ID": f"{study.name}_AL*"}, {"xnat:projectData/name": name}):
        assert [row["ID"] for row in study.owner.rows("/data/projects", **given)] == [name]


def test_types_of_scans(study):
    rows = study.owner.rows(f"{study.path}/scan_types")
    assert keys(rows) == {"type", "series_descriptions"}
    types = {row["type"] for row in study.owner.rows(f"{study.path}/subjects/S01/experiments/S01_MR1/scans")}
    assert types <= {row["type"] for row in rows} <= {row["type"] for row in study.owner.rows("/data/scan_types")}


def test_subjects_of_named_projects(study):
    found = study.owner.rows("/data/subjects", project=study.name)
    assert found
    assert {row["project"] for row in found} == {study.name}
    assert not study.owner.rows("/data/subjects", project="NOBODY_HAS_THIS")


def test_columns_of_scans_by_path(study):
    path = f"{study.path}/subjects/S01/experiments/S01_MR1/scans"
    asked = {"xsiType": "xnat:mrScanData", "xnat:mrScanData/parameters/tr": "2000.0"}
    assert study.owner.put(f"{path}/1", params=asked).status_code == 200
    rows = study.owner.rows(path, columns="type,xnat:mrScanData/quality,xnat:mrScanData/parameters/tr")
    expected = {"xnat_imagescandata_id", "ID", "type", "quality", "xnat:mrscandata/parameters/tr", "URI"}
    assert keys(rows) == expected
    assert {row["ID"]: row["xnat:mrscandata/parameters/tr"] for row in rows}["1"] == "2000.0"


def test_keys_of_scans(seen):
    path = f"/data/experiments/{seen.ids['S01_MR1']}/scans"
    expected = {"xnat_imagescandata_id", "ID", "type", "quality", "xsiType", "note", "series_description", "URI"}
    rows = seen.owner.rows(path)
    assert keys(rows) == expected
    assert rows[0]["URI"] == f"{path}/1"
    assert keys(seen.owner.rows(path, columns="ID")) == {"xnat_imagescandata_id", "ID", "URI"}
    typed = seen.owner.rows(path, xsiType="xnat:mrScanData")
    assert keys(typed) == expected | {"xnat:mrscandata/xnat_imagescandata_id"}
    assert not seen.owner.rows(path, xsiType="xnat:ctScanData")


def test_keys_of_resources_and_files(seen):
    path = f"{seen.path}/subjects/S01/experiments/S01_MR1/scans/1"
    assert keys(seen.owner.rows(f"{path}/resources")) == {
        "xnat_abstractresource_id", "label", "element_name", "category", "cat_id", "cat_desc", "file_count",
        "file_size", "tags", "content", "format",
    }
    rows = seen.owner.rows(f"{path}/files")
    assert keys(rows) == {
        "Name", "Size", "URI", "collection", "file_tags", "file_format", "file_content", "cat_ID", "digest"
    }
    assert rows[0]["URI"].startswith(f"/data/experiments/{seen.ids['S01_MR1']}/scans/1/resources/{rows[0]['cat_ID']}/")


def test_the_four_lists_of_projects(seen, person):
    owner = seen.owner

    def mine(who, **params):
        return [row for row in who.rows("/data/projects", **params) if seen.name in (row.get("ID"), row.get("id"))]

    assert keys(mine(owner)) == {"ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname", "URI"}
    accessible = mine(owner, accessible="true")[0]
    role = next(key for key in accessible if key.startswith("user_role_"))
    assert accessible[role] == "Owners"
    assert accessible["project_access"] == "private"
    assert mine(owner, prearc_code="true")[0]["proj_prearchive_code"] == "4"
    for action, roles in {
        "read": {"owner", "member", "collaborator"}, "create": {"owner", "member"}, "edit": {"owner", "member"},
        "delete": {"owner"},
    }.items():
        for who in ("owner", "member", "collaborator", "outsider"):
            rows = mine(person(who), permissions=action, dataType="xnat:mrSessionData")
            assert bool(rows) == (who in roles), (action, who)
            assert not rows or keys(rows) == {"id", "secondary_id"}
    assert keys(mine(owner, creatableTypes="true")) == {"id", "secondary_id", "name", "description"}
    assert not mine(person("member"), restrict="edit")
    assert mine(owner, restrict="edit")


def test_columns_of_assessors_are_empty_without_any(seen):
    columns = "xnat:imageAssessorData/id,xnat:imageAssessorData/label"
    rows = seen.owner.rows("/data/experiments", project=seen.name, xsiType="xnat:imageSessionData", columns=columns)
    assert len(rows) == 3
    assert {row["xnat:imageassessordata/id"] for row in rows} == {""}


def test_subjects_joined_with_their_scans(seen):
    columns = "xnat:mrSessionData/label,xnat:mrScanData/id"
    rows = seen.owner.rows(f"{seen.path}/subjects", columns=columns)
    assert keys(rows) == {"ID", "URI", "xnat:mrsessiondata/label", "xnat:mrscandata/id"}
    found = sorted((row["xnat:mrsessiondata/label"], row["xnat:mrscandata/id"]) for row in rows)
    assert found == [("S01_MR1", "1"), ("S01_MR1", "2"), ("S01_MR2", "1")]


def test_xml_has_the_same_rows(seen):
    import xml.etree.ElementTree as ElementTree

    answer = seen.owner.get("/data/projects", params={"format": "xml"})
    table = ElementTree.fromstring(answer.content)
    assert int(table.get("totalRecords")) == len(table.findall(".//row")) > 0


def test_a_concrete_type_of_scan_restricts_to_it(seen):
    rows = seen.owner.rows("/data/experiments", project=seen.name, columns="label,xnat:ctScanData/id")
    assert {row["label"]: row["xnat:ctscandata/id"] for row in rows} == {"S01_MR1": "", "S01_MR2": "", "S01_CT1": "1"}


def test_an_unknown_field_of_a_scan_is_500(seen):
    params = {"columns": f"label,{SCAN}/nonsense", "format": "json"}
    assert seen.owner.get("/data/experiments", params=params).status_code == 500


def test_shared_items_show_the_view_of_the_project_asked(tmp_path):
    import requests

    from xnbtransfer.server import running
    from xnbtransfer.server.state import State

    state = State(tmp_path)
    state.new_project("SRC", "olga")
    state.new_project("DST", "mia")
    subject = state.new_subject("SRC", "S01", "olga")
    session = state.new_experiment("SRC", subject, "E01", "xnat:mrSessionData", "olga")
    with state.write() as db:
        db.execute("INSERT INTO shares VALUES('subject',?,'DST','T01')", (subject,))
        db.execute("INSERT INTO shares VALUES('experiment',?,'DST','F01')", (session,))
    with running(data=tmp_path) as server, requests.Session() as mia:
        mia.auth = server.accounts["member"]

        def rows(path: str) -> list[dict]:
            return mia.get(f"{server.url}/data/{path}", timeout=30).json()["ResultSet"]["Result"]

        (one,) = rows("projects/DST/experiments?columns=label,project,subject_label,date")
        assert (one["label"], one["project"], one["subject_label"]) == ("F01", "DST", "T01")
        # With image sessions as root all is the owner's, and filters are of the owner's label (live 1.8.11, W1).
        of_images = "projects/DST/experiments?xsiType=xnat:imageSessionData"
        for asked in (of_images, f"{of_images}&label=E01", "projects/DST/experiments?x=y"):
            (one,) = rows(f"{asked}&columns=label,project,subject_label,session_project")
            assert (one["label"], one["project"], one["subject_label"]) == ("E01", "SRC", "S01")
            assert one["session_project"] == "SRC"
        assert rows(f"{of_images}&columns=label&label=F01") == []
        (one,) = rows("projects/DST/subjects")
        assert (one["label"], one["project"]) == ("T01", "SRC")
        assert [row["ID"] for row in rows(f"experiments/{session}/projects")] == ["SRC", "DST"]
        for path, status in {"DST/subjects/T01": 200, "DST/experiments/F01": 200, "SRC/subjects/S01": 404}.items():
            assert mia.get(f"{server.url}/data/projects/{path}", timeout=30).status_code == status


def test_csv_has_the_same_columns(seen):
    answer = seen.owner.get(f"{seen.path}/subjects", params={"format": "csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert set(answer.text.splitlines()[0].split(",")) == {
        "ID", "project", "label", "insert_date", "insert_user", "URI"
    }


def test_twelve_thousand_scans_in_one_answer(tmp_path):
    import requests

    from xnbtransfer.server import running
    from xnbtransfer.server.state import State

    state = State(tmp_path)
    with state.write():
        state.new_project("BIG", "olga")
        subject = state.new_subject("BIG", "S", "olga")
        for number in range(600):
            session = state.new_experiment("BIG", subject, f"E{number}", "xnat:mrSessionData", "olga", uid="1.2")
            for scan in range(20):
                pk = state.new_scan(session, str(scan), "xnat:mrScanData", type="T1")
                state.add_resource("scan", pk, "DICOM", format="DICOM")
    columns = ",".join(["label", "UID", f"{SCAN}/id", f"{SCAN}/type", f"{SCAN}/file/label", f"{SCAN}/file/file_count"])
    with running(data=tmp_path) as server:
        params = {"xsiType": "xnat:imageSessionData", "columns": columns, "format": "json"}
        answer = requests.get(
            f"{server.url}/data/projects/BIG/experiments", params, auth=server.accounts["owner"], timeout=60
        )
        assert answer.json()["ResultSet"]["totalRecords"] == "12000"
