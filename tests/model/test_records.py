"""Records as callers see them: exact, aware, and silent about numbers."""

import ast
import copy
import inspect
import io
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from aiosipcdr.export.render import encode_rows
from aiosipcdr.model import records
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import (
    MONEY_FIELDS,
    NO_EXTRA,
    TIME_FIELDS,
    CallDetailRecord,
    ExtraFields,
    Page,
    list_faulty_fields,
    list_unknown_fields,
)

NUMBER = "+447700900123"
RECORD = CallDetailRecord(
    voice_id="2203031113381000002",
    sip_group_name="group " + NUMBER,
    phone_name=NUMBER,
    callee=NUMBER,
    display_num=NUMBER,
    submit_time=datetime(2026, 10, 1, 12, tzinfo=UTC),
    termination_reason=f"no answer from {NUMBER}",
    recording_file_id=f"{NUMBER}.mp3",
    cost=Decimal("1.50"),
    extra=ExtraFields({NUMBER: f'"{NUMBER}"', "callDuration": f'"{NUMBER}"'}),
)
FIELDS = (
    "voice_id, sip_group_name, phone_name, callee, display_num, code, submit_time, call_time, ringing_time,"
    " answer_time, hangup_time, call_duration, charged_duration, termination_code, termination_reason, cost,"
    " bill_period, rate, recording_file_id, currency, settle_rate, quote_exchange, settle_pay, extra"
)


def shown(thing: object) -> str:
    from rich.console import Console
    from rich.pretty import pretty_repr

    out = io.StringIO()
    Console(file=out, width=500).print(thing, [thing])
    return f"{thing} {thing!r} {[thing]} {pretty_repr(thing)} {out.getvalue()}"


def test_the_fields_are_those_of_the_design_in_their_order() -> None:
    assert CallDetailRecord.__struct_fields__ == tuple(FIELDS.replace(",", "").split())


def test_all_but_the_id_is_optional() -> None:
    record = CallDetailRecord(voice_id="1")
    assert all(getattr(record, name) is None for name in CallDetailRecord.__struct_fields__[1:-1])
    assert record.extra == {}
    with pytest.raises(TypeError, match="voice_id"):
        CallDetailRecord()  # type: ignore[call-arg]


def test_the_named_groups_of_fields_are_all_there_are() -> None:
    hints = {field.name: str(field.type) for field in msgspec.structs.fields(CallDetailRecord)}
    assert {name for name, hint in hints.items() if "Decimal" in hint} == set(MONEY_FIELDS)
    assert {name for name, hint in hints.items() if "datetime" in hint} == set(TIME_FIELDS)


def test_a_record_is_a_value() -> None:
    same = msgspec.structs.replace(RECORD)
    assert same == RECORD
    assert len({same, RECORD}) == 1
    assert msgspec.structs.replace(RECORD, cost=Decimal("1.51")) != RECORD
    with pytest.raises(AttributeError):
        RECORD.cost = Decimal(0)  # type: ignore[misc]


def test_no_text_of_a_record_shows_a_number() -> None:
    assert NUMBER not in shown(RECORD)
    assert RECORD.voice_id in repr(RECORD)
    assert "2026-10-01T12:00:00+00:00" in repr(RECORD)
    assert "None" in repr(CallDetailRecord(voice_id="1"))


def test_no_text_of_a_page_shows_a_record() -> None:
    page = Page(total=1, size=100, current=1, pages=1, records=[RECORD])
    assert NUMBER not in shown(page)
    assert RECORD.voice_id not in repr(page)
    assert repr(page) == "Page(total=1, size=100, current=1, pages=1, records=<1>, quarantined=<0>)"


