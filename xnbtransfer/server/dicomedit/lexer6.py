"""The words of DicomEdit 6 (dicom-edit6 source: ``DE6Lexer.g4``, ``Comment.g4``, ``DE6ScriptParser``).

The longest word wins, of two with one length the one that stands first in the grammar. What begins no word is dropped
without an error, and what had begun one goes with the sign at which it stopped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import Refused
from .version import lines_of

_HEX = "[0-9A-Fa-fXx@#]"
_CREATOR = r"[A-Za-z][A-Za-z0-9 \-_.:]*"
_ESCAPES = {
    "6.6": r"\\(?:[nrtbf()\\]|[0-7]{3})",
    "older": r"\\(?:[btnfr\"'\\]|u[0-9A-Fa-fXx@#]{4}|[0-3][0-7]{2}|[0-7]{1,2})",
}
KEYWORDS = frozenset(
    ["if", "elseif", "else", "describe", "hidden", "const", "immutable", "export", "echo", "removeAllPrivateTags",
     "version"]
)
_SIGNS = (":=", "?=", "!=", "!~", ",", "(", ")", "[", "]", "{", "}", "/", "-", "?", ":", "=", "~", "%", "*", "+", ".")
_NAMES = {"*": "wild", "+": "wild", ".": "wild"}
_BROKEN = re.compile(rf"!|[@#]{_HEX}{{0,3}}|\({_HEX}{{0,3}}|\r")
"""What begins a word and ends as none; the sign behind it is lost with it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its kind (a sign or keyword is its own kind), and where it stands, line and column."""

    kind: str
    text: str
    line: int
    column: int


def _patterns(escapes: str) -> list[tuple[str, re.Pattern[str]]]:
    string = rf'"(?:{_ESCAPES[escapes]}|[^\\"])*"'
    return [
        ("", re.compile(r"[ \t]+")),
        ("word", re.compile(r"[A-Za-z_][A-Za-z0-9_]*")),
        ("integer", re.compile(r"0|-?[1-9][0-9]*")),
        ("float", re.compile(r"-?(?:0\.[0-9]+|[1-9][0-9]*\.[0-9]+)")),
        ("string", re.compile(string)),
        ("public group", re.compile(rf"\({_HEX}{{3}}[02468aAcCeE@]")),
        ("private group", re.compile(rf"\({_HEX}{{3}}[13579bBdDfF#]")),
        ("public element", re.compile(rf"{_HEX}{{4}}\)")),
        ("private element", re.compile(rf"\{{{_CREATOR}\}}{_HEX}{{2}}\)")),
        ("comment", re.compile(r"//[^\r\n]*")),
        ("newline", re.compile(r"\r?\n")),
    ]


_COMPILED = {kind: _patterns(kind) for kind in _ESCAPES}


def prepared(text: str, *, newest: bool) -> str:
    """The script as the lexer gets it: lines that a backslash ends are joined, comments at the end of a line taken
    away.

    Both are of 6.6. `Refused` for a line with an odd number of quotes, in a comment as well.
    """
    lines = lines_of(text)
    if newest:
        lines = [_without_comment(line, number) for number, line in enumerate(_joined(lines), 1)]
    return "".join(line + "\n" for line in lines)


def _joined(lines: list[str]) -> list[str]:
    found: list[str] = []
    open_ = False
    for line in lines:
        ends = line.endswith("\\")
        kept = line[:-1] if ends else line
        if open_:
            found[-1] += kept
        else:
            found.append(kept)
        open_ = ends
    return found


def _without_comment(line: str, number: int) -> str:
    if line.count('"') % 2:
        raise Refused(f"CommentParser failed. Failed to parse at {number}:{len(line)} due to extraneous input")
    quoted = False
    for at, char in enumerate(line):
        if char == '"':
            quoted = not quoted
        elif not quoted and line.startswith("//", at) and line[at - 1 : at] != ":":
            return line[:at]
    return line


def words(text: str, *, newest: bool, blocks: bool = True) -> list[Word]:
    """The words of a prepared script, comments and blanks left out; the last one has the kind ``end``.

    Without ``blocks``, in 6.3, parentheses are only part of tags.
    """
    patterns = _COMPILED["6.6" if newest else "older"]
    found: list[Word] = []
    at, line, begin = 0, 1, 0
    while at < len(text):
        kind, end = _longest(patterns, text, at)
        if kind in ("(", ")") and not blocks:
            end = at
        if end == at:
            broken = _BROKEN.match(text, at)
            end = min((broken.end() if broken else at) + 1, len(text))
            kind = ""
        word = text[at:end]
        if kind and kind != "comment":
            found.append(Word(kind, word, line, at - begin))
        breaks = word.count("\n")
        if breaks:
            line, begin = line + breaks, at + word.rindex("\n") + 1
        at = end
    found.append(Word("end", "<EOF>", line, at - begin))
    return found


def _longest(patterns: list[tuple[str, re.Pattern[str]]], text: str, at: int) -> tuple[str, int]:
    kind, end = "", at
    sign = next((sign for sign in _SIGNS if text.startswith(sign, at)), "")
    if sign:
        kind, end = _NAMES.get(sign, sign), at + len(sign)
    elif text[at] == '"':
        kind, end = '"', at + 1
    for name, pattern in patterns:
        match = pattern.match(text, at)
        if match and match.end() > end:
            kind, end = name, match.end()
    if kind == "word":
        word = text[at:end]
        if word in KEYWORDS:
            kind = word
        elif word in ("x", "X"):
            kind = "digit"
    return kind, end
