"""Growth of a window to which calls are added while it is read: when to wait, and when to give up.

A delayed count never equals the rows of a window to which calls are added all the time. Once that was seen, the window
is counted at once instead, by the page that shows the end of its list: if that page has as many rows as its total says,
the total is no older than the rows. If too many calls are added during one scan, the window is to be split.
"""

from datetime import datetime

from aiosipcdr.policy.clock import AgePolicy

__all__ = ["MAX_SCANS_WHILE_GROWING", "Growth"]

MAX_SCANS_WHILE_GROWING = 7
"""Max scans of a window to which calls are added: few are added during one scan, and fewer with each pause."""

_MAX_ROWS_DELAYED = 8
_MAX_ROWS_AT_ONCE = 2
"""Calls that may be added before a delayed count, or before one at once; with more, the next count fails too."""

_LONGEST_PAUSE = 20.0
"""Longest pause between two scans, in units of `count_delay`."""

_SHORT_WAIT = 4.0
"""Seconds; if the window ends within this time, its end is waited for."""


class Growth:
    """Calls that are added to one window while it is read.

    Attributes:
        is_seen: Whether calls were added, to this window or to the one that it was split from.
        rows: Calls that were added before the last count.
        is_fast: Whether these were so many that the next scan will probably fail, too.
    """

    __slots__ = ("_ages", "_count_lags", "_delayed_scan", "_end", "is_fast", "is_seen", "rows")

    def __init__(self, ages: AgePolicy, end: datetime, *, is_seen: bool) -> None:
        """Start before the first scan of a window that ends at `end`."""
        self._ages = ages
        self._end = end
        self._count_lags = False
        self._delayed_scan = 0
        self.is_seen: bool = is_seen
        self.rows: int = 0
        self.is_fast: bool = False

    def exceeds(self, count: int, *, rows: int, largest_total: int) -> bool:
        """Return whether a count shows that calls were added to a young window, and nothing else has changed."""
        return count > rows and count >= largest_total and self._ages.is_young(self._end)

    def note_count(self, count: int, *, rows: int, largest_total: int) -> None:
        """Record a count that differs from the rows read."""
        self.rows = count - rows if self.exceeds(count, rows=rows, largest_total=largest_total) else 0
        self.is_fast = self.rows > (_MAX_ROWS_AT_ONCE if self.is_seen else _MAX_ROWS_DELAYED)
        # Otherwise calls were deleted, or the count is older than the rows.
        self._count_lags = not self.rows
        self.is_seen = bool(self.rows)

    def delay_count(self, scan: int) -> float:
        """Return the seconds by which the count after scan number `scan` is delayed; once per scan."""
        if self._delayed_scan == scan:
            return 0.0
        self._delayed_scan = scan
        return self._ages.decide_delay(self._end, count_lags=self._count_lags)

    def delay_scan(self, scan: int) -> float:
        """Return the seconds to wait before scan number `scan`: for the end of the window, or for fewer new calls."""
        if 0 < (remaining := self._ages.until_past(self._end)) <= _SHORT_WAIT:
            return remaining
        if not self.is_seen or scan < 3:  # noqa: PLR2004 - the second one starts at once
            return 0.0
        return min(_LONGEST_PAUSE, 3.0 ** (scan - 3)) * self._ages.count_delay.total_seconds()
