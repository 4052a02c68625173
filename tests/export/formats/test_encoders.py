"""The contract of every encoder: all records, and bytes that do not depend on the batches."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from aiosipcdr.export import FORMATS, open_encoder
from aiosipcdr.export.formats.compressed import load_zstd
from aiosipcdr.export.formats.encoders import Metadata
from aiosipcdr.export.reading_excel import read_excel
from aiosipcdr.export.render import encode_rows
from aiosipcdr.model.arrow import BATCH_ROWS
from aiosipcdr.model.records import MONEY_FIELDS, TIME_FIELDS, CallDetailRecord, ExtraFields
from tests.made_up_calls import DURATIONS, call, calls
from tests.selection import ALL, some

NAMES = list(CallDetailRecord.__struct_fields__)


def encode(name: str, batches: Iterable[Sequence[CallDetailRecord]], mask: Callable[[str], str] | None = None) -> bytes:
    return encode_batches(name, [encode_rows(batch, mask=mask) for batch in batches])


def encode_batches(name: str, batches: Iterable[bytes]) -> bytes:
    encoder = open_encoder(name)
    return b"".join([encoder.begin(), *map(encoder.encode, batches), encoder.finish()])


def read_ndjson(raw: bytes) -> list[CallDetailRecord]:
    return [revived(json.loads(line)) for line in raw.decode().split("\n")[:-1]]


def read_csv(raw: bytes) -> list[CallDetailRecord]:
    rows = csv.DictReader(io.StringIO(raw.decode(), newline=""), strict=True)
    read = [revived({name: None if text == "" else text for name, text in row.items()}) for row in rows]
    assert rows.fieldnames == NAMES
    return read


def read_parquet(raw: bytes) -> list[CallDetailRecord]:
    table = pq.read_table(io.BytesIO(raw))
    assert table.column_names == NAMES
    return [CallDetailRecord(**known(row)) for row in table.to_pylist()]


def revived(row: dict[str, Any]) -> CallDetailRecord:
    for names, kind in ((MONEY_FIELDS, Decimal), (TIME_FIELDS, datetime.fromisoformat), (DURATIONS, int)):
        for name in names:
            row[name] = None if row[name] is None else kind(row[name])
    return CallDetailRecord(**known(row))


def known(row: dict[str, Any]) -> dict[str, Any]:
    assert row.pop("extra") is None
    return row


def plain(raw: bytes) -> bytes:
    return raw


def read_xlsx(raw: bytes) -> list[CallDetailRecord]:
    rows = list(read_excel(io.BytesIO(raw), NAMES, max_row_bytes=10**7))
    return [revived(dict(zip(NAMES, row, strict=True))) for row in rows]


READERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], list[CallDetailRecord]]]] = {
    "ndjson": (plain, read_ndjson),
    "ndjson.gz": (gzip.decompress, read_ndjson),
    "ndjson.zst": (load_zstd().decompress, read_ndjson),
    "csv": (plain, read_csv),
    "csv.gz": (gzip.decompress, read_csv),
    "csv.zst": (load_zstd().decompress, read_csv),
    "parquet": (plain, read_parquet),
    "xlsx": (plain, read_xlsx),
}


def exactly(records: Iterable[CallDetailRecord]) -> list[list[object]]:
    # Equal amounts and instants may be written differently; in text they are not.
    return [
        [str(value) if isinstance(value, Decimal | datetime) else value for value in msgspec.structs.astuple(record)]
        for record in records
    ]


@pytest.mark.parametrize("name", FORMATS)
@given(st.lists(st.lists(calls, max_size=4), max_size=4))
@settings(max_examples=25 if ALL else 8)
def test_every_record_comes_back_as_it_was(name: str, batches: list[list[CallDetailRecord]]) -> None:
    decompress, read = READERS[name]
    records = [record for batch in batches for record in batch]
    assert read(decompress(encode(name, batches))) == records


@pytest.mark.parametrize("name", ["ndjson", "csv"])
def test_text_keeps_the_offset_of_a_time(name: str) -> None:
    (read,) = READERS[name][1](encode(name, [[call(1)]]))
    assert read.submit_time is not None
    assert str(read.submit_time) == "2026-10-01 08:30:01+08:00"
    assert exactly([read]) == exactly([call(1)])


@pytest.mark.parametrize("name", some(FORMATS, every=2))
def test_the_batches_leave_no_trace(name: str) -> None:
    # Above a row group, which only Parquet has, or else above several blocks of a compressor.
    number = {"parquet": BATCH_ROWS + 1_000, "xlsx": 2_100}.get(name, 10_000)
    rows_of_all = encode_rows(list(map(call, range(4_001)))).splitlines(keepends=True)
    rows = (rows_of_all * (number // len(rows_of_all) + 1))[:number]
    one = encode_batches(name, [b"".join(rows)])
    for size in (1_999, number - 1_001):
        assert encode_batches(name, [b"".join(rows[at : at + size]) for at in range(0, number, size)]) == one
    assert encode_batches(name, [b"", rows[0], b"", b"", b"".join(rows[1:]), b""]) == one


@pytest.mark.parametrize("name", FORMATS)
def test_no_records_are_a_file_that_can_be_read(name: str) -> None:
    decompress, read = READERS[name]
    assert read(decompress(encode(name, []))) == []
    assert encode(name, [[]]) == encode(name, [])


@pytest.mark.parametrize("name", FORMATS)
def test_two_encoders_share_nothing(name: str) -> None:
    one, other = open_encoder(name), open_encoder(name)
    reported = [
        one.begin(),
        other.begin(),
        one.encode(encode_rows([call(1)])),
        other.encode(encode_rows([call(2)])),
        one.finish(),
        other.finish(),
    ]
    assert b"".join(reported[0::2]) == encode(name, [[call(1)]])
    assert b"".join(reported[1::2]) == encode(name, [[call(2)]])


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "parquet"])
def test_complete_chunks_are_passed_on(name: str) -> None:
    encoder = open_encoder(name)
    encoder.begin()
    rows = encode_rows(list(map(call, range(2_000))))
    ready = [len(encoder.encode(rows)) for _ in range(10)]
    assert min(ready[1:]) > 0 or name.endswith("zst")
    assert sum(ready) > len(encoder.finish())


@pytest.mark.parametrize("name", FORMATS)
def test_a_mask_hides_every_number(name: str) -> None:
    decompress, read = READERS[name]
    (record,) = read(decompress(encode(name, [[call(1)]], mask=lambda text: f"<{len(text)}>")))
    assert (record.callee, record.display_num, record.phone_name) == ("<12>", "<13>", None)
    assert record.submit_time == call(1).submit_time


def test_only_csv_is_written_for_a_spreadsheet() -> None:
    for name in FORMATS:
        if name.startswith("csv"):
            open_encoder(name, spreadsheet=True)
        else:
            with pytest.raises(ValueError, match=r"needs CSV|leave out spreadsheet"):
                open_encoder(name, spreadsheet=True)


def test_an_instant_in_parquet_is_utc() -> None:
    (record,) = read_parquet(encode("parquet", [[call(1)]]))
    assert record.submit_time is not None
    assert record.submit_time.tzinfo is not None
    assert record.submit_time.utcoffset() == datetime.now(UTC).utcoffset()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_unknown_fields(name: str) -> None:
    decompress, _ = READERS[name]
    reported = '{"newField":"a,b \\"c\\""}'
    encoder = open_encoder(name)
    rows = encode_rows([call(1), msgspec.structs.replace(call(2), extra=ExtraFields.from_json(reported))])
    raw = decompress(encoder.begin() + encoder.encode(rows) + encoder.finish())
    if name == "parquet":
        extra = pq.read_table(io.BytesIO(raw)).column("extra").to_pylist()
    elif name.startswith("csv"):
        extra = [row["extra"] or None for row in csv.DictReader(io.StringIO(raw.decode(), newline=""))]
    elif name == "xlsx":
        extra = [one for (one,) in read_excel(io.BytesIO(raw), ["extra"], max_row_bytes=10**6)]
    else:
        extra = [json.loads(line)["extra"] for line in raw.splitlines()]
    assert extra == [None, reported]


def test_metadata_shows_names_alone() -> None:
    reported = Metadata({"aiosipcdr.query": "+12125550123"})
    assert (repr(reported), str(reported), pretty_repr(reported)) == ("Metadata(aiosipcdr.query)",) * 3
    assert reported["aiosipcdr.query"] == "+12125550123"
