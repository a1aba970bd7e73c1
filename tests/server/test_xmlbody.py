"""Items as XML in both directions, lists that take one more, and what fields refuse (REST tests TestSubjectResources,
TestSubjAssessmentResources, TestScans)."""

from __future__ import annotations

import doctest
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnbtransfer.server import answers, fields, listings, xmlbody

NAMES = 'xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
XML = {"Content-Type": "text/xml"}
TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), max_size=20)
WORD = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,11}", fullmatch=True)


def document(root: str, inside: str = "", **attributes: str) -> bytes:
    given = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<xnat:{root}{given} {NAMES}>{inside}</xnat:{root}>'.encode()


def shown(person, path: str) -> dict:
    """The fields of an item, those of its single objects and its custom variables included."""
    (item,) = person.get(path, params={"format": "json"}).json()["items"]
    found = dict(item["data_fields"])
    for child in item["children"]:
        for row in child["items"]:
            if child["field"] == "fields/field":
                found[f"${row['data_fields']['name']}"] = row["data_fields"]["field"]
            elif "/" not in child["field"]:
                found |= row["data_fields"]
    return found


SUBJECT = """<xnat:group>control</xnat:group>
<xnat:demographics xsi:type="xnat:demographicData"><xnat:dob>1970-01-02</xnat:dob><xnat:gender>female</xnat:gender>
</xnat:demographics><xnat:fields><xnat:field name="colour">blue</xnat:field></xnat:fields>"""
SESSION = """<xnat:date>2020-02-03</xnat:date><xnat:time>10:11:12</xnat:time><xnat:note>seen</xnat:note>
<xnat:scanner manufacturer="MAKER" model="M1">room 3</xnat:scanner>
<xnat:scans><xnat:scan ID="1" type="T1" UID="1.2.3.1" xsi:type="xnat:mrScanData"><xnat:quality>usable</xnat:quality>
<xnat:parameters><xnat:tr>7.5</xnat:tr></xnat:parameters></xnat:scan></xnat:scans>"""


def test_a_subject_as_xml(study):
    path = f"{study.path}/subjects/X1"
    assert study.owner.put(path, data=document("Subject", SUBJECT), headers=XML).status_code == 201
    found = shown(study.owner, path)
    assert (found["group"], found["dob"], found["gender"], found["$colour"]) == (
        "control", "1970-01-02", "female", "blue"
    )  # fmt: skip
    less = document("Subject", "<xnat:src>somewhere</xnat:src>")
    assert study.owner.put(path, data=less, headers=XML).status_code == 200
    found = shown(study.owner, path)
    assert (found["group"], found["src"]) == ("control", "somewhere")
    assert study.owner.put(path, data=less, headers=XML, params={"allowDataDeletion": "true"}).status_code == 200
    found = shown(study.owner, path)
    assert ("group" in found, "$colour" in found, found["src"]) == (False, False, "somewhere")


def test_a_session_with_its_scans_as_xml(study):
    path = f"{study.path}/subjects/X1/experiments/X1_MR1"
    body = document("MRSession", SESSION, modality="MR", UID="1.2.3")
    made = study.owner.put(path, data=body, params={"inbody": "true"})
    assert made.status_code == 201
    found = shown(study.owner, path)
    assert (found["date"], found["UID"], found["scanner/model"], found["scanner"]) == (
        "2020-02-03", "1.2.3", "M1", "room 3"
    )  # fmt: skip
    scan = shown(study.owner, f"{path}/scans/1")
    assert (scan["type"], scan["UID"], scan["parameters/tr"]) == ("T1", "1.2.3.1", "7.5")
    rows = study.owner.rows(f"{study.path}/experiments", columns="label,xnat:mrSessionData/scanner/model")
    assert {row["label"]: row["xnat:mrsessiondata/scanner/model"] for row in rows}["X1_MR1"] == "M1"


