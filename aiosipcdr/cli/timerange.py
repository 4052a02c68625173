"""The range and the filters of a query, as arguments.

Must never guess a time zone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import tzinfo as TimeZone  # noqa: N812 - the abstract class of zones
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from aiosipcdr.cli.usage import UsageError

__all__ = ["Range", "parse_range"]


@Parameter(name="*", group="Query")
@dataclass(frozen=True, kw_only=True)
class Range:
    """Which calls.

    Attributes:
        start: First instant: 2026-10-01, 2026-10-01T08:30:00 or 2026-10-01T08:30:00+08:00.
        end: Last instant; a date means its first instant, so 2026-11-01 ends with October.
        tz: Time zone of a start or end without an offset: Asia/Shanghai, UTC, +08:00.
        group: Only calls of this phone group (sipGroupName, exact).
        phone: Only calls of this phone (phoneName, exact).
    """

    start: str
    end: str
    tz: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    group: str | None = None
    phone: str | None = None


def parse_range(span: Range) -> tuple[datetime, datetime]:
    """Return the two aware instants of `span`.

    Raises:
        UsageError: a time cannot be read, has no zone, or the end comes first.
    """
    zone = None if span.tz is None else _zone(span.tz)
    start, end = _time("--start", span.start, zone), _time("--end", span.end, zone)
    if end < start:
        msg = f"--end {span.end} is before --start {span.start}: swap them"
        raise UsageError(msg)
    return start, end


def _time(option: str, text: str, zone: TimeZone | None) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{option} is neither a date (2026-10-01) nor a time of ISO 8601 (2026-10-01T08:30:00+08:00)"
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


def _zone(name: str) -> TimeZone:
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
