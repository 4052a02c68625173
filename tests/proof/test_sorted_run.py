"""Sorted runs: the fast path for sorted pages, and how they join."""

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.proof.page import SortedRun, find_sorted_run, join_sorted_runs

START = datetime(2026, 10, 1, tzinfo=UTC)
CANARY = "+447700900123"


def call(number: int, second: float | None = 0, callee: str | None = None) -> CallDetailRecord:
    time = None if second is None else START + timedelta(seconds=second)
    return CallDetailRecord(voice_id=f"{number:05}", submit_time=time, callee=callee)


def rising(*numbers: int) -> SortedRun:
    sorted_run = find_sorted_run([call(number, number) for number in numbers])
    assert sorted_run is not None
    return sorted_run


def ids(records: list[CallDetailRecord]) -> list[int]:
    return [int(record.voice_id) for record in records]


def test_ascending_pages_are_kept_and_descending_ones_reversed() -> None:
    reported = [call(1, 5), call(3, 5), call(4, 9)]
    for records in (list(reported), reported[::-1]):
        before = list(records)
        sorted_run = find_sorted_run(records)
        assert sorted_run is not None
        assert sorted_run.records == reported
        assert records == before, "the answer itself stays as it came"
        assert (sorted_run.lowest, sorted_run.highest) == ("00001", "00004")
        assert (sorted_run.earliest, sorted_run.latest) == (START + timedelta(seconds=5), START + timedelta(seconds=9))


def test_one_record_rises_and_none_does_not() -> None:
    assert rising(7).records == [call(7, 7)]
    assert find_sorted_run([]) is None
    assert find_sorted_run([call(7, None)]) is None


def test_ids_that_repeat_or_turn_back_do_not_rise_and_neither_do_times() -> None:
    assert find_sorted_run([call(1, 1), call(1, 1)]) is None
    assert find_sorted_run([call(1, 1), call(2, 2), call(2, 2), call(3, 3)]) is None
    assert find_sorted_run([call(1, 1), call(3, 3), call(2, 2), call(4, 4)]) is None
    assert find_sorted_run([call(1, 1), call(2, 3), call(3, 2), call(4, 4)]) is None
    assert find_sorted_run([call(1, 1), call(2, None), call(3, 3)]) is None


calls = st.builds(call, st.integers(0, 6), st.none() | st.integers(0, 4))


@given(st.lists(calls, max_size=6))
def test_a_sorted_run_has_distinct_ids_in_file_order_or_is_none(records: list[CallDetailRecord]) -> None:
    sorted_run = find_sorted_run(records)
    keys = [(record.submit_time, record.voice_id) for record in records]
    distinct = len({record.voice_id for record in records}) == len(records)
    times = [time for time, _ in keys if time is not None]
    numbers = ids(records)
    ways = (times == sorted(times) and numbers == sorted(numbers)) or (
        times == sorted(times, reverse=True) and numbers == sorted(numbers, reverse=True)
    )
    assert (sorted_run is not None) == (bool(records) and distinct and len(times) == len(records) and ways)
    if sorted_run is not None:
        assert sorted_run.records == sorted(records, key=lambda record: (record.submit_time or START, record.voice_id))


@given(st.sets(st.integers(0, 50), min_size=1), st.integers(1, 7), st.randoms(use_true_random=False))
def test_pages_join_in_any_order_of_arrival(numbers: set[int], size: int, random: Random) -> None:
    reported = sorted(numbers)
    pages = [rising(*reported[at : at + size]) for at in range(0, len(reported), size)]
    random.shuffle(pages)
    joined = join_sorted_runs(pages)
    assert joined == rising(*reported)


def test_pages_that_meet_within_one_instant_join() -> None:
    first, second = find_sorted_run([call(1, 5), call(2, 9)]), find_sorted_run([call(3, 9), call(4, 9)])
    assert first is not None
    assert second is not None
    joined = join_sorted_runs([second, first])
    assert joined is not None
    assert ids(joined.records) == [1, 2, 3, 4]


def test_pages_that_share_an_id_or_lie_across_each_other_do_not_join() -> None:
    assert join_sorted_runs([rising(1, 2), rising(2, 3)]) is None
    assert join_sorted_runs([rising(1, 5), rising(3, 7)]) is None
    later = find_sorted_run([call(9, 1)])
    assert later is not None
    assert join_sorted_runs([rising(1, 2), later]) is None, "a higher id with an earlier time"


def test_records_are_found_by_their_ids_and_taken_out() -> None:
    sorted_run = rising(1, 3, 5, 7)
    assert ids(sorted_run.between("00003", "00005")) == [3, 5]
    assert ids(sorted_run.between("00002", "00006")) == [3, 5]
    assert sorted_run.between("00008", "00009") == []
    left, taken = sorted_run.without(["00007", "00003"])
    assert (ids(left), ids(taken)) == ([1, 5], [3, 7])
    assert ids(sorted_run.records) == [1, 3, 5, 7], "what was read stays as it was"


@given(st.data())
def test_any_of_the_records_can_be_taken_out(data: st.DataObject) -> None:
    numbers = sorted(data.draw(st.sets(st.integers(0, 30), min_size=1)))
    taken_out = data.draw(st.sets(st.sampled_from(numbers)))
    sorted_run = rising(*numbers)
    left, taken = sorted_run.without({f"{number:05}" for number in taken_out})
    assert ids(left) == [number for number in numbers if number not in taken_out]
    assert ids(taken) == sorted(taken_out)
    left.clear()
    taken.clear()
    assert ids(sorted_run.records) == numbers, "what is handed over is the caller's"


def test_a_repr_shows_no_number() -> None:
    sorted_run = find_sorted_run([call(1, 1, callee=CANARY)])
    assert sorted_run is not None
    assert CANARY not in repr(sorted_run) + repr(sorted_run.__rich_repr__())
    assert "00001" not in repr(sorted_run)
