from datetime import UTC, datetime, timedelta

import pytest

from aiosipcdr.sandbox.config import SandboxConfig
from aiosipcdr.sandbox.time_bounds import default_range, earliest


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("now", "months", "first"),
    [
        ((2026, 11, 23, 6), 2, "2026-09-23T06:00:00+00:00"),
        ((2026, 4, 30), 2, "2026-02-28T00:00:00+00:00"),
        ((2024, 4, 30), 2, "2024-02-29T00:00:00+00:00"),
        ((2026, 1, 15), 1, "2025-12-15T00:00:00+00:00"),
        ((2026, 2, 28), 2, "2025-12-28T00:00:00+00:00"),
        ((2026, 12, 31), 12, "2025-12-31T00:00:00+00:00"),
    ],
)
def test_months_are_calendar_months(now: tuple[int, ...], months: int, first: str) -> None:
    config = SandboxConfig(months_back=months, utc_offset=timedelta(0))
    assert earliest(config, at(*now)).isoformat() == first


def test_retention_comes_before_months() -> None:
    config = SandboxConfig(retention=timedelta(days=3))
    assert earliest(config, at(2026, 5, 4)) == datetime(2026, 5, 1, tzinfo=UTC)
    assert earliest(SandboxConfig(months_back=None), at(2026, 5, 4)) < datetime(1900, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("hour", range(0, 24, 3))
@pytest.mark.parametrize("day", [(2026, 3, 1), (2026, 4, 30), (2026, 11, 23)])
def test_the_default_range_is_settled_and_may_be_asked_for(day: tuple[int, ...], hour: int) -> None:
    now = at(*day, hour)
    config = SandboxConfig()
    start, end = default_range(config, now)
    assert end - start == timedelta(days=30)
    assert timedelta(hours=6) <= datetime.fromtimestamp(now, UTC) - end < timedelta(hours=30)
    assert start >= earliest(config, now)
    assert start.utcoffset() == timedelta(hours=8)
    assert (start.hour, start.minute, start.second, start.microsecond) == (0, 0, 0, 0)


def test_a_range_that_could_not_be_asked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer days"):
        default_range(SandboxConfig(days=90), at(2026, 11, 23))
    assert default_range(SandboxConfig(days=90, months_back=None), at(2026, 11, 23))


def test_a_start_is_taken_as_given() -> None:
    start = datetime(2026, 11, 1, 12, 30, 5, tzinfo=UTC)
    assert default_range(SandboxConfig(start=start, days=2), at(2026, 11, 23)) == (
        start,
        start + timedelta(days=2),
    )
