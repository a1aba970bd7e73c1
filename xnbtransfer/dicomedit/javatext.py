"""What Java makes of a pattern and of a text with places to fill: as far as it can be done here, and in bounded time.

A script is written by somebody at the destination, so a pattern may be made to run for ever. Only patterns whose steps
can be bounded beforehand are tried; of the others it is said that their result cannot be foretold. So it is of every
construct in which Java and Python differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from .words import Failed, NotForetold

_MOST_STEPS = 2_000_000
_LONGEST_PATTERN = 2_000
_REPEAT = re.compile(r"\{[0-9]{1,3}(?:,[0-9]{0,3})?\}")
_FLAGS = re.compile(r"\(\?([ims]+)\)")
_NAMED = re.compile(r"\(\?<([A-Za-z][A-Za-z0-9]*)>")
_OPENING = ("(?:", "(?=", "(?!", "(?<=", "(?<!")
_ENDS = "\n\r\u0085\u2028\u2029"


class _Translation:
    """A pattern of Java on its way to Python, with the number of steps it may take for a text."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.out = pattern, 0, ""
        self.unbounded, self.choices = 0, 0
        self.flags = re.ASCII

    def unknown(self) -> NotForetold:
        return NotForetold("a pattern is not tried here: it may run for long, or Java reads it in its own way")

    def run(self) -> None:
        flags = _FLAGS.match(self.pattern)
        if flags:
            self.at = flags.end()
            self.flags |= sum(({"i": re.I, "m": re.M, "s": re.S}[sign] for sign in set(flags[1])), re.NOFLAG)
        if self.flags & re.M:
            raise self.unknown()
        stack: list[list[bool]] = [[False, False]]  # of each open group: does it repeat, does it choose
        closed: list[bool] | None = None
        while self.at < len(self.pattern):
            sign = self.pattern[self.at]
            if sign == "\\":
                self.escape()
                closed = None
            elif sign == "[":
                self.character_class()
                closed = None
            elif sign == "(":
                stack.append([False, False])
                self.group()
                closed = None
            elif sign == ")":
                if len(stack) == 1:
                    raise Failed("a pattern has a ) without its (")
                closed = stack.pop()
                stack[-1] = [stack[-1][0] or closed[0], stack[-1][1] or closed[1]]
                self.take(1)
            elif sign in "*+?{":
                self.quantifier(closed, stack)
                closed = None
            elif sign == "|":
                stack[-1][1] = True
                self.choices += 1
                self.take(1)
                closed = None
            else:
                self.out += f"[^{_ENDS}]" if sign == "." and not self.flags & re.S else sign
                self.at += 1
                closed = None
        if len(stack) > 1:
            raise Failed("a pattern has a ( without its )")

    def take(self, count: int) -> None:
        self.out += self.pattern[self.at : self.at + count]
        self.at += count

    def escape(self) -> None:
        following = self.pattern[self.at + 1 : self.at + 2]
        if not following:
            raise Failed("a pattern ends with a backslash")
        if following.isalnum() and following not in "dDwWsSntrf123456789":
            # What Java knows besides is too far from Python's; what neither knows makes the engine fail.
            raise (
                self.unknown() if following in "QEpPhHvVRXGzZkxu0cebBAaN" else Failed("a pattern has an unknown escape")
            )
        if following.isdigit():
            raise self.unknown()
        self.take(2)

    def character_class(self) -> None:
        start = self.at
        self.take(1)
        if self.pattern.startswith("^", self.at):
            self.take(1)
        first = True
        while True:
            sign = self.pattern[self.at : self.at + 1]
            if not sign:
                raise Failed("a pattern has a class without its end")
            if sign == "\\":
                self.escape()
            elif sign == "]" and not first:
                self.take(1)
                return
            elif sign in "[]" or self.pattern.startswith("&&", self.at):
                if "]" not in self.pattern[start + 1 :]:
                    raise Failed("a pattern has a class without its end")
                raise self.unknown()
            else:
                self.take(1)
            first = False

    def group(self) -> None:
        named = _NAMED.match(self.pattern, self.at)
        if named:
            self.out += f"(?P<{named[1]}>"
            self.at = named.end()
            return
        for opening in _OPENING:
            if self.pattern.startswith(opening, self.at):
                self.take(len(opening))
                return
        if self.pattern.startswith("(?", self.at):
            raise self.unknown()
        self.take(1)

    def quantifier(self, closed: list[bool] | None, stack: list[list[bool]]) -> None:
        sign = self.pattern[self.at]
        if sign == "{":
            repeat = _REPEAT.match(self.pattern, self.at)
            if not repeat:
                raise Failed("a pattern has a { that repeats nothing")
            length = len(repeat[0])
        else:
            length = 1
        if sign != "?":
            if closed is not None and (closed[0] or closed[1]):
                raise self.unknown()
            self.unbounded += 1
            stack[-1][0] = True
        else:
            self.choices += 1
            stack[-1][0] = True
        self.take(length)
        if self.pattern[self.at : self.at + 1] in ("?", "+") and self.at < len(self.pattern):
            self.take(1)


