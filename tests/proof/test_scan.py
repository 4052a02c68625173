"""One reading of a window: what an answer is worth, and how pages are united."""

from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.proof.page import find_sorted_run
from aiosipcdr.proof.scan import WindowScan
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import answer, call


def read(scan: WindowScan, *answers: PageAnswer) -> list[int]:
    odd = []
    for reported in answers:
        scan.plan_pages()
        scan.add_page(reported, find_sorted_run(reported.page.records))
        odd.append(scan.drain_anomalies())
    return odd


def broken(identity: str) -> QuarantinedRecord:
    return QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id=identity)


# --- reading


def test_the_first_page_is_requested_alone_and_plans_the_rest() -> None:
    scan = WindowScan(10)
    assert list(scan.plan_pages()) == [1]
    assert list(scan.plan_pages()) == []
    scan.add_page(answer(total=35), None)
    assert list(scan.plan_pages()) == [2, 3, 4]
    scan.add_page(answer(total=51, current=3), None)
    assert list(scan.plan_pages()) == [5, 6]
    scan.add_page(answer(total=10, current=2), None)
    assert list(scan.plan_pages()) == []
    assert not scan.is_read
    for current in (4, 5, 6):
        scan.add_page(answer(total=51, current=current), None)
    assert scan.is_read
    assert scan.largest_total == 51


@pytest.mark.parametrize("only", [None, range(1, 4)])
def test_a_page_needs_a_decision_if_pages_are_due_or_all_were_read(only: range | None) -> None:
    scan = WindowScan(10, only)
    if only is None:
        scan.plan_pages()
        assert scan.add_page(answer(total=30), None), "the other pages are due"
    scan.plan_pages()
    assert [scan.add_page(answer(total=30, current=page), None) for page in (only or (2, 3))][-2:] == [False, True]
    assert scan.is_read
    scan = WindowScan(10)
    scan.plan_pages()
    scan.add_page(answer(total=30), None)
    scan.plan_pages()
    assert scan.add_page(answer(total=31, current=2), None), "a page more is due"
    assert scan.add_page(answer(total=31, current=3), None, past_the_end=True)


def test_at_most_two_thousand_pages_are_planned_ahead_for_any_total() -> None:
    for only in (None, range(1, 10**9 + 1)):
        scan = WindowScan(1, only)
        planned = [*scan.plan_pages()]
        for current in range(1, 11):
            scan.add_page(answer(total=10**9, size=1, current=current), None)
            planned += scan.plan_pages()
        assert planned == list(range(1, 2_011))
        assert not scan.is_read


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 9), st.integers(0, 99))
def test_pages_in_any_order_unite_to_their_distinct_ids(ids: list[int], size: int, seed: int) -> None:
    calls = [call(str(number)) for number in ids]
    pages = [answer(*calls[at : at + size], total=len(ids), size=size) for at in range(0, len(ids), size)] or [answer()]
    first, *rest = pages
    Random(seed).shuffle(rest)  # noqa: S311
    scan = WindowScan(size)
    for reported in (first, *rest):
        scan.plan_pages()
        scan.add_page(reported, find_sorted_run(reported.page.records))
    assert scan.is_read
    assert scan.unique == len(set(ids))
    assert scan.duplicates == len(ids) - len(set(ids))
    assert not scan.conflicting


@pytest.mark.parametrize(
    ("reported", "odd"),
    [
        (answer(call("1"), call("2")), 0),
        (answer(), 0),
        (answer(pages=1), 1),
        (answer(call("1"), total=2), 1),
        (answer(call("1"), call("2"), total=1), 1),
        (answer(call("1"), total=0, pages=0), 1),
        (answer(call("1"), pages=2), 1),
        (answer(call("1"), call("1")), 1),
        (answer(call("1"), call("1", code="x")), 0),
        (answer(call("1"), call("1"), call("1"), total=2, pages=9), 4),
    ],
    ids=range(10),
)
def test_oddities_are_counted(reported: PageAnswer, odd: int) -> None:
    assert read(WindowScan(10), reported) == [odd]


