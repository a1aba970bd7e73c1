"""Headers as a table: what ``/data/services/dicomdump`` answers, and when it answers of another session.

XNAT source: ``DicomDump``, which keeps what it reads in shared state: on live 1.7.2 and 1.7.6 up to a quarter of the
answers to five dumps at a time were another session's, or empty, with 200. Here the fault ``other-header`` does
so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import places
from .answers import Refusal, flag, table
from .places import Place
from .rules import Rule, strike
from .state import State


class Together:
    """How many dumps are under way at one time, and what the one before was asked for and read."""

    def __init__(self) -> None:
        self._lock, self._now = threading.Lock(), 0
        self._former: tuple[str, Any] = ("", None)

    def before(self, src: str, header: Any | None) -> Any | None:
        """The header that was read before for something else, if that was the last; this one is kept in its place."""
        with self._lock:
            former, self._former = self._former, (src, header)
        return former[1] if former[0] != src else None

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def meets(self, rule: Rule) -> bool:
        """Whether so many are under way that a rule counts."""
        return self._now >= rule.number("at_once", 1)


_together = Together()


def dump(request: Request) -> Response:
    """GET /data/services/dicomdump?src=/archive/.../scans/N&field=...: the header of the first DICOM file there.

    A scan that is not there, or holds no DICOM, has no rows (recorded answers of 1.8.11, form F56).
    """
    src = request.query_params.get("src", "")
    if not src:
        raise Refusal(400, "Missing parameter: src")
    wanted = {_tag(name) for name in request.query_params.getlist("field")}
    with _together.one_more():
        header = next(_headers(_files(request, src)), None)
        before = _together.before(src, header)
        rule = strike("other-header", src, _together.meets)
        if rule is not None and header is not None:
            empty = rule.dice.random() < rule.number("share", 0)
            header = None if empty else before or _of_another(request, header)
    rows = [] if header is None else list(_rows(header, wanted, summary=flag(request, "summary")))
    return table(request, rows, ["tag1", "tag2", "vr", "value", "desc"], total=False)


def _of_another(request: Request, header: Any) -> Any | None:
    """The header of a file of another session, whoever may read it, or None where there is no other."""
    state: State = request.app.state.xnat
    scans = state.rows("SELECT pk FROM scans ORDER BY pk DESC")
    for scan in scans:
        for holder in state.rows("SELECT * FROM resources WHERE parent_kind='scan' AND parent_id=?", str(scan["pk"])):
            files = state.rows("SELECT path FROM files WHERE resource_pk=? ORDER BY path LIMIT 1", holder["pk"])
            for other in _headers(state.file_path(holder["pk"], file["path"]) for file in files):
                if other.get("StudyInstanceUID") != header.get("StudyInstanceUID"):
                    return other
    return None


def _files(request: Request, src: str) -> Iterator[Path]:
    state: State = request.app.state.xnat
    parts = src.strip("/").removeprefix("data/").split("/")
    if parts[:2] == ["prearchive", "projects"] and len(parts) >= 5:
        from .row_addresses import find_rows
        from .waiting import Waiting

        (row,) = find_rows(state, request.state.user, [(parts[2], parts[3], parts[4])])
        scan = parts[6] if len(parts) > 6 and parts[5] == "scans" else None
        waiting = Waiting(state)
        for file in waiting.files(row, scan, every=True):
            yield waiting.file_path(row, file["scan"], file["resource"], file["path"])
        return
    words = places.words_of(src)
    here = places.named(state, request.state.user, {**words, "scan": ""})
    if here and here[0].kind == "experiment":
        here = places.scans_of(state, here, words.get("scan") or "ALL")
    for place in here:
        yield from dicom_files(state, place, words.get("r", ""))


def dicom_files(state: State, place: Place, wanted: str = "") -> Iterator[Path]:
    """The files of a place's resources, those of format DICOM first."""
    for holder in sorted(places.resources(state, place, wanted), key=lambda row: row["format"] != "DICOM"):
        for file in state.rows("SELECT path FROM files WHERE resource_pk=? ORDER BY path", holder["pk"]):
            yield state.file_path(holder["pk"], file["path"])


def _headers(files: Iterator[Path]) -> Iterator[Any]:
    import pydicom

    for path in files:
        try:
            yield pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, EOFError):
            continue


def header_of(state: State, place: Place) -> Any | None:
    """The header of the first DICOM file of a place, as pydicom reads it."""
    return next(_headers(dicom_files(state, place)), None)


def _tag(name: str) -> int:
    from pydicom.datadict import tag_for_keyword

    text_ = name.strip("() ").replace(",", "")
    found = tag_for_keyword(name)
    if found is None:
        try:
            found = int(text_, 16)
        except ValueError:
            raise Refusal(400, f"Unknown DICOM field {name}") from None
    return int(found)


def _rows(dataset: Any, wanted: set[int], *, summary: bool, outer: str = "") -> Iterator[dict[str, str]]:
    for element in dataset:
        if wanted and int(element.tag) not in wanted:
            continue
        here = f"({element.tag.group:04X},{element.tag.element:04X})".lower()
        one = {"tag1": outer or here, "tag2": here if outer else "", "vr": element.VR, "desc": element.name}
        if element.VR == "SQ":
            yield one | {"tag2": here, "value": ""}
            if not summary:
                for item in element.value:
                    yield from _rows(item, set(), summary=summary, outer=here)
        else:
            several = element.value if element.VM > 1 else [element.value]
            value = "" if isinstance(element.value, bytes) else "\\".join(str(part) for part in several)
            yield one | {"value": value if len(value) <= 1000 else value[:1000]}


routes = [Route("/data/services/dicomdump", dump)]
