"""Rows: the contents of the lines, and reading them back."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.export.masking import mask_number
from aiosipcdr.export.render import (
    EXTRA,
    LIST_FIELDS,
    ROW_FIELDS,
    are_lists,
    decode_rows,
    encode_lists,
    encode_rows,
    read_texts,
)
from aiosipcdr.model.records import MONEY_FIELDS, CallDetailRecord, ExtraFields
from tests.made_up_calls import call, calls

FIELDS = list(CallDetailRecord.__struct_fields__)


def with_extra(record: CallDetailRecord, **fields: str) -> CallDetailRecord:
    return msgspec.structs.replace(record, extra=ExtraFields(fields))


def lines_of(*records: CallDetailRecord) -> list[dict[str, object]]:
    text = encode_rows(records).decode("utf-8")
    assert text.count("\n") == len(records)
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_every_field_is_in_every_line_in_the_records_order() -> None:
    full = CallDetailRecord(voice_id="1", cost=Decimal(1), call_duration=3)
    empty = CallDetailRecord(voice_id="2")
    lines = lines_of(full, empty)
    assert [list(line) for line in lines] == [FIELDS, FIELDS]
    assert lines[1] == {**dict.fromkeys(FIELDS), "voice_id": "2"}


def test_ids_are_text_durations_numbers_and_times_keep_their_offset() -> None:
    shanghai = timezone(timedelta(hours=8))
    record = CallDetailRecord(
        voice_id="1234567890123456789",
        submit_time=datetime(2026, 10, 1, 8, 30, tzinfo=shanghai),
        answer_time=datetime(2026, 10, 1, 0, 30, tzinfo=UTC),
        call_duration=61,
        charged_duration=120,
    )
    (line,) = lines_of(record)
    assert line["voice_id"] == "1234567890123456789"
    assert line["submit_time"] == "2026-10-01T08:30:00+08:00"
    assert line["answer_time"] == "2026-10-01T00:30:00Z"
    assert (line["call_duration"], line["charged_duration"]) == (61, 120)


def test_text_beyond_ascii_is_utf_8_and_never_breaks_a_line() -> None:
    record = CallDetailRecord(voice_id="1", code="中国(北京)", phone_name='a\nb\u2028c"d')
    encoded = encode_rows([record])
    assert "中国(北京)".encode() in encoded
    assert encoded.count(b"\n") == 1
    assert lines_of(record)[0]["phone_name"] == 'a\nb\u2028c"d'


@pytest.mark.parametrize(
    "reported", ["0.1000", "1.230", "0.0000001", "0.00000000", "-0.00000005", "12345678901234567890.123456789012345678"]
)
def test_money_is_kept_as_it_was_sent(reported: str) -> None:
    record = CallDetailRecord(voice_id="1", cost=Decimal(reported), settle_pay=Decimal("1.0"))
    (line,) = lines_of(record)
    assert (line["cost"], line["settle_pay"]) == (reported, "1.0")


def test_a_word_that_looks_like_an_exponent_changes_nothing() -> None:
    record = CallDetailRecord(voice_id="1", code="CAFE-1", cost=Decimal("0.50"))
    (line,) = lines_of(record)
    assert (line["code"], line["cost"]) == ("CAFE-1", "0.50")


def test_no_records_are_no_lines() -> None:
    assert encode_rows([]) == b""


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
amounts = st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)


@given(st.lists(st.builds(CallDetailRecord, voice_id=st.text("0123456789", min_size=1), code=texts, cost=amounts)))
def test_nothing_is_lost_or_changed(records: list[CallDetailRecord]) -> None:
    lines = lines_of(*records)
    assert [line["code"] for line in lines] == [record.code for record in records]
    for line, record in zip(lines, records, strict=True):
        for name in MONEY_FIELDS:
            amount, reported = getattr(record, name), line[name]
            assert (reported is None) == (amount is None)
            if amount is not None:
                assert isinstance(reported, str)
                assert (Decimal(reported).compare_total(amount) == 0) or Decimal(reported) == amount
                assert "E" not in reported
    assert msgspec.json.decode(b"[" + encode_rows(records).replace(b"\n", b",").rstrip(b",") + b"]") == lines


def test_the_names_of_a_row_are_those_of_the_record_and_extra() -> None:
    assert list(ROW_FIELDS) == FIELDS
    assert EXTRA == "extra"


def test_unknown_fields_are_in_extra_as_they_were_sent() -> None:
    strange = with_extra(call(2), b="1.50", a='"1E-7"')
    first, second = encode_rows([call(1), strange]).splitlines()
    assert json.loads(first)["extra"] is None
    assert json.loads(second)["extra"] == '{"b":1.50,"a":"1E-7"}'


def test_extra_is_beside_money_in_plain_notation() -> None:
    record = with_extra(CallDetailRecord(voice_id="1", cost=Decimal("1E-7")), x="1E-7")
    line = json.loads(encode_rows([record]))
    assert (line["cost"], line["extra"]) == ("0.0000001", '{"x":1E-7}')


def test_a_mask_hides_numbers_and_unknown_fields() -> None:
    record = with_extra(call(1), to='"+12125550123"')
    (line,) = map(json.loads, encode_rows([record], mask_number).splitlines())
    assert (line["callee"], line["display_num"]) == ("+1********01", "+44********01")
    assert (line["phone_name"], line["extra"]) == (None, None)
    assert line["submit_time"] == "2026-10-01T08:30:01+08:00"


@given(st.lists(calls, max_size=4))
def test_records_come_back_as_they_were(records: list[CallDetailRecord]) -> None:
    records[:1] = [with_extra(record, new="1", cost='"?"') for record in records[:1]]
    rows = encode_rows(records)
    assert decode_rows(rows) == records
    assert [dict(record.extra) for record in decode_rows(rows)] == [dict(record.extra) for record in records]
    again = [msgspec.structs.astuple(record) for record in decode_rows(rows)]
    assert [[str(value) for value in row if isinstance(value, datetime)] for row in again] == [
        [str(value) for value in msgspec.structs.astuple(record) if isinstance(value, datetime)] for record in records
    ]


def test_texts_are_read_back_unchanged() -> None:
    (row,) = read_texts(encode_rows([with_extra(call(1), new="{}")]))
    assert (row.cost, row.call_duration, row.charged_duration, row.extra) == ("0.0001", 1, 60, '{"new":{}}')
    assert row.submit_time == "2026-10-01T08:30:01+08:00"
    assert row.phone_name is None
    assert read_texts(b"") == decode_rows(b"") == []


@given(st.lists(calls, max_size=4))
def test_lists_have_the_values_of_objects_unless_a_text_is_escaped(records: list[CallDetailRecord]) -> None:
    objects, lists = encode_rows(records), encode_lists(records)
    assert (lists is None) == (b"\\" in objects)
    if lists is not None:
        reported = [json.loads(line) for line in lists.decode().split("\n")[:-1]]
        assert [dict(zip(LIST_FIELDS, row, strict=True)) for row in reported] == [
            {"[": 0, **json.loads(line), "]": 0} for line in objects.decode().split("\n")[:-1]
        ]
        assert decode_rows(lists) == records
        assert are_lists(lists) == bool(records)
    assert not are_lists(objects)


def test_a_mask_hides_numbers_in_lists_too() -> None:
    lists = encode_lists([with_extra(call(1), to='"+12125550123"')], mask_number)
    assert lists is not None
    row = dict(zip(LIST_FIELDS, json.loads(lists), strict=True))
    assert (row["callee"], row["display_num"], row["extra"]) == ("+1********01", "+44********01", None)


@pytest.mark.parametrize("reported", ["0.1000", "0.0000001", "-0.00000005"])
def test_money_in_lists_is_kept_as_it_was_sent(reported: str) -> None:
    lists = encode_lists([CallDetailRecord(voice_id="1", cost=Decimal(reported))])
    assert lists is not None
    assert json.loads(lists)[LIST_FIELDS.index("cost")] == reported
