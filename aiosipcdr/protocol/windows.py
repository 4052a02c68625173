"""A window of time, in the form in which the endpoint is asked for it.

Pure arithmetic on instants; knows neither rows nor requests.
"""

from datetime import datetime, timedelta, timezone
from typing import Self

import msgspec

__all__ = ["SECOND", "ArgumentError", "TimeWindow", "fixed_offset"]

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
        for name, time in times.items():
            if not isinstance(time, datetime):
                raise ArgumentError(f"{name} must be an aware datetime, not {type(time).__name__}")
            if time.utcoffset() is None:
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