def test_one_id_with_two_contents_in_one_page_is_two_records() -> None:
    scan = WindowScan(10)
    read(scan, answer(call("1", code="a"), call("1", code="b"), call("2")))
    assert scan.unique == 3
    assert not scan.conflicting, "the legs of a call are legal"
    assert not scan.may_hold(3)
    assert {record.code for record in scan.records.values()} == {"a", "b", None}


def test_one_id_with_two_contents_on_two_pages_is_the_later_one() -> None:
    scan = WindowScan(1)
    read(scan, answer(call("1", code="a"), total=2, size=1), answer(call("1", code="b"), total=2, size=1, current=2))
    assert scan.unique == 1
    assert len(scan.conflicting) == 1
    assert [record.code for record in scan.records.values()] == ["b"]


def test_two_records_of_one_id_are_not_doubled_by_being_read_again() -> None:
    first, second = call("1", code="a"), call("1", code="b")
    scan = WindowScan(2)
    read(scan, answer(first, second, total=4, size=2), answer(second, first, total=4, size=2, current=2))
    assert scan.unique == 2
    assert scan.duplicates == 2
    assert not scan.conflicting
    scan = WindowScan(2)
    read(scan, answer(first, call("2"), total=4, size=2), answer(second, first, total=4, size=2, current=2))
    assert scan.unique == 3


def test_one_of_two_records_of_one_id_is_not_a_third_when_it_comes_alone() -> None:
    first, second = call("1", code="a"), call("1", code="b")
    scan = WindowScan(2)
    read(scan, answer(first, second, total=3, size=2), answer(second, total=3, size=2, current=2))
    assert (scan.unique, scan.duplicates) == (2, 1)


def test_unordered_pages_are_no_anomaly_and_each_anomaly_is_counted_once() -> None:
    scan = WindowScan(2)
    reported = [(call("3"), call("1")), (call("6"), call("2")), (call("2"), call("5"))]
    pages = [answer(*calls, total=6, size=2, current=number) for number, calls in enumerate(reported, 1)]
    assert read(scan, *pages[:2]) == [0, 0]
    assert scan.duplicates == 0
    assert read(scan, pages[2]) == [1]
    assert scan.drain_anomalies() == 0


def test_anomalies_of_decoding_are_counted() -> None:
    assert read(WindowScan(10), msgspec.structs.replace(answer(call("1")), anomalies=3)) == [3]


def test_equal_money_is_no_conflict() -> None:
    scan = WindowScan(10)
    read(scan, answer(call("1", cost=Decimal("1.0")), call("1", cost=Decimal("1.00"))))
    assert (scan.duplicates, scan.conflicting) == (1, set())


@pytest.mark.parametrize(
    ("reported", "single"),
    [
        (answer(call("1"), call("2")), True),
        (answer(), True),
        (answer(*(call(str(number)) for number in range(9))), True),
        (answer(*(call(str(number)) for number in range(10))), False),
        (answer(call("1"), total=2), False),
        (answer(call("1"), call("1")), True),  # stored twice
        (answer(call("1"), call("1"), total=1), False),
        (answer(call("1"), call("2"), total=1), False),
    ],
    ids=range(8),
)
def test_one_short_page_with_all_of_its_total_is_one_select(reported: PageAnswer, single: bool) -> None:  # noqa: FBT001
    scan = WindowScan(10)
    read(scan, reported)
    assert scan.single is single


def test_a_short_page_behind_others_is_not_taken_for_the_only_one() -> None:
    # Reported at first: fifteen. The second page reports about itself, and proves nothing about the first.
    calls = [call(str(number)) for number in range(5)]
    scan = WindowScan(10)
    read(scan, answer(*calls, total=15), answer(*calls, total=5, current=2))
    assert (scan.unique, scan.largest_total) == (5, 15)
    assert not scan.single


