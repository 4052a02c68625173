"""Rows of a synced table: a record in the form in which it is stored and compared.

A row has the values of `CallDetailRecord`, in its order: text, `int`, exact `Decimal`, times in UTC, and `extra` as the
text of a JSON object. Every target returns rows in this form, whatever its own types are.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiosipcdr.model.arrow import fit_columns
from aiosipcdr.model.records import TIME_FIELDS, CallDetailRecord, ExtraFields

__all__ = ["FIELDS", "HeldRow", "Key", "TableRow", "Values", "leg_order", "to_values"]

FIELDS: tuple[str, ...] = CallDetailRecord.__struct_fields__
"""The names of the values of a row."""

Values = tuple[Any, ...]
"""The values of a row, in the order of `FIELDS`; the first is `voice_id`."""

_SUBMIT_TIME = FIELDS.index("submit_time")
_LATEST = datetime.max.replace(tzinfo=UTC)
_EXTRA = FIELDS.index("extra")
_TIMES = [FIELDS.index(name) for name in TIME_FIELDS]


class Key(NamedTuple):
    """The primary key of a row.

    Attributes:
        voice_id: The id of the call.
        leg: The number of the row among those with this id, from 0.
    """

    voice_id: str
    leg: int


class TableRow(NamedTuple):
    """A row to write.

    Attributes:
        values: Its values.
        leg: Its number among the rows with its id.
        span_start: Start of the span that lists it.
    """

    values: Values
    leg: int
    span_start: datetime


class HeldRow(NamedTuple):
    """A row that the table holds.

    Attributes:
        values: Its values.
        leg: Its number among the rows with its id.
        span_start: Start of the span that listed it last.
        has_vanished: Whether it is marked as vanished.
    """

    values: Values
    leg: int
    span_start: datetime
    has_vanished: bool

    @property
    def key(self) -> Key:
        """Its primary key."""
        return Key(self.values[0], self.leg)


def to_values(records: Sequence[CallDetailRecord]) -> Iterable[Values]:
    """Yield the values of each record. A value that Arrow and Parquet cannot hold is in `extra`, as in those files."""
    for record in fit_columns(records):
        values = [getattr(record, name) for name in FIELDS]
        for index in _TIMES:
            if values[index] is not None:
                # Times of one zone compare as wall clocks, times of several zones as instants: in UTC both agree.
                values[index] = values[index].astimezone(UTC)
        # In one order: the vendor may send the same fields in another one.
        values[_EXTRA] = ExtraFields(sorted(record.extra.items())).to_json() if record.extra else None
        yield tuple(values)


def leg_order(values: Values) -> tuple[datetime, list[str]]:
    """Return the sort key of new rows with one id, which are numbered in its order: `submit_time`, then contents."""
    return values[_SUBMIT_TIME] or _LATEST, [str(value) for value in values]
