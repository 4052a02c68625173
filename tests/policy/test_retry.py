"""Waits: bounded, evenly drawn, never shorter than asked, never without end."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from statistics import fmean

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiosipcdr.policy.retry import RetryBudget, RetryPolicy, decode_retry_after, draw_wait, limit_attempts

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
DATE = format_datetime(NOW, usegmt=True)
UNIX = NOW.timestamp()

draws = st.floats(0, 1, exclude_max=True)
seconds = st.floats(0, 1_000)
policies = st.builds(
    RetryPolicy,
    attempts=st.none() | st.integers(1, 5_000),
    base=seconds,
    cap=seconds,
    deadline=seconds,
    longest_retry_after=seconds,
)


def test_the_defaults() -> None:
    policy = RetryPolicy()
    assert (policy.attempts, policy.base, policy.cap, policy.deadline) == (None, 0.25, 20, 120)
    assert (limit_attempts(policy), limit_attempts(policy, others_succeed=True)) == (6, 20)
    assert (limit_attempts(policy, 3), limit_attempts(policy, 3, others_succeed=True)) == (3, 20)
    assert [limit_attempts(policy, fewer, is_first_page=True) for fewer in (None, 3)] == [8, 6]
    assert policy.longest_retry_after == 120


@given(policies, st.integers(1, 10_000), seconds, st.none() | st.floats(-1_000, 10_000), draws)
def test_a_wait_is_within_its_bounds(
    policy: RetryPolicy, attempt: int, elapsed: float, retry_after: float | None, random: float
) -> None:
    delay = draw_wait(policy, attempt, elapsed=elapsed, retry_after=retry_after, random=random)
    if retry_after is not None and retry_after > policy.longest_retry_after:
        assert delay is None
    if delay is None:
        return
    assert delay >= 0
    assert elapsed + delay <= policy.deadline
    upper = min(policy.cap, policy.base * 2 ** min(attempt - 1, 1_000))
    if retry_after is None:
        assert delay <= upper
    else:
        assert retry_after <= delay <= max(upper, retry_after * 1.1)


@given(st.integers(1, 5_000), st.none() | st.integers(1, 10), st.booleans(), st.booleans())
def test_attempts_that_are_given_are_never_exceeded(
    attempts: int,
    fewer: int | None,
    others_succeed: bool,  # noqa: FBT001
    is_first_page: bool,  # noqa: FBT001
) -> None:
    policy = RetryPolicy(attempts=attempts)
    most = limit_attempts(policy, fewer, others_succeed=others_succeed, is_first_page=is_first_page)
    assert most <= attempts
    assert others_succeed or fewer is None or most <= fewer
    assert most in {attempts, fewer}, "and all of those are used"


def test_upper_bounds_double_up_to_the_cap() -> None:
    policy = RetryPolicy(attempts=100, base=0.25, cap=3, deadline=1e6)
    waits = [draw_wait(policy, n, elapsed=0, retry_after=None, random=1) for n in range(1, 7)]
    assert waits == [0.25, 0.5, 1, 2, 3, 3]


def test_full_jitter_is_spread_evenly() -> None:
    rng = Random(1)  # noqa: S311
    policy = RetryPolicy()
    waits = []
    for _ in range(10_000):
        wait = draw_wait(policy, 3, elapsed=0, retry_after=None, random=rng.random())
        assert wait is not None
        waits.append(wait)
    tenths = [0] * 10
    for wait in waits:
        tenths[int(wait * 10)] += 1
    assert max(waits) < 1
    assert fmean(waits) == pytest.approx(0.5, rel=0.05)
    assert all(800 < tenth < 1_200 for tenth in tenths)


def test_no_attempt_starts_after_the_deadline() -> None:
    policy = RetryPolicy(deadline=10)
    assert draw_wait(policy, 1, elapsed=9.9, retry_after=None, random=0) == 0
    assert draw_wait(policy, 1, elapsed=9, retry_after=1, random=0) == 1
    assert draw_wait(policy, 1, elapsed=9, retry_after=1, random=0.5) is None
    assert draw_wait(policy, 1, elapsed=9, retry_after=1.1, random=0) is None
    assert draw_wait(policy, 1, elapsed=10.1, retry_after=None, random=0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"base": -0.1},
        {"cap": float("nan")},
        {"deadline": float("inf")},
        {"longest_retry_after": -1},
        {"throttle_base": -1},
        {"budget": float("nan")},
        {"stall": -0.1},
    ],
    ids=repr,
)
def test_invalid_arguments_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_a_policy_is_a_frozen_value() -> None:
    assert RetryPolicy(attempts=6) == RetryPolicy(attempts=6) != RetryPolicy()
    assert hash(RetryPolicy()) == hash(RetryPolicy())
    with pytest.raises(AttributeError):
        RetryPolicy().attempts = 7  # type: ignore[misc]
    with pytest.raises(TypeError):
        RetryPolicy(6)  # type: ignore[call-arg]


def test_a_throttled_request_waits_longer_and_the_longer_the_more_often() -> None:
    policy = RetryPolicy(attempts=100, deadline=1e6)
    waits = [draw_wait(policy, n, elapsed=0, retry_after=None, random=0.5, throttled=True) for n in (1, 2, 3, 4, 5, 6)]
    assert waits == [0.5, 1, 2, 4, 8, 10]


# --- the budget


def test_a_budget_is_spent_given_back_and_comes_back_with_time() -> None:
    budget = RetryBudget(30, now=100)
    assert budget.take(14, now=100)
    assert budget.take(14, now=100)
    assert not budget.take(14, now=100)
    assert budget.take(2, now=100)
    budget.refund(14)
    assert budget.take(14, now=100)
    assert not budget.take(5, now=104)
    assert budget.take(5, now=105)
    assert budget.is_low(105)
    assert not budget.is_low(120)
    budget.refund(1_000)
    assert not budget.take(30.1, now=105)
    assert budget.take(30, now=1e9)


@given(st.lists(st.tuples(st.sampled_from(["take", "give back"]), st.floats(0, 50), st.floats(0, 10)), max_size=60))
def test_no_more_is_spent_than_there_was_and_came_back(steps: list[tuple[str, float, float]]) -> None:
    budget = RetryBudget(500, now=0)
    now = spent = back = 0.0
    for what, cost, later in steps:
        now += later
        if what == "take":
            spent += cost if budget.take(cost, now=now) else 0
        else:
            budget.refund(cost)
            back += cost
    assert spent <= 500 + back + now + 1e-6


# --- Retry-After


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("0", 0), ("5", 5), (" 120 ", 120), ("007", 7), ("99999999", 99_999_999)),
        *(("2.0", 2), ("1.5", 1.5), ("0.25", 0.25), (" 3. ", 3)),
    ],
)
def test_seconds(value: str, expected: float) -> None:
    assert decode_retry_after(value, None, UNIX) == expected
    assert decode_retry_after(value, DATE, UNIX) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "-1",
        "+5",
        "1,5",
        ".5",
        "1.5.2",
        "1.5s",
        "1.0000000000",
        "1e9",
        "nan",
        "inf",
        "-inf",
        "1_0",
        "٣",
        "³",
        "0x10",
        "soon",
        "9" * 9,
        "9" * 5_000,
        "Thu, 99 Oct 2026 12:00:00 GMT",
        "Thu, 01 Oct 99999999999999 12:00:00 GMT",
        "Thu, 01 Oct 2026 12:00:00 +99999999999999999999",
        "Thu, 01 Oct 2026 12:00:00 -999999999",
        "Thu, 01 Oct 2026 " + "9" * 5_000 + ":00:00 GMT",
        "2026-10-01T12:00:30Z",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_unusable_retry_after_headers_are_ignored(value: str | None) -> None:
    assert decode_retry_after(value, DATE, UNIX) is None
    # As the date that another one is measured against, it is as good as none.
    assert decode_retry_after(DATE, value, UNIX - 9) == 9


@pytest.mark.parametrize(("ahead", "expected"), [(0, 0), (30, 30), (-30, 0), (86_400, 86_400)])
def test_a_date_is_measured_against_the_answers_own(ahead: int, expected: float) -> None:
    later = format_datetime(NOW + timedelta(seconds=ahead), usegmt=True)
    assert decode_retry_after(later, DATE, UNIX + 1e6) == expected


def test_a_date_without_one_to_measure_against_is_measured_by_this_machines_clock() -> None:
    assert decode_retry_after(DATE, None, UNIX - 30) == 30
    assert decode_retry_after(DATE, None, UNIX + 30) == 0


def test_the_older_forms_of_a_date_are_read() -> None:
    assert decode_retry_after("Thu Oct  1 12:00:30 2026", "Thu Oct  1 12:00:00 2026", 0) == 30
    assert decode_retry_after("Thursday, 01-Oct-26 12:00:30 GMT", DATE, 0) == 30


header_texts = st.text(max_size=40) | st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Thu", ""]),
    st.integers(-99, 10**20),
    st.sampled_from(["Oct", "Foo"]),
    st.integers(-99, 10**20),
    st.integers(-99, 10**20),
    st.integers(0, 99),
    st.integers(0, 99),
    st.one_of(st.sampled_from(["GMT", "-0000", ""]), st.integers(-(10**20), 10**20).map("{:+05}".format)),
)


@given(header_texts | st.just(DATE), header_texts | st.none() | st.just(DATE))
@example(DATE, "Thu, 01 Oct 2026 12:00:00 +9999999999")
def test_no_header_raises_or_asks_for_a_wait_without_end(value: str, date: str | None) -> None:
    wait = decode_retry_after(value, date, UNIX)
    assert wait is None or 0 <= wait < 1e12
