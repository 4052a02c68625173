"""What a run may hold and spend: each limit to the last request and the last call."""

import pytest

from aiosipcdr.proof.budget import FULL_WINDOW, Budget, RowQuota


def budget(*windows: int, size: int = 100) -> Budget:
    spent = Budget(size)
    for rows in windows:
        spent.plan(rows)
    return spent


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


def test_no_run_takes_more_than_what_the_others_have_left() -> None:
    quota = RowQuota(4)
    quota.runs = 2
    quota.reserve(3 * FULL_WINDOW)  # of a run that began when it was alone
    quota.reserve(FULL_WINDOW // 2)
    assert not quota.has_space(FULL_WINDOW // 2)
    quota.release(FULL_WINDOW // 2)
    quota.reserve(FULL_WINDOW // 4)
    quota.release(FULL_WINDOW // 4)
    assert quota.has_space(1)
