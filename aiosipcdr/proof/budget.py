"""The limits of a run: room for windows, requests for reading again, the page sizes that the vendor gives.

Counts only; decides nothing about any window.
"""

__all__ = ["FULL_WINDOW", "Budget", "PageSizes", "RowQuota"]

FULL_WINDOW = 2_000
"""The calls that a window may hold, bursts of two seconds aside."""


class Budget:
    """What a run may spend.

    On trouble (reading again, cutting what could not be proven): 1.7 × the
    planned pages and 200.  On pages that are read for the first time, a
    window's first page aside: 1.5 × the planned pages and 20.  A healthy range
    needs hardly more than 1.0 ×, but for bursts in seconds that windows share:
    those are read up to three times.  What goes beyond 1.5 × is paid like
    trouble, for which nothing is left when both together have come to 3 × and
    220.
    """

    __slots__ = ("_read", "_repaired", "_rows", "_size", "_windows")

    def __init__(self, size: int = 100) -> None:
        """Begin with the fixed parts alone; a page holds `size` records."""
        self._size = size
        self._rows = 0
        self._windows = 0
        self._repaired = 0
        self._read = 0

    @property
    def planned(self) -> int:
        """The pages that the range is known to hold."""
        return self._rows // self._size + self._windows

    @property
    def left(self) -> int:
        """How many requests may still be spent on trouble."""
        trouble = 200 + self.planned * 17 // 10 - self._repaired
        return min(trouble, 220 + self.planned * 3 - self._repaired - self._read)

    def plan(self, rows: int) -> None:
        """Note that a window of the range, not part of another, holds so many rows."""
        self._rows += rows
        self._windows += 1

    def plan_more(self, rows: int) -> None:
        """Note that such a window holds so many rows more than it reported at first."""
        self._rows += rows

    def plan_smaller(self, size: int) -> None:
        """Note that a page holds no more than `size` records."""
        self._size = min(self._size, size)

    def take(self, requests: int) -> bool:
        """Reserve `requests` for trouble; refuse when they are not left."""
        if requests > self.left:
            return False
        self._repaired += requests
        return True

    def read(self, pages: int) -> bool:
        """Reserve `pages` that are read for the first time; refuse when they are not left."""
        free = min(pages, 20 + self.planned * 3 // 2 - self._read)
        self._read += free
        if free == pages or self.take(pages - free):
            return True
        self._read -= free
        return False


class PageSizes:
    """What a run knows of the vendor's page sizes.

    Attributes:
        counting: the size with which totals are asked for: a single record, unless that is refused.
        given: the size that the vendor gives although it echoes a larger one.
        claimed: that larger one.
    """

    __slots__ = ("claimed", "counting", "given")

    def __init__(self) -> None:
        """Expect the sizes that are asked for."""
        self.counting: int = 1
        self.given: int | None = None
        self.claimed: int | None = None


class RowQuota:
    """How many windows all runs of a client may hold between them, each at least one.

    Records in memory are bounded by it: a window is about 2,000 calls, or what
    one burst of two seconds holds.  One that is read, and waits for an older
    one, takes the room of what it holds.
    """

    def __init__(self, total: int) -> None:
        """Make room for `total` windows."""
        self.runs = 0
        self.windows: int = total
        self._total = total * FULL_WINDOW
        self._held = 0

    def has_room(self, own: int) -> bool:
        """Tell whether a run whose windows take the room `own` may hold one more."""
        fair_share = max(FULL_WINDOW, self._total // max(1, self.runs))
        return not own or (own + FULL_WINDOW <= fair_share and self._held + FULL_WINDOW <= self._total)

    def take(self, room: int) -> None:
        """Take room, in calls."""
        self._held += room

    def free(self, room: int) -> None:
        """Give room back."""
        self._held -= room
