"""Reviews on a real port: what each depth finds, what it costs, and that nothing of a value gets out."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from archive_kit import logged
from planted import written
from reviews import Ward, told
from roads import as_, writes

from xnbtransfer.cli import invoke
from xnbtransfer.errors import ExitCode, RefusedError
from xnbtransfer.findings import RULES
from xnbtransfer.keys import SessionKey
from xnbtransfer.notebook import ReviewOptions, run_template
from xnbtransfer.plan import Plan
from xnbtransfer.preparing import prepare
from xnbtransfer.record import open_record
from xnbtransfer.review import values_of_dump
from xnbtransfer.reviewer import Ground, Reviewer, reviewer_of
from xnbtransfer.transfer import run


@pytest.fixture
def ward(person) -> Ward:
    return Ward(person)


def test_a_clean_project_has_no_blocking_finding_and_no_warning_of_its_headers(ward):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1"), "2": ward.series("001", "001_MR1", 2)})
    for depth in ("sample", "all"):
        made = ward.plan(review=depth, alone=True)
        loud = [one for one in made.findings if one.severity != "note" and one.rule[0] in "CDR"]
        assert loud == []
        assert {"L01", "D40", "D41", "D50"} <= told(made, "note")


@pytest.mark.parametrize("depth", ["sample", "all"])
def test_a_name_in_every_file_is_a_blocker_at_each_depth(ward, depth, tmp_path):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", PatientName="Mustermann^Erika")})
    made = ward.plan(review=depth)
    (found,) = [one for one in made.findings if one.rule == "D01"]
    assert (found.severity, found.element, found.shape) == ("blocking", "PatientName", "Xxx^Xxx")
    assert (found.subject, found.session, found.scan) == ("001", "001_MR1", "1")
    assert "ustermann" not in made.to_json()
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        before = len(writes(ward.server))
        with pytest.raises(RefusedError) as refused:
            run(made, source, destination, folder=tmp_path)
        assert refused.value.exit_code == ExitCode.REFUSED
        assert len(writes(ward.server)) == before


def test_a_sample_looks_at_one_file_a_scan_and_says_so(ward):
    files = ward.series("001", "001_MR1", count=5)
    files[3].PatientBirthDate = "19470311"
    ward.store("001", "001_MR1", {"1": files})
    sampled = ward.plan(review="sample")
    assert "D03" not in told(sampled)
    (limit,) = [one for one in sampled.findings if one.rule == "L01"]
    assert "One file of each of 1 scans" in limit.sentence and "review=all" in limit.sentence
    whole = ward.plan(review="all", alone=True)
    assert "D03" in told(whole, "blocking")
    (limit,) = [one for one in whole.findings if one.rule == "L01"]
    assert "Every one of 5 files" in limit.sentence


def test_no_review_reads_nothing_and_says_so(ward):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", PatientName="Mustermann^Erika")})
    made = ward.plan(review="none")
    assert "L02" in told(made, "warning")
    assert not {rule for rule in told(made) if rule[0] in "CDR"}


def test_a_sample_costs_one_request_a_scan(ward):
    ward.store("001", "001_MR1", {str(scan): ward.series("001", "001_MR1", scan, 1) for scan in range(1, 6)})
    before = logged(ward.server)
    ward.plan(review="none")
    between = logged(ward.server)
    ward.plan(review="sample")
    assert logged(ward.server) - between <= between - before + 5


def test_a_server_without_a_header_dump_is_read_from_the_files(ward):
    ds = ward.header("001", "001_MR1")
    ds.add_new(0x00291020, "OB", b'\0\1<ParamString."PatientName"> { "Mustermann, Erika" }\0')
    ward.store("001", "001_MR1", {"1": [ds]})
    assert "D06" not in told(ward.plan()), "binary values are not in a dump"
    ward.server.faults([{"fault": "404", "path": "/data/services/dicomdump", "times": 1000}])
    try:
        made = ward.plan()
    finally:
        ward.server.faults([])
    assert "D06" in told(made, "blocking")
    assert "header dump" not in [one.sentence for one in made.findings if one.rule == "L01"][0]


def test_rows_of_a_dump_are_read_as_headers_are():
    rows = [
        {"tag1": "(0010,0010)", "tag2": "", "vr": "PN", "value": "M&amp;M^Erika"},
        {"tag1": "(0010,1002)", "tag2": "(0010,1002)", "vr": "SQ", "value": ""},
        {"tag1": "(0010,1002)", "tag2": "(0010,0020)", "vr": "LO", "value": "4711"},
        {"tag1": "(0010,1002)", "tag2": "(0010,0020)", "vr": "LO", "value": "4712"},
    ]
    values = values_of_dump(rows)
    assert values["00100010"] == (b"PN", b"M&M^Erika")
    assert values["00101002"][0] == b"SQ"
    assert [values[f"00101002[{n}].00100020"][1] for n in (0, 1)] == [b"4711", b"4712"]


# -- in the stream of a copy -------------------------------------------------------------------------------------


def copied(ward, folder, **values):
    """A copy whose plan was not reviewed before: (plan, result, connections' owner view)."""
    options = ward.options(**values)
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        made = prepare(source, destination, options, headers=False)
        return made, run(made, source, destination, folder=folder)


def at_destination(ward) -> set[tuple[str, str]]:
    """Session and scan of all that the destination holds, archived or not."""
    with as_(ward.server, "owner") as connection:
        found = {(row["session"], row["scan"]) for row in connection.scans(ward.destination)}
        for row in connection.prearchive(ward.destination):
            found |= {(row["session"], one["scan"]) for one in connection.prearchive_resources(row["uri"])}
    return {(session, scan) for session, scan in found if scan}


def test_a_blocking_file_stops_its_session_and_no_other(ward, tmp_path):
    bad = ward.series("002", "002_MR1", 2, 4)
    bad[2].PatientName = "Mustermann^Erika"
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1")})
    ward.store("002", "002_MR1", {"1": ward.series("002", "002_MR1"), "2": bad})
    made, result = copied(ward, tmp_path, review="all", archive=True)
    assert result.exit_code == ExitCode.REFUSED
    states = dict(zip(result.sessions["session"], result.sessions["state"], strict=True))
    assert states == {"001_MR1": "archived", "002_MR1": "failed"}
    (row,) = result.findings[result.findings["severity"] == "blocking"].to_dict("records")
    assert (row["rule"], row["session"], row["scan"], row["files"]) == ("D01", "002_MR1", "2", 1)
    assert "Every" not in row["sentence"] and "L01" in set(result.findings["rule"])
    assert ("002_MR1", "2") not in at_destination(ward) and ("001_MR1", "1") in at_destination(ward)
    assert sum(result.counts.values()) == sum(session.files for session in made.sessions)
    told = (tmp_path / "journal.jsonl").read_text() + result.findings.to_csv() + result.files.to_csv()
    assert "ustermann" not in told + str(result.problems) + str(result.sessions["because"].tolist())


def late(ward, **values):
    """A session of five scans, the last of which has a blocking file."""
    scans = {str(number): ward.series("002", "002_MR1", number) for number in range(1, 6)}
    scans["5"] = ward.series("002", "002_MR1", 5, PatientBirthDate="19470311")
    ward.store("002", "002_MR1", scans)
    return copied(ward, review="all", archive=True, workers=1, **values)


def test_nothing_stays_of_a_session_that_was_stopped_in_the_middle(ward, tmp_path):
    made, result = late(ward, folder=tmp_path)
    assert result.exit_code == ExitCode.REFUSED
    sent = [line for line in (tmp_path / "journal.jsonl").read_text().splitlines() if '"sent"' in line]
    assert sent, "scans were sent before the one that stopped it"
    assert at_destination(ward) == set()
    assert "deleted from the prearchive again" in result.sessions["because"][0]
    assert sum(result.counts.values()) == sum(session.files for session in made.sessions)
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        second = run(made, source, destination, folder=tmp_path)
    assert (second.exit_code, second.writes) == (ExitCode.REFUSED, 0)
    assert at_destination(ward) == set()


@pytest.mark.parametrize("fault", ["no-answer-after", "500-after", "reset-before", "503", "empty-200"])
def test_it_is_taken_back_whatever_the_answer_to_the_deletion_is(ward, tmp_path, fault):
    rule = {"fault": fault, "method": "POST", "path": "/data/services/prearchive/delete", "times": 1}
    ward.server.faults([{**rule, "retry_after_s": 0}])
    try:
        _, result = late(ward, folder=tmp_path)
    finally:
        ward.server.faults([])
    assert result.exit_code == ExitCode.REFUSED
    assert at_destination(ward) == set()
    assert "deleted from the prearchive again" in result.sessions["because"][0]


def test_where_the_deletion_is_refused_a_person_is_told(ward, tmp_path):
    ward.server.faults([{"fault": "403", "method": "POST", "path": "/data/services/prearchive/delete"}])
    try:
        _, result = late(ward, folder=tmp_path)
    finally:
        ward.server.faults([])
    assert result.exit_code == ExitCode.REFUSED and at_destination(ward)
    assert "delete them there" in result.sessions["because"][0]


KILLED = """
import os, signal, sys
from pathlib import Path
from xnbtransfer.plan import Plan
from xnbtransfer.transfer import run
from xnbtransfer.xnat import connect
folder = Path(sys.argv[1])
def tell(event):
    if (event.kind, event.name) == ("session", "failed"):
        os.kill(os.getpid(), signal.SIGKILL)
with connect("source", prompt=False) as source, connect("destination", prompt=False) as destination:
    run(Plan.load(folder / "plan.json"), source, destination, folder=folder, on_event=tell)
"""


@pytest.mark.parametrize("deleted", [False, True])
def test_killed_beside_the_deletion_the_next_run_leaves_nothing(ward, tmp_path, deleted):
    """Right before the row is deleted, and right after, before that is written down."""
    scans = {str(number): ward.series("002", "002_MR1", number) for number in range(1, 6)}
    scans["5"] = ward.series("002", "002_MR1", 5, PatientBirthDate="19470311")
    ward.store("002", "002_MR1", scans)
    options = ward.options(review="all", archive=True, workers=1)
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        made = prepare(source, destination, options, headers=False)
        made.save(tmp_path / "plan.json")
        user, password = ward.server.accounts["owner"]
        env = {**os.environ, "XNAT_HOST": ward.server.url, "XNAT_USER": user, "XNAT_PASS": password}
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        done = subprocess.run(command, env=env, cwd=Path(__file__).parent.parent, timeout=300)
        assert done.returncode == -signal.SIGKILL
        (row,) = destination.prearchive(ward.destination)
        assert "withdrawn" not in (tmp_path / "journal.jsonl").read_text()
        if deleted:
            destination.change_waiting("delete", row["uri"])
            while destination.prearchive_row(row["uri"]) is not None:
                time.sleep(0.05)
        result = run(made, source, destination, folder=tmp_path)
        assert result.exit_code == ExitCode.REFUSED, result.problems
        assert at_destination(ward) == set()
        last = run(made, source, destination, folder=tmp_path)
        assert (last.exit_code, last.writes) == (ExitCode.REFUSED, 0)
    assert at_destination(ward) == set()


def test_what_somebody_else_put_beside_it_is_left_and_said(ward, tmp_path):
    options = ward.options(review="all", archive=True, workers=1)
    scans = {str(number): ward.series("002", "002_MR1", number) for number in range(1, 6)}
    scans["5"] = ward.series("002", "002_MR1", 5, PatientBirthDate="19470311")
    ward.store("002", "002_MR1", scans)

    def another(event) -> None:
        if (event.kind, event.name) == ("scan", "sent") and not beside:
            beside.append(event.where)
            with as_(ward.server, "owner") as connection:
                (row,) = connection.prearchive(ward.destination)
            other = ward.header("002", "002_MR1", 9, 1)
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                archive.writestr("other.dcm", written(other))
            query = {"import-handler": "DICOM-zip", "inbody": "true", "dest": row["uri"].removeprefix("/data")}
            answer = ward.who.post("/data/services/import", params=query, data=out.getvalue())
            assert answer.status_code == 200, answer.text

    beside: list[str] = []
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        made = prepare(source, destination, options, headers=False)
        result = run(made, source, destination, folder=tmp_path, on_event=another)
    assert beside and result.exit_code == ExitCode.REFUSED
    assert ("002_MR1", "9") in at_destination(ward) and ("002_MR1", "5") not in at_destination(ward)
    assert "delete them there" in result.sessions["because"][0]


def test_a_run_that_goes_on_knows_what_was_reviewed_before(ward, tmp_path):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", InstitutionName="Some Place")})
    bad = ward.series("002", "002_MR1", PatientBirthDate="19470311")
    ward.store("002", "002_MR1", {"1": bad})
    made, first = copied(ward, tmp_path, review="all", archive=True)
    with as_(ward.server, "owner") as source, as_(ward.server, "owner") as destination:
        second = run(made, source, destination, folder=tmp_path)
    assert first.exit_code == second.exit_code == ExitCode.REFUSED
    for result in (first, second):
        assert {"D12", "D03"} <= set(result.findings["rule"])
    assert second.writes == 0


def test_a_clean_copy_with_every_file_reviewed_is_proved(ward, tmp_path):
    ward.store("001", "001_MR1", {str(n): ward.series("001", "001_MR1", n) for n in (1, 2, 3)})
    _, plain = copied(ward, tmp_path / "a", review="none")
    assert plain.findings is None and plain.exit_code == ExitCode.PROVED
    ward.store("002", "002_MR1", {str(n): ward.series("002", "002_MR1", n) for n in (1, 2, 3)})
    _, result = copied(ward, tmp_path / "b", review="all", sessions=("002_MR1",))
    assert result.exit_code == ExitCode.PROVED
    assert not set(result.findings["severity"]) - {"note"}
    assert result.requests <= plain.requests, "no file is read twice"


def test_files_that_go_byte_for_byte_are_reviewed_before(ward, tmp_path):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", PatientBirthDate="19470311")})
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text(
        "format: 1\nwaivers:\n" + "".join(
            f'  - {{rule: {rule}, scope: {{everywhere: true}}, reason: "a test"}}\n'
            for rule, about in RULES.items() if rule[0] in "SPF" and about.severity == "blocking"
        )
    )  # fmt: skip
    _, result = copied(ward, tmp_path / "run", review="all", method="files", waivers=str(waivers))
    assert result.exit_code == ExitCode.REFUSED
    assert at_destination(ward) == set()


# -- consistency -------------------------------------------------------------------------------------------------


def test_consistency_of_a_session(ward):
    files = ward.series("001", "001_MR1", count=6)
    del files[3]  # a gap
    files[0].PatientID = "001_MR9"
    other = ward.series("001", "001_MR1", 2, 2)
    other[1].StudyInstanceUID = "2.25.4242"
    other[0].SeriesNumber = other[1].SeriesNumber = "1"
    twice = ward.header("001", "001_MR1", 3, 1)
    again = ward.header("001", "001_MR1", 3, 1, SeriesDescription="again")
    broken = written(ward.header("001", "001_MR1", 4, 1))[:-6]
    ward.store(
        "001", "001_MR1",
        {"1": files, "2": other, "3": [twice, again], "4": [broken, b"no DICOM, only text " * 10]},
    )  # fmt: skip
    made = ward.plan(review="all", alone=True)
    assert {"C01", "C11"} <= told(made, "blocking")
    assert {"C03", "C04", "C06", "C07", "C12", "D02"} <= told(made, "warning")


@pytest.mark.parametrize(("syntax", "rule"), [("1.2.840.10008.1.2.1.99", "C10"), ("1.2.840.10008.1.2.4.201", "C10")])
def test_syntaxes_that_a_receiver_does_not_take(syntax, rule):
    key = SessionKey("001", "001_MR1")
    for receiver in (False, True):
        reviewer = Reviewer(Ground(source="A", destination="B", sessions={key: key}, receiver=receiver))
        part = reviewer.scan("001", "001_MR1", "1")
        part.file({"00020010": (b"UI", syntax.encode()), "0020000D": (b"UI", b"2.25.1")})
        part.close()
        found = {one.rule for one in reviewer.findings()}
        assert (rule in found) == receiver and "C08" in found
        assert ("C09" in found) == syntax.endswith(".99")


def test_ids_that_do_not_fit_the_label_map(ward):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", PatientName="002")})
    ward.store("002", "002_MR1", {"1": ward.series("002", "002_MR1")})
    made = ward.plan(review="sample")
    (found,) = [one for one in made.findings if one.rule == "C05"]
    assert found.session == "001_MR1"


def test_a_header_that_announces_more_images_than_are_there(ward):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", ImagesInAcquisition="20")})
    assert "C07" in told(ward.plan(review="all", alone=True), "warning")
    assert "C07" not in told(ward.plan(review="sample"))


# -- routing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "rule", "severity"),
    [
        ({"PatientComments": "Project: OTHER Subject: 001"}, "R01", "warning"),
        ({"StudyDescription": "xnat://OTHER/001/001_MR1"}, "R01", "warning"),
        ({"PatientComments": "Session:001_MR2"}, "R02", "warning"),
        ({"StudyDescription": "x" * 65}, "R04", "warning"),
        ({"PatientComments": "AA:true"}, "R03", "note"),
    ],
)
def test_routing_text(ward, values, rule, severity):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", count=1, **values)})
    made = ward.plan()
    assert rule in told(made, severity)
    assert "OTHER" not in made.to_json()