def test_a_page_that_holds_more_than_its_total_allows_shows_a_larger_one() -> None:
    # Told: three. The second page of two ends at the fourth call: there are four at least.
    scan = WindowScan(2)
    read(scan, answer(call("1"), call("2"), total=3, size=2))
    assert scan.largest_total == 3
    read(scan, answer(call("1"), call("3"), total=3, size=2, current=2))
    assert scan.largest_total == 4
    # A call that is twice on one page is one call, and shows nothing.
    scan = WindowScan(2)
    read(scan, answer(call("1"), call("2"), call("2"), total=2, size=3))
    assert scan.largest_total == 2
    # What cannot be decoded is there all the same.
    scan = WindowScan(2)
    page = answer(call("1"), total=1, size=2)
    page.quarantined.append(broken("2"))
    read(scan, page)
    assert scan.largest_total == 2
    assert not scan.single


def test_undecodable_records_count_by_identity() -> None:
    reported = answer(call("1"), total=4)
    reported.quarantined.extend([broken("2"), broken("2"), broken("3")])
    scan = WindowScan(10)
    read(scan, reported)
    assert scan.unique == 3
    again = answer(call("2"), total=4, current=2)
    read(scan, again)
    assert scan.unique == 3  # read after all
    assert not scan.is_ambiguous


def test_the_same_bytes_without_an_id_are_as_many_rows_as_one_answer_holds() -> None:
    page = answer(total=3)
    page.quarantined.extend([QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken")] * 3)
    scan = WindowScan(10)
    read(scan, page)
    assert scan.unique == len(scan.quarantined) == 3
    assert scan.single
    read(scan, page)
    assert scan.unique == 3


def test_two_rows_of_one_id_count_as_two_even_if_one_or_both_are_broken() -> None:
    broken_twins = [b'{"voiceId":"1","cost":"NaN"}', b'{"voiceId":"1","cost":"x"}']
    for readable, raws in ([call("1")], broken_twins[:1]), ([], broken_twins):
        page = answer(*readable, total=2)
        page.quarantined.extend(
            QuarantinedRecord(raw=raw, window=None, page=1, reason="broken", voice_id="1") for raw in raws
        )
        scan = WindowScan(10)
        read(scan, page)
        assert scan.unique == 2
        assert scan.single
        assert scan.is_ambiguous


TWINS = answer(call("1", code="a"), call("1", code="b"), call("2"), call("2"), size=9)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        (
            "records",
            {call("1", code="a"): call("1", code="a"), call("1", code="b"): call("1", code="b"), "2": call("2")},
        ),
        ("duplicates", 1),
        ("conflicting", set()),
        ("is_unsettled", False),
        ("unique", 3),
        ("copies", 1),
        ("rows", 4),
        ("has_duplicate_ids", True),
        ("ids", {"1", "2"}),
    ],
)
def test_all_rows_are_counted_in_any_order_of_requests(name: str, reported: object) -> None:
    scan = WindowScan(9)
    scan.plan_pages()
    scan.add_page(TWINS, find_sorted_run(TWINS.page.records))
    assert getattr(scan, name) == reported


def test_sorted_pages_are_not_merged_until_one_is_unsorted() -> None:
    first, second, third = (call("1", 1), call("2", 2)), (call("3", 3), call("4", 4)), (call("5", 5),)
    scan = WindowScan(2)
    for reported in (
        answer(*first, total=5, size=2),
        answer(*third, total=5, size=2, current=3),
        answer(*second, total=5, size=2, current=2),
    ):
        scan.plan_pages()
        scan.add_page(reported, find_sorted_run(reported.page.records))
    assert scan.sorted_run is not None
    assert scan.sorted_run.records == [*first, *second, *third]
    assert (scan.unique, scan.duplicates, scan.conflicting, scan.has_duplicate_ids) == (5, 0, set(), False)
    read(scan, answer(call("5", 5), call("6", 6), total=7, size=2, current=4))
    assert scan.sorted_run is None
    assert (scan.unique, scan.duplicates) == (6, 1)
    read(scan, answer(call("7", 7), total=7, size=2, current=4))
    assert scan.sorted_run is None, "a page that rises does not mend those before it"
    assert scan.records.keys() == {str(number) for number in range(1, 8)}


