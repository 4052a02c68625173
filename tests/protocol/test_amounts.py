"""Money as told: what is possible passes with its digits, and each text is read once."""

from decimal import Context, Decimal, DecimalException, InvalidOperation, localcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from aiosipcdr.protocol.amounts import Amounts, money_fits, money_is_possible
from aiosipcdr.protocol.records import MONEY_FIELDS, CallDetailRecord


def possible(amount: Decimal) -> bool:
    # Written out digit by digit, so that no rule of the code is used to check itself.
    if not amount.is_finite():
        return False
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    return exponent >= -12 and (not any(digits) or len("".join(map(str, digits)).lstrip("0")) + exponent <= 26)


amounts = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(-(10**27), 10**27, places=12),
    st.builds(lambda digits, exponent: Decimal(f"{digits}E{exponent}"), st.integers(-999, 999), st.integers(-40, 40)),
    st.sampled_from([Decimal("sNaN"), Decimal("1e999999"), Decimal("9.9E25"), Decimal("1E26"), Decimal("1E-12")]),
)


@given(amounts)
def test_one_amount_is_possible_if_it_fits_a_column_of_38_digits(amount: Decimal) -> None:
    if not amount and amount.is_finite():
        return  # nothing is nothing, however many places it is written with
    assert money_is_possible([amount]) == possible(amount)


@given(st.lists(amounts, max_size=5))
def test_a_column_with_an_impossible_amount_never_passes(column: list[Decimal]) -> None:
    if money_is_possible(column):
        assert all(possible(amount) or (amount.is_finite() and not amount) for amount in column)


@given(st.lists(st.tuples(st.none() | amounts, st.none() | amounts), max_size=5))
def test_a_page_passes_if_each_of_its_columns_does(rows: list[tuple[Decimal | None, Decimal | None]]) -> None:
    records = [CallDetailRecord(voice_id="1", cost=cost, settle_pay=settled) for cost, settled in rows]
    columns = [[amount for amount in column if amount is not None] for column in zip(*rows, strict=True)]
    if all(map(money_is_possible, columns)):
        assert money_fits(records)
    if money_fits(records):
        assert all(possible(amount) or not amount for column in columns for amount in column)


@given(st.lists(st.none() | st.decimals(-(10**7), 10**7, places=4), max_size=5))
def test_a_page_with_ordinary_money_passes(column: list[Decimal | None]) -> None:
    assert money_fits([CallDetailRecord(voice_id="1", rate=amount) for amount in column])


@pytest.mark.parametrize("amount", ["1E25", "9.9E25", "-9.9E25", "12345678901234.5", "0.000000000001", "1E-12"])
def test_extraordinary_money_passes_where_it_fits(amount: str) -> None:
    assert money_fits([CallDetailRecord(voice_id="1", cost=Decimal(amount))])


@pytest.mark.parametrize("amount", ["1E26", "-1E26", "1E-13", "0E-13", "NaN", "sNaN", "-Infinity", "1E999999999"])
@pytest.mark.parametrize("other", [None, "0", "1E26", "-1E26", "Infinity"])
def test_a_page_with_impossible_money_does_not_pass(amount: str, other: str | None) -> None:
    amounts = [Decimal(amount), None if other is None else Decimal(other)]
    records = [CallDetailRecord(voice_id="1", cost=one) for one in amounts]
    assert not money_fits(records)
    assert not money_fits(records[::-1])


def test_two_amounts_that_share_no_column_of_38_digits_do_not_pass() -> None:
    # Rounded to 38 digits their sum would look as if it fitted.
    assert not money_is_possible([Decimal("1E+25"), Decimal("1E-13")])


def test_nothing_is_possible() -> None:
    assert money_is_possible([])
    assert money_fits([])
    assert money_is_possible([Decimal()])


