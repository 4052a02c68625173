"""Record by record, field by field: what cannot be read costs itself, and only that."""

import json
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.wire.lenient import MAX_UNKNOWN, LenientDecoder, LenientPage

CANARY = "+12125550123"


def read(*records: object, page: int = 1) -> LenientPage:
    raws = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return LenientDecoder().decode(raws, page=page)


def test_no_records_are_nothing() -> None:
    nothing = read()
    assert (nothing.records, nothing.quarantined, nothing.unknown_fields, nothing.anomalies) == ([], [], {}, 0)


@given(st.lists(st.booleans(), max_size=8))
def test_records_keep_their_order_and_those_without_an_id_their_bytes(broken: list[bool]) -> None:
    records = [{"n": n} if bad else {"voiceId": str(n), "cost": f"?{CANARY}"} for n, bad in enumerate(broken)]
    page = read(*records, page=7)
    assert [record.voice_id for record in page.records] == [str(n) for n, bad in enumerate(broken) if not bad]
    assert [json.loads(bad.raw)["n"] for bad in page.quarantined] == [n for n, bad in enumerate(broken) if bad]
    assert {bad.page for bad in page.quarantined} <= {7}
    assert page.faulty_fields == ({"cost": broken.count(False)} if False in broken else {})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"voiceId": None, "callee": CANARY}, "it has no voiceId"),
        ({"voiceId": "", "callee": CANARY}, "it has no voiceId"),
        ({"callee": CANARY}, "it has no voiceId"),
        ({"voiceId": [CANARY]}, "its voiceId cannot be read"),
        ({"voiceId": 1.5}, "its voiceId cannot be read"),
        (CANARY, "it is not a JSON object"),
        ([], "it is not a JSON object"),
        (None, "it is not a JSON object"),
        (b'{"voiceId":"1","callee"', "it is not a JSON object"),
    ],
)
def test_a_reason_says_why_and_quotes_no_value(record: object, reason: str) -> None:
    (bad,) = read(record).quarantined
    assert bad.reason == reason
    assert "2125550123" not in f"{bad.reason} {bad!r} {bad} {pretty_repr(bad)}"


def test_unknown_fields_are_counted_once_for_each_record_that_was_read() -> None:
    good, bad = {"voiceId": "1", "x": 1, "y": {"z": 1}}, {"x": 1}
    assert read(good, bad, good).unknown_fields == {"x": 2, "y": 2}


@pytest.mark.parametrize(("name", "counted"), [("", "***"), (" \t", "***"), ("+44 7700 900123", "+***")])
def test_a_name_that_says_nothing_or_too_much_is_counted_under_stars(name: str, counted: str) -> None:
    page = read({"voiceId": "1", name: 5})
    assert page.unknown_fields == {counted: 1}
    assert page.records[0].extra == {name: "5"}


def test_unknown_values_are_kept_as_they_were_sent() -> None:
    raw = b'{"voiceId":"1","y":{"z": [1, null]},"big":1.10,"same":1,"same":2}'
    (record,) = read(raw).records
    assert list(record.extra.items()) == [("big", "1.10"), ("same", "2"), ("y", '{"z": [1, null]}')]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'"a\tb"', '"a\tb"'),
        (b'"\xff"', '"\xff"'),
        (rb'"\ud800"', r'"\ud800"'),
        (rb'"it\'s"', r'"it\'s"'),
        (b"NaN", "NaN"),
        (b"[1,NaN]", "[1,NaN]"),
        (b"[" * 200 + b"]" * 200, "[" * 200 + "]" * 200),
        (b'["' + b"x" * 70_000 + b'"]', "<70004 bytes>"),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("name", ["new", "callee"])
def test_a_value_that_is_not_json_or_too_much_of_it_is_kept_as_a_text(name: str, raw: bytes, text: str) -> None:
    (record,) = read(b'{"voiceId":"1","' + name.encode() + b'":' + raw + b"}").records
    assert json.loads(record.extra[name]) == text
    assert record.callee is None


def test_no_more_than_a_hundred_unknown_names_are_kept_of_a_page() -> None:
    many = {"voiceId": "1"} | {f"x{n}": n for n in range(MAX_UNKNOWN + 5)}
    page = read(many, many, {"voiceId": "2", "x0": 1, "other": 1})
    assert len(page.unknown_fields) == MAX_UNKNOWN
    assert page.anomalies == 11
    assert page.records[-1].extra == {"x0": "1"}


def test_faulty_fields_have_our_names_and_unknown_ones_do_not_count_among_them() -> None:
    odd = {"voiceId": "1", "callDuration": "?", "answerTime": "?", "callee": True, "extra": 1, "voice_id": 2}
    page = read(odd, {"voiceId": "2", "callDuration": "?"})
    assert page.faulty_fields == {"call_duration": 2, "answer_time": 1, "callee": 1}
    assert page.unknown_fields == {"extra": 1, "voice_id": 1}


def test_times_are_read_in_the_zone_that_is_assumed() -> None:
    raw = b'{"voiceId":"1","callTime":"2026-10-01 08:00:00"}'
    page = LenientDecoder(ZoneInfo("Asia/Shanghai")).decode([raw], page=1)
    assert [str(record.call_time) for record in page.records] == ["2026-10-01 08:00:00+08:00"]
    assert not page.faulty_fields


@pytest.mark.parametrize(
    ("members", "cost", "currency", "extra", "faulty"),
    [
        ({"costEur": "1.5"}, "1.5", "EUR", {}, set()),
        ({"costEur": 1.5, "currency": ""}, "1.5", "EUR", {}, set()),
        ({"costEur": "1.5", "currency": "USD"}, "1.5", "USD", {}, set()),
        ({"costEur": "1.5", "currency": True}, "1.5", None, {"currency": "true"}, {"currency"}),
        ({"costEur": None, "cost": "2"}, "2", None, {}, set()),
        ({"costEur": "", "cost": "2"}, "2", None, {}, set()),
        ({"costEur": "1.5", "cost": ""}, "1.5", "EUR", {}, set()),
        ({"costEur": "1.5", "cost": "2", "currency": "USD"}, "2", "USD", {"costEur": '"1.5"'}, set()),
        ({"costEur": "?", "cost": "2"}, "2", None, {"costEur": '"?"'}, set()),
        ({"costEur": "1.5", "cost": "?"}, None, None, {"cost": '"?"', "costEur": '"1.5"'}, {"cost"}),
        ({"costEur": "?"}, None, None, {"costEur": '"?"'}, {"cost"}),
    ],
)
def test_cost_eur_is_the_cost_only_where_no_other_was_sent(
    members: dict[str, object], cost: str | None, currency: str | None, extra: dict[str, str], faulty: set[str]
) -> None:
    page = read({"voiceId": "1"} | members)
    (record,) = page.records
    assert (record.cost and str(record.cost), record.currency, record.extra) == (cost, currency, extra)
    assert set(page.faulty_fields) == faulty
    assert page.anomalies == int(
        "cost" in members and bool(members["cost"]) and cost is not None and "costEur" in extra
    )


def test_a_record_of_plain_values_is_the_one_that_the_fast_decoder_makes() -> None:
    assert read({"voiceId": "1", "callee": "2"}).records == [CallDetailRecord(voice_id="1", callee="2")]
    assert "extra" not in repr(read({"voiceId": "1", CANARY: CANARY}).records)
