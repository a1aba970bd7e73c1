"""What which XNAT can: one table of the differences between versions that this server knows, and three to choose from.

The numbers are the minimum versions at XNAT's own REST tests.
"""

from __future__ import annotations

from .state import State

VERSIONS = {"1.7": "1.7.6", "1.8": "1.8.10", "1.9": "1.9.3"}
"""A personality and the release that it imitates."""

SINCE = {
    "own-memberships": "1.8.0",  # GET /xapi/access/projects
    "ignore-unparsable": "1.8.3",  # Ignore-Unparsable on imports
    "direct-archive": "1.8.3",  # Direct-Archive on imports
    "json-configuration": "1.8.3",  # {"contents": ..., "status": ...} as the body of a configuration
    "delete-by-accession-number": "1.8.5",  # DELETE /data/experiments/ID
    "scan-keeps-its-type": "1.8.6",  # a scan is changed without its xsiType, and with another one refused
    "one-study-per-row": "1.8.10",  # DICOM-zip of a second study into one prearchive row is 400
    "unknown-type-from-headers": "1.9.3",  # pullDataFromHeaders replaces the scan type "Unknown"
}


def has(state: State, feature: str) -> bool:
    """Whether the version that the site says it is has a feature of the table.

    >>> _number("1.8.10") > _number("1.8.9")
    True
    """
    return _number(state.site("version") or VERSIONS["1.8"]) >= _number(SINCE[feature])


def choose(state: State, name: str) -> None:
    """Be one of ``VERSIONS`` from now on; ValueError with a sentence for any other."""
    if name not in VERSIONS:
        raise ValueError(f"there is no personality {name!r}; there are {', '.join(VERSIONS)}")
    state.set_site("version", VERSIONS[name])


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