def test_what_was_read_as_xml_can_be_written(study):
    study.owner.put(f"{study.path}/subjects/X1", data=document("Subject", SUBJECT), headers=XML)
    path = f"{study.path}/subjects/X1/experiments/X1_MR1"
    study.owner.put(path, data=document("MRSession", SESSION, UID="1.2.3"), headers=XML)
    for item, element in (("subjects/X1", "Subject"), ("subjects/X1/experiments/X1_MR1", "MRSession")):
        read = study.owner.get(f"{study.path}/{item}", params={"format": "xml"}).content
        root = ElementTree.fromstring(read)
        assert root.tag == f"{{http://nrg.wustl.edu/xnat}}{element}"
        before = shown(study.owner, f"{study.path}/{item}")
        again = study.owner.put(f"{study.path}/{item}", data=read, headers=XML, params={"allowDataDeletion": "true"})
        assert again.status_code == 200
        assert shown(study.owner, f"{study.path}/{item}") == before
    root.attrib.pop("ID")
    root.set("project", f"{study.name}_COPY")
    for subject in root.iter("{http://nrg.wustl.edu/xnat}subject_ID"):
        subject.text = "X2"
    assert study.owner.put(f"/data/projects/{study.name}_COPY").status_code == 200
    copied = f"/data/projects/{study.name}_COPY/subjects/X2/experiments/X2_MR1"
    root.set("label", "X2_MR1")
    assert study.owner.put(copied, data=ElementTree.tostring(root), headers=XML).status_code == 201
    assert shown(study.owner, f"{copied}/scans/1")["type"] == "T1"


@pytest.mark.parametrize(
    "inside",
    [
        "<xnat:date>yesterday</xnat:date>",
        "<xnat:time>25:00:00</xnat:time>",
        f"<xnat:operator>{'x' * 256}</xnat:operator>",
        '<xnat:scans><xnat:scan ID="1" xsi:type="xnat:mrScanData"><xnat:frames>many</xnat:frames></xnat:scan>'
        "</xnat:scans>",
    ],
)
def test_what_a_field_cannot_hold_is_400(study, inside):
    path = f"{study.path}/subjects/S01/experiments"
    answer = study.owner.post(path, data=document("MRSession", inside, label="BAD"), headers=XML)
    assert answer.status_code == 400
    assert "BAD" not in {row["label"] for row in study.owner.rows(path)}


def test_a_date_of_no_calendar_fails_as_it_is_stored(study):
    """As one of month 13 in a query does (seen on a live 1.8.11)."""
    path = f"{study.path}/subjects/S01/experiments"
    inside = "<xnat:date>2020-02-31</xnat:date>"
    answer = study.owner.post(path, data=document("MRSession", inside, label="BAD"), headers=XML)
    assert answer.status_code == 500
    assert "BAD" not in {row["label"] for row in study.owner.rows(path)}


def test_lists_take_one_more(study, person):
    subjects = f"{study.path}/subjects"
    made = study.owner.post(subjects, data=document("Subject", SUBJECT, label="P1"), headers=XML)
    assert made.status_code == 201
    assert made.headers["Location"] == made.text
    assert shown(study.owner, made.text.removeprefix(study.owner.server.url))["label"] == "P1"
    assert study.owner.post(subjects, data=document("Subject", label="P1"), headers=XML).status_code == 409
    assert study.owner.post(subjects, params={"xnat:subjectData/label": "P2"}).status_code == 201
    assert person("collaborator").post(subjects, data=document("Subject", label="P3"), headers=XML).status_code == 403
    sessions = f"{subjects}/P1/experiments"
    made = study.owner.post(sessions, data=document("MRSession", SESSION, label="P1_MR1"), headers=XML)
    assert made.status_code == 201
    unknown = study.owner.post(f"{subjects}/NOPE/experiments", data=document("MRSession", label="N"), headers=XML)
    assert unknown.status_code == 404
    scans = f"{sessions}/P1_MR1/scans"
    two = document("MRScan", "<xnat:note>n</xnat:note>", ID="2", type="T2")
    assert study.owner.post(scans, data=two, headers=XML).status_code == 201
    assert study.owner.post(scans, data=two, headers=XML).status_code == 409
    assert study.owner.put(f"{scans}/2", data=document("CTScan", ID="2"), headers=XML).status_code == 409
    assert shown(study.owner, f"{scans}/2")["note"] == "n"