def of(**extra: str) -> CallDetailRecord:
    return CallDetailRecord(voice_id="1", extra=ExtraFields(extra))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({}, {}, True),
        ({"cost": '"?"'}, {"cost": '"?"'}, True),
        ({"cost": '"?"'}, {"cost": '"!"'}, False),
        ({"cost": '"?"'}, {}, False),
        ({"cost": '"?"'}, {"rate": '"?"'}, False),
        ({"cost": "[1.0, 2]"}, {"cost": "[1.00,2]"}, True),
        ({"cost": '{"a":1,"b":2}'}, {"cost": '{ "b":2, "a":1 }'}, True),
        ({"cost": '"\\u00e9"'}, {"cost": '"\u00e9"'}, True),
        ({"new": "1"}, {}, True),
        ({"new": "1"}, {"new": "2", "newer": "3"}, True),
        ({"costEur": '"1"'}, {}, True),
        ({"cost": "9" * 5_000}, {"cost": "9" * 5_000}, True),
        ({"cost": "9" * 5_000}, {"cost": "8" * 5_000}, False),
        ({"cost": "[" * 5_000 + "]" * 5_000}, {"cost": "[" * 5_000 + "]" * 5_000}, True),
        ({"cost": "[" * 200 + "]" * 200}, {"cost": "[" * 200 + "]" * 200}, True),
    ],
    ids=range(15),
)
def test_values_that_could_not_be_read_are_part_of_a_record_and_unknown_ones_are_not(
    first: dict[str, str],
    second: dict[str, str],
    same: bool,  # noqa: FBT001 - a parameter
) -> None:
    # Formatting makes no difference, nor does a field that one of two servers has not learnt yet.
    one, other = of(**first), of(**second)
    assert (one == other) is same
    assert (one != other) is not same
    if same:
        assert hash(one) == hash(other)
        assert len({one, other}) == 1


def test_extra_fields_compare_with_other_mappings_as_a_dict_does() -> None:
    extra = ExtraFields(new="1", cost='"?"')
    assert extra == {"new": "1", "cost": '"?"'} != {"cost": '"?"'}
    assert extra != {"cost": '"?"'}
    assert extra != "new"


def test_extra_fields_cannot_be_changed() -> None:
    extra = ExtraFields(new="1")
    changes: tuple[Callable[[], object], ...] = (
        lambda: extra.__setitem__("a", "b"),
        lambda: extra.__delitem__("new"),
        lambda: extra.__ior__({"a": "b"}),
        lambda: extra.update(a="b"),
        lambda: extra.setdefault("a", "b"),
        lambda: extra.pop("new"),
        extra.popitem,
        extra.clear,
    )
    for change in changes:
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert extra == {"new": "1"}


def test_extra_fields_are_copied_and_pickled_with_their_record() -> None:
    record = of(new="1", cost='"?"')
    for again in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):  # noqa: S301 - ours
        assert again == record
        assert dict(again.extra) == dict(record.extra)
        assert type(again.extra) is ExtraFields
    # Records without any share one, so they cost nothing.
    assert pickle.loads(pickle.dumps(CallDetailRecord(voice_id="1"))).extra is NO_EXTRA  # noqa: S301 - ours


def test_extra_fields_are_json_and_come_back_from_it() -> None:
    extra = ExtraFields({'a"b': "1.10", "new": '{"x": [1]}', "cost": '"?"'})
    text = extra.to_json()
    assert text == r'{"a\"b":1.10,"new":{"x": [1]},"cost":"?"}'
    assert dict(ExtraFields.from_json(text)) == dict(extra)
    assert (NO_EXTRA.to_json(), ExtraFields.from_json(None)) == (None, NO_EXTRA)
    assert json.loads(msgspec.json.encode(CallDetailRecord(voice_id="1", extra=extra)))["extra"] == dict(extra)


