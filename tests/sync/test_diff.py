"""The difference between a table and a reading, row by row."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pytest

from aiosipcdr.model.records import CallDetailRecord, ExtraFields
from aiosipcdr.sync.diff import Difference, FoundRow, compare_rows
from aiosipcdr.sync.rows import FIELDS, HeldRow, Values, to_values
from tests.sync.vendors import at, record

FIRST, SECOND, THIRD = at(0), at(600), at(1200)


def values_of(one: CallDetailRecord) -> Values:
    (values,) = to_values([one])
    return values


def held(one: CallDetailRecord, leg: int = 0, span: datetime = FIRST, *, has_vanished: bool = False) -> HeldRow:
    return HeldRow(values_of(one), leg, span, has_vanished)


def found(one: CallDetailRecord, span: datetime = FIRST) -> FoundRow:
    return FoundRow(values_of(one), span)


def compare(old: Sequence[HeldRow], new: Sequence[FoundRow], read: Sequence[datetime] = (FIRST,)) -> Difference:
    return compare_rows(old, new, read)


def summary(difference: Difference) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[tuple[str, int]], int]:
    return (
        [(row.values[0], row.leg) for row in difference.added],
        [(row.values[0], row.leg) for row in difference.changed],
        [row.key for row in difference.vanished],
        difference.unchanged,
    )


A, B = record("a", 1, cost=Decimal(1)), record("b", 2, cost=Decimal(2))
A2, B2 = record("a", 1, cost=Decimal(9)), record("b", 2, cost=Decimal(8))


def test_rows_are_added_changed_vanished_and_unchanged() -> None:
    c, d = record("c", 3), record("d", 4)
    difference = compare([held(A), held(B), held(c)], [found(A), found(B2), found(d)])
    assert summary(difference) == ([("d", 0)], [("b", 0)], [("c", 0)], 1)
    assert difference.changed[0].values == values_of(B2)


def test_equal_values_are_equal_however_they_are_written() -> None:
    stored = record("a", 1, cost=Decimal("1.500000000000"))
    sent = record("a", 1, cost=Decimal("1.50"))
    assert compare([held(stored)], [found(sent)]).unchanged == 1
    one = record("a", 1, extra=ExtraFields({"region": "1", "area": "2"}))
    other = record("a", 1, extra=ExtraFields({"area": "2", "region": "1"}))
    assert compare([held(one)], [found(other)]).unchanged == 1
    third = record("a", 1, extra=ExtraFields({"area": "2", "region": "3"}))
    assert len(compare([held(one)], [found(third)]).changed) == 1


def test_a_row_of_a_span_that_was_not_read_does_not_vanish() -> None:
    difference = compare([held(A), held(B, span=SECOND)], [], [FIRST])
    assert summary(difference) == ([], [], [("a", 0)], 0)


def test_legs_are_numbered_by_time_then_contents() -> None:
    rows = [record("a", 9), record("a", 3, cost=Decimal(2)), record("a", 3, cost=Decimal(1)), record("a")]
    difference = compare([], [found(row) for row in rows])
    times = [(row.leg, row.values[FIELDS.index("submit_time")]) for row in difference.added]
    assert times == [(0, at(3)), (1, at(3)), (2, at(9)), (3, None)]
    costs = [row.values[FIELDS.index("cost")] for row in difference.added]
    assert costs == [1, 2, None, None]
    assert summary(compare([], [found(row) for row in reversed(rows)])) == summary(difference)
    assert [row.values for row in compare([], [found(row) for row in reversed(rows)]).added] == [
        row.values for row in difference.added
    ]


def test_a_leg_keeps_its_number_when_it_is_rated_again_and_when_another_one_arrives_or_vanishes() -> None:
    one, other = record("a", 1, cost=Decimal(1)), record("a", 5, cost=Decimal(5))
    table = [held(one, 0), held(other, 1)]
    rated = record("a", 5, cost=Decimal(50))
    assert summary(compare(table, [found(one), found(rated)])) == ([], [("a", 1)], [], 1)
    assert summary(compare(table, [found(rated)])) == ([], [("a", 1)], [("a", 0)], 0)
    early = record("a", 0)
    assert summary(compare(table, [found(early), found(one), found(other)])) == ([("a", 2)], [], [], 2)
    # Both contents of one time change: in order.
    twins = [held(record("a", 1, cost=Decimal(1)), 0), held(record("a", 1, cost=Decimal(2)), 1)]
    difference = compare(twins, [found(record("a", 1, cost=Decimal(3))), found(record("a", 1, cost=Decimal(2)))])
    assert summary(difference) == ([], [("a", 0)], [], 1)


def test_a_call_whose_time_was_corrected_is_the_same_row() -> None:
    difference = compare([held(A)], [found(record("a", 7, cost=Decimal(1)))])
    assert summary(difference) == ([], [("a", 0)], [], 0)


def test_a_row_that_another_span_lists_now_is_moved() -> None:
    difference = compare([held(A)], [found(A, SECOND)], [SECOND])
    assert summary(difference) == ([], [], [], 1)
    assert difference.moved == [(("a", 0), SECOND)]
    both = compare([held(A)], [found(A2, SECOND)], [FIRST, SECOND])
    assert summary(both) == ([], [("a", 0)], [], 0)
    assert both.changed[0].span_start == SECOND


def test_a_row_with_the_id_of_one_in_a_span_that_was_not_read_is_contested() -> None:
    difference = compare([held(A, span=THIRD)], [found(A2)], [FIRST])
    assert summary(difference) == ([("a", 1)], [], [], 0)
    assert difference.contested == {THIRD}
    assert compare([held(A, span=THIRD), held(B, 0)], [found(B)], [FIRST]).contested == set()


def test_a_row_that_two_spans_found_is_owned_by_the_first() -> None:
    difference = compare([], [found(A, SECOND), found(A, FIRST)], [FIRST, SECOND])
    assert [(row.leg, row.span_start) for row in difference.added] == [(0, FIRST)]


def test_a_vanished_row_stays_vanished_or_comes_back_under_its_number() -> None:
    gone = held(A, 0, has_vanished=True)
    assert summary(compare([gone], [])) == ([], [], [], 0)
    assert summary(compare([gone], [found(A)])) == ([("a", 0)], [], [], 0)
    assert summary(compare([gone], [found(A2)])) == ([("a", 0)], [], [], 0)
    # Another call with its id does not take its number.
    assert summary(compare([gone], [found(record("a", 7))])) == ([("a", 1)], [], [], 0)
    # A live row is preferred.
    assert summary(compare([gone, held(A2, 1)], [found(A)])) == ([("a", 0)], [], [("a", 1)], 0)


def test_nothing_vanishes_where_a_record_could_not_be_decoded() -> None:
    table = [held(A), held(B, span=SECOND), held(record("c", 3))]
    difference = compare_rows(table, [found(A2), found(record("c", 9))], [FIRST, SECOND], partly_read=[FIRST])
    assert summary(difference) == ([("c", 1)], [("a", 0)], [("b", 0)], 0)


@pytest.mark.parametrize("number", [3_000])
def test_thousands_of_rows_of_one_id_take_no_quadratic_time(number: int) -> None:
    rows = [record("a", index, cost=Decimal(index)) for index in range(number)]
    table = [held(row, leg) for leg, row in enumerate(rows)]
    rated = [found(record("a", index, cost=Decimal(index + 1))) for index in range(number)]
    difference = compare(table, rated)
    assert [row.leg for row in difference.changed] == [*range(number)]
