"""A window made ready to be written: its rows, its sums, what it repeats.

Runs in the event loop: making rows holds the interpreter's lock, so a thread
would win no time, and on another core lose twice as much for want of what the
loop's core has in its cache.  Must never keep the loop for longer than 2,000
records take, some milliseconds.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import NamedTuple

import anyio.lowlevel

from aiosipcdr.arrow import fit_columns
from aiosipcdr.export.entries import Effort, WrittenWindow
from aiosipcdr.export.masking import mask_records
from aiosipcdr.export.quarantine import shape_quarantined
from aiosipcdr.export.rows import encode_lists, encode_rows
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.money import MoneyRow, MoneyTotals
from aiosipcdr.protocol.history import Delivered
from aiosipcdr.protocol.lenient import count_names
from aiosipcdr.protocol.records import CallDetailRecord, list_faulty_fields
from aiosipcdr.report import CompleteWindow, QuarantinedRecord

__all__ = ["PreparedWindow", "prepare_window", "shape_records"]

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
            delivered=Delivered(told=window.report, share=window.share),
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
