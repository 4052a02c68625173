"""Times as arguments: read exactly, and no zone is guessed."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.cli.timerange import Day, Range, cut_days, parse_range, parse_zone
from aiosipcdr.cli.usage import UsageError

NOW = datetime(2026, 10, 25, 12, 0, 0, 700, tzinfo=UTC)


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
        ("2026-10-01", "2026-11-31", "UTC", "--end 2026-11-31 is no day of the calendar"),
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


@pytest.mark.parametrize(
    ("last", "start"),
    [
        ("90m", "2026-10-25T10:30:00+00:00"),
        ("24h", "2026-10-24T12:00:00+00:00"),
        ("1d", "2026-10-24T12:00:00+00:00"),
        ("2w", "2026-10-11T12:00:00+00:00"),
    ],
)
def test_the_last_hours_end_now_and_need_no_zone(last: str, start: str) -> None:
    first, end = parse_range(Range(last=last), NOW)
    assert (first.isoformat(), end.isoformat()) == (start, "2026-10-25T12:00:00+00:00")


def test_a_length_of_time_is_not_bent_by_the_clocks_of_a_zone() -> None:
    start, end = parse_range(Range(last="24h", tz="Europe/Berlin"), NOW)
    assert start.isoformat() == "2026-10-24T14:00:00+02:00"
    assert end.isoformat() == "2026-10-25T13:00:00+01:00"


def test_the_present_instant_is_this_machines() -> None:
    start, end = parse_range(Range(last="1h"))
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=1)
    assert end - start == timedelta(hours=1)


@pytest.mark.parametrize(
    ("tz", "start", "end"),
    [
        ("UTC", "2026-10-24T00:00:00+00:00", "2026-10-25T00:00:00+00:00"),
        ("+13:00", "2026-10-25T00:00:00+13:00", "2026-10-26T00:00:00+13:00"),
        ("Europe/Berlin", "2026-10-24T00:00:00+02:00", "2026-10-25T00:00:00+02:00"),
    ],
)
def test_yesterday_is_a_day_of_the_zone(tz: str, start: str, end: str) -> None:
    told = parse_range(Range(yesterday=True, tz=tz), NOW)
    assert [time.isoformat() for time in told] == [start, end]


def test_yesterday_may_have_twenty_five_hours() -> None:
    start, end = parse_range(Range(yesterday=True, tz="Europe/Berlin"), NOW + timedelta(days=1))
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=25)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(), "--start is missing: give --start and --end, or --last 24h, or --yesterday"),
        (Range(start="2026-10-01", tz="UTC"), "--end is missing"),
        (Range(end="2026-10-01", tz="UTC"), "--start is missing"),
        (Range(yesterday=True), "--yesterday is a day of a time zone: add --tz"),
        (Range(last="24h", yesterday=True, tz="UTC"), "--last and --yesterday exclude each other"),
        (Range(start="2026-10-01", last="24h", tz="UTC"), "--start and --end and --last exclude each other"),
        (Range(last="a day"), "--last a day is no length of time"),
        (Range(last="0h"), "--last 0h is no length of time"),
        (Range(last="-1h"), "--last -1h is no length of time"),
        (Range(last=""), "--last  is no length of time"),
    ],
)
def test_a_range_is_asked_for_in_one_way(span: Range, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_range(span, NOW)
    assert expected in str(refused.value)


def test_a_length_of_time_stays_within_the_calendar() -> None:
    with pytest.raises(UsageError, match="begins before the calendar"):
        parse_range(Range(last="99999w"), datetime(1900, 1, 1, tzinfo=UTC))


def days(start: str, end: str, zone: str) -> list[Day]:
    return list(cut_days(datetime.fromisoformat(start), datetime.fromisoformat(end), parse_zone(zone)))


def test_a_range_is_cut_at_the_midnights_of_the_zone() -> None:
    first, second, third = days("2026-10-01T10:00:00+00:00", "2026-10-03T02:00:00+00:00", "Asia/Shanghai")
    assert first == Day(date(2026, 10, 1), first.start, first.end, is_whole=False)
    assert first.start.isoformat() == "2026-10-01T18:00:00+08:00"
    assert (first.end, second.is_whole, second.end) == (second.start, True, third.start)
    assert (third.date, third.is_whole) == (date(2026, 10, 3), False)
    assert third.end.isoformat() == "2026-10-03T10:00:00+08:00"


def test_an_empty_range_has_no_day() -> None:
    assert days("2026-10-01T10:00:00+00:00", "2026-10-01T10:00:00+00:00", "UTC") == []


@pytest.mark.parametrize(
    ("day", "zone", "hours", "begins"),
    [
        ("2026-03-29", "Europe/Berlin", 23, "2026-03-29T00:00:00+01:00"),
        ("2026-10-25", "Europe/Berlin", 25, "2026-10-25T00:00:00+02:00"),
        ("2018-11-04", "America/Sao_Paulo", 23, "2018-11-04T01:00:00-02:00"),  # midnight is skipped
        ("2026-11-01", "America/Havana", 25, "2026-11-01T00:00:00-04:00"),  # midnight comes twice
    ],
)
def test_a_day_on_which_clocks_are_changed_is_whole_with_its_own_hours(
    day: str, zone: str, hours: int, begins: str
) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone))
    found = {one.date: one for one in cut_days(noon - timedelta(days=2), noon + timedelta(days=2), ZoneInfo(zone))}
    changed = found[noon.date()]
    assert changed.is_whole
    assert changed.start.isoformat() == begins
    assert changed.end.astimezone(UTC) - changed.start.astimezone(UTC) == timedelta(hours=hours)


def test_a_day_that_a_zone_skipped_is_none() -> None:
    told = days("2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", "Pacific/Apia")
    assert [day.date.day for day in told] == [29, 31]
    assert all(day.is_whole for day in told)


zones = st.sampled_from(
    ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/Havana", "America/Nuuk", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
instants = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - in UTC


@given(instants, st.timedeltas(timedelta(0), timedelta(days=400)), zones)
def test_days_follow_each_other_without_a_gap_and_hold_their_instants(
    start: datetime, length: timedelta, name: str
) -> None:
    zone = ZoneInfo(name)
    told = list(cut_days(start, start + length, zone))
    bounds = [start, *(day.end.astimezone(UTC) for day in told)]
    assert [day.start.astimezone(UTC) for day in told] == bounds[:-1]
    assert bounds[-1] == start + length
    assert [day.date for day in told] == sorted({day.date for day in told})
    for day in told:
        assert day.start.date() == day.date
        assert (day.end.astimezone(UTC) - timedelta(microseconds=1)).astimezone(zone).date() == day.date
    assert all(day.is_whole for day in told[1:-1])
