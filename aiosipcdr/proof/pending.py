"""Windows that are not handed over yet: those that wait, and those that are held, oldest first.

Synchronous and without I/O.  Keeps the order and the places; what becomes of
a window is for the coverage to decide.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter

from aiosipcdr.model.records import CallDetailRecord
from aiosipcdr.model.windows import TimeWindow
from aiosipcdr.proof.budget import FULL_WINDOW, RowQuota
from aiosipcdr.proof.checkpoint import WindowSplit
from aiosipcdr.proof.overlaps import Repeats
from aiosipcdr.proof.splits import SplitWindow
from aiosipcdr.proof.window import WindowReader

__all__ = ["PendingWindows", "WindowTask", "find_short"]

_LEAST_WEIGHT = FULL_WINDOW // 16


class WindowTask(WindowReader):
    """A window on its way, with the wholes that it is a part of (the outermost first)."""

    splits: tuple[SplitWindow, ...] = ()
    total_is_known = False
    repeats: Repeats | None = None
    """What it repeats of earlier windows, once these were handed over."""
    is_later = False
    """Whether it was read once more after all older windows were handed over."""
    weight = FULL_WINDOW
    """How much room it takes, in calls."""


def find_short(parts: Sequence[WindowTask], gathering: SplitWindow) -> set[SplitWindow]:
    """Return the windows that `parts` were cut out of, from `gathering` inwards, which have reported more rows."""
    read: dict[SplitWindow, set[object]] = {}
    copies: Counter[SplitWindow] = Counter()
    for part in parts:
        rows = {*part.scan.records.values(), *(part.scan.quarantined.keys() - part.scan.records.keys())}
        for split in part.splits[part.splits.index(gathering) :]:
            read.setdefault(split, set()).update(rows)
            copies[split] += part.scan.copies
    return {split for split, rows in read.items() if len(rows) + copies[split] < split.reported}


class PendingWindows:
    """The windows of one run that are still to come out."""

    def __init__(self, quota: RowQuota, build: Callable[[TimeWindow, tuple[SplitWindow, ...]], WindowTask]) -> None:
        """Begin empty; windows that are held find room in `quota` and are made by `build`."""
        self._quota = quota
        self._build = build
        self._waiting: list[tuple[TimeWindow, tuple[SplitWindow, ...]]] = []
        self._held: list[WindowTask] = []
        self._first: TimeWindow | None = None

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self._waiting) + len(self._held)

    def __iter__(self) -> Iterator[WindowTask]:
        """Those that are held, oldest first."""
        return iter(self._held)

    @property
    def oldest(self) -> WindowTask | None:
        """The oldest of all, if it is held."""
        if not self._held or (self._waiting and self._waiting[0][0] < self._held[0].window):
            return None
        return self._held[0]

    def add(self, window: TimeWindow, splits: tuple[SplitWindow, ...] = ()) -> None:
        """Let `window` wait for its turn."""
        heapq.heappush(self._waiting, (window, splits))

    def add_parts(
        self,
        cut: WindowSplit,
        splits: tuple[SplitWindow, ...],
        unclaimed: Iterable[CallDetailRecord] = (),
        first: TimeWindow | None = None,
    ) -> SplitWindow:
        """Let the parts of a window that was cut wait.

        Args:
            cut: how it was cut.
            splits: those that it is a part of itself.
            unclaimed: the rows that were read of it.
            first: the part to begin with, whatever waits.
        """
        self._first = first or self._first
        split = SplitWindow(
            cut.reported.window, cut.reported.counted, len(cut.parts), is_repair=cut.is_repair, unclaimed=unclaimed
        )
        for outer in splits:
            outer.open_parts += len(cut.parts) - 1
        for part in cut.parts:
            self.add(part, (*splits, split))
        return split

    def hold_next(self) -> WindowTask | None:
        """Begin the oldest window that waits, if there is one and a place for it."""
        if not self._waiting or not all(split.is_noted for split in self._waiting[0][1]):
            return None
        # What is oldest must always be able to start: everything held waits for it.
        if self.oldest is None or self._quota.has_room(self._weight()) or self._is_awaited(self._waiting[0][1]):
            return self._hold(*heapq.heappop(self._waiting))
        return None

    def _is_awaited(self, splits: tuple[SplitWindow, ...]) -> bool:
        return any(split.gathers for split in splits) and not any(part.is_open for part in self._held)

    def hold_first(self) -> WindowTask | None:
        """Begin the window that does not wait for its turn, if there is one: it is nearly empty, and is filling up."""
        if self._first is None:
            return None
        entry = next((entry for entry in self._waiting if entry[0] == self._first), None)
        if entry is None or not all(split.is_noted for split in entry[1]):
            return None
        self._first = None
        self._waiting.remove(entry)
        heapq.heapify(self._waiting)
        return self._hold(*entry)

    def release(self, part: WindowTask) -> None:
        """Let go of `part`."""
        self._quota.free(part.weight)
        self._held.remove(part)

    def shrink_reservation(self, part: WindowTask) -> None:
        """Count `part`, which was read, as what it holds."""
        weight = min(FULL_WINDOW, max(_LEAST_WEIGHT, part.scan.unique))
        self._quota.free(part.weight - weight)
        part.weight = weight

    def gather(self, split: SplitWindow) -> list[WindowTask] | None:
        """Return the parts of `split`, all that are not handed over yet; `None` while one of them is not read."""
        parts = [part for part in self._held if split in part.splits]
        is_open = any(part.is_open for part in parts) or any(split in splits for _, splits in self._waiting)
        return None if is_open else parts

    def put_back(self, part: WindowTask) -> None:
        """Let the window of `part` wait again, to be read from the beginning."""
        self.release(part)
        part.give_up()
        self.add(part.window, part.splits)

    def trim(self, edge: datetime) -> None:
        """Forget what lies before `edge`, of windows that were not read to their end."""
        for part in [part for part in self._held if part.is_open and part.window.start < edge]:
            self.put_back(part)
        waiting, self._waiting = self._waiting, []
        for window, splits in waiting:
            if window.start < edge:
                for split in splits:
                    split.trim(window, edge)
            if window.end > edge:
                self.add(TimeWindow(max(window.start, edge), window.end), splits)

    def take_all(self) -> dict[TimeWindow, tuple[SplitWindow, ...]]:
        """Forget the windows that wait; return them with the wholes that each is a part of."""
        waiting, self._waiting = self._waiting, []
        return dict(waiting)

    def clear(self) -> None:
        """Let go of everything."""
        self._quota.free(self._weight())
        self._held.clear()
        self._waiting.clear()

    def find_splits(self) -> list[tuple[SplitWindow, tuple[SplitWindow, ...]]]:
        """Return every whole that is not complete with those that it is a part of, the innermost first."""
        chains = [splits for _, splits in self._waiting] + [part.splits for part in self._held]
        found = {id(chain[depth]): (chain[depth], chain[:depth]) for chain in chains for depth in range(len(chain))}
        return sorted(found.values(), key=lambda one: -len(one[1]))

    def _weight(self) -> int:
        return sum(part.weight for part in self._held)

    def _hold(self, window: TimeWindow, splits: tuple[SplitWindow, ...]) -> WindowTask:
        part = self._build(window, splits)
        part.splits = splits
        self._quota.take(part.weight)
        self._held.append(part)
        self._held.sort(key=attrgetter("window"))
        return part
