"""A copy of a record for others: what was proved is in it, who it was about is not."""

from __future__ import annotations

import dataclasses
import html
import json
import tempfile
from pathlib import Path
from urllib.parse import quote

import bagit
import pytest
from archive_kit import Kit
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from places import SMALL, make_place
from roads import as_

from xnbtransfer import server as embedded
from xnbtransfer.cli import invoke
from xnbtransfer.errors import RefusedError
from xnbtransfer.options import TransferOptions
from xnbtransfer.preparing import prepare
from xnbtransfer.record import close_record, open_record, open_workspace, seal
from xnbtransfer.shareable import share_record
from xnbtransfer.transfer import run


@pytest.fixture
def record(xnat, person, tmp_path):
    """The record of two sessions, one of them renamed."""
    kit = Kit(person)
    for session in ("Mustermann_MR1", "Musterfrau_MR2"):
        kit.put(kit.source, f"{session}_subject", session, kit.uid(session))
    values = {"source_project": kit.source, "destination_project": kit.destination, "archive": True, "review": "none"}
    values |= {"label_rule": "session~^Muster~Renamed", "record_root": str(tmp_path / "records")}
    options = TransferOptions.from_mapping(values)
    with as_(xnat, "owner") as source, as_(xnat, "owner") as destination:
        made = prepare(source, destination, options)
        workspace = open_workspace(options, "transfer")
        workspace.keep(made)
        close_record(workspace, made, run(made, source, destination, folder=workspace.folder))
    return seal(workspace)


def test_the_copy_is_a_bag_with_the_verdicts_and_without_a_label(record, tmp_path):
    before = {path: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    copy = share_record(record, tmp_path / "copy")
    bagit.Bag(str(copy)).validate()
    assert before == {path: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    text = "\n".join(path.read_text(encoding="utf-8") for path in copy.rglob("*") if path.is_file())
    for word in ("Muster", "Renamed", "2024-01-08", ".dcm", "2.25."):
        assert word not in text, word
    found, whole = open_record(copy), open_record(record)
    names = {path.name for path in found.data.iterdir()}
    assert not names & {"crosswalk.csv", "plan.json", "journal.jsonl", "notebook.ipynb", "record.html"}
    files = found.table("files")
    assert list(files["verdict"]) == list(whole.table("files")["verdict"]) and len(files) == 4
    assert list(files["source_md5"]) == list(whole.table("files")["source_md5"])
    assert sorted(set(files["subject"])) == ["subject 1", "subject 2"]
    assert set(files["session"]) == set(found.table("sessions")["session"]) == {"session 1", "session 2"}
    assert found.summary["plan"]["fingerprint"] == whole.summary["plan"]["fingerprint"]
    with pytest.raises(RefusedError, match="there already"):
        share_record(record, copy)


def test_a_label_that_is_found_in_the_copy_refuses_it(record, tmp_path):
    found = open_record(record)
    found.summary["template"] = "of Mustermann_MR1"
    with pytest.raises(RefusedError, match="summary.json holds a label"):
        share_record(found, tmp_path / "copy")
    assert not list(tmp_path.glob("*copy*"))


def test_on_the_command_line(record, tmp_path, capsys):
    assert invoke(["shareable", str(record), "-o", str(tmp_path / "copy")]) == 0
    assert "The copy is in" in capsys.readouterr().out


# -- whatever people named ----------------------------------------------------------------------------------------

_LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=5, max_size=12)
_TEXTS = st.text("abcdefghijkl zÄößé,;=&<>\"'%+é/", min_size=8, max_size=20).map(str.strip)


@dataclasses.dataclass(frozen=True)
class Named:
    """What people wrote into a project: each begins with letters that no word of ours begins with."""

    subject: str
    session: str
    assessor: str
    of_project: str
    of_subject: str
    of_session: str
    of_scan: str
    scan: str
    field: str
    value: str
    note: str
    file: str
    consent: str

    def every(self) -> set[str]:
        return set(dataclasses.astuple(self))


@st.composite
def names(draw) -> Named:
    """Names that differ by their first letters, so that what is found tells which it is."""
    labels = [f"Qx{letter}{draw(_LETTERS)}" for letter in "ABCDEFGHIJ"]
    texts = [f"Qy{letter} {draw(_TEXTS)}" for letter in "AB"]
    subject, session, assessor, of_project, of_subject, of_session, of_scan, scan, field, file = labels
    value, note = texts
    return Named(
        subject, session, assessor, of_project, of_subject, of_session, of_scan, scan, field.lower(), value, note,
        f"{file}.txt", "Qz consent of nobody",
    )  # fmt: skip


@pytest.fixture(scope="module")
def demo():
    with embedded.running(demo=True) as running:
        yield running


def _write_down(place, named: Named) -> None:
    """Put all of it into the project, by the requests that people's own scripts send."""
    place.hold(named.session, named.subject, SMALL[0])
    project = f"/data/projects/{place.project}"
    subject = f"{project}/subjects/{named.subject}"
    session = f"{subject}/experiments/{named.session}"
    put = lambda path, **more: place.request("PUT", path, **more)  # noqa: E731
    put(f"{session}/assessors/{named.assessor}?xsiType=xnat:qcManualAssessorData")
    put(session, params={"note": named.note})
    put(session, params={f"xnat:ctSessionData/fields/field[name={named.field}]/field": named.value})
    put(f"{session}/scans/1", params={"xsiType": "xnat:ctScanData", "note": named.note, "type": named.value})
    put(f"{session}/scans/{named.scan}?xsiType=xnat:ctScanData")
    for above, label in (
        (project, named.of_project), (subject, named.of_subject), (session, named.of_session),
        (f"{session}/scans/1", named.of_scan), (f"{session}/scans/{named.scan}", named.of_scan),
    ):  # fmt: skip
        data = f"{label} {named.consent}".encode()
        put(f"{above}/resources/{label}/files/{named.file}", params={"inbody": "true"}, data=data)


def _spelled(text: str) -> set[str]:
    """A text as it stands in files: plain, in JSON with and without its letters, in HTML, percent-coded."""
    return {
        text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text),
        html.escape(text, quote=False), quote(text), quote(text, safe=""), text.replace(" ", "+"),
        text.replace('"', '""'),
    }  # fmt: skip


