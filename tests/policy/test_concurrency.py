"""Places fall at once and come back slowly, between one and all."""

from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.policy.concurrency import AdaptiveLimit


def test_trouble_takes_places_away_down_to_one() -> None:
    limit = AdaptiveLimit(8)
    seen = [limit.current]
    for now in range(1, 8):
        limit.note_trouble(sent=now - 0.5, now=now)
        seen.append(limit.current)
    assert seen == [8, 5, 3, 2, 1, 1, 1, 1]


def test_one_bad_moment_counts_once_however_many_requests_it_met() -> None:
    limit = AdaptiveLimit(8)
    for now in (10.0, 10.1, 10.2, 10.3):
        limit.note_trouble(sent=9, now=now)
    assert limit.current == 5
    limit.note_trouble(sent=10.05, now=11)
    assert limit.current == 3


def test_trouble_makes_the_answers_before_it_count_for_nothing() -> None:
    limit = AdaptiveLimit(4)
    limit.note_trouble(sent=1, now=1)
    for _ in range(5):
        limit.note_success()
    limit.note_trouble(sent=2, now=2)
    assert limit.current == 1  # 1.96
    for _ in range(3):
        limit.note_success()
    assert limit.current == 1
    limit.note_success()
    assert limit.current == 2


def test_two_rounds_of_answers_give_a_place_back() -> None:
    limit = AdaptiveLimit(4)
    limit.note_trouble(sent=1, now=1)
    assert limit.current == 2  # 2.8
    for _ in range(5):
        limit.note_success()
    assert limit.current == 2
    limit.note_success()
    assert limit.current == 3  # 3.8
    for _ in range(8):
        limit.note_success()
    assert limit.current == 4
    for _ in range(100):
        limit.note_success()
    assert limit.current == 4


@given(st.integers(1, 64), st.lists(st.booleans(), max_size=200))
def test_there_is_always_a_place_and_never_one_too_many(most: int, outcomes: list[bool]) -> None:
    limit = AdaptiveLimit(most)
    for now, good in enumerate(outcomes):
        before = limit.current
        if good:
            limit.note_success()
            assert before <= limit.current <= before + 1
        else:
            limit.note_trouble(sent=now, now=now)
            assert limit.current <= before
        assert 1 <= limit.current <= most
        assert limit.is_reduced == (limit._limit < most)
