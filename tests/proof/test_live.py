"""Ranges whose calls still arrive, in simulated time: never a false certificate, and a certificate at all."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from aiosipcdr.model.errors import IncompleteRangeError
from tests.proof.live_drive import LiveVendor, Moment, Pace, Traffic, cover_live, drive_live
from tests.proof.simulated_vendor import Habits, Run, seconds, seeded, since_start
from tests.selection import ALL, pairs

FALSE_WITHOUT_DELAY = (38, 182, 221)
"""Seeds with which a count that does not wait certifies too little: 3 of the first 260."""

QUICK = Pace(latency=(10, 30))
SLOW = Pace(latency=(20, 300))


def vendor_of(traffic: Traffic, rng: Random, *, before: int, lag: int = 0, **habits: object) -> LiveVendor:
    ranged_by = "submit_time" if traffic.ranged == "submitted" else "hangup_time"
    chosen = replace(Habits(ranged_by=ranged_by, includes_end=True), **habits)  # type: ignore[arg-type]
    return LiveVendor(chosen, rng, traffic, since=-1_000 * (before + int(10 * traffic.lasts)), lag=lag)


def missing(run: Run, lag: int) -> int:
    """Return how many calls certified windows lack of those that were there as of their counts."""
    vendor, seen = run.vendor, set(run.delivered)
    return sum(
        len(vendor.there_at(run.counted_at[complete.window] - lag, complete.window) - seen)
        for complete in run.windows
        if complete.report.certified
    )


def read_behind(lag: int, seed: int, *, count_delay: float) -> Run:
    """Read a minute to which calls are still added, from a vendor whose counts are behind its rows."""
    traffic = Traffic(rate=20, shown="ended", ranged="submitted", lasts=10)
    vendor = vendor_of(traffic, seeded(seed), before=60, lag=lag, order="oldest")
    return drive_live(cover_live(vendor, seconds(-60, 0), count_delay=timedelta(seconds=count_delay)), vendor, SLOW)


def test_counts_that_lag_certify_too_little_unless_they_wait() -> None:
    without = [read_behind(300, seed, count_delay=0) for seed in FALSE_WITHOUT_DELAY]
    assert all(run.certified and missing(run, 300) for run in without), "the model can show it"
    for seed in FALSE_WITHOUT_DELAY:
        run = read_behind(300, seed, count_delay=1)
        assert not (run.certified and missing(run, 300))


@pytest.mark.parametrize(("lag", "after"), pairs([300, 2_000, 10_000], [0, 60]))
def test_counts_that_lag_by_seconds_are_waited_for(lag: int, after: int) -> None:
    for seed in range(3 if ALL else 1):
        traffic = Traffic(rate=10, shown="submitted", ranged="submitted")
        vendor = vendor_of(traffic, seeded(seed), before=60, lag=lag)
        run = drive_live(cover_live(vendor, seconds(-60, after)), vendor, QUICK)
        assert run.certified
        assert not missing(run, lag)


def test_a_window_that_has_settled_waits_for_no_count() -> None:
    vendor = vendor_of(Traffic(rate=10), seeded(1), before=600)
    reader = cover_live(vendor, seconds(-600, -300), lateness=timedelta(seconds=300))
    run = drive_live(reader, vendor, QUICK)
    assert run.certified
    assert (reader.report.provisional, vendor.clock < 1_000) == (0, True)


def test_windows_wait_side_by_side() -> None:
    vendor = vendor_of(Traffic(rate=20, lasts=1), seeded(1), before=600)
    run = drive_live(cover_live(vendor, seconds(-600, -60)), vendor, QUICK)
    assert run.certified
    assert run.reader.report.windows >= 5
    assert 1_000 < vendor.clock < 3_000


LATE, AT_ITS_END, AT_ITS_BEGIN = ("ended", "submitted"), ("ended", "ended"), ("submitted", "submitted")


PAST, LONG, MINUTE = (100, 60, 0), (50, 200, 21_600), (100, 60, 600)


@pytest.mark.parametrize(
    ("rate", "before", "after", "shown", "ranged"),
    [(*span, *moments) for span, moments in pairs([PAST, LONG, MINUTE], [LATE, AT_ITS_END, AT_ITS_BEGIN])],
)
def test_a_range_whose_calls_still_arrive_is_certified(
    rate: int, before: int, after: int, shown: Moment, ranged: Moment
) -> None:
    """Each a tenth of what `benchmarks/live_ranges.py` reads over sockets, or less."""
    traffic = Traffic(rate=rate, shown=shown, ranged=ranged, lasts=30)
    window = seconds(-before, after)
    for seed in range(2 if ALL else 1):
        vendor = vendor_of(traffic, seeded(seed), before=before)
        there = {row.voice_id for row in vendor.those_in(window, vendor.rows)}
        run = drive_live(cover_live(vendor, window), vendor, QUICK)
        report = run.reader.report
        assert run.certified
        assert there <= set(run.delivered)
        assert not missing(run, 0)
        assert report.provisional == report.windows
        assert vendor.clock < 60_000


def test_the_future_is_read_first_and_a_window_that_ends_in_a_moment_after_its_end() -> None:
    vendor = vendor_of(Traffic(rate=100, shown="ended", ranged="ended", lasts=1), seeded(1), before=60)
    run = drive_live(cover_live(vendor, seconds(-60, 600)), vendor, QUICK)
    assert run.certified
    *_, near, to_come = [complete.window for complete in run.windows]
    assert run.windows[-1].records == []
    assert run.counted_at[to_come] < since_start(to_come.start)
    assert 2_000 <= since_start(near.end) <= run.counted_at[near]


@pytest.mark.parametrize(("lag", "order"), pairs([0, 300, 900], ["newest", "oldest", "random"]))
def test_a_window_certified_while_calls_arrive_lacks_none(lag: int, order: str) -> None:
    certified = 0
    for seed in range(6 if ALL else 3):
        traffic = Traffic(rate=seeded(seed).choice([5, 20, 60]), lasts=seeded(seed).choice([5, 20, 60]))
        vendor = vendor_of(traffic, seeded(seed), before=20, lag=lag, order=order)
        run = drive_live(cover_live(vendor, seconds(-20, seed % 2 * 60)), vendor, SLOW)
        if run.certified:
            certified += 1
            assert not missing(run, lag)
        else:
            assert isinstance(run.error, IncompleteRangeError)
    assert certified
