"""Dates and durations as people write them, and the integer milliseconds that we compute with."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from ..certificates import Millis
from ..errors import InvalidInput
from ..limits import DAY, HOUR, MINUTE, SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])\Z", re.ASCII)
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_LAST: Final = 253_402_300_799_999  # 9999-12-31, the last day that RFC 3339 can write


def parse_date(text: str, field: str = "date") -> date:
    """A day from ``YYYY-MM-DD`` (RFC 3339 full-date), from 1970 on."""
    hint = "write it as YYYY-MM-DD, for example 2026-03-31"
    if not _DATE.match(text):
        raise InvalidInput(f"{field} is {text!r}, not a date", field=field, hint=hint)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{field} is {text}, a day that does not exist", field=field, hint=hint) from None
    if day.year < 1970:
        raise InvalidInput(f"{field} is {text}, before 1970-01-01", field=field, hint=hint)
    return day


def first_millisecond(text: str, field: str = "date") -> Millis:
    """The first millisecond of that day in UTC."""
    day = parse_date(text, field)
    return Millis((day - _EPOCH.date()).days * DAY)


def last_millisecond(text: str, field: str = "date") -> Millis:
    """The last millisecond of that day in UTC."""
    return Millis(first_millisecond(text, field) + DAY - 1)


def parse_duration(text: str, field: str = "duration") -> Millis:
    """Milliseconds from an integer and one of s, m, h, d."""
    match = _DURATION.match(text)
    if not match:
        raise InvalidInput(
            f"{field} is {text!r}, not a duration",
            field=field,
            hint="write a number and a unit: 90s, 15m, 12h, 7d",
        )
    return Millis(int(match[1]) * _UNITS[match[2]])


def rfc3339(time: int) -> str:
    """``2026-03-31T12:00:00Z``, with milliseconds where they are not zero (RFC 3339, 5.6)."""
    moment = _EPOCH + timedelta(milliseconds=min(max(time, 0), _LAST))
    return moment.isoformat(timespec="milliseconds" if time % 1000 else "seconds").replace("+00:00", "Z")


def day_of(time: int) -> str:
    """The UTC day of a time, ``YYYY-MM-DD``."""
    return rfc3339(time)[:10]


def describe_duration(duration: int) -> str:
    """A duration for people, in its largest whole unit that leaves at least two: ``90 s``, ``3 d``."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if duration >= 2 * unit:
            return f"{duration // unit} {name}"
    return f"{duration / SECOND:.0f} s"
