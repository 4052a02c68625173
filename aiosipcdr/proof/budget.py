"""Limits of a run: requests for repeated reading, rows in memory, and the vendor's page sizes."""

__all__ = ["FULL_WINDOW", "Budget", "PageSizes", "RowQuota"]

FULL_WINDOW = 2_000
"""Max rows of a window, except for bursts within two seconds."""


class Budget:
    """Requests that a run may send beyond the minimum.

    Repairs (reading again, splitting unproven windows) may take 1.7 × the planned pages + 200 requests. Pages that are
    read for the first time, without the first page of each window, may take 1.5 × the planned pages + 20; further ones
    are charged as repairs. Both together are limited to 3 × the planned pages + 220. A healthy range needs about 1.0 ×;
    bursts in seconds that windows share are read up to three times.
    """

    __slots__ = ("_read", "_repaired", "_rows", "_size", "_windows")

    def __init__(self, size: int = 100) -> None:
        """Start with the fixed parts; `size` is the page size."""
        self._size = size
        self._rows = 0
        self._windows = 0
        self._repaired = 0
        self._read = 0

    @property
    def planned(self) -> int:
        """Number of pages that the range is known to have."""
        return self._rows // self._size + self._windows

    @property
    def left(self) -> int:
        """Number of requests that may still be spent on repairs."""
        repairs = 200 + self.planned * 17 // 10 - self._repaired
        return min(repairs, 220 + self.planned * 3 - self._repaired - self._read)

    def plan(self, rows: int) -> None:
        """Add a window of the range, not part of another, with its number of rows."""
        self._rows += rows
        self._windows += 1

    def plan_more(self, rows: int) -> None:
        """Add rows that such a window has beyond the number reported first."""
        self._rows += rows

    def plan_smaller(self, size: int) -> None:
        """Record that a page has at most `size` records."""
        self._size = min(self._size, size)

    def take(self, requests: int) -> bool:
        """Reserve `requests` for a repair; return `False` if fewer are left."""
        if requests > self.left:
            return False
        self._repaired += requests
        return True

    def read(self, pages: int) -> bool:
        """Reserve `pages` that are read for the first time; return `False` if fewer are left."""
        free = min(pages, 20 + self.planned * 3 // 2 - self._read)
        self._read += free
        if free == pages or self.take(pages - free):
            return True
        self._read -= free
        return False


class PageSizes:
    """What a run knows about the vendor's page sizes.

    Attributes:
        counting: Page size of requests for totals: 1, unless the vendor refuses it.
        given: Page size that the vendor uses although it echoes a larger one.
        claimed: That larger one.
    """

    __slots__ = ("claimed", "counting", "given")

    def __init__(self) -> None:
        """Expect the sizes that are requested."""
        self.counting: int = 1
        self.given: int | None = None
        self.claimed: int | None = None


class RowQuota:
    """Max windows in memory for all runs of a client, at least one per run.

    Limits the records in memory: a window has up to 2,000 rows, or those of one burst within two seconds. A window that
    was read and waits for an older one counts by the rows that it has.

    Attributes:
        runs: Number of runs that share the quota.
        windows: Number of windows.
    """

    def __init__(self, total: int) -> None:
        """Create a quota of `total` full windows."""
        self.runs = 0
        self.windows: int = total
        self._total = total * FULL_WINDOW
        self._held = 0

    def has_space(self, own: int) -> bool:
        """Return whether a run whose windows reserve `own` rows may begin one more."""
        fair_share = max(FULL_WINDOW, self._total // max(1, self.runs))
        return not own or (own + FULL_WINDOW <= fair_share and self._held + FULL_WINDOW <= self._total)

    def reserve(self, rows: int) -> None:
        """Reserve `rows`."""
        self._held += rows

    def release(self, rows: int) -> None:
        """Release a reservation of `rows`."""
        self._held -= rows
