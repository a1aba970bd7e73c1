"""Dates and times that a script shifts, as DicomEdit 6 does it.

What a value leaves out is taken from the middle of what it leaves open; the result has the precision of the value, its
fraction of a second and its time zone as they were (``DefaultDicomDateTimeShifter``, ``MidPointDateTimeFactory``).
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from .words import Failed, NotForetold

_FORM = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?", re.ASCII).fullmatch
_SECONDS = {"years": 365 * 86400, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
SHIFTED_DAYS = 366 * 10_000


class Unreadable(Failed):
    """A value is no date: the one failure that the sequence form of the shift passes over."""


@dataclass(frozen=True)
class Moment:
    """A date and time, with the digits it was written with."""

    time: datetime
    fields: int
    rest: tuple[str, str]

    @classmethod
    def read(cls, text: str | None) -> Moment | None:
        """A moment of a DICOM DA or DT; None where the text is neither."""
        found = _FORM(text or "")
        if not found:
            return None
        given = [int(part) for part in found.groups()[:6] if part is not None]
        if int(given[0]) == 0:
            raise NotForetold("a date lies in the year 0")
        zone = found[8]
        if zone and (int(zone[1:3]) > 18 or int(zone[3:]) > 59 or int(zone[1:]) > 1800):
            raise Failed("a date has a time zone that is none")
        try:
            return cls(datetime(*_filled(given)), len(given), (found[7] or "", zone or ""))  # type: ignore[arg-type]
        except ValueError:
            raise Failed("a date names a day or a time that is none") from None

    def shown(self, time: datetime) -> str:
        """Another time, in the precision of this one."""
        parts = (f"{time.year:04d}", *(f"{part:02d}" for part in (time.month, time.day, time.hour, time.minute,
                                                                 time.second)))  # fmt: skip
        fraction, zone = self.rest
        return "".join(parts[: self.fields]) + (fraction if self.fields == 6 else "") + zone


def _filled(given: list[int]) -> list[int]:
    """Year to second; what is missing is the middle of the year, the month, the day, the hour or the minute."""
    year, *rest = given
    if not rest:
        return [year, 7, 1, 0, 0, 0]
    month = rest[0]
    if len(rest) == 1:
        if not 1 <= month <= 12:
            raise ValueError
        days = calendar.monthrange(year, month)[1]
        return [year, month, days // 2 + 1, 12 if days % 2 else 0, 0, 0]
    middle = {2: [12, 0, 0], 3: [30, 0], 4: [30], 5: []}[len(rest)]
    return [year, *rest, *middle]


def shifted(text: str | None, increment: int, units: str | None) -> str:
    """A date shifted by so many units.

    >>> shifted("20200228", 1, "days"), shifted("2020", 1, "days")
    ('20200229', '2020')
    """
    if units is None:
        raise Failed("the unit of a shift is missing")
    if units.lower() not in _SECONDS:
        raise Failed("the unit of a shift is not known")
    moment = Moment.read(text)
    if moment is None:
        raise Unreadable("a value is no date")
    try:
        return moment.shown(moment.time + timedelta(seconds=increment * _SECONDS[units.lower()]))
    except OverflowError:
        raise NotForetold("a date is shifted beyond the years 1 to 9999") from None
