"""Faults of vendors that could make a certificate false, each as a trial of the model that a seed decides.

One list for the tests and for `benchmarks/false_certificates.py`, which measures how often each fault ends in a
certificate over too few rows, in an honest error, or in a true certificate, and at what cost.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from aiosipcdr.model.errors import SipCdrError
from aiosipcdr.model.windows import TimeWindow, plan_tiles, split_window
from aiosipcdr.proof.page import count_pages
from aiosipcdr.proof.range import RangeReader
from tests.proof.simulated_vendor import (
    Drive,
    Habits,
    Order,
    RequestStormError,
    Row,
    Vendor,
    ages_at,
    check_windows,
    cover,
    drive,
    seconds,
    seeded,
    since_start,
)

__all__ = ["FAULTS", "HEALTHY", "Fault", "Result", "Trial", "try_fault"]

DAY = 86_400
FIXED_ORDERS: tuple[Order, ...] = ("newest", "oldest")
ORDERS: tuple[Order, ...] = ("newest", "oldest", "ties", "random")
Verdict = Literal["certified", "false", "refused", "storm"]


@dataclass(kw_only=True)
class Trial:
    """A vendor, a range of it, and how it is read.

    Attributes:
        between: where it is given, the range is read twice, this happens in between, and the second reading counts.
        now: where calls are still added to the range, the milliseconds from its start to the vendor's now when the
            trial begins; its windows are provisional then.
    """

    vendor: Vendor
    window: TimeWindow
    size: int = 100
    how: Drive = field(default_factory=lambda: Drive(concurrency=8))
    between: Callable[[Vendor], object] | None = None
    now: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        item: the part of the proof that has to notice it.
        name: what the vendor does.
        plan: makes a trial.
        share: trials of it for one of the others: large ones are rarer.
        must: what every trial has to end in: a true certificate, or anything but a false one and a storm of requests.
            Where several wrong answers can agree, nothing is promised, and the rate is measured.
    """

    item: str
    name: str
    plan: Callable[[Random], Trial]
    share: float = 1.0
    must: Literal["certified", "not false", "measured"] = "not false"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a trial ended in, the requests that it took, and the pages that the range holds."""

    verdict: Verdict
    requests: int
    pages: int
    error: SipCdrError | None = None
    why: str = ""


def try_fault(fault: Fault, seed: int) -> Result:
    """Run one trial."""
    trial = fault.plan(seeded(seed))
    vendor = trial.vendor
    if trial.between is not None:
        drive(_cover(trial), vendor, trial.how)
        vendor.tick()
        trial.between(vendor)
    before = vendor.requests
    error: SipCdrError | None = None
    verdict: Verdict = "refused"
    why = ""
    try:
        run = drive(_cover(trial), vendor, trial.how)
    except RequestStormError:
        verdict = "storm"
    else:
        error = run.error
        if run.certified:
            verdict = "certified"
            try:
                check_windows(run, trial.window)
            except AssertionError as found:
                verdict, why = "false", str(found)
    rows = vendor.those_in(trial.window, vendor.rows)
    pages = sum(count_pages(len(vendor.those_in(tile, rows)), trial.size) for tile in plan_tiles(trial.window))
    return Result(verdict=verdict, requests=vendor.requests - before, pages=pages, error=error, why=why)


def _cover(trial: Trial) -> RangeReader:
    return cover(
        trial.window,
        size=trial.size,
        most_windows=trial.how.concurrency,
        ages=None if trial.now is None else ages_at(trial.now, trial.vendor),
    )


def _fill(vendor: Vendor, calls: int, length: int, *, legs: float = 0.0) -> list[Row]:
    """Add calls that are spread over `length` seconds; `legs` of them are transferred once."""
    rng = vendor.rng
    rows = []
    for _ in range(calls):
        row = vendor.add(rng.randrange(length * 1_000), lasts=rng.randrange(1, 600) * 1_000)
        rows.append(row)
        if legs and rng.random() < legs:
            rows.append(vendor.add_leg(row, rng.randrange(1, 600) * 1_000))
    return rows


def _still(
    habits: Callable[[Random], Habits], calls: int, length: int = DAY, *, size: int = 100
) -> Callable[[Random], Trial]:
    """Plan trials with a vendor at which nothing happens."""

    def plan(rng: Random) -> Trial:
        vendor = Vendor(habits(rng), rng)
        _fill(vendor, calls, length)
        vendor.tick()
        return Trial(vendor=vendor, window=seconds(0, length + 1_200), size=size, how=_drive(rng))

    return plan


def _drive(rng: Random, **settings: object) -> Drive:
    return Drive(concurrency=rng.choice([1, 4, 8]), most_requests=20_000, **settings)  # type: ignore[arg-type]


def _capped(cap: int, past_the_end: str, **habits: object) -> Callable[[Random], Habits]:
    return lambda rng: Habits(
        order=rng.choice(ORDERS),
        count_cap=cap,
        past_the_end=past_the_end,  # type: ignore[arg-type]
        **habits,  # type: ignore[arg-type]
    )


def _with_legs(share: float, calls: int, days: int) -> Callable[[Random], Trial]:
    def plan(rng: Random) -> Trial:
        vendor = Vendor(_bounds(rng), rng)
        _fill(vendor, calls, days * DAY, legs=share)
        vendor.tick()
        return Trial(vendor=vendor, window=seconds(0, days * DAY + 1_200), how=_drive(rng))

    return plan


def _bounds(rng: Random) -> Habits:
    return Habits(
        order=rng.choice(FIXED_ORDERS),
        includes_start=rng.random() < 0.5,
        includes_end=rng.random() < 0.5,
        ranged_by=rng.choice(["submit_time", "hangup_time"]),
    )


def _legs_at(seams: Callable[[TimeWindow, int], list[TimeWindow]], calls: int, days: int) -> Callable[[Random], Trial]:
    """Plan trials in which legs touch where windows meet."""

    def plan(rng: Random) -> Trial:
        vendor = Vendor(_bounds(rng), rng)
        window = seconds(0, days * DAY)
        _fill(vendor, calls, days * DAY - 1_200)
        for seam in seams(window, calls)[1:]:
            for touch in (-2, -1, 0, 1, 2, 3):
                # The first leg ends, and the second begins, in a second at the seam.
                first, second = rng.randrange(1, 90) * 1_000, rng.randrange(1, 90) * 1_000
                meets = since_start(seam.start) + touch * 1_000
                by_end = vendor.habits.ranged_by == "hangup_time"
                row = vendor.add(meets if by_end else meets - first, lasts=first)
                vendor.add_leg(row, second)
        vendor.tick()
        return Trial(vendor=vendor, window=window, how=_drive(rng))

    return plan


def _changing(rng: Random) -> Trial:
    """Legs, fields that are filled in, calls that arrive, and pages that move meanwhile."""
    vendor = Vendor(Habits(order=rng.choice(ORDERS), counts_first=True), rng)
    length = rng.choice([30, 600, DAY])
    _fill(vendor, rng.choice([40, 150]), length, legs=0.3)
    vendor.tick()
    arrives = rng.random() < 0.5

    def happen(vendor: Vendor) -> None:
        if arrives and rng.random() < 0.5:
            vendor.add(rng.randrange(length * 1_000), lasts=60_000)
        else:
            vendor.change(rng.choice(vendor.rows))

    how = _drive(rng, happen=happen, busy=rng.choice([0.05, 0.3]), most_happenings=rng.choice([2, 6, 20]))
    return Trial(vendor=vendor, window=seconds(0, length + 1_200), size=10, how=how)


def _first_answer_wrong(rng: Random) -> Trial:
    habits = Habits(order=rng.choice(FIXED_ORDERS), wrong_requests=frozenset([1]))
    return _still(lambda _: habits, 20_000, 30 * DAY)(rng)


def _wrong_answers(wrong: Literal["empty", "tail", "shard"]) -> Callable[[Random], Trial]:
    def plan(rng: Random) -> Trial:
        calls = rng.choice([1, 20, 60, 90, 400, 3_000])
        habits = lambda rng: Habits(order=rng.choice(FIXED_ORDERS), wrong=wrong, wrong_share=0.05)  # noqa: E731
        return _still(habits, calls, rng.choice([DAY, 25 * DAY]))(rng)

    return plan


def _live(per_second: float, **habits: object) -> Callable[[Random], Trial]:
    """Plan trials that read the last minute while calls arrive, each when it has ended."""

    def plan(rng: Random) -> Trial:
        vendor = Vendor(Habits(order=rng.choice(FIXED_ORDERS), **habits), rng)  # type: ignore[arg-type]
        calls = rng.choice([250, 450, 650])
        now = round(calls / per_second) * 1_000
        for _ in range(calls):
            vendor.add(rng.randrange(now), lasts=1_000)
        vendor.tick()

        def arrive(vendor: Vendor) -> None:
            lasted = rng.randrange(now)
            vendor.add(now + int(vendor.now) - lasted, lasts=lasted)

        how = _drive(rng, happen=arrive, per_second=per_second, step=rng.choice([5.0, 10.0]))
        return Trial(vendor=vendor, window=seconds(0, now // 1_000 + 3_600), how=how, now=now)

    return plan


def _cached(calls: int, **habits: object) -> Callable[[Random], Trial]:
    """Plan trials in which an earlier run has read through a cache, which knows nothing of what arrived since."""

    def plan(rng: Random) -> Trial:
        trial = _sized(calls, caches_bodies=True, **habits)(rng)
        trial.between = lambda vendor: vendor.add(rng.randrange(DAY * 1_000), lasts=1_000)
        return trial

    return plan


def _sized(calls: int, **habits: object) -> Callable[[Random], Trial]:
    return _still(lambda rng: Habits(order=rng.choice(FIXED_ORDERS), **habits), calls)  # type: ignore[arg-type]


def _ordered(order: Order) -> Callable[[Random], Trial]:
    return _still(lambda _: Habits(order=order), 60_000, 30 * DAY)


def _burst(order: Order, calls: int = 20_000) -> Callable[[Random], Trial]:
    def plan(rng: Random) -> Trial:
        vendor = Vendor(Habits(order=order, includes_end=rng.random() < 0.5), rng)
        second = rng.randrange(DAY) * 1_000
        for _ in range(calls):
            vendor.add(second + rng.randrange(1_000), lasts=1_000)
        _fill(vendor, 500, DAY)
        vendor.tick()
        return Trial(vendor=vendor, window=seconds(0, DAY + 1_200), how=_drive(rng))

    return plan


def _stored_twice(rng: Random) -> Trial:
    vendor = Vendor(Habits(order=rng.choice(FIXED_ORDERS)), rng)
    for row in _fill(vendor, 1_500, DAY):
        if rng.random() < 0.01:
            vendor.add_copy(row)
    vendor.tick()
    return Trial(vendor=vendor, window=seconds(0, DAY + 1_200), how=_drive(rng))


def _come_or_go(*, comes: bool) -> Callable[[Random], Trial]:
    def plan(rng: Random) -> Trial:
        vendor = Vendor(Habits(order=rng.choice(ORDERS)), rng)
        _fill(vendor, rng.choice([60, 500]), DAY, legs=0.05)
        vendor.tick()

        def happen(vendor: Vendor) -> None:
            if comes:
                vendor.add(rng.randrange(DAY * 1_000), lasts=60_000)
            elif vendor.rows:
                vendor.remove(rng.choice(vendor.rows))

        how = _drive(rng, happen=happen, busy=0.1, most_happenings=20)
        return Trial(vendor=vendor, window=seconds(0, DAY + 1_200), size=20, how=how)

    return plan


def _seams_of_tiles(window: TimeWindow, _: int) -> list[TimeWindow]:
    return plan_tiles(window)


def _seams_of_parts(window: TimeWindow, calls: int) -> list[TimeWindow]:
    # As a window of so many rows, and some legs, is cut.
    return [part for rows in (calls, calls + 50) for part in split_window(window, -(-rows // 1_200))]


FAULTS = [
    Fault(item="1", name="COUNT cut off at 1,000 of 1,700, then page 1", plan=_still(_capped(1_000, "first"), 1_700)),
    Fault(item="1", name="… then the last page again", plan=_still(_capped(1_000, "last"), 1_700)),
    Fault(item="1", name="… then what OFFSET finds", plan=_still(_capped(1_000, "empty"), 1_700)),
    Fault(item="1", name="… then status -18", plan=_still(_capped(1_000, "error"), 1_700)),
    Fault(item="1", name="… then `data: null`", plan=_still(_capped(1_000, "unreadable"), 1_700)),
    Fault(item="1", name="COUNT cut off at 950 of 1,700, then page 1", plan=_still(_capped(950, "first"), 1_700)),
    Fault(item="1", name="COUNT cut off at 100 of 140, then page 1", plan=_still(_capped(100, "first"), 140)),
    Fault(
        item="1",
        name="COUNT cut off at 2,000 of 3,700, then page 1",
        plan=_still(_capped(2_000, "first"), 3_700),
        share=0.5,
    ),
    Fault(
        item="1",
        name="COUNT cut off at 10,000 of 17,000, then page 1",
        plan=_still(_capped(10_000, "first"), 17_000),
        share=0.06,
    ),
    Fault(
        item="1",
        name="COUNT cut off at 1,000 of 1,700, pages of 20 whatever is asked, then page 1",
        plan=_still(_capped(1_000, "first", forced_page=20), 1_700),
    ),
    Fault(
        item="1",
        name="… the same, pages of 20 echoed as 100",
        plan=_still(_capped(1_000, "first", forced_page=20, echoes_asked=True), 1_700),
    ),
    *(
        Fault(
            item="1", name=f"1,000 calls, past the end: {past}", plan=_sized(1_000, past_the_end=past), must="certified"
        )
        for past in ("empty", "first", "last", "error", "unreadable")
    ),
    Fault(
        item="2",
        name="1 % legs, 20,000 calls of 30 days",
        plan=_with_legs(0.01, 20_000, 30),
        share=0.1,
        must="certified",
    ),
    Fault(
        item="2",
        name="5 % legs, 20,000 calls of 30 days",
        plan=_with_legs(0.05, 20_000, 30),
        share=0.1,
        must="certified",
    ),
    Fault(item="2", name="legs that touch where tiles meet", plan=_legs_at(_seams_of_tiles, 300, 70), must="certified"),
    Fault(
        item="2",
        name="legs that touch where parts meet",
        plan=_legs_at(_seams_of_parts, 5_000, 3),
        share=0.3,
        must="certified",
    ),
    Fault(item="3", name="30 % legs, fields filled in, calls arrive, meanwhile", plan=_changing, share=4),
    Fault(item="4", name='first answer "0 of 0", 20,000 calls', plan=_first_answer_wrong, share=0.1),
    *(
        Fault(
            item="4",
            name=f"5 % of the answers from a replica without {what}",
            plan=_wrong_answers(wrong),  # type: ignore[arg-type]
            share=2,
            must="measured",
        )
        for wrong, what in (("empty", "any rows"), ("tail", "the last rows"), ("shard", "a shard"))
    ),
    *(
        Fault(item="5", name=f"COUNT {lag} s behind, 10 calls/s", plan=_live(10, count_lag=round(lag * 1_000)), share=3)
        for lag in (0.15, 0.3, 0.9)
    ),
    Fault(item="5", name="COUNT used again for 0.3 s, 10 calls/s", plan=_live(10, count_cached=300), share=3),
    *(
        Fault(
            item="5",
            name=f"a replica {lag} s behind, 10 calls/s",
            plan=_live(10, replica_lags=(0, round(lag * 1_000))),
            must="certified",
        )
        for lag in (0.3, 0.5, 2.0, 10.0)
    ),
    Fault(item="6", name="a cache of identical bodies, 50 calls read before", plan=_cached(50), must="certified"),
    Fault(item="6", name="a cache of identical bodies, 450 calls read before", plan=_cached(450), must="certified"),
    Fault(
        item="6",
        name="a cache of identical bodies, 5,000 calls read before",
        plan=_cached(5_000),
        share=0.3,
        must="certified",
    ),
    Fault(
        item="14",
        name="pages of 20, echoed as 100, 700 calls",
        plan=_sized(700, forced_page=20, echoes_asked=True),
        must="certified",
    ),
    Fault(
        item="14",
        name="pages of 20, echoed as 100, 3,000 calls",
        plan=_sized(3_000, forced_page=20, echoes_asked=True),
        share=0.3,
        must="certified",
    ),
    Fault(
        item="14",
        name="pages of 20, echoed as 20, whatever is asked, 700 calls",
        plan=_sized(700, forced_page=20),
        must="certified",
    ),
    Fault(item="14", name="pages of 10 at least, 700 calls", plan=_sized(700, smallest_page=10), must="certified"),
    Fault(item="14", name="size 1 refused, 700 calls", plan=_sized(700, refuses_below=2)),
    Fault(item="15", name="20,000 calls in one second, unstable order", plan=_burst("ties"), share=0.1),
    Fault(
        item="15", name="20,000 calls in one second, stable order", plan=_burst("newest"), share=0.04, must="certified"
    ),
    # Outside the proof: nothing that the vendor answers shows it.
    Fault(
        item="outside",
        name="a cache that also ignores white space, 450 calls read before",
        plan=_cached(450, cache_ignores_blanks=True),
        must="measured",
    ),
    Fault(
        item="outside",
        name="pages of 20, echoed as 100, and COUNT cut off at 20 of 140",
        plan=_still(_capped(20, "empty", forced_page=20, echoes_asked=True), 140),
        must="measured",
    ),
    Fault(
        item="outside",
        name="pages of 20, echoed as 100, and COUNT cut off at 20 of 1,700",
        plan=_still(_capped(20, "empty", forced_page=20, echoes_asked=True), 1_700),
        must="measured",
    ),
    Fault(item="90", name="1 % of the rows stored twice, 1,500 calls", plan=_stored_twice),
    Fault(item="62", name="calls arrive meanwhile, 5 % legs", plan=_come_or_go(comes=True), share=2),
    Fault(item="63", name="calls are deleted meanwhile, 5 % legs", plan=_come_or_go(comes=False), share=2),
]

HEALTHY = [
    *(
        Fault(
            item="cost",
            name=f"60,000 calls of 30 days, {order} first",
            plan=_ordered(order),
            share=0.02,
            must="certified",
        )
        for order in FIXED_ORDERS
    ),
    *(
        Fault(item="cost", name=f"{calls:,} calls of a day", plan=_sized(calls), share=0.2, must="certified")
        for calls in (0, 60, 1_000)
    ),
    Fault(item="cost", name="the last 250 to 650 calls, 10 a second more", plan=_live(10), share=0.2),
]


def tally(fault: Fault, runs: int) -> tuple[Counter[Verdict], list[Result]]:
    """Return what trials of a fault ended in."""
    results = [try_fault(fault, seed) for seed in range(max(1, round(runs * fault.share)))]
    return Counter(result.verdict for result in results), results
