"""Readers of field values in all formats that vendors use.

Nothing is guessed: an ambiguous value cannot be read. Every reader returns `None` for `null` and an empty text,
and raises one of `VALUE_FAULTS` for a value that it cannot read.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Final

from aiosipcdr.model.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS, WIRE_NAMES
from aiosipcdr.wire.decimals import read_amount
from aiosipcdr.wire.raw_json import DECODE_FAULTS, read_text

__all__ = ["VALUE_FAULTS", "Reader", "field_readers", "read_count", "read_label", "read_money"]

Value = str | int | Decimal | datetime | None
Reader = Callable[[bytes], Value]

VALUE_FAULTS: Final = (*DECODE_FAULTS, ValueError, ArithmeticError)
"""Errors that a reader raises; `ArithmeticError` covers impossible amounts and dates outside the calendar."""

_BLANKS: Final = " \t\r\n"
_LONGEST_DIGITS: Final = 64 * 1024
_LONGEST_NUMBER: Final = 400
_MAX_SECONDS: Final = 1_000_000_000

_integer: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)").fullmatch
_number: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?").fullmatch
_count: Final = re.compile(rb'"([0-9]{1,9})"|(0|[1-9][0-9]{0,8}|1000000000)(?:\.0{1,9})?').fullmatch

_iso_time: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?::(?P<seconds>[0-5][0-9])(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r" ?(?P<offset>[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?[0-5][0-9])?)?)?"
    r"(?P<zone>\[[A-Za-z0-9_+\-/:]{1,64}\])?"
).fullmatch
_epoch: Final = re.compile(r"(?P<whole>[0-9]{10}|[0-9]{13})(?:\.(?P<fraction>[0-9]{1,9}))?").fullmatch
_never: Final = re.compile(
    r"-|0(?:\.0+)?|0000-00-00(?:[Tt ]00:00(?::00(?:[.,]0+)?)?(?: ?(?:[Zz]|[+-][0-9:]{2,8}))?)?"
).fullmatch
_YEARS: Final = range(2000, 2101)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_DIGITS: Final = 10


def read_label(raw: bytes) -> str | None:
    """Read a text; an integer becomes the text of its digits, as in `"terminationCode": 200`."""
    if raw.startswith(b'"'):
        return read_text(raw) or None
    if raw == b"null":
        return None
    if len(raw) > _LONGEST_DIGITS or not _integer(raw):
        raise ValueError
    return raw.decode()


def read_seconds(raw: bytes) -> int | None:
    """Read whole seconds: an integer, also as a text or as a float without a fraction."""
    text = _plain_text(raw)
    if not text:
        return None
    amount = read_amount(text)
    if abs(amount) > _MAX_SECONDS or amount != int(amount):
        raise ValueError
    return int(amount)


def read_money(raw: bytes) -> Decimal | None:
    """Read an amount, as a text or as a number, with its digits."""
    if raw == b"-0":
        return Decimal(0)  # a JSON integer, which has no negative zero
    text = _plain_text(raw)
    return read_amount(text) if text else None


def read_time(raw: bytes, zone: tzinfo | None = None) -> datetime | None:
    """Read a time, aware: ISO 8601 in its variants, or the epoch in seconds or milliseconds.

    Args:
        raw: The value, as JSON.
        zone: The time zone of times without an offset; without it they cannot be read.
    """
    text = _plain_text(raw)
    if not text or _never(text):
        return None
    if (found := _epoch(text)) is not None:
        return _read_epoch(found["whole"], found["fraction"])
    found = _iso_time(text)
    if found is None:
        raise ValueError
    time = datetime.fromisoformat(f"{found['date']}T{found['clock']}:{found['seconds'] or '00'}")
    time += _fraction(found["fraction"])  # rounded to microseconds, as msgspec does
    if (offset := found["offset"]) is not None:
        return _with_offset(time, offset)
    if zone is None or found["zone"] is not None:
        raise ValueError
    return _in_zone(time, zone)


def read_count(raw: bytes) -> int | None:
    """Read one of the numbers of a page: 0 to 10**9, also as a text or as a float without a fraction."""
    if raw in (b"null", b'""'):
        return None
    if (found := _count(raw)) is None:
        raise ValueError
    return int(found[1] or found[2])


def field_readers(zone: tzinfo | None) -> Mapping[str, tuple[str, Reader]]:
    """Return name and reader of each field by its wire name; the id is left out."""
    readers: dict[str, Reader] = (
        dict.fromkeys(MONEY_FIELDS, read_money)
        | dict.fromkeys(DURATION_FIELDS, read_seconds)
        | dict.fromkeys(TIME_FIELDS, partial(read_time, zone=zone))
    )
    return MappingProxyType(
        {
            wire_name: (name, readers.get(name, read_label))
            for name, wire_name in WIRE_NAMES.items()
            if name != "voice_id"
        }
    )


def _plain_text(raw: bytes) -> str:
    if raw == b"null":
        return ""
    if raw.startswith(b'"') and len(raw) <= _LONGEST_NUMBER:
        return read_text(raw).strip(_BLANKS)
    if len(raw) > _LONGEST_NUMBER or not _number(raw):
        raise ValueError
    return raw.decode()


def _fraction(digits: str | None) -> timedelta:
    return timedelta(microseconds=round(int(digits) * 10 ** (6 - len(digits)))) if digits else timedelta()


def _read_epoch(whole: str, fraction: str | None) -> datetime:
    unit = timedelta(seconds=1) if len(whole) == _SECOND_DIGITS else timedelta(milliseconds=1)
    time = _EPOCH + int(whole) * unit + _fraction(fraction) * (unit / timedelta(seconds=1))
    if time.year not in _YEARS:
        raise ValueError
    return time


def _with_offset(time: datetime, offset: str) -> datetime:
    if offset in "Zz":
        return time.replace(tzinfo=UTC)
    digits = offset[1:].replace(":", "").ljust(6, "0")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return _with_span(time, -span if offset.startswith("-") else span)


def _in_zone(time: datetime, zone: tzinfo) -> datetime:
    spans = {time.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    span = spans.pop()
    if spans or span is None:  # clocks were changed: the time occurs twice or not at all
        raise ValueError
    return _with_span(time, span)


def _with_span(time: datetime, span: timedelta) -> datetime:
    # File formats have no offsets with seconds (local mean times): round the offset and keep the instant.
    missing = timedelta(seconds=-span.total_seconds() % 60)
    return (time + missing).replace(tzinfo=timezone(span + missing))
