"""Records as Arrow batches with one schema; ids, instants and amounts stay exact.

Importing this module does not import pyarrow. One batch is in memory at a time.
"""

from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from decimal import (
    Clamped,
    Context,
    Decimal,
    DecimalException,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    localcontext,
)
from operator import attrgetter
from types import ModuleType
from typing import Any

import msgspec

from aiosipcdr.extras import MissingExtraError
from aiosipcdr.model.records import (
    DURATION_FIELDS,
    MONEY_FIELDS,
    NO_EXTRA,
    TIME_FIELDS,
    WIRE_NAMES,
    CallDetailRecord,
    ExtraFields,
)

__all__ = [
    "BATCH_ROWS",
    "SCHEMA_VERSION",
    "ArrowRecords",
    "fit_columns",
    "load_pyarrow",
    "record_batch",
    "record_batches",
    "schema",
]

BATCH_ROWS = 65_536
"""The most rows of a batch, and the rows of a Parquet file's row group."""

SCHEMA_VERSION = 2
"""Rises when a column is added, renamed or changes its type."""

_MONEY_DIGITS, _MONEY_SCALE = 38, 12
_FIELDS = CallDetailRecord.__struct_fields__
_columns = [attrgetter(name) if name != "extra" else (lambda record: record.extra.to_json()) for name in _FIELDS]
# One sum per column shows that ordinary amounts fit: with 13 digits and exponents from 0 on, an amount has at most
# 12 decimal places, and while no sum reaches 25 digits, none of its terms has more than 26.
_PLAIN = Context(prec=_MONEY_SCALE + 1, Emin=0, Emax=24, traps=[InvalidOperation, Overflow, Rounded, Clamped])
_NOTHING = Decimal()
_FIRST_AND_LAST = {MINYEAR, MAXYEAR}
_EXACT = Context(prec=_MONEY_DIGITS, traps=[InvalidOperation, Inexact])
_FINEST = Decimal(1).scaleb(-_MONEY_SCALE)


class ArrowRecords:
    """Records as an Arrow stream, for `polars.DataFrame`, `pyarrow.table`, DuckDB and pandas.

        frame = polars.DataFrame(records.arrow)

    It is not a list, since these libraries would not look for an Arrow stream in one. The records are converted anew
    each time the stream is read.
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

        Args:
            requested_schema: A capsule with the schema that the reader prefers.

        Raises:
            ImportError: The extra `arrow` is not installed.
        """
        pyarrow = load_pyarrow()
        reader = pyarrow.RecordBatchReader.from_batches(schema(), record_batches(self._records))
        capsule: object = reader.__arrow_c_stream__(requested_schema)
        return capsule


def load_pyarrow() -> ModuleType:
    """Import pyarrow and return it.

    Raises:
        ImportError: pyarrow is not installed; the text says what to install.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("Arrow and Parquet need pyarrow", "arrow", name=error.name) from None
    module: ModuleType = pa
    return module


def schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the `pyarrow.Schema` of `CallDetailRecord`: its names, in its order.

    Text is `string`; durations are `int64` seconds, so that sums fit; times are `timestamp[us, tz=UTC]`, which keeps
    the instant but not the offset; money is `decimal128(38, 12)`; `extra` is a JSON object as `string`. All columns but
    `voice_id` may be null.

    Raises:
        ImportError: The extra `arrow` is not installed.
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
    """Return `records` as one `pyarrow.RecordBatch`; an amount that the column cannot hold is in `extra` instead.

    Raises:
        ImportError: The extra `arrow` is not installed.
    """
    pa = load_pyarrow()
    shape = schema()
    records = fit_columns(records)
    arrays = [pa.array(list(map(column, records)), field.type) for column, field in zip(_columns, shape, strict=True)]
    return pa.record_batch(arrays, schema=shape)


def record_batches(records: Sequence[CallDetailRecord]) -> Iterator[Any]:
    """Yield `records` as batches of at most 65,536 rows, each made when it is asked for.

    Raises:
        ImportError: The extra `arrow` is not installed.
    """
    for start in range(0, len(records), BATCH_ROWS):
        yield record_batch(records[start : start + BATCH_ROWS])


def fit_columns(records: Sequence[CallDetailRecord]) -> Sequence[CallDetailRecord]:
    """Return `records` with values that a column cannot hold moved to `extra`: nothing is rounded.

    An amount is moved if it has more than 26 digits before the point or 12 after it; a time if it is outside the
    calendar in UTC, as the first hours of the year 1 are east of Greenwich.
    """
    # Attributes by name: a comprehension reads them several times faster than attrgetter does.
    columns = (
        [record.cost for record in records],
        [record.rate for record in records],
        [record.settle_rate for record in records],
        [record.quote_exchange for record in records],
        [record.settle_pay for record in records],
    )
    years = {
        time.year
        for times in (
            [record.submit_time for record in records],
            [record.call_time for record in records],
            [record.ringing_time for record in records],
            [record.answer_time for record in records],
            [record.hangup_time for record in records],
        )
        for time in times
        if time is not None
    }
    with localcontext(_PLAIN):
        if all(map(_is_plain, columns)) and years.isdisjoint(_FIRST_AND_LAST):
            return records
    return [_fit_record(record) for record in records]


def _is_plain(column: list[Any]) -> bool:
    # If false, each amount is checked.
    try:
        try:
            total = sum(column, _NOTHING)
        except TypeError:
            total = sum([amount for amount in column if amount is not None], _NOTHING)
    except DecimalException:
        return False
    return total.is_finite()


def _fit_record(record: CallDetailRecord) -> CallDetailRecord:
    changed: dict[str, Any] = {}
    extra = dict(record.extra)
    for name in MONEY_FIELDS:
        amount: Decimal | None = getattr(record, name)
        if amount is not None and (fitted := _fit(amount)) is not amount:
            changed[name] = fitted
            if fitted is None:
                extra[WIRE_NAMES[name]] = f'"{amount}"'
    for name in TIME_FIELDS:
        time: datetime | None = getattr(record, name)
        if time is not None and not _has_instant(time):
            changed[name] = None
            extra[WIRE_NAMES[name]] = f'"{time.isoformat()}"'
    if not changed:
        return record
    return msgspec.structs.replace(record, extra=ExtraFields(sorted(extra.items())) if extra else NO_EXTRA, **changed)


def _has_instant(time: datetime) -> bool:
    try:
        time.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _fit(amount: Decimal) -> Decimal | None:
    # Trailing zeros may be dropped, digits may not.
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or (amount and amount.adjusted() >= _MONEY_DIGITS - _MONEY_SCALE):
        return None
    if exponent >= -_MONEY_SCALE:
        return amount
    try:
        return amount.quantize(_FINEST, context=_EXACT)
    except DecimalException:
        return None