def test_of_a_page_past_the_end_the_total_alone_counts() -> None:
    # What came is page one once more, and may hold calls that the first one did not: they are read in their own place.
    scan = WindowScan(2)
    read(scan, answer(call("1"), call("2"), total=3, size=2))
    scan.plan_pages()
    scan.add_page(answer(call("0"), call("1"), total=2, size=2), None, past_the_end=True)
    assert scan.is_read
    assert (scan.pages, scan.unique, scan.duplicates, scan.single) == (2, 2, 0, False)
    assert scan.drain_anomalies() == 1


def test_records_without_a_readable_id_make_the_count_ambiguous() -> None:
    for identity, doubtful in (("2", False), (None, True)):
        page = answer(call("1"), total=2)
        page.quarantined.append(QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id=identity))
        scan = WindowScan(10)
        read(scan, page)
        assert scan.unique == 2
        assert scan.is_ambiguous is doubtful


# --- legs, and rows that change

A, B, C, A2 = (call("1", code=code) for code in ("a", "b", "c", "a2"))


def pages(*rows: tuple[CallDetailRecord, ...], size: int = 2) -> list[PageAnswer]:
    total = sum(len(page) for page in rows)
    return [answer(*page, total=total, size=size, current=number) for number, page in enumerate(rows, 1)]


def scan_of(*rows: tuple[CallDetailRecord, ...], only: list[int] | None = None) -> WindowScan:
    scan = WindowScan(2, only)
    reported = pages(*rows)
    read(scan, *(reported if only is None else [reported[number - 1] for number in only]))
    return scan


def test_legs_on_two_pages_are_doubtful_until_a_second_reading_repeats_both() -> None:
    rows = (A, call("2")), (call("3"), call("4")), (B, call("5"))
    scan = scan_of(*rows)
    assert (scan.unique, scan.conflicting, scan.is_unsettled) == (5, {"1"}, False)
    assert [scan.may_hold(count) for count in (4, 5, 6, 7)] == [False, True, True, False]
    assert scan.doubtful_ids == {"1"}
    assert scan.find_pages({"1"}) == [1, 3]
    again = scan_of(*rows, only=[1, 3])
    assert again.is_read
    assert list(again.plan_pages()) == []
    assert not again.single
    again.merge(scan)
    assert (again.unique, again.conflicting, again.has_duplicate_ids) == (6, set(), True)
    assert again.find_pages({"3"}) == [2], "the rows of the earlier scan are kept"
    assert {A, B} <= set(again.records.values())
    assert again.ids == {"1", "2", "3", "4", "5"}
    assert not again.may_hold(6)


def test_a_row_that_changed_is_one_row_whatever_a_second_reading_shows() -> None:
    scan = scan_of((A, call("2")), (A2, call("3")))
    for rows in (((A2, call("2")), (call("3"),)), ((call("2"), call("3")), (A2,)), ((C, call("2")), (call("3"),))):
        again = scan_of(*rows)
        again.merge(scan)
        assert (again.unique, again.conflicting, again.is_unsettled) == (3, {"1"}, False)
        assert again.records["1"] == next(row for page in rows for row in page if row.voice_id == "1")


