"""Tiles and splits: they cover the range, neighbours share one second, none is too wide or too narrow."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.windows import (
    NARROWEST_SECONDS,
    OVERLAP,
    SECOND,
    WIDEST,
    TimeWindow,
    can_split,
    clip_window,
    plan_range,
    plan_tiles,
    split_at_now,
    split_window,
)

offsets = st.sampled_from([timedelta(), timedelta(hours=8), timedelta(hours=-9, minutes=-30)]).map(timezone)
lengths = st.one_of(st.integers(0, 10), st.integers(0, 3_000_000), st.integers(0, 40_000_000))


@st.composite
def windows(draw: st.DrawFn) -> TimeWindow:
    start = datetime(2026, 10, 1, tzinfo=draw(offsets)) + draw(st.integers(0, 10**8)) * SECOND
    end = start + draw(lengths) * SECOND
    return TimeWindow(start, end.astimezone(draw(offsets)))


def check_cover(window: TimeWindow, parts: list[TimeWindow]) -> None:
    assert parts[0].start == window.start
    assert parts[-1].end == window.end
    for earlier, later in pairwise(parts):
        assert earlier.end - later.start == OVERLAP == SECOND
        assert earlier.start < later.start
        assert earlier.end < later.end
        assert earlier < later
    # The outer bounds are sent as they were given.
    assert parts[0].start.utcoffset() == window.start.utcoffset()
    assert parts[-1].end.utcoffset() == window.end.utcoffset()
    for part in parts:
        assert part.start.microsecond == part.end.microsecond == 0


@given(windows())
def test_tiles_cover_any_range_without_a_gap(window: TimeWindow) -> None:
    tiles = plan_tiles(window)
    check_cover(window, tiles)
    assert all(tile.end - tile.start <= WIDEST == timedelta(days=31) for tile in tiles)
    if len(tiles) > 1:
        assert all(tile.seconds >= NARROWEST_SECONDS == 2 for tile in tiles)
    # No more than are needed.
    assert len(tiles) == max(1, -(-(window.seconds - 1) // (31 * 86_400 - 1)))


@pytest.mark.parametrize(("extra", "tiles"), [(0, 1), (1, 2), (31 * 86_400 - 1, 2), (31 * 86_400, 3)])
def test_31_days_are_one_tile_and_a_second_more_is_two(extra: int, tiles: int) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    window = TimeWindow(start, start + WIDEST + extra * SECOND)
    planned = plan_tiles(window)
    assert len(planned) == tiles
    check_cover(window, planned)


@given(windows(), st.integers(-3, 3_000))
def test_parts_cover_their_window_and_are_narrower_than_it(window: TimeWindow, parts: int) -> None:
    if not can_split(window):
        with pytest.raises(ValueError, match="cannot be split"):
            split_window(window, parts)
        return
    children = split_window(window, parts)
    check_cover(window, children)
    assert 2 <= len(children) <= max(2, parts)
    widths = [child.seconds for child in children]
    assert all(2 <= width < window.seconds for width in widths)
    assert max(widths) - min(widths) <= 1


@pytest.mark.parametrize(("seconds", "can"), [(0, False), (1, False), (2, False), (3, True), (4, True), (86_400, True)])
def test_only_two_seconds_and_less_cannot_be_cut(seconds: int, can: bool) -> None:  # noqa: FBT001 - a parameter
    start = datetime(2026, 10, 1, tzinfo=UTC)
    assert can_split(TimeWindow(start, start + seconds * SECOND)) is can


@given(st.integers(0, 200), st.integers(2, 50), st.booleans(), st.booleans())
def test_no_reading_of_the_bounds_loses_a_call(
    seconds: int,
    parts: int,
    includes_start: bool,  # noqa: FBT001
    includes_end: bool,  # noqa: FBT001
) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    window = TimeWindow(start, start + (seconds + 3) * SECOND)

    def selects(part: TimeWindow, time: datetime) -> bool:
        after = part.start <= time if includes_start else part.start < time
        return after and (time <= part.end if includes_end else time < part.end)

    children = split_window(window, parts)
    for half_seconds in range(2 * (seconds + 3) + 1):
        time = start + half_seconds * timedelta(milliseconds=500)
        assert selects(window, time) == any(selects(child, time) for child in children)


@given(windows(), st.floats(0, 5_000_000))
def test_a_window_is_cut_shortly_after_now(window: TimeWindow, ahead: float) -> None:
    cut = split_at_now(window, ahead)
    if cut is None:
        passed = window.seconds - ahead
        assert passed <= 0 or passed > window.seconds - 3 or window.seconds <= 3
        return
    check_cover(window, [*cut])
    past, to_come = cut
    now = window.end - timedelta(seconds=ahead)
    assert timedelta(seconds=2) <= past.end - now < timedelta(seconds=3.1)
    assert to_come.start > now, "what is to come is empty"
    assert min(past.seconds, to_come.seconds) >= NARROWEST_SECONDS


NOW = datetime(2026, 6, 17, 12, 30, 15, 999_000, tzinfo=UTC)


@pytest.mark.parametrize("years", [1, 73, 7_900])
def test_a_range_that_ends_far_in_the_future_has_one_tile_behind_now(years: int) -> None:
    start = datetime(2026, 4, 20, tzinfo=timezone(timedelta(hours=8)))
    tiles = plan_range(TimeWindow.of(start, start.replace(year=start.year + years)), NOW)
    to_come = tiles[-1]
    assert to_come.end == NOW.replace(microsecond=0) + WIDEST
    assert to_come.end.utcoffset() == start.utcoffset()
    assert NOW < to_come.start < NOW + timedelta(seconds=5)
    assert to_come.seconds <= WIDEST.total_seconds()
    assert tiles[:-1] == plan_tiles(TimeWindow(start, to_come.start + OVERLAP))


@given(
    st.floats(-200, 200).map(lambda days: NOW + timedelta(days=days)),
    st.integers(0, 200),
    st.floats(-200, 200).map(lambda days: NOW + timedelta(days=days)),
)
def test_tiles_are_clipped_at_31_days_after_now_with_one_for_the_future(
    start: datetime, days: int, now: datetime
) -> None:
    window = TimeWindow.of(start, start + timedelta(days=days))
    tiles, clipped = plan_range(window, now), clip_window(window, now)
    assert (tiles[0].start, tiles[-1].end) == (clipped.start, clipped.end)
    assert all(later.start == earlier.end - OVERLAP for earlier, later in pairwise(tiles))
    assert all(tile.end - tile.start <= WIDEST for tile in tiles)
    assert clipped.end - max(now, window.start) <= WIDEST
    assert sum(tile.end > now + timedelta(seconds=4) for tile in tiles) <= 1
    if window.end <= now or len(plan_tiles(clipped)) == 1:
        assert tiles == plan_tiles(window) or clipped != window
