"""Rows: records rendered as NDJSON, which the journal stores and the formats are built from.

A row is an object with the record's own field names; `extra` is a JSON object as a text. Amounts are exact texts in
plain notation, times are ISO 8601 with their offset, missing values are `null`. A row may also be a list of the same
values without their names, which is half as long and many times faster to parse as columns. Opens no file.
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
from aiosipcdr.model.quarantine import QuarantinedRecord
from aiosipcdr.model.records import DURATION_FIELDS, CallDetailRecord, ExtraFields, list_faulty_fields
from aiosipcdr.model.report import CompleteWindow
from aiosipcdr.proof.checkpoint import Delivered
from aiosipcdr.wire.lenient import count_names

__all__ = [
    "EXTRA",
    "LIST_FIELDS",
    "ROW_FIELDS",
    "RenderedWindow",
    "are_lists",
    "decode_rows",
    "encode_lists",
    "encode_rows",
    "read_texts",
    "render_window",
    "shape_quarantined",
    "shape_records",
]

EXTRA = "extra"
ROW_FIELDS = CallDetailRecord.__struct_fields__
"""The names of a row's fields, in order; `extra` is last."""

LIST_FIELDS = ("[", *ROW_FIELDS, "]")
"""The columns of a row that is a list, read as CSV: a 0 at each bracket separates it from the values."""

# CallDetailRecord is encoded under the names of the wire; a struct with its own field names is much faster than a dict
# for each record.
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
    """Return one line for each of `records`, including the end of the last one.

    Args:
        records: The calls.
        mask: Hides phone numbers; `extra` is then empty, since a number may be anywhere in it.
    """
    return _encode(_Row, records, mask)


def encode_lists(records: Sequence[CallDetailRecord], mask: Callable[[str], str] | None = None) -> bytes | None:
    r"""Return `records` as lists, or `None` if a text holds a character that JSON writes as `\...`.

    Without escapes a quote always ends a text, so that a CSV parser can read the lines.
    """
    lines = _encode(_List, records, mask)
    return None if b"\\" in lines else lines


def are_lists(rows: bytes) -> bool:
    """Return whether `rows`, all of one kind, are lists."""
    return rows.startswith(b"[")


def _encode(
    kind: Any,  # noqa: ANN401 - made by defstruct
    records: Sequence[CallDetailRecord],
    mask: Callable[[str], str] | None,
) -> bytes:
    rows = list(starmap(kind, map(astuple, records if mask is None else mask_records(records, mask))))
    fill = msgspec.structs.force_setattr  # safe: the rows are not shared
    for row in rows:
        extra = row.extra
        fill(row, EXTRA, extra.to_json() if extra else None)
    lines = _encode_lines(rows)
    if _may_hold_an_exponent(lines):
        lines = _encode_lines([kind(*_plain(astuple(row))) for row in rows])
    return lines


def _may_hold_an_exponent(lines: bytes) -> bool:
    # "E" is in a word, or in Decimal's scientific notation of "0.0000001". Finding one letter is twenty times faster
    # than two.
    index = lines.find(b"E")
    while index >= 0:
        if lines[index + 1] in b"+-":
            return True
        index = lines.find(b"E", index + 1)
    return False


def read_texts(rows: bytes) -> list[Any]:
    """Return the rows as objects whose values are the stored texts; durations are ints."""
    return _decode_texts(rows)


def decode_rows(rows: bytes) -> list[CallDetailRecord]:
    """Return the records of the rows."""
    read = _decode_lists(rows) if are_lists(rows) else _decode_typed(rows)
    values = (dict(zip(ROW_FIELDS, astuple(row), strict=True)) for row in read)
    return [CallDetailRecord(**row | {EXTRA: ExtraFields.from_json(row[EXTRA])}) for row in values]


def _plain(values: Iterable[object]) -> list[object]:
    return [format(value, "f") if isinstance(value, Decimal) else value for value in values]


_SLICE = 2_000


class RenderedWindow(NamedTuple):
    """A window with its rendered rows, before they are written.

    `unfit` counts the values per field that the file's format cannot hold.
    """

    window: CompleteWindow
    rows: bytes
    repeated: bytes
    quarantined: list[QuarantinedRecord]
    money: list[MoneyRow]
    unfit: dict[str, int]

    def as_entry(self, mark: Mark, effort: Effort) -> WrittenWindow:
        """Return the journal entry of the window."""
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


async def render_window(
    window: CompleteWindow,
    mask: Callable[[str], str] | None,
    *,
    as_lists: bool = False,
    name_currency: Callable[[str | None], str | None] | None = None,
) -> RenderedWindow:
    """Return `window` with its rows, in which `mask` has hidden phone numbers.

    Args:
        window: The window.
        mask: Hides phone numbers; `None` leaves them.
        as_lists: Render for Parquet: as lists if possible, with amounts that its columns cannot hold in `extra`.
        name_currency: Returns the name under which a currency is summed.
    """
    totals = MoneyTotals(name_currency)
    encode = encode_lists if as_lists else encode_rows
    shape = partial(shape_records, mask=mask, for_columns=as_lists)
    encoded: list[bytes | None] = []
    unfit: Counter[str] = Counter()
    async for batch in _batches_of(window.records):
        shaped = shape(batch)
        encoded.append(encode(shaped))
        totals.add(shaped)
        if as_lists and shaped is not batch:
            masked = batch if mask is None else mask_records(batch, mask)
            unfit += count_names(map(list_faulty_fields, shaped)) - count_names(map(list_faulty_fields, masked))
    rows = [batch for batch in encoded if batch is not None]
    if len(rows) < len(encoded):
        rows = [encode_rows(shape(batch)) async for batch in _batches_of(window.records)]
    return RenderedWindow(
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
    """Return `records` as stored in a file: masked, and with `for_columns` limited to what Arrow columns can hold."""
    if mask is not None:
        records = mask_records(records, mask)
    return fit_columns(records) if for_columns else records


async def _batches_of(records: Sequence[CallDetailRecord]) -> AsyncIterator[Sequence[CallDetailRecord]]:
    for start in range(0, len(records), _SLICE):
        if start:
            await anyio.lowlevel.checkpoint()
        yield records[start : start + _SLICE]


def shape_quarantined(
    records: Iterable[QuarantinedRecord], mask: Callable[[str], str] | None
) -> list[QuarantinedRecord]:
    """Return `records` as stored in a file: with `mask` without their bytes, which may hold phone numbers."""
    return [one if mask is None else msgspec.structs.replace(one, raw=b"") for one in records]
