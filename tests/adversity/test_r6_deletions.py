"""R6: a deletion on a fresh proof only, whatever changes on either side between any two of its requests.

One copy of one session is made once; before each try everything is put back as it was then. A try plans the deletion
and carries it out, and before one of its requests something happens. When a DELETE is let through, what the source
holds at that moment is laid beside what its copy holds, on disk and in the catalogue. It is missed if something would
be lost that an answer asked for after the mishap would have shown. What happened after the last such answer nobody can
see; how often that was is printed, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from adversity_kit import chance, told, tries
from kept_world import KeptWorld
from meddler import WORDS, meddling
from people import people
from places import Place, copied

from xnbtransfer import actions
from xnbtransfer import server as embedded
from xnbtransfer.errors import XnbTransferError
from xnbtransfer.finish import copy_record, plan_finish
from xnbtransfer.method_options import FinishOptions
from xnbtransfer.steps import carry_out

REQUESTS = (62, 34)  # of planning with carrying out, and of carrying out alone, about


class World(KeptWorld):
    """A session with its copy and the record of it."""

    def __init__(self, server, front, person, root: Path) -> None:
        super().__init__(server, front, person, root)
        kit = self.kit
        kit.put(kit.source, "S1", "E1", kit.uid("E1"), scans=(1, 2))
        self.at = f"/data/projects/{kit.source}/subjects/S1/experiments/E1"
        self.to = f"/data/projects/{kit.destination}/subjects/S1/experiments/E1"
        self.send("PUT", self.at + "/resources/NOTES/files/n.txt?inbody=true", data=b"a note")
        self.send("PUT", self.at + "?note=seen")
        self.record = copied(Place(front, kit.source, kit.destination), root, resources=["NOTES"])
        self.send("PUT", self.to + "?note=seen")
        self.source_id, self.copy_id = (self.id_in(one) for one in (kit.source, kit.destination))
        self.options = FinishOptions.from_mapping({"record": str(self.record), "reason": "a try"})
        self.keep("kept")
        self.connect()
        self.made = self.planned()
        assert self.made.acting, [change.because for change in self.made.sessions]

    def planned(self):
        return plan_finish(copy_record(self.options), *self.sides, self.options)

    def lacking(self) -> set[tuple]:
        """What would be lost with the source session now."""
        here = self.holds(self.source_id, self.kit.source)
        return here - self.holds(self.copy_id, self.kit.destination) if here else here


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def swap(one: Path, other: Path) -> None:
    mine, theirs = one.read_bytes(), other.read_bytes()
    one.write_bytes(theirs)
    other.write_bytes(mine)


@dataclasses.dataclass(frozen=True)
class Mishap:
    """What happens, and which requests of a deletion show it once it did; ``{S}`` and ``{D}`` are the accessions."""

    act: Callable[[World], None]
    shown_by: str


_DOC, _FILES, _RES, _ZIP = r"{X}\?format=json", r"{X}/scans/ALL/files\?format=json", r"{X}/files\?format=json", ""
COPY = {name: form.replace("{X}", "/experiments/{D}") for name, form in
        {"document": _DOC, "files": _FILES, "resources": _RES}.items()}  # fmt: skip
SOURCE = {name: form.replace("{D}", "{S}") for name, form in COPY.items()}
COPY["bytes"] = r"/experiments/{D}/scans/ALL/files\?format=zip"
SOURCE["bytes"] = r"/experiments/{S}/scans/1/.*(format=zip|\.dcm)"
NOTE = "/resources/NOTES/files/n.txt"
MORE = b"another file"


def dicom_of(world: World, project: str, scan: str = "1") -> bytes:
    return world.dicom(world.source_id if project == world.kit.source else world.copy_id)[0].read_bytes()


def first_file(world: World, at: str) -> str:
    rows = world.who.rows(f"{at}/scans/1/resources/DICOM/files")
    return f"{at}/scans/1/resources/DICOM/files/{rows[0]['Name']}"


def on(side: str) -> Callable[[World], str]:
    return lambda world: world.to if side == "copy" else world.at


def rest(side: str, method: str, path: str, **more) -> Callable[[World], None]:
    return lambda world: world.send(method, on(side)(world) + path, **more)


def gains_a_scan(world: World) -> None:
    world.send("PUT", f"{world.at}/scans/9?xsiType=xnat:mrScanData")
    path = f"{world.at}/scans/9/resources/DICOM/files/new.dcm?inbody=true&format=DICOM"
    data = bytearray(dicom_of(world, world.kit.source))
    data[-5] ^= 1
    world.send("PUT", path, data=bytes(data))


def role(project: str, role: str) -> Callable[[World], None]:
    """As a member XNAT's owner may not delete, and as nobody does not see the project."""

    def act(world: World) -> None:
        name = getattr(world.kit, project)
        if role:
            world.sql("UPDATE members SET role=? WHERE project=? AND login=?", role, name, world.who.login)
        else:
            world.sql("DELETE FROM members WHERE project=? AND login=?", name, world.who.login)

    return act


