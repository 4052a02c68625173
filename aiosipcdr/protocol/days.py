"""The days of a time zone, as spans of instants.

Days tile the time line: each ends where the next begins, also where midnight
comes twice or is skipped. All times have fixed offsets, so they compare as
instants.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from typing import NamedTuple

from aiosipcdr.protocol.windows import SECOND, ArgumentError, fixed_offset

__all__ = ["Day", "day_start", "days_between", "days_of"]

_DAY = timedelta(days=1)


class Day(NamedTuple):
    """A whole day of a zone, from its first instant to the first of the next; 23 or 25 hours where clocks change."""

    date: date
    start: datetime
    end: datetime


def day_start(day: date, zone: TimeZone) -> datetime:
    """Return the first instant of `zone` whose date is `day` or later.

    That is midnight, the first one where midnight comes twice, and the end of the gap where midnight is skipped.

    Raises:
        OverflowError: It lies outside the calendar.
    """
    midnight = datetime.combine(day, time.min, zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).replace(tzinfo=None) != midnight.replace(tzinfo=None):
        # Skipped: fold 0 lies at the end of the gap or behind it, fold 1 before it.
        before = midnight.replace(fold=1).astimezone(UTC)
        while start - before > SECOND:
            middle = before + (start - before) // SECOND // 2 * SECOND
            if middle.astimezone(zone).date() < day:
                before = middle
            else:
                start = middle
    return fixed_offset(start.astimezone(zone))


def days_between(first: date, last: date, zone: TimeZone) -> Iterator[Day]:
    """Yield the days of `zone` from `first` to `last`, both included, oldest first: see `days_of`.

    Raises:
        ArgumentError: They are no dates, or in the wrong order, or lie at the end of the calendar.
    """
    for name, day in (("first", first), ("last", last)):
        if not isinstance(day, date) or isinstance(day, datetime):
            raise ArgumentError(f"{name} must be a datetime.date without a time, not {type(day).__name__}")
    if last < first:
        raise ArgumentError(f"last ({last}) is before first ({first}): swap them")
    try:
        yield from days_of(day_start(first, zone), day_start(last + _DAY, zone), zone)
    except OverflowError:
        raise ArgumentError("a day lies at the end of the calendar: ask for less") from None


def days_of(start: datetime, end: datetime, zone: TimeZone) -> Iterator[Day]:
    """Yield every day of `zone` that the range from `start` to `end` touches, each of them whole, oldest first.

    The days are the same whatever range they are asked for with. A date that the zone skipped, as Samoa did in 2011,
    has no day.

    Raises:
        OverflowError: A day lies outside the calendar.
    """
    # As instants, whatever zones the two are given in.
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    day = start.astimezone(zone).date()
    begin = day_start(day, zone)
    while begin < end and start < end:
        following = day_start(day + _DAY, zone)
        if begin < following and start < following:
            yield Day(day, begin, following)
        day, begin = day + _DAY, following
