"""The range and the filters of a query, as arguments, and a range as the days of a zone.

Must never guess a time zone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from aiosipcdr.cli.usage import UsageError

__all__ = ["Day", "Range", "cut_days", "parse_range", "parse_zone"]

_DAY = timedelta(days=1)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SPAN = re.compile(r"(?P<number>[0-9]{1,5}) ?(?P<unit>[mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": _DAY, "w": timedelta(weeks=1)}


@Parameter(name="*", group="Query")
@dataclass(frozen=True, kw_only=True)
class Range:
    """Which calls.

    Attributes:
        start: First instant: 2026-10-01, 2026-10-01T08:30:00 or 2026-10-01T08:30:00+08:00.
        end: Last instant; a date means its first instant, so 2026-11-01 ends with October.
        last: Instead of start and end, the time until now: 90m, 24h, 7d or 2w; a day is 24 hours.
        yesterday: Instead of start and end, the day before today in the time zone tz.
        tz: Time zone of a start or end without an offset, and of yesterday: Asia/Shanghai, UTC, +08:00.
        group: Only calls of this phone group (sipGroupName, exact).
        phone: Only calls of this phone (phoneName, exact).
    """

    start: str | None = None
    end: str | None = None
    last: str | None = None
    yesterday: bool = False
    tz: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    group: str | None = None
    phone: str | None = None


class Day(NamedTuple):
    """What of a range lies in one day of a zone: `start <= end`, both in that zone."""

    date: date
    start: datetime
    end: datetime
    is_whole: bool
    """Whether it is the day from its beginning to its end: 23 or 25 hours where the clocks are changed."""


def parse_range(span: Range, now: datetime | None = None) -> tuple[datetime, datetime]:
    """Return the two aware instants of `span`.

    Args:
        span: The arguments.
        now: The present instant, aware; this machine's by default.

    Raises:
        UsageError: a time cannot be read, has no zone, the end comes first, or it is not one range that is asked for.
    """
    zone = None if span.tz is None else parse_zone(span.tz)
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    ways = {"--start and --end": span.start or span.end, "--last": span.last, "--yesterday": span.yesterday}
    asked = [way for way, given in ways.items() if given]
    if len(asked) > 1:
        msg = f"{' and '.join(asked)} exclude each other: give one of them"
        raise UsageError(msg)
    if span.last is not None:
        return _last(span.last, now if zone is None else now.astimezone(zone))
    if span.yesterday:
        if zone is None:
            msg = "--yesterday is a day of a time zone: add --tz, for example --tz Asia/Shanghai or --tz UTC"
            raise UsageError(msg)
        today = now.astimezone(zone).date()
        return _midnight(today - _DAY, zone), _midnight(today, zone)
    if span.start is None or span.end is None:
        missing = "--start" if span.start is None else "--end"
        msg = f"{missing} is missing: give --start and --end, or --last 24h, or --yesterday with --tz"
        raise UsageError(msg)
    start, end = _time("--start", span.start, zone), _time("--end", span.end, zone)
    if end < start:
        msg = f"--end {span.end} is before --start {span.start}: swap them"
        raise UsageError(msg)
    return start, end


def cut_days(start: datetime, end: datetime, zone: TimeZone) -> Iterator[Day]:
    """Cut the range from `start` to `end` at the midnights of `zone`, oldest day first.

    Each day ends where the next begins; the first and the last may be parts of
    days.  A day begins at the first of its midnights where there are two, and
    where midnight is skipped, at the instant of skipping.

    Args:
        start: Begin of the range, aware.
        end: End of the range, aware.
        zone: The zone whose days are meant.
    """
    at, last, day = _instant(start), _instant(end), start.astimezone(zone).date()
    while at < last:
        midnight, following = _instant(_midnight(day, zone)), _instant(_midnight(day + _DAY, zone))
        until = min(following, last)
        if at < until:  # not a day that the zone has skipped, as Samoa did in 2011
            yield Day(day, at.astimezone(zone), until.astimezone(zone), at == midnight and until == following)
            at = until
        day += _DAY


def _instant(moment: datetime) -> datetime:
    # Two times of one zone are compared as wall clocks, and subtracted as such: instants are neither.
    return moment.astimezone(UTC)


def _midnight(day: date, zone: TimeZone) -> datetime:
    # Fold 0: the earlier of two midnights; of one that is skipped, the offset before, which is the instant of skipping.
    return _instant(datetime.combine(day, time.min, zone)).astimezone(zone)


def _last(text: str, now: datetime) -> tuple[datetime, datetime]:
    found = _SPAN.fullmatch(text)
    if found is None or not int(found["number"]):
        msg = f"--last {text} is no length of time: write a number of minutes, hours, days or weeks: 90m, 24h, 7d, 2w"
        raise UsageError(msg)
    try:
        # Through UTC: 24 hours are 24 hours, whatever clocks were changed meanwhile.
        start = (_instant(now) - int(found["number"]) * _UNITS[found["unit"]]).astimezone(now.tzinfo)
    except OverflowError:
        msg = f"--last {text} begins before the calendar does: ask for less"
        raise UsageError(msg) from None
    return start, now


def _time(option: str, text: str, zone: TimeZone | None) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{option} is neither a date (2026-10-01) nor a time of ISO 8601 (2026-10-01T08:30:00+08:00)"
        if _DATE.fullmatch(text):
            msg = f"{option} {text} is no day of the calendar"
        raise UsageError(msg) from None
    if time.utcoffset() is not None:
        return time
    if zone is None:
        msg = (
            f"{option} {text} has no time zone: add --tz, for example --tz Asia/Shanghai or"
            f" --tz UTC, or write {time.isoformat()}+08:00"
        )
        raise UsageError(msg)
    return time.replace(tzinfo=zone)


def parse_zone(name: str) -> TimeZone:
    """Return the zone that `name` names.

    Raises:
        UsageError: there is none.
    """
    if name.upper() in {"UTC", "Z"}:
        return UTC
    if name[:1] in {"+", "-"}:
        try:
            offset = datetime.fromisoformat(f"2026-01-01T00:00:00{name}").tzinfo
        except ValueError:
            offset = None
        if offset is not None:
            return offset
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"--tz {name} is not a known time zone: write a name such as Asia/Shanghai, or an offset such as +08:00"
        raise UsageError(msg) from None
