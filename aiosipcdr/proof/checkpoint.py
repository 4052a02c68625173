"""What has become of a run's windows, in order: enough to take the run up again.

Facts only: what a run makes of them is for the coverage, where they are kept
for the export.  Must never hold a record.
"""

from collections.abc import Collection
from datetime import datetime

import msgspec

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import WindowReport, WindowShare
from aiosipcdr.model.windows import TimeWindow

__all__ = [
    "Checkpoint",
    "Delivered",
    "JournalEvent",
    "ReadWindow",
    "Recounted",
    "Trimmed",
    "WindowSplit",
    "first_stale_entry",
]


class WindowSplit(msgspec.Struct, frozen=True, kw_only=True, tag="cut"):
    """A window was cut into `parts`, which are read instead of it."""

    reported: WindowReport
    parts: list[TimeWindow]
    is_repair: bool = False


class Recounted(msgspec.Struct, frozen=True, kw_only=True, tag="recounted"):
    """A window that was cut was counted once more: its parts hold enough."""

    window: TimeWindow
    total: int


class Trimmed(msgspec.Struct, frozen=True, kw_only=True, tag="trimmed"):
    """Nothing before `kept_from` can be had any more; what was not read of it is left out."""

    kept_from: datetime


class Delivered(msgspec.Struct, frozen=True, kw_only=True, tag="delivered"):
    """A window was read to its end and handed over."""

    reported: WindowReport
    share: WindowShare


JournalEvent = WindowSplit | Recounted | Trimmed
"""What has to be written down before it is acted upon."""


class ReadWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What was read in a window that was handed over: the next ones may repeat it.

    `records` stand as they were kept, `ids` are those of all that was read,
    what could not be decoded included.
    """

    window: TimeWindow
    ids: set[str]
    records: Collection[CallDetailRecord]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier run of the same question, as far as it went.

    `tiles` are the windows that it began with, oldest first; `latest` the last
    windows handed over, all that reach as far as the last one's overlap.
    """

    tiles: list[TimeWindow]
    entries: list[JournalEvent | Delivered] = []
    latest: list[ReadWindow] = []

    def __repr__(self) -> str:
        """Count what there is instead of printing it."""
        return f"History({len(self.tiles)} tiles, {len(self.entries)} entries)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show as little in a rich traceback as in a plain one."""
        return [("tiles", len(self.tiles)), ("entries", len(self.entries))]


def first_stale_entry(
    entries: list[JournalEvent | Delivered],
    *,
    allow_incomplete: bool,
    changed: Collection[TimeWindow],
    strict: bool = False,
) -> int | None:
    """Return the place of the first window that must be read again, if there is one.

    Args:
        entries: what has become of the windows.
        allow_incomplete: whether windows that could not be proven are taken as they are.
        changed: windows that tell another total by now, and windows whose parts hold too little.
        strict: whether a window with records or values that cannot be read is read again, to raise its error.
    """
    for place, entry in enumerate(entries):
        if not isinstance(entry, Delivered):
            continue
        window = entry.reported.window
        if not (entry.reported.certified or allow_incomplete):
            return place
        if strict and (entry.reported.quarantined or entry.share.faulty_fields):
            return place
        if any(other.start <= window.start and window.end <= other.end for other in changed):
            return place
    return None