def test_a_project_as_xml(person, study):
    owner, name = person("owner"), f"{study.name}_X"
    inside = (
        "<xnat:name>A study</xnat:name><xnat:description>words</xnat:description><xnat:keywords>k</xnat:keywords>"
        "<xnat:aliases><xnat:alias>other_name</xnat:alias></xnat:aliases>"
        "<xnat:PI><xnat:firstname>Pia</xnat:firstname><xnat:lastname>Investigator</xnat:lastname></xnat:PI>"
    )
    body = document("Project", inside.replace("A study", name).replace("other_name", f"{name}_alias"), ID=name)
    assert owner.post("/data/projects", data=body, headers=XML).status_code == 200
    (row,) = (row for row in owner.rows("/data/projects") if row["ID"] == name)
    assert (row["description"], row["pi_firstname"], row["pi_lastname"]) == ("words", "Pia", "Investigator")
    assert owner.get(f"/data/projects/{name}_alias", params={"format": "json"}).status_code == 200
    clash = document("Project", f"<xnat:name>{study.name}</xnat:name>", ID=f"{name}_2")
    assert owner.put(f"/data/projects/{name}_2", data=clash, headers=XML).status_code == 403
    assert owner.get(f"/data/projects/{name}_2", params={"format": "json"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<xnat:Subject", 422), (b"no xml", 422), (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 400)],
)
def test_what_is_no_document(study, body, status):
    assert study.owner.put(f"{study.path}/subjects/Z", data=body, headers=XML).status_code == status
    assert study.owner.get(f"{study.path}/subjects/Z").status_code == 404


def test_dates_may_be_american_and_null_deletes(study):
    path = f"{study.path}/subjects/S01/experiments/S01_MR1"
    assert study.owner.put(path, params={"date": "02/03/2020", "note": "x"}).status_code == 200
    assert shown(study.owner, path)["date"] == "2020-02-03"
    assert study.owner.put(path, params={"note": "NULL"}).status_code == 200
    assert "note" not in shown(study.owner, path)


@pytest.mark.parametrize("name", ["fields/field[name", "a b", "<b>", "1st", "a//b", "x\0y"])
def test_what_can_be_no_field_is_left_out_without_a_word(study, name):
    path = f"{study.path}/experiments/S01_MR1"
    assert study.owner.put(path, params={name: "myvar]/field=hello", "note": "kept"}).status_code == 200
    document = study.owner.get(path, params={"format": "xml"}).content
    assert ElementTree.fromstring(document).findtext("{http://nrg.wustl.edu/xnat}note") == "kept"
    assert b"myvar" not in document


def test_xml_holds_what_lies_deep_and_no_character_that_it_cannot(study):
    path = f"{study.path}/experiments/S01_MR1"
    fields = {"xnat:mrSessionData/a/b/c": "deep", "note": "a\x01b", "fields/field[name=n\nl]/field": "v"}
    assert study.owner.put(path, params=fields).status_code == 200
    found = ElementTree.fromstring(study.owner.get(path, params={"format": "xml"}).content)
    names = {"xnat": "http://nrg.wustl.edu/xnat"}
    assert found.findtext("xnat:a/xnat:b/xnat:c", namespaces=names) == "deep"
    assert found.findtext("xnat:note", namespaces=names) == "ab"


def test_locking_and_quarantine(study, person):
    path = f"{study.path}/subjects/S01/experiments/S01_MR1"
    assert person("member").put(path, params={"_lock": "true"}).status_code == 403
    assert study.owner.put(path, params={"_lock": "true"}).status_code == 200
    assert study.owner.get(f"{path}/status").text == "locked"
    assert study.owner.delete(path).status_code == 403
    assert study.owner.put(path, params={"_unlock": "true"}).status_code == 200
    assert study.owner.put(path, params={"quarantine": "true"}).status_code == 200
    assert study.owner.get(f"{path}/status").text == "quarantine"
    assert person("member").put(path, params={"activate": "true"}).status_code == 200
    assert study.owner.get(f"{path}/status").text == "active"


@given(
    attributes=st.dictionaries(st.sampled_from(["label", "UID", "modality"]), WORD),
    plain=st.dictionaries(WORD.filter(lambda name: name not in answers._ATTRIBUTES), TEXT.filter(bool), max_size=4),
    custom=st.dictionaries(WORD, TEXT.filter(bool), max_size=3),
)
def test_an_item_comes_back_from_its_xml(attributes, plain, custom):
    plain = {name: value for name, value in plain.items() if name.lower() not in {"scans", "fields", "aliases"}}
    plain = {name: value for name, value in plain.items() if name not in xmlbody._ELSEWHERE | {"demographics"}}
    shown = {**attributes, **plain, **{f"fields/field[name={name}]/field": value for name, value in custom.items()}}
    root = ElementTree.fromstring(answers.item_xml(answers.item("xnat:mrSessionData", shown)))
    found = xmlbody._item(root)
    label = {"label": found.label} if found.label else {}
    assert {**found.values, **label} == shown
    assert found.xsi_type == "xnat:mrSessionData"


@pytest.mark.parametrize("module", [answers, fields, listings, xmlbody])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" * 5000 + b"</a>" * 5000,
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a [<!ENTITY b 'c'>]><Subject>&b;</Subject>".encode("utf-16"),
    ],
    ids=["nested", "hidden doctype"],
)
def test_documents_that_mean_harm_are_400(study, body):
    assert study.owner.put(f"{study.path}/subjects/Z", data=body, headers=XML).status_code == 400
