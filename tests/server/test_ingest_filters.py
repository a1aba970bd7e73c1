"""What an import lets in: series import filters, scripts that reject, quarantine, straight into the archive."""

from __future__ import annotations

import io
import json

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_kit import Desk, desk, merging_desk, message, series, zipped  # noqa: F401

from xnbtransfer.server import anonymise
from xnbtransfer.server.filters import FilterError, compile_filter
from xnbtransfer.server.reencode import read_header

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
    answer = desk.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, "series import filter" in message(answer).lower()) == (500, True)


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
    desk.set_project(anon_script="reject[]", anon_enabled=1)
    uri = desk.to_prearchive(series(1, 2))
    answer = desk.owner.post("/data/services/archive", params={"src": uri})
    assert (answer.status_code, "rejected every object" in message(answer)) == (500, True)
    assert [row["status"] for row in desk.waiting()] == ["ERROR"]
    assert desk.sessions() == []


def test_a_project_script_that_rejects_some(desk):  # noqa: F811
    desk.set_project(anon_script='(0020,0011) = "2" ? reject["not this one"]', anon_enabled=1)
    assert desk.to_archive(series(1, 2) + series(2, 2), session="E1").status_code == 200
    assert desk.scans("E1") == {"1": 2}


def test_a_site_script_that_rejects(desk):  # noqa: F811
    before = desk.sql("SELECT value FROM site WHERE key='sitewideAnonymizationScript'")
    desk.set_site("sitewideAnonymizationScript", f'project = "{desk.project}" ? reject[]')
    try:
        answer = desk.send(series(1, 2), dest=desk.prearchive_path)
    finally:
        desk.sql("DELETE FROM site WHERE key='sitewideAnonymizationScript'")
        for row in before:
            desk.set_site("sitewideAnonymizationScript", row["value"])
    assert (answer.status_code, answer.text, desk.waiting()) == (200, "", [])


@pytest.mark.parametrize("line", ["removeAllPrivateTags", "(0010,0010) := lowercase[(0010,0010)]", "-(50XX,XXXX)",
                                  "alterPixels[\"rectangle\"]", "describe project \"x\"", "x := \"y\""])
def test_what_the_subset_does_not_know_is_refused_when_it_is_set(desk, line):  # noqa: F811
    answer = desk.owner.put(f"/xapi/anonymize/projects/{desk.project}", data=f'version "6.1"\n{line}',
                            headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400
    assert "line 2" in answer.text
    with pytest.raises(anonymise.ScriptError, match="line 2"):
        anonymise.compile_script(f'version "6.1"\n{line}', "1")


TEXT = st.text("abcdefghijklmnopqrstuvwxyzABC 0123456789.-", min_size=1, max_size=16).map(str.strip).filter(bool)
TAGS = st.sampled_from([0x00080080, 0x00081030, 0x00100010, 0x00100020, 0x00104000, 0x00324000])
UID = 0x0020000D


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["set", "delete", "copy", "hash"]), TAGS, TAGS, TEXT), max_size=6))
def test_a_script_does_what_pydicom_does(steps):
    data = series(1, 1)[0][1]
    lines, expected = [], pydicom.dcmread(io.BytesIO(data))

    def shown(tag: int) -> str:
        return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"

    def put(tag: int, text: str) -> None:
        vr = pydicom.datadict.dictionary_VR(tag)
        expected[tag] = pydicom.DataElement(tag, vr, text)

    for action, tag, other, text in steps:
        if action == "hash":
            tag, other = UID, UID if text < "M" else other
        old = str(expected[other].value) if other in expected else ""
        if action == "set":
            lines.append(f'{shown(tag)} := "{text}"')
            put(tag, text)
        elif action == "delete":
            lines.append(f"-{shown(tag)}")
            if tag in expected:
                del expected[tag]
        elif action == "copy":
            lines.append(f"{shown(tag)} := {shown(other)}")
            put(tag, old)
        else:
            lines.append(f"{shown(tag)} := hashUID[{shown(other)}]")
            put(tag, anonymise.hash_uid(old) if old else "")
    header = read_header(io.BytesIO(data))
    labels = anonymise.Labels(project="P", subject="S", session="E")
    anonymise.compile_script("\n".join(lines), "7").apply(header, labels)
    out = io.BytesIO()
    header.write(out)
    found = pydicom.dcmread(io.BytesIO(out.getvalue()))
    stamp = found.DeidentificationMethodCodeSequence.pop(-1)
    assert (stamp.CodeValue, stamp.CodingSchemeDesignator) == ("7", "XNAT")
    texts = [{str(one.tag): str(one.value) for one in dataset if one.VR != "SQ" and one.tag < 0x7FE00000}
             for dataset in (found, expected)]
    assert texts[0] == texts[1]
    assert found.PixelData == expected.PixelData


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
