"""Times as arguments: read exactly, and no zone is guessed."""

from datetime import UTC, datetime, timedelta

import pytest

from aiosipcdr.cli.argument_errors import UsageError
from aiosipcdr.cli.timerange import Range, parse_range

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
    assert parse("2026-10-01T00:00:00Z", "2026-10-01T01:00:01+01:00")[0] == "2026-10-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("start", "end", "tz", "expected"),
    [
        ("2026-10-01", "2026-11-01", None, "--start 2026-10-01 has no time zone; add --tz"),
        ("2026-10-01T00:00:00Z", "2026-11-01", None, "--end 2026-11-01 has no time zone"),
        ("2026-11-01", "2026-10-01", "UTC", "--end 2026-10-01 is before --start 2026-11-01"),
        ("1 October", "2026-11-01", "UTC", "--start is neither a date"),
        ("2026-10-01", "2026-11-31", "UTC", "--end 2026-11-31 is not a day of the calendar"),
        ("2026-10-01", "2026-10-01", "UTC", "the same instant; for the whole day use --end 2026-10-02"),
        ("20261001", "2026-10-01", "UTC", "for the whole day use --end 2026-10-02"),
        ("2026-10-01T08:00", "2026-10-01T10:00+02:00", "UTC", "are the same instant; use a later --end"),
        ("0001-01-01", "2026-10-01", "+08:00", "--start 0001-01-01 is outside the calendar"),
        (
            "2026-10-04T02:30",
            "2026-10-05",
            "Australia/Sydney",
            "where clocks are set forward then; write 2026-10-04T02:30:00+10:00 or 2026-10-04T02:30:00+11:00",
        ),
        (
            "2026-10-25",
            "2026-10-25T02:30",
            "Europe/Berlin",
            "where clocks are set back then; write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00",
        ),
        ("2026-09-06T00:00", "2026-09-07", "America/Santiago", "--start 2026-09-06T00:00 does not exist"),
        ("2026-10-25T00:00", "2026-10-26", "Atlantic/Azores", "--start 2026-10-25T00:00 exists twice"),
        ("2026-10-01", "2026-11-01", "Middle/Earth", "--tz is not a known time zone"),
        ("2026-10-01", "2026-11-01", "+99:00", "not a known time zone"),
        ("2026-10-01", "2026-11-01", "../etc/passwd", "not a known time zone"),
        ("2026-10-01", "2026-11-01", "", "not a known time zone"),
    ],
)
def test_invalid_arguments_are_refused(start: str, end: str, tz: str | None, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(start, end, tz)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("tz", "day", "start"),
    [
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00+00:00"),
        ("America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00"),
        ("America/Santiago", "2026-09-06", "2026-09-06T01:00:00-03:00"),
    ],
)
def test_a_date_is_the_day_however_often_its_midnight_comes(tz: str, day: str, start: str) -> None:
    assert parse(day, "2026-12-01", tz)[0] == start
    yesterday = parse_range(
        Range(yesterday=True, tz=tz), datetime.fromisoformat(f"{day}T12:00:00Z") + timedelta(days=1)
    )
    assert yesterday[0].isoformat() == start


def test_wall_clock_times_around_a_change_are_read_exactly() -> None:
    # The last second before the repeated hour, and the first behind it.
    reported = parse("2026-10-25T01:59:59", "2026-10-25T03:00:00", "Europe/Berlin")
    assert reported == ("2026-10-25T01:59:59+02:00", "2026-10-25T03:00:00+01:00")
    reported = parse("2026-03-29T01:59:59", "2026-03-29T03:00:00", "Europe/Berlin")
    assert reported == ("2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00")


