"""Records as Arrow batches with one schema; ids, instants and amounts stay exact.

Importing this module does not import pyarrow. One batch is in memory at a time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timezone
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
    "check_columns",
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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Instants that datetime can represent in UTC.
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC) - _EPOCH
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC) - _EPOCH
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
        prices = polars.DataFrame(records.arrow.select(["voice_id", "cost", "currency"]))

    It is not a list, since these libraries would not look for an Arrow stream in one. The records are converted anew
    each time the stream is read.
    """

    __slots__ = ("_columns", "_records")

    def __init__(self, records: Sequence[CallDetailRecord], columns: Sequence[str] | None = None) -> None:
        """Offer `records`, as they are when the stream is read.

        Args:
            records: The records.
            columns: The columns, in this order; by default all.

        Raises:
            ValueError: `columns` is empty, has a name twice, or has one that is not a field of a record.
        """
        self._records = records
        self._columns = check_columns(columns)

    def select(self, columns: Sequence[str]) -> "ArrowRecords":
        """Return the same records with some columns only; the others are not built.

            records.arrow.select(["voice_id", "cost", "currency"])

        An amount or time that its column cannot hold is null there; the column `extra` has its text.

        Args:
            columns: Field names of `CallDetailRecord`, in the order of the columns.

        Raises:
            ValueError: `columns` is empty, has a name twice, or has one that is not a field of a record.
        """
        return ArrowRecords(self._records, columns)

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
        batches = record_batches(self._records, self._columns)
        reader = pyarrow.RecordBatchReader.from_batches(schema(self._columns), batches)
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


def check_columns(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of `columns` in their order; of all columns for `None`.

    Raises:
        ValueError: `columns` is empty, has a name twice, or has one that is not a field of a record.
    """
    if columns is None:
        return _FIELDS
    names = () if isinstance(columns, str) else tuple(columns)
    if not names:
        raise ValueError('columns must be a list of names, such as ["voice_id", "cost"]')
    if unknown := [name for name in names if name not in _FIELDS]:
        raise ValueError(f"columns has no such field: {', '.join(map(repr, unknown))}; there are {', '.join(_FIELDS)}")
    if repeated := [name for name, number in Counter(names).items() if number > 1]:
        raise ValueError(f"columns has these names twice: {', '.join(repeated)}")
    return names


def schema(columns: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the `pyarrow.Schema` of `CallDetailRecord`: its names, in its order, or those of `columns` in theirs.

    Text is `string`; durations are `int64` seconds, so that sums fit; times are `timestamp[us, tz=UTC]`, which keeps
    the instant but not the offset; money is `decimal128(38, 12)`; `extra` is a JSON object as `string`. All columns but
    `voice_id` may be null.

    Raises:
        ImportError: The extra `arrow` is not installed.
        ValueError: See `check_columns`.
    """
    pa = load_pyarrow()
    kinds = (
        dict.fromkeys(_FIELDS, pa.string())
        | dict.fromkeys(TIME_FIELDS, pa.timestamp("us", tz="UTC"))
        | dict.fromkeys(DURATION_FIELDS, pa.int64())
        | dict.fromkeys(MONEY_FIELDS, pa.decimal128(_MONEY_DIGITS, _MONEY_SCALE))
    )
    return pa.schema([pa.field(name, kinds[name], nullable=name != "voice_id") for name in check_columns(columns)])


def record_batch(records: Sequence[CallDetailRecord], columns: Sequence[str] | None = None) -> Any:  # noqa: ANN401
    """Return `records` as one `pyarrow.RecordBatch`; an amount that the column cannot hold is in `extra` instead.

    Args:
        records: The records.
        columns: The columns to build, in this order; by default all.

    Raises:
        ImportError: The extra `arrow` is not installed.
        ValueError: See `check_columns`.
    """
    pa = load_pyarrow()
    shape = schema(columns)
    try:
        arrays = [_build_column(pa, records, field) for field in shape]
    except (pa.ArrowInvalid, _UnrepresentableError):
        fitted = [_fit_record(record) for record in records]
        arrays = [_build_column(pa, fitted, field) for field in shape]
    return pa.record_batch(arrays, schema=shape)


def record_batches(records: Sequence[CallDetailRecord], columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield `records` as batches of at most 65,536 rows, each made when it is asked for.

    Args:
        records: The records.
        columns: The columns to build, in this order; by default all.

    Raises:
        ImportError: The extra `arrow` is not installed.
        ValueError: See `check_columns`.
    """
    for start in range(0, len(records), BATCH_ROWS):
        yield record_batch(records[start : start + BATCH_ROWS], columns)


class _UnrepresentableError(Exception):
    """A time is outside the calendar in UTC."""


def _build_column(pa: Any, records: Sequence[CallDetailRecord], field: Any) -> Any:  # noqa: ANN401
    # pyarrow never rounds an amount: it raises ArrowInvalid.
    if field.name == "extra":
        return pa.array([record.extra.to_json() if record.extra else None for record in records], field.type)
    values = list(map(attrgetter(field.name), records))
    return _build_times(pa, values, field.type) if field.name in TIME_FIELDS else pa.array(values, field.type)


def _build_times(pa: Any, times: Sequence[datetime | None], kind: Any) -> Any:  # noqa: ANN401
    # Integers from differences take a quarter of the time that pyarrow needs for aware datetimes. With the same fixed
    # offset on both sides, Python subtracts without calling `utcoffset`.
    zone = next((time.tzinfo for time in times if time is not None), None)
    epoch = _EPOCH.astimezone(zone) if isinstance(zone, timezone) else _EPOCH
    elapsed = [None if time is None else time - epoch for time in times]
    known = [instant for instant in elapsed if instant is not None]
    if known and (min(known) < _FIRST_INSTANT or max(known) > _LAST_INSTANT):
        raise _UnrepresentableError
    return pa.array(elapsed, pa.duration("us")).view(kind)


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
    if not amount and exponent > 0:
        return _NOTHING  # pyarrow refuses 0E+40
    if exponent >= -_MONEY_SCALE:
        return amount
    try:
        return amount.quantize(_FINEST, context=_EXACT)
    except DecimalException:
        return None
