"""What an import lets in: series import filters, scripts that reject, quarantine, straight into the archive."""

from __future__ import annotations

import json

import pytest
from ingest_kit import Desk, desk, merging_desk, message, series, zipped  # noqa: F401

from xnbtransfer.server.filters import FilterError, compile_filter

MAP = """{"mode": "modalityMap", "PT": "Modality == 'PT' || (Modality == 'MR' && SeriesDescription =~ /^series 2/)"}"""


def set_filter(desk: Desk, contents: str) -> None:  # noqa: F811
    path = f"/data/projects/{desk.project}/config/seriesImportFilter/config"
    assert desk.owner.put(path, data=contents, headers={"Content-Type": "text/plain"}).status_code in (200, 201)


def kept(desk: Desk, **given: str) -> list[str]:  # noqa: F811
    """Scans that arrive of four that are sent."""
    files = [one for number in (1, 2, 3) for one in series(number, 2)] + series(4, 2, source="PT")
    answer = desk.send(files, dest=desk.prearchive_path, **given)
    assert answer.status_code == 200, answer.text
    uri = answer.text.strip()
    found = [row["ID"] for row in desk.owner.rows(f"{uri}/scans")] if uri else []
    if uri:
        assert desk.owner.delete(uri).status_code == 200
    return found


@pytest.mark.parametrize(("contents", "scans"), [
    ('{"mode": "blacklist", "list": "series 1\\nseries [23]$"}', ["4"]),
    ('{"mode": "whitelist", "list": "series 1\\n2$"}', ["1", "2"]),
    (MAP, ["2", "4"]),
    ('{"mode": "whitelist", "list": "nothing at all"}', []),
])
def test_the_filter_of_a_project(desk, contents, scans):  # noqa: F811
    set_filter(desk, contents)
    assert kept(desk) == scans
    assert desk.waiting() == []
    path = f"/data/projects/{desk.project}/config/seriesImportFilter/config"
    assert desk.owner.put(path, params={"status": "disabled"}).status_code == 200
    assert kept(desk) == ["1", "2", "3", "4"]


def test_everything_kept_out_is_an_empty_200(desk):  # noqa: F811
    set_filter(desk, '{"mode": "whitelist", "list": "nothing"}')
    answer = desk.send(series(1, 2), dest=desk.archive_path)
    assert (answer.status_code, answer.text, desk.waiting(), desk.sessions()) == (200, "", [], [])


def test_the_filter_of_the_site_comes_first(desk):  # noqa: F811
    desk.set_site("enableSitewideSeriesImportFilter", "true")
    desk.set_site("sitewideSeriesImportFilterMode", "blacklist")
    desk.set_site("sitewideSeriesImportFilter", "series 1")
    set_filter(desk, '{"mode": "blacklist", "list": "series 2"}')
    try:
        assert kept(desk) == ["3", "4"]
    finally:
        desk.set_site("enableSitewideSeriesImportFilter", "false")


def test_files_that_are_put_are_not_filtered(desk):  # noqa: F811
    assert desk.to_archive(series(1, 1), session="E1").status_code == 200
    set_filter(desk, '{"mode": "whitelist", "list": "nothing"}')
    path = f"/data/projects/{desk.project}/experiments/E1/scans/1/resources/DICOM/files/new.dcm"
    headers = {"Content-Type": "application/octet-stream"}
    assert desk.owner.put(path, data=series(1, 1)[0][1], headers=headers).status_code == 200
    assert desk.owner.get(path).status_code == 200


def test_a_waiting_session_that_a_new_filter_would_not_let_in(desk):  # noqa: F811
    uri = desk.to_prearchive(series(1, 1) + series(2, 1))
    set_filter(desk, '{"mode": "blacklist", "list": "series 2"}')
    found = [(row["code"], row["type"]) for row in desk.validate(uri)]
    assert ("22", "FAIL") in found
    desk.set_site("verifyComplianceInPrearcSessionReview", "true")
    try:
        answer = desk.owner.post("/data/services/archive", params={"src": uri})
    finally:
        desk.set_site("verifyComplianceInPrearcSessionReview", "false")
    assert (answer.status_code, "non-compliant" in message(answer)) == (500, True)
    assert desk.owner.post("/data/services/archive", params={"src": uri}).status_code == 200


def test_a_filter_that_cannot_be_read_says_so(desk):  # noqa: F811
    set_filter(desk, '{"mode": "modalityMap", "MR": "Modality in [1, 2]"}')
    answer = desk.send(series(1, 1), dest=desk.prearchive_path)
    assert (answer.status_code, "filter" in message(answer)) == (400, True)


@pytest.mark.parametrize("text", ["Modality", "Modality == ", "(Modality == 'MR'", "Modality =~ /(/", "NoSuch == 'x'",
                                  "Modality == 'MR' 'CT'", "&&", ""])
def test_expressions_that_are_none(text):
    with pytest.raises(FilterError):
        compile_filter("modalityMap", json.dumps({"MR": text}))


