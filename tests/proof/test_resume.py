"""A resumed run has the same result and the same proof as an uninterrupted one."""

from collections.abc import Collection
from datetime import timedelta
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiosipcdr.model.errors import OutOfTimeRangeError
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.report import CompleteWindow, WindowReport, WindowShare
from aiosipcdr.model.windows import OVERLAP, TimeWindow
from aiosipcdr.policy.clock import AgePolicy, VendorTime
from aiosipcdr.proof.checkpoint import (
    Checkpoint,
    Delivered,
    JournalEvent,
    JournalQueue,
    ReadWindow,
    Recounted,
    Trimmed,
    WindowSplit,
)
from aiosipcdr.proof.range import RangeReader
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept, refuse
from tests.proof.simulated_vendor import (
    Drive,
    Flight,
    Habits,
    Run,
    Vendor,
    at,
    check_order,
    check_report,
    check_windows,
    cover,
    drive,
    seconds,
    seeded,
    since_start,
    smaller_windows,
)

SOME = settings.default.max_examples if settings.default else 50
SPAN = 400
WINDOW = seconds(0, SPAN)

habits = st.builds(
    Habits,
    order=st.sampled_from(["newest", "oldest", "random"]),
    includes_start=st.booleans(),
    includes_end=st.booleans(),
    ranged_by=st.sampled_from(["submit_time", "call_time"]),
    largest_page=st.sampled_from([1_000, 1_000, 5]),
)


def resumable(**settings: object) -> RangeReader:
    return cover(WINDOW, size=8, journal=JournalQueue(), **settings)  # type: ignore[arg-type]


def remember(
    tiles: list[TimeWindow], entries: list[JournalEvent | Delivered], windows: list[CompleteWindow]
) -> Checkpoint:
    """Write a run down and read it again, as a journal does."""
    reported = msgspec.json.encode(entries)
    reach = windows[-1].window.end - OVERLAP if windows else None
    return Checkpoint(
        tiles=tiles,
        entries=msgspec.json.decode(reported, type=list[WindowSplit | Recounted | Trimmed | Delivered]),
        latest=[
            ReadWindow(
                window=complete.window,
                ids={record.voice_id for record in [*complete.records, *complete.repeated]} | set(complete.unread_ids),
                records=[*complete.records, *complete.repeated],
            )
            for complete in windows
            if reach is not None and complete.window.end >= reach
        ],
    )


def filled(habits: Habits, seed: int, calls: int) -> Vendor:
    rng = seeded(seed)
    vendor = Vendor(habits, rng)
    for _ in range(calls):
        whole_seconds = rng.random() < 0.4
        time = rng.randrange(SPAN) * 1000 if whole_seconds else rng.randrange(SPAN * 1000)
        vendor.add(time, broken=rng.random() < 0.03)
    return vendor


def interrupted(vendor: Vendor, rng: Random, how: Drive) -> tuple[Run, list[CompleteWindow], int]:
    """Drive a run that is killed again and again; return the last one, all windows, and the number of kills."""
    entries: list[JournalEvent | Delivered] = []
    windows: list[CompleteWindow] = []
    kills = 0
    while True:
        reader = resumable()
        reader.resume(remember(reader.tiles, entries, windows))
        how.ends_after = rng.randrange(1, 120) if kills < 12 else None
        run = drive(reader, vendor, how)
        entries += run.entries
        windows += run.windows
        if run.error is not None or reader.is_finished:
            return run, windows, kills
        kills += 1


@settings(max_examples=2 * SOME)
@given(habits, st.integers(0, 2**32), st.integers(0, 160), st.integers(1, 6))
def test_unchanging_calls_give_the_same_result_after_any_number_of_kills(
    habits: Habits, seed: int, calls: int, concurrency: int
) -> None:
    vendor = filled(habits, seed, calls)
    with smaller_windows(12, 8):
        undisturbed = drive(cover(WINDOW, size=8), vendor, Drive(concurrency=concurrency))
        run, windows, _ = interrupted(vendor, seeded(seed + 1), Drive(concurrency=concurrency))
    assert undisturbed.error is None
    assert run.error is None
    ids = {record.voice_id for one in windows for record in one.records}
    assert ids == {record.voice_id for record in undisturbed.records}
    if habits.order == "random":
        return  # pages that do not fit together are read again, and windows then cut, as chance has it
    assert [(one.window, one.records) for one in windows] == [(one.window, one.records) for one in undisturbed.windows]
    assert [one.quarantined for one in windows] == [one.quarantined for one in undisturbed.windows]
    reported, wanted = run.reader.report, undisturbed.reader.report
    assert reported.certified == (not reported.quarantined)
    assert all(one.certified for one in reported.window_reports)
    for name in ("total", "unique", "windows", "quarantined", "conflicts", "duplicates", "certified"):
        assert getattr(reported, name) == getattr(wanted, name), name
    assert [one.window for one in reported.window_reports] == [one.window for one in wanted.window_reports]


