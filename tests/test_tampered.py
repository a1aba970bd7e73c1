"""A file that is changed at the destination behind everybody's back: the run and every verification find it."""

from __future__ import annotations

import io
import string
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from people import people, set_script
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from reviews import Ward
from roads import as_
from which_xnat import script

from xnbtransfer.errors import ExitCode
from xnbtransfer.preparing import prepare
from xnbtransfer.server import running
from xnbtransfer.transfer import run
from xnbtransfer.values import Result, Verdict
from xnbtransfer.verify import verify

SCRIPT = script("(0020,0052) := hashUID[(0020,0052)]\n")


def item(**values) -> Dataset:
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def private_item(text: str) -> Dataset:
    ds = item(CodeMeaning="kept")
    ds.add_new(0x00110010, "LO", "SOME MAKER")
    ds.add_new(0x00111002, "LO", text)
    return ds


def header(ward: Ward, label: str, number: int) -> Dataset:
    """A header with all that the changes below need."""
    ds = ward.header(label[0], label, 1, number)
    ds.FrameOfReferenceUID = "2.25.4711.7"
    ds.ReferencedStudySequence = Sequence([item(ReferencedSOPInstanceUID="2.25.4711.8")])
    inner = item(ScheduledProcedureStepDescription="knee")
    inner.ScheduledProtocolCodeSequence = Sequence([item(CodeValue="1", CodeMeaning="knee")])
    ds.RequestAttributesSequence = Sequence([inner])
    ds.add_new(0x00110010, "LO", "SOME MAKER")
    ds.add_new(0x00111001, "LO", "before")
    ds.add_new(0x00111003, "SQ", Sequence([private_item("before")]))
    return ds


def private_block(ds: Dataset) -> None:
    ds.add_new(0x00310010, "LO", "SOMEBODY ELSE")
    ds.add_new(0x00311001, "LO", "Quistelhausen^Ada")


def private_value(ds: Dataset) -> None:
    ds[0x00111001].value = "after"


def private_binary(ds: Dataset) -> None:
    ds[0x00291010].value = ds[0x00291010].value[:-1] + b"\1"


def in_private_sequence(ds: Dataset) -> None:
    ds[0x00111003].value[0][0x00111002].value = "after"


def in_sequence(ds: Dataset) -> None:
    ds.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning = "elbow"


def item_more(ds: Dataset) -> None:
    ds.RequestAttributesSequence.append(item(ScheduledProcedureStepDescription="Quistelhausen"))


def uid_in_sequence(ds: Dataset) -> None:
    ds.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "2.25.4711.9"


def method_text(ds: Dataset) -> None:
    ds.DeidentificationMethod = "done by Quistelhausen"


def beside_the_stamp(ds: Dataset) -> None:
    ds.DeidentificationMethodCodeSequence[0].CodeMeaning = "Quistelhausen"


def in_the_stamp(ds: Dataset) -> None:
    ds.DeidentificationMethodCodeSequence[-1].PatientName = "Quistelhausen^Ada"


def setter(**values) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for name, value in values.items():
            setattr(ds, name, value)

    return change


CHANGES: dict[str, Callable[[Dataset], None]] = {
    "a private element": private_value,
    "one byte of a private element": private_binary,
    "an element in a private sequence": in_private_sequence,
    "an element in a nested sequence": in_sequence,
    "a further item of a sequence": item_more,
    "a further private block": private_block,
    "a private block gone": lambda ds: ds.remove_private_tags(),
    "SOPInstanceUID": setter(SOPInstanceUID="2.25.999.1"),
    "SeriesInstanceUID": setter(SeriesInstanceUID="2.25.999.2"),
    "StudyInstanceUID": setter(StudyInstanceUID="2.25.999.3"),
    "a UID that the script hashes": setter(FrameOfReferenceUID="2.25.999.4"),
    "a UID in a sequence": uid_in_sequence,
    "PatientID": setter(PatientID="4711"),
    "PatientName": setter(PatientName="Quistelhausen^Ada"),
    "an element that was absent": setter(PatientBirthDate="19470311"),
    "DeidentificationMethod": method_text,
    "an item that a script had stamped": beside_the_stamp,
    "an element in the item of a stamp": in_the_stamp,
}
LABELS = {what: f"{letter}_MR1" for what, letter in zip(CHANGES, string.ascii_uppercase, strict=False)}
UNTOUCHED = "Z_MR1"
FOUND = (Verdict.DIFFERENT, Verdict.NOT_PROVED)


