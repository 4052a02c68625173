"""Records as Arrow: one schema, and columns that keep every id, instant and amount exact.

Optional: pyarrow is imported where it is first needed, never by importing this
module.  Must never round an amount, and never hold more than one batch at a time.
"""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from types import ModuleType
from typing import Any

from aiosipcdr.extras import MissingExtraError
from aiosipcdr.protocol.records import DURATION_FIELDS, MONEY_FIELDS, TIME_FIELDS, CallDetailRecord

__all__ = ["BATCH_ROWS", "SCHEMA_VERSION", "ArrowRecords", "load_pyarrow", "record_batch", "record_batches", "schema"]

BATCH_ROWS = 65_536
"""The most rows of a batch, and the rows of a Parquet file's row group."""

SCHEMA_VERSION = 1
"""Rises when a column is added, renamed or changes its type."""

_MONEY_DIGITS, _MONEY_SCALE = 38, 12
_FIELDS = CallDetailRecord.__struct_fields__
_columns = [attrgetter(name) for name in _FIELDS]


class ArrowRecords:
    """Records that offer themselves as a stream of Arrow batches, and as nothing else.

    Not a list, so that pyarrow, polars, DuckDB and pandas ask for the stream:
    all of them take a list as a list, whatever else it offers.  Reads the
    records anew each time it is asked, and copies none of them before.
    """

    __slots__ = ("_records",)

    def __init__(self, records: Sequence[CallDetailRecord]) -> None:
        """Offer `records`, as they are when the stream is read."""
        self._records = records

    def __repr__(self) -> str:
        """Count the records instead of printing them."""
        return f"<ArrowRecords: {len(self._records):,} records>"

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule with a stream of the batches, converted as they are read.

        `requested_schema`: a capsule with the schema that the reader would rather have.

        Raises:
            ImportError: the extra `arrow` is not installed.
        """
        pyarrow = load_pyarrow()
        reader = pyarrow.RecordBatchReader.from_batches(schema(), record_batches(self._records))
        capsule: object = reader.__arrow_c_stream__(requested_schema)
        return capsule


def load_pyarrow() -> ModuleType:
    """Import pyarrow and return it.

    Raises:
        ImportError: it is not installed; the text says what to install.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("Arrow and Parquet need pyarrow", "arrow", name=error.name) from None
    module: ModuleType = pa
    return module


def schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the `pyarrow.Schema` of `CallDetailRecord`: its names, in its order.

    Text is `string`; durations are `int64`, in seconds (so that sums of many
    calls fit); times are `timestamp[us, tz=UTC]`: the instant is kept, the
    offset in which it was told is not; money is `decimal128(38, 12)`.
    Everything but `voice_id` may be null.

    Raises:
        ImportError: the extra `arrow` is not installed.
    """
    pa = load_pyarrow()
    kinds = (
        dict.fromkeys(_FIELDS, pa.string())
        | dict.fromkeys(TIME_FIELDS, pa.timestamp("us", tz="UTC"))
        | dict.fromkeys(DURATION_FIELDS, pa.int64())
        | dict.fromkeys(MONEY_FIELDS, pa.decimal128(_MONEY_DIGITS, _MONEY_SCALE))
    )
    fields = [pa.field(name, kind, nullable=name != "voice_id") for name, kind in kinds.items()]
    return pa.schema(fields)


def record_batch(records: Sequence[CallDetailRecord]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return `records` as one `pyarrow.RecordBatch`.

    Raises:
        ImportError: the extra `arrow` is not installed.
        ValueError: an amount of a record made by hand does not fit 26 digits before the point and 12 behind it.
    """
    pa = load_pyarrow()
    shape = schema()
    arrays = [pa.array(list(map(column, records)), field.type) for column, field in zip(_columns, shape, strict=True)]
    return pa.record_batch(arrays, schema=shape)


def record_batches(records: Sequence[CallDetailRecord]) -> Iterator[Any]:
    """Yield `records` as batches of at most 65,536 rows, each made when it is asked for.

    Raises:
        ImportError: the extra `arrow` is not installed.
        ValueError: see `record_batch`.
    """
    for start in range(0, len(records), BATCH_ROWS):
        yield record_batch(records[start : start + BATCH_ROWS])
