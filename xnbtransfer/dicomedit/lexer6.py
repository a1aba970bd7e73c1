"""The signs of a script of DicomEdit 6: lines joined, comments cut, and what is left made into tokens.

After DicomEdit 6.6 (``DE6Lexer.g4``, ``Comment.g4``, ``EscNewlineRemover``): the longest token wins, of two of one
length the one named first; signs that begin no token are dropped without a word. Called by :mod:`.parser6` alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .words import Place, Refused

_LETTER = "[A-Za-z_][A-Za-z0-9_]*"
_HEX, _EVEN, _ODD = "[0-9A-Fa-fXx@#]", "[02468ACEace@]", "[13579BDFbdf#]"
_WORDS = ("if", "elseif", "else", "describe", "hidden", "const", "immutable", "export", "echo", "removeAllPrivateTags",
          "version")  # fmt: skip
_SIGNS = ('"', ",", "(", ")", "[", "]", "{", "}", "/", ":=", "?=", "-", "?", ":", "=", "!=", "~", "!~")
_NEW_ESCAPES = r"\\(?:[nrtbf()\\]|[0-7]{3})"
_OLD_ESCAPES = r"\\(?:[btnfr\"'\\]|u[0-9A-Fa-fXx@#]{4}|[0-7]{1,3})"


def _rules(dialect: tuple[int, int]) -> list[tuple[str, re.Pattern[str]]]:
    """The rules of an engine; 6.3 has no blocks, so neither their words nor single parentheses."""
    words, signs = (_WORDS, _SIGNS) if dialect >= (6, 4) else (_WORDS[3:], [one for one in _SIGNS if one not in "()"])
    escapes = _NEW_ESCAPES if dialect >= (6, 6) else _OLD_ESCAPES
    rules = [
        ("skip", r"[ \t]+"),
        *((sign, re.escape(sign)) for sign in signs),
        *((word, word) for word in words),
        ("x", "[Xx]"),
        ("%", "%"),
        ("wildcard", "[*+.]"),
        ("name", _LETTER),
        ("integer", "0|-?[1-9][0-9]*"),
        ("float", r"-?(?:0\.[0-9]+|[1-9][0-9]*\.[0-9]+)"),
        ("text", rf'"(?:{escapes}|[^\\"])*"'),
        ("public group", rf"\({_HEX}{{3}}{_EVEN}"),
        ("private group", rf"\({_HEX}{{3}}{_ODD}"),
        ("public element", rf"{_HEX}{{4}}\)"),
        ("private element", rf"\{{[A-Za-z][A-Za-z0-9 \-_.:]*\}}{_HEX}{{2}}\)"),
        ("comment", r"//[^\r\n]*"),
        ("newline", r"\r?\n"),
    ]
    return [(name, re.compile(pattern)) for name, pattern in rules]


_RULES = {dialect: _rules(dialect) for dialect in ((6, 3), (6, 4), (6, 5), (6, 6), (6, 7))}
# What begins a token and is none by itself: dropped together with the sign at which it fails.
_HALF = re.compile(rf"[@#]{_HEX}{{0,3}}|!|\r")


@dataclass(frozen=True)
class Token:
    """One token, with its kind, its text and where it stands."""

    kind: str
    text: str
    place: Place


def joined(text: str, *, dialect: tuple[int, int] = (6, 6)) -> list[tuple[int, str]]:
    """The lines of a script with their numbers from 1; since 6.6 a backslash at the end joins the next line."""
    lines: list[tuple[int, str]] = []
    open_line = False
    for number, line in enumerate(java_lines(text), 1):
        more = dialect >= (6, 6) and line.endswith("\\")
        part = line[:-1] if more else line
        if open_line:
            lines[-1] = (lines[-1][0], lines[-1][1] + part)
        else:
            lines.append((number, part))
        open_line = more
    return lines


def java_lines(text: str) -> list[str]:
    """Lines as ``BufferedReader`` has them: ended by ``\\n``, ``\\r`` or both."""
    lines = re.split(r"\r\n|\r|\n", text)
    return lines[:-1] if lines and not lines[-1] else lines


def without_comment(line: str, number: int) -> str:
    """A line up to its comment; quotes have to come in pairs, in a comment, too (``Comment.g4``).

    ``//`` behind a colon begins no comment.
    """
    cut, quoted = len(line), False
    for at, sign in enumerate(line):
        if sign == '"':
            quoted = not quoted
        elif cut == len(line) and not quoted and line.startswith("//", at) and line[at - 1 : at] != ":":
            cut = at
    if quoted:
        raise Refused('a quote (") has no partner on its line', Place(line=number, column=len(line) + 1))
    return line[:cut]


def tokens(text: str, *, dialect: tuple[int, int] = (6, 6)) -> list[Token]:
    """The tokens of a script, ``end`` last.

    Raises
    ------
    Refused
        For a quote without a partner.
    """
    found: list[Token] = []
    last = 1
    for number, line in joined(text, dialect=dialect):
        source = without_comment(line, number) if dialect >= (6, 6) else line
        _line(source + "\n", number, dialect, found)
        last = number + 1
    found.append(Token("end", "the end", Place(line=last, column=1)))
    return found


def _line(line: str, number: int, dialect: tuple[int, int], found: list[Token]) -> None:
    at, rules = 0, _RULES[dialect]
    while at < len(line):
        kind, length = "", 0
        for name, pattern in rules:
            match = pattern.match(line, at)
            if match and len(match[0]) > length:
                kind, length = name, len(match[0])
        if not length:
            half = _HALF.match(line, at)
            at += len(half[0]) + 1 if half else 1
            continue
        if kind not in ("skip", "comment"):
            found.append(Token(kind, line[at : at + length], Place(line=number, column=at + 1)))
        at += length
