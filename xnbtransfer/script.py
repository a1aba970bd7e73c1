"""What an anonymisation script of the destination explains: which elements it changes, and to what.

Reads the part of DicomEdit that can be foretold: assignments of text, ``project``, ``subject``, ``session`` and
``hashUID``, and deletions. Elements named in any other statement are known to change, not to what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TAG = r"\(\s*([0-9A-Fa-f]{4})\s*,\s*([0-9A-Fa-f]{4})\s*\)"
_ANY_TAG = re.compile(_TAG)
_ASSIGN = re.compile(rf'^{_TAG}\s*:=\s*(?:"([^"]*)"|(project|subject|session)|hashUID\s*\[\s*{_TAG}\s*\])\s*$')
_DELETE = re.compile(rf"^-\s*{_TAG}\s*$")
_UNLESS_UNASSIGNED = re.compile(r'^project\s*!=\s*"Unassigned"\s*\?\s*(.*)$', re.IGNORECASE)
# Each script that runs adds an item here (XNAT source, DicomEdit; DICOM PS3.15 E.1).
_STAMP = ("00120064", "00120063")


@dataclass(frozen=True)
class Expectation:
    """What may change between source and destination, and how.

    ``values`` maps an element path to the text it must have after, ``hashed`` are UIDs replaced by ``hashUID`` of
    their own value, ``removed`` are deleted, and ``named`` change in a way that cannot be foretold.
    """

    site_script: bool = False
    project_script: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    hashed: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()

    def explain(self, path: str, source_digest: str, destination_digest: str, *, key: bytes = b"") -> str:
        """Why an element changed, as a sentence, or "" where nothing explains it.

        ``source_digest`` and ``destination_digest`` are element digests made with ``key``; "" where it is absent.
        """
        from .dicom import value_digest

        top = path[:8]
        if top in _STAMP and (self.site_script or self.project_script):
            return "the stamp of an anonymisation script"
        if top in self.values:
            expected = self.values[top]
            if destination_digest == value_digest(expected, key=key) or (not expected and not destination_digest):
                return "set by the destination's script"
            return ""
        if top in self.removed:
            return "" if destination_digest else "removed by the destination's script"
        if top in self.hashed:
            return "hashed by the destination's script"
        if top in self.named:
            return "named in the destination's script"
        return ""


def expectation(
    *, site_script: str | None, project_script: str | None, project: str, subject: str, session: str
) -> Expectation:
    """What the scripts of a destination do to a file that arrives as ``subject`` and ``session`` of ``project``.

    Parameters
    ----------
    site_script, project_script : str or None
        Texts of the scripts that run; None where one does not. The project's runs after the site's.
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
                removed.add(path)
            else:
                named |= {(group + element).upper() for group, element in _ANY_TAG.findall(statement)}
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
