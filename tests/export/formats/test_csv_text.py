"""CSV: the contents of the lines."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from aiosipcdr.export.formats.csv_text import CsvEncoder
from aiosipcdr.export.render import encode_rows
from aiosipcdr.model.records import CallDetailRecord
from tests.made_up_calls import START

NAMES = list(CallDetailRecord.__struct_fields__)


def lines_of(*records: CallDetailRecord, spreadsheet: bool = False) -> list[dict[str, str]]:
    encoder = CsvEncoder(spreadsheet=spreadsheet)
    raw = encoder.begin() + encoder.encode(encode_rows(records)) + encoder.finish()
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig" if spreadsheet else "utf-8"), newline="")))


def test_the_first_line_has_the_names_of_the_record() -> None:
    assert CsvEncoder().begin() == ",".join(NAMES).encode() + b"\r\n"
    assert CsvEncoder().finish() == b""


def test_a_csv_line_has_the_expected_text() -> None:
    record = CallDetailRecord(
        voice_id="2610241209441000001",
        callee="+12125550123",
        code='Korea, "South"\nSeoul',
        submit_time=START,
        call_time=datetime(2026, 10, 1, 0, 30, 0, 5000, tzinfo=UTC),
        call_duration=0,
        cost=Decimal("0.10"),
        rate=Decimal("0.0000001"),
    )
    expected = (
        '2610241209441000001,,,+12125550123,,"Korea, ""South""\nSeoul",'
        "2026-10-01T08:30:00+08:00,2026-10-01T00:30:00.005000Z,,,,0,,,,0.10,,0.0000001,,,,,,\r\n"
    )
    assert CsvEncoder().encode(encode_rows([record])).decode() == expected


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nb", '"', "'", ",", " x ", "\ufeff", "\u2028", "中国"])
def test_awkward_texts_survive(text: str) -> None:
    (line,) = lines_of(CallDetailRecord(voice_id="1", phone_name=text, termination_reason=text))
    assert (line["phone_name"], line["termination_reason"]) == (text, text)


def test_nothing_is_escaped_for_programs() -> None:
    (line,) = lines_of(CallDetailRecord(voice_id="1", phone_name="=1+1", cost=Decimal("-1.5")))
    assert (line["phone_name"], line["cost"]) == ("=1+1", "-1.5")


def test_a_spreadsheet_detects_the_encoding_and_gets_no_formula() -> None:
    record = CallDetailRecord(
        voice_id="2610241209441000001",
        phone_name="=1+1",
        callee="+12125550123",
        code="Bahrain",
        submit_time=START,
        call_duration=61,
        cost=Decimal("-1.5"),
    )
    assert CsvEncoder(spreadsheet=True).begin().startswith(b"\xef\xbb\xbfvoice_id,")
    (line,) = lines_of(record, spreadsheet=True)
    assert line["voice_id"] == "'2610241209441000001"
    assert line["phone_name"] == "'=1+1"
    assert (line["callee"], line["code"], line["display_num"]) == ("'+12125550123", "Bahrain", "")
    assert (line["cost"], line["call_duration"]) == ("-1.5", "61")
    assert line["submit_time"] == "2026-10-01T08:30:00+08:00"


def test_a_spreadsheet_gets_no_formula_in_unknown_fields_either() -> None:
    rows = encode_rows([CallDetailRecord(voice_id="1")]).replace(b'"extra":null', b'"extra":"=1+1"')
    for spreadsheet, shown in ((False, "=1+1"), (True, "'=1+1")):
        (row,) = csv.reader([CsvEncoder(spreadsheet=spreadsheet).encode(rows).decode()])
        assert row[-1] == shown


def test_no_rows_are_no_lines() -> None:
    assert CsvEncoder().encode(b"") == b""
