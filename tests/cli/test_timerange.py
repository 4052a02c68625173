"""Times as arguments: read exactly, and no zone is guessed."""

from datetime import datetime, timedelta

import pytest

from aiosipcdr.cli.timerange import Range, parse_range
from aiosipcdr.cli.usage import UsageError


def parse(start: str, end: str, tz: str | None = None) -> tuple[str, str]:
    first, last = parse_range(Range(start=start, end=end, tz=tz))
    return first.isoformat(), last.isoformat()


def test_dates_are_the_first_instant_of_the_day_in_the_zone() -> None:
    assert parse("2026-10-01", "2026-11-01", "Asia/Shanghai") == (
        "2026-10-01T00:00:00+08:00",
        "2026-11-01T00:00:00+08:00",
    )


def test_a_zone_with_daylight_saving_has_the_offset_of_each_day() -> None:
    assert parse("2026-10-25", "2026-10-26", "Europe/Berlin") == (
        "2026-10-25T00:00:00+02:00",
        "2026-10-26T00:00:00+01:00",
    )


@pytest.mark.parametrize(
    ("tz", "offset"), [("UTC", 0), ("utc", 0), ("Z", 0), ("+08:00", 480), ("-05:30", -330), ("+0800", 480)]
)
def test_a_zone_may_be_an_offset(tz: str, offset: int) -> None:
    start, end = parse_range(Range(start="2026-10-01T08:30", end="2026-10-01 09:00:00", tz=tz))
    assert start.utcoffset() == end.utcoffset() == timedelta(minutes=offset)


def test_an_offset_that_is_written_wins_over_the_zone() -> None:
    start, _ = parse("2026-10-01T00:00:00-03:00", "2026-10-02", "Asia/Shanghai")
    assert datetime.fromisoformat(start).utcoffset() == timedelta(hours=-3)
    assert parse("2026-10-01T00:00:00Z", "2026-10-01T01:00:00+01:00")[0] == "2026-10-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("start", "end", "tz", "expected"),
    [
        ("2026-10-01", "2026-11-01", None, "--start 2026-10-01 has no time zone: add --tz"),
        ("2026-10-01T00:00:00Z", "2026-11-01", None, "--end 2026-11-01 has no time zone"),
        ("2026-11-01", "2026-10-01", "UTC", "--end 2026-10-01 is before --start 2026-11-01"),
        ("1 October", "2026-11-01", "UTC", "--start is neither a date"),
        ("2026-10-01", "2026-11-01", "Middle/Earth", "--tz Middle/Earth is not a known time zone"),
        ("2026-10-01", "2026-11-01", "+99:00", "not a known time zone"),
        ("2026-10-01", "2026-11-01", "../etc/passwd", "not a known time zone"),
        ("2026-10-01", "2026-11-01", "", "not a known time zone"),
    ],
)
def test_what_cannot_be_meant_is_refused(start: str, end: str, tz: str | None, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(start, end, tz)
    assert expected in str(refused.value)
