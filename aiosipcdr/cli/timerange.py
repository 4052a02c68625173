"""The range and the filters of a query, from arguments.

Neither a time zone nor the meaning of an ambiguous wall-clock time is guessed.
"""

import re
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cyclopts import Parameter

from aiosipcdr.model.arguments import NO_ZONES
from aiosipcdr.model.windows import day_start, fixed_offset
from aiosipcdr.settings import UsageError, parse_length

__all__ = ["Range", "explain_no_calls", "parse_length", "parse_range", "parse_time", "parse_zone", "read_phone"]

_DAY = timedelta(days=1)
_MAX_NAME_BYTES = 1024
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_OUTSIDE_CALENDAR = "outside the calendar; use a year from 1 to 9999"


@Parameter(name="*", group="Query")
@dataclass(frozen=True, kw_only=True)
class Range:
    """The calls to query.

    Attributes:
        start: Start of the range: 2026-10-01, 2026-10-01T08:30:00 or 2026-10-01T08:30:00+08:00.
        end: End of the range; a date means its beginning, so 2026-11-01 ends with October.
        last: Instead of start and end, the time until now: 90m, 24h, 7d or 2w; a day is 24 hours.
        yesterday: Instead of start and end, the day before today in the time zone tz.
        month: Instead of start and end, a month of the time zone tz: 2026-10.
        last_month: Instead of start and end, the month before the present one in the time zone tz.
        tz: Time zone of a start or end without an offset, of yesterday and of months: Asia/Shanghai, UTC, +08:00.
        group: Only calls of this phone group (sipGroupName, exact). Repeat it for several groups: each is read and
            certified by itself.
        phone: Only calls of this phone (phoneName, exact).
        phone_file: Instead of phone, a file with the name in its first line, or "-" for stdin: arguments are visible to
            other users of this machine.
    """

    start: str | None = None
    end: str | None = None
    last: str | None = None
    yesterday: bool = False
    month: str | None = None
    last_month: bool = False
    tz: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    group: tuple[str, ...] = ()
    phone: str | None = None
    phone_file: Path | None = None

    @property
    def groups(self) -> tuple[str | None, ...]:
        """The groups to query, each once; `None` alone for the calls of all groups."""
        return tuple(dict.fromkeys(self.group)) or (None,)

    @property
    def is_given(self) -> bool:
        """Whether any range is given."""
        return bool(self.start or self.end or self.last or self.yesterday or self.month or self.last_month)

    @property
    def is_relative(self) -> bool:
        """Whether the range depends on the present."""
        return bool(self.last or self.yesterday or self.last_month)

    def single_group(self) -> str | None:
        """Return the group of a command that queries one, or `None` for all.

        Raises:
            UsageError: Several are given.
        """
        if len(self.groups) > 1:
            raise UsageError("--group is given more than once, and this command queries one group; run it for each")
        return self.groups[0]


def read_phone(phone: str | None, path: Path | None) -> str | None:
    """Return the phone name of the filter: `phone`, or the first line of the file at `path` ("-" is stdin).

    Raises:
        UsageError: The file cannot be read or is empty, or `phone` is given, too.
    """
    if path is None:
        return phone
    if phone is not None:
        raise UsageError("--phone and --phone-file exclude each other; use one of them")
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            name = file.readline(_MAX_NAME_BYTES).decode("utf-8-sig").strip()
    except OSError as error:
        msg = f"--phone-file {path} cannot be read: {error.strerror or type(error).__name__}"
        raise UsageError(msg) from None
    except UnicodeDecodeError:
        msg = f"--phone-file {path} is not UTF-8 text; save it as UTF-8"
        raise UsageError(msg) from None
    if not name:
        msg = f"--phone-file {path} is empty; write the phone's name (phoneName) to its first line"
        raise UsageError(msg)
    return name


def parse_range(span: Range, now: datetime | None = None) -> tuple[datetime, datetime]:
    """Return start and end of `span` with fixed offsets: those of the zone at each of them.

    Args:
        span: The arguments.
        now: The present, aware; by default this machine's.

    Raises:
        UsageError: A time cannot be read, has no zone, or is ambiguous or missing in its zone; the end is not after the
            start; or not exactly one range is given.
    """
    zone = None if span.tz is None else parse_zone(span.tz)
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    options = {
        "--start and --end": span.start or span.end,
        "--last": span.last,
        "--yesterday": span.yesterday,
        "--month": span.month,
        "--last-month": span.last_month,
    }
    used = [option for option, given in options.items() if given]
    if len(used) > 1:
        msg = f"{' and '.join(used)} exclude each other; use one of them"
        raise UsageError(msg)
    if span.last is not None:
        return _last(span.last, now if zone is None else now.astimezone(zone))
    if used and span.start is None and span.end is None:
        if zone is None:
            msg = f"{used[0]} needs a time zone; add --tz, for example --tz Asia/Shanghai or --tz UTC"
            raise UsageError(msg)
        today = now.astimezone(zone).date()
        if span.yesterday:
            return day_start(today - _DAY, zone), day_start(today, zone)
        return _month((today.replace(day=1) - _DAY) if span.month is None else _read_month(span.month), zone)
    if span.start is None or span.end is None:
        missing = "--start" if span.start is None else "--end"
        msg = (
            f"{missing} is missing; add --start and --end, or --last 24h, or --yesterday, --month 2026-10 or"
            " --last-month with --tz"
        )
        raise UsageError(msg)
    start, end = parse_time("--start", span.start, zone), parse_time("--end", span.end, zone)
    if end < start:
        msg = f"--end {span.end} is before --start {span.start}; swap them"
        raise UsageError(msg)
    if end == start:
        msg = f"--start {span.start} and --end {span.end} are the same instant{_hint_at_day(span.end)}"
        raise UsageError(msg)
    return start, end