def test_an_expression_binds_as_usual():
    test = compile_filter("modalityMap", """{"x": "Modality == 'MR' || Modality == 'CT' && !(SeriesNumber == '1')"}""")
    read = {0x00080060: "CT", 0x00200011: "1"}.get
    assert not test(lambda tag: read(tag, ""))
    assert test(lambda tag: {0x00080060: "MR"}.get(tag, ""))
    assert test(lambda tag: {0x00080060: "CT"}.get(tag, ""))


# -- scripts ----------------------------------------------------------------------------------------------------


def test_item_113_a_project_script_that_rejects_everything(desk):  # noqa: F811
    desk.set_project(anon_script='version "6.6"\nreject[]', anon_enabled=1)
    uri = desk.to_prearchive(series(1, 2))
    answer = desk.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, "failed during the session rebuild" in message(answer)) == (500, True)
    assert [row["status"] for row in desk.waiting()] == ["ERROR"]
    assert desk.sessions() == []


def test_a_project_script_that_rejects_some(desk):  # noqa: F811
    desk.set_project(anon_script='version "6.6"\n(0020,0011) = "2" ? reject[]', anon_enabled=1)
    assert desk.to_archive(series(1, 2) + series(2, 2), session="E1").status_code == 200
    assert desk.scans("E1") == {"1": 2}


def test_a_site_script_that_rejects(desk):  # noqa: F811
    before = desk.sql("SELECT value FROM site WHERE key='sitewideAnonymizationScript'")
    desk.set_site("sitewideAnonymizationScript", f'version "6.6"\nproject = "{desk.project}" ? reject[]')
    try:
        answer = desk.send(series(1, 2), dest=desk.prearchive_path)
    finally:
        desk.sql("DELETE FROM site WHERE key='sitewideAnonymizationScript'")
        for row in before:
            desk.set_site("sitewideAnonymizationScript", row["value"])
    assert (answer.status_code, answer.text) == (200, "")
    (row,) = desk.waiting()  # a row without anything in it (seen on a live 1.8.11)
    assert row["status"] == "RECEIVING"
    assert desk.owner.post(f"/data{row['url']}", params={"action": "build"}).status_code == 500


@pytest.mark.parametrize("script", ["not a script {", 'version "9.9"', 'version "6.6"\n(((', "\n"])
def test_every_text_is_taken_for_a_script(desk, script):  # noqa: F811
    path, plain = f"/xapi/anonymize/projects/{desk.project}", {"Content-Type": "text/plain"}
    assert desk.owner.put(path, data=script, headers=plain).status_code == 200
    assert desk.owner.put(path, data="", headers=plain).status_code == 500


def test_what_the_server_does_less_well_than_xnat_is_said_when_a_script_is_set(desk):  # noqa: F811
    path, plain = f"/xapi/anonymize/projects/{desk.project}", {"Content-Type": "text/plain"}
    for script in ('version "6.6"\n(0010,0010) := getURL["http://localhost"]', '(0010,0010) := getURL["http://localhost"]'):
        before = len(desk.server.notes)
        assert desk.owner.put(path, data=script, headers=plain).status_code == 200
        (note,) = desk.server.notes[before:]
        assert "getURL" in note
    assert desk.owner.put(path, data='version "6.6"\n-(0010,0010)', headers=plain).status_code == 200
    assert len(desk.server.notes) == before + 1


# -- codes ------------------------------------------------------------------------------------------------------


def test_quarantine_by_code_and_by_parameter(desk):  # noqa: F811
    assert desk.to_archive(series(1, 1), session="E1").status_code == 200
    assert desk.to_archive(series(1, 1), session="E2", quarantine="true").status_code == 200
    assert desk.owner.put(f"/data/projects/{desk.project}/quarantine_code/1").status_code == 200
    assert desk.to_archive(series(1, 1), session="E3").status_code == 200
    rows = desk.sql("SELECT label, fields FROM experiments WHERE project=? ORDER BY label", desk.project)
    assert ["quarantine" in row["fields"] for row in rows] == [False, True, True]


def test_code_1_and_overwrite_are_refused_together(desk):  # noqa: F811
    answer = desk.send(series(1, 1), dest=desk.prearchive_path, prearchive_code="1", overwrite="append")
    assert answer.status_code == 400


def test_two_rows_of_one_key_share_what_comes(desk):  # noqa: F811
    for _ in range(2):
        assert desk.send(series(1, 1), handler="SI", dest=desk.prearchive_path).status_code == 200
    answer = desk.send(series(2, 20), dest=desk.prearchive_path)
    assert len(answer.text.split()) == 2
    counts = [len(desk.waiting_headers("/data" + row["url"])) for row in desk.waiting()]
    assert sum(counts) == 22 and min(counts) > 1


def test_comments_archive_although_the_code_is_0(desk):  # noqa: F811
    desk.set_site("sessionXmlRebuilderInterval", "0")
    try:
        uri = desk.send(series(1, 1, PatientComments=f"Project:{desk.project} AA:true")).text.strip()
        assert desk.owner.get(uri).json()["ResultSet"]["Result"][0]["autoarchive"] == "AutoArchive"
        desk.wait_for(lambda: desk.sessions())
    finally:
        desk.set_site("sessionXmlRebuilderInterval", "5")
