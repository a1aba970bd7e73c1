"""Run a small part of the DicomEdit language over a header.

Understood, one statement a line::

    // a comment
    version "6.1"
    (0008,1030) := project            // also: subject, session, "text", another element
    (0020,000D) := hashUID[(0020,000D)]
    -(0010,0030)
    project != "Unassigned" ? (0008,1030) := project
    (0008,0060) = "SR" ? reject[]       // conditions also on elements, =, !=, ~ and !~ (regular expression), and a : b

Anything else is refused when the script is compiled, never ignored. The server runs the site's script as a file is
received and the project's as it is archived (XNAT source: ``GradualDicomImporter``, ``ProjectAnonymizer``), and each
run leaves a stamp in De-identification Method Code Sequence (REST test TestAnonymizerLegacy).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .reencode import Header

DEFAULT_SITE_SCRIPT = """\
//
// Default XNAT anonymization script
// XNAT http://www.xnat.org
//
version "6.1"
project != "Unassigned" ? (0008,1030) := project
(0010,0010) := subject
(0010,0020) := session
"""
"""What a stock server runs on everything it receives."""

_TAG = r"\(\s*([0-9A-Fa-f]{4})\s*,\s*([0-9A-Fa-f]{4})\s*\)"
_ASSIGN = re.compile(_TAG + r"\s*:=\s*(.+)")
_DELETE = re.compile(r"-\s*" + _TAG)
_HASH = re.compile(r"hashUID\s*\[\s*" + _TAG + r"\s*\]")
_CONDITION = re.compile(
    rf'(?:(?P<name>project|subject|session)|(?P<tag>{_TAG}))\s*(?P<operator>!?[=~])\s*"(?P<wanted>[^"]*)"\s*\?\s*'
    r"(?P<then>.+?)(?:\s+:(?!=)\s*(?P<otherwise>.+))?"
)
_REJECT = re.compile(r'reject(?:\s*\[\s*(?:"[^"]*")?\s*\])?')
_VERSION = re.compile(r'version\s+"6(\.\d+)*"')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')

Action = Callable[[Header, "Labels"], None]


class ScriptError(ValueError):
    """A statement that this subset of DicomEdit does not know."""


class Rejected(Exception):
    """The script will not have this object: ``reject[]``."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The names a script can use."""

    project: str
    subject: str
    session: str


@dataclass(frozen=True)
class Script:
    """A compiled script; ``script_id`` is the code value it leaves in each header."""

    script_id: str
    actions: tuple[Action, ...]

    def apply(self, header: Header, labels: Labels) -> None:
        """Change ``header`` and append the stamp to (0012,0064).

        Raises
        ------
        Rejected
            If the script rejects the object.
        """
        for action in self.actions:
            action(header, labels)
        header.append_item(0x00120064, [
            (0x00080100, self.script_id[:16]), (0x00080102, "XNAT"), (0x00080103, "1.0"),
            (0x00080104, "XNAT DicomEdit 6 Script"),
        ])


@lru_cache(maxsize=1024)
def hash_uid(uid: str) -> str:
    """Return DicomEdit's ``hashUID``: ``2.25.`` and the SHA-1 of the UID as a version 5 UUID.

    >>> hash_uid("1.2.3")
    '2.25.148370922854076938159295778886134140470'
    """
    digest = bytearray(hashlib.sha1(uid.encode("utf-8"), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


@lru_cache(maxsize=64)
def compile_script(text: str, script_id: str) -> Script:
    """Compile ``text``.

    Raises
    ------
    ScriptError
        If a line is not part of the supported subset; the message names line and text.
    """
    actions = []
    for number, line in enumerate(text.splitlines(), 1):
        statement = _without_comment(line).strip()
        if statement and not _VERSION.fullmatch(statement):
            try:
                actions.append(_statement(statement))
            except ScriptError as error:
                raise ScriptError(f"line {number}: {error}") from None
    return Script(str(script_id), tuple(actions))


def _without_comment(line: str) -> str:
    quoted = False
    for at, char in enumerate(line):
        if char == '"':
            quoted = not quoted
        elif not quoted and line.startswith("//", at):
            return line[:at]
    return line


def _statement(statement: str) -> Action:
    if found := _CONDITION.fullmatch(statement):
        return _conditional(found)
    if _REJECT.fullmatch(statement):
        return _reject
    if found := _DELETE.fullmatch(statement):
        tag = _tag(found)
        return lambda header, labels: header.delete(tag)
    if found := _ASSIGN.fullmatch(statement):
        tag, value = _tag(found), _value(found[3].strip())
        return lambda header, labels: header.set_text(tag, value(header, labels))
    raise ScriptError(f"this server knows no DicomEdit statement like {statement!r}")


def _reject(header: Header, labels: Labels) -> None:
    raise Rejected


def _conditional(found: re.Match[str]) -> Action:
    name, operator, wanted = found["name"], found["operator"], found["wanted"]
    tag = int("".join(re.findall(r"[0-9A-Fa-f]{4}", found["tag"])), 16) if found["tag"] else 0
    then = _statement(found["then"])
    otherwise = _statement(found["otherwise"]) if found["otherwise"] else None
    try:
        pattern = re.compile(wanted if operator.endswith("~") else re.escape(wanted))
    except re.error as problem:
        raise ScriptError(f"{wanted!r} is no regular expression: {problem}") from None

    def conditional(header: Header, labels: Labels) -> None:
        text = getattr(labels, name) if name else header.text(tag)
        if bool(pattern.fullmatch(text)) is not operator.startswith("!"):
            then(header, labels)
        elif otherwise:
            otherwise(header, labels)

    return conditional


def _value(text: str) -> Callable[[Header, Labels], str]:
    if text in ("project", "subject", "session"):
        return lambda header, labels: getattr(labels, text)
    if found := _TEXT.fullmatch(text):
        constant = re.sub(r"\\(.)", r"\1", found[1])
        return lambda header, labels: constant
    if found := _HASH.fullmatch(text):
        tag = _tag(found)
        return lambda header, labels: hash_uid(header.text(tag)) if header.text(tag) else ""
    if found := re.fullmatch(_TAG, text):
        tag = _tag(found)
        return lambda header, labels: header.text(tag)
    raise ScriptError(f"this server knows no DicomEdit value like {text!r}")


def _tag(found: re.Match[str]) -> int:
    return int(found[1] + found[2], 16)
