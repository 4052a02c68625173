"""The wire: every dialect that is legal means the same, and nothing foreign gets any further."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiosipcdr.model.errors import ProtocolError
from aiosipcdr.model.query import Filters
from aiosipcdr.model.records import MONEY_FIELDS, TIME_FIELDS, WIRE_NAMES, CallDetailRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.wire.codec import (
    CONTENT_TYPE,
    PATH,
    PageAnswer,
    PageDecoder,
    Refusal,
    encode_params,
    encode_query,
)
from aiosipcdr.wire.decimals import DecimalCache
from aiosipcdr.wire.raw_json import decode_broken
from tests.selection import some

SOME = settings.default.max_examples if settings.default else 50
CANARY = "+447700900123"
WINDOW = TimeWindow(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=timezone(timedelta(hours=8))))

# The sample of the vendor's page.
SAMPLE: dict[str, Any] = {
    "voiceId": "2203031113381000002",
    "sipGroupName": "group1",
    "phoneName": "sipName8555",
    "callee": "12125550100",
    "displayNum": "12125550101",
    "code": "Afghanistan(Kandahar)",
    "submitTime": "2022-01-18T14:42:40+08:00",
    "callTime": "2022-01-18T14:45:42+08:00",
    "ringingTime": "2022-01-18T14:42:47+08:00",
    "answerTime": "2022-01-18T14:42:50+08:00",
    "hangupTime": "2022-01-18T14:42:55+08:00",
    "callDuration": 5,
    "chargedDuration": 5,
    "terminationCode": "1000",
    "terminationReason": "success",
    "cost": "2",
    "billPeriod": "20+20",
    "rate": "1.2",
    "recordingFileId": "12022022570cc2484c59d4f8b9745d34226285b1e.mp3",
    "currency": "EUR",
    "settleRate": "0.1",
    "quoteExchange": "7.1",
    "settlePay": "0.3",
}


FIELD_NAMES = {wire_name: name for name, wire_name in WIRE_NAMES.items()}


def short(value: object) -> str:
    return repr(value)[:40]


def envelope(records: object, *, total: object = None, **extra: object) -> dict[str, Any]:
    total = len(records) if total is None else total  # type: ignore[arg-type]
    data = {"total": total, "size": 100, "current": 1, "pages": 1, "searchCount": True, "records": records}
    return {"status": "0", "reason": "success", "data": data | extra}


def body(*records: object, **extra: object) -> bytes:
    return json.dumps(envelope(list(records), **extra), separators=(",", ":")).encode()


def decode(raw: bytes) -> PageAnswer:
    answer = PageDecoder().decode(raw)
    assert isinstance(answer, PageAnswer), answer
    return answer


def decode_one(raw: bytes) -> CallDetailRecord:
    answer = decode(raw)
    assert not answer.quarantined
    (record,) = answer.page.records
    return record


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in SAMPLE.items() if key != name}


# --- queries


def test_a_query_is_the_vendors_own() -> None:
    assert PATH == "/recordSipQuery"
    assert CONTENT_TYPE == "application/json;charset=UTF-8"
    filters = Filters(sip_group_name='grüpe "1"', phone_name="sip\n8555")
    query = encode_query(encode_params(WINDOW, filters), current=3, size=100)
    assert json.loads(query) == {
        "current": 3,
        "size": 100,
        "params": {
            "strTime": "2026-10-01T00:00:00+00:00",
            "endTime": "2026-10-02T00:00:00+08:00",
            "sipGroupName": 'grüpe "1"',
            "phoneName": "sip\n8555",
        },
    }
    query.decode("utf-8")


@given(st.lists(st.integers(0, 2**64), unique=True, min_size=2, max_size=20))
def test_a_serial_number_changes_the_bytes_of_a_query_and_not_its_meaning(serials: list[int]) -> None:
    params = encode_params(WINDOW, Filters(phone_name="a b"))
    plain = encode_query(params, current=1, size=1)
    queries = {encode_query(params, current=1, size=1, serial=serial) for serial in serials}
    assert len(queries | {plain}) == len(serials) + 1
    assert all(json.loads(query) == json.loads(plain) and len(query) <= len(plain) + 65 for query in queries)


@pytest.mark.parametrize("filters", [Filters(), Filters(sip_group_name="", phone_name="")], ids=short)
def test_an_absent_filter_is_left_out(filters: Filters) -> None:
    assert set(json.loads(encode_params(WINDOW, filters))) == {"strTime", "endTime"}


def test_no_text_of_filters_shows_a_value() -> None:
    from rich.pretty import pretty_repr

    filters = Filters(phone_name=CANARY)
    assert CANARY not in f"{filters} {filters!r}"
    assert "phone_name" in repr(filters)
    assert CANARY not in pretty_repr(filters)


# --- valid responses


def test_the_sample_of_the_vendors_page() -> None:
    record = decode_one(body(SAMPLE))
    east = timezone(timedelta(hours=8))
    assert record == CallDetailRecord(
        voice_id="2203031113381000002",
        sip_group_name="group1",
        phone_name="sipName8555",
        callee="12125550100",
        display_num="12125550101",
        code="Afghanistan(Kandahar)",
        submit_time=datetime(2022, 1, 18, 14, 42, 40, tzinfo=east),
        call_time=datetime(2022, 1, 18, 14, 45, 42, tzinfo=east),
        ringing_time=datetime(2022, 1, 18, 14, 42, 47, tzinfo=east),
        answer_time=datetime(2022, 1, 18, 14, 42, 50, tzinfo=east),
        hangup_time=datetime(2022, 1, 18, 14, 42, 55, tzinfo=east),
        call_duration=5,
        charged_duration=5,
        termination_code="1000",
        termination_reason="success",
        cost=Decimal(2),
        bill_period="20+20",
        rate=Decimal("1.2"),
        recording_file_id="12022022570cc2484c59d4f8b9745d34226285b1e.mp3",
        currency="EUR",
        settle_rate=Decimal("0.1"),
        quote_exchange=Decimal("7.1"),
        settle_pay=Decimal("0.3"),
    )
    assert record.submit_time is not None
    assert record.submit_time.utcoffset() == timedelta(hours=8)


def test_the_numbers_of_a_page_are_the_vendors_own() -> None:
    answer = decode(body(SAMPLE, total=205, size=50, current=3, pages=7))
    page = answer.page
    assert (page.total, page.size, page.current, page.pages) == (205, 50, 3, 7)
    assert (answer.quarantined, answer.unknown_fields, answer.anomalies) == ([], {}, 0)


@pytest.mark.parametrize("status", ["0", 0, " 0", "00"], ids=short)
def test_status_zero_may_be_a_text_or_a_number(status: object) -> None:
    assert decode_one(json.dumps(envelope([SAMPLE]) | {"status": status}).encode()).call_duration == 5


@pytest.mark.parametrize("status", ["-16", -16], ids=short)
@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}, {"data": ""}, {"data": []}], ids=short)
@pytest.mark.parametrize("reason", ["expired", "", None, 5, ["x"]], ids=short)
def test_a_refusal_may_look_like_anything(status: object, data: dict[str, object], reason: object) -> None:
    answer = PageDecoder().decode(json.dumps({"status": status, "reason": reason, **data}).encode())
    assert isinstance(answer, Refusal)
    assert answer.status == -16
    assert answer.reason == (reason if isinstance(reason, str) else None) or not answer.reason


@pytest.mark.parametrize(
    "raw",
    [
        '{"status":"-1","reason":"签名错误","data":null}'.encode("gbk"),
        b'{"status":"-1","reason":"\xff\xfe","data":null}',
        rb'{"status":"-1","reason":"\ud800","data":null}',
        b'{"status":"-1","reason":' + b"[" * 5_000 + b"]" * 5_000 + b',"data":null}',
        b'{"status":"-1","data":"\xff","reason":"no"}',
        b'{"status":-1.0,"reason":"no"}',
        b'{"reason":"no","status":"-1"',
        b'{"reason":"no","status":"-1"}\x00',
        b'{"trace":' + b"[" * 5_000 + b"]" * 5_000 + b',"status":-1}',
    ],
    ids=short,
)
def test_a_refusal_is_understood_even_if_its_reason_is_not(raw: bytes) -> None:
    # Otherwise a refused login would be sent again, and may lock the account.
    answer = PageDecoder().decode(raw)
    assert isinstance(answer, Refusal)
    assert answer.status == -1


@pytest.mark.parametrize(
    "raw",
    [
        b'{"status":"-15","reason":"no"',
        b' { "status" : -15 , "reason":"no"}\x00',
        b'{"status":"-15","reason":' + b"[" * 5_000 + b"]" * 5_000 + b',"data":null}',
    ],
    ids=short,
)
def test_a_refusal_that_begins_with_its_status_is_understood_whatever_follows(raw: bytes) -> None:
    answer = PageDecoder().decode(raw)
    assert isinstance(answer, Refusal)
    assert answer.status == -15


def test_an_answer_without_a_page_may_speak_of_euros_all_the_same() -> None:
    decoder = PageDecoder()
    assert isinstance(decoder.decode(body({"voiceId": "1", "costEur": "1.5"})), PageAnswer)
    refusal = decoder.decode(b'{"status":"-22","reason":"no","data":null,"asked":{"costEur":"1.5"}}')
    assert refusal == Refusal(-22, "no")


@pytest.mark.parametrize("status", [-18, "-18", 1, "1"], ids=short)
def test_a_refusal_is_one_even_with_a_whole_page_beside_it(status: object) -> None:
    answer = PageDecoder().decode(json.dumps(envelope([SAMPLE]) | {"status": status}).encode())
    assert isinstance(answer, Refusal)
    assert answer.status == int(str(status))


@pytest.mark.parametrize("name", some([name for name in SAMPLE if name != "voiceId"], every=4), ids=short)
@pytest.mark.parametrize("absent", [None, "", ...], ids=short)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")], ids=short)
def test_every_form_of_a_missing_value_is_none(name: str, absent: object, separators: tuple[str, str]) -> None:
    record = without(name) if absent is ... else SAMPLE | {name: absent}
    raw = json.dumps(envelope([record]), separators=separators).encode()
    got = decode_one(raw)
    full = decode_one(body(SAMPLE))
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    assert getattr(got, snake) is None
    assert got == msgspec.structs.replace(full, **{snake: None})


@pytest.mark.parametrize("absent", [None, "", ...], ids=short)
def test_a_call_of_which_nothing_is_known_but_its_id(absent: object) -> None:
    record = {name: absent for name in SAMPLE if name != "voiceId" and absent is not ...} | {"voiceId": "1"}
    assert decode_one(body(record)) == CallDetailRecord(voice_id="1")


@pytest.mark.parametrize("records", [[], None, ...], ids=short)
@pytest.mark.parametrize("total", [0, "0"], ids=short)
def test_nothing_is_an_empty_page(records: object, total: object) -> None:
    answer = envelope([], total=total) | {}
    answer["data"]["records"] = records
    if records is ...:
        del answer["data"]["records"]
    page = decode(json.dumps(answer).encode()).page
    assert (page.total, page.records) == (0, [])


@pytest.mark.parametrize("records", [None, ...], ids=short)
def test_records_that_are_counted_and_not_sent_are_no_page(records: object) -> None:
    answer = envelope([], total=3)
    answer["data"]["records"] = records
    if records is ...:
        del answer["data"]["records"]
    assert isinstance(PageDecoder().decode(json.dumps(answer).encode()), ProtocolError)


def test_unknown_keys_are_skipped_and_those_of_records_are_counted() -> None:
    extra = {"orders": [], "optimizeCountSql": True, "hitCount": False, "countId": None, "maxLimit": "", "x": {"y": 1}}
    first = SAMPLE | {"carrier": CANARY, "legs": [{"callee": CANARY, "answerTime": ""}]}
    raw = json.dumps(envelope([first, SAMPLE | {"carrier": ""}], **extra) | {"traceId": "1"}).encode()
    answer = decode(raw)
    plain = decode_one(body(SAMPLE))
    assert answer.page.records == [plain, plain]
    assert answer.unknown_fields == {"carrier": 2, "legs": 1}
    assert not answer.quarantined


def test_values_of_unknown_keys_come_with_the_page() -> None:
    answer = decode(body(SAMPLE | {"voiceId": "1"}, SAMPLE | {"carrier": "x"}))
    assert [dict(record.extra) for record in answer.page.records] == [{}, {"carrier": '"x"'}]


def test_pages_may_be_missing() -> None:
    assert decode(body(SAMPLE, pages=None)).page.pages == 0


@pytest.mark.parametrize("raw", ["1.5", "-1", '"a\tb"', "NaN", "{}", '"many"'])
def test_pages_that_cannot_be_read_cost_nothing(raw: str) -> None:
    odd = body(SAMPLE, pages=1).replace(b'"pages":1', f'"pages":{raw}'.encode())
    assert raw.encode() in odd
    page = decode(odd).page
    assert (page.pages, len(page.records)) == (0, 1)


@pytest.mark.parametrize("name", ["total", "size", "current", "pages"], ids=short)
def test_the_numbers_of_a_page_may_be_text(name: str) -> None:
    page = decode(body(SAMPLE, **{"total": 7, "size": 7, "current": 7, "pages": 7} | {name: "7"})).page
    assert getattr(page, name) == 7


@pytest.mark.parametrize("name", ["total", "size", "current"], ids=short)
@pytest.mark.parametrize(
    "bad", ["", "x", "-1", -1, 1.5, True, "1_0", "\u0661", None, [], 10**10, 10**400, "9" * 5_000], ids=short
)
def test_numbers_that_are_none_are_no_page(name: str, bad: object) -> None:
    answer = envelope([SAMPLE])
    answer["data"][name] = bad
    assert isinstance(PageDecoder().decode(json.dumps(answer).encode()), ProtocolError)


@pytest.mark.parametrize(
    "text",
    [
        'a:"",b',
        '":""',
        ': ""',
        "costEur",
        '"costEur":',
        '"cost":"5"',
        'x\\":\\"',
        "\\",
        '\\":""',
        ":",
        "呼叫失败 été 🙂",
        "\u2028\x00\x1f",
        "null",
    ],
    ids=short,
)
@pytest.mark.parametrize("ascii_only", [True, False], ids=short)
@pytest.mark.parametrize("blank", ["", None], ids=short)
@pytest.mark.parametrize("spaced", [True, False], ids=short)
def test_texts_stay_as_they_are(text: str, ascii_only: bool, blank: object, spaced: bool) -> None:  # noqa: FBT001
    record = SAMPLE | {"code": text, "terminationReason": text, "answerTime": blank}
    separators = (", ", ": ") if spaced else (",", ":")
    raw = json.dumps(envelope([record, record]), ensure_ascii=ascii_only, separators=separators).encode()
    for got in decode(raw).page.records:
        assert got.code == text
        assert got.termination_reason == text
        assert got.cost == Decimal(2)
        assert got.currency == "EUR"
        assert got.answer_time is None


# --- money


@pytest.mark.parametrize(
    "amount",
    [
        "0",
        "-0.5",
        "1.20",
        "2.000000000000",
        "12345678901234567890123456.123456789012",
        "99999999999999999999999999.999999999999",
        "-99999999999999999999999999.999999999999",
        "0.000000000001",
        "1E+3",
        "1e-12",
        "1E25",
    ],
    ids=short,
)
@pytest.mark.parametrize("quoted", [True, False], ids=short)
@pytest.mark.parametrize(
    "name", some(["cost", "rate", "settleRate", "quoteExchange", "settlePay", "costEur"], every=3), ids=short
)
def test_money_is_exact_and_keeps_its_zeros(name: str, amount: str, quoted: bool) -> None:  # noqa: FBT001
    record = {"voiceId": "1", name: "@"}
    raw = body(record, record).replace(b'"@"', f'"{amount}"'.encode() if quoted else amount.encode())
    for got in decode(raw).page.records:
        values = [value for field in MONEY_FIELDS if (value := getattr(got, field)) is not None]
        assert [str(value) for value in values] == [str(Decimal(amount))]


IMPOSSIBLE_MONEY = [
    *("NaN", "-NaN", "sNaN", "NaN123", "Infinity", "-inf", "1e999999999", "-1e999999999", "1E30", "-1E30", "1E26"),
    *("100000000000000000000000000", "1e-81", "1e-999999999", "1" * 5_000, "0." + "1" * 5_000, "1,5", "$1"),
    *("1_000", "\uff11\uff12", "\u0661", "0x10", "1.5 USD", "--1", "1.2.3", "1e", "-", "true", CANARY + "x"),
]


@pytest.mark.parametrize("amount", IMPOSSIBLE_MONEY, ids=short)
@pytest.mark.parametrize(
    "name", some(["cost", "rate", "settleRate", "quoteExchange", "settlePay", "costEur"], every=3), ids=short
)
def test_an_invalid_amount_costs_only_its_field(name: str, amount: str) -> None:
    good = {"voiceId": "1", "cost": "1.5"}
    answer = decode(body(good, {"voiceId": "2", name: amount}, good | {"voiceId": "3"}))
    assert [record.voice_id for record in answer.page.records] == ["1", "2", "3"]
    field = FIELD_NAMES.get(name, "cost")
    bad = answer.page.records[1]
    assert getattr(bad, field) is None
    assert json.loads(bad.extra[name]) == amount
    assert (answer.faulty_fields, answer.quarantined) == ({field: 1}, [])
    assert CANARY not in f"{bad!r} {bad.extra!r} {answer!r}"


def test_impossible_amounts_that_cancel_out_are_seen() -> None:
    answer = decode(body({"voiceId": "1", "cost": "1E30"}, {"voiceId": "2", "cost": "-1E30"}))
    assert answer.faulty_fields == {"cost": 2}


@pytest.mark.parametrize(
    "token", [b"NaN", b"Infinity", b"-Infinity", b"true", b"[]", b"{}", b"01", b"1.", b".5", b"+1"], ids=short
)
def test_tokens_that_are_no_money(token: bytes) -> None:
    answer = decode(body({"voiceId": "1", "cost": "@"}).replace(b'"@"', token))
    (record,) = answer.page.records
    assert (record.cost, answer.faulty_fields) == (None, {"cost": 1})
    raw = json.loads(record.extra["cost"])
    assert raw == token.decode() or json.dumps(raw).encode() == token


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=short)
@pytest.mark.parametrize("currency", [..., None, "", "USD"], ids=short)
def test_cost_eur_lands_in_cost(currency: object, separators: tuple[str, str]) -> None:
    record = {"voiceId": "1", "costEur": "1.50"} | ({} if currency is ... else {"currency": currency})
    got = decode_one(json.dumps(envelope([record]), separators=separators).encode())
    assert (str(got.cost), got.currency) == ("1.50", "USD" if currency == "USD" else "EUR")
    assert not got.extra


@pytest.mark.parametrize("absent", [None, ""], ids=short)
def test_an_absent_cost_eur_is_no_cost(absent: object) -> None:
    got = decode_one(body({"voiceId": "1", "costEur": absent, "currency": "USD"}))
    assert (got.cost, got.currency) == (None, "USD")


@pytest.mark.parametrize("cost", [None, ""], ids=short)
def test_cost_eur_beside_an_absent_cost_lands_in_cost(cost: object) -> None:
    answer = decode(body({"voiceId": "1", "cost": cost, "costEur": "1.5", "currency": "USD"}))
    (got,) = answer.page.records
    assert (got.cost, got.currency) == (Decimal("1.5"), "USD")
    assert answer.anomalies == 0


def test_neither_a_cost_nor_a_currency_that_cannot_be_read_is_replaced() -> None:
    unread = {"voiceId": "1", "cost": "1,5", "costEur": "1.5"}
    answer = decode(body(unread, {"voiceId": "2", "costEur": "1.5", "currency": True}))
    first, second = answer.page.records
    assert (first.cost, first.currency, first.extra) == (None, None, {"cost": '"1,5"', "costEur": '"1.5"'})
    assert (second.cost, second.currency, second.extra) == (Decimal("1.5"), None, {"currency": "true"})
    assert answer.faulty_fields == {"cost": 1, "currency": 1}


def test_with_both_present_cost_wins_and_it_is_counted() -> None:
    both = {"voiceId": "1", "cost": "2", "costEur": "1.5", "currency": "USD"}
    answer = decode(body(both, both | {"voiceId": "2"}, {"voiceId": "3", "costEur": "7"}))
    assert [(got.cost, got.currency) for got in answer.page.records] == [
        (Decimal(2), "USD"),
        (Decimal(2), "USD"),
        (Decimal(7), "EUR"),
    ]
    assert [dict(got.extra) for got in answer.page.records] == [{"costEur": '"1.5"'}, {"costEur": '"1.5"'}, {}]
    assert answer.anomalies == 2
    assert not answer.unknown_fields
    assert not answer.faulty_fields


def test_cost_eur_far_into_the_page_is_seen() -> None:
    plain = {"voiceId": "1", "code": "x" * 100}
    records = [plain] * 99 + [{"voiceId": "2", "costEur": "5"}]
    assert decode(body(*records)).page.records[-1].cost == Decimal(5)


def test_a_cost_eur_that_is_no_field_of_a_record_changes_nothing() -> None:
    raw = json.dumps(envelope([{"voiceId": "1", "cost": "1", "x": {"costEur": "5"}}], costEur="3")).encode()
    for one in (raw, raw.replace(b": ", b":")):
        got = decode_one(one)
        assert (got.cost, got.currency) == (Decimal(1), None)
    # Its key in a shape of its own, before records that have no cost at all.
    answer = envelope([{"voiceId": "1", "cost": "1"}])
    raw = json.dumps({"costEur": "5"} | answer, separators=(",", ":")).encode().replace(b'"cost":', b'"cost" :')
    got = decode_one(raw)
    assert (got.cost, got.currency) == (Decimal(1), None)


# --- times, durations, ids


def test_the_order_of_times_is_not_judged() -> None:
    got = decode_one(
        body({"voiceId": "1", "callTime": "2026-10-02T00:00:00+00:00", "hangupTime": "2026-10-01T00:00:00+00:00"})
    )
    assert got.call_time is not None
    assert got.hangup_time is not None
    assert got.call_time > got.hangup_time


@pytest.mark.parametrize("voice_id", [None, "", ..., 1.5, True, ["1"], {"a": 1}], ids=short)
def test_a_record_without_an_id_counts_by_its_bytes(voice_id: object) -> None:
    record = without("voiceId") if voice_id is ... else SAMPLE | {"voiceId": voice_id}
    answer = decode(body(record, SAMPLE, record, record | {"callDuration": 6}))
    assert len(answer.page.records) == 1
    first, second, third = answer.quarantined
    assert first.voice_id is None
    assert first.identity == second.identity != third.identity
    assert first.identity.startswith("sha256:")


@pytest.mark.parametrize("voice_id", [2203031113381000002, 10**30], ids=short)
def test_an_id_that_is_written_as_a_number_is_read_as_its_digits(voice_id: int) -> None:
    answer = decode(body(SAMPLE | {"voiceId": voice_id}))
    assert [record.voice_id for record in answer.page.records] == [str(voice_id)]
    assert answer.anomalies == 1


def test_a_field_name_that_is_a_number_is_not_shown() -> None:
    answer = decode(body(SAMPLE | {"+447700900123": 1, "carrier": 2}, SAMPLE | {"\x1b[2J": 3}))
    assert answer.unknown_fields == {"+***": 1, "carrier": 1, "[2J": 1}


@pytest.mark.parametrize("record", [None, 5, "x", [], True], ids=short)
def test_a_value_that_is_no_record_is_quarantined(record: object) -> None:
    answer = decode(body(record, SAMPLE))
    assert len(answer.page.records) == len(answer.quarantined) == 1


# --- invalid responses


BAD_BYTES: list[bytes] = [
    b"",
    b" ",
    b"\xef\xbb\xbf",
    b"null",
    b"0",
    b'""',
    b"[]",
    b"{}",
    b'{"status":"0"}',
    b'{"status":"0","data":{}}',
    b'{"status":"0","data":[1]}',
    b'{"status":"0","data":""}',
    b'{"status":"","data":{}}',
    b'{"status":null}',
    b'{"status":"ok"}',
    b'{"status":1.5}',
    b'{"status":true}',
    b'{"status":"' + b"9" * 5_000 + b'"}',
    b"<!doctype html><title>Login</title>" + CANARY.encode(),
    body(SAMPLE | {"callee": CANARY})[:-1],
    body(SAMPLE | {"callee": CANARY})[: len(body(SAMPLE)) // 2],
    body(SAMPLE) + b"x",
    body(SAMPLE) + b"\x00",
    body(SAMPLE).decode().encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\x1f\x8b\x08\x00",
]


@pytest.mark.parametrize("raw", BAD_BYTES, ids=range(len(BAD_BYTES)))
@pytest.mark.parametrize("warm", [False, True], ids=short)
def test_an_invalid_response_is_an_error_that_quotes_nothing(raw: bytes, warm: bool) -> None:  # noqa: FBT001
    decoder = PageDecoder()
    if warm:
        decoder.decode(body(SAMPLE | {"answerTime": ""}))
    answer = decoder.decode(raw)
    assert isinstance(answer, ProtocolError)
    assert answer.retryable
    assert CANARY not in f"{answer} {answer!r}"


def test_one_byte_order_mark_is_read_over() -> None:
    for record in (SAMPLE, SAMPLE | {"answerTime": ""}, SAMPLE | {"new": 1}):
        assert decode_one(b"\xef\xbb\xbf" + body(record)).voice_id == SAMPLE["voiceId"]
    assert isinstance(PageDecoder().decode(b"\xef\xbb\xbf" * 2 + body(SAMPLE)), ProtocolError)


@pytest.mark.parametrize("name", ["callee", "code", "cost", "answerTime", "voiceId"], ids=short)
@pytest.mark.parametrize(
    "broken",
    [b"\xff\xfe", "\u6210\u529f".encode("gbk"), rb"\ud800", rb"x\udfff\ud800y", b"\t", b"\x00\x1f\n", rb"\'", rb"\x41"],
)
def test_a_broken_text_costs_its_field_alone(name: str, broken: bytes) -> None:
    raw = body(SAMPLE | {name: "@"}, SAMPLE | {"voiceId": "2"}).replace(b"@", broken)
    answer = decode(raw)
    whole = decode_one(body(SAMPLE | {"voiceId": "2"}))
    assert answer.page.records[-1] == whole
    if name == "voiceId":
        (bad,) = answer.quarantined
        assert broken in bad.raw
        assert bad.voice_id is None
        return
    first = answer.page.records[0]
    field = FIELD_NAMES[name]
    assert first == msgspec.structs.replace(whole, voice_id=str(SAMPLE["voiceId"]), extra=first.extra, **{field: None})
    assert json.loads(first.extra[name]) == decode_broken(b'"' + broken + b'"')
    assert (answer.faulty_fields, answer.quarantined) == ({field: 1}, [])


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"undefined", b"'x'", b"-", b"0x10", b"1.2.3"], ids=short)
def test_a_token_that_is_not_json_costs_its_field_alone(token: bytes) -> None:
    answer = decode(body(SAMPLE | {"callDuration": "@", "new": "@"}, SAMPLE | {"voiceId": "2"}).replace(b'"@"', token))
    first, second = answer.page.records
    assert (first.call_duration, first.charged_duration, second.call_duration) == (None, 5, 5)
    assert first.extra == {"callDuration": json.dumps(token.decode()), "new": json.dumps(token.decode())}
    assert (answer.faulty_fields, answer.unknown_fields) == ({"call_duration": 1}, {"new": 1})


@pytest.mark.parametrize("broken", [b"\t", rb"\'", rb"\ud800", b"\xff"], ids=short)
def test_a_broken_text_outside_the_records_costs_nothing(broken: bytes) -> None:
    raw = json.dumps(envelope([SAMPLE], countId="@") | {"reason": "@", "@": 1}).encode().replace(b"@", broken)
    assert decode_one(raw) == decode_one(body(SAMPLE))


def test_broken_utf_8_in_the_words_of_success_costs_nothing() -> None:
    raw = json.dumps(envelope([SAMPLE]) | {"reason": "@"}).encode().replace(b"@", "成功".encode("gbk"))
    assert decode_one(raw).voice_id == SAMPLE["voiceId"]


def test_broken_utf_8_in_unknown_fields_costs_nothing() -> None:
    raw = json.dumps(envelope([SAMPLE | {"new": "@"}], countId="@")).encode().replace(b"@", b"\xff\xfe")
    assert decode_one(raw).voice_id == SAMPLE["voiceId"]


@pytest.mark.parametrize("depth", [50, 100_000], ids=short)
def test_deep_nesting_ends_in_our_own_words(depth: int) -> None:
    for where in ('{"voiceId":"1","new":@}', '{"voiceId":"1","code":@}', "@"):
        deep = "[" * depth + "]" * depth
        raw = body("@").replace(b'"@"', where.replace("@", deep).encode())
        assert isinstance(PageDecoder().decode(raw), (PageAnswer, ProtocolError))


# --- the same page in every dialect


texts = st.text(max_size=8).filter(bool)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=0)
)
amounts = st.decimals(-(10**20), 10**20, places=6, allow_nan=False, allow_infinity=False)


def values(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[object]:
    if field.name in TIME_FIELDS:
        return moments
    if field.name in MONEY_FIELDS:
        return amounts
    return st.integers(0, 10**9) if field.name.endswith("duration") else texts


records = st.fixed_dictionaries(
    {"voice_id": texts},
    optional={
        field.name: values(field)
        for field in msgspec.structs.fields(CallDetailRecord)
        if field.name not in {"voice_id", "extra"}
    },
).map(lambda fields: CallDetailRecord(**fields))  # type: ignore[arg-type]
pages = st.lists(records, max_size=4)


def to_wire(record: CallDetailRecord, absent: object, *, euro: bool, numbers: bool, extra: bool) -> dict[str, object]:
    wire: dict[str, object] = {}
    for name, wire_name in WIRE_NAMES.items():
        value = getattr(record, name)
        if value is None:
            if absent is not ...:
                wire[wire_name] = absent
        elif isinstance(value, datetime):
            wire[wire_name] = value.isoformat()
        elif isinstance(value, Decimal):
            wire[wire_name] = f"@{value}@" if numbers else str(value)
        else:
            wire[wire_name] = value
    if euro and record.cost is not None:
        wire["costEur"] = wire.pop("cost")
    if extra:
        wire["new"] = {"answerTime": "", "costEur": "1", "cost": ""}
    return wire


@pytest.mark.parametrize("size", [1, 32_768])
@settings(max_examples=2 * SOME)
@given(
    reported=st.lists(
        st.tuples(
            pages,
            st.sampled_from([None, "", ...]),
            st.booleans(),
            st.booleans(),
            st.booleans(),
            st.sampled_from([(",", ":"), (", ", ": "), (",\n ", " : ")]),
            st.booleans(),
            st.sampled_from(["0", 0]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_dialect_means_the_same_page_by_page(
    reported: list[tuple[list[CallDetailRecord], object, bool, bool, bool, tuple[str, str], bool, object]],
    *,
    size: int,
) -> None:
    decoder = PageDecoder()
    decoder._amounts = DecimalCache(size)
    for page, absent, euro, extra, numbers, separators, ascii_only, status in reported:
        wires = [to_wire(record, absent, euro=euro, numbers=numbers, extra=extra) for record in page]
        answer = envelope(wires) | {"status": status}
        raw = json.dumps(answer, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        if numbers:
            raw = re.sub(rb'"@([-+.0-9E]+)@"', rb"\1", raw)
        got = decoder.decode(raw)
        assert isinstance(got, PageAnswer)
        expected = [
            msgspec.structs.replace(record, currency="EUR")
            if euro and record.cost is not None and record.currency is None
            else record
            for record in page
        ]
        assert got.page.records == expected
        assert [str(record.cost) for record in got.page.records] == [str(record.cost) for record in expected]
        assert not got.quarantined
        assert got.anomalies == 0
        assert set(got.unknown_fields) == ({"new"} if extra and page else set())


def wire_values(name: str) -> st.SearchStrategy[object]:
    if name in TIME_FIELDS:
        return st.sampled_from(["2022-01-18T14:42:40+08:00", "2022-01-18 14:42:40Z", "yesterday"])
    if name in MONEY_FIELDS:
        return st.sampled_from(["0.5", "0.50", "1", "1E-3", "NaN", 7, "@0.5@"])
    return st.sampled_from([5, "5", "x"] if name.endswith("duration") else ["x", "\u4e2d", '"":""', 200])


def wire_records(odds: int) -> st.SearchStrategy[list[dict[str, object]]]:
    # Of the ways to write a value, the first one is plain; `odds` is how many of the others may occur.
    def value(name: str) -> st.SearchStrategy[object]:
        return st.one_of(st.sampled_from([None, "", ...]), wire_values(name)) if odds else st.sampled_from([None, ""])

    names = {wire_name: value(name) for name, wire_name in WIRE_NAMES.items() if name != "voice_id"}
    others = {} if odds < 2 else {"new": st.just(""), "voiceId": st.sampled_from(["", 7]), "costEur": st.just("0.5")}
    record = st.fixed_dictionaries({}, optional=names | others)
    whole = record.map(lambda changes: {k: v for k, v in (SAMPLE | changes).items() if v is not ...})
    return st.lists(whole, min_size=1, max_size=3)


def exactly(answer: object) -> object:
    assert isinstance(answer, PageAnswer)
    return (
        answer.quarantined,
        answer.unknown_fields,
        answer.faulty_fields,
        answer.anomalies,
        [
            [(type(value), str(value)) for value in msgspec.structs.astuple(record)[:-1]] + [dict(record.extra)]
            for record in answer.page.records
        ],
    )


@settings(max_examples=2 * SOME)
@given(
    st.lists(st.tuples(st.integers(0, 2).flatmap(wire_records), st.sampled_from([":", ": "])), min_size=1, max_size=4),
    st.sampled_from([1, 32_768]),
)
def test_the_fast_path_equals_the_lenient_path(reported: list[tuple[list[dict[str, object]], str]], size: int) -> None:
    decoder = PageDecoder()
    decoder._amounts = DecimalCache(size)
    for wires, colon in reported:
        raw = json.dumps(envelope(wires), separators=(",", colon)).encode()
        raw = re.sub(rb'"@([0-9.]+)@"', rb"\1", raw)
        patient = PageDecoder()._decode_leniently(raw, 1, 100, None)
        assert exactly(decoder.decode(raw)) == exactly(patient)


# --- anything at all


def check_value(answer: object) -> None:
    assert isinstance(answer, (PageAnswer, Refusal, ProtocolError))
    if not isinstance(answer, PageAnswer):
        return
    for record in answer.page.records:
        assert type(record) is CallDetailRecord
        assert record.voice_id
        for name in MONEY_FIELDS:
            amount = getattr(record, name)
            assert amount is None or (amount.is_finite() and len(f"{amount:f}") <= 109)
        for name in TIME_FIELDS:
            time = getattr(record, name)
            assert time is None or time.utcoffset() is not None
        assert "" not in {getattr(record, name) for name in record.__struct_fields__}


@settings(max_examples=4 * SOME)
@given(st.lists(st.binary(max_size=200), max_size=3))
def test_no_bytes_raise(raws: list[bytes]) -> None:
    decoder = PageDecoder()
    for raw in raws:
        check_value(decoder.decode(raw))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["0", "", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "data", "records", "total", "size", "current", "voiceId", "cost", "costEur", "x"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=4 * SOME)
@given(st.fixed_dictionaries({"status": json_values, "data": json_values}), json_values)
def test_no_json_raises(answer: dict[str, object], record: object) -> None:
    decoder = PageDecoder()
    check_value(decoder.decode(json.dumps(answer).encode("utf-8", "surrogatepass")))
    check_value(
        decoder.decode(json.dumps(envelope([record, SAMPLE | {"code": record}])).encode("utf-8", "surrogatepass"))
    )


def flip(raw: bytes, place: int, byte: int) -> bytes:
    return raw[: place % len(raw)] + bytes([byte]) + raw[place % len(raw) + 1 :]


def cut(raw: bytes, place: int, _: int) -> bytes:
    return raw[: place % len(raw)]


def insert(raw: bytes, place: int, byte: int) -> bytes:
    return raw[: place % len(raw)] + bytes([byte]) + raw[place % len(raw) :]


def drop(raw: bytes, place: int, count: int) -> bytes:
    return raw[: place % len(raw)] + raw[place % len(raw) + count :]


@settings(max_examples=8 * SOME)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([flip, cut, insert, drop]),
            st.integers(0, 10_000),
            st.sampled_from(b'"\\:,{}[]0-eE\x00\xff\xc3 ') | st.integers(0, 255),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["", None]),
    st.booleans(),
)
def test_no_mutated_page_raises(
    changes: list[tuple[Callable[[bytes, int, int], bytes], int, int]],
    absent: object,
    euro: bool,  # noqa: FBT001
) -> None:
    record = SAMPLE | {"answerTime": absent, "callee": CANARY}
    if euro:
        record["costEur"] = record.pop("cost")
    raw = body(record, record | {"voiceId": "2"}, {"voiceId": "3"})
    for change, place, byte in changes:
        raw = change(raw, place, byte) or b"x"
    answer = PageDecoder().decode(raw)
    check_value(answer)
    assert "7700900" not in f"{answer} {answer!r}"


def test_no_text_of_any_answer_shows_a_number() -> None:
    from rich.pretty import pretty_repr

    record = SAMPLE | {"callee": CANARY, "phoneName": CANARY, "displayNum": CANARY, "terminationReason": CANARY}
    broken = record | {"voiceId": "2", "submitTime": CANARY, "cost": CANARY}
    misnamed = {"voiceId": "3", "calee": CANARY}
    answers: list[object] = [
        PageDecoder().decode(body(record, misnamed)),
        PageDecoder().decode(body(record, broken, record | {"callDuration": CANARY})),
        PageDecoder().decode(json.dumps({"status": "-22", "reason": f"bad phone {CANARY}"}).encode()),
        PageDecoder().decode(json.dumps({"status": CANARY, "reason": CANARY}).encode()),
        PageDecoder().decode(body(record, total=CANARY)),
        PageDecoder().decode(body(record)[:-5]),
    ]
    for answer in answers:
        assert CANARY not in f"{answer} {answer!r} {pretty_repr(answer)}", type(answer)


class Watched(PageDecoder):
    """Notes which way a page took."""

    __slots__ = ("patient", "rewritten")

    def _decode_dialect(self, body: bytes) -> Any:  # noqa: ANN401 - passed on
        self.rewritten = True
        return super()._decode_dialect(body)

    def _decode_leniently(self, *reported: Any) -> PageAnswer | Refusal | ProtocolError:  # noqa: ANN401 - passed on
        self.patient = True
        return super()._decode_leniently(*reported)


def test_a_page_of_calls_without_an_answer_stays_on_the_fast_path() -> None:
    # The patient way is for pages that need it: a dialect, once heard, is spoken from then on.
    decoder = Watched()
    for raw in (
        body(SAMPLE),
        body(SAMPLE | {"answerTime": ""}),
        body(SAMPLE | {"answerTime": ""}),
        body(SAMPLE),
        body(SAMPLE | {"answerTime": None}),
        body({"voiceId": "1", "costEur": "2", "answerTime": ""}),
        body(SAMPLE),
    ):
        decoder.patient = False
        assert isinstance(decoder.decode(raw), PageAnswer)
        assert not decoder.patient


@pytest.mark.parametrize("other", [{}, {"recordingFileId": ""}, {"displayNum": "", "currency": ""}])
@pytest.mark.parametrize("name", ["settleRate", "quoteExchange", "settlePay"])
def test_amounts_of_a_settlement_currency_may_begin_on_any_page(name: str, other: dict[str, object]) -> None:
    decoder = Watched()
    quoted = {key: value for key, value in SAMPLE.items() if not key.startswith(("settle", "quote"))} | other
    for settled in (None, "", "7.20", "0E-3", None, "", "0.5"):
        decoder.patient = False
        wires = [quoted, quoted | {name: settled}, quoted | {name: None}]
        raw = json.dumps(envelope(wires), separators=(",", ":")).encode()
        assert exactly(decoder.decode(raw)) == exactly(PageDecoder()._decode_leniently(raw, 1, 100, None))
        assert not decoder.patient


@pytest.mark.parametrize("colon", [":", ": "])
def test_a_text_field_that_was_empty_once_may_be_so_in_every_page(colon: str) -> None:
    decoder = Watched()

    def read(*records: dict[str, object]) -> tuple[list[CallDetailRecord], bool]:
        decoder.patient = decoder.rewritten = False
        answer = decoder.decode(json.dumps(envelope(list(records)), separators=(",", colon)).encode())
        assert isinstance(answer, PageAnswer)
        assert not decoder.patient
        return answer.page.records, decoder.rewritten

    unrecorded = SAMPLE | {"recordingFileId": "", "cost": ""}
    for attempt in range(3):
        (first, second), rewritten = read(unrecorded, SAMPLE)
        assert (first.recording_file_id, first.cost, second) == (None, None, decode_one(body(SAMPLE)))
        assert rewritten is (attempt == 0)
    hidden = unrecorded | {"currency": "", "displayNum": ""}
    for attempt in range(3):
        (first, second), rewritten = read(hidden, SAMPLE)
        assert (first.recording_file_id, first.currency, first.display_num) == (None, None, None)
        assert second == decode_one(body(SAMPLE))
        assert {type(first), type(second)} == {CallDetailRecord}
        assert rewritten is (attempt == 0)
    # A time that is empty is rare here: it does not make every later page a rewritten one.
    if colon == ":":
        (silent,), rewritten = read(unrecorded | {"ringingTime": ""})
        assert (silent.ringing_time, silent.recording_file_id, rewritten) == (None, None, True)
        assert read(unrecorded)[1]  # looked at once more
        assert not read(unrecorded)[1]
