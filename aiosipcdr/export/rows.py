"""Rows: what stands in a file for one call, as NDJSON; the journal keeps them, and formats are made of them.

A row is an object with the record's own field names; `extra` is a JSON object
as a text.  Money is text in plain
notation and exact, times are ISO 8601 with their offset, absent is `null`.  A
row may also be a list of the same values without their names, which is half as
long and many times cheaper to read as columns.  Pure: must never open a file.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import starmap
from typing import Any

import msgspec
from msgspec.structs import astuple

from aiosipcdr.export.masking import mask_records
from aiosipcdr.protocol.records import DURATION_FIELDS, CallDetailRecord, ExtraFields

__all__ = [
    "EXTRA",
    "LIST_FIELDS",
    "ROW_FIELDS",
    "are_lists",
    "encode_lists",
    "encode_rows",
    "read_records",
    "read_texts",
]

EXTRA = "extra"
ROW_FIELDS = CallDetailRecord.__struct_fields__
"""The names of a row's fields, in their order; `extra` is the last."""

LIST_FIELDS = ("[", *ROW_FIELDS, "]")
"""What stands between the commas of a row that is a list: the brackets have a 0 each, so that no value touches them."""

# CallDetailRecord is encoded under the names of the wire; a struct with the
# same fields under their own names is much faster than a dict for each record.
_Row = msgspec.defstruct(
    "_Row",
    [(name, Any) if name != EXTRA else (name, Any, None) for name in ROW_FIELDS],
    frozen=True,
    gc=False,
)
_List = msgspec.defstruct("_List", [("end", int, 0)], bases=(_Row,), frozen=True, gc=False, array_like=True, tag=0)
_TextRow = msgspec.defstruct(
    "_TextRow",
    [(name, int | None if name in DURATION_FIELDS else str | None) for name in ROW_FIELDS],
    frozen=True,
    gc=False,
)
_TypedRow = msgspec.defstruct(
    "_TypedRow",
    [
        (field.name, field.type if field.name != EXTRA else str | None)
        for field in msgspec.structs.fields(CallDetailRecord)
    ],
    frozen=True,
    gc=False,
)
_TypedList = msgspec.defstruct("_TypedList", [], bases=(_TypedRow,), frozen=True, gc=False, array_like=True, tag=0)
_encode_lines = msgspec.json.Encoder().encode_lines
_decode_texts = msgspec.json.Decoder(_TextRow).decode_lines
_decode_typed = msgspec.json.Decoder(_TypedRow).decode_lines
_decode_lists = msgspec.json.Decoder(_TypedList).decode_lines


def encode_rows(records: Sequence[CallDetailRecord], mask: Callable[[str], str] | None = None) -> bytes:
    """Return one line for each of `records`, the last one ended too.

    Args:
        records: the calls.
        mask: makes numbers unrecognisable; `extra` is then empty, since a number may be anywhere in it.
    """
    return _encode(_Row, records, mask)


def encode_lists(records: Sequence[CallDetailRecord], mask: Callable[[str], str] | None = None) -> bytes | None:
    r"""Return what `encode_rows` does with lists for objects, or `None` where a text holds what JSON writes as `\...`.

    So a quote always ends a text, and whoever knows CSV can read the lines.
    """
    lines = _encode(_List, records, mask)
    return None if b"\\" in lines else lines


def are_lists(rows: bytes) -> bool:
    """Tell whether `rows`, all of one kind, are lists."""
    return rows.startswith(b"[")


def _encode(
    kind: Any,  # noqa: ANN401 - made by defstruct
    records: Sequence[CallDetailRecord],
    mask: Callable[[str], str] | None,
) -> bytes:
    rows = list(starmap(kind, map(astuple, records if mask is None else mask_records(records, mask))))
    fill = msgspec.structs.force_setattr  # nobody else holds the rows
    for row in rows:
        extra = row.extra
        fill(row, EXTRA, extra.to_json() if extra else None)
    lines = _encode_lines(rows)
    if _may_hold_an_exponent(lines):
        lines = _encode_lines([kind(*_plain(astuple(row))) for row in rows])
    return lines


def _may_hold_an_exponent(lines: bytes) -> bool:
    # Either a word, or the scientific notation in which Decimal prints "0.0000001".  One letter is found twenty times
    # faster than two.
    place = lines.find(b"E")
    while place >= 0:
        if lines[place + 1] in b"+-":
            return True
        place = lines.find(b"E", place + 1)
    return False


def read_texts(rows: bytes) -> list[Any]:
    """Return the rows as objects with their texts as they stand; durations are ints."""
    return _decode_texts(rows)


def read_records(rows: bytes) -> list[CallDetailRecord]:
    """Return the records that the rows were made of."""
    read = _decode_lists(rows) if are_lists(rows) else _decode_typed(rows)
    values = (dict(zip(ROW_FIELDS, astuple(row), strict=True)) for row in read)
    return [CallDetailRecord(**row | {EXTRA: ExtraFields.from_json(row[EXTRA])}) for row in values]


def _plain(values: Iterable[object]) -> list[object]:
    return [format(value, "f") if isinstance(value, Decimal) else value for value in values]
