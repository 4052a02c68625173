"""Checkpoint of a run: the events of its windows, in order, from which another run can resume it.

`JournalQueue` passes the events of a run to the journal of an export; `Checkpoint` returns them to the next run. A
checkpoint has records only of the last windows, whose overlap the next window may repeat.
"""

from collections import deque
from collections.abc import Collection
from datetime import datetime

import msgspec

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.report import WindowReport, WindowShare
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.splits import SplitWindow

__all__ = [
    "Checkpoint",
    "Delivered",
    "JournalEvent",
    "JournalQueue",
    "ReadWindow",
    "Recounted",
    "Trimmed",
    "WindowSplit",
    "first_stale_entry",
]


class WindowSplit(msgspec.Struct, frozen=True, kw_only=True, tag="cut"):
    """A window was split into `parts`, which are read instead of it."""

    reported: WindowReport
    parts: list[TimeWindow]
    is_repair: bool = False


class Recounted(msgspec.Struct, frozen=True, kw_only=True, tag="recounted"):
    """A split window was counted again, and its parts have at least `total` calls."""

    window: TimeWindow
    total: int


class Trimmed(msgspec.Struct, frozen=True, kw_only=True, tag="trimmed"):
    """The vendor has deleted everything before `kept_from`; what was not read before is left out."""

    kept_from: datetime


class Delivered(msgspec.Struct, frozen=True, kw_only=True, tag="delivered"):
    """A window was read and delivered, with its report and its share of the run's report."""

    reported: WindowReport
    share: WindowShare


JournalEvent = WindowSplit | Recounted | Trimmed
"""An event that must be written before the run acts on it."""


class JournalQueue:
    """Events of a run that wait to be written, oldest first.

    The parts of a window that was split are not requested before the split is written.
    """

    __slots__ = ("_events", "_unwritten")

    def __init__(self) -> None:
        self._events: deque[tuple[JournalEvent, SplitWindow | None]] = deque()
        self._unwritten: list[SplitWindow] = []

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self._events)

    def add(self, event: JournalEvent, split: SplitWindow | None = None) -> None:
        """Add an event; the parts of `split` are not requested until it is written."""
        if split is not None:
            split.is_written = False
        self._events.append((event, split))

    def take(self) -> JournalEvent | None:
        """Return the next event, `None` if there is none; all events taken before count as written."""
        for written in self._unwritten:
            written.is_written = True
        self._unwritten.clear()
        if not self._events:
            return None
        event, split = self._events.popleft()
        if split is not None:
            self._unwritten.append(split)
        return event


class ReadWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a delivered window, which the next windows may repeat.

    Attributes:
        window: The window.
        ids: Ids of all rows, quarantined ones included.
        records: The rows, in normalized form.
    """

    window: TimeWindow
    ids: set[str]
    records: Collection[CallDetailRecord]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of an earlier run of the same query.

    Attributes:
        tiles: The windows that it began with, oldest first.
        entries: The events of its windows, in order.
        latest: The last delivered windows: those that extend to the overlap of the last one.
    """

    tiles: list[TimeWindow]
    entries: list[JournalEvent | Delivered] = []
    latest: list[ReadWindow] = []

    def __repr__(self) -> str:
        """Show the number of tiles and entries, not the entries."""
        return f"Checkpoint({len(self.tiles)} tiles, {len(self.entries)} entries)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Show no more in a rich traceback than `repr` does."""
        return [("tiles", len(self.tiles)), ("entries", len(self.entries))]


def first_stale_entry(
    entries: list[JournalEvent | Delivered],
    *,
    allow_incomplete: bool,
    changed: Collection[TimeWindow],
    strict: bool = False,
) -> int | None:
    """Return the index of the first delivered window that must be read again, `None` if there is none.

    Args:
        entries: The events of an earlier run.
        allow_incomplete: Whether unproven windows are accepted.
        changed: Windows whose total has changed, and split windows whose parts have too few calls.
        strict: Whether a window with unreadable records or values is read again, to raise its error.
    """
    for index, entry in enumerate(entries):
        if not isinstance(entry, Delivered):
            continue
        window = entry.reported.window
        if not (entry.reported.certified or allow_incomplete):
            return index
        if strict and (entry.reported.quarantined or entry.share.faulty_fields):
            return index
        if any(other.start <= window.start and window.end <= other.end for other in changed):
            return index
    return None
