"""A window of time, in the form in which the endpoint is asked for it.

Pure arithmetic on instants; knows neither rows nor requests.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from math import ceil
from typing import NamedTuple, Self

import msgspec

__all__ = [
    "NARROWEST_SECONDS",
    "OVERLAP",
    "SECOND",
    "WIDEST",
    "ArgumentError",
    "Day",
    "TimeWindow",
    "can_split",
    "clip_window",
    "day_start",
    "days_of",
    "days_span",
    "fixed_offset",
    "plan_range",
    "plan_tiles",
    "split_at_now",
    "split_window",
]

SECOND = timedelta(seconds=1)


class ArgumentError(ValueError):
    """An argument of a query is invalid: a naive time, an inverted range, an empty filter, a page that cannot exist.

    Applications that pass on what their own callers asked for answer it with 422: the text is for those callers.
    """


class TimeWindow(msgspec.Struct, frozen=True, order=True):
    """The span from `start` to `end`: aware datetimes, whole seconds, `start <= end`.

    Whether a call exactly at a bound is inside is the vendor's choice.  Both
    times keep the offset in which they were given.
    """

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime) -> Self:
        """Build the window that a caller asked for.

        Fractions of a second are widened outwards, since the endpoint takes
        whole seconds: no call of the asked span is lost by rounding.

        Raises:
            ValueError: a time is naive, or `end` is before `start`.
        """
        times: dict[str, object] = {"start": start, "end": end}
        for name, moment in times.items():
            if not isinstance(moment, datetime):
                raise ArgumentError(f"{name} must be an aware datetime, not {type(moment).__name__}")
            if moment.utcoffset() is None:
                raise ArgumentError(f"{name} is naive: give it a time zone, as in datetime(2026, 10, 1, tzinfo=UTC)")
        try:
            # Compared as instants: two times of one zone would be compared as wall clocks.
            start, end = fixed_offset(start), fixed_offset(end)
            if end < start:
                raise ArgumentError(f"the range is inverted: end {end.isoformat()} is before start {start.isoformat()}")
            if end.microsecond:
                end += SECOND
        except OverflowError:
            raise ArgumentError("start or end lies beyond the calendar: the years 1 to 9999 can be asked for") from None
        return cls(start.replace(microsecond=0), end.replace(microsecond=0))

    def widened(self) -> Self:
        """Return the window with one second more at both ends.

        Raises:
            ValueError: the calendar ends there.
        """
        try:
            return type(self)(self.start - SECOND, self.end + SECOND)
        except OverflowError:
            raise ArgumentError("start or end lies at the end of the calendar: ask for a second less") from None

    @property
    def seconds(self) -> int:
        """The window's width."""
        return (self.end - self.start) // SECOND

    def __str__(self) -> str:
        """Print both bounds as they are sent."""
        return f"{self.start.isoformat()}/{self.end.isoformat()}"


def fixed_offset(time: datetime) -> datetime:
    """Return the same instant with an offset that is fixed, in whole minutes.

    Two times of one zone are compared and subtracted as wall clocks, and two of different zones never compare equal
    where clocks are set back. With fixed offsets all of this is arithmetic on instants. Offsets with seconds (local
    mean times) cannot be sent and become UTC.

    Raises:
        OverflowError: The instant lies outside the calendar.
    """
    offset = time.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):
        offset = timedelta()
    return time.astimezone(timezone(offset))


WIDEST = timedelta(days=31)
"""The vendor's documented limit on the distance of `strTime` and `endTime`."""

OVERLAP = timedelta(seconds=1)
NARROWEST_SECONDS = 2

_MARGIN = 2
"""Seconds from now to the end of what has passed, so that what is to come is still empty when it is read."""


def plan_tiles(window: TimeWindow) -> list[TimeWindow]:
    """Cut `window` into tiles of 31 days at most, oldest first."""
    tiles = []
    start = window.start
    while window.end - start > WIDEST:
        # Interior bounds take the offset of the range's start.
        tiles.append(TimeWindow(start, start + WIDEST))
        start += WIDEST - OVERLAP
    tiles.append(TimeWindow(start, window.end))
    return tiles


def clip_window(window: TimeWindow, now: datetime) -> TimeWindow:
    """Return `window` with an end at most 31 days after `now`, or after its own start where that is later."""
    latest = max(window.start, now.replace(microsecond=0)) + WIDEST
    return window if window.end <= latest else TimeWindow(window.start, latest.astimezone(window.end.tzinfo))


def plan_range(window: TimeWindow, now: datetime) -> list[TimeWindow]:
    """Cut `window` into tiles like `plan_tiles`; where its end is clipped, the last one holds all that is to come."""
    clipped = clip_window(window, now)
    passed = ceil((now - window.start).total_seconds()) + _MARGIN
    if clipped == window or passed <= _MARGIN:
        return plan_tiles(clipped)
    seam = window.start + timedelta(seconds=passed)
    return [*plan_tiles(TimeWindow(window.start, seam)), TimeWindow(seam - OVERLAP, clipped.end)]


def can_split(window: TimeWindow) -> bool:
    """Tell whether `window` is wide enough to be cut once more."""
    return window.seconds > NARROWEST_SECONDS


def split_at_now(window: TimeWindow, ahead: float) -> tuple[TimeWindow, TimeWindow] | None:
    """Cut `window` where its calls end: what has passed in a moment, and what is still to come.

    Args:
        window: the window.
        ahead: seconds from now to its end.

    Returns:
        `None` if it lies on one side, or nearly so.
    """
    passed = ceil(window.seconds - ahead) + _MARGIN
    if not 1 < passed < window.seconds:
        return None
    now = window.start + timedelta(seconds=passed)
    return TimeWindow(window.start, now), TimeWindow(now - OVERLAP, window.end)


def split_window(window: TimeWindow, parts: int) -> list[TimeWindow]:
    """Cut `window` into at most `parts` windows of equal width (two at least), oldest first.

    None of them is narrower than two seconds or as wide as `window`.

    Raises:
        ValueError: `window` is too narrow to be cut.
    """
    if not can_split(window):
        msg = f"a window of {window.seconds} s cannot be cut: {window}"
        raise ValueError(msg)
    # Each part is its share and the second of overlap behind it.
    shared = window.seconds - 1
    parts = max(2, min(parts, shared))
    bounds = [window.start + timedelta(seconds=shared * part // parts) for part in range(parts)]
    ends = [bound + OVERLAP for bound in bounds[1:]]
    return [TimeWindow(start, end) for start, end in zip(bounds, [*ends, window.end], strict=True)]


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


def days_span(first: date, last: date, zone: TimeZone) -> tuple[datetime, datetime]:
    """Return the first instant of the day `first` in `zone`, and of the day after `last`.

    Raises:
        ArgumentError: A day is not a date, `last` is before `first`, or a day lies outside the calendar.
    """
    for name, day in (("first", first), ("last", last)):
        if not isinstance(day, date) or isinstance(day, datetime):
            raise ArgumentError(f"{name} must be a datetime.date without a time, not {type(day).__name__}")
    if last < first:
        raise ArgumentError(f"last ({last}) is before first ({first}): swap them")
    try:
        return day_start(first, zone), day_start(last + _DAY, zone)
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
