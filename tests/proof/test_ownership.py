"""Adjacent ranges: each call has exactly one owner, for every meaning of the vendor's bounds."""

from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import SECOND, TimeWindow
from aiosipcdr.proof.checkpoint import Checkpoint, Delivered, JournalQueue, ReadWindow
from aiosipcdr.proof.merge import OwnedSpan
from aiosipcdr.proof.page import PageRequest, Verdict, judge_answer
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept
from tests.proof.simulated_vendor import (
    START,
    Drive,
    Flight,
    Habits,
    Run,
    Vendor,
    at,
    cover,
    drive,
    seconds,
    seeded,
    smaller_windows,
)

BOUNDS = [(True, False), (True, True), (False, True), (False, False)]


def test_a_span_asks_for_the_second_before_it_and_leaves_it_to_its_neighbour() -> None:
    span = OwnedSpan.adjacent(at(10_000), at(20_000))
    assert span == OwnedSpan(window=seconds(9, 20), preceding_second=seconds(9, 10))
    assert span.is_preceding(seconds(9, 10))
    assert not span.is_preceding(seconds(9, 11))
    record = CallDetailRecord(voice_id="1")
    assert [span.owns(record, is_preceding=reported) for reported in (True, False)] == [False, True]


def test_with_a_known_time_field_the_time_decides_and_the_seam_where_there_is_none() -> None:
    span = OwnedSpan.adjacent(at(10_000), at(20_000), time_field="call_time")
    assert (span.window, span.preceding_second, span.bounds) == (
        seconds(9, 20),
        seconds(9, 10),
        (at(10_000), at(20_000)),
    )
    for time, owns in ((9_999, False), (10_000, True), (19_999, True), (20_000, False)):
        record = CallDetailRecord(voice_id="1", call_time=at(time))
        assert [span.owns(record, is_preceding=reported) for reported in (True, False)] == [owns, owns]
    undated = CallDetailRecord(voice_id="1", submit_time=at(15_000))
    assert [span.owns(undated, is_preceding=reported) for reported in (True, False)] == [False, True]


def test_a_window_is_enclosed_if_no_call_that_an_answer_may_have_is_beyond_the_bounds() -> None:
    span = OwnedSpan.adjacent(at(10_000), at(20_000), time_field="call_time")
    enclosed = {(9, 12): False, (10, 12): True, (15, 18): True, (15, 19): False, (10, 20): False}
    for (first, last), expected in enclosed.items():
        window = seconds(first, last)
        assert span.encloses(window) is expected
        times = [time for time in range(9_000, 21_001, 500) if may_be_in_answer(window, time)]
        calls = [CallDetailRecord(voice_id="1", call_time=at(time)) for time in times]
        assert all(span.owns(call, is_preceding=False) for call in calls) is expected


def may_be_in_answer(window: TimeWindow, time: int) -> bool:
    records = [CallDetailRecord(voice_id="1", call_time=at(time))]
    page = Page(total=1, size=100, current=1, pages=1, records=records)
    request = PageRequest(owner=None, window=window, params=b"", current=1, size=100)  # type: ignore[arg-type]
    return judge_answer(request, PageAnswer(page=page), Filters(), "call_time")[0] is Verdict.USE


def test_a_range_that_is_nobodys_neighbour_has_no_seam() -> None:
    plain = OwnedSpan.alone(at(10_000), at(20_000))
    assert plain == OwnedSpan(window=seconds(10, 20))
    assert not plain.is_preceding(seconds(10, 11))
    known = OwnedSpan.alone(at(10_000), at(20_000), time_field="call_time")
    assert (known.window, known.preceding_second, known.bounds) == (seconds(9, 21), None, (at(10_000), at(20_000)))


def test_neighbours_meet_at_whole_seconds_and_within_the_calendar() -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        OwnedSpan.adjacent(at(500), at(20_000))
    with pytest.raises(ValueError, match="has a length"):
        OwnedSpan.adjacent(at(0), at(0))
    with pytest.raises(ValueError, match="beginning of the calendar"):
        OwnedSpan.adjacent(START.replace(year=1, month=1, day=1), at(0))
    havana = START.replace(tzinfo=ZoneInfo("America/Havana"), month=11, day=1)
    span = OwnedSpan.adjacent(havana, havana + timedelta(days=1))
    assert span.window.seconds == 25 * 3_600 + 1