def test_twins_of_which_one_changes_are_unsettled() -> None:
    # Three contents of two rows: which of them are current is unknown, and an excess row may hide a missing one.
    for rows in (((A, B), (A2, call("2"))), ((A2, call("2")), (A, B))):
        scan = scan_of(*rows)
        assert (scan.unique, scan.is_unsettled, scan.conflicting) == (4, True, {"1"})
        assert [scan.may_hold(count) for count in (2, 3, 4, 5)] == [False, True, True, False]
    # One answer that holds as many rows as there are for certain settles it.
    for before, now, stands in (
        (scan_of((A, B), (A2, call("2"))), ((A2, B), (call("2"),)), {A2, B}),
        (scan_of((A, B), (call("2"),)), ((A2, B), (call("2"),)), {A2, B}),
        (scan_of((A, B), (A2, call("2"))), ((A2, call("2")), (B,)), {A2, B}),
        (scan_of((A, B), (C, call("2"))), ((A, B), (C, call("2"))), {A, B, C}),
        (scan_of((A, B), (C, call("2"))), ((A, call("2")), (B, C)), {A, B, C}),
    ):
        again = scan_of(*now)
        again.merge(before)
        assert not again.is_unsettled
        assert set(again.records.values()) == {*stands, call("2")}
        assert again.unique == len(stands) + 1


def test_twins_of_which_a_second_reading_shows_one_changed_row_are_unsettled() -> None:
    again = scan_of((A2, call("2")))
    again.merge(scan_of((A, B), (call("2"),)))
    assert (again.unique, again.is_unsettled) == (4, True)
    # A third one, with both rows of now, settles it.
    third = scan_of((B, A2), (call("2"),))
    third.merge(again)
    assert (third.unique, third.is_unsettled) == (3, False)
    assert set(third.records.values()) == {B, A2, call("2")}


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        ((A, B), (A, B), {A, B}),
        ((A, B), (B,), {B}),
        ((A, B), (A2, B), {A2, B}),
        ((A, B), (), set()),
        ((A,), (), set()),
        ((A,), (A2,), {A2}),
    ],
    ids=["all", "one of two", "one changed", "none", "none of one", "changed"],
)
def test_of_ids_that_must_be_read_again_only_rows_count_that_were(
    before: tuple[CallDetailRecord, ...], now: tuple[CallDetailRecord, ...], left: set[CallDetailRecord]
) -> None:
    again = scan_of((*now, call("3")), only=[1])
    again.merge(scan_of(before, (call("2"),)), repeats={"1"})
    assert set(again.records.values()) == {*left, call("2"), call("3")}
    assert (again.unique, again.is_unsettled) == (len(left) + 2, False)
    third = scan_of((A, B))
    third.merge(again)
    assert {A, B} <= set(third.records.values()), "a later reading finds what this one has missed"


def test_rows_that_one_answer_holds_twice_are_stored_twice() -> None:
    scan = scan_of((A, A), (call("2"), A), (call("3"), call("4")))
    assert (scan.unique, scan.copies, scan.rows, scan.duplicates) == (4, 1, 5, 2)
    assert (scan.count_copies({"1"}), scan.count_copies({"2"})) == (0, 1)
    changed = scan_of((A, A), (A2, call("2")))
    assert (changed.unique, changed.copies) == (2, 0), "an id that changed counts once"
    twins = scan_of((A, B), (A, A), (B, call("2")))
    assert (twins.unique, twins.copies, twins.rows) == (3, 1, 4)
    assert (twins.count_copies({A}), twins.count_copies({B})) == (0, 1)
    # On two pages they may be one row that moved.
    scan = scan_of((A, call("2")), (A, call("3")))
    assert (scan.unique, scan.copies, scan.count_identical()) == (3, 0, 0)