@functools.lru_cache(maxsize=512)
def _compiled(pattern: str) -> tuple[re.Pattern[str], int, int]:
    if len(pattern) > _LONGEST_PATTERN:
        raise NotForetold("a pattern is too long to be tried")
    translation = _Translation(pattern)
    translation.run()
    try:
        return re.compile(translation.out, translation.flags), translation.unbounded, translation.choices
    except (re.error, RecursionError, OverflowError):
        raise Failed("a pattern cannot be read") from None


def _bounded(pattern: str, text: str, starts: int) -> re.Pattern[str]:
    compiled, unbounded, choices = _compiled(pattern)
    length = len(text) + 1
    if starts * length ** min(unbounded, 20) * 2 ** min(choices, 60) * max(len(pattern), 1) > _MOST_STEPS * 100:
        raise NotForetold("a pattern may take too long for this text")
    if "$" in pattern and set(text) & set(_ENDS):
        raise NotForetold("a pattern meets a text of several lines")
    return compiled


def matches(text: str, pattern: str) -> bool:
    """``String.matches``: whether the whole text fits the pattern.

    >>> matches("MR", "M.*"), matches("MR", "M")
    (True, False)
    """
    return bool(_bounded(pattern, text, 1).fullmatch(text))


def find(text: str, pattern: str, group: int, *, whole: bool = False) -> tuple[bool, str | None]:
    """Whether a part (or the whole) of a text fits, and what the group then holds."""
    compiled = _bounded(pattern, text, 1 if whole else len(text) + 1)
    found = compiled.fullmatch(text) if whole else compiled.search(text)
    if found is None:
        return False, None
    if not 0 <= group <= compiled.groups:
        raise Failed("a pattern has no such group")
    return True, found[group]


def message(pattern: str, values: Sequence[str | None]) -> str:
    """``MessageFormat.format`` with texts: ``{0}`` is the first; what has no value stays as it is.

    >>> message("it''s {0} {1}", ["a"])
    "it's a {1}"
    """
    out, at, quoted = [], 0, False
    while at < len(pattern):
        sign = pattern[at]
        if sign == "'":
            if pattern.startswith("''", at):
                out.append("'")
                at += 2
                continue
            quoted = not quoted
            at += 1
        elif quoted or sign != "{":
            out.append(sign)
            at += 1
        else:
            end = pattern.find("}", at)
            if end < 0:
                raise Failed("a format has a { without its }")
            inner = pattern[at + 1 : end]
            if "," in inner or "'" in inner or "{" in inner:
                raise NotForetold("a format asks for more than a text")
            if not re.fullmatch(r"[+-]?[0-9]{1,9}", inner) or int(inner) < 0:
                raise Failed("a format has a place without a number")
            number = int(inner)
            if number < len(values):
                value = values[number]
                out.append("null" if value is None else value)
            else:
                out.append(f"{{{number}}}")
            at = end + 1
    return "".join(out)


def hash_code(text: str) -> int:
    """``String.hashCode``."""
    code = 0
    units = text.encode("utf-16-le")
    for at in range(0, len(units), 2):
        code = (31 * code + (units[at] | units[at + 1] << 8)) & 0xFFFFFFFF
    return code


def hash_all(codes: Sequence[int]) -> int:
    """``Objects.hash`` and ``List.hashCode`` of what has these hash codes."""
    code = 1
    for one in codes:
        code = (31 * code + one) & 0xFFFFFFFF
    return code


def hash_order(codes: Sequence[int]) -> list[int]:
    """In which order a ``HashMap`` walks keys that were put in this order: positions of ``codes``."""
    size = 16
    while len(codes) > size * 3 // 4:
        size *= 2
    return sorted(range(len(codes)), key=lambda at: ((codes[at] ^ codes[at] >> 16) & (size - 1), at))
