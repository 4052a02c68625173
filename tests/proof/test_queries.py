"""A single page, and a count without the calls that its tiles count twice."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.errors import AuthenticationError, FilterIgnoredError, ProtocolError, SchemaMismatchError
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.query import FilterMatch, Filters
from aiosipcdr.model.records import CallDetailRecord, Page
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.page import PageRequest
from aiosipcdr.proof.queries import RangeCount, SinglePage
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import accept, refuse
from tests.proof.simulated_vendor import START as SIMULATED_START
from tests.proof.simulated_vendor import Flight, Habits, Vendor, seconds, seeded

START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = TimeWindow(START, START + timedelta(days=1))
CALL = CallDetailRecord(voice_id="1", submit_time=START, phone_name="a")


def answer(
    *records: CallDetailRecord, total: int = 1, size: int = 1, current: int = 1, broken: bool = False
) -> PageAnswer:
    page = Page(total=total, size=size, current=current, pages=-(-total // size), records=list(records))
    bad = QuarantinedRecord(raw=b"{}", window=None, page=1, reason="broken")
    return PageAnswer(page=page, quarantined=[bad] if broken else [])


def ask(plan: RangeCount | SinglePage) -> PageRequest:
    request = plan.next_request()
    assert request is not None
    return request


# --- one page


def test_a_page_is_asked_for_once_and_kept_as_it_is() -> None:
    plan = SinglePage(DAY, Filters(phone_name="a"), current=7, size=20)
    request = ask(plan)
    assert (request.window, request.current, request.size) == (DAY, 7, 20)
    assert plan.next_request() is None
    assert not plan.has_result
    odd = answer(CALL, total=3, size=90, current=2)
    assert accept(plan, request, odd) is None
    assert plan.has_result
    assert plan.page is odd.page


@pytest.mark.parametrize("match", ["exact", "loose"])
def test_a_page_of_another_phone_is_an_error(match: FilterMatch) -> None:
    plan = SinglePage(DAY, Filters(phone_name="b", match=match), current=7, size=20)
    error = accept(plan, ask(plan), answer(CALL, current=7))
    assert isinstance(error, FilterIgnoredError)
    assert (error.window, error.page) == (DAY, 7)
    assert not plan.has_result
    plan = SinglePage(DAY, Filters(phone_name=" A", match=match), current=1, size=20)
    assert isinstance(accept(plan, ask(plan), answer(CALL)), FilterIgnoredError) is (match == "exact")


def test_a_page_with_a_record_without_an_id_is_asked_for_again_once_and_then_kept() -> None:
    plan = SinglePage(DAY, Filters(), current=1, size=2)
    assert accept(plan, ask(plan), answer(CALL, broken=True)) is None
    assert not plan.has_result
    again = ask(plan)
    assert again.needs_fresh_answer
    assert accept(plan, again, answer(CALL, broken=True)) is None
    assert plan.page is not None
    assert plan.page.records == [CALL]
    assert [(record.window, record.page) for record in plan.page.quarantined] == [(DAY, 1)]
    plan = SinglePage(DAY, Filters(), current=1, size=2)
    accept(plan, ask(plan), answer(CALL, broken=True))
    assert accept(plan, ask(plan), answer(CALL)) is None
    assert plan.page is not None
    assert plan.page.quarantined == []


@pytest.mark.parametrize(("size", "words"), [(1, "no readable id"), (5, "5 of 5 records have no readable voiceId")])
def test_a_page_of_records_without_ids_is_an_error(size: int, words: str) -> None:
    plan = SinglePage(DAY, Filters(), current=1, size=size, strict=size == 1)
    odd = answer(broken=True)
    odd = msgspec.structs.replace(odd, quarantined=odd.quarantined * size)
    assert accept(plan, ask(plan), odd) is None
    error = accept(plan, ask(plan), odd)
    assert isinstance(error, ProtocolError)
    assert isinstance(error, SchemaMismatchError) is (size == 5)
    assert words in str(error)
    assert (error.window, error.page) == (DAY, 1)
    assert not plan.has_result


def test_errors_end_it() -> None:
    plan = SinglePage(DAY, Filters(), current=1, size=1)
    error = AuthenticationError("no", status=-1)
    assert refuse(plan, ask(plan), error) is error
    count = RangeCount(DAY, Filters())
    assert refuse(count, ask(count), error) is error


# --- counts


@given(
    st.integers(0, 200 * 86_400),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
    st.integers(0, 60),
)
def test_a_count_counts_every_call_once(
    length: int,
    includes_start: bool,  # noqa: FBT001
    includes_end: bool,  # noqa: FBT001
    seed: int,
    calls: int,
) -> None:
    assert SIMULATED_START == START
    window = seconds(0, length)
    vendor = Vendor(Habits(includes_start=includes_start, includes_end=includes_end), seeded(seed))
    seams = [31 * 86_400 - 1, 31 * 86_400, 2 * (31 * 86_400 - 1)]
    for _ in range(calls):
        second = vendor.rng.choice([vendor.rng.randrange(length + 1), *(seam for seam in seams if seam <= length)])
        vendor.add(second * 1_000 + vendor.rng.choice([0, 500]))
    plan = RangeCount(window, Filters())
    requests: list[PageRequest] = []
    while not plan.has_result:
        due = []
        while (request := plan.next_request()) is not None:
            due.append(request)
        for request in reversed(due):
            assert not plan.has_result
            flight = Flight(vendor, request)
            assert flight.advance() is None
            reported = flight.advance()
            assert reported is not None
            assert accept(plan, request, reported) is None
        requests += due
    assert plan.total == len(vendor.those_in(window, vendor.rows))
    tiles = max(1, -(-(length - 1) // (31 * 86_400 - 1)))
    windows = {request.window for request in requests}
    assert len(windows) == 2 * tiles - 1
    assert len(requests) == len(windows) + sum(plan.totals[one] == 0 for one in windows), "a 0 is asked for twice"
    assert Counter(request.size for request in requests) == {1: len(requests)}


@pytest.mark.parametrize(("totals", "believed"), [([0, 0], 0), ([0, 7], 7), ([7], 7)])
def test_a_0_is_asked_for_twice_and_the_larger_is_believed(totals: list[int], believed: int) -> None:
    plan = RangeCount(DAY, Filters())
    for total in totals:
        assert not plan.has_result
        request = ask(plan)
        assert (request.window, request.asked_before) == (DAY, False)
        assert accept(plan, request, answer(total=total)) is None
    assert plan.has_result
    assert plan.next_request() is None
    assert plan.total == believed


@pytest.mark.parametrize("broken", [False, True])
def test_an_answer_to_another_question_is_not_counted(broken: bool) -> None:  # noqa: FBT001
    plan = RangeCount(DAY, Filters())
    assert accept(plan, ask(plan), answer(CALL, total=500, broken=broken, current=2)) is None
    assert not plan.has_result
    again = ask(plan)
    assert accept(plan, again, answer(CALL, total=3)) is None
    assert plan.total == 3


def test_an_answer_that_stays_wrong_is_an_error() -> None:
    plan = RangeCount(DAY, Filters())
    accept(plan, ask(plan), answer(CALL, current=2))
    error = accept(plan, ask(plan), answer(CALL, current=2))
    assert isinstance(error, ProtocolError)
    assert error.window == DAY


def test_a_count_does_not_mind_a_record_that_cannot_be_decoded() -> None:
    plan = RangeCount(DAY, Filters())
    assert accept(plan, ask(plan), answer(total=9, broken=True)) is None
    assert plan.total == 9
    assert plan.has_result


def test_a_count_of_others_is_none() -> None:
    plan = RangeCount(DAY, Filters(phone_name="b"))
    error = accept(plan, ask(plan), answer(CALL, total=9))
    assert isinstance(error, FilterIgnoredError)
    assert error.window == DAY
