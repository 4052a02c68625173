"""Record by record: what is broken costs itself, and only that."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.protocol.salvage import salvage_records

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
