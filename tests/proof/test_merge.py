"""Read windows become complete ones: each call once, in order, and the report adds up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, ExtraFields, Page
from aiosipcdr.model.report import ReportBuilder
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof import window as completeness
from aiosipcdr.proof.budget import Budget
from aiosipcdr.proof.checkpoint import ReadWindow
from aiosipcdr.proof.merge import OwnedSpan, RangeMerger, sort_records
from aiosipcdr.proof.overlaps import identity
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader, WindowState
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept
from tests.proof.simulated_vendor import ages_of

START = datetime(2026, 10, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def call(voice_id: str, second: float | None = 0, **fields: object) -> CallDetailRecord:
    return CallDetailRecord(voice_id=voice_id, submit_time=None if second is None else at(second), **fields)  # type: ignore[arg-type]


def proven(first: int, last: int, *records: CallDetailRecord, broken: tuple[str, ...] = ()) -> WindowReader:
    window = TimeWindow(at(first), at(last))
    proof = WindowReader(window, Filters(), size=100, max_rows=2_000, budget=Budget(), ages=ages_of())
    total = len(records) + len(broken)
    page = Page(total=total, size=100, current=1, pages=int(total > 0), records=list(records))
    quarantined = [
        QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id=identity) for identity in broken
    ]
    while (request := proof.next_request()) is not None:
        assert accept(proof, request, PageAnswer(page=page, quarantined=quarantined)) is None
    assert proof.state is WindowState.CERTIFIED
    return proof


def make_merger(
    *,
    time_field: str | None = None,
    exact: tuple[datetime, datetime] | None = None,
    normalize: Callable[[CallDetailRecord], CallDetailRecord] = identity,
) -> tuple[RangeMerger, ReportBuilder]:
    report = ReportBuilder()
    span = OwnedSpan(window=TimeWindow(at(-1), at(60)), time_field=time_field, bounds=exact)
    return RangeMerger(report, span=span, normalize=normalize), report


def test_rows_repeated_by_overlaps_are_delivered_once_and_count_as_no_duplicates() -> None:
    merger, report = make_merger()
    first = merger.merge(proven(0, 11, call("a", 1), call("b", 10.5)), ())
    second = merger.merge(proven(10, 21, call("b", 10.5), call("c", 12), broken=("d",)), ())
    third = merger.merge(proven(20, 31, call("e", 20), broken=("d",)), ())
    assert [record.voice_id for record in first.records] == ["a", "b"]
    assert [record.voice_id for record in second.records] == ["c"]
    assert [record.voice_id for record in third.records] == ["e"]
    assert [record.identity for record in second.quarantined] == ["d"]
    assert second.quarantined[0].window == TimeWindow(at(10), at(21))
    assert third.quarantined == []
    # Whoever takes the run up again must know all that was read, not only what was new.
    assert [[record.voice_id for record in window.repeated] for window in (first, second, third)] == [[], ["b"], []]
    assert [window.unread_ids for window in (first, second, third)] == [[], ["d"], ["d"]]
    assert (report.total, report.unique, report.quarantined, report.windows) == (5, 5, 1, 3)
    assert (report.duplicates, report.conflicts) == (0, 0)
    assert [reported.window for reported in report.window_reports] == [first.window, second.window, third.window]


def test_windows_that_do_not_touch_are_not_compared() -> None:
    # An id that comes again months later is another call to deliver, not one to drop.
    merger, report = make_merger()
    merger.merge(proven(0, 11, call("a", 1)), ())
    merger.merge(proven(10, 21), ())
    far = merger.merge(proven(20, 31, call("a", 25)), ())
    assert [record.voice_id for record in far.records] == ["a"]
    assert report.unique == report.total == 2


def test_rows_without_a_time_are_compared_only_with_the_neighbouring_window() -> None:
    merger, report = make_merger()
    merger.merge(proven(0, 11, call("a", 1)), ())
    merger.merge(proven(10, 21), ())
    far = merger.merge(proven(20, 31, call("a", None, code="x")), ())
    assert [record.code for record in far.records] == ["x"]
    assert (report.unique, report.conflicts) == (2, 0)


def test_a_call_that_three_windows_share_is_handed_over_once_even_if_the_middle_one_missed_it() -> None:
    # Of two seconds each, and with both bounds inside: the second at which the first ends is where the third begins.
    merger, report = make_merger()
    merger.merge(proven(0, 2, call("a", 2)), ())
    merger.merge(proven(1, 3), ())
    third = merger.merge(proven(2, 4, call("a", 2)), ())
    assert third.records == []
    assert report.unique == report.total == 1


def test_a_decoded_record_is_not_quarantined_too() -> None:
    merger, report = make_merger()
    proof = proven(0, 11, call("a", 1), call("b", 2))
    proof.scan.quarantined["a"] = QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id="a")
    window = merger.merge(proof, ())
    assert [record.voice_id for record in window.records] == ["a", "b"]
    assert (window.quarantined, report.quarantined, report.unique) == ([], 0, 2)


def test_records_are_trimmed_by_the_time_that_the_range_is_about() -> None:
    merger, report = make_merger(time_field="hangup_time", exact=(at(0), at(10)))
    inside = call("a", -5, hangup_time=at(9.5)), call("b", 3, hangup_time=at(0)), call("c", 4)
    outside = call("d", 5, hangup_time=at(10)), call("e", 5, hangup_time=at(-0.5))
    window = merger.merge(proven(-1, 11, *inside, *outside), ())
    assert window.records == list(inside)
    assert {record.voice_id for record in window.repeated} == {"d", "e"}
    assert report.unique == report.total == 3


def test_the_report_is_the_sum_of_its_windows() -> None:
    merger, report = make_merger()
    for number in range(2):
        odd = call(str(number), number * 10 + 5, extra=ExtraFields(carrier="1", cost='"?"'))
        proof = proven(number * 10, number * 10 + 11, odd, call(f"x{number}", number * 10 + 6))
        proof.scan.has_extras = True
        reported = proof.report
        reported.pages, reported.scans, reported.duplicates, reported.conflicts, reported.anomalies = 1, 2, 3, 4, 5
        reported.provisional = True
        merger.merge(proof, ())
    merger.count_effort(reported)  # of a window that was cut
    assert (report.unknown_fields, report.faulty_fields) == ({"carrier": 2}, {"cost": 2})
    assert (report.windows, report.provisional) == (2, 2)
    assert (report.pages, report.scans, report.duplicates, report.conflicts, report.anomalies) == (3, 6, 9, 12, 15)


def test_an_id_of_two_rows_is_not_taken_for_one_at_a_seam() -> None:
    early, late = call("a", 10, code="x"), call("a", 15, code="y")
    split = SplitWindow(TimeWindow(at(0), at(21)), 2, 2)
    merger, report = make_merger()
    first = merger.merge(proven(0, 11, early), (split,))
    second = merger.merge(proven(10, 21, early, late), (split,))
    assert (first.records, second.records) == ([early], [late])
    assert report.unique == report.total == split.distinct_rows == 2


@pytest.mark.parametrize("second", [10, 11, 12, None])
def test_a_row_that_changed_between_two_readings_is_one_row_and_a_conflict(second: float | None) -> None:
    merger, report = make_merger()
    merger.merge(proven(0, 11, call("a", 10, code="x")), ())
    hangup_time = None if second is None else at(500)
    again = merger.merge(proven(10, 21, call("a", second, code="y", hangup_time=hangup_time)), ())
    assert again.records == []
    assert report.unique == report.total == report.conflicts == 1


def test_a_row_that_cannot_lie_in_the_shared_second_is_another_one() -> None:
    merger, report = make_merger()
    merger.merge(proven(0, 11, call("a", 10, code="x")), ())
    other = call("a", 12.5, code="y")
    assert merger.merge(proven(10, 21, other), ()).records == [other]
    assert (report.unique, report.total, report.conflicts) == (2, 2, 0)


def test_a_row_that_could_not_be_decoded_before_is_the_same_row_when_it_can() -> None:
    merger, report = make_merger()
    merger.merge(proven(0, 11, call("a", 1), broken=("d",)), ())
    again = merger.merge(proven(10, 21, call("d", 10.5)), ())
    assert (again.records, [record.voice_id for record in again.repeated]) == ([], ["d"])
    assert (report.unique, report.total, report.quarantined, report.conflicts) == (2, 2, 1, 0)


def test_a_row_that_cannot_lie_in_the_shared_second_is_not_one_that_could_not_be_decoded_before() -> None:
    merger, report = make_merger()
    merger.merge(proven(0, 11, call("a", 1), broken=("d",)), ())
    other = call("d", 15)
    assert merger.merge(proven(10, 21, other), ()).records == [other]
    assert (report.unique, report.total, report.quarantined) == (3, 3, 1)


def test_rows_are_compared_as_they_are_kept() -> None:
    # Numbers are made unrecognisable before they are written: what an earlier run has kept is so already.
    def normalize(record: CallDetailRecord) -> CallDetailRecord:
        return msgspec.structs.replace(record, callee=f"{record.callee}*")

    row = call("a", 10.5, callee="1")
    merger, report = make_merger(normalize=normalize)
    merger.merge(proven(0, 11, row), ())
    assert merger.merge(proven(10, 21, row), ()).records == []
    assert report.conflicts == 0
    merger, report = make_merger(normalize=normalize)
    merger.remember(ReadWindow(window=TimeWindow(at(0), at(11)), ids={"a"}, records=[normalize(row)]), ())
    assert merger.merge(proven(10, 21, row), ()).records == []
    assert (report.unique, report.total, report.conflicts) == (0, 0, 0)


def whole_of(*unclaimed: CallDetailRecord, reported: int) -> SplitWindow:
    return SplitWindow(TimeWindow(at(0), at(21)), reported, 2, unclaimed=unclaimed)


def unproven(first: int, last: int, *records: CallDetailRecord, total: int) -> WindowReader:
    proof = proven(first, last, *records)
    proof.report.total = total
    proof.report.certified = False
    return proof


def test_rows_read_before_an_unproven_split_come_with_its_last_part() -> None:
    merger, report = make_merger()
    outer, inner = whole_of(call("a", 1), call("b", 2), call("z", 15.5), reported=9), whole_of(call("b", 2), reported=7)
    outer.open_parts = 3
    for split in (outer, inner):
        merger.keep_unclaimed(split)
    first = merger.merge(unproven(0, 11, call("a", 1), total=40), (outer, inner))
    second = merger.merge(proven(10, 16), (outer, inner))
    third = merger.merge(proven(15, 21, call("c", 16)), (outer,))
    assert [[record.voice_id for record in window.records] for window in (first, second, third)] == [
        ["a"],
        ["b"],
        ["z", "c"],  # in the order of time, wherever they came from
    ]
    assert report.unique == 4
    assert report.total == 9  # the vendor's total of all of it, not the sum of the totals of the parts
    # A run that resumes from the journal of this one counts the same.
    later, again = make_merger()
    outer, inner = whole_of(reported=9), whole_of(reported=7)
    outer.open_parts = 3
    for window, splits in ((first, (outer, inner)), (second, (outer, inner)), (third, (outer,))):
        later.restore(window.report, window.share, splits)
    assert (again.total, again.unique, again.windows) == (9, 4, 3)
    assert (outer.distinct_rows, inner.distinct_rows, outer.open_parts) == (2, 1, 0)


def test_delivered_rows_and_unwanted_rows_do_not_come_again_from_an_unproven_split() -> None:
    merger, report = make_merger(time_field="submit_time", exact=(at(0), at(20)))
    before = call("a", 10)
    merger.merge(proven(0, 11, before), ())
    split = SplitWindow(TimeWindow(at(10), at(21)), 3, 1, unclaimed=[before, call("b", 15), call("c", 20.5)])
    merger.keep_unclaimed(split)
    last = merger.merge(unproven(10, 21, total=3), (split,))
    assert [record.voice_id for record in last.records] == ["b"]
    assert report.unique == 2


def test_a_call_read_before_two_unproven_splits_comes_once() -> None:
    merger, report = make_merger()
    shared = call("b", 10)
    left, right = (
        SplitWindow(TimeWindow(at(0), at(11)), 2, 1, unclaimed=[call("a", 1), shared]),
        whole_of(shared, reported=1),
    )
    right.open_parts = 1
    for split in (left, right):
        merger.keep_unclaimed(split)
    windows = [merger.merge(unproven(0, 5, total=2), (left,)), merger.merge(unproven(10, 21, total=1), (right,))]
    assert [[record.voice_id for record in window.records] for window in windows] == [["a", "b"], []]
    assert report.unique == 2


def test_an_unproven_split_counts_its_rows_if_they_exceed_its_total() -> None:
    merger, report = make_merger()
    split = whole_of(call("a", 1), call("b", 2), reported=2)
    merger.keep_unclaimed(split)
    merger.merge(unproven(0, 11, call("c", 3), total=7), (split,))
    merger.merge(unproven(10, 21, call("d", 12), total=1), (split,))
    assert (report.unique, report.total) == (4, 4)


def test_rows_read_only_before_a_proven_split_were_deleted_since() -> None:
    merger, report = make_merger()
    split = whole_of(call("a", 1), call("b", 2), reported=2)
    merger.keep_unclaimed(split)
    merger.merge(proven(0, 11, call("a", 1)), (split,))
    last = merger.merge(proven(10, 21), (split,))
    assert last.records == []
    assert report.unique == report.total == 1


def test_unclaimed_rows_of_a_split_are_not_delivered_again_by_the_next_window() -> None:
    merger, report = make_merger()
    split = whole_of(call("a", 20.5), call("b", 2), reported=2)
    merger.keep_unclaimed(split)
    merger.merge(unproven(0, 11, total=2), (split,))
    assert len(merger.merge(unproven(10, 21, total=2), (split,)).records) == 2
    behind = merger.merge(proven(20, 31, call("a", 20.5), call("c", 25)), ())
    assert [record.voice_id for record in behind.records] == ["c"]
    assert report.unique == 3


def test_rows_delivered_by_a_neighbour_are_claimed_whichever_comes_first() -> None:
    for is_cut_first in (True, False):
        merger, report = make_merger()
        split = SplitWindow(TimeWindow(at(10), at(21)), 3, 1, unclaimed=[call("a", 10.5), call("b", 15)])
        if is_cut_first:
            merger.keep_unclaimed(split)
        merger.merge(proven(0, 11, call("a", 10.5)), ())
        if not is_cut_first:
            merger.keep_unclaimed(split)
        last = merger.merge(unproven(10, 21, total=3), (split,))
        assert [record.voice_id for record in last.records] == ["b"]
        assert report.unique == 2


def test_rows_stored_twice_count_twice_for_the_split_and_once_for_the_report() -> None:
    merger, report = make_merger()
    split = SplitWindow(TimeWindow(at(0), at(21)), 4, 2)
    merger.merge(proven(0, 11, call("a", 10), call("a", 10)), (split,))
    window = merger.merge(proven(10, 21, call("a", 10), call("a", 10), call("b", 15), call("b", 15)), (split,))
    assert window.records == [call("b", 15)]
    assert (split.distinct_rows, split.is_short) == (4, False)
    assert (report.unique, report.total) == (2, 2)


def test_the_parts_of_a_split_are_compared_with_its_total() -> None:
    merger, _ = make_merger()
    split = SplitWindow(TimeWindow(at(0), at(21)), 4, 2)
    merger.merge(proven(0, 11, call("a", 1), call("b", 10)), (split,))
    assert not split.is_short
    merger.merge(proven(10, 21, call("b", 10), call("c", 11)), (split,))
    assert split.distinct_rows == 3
    assert split.is_short


def test_rows_repeated_by_a_neighbour_of_another_split_still_count_for_this_one() -> None:
    merger, _ = make_merger()
    split = SplitWindow(TimeWindow(at(10), at(21)), 2, 1)
    merger.merge(proven(0, 11, call("b", 10)), ())
    merger.merge(proven(10, 21, call("b", 10), call("c", 11)), (split,))
    assert split.distinct_rows == 2
    assert not split.is_short


times = st.none() | st.integers(0, 3)
codes = st.none() | st.sampled_from(["x", "y"])
records = st.builds(call, st.sampled_from("abcd"), times, code=codes, cost=st.none() | st.just(Decimal(1)))


@given(st.lists(records, max_size=12), st.randoms(use_true_random=False))
def test_the_same_records_come_out_in_the_same_order_whatever_order_they_came_in(
    reported: list[CallDetailRecord],
    random: object,
) -> None:
    reported = list(dict.fromkeys(reported))
    in_order = sort_records(reported)
    keys = [(record.submit_time is None, record.submit_time or START, record.voice_id) for record in in_order]
    assert keys == sorted(keys)
    shuffled = list(reported)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sort_records(shuffled) == in_order


def test_rows_of_one_id_and_one_instant_come_in_the_order_of_their_bytes() -> None:
    first, second, undated = call("a", code="x"), call("a", code="y"), call("a", None, code="z")
    for reported in ([first, second, undated], [undated, second, first]):
        assert sort_records(reported) == [first, second, undated]


def test_one_instant_in_two_offsets_is_one_instant() -> None:
    from datetime import timezone

    east = timezone(timedelta(hours=8))
    first, second = call("b"), CallDetailRecord(voice_id="a", submit_time=START.astimezone(east))
    assert sort_records([first, second]) == [second, first]


rows = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", "x"]), st.booleans()), max_size=25)


@given(rows, st.sampled_from(["rising", "falling", "as drawn"]), st.integers(2, 12), st.none() | st.integers(0, 15))
def test_windows_that_rise_are_put_together_as_all_others_are(
    reported: list[tuple[int, str, bool]], order: str, width: int, trimmed: int | None
) -> None:
    # The same rows twice, once by the ordinary way alone: what rises is a short cut, never another result.
    calls = [
        call(f"{second:03}{place * 7 % 5}", second + late / 2, code=code)
        for place, (second, code, late) in enumerate(reported)
    ]
    if order != "as drawn":
        calls.sort(key=lambda one: one.voice_id, reverse=order == "falling")

    def put_together() -> list[tuple[object, ...]]:
        exact = None if trimmed is None else (at(trimmed), at(31 - trimmed))
        merger, report = make_merger(time_field=None if trimmed is None else "submit_time", exact=exact)
        out: list[tuple[object, ...]] = []
        for first in range(0, 31, width):
            inside = [one for one in calls if at(first) <= (one.submit_time or START) <= at(first + width + 1)]
            distinct = {one.voice_id: one for one in inside}
            window = merger.merge(proven(first, first + width + 1, *distinct.values()), ())
            out.append((window.records, sorted(window.repeated, key=lambda one: one.voice_id), window.share))
        return [*out, (report,)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completeness, "find_sorted_run", lambda _: None)
        ordinary = put_together()
    assert put_together() == ordinary
