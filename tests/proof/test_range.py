"""Ranges: a certified window is complete for any vendor, whenever calls are added or deleted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiosipcdr.model.errors import (
    END_UNSEEN,
    IncompleteRangeError,
    InvalidQueryError,
    OutOfTimeRangeError,
    ProtocolError,
    ServerFaultError,
    SipCdrError,
)
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import CallDetailRecord, ExtraFields, Page
from aiosipcdr.model.windows import TimeWindow, split_window
from aiosipcdr.policy.clock import AgePolicy, VendorTime
from aiosipcdr.proof.page import PageRequest, count_pages
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept, refuse
from tests.proof.simulated_vendor import (
    START,
    Drive,
    Flight,
    Habits,
    Run,
    Vendor,
    at,
    check_limits,
    check_order,
    check_report,
    check_windows,
    cover,
    drive,
    scaled_windows,
    seconds,
    seeded,
    since_start,
    smaller_windows,
)
from tests.selection import ALL as PLAYS_ALL
from tests.selection import pairs

SCALE = 1 if PLAYS_ALL else 10
"""How many times smaller than real ones the windows and pages of large ranges are; their number is the same."""

# The hypothesis profile sets the effort: the two models that the proof is for get thousands of examples.
SOME = settings.default.max_examples if settings.default else 50
MORE = SOME * (4 if SOME > 50 else 2)
# Fewer in the gate: these two take longer than the rest of this file together.
MOST = SOME * (20 if SOME > 50 else 5 if PLAYS_ALL else 3)

habits = st.builds(
    Habits,
    order=st.sampled_from(["newest", "oldest", "random"]),
    includes_start=st.booleans(),
    includes_end=st.booleans(),
    ranged_by=st.sampled_from(["submit_time", "submit_time", "call_time", "hangup_time"]),
    past_the_end=st.sampled_from(["empty", "first"]),
    largest_page=st.sampled_from([1_000, 1_000, 1_000, 5, 3, 1]),
    clamps_from=st.sampled_from([0, 0, 3, 20]),
    garbles=st.sampled_from([0.0, 0.0, 0.0, 0.02, 0.3]),
)
drives = st.builds(
    Drive,
    concurrency=st.integers(1, 9),
    busy=st.sampled_from([0.02, 0.1, 0.4]),
    most_happenings=st.sampled_from([0, 1, 3, 10, 60]),
    lazy_reader=st.booleans(),
)
seeds = st.integers(0, 2**32)
scales = st.sampled_from([(20, 12), (8, 5), (50, 30)])


@st.composite
def populations(draw: st.DrawFn) -> list[tuple[int, bool, bool]]:
    """Draw calls as (milliseconds, undated, broken): evenly spread, in bursts, at the very bounds."""
    rng = seeded(draw(seeds))
    length = draw(st.sampled_from([2, 3, 10, 100, 10_000, 3_000_000]))
    calls = draw(st.integers(0, 120))
    times = [rng.randrange(length * 1_000 + 1) for _ in range(calls)]
    if draw(st.booleans()):  # whole seconds only
        times = [time // 1_000 * 1_000 for time in times]
    for _ in range(draw(st.integers(0, 2))):
        burst = rng.randrange(length) * 1_000
        times += [burst + rng.randrange(1_000) for _ in range(draw(st.sampled_from([1, 10, 60])))]
    times += draw(st.lists(st.sampled_from([0, length * 1_000]), max_size=3))
    odd = draw(st.sampled_from([0.0, 0.0, 0.1, 1.0]))
    broken = draw(st.sampled_from([0.0, 0.0, 0.05]))
    times.append(length * 1_000)  # the last one says how long the range is
    return [(time, rng.random() < odd, rng.random() < broken) for time in times]


def populate(vendor: Vendor, population: list[tuple[int, bool, bool]]) -> int:
    for time, undated, broken in population:
        vendor.add(time, undated=undated, broken=broken)
    vendor.tick()
    return population[-1][0] // 1_000


def arrive_at_the_end(vendor: Vendor) -> None:
    newest = vendor.rows[-1].time if vendor.rows else 0
    for _ in range(vendor.rng.choice([1, 1, 3, 40])):
        vendor.add(newest)


def arrive_late(vendor: Vendor) -> None:
    newest = vendor.rows[-1].time if vendor.rows else 0
    time = vendor.rng.randrange(newest + 1)
    for _ in range(vendor.rng.choice([1, 1, 3, 40])):
        vendor.add(time)


def arrive_anywhere(vendor: Vendor) -> None:
    vendor.rng.choice([arrive_at_the_end, arrive_late])(vendor)


def go_away(vendor: Vendor) -> None:
    for _ in range(min(len(vendor.rows), vendor.rng.choice([1, 1, 3, 20]))):
        vendor.remove(vendor.rng.choice(vendor.rows))


def come_and_go(vendor: Vendor) -> None:
    vendor.rng.choice([arrive_at_the_end, arrive_late, go_away])(vendor)


def run_model(
    habits: Habits,
    how: Drive,
    population: list[tuple[int, bool, bool]],
    seed: int,
    *,
    size: int = 7,
    scale: tuple[int, int] = (20, 12),
    allow_incomplete: bool = False,
) -> Run:
    vendor = Vendor(habits, seeded(seed))
    length = populate(vendor, population)
    most_windows = how.concurrency
    window = seconds(0, length)
    with smaller_windows(*scale):
        reader = cover(window, size=size, most_windows=most_windows, allow_incomplete=allow_incomplete)
        run = drive(reader, vendor, how)
    check_windows(run, window)
    check_order(run)
    check_report(run)
    check_limits(run, most_windows)
    return run


def check_nothing_is_missing(run: Run, length: int) -> None:
    # In both asserted models: what was there all the time is in the result.
    vendor = run.vendor
    there = {
        row.voice_id
        for row in vendor.those_in(seconds(0, length), vendor.every_row)
        if row.born == 0 and row.number not in vendor.died
    }
    assert there <= set(run.delivered)


@settings(max_examples=MOST)
@given(habits, drives, populations(), seeds, st.integers(1, 9), scales, st.booleans())
def test_calls_that_only_arrive_are_all_there_or_it_says_so(  # noqa: PLR0917 - drawn
    habits: Habits,
    how: Drive,
    population: list[tuple[int, bool, bool]],
    seed: int,
    size: int,
    scale: tuple[int, int],
    counts_first: bool,  # noqa: FBT001
) -> None:
    habits = replace(habits, counts_first=counts_first)
    how = replace(how, happen=arrive_anywhere)
    run = run_model(habits, how, population, seed, size=size, scale=scale)
    if run.certified:
        check_nothing_is_missing(run, population[-1][0] // 1_000)


@settings(max_examples=MOST)
@given(habits, drives, populations(), seeds, st.integers(1, 9), scales)
def test_calls_that_only_go_away_are_all_there_or_it_says_so(  # noqa: PLR0917 - drawn
    habits: Habits,
    how: Drive,
    population: list[tuple[int, bool, bool]],
    seed: int,
    size: int,
    scale: tuple[int, int],
) -> None:
    run = run_model(habits, replace(how, happen=go_away), population, seed, size=size, scale=scale)
    if run.certified:
        check_nothing_is_missing(run, population[-1][0] // 1_000)


@settings(max_examples=MORE)
@given(habits, drives, populations(), seeds, st.sampled_from([arrive_anywhere, go_away]), st.booleans())
def test_answers_to_other_questions_never_make_a_certificate(  # noqa: PLR0917 - drawn
    habits: Habits,
    how: Drive,
    population: list[tuple[int, bool, bool]],
    seed: int,
    happen: Callable[[Vendor], None],
    allow_incomplete: bool,  # noqa: FBT001
) -> None:
    vendor = Vendor(replace(habits, wrong_echo=0.1), seeded(seed))
    length = populate(vendor, population)
    with smaller_windows(20, 12):
        reader = cover(seconds(0, length), size=7, allow_incomplete=allow_incomplete)
        run = drive(reader, vendor, replace(how, happen=happen))
    check_windows(run, seconds(0, length))
    if run.certified:
        check_nothing_is_missing(run, length)
    assert run.error is None or isinstance(run.error, (IncompleteRangeError, ProtocolError))


@settings(max_examples=SOME)
@given(habits, drives, populations(), seeds)
def test_a_calm_vendor_is_always_certified(
    habits: Habits, how: Drive, population: list[tuple[int, bool, bool]], seed: int
) -> None:
    # Without drift even an order that changes at every request is certified, except for bursts of one second.
    run = run_model(habits, replace(how, most_happenings=0), population, seed)
    length = population[-1][0] // 1_000
    if run.error is not None and END_UNSEEN in str(run.error):
        # Every size up to that of the vendor's pages divides the total: nothing shows that the count is not cut off.
        window, sizes = run.error.window, range(1, habits.largest_page + 1)
        assert window is not None
        total = len(run.vendor.those_in(window, run.vendor.rows))
        assert not any(total % size for size in sizes)
    elif habits.largest_page > 1 and habits.order != "random" and not habits.garbles:
        assert run.error is None
        assert run.certified
    if run.certified:
        check_nothing_is_missing(run, length)
        expected = {row.voice_id for row in run.vendor.those_in(seconds(0, length), run.vendor.rows)}
        assert set(run.delivered) == expected


@pytest.mark.parametrize("calls", [1, 2, 40])
def test_pages_of_one_record_prove_no_window(calls: int) -> None:
    vendor = Vendor(Habits(largest_page=1), seeded(1))
    for number in range(calls):
        vendor.add(number * 3_000)
    with smaller_windows(20, 12):
        run = drive(cover(seconds(0, 200), size=7), vendor, Drive())
    assert not run.certified
    assert isinstance(run.error, IncompleteRangeError)


@settings(max_examples=SOME)
@given(habits, drives, populations(), seeds, st.sampled_from([-3, -1, 1, 2, 9, 60, 300]))
def test_a_total_that_is_wrong_for_good_is_never_certified(
    habits: Habits, how: Drive, population: list[tuple[int, bool, bool]], seed: int, wrong_by: int
) -> None:
    def tell(total: int) -> int:
        return max(0, total + wrong_by)

    vendor = Vendor(replace(habits, tell=tell, past_the_end="empty"), seeded(seed))
    length = populate(vendor, population)
    window = seconds(0, length)
    with smaller_windows(20, 12):
        run = drive(cover(window, size=7), vendor, replace(how, most_requests=2_500))
    if not vendor.those_in(window, vendor.rows) and wrong_by < 0:
        return
    assert isinstance(run.error, (IncompleteRangeError, ProtocolError))
    planned = sum(count_pages(total, min(7, habits.largest_page)) for _, total in run.reader.planned)
    assert run.requests <= 3 * planned + 200 + 50


@pytest.mark.parametrize(("wrong_by", "calls"), pairs([-3, 1, 60, 3_000], [40, 500, 0]))
def test_a_total_that_is_wrong_for_good_ends_within_the_budget_even_if_incomplete_is_allowed(
    wrong_by: int, calls: int
) -> None:
    rng = seeded(wrong_by)
    vendor = Vendor(Habits(tell=lambda total: max(0, total + wrong_by)), rng)
    for _ in range(calls):
        vendor.add(rng.randrange(86_400_000))
    vendor.add(43_200_000)
    reader = cover(seconds(0, 86_400), size=10, allow_incomplete=True)
    planned = count_pages(len(vendor.rows) + wrong_by, 10)
    run = drive(reader, vendor, Drive(most_requests=3 * planned + 200 + 160))
    assert run.error is None
    assert not reader.report.certified
    assert len(run.delivered) == len(set(run.delivered))


@pytest.mark.parametrize(("calls", "wrong_by"), pairs([100, 2_000, 6_000], [-1, 1]))
def test_trouble_never_costs_records_that_plain_paging_would_have_read(calls: int, wrong_by: int) -> None:
    vendor = Vendor(Habits(order="newest", tell=lambda total: max(0, total + wrong_by)), seeded(1))
    crowd(vendor, calls, 30)
    there = {row.voice_id for row in vendor.rows}
    reader = cover(seconds(0, 30 * 86_400), allow_incomplete=True)
    run = drive(reader, vendor, Drive())
    assert set(run.delivered) == there
    assert not reader.report.certified
    assert reader.report.unique == calls
    assert abs(reader.report.total - calls) <= 1

    reader = cover(seconds(0, 30 * 86_400))
    run = drive(reader, vendor, Drive())
    assert isinstance(run.error, IncompleteRangeError)
    left = run.delivered + [record.voice_id for record in reader.abandon()]
    assert len(left) == len(set(left)) == reader.report.unique
    assert set(left) <= there
    assert len(left) >= min(calls, 1_000)
    reported = [one.window for one in reader.report.window_reports]
    assert reported == sorted(reported)
    assert run.error.window in reported


@pytest.mark.parametrize("sparse", [0, 7, 12])
def test_waiting_windows_reserve_their_rows(sparse: int) -> None:
    # All calls lie in the first tile: the empty ones behind it are soon read, and must not keep its parts from being
    # read at the same time.
    vendor = Vendor(Habits(), seeded(1))
    crowd(vendor, 6_000, 30)
    reader = cover(seconds(0, (31 + 30 * sparse) * 86_400), most_windows=8)
    flying: list[Flight] = []
    most = most_parts = 0
    while vendor.requests < 60:
        while len(flying) < 8 and (request := reader.next_request()) is not None:
            flying.append(Flight(vendor, request))
        parts = {flight.request.window for flight in flying if flight.request.window.end <= seconds(0, 32 * 86_400).end}
        most = max(most, len(flying)) if parts and sparse < vendor.requests else most
        most_parts = max(most_parts, len(parts))
        for flight in flying:
            while (reported := flight.advance()) is None:
                pass
            assert accept(reader, flight.request, reported) is None
        flying = []
        while reader.take_complete() is not None:
            pass
    assert most == 8
    assert most_parts >= 4  # of five with 1,200 calls each: the first one is started before the others


def test_a_window_is_split_into_at_most_five_thousand_parts_for_any_total() -> None:
    reader = cover(seconds(0, 30 * 86_400))
    for _ in range(2):  # the range, and the first of its parts
        request = reader.next_request()
        assert request is not None
        page = Page(total=10**9, size=request.size, current=1, pages=10**9 // request.size, records=[])
        assert accept(reader, request, PageAnswer(page=page)) is None
    assert len(reader._pending) == 5_000 - 1 + -(-30 * 86_400 // 5_000) - 1


@pytest.mark.parametrize("largest_total", [5, 10, 40, 100])
def test_a_total_that_never_exceeds_a_round_number_is_not_believed(largest_total: int) -> None:
    # Reported: as many as fill the pages that were read. The page behind them shows that there are more.
    vendor = Vendor(Habits(tell=lambda total: min(total, largest_total)), seeded(1))
    for number in range(300):
        vendor.add(43_200_000 + number)
    run = drive(cover(seconds(0, 86_400), size=5), vendor, Drive(concurrency=1, most_requests=1_000))
    assert isinstance(run.error, IncompleteRangeError)


@pytest.mark.parametrize(("concurrency", "reported"), pairs([1, 4, 8], [40, 2_500, 50_000]))
def test_a_total_that_knows_no_time_ends_within_the_budget(reported: int, concurrency: int) -> None:
    vendor = Vendor(Habits(tell=lambda _: reported), seeded(1))
    for number in range(40):
        vendor.add(number * 1_000_000)
    for allow_incomplete in (False, True):
        reader = cover(seconds(0, 86_400), most_windows=concurrency, allow_incomplete=allow_incomplete)
        most = 3 * count_pages(reported, 100) + 200 + 260
        run = drive(reader, vendor, Drive(concurrency=concurrency, most_requests=most))
        if reported == 40:
            assert run.certified
        else:
            assert not run.certified
            assert allow_incomplete or isinstance(run.error, IncompleteRangeError)


def crowd(vendor: Vendor, calls: int, days: int) -> None:
    """Add calls with a daily rhythm: few at night, many at noon."""
    rng = vendor.rng
    hours = [1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 20, 18, 19, 20, 20, 18, 14, 10, 8, 6, 4, 2, 1]
    for hour in rng.choices(range(24), weights=hours, k=calls):
        vendor.add(rng.randrange(days) * 86_400_000 + hour * 3_600_000 + rng.randrange(3_600_000))


def one_arrives(vendor: Vendor) -> None:
    vendor.add(vendor.rng.randrange(3 * 86_400_000))


def one_goes_away(vendor: Vendor) -> None:
    vendor.remove(vendor.rng.choice(vendor.rows))


@pytest.mark.parametrize(("happen", "order"), pairs([None, one_arrives, one_goes_away], ["newest", "random"]))
def test_trouble_costs_no_more_than_twice_the_planned_pages_and_200_requests(
    order: str, happen: Callable[[Vendor], None] | None
) -> None:
    # Twenty pages a window, as with the real numbers.
    size, calls = 4, 900 if PLAYS_ALL else 400

    def run_once(order: str, happen: Callable[[Vendor], None] | None) -> Run:
        vendor = Vendor(Habits(order=order, counts_first=True), seeded(7))  # type: ignore[arg-type]
        crowd(vendor, calls, 3)
        vendor.tick()
        how = Drive(concurrency=8, happen=happen, busy=0.2, most_happenings=300)
        with smaller_windows(80, 48):
            return drive(cover(seconds(0, 3 * 86_400), size=size, most_windows=8), vendor, how)

    calm = run_once("oldest", None)
    assert calm.certified
    run = run_once(order, happen)
    planned = count_pages(max(len(run.vendor.every_row), calls), size)
    assert run.requests <= calm.requests + 2 * planned + 200
    check_windows(run, seconds(0, 3 * 86_400))


def measure_false_certificates(
    runs: int, happen: Callable[[Vendor], None] | None, **changes: object
) -> tuple[int, int, int]:
    """Return windows certified, certified though incomplete, and runs that ended in the error."""
    certified = false = failed = 0
    for seed in range(runs):
        rng = seeded(seed)
        habits = Habits(
            order=rng.choice(["newest", "oldest", "random"]),
            past_the_end=rng.choice(["empty", "first"]),
            includes_end=rng.random() < 0.5,
        )
        vendor = Vendor(replace(habits, **changes), rng)  # type: ignore[arg-type]
        for _ in range(rng.choice([10, 60, 120])):
            vendor.add(rng.randrange(10_000_000))
        vendor.tick()
        how = Drive(concurrency=4, happen=happen, busy=0.1, most_happenings=rng.choice([3, 20]))
        with smaller_windows(20, 12):
            run = drive(cover(seconds(0, 10_000), size=7), vendor, how)
        failed += run.error is not None
        seen: set[str] = set()
        for complete in run.windows:
            seen.update(record.voice_id for record in complete.records)
            if not complete.report.certified:
                continue
            there = vendor.there_at(run.counted_at[complete.window], complete.window)
            certified += 1
            false += not there <= seen
    return certified, false, failed


@pytest.mark.parametrize(
    ("model", "happen", "changes"),
    [
        ("calls come and go within one scan", come_and_go, {}),
        ("calls go away, SELECT before COUNT", go_away, {"counts_first": False}),
    ],
)
def test_models_outside_the_proof_are_measured(
    model: str, happen: Callable[[Vendor], None] | None, changes: dict[str, object], record_property: pytest.Session
) -> None:
    certified, false, failed = measure_false_certificates(2 * SOME, happen, **changes)
    record_property(  # type: ignore[operator]
        model, f"{2 * SOME} runs: {certified} windows certified, {false} of them short, {failed} runs refused"
    )
    assert certified


def plain_fan_out(vendor: Vendor, size: int, days: int) -> tuple[int, int]:
    """Return the requests and the rows read of paging each 31 days from the first page to the last."""
    total = len(vendor.rows)
    pages = count_pages(total, size)
    assert days <= 31
    return pages, sum(min(total, page * size) for page in range(1, pages + 1))


def test_the_cost_of_many_calls(record_property: pytest.Session) -> None:
    calls = 60_000 if PLAYS_ALL else 30_000
    vendor = Vendor(Habits(order="newest", includes_end=True), seeded(3))
    crowd(vendor, calls, 30)
    vendor.tick()
    pages, rows_read = plain_fan_out(vendor, 100, 30)
    run = drive(cover(seconds(0, 30 * 86_400), most_windows=8), vendor, Drive(concurrency=8))
    assert run.certified
    assert len(run.delivered) == calls
    record_property(  # type: ignore[operator]
        f"{calls:,} calls", f"{run.requests} requests for {pages} pages, {vendor.rows_read} of {rows_read} rows read"
    )
    assert run.requests <= 1.25 * pages
    assert vendor.deepest <= 25
    assert vendor.rows_read < rows_read / 8
    report = run.reader.report
    assert report.scans == report.windows
    assert (report.duplicates, report.conflicts, report.anomalies, report.provisional) == (0, 0, 0, 0)
    check_order(run)
    check_report(run)
    check_limits(run, 8)


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_a_calm_range_is_read_once_whatever_the_size_of_a_page(size: int) -> None:
    vendor = Vendor(Habits(order="newest"), seeded(3))
    calls = 5_000 if PLAYS_ALL else 2_500
    crowd(vendor, calls, 30)
    run = drive(cover(seconds(0, 30 * 86_400), size=size), vendor, Drive())
    assert run.certified
    report = run.reader.report
    assert report.scans == report.windows <= 8
    assert run.requests <= 1.25 * count_pages(calls, size)


@pytest.mark.parametrize(
    ("calls", "narrowest", "order"), [(3_000, 4, "newest"), (3_000, 4, "oldest"), (11_050, 2, "newest")]
)
def test_a_burst_within_one_second_is_paged_to_any_depth(calls: int, narrowest: int, order: str) -> None:
    vendor = Vendor(Habits(order=order), seeded(5))  # type: ignore[arg-type]
    for _ in range(calls):
        vendor.add(86_400_500)
    crowd(vendor, 300, 2)
    run = drive(cover(seconds(0, 2 * 86_400)), vendor, Drive())
    assert run.certified
    assert len(run.delivered) == calls + 300
    assert vendor.deepest in (calls // 100, calls // 100 + 1)  # the page behind a full last one is the control count
    assert min(complete.window.seconds for complete in run.windows) == narrowest


BURSTS = [
    (3_000, 3_455, 1),
    (3_000, 43_199, 2),  # where the range is cut in two
    (3_000, 0, 3),
    (10_000, 1, 1),
    (10_000, 86_397, 3),
    (20_000, 3_600, 2),
    (30_000, 3_600, 1),
    (30_000, 3_322, 2),  # where the first two of its 26 parts meet
]


@pytest.mark.parametrize(
    ("calls", "second", "lasting", "includes_end", "order"),
    [(*burst, *how) for burst, how in pairs(BURSTS, [*product([False, True], ["newest", "oldest"])])],
)
def test_a_burst_of_a_calm_vendor_is_certified_wherever_it_lies(
    calls: int,
    second: int,
    lasting: int,
    includes_end: bool,  # noqa: FBT001
    order: str,
) -> None:
    # Windows of two seconds repeat the calls of their neighbours: once, and twice where bounds are inclusive.
    calls, others, size = calls // SCALE, 1_000 // SCALE, 100 // SCALE
    vendor = Vendor(Habits(order=order, includes_end=includes_end), seeded(5))  # type: ignore[arg-type]
    for number in range(calls):
        vendor.add((second + number * lasting // calls) * 1_000)
    for number in range(others):
        vendor.add(number * 86_400 * SCALE)
    with scaled_windows(SCALE):
        run = drive(cover(seconds(0, 86_400), size=size), vendor, Drive(concurrency=8))
    assert run.error is None
    assert run.certified
    assert len(run.delivered) == calls + others
    assert set(run.delivered) == {row.voice_id for row in vendor.rows}
    assert run.reader.report.scans == run.reader.report.windows
    assert run.requests <= 3 * count_pages(calls + others, size) + 160


def test_many_bursts_where_windows_meet_are_certified() -> None:
    # Both windows that meet there report each of them, at any width.
    vendor = Vendor(Habits(includes_end=True), seeded(3))
    days = 24 if PLAYS_ALL else 8
    first = [window.start for window in split_window(seconds(0, days * 86_400), 2 * days)[1:]]
    for start in first[::2]:
        for _ in range(2_400 // SCALE):
            vendor.add(since_start(start))
    with scaled_windows(SCALE):
        reader = cover(seconds(0, days * 86_400), size=100 // SCALE, most_windows=8)
        run = drive(reader, vendor, Drive(concurrency=8))
    assert run.error is None
    assert run.certified
    assert len(run.delivered) == len(set(run.delivered)) == len(vendor.rows) == days * 2_400 // SCALE


def test_many_bursts_of_a_calm_vendor_are_certified() -> None:
    # A dialler that starts its campaigns at once: every burst is cut out of its empty surroundings, which costs
    # requests that have nothing to do with reading again.
    vendor = Vendor(Habits(order="newest"), seeded(3))
    for _ in range(30):
        second = vendor.rng.randrange(30 * 86_400)
        for _ in range(2_000 // SCALE + 1):
            vendor.add(second * 1_000 + 500)
    with scaled_windows(SCALE):
        reader = cover(seconds(0, 30 * 86_400), size=100 // SCALE, most_windows=8)
        run = drive(reader, vendor, Drive(concurrency=8))
    assert run.error is None
    assert run.certified
    assert len(run.delivered) == 30 * (2_000 // SCALE + 1)


def test_pages_that_shrink_midway_are_planned_and_paid_for_anew() -> None:
    vendor = Vendor(Habits(largest_page=5, clamps_from=3), seeded(1))
    for number in range(400):
        vendor.add(number * 200_000)
    with smaller_windows(20, 12):
        run = drive(cover(seconds(0, 86_400), size=7, most_windows=1), vendor, Drive(concurrency=1))
    assert run.error is None
    assert run.certified
    assert len(run.delivered) == 400


def test_no_request_is_wider_than_31_days_or_narrower_than_two_seconds() -> None:
    vendor = Vendor(Habits(order="random"), seeded(5))
    days = 100
    for _ in range(60):
        vendor.add(50 * 86_400_000)
    for _ in range(500):
        vendor.add(vendor.rng.randrange(days * 86_400_000))
    seen = []
    with smaller_windows(20, 12):
        reader = cover(seconds(0, days * 86_400), size=7, allow_incomplete=True)
        ask = reader.next_request

        def remember() -> object:
            if (request := ask()) is not None:
                seen.append(request.window)
            return request

        reader.next_request = remember  # type: ignore[method-assign, assignment]
        drive(reader, vendor, Drive())
    assert max(window.end - window.start for window in seen) == timedelta(days=31)
    assert min(window.seconds for window in seen) == 2


@pytest.mark.parametrize(("concurrency", "alone"), [(1, 0), (4, 2), (8, 2), (16, 2), (32, 1)])
def test_no_place_is_idle_while_windows_wait(concurrency: int, alone: int) -> None:
    # All answers of a round come at once, and then the next requests go out. The range's first page is alone and
    # perhaps the last control count; all other rounds are full.
    vendor = Vendor(Habits(order="newest"), seeded(3))
    crowd(vendor, 40_000 // SCALE, 30)
    requests = rounds = 0
    with scaled_windows(SCALE):
        reader = cover(seconds(0, 30 * 86_400), size=100 // SCALE, most_windows=concurrency)
        while not reader.is_finished:
            flights: list[Flight] = []
            while len(flights) < concurrency and (request := reader.next_request()) is not None:
                flights.append(Flight(vendor, request))
            requests, rounds = requests + len(flights), rounds + 1
            for flight in flights:
                while (reported := flight.advance()) is None:
                    pass
                assert accept(reader, flight.request, reported) is None
            while reader.take_complete() is not None:
                pass
    assert reader.report.certified
    assert rounds <= -(-requests // concurrency) + alone


def test_the_first_window_comes_before_the_rest_of_the_range_is_asked_for() -> None:
    for days in (30, 300, 3_000):
        vendor = Vendor(Habits(), seeded(1))
        for day in range(days):
            vendor.add(day * 86_400_000)
        reader = cover(seconds(0, days * 86_400), most_windows=4)
        while not reader.has_result:
            request = reader.next_request()
            assert request is not None
            vendor.requests += 1
            rows = vendor.select(request, request.current, request.size)
            page = Page(total=vendor.count(request), size=100, current=1, pages=1, records=[row.record for row in rows])
            assert accept(reader, request, PageAnswer(page=page)) is None
        assert vendor.requests <= 2 + 3, "two for the first window, and the first pages of three others"


def answer(request_size: int, records: list[CallDetailRecord], total: int, current: int = 1) -> PageAnswer:
    pages = -(-total // request_size)
    return PageAnswer(page=Page(total=total, size=request_size, current=current, pages=pages, records=records))


def answer_count(reader: RangeReader, total: int) -> None:
    request = reader.next_request()
    assert request is not None
    assert request.control
    assert accept(reader, request, answer(1, [], total)) is None


def call(number: int, **fields: object) -> CallDetailRecord:
    return CallDetailRecord(voice_id=f"{number:04}", submit_time=at(number * 1_000), **fields)  # type: ignore[arg-type]


def test_the_oldest_window_is_asked_for_first_whatever_came_back_first() -> None:
    reader = cover(seconds(0, 60 * 86_400), most_windows=8)
    first, second = reader.next_request(), reader.next_request()
    assert first is not None
    assert second is not None
    assert first.window < second.window
    for request in (second, first):
        start = since_start(request.window.start) // 1_000
        rows = [
            CallDetailRecord(voice_id=f"{start + one:09}", submit_time=at(start * 1_000 + one)) for one in range(100)
        ]
        assert accept(reader, request, answer(100, rows, 300)) is None
    asked = [reader.next_request() for _ in range(5)]
    assert [(request.window, request.current) for request in asked if request is not None] == [
        (window, current) for window in (first.window, second.window) for current in (2, 3)
    ]


def test_a_tile_reports_its_total_once_even_if_the_page_size_shrinks_midway() -> None:
    vendor = Vendor(Habits(largest_page=3, clamps_from=3), seeded(1))
    for number in range(19):
        vendor.add(number * 1_000)
    reader = cover(seconds(0, 60), size=5)
    run = drive(reader, vendor, Drive(concurrency=1))
    assert run.certified
    assert list(reader.planned) == [(seconds(0, 60), 19)]


def test_the_partial_result_of_a_failed_run_repeats_nothing() -> None:
    # The total is one too many in the second half alone; calls lie in the second that both halves share.
    vendor = Vendor(Habits(), seeded(1))
    for number in range(30):
        vendor.add(number * 1_000)
    with smaller_windows(20, 15):
        reader = cover(seconds(0, 30), size=100, most_windows=4)
        first = reader.next_request()
        assert first is not None
        rows = [row.record for row in vendor.rows]
        assert accept(reader, first, answer(100, rows, 30)) is None
        while (request := reader.next_request()) is not None:
            low, high = vendor.bounds(request.window)
            assert accept(reader, request, answer(100, rows[low:high], high - low)) is None
        handed_over = reader.take_complete()
        assert handed_over is not None
        left = reader.abandon()
    ids = [record.voice_id for record in handed_over.records + left]
    assert len(ids) == 30
    assert len(set(ids)) == 30


def test_exact_trimming_applies_to_the_partial_result_too() -> None:
    reader = cover(seconds(-1, 11), time_field="submit_time", exact=(START, START + timedelta(seconds=10)))
    request = reader.next_request()
    assert request is not None
    records = [call(number) for number in range(11)]
    assert accept(reader, request, answer(100, records, 11)) is None
    assert [record.voice_id for record in reader.abandon()] == [f"{number:04}" for number in range(10)]


def test_exact_trimming_is_half_open_and_keeps_records_without_a_time() -> None:
    reader = cover(seconds(-1, 11), time_field="submit_time", exact=(START, START + timedelta(seconds=10)))
    request = reader.next_request()
    assert request is not None
    undated = CallDetailRecord(voice_id="undated")
    before = CallDetailRecord(voice_id="before", submit_time=at(-1))
    records = [undated, before, *(call(number) for number in range(11))]
    assert accept(reader, request, answer(100, records, 13)) is None
    answer_count(reader, 13)
    complete = reader.take_complete()
    assert complete is not None
    assert [record.voice_id for record in complete.records] == [f"{number:04}" for number in range(10)] + ["undated"]
    assert reader.report.certified
    assert reader.report.total == reader.report.unique == 11


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_parts_short_of_their_split_window_are_compared_with_a_new_count(allow_incomplete: bool) -> None:  # noqa: FBT001
    for recounted, proven in ((30, True), (31, False)):
        vendor = Vendor(Habits(), seeded(1))
        for number in range(30):
            vendor.add(number * 1_000)
        rows = [row.record for row in vendor.rows]
        with smaller_windows(20, 15):
            reader = cover(seconds(0, 30), allow_incomplete=allow_incomplete)
            request = reader.next_request()
            assert request is not None
            assert accept(reader, request, answer(100, rows, 31)) is None
            while (request := reader.next_request()) is not None:
                if request.window == seconds(0, 30):
                    break
                low, high = vendor.bounds(request.window)
                assert accept(reader, request, answer(100, rows[low:high], high - low)) is None
                while reader.take_complete() is not None:
                    pass
            assert not reader.is_finished
            assert not reader.report.certified
            assert request is not None
            assert request.size == 1
            # An answer to another question is not used, but asked for again.
            assert accept(reader, request, answer(1, [rows[0]], 0, current=2)) is None
            assert not reader.is_finished
            again = reader.next_request()
            assert again is not None
            error = accept(reader, again, answer(1, [rows[0]], recounted))
            if proven:  # fewer than before are counted twice
                answer_count(reader, recounted)
            assert isinstance(error, IncompleteRangeError) == (not proven and not allow_incomplete)
            assert reader.is_finished
            assert reader.report.certified is proven


def test_a_run_that_is_unproven_already_asks_for_no_new_count() -> None:
    vendor = Vendor(Habits(), seeded(1))
    for number in range(60):
        vendor.add((number * 86_400 + 43_200) * 1_000)
    recounts = 0
    with smaller_windows(20, 15):
        reader = cover(seconds(0, 60 * 86_400), allow_incomplete=True)
        assert len(reader.tiles) == 2
        while (request := reader.next_request()) is not None:
            low, high = vendor.bounds(request.window)
            missing = request.window in reader.tiles  # both report one call more than their parts hold
            recounts += request.control
            rows = [row.record for row in vendor.rows[low:high]]
            assert accept(reader, request, answer(request.size, rows[: request.size], high - low + missing)) is None
            while reader.take_complete() is not None:
                pass
    assert reader.is_finished
    assert not reader.report.certified
    assert recounts == 1


def test_a_count_that_is_out_of_range_by_then_ends_the_run() -> None:
    # The parts were read and fall short: no boundary found now can show whether they are all.
    rows = [call(number) for number in range(30)]
    with smaller_windows(20, 15):
        reader = cover(seconds(0, 30), skip_out_of_range=True)
        first = reader.next_request()
        assert first is not None
        assert accept(reader, first, answer(100, rows, 31)) is None
        while (request := reader.next_request()) is not None and request.window != first.window:
            low, high = since_start(request.window.start) // 1_000, since_start(request.window.end) // 1_000
            assert accept(reader, request, answer(100, rows[low:high], len(rows[low:high]))) is None
            while reader.take_complete() is not None:
                pass
        assert request is not None
        error = OutOfTimeRangeError("too old", status=-25)
        assert refuse(reader, request, error) is error
        assert not reader.report.certified


def test_several_pages_of_one_window_that_are_refused_at_once_begin_one_search() -> None:
    reader = cover(seconds(0, 1_000), size=10, skip_out_of_range=True)
    first = reader.next_request()
    assert first is not None
    assert accept(reader, first, answer(10, [call(number) for number in range(10)], 30)) is None
    pages = [reader.next_request() for _ in range(2)]
    for page in pages:
        assert page is not None
        assert refuse(reader, page, OutOfTimeRangeError("too old", status=-25)) is None
    probe = reader.next_request()
    assert probe is not None
    assert probe.size == 1
    assert reader.next_request() is None
    assert reader._boundary.searches == 1
    # A response that was in flight meanwhile has no owner any more.
    assert accept(reader, first, answer(10, [], 0)) is None
    assert not reader.is_finished


def test_a_run_takes_its_share_of_the_places_and_gives_all_of_it_back() -> None:
    reader = cover(seconds(0, 60 * 86_400))
    reader.join()
    quota = reader._quota
    for _ in range(2):
        assert reader.next_request() is not None
    assert (quota.runs, quota._held) == (1, 4_000)
    reader.leave()
    assert (quota.runs, quota._held) == (0, 0)
    assert reader.next_request() is None


def test_rows_of_an_unfinished_window_are_in_the_error_and_counted() -> None:
    reader = cover(seconds(0, 60), size=10)
    request = reader.next_request()
    assert request is not None
    rows = [call(number) for number in range(10)]
    assert accept(reader, request, answer(10, rows, 25)) is None
    assert reader.abandon() == rows
    report = reader.report
    assert (report.unique, report.total, report.windows, report.certified) == (10, 25, 1, False)
    (reported,) = report.window_reports
    assert (reported.unique, reported.total, reported.certified) == (10, 25, False)


def test_rows_of_a_split_window_are_in_the_error_if_its_parts_are_not_read() -> None:
    rows = [call(number) for number in range(30)]
    with smaller_windows(20, 15):
        reader = cover(seconds(0, 30))
        request = reader.next_request()
        assert request is not None
        assert accept(reader, request, answer(100, rows, 30)) is None
        assert reader.abandon() == rows
    assert (reader.report.unique, reader.report.total, reader.report.certified) == (30, 30, False)


def test_the_size_of_a_page_that_one_window_met_holds_for_the_next() -> None:
    reader = cover(seconds(0, 60 * 86_400), size=10)
    first = reader.next_request()
    assert first is not None
    assert accept(reader, first, answer(4, [call(1)], 1)) is None
    second = reader.next_request()
    assert second is not None
    assert second.window != first.window
    assert (first.size, second.size) == (10, 4)


def read_until_it_is_cut(broken: int) -> list[TimeWindow]:
    """Read an hour of 15 calls whose count is one more, or with one that has no id; return the windows asked next."""
    reader = cover(seconds(0, 3_600), size=10, most_windows=8)
    rows = [call(number) for number in range(15 - broken)]
    asked = []
    while (request := reader.next_request()) is not None:
        if request.window != seconds(0, 3_600):
            asked.append(request.window)
            continue
        at_row = (request.current - 1) * 10
        reported = answer(request.size, rows[at_row : at_row + request.size], 16 - broken, request.current)
        if broken and request.current == 2:
            reported.quarantined.append(QuarantinedRecord(raw=b"{}", window=None, page=2, reason="broken"))
        assert accept(reader, request, reported) is None
    assert reader.report.pages >= 2, "what a window took that was cut counts"
    return asked


@pytest.mark.parametrize(("broken", "parts"), [(0, 4), (1, 3)])
def test_unproven_windows_are_split_into_parts_of_one_page(broken: int, parts: int) -> None:
    # Sixteen calls in parts of five; fifteen in parts of six, where only a single page can count them.
    asked = read_until_it_is_cut(broken)
    assert len(asked) == parts
    assert (min(asked).start, max(asked).end) == (seconds(0, 3_600).start, seconds(0, 3_600).end)


def test_windows_younger_than_lateness_are_certified_and_provisional() -> None:
    for settled_before, provisional in ((seconds(0, 9).end, 1), (seconds(0, 10).end, 0)):
        reader = cover(seconds(0, 10), settled_before=settled_before)
        request = reader.next_request()
        assert request is not None
        accept(reader, request, answer(100, [], 0))
        answer_count(reader, 0)
        complete = reader.take_complete()
        assert complete is not None
        assert complete.report.provisional == bool(provisional)
        assert reader.report.provisional == provisional
        assert reader.report.certified


@pytest.mark.parametrize("calls", [0, 250])
def test_the_age_of_a_window_is_that_at_its_control_count(calls: int) -> None:
    """The clock goes on while the window is read: single pages are judged at their answer."""
    now, vendor = seconds(0, 10).end, Vendor(Habits(), seeded(1))
    for number in range(calls):
        vendor.add(number)
    reader = cover(seconds(0, 10))
    reader._ages = AgePolicy(lambda: VendorTime(now, is_local=now > START), timedelta(seconds=5), timedelta(0))
    while (request := reader.next_request()) is not None:
        flight = Flight(vendor, request)
        while (answer := flight.advance()) is None:
            pass
        if request.control or not calls:
            now += timedelta(seconds=5)
        accept(reader, request, answer)
    (reported,) = reader.report.window_reports if reader.take_complete() else []
    assert (reported.certified, reported.provisional, reported.local_clock) == (True, False, True)


def test_a_conflict_between_neighbours_is_counted() -> None:
    # The same id on both sides of a seam, with different contents: the second that both share is read once more, and
    # shows one row that has changed.
    early, late = call(15, cost=None), call(15, call_duration=5)
    with smaller_windows(1, 1):
        reader = cover(seconds(0, 30))
        request = reader.next_request()
        assert request is not None
        assert accept(reader, request, answer(100, [early, call(2)], 2)) is None
        for window, row in ((seconds(0, 15), early), (seconds(14, 30), late), (seconds(13, 15), late)):
            request = reader.next_request()
            assert request is not None
            assert request.window == window
            assert accept(reader, request, answer(100, [row], 1)) is None
            while reader.take_complete() is not None:
                pass
    for _ in range(2):
        answer_count(reader, 1)
    assert reader.report.certified
    assert reader.report.unique == reader.report.total == 1
    assert reader.report.conflicts == 1


def drive_with_edge(edge: int, *, skip: bool, calls: int = 200, length: int = 1_000) -> Run:
    vendor = Vendor(Habits(), seeded(3))
    for _ in range(calls):
        vendor.add(vendor.rng.randrange(length * 1_000))
    with smaller_windows(20, 12):
        reader = cover(seconds(0, length), size=7, skip_out_of_range=skip)
        run = Run(reader=reader, vendor=vendor)
        while not reader.is_finished:
            while (window := reader.take_complete()) is not None:
                run.windows.append(window)
            request = reader.next_request()
            if request is None:
                assert reader.is_finished
                break
            run.requests += 1
            if since_start(request.window.start) < edge * 1_000:
                error = OutOfTimeRangeError("too old", status=-25)
                run.error = refuse(reader, request, error)
            else:
                rows = vendor.select(request, request.current, request.size)
                page = answer(request.size, [row.record for row in rows], vendor.count(request), request.current)
                run.error = accept(reader, request, page)
            if run.error is not None:
                break
    return run


@pytest.mark.parametrize("edge", [1, 2, 500, 501, 997, 998])
def test_the_retention_boundary_is_found_and_reported_at_once(edge: int) -> None:
    run = drive_with_edge(edge, skip=False)
    assert isinstance(run.error, OutOfTimeRangeError)
    assert run.error.available_from == START + timedelta(seconds=edge)
    assert run.error.window == seconds(0, 1_000)
    assert run.error.status == -25
    assert run.requests <= 20


def test_nothing_available_is_reported_as_such() -> None:
    run = drive_with_edge(5_000, skip=False)
    assert isinstance(run.error, OutOfTimeRangeError)
    assert run.error.available_from is None
    assert "nothing" in str(run.error)


@pytest.mark.parametrize("edge", [1, 2, 500, 501, 997, 998])
def test_windows_before_the_boundary_can_be_skipped_and_are_reported_as_a_gap(edge: int) -> None:
    run = drive_with_edge(edge, skip=True)
    assert run.error is None
    report = run.reader.report
    assert not report.certified
    expected = {row.voice_id for row in run.vendor.rows if row.time >= edge * 1_000}
    assert set(run.delivered) == expected
    assert len(run.delivered) == len(expected)
    assert report.total == report.unique == len(expected)
    gap, *rest = report.window_reports
    assert gap.window == seconds(0, edge)
    assert not gap.certified
    assert all(reported.certified for reported in rest)


def test_nothing_at_all_available_is_one_gap() -> None:
    run = drive_with_edge(5_000, skip=True)
    assert run.error is None
    assert [reported.window for reported in run.reader.report.window_reports] == [seconds(0, 1_000)]
    assert not run.reader.report.certified


@settings(max_examples=SOME)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=6), seeds)
@example([(1, 9), (8, 12), (21, 12), (37, 3)], 0)
def test_a_boundary_that_moves_while_reading_is_followed_to_the_end(moves: list[tuple[int, int]], seed: int) -> None:
    vendor = Vendor(Habits(), seeded(seed))
    for _ in range(100):
        vendor.add(vendor.rng.randrange(600_000))
    edge = 0
    by_request = dict(moves)
    handed_over = []
    with smaller_windows(10, 6):
        reader = cover(seconds(0, 600), size=4, skip_out_of_range=True)
        for number in range(5_000):
            edge += by_request.get(number, 0)
            while (window := reader.take_complete()) is not None:
                handed_over.append(window)
            request = reader.next_request()
            if request is None:
                break
            if since_start(request.window.start) < edge * 1_000:
                error = refuse(reader, request, OutOfTimeRangeError("too old", status=-25))
            else:
                rows = vendor.select(request, request.current, request.size)
                page = answer(request.size, [row.record for row in rows], vendor.count(request), request.current)
                error = accept(reader, request, page)
            if error is not None:
                assert isinstance(error, OutOfTimeRangeError)
                return
    assert reader.is_finished
    assert reader.report.certified == (reader._boundary.searches == 0)
    ids = [record.voice_id for window in handed_over for record in window.records]
    assert len(set(ids)) == len(ids)
    # The more often the boundary has moved, the more is left out beside it.
    kept_from = since_start(reader._boundary._kept_from)
    assert kept_from <= max(edge * 1_000 + 10_000 * 2 ** max(0, reader._boundary.searches - 2), 1_000)
    assert {row.voice_id for row in vendor.rows if row.time >= kept_from} <= set(ids)
    reports = [reported.window for reported in reader.report.window_reports]
    assert reports == sorted(reports)
    # The gap is what was not read: it reaches into no window that was handed over.
    if reader._boundary.searches:
        gaps = [reported.window for reported in reader.report.window_reports if not reported.certified]
        for reported in reader.report.window_reports:
            if reported.certified:
                assert all(gap.end <= reported.window.start or gap.start >= reported.window.start for gap in gaps)


@pytest.mark.parametrize("speed", [0.01, 0.3, 3])
def test_a_boundary_that_moves_all_the_time_is_outrun(speed: float) -> None:
    vendor = Vendor(Habits(), seeded(1))
    for _ in range(2_000):
        vendor.add(vendor.rng.randrange(86_400_000))
    edge = 1_000.0
    windows = []
    with smaller_windows(100, 60):
        reader = cover(seconds(0, 86_400), size=10, skip_out_of_range=True)
        while not reader.is_finished:
            while (window := reader.take_complete()) is not None:
                windows.append(window)
            if (request := reader.next_request()) is None:
                continue
            edge += speed
            vendor.requests += 1
            if since_start(request.window.start) < edge * 1_000:
                assert refuse(reader, request, OutOfTimeRangeError("too old", status=-25)) is None
            else:
                rows = vendor.select(request, request.current, request.size)
                page = answer(request.size, [row.record for row in rows], vendor.count(request), request.current)
                assert accept(reader, request, page) is None
    assert vendor.requests < 1_000
    gap = reader.report.window_reports[0]
    assert gap.window.start == START
    lost = sum(1_000_000 <= row.time < since_start(gap.window.end) for row in vendor.rows)
    assert len({record.voice_id for window in windows for record in window.records}) >= 1_900 - lost
    assert lost < 200


def test_other_errors_end_the_run_as_they_are() -> None:
    reader = cover(seconds(0, 10))
    request = reader.next_request()
    assert request is not None
    error = ServerFaultError("down", status=-18)
    assert refuse(reader, request, error) is error


def test_unknown_fields_are_reported_by_name() -> None:
    reader = cover(seconds(0, 10))
    request = reader.next_request()
    assert request is not None
    records = [msgspec.structs.replace(call(n), extra=ExtraFields(carrier=raw)) for n, raw in ((1, '"x"'), (2, "1"))]
    odd = answer(100, records, 2)
    odd.unknown_fields.update({"carrier": 2})
    accept(reader, request, odd)
    answer_count(reader, 2)
    complete = reader.take_complete()
    assert complete is not None
    assert [record.extra for record in complete.records] == [{"carrier": '"x"'}, {"carrier": "1"}]
    assert reader.report.unknown_fields == {"carrier": 2}


@pytest.mark.parametrize("strict", [False, True])
def test_a_broken_record_is_asked_for_again_once_and_then_set_aside(strict: bool) -> None:  # noqa: FBT001
    vendor = Vendor(Habits(), seeded(1))
    for number in range(10):
        vendor.add(number * 1_000, broken=number == 3)
    reader = cover(seconds(0, 60), strict=strict)
    run = drive(reader, vendor, Drive())
    if strict:
        assert isinstance(run.error, ProtocolError)
        assert run.error.window == seconds(0, 60)
        assert run.error.page == 1
        return
    assert run.certified
    (complete,) = run.windows
    (quarantined,) = complete.quarantined
    assert quarantined.window == seconds(0, 60)
    assert quarantined.page == 1
    assert reader.report.quarantined == 1
    assert reader.report.unique == reader.report.total == 10


def test_records_broken_on_every_page_cost_themselves_alone() -> None:
    # However many there are, and although calls arrive: the budget for reading again is not for them.
    vendor = Vendor(Habits(order="newest"), seeded(1))
    for number in range(400):
        vendor.add(number * 1_000, broken=True)
    with smaller_windows(50, 30):
        run = drive(cover(seconds(0, 400), size=1, allow_incomplete=True), vendor, Drive(most_requests=10_000))
    assert run.error is None
    assert set(run.delivered) == {row.voice_id for row in vendor.rows}


# --- where windows meet

EARLY, LATE, LATER = call(14, code="early"), call(14, code="late"), call(14, code="later")
ALL, LEFT, RIGHT, SEAM = seconds(0, 30), seconds(0, 15), seconds(14, 30), seconds(13, 15)
COUNT = None
RangeSemantics = tuple[TimeWindow, list[CallDetailRecord] | None]


def read_in_turn(reader: RangeReader, *readings: RangeSemantics) -> list[CallDetailRecord]:
    """Answer the requests, which must be pages of these windows with these rows; return the rows delivered."""
    handed_over: list[CallDetailRecord] = []
    for window, rows in readings:
        request = reader.next_request()
        assert request is not None
        assert (request.window, request.control) == (window, rows is COUNT)
        total = 2 if window == ALL and rows is not COUNT else 1 if rows is COUNT else len(rows)
        assert accept(reader, request, answer(100, rows or [], total)) is None
        while (complete := reader.take_complete()) is not None:
            handed_over += complete.records
    return handed_over


def meet(reader: RangeReader) -> None:
    """Read two windows with different rows of one id in the second that they share."""
    assert read_in_turn(reader, (ALL, [EARLY, LATE]), (LEFT, [EARLY]), (RIGHT, [LATE])) == [EARLY]
    assert not reader.has_result


@pytest.mark.parametrize(
    ("readings", "left"),
    [
        # Two legs of a call: one here and one there.
        ([(SEAM, [EARLY, LATE])], [LATE]),
        # One row, which changed after the first window was read.
        ([(SEAM, [LATE])], []),
        # Perhaps the older version of a row, for the second window may have been read first: it is read once more.
        ([(SEAM, [EARLY]), (RIGHT, [LATE]), (RIGHT, COUNT), (SEAM, [EARLY])], [LATE]),
        ([(SEAM, [EARLY]), (RIGHT, [EARLY]), (RIGHT, COUNT)], []),
        # It has changed once more.
        ([(SEAM, [LATER]), (RIGHT, [LATER]), (RIGHT, COUNT), (SEAM, [LATER])], []),
    ],
    ids=["legs", "changed", "behind the shared second", "older", "changed twice"],
)
def test_rows_of_one_id_in_the_shared_second_are_compared_with_another_reading_of_it(
    readings: list[RangeSemantics], left: list[CallDetailRecord]
) -> None:
    with smaller_windows(1, 1):
        reader = cover(ALL)
        meet(reader)
        assert read_in_turn(reader, *readings) == left
        if not left:
            assert not reader.report.certified
            read_in_turn(reader, (ALL, COUNT), (ALL, COUNT))  # it reported two rows: it is counted again, and twice
    report = reader.report
    assert report.certified
    assert report.unique == report.total == 1 + len(left)
    assert bool(report.conflicts) is not bool(left)
    assert reader.next_request() is None


UNDECIDED: list[RangeSemantics] = [(SEAM, [LATER]), (RIGHT, [LATE]), (RIGHT, COUNT), (SEAM, [LATER])]


def test_a_window_whose_rows_keep_changing_where_it_meets_the_one_before_is_cut() -> None:
    with smaller_windows(1, 1):
        reader = cover(ALL)
        meet(reader)
        assert read_in_turn(reader, *UNDECIDED) == []
        asked = [request.window for request in iter(reader.next_request, None)]
    assert asked == split_window(RIGHT, 2)
    assert not reader.report.certified


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_a_window_that_cannot_be_cut_where_its_rows_keep_changing_is_not_certified(allow_incomplete: bool) -> None:  # noqa: FBT001
    with smaller_windows(1, 1):
        reader = cover(ALL, allow_incomplete=allow_incomplete)
        meet(reader)
        assert read_in_turn(reader, *UNDECIDED[:-1]) == []
        reader._budget.take(reader._budget.left)
        request = reader.next_request()
        assert request is not None
        error = accept(reader, request, answer(100, [LATER], 1))
        assert isinstance(error, IncompleteRangeError) is not allow_incomplete
        if allow_incomplete:
            complete = reader.take_complete()
            assert complete is not None
            assert (complete.records, complete.report.certified) == ([], False)
        else:
            assert reader.abandon() == []
    assert not reader.report.certified
    assert (reader.report.unique, reader.report.conflicts) == (1, 1)


def test_rows_in_doubt_when_a_run_ended_are_counted_once() -> None:
    with smaller_windows(1, 1):
        reader = cover(ALL)
        meet(reader)
        assert reader.abandon() == []
    assert (reader.report.unique, reader.report.conflicts) == (1, 1)


@pytest.mark.parametrize("skip", [False, True])
def test_a_shared_second_that_the_vendor_no_longer_keeps_is_the_boundary(skip: bool) -> None:  # noqa: FBT001
    with smaller_windows(1, 1):
        reader = cover(ALL, skip_out_of_range=skip)
        meet(reader)
        request = reader.next_request()
        assert request is not None
        assert refuse(reader, request, OutOfTimeRangeError("too old", status=-25)) is None
        probe = reader.next_request()
        assert probe is not None
        assert probe.window.end == ALL.end
        while probe is not None:
            error = refuse(reader, probe, OutOfTimeRangeError("too old", status=-25))
            probe = reader.next_request()
    assert isinstance(error, OutOfTimeRangeError) is not skip
    assert not reader.report.certified


# --- replicas that are behind


@pytest.mark.parametrize("catches_up", [True, False])
@pytest.mark.parametrize("quota", [1, 8])
def test_parts_that_lack_rows_of_their_split_window_are_read_again_when_replicas_have_caught_up(
    quota: int,
    catches_up: bool,  # noqa: FBT001
) -> None:
    now = at(60_000)
    ages = AgePolicy(lambda: VendorTime(now, is_local=False), timedelta(hours=4), timedelta(seconds=1))
    rows = [call(number * 2, hangup_time=at(50_000)) for number in range(12)]
    late, has_caught_up, requests = rows[-1], False, 0
    handed_over: list[CallDetailRecord] = []
    error = None
    with smaller_windows(20, 12):
        reader = cover(ALL, size=5, ages=ages, most_windows=quota)
        while error is None and not reader.is_finished:
            request = reader.next_request()
            assert request is not None
            requests += 1
            is_part = request.window != ALL
            if is_part and request.delay >= 12:
                has_caught_up = catches_up
                assert not handed_over, "all parts wait for it"
            now += timedelta(seconds=request.delay)
            # COUNT knows the last row from the beginning, the replica that SELECT asks does not.
            first, last = request.window.start, request.window.end
            there = [row for row in rows if row.submit_time and first <= row.submit_time < last]
            known = [row for row in there if row is not late or has_caught_up]
            skip = (request.current - 1) * request.size
            total = len(known) if is_part and not request.control else len(there)
            reported = answer(request.size, known[skip : skip + request.size], total, request.current)
            error = accept(reader, request, reported)
            while (complete := reader.take_complete()) is not None:
                handed_over += complete.records
    assert requests < 80
    assert reader.report.certified is catches_up
    if catches_up:
        assert handed_over == rows
        assert reader.report.unique == reader.report.total == 12
    else:
        assert isinstance(error, IncompleteRangeError)


# --- runs that are not certified


def is_wrong(total: int, wrong_by: int | None) -> int:
    return 0 if wrong_by is None else max(0, total + wrong_by)


@settings(max_examples=MORE)
@given(
    st.sampled_from(["newest", "oldest", "random", "ties"]),
    st.booleans(),
    st.sampled_from([None, -3, -1, 1, 2, 9, 60]),
    st.sampled_from([3, 100, 10_000]),
    st.sampled_from([7, 30, 90, 250]),
    st.sampled_from([4, 7, 100]),
    st.booleans(),
    seeds,
)
def test_uncertified_rows_are_delivered_without_repeats(  # noqa: PLR0917 - drawn
    order: str,
    includes_end: bool,  # noqa: FBT001
    wrong_by: int | None,
    length: int,
    calls: int,
    size: int,
    allow_incomplete: bool,  # noqa: FBT001
    seed: int,
) -> None:
    habits = Habits(order=order, includes_end=includes_end, tell=lambda total: is_wrong(total, wrong_by))  # type: ignore[arg-type]
    vendor = Vendor(habits, seeded(seed))
    for _ in range(calls):
        row = vendor.add(vendor.rng.randrange(2 * length) * 500, lasts=vendor.rng.randrange(5) * 1_000)
        if vendor.rng.random() < 0.1:
            vendor.add_leg(row, vendor.rng.randrange(3) * 1_000)
    vendor.tick()
    with smaller_windows(20, 12):
        reader = cover(seconds(0, length + 20), size=size, allow_incomplete=allow_incomplete)
        run = drive(reader, vendor, Drive())
        left = [] if run.error is None else reader.abandon()
    rows = [*run.records, *left]
    assert len(set(rows)) == len(rows) == reader.report.unique
    assert set(rows) <= {row.record for row in vendor.rows}
    assert not reader.report.certified or wrong_by is not None


# --- pages that lie too deep


class ShallowVendor(Vendor):
    """A vendor that reads no page behind the tenth."""

    def page_size(self, request: PageRequest) -> int:
        if request.current > 10:
            raise InvalidQueryError("parameter exception", status=-22, window=request.window)
        return super().page_size(request)


def test_a_vendor_that_reads_no_deep_page_is_read_in_smaller_windows() -> None:
    vendor = ShallowVendor(Habits(order="newest"), seeded(1))
    crowd(vendor, 5_000, 30)
    run = drive(cover(seconds(0, 30 * 86_400)), vendor, Drive())
    assert run.certified
    assert sorted(run.delivered) == sorted(row.voice_id for row in vendor.rows)
    assert run.requests <= 2 * count_pages(5_000, 100) + 200


@pytest.mark.parametrize("allow_incomplete", [False, True])
def test_a_burst_that_lies_too_deep_is_an_error_that_names_the_page(allow_incomplete: bool) -> None:  # noqa: FBT001
    vendor = ShallowVendor(Habits(), seeded(1))
    for _ in range(1_500):
        vendor.add(3_600_500)
    run = drive(cover(seconds(0, 86_400), allow_incomplete=allow_incomplete), vendor, Drive(concurrency=1))
    assert run.requests <= 3 * 15 + 200
    if allow_incomplete:
        assert run.error is None
        assert len(run.delivered) == 1_000
        assert not run.certified
        return
    assert isinstance(run.error, InvalidQueryError)
    assert "page 11 was refused" in str(run.error)
    assert "filter" not in str(run.error)
    assert (run.error.page, run.error.status) == (11, -22)


@pytest.mark.parametrize("error", [InvalidQueryError("parameter", status=-22), ProtocolError("HTTP 404")])
def test_a_count_that_is_refused_with_every_size_is_an_error(error: SipCdrError) -> None:
    reader = cover(seconds(0, 60), size=20)
    first = reader.next_request()
    assert first is not None
    assert accept(reader, first, answer(20, [call(1)], 1)) is None
    for size in (1, 20):
        request = reader.next_request()
        assert request is not None
        assert (request.size, request.control) == (size, True)
        refused = refuse(reader, request, error)
        assert refused is (None if size == 1 else error)


def test_rows_that_are_stored_twice_on_different_pages_are_named_as_such() -> None:
    vendor = Vendor(Habits(), seeded(1))
    for number in range(9):
        vendor.add(500 + number)
    vendor.add_copy(vendor.add(600))
    vendor.tick()
    # A page of ten holds nine others and one of the two, the next page the other one.
    run = drive(cover(seconds(0, 2), size=10), vendor, Drive())
    assert isinstance(run.error, IncompleteRangeError)
    assert "lists 1 identical rows" in str(run.error)
    assert "changing" not in str(run.error)
    assert drive(cover(seconds(0, 2), size=11), vendor, Drive()).certified


def test_one_row_that_fills_several_pages_is_named_as_such() -> None:
    vendor = Vendor(Habits(), seeded(1))
    row = vendor.add(500)
    for _ in range(24):
        vendor.add_copy(row)
    vendor.tick()
    run = drive(cover(seconds(0, 2), size=10), vendor, Drive())
    assert "1 distinct calls were read where the vendor counts 25; the vendor lists 24 identical rows" in str(run.error)
