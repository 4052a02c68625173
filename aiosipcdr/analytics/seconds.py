"""Exact counts by the second, in bounded memory: starts of calls, and calls that are connected at once.

A count is kept for each second, by its Unix time in UTC, so counters of different days add up exactly. An hour takes
at most 14 KB, whatever the traffic.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from fractions import Fraction
from itertools import accumulate
from typing import ClassVar, NamedTuple

__all__ = ["HOUR", "ConcurrentCalls", "HourLoad", "Peak", "SecondCounts", "second_of", "time_of"]

HOUR = 3_600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
# From here on an array of the whole hour is smaller than a dict.
_MOST_SPARSE = 128


def second_of(time: datetime) -> int:
    """Return the Unix time of an aware datetime, floored to the second.

    second_of(datetime(1970, 1, 1, 0, 1, 0, 999_999, tzinfo=UTC))  # 60
    """
    # A double holds whole seconds exactly, and not every microsecond of the calendar.
    return (time - _EPOCH) // _SECOND if time.microsecond else int(time.timestamp())


def time_of(second: int, zone: TimeZone = UTC) -> datetime | None:
    """Return the instant of a Unix time in `zone`; `None` outside the calendar."""
    try:
        return (_EPOCH + timedelta(seconds=second)).astimezone(zone)
    except OverflowError:
        return None


class Peak(NamedTuple):
    """The highest count.

    Attributes:
        calls: The count.
        at: The first second in which it was reached, in UTC.
    """

    calls: int
    at: datetime


class HourLoad(NamedTuple):
    """The mean load of a clock hour in UTC.

    Attributes:
        start: When the hour begins.
        erlangs: Mean number of calls that were connected at once: seconds of conversation / 3600.
    """

    start: datetime
    erlangs: Fraction


class SecondCounts:
    """A count for each second, for `calls a second`.

    counts = SecondCounts()
    counts.add(second_of(record.submit_time), 1)
    counts.peak()  # Peak(calls=1, at=datetime(2026, 10, 1, 0, 0, 12, tzinfo=UTC))
    """

    __slots__ = ("_hours",)

    def __init__(self) -> None:
        self._hours: dict[int, defaultdict[int, int] | array[int]] = {}

    def add(self, second: int, count: int) -> None:
        """Add `count` to a second, a Unix time.

        For example:

            counts.add(second_of(record.submit_time), 1)
        """
        hour, place = divmod(second, HOUR)
        counts = self._hours.get(hour)
        if counts is None:
            counts = self._hours[hour] = defaultdict(int)
        counts[place] += count
        if len(counts) != HOUR and len(counts) > _MOST_SPARSE:
            self._hours[hour] = _dense(counts)

    def update(self, other: "SecondCounts") -> None:
        """Add all counts of `other`.

        For example:

            month.update(day)
        """
        for second, count in other.items():
            self.add(second, count)

    def items(self) -> Iterator[tuple[int, int]]:
        """Yield each second whose count is not 0, with its count, oldest first.

        For example:

            dict(counts.items())  # {1790812812: 1}
        """
        for hour in sorted(self._hours):
            counts = self._hours[hour]
            places = enumerate(counts) if isinstance(counts, array) else sorted(counts.items())
            yield from ((hour * HOUR + place, count) for place, count in places if count)

    def peak(self) -> Peak | None:
        """Return the highest count and the first second that has it; `None` without calls.

        For example:

            counts.peak()  # Peak(calls=1, at=...)
        """
        return _peak(self._by_hour())

    def _by_hour(self) -> Iterator[tuple[int, list[int]]]:
        """Yield each hour that has counts, with its 3,600 values, oldest first."""
        for hour in sorted(self._hours):
            yield hour, list(_dense(self._hours[hour]))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, SecondCounts) and [*self.items()] == [*other.items()]

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        """Say how much is counted, not each second."""
        return f"{type(self).__name__}(hours={len(self._hours)})"


class ConcurrentCalls(SecondCounts):
    """The number of calls that are connected at once, for each second.

    Kept as differences: +1 in the second of the answer, -1 in that of the hang-up. A call is connected in
    [answer, hang-up), so one that ends in the second in which another begins does not overlap it. Differences add up,
    so summaries of days merge exactly, also for calls that cross midnight.

        calls = ConcurrentCalls()
        calls.add_call(second_of(record.answer_time), second_of(record.hangup_time))
        calls.peak()       # Peak(calls=1, at=...)
        calls.busy_hour()  # HourLoad(start=..., erlangs=Fraction(1, 60))
    """

    __slots__ = ()

    def add_call(self, start: int, end: int) -> None:
        """Add a call that is connected from `start` up to, but not in, `end`: Unix times, `start <= end`.

        For example:

            calls.add_call(second_of(record.answer_time), second_of(record.hangup_time))
        """
        if start != end:
            self.add(start, 1)
            self.add(end, -1)

    def busy_hour(self) -> HourLoad | None:
        """Return the clock hour (UTC) with the highest mean load, the first one of equals; `None` without calls.

            calls.busy_hour()  # HourLoad(start=..., erlangs=Fraction(1, 60))

        Source: ITU-T E.600, "busy hour" and "erlang".
        """
        best: tuple[int, int] | None = None  # seconds of conversation, hour
        following: tuple[int, int] | None = None
        for hour, levels in self._by_hour():
            if following is not None and following[1] < hour and (best is None or following[0] > best[0]):
                best = following
            load = sum(levels)
            if best is None or load > best[0]:
                best = load, hour
            following = levels[-1] * HOUR, hour + 1  # an hour in which nothing changes
        if best is None or not best[0] or (start := time_of(best[1] * HOUR)) is None:
            return None
        return HourLoad(start, Fraction(best[0], HOUR))

    def peaks_by_day(self, zone: TimeZone) -> dict[date, int]:
        """Return the peak of each day of `zone`, oldest first; days on which no call begins or ends are left out.

        For example:

            calls.peaks_by_day(ZoneInfo("Asia/Shanghai"))  # {date(2026, 10, 1): 17}
        """
        peaks: dict[date, int] = {}
        level = 0
        for hour, levels in self._by_hour():
            gap_end, begin, end = (time_of(hour * HOUR + place, zone) for place in (-1, 0, HOUR - 1))
            if level and gap_end is not None and begin is not None and gap_end.date() == begin.date():
                # Calls that were connected through hours in which nothing changed.
                peaks[begin.date()] = max(peaks.get(begin.date(), 0), level)
            level = levels[-1]
            # Zones begin their days at any second of an hour, most of them at its first.
            if begin is not None and end is not None and begin.date() == end.date():
                peaks[begin.date()] = max(peaks.get(begin.date(), 0), *levels)
                continue
            for place, calls in enumerate(levels):
                if (time := time_of(hour * HOUR + place, zone)) is not None:
                    peaks[time.date()] = max(peaks.get(time.date(), 0), calls)
        return peaks

    def _by_hour(self) -> Iterator[tuple[int, list[int]]]:
        level = 0
        for hour, changes in super()._by_hour():
            levels = list(accumulate(changes, initial=level))[1:]
            level = levels[-1]
            yield hour, levels


def _peak(hours: Iterator[tuple[int, list[int]]]) -> Peak | None:
    calls, second = 0, 0
    for hour, counts in hours:
        if (highest := max(counts)) > calls:
            calls, second = highest, hour * HOUR + counts.index(highest)
    at = time_of(second)
    return Peak(calls, at) if calls and at is not None else None


def _dense(counts: "defaultdict[int, int] | array[int]") -> "array[int]":
    if isinstance(counts, array):
        return counts
    values = array("i", bytes(4 * HOUR))
    for place, count in counts.items():
        values[place] = count
    return values
