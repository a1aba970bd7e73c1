"""Archives that are opened while they arrive, whoever wrote them and wherever they end."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xnbtransfer.server import unpack
from xnbtransfer.server.unpack import BROKEN, Flow, entries, is_archive

NAMES = st.sampled_from(["a.dcm", "b.dcm", "deep/a.dcm", "deep/er/é.dcm", "日本.dcm", "x" * 200])
DATA = st.binary(max_size=400) | st.sampled_from([b"PK\x07\x08" * 20, b"PK\x01\x02", b"\0" * 3000])
FILES = st.dictionaries(NAMES, DATA, max_size=4)
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


class Forward(io.RawIOBase):
    """A stream that cannot go back, so that sizes follow their entries."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, piece) -> int:
        self.data += bytes(piece)
        return len(piece)


def zipped(files: dict[str, bytes], method: int, forward: bool) -> bytes:
    out = Forward() if forward else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.data if forward else out.getvalue()


def flow(data: bytes, step: int) -> Flow:
    """What arrives in pieces of ``step`` bytes."""
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    return Flow(lambda: next(pieces, b""))


def unpacked(data: bytes, step: int = 1 << 20) -> dict[str, bytes]:
    return {name: member.read() for name, member in entries(flow(data, step))}


@settings(max_examples=80)
@given(FILES, METHODS, st.booleans(), st.integers(1, 5000))
@example({"a.dcm": b"PK\x07\x08" * 20, "b.dcm": b""}, zipfile.ZIP_STORED, True, 7)
def test_zips_of_all_writers(files, method, forward, step):
    assert unpacked(zipped(files, method, forward), step) == files


@settings(max_examples=60)
@given(FILES.filter(bool), METHODS, st.booleans(), st.data())
def test_wherever_a_zip_ends_nothing_wrong_is_taken_for_right(files, method, forward, data):
    whole = zipped(files, method, forward)
    cut = whole[: data.draw(st.integers(2, len(whole) - 23))]
    found = {}
    with pytest.raises(BROKEN):
        for name, member in entries(flow(cut, 100)):
            found[name] = member.read()
    assert all(files[name] == content for name, content in found.items())


@settings(max_examples=80)
@given(FILES.filter(bool), METHODS, st.booleans(), st.data())
def test_a_bit_that_turned_is_noticed_before_an_entry_is_used(files, method, forward, data):
    whole = bytearray(zipped(files, method, forward))
    whole[data.draw(st.integers(2, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    contents = []
    try:
        for _, member in entries(flow(bytes(whole), 100)):
            contents.append(member.read())
    except BROKEN:
        pass
    assert all(content in files.values() for content in contents)


def test_large_entries_and_others_with_wide_sizes():
    out = Forward()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.dcm", "w", force_zip64=True) as member:
        member.write(b"x" * 3_000_000)
    assert unpacked(out.data) == {"a.dcm": b"x" * 3_000_000}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.dcm", "w", force_zip64=True) as member:
        member.write(b"y" * 100)
    assert unpacked(out.getvalue()) == {"a.dcm": b"y" * 100}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_also_inside_a_zip(mode):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in {"a.dcm": b"1", "deep/b.dcm": b"22", "._hidden/.DS_Store": b"no"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    tar = out.getvalue()
    if mode in ("w", "w:gz"):
        assert is_archive(flow(tar, 10))
        assert unpacked(tar) == {"a.dcm": b"1", "deep/b.dcm": b"22"}
    inside = zipped({"x.dcm": b"3", "inner.tgz" if ":" in mode else "inner.tar": tar}, zipfile.ZIP_STORED, False)
    assert unpacked(inside, 33) == {"x.dcm": b"3", "a.dcm": b"1", "deep/b.dcm": b"22"}


def test_what_is_no_archive_or_a_locked_one():
    assert not is_archive(flow(b"nothing at all", 3))
    assert not is_archive(flow(b"", 3))
    locked = bytearray(zipped({"a.dcm": b"1"}, zipfile.ZIP_STORED, False))
    locked[6] |= 1
    with pytest.raises(NotImplementedError):
        unpacked(bytes(locked))


def test_what_is_looked_at_stays_to_be_read():
    stream = flow(b"0123456789", 3)
    assert (stream.peek(4), stream.read(2), stream.peek(3)) == (b"0123", b"01", b"234")
    stream.give_back(b"ab")
    assert (stream.read(3), stream.read()) == (b"ab2", b"3456789")
    assert bytes(unpack.Flow.of(io.BytesIO(b"xyz")).some(2)) == b"xy"
