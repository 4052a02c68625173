"""Windows of time in whole seconds, their tiling, and the days of a time zone.

Pure arithmetic on instants.
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

    Web applications that forward the arguments of their own callers answer it with status 422 and its text.
    """


class TimeWindow(msgspec.Struct, frozen=True, order=True):
    """The time from `start` to `end`, sent to the vendor as `strTime` and `endTime` of a request.

        window = TimeWindow.of(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC))
        window.seconds  # 86400

    Whether a call exactly at a bound is in the window is the vendor's choice.

    Attributes:
        start: Begin, aware, in whole seconds, with the offset in which it was given.
        end: End, likewise; not before `start`.
    """

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime) -> Self:
        """Return the window of two times; fractions of a second are widened outwards, so that no call is lost.

            TimeWindow.of(start, end)

        Raises:
            ArgumentError: A time is naive or not a datetime, or `end` is before `start`.
        """
        times: dict[str, object] = {"start": start, "end": end}
        for name, moment in times.items():
            if not isinstance(moment, datetime):
                raise ArgumentError(f"{name} must be an aware datetime, not {type(moment).__name__}")
            if moment.utcoffset() is None:
                raise ArgumentError(f"{name} is naive: give it a time zone, as in datetime(2026, 10, 1, tzinfo=UTC)")
        try:
            # Python compares two times of one zone as wall clocks, not as instants.
            start, end = fixed_offset(start), fixed_offset(end)
            if end < start:
                raise ArgumentError(f"the range is inverted: end {end.isoformat()} is before start {start.isoformat()}")
            if end.microsecond:
                end += SECOND
        except OverflowError:
            raise ArgumentError("start or end is outside the calendar: use the years 1 to 9999") from None
        return cls(start.replace(microsecond=0), end.replace(microsecond=0))

    def widened(self) -> Self:
        """Return the window with one more second at both ends.

            window.widened().seconds == window.seconds + 2

        Raises:
            ArgumentError: The calendar ends there.
        """
        try:
            return type(self)(self.start - SECOND, self.end + SECOND)
        except OverflowError:
            raise ArgumentError("start or end is at the end of the calendar: shorten the range by a second") from None

    @property
    def seconds(self) -> int:
        """Width of the window in seconds."""
        return (self.end - self.start) // SECOND

    def __str__(self) -> str:
        """Return both bounds as they are sent, in ISO 8601 with a slash between them."""
        return f"{self.start.isoformat()}/{self.end.isoformat()}"


def fixed_offset(time: datetime) -> datetime:
    """Return the same instant with a fixed offset in whole minutes.

    Two times of one zone are compared and subtracted as wall clocks; with fixed offsets they are compared as instants.
    Offsets with seconds (local mean times) cannot be sent and become UTC.

    Raises:
        OverflowError: The instant is outside the calendar.
    """
    offset = time.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):
        offset = timedelta()
    return time.astimezone(timezone(offset))


WIDEST = timedelta(days=31)
"""The widest window that the vendor accepts, from `strTime` to `endTime` (its page documents 31 days)."""

OVERLAP = timedelta(seconds=1)
"""Adjacent windows share this much time, since it is unknown whether bounds are inclusive."""

NARROWEST_SECONDS = 2
"""A window of this width is not split."""

_MARGIN = 2
"""Seconds after now at which a range that ends in the future is split: the later part is then empty when it is read."""


def plan_tiles(window: TimeWindow) -> list[TimeWindow]:
    """Split `window` into tiles of at most 31 days, oldest first."""
    tiles = []
    start = window.start
    while window.end - start > WIDEST:
        # Interior bounds get the offset of the range's start.
        tiles.append(TimeWindow(start, start + WIDEST))
        start += WIDEST - OVERLAP
    tiles.append(TimeWindow(start, window.end))
    return tiles


