"""Excel workbooks, read by openpyxl as other programs read them, and by our own reader."""

import io
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from aiosipcdr import CallDetailRecord, ExportError
from aiosipcdr.export import open_encoder
from aiosipcdr.export.formats import excel
from aiosipcdr.export.formats.excel import ExcelEncoder, find_zone, zone_name
from aiosipcdr.export.formats.spreadsheet import spreadsheet_text
from aiosipcdr.export.reading import read_columns
from aiosipcdr.export.render import ROW_FIELDS, encode_rows
from tests.made_up_traffic import made_call

BERLIN = ZoneInfo("Europe/Berlin")


def encode(records: Sequence[CallDetailRecord], zone: tzinfo = UTC) -> bytes:
    encoder = ExcelEncoder(zone)
    return encoder.begin() + encoder.encode(encode_rows(records)) + encoder.finish()


def sheet_of(raw: bytes) -> Any:  # noqa: ANN401 - openpyxl has no types
    workbook = openpyxl.load_workbook(io.BytesIO(raw))
    assert workbook.sheetnames == ["calls"]
    return workbook["calls"]


def cells_of(record: CallDetailRecord, zone: tzinfo = UTC) -> dict[str, Any]:
    header, row = sheet_of(encode([record], zone)).iter_rows()
    return {name.value: cell for name, cell in zip(header, row, strict=True)}


def read_back(raw: bytes, folder: Path, *names: str) -> list[tuple[Any, ...]]:
    path = folder / "calls.xlsx"
    path.write_bytes(raw)
    return list(read_columns(path, "xlsx", names or ROW_FIELDS))


def test_a_call_is_text_dates_and_numbers() -> None:
    cells = cells_of(made_call(7), ZoneInfo("Asia/Shanghai"))

    assert (cells["voice_id"].value, cells["voice_id"].data_type) == ("2610050000000000007", "s")
    assert cells["voice_id"].number_format == cells["callee"].number_format == "@"
    assert cells["submit_time (Asia/Shanghai)"].value == datetime(2026, 10, 5, 17, 7)  # noqa: DTZ001
    assert cells["submit_time (Asia/Shanghai)"].number_format == "yyyy-mm-dd hh:mm:ss"
    assert (cells["cost"].value, cells["cost"].number_format) == (0.12, "0.00##########")
    assert cells["call_duration"].value == 90
    assert [cell.value for name, cell in cells.items() if name.endswith("_exact")] == [None] * 5
    assert cells["currency"].value is cells["extra"].value is None


@pytest.mark.parametrize(
    ("amount", "number", "exact"),
    [
        ("0.0124", 0.0124, None),
        ("123456789012.345", 123456789012.345, None),
        ("0.000000000000123456789012345", 1.23456789012345e-13, None),
        ("100000000000000000000", 1e20, None),
        ("-0.1000000000000001", -0.1000000000000001, "-0.1000000000000001"),
        ("0.12345678901234567890", 0.12345678901234568, "0.12345678901234567890"),
        ("12345678901234567890123456", 1.2345678901234568e25, "12345678901234567890123456"),
    ],
)
def test_an_amount_that_a_double_does_not_hold_has_its_text_beside_it(
    amount: str, number: float, exact: str | None, tmp_path: Path
) -> None:
    record = made_call(cost=Decimal(amount))
    row = next(sheet_of(encode([record])).iter_rows(min_row=2))
    place = ROW_FIELDS.index("cost")

    assert row[place].value == number
    assert row[place + 1].value == exact
    assert read_back(encode([record]), tmp_path, "cost") == [(format(Decimal(amount), "f"),)]


def test_an_hour_that_comes_twice_is_marked_and_read_exactly(tmp_path: Path) -> None:
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, 0, 123_457, tzinfo=UTC)
    cells = cells_of(made_call(submit_time=first, hangup_time=second), BERLIN)
    one, other = cells["submit_time (Europe/Berlin)"], cells["hangup_time (Europe/Berlin)"]

    assert one.value.replace(microsecond=0) == other.value.replace(microsecond=0)
    assert (one.number_format, other.number_format) == (
        "yyyy-mm-dd hh:mm:ss",
        'yyyy-mm-dd hh:mm:ss" (again)"',
    )
    raw = encode([made_call(submit_time=first, hangup_time=second)], BERLIN)
    assert [datetime.fromisoformat(text) for text in read_back(raw, tmp_path, "submit_time", "hangup_time")[0]] == [
        first,
        second,
    ]


@pytest.mark.parametrize("year", [1, 1899, 2080, 9999])
def test_a_time_that_excel_does_not_hold_is_text(year: int, tmp_path: Path) -> None:
    record = made_call(submit_time=datetime(year, 1, 1, tzinfo=UTC))
    zone = timezone(timedelta(hours=-3))  # the first hours of the year 1 lie before the calendar there

    assert cells_of(record, zone)["submit_time (UTC-03:00)"].value == f"{year:04}-01-01T00:00:00Z"
    assert read_back(encode([record], zone), tmp_path, "submit_time") == [(f"{year:04}-01-01T00:00:00Z",)]


HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "\t=1",
    "<b>&amp;</b>",
    "a\x00\x1b\x7f_x0041_",
    "\u202eevil",
    " \r\n",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_a_text(text: str, tmp_path: Path) -> None:
    raw = encode([made_call(sip_group_name=text, termination_reason=text)])
    cell = next(sheet_of(raw).iter_rows(min_row=2))[ROW_FIELDS.index("sip_group_name")]

    assert cell.data_type == "s"  # "f" is a formula
    assert cell.number_format == "@"  # also once somebody has edited it
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    assert read_back(raw, tmp_path, "sip_group_name", "termination_reason") == [(text, text)]
    assert spreadsheet_text("=1") == "'=1"  # CSV needs the apostrophe


def test_a_text_beyond_a_cell_is_refused() -> None:
    encode([made_call(termination_reason="x" * 32_767), made_call(termination_reason="\U0001f4de" * 16_383)])
    for text in ("x" * 32_768, "\U0001f4de" * 16_384):
        with pytest.raises(ExportError, match=r"a cell of Excel holds 32,767 characters.*choose \.csv or \.parquet"):
            encode([made_call(termination_reason=text)])


def test_a_sheet_that_is_full_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "MOST_ROWS", 3)
    encode([made_call(number) for number in range(3)])
    with pytest.raises(ExportError, match=r"a sheet of Excel holds 3 calls.*one file per day"):
        encode([made_call(number) for number in range(4)])
    assert excel.too_many_rows(4).args[0].startswith("a sheet of Excel holds 3 calls, and the range has 4;")


def test_a_sheet_beyond_two_gibibytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "_MOST_BYTES", 10_000)
    with pytest.raises(ExportError, match="a sheet of Excel holds"):
        encode([made_call(number) for number in range(10)])


def test_another_numbering_of_styles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "_FORMATS", {9: "@", **excel._FORMATS})
    excel._make_workbook.cache_clear()
    with pytest.raises(ExportError, match="numbers styles in another way"):
        ExcelEncoder().begin()
    excel._make_workbook.cache_clear()


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (UTC, "UTC"),
        (timezone(timedelta(hours=8)), "UTC+08:00"),
        (timezone(timedelta(minutes=-210)), "UTC-03:30"),
        (BERLIN, "Europe/Berlin"),
    ],
)
def test_a_zone_has_a_name_in_the_header(zone: tzinfo, name: str) -> None:
    assert zone_name(zone) == name
    found = find_zone(name)
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    assert found is not None
    assert moment.astimezone(found).utcoffset() == moment.astimezone(zone).utcoffset()


def test_a_zone_without_a_name_is_refused() -> None:
    for zone in (timezone(timedelta(hours=1), "here"), timezone(timedelta(seconds=30))):
        with pytest.raises(ValueError, match="tz must be the name of a time zone or a fixed offset"):
            open_encoder("xlsx", zone=zone)
    assert find_zone("Middle/Earth") is None


def rewritten(raw: bytes, name: str, change: Any) -> bytes:  # noqa: ANN401 - a function of bytes
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in source.infolist():
            archive.writestr(info.filename, change(source.read(info)) if info.filename == name else source.read(info))
    return target.getvalue()


def flipped(raw: bytes, place: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]


SHEET = "xl/worksheets/sheet1.xml"
BOMB = b'<!DOCTYPE worksheet [<!ENTITY a "aaaaaaaaaa">]><worksheet '


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: flipped(raw, raw.index(SHEET.encode()) + 200),
        lambda raw: raw + b"appended",
        lambda _: b"",
        lambda raw: rewritten(raw, SHEET, lambda text: text.replace(b"<worksheet ", BOMB, 1)),
        lambda raw: rewritten(
            raw, SHEET, lambda text: text.replace(b"<v>0.12</v>", b"<v>" + b"1" * 20_000_000 + b"</v>")
        ),
        lambda raw: rewritten(raw, SHEET, lambda text: text.replace(b'<c r="A1" s="4" t="s"><v>0</v></c>', b"")),
        lambda raw: rewritten(raw, SHEET, lambda text: text.replace(b"<v>7</v>", b"<v>99</v>")),
        lambda raw: rewritten(raw, "xl/sharedStrings.xml", lambda text: text.replace(b"(UTC)", b"(Middle/Earth)")),
        lambda raw: rewritten(raw, SHEET, lambda _: b"<worksheet/>"),
    ],
    ids=["cut", "flipped", "appended", "empty", "entities", "huge", "no id", "no text", "no zone", "no rows"],
)
def test_a_workbook_that_no_export_wrote_is_refused(damage: Any, tmp_path: Path) -> None:  # noqa: ANN401
    raw = damage(encode([made_call(1)]))
    with pytest.raises(ExportError, match="cannot be read"):
        read_back(raw, tmp_path)
