"""Pending windows: the oldest first, as many at once as the quota of rows allows."""

from datetime import timedelta

import pytest

from aiosipcdr.model.query import Filters
from aiosipcdr.model.report import WindowReport
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.budget import FULL_WINDOW, Budget, RowQuota
from aiosipcdr.proof.checkpoint import WindowSplit
from aiosipcdr.proof.pending import PendingWindows, WindowTask, find_short
from aiosipcdr.proof.splits import SplitWindow
from tests.proof.made_up_pages import START, accept, answer, call
from tests.proof.simulated_vendor import ages_of


def window(start: int, end: int) -> TimeWindow:
    return TimeWindow(START + timedelta(minutes=start), START + timedelta(minutes=end))


def build(of: TimeWindow, _: tuple[SplitWindow, ...]) -> WindowTask:
    return WindowTask(of, Filters(), size=100, max_rows=2_000, budget=Budget(), ages=ages_of(), is_part=True)


def pending(*windows: TimeWindow, quota: RowQuota | None = None) -> PendingWindows:
    shared = quota or RowQuota(8)
    shared.runs += 1
    waiting = PendingWindows(shared)
    for one in windows:
        waiting.add(one)
    return waiting


def hold(waiting: PendingWindows) -> WindowTask:
    part = waiting.hold_next(build)
    assert part is not None
    return part


def read(part: WindowTask, calls: int) -> None:
    request = part.next_request()
    assert request is not None
    ids = [call(f"{part.window.start}{number}", at=None) for number in range(calls)]
    assert accept(part, request, answer(*ids, size=100)) is None
    assert not part.is_open


def cut(
    waiting: PendingWindows, of: TimeWindow, *parts: TimeWindow, splits: tuple[SplitWindow, ...] = ()
) -> SplitWindow:
    return waiting.add_parts(WindowSplit(reported=WindowReport(window=of, total=9), parts=list(parts)), splits, {})


# --- order


def test_windows_begin_oldest_first_whatever_the_order_they_came_in() -> None:
    waiting = pending(window(20, 31), window(0, 11), window(10, 21))
    assert waiting.oldest is None
    assert [hold(waiting).window for _ in range(3)] == [window(0, 11), window(10, 21), window(20, 31)]
    assert waiting.hold_next(build) is None
    assert [part.window for part in waiting.held] == [window(0, 11), window(10, 21), window(20, 31)]
    assert len(waiting) == 3


def test_nothing_comes_out_before_an_older_window_that_still_waits() -> None:
    waiting = pending(window(10, 21))
    late = hold(waiting)
    assert waiting.oldest is late
    waiting.add(window(0, 11))
    assert waiting.oldest is None
    early = hold(waiting)
    assert waiting.oldest is early
    assert [part.window for part in waiting.held] == [window(0, 11), window(10, 21)]
    waiting.release(early)
    assert waiting.oldest is late
    assert len(waiting) == 1


# --- quota


def test_the_oldest_starts_beyond_the_quota_and_all_others_wait_for_it() -> None:
    quota = RowQuota(2)
    quota.reserve(2 * FULL_WINDOW)  # somebody else's
    waiting = pending(window(0, 11), window(10, 21), quota=quota)
    oldest = hold(waiting)
    assert waiting.hold_next(build) is None
    waiting.release(oldest)
    assert hold(waiting).window == window(10, 21)
    # Cut or put back, an older one is waited for by all that is held: it must begin, too.
    waiting.add(window(0, 11))
    assert hold(waiting).window == window(0, 11)


def test_a_read_window_reserves_its_rows_and_at_least_a_sixteenth() -> None:
    for calls, weight in ((0, 125), (99, 125)):
        quota = RowQuota(2)
        waiting = pending(window(0, 11), window(10, 21), window(20, 31), quota=quota)
        first = hold(waiting)
        hold(waiting)
        assert waiting.hold_next(build) is None
        read(first, calls)
        waiting.shrink_reservation(first)
        assert first.weight == weight
        assert waiting.hold_next(build) is None, "two windows are full: the quota allows no third"
        quota.windows, quota._total = 3, 3 * FULL_WINDOW
        assert waiting.hold_next(build) is not None
        waiting.add(window(30, 41))
        waiting.clear()
        assert quota._held == 0
        assert len(waiting) == 0