def read(vendor: Vendor, start: int, end: int, how: Drive, **settings: object) -> Run:
    span = OwnedSpan.adjacent(START + start * SECOND, START + end * SECOND, time_field=settings.pop("time_field", None))  # type: ignore[arg-type]
    with smaller_windows(20, 12):
        return drive(
            cover(span.window, seam=span.preceding_second, time_field=span.time_field, exact=span.bounds, **settings),  # type: ignore[arg-type]
            vendor,
            how,
        )


def owners(runs: list[Run]) -> Counter[CallDetailRecord]:
    return Counter(record for run in runs for record in run.records)


# Milliseconds around the bounds of spans, the bounds themselves most often.
near = st.builds(
    lambda bound, off: bound * 10_000 + off,
    st.integers(0, 4),
    st.sampled_from([0, 0, 0, -1, 1, -500, 500, -1_000, 1_000, -1_500, 1_500, 4_000]),
)


@given(
    bounds=st.sampled_from(BOUNDS),
    order=st.sampled_from(["newest", "oldest", "random"]),
    ranged_by=st.sampled_from(["submit_time", "call_time", "hangup_time"]),
    times=st.lists(near, max_size=80),
    legs=st.lists(st.tuples(st.integers(0, 79), near), max_size=8),
    undated=st.sets(st.integers(0, 79), max_size=5),
    known=st.booleans(),
    turns=st.permutations(range(3)),
    seed=st.integers(0, 2**32),
)
@example(
    bounds=(True, True), order="oldest", ranged_by="submit_time", times=[10_000], legs=[(0, 10_000), (0, 10_500)],
    undated=set(), known=False, turns=[1, 0, 2], seed=0,
)  # fmt: skip
@example(
    bounds=(False, False), order="oldest", ranged_by="call_time", times=[10_000, 9_500], legs=[(1, 10_500)],
    undated={0}, known=True, turns=[2, 1, 0], seed=0,
)  # fmt: skip
def test_runs_that_know_nothing_of_each_other_share_out_every_row(  # noqa: PLR0917 - drawn one by one
    bounds: tuple[bool, bool],
    order: str,
    ranged_by: str,
    times: list[int],
    legs: list[tuple[int, int]],
    undated: set[int],
    known: bool,  # noqa: FBT001
    turns: list[int],
    seed: int,
) -> None:
    habits = Habits(order=order, includes_start=bounds[0], includes_end=bounds[1], ranged_by=ranged_by)  # type: ignore[arg-type]
    vendor = Vendor(habits, seeded(seed))
    ids = [vendor.add(time, undated=number in undated).voice_id for number, time in enumerate(times)]
    for number, time in legs:
        if number < len(ids):
            vendor.add(time, voice_id=ids[number])
    vendor.tick()
    # In any order, as jobs of different days are; each with a size of its own.
    runs: dict[int, Run] = {}
    for turn in turns:
        how = Drive(concurrency=1 + turn)
        field = ranged_by if known else None
        runs[turn] = read(vendor, 10 * turn, 10 * turn + 10, how, size=(7, 100, 20)[turn], time_field=field)
    assert all(run.certified for run in runs.values())
    for run in runs.values():
        report = run.reader.report
        assert report.total == report.unique == len(run.records)
    owned = owners([runs[turn] for turn in range(3)])
    assert set(owned.values()) <= {1}
    inside = {row.record for row in vendor.rows if 0 < row.time < 30_000}
    assert inside <= owned.keys()
    assert all(0 <= row.time <= 30_000 for row in vendor.rows if row.record in owned)
    for turn, run in runs.items():
        # A call away from the bounds is in the span of its time.
        assert all(
            10_000 * turn <= row.time <= 10_000 * turn + 10_000 for row in vendor.rows if row.record in set(run.records)
        )
    if known:
        for turn, run in runs.items():
            span = (at(10_000 * turn), at(10_000 * turn + 10_000))
            reported = [getattr(record, ranged_by) for record in run.records]
            assert all(span[0] <= time < span[1] for time in reported if time is not None)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_call_at_midnight_is_the_new_days_unless_an_end_is_inclusive(bounds: tuple[bool, bool]) -> None:
    vendor = Vendor(Habits(includes_start=bounds[0], includes_end=bounds[1]), seeded(1))
    midnight = vendor.add(10_000).record
    runs = [read(vendor, start, start + 10, Drive()) for start in (0, 10)]
    assert [midnight in run.records for run in runs] == [bounds[1], not bounds[1]]


def shuffle_in(vendor: Vendor) -> None:
    """A call arrives close to a bound."""
    vendor.add(10_000 + vendor.rng.choice([-1_500, -1_000, -500, -1, 0, 1, 500, 1_000, 5_000]))


