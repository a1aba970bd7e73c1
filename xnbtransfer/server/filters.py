"""Series import filters of the site and of a project: which objects an import lets in.

Two modes look for regular expressions, one a line, in SeriesDescription: ``blacklist`` keeps out what one of them is
found in, ``whitelist`` everything else. ``modalityMap`` has an expression for each modality of a session, and an object
comes in where one of them is true::

    {"mode": "modalityMap", "MR": "Modality == 'MR'", "PT": "Modality == 'PT' || SeriesDescription =~ /WB/"}

Expressions know DICOM keywords, ``==``, ``!=``, ``=~`` and ``!~`` with texts or ``/regular expressions/``, ``&&``,
``||``, ``!`` and brackets. What is kept out is dropped without a word: an import that keeps nothing answers 200 and
nothing (dicomtools: ``DicomFilterService``; XNAT source: ``GradualDicomImporter``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword

if TYPE_CHECKING:
    from .state import State

Read = Callable[[int], str]
"""Gives the text of a tag, empty when absent."""
Test = Callable[[Read], bool]
SERIES_DESCRIPTION = 0x0008103E
_TOKEN = re.compile(
    r"""\s*(?:(?P<op>==|!=|=~|!~|&&|\|\||[!()])|'(?P<one>[^']*)'|"(?P<two>[^"]*)"|/(?P<regex>(?:[^/\\]|\\.)*)/"""
    r"""|(?P<word>[A-Za-z]\w*))"""
)


class FilterError(ValueError):
    """A filter that this server cannot read."""


def of(state: State, project: str) -> list[Test]:
    """The filters that an object for ``project`` meets, the site's first; empty when all are off.

    Raises
    ------
    FilterError
        With a sentence, if one of them cannot be read.
    """
    found = []
    if state.site("enableSitewideSeriesImportFilter") == "true":
        mode = state.site("sitewideSeriesImportFilterMode") or "blacklist"
        found.append(compile_filter(mode, state.site("sitewideSeriesImportFilter") or ""))
    row = state.row(
        "SELECT contents, status FROM config WHERE project=? AND tool='seriesImportFilter' AND path='config' "
        "ORDER BY version DESC LIMIT 1",
        project,
    )
    if row and row["status"] == "enabled" and (row["contents"] or "").strip():
        found.append(_of_config(row["contents"]))
    return found


def _of_config(text: str) -> Test:
    try:
        given = json.loads(text)
    except ValueError:
        return compile_filter("blacklist", text)
    if not isinstance(given, dict):
        raise FilterError("a series import filter is an object with mode and list")
    if given.get("enabled") in (False, "false"):
        return lambda read: True
    listed = given.get("list", "")
    mode = str(given.get("mode", "blacklist"))
    if mode == "modalityMap":
        listed = json.dumps({k: v for k, v in given.items() if k not in ("mode", "list", "enabled")} or listed)
    return compile_filter(mode, "\n".join(map(str, listed)) if isinstance(listed, list) else str(listed))


@lru_cache(maxsize=64)
def compile_filter(mode: str, text: str) -> Test:
    """One filter as a test that an object passes or not.

    Raises
    ------
    FilterError
        With a sentence, if it cannot be read.

    Examples
    --------
    >>> compile_filter("blacklist", "localizer")(lambda tag: "3-plane localizer")
    False
    """
    if mode == "modalityMap":
        return _modality_map(text)
    if mode not in ("blacklist", "whitelist"):
        raise FilterError(f"there is no filter mode {mode!r}; known are blacklist, whitelist and modalityMap")
    try:
        patterns = [re.compile(line.strip()) for line in text.splitlines() if line.strip()]
    except re.error as problem:
        raise FilterError(f"a line of the series import filter is no regular expression: {problem}") from None

    def passes(read: Read) -> bool:
        met = any(pattern.search(read(SERIES_DESCRIPTION)) for pattern in patterns)
        return met is (mode == "whitelist")

    return passes


def _modality_map(text: str) -> Test:
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise FilterError("a modalityMap has an expression for each modality")
    tests = [_Expression(str(expression)).whole() for expression in given.values()]
    return lambda read: any(test(read) for test in tests)


class _Expression:
    """Reads one expression, left to right; ``||`` binds looser than ``&&``."""

    def __init__(self, text: str) -> None:
        self.tokens, at, text = [], 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise FilterError(f"this server knows no filter expression like {text[at : at + 40]!r}")
            assert found.lastgroup is not None  # each way to match is a named group
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def whole(self) -> Test:
        test = self._any()
        if self.tokens:
            raise FilterError(f"a filter expression goes on with {self.tokens[0][1]!r}")
        return test

    def _next(self, *wanted: str) -> str:
        if self.tokens and self.tokens[0][0] == "op" and self.tokens[0][1] in wanted:
            return self.tokens.pop(0)[1]
        return ""

    def _any(self) -> Test:
        tests = [self._all()]
        while self._next("||"):
            tests.append(self._all())
        return lambda read: any(test(read) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._next("&&"):
            tests.append(self._one())
        return lambda read: all(test(read) for test in tests)

    def _one(self) -> Test:
        if self._next("!"):
            test = self._one()
            return lambda read: not test(read)
        if self._next("("):
            test = self._any()
            if not self._next(")"):
                raise FilterError("a bracket of a filter expression is not closed")
            return test
        kind, word = self.tokens.pop(0) if self.tokens else ("", "nothing")
        if kind == "word" and word in ("true", "false"):
            return lambda read: word == "true"
        tag = tag_for_keyword(word) if kind == "word" else None
        operator = self._next("==", "!=", "=~", "!~") if tag else ""
        if tag is None or not operator:
            raise FilterError(f"a filter expression compares a DICOM keyword, not {word!r}")
        kind, value = self.tokens.pop(0) if self.tokens else ("", "nothing")
        if kind not in ("one", "two", "regex"):
            raise FilterError(f"a filter expression compares with a text, not with {value!r}")
        if operator in ("==", "!="):
            return lambda read: (read(tag) == value) is (operator == "==")
        try:
            pattern = re.compile(value)
        except re.error as problem:
            raise FilterError(f"a filter expression holds no regular expression: {problem}") from None
        return lambda read: (pattern.search(read(tag)) is not None) is (operator == "=~")