def test_copies_and_rows_seen_again_on_the_same_pages_are_merged() -> None:
    before = ((call("4"), call("4")), (A, call("2")), (A, call("3")))
    for now, identical in (
        (before, 2),
        (((A, call("2")), (call("4"), A), (call("3"), call("4"))), 2),  # in another order
        (((call("4"), call("4")), (A, call("2")), (call("2"), call("3"))), 0),
        (((A, call("2")), (A, call("3"))), 0),
    ):
        again = scan_of(*now)
        again.merge(scan_of(*before))
        assert (again.copies, again.count_identical()) == (1, identical)
    many = scan_of((A, A), (A, A), (A,))
    many.merge(scan_of((A, A), (A, A), (A,)))
    assert (many.unique, many.count_identical()) == (1, 4)


def test_broken_rows_that_one_answer_holds_twice_are_stored_twice() -> None:
    page = answer(call("1"), total=3)
    page.quarantined.extend([broken("2"), broken("2")])
    scan = WindowScan(10)
    read(scan, page)
    assert (scan.unique, scan.copies, scan.single) == (2, 1, True)


def test_a_row_counts_as_held_with_its_contents() -> None:
    scan = scan_of((A, B), (call("2"),))
    assert scan.contains(A)
    assert scan.contains(call("2"))
    assert not scan.contains(C)
    assert not scan.contains(call("2", code="x"))
    assert not scan.contains(call("3"))


# --- carrying on


def test_earlier_rows_are_kept_and_newer_contents_win() -> None:
    earlier, later = WindowScan(10), WindowScan(10)
    read(earlier, answer(call("1", code="old"), call("2"), total=4))
    read(later, answer(call("1", code="new"), call("3"), total=3))
    later.merge(earlier)
    assert later.unique == 3
    assert later.conflicting == {"1"}
    assert later.largest_total == 4
    assert {record.voice_id: record.code for record in later.records.values()} == {"1": "new", "2": None, "3": None}


def test_carrying_on_keeps_two_records_of_one_id_apart() -> None:
    pair = call("1", code="a"), call("1", code="b")
    for before, now, conflicting in (
        (pair, (pair[0], call("2")), set()),
        ((pair[0], call("2")), pair, set()),
        (pair, (call("2"),), set()),
        ((call("1", code="old"), call("2")), pair, {"1"}),
    ):
        earlier, later = WindowScan(10), WindowScan(10)
        read(earlier, answer(*before))
        read(later, answer(*now))
        later.merge(earlier)
        assert later.unique == 3
        assert set(later.records.values()) == {*pair, call("2")}
        assert later.conflicting == conflicting
        assert not later.is_unsettled


def test_merging_keeps_everything_of_the_earlier_scan() -> None:
    earlier, later = WindowScan(10), WindowScan(10)
    reported = answer(call("1"), call("2", code="a"), call("2", code="b"), total=5)
    reported.quarantined.append(broken("3"))
    reported.unknown_fields["carrier"] = 1
    read(earlier, reported)
    read(later, answer(call("4"), call("4"), total=2))
    later.merge(earlier)
    assert (later.unique, later.largest_total, later.conflicting) == (5, 5, set())
    assert later.ids == {"1", "2", "3", "4"}
    assert later.has_extras
    assert later.drain_anomalies() == 0, "the earlier scan has counted its own"


@pytest.mark.parametrize("readable", [("1", None), (None, "1"), (None, None), ("1", "2")])
def test_doubt_about_the_number_of_calls_is_carried_on(readable: tuple[str | None, str | None]) -> None:
    scans = WindowScan(10), WindowScan(10)
    for scan, identity in zip(scans, readable, strict=True):
        reported = answer(total=1)
        reported.quarantined.append(
            QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken", voice_id=identity)
        )
        read(scan, reported)
    earlier, later = scans
    later.merge(earlier)
    assert later.is_ambiguous is (None in readable)


def test_carrying_on_does_not_count_a_broken_record_twice() -> None:
    earlier, later = WindowScan(10), WindowScan(10)
    reported = answer(call("1"), total=2)
    reported.quarantined.append(broken("2"))
    read(earlier, reported)
    read(later, answer(call("1"), call("2")))
    later.merge(earlier)
    assert later.unique == 2