def test_a_part_of_a_dense_window_reserves_as_many_rows_as_it_probably_has() -> None:
    quota = RowQuota(8)
    waiting = pending(quota=quota)
    # 1,000 calls in each second, both bounds included; the parts have four seconds and the shared one.
    whole, *parts = [
        TimeWindow(START + timedelta(seconds=first), START + timedelta(seconds=last))
        for first, last in ((0, 59), (0, 5), (4, 9), (8, 13))
    ]
    reported = WindowReport(window=whole, total=60_000)
    waiting.add_parts(WindowSplit(reported=reported, parts=parts), ())
    first, second = hold(waiting), hold(waiting)
    assert (first.weight, second.weight) == (6_000, 6_000)
    assert waiting.hold_next(build) is None
    read(first, 99)
    waiting.shrink_reservation(first)
    assert first.weight == 125
    assert hold(waiting).weight == 6_000
    waiting.clear()
    assert quota._held == 0


@pytest.mark.parametrize(("reported", "weight"), [(0, 2_000), (10_000, 2_000), (10**12, 8_000)])
def test_a_reservation_is_never_small_and_a_wrong_total_makes_it_no_larger_than_four(
    reported: int, weight: int
) -> None:
    waiting = pending()
    waiting.add_parts(
        WindowSplit(reported=WindowReport(window=window(0, 10), total=reported), parts=[window(0, 1)]), ()
    )
    assert hold(waiting).weight == weight


def test_a_window_weighs_no_more_than_a_full_one_however_much_it_holds() -> None:
    quota = RowQuota(2)
    waiting = pending(window(0, 11), quota=quota)
    part = hold(waiting)
    part.scan.quarantined.update(dict.fromkeys(map(str, range(FULL_WINDOW + 1))))  # type: ignore[arg-type]
    waiting.shrink_reservation(part)
    assert part.weight == FULL_WINDOW
    waiting.release(part)
    assert quota._held == 0


# --- cutting


def test_parts_wait_in_place_of_their_split_window_and_count_for_all_that_enclose_them() -> None:
    waiting = pending()
    outer = cut(waiting, window(0, 40), window(0, 21), window(20, 40))
    assert (outer.window, outer.reported_rows, outer.open_parts, outer.is_repair) == (window(0, 40), 9, 2, False)
    first = hold(waiting)
    assert first.splits == (outer,)
    waiting.release(first)
    inner = cut(waiting, window(0, 21), window(0, 8), window(7, 15), window(14, 21), splits=first.splits)
    assert (outer.open_parts, inner.open_parts) == (4, 3)
    assert [hold(waiting).splits for _ in range(4)] == [(outer, inner)] * 3 + [(outer,)]


def test_a_window_split_without_proof_keeps_that_and_its_rows() -> None:
    reported = WindowSplit(
        reported=WindowReport(window=window(0, 21), total=9), parts=[window(0, 11), window(10, 21)], is_repair=True
    )
    split = pending().add_parts(reported, (), [call("1")])
    assert split.is_repair
    assert split.unclaimed == {"1": [call("1")]}


def test_no_part_starts_before_its_split_is_in_the_journal() -> None:
    waiting = pending()
    outer = cut(waiting, window(0, 21), window(0, 11), window(10, 21))
    inner = cut(waiting, window(0, 11), window(0, 6), window(5, 11), splits=(outer,))
    for split in (outer, inner):
        split.is_written = False
        assert waiting.hold_next(build) is None
        split.is_written = True
    assert waiting.hold_next(build) is not None


def test_unclaimed_rows_of_split_windows_are_found_from_the_inside_out() -> None:
    waiting = pending(window(60, 70))
    outer = cut(waiting, window(0, 40), window(20, 40))
    inner = cut(waiting, window(0, 21), window(0, 11), window(10, 21), splits=(outer,))
    assert waiting.find_splits() == [(inner, (outer,)), (outer, ())]
    hold(waiting)
    hold(waiting)
    assert waiting.find_splits() == [(inner, (outer,)), (outer, ())]
    assert pending(window(0, 1)).find_splits() == []


# --- the retention boundary


def test_a_window_that_is_put_back_is_read_from_the_beginning() -> None:
    quota = RowQuota(1)
    waiting = pending(window(0, 11), quota=quota)
    part = hold(waiting)
    waiting.put_back(part)
    assert quota._held == 0
    assert not part.is_open
    again = hold(waiting)
    assert again is not part
    assert again.window == part.window
    assert again.is_open


def test_windows_before_the_boundary_are_dropped_and_those_across_it_are_cut() -> None:
    waiting = pending(window(0, 10), window(9, 20), window(19, 30))
    split = cut(waiting, window(30, 60), window(30, 45), window(44, 60))
    first, second = hold(waiting), hold(waiting)
    read(first, 1)
    waiting.trim(START + timedelta(minutes=15))
    assert not second.is_open, "what could not be read to its end is read again"
    assert [part.window for part in waiting.held] == [window(0, 10)], "what was read already stays"
    assert sorted(waiting.take_all()) == [window(15, 20), window(19, 30), window(30, 45), window(44, 60)]
    assert (split.reported_rows, split.open_parts) == (9, 2)


