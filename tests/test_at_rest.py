"""Bytes that change in the archive of the destination after a proved copy: told by ``verify``, or harmless by name."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from people import people
from reviews import Ward
from shell import Shell

from xnbtransfer import server as embedded

MODALITY, SYNTAX, INSTANCE = b"\x08\x00\x60\x00CS", b"1.2.840.10008.1.2.1", b"\x02\x00\x03\x00UI"


def at(data: bytes, what: bytes, offset: int, new: bytes) -> bytes:
    place = data.index(what) + offset
    return data[:place] + new + data[place + len(new) :]


def again_lossless(data: bytes) -> bytes:
    ds, out = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    ds.save_as(out)
    return out.getvalue()


def other_pixels(data: bytes) -> bytes:
    ds, out = pydicom.dcmread(io.BytesIO(again_lossless(data))), io.BytesIO()
    ds.decompress()
    ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]
    ds.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    ds.save_as(out)
    return out.getvalue()


TOLD = {
    "a letter of a VR": lambda data: at(data, MODALITY, 5, b"R"),
    "another VR": lambda data: at(data, MODALITY, 4, b"LO"),
    "the transfer syntax": lambda data: at(data, SYNTAX, 18, b"2"),
    "an instance in the file meta": lambda data: at(data, INSTANCE, 8, b"3"),
    "other pixels, re-encoded": other_pixels,
    "cut by a byte": lambda data: data[:-1],
}
HARMLESS = {
    "1 zero more": lambda data: data + bytes(1),
    "2 zeros more": lambda data: data + bytes(2),
    "512 zeros more": lambda data: data + bytes(512),
    "the same pixels, re-encoded": again_lossless,
}


class Copied:
    """A proved copy of two files, one of which is changed where it lies and put back."""

    def __init__(self, ward: Ward, folder: Path) -> None:
        self.ward, self.folder = ward, folder
        self.path = sorted((ward.server.data / "archive" / ward.destination).rglob("*.dcm"))[0]
        self.was = self.path.read_bytes()

    def put(self, data: bytes) -> None:
        assert data != self.was or self.path.read_bytes() != self.was
        self.path.unlink()
        self.path.write_bytes(data)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    with embedded.running() as server, people(server) as find, pytest.MonkeyPatch.context() as patch:
        ward, folder = Ward(find), tmp_path_factory.mktemp("copied")
        ward.store("S", "E1", {"1": ward.series("S", "E1", count=2)})
        shell = Shell(server, folder, _Quiet(), patch)
        code, said, _ = shell.copy(ward.source, ward.destination, "--review", "none", "--archive")
        assert code == 0, said
        yield Copied(ward, folder)


class _Quiet:
    """In place of what catches the output of a test: this copy is of no single one."""

    def readouterr(self) -> tuple[str, str]:
        return "", ""


def verified(copied: Copied, capsys, monkeypatch, change) -> tuple[int, str]:
    shell = Shell(copied.ward.server, copied.folder, capsys, monkeypatch)
    copied.put(change(copied.was))
    try:
        return shell("verify", "plan1.run", "--with-source")
    finally:
        copied.put(copied.was)


@pytest.mark.parametrize("what", TOLD)
def test_what_changes_at_rest_is_told(copied, capsys, monkeypatch, what):
    code, said = verified(copied, capsys, monkeypatch, TOLD[what])
    assert code == 3 and "1 different" in said, said


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_harmless_is_no_difference(copied, capsys, monkeypatch, what):
    code, said = verified(copied, capsys, monkeypatch, HARMLESS[what])
    assert code == 0 and "0 different, 0 cannot be proved" in said, said
