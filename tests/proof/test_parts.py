"""Parts of a range: where they are cut, and that each row has one owner while calls arrive and change."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiosipcdr.model.query import Query
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import SECOND, ArgumentError, TimeWindow
from aiosipcdr.proof.parts import PartPlanner, RangePart, part_span
from tests.proof.made_up_pages import accept
from tests.proof.simulated_vendor import (
    START,
    Drive,
    Flight,
    Habits,
    Run,
    Vendor,
    Wrong,
    at,
    cover,
    drive,
    label_of,
    seeded,
    smaller_windows,
)

BOUNDS = [(True, False), (True, True), (False, True), (False, False)]


def parts_between(*seconds: int, time_field: str | None = None) -> list[RangePart]:
    """Return the parts from each of these seconds to the next."""
    return [
        RangePart(
            start=START + start * SECOND,
            end=START + end * SECOND,
            index=index,
            parts=len(seconds) - 1,
            time_field=time_field,  # type: ignore[arg-type]
        )
        for index, (start, end) in enumerate(pairwise(seconds))
    ]


def read(vendor: Vendor, part: RangePart, how: Drive, **settings: object) -> Run:
    span = part_span(part)
    with smaller_windows(20, 12):
        return drive(
            cover(span.window, seam=span.preceding_second, time_field=span.time_field, exact=span.bounds, **settings),  # type: ignore[arg-type]
            vendor,
            how,
        )


LAST = 30
near = st.tuples(st.integers(0, 5), st.sampled_from([0, 0, 0, -1, 1, -500, 500, -1_000, 1_000, -1_500, 1_500, 4_000]))
"""A time in milliseconds beside the cut of this number."""


@given(
    bounds=st.sampled_from(BOUNDS),
    order=st.sampled_from(["newest", "oldest", "random"]),
    ranged_by=st.sampled_from(["submit_time", "call_time", "hangup_time"]),
    inner=st.sets(st.integers(1, LAST - 1), max_size=4),
    times=st.lists(near, max_size=60),
    legs=st.lists(st.tuples(st.integers(0, 59), near), max_size=8),
    undated=st.sets(st.integers(0, 59), max_size=5),
    known=st.booleans(),
    turns=st.permutations(range(5)),
    busy=st.sampled_from([0.0, 0.3, 0.6]),
    changes=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_each_row_has_one_owner_while_calls_arrive_and_change(  # noqa: PLR0917 - drawn one by one
    bounds: tuple[bool, bool],
    order: str,
    ranged_by: str,
    inner: set[int],
    times: list[tuple[int, int]],
    legs: list[tuple[int, tuple[int, int]]],
    undated: set[int],
    known: bool,  # noqa: FBT001
    turns: list[int],
    busy: float,
    changes: bool,  # noqa: FBT001
    seed: int,
) -> None:
    habits = Habits(order=order, includes_start=bounds[0], includes_end=bounds[1], ranged_by=ranged_by)  # type: ignore[arg-type]
    vendor = Vendor(habits, seeded(seed))
    cuts = [0, *sorted(inner), LAST]

    def beside(time: tuple[int, int]) -> int:
        return cuts[time[0] % len(cuts)] * 1_000 + time[1]

    rows = [vendor.add(beside(time), undated=number in undated) for number, time in enumerate(times)]
    for number, time in legs:
        if number < len(rows):
            vendor.add(beside(time), voice_id=rows[number].voice_id)
    vendor.tick()
    first = {row.label for row in vendor.rows if 0 < row.time < LAST * 1_000}

    def happen(vendor: Vendor) -> None:
        if changes and vendor.rows and vendor.rng.random() < 0.3:
            vendor.change(vendor.rng.choice(vendor.rows))
        else:
            time = beside((vendor.rng.randrange(len(cuts)), vendor.rng.choice([0, 0, -1, 1, -500, 500, -1_000, 1_000])))
            is_leg = vendor.rows and vendor.rng.random() < 0.3
            vendor.add(time, voice_id=vendor.rng.choice(vendor.rows).voice_id if is_leg else None)

    field = ranged_by if known else None
    parts = parts_between(*cuts, time_field=field)
    runs: dict[int, Run] = {}
    for turn in [turn for turn in turns if turn < len(parts)]:
        how = Drive(concurrency=1 + turn % 3, happen=happen, busy=busy, most_happenings=6)
        runs[turn] = read(vendor, parts[turn], how, size=(7, 100, 20, 9, 50)[turn])
    certified = {turn for turn, run in runs.items() if run.certified}
    owned = Counter(label_of(record) for turn in certified for record in runs[turn].records)
    assert set(owned.values()) <= {1}
    for turn in certified:
        report = runs[turn].reader.report
        assert report.total == report.unique == len(runs[turn].records)
    if len(certified) == len(runs):
        assert first <= owned.keys()
    elif not busy and not (legs and order == "random"):  # legs on small pages in no order cannot be counted
        pytest.fail("a part of a quiet range could not be proven")


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("ranged_by", ["submit_time", "hangup_time"])
def test_a_call_that_arrives_between_the_readings_of_the_seam_and_the_part_is_the_neighbours(
    bounds: tuple[bool, bool], ranged_by: str
) -> None:
    habits = Habits(includes_start=bounds[0], includes_end=bounds[1], ranged_by=ranged_by)
    later, earlier = 0, 0
    for time in (9_000, 9_500, 10_000, 10_500):
        vendor = Vendor(habits, seeded(time))
        for second in range(0, 20_000, 900):
            vendor.add(second, lasts=30_000)
        parts = parts_between(0, 10, 20)
        reader = cover(part_span(parts[1]).window, seam=part_span(parts[1]).preceding_second)
        found: list[CallDetailRecord] = []
        late = None
        while (request := reader.next_request()) is not None:
            if late is None and request.window == reader.tiles[1]:
                late = vendor.add(time, lasts=30_000)
                vendor.tick()
            flight = Flight(vendor, request)
            while (answer := flight.advance()) is None:
                pass
            assert accept(reader, request, answer) is None
            while (window := reader.take_complete()) is not None:
                found += window.records
        assert late is not None
        assert reader.report.certified
        assert reader.report.total == reader.report.unique == len(found)
        in_first = late.record in read(vendor, parts[0], Drive()).records
        assert in_first != (late.record in found)
        later, earlier = later + (late.record in found), earlier + in_first
    assert (earlier, later) == ((3, 1) if bounds[1] else (2, 2))


@pytest.mark.parametrize(("every", "burst"), [(1, 0), (2, 0), (3, 0), (5, 150)])
def test_calls_that_arrive_in_the_seam_all_the_time_do_not_end_the_run(every: int, burst: int) -> None:
    # A second cannot be split: a count of it that differs each time would end the run.
    vendor = Vendor(Habits(), seeded(every))
    for time in [*range(9_000, 20_000, 500), *[9_050] * burst]:
        vendor.add(time)
    part = parts_between(0, 10, 20)[1]
    reader = cover(part_span(part).window, seam=part_span(part).preceding_second)
    found: list[CallDetailRecord] = []
    while (request := reader.next_request()) is not None:
        if vendor.requests % every == 0:
            vendor.add(9_100 + vendor.requests, lasts=700)
            vendor.tick()
        flight = Flight(vendor, request)
        while (answer := flight.advance()) is None:
            pass
        assert accept(reader, request, answer) is None
        while (window := reader.take_complete()) is not None:
            found += window.records
    assert reader.report.certified
    assert [record.submit_time for record in found] == [at(time) for time in range(10_000, 20_000, 500)]


@pytest.mark.parametrize("wrong", ["empty", "tail", "shard"])
def test_one_wrong_answer_about_the_seam_hands_over_no_row_of_the_neighbour(wrong: Wrong) -> None:
    for number in range(1, 8):
        vendor = Vendor(Habits(wrong=wrong, wrong_requests=frozenset({number})), seeded(number))
        for time in range(9_000, 11_000, 50):
            vendor.add(time)
        run = read(vendor, parts_between(0, 10, 20)[1], Drive(concurrency=1))
        assert run.certified or number > 2  # a wrong answer about the part itself
        assert {record.submit_time for record in run.records} <= {at(time) for time in range(10_000, 11_000, 50)}
        assert len(run.records) == 20 or not run.certified


def plan(
    query: Query, rows: int, count: Callable[[TimeWindow], int], *, now: datetime = START + timedelta(days=3_000)
) -> tuple[list[RangePart], int]:
    """Return the parts of a range, and the number of counts that this took."""
    planner, counts = PartPlanner(query, rows, now=now), 0
    while due := planner.due:
        assert all(window.end - window.start <= timedelta(days=31) for window in due)
        counts += len(due)
        planner.take({window: count(window) for window in due})
    return planner.build(), counts


def check_tiling(parts: list[RangePart], query: Query) -> None:
    assert (parts[0].start, parts[-1].end) == (query.start, query.end)
    assert [(part.index, part.parts) for part in parts] == [(index, len(parts)) for index in range(len(parts))]
    for part, following in pairwise(parts):
        assert part.end == following.start
        assert part.end.microsecond == 0
        assert part.start < part.end < following.end


moments = st.integers(0, 10**9).map(lambda number: START + timedelta(milliseconds=number))


@given(
    bounds=st.sampled_from(BOUNDS),
    span=st.tuples(moments, moments).map(sorted),
    times=st.lists(st.integers(0, 10**9), max_size=150),
    burst=st.tuples(st.integers(0, 10**9), st.integers(0, 150)),
    rows=st.integers(1, 60),
    known=st.booleans(),
    now=st.one_of(st.just(START + timedelta(days=3_000)), moments),
)
@example(bounds=(True, True), span=[at(0), at(0)], times=[0, 0, 0], burst=(0, 9), rows=1, known=False, now=at(0))
@example(bounds=(True, True), span=[at(500), at(501)], times=[500], burst=(0, 0), rows=1, known=True, now=at(0))
def test_a_range_is_cut_into_parts_that_touch(  # noqa: PLR0917 - drawn one by one
    bounds: tuple[bool, bool],
    span: list[datetime],
    times: list[int],
    burst: tuple[int, int],
    rows: int,
    known: bool,  # noqa: FBT001
    now: datetime,
) -> None:
    vendor = Vendor(Habits(includes_start=bounds[0], includes_end=bounds[1]), seeded(1))
    for time in [*times, *[burst[0]] * burst[1]]:
        vendor.add(time)
    query = Query(start=span[0], end=span[1], time_field="submit_time" if known else None)
    parts, counts = plan(query, rows, lambda window: len(vendor.those_in(window, vendor.rows)), now=now)
    check_tiling(parts, query)
    total = len(vendor.those_in(query.window, vendor.rows))
    # Halving down to the second of a burst takes 20 counts.
    assert counts <= 25 * (2 + total // rows)
    assert len(parts) <= max(1, round(2 * total / rows))


@given(
    bounds=st.sampled_from(BOUNDS),
    span=st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)).map(sorted),
    times=st.lists(st.integers(0, 50) | st.just(25), max_size=60),
    rows=st.integers(1, 40),
    known=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_planned_parts_have_the_rows_of_the_range(  # noqa: PLR0917 - drawn one by one
    bounds: tuple[bool, bool],
    span: list[int],
    times: list[int],
    rows: int,
    known: bool,  # noqa: FBT001
    seed: int,
) -> None:
    vendor = Vendor(Habits(order="random", includes_start=bounds[0], includes_end=bounds[1]), seeded(seed))
    for time in times:
        vendor.add(1_000 * time)
    query = Query(start=at(span[0]), end=at(span[1]), time_field="submit_time" if known else None)
    parts, _ = plan(query, rows, lambda window: len(vendor.those_in(window, vendor.rows)))
    whole = read(vendor, RangePart(start=query.start, end=query.end, time_field=query.time_field), Drive())
    runs = [read(vendor, part, Drive()) for part in parts]
    assert whole.certified
    assert all(run.certified for run in runs)
    assert Counter(record for run in runs for record in run.records) == Counter(whole.records)


def test_the_parts_of_a_month_are_about_as_large_as_asked_for() -> None:
    # Busy by day, quiet by night, hardly any calls at weekends.
    def density(hour: int) -> int:
        return (400 if 8 <= hour % 24 < 20 else 20) // (10 if hour // 24 % 7 > 4 else 1)

    sums = [0, *accumulate(density(hour) for hour in range(30 * 24))]

    def before(time: datetime) -> int:
        hour, rest = divmod((time - START) // SECOND, 3_600)
        return sums[hour] + (density(hour) * rest // 3_600 if rest else 0)

    query = Query(start=START, end=START + timedelta(days=30))
    for rows in (1_000, 5_000, 50_000, 10**6):
        parts, counts = plan(query, rows, lambda window: before(window.end) - before(window.start))
        sizes = [before(part.end) - before(part.start) for part in parts]
        size = sums[-1] / max(1, round(sums[-1] / rows))
        assert [part.rows for part in parts] == pytest.approx(sizes, abs=30)
        assert all(0.4 * size <= one <= 1.6 * size for one in sizes)
        assert counts <= 4 * len(parts)


@pytest.mark.parametrize("cap", [1_000, 10_000])
def test_counts_that_cannot_be_right_cost_no_request_for_each_second(cap: int) -> None:
    query = Query(start=START, end=START + timedelta(days=60))
    parts, counts = plan(query, 100, lambda _: cap)
    check_tiling(parts, query)
    assert counts < cap // 10
    flaky = seeded(1)
    _, counts = plan(query, 100, lambda _: flaky.choice([0, cap, 10 * cap]))
    assert counts < 10 * cap


def test_the_future_is_a_part_of_the_last_part() -> None:
    query = Query(start=START, end=START + timedelta(days=4_000))
    now = START + timedelta(days=1)
    counted: list[TimeWindow] = []

    def count(window: TimeWindow) -> int:
        counted.append(window)
        return max(0, (min(window.end, now) - window.start) // timedelta(minutes=1))

    parts, _ = plan(query, 200, count, now=now)
    check_tiling(parts, query)
    assert len(parts) == 7
    assert parts[-2].end < now
    assert max(window.end for window in counted) == now + timedelta(days=31)


def test_the_deleted_range_is_in_the_first_part() -> None:
    query = Query(start=START, end=START + timedelta(days=10), on_out_of_range="skip")
    planner = PartPlanner(query, 100, now=START + timedelta(days=20))
    planner.start_later(START + timedelta(days=6))
    begins = min(window.start for window in planner.due)
    assert timedelta(0) < begins - (START + timedelta(days=6)) < timedelta(hours=1)
    while due := planner.due:
        planner.take({window: window.seconds // 600 for window in due})
    parts = planner.build()
    check_tiling(parts, query)
    assert len(parts) == 6
    nothing = PartPlanner(query, 100, now=START + timedelta(days=20))
    nothing.start_later(None)
    assert not nothing.due
    check_tiling(nothing.build(), query)


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "many"])
def test_a_part_has_a_whole_number_of_rows(rows: object) -> None:
    with pytest.raises(ArgumentError, match="rows must be a whole number from 1"):
        PartPlanner(Query(start=START, end=START + SECOND), rows, now=START)  # type: ignore[arg-type]


def test_more_parts_than_anybody_wants_are_refused() -> None:
    with pytest.raises(ArgumentError, match="give larger rows"):
        plan(Query(start=START, end=START + timedelta(days=1)), 1, lambda _: 10**6)