def test_an_offset_selects_one_of_two_times() -> None:
    reported = parse("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "Europe/Berlin")
    assert datetime.fromisoformat(reported[1]) - datetime.fromisoformat(reported[0]) == timedelta(hours=1)


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
    reported = parse_range(Range(yesterday=True, tz=tz), NOW)
    assert [time.isoformat() for time in reported] == [start, end]


def test_yesterday_may_have_twenty_five_hours() -> None:
    start, end = parse_range(Range(yesterday=True, tz="Europe/Berlin"), NOW + timedelta(days=1))
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=25)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(), "--start is missing; add --start and --end, or --last 24h, or --yesterday"),
        (Range(start="2026-10-01", tz="UTC"), "--end is missing"),
        (Range(end="2026-10-01", tz="UTC"), "--start is missing"),
        (Range(yesterday=True), "--yesterday needs a time zone; add --tz"),
        (Range(last="24h", yesterday=True, tz="UTC"), "--last and --yesterday exclude each other"),
        (Range(start="2026-10-01", last="24h", tz="UTC"), "--start and --end and --last exclude each other"),
        (Range(last="a day"), "--last is not a duration"),
        (Range(last="0h"), "--last is not a duration"),
        (Range(last="-1h"), "--last is not a duration"),
        (Range(last=""), "--last is not a duration"),
    ],
)
def test_a_range_is_asked_for_in_one_way(span: Range, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_range(span, NOW)
    assert expected in str(refused.value)


def test_a_length_of_time_stays_within_the_calendar() -> None:
    with pytest.raises(UsageError, match="begins before the year 1"):
        parse_range(Range(last="99999w"), datetime(1900, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [
        (Range(month="2026-10", tz="UTC"), "2026-10-01T00:00:00+00:00", "2026-11-01T00:00:00+00:00"),
        (Range(month="2026-03", tz="Europe/Berlin"), "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        (Range(month="2024-02", tz="+08:00"), "2024-02-01T00:00:00+08:00", "2024-03-01T00:00:00+08:00"),
        (Range(month="2026-12", tz="UTC"), "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        (Range(last_month=True, tz="Europe/Berlin"), "2026-09-01T00:00:00+02:00", "2026-10-01T00:00:00+02:00"),
    ],
)
def test_a_month_is_one_of_the_zone(span: Range, start: str, end: str) -> None:
    assert [time.isoformat() for time in parse_range(span, NOW)] == [start, end]


def test_the_last_month_is_before_the_present_one_in_the_zone() -> None:
    # In Auckland the new year has begun.
    new_year = datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert parse_range(Range(last_month=True, tz="Pacific/Auckland"), new_year)[0].isoformat() == (
        "2026-12-01T00:00:00+13:00"
    )
    assert parse_range(Range(last_month=True, tz="UTC"), new_year)[0].isoformat() == "2026-11-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(month="2026-10"), "--month needs a time zone; add --tz"),
        (Range(last_month=True), "--last-month needs a time zone; add --tz"),
        (Range(month="2026-13", tz="UTC"), "--month is not a month of the calendar; write year and month: 2026-10"),
        (Range(month="October", tz="UTC"), "--month is not a month of the calendar"),
        (Range(month="2026-10-01", tz="UTC"), "--month is not a month of the calendar"),
        (Range(month="9999-12", tz="UTC"), "--month 9999-12 is outside the calendar"),
        (Range(month="0001-01", tz="+08:00"), "--month 0001-01 is outside the calendar"),
        (Range(month="2026-10", last_month=True, tz="UTC"), "--month and --last-month exclude each other"),
        (Range(month="2026-10", start="2026-10-01", tz="UTC"), "--start and --end and --month exclude each other"),
    ],
)
def test_a_month_that_cannot_be_meant_is_refused(span: Range, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_range(span, NOW)
    assert expected in str(refused.value)


def test_a_range_knows_its_groups_and_whether_it_is_relative() -> None:
    assert Range().groups == (None,)
    assert Range(group=("a", "b", "a")).groups == ("a", "b")
    assert Range(group=("a",)).single_group() == "a"
    assert Range().single_group() is None
    with pytest.raises(UsageError, match="queries one group; run it for each"):
        Range(group=("a", "b")).single_group()
    assert [one.is_relative for one in (Range(last="1h"), Range(last_month=True), Range(month="2026-10"))] == [
        True,
        True,
        False,
    ]
    assert [one.is_given for one in (Range(), Range(tz="UTC"), Range(month="2026-10"))] == [False, False, True]
