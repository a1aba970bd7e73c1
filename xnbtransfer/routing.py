"""Where a DICOM receiver listens, and the text in a header that says where an object goes."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

from .errors import InputError
from .keys import SessionKey

_LONGEST = 64  # characters of a StudyDescription (DICOM PS3.5 6.2, LO)


class Receiver(NamedTuple):
    """Where a DICOM receiver listens."""

    title: str
    host: str
    port: int
    encrypted: bool


def read_receiver(text: str) -> Receiver:
    """A receiver from ``dicom://TITLE@HOST:PORT``; ``dicoms://`` is encrypted.

    Raises
    ------
    InputError
        If it is none.
    """
    found = re.fullmatch(r"dicom(s?)://([^@/\s]{1,16})@([^:/\s]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})", text)
    if not found:
        raise InputError(
            f"The receiver {text!r} is no address.", "Write dicom://TITLE@HOST:PORT, or dicoms:// for TLS."
        )
    return Receiver(found[2], found[3].strip("[]"), int(found[4]), bool(found[1]))


def routing_text(project: str, to: SessionKey) -> dict[str, str]:
    """What the sent copy says, by element: the two texts in which XNAT and its usual rules look for a route."""
    return {
        "PatientComments": f"Project:{project} Subject:{to.subject} Session:{to.session}",
        "StudyDescription": f"xnat://{project}/{to.subject}/{to.session}",
    }


def routing_script(project: str, to: SessionKey) -> str:
    """The same as a script, so that the proof knows what was changed on purpose."""
    found = routing_text(project, to)
    return f'(0010,4000) := "{found["PatientComments"]}"\n(0008,1030) := "{found["StudyDescription"]}"\n'


def too_long(project: str, to: SessionKey) -> bool:
    """Whether the routing string does not fit into a StudyDescription."""
    return len(routing_text(project, to)["StudyDescription"]) > _LONGEST


def rerouted(data: bytes, texts: dict[str, str]) -> bytes:
    """A DICOM file with these texts in it; every other value stays as it is."""
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    for keyword, text in texts.items():
        setattr(dataset, keyword, text)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()
