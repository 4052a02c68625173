"""The offset between two clocks: measured from responses, adopted once, never flapping."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.policy.clock import (
    AgePolicy,
    AwakeTime,
    ClockOffset,
    VendorClock,
    VendorTime,
    decode_http_date,
    measure_offset,
)

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
UNIX = NOW.timestamp()


def date(unix: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(unix), UTC), usegmt=True)


@given(st.floats(-1e6, 1e6), st.floats(0, 60), st.floats(0, 1))
def test_the_measured_offset_is_half_a_second_and_half_a_round_trip_off_at_most(
    offset: float, round_trip: float, answered: float
) -> None:
    sent = UNIX + 0.25
    reported = date(sent + round_trip * answered + offset)
    measured = measure_offset(reported, sent, sent + round_trip)
    assert measured is not None
    assert abs(measured - offset) <= 0.5 + round_trip / 2 + 1e-3


@pytest.mark.parametrize("value", [None, "", "now", "-1", "Thu, 99 Oct 2026 12:00:00 GMT", "9" * 5_000])
def test_an_invalid_date_measures_nothing(value: str | None) -> None:
    assert decode_http_date(value) is None
    assert measure_offset(value, UNIX, UNIX) is None


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine's own zone be none that HTTP has, where it can be set."""
    set_zone = getattr(time, "tzset", lambda: None)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-8")
        set_zone()
        yield
    set_zone()


@pytest.mark.usefixtures("elsewhere")
def test_a_date_without_a_zone_is_read_as_the_one_that_http_has() -> None:
    assert decode_http_date("Thu, 01 Oct 2026 12:00:00") == UNIX
    assert decode_http_date("Thu, 01 Oct 2026 12:00:00 -0000") == UNIX


def test_many_refusals_of_one_version_change_the_offset_once() -> None:
    clock = ClockOffset()
    assert (clock.seconds, clock.version) == (0, 0)
    for measured in (3_600.0, 3_601.0, 3_602.0):
        clock.note_refusal(measured, signed_under=0, now=10)
    assert (clock.seconds, clock.version) == (3_600, 1)


def test_an_offset_that_was_just_taken_over_stays_for_a_minute() -> None:
    clock = ClockOffset()
    clock.note_refusal(3_600.0, signed_under=0, now=10)
    clock.note_refusal(-50.0, signed_under=1, now=69)
    assert (clock.seconds, clock.version) == (3_600, 1)
    clock.note_refusal(-50.0, signed_under=1, now=70)
    assert (clock.seconds, clock.version) == (-50, 2)


@pytest.mark.parametrize("measured", [None, 86_401.0, -86_401.0, 0.9, -0.9])
def test_an_offset_too_large_or_too_small_to_be_the_cause_changes_nothing(measured: float | None) -> None:
    clock = ClockOffset()
    clock.note_refusal(measured, signed_under=0, now=10)
    assert (clock.seconds, clock.version) == (0, 0)


def test_an_offset_is_compared_with_the_current_one() -> None:
    clock = ClockOffset()
    clock.note_refusal(3_600.0, signed_under=0, now=10)
    clock.note_refusal(3_600.9, signed_under=1, now=100)
    assert (clock.seconds, clock.version) == (3_600, 1)
    clock.note_refusal(0.2, signed_under=1, now=100)
    assert (clock.seconds, clock.version) == (0.2, 2)


def test_a_clock_that_was_set_right_is_believed_at_once() -> None:
    clock = ClockOffset()
    clock.note_refusal(28_800.0, signed_under=0, now=10)
    clock.note_refusal(0.4, signed_under=1, now=12)
    assert (clock.seconds, clock.version) == (0.4, 2)


def test_two_refusals_in_a_row_that_agree_replace_an_offset_at_once() -> None:
    clock = ClockOffset()
    clock.note_refusal(28_800.0, signed_under=0, now=10)
    clock.note_refusal(600.0, signed_under=1, now=12)
    assert clock.version == 1
    clock.note_refusal(601.0, signed_under=1, now=12)
    assert (clock.seconds, clock.version) == (601, 2)


@pytest.mark.parametrize("between", [28_800.2, -600.0, None])
def test_two_refusals_that_do_not_follow_each_other_do_not_agree(between: float | None) -> None:
    clock = ClockOffset()
    clock.note_refusal(28_800.0, signed_under=0, now=10)
    clock.note_refusal(600.0, signed_under=1, now=12)
    if between is None:
        clock.note_success()
    else:
        clock.note_refusal(between, signed_under=1, now=12)
    clock.note_refusal(600.0, signed_under=1, now=12)
    assert (clock.seconds, clock.version) == (28_800, 1)


@given(st.lists(st.tuples(st.none() | st.floats(-2e5, 2e5), st.integers(0, 5), st.floats(0, 30)), max_size=80))
def test_within_a_minute_it_changes_only_with_good_reason_and_never_beyond_a_day(
    refusals: list[tuple[float | None, int, float]],
) -> None:
    clock = ClockOffset()
    now, changed, reported = 0.0, float("-inf"), float("nan")
    for measured, behind, later in refusals:
        now += later
        version = clock.version
        clock.note_refusal(measured, signed_under=max(0, clock.version - behind), now=now)
        assert abs(clock.seconds) <= 86_400
        if clock.version != version:
            assert measured is not None
            assert now - changed >= 60 or abs(measured) <= 2 or abs(measured - reported) < 5
            changed = now
        if measured is not None and (behind == 0 or version == 0):
            reported = measured


