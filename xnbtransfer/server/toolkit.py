"""Change the elements of a file with pydicom: the general way of a script, for whatever is not plain text.

Transfer syntax, bulk data and untouched values stay as they are.
"""

from __future__ import annotations

import io
import warnings

from .reencode import Header, NotDicom, read_header, vr_of

TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
"""Value representations that hold text."""
NUMBERS = {"US": int, "UL": int, "UV": int, "SS": int, "SL": int, "SV": int, "FL": float, "FD": float}
"""Value representations that hold binary numbers, and what reads one."""


class Unfit(ValueError):
    """A value that its element cannot take."""


class Toolkit:
    """The data set of a header and of what follows it, with the verbs that a script uses."""

    def __init__(self, header: Header) -> None:
        import pydicom

        whole = io.BytesIO()
        header.write(whole)
        whole.seek(0)
        try:
            self.dataset = pydicom.dcmread(whole)
        except Exception as problem:  # whatever a toolkit says of a damaged file
            raise NotDicom(f"pydicom cannot read it: {type(problem).__name__}") from None

    def text(self, tag: int) -> str:
        """The value of ``tag`` as text, several with backslashes between; empty when absent or no text at all."""
        element = self.dataset.get(tag)
        if element is None or element.value is None or element.VR == "SQ":
            return ""
        value = element.value
        if isinstance(value, bytes):
            return value.decode("ascii", "replace").strip(" \0")
        many = value if element.VM > 1 else [value]
        return "\\".join(str(one) for one in many).strip(" \0")

    def set_text(self, tag: int, text: str) -> None:
        """Set ``tag`` to ``text`` or the numbers in it, adding the element when absent.

        Raises
        ------
        Unfit
            For an element of numbers that would get something else, and for one that holds neither text nor numbers.
        """
        vr = self.dataset[tag].VR if tag in self.dataset else "UN"
        vr = vr_of(tag).decode() if vr == "UN" else vr
        if vr == "UN":
            value: object = text.encode("ascii", "replace")
            value += b"\0" * (len(value) & 1)
        elif vr in NUMBERS:
            value = [_number(tag, NUMBERS[vr], one) for one in text.split("\\") if one]
        elif vr in TEXT:
            value = text
        else:
            raise Unfit(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) holds no text and can only be deleted")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.dataset.add_new(tag, vr, value)

    def delete(self, tag: int) -> None:
        """Remove ``tag`` when present."""
        if tag in self.dataset:
            del self.dataset[tag]

    def give_back(self, header: Header) -> None:
        """Make ``header`` what the data set has become.

        Raises
        ------
        Unfit
            For a value that cannot be written.
        """
        out = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.dataset.save_as(out, enforce_file_format=True)
            except Exception as problem:  # whatever a toolkit says of a value
                raise Unfit(f"pydicom cannot write it: {type(problem).__name__}") from None
        out.seek(0)
        header.become(read_header(out))


def _number(tag: int, kind: type, text: str) -> object:
    try:
        return kind(text)
    except ValueError:
        raise Unfit(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) takes numbers only") from None
