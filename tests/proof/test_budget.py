"""What a run may hold and spend: each limit to the last request and the last call."""

import pytest

from aiosipcdr.model.windows import split_window
from aiosipcdr.proof.budget import FULL_WINDOW, Budget, RowQuota, WindowLimits
from tests.proof.simulated_vendor import seconds


def budget(*windows: int, size: int = 100) -> Budget:
    spent = Budget(size)
    for rows in windows:
        spent.plan(rows)
    return spent


# --- the rows of a window


@pytest.mark.parametrize(("width", "most"), [(2, 9_999), (3, 9_999), (5, 9_999), (6, 2_000), (3_600, 2_000)])
def test_windows_of_few_seconds_may_have_more_rows(width: int, most: int) -> None:
    assert WindowLimits().max_rows(seconds(0, width)) == most


@pytest.mark.parametrize(
    ("calls", "own"),
    [(1, 150), (20, 50), (100, 12), (240, 5), (300, 4), (400, 4), (1_157, 4), (1_500, 3), (2_000, 2), (2_500, 1)],
)
def test_the_denser_the_calls_the_fewer_seconds_a_part_has(calls: int, own: int) -> None:
    # Whole seconds, both bounds included.
    window = seconds(0, 301)
    parts = split_window(window, WindowLimits().count_parts(window, 302 * calls))
    assert max(part.seconds - 1 for part in parts) == own
    assert all((part.seconds + 1) * calls < 10_000 for part in parts)
    assert all(part.seconds <= 5 or (part.seconds + 1) * calls <= 2_000 for part in parts)


@pytest.mark.parametrize("reported", [9_999, 20_000, 10**6, 10**12])
@pytest.mark.parametrize("width", [3, 4, 5, 60])
def test_no_reported_total_makes_a_part_larger_or_a_split_without_parts(width: int, reported: int) -> None:
    window = seconds(0, width)
    parts = split_window(window, WindowLimits().count_parts(window, reported))
    assert len(parts) >= 2
    assert reported * 4 < 10_000 * (width + 1) or max(part.seconds for part in parts) == 2


def test_limits_are_lowered_and_never_raised() -> None:
    limits = WindowLimits()
    limits.lower(5_000)
    assert (limits.max_rows(seconds(0, 5)), limits.max_rows(seconds(0, 6))) == (5_000, 2_000)
    limits.lower(99)
    limits.lower(400)
    assert (limits.max_rows(seconds(0, 5)), limits.max_rows(seconds(0, 6))) == (99, 99)
    assert limits.count_parts(seconds(0, 3_600), 1_180) == limits.count_parts(seconds(0, 3_600), 1_180, 1_200) == 20
    limits.lower(0)
    assert limits.max_rows(seconds(0, 5)) == 1


# --- the budget


@pytest.mark.parametrize(
    ("windows", "planned", "left"),
    [((), 0, 200), ((0,), 1, 201), ((99,), 1, 201), ((1_000,), 11, 218), ((1_000, 450), 16, 227)],
)
def test_the_budget_for_rereading_follows_from_the_plan(windows: tuple[int, ...], planned: int, left: int) -> None:
    spent = budget(*windows)
    assert (spent.planned, spent.left) == (planned, left)
    assert spent.take(left)
    assert spent.left == 0
    assert not spent.take(1)
    assert spent.take(0)


def test_a_refused_amount_is_not_spent() -> None:
    spent = budget(1_000)
    assert not spent.take(219)
    assert spent.left == 218
    assert not spent.read(36 + 218)
    assert spent.left == 218
    assert spent.read(36 + 217)
    assert spent.left == 0


def test_first_readings_cost_trouble_nothing_until_they_go_beyond_half_as_much_again() -> None:
    spent = budget(1_000)
    assert spent.read(36)
    assert spent.left == 217  # 3 × 11 and 220 for both together
    assert spent.read(1)
    assert spent.left == 216
    assert not spent.read(217)
    assert spent.read(216)
    assert not spent.read(1)


@pytest.mark.parametrize(("rows", "most"), [(0, 222), (1_000, 220 + 3 * 11), (100_000, 220 + 3 * 1_001)])
def test_both_together_never_exceed_three_times_the_plan_and_220(rows: int, most: int) -> None:
    spent = budget(rows)
    requests = 0
    while spent.read(1) or spent.take(1):
        requests += 1
    assert requests == most


def test_smaller_pages_are_more_pages_and_larger_ones_are_not_believed() -> None:
    spent = budget(1_000)
    spent.plan_smaller(10)
    assert spent.planned == 101
    spent.plan_smaller(50)
    assert spent.planned == 101


# --- the places


def test_a_run_may_always_hold_one_window() -> None:
    quota = RowQuota(1)
    quota.runs = 5
    quota.reserve(FULL_WINDOW * 9)
    assert quota.has_space(0)
    assert not quota.has_space(1)


def test_a_run_alone_may_hold_as_many_windows_as_there_are_places() -> None:
    quota = RowQuota(3)
    quota.runs = 1
    held = 0
    while quota.has_space(held):
        quota.reserve(FULL_WINDOW)
        held += FULL_WINDOW
    assert held == 3 * FULL_WINDOW
    quota.release(1)
    assert not quota.has_space(held - 1)
    quota.release(FULL_WINDOW - 1)
    assert quota.has_space(held - FULL_WINDOW)


@pytest.mark.parametrize(("runs", "windows"), [(0, 8), (1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_runs_share_the_places_evenly_and_each_may_hold_one_window(runs: int, windows: int) -> None:
    quota = RowQuota(8)
    quota.runs = runs
    held = 0
    while quota.has_space(held):
        quota.reserve(FULL_WINDOW)
        held += FULL_WINDOW
    assert held == windows * FULL_WINDOW


def test_a_dense_window_takes_the_places_of_several() -> None:
    quota = RowQuota(8)
    quota.runs = 2
    assert quota.has_space(0, 9 * FULL_WINDOW)
    quota.reserve(FULL_WINDOW)
    assert quota.has_space(FULL_WINDOW, 3 * FULL_WINDOW)
    assert not quota.has_space(FULL_WINDOW, 3 * FULL_WINDOW + 1)
    quota.reserve(5 * FULL_WINDOW)  # of the other run
    assert quota.has_space(FULL_WINDOW, 2 * FULL_WINDOW)
    assert not quota.has_space(FULL_WINDOW, 2 * FULL_WINDOW + 1)


def test_no_run_takes_more_than_the_rest_of_the_quota() -> None:
    quota = RowQuota(4)
    quota.runs = 2
    quota.reserve(3 * FULL_WINDOW)  # of a run that began when it was alone
    quota.reserve(FULL_WINDOW // 2)
    assert not quota.has_space(FULL_WINDOW // 2)
    quota.release(FULL_WINDOW // 2)
    quota.reserve(FULL_WINDOW // 4)
    quota.release(FULL_WINDOW // 4)
    assert quota.has_space(1)
