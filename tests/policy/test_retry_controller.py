"""Retries, decided without a socket: every rule with its numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.errors import (
    AuthenticationError,
    ClockSkewError,
    OutageError,
    ProtocolError,
    RedirectError,
    RequestTimeoutError,
    ResponseTooLargeError,
    RestrictedAddressError,
    ServerFaultError,
    SipCdrError,
    ThrottledError,
    TlsError,
    TransportError,
    http_error,
    vendor_error,
)
from aiosipcdr.policy.pacing import Pacer
from aiosipcdr.policy.retry import RequestAttempts, RetryController, RetryPolicy

NEVER = RetryPolicy(attempts=1)


class Run:
    """What a run knows beyond its requests."""

    last_completed = 0.0


class Job(RequestAttempts, kw_only=True):
    """A request of a run, as the engine has it."""

    run: Run


def controller(retry: RetryPolicy = RetryPolicy(), concurrency: int = 8) -> tuple[RetryController, Pacer]:
    pacer = Pacer(None)
    return RetryController(retry, pacer, concurrency, now=0.0), pacer


def job_of(run: Run | None = None) -> Job:
    return Job(run=run or Run())


def succeed(judge: RetryController, job: Job, now: float) -> None:
    judge.note_success(job, now)
    job.run.last_completed = now


def fail(
    judge: RetryController, job: Job, error: SipCdrError, now: float, random: float = 0.0, *, may_be_gone: bool = False
) -> float | SipCdrError:
    job.attempt += 1
    job.last_sent = now
    job.signed_version = judge.clock.version
    if job.attempt == 1:
        job.first_sent = now
    return judge.decide_retry(
        job, error, last_completed=job.run.last_completed, now=now, random=random, may_be_gone=may_be_gone
    )


def attempts_until_given_up(judge: RetryController, error: SipCdrError) -> int:
    job = job_of()
    while not isinstance(fail(judge, job, error, 0.0), SipCdrError):
        assert job.attempt < 50
    return job.attempt


def test_each_kind_of_error_has_its_number_of_attempts() -> None:
    unresolved = TransportError("no such host")
    unresolved.exists = False
    stale = TransportError("gone")
    stale.stale = True
    unconnected = TransportError("connection refused")
    unconnected.connected = unresolved.connected = False
    foreign = ProtocolError("a page of HTML", retryable=True)
    foreign.is_foreign = True
    # The first number is for the first page of a client, next to which none can succeed.
    for error, first, attempts in (
        (vendor_error(-18, None), 8, 6),
        (vendor_error(-15, None), 6, 6),
        (vendor_error(-16, None), 2, 2),
        (vendor_error(-1, None), 1, 1),
        (vendor_error(-2, None), 1, 1),
        (vendor_error(-13, None), 1, 1),
        (vendor_error(-22, None), 1, 1),
        (http_error(500), 8, 6),
        (http_error(404), 1, 1),
        (TransportError("broken"), 8, 6),
        (stale, 9, 7),
        (unconnected, 6, 6),
        (unresolved, 2, 6),
        (RequestTimeoutError("too slow"), 6, 6),
        (TlsError("untrusted"), 1, 1),
        (TlsError("handshake", retryable=True), 2, 2),
        (ProtocolError("cut short", retryable=True), 6, 3),
        (foreign, 3, 3),
        (ProtocolError("too large"), 1, 1),
        (ResponseTooLargeError("too many records", retryable=True), 2, 2),
    ):
        judge, _ = controller()
        assert attempts_until_given_up(judge, error) == first, repr(error)
        judge, _ = controller()
        succeed(judge, job_of(), -31.0)
        assert attempts_until_given_up(judge, error) == attempts, repr(error)
        for most in (1, 2, 4):
            judge, _ = controller(RetryPolicy(attempts=most))
            free = error is stale and most > 1
            assert attempts_until_given_up(judge, error) <= most + free, repr(error)


def test_once_anything_was_answered_a_name_that_is_lost_is_looked_up_more_often() -> None:
    unresolved = TransportError("no such host")
    unresolved.exists = False
    judge, _ = controller()
    succeed(judge, job_of(), -31.0)
    assert attempts_until_given_up(judge, unresolved) == 6
    succeed(judge, job_of(), 0.0)
    assert attempts_until_given_up(judge, unresolved) == 20


@pytest.mark.parametrize(
    ("error", "alone", "together"),
    [
        (vendor_error(-18, None), 6, 20),
        (vendor_error(-15, None), 6, 20),
        (http_error(500), 6, 20),
        (TransportError("broken"), 6, 20),
        (ProtocolError("cut short", retryable=True), 3, 20),
        # Errors that no retry helps against, and those that may lock the account.
        (TlsError("handshake", retryable=True), 2, 2),
        (TlsError("untrusted"), 1, 1),
        (vendor_error(-1, None), 1, 1),
        (vendor_error(-2, None), 1, 1),
        (vendor_error(-13, None), 1, 1),
        (vendor_error(-22, None), 1, 1),
        (vendor_error(-16, None), 2, 2),
        (http_error(404), 1, 1),
        (ProtocolError("too large"), 1, 1),
    ],
    ids=repr,
)
def test_a_page_is_asked_for_more_often_while_others_succeed(error: SipCdrError, alone: int, together: int) -> None:
    judge, _ = controller()
    job = job_of()
    while not isinstance(fail(judge, job, error, 100.0), SipCdrError):
        # Another page of the client, of any run, is answered between any two attempts.
        succeed(judge, job_of(), 100.0)
    assert job.attempt == together
    for attempts in (1, 4, 30):
        judge, _ = controller(RetryPolicy(attempts=attempts))
        succeed(judge, job_of(), 100.0)
        job = job_of()
        while not isinstance(fail(judge, job, error, 100.0), SipCdrError):
            pass
        assert job.attempt == (attempts if together == 20 else min(attempts, together))
    judge, _ = controller()
    succeed(judge, job_of(), 69.9)  # long before this page's first attempt
    job = job_of()
    while not isinstance(fail(judge, job, error, 100.0), SipCdrError):
        pass
    assert job.attempt == alone


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(vendor_error(-18, None), 6), (http_error(500), 6), (http_error(204), 3), (TransportError("broken"), 20)],
    ids=repr,
)
def test_a_page_that_may_be_gone_is_not_asked_for_more_often_because_others_succeed(
    error: SipCdrError, attempts: int
) -> None:
    judge, _ = controller()
    assert judge.is_patient
    job = job_of()
    succeed(judge, job_of(), 100.0)
    while not isinstance(fail(judge, job, error, 100.0, may_be_gone=True), SipCdrError):
        pass
    assert job.attempt == attempts
    assert not controller(NEVER)[0].is_patient


def test_a_success_shortly_before_counts_where_a_page_is_the_only_one() -> None:
    judge, _ = controller()
    succeed(judge, job_of(), 70.0)
    job = job_of()
    while not isinstance(fail(judge, job, vendor_error(-18, None), 100.0), SipCdrError):
        pass
    assert job.attempt == 20


def test_more_attempts_end_with_the_budget_and_the_deadline() -> None:
    judge, _ = controller(RetryPolicy(budget=14 * 9))
    succeed(judge, job_of(), 0.0)
    job = job_of()
    while not isinstance(decided := fail(judge, job, vendor_error(-18, None), 0.0), SipCdrError):
        pass
    assert job.attempt == 10
    assert isinstance(decided, OutageError)
    judge, _ = controller()
    succeed(judge, job_of(), 0.0)
    job = job_of()
    for second in range(0, 140, 10):
        assert not isinstance(decided, ServerFaultError)
        succeed(judge, job_of(), float(second))
        decided = fail(judge, job, vendor_error(-18, None), float(second))
    assert isinstance(decided, ServerFaultError)


def test_places_fall_while_a_page_takes_more_attempts_than_usual() -> None:
    error = ProtocolError("cut short", retryable=True)
    judge, _ = controller()
    succeed(judge, job_of(), 0.0)
    job = job_of()
    places = []
    for second in range(8):
        assert not isinstance(fail(judge, job, error, float(second)), SipCdrError)
        places.append(judge.limit.current)
    assert places == [8, 8, 5, 3, 2, 1, 1, 1]


def test_a_page_that_succeeds_gives_back_all_that_its_retries_cost() -> None:
    judge, _ = controller()
    succeed(judge, job_of(), 0.0)
    for _ in range(100):
        job = job_of()
        for _ in range(10):
            assert not isinstance(fail(judge, job, vendor_error(-18, None), 0.0), SipCdrError)
        succeed(judge, job, 0.0)


def test_no_other_page_is_begun_while_half_of_the_budget_is_spent_on_pages_that_wait() -> None:
    judge, _ = controller()
    succeed(judge, job_of(), 0.0)
    jobs = [job_of() for _ in range(3)]
    for number in range(18):
        assert judge.may_start_pages(waiting=3, now=0.0)
        assert not isinstance(fail(judge, jobs[number % 3], vendor_error(-18, None), 0.0), SipCdrError)
    assert not judge.may_start_pages(waiting=3, now=0.0)
    assert judge.may_start_pages(waiting=0, now=0.0)
    succeed(judge, jobs[0], 0.0)
    assert judge.may_start_pages(waiting=2, now=0.0)


def test_a_stale_connection_costs_neither_time_nor_budget() -> None:
    judge, _ = controller(RetryPolicy(budget=0))
    stale = TransportError("gone")
    stale.stale = True
    job = job_of()
    assert fail(judge, job, stale, 0.0, 0.9) == 0.0
    assert isinstance(fail(judge, job, stale, 0.0), OutageError)


def test_one_measured_clock_mends_all_that_were_under_way_and_each_is_sent_once_more() -> None:
    judge, _ = controller()
    jobs = [job_of() for _ in range(32)]
    for job in jobs:
        job.attempt, job.signed_version = 1, judge.clock.version
    for number, job in enumerate(jobs):
        error = ClockSkewError("skewed", status=-16)
        error.offset = 3_600.0 + number
        assert judge.decide_retry(job, error, last_completed=0.0, now=0.0, random=0.5) == 0.0
    assert (judge.clock.seconds, judge.clock.version) == (3_600, 1)
    again = ClockSkewError("skewed", status=-16)
    again.offset = 3_600.0
    assert all(fail(judge, job, again, 1.0) is again for job in jobs)
    assert judge.clock.version == 1


def test_a_clock_error_is_retried_once_more_if_the_clock_was_corrected_after_the_request_was_signed() -> None:
    judge, _ = controller()
    job = job_of()
    unmeasured, measured = ClockSkewError("skewed", status=-16), ClockSkewError("skewed", status=-16)
    measured.offset = 3_600.0
    assert fail(judge, job, unmeasured, 0.0) == 0.0
    assert fail(judge, job, measured, 1.0) == 0.0
    assert (judge.clock.seconds, judge.clock.version) == (3_600, 1)
    assert fail(judge, job, measured, 2.0) is measured


def test_a_clock_error_says_by_how_much_and_in_which_direction() -> None:
    error = vendor_error(-16, None)
    assert isinstance(error, ClockSkewError)
    assert "NTP" in str(error)
    error.offset = 3_600.4
    assert "3,600 s behind" in str(error)
    error.offset = -90_000.0
    assert "90,000 s ahead" in str(error)


def test_an_outage_costs_a_bounded_number_of_requests() -> None:
    judge, _ = controller()
    fault = vendor_error(-18, "busy")
    retries = 0
    for _ in range(100):
        job = job_of()
        while not isinstance(decided := fail(judge, job, fault, 0.0), SipCdrError):
            retries += 1
        if isinstance(decided, OutageError):
            assert decided.__cause__ is fault
            assert (decided.status, decided.reason) == (-18, "busy")
            assert "busy" in str(decided)
    assert retries == 500 // 14


def test_a_retry_that_helped_gets_its_cost_back_and_any_other_answer_one() -> None:
    judge, _ = controller(RetryPolicy(budget=28))
    fault = vendor_error(-18, None)
    jobs = [job_of() for _ in range(3)]
    assert [isinstance(fail(judge, job, fault, 0.0), OutageError) for job in jobs] == [False, False, True]
    succeed(judge, jobs[0], 0.0)
    assert fail(judge, job_of(), fault, 0.0) == 0.0
    for _ in range(13):
        succeed(judge, job_of(), 0.0)
    assert isinstance(fail(judge, job_of(), fault, 0.0), OutageError)
    for _ in range(14):
        succeed(judge, job_of(), 0.0)
    assert fail(judge, job_of(), fault, 0.0) == 0.0


def test_the_longest_wish_that_is_granted_is_waited_for() -> None:
    for error in (http_error(429, retry_after=120), vendor_error(-18, None, retry_after=120)):
        judge, _ = controller()
        assert fail(judge, job_of(), error, 0.0) == 120
        assert not judge.ends_all(error)
    judge, _ = controller()
    assert fail(judge, job_of(), vendor_error(-16, None, retry_after=120), 0.0) == 120


def test_a_wish_about_one_page_holds_no_other() -> None:
    judge, pacer = controller()
    error = vendor_error(-18, None, retry_after=7)
    assert type(error) is ServerFaultError
    assert fail(judge, job_of(), error, 0.0) == 7
    assert pacer.decide_wait(0.0) == 0
    too_long = vendor_error(-18, None, retry_after=3_600)
    assert fail(judge, job_of(), too_long, 0.0) is too_long
    assert not judge.ends_all(too_long)


def test_throttling_is_cheaper_and_holds_the_whole_client() -> None:
    judge, pacer = controller()
    error = http_error(429, retry_after=7)
    retries = 0
    for _ in range(200):
        if isinstance(fail(judge, job_of(), error, 100.0), SipCdrError):
            break
        retries += 1
    assert retries == 100
    assert pacer.decide_wait(100.0) == 7
    assert pacer.decide_wait(107.0) == 0


def test_a_wish_that_is_too_long_is_the_error_and_says_how_long() -> None:
    judge, pacer = controller()
    error = http_error(503, retry_after=3_600)
    assert fail(judge, job_of(), error, 0.0) is error
    assert error.retry_after == 3_600
    assert "3,600 s" in str(error)
    # The others end with it; a caller who starts again has seen the error.
    assert judge.ends_all(error)
    assert pacer.decide_wait(0.0) == 0


def test_a_wish_holds_the_whole_client_even_where_nothing_is_retried() -> None:
    judge, pacer = controller(NEVER)
    error = http_error(429, retry_after=5)
    assert fail(judge, job_of(), error, 0.0) is error
    assert pacer.decide_wait(0.0) == 5


def test_a_fresh_signature_waits_as_long_as_was_asked() -> None:
    judge, _ = controller()
    assert fail(judge, job_of(), vendor_error(-16, None, retry_after=2), 0.0) == 2
    too_long = vendor_error(-16, None, retry_after=200)
    assert fail(judge, job_of(), too_long, 0.0) is too_long


@pytest.mark.parametrize("code", [-15, -16, -18])
def test_a_429_is_throttling_with_any_code_beside_it(code: int) -> None:
    error = http_error(429, retry_after=2, code=code, reason="busy")
    assert type(error) is ThrottledError
    assert error.retry_after == 2
    assert f"status {code}" in str(error)
    assert type(http_error(429, code=-1)) is AuthenticationError


def test_a_run_that_completes_nothing_for_long_ends() -> None:
    policy = RetryPolicy(attempts=1_000, deadline=1e6, budget=1e6)
    judge, _ = controller(policy)
    run = Run()
    job = job_of(run)
    fault = vendor_error(-18, None)
    assert fail(judge, job, fault, 0.0) == 0.0
    assert fail(judge, job, fault, 300.0) == 0.0
    assert isinstance(stalled := fail(judge, job, fault, 301.0), OutageError)
    assert "300 seconds" in str(stalled)
    # Another page that was answered meanwhile makes the difference.
    succeed(judge, job_of(run), 290.0)
    assert fail(judge, job, fault, 301.0) == 0.0


def test_a_wait_that_would_go_beyond_the_stall_is_not_begun() -> None:
    for wish, stalls in ((5, False), (6, True)):
        judge, _ = controller(RetryPolicy(deadline=1e6))
        job = job_of()
        assert fail(judge, job, vendor_error(-18, None), 0.0) == 0.0
        decided = fail(judge, job, vendor_error(-18, "busy", retry_after=wish), 295.0)
        assert isinstance(decided, OutageError) == stalls
        if isinstance(decided, OutageError):
            assert (decided.status, decided.reason, decided.retry_after) == (-18, "busy", 6)


def test_a_throttled_client_waits_for_its_own_delay_without_retry_after() -> None:
    for error, delay, held in ((vendor_error(-15, None), 0.5, 0.5), (vendor_error(-18, None), 0.125, 0.0)):
        judge, pacer = controller()
        assert fail(judge, job_of(), error, 10.0, random=0.5) == delay
        assert pacer.decide_wait(10.0) == held


def test_a_run_whose_reader_took_long_is_not_stalled() -> None:
    judge, _ = controller()
    assert fail(judge, job_of(), vendor_error(-18, None), 10_000.0) == 0.0


@pytest.mark.parametrize("error", [vendor_error(-15, None), vendor_error(-18, None), http_error(503)])
def test_trouble_at_the_vendor_takes_places_away_and_answers_give_them_back(error: SipCdrError) -> None:
    judge, _ = controller()
    fail(judge, job_of(), error, 1.0)
    assert judge.limit.current == 5
    for _ in range(100):
        succeed(judge, job_of(), 2.0)
    assert judge.limit.current == 8


@pytest.mark.parametrize("error", [TransportError("broken"), vendor_error(-22, None), vendor_error(-16, None)])
def test_other_trouble_does_not(error: SipCdrError) -> None:
    judge, _ = controller()
    fail(judge, job_of(), error, 1.0)
    assert judge.limit.current == 8


def test_a_local_shortage_is_no_outage_and_lowers_the_limit() -> None:
    judge, _ = controller(RetryPolicy(budget=0, stall=0))
    shortage = TransportError("no free file descriptors")
    shortage.local = True
    job = job_of()
    for second in range(5):
        assert isinstance(fail(judge, job, shortage, float(second), 0.5), float)
    assert fail(judge, job, shortage, 5.0) is shortage
    assert judge.limit.current == 1


def test_an_error_about_the_account_ends_everything() -> None:
    judge, _ = controller()
    proxy = http_error(407)
    unknown = TransportError("the request failed (KeyError)", retryable=False)
    for error in (AuthenticationError(), RestrictedAddressError(), RedirectError(), TlsError(), proxy):
        assert judge.ends_all(error)
    for other in (unknown, ThrottledError(), ServerFaultError(), ProtocolError(), TransportError(), OutageError()):
        assert not judge.ends_all(other)


errors = st.sampled_from(
    [
        vendor_error(-18, None),
        vendor_error(-15, None),
        http_error(503, retry_after=2),
        TransportError("broken"),
        ProtocolError("cut", retryable=True),
    ]
)


@given(st.lists(st.tuples(errors, st.floats(0, 5), st.floats(0, 1, exclude_max=True)), min_size=1, max_size=300))
def test_no_wait_is_negative_or_beyond_the_deadline_and_the_budget_holds(
    failures: list[tuple[SipCdrError, float, float]],
) -> None:
    judge, _ = controller()
    now = cost = 0.0
    job = job_of()
    for error, later, random in failures:
        now += later
        decided = fail(judge, job, error, now, random)
        if isinstance(decided, SipCdrError):
            job = job_of()
            continue
        assert decided >= (error.retry_after or 0)
        assert now + decided - job.first_sent <= 120
        cost += 5 if isinstance(error, ThrottledError) else 14
    assert cost <= 500 + now + 1e-6
