"""The pixels of two files, decoded and compared: the same values in another lossless transfer syntax.

Called where a file stands at the destination in another transfer syntax than at the source. It decodes with whatever
pydicom finds installed, and says None where that is not enough: then nothing can be said.
"""

from __future__ import annotations

import io
import warnings

from .errors import DicomError

# PS3.5 A.4, PS3.6 table A-1: transfer syntaxes that keep every value.
_LOSSLESS = frozenset(
    (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",
        "1.2.840.10008.1.2.5",
    )
)
_DECODED_BYTES = 1 << 30


def both_lossless(syntax: str, other: str) -> bool:
    """Whether two transfer syntaxes are different ones that both keep every value.

    >>> both_lossless("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5")
    True
    >>> both_lossless("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50")
    False
    """
    return syntax != other and {syntax, other} <= _LOSSLESS


def same_pixels(one: bytes | memoryview, other: bytes | memoryview) -> bool | None:
    """Whether two Part 10 files have the same pixel values; None where one of them cannot be decoded here.

    That is so where numpy or a plugin for the transfer syntax is missing, where a decoder fails, and where the values
    would take more than 1 GB.
    """
    try:
        left, right = _decoded(one), _decoded(other)
    except Exception:  # noqa: BLE001 - what decoders raise is not told anywhere, and none of it proves anything
        return None
    return bool(left.dtype == right.dtype and left.shape == right.shape and (left == right).all())


def _decoded(data: bytes | memoryview):
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        frames = int(ds.get("NumberOfFrames") or 1)
        if ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8 * frames > _DECODED_BYTES:
            raise DicomError("its pixels are too many to be decoded here")
        return ds.pixel_array
