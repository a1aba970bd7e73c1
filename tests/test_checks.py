"""Checks before the start: rights, settings, listings."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import pytest
from people import set_script
from planted import written
from reviews import Ward, told
from roads import as_
from which_xnat import script

from xnbtransfer.plan import plan
from xnbtransfer.progress import read_sides
from xnbtransfer.series_filters import Described, dropped_by


@pytest.fixture
def ward(person) -> Ward:
    found = Ward(person)
    found.store("001", "001_MR1", {"1": found.series("001", "001_MR1"), "2": found.series("001", "001_MR1", 2)})
    return found


@pytest.fixture(scope="module")
def side(person):
    """Both sides of a small copy, its options and labels."""
    ward = Ward(person)
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", count=1)})
    options = ward.options(review="none")
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        here, there, labels = read_sides(source, destination, options)
    return here, there, options, labels


def sentence(made, rule: str) -> str:
    return next(one.sentence for one in made.findings if one.rule == rule)


def test_rights_are_asked_on_both_sides(ward, person):
    made = ward.plan("owner", review="none")
    assert not {"A01", "A02", "A03", "A04"} & told(made)
    login = ward.server.accounts["collaborator"][0]
    for project in (ward.source, ward.destination):
        answer = ward.who.put(f"/data/projects/{project}/users/Collaborators/{login}")
        assert answer.status_code < 300, answer.text
    made = ward.plan("collaborator", review="none")
    assert "A02" in told(made, "blocking")
    assert ward.destination in sentence(made, "A02") and made.blockers


def test_a_data_type_that_is_missing_at_the_destination_is_told(ward):
    options = ward.options(review="none")
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        here, there, labels = read_sides(source, destination, options)
    assert there.settings.types_missing == ()
    settings = dataclasses.replace(there.settings, types_missing=("xnat:mrSessionData",))
    made = plan(here, dataclasses.replace(there, settings=settings), options, labels=labels)
    assert "xnat:mrSessionData" in sentence(made, "A06") and "A06" in told(made, "blocking")


def test_what_the_scripts_rewrite_is_named(ward):
    lines = "(0010,0010) := subject\n-(0008,0080)\n(0020,000D) := hashUID[(0020,000D)]\n"
    set_script(ward.who, ward.destination, script(lines))
    made = ward.plan(review="none")
    told_ = sentence(made, "S02")
    assert "sets PatientName" in told_ and "removes InstitutionName" in told_ and "hashes StudyInstanceUID" in told_
    assert "StudyDescription" in sentence(made, "S01")


def test_what_the_script_writes_is_harmless_and_what_it_replaces_is_said(ward):
    set_script(ward.who, ward.destination, '(0010,4000) := "FIXED TEXT"\n-(0008,0080)\n')
    values = {"PatientComments": "FIXED TEXT", "InstitutionName": "Some Place", "ImageComments": "fixed text"}
    ward.store("002", "002_MR1", {"1": ward.series("002", "002_MR1", count=1, **values)})
    made = ward.plan()
    assert "D21" not in told(made)
    assert "script replaces it on arrival" in sentence(made, "D12")


def test_a_series_import_filter_names_the_scans_that_it_drops(ward):
    text = json.dumps({"mode": "blacklist", "list": "series 2\n.*localizer.*"})
    where = f"/data/projects/{ward.destination}/config/seriesImportFilter/config"
    assert ward.who.put(where, params={"status": "enabled"}, data=text).status_code in (200, 201)
    made = ward.plan(review="none")
    (found,) = [one for one in made.findings if one.rule == "S08"]
    assert (found.session, found.scan, found.severity) == ("001_MR1", "2", "blocking")
    quiet = json.dumps({"mode": "whitelist", "list": "series.*"})
    assert ward.who.put(where, params={"status": "enabled"}, data=quiet).status_code in (200, 201)
    made = ward.plan(review="none")
    assert "S11" in told(made, "note") and "S08" not in told(made)


SCOUT, T1, UNKNOWN = Described("CT", "scout"), Described("MR", "T1 MPRAGE"), Described(None, "T1 MPRAGE")


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        ('{"mode": "blacklist", "list": ["scout"]}', (True, False, False)),
        ('{"mode": "whitelist", "list": "T1.*"}', (True, False, False)),
        ('{"mode": "whitelist", "list": "scout", "enabled": false}', (False, False, False)),
        ("""{"mode": "modalityMap", "MR": "Modality == 'MR'"}""", (True, False, None)),
        ("""{"mode": "modalityMap", "MR": "SeriesDescription =~ /^T1/"}""", (True, False, False)),
        ("""{"mode": "modalityMap", "MR": "Modality == 'MR' && SeriesDescription !~ /T1/"}""", (True, True, True)),
        ("""{"mode": "modalityMap", "MR": "Modality == 'MR'", "CT": "!(Modality != 'CT')"}""", (False, False, None)),
        ("""{"mode": "modalityMap", "MR": "StationName == 'A' || Modality == \\"MR\\""}""", (None, False, None)),
        ("""{"mode": "modalityMap", "MR": "true"}""", (False, False, False)),
        ("""{"mode": "modalityMap", "list": "{\\"MR\\": \\"Modality == 'MR'\\"}"}""", (True, False, None)),
        ("""{"mode": "modalityMap", "MR": "Modality in ['MR']"}""", None),
        ("""{"mode": "modalityMap", "MR": "Modality == 'MR' Modality == 'CT'"}""", None),
        ("""{"mode": "modalityMap", "MR": "(Modality == 'MR'"}""", None),
        ("""{"mode": "modalityMap", "MR": "Modality =~ /(/"}""", None),
        ("""{"mode": "modalityMap", "filters": {"MR": "Modality == 'MR'"}}""", None),
        ('{"mode": "modalityMap", "MR": "x"}', None),
        ('{"mode": "blacklist", "list": "("}', None),
        ('{"mode": "another", "list": "x"}', None),
        ("no json", None),
        ('["a list"]', None),
    ],
)
def test_filters_are_read_or_said_to_be_unreadable(text, drops):
    said = dropped_by(text, [SCOUT, T1, UNKNOWN])
    assert (said and tuple(said.values())) == drops


@pytest.mark.parametrize(
    ("expressions", "dropped"),
    [
        ({"MR": "Modality == 'MR'"}, ["3"]),
        ({"MR": "Modality == 'MR' && SeriesDescription !~ /2$/", "CT": "Modality == 'CT'"}, ["2"]),
        ({"PT": "Modality == 'PT'"}, ["1", "2", "3"]),
        ({"MR": "!(Modality == 'CT') || SeriesDescription =~ /nothing/"}, ["3"]),
    ],
)
def test_the_scans_that_a_map_by_modality_drops_are_those_that_the_import_drops(person, expressions, dropped):
    ward = Ward(person)
    scans = {str(number): ward.series("001", "001_MR1", number, 1) for number in (1, 2, 3)}
    for number, (header,) in scans.items():
        header.SeriesDescription = f"series {number}"
    scans["3"][0].Modality, scans["3"][0].SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"
    ward.store("001", "001_MR1", {number: scans[number] for number in ("1", "2")})
    session = f"/data/projects/{ward.source}/subjects/001/experiments/001_MR1/scans"
    place, ct = f"{session}/3", {"xsiType": "xnat:ctScanData", "xnat:ctScanData/series_description": "series 3"}
    ward.who.put(place, params=ct | {"xnat:ctScanData/modality": "CT"}).raise_for_status()
    for number in ("1", "2"):
        query = {"xsiType": "xnat:mrScanData", "xnat:mrScanData/modality": "MR"}
        ward.who.put(f"{session}/{number}", params=query).raise_for_status()
    ward.who.put(f"{place}/resources/DICOM", params={"format": "DICOM"}).raise_for_status()
    data = written(scans["3"][0])
    ward.who.put(f"{place}/resources/DICOM/files/1.dcm", params={"inbody": "true"}, data=data).raise_for_status()
    text = json.dumps({"mode": "modalityMap", **expressions})
    where = f"/data/projects/{ward.destination}/config/seriesImportFilter/config"
    assert ward.who.put(where, params={"status": "enabled"}, data=text).status_code in (200, 201)
    made = ward.plan(review="none")
    assert [one.scan for one in made.findings if one.rule == "S08"] == dropped
    kept = []
    for number, (header,) in scans.items():
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("1.dcm", written(header))
        query = {"import-handler": "DICOM-zip", "inbody": "true", "dest": f"/prearchive/projects/{ward.destination}"}
        answer = ward.who.post(
            "/data/services/import", params=query, data=out.getvalue(), headers={"Content-Type": "application/zip"}
        )
        assert answer.status_code == 200, answer.text
        kept += [number] if answer.text.strip() else []
    assert kept == [number for number in scans if number not in dropped]


def test_what_a_map_asks_beyond_the_listing_cannot_be_told(ward):
    for expression, words in (("StationName == 'A'", "2 of 2 scans"), ("Modality in ['MR']", "documented forms")):
        text = json.dumps({"mode": "modalityMap", "MR": expression})
        where = f"/data/projects/{ward.destination}/config/seriesImportFilter/config"
        assert ward.who.put(where, params={"status": "enabled"}, data=text).status_code in (200, 201)
        made = ward.plan(review="none")
        assert words in sentence(made, "S11") and "cannot be told" in sentence(made, "S11")
        assert "S08" not in told(made)


def test_hints_for_upload_clients_are_kept(ward):
    ward.store("002", "002_MR1", {"1": ward.series("002", "002_MR1", count=1)})
    place = f"/data/projects/{ward.destination}/config/applet"
    for name in ("allow-create-subject", "allow-bulk-upload"):
        answer = ward.who.put(f"{place}/{name}", params={"status": "enabled"}, data="false")
        assert answer.status_code in (200, 201)
    made = ward.plan(review="none")
    assert "S09" in told(made, "blocking") and "001, 002" in sentence(made, "S09")
    assert "S10" in told(made, "warning")


def test_labels_and_file_names_that_read_as_people(ward, tmp_path):
    ward.store("Smith_John", "Smith_John_1", {"1": ward.series("Smith_John", "Smith_John_1", count=1)})
    made = ward.plan(review="none")
    assert [one.element for one in made.findings if one.rule == "D27"] == ["subject label"]
    names = tmp_path / "names.txt"
    names.write_text("Smith John\n")
    made = ward.plan(review="none", identifiers=str(names))
    assert {one.element for one in made.findings if one.rule == "D07"} == {"subject label", "session label"}


@pytest.mark.needs("1.7", because="equal files are told by listed MD5s, and up to 1.7.2 none is listed")
def test_empty_and_equal_files_are_told_from_the_listing(ward):
    same = ward.header("003", "003_MR1")
    ward.store("003", "003_MR1", {"1": [same, same, ward.header("003", "003_MR1", 1, 2)]})
    options = ward.options(review="none")
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        here, there, labels = read_sides(source, destination, options)
    here.files.loc[here.files["path"] == "003.dcm", "size_bytes"] = 0
    made = plan(here, there, options, labels=labels)
    assert "C14" in told(made, "note")
    assert "C13" in told(made, "warning")


@pytest.mark.parametrize("site", [False, None, True])
@pytest.mark.parametrize("project", [False, None, True])
@pytest.mark.parametrize("failed", [False, True])
def test_no_script_runs_only_where_both_are_told_to_be_off(side, site, project, failed):
    """What is not told, or what the server fails to tell, is no missing script (S12, S15)."""
    here, there, options, labels = side
    words = [word for word, on in (("site script", site), ("project script", project)) if on is None]
    values = {"site_script_on": site, "project_script_on": project, "failed": tuple(words) if failed else ()}
    values |= {"site_script": "" if site else None, "project_script": "" if project else None}
    values |= {"checksums": True, "series_filter_on": False, "prearchive_code": 0}  # told, whatever this version tells
    settings = dataclasses.replace(there.settings, **values)
    found = told(plan(here, dataclasses.replace(there, settings=settings), options, labels=labels))
    assert ("S03" in found) == (site is False and project is False)
    assert ("S15" in found) == (failed and bool(words))
    assert ("S12" in found) == (not failed and bool(words))
