"""Growth of a window to which calls are added while it is read: how long to wait, and when to split it.

The control count of a young window is normally delayed. If calls are added all the time, a delayed count includes calls
that the scan has not read, so it never equals the rows read. Once a count has shown new calls, the next scan is
therefore checked without delay, by the last page of the list: if that page has as many rows as its total implies, the
total is as recent as the rows. If too many calls are added during one scan, the window is split.
"""

from datetime import datetime

from aiosipcdr.policy.clock import AgePolicy

__all__ = ["MAX_SCANS_WHILE_GROWING", "Growth"]

MAX_SCANS_WHILE_GROWING = 7
"""Max scans of a window to which calls are added slowly. The pauses before later scans get longer, see `delay_scan`."""

_MAX_ROWS_DELAYED = 8
"""Max calls added before a delayed count; with more, the next scan would probably fail, too."""

_MAX_ROWS_AT_ONCE = 2
"""The same for a check without delay."""

_LONGEST_PAUSE = 20.0
"""Longest pause between two scans, in units of `count_delay`."""

_SHORT_WAIT = 4.0
"""Seconds; if the window ends within this time, the next scan waits for its end."""


class Growth:
    """Calls that are added to one window while it is read.

    Attributes:
        is_growing: Whether the last count showed new calls; initially, whether the window that this one was split from
            was growing.
        rows: Calls that were added before the last count.
        is_fast: Whether these were so many that the next scan will probably fail, too.
    """

    __slots__ = ("_ages", "_count_lags", "_delayed_scan", "_end", "_is_expected", "is_fast", "is_growing", "rows")

    def __init__(self, ages: AgePolicy, end: datetime, *, is_growing: bool, is_expected: bool = False) -> None:
        """Start before the first scan of a window that ends at `end`.

        Args:
            ages: Decides whether the window is young.
            end: End of the window.
            is_growing: See above.
            is_expected: Calls may be added to the window whatever its age.
        """
        self._ages = ages
        self._end = end
        self._is_expected = is_expected
        self._count_lags = False
        self._delayed_scan = 0
        self.is_growing: bool = is_growing
        self.rows: int = 0
        self.is_fast: bool = False

    def exceeds(self, count: int, *, rows: int, largest_total: int) -> bool:
        """Return whether a count of a window that may grow shows that calls were added and none deleted.

        Args:
            count: The count.
            rows: Rows that were read before it.
            largest_total: Largest total that was reported before it.
        """
        return count > rows and count >= largest_total and (self._is_expected or self._ages.is_young(self._end))

    def note_count(self, count: int, *, rows: int, largest_total: int) -> None:
        """Record a count that differs from the rows read."""
        self.rows = count - rows if self.exceeds(count, rows=rows, largest_total=largest_total) else 0
        self.is_fast = self.rows > (_MAX_ROWS_AT_ONCE if self.is_growing else _MAX_ROWS_DELAYED)
        # Without growth, calls were deleted, or the count is older than the rows.
        self._count_lags = not self.rows
        self.is_growing = bool(self.rows)

    def delay_count(self, scan: int) -> float:
        """Return the seconds by which the count after scan number `scan` is delayed; once per scan."""
        if self._delayed_scan == scan:
            return 0.0
        self._delayed_scan = scan
        return self._ages.delay_before_count(self._end, count_lags=self._count_lags)

    def delay_scan(self, scan: int) -> float:
        """Return the seconds to wait before scan number `scan`: for the end of the window, or for fewer new calls."""
        if 0 < (remaining := self._ages.until_past(self._end)) <= _SHORT_WAIT:
            return remaining
        if not self.is_growing or scan < 3:  # noqa: PLR2004 - the second scan starts without a pause
            return 0.0
        return min(_LONGEST_PAUSE, 3.0 ** (scan - 3)) * self._ages.count_delay.total_seconds()
