"""Meanings of a range: answers rule out the wrong ones and never the true one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.doctor.semantics import ALL_SEMANTICS, RangeSemantics, filter_hypotheses, plan_window
from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from aiosipcdr.model.windows import TimeWindow

START = datetime(2026, 10, 1, tzinfo=UTC)
WINDOW = TimeWindow(START, START + timedelta(seconds=10))
SUBMITTED = RangeSemantics("submit_time", start_inclusive=True, end_inclusive=True)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def call(number: int, *times: float | None) -> CallDetailRecord:
    reported = {field: None if time is None else at(time) for field, time in zip(TIME_FIELDS, times, strict=False)}
    return CallDetailRecord(voice_id=str(number), **reported)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("second", "start_inclusive", "end_inclusive", "inside"),
    [
        (0, True, False, True),
        (0, False, True, False),
        (5, False, False, True),
        (10, True, False, False),
        (10, False, True, True),
        (11, True, True, False),
        (None, True, True, False),
    ],
)
def test_a_reading_decides_whether_a_call_is_in_a_window(
    second: float | None,
    start_inclusive: bool,  # noqa: FBT001
    end_inclusive: bool,  # noqa: FBT001
    inside: bool,  # noqa: FBT001
) -> None:
    reading = RangeSemantics("answer_time", start_inclusive, end_inclusive)
    assert reading.includes(call(1, 99, 99, 99, second), WINDOW) is inside


def test_every_field_and_both_bounds_make_twenty_readings() -> None:
    assert len(set(ALL_SEMANTICS)) == 20
    assert {reading.field for reading in ALL_SEMANTICS} == set(TIME_FIELDS)


def test_a_call_without_a_time_rules_out_that_time() -> None:
    left = filter_hypotheses(ALL_SEMANTICS, WINDOW, [call(1, 5, 5, None, None, 5)])
    assert {reading.field for reading in left} == {"submit_time", "call_time", "hangup_time"}


def test_a_missing_call_rules_out_the_fields_that_would_select_it() -> None:
    known = [call(1, 5, 50, 50, 50, 50), call(2, 50, 5, 50, 50, 50)]
    left = filter_hypotheses(ALL_SEMANTICS, WINDOW, known[:1], known)
    assert {reading.field for reading in left} == {"submit_time"}
    assert len(left) == 4
    assert {reading.field for reading in filter_hypotheses(ALL_SEMANTICS, WINDOW, [], known)} == set(TIME_FIELDS[2:])


def test_where_nothing_can_tell_readings_apart_no_window_is_planned() -> None:
    same = [call(number, 5, 5, 5, 5, 5) for number in range(3)]
    by_field = [RangeSemantics(field, start_inclusive=True, end_inclusive=True) for field in TIME_FIELDS]
    assert plan_window(by_field, same, set()) is None
    assert plan_window(ALL_SEMANTICS, [], set()) is None
    assert plan_window([SUBMITTED], [call(1, 0, 3)], set()) is None


def test_no_window_is_planned_twice() -> None:
    known, asked = [call(1, 0, 30, 60, 90, 120)], set[TimeWindow]()
    while (window := plan_window(ALL_SEMANTICS, known, asked)) is not None:
        assert window not in asked
        assert window.seconds == 2
        asked.add(window)
    assert 5 <= len(asked) <= 15


def test_a_call_far_down_the_list_may_be_the_decisive_one() -> None:
    known = [call(number, 1000 * number, 1000 * number) for number in range(60)] + [call(99, 5, 70)]
    rivals = [SUBMITTED, RangeSemantics("call_time", start_inclusive=True, end_inclusive=True)]
    window = plan_window(rivals, known, set())
    assert window is not None
    assert len({reading.includes(known[-1], window) for reading in rivals}) == 2


steps = st.lists(st.one_of(st.none(), st.integers(0, 400), st.sampled_from([1, 2, 30])), min_size=5, max_size=5)
populations = st.lists(steps, min_size=1, max_size=30)


@given(populations, st.sampled_from(ALL_SEMANTICS))
def test_the_truth_is_never_ruled_out_and_remaining_readings_look_the_same(
    times: list[list[int | None]], truth: RangeSemantics
) -> None:
    everything = [call(number, *reported) for number, reported in enumerate(times)]
    base = TimeWindow(at(-100), at(1000))
    known = [one for one in everything if truth.includes(one, base)]
    left, asked = filter_hypotheses(ALL_SEMANTICS, base, known), set[TimeWindow]()
    while (window := plan_window(left, known, asked)) is not None:
        asked.add(window)
        left = filter_hypotheses(left, window, [one for one in everything if truth.includes(one, window)], known)
        assert truth in left
    # No window that begins, ends or lies around a known time would distinguish them.
    for one in known:
        for time in filter(None, (getattr(one, field) for field in TIME_FIELDS)):
            for width in (0, 1, 2):
                window = TimeWindow(time - timedelta(seconds=width), time + timedelta(seconds=2 - width))
                outcomes = {frozenset(c.voice_id for c in known if r.includes(c, window)) for r in left}
                assert len(outcomes) == 1


def test_times_at_the_ends_of_the_calendar_are_no_windows() -> None:
    ends = [datetime.fromisoformat("0001-01-01T00:00:00+14:00"), datetime.fromisoformat("9999-12-31T23:59:59-12:00")]
    calls = [CallDetailRecord(voice_id="1", call_time=ends[0], hangup_time=ends[1])]
    assert plan_window(ALL_SEMANTICS, calls, ()) is None
    calls.append(CallDetailRecord(voice_id="2", submit_time=START, call_time=ends[0]))
    window = plan_window(ALL_SEMANTICS, calls, ())
    assert window is not None
    assert START in {window.start, window.end, window.start + timedelta(seconds=1)}