def test_routing_text_for_another_project_is_blocking_for_a_receiver(ward):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", count=1)})
    made = ward.plan(review="none")
    ground = reviewer_of(made).ground
    values = {"00324000": (b"LT", b"Project: OTHER"), "0020000D": (b"UI", b"2.25.1")}
    for receiver, severity in ((False, "warning"), (True, "blocking")):
        reviewer = Reviewer(
            Ground(source=made.source.project, destination="B", sessions=ground.sessions, receiver=receiver)
        )
        part = reviewer.scan("001", "001_MR1", "1")
        part.file(values)
        assert bool(part.blocking()) == receiver
        part.close()
        assert [one.severity for one in reviewer.findings() if one.rule == "R01"] == [severity]


# -- policy, waivers, identifiers --------------------------------------------------------------------------------


def test_a_policy_and_waivers_reach_the_plan_and_bear_their_reason(ward, tmp_path):
    ward.store(
        "001", "001_MR1", {"1": ward.series("001", "001_MR1", InstitutionName="Some Place", OperatorsName="A^B")}
    )
    assert {"D12", "D10"} <= told(ward.plan(), "warning")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"format: 1\nprojects:\n  {ward.destination}:\n    retain: [institution]\n    rules: {{D10: blocking}}\n"
    )
    made = ward.plan(policy=str(policy))
    assert "D12" not in told(made) and "D49" in told(made, "note") and "D10" in told(made, "blocking")
    assert made.policy.retain == ("institution",)
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text(
        'format: 1\nwaivers:\n  - {rule: D10, scope: {session: "001_MR1"}, reason: "a dummy, ticket 17"}\n'
    )
    made = ward.plan(policy=str(policy), waivers=str(waivers))
    (found,) = [one for one in made.findings if one.rule == "D10"]
    assert (found.severity, found.waived) == ("note", "a dummy, ticket 17")
    assert not made.blockers
    assert Plan.load(made.save(tmp_path / "plan.json")) == made
    waivers.write_text('format: 1\nwaivers:\n  - {rule: D10, scope: {session: "001_MRI"}, reason: "a dummy"}\n')
    made = ward.plan(policy=str(policy), waivers=str(waivers))
    (found,) = [one for one in made.findings if one.rule == "P12"]
    assert found.severity == "warning" and "001_MR1 was meant" in found.sentence and made.blockers


