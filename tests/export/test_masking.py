"""Masks and pseudonyms: what they leave of a number, and what they never show."""

import hashlib
import hmac
import pickle
import re
import traceback
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiosipcdr.export.masking import NUMBER_FIELDS, Pseudonyms, choose_mask, mask_number, mask_record, mask_records
from aiosipcdr.model.records import NO_EXTRA, CallDetailRecord, ExtraFields
from tests.made_up_calls import calls

KEY = b"sandbox-key-of-16-bytes"


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+12125550123", "+1********23"),
        ("+447700900123", "+44********23"),
        ("00447700900123", "0044********23"),
        ("+8613800000000", "+86*********00"),
        ("+353-1-555 0101", "+353******01"),
        ("+998 (55) 501-01", "+998*****01"),
        ("+7 999 555 01 01", "+7********01"),
        ("8613800000000", "***********00"),
        ("07700900123", "*********23"),
        ("112", "***"),
        ("12345", "*****"),
        ("123456", "****56"),
        ("+4412345", "+44*****"),
        ("+44123456", "+44****56"),
        ("+1", "+1"),
        ("+", "***"),
        ("Alice", "***"),
        ("agent +12125550123", "***"),
        ("sip:+12125550123@example.invalid", "***"),
        ("١٢٣٤٥٦٧٨", "***"),
    ],
)
def test_a_mask_leaves_a_country_code_and_two_digits_at_most(number: str, masked: str) -> None:
    assert mask_number(number) == masked


@given(st.from_regex(r"(\+|00)?[0-9 ]{0,18}", fullmatch=True) | st.text())
def test_whatever_it_is_no_more_is_shown(number: str) -> None:
    masked = mask_number(number)
    match = re.fullmatch(r"((?:\+|00)[0-9]{1,3})?(\**)([0-9]{2})?", masked)
    assert match is not None
    code, hidden, last = match.groups()
    assert not last or len(hidden) >= 4
    assert number.replace(" ", "").startswith(code or "")
    assert not last or number.replace(" ", "").endswith(last)


@given(st.lists(calls, max_size=5))
def test_the_three_fields_and_numbers_within_texts_change_and_nothing_else(records: list[Any]) -> None:
    texts = {name: None for name, kind in get_type_hints(CallDetailRecord).items() if kind == (str | None)}
    assert set(texts) > set(NUMBER_FIELDS)
    masked = mask_records(records, lambda _: "x")
    for record, after in zip(records, masked, strict=True):
        for name in NUMBER_FIELDS:
            assert getattr(after, name) == (None if getattr(record, name) is None else "x")
        assert replace(after, **texts, extra=record.extra) == replace(record, **texts)
        assert after.voice_id == record.voice_id
        assert after.extra is NO_EXTRA


def whispering(**fields: Any) -> CallDetailRecord:  # noqa: ANN401 - any text field
    return CallDetailRecord(
        voice_id="2610241209441000001",
        phone_name="alice",
        callee="+447700900123",
        display_num="1008",
        extra=ExtraFields({"peer": '"+447700900123"'}),
        **fields,
    )


@pytest.mark.parametrize("field", ["termination_reason", "recording_file_id", "sip_group_name", "code", "bill_period"])
@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("no answer from +447700900123", "no answer from +44********23"),
        ("sip:447700900123@example.invalid;cause=486", "sip:**********23@example.invalid;cause=486"),
        ("+44 (7700) 900-123 is busy", "+44********23 is busy"),
        ("2026100107700900123.mp3", "*****************23.mp3"),
        ("alice/1008.mp3", "***/****.mp3"),
        ("call of alice, 1008 and +447700900123", "call of ***, **** and +44********23"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", "***"),
        ("60+60", "60+60"),
        ("Normal call clearing (16), Q.850", "Normal call clearing (16), Q.850"),
    ],
)
def test_numbers_within_texts_are_masked_too(field: str, text: str, hidden: str) -> None:
    masked = mask_record(whispering(**{field: text}), mask_number)
    assert getattr(masked, field) == hidden
    assert "7700900123" not in str(masked.to_dict())


def test_a_number_within_a_text_has_the_pseudonym_of_the_number() -> None:
    masked = mask_record(whispering(termination_reason="alice: no answer from +447700900123"), Pseudonyms(KEY))
    assert masked.termination_reason == f"{masked.phone_name}: no answer from {masked.callee}"


def test_a_pseudonym_is_the_keyed_hash_of_the_text() -> None:
    one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    assert one("+12125550123") == hmac.new(KEY, b"+12125550123", hashlib.sha256).hexdigest()
    assert one("+12125550123") == Pseudonyms(KEY)("+12125550123")
    assert len({one("+12125550123"), one("+12125550124"), other("+12125550123")}) == 3


def test_a_choice_is_a_mask_or_a_key() -> None:
    assert choose_mask(None) is None
    assert choose_mask("mask") is mask_number
    assert isinstance(choose_mask(KEY), Pseudonyms)


@pytest.mark.parametrize("choice", [b"", b"short-secret", "secret-text-of-16-bytes", True, False, 1])
def test_another_choice_is_an_error_that_does_not_repeat_it(choice: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="16 bytes") as caught:
        choose_mask(choice)
    assert "secret" not in str(caught.value)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert {Path(frame.filename).name for frame in frames} == {"test_masking.py"}, "no frame that holds the key"


def test_a_key_is_shown_nowhere() -> None:
    pseudonyms = Pseudonyms(KEY)
    assert "sandbox" not in repr(pseudonyms) + str(pseudonyms)
    with pytest.raises(TypeError, match="pickled") as caught:
        pickle.dumps(pseudonyms)
    assert "sandbox" not in "".join(traceback.format_exception(caught.value))