def _leaks(copy: Path, named: Named) -> set[str]:
    files = [path for path in copy.rglob("*") if path.is_file()]
    held = "\n".join([path.read_text(encoding="utf-8") for path in files] + [path.name for path in files]).casefold()
    return {text for text in named.every() if any(one.casefold() in held for one in _spelled(text))}


@given(named=names(), carried=st.booleans())
@settings(max_examples=4, phases=[Phase.explicit, Phase.generate], deadline=None)  # a smaller one tells no more
def test_nothing_that_somebody_named_is_in_the_copy(demo, named, carried):
    place = make_place(demo)
    _write_down(place, named)
    values = {"source_project": place.project, "destination_project": place.other, "archive": True, "review": "none"}
    if carried:
        values |= {"resources": ["*"], "fields": ["subject/*", "session/*"]}
    with tempfile.TemporaryDirectory() as root:
        options = TransferOptions.from_mapping(values | {"record_root": f"{root}/records"})
        with place.connect() as source, place.connect() as destination:
            made = prepare(source, destination, options)
            workspace = open_workspace(options, "transfer")
            workspace.keep(made)
            close_record(workspace, made, run(made, source, destination, folder=workspace.folder))
        sealed = seal(workspace)
        assert len(_leaks(sealed, named)) > 8  # the record itself tells them: what is looked for could be found
        copy = share_record(sealed, Path(root) / "copy")
        assert _leaks(copy, named) == set()
        found, whole = open_record(copy), open_record(sealed)
        assert list(found.table("files")["verdict"]) == list(whole.table("files")["verdict"])
        assert "DICOM" in set(found.table("files")["resource"])
