"""Addresses are unique: over a result, whatever made its rows, and over what a plan of resources and fields writes."""

from __future__ import annotations

import collections
import dataclasses
import time

from archive_kit import Kit
from hypothesis import given
from hypothesis import strategies as st
from people import Person
from results import empty, inventory, options
from roads import as_

from xnbtransfer import server as embedded
from xnbtransfer.addresses import SAME_INSTANCE, SAME_PLACE
from xnbtransfer.errors import ExitCode
from xnbtransfer.keys import SessionKey
from xnbtransfer.labels import LabelMap
from xnbtransfer.options import TransferOptions
from xnbtransfer.plan import plan
from xnbtransfer.preparing import prepare
from xnbtransfer.transfer import run
from xnbtransfer.values import (
    FIELD_COLUMNS,
    FILE_COLUMNS,
    RESOURCE_COLUMNS,
    SCAN_COLUMNS,
    SESSION_COLUMNS,
    Verdict,
    frame,
)
from xnbtransfer.verify import outcome, result_of

PROVED = ("equal", "changed as explained")
AT = ("destination_subject", "destination_session", "destination_scan", "resource", "destination_path")
OF_INSTANCE = (*AT[:-1], "SOPInstanceUID")

SMALL = st.sampled_from(["1", "2"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "subject": SMALL,
            "session": SMALL,
            "scan": st.sampled_from(["1", "2"]),
            "resource": st.sampled_from(["DICOM", "NIFTI", "(fields)"]),
            "path": st.sampled_from(["a", "b"]),
            "size_bytes": st.just(1),
            "SOPInstanceUID": st.sampled_from(["", "", "1.2", "1.3"]),
            "destination_subject": SMALL,
            "destination_session": SMALL,
            "destination_scan": st.sampled_from(["1", "2"]),
            "destination_path": st.sampled_from(["", "a", "b", "c"]),
            "verdict": st.sampled_from([str(one) for one in Verdict]),
            "because": st.just("as it was"),
        }
    ),
    max_size=8,
)


@given(ROWS)
def test_no_two_proved_rows_of_a_result_have_one_address(rows):
    """The others keep the verdict that they had, and the sessions add up."""
    keys = sorted({(row["subject"], row["session"]) for row in rows})
    sessions = {key: plan_row(*key) for key in keys}
    outcomes = [
        outcome(sessions[key], "archived", [row for row in rows if (row["subject"], row["session"]) == key], (), "")
        for key in keys
    ]
    result = result_of(outcomes, [dict(row) for row in rows], (), time.time())
    found = result.files.to_dict("records")
    proved = [row for row in found if row["verdict"] in PROVED and row["destination_path"]]
    for names in (AT, OF_INSTANCE):
        told = [tuple(row[name] for name in names) for row in proved if row[names[-1]]]
        assert len(told) == len(set(told))
    before = [row for row in rows if row["verdict"] in PROVED and row["destination_path"]]
    for was, now in zip(rows, found, strict=True):
        shares = was in before and any(
            other is not was
            and any(was[names[-1]] and all(other[n] == was[n] for n in names) for names in (AT, OF_INSTANCE))
            for other in before
        )
        assert now["verdict"] == ("different" if shares else was["verdict"])
        assert now["because"].endswith((SAME_PLACE, SAME_INSTANCE)) == shares
    for row in result.sessions.itertuples():
        counts = collections.Counter(
            one["verdict"] for one in found if (one["subject"], one["session"]) == (row.subject, row.session)
        )
        assert (row.equal, row.explained) == (counts["equal"], counts["changed as explained"])
        assert (row.different, row.not_proved) == (counts["different"], counts["cannot be proved"])
        assert bool(counts["different"]) == (row.verdict == "different")


def plan_row(subject: str, session: str):
    """A session of a plan with these labels."""
    labels = LabelMap({SessionKey("001", "001_MR1"): SessionKey("001", "001_MR1")})
    (row,) = plan(inventory(), empty(), options(), labels=labels).sessions
    return row.model_copy(update={"subject": subject, "session": session})


PLACES = st.sets(
    st.tuples(
        st.sampled_from(["A", "B", "C"]),  # a subject, each with one session of two scans
        st.sampled_from(["", "session", "1", "2"]),
        st.sampled_from(["CONSENT", "NIFTI"]),
        st.sampled_from(["x.pdf", "y.pdf"]),
    ),
    max_size=12,
)


