"""Metrics of traffic, held against figures computed by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.analytics import ConcurrentCalls, HourLoad, Peak, SecondCounts, TrafficMetrics, summarize
from aiosipcdr.analytics.seconds import HOUR, second_of, time_of
from aiosipcdr.model.money import MoneyRow
from aiosipcdr.model.records import CallDetailRecord
from tests.made_up_traffic import MONDAY, made_call, unanswered


def total_of(*records: CallDetailRecord) -> TrafficMetrics:
    return summarize(records).total


def test_a_day_by_hand() -> None:
    # Four answered (90, 90, 5 and 15 s), six not: two given up, one busy, one declined, one 503, one 404.
    metrics = total_of(
        made_call(0),
        made_call(1),
        made_call(2, call_duration=5, charged_duration=60, cost=Decimal("0.06")),
        made_call(3, call_duration=15, charged_duration=60, cost=Decimal("0.06"), currency="EUR"),
        unanswered(4),
        unanswered(5),
        unanswered(6, termination_code="486", ringing_time=None),
        unanswered(7, termination_code="603"),
        unanswered(8, termination_code="503", ringing_time=None),
        unanswered(9, termination_code="404", ringing_time=None),
    )

    assert (metrics.attempts, metrics.answered, metrics.short) == (10, 4, 1)
    assert metrics.asr == 0.4
    assert metrics.ner == 0.8  # 4 answered, 2 given up, 1 busy, 1 declined
    assert metrics.acd == 50.0  # 200 s / 4
    assert metrics.short_share == 0.25
    assert (metrics.seconds, metrics.charged_seconds) == (200, 360)
    assert (metrics.minutes, metrics.charged_minutes) == (Fraction(10, 3), Fraction(6))
    assert metrics.erlang_hours == Fraction(1, 18)
    assert metrics.endings == {"200": 4, "487": 2, "486": 1, "603": 1, "503": 1, "404": 1}
    assert metrics.money() == [MoneyRow("cost", None, Decimal("0.30")), MoneyRow("cost", "EUR", Decimal("0.06"))]
    assert metrics.effective_rate() == Decimal("0.06")  # 0.30 for 300 s charged
    assert metrics.effective_rate(per="minute") == Decimal("0.09729729729729729729729729730")  # 0.30 for 185 s
    assert metrics.effective_rate("GBP") is None
    assert metrics.calls_per_second == 10 / 541


def test_no_calls_have_no_ratios() -> None:
    metrics = total_of()

    assert metrics == TrafficMetrics(concurrent=ConcurrentCalls(), starts=SecondCounts())
    ratios = [metrics.asr, metrics.ner, metrics.acd, metrics.short_share, metrics.calls_per_second, metrics.pdd()]
    assert ratios == [None] * 6
    assert metrics.effective_rate() is None
    assert metrics.concurrent is not None
    assert metrics.concurrent.peak() is None
    assert metrics.concurrent.busy_hour() is None


@pytest.mark.parametrize("code", ["200", "1000", "0", "success", None])
def test_answered_does_not_depend_on_the_code(code: str | None) -> None:
    assert total_of(made_call(termination_code=code)).answered == 1
    assert total_of(unanswered(termination_code=code)).answered == 0


def test_a_call_of_no_duration_is_not_answered() -> None:
    metrics = total_of(made_call(call_duration=0), made_call(1, call_duration=None))

    assert (metrics.answered, metrics.seconds, metrics.missing_durations) == (0, 0, 1)


def test_a_call_of_six_seconds_is_not_short() -> None:
    assert total_of(made_call(call_duration=6), made_call(1, call_duration=5)).short == 1


def test_a_hangup_in_the_second_of_the_answer_is_no_contradiction() -> None:
    metrics = total_of(made_call(hangup_time=MONDAY + timedelta(seconds=10), call_duration=1))

    assert (metrics.answered, metrics.negative_durations, metrics.unplaced) == (1, 0, 0)


def test_negative_durations_count_as_missing_and_are_reported() -> None:
    early = MONDAY - timedelta(seconds=1)
    metrics = total_of(
        made_call(call_duration=-90),
        made_call(1, charged_duration=-1),
        made_call(2, hangup_time=early),
        made_call(3, call_duration=-1, charged_duration=-1, hangup_time=early),
    )

    assert metrics.negative_durations == 4
    assert (metrics.answered, metrics.seconds, metrics.charged_seconds) == (2, 180, 240)
    assert metrics.unplaced == 1
    assert metrics.concurrent is not None
    assert list(metrics.concurrent.items()) == [(second_of(MONDAY) + 70, 1), (second_of(MONDAY) + 160, -1)]


def test_the_ner_needs_codes_that_are_sip() -> None:
    assert total_of(made_call(), unanswered(termination_code="7"), unanswered(termination_code=None)).ner is None
    # Of the unanswered calls one has a SIP code, and it failed in the network.
    assert total_of(made_call(), unanswered(termination_code="7"), unanswered(termination_code="503")).ner == 0.5
    assert total_of(made_call(termination_code="1000")).ner == 1.0


def test_malformed_codes_and_currencies_are_not_kept() -> None:
    metrics = total_of(made_call(termination_code="+447700900123", currency="an account of +447700900123"))

    assert metrics.endings == {"other": 1}
    assert list(metrics.by_currency) == ["other"]
    assert "447700" not in repr(metrics)


def test_money_of_two_fields_and_currencies_is_never_added() -> None:
    paid = made_call(currency="GBP", cost=Decimal("0.1"), settle_pay=Decimal("0.127"))
    free = made_call(currency="EUR", cost=None, settle_pay=Decimal("0.2"))

    assert total_of(made_call(), paid, paid, free).money() == [
        MoneyRow("cost", None, Decimal("0.12")),
        MoneyRow("cost", "GBP", Decimal("0.2")),
        MoneyRow("settle_pay", "EUR", Decimal("0.2")),
        MoneyRow("settle_pay", "GBP", Decimal("0.254")),
    ]


def test_more_currencies_than_exist_are_refused() -> None:
    calls = [made_call(number, currency=f"C{number}") for number in range(1_001)]

    with pytest.raises(ValueError, match="more than 1000 currencies"):
        summarize(calls)
    first, second = summarize(calls[:1_000]), summarize(calls[1_000:])
    with pytest.raises(ValueError, match="more than 1000 currencies"):
        first.update(second)


@pytest.mark.parametrize(
    ("quantile", "delay"), [(0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.51, 3), (0.75, 3), (0.76, 3_600), (1, 3_600)]
)
def test_quantiles_are_by_nearest_rank(quantile: float, delay: int) -> None:
    waits = [timedelta(seconds=1, microseconds=999_999), *(timedelta(seconds=n) for n in (2, 3, 86_400))]
    calls = [made_call(ringing_time=MONDAY + wait) for wait in waits]
    early = made_call(ringing_time=MONDAY - timedelta(seconds=1))
    metrics = total_of(*calls, early, made_call(ringing_time=None))

    assert metrics.pdd(quantile) == delay
    assert metrics.negative_delays == 1


def test_a_rank_is_of_the_share_as_it_is_written() -> None:
    # 0.07 as a double is more than seven hundredths.
    calls = [made_call(ringing_time=MONDAY + timedelta(seconds=n), submit_time=MONDAY) for n in range(100)]

    assert total_of(*calls).pdd(0.07) == 6
    with pytest.raises(ValueError, match="between 0 and 1"):
        TrafficMetrics().pdd(95)


def test_one_call_that_ends_as_another_begins_does_not_overlap_it() -> None:
    calls = ConcurrentCalls()
    calls.add_call(100, 160)
    calls.add_call(160, 200)
    calls.add_call(150, 150)

    assert calls.peak() == Peak(1, datetime(1970, 1, 1, 0, 1, 40, tzinfo=UTC))
    calls.add_call(159, 161)
    assert calls.peak() == Peak(2, datetime(1970, 1, 1, 0, 2, 39, tzinfo=UTC))


def test_times_are_floored_to_the_second() -> None:
    late = MONDAY.replace(microsecond=999_999)
    assert second_of(late) == second_of(MONDAY)
    assert second_of(datetime(9998, 1, 1, microsecond=999_999, tzinfo=UTC)) == second_of(
        datetime(9998, 1, 1, tzinfo=UTC)
    )
    assert second_of(datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)) == -1
    # Two half seconds of two calls are not at once.
    half = timedelta(seconds=0.5)
    first = made_call(answer_time=MONDAY, hangup_time=MONDAY + 3 * half, call_duration=1)
    second = made_call(answer_time=MONDAY + 3 * half, hangup_time=MONDAY + 6 * half, call_duration=1)
    metrics = total_of(first, second)
    assert metrics.concurrent is not None
    assert metrics.concurrent.peak() == Peak(1, MONDAY)


def test_the_busy_hour_may_be_one_in_which_nothing_changes() -> None:
    calls = ConcurrentCalls()
    calls.add_call(1_800, 4 * HOUR + 1_800)

    assert calls.busy_hour() == HourLoad(datetime(1970, 1, 1, 1, tzinfo=UTC), Fraction(1))
    # The first of equals.
    calls.add_call(9 * HOUR, 10 * HOUR)
    assert calls.busy_hour() == HourLoad(datetime(1970, 1, 1, 1, tzinfo=UTC), Fraction(1))
    calls.add_call(4 * HOUR, 4 * HOUR + 1_860)
    assert calls.busy_hour() == HourLoad(datetime(1970, 1, 1, 4, tzinfo=UTC), Fraction(1_800 + 1_860, HOUR))


def test_peaks_belong_to_the_days_of_a_zone() -> None:
    calls = ConcurrentCalls()
    noon = second_of(datetime(2026, 10, 5, 12, tzinfo=UTC))
    calls.add_call(noon, noon + 13 * HOUR)
    calls.add_call(noon, noon + 60)
    day = datetime(2026, 10, 5, tzinfo=UTC).date()

    assert calls.peaks_by_day(UTC) == {day: 2, day + timedelta(days=1): 1}
    india = datetime.fromisoformat("2026-10-05T00:00+05:30").tzinfo
    assert india is not None
    calls.add_call(second_of(datetime(2026, 10, 5, 18, 29, tzinfo=UTC)), noon + 13 * HOUR)
    assert calls.peaks_by_day(india) == {day: 2, day + timedelta(days=1): 2}


def test_dense_hours_count_as_sparse_ones_do() -> None:
    counts, shuffled = SecondCounts(), SecondCounts()
    for second in range(400):
        counts.add(second, 1)
        shuffled.add(399 - second, 2)
        shuffled.add(399 - second, -1)
    counts.add(7, 1)

    assert list(counts.items()) == [(second, 1 + (second == 7)) for second in range(400)]
    assert counts != shuffled
    shuffled.add(7, 1)
    assert counts == shuffled
    assert counts.peak() == Peak(2, datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC))


spans = st.lists(st.tuples(st.integers(-5_000, 9_000), st.integers(0, 4_000)), max_size=12)


@given(spans)
def test_peak_and_busy_hour_match_a_count_of_each_second(drawn: list[tuple[int, int]]) -> None:
    calls = ConcurrentCalls()
    levels: dict[int, int] = {}
    for start, length in drawn:
        calls.add_call(start, start + length)
        for second in range(start, start + length):
            levels[second] = levels.get(second, 0) + 1
    loads: dict[int, int] = {}
    for second, level in levels.items():
        loads[second // HOUR] = loads.get(second // HOUR, 0) + level

    highest = max(levels.values(), default=0)
    first = min((second for second, level in levels.items() if level == highest), default=0)
    peak = time_of(first)
    assert peak is not None
    assert calls.peak() == (Peak(highest, peak) if highest else None)
    load = calls.busy_hour()
    assert (load and load.erlangs) == (Fraction(max(loads.values()), HOUR) if loads else None)
    if load is not None:
        assert second_of(load.start) // HOUR == min(hour for hour in loads if loads[hour] == max(loads.values()))


def test_peaks_of_parts_do_not_exceed_that_of_the_whole() -> None:
    calls = [made_call(number, hangup_time=MONDAY + timedelta(hours=1), call_duration=60) for number in range(5)]
    peaks = []
    for end in range(1, 6):
        concurrent = total_of(*calls[:end]).concurrent
        assert concurrent is not None
        found = concurrent.peak()
        assert found is not None
        peaks.append(found.calls)

    assert all(before < after for before, after in pairwise(peaks))
