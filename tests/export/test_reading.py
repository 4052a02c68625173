"""Files are read back as they were written, and what cannot be read is said in a sentence."""

import csv
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from aiosipcdr.export import FORMATS, open_encoder
from aiosipcdr.export.reading import read_columns
from aiosipcdr.export.render import ROW_FIELDS, encode_rows, read_texts
from aiosipcdr.model.errors import ExportError
from aiosipcdr.model.records import CallDetailRecord, ExtraFields
from tests.made_up_calls import call

COLUMNS = ("currency", "answer_time", "cost", "code")


def written(folder: Path, name: str, calls: int = 30, *, spreadsheet: bool = False) -> Path:
    encoder = open_encoder(name, spreadsheet=spreadsheet)
    rows = encode_rows(list(map(call, range(calls))))
    path = folder / f"calls.{name}"
    path.write_bytes(encoder.begin() + encoder.encode(rows) + encoder.finish())
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("calls", [0, 1, 30])
def test_columns_come_back_row_by_row(tmp_path: Path, name: str, calls: int) -> None:
    read = list(read_columns(written(tmp_path, name, calls), name, COLUMNS))
    expected = [(one.currency, one.answer_time, one.cost, one.code) for one in map(call, range(calls))]
    assert [(row[0], row[1], Decimal(row[2]), row[3]) for row in read] == expected


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"parquet", "xlsx"}])
def test_text_is_kept_as_it_was_sent(tmp_path: Path, name: str) -> None:
    names = [field for field in ROW_FIELDS if field not in {"call_duration", "charged_duration"}]
    read = list(read_columns(written(tmp_path, name, 3), name, names))
    texts = read_texts(encode_rows(list(map(call, range(3)))))
    assert read == [tuple(getattr(row, field) for field in names) for row in texts]


def test_a_file_for_a_spreadsheet_is_read_too(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", spreadsheet=True)
    assert [row[0] for row in read_columns(path, "csv", ["currency"])] == ["EUR"] * 30


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_byte_was_changed_the_file_is_read_or_said_to_be_damaged(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            list(read_columns(path, name, COLUMNS))
        except ExportError as error:
            expected = f"{path} cannot be read as {name}: it is damaged or has another format; export it again"
            assert str(error) == expected  # noqa: PT017
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"csv", "ndjson"}])
def test_a_file_that_was_cut_off_is_said_to_be_damaged(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    whole = path.read_bytes()
    for length in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ExportError, match="it is damaged or has another format; export it again"):
            list(read_columns(path, name, COLUMNS))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_reported(tmp_path: Path, name: str) -> None:
    for other in FORMATS:
        if other != name:
            path = written(tmp_path, other)
            with pytest.raises(
                ExportError, match=f"cannot be read as {name}: it is damaged or has another format; export it again"
            ):
                list(read_columns(path, name, COLUMNS))


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_file_or_a_folder_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"none cannot be read: No such file or directory$"):
        list(read_columns(tmp_path / "none", name, COLUMNS))
    with pytest.raises(ExportError, match="cannot be read"):
        list(read_columns(tmp_path, name, COLUMNS))


@pytest.mark.parametrize("name", FORMATS)
def test_no_error_quotes_the_contents_of_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "calls"
    path.write_bytes(b'"+12125550123","\n+12125550123')
    with pytest.raises(ExportError) as caught:
        list(read_columns(path, name, COLUMNS))
    assert "125550" not in str(caught.value)
    assert "+1" not in str(caught.value)


def test_a_reader_that_stops_early_leaves_the_file_closed(tmp_path: Path) -> None:
    for name in FORMATS:
        path = written(tmp_path, name)
        before = len([*Path("/dev/fd").iterdir()])
        rows = read_columns(path, name, COLUMNS)
        next(rows)
        rows.close()  # type: ignore[attr-defined]
        assert len([*Path("/dev/fd").iterdir()]) == before


def test_a_text_beyond_csvs_own_limit_is_read(tmp_path: Path) -> None:
    long = "x" * 200_000
    encoder = open_encoder("csv")
    rows = encode_rows([CallDetailRecord(voice_id="1", termination_reason=long)])
    (tmp_path / "calls.csv").write_bytes(encoder.begin() + encoder.encode(rows) + encoder.finish())
    before = csv.field_size_limit()
    assert list(read_columns(tmp_path / "calls.csv", "csv", ["termination_reason"])) == [(long,)]
    assert csv.field_size_limit() == before


def test_a_time_beyond_pythons_calendar_is_read(tmp_path: Path) -> None:
    encoder = open_encoder("parquet")
    east = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8)))  # in UTC that is before the year 1
    rows = encode_rows([CallDetailRecord(voice_id="1", answer_time=east), CallDetailRecord(voice_id="2")])
    (tmp_path / "calls.parquet").write_bytes(encoder.begin() + encoder.encode(rows) + encoder.finish())
    (early,), (none,) = read_columns(tmp_path / "calls.parquet", "parquet", ["answer_time"])
    assert early < 0
    assert none is None


def test_a_row_of_any_size_that_an_export_can_write_is_read(tmp_path: Path) -> None:
    extra = ExtraFields(newField='"' + '\\"' * (2 * 1024 * 1024) + '"')
    record = msgspec.structs.replace(call(1), extra=extra)
    for name in ("csv", "ndjson", "csv.gz", "parquet"):
        encoder = open_encoder(name)
        rows = encode_rows([record, call(2)])
        path = tmp_path / f"calls.{name}"
        path.write_bytes(encoder.begin() + encoder.encode(rows) + encoder.finish())
        assert len(list(read_columns(path, name, COLUMNS))) == 2


def test_texts_of_many_lines_are_read(tmp_path: Path) -> None:
    record = msgspec.structs.replace(call(1), termination_reason="a\r\nb\rc\n" * 1_000)
    encoder = open_encoder("csv")
    path = tmp_path / "calls.csv"
    path.write_bytes(encoder.begin() + encoder.encode(encode_rows([record, record])) + encoder.finish())
    assert [row[0] for row in read_columns(path, "csv", ["termination_reason"])] == [record.termination_reason] * 2
