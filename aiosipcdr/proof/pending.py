"""Pending windows of a run: those that wait to be read, and those in memory, oldest first.

Keeps their order and their reservations of the quota; `aiosipcdr.proof.range` decides what happens to a window.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.budget import FULL_WINDOW, RowQuota
from aiosipcdr.proof.checkpoint import WindowSplit
from aiosipcdr.proof.overlaps import Repeats
from aiosipcdr.proof.page import RequestOwner
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["PendingWindows", "WindowTask", "find_short"]

_MIN_WEIGHT = FULL_WINDOW // 16
_MAX_WEIGHT = FULL_WINDOW * 4  # with eight requests at a time, two windows


class WindowTask(WindowReader):
    """A window that is read for a run.

    Attributes:
        splits: The windows that it was split from, the outermost first.
        total_is_known: Whether its total was added to those of `splits`, or to the plan of the run.
        repeats: Rows that earlier windows have delivered; `None` until all of these are delivered.
        is_later: Whether pages were read once more after all older windows were delivered.
        owner_is_known: Whether the second before the span was read again after this window.
        weight: Number of rows reserved for it in the quota.
    """

    splits: tuple[SplitWindow, ...] = ()
    total_is_known = False
    repeats: Repeats | None = None
    is_later = False
    owner_is_known = False
    weight = FULL_WINDOW


Build = Callable[[TimeWindow, tuple[SplitWindow, ...]], WindowTask]
"""Creates the task of a window."""


def find_short(parts: Sequence[WindowTask], outermost: SplitWindow) -> set[SplitWindow]:
    """Return the split windows whose parts have fewer rows than the window reported.

    Args:
        parts: Parts that were read.
        outermost: The window that all parts were split from; those that it was split from itself are left out.
    """
    read: dict[SplitWindow, set[object]] = {}
    copies: Counter[SplitWindow] = Counter()
    for part in parts:
        rows = {*part.scan.records.values(), *(part.scan.quarantined.keys() - part.scan.records.keys())}
        for split in part.splits[part.splits.index(outermost) :]:
            read.setdefault(split, set()).update(rows)
            copies[split] += part.scan.copies
    return {split for split, rows in read.items() if len(rows) + copies[split] < split.reported_rows}


def _expect_rows(window: TimeWindow, splits: Sequence[SplitWindow]) -> int:
    # As many as the window that it was split from has on average.
    if not splits:
        return FULL_WINDOW
    whole = splits[-1]
    rows = whole.reported_rows * (window.seconds + 1) // (whole.window.seconds + 1)
    return max(FULL_WINDOW, min(rows, _MAX_WEIGHT))


class PendingWindows:
    """The windows of a run that are not delivered yet.

    Attributes:
        held: Windows in memory, read or being read, oldest first.
        first: A window to begin before all others: the future part of a window, which is nearly empty.
    """

    def __init__(self, quota: RowQuota) -> None:
        """Start empty, within `quota`."""
        self._quota = quota
        self._waiting: list[tuple[TimeWindow, tuple[SplitWindow, ...]]] = []
        self.held: list[WindowTask] = []
        self.first: TimeWindow | None = None

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._waiting) + len(self.held)

    @property
    def oldest(self) -> WindowTask | None:
        """The oldest window, if it is in memory."""
        if not self.held or (self._waiting and self._waiting[0][0] < self.held[0].window):
            return None
        return self.held[0]

    def add(self, window: TimeWindow, splits: tuple[SplitWindow, ...] = ()) -> None:
        """Add a window that waits to be read."""
        heapq.heappush(self._waiting, (window, splits))

    def add_parts(
        self,
        event: WindowSplit,
        splits: tuple[SplitWindow, ...],
        unclaimed: Iterable[CallDetailRecord] = (),
        first: TimeWindow | None = None,
    ) -> SplitWindow:
        """Add the parts of a window that was split.

        Args:
            event: The split.
            splits: The windows that the split window was split from itself.
            unclaimed: Its rows that were read.
            first: The part to begin before all other windows.

        Returns:
            The split window.
        """
        self.first = first or self.first
        split = SplitWindow(
            event.reported.window,
            event.reported.counted,
            len(event.parts),
            is_repair=event.is_repair,
            unclaimed=unclaimed,
        )
        for outer in splits:
            outer.open_parts += len(event.parts) - 1
        for part in event.parts:
            self.add(part, (*splits, split))
        return split

    def hold_next(self, build: Build) -> WindowTask | None:
        """Begin the oldest window that waits and return it; `None` if there is none or the quota does not allow it."""
        if not self._waiting or not all(split.is_written for split in self._waiting[0][1]):
            return None
        window, splits = self._waiting[0]
        has_space = self._quota.has_space(self._weight(), _expect_rows(window, splits))
        # The oldest window may always begin, since all windows in memory wait for it.
        if self.oldest is None or has_space or self._is_awaited(splits):
            return self._hold(build, *heapq.heappop(self._waiting))
        return None

    def _is_awaited(self, splits: tuple[SplitWindow, ...]) -> bool:
        return any(split.delivers_together for split in splits) and not any(part.is_open for part in self.held)

    def hold_first(self, build: Build) -> WindowTask | None:
        """Begin the window `first` and return it; `None` if there is none or it does not wait."""
        if self.first is None:
            return None
        entry = next((entry for entry in self._waiting if entry[0] == self.first), None)
        if entry is None or not all(split.is_written for split in entry[1]):
            return None
        self.first = None
        self._waiting.remove(entry)
        heapq.heapify(self._waiting)
        return self._hold(build, *entry)

    def release(self, part: WindowTask) -> None:
        """Remove `part`, which plans no more requests."""
        self._quota.release(part.weight)
        self.held.remove(part)
        # Planned requests and the run refer to the window, which must not refer to them: no cycle keeps its rows.
        part.planned.clear()
        part.on_answer = None

    def shrink_reservation(self, part: WindowTask) -> None:
        """Reduce the reservation of `part`, which was read, to its rows."""
        weight = min(part.weight, max(_MIN_WEIGHT, part.scan.unique))
        self._quota.release(part.weight - weight)
        part.weight = weight

    def find_read_parts(self, split: SplitWindow) -> list[WindowTask] | None:
        """Return the parts of `split` that were read and not delivered; `None` while one is not read completely."""
        parts = [part for part in self.held if split in part.splits]
        is_open = any(part.is_open for part in parts) or any(split in splits for _, splits in self._waiting)
        return None if is_open else parts

    def put_back(self, part: WindowTask) -> None:
        """Let the window of `part` wait again, to be read from the start."""
        self.release(part)
        part.give_up()
        self.add(part.window, part.splits)

    def put_back_open(self, owner: RequestOwner) -> None:
        """Put back the window that `owner` reads, if it is pending and not read completely."""
        for part in self.held:
            if part is owner and part.is_open:
                self.put_back(part)
                return

    def trim(self, boundary: datetime) -> None:
        """Drop the time before `boundary` from all windows that were not read completely."""
        for part in [part for part in self.held if part.is_open and part.window.start < boundary]:
            self.put_back(part)
        waiting, self._waiting = self._waiting, []
        for window, splits in waiting:
            if window.start < boundary:
                for split in splits:
                    split.trim(window, boundary)
            if window.end > boundary:
                self.add(TimeWindow(max(window.start, boundary), window.end), splits)

    def take_all(self) -> dict[TimeWindow, tuple[SplitWindow, ...]]:
        """Remove and return the windows that wait, each with the windows that it was split from."""
        waiting, self._waiting = self._waiting, []
        return dict(waiting)

    def clear(self) -> None:
        """Remove all windows."""
        for part in self.held.copy():
            self.release(part)
        self._waiting.clear()

    def find_splits(self) -> list[tuple[SplitWindow, tuple[SplitWindow, ...]]]:
        """Return the split windows with pending parts, each with those that it was split from, innermost first."""
        chains = [splits for _, splits in self._waiting] + [part.splits for part in self.held]
        found = {id(chain[depth]): (chain[depth], chain[:depth]) for chain in chains for depth in range(len(chain))}
        return sorted(found.values(), key=lambda one: -len(one[1]))

    def _weight(self) -> int:
        return sum(part.weight for part in self.held)

    def _hold(self, build: Build, window: TimeWindow, splits: tuple[SplitWindow, ...]) -> WindowTask:
        part = build(window, splits)
        part.splits = splits
        part.weight = _expect_rows(window, splits)
        self._quota.reserve(part.weight)
        self.held.append(part)
        self.held.sort(key=attrgetter("window"))
        return part
