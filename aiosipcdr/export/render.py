"""Rows: what stands in a file for one call, as NDJSON; the journal keeps them, and formats are made of them.

A row is an object with the record's own field names; `extra` is a JSON object
as a text.  Money is text in plain
notation and exact, times are ISO 8601 with their offset, absent is `null`.  A
row may also be a list of the same values without their names, which is half as
long and many times cheaper to read as columns.  Pure: must never open a file.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

import anyio.lowlevel
import msgspec
from msgspec.structs import astuple

from aiosipcdr.export.journal_records import Effort, WrittenWindow
from aiosipcdr.export.masking import mask_records
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.model.arrow import fit_columns
from aiosipcdr.model.money import MoneyRow, MoneyTotals
from aiosipcdr.model.records import DURATION_FIELDS, CallDetailRecord, ExtraFields, list_faulty_fields
from aiosipcdr.model.report import CompleteWindow, QuarantinedRecord
from aiosipcdr.proof.checkpoint import Delivered
from aiosipcdr.wire.lenient import count_names

__all__ = [
    "EXTRA",
    "LIST_FIELDS",
    "ROW_FIELDS",
    "PreparedWindow",
    "are_lists",
    "encode_lists",
    "encode_rows",
    "prepare_window",
    "read_records",
    "read_texts",
    "shape_quarantined",
    "shape_records",
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


_SLICE = 2_000


class PreparedWindow(NamedTuple):
    """A window with its rows; all that is missing is where they end in the file.

    `unfit` counts the values that the file's format cannot hold, by field.
    """

    window: CompleteWindow
    rows: bytes
    repeated: bytes
    quarantined: list[QuarantinedRecord]
    money: list[MoneyRow]
    unfit: dict[str, int]

    def as_entry(self, mark: Mark, effort: Effort) -> WrittenWindow:
        """Return what the journal tells of it."""
        window = self.window
        return WrittenWindow(
            delivered=Delivered(reported=window.report, share=window.share),
            rows=len(window.records),
            size=len(self.rows),
            mark=mark,
            quarantined=self.quarantined,
            unread_ids=window.unread_ids,
            money=self.money,
            unfit=self.unfit,
            effort=effort,
        )


async def prepare_window(
    window: CompleteWindow,
    mask: Callable[[str], str] | None,
    *,
    as_lists: bool = False,
    name_currency: Callable[[str | None], str | None] | None = None,
) -> PreparedWindow:
    """Return `window` with its rows, in which `mask` has made numbers unrecognisable.

    `name_currency` returns the names under which sums are kept.

    With `as_lists` they are for Parquet: lists, where all of them can be, and amounts that its columns cannot hold are
    in `extra`.
    """
    totals = MoneyTotals(name_currency)
    encode = encode_lists if as_lists else encode_rows
    shape = partial(shape_records, mask=mask, for_columns=as_lists)
    made: list[bytes | None] = []
    unfit: Counter[str] = Counter()
    async for part in _parts_of(window.records):
        shaped = shape(part)
        made.append(encode(shaped))
        totals.add(shaped)
        if as_lists and shaped is not part:
            masked = part if mask is None else mask_records(part, mask)
            unfit += count_names(map(list_faulty_fields, shaped)) - count_names(map(list_faulty_fields, masked))
    rows = [part for part in made if part is not None]
    if len(rows) < len(made):
        rows = [encode_rows(shape(part)) async for part in _parts_of(window.records)]
    return PreparedWindow(
        window=window,
        rows=b"".join(rows),
        repeated=encode_rows(shape(window.repeated)),
        quarantined=shape_quarantined(window.quarantined, mask),
        money=totals.rows(),
        unfit=dict(unfit),
    )


def shape_records(
    records: Sequence[CallDetailRecord], mask: Callable[[str], str] | None, *, for_columns: bool
) -> Sequence[CallDetailRecord]:
    """Return `records` as they go into a file: masked, and with `for_columns` as Arrow's columns can hold them."""
    if mask is not None:
        records = mask_records(records, mask)
    return fit_columns(records) if for_columns else records


async def _parts_of(records: Sequence[CallDetailRecord]) -> AsyncIterator[Sequence[CallDetailRecord]]:
    for start in range(0, len(records), _SLICE):
        if start:
            await anyio.lowlevel.checkpoint()
        yield records[start : start + _SLICE]


def shape_quarantined(
    records: Iterable[QuarantinedRecord], mask: Callable[[str], str] | None
) -> list[QuarantinedRecord]:
    """Return `records` as they go into a file: with `mask` without their bytes, in which a number may be anywhere."""
    return [one if mask is None else msgspec.structs.replace(one, raw=b"") for one in records]
