"""Dates and durations, against the standard library's calendar."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credchain.credentials.dates import (
    day_of,
    describe_duration,
    first_millisecond,
    last_millisecond,
    parse_date,
    parse_duration,
    rfc3339,
)
from credchain.errors import InvalidInput
from tests.unit.credential_helpers import HOSTILE

DAY = 86_400_000


@pytest.mark.parametrize("text", ["2024-02-29", "2000-02-29", "1970-01-01", "9999-12-31", "2026-03-31"])
def test_days_that_exist(text: str) -> None:
    assert parse_date(text).isoformat() == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "2025-02-29",
        "1900-02-29",
        "2100-02-29",
        "2026-04-31",
        "2026-00-10",
        "2026-13-01",
        "2026-01-00",
        "2026-01-32",
        "0000-01-01",
        "1969-12-31",
        "0001-01-01",
        "2026-1-1",
        "26-01-01",
        "02026-01-01",
        "20260101",
        "2026-W01-1",
        "2026/01/01",
        "01/02/2026",
        "2026-01-01T00:00:00Z",
        " 2026-01-01",
        "2026-01-01 ",
        "2026-01-01\n",
        "2026-01-01\r\n",
        "2026-01-01\x00",
        "-2026-01-01",
        "2026-01-0１",  # a full-width digit
        "٢٠٢٦-01-01",
        "2026‐01‐01",  # U+2010
        "today",
        "",
    ],
)
def test_what_is_no_day_is_refused_by_name(text: str) -> None:
    for read in (parse_date, first_millisecond, last_millisecond):
        with pytest.raises(InvalidInput) as caught:
            read(text, "until")
        assert caught.value.field == "until"
        assert caught.value.hint
        assert caught.value.message.isprintable()


@HOSTILE
@given(st.integers(1970, 9999), st.integers(1, 12), st.integers(1, 31))
def test_a_day_is_accepted_exactly_if_the_calendar_has_it(year: int, month: int, day: int) -> None:
    text = f"{year:04d}-{month:02d}-{day:02d}"
    if day > calendar.monthrange(year, month)[1]:
        with pytest.raises(InvalidInput):
            parse_date(text)
        return
    moment = datetime(year, month, day, tzinfo=UTC)
    assert first_millisecond(text) == calendar.timegm(moment.timetuple()) * 1000
    assert last_millisecond(text) == first_millisecond(text) + DAY - 1
    assert day_of(first_millisecond(text)) == day_of(last_millisecond(text)) == text


def test_a_day_ends_where_the_next_begins() -> None:
    assert first_millisecond("1970-01-01") == 0
    assert last_millisecond("2024-02-29") + 1 == first_millisecond("2024-03-01")
    assert last_millisecond("2025-02-28") + 1 == first_millisecond("2025-03-01")


@HOSTILE
@given(st.integers(0, 253_402_300_799_999))
def test_times_are_written_as_rfc_3339_and_mean_the_same_moment(time: int) -> None:
    text = rfc3339(time)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", text)
    moment = datetime.fromisoformat(text)
    assert moment == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time)
    assert day_of(time) == moment.date().isoformat()


def test_known_moments() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_000_000_000_000) == "2001-09-09T01:46:40Z"
    assert rfc3339(1_000_000_000_007) == "2001-09-09T01:46:40.007Z"
    assert rfc3339(2**53 - 1).startswith("9999-12-31T23:59:59")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1s", 1_000), ("90s", 90_000), ("15m", 900_000), ("12h", 43_200_000), ("7d", 604_800_000)],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "00s",
        "01s",
        "1",
        "s",
        "1 s",
        " 1s",
        "1s ",
        "1s\n",
        "1S",
        "1w",
        "1y",
        "-1s",
        "+1s",
        "1.5h",
        "1h30m",
        "1e3s",
        "１s",
        "١s",
        "1_0s",
        "1234567890s",
        "9" * 5_000 + "s",
    ],
)
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_duration(text, "max-age")
    assert caught.value.field == "max-age"
    assert caught.value.hint


def test_the_longest_duration_still_fits_the_ledgers_integers() -> None:
    """So that "now plus this" never becomes an encoding error far from where it was typed."""
    now = first_millisecond("2026-01-01")
    for text in ("999999999s", "999999999m", "999999999h", "999999999d"):
        try:
            duration = parse_duration(text)
        except InvalidInput:
            continue
        assert now + duration <= 2**53 - 1


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (1_000, "1 s"),
        (90_000, "90 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (3 * DAY, "3 d"),
        (DAY, "24 h"),
    ],
)
def test_durations_for_people(duration: int, text: str) -> None:
    assert describe_duration(duration) == text


def test_dates_are_days_not_moments() -> None:
    assert type(parse_date("2026-01-01")) is date
