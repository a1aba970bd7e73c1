"""Creating and changing subjects, sessions and scans: items 84 to 91."""

from __future__ import annotations

import re

import pytest
from contract_kit import message

XML = {"Content-Type": "text/xml"}
NAMES = 'xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def session_xml(**fields: str) -> str:
    inside = "".join(f"<xnat:{name}>{value}</xnat:{name}>" for name, value in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<xnat:MRSession {NAMES} label="X_MR1">{inside}</xnat:MRSession>'


def test_item_084_new_subject(desk):
    """A new subject is 201 with its accession number, again 200.

    Source: REST test TestSubjectResources; IDGenerator.
    """
    path = f"{desk.path}/subjects/1"
    first = desk.owner.put(path, params={"gender": "male"})
    assert first.status_code == 201
    assert re.fullmatch(r"\w+_S\d{5,}", first.text)
    again = desk.owner.put(path, params={"gender": "male"})
    assert (again.status_code, again.text) == (200, first.text)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"date": "2010-13-45"}, 500),
        ({"date": "2010-01-01", "fieldStrength": "x" * 300}, 400),
        ({"date": "yesterday"}, 400),
    ],
    ids=["month 13", "too long", "no date"],
)
def test_item_085_invalid_xml(desk, fields, status):
    """A session whose fields do not fit their types is 400, with a date of month 13 500.

    Source: REST test TestSubjAssessmentResources.testDateFormatValidation; the 500 of a live 1.8.11.
    """
    desk.subject("S1")
    answer = desk.owner.post(f"{desk.path}/subjects/S1/experiments", data=session_xml(**fields), headers=XML)
    assert answer.status_code == status, message(answer)
    assert desk.sessions() == {}


def test_item_086_unknown_subject(desk):
    """A session below an unknown subject is 404.

    Source: REST test TestSubjAssessmentResources.testInvalidSubjectValidation.
    """
    path = f"{desk.path}/subjects/INVALID/experiments"
    assert desk.owner.post(path, data=session_xml(date="2010-01-01"), headers=XML).status_code == 404
    assert desk.sessions() == {}


def test_item_087_xml_merges(desk):
    """XML without a field keeps it, unless deleting is allowed.

    Source: REST test TestSubjectResources.testSubjectResourceXMLCrud.
    """
    path = f"{desk.path}/subjects/S1"
    desk.subject("S1", group="control")
    body = f'<xnat:Subject {NAMES} label="S1" project="{desk.project}"/>'
    assert desk.owner.put(path, data=body, headers=XML).status_code == 200
    assert desk.owner.fields(path)["group"] == "control"
    assert desk.owner.put(path, data=body, headers=XML, params={"allowDataDeletion": "true"}).status_code == 200
    assert "group" not in desk.owner.fields(path)


def test_item_088_fields_of_scans(desk):
    """Scans keep their type; fields of another type are ignored.

    Source: REST tests TestArchive.testSetScanProperties, TestScans.
    """
    desk.site.since("1.8.6")
    accession = desk.session("S1", "S1_MR1")
    desk.scan(accession, "1")
    path = f"/data/experiments/{accession}/scans/1"
    assert desk.owner.put(path, params={"quality": "questionable"}).status_code == 200
    assert desk.owner.put(path, params={"xsiType": "xnat:ctScanData"}).status_code == 409
    assert desk.owner.put(path, params={"xnat:ctScanData/note": "x"}).status_code == 200
    fields = desk.owner.fields(path)
    assert (fields["quality"], fields.get("note", "")) == ("questionable", "")


def test_item_089_pull_data_from_headers(newest):
    """`pullDataFromHeaders` fills the fields of scans from DICOM.

    Source: REST test TestScans.testPullDataFromHeaders.
    """
    newest.site.since("1.9.3")
    accession = newest.session("S1", "S1_MR1")
    newest.scan(accession, "1", type="Unknown")
    for name, data in newest.series(1, 2):
        path = f"/data/experiments/{accession}/scans/1/resources/DICOM/files/{name}"
        assert newest.upload(path, data, format="DICOM", content="RAW").status_code == 200
    session = f"{newest.path}/subjects/S1/experiments/S1_MR1"
    assert newest.owner.put(session, params={"pullDataFromHeaders": "true"}).status_code == 200
    assert newest.owner.fields(f"/data/experiments/{accession}/scans/1")["type"] == "series 1"


def test_item_090_rename(desk):
    """A member renames a session, and its files are found under the new label. Source: REST test TestRename."""
    accession = desk.session("S1", "S1_MR1")
    path = f"{desk.path}/subjects/S1/experiments"
    assert desk.upload(f"{path}/S1_MR1/resources/R/files/x.txt", b"x").status_code == 200
    new = {"label": "S1_NEW"}
    assert desk.person("outsider").put(f"{path}/S1_MR1", params=new).status_code == 404
    assert desk.person("collaborator").put(f"{path}/S1_MR1", params=new).status_code in (403, 417)
    assert desk.person("member").put(f"{path}/S1_MR1", params=new).status_code == 200
    assert desk.owner.get(f"{path}/S1_NEW/resources/R/files/x.txt").content == b"x"
    assert {label: row["ID"] for label, row in desk.sessions().items()} == {"S1_NEW": accession}


def test_item_091_rename_onto_another(desk):
    """A label that is in use: 409. Source: Rename."""
    desk.session("S1", "S1_MR1")
    desk.session("S1", "S1_MR2")
    assert desk.owner.put(f"{desk.path}/subjects/S1/experiments/S1_MR1", params={"label": "S1_MR2"}).status_code == 409
    assert set(desk.sessions()) == {"S1_MR1", "S1_MR2"}