@given(
    PLACES,
    st.tuples(SMALL, SMALL, SMALL),
    st.booleans(),
    st.sampled_from(["import", "files"]),
    st.sets(st.tuples(st.sampled_from("ABC"), st.sampled_from(["", "session"]), st.sampled_from(["gender", "note"]))),
)
def test_no_two_rows_of_a_plan_write_to_one_address(places, joined, one_series, method, fields):
    """Subjects that are joined and scans of one series, resources and fields: each address has one writer, by name."""
    subjects = dict(zip("ABC", joined, strict=True))
    rows = [{"subject": one, "session": f"{one}1", "session_id": f"X_{one}", "modality": "MR"} for one in subjects]
    uid = {"1": "1.1", "2": "1.1" if one_series else "1.2"}
    at = [
        {"subject": who, "session": "" if not where else f"{who}1", "scan": where if where in uid else "",
         "resource": label, "path": path, "size_bytes": 1, "md5": "a" * 32}
        for who, where, label, path in sorted(places)
    ]  # fmt: skip
    dicom = [
        {"subject": who, "session": f"{who}1", "scan": scan, "resource": "DICOM", "format": "DICOM",
         "path": f"{scan}.dcm", "size_bytes": 1, "md5": "b" * 32}
        for who in subjects for scan in uid
    ]  # fmt: skip
    states = [
        {"subject": who, "session": f"{who}1" if where else "", "path": name, "state": f"{who}{where}{name}"}
        for who, where, name in sorted(fields)
    ]
    source = inventory(
        sessions=frame([{**row, "StudyInstanceUID": f"1.9.{n}"} for n, row in enumerate(rows)], SESSION_COLUMNS),
        scans=frame(
            [{**row, "scan": scan, "SeriesInstanceUID": f"{n}.{uid[scan]}"} for n, row in enumerate(rows)
             for scan in uid],
            SCAN_COLUMNS,
        ),
        resources=frame([], RESOURCE_COLUMNS),
        files=frame([*dicom, *(row for row in at if row["session"])], FILE_COLUMNS),
        others=frame([row for row in at if not row["session"]], FILE_COLUMNS),
        fields=frame(states, FIELD_COLUMNS),
        field_salt="00",
    )  # fmt: skip
    labels = LabelMap({SessionKey(one, f"{one}1"): SessionKey(to, f"{one}1") for one, to in subjects.items()})
    chosen = options(resources=["*"], fields=["subject/*", "session/*"], archive=True, method=method)
    nothing = {"fields": frame([], FIELD_COLUMNS), "others": frame([], FILE_COLUMNS), "field_salt": "00"}
    destination = dataclasses.replace(empty(), **nothing)
    made = plan(source, destination, chosen, labels=labels)
    written = collections.Counter()
    for row in made.resources:
        if row.action == "leave":
            continue
        scan = row.scan and (uid[row.scan] if method == "import" else row.scan)
        for one in at:
            if (one["subject"], one["session"], one["scan"], one["resource"]) == tuple(row.at):
                written[row.destination_subject, row.destination_session, scan, row.resource, one["path"]] += 1
    for row in made.field_rows:
        if row.action != "leave":
            written[row.destination_subject, row.destination_session, row.name] += 1
    assert set(written.values()) <= {1}
    left = [row for row in (*made.resources, *made.field_rows) if row.action == "leave"]
    assert all(row.open_point for row in left)


def test_two_files_of_one_instance_are_different_at_the_files_door(tmp_path):
    """Byte for byte both arrive, and an archive that counts instances has damage in that scan."""
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text("format: 1\nwaivers:\n  - {rule: S13, scope: {everywhere: true}, reason: 'ticket 17'}\n")
    with embedded.running() as server:
        kit = Kit(lambda role: Person(server, role))
        kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
        scan = f"/data/projects/{kit.source}/subjects/S1/experiments/E1/scans/1/resources/DICOM/files"
        (first, *_) = kit.who.rows(scan)
        twin = kit.who.get(first["URI"]).content
        assert kit.who.put(f"{scan}/twin.dcm", files={"file": ("twin.dcm", twin)}).status_code == 200
        values = {"source_project": kit.source, "destination_project": kit.destination, "archive": True}
        values |= {"review": "none", "method": "files", "waivers": str(waivers)}
        chosen = TransferOptions.from_mapping(values)
        with as_(server, "owner") as source, as_(server, "owner") as destination:
            result = run(prepare(source, destination, chosen), source, destination, folder=tmp_path)
    rows = {(row.scan, row.path.rpartition("/")[2]): row for row in result.files.itertuples()}
    twins = [row for row in rows.values() if row.verdict != "equal"]
    assert len(twins) == 2 and {row.scan for row in twins} == {"1"} and rows["1", "twin.dcm"] in twins
    assert all(row.because.endswith(f"of S1/E1 scan 1 {SAME_INSTANCE}") for row in twins)
    assert {row.verdict for row in twins} == {"different"} and result.exit_code == ExitCode.DIFFERENCES