def test_no_decoder_fills_them_in() -> None:
    for raw in (b'{"voiceId":"1","extra":{}}', b'{"voiceId":"1","extra":null}', b'{"voiceId":"1","extra":{"a":"b"}}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(raw, type=CallDetailRecord)


def test_faulty_fields_are_distinguished_from_unknown_ones() -> None:
    record = of(callDuration='"?"', new="1", costEur='"?"')
    assert list(list_faulty_fields(record)) == ["call_duration", "cost"]
    assert set(list_unknown_fields(record)) == {"new"}
    billed = msgspec.structs.replace(record, cost=Decimal(1))
    assert list(list_faulty_fields(billed)) == ["call_duration"]
    assert not list_faulty_fields(CallDetailRecord(voice_id="1"))


def test_no_server_can_choose_amounts_whose_records_hash_alike() -> None:
    # Python hashes numbers modulo this prime.
    amounts = [Decimal(number * (2**61 - 1)) for number in range(1, 1_001)]
    assert len(set(map(hash, amounts))) == 1
    assert len({hash(CallDetailRecord(voice_id="1", cost=amount)) for amount in amounts}) == 1_000
    for texts in (map(str, amounts), (f'"x{number}"' for number in range(1_000)), (f"[{a}]" for a in amounts)):
        assert len({hash(ExtraFields({"cost": text})) for text in texts}) == 1_000


def test_equal_records_have_equal_hashes() -> None:
    one = CallDetailRecord(
        voice_id="1", cost=Decimal("1.50"), extra=ExtraFields({"rate": "[1.0, true]", "callee": '{"a":1e2,"b":null}'})
    )
    other = msgspec.structs.replace(
        one,
        cost=Decimal("1.5"),
        extra=ExtraFields({"callee": '{"b": null, "a": 100}', "rate": "[1,true]", "unknown": "2"}),
    )
    assert one == other
    assert hash(one) == hash(other)
    assert one != msgspec.structs.replace(one, extra=ExtraFields({"rate": "[1.0, true]"}))
    assert hash(pickle.loads(pickle.dumps(one))) == hash(one)  # noqa: S301


@pytest.mark.parametrize(
    ("voice_id", "reported"),
    [
        ("1", "1"),
        ("2203031113381000002", "2203031113381000002"),
        ("bDqJFiq9", "***"),
        ("05d7a50893e22a5c4bb3216ae3396c7c", "***"),
        (NUMBER, "***"),
        ("447700900123", "***"),
        ("٣", "***"),
    ],
)
def test_an_id_that_may_be_something_else_is_not_shown(voice_id: str, reported: str) -> None:
    record = CallDetailRecord(voice_id=voice_id)
    assert repr(record).startswith(f"CallDetailRecord(voice_id={reported!r}")
    assert record.__rich_repr__()[0] == ("voice_id", reported)


FULL = CallDetailRecord(
    voice_id="2203031113381000002",
    sip_group_name="sales-us",
    submit_time=datetime(2026, 10, 1, 12, tzinfo=timezone(timedelta(hours=8))),
    call_duration=5,
    cost=Decimal("0.0000001"),
    rate=Decimal("1E+2"),
    extra=ExtraFields({"hangupBy": '"callee"', "price": "1.10", "callDuration": '{"s":[1,2.50]}', "odd": "[" * 5_000}),
)


def test_a_record_becomes_a_dict_with_exact_texts() -> None:
    fields = FULL.to_dict()
    assert list(fields) == list(CallDetailRecord.__struct_fields__)
    assert fields["voice_id"] == "2203031113381000002"
    assert fields["submit_time"] == "2026-10-01T12:00:00+08:00"
    assert fields["call_duration"] == 5
    assert (fields["cost"], fields["rate"]) == ("0.0000001", "100")
    assert fields["answer_time"] is None
    assert fields["extra"] == {
        "hangupBy": "callee",
        "price": "1.10",
        "callDuration": {"s": [1, "2.50"]},
        "odd": "[" * 5_000,
    }


def test_the_json_of_a_record_is_its_dict_and_holds_no_float() -> None:
    assert json.loads(FULL.to_json(), parse_float=pytest.fail) == FULL.to_dict()
    assert "\n" not in FULL.to_json()


def test_without_extra_fields_the_json_is_the_line_of_an_exported_file() -> None:
    record = msgspec.structs.replace(FULL, extra=NO_EXTRA)
    assert f"{record.to_json()}\n".encode() == encode_rows([record])


def test_a_page_becomes_a_dict_with_the_dicts_of_its_records() -> None:
    broken = QuarantinedRecord(raw=NUMBER.encode(), window=None, page=1, reason="it has no voiceId")
    page = Page(total=2, size=100, current=1, pages=1, records=[FULL], quarantined=[broken])
    numbers = {"total": 2, "size": 100, "current": 1, "pages": 1, "quarantined": 1}
    assert page.to_dict() == {**numbers, "records": [FULL.to_dict()]}
    assert json.loads(page.to_json()) == page.to_dict()


def test_pydantic_takes_records_and_pages_as_they_are_and_writes_them_as_their_dicts() -> None:
    class Answer(BaseModel):
        calls: list[CallDetailRecord]
        page: Page

    answer = Answer(calls=[FULL], page=Page(total=1, size=100, current=1, pages=1, records=[FULL]))
    assert answer.calls[0] is FULL
    assert json.loads(answer.model_dump_json()) == {"calls": [FULL.to_dict()], "page": answer.page.to_dict()}
    for mode in ("validation", "serialization"):
        schema = TypeAdapter(Answer).json_schema(mode=mode)
        assert list(schema["$defs"]["CallDetailRecord"]["properties"]) == list(CallDetailRecord.__struct_fields__)
    with pytest.raises(ValidationError, match="should be an instance of CallDetailRecord"):
        Answer.model_validate({"calls": [FULL.to_dict()], "page": answer.page})
    with pytest.raises(ValidationError, match="should be an instance of Page"):
        Answer.model_validate_json(answer.model_dump_json())


def test_the_json_schema_matches_to_dict() -> None:
    said = TypeAdapter(CallDetailRecord).json_schema(mode="serialization")
    kinds = {"string": str, "integer": int, "object": dict}
    filled = msgspec.structs.replace(FULL, charged_duration=20, settle_pay=Decimal(1))
    assert said["required"] == list(filled.to_dict())
    for name, value in filled.to_dict().items():
        options = said["properties"][name].get("anyOf", [said["properties"][name]])
        assert (value is None and len(options) == 2) or isinstance(value, kinds[options[0]["type"]]), name
        assert (options[0].get("format") == "date-time") is (name in TIME_FIELDS)


def test_a_call_is_answered_if_it_has_an_answer_time_whatever_its_code_says() -> None:
    answered = CallDetailRecord(voice_id="1", answer_time=datetime(2026, 10, 1, tzinfo=UTC), termination_code="486")
    assert answered.answered
    assert not CallDetailRecord(voice_id="1", termination_code="200").answered


@pytest.mark.parametrize(
    ("submitted", "rang", "delay"),
    [(0, 7, 7), (0, 0, 0), (7, 0, None), (None, 7, None), (0, None, None)],
)
def test_the_post_dial_delay_ends_when_the_phone_rings(
    submitted: int | None, rang: int | None, delay: int | None
) -> None:
    def at(seconds: int | None) -> datetime | None:
        return None if seconds is None else datetime(2026, 10, 1, tzinfo=UTC) + timedelta(seconds=seconds)

    # Not from call_time: in the vendor's sample it comes after the end of the call.
    record = CallDetailRecord(voice_id="1", submit_time=at(submitted), ringing_time=at(rang), call_time=at(180))
    assert record.post_dial_delay == (None if delay is None else timedelta(seconds=delay))


def test_every_field_has_a_docstring() -> None:
    (kind,) = (
        node
        for node in ast.parse(inspect.getsource(records)).body
        if isinstance(node, ast.ClassDef) and node.name == "CallDetailRecord"
    )
    reported: dict[str, str] = {}
    for field, text in zip(kind.body, kind.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr), field.target.id
            assert isinstance(text.value, ast.Constant), field.target.id
            reported[field.target.id] = str(text.value.value)
    assert tuple(reported) == CallDetailRecord.__struct_fields__
    assert all(len(text) > 20 and text.endswith(".") for text in reported.values())
    assert "*not* in US" in reported["currency"]
    assert "settlement currency" in reported["settle_pay"]
