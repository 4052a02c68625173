"""Limits of a run: rows of a window, requests for repeated reading, rows in memory, and the vendor's page sizes."""

from aiosipcdr.model.windows import TimeWindow

__all__ = ["FULL_WINDOW", "MAX_ROWS", "TARGET_ROWS", "Budget", "PageSizes", "RowQuota", "WindowLimits"]

FULL_WINDOW = 2_000
"""Rows that a window reserves in memory; more if it is known to be denser."""

MAX_ROWS = FULL_WINDOW
"""A window that reports more rows is split by time: with OFFSET, the vendor reads all rows that it skips."""

TARGET_ROWS = 1_200
"""Rows that a part should have: far enough below the limit for busy hours, high enough to fill its pages."""

MAX_PARTS = 5_000
"""Max parts of one split, even if the reported total needs more; parts that are too large are split again."""

DENSE_SECONDS = 4
"""A window with so many seconds of its own (and the shared one after them) may have `MAX_DENSE_ROWS`."""

MAX_DENSE_ROWS = 9_999
"""Below 10,000, beyond which Elasticsearch by default serves no page and counts no row."""


class WindowLimits:
    """Limits on the rows of the windows of a run, and the number of parts that follows from them.

    Neighbouring windows share a second. If bounds are inclusive and times are whole seconds, as the vendor's samples
    are, both read the calls of its begin and of its end: with d calls a second, a window with k seconds of its own has
    (k + 2)d rows. So the requests for a page of calls are (k + 2)/k, and the rows that OFFSET skips for it
    (k + 2)²d/2k, as many for k = 4 as for k = 1. So windows of few seconds may have more rows than wider ones.
    """

    __slots__ = ("_most",)

    def __init__(self) -> None:
        """Start with the usual limits."""
        self._most = MAX_DENSE_ROWS

    def max_rows(self, window: TimeWindow) -> int:
        """Return the number of rows above which `window` is split."""
        return min(self._most, MAX_DENSE_ROWS if window.seconds - 1 <= DENSE_SECONDS else MAX_ROWS)

    def lower(self, rows: int) -> None:
        """Split all windows that have more than `rows` from now on."""
        self._most = min(self._most, max(1, rows))

    def count_parts(self, window: TimeWindow, rows: int, target: int | None = None) -> int:
        """Return the number of parts into which `window` is split.

        Args:
            window: The window.
            rows: Its reported total.
            target: Rows that a part should have at most; by default `TARGET_ROWS`, or those of `DENSE_SECONDS`.
        """
        usual = max(1, min(self._most, MAX_ROWS) * 6 // 10)
        number = -(-rows // min(target or TARGET_ROWS, usual))
        if target is None:
            # A tenth is left for seconds that are denser than the average.
            seconds = self._most * 9 // 10 * (window.seconds + 1) // max(1, rows) - 2
            number = min(number, -(-(window.seconds - 1) // min(max(1, seconds), DENSE_SECONDS)))
        return min(number, MAX_PARTS)


class Budget:
    """Limit on the requests of a run, in proportion to its planned pages.

    - Repairs (reading windows again, splitting unproven ones): 1.7 × the planned pages + 200.
    - First reads (except for the first page of each window): 1.5 × the planned pages + 20; more are charged as repairs.
    - Both together: 3 × the planned pages + 220.

    A healthy range needs about 1.0 × the planned pages. Bursts in shared seconds are read up to three times.
    """

    __slots__ = ("_read", "_repaired", "_rows", "_size", "_windows")

    def __init__(self, size: int = 100) -> None:
        """Create the budget of a run without planned pages; `size` is the page size."""
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
        """Add the rows of a window that is not part of a larger one."""
        self._rows += rows
        self._windows += 1

    def plan_more(self, rows: int) -> None:
        """Add rows of such a window beyond its first total."""
        self._rows += rows

    def plan_smaller(self, size: int) -> None:
        """Record that the vendor uses pages of at most `size` records."""
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
        for_counts: Page size of requests for totals: 1, unless the vendor refuses it.
        actual: Page size that the vendor uses, if its answers state a larger one.
        echoed: The larger one that they state.
    """

    __slots__ = ("actual", "echoed", "for_counts")

    def __init__(self) -> None:
        """Assume that the vendor uses the sizes that are requested."""
        self.for_counts: int = 1
        self.actual: int | None = None
        self.echoed: int | None = None


class RowQuota:
    """Max windows in memory for all runs of a client, at least one per run.

    Limits the records in memory. While a window is read it reserves 2,000 rows, or more if it is expected to have more;
    afterwards, until older windows are delivered, the number of its rows.

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

    def has_space(self, own: int, rows: int = FULL_WINDOW) -> bool:
        """Return whether a run whose windows reserve `own` rows may begin one more, of `rows`."""
        fair_share = max(FULL_WINDOW, self._total // max(1, self.runs))
        return not own or (own + rows <= fair_share and self._held + rows <= self._total)

    def reserve(self, rows: int) -> None:
        """Reserve `rows`."""
        self._held += rows

    def release(self, rows: int) -> None:
        """Release a reservation of `rows`."""
        self._held -= rows
