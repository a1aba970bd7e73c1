"""What which XNAT can: one table of the differences between versions that this server knows, and five to choose from.

The numbers are the minimum versions at XNAT's own REST tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a test that only names a version loads no server
    from .state import State

VERSIONS = {"1.6": "1.6.4", "1.7.2": "1.7.2", "1.7": "1.7.6", "1.8": "1.8.10", "1.9": "1.9.3"}
"""A personality and the release that it imitates, the oldest first."""
UNSAID = "XNBTRANSFER_PERSONALITY"
"""Environment variable with the personality of each new state that is given none; without it 1.8."""

SINCE = {
    "own-memberships": "1.8.0",  # GET /xapi/access/projects
    "ignore-unparsable": "1.8.3",  # Ignore-Unparsable on imports
    "direct-archive": "1.8.3",  # Direct-Archive on imports
    "json-configuration": "1.8.3",  # {"contents": ..., "status": ...} as the body of a configuration
    "project-lists-filter": "1.8.0",  # /data/projects/P/experiments?label=L; before it lists all
    "firewall": "1.7.6",  # addresses with a quoted percent sign, semicolon, two slashes, dots are refused
    "file-names-are-decoded": "1.7.6",  # of files put by name; before they are listed as they were sent
    "numbers-are-resources": "1.7.6",  # a resource label of digits is the number of any readable resource
    "history-on-request": "1.7.0",  # items without what they were before
    "digests-are-listed": "1.7.3",  # lists of files have a column of MD5s
    "one-row-is-listed": "1.7.3",  # GET of one row of the prearchive; an empty list before, whatever is there
    "no-scan-fails": "1.8.0",  # files of scans where no scan is: 500; before an empty list
    "shares-in-full": "1.7.0",  # a list of a project shows project and subject of what is shared in as its own
    "form-tells-session": "1.7.0",  # PUT services/auth logs in and answers the id of the session
    "session-of-a-stranger": "1.7.0",  # GET /data/JSESSION without a login is 200 on a closed site
    "rights-at-once": "1.7.6",  # the first requests of a login have its rights
    "form-says-401": "1.8.0",  # a wrong password at services/auth; 500 before
    "form-takes-no-token": "1.8.0",  # an alias token at services/auth is refused
    "expiry-by-cookie": "1.8.0",  # who has a session is sent to set a new password, too
    "xapi": "1.7.0",  # the newer half of the addresses
    "preferences-for-all": "1.7.6",  # GET /xapi/siteConfig/checksums for who is no administrator
    "lists-of-preferences-for-all": "1.8.0",  # the same for /xapi/siteConfig/values/a,b
    "site-script-for-all": "1.8.0",  # GET /xapi/anonymize/site for who is no administrator
    "switch-of-a-script": "1.8.0",  # GET /xapi/anonymize/projects/P/enabled answers
    "accept-not-found": "1.7.6",  # of configurations: 204 in place of 404
    "moves-tell-nothing": "1.7.6",  # a session that is moved is answered with nothing; with its id before
    "moves-without-files": "1.7.0",  # a session without files is moved with 200; with 500 before, and moved
    "renames-tell-nothing": "1.8.0",  # a subject that is renamed is answered with nothing
    "shares-end-always": "1.7.0",  # the second share of a subject that is taken back is gone
    "change-by-accession-number": "1.7.0",  # PUT /data/experiments/ID
    "escapes-ascii-only": "1.7.0",  # text with letters beyond ASCII is stored as it is
    "strangers-see-no-rows": "1.7.6",  # the prearchive of a project that one may not read is 404; empty before
    "forms-are-read": "1.7.0",  # of a PUT with a form; 1.6 answers 200 and passes over it
    "types-are-known": "1.8.0",  # permissions= counts what is set up, and fails for what is no type
    "dicomedit-6": "1.7.0",  # anonymisation scripts of version 6
    "dicomedit-6.6": "1.8.0",  # its release of 1.8.10
    "delete-by-accession-number": "1.8.5",  # DELETE /data/experiments/ID
    "scan-keeps-its-type": "1.8.6",  # a scan is changed without its xsiType, and with another one refused
    "one-study-per-row": "1.8.10",  # DICOM-zip of a second study into one prearchive row is 400
    "late-files-join": "1.7",  # an import while its row is built goes into that row; before, into a second one
    "merges-unasked": "1.7.6",  # services/archive merges into a session without the word overwrite; before, 409
    "warnings-refuse": "1.8",  # what validate-archive calls a warning stops an archiving, as twins of one instance
    "gone-rows-told": "1.7.6",  # a move of a row that is gone is 404, its zip empty, a project's rows not for anybody
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
