"""Every form of a value that vendors send has one meaning, or none; nothing is guessed."""

from collections import Counter
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.model.records import (
    DURATION_FIELDS,
    MONEY_FIELDS,
    TIME_FIELDS,
    WIRE_NAMES,
    CallDetailRecord,
    ExtraFields,
)
from aiosipcdr.wire.codec import PageAnswer, PageDecoder
from aiosipcdr.wire.field_values import (
    VALUE_FAULTS,
    Reader,
    read_count,
    read_label,
    read_money,
    read_seconds,
    read_time,
)
from tests.selection import some
from tests.wire_forms import FAULTY, INTEGERS, LOCAL_TIMES, MONEY, TEXTS, TIMES, check_form, record_of

TEXT_FIELDS = WIRE_NAMES.keys() - {*DURATION_FIELDS, *MONEY_FIELDS, *TIME_FIELDS, "voice_id"}
KINDS = [
    *((field, raw, value) for field in DURATION_FIELDS for raw, value in INTEGERS),
    *((field, raw, value) for field in sorted(TEXT_FIELDS) for raw, value in TEXTS),
    *((field, raw, value) for field in MONEY_FIELDS for raw, value in MONEY),
    *((field, raw, value) for field in TIME_FIELDS for raw, value in TIMES),
]


def page_of(*records: bytes) -> bytes:
    counts = f'"total":{len(records)},"size":100,"current":1,"pages":1'
    return f'{{"status":"0","data":{{{counts},"records":['.encode() + b",".join(records) + b"]}}"


def decode(*records: bytes, zone: str | None = None) -> PageAnswer:
    answer = PageDecoder(None if zone is None else ZoneInfo(zone)).decode(page_of(*records))
    assert isinstance(answer, PageAnswer), answer
    assert not answer.quarantined
    assert not answer.unknown_fields
    return answer


@pytest.mark.parametrize(("field", "raw", "value"), some(KINDS, every=4), ids=lambda value: repr(value)[:40])
def test_a_value_is_read_by_its_meaning_or_refused(field: str, raw: str, value: object) -> None:
    # On a page of its own, and beside records that take the patient way, the second of them for msgspec refuses it.
    for other in (b"", b'{"voiceId":"8","callDuration":"7"}', b'{"voiceId":"9","code":"a\tb"}'):
        answer = decode(*filter(None, (record_of(1, field, raw), other)))
        check_form(answer.page.records[0], field, raw, value)
        faulty = [field] * (value is FAULTY) + ["code"] * (b"code" in other)
        assert answer.faulty_fields == Counter(faulty)


def test_a_long_text_is_read_alike_beside_any_field() -> None:
    text = "x" * 100_000
    for other in (b"", b'{"voiceId":"8","callDuration":"7"}', b'{"voiceId":"9","code":"a\tb"}'):
        answer = decode(*filter(None, (record_of(1, "termination_reason", f'"{text}"'), other)))
        assert (answer.page.records[0].termination_reason, answer.page.records[0].extra) == (text, {})


@pytest.mark.parametrize(("zone", "raw", "value"), LOCAL_TIMES)
@pytest.mark.parametrize("field", TIME_FIELDS)
def test_a_local_time_is_read_where_a_zone_is_assumed(field: str, zone: str, raw: str, value: object) -> None:
    (record,) = decode(record_of(1, field, raw), zone=zone).page.records
    check_form(record, field, raw, value)
    (record,) = decode(record_of(1, field, raw)).page.records
    check_form(record, field, raw, value if "Z" in raw else FAULTY)


@pytest.mark.parametrize("raw", ["1.5", "true", "1e3", "2203031113381000002.0", "[1]", "NaN", '"a\tb"', r'"\ud800"'])
def test_an_id_in_these_forms_cannot_be_read(raw: str) -> None:
    answer = PageDecoder().decode(page_of(f'{{"voiceId":{raw},"cost":"1"}}'.encode(), b'{"voiceId":"2"}'))
    assert isinstance(answer, PageAnswer)
    assert [record.voice_id for record in answer.page.records] == ["2"]
    (bad,) = answer.quarantined
    assert (bad.reason, bad.voice_id, bad.page) == ("its voiceId cannot be read", None, 1)
    assert raw.encode() in bad.raw


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        *[("0", 0), ("7", 7), ('"7"', 7), ("1000000000", 10**9), ("null", None), ('"000000007"', 7)],
        *[("7.0", 7), ("0.000", 0), ('""', None)],
    ],
)
def test_the_numbers_of_a_page(raw: str, number: int | None) -> None:
    assert read_count(raw.encode()) == number


READERS: list[Reader] = [read_label, read_money, read_seconds, read_time, read_count]


@given(
    st.sampled_from(READERS),
    st.binary(max_size=30) | st.from_regex(r'"?[-+0-9TZ:.eE\[\] ]{0,40}"?', fullmatch=True).map(str.encode),
)
def test_no_bytes_raise_anything_else(reader: Reader, raw: bytes) -> None:
    try:
        value = reader(raw)
    except VALUE_FAULTS:
        return
    if isinstance(value, str):
        assert value
    CallDetailRecord(voice_id="1", extra=ExtraFields())
