"""Parquet: row groups by count, the query inside, nothing kept."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiosipcdr.arrow import BATCH_ROWS, SCHEMA_VERSION, schema
from aiosipcdr.export.encoders import Metadata
from aiosipcdr.export.parquet import ParquetEncoder
from aiosipcdr.export.rows import encode_rows
from tests.made_up_calls import call

QUERY = Metadata({"aiosipcdr.query": '{"start":"2026-10-01T00:00:00+08:00"}'})


def written(rows: int, size: int, metadata: Metadata | None = None) -> pq.ParquetFile:
    encoder = ParquetEncoder(metadata)
    row = encode_rows([call(1)])
    parts = [encoder.begin()]
    parts += [encoder.encode(row * min(size, rows - start)) for start in range(0, rows, size)]
    parts.append(encoder.finish())
    return pq.ParquetFile(io.BytesIO(b"".join(parts)), page_checksum_verification=True)


@pytest.mark.parametrize(
    ("rows", "size", "groups"),
    [
        (0, 1, [0]),
        (1, 1, [1]),
        (BATCH_ROWS, 2_000, [BATCH_ROWS]),
        (2 * BATCH_ROWS + 1, 2 * BATCH_ROWS + 1, [BATCH_ROWS, BATCH_ROWS, 1]),
    ],
)
def test_row_groups_are_cut_by_count(rows: int, size: int, groups: list[int]) -> None:
    file = written(rows, size)
    assert [file.metadata.row_group(place).num_rows for place in range(file.metadata.num_row_groups)] == groups
    assert file.read().num_rows == rows
    assert file.schema_arrow.remove_metadata() == schema().append(pa.field("extra", pa.string()))


def test_columns_are_compressed_with_zstd_and_have_statistics() -> None:
    group = written(10, 10).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert columns[schema().names.index("submit_time")].statistics.min is not None


def test_the_query_and_the_version_of_the_schema_stand_in_the_file() -> None:
    told = written(1, 1, QUERY).metadata.metadata
    assert told[b"aiosipcdr.query"].decode() == QUERY["aiosipcdr.query"]
    assert told[b"aiosipcdr.schema_version"] == str(SCHEMA_VERSION).encode()
    assert written(1, 1).metadata.metadata[b"aiosipcdr.schema_version"] == b"1"


def test_what_is_written_is_handed_on_and_no_more_than_a_group_waits() -> None:
    encoder = ParquetEncoder()
    assert encoder.begin() == b"PAR1"
    rows = encode_rows(list(map(call, range(BATCH_ROWS // 4))))
    last = rows.rindex(b"\n", 0, -1) + 1
    assert encoder.encode(rows * 3 + rows[:last]) == b""
    assert len(encoder.encode(rows[last:])) > 100_000
    assert encoder.encode(b"") == b""
    assert len(encoder.finish()) < 20_000
