"""What a series import filter of the destination drops, as far as the listing of the source tells.

XNAT keeps a filter as JSON (``seriesImportFilter``, of the site and of a project). Two modes have regular expressions,
one a line of ``list``, that are looked for in SeriesDescription: ``blacklist`` drops what one of them is found in,
``whitelist`` everything else. ``modalityMap`` has an expression for each modality, and a scan comes in where one of
them is true::

    {"mode": "modalityMap", "MR": "Modality == 'MR'", "PT": "Modality == 'PT' && SeriesDescription !~ /scout/"}

Expressions compare an element with a text (``==``, ``!=``) or a regular expression (``=~``, ``!~``), and are joined by
``&&``, ``||``, ``!`` and brackets. What needs an element that no listing has cannot be told, and is not guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

_WORDS = re.compile(
    r"""\s*(?:(?P<sign>==|!=|=~|!~|&&|\|\||[!()])|(?P<text>'[^']*'|"[^"]*")|/(?P<pattern>(?:[^/\\]|\\.)*)/"""
    r"""|(?P<name>[A-Z][A-Za-z]+)|(?P<sure>true|false))"""
)
_MODALITY = re.compile(r"[A-Z]{2,16}")

Said = bool | None
"""True, False, or None where it cannot be told."""
Values = Mapping[str, str | None]


class Described(NamedTuple):
    """What a listing tells of a scan; ``modality`` is None where it does not."""

    modality: str | None
    description: str


def dropped_by(text: str, scans: Iterable[Described]) -> dict[Described, Said] | None:
    """Whether a filter drops each scan; None for one of which it cannot be told, and in place of all where the filter
    cannot be read.

    >>> dropped_by('{"mode": "whitelist", "list": "^T1"}', [Described("MR", "scout")])
    {Described(modality='MR', description='scout'): True}
    """
    try:
        keeps = _filter(json.loads(text))
    except (ValueError, AttributeError, re.error, RecursionError):
        return None
    return {scan: _not(keeps(scan)) for scan in scans}


def _filter(given: dict) -> Callable[[Described], Said]:
    """What says whether a scan comes in; any error means that the filter is not understood."""
    if given.get("enabled") in (False, "false"):
        return lambda scan: True
    mode, listed = given.get("mode", ""), given.get("list", "")
    if mode == "modalityMap":
        return _by_modality({k: v for k, v in given.items() if k not in ("mode", "list", "enabled")}, listed)
    if mode not in ("blacklist", "whitelist"):
        raise ValueError(mode)
    lines = listed.splitlines() if isinstance(listed, str) else [str(one) for one in listed]
    patterns = [re.compile(line.strip()) for line in lines if line.strip()]
    return lambda scan: any(found.search(scan.description) for found in patterns) is (mode == "whitelist")


def _by_modality(given: dict, listed: str | dict) -> Callable[[Described], Said]:
    if not given:
        given = json.loads(listed) if isinstance(listed, str) else listed
    if not all(_MODALITY.fullmatch(key) and isinstance(value, str) for key, value in given.items()):
        raise ValueError("no map of modalities")
    tests = [_Reader(value).whole() for value in given.values()]

    def keeps(scan: Described) -> Said:
        values = {"Modality": scan.modality, "SeriesDescription": scan.description}
        return _any(test(values) for test in tests)

    return keeps


def _not(said: Said) -> Said:
    return None if said is None else not said


def _any(said: Iterable[Said]) -> Said:
    found = list(said)
    return True if True in found else None if None in found else False


def _all(said: Iterable[Said]) -> Said:
    return _not(_any(_not(one) for one in said))


class _Reader:
    """Reads one expression; ``&&`` binds closer than ``||``. Raises ValueError where it goes beyond that."""

    def __init__(self, text: str) -> None:
        self.words: list[tuple[str, str]] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _WORDS.match(text, at)
            if not found or not found.lastgroup:
                raise ValueError("not understood")
            self.words.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self.words.reverse()

    def whole(self) -> Callable[[Values], Said]:
        """The expression as a test."""
        test = self._joined("||", _any, lambda: self._joined("&&", _all, self._one))
        if self.words:
            raise ValueError("more than one expression")
        return test

    def _takes(self, *signs: str) -> str:
        if self.words and self.words[-1][0] == "sign" and self.words[-1][1] in signs:
            return self.words.pop()[1]
        return ""

    def _joined(self, sign: str, join: Callable, part: Callable[[], Callable[[Values], Said]]):
        parts = [part()]
        while self._takes(sign):
            parts.append(part())
        return lambda values: join(one(values) for one in parts)

    def _one(self) -> Callable[[Values], Said]:
        if self._takes("!"):
            inner = self._one()
            return lambda values: _not(inner(values))
        if self._takes("("):
            inner = self._joined("||", _any, lambda: self._joined("&&", _all, self._one))
            if not self._takes(")"):
                raise ValueError("a bracket is open")
            return inner
        kind, name = self.words.pop() if self.words else ("", "")
        if kind == "sure":
            return lambda values: name == "true"
        sign = self._takes("==", "!=", "=~", "!~") if kind == "name" else ""
        kind, wanted = self.words.pop() if sign and self.words else ("", "")
        if kind not in ("text", "pattern") or (kind == "pattern" and sign in ("==", "!=")):
            raise ValueError("no comparison")
        wanted = wanted[1:-1] if kind == "text" else wanted
        pattern = re.compile(wanted if sign in ("=~", "!~") else re.escape(wanted))
        find = pattern.search if sign in ("=~", "!~") else pattern.fullmatch

        def test(values: Values) -> Said:
            value = values.get(name)
            return None if value is None else (find(value) is not None) is (sign in ("==", "=~"))

        return test
