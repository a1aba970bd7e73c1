"""What an anonymisation script of the destination explains: which elements it changes, and to what.

Reads the part of DicomEdit that can be foretold: assignments of text, ``project``, ``subject``, ``session`` and
``hashUID``, and deletions. Elements named in any other statement are known to change, not to what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TAG = r"\(\s*([0-9A-Fa-f]{4})\s*,\s*([0-9A-Fa-f]{4})\s*\)"
# DicomEdit 6 writes an X for any digit of a tag; "@" and "#", any even and any odd digit, are read as any, too.
_ANY_TAG = re.compile(r"\(\s*([0-9A-Fa-fXx@#]{4})\s*,\s*(?:\{[^}]*\}\s*)?([0-9A-Fa-fXx@#]{2,4})\s*\)")
_ASSIGN = re.compile(rf'^{_TAG}\s*:=\s*(?:"([^"]*)"|(project|subject|session)|hashUID\s*\[\s*{_TAG}\s*\])\s*$')
_DELETE = re.compile(r"^-\s*\(\s*([0-9A-Fa-fXx]{4})\s*,\s*([0-9A-Fa-fXx]{4})\s*\)\s*$")
_UNLESS_UNASSIGNED = re.compile(r'^project\s*!=\s*"Unassigned"\s*\?\s*(.*)$', re.IGNORECASE)
# Each script that runs appends an item to DeidentificationMethodCodeSequence: value, scheme, its version, meaning (XNAT
# source, DicomEdit). It sets neither DeidentificationMethod nor PatientIdentityRemoved.
_STAMP = "00120064"
_STAMPED = re.compile(r"00120064\[\d+\]\.0008010[0234]").fullmatch


@dataclass(frozen=True)
class Expectation:
    """What may change between source and destination, and how.

    ``values`` maps an element path to the text it must have after, ``hashed`` are UIDs replaced by ``hashUID`` of
    their own value, ``removed`` are deleted, and ``named`` change in a way that cannot be foretold. In the last two an
    X stands for any digit.
    """

    site_script: bool = False
    project_script: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    hashed: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()

    def explain(self, path: str, source_digest: str, destination_digest: str, *, key: bytes) -> str:
        """Why an element changed, as a sentence, or "" where nothing explains it.

        ``source_digest`` and ``destination_digest`` are element digests made with ``key``; "" where it is absent.
        """
        from .dicom import value_digest

        top = path[:8]
        if top in self.values:
            expected = self.values[top]
            if destination_digest == value_digest(expected, key=key) or (not expected and not destination_digest):
                return "set by the destination's script"
            return ""
        if _one_of(self.removed, top) and not destination_digest:
            return "removed by the destination's script"
        if top in self.hashed and source_digest and destination_digest:
            return "hashed by the destination's script"
        if any(_one_of(self.named, part[:8]) for part in path.split(".")):
            return "named in the destination's script"
        # An item is appended: those before it stay, and only their number changes.
        appended = destination_digest and (path == _STAMP or (not source_digest and _STAMPED(path)))
        if appended and (self.site_script or self.project_script):
            return "the stamp of an anonymisation script"
        return ""


def _one_of(paths: frozenset[str], tag: str) -> bool:
    """Whether a tag is among paths, in which an X stands for any digit (DicomEdit's ``(50XX,XXXX)``)."""
    if tag in paths:
        return True
    return any(
        "X" in path and all(mask in ("X", digit) for mask, digit in zip(path, tag, strict=True)) for path in paths
    )


def expectation(
    *, site_script: str | None, project_script: str | None, project: str, subject: str, session: str
) -> Expectation:
    """What the scripts of a destination do to a file that arrives as ``subject`` and ``session`` of ``project``.

    Parameters
    ----------
    site_script, project_script : str or None
        Texts of the scripts that run; None where one does not. The project's runs after the site's.
    project, subject, session : str
        The labels at the destination: what the words of the script stand for.

    Returns
    -------
    Expectation
        Statements are read in order; the last one about an element counts. One that is not understood puts every tag
        in it into ``named``.

    Notes
    -----
    DicomEdit 4 and 6 as the XNAT documentation shows them; one statement stands on one line. The default site script
    sets StudyDescription to the project, unless that is Unassigned, PatientName to the subject and PatientID to the
    session. A script that edits pixels changes bulk data, which is never explained here.
    """
    values: dict[str, str] = {}
    hashed: set[str] = set()
    removed: set[str] = set()
    named: set[str] = set()
    words = {"project": project, "subject": subject, "session": session}
    for script in (site_script, project_script):
        for line in (script or "").splitlines():
            statement = _without_comment(line).strip()
            unless = _UNLESS_UNASSIGNED.match(statement)
            if unless:
                if project == "Unassigned":
                    continue
                statement = unless.group(1).strip()
            if not statement or statement.lower().startswith("version"):
                continue
            assign, delete = _ASSIGN.match(statement), _DELETE.match(statement)
            if assign:
                path = (assign[1] + assign[2]).upper()
                for known in (hashed, removed, named):
                    known.discard(path)
                values.pop(path, None)
                if assign[3] is not None:
                    values[path] = assign[3]
                elif assign[4] is not None:
                    values[path] = words[assign[4]]
                elif (assign[5] + assign[6]).upper() == path:
                    hashed.add(path)
                else:
                    named.add(path)
            elif delete:
                path = (delete[1] + delete[2]).upper()
                values.pop(path, None)
                hashed.discard(path)
                removed.add(path)
            else:
                for group, element in _ANY_TAG.findall(statement):
                    path = re.sub("[@#]", "X", (group + element.rjust(4, "X")).upper())
                    named.add(path)
                    # What was set before may have been changed by this statement, so it is no longer foretold.
                    values.pop(path, None)
    return Expectation(
        site_script=site_script is not None,
        project_script=project_script is not None,
        values=values,
        hashed=frozenset(hashed),
        removed=frozenset(removed),
        named=frozenset(named),
    )


def _without_comment(line: str) -> str:
    quoted = False
    for at, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif not quoted and line.startswith("//", at):
            return line[:at]
    return line
