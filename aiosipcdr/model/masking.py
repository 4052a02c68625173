"""Masks for phone numbers in records.

Pure functions of records and texts.
"""

import re
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from aiosipcdr.model.records import NO_EXTRA, CallDetailRecord

__all__ = ["NUMBER_FIELDS", "mask_number", "mask_record", "mask_records", "mask_text"]

NUMBER_FIELDS = ("phone_name", "callee", "display_num")
"""The fields that hold phone numbers or names of people."""

_TEXT_FIELDS = (
    "sip_group_name",
    "code",
    "termination_code",
    "termination_reason",
    "bill_period",
    "recording_file_id",
    "currency",
)
# Shorter ones are codes, such as "486" and "1000".
_NUMBER_WITHIN = re.compile(r"\+?\d(?:[ ().\-/]{0,2}\d){4,}")
# The shortest phone name that is searched for in other texts.
_MIN_NAME = 3

# + or 00, then a country code of ITU-T E.164: one or two digits as listed, else three.
_INTERNATIONAL = re.compile(
    r"(?P<code>(?:\+|00)(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[2-9][0-9]{2}))(?P<rest>[0-9]*)",
    re.ASCII,
)
_PUNCTUATED = re.compile(r"\+?[0-9 ().\-/]+", re.ASCII).fullmatch
_PUNCTUATION = re.compile(r"[ ().\-/]")
_VISIBLE_DIGITS = 2
# With fewer hidden digits a number is found by trying all, so none is shown.
_MIN_HIDDEN_DIGITS = 4
_HIDDEN_NAME = "***"


def mask_number(number: str) -> str:
    """Return `number` with all but its country code and its last two digits replaced by `*`.

    A country code is recognised after `+` or `00`. Punctuation is removed. If fewer than four digits would be hidden,
    no digit after the country code is shown; a text that is not a number is hidden completely.
    """
    if not _PUNCTUATED(number):
        return _HIDDEN_NAME
    digits = _PUNCTUATION.sub("", number)
    international = _INTERNATIONAL.fullmatch(digits)
    code, rest = international.group("code", "rest") if international else ("", digits.removeprefix("+"))
    shown = _VISIBLE_DIGITS if len(rest) >= _MIN_HIDDEN_DIGITS + _VISIBLE_DIGITS else 0
    hidden = len(rest) - shown
    return f"{code}{'*' * hidden}{rest[hidden:]}" or _HIDDEN_NAME


def mask_record(record: CallDetailRecord, mask: Callable[[str], str]) -> CallDetailRecord:
    """Return a copy of `record` in which every phone number is masked.

    `mask` is applied to `phone_name`, `callee` and `display_num`. In all other texts but `voice_id` it is applied to
    these values and to anything that may be a number: at least five digits, with punctuation between them. `extra` is
    dropped, since a number may be anywhere in it.
        mask_record(record, mask_number).termination_reason  # "no answer from +44********23"
    """
    changed: dict[str, object] = {"extra": NO_EXTRA}
    numbers = []
    for name in NUMBER_FIELDS:
        value = getattr(record, name)
        if value is not None:
            changed[name] = mask(value)
            if len(value) >= _MIN_NAME:
                numbers.append(value)
    for name in _TEXT_FIELDS:
        text = getattr(record, name)
        if text is not None and (hidden := _mask_within(text, numbers, mask)) is not text:
            changed[name] = hidden
    return replace(record, **changed)


def _mask_within(text: str, numbers: list[str], mask: Callable[[str], str]) -> str:
    found = _NUMBER_WITHIN
    if any(value in text for value in numbers):
        # One pass: a pseudonym contains digits itself.
        values = "|".join(map(re.escape, sorted(numbers, key=len, reverse=True)))
        found = re.compile(f"{values}|{_NUMBER_WITHIN.pattern}")
    elif not found.search(text):
        return text
    return found.sub(lambda match: mask(match[0]), text)


def mask_text(text: str) -> str:
    """Return `text` with everything in it that may be a phone number masked.

    mask_text("line +447700900123")  # "line +44********23"
    """
    return _mask_within(text, [], mask_number)


def mask_records(records: Iterable[CallDetailRecord], mask: Callable[[str], str]) -> list[CallDetailRecord]:
    """Return masked copies of `records`: see `mask_record`."""
    return [mask_record(record, mask) for record in records]