@pytest.mark.parametrize("name", MONEY_FIELDS)
@pytest.mark.parametrize("amount", ["1E26", "1E-13", "NaN"])
def test_impossible_money_is_seen_in_every_field_of_money(name: str, amount: str) -> None:
    fine, odd = (CallDetailRecord(voice_id="1", **{name: Decimal(one)}) for one in ("1.5", amount))  # type: ignore[arg-type]
    assert money_fits([fine, fine])
    assert not money_fits([fine, odd])
    assert not money_fits([odd])


# A class that only the codec knows: the same one, with money that is still text.
TextRecord: Any = CallDetailRecord[str]  # type: ignore[misc]  # to type checkers it has no parameter


@given(amounts)
def test_a_text_comes_to_its_amount_with_its_digits_or_to_none_at_all(amount: Decimal) -> None:
    told = Amounts()
    if possible(amount):
        assert str(told[str(amount)]) == str(amount)
        assert told[str(amount)] is told[str(amount)]
    elif amount or not amount.is_finite():
        with pytest.raises(DecimalException):
            told[str(amount)]


@pytest.mark.parametrize("text", ["", "-", "1,5", "0x10", "1.5 USD", "--1", "1.2.3", "1e"])
@pytest.mark.parametrize("traps", [[], [InvalidOperation]])
def test_what_is_no_number_comes_to_nothing_whatever_this_thread_traps(text: str, traps: list[Any]) -> None:
    with localcontext(Context(traps=traps)), pytest.raises(DecimalException):
        Amounts()[text]


@pytest.mark.parametrize(
    "text", ["7.20", " 7.20 ", "+7.20", "1_000", "\u0667.5", "7.2e0", "1e-12", "00", "-0.0", "9" * 26]
)
def test_texts_that_decimals_read_are_read(text: str) -> None:
    assert str(Amounts()[text]) == str(Decimal(text))


def test_what_is_absent_stays_so_whatever_became_of_the_table() -> None:
    told = Amounts()
    assert told[None] is None
    told.clear()
    assert told[None] is None


def test_records_share_what_they_repeat_and_keep_how_it_is_written() -> None:
    raw = b'[{"voiceId":"1","cost":"7.2","rate":"7.20"},{"voiceId":"2","cost":"7.2","settlePay":"7.20"}]'
    records = msgspec.json.decode(raw, type=list[TextRecord])
    Amounts().fill_in(records)
    first, second = records
    assert type(first) is CallDetailRecord
    assert first == CallDetailRecord(voice_id="1", cost=Decimal("7.2"), rate=Decimal("7.20"))
    assert [str(first.cost), str(first.rate), str(second.settle_pay)] == ["7.2", "7.20", "7.20"]
    assert first.cost is second.cost
    assert first.rate is second.settle_pay


@pytest.mark.parametrize("name", MONEY_FIELDS)
def test_amounts_are_put_into_every_field_of_money(name: str) -> None:
    record = TextRecord(voice_id="1", **{name: "0.5"})
    Amounts().fill_in([record])
    assert getattr(record, name) == Decimal("0.5")
    with pytest.raises(DecimalException):
        Amounts().fill_in([TextRecord(voice_id="1", **{name: "NaN"})])


def test_a_long_text_is_read_and_not_kept() -> None:
    told = Amounts()
    assert told["0" * 100_000 + "1"] == 1
    assert len(told) == 0


@pytest.mark.parametrize(("times", "repeat"), [(3, True), (1, False)])
def test_few_amounts_are_kept_and_none_where_none_comes_twice(times: int, *, repeat: bool) -> None:
    told = Amounts()
    for number in range(20_000):
        told.fill_in([TextRecord(voice_id="1", cost=f"0.{number:05}") for _ in range(times)])
        assert len(told) <= 8_192
        if not told.repeat:
            break
    assert told.repeat is repeat
    assert told[None] is None


def test_no_text_of_them_shows_an_amount() -> None:
    told = Amounts()
    told["12125550123"]
    assert "12125550123" not in f"{told} {told!r} {told.__rich_repr__()} {pretty_repr(told)}"
