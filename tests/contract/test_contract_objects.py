"""Creating and changing subjects, sessions and scans: items 84 to 91."""

from __future__ import annotations

import re

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


def test_item_089_pull_data_from_headers(desk):
    """`pullDataFromHeaders` fills the fields of scans from DICOM.

    Source: REST test TestScans.testPullDataFromHeaders.
    """
    desk.site.since("1.9.3")
    accession = desk.session("S1", "S1_MR1")
    desk.scan(accession, "1", type="Unknown")
    for name, data in desk.series(1, 2):
        path = f"/data/experiments/{accession}/scans/1/resources/DICOM/files/{name}"
        assert desk.upload(path, data, format="DICOM", content="RAW").status_code == 200
    session = f"{desk.path}/subjects/S1/experiments/S1_MR1"
    assert desk.owner.put(session, params={"pullDataFromHeaders": "true"}).status_code == 200
    assert desk.owner.fields(f"/data/experiments/{accession}/scans/1")["type"] == "series 1"