@pytest.mark.parametrize("bounds", BOUNDS)
def test_calls_that_arrive_between_two_runs_are_lost_by_neither(bounds: tuple[bool, bool]) -> None:
    arrived = certified = 0
    for seed in range(30):
        vendor = Vendor(Habits(includes_start=bounds[0], includes_end=bounds[1], order="random"), seeded(seed))
        for time in range(0, 20_000, 700):
            vendor.add(time)
        # While the later span is read; the earlier one is read last, so all that it owns is there.
        how = Drive(happen=shuffle_in, busy=0.3, most_happenings=4)
        before = len(vendor.rows)
        later = read(vendor, 10, 20, how, size=7, allow_incomplete=True)
        arrived += len(vendor.rows) - before
        there = {row.record for row in vendor.rows}
        earlier = read(vendor, 0, 10, Drive(), size=7)
        owned = owners([earlier, later])
        if later.certified:
            certified += 1
            assert set(owned.values()) <= {1}
        inside = {row.record for row in vendor.rows if 0 < row.time < 20_000 and row.record in there}
        # What came to a window after its count is for the next reading; all else is there.
        missing = inside - owned.keys()
        assert all(row.born for row in vendor.rows if row.record in missing)
    assert arrived > 20
    assert certified > 10


def test_a_row_of_the_seam_that_was_filled_in_meanwhile_stays_the_neighbours() -> None:
    vendor = Vendor(Habits(), seeded(1))
    row = vendor.add(9_500)
    own = vendor.add(15_000)
    span = OwnedSpan.adjacent(at(10_000), at(20_000))
    reader = cover(span.window, seam=span.preceding_second)
    found: list[CallDetailRecord] = []
    while (request := reader.next_request()) is not None:
        flight = Flight(vendor, request)
        while (answer := flight.advance()) is None:
            pass
        assert accept(reader, request, answer) is None
        if request.window == span.preceding_second and not request.control:
            # The seam was read with the old contents, the window will be with the new ones.
            vendor.remove(row)
            vendor.add(9_500, voice_id=row.voice_id)
        while (window := reader.take_complete()) is not None:
            found += window.records
    assert reader.report.certified
    assert found == [own.record]


@given(
    bounds=st.sampled_from(BOUNDS),
    times=st.lists(near, min_size=20, max_size=60),
    known=st.booleans(),
    killed_after=st.integers(0, 60),
    seed=st.integers(0, 2**32),
)
def test_a_span_that_is_taken_up_again_owns_the_same_rows(
    bounds: tuple[bool, bool],
    times: list[int],
    known: bool,  # noqa: FBT001
    killed_after: int,
    seed: int,
) -> None:
    vendor = Vendor(Habits(includes_start=bounds[0], includes_end=bounds[1]), seeded(seed))
    for number, time in enumerate(times):
        vendor.add(time, undated=known and number % 5 == 0)
    field = "submit_time" if known else None
    split = read(vendor, 10, 20, Drive(), size=7, time_field=field)
    span = OwnedSpan.adjacent(at(10_000), at(20_000), time_field=field)
    settings = {"seam": span.preceding_second, "time_field": field, "exact": span.bounds, "size": 7}
    with smaller_windows(20, 12):
        first = cover(span.window, journal=JournalQueue(), **settings)  # type: ignore[arg-type]
        before = drive(first, vendor, Drive(ends_after=killed_after))
        again = cover(span.window, journal=JournalQueue(), **settings)  # type: ignore[arg-type]
        again.resume(checkpoint(first.tiles, before))
        after = drive(again, vendor, Drive())
    assert after.certified
    assert before.records + after.records == split.records
    assert again.report.unique == again.report.total == split.reader.report.unique


def checkpoint(tiles: list[TimeWindow], run: Run) -> Checkpoint:
    """What a journal would hold of `run`: its entries, and the rows of the latest windows."""
    delivered = [entry for entry in run.entries if isinstance(entry, Delivered)]
    last = max((entry.reported.window.end for entry in delivered[-1:]), default=None)
    latest = []
    for window in run.windows:
        if last is not None and window.window.end >= last - SECOND:
            records = window.records + window.repeated
            ids = {record.voice_id for record in records} | set(window.unread_ids)
            latest.append(ReadWindow(window=window.window, ids=ids, records=records))
    return Checkpoint(tiles=tiles, entries=list(run.entries), latest=latest)