@settings(max_examples=SOME)
@given(habits, st.integers(0, 2**32), st.booleans())
def test_no_window_is_read_twice(habits: Habits, seed: int, lazy: bool) -> None:  # noqa: FBT001
    vendor = filled(habits, seed, 120)
    with smaller_windows(12, 8):
        run, windows, _ = interrupted(vendor, seeded(seed), Drive(concurrency=3, lazy_reader=lazy))
    assert run.error is None
    assert len({one.window for one in windows}) == len(windows)


@settings(max_examples=2 * SOME)
@given(habits, st.integers(0, 2**32), st.sampled_from(["come", "go"]))
def test_certified_windows_are_complete_after_kills_though_calls_come_or_go(
    habits: Habits, seed: int, change: str
) -> None:
    vendor = filled(habits, seed, 100)

    def happen(vendor: Vendor) -> None:
        if change == "come":
            vendor.add(vendor.rng.randrange(SPAN * 1000))
        elif vendor.rows:
            vendor.remove(vendor.rng.choice(vendor.rows))

    how = Drive(concurrency=4, happen=happen, busy=0.05, most_happenings=4)
    with smaller_windows(12, 8):
        entries: list[JournalEvent | Delivered] = []
        windows: list[CompleteWindow] = []
        counted_at: dict[TimeWindow, int] = {}
        for kills in range(9):
            reader = resumable()
            reader.resume(remember(reader.tiles, entries, windows))
            how.ends_after = vendor.rng.randrange(1, 150) if kills < 8 else None
            run = drive(reader, vendor, how)
            entries += run.entries
            windows += run.windows
            counted_at |= run.counted_at
            if run.error is not None:
                return
    split = Run(reader=run.reader, vendor=vendor, windows=windows, counted_at=counted_at)
    check_windows(split, WINDOW)
    check_order(split)
    check_report(split)


@pytest.mark.parametrize("moves_after", [1, 5, 9])
def test_windows_read_before_the_boundary_moved_are_resumed(moves_after: int) -> None:
    # Read, and not yet delivered: the boundary is written to the journal first.
    vendor = filled(Habits(), 1, 60)
    entries: list[JournalEvent | Delivered] = []
    windows: list[CompleteWindow] = []
    with smaller_windows(12, 8):
        reader = resumable(skip_out_of_range=True)
        while not reader.is_finished:
            if (request := reader.next_request()) is None:
                while (note := reader.take_event()) is not None:
                    entries.append(note)
                while (window := reader.take_complete()) is not None:
                    windows.append(window)
                    entries.append(Delivered(reported=window.report, share=window.share))
                continue
            vendor.requests += 1
            edge = 150_000 if vendor.requests > moves_after else 0
            if since_start(request.window.start) < edge:
                assert refuse(reader, request, OutOfTimeRangeError("too old", status=-25)) is None
                continue
            flight = Flight(vendor, request)
            while (reported := flight.advance()) is None:
                pass
            assert accept(reader, request, reported) is None
    for kept in range(len(entries) + 1):
        taken = sum(isinstance(entry, Delivered) for entry in entries[:kept])
        again = resumable(skip_out_of_range=True)
        again.resume(remember(again.tiles, entries[:kept], windows[:taken]))
    assert again.is_finished
    for name in ("total", "unique", "windows", "window_reports", "certified"):
        assert getattr(again.report, name) == getattr(reader.report, name), name


# --- entry by entry

HALVES = [seconds(0, 201), seconds(200, SPAN)]
WAS_CUT = WindowSplit(reported=WindowReport(window=WINDOW, total=30, pages=1, anomalies=2), parts=HALVES)


def handed_over(number: int, calls: int = 15, *, certified: bool = True, provisional: bool = False) -> Delivered:
    reported = WindowReport(
        window=HALVES[number], total=calls, unique=calls, certified=certified, provisional=provisional
    )
    floors = [0] * number  # the second half is the last
    return Delivered(
        reported=reported, share=WindowShare(unique=calls, total=calls, distinct_rows=[calls], unclaimed=floors)
    )


