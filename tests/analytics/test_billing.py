"""The billing audit, held against charges computed by hand."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.analytics import (
    LISTED,
    ROUNDING_RULES,
    BillingResult,
    DuplicateRows,
    RateChange,
    RoundingRule,
    round_up_seconds,
    summarize,
)
from aiosipcdr.model.records import CallDetailRecord
from tests.made_up_traffic import MONDAY, made_call, unanswered


def audit(*records: CallDetailRecord) -> BillingResult:
    summary = summarize(records)
    assert summary.billing is not None
    return summary.billing.result()


@pytest.mark.parametrize(
    ("duration", "period", "seconds"),
    [
        (0, "60+60", 0),
        (-3, "60+60", 0),
        (1, "60+60", 60),
        (60, "60+60", 60),
        (61, "60+60", 120),
        (5, "20+20", 20),
        (21, "20+20", 40),
        (31, "30+6", 36),
        (31, "30/6", 36),
        (31, "60", 60),
        (61, "60", 120),
        (1, "0+1", 1),
        (7, " 1 + 1 ", 7),
        (7, "60+0", None),
        (7, "monthly", None),
        (7, "60+60+60", None),
        (7, "-1+1", None),
        (7, "٦٠+٦٠", None),
    ],
)
def test_durations_are_rounded_up_by_the_period(duration: int, period: str, seconds: int | None) -> None:
    assert round_up_seconds(duration, period) == seconds


def test_a_bill_that_is_right() -> None:
    found = audit(made_call(), made_call(1, currency="EUR"), unanswered(2))

    assert found.rule == RoundingRule("bill_period", "exact")
    assert str(found.rule) == "call_duration rounded up by bill_period x rate / 60, not rounded"
    assert (found.checked, found.unchecked, found.mismatched) == (3, 0, 0)
    assert found.differences == {}
    assert found.mismatches == []
    assert found.unanswered.total == 0
    assert found.duplicates == DuplicateRows(total=0, amounts={}, voice_ids=[])
    assert found.rate_changes == []


def test_a_call_that_cost_too_much_is_listed_and_summed() -> None:
    wrong = made_call(7, cost=Decimal("0.18"))  # three minutes for 90 s
    less = made_call(8, cost=Decimal("0.06"), currency="EUR")
    found = audit(*(made_call(number) for number in range(5)), wrong, less)

    assert (found.checked, found.mismatched) == (7, 2)
    assert found.differences == {None: Decimal("0.06"), "EUR": Decimal("-0.06")}
    assert [(one.call.voice_id, one.expected, one.difference) for one in found.mismatches] == [
        (wrong.voice_id, Decimal("0.12"), Decimal("0.06")),
        (less.voice_id, Decimal("0.12"), Decimal("-0.06")),
    ]


@pytest.mark.parametrize(
    ("rounding", "places", "costs"),
    [
        # 1, 2 and 3 s at 0.01 a minute: 0.0001666..., 0.000333..., 0.0005
        ("half up", 3, ("0", "0", "0.001")),
        ("half even", 3, ("0", "0", "0")),
        ("up", 3, ("0.001", "0.001", "0.001")),
        ("half up", 4, ("0.0002", "0.0003", "0.0005")),
        ("up", 4, ("0.0002", "0.0004", "0.0005")),
        ("down", 4, ("0.0001", "0.0003", "0.0005")),
        ("down", 6, ("0.000166", "0.000333", "0.000500")),
    ],
)
def test_the_rounding_that_fits_best_is_found(rounding: str, places: int, costs: tuple[str, ...]) -> None:
    found = audit(
        *(
            made_call(second, call_duration=second, charged_duration=second, bill_period="1+1", rate=Decimal("0.01"),
                      cost=Decimal(cost))
            for second, cost in enumerate(costs, 1)
        )
    )  # fmt: skip

    assert found.rule == RoundingRule("bill_period", rounding, places)  # type: ignore[arg-type]
    assert found.mismatched == 0
    assert found.fits[found.rule] == 3


@pytest.mark.parametrize(
    ("basis", "cost"), [("bill_period", "0.12"), ("charged_duration", "0.1"), ("call_duration", "0.09")]
)
def test_the_seconds_that_are_charged_are_found(basis: str, cost: str) -> None:
    # 90 s at 0.06: two minutes by the period, 100 s as the vendor says, or as they are.
    found = audit(*(made_call(n, charged_duration=100, cost=Decimal(cost)) for n in range(3)), made_call(9))

    assert found.rule is not None
    assert found.rule.seconds == basis
    assert found.rule.rounding == "exact"


@given(
    st.integers(0, 5_000),
    st.decimals("0.0001", "9", places=4),
    st.sampled_from([rule for rule in ROUNDING_RULES if rule.rounding != "exact"]),
)
def test_every_rule_fits_its_own_charge(seconds: int, rate: Decimal, rule: RoundingRule) -> None:
    cost = rule.charge(rate * seconds)
    call = made_call(call_duration=seconds, charged_duration=seconds, bill_period="1+1", rate=rate, cost=cost)
    found = audit(call)

    assert rule in found.fits
    # No rule that fits gives another charge.
    assert all(
        fit.charge(rate * seconds) == cost if fit.rounding != "exact" else cost * 60 == rate * seconds
        for fit in found.fits
    )


def test_where_no_rule_fits_all_calls_differ() -> None:
    # The vendor's own sample: 5 s, 20+20, rate 1.2, cost 2.
    sample = made_call(
        call_duration=5, charged_duration=5, bill_period="20+20", rate=Decimal("1.2"), cost=Decimal(2)
    )  # fmt: skip
    found = audit(sample)

    assert found.fits == {}
    assert found.rule == RoundingRule("bill_period", "exact")
    assert (found.checked, found.mismatched) == (1, 1)
    assert found.mismatches[0].expected == Decimal("0.4")


def test_calls_without_rate_or_seconds_are_not_checked() -> None:
    lacking = [
        made_call(rate=None),
        made_call(bill_period="monthly", charged_duration=None),
        made_call(call_duration=-1, charged_duration=-1),
        made_call(cost=None),
    ]
    found = audit(made_call(), made_call(1), *lacking)

    # Three have a cost; that without one is no call to check.
    assert (found.checked, found.unchecked) == (2, 3)
    assert audit(made_call(rate=None)).rule is None


def test_a_bill_that_is_right_for_seconds_that_are_not() -> None:
    # A minute too much, a minute too few: the charge is right for what the vendor calls charged.
    more = made_call(1, charged_duration=180, cost=Decimal("0.18"))
    less = made_call(2, charged_duration=60, cost=Decimal("0.06"), currency="EUR")
    calls = [made_call(number) for number in range(3, 6)]
    found = audit(*calls, more, less, made_call(7, bill_period="monthly", charged_duration=77, cost=Decimal("0.077")))

    assert found.rule == RoundingRule("charged_duration", "exact")
    assert found.mismatched == 0
    assert found.misrounded.total == 2
    assert found.misrounded.amounts == {None: Decimal("0.06"), "EUR": Decimal("-0.06")}
    assert [call.voice_id for call in found.misrounded.calls] == [more.voice_id, less.voice_id]


def test_calls_that_cost_something_and_were_never_answered() -> None:
    found = audit(
        made_call(),
        unanswered(1, cost=Decimal("0.06")),
        unanswered(2, cost=Decimal("0.12"), currency="EUR"),
        made_call(3, call_duration=0),
        unanswered(4),
    ).unanswered

    assert found.total == 3
    assert found.amounts == {None: Decimal("0.18"), "EUR": Decimal("0.12")}
    assert [call.cost for call in found.calls] == [Decimal("0.12"), Decimal("0.12"), Decimal("0.06")]


def test_one_call_that_is_charged_twice() -> None:
    call = made_call(1)
    again = made_call(1, voice_id="2610050000000009999")
    leg = made_call(1, submit_time=MONDAY + timedelta(seconds=90), voice_id=call.voice_id)
    same_amount = made_call(2, currency="EUR", cost=Decimal("0.120"))
    found = audit(call, again, leg, same_amount, same_amount, made_call(3), unanswered(4), unanswered(4)).duplicates

    assert found.total == 2
    assert found.amounts == {None: Decimal("0.12"), "EUR": Decimal("0.12")}
    assert sorted(sorted(map(str, ids)) for ids in found.voice_ids) == [
        ["2610050000000000001", "2610050000000009999"],
        ["2610050000000000002"] * 2,
    ]


@pytest.mark.parametrize("voice_id", ["abc", "007", "12345678901234567890", "٣٣"])
def test_an_id_that_is_no_number_is_not_listed(voice_id: str) -> None:
    call = made_call(voice_id=voice_id)

    assert audit(call, call).duplicates.voice_ids == [(None, None)]


def test_rates_that_changed_within_a_day() -> None:
    night = made_call(1, rate=Decimal("0.05"))
    other_day = made_call(2, rate=Decimal("0.04"), submit_time=MONDAY + timedelta(days=1))
    other_period = made_call(3, rate=Decimal("0.03"), bill_period="1+1")
    other_group = made_call(4, rate=Decimal("0.02"), sip_group_name="support")

    assert audit(made_call(), made_call(9), night, other_day, other_period, other_group).rate_changes == [
        RateChange(
            date(2026, 10, 5), "sales", "United Kingdom(Mobile)", None, "60+60", (Decimal("0.05"), Decimal("0.06"))
        )
    ]


def test_lists_end_and_sums_do_not() -> None:
    count = LISTED + 10
    wrong = [made_call(number, cost=Decimal("0.13") + Decimal(number).scaleb(-6)) for number in range(count)]
    found = audit(*(made_call(number) for number in range(count, 3 * count)), *wrong)

    assert (found.mismatched, len(found.mismatches)) == (count, LISTED)
    assert found.differences == {None: sum(call.cost or Decimal() for call in wrong) - count * Decimal("0.12")}
    # Those that differ most.
    assert found.mismatches[0].call.voice_id == wrong[-1].voice_id
    assert found.mismatches[-1].call.voice_id == wrong[10].voice_id


def test_the_calls_that_differ_most_are_those_by_the_rule() -> None:
    fitting = [made_call(number, charged_duration=6_000, cost=Decimal(6)) for number in range(3)]
    # By charged_duration they differ by 0.01, by bill_period by 5.89.
    little = [made_call(number, charged_duration=6_000, cost=Decimal("6.01")) for number in range(LISTED)]
    most = made_call(7, voice_id="7", cost=Decimal("1.12"))
    found = audit(*fitting, *little, most)

    assert found.rule is not None
    assert found.rule.seconds == "charged_duration"
    assert (found.mismatched, len(found.mismatches)) == (LISTED + 1, LISTED)
    assert (found.mismatches[0].call.voice_id, found.mismatches[0].difference) == ("7", Decimal(1))


@pytest.mark.parametrize("duration", [None, -5])
def test_a_missing_duration_does_not_say_that_a_call_was_not_answered(duration: int | None) -> None:
    assert audit(made_call(call_duration=duration)).unanswered.total == 0
    assert audit(made_call(call_duration=duration, answer_time=None)).unanswered.total == 1


def test_of_calls_that_differ_alike_the_earlier_are_listed() -> None:
    wrong = [made_call(number, cost=Decimal("0.13")) for number in range(LISTED + 5)]
    right = [made_call(number) for number in range(2 * LISTED)]
    forwards, backwards = audit(*right, *wrong), audit(*wrong[::-1], *right)

    assert forwards == backwards
    listed = [one.call.voice_id for one in forwards.mismatches]
    assert listed == [call.voice_id for call in wrong[:LISTED]]


def test_a_refund_is_no_charge() -> None:
    found = audit(unanswered(1, cost=Decimal("-0.06")), unanswered(1, cost=Decimal("-0.06")))

    assert (found.unanswered.total, found.duplicates.total) == (0, 0)


@pytest.mark.parametrize(
    "difference",
    [
        {"hangup_time": MONDAY},
        {"answer_time": MONDAY},
        {"submit_time": MONDAY},
        {"callee": "+447700900999"},
        {"phone_name": "sip102"},
        {"sip_group_name": "support"},
        {"cost": Decimal("0.13")},
        {"currency": "EUR"},
    ],
)
def test_calls_that_differ_are_no_duplicates(difference: dict[str, Any]) -> None:
    times: dict[str, Any] = {
        "submit_time": MONDAY + timedelta(seconds=1),
        "answer_time": MONDAY + timedelta(seconds=11),
    }
    times["hangup_time"] = MONDAY + timedelta(seconds=101)

    assert audit(made_call(**times), made_call(**times)).duplicates.total == 1
    assert audit(made_call(**times), made_call(**{**times, **difference})).duplicates.total == 0


def test_no_repr_shows_an_id_or_a_number() -> None:
    found = audit(made_call(cost=Decimal(1), voice_id="+447700900123"), made_call(1))

    assert found.mismatched == 1
    assert "447700" not in repr(found)
