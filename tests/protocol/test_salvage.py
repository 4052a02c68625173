"""Record by record: what is broken costs itself, and only that."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.protocol.records import MONEY_FIELDS, CallDetailRecord
from aiosipcdr.protocol.salvage import money_fits, money_is_possible, salvage_records

CANARY = "+12125550123"


def array(*records: object) -> bytes:
    return json.dumps(list(records)).encode()


@pytest.mark.parametrize("raw", [b"", b"{}", b"5", b"[1", b'"x"'])
def test_what_is_no_array_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        salvage_records(raw, page=1)


def test_an_empty_array_is_nothing() -> None:
    salvage = salvage_records(b" [ ] ", page=1)
    assert (salvage.records, salvage.quarantined, salvage.unknown_fields, salvage.anomalies) == ([], [], {}, 0)


@given(st.lists(st.booleans(), max_size=8))
def test_good_records_keep_their_order_and_bad_ones_their_bytes(broken: list[bool]) -> None:
    records = [{"voiceId": str(number), "callDuration": CANARY if bad else 5} for number, bad in enumerate(broken)]
    salvage = salvage_records(array(*records), page=7)
    assert [record.voice_id for record in salvage.records] == [str(n) for n, bad in enumerate(broken) if not bad]
    assert [json.loads(bad.raw) for bad in salvage.quarantined] == [
        r for r, bad in zip(records, broken, strict=True) if bad
    ]
    assert {bad.page for bad in salvage.quarantined} <= {7}
    assert [bad.voice_id for bad in salvage.quarantined] == [str(n) for n, bad in enumerate(broken) if bad]


@pytest.mark.parametrize(
    "record",
    [
        {"voiceId": "1", "callee": 12125550123},
        {"voiceId": "1", "submitTime": CANARY},
        {"voiceId": "1", "cost": f"phone {CANARY}"},
        {"voiceId": "1", "cost": "1e999999999"},
        {"voiceId": "1", "callDuration": CANARY},
        {"voiceId": None, "callee": CANARY},
        {"callee": CANARY},
        CANARY,
    ],
    ids=repr,
)
def test_a_reason_names_the_place_and_no_value(record: object) -> None:
    (bad,) = salvage_records(array(record), page=1).quarantined
    assert bad.reason
    assert "2125550123" not in f"{bad.reason} {bad!r} {bad}"
    if isinstance(record, dict) and record.get("voiceId"):
        assert next(name for name in record if name != "voiceId").lower() in bad.reason.lower()


def test_unknown_fields_are_counted_once_for_each_record_that_was_read() -> None:
    good, bad = {"voiceId": "1", "x": 1, "y": {"z": 1}}, {"voiceId": "2", "x": 1, "callDuration": "no"}
    assert salvage_records(array(good, good), page=1).unknown_fields == {"x": 2, "y": 2}
    assert salvage_records(array(good, bad, good), page=1).unknown_fields == {"x": 2, "y": 2}


@pytest.mark.parametrize(("name", "told"), [("", "***"), (" \t", "***"), ("+44 7700 900123", "+***")])
def test_a_name_that_says_nothing_or_too_much_is_counted_under_stars(name: str, told: str) -> None:
    assert salvage_records(array({"voiceId": "1", name: 5}), page=1).unknown_fields == {told: 1}


def test_what_stands_under_unknown_names_is_kept_as_it_was_told() -> None:
    raw = b'[{"voiceId":"1","big":1.10,"y":{"z":[1,null]}},{"voiceId":"2"},{"voiceId":"3","text":"\xc3\xa9\xff"}]'
    salvage = salvage_records(raw, page=1)
    assert {record.voice_id: extra for record, extra in salvage.extras.items()} == {
        "1": '{"big":1.10,"y":{"z":[1,null]}}',
        "3": '{"text":"\u00e9\ufffd"}',
    }


def test_both_costs_are_counted_once_beside_a_broken_record_too() -> None:
    both, bad = {"voiceId": "1", "cost": "1", "costEur": "2"}, {"voiceId": "2", "callDuration": "no"}
    assert salvage_records(array(both, bad, both), page=1).anomalies == 2


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