def tamper(ward: Ward, room: str, label: str) -> None:
    """Change one file of a session where the server keeps it."""
    what = next(name for name, one in LABELS.items() if one == label)
    folder = label
    if room == "archive":
        with as_(ward.server, "owner") as connection:
            folder = connection.sessions_with_label(ward.destination, label)[0]["session_id"]
    path = sorted(one for one in (ward.server.data / room / ward.destination).rglob("*.dcm") if folder in one.parts)[0]
    ds = pydicom.dcmread(io.BytesIO(path.read_bytes()), force=True)
    CHANGES[what](ds)
    out = io.BytesIO()
    ds.save_as(out)
    assert out.getvalue() != path.read_bytes()
    path.unlink()  # the server may keep one file under two names
    path.write_bytes(out.getvalue())


class Day:
    """A copy of a session for each change and of one that stays as it is, with a change at some moment of the run."""

    def __init__(self, ward: Ward, folder: Path, moment: tuple[str, str] | None = None, **values) -> None:
        self.ward, self.folder, self.moment = ward, folder, moment
        set_script(ward.who, ward.destination, SCRIPT)
        for label in (*LABELS.values(), UNTOUCHED):
            ward.store(label[0], label, {"1": [header(ward, label, number) for number in (1, 2)]})
        source, destination = self.sides()
        with source, destination:
            options = ward.options(review="none", archive=True, workers=1, **values)
            self.plan = prepare(source, destination, options)
            self.result = run(self.plan, source, destination, folder=folder, on_event=self.on_event)

    def sides(self):
        return as_(self.ward.server, "owner"), as_(self.ward.server, "owner")

    def on_event(self, event) -> None:
        label = next((one for one in LABELS.values() if one in event.where), "")
        if label and (event.kind, event.name) == self.moment:
            tamper(self.ward, "prearchive", label)

    def verify(self, *, with_source: bool, proof: str = "all") -> Result:
        source, destination = self.sides()
        with source, destination:
            journal = self.folder / "journal.jsonl"
            return verify(self.plan, journal, destination, source if with_source else None, proof=proof)


def verdicts(result: Result, label: str) -> list[str]:
    return sorted(result.files.loc[result.files["session"] == label, "verdict"])


def is_found(result: Result, what: str) -> None:
    """The changed file is not proved, its neighbour is, and the session that was left alone is as it was."""
    assert result.exit_code in (ExitCode.DIFFERENCES, ExitCode.CANNOT_BE_PROVED)
    told = verdicts(result, LABELS[what])
    assert len(told) == 2 and len([one for one in told if one in FOUND]) == 1, told
    assert not set(verdicts(result, UNTOUCHED)) & set(FOUND)
    assert "Quistelhausen" not in result.files.to_csv() + result.sessions.to_csv() + str(result.problems)


@pytest.fixture(scope="module")
def person():
    """People of a server of this module's own: what it keeps no longer fits its catalogue afterwards."""
    with running() as server, people(server) as find:
        yield find


@pytest.fixture(scope="module")
def sent(person, tmp_path_factory) -> Day:
    """Changed in the prearchive whenever a scan has been sent, so that sending it again does not help."""
    return Day(Ward(person), tmp_path_factory.mktemp("sent"), ("scan", "sent"))


@pytest.fixture(scope="module")
def compared(person, tmp_path_factory) -> Day:
    """Changed after the comparison in the prearchive, right before the session is archived."""
    return Day(Ward(person), tmp_path_factory.mktemp("compared"), ("session", "compared"))


@pytest.fixture(scope="module")
def later(person, tmp_path_factory) -> Day:
    """Changed in the archive after a run that was proved."""
    found = Day(Ward(person), tmp_path_factory.mktemp("later"))
    assert found.result.exit_code == ExitCode.PROVED, found.result.files["because"].unique()
    for label in LABELS.values():
        tamper(found.ward, "archive", label)
    return found


@pytest.fixture(scope="module")
def verified(later) -> dict[str, Result]:
    return {
        "with the source": later.verify(with_source=True),
        "without the source": later.verify(with_source=False),
    }


EVERY = pytest.mark.parametrize("what", CHANGES)


@EVERY
def test_a_file_that_changes_in_the_prearchive_is_never_archived(sent, what):
    is_found(sent.result, what)
    (state,) = sent.result.sessions.loc[sent.result.sessions["session"] == LABELS[what], "state"]
    assert state == "in prearchive"


@EVERY
def test_a_file_that_changes_right_before_it_is_archived_is_found_by_the_run(compared, what):
    is_found(compared.result, what)


@pytest.mark.parametrize("how", ["with the source", "without the source"])
@EVERY
def test_a_file_that_changes_in_the_archive_is_found_by_verify(verified, how, what):
    is_found(verified[how], what)
