"""A window made ready to be written: its rows, its sums, what it repeats.

Runs in the event loop: making rows holds the interpreter's lock, so a thread
would win no time, and on another core lose twice as much for want of what the
loop's core has in its cache.  Must never keep the loop for longer than 2,000
records take, some milliseconds.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import anyio.lowlevel
import msgspec

from aiosipcdr.export.entries import Effort, WrittenWindow
from aiosipcdr.export.rows import encode_lists, encode_rows
from aiosipcdr.export.rows_file import Mark
from aiosipcdr.money import MoneyRow, MoneyTotals
from aiosipcdr.protocol.history import Delivered
from aiosipcdr.protocol.records import CallDetailRecord
from aiosipcdr.report import CompleteWindow, QuarantinedRecord

__all__ = ["PreparedWindow", "prepare_window"]

_SLICE = 2_000


class PreparedWindow(NamedTuple):
    """A window with its rows; all that is missing is where they end in the file."""

    window: CompleteWindow
    rows: bytes
    repeated: bytes
    quarantined: list[QuarantinedRecord]
    money: list[MoneyRow]

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
            effort=effort,
        )


async def prepare_window(
    window: CompleteWindow, mask: Callable[[str], str] | None, *, as_lists: bool = False
) -> PreparedWindow:
    """Return `window` with its rows, in which `mask` has made numbers unrecognisable.

    With `as_lists` they are lists, where all of them can be.
    """
    totals = MoneyTotals()
    encode = encode_lists if as_lists else encode_rows
    made: list[bytes | None] = []
    async for part in _parts_of(window.records):
        made.append(encode(part, window.extras, mask))
        totals.add(part)
    rows = [part for part in made if part is not None]
    if len(rows) < len(made):
        rows = [encode_rows(part, window.extras, mask) async for part in _parts_of(window.records)]
    return PreparedWindow(
        window=window,
        rows=b"".join(rows),
        repeated=encode_rows(window.repeated, mask=mask),
        # Nobody knows where in the bytes of a record that cannot be read a number stands.
        quarantined=window.quarantined
        if mask is None
        else [msgspec.structs.replace(one, raw=b"") for one in window.quarantined],
        money=totals.rows(),
    )


async def _parts_of(records: Sequence[CallDetailRecord]) -> AsyncIterator[Sequence[CallDetailRecord]]:
    for start in range(0, len(records), _SLICE):
        if start:
            await anyio.lowlevel.checkpoint()
        yield records[start : start + _SLICE]
