"""Ranges whose calls still arrive, in simulated time: never a false certificate, and a certificate at all."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from tests.protocol.live_drive import LiveVendor, Pace, Traffic, cover_live, drive_live
from tests.protocol.simulated_vendor import Habits, Run, seconds, seeded

FALSE_WITHOUT_DELAY = (38, 80, 82)
"""Seeds with which a count that does not wait certifies too little: 5 of the first 260."""

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


@pytest.mark.parametrize("lag", [300, 2_000, 10_000])
@pytest.mark.parametrize("after", [0, 60])
def test_counts_that_lag_by_seconds_are_waited_for(lag: int, after: int) -> None:
    for seed in range(3):
        traffic = Traffic(rate=10, shown="submitted", ranged="submitted")
        vendor = vendor_of(traffic, seeded(seed), before=60, lag=lag)
        run = drive_live(cover_live(vendor, seconds(-60, after)), vendor, QUICK)
        assert run.certified
        assert not missing(run, lag)


def test_a_window_that_has_settled_waits_for_no_count() -> None:
    vendor = vendor_of(Traffic(rate=10), seeded(1), before=600)
    coverage = cover_live(vendor, seconds(-600, -300), lateness=timedelta(seconds=300))
    run = drive_live(coverage, vendor, QUICK)
    assert run.certified
    assert (coverage.report.provisional, vendor.clock < 1_000) == (0, True)


def test_windows_wait_side_by_side() -> None:
    vendor = vendor_of(Traffic(rate=20, lasts=1), seeded(1), before=600)
    run = drive_live(cover_live(vendor, seconds(-600, -60)), vendor, QUICK)
    assert run.certified
    assert run.coverage.report.windows >= 5
    assert 1_000 < vendor.clock < 3_000
