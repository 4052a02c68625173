"""How a window is read to which calls are being added: counted at once, given time, or cut."""

from datetime import UTC, datetime, timedelta

import pytest

from aiosipcdr.policy.clock import AgePolicy, VendorTime
from aiosipcdr.proof.growth import MAX_SCANS_WHILE_GROWING, Growth

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
AGES = AgePolicy(lambda: VendorTime(NOW, is_local=False), timedelta(hours=4), timedelta(seconds=1))
YOUNG = NOW - timedelta(minutes=1)


def growth(end: datetime = YOUNG, *, is_growing: bool = False, ages: AgePolicy = AGES) -> Growth:
    return Growth(ages, end, is_growing=is_growing)


@pytest.mark.parametrize(
    ("end", "count", "rows", "largest_total", "added"),
    [
        (YOUNG, 25, 20, 25, 5),
        (YOUNG, 20, 20, 20, 0),
        (YOUNG, 19, 20, 20, 0),  # deleted, or the count lags
        (YOUNG, 25, 20, 26, 0),  # added and deleted
        (NOW - timedelta(hours=4), 25, 20, 25, 0),  # it has settled: rows were missed
    ],
)
def test_a_larger_count_of_a_young_window_shows_calls_that_arrived(
    end: datetime, count: int, rows: int, largest_total: int, added: int
) -> None:
    one = growth(end, is_growing=True)
    assert one.exceeds(count, rows=rows, largest_total=largest_total) == bool(added)
    one.note_count(count, rows=rows, largest_total=largest_total)
    assert (one.rows, one.is_growing) == (added, bool(added))


def test_fewer_calls_may_arrive_before_a_count_that_does_not_wait() -> None:
    for added, is_fast in ((8, False), (9, True)):
        one = growth()
        one.note_count(100 + added, rows=100, largest_total=100)
        assert one.is_fast is is_fast
    for added, is_fast in ((2, False), (3, True)):
        one.note_count(100 + added, rows=100, largest_total=100)
        assert one.is_fast is is_fast


def test_a_count_waits_once_for_each_reading_and_longer_where_it_lags() -> None:
    one = growth()
    assert [one.delay_count(reading) for reading in (1, 1, 2)] == [1, 0, 1]
    one.note_count(19, rows=20, largest_total=20)
    assert [one.delay_count(reading) for reading in (3, 3)] == [12, 0]
    one.note_count(25, rows=20, largest_total=20)
    assert one.delay_count(4) == 1
    assert growth(NOW - timedelta(hours=4)).delay_count(1) == 0


def test_a_window_to_which_calls_are_added_is_given_more_and_more_time() -> None:
    readings = range(1, MAX_SCANS_WHILE_GROWING + 1)
    assert [growth().delay_scan(reading) for reading in readings] == [0] * 7
    assert [growth(is_growing=True).delay_scan(reading) for reading in readings] == [0, 0, 1, 3, 9, 20, 20]
    calm = AGES._replace(count_delay=timedelta())
    assert [growth(is_growing=True, ages=calm).delay_scan(reading) for reading in readings] == [0] * 7


@pytest.mark.parametrize(("ahead", "delay"), [(-1, 0), (-0.5, 0), (0, 0.5), (3.5, 4), (3.6, 0), (3_600, 0)])
def test_an_end_that_is_a_moment_ahead_is_waited_for(ahead: float, delay: float) -> None:
    for is_growing in (False, True):
        assert growth(NOW + timedelta(seconds=ahead), is_growing=is_growing).delay_scan(1) == delay