def test_time_in_which_the_loop_stood_still_is_not_awake() -> None:
    awake = AwakeTime(100.0)
    assert awake.read(103.0) == 103.0
    assert awake.read(104.0) == 104.0
    assert (awake.gaps, awake.lost) == (0, 0)
    assert awake.read(234.0) == 105.0
    assert (awake.gaps, awake.lost) == (1, 129)
    assert awake.read(235.0) == 106.0


def test_time_in_which_nothing_was_under_way_is_no_gap() -> None:
    awake = AwakeTime(100.0)
    awake.restart(5_000.0)
    assert awake.read(5_001.0) == 5_001.0
    assert awake.gaps == 0


@given(st.lists(st.floats(0, 1e4), max_size=40))
def test_awake_time_never_goes_back_and_is_never_ahead(steps: list[float]) -> None:
    awake, now, before = AwakeTime(0.0), 0.0, 0.0
    for step in steps:
        now += step
        read = awake.read(now)
        assert before <= read + 1e-6
        assert read <= now
        assert read - before <= 3.0 + 1e-6
        before = read


def heard(clock: VendorClock, *offsets: float | None, at: float = UNIX) -> float | None:
    for offset in offsets:
        clock.note_answer(None if offset is None else date(at + offset), sent=at, received=at)
    return clock.offset


def test_the_vendors_clock_is_the_median_of_recent_answers() -> None:
    clock = VendorClock()
    assert clock.offset is None
    assert heard(clock, 3_600) == 3_600.5
    assert heard(clock, 3_600, 3_600, -40_000, 80_000) == 3_600.5  # two answers of other servers
    assert heard(clock, *[-7_200] * 15) == -7_199.5  # this machine's clock has jumped


def test_answers_without_a_date_say_nothing_of_the_vendors_clock() -> None:
    clock = VendorClock()
    assert heard(clock, None) is None
    assert heard(clock, 60, *[None] * 14) == 60.5
    assert heard(clock, None) is None, "the one that had a date is not recent any more"


@pytest.mark.parametrize("wrong", [-90_000.0, 90_000.0, 1e9])
def test_a_date_that_is_more_than_a_day_off_is_no_time(wrong: float) -> None:
    assert heard(VendorClock(), wrong) is None
    assert heard(VendorClock(), wrong, wrong, 5) == 5.5


@given(st.lists(st.tuples(st.floats(-80_000, 80_000), st.floats(0, 60)), min_size=1, max_size=40))
def test_the_vendors_clock_lies_between_the_recent_answers(answers: list[tuple[float, float]]) -> None:
    clock = VendorClock()
    measured = []
    for offset, round_trip in answers:
        reported = date(UNIX + offset)
        clock.note_answer(reported, sent=UNIX, received=UNIX + round_trip)
        measured.append(measure_offset(reported, UNIX, UNIX + round_trip) or 0.0)
    assert clock.offset is not None
    assert min(measured[-15:]) <= clock.offset <= max(measured[-15:])


def test_a_window_is_young_until_its_end_is_as_old_as_lateness() -> None:
    ages = AgePolicy(lambda: VendorTime(NOW, is_local=False), timedelta(hours=4), timedelta(seconds=1))
    assert ages.is_young(NOW + timedelta(hours=1))
    assert ages.is_young(NOW - timedelta(hours=4, seconds=-1))
    assert not ages.is_young(NOW - timedelta(hours=4))
    assert ages._replace(lateness=timedelta.max).is_young(datetime.min.replace(tzinfo=UTC))
    assert not ages._replace(lateness=timedelta()).is_young(NOW)


def test_the_count_of_a_young_window_waits_and_longer_where_counts_lag() -> None:
    ages = AgePolicy(lambda: VendorTime(NOW, is_local=False), timedelta(hours=4), timedelta(seconds=0.5))
    settled = NOW - timedelta(hours=4)
    assert [ages.delay_before_count(NOW, count_lags=lags) for lags in (False, True)] == [0.5, 6.0]
    assert [ages.delay_before_count(settled, count_lags=lags) for lags in (False, True)] == [0, 0]
    assert ages._replace(count_delay=timedelta()).delay_before_count(NOW, count_lags=True) == 0


def test_an_end_has_passed_when_no_date_can_say_otherwise() -> None:
    ages = AgePolicy(lambda: VendorTime(NOW, is_local=False), timedelta(hours=4), timedelta(0))
    for ahead, left in ((10, 10.5), (0, 0.5), (-0.5, 0), (-10, 0)):
        assert ages.until_past(NOW + timedelta(seconds=ahead)) == left


def test_replicas_are_waited_for_where_a_window_is_young_and_counts_are() -> None:
    ages = AgePolicy(lambda: VendorTime(NOW, is_local=False), timedelta(hours=4), timedelta(seconds=0.5))
    assert ages.may_lag(NOW)
    assert not ages.may_lag(NOW - timedelta(hours=4))
    assert not ages._replace(count_delay=timedelta()).may_lag(NOW)
    assert ages.find_caught_up() == NOW + timedelta(seconds=6)
    assert [ages.is_past(NOW + timedelta(seconds=ahead)) for ahead in (1, 0, -0.5)] == [False, False, True]
