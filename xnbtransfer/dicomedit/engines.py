"""Which engine of anonymisation scripts runs at an XNAT, told from its version where there is evidence.

Two kinds of it: the engines that were run for the recorded cases (DicomEdit 6.3.1, 6.4.0, 6.5.0 and 6.6 with the mizer
that goes with them), and what XNAT's own build asks for. Called by :mod:`xnbtransfer.foretell`.

Notes
-----
XNAT's source, property ``nrg.dicom-edit6.version`` of ``parent/pom.xml`` by release: 1.8.0 6.3.0; 1.8.1 to 1.8.4 6.3.1;
1.8.5 and 1.8.6 6.3.2 and 6.3.3; 1.8.7 6.4.0; 1.8.8 6.5.0; 1.8.9 6.5.1; 1.8.10 6.6.0; 1.8.11 6.7.0. The web module's
``build.gradle`` has 6.0 to 6.0.2 in 1.7.0 to 1.7.2, and 1.0 (language 6.1) in 1.7.3. A live 1.8.11 ran 6.6.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MEASURED = ("6.3", "6.4", "6.5", "6.6")
NEWER = "6.7"
"""Stands for all that came after 6.6: as that, but for what its public source does otherwise."""
_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?!.*(?:SNAPSHOT|RC|beta))", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The engines that may run at a server: ``names``, newest last, and the ``evidence`` as the end of a sentence.

    ``4``: DicomEdit 4 alone, for every script. ``always_6``: what has no version line may be run by version 6, too.
    """

    names: tuple[str, ...]
    evidence: str
    always_6: bool = False

    def __str__(self) -> str:
        """
        >>> str(engines_of("1.8.8"))
        "DicomEdit 6.5 (XNAT 1.8.8's build asks for 6.5.0)"
        """
        shown = [f"{NEWER} or newer" if name == NEWER else name for name in self.names]
        return f"DicomEdit {', '.join(shown[:-1])}{' or ' if shown[:-1] else ''}{shown[-1]} ({self.evidence})"


# From a version on: the engines, and the evidence; "{}" is the version that the server tells.
_SINCE: tuple[tuple[tuple[int, int, int], tuple[str, ...], str], ...] = (
    ((0, 0, 0), ("4",), "XNAT {} knows no other; measured was that of 1.8.10"),
    ((1, 7, 0), MEASURED, "XNAT {}'s build asks for 6.0, which was not measured"),
    ((1, 7, 3), MEASURED, "XNAT {}'s build asks for 6.1 or 6.2, which were not measured"),
    ((1, 8, 0), ("6.3",), "XNAT 1.8.0's build asks for 6.3.0; measured was 6.3.1"),
    ((1, 8, 1), ("6.3",), "XNAT {}'s build asks for 6.3.1"),
    ((1, 8, 5), ("6.3", "6.4"), "XNAT {}'s build asks for 6.3.2 or 6.3.3, which lie between those that were measured"),
    ((1, 8, 7), ("6.4",), "XNAT 1.8.7's build asks for 6.4.0"),
    ((1, 8, 8), ("6.5",), "XNAT 1.8.8's build asks for 6.5.0"),
    ((1, 8, 9), ("6.5", "6.6"), "XNAT 1.8.9's build asks for 6.5.1, which lies between those that were measured"),
    ((1, 8, 10), ("6.6",), "measured with the programs of XNAT 1.8.10"),
    ((1, 8, 11), ("6.6", NEWER), "XNAT 1.8.11's build asks for 6.7.0, and a live 1.8.11 ran 6.6.1"),
    ((1, 8, 12), (NEWER,), "XNAT {} is newer than what was measured, and computed as 6.6"),
)


def engines_of(version: str) -> Engines:
    """The engines that may run at an XNAT of a version, as the server tells it; "" where it does not.

    >>> engines_of("1.8.10.1").names, engines_of("1.8.6").names, engines_of("").names
    (('6.6',), ('6.3', '6.4'), ('6.3', '6.4', '6.5', '6.6'))
    >>> engines_of("Unknown version").names
    ('4',)
    """
    if version.strip() == "Unknown version":  # of /data/version, which 1.7 does not have (recorded from 1.6.4: F09)
        return Engines(names=("4",), evidence="XNAT before 1.7 knows no other; measured was that of 1.8.10")
    found = _VERSION.match(version.strip())
    if not version.strip():
        return Engines(names=MEASURED, evidence="the server does not tell its version")
    if not found:
        return Engines(names=MEASURED, evidence=f"which engine XNAT {version.strip()[:40]} has is not known")
    number = tuple(int(part or 0) for part in found.groups())
    names, evidence = next((names, text) for since, names, text in reversed(_SINCE) if number >= since)
    always_6 = (1, 7, 0) <= number < (1, 7, 3)  # wiki.xnat.org, DicomEdit: "1.7.0, 1.7.1, and 1.7.2 support 6.0 only"
    return Engines(names=names, evidence=evidence.format(version.strip()[:40]), always_6=always_6)
