"""The proof of one window, answer by answer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from aiosipcdr.model.errors import (
    AuthenticationError,
    FilterIgnoredError,
    InvalidQueryError,
    OutageError,
    OutOfTimeRangeError,
    ProtocolError,
    ServerFaultError,
    SipCdrError,
    VendorError,
)
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof import page as paging
from aiosipcdr.proof.budget import Budget, PageSizes
from aiosipcdr.proof.page import PageRequest, PlanChange
from aiosipcdr.proof.window import WindowReader, WindowState
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept, refuse
from tests.proof.simulated_vendor import ages_of

START = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = TimeWindow(START, START + timedelta(hours=1))
TWO_SECONDS = TimeWindow(START, START + timedelta(seconds=2))


def calls(*ids: int, **fields: object) -> list[CallDetailRecord]:
    return [CallDetailRecord(voice_id=f"{one}", submit_time=START, **fields) for one in ids]  # type: ignore[arg-type]


def answer(
    records: list[CallDetailRecord], total: int, *, size: int = 10, current: int = 1, broken: int = 0
) -> PageAnswer:
    page = Page(total=total, size=size, current=current, pages=-(-total // max(1, size)), records=records)
    quarantined = [
        QuarantinedRecord(raw=b"%d" % one, window=None, page=current, reason="broken") for one in range(broken)
    ]
    return PageAnswer(page=page, quarantined=quarantined)


def prove(window: TimeWindow = HOUR, *, size: int = 10, max_rows: int = 2_000, **settings: object) -> WindowReader:
    return WindowReader(
        window,
        settings.pop("filters", Filters()),  # type: ignore[arg-type]
        size=size,
        max_rows=max_rows,
        budget=settings.pop("budget", Budget()),  # type: ignore[arg-type]
        ages=settings.pop("ages", ages_of()),  # type: ignore[arg-type]
        **settings,  # type: ignore[arg-type]
    )


def ask(proof: WindowReader) -> PageRequest:
    request = proof.next_request()
    assert request is not None
    return request


def reported(proof: WindowReader, tell: Callable[[PageRequest], PageAnswer]) -> list[tuple[int, int]]:
    """Answer everything that is asked; return the questions as (page, size)."""
    asked = []
    while (request := proof.next_request()) is not None:
        asked.append((request.current, request.size))
        assert accept(proof, request, tell(request)) is None
    return asked


def steady(ids: list[int]) -> Callable[[PageRequest], PageAnswer]:
    def tell(request: PageRequest) -> PageAnswer:
        at = (request.current - 1) * request.size
        page = calls(*ids[at : at + request.size])
        return answer(page, len(ids), size=request.size, current=request.current)

    return tell


@pytest.mark.parametrize("ids", [[], [1, 2, 3]])
def test_one_short_page_needs_a_control_count_only_where_no_larger_window_has_reported_its_rows(ids: list[int]) -> None:
    for is_part, counts in ((True, []), (False, [(1, 1)])):
        proof = prove(is_part=is_part)
        assert reported(proof, steady(ids)) == [(1, 10), *counts]
        assert proof.state is WindowState.CERTIFIED
        report = proof.report
        assert (report.total, report.unique, report.pages, report.scans) == (len(ids), len(ids), 1, 1)
        assert (report.requests, report.anomalies, report.certified) == (1 + len(counts), 0, True)


def test_a_first_answer_that_knows_no_row_proves_nothing() -> None:
    # A replica that is not ready answers "0 of 0" once, to the page or to the count.
    for place, state in ((0, WindowState.TOO_LARGE), (1, WindowState.CERTIFIED), (2, WindowState.CERTIFIED)):
        proof = prove(max_rows=20)
        asked = []
        while (request := proof.next_request()) is not None:
            rows = range(4 if place else 25)
            asked.append((request.current, request.size))
            assert accept(proof, request, steady([] if len(asked) == place + 1 else [*rows])(request)) is None
        assert asked == [(1, 10), (1, 1), *([] if place == 2 else [(1, 1)])]
        assert proof.state is state
        assert proof.report.total == (4 if place else 25)


def test_a_first_answer_that_knows_no_row_is_read_again_where_the_window_is_small() -> None:
    proof = prove(is_part=False)
    answers = [0]

    def tell(request: PageRequest) -> PageAnswer:
        answers[0] += 1
        return steady([] if answers[0] == 1 else [*range(15)])(request)

    assert reported(proof, tell) == [(1, 10), (1, 1), (1, 1), (1, 10), (2, 10), (1, 1)]
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 15, 2)


def test_a_part_that_is_read_again_gets_a_control_count_although_one_page_holds_it() -> None:
    proof = prove(is_part=True)
    answers = iter([answer(calls(*range(10)), 12), answer(calls(10), 12, current=2)])
    assert reported(proof, lambda request: next(answers, None) or steady([*range(9)])(request)) == [
        *((1, 10), (2, 10), (1, 1), (1, 1)),  # 11 of 12 were read, and 9 are counted twice
        *((1, 10), (1, 1)),
    ]
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 9, 2)


@pytest.mark.parametrize(("counts", "state"), [([3, 5], WindowState.CERTIFIED), ([6, 5], WindowState.UNPROVEN)])
def test_a_control_count_that_differs_is_asked_once_more_and_the_larger_is_believed(
    counts: list[int], state: WindowState
) -> None:
    proof = prove(TWO_SECONDS)
    steadily = steady([*range(5)])
    remaining = iter(counts * 3)

    def tell(request: PageRequest) -> PageAnswer:
        return answer(calls(0), next(remaining), size=1) if request.control else steadily(request)

    reported(proof, tell)
    assert proof.state is state
    assert proof.report.scans == (1 if state is WindowState.CERTIFIED else 3)


def test_several_pages_are_counted_once_more_afterwards() -> None:
    proof = prove()
    asked = reported(proof, steady(list(range(25))))
    assert asked[:3] == [(1, 10), (2, 10), (3, 10)]
    assert asked[-1] == (1, 1)
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.unique == proof.report.total == 25


def test_the_control_count_is_asked_when_every_page_is_here() -> None:
    proof = prove()
    tell = steady(list(range(25)))
    first = ask(proof)
    accept(proof, first, tell(first))
    second, third = ask(proof), ask(proof)
    assert proof.next_request() is None
    accept(proof, third, tell(third))
    assert proof.next_request() is None
    accept(proof, second, tell(second))
    control = ask(proof)
    assert control.control
    assert (control.current, control.size, control.window, control.params) == (1, 1, HOUR, first.params)
    assert proof.is_open


def test_a_larger_total_in_any_answer_forbids_the_certificate() -> None:
    # Deleted while it was read: 26, then 25; 25 ids, but not the 25 that are there.
    proof = prove(TWO_SECONDS)
    ids = list(range(25))
    count = [0]

    def tell(request: PageRequest) -> PageAnswer:
        count[0] += 1
        sent = steady(ids)(request)
        if count[0] == 1:
            return answer(sent.page.records, 26)
        return sent

    asked = reported(proof, tell)
    assert asked.count((1, 10)) == 2  # read a second time
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.scans == 2


def test_a_count_that_is_never_met_ends_unproven_after_three_scans() -> None:
    proof = prove(TWO_SECONDS)
    ids = list(range(15))

    def tell(request: PageRequest) -> PageAnswer:
        sent = steady(ids)(request)
        return answer(sent.page.records, 16, size=request.size, current=request.current)

    reported(proof, tell)
    assert proof.state is WindowState.UNPROVEN
    assert not proof.report.certified
    assert proof.report.scans == 3
    assert (proof.report.unique, proof.report.total) == (15, 16)


def test_a_window_that_can_be_cut_is_read_twice_and_then_left_to_be_cut() -> None:
    proof = prove(HOUR)
    reported(proof, lambda request: answer(calls(1), 5, size=request.size, current=request.current))
    assert proof.state is WindowState.UNPROVEN
    assert proof.report.scans == 2


@pytest.mark.parametrize(
    ("tells", "first", "then"),
    [
        (
            26,
            [*range(25)],
            [*range(3), *range(4, 26)],
        ),  # more reported than there are: the fourth was deleted meanwhile
        (20, [*range(21)], [*range(20)]),  # as many reported as there are, and one read that is gone
    ],
)
def test_rows_read_before_a_deletion_are_dropped(tells: int, first: list[int], then: list[int]) -> None:
    proof = prove(TWO_SECONDS)
    ids = list(first)

    def tell(request: PageRequest) -> PageAnswer:
        if request.control:
            ids[:] = then
        total = tells if ids == first else len(then)
        at = (request.current - 1) * request.size
        page = ids[at:] if ids == first and at == 10 and tells == 20 else ids[at : at + request.size]
        return answer(calls(*page), total, size=request.size, current=request.current)

    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.scans == 2
    assert {int(record.voice_id) for record in proof.scan.records.values()} == set(then)


def test_two_scans_with_more_rows_than_the_count_are_not_kept() -> None:
    # The fourteenth call went away and another came, between the two: neither count shows it.
    proof = prove(TWO_SECONDS)
    scans = [[*range(14), 0], [*range(13), 14, 15], [*range(13), 14, 15]]

    def tell(request: PageRequest) -> PageAnswer:
        return steady(scans[proof.report.scans - 1])(request)

    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    assert (proof.report.scans, proof.report.unique) == (3, 15)
    assert "13" not in proof.scan.records


def test_a_larger_count_is_remembered_by_the_next_scan() -> None:
    # 24 read of 25, then counted: 26. 25 are read next and 25 are counted: one was deleted unread meanwhile.
    proof = prove(TWO_SECONDS)
    counts = iter([26, 26, 25, 25, 25])
    scan = [[*range(24), 23], [*range(25)], [*range(25)]]

    def tell(request: PageRequest) -> PageAnswer:
        if request.control:
            return answer(calls(0), next(counts), size=1)
        ids = scan[proof.report.scans - 1]
        at = (request.current - 1) * 10
        return answer(calls(*ids[at : at + 10]), 25, current=request.current)

    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.scans == 3


def test_repeated_requests_need_fresh_answers() -> None:
    proof = prove()
    asked = []
    while (request := proof.next_request()) is not None:
        asked.append((request.current, request.size, request.needs_fresh_answer))
        missing = len(asked) < 4
        page = steady([*range(24 if missing and not request.control else 25)])(request)
        accept(proof, request, msgspec.structs.replace(page, page=msgspec.structs.replace(page.page, total=25)))
    first = [(1, 10, False), (2, 10, False), (3, 10, False), (1, 1, True), (1, 1, True)]
    assert asked == [*first, (1, 10, True), (2, 10, True), (3, 10, True), (1, 1, True)]
    assert proof.state is WindowState.CERTIFIED
    assert [ask(prove(is_repair=is_repair)).needs_fresh_answer for is_repair in (False, True)] == [False, True]


def test_nothing_is_read_again_that_cannot_be_read_to_its_end() -> None:
    for left, scans in ((4, 2), (3, 1)):
        budget = Budget()
        assert budget.take(200 - left)
        proof = prove(TWO_SECONDS, budget=budget, is_part=True)
        reported(
            proof,
            lambda request: answer(
                steady([*range(15)])(request).page.records, 16, size=request.size, current=request.current
            ),
        )
        assert proof.state is WindowState.UNPROVEN
        assert (proof.report.scans, proof.report.unique, proof.report.total) == (scans, 15, 16)


def test_rows_of_an_earlier_scan_are_kept_when_the_next_is_given_up() -> None:
    proof = prove(TWO_SECONDS)
    for _ in range(4):
        request = ask(proof)
        accept(
            proof,
            request,
            answer(steady([*range(15)])(request).page.records, 16, current=request.current, size=request.size),
        )
    request = ask(proof)
    assert (proof.report.scans, request.current) == (2, 1)
    accept(proof, request, answer(calls(*range(6, 16)), 16))
    proof.give_up()
    assert proof.state is WindowState.UNPROVEN
    assert (proof.report.unique, proof.report.total) == (16, 16)


def test_rows_missed_by_one_scan_may_come_from_another() -> None:
    proof = prove(TWO_SECONDS, size=2)
    orders = [[1, 2, 3, 4], [1, 2, 1, 2], [3, 4, 3, 4]]
    scans = [orders[1], orders[2]]
    seen = [0]

    def tell(request: PageRequest) -> PageAnswer:
        order = scans[min(seen[0], 1)]
        if request.control:
            seen[0] += 1
        at = (request.current - 1) * request.size
        return answer(calls(*order[at : at + request.size]), 4, size=request.size, current=request.current)

    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.unique == 4
    assert proof.report.duplicates == 4


def test_too_many_rows_are_cut_before_their_pages_are_fetched() -> None:
    for rows, state in ((20, WindowState.OPEN), (21, WindowState.TOO_LARGE)):
        proof = prove(max_rows=20)
        request = ask(proof)
        accept(proof, request, answer(calls(*range(10)), rows))
        assert proof.state is state
        assert (proof.next_request() is None) == (state is WindowState.TOO_LARGE)


def test_a_window_of_two_seconds_is_read_however_much_it_holds() -> None:
    proof = prove(TWO_SECONDS, max_rows=20)
    reported(proof, steady(list(range(95))))
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.unique == 95


@pytest.mark.parametrize("first", [True, False])
def test_a_smaller_page_size_is_planned_anew(first: bool) -> None:  # noqa: FBT001
    budget = Budget(10)
    proof = prove(budget=budget)
    ids = list(range(25))
    clamped = [first]

    def tell(request: PageRequest) -> PageAnswer:
        size = min(request.size, 4) if clamped[0] else request.size
        clamped[0] = True
        at = (request.current - 1) * size
        return answer(calls(*ids[at : at + size]), len(ids), size=size, current=request.current)

    asked = reported(proof, tell)
    # What was planned with the old size and not yet sent is not asked for any more.
    before = [(1, 10)] if first else [(1, 10), (2, 10), (1, 4)]
    assert asked == [*before, *((current, 4) for current in range(2, 8)), (1, 1)]
    assert proof.state is WindowState.CERTIFIED
    assert (proof.report.unique, proof.report.anomalies) == (25, 1)
    assert proof.size == 4
    assert budget.planned == 25 // 4 + 1


def test_answers_to_a_plan_with_larger_pages_are_read_no_more() -> None:
    proof = prove()
    tell = steady(list(range(25)))
    first = ask(proof)
    accept(proof, first, tell(first))
    second, third = ask(proof), ask(proof)
    accept(proof, second, answer(calls(10, 11, 12, 13), 25, size=4, current=2))
    pages = proof.report.pages
    anew = ask(proof)
    assert (anew.current, anew.size) == (1, 4)
    assert accept(proof, third, tell(third)) is None
    assert proof.report.pages == pages
    assert proof.next_request() is None
    accept(proof, anew, tell(anew))
    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    assert proof.report.unique == 25


def asked_for_the_end(
    ids: list[int], total: int, tell_end: Callable[[PageRequest], PageAnswer], **settings: object
) -> tuple[WindowReader, list[tuple[int, int]]]:
    """Read `ids` with a total that is cut off, and let `tell_end` answer the request for the end."""
    proof = prove(TWO_SECONDS, **settings)  # type: ignore[arg-type]

    def tell(request: PageRequest) -> PageAnswer:
        if request.is_end:
            return tell_end(request)
        at = (request.current - 1) * request.size
        return answer(calls(*ids[at : at + request.size]), total, size=request.size, current=request.current)

    return proof, reported(proof, tell)


@pytest.mark.parametrize(
    ("total", "size", "page"),
    [(10, 10, (2, 9)), (20, 10, (3, 9)), (90, 10, (12, 8)), (6, 3, (2, 4)), (4, 1, (2, 3)), (1, 1, (1, 2))],
)
def test_a_full_last_page_is_followed_by_a_page_that_reaches_beyond_it(
    total: int, size: int, page: tuple[int, int]
) -> None:
    proof, asked = asked_for_the_end([*range(total)], total, steady([*range(total)]), size=size)
    assert asked[-2:] == [(1, 1), page]
    assert proof.state is WindowState.CERTIFIED
    assert (proof.report.unique, proof.report.pages, proof.report.anomalies) == (total, total // size, 0)


@pytest.mark.parametrize("behind", [1, 7, 90])
@pytest.mark.parametrize("broken", [False, True])
def test_a_total_that_is_cut_off_at_a_full_page_is_shown_by_the_rows_behind_it(behind: int, broken: bool) -> None:  # noqa: FBT001
    def tell(request: PageRequest) -> PageAnswer:
        at = (request.current - 1) * request.size
        rows = [*range(at, min(10 + behind, at + request.size))]
        if broken:
            return answer(calls(rows[0]), 10, size=request.size, current=request.current, broken=len(rows) - 1)
        return answer(calls(*rows), 10, size=request.size, current=request.current)

    proof, asked = asked_for_the_end([*range(10)], 10, tell)
    assert (2, 9) in asked
    assert proof.state is WindowState.UNPROVEN
    assert proof.report.total == 10 + min(behind, 8)


@pytest.mark.parametrize(
    "tell",
    [
        lambda _: answer(calls(*range(10)), 10, size=10, current=1),  # page 1 once more, and it says so
        lambda _: answer(calls(*range(9)), 10, size=9, current=1),
        lambda _: answer([], 10, size=9, current=2),  # nothing
        lambda _: answer(calls(*range(10)), 10, size=9, current=2),  # ten rows, said to be nine
        lambda _: answer(calls(9), 10, size=10, current=2),  # another size
    ],
    ids=range(5),
)
def test_a_page_that_is_not_the_one_asked_for_shows_nothing_about_the_end(
    tell: Callable[[PageRequest], PageAnswer],
) -> None:
    proof, asked = asked_for_the_end([*range(10)], 10, tell)
    assert asked == [(1, 10), (1, 1), (2, 9), (2, 9)]
    assert (proof.state, proof.end_is_unseen, proof.report.unique) == (WindowState.UNPROVEN, True, 10)


def test_a_page_that_holds_rows_that_were_not_read_shows_that_there_are_more() -> None:
    # Pages of ten, said to be of nine: OFFSET 10 instead of 9, and behind it exactly one row.
    proof, _ = asked_for_the_end([*range(10)], 10, lambda _: answer(calls(10), 10, size=9, current=2))
    assert (proof.state, proof.end_is_unseen, proof.report.total) == (WindowState.UNPROVEN, False, 11)


def test_a_row_twice_on_the_page_beyond_the_end_is_an_anomaly() -> None:
    proof, _ = asked_for_the_end([*range(10)], 10, lambda _: answer(calls(9, 9), 10, size=9, current=2))
    assert (proof.state, proof.report.anomalies) == (WindowState.CERTIFIED, 1)


def test_a_total_that_has_changed_when_the_end_is_asked_for_is_read_again() -> None:
    ids = [*range(10)]
    proof = prove(TWO_SECONDS)

    def tell(request: PageRequest) -> PageAnswer:
        if request.is_end:
            del ids[9:]
            return answer([], 9, size=9, current=1)  # the page is gone: page 1, without its rows
        return steady(ids)(request)

    assert reported(proof, tell) == [(1, 10), (1, 1), (2, 9), (1, 10), (1, 1)]
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 9, 2)


def test_a_row_that_changed_before_the_end_is_asked_for_is_read_again() -> None:
    proof, _ = asked_for_the_end([*range(10)], 10, lambda _: answer(calls(9, code="x"), 10, size=9, current=2))
    assert proof.state is WindowState.UNPROVEN


def test_where_no_size_reaches_beyond_the_end_the_window_is_unproven() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "LARGEST_SIZE", 3)
        proof, asked = asked_for_the_end([*range(6)], 6, steady([]), size=3)
    assert asked == [(1, 3), (2, 3), (1, 1)]
    assert (proof.state, proof.end_is_unseen) == (WindowState.UNPROVEN, True)


def test_the_end_is_asked_for_with_a_size_that_the_vendor_gives() -> None:
    # Pages shrink to seven when the end is asked for, with nine: of 20 rows the third page of seven holds six.
    def tell(request: PageRequest) -> PageAnswer:
        return steady([*range(20)])(msgspec.structs.replace(request, size=7) if request.is_end else request)

    proof = prove()
    assert reported(proof, tell) == [(1, 10), (2, 10), (1, 1), (3, 9), (3, 7)]
    assert proof.state is WindowState.CERTIFIED


def test_a_larger_total_on_a_page_of_another_size_forbids_the_certificate() -> None:
    # The vendor always sends pages of ten, and more rows have come since the control count.
    def tell(request: PageRequest) -> PageAnswer:
        rows = [*range(21 if request.is_end else 20)]
        return steady(rows)(msgspec.structs.replace(request, size=10))

    proof = prove(TWO_SECONDS)
    reported(proof, tell)
    assert proof.state is WindowState.UNPROVEN


def test_one_row_a_page_shows_no_end() -> None:
    # No page begins before the end and reaches beyond it.
    proof = prove(TWO_SECONDS, size=1)

    def tell(request: PageRequest) -> PageAnswer:
        return answer(calls(1), 1, size=1, current=request.current)

    reported(proof, tell)
    assert (proof.state, proof.end_is_unseen) == (WindowState.UNPROVEN, True)


def test_a_page_that_is_gone_when_it_is_asked_for_repeats_nothing() -> None:
    # Deleted meanwhile: the last page. Page one comes in its place, sent twice and read once.
    proof = prove(TWO_SECONDS)
    first = ask(proof)
    accept(proof, first, answer(calls(*range(10)), 25))

    def tell(request: PageRequest) -> PageAnswer:
        if request.is_end:
            return steady([*range(20)])(request)
        page = min(request.current, 2)
        if request.current == 3:
            page = 1
        at = (page - 1) * request.size
        return answer(calls(*range(at, min(20, at + request.size))), 20, size=request.size, current=page)

    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    report = proof.report
    assert (report.scans, report.unique, report.total, report.duplicates) == (2, 20, 20, 0)


def test_a_window_too_expensive_to_split_is_read_unsplit() -> None:
    proof = prove(max_rows=20)
    tell = steady(list(range(25)))
    first = ask(proof)
    assert accept(proof, first, tell(first)) is None
    report = proof.report
    assert (proof.state, report.total, report.scans, report.certified) == (WindowState.TOO_LARGE, 25, 0, False)
    proof.read_uncut()
    assert proof.is_open
    assert reported(proof, tell) == [(2, 10), (3, 10), (1, 1)]
    assert proof.state is WindowState.CERTIFIED
    assert (proof.report.unique, proof.report.scans, proof.report.pages) == (25, 1, 3)


def test_a_part_with_more_pages_than_planned_stays_unproven_with_its_rows() -> None:
    for rows, state in ((221, WindowState.OPEN), (222, WindowState.UNPROVEN)):
        proof = prove(size=1, is_part=True)
        assert accept(proof, ask(proof), answer(calls(1), rows, size=1)) is None
        assert proof.state is state
        assert (proof.next_request() is None) == (state is WindowState.UNPROVEN)
        if state is WindowState.UNPROVEN:
            assert (proof.report.total, proof.report.unique, proof.report.certified) == (222, 1, False)


def test_a_total_that_grows_while_a_window_is_read_does_not_cut_it() -> None:
    # Neither on a later page nor in a later scan: everything would be read once more.
    ids = list(range(20))
    proof = prove(TWO_SECONDS, max_rows=20)
    tell = steady(ids)
    first = ask(proof)
    assert accept(proof, first, tell(first)) is None
    ids.append(20)
    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    proof = prove(HOUR, max_rows=20)
    first = ask(proof)
    assert accept(proof, first, answer(calls(*range(10)), 20)) is None
    asked = reported(proof, tell)
    assert (3, 10) in asked
    assert proof.state is WindowState.CERTIFIED
    proof = prove(HOUR, max_rows=20)
    ids[10:] = range(10)

    def grow(request: PageRequest) -> PageAnswer:
        if request.control:
            ids[:] = range(21)
        return tell(request)

    reported(proof, grow)
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 21, 2)


def test_the_calls_of_a_window_are_planned_once_and_those_of_a_part_were_planned_before() -> None:
    for is_part, planned in ((False, 3), (True, 0)):
        budget = Budget(10)
        proof = prove(budget=budget, is_part=is_part)
        reported(proof, steady(list(range(25))))
        assert budget.planned == planned


def test_the_count_of_a_window_that_was_read_is_asked_for_though_nothing_is_left() -> None:
    budget = Budget()
    assert budget.read(19)
    assert budget.take(200)
    for rows, counts in ((15, [(1, 1)]), (20, [(1, 1), (3, 9)])):
        proof = prove(budget=budget, is_part=True)
        assert reported(proof, steady(list(range(rows)))) == [(1, 10), (2, 10), *counts]
        assert proof.state is WindowState.CERTIFIED
        budget = Budget()
        assert budget.read(19)
        assert budget.take(200)


def test_anomalies_of_answers_are_counted() -> None:
    odd = answer(calls(1), 1)
    odd = PageAnswer(page=Page(total=1, size=10, current=1, pages=7, records=odd.page.records))
    proof = prove(is_part=True)
    accept(proof, ask(proof), odd)
    assert (proof.state, proof.report.anomalies) == (WindowState.CERTIFIED, 1)
    odd = PageAnswer(page=Page(total=30, size=10, current=1, pages=7, records=calls(*range(10))))
    proof = prove(max_rows=20)
    accept(proof, ask(proof), odd)
    assert (proof.state, proof.report.anomalies) == (WindowState.TOO_LARGE, 1)
    proof = prove()
    accept(proof, ask(proof), odd)
    proof.give_up()
    assert (proof.state, proof.report.anomalies) == (WindowState.UNPROVEN, 1)
    assert proof.next_request() is None, "nothing of it is asked for any more"


def test_a_conflict_is_counted_once_per_id_over_all_scans() -> None:
    proof = prove(TWO_SECONDS)

    def tell(request: PageRequest) -> PageAnswer:
        code = f"{proof.report.scans}{request.current}"
        page = calls(*range(8), code="x") + calls(8, 9, code=code) if request.current == 1 else calls(8, code=code)
        return answer(page[: request.size], 11, size=request.size, current=request.current)

    reported(proof, tell)
    assert proof.state is WindowState.UNPROVEN
    assert (proof.report.scans, proof.report.unique, proof.report.conflicts) == (3, 10, 2)


def test_indistinguishable_rows_are_proven_only_on_one_page() -> None:
    # Another response may have other bytes for the same row: the number of rows on several pages means nothing.
    proof = prove()

    def tell(request: PageRequest) -> PageAnswer:
        at = (request.current - 1) * 10
        page = calls(*range(at, min(at + request.size, 14)))
        return answer(page, 15, size=request.size, current=request.current, broken=request.current == 2)

    reported(proof, tell)
    assert proof.state is WindowState.UNPROVEN
    assert (proof.report.unique, proof.report.total, proof.report.scans) == (15, 15, 1)


def test_rereading_is_charged_to_the_budget_for_rereading() -> None:
    def spent(*, is_repair: bool, tells: int) -> int:
        budget = Budget()
        proof = prove(TWO_SECONDS, budget=budget, is_part=True, is_repair=is_repair)
        reported(
            proof,
            lambda request: answer(
                steady(list(range(15)))(request).page.records, tells, size=request.size, current=request.current
            ),
        )
        return 200 - budget.left

    assert spent(is_repair=False, tells=15) == 0
    assert spent(is_repair=False, tells=16) == 9, "one more count, and two more scans of two pages and two counts"
    assert spent(is_repair=True, tells=15) == 2, "the first page is paid for"
    assert spent(is_repair=True, tells=16) == 11


def test_a_repair_that_trouble_cannot_pay_for_is_still_read_once() -> None:
    budget = Budget()
    assert budget.take(199)
    proof = prove(TWO_SECONDS, budget=budget, is_part=True, is_repair=True)
    assert reported(proof, steady([*range(25)])) == [(1, 10), (2, 10), (3, 10), (1, 1)]
    assert proof.state is WindowState.CERTIFIED


def test_an_answer_that_cannot_be_used_is_asked_for_again_once_and_then_an_error() -> None:
    proof = prove()
    first = ask(proof)
    assert accept(proof, first, answer(calls(1), 1, current=2)) is None
    again = ask(proof)
    assert (again.current, again.size, again.asked_before) == (1, 10, True)
    error = accept(proof, again, answer(calls(1), 1, size=11))
    assert isinstance(error, ProtocolError)
    assert error.window == HOUR
    assert error.page == 1
    assert proof.report.anomalies == 2


def test_an_answer_that_cannot_be_used_is_an_error_at_once_when_nothing_is_left_to_ask_again() -> None:
    for left in (1, 0):
        budget = Budget()
        assert budget.take(200 - left)
        proof = prove(budget=budget)
        error = accept(proof, ask(proof), answer(calls(1), 1, current=2))
        assert isinstance(error, ProtocolError) == (left == 0)
        assert (proof.next_request() is None) == (left == 0)


def test_an_error_about_the_filter_says_where() -> None:
    proof = prove(filters=Filters(phone_name="a"))
    error = accept(proof, ask(proof), answer(calls(1, phone_name="b"), 1))
    assert isinstance(error, FilterIgnoredError)
    assert error.window == HOUR
    assert error.page == 1


def test_strict_accepts_decodable_records() -> None:
    proof = prove(strict=True)
    reported(proof, steady(list(range(25))))
    assert proof.state is WindowState.CERTIFIED


def test_strict_is_an_error_at_the_second_broken_answer() -> None:
    proof = prove(strict=True)
    assert accept(proof, ask(proof), answer(calls(1), 2, broken=1)) is None
    error = accept(proof, ask(proof), answer(calls(1), 2, broken=1))
    assert isinstance(error, ProtocolError)
    assert (error.window, error.page) == (HOUR, 1)
    assert "strict" in str(error)


def test_undecodable_records_count_for_the_proof() -> None:
    proof = prove(is_part=True)
    assert accept(proof, ask(proof), answer(calls(1), 3, broken=2)) is None
    assert accept(proof, ask(proof), answer(calls(1), 3, broken=2)) is None
    assert proof.state is WindowState.CERTIFIED
    assert (proof.report.total, proof.report.unique, proof.report.quarantined) == (3, 3, 2)
    assert (proof.report.requests, proof.report.pages, proof.report.anomalies) == (2, 1, 1)


def test_broken_records_are_set_aside_when_nothing_is_left_to_ask_again() -> None:
    # "A record that cannot be decoded costs itself": not the run, however little is left of the budget.
    for left, asked in ((1, 2), (0, 1)):
        budget = Budget()
        assert budget.take(200 - left)
        proof = prove(budget=budget, is_part=True)
        for _ in range(asked):
            assert accept(proof, ask(proof), answer(calls(1), 2, broken=1)) is None
        assert proof.state is WindowState.CERTIFIED
        assert budget.left == 0


def test_answers_to_a_plan_that_was_given_up_change_nothing() -> None:
    proof = prove()
    request = ask(proof)
    proof.give_up()
    assert accept(proof, request, answer(calls(1), 1)) is None
    assert proof.report.pages == 0
    assert not proof.report.certified
    assert proof.next_request() is None


# --- windows to which calls may still be added


@pytest.mark.parametrize(("settled_before", "delays"), [(HOUR.end, [0]), (HOUR.start, [1])])
def test_only_the_count_of_a_young_window_waits(settled_before: datetime, delays: list[int]) -> None:
    ages = ages_of(settled_before)._replace(count_delay=timedelta(seconds=1))
    proof = prove(ages=ages)
    requests = []
    while (request := proof.next_request()) is not None:
        requests.append(request)
        accept(proof, request, steady([*range(25)])(request))
    assert proof.state is WindowState.CERTIFIED
    assert [request.delay for request in requests if not request.control] == [0, 0, 0]
    assert [request.delay for request in requests if request.control] == delays


@pytest.mark.parametrize(("first", "delays"), [(24, [1, 12]), (26, [1])])
def test_a_count_below_the_rows_is_waited_for_longer_after_the_next_reading_and_one_above_them_not_again(
    first: int, delays: list[int]
) -> None:
    ages = ages_of(HOUR.start)._replace(count_delay=timedelta(seconds=1))
    proof = prove(ages=ages)
    waits = []
    rows = [*range(25)]
    while (request := proof.next_request()) is not None:
        sent = steady(rows)(request)
        if request.control and request.delay:
            waits.append(request.delay)
        if request.control and proof.report.scans == 1:
            sent = answer(sent.page.records, first, size=request.size)
            rows[25:] = range(25, first)
        accept(proof, request, sent)
    assert proof.state is WindowState.CERTIFIED
    assert waits == delays


# --- sizes that are not what was asked for


def silently(ids: list[int], size: int, *, echo: int = 10) -> Callable[[PageRequest], PageAnswer]:
    """Give pages of `size` at most, and say that they are of `echo`, or of what was asked for if that is less."""

    def tell(request: PageRequest) -> PageAnswer:
        given = min(size, request.size)
        at = (request.current - 1) * given
        return answer(calls(*ids[at : at + given]), len(ids), size=min(echo, request.size), current=request.current)

    return tell


def test_a_server_that_sends_smaller_pages_than_it_says_is_read_with_those() -> None:
    sizes = PageSizes()
    proof = prove(sizes=sizes)
    asked = reported(proof, silently([*range(25)], 4))
    assert asked == [(1, 10), (1, 10), *((current, 4) for current in range(2, 8)), (1, 1)]
    assert proof.state is WindowState.CERTIFIED
    assert (proof.report.unique, proof.size, proof.actual_size) == (25, 4, 4)
    assert (sizes.actual, sizes.echoed) == (4, 10)


def test_a_server_that_always_echoes_the_same_size_is_understood_once_it_is_known() -> None:
    def tell(request: PageRequest) -> PageAnswer:
        sent = silently([*range(25)], 4)(request)
        return answer(sent.page.records, 25, size=10, current=request.current)

    sizes = PageSizes()
    assert reported(prove(sizes=sizes), tell)[-1] == (1, 1)
    proof = prove(sizes=sizes, size=4)
    assert reported(proof, tell) == [*((current, 4) for current in range(1, 8)), (1, 1)]
    assert (proof.state, proof.report.unique, proof.report.anomalies) == (WindowState.CERTIFIED, 25, 0)


def test_a_first_page_that_is_short_once_is_no_size() -> None:
    # A row was deleted between COUNT and SELECT.
    proof = prove(is_part=True)
    assert accept(proof, ask(proof), answer(calls(1, 2), 3)) is None
    assert reported(proof, steady([1, 2])) == [(1, 10)]
    assert (proof.state, proof.actual_size, proof.report.anomalies) == (WindowState.CERTIFIED, 10, 1)


def test_a_total_that_is_wrong_is_no_size() -> None:
    # Two of three rows, for good: pages of two are tried, and nothing follows the first.
    budget, sizes = Budget(10), PageSizes()
    proof = prove(TWO_SECONDS, budget=budget, sizes=sizes)
    reported(
        proof,
        lambda request: answer(
            calls(1, 2) if request.current == 1 else [], 3, size=request.size, current=request.current
        ),
    )
    assert proof.state is WindowState.UNPROVEN
    assert (proof.actual_size, sizes.actual, budget.planned) == (10, None, 1)


def test_pages_that_shrink_more_and_more_are_no_size_that_other_windows_take_over() -> None:
    # Rows are left out after LIMIT: four of ten, then two of four.
    sizes = PageSizes()
    sizes.actual, sizes.echoed = 4, 10
    proof = prove(sizes=sizes, size=4)
    assert (2, 2) not in reported(proof, silently([*range(25)], 2, echo=4))
    assert (proof.state, proof.actual_size) == (WindowState.UNPROVEN, 4)


# --- refusals

REFUSED = InvalidQueryError("parameter", status=-22)
GONE = ProtocolError("a response without content", retryable=True)
DOWN = ServerFaultError("down")
SPENT = OutageError("the budget is spent")
SPENT.__cause__ = DOWN


def reading(ids: list[int], **settings: object) -> tuple[WindowReader, list[PageRequest]]:
    """Read the first page of a window; return its other pages as they are asked for."""
    proof = prove(**settings)  # type: ignore[arg-type]
    assert accept(proof, ask(proof), steady(ids)(PAGE_ONE)) is None
    return proof, [ask(proof) for _ in range(-(-len(ids) // 10) - 1)]


OWNER: Any = None  # the answer has no owner
PAGE_ONE = PageRequest(owner=OWNER, window=HOUR, params=b"", current=1, size=10)


@pytest.mark.parametrize("error", [REFUSED, GONE, DOWN, SPENT])
def test_pages_that_are_refused_because_rows_were_deleted_are_counted_again(error: SipCdrError) -> None:
    proof, (second, third, fourth) = reading([*range(35)])
    assert accept(proof, second, steady([*range(35)])(second)) is None
    assert refuse(proof, third, error) is None
    assert refuse(proof, fourth, error) is None
    count = ask(proof)
    assert (count.control, proof.next_request()) == (True, None)
    assert accept(proof, count, steady([*range(15)])(count)) is None
    assert reported(proof, steady([*range(15)])) == [(1, 10), (2, 10), (1, 1)]
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 15, 2)


@pytest.mark.parametrize("error", [AuthenticationError("no"), VendorError("?", status=-99), OutageError("no network")])
def test_a_page_that_fails_for_the_account_or_the_network_ends_the_run(error: SipCdrError) -> None:
    proof, (second,) = reading([*range(15)])
    assert refuse(proof, second, error) is error


@pytest.mark.parametrize("refusal", [REFUSED, DOWN, GONE, None])
def test_a_page_that_is_short_because_the_total_is_wrong_is_not_blamed_on_the_smallest_size(
    refusal: SipCdrError | None,
) -> None:
    # Four calls, of which seven more are counted, from a server that sends or accepts no page below five.
    proof = prove(TWO_SECONDS)
    for _ in range(2):
        first = ask(proof)
        assert accept(proof, first, answer(calls(*range(4)), 11)) is None
    second = ask(proof)
    assert (second.current, second.size) == (2, 4)
    if refusal is None:
        assert accept(proof, second, answer([], 11, size=5, current=2)) is None
    else:
        assert refuse(proof, second, refusal) is None
        assert refuse(proof, ask(proof), refusal) is None
        count = ask(proof)
        assert count.control
        assert accept(proof, count, answer([], 11)) is None
    assert (proof.state, proof.report.unique, proof.report.total) == (WindowState.UNPROVEN, 4, 11)


def test_a_page_that_the_vendor_counts_and_does_not_send_is_requested_again_and_then_its_error() -> None:
    pages = reading([*range(25)])
    for is_again in (False, True):
        proof, (second, third) = pages
        assert (second.may_be_gone, third.may_be_gone) == (not is_again, not is_again)
        assert refuse(proof, third, GONE) is None
        assert refuse(proof, second, DOWN) is None
        count = ask(proof)
        error = accept(proof, count, steady([*range(25)])(count))
        assert error is (DOWN if is_again else None), "that of the first page that is missing"
        pages = (proof, [] if is_again else [ask(proof), ask(proof)])


def test_a_page_that_comes_after_the_window_was_counted_is_taken() -> None:
    proof, (second, third) = reading([*range(25)])
    assert refuse(proof, third, GONE) is None
    assert accept(proof, second, steady([*range(25)])(second)) is None
    assert [*reported(proof, steady([*range(25)]))] == [(1, 1), (3, 10), (1, 1)]
    assert (proof.state, proof.report.scans) == (WindowState.CERTIFIED, 1)


def test_a_page_that_lies_too_deep_leaves_the_window_to_be_cut() -> None:
    proof, (second, third) = reading([*range(25)])
    assert accept(proof, second, steady([*range(25)])(second)) is None
    assert refuse(proof, third, REFUSED) is None
    count = ask(proof)
    assert accept(proof, count, steady([*range(25)])(count)) is None
    assert (proof.state, proof.refused_page, proof.report.unique) == (WindowState.UNPROVEN, 3, 20)


def test_first_pages_and_counts_that_are_refused_are_errors() -> None:
    proof = prove()
    first = ask(proof)
    assert refuse(proof, first, REFUSED) is REFUSED
    assert accept(proof, first, steady([*range(20)])(first)) is None
    second = ask(proof)
    assert accept(proof, second, steady([*range(20)])(second)) is None
    assert refuse(proof, ask(proof), GONE) is GONE
    proof.give_up()
    assert refuse(proof, second, REFUSED) is None, "nothing of it is asked for any more"


def test_a_refused_look_at_the_end_shows_nothing() -> None:
    proof, (second,) = reading([*range(20)])
    assert accept(proof, second, steady([*range(20)])(second)) is None
    count = ask(proof)
    assert accept(proof, count, steady([*range(20)])(count)) is None
    end = ask(proof)
    assert end.is_end
    assert end.needs_fresh_answer
    assert refuse(proof, end, GONE) is None
    assert (proof.state, proof.end_is_unseen) == (WindowState.UNPROVEN, True)


def test_totals_are_asked_for_with_the_size_that_is_accepted() -> None:
    sizes = PageSizes()
    sizes.for_counts = 10
    proof = prove(sizes=sizes)
    assert reported(proof, steady([1])) == [(1, 10), (1, 10)]
    assert proof.state is WindowState.CERTIFIED


# --- rows that are stored twice, legs


@pytest.mark.parametrize("ids", [[1, 1, 2], [*range(9), 8, 10, 11]])
def test_rows_that_one_answer_holds_twice_count_twice_and_are_handed_over_once(ids: list[int]) -> None:
    proof = prove()
    reported(proof, steady(ids))
    report = proof.report
    assert (proof.state, report.scans) == (WindowState.CERTIFIED, 1)
    assert (report.total, report.unique, report.copies, report.counted) == (len(ids) - 1, len(ids) - 1, 1, len(ids))


def test_rows_on_two_pages_in_every_scan_are_reported_as_copies() -> None:
    proof = prove(TWO_SECONDS)
    reported(proof, steady([*range(10), 9, 10, 10, 11]))
    assert (proof.state, proof.report.scans) == (WindowState.UNPROVEN, 3)
    assert (proof.report.unique, proof.report.copies, proof.identical_rows) == (12, 1, 2)
    # Other rows each time: they move.
    proof = prove(TWO_SECONDS)

    def move(request: PageRequest) -> PageAnswer:
        return steady([*range(10), proof.report.scans, 10, 11])(request)

    reported(proof, move)
    assert (proof.state, proof.identical_rows) == (WindowState.UNPROVEN, 0)


def test_the_size_of_a_page_without_rows_says_nothing() -> None:
    proof = prove()
    reported(proof, lambda request: answer([], 0, size=0, current=request.current))
    assert (proof.state, proof.report.total) == (WindowState.CERTIFIED, 0)


def test_a_total_that_is_wrong_is_not_blamed_on_the_size_of_pages() -> None:
    # Three of four rows come twice, as if pages held three; when calls arrive, more come than that.
    proof = prove(TWO_SECONDS)
    rows = calls(1, 2, 3)

    def tell(request: PageRequest) -> PageAnswer:
        if request.size == 3 and len(rows) == 3:
            rows.append(*calls(4))
        return answer(rows if request.current == 1 else [], len(rows) + 1, size=10, current=request.current)

    reported(proof, tell)
    assert (proof.state, proof.actual_size) == (WindowState.UNPROVEN, 10)


def test_only_the_pages_that_hold_legs_in_doubt_are_read_once_more() -> None:
    proof = prove(HOUR)
    rows = [*calls(*range(10)), *calls(*range(10, 20)), *calls(20, 21, 22), *calls(0, code="second leg"), *calls(24)]

    def tell(request: PageRequest) -> PageAnswer:
        at = (request.current - 1) * request.size
        return answer(rows[at : at + request.size], 25, size=request.size, current=request.current)

    assert reported(proof, tell) == [(1, 10), (2, 10), (3, 10), (1, 1), (1, 10), (3, 10), (1, 1)]
    assert (proof.state, proof.report.unique, proof.report.total) == (WindowState.CERTIFIED, 25, 25)
    assert proof.report.conflicts == 0


def test_a_row_that_changed_and_hides_a_missing_one_proves_nothing() -> None:
    # Row 3 is read twice, with other contents the second time, and row 12 not at all; the count agrees.
    proof = prove(TWO_SECONDS)

    def tell(request: PageRequest) -> PageAnswer:
        if request.current == 2:
            return answer([*calls(10, 11), *calls(3, code="x")], 13, size=request.size, current=2)
        return answer(calls(*range(10))[: request.size], 13, size=request.size)

    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED, "two legs, for all that can be seen: both stand again"
    changed = [0]

    def change(request: PageRequest) -> PageAnswer:
        changed[0] += request.current == 2
        if request.current == 2:
            return answer([*calls(10, 11), *calls(3, code=f"{changed}")], 13, size=request.size, current=2)
        return tell(request)

    proof = prove(TWO_SECONDS)
    reported(proof, change)
    assert proof.state is WindowState.UNPROVEN
    assert proof.report.conflicts == 1


def test_rows_can_be_read_once_more_after_the_certificate() -> None:
    proof = prove()
    tell = steady([*range(25)])
    reported(proof, tell)
    assert proof.state is WindowState.CERTIFIED
    proof.read_once_more({"3", "24"})
    assert (proof.is_open, proof.report.certified) == (True, False)
    assert reported(proof, tell) == [(1, 10), (3, 10), (1, 1)]
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 25, 2)
    proof.read_once_more({"nobody"})
    assert (proof.is_open, proof.report.certified) == (False, False)


def test_a_window_to_which_calls_are_added_is_counted_at_once_by_the_end_of_its_list() -> None:
    ages = ages_of(HOUR.start)._replace(count_delay=timedelta(seconds=1))
    proof = prove(ages=ages)
    rows, asked = [*range(25)], []
    while (request := proof.next_request()) is not None:
        asked.append((request.current, request.size, request.delay))
        if len(asked) in {4, 8}:
            rows.append(len(rows))  # before the count that waits, and before the one at once
        accept(proof, request, steady(rows)(request))
    assert asked == [
        *((1, 10, 0), (2, 10, 0), (3, 10, 0), (1, 1, 1)),
        *((1, 10, 0), (2, 10, 0), (3, 10, 0), (3, 9, 0)),
        *((1, 10, 1), (2, 10, 1), (3, 10, 1), (4, 8, 0)),
    ]
    assert (proof.state, proof.report.unique, proof.report.scans) == (WindowState.CERTIFIED, 27, 3)


@pytest.mark.parametrize(("lagging", "sent"), [(1, 8), (0, 9), (0, 7)])
def test_a_count_at_once_must_be_no_older_than_the_rows(lagging: int, sent: int) -> None:
    # Of 26 rows page 3 of nine holds eight; COUNT or the page itself knows another number.
    ages = ages_of(HOUR.start)._replace(count_delay=timedelta(seconds=1))
    proof = prove(ages=ages, is_growing=True)
    ends = 0
    while (request := proof.next_request()) is not None and not ends:
        if request.is_end:
            ends += 1
            rows = [*range(18, 26), 25][:sent]
            reply = answer(calls(*rows), 26 - lagging, size=9, current=3)
        else:
            reply = steady([*range(26)])(request)
        accept(proof, request, reply)
    assert ends == 1
    assert proof.is_open


def test_a_vendor_that_gives_no_page_of_that_size_is_asked_for_a_count_that_waits() -> None:
    ages = ages_of(HOUR.start)._replace(count_delay=timedelta(seconds=1))
    proof = prove(ages=ages, is_growing=True)
    asked = []
    while (request := proof.next_request()) is not None:
        asked.append((request.current, request.size, request.delay))
        if request.is_end:
            refuse(proof, request, ServerFaultError("port program unusual"))
        else:
            accept(proof, request, steady([*range(26)])(request))
    assert asked == [(1, 10, 0), (2, 10, 0), (3, 10, 0), (3, 9, 0), (1, 1, 1)]
    assert proof.state is WindowState.CERTIFIED


def test_a_window_in_which_many_calls_arrive_is_cut_instead_of_read_again() -> None:
    for window, state in ((HOUR, WindowState.UNPROVEN), (TWO_SECONDS, WindowState.OPEN)):
        proof = prove(window, ages=ages_of(HOUR.start - timedelta(hours=1)))
        rows = [*range(25)]
        for _ in range(4):
            request = ask(proof)
            if request.control:
                rows += range(25, 34)
            accept(proof, request, steady(rows)(request))
        assert (proof.state, proof.growth.rows, proof.report.scans) == (
            state,
            9,
            1 + (state is WindowState.OPEN),
        )


# --- transitions


def test_answers_change_nothing_for_others_until_the_window_is_done() -> None:
    heard: list[WindowReader] = []
    proof = prove(on_answer=heard.append)
    changes, followed = [], []
    while (request := proof.next_request()) is not None:
        changes.append(proof.accept(request, steady([*range(35)])(request)))
        followed.append(len(heard))
    # Page 1 of 4, the others, the control count: pages in the middle decide nothing.
    assert changes == [None] * 4 + [PlanChange.DONE]
    assert followed == [1, 1, 1, 2, 3]
    assert proof.state is WindowState.CERTIFIED
    assert proof.accept(PAGE_ONE, steady([*range(35)])(PAGE_ONE)) is None


def test_a_callback_for_answers_may_end_the_run() -> None:
    error = ProtocolError("no")
    proof = prove(on_answer=lambda _: error)
    request = ask(proof)
    assert proof.accept(request, steady([*range(35)])(request)) is error


def test_a_window_that_is_out_of_range_is_no_error_of_its_own() -> None:
    proof = prove()
    assert proof.refuse(ask(proof), OutOfTimeRangeError("too old", status=-25)) is PlanChange.OUT_OF_RANGE
    assert proof.is_open
