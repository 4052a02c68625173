"""Rows of a synced table: a record in the form in which it is stored and compared.

A row has the values of `CallDetailRecord`, in its order: text, `int`, exact `Decimal`, times in UTC, and `extra` as the
text of a JSON object. Every target returns rows in this form, whatever its own types are.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from aiosipcdr.model.arrow import fit_columns
from aiosipcdr.model.records import (
    DURATION_FIELDS,
    MONEY_FIELDS,
    TIME_FIELDS,
    WIRE_NAMES,
    CallDetailRecord,
    ExtraFields,
)

__all__ = ["FIELDS", "HeldRow", "Key", "TableRow", "Values", "leg_order", "to_values"]

FIELDS: tuple[str, ...] = CallDetailRecord.__struct_fields__
"""The names of the values of a row."""

Values = tuple[Any, ...]
"""The values of a row, in the order of `FIELDS`; the first is `voice_id`."""

_SUBMIT_TIME = FIELDS.index("submit_time")
_LATEST = datetime.max.replace(tzinfo=UTC)
_EXTRA = FIELDS.index("extra")
_TIMES = [FIELDS.index(name) for name in TIME_FIELDS]
_TEXTS = [name for name in FIELDS[1:] if name not in {*TIME_FIELDS, *DURATION_FIELDS, *MONEY_FIELDS, "extra"}]


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
    r"""Yield the values of each record.

    A value that a column cannot hold is in `extra`: what Arrow and Parquet cannot hold, as in those files, and text
    with a NUL, which PostgreSQL refuses. In an id, which has no other place, it is written as `\u0000`.
    """
    for record in fit_columns(records):
        values = [getattr(record, name) for name in FIELDS]
        for index in _TIMES:
            if values[index] is not None:
                # Times of one zone compare as wall clocks, times of several zones as instants: in UTC both agree.
                values[index] = values[index].astimezone(UTC)
        extra = {**record.extra}
        for name in _TEXTS:
            text = getattr(record, name)
            if text is not None and "\0" in text:
                values[FIELDS.index(name)] = None
                extra.setdefault(WIRE_NAMES[name], msgspec.json.encode(text).decode())
        values[0] = record.voice_id.replace("\0", "\\u0000")
        # In one order: the vendor may send the same fields in another one.
        values[_EXTRA] = ExtraFields(sorted(extra.items())).to_json() if extra else None
        yield tuple(values)


def leg_order(values: Values) -> tuple[datetime, list[str]]:
    """Return the sort key of new rows with one id, which are numbered in its order: `submit_time`, then contents."""
    return values[_SUBMIT_TIME] or _LATEST, [str(value) for value in values]
