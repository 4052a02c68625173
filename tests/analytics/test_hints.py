"""Hints of fraud, each with traffic just beside it that is none."""

from datetime import UTC, timedelta
from decimal import Decimal

from aiosipcdr.analytics import FraudHint, HintThresholds, summarize
from aiosipcdr.model.records import CallDetailRecord
from tests.made_up_traffic import MONDAY, made_call

HOUR = timedelta(hours=1)


def hints(records: list[CallDetailRecord], thresholds: HintThresholds | None = None) -> list[FraudHint]:
    summary = summarize(records)
    assert summary.hints is not None
    return summary.hints.find(thresholds)


def hourly(hour: int, cost: str, calls: int = 1) -> list[CallDetailRecord]:
    # Calls of an hour; callees are the same, so that there is no run of numbers.
    start = MONDAY + hour * HOUR
    return [
        made_call(submit_time=start + timedelta(seconds=n), cost=Decimal(cost), callee="+447700900001")
        for n in range(calls)
    ]


def usual(hours: int) -> list[CallDetailRecord]:
    # The median of 1, 2 and 3 is 2.
    return [call for hour in range(hours) for call in hourly(hour, str(1 + hour % 3))]


def test_a_destination_that_suddenly_costs_more() -> None:
    spike = FraudHint(
        kind="cost spike",
        start=MONDAY + 24 * HOUR,
        code="United Kingdom(Mobile)",
        calls=6,
        amount=Decimal("10.2"),
        usual=Decimal(2),
    )

    assert hints([*usual(24), *hourly(24, "1.7", 6)]) == [spike]
    # Five times the median is not more than five times, 23 hours are too few, and four calls as well.
    assert hints([*usual(24), *hourly(24, "2", 5)]) == []
    assert hints([*usual(23), *hourly(24, "1.7", 6)]) == []
    assert hints([*usual(24), *hourly(24, "99", 4)]) == []
    # Nor do hours count that are more than a week ago.
    assert len(hints([*usual(24), *hourly(168, "1.7", 6)])) == 1
    assert hints([*usual(24), *hourly(169, "1.7", 6)]) == []
    assert hints([*usual(24), *hourly(23 + 168, "1.7", 6)], HintThresholds(new_days=60)) == []
    assert len(hints([*usual(24), *hourly(24, "2", 5)], HintThresholds(spike_factor=Decimal(4)))) == 1


def test_a_destination_that_is_new() -> None:
    first = made_call()
    at = MONDAY + timedelta(days=7)
    new = made_call(submit_time=at, code="Ireland(Special)", cost=Decimal(3), currency="EUR")

    assert hints([new, first]) == [
        FraudHint(kind="new destination", start=at, code="Ireland(Special)", calls=1, amount=Decimal(3), currency="EUR")
    ]
    assert hints([first, made_call(submit_time=at - timedelta(seconds=1), code="Ireland(Special)")]) == []
    assert hints([first, new, made_call(1, code="Ireland(Special)")]) == []


def test_a_phone_that_dials_number_after_number() -> None:
    run = [made_call(n) for n in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7, 7)]
    hint = FraudHint(
        kind="sequential callees", start=MONDAY, sip_group_name="sales", phone_name="sip101", calls=10
    )  # fmt: skip

    assert hints(run) == [hint]
    assert hints([call for call in run if call.callee != "+447700900005"]) == []
    # Two phones, or two hours, make no run together.
    other = [made_call(9, phone_name="sip102"), made_call(69, callee="+447700900009")]
    assert hints([*(made_call(n) for n in range(9)), *other]) == []
    assert "sip101" not in repr(hint)


def test_a_callee_that_is_no_number_is_no_run() -> None:
    callees = ["1", "٣٣٣٣٣٣", "+", "sip:1@example", "1" * 30, None]

    calls = [made_call(n, callee=callee) for n, callee in enumerate([*callees, "00001"])]
    assert hints(calls, HintThresholds(run_length=2)) == []


def test_a_phone_with_a_burst_of_short_calls() -> None:
    short = [made_call(n, call_duration=5, callee=None) for n in range(30)]
    long = [made_call(n, callee=None) for n in range(30, 60)]

    assert hints([*short, *long]) == [
        FraudHint(kind="short calls", start=MONDAY, sip_group_name="sales", phone_name="sip101", calls=30)
    ]
    assert hints([*short, *long, made_call(0, callee=None)]) == []
    assert hints([*short[1:], made_call(60, call_duration=5, callee=None)]) == []


def test_a_destination_that_answers_without_ringing() -> None:
    answered = MONDAY + timedelta(seconds=4)
    silent = [made_call(answer_time=answered, callee=None) for _ in range(10)]
    heard = [made_call(callee=None) for _ in range(10)]

    assert hints([*silent, *heard]) == [FraudHint(kind="no ringing time", code="United Kingdom(Mobile)", calls=10)]
    assert hints([*silent, *heard, *heard[:1]]) == []
    assert hints([*silent, *heard[1:]]) == []
    # A call without a ringing time says nothing.
    assert hints([*silent, *heard[1:], made_call(ringing_time=None, callee=None)]) == []


def test_hints_are_ordered() -> None:
    calls = [made_call(n, submit_time=MONDAY.astimezone(UTC) + hour * HOUR) for hour in (2, 1) for n in range(12)]

    assert [hint.start for hint in hints(calls)] == [MONDAY + HOUR, MONDAY + 2 * HOUR]
