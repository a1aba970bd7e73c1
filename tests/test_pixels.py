"""The same pixels in another lossless transfer syntax: decoded and compared, and named for what it is."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pydicom
import pytest
from people import people
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from test_where_read import Road

from xnbtransfer.errors import ExitCode
from xnbtransfer.pixels import both_lossless, same_pixels
from xnbtransfer.server import running
from xnbtransfer.values import Verdict

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture(scope="module")
def person():
    with running() as server, people(server) as find:
        yield find


def packed(data: bytes, *, change: bool = False) -> bytes:
    """The same image, run-length encoded; ``change`` alters one pixel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        if change:
            ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]
        ds.compress(RLELossless, generate_instance_uid=False)
        out = io.BytesIO()
        ds.save_as(out)
    return out.getvalue()


def test_decoded_values_decide():
    data = (FILES / "MR_small.dcm").read_bytes()
    assert same_pixels(data, packed(data)) is True
    assert same_pixels(data, packed(data, change=True)) is False
    assert same_pixels(data, (FILES / "MR_small_RLE.dcm").read_bytes()) is True


def test_what_cannot_be_decoded_proves_nothing():
    data = packed((FILES / "MR_small.dcm").read_bytes())
    assert same_pixels(data, data[: len(data) // 2]) is None
    assert same_pixels(data, b"no image") is None


def test_syntaxes_that_lose_something_are_not_compared():
    assert both_lossless(ExplicitVRLittleEndian, RLELossless)
    assert not both_lossless(RLELossless, RLELossless)
    assert not both_lossless(ExplicitVRLittleEndian, "1.2.840.10008.1.2.4.51")


def replaced(change: bool):
    def replace(road: Road) -> None:
        for path in road.files("prearchive"):
            data = packed(path.read_bytes(), change=change)
            path.unlink()
            path.write_bytes(data)

    return replace


def test_a_copy_that_was_encoded_again_is_explained(person, tmp_path):
    road = Road(person, tmp_path)
    result = road.run(("scan", "sent"), replaced(change=False))
    assert result.exit_code == ExitCode.PROVED, result.files["because"].tolist()
    assert set(result.files["verdict"]) == {Verdict.EXPLAINED}
    assert all(because.startswith("re-encoded losslessly") for because in result.files["because"])
    assert road.verify(with_source=True).exit_code == ExitCode.PROVED


def test_one_other_pixel_in_a_copy_that_was_encoded_again_is_found(person, tmp_path):
    result = Road(person, tmp_path).run(("scan", "sent"), replaced(change=True))
    assert result.exit_code == ExitCode.DIFFERENCES
    assert result.counts[Verdict.DIFFERENT] == 2