def clip_window(window: TimeWindow, now: datetime) -> TimeWindow:
    """Return `window` with an end at most 31 days after `now`, or after its own start if that is later."""
    latest = max(window.start, now.replace(microsecond=0)) + WIDEST
    return window if window.end <= latest else TimeWindow(window.start, latest.astimezone(window.end.tzinfo))


def plan_range(window: TimeWindow, now: datetime) -> list[TimeWindow]:
    """Return the tiles of `window`, with its end clipped; of several tiles, the last covers all of the future."""
    clipped = clip_window(window, now)
    tiles = plan_tiles(clipped)
    passed = ceil((now - window.start).total_seconds()) + _MARGIN
    if not _MARGIN < passed < clipped.seconds or (len(tiles) == 1 and clipped == window):
        return tiles
    bound = window.start + timedelta(seconds=passed)
    return [*plan_tiles(TimeWindow(window.start, bound)), TimeWindow(bound - OVERLAP, clipped.end)]


def can_split(window: TimeWindow) -> bool:
    """Return whether `window` is wide enough to be split."""
    return window.seconds > NARROWEST_SECONDS


def split_at_now(window: TimeWindow, ahead: float) -> tuple[TimeWindow, TimeWindow] | None:
    """Split `window` at now, plus a margin, into the past and the future.

    Args:
        window: The window.
        ahead: Seconds from now to its end.

    Returns:
        Both parts; `None` if the window is on one side of now, or nearly so.
    """
    passed = ceil(window.seconds - ahead) + _MARGIN
    if not 1 < passed < window.seconds:
        return None
    bound = window.start + timedelta(seconds=passed)
    return TimeWindow(window.start, bound), TimeWindow(bound - OVERLAP, window.end)


def split_window(window: TimeWindow, parts: int) -> list[TimeWindow]:
    """Split `window` into at most `parts` windows of equal width, at least two, oldest first.

    None of them is narrower than two seconds or as wide as `window`.

    Raises:
        ValueError: `window` is too narrow.
    """
    if not can_split(window):
        raise ValueError(f"a window of {window.seconds} s cannot be split: {window}")
    # Each part is its share of the time, and the second of overlap after it.
    shared = window.seconds - 1
    parts = max(2, min(parts, shared))
    bounds = [window.start + timedelta(seconds=shared * part // parts) for part in range(parts)]
    ends = [bound + OVERLAP for bound in bounds[1:]]
    return [TimeWindow(start, end) for start, end in zip(bounds, [*ends, window.end], strict=True)]


_DAY = timedelta(days=1)


class Day(NamedTuple):
    """A day of a time zone, from its first instant to that of the next day; 23 or 25 hours when clocks change."""

    date: date
    start: datetime
    end: datetime


def day_start(day: date, zone: TimeZone) -> datetime:
    """Return the first instant of `zone` whose date is `day` or later.

    That is midnight; the first one if midnight occurs twice, and the end of the gap if midnight is skipped.

    Raises:
        OverflowError: It is outside the calendar.
    """
    midnight = datetime.combine(day, time.min, zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).replace(tzinfo=None) != midnight.replace(tzinfo=None):
        # Midnight does not exist that day: fold 0 is at the end of the gap or after it, fold 1 before it.
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
        raise ArgumentError("a day is at the end of the calendar: choose an earlier one") from None


def days_of(start: datetime, end: datetime, zone: TimeZone) -> Iterator[Day]:
    """Yield every day of `zone` that the range from `start` to `end` touches, in full length, oldest first.

    A date that the zone skipped, as Samoa did in 2011, has no day.

    Raises:
        OverflowError: A day is outside the calendar.
    """
    # In UTC, times are compared as instants.
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    day = start.astimezone(zone).date()
    begin = day_start(day, zone)
    while begin < end and start < end:
        following = day_start(day + _DAY, zone)
        if begin < following and start < following:
            yield Day(day, begin, following)
        day, begin = day + _DAY, following