def _hint_at_day(end: str) -> str:
    day = _date(end)
    if day is None or day == date.max:
        return "; use a later --end"
    return f"; for the whole day use --end {day + _DAY}"


def explain_no_calls(span: Range, start: datetime, now: datetime) -> str | None:
    """Return a likely reason for a range without calls, or `None` if there is none."""
    if start >= now:
        return "no calls: the range begins in the future"
    named = [option for option, name in (("--group", span.group), ("--phone", span.phone)) if name]
    if named:
        verb = "is" if len(named) == 1 else "are"
        options = " and ".join(named)
        return f"no calls: check the name; {options} {verb} matched exactly, including case and blanks"
    return None


def _last(text: str, now: datetime) -> tuple[datetime, datetime]:
    length = parse_length("--last", text)
    try:
        # In UTC: 24 hours are 24 hours, even across a clock change.
        start = now.astimezone(UTC) - length
        return fixed_offset(start.astimezone(now.tzinfo)), fixed_offset(now)
    except OverflowError:
        msg = f"--last {text} begins before the year 1; use a shorter time"
        raise UsageError(msg) from None


def _read_month(text: str) -> date:
    try:
        if _MONTH.fullmatch(text):
            return date.fromisoformat(f"{text}-01")
    except ValueError:
        pass
    raise UsageError("--month is not a month of the calendar; write year and month: 2026-10")


def _month(day: date, zone: TimeZone) -> tuple[datetime, datetime]:
    first = day.replace(day=1)
    try:
        return day_start(first, zone), day_start((first + 31 * _DAY).replace(day=1), zone)
    except OverflowError:
        raise UsageError(f"--month {str(first)[:7]} is {_OUTSIDE_CALENDAR}") from None


def parse_time(option: str, text: str, zone: TimeZone | None) -> datetime:
    """Return the time that `text` names, with the fixed offset of `zone` at that time.

    Raises:
        UsageError: It cannot be read, has no zone, or is ambiguous or missing in its zone.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{option} is neither a date (2026-10-01) nor an ISO 8601 time (2026-10-01T08:30:00+08:00); correct it"
        if _DATE.fullmatch(text):
            msg = f"{option} {text} is not a day of the calendar; correct it"
        raise UsageError(msg) from None
    if time.utcoffset() is None and zone is None:
        msg = (
            f"{option} {text} has no time zone; add --tz, for example --tz Asia/Shanghai or"
            f" --tz UTC, or write {time.isoformat()}+08:00"
        )
        raise UsageError(msg)
    try:
        if zone is None or time.utcoffset() is not None:
            return fixed_offset(time)
        day = _date(text)
        return _wall_clock(option, text, time, zone) if day is None else day_start(day, zone)
    except OverflowError:
        msg = f"{option} {text} is {_OUTSIDE_CALENDAR}"
        raise UsageError(msg) from None


def _date(text: str) -> date | None:
    # The forms that datetime.fromisoformat reads as midnight of a day.
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _wall_clock(option: str, text: str, time: datetime, zone: TimeZone) -> datetime:
    # Where clocks are set forward, a skipped time has the offset before with fold 0 and the one after with fold 1;
    # where they are set back, an ambiguous time has them in the same order.
    first, second = time.replace(tzinfo=zone, fold=0), time.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    if before is None or after is None or before == after:
        return fixed_offset(first)
    what = "exists twice" if before > after else "does not exist"
    change = "back" if before > after else "forward"
    msg = (
        f"{option} {text} {what} in {zone}, where clocks are set {change} then;"
        f" write {first.isoformat()} or {second.isoformat()}"
    )
    raise UsageError(msg)


def parse_zone(name: str) -> TimeZone:
    """Return the time zone called `name`.

    Raises:
        UsageError: It is unknown.
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
        msg = "--tz is not a known time zone; use a name such as Asia/Shanghai, or an offset such as +08:00"
        raise UsageError(msg if available_timezones() else NO_ZONES) from None
