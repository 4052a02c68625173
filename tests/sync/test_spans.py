"""Which spans have changed by counts, and how time is cut into spans."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.sync import spans as module
from aiosipcdr.sync.checkpoints import Span
from aiosipcdr.sync.spans import ChangeSearch, certified_until, cut_span, join_stretches, plan_reading, take_chunk
from tests.sync.vendors import at

WIDTH = 60


def stretch(counts: Sequence[int | None]) -> list[Span]:
    return [
        Span(start=at(number * WIDTH), end=at((number + 1) * WIDTH), count=count) for number, count in enumerate(counts)
    ]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.data(),
    st.booleans(),
)
def test_every_changed_span_is_found_where_changes_do_not_cancel_out(
    counts: list[int],
    data: st.DataObject,
    has_left: bool,  # noqa: FBT001 - drawn
) -> None:
    spans = stretch(counts)
    now = [count + data.draw(st.integers(0, 2)) for count in counts]
    base, _ = plan_reading(spans, has_left=has_left, is_trimmed=False)
    before = 5 if has_left else 0  # calls of the second before
    search = ChangeSearch(spans, base)
    requests = 0
    while due := search.due:
        requests += len(due)
        totals = {}
        for window in due:
            assert window.start == base.window.start
            passed = round((window.end - at(0)).total_seconds() / WIDTH)
            totals[window] = before + sum(now[:passed])
        search.take(totals)
    assert search.changed == [span for span, count in zip(spans, now, strict=True) if count != span.count]
    assert requests <= len(spans) + 1
    if not search.changed:
        assert requests <= 9


def test_few_spans_are_counted_each_so_that_nothing_cancels_out() -> None:
    spans = stretch([5] * 8)
    base, _ = plan_reading(spans, has_left=False, is_trimmed=False)
    search = ChangeSearch(spans, base)
    search.take({window: 5 * number + (number >= 3) - (number >= 4) for number, window in enumerate(search.due, 1)})
    assert search.due == []
    assert [span.start for span in search.changed] == [at(2 * WIDTH), at(3 * WIDTH)]


def test_a_reading_begins_each_span_a_second_early() -> None:
    spans = stretch([1, 2])
    owned, tiles = plan_reading(spans, has_left=True, is_trimmed=False)
    assert owned.preceding_second == TimeWindow(at(-1), at(0))
    assert tiles == [TimeWindow(at(-1), at(60)), TimeWindow(at(59), at(120))]
    owned, tiles = plan_reading(spans, has_left=False, is_trimmed=False)
    assert (owned.preceding_second, tiles[0]) == (None, TimeWindow(at(0), at(60)))
    owned, tiles = plan_reading(spans, has_left=False, is_trimmed=True)
    assert (owned.preceding_second, tiles[0]) == (None, TimeWindow(at(-1), at(60)))


@pytest.mark.parametrize(
    ("seconds", "rows", "number"), [(100, 0, 1), (100, 2_500, 3), (1, 5_000, 1), (30 * 86_400, 10, 5), (3, 10**6, 3)]
)
def test_time_is_cut_into_spans_that_touch(seconds: int, rows: int, number: int) -> None:
    spans = cut_span(at(0), at(seconds), rows)
    assert len(spans) == number
    assert (spans[0].start, spans[-1].end) == (at(0), at(seconds))
    assert all(one.end == other.start for one, other in pairwise(spans))
    assert all(timedelta() < span.end - span.start <= module.MAX_SPAN for span in spans)


def test_stretches_end_at_gaps_and_at_the_widest_window() -> None:
    spans = stretch([1, 2, 3, 4])
    assert [*join_stretches([])] == []
    assert [*join_stretches(spans)] == [spans]
    assert [*join_stretches([spans[0], *spans[2:]])] == [[spans[0]], spans[2:]]
    assert [*join_stretches(spans, widest=timedelta(seconds=2 * WIDTH))] == [spans[:2], spans[2:]]


def test_a_chunk_ends_at_a_gap_and_before_it_has_too_many_calls() -> None:
    spans = stretch([1, 2, 3, 4])
    assert take_chunk(spans, {}) == spans
    assert take_chunk([spans[0], spans[2]], {}) == spans[:1]
    assert take_chunk(spans, {spans[0].start: 10**6}) == spans[:1]
    assert take_chunk(spans, {spans[1].start: 10**6}) == spans[:1]


def test_time_is_certified_until_the_first_span_that_is_not() -> None:
    spans = stretch([1, 2, None, 4])
    assert certified_until([]) is None
    assert certified_until(spans) == spans[1].end
    assert certified_until(spans[2:]) is None
    assert certified_until([spans[0], replace(spans[3])]) == spans[0].end
