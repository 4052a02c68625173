"""Rows of a synced table as Arrow tables, for targets that read and write Arrow."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from aiosipcdr.model.arrow import load_pyarrow, schema
from aiosipcdr.sync.checkpoints import Span
from aiosipcdr.sync.rows import FIELDS, HeldRow, Key, TableRow
from aiosipcdr.sync.targets.sql import CHECKPOINT_COLUMNS, COLUMNS, Column

__all__ = [
    "arrow_schema",
    "from_rows",
    "from_spans",
    "keys_and_starts",
    "select_rows",
    "table_schema",
    "to_rows",
    "with_plain_text",
]


def table_schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the `pyarrow.Schema` of a synced table: that of Parquet files, then the columns of the sync.

    Raises:
        ImportError: The extra `arrow` is not installed.
    """
    pa = load_pyarrow()
    return pa.schema([*schema(), *arrow_schema(COLUMNS[len(FIELDS) :])])


def arrow_schema(columns: Iterable[Column]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return columns of numbers, times and text as a `pyarrow.Schema`."""
    pa = load_pyarrow()
    kinds = {"integer": pa.int64(), "time": pa.timestamp("us", tz="UTC"), "text": pa.string()}
    return pa.schema([pa.field(name, kinds[kind], nullable=not required) for name, kind, required in columns])


def from_rows(rows: Sequence[TableRow], at: datetime) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return rows that are written at the time `at` as a `pyarrow.Table` with the columns of `table_schema`."""
    pa = load_pyarrow()
    fields = table_schema()
    columns: list[Iterable[object]] = [*zip(*(row.values for row in rows), strict=True)] or [()] * len(FIELDS)
    columns += [[row.leg for row in rows], [at] * len(rows), [None] * len(rows), [row.span_start for row in rows]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=fields)


def keys_and_starts(moved: Iterable[tuple[Key, datetime | None]]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return keys, each with the start of a span, as a `pyarrow.Table` of `voice_id`, `leg` and `span_start`."""
    pa = load_pyarrow()
    rows = [(*key, start) for key, start in moved]
    kinds = [pa.string(), pa.int64(), pa.timestamp("us", tz="UTC")]
    columns: list[Iterable[object]] = [*zip(*rows, strict=True)] or [()] * len(kinds)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.Table.from_arrays(arrays, names=["voice_id", "leg", "span_start"])


def from_spans(spans: Sequence[Span]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return checkpoints as a `pyarrow.Table` with the columns of the table of checkpoints."""
    pa = load_pyarrow()
    values = [
        [one.start for one in spans],
        [one.end for one in spans],
        [one.count for one in spans],
        [one.read_at for one in spans],
    ]
    return pa.table(values, schema=arrow_schema(CHECKPOINT_COLUMNS))


def with_plain_text(batch: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return a batch whose text columns are strings: pyarrow can select no rows of the views that other engines use."""
    pa = load_pyarrow()
    views = {pa.string_view(), pa.large_string()}
    fields = [(field.name, pa.string() if field.type in views else field.type) for field in batch.schema]
    return batch.cast(pa.schema(fields))


def select_rows(batch: Any, ids: Collection[str], spans: Collection[datetime] = ()) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the rows of a batch that have one of the ids `ids`, or belong to one of the spans `spans`."""
    from pyarrow.compute import is_in, or_

    pa = load_pyarrow()
    wanted = ((batch.column("voice_id"), ids), (batch.column("span_start"), spans))
    has_id, has_start = (is_in(column, value_set=pa.array([*values], column.type)) for column, values in wanted)
    return batch.filter(or_(has_id, has_start))


def to_rows(table: Any) -> Iterator[HeldRow]:  # noqa: ANN401 - pyarrow has no types
    """Yield the rows of a `pyarrow.Table` with the columns of `FIELDS`, then `leg`, `span_start` and `vanished_at`."""
    pa = load_pyarrow()
    utc = pa.timestamp("us", tz="UTC")
    columns = [
        (column.cast(utc) if pa.types.is_timestamp(column.type) else column).to_pylist() for column in table.columns
    ]
    for *values, leg, span_start, vanished_at in zip(*columns, strict=True):
        yield HeldRow(tuple(values), leg, span_start, vanished_at is not None)
