"""Dates and times shifted as DicomEdit 6.6 shifts them, and as 6.3 to 6.5 did.

The result has the precision of what came in: what is missing is filled up from the middle before it is shifted, and
left out again. Offset and fraction are carried through (dicom-edit6 sources: ``DicomDateTimeShifter``,
``MidPointDateTimeFactory``). A year is 365 days.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

from .errors import Failed

_FORM = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})?(?P<day>\d{2})?(?P<hour>\d{2})?(?P<minute>\d{2})?(?P<second>\d{2})?"
    r"(?P<fraction>\.\d{1,6})?(?P<zone>[+-]\d{4})?",
    re.ASCII,
)
UNITS = {"years": 365 * 86400, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True)
class Moment:
    """A moment without a zone, as seconds since 1970-03-01 in the calendar of ISO 8601, years 0 to 9999 and beyond."""

    seconds: int

    @property
    def parts(self) -> tuple[int, int, int, int, int, int]:
        """Year, month, day, hour, minute, second."""
        days, rest = divmod(self.seconds, 86400)
        return (*_date(days), rest // 3600, rest % 3600 // 60, rest % 60)


def _days(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _date(days: int) -> tuple[int, int, int]:
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    return year + era * 400 + (month <= 2), month, day


def moment(text: str | None) -> tuple[Moment, re.Match[str]]:
    """The moment that a date or date and time stands for; `Failed` when it is none."""
    found = _FORM.fullmatch(text or "")
    if found is None:
        raise Failed(f"Failed to parse DICOM time string '{'null' if text is None else text}'")
    given = {key: int(value) for key, value in found.groupdict().items() if value and value.isdigit()}
    year, month = given["year"], given.get("month", 7)
    if not 1 <= month <= 12:
        raise Failed(f"Invalid value for MonthOfYear (valid values 1 - 12): {month}")
    length = calendar.monthrange(year or 4, month)[1]
    day, hour = given.get("day", 1), given.get("hour", 0)
    if "day" not in given and "month" in given:
        day, hour = length // 2 + 1, 12 if length % 2 else 0
    elif "hour" not in given and "day" in given:
        hour = 12
    minute = given.get("minute", 30 if "hour" in given else 0)
    second = given.get("second", 30 if "minute" in given else 0)
    if not (1 <= day <= length and hour < 24 and minute < 60 and second < 60):
        raise Failed(f"Invalid date '{text}'")
    if found["zone"] and (int(found["zone"][1:3]) > 18 or int(found["zone"][3:]) > 59):
        raise Failed(f"Zone offset not in valid range: {found['zone']}")
    return Moment(_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second), found


def is_one(text: str | None) -> bool:
    """Whether ``text`` has the form of a date; its month may be a 13th all the same."""
    return _FORM.fullmatch(text or "") is not None


def shifted(text: str | None, increment: int, units: str | None) -> str:
    """``text`` shifted by ``increment`` units; `Failed` for what is no date, and for unknown units."""
    if units is None or units.lower() not in UNITS:
        raise Failed(f"Unsupported time-shift units: {units}")
    start, found = moment(text)
    year, *rest = Moment(start.seconds + increment * UNITS[units.lower()]).parts
    out = f"{year:04d}"
    for name, value in zip(("month", "day", "hour", "minute", "second"), rest, strict=True):
        if not found[name]:
            break
        out += f"{value:02d}"
    else:
        out += found["fraction"] or ""
    return out + (found["zone"] or "")


def shifted_before_6_6(text: str | None, increment: int) -> str | None:
    """``shiftDateByIncrement`` up to 6.5: the first eight digits of ``yyyyMMdd``, days only; empty stays empty."""
    if not text:
        return text
    found = re.match(r"(\d{4})(\d{2})(\d{2})", text)
    if found is None:
        raise Failed(f'Failed to parse date. Expected yyyyMMdd: "{text}"')
    year, month, day = (int(part) for part in found.groups())
    over, month = divmod(month - 1, 12)  # the parser is lenient, the 13th month is next year's first
    shown = _date(_days(year + over, month + 1, 1) + day - 1 + increment)
    return f"{shown[0]:04d}{shown[1]:02d}{shown[2]:02d}"


def shifted_in_6_3(text: str | None, increment: int) -> str | None:
    """``shiftDateTimeByIncrement`` in 6.3: to the second, in universal time, whatever the precision was."""
    if not text:
        return text
    found = _FORM.fullmatch(text) or re.fullmatch(r"(?P<year>\d{4})(?P<month>\d{2})(?P<fraction>)(?P<zone>)", text)
    if found is None:
        raise Failed(f"Failed to parse DICOM dateTime string '{text}'")
    if found["fraction"]:
        return shifted(text, increment, "seconds")
    part = {key: int(found[key]) if key in found.groupdict() and found[key] else None for key in _PARTS}
    months = (part["month"] or 1) - 1
    days = _days(int(found["year"]) + months // 12, months % 12 + 1, 1) + (part["day"] or 1) - 1
    seconds = days * 86400 + (part["hour"] or 0) * 3600 + (part["minute"] or 0) * 60 + (part["second"] or 0)
    if found["zone"]:
        sign = -1 if found["zone"][0] == "+" else 1
        seconds += sign * (int(found["zone"][1:3]) * 3600 + int(found["zone"][3:]) * 60)
    year, *rest = Moment(seconds + increment).parts
    return f"{year:04d}" + "".join(f"{one:02d}" for one in rest)


_PARTS = ("month", "day", "hour", "minute", "second")
