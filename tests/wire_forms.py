"""Values in the forms in which vendors send them, with what each means: `FAULTY` is what must not be guessed."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, auto

from aiosipcdr.model.records import WIRE_NAMES, CallDetailRecord


class Faulty(Enum):
    """An outcome without a value; an enum, so that test ids are the same in every worker."""

    FAULTY = auto()


FAULTY = Faulty.FAULTY
"""The field is `None`, its raw value in `extra`, and it is counted."""

EAST = timezone(timedelta(hours=8))
TEN = datetime(2026, 11, 26, 10, tzinfo=EAST)
TEN_UTC = datetime(2026, 11, 26, 10, tzinfo=UTC)

INTEGERS: list[tuple[str, object]] = [
    ("5", 5),
    ('"5"', 5),
    ('" 5 "', 5),
    ('"+5"', 5),
    ("5.0", 5),
    ('"5.00"', 5),
    ("5e0", 5),
    ("1E1", 10),
    ("-1", -1),
    ('"-1"', -1),
    ("-1.0", -1),
    ("0", 0),
    ("1000000000", 10**9),
    ("null", None),
    ('""', None),
    ('"  "', None),
    ("5.5", FAULTY),
    ('"5.5"', FAULTY),
    ("1e-1", FAULTY),
    ("1000000001", FAULTY),
    ("1e999999999", FAULTY),
    ('"1_000"', FAULTY),
    ('"1,000"', FAULTY),
    ('"\uff15"', FAULTY),
    ('"\u0665"', FAULTY),
    ('"00:05"', FAULTY),
    ('"5s"', FAULTY),
    ('"-"', FAULTY),
    ("true", FAULTY),
    ("[5]", FAULTY),
    ('{"seconds":5}', FAULTY),
    ("NaN", FAULTY),
    ('"NaN"', FAULTY),
    ("9" * 4_000, FAULTY),
]

TEXTS: list[tuple[str, object]] = [
    ('"200"', "200"),
    ("200", "200"),
    ("-1", "-1"),
    ("0", "0"),
    ("447700900123", "447700900123"),
    ("1" * 400, "1" * 400),
    ('" a "', " a "),
    (r'"\u00e9\n"', "\u00e9\n"),
    ("null", None),
    ('""', None),
    ("200.0", FAULTY),
    ("2e2", FAULTY),
    ("true", FAULTY),
    ("false", FAULTY),
    ("[]", FAULTY),
    ('{"a":1}', FAULTY),
    ("NaN", FAULTY),
    ('"a\tb"', FAULTY),
    ('"a\x00b"', FAULTY),
    ('"a\nb"', FAULTY),
    (r'"it\'s"', FAULTY),
    (r'"\ud83d"', FAULTY),
    (r'"\udc00x"', FAULTY),
]

MONEY: list[tuple[str, object]] = [
    ('"1.50"', Decimal("1.50")),
    ("1.50", Decimal("1.50")),
    ("7", Decimal(7)),
    ("-0", Decimal(0)),
    ('" 1.5 "', Decimal("1.5")),
    ('"-0.5"', Decimal("-0.5")),
    ('".5"', Decimal("0.5")),
    ('"1.5000000000000"', Decimal("1.5000000000000")),
    ("1.5000000000000", Decimal("1.5000000000000")),
    ('"0E-18"', Decimal("0E-18")),
    ("0E-18", Decimal("0E-18")),
    ('"0.30000000000000004"', Decimal("0.30000000000000004")),
    ("0.30000000000000004", Decimal("0.30000000000000004")),
    ('"1E+3"', Decimal("1E+3")),
    ('"0.000000000001"', Decimal("0.000000000001")),
    ("null", None),
    ('""', None),
    ('" "', None),
    ('"1_000"', FAULTY),
    ('"\uff11\uff12"', FAULTY),
    ('"1,5"', FAULTY),
    ('"$1"', FAULTY),
    ('"-"', FAULTY),
    ('"NaN"', FAULTY),
    ("NaN", FAULTY),
    ("Infinity", FAULTY),
    ("true", FAULTY),
    ("1e999999999", FAULTY),
    ('"1e26"', FAULTY),
    ("01", FAULTY),
    ("[1.5]", FAULTY),
]

TIMES: list[tuple[str, object]] = [
    ('"2026-11-26T10:00:00+08:00"', TEN),
    ('"2026-11-26T10:00+08:00"', TEN),
    ('"2026-11-26T10:00:00+08"', TEN),
    ('"2026-11-26T10:00:00+0800"', TEN),
    ('"2026-11-26T10:00:00 +0800"', TEN),
    ('"2026-11-26 10:00:00+08:00"', TEN),
    ('"2026-11-26T10:00+08:00[Asia/Shanghai]"', TEN),
    ('"2026-11-26T10:00Z[UTC]"', TEN_UTC),
    ('"2026-11-26T10:00:00Z"', TEN_UTC),
    ('" 2026-11-26T10:00Z "', TEN_UTC),
    ('"2026-11-26T10:00:00.5+08:00"', TEN + timedelta(milliseconds=500)),
    ('"2026-11-26T10:00:00.123456789+08:00[Asia/Shanghai]"', TEN + timedelta(microseconds=123457)),
    ('"2026-11-26T10:05:43+08:05:43"', TEN_UTC - timedelta(hours=8)),
    ('"2026-11-26T01:54:17-08:05:43"', TEN_UTC),
    ('"0001-01-01T00:00+08:05:43[Asia/Shanghai]"', datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8, seconds=343)))),
    ("1795687200", TEN_UTC),
    ('"1795687200"', TEN_UTC),
    ("1795687200000", TEN_UTC),
    ('"1795687200000"', TEN_UTC),
    ('" 1795687200 "', TEN_UTC),
    ("1795687200.25", TEN_UTC + timedelta(milliseconds=250)),
    ("1795687200250", TEN_UTC + timedelta(milliseconds=250)),
    ("1000000000", datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)),
    ("4133980799", datetime(2100, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ("null", None),
    ('""', None),
    ('" "', None),
    ("0", None),
    ('"0"', None),
    ('"-"', None),
    ('" - "', None),
    ('"0000-00-00 00:00:00"', None),
    ('"0000-00-00"', None),
    ('"0000-00-00T00:00:00+08:00"', None),
    ("4133980800", FAULTY),
    ("9999999999", FAULTY),
    ("999999999", FAULTY),
    ("20261126100000", FAULTY),
    ('"20261126100000"', FAULTY),
    ("1.7956872e9", FAULTY),
    ("-1795687200", FAULTY),
    ("179568720", FAULTY),
    ("17956872000", FAULTY),
    ('"\uff11795687200"', FAULTY),
    ("true", FAULTY),
    ('"null"', FAULTY),
    ('"yesterday"', FAULTY),
    ('"2026-11-26"', FAULTY),
    ('"10:00"', FAULTY),
    ('"26/11/2026 10:00:00+08:00"', FAULTY),
    ('"2026-W48-4T10:00+08:00"', FAULTY),
    ('"2026-13-01T00:00:00+00:00"', FAULTY),
    ('"2026-02-29T00:00:00+00:00"', FAULTY),
    ('"2026-11-26T24:00:00+08:00"', FAULTY),
    ('"2026-11-26T10:00:60+08:00"', FAULTY),
    ('"2026-11-26T10:00:00+08:00[Asia/Shanghai"', FAULTY),
    ('"2026-11-26T10:00:00+25:00"', FAULTY),
    ('"9999-12-31T23:59:59+08:05:43"', FAULTY),
    ('"0000-00-00 10:00:00"', FAULTY),
    ('"Thu Nov 26 10:00:00 CST 2026"', FAULTY),
]

LOCAL_TIMES: list[tuple[str, str, object]] = [
    ("Asia/Shanghai", '"2026-11-26T10:00:00"', TEN),
    ("Asia/Shanghai", '"2026-11-26T10:00"', TEN),
    ("Asia/Shanghai", '"2026-11-26 10:00:00"', TEN),
    ("Asia/Shanghai", '"2026-11-26T10:00:00.25"', TEN + timedelta(milliseconds=250)),
    ("Asia/Shanghai", '"2026-11-26T10:00Z"', TEN_UTC),
    ("Asia/Shanghai", '"2026-11-26T10:00[Europe/Berlin]"', FAULTY),
    ("Asia/Shanghai", '"2026-11-26"', FAULTY),
    ("Europe/Berlin", '"2026-10-25 02:30:00"', FAULTY),  # twice
    ("Europe/Berlin", '"2026-03-29 02:30:00"', FAULTY),  # never
    ("Europe/Berlin", '"2026-10-25 03:00:00"', datetime(2026, 10, 25, 2, tzinfo=UTC)),
    ("Europe/Berlin", '"2026-03-29 01:59:59"', datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)),
]
"""With the zone that is assumed; without one, those without an offset are faulty."""

FORMS: list[tuple[str, str, object]] = [
    *(("call_duration", raw, value) for raw, value in INTEGERS),
    *(("termination_code", raw, value) for raw, value in TEXTS),
    *(("cost", raw, value) for raw, value in MONEY),
    *(("answer_time", raw, value) for raw, value in TIMES),
]


def record_of(number: int, field: str, raw: str) -> bytes:
    """Return a record as it is sent, with one value as raw JSON."""
    at = (TEN + timedelta(seconds=number)).isoformat()
    text = f'{{"voiceId":"{number}","submitTime":"{at}","callee":"447700900123","{WIRE_NAMES[field]}":{raw}}}'
    return text.encode()


def check_form(record: CallDetailRecord, field: str, raw: str, value: object, *, of_file: bool = False) -> None:
    """Fail unless `record` holds what a form means; files write amounts without exponents."""
    read = getattr(record, field)
    if value is FAULTY:
        assert read is None, raw
        kept = record.extra[WIRE_NAMES[field]]
        assert kept == raw or json.loads(kept) == raw, raw
        return
    assert read == value, raw
    assert type(read) is type(value), raw
    if isinstance(value, Decimal):
        assert format(read, "f") == format(value, "f"), raw
        assert of_file or str(read) == str(value), raw
    assert not record.extra, raw
