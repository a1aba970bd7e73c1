"""Say from a DICOM header where an object belongs and what it is.

The rules are those of XNAT's importer (XNAT source: ``ClassicDicomObjectIdentifier``; REST test TestDicomRouting):
rules of the receiver, then a ``Project:P Subject:S Session:E AA:true`` in one of three comment fields, then
StudyDescription and AccessionNumber name the project, PatientName the subject and PatientID the session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .reencode import Header
from .routing import Routing

_COMMENTS = (0x00104000, 0x00324000, 0x001021B0)
_PATTERNS = {
    key: re.compile(rf"(?:\A|[\s,;]){key}\s*:\s*([\w-]*)(?=\Z|[\s,;])", re.IGNORECASE)
    for key in ("Project", "Subject", "Session", "AA")
}
_KINDS = {"MR": "mr", "CT": "ct", "PT": "pet"}
_SECONDARY = ("1.2.840.10008.5.1.4.1.1.7",)
"""Secondary Capture and its multi-frame variants go to the resource ``secondary``."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What one header says about its object."""

    projects: tuple[str, ...]
    """What may name the project, in order; ``accession`` comes last, and never in handler SI."""
    accession: str
    subject: str
    session: str
    auto_archive: bool | None
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    series_number: str
    series_description: str
    modality: str
    date: str
    time: str
    frames: int


def clean(label: str) -> str:
    """Replace every character outside ``[A-Za-z0-9_-]`` by ``_``, as the importer does with labels."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", label.strip())


def clean_name(name: str) -> str:
    """Return the file name an archive entry gets: its last path part, everything outside ``[\\w.-]`` as ``_``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", re.split(r"[\\/]", name)[-1]) or "_"


def identify(header: Header, routing: Routing | None = None) -> Identity:
    """Read the identity of the object that ``header`` begins; rules of ``routing`` come before the default ones."""
    routed = routing or Routing()
    comments = [text for text in map(header.text, _COMMENTS) if text]

    def commented(key: str) -> str:
        found = (_PATTERNS[key].search(text) for text in comments)
        return next((match[1] for match in found if match and match[1]), "")

    projects = (routed.find("project", header.text), commented("Project"), header.text(0x00081030))
    auto = commented("AA").lower()
    series_uid = header.text(0x0020000E)
    return Identity(
        projects=tuple(name for name in projects if name),
        accession=header.text(0x00080050),
        subject=clean(routed.find("subject", header.text) or commented("Subject") or header.text(0x00100010)),
        session=clean(routed.find("session", header.text) or commented("Session") or header.text(0x00100020))
        or "dicom_upload",
        auto_archive={"true": True, "t": True, "false": False, "f": False}.get(auto),
        study_uid=header.text(0x0020000D),
        series_uid=series_uid,
        sop_uid=header.text(0x00080018),
        sop_class=header.text(0x00080016),
        series_number=clean(header.text(0x00200011)) or clean(series_uid.replace(".", "_")) or "0",
        series_description=header.text(0x0008103E),
        modality=header.text(0x00080060),
        date=_date(header.text(0x00080020)),
        time=_time(header.text(0x00080030)),
        frames=header.number(0x00280008) or 1,
    )


def resource_of(sop_class: str) -> str:
    """Return the resource label an object of this SOP class is stored in."""
    return "secondary" if sop_class.startswith(_SECONDARY) else "DICOM"


def scan_type(modality: str) -> str:
    """Return the xsiType of a scan with this modality."""
    return f"xnat:{_KINDS.get(modality, 'otherDicom')}ScanData"


def session_type(modalities: set[str]) -> str:
    """Return the xsiType of a session whose scans have these modalities; PET wins over MR over CT."""
    leading = next((code for code in ("PT", "MR", "CT") if code in modalities), "")
    return f"xnat:{_KINDS.get(leading, 'otherDicom')}SessionData"


def session_modality(modalities: set[str]) -> str:
    """Return the modality that `session_type` chose by, or any one when it chose none."""
    return next((code for code in ("PT", "MR", "CT") if code in modalities), next(iter(sorted(modalities)), ""))


def _date(text: str) -> str:
    """``20240102`` (or ``2024.01.02``) as ``2024-01-02``; empty when it is no date."""
    digits = text.replace(".", "")[:8]
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}" if len(digits) == 8 and digits.isdigit() else ""


def _time(text: str) -> str:
    """``101500.000`` as ``10:15:00``; empty when it is no time."""
    digits = text.replace(":", "")[:6]
    return f"{digits[:2]}:{digits[2:4]}:{digits[4:6]}" if len(digits) == 6 and digits.isdigit() else ""
