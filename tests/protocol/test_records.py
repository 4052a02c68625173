"""Records as callers see them: exact, aware, and silent about numbers."""

import io
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from aiosipcdr.protocol.records import MONEY_FIELDS, TIME_FIELDS, CallDetailRecord, Page

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
)
FIELDS = (
    "voice_id, sip_group_name, phone_name, callee, display_num, code, submit_time, call_time, ringing_time,"
    " answer_time, hangup_time, call_duration, charged_duration, termination_code, termination_reason, cost,"
    " bill_period, rate, recording_file_id, currency, settle_rate, quote_exchange, settle_pay"
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
    assert all(getattr(record, name) is None for name in CallDetailRecord.__struct_fields__[1:])
    with pytest.raises(TypeError, match="voice_id"):
        CallDetailRecord()  # type: ignore[call-arg]


def test_the_named_groups_of_fields_are_all_there_are() -> None:
    hints = {field.name: str(field.type) for field in msgspec.structs.fields(CallDetailRecord)}
    assert {name for name, hint in hints.items() if "Money" in hint} == set(MONEY_FIELDS)
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
    assert repr(page) == "Page(total=1, size=100, current=1, pages=1, records=<1>)"
