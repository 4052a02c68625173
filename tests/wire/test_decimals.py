"""Money as the vendor writes it: amounts pass with their digits, and each text is read once."""

from decimal import Context, Decimal, DecimalException, InvalidOperation, localcontext
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from aiosipcdr.model.records import MONEY_FIELDS, CallDetailRecord
from aiosipcdr.wire.decimals import DecimalCache, fill_in_numbers, read_amount
from aiosipcdr.wire.typed import text_decoder


def possible(amount: Decimal) -> bool:
    # Written out digit by digit, so that no rule of the code is used to check itself.
    if not amount.is_finite():
        return False
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    places = -exponent - (len(text) - len(text.rstrip("0")))
    return not amount or (places <= 80 and len(text.lstrip("0")) + exponent <= 26)


amounts = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(-(10**27), 10**27, places=12),
    st.builds(lambda digits, exponent: Decimal(f"{digits}E{exponent}"), st.integers(-999, 999), st.integers(-99, 40)),
    st.sampled_from([Decimal("sNaN"), Decimal("1e999999"), Decimal("9.9E25"), Decimal("1E26"), Decimal("1E-80")]),
)


@given(amounts)
def test_an_amount_is_read_with_its_value_or_not_at_all(amount: Decimal) -> None:
    if possible(amount):
        assert read_amount(str(amount)) == amount
    else:
        with pytest.raises(DecimalException):
            read_amount(str(amount))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("7.20", "7.20"),
        (" 7.20\t", "7.20"),
        ("+7.20", "7.20"),
        (".5", "0.5"),
        ("5.", "5"),
        ("00.1", "0.1"),
        ("-0.0", "-0.0"),
        ("7.2e0", "7.2"),
        ("1E+3", "1E+3"),
        ("1e-12", "1E-12"),
        ("9" * 26, "9" * 26),
        ("1.5000000000000", "1.5000000000000"),
        ("0E-18", "0E-18"),
        ("0E-999999999", "0"),
        ("0E+999999999", "0"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("0.1000000000000000055511151231257827021181583404541015625",) * 2,
        ("1.5" + "0" * 200, "1.5"),
    ],
)
def test_a_text_of_an_amount_keeps_its_digits(text: str, amount: str) -> None:
    assert str(read_amount(text)) == amount
    assert str(look_up(DecimalCache(), text)) == amount


def look_up(table: DecimalCache, text: str) -> Decimal | None:
    record = UnreadRecord(voice_id="1", cost=text)
    table.fill_in_quotes([record])
    cost: Decimal | None = record.cost
    return cost


NO_AMOUNTS = [
    *(" ", "-", ".", "1,5", "1_000", "\uff11\uff12", "\u0667.5", "0x10", "1.5 USD", "--1", "1.2.3", "1e", "1e5e5"),
    *("NaN", "sNaN", "Infinity", "-inf", "1E26", "1E-81", "1e999999999", "1e-999999999", "1e9999999999", "1" * 5_000),
    *("0." + "1" * 81, "0.1" + "0" * 399 + "1", "1 000", "1\n2"),
]


@pytest.mark.parametrize("text", NO_AMOUNTS)
@pytest.mark.parametrize("traps", [[], [InvalidOperation]])
def test_an_invalid_amount_is_refused_with_any_trap_of_this_thread(text: str, traps: list[Any]) -> None:
    with localcontext(Context(traps=traps)):
        for read in (read_amount, partial(look_up, DecimalCache()), by_column):
            with pytest.raises(DecimalException):
                read(text)


def by_column(value: object) -> Decimal | None:
    record = UnreadRecord(voice_id="1", cost=value)
    fill_in_numbers([UnreadRecord(voice_id="2", cost="5"), record])
    cost: Decimal | None = record.cost
    return cost


UnreadRecord: Any = CallDetailRecord  # its amounts are not read yet


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("7.20", "7.20"),
        (Decimal("7.20"), "7.20"),
        (7, "7"),
        (-7, "-7"),
        (" 7 ", "7"),
        (Decimal("0E-99"), "0"),
        (None,) * 2,
        ("", None),
    ],
)
def test_columns_take_texts_and_numbers(value: object, amount: str | None) -> None:
    read = by_column(value)
    assert (None if read is None else str(read)) == amount


@pytest.mark.parametrize("value", [True, [], {}, 10**26, Decimal("1e999"), Decimal("0." + "1" * 5_000)])
def test_columns_take_nothing_else(value: object) -> None:
    with pytest.raises(DecimalException):
        by_column(value)


@pytest.mark.parametrize("missing", [None, ""])
@pytest.mark.parametrize("name", MONEY_FIELDS)
def test_missing_amounts_are_none(name: str, missing: object) -> None:
    for fill_in in (DecimalCache().fill_in, fill_in_numbers):
        record = UnreadRecord(voice_id="1", **{name: missing})
        fill_in([record, UnreadRecord(voice_id="2", **{name: "0.5"}), record])
        assert getattr(record, name) is None


def test_records_share_equal_amounts_and_keep_their_digits() -> None:
    raw = b'[{"voiceId":"1","cost":"7.2","rate":"7.20"},{"voiceId":"2","cost":"7.2","settlePay":"7.20"}]'
    answer = text_decoder().decode(b'{"status":0,"data":{"total":2,"size":2,"current":1,"records":%b}}' % raw)
    assert answer.data is not None
    records = answer.data.records
    assert records is not None
    DecimalCache().fill_in(records)
    first, second = records
    assert type(first) is CallDetailRecord
    assert first == CallDetailRecord(voice_id="1", cost=Decimal("7.2"), rate=Decimal("7.20"))
    assert [str(first.cost), str(first.rate), str(second.settle_pay)] == ["7.2", "7.20", "7.20"]
    assert first.cost is second.cost
    assert first.rate is second.settle_pay


@pytest.mark.parametrize("name", MONEY_FIELDS)
def test_amounts_are_put_into_every_field_of_money(name: str) -> None:
    for fill_in in (DecimalCache().fill_in, fill_in_numbers):
        record = UnreadRecord(voice_id="1", **{name: "0.5"})
        fill_in([record])
        assert getattr(record, name) == Decimal("0.5")
        with pytest.raises(DecimalException):
            fill_in([UnreadRecord(voice_id="1", **{name: "NaN"})])


def test_a_long_text_is_read_and_not_kept() -> None:
    table = DecimalCache()
    assert look_up(table, "0" * 100 + "1") == 1
    assert len(table._known) == 0


def test_of_many_amounts_those_stay_that_are_used() -> None:
    table = DecimalCache(size=8)
    rate = look_up(table, "0.5")
    for number in range(1_000):
        text = f"0.{number:05}"
        cost = look_up(table, text)
        assert str(cost) == text
        assert look_up(table, "0.5") is rate
        assert look_up(table, text) is cost
        assert len(table._known) <= 8
        assert len(table._older) <= 8


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 20))
def test_an_amount_is_the_same_whatever_the_table_has_dropped(numbers: list[int], size: int) -> None:
    table = DecimalCache(size)
    for number in numbers:
        text = "" if number == 0 else f"{number // 2}.{'0' * (number % 3)}{number}"
        assert str(look_up(table, text)) == str(read_amount(text) if text else None)


def test_no_text_of_them_shows_an_amount() -> None:
    table = DecimalCache()
    look_up(table, "12125550123")
    assert "12125550123" not in f"{table} {table!r} {table.__rich_repr__()} {pretty_repr(table)}"