def test_a_list_of_identifiers_finds_what_no_pattern_can(ward, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("Quistelhausen\n4711\n", encoding="utf-8")
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", SeriesDescription="quistelhausen knee")})
    assert "D07" not in told(ward.plan())
    made = ward.plan(identifiers=str(names))
    (found,) = [one for one in made.findings if one.rule == "D07"]
    assert (found.severity, found.shape, found.element) == ("blocking", "entry 1", "SeriesDescription")
    assert "uistelhausen" not in made.to_json().lower().replace(str(names).lower(), "")
    assert "scrypt" in [one.sentence for one in made.findings if one.rule == "L04"][0]


# -- as a document -----------------------------------------------------------------------------------------------


def test_the_review_as_a_record(ward, tmp_path):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", PatientName="Mustermann^Erika", PatientID="P47")})
    user, password = ward.server.accounts["owner"]
    env = {"XNAT_HOST": ward.server.url, "XNAT_USER": user, "XNAT_PASS": password}
    options = ReviewOptions.from_mapping(
        {"source_project": ward.source, "destination_project": ward.destination, "record_root": str(tmp_path)}
    )
    found = open_record(run_template("review", options, env=env))
    assert found.summary["exit_code"] == ExitCode.REFUSED
    assert found.summary["result"] == "reviewed, with blocking findings"
    rows = found.table("findings")
    assert {"D01", "D02", "L01"} <= set(rows["rule"])
    for path in found.data.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "ustermann" not in text and "P47" not in text, path.name
    page = found.page.read_text(encoding="utf-8")
    assert "blocking findings" in page and "PatientName" in page


def test_a_transfer_with_a_review_of_every_file_keeps_what_it_found(ward, tmp_path):
    bad = ward.series("002", "002_MR1", count=4)
    bad[1].PatientBirthDate = "19470311"
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1")})
    ward.store("002", "002_MR1", {"1": bad})
    user, password = ward.server.accounts["owner"]
    env = {"XNAT_HOST": ward.server.url, "XNAT_USER": user, "XNAT_PASS": password}
    options = ward.options(review="all", archive=True, record_root=str(tmp_path))
    found = open_record(run_template("transfer", options, env=env))
    assert found.summary["exit_code"] == ExitCode.REFUSED
    rows = found.table("findings")
    assert list(rows[rows["severity"] == "blocking"]["element"]) == ["PatientBirthDate"]
    assert list(found.table("sessions")["state"]) == ["archived", "failed"]
    assert not [path.name for path in found.data.iterdir() if "19470311" in path.read_text(encoding="utf-8")]
    assert "Review of every file while it was copied" in found.page.read_text(encoding="utf-8")


def test_values_are_shown_on_a_terminal_and_nowhere_else(ward, monkeypatch, tmp_path, capsys):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", SeriesDescription="seen by \x1b[31mnobody")})
    user, password = ward.server.accounts["owner"]
    env = {**os.environ, "XNAT_HOST": ward.server.url, "XNAT_USER": user, "XNAT_PASS": password}
    command = [sys.executable, "-m", "xnbtransfer.cli", "review", ward.source, ward.destination, "--show-values"]
    monkeypatch.chdir(tmp_path)
    assert invoke(command[3:]) == ExitCode.BAD_INPUT
    assert "terminal only" in capsys.readouterr().err
    here, there = pty.openpty()
    shown = subprocess.run(command, stdout=there, stderr=subprocess.PIPE, env=env, cwd=tmp_path, timeout=120)
    os.close(there)
    text = b""
    try:
        while piece := os.read(here, 65536):
            text += piece
    except OSError:
        pass
    os.close(here)
    assert shown.returncode == 0, shown.stderr
    assert b"seen by ?[31mnobody" in text and b"SeriesDescription" in text
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_says_what_is_known(ward, monkeypatch, tmp_path, capsys):
    ward.store("001", "001_MR1", {"1": ward.series("001", "001_MR1", PatientBirthDate="19470311")})
    user, password = ward.server.accounts["owner"]
    for name, value in (("HOST", ward.server.url), ("USER", user), ("PASS", password)):
        monkeypatch.setenv(f"XNAT_{name}", value)
    monkeypatch.chdir(tmp_path)
    assert invoke(["plan", ward.source, ward.destination, "--json"]) == ExitCode.REFUSED
    plan = json.loads(capsys.readouterr().out)
    assert [one["element"] for one in plan["findings"] if one["rule"] == "D03"] == ["PatientBirthDate"]
    assert invoke(["run", "plan.json"]) == ExitCode.REFUSED
    assert invoke(["plan", ward.source, ward.destination, "--policy", "missing.yaml"]) == ExitCode.BAD_INPUT
