"""Run a small part of the DicomEdit language over a header.

Understood, one statement a line::

    // a comment
    version "6.1"
    (0008,1030) := project            // also: subject, session, "text", another element
    (0020,000D) := hashUID[(0020,000D)]
    -(0010,0030)
    project != "Unassigned" ? (0008,1030) := project
    (0008,0060) = "SR" ? reject[]       // conditions also on elements, =, !=, ~ and !~ (regular expression), and a : b

Anything else is refused when the script is compiled, never ignored. Elements that hold no text (pixels, sequences,
bytes) can be deleted and not set.

A script is applied with pydicom (`toolkit`). Where all its elements are plain text before the bulk data, as in nearly
every script and file, the header is changed where it lies (`reencode`), which is many times faster; both ways are held
to the same result. The server runs the site's script as a file is received and the project's as it is archived (XNAT
source: ``GradualDicomImporter``, ``ProjectAnonymizer``), and each run leaves a stamp in De-identification Method Code
Sequence (REST test TestAnonymizerLegacy).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from . import toolkit
from .reencode import BULK, Header, vr_of

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

_PLAIN = ("", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192")
"""Character sets in which the fast way writes."""


class ScriptError(ValueError):
    """A statement that this subset of DicomEdit does not know, or that cannot be carried out."""


class Rejected(Exception):
    """The script will not have this object: ``reject[]``."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The names a script can use."""

    project: str
    subject: str
    session: str


Elements = Header | toolkit.Toolkit
Action = Callable[[Elements, Labels], None]
Value = Callable[[Elements, Labels], str]


@dataclass(frozen=True)
class Step:
    """One statement: what it does, and the elements it reads, sets and deletes."""

    act: Action
    read: frozenset[int] = frozenset()
    written: frozenset[int] = frozenset()
    deleted: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Script:
    """A compiled script; ``script_id`` is the code value it leaves in each header."""

    script_id: str
    steps: tuple[Step, ...]

    def apply(self, header: Header, labels: Labels) -> None:
        """Change ``header`` and append the stamp to (0012,0064).

        Raises
        ------
        Rejected
            If the script rejects the object.
        ScriptError
            If an element cannot take the value that it would get.
        """
        if self.is_plain(header):
            for step in self.steps:
                step.act(header, labels)
        else:
            self.apply_with_pydicom(header, labels)
        header.append_item(0x00120064, [
            (0x00080100, self.script_id[:16]), (0x00080102, "XNAT"), (0x00080103, "1.0"),
            (0x00080104, "XNAT DicomEdit 6 Script"),
        ])

    def is_plain(self, header: Header) -> bool:
        """Whether all elements of the script lie before the bulk data of ``header`` and hold text where it asks."""
        asked = frozenset().union(*(step.read | step.written for step in self.steps))
        deleted = frozenset().union(*(step.deleted for step in self.steps))
        return (
            all(tag < BULK for tag in asked | deleted)
            and all((header.vr(tag) or vr_of(tag)).decode() in toolkit.TEXT for tag in asked)
            and (not asked or header.text(0x00080005) in _PLAIN and 0x00080005 not in asked | deleted)
        )

    def apply_with_pydicom(self, header: Header, labels: Labels) -> None:
        """The general way: every element of every transfer syntax, at the price of a whole data set."""
        dataset = toolkit.Toolkit(header)
        for step in self.steps:
            try:
                step.act(dataset, labels)
            except toolkit.Unfit as problem:
                raise ScriptError(str(problem)) from None
        dataset.give_back(header)


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
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        statement = _without_comment(line).strip()
        if statement and not _VERSION.fullmatch(statement):
            try:
                steps.append(_statement(statement))
            except ScriptError as error:
                raise ScriptError(f"line {number}: {error}") from None
    return Script(str(script_id), tuple(steps))


def _without_comment(line: str) -> str:
    quoted = False
    for at, char in enumerate(line):
        if char == '"':
            quoted = not quoted
        elif not quoted and line.startswith("//", at):
            return line[:at]
    return line


def _statement(statement: str) -> Step:
    if found := _CONDITION.fullmatch(statement):
        return _conditional(found)
    if _REJECT.fullmatch(statement):
        return Step(_reject)
    if found := _DELETE.fullmatch(statement):
        tag = _tag(found)
        return Step(lambda elements, labels: elements.delete(tag), deleted=frozenset([tag]))
    if found := _ASSIGN.fullmatch(statement):
        tag, (value, read) = _tag(found), _value(found[3].strip())
        vr = vr_of(tag).decode()
        if not tag >> 16 & 1 and vr not in (*toolkit.TEXT, *toolkit.NUMBERS):
            raise ScriptError(f"({found[1]},{found[2]}) holds no text and can only be deleted")
        return Step(lambda elements, labels: elements.set_text(tag, value(elements, labels)), read, frozenset([tag]))
    raise ScriptError(f"this server knows no DicomEdit statement like {statement!r}")


def _reject(elements: Elements, labels: Labels) -> None:
    raise Rejected


def _conditional(found: re.Match[str]) -> Step:
    name, operator, wanted = found["name"], found["operator"], found["wanted"]
    tag = int("".join(re.findall(r"[0-9A-Fa-f]{4}", found["tag"])), 16) if found["tag"] else 0
    then = _statement(found["then"])
    otherwise = _statement(found["otherwise"]) if found["otherwise"] else Step(lambda elements, labels: None)
    try:
        pattern = re.compile(wanted if operator.endswith("~") else re.escape(wanted))
    except re.error as problem:
        raise ScriptError(f"{wanted!r} is no regular expression: {problem}") from None

    def conditional(elements: Elements, labels: Labels) -> None:
        text = getattr(labels, name) if name else elements.text(tag)
        met = bool(pattern.fullmatch(text)) is not operator.startswith("!")
        (then if met else otherwise).act(elements, labels)

    return Step(
        conditional,
        then.read | otherwise.read | (frozenset() if name else frozenset([tag])),
        then.written | otherwise.written,
        then.deleted | otherwise.deleted,
    )


def _value(text: str) -> tuple[Value, frozenset[int]]:
    """A value, and the elements that it is read from."""
    if text in ("project", "subject", "session"):
        return lambda elements, labels: getattr(labels, text), frozenset()
    if found := _TEXT.fullmatch(text):
        constant = re.sub(r"\\(.)", r"\1", found[1])
        return lambda elements, labels: constant, frozenset()
    if found := _HASH.fullmatch(text):
        tag = _tag(found)
        return lambda elements, labels: hash_uid(uid) if (uid := elements.text(tag)) else "", frozenset([tag])
    if found := re.fullmatch(_TAG, text):
        tag = _tag(found)
        return lambda elements, labels: elements.text(tag), frozenset([tag])
    raise ScriptError(f"this server knows no DicomEdit value like {text!r}")


def _tag(found: re.Match[str]) -> int:
    return int(found[1] + found[2], 16)
