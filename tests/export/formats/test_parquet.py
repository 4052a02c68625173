"""Parquet: row groups by count, the query inside, nothing kept."""

import io

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosipcdr.export.formats.encoders import Metadata
from aiosipcdr.export.formats.parquet import ParquetEncoder
from aiosipcdr.export.render import encode_lists, encode_rows
from aiosipcdr.model.arrow import BATCH_ROWS, SCHEMA_VERSION, schema
from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord
from tests.made_up_calls import TEXTS, call, calls

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
    assert file.schema_arrow.remove_metadata() == schema()


def test_columns_are_compressed_with_zstd_and_have_statistics() -> None:
    group = written(10, 10).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert columns[schema().names.index("submit_time")].statistics.min is not None


def test_the_file_has_the_query_and_the_version_of_the_schema() -> None:
    reported = written(1, 1, QUERY).metadata.metadata
    assert reported[b"aiosipcdr.query"].decode() == QUERY["aiosipcdr.query"]
    assert reported[b"aiosipcdr.schema_version"] == str(SCHEMA_VERSION).encode()
    assert written(1, 1).metadata.metadata[b"aiosipcdr.schema_version"] == b"2"


def test_written_bytes_are_passed_on_and_at_most_one_row_group_is_buffered() -> None:
    encoder = ParquetEncoder()
    assert encoder.begin() == b"PAR1"
    rows = encode_rows(list(map(call, range(BATCH_ROWS // 4))))
    last = rows.rindex(b"\n", 0, -1) + 1
    assert encoder.encode(rows * 3 + rows[:last]) == b""
    ready = len(encoder.encode(rows[last:]))
    assert encoder.encode(b"") == b""
    assert ready > 4 * len(encoder.finish())


def file_of(*batches: bytes) -> bytes:
    encoder = ParquetEncoder()
    return b"".join([encoder.begin(), *map(encoder.encode, batches), encoder.finish()])


# What is written plainly, and all that CSV or JSON could take for something else.
plain_texts = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\'), min_size=1)
odd_texts = st.sampled_from(
    ["null", "NULL", "0", "a,b", "'", "],[", "#", " ", "\x7f", "\u2028", "\ufeff", "客服", "nan", "true"]
)


@given(
    st.lists(st.tuples(calls, plain_texts | odd_texts, st.none() | odd_texts), min_size=1, max_size=4),
)
def test_lists_give_the_file_that_objects_give(reported: list[tuple[CallDetailRecord, str, str | None]]) -> None:
    # Money and times are of every kind, texts of every kind that is not escaped.
    records = [
        msgspec.structs.replace(
            record, **dict.fromkeys(TEXTS, other) | {"voice_id": text, "recording_file_id": text, "code": None}
        )
        for record, text, other in reported
    ]
    lists = encode_lists(records)
    assert lists is not None
    assert file_of(lists) == file_of(encode_rows(records))


def test_lists_and_objects_may_follow_each_other() -> None:
    records = list(map(call, range(5_000)))
    lists, objects = encode_lists(records), encode_rows(records)
    assert lists is not None
    assert file_of(lists, objects, lists) == file_of(objects * 3)


def test_times_are_written_as_differences() -> None:
    group = written(10, 10).metadata.row_group(0)
    encodings = {
        group.column(place).path_in_schema: group.column(place).encodings for place in range(group.num_columns)
    }
    assert all("DELTA_BINARY_PACKED" in encodings[name] for name in TIME_FIELDS)
