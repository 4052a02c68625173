"""The retention limit, and the default range of the calls.

Computes with the sandbox's own time, which is passed in.
"""

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final

from aiosipcdr.sandbox.config import SandboxConfig

_MONTHS: Final = 12
# A client may count a range as provisional for some hours after its end: this is longer.
_SETTLED: Final = timedelta(hours=6)
_NOON: Final = time(12)


def measure_lag(day: str, config: SandboxConfig, now: float) -> float:
    """Return the seconds by which noon of `day`, an ISO date, is before `now`.

    Raises:
        ValueError: `day` is not an ISO date.
    """
    return now - datetime.combine(date.fromisoformat(day), _NOON, timezone(config.utc_offset)).timestamp()


def earliest(config: SandboxConfig, now: float) -> datetime:
    """Return the earliest start that the retention allows."""
    moment = datetime.fromtimestamp(now, UTC)
    if config.retention is not None:
        try:
            return moment - config.retention
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    if config.months_back is None:
        return datetime.min.replace(tzinfo=UTC)
    local = moment.astimezone(timezone(config.utc_offset))
    year, month = divmod(local.year * _MONTHS + local.month - 1 - config.months_back, _MONTHS)
    # In a shorter month, its last day replaces the missing days.
    following = datetime(year + month // 11, (month + 1) % _MONTHS + 1, 1, tzinfo=UTC)
    day = min(local.day, (following - timedelta(days=1)).day)
    return local.replace(year=year, month=month + 1, day=day)


def default_range(config: SandboxConfig, now: float) -> tuple[datetime, datetime]:
    """Return a range that is settled and within the retention.

    Raises:
        ValueError: The settings allow none.
    """
    zone, length = timezone(config.utc_offset), timedelta(days=config.days)
    start = config.start
    if start is None:
        settled = datetime.fromtimestamp(now, zone) - _SETTLED
        start = settled.replace(hour=0, minute=0, second=0, microsecond=0) - length
    if start < earliest(config, now):
        raise ValueError(
            "start is before the sandbox's retention; choose fewer days, a longer retention or months_back=None"
        )
    start = start.astimezone(zone)
    return start, start + length
