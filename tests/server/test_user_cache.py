"""The user cache (REST test TestImport.testUserCacheUploadAndImport; a live 1.6.4)."""

from __future__ import annotations

import doctest
import io
import itertools
import zipfile

import pytest

from xnbtransfer.server import places, tracking

OCTETS = {"Content-Type": "application/octet-stream"}
NUMBERS = itertools.count(1)


@pytest.fixture
def cache() -> str:
    return f"/data/user/cache/resources/up{next(NUMBERS)}"


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name.replace("__", "/"), data)
    return out.getvalue()


def test_files_wait_for_their_user_only(person, cache):
    owner, other = person("owner"), person("member")
    assert owner.put(f"{cache}/files/a/b.txt", data=b"abc", headers=OCTETS).status_code == 200
    assert owner.put(f"{cache}/files/c.txt", files={"file": ("c.txt", b"c")}).status_code == 200
    rows = owner.rows(f"{cache}/files")
    assert {(row["Name"], row["Size"]) for row in rows} == {("b.txt", "3"), ("c.txt", "1")}
    assert owner.get(f"{cache}/files/a/b.txt").content == b"abc"
    assert owner.get(next(row["URI"] for row in rows if row["Name"] == "c.txt")).content == b"c"
    zipped = owner.get(f"{cache}/files", params={"format": "zip"}).content
    assert set(zipfile.ZipFile(io.BytesIO(zipped)).namelist()) == {"a/b.txt", "c.txt"}
    assert other.get(f"{cache}/files").status_code == 404
    assert owner.delete(f"{cache}/files/c.txt").status_code == 200
    assert owner.delete(cache).status_code == 200
    assert owner.get(f"{cache}/files").status_code == 404


def test_a_cache_is_made_once_and_unpacks(person, cache):
    owner = person("owner")
    assert owner.put(cache).status_code == 200
    assert owner.put(cache).status_code == 412
    packed = archive(a__1="one", b="two")
    sent = {"params": {"extract": "true"}, "files": {"file": ("x.zip", packed)}}
    assert owner.put(f"{cache}/files/x.zip", **sent).status_code == 200
    assert {row["Name"] for row in owner.rows(f"{cache}/files")} == {"1", "b"}
    assert cache.rpartition("/")[2] in {row["Resource"] for row in owner.rows("/data/user/cache/resources")}
    for path in ("../../../x", "%2e%2e/%2e%2e/x"):
        owner.put(f"{cache}/files/{path}", data=b"x", headers=OCTETS)
    assert not list(owner.server.data.glob("x"))


def test_files_move_from_the_cache_into_a_resource(study, person, cache):
    owner = study.owner
    assert owner.put(f"{cache}/files/d/a.txt", data=b"abc", headers=OCTETS).status_code == 200
    assert owner.put(f"{cache}/files/b.txt", data=b"b", headers=OCTETS).status_code == 200
    src = cache.removeprefix("/data")
    dest = f"/archive/experiments/{study.ids['S01_MR1']}/resources/R/files"
    assert owner.post("/data/services/move-files", params={"src": src}).status_code == 400
    assert owner.post("/data/services/move-files", params={"src": src, "dest": "/nowhere"}).status_code == 400
    assert person("member").post("/data/services/move-files", params={"src": src, "dest": dest}).status_code == 404
    assert owner.post("/data/services/move-files", params={"src": src, "dest": dest}).status_code == 200
    held = f"{study.path}/experiments/S01_MR1/resources/R/files"
    assert owner.get(f"{held}/d/a.txt").content == b"abc"
    assert owner.get("/_check").json() == []
    owner.put(f"{cache}/files/b.txt", data=b"new", headers=OCTETS)
    again = {"src": f"{src}/files/b.txt", "dest": dest}
    assert owner.post("/data/services/move-files", params=again).json() == {"duplicates": ["b.txt"]}
    assert owner.post("/data/services/move-files", params={**again, "overwrite": "true"}).text == ""
    assert owner.get(f"{held}/b.txt").content == b"new"


def test_nobody_tracks_what_was_not_begun(person):
    assert person("owner").get("/data/status/nothing", params={"format": "json"}).json() == {"msgs": [[]]}
    answer = person("owner").get("/xapi/event_tracking/nothing")
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (404, "text/plain")


@pytest.mark.parametrize("module", [places, tracking])
def test_examples(module):
    assert doctest.testmod(module).failed == 0
