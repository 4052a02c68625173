"""Money is summed exactly, per field and per currency as sent, and never across."""

from decimal import Decimal, getcontext, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.money import SUMMED_FIELDS, MoneyRow, MoneyTotals, describe_unit, unit_of
from aiosipcdr.model.records import CallDetailRecord

amounts = st.none() | st.decimals(-(10**26) + 1, 10**26 - 1, places=12) | st.decimals(-100, 100, places=2)
records = st.builds(
    CallDetailRecord,
    voice_id=st.just("1"),
    cost=amounts,
    settle_pay=amounts,
    rate=amounts,
    settle_rate=amounts,
    quote_exchange=amounts,
    currency=st.sampled_from([None, "EUR", "USD", "eur"]),
)


@given(st.lists(st.lists(records, max_size=5), max_size=5))
def test_sums_are_exact_per_field_and_currency(batches: list[list[CallDetailRecord]]) -> None:
    totals = MoneyTotals()
    expected: dict[tuple[str, str | None], Fraction] = {}
    for batch in batches:
        totals.add(batch)
        for record in batch:
            for field, amount in (("cost", record.cost), ("settle_pay", record.settle_pay)):
                if amount is not None:
                    group = field, record.currency
                    expected[group] = expected.get(group, Fraction()) + Fraction(amount)
    rows = totals.rows()
    assert {(field, currency): Fraction(total) for field, currency, total in rows} == expected
    assert [row[:2] for row in rows] == sorted(expected, key=lambda group: (group[0], group[1] or ""))


def test_sums_that_were_made_before_are_added_to_the_last_digit() -> None:
    totals = MoneyTotals()
    reported = Decimal("99999999999999999999999999.000000000001")
    totals.add_rows([MoneyRow("cost", "EUR", reported)] * 3)
    assert totals.rows() == [("cost", "EUR", Decimal("299999999999999999999999997.000000000003"))]


def test_nothing_is_no_row() -> None:
    totals = MoneyTotals()
    assert totals.rows() == []
    totals.add([CallDetailRecord(voice_id="1", currency="EUR")])
    assert totals.rows() == []


def test_the_absent_currency_is_a_group_of_its_own_and_comes_first() -> None:
    totals = MoneyTotals()
    totals.add(
        [
            CallDetailRecord(voice_id="1", currency=currency, cost=Decimal("1.10"), settle_pay=Decimal(2))
            for currency in ("USD", None, "EUR", None)
        ]
    )
    assert totals.rows() == [
        ("cost", None, Decimal("2.20")),
        ("cost", "EUR", Decimal("1.10")),
        ("cost", "USD", Decimal("1.10")),
        ("settle_pay", None, Decimal(4)),
        ("settle_pay", "EUR", Decimal(2)),
        ("settle_pay", "USD", Decimal(2)),
    ]


def test_trailing_zeros_are_kept_and_the_callers_context_does_not_matter() -> None:
    totals = MoneyTotals()
    before = getcontext().prec
    with localcontext() as context:
        context.prec = 2
        totals.add([CallDetailRecord(voice_id="1", cost=Decimal("12345.670000000000"))] * 3)
    assert getcontext().prec == before
    assert str(totals.rows()[0][2]) == "37037.010000000000"


def test_the_largest_amounts_add_up_without_rounding() -> None:
    largest = Decimal("99999999999999999999999999.999999999999")
    totals = MoneyTotals()
    totals.add([CallDetailRecord(voice_id="1", cost=largest)] * 1_000)
    totals.add([CallDetailRecord(voice_id="1", cost=largest.copy_negate())] * 999)
    assert totals.rows() == [("cost", None, largest)]


def test_no_two_sums_are_labelled_with_the_same_currency_unless_they_are_in_it() -> None:
    assert [unit_of(field) for field in SUMMED_FIELDS] == ["quote", "settlement"]
    labels = [describe_unit(field, currency) for field in SUMMED_FIELDS for currency in ("CNY", None)]
    assert labels == [
        "CNY",
        "no currency named: USD, unless your brand differs",
        "in the settlement currency, calls quoted in CNY",
        "in the settlement currency, calls that name no currency",
    ]
