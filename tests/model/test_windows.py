"""Windows: widened to whole seconds, and written in the vendor's format."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aiosipcdr.model.windows import SECOND, TimeWindow

BERLIN = ZoneInfo("Europe/Berlin")
# Amsterdam's offset had seconds until 1937, as every zone's had at some time.
ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")]
OLD_ZONES = [ZoneInfo("Europe/Amsterdam"), ZoneInfo("Africa/Monrovia")]

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
zones = st.one_of(offsets, st.sampled_from(ZONES))
folds = st.integers(0, 1)


@st.composite
def moments(draw: st.DrawFn, *, first_year: int = 1950, tz: st.SearchStrategy[object] = zones) -> datetime:
    naive = draw(st.datetimes(datetime(first_year, 1, 1), datetime(2080, 1, 1)))  # noqa: DTZ001 - the zone comes next
    return naive.replace(tzinfo=draw(tz), fold=draw(folds))  # type: ignore[arg-type]


def instant(time: datetime) -> datetime:
    return time.astimezone(UTC)


@given(moments(), moments())
def test_a_window_covers_the_query_and_less_than_a_second_more(start: datetime, end: datetime) -> None:
    assume(instant(start) <= instant(end))
    window = TimeWindow.of(start, end)
    assert timedelta() <= instant(start) - instant(window.start) < SECOND
    assert timedelta() <= instant(window.end) - instant(end) < SECOND
    assert window.start.microsecond == window.end.microsecond == 0
    assert window.seconds == (instant(window.end) - instant(window.start)).total_seconds()


@given(moments(), moments())
def test_inverted_is_judged_by_instants(start: datetime, end: datetime) -> None:
    assume(instant(start) > instant(end))
    with pytest.raises(ValueError, match="inverted"):
        TimeWindow.of(start, end)


@given(moments())
def test_the_bounds_keep_the_offset_that_was_given(time: datetime) -> None:
    window = TimeWindow.of(time, time)
    assert window.start.utcoffset() == time.utcoffset()


@given(moments(first_year=1850, tz=st.sampled_from([*OLD_ZONES, *ZONES])))
def test_bounds_are_written_as_whole_seconds_with_an_offset_and_never_z(time: datetime) -> None:
    window = TimeWindow.of(time, time + timedelta(days=1))
    for bound in (window.start, window.end):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", bound.isoformat())
    assert str(window) == f"{window.start.isoformat()}/{window.end.isoformat()}"


def test_the_hour_that_comes_twice_has_two_readings() -> None:
    # 02:30 summer time is half an hour before 02:00 winter time.
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    second = datetime(2026, 10, 25, 2, 0, tzinfo=BERLIN, fold=1)
    assert TimeWindow.of(first, second).seconds == 1_800
    with pytest.raises(ValueError, match="inverted"):
        TimeWindow.of(second, first)


def test_a_range_over_the_change_of_the_clocks_is_as_long_as_it_took() -> None:
    window = TimeWindow.of(datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN))
    assert window.seconds == 25 * 3600
    assert str(window) == "2026-10-25T00:00:00+02:00/2026-10-26T00:00:00+01:00"
    # Arithmetic on the bounds is arithmetic on instants.
    assert (window.start + timedelta(hours=5)) == datetime(2026, 10, 25, 3, tzinfo=UTC)


def test_an_offset_with_seconds_becomes_utc() -> None:
    time = datetime(1900, 1, 1, 12, tzinfo=ZoneInfo("Europe/Amsterdam"))
    offset = time.utcoffset()
    assert offset is not None
    assert offset % timedelta(minutes=1)
    window = TimeWindow.of(time, time)
    assert window.start == time
    assert window.start.isoformat().endswith("+00:00")


def test_fractions_are_widened_outwards() -> None:
    start = datetime(2026, 10, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    end = datetime(2026, 10, 1, 0, 0, 59, 1, tzinfo=UTC)
    assert str(TimeWindow.of(start, end)) == "2026-10-01T00:00:00+00:00/2026-10-01T00:01:00+00:00"


def test_a_range_without_width_is_asked_as_it_is() -> None:
    time = datetime(2026, 10, 1, tzinfo=UTC)
    assert TimeWindow.of(time, time) == TimeWindow(time, time)


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("bad", [datetime(2026, 10, 1), None, "2026-10-01T00:00:00+00:00", 5])  # noqa: DTZ001
def test_only_aware_datetimes_are_accepted(name: str, bad: object) -> None:
    times: dict[str, object] = {"start": datetime(2026, 10, 1, tzinfo=UTC), "end": datetime(2026, 10, 2, tzinfo=UTC)}
    with pytest.raises(ValueError, match=name):
        TimeWindow.of(**(times | {name: bad}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        (datetime.min.replace(tzinfo=ZoneInfo("Asia/Kolkata")), datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=ZoneInfo("America/New_York"))),
    ],
)
def test_the_ends_of_the_calendar_are_taken_or_refused_in_words(start: datetime, end: datetime) -> None:
    with suppress(ValueError):
        window = TimeWindow.of(start, end)
        assert window.start <= window.end


def test_windows_are_ordered_by_their_start() -> None:
    first, second = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)
    assert TimeWindow(first, second) < TimeWindow(second, second)
    assert TimeWindow(first, first) < TimeWindow(first, second)
    assert len({TimeWindow(first, second), TimeWindow(first, second)}) == 1
