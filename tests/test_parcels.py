"""One resource byte for byte: whatever its names, whatever breaks on the way, and nothing twice."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile

import pytest
from archive_kit import Kit
from roads import as_

from xnbtransfer import server as embedded
from xnbtransfer.errors import NotFoundError
from xnbtransfer.forms import subject_path
from xnbtransfer.parcels import Parcel, carry, listing, prove
from xnbtransfer.values import Verdict

NAMES = {
    "dataset_description.json": b'{"Name": "x"}',
    "sub-01/anat/sub-01_T1w.nii.gz": b"\x1f\x8b" + bytes(range(256)) * 40,
    "sub-01/anat/empty.txt": b"",
    "same.txt": b"twice",
    "other/same.txt": b"twice",
    "inner.zip": b"PK\x05\x06" + bytes(18),
    "notes (1) [final], v2.txt": b"spaces",
    "r\u00e9sum\u00e9 #1 50%.txt": b"accents",
    "files/files.txt": b"a folder called files",
}


@pytest.fixture(scope="module")
def server():
    with embedded.running() as found:
        yield found


@pytest.fixture
def places(server, request):
    """Two subjects with nothing but a resource at the first."""
    from people import Person

    kit = Kit(lambda role: Person(server, role))
    here, there = subject_path(kit.source, "S1"), subject_path(kit.destination, "S1")
    for path in (here, there):
        assert kit.who.put(path).status_code == 201
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:  # a name with a percent sign comes in by a zip alone
        for name, data in NAMES.items():
            archive.writestr(name, data)
    files = {"file": ("files.zip", whole.getvalue())}
    answer = kit.who.post(f"{here}/resources/R/files", params={"extract": "true"}, files=files)
    assert answer.status_code == 200, answer.text
    server.faults([])
    yield kit, here, there
    server.faults([])


def listed(connection, path):
    return {row["path"]: (row["size_bytes"], row["md5"]) for row in connection.files_below(path, "R")}


def bring(server, here, there, role="owner", **more):
    with as_(server, role) as connection:
        parcel = Parcel(source=here, destination=there, resource="R", listed=listed(connection, here))
        return carry(parcel, connection, connection, **more)


def puts(server):
    return [
        entry for entry in server.log() if entry["method"] in ("PUT", "POST") and "/resources/R/files" in entry["path"]
    ]


def holds(kit, path) -> dict[str, bytes]:
    answer = kit.who.get(f"{path}/resources/R/files", params={"format": "zip"})
    if answer.status_code == 404:
        return {}
    found = zipfile.ZipFile(io.BytesIO(answer.content))
    return {name.partition("/files/")[2]: found.read(name) for name in found.namelist()}


def test_every_name_and_every_byte_arrives(server, places):
    kit, here, there = places
    found, extra = bring(server, here, there, reason="because")
    assert {one.path: one.verdict for one in found} == dict.fromkeys(NAMES, Verdict.EQUAL)
    assert {one.md5 for one in found} == {hashlib.md5(data).hexdigest() for data in NAMES.values()}
    assert extra == []
    assert holds(kit, there) == NAMES
    before = len(puts(server))
    again, _ = bring(server, here, there)
    assert again == found and len(puts(server)) == before, "a second time nothing is sent"
    with as_(server, "owner") as connection:
        fresh = prove(connection, there, "R", {one.path: (one.size_bytes, one.md5) for one in found})
    assert {one.verdict for one in fresh} == {Verdict.EQUAL}


def test_what_is_there_is_neither_sent_nor_replaced(server, places):
    kit, here, there = places
    for name, data in {"same.txt": b"mine", "old.txt": b"mine"}.items():
        assert kit.who.put(f"{there}/resources/R/files/{name}", files={"file": (name, data)}).status_code == 200
    found, extra = bring(server, here, there)
    verdicts = {one.path: one.verdict for one in found}
    assert verdicts.pop("same.txt") == Verdict.DIFFERENT and set(verdicts.values()) == {Verdict.EQUAL}
    assert extra == ["old.txt"]
    assert holds(kit, there) == {**NAMES, "same.txt": b"mine", "old.txt": b"mine"}
    with as_(server, "owner") as connection:
        parcel = Parcel(source=here, destination=there, resource="R", listed=listed(connection, here), overwrite=True)
        found, _ = carry(parcel, connection, connection)
    assert {one.verdict for one in found} == {Verdict.EQUAL}
    assert holds(kit, there) == {**NAMES, "old.txt": b"mine"}


FAULTS = ["500-before", "500-after", "no-answer-after", "reset-mid-body", "503"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_answer_is_answered_by_a_listing(server, places, fault):
    kit, here, there = places
    server.faults([{"fault": fault, "method": "POST", "path": "/resources/R/files", "times": 1, "retry_after_s": 0}])
    before = len(puts(server))
    found, _ = bring(server, here, there)
    assert {one.verdict for one in found} == {Verdict.EQUAL}
    assert holds(kit, there) == NAMES
    awkward = 1
    again = 1 if fault in ("500-before", "reset-mid-body", "503") else 0
    assert len(puts(server)) - before <= 1 + awkward + again


@pytest.mark.parametrize("fault", ["truncated-zip", "reset-mid-body", "login-page"])
def test_a_download_that_breaks_is_read_again(server, places, fault):
    kit, here, there = places
    zipped = {"method": "GET", "path": "S1/resources/R/files$", "item": "format=zip"}
    server.faults([{"fault": fault, **zipped, "times": 1}])
    found, _ = bring(server, here, there)
    assert {one.verdict for one in found} == {Verdict.EQUAL}
    assert holds(kit, there) == NAMES


def test_without_the_right_to_edit_nothing_is_taken_for_stored(server, places):
    kit, here, there = places
    mia = server.accounts["member"][0]
    for project, group in ((kit.source, "Collaborators"), (kit.destination, "Collaborators")):
        assert kit.who.put(f"/data/projects/{project}/users/{group}/{mia}").status_code == 200
    found, _ = bring(server, here, there, role="member")
    assert {one.verdict for one in found} == {Verdict.DIFFERENT}
    assert {one.because for one in found} == {"the destination does not hold it"}
    assert holds(kit, there) == {}


def test_a_source_file_that_is_not_what_the_source_lists(server, places):
    kit, here, there = places
    with as_(server, "owner") as connection:
        wrong = {**listed(connection, here), "same.txt": (5, "0" * 32), "gone.txt": (1, "1" * 32)}
        parcel = Parcel(source=here, destination=there, resource="R", listed=wrong)
        found, _ = carry(parcel, connection, connection)
    verdicts = {one.path: one.verdict for one in found}
    assert {path for path, verdict in verdicts.items() if verdict == Verdict.DIFFERENT} == {"same.txt", "gone.txt"}
    assert set(holds(kit, there)) == set(NAMES) - {"same.txt"}


@pytest.mark.needs("1.7", because="the destination lists an MD5 there, and up to 1.7.2 none is listed")
def test_no_md5_and_no_read_back_is_not_proved(server, places):
    kit, here, there = places
    with as_(server, "owner") as connection:
        bare = {path: (size, "") for path, (size, _) in listed(connection, here).items()}
        parcel = Parcel(source=here, destination=there, resource="R", listed=bare)
        found, _ = carry(parcel, connection, connection, read_back=False)
        assert {one.verdict for one in found} == {Verdict.NOT_PROVED}
        assert {one.because for one in found} == {"its listed MD5 is that of the source; its bytes were not read"}
        assert set(listing(connection, there, "R")) == set(NAMES)


def test_a_destination_that_is_not_there(server, places):
    kit, here, there = places
    with pytest.raises(NotFoundError, match="404"):
        bring(server, here, subject_path(kit.destination, "NOBODY"))


@pytest.mark.parametrize("twice", [False, True])
def test_what_has_no_listed_md5_is_read_twice_if_that_is_asked(server, places, twice):
    _, here, there = places
    server.faults([{"fault": "digests-empty", "method": "GET", "path": here, "times": None}])  # of the catalogue, too
    with contextlib.ExitStack() as stack:
        stack.callback(server.faults, [])
        source, destination = (stack.enter_context(as_(server, "owner")) for _ in range(2))
        bare = {path: (size, "") for path, (size, _) in listed(source, here).items()}
        parcel = Parcel(source=here, destination=there, resource="R", listed=bare, twice=twice)
        found, _ = carry(parcel, source, destination)
    assert {one.verdict for one in found} == {Verdict.EQUAL}
    assert {one.way_out for one in found} == {"read twice" if twice else "nothing"}
    assert {one.read_in for one in found} == {"archive"}


def test_a_list_alone_proves_no_file_of_a_resource(server, places):
    _, here, there = places
    with as_(server, "owner") as source, as_(server, "owner") as destination:
        parcel = Parcel(source=here, destination=there, resource="R", listed=listed(source, here))
        found, _ = carry(parcel, source, destination, read_back=False)
    assert {one.verdict for one in found} == {Verdict.NOT_PROVED} and {one.read_in for one in found} == {""}
