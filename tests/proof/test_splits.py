"""Split windows: their totals are compared with the rows of their parts."""

from datetime import timedelta

import msgspec
import pytest

from aiosipcdr.model.errors import ProtocolError
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.overlaps import identity
from aiosipcdr.proof.page import PageRequest, PlanChange, Transition
from aiosipcdr.proof.splits import MAX_REPORTS, Recounts, SplitWindow, add_reported
from aiosipcdr.wire.codec import PageAnswer
from tests.proof.made_up_pages import HOUR, START, answer, call


def split(reported: int = 100, parts: int = 2) -> SplitWindow:
    return SplitWindow(HOUR, reported, parts)


def test_a_split_is_short_once_all_parts_are_read_and_hold_less_than_its_total() -> None:
    one = split(3, parts=1)
    one.distinct_rows = 2
    assert not one.is_short
    one.open_parts = 0
    assert one.is_short
    one.distinct_rows = 3
    assert not one.is_short


def test_totals_of_parts_are_credible_up_to_the_shared_seconds_and_a_quarter() -> None:
    assert MAX_REPORTS == 3
    one = split(100)
    add_reported([one], 325)
    assert one.is_credible
    add_reported([one], 1)
    assert not one.is_credible


def test_excess_rows_of_a_split_are_added_to_the_enclosing_one_once() -> None:
    outer, inner = split(100), split(60)
    add_reported([outer, inner], 40)
    assert (outer.excess_rows, inner.excess_rows) == (-100, -20)
    add_reported([outer, inner], 25)
    assert (outer.excess_rows, inner.excess_rows) == (-95, 5)
    add_reported([outer, inner], 5)
    assert (outer.excess_rows, inner.excess_rows) == (-90, 10)
    add_reported([outer], 60)
    assert outer.excess_rows == -30


def test_rows_delivered_by_a_part_are_no_longer_unclaimed() -> None:
    one = SplitWindow(HOUR, 2, 2, unclaimed=[call("1"), call("2")])
    one.forget([call("1"), call("3")], identity)
    assert one.unclaimed == {"2": [call("2")]}
    one.forget([call("2", code="changed")], identity)
    assert one.unclaimed == {}
    empty = split()
    empty.forget([call("1")], identity)
    assert empty.unclaimed == {}


def test_of_several_legs_the_one_that_a_part_hands_over_is_no_more_left() -> None:
    def normalize(row: CallDetailRecord) -> CallDetailRecord:
        return msgspec.structs.replace(row, callee="***")

    legs = [call("1", callee=number, code=code) for number, code in (("1", "a"), ("2", "b"))]
    one = SplitWindow(HOUR, 2, 2, unclaimed=legs)
    one.forget([call("1", callee="***", code="c")], normalize)
    assert one.unclaimed == {"1": legs}
    one.forget([call("1", callee="***", code="b")], normalize)
    assert one.unclaimed == {"1": legs[:1]}


def test_a_part_before_the_boundary_is_not_expected_by_its_split() -> None:
    def part(start: int, end: int) -> TimeWindow:
        return TimeWindow(START + timedelta(seconds=start), START + timedelta(seconds=end))

    edge = START + timedelta(seconds=10)
    one = split(100, parts=3)
    one.trim(part(0, 10), edge)
    assert (one.reported_rows, one.open_parts) == (0, 2)
    one.trim(part(9, 20), edge)
    assert one.open_parts == 2


# --- counting once more


def ask(recounts: Recounts) -> PageRequest:
    return recounts.planned.popleft()


def take(recounts: Recounts, request: PageRequest, reported: PageAnswer) -> int | Transition:
    """Return the total that is used, if the recount is complete."""
    changed = request.owner.accept(request, reported)
    return recounts.counted.popleft()[1] if changed is PlanChange.DONE else changed


def test_a_split_window_is_counted_with_its_own_filters_and_by_its_total_alone() -> None:
    recounts = Recounts(Filters(phone_name="desk"))
    assert recounts.is_done
    assert not recounts.planned
    one = split()
    recounts.plan(one)
    assert not recounts.is_done
    request = ask(recounts)
    assert request.owner.split is one
    assert (request.window, request.current, request.size, request.control) == (HOUR, 1, 1, True)
    assert b'"phoneName":"desk"' in request.params
    assert not recounts.planned
    assert not recounts.is_done, "an answer is still to come"
    assert take(recounts, request, answer(call("1"), total=7, size=1)) == 7
    assert recounts.is_done


def test_several_are_done_when_each_is() -> None:
    recounts = Recounts(Filters())
    for _ in range(2):
        recounts.plan(split())
    first, second = ask(recounts), ask(recounts)
    assert take(recounts, second, answer(total=8, size=1)) == 8
    assert not recounts.is_done
    assert take(recounts, first, answer(total=9, size=1)) == 9
    assert recounts.is_done


@pytest.mark.parametrize(("again", "believed"), [(2, 2), (0, 1), (7, 7)])
def test_a_total_that_proves_the_parts_is_asked_for_twice_and_the_larger_is_believed(again: int, believed: int) -> None:
    # A replica that is not ready would hide that the parts hold too little.
    recounts = Recounts(Filters())
    one = split(7)
    one.distinct_rows = 5
    recounts.plan(one)
    assert take(recounts, ask(recounts), answer(total=1, size=1)) is None
    assert not recounts.is_done
    second = ask(recounts)
    assert (second.owner.split, second.window, second.asked_before) == (one, HOUR, False)  # type: ignore[attr-defined]
    assert take(recounts, second, answer(total=again, size=1)) == believed
    assert recounts.is_done
    assert not recounts.planned


def test_any_size_may_be_echoed_with_a_total() -> None:
    recounts = Recounts(Filters())
    recounts.plan(split())
    assert take(recounts, ask(recounts), answer(total=7, size=10)) == 7


def test_an_answer_to_another_question_is_asked_for_once_more_and_then_an_error() -> None:
    wrong = answer(total=7, size=1, current=2)
    recounts = Recounts(Filters())
    recounts.plan(split())
    assert take(recounts, ask(recounts), wrong) is None
    assert not recounts.is_done
    again = ask(recounts)
    assert again.asked_before
    error = take(recounts, again, wrong)
    assert isinstance(error, ProtocolError)
    assert (error.window, error.page) == (HOUR, 1)