def resumed(
    *entries: JournalEvent | Delivered, counted_again: Collection[TimeWindow] = (), **settings: object
) -> RangeReader:
    reader = resumable(**settings)
    reader.resume(
        Checkpoint(
            tiles=[WINDOW],
            entries=msgspec.convert(
                msgspec.to_builtins(list(entries)), list[WindowSplit | Recounted | Trimmed | Delivered]
            ),
        ),
        counted_again=counted_again,
    )
    return reader


def test_no_part_is_asked_for_before_the_note_of_the_cut_is_written() -> None:
    rows = [CallDetailRecord(voice_id=f"{number:02}", submit_time=at(number * 1_000)) for number in range(8)]
    with smaller_windows(20, 15):
        reader = resumable()
        first = reader.next_request()
        assert first is not None
        assert not reader.has_result
        page = Page(total=30, size=8, current=1, pages=4, records=rows)
        assert accept(reader, first, PageAnswer(page=page)) is None
        assert reader.has_result
        assert reader.next_request() is None
        note = reader.take_event()
        assert isinstance(note, WindowSplit)
        assert note.reported.window == WINDOW
        assert reader.next_request() is None, "taken is not written"
        assert reader.take_event() is None
        begun = reader.next_request()
        assert begun is not None
        assert begun.window == note.parts[0]


def test_a_split_is_resumed_with_its_cost_and_its_total() -> None:
    reader = resumed(WAS_CUT, handed_over(0))
    assert (reader.report.pages, reader.report.anomalies, reader.report.windows) == (1, 2, 1)
    assert list(reader.planned) == [(WINDOW, 30)]
    assert reader._budget.planned == 30 // 8 + 1
    ((split, outer),) = reader._pending.find_splits()
    assert (split.window, split.open_parts, split.distinct_rows, split.excess_rows, outer) == (WINDOW, 1, 15, -15, ())
    request = reader.next_request()
    assert request is not None
    assert request.window == HALVES[1]


@pytest.mark.parametrize("certified", [True, False])
def test_a_run_of_which_all_was_handed_over_is_certified_if_each_window_was(certified: bool) -> None:  # noqa: FBT001
    reader = resumed(WAS_CUT, handed_over(0, certified=certified), handed_over(1), allow_incomplete=True)
    assert reader.is_finished
    assert reader.report.certified is certified
    assert reader.report.unique == 30


def test_parts_that_fall_short_are_counted_once_more_unless_they_were() -> None:
    reader = resumed(WAS_CUT, handed_over(0), handed_over(1, calls=14))
    assert not reader.is_finished
    request = reader.next_request()
    assert request is not None
    assert (request.window, request.size, request.control) == (WINDOW, 1, True)
    reader = resumed(WAS_CUT, handed_over(0), handed_over(1, calls=14), Recounted(window=WINDOW, total=29))
    assert reader.is_finished
    assert reader.report.certified


@pytest.mark.parametrize(("settled", "provisional"), [(399, 1), (400, 0)])
def test_a_window_that_was_young_is_provisional_until_it_was_counted_when_it_has_settled(
    settled: int, provisional: int
) -> None:
    entries = handed_over(0), handed_over(1, provisional=True)
    reader = resumed(WAS_CUT, *entries, settled_before=seconds(0, settled).end, counted_again=[HALVES[1]])
    assert reader.report.provisional == provisional
    assert [reported.provisional for reported in reader.report.window_reports] == [False, bool(provisional)]
    reader = resumed(WAS_CUT, *entries, settled_before=seconds(0, settled).end)
    assert reader.report.provisional == 1, "what the vendor keeps no more is as it was"


@pytest.mark.parametrize("is_local", [False, True])
def test_a_window_that_is_counted_again_is_judged_by_the_clock_of_that_count(is_local: bool) -> None:  # noqa: FBT001
    ages = AgePolicy(lambda: VendorTime(HALVES[1].end, is_local=is_local), timedelta(hours=4), timedelta(0))
    reader = resumed(WAS_CUT, handed_over(0), handed_over(1, provisional=True), ages=ages, counted_again=[HALVES[1]])
    assert (reader.report.provisional, reader.report.local_clock) == (1, is_local)


def test_a_run_that_must_be_complete_reports_gaps_of_an_earlier_one() -> None:
    edge = at(100_000)
    with pytest.raises(OutOfTimeRangeError) as caught:
        resumed(Trimmed(kept_from=edge))
    assert (caught.value.available_from, caught.value.window) == (edge, WINDOW)
    reader = resumed(Trimmed(kept_from=edge), skip_out_of_range=True)
    request = reader.next_request()
    assert request is not None
    assert request.window == seconds(100, SPAN)