def digests(which: str) -> Callable[[World], None]:
    """Nothing is listed of the bytes any more."""

    def act(world: World) -> None:
        accession = getattr(world, which)
        world.sql(
            "UPDATE files SET md5='' WHERE resource_pk IN (SELECT r.pk FROM resources r JOIN scans s ON "
            "r.parent_kind='scan' AND r.parent_id=CAST(s.pk AS TEXT) WHERE s.experiment_id=?)",
            accession,
        )

    return act


MISHAPS: dict[str, Mishap] = {
    "a file of the copy is deleted": Mishap(lambda w: w.send("DELETE", first_file(w, w.to)), COPY["files"]),
    "a file of the copy is lost on disk": Mishap(lambda w: w.dicom(w.copy_id)[0].unlink(), COPY["bytes"]),
    "a bit of the copy flips": Mishap(lambda w: flip(w.dicom(w.copy_id)[0]), COPY["bytes"]),
    "two files of the copy are swapped on disk": Mishap(lambda w: swap(*w.dicom(w.copy_id)[1:3]), COPY["bytes"]),
    "a file of the copy is replaced": Mishap(
        lambda w: w.send("PUT", first_file(w, w.to) + "?inbody=true&overwrite=true", data=MORE), COPY["files"]
    ),
    "a scan of the copy is deleted": Mishap(rest("copy", "DELETE", "/scans/1?removeFiles=true"), COPY["files"]),
    "the copy is deleted": Mishap(rest("copy", "DELETE", "?removeFiles=true"), COPY["document"]),
    "the copy is renamed": Mishap(rest("copy", "PUT", "?label=E1_NEW"), COPY["document"]),
    "the copy is moved away": Mishap(
        lambda w: w.send("PUT", f"{w.to}/projects/{w.kit.third}?primary=true"), COPY["document"]
    ),
    "the copy is shared away": Mishap(
        lambda w: w.send("PUT", f"{w.to}/projects/{w.kit.third}?label=E1"), COPY["document"]
    ),
    "a note file of the copy is deleted": Mishap(rest("copy", "DELETE", NOTE), COPY["resources"]),
    "a note file of the copy is replaced": Mishap(
        rest("copy", "PUT", NOTE + "?inbody=true&overwrite=true", data=MORE), COPY["resources"]
    ),
    "the note of the copy is another": Mishap(rest("copy", "PUT", "?note=otherwise"), COPY["document"]),
    "digests of the copy are emptied": Mishap(digests("copy_id"), COPY["files"]),
    "no right to the copy": Mishap(role("destination", ""), COPY["document"]),
    "the source gains a scan": Mishap(gains_a_scan, SOURCE["files"]),
    "the source gains a file": Mishap(
        rest("source", "PUT", "/scans/1/resources/NIFTI/files/i.nii?inbody=true", data=MORE), SOURCE["files"]
    ),
    "the source gains a resource": Mishap(
        rest("source", "PUT", "/resources/QC/files/q.txt?inbody=true", data=MORE), SOURCE["resources"]
    ),
    "the note of the source is another": Mishap(rest("source", "PUT", "?note=otherwise"), SOURCE["document"]),
    "the source is rated": Mishap(
        rest("source", "PUT", "/scans/1?xsiType=xnat:mrScanData&quality=unusable"), SOURCE["document"]
    ),
    "the source gains an assessor": Mishap(
        rest("source", "PUT", "/assessors/E1_QC?xsiType=xnat:qcManualAssessorData"), SOURCE["document"]
    ),
    "the source is shared": Mishap(
        lambda w: w.send("PUT", f"{w.at}/projects/{w.kit.third}?label=E1S"), SOURCE["document"]
    ),
    "a note file of the source is replaced": Mishap(
        rest("source", "PUT", NOTE + "?inbody=true&overwrite=true", data=MORE), SOURCE["resources"]
    ),
    "a bit of the source flips": Mishap(lambda w: flip(w.dicom(w.source_id)[0]), SOURCE["bytes"]),
    "the source is renamed": Mishap(rest("source", "PUT", "?label=E1_OLD"), SOURCE["document"]),
    "the source is moved away": Mishap(
        lambda w: w.send("PUT", f"{w.at}/projects/{w.kit.third}?primary=true"), SOURCE["document"]
    ),
    "digests of the source are emptied": Mishap(digests("source_id"), SOURCE["files"]),
    "no right to delete": Mishap(role("source", "collaborator"), SOURCE["document"]),
    "no right to the source": Mishap(role("source", ""), SOURCE["document"]),
    "the login expires": Mishap(
        lambda w: w.server.faults([{"fault": "expire-sessions", "times": 1}]), SOURCE["document"]
    ),
    "nothing": Mishap(lambda w: None, SOURCE["document"]),
}