def test_windows_that_start_at_the_boundary_or_later_are_unchanged() -> None:
    waiting = pending(window(0, 11), window(10, 21), window(20, 31))
    for _ in range(3):
        hold(waiting)
    waiting.trim(START + timedelta(minutes=10))
    assert [(part.window, part.is_open) for part in waiting.held] == [(window(10, 21), True), (window(20, 31), True)]
    assert list(waiting.take_all()) == [window(10, 11)]


@pytest.mark.parametrize(("edge", "left", "open_parts"), [(20, 1, 1), (15, 2, 2), (10, 2, 2), (9, 2, 2)])
def test_a_split_window_across_the_boundary_waits_for_no_part_before_it(edge: int, left: int, open_parts: int) -> None:
    waiting = pending()
    split = cut(waiting, window(10, 30), window(10, 20), window(19, 30))
    waiting.trim(START + timedelta(minutes=edge))
    assert len(waiting) == left
    assert split.open_parts == open_parts
    assert split.reported_rows == (9 if edge <= 10 else 0)
    assert min(waiting.take_all()).start == START + timedelta(minutes=max(edge, 10))


def test_waiting_windows_can_be_taken_back_with_their_splits() -> None:
    waiting = pending(window(0, 11))
    split = cut(waiting, window(10, 31), window(10, 21), window(20, 31))
    taken = waiting.take_all()
    assert taken == {window(0, 11): (), window(10, 21): (split,), window(20, 31): (split,)}
    assert len(waiting) == 0


def test_the_part_to_begin_with_waits_for_nothing_but_the_note_of_the_cut() -> None:
    waiting = pending(window(0, 10), quota=RowQuota(1))
    hold(waiting)
    assert waiting.hold_first(build) is None
    reported, parts = WindowReport(window=window(10, 60), total=9), [window(10, 30), window(29, 60)]
    split = waiting.add_parts(WindowSplit(reported=reported, parts=parts), (), first=parts[1])
    split.is_written = False
    assert waiting.hold_first(build) is None
    split.is_written = True
    assert waiting.hold_next(build) is None, "there is no place"
    part = waiting.hold_first(build)
    assert part is not None
    assert (part.window, part.splits) == (window(29, 60), (split,))
    assert waiting.hold_first(build) is None
    assert [*waiting.take_all()] == [window(10, 30)]


# --- parts that are handed over together


def test_parts_are_merged_when_all_are_read_and_the_oldest_waiting_window_always_starts() -> None:
    waiting = pending(window(0, 100), quota=RowQuota(1))
    split = cut(waiting, window(0, 50), window(0, 21), window(20, 31), window(30, 50))
    waiting.take_all()
    for part in (window(0, 21), window(20, 31), window(30, 50)):
        waiting.add(part, (split,))
    first = hold(waiting)
    assert waiting.hold_next(build) is None, "one is read, and the quota allows one"
    read(first, 3)
    waiting.shrink_reservation(first)
    assert waiting.hold_next(build) is None, "only where they are handed over together"
    split.delivers_together = True
    second = hold(waiting)
    assert waiting.hold_next(build) is None
    read(second, 2)
    assert waiting.find_read_parts(split) is None
    third = hold(waiting)
    assert waiting.find_read_parts(split) is None
    read(third, 0)
    assert waiting.find_read_parts(split) == [first, second, third]


@pytest.mark.parametrize(
    ("reported", "inner_total", "short"), [(5, 3, ""), (6, 3, "outer"), (5, 4, "inner"), (9, 9, "both")]
)
def test_windows_with_more_than_their_parts_hold_are_short(reported: int, inner_total: int, short: str) -> None:
    outermost, split, inner = (
        SplitWindow(window(0, 50), reported, 2, is_repair=True),
        SplitWindow(window(0, 50), reported, 2, is_repair=True),
        SplitWindow(window(0, 31), inner_total, 2),
    )
    parts = []
    for number, (of, calls) in enumerate([(window(0, 21), 2), (window(20, 31), 1), (window(30, 50), 2)]):
        part = build(of, ())
        part.splits = (outermost, split, inner) if number < 2 else (outermost, split)
        read(part, calls)
        parts.append(part)
    assert find_short(parts, split) == {"": set(), "outer": {split}, "inner": {inner}, "both": {split, inner}}[short]
