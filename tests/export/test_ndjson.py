"""NDJSON: what stands in the lines."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.export import encode_lines
from aiosipcdr.protocol.records import MONEY_FIELDS, CallDetailRecord

FIELDS = list(CallDetailRecord.__struct_fields__)


def lines_of(*records: CallDetailRecord) -> list[dict[str, object]]:
    text = encode_lines(records).decode("utf-8")
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
    encoded = encode_lines([record])
    assert "中国(北京)".encode() in encoded
    assert encoded.count(b"\n") == 1
    assert lines_of(record)[0]["phone_name"] == 'a\nb\u2028c"d'


@pytest.mark.parametrize(
    "told", ["0.1000", "1.230", "0.0000001", "0.00000000", "-0.00000005", "12345678901234567890.123456789012345678"]
)
def test_money_stands_as_it_was_told(told: str) -> None:
    record = CallDetailRecord(voice_id="1", cost=Decimal(told), settle_pay=Decimal("1.0"))
    (line,) = lines_of(record)
    assert (line["cost"], line["settle_pay"]) == (told, "1.0")


def test_a_word_that_looks_like_an_exponent_changes_nothing() -> None:
    record = CallDetailRecord(voice_id="1", code="CAFE-1", cost=Decimal("0.50"))
    (line,) = lines_of(record)
    assert (line["code"], line["cost"]) == ("CAFE-1", "0.50")


def test_no_records_are_no_lines() -> None:
    assert encode_lines([]) == b""


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
amounts = st.none() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)


@given(st.lists(st.builds(CallDetailRecord, voice_id=st.text("0123456789", min_size=1), code=texts, cost=amounts)))
def test_nothing_is_lost_or_changed(records: list[CallDetailRecord]) -> None:
    lines = lines_of(*records)
    assert [line["code"] for line in lines] == [record.code for record in records]
    for line, record in zip(lines, records, strict=True):
        for name in MONEY_FIELDS:
            amount, told = getattr(record, name), line[name]
            assert (told is None) == (amount is None)
            if amount is not None:
                assert isinstance(told, str)
                assert (Decimal(told).compare_total(amount) == 0) or Decimal(told) == amount
                assert "E" not in told
    assert msgspec.json.decode(b"[" + encode_lines(records).replace(b"\n", b",").rstrip(b",") + b"]") == lines