def answers_503(meddler, pass_on, method, path, body):
    """Later; nothing was done."""
    return 503, b"", [("Retry-After", "0")]


def answers_500(meddler, pass_on, method, path, body):
    return 500, WORDS


def acts_then_500(meddler, pass_on, method, path, body):
    pass_on(body)
    return 500, WORDS


class Meddling:
    """Lets something happen before the request of some number, and looks when a DELETE is let through."""

    def __init__(self, world: World, plans: dict[int, str], troubles: list) -> None:
        self.world, self.plans, self.troubles = world, plans, troubles
        self.count, self.met, self.lost, self.lock = 0, [], [], threading.Lock()
        self.deletes = 0
        world.front.rule = self.rule

    def rule(self, method: str, path: str):
        with self.lock:
            world = self.world
            if (name := self.plans.pop(self.count, "")) != "":
                before = world.lacking()
                with contextlib.suppress(AssertionError):  # it may be too late for it
                    MISHAPS[name].act(world)
                self.met.append((name, bool(world.lacking() - before), []))
            self.count += 1
            for _, _, asked in self.met:
                asked.append(path)
            if method != "DELETE" or "/experiments/" not in path:
                return None
            self.deletes += 1
            trouble = self.troubles.pop(0) if self.troubles else None
            if trouble in (None, acts_then_500) and (lacking := world.lacking()):
                self.lost.append((sorted(one[0] for one in lacking), self.seen()))
            return trouble

    def seen(self) -> list[str]:
        """The mishaps that an answer has shown by now."""
        ids = {"S": self.world.source_id, "D": self.world.copy_id}
        found = []
        for name, harmful, asked in self.met:
            form = MISHAPS[name].shown_by.replace("{S}", ids["S"]).replace("{D}", ids["D"])
            if harmful and any(re.search(form, one) for one in asked):
                found.append(name)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with embedded.running() as server, people(server) as person, meddling(server) as front:
        yield World(server, front, person, tmp_path_factory.mktemp("r6"))


def test_a_deletion_is_safe_at_the_moment_when_it_is_sent(world, tmp_path):
    draw, missed, often = chance(), [], tries(12)
    late = deleted = 0
    met: Counter = Counter()
    for number in range(often):
        world.put_back()
        plans_too = draw.random() < 0.3
        names = draw.choices(sorted(MISHAPS), k=draw.choice((1, 1, 1, 2)))
        at = {draw.randrange(REQUESTS[not plans_too]): name for name in names}
        about = (number, sorted(at.items()))
        troubles = [draw.choice((answers_503, answers_500, acts_then_500, None)) for _ in range(draw.choice((0, 0, 2)))]
        meddled = Meddling(world, at, [*troubles])
        state, problem = "", ""
        try:
            made = world.planned() if plans_too else world.made
            if made.acting:
                carrier = actions.carrier_of(made, *world.sides)
                folder = tmp_path / str(number)
                result = carry_out(made, carrier, world.sides, folder=folder, confirm=made.confirm)
                state = str(result.sessions["state"].iloc[0])
        except XnbTransferError as trouble:
            problem = str(trouble)
        finally:
            world.front.rule = lambda method, path: None
        with sqlite3.connect(world.catalogue, timeout=60) as db:
            gone = not db.execute("SELECT 1 FROM experiments WHERE id=?", (world.source_id,)).fetchone()
        deleted += gone
        met.update(name for name, _, _ in meddled.met)
        about = (*about, [one and one.__name__ for one in troubles], state, problem)
        if gone and (not meddled.deletes or state not in ("deleted", "not found", "failed")):
            missed.append(("gone, and it was not said", *about))
        if gone and meddled.lost:
            lacking, shown = meddled.lost[-1]
            if shown:
                missed.append((f"lost {lacking}, shown by {shown}", *about))
            else:
                late += 1
        if any(name.startswith(("no right", "the login")) for name in names):
            world.connect()
    world.put_back()
    print(f"R6: {deleted} deleted, {late} of them after a change that came behind the last look; met {dict(met)}")
    told("R6: deletions with something changed between two requests", often, missed)


@pytest.mark.parametrize("name", ["the source gains an assessor", "the source is shared"])
@pytest.mark.parametrize("at", [3, 5, 7])
def test_what_comes_between_the_first_look_and_the_proof_is_seen(world, tmp_path, name, at):
    world.put_back()
    meddled = Meddling(world, {at: name}, [])
    try:
        carrier = actions.carrier_of(world.made, *world.sides)
        result = carry_out(world.made, carrier, world.sides, folder=tmp_path, confirm=world.made.confirm)
    finally:
        world.front.rule = lambda method, path: None
    assert meddled.met and not meddled.deletes
    assert list(result.sessions["state"]) == ["failed"]
