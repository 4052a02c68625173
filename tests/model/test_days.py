"""The days of a zone tile the time line, with every change of its clocks."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.windows import SECOND, Day, day_start, days_of
from tests.selection import ALL, some

DAY = timedelta(days=1)


def days(start: str, end: str, zone: str) -> list[Day]:
    return list(days_of(datetime.fromisoformat(start), datetime.fromisoformat(end), ZoneInfo(zone)))


def test_every_day_that_a_range_touches_is_whole() -> None:
    first, second = days("2026-10-01T10:00:00+00:00", "2026-10-02T16:00:00+00:00", "Asia/Shanghai")
    assert (first.date, second.date) == (date(2026, 10, 1), date(2026, 10, 2))
    assert first.start.isoformat() == "2026-10-01T00:00:00+08:00"
    assert first.end == second.start
    assert second.end.isoformat() == "2026-10-03T00:00:00+08:00"


def test_an_empty_range_touches_no_day() -> None:
    assert days("2026-10-01T10:00:00+00:00", "2026-10-01T10:00:00+00:00", "UTC") == []


@pytest.mark.parametrize(
    ("day", "zone", "hours", "begins"),
    [
        ("2026-03-29", "Europe/Berlin", 23, "2026-03-29T00:00:00+01:00"),
        ("2026-10-25", "Europe/Berlin", 25, "2026-10-25T00:00:00+02:00"),
        ("2026-09-06", "America/Santiago", 23, "2026-09-06T01:00:00-03:00"),  # midnight is skipped
        ("2018-11-04", "America/Sao_Paulo", 23, "2018-11-04T01:00:00-02:00"),
        ("2026-10-25", "Atlantic/Azores", 25, "2026-10-25T00:00:00+00:00"),  # midnight comes twice
        ("2026-11-01", "America/Havana", 25, "2026-11-01T00:00:00-04:00"),
        ("1919-03-31", "America/Toronto", 24, "1919-03-31T00:30:00-04:00"),  # clocks went from 23:30 to 0:30
    ],
)
def test_a_day_on_which_clocks_are_changed_has_its_own_hours(day: str, zone: str, hours: int, begins: str) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=ZoneInfo(zone))
    (changed,) = days_of(noon, noon.astimezone(UTC) + SECOND, ZoneInfo(zone))
    assert changed.date == noon.date()
    assert changed.start.isoformat() == begins
    length = changed.end - changed.start
    assert length == timedelta(hours=hours) or (day, length) == ("1919-03-31", timedelta(hours=23.5))


def test_a_date_that_a_zone_skipped_has_no_day() -> None:
    reported = days("2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", "Pacific/Apia")
    assert [day.date.day for day in reported] == [29, 31]
    assert reported[0].end == reported[1].start


def test_days_end_with_the_calendar() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    with pytest.raises(OverflowError):
        list(days_of(end - DAY, end, UTC))


@cache
def changes(name: str, since: int, until: int) -> list[datetime]:
    """Return the instants at which a zone changes its offset."""
    zone, found = ZoneInfo(name), []
    at, step = datetime(since, 1, 1, tzinfo=UTC), timedelta(days=12)
    offset = at.astimezone(zone).utcoffset()
    while at.year < until:
        if (at + step).astimezone(zone).utcoffset() != offset:
            before, after = at, at + step
            while after - before > SECOND:
                middle = before + (after - before) // SECOND // 2 * SECOND
                if middle.astimezone(zone).utcoffset() == offset:
                    before = middle
                else:
                    after = middle
            found.append(after)
        at += step
        offset = at.astimezone(zone).utcoffset()
    return found


def every_change(since: int = 2005 if ALL else 2020, until: int = 2030) -> Iterator[tuple[str, datetime]]:
    """Yield each change of clocks of every zone that this machine knows; equal zones once."""
    seen = set()
    for name in sorted(available_timezones()):
        found = changes(name, since, until)
        alike = (*found, *(at.astimezone(ZoneInfo(name)).utcoffset() for at in found))
        if alike not in seen:
            seen.add(alike)
            yield from ((name, at) for at in found)


def test_the_days_of_every_zone_tile_the_time_line() -> None:
    met = 0
    for name, change in some(every_change(), every=4):
        met += 1
        zone = ZoneInfo(name)
        start, end = change - 2 * DAY, change + 2 * DAY
        reported = list(days_of(start, end, zone))
        assert reported[0].start <= start, (name, change)
        assert reported[-1].end >= end, (name, change)
        assert all(day.end == following.start for day, following in pairwise(reported)), (name, change)
        assert all(day.date < following.date for day, following in pairwise(reported)), (name, change)
        for day in reported:
            assert day.start < day.end, (name, day)
            # The first instant with its date, and so the first of two midnights.
            assert day.start.astimezone(zone).date() == day.date, (name, day)
            for before in (1, 60, 1_800, 3_600, 7_200):
                assert (day.start - before * SECOND).astimezone(zone).date() < day.date, (name, day)
            # The same from any range that contains it.
            assert list(days_of(day.start, day.end, zone)) == [day]
            assert list(days_of(day.end - SECOND, day.end, zone)) == [day]
            assert day_start(day.date, zone) == day.start
    assert met > (200 if ALL else 50)


zones = st.sampled_from(sorted(available_timezones()))
instants = st.datetimes(datetime(1910, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - in UTC


@given(instants, st.timedeltas(timedelta(0), timedelta(days=400)), zones)
def test_days_follow_each_other_and_cover_their_range(start: datetime, length: timedelta, name: str) -> None:
    reported = list(days_of(start, start + length, ZoneInfo(name)))
    assert bool(reported) is bool(length)
    assert all(day.end == following.start for day, following in pairwise(reported))
    if reported:
        assert reported[0].start <= start < reported[0].end
        assert reported[-1].start < start + length <= reported[-1].end
